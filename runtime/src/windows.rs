//! Operators of our own for tract: depthwise convolutions and pools over planes, by [`kernels`].
//!
//! tract gives each border of a plane a case of its own and vectorises only what has no stride. On the
//! processors of [`pays`] our kernels take a fraction of its time, with outputs that differ by no more
//! than the order of a sum; `docs/results/lowering.md` has the times. Windows that the kernels do not
//! know stay with tract.

use kernels::{Window, depthwise, pool};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_core::optim::Optimizer;

/// Whether our operators were found to be faster for this processor: by the clock on x86-64, by counted
/// instructions on aarch64.
const fn pays() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64"))
}

/// Puts our operators in the place of tract's. `model` is typed; it is left without what stood between
/// its operators, such as pads apart from their convolution.
pub(crate) fn place(model: &mut TypedModel) -> TractResult<()> {
    if !pays() {
        return Ok(());
    }
    // On aarch64 tract would turn maps to channels last for the sake of its own depthwise convolution,
    // which made 3 to 6 % more instructions of a network than ours.
    let mut optimizer = Optimizer::declutter();
    optimizer.passes.retain(|pass| format!("{pass:?}") != "ChangeAxes");
    optimizer.optimize(model)?;
    let rules = Rewriter::<()>::default()
        .with_rule_for("own depthwise convolution", convolution)
        .with_rule_for("own max pool", max_pool)
        .with_rule_for("own average pool", average_pool);
    rules.rewrite(&(), model)
}

/// What is done under each window.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum Kind {
    /// The sum of its values, each times its weight.
    Depthwise,
    /// The largest of its values.
    Largest,
    /// Their mean; over all taps, or over those on the plane alone.
    Average { over_all_taps: bool },
}

/// The operator. Inputs are the planes and, of a convolution, its weights and its bias.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Windows {
    kind: Kind,
    channels: usize,
    window: Window,
    /// Shape of the output.
    ///
    /// # Shapes
    /// - `[n, channels, height, width]`, or without `n`
    output: TVec<usize>,
}

impl Op for Windows {
    fn name(&self) -> StaticName {
        match self.kind {
            Kind::Depthwise => "OwnDepthwise",
            Kind::Largest => "OwnMaxPool",
            Kind::Average { .. } => "OwnAveragePool",
        }
        .into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}", self.window)])
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for Windows {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let Self { kind, channels, window, output } = self;
        let mut y = Tensor::zero::<f32>(output)?;
        let plain: TVec<_> = inputs.iter().map(|it| it.try_as_plain_ram()).collect::<TractResult<_>>()?;
        let slices: TVec<&[f32]> = plain.iter().map(|it| it.as_slice::<f32>()).collect::<TractResult<_>>()?;
        {
            let mut plain = y.try_as_plain_ram_mut()?;
            let y = plain.as_slice_mut::<f32>()?;
            match (kind, &slices[..]) {
                (Kind::Depthwise, [x, weights, bias]) => {
                    // A bias may be one number for all channels.
                    let all: Vec<f32>;
                    let bias = match bias {
                        [one] if *channels != 1 => {
                            all = vec![*one; *channels];
                            &all
                        }
                        bias => *bias,
                    };
                    depthwise::forward(window, *channels, x, weights, bias, y);
                }
                (Kind::Largest, [x]) => pool::largest(window, x, y),
                (Kind::Average { over_all_taps: false }, [x]) => pool::average(window, &pool::shares(window), x, y),
                (Kind::Average { over_all_taps: true }, [x]) => {
                    let share = 1.0 / window.kernel.iter().product::<usize>() as f32;
                    let [_, to] = window.areas();
                    pool::average(window, &vec![share; to], x, y);
                }
                (kind, slices) => bail!("{kind:?} does not take {} inputs", slices.len()),
            }
        }
        Ok(tvec!(y.into_tvalue()))
    }
}

impl TypedOp for Windows {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(&self.output)))
    }

    as_op!();
}

type Rule = TractResult<Option<TypedModelPatch>>;

fn convolution(_: &(), model: &TypedModel, node: &TypedNode, _: &str, op: &Conv) -> Rule {
    let PoolSpec { input_channels, output_channels, .. } = op.pool_spec;
    let is_depthwise = 1 < op.group && op.group == input_channels && op.group == output_channels;
    let is_plain = op.q_params.is_none() && op.kernel_fmt == KernelFormat::OIHW && node.inputs.len() == 3;
    let weights = node.inputs.iter().skip(1).map(|it| model.outlet_fact(*it)).collect::<TractResult<TVec<_>>>()?;
    let is_known = weights.iter().all(|it| it.datum_type == f32::datum_type() && it.konst.is_some());
    if !(is_depthwise && is_plain && is_known) {
        return Ok(None);
    }
    put(model, node, &op.pool_spec, Kind::Depthwise, depthwise::supports)
}

fn max_pool(_: &(), model: &TypedModel, node: &TypedNode, _: &str, op: &MaxPool) -> Rule {
    if op.with_index_outputs.is_some() {
        return Ok(None);
    }
    put(model, node, &op.pool_spec, Kind::Largest, pool::supports)
}

fn average_pool(_: &(), model: &TypedModel, node: &TypedNode, _: &str, op: &SumPool) -> Rule {
    if !op.normalize {
        return Ok(None);
    }
    put(model, node, &op.pool_spec, Kind::Average { over_all_taps: op.count_include_pad }, pool::supports)
}

/// Puts an operator in the place of `node`, where the kernels know its window on planes of a fixed size.
fn put(model: &TypedModel, node: &TypedNode, spec: &PoolSpec, kind: Kind, supports: fn(&Window) -> bool) -> Rule {
    let fact = model.outlet_fact(node.inputs[0])?;
    let Some(shape) = fact.shape.as_concrete() else { return Ok(None) };
    let is_planes = matches!(spec.data_format, DataFormat::NCHW | DataFormat::CHW) && spec.rank() == 2;
    if fact.datum_type != f32::datum_type() || !is_planes {
        return Ok(None);
    }
    // A window that runs past its padding would count the taps that it has left.
    if matches!(spec.padding, PaddingSpec::ExplicitOnnxPool(_, _, true)) {
        return Ok(None);
    }
    let planes = spec.data_format.shape(shape)?;
    let axes = spec.computed_padding(planes.hw_dims());
    let pair = |of: &dyn Fn(usize) -> usize| [of(0), of(1)];
    let window = Window {
        kernel: pair(&|axis| spec.kernel_shape[axis]),
        stride: pair(&|axis| spec.stride(axis)),
        dilation: pair(&|axis| spec.dilation(axis)),
        start: pair(&|axis| axes[axis].pad_before),
        input: pair(&|axis| planes.hw_dims()[axis]),
        output: pair(&|axis| axes[axis].convoluted),
    };
    if !supports(&window) {
        return Ok(None);
    }
    let output = spec.output_shape(shape)?.shape;
    let op = Windows { kind, channels: *planes.c(), window, output };
    TypedModelPatch::replace_single_op(model, node, &node.inputs, op).map(Some)
}
