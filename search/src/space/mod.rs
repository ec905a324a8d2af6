//! What may be decided, and the network each decision means.

mod aspp;
pub mod blocks;
pub mod cell;
pub mod cells;
pub mod chain;
pub mod darts;
pub mod deeplab;
pub mod ds_cnn;
pub mod enas_macro;
pub mod enas_micro;
pub mod fabric;
pub mod front_end;
pub mod layers;
pub mod lstm;
pub mod modules;
pub mod nas_bench_201;
pub mod nasnet;
pub mod open_recurrent;
pub mod partial;
mod parts;
pub mod recurrent;
pub mod rnn_tree;
pub mod trellis;

use std::fmt::Debug;

pub use data::Task;

use data::FrontEnd;
use graph::{Graph, GraphError, NodeId, Op, Shape, relaxed::Mixture};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::chooser::{Chooser, Odometer};

/// How large a network to build from an architecture: a small proxy while searching, the full
/// stack at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// `N`: cells or layers stacked, reductions not counted.
    pub layers: usize,
    /// `F`: channels of the first cells; doubled at each reduction. Of a recurrent network the features of its state.
    pub channels: usize,
    /// `[channels, height, width]` of one image, or of the features of one clip. Features may be a line,
    /// `[coefficients, 1, frames]`, instead of a plane, `[1, frames, coefficients]`: all windows then have one row
    /// ([`Graph::narrow`]), and the network turns the plane itself. Of text `[1, 1, places]`: a
    /// network reads one word after the other.
    pub input: [usize; 3],
    /// Classes predicted; words of the vocabulary.
    pub classes: usize,
    /// What makes the features of a clip, where the network does that itself: as it is deployed, not as it is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front_end: Option<FrontEnd>,
    /// What the network is asked about an image: its class, or that of each pixel.
    #[serde(default, skip_serializing_if = "is_classification")]
    pub task: Task,
}

/// What is usual is not written down.
fn is_classification(task: &Task) -> bool {
    *task == Task::Classification
}

impl Scale {
    /// The same network as it is trained: on features that were made before.
    #[must_use]
    pub fn trained(self) -> Self {
        Self { front_end: None, ..self }
    }

    /// Its size in words: `11 layers and 36 channels`, or `64 features` of a recurrent network.
    pub fn describe(&self) -> String {
        match self.task {
            Task::Classification | Task::Segmentation => {
                format!("{} layers and {} channels", self.layers, self.channels)
            }
            Task::Language => format!("{} features", self.channels),
        }
    }

    /// `[channels, height, width]` of what the network reads: samples, where it makes features itself.
    pub fn reads(&self) -> [usize; 3] {
        self.front_end.map_or(self.input, |front_end| [1, 1, front_end.clip])
    }

    /// Begins a network: adds its input, and what stands before everything that is searched.
    fn begin(&self, graph: &mut Graph) -> Result<NodeId, GraphError> {
        match &self.front_end {
            None if self.is_line() => {
                let [coefficients, _, frames] = self.input;
                let plane = graph.input(Shape::Map([1, frames, coefficients]));
                let turned = graph.add(("line/turn", 0), Op::ChannelsLast, &[plane])?;
                graph.add(("line/turn", 1), Op::ChannelsLast, &[turned])
            }
            None => Ok(graph.input(Shape::Map(self.input))),
            Some(front_end) => front_end::add(graph, front_end, self.is_line()),
        }
    }

    /// Whether the network sees a line instead of a plane.
    pub fn is_line(&self) -> bool {
        let [channels, height, width] = self.input;
        height == 1 && 1 < channels && 1 < width
    }
}

/// A space whose architectures are edited step by step.
pub trait Morph: SearchSpace {
    /// Asks `chooser` what to change about `arch`, and where. The answer may be to keep it.
    fn morph(&self, arch: &Self::Arch, chooser: &mut dyn Chooser) -> Self::Arch;

    /// What a network that reads architectures reads: for each layer its features, as indices into one table a
    /// feature. All layers have as many features.
    fn embed(&self, arch: &Self::Arch) -> Vec<Vec<usize>>;
}

