//! The cells of NASNet (B. Zoph, V. Vasudevan, J. Shlens and Q. V. Le, 2018): blocks that join two earlier states, in
//! a normal and a reduction cell of their own.
//!
//! A network is a 3x3 convolution, then three times `N` normal cells with a reduction cell between them, whose
//! operations on the cell's inputs have stride 2 and which doubles the filters; then global average pooling and the
//! classifier. Convolutions are ReLU, convolution, batch norm; separable ones are applied twice, with nothing between
//! their depthwise and their pointwise part. A block's two sides have as many channels as the cell has filters: where
//! an operation does not see to it, a 1x1 convolution does. The cell's output is all its unused blocks, joined along
//! channels.
//!
//! Two choices are ours. An identity with stride 2, and a state from before a reduction, are brought to the smaller
//! size by a 1x1 convolution with that stride. And cells that nobody reads are no part of the network.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d};
use serde::{Deserialize, Serialize};

use super::{
    Scale, SearchSpace,
    parts::{State, classify, conv_norm, read_cells, stem},
};
use crate::chooser::{Chooser, Kind, Question};

/// All pairs of cells with this many blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NasNetSpace {
    /// `B`: blocks of each cell; at least one.
    pub blocks: usize,
}

impl Default for NasNetSpace {
    /// The paper's 5 blocks.
    fn default() -> Self {
        Self { blocks: 5 }
    }
}

/// Two cells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Arch {
    /// Keeps the size of its input.
    pub normal: Cell,
    /// Halves height and width, and doubles the filters.
    pub reduction: Cell,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cell {
    /// Blocks in order; later ones may read earlier ones.
    pub blocks: Vec<Block>,
}

/// Two operations on two earlier states, combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    /// Where each side reads: 0 is the cell before the previous one, 1 the previous one, `2 + i` block `i` of this
    /// cell.
    pub inputs: [usize; 2],
    /// What each side applies.
    pub ops: [CellOp; 2],
    /// How the sides become one state.
    pub combine: Combine,
}

/// An operation that a block may apply to one of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellOp {
    /// Passes the input on.
    Identity,
    /// 1x3, then 3x1 convolution.
    #[serde(rename = "conv_1x3_3x1")]
    Conv1x3,
    /// 1x7, then 7x1 convolution.
    #[serde(rename = "conv_1x7_7x1")]
    Conv1x7,
    /// 3x3 convolution whose taps are two pixels apart.
    #[serde(rename = "dil_conv_3x3")]
    DilConv3,
    /// 3x3 average pooling.
    #[serde(rename = "avg_pool_3x3")]
    AvgPool3,
    /// 3x3 max pooling.
    #[serde(rename = "max_pool_3x3")]
    MaxPool3,
    /// 5x5 max pooling.
    #[serde(rename = "max_pool_5x5")]
    MaxPool5,
    /// 7x7 max pooling.
    #[serde(rename = "max_pool_7x7")]
    MaxPool7,
    /// 1x1 convolution.
    #[serde(rename = "conv_1x1")]
    Conv1,
    /// 3x3 convolution.
    #[serde(rename = "conv_3x3")]
    Conv3,
    /// 3x3 separable convolution, applied twice.
    #[serde(rename = "sep_conv_3x3")]
    SepConv3,
    /// 5x5 separable convolution, applied twice.
    #[serde(rename = "sep_conv_5x5")]
    SepConv5,
    /// 7x7 separable convolution, applied twice.
    #[serde(rename = "sep_conv_7x7")]
    SepConv7,
}

impl CellOp {
    /// All 13 of them, in the paper's order.
    pub const ALL: [Self; 13] = [
        Self::Identity,
        Self::Conv1x3,
        Self::Conv1x7,
        Self::DilConv3,
        Self::AvgPool3,
        Self::MaxPool3,
        Self::MaxPool5,
        Self::MaxPool7,
        Self::Conv1,
        Self::Conv3,
        Self::SepConv3,
        Self::SepConv5,
        Self::SepConv7,
    ];

