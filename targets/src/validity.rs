//! When a measurement is no evidence: the rules, each with its value, its limit and what to do.

use crate::{
    measurement::{Measurement, Reach},
    stats::{iqr_over_median, median_ns, quantile},
};

/// Largest relative change of the clock frequency during a measurement.
pub const FREQUENCY_LIMIT: f64 = 0.05;
/// Largest relative distance of a block's calibration time from the median of all blocks.
pub const CALIBRATION_LIMIT: f64 = 0.03;
/// Largest share of the pinned cores that other processes may take.
pub const OTHER_LOAD_LIMIT: f64 = 0.05;
/// Largest interquartile range of the samples, relative to their median.
pub const SPREAD_LIMIT: f64 = 0.10;

/// Which rules the user waives. A waived reason is still told, as a [`Note`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Frequency, calibration, other load and spread.
    pub noisy: bool,
    /// A governor other than `performance`.
    pub governor: bool,
}

/// Why a measurement is invalid, which is not a verdict.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reason {
    /// An emulator's time is nobody's latency.
    #[error("timed on an emulator, which shows that a model runs but not how fast; measure on a board")]
    Emulated,
    /// There are no samples.
    #[error("no run was timed; raise the protocol's time limit")]
    Empty,
    /// The board slowed itself down.
    #[error(
        "the board throttled during the run (bits {bits:#07x}, must be 0): check power supply and cooling, let it cool down"
    )]
    Throttled {
        /// Raspberry Pi bits that were set: 0-3 at either end, 16-19 newly during the run.
        bits: u32,
    },
    /// The clock changed.
    #[error(
        "the clock moved by {:.1} % (limit {:.0} %): fix the frequency, for instance with `cpupower frequency-set -g performance`",
        moved * 100.0, FREQUENCY_LIMIT * 100.0
    )]
    Frequency {
        /// Relative change.
        moved: f64,
    },
    /// The calibration kernel did not take the same time throughout.
    #[error(
        "the calibration kernel drifted by {:.1} % (limit {:.0} %): stop other work, let the machine settle, measure again",
        drift * 100.0, CALIBRATION_LIMIT * 100.0
    )]
    Calibration {
        /// Largest relative distance of a block from the median block.
        drift: f64,
    },
    /// Other processes ran on the same cores.
    #[error(
        "other processes took {:.1} % of the cores used (limit {:.0} %): stop them or pin the measurement elsewhere",
        share * 100.0, OTHER_LOAD_LIMIT * 100.0
    )]
    OtherLoad {
        /// Share of the cores' time, 0 to 1.
        share: f64,
    },
    /// The samples scatter.
    #[error(
        "the middle half of the samples spans {:.1} % of the median (limit {:.0} %): stop other work and measure again",
        ratio * 100.0, SPREAD_LIMIT * 100.0
    )]
    Spread {
        /// Interquartile range over median.
        ratio: f64,
    },
    /// The frequency governor may change the clock at any time.
    #[error(
        "the governor is {governor:?}, not \"performance\": set it with `cpupower frequency-set -g performance`, or allow it and have it printed beside the figure"
    )]
    Governor {
        /// Governor found.
        governor: String,
    },
}

impl Reason {
    fn allowed(&self, allow: &Allow) -> bool {
        match self {
            Self::Emulated | Self::Empty | Self::Throttled { .. } => false,
            Self::Frequency { .. } | Self::Calibration { .. } | Self::OtherLoad { .. } | Self::Spread { .. } => {
                allow.noisy
            }
            Self::Governor { .. } => allow.governor,
        }
    }
}

/// What must be printed beside a figure although it does not make it invalid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Note {
    /// A rule was broken and the user allowed it.
    #[error("allowed: {0}")]
    Allowed(Reason),
    /// The machine does not tell what a rule asks about, as virtual machines often do not.
    #[error("{what} unknown: this machine does not tell it")]
    Unknown {
        /// What is not told.
        what: &'static str,
    },
    /// Warm-up ended because its time was up.
    #[error("warm-up ended after {runs} runs without settling")]
    Unsettled {
        /// Warm-up runs.
        runs: usize,
    },
    /// Fewer samples than the protocol wants, as on small boards and with slow models.
    #[error("{samples} samples in {blocks} blocks where the protocol wants {wanted} in {wanted_blocks}")]
    Few {
        /// Samples taken.
        samples: usize,
        /// Samples wanted.
        wanted: usize,
        /// Blocks taken.
        blocks: usize,
        /// Blocks wanted.
        wanted_blocks: usize,
    },
}

