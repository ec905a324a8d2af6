//! Measurements with known truth: what a quiet board would have given, and noisy ones.

use targets::{Block, Conditions, Measurement, Protocol, Reach};

/// Deterministic random numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Uniform in (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) as f64 + 0.5) / 2_f64.powi(64)
    }

    /// Normal with mean 0 and this standard deviation (Box and Muller).
    pub(crate) fn normal(&mut self, deviation: f64) -> f64 {
        let (radius, angle) = (self.uniform(), self.uniform());
        deviation * (-2.0 * radius.ln()).sqrt() * (2.0 * std::f64::consts::PI * angle).cos()
    }

    /// An index below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n - 1)
    }
}

/// Relative noise of a machine, in five layers that are drawn independently; deviations are standard
/// deviations of logarithms.
///
/// A process is slower or faster as a whole (`run`: memory layout, kernel choice). Its blocks differ, each
/// on its own (`block`) and slowly together (`drift`: a stationary autoregressive walk that keeps 0.8 of
/// its distance from block to block, as temperature does); some are struck by other work for their whole
/// length (`odd_blocks`: 1.05 to 1.3 times as long). Inside a block, runs scatter (`sample`) with a memory
/// (`memory`: an autoregressive walk), carry an excess that is lognormal and so has a heavy tail
/// (`excess`), and are interrupted now and then (`interrupts`).
#[derive(Clone, Copy)]
pub(crate) struct Noise {
    /// Between processes.
    pub(crate) run: f64,
    /// Between blocks.
    pub(crate) block: f64,
    /// Of the slow walk over blocks.
    pub(crate) drift: f64,
    /// Share of blocks that other work makes 1.05 to 1.3 times as long.
    pub(crate) odd_blocks: f64,
    /// Between inferences.
    pub(crate) sample: f64,
    /// Correlation of an inference with the one before it, 0 to 1.
    pub(crate) memory: f64,
    /// Median of the lognormal excess of an inference; its logarithm deviates by 1, so one excess in a
    /// hundred is ten times the median.
    pub(crate) excess: f64,
    /// Share of inferences that an interrupt makes 1.2 to 2 times as long.
    pub(crate) interrupts: f64,
}

/// A pinned board with a fixed clock.
pub(crate) const QUIET: Noise = Noise {
    run: 0.004,
    block: 0.008,
    drift: 0.0,
    odd_blocks: 0.0,
    sample: 0.015,
    memory: 0.0,
    excess: 0.0,
    interrupts: 0.02,
};

/// Boards that are worse than [`QUIET`], each in one way and the last in all, and still valid.
pub(crate) const NOISES: [(&str, Noise); 7] = [
    ("quiet", QUIET),
    ("rough", Noise { run: 0.005, block: 0.015, sample: 0.03, interrupts: 0.05, ..QUIET }),
    ("heavy tails", Noise { excess: 0.02, ..QUIET }),
    ("drifting", Noise { drift: 0.008, ..QUIET }),
    ("odd blocks", Noise { odd_blocks: 0.1, ..QUIET }),
    ("with a memory", Noise { sample: 0.03, memory: 0.9, ..QUIET }),
    (
        "all at once",
        Noise {
            run: 0.005,
            block: 0.01,
            drift: 0.006,
            odd_blocks: 0.1,
            sample: 0.02,
            memory: 0.8,
            excess: 0.02,
            interrupts: 0.02,
        },
    ),
];

/// What a board whose median is `seconds` gives in one process.
pub(crate) fn measure(
    random: &mut Random,
    seconds: f64,
    n_blocks: usize,
    per_block: usize,
    noise: Noise,
) -> Measurement {
    let run = random.normal(noise.run);
    let mut drift = random.normal(noise.drift);
    let blocks = (0..n_blocks).map(|_| {
        drift = walk(random, drift, 0.8, noise.drift);
        let odd = random.uniform() < noise.odd_blocks;
        let struck = if odd { 1.05 + 0.25 * random.uniform() } else { 1.0 };
        let level = seconds * 1e9 * struck * (run + drift + random.normal(noise.block)).exp();
        Block { wall_ns: inferences(random, level, per_block, noise), ..steady() }
    });
    Measurement { blocks: blocks.collect(), ..blank() }
}

/// The same where the clock falls to 0.6 of itself from one of the blocks on, the first excepted, and no
/// bit tells of it: the calibration kernel alone does.
pub(crate) fn measure_throttled(
    random: &mut Random,
    seconds: f64,
    n_blocks: usize,
    per_block: usize,
    noise: Noise,
) -> Measurement {
    let mut measurement = measure(random, seconds, n_blocks, per_block, noise);
    for conditions in [&mut measurement.before, &mut measurement.after] {
        (conditions.throttled, conditions.frequency_khz) = (None, None);
    }
    let first = 1 + random.below(n_blocks - 1);
    for block in &mut measurement.blocks[first..] {
        for ns in block.wall_ns.iter_mut().chain(&mut block.calibration_ns) {
            *ns = (*ns as f64 / 0.6) as u64;
        }
    }
    measurement
}

/// The runs of one block, in nanoseconds.
fn inferences(random: &mut Random, level: f64, n: usize, noise: Noise) -> Vec<u64> {
    let mut scatter = random.normal(noise.sample);
    let mut one = || {
        scatter = walk(random, scatter, noise.memory, noise.sample);
        let interrupted = random.uniform() < noise.interrupts;
        let longer = if interrupted { 1.2 + 0.8 * random.uniform() } else { 1.0 };
        let excess = noise.excess * random.normal(1.0).exp();
        (level * longer * scatter.exp() * (1.0 + excess)) as u64
    };
    (0..n).map(|_| one()).collect()
}

/// The next value of a stationary autoregressive walk.
fn walk(random: &mut Random, last: f64, memory: f64, deviation: f64) -> f64 {
    memory * last + random.normal(deviation * (1.0 - memory * memory).sqrt())
}

/// A block of which nothing but the calibration kernel was timed.
fn steady() -> Block {
    Block { calibration_ns: vec![1_000_000; 5], ..Block::default() }
}

/// These samples, block by block, taken on a quiet board.
pub(crate) fn samples(blocks: &[&[u64]]) -> Measurement {
    let block = |ns: &&[u64]| Block { wall_ns: ns.to_vec(), ..steady() };
    Measurement { blocks: blocks.iter().map(block).collect(), ..blank() }
}

fn blank() -> Measurement {
    let conditions = Conditions {
        governor: Some("performance".into()),
        frequency_khz: Some(1_500_000),
        throttled: Some(0),
        other_load: Some(0.01),
        ..Conditions::default()
    };
    Measurement {
        target: "rpi4".into(),
        device: "kitchen".into(),
        reach: Reach::Ssh,
        model_sha256: String::new(),
        engine: "tract 0.23.9".into(),
        agent: "0.1.0".into(),
        agent_sha256: String::new(),
        protocol: Protocol { blocks: 1, min_samples: 1, ..Protocol::default() },
        warmup_runs: 60,
        warmup_settled: true,
        blocks: Vec::new(),
        load_ns: 1,
        first_run_ns: 1,
        load_peak_bytes: 0,
        steady_peak_bytes: 0,
        output_hash: String::new(),
        before: conditions.clone(),
        after: conditions,
    }
}
