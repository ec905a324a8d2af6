//! The rectifier: [`kernel::relu`] in Burn.

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::{Tensor, activation},
};

use super::{is_ours, kernel, overwrite, values};

/// `max(x, 0)`.
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !is_ours(&x) {
        return activation::relu(x);
    }
    Tensor::from_dispatch(<Dispatch as Relu>::own_relu(x.into_dispatch()))
}

#[backend_extension(Flex, Autodiff)]
trait Relu: Backend {
    fn own_relu(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Relu for Flex {
    fn own_relu(x: FlexTensor) -> FlexTensor {
        overwrite(x, kernel::relu::forward)
    }
}

impl<C: CheckpointStrategy> Relu for Autodiff<Flex, C> {
    fn own_relu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Rectify.prepare::<C>([x.node()]).compute_bound().stateful();
        let y = Flex::own_relu(x.into_primitive());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(y.clone(), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }
}

#[derive(Debug)]
struct Rectify;

impl Backward<Flex, 1> for Rectify {
    /// The output.
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node);
        let [Some(x)] = ops.parents else { return };
        let dx = overwrite(dy, |dy, dx| kernel::relu::backward(values(&ops.state), dy, dx));
        gradients.register::<Flex>(x.id, dx);
    }
}
