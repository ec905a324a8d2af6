//! How weights are trained: batch, learning rate, regularisation.

use serde::{Deserialize, Serialize};

/// Settings of one training. Stochastic gradient descent with Nesterov momentum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Learning rate over time.
    pub schedule: Schedule,
    /// Nesterov momentum, in `[0, 1)`.
    pub momentum: f64,
    /// L2 regularisation, added to the gradient of every trained parameter.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; a larger one is scaled down.
    pub clip: f64,
    /// Share of features that dropout keeps before the classifier; 1 keeps all.
    pub dropout_keep: f64,
    /// Share of each label's weight spread over all classes.
    pub label_smoothing: f64,
    /// Whether batch norm and biases are spared from `weight_decay`.
    #[serde(default)]
    pub spare_norms: bool,
    /// Decay, a step, of the moving average of all weights; the average is what is scored and shipped. 0 is none: the
    /// weights themselves.
    #[serde(default)]
    pub average: f64,
    /// Side of the square that is blanked out of each training image (cutout), as a share of the image's shorter
    /// side; 0 blanks nothing.
    #[serde(default)]
    pub cutout: f64,
}

impl Recipe {
    /// As the papers train: momentum 0.9, L2 of 1e-4 on everything, gradients clipped at a norm of 5 (ENAS's script).
    pub fn published(epochs: usize, batch: usize, schedule: Schedule) -> Self {
        Self {
            epochs,
            batch,
            schedule,
            momentum: 0.9,
            weight_decay: 1e-4,
            clip: 5.0,
            dropout_keep: 1.0,
            label_smoothing: 0.0,
            spare_norms: false,
            average: 0.0,
            cutout: 0.0,
        }
    }

    /// The same for another number of epochs: the learning rate falls to the end as it would have.
    #[must_use]
    pub fn stretched(&self, epochs: usize) -> Self {
        let factor = epochs as f64 / self.epochs as f64;
        let mut recipe = Self { epochs, ..self.clone() };
        recipe.schedule.period *= factor;
        recipe.schedule.warmup *= factor;
        recipe
    }

    /// Our own, for few epochs: one cycle of the learning rate (L. N. Smith and N. Topin, 2018), small batches, label
    /// smoothing, no decay of norms and biases, and an average of the last steps' weights. Small sets gain the most from
    /// the batch of 16; cutout, a setting like the others, is left out, because in so few epochs it costs more than it
    /// gives: `docs/results/recipe.md`.
    pub fn one_cycle(epochs: usize) -> Self {
        let period = epochs as f64;
        let schedule = Schedule { max: 0.2, min: 0.0, period, growth: 1.0, warmup: 0.25 * period };
        Self {
            weight_decay: 5e-4,
            label_smoothing: 0.1,
            spare_norms: true,
            average: 0.98,
            ..Self::published(epochs, 16, schedule)
        }
    }
}

/// Cosine annealing with warm restarts (Loshchilov and Hutter, SGDR): from `max` to `min` within
/// `period` epochs, then again with a period `growth` times as long. A period of all epochs is
/// plain cosine annealing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Highest learning rate.
    pub max: f64,
    /// Lowest learning rate.
    pub min: f64,
    /// `T_0`: epochs to the first restart.
    pub period: f64,
    /// `T_mul`: growth of the period at each restart.
    pub growth: f64,
    /// Epochs of linear warm-up from zero, within the first period.
    pub warmup: f64,
}

impl Schedule {
    /// Learning rate after `epoch` epochs, a fraction where an epoch is under way.
    pub fn at(&self, epoch: f64) -> f64 {
        let (mut start, mut period) = (0.0, self.period.max(f64::MIN_POSITIVE));
        while start + period <= epoch && self.growth >= 1.0 {
            start += period;
            period *= self.growth;
        }
        let phase = ((epoch - start) / period).min(1.0);
        let cosine = self.min + 0.5 * (self.max - self.min) * (1.0 + (std::f64::consts::PI * phase).cos());
        if epoch < self.warmup { cosine * (epoch + 1e-3) / self.warmup } else { cosine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sgdr_restarts_at_10_30_70_and_150() {
        let schedule = Schedule { max: 0.05, min: 0.001, period: 10.0, growth: 2.0, warmup: 0.0 };
        for restart in [0.0, 10.0, 30.0, 70.0, 150.0] {
            assert_eq!(schedule.at(restart), 0.05, "at {restart}");
            if restart > 0.0 {
                assert!(schedule.at(restart - 1e-6) < 0.0011, "before {restart}");
            }
        }
        assert!((schedule.at(5.0) - 0.0255).abs() < 1e-12, "half way down");
    }

    #[test]
    fn one_period_is_plain_cosine_with_warmup() {
        let schedule = Schedule { max: 0.1, min: 0.0, period: 20.0, growth: 2.0, warmup: 2.0 };
        assert!(schedule.at(0.0) < 0.001 && schedule.at(1.0) < schedule.at(2.0));
        assert!((schedule.at(10.0) - 0.05).abs() < 1e-12);
    }
}
