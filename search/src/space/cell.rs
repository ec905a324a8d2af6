//! Cells of two-input blocks, stacked: the space of B-ENAS, ENAS and NASNet.
//!
//! Where the B-ENAS paper is silent the layout is that of ENAS, which it names as its model:
//! a stem with `3 F` channels, `N + 2` cells with reductions at `N / 3` and `2 (N / 3) + 1`,
//! separable convolutions applied twice, ReLU before each convolution and batch norm after it.
//! One architecture serves convolution and reduction cells; in a reduction cell the operations that
//! read the cell's inputs have stride 2.
//!
//! Two choices are ours. A cell's output is the sum of one 1x1 convolution (with batch norm) of
//! each loose end, where ENAS convolves their concatenation: the same linear map, but each part
//! keeps its weights whatever other ends are loose. And an identity with stride 2 is a 1x1
//! convolution.

use std::{cmp::Ordering, ops::RangeInclusive};

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pool2d, Section};
use serde::{Deserialize, Serialize};

use super::{
    Morph, Scale, SearchSpace,
    layers::{EDITS, INSERT, REMOVE, SCALES},
    parts::{State, classify, conv_norm, read_cells, stem},
};
use crate::chooser::{Chooser, Kind, Question};

/// All cells whose number of blocks lies in `blocks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSpace {
    /// Numbers of blocks allowed, both ends included: `2..=7` is B-ENAS, `5..=5` is ENAS.
    pub blocks: RangeInclusive<usize>,
}

impl Default for CellSpace {
    /// The space of B-ENAS.
    fn default() -> Self {
        Self { blocks: 2..=7 }
    }
}

/// One cell. Convolution and reduction cells share it and differ in stride only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cell {
    /// Blocks in order; later ones may read earlier ones.
    pub blocks: Vec<Block>,
}

/// `ops[0](inputs[0]) + ops[1](inputs[1])`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    /// Where each side reads: 0 is the cell before the previous one, 1 the previous one, `2 + i`
    /// block `i` of this cell.
    pub inputs: [usize; 2],
    /// What each side applies.
    pub ops: [CellOp; 2],
}

/// An operation that a block may apply to one of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellOp {
    /// Passes the input on.
    Identity,
    /// 3x3 separable convolution, applied twice.
    #[serde(rename = "sep_conv_3x3")]
    SepConv3,
    /// 5x5 separable convolution, applied twice.
    #[serde(rename = "sep_conv_5x5")]
    SepConv5,
    /// 3x3 average pooling.
    #[serde(rename = "avg_pool_3x3")]
    AvgPool,
    /// 3x3 max pooling.
    #[serde(rename = "max_pool_3x3")]
    MaxPool,
}

impl CellOp {
    /// The five operations of B-ENAS, in the order that the controller knows them.
    pub const ALL: [Self; 5] = [Self::Identity, Self::SepConv3, Self::SepConv5, Self::AvgPool, Self::MaxPool];

    /// Name in graphs and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::SepConv3 => "sep_conv_3x3",
            Self::SepConv5 => "sep_conv_5x5",
            Self::AvgPool => "avg_pool_3x3",
            Self::MaxPool => "max_pool_3x3",
        }
    }
}

impl Cell {
    /// Asks `chooser` for a cell of this many blocks.
    pub(super) fn sample(n_blocks: usize, chooser: &mut dyn Chooser) -> Self {
        let mut blocks = Vec::with_capacity(n_blocks);
        for idx in 0..n_blocks {
            blocks.push(ask_block(idx, chooser));
            chooser.define();
        }
        Self { blocks }
    }

    /// Puts `block` at `place`: what read a block from there on reads it still.
    fn insert(&mut self, place: usize, block: Block) {
        for input in self.blocks[place..].iter_mut().flat_map(|it| &mut it.inputs) {
            *input += usize::from(place + 2 <= *input);
        }
        self.blocks.insert(place, block);
    }

    /// Takes the block at `place` away: what read it reads what its left side did.
    fn remove(&mut self, place: usize) {
        let removed = self.blocks.remove(place);
        for input in self.blocks[place..].iter_mut().flat_map(|it| &mut it.inputs) {
            *input = match (*input).cmp(&(place + 2)) {
                Ordering::Less => *input,
                Ordering::Equal => removed.inputs[0],
                Ordering::Greater => *input - 1,
            };
        }
    }

