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
    /// Share of the paths within cells that are left out for an image in the last step, rising in a straight line from
    /// none (ScheduledDropPath of NASNet). Those that identities pass on stay.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drop_path: f64,
    /// Weight of the loss of a second classifier behind the second reduction, which does not ship; 0 is none. Networks
    /// that are no stack of cells have none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub second_classifier: f64,
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
    /// Share of the features of each word that is dropped before a recurrent network reads it, the same ones in a whole
    /// segment; what the classifier reads is dropped by `dropout_keep`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drop_input: f64,
    /// Share of what a recurrent network remembers that is dropped at each step, the same in a whole segment.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drop_state: f64,
    /// Weight of how much what the classifier reads changes from word to word: the mean of the squares (slowness, or
    /// temporal activation regularisation, S. Merity, B. McCann and R. Socher, 2017).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slowness: f64,
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
            drop_path: 0.0,
            second_classifier: 0.0,
            label_smoothing: 0.0,
            spare_norms: false,
            average: 0.0,
            cutout: 0.0,
            drop_input: 0.0,
            drop_state: 0.0,
            slowness: 0.0,
        }
    }

    /// The same for another number of epochs: the learning rate falls to the end as it would have.
    #[must_use]
    pub fn stretched(&self, epochs: usize) -> Self {
        let factor = epochs as f64 / self.epochs as f64;
        let mut recipe = Self { epochs, ..self.clone() };
        recipe.schedule.period *= factor;
        recipe.schedule.warmup *= factor;
        recipe.schedule.drops = recipe.schedule.drops.map(|drops| drops.map(|it| it * factor));
        recipe
    }

    /// As language models of Penn TreeBank are trained (DARTS's search): plain gradient descent at a rate of 20, gradients
    /// clipped at a norm of 0.25, L2 of 5e-7, slowness of 1e-3. The rate falls along a cosine, where the paper averages
    /// weights: a reconstruction.
    pub fn words(epochs: usize, batch: usize) -> Self {
        let schedule = Schedule { max: 20.0, min: 0.5, period: epochs as f64, growth: 1.0, warmup: 0.0, drops: None };
        let published = Self::published(epochs, batch, schedule);
        Self { momentum: 0.0, weight_decay: 5e-7, clip: 0.25, slowness: 1e-3, ..published }
    }

    /// The same with what DARTS drops out in its final training, and its L2 of 8e-7 there.
    #[must_use]
    pub fn with_dropout(self) -> Self {
        Self { drop_input: 0.65, drop_state: 0.25, dropout_keep: 0.25, weight_decay: 8e-7, ..self }
    }

    /// Our own, for few epochs: one cycle of the learning rate (L. N. Smith and N. Topin, 2018), small batches, label
    /// smoothing, no decay of norms and biases, and an average of the last steps' weights. Small sets gain the most from
    /// the batch of 16; cutout, a setting like the others, is left out, because in so few epochs it costs more than it
    /// gives: `docs/results/recipe.md`.
    pub fn one_cycle(epochs: usize) -> Self {
        let period = epochs as f64;
        let schedule = Schedule { max: 0.2, min: 0.0, period, growth: 1.0, warmup: 0.25 * period, drops: None };
        Self {
            weight_decay: 5e-4,
            label_smoothing: 0.1,
            spare_norms: true,
            average: 0.98,
            ..Self::published(epochs, 16, schedule)
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Cosine annealing with warm restarts (Loshchilov and Hutter, SGDR): from `max` to `min` within
/// `period` epochs, then again with a period `growth` times as long. A period of all epochs is
/// plain cosine annealing. Or steps: see [`Schedule::steps`].
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
    /// Epochs at each of which the rate falls to a tenth, from `max` on; there is no annealing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drops: Option<[f64; 3]>,
}

impl Schedule {
    /// `max`, and a tenth of what it was at each of these epochs.
    pub fn steps(max: f64, drops: [f64; 3]) -> Self {
        Self { max, min: 1e-3 * max, period: drops[2], growth: 1.0, warmup: 0.0, drops: Some(drops) }
    }

    /// Learning rate after `epoch` epochs, a fraction where an epoch is under way.
    pub fn at(&self, epoch: f64) -> f64 {
        let rate = match self.drops {
            Some(drops) => self.max * 0.1_f64.powi(drops.iter().filter(|it| **it <= epoch).count() as i32),
            None => self.cosine(epoch),
        };
        if epoch < self.warmup { rate * (epoch + 1e-3) / self.warmup } else { rate }
    }

    fn cosine(&self, epoch: f64) -> f64 {
        let (mut start, mut period) = (0.0, self.period.max(f64::MIN_POSITIVE));
        while start + period <= epoch && self.growth >= 1.0 {
            start += period;
            period *= self.growth;
        }
        let phase = ((epoch - start) / period).min(1.0);
        self.min + 0.5 * (self.max - self.min) * (1.0 + (std::f64::consts::PI * phase).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sgdr_restarts_at_10_30_70_and_150() {
        let schedule = Schedule { max: 0.05, min: 0.001, period: 10.0, growth: 2.0, warmup: 0.0, drops: None };
        for restart in [0.0, 10.0, 30.0, 70.0, 150.0] {
            assert_eq!(schedule.at(restart), 0.05, "at {restart}");
            if restart > 0.0 {
                assert!(schedule.at(restart - 1e-6) < 0.0011, "before {restart}");
            }
        }
        assert!((schedule.at(5.0) - 0.0255).abs() < 1e-12, "half way down");
    }

    /// RCAS's search: a rate of 0.1 for 10 epochs, a tenth of it at 4, 7 and 9.
    #[test]
    fn steps_are_a_tenth_each() {
        let rates = |schedule: Schedule, epochs: [f64; 6]| epochs.map(|it| (1e6 * schedule.at(it)).round());
        let schedule = Schedule::steps(0.1, [4.0, 7.0, 9.0]);
        assert_eq!(rates(schedule, [0.0, 3.999, 4.0, 7.0, 9.0, 10.0]), [1e5, 1e5, 1e4, 1e3, 1e2, 1e2]);
        let twice = Recipe::published(10, 64, schedule).stretched(20).schedule;
        assert_eq!(rates(twice, [0.0, 7.999, 8.0, 14.0, 18.0, 20.0]), [1e5, 1e5, 1e4, 1e3, 1e2, 1e2]);
    }

    #[test]
    fn one_period_is_plain_cosine_with_warmup() {
        let schedule = Schedule { max: 0.1, min: 0.0, period: 20.0, growth: 2.0, warmup: 2.0, drops: None };
        assert!(schedule.at(0.0) < 0.001 && schedule.at(1.0) < schedule.at(2.0));
        assert!((schedule.at(10.0) - 0.05).abs() < 1e-12);
    }
}