    /// Name in graphs and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Conv1x3 => "conv_1x3_3x1",
            Self::Conv1x7 => "conv_1x7_7x1",
            Self::DilConv3 => "dil_conv_3x3",
            Self::AvgPool3 => "avg_pool_3x3",
            Self::MaxPool3 => "max_pool_3x3",
            Self::MaxPool5 => "max_pool_5x5",
            Self::MaxPool7 => "max_pool_7x7",
            Self::Conv1 => "conv_1x1",
            Self::Conv3 => "conv_3x3",
            Self::SepConv3 => "sep_conv_3x3",
            Self::SepConv5 => "sep_conv_5x5",
            Self::SepConv7 => "sep_conv_7x7",
        }
    }
}

/// How the two sides of a block become one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Their sum.
    Add,
    /// One behind the other along channels.
    Concat,
}

impl Combine {
    /// Both of them, in the paper's order.
    pub const ALL: [Self; 2] = [Self::Add, Self::Concat];
}

impl Cell {
    /// Whether any block reads `input`, numbered as in [`Block::inputs`].
    pub fn reads(&self, input: usize) -> bool {
        self.blocks.iter().any(|block| block.inputs.contains(&input))
    }

    /// Blocks that no other block reads: together they are the cell's output.
    pub fn loose_ends(&self) -> impl Iterator<Item = usize> {
        (0..self.blocks.len()).filter(|&idx| !self.reads(idx + 2))
    }
}

impl SearchSpace for NasNetSpace {
    type Arch = Arch;

    /// `2 * 5 B` answers: for each block two inputs, two operations and how they are combined.
    fn sample(&self, chooser: &mut dyn Chooser) -> Arch {
        let normal = self.sample_cell(chooser);
        chooser.forget();
        Arch { normal, reduction: self.sample_cell(chooser) }
    }

    /// [`Scale::layers`] is the paper's `N`: normal cells before, between and behind the two reductions.
    fn build(&self, arch: &Arch, scale: &Scale) -> Result<Graph, GraphError> {
        let is_reduction = reductions(scale.layers);
        let mut graph = Graph::with_capacity(is_reduction.len() * (14 * self.blocks + 8));
        let image = scale.begin(&mut graph)?;
        let stem = stem(&mut graph, image, 3 * scale.channels)?;
        let cell = |is_reduction: bool| if is_reduction { &arch.reduction } else { &arch.normal };
        let is_read =
            read_cells(is_reduction.len(), |layer| [0, 1].map(|input| cell(is_reduction[layer]).reads(input)));
        let mut channels = scale.channels;
        let stem = Output { node: stem, halved: 0 };
        let (mut before, mut last) = (stem, stem);
        for (layer, &is_reduction) in is_reduction.iter().enumerate() {
            let stride = if is_reduction { 2 } else { 1 };
            channels *= stride;
            let node = if is_read[layer] {
                graph.within(("cell", layer), |graph| {
                    add_cell(graph, cell(is_reduction), [before, last], channels, stride)
                })?
            } else {
                // Stands for what nobody reads.
                last.node
            };
            (before, last) = (last, Output { node, halved: last.halved + usize::from(is_reduction) });
        }
        let relu = graph.add("relu", Op::Activation(Activation::Relu), &[last.node])?;
        classify(&mut graph, relu, scale)?;
        Ok(graph)
    }

    /// The two previous cells.
    fn given(&self) -> usize {
        2
    }

    /// `(prod over i of (13 (i + 1))^2 * 2)^2`: block `i` (from 1) has `i + 1` inputs and 13 operations to choose from
    /// on each of its two sides, and two ways to combine them; there are two cells. The largest number there is where
    /// that is larger still.
    fn size(&self) -> u128 {
        let (n_ops, n_combines) = (CellOp::ALL.len() as u128, Combine::ALL.len() as u128);
        let block = |i: usize| (n_ops * (i as u128 + 1)).pow(2) * n_combines;
        (1..=self.blocks).map(block).fold(1_u128, u128::saturating_mul).saturating_pow(2)
    }

