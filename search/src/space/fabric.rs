//! Super networks whose edges are on or off: the spaces of budgeted super networks (T. Veniat and L. Denoyer, 2018).
//!
//! A super network is a grid of places, joined by edges that compute; what arrives at a place is summed and goes
//! through a ReLU. A network is which of the edges are on. There are two super networks:
//!
//! - The convolutional neural fabric (S. Saxena and J. Verbeek, 2016): layers by scales. A place reads the same, the
//!   next finer and the next coarser scale of the layer before it through 3x3 convolutions; in the first and the last
//!   layer a place also reads the next finer scale of its own layer. The image enters at the finest scale of the first
//!   layer, the answer leaves at the coarsest of the last. What is read from a coarser scale is interpolated before its
//!   convolution, where the fabric's authors put zeros between the values.
//! - The ResNet fabric: stages of residual blocks, each with a residual path and a skip path of its own, and shortcuts
//!   of both sorts from the stage before.
//!
//! What the image does not reach, or what reaches no answer, is not built. Where no way is left from the image to the
//! answer the edges stand for the way of the fewest multiply-accumulates, as if none were on.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op};
use serde::{Deserialize, Serialize};

use super::{
    Scale, SearchSpace,
    parts::{classify, conv_norm},
};
use crate::chooser::{Chooser, Kind, Question};

/// A super network. Its depth is its own, because every layer has edges of its own: [`Scale::layers`] is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fabric {
    /// The convolutional neural fabric. All places have [`Scale::channels`] channels, 128 in the paper.
    Cnf {
        /// Layers: at least one.
        layers: usize,
        /// Scales: at least one; each halves the one before it. 6 take an image of 32 pixels down to one.
        scales: usize,
    },
    /// The ResNet fabric. The first stage has [`Scale::channels`] channels, 16 in the authors' code; each later one
    /// halves the map and has twice as many.
    ResNet {
        /// Stages: at least one.
        stages: usize,
        /// Blocks of a stage: at least one.
        blocks: usize,
    },
}

impl Default for Fabric {
    /// The fabric of the paper, for images of 32 pixels.
    fn default() -> Self {
        Self::Cnf { layers: 8, scales: 6 }
    }
}

/// Which edges of a super network are on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arch {
    /// In the order of [`Fabric`]'s questions; edges that are not named are off.
    pub on: Vec<bool>,
}

/// Where edges meet.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where it stands in the grid.
    labels: [(&'static str, usize); 2],
    /// How often the map was halved since the first place.
    halved: u32,
    /// How often the channels were doubled since.
    doubled: u32,
}

impl Place {
    /// Height and width of its map, in pixels: each half of the one before, rounded up.
    fn sides(self, scale: &Scale) -> [usize; 2] {
        let [_, height, width] = scale.input;
        [height, width].map(|side| (0..self.halved).fold(side, |side, _| side.div_ceil(2)))
    }
}

/// What may be switched. Edges are ordered by the place they lead to, and they lead forward only.
#[derive(Clone, Copy, Debug)]
struct Edge {
    from: usize,
    to: usize,
    way: Way,
}

/// What an edge computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A 3x3 convolution with batch norm; of a coarser map once that has been resized.
    Conv,
    /// A 3x3 convolution with batch norm, ReLU, and another of both.
    Residual,
    /// Nothing where the places are of one size, a 1x1 convolution with batch norm elsewhere.
    Skip,
}

impl Fabric {
    /// Number of edges, each of which may be on or off.
    pub fn n_edges(&self) -> usize {
        self.edges().len()
    }

    /// The edges that `arch` needs: those on some way from the image to the answer. Never none.
    pub fn used(&self, arch: &Arch) -> Vec<bool> {
        used(&self.edges(), &self.places(), &arch.on)
    }

