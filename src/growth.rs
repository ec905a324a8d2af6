//! How the time of training grows with what is trained: exponents of a table, and a fit that predicts other steps.

use std::ops::{Add, Mul};

use graph::{Graph, cost::static_cost};
use targets::stats::quantile;

/// What steps of training are made of, forward and backward.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Nodes of the graph, once a step: what a step takes however few its images.
    pub nodes: f64,
    /// Multiply-accumulates of one way forward, over all images.
    pub macs: f64,
    /// Values that the nodes of one way forward write, over all images.
    pub values: f64,
}

impl Work {
    /// One step of `graph` on `images` images.
    pub fn of(graph: &Graph, images: usize) -> Self {
        let values: usize = graph.ids().map(|id| graph.shape(id).elements()).sum();
        let one = Self { nodes: graph.n_nodes() as f64, macs: static_cost(graph).macs as f64, values: values as f64 };
        one.over(1, images)
    }

    /// The work of `steps` steps on `images` images in all, of a network that this is one step on one image of.
    #[must_use]
    pub fn over(self, steps: usize, images: usize) -> Self {
        let images = images as f64;
        Self { nodes: self.nodes * steps as f64, macs: self.macs * images, values: self.values * images }
    }

    /// The mean of many; nothing for none.
    pub fn mean(all: &[Self]) -> Self {
        let sum = all.iter().fold(Self::default(), |sum, &it| sum + it);
        sum * (1.0 / all.len().max(1) as f64)
    }

    fn parts(self) -> [f64; PARTS] {
        [self.nodes, self.macs, self.values]
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { nodes: self.nodes + other.nodes, macs: self.macs + other.macs, values: self.values + other.values }
    }
}

impl Mul<f64> for Work {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self { nodes: self.nodes * factor, macs: self.macs * factor, values: self.values * factor }
    }
}

/// Kinds of work that are told apart.
const PARTS: usize = 3;

/// Seconds that each part of the work takes: a sum of prices, none of them negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    per_part: [f64; PARTS],
}

impl Growth {
    /// The prices whose sums are nearest to what was seen, in relative terms; none where nothing was.
    ///
    /// A price that would be negative is left out. With three of them every choice can be tried.
    pub fn fit(seen: &[(Work, f64)]) -> Option<Self> {
        let error =
            |it: &Self| -> f64 { seen.iter().map(|(work, time)| (it.seconds(*work) / time - 1.0).powi(2)).sum() };
        let choices = (1_u32..1 << PARTS).filter_map(|choice| least_squares(seen, choice));
        choices.min_by(|a, b| error(a).total_cmp(&error(b)))
    }

    /// Seconds of this work.
    pub fn seconds(&self, work: Work) -> f64 {
        self.per_part.iter().zip(work.parts()).map(|(price, part)| price * part).sum()
    }
}

/// Prices of the parts in `choice`, a bit each; none where they are not determined or one is negative.
fn least_squares(seen: &[(Work, f64)], choice: u32) -> Option<Growth> {
    let chosen: Vec<usize> = (0..PARTS).filter(|part| choice & 1 << part != 0).collect();
    let n = chosen.len();
    // Rows are divided by the time, so that each counts alike; parts by their size, so that pivots can be compared.
    let row = |(work, time): &(Work, f64)| chosen.iter().map(|&part| work.parts()[part] / time).collect::<Vec<f64>>();
    let rows: Vec<Vec<f64>> = seen.iter().map(row).collect();
    let size: Vec<f64> = (0..n).map(|i| rows.iter().map(|row| row[i].powi(2)).sum::<f64>().sqrt()).collect();
    if rows.is_empty() || size.contains(&0.0) {
        return None;
    }
    let mut system = vec![vec![0.0; n + 1]; n];
    for row in &rows {
        for i in 0..n {
            for j in 0..n {
                system[i][j] += row[i] / size[i] * (row[j] / size[j]);
            }
            system[i][n] += row[i] / size[i];
        }
    }
    let solved = solve(system)?;
    let mut per_part = [0.0; PARTS];
    for ((&part, value), size) in chosen.iter().zip(solved).zip(size) {
        per_part[part] = value / size;
    }
    per_part.iter().all(|&price| 0.0 <= price).then_some(Growth { per_part })
}

