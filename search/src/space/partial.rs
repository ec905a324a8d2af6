//! DARTS's cells, relaxed in a part of their channels (PC-DARTS: Y. Xu et al., 2020).
//!
//! On each edge of the relaxed network the choice is among operations on the first `1 / K` of the channels; the others
//! pass by, halved by max pooling where the edge has stride 2. A step then takes a fraction of the time and of the memory,
//! and operations without weights lose the advantage that they have while the others' weights are poor, which is what a
//! search collapses to skip connections by.
//!
//! Where PC-DARTS shuffles channels behind an edge, the ones that were worked on go to the end here, so that the next
//! node's operations get others. Edges are not normalised by weights of their own. Reconstruction.

use graph::{Graph, GraphError, NodeId, Op, Pads, Pool2d};

use super::{
    Relax, Scale, SearchSpace,
    darts::{Cells, DartsSpace, Place, mix, relaxed},
    parts::State,
};
use crate::chooser::Chooser;

/// [`DartsSpace`], but for its relaxed network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialDarts {
    /// `K`: one channel of so many is worked on, at least one.
    pub k: usize,
}

/// The `K` of PC-DARTS on CIFAR-10.
impl Default for PartialDarts {
    fn default() -> Self {
        Self { k: 4 }
    }
}

impl SearchSpace for PartialDarts {
    type Arch = Cells;

    fn sample(&self, chooser: &mut dyn Chooser) -> Cells {
        DartsSpace.sample(chooser)
    }

    fn build(&self, cells: &Cells, scale: &Scale) -> Result<Graph, GraphError> {
        DartsSpace.build(cells, scale)
    }

    fn given(&self) -> usize {
        DartsSpace.given()
    }

    fn size(&self) -> u128 {
        DartsSpace.size()
    }

    fn cheapest(&self) -> Vec<Cells> {
        DartsSpace.cheapest()
    }
}

impl Relax for PartialDarts {
    /// The parameters are those of a part of the channels, and no architecture's own.
    fn relax(&self, scale: &Scale) -> Result<Graph, GraphError> {
        relaxed(scale, |graph, state, place, input| self.edge(graph, state, place, input))
    }

    fn options(&self) -> Vec<usize> {
        DartsSpace.options()
    }

    fn strongest(&self, scores: &[Vec<f64>]) -> impl Iterator<Item = Cells> {
        DartsSpace.strongest(scores)
    }

    fn chosen(&self, cells: &Cells) -> Vec<usize> {
        DartsSpace.chosen(cells)
    }

    fn n_skips(&self, cells: &Cells) -> usize {
        DartsSpace.n_skips(cells)
    }
}

impl PartialDarts {
    fn edge(&self, graph: &mut Graph, state: &mut State, place: Place, input: usize) -> Result<NodeId, GraphError> {
        let part = place.channels.div_ceil(self.k.max(1));
        if part == place.channels {
            return mix(graph, state, place, input, part);
        }
        let slice = |from: usize, channels: usize| Op::Slice { from: from as u32, channels: channels as u32 };
        let taken = graph.add("part", slice(0, part), &[state.node])?;
        let mixed = mix(graph, &mut State::new(taken), place, input, part)?;
        let rest = graph.add("rest", slice(part, place.channels - part), &[state.node])?;
        let rest = match place.stride(input) {
            1 => rest,
            stride => {
                let [height, width] = graph.shape(rest).spatial();
                let pads = Pads { bottom: height % 2, right: width % 2, ..Pads::all(0) };
                let pool = Pool2d { kernel: [2; 2], stride: [stride; 2], pads };
                graph.add("rest/pool", Op::MaxPool(pool), &[rest])?
            }
        };
        graph.add("join", Op::Concat, &[rest, mixed])
    }
}
