//! Predicted latency: a price a unit for each kind of work, from the target's table until
//! measurements of that target refit it, always with an interval.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    budget::{Figure, Source},
    nnls::{Matrix, nnls},
    stats::{quantile, spearman},
    work::{Features, Work},
};

/// Prices as a target file states them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyTable {
    /// Where the prices come from, and on what they were not measured; printed with each estimate.
    pub source: String,
    /// Factors from the predicted value to the ends of its interval: below and above 1.
    pub interval: [f64; 2],
    /// Nanoseconds a unit of each kind of work; all positive.
    pub ns_per_unit: BTreeMap<Work, f64>,
}

/// Predicts latency from the work in a network.
///
/// **Invariant.** `prices` and `interval` are what `table` and `observations` give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyModel {
    table: LatencyTable,
    observations: Vec<Observation>,
    /// Seconds a unit.
    prices: [f64; Work::COUNT],
    interval: [f64; 2],
}

/// A measured network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Observation {
    features: Features,
    seconds: f64,
    /// Whether the time fell into the interval predicted before it was known.
    foreseen: bool,
}

/// Weight of the table against the measurements: a price that is off by its own size costs as much
/// as this many networks of that work alone whose time is off by its own size. It does not grow
/// with the measurements, so they win where they have something to say, and a kind of work that
/// takes hardly any of their time keeps the table's price. From 0.002 to 0.1 it makes little
/// difference on published times.
const RIDGE: f64 = 0.02;

/// Share of networks whose time is to fall into the interval.
const COVERAGE: f64 = 0.9;

/// Factor up and down for a fit to fewer measurements than the quantile needs. On published
/// Raspberry Pi 4 and Pixel 3 times of NAS-Bench-201 networks, nine in ten lay within 1.6 to 1.8
/// of a fit to one network and within 1.3 to 1.4 of a fit to eight.
const FEW: f64 = 1.8;

/// Least time that is ever predicted, in seconds: an empty network is not infinitely far from any time.
const LEAST: f64 = 1e-9;

impl LatencyModel {
    /// The table alone.
    pub fn from_table(table: &LatencyTable) -> Self {
        let prices = table_prices(table);
        Self { table: table.clone(), observations: Vec::new(), prices, interval: table.interval }
    }

    /// Latency at the percentile of the observations, in seconds, with a 90 % prediction interval.
    pub fn predict(&self, features: &Features) -> Figure {
        let value = time(&self.prices, features);
        let by = match self.observations.len() {
            0 => self.table.source.clone(),
            1 => "fitted to 1 measured network".to_owned(),
            n => format!("fitted to {n} measured networks"),
        };
        let [low, high] = self.interval.map(|factor| value * factor);
        Figure { value, low, high, source: Source::Estimated { by } }
    }

    /// Takes in a measured network and refits. A time that is not positive and finite, or that
    /// belongs to no work at all, says nothing and is not kept.
    pub fn observe(&mut self, features: Features, seconds: f64) {
        let work = time(&table_prices(&self.table), &features);
        if !seconds.is_finite() || seconds <= 0.0 || work <= LEAST {
            return;
        }
        let expected = self.predict(&features);
        let foreseen = expected.low <= seconds && seconds <= expected.high;
        self.observations.push(Observation { features, seconds, foreseen });
        let fit = Fit::new(&self.table, &self.observations);
        self.prices = fit.prices(None);
        self.interval = interval(&fit.left_out_errors());
    }

    /// How well the model does on networks that it was not fitted to.
    pub fn fit_report(&self) -> FitReport {
        let measured: Vec<f64> = self.observations.iter().map(|it| it.seconds).collect();
        let errors = Fit::new(&self.table, &self.observations).left_out_errors();
        let predicted: Vec<f64> = measured.iter().zip(&errors).map(|(seconds, error)| seconds / error.exp()).collect();
        let mut relative: Vec<f64> = errors.iter().map(|error| ((-error).exp() - 1.0).abs()).collect();
        relative.sort_by(f64::total_cmp);
        let foreseen = self.observations.iter().filter(|it| it.foreseen).count();
        let coefficients = Work::ALL.into_iter().zip(self.prices);
        FitReport {
            n: measured.len(),
            spearman: spearman(&predicted, &measured),
            median_relative_error: quantile(&relative, 0.5),
            coverage: (!measured.is_empty()).then(|| foreseen as f64 / measured.len() as f64),
            coefficients: coefficients
                .map(|(work, price)| Coefficient { work, ns_per_unit: price * 1e9, unit: work.unit().to_owned() })
                .collect(),
        }
    }
}

/// How good a fit is. Rank and error compare each network with the fit to the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitReport {
    /// Measured networks.
    pub n: usize,
    /// Spearman's rank correlation of predicted and measured times; from two networks on.
    pub spearman: Option<f64>,
    /// Median of the relative errors.
    pub median_relative_error: Option<f64>,
    /// Share of networks whose time fell into the interval predicted before it was known.
    pub coverage: Option<f64>,
    /// Price of each kind of work.
    pub coefficients: Vec<Coefficient>,
}