    /// Whether every block has an earlier state to read, and there is at least one block.
    pub fn is_well_formed(&self) -> bool {
        let reads = |(idx, block): (usize, &Block)| block.inputs.iter().all(|&input| input < idx + 2);
        !self.blocks.is_empty() && self.blocks.iter().enumerate().all(reads)
    }

    /// Whether any block reads `input`, numbered as in [`Block::inputs`].
    pub fn reads(&self, input: usize) -> bool {
        self.blocks.iter().any(|block| block.inputs.contains(&input))
    }

    /// Blocks that no other block reads: together they are the cell's output.
    pub fn loose_ends(&self) -> impl Iterator<Item = usize> {
        (0..self.blocks.len()).filter(|&idx| !self.reads(idx + 2))
    }
}

impl SearchSpace for CellSpace {
    type Arch = Cell;

    fn sample(&self, chooser: &mut dyn Chooser) -> Cell {
        let (min, max) = (*self.blocks.start(), *self.blocks.end());
        let n_blocks = min + chooser.choose(Question { kind: Kind::Count, options: max - min + 1 });
        Cell::sample(n_blocks, chooser)
    }

    fn build(&self, cell: &Cell, scale: &Scale) -> Result<Graph, GraphError> {
        stack(&[cell], scale)
    }

    /// The two previous cells.
    fn given(&self) -> usize {
        2
    }

    /// `sum over b of prod over i of (5 (i + 1))^2`: block `i` (from 1) has `i + 1` inputs and 5
    /// operations to choose from on each of its two sides.
    fn size(&self) -> u128 {
        let block = |i: usize| (CellOp::ALL.len() as u128 * (i as u128 + 1)).pow(2);
        self.blocks.clone().map(|b| (1..=b).map(block).product::<u128>()).sum()
    }

    /// Cells with the fewest blocks, each with the same operation on both sides, and no separable convolution.
    ///
    /// What every network has: the stem and its ReLU, alive together, which is the peak; the classifier; an input of
    /// its cells brought to their size; and a ReLU, a convolution and its norm where a cell ends. A second loose end
    /// has all three again and a sum, where one that is read costs a sum: the cheapest have one. Their first block has
    /// one operation on both sides: of two different ones, one is cheaper twice. An identity costs nothing within a
    /// cell, so the further blocks are sums and no more. An identity of an input costs a convolution in the
    /// reductions, a pooling its taps everywhere: which is cheaper depends on the prices, and so does which input is
    /// read, since of cells that read the one before the previous alone every second is left out.
    ///
    /// The sums of blocks that compute the same are one operation to the engine. From three blocks on a cell of such
    /// blocks, read in pairs, is the faster one; it is among these, but how many of its first blocks may be identities
    /// depends on the prices, so that [`SearchSpace::floor`] is below.
    fn cheapest(&self) -> Vec<Cell> {
        let n_blocks = *self.blocks.start();
        let free = [CellOp::Identity, CellOp::AvgPool, CellOp::MaxPool];
        let mut cells = vec![Cell { blocks: Vec::new() }];
        for idx in 0..n_blocks {
            let mut longer = Vec::new();
            for cell in &cells {
                // From the third on blocks only chain, so that their number stays small.
                let (inputs, ops) = if idx < 2 { (0..idx + 2, &free[..]) } else { (idx + 1..idx + 2, &free[..1]) };
                for input in inputs {
                    for &op in ops {
                        let mut cell = cell.clone();
                        cell.blocks.push(Block { inputs: [input; 2], ops: [op; 2] });
                        longer.push(cell);
                    }
                }
            }
            cells = longer;
        }
        if 2 < n_blocks {
            cells.extend([0, 1].into_iter().flat_map(|input| free.map(|op| paired(n_blocks, input, op))));
        }
        cells
    }