/// Gaussian elimination with the largest pivot; none where the system has no single solution.
fn solve(mut system: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    /// Diagonals are 1: a pivot this small is what rounding has left of one.
    const SINGULAR: f64 = 1e-9;
    let n = system.len();
    for at in 0..n {
        let pivot = (at..n).max_by(|&a, &b| system[a][at].abs().total_cmp(&system[b][at].abs()))?;
        system.swap(at, pivot);
        if system[at][at].abs() < SINGULAR {
            return None;
        }
        let above = system[at].clone();
        for (i, row) in system.iter_mut().enumerate() {
            if i != at {
                let factor = row[at] / above[at];
                row.iter_mut().zip(&above).for_each(|(value, above)| *value -= factor * above);
            }
        }
    }
    Some((0..n).map(|at| system[at][n] / system[at][at]).collect())
}

/// The value in the middle; none of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The `k` of `y ~ x^k`, by least squares on logarithms; none where fewer than two sizes are known.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> =
        points.iter().filter(|&&(x, y)| 0.0 < x && 0.0 < y).map(|&(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (mean_x, mean_y) = (logs.iter().map(|it| it.0).sum::<f64>() / n, logs.iter().map(|it| it.1).sum::<f64>() / n);
    let spread: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (0.0 < spread).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(nodes: f64, macs: f64, values: f64) -> Work {
        Work { nodes, macs, values }
    }

    #[test]
    fn an_exponent_is_the_slope_of_logarithms() {
        let table = |k: f64| [1.0, 2.0, 4.0, 8.0].map(|x: f64| (x, 3.0 * x.powf(k)));
        for k in [-1.0, 0.0, 1.0, 1.3] {
            let found = exponent(&table(k)).expect("four sizes");
            assert!((found - k).abs() < 1e-12, "{found} instead of {k}");
        }
        // A fixed part of 3 beside 1 a unit: less than proportional.
        let found = exponent(&[(1.0, 4.0), (2.0, 5.0), (4.0, 7.0)]).expect("three sizes");
        assert!(0.3 < found && found < 0.5, "{found}");
        for few in [&[][..], &[(1.0, 2.0)], &[(2.0, 1.0), (2.0, 3.0)], &[(1.0, 0.0), (2.0, 3.0)]] {
            assert_eq!(exponent(few), None, "{few:?}");
        }
    }

    #[test]
    fn prices_are_found_again_and_carry_to_larger_steps() {
        let price = |work: Work| 2e-5 * work.nodes + 3e-9 * work.macs + 5e-10 * work.values;
        let seen: Vec<(Work, f64)> = [(300.0, 1e6, 2e6), (500.0, 4e6, 3e6), (400.0, 2e6, 9e6), (350.0, 8e6, 5e6)]
            .map(|(nodes, macs, values)| work(nodes, macs, values))
            .map(|work| (work, price(work)))
            .into();
        let growth = Growth::fit(&seen).expect("four steps");
        let large = work(600.0, 1e9, 2e9);
        assert!((growth.seconds(large) / price(large) - 1.0).abs() < 1e-6, "{growth:?}");
    }

    #[test]
    fn no_price_is_negative_and_noise_moves_a_prediction_little() {
        // What grows with values alone, half a tenth of noise on it: a fit without bounds would give back time for
        // nodes.
        let noise = [1.04, 0.97, 1.05, 0.95, 1.0, 1.03];
        let seen: Vec<(Work, f64)> = (1..=6)
            .zip(noise)
            .map(|(n, noise)| (work(700.0 - 60.0 * f64::from(n), 1e6, 1e6 * f64::from(n)), noise * 1e-3 * f64::from(n)))
            .collect();
        let growth = Growth::fit(&seen).expect("six steps");
        assert!(growth.per_part.iter().all(|&it| 0.0 <= it), "{growth:?}");
        let found = growth.seconds(work(400.0, 1e6, 12e6));
        assert!((found / 12e-3 - 1.0).abs() < 0.1, "{found}");
    }

    #[test]
    fn one_step_is_enough_for_a_price_and_none_for_no_fit() {
        let one = work(10.0, 20.0, 30.0);
        let growth = Growth::fit(&[(one, 0.5)]).expect("one step");
        assert!((growth.seconds(one) - 0.5).abs() < 1e-12, "{growth:?}");
        assert_eq!(Growth::fit(&[]), None);
        assert_eq!(Work::mean(&[]), Work::default());
        assert_eq!(Work::mean(&[one, one * 3.0]), work(20.0, 40.0, 60.0));
    }
}
