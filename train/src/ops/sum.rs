//! Sums of two maps, each of which may be left to be normalised: [`norm::sum`] in Burn.

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
    tensor::Tensor,
};

use super::{Lines, in_order, kernel::norm, tensor, values};

/// The sum of two maps, each normalised on the way where it has lines. A gradient is that of both.
///
/// # Shapes
/// - a, b, and what is returned: `[batch, channels, height, width]`
pub(crate) fn sum((a, of_a): (Tensor<4>, Lines), (b, of_b): (Tensor<4>, Lines)) -> Tensor<4> {
    if of_a.is_none() && of_b.is_none() {
        return a + b;
    }
    Tensor::from_dispatch(<Dispatch as Summed>::own_sum(a.into_dispatch(), b.into_dispatch(), [of_a, of_b]))
}

#[backend_extension(Flex, Autodiff)]
trait Summed: Backend {
    fn own_sum(a: FloatTensor<Self>, b: FloatTensor<Self>, lines: [Lines; 2]) -> FloatTensor<Self>;
}

impl Summed for Flex {
    fn own_sum(a: FlexTensor, b: FlexTensor, lines: [Lines; 2]) -> FlexTensor {
        let (a, b) = (in_order(a), in_order(b));
        let shape = a.layout().shape().clone();
        let lines = lines.each_ref().map(Option::as_deref);
        let made = norm::sum(shape[1], shape[2] * shape[3], [values(&a), values(&b)], lines);
        tensor(made, shape)
    }
}

impl<C: CheckpointStrategy> Summed for Autodiff<Flex, C> {
    fn own_sum(a: FloatTensor<Self>, b: FloatTensor<Self>, lines: [Lines; 2]) -> FloatTensor<Self> {
        let prepared = Sum.prepare::<C>([a.node(), b.node()]).compute_bound().stateful();
        let y = Flex::own_sum(a.into_primitive(), b.into_primitive(), lines);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }
}

#[derive(Debug)]
struct Sum;

impl Backward<Flex, 2> for Sum {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node);
        for parent in ops.parents.into_iter().flatten() {
            gradients.register::<Flex>(parent.id, dy.clone());
        }
    }
}
