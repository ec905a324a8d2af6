//! What prices cannot say: networks of like make are off by like factors.
//!
//! The mean of a Gaussian process over the logarithm of measured over fitted time (C. Rasmussen and
//! C. Williams, "Gaussian Processes for Machine Learning", 2006, sections 2.2, 4.2 and 5.4.2), with
//! Matérn's kernel of smoothness 5/2. Its scale and its noise are those of a small grid that predict
//! left-out networks best, all in closed form; where none is clearly better than prices alone,
//! there is no correction.

use super::{LatencyTable, prices::table_prices};
use crate::work::{Features, Work};

/// Corrects predictions by the errors on networks alike.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Correction {
    /// Where the measured networks lie.
    places: Vec<Place>,
    /// How much each of them says.
    weights: Vec<f64>,
    /// Distance over which networks are alike.
    scale: f64,
}

/// What a network is made of, and how much of it there is: `2 sqrt` of each kind's share of the
/// time by the table, and the logarithm of that time. The root tells an absent kind of work from a
/// rare one; with the 2, doubling a rare kind is as far as doubling everything at a share of 0.7.
pub(crate) type Place = [f64; PLACE];

/// Coordinates of a [`Place`].
pub(crate) const PLACE: usize = Work::COUNT + 1;

/// Scales tried, in units of [`Place`].
const SCALES: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// Noises tried: variance of one measurement over that of the correction.
const NOISES: [f64; 5] = [0.01, 0.03, 0.1, 0.3, 1.0];

/// Networks below which their errors say too little of others.
const ENOUGH: usize = 12;

/// The best of 25 tries is a little better by chance: a correction of `n` networks must leave at most
/// `1 - CHANCE / sqrt(n)` of the error. Half as much gave corrections of 20 networks that ordered others worse on published
/// boards; a fixed share of 0.8, as it was, left out corrections of 50 that would have paid.
const CHANCE: f64 = 0.45;

/// Largest error that counts when corrections are compared, so that one strange network does not choose.
const LARGEST: f64 = 0.5;

/// Largest correction, as a logarithm. With a factor of at most the root of two either way, twice
/// the work is never predicted to take less time.
pub(super) const MOST: f64 = std::f64::consts::LN_2 / 2.0;

impl Correction {
    /// The best correction, and the errors of left-out networks with it; `None` where it does not pay.
    ///
    /// `errors` are the logarithms of measured over fitted times, `left_out` those with the network
    /// left out of the fit, and `trust` (0 to 1) divides the noise of each.
    pub(super) fn fit(places: Vec<Place>, trust: &[f64], errors: &[f64], left_out: &[f64]) -> Option<(Self, Vec<f64>)> {
        if places.len() < ENOUGH {
            return None;
        }
        let mut least = (1.0 - CHANCE / (places.len() as f64).sqrt()) * mean_size(left_out);
        let mut best = None;
        for scale in SCALES {
            let kernel = Square::of(&places, |a, b| matern(distance(a, b) / scale));
            for noise in NOISES {
                let mut inverse = kernel.clone();
                inverse.add_diagonal(trust.iter().map(|trust| noise / trust));
                inverse.invert();
                let remaining = inverse.left_out_remainders(left_out);
                let remains = mean_size(&remaining);
                if remains < least {
                    least = remains;
                    best = Some((inverse.times(errors), scale, remaining));
                }
            }
        }
        best.map(|(weights, scale, remaining)| (Self { places, weights, scale }, remaining))
    }

    /// Logarithm of the factor for a network at this place.
    pub(super) fn at(&self, place: &Place) -> f64 {
        let like = |it: &Place| matern(distance(it, place) / self.scale);
        let sum: f64 = self.places.iter().zip(&self.weights).map(|(it, weight)| weight * like(it)).sum();
        sum.clamp(-MOST, MOST)
    }
}

/// Where a network with this work lies, by a target's table.
pub(crate) fn place(table: &LatencyTable, features: &Features) -> Place {
    let prices = table_prices(table);
    let parts: [f64; Work::COUNT] = std::array::from_fn(|k| prices[k] * features.0[k]);
    let total = parts.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    std::array::from_fn(|k| parts.get(k).map_or(total.ln(), |part| 2.0 * (part / total).sqrt()))
}

