//! A chain of positions, each with one block of a few types or none: the space of RCAS (Y. Xiong, R. Mehta and
//! V. Singh, 2019).
//!
//! The block types are Figure 2 of the paper; widths, strides and the network that a search starts from are Tables 1
//! and 2 of its supplement and the authors' code. With the shortcut of that code, a 1x1 convolution beside a block of
//! stride 1 that changes the width, all printed sizes come out (the authors count the multiply-accumulates of
//! convolutions, not of the classifier); the supplement's text, no shortcut where the width changes, gives others.
//!
//! Two choices are ours. A position without a block passes its input on, and the next block reads whatever width there
//! is, as in the authors' code; but where such a position has a stride, a 3x3 average pool takes its place, which costs
//! no parameter, so that the resolution at each later position does not depend on earlier choices. And the authors'
//! code shuffles channels before the grouped projection, which Table 1 of the paper does not mention and no operation
//! here does. Where the expansion is dense (types 2 and 4) that is only another order of its filters; types 3 and 6 mix
//! their groups less.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pool2d};
use serde::{Deserialize, Serialize};

use super::{
    Scale, SearchSpace,
    parts::{classify, conv_norm},
};
use crate::chooser::{Chooser, Kind, Question};

/// All chains over one layout.
///
/// The number of positions is the layout's, whatever [`Scale::layers`] says. [`Scale::channels`] is the number of the
/// first convolution's filters: all widths grow and shrink with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockSpace {
    /// The `L` types of blocks; type 1 is the first.
    pub types: Vec<BlockType>,
    /// Positions in order; there are `N` in all.
    pub stages: Vec<Stage>,
    /// What stands in the chain before a search begins.
    pub start: Vec<Element>,
    /// Filters of the first convolution that the other widths are given for.
    pub stem: usize,
    /// Stride of the first convolution.
    pub stem_stride: usize,
    /// Output channels of the block before all positions, which does not expand.
    pub first: usize,
    /// Output channels of the last convolution.
    pub head: usize,
    /// Whether a block of stride 1 that changes the width has a 1x1 convolution beside it; without, it has no shortcut.
    pub projects_shortcuts: bool,
}

/// 1x1 group convolution, 3x3 depthwise convolution, linear 1x1 group convolution: Table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockType {
    /// `t`: channels between the 1x1 convolutions, for each channel that the block reads.
    pub expansion: usize,
    /// `g_e`: groups of the first 1x1 convolution. 1, 2, 4 and 8 divide every width.
    pub expand_groups: usize,
    /// `g_p`: groups of the last 1x1 convolution. 1, 2, 4 and 8 divide every width.
    pub project_groups: usize,
}

/// Positions of equal width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Number of positions.
    pub positions: usize,
    /// `C2`: output channels of each block.
    pub channels: usize,
    /// `s`: stride at the first of the positions.
    pub stride: usize,
}

/// One block at one position: an element of the ground set `V`, which has `L N` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Element {
    /// From 0.
    pub position: usize,
    /// Type of the block, from 1.
    pub block: usize,
}

/// A set of elements with at most one at each position: an architecture, as the paper prints it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain {
    /// Type of the block at each position, from 1; 0 where there is none.
    pub positions: Vec<usize>,
}

/// Channels are multiples of this, so that any number of groups that divides it divides them.
const DIVISOR: usize = 8;

/// Nodes of a block at most.
const MOST_NODES: usize = 12;

impl Default for BlockSpace {
    /// For images of 32 x 32 pixels, as the paper searches CIFAR-100.
    fn default() -> Self {
        let types = [(3, 1, 1), (3, 1, 2), (6, 2, 2), (6, 1, 2), (6, 1, 1), (12, 2, 4)];
        let typed = |(expansion, expand_groups, project_groups)| BlockType { expansion, expand_groups, project_groups };
        let stages = [(24, 1), (32, 2), (64, 2), (96, 1), (160, 2), (320, 1)];
        let staged = |(channels, stride)| Stage { positions: 6, channels, stride };
        Self {
            types: types.map(typed).to_vec(),
            stages: stages.map(staged).to_vec(),
            start: [0, 6, 12, 24].map(|position| Element { position, block: 5 }).to_vec(),
            stem: 32,
            stem_stride: 1,
            first: 16,
            head: 1280,
            projects_shortcuts: true,
        }
    }
}

impl BlockSpace {
    /// For images of 224 x 224 pixels, as the paper searches ImageNet: two strides more.
    pub fn imagenet() -> Self {
        let mut space = Self { stem_stride: 2, ..Self::default() };
        space.stages[0].stride = 2;
        space
    }

    /// `N`.
    pub fn n_positions(&self) -> usize {
        self.stages.iter().map(|stage| stage.positions).sum()
    }

    /// The ground set: every block at every position.
    pub fn elements(&self) -> impl Iterator<Item = Element> {
        let n_types = self.types.len();
        (0..self.n_positions()).flat_map(move |position| (1..=n_types).map(move |block| Element { position, block }))
    }

    /// No block anywhere.
    pub fn empty(&self) -> Chain {
        Chain { positions: vec![0; self.n_positions()] }
    }

