//! The cells of DARTS (H. Liu, K. Simonyan and Y. Yang, 2019): four nodes, each the sum of operations on two earlier
//! states, in a normal and a reduction cell of their own.
//!
//! A network is a 3x3 convolution to three times the filters, then [`Scale::layers`] cells, of which the ones at a third
//! and at two thirds are reductions: their operations on the cell's inputs have stride 2, and they double the filters.
//! A cell's inputs are the outputs of the two cells before it, each brought to the cell's filters by ReLU, 1x1
//! convolution and batch norm; its output is all four nodes, joined along channels. Global average pooling and the
//! classifier end the network.
//!
//! The relaxed network has all eight operations on all fourteen edges of a cell, and one [`Op::Mix`] an edge. Cells of a
//! type share its keys: 0 to 13 are the normal cell's edges, 14 to 27 the reduction cell's. In it alone the poolings are
//! followed by batch norm, so that an operation is not weighed by the size of its values; and there alone the operation
//! `none` exists.
//!
//! One thing is ours: where a map is halved, half of the filters read every second pixel, and the other half the means
//! of 2x2 pixels, where the authors' read the pixels one to the right and one below.

use graph::{Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d};
use serde::{Deserialize, Serialize};

use super::{
    Relax, Scale, SearchSpace,
    parts::{State, best_first, classify, relu_conv_norm, separable, stem},
};
use crate::chooser::{Chooser, Kind, Question};

/// All pairs of cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DartsSpace;

/// Nodes of a cell that are not its inputs.
pub const N_NODES: usize = 4;

/// Edges of a cell: node `i` may read `i + 2` states.
pub const N_EDGES: usize = 14;

/// Two cells: the genotype.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cells {
    /// Keeps the size of its input.
    pub normal: Cell,
    /// Halves height and width, and doubles the filters.
    pub reduction: Cell,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cell {
    /// Nodes in order; later ones may read earlier ones.
    pub nodes: [Node; N_NODES],
}

/// `ops[0](inputs[0]) + ops[1](inputs[1])`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    /// Where it reads, in ascending order: 0 is the cell before the previous one, 1 the previous one, `2 + i` node `i` of
    /// this cell.
    pub inputs: [usize; 2],
    /// What is applied to each.
    pub ops: [EdgeOp; 2],
}

/// What an edge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeOp {
    /// 3x3 max pooling.
    #[serde(rename = "max_pool_3x3")]
    MaxPool,
    /// 3x3 average pooling.
    #[serde(rename = "avg_pool_3x3")]
    AvgPool,
    /// Passes its input on; halves it in a reduction.
    SkipConnect,
    /// 3x3 separable convolution, applied twice.
    #[serde(rename = "sep_conv_3x3")]
    SepConv3,
    /// 5x5 separable convolution, applied twice.
    #[serde(rename = "sep_conv_5x5")]
    SepConv5,
    /// 3x3 separable convolution whose taps are two pixels apart, once.
    #[serde(rename = "dil_conv_3x3")]
    DilConv3,
    /// 5x5 separable convolution whose taps are two pixels apart, once.
    #[serde(rename = "dil_conv_5x5")]
    DilConv5,
}

impl EdgeOp {
    /// All that may be kept, in the paper's order. In the relaxed network `none` stands before them.
    pub const ALL: [Self; 7] = [
        Self::MaxPool,
        Self::AvgPool,
        Self::SkipConnect,
        Self::SepConv3,
        Self::SepConv5,
        Self::DilConv3,
        Self::DilConv5,
    ];

    /// Name in graphs and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxPool => "max_pool_3x3",
            Self::AvgPool => "avg_pool_3x3",
            Self::SkipConnect => "skip_connect",
            Self::SepConv3 => "sep_conv_3x3",
            Self::SepConv5 => "sep_conv_5x5",
            Self::DilConv3 => "dil_conv_3x3",
            Self::DilConv5 => "dil_conv_5x5",
        }
    }
}