    /// Cells whose blocks are a chain of sums of identities that begins at one of the inputs. In the reduction cell
    /// whatever halves the size may be the cheapest; and where the next cell has twice the filters, an output of twice
    /// the channels, which the last block then joins, needs no convolution to match it.
    fn cheapest(&self) -> Vec<Arch> {
        let chain = |input: usize, first: CellOp, last: Combine| {
            let block = |input, op| Block { inputs: [input; 2], ops: [op; 2], combine: Combine::Add };
            let rest = (1..self.blocks).map(|idx| block(idx + 1, CellOp::Identity));
            let mut blocks: Vec<Block> = std::iter::once(block(input, first)).chain(rest).collect();
            blocks[self.blocks - 1].combine = last;
            Cell { blocks }
        };
        let chains = |first: CellOp| {
            [0, 1].into_iter().flat_map(move |input| Combine::ALL.map(|last| chain(input, first, last)))
        };
        let halving = [CellOp::Identity, CellOp::AvgPool3, CellOp::MaxPool3];
        let pairs = chains(CellOp::Identity).flat_map(|normal| {
            halving.into_iter().flat_map(chains).map(move |reduction| Arch { normal: normal.clone(), reduction })
        });
        pairs.collect()
    }
}

impl NasNetSpace {
    fn sample_cell(&self, chooser: &mut dyn Chooser) -> Cell {
        let mut blocks = Vec::with_capacity(self.blocks);
        for idx in 0..self.blocks {
            let mut choose = |kind, options| chooser.choose(Question { kind, options });
            let inputs = [(); 2].map(|()| choose(Kind::Input, 2 + idx));
            let ops = [(); 2].map(|()| CellOp::ALL[choose(Kind::Op, CellOp::ALL.len())]);
            let combine = Combine::ALL[choose(Kind::Combine, Combine::ALL.len())];
            blocks.push(Block { inputs, ops, combine });
            chooser.define();
        }
        Cell { blocks }
    }
}

/// Whether each cell is a reduction, with `N` normal cells before, between and behind the two.
fn reductions(n: usize) -> Vec<bool> {
    (0..3 * n + 2).map(|layer| layer == n || layer == 2 * n + 1).collect()
}

/// What a cell gives to the next two.
#[derive(Clone, Copy)]
struct Output {
    node: NodeId,
    /// How often height and width were halved up to there.
    halved: usize,
}

/// Adds a cell with this many filters behind the cells `inputs`, the previous one last.
fn add_cell(
    graph: &mut Graph,
    cell: &Cell,
    inputs: [Output; 2],
    channels: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let mut states = Vec::with_capacity(cell.blocks.len() + 2);
    for (idx, input) in inputs.into_iter().enumerate() {
        let shrink = 1 << (inputs[1].halved - input.halved);
        let fits = shrink == 1 && graph.shape(input.node).channels() == channels;
        let mut state = State::new(input.node);
        if cell.reads(idx) && !fits {
            let conv = Conv2d::same(channels, 1, shrink);
            let node = graph.within(("input", idx), |graph| relu_conv_norm(graph, &mut state, conv))?;
            state = State::new(node);
        }
        states.push(state);
    }
    for (idx, block) in cell.blocks.iter().enumerate() {
        let node = graph.within(("block", idx), |graph| {
            let mut sides = [states[0].node; 2];
            let places = sides.iter_mut().zip(["left/from", "right/from"]);
            for ((side, word), (input, op)) in places.zip(block.inputs.into_iter().zip(block.ops)) {
                let stride = if input < 2 { stride } else { 1 };
                // The name is what shares weights: same place, same source, same operation.
                let state = &mut states[input];
                *side = graph.within((word, input), |graph| {
                    graph.within(op.name(), |graph| apply(graph, op, state, channels, stride))
                })?;
            }
            match block.combine {
                Combine::Add => graph.add("sum", Op::Add, &sides),
                Combine::Concat => graph.add("join", Op::Concat, &sides),
            }
        })?;
        states.push(State::new(node));
    }
    let ends: Vec<NodeId> = cell.loose_ends().map(|idx| states[idx + 2].node).collect();
    match ends[..] {
        [end] => Ok(end),
        _ => graph.add("output", Op::Concat, &ends),
    }
}