    /// Cells of two blocks: each block more adds operations and takes none away, and sums that are computed once are
    /// two at least where there are two blocks.
    fn floor(&self) -> Vec<Cell> {
        let n_blocks = 2.min(*self.blocks.start());
        Self { blocks: n_blocks..=n_blocks }.cheapest()
    }
}

impl Morph for CellSpace {
    /// One step: first one side of a block gets another operation, or reads something else; then a block is inserted,
    /// removed, or all are kept. Nothing is inserted into the largest cell or removed from the smallest.
    fn morph(&self, arch: &Cell, chooser: &mut dyn Chooser) -> Cell {
        let mut cell = arch.clone();
        let n_blocks = cell.blocks.len();
        let place = |options| Question { kind: Kind::Place, options };
        let what = chooser.choose(Question { kind: Kind::Edit, options: SCALES });
        let changed = chooser.choose(place(n_blocks));
        let side = chooser.choose(Question { kind: Kind::Combine, options: 2 });
        let block = &mut cell.blocks[changed];
        if what == CHANGE_OP {
            block.ops[side] = ask_op(chooser);
        } else {
            (0..changed).for_each(|_| chooser.define());
            block.inputs[side] = ask_input(changed, chooser);
        }
        match chooser.choose(Question { kind: Kind::Edit, options: EDITS }) {
            INSERT if n_blocks < *self.blocks.end() => {
                let at = chooser.choose(place(n_blocks + 1));
                chooser.forget();
                (0..at).for_each(|_| chooser.define());
                let block = ask_block(at, chooser);
                cell.insert(at, block);
            }
            REMOVE if *self.blocks.start() < n_blocks => cell.remove(chooser.choose(place(n_blocks))),
            // Kept.
            _ => {}
        }
        cell
    }

    /// What each side reads and applies, left before right.
    fn embed(&self, arch: &Cell) -> Vec<Vec<usize>> {
        let nth = |op: CellOp| CellOp::ALL.iter().position(|it| *it == op).unwrap_or_default();
        let row = |block: &Block| {
            let [left, right] = block.inputs;
            let [before, after] = block.ops.map(nth);
            vec![left, before, right, after]
        };
        arch.blocks.iter().map(row).collect()
    }
}

/// What may change about a side, of [`SCALES`] such things: its operation, or what it reads.
const CHANGE_OP: usize = 0;

/// Asks for every decision about block `idx`.
fn ask_block(idx: usize, chooser: &mut dyn Chooser) -> Block {
    let inputs = [(); 2].map(|()| ask_input(idx, chooser));
    let ops = [(); 2].map(|()| ask_op(chooser));
    Block { inputs, ops }
}

fn ask_input(idx: usize, chooser: &mut dyn Chooser) -> usize {
    chooser.choose(Question { kind: Kind::Input, options: 2 + idx })
}

fn ask_op(chooser: &mut dyn Chooser) -> CellOp {
    CellOp::ALL[chooser.choose(Question { kind: Kind::Op, options: CellOp::ALL.len() })]
}

/// A cell whose first blocks all do `op` to `input`, and whose others read two of the blocks before each: as few
/// different sums as this many blocks can have.
fn paired(n_blocks: usize, input: usize, op: CellOp) -> Cell {
    // The last block reads two, those read four, and so on down to the first ones, which are what is left.
    let n_upper = (n_blocks + 1).next_power_of_two() / 2 - 1;
    let n_first = n_blocks - n_upper;
    let mut blocks = vec![Block { inputs: [input; 2], ops: [op; 2] }; n_first];
    let (mut start, mut width) = (0, n_first);
    while blocks.len() < n_blocks {
        let above = (n_blocks - blocks.len()).div_ceil(2);
        for idx in 0..above {
            let inputs = [2 * idx, 2 * idx + 1].map(|it| 2 + start + it.min(width - 1));
            blocks.push(Block { inputs, ops: [CellOp::Identity; 2] });
        }
        (start, width) = (blocks.len() - above, above);
    }
    Cell { blocks }
}

/// Cells in a network of `layers` layers: two more, the reductions.
pub fn n_cells(layers: usize) -> usize {
    layers + 2
}

