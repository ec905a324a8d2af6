//! Chains of a rectifier, convolutions and batch norm: [`kernel::chain`] in Burn.

use std::sync::Arc;

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
        Device, Tensor,
        module::{self, BatchNormTrainOutput},
        ops::ConvOptions,
    },
};
use kernels::Window;

use super::{
    in_order, is_ours,
    kernel::{
        chain::{self, Chain, Gradient},
        dense::Dense,
        depthwise::Depthwise,
        norm::{self, Affine, Line, Statistics},
        relu::Rectifier,
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
    let Some(chain) = alone(&x, &weight, &options).filter(|_| is_ours(&x)) else {
        return module::conv2d(x, weight, bias, options);
    };
    let none = Tensor::<1>::zeros([1], &x.device());
    let (x, weight, none) = (x.into_dispatch(), weight.into_dispatch(), none.into_dispatch());
    let [depthwise, dense] = if chain.dense.is_some() { [none, weight] } else { [weight, none] };
    let y = Tensor::from_dispatch(<Dispatch as Chained>::own_chain(x, depthwise, dense, chain));
    match bias {
        Some(bias) => {
            let features = bias.dims()[0];
            y + bias.reshape([1, features, 1, 1])
        }
        None => y,
    }
}

/// A convolution as a chain, if the kernels know it.
fn alone(x: &Tensor<4>, weight: &Tensor<4>, options: &ConvOptions<2>) -> Option<Chain> {
    let ([_, from, height, width], [to, _, kernel_height, kernel_width]) = (x.dims(), weight.dims());
    let ConvOptions { stride, padding, dilation, groups } = *options;
    let window = Window::sliding([height, width], [kernel_height, kernel_width], stride, padding, dilation)?;
    let dense = (groups == 1).then_some(Dense { window, from, to });
    let depthwise = (groups > 1 && from == groups && to == groups).then_some(Depthwise { window, channels: groups });
    Some(Chain { rectifier: Rectifier::NONE, depthwise, dense }).filter(chain::supports)
}

/// The parameters of a chain that ends in batch norm.
///
/// # Shapes
/// - depthwise, dense: as the convolutions have them, in any shape
/// - gamma, beta: `[channels]`
#[derive(Clone)]
pub(crate) struct Parameters {
    /// Weights of the depthwise convolution, if there is one.
    pub(crate) depthwise: Option<Tensor<1>>,
    /// Weights of the other convolution, if there is one.
    pub(crate) dense: Option<Tensor<1>>,
    pub(crate) gamma: Tensor<1>,
    pub(crate) beta: Tensor<1>,
    pub(crate) epsilon: f32,
}

impl Parameters {
    /// The weights of both convolutions; for one that is absent, a tensor that nobody reads.
    fn weights(self, device: &Device) -> [Tensor<1>; 2] {
        [self.depthwise, self.dense].map(|it| it.unwrap_or_else(|| Tensor::zeros([1], device)))
    }
}

fn host(tensor: &Tensor<1>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

/// How each channel of a tensor is still to be normalised; `None` where it is done. Gradients of such a tensor are
/// those of what it stands for.
pub(crate) type Lines = Option<Arc<[Line]>>;

/// Whether chains can be computed on the device of `x`.
pub(crate) fn may_chain(x: &Tensor<4>) -> bool {
    is_ours(x)
}

/// A chain, normalised with the mean and variance of the batch; these come without gradients. What is `left` is not
/// normalised: whoever reads it does that.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
pub(crate) fn chain_norm_train(
    (x, lines): (Tensor<4>, Lines),
    chain: Chain,
    parameters: Parameters,
    left: bool,
) -> (BatchNormTrainOutput<4>, Lines) {
    let Parameters { gamma, beta, epsilon, .. } = parameters.clone();
    let [depthwise, dense] = parameters.weights(&x.device());
    // Host copies for those who read what is left.
    let learned = left.then(|| [&gamma, &beta].map(host));
    let (output, mean, variance) = <Dispatch as Chained>::own_chain_norm(
        x.into_dispatch(),
        depthwise.into_dispatch(),
        dense.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        chain,
        lines,
        left,
        epsilon,
    );
    let [mean, variance] = [mean, variance].map(Tensor::<1>::from_dispatch);
    let lines = learned.map(|[gamma, beta]| {
        let [mean, variance] = [&mean, &variance].map(host);
        norm::lines(Affine { gamma: &gamma, beta: &beta, epsilon }, &Statistics { mean, variance }).into()
    });
    (BatchNormTrainOutput { output: Tensor::from_dispatch(output), mean, variance }, lines)
}

/// A chain, normalised with this mean and variance; nothing learns through it.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - statistics: mean and variance, `[channels]`
pub(crate) fn chain_norm(
    x: Tensor<4>,
    chain: Chain,
    parameters: Parameters,
    [mean, variance]: [Tensor<1>; 2],
) -> Tensor<4> {
    let Parameters { gamma, beta, epsilon, .. } = parameters.clone();
    let [depthwise, dense] = parameters.weights(&x.device());
    Tensor::from_dispatch(<Dispatch as Chained>::own_chain_norm_with(
        x.into_dispatch(),
        depthwise.into_dispatch(),
        dense.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        mean.into_dispatch(),
        variance.into_dispatch(),
        chain,
        epsilon,
    ))
}

#[expect(clippy::too_many_arguments, reason = "tensors of an extension stand one by one")]
#[backend_extension(Flex, Autodiff)]
trait Chained: Backend {
    fn own_chain(
        x: FloatTensor<Self>,
        depthwise: FloatTensor<Self>,
        dense: FloatTensor<Self>,
        chain: Chain,
    ) -> FloatTensor<Self>;

    /// Output, mean and variance.
    fn own_chain_norm(
        x: FloatTensor<Self>,
        depthwise: FloatTensor<Self>,
        dense: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        chain: Chain,
        lines: Lines,
        left: bool,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn own_chain_norm_with(
        x: FloatTensor<Self>,
        depthwise: FloatTensor<Self>,
        dense: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        chain: Chain,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

impl Chained for Flex {
    fn own_chain(x: FlexTensor, depthwise: FlexTensor, dense: FlexTensor, chain: Chain) -> FlexTensor {
        Inputs::new(x, depthwise, dense, chain).convolve()
    }

    fn own_chain_norm(
        x: FlexTensor,
        depthwise: FlexTensor,
        dense: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        chain: Chain,
        lines: Lines,
        left: bool,
        epsilon: f32,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let inputs = Inputs::new(x, depthwise, dense, chain).normalised_by(lines);
        let learned = Learned::new(gamma, beta, epsilon);
        let (y, _, statistics) = inputs.normalise(&learned, left);
        let [mean, variance] = learned.tensors(&statistics);
        (y, mean, variance)
    }

    fn own_chain_norm_with(
        x: FlexTensor,
        depthwise: FlexTensor,
        dense: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        chain: Chain,
        epsilon: f32,
    ) -> FlexTensor {
        let (inputs, learned) = (Inputs::new(x, depthwise, dense, chain), Learned::new(gamma, beta, epsilon));
        let [mean, variance] = [mean, variance].map(|it| values(&in_order(it)).to_vec());
        let lines = norm::lines(learned.affine(), &Statistics { mean, variance });
        let [_, height, width] = chain.output();
        inputs.fill(|y| norm::apply(height * width, &lines, y)).0
    }
}

impl<C: CheckpointStrategy> Chained for Autodiff<Flex, C> {
    fn own_chain(
        x: FloatTensor<Self>,
        depthwise: FloatTensor<Self>,
        dense: FloatTensor<Self>,
        chain: Chain,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), depthwise.node(), dense.node()];
        let prepared = Convolve.prepare::<C>(nodes).compute_bound().stateful();
        let inputs = Inputs::new(x.into_primitive(), depthwise.into_primitive(), dense.into_primitive(), chain);
        let y = inputs.convolve();
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(inputs, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn own_chain_norm(
        x: FloatTensor<Self>,
        depthwise: FloatTensor<Self>,
        dense: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        chain: Chain,
        lines: Lines,
        left: bool,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), depthwise.node(), dense.node(), gamma.node(), beta.node()];
        let prepared = Normalise.prepare::<C>(nodes).compute_bound().stateful();
        let inputs = Inputs::new(x.into_primitive(), depthwise.into_primitive(), dense.into_primitive(), chain)
            .normalised_by(lines);
        let learned = Learned::new(gamma.into_primitive(), beta.into_primitive(), epsilon);
        let (y, convolved, statistics) = inputs.normalise(&learned, left);
        let [mean, variance] = learned.tensors(&statistics).map(FloatTensor::<Self>::new);
        let y = match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(State { inputs, learned, convolved, statistics }, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        };
        (y, mean, variance)
    }

    fn own_chain_norm_with(
        x: FloatTensor<Self>,
        depthwise: FloatTensor<Self>,
        dense: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        chain: Chain,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(Flex::own_chain_norm_with(
            x.into_primitive(),
            depthwise.into_primitive(),
            dense.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            mean.into_primitive(),
            variance.into_primitive(),
            chain,
            epsilon,
        ))
    }
}

/// What a chain reads, in order.
#[derive(Clone, Debug)]
struct Inputs {
    x: FlexTensor,
    depthwise: FlexTensor,
    dense: FlexTensor,
    chain: Chain,
    lines: Lines,
}

impl Inputs {
    fn new(x: FlexTensor, depthwise: FlexTensor, dense: FlexTensor, chain: Chain) -> Self {
        Self { x: in_order(x), depthwise: in_order(depthwise), dense: in_order(dense), chain, lines: None }
    }

    /// The same, `x` normalised on the way.
    fn normalised_by(self, lines: Lines) -> Self {
        Self { lines, ..self }
    }

    /// The weights; none where there is no such convolution.
    fn weights(&self) -> chain::Weights<'_> {
        let Chain { depthwise, dense, .. } = self.chain;
        [depthwise.map_or(&[], |_| values(&self.depthwise)), dense.map_or(&[], |_| values(&self.dense))]
    }

    /// The output, each group of images after `after`, and what that returned.
    fn fill<T: Send>(&self, after: impl Fn(&mut [f32]) -> T + Sync) -> (FlexTensor, Vec<T>) {
        let n = self.x.layout().shape()[0];
        let [channels, height, width] = self.chain.output();
        let (y, made) = self.chain.forward(values(&self.x), self.lines.as_deref(), self.weights(), after);
        (tensor(y, [n, channels, height, width]), made)
    }

    fn convolve(&self) -> FlexTensor {
        self.fill(|_| {}).0
    }

    /// The output, normalised unless that is `left` to its readers; the output before that, and its statistics.
    fn normalise(&self, learned: &Learned, left: bool) -> (FlexTensor, FlexTensor, Statistics) {
        let [channels, height, width] = self.chain.output();
        let (convolved, parts) = self.fill(|y| norm::measure(channels, height * width, y));
        let statistics = norm::join(channels, parts);
        if left {
            return (convolved.clone(), convolved, statistics);
        }
        let y = norm::forward(height * width, values(&convolved), learned.affine(), &statistics);
        (tensor(y, convolved.layout().shape().clone()), convolved, statistics)
    }

    /// The gradients of input and weights, where `wanted`.
    fn backward(&self, gradient: &Gradient<'_>, wanted: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let (weights, dx) =
            self.chain.backward(values(&self.x), self.lines.as_deref(), self.weights(), gradient, wanted[0]);
        let [depthwise, dense] = weights.map(Some);
        let like = |made: Option<Vec<f32>>, of: &FlexTensor| Some(tensor(made?, of.layout().shape().clone()));
        [
            like(dx, &self.x),
            like(depthwise.filter(|_| wanted[1]), &self.depthwise),
            like(dense.filter(|_| wanted[2]), &self.dense),
        ]
    }
}

/// What is learned of the norm, in order.
#[derive(Clone, Debug)]
struct Learned {
    gamma: FlexTensor,
    beta: FlexTensor,
    epsilon: f32,
}

impl Learned {
    fn new(gamma: FlexTensor, beta: FlexTensor, epsilon: f32) -> Self {
        Self { gamma: in_order(gamma), beta: in_order(beta), epsilon }
    }

    fn affine(&self) -> Affine<'_> {
        Affine { gamma: values(&self.gamma), beta: values(&self.beta), epsilon: self.epsilon }
    }

    fn tensors(&self, Statistics { mean, variance }: &Statistics) -> [FlexTensor; 2] {
        [mean, variance].map(|it| tensor(it.clone(), [it.len()]))
    }
}

#[derive(Debug)]
struct Convolve;

impl Backward<Flex, 3> for Convolve {
    type State = Inputs;

    fn backward(self, ops: Ops<Inputs, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = in_order(gradients.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let made = ops.state.backward(&Gradient { dy: values(&dy), norm: None }, wanted);
        register(gradients, ops.parents.into_iter().map(|it| it.map(|parent| parent.id)).zip(made));
    }
}

#[derive(Debug)]
struct Normalise;

/// What the gradients depend on.
#[derive(Clone, Debug)]
struct State {
    inputs: Inputs,
    learned: Learned,
    /// The output before the norm.
    convolved: FlexTensor,
    statistics: Statistics,
}

impl Backward<Flex, 5> for Normalise {
    type State = State;

    fn backward(self, ops: Ops<State, 5>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = in_order(gradients.consume::<Flex>(&ops.node));
        let State { inputs, learned, convolved, statistics } = ops.state;
        let [_, height, width] = inputs.chain.output();
        let (curves, summed) =
            norm::gradients(height * width, values(&convolved), learned.affine(), &statistics, values(&dy));
        let wanted = std::array::from_fn(|at| ops.parents[at].is_some());
        let gradient = Gradient { dy: values(&dy), norm: Some((values(&convolved), &curves)) };
        let made = inputs.backward(&gradient, wanted);
        let summed = summed.map(|it| Some(tensor(it, [statistics.mean.len()])));
        let parents = ops.parents.into_iter().map(|it| it.map(|parent| parent.id));
        register(gradients, parents.zip(made.into_iter().chain(summed)));
    }
}

fn register(
    gradients: &mut Gradients,
    made: impl Iterator<Item = (Option<burn::backend::autodiff::NodeId>, Option<FlexTensor>)>,
) {
    for (parent, gradient) in made {
        if let (Some(parent), Some(gradient)) = (parent, gradient) {
            gradients.register::<Flex>(parent, gradient);
        }
    }
}