fn apply(
    graph: &mut Graph,
    op: CellOp,
    state: &mut State,
    channels: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let fits = graph.shape(state.node).channels() == channels;
    let same = |kernel| Pool2d::same(kernel, stride);
    let pool = match op {
        CellOp::Identity if fits && stride == 1 => return Ok(state.node),
        CellOp::Identity => return relu_conv_norm(graph, state, Conv2d::same(channels, 1, stride)),
        CellOp::Conv1x3 => return factorised(graph, state, channels, 3, stride),
        CellOp::Conv1x7 => return factorised(graph, state, channels, 7, stride),
        CellOp::DilConv3 => {
            let conv = Conv2d { dilation: [2; 2], pads: Pads::all(2), ..Conv2d::same(channels, 3, stride) };
            return relu_conv_norm(graph, state, conv);
        }
        CellOp::Conv1 => return relu_conv_norm(graph, state, Conv2d::same(channels, 1, stride)),
        CellOp::Conv3 => return relu_conv_norm(graph, state, Conv2d::same(channels, 3, stride)),
        CellOp::SepConv3 => return sep_conv(graph, state, channels, 3, stride),
        CellOp::SepConv5 => return sep_conv(graph, state, channels, 5, stride),
        CellOp::SepConv7 => return sep_conv(graph, state, channels, 7, stride),
        CellOp::AvgPool3 => Op::AvgPool(same(3)),
        CellOp::MaxPool3 => Op::MaxPool(same(3)),
        CellOp::MaxPool5 => Op::MaxPool(same(5)),
        CellOp::MaxPool7 => Op::MaxPool(same(7)),
    };
    let node = graph.add("pool", pool, &[state.node])?;
    if fits {
        return Ok(node);
    }
    relu_conv_norm(graph, &mut State::new(node), Conv2d::same(channels, 1, 1))
}

/// A row of taps, then a column.
fn factorised(
    graph: &mut Graph,
    state: &mut State,
    channels: usize,
    taps: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let (pad, same) = (taps / 2, Conv2d::same(channels, 1, 1));
    let row = Pads { left: pad, right: pad, ..Pads::all(0) };
    let row = Conv2d { kernel: [1, taps], stride: [1, stride], pads: row, ..same };
    let column = Pads { top: pad, bottom: pad, ..Pads::all(0) };
    let column = Conv2d { kernel: [taps, 1], stride: [stride, 1], pads: column, ..same };
    let node = graph.within("row", |graph| relu_conv_norm(graph, state, row))?;
    graph.within("column", |graph| relu_conv_norm(graph, &mut State::new(node), column))
}

/// Depthwise and pointwise convolution, twice; the stride belongs to the first.
fn sep_conv(
    graph: &mut Graph,
    state: &mut State,
    channels: usize,
    kernel: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let once = |graph: &mut Graph, state: &mut State, stride| {
        let read = graph.shape(state.node).channels();
        let relu = state.relu(graph)?;
        let depthwise = graph.add("depthwise", Op::Conv2d(Conv2d::depthwise(read, kernel, stride)), &[relu])?;
        conv_norm(graph, ["conv", "norm"], depthwise, Conv2d::same(channels, 1, 1))
    };
    let node = graph.within("first", |graph| once(graph, state, stride))?;
    graph.within("second", |graph| once(graph, &mut State::new(node), 1))
}

fn relu_conv_norm(graph: &mut Graph, state: &mut State, conv: Conv2d) -> Result<NodeId, GraphError> {
    let relu = state.relu(graph)?;
    conv_norm(graph, ["conv", "norm"], relu, conv)
}