/// Options of an edge in the relaxed network: `none`, then [`EdgeOp::ALL`].
const N_OPTIONS: usize = EdgeOp::ALL.len() + 1;

/// The option of an edge that passes nothing on.
const NONE: usize = 0;

/// The cells that the authors found by first order.
pub const DARTS_V1: Cells = {
    use EdgeOp::{AvgPool, MaxPool, SepConv3, SkipConnect};
    Cells {
        normal: cell([
            ([0, 1], [SepConv3, SepConv3]),
            ([0, 1], [SkipConnect, SepConv3]),
            ([0, 1], [SkipConnect, SepConv3]),
            ([0, 2], [SepConv3, SkipConnect]),
        ]),
        reduction: cell([
            ([0, 1], [MaxPool, MaxPool]),
            ([0, 2], [MaxPool, SkipConnect]),
            ([0, 2], [MaxPool, SkipConnect]),
            ([0, 2], [AvgPool, SkipConnect]),
        ]),
    }
};

/// The cells that the authors found by second order.
pub const DARTS_V2: Cells = {
    use EdgeOp::{DilConv3, MaxPool, SepConv3, SkipConnect};
    Cells {
        normal: cell([
            ([0, 1], [SepConv3, SepConv3]),
            ([0, 1], [SepConv3, SepConv3]),
            ([0, 1], [SkipConnect, SepConv3]),
            ([0, 2], [SkipConnect, DilConv3]),
        ]),
        reduction: cell([
            ([0, 1], [MaxPool, MaxPool]),
            ([1, 2], [MaxPool, SkipConnect]),
            ([0, 2], [MaxPool, SkipConnect]),
            ([1, 2], [MaxPool, SkipConnect]),
        ]),
    }
};

const fn cell(nodes: [([usize; 2], [EdgeOp; 2]); N_NODES]) -> Cell {
    let [a, b, c, d] = nodes;
    Cell { nodes: [node(a), node(b), node(c), node(d)] }
}

const fn node((inputs, ops): ([usize; 2], [EdgeOp; 2])) -> Node {
    Node { inputs, ops }
}

impl Cells {
    /// Whether every node reads two different earlier states, the earlier one first.
    pub fn is_well_formed(&self) -> bool {
        let reads = |(idx, node): (usize, &Node)| node.inputs[0] < node.inputs[1] && node.inputs[1] < idx + 2;
        [self.normal, self.reduction].iter().all(|cell| cell.nodes.iter().enumerate().all(reads))
    }
}

impl Cell {
    /// Each edge that is kept: the node it leads to, the state it reads, and its operation.
    pub fn edges(&self) -> impl Iterator<Item = (usize, usize, EdgeOp)> {
        let of = |(idx, node): (usize, &Node)| [0, 1].map(|side| (idx, node.inputs[side], node.ops[side]));
        self.nodes.iter().enumerate().flat_map(of).collect::<Vec<_>>().into_iter()
    }
}

impl SearchSpace for DartsSpace {
    type Arch = Cells;

    /// 16 answers a cell: for each node two inputs, the second among those that the first left, and an operation of
    /// each. The inputs of a node have no order, so each architecture is the outcome of `2^8` sequences of answers.
    fn sample(&self, chooser: &mut dyn Chooser) -> Cells {
        let normal = sample_cell(chooser);
        chooser.forget();
        Cells { normal, reduction: sample_cell(chooser) }
    }

    fn build(&self, cells: &Cells, scale: &Scale) -> Result<Graph, GraphError> {
        network(scale, |graph, states, place| {
            let cell = if place.is_reduction { &cells.reduction } else { &cells.normal };
            let Node { inputs, ops } = cell.nodes[place.node];
            let mut ends = [states[0].node; 2];
            for (end, (input, op)) in ends.iter_mut().zip(inputs.into_iter().zip(ops)) {
                // The name is what shares weights: same place, same source, same operation.
                *end = graph.within(("from", input), |graph| {
                    apply(graph, op, &mut states[input], place.channels, place.stride(input))
                })?;
            }
            graph.add("sum", Op::Add, &ends)
        })
    }

