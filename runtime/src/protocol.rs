//! Times a model: warm until steady, then blocks of runs between a reference network and a fixed kernel.
//!
//! Every sample is kept; statistics and verdicts are made from them elsewhere. The reference network
//! and the kernel never change, so what moves them is the machine.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use targets::measurement::{Block, Measurement, Protocol, Reach};

use crate::conditions::{self, Probe};
use crate::engine::{ENGINE, EngineError, Model, Prepared, output_hash};
use crate::{AGENT, reference};

/// Whose measurement it is.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Kind of board, such as `rpi4`.
    pub target: &'a str,
    /// This board, such as `local`.
    pub device: &'a str,
    /// How it was reached.
    pub reach: Reach,
}

/// Loads and times the model at `path` on one core of this machine, in this process.
///
/// Peaks of memory are the process's: call it in a fresh one, as [`crate::worker`] does.
pub fn measure(path: &Path, protocol: &Protocol, subject: Subject) -> Result<Measurement, EngineError> {
    if protocol.threads != 1 {
        return Err(EngineError::Threads(protocol.threads));
    }
    let pinned = conditions::pin();
    let mut probe = Probe::start(pinned.as_slice());
    let read = |source| EngineError::Read { path: path.display().to_string(), source };
    let model_sha256 = file_sha256(path).map_err(read)?;

    let start = Instant::now();
    let mut model = Model::load(path)?;
    let load_ns = nanos_since(start);
    let load_peak_bytes = conditions::peak_memory_bytes();

    let input = model.prepare(&probe_input(model.input_len()))?;
    let has_own_peak = conditions::reset_peak_memory();
    let start = Instant::now();
    let output = model.step(&input)?;
    let first_run_ns = nanos_since(start);
    let output_hash = output_hash(&output)?;
    drop(output);
    let warmup = warm_up(&mut model, &input, protocol)?;
    let steady_peak_bytes = if has_own_peak { conditions::peak_memory_bytes() } else { 0 };

    let mut reference = Reference::load()?;
    let before = probe.read();
    let blocks = timed_blocks(&mut model, &input, &mut reference, protocol, warmup.run_ns)?;
    let after = probe.read();
    // A program may be replaced while it runs; what runs is under this name. Its hash is told, not needed.
    let agent_sha256 = file_sha256(Path::new("/proc/self/exe")).unwrap_or_default();
    Ok(Measurement {
        target: subject.target.into(),
        device: subject.device.into(),
        reach: subject.reach,
        model_sha256,
        engine: ENGINE.into(),
        agent: AGENT.into(),
        agent_sha256,
        protocol: protocol.clone(),
        warmup_runs: warmup.runs,
        warmup_settled: warmup.settled,
        blocks,
        load_ns,
        first_run_ns,
        load_peak_bytes,
        steady_peak_bytes,
        output_hash,
        before,
        after,
    })
}

