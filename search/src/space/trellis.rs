//! Auto-DeepLab's networks for scenes (C. Liu et al., 2019): one cell, and a path through a trellis that says at which
//! stride each layer works.
//!
//! A cell has [`Trellis::blocks`] blocks, each the sum of two operations on earlier states: the layer before the previous
//! one, the previous one, and the blocks before it. Its output is all blocks, joined along channels; at stride `s` a block
//! has `F * s / 4` filters, `F` being [`Scale::channels`]. Three convolutions bring the image to stride 4, where the first
//! of [`Trellis::layers`] layers stands; each further one is at the stride of the one before, at half or at twice that, of
//! 4, 8, 16 and 32. Atrous spatial pyramid pooling ends the network.
//!
//! The relaxed network has every layer at every stride that a path can reach, each the sum of one cell for each stride that
//! it may be reached from; the options of a cell's edges are weighed by alpha, which all cells share: keys 0 to
//! `n_edges - 1`. The rest of the keys are beta, one a layer and stride but those of the last layer: each weighs where
//! its value goes, so that what leaves a map sums to 1, not what enters one. That is [`Op::Weigh`]. Each map of
//! the last layer has a pooling of its own, and their logits are added.
//!
//! What is ours: a cell that takes the layer before the previous one from a path at another stride has it resized, as in
//! the released code of the network that was found, while relaxed it reads its own stride, where that exists. A path is
//! therefore not computed by the relaxed network with all else ruled out, which is why it is scored as it is. Where a map
//! grows, its 1x1 convolution goes before the interpolation, which is the same and moves fewer values. The stem's filters
//! follow `F`: 64, 64 and 128 at 20. Cells whose blocks read one state twice, or do nothing with it, are left out: nothing
//! chooses them.

use std::{cmp::Ordering, collections::BinaryHeap};

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d, relaxed::Mixture};
use serde::{Deserialize, Serialize};

use super::{
    Relax, Scale, SearchSpace, aspp,
    parts::{State, best_pairs, best_scored, conv_norm, relu_conv_norm, separable},
};
use crate::chooser::{Chooser, Kind, Question};

/// All cells and all paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trellis {
    /// `L`: layers, the stem not counted.
    pub layers: usize,
    /// `B`: blocks of a cell.
    pub blocks: usize,
}

/// The paper's: twelve layers of five blocks.
impl Default for Trellis {
    fn default() -> Self {
        Self { layers: 12, blocks: 5 }
    }
}

/// The strides that a layer may have, by level.
pub const STRIDES: [usize; 4] = [4, 8, 16, 32];

/// A cell and a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The blocks of every layer's cell, in order; later ones may read earlier ones.
    pub cell: Vec<Block>,
    /// By layer its level, an index into [`STRIDES`]. The first is 0, and neighbours differ by 1 at most.
    pub path: Vec<usize>,
}

/// `ops[0](inputs[0]) + ops[1](inputs[1])`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    /// Where it reads, in ascending order: 0 is the layer before the previous one, 1 the previous one, `2 + i` block `i`.
    pub inputs: [usize; 2],
    /// What is applied to each.
    pub ops: [BlockOp; 2],
}

/// What is done to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockOp {
    /// 3x3 separable convolution, applied twice.
    #[serde(rename = "sep_conv_3x3")]
    SepConv3,
    /// 5x5 separable convolution, applied twice.
    #[serde(rename = "sep_conv_5x5")]
    SepConv5,
    /// 3x3 convolution whose taps are two pixels apart.
    #[serde(rename = "atrous_conv_3x3")]
    AtrousConv3,
    /// 5x5 convolution whose taps are two pixels apart.
    #[serde(rename = "atrous_conv_5x5")]
    AtrousConv5,
    /// 3x3 average pooling.
    #[serde(rename = "avg_pool_3x3")]
    AvgPool,
    /// 3x3 max pooling.
    #[serde(rename = "max_pool_3x3")]
    MaxPool,
    /// Passes its input on.
    #[serde(rename = "skip_connect")]
    SkipConnect,
}