    /// The two previous cells.
    fn given(&self) -> usize {
        2
    }

    /// `(prod over i of (i + 1) i / 2 * 7^2)^2`: node `i` (from 1) keeps two of `i + 1` inputs, with 7 operations to
    /// choose from on each; there are two cells. 1,037,664,180 a cell, about 10^18 in all.
    fn size(&self) -> u128 {
        let n_ops = EdgeOp::ALL.len() as u128;
        let node = |i: u128| (i + 1) * i / 2 * n_ops.pow(2);
        (1..=N_NODES as u128).map(node).product::<u128>().pow(2)
    }

    /// Nothing but skips in the normal cell, where they are free, and all nodes the same sum, which an engine computes
    /// once.
    ///
    /// In the reduction cell the first node reads both inputs, and every other node one of them or nodes alone, which
    /// cost a sum and no more. Its cheapest have one kind of pooling, and all nodes the same sum, or as few operations
    /// on inputs as there can be; a halving skip is cheaper than a pooling where an engine is slow at windows.
    fn cheapest(&self) -> Vec<Cells> {
        use EdgeOp::{AvgPool, MaxPool, SkipConnect};

        let same = |ops: [EdgeOp; 2]| cell([([0, 1], ops); N_NODES]);
        let chain = |first: [EdgeOp; 2], input: usize| {
            let free = [SkipConnect; 2];
            cell([([0, 1], first), ([input, 2], [first[input], SkipConnect]), ([2, 3], free), ([2, 3], free)])
        };
        let halving = [MaxPool, AvgPool, SkipConnect];
        let pairs = halving.into_iter().flat_map(|a| halving.map(|b| [a, b]));
        let reductions = pairs.flat_map(|first| [same(first), chain(first, 0), chain(first, 1)]);
        reductions.map(|reduction| Cells { normal: same([SkipConnect; 2]), reduction }).collect()
    }
}

impl Relax for DartsSpace {
    fn relax(&self, scale: &Scale) -> Result<Graph, GraphError> {
        relaxed(scale, |graph, state, place, input| mix(graph, state, place, input, place.channels))
    }

    fn options(&self) -> Vec<usize> {
        vec![N_OPTIONS; 2 * N_EDGES]
    }

    /// Section 2.4: of a cell's node the two inputs are kept whose strongest operations other than `none` are the
    /// strongest. That is the pair of edges with the largest sum of scores, and nodes do not depend on each other.
    fn strongest(&self, scores: &[Vec<f64>]) -> impl Iterator<Item = Cells> {
        let places = (0..2 * N_NODES).map(|place| (N_NODES <= place, place % N_NODES));
        best_first(places.map(|(is_reduction, node)| nodes(is_reduction, node, scores)).collect()).map(|nodes| {
            let cell = |from: usize| Cell { nodes: std::array::from_fn(|idx| nodes[from + idx]) };
            Cells { normal: cell(0), reduction: cell(N_NODES) }
        })
    }

    fn chosen(&self, cells: &Cells) -> Vec<usize> {
        let mut chosen = vec![NONE; 2 * N_EDGES];
        for (is_reduction, cell) in [(false, cells.normal), (true, cells.reduction)] {
            for (node, input, op) in cell.edges() {
                chosen[key(is_reduction, node, input)] = option(op);
            }
        }
        chosen
    }

    /// Those of the normal cell: in the authors' own reduction cells every other edge is one.
    fn n_skips(&self, cells: &Cells) -> usize {
        cells.normal.edges().filter(|(_, _, op)| *op == EdgeOp::SkipConnect).count()
    }
}