    fn places(&self) -> Vec<Place> {
        match *self {
            Self::Cnf { layers, scales } => {
                let place = |idx: usize| {
                    let labels = [("layer", idx / scales), ("scale", idx % scales)];
                    Place { labels, halved: (idx % scales) as u32, doubled: 0 }
                };
                (0..layers * scales).map(place).collect()
            }
            Self::ResNet { stages, blocks } => {
                let place = |idx: usize| {
                    let stage = idx / blocks;
                    let labels = [("stage", stage), ("block", idx % blocks)];
                    Place { labels, halved: stage as u32, doubled: stage as u32 }
                };
                let first = Place { labels: [("stage", 0), ("start", 0)], halved: 0, doubled: 0 };
                std::iter::once(first).chain((0..stages * blocks).map(place)).collect()
            }
        }
    }

    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        match *self {
            Self::Cnf { layers, scales } => {
                for to in 1..layers * scales {
                    let (layer, scale) = (to / scales, to % scales);
                    let mut join = |from: usize| edges.push(Edge { from, to, way: Way::Conv });
                    if 0 < layer {
                        join(to - scales);
                        if 0 < scale {
                            join(to - scales - 1);
                        }
                        if scale + 1 < scales {
                            join(to - scales + 1);
                        }
                    }
                    if 0 < scale && (layer == 0 || layer == layers - 1) {
                        join(to - 1);
                    }
                }
            }
            Self::ResNet { stages, blocks } => {
                for to in 1..=stages * blocks {
                    let (stage, block) = ((to - 1) / blocks, (to - 1) % blocks);
                    let mut join = |from: usize| {
                        edges.extend([Way::Residual, Way::Skip].map(|way| Edge { from, to, way }));
                    };
                    join(to - 1);
                    if 0 < stage {
                        // The mirror image of the block in the stage before, and its neighbours; what ends that stage
                        // is read already.
                        let start = (stage - 1) * blocks;
                        let mirrored = blocks - 1 - block;
                        let sources = [Some(mirrored), Some(mirrored + 1), mirrored.checked_sub(1)];
                        sources.into_iter().flatten().filter(|it| *it < blocks).for_each(|it| join(start + it));
                    }
                }
            }
        }
        edges
    }
}

impl SearchSpace for Fabric {
    type Arch = Arch;

    /// One question an edge; its last answer is on.
    fn sample(&self, chooser: &mut dyn Chooser) -> Arch {
        let question = Question { kind: Kind::Skip, options: 2 };
        Arch { on: (0..self.n_edges()).map(|_| chooser.choose(question) == 1).collect() }
    }

    fn build(&self, arch: &Arch, scale: &Scale) -> Result<Graph, GraphError> {
        let (places, edges) = (self.places(), self.edges());
        let used = used(&edges, &places, &arch.on);
        let mut graph = Graph::with_capacity(6 * edges.len() + 8);
        let image = scale.begin(&mut graph)?;
        let stem = graph.within("stem", |graph| {
            let norm = conv_norm(graph, ["conv", "norm"], image, Conv2d::same(scale.channels, 3, 1))?;
            graph.add("relu", Op::Activation(Activation::Relu), &[norm])
        })?;
        let mut nodes = vec![stem; places.len()];
        let mut ends = Vec::new();
        let used: Vec<Edge> = edges.into_iter().zip(used).filter_map(|(edge, used)| used.then_some(edge)).collect();
        for arriving in used.chunk_by(|a, b| a.to == b.to) {
            let to = arriving[0].to;
            let [outer, inner] = places[to].labels;
            ends.clear();
            nodes[to] = graph.within(outer, |graph| {
                graph.within(inner, |graph| {
                    for edge in arriving {
                        let sizes = [places[edge.from], places[to]];
                        let fits = |graph: &mut Graph| match places[edge.from].halved <= places[to].halved {
                            true => Ok(nodes[edge.from]),
                            false => {
                                let resized = Op::Resize(places[to].sides(scale));
                                graph.add("resize", resized, &[nodes[edge.from]])
                            }
                        };
                        ends.push(graph.within(("from", edge.from), |graph| {
                            let input = fits(graph)?;
                            add(graph, edge.way, input, sizes, scale.channels)
                        })?);
                    }
                    arrive(graph, &ends, nodes[arriving[0].from])
                })
            })?;
        }
        classify(&mut graph, nodes[places.len() - 1], scale)?;
        Ok(graph)
    }

    /// `2^edges`, edges that lead nowhere counted; the largest number where it does not fit.
    fn size(&self) -> u128 {
        u32::try_from(self.n_edges()).ok().and_then(|it| 1_u128.checked_shl(it)).unwrap_or(u128::MAX)
    }

    /// Without any edge it is the cheapest way.
    fn cheapest(&self) -> Vec<Arch> {
        vec![Arch { on: vec![false; self.n_edges()] }]
    }
}

