//! Modules of branches, stacked: the second of EPNAS's two spaces (Y. Zhou et al., "EPNAS: Efficient Progressive
//! Neural Architecture Search").
//!
//! A branch applies one operation to its first source and, but for the types that end in `none`, another to its
//! second, and adds them. Sources are the module's input and earlier branches. The module's output is the
//! concatenation of the branches that nobody reads and of those that propagate. All that the text leaves open is a
//! reconstruction, and then it is as in [`super::cell`]: convolutions stand between ReLU and batch norm, a pool of
//! other channels is followed by a 1x1 convolution, there are two more modules than layers, and in those, the
//! reductions, operations on the module's input have stride 2 and all widths double. At a [`Scale`] of 16 channels
//! the widths before the first reduction are the paper's.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads};
use serde::{Deserialize, Serialize};

use super::{
    Morph, Scale, SearchSpace,
    cell::{n_cells, reductions},
    layers::{EDITS, FILTER_WIDTHS, INSERT, POOL_WIDTHS, REMOVE, SCALE_WIDTH, SCALES, ask, pool, position, width},
    parts::{classify, conv_norm, stem},
};
use crate::chooser::{Chooser, Kind, Question};

/// All modules of 1 to `max_branches` branches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSpace {
    /// `MAX_BRANCHES`. The number is lost; NASNet's and ENAS's cells have five blocks. Reconstruction.
    pub max_branches: usize,
    /// `F`: groups of branches, each scaled as one. The number is lost. Reconstruction.
    pub groups: usize,
}

impl Default for ModuleSpace {
    fn default() -> Self {
        Self { max_branches: 5, groups: 2 }
    }
}

/// One module; all modules of a network are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Module {
    /// At least one; later ones may read earlier ones.
    pub branches: Vec<Branch>,
}

/// One branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Branch {
    /// What it computes.
    pub op: BranchOp,
    /// Channels of its output.
    pub channels: usize,
    /// Whether its output is part of the module's although another branch reads it.
    pub propagate: bool,
    /// What it reads: 0 is the module's input, `1 + i` branch `i`.
    pub src1: usize,
}

/// What a branch computes. Filter and pooling widths are in pixels, `src2` is numbered as [`Branch::src1`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BranchOp {
    /// conv-conv.
    ConvConv {
        /// Of both convolutions.
        filter: usize,
        /// What the second reads.
        src2: usize,
    },
    /// conv-maxpool.
    ConvMaxPool {
        /// Of the convolution.
        filter: usize,
        /// Of the pool.
        pool: usize,
        /// What the pool reads.
        src2: usize,
    },
    /// conv-avgpool.
    ConvAvgPool {
        /// Of the convolution.
        filter: usize,
        /// Of the pool.
        pool: usize,
        /// What the pool reads.
        src2: usize,
    },
    /// conv-none.
    Conv {
        /// Of the convolution.
        filter: usize,
    },
    /// maxpool-none.
    MaxPool {
        /// Of the pool.
        pool: usize,
    },
    /// avgpool-none.
    AvgPool {
        /// Of the pool.
        pool: usize,
    },
    /// 1x7-7x1-none: a row of filters, then a column.
    RowColumn,
}

/// Names of the branch types, in the paper's order.
pub const TYPES: [&str; 7] =
    ["conv_conv", "conv_max_pool", "conv_avg_pool", "conv_none", "max_pool_none", "avg_pool_none", "1x7_7x1_none"];

/// Channels of a branch.
pub const CHANNELS: [usize; 5] = [8, 12, 16, 24, 32];

/// What one side of a branch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Conv(usize),
    MaxPool(usize),
    AvgPool(usize),
    RowColumn,
}

impl BranchOp {
    /// Position of its name in [`TYPES`].
    pub fn nth(self) -> usize {
        match self {
            Self::ConvConv { .. } => 0,
            Self::ConvMaxPool { .. } => 1,
            Self::ConvAvgPool { .. } => 2,
            Self::Conv { .. } => 3,
            Self::MaxPool { .. } => 4,
            Self::AvgPool { .. } => 5,
            Self::RowColumn => 6,
        }
    }

