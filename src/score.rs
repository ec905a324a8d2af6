//! How good a network is, as receipts say it.

use ::data::{Tally, Task};
use search::space::Scale;
use serde::{Deserialize, Serialize};

/// An accuracy as a count of images or clips, or of pixels with what else is said of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Images, clips or pixels classified right.
    pub right: usize,
    /// Images, clips or pixels asked.
    pub of: usize,
    /// Where pixels are asked about: what networks are then compared by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<Pixels>,
}

/// What is said of a network that tells the class of each pixel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pixels {
    /// Mean intersection over union of the classes that occur, in `[0, 1]`.
    pub mean_iou: f64,
    /// Images that the pixels are of.
    pub images: usize,
}

/// What a network is asked about: clips where it makes features of samples itself, images elsewhere.
pub fn noun(scale: &Scale) -> &'static str {
    if scale.front_end.is_some() { "clips" } else { "images" }
}

impl Score {
    /// Right answers for whole images or clips.
    pub fn of_images(right: usize, of: usize) -> Self {
        Self { right, of, pixels: None }
    }

    /// What is known of a network by its accuracy alone, over `n` images or clips: while searching, answers are not kept.
    pub fn of_share(task: Task, accuracy: f64, n: usize) -> Self {
        let pixels = (task == Task::Segmentation).then_some(Pixels { mean_iou: accuracy, images: n });
        Self { pixels, ..Self::of_images((accuracy * n as f64).round() as usize, n) }
    }

    /// What was counted over this many images of `task`.
    pub fn new(task: Task, tally: &Tally, images: usize) -> Self {
        let pixels = (task == Task::Segmentation).then(|| Pixels { mean_iou: tally.mean_iou(), images });
        Self { right: tally.right(), of: tally.asked(), pixels }
    }

    /// What networks are compared by, in `[0, 1]`: the share of right answers, or the mean intersection over union.
    pub fn accuracy(self) -> f64 {
        match self.pixels {
            Some(pixels) => pixels.mean_iou,
            None if self.of == 0 => 0.0,
            None => self.right as f64 / self.of as f64,
        }
    }

    /// What that is called.
    pub fn measure(self) -> &'static str {
        let task = if self.pixels.is_some() { Task::Segmentation } else { Task::Classification };
        task.measure()
    }

    /// Independent answers: images or clips, for pixels of one image are not independent.
    pub fn n(self) -> usize {
        self.pixels.map_or(self.of, |pixels| pixels.images)
    }

    /// Whether a machine that counts again finds the same: to a hundredth of a point of pixels, of which rounding may turn a
    /// few.
    pub fn agrees_with(self, promised: Self) -> bool {
        match (self.pixels, promised.pixels) {
            (Some(found), Some(promised)) => {
                found.images == promised.images && (found.mean_iou - promised.mean_iou).abs() <= 1e-4
            }
            _ => self == promised,
        }
    }

    /// Whether this is ahead of `other` by more than two standard errors of the difference (binomial): more than the
    /// choice of images explains.
    pub fn is_ahead_of(self, other: Self) -> bool {
        2.0 * self.standard_error_of_difference(other) < self.accuracy() - other.accuracy()
    }

    /// Whether guessing among `n_classes` could have scored as well: within two standard errors of a guess's accuracy.
    pub fn may_be_chance(self, n_classes: usize) -> bool {
        let guess = 1.0 / n_classes.max(1) as f64;
        self.accuracy() <= guess + 2.0 * (guess * (1.0 - guess) / self.n().max(1) as f64).sqrt()
    }

    /// Of the difference between two accuracies, each of images chosen independently (binomial). No mean of what lies
    /// between 0 and 1 varies more, so that it is an upper bound where an image's own score is not 0 or 1.
    pub fn standard_error_of_difference(self, other: Self) -> f64 {
        let of_one = |score: Self| {
            let share = score.accuracy();
            (share * (1.0 - share) / score.n().max(1) as f64).sqrt()
        };
        of_one(self).hypot(of_one(other))
    }

    /// In words, for a network of this size: `78.67 % (472 of 600 images)`.
    pub fn in_words(self, scale: &Scale) -> String {
        match self.pixels {
            Some(_) => self.to_string(),
            None => format!("{:.2} % ({} of {} {})", 100.0 * self.accuracy(), self.right, self.of, noun(scale)),
        }
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { right, of, pixels } = *self;
        let accuracy = 100.0 * self.accuracy();
        match pixels {
            Some(Pixels { images, .. }) => {
                let share = 100.0 * right as f64 / of.max(1) as f64;
                write!(f, "{accuracy:.2} % ({share:.2} % of the pixels of {images} images right)")
            }
            None => write!(f, "{accuracy:.2} % ({right} of {of})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ahead_is_more_than_chance() {
        let of_1000 = |right| Score::of_images(right, 1_000);
        for (a, b, ahead) in [(650, 600, true), (640, 600, false), (600, 650, false), (600, 600, false)] {
            assert_eq!(of_1000(a).is_ahead_of(of_1000(b)), ahead, "{a} {b}");
        }
        // Of 10 classes and 200 images a guess has 20 right, give or take 4.2.
        for (right, chance) in [(10, true), (24, true), (28, true), (29, false)] {
            assert_eq!(Score::of_images(right, 200).may_be_chance(10), chance, "{right}");
        }
        assert!(!Score::of_images(0, 0).is_ahead_of(of_1000(0)), "no image says nothing");
    }
}
