//! What a board was found to be like: networks measured on it, and the models fitted to them.

use graph::cost::StaticCost;
use serde::{Deserialize, Serialize};

use crate::{
    budget::Figure,
    cost_model::CostModel,
    counts::CountScale,
    latency::{FitReport, LatencyModel},
    measurement::{Conditions, Measurement, Protocol, Reach},
    memory::{MemoryModel, Peak},
    stats::{Keyed, quantile, spearman},
    target::Target,
    work::Features,
};

/// Measurements of one board, with how they came about.
///
/// The samples are what counts: the latency model is fitted to them anew wherever they are used,
/// and `fit` is what it was when they were taken, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Version of this layout: [`FORMAT`].
    pub format: u32,
    /// Kind of board.
    pub target: String,
    /// This board.
    pub device: String,
    /// How it was reached.
    pub reach: Reach,
    /// Version of the agent that measured.
    pub agent: String,
    /// Engine and its version.
    pub engine: String,
    /// When the last network was measured: seconds since 1970, UTC.
    pub taken_at: u64,
    /// How each network was timed.
    pub protocol: Protocol,
    /// Which clock.
    pub clock: Clock,
    /// Percentile of the runs' times, 0 to 1.
    pub percentile: f64,
    /// The board before the first network.
    pub before: Conditions,
    /// The board after the last one.
    pub after: Conditions,
    /// Rules of valid measurements that were waived, in words.
    pub allowed: Vec<String>,
    /// The networks.
    pub samples: Vec<Sample>,
    /// How well the latency model fitted to the samples does.
    pub fit: FitReport,
    /// Memory while loading and running; absent where the board did not tell.
    pub memory: Option<Memory>,
    /// What turns instruction counts into time on this board; absent unless the networks were counted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<CountScale>,
    /// Networks predicted and then measured, to see whether the promise is kept; absent unless asked for.
    #[serde(default)]
    pub check: Option<Check>,
}

/// Version of the layout.
pub const FORMAT: u32 = 1;

/// What time means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// What a user waits.
    #[default]
    Wall,
    /// What the engine's thread ran: nearly the same on a machine that other work shares. That
    /// work's marks on caches and clocks only ever lengthen it, so a low percentile is taken.
    Cpu,
}

/// A measured network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What it was: its architecture, as far as anyone needs to build it again.
    pub network: String,
    /// Whether it was chosen because it is unlike the others, not drawn at random.
    pub designed: bool,
    /// Its work by kind.
    pub features: Features,
    /// Its weights, in bytes.
    pub weight_bytes: u64,
    /// Its live activations at their peak, in bytes.
    pub activation_bytes: u64,
    /// Its time at the percentile, in seconds.
    pub seconds: f64,
    /// Peak resident memory up to and with loading, in bytes; 0 where the board did not tell.
    pub load_peak_bytes: u64,
    /// Peak resident memory while running, in bytes; 0 where the board did not tell.
    pub steady_peak_bytes: u64,
    /// SHA-256 of the model file, in hexadecimal.
    pub model_sha256: String,
}

/// Memory models of one board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Up to and with loading.
    pub load: MemoryModel,
    /// While running.
    pub steady: MemoryModel,
    /// The larger of both: what a budget bounds.
    pub peak: MemoryModel,
}

/// Predictions made before the measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Networks, drawn at random.
    pub n: usize,
    /// Share of them within 10 % of their prediction.
    pub within_tenth: f64,
    /// Share of them inside their interval.
    pub covered: f64,
    /// Spearman's rank correlation of predicted and measured times.
    pub spearman: Option<f64>,
    /// The networks.
    pub samples: Vec<Sample>,
    /// The same for other divisions of all networks drawn at random; absent from older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divided: Option<Divided>,
}

/// How the promise is kept on average: which networks happen to be fitted to and which to be checked makes a difference
/// of several points between one division and the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divided {
    /// Divisions.
    pub n: usize,
    /// Mean share of the checked networks within 10 % of their prediction.
    pub within_tenth: f64,
    /// Mean share of them inside their interval.
    pub covered: f64,
}

impl Check {
    /// What `model` says of networks that it was not fitted to, and what they took.
    pub fn of(model: &LatencyModel, samples: Vec<Sample>) -> Self {
        let (predicted, seconds): (Vec<Figure>, Vec<f64>) =
            samples.iter().map(|it| (model.predict(&it.features), it.seconds)).unzip();
        let share = |holds: fn(&Figure, f64) -> bool| {
            let pairs = predicted.iter().zip(&seconds);
            pairs.filter(|(figure, seconds)| holds(figure, **seconds)).count() as f64 / samples.len().max(1) as f64
        };
        Self {
            n: samples.len(),
            within_tenth: share(|figure, seconds| (figure.value / seconds - 1.0).abs() <= 0.1),
            covered: share(|figure, seconds| figure.low <= seconds && seconds <= figure.high),
            spearman: spearman(&predicted.iter().map(|it| it.value).collect::<Vec<_>>(), &seconds),
            samples,
            divided: None,
        }
    }
}