impl Measurement {
    /// The reasons for which this is no evidence; empty when it is.
    pub fn invalid(&self, allow: &Allow) -> Vec<Reason> {
        self.reasons().filter(|reason| !reason.allowed(allow)).collect()
    }

    /// What to print beside the figure.
    pub fn notes(&self, allow: &Allow) -> Vec<Note> {
        let mut notes: Vec<Note> = self.reasons().filter(|reason| reason.allowed(allow)).map(Note::Allowed).collect();
        let (before, after) = (&self.before, &self.after);
        let unknown = [
            ("frequency", before.frequency_khz.is_none() || after.frequency_khz.is_none()),
            ("governor", before.governor.is_none() && after.governor.is_none()),
            ("throttling", after.throttled.is_none()),
            ("load of other processes", after.other_load.is_none()),
            ("calibration", self.calibration_drift().is_none()),
        ];
        notes.extend(unknown.into_iter().filter(|it| it.1).map(|(what, _)| Note::Unknown { what }));
        if !self.warmup_settled {
            notes.push(Note::Unsettled { runs: self.warmup_runs });
        }
        let samples = self.blocks.iter().map(|block| block.wall_ns.len()).sum();
        let (wanted, blocks, wanted_blocks) = (self.protocol.min_samples, self.blocks.len(), self.protocol.blocks);
        if samples < wanted || blocks < wanted_blocks {
            notes.push(Note::Few { samples, wanted, blocks, wanted_blocks });
        }
        notes
    }

    fn reasons(&self) -> impl Iterator<Item = Reason> {
        let spread = self.spread();
        let reasons = [
            (self.reach == Reach::Emulated).then_some(Reason::Emulated),
            spread.is_none().then_some(Reason::Empty),
            self.throttled().map(|bits| Reason::Throttled { bits }),
            over(self.frequency_moved(), FREQUENCY_LIMIT).map(|moved| Reason::Frequency { moved }),
            over(self.calibration_drift(), CALIBRATION_LIMIT).map(|drift| Reason::Calibration { drift }),
            over(self.after.other_load, OTHER_LOAD_LIMIT).map(|share| Reason::OtherLoad { share }),
            over(spread, SPREAD_LIMIT).map(|ratio| Reason::Spread { ratio }),
            self.slow_governor().map(|governor| Reason::Governor { governor }),
        ];
        reasons.into_iter().flatten()
    }

    /// Bits that tell of throttling at either end, or of a new occurrence in between.
    fn throttled(&self) -> Option<u32> {
        const NOW: u32 = 0xF;
        const SINCE_BOOT: u32 = 0xF_0000;
        let (before, after) = (self.before.throttled.unwrap_or(0), self.after.throttled.unwrap_or(0));
        let bits = ((before | after) & NOW) | (after & !before & SINCE_BOOT);
        (bits != 0).then_some(bits)
    }

    fn frequency_moved(&self) -> Option<f64> {
        let (before, after) = (self.before.frequency_khz? as f64, self.after.frequency_khz? as f64);
        (before > 0.0).then(|| (after - before).abs() / before)
    }

    /// Medians, because a block's calibration runs are few and one of them may be preempted.
    fn calibration_drift(&self) -> Option<f64> {
        let mut medians: Vec<f64> = self.blocks.iter().filter_map(|block| median_ns(&block.calibration_ns)).collect();
        medians.sort_by(f64::total_cmp);
        let centre = quantile(&medians, 0.5).filter(|&centre| centre > 0.0)?;
        let (first, last) = (medians.first()?, medians.last()?);
        Some((centre - first).max(last - centre) / centre)
    }

    fn spread(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.blocks.iter().flat_map(|it| &it.wall_ns).map(|&ns| ns as f64).collect();
        sorted.sort_by(f64::total_cmp);
        iqr_over_median(&sorted)
    }

    fn slow_governor(&self) -> Option<String> {
        let mut governors = [&self.before, &self.after].into_iter().filter_map(|it| it.governor.as_deref());
        governors.find(|&governor| governor != "performance").map(str::to_owned)
    }
}

fn over(value: Option<f64>, limit: f64) -> Option<f64> {
    value.filter(|&value| limit < value)
}
