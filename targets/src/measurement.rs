//! What was measured: every sample, how it was taken, and under which conditions.
//!
//! Numbers are integers in the unit their name ends with, so that a stored measurement reads back
//! as it was written.

use serde::{Deserialize, Serialize};

/// How to time a model. `Protocol::default()` is the one whose figures may be promised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protocol {
    /// Runs in one warm-up window.
    pub warmup_window: usize,
    /// Warm-up ends when this many windows in a row have medians within `warmup_tolerance`.
    pub warmup_windows: usize,
    /// Largest relative spread of the last windows' medians.
    pub warmup_tolerance: f64,
    /// Warm-up ends after this long whatever the windows say, in milliseconds.
    pub warmup_limit_ms: u64,
    /// Timed blocks; a block is interleaved with the reference model and the calibration kernel.
    pub blocks: usize,
    /// Inferences over all blocks, where one takes under 50 ms.
    pub min_samples: usize,
    /// Timing stops after this long, in milliseconds; slower models get fewer samples, and the
    /// measurement says so.
    pub time_limit_ms: u64,
    /// Threads that the engine may use.
    pub threads: usize,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            warmup_window: 20,
            warmup_windows: 3,
            warmup_tolerance: 0.02,
            warmup_limit_ms: 30_000,
            blocks: 10,
            min_samples: 1_024,
            time_limit_ms: 60_000,
            threads: 1,
        }
    }
}

impl Protocol {
    /// A quick look, for candidates during a search: enough to fit a model to, not to promise.
    pub fn quick() -> Self {
        Self { warmup_limit_ms: 500, blocks: 5, min_samples: 50, time_limit_ms: 1_500, ..Self::default() }
    }
}

/// How a device was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// On this machine, in a process of its own.
    Local,
    /// Over the user's ssh.
    Ssh,
    /// Over the Android debug bridge.
    Adb,
    /// By an emulator: functional only, never a verdict on time.
    Emulated,
    /// Read back from a file.
    Recorded,
}

/// Repeated timings of one model on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Kind of board, such as `rpi4`.
    pub target: String,
    /// This board, such as `local`.
    pub device: String,
    /// How it was reached. A recorded measurement keeps the way it was once taken.
    pub reach: Reach,
    /// SHA-256 of the model file, in hexadecimal.
    pub model_sha256: String,
    /// Engine and its version, such as `tract 0.23.9`.
    pub engine: String,
    /// Version of the agent that measured.
    pub agent: String,
    /// SHA-256 of the agent's program, in hexadecimal; empty where it could not be read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent_sha256: String,
    /// How it was timed.
    pub protocol: Protocol,
    /// Runs before the first timed one.
    pub warmup_runs: usize,
    /// Whether warm-up ended because the windows agreed, not because its time was up.
    pub warmup_settled: bool,
    /// Timed blocks in the order taken.
    pub blocks: Vec<Block>,
    /// Time to read and optimise the model, in nanoseconds.
    pub load_ns: u64,
    /// Time of the first run after loading, in nanoseconds.
    pub first_run_ns: u64,
    /// Peak resident memory up to and with loading, in bytes; 0 where the system does not tell.
    pub load_peak_bytes: u64,
    /// Peak resident memory while running after loading, in bytes; 0 where the system does not tell.
    pub steady_peak_bytes: u64,
    /// FNV-1a hash of the output's bytes for the protocol's fixed input, in hexadecimal.
    pub output_hash: String,
    /// The machine just before.
    pub before: Conditions,
    /// The machine just after.
    pub after: Conditions,
}

/// One timed block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Wall-clock time of each inference, in nanoseconds, in the order taken.
    pub wall_ns: Vec<u64>,
    /// Thread CPU time of each inference, in nanoseconds.
    pub cpu_ns: Vec<u64>,
    /// Wall-clock time of each run of the reference model, in nanoseconds.
    pub reference_ns: Vec<u64>,
    /// Wall-clock time of each run of the fixed calibration kernel, in nanoseconds.
    pub calibration_ns: Vec<u64>,
    /// Involuntary context switches during the block.
    pub preemptions: u64,
}

/// The state of a machine at one moment. What a system does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// CPU model as the system names it.
    pub cpu: String,
    /// Logical cores.
    pub cores: usize,
    /// Cores that the process is pinned to; empty when it is not.
    pub pinned: Vec<usize>,
    /// Frequency governor.
    pub governor: Option<String>,
    /// Current frequency of the pinned core, in kHz.
    pub frequency_khz: Option<u64>,
    /// Lowest and highest frequency of the pinned core, in kHz.
    pub frequency_range_khz: Option<(u64, u64)>,
    /// Hottest zone, in thousandths of a degree Celsius.
    pub temperature_millic: Option<i64>,
    /// Raspberry Pi throttle bits: 0-3 now, 16-19 since boot.
    pub throttled: Option<u32>,
    /// Load average over one minute.
    pub load_average: Option<f64>,
    /// Share of the pinned cores' time that other processes took since the last reading, 0 to 1.
    pub other_load: Option<f64>,
    /// Memory available without swapping, in bytes.
    pub free_memory_bytes: Option<u64>,
    /// Kernel release.
    pub kernel: String,
}