/// A network of `scale.layers` cells and two reductions, stacked. With two cells the reductions are of the second.
pub(super) fn stack(cells: &[&Cell], scale: &Scale) -> Result<Graph, GraphError> {
    let n_cells = n_cells(scale.layers);
    let most_nodes = cells.iter().map(|cell| most_nodes(cell)).max().unwrap_or(0);
    // Cells are built where a new shape begins, and mostly copied elsewhere.
    let mut graph = Graph::with_copies(n_cells * most_nodes, MOST_BUILT.min(n_cells) * most_nodes);
    let image = scale.begin(&mut graph)?;
    let stem = stem(&mut graph, image, 3 * scale.channels)?;
    let reductions = reductions(scale.layers);
    let mut channels = scale.channels;
    let (mut before, mut last) = (stem, stem);
    // Lines have one row, whatever their stride.
    let axis = usize::from(scale.is_line());
    let mut side = scale.input[1 + axis];
    let mut plans: Vec<Plan<'_>> = cells.iter().map(|cell| Plan::of(cell)).collect();
    let reduces = |layer: usize| reductions.contains(&layer);
    let plan_of = |layer: usize| if reduces(layer) { cells.len() - 1 } else { 0 };
    // What nobody reads is no part of the network.
    let is_read = read_cells(n_cells, |layer| plans[plan_of(layer)].reads);
    for layer in 0..n_cells {
        let stride = if reduces(layer) { 2 } else { 1 };
        channels *= stride;
        let out = if is_read[layer] {
            let plan = &mut plans[plan_of(layer)];
            graph.within(("cell", layer), |graph| plan.add(graph, [before, last], (axis, side), channels, stride))?
        } else {
            last
        };
        (before, last) = (last, out);
        side = side.div_ceil(stride);
    }
    let relu = graph.add("relu", Op::Activation(Activation::Relu), &[last])?;
    classify(&mut graph, relu, scale)?;
    Ok(graph)
}

/// Cells that are built where the others are copies: the first, which reads the image twice, one in each of the three
/// parts, and the two between them.
const MOST_BUILT: usize = 6;

/// Nodes of one cell at most.
fn most_nodes(cell: &Cell) -> usize {
    let side = |op| match op {
        CellOp::Identity => 2,
        CellOp::SepConv3 | CellOp::SepConv5 => 7,
        CellOp::AvgPool | CellOp::MaxPool => 1,
    };
    // A block also has a sum and the ReLU behind it; as a loose end a convolution, its norm and another sum.
    let block = |block: &Block| block.ops.map(side).iter().sum::<usize>() + 2;
    let inputs = 2 * 4;
    inputs + cell.blocks.iter().map(block).sum::<usize>() + 3 * cell.loose_ends().count()
}

/// Indices of the two reduction cells.
pub fn reductions(layers: usize) -> [usize; 2] {
    let distance = layers / 3;
    [distance, 2 * distance + 1]
}

/// What every copy of a cell has in common, found out once.
struct Plan<'a> {
    cell: &'a Cell,
    /// Whether any block reads the cell before the previous one, and the previous one.
    reads: [bool; 2],
    loose_ends: Vec<usize>,
    /// Scratch: what the blocks of the cell being added may read.
    states: Vec<State>,
    /// The blocks that were built last, with their stride: the next copy's are mostly the same.
    last: Option<(usize, Section)>,
}

impl<'a> Plan<'a> {
    fn of(cell: &'a Cell) -> Self {
        let states = Vec::with_capacity(cell.blocks.len() + 2);
        Self {
            cell,
            reads: [0, 1].map(|input| cell.reads(input)),
            loose_ends: cell.loose_ends().collect(),
            states,
            last: None,
        }
    }