fn distance(a: &Place, b: &Place) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// Matérn's kernel of smoothness 5/2.
fn matern(distance: f64) -> f64 {
    let far = 5_f64.sqrt() * distance;
    (1.0 + far + far * far / 3.0) * (-far).exp()
}

fn mean_size(errors: &[f64]) -> f64 {
    errors.iter().map(|error| error.abs().min(LARGEST)).sum::<f64>() / errors.len() as f64
}

/// A symmetric matrix, row by row.
#[derive(Clone)]
struct Square {
    n: usize,
    values: Vec<f64>,
}

impl Square {
    fn of<T>(items: &[T], value: impl Fn(&T, &T) -> f64) -> Self {
        let values = items.iter().flat_map(|a| items.iter().map(|b| value(a, b)).collect::<Vec<_>>()).collect();
        Self { n: items.len(), values }
    }

    fn add_diagonal(&mut self, values: impl Iterator<Item = f64>) {
        for (idx, value) in values.enumerate() {
            self.values[idx * self.n + idx] += value;
        }
    }

    /// Gauss and Jordan's elimination in place. A positive definite matrix needs no exchange of rows.
    fn invert(&mut self) {
        let n = self.n;
        for pivot in 0..n {
            let inverse = 1.0 / self.values[pivot * n + pivot];
            self.values[pivot * n + pivot] = 1.0;
            let mut row = self.values[pivot * n..][..n].to_vec();
            row.iter_mut().for_each(|value| *value *= inverse);
            for (idx, other) in self.values.chunks_exact_mut(n).enumerate() {
                if idx == pivot {
                    other.copy_from_slice(&row);
                    continue;
                }
                let factor = std::mem::take(&mut other[pivot]);
                for (value, by) in other.iter_mut().zip(&row) {
                    *value -= factor * by;
                }
            }
        }
    }

    fn times(&self, vector: &[f64]) -> Vec<f64> {
        self.values.chunks_exact(self.n).map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect()
    }

    /// What remains of each value after it was predicted from the others, where `self` is the
    /// inverse of their covariance: Rasmussen and Williams' equation 5.12, with the limit of
    /// [`Correction::at`].
    fn left_out_remainders(&self, values: &[f64]) -> Vec<f64> {
        let remainder = |(idx, (solved, value)): (usize, (f64, &f64))| {
            let predicted = value - solved / self.values[idx * self.n + idx];
            value - predicted.clamp(-MOST, MOST)
        };
        self.times(values).into_iter().zip(values).enumerate().map(remainder).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Square, matern};

    #[test]
    fn an_inverse_times_its_matrix_is_one() {
        let places: Vec<f64> = (0..9).map(|idx| f64::from(idx * idx) / 7.0).collect();
        let mut matrix = Square::of(&places, |a, b| matern((a - b).abs()));
        matrix.add_diagonal(std::iter::repeat_n(0.01, 9));
        let mut inverse = matrix.clone();
        inverse.invert();
        for column in 0..9 {
            let unit: Vec<f64> = (0..9).map(|idx| f64::from(u8::from(idx == column))).collect();
            for (found, expected) in inverse.times(&matrix.times(&unit)).iter().zip(&unit) {
                assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
            }
        }
    }

    /// The shortcut is what leaving a value out and solving again gives.
    #[test]
    fn left_out_values_are_predicted_from_the_others() {
        let places = [0.0, 0.4, 0.9, 1.5, 3.0_f64];
        let values = [0.1, 0.12, 0.05, -0.08, 0.02];
        let solve = |places: &[f64]| {
            let mut matrix = Square::of(places, |a, b| matern((a - b).abs()));
            matrix.add_diagonal(std::iter::repeat_n(0.1, places.len()));
            matrix.invert();
            matrix
        };
        let found = solve(&places).left_out_remainders(&values);
        for idx in 0..5 {
            let without = |all: &[f64]| [&all[..idx], &all[idx + 1..]].concat();
            let weights = solve(&without(&places)).times(&without(&values));
            let predicted: f64 = without(&places)
                .iter()
                .zip(&weights)
                .map(|(it, weight)| weight * matern((it - places[idx]).abs()))
                .sum();
            assert!((found[idx] - (values[idx] - predicted)).abs() < 1e-9, "{} at {idx}", found[idx]);
        }
    }
}
