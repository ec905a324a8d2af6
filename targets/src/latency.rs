//! Predicted latency: a price a unit for each kind of work, from the target's table until
//! measurements of that target refit it, corrected where networks alike were faster or slower, and
//! always with an interval.

mod correction;
mod prices;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub(crate) use self::correction::{PLACE, place};
use self::{
    correction::{Correction, MOST},
    prices::{LEAST, PriceFit, Prices, table_prices, time},
};
use crate::{
    budget::{Figure, Source},
    conformal::{ENOUGH, interval},
    counts::CountScale,
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

impl LatencyTable {
    /// Fills in the prices that a file may leave out, from the nearest it gives.
    pub(crate) fn complete(&mut self) {
        let nearest = [
            // A linear layer reads each of its weights for one MAC.
            (Work::Weights, Work::Linear, 1.0),
            (Work::Activation, Work::Elementwise, 1.0),
            // What packs a value stays in the cache.
            (Work::Operands, Work::Elementwise, 0.25),
            // A file without it has the rows in the MAC's price: little is left.
            (Work::Rows, Work::Depthwise, 1.0),
        ];
        for (missing, near, times) in nearest {
            if let Some(price) = self.ns_per_unit.get(&near).map(|price| price * times) {
                self.ns_per_unit.entry(missing).or_insert(price);
            }
        }
    }
}

/// What observations share when they are instruction counts turned into time: a scale that may be off,
/// by the same factor for all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedScale {
    /// Where the scale comes from.
    source: String,
    /// Factors below and above 1 that it may be off by.
    interval: [f64; 2],
}

/// Predicts latency from the work in a network.
///
/// **Invariant.** Everything from `prices` on is what `table` and `observations` give; a stored model
/// holds those two alone and is fitted anew when it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct LatencyModel {
    table: LatencyTable,
    observations: Vec<Observation>,
    devices: BTreeSet<String>,
    counted: Option<SharedScale>,
    prices: Prices,
    correction: Option<Correction>,
    /// Logarithm of each measured time over the time predicted from the others.
    errors: Vec<f64>,
    interval: [f64; 2],
}

/// A measured network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Observation {
    features: Features,
    seconds: f64,
    /// Whether the time fell into the interval predicted before it was known.
    foreseen: bool,
    /// Whether it was measured because it is unlike the others.
    designed: bool,
}

/// Factor up and down for a fit to fewer measurements than the quantile needs. On published
/// Raspberry Pi 4 and Pixel 3 times of NAS-Bench-201 networks, nine in ten lay within 1.6 to 1.8
/// of a fit to one network and within 1.3 to 1.4 of a fit to eight.
const FEW: f64 = 1.8;

impl LatencyModel {
    /// The table alone.
    pub fn from_table(table: &LatencyTable) -> Self {
        Stored { table: table.clone(), observations: Vec::new(), devices: BTreeSet::new(), counted: None }.into()
    }

    /// This model for observations that are instruction counts turned into time by `scale`. They order
    /// networks among themselves better than the table does, but what is wrong with the scale is wrong
    /// with all of them: estimates carry its interval beside their own, and say what they rest on.
    #[must_use]
    pub fn by_counts(self, scale: &CountScale) -> Self {
        let shared = SharedScale { source: scale.source.clone(), interval: scale.interval };
        Self { counted: Some(shared), ..self }
    }

    /// Latency at the percentile of the observations, in seconds, with a 90 % prediction interval.
    pub fn predict(&self, features: &Features) -> Figure {
        let correction = self.correction.as_ref().map_or(0.0, |it| it.at(&place(&self.table, features)));
        let value = time(&self.prices, features) * correction.exp();
        let [low, high] = self.interval.map(|factor| value * factor);
        let [low, high] = match &self.counted {
            Some(SharedScale { interval: [below, above], .. }) if !self.observations.is_empty() => {
                [low * below, high * above]
            }
            _ => [low, high],
        };
        Figure { value, low, high, source: Source::Estimated { by: self.rests_on() } }
    }

    /// Seconds by the prices alone: of parts of a network, what adds up to that of the whole. What the model has learned of
    /// whole networks is left out.
    pub fn by_prices(&self, features: &Features) -> f64 {
        self.prices.iter().zip(&features.0).map(|(price, amount)| price * amount).sum()
    }

    /// As [`LatencyModel::predict`], but what no network of at least this work is predicted below. Prices add up over
    /// the work; the correction does not, and is taken as the largest that there can be.
    pub fn floor(&self, features: &Features) -> Figure {
        let Figure { value, low, high, source } = self.predict(features);
        let Some(correction) = &self.correction else { return Figure { value, low, high, source } };
        let factor = (-MOST - correction.at(&place(&self.table, features))).exp();
        Figure { value: factor * value, low: factor * low, high: factor * high, source }
    }

    /// Takes in a network measured on `device`, with its time in seconds, and refits. A time that is
    /// not positive and finite, or that belongs to no work at all, says nothing and is not kept.
    pub fn observe(&mut self, device: &str, features: Features, seconds: f64) {
        self.observe_all(device, [(features, seconds)]);
    }

    /// As [`LatencyModel::observe`] for several networks, refitting once.
    pub fn observe_all(&mut self, device: &str, measured: impl IntoIterator<Item = (Features, f64)>) {
        self.take_in(device, measured, false);
    }

