//! Operations of our own for the processor, many times faster there than Burn's generic ones.
//!
//! Each takes the arguments of Burn's function of the same name and gives the same result but for
//! rounding; on other devices, and for what the kernels do not know, it calls that function. Chains
//! stand for several of them. A result is the same, bit for bit, for any number of threads.
//!
//! Reading order: `kernel` (what is computed, on slices), then any other file (how Burn calls it).

mod batch_norm;
mod chain;
mod kernel;
mod pool;
mod relu;
mod resize;
mod sum;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

use burn::{
    backend::{DispatchDevice, flex::FlexTensor},
    tensor::{DType, Device, Tensor, TensorData},
};

pub use batch_norm::batch_norm_train;
pub use chain::conv2d;
pub(crate) use chain::{Lines, Parameters, chain_norm, chain_norm_train, may_chain};
pub(crate) use kernel::{
    chain::{Chain, supports},
    dense::Dense,
    depthwise::Depthwise,
    relu::Rectifier,
};
pub use pool::{avg_pool2d, max_pool2d};
pub use relu::{relu, relu6};
pub use resize::resize;
pub(crate) use sum::sum;

/// Which kernels compute on the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Those of this module.
    Own,
    /// Burn's.
    Generic,
}

static GENERIC: AtomicBool = AtomicBool::new(false);

/// Sets the kernels for the whole process; [`Kernels::Own`] unless set.
pub fn select(kernels: Kernels) {
    GENERIC.store(kernels == Kernels::Generic, Ordering::Relaxed);
}

/// Whether the kernels of this module may compute with `x`.
fn is_ours<const D: usize>(x: &Tensor<D>) -> bool {
    is_processor(&x.device()) && x.dtype() == DType::F32 && !GENERIC.load(Ordering::Relaxed)
}

/// Whether a device is the processor, with or without gradients.
pub(super) fn is_processor(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(device) => matches!(**device, DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns, reason = "builds for a GPU have more devices")]
        _ => false,
    }
}

/// The tensor with its values in order, without a copy where they already are.
fn in_order(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// The values of a tensor that is in order.
fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("the tensor was put in order, and its numbers are f32")
}

/// A tensor of these values.
fn tensor(values: Vec<f32>, shape: impl Into<burn::tensor::Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}

/// A tensor computed value by value, in the memory of `input` where nobody else reads it.
///
/// `compute` gets the values to read, or nothing where those to write hold them.
fn overwrite(input: FlexTensor, compute: impl FnOnce(Option<&[f32]>, &mut [f32])) -> FlexTensor {
    let mut input = in_order(input);
    if let Some(values) = input.try_storage_mut() {
        compute(None, values);
        return input;
    }
    let mut fresh = vec![0.0; values(&input).len()];
    compute(Some(values(&input)), &mut fresh);
    tensor(fresh, input.layout().shape().clone())
}