/// The fixed pseudo-random input that a model's output hash belongs to: `n` numbers in [-1, 1).
pub fn probe_input(n: usize) -> Vec<f32> {
    // Steele, Lea and Flood's SplitMix64: a few lines, and the same on every machine for ever.
    let mut state = 0u64;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The upper 24 bits: as many as an f32 holds exactly.
        ((x ^ (x >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// SHA-256 of a file in hexadecimal, read in pieces: the peak of memory stays the model's own.
pub fn file_sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(crate::validate::hex(&hash.finalize())),
            n => hash.update(&piece[..n]),
        }
    }
}

/// How warm-up went.
struct Warmup {
    runs: usize,
    settled: bool,
    /// Median time of one run in the last window, in nanoseconds.
    run_ns: u64,
}

/// Runs windows until the last few agree, or the time is up.
fn warm_up(model: &mut Model, input: &Prepared, protocol: &Protocol) -> Result<Warmup, EngineError> {
    let limit = Duration::from_millis(protocol.warmup_limit_ms);
    let start = Instant::now();
    let (mut medians, mut runs) = (Vec::new(), 0);
    loop {
        let mut window = Vec::with_capacity(protocol.warmup_window);
        while window.len() < protocol.warmup_window.max(1) && (window.is_empty() || start.elapsed() < limit) {
            window.push(timed(model, input)?.wall_ns);
        }
        runs += window.len();
        let is_whole = window.len() == protocol.warmup_window.max(1);
        let run_ns = median(&mut window);
        if is_whole {
            medians.push(run_ns);
        }
        let settled = settled(&medians, protocol.warmup_windows, protocol.warmup_tolerance);
        if settled || start.elapsed() >= limit {
            return Ok(Warmup { runs, settled, run_ns });
        }
    }
}

/// Whether the last `n` windows' medians lie within `tolerance` of each other.
fn settled(medians: &[u64], n: usize, tolerance: f64) -> bool {
    let Some(last) = medians.len().checked_sub(n).map(|start| &medians[start..]) else { return false };
    match (last.iter().min(), last.iter().max()) {
        (Some(&min), Some(&max)) => (max - min) as f64 <= tolerance * min as f64,
        (None, _) | (_, None) => true, // no windows were asked for
    }
}

/// Runs of the reference network and of the calibration kernel in one block.
const REFERENCE_RUNS: usize = 5;

fn timed_blocks(
    model: &mut Model,
    input: &Prepared,
    reference: &mut Reference,
    protocol: &Protocol,
    run_ns: u64,
) -> Result<Vec<Block>, EngineError> {
    let n_samples = samples_per_block(protocol, run_ns);
    let limit = Duration::from_millis(protocol.time_limit_ms);
    let start = Instant::now();
    let mut blocks = Vec::new();
    while blocks.len() < protocol.blocks.max(1) && (blocks.is_empty() || start.elapsed() < limit) {
        let mut block = Block::default();
        let preempted = conditions::preemptions();
        for _ in 0..REFERENCE_RUNS {
            block.calibration_ns.push(calibrate());
            block.reference_ns.push(timed(&mut reference.model, &reference.input)?.wall_ns);
        }
        model.step(input)?; // brings the model back into the caches, untimed
        while block.wall_ns.len() < n_samples && (block.wall_ns.is_empty() || start.elapsed() < limit) {
            let sample = timed(model, input)?;
            block.wall_ns.push(sample.wall_ns);
            block.cpu_ns.push(sample.cpu_ns);
        }
        block.preemptions = conditions::preemptions().saturating_sub(preempted);
        blocks.push(block);
    }
    Ok(blocks)
}

/// Samples that reach the protocol's total, or that fit its time where a run is slow; at least one.
fn samples_per_block(protocol: &Protocol, run_ns: u64) -> usize {
    let blocks = protocol.blocks.max(1);
    let fitting = (u128::from(protocol.time_limit_ms) * 1_000_000 / u128::from(run_ns.max(1))) as usize / blocks;
    protocol.min_samples.div_ceil(blocks).min(fitting).max(1)
}

struct Sample {
    wall_ns: u64,
    cpu_ns: u64,
}

fn timed(model: &mut Model, input: &Prepared) -> Result<Sample, EngineError> {
    let cpu = conditions::thread_cpu_nanos();
    let wall = Instant::now();
    let output = model.step(input)?;
    let wall_ns = nanos_since(wall);
    let cpu_ns = conditions::thread_cpu_nanos() - cpu;
    black_box(output);
    Ok(Sample { wall_ns, cpu_ns })
}

/// The reference network, warm.
struct Reference {
    model: Model,
    input: Prepared,
}

impl Reference {
    fn load() -> Result<Self, EngineError> {
        let mut model = Model::from_bytes(&reference::onnx())?;
        let input = model.prepare(&probe_input(model.input_len()))?;
        for _ in 0..2 * REFERENCE_RUNS {
            model.step(&input)?;
            calibrate();
        }
        Ok(Self { model, input })
    }
}

/// Steps of the calibration kernel: 0.41 ms on an x86 core at 2.6 GHz, long enough to time anywhere.
const CALIBRATION_STEPS: u64 = 300_000;

/// Times a chain of multiplications in registers: nothing but the clock and other load moves it.
fn calibrate() -> u64 {
    let start = Instant::now();
    let mut x = black_box(1u64);
    for _ in 0..CALIBRATION_STEPS {
        x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    black_box(x);
    nanos_since(start)
}

fn nanos_since(start: Instant) -> u64 {
    start.elapsed().as_nanos() as u64
}

/// The middle one; of an even number the upper.
fn median(samples: &mut [u64]) -> u64 {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_settles_when_the_last_windows_agree() {
        let check = |medians: &[u64], n, tolerance, expected| {
            assert_eq!(settled(medians, n, tolerance), expected, "{medians:?} {n} {tolerance}");
        };
        check(&[], 3, 0.02, false);
        check(&[100, 100], 3, 0.02, false);
        check(&[100, 101, 102], 3, 0.02, true);
        check(&[100, 101, 103], 3, 0.02, false);
        check(&[500, 100, 101, 102], 3, 0.02, true); // only the last three count
        check(&[100, 100, 500], 3, 0.02, false);
        check(&[], 0, 0.02, true);
    }

    #[test]
    fn slow_models_get_fewer_samples() {
        let ms = 1_000_000;
        let check = |protocol: &Protocol, run_ns, expected| {
            assert_eq!(samples_per_block(protocol, run_ns), expected, "{run_ns}");
        };
        let promised = Protocol::default();
        check(&promised, ms, 103); // 10 blocks of 103 are at least 1,024
        check(&promised, 50 * ms, 103); // 10 * 103 * 50 ms is 51.5 s of the 60 s
        check(&promised, 100 * ms, 60);
        check(&promised, 70_000 * ms, 1);
        check(&promised, 0, 103);
        check(&Protocol::quick(), ms, 10);
        check(&Protocol::quick(), 100 * ms, 3); // 1,500 ms / 100 ms / 5 blocks
    }

    #[test]
    fn inputs_never_change() {
        // SplitMix64 of seed 0 begins e220a8397b1dcdaf: its upper 24 bits over 2^23, less 1.
        assert_eq!(probe_input(1), [f32::from(0xe220_u16) / 32768.0 + 168.0 / 8_388_608.0 - 1.0]);
        assert!(probe_input(10_000).iter().all(|x| (-1.0..1.0).contains(x)));
    }
}