/// A network with every choice open, each of whose edges is what `add_edge` makes of a state for the node of a place.
pub(super) fn relaxed(
    scale: &Scale,
    mut add_edge: impl FnMut(&mut Graph, &mut State, Place, usize) -> Result<NodeId, GraphError>,
) -> Result<Graph, GraphError> {
    network(scale, |graph, states, place| {
        let mut ends = Vec::with_capacity(place.node + 2);
        for (input, state) in states.iter_mut().enumerate() {
            ends.push(graph.within(("from", input), |graph| add_edge(graph, state, place, input))?);
        }
        graph.add("sum", Op::Add, &ends)
    })
}

/// All operations on a state of this many channels, and the choice among them.
pub(super) fn mix(
    graph: &mut Graph,
    state: &mut State,
    place: Place,
    input: usize,
    channels: usize,
) -> Result<NodeId, GraphError> {
    let stride = place.stride(input);
    let mut options = vec![graph.add("none", Op::Zero(stride), &[state.node])?];
    for op in EdgeOp::ALL {
        let node = apply(graph, op, state, channels, stride)?;
        options.push(match op {
            EdgeOp::MaxPool => graph.add("max_pool_3x3/norm", Op::BatchNorm, &[node])?,
            EdgeOp::AvgPool => graph.add("avg_pool_3x3/norm", Op::BatchNorm, &[node])?,
            _ => node,
        });
    }
    graph.add("mix", Op::Mix(key(place.is_reduction, place.node, input) as u32), &options)
}

/// The key of an edge's mixes.
pub fn key(is_reduction: bool, node: usize, input: usize) -> usize {
    // Node `i` comes after those with 2, 3, ... `i + 1` edges.
    let before = node * (node + 3) / 2;
    if is_reduction { N_EDGES + before + input } else { before + input }
}

/// Which option of a mix an operation is.
pub fn option(op: EdgeOp) -> usize {
    1 + op as usize
}

/// Everything that a node may be, with its score.
fn nodes(is_reduction: bool, node: usize, scores: &[Vec<f64>]) -> Vec<(f64, Node)> {
    let score = |input: usize, op: EdgeOp| scores[key(is_reduction, node, input)][option(op)];
    let mut all = Vec::new();
    for inputs in (0..node + 2).flat_map(|first| (first + 1..node + 2).map(move |second| [first, second])) {
        for ops in EdgeOp::ALL.into_iter().flat_map(|first| EdgeOp::ALL.map(|second| [first, second])) {
            all.push((score(inputs[0], ops[0]) + score(inputs[1], ops[1]), Node { inputs, ops }));
        }
    }
    all
}

fn sample_cell(chooser: &mut dyn Chooser) -> Cell {
    let nodes = std::array::from_fn(|idx| {
        let mut choose = |kind, options| chooser.choose(Question { kind, options });
        let (first, other) = (choose(Kind::Input, idx + 2), choose(Kind::Input, idx + 1));
        let second = if other < first { other } else { other + 1 };
        let ops = [(); 2].map(|()| EdgeOp::ALL[choose(Kind::Op, EdgeOp::ALL.len())]);
        chooser.define();
        if first < second {
            Node { inputs: [first, second], ops }
        } else {
            Node { inputs: [second, first], ops: [ops[1], ops[0]] }
        }
    });
    Cell { nodes }
}

/// Where a node stands.
#[derive(Clone, Copy)]
pub(super) struct Place {
    is_reduction: bool,
    node: usize,
    pub(super) channels: usize,
}

impl Place {
    /// How far operations on this state move.
    pub(super) fn stride(self, input: usize) -> usize {
        if self.is_reduction && input < 2 { 2 } else { 1 }
    }
}

/// The cells that are reductions.
pub fn reductions(layers: usize) -> [usize; 2] {
    [layers / 3, 2 * layers / 3]
}