    /// Adds one copy. `side`: height of the previous cell's output, in pixels, or its width where `axis` is 1.
    fn add(
        &mut self,
        graph: &mut Graph,
        inputs: [NodeId; 2],
        (axis, side): (usize, usize),
        channels: usize,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        let Self { reads, states, .. } = self;
        states.clear();
        for (idx, input) in inputs.into_iter().enumerate() {
            // The cell before the previous one may stand before a reduction: it is brought to the same size.
            let shrink = graph.shape(input).spatial()[axis].div_ceil(side);
            let fits = shrink == 1 && graph.shape(input).channels() == channels;
            let state = if reads[idx] && !fits {
                graph.within(("input", idx), |graph| {
                    let relu = graph.add("relu", Op::Activation(Activation::Relu), &[input])?;
                    conv_norm(graph, ["conv", "norm"], relu, Conv2d::same(channels, 1, shrink))
                })?
            } else {
                input
            };
            states.push(State::new(state));
        }
        // What no block reads is no input, whatever its shape.
        let inputs = [0, 1].map(|idx| states[if reads[idx] { idx } else { 1 - idx }].node);
        if let Some(out) = self.last.as_ref().filter(|it| it.0 == stride).and_then(|(_, it)| graph.repeat(it, inputs)) {
            return Ok(out);
        }
        let (out, section) = graph.section(inputs, |graph| self.blocks(graph, channels, stride))?;
        self.last = Some((stride, section));
        Ok(out)
    }

    /// Adds the blocks of a copy on the first two of `states`, and its output.
    fn blocks(&mut self, graph: &mut Graph, channels: usize, stride: usize) -> Result<NodeId, GraphError> {
        let Self { cell, loose_ends, states, .. } = self;
        for (idx, block) in cell.blocks.iter().enumerate() {
            let node = graph.within(("block", idx), |graph| {
                // The name is what shares weights: same place, same source, same operation.
                let mut side = |word, side: usize| {
                    let (input, op) = (block.inputs[side], block.ops[side]);
                    let stride = if input < 2 { stride } else { 1 };
                    graph.within((word, input), |graph| apply(graph, op, &mut states[input], channels, stride))
                };
                let sides = [side("left/from", 0)?, side("right/from", 1)?];
                graph.add("sum", Op::Add, &sides)
            })?;
            states.push(State::new(node));
        }
        let mut sum = None;
        for &idx in loose_ends.iter() {
            let end = graph.within(("output/block", idx), |graph| {
                let relu = states[idx + 2].relu(graph)?;
                conv_norm(graph, ["conv", "norm"], relu, Conv2d::same(channels, 1, 1))
            })?;
            sum = Some(match sum {
                Some(sum) => graph.add(("output/sum", idx), Op::Add, &[sum, end])?,
                None => end,
            });
        }
        Ok(sum.expect("a cell has blocks, and its last block is a loose end"))
    }
}

fn apply(
    graph: &mut Graph,
    op: CellOp,
    state: &mut State,
    channels: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    match op {
        CellOp::Identity if stride == 1 => Ok(state.node),
        CellOp::Identity => {
            let relu = state.relu(graph)?;
            conv_norm(graph, ["identity/conv", "identity/norm"], relu, Conv2d::same(channels, 1, stride))
        }
        CellOp::AvgPool => graph.add(op.name(), Op::AvgPool(Pool2d::same(3, stride)), &[state.node]),
        CellOp::MaxPool => graph.add(op.name(), Op::MaxPool(Pool2d::same(3, stride)), &[state.node]),
        CellOp::SepConv3 => sep_conv(graph, op, state, channels, 3, stride),
        CellOp::SepConv5 => sep_conv(graph, op, state, channels, 5, stride),
    }
}

/// Depthwise and pointwise convolution, twice; the stride belongs to the first.
fn sep_conv(
    graph: &mut Graph,
    op: CellOp,
    state: &mut State,
    channels: usize,
    kernel: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let relu = state.relu(graph)?;
    graph.within(op.name(), |graph| {
        let depthwise = Op::Conv2d(Conv2d::depthwise(channels, kernel, stride));
        let depthwise = graph.add("first/depthwise", depthwise, &[relu])?;
        let first = conv_norm(graph, ["first/conv", "first/norm"], depthwise, Conv2d::same(channels, 1, 1))?;
        let relu = graph.add("second/relu", Op::Activation(Activation::Relu), &[first])?;
        let depthwise = Op::Conv2d(Conv2d::depthwise(channels, kernel, 1));
        let depthwise = graph.add("second/depthwise", depthwise, &[relu])?;
        conv_norm(graph, ["second/conv", "second/norm"], depthwise, Conv2d::same(channels, 1, 1))
    })
}