    /// What it does to its first source, and to its second.
    fn sides(self) -> (Side, Option<(Side, usize)>) {
        match self {
            Self::ConvConv { filter, src2 } => (Side::Conv(filter), Some((Side::Conv(filter), src2))),
            Self::ConvMaxPool { filter, pool, src2 } => (Side::Conv(filter), Some((Side::MaxPool(pool), src2))),
            Self::ConvAvgPool { filter, pool, src2 } => (Side::Conv(filter), Some((Side::AvgPool(pool), src2))),
            Self::Conv { filter } => (Side::Conv(filter), None),
            Self::MaxPool { pool } => (Side::MaxPool(pool), None),
            Self::AvgPool { pool } => (Side::AvgPool(pool), None),
            Self::RowColumn => (Side::RowColumn, None),
        }
    }

    fn filter_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::ConvConv { filter, .. }
            | Self::ConvMaxPool { filter, .. }
            | Self::ConvAvgPool { filter, .. }
            | Self::Conv { filter } => Some(filter),
            Self::MaxPool { .. } | Self::AvgPool { .. } | Self::RowColumn => None,
        }
    }

    fn src2_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::ConvConv { src2, .. } | Self::ConvMaxPool { src2, .. } | Self::ConvAvgPool { src2, .. } => Some(src2),
            Self::Conv { .. } | Self::MaxPool { .. } | Self::AvgPool { .. } | Self::RowColumn => None,
        }
    }
}

impl Branch {
    /// What its second operation reads, if it has one.
    pub fn src2(&self) -> Option<usize> {
        Some(self.op.sides().1?.1)
    }

    fn renumber(&mut self, of: impl Fn(usize) -> usize) {
        self.src1 = of(self.src1);
        if let Some(src2) = self.op.src2_mut() {
            *src2 = of(*src2);
        }
    }
}

impl Module {
    /// Whether there is a branch, and all of them read what is earlier.
    pub fn is_well_formed(&self) -> bool {
        let reads = |(place, branch): (usize, &Branch)| branch.src1 <= place && branch.src2() <= Some(place);
        !self.branches.is_empty() && self.branches.iter().enumerate().all(reads)
    }

    /// Branches whose outputs together are the module's.
    pub fn ends(&self) -> impl Iterator<Item = usize> {
        let is_read = |idx: usize| self.branches.iter().any(|it| it.src1 == idx + 1 || it.src2() == Some(idx + 1));
        (0..self.branches.len()).filter(move |&idx| self.branches[idx].propagate || !is_read(idx))
    }

    /// Puts `branch` at `place`.
    pub fn insert(&mut self, place: usize, branch: Branch) {
        for later in &mut self.branches[place..] {
            later.renumber(|source| if place < source { source + 1 } else { source });
        }
        self.branches.insert(place, branch);
    }

    /// Takes the branch at `place` away: what read it reads its first source. The last branch stays.
    pub fn remove(&mut self, place: usize) {
        if self.branches.len() < 2 {
            return;
        }
        let src1 = self.branches.remove(place).src1;
        for later in &mut self.branches[place..] {
            later.renumber(|source| match source {
                gone if gone == place + 1 => src1,
                after if place < after => after - 1,
                before => before,
            });
        }
    }
}

impl SearchSpace for ModuleSpace {
    type Arch = Module;

    fn sample(&self, chooser: &mut dyn Chooser) -> Module {
        let n_branches = 1 + chooser.choose(Question { kind: Kind::Count, options: self.max_branches });
        let mut branches = Vec::with_capacity(n_branches);
        for place in 0..n_branches {
            branches.push(ask_branch(place, chooser));
            chooser.define();
        }
        Module { branches }
    }

    fn build(&self, arch: &Module, scale: &Scale) -> Result<Graph, GraphError> {
        let n_modules = n_cells(scale.layers);
        let mut graph = Graph::with_capacity(n_modules * (9 * arch.branches.len() + 1) + 6);
        let image = scale.begin(&mut graph)?;
        let mut last = stem(&mut graph, image, scale.channels)?;
        let reductions = reductions(scale.layers);
        let mut widening = 1;
        for nth in 0..n_modules {
            let stride = if reductions.contains(&nth) { 2 } else { 1 };
            widening *= stride;
            last = graph.within(("module", nth), |graph| {
                add_module(graph, arch, last, stride, |channels| widening * width(channels, scale))
            })?;
        }
        let relu = graph.add("relu", Op::Activation(Activation::Relu), &[last])?;
        classify(&mut graph, relu, scale)?;
        Ok(graph)
    }

    /// The module's input.
    fn given(&self) -> usize {
        1
    }