impl Calibration {
    /// Fits to as many of the networks drawn at random as were fitted to, and to those that were chosen, and checks the
    /// others; `n` times, each time with others. `None` without a check.
    pub fn divided(&self, target: &Target, n: usize) -> Option<Divided> {
        let (designed, drawn): (Vec<Sample>, Vec<Sample>) = self.samples.iter().cloned().partition(|it| it.designed);
        let n_fitted = drawn.len();
        let pool = [drawn, self.check.as_ref()?.samples.clone()].concat();
        let (mut within_tenth, mut covered) = (0.0, 0.0);
        for division in 0..n {
            let (mut pool, mut random) = (pool.clone(), Keyed::new(division as u64));
            for idx in (1..pool.len()).rev() {
                pool.swap(idx, random.below(idx + 1));
            }
            let checked = pool.split_off(n_fitted);
            let samples = [designed.clone(), pool].concat();
            let check = Check::of(&Self { samples, ..self.clone() }.model(target.clone()).latency, checked);
            within_tenth += check.within_tenth / n as f64;
            covered += check.covered / n as f64;
        }
        Some(Divided { n, within_tenth, covered })
    }

    /// A model of the target's costs that knows this board.
    pub fn model(&self, target: Target) -> CostModel {
        let mut model = CostModel::new(target);
        let of = |designed| {
            let samples = self.samples.iter().filter(move |sample| sample.designed == designed);
            samples.map(|sample| (sample.features, sample.seconds))
        };
        model.latency.observe_designed(&self.name(), of(true));
        model.latency.observe_all(&self.name(), of(false));
        if let Some(memory) = &self.memory {
            model.target.memory = memory.peak.clone();
        }
        model
    }

    /// The board in words, with what its times are not.
    pub fn name(&self) -> String {
        board(&self.device, self.clock)
    }

    /// Fits latency and memory to the samples.
    pub fn refit(&mut self, target: &Target) {
        self.memory = Memory::fitted(&target.memory, &self.samples, &self.name());
        self.fit = self.model(target.clone()).latency.fit_report();
    }
}

/// A device and the clock that it was timed by.
pub fn board(device: &str, clock: Clock) -> String {
    match clock {
        Clock::Wall => device.to_owned(),
        Clock::Cpu => format!("{device} (CPU time)"),
    }
}

impl Sample {
    /// What a measurement says of a network; `None` where nothing was timed, or on an emulator.
    pub fn new(
        network: String,
        features: Features,
        cost: &StaticCost,
        measurement: &Measurement,
        clock: Clock,
        percentile: f64,
    ) -> Option<Self> {
        Some(Self {
            network,
            designed: false,
            features,
            weight_bytes: cost.model_bytes,
            activation_bytes: cost.peak_bytes,
            seconds: seconds(measurement, clock, percentile)?,
            load_peak_bytes: measurement.load_peak_bytes,
            steady_peak_bytes: measurement.steady_peak_bytes,
            model_sha256: measurement.model_sha256.clone(),
        })
    }
}

/// Time at `percentile` by one of the clocks, in seconds.
fn seconds(measurement: &Measurement, clock: Clock, percentile: f64) -> Option<f64> {
    if measurement.reach == Reach::Emulated {
        return None;
    }
    let times = |block: &crate::measurement::Block| match clock {
        Clock::Wall => block.wall_ns.clone(),
        Clock::Cpu => block.cpu_ns.clone(),
    };
    let mut sorted: Vec<f64> = measurement.blocks.iter().flat_map(times).map(|ns| ns as f64 * 1e-9).collect();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, percentile)
}

impl Memory {
    fn fitted(before: &MemoryModel, samples: &[Sample], device: &str) -> Option<Self> {
        let source = match samples.len() {
            1 => format!("from 1 measurement on {device}"),
            n => format!("from {n} measurements on {device}"),
        };
        let fit = |resident: fn(&Sample) -> u64| {
            let peak = |it: &Sample| Peak {
                weights: it.weight_bytes as f64,
                activations: it.activation_bytes as f64,
                resident: resident(it) as f64,
            };
            before.fitted(source.clone(), &samples.iter().map(peak).collect::<Vec<_>>())
        };
        Some(Self {
            load: fit(|it| it.load_peak_bytes)?,
            steady: fit(|it| it.steady_peak_bytes)?,
            peak: fit(|it| it.load_peak_bytes.max(it.steady_peak_bytes))?,
        })
    }
}