impl BlockOp {
    /// All that may be kept, in the paper's order. In the relaxed network "no connection" stands before them.
    pub const ALL: [Self; 7] = [
        Self::SepConv3,
        Self::SepConv5,
        Self::AtrousConv3,
        Self::AtrousConv5,
        Self::AvgPool,
        Self::MaxPool,
        Self::SkipConnect,
    ];

    /// Name in graphs and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::SepConv3 => "sep_conv_3x3",
            Self::SepConv5 => "sep_conv_5x5",
            Self::AtrousConv3 => "atrous_conv_3x3",
            Self::AtrousConv5 => "atrous_conv_5x5",
            Self::AvgPool => "avg_pool_3x3",
            Self::MaxPool => "max_pool_3x3",
            Self::SkipConnect => "skip_connect",
        }
    }
}

/// Options of an edge in the relaxed network: none, then [`BlockOp::ALL`].
const N_OPTIONS: usize = BlockOp::ALL.len() + 1;

/// The option of an edge that passes nothing on.
const NONE: usize = 0;

/// The network that the authors found and released.
pub fn auto_deeplab() -> Route {
    use BlockOp::{AtrousConv3, AtrousConv5, SepConv3, SepConv5};

    let blocks = [
        ([0, 1], [AtrousConv5, SepConv3]),
        ([0, 1], [SepConv3, AtrousConv3]),
        ([0, 3], [SepConv3, SepConv3]),
        ([2, 4], [SepConv5, SepConv5]),
        ([3, 5], [SepConv5, AtrousConv5]),
    ];
    let cell = blocks.into_iter().map(|(inputs, ops)| Block { inputs, ops }).collect();
    Route { cell, path: vec![0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1] }
}

impl Trellis {
    /// Whether an architecture is one of this space.
    pub fn holds(&self, route: &Route) -> bool {
        let reads = |(idx, block): (usize, &Block)| block.inputs[0] < block.inputs[1] && block.inputs[1] < idx + 2;
        let steps = |pair: &[usize]| targets(pair[0]).contains(&pair[1]);
        route.cell.len() == self.blocks
            && route.path.len() == self.layers
            && route.path.first() == Some(&0)
            && route.cell.iter().enumerate().all(reads)
            && route.path.windows(2).all(steps)
    }

    /// Number of paths.
    pub fn n_paths(&self) -> u128 {
        let mut ends = [1_u128, 0, 0, 0];
        for _ in 1..self.layers {
            ends = std::array::from_fn(|level| targets(level).map(|from| ends[from]).sum());
        }
        ends.iter().sum()
    }

    /// Number of cells, a block's two inputs having no order.
    pub fn n_cells(&self) -> u128 {
        let n_ops = BlockOp::ALL.len() as u128;
        (1..=self.blocks as u128).map(|i| (i + 1) * i / 2 * n_ops.pow(2)).product()
    }

    /// Edges of a cell.
    pub fn n_edges(&self) -> usize {
        edge(self.blocks, 0)
    }

    /// The key that weighs where the value of a layer at a level goes; the last layer has none.
    pub fn beta(&self, layer: usize, level: usize) -> usize {
        self.n_edges() + (0..layer).map(n_levels).sum::<usize>() + level
    }

    /// Every path by the sum of the scores of its steps, the largest first.
    ///
    /// Viterbi's recursion from the last layer back tells what the best rest of a path is worth. It is the bound by which
    /// paths are then extended: the first that is complete is Viterbi's own, and the next are the next.
    fn paths(self, scores: &[Vec<f64>]) -> impl Iterator<Item = (f64, Vec<usize>)> {
        let step = {
            let beta = scores[self.n_edges()..].to_vec();
            move |layer: usize, from: usize, to: usize| {
                let key = (0..layer).map(n_levels).sum::<usize>() + from;
                beta[key][to - targets(from).start()]
            }
        };
        let mut rest = vec![[0.0_f64; STRIDES.len()]; self.layers];
        for layer in (0..self.layers - 1).rev() {
            for level in 0..n_levels(layer) {
                let worth = targets(level).map(|to| step(layer, level, to) + rest[layer + 1][to]);
                rest[layer][level] = worth.fold(f64::NEG_INFINITY, f64::max);
            }
        }
        let mut open = BinaryHeap::from([Partial { bound: rest[0][0], score: 0.0, path: vec![0] }]);
        std::iter::from_fn(move || {
            loop {
                let Partial { score, path, .. } = open.pop()?;
                if path.len() == self.layers {
                    return Some((score, path));
                }
                let (layer, from) = (path.len() - 1, path[path.len() - 1]);
                for to in targets(from) {
                    let score = score + step(layer, from, to);
                    let path = path.iter().copied().chain([to]).collect();
                    open.push(Partial { bound: score + rest[layer + 1][to], score, path });
                }
            }
        })
    }

