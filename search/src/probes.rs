//! Networks to calibrate a board with: cells of the B-ENAS space that span what a search may ask about.

use graph::Graph;
use targets::{Features, LatencyTable, design::spanning, features};

use crate::{
    Result,
    chooser::Uniform,
    space::{
        Scale, SearchSpace,
        cell::{Cell, CellSpace},
    },
};

/// A network to measure.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its cell.
    pub cell: Cell,
    /// Its size.
    pub scale: Scale,
    /// The network.
    pub graph: Graph,
    /// Its work by kind.
    pub features: Features,
    /// Whether it was chosen because it is unlike the others, not drawn at random.
    pub designed: bool,
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
        candidates.push(probe(&space, cell, size(0))?);
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

fn draw(space: &CellSpace, purpose: &str, step: u64) -> Result<Probe> {
    let cell = space.sample(&mut Uniform::new(0, purpose, step));
    probe(space, cell, size(step as usize))
}

fn size(idx: usize) -> Scale {
    let (layers, channels) = SIZES[idx % SIZES.len()];
    Scale { layers, channels, input: [3, 32, 32], classes: 10 }
}

fn probe(space: &CellSpace, cell: Cell, scale: Scale) -> Result<Probe> {
    let graph = space.build(&cell, &scale)?;
    let features = features(&graph);
    Ok(Probe { cell, scale, graph, features, designed: false })
}
