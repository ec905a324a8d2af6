//! Pooling: [`kernel::pool`] in Burn.

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
        Tensor, module,
        ops::{AvgPoolOptions, MaxPoolOptions},
    },
};

use kernels::Window;

use super::{in_order, is_ours, kernel::pool, tensor, values};

/// Averages each window; padding counts where the options say so.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
pub fn avg_pool2d(x: Tensor<4>, options: AvgPoolOptions<2>) -> Tensor<4> {
    let AvgPoolOptions { kernel_size, stride, padding, count_include_pad, ceil_mode } = options;
    let window = window(&x, kernel_size, stride, padding, [1, 1]);
    match window.filter(|_| is_ours(&x) && !count_include_pad && !ceil_mode) {
        Some(window) => Tensor::from_dispatch(<Dispatch as Pooling>::own_avg_pool2d(x.into_dispatch(), window)),
        None => module::avg_pool2d(x, options),
    }
}

/// Takes the largest value of each window; a gradient goes to the first of equals.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
pub fn max_pool2d(x: Tensor<4>, options: MaxPoolOptions<2>) -> Tensor<4> {
    let MaxPoolOptions { kernel_size, stride, padding, dilation, ceil_mode } = options;
    let window = window(&x, kernel_size, stride, padding, dilation);
    match window.filter(|_| is_ours(&x) && !ceil_mode) {
        Some(window) => Tensor::from_dispatch(<Dispatch as Pooling>::own_max_pool2d(x.into_dispatch(), window)),
        None => module::max_pool2d(x, options),
    }
}

fn window(
    x: &Tensor<4>,
    kernel: [usize; 2],
    stride: [usize; 2],
    pads: [(usize, usize); 2],
    dilation: [usize; 2],
) -> Option<Window> {
    let [_, _, height, width] = x.dims();
    Window::sliding([height, width], kernel, stride, pads, dilation).filter(kernels::pool::supports)
}

#[backend_extension(Flex, Autodiff)]
trait Pooling: Backend {
    fn own_avg_pool2d(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self>;
    fn own_max_pool2d(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self>;
}

impl Pooling for Flex {
    fn own_avg_pool2d(x: FlexTensor, window: Window) -> FlexTensor {
        let x = in_order(x);
        planes(&x, window.output, pool::average(&window, values(&x)))
    }

    fn own_max_pool2d(x: FlexTensor, window: Window) -> FlexTensor {
        largest(&in_order(x), &window).0
    }
}

impl<C: CheckpointStrategy> Pooling for Autodiff<Flex, C> {
    fn own_avg_pool2d(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self> {
        let prepared = Average.prepare::<C>([x.node()]).compute_bound().stateful();
        let y = Flex::own_avg_pool2d(x.into_primitive(), window);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(window, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn own_max_pool2d(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self> {
        let prepared = Largest.prepare::<C>([x.node()]).compute_bound().stateful();
        let (y, chosen) = largest(&in_order(x.into_primitive()), &window);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((window, chosen), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }
}

#[derive(Debug)]
struct Average;

impl Backward<Flex, 1> for Average {
    type State = Window;

    fn backward(self, ops: Ops<Window, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = in_order(gradients.consume::<Flex>(&ops.node));
        let [Some(x)] = ops.parents else { return };
        let window = ops.state;
        let dx = planes(&dy, window.input, pool::average_backward(&window, values(&dy)));
        gradients.register::<Flex>(x.id, dx);
    }
}

#[derive(Debug)]
struct Largest;

impl Backward<Flex, 1> for Largest {
    /// Also the tap that each output came from.
    type State = (Window, Vec<u8>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = in_order(gradients.consume::<Flex>(&ops.node));
        let [Some(x)] = ops.parents else { return };
        let (window, chosen) = ops.state;
        let dx = planes(&dy, window.input, pool::largest_backward(&window, values(&dy), &chosen));
        gradients.register::<Flex>(x.id, dx);
    }
}

fn largest(x: &FlexTensor, window: &Window) -> (FlexTensor, Vec<u8>) {
    let (y, chosen) = pool::largest(window, values(x));
    (planes(x, window.output, y), chosen)
}

/// A tensor of as many planes as `like` has, of `area`.
fn planes(like: &FlexTensor, [height, width]: [usize; 2], made: Vec<f32>) -> FlexTensor {
    let [n, channels] = [0, 1].map(|axis| like.layout().shape()[axis]);
    tensor(made, [n, channels, height, width])
}
