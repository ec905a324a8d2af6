//! Random networks over every operation, their weights and their images, each from a seed.

use graph::{
    Activation, Conv2d, Graph, NodeId, Op, Pads, Pool2d, Shape,
    weights::{Weights, parameters},
};

/// Maps stay below this many values, so that the interpreter answers in milliseconds.
const MAX_ELEMENTS: usize = 1500;

/// A scope whose name costs as much as any that a space gives.
const LONG: &str = "separable_convolution_3x3_on_the_left_side_of_the_block";

const ACTIVATIONS: [Activation; 8] = [
    Activation::Relu,
    Activation::Relu6,
    Activation::Elu,
    Activation::Selu,
    Activation::Swish,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::NegativeRelu,
];

/// SplitMix64.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// An integer in `low..=high`.
    pub(crate) fn range(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() % (high - low + 1) as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.range(1, 100) <= percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.range(0, from.len() - 1)]
    }

    /// A real number in `[low, high)`.
    pub(crate) fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.bits() >> 40) as f32 / (1 << 24) as f32)
    }
}

/// A network of about `n_nodes` nodes, two thirds of the time a classifier.
///
/// Nodes that nobody reads occur, as do nodes read several times, and any operation may come last.
pub(crate) fn graph(seed: u64, n_nodes: usize) -> Graph {
    let mut rng = Rng::new(seed);
    let mut graph = Graph::default();
    let image = if rng.chance(85) {
        Shape::Map([rng.range(1, 4), rng.range(3, 10), rng.range(3, 10)])
    } else {
        Shape::Vector(rng.range(1, 8))
    };
    graph.input(image);
    // An attempt whose shapes do not fit adds nothing.
    for _ in 0..8 * n_nodes {
        if graph.n_nodes() >= n_nodes {
            break;
        }
        grow(&mut graph, &mut rng);
    }
    if rng.chance(66)
        && let Some(map) = graph.ids().rev().find(|&id| matches!(graph.shape(id), Shape::Map(_)))
    {
        let pool = graph.add("pool", Op::GlobalAvgPool, &[map]).expect("a map can be averaged");
        let classes = rng.range(1, 10);
        graph.add("classifier", Op::Linear(classes), &[pool]).expect("a vector can be mapped");
    }
    graph
}

fn grow(graph: &mut Graph, rng: &mut Rng) {
    let ids: Vec<NodeId> = graph.ids().collect();
    // Recent nodes more often, so that networks become deep.
    let first = ids.len().saturating_sub(if rng.chance(70) { 3 } else { ids.len() });
    let input = rng.pick(&ids[first..]);
    let shape = graph.shape(input);
    let alike = |rng: &mut Rng, limit: usize, fits: &dyn Fn(Shape) -> bool| {
        let others: Vec<NodeId> = ids.iter().copied().filter(|&id| fits(graph.shape(id))).collect();
        let mut inputs = vec![input];
        inputs.extend((1..limit).map(|_| rng.pick(&others)));
        inputs
    };
    let (word, op, inputs) = match rng.range(0, 21) {
        0..=5 => ("conv", Op::Conv2d(conv(shape.channels(), rng)), vec![input]),
        6..=7 => ("norm", Op::BatchNorm, vec![input]),
        8..=10 => ("act", Op::Activation(rng.pick(&ACTIVATIONS)), vec![input]),
        11 => ("max_pool", Op::MaxPool(pool(rng)), vec![input]),
        12 => ("avg_pool", Op::AvgPool(pool(rng)), vec![input]),
        13 if rng.chance(50) => ("mean", Op::GlobalAvgPool, vec![input]),
        13 => ("channels_last", Op::ChannelsLast, vec![input]),
        14 => ("linear", Op::Linear(rng.range(1, 9)), vec![input]),
        15 | 16 => {
            let n_inputs = rng.range(2, 5);
            ("add", Op::Add, alike(rng, n_inputs, &|it| it == shape))
        }
        17 => {
            let n_inputs = rng.range(1, 4);
            let same_map = |it| matches!(it, Shape::Map(_)) && Shape::spatial(it) == shape.spatial();
            let inputs = if same_map(shape) { alike(rng, n_inputs, &same_map) } else { vec![input] };
            ("concat", Op::Concat, inputs)
        }
        18 if rng.chance(50) => {
            let from = rng.range(0, shape.channels() - 1);
            let channels = rng.range(1, shape.channels() - from);
            ("slice", Op::Slice { from: from as u32, channels: channels as u32 }, vec![input])
        }
        18 => ("same", Op::Identity, vec![input]),
        20 if rng.chance(50) => ("product", Op::Mul, alike(rng, 2, &|it| it == shape)),
        20 => {
            let n_inputs = rng.range(2, 4);
            ("average", Op::Mean, alike(rng, n_inputs, &|it| it == shape))
        }
        21 => ("less", Op::Sub, alike(rng, 2, &|it| it == shape)),
        19 if rng.chance(60) => ("zero", Op::Zero(rng.range(1, 3)), vec![input]),
        _ if rng.chance(90) => ("resize", Op::Resize([rng.range(1, 9), rng.range(1, 9)]), vec![input]),
        _ => return,
    };
    if let Some(added) = try_add(graph, rng, word, op, &inputs)
        && matches!(op, Op::Conv2d(_))
        && rng.chance(60)
    {
        // Sometimes with something between, or with a second reader: then it cannot be folded.
        let between = if rng.chance(15) { try_add(graph, rng, "same", Op::Identity, &[added]) } else { None };
        if rng.chance(15) {
            try_add(graph, rng, "act", Op::Activation(Activation::Tanh), &[added]);
        }
        try_add(graph, rng, "norm", Op::BatchNorm, &[between.unwrap_or(added)]);
    }
}

