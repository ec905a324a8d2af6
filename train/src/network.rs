//! Runs a graph in Burn: the second of the three readers of [`graph::Op`].

use burn::tensor::{
    Tensor, activation,
    module::{adaptive_avg_pool2d, batch_norm, linear},
    ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions},
};
use graph::{Activation, Graph, NodeId, Op, Pads, Shape, Table, fold::BN_EPSILON};

use super::{
    bank::Loan,
    noise::{Noise, Paths},
    ops::{
        Lines, Parameters, avg_pool2d, batch_norm_train, chain_norm, chain_norm_train, conv2d, max_pool2d, may_chain,
        relu, relu6, resize, sum,
    },
    steps::{Chained, Step, chained, singles},
};

/// Which mean and variance batch norm normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Those of the batch: in training, and wherever weights are shared between children.
    Batch,
    /// Those gathered while training: for one network, and for what ships.
    Running,
}

/// Mean and biased variance that one batch norm saw.
///
/// # Shapes
/// - both `[channels]`
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// The batch norm.
    pub node: NodeId,
    /// Mean of each channel.
    pub mean: Tensor<1>,
    /// Biased variance of each channel.
    pub variance: Tensor<1>,
}

/// Runs `graph` on a batch; also returns what each batch norm saw where it used the batch.
///
/// # Shapes
/// - image: `[batch, channels, height, width]`
/// - returns logits: `[batch, classes]`, or `[batch * height * width, classes]` of a network whose output is a map
pub fn forward(
    graph: &Graph,
    loan: &Loan,
    image: Tensor<4>,
    statistics: Statistics,
) -> (Tensor<2>, Vec<BatchStatistics>) {
    forward_open(graph, loan, image, statistics, &Shares::default())
}

/// What the mixes of a relaxed network weigh their options with.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// By key: `[n_options]`, the softmax of its logits.
    pub weights: Vec<Tensor<1>>,
    /// By key and option, whether it has no weight at all: it is not computed.
    pub is_out: Vec<Vec<bool>>,
}

impl Shares {
    /// The options of mix `id` that count, with their numbers. What is zero whatever its weight is left out, unless there
    /// is nothing else.
    fn options<'a>(&'a self, graph: &'a Graph, id: NodeId, key: u32) -> impl Iterator<Item = (usize, NodeId)> + 'a {
        let is_out = &self.is_out[key as usize];
        let all = move || graph.inputs(id).iter().copied().enumerate().filter(|(option, _)| !is_out[*option]);
        let is_zero = |id: NodeId| matches!(graph.op(id), Op::Zero(_));
        let has_other = all().any(|(_, input)| !is_zero(input));
        all().filter(move |(_, input)| !has_other || !is_zero(*input))
    }

    /// What a step reads.
    fn reads(&self, graph: &Graph, step: &Step) -> Vec<NodeId> {
        match (step, graph.op(step.id())) {
            (Step::Single(id), Op::Mix(key)) => self.options(graph, *id, *key).map(|(_, input)| input).collect(),
            (Step::Single(_), Op::Weigh { key, option }) if self.is_out[*key as usize][*option as usize] => Vec::new(),
            _ => step.reads(graph).to_vec(),
        }
    }
}

/// As [`forward`], for a network whose choices are open: each mix is the sum of its options, weighed by `shares`.
pub fn forward_open(
    graph: &Graph,
    loan: &Loan,
    image: Tensor<4>,
    statistics: Statistics,
    shares: &Shares,
) -> (Tensor<2>, Vec<BatchStatistics>) {
    let output = graph.output().expect("a network has an output");
    let (mut rows, seen) = forward_to(&[output], graph, loan, image, statistics, Noise::NONE, shares);
    (rows.remove(0), seen)
}

