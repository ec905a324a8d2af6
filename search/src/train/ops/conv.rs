//! Convolution: [`kernel::dense`] and [`kernel::depthwise`] in Burn.

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
    tensor::{Tensor, module, ops::ConvOptions},
};

use kernels::Window;

use super::{
    in_order, is_ours,
    kernel::{
        dense::{self, Dense},
        depthwise,
    },
    tensor, values,
};

/// Convolves.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - weight: `[features, channels / groups, kernel height, kernel width]`
/// - bias: `[features]`
/// - returns `[batch, features, height, width]`
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: ConvOptions<2>) -> Tensor<4> {
    let Some(plan) = plan(&x, &weight, &options).filter(|_| is_ours(&x)) else {
        return module::conv2d(x, weight, bias, options);
    };
    let y = <Dispatch as Convolution>::own_conv2d(x.into_dispatch(), weight.into_dispatch(), plan);
    let y = Tensor::from_dispatch(y);
    match bias {
        Some(bias) => {
            let features = bias.dims()[0];
            y + bias.reshape([1, features, 1, 1])
        }
        None => y,
    }
}

/// Which kernel convolves.
#[derive(Clone, Copy, Debug)]
enum Plan {
    Dense(Dense),
    Depthwise { window: Window, channels: usize },
}

impl Plan {
    fn window(&self) -> &Window {
        match self {
            Self::Dense(dense) => &dense.window,
            Self::Depthwise { window, .. } => window,
        }
    }
}

/// The kernel for a convolution, if there is one.
fn plan(x: &Tensor<4>, weight: &Tensor<4>, options: &ConvOptions<2>) -> Option<Plan> {
    let ([_, from, height, width], [to, _, kernel_height, kernel_width]) = (x.dims(), weight.dims());
    let ConvOptions { stride, padding, dilation, groups } = *options;
    let window = Window::sliding([height, width], [kernel_height, kernel_width], stride, padding, dilation)?;
    if groups == 1 && dense::supports(&window) {
        return Some(Plan::Dense(Dense { window, from, to }));
    }
    let channels = groups;
    (from == channels && to == channels && kernels::depthwise::supports(&window))
        .then_some(Plan::Depthwise { window, channels })
}

#[backend_extension(Flex, Autodiff)]
trait Convolution: Backend {
    fn own_conv2d(x: FloatTensor<Self>, weight: FloatTensor<Self>, plan: Plan) -> FloatTensor<Self>;
}

impl Convolution for Flex {
    fn own_conv2d(x: FlexTensor, weight: FlexTensor, plan: Plan) -> FlexTensor {
        convolve(&in_order(x), &in_order(weight), plan)
    }
}

impl<C: CheckpointStrategy> Convolution for Autodiff<Flex, C> {
    fn own_conv2d(x: FloatTensor<Self>, weight: FloatTensor<Self>, plan: Plan) -> FloatTensor<Self> {
        let prepared = Convolve.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful();
        let [x, weight] = [x, weight].map(|it| in_order(it.into_primitive()));
        let y = convolve(&x, &weight, plan);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(State { x, weight, plan }, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }
}

#[derive(Debug)]
struct Convolve;

/// What the gradients depend on.
#[derive(Clone, Debug)]
struct State {
    x: FlexTensor,
    weight: FlexTensor,
    plan: Plan,
}

impl Backward<Flex, 2> for Convolve {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = in_order(gradients.consume::<Flex>(&ops.node));
        let State { x, weight, plan } = ops.state;
        let [x_parent, weight_parent] = ops.parents;
        let [dx, dw] = gradients_of(&x, &weight, &dy, plan, [x_parent.is_some(), weight_parent.is_some()]);
        for (parent, gradient) in [(x_parent, dx), (weight_parent, dw)] {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

fn convolve(x: &FlexTensor, weight: &FlexTensor, plan: Plan) -> FlexTensor {
    let [n, features] = [x.layout().shape()[0], weight.layout().shape()[0]];
    let [height, width] = plan.window().output;
    let mut y = vec![0.0; n * features * height * width];
    match plan {
        Plan::Dense(shape) => dense::forward(&shape, values(x), values(weight), &mut y),
        Plan::Depthwise { window, channels } => {
            depthwise::forward(&window, channels, values(x), values(weight), &mut y);
        }
    }
    tensor(y, [n, features, height, width])
}

/// The gradients of input and weights, where they are wanted.
fn gradients_of(
    x: &FlexTensor,
    weight: &FlexTensor,
    dy: &FlexTensor,
    plan: Plan,
    [x_wanted, weight_wanted]: [bool; 2],
) -> [Option<FlexTensor>; 2] {
    let fresh = |of: &FlexTensor| vec![0.0; values(of).len()];
    let like = |made: Vec<f32>, of: &FlexTensor| tensor(made, of.layout().shape().clone());
    match plan {
        Plan::Dense(shape) => {
            let dx = x_wanted.then(|| {
                let mut dx = fresh(x);
                dense::backward_input(&shape, values(dy), values(weight), &mut dx);
                like(dx, x)
            });
            let dw = weight_wanted.then(|| {
                let mut dw = fresh(weight);
                dense::backward_weights(&shape, values(x), values(dy), &mut dw);
                like(dw, weight)
            });
            [dx, dw]
        }
        // One pass makes both; weights that are not trained are rare.
        Plan::Depthwise { window, channels } => {
            let (mut dx, mut dw) = (fresh(x), fresh(weight));
            depthwise::backward(&window, channels, values(x), values(weight), values(dy), &mut dx, &mut dw);
            [Some(like(dx, x)), Some(like(dw, weight))]
        }
    }
}