/// A network whose nodes are what `add_node` makes of the states before them.
fn network(
    scale: &Scale,
    mut add_node: impl FnMut(&mut Graph, &mut [State], Place) -> Result<NodeId, GraphError>,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::with_capacity(80 * scale.layers);
    let image = scale.begin(&mut graph)?;
    let stem = stem(&mut graph, image, 3 * scale.channels)?;
    let (mut before, mut last) = (stem, stem);
    let (mut channels, mut was_reduced) = (scale.channels, false);
    for layer in 0..scale.layers {
        let is_reduction = reductions(scale.layers).contains(&layer);
        channels *= if is_reduction { 2 } else { 1 };
        let out = graph.within(("cell", layer), |graph| {
            // The cell before the previous one is larger where that one is a reduction.
            let first = graph.within("input0", |graph| match was_reduced {
                true => halve(graph, &mut State::new(before), channels),
                false => relu_conv_norm(graph, before, Conv2d::same(channels, 1, 1)),
            })?;
            let second = graph.within("input1", |graph| relu_conv_norm(graph, last, Conv2d::same(channels, 1, 1)))?;
            let mut states = vec![State::new(first), State::new(second)];
            for node in 0..N_NODES {
                let place = Place { is_reduction, node, channels };
                let sum = graph.within(("node", node), |graph| add_node(graph, &mut states, place))?;
                states.push(State::new(sum));
            }
            let nodes: Vec<NodeId> = states[2..].iter().map(|state| state.node).collect();
            graph.add("output", Op::Concat, &nodes)
        })?;
        (before, last) = (last, out);
        was_reduced = is_reduction;
    }
    classify(&mut graph, last, scale)?;
    Ok(graph)
}

fn apply(
    graph: &mut Graph,
    op: EdgeOp,
    state: &mut State,
    channels: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let pool = Pool2d::same(3, stride);
    let depthwise = |kernel| Conv2d::depthwise(channels, kernel, stride);
    let dilated = |kernel: usize| Conv2d { dilation: [2; 2], pads: Pads::all(kernel - 1), ..depthwise(kernel) };
    match op {
        EdgeOp::MaxPool => graph.add(op.name(), Op::MaxPool(pool), &[state.node]),
        EdgeOp::AvgPool => graph.add(op.name(), Op::AvgPool(pool), &[state.node]),
        EdgeOp::SkipConnect if stride == 1 => Ok(state.node),
        EdgeOp::SkipConnect => graph.within(op.name(), |graph| halve(graph, state, channels)),
        EdgeOp::SepConv3 | EdgeOp::SepConv5 => graph.within(op.name(), |graph| {
            let kernel = if op == EdgeOp::SepConv3 { 3 } else { 5 };
            let first = graph.within("first", |graph| separable(graph, state, depthwise(kernel)))?;
            let again = Conv2d::depthwise(channels, kernel, 1);
            graph.within("second", |graph| separable(graph, &mut State::new(first), again))
        }),
        EdgeOp::DilConv3 => graph.within(op.name(), |graph| separable(graph, state, dilated(3))),
        EdgeOp::DilConv5 => graph.within(op.name(), |graph| separable(graph, state, dilated(5))),
    }
}

/// The factorised reduction: half of the channels from every second pixel, half from the means of 2x2 pixels.
fn halve(graph: &mut Graph, state: &mut State, channels: usize) -> Result<NodeId, GraphError> {
    let relu = state.relu(graph)?;
    let half = channels / 2;
    let sparse = graph.add("sparse/conv", Op::Conv2d(Conv2d::same(half, 1, 2)), &[relu])?;
    // The last row and column of an odd map have a window of their own.
    let [height, width] = graph.shape(relu).spatial();
    let pads = Pads { bottom: height % 2, right: width % 2, ..Pads::all(0) };
    let mean = graph.add("mean/pool", Op::AvgPool(Pool2d { kernel: [2; 2], stride: [2; 2], pads }), &[relu])?;
    let mean = graph.add("mean/conv", Op::Conv2d(Conv2d::same(channels - half, 1, 1)), &[mean])?;
    let both = graph.add("join", Op::Concat, &[sparse, mean])?;
    graph.add("norm", Op::BatchNorm, &[both])
}