/// As [`forward_open`], disturbed by `noise`, with the values of all of `outputs`.
pub(super) fn forward_to(
    outputs: &[NodeId],
    graph: &Graph,
    loan: &Loan,
    image: Tensor<4>,
    statistics: Statistics,
    mut noise: Noise,
    shares: &Shares,
) -> (Vec<Tensor<2>>, Vec<BatchStatistics>) {
    let mut steps = if may_chain(&image) { chained(graph, outputs, noise.paths.is_none()) } else { singles(graph) };
    // From the end: how many steps read each value, of those that the outputs depend on.
    let mut left = vec![0_u32; graph.n_nodes()];
    outputs.iter().for_each(|output| left[output.index()] += 1);
    let users = if noise.paths.is_some() { graph.n_users() } else { Vec::new() };
    let mut is_read = Vec::with_capacity(steps.len());
    for step in steps.iter().rev() {
        is_read.push(0 < left[step.id().index()]);
        if 0 < left[step.id().index()] {
            shares.reads(graph, step).iter().for_each(|input| left[input.index()] += 1);
        }
    }
    let mut is_read = is_read.into_iter().rev();
    steps.retain(|_| is_read.next().unwrap_or(true));
    let mut values: Vec<Option<Value>> = vec![None; left.len()];
    let mut seen = Vec::new();
    let (batch, device) = (image.dims()[0], image.device());
    let mut image = Some(image);
    let run = Run { graph, loan, statistics, shares };
    for step in &steps {
        let id = step.id();
        let reads = shares.reads(graph, step);
        let mut inputs = reads.iter().map(|input| {
            let at = input.index();
            left[at] -= 1;
            // The last reader takes the value: memory is given back, and operations may work in place.
            let value = if left[at] == 0 { values[at].take() } else { values[at].clone() };
            value.expect("inputs precede their users")
        });
        if let Step::Chain(chain) = step {
            let x = inputs.next().expect("a chain has one input");
            values[id.index()] = Some(run_chain(chain, x.lines(), loan, statistics, &mut seen));
            continue;
        }
        let value = match graph.op(id) {
            Op::Input => Value::Map(image.take().expect("a graph has one input")),
            Op::Linear(_) if outputs[0] == id => {
                let dropped = inputs.map(|value| match &noise.dropout {
                    Some(mask) => Value::Vector(value.vector() * mask.clone()),
                    None => value,
                });
                run.node(id, dropped, &mut seen)
            }
            Op::Add if noise.paths.is_some() && Paths::meet_at(graph, id) => {
                let kept = inputs.zip(&reads).map(|(value, &input)| match (value, &mut noise.paths) {
                    (Value::Map(x), Some(paths)) if Paths::is_path(&users, graph, input) => {
                        Value::Map(x * paths.mask())
                    }
                    (value, _) => value,
                });
                kept.reduce(Value::add).expect("an addition has inputs")
            }
            // Without a weight it was not computed.
            Op::Weigh { .. } if reads.is_empty() => match graph.shape(id) {
                Shape::Map([channels, height, width]) => {
                    Value::Map(Tensor::zeros([batch, channels, height, width], &device))
                }
                Shape::Vector(features) => Value::Vector(Tensor::zeros([batch, features], &device)),
            },
            _ => run.node(id, inputs, &mut seen),
        };
        values[id.index()] = Some(value);
    }
    let rows = |output: &NodeId| values[output.index()].take().expect("outputs are computed").rows();
    (outputs.iter().map(rows).collect(), seen)
}

/// What nodes are computed with.
pub(super) struct Run<'a> {
    pub(super) graph: &'a Graph,
    pub(super) loan: &'a Loan,
    pub(super) statistics: Statistics,
    pub(super) shares: &'a Shares,
}

