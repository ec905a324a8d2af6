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

/// Relative noise of a machine; standard deviations of logarithms.
#[derive(Clone, Copy)]
pub(crate) struct Noise {
    /// Between processes: memory layout, kernel choice.
    pub(crate) run: f64,
    /// Between blocks: temperature, other work.
    pub(crate) block: f64,
    /// Between inferences.
    pub(crate) sample: f64,
    /// Share of inferences that an interrupt makes 1.2 to 2 times as long.
    pub(crate) interrupts: f64,
}

/// A pinned board with a fixed clock.
pub(crate) const QUIET: Noise = Noise { run: 0.004, block: 0.008, sample: 0.015, interrupts: 0.02 };

/// What a board whose median is `seconds` gives.
pub(crate) fn measure(
    random: &mut Random,
    seconds: f64,
    n_blocks: usize,
    per_block: usize,
    noise: Noise,
) -> Measurement {
    let run = random.normal(noise.run);
    let blocks = (0..n_blocks).map(|_| {
        let block = run + random.normal(noise.block);
        let mut sample = || {
            let interrupted = random.uniform() < noise.interrupts;
            let longer = if interrupted { 1.2 + 0.8 * random.uniform() } else { 1.0 };
            (seconds * 1e9 * longer * (block + random.normal(noise.sample)).exp()) as u64
        };
        Block {
            wall_ns: (0..per_block).map(|_| sample()).collect(),
            calibration_ns: vec![1_000_000; 5],
            ..Block::default()
        }
    });
    Measurement { blocks: blocks.collect(), ..blank() }
}

/// These samples, block by block, taken on a quiet board.
pub(crate) fn samples(blocks: &[&[u64]]) -> Measurement {
    let block = |ns: &&[u64]| Block { wall_ns: ns.to_vec(), calibration_ns: vec![1_000_000; 5], ..Block::default() };
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