    /// As [`LatencyModel::observe_all`], for networks chosen because they are unlike the others, as a
    /// [`crate::design`] does. They tell prices apart like any other, but their errors are larger
    /// than those of networks to come: the interval is not taken from them where there are enough
    /// others.
    pub fn observe_designed(&mut self, device: &str, measured: impl IntoIterator<Item = (Features, f64)>) {
        self.take_in(device, measured, true);
    }

    fn take_in(&mut self, device: &str, measured: impl IntoIterator<Item = (Features, f64)>, designed: bool) {
        let known = self.observations.len();
        for (features, seconds) in measured {
            let work = time(&table_prices(&self.table), &features);
            if !seconds.is_finite() || seconds <= 0.0 || work <= LEAST {
                continue;
            }
            let expected = self.predict(&features);
            let foreseen = expected.low <= seconds && seconds <= expected.high;
            self.observations.push(Observation { features, seconds, foreseen, designed });
        }
        if known < self.observations.len() {
            self.devices.insert(device.to_owned());
            self.refit();
        }
    }

    /// Networks that the model was fitted to.
    pub fn n_measured(&self) -> usize {
        self.observations.len()
    }

    /// How well the model does on networks that it was not fitted to.
    pub fn fit_report(&self) -> FitReport {
        let measured: Vec<f64> = self.observations.iter().map(|it| it.seconds).collect();
        let predicted: Vec<f64> =
            measured.iter().zip(&self.errors).map(|(seconds, error)| seconds / error.exp()).collect();
        let mut relative: Vec<f64> = self.errors.iter().map(|error| ((-error).exp() - 1.0).abs()).collect();
        relative.sort_by(f64::total_cmp);
        let share = |n: usize| (!measured.is_empty()).then(|| n as f64 / measured.len() as f64);
        let coefficients = Work::ALL.into_iter().zip(self.prices);
        FitReport {
            n: measured.len(),
            spearman: spearman(&predicted, &measured),
            median_relative_error: quantile(&relative, 0.5),
            within_tenth: share(relative.iter().filter(|&&error| error <= 0.1).count()),
            coverage: share(self.observations.iter().filter(|it| it.foreseen).count()),
            interval: self.interval,
            corrected: self.correction.is_some(),
            coefficients: coefficients
                .map(|(work, price)| Coefficient { work, ns_per_unit: price * 1e9, unit: work.unit().to_owned() })
                .collect(),
        }
    }

    fn refit(&mut self) {
        if self.observations.is_empty() {
            (self.prices, self.interval) = (table_prices(&self.table), self.table.interval);
            return;
        }
        let fit = PriceFit::new(&self.table, self.observations.iter().map(|it| (&it.features, it.seconds)));
        let prices = fit.prices();
        let left_out = fit.left_out_errors();
        let places = self.observations.iter().map(|it| place(&self.table, &it.features)).collect();
        let corrected = Correction::fit(places, &prices.trust, &prices.errors, &left_out);
        (self.correction, self.errors) = match corrected {
            Some((correction, errors)) => (Some(correction), errors),
            None => (None, left_out),
        };
        self.prices = prices.prices;
        let others = self.observations.iter().zip(&self.errors).filter(|(it, _)| !it.designed);
        let others: Vec<f64> = others.map(|(_, error)| *error).collect();
        self.interval = interval(if ENOUGH <= others.len() { &others } else { &self.errors }, FEW);
    }

    /// What estimates rest on: measured networks, or the table and where it was not measured.
    pub fn rests_on(&self) -> String {
        let devices = || self.devices.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match (self.observations.len(), &self.counted) {
            (0, _) => self.table.source.clone(),
            (n, Some(SharedScale { source, .. })) => {
                format!("from instruction counts for {} of {n} networks alike, not measured; {source}", devices())
            }
            (1, None) => format!("from 1 measurement on {}", devices()),
            (n, None) => format!("from {n} measurements on {}", devices()),
        }
    }
}

/// What is written of a model.
#[derive(Serialize, Deserialize)]
#[serde(rename = "LatencyModel", deny_unknown_fields)]
struct Stored {
    table: LatencyTable,
    observations: Vec<Observation>,
    devices: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counted: Option<SharedScale>,
}

impl From<Stored> for LatencyModel {
    fn from(Stored { table, observations, devices, counted }: Stored) -> Self {
        let (prices, interval, errors) = ([0.0; Work::COUNT], [1.0; 2], Vec::new());
        let mut model = Self { table, observations, devices, counted, prices, correction: None, errors, interval };
        model.refit();
        model
    }
}

impl From<LatencyModel> for Stored {
    fn from(LatencyModel { table, observations, devices, counted, .. }: LatencyModel) -> Self {
        Self { table, observations, devices, counted }
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
    /// Share of networks predicted within 10 % of the measured time.
    pub within_tenth: Option<f64>,
    /// Share of networks whose time fell into the interval predicted before it was known.
    pub coverage: Option<f64>,
    /// Factors from a prediction to the ends of its interval.
    pub interval: [f64; 2],
    /// Whether predictions are corrected by the errors on networks alike.
    pub corrected: bool,
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
