//! The cells of NAS-Bench-201 (X. Dong and Y. Yang, 2020): four nodes, an operation on each of the six edges.
//!
//! 15,625 cells, small enough to be trained and timed completely; the published tables make it the yardstick of
//! strategies. A network is a 3x3 convolution, then three stages of `N` equal cells with a residual block of stride
//! 2 between them. Branches that lead nowhere stay in the network, as they did when the tables were made: each cell
//! is then a network of its own.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pool2d};
use serde::{Deserialize, Serialize};

use super::{
    Morph, Relax, Scale, SearchSpace, Task,
    parts::{best_first, classify, conv_norm, stem},
};
use crate::chooser::{Chooser, Kind, Question};

/// The space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NasBench201;

/// Operations on the edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arch {
    /// By edge.
    pub edges: [EdgeOp; 6],
}

/// What an edge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeOp {
    /// Passes nothing on.
    None,
    /// Passes its input on.
    SkipConnect,
    /// ReLU, 1x1 convolution, batch norm.
    #[serde(rename = "nor_conv_1x1")]
    Conv1,
    /// ReLU, 3x3 convolution, batch norm.
    #[serde(rename = "nor_conv_3x3")]
    Conv3,
    /// 3x3 average pooling.
    #[serde(rename = "avg_pool_3x3")]
    AvgPool,
}

impl EdgeOp {
    /// All of them, in the benchmark's order.
    pub const ALL: [Self; 5] = [Self::None, Self::SkipConnect, Self::Conv1, Self::Conv3, Self::AvgPool];

    /// Name in the benchmark's tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SkipConnect => "skip_connect",
            Self::Conv1 => "nor_conv_1x1",
            Self::Conv3 => "nor_conv_3x3",
            Self::AvgPool => "avg_pool_3x3",
        }
    }
}

/// The size of the benchmark's networks.
pub const PUBLISHED: Scale =
    Scale { layers: 5, channels: 16, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };

/// From and to of each edge.
const EDGES: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];

impl Arch {
    /// The cell of `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, the benchmark's notation; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(['|', '+']).filter(|word| !word.is_empty());
        let mut edges = [EdgeOp::None; 6];
        for (edge, (from, _)) in edges.iter_mut().zip(EDGES) {
            let (name, source) = words.next()?.split_once('~')?;
            *edge = EdgeOp::ALL.into_iter().find(|op| op.name() == name)?;
            (source.parse() == Ok(from)).then_some(())?;
        }
        words.next().is_none().then_some(Self { edges })
    }

    /// Every cell.
    pub fn all() -> impl Iterator<Item = Self> {
        let n = EdgeOp::ALL.len();
        (0..n.pow(6))
            .map(move |idx| Self { edges: std::array::from_fn(|edge| EdgeOp::ALL[idx / n.pow(edge as u32) % n]) })
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (idx, (op, (from, _))) in self.edges.iter().zip(EDGES).enumerate() {
            let before = if from > 0 {
                ""
            } else if idx == 0 {
                "|"
            } else {
                "+|"
            };
            write!(f, "{before}{}~{from}|", op.name())?;
        }
        Ok(())
    }
}

impl SearchSpace for NasBench201 {
    type Arch = Arch;

    fn sample(&self, chooser: &mut dyn Chooser) -> Arch {
        let question = Question { kind: Kind::Op, options: EdgeOp::ALL.len() };
        Arch { edges: std::array::from_fn(|_| EdgeOp::ALL[chooser.choose(question)]) }
    }

    fn build(&self, arch: &Arch, scale: &Scale) -> Result<Graph, GraphError> {
        network(scale, |graph, idx, source, channels| edge(graph, arch.edges[idx], source, channels))
    }

    /// `5^6`.
    fn size(&self) -> u128 {
        (EdgeOp::ALL.len() as u128).pow(EDGES.len() as u32)
    }

    /// Cells that pass on or nothing on each edge. What passes nothing on is the dearer of the two but for live
    /// activations: it ships as a constant of zeros, and what passes on is no operation at all.
    fn cheapest(&self) -> Vec<Arch> {
        let free = [EdgeOp::SkipConnect, EdgeOp::None];
        (0..1 << EDGES.len())
            .map(|set: usize| Arch { edges: std::array::from_fn(|edge| free[set >> edge & 1]) })
            .collect()
    }
}

impl Relax for NasBench201 {
    /// All five operations on each edge; its mixes have the edge's number as their key, in every cell.
    fn relax(&self, scale: &Scale) -> Result<Graph, GraphError> {
        network(scale, |graph, idx, source, channels| {
            let options = EdgeOp::ALL.into_iter().map(|op| edge(graph, op, source, channels));
            let options = options.collect::<Result<Vec<_>, _>>()?;
            graph.add("mix", Op::Mix(idx as u32), &options)
        })
    }

    fn options(&self) -> Vec<usize> {
        vec![EdgeOp::ALL.len(); EDGES.len()]
    }