    /// `sum over B of prod over i <= B of 10 i (20 i + 9)`: branch `i` (from 1) has `i` sources, 5 numbers of channels
    /// and propagates or not; 20 types and widths have a second source, 9 have none.
    fn size(&self) -> u128 {
        let (filters, pools) = (FILTER_WIDTHS.len() as u128, POOL_WIDTHS.len() as u128);
        let (double, single) = (filters + 2 * filters * pools, filters + 2 * pools + 1);
        let branch = |i: u128| 2 * CHANNELS.len() as u128 * i * (double * i + single);
        let wide = |n: usize| (1..=n as u128).map(branch).fold(1, u128::saturating_mul);
        (1..=self.max_branches).map(wide).fold(0, u128::saturating_add)
    }

    /// One branch of one operation: a pool, or a 1x1 convolution.
    fn cheapest(&self) -> Vec<Module> {
        let pools = POOL_WIDTHS.into_iter().flat_map(|pool| [BranchOp::MaxPool { pool }, BranchOp::AvgPool { pool }]);
        let ops = pools.chain([BranchOp::Conv { filter: FILTER_WIDTHS[0] }]);
        let module = |op, channels| Module { branches: vec![Branch { op, channels, propagate: false, src1: 0 }] };
        // Which is the cheaper depends on what the pool needs to change its channels.
        ops.flat_map(|op| CHANNELS.map(|channels| module(op, channels))).collect()
    }
}

impl Morph for ModuleSpace {
    /// One step: first the filters of one group of branches get one width, or one number; then a branch is inserted,
    /// removed, or all are kept. Nothing is inserted where there are `MAX_BRANCHES`, or removed where there is one.
    fn morph(&self, arch: &Module, chooser: &mut dyn Chooser) -> Module {
        let mut arch = arch.clone();
        let n_branches = arch.branches.len();
        let what = chooser.choose(Question { kind: Kind::Edit, options: SCALES });
        let group = chooser.choose(Question { kind: Kind::Place, options: self.groups });
        let (filter, channels) = if what == SCALE_WIDTH {
            (Some(ask(Kind::Kernel, &FILTER_WIDTHS, chooser)), None)
        } else {
            (None, Some(ask(Kind::Channels, &CHANNELS, chooser)))
        };
        let is_in_group = |place: usize| place * self.groups / n_branches == group;
        for (_, branch) in arch.branches.iter_mut().enumerate().filter(|(place, _)| is_in_group(*place)) {
            branch.channels = channels.unwrap_or(branch.channels);
            if let (Some(known), Some(filter)) = (branch.op.filter_mut(), filter) {
                *known = filter;
            }
        }
        match chooser.choose(Question { kind: Kind::Edit, options: EDITS }) {
            INSERT if n_branches < self.max_branches => {
                let place = chooser.choose(Question { kind: Kind::Place, options: n_branches + 1 });
                (0..place).for_each(|_| chooser.define());
                let branch = ask_branch(place, chooser);
                arch.insert(place, branch);
            }
            REMOVE if 1 < n_branches => {
                arch.remove(chooser.choose(Question { kind: Kind::Place, options: n_branches }));
            }
            // Kept.
            _ => {}
        }
        arch
    }

    /// Type, filter width, pooling width, channels, whether it propagates, first and second source; 0 where a branch
    /// has no such thing.
    fn embed(&self, arch: &Module) -> Vec<Vec<usize>> {
        let row = |branch: &Branch| {
            let (first, second) = branch.op.sides();
            let sides = [Some(first), second.map(|(side, _)| side)];
            let (mut filter, mut pool) = (0, 0);
            for side in sides.into_iter().flatten() {
                match side {
                    Side::Conv(width) => filter = position(&FILTER_WIDTHS, &width),
                    Side::MaxPool(width) | Side::AvgPool(width) => pool = position(&POOL_WIDTHS, &width),
                    Side::RowColumn => {}
                }
            }
            let channels = position(&CHANNELS, &branch.channels);
            let src2 = branch.src2().map_or(0, |src2| src2 + 1);
            vec![branch.op.nth(), filter, pool, channels, usize::from(branch.propagate), branch.src1, src2]
        };
        arch.branches.iter().map(row).collect()
    }
}