    /// A network whose blocks are what `add_block` makes of the states before them, and whose layers `wire` strings
    /// together.
    fn network(
        &self,
        scale: &Scale,
        add_block: AddBlock<'_>,
        wire: impl FnOnce(&mut Builder) -> Result<(), GraphError>,
    ) -> Result<Graph, GraphError> {
        let mut graph = Graph::default();
        let image = scale.begin(&mut graph)?;
        let filters = (16 * scale.channels / 5).max(1);
        let stem = graph.within("stem", |graph| {
            let mut last = conv_norm(graph, ["conv0", "norm0"], image, Conv2d::same(filters, 3, 2))?;
            last = graph.add("relu0", Op::Activation(Activation::Relu), &[last])?;
            last = conv_norm(graph, ["conv1", "norm1"], last, Conv2d::same(filters, 3, 1))?;
            last = graph.add("relu1", Op::Activation(Activation::Relu), &[last])?;
            conv_norm(graph, ["conv2", "norm2"], last, Conv2d::same(2 * filters, 3, 2))
        })?;
        let mut builder = Builder { graph, scale: *scale, n_blocks: self.blocks, stem, add_block };
        wire(&mut builder)?;
        Ok(builder.graph)
    }
}

impl SearchSpace for Trellis {
    type Arch = Route;

    /// Four answers a block, as DARTS's cells have them, and one a step of the path.
    fn sample(&self, chooser: &mut dyn Chooser) -> Route {
        let cell = (0..self.blocks).map(|idx| sample_block(chooser, idx)).collect();
        let mut path = vec![0];
        for _ in 1..self.layers {
            let next = targets(path[path.len() - 1]);
            let options = next.end() - next.start() + 1;
            path.push(next.start() + chooser.choose(Question { kind: Kind::Stride, options }));
        }
        Route { cell, path }
    }

    /// Layers are the space's own: those of the scale do not count.
    fn build(&self, route: &Route, scale: &Scale) -> Result<Graph, GraphError> {
        let mut add_block = |graph: &mut Graph, states: &mut [State], block: usize, channels: usize| {
            let Block { inputs, ops } = route.cell[block];
            let mut ends = [states[0].node; 2];
            for (end, (input, op)) in ends.iter_mut().zip(inputs.into_iter().zip(ops)) {
                *end = graph.within(("from", input), |graph| apply(graph, op, &mut states[input], channels))?;
            }
            graph.add("sum", Op::Add, &ends)
        };
        self.network(scale, &mut add_block, |builder| {
            let stem = Map { node: builder.stem, level: 0 };
            let (mut before, mut last) = (stem, stem);
            for (layer, &level) in route.path.iter().enumerate() {
                let node = builder.cell(layer, level, before, last)?;
                (before, last) = (last, Map { node, level });
            }
            builder.head(last)?;
            Ok(())
        })
    }

    /// The two previous layers.
    fn given(&self) -> usize {
        2
    }

    /// Cells times paths. The paper counts also cells whose blocks read one state twice or not at all.
    fn size(&self) -> u128 {
        self.n_cells() * self.n_paths()
    }

    /// Nothing but skips of the two layers before, on a path that goes straight to its last stride: at once for few
    /// pixels, late for few filters.
    fn cheapest(&self) -> Vec<Route> {
        let cell = vec![Block { inputs: [0, 1], ops: [BlockOp::SkipConnect; 2] }; self.blocks];
        let path = |start: usize, end: usize| (0..self.layers).map(|it| it.saturating_sub(start).min(end)).collect();
        let paths = (0..self.layers).flat_map(|start| (1..STRIDES.len()).map(move |end| (start, end)));
        let mut paths: Vec<Vec<usize>> = paths.map(|(start, end)| path(start, end)).chain([path(0, 0)]).collect();
        paths.sort();
        paths.dedup();
        paths.into_iter().map(|path| Route { cell: cell.clone(), path }).collect()
    }
}