    fn strongest(&self, scores: &[Vec<f64>]) -> impl Iterator<Item = Arch> {
        let list = |row: &Vec<f64>| row.iter().copied().zip(EdgeOp::ALL).collect();
        best_first(scores.iter().map(list).collect()).map(|ops| Arch { edges: std::array::from_fn(|edge| ops[edge]) })
    }

    fn chosen(&self, arch: &Arch) -> Vec<usize> {
        arch.edges.iter().map(|op| *op as usize).collect()
    }

    fn n_skips(&self, arch: &Arch) -> usize {
        arch.edges.iter().filter(|op| **op == EdgeOp::SkipConnect).count()
    }
}

impl Morph for NasBench201 {
    /// Another operation on one edge.
    fn morph(&self, arch: &Arch, chooser: &mut dyn Chooser) -> Arch {
        let edge = chooser.choose(Question { kind: Kind::Place, options: EDGES.len() });
        let op = chooser.choose(Question { kind: Kind::Op, options: EdgeOp::ALL.len() });
        let mut arch = *arch;
        arch.edges[edge] = EdgeOp::ALL[op];
        arch
    }

    fn embed(&self, arch: &Arch) -> Vec<Vec<usize>> {
        arch.edges.iter().map(|op| vec![*op as usize]).collect()
    }
}

/// What stands on an edge, by its number, what it reads and its channels.
type AddEdge<'a> = dyn FnMut(&mut Graph, usize, NodeId, usize) -> Result<NodeId, GraphError> + 'a;

fn network(
    scale: &Scale,
    mut add_edge: impl FnMut(&mut Graph, usize, NodeId, usize) -> Result<NodeId, GraphError>,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::with_capacity(3 * scale.layers * 24 + 32);
    let image = scale.begin(&mut graph)?;
    let mut last = stem(&mut graph, image, scale.channels)?;
    let mut channels = scale.channels;
    for stage in 0..3 {
        if 0 < stage {
            channels *= 2;
            last = graph.within(("reduction", stage), |graph| residual(graph, last, channels))?;
        }
        for layer in 0..scale.layers {
            let index = stage * scale.layers + layer;
            last = graph.within(("cell", index), |graph| cell(graph, &mut add_edge, last, channels))?;
        }
    }
    let norm = graph.add("norm", Op::BatchNorm, &[last])?;
    let relu = graph.add("relu", Op::Activation(Activation::Relu), &[norm])?;
    classify(&mut graph, relu, scale)?;
    Ok(graph)
}

fn cell(graph: &mut Graph, add_edge: &mut AddEdge, input: NodeId, channels: usize) -> Result<NodeId, GraphError> {
    let mut nodes = [input; 4];
    for to in 1..4 {
        let mut ends = Vec::with_capacity(3);
        for (idx, (from, _)) in EDGES.into_iter().enumerate().filter(|(_, (_, target))| *target == to) {
            ends.push(graph.within(("edge", idx), |graph| add_edge(graph, idx, nodes[from], channels))?);
        }
        nodes[to] = match ends[..] {
            [end] => end,
            _ => graph.add(("sum", to), Op::Add, &ends)?,
        };
    }
    Ok(nodes[3])
}

fn edge(graph: &mut Graph, op: EdgeOp, source: NodeId, channels: usize) -> Result<NodeId, GraphError> {
    match op {
        EdgeOp::None => graph.add("none", Op::Zero(1), &[source]),
        EdgeOp::SkipConnect => graph.add("skip_connect", Op::Identity, &[source]),
        EdgeOp::Conv1 => graph.within("nor_conv_1x1", |graph| conv(graph, source, Conv2d::same(channels, 1, 1))),
        EdgeOp::Conv3 => graph.within("nor_conv_3x3", |graph| conv(graph, source, Conv2d::same(channels, 3, 1))),
        EdgeOp::AvgPool => graph.add("avg_pool_3x3", Op::AvgPool(Pool2d::same(3, 1)), &[source]),
    }
}

/// ReLU, convolution, batch norm.
fn conv(graph: &mut Graph, input: NodeId, conv: Conv2d) -> Result<NodeId, GraphError> {
    let relu = graph.add("relu", Op::Activation(Activation::Relu), &[input])?;
    conv_norm(graph, ["conv", "norm"], relu, conv)
}

/// Two 3x3 convolutions, the first of stride 2, beside average pooling and a 1x1 convolution.
fn residual(graph: &mut Graph, input: NodeId, channels: usize) -> Result<NodeId, GraphError> {
    let first = graph.within("first", |graph| conv(graph, input, Conv2d::same(channels, 3, 2)))?;
    let second = graph.within("second", |graph| conv(graph, first, Conv2d::same(channels, 3, 1)))?;
    let pool = Pool2d { kernel: [2; 2], stride: [2; 2], pads: graph::Pads::all(0) };
    let pooled = graph.add("shortcut/pool", Op::AvgPool(pool), &[input])?;
    let shortcut = graph.add("shortcut/conv", Op::Conv2d(Conv2d::same(channels, 1, 1)), &[pooled])?;
    graph.add("sum", Op::Add, &[second, shortcut])
}