fn try_add(graph: &mut Graph, rng: &mut Rng, word: &'static str, op: Op, inputs: &[NodeId]) -> Option<NodeId> {
    let label = (word, graph.n_nodes());
    let mut grown = graph.clone();
    let added = match rng.range(0, 9) {
        0..=4 => grown.add(label, op, inputs),
        5..=7 => grown.within(("cell", label.1), |graph| graph.within("left", |graph| graph.add(label, op, inputs))),
        _ => grown.within(LONG, |graph| graph.within(LONG, |graph| graph.add(label, op, inputs))),
    };
    let id = added.ok().filter(|&id| grown.shape(id).elements() <= MAX_ELEMENTS)?;
    *graph = grown;
    Some(id)
}

fn conv(n_inputs: usize, rng: &mut Rng) -> Conv2d {
    let divisors: Vec<usize> = (1..=n_inputs).filter(|&it| n_inputs.is_multiple_of(it)).collect();
    let groups = if rng.chance(50) { 1 } else { rng.pick(&divisors) };
    let kernel = [rng.range(1, 5), rng.range(1, 5)];
    // Half of them keep the size, the rest pad each side as they like, beyond the kernel even.
    let pads = if rng.chance(50) {
        Pads { top: kernel[0] / 2, left: kernel[1] / 2, bottom: kernel[0] / 2, right: kernel[1] / 2 }
    } else {
        Pads { top: rng.range(0, 3), left: rng.range(0, 3), bottom: rng.range(0, 3), right: rng.range(0, 3) }
    };
    Conv2d {
        channels: groups * rng.range(1, 8_usize.div_ceil(groups)),
        kernel,
        stride: if rng.chance(60) { [1; 2] } else { [rng.range(1, 3), rng.range(1, 3)] },
        dilation: if rng.chance(70) { [1; 2] } else { [rng.range(1, 3), rng.range(1, 3)] },
        pads,
        groups,
        bias: rng.chance(40),
        fixed: false,
    }
}

fn pool(rng: &mut Rng) -> Pool2d {
    let kernel = [rng.range(1, 4), rng.range(1, 4)];
    Pool2d {
        kernel,
        stride: [rng.range(1, 3), rng.range(1, 3)],
        pads: Pads {
            top: rng.range(0, kernel[0] - 1),
            left: rng.range(0, kernel[1] - 1),
            bottom: rng.range(0, kernel[0] - 1),
            right: rng.range(0, kernel[1] - 1),
        },
    }
}

/// Weights that keep activations near 1, with running statistics that matter.
pub(crate) fn weights(graph: &Graph, seed: u64) -> Weights {
    let mut rng = Rng::new(!seed);
    let mut weights = Weights::default();
    for id in graph.ids() {
        for (suffix, shape) in parameters(graph, id) {
            let fan_in: usize = shape[1..].iter().product();
            let bound = (3.0 / fan_in as f32).sqrt();
            let (low, high) = match suffix {
                "weight" => (-bound, bound),
                "gamma" => (0.5, 1.2),
                "var" => (0.3, 2.0),
                "bias" | "beta" | "mean" => (-0.5, 0.5),
                other => panic!("a parameter the generator does not know: {other}"),
            };
            let values = (0..shape.iter().product()).map(|_| rng.uniform(low, high)).collect();
            weights.insert(&graph.name(id), suffix, shape, values);
        }
    }
    weights
}

/// A normalised image for the graph's input.
pub(crate) fn image(graph: &Graph, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed ^ 0x1ead);
    let input = graph.ids().next().expect("a network has an input");
    (0..graph.shape(input).elements()).map(|_| rng.uniform(-2.0, 2.0)).collect()
}
