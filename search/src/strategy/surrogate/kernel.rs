//! How alike networks are, and the covariance that follows from it.

use super::sight::N_SIZES;

/// Three ways in which two networks are alike.
#[derive(Clone, Copy)]
pub(super) struct Alike {
    /// Share of the answers that differ.
    pub(super) answers: f64,
    /// Distance of the sizes, each in units of its spread.
    pub(super) sizes: f64,
    /// Cosine of the counts of patterns.
    pub(super) patterns: f64,
}

/// How far each size varies.
pub(super) type Units = [f64; N_SIZES];

/// Hyper-parameters, as logarithms.
#[derive(Clone, Copy)]
pub(super) struct Beliefs {
    /// Weights of answers, sizes and patterns.
    weights: [f64; 3],
    /// Variance of luck.
    noise: f64,
    /// Share of the answers over which covariance decays.
    answers: f64,
    /// Distance of the sizes over which it decays.
    sizes: f64,
}

impl Default for Beliefs {
    /// What is believed before anything was trained.
    fn default() -> Self {
        Self { weights: [0.0; 3], noise: -1.0, answers: -0.8, sizes: 1.0 }
    }
}

impl Beliefs {
    pub(super) fn each(&mut self) -> [&mut f64; 6] {
        let [a, b, c] = &mut self.weights;
        [a, b, c, &mut self.noise, &mut self.answers, &mut self.sizes]
    }

    pub(super) fn kernel(&self) -> Kernel {
        let Self { weights, noise, answers, sizes } = *self;
        Kernel { weights: weights.map(f64::exp), noise: noise.exp(), answers: answers.exp(), sizes: sizes.exp() }
    }
}

/// [`Beliefs`] as they are multiplied with.
pub(super) struct Kernel {
    weights: [f64; 3],
    pub(super) noise: f64,
    answers: f64,
    sizes: f64,
}

impl Kernel {
    /// Covariance: exponential in the answers that differ, Matern's with 5/2 in the sizes, linear in the patterns.
    pub(super) fn of(&self, alike: &Alike) -> f64 {
        let r = 5_f64.sqrt() * alike.sizes / self.sizes;
        let by_answers = (-alike.answers / self.answers).exp();
        let by_sizes = (1.0 + r + r * r / 3.0) * (-r).exp();
        self.weights[0] * by_answers + self.weights[1] * by_sizes + self.weights[2] * alike.patterns
    }
}