impl Run<'_> {
    /// The value of a node from those of its inputs; `seen` takes what batch norm saw.
    pub(super) fn node(
        &self,
        id: NodeId,
        mut inputs: impl Iterator<Item = Value>,
        seen: &mut Vec<BatchStatistics>,
    ) -> Value {
        let Self { graph, loan, statistics, shares } = self;
        let mut one = || inputs.next().expect("shape inference counted the inputs");
        let own = &loan[id.index()];
        match graph.op(id) {
            Op::Input | Op::Memory(_) => unreachable!("what is read from outside is not computed"),
            Op::Conv2d(conv) => {
                let x = one().map();
                let fan_in = x.dims()[1];
                let [height, width] = conv.kernel;
                let weight = own[0].clone().reshape([conv.channels, fan_in / conv.groups, height, width]);
                let options = ConvOptions::new_with_padding(conv.stride, pairs(conv.pads), conv.dilation, conv.groups);
                Value::Map(conv2d(x, weight, own.get(1).cloned(), options))
            }
            Op::Linear(features) => {
                let x = one().vector();
                let fan_in = x.dims()[1];
                let weight = own[0].clone().reshape([*features, fan_in]).transpose();
                Value::Vector(linear(x, weight, Some(own[1].clone())))
            }
            Op::BatchNorm => {
                let (gamma, beta) = (own[0].clone(), own[1].clone());
                let epsilon = f64::from(BN_EPSILON);
                match (one(), *statistics) {
                    (Value::Map(x), Statistics::Running) => {
                        Value::Map(batch_norm(x, gamma, beta, own[2].clone(), own[3].clone(), epsilon))
                    }
                    (Value::Left(..), _) => unreachable!("only chains and sums read what is left to normalise"),
                    (Value::Vector(x), Statistics::Running) => {
                        Value::Vector(batch_norm(x, gamma, beta, own[2].clone(), own[3].clone(), epsilon))
                    }
                    (Value::Map(x), Statistics::Batch) => {
                        let out = batch_norm_train(x, gamma, beta, epsilon);
                        seen.push(BatchStatistics { node: id, mean: out.mean, variance: out.variance });
                        Value::Map(out.output)
                    }
                    (Value::Vector(x), Statistics::Batch) => {
                        let out = batch_norm_train(x, gamma, beta, epsilon);
                        seen.push(BatchStatistics { node: id, mean: out.mean, variance: out.variance });
                        Value::Vector(out.output)
                    }
                }
            }
            Op::Activation(kind) => match one() {
                Value::Map(x) => Value::Map(activate(*kind, x)),
                Value::Vector(x) => Value::Vector(activate(*kind, x)),
                Value::Left(..) => unreachable!("only chains and sums read what is left to normalise"),
            },
            Op::MaxPool(pool) => {
                let options =
                    MaxPoolOptions::new(pool.kernel).with_stride(pool.stride).with_padding_pairs(pairs(pool.pads));
                Value::Map(max_pool2d(one().map(), options))
            }
            Op::AvgPool(pool) => {
                let options = AvgPoolOptions::new(pool.kernel)
                    .with_stride(pool.stride)
                    .with_padding_pairs(pairs(pool.pads))
                    .with_count_include_pad(false);
                Value::Map(avg_pool2d(one().map(), options))
            }
            Op::GlobalAvgPool => Value::Vector(adaptive_avg_pool2d(one().map(), [1, 1]).flatten(1, 3)),
            Op::Add => inputs.reduce(Value::add).expect("an addition has inputs"),
            Op::Mul => inputs.reduce(Value::mul).expect("a product has inputs"),
            Op::Sub => {
                let (a, b) = (one(), one());
                a.sub(b)
            }
            Op::Mean => {
                let n = graph.inputs(id).len() as f64;
                match inputs.reduce(Value::add).expect("a mean has inputs") {
                    Value::Vector(x) => Value::Vector(x.div_scalar(n)),
                    map => Value::Map(map.map().div_scalar(n)),
                }
            }
            Op::Embed(Table { words, features }) => {
                let x = one().vector();
                let rows = x.dims()[0];
                let table = own[0].clone().reshape([*words, *features]);
                Value::Vector(table.select(0, x.reshape([rows]).int()))
            }
            Op::Mix(key) => {
                let weights = &shares.weights[*key as usize];
                let options: Vec<usize> = shares.options(graph, id, *key).map(|(option, _)| option).collect();
                let weighed =
                    inputs.zip(options).map(|(value, option)| value.times(weights.clone().narrow(0, option, 1)));
                weighed.reduce(Value::add).expect("a mix has options")
            }
            Op::Weigh { key, option } => {
                one().times(shares.weights[*key as usize].clone().narrow(0, *option as usize, 1))
            }
            Op::Concat => Value::Map(Tensor::cat(inputs.map(Value::map).collect(), 1)),
            Op::ChannelsLast => Value::Map(one().map().permute([0, 2, 3, 1])),
            Op::Resize(size) => Value::Map(resize(one().map(), *size)),
            Op::Slice { from, channels } => Value::Map(one().map().narrow(1, *from as usize, *channels as usize)),
            Op::Identity => one(),
            Op::Zero(_) => {
                let x = one().map();
                let Shape::Map([channels, height, width]) = graph.shape(id) else {
                    unreachable!("shape inference gives zeros of a map")
                };
                Value::Map(Tensor::zeros([x.dims()[0], channels, height, width], &x.device()))
            }
        }
    }
}

/// A chain that ends in batch norm.
fn run_chain(
    chain: &Chained,
    (x, lines): (Tensor<4>, Lines),
    loan: &Loan,
    statistics: Statistics,
    seen: &mut Vec<BatchStatistics>,
) -> Value {
    let weights = |node: Option<NodeId>| node.map(|id| loan[id.index()][0].clone());
    let own = &loan[chain.norm.index()];
    let parameters = Parameters {
        depthwise: weights(chain.depthwise),
        dense: weights(chain.dense),
        gamma: own[0].clone(),
        beta: own[1].clone(),
        epsilon: BN_EPSILON,
    };
    match statistics {
        Statistics::Running => Value::Map(chain_norm(x, chain.kernel, parameters, [own[2].clone(), own[3].clone()])),
        Statistics::Batch => {
            let (out, lines) = chain_norm_train((x, lines), chain.kernel, parameters, chain.left);
            seen.push(BatchStatistics { node: chain.norm, mean: out.mean, variance: out.variance });
            if lines.is_some() { Value::Left(out.output, lines) } else { Value::Map(out.output) }
        }
    }
}

