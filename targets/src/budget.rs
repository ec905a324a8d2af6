//! What a network may cost: metrics, figures with their uncertainty, bounds on them, and judgement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::quantity::{Dimension, QuantityError};

/// Any number of bounds that hold together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Bounds in the order given; a metric may have a hard and a soft one.
    pub bounds: Vec<Bound>,
}

impl Budget {
    /// Whether every hard bound is known to be met. A figure that is missing, or whose interval
    /// straddles the bound, is not admitted.
    pub fn admits(&self, cost: &Cost) -> bool {
        self.hard().all(|bound| bound.judge(cost.get(bound.metric)) == Judgement::Met)
    }

    /// The first hard bound that is broken by what is known already.
    pub fn refuses(&self, cost: &Cost) -> Option<&Bound> {
        self.hard().find(|bound| bound.judge(cost.get(bound.metric)) == Judgement::Broken)
    }

    /// [`Bound::excess`] of every bound, hard or soft, whose metric is known.
    pub fn excesses(&self, cost: &Cost) -> impl Iterator<Item = f64> {
        self.bounds.iter().filter_map(|bound| Some(bound.excess(cost.get(bound.metric)?.value)))
    }

    /// The first bound on this metric.
    pub fn get(&self, metric: Metric) -> Option<&Bound> {
        self.bounds.iter().find(|bound| bound.metric == metric)
    }

    fn hard(&self) -> impl Iterator<Item = &Bound> {
        self.bounds.iter().filter(|bound| bound.hard)
    }
}

/// Limits on one metric, in its SI base unit; both ends belong to the inside.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// What is bounded.
    pub metric: Metric,
    /// Least value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Whether a network outside may never be an answer; a soft bound only shapes the reward.
    pub hard: bool,
}

impl Bound {
    /// How far `value` is outside, relative to the bound: 0 inside, 1 at twice the upper or half
    /// the lower bound. Infinite above a bound of zero.
    pub fn excess(&self, value: f64) -> f64 {
        let above = self.max.map_or(0.0, |max| if value <= max { 0.0 } else { value / max - 1.0 });
        let below = self.min.map_or(0.0, |min| if min <= value { 0.0 } else { min / value - 1.0 });
        above.max(below)
    }

    /// Where the whole interval of `figure` lies.
    pub fn judge(&self, figure: Option<&Figure>) -> Judgement {
        let Some(&Figure { low, high, .. }) = figure else { return Judgement::Unknown };
        if self.min.is_none_or(|min| min <= low) && self.max.is_none_or(|max| high <= max) {
            return Judgement::Met;
        }
        if self.min.is_some_and(|min| high < min) || self.max.is_some_and(|max| max < low) {
            return Judgement::Broken;
        }
        Judgement::CannotTell
    }
}

/// Whether a figure lies within a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// The whole interval is inside.
    Met,
    /// The whole interval is outside.
    Broken,
    /// The interval straddles the bound: measure, or measure longer.
    CannotTell,
    /// There is no figure yet.
    Unknown,
}

/// What a network costs, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// One figure a metric.
    pub figures: BTreeMap<Metric, Figure>,
}

impl Cost {
    /// The figure for this metric.
    pub fn get(&self, metric: Metric) -> Option<&Figure> {
        self.figures.get(&metric)
    }

    /// Replaces the figure for this metric.
    pub fn set(&mut self, metric: Metric, figure: Figure) {
        self.figures.insert(metric, figure);
    }
}

/// A value in its metric's SI base unit, with the interval that it is known to lie in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Best single value. For latency: the promised percentile, 90 % unless the target says other.
    pub value: f64,
    /// Lower end: of the 95 % confidence interval where measured, of the 90 % prediction interval
    /// where estimated, the value itself where exact.
    pub low: f64,
    /// Upper end, likewise.
    pub high: f64,
    /// Where the value comes from.
    pub source: Source,
}

impl Figure {
    /// A value that is known exactly.
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value, source: Source::Exact }
    }

    /// As in reports: `12.3 ms (11 ms to 14.1 ms, estimated, not measured on rpi4)`.
    pub fn describe(&self, metric: Metric) -> String {
        let value = metric.format(self.value);
        let range = format!("{} to {}", metric.format(self.low), metric.format(self.high));
        match &self.source {
            Source::Exact => value,
            // "estimated from 20 measurements", but "estimated, not measured on rpi4".
            Source::Estimated { by } if by.starts_with("from ") => format!("{value} ({range}, estimated {by})"),
            Source::Estimated { by } => format!("{value} ({range}, estimated, {by})"),
            Source::Measured { on, samples } => format!("{value} ({range}, measured on {on}, {samples} samples)"),
        }
    }
}

/// Where a figure comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Counted.
    Exact,
    /// Computed from other networks or from documentation.
    Estimated {
        /// On what the estimate rests, and on what it was never measured: `not measured on rpi4`.
        by: String,
    },
    /// Timed or weighed on a device.
    Measured {
        /// Target and device.
        on: String,
        /// Number of samples.
        samples: usize,
    },
}

/// What can be bounded. The names are those of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Trainable parameters, a count.
    Params,
    /// Multiply-accumulates for one image, a count.
    Macs,
    /// Peak of live activations, in bytes.
    Activations,
    /// Peak resident memory of the process that loads and runs the model, in bytes.
    Memory,
    /// Size of the model file, in bytes.
    Flash,
    /// Compute intensity, in FLOPs per byte.
    Intensity,
    /// Time of one inference, in seconds.
    Latency,
    /// Time to train the final network, in seconds.
    TrainTime,
}

impl Metric {
    /// Every metric, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::Params,
        Self::Macs,
        Self::Activations,
        Self::Memory,
        Self::Flash,
        Self::Intensity,
        Self::Latency,
        Self::TrainTime,
    ];

    /// Name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Macs => "macs",
            Self::Activations => "activations",
            Self::Memory => "memory",
            Self::Flash => "flash",
            Self::Intensity => "intensity",
            Self::Latency => "latency",
            Self::TrainTime => "train-time",
        }
    }

    /// The metric of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// One line for help and reports, with the unit.
    pub fn what(self) -> &'static str {
        match self {
            Self::Params => "trainable parameters (2M)",
            Self::Macs => "multiply-accumulates for one image (80M)",
            Self::Activations => "peak of live activations (256KiB)",
            Self::Memory => "peak resident memory while loading and running (64MiB)",
            Self::Flash => "size of the model file (8MiB)",
            Self::Intensity => "compute intensity, FLOPs per byte moved (7.5)",
            Self::Latency => "time of one inference on the target (20ms)",
            Self::TrainTime => "time to train the final network (30min)",
        }
    }

    /// What its values count.
    pub fn dimension(self) -> Dimension {
        match self {
            Self::Params | Self::Macs => Dimension::Count,
            Self::Activations | Self::Memory | Self::Flash => Dimension::Bytes,
            Self::Intensity => Dimension::Intensity,
            Self::Latency | Self::TrainTime => Dimension::Time,
        }
    }

    /// The value of `text` in this metric's SI base unit.
    ///
    /// # Errors
    /// The text is not a number with a unit of this metric.
    pub fn parse(self, text: &str) -> Result<f64, QuantityError> {
        self.dimension().parse(text)
    }

    /// `value`, given in the SI base unit, as people write it: `20 ms`, `1.96 M`, `12.4 MiB`.
    pub fn format(self, value: f64) -> String {
        self.dimension().format(value)
    }
}