impl Relax for Trellis {
    fn relax(&self, scale: &Scale) -> Result<Graph, GraphError> {
        let mut add_block = |graph: &mut Graph, states: &mut [State], block: usize, channels: usize| {
            let mut ends = Vec::with_capacity(block + 2);
            for (input, state) in states.iter_mut().enumerate() {
                ends.push(graph.within(("from", input), |graph| {
                    let mut options = vec![graph.add("none", Op::Zero(1), &[state.node])?];
                    for op in BlockOp::ALL {
                        let node = apply(graph, op, state, channels)?;
                        // As in DARTS: an operation is not weighed by the size of its values.
                        options.push(match op {
                            BlockOp::AvgPool => graph.add("avg_pool_3x3/norm", Op::BatchNorm, &[node])?,
                            BlockOp::MaxPool => graph.add("max_pool_3x3/norm", Op::BatchNorm, &[node])?,
                            BlockOp::SepConv3
                            | BlockOp::SepConv5
                            | BlockOp::AtrousConv3
                            | BlockOp::AtrousConv5
                            | BlockOp::SkipConnect => node,
                        });
                    }
                    graph.add("mix", Op::Mix(edge(block, input) as u32), &options)
                })?);
            }
            graph.add("sum", Op::Add, &ends)
        };
        self.network(scale, &mut add_block, |builder| {
            let stem = vec![Map { node: builder.stem, level: 0 }];
            let (mut before, mut last) = (stem.clone(), stem);
            for layer in 0..self.layers {
                let mut maps = Vec::with_capacity(STRIDES.len());
                for level in 0..n_levels(layer) {
                    // The same stride, or the next finer one that was reached by then.
                    let skipped = before[level.min(before.len() - 1)];
                    let mut ends = Vec::new();
                    for from in last.iter().filter(|from| targets(from.level).contains(&level)) {
                        let cell = builder.cell(layer, level, skipped, *from)?;
                        ends.push(match layer.checked_sub(1) {
                            None => cell,
                            Some(before) => {
                                let key = self.beta(before, from.level) as u32;
                                let option = (level - targets(from.level).start()) as u32;
                                builder.weigh(layer, level, from.level, cell, Op::Weigh { key, option })?
                            }
                        });
                    }
                    let node = within(&mut builder.graph, layer, level, |graph| sum(graph, "sum", &ends))?;
                    maps.push(Map { node, level });
                }
                (before, last) = (last, maps);
            }
            let heads = last.into_iter().map(|map| builder.head(map)).collect::<Result<Vec<_>, _>>()?;
            sum(&mut builder.graph, "logits", &heads)?;
            Ok(())
        })
    }

    fn options(&self) -> Vec<usize> {
        let nodes = (0..self.layers - 1).flat_map(|layer| 0..n_levels(layer));
        let steps = nodes.map(|level| targets(level).count());
        vec![N_OPTIONS; self.n_edges()].into_iter().chain(steps).collect()
    }

    /// Section 4.3: of a block the two states are kept whose strongest operations other than none are the strongest, and
    /// the path is Viterbi's by the logarithms of beta.
    fn strongest(&self, scores: &[Vec<f64>]) -> impl Iterator<Item = Route> {
        let cells = best_scored((0..self.blocks).map(|block| blocks(block, scores)).collect());
        best_pairs(cells, self.paths(scores)).map(|(cell, path)| Route { cell, path })
    }

    /// What the path leaves aside goes on beside it.
    fn chosen(&self, route: &Route) -> Vec<usize> {
        let mut chosen = vec![NONE; self.n_edges()];
        for (block, Block { inputs, ops }) in route.cell.iter().enumerate() {
            for (input, op) in inputs.iter().zip(ops) {
                chosen[edge(block, *input)] = option(*op);
            }
        }
        for (layer, pair) in route.path.windows(2).enumerate() {
            for level in 0..n_levels(layer) {
                let is_beside = |to: &usize| *to != pair[1];
                let to = if level == pair[0] { Some(pair[1]) } else { targets(level).find(is_beside) };
                chosen.push(to.unwrap_or(level) - targets(level).start());
            }
        }
        chosen
    }