/// The value of a node.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Map(Tensor<4>),
    /// A map that its readers normalise.
    Left(Tensor<4>, Lines),
    Vector(Tensor<2>),
}

impl Value {
    fn map(self) -> Tensor<4> {
        match self {
            Self::Map(x) => x,
            Self::Left(..) => unreachable!("only chains and sums read what is left to normalise"),
            Self::Vector(_) => unreachable!("shape inference gives maps to operations on maps"),
        }
    }

    /// A row for each place that has a class.
    ///
    /// # Shapes
    /// - returns: `[batch, features]` of a vector, `[batch * height * width, channels]` of a map
    fn rows(self) -> Tensor<2> {
        match self {
            Self::Vector(rows) => rows,
            Self::Map(map) => {
                let [n, channels, height, width] = map.dims();
                map.permute([0, 2, 3, 1]).reshape([n * height * width, channels])
            }
            Self::Left(..) => unreachable!("only chains and sums read what is left to normalise"),
        }
    }

    pub(super) fn vector(self) -> Tensor<2> {
        match self {
            Self::Vector(x) => x,
            Self::Map(_) | Self::Left(..) => unreachable!("shape inference gives vectors to operations on vectors"),
        }
    }

    /// # Shapes
    /// - weight: `[1]`
    fn times(self, weight: Tensor<1>) -> Self {
        match self {
            Self::Map(x) => Self::Map(x * weight.reshape([1, 1, 1, 1])),
            Self::Vector(x) => Self::Vector(x * weight.reshape([1, 1])),
            Self::Left(..) => unreachable!("only chains and sums read what is left to normalise"),
        }
    }

    fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::Vector(a), Self::Vector(b)) => Self::Vector(a + b),
            (Self::Vector(_), _) | (_, Self::Vector(_)) => unreachable!("shape inference adds equal shapes"),
            (a, b) => Self::Map(sum(a.lines(), b.lines())),
        }
    }

    /// A map, and how it is still to be normalised.
    fn lines(self) -> (Tensor<4>, Lines) {
        match self {
            Self::Left(x, lines) => (x, lines),
            x => (x.map(), None),
        }
    }
}

impl Value {
    fn mul(self, other: Self) -> Self {
        match (self, other) {
            (Self::Map(a), Self::Map(b)) => Self::Map(a * b),
            (Self::Vector(a), Self::Vector(b)) => Self::Vector(a * b),
            _ => {
                unreachable!(
                    "shape inference multiplies equal shapes, and only chains and sums read what is left to normalise"
                )
            }
        }
    }

    fn sub(self, other: Self) -> Self {
        match (self, other) {
            (Self::Map(a), Self::Map(b)) => Self::Map(a - b),
            (Self::Vector(a), Self::Vector(b)) => Self::Vector(a - b),
            _ => unreachable!(
                "shape inference subtracts equal shapes, and only chains and sums read what is left to normalise"
            ),
        }
    }
}

fn pairs(pads: Pads) -> [(usize, usize); 2] {
    [(pads.top, pads.bottom), (pads.left, pads.right)]
}

fn activate<const D: usize>(kind: Activation, x: Tensor<D>) -> Tensor<D> {
    /// Scale and negative factor of the self-normalising ELU (Klambauer et al.).
    const SELU: (f64, f64) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_2);
    // exp(x) - 1 below 0 and 0 above, without overflow above.
    let below = |x: Tensor<D>| x.clamp_max(0.0).exp().sub_scalar(1.0);
    match kind {
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
        Activation::Elu => relu(x.clone()) + below(x),
        Activation::Selu => {
            let (scale, alpha) = SELU;
            relu(x.clone()).mul_scalar(scale) + below(x).mul_scalar(scale * alpha)
        }
        Activation::Swish => x.clone() * activation::sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => activation::sigmoid(x),
        Activation::NegativeRelu => relu(x.neg()),
        Activation::Square => x.clone() * x,
        Activation::Log => x.log(),
    }
}