/// The price of one kind of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    /// Kind of work.
    pub work: Work,
    /// Nanoseconds a unit.
    pub ns_per_unit: f64,
    /// What a unit is.
    pub unit: String,
}

/// Least squares on relative errors, in multiples of the table's prices.
///
/// With `a_ik` the share of measured time `i` that the table ascribes to work `k`, and `s` the best
/// common scale (the median ratio of measured time to the table's), the multiples `v >= 0` minimise
/// `sum_i (sum_k a_ik v_k - 1)^2 + RIDGE sum_k (v_k / s - 1)^2`. Dividing by the time makes a small
/// network count as much as a large one; the second term is the shrinkage towards the table.
struct Fit {
    table: [f64; Work::COUNT],
    observations: Vec<Observation>,
    /// `a`.
    shares: Vec<[f64; Work::COUNT]>,
    gram: Matrix<{ Work::COUNT }>,
    target: [f64; Work::COUNT],
    /// Ratios of measured time to the table's, ascending.
    ratios: Vec<f64>,
}

impl Fit {
    fn new(table: &LatencyTable, observations: &[Observation]) -> Self {
        let table = table_prices(table);
        let share = |it: &Observation| std::array::from_fn(|k| it.features.0[k] * table[k] / it.seconds);
        let shares: Vec<[f64; Work::COUNT]> = observations.iter().map(share).collect();
        let (mut gram, mut target) = ([[0.0; Work::COUNT]; Work::COUNT], [0.0; Work::COUNT]);
        for row in &shares {
            add(&mut gram, &mut target, row, 1.0);
        }
        let mut ratios: Vec<f64> = shares.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        Self { table, observations: observations.to_vec(), shares, gram, target, ratios }
    }

    /// Seconds a unit, fitted to all observations but one.
    fn prices(&self, left_out: Option<usize>) -> [f64; Work::COUNT] {
        let (mut gram, mut target) = (self.gram, self.target);
        if let Some(row) = left_out.map(|idx| &self.shares[idx]) {
            add(&mut gram, &mut target, row, -1.0);
        }
        let scale = self.scale(left_out);
        for k in 0..Work::COUNT {
            gram[k][k] += RIDGE / (scale * scale);
            target[k] += RIDGE / scale;
        }
        let multiples = nnls(&gram, &target);
        std::array::from_fn(|k| multiples[k] * self.table[k])
    }

    /// `s`; 1 without observations.
    fn scale(&self, left_out: Option<usize>) -> f64 {
        let Some(idx) = left_out else { return quantile(&self.ratios, 0.5).unwrap_or(1.0) };
        let mut ratios = self.ratios.clone();
        ratios.remove(ratios.partition_point(|&it| it < ratio(&self.shares[idx])));
        quantile(&ratios, 0.5).unwrap_or(1.0)
    }

    /// Logarithm of each measured time over the time predicted from the others.
    fn left_out_errors(&self) -> Vec<f64> {
        let error = |(idx, it): (usize, &Observation)| (it.seconds / time(&self.prices(Some(idx)), &it.features)).ln();
        self.observations.iter().enumerate().map(error).collect()
    }
}

/// Factors from a prediction to the ends of its interval, from the errors of predictions made
/// without the network in question.
///
/// The quantile of their sizes is the one that covers the next network with probability
/// [`COVERAGE`], if it comes from where the others came from (split conformal prediction:
/// Lei et al., "Distribution-Free Predictive Inference for Regression", 2018, with the residuals of
/// the jackknife). Below nine measurements no such quantile exists, and the largest error serves,
/// but at least [`FEW`].
fn interval(errors: &[f64]) -> [f64; 2] {
    let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let rank = ((sizes.len() + 1) as f64 * COVERAGE).ceil() as usize;
    let largest = sizes.last().map_or(FEW, |size| size.exp().max(FEW));
    let factor = sizes.get(rank - 1).map_or(largest, |size| size.exp());
    [1.0 / factor, factor]
}

fn table_prices(table: &LatencyTable) -> [f64; Work::COUNT] {
    Work::ALL.map(|work| table.ns_per_unit.get(&work).map_or(0.0, |ns| ns * 1e-9))
}

fn time(prices: &[f64; Work::COUNT], features: &Features) -> f64 {
    prices.iter().zip(&features.0).map(|(price, amount)| price * amount).sum::<f64>().max(LEAST)
}

/// Measured time over the table's.
fn ratio(shares: &[f64; Work::COUNT]) -> f64 {
    1.0 / shares.iter().sum::<f64>()
}

/// Adds `weight` times one equation `row v = 1` to the normal equations.
fn add(gram: &mut Matrix<{ Work::COUNT }>, target: &mut [f64; Work::COUNT], row: &[f64; Work::COUNT], weight: f64) {
    for i in 0..Work::COUNT {
        target[i] += weight * row[i];
        for j in 0..Work::COUNT {
            gram[i][j] += weight * row[i] * row[j];
        }
    }
}