    fn n_skips(&self, route: &Route) -> usize {
        route.cell.iter().flat_map(|block| block.ops).filter(|op| *op == BlockOp::SkipConnect).count()
    }

    /// The relaxed network as it is: a path by itself reads other maps than in the trellis.
    fn scored_by(&self, _: &Route, alpha: &Mixture) -> Mixture {
        alpha.clone()
    }
}

/// A part of a path, and what the best path that begins so is worth.
struct Partial {
    bound: f64,
    score: f64,
    path: Vec<usize>,
}

impl Ord for Partial {
    /// Of equals, the longer one first: it is done sooner; then the finer one.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_length = || self.path.len().cmp(&other.path.len());
        self.bound.total_cmp(&other.bound).then_with(by_length).then_with(|| other.path.cmp(&self.path))
    }
}

impl PartialOrd for Partial {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Partial {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Partial {}

/// Levels that a layer may be at: one more than the layer before.
fn n_levels(layer: usize) -> usize {
    (layer + 1).min(STRIDES.len())
}

/// Where a path may go from a level, or come from.
fn targets(level: usize) -> std::ops::RangeInclusive<usize> {
    level.saturating_sub(1)..=(level + 1).min(STRIDES.len() - 1)
}

/// The key of an edge of the cell; of the block after the last, the number of edges.
pub fn edge(block: usize, input: usize) -> usize {
    // Block `i` comes after those with 2, 3, ... `i + 1` edges.
    block * (block + 3) / 2 + input
}

/// Which option of an edge an operation is.
pub fn option(op: BlockOp) -> usize {
    1 + op as usize
}

/// Everything that a block may be, with its score.
fn blocks(block: usize, scores: &[Vec<f64>]) -> Vec<(f64, Block)> {
    let score = |input: usize, op: BlockOp| scores[edge(block, input)][option(op)];
    let mut all = Vec::new();
    for inputs in (0..block + 2).flat_map(|first| (first + 1..block + 2).map(move |second| [first, second])) {
        for ops in BlockOp::ALL.into_iter().flat_map(|first| BlockOp::ALL.map(|second| [first, second])) {
            all.push((score(inputs[0], ops[0]) + score(inputs[1], ops[1]), Block { inputs, ops }));
        }
    }
    all
}

fn sample_block(chooser: &mut dyn Chooser, idx: usize) -> Block {
    let mut choose = |kind, options| chooser.choose(Question { kind, options });
    let (first, other) = (choose(Kind::Input, idx + 2), choose(Kind::Input, idx + 1));
    let second = if other < first { other } else { other + 1 };
    let ops = [(); 2].map(|()| BlockOp::ALL[choose(Kind::Op, BlockOp::ALL.len())]);
    chooser.define();
    if first < second {
        Block { inputs: [first, second], ops }
    } else {
        Block { inputs: [second, first], ops: [ops[1], ops[0]] }
    }
}

/// The output of a layer.
#[derive(Clone, Copy)]
struct Map {
    node: NodeId,
    level: usize,
}

/// Makes a block of the states before it; it is told its number and its filters.
type AddBlock<'a> = &'a mut dyn FnMut(&mut Graph, &mut [State], usize, usize) -> Result<NodeId, GraphError>;

/// A network that is being built.
struct Builder<'a> {
    graph: Graph,
    scale: Scale,
    n_blocks: usize,
    stem: NodeId,
    add_block: AddBlock<'a>,
}

impl Builder<'_> {
    /// A cell that reads the map of the layer before the previous one and that of the previous one.
    fn cell(&mut self, layer: usize, level: usize, before: Map, last: Map) -> Result<NodeId, GraphError> {
        let Self { graph, scale, n_blocks, add_block, .. } = self;
        let channels = scale.channels << level;
        within(graph, layer, level, |graph| {
            // The name is what shares weights: same place, same source.
            graph.within(("from", STRIDES[last.level]), |graph| {
                let first = graph.within(("before", STRIDES[before.level]), |graph| {
                    // Resized as it is: a stride of several steps has no convolution of its own.
                    bring(graph, scale, before, level, channels, false)
                })?;
                let second = graph.within("last", |graph| bring(graph, scale, last, level, channels, true))?;
                let mut states = vec![State::new(first), State::new(second)];
                for block in 0..*n_blocks {
                    let sum = graph.within(("block", block), |graph| add_block(graph, &mut states, block, channels))?;
                    states.push(State::new(sum));
                }
                let blocks: Vec<NodeId> = states[2..].iter().map(|state| state.node).collect();
                graph.add("output", Op::Concat, &blocks)
            })
        })
    }