    /// What a search begins with: [`BlockSpace::start`].
    pub fn initial(&self) -> Chain {
        self.start.iter().fold(self.empty(), |set, element| self.with(&set, *element))
    }

    /// `set` with one element more, in the place of another at the same position.
    #[must_use]
    pub fn with(&self, set: &Chain, element: Element) -> Chain {
        let mut set = set.clone();
        set.positions[element.position] = element.block;
        set
    }

    /// Whether `chain` has this layout's positions and no other types. Others cannot be built.
    pub fn is_well_formed(&self, chain: &Chain) -> bool {
        chain.positions.len() == self.n_positions() && chain.positions.iter().all(|&block| block <= self.types.len())
    }

    /// Stage of each position, and its stride.
    fn layout(&self) -> impl Iterator<Item = (&Stage, usize)> {
        let strides = |stage: &Stage| std::iter::once(stage.stride).chain(std::iter::repeat(1)).take(stage.positions);
        self.stages.iter().flat_map(move |stage| strides(stage).map(move |stride| (stage, stride)))
    }

    /// A width of the layout at this scale.
    fn width(&self, channels: usize, scale: &Scale) -> usize {
        (channels * scale.channels).div_ceil(DIVISOR * self.stem) * DIVISOR
    }
}

impl Chain {
    /// The elements in order.
    pub fn elements(&self) -> impl Iterator<Item = Element> {
        let each = self.positions.iter().enumerate();
        each.filter(|(_, block)| 0 < **block).map(|(position, &block)| Element { position, block })
    }

    /// Whether the position of `element` has a block.
    pub fn has_at(&self, element: Element) -> bool {
        0 < self.positions[element.position]
    }
}

impl SearchSpace for BlockSpace {
    type Arch = Chain;

    fn sample(&self, chooser: &mut dyn Chooser) -> Chain {
        let question = Question { kind: Kind::Op, options: self.types.len() + 1 };
        Chain { positions: (0..self.n_positions()).map(|_| chooser.choose(question)).collect() }
    }

    fn build(&self, chain: &Chain, scale: &Scale) -> Result<Graph, GraphError> {
        let mut graph = Graph::with_capacity((chain.elements().count() + 2) * MOST_NODES);
        let image = scale.begin(&mut graph)?;
        let width = |channels| self.width(channels, scale);
        let plain = BlockType { expansion: 1, expand_groups: 1, project_groups: 1 };
        let stem = Conv2d::same(width(self.stem), 3, self.stem_stride);
        let stem = graph.within("stem", |graph| conv_relu(graph, image, stem))?;
        let mut last = graph.within("first", |graph| self.block(graph, plain, stem, width(self.first), 1))?;
        for (position, ((stage, stride), &block)) in self.layout().zip(&chain.positions).enumerate() {
            last = graph.within(("position", position), |graph| match block {
                0 if stride == 1 => Ok(last),
                0 => graph.add("pool", Op::AvgPool(Pool2d::same(3, stride)), &[last]),
                // The name is what shares weights: same place, same type.
                _ => graph.within(("type", block), |graph| {
                    self.block(graph, self.types[block - 1], last, width(stage.channels), stride)
                }),
            })?;
        }
        let head = Conv2d::same(width(self.head), 1, 1);
        let head = graph.within("head", |graph| conv_relu(graph, last, head))?;
        classify(&mut graph, head, scale)?;
        Ok(graph)
    }

    /// `(L + 1)^N`.
    fn size(&self) -> u128 {
        (self.types.len() as u128 + 1).saturating_pow(self.n_positions() as u32)
    }

    /// Each block adds to every cost.
    fn cheapest(&self) -> Vec<Chain> {
        vec![self.empty()]
    }
}

impl BlockSpace {
    /// Table 1.
    fn block(
        &self,
        graph: &mut Graph,
        block: BlockType,
        input: NodeId,
        channels: usize,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        let width = graph.shape(input).channels();
        let inner = block.expansion * width;
        let grouped = |channels, groups| Conv2d { groups, ..Conv2d::same(channels, 1, 1) };
        let expand = grouped(inner, block.expand_groups);
        let expanded = graph.within("expand", |graph| conv_relu(graph, input, expand))?;
        let depthwise = Conv2d::depthwise(inner, 3, stride);
        let filtered = graph.within("depthwise", |graph| conv_relu(graph, expanded, depthwise))?;
        let project = grouped(channels, block.project_groups);
        let projected = graph.within("project", |graph| conv_norm(graph, ["conv", "norm"], filtered, project))?;
        let shortcut = match (stride, width == channels) {
            (1, true) => input,
            (1, false) if self.projects_shortcuts => graph
                .within("shortcut", |graph| conv_norm(graph, ["conv", "norm"], input, Conv2d::same(channels, 1, 1)))?,
            _ => return Ok(projected),
        };
        graph.add("sum", Op::Add, &[projected, shortcut])
    }
}

fn conv_relu(graph: &mut Graph, input: NodeId, conv: Conv2d) -> Result<NodeId, GraphError> {
    let norm = conv_norm(graph, ["conv", "norm"], input, conv)?;
    graph.add("relu", Op::Activation(Activation::Relu6), &[norm])
}
