//! Which board a measurement was taken on: what must be the same before two measurements are compared.

use serde::{Deserialize, Serialize};

use crate::{
    measurement::{Block, Measurement},
    stats::{median_ns, quantile},
    validity::{Allow, CALIBRATION_LIMIT, Reason},
};

/// One board with its system, as it was when it measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// Name that it is measured under, such as `local`.
    pub name: String,
    /// CPU model as the system names it; on ARM that of the board.
    pub cpu: String,
    /// Logical cores.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Highest frequency of the core that measured, in kHz; `None` where the system does not tell.
    pub max_frequency_khz: Option<u64>,
}

impl Board {
    /// The board of a measurement.
    pub fn of(measurement: &Measurement) -> Self {
        let conditions = &measurement.before;
        Self {
            name: measurement.device.clone(),
            cpu: conditions.cpu.clone(),
            cores: conditions.cores,
            kernel: conditions.kernel.clone(),
            max_frequency_khz: conditions.frequency_range_khz.map(|(_, highest)| highest),
        }
    }

    /// The same 16 hexadecimal digits for the same board, on every machine and for ever: FNV-1a over
    /// the fields, each ended by a zero byte.
    pub fn fingerprint(&self) -> String {
        let bytes = self.fields().into_iter().flat_map(|(_, text)| text.into_bytes().into_iter().chain([0]));
        let fnv1a = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        format!("{:016x}", bytes.fold(0xcbf2_9ce4_8422_2325, fnv1a))
    }

    fn fields(&self) -> [(&'static str, String); 5] {
        [
            ("name", self.name.clone()),
            ("CPU", self.cpu.clone()),
            ("number of cores", self.cores.to_string()),
            ("kernel", self.kernel.clone()),
            ("highest frequency", self.max_frequency_khz.map_or("unknown".to_owned(), |khz| format!("{khz} kHz"))),
        ]
    }
}

/// Why a measurement may not be compared with a baseline.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Difference {
    /// Another board, or the same with another system.
    #[error(
        "another board than the baseline's: its {what} is {now:?}, not {then:?}; measure a new baseline on this one"
    )]
    Board {
        /// What differs.
        what: &'static str,
        /// In the baseline.
        then: String,
        /// Now.
        now: String,
    },
    /// Another number of threads.
    #[error("{now} threads where the baseline had {then}; measure both with the same number")]
    Threads {
        /// In the baseline.
        then: usize,
        /// Now.
        now: usize,
    },
    /// The board's clock is not what it was, told or not.
    #[error(
        "the calibration kernel's time changed by {:+.1} % since the baseline (limit {:.0} %): the board itself is not as fast as it was; look at clock, cooling and power supply",
        moved * 100.0, CALIBRATION_LIMIT * 100.0
    )]
    Clock {
        /// Relative change of the kernel's time.
        moved: f64,
    },
    /// The board does the same work in another time, though its clock is what it was.
    #[error(
        "the reference network's time changed by {:+.1} % since the baseline (limit {:.0} %), by the same engine: something shares the core, or did then; measure both while it is left alone",
        moved * 100.0, REFERENCE_LIMIT * 100.0
    )]
    Reference {
        /// Relative change of the network's time.
        moved: f64,
    },
    /// The baseline is no evidence itself.
    #[error("the baseline is invalid: {0}")]
    Baseline(Reason),
}

/// Largest relative change of the reference network's time between two measurements that are compared.
pub const REFERENCE_LIMIT: f64 = 0.10;

/// The reasons for which `now` says nothing about a change since `baseline`; empty when the two may be
/// compared. A governor other than `performance` is accepted in the baseline if it is the same now.
pub fn differences(baseline: &Measurement, now: &Measurement) -> Vec<Difference> {
    let fields = Board::of(baseline).fields().into_iter().zip(Board::of(now).fields());
    let board = fields.filter(|((_, then), (_, now))| then != now).map(|((what, then), (_, now))| Difference::Board {
        what,
        then,
        now,
    });
    let (then, threads) = (baseline.protocol.threads, now.protocol.threads);
    let threads = (then != threads).then_some(Difference::Threads { then, now: threads });
    let moved = |of: fn(&Block) -> &[u64], limit: f64| {
        let moved = middle(baseline, of).zip(middle(now, of)).map(|(then, now)| now / then - 1.0);
        moved.filter(|moved| limit < moved.abs())
    };
    let clock = moved(|it| &it.calibration_ns, CALIBRATION_LIMIT).map(|moved| Difference::Clock { moved });
    // Another engine may well take another time.
    let is_same_engine = baseline.engine == now.engine;
    let reference = moved(|it| &it.reference_ns, REFERENCE_LIMIT).filter(|_| is_same_engine);
    let reference = reference.map(|moved| Difference::Reference { moved });
    let allow = Allow { governor: baseline.after.governor == now.after.governor, noisy: false };
    let invalid = baseline.invalid(&allow).into_iter().map(Difference::Baseline);
    board.chain(threads).chain(clock).chain(reference).chain(invalid).collect()
}

/// Middle time of what each block timed beside the model, in nanoseconds; of medians, because single
/// runs may be preempted.
fn middle(measurement: &Measurement, of: fn(&Block) -> &[u64]) -> Option<f64> {
    let mut medians: Vec<f64> = measurement.blocks.iter().filter_map(|it| median_ns(of(it))).collect();
    medians.sort_by(f64::total_cmp);
    quantile(&medians, 0.5).filter(|&median| 0.0 < median)
}
