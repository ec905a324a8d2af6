//! A price for each kind of work: non-negative least squares on relative errors, drawn to the
//! target's table, with little say for times that no price explains.

use super::LatencyTable;
use crate::{
    nnls::{Matrix, nnls},
    stats::quantile,
    work::{Features, Work},
};

/// Seconds a unit of each kind of work.
pub(super) type Prices = [f64; Work::COUNT];

/// Prices fitted to measured networks.
///
/// With `a_ik` the share of measured time `i` that the table ascribes to work `k`, and `s` the best
/// common scale (the median ratio of measured time to the table's), the multiples `v >= 0` of the
/// table's prices minimise `sum_i w_i (sum_k a_ik v_k - 1)^2 + RIDGE sum_k (v_k / s - 1)^2`.
/// Dividing by the time makes a small network count as much as a large one; the second term is the
/// shrinkage towards the table. The `w_i` are Huber's weights (P. Huber, "Robust Estimation of a
/// Location Parameter", 1964), found by repetition: what an engine did to one network alone, say
/// because it could drop a part of it, is no price of work.
pub(super) struct PriceFit {
    table: Prices,
    /// `a`.
    shares: Vec<Prices>,
}

/// Prices, and what they leave unexplained.
pub(super) struct Fitted {
    /// Seconds a unit.
    pub(super) prices: Prices,
    /// `w`: how far each network is believed, 0 to 1.
    pub(super) trust: Vec<f64>,
    /// Logarithm of each measured time over the fitted one.
    pub(super) errors: Vec<f64>,
}

/// Weight of the table against the measurements: a price that is off by its own size costs as much
/// as this many networks of that work alone whose time is off by its own size. It does not grow
/// with the measurements, so they win where they have something to say, and a kind of work that
/// takes hardly any of their time keeps the table's price. From 0.002 to 0.1 it makes little
/// difference on published times.
const RIDGE: f64 = 0.02;

/// Errors beyond this many standard deviations count by their size, not by its square.
const HUBER: f64 = 2.0;

/// Least standard deviation assumed, relative: boards are no better, and few networks can look it.
const LEAST_SPREAD: f64 = 0.03;

/// Repetitions until the weights stand.
const ROUNDS: usize = 6;

/// Least time that is ever predicted, in seconds: an empty network is not infinitely far from any time.
pub(super) const LEAST: f64 = 1e-9;

impl PriceFit {
    /// A fit to networks with their times in seconds.
    pub(super) fn new<'a>(table: &LatencyTable, measured: impl Iterator<Item = (&'a Features, f64)>) -> Self {
        let table = table_prices(table);
        let share = |(features, seconds): (&Features, f64)| std::array::from_fn(|k| features.0[k] * table[k] / seconds);
        Self { table, shares: measured.map(share).collect() }
    }

    /// Fitted to all networks.
    pub(super) fn prices(&self) -> Fitted {
        let (multiples, trust) = self.fit(None);
        let errors = self.shares.iter().map(|row| error(row, &multiples)).collect();
        Fitted { prices: std::array::from_fn(|k| multiples[k] * self.table[k]), trust, errors }
    }

    /// Logarithm of each measured time over the time that the fit to the others gives.
    pub(super) fn left_out_errors(&self) -> Vec<f64> {
        let left_out = |(idx, row)| error(row, &self.fit(Some(idx)).0);
        self.shares.iter().enumerate().map(left_out).collect()
    }

    /// `v` and `w` for all networks but one.
    fn fit(&self, left_out: Option<usize>) -> (Prices, Vec<f64>) {
        let rows: Vec<&Prices> =
            self.shares.iter().enumerate().filter(|&(idx, _)| Some(idx) != left_out).map(|(_, row)| row).collect();
        let scale = scale(&rows);
        let mut multiples = [scale; Work::COUNT];
        let mut trust = vec![1.0; rows.len()];
        for _ in 0..ROUNDS {
            let (mut gram, mut target) = ([[0.0; Work::COUNT]; Work::COUNT], [RIDGE / scale; Work::COUNT]);
            for (k, row) in gram.iter_mut().enumerate() {
                row[k] = RIDGE / (scale * scale);
            }
            for (row, &weight) in rows.iter().zip(&trust) {
                add(&mut gram, &mut target, row, weight);
            }
            multiples = nnls(&gram, &target);
            trust = huber(rows.iter().map(|row| error(row, &multiples).abs()).collect());
        }
        (multiples, trust)
    }
}

/// The table's prices in seconds a unit; 0 for work that it leaves out.
pub(super) fn table_prices(table: &LatencyTable) -> Prices {
    Work::ALL.map(|work| table.ns_per_unit.get(&work).map_or(0.0, |ns| ns * 1e-9))
}

/// Seconds that this work takes at these prices.
pub(super) fn time(prices: &Prices, features: &Features) -> f64 {
    prices.iter().zip(&features.0).map(|(price, amount)| price * amount).sum::<f64>().max(LEAST)
}

/// `s`; 1 without networks.
fn scale(rows: &[&Prices]) -> f64 {
    let mut ratios: Vec<f64> = rows.iter().map(|row| 1.0 / row.iter().sum::<f64>()).collect();
    ratios.sort_by(f64::total_cmp);
    quantile(&ratios, 0.5).unwrap_or(1.0)
}

/// Logarithm of measured over fitted time.
fn error(shares: &Prices, multiples: &Prices) -> f64 {
    -shares.iter().zip(multiples).map(|(share, multiple)| share * multiple).sum::<f64>().max(LEAST).ln()
}

/// `w` for errors of these sizes, their spread estimated by their median.
fn huber(sizes: Vec<f64>) -> Vec<f64> {
    let mut sorted = sizes.clone();
    sorted.sort_by(f64::total_cmp);
    // 1.4826 times the median size is the standard deviation of a normal distribution.
    let spread = (1.4826 * quantile(&sorted, 0.5).unwrap_or(0.0)).max(LEAST_SPREAD);
    sizes.into_iter().map(|size| if size <= HUBER * spread { 1.0 } else { HUBER * spread / size }).collect()
}

/// Adds `weight` times one equation `row v = 1` to the normal equations.
fn add(gram: &mut Matrix<{ Work::COUNT }>, target: &mut Prices, row: &Prices, weight: f64) {
    for i in 0..Work::COUNT {
        target[i] += weight * row[i];
        for j in 0..Work::COUNT {
            gram[i][j] += weight * row[i] * row[j];
        }
    }
}
