//! From samples to figures: order statistics, and confidence intervals that respect blocks.

use serde::{Deserialize, Serialize};

use crate::{
    budget::{Figure, Source},
    measurement::{Measurement, Reach},
    meter::Reading,
};

/// What the samples of one measurement say, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of timed runs.
    pub n: usize,
    /// Fastest run.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Mean.
    pub mean: f64,
    /// Median absolute deviation from the median, not scaled.
    pub mad: f64,
    /// Runs whose modified z-score exceeds 3.5.
    pub n_outliers: usize,
    /// Interquartile range over the median, a ratio.
    pub iqr_over_median: f64,
    /// 95 % confidence interval of the median.
    pub p50_ci: (f64, f64),
    /// 95 % confidence interval of the 90th percentile.
    pub p90_ci: (f64, f64),
}

impl Measurement {
    /// Statistics over every wall-clock sample; `None` when nothing was timed.
    pub fn summary(&self) -> Option<Summary> {
        let samples = Samples::of(self)?;
        let sorted: Vec<f64> = samples.sorted.iter().map(|sample| sample.seconds).collect();
        let median = quantile(&sorted, 0.5)?;
        let mut deviations: Vec<f64> = sorted.iter().map(|seconds| (seconds - median).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        let mad = quantile(&deviations, 0.5)?;
        let n_outliers = deviations.iter().filter(|&&deviation| is_outlier(deviation, mad)).count();
        Some(Summary {
            n: sorted.len(),
            min: sorted[0],
            p50: median,
            p90: quantile(&sorted, 0.9)?,
            p99: quantile(&sorted, 0.99)?,
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            mad,
            n_outliers,
            iqr_over_median: iqr_over_median(&sorted)?,
            p50_ci: samples.interval(0.5),
            p90_ci: samples.interval(0.9),
        })
    }

    /// Latency at `percentile` (0 to 1) with its 95 % confidence interval, in seconds; `None` when
    /// nothing was timed, or when it was timed on an emulator, whose time is nobody's latency.
    pub fn figure(&self, percentile: f64) -> Option<Figure> {
        if self.reach == Reach::Emulated {
            return None;
        }
        let samples = Samples::of(self)?;
        let sorted: Vec<f64> = samples.sorted.iter().map(|sample| sample.seconds).collect();
        let value = quantile(&sorted, percentile)?;
        let (low, high) = samples.interval(percentile);
        let on =
            if self.target == self.device { self.target.clone() } else { format!("{} ({})", self.target, self.device) };
        // A resampled quantile is interpolated at other ranks, so it may just miss the value.
        let (low, high) = (low.min(value), high.max(value));
        Some(Figure { value, low, high, source: Source::Measured { on, samples: sorted.len() } })
    }

    /// Peak resident memory over loading and running, in bytes; `None` where the system did not tell.
    pub fn memory(&self) -> Option<Figure> {
        let peak = self.load_peak_bytes.max(self.steady_peak_bytes) as f64;
        let source = Source::Measured { on: self.device.clone(), samples: 1 };
        (peak > 0.0).then_some(Figure { value: peak, low: peak, high: peak, source })
    }

    /// What it says of the network, with the latency at `percentile` (0 to 1).
    pub fn reading(&self, percentile: f64) -> Reading {
        Reading { device: self.device.clone(), latency: self.figure(percentile), memory: self.memory() }
    }

    /// Median wall-clock time of each block that has samples, in seconds.
    pub fn block_medians(&self) -> Vec<f64> {
        self.blocks.iter().filter_map(|block| median_ns(&block.wall_ns)).map(|ns| ns * 1e-9).collect()
    }
}

/// Quantile `p` (0 to 1) of ascending values, interpolated linearly between order statistics.
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = p.clamp(0.0, 1.0) * last as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64))
}

/// Whether a distance from the median is an outlier's: Iglewicz and Hoaglin's modified z-score,
/// `0.6745 distance / MAD`, against 3.5.
pub(crate) fn is_outlier(distance: f64, mad: f64) -> bool {
    3.5 * mad < 0.6745 * distance
}

/// Interquartile range of ascending values, in the same unit, over their median.
pub(crate) fn iqr_over_median(sorted: &[f64]) -> Option<f64> {
    let range = quantile(sorted, 0.75)? - quantile(sorted, 0.25)?;
    // Equal values have no spread, not even zeros.
    Some(if range == 0.0 { 0.0 } else { range / quantile(sorted, 0.5)? })
}