/// Edges on a way from the first place to the last, or else the cheapest way.
fn used(edges: &[Edge], places: &[Place], on: &[bool]) -> Vec<bool> {
    alive(edges, places.len(), on).unwrap_or_else(|| cheapest_way(edges, places))
}

/// Edges on a way from the first place to the last; `None` if there is no way.
fn alive(edges: &[Edge], n_places: usize, on: &[bool]) -> Option<Vec<bool>> {
    let mut reached = vec![false; n_places];
    reached[0] = true;
    let is_on = |idx: usize| on.get(idx).copied().unwrap_or(false);
    for (idx, edge) in edges.iter().enumerate() {
        reached[edge.to] |= is_on(idx) && reached[edge.from];
    }
    let mut needed = vec![false; n_places];
    needed[n_places - 1] = true;
    let mut alive = vec![false; edges.len()];
    for (idx, edge) in edges.iter().enumerate().rev() {
        alive[idx] = is_on(idx) && reached[edge.from] && needed[edge.to];
        needed[edge.from] |= alive[idx];
    }
    reached[n_places - 1].then_some(alive)
}

/// The way of the fewest multiply-accumulates from the first place to the last; of equals the first.
fn cheapest_way(edges: &[Edge], places: &[Place]) -> Vec<bool> {
    let most_halved = places.iter().map(|it| it.halved).max().unwrap_or(0);
    let macs = |edge: &Edge| {
        let [from, to] = [places[edge.from], places[edge.to]];
        let pixels = 1_u128 << (2 * (most_halved - to.halved));
        let (read, written) = (1_u128 << from.doubled, 1_u128 << to.doubled);
        let is_same = (from.halved, from.doubled) == (to.halved, to.doubled);
        pixels
            * match edge.way {
                Way::Conv => 9 * read * written,
                Way::Residual => 9 * read * written + 9 * written * written,
                Way::Skip if is_same => 0,
                Way::Skip => read * written,
            }
    };
    let mut least: Vec<Option<(u128, usize)>> = vec![None; places.len()];
    for (idx, edge) in edges.iter().enumerate() {
        let before = if edge.from == 0 { Some(0) } else { least[edge.from].map(|(macs, _)| macs) };
        let Some(before) = before else { continue };
        let through = before + macs(edge);
        if least[edge.to].is_none_or(|(known, _)| through < known) {
            least[edge.to] = Some((through, idx));
        }
    }
    let mut on = vec![false; edges.len()];
    let mut at = places.len() - 1;
    while let Some((_, idx)) = least[at] {
        on[idx] = true;
        at = edges[idx].from;
    }
    on
}

/// Adds what an edge computes. `sizes` are those of the places that it leads from and to.
fn add(graph: &mut Graph, way: Way, input: NodeId, sizes: [Place; 2], channels: usize) -> Result<NodeId, GraphError> {
    let [from, to] = sizes;
    let (channels, stride) = (channels << to.doubled, 1 << to.halved.saturating_sub(from.halved));
    match way {
        Way::Conv => conv_norm(graph, ["conv", "norm"], input, Conv2d::same(channels, 3, stride)),
        Way::Residual => graph.within("residual", |graph| {
            let first = conv_norm(graph, ["first/conv", "first/norm"], input, Conv2d::same(channels, 3, stride))?;
            let relu = graph.add("first/relu", Op::Activation(Activation::Relu), &[first])?;
            conv_norm(graph, ["second/conv", "second/norm"], relu, Conv2d::same(channels, 3, 1))
        }),
        Way::Skip if stride == 1 && from.doubled == to.doubled => Ok(input),
        Way::Skip => conv_norm(graph, ["skip/conv", "skip/norm"], input, Conv2d::same(channels, 1, stride)),
    }
}

/// The sum of what arrives at a place, and its ReLU; what `source` alone passes on has had one.
fn arrive(graph: &mut Graph, ends: &[NodeId], source: NodeId) -> Result<NodeId, GraphError> {
    let sum = match *ends {
        [end] if end == source => return Ok(source),
        [end] => end,
        _ => graph.add("sum", Op::Add, ends)?,
    };
    graph.add("relu", Op::Activation(Activation::Relu), &[sum])
}