    /// What a cell gives, times its weight.
    fn weigh(&mut self, layer: usize, level: usize, from: usize, cell: NodeId, op: Op) -> Result<NodeId, GraphError> {
        within(&mut self.graph, layer, level, |graph| {
            graph.within(("from", STRIDES[from]), |graph| graph.add("weighed", op, &[cell]))
        })
    }

    /// The logits of each pixel.
    fn head(&mut self, map: Map) -> Result<NodeId, GraphError> {
        let Self { graph, scale, n_blocks, .. } = self;
        let stride = STRIDES[map.level];
        let filters = *n_blocks * scale.channels;
        graph.within(("head", stride), |graph| aspp::add(graph, scale, map.node, stride, filters))
    }
}

/// The sum of these, under this label; one alone needs none.
fn sum(graph: &mut Graph, label: &'static str, ends: &[NodeId]) -> Result<NodeId, GraphError> {
    if let &[one] = ends { Ok(one) } else { graph.add(label, Op::Add, ends) }
}

fn within<T>(graph: &mut Graph, layer: usize, level: usize, build: impl FnOnce(&mut Graph) -> T) -> T {
    graph.within(("cell", layer), |graph| graph.within(("stride", STRIDES[level]), build))
}

/// Brings a map to a level and to this many channels. One level down a convolution strides, where it is told to.
fn bring(
    graph: &mut Graph,
    scale: &Scale,
    map: Map,
    level: usize,
    channels: usize,
    strides: bool,
) -> Result<NodeId, GraphError> {
    let size = aspp::sides(scale)[level + 2];
    let has_size = graph.shape(map.node).spatial() == size;
    match map.level.cmp(&level) {
        _ if has_size => relu_conv_norm(graph, map.node, Conv2d::same(channels, 1, 1)),
        Ordering::Less if strides => relu_conv_norm(graph, map.node, Conv2d::same(channels, 3, 2)),
        Ordering::Less => {
            let small = graph.add("resize", Op::Resize(size), &[map.node])?;
            relu_conv_norm(graph, small, Conv2d::same(channels, 1, 1))
        }
        Ordering::Equal | Ordering::Greater => {
            let narrow = relu_conv_norm(graph, map.node, Conv2d::same(channels, 1, 1))?;
            graph.add("resize", Op::Resize(size), &[narrow])
        }
    }
}

fn apply(graph: &mut Graph, op: BlockOp, state: &mut State, channels: usize) -> Result<NodeId, GraphError> {
    let atrous =
        |kernel: usize| Conv2d { dilation: [2; 2], pads: Pads::all(kernel - 1), ..Conv2d::same(channels, kernel, 1) };
    match op {
        BlockOp::SepConv3 | BlockOp::SepConv5 => graph.within(op.name(), |graph| {
            let depthwise = Conv2d::depthwise(channels, if op == BlockOp::SepConv3 { 3 } else { 5 }, 1);
            let first = graph.within("first", |graph| separable(graph, state, depthwise))?;
            graph.within("second", |graph| separable(graph, &mut State::new(first), depthwise))
        }),
        BlockOp::AtrousConv3 | BlockOp::AtrousConv5 => graph.within(op.name(), |graph| {
            let relu = state.relu(graph)?;
            conv_norm(graph, ["conv", "norm"], relu, atrous(if op == BlockOp::AtrousConv3 { 3 } else { 5 }))
        }),
        BlockOp::AvgPool => graph.add(op.name(), Op::AvgPool(Pool2d::same(3, 1)), &[state.node]),
        BlockOp::MaxPool => graph.add(op.name(), Op::MaxPool(Pool2d::same(3, 1)), &[state.node]),
        BlockOp::SkipConnect => Ok(state.node),
    }
}
