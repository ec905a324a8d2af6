//! Networks to calibrate a board with: cells of the B-ENAS space that span what a search may ask about,
//! and plain convolutions, of which that space has little.

use graph::{Activation, Conv2d, Graph, GraphError, Op, Shape};
use serde::Serialize;
use targets::{Features, LatencyTable, design::spanning, features};

use crate::{
    Result,
    chooser::{Chooser, Kind, Question, Uniform},
    space::{
        Scale, SearchSpace, Task,
        cell::{Cell, CellSpace},
    },
};

/// A network to measure.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What it is built from.
    pub made_of: MadeOf,
    /// The network.
    pub graph: Graph,
    /// Its work by kind.
    pub features: Features,
    /// Whether it was chosen because it is unlike the others, not drawn at random.
    pub designed: bool,
}

/// What a probe is built from; in files, what [`MadeOf::build`] needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MadeOf {
    /// A cell, stacked.
    Stack {
        /// The cell.
        cell: Cell,
        /// Size of the network.
        scale: Scale,
    },
    /// Convolutions one after the other, on 32x32 colour images.
    Plain {
        /// Each of them, first to last.
        plain: Vec<Layer>,
    },
}

/// A dense convolution with batch norm and ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Output channels.
    pub channels: usize,
    /// Side of the square kernel, in pixels.
    pub kernel: usize,
    /// Stride, in pixels.
    pub stride: usize,
    /// Whether a second such convolution stands beside it, concatenated with the first.
    pub twice: bool,
}

impl MadeOf {
    /// The network.
    ///
    /// # Errors
    /// The image becomes too small for it.
    pub fn build(&self) -> std::result::Result<Graph, GraphError> {
        match self {
            Self::Stack { cell, scale } => CellSpace::default().build(cell, scale),
            Self::Plain { plain } => {
                let mut graph = Graph::default();
                let mut last = graph.input(Shape::Map([3, 32, 32]));
                for (idx, layer) in plain.iter().enumerate() {
                    last = graph.within(("layer", idx), |graph| {
                        let mut side = |word| {
                            graph.within(word, |graph| {
                                let conv = Conv2d::same(layer.channels, layer.kernel, layer.stride);
                                let conv = graph.add("conv", Op::Conv2d(conv), &[last])?;
                                let norm = graph.add("norm", Op::BatchNorm, &[conv])?;
                                graph.add("relu", Op::Activation(Activation::Relu), &[norm])
                            })
                        };
                        let left = side("left")?;
                        if !layer.twice {
                            return Ok(left);
                        }
                        let right = side("right")?;
                        graph.add("concat", Op::Concat, &[left, right])
                    })?;
                }
                let pooled = graph.add("pool", Op::GlobalAvgPool, &[last])?;
                graph.add("classifier", Op::Linear(10), &[pooled])?;
                Ok(graph)
            }
        }
    }
}

impl std::fmt::Display for MadeOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stack { cell, scale } => {
                write!(f, "{} layers, {} channels, {} blocks", scale.layers, scale.channels, cell.blocks.len())
            }
            Self::Plain { plain } => write!(f, "{} plain convolutions", plain.len()),
        }
    }
}

/// Sizes that networks are drawn in: those of the presets, on 32x32 colour images.
const SIZES: [(usize, usize); 4] = [(5, 8), (11, 6), (11, 12), (11, 20)];

/// Networks that the probes are chosen from.
const CANDIDATES: u64 = 600;

/// `n` networks to fit a model to, the same for every call: half of them chosen to tell the prices of
/// all work apart, half drawn at random to tell how good predictions are for networks like those of a
/// search.
///
/// # Errors
/// The space cannot build a network, which its sizes rule out.
pub fn probes(table: &LatencyTable, n: usize) -> Result<Vec<Probe>> {
    let space = CellSpace::default();
    let mut candidates = Vec::new();
    for step in 0..CANDIDATES {
        candidates.push(draw(&space, "probes", step)?);
    }
    // Nearly nothing but what every network has: how much a call of the engine costs.
    for cell in space.cheapest().into_iter().step_by(40) {
        candidates.push(probe(MadeOf::Stack { cell, scale: size(0) })?);
    }
    let work: Vec<Features> = candidates.iter().map(|it| it.features).collect();
    let designed = spanning(table, &work, n.div_ceil(2));
    let mut probes: Vec<Probe> =
        designed.into_iter().map(|idx| Probe { designed: true, ..candidates[idx].clone() }).collect();
    for step in 0..(n - probes.len()) as u64 {
        probes.push(draw(&space, "probes at random", step)?);
    }
    Ok(probes)
}

/// `n` networks drawn at random, to hold predictions against.
///
/// # Errors
/// As for [`probes`].
pub fn random(n: usize) -> Result<Vec<Probe>> {
    let space = CellSpace::default();
    (0..n as u64).map(|step| draw(&space, "checked", step)).collect()
}

/// `n` networks of plain convolutions drawn at random, from thousands of MACs to tens of millions.
///
/// # Errors
/// As for [`probes`].
pub fn plain(n: usize) -> Result<Vec<Probe>> {
    (0..n as u64)
        .map(|step| {
            let mut chooser = Uniform::new(0, "plain", step);
            let mut pick =
                |options: &[usize]| options[chooser.choose(Question { kind: Kind::Op, options: options.len() })];
            let (n_layers, mut channels) = (pick(&[2, 3, 4, 5, 6]), pick(&[4, 8, 12, 16, 24, 32]));
            let mut plain = Vec::new();
            for _ in 0..n_layers {
                let (kernel, stride, twice) = (pick(&[3, 3, 5]), pick(&[1, 1, 2]), pick(&[0, 0, 1]) == 1);
                channels *= stride;
                plain.push(Layer { channels, kernel, stride, twice });
            }
            probe(MadeOf::Plain { plain })
        })
        .collect()
}

fn draw(space: &CellSpace, purpose: &str, step: u64) -> Result<Probe> {
    let cell = space.sample(&mut Uniform::new(0, purpose, step));
    probe(MadeOf::Stack { cell, scale: size(step as usize) })
}

fn size(idx: usize) -> Scale {
    let (layers, channels) = SIZES[idx % SIZES.len()];
    Scale { layers, channels, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification }
}

fn probe(made_of: MadeOf) -> Result<Probe> {
    let graph = made_of.build()?;
    let features = features(&graph);
    Ok(Probe { made_of, graph, features, designed: false })
}