/// Asks for every decision about the branch at `place`.
fn ask_branch(place: usize, chooser: &mut dyn Chooser) -> Branch {
    let nth = chooser.choose(Question { kind: Kind::Op, options: TYPES.len() });
    let filter = |chooser: &mut dyn Chooser| ask(Kind::Kernel, &FILTER_WIDTHS, chooser);
    let window = |chooser: &mut dyn Chooser| ask(Kind::Kernel, &POOL_WIDTHS, chooser);
    let source = |chooser: &mut dyn Chooser| chooser.choose(Question { kind: Kind::Input, options: place + 1 });
    let op = match nth {
        0 => BranchOp::ConvConv { filter: filter(chooser), src2: source(chooser) },
        1 => BranchOp::ConvMaxPool { filter: filter(chooser), pool: window(chooser), src2: source(chooser) },
        2 => BranchOp::ConvAvgPool { filter: filter(chooser), pool: window(chooser), src2: source(chooser) },
        3 => BranchOp::Conv { filter: filter(chooser) },
        4 => BranchOp::MaxPool { pool: window(chooser) },
        5 => BranchOp::AvgPool { pool: window(chooser) },
        _ => BranchOp::RowColumn,
    };
    let channels = ask(Kind::Channels, &CHANNELS, chooser);
    let propagate = chooser.choose(Question { kind: Kind::Skip, options: 2 }) == 1;
    Branch { op, channels, propagate, src1: source(chooser) }
}

/// Adds one copy. `widened`: channels that a branch's stand for in this one.
fn add_module(
    graph: &mut Graph,
    module: &Module,
    input: NodeId,
    stride: usize,
    widened: impl Fn(usize) -> usize,
) -> Result<NodeId, GraphError> {
    let mut values = vec![input];
    for (idx, branch) in module.branches.iter().enumerate() {
        let channels = widened(branch.channels);
        let (first, second) = branch.op.sides();
        let stride = |source: usize| if source == 0 { stride } else { 1 };
        let node = graph.within(("branch", idx), |graph| {
            graph.within(TYPES[branch.op.nth()], |graph| {
                let from = values[branch.src1];
                let left = graph.within("left", |graph| apply(graph, first, from, channels, stride(branch.src1)))?;
                let Some((side, src2)) = second else { return Ok(left) };
                let right = graph.within("right", |graph| apply(graph, side, values[src2], channels, stride(src2)))?;
                graph.add("sum", Op::Add, &[left, right])
            })
        })?;
        values.push(node);
    }
    let ends: Vec<NodeId> = module.ends().map(|idx| values[idx + 1]).collect();
    match ends[..] {
        [end] => Ok(end),
        _ => graph.add("output", Op::Concat, &ends),
    }
}

fn apply(graph: &mut Graph, side: Side, input: NodeId, channels: usize, stride: usize) -> Result<NodeId, GraphError> {
    let relu = |graph: &mut Graph, node| graph.add("relu", Op::Activation(Activation::Relu), &[node]);
    let (label, op) = match side {
        Side::Conv(filter) => {
            let relu = relu(graph, input)?;
            return conv_norm(graph, ["conv", "norm"], relu, Conv2d::same(channels, filter, stride));
        }
        Side::RowColumn => {
            let relu = relu(graph, input)?;
            let pads = Pads { left: LONG / 2, right: LONG / 2, ..Pads::all(0) };
            let row = Conv2d { kernel: [1, LONG], stride: [1, stride], pads, ..Conv2d::same(channels, 1, 1) };
            let row = graph.add("row", Op::Conv2d(row), &[relu])?;
            let pads = Pads { top: LONG / 2, bottom: LONG / 2, ..Pads::all(0) };
            let column = Conv2d { kernel: [LONG, 1], stride: [stride, 1], pads, ..Conv2d::same(channels, 1, 1) };
            return conv_norm(graph, ["column", "norm"], row, column);
        }
        Side::MaxPool(width) => ("pool", Op::MaxPool(pool(width, stride))),
        Side::AvgPool(width) => ("pool", Op::AvgPool(pool(width, stride))),
    };
    let pooled = graph.add(label, op, &[input])?;
    if graph.shape(pooled).channels() == channels {
        return Ok(pooled);
    }
    let relu = relu(graph, pooled)?;
    conv_norm(graph, ["conv", "norm"], relu, Conv2d::same(channels, 1, 1))
}

/// The long side of a row or a column of filters, in pixels.
const LONG: usize = 7;
