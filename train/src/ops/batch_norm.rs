//! Batch norm in training: [`kernel::norm`] in Burn.

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
    tensor::{
        Tensor,
        module::{self, BatchNormTrainOutput},
    },
};

use super::{
    in_order, is_ours,
    kernel::norm::{self, Affine, Statistics},
    overwrite, tensor, values,
};

/// Normalises each channel with the mean and variance of the batch; these come without gradients.
///
/// # Shapes
/// - x: `[batch, channels, ...]`
/// - gamma, beta: `[channels]`
pub fn batch_norm_train<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> BatchNormTrainOutput<D> {
    if !is_ours(&x) {
        return module::batch_norm_train(x, gamma, beta, epsilon);
    }
    let [x, gamma, beta] = [x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
    let (output, mean, variance) = <Dispatch as BatchNorm>::own_batch_norm(x, gamma, beta, epsilon as f32);
    BatchNormTrainOutput {
        output: Tensor::from_dispatch(output),
        mean: Tensor::from_dispatch(mean),
        variance: Tensor::from_dispatch(variance),
    }
}

#[backend_extension(Flex, Autodiff)]
trait BatchNorm: Backend {
    /// Output, mean and variance.
    fn own_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl BatchNorm for Flex {
    fn own_batch_norm(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f32,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (y, statistics) = normalise(&in_order(x), &in_order(gamma), &in_order(beta), epsilon);
        let Statistics { mean, variance } = statistics;
        let channels = [mean.len()];
        (y, tensor(mean, channels), tensor(variance, channels))
    }
}

impl<C: CheckpointStrategy> BatchNorm for Autodiff<Flex, C> {
    fn own_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let prepared = Normalise.prepare::<C>(nodes).compute_bound().stateful();
        let [x, gamma, beta] = [x, gamma, beta].map(|it| in_order(it.into_primitive()));
        let (y, statistics) = normalise(&x, &gamma, &beta, epsilon);
        let channels = [statistics.mean.len()];
        let [mean, variance] =
            [&statistics.mean, &statistics.variance].map(|it| FloatTensor::<Self>::new(tensor(it.clone(), channels)));
        let y = match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(State { x, gamma, beta, statistics, epsilon }, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        };
        (y, mean, variance)
    }
}

#[derive(Debug)]
struct Normalise;

/// What the gradients depend on.
#[derive(Clone, Debug)]
struct State {
    x: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    statistics: Statistics,
    epsilon: f32,
}

impl Backward<Flex, 3> for Normalise {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node);
        let State { x, gamma, beta, statistics, epsilon } = ops.state;
        let (area, dy) = (area(&x), in_order(dy));
        let affine = Affine { gamma: values(&gamma), beta: values(&beta), epsilon };
        let (curves, summed) = norm::gradients(area, values(&x), affine, &statistics, values(&dy));
        let dx = overwrite(dy, |dy, dx| norm::backward(area, values(&x), &curves, dy, dx));
        let channels = [statistics.mean.len()];
        let [dgamma, dbeta] = summed.map(|it| tensor(it, channels));
        for (parent, gradient) in ops.parents.into_iter().zip([dx, dgamma, dbeta]) {
            if let Some(parent) = parent {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

fn normalise(x: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, epsilon: f32) -> (FlexTensor, Statistics) {
    let affine = Affine { gamma: values(gamma), beta: values(beta), epsilon };
    let area = area(x);
    let statistics = norm::statistics(affine.gamma.len(), area, values(x));
    let y = norm::forward(area, values(x), affine, &statistics);
    (tensor(y, x.layout().shape().clone()), statistics)
}

/// Values a channel of one image.
fn area(x: &FlexTensor) -> usize {
    x.layout().shape().iter().skip(2).product()
}