/// Spearman's rank correlation, ties sharing their mean rank; `None` for fewer than two pairs, or
/// where one side is constant.
pub fn spearman(left: &[f64], right: &[f64]) -> Option<f64> {
    let (left, right) = (ranks(left), ranks(right));
    let mean = (left.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let spread = (product(&left, &left) * product(&right, &right)).sqrt();
    (left.len() == right.len() && spread > 0.0).then(|| product(&left, &right) / spread)
}

/// Kendall's tau-b: pairs in the same order less pairs in opposite order, ties allowed for; `None` where one side is
/// constant.
pub fn kendall(left: &[f64], right: &[f64]) -> Option<f64> {
    let (mut agreed, mut untied) = (0.0, [0.0, 0.0]);
    for (idx, (a, b)) in left.iter().zip(right).enumerate() {
        for (other_a, other_b) in left.iter().zip(right).skip(idx + 1) {
            let order = |x: &f64, y: &f64| f64::from(x.total_cmp(y) as i8);
            let orders = [order(a, other_a), order(b, other_b)];
            agreed += orders[0] * orders[1];
            untied = [0, 1].map(|side| untied[side] + orders[side].abs());
        }
    }
    let spread = (untied[0] * untied[1]).sqrt();
    (left.len() == right.len() && 0.0 < spread).then(|| agreed / spread)
}

/// Ranks from 1, ties sharing their mean rank.
pub(crate) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    for tie in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let before = order.partition_point(|&idx| values[idx] < values[tie[0]]);
        for &idx in tie {
            ranks[idx] = before as f64 + (tie.len() as f64 + 1.0) / 2.0;
        }
    }
    ranks
}

/// Median of integers, as they were stored; `None` for none.
pub(crate) fn median_ns(values: &[u64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().map(|&ns| ns as f64).collect();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// Resamples a confidence interval is taken from.
const N_RESAMPLES: usize = 2_000;

/// All samples of a measurement in ascending order, each remembering its block.
struct Samples {
    sorted: Vec<Sample>,
    block_sizes: Vec<usize>,
}

struct Sample {
    seconds: f64,
    block: usize,
}

impl Samples {
    fn of(measurement: &Measurement) -> Option<Self> {
        let blocks = || measurement.blocks.iter().filter(|block| !block.wall_ns.is_empty()).enumerate();
        let mut sorted: Vec<Sample> = blocks()
            .flat_map(|(block, it)| it.wall_ns.iter().map(move |&ns| Sample { seconds: ns as f64 * 1e-9, block }))
            .collect();
        sorted.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let block_sizes = blocks().map(|(_, it)| it.wall_ns.len()).collect();
        (!sorted.is_empty()).then_some(Self { sorted, block_sizes })
    }

    /// Block-bootstrap 95 % confidence interval of quantile `p`.
    ///
    /// Runs within a block share the machine's mood, so whole blocks are drawn with replacement.
    /// With ten blocks the plain percentile interval is too narrow; it is taken at the wider levels
    /// of T. Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), section 5. A single
    /// block cannot be resampled: its extremes are the interval.
    fn interval(&self, p: f64) -> (f64, f64) {
        let n_blocks = self.block_sizes.len();
        if n_blocks < 2 {
            return (self.sorted[0].seconds, self.sorted[self.sorted.len() - 1].seconds);
        }
        let mut random = Keyed(0x9E37_79B9_7F4A_7C15);
        let mut draws = vec![0_usize; n_blocks];
        let mut quantiles: Vec<f64> = (0..N_RESAMPLES)
            .map(|_| {
                draws.fill(0);
                for _ in 0..n_blocks {
                    draws[random.below(n_blocks)] += 1;
                }
                self.resampled(p, &draws)
            })
            .collect();
        quantiles.sort_by(f64::total_cmp);
        let n = n_blocks as f64;
        let tail = normal_tail(student_975(n_blocks - 1) * (n / (n - 1.0)).sqrt());
        let at = |level| quantile(&quantiles, level).expect("there are N_RESAMPLES of them");
        (at(tail), at(1.0 - tail))
    }

    /// Quantile `p` of the samples when block `b` was drawn `draws[b]` times.
    fn resampled(&self, p: f64, draws: &[usize]) -> f64 {
        let n: usize = draws.iter().zip(&self.block_sizes).map(|(times, size)| times * size).sum();
        let rank = p.clamp(0.0, 1.0) * (n - 1) as f64;
        let wanted = rank.floor() as usize;
        let (mut seen, mut below) = (0, None);
        for sample in &self.sorted {
            seen += draws[sample.block];
            if below.is_none() && wanted < seen {
                below = Some(sample.seconds);
            }
            if let Some(below) = below
                && wanted + 1 < seen
            {
                return below + (sample.seconds - below) * (rank - wanted as f64);
            }
        }
        below.expect("a rank is below the number of samples")
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): a resample depends on the key and on nothing else.
pub(crate) struct Keyed(u64);

impl Keyed {
    /// Keys that differ a little give other numbers.
    pub(crate) fn new(key: u64) -> Self {
        let mut mixed = Self(key);
        mixed.next();
        Self(mixed.next())
    }

    /// A number below `n`. The bias of the remainder is under `n / 2^64`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Probability that a standard normal variable exceeds `z`; Abramowitz and Stegun 26.2.17, error
/// below 7.5e-8.
pub(crate) fn normal_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_tail(-z);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let polynomial = series.iter().rev().fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * polynomial
}

/// 97.5 % quantile of Student's t for this many degrees of freedom, at least one.
fn student_975(degrees: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    // Beyond the table the first term of the Cornish-Fisher expansion is within 0.004.
    TABLE.get(degrees - 1).copied().unwrap_or(1.960 + 2.372 / degrees as f64)
}
