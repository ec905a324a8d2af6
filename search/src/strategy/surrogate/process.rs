//! A Gaussian process that learns which networks are worth training, and what each promises to gain.

use super::{
    kernel::{Alike, Beliefs, Kernel, Units},
    normal::{normal_cdf, normal_density},
    pool::{Candidate, Pool, State, units},
};
use crate::space::SearchSpace;

/// A Gaussian process over architectures.
#[derive(Default)]
pub(super) struct Process {
    beliefs: Beliefs,
    /// How far each size varies among the first candidates.
    units: Option<Units>,
    /// Row `i`: how alike the `i`-th network that was trained is to each before it, and to itself.
    alike: Vec<Vec<Alike>>,
    /// `L`, the Cholesky factor of the covariances, by rows.
    factor: Vec<Vec<f64>>,
    /// Trainings from which on the beliefs are found again.
    next_fit: f64,
}

impl Process {
    /// Takes up the networks trained since, and finds its beliefs again when it is time.
    pub(super) fn learn<S: SearchSpace>(&mut self, pool: &mut Pool<'_, S>, scores: &[f64], refit: f64) {
        let units = *self.units.get_or_insert_with(|| units(&pool.candidates));
        for (nth, &idx) in pool.trained.iter().enumerate().skip(self.alike.len()) {
            self.alike.push((0..=nth).map(|other| pool.alike(idx, other, &units)).collect());
        }
        if self.next_fit <= scores.len() as f64 {
            self.next_fit = refit * scores.len() as f64;
            self.fit(scores);
            self.factor.clear();
            pool.candidates.iter_mut().for_each(|it| it.solved.clear());
        }
        let kernel = self.beliefs.kernel();
        for row in &self.alike[self.factor.len()..] {
            extend(&mut self.factor, row, &kernel);
        }
    }

    /// Beliefs of higher marginal likelihood: each is moved up and down in turn, in steps that shrink.
    fn fit(&mut self, scores: &[f64]) {
        let mut least = self.surprise(&self.beliefs, scores);
        for step in [1.0, 0.6] {
            for nth in 0..self.beliefs.each().len() {
                for step in [step, -step] {
                    let mut moved = self.beliefs;
                    *moved.each()[nth] += step;
                    let surprise = self.surprise(&moved, scores);
                    if surprise < least {
                        (least, self.beliefs) = (surprise, moved);
                        break;
                    }
                }
            }
        }
    }

    /// The negative logarithm of the likelihood of `scores`, at the scale that makes it smallest, and of the beliefs
    /// themselves: a handful of networks is no reason to move far.
    fn surprise(&self, beliefs: &Beliefs, scores: &[f64]) -> f64 {
        let kernel = beliefs.kernel();
        let mut factor = Vec::with_capacity(scores.len());
        self.alike.iter().for_each(|row| extend(&mut factor, row, &kernel));
        let n = scores.len() as f64;
        let residuals = forward(&factor, scores);
        let determinant: f64 = factor.iter().filter_map(|row| row.last()).map(|it| it.ln()).sum();
        let moved = |(a, b): (&mut f64, &mut f64)| (*a - *b).powi(2);
        let far: f64 = { *beliefs }.each().into_iter().zip(Beliefs::default().each()).map(moved).sum();
        0.5 * n * (dot(&residuals, &residuals) / n).max(f64::MIN_POSITIVE).ln() + determinant + STIFFNESS * far
    }

    /// Expected improvement of each candidate that may be trained.
    pub(super) fn gains<S: SearchSpace>(&self, pool: &mut Pool<'_, S>, scores: &[f64]) -> Vec<(usize, f64)> {
        let kernel = self.beliefs.kernel();
        let units = self.units.expect("it has learned");
        let residuals = forward(&self.factor, scores);
        // Where all are equal the least known comes first.
        let scale = (dot(&residuals, &residuals) / scores.len() as f64).sqrt().max(1e-9);
        let best = scores.iter().copied().fold(f64::MIN, f64::max);
        let mut gains = Vec::new();
        for idx in 0..pool.candidates.len() {
            if pool.candidates[idx].state != State::Open {
                continue;
            }
            for nth in pool.candidates[idx].alike.len()..scores.len() {
                let alike = pool.alike(idx, nth, &units);
                pool.candidates[idx].alike.push(alike);
            }
            let Candidate { alike, solved, sight, .. } = &mut pool.candidates[idx];
            for nth in solved.len()..scores.len() {
                let row = &self.factor[nth];
                let rest = kernel.of(&alike[nth]) - dot(&row[..nth], solved);
                solved.push(rest / row[nth]);
            }
            // The counts have length 1, if there are any.
            let itself = Alike { answers: 0.0, sizes: 0.0, patterns: f64::from(!sight.patterns.is_empty()) };
            let variance = kernel.of(&itself) - dot(solved, solved);
            let deviation = scale * variance.max(1e-9).sqrt();
            let ahead = (dot(solved, &residuals) - best) / deviation;
            // Where no gain is to be expected the one nearest to it comes first.
            let gain = deviation * (ahead * normal_cdf(ahead) + normal_density(ahead)) + 1e-12 * ahead;
            gains.push((idx, gain));
        }
        gains
    }
}

/// Weight of the squared distance of beliefs from those at the start.
const STIFFNESS: f64 = 0.05;

/// Adds a row to a Cholesky factor. What would make the covariances singular counts as a little more luck.
fn extend(factor: &mut Vec<Vec<f64>>, alike: &[Alike], kernel: &Kernel) {
    let (itself, others) = alike.split_last().expect("it is like itself");
    let mut row: Vec<f64> = Vec::with_capacity(alike.len());
    for (other, alike) in factor.iter().zip(others) {
        let rest = kernel.of(alike) - dot(&other[..row.len()], &row);
        row.push(rest / other[row.len()]);
    }
    let rest = kernel.of(itself) + kernel.noise - dot(&row, &row);
    row.push(rest.max(1e-9).sqrt());
    factor.push(row);
}

/// `L^-1 y`.
fn forward(factor: &[Vec<f64>], scores: &[f64]) -> Vec<f64> {
    let mut solved = Vec::with_capacity(scores.len());
    for (row, score) in factor.iter().zip(scores) {
        let rest = score - dot(&row[..solved.len()], &solved);
        solved.push(rest / row[solved.len()]);
    }
    solved
}

/// In four sums side by side, which the processor adds at once.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a, b) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_that_of_the_covariances() {
        let kernel = Beliefs::default().kernel();
        let at = [0.0, 0.5, 3.0];
        let alike = |a: f64, b: f64| Alike { answers: (a - b).abs() / 3.0, sizes: (a - b).abs(), patterns: 1.0 };
        let mut factor = Vec::new();
        for (nth, &a) in at.iter().enumerate() {
            let row: Vec<Alike> = at[..=nth].iter().map(|&b| alike(a, b)).collect();
            extend(&mut factor, &row, &kernel);
        }
        for (i, &a) in at.iter().enumerate() {
            for (j, &b) in at[..=i].iter().enumerate() {
                let product: f64 = factor[i].iter().zip(&factor[j]).map(|(x, y)| x * y).sum();
                let expected = kernel.of(&alike(a, b)) + if i == j { kernel.noise } else { 0.0 };
                assert!((product - expected).abs() < 1e-12, "{i}, {j}: {product}, not {expected}");
            }
        }
        let solved = forward(&factor, &[1.0, 2.0, 3.0]);
        let back: f64 = factor[2].iter().zip(&solved).map(|(x, y)| x * y).sum();
        assert!((back - 3.0).abs() < 1e-12);
    }
}