/// A space all of whose architectures are in one network with open choices.
pub trait Relax: SearchSpace {
    /// The network with every choice open: an ordinary one, but for its [`Op::Mix`](graph::Op::Mix) and
    /// [`Op::Weigh`](graph::Op::Weigh) nodes. The parameters
    /// of an architecture's own network are among its, under the same names.
    ///
    /// # Errors
    /// The image is too small for the reductions of this scale.
    fn relax(&self, scale: &Scale) -> Result<Graph, GraphError>;

    /// Options of each choice, by the key of its mixes: their number, in the order in which the mixes read them.
    fn options(&self) -> Vec<usize>;

    /// All architectures by the sum of the scores of what they choose, the largest first. `scores` has one a key and
    /// option; what an architecture does not use has no part in its sum.
    fn strongest(&self, scores: &[Vec<f64>]) -> impl Iterator<Item = Self::Arch>;

    /// The option that `arch` chooses, by key: the relaxed network computes what the architecture's own does once no
    /// other has a weight, up to batch norm that only the relaxed one has.
    fn chosen(&self, arch: &Self::Arch) -> Vec<usize>;

    /// What the relaxed network weighs its options with when `arch` is scored in it: nothing but the architecture's own,
    /// whatever `alpha` has learned so far.
    fn scored_by(&self, arch: &Self::Arch, _alpha: &Mixture) -> Mixture {
        Mixture::decided(&self.options(), &self.chosen(arch))
    }

    /// Skip connections of a cell that keeps its size: where they are many a relaxed search has collapsed.
    fn n_skips(&self, arch: &Self::Arch) -> usize;

    /// The most likely architecture.
    fn discretise(&self, alpha: &Mixture) -> Self::Arch {
        let scores: Vec<Vec<f64>> = (0..alpha.logits.len()).map(|key| alpha.log_weights(key)).collect();
        self.strongest(&scores).next().expect("a space is not empty")
    }
}

/// A set of architectures, and the graph each of them stands for.
pub trait SearchSpace {
    /// The decisions themselves (the genotype): a plain value, comparable and storable.
    type Arch: Clone + Debug + PartialEq + Serialize + DeserializeOwned;

    /// Asks `chooser` for every decision, in a fixed order.
    fn sample(&self, chooser: &mut dyn Chooser) -> Self::Arch;

    /// The network that `arch` stands for, at this scale.
    ///
    /// # Errors
    /// The image is too small for the reductions of this scale.
    fn build(&self, arch: &Self::Arch, scale: &Scale) -> Result<Graph, GraphError>;

    /// States that exist before the first question, among which a [`Kind::Input`](crate::chooser::Kind::Input) question
    /// may pick.
    fn given(&self) -> usize {
        0
    }

    /// The same space with this many more layers in its architectures, where it can grow. Each builds what the other
    /// sampled.
    fn deeper(&self, _layers: usize) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Number of architectures, decisions counted in order.
    fn size(&self) -> u128;

    /// Architectures of the space among which the cheapest is: for parameters, multiply-accumulates, bytes of
    /// weights, operations and peak activations, for what grows with those, and for a latency that is a sum of prices
    /// over the work. Compute intensity is a ratio, and no cost in this sense.
    fn cheapest(&self) -> Vec<Self::Arch>;

    /// Architectures, not necessarily of the space, the cheapest of which no architecture of the space is below, for
    /// the same costs: what is proven of the space, where [`SearchSpace::cheapest`] are the cheapest that are known.
    fn floor(&self) -> Vec<Self::Arch> {
        self.cheapest()
    }
}

/// Every architecture of a space, as often as there are answers that lead to it; for spaces small enough.
pub fn all<S: SearchSpace>(space: &S) -> impl Iterator<Item = S::Arch> {
    let mut odometer = Some(Odometer::default());
    std::iter::from_fn(move || {
        let mut now = odometer.take()?;
        let arch = space.sample(&mut now);
        odometer = now.advance().then_some(now);
        Some(arch)
    })
}
