//! What a network is asked about a record, and how its answers are scored. Whatever the task, a network chooses one class
//! for each of a record's places: one for a whole image or clip, one for each pixel of a scene, one for each word of a
//! text. Strategies know nothing of tasks: they see the score.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Part;

/// What is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// The class of an image or clip; scored by accuracy.
    #[default]
    Classification,
    /// The class of each pixel; scored by the mean intersection over union of the classes.
    Segmentation,
    /// The next word after each word; scored by the geometric mean of the probability that the right ones were given, which
    /// is 1 / perplexity.
    Language,
}

/// The label of a place whose class nobody knows: nothing is learned there, and no answer counts.
pub const IGNORED: u32 = u32::MAX;

impl Task {
    /// Places of a record of this shape, each of which gets a class.
    pub fn places(self, [_, height, width]: [usize; 3]) -> usize {
        match self {
            Self::Classification => 1,
            Self::Segmentation => height * width,
            Self::Language => width,
        }
    }

    /// What is told of its score: the score itself in percent, or the perplexity that it is one over.
    pub fn measure(self) -> &'static str {
        match self {
            Self::Classification => "accuracy",
            Self::Segmentation => "mean IoU",
            Self::Language => "perplexity",
        }
    }

    /// A score as the number that is told: itself, or the perplexity that it is one over.
    pub fn value(self, score: f64) -> f64 {
        match self {
            Self::Classification | Self::Segmentation => score,
            Self::Language => 1.0 / score,
        }
    }

    /// A score as it is told, without the name: `78.7 %`, and `69.5` of a perplexity.
    pub fn told(self, score: f64, decimals: usize) -> String {
        let value = self.value(score);
        match self {
            Self::Classification | Self::Segmentation => format!("{:.decimals$} %", 100.0 * value),
            Self::Language => format!("{value:.decimals$}"),
        }
    }

    /// The same where nothing beside it says what it is: `78.7 %`, and `perplexity 69.5`.
    pub fn told_alone(self, score: f64, decimals: usize) -> String {
        let told = self.told(score, decimals);
        match self {
            Self::Classification | Self::Segmentation => told,
            Self::Language => format!("{} {told}", self.measure()),
        }
    }
}

/// Answers, counted. Tallies of parts add up to the tally of the whole, in any order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    task: Task,
    /// Places with a known class.
    asked: u64,
    right: u64,
    /// Of segmentation `[classes, classes]`: how often a class was answered (column) where another was right (row).
    confusion: Vec<u64>,
    /// Of language: minus the logarithm of the probability of each right word, summed.
    nats: f64,
    /// The sum of their squares: how much words differ in that.
    #[serde(default)]
    nats_squared: f64,
}

impl Tally {
    /// Nothing asked yet.
    pub fn new(task: Task, n_classes: usize) -> Self {
        let confusion = if task == Task::Segmentation { vec![0; n_classes * n_classes] } else { Vec::new() };
        Self { task, asked: 0, right: 0, confusion, nats: 0.0, nats_squared: 0.0 }
    }

    /// Nothing asked yet of the networks that learn from `part`.
    pub fn of(part: &Part) -> Self {
        Self::new(part.task, part.classes.len())
    }

    /// Counts an answer for each place; ignored ones do not count.
    pub fn add(&mut self, guesses: impl IntoIterator<Item = usize>, labels: &[u32]) {
        let n_classes = self.confusion.len().isqrt();
        for (guess, &label) in guesses.into_iter().zip(labels).filter(|&(_, &label)| label != IGNORED) {
            let label = label as usize;
            self.asked += 1;
            self.right += u64::from(guess == label);
            if let Some(count) = self.confusion.get_mut(label * n_classes + guess) {
                *count += 1;
            }
        }
    }

    /// Adds minus the logarithms of the probabilities of right answers, one a place.
    pub fn add_nats(&mut self, nats: impl IntoIterator<Item = f64>) {
        for nats in nats {
            self.nats += nats;
            self.nats_squared += nats * nats;
        }
    }

    /// Adds the answers of another tally of the same task.
    pub fn merge(&mut self, other: &Self) {
        self.asked += other.asked;
        self.right += other.right;
        self.nats += other.nats;
        self.nats_squared += other.nats_squared;
        self.confusion.iter_mut().zip(&other.confusion).for_each(|(sum, count)| *sum += count);
    }

    /// What was asked.
    pub fn task(&self) -> Task {
        self.task
    }

    /// Places that were asked about and have a known class.
    pub fn asked(&self) -> usize {
        self.asked as usize
    }

    /// Right answers.
    pub fn right(&self) -> usize {
        self.right as usize
    }

    /// Minus the logarithms of the probabilities of right answers, summed, and the sum of their squares.
    pub fn nats(&self) -> [f64; 2] {
        [self.nats, self.nats_squared]
    }

    /// What networks are compared by, in `[0, 1]`, more is better: the share of right answers, the mean intersection over
    /// union, or one over the perplexity. 0 where nothing was asked.
    pub fn score(&self) -> f64 {
        match self.task {
            _ if self.asked == 0 => 0.0,
            Task::Classification => self.right as f64 / self.asked as f64,
            Task::Segmentation => self.mean_iou(),
            // A network whose numbers are none knows nothing.
            Task::Language if !self.nats.is_finite() => 0.0,
            Task::Language => 1.0 / self.perplexity(),
        }
    }

    /// Of each class, the places that are of it and were called so, over those that are of it or were called so; `None`
    /// where there are none of either.
    pub fn iou(&self) -> Vec<Option<f64>> {
        let n = self.confusion.len().isqrt();
        let count = |label: usize, guess: usize| self.confusion[label * n + guess];
        let of = |class: usize| {
            let both = count(class, class);
            let either = (0..n).map(|other| count(class, other) + count(other, class)).sum::<u64>() - both;
            (0 < either).then(|| both as f64 / either as f64)
        };
        (0..n).map(of).collect()
    }

    /// The mean of [`Tally::iou`] over the classes that occur.
    pub fn mean_iou(&self) -> f64 {
        let known: Vec<f64> = self.iou().into_iter().flatten().collect();
        known.iter().sum::<f64>() / known.len().max(1) as f64
    }

    /// The exponential of the mean of the added logarithms: how many words the network wavered between.
    pub fn perplexity(&self) -> f64 {
        (self.nats / self.asked.max(1) as f64).exp()
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classification => "classification",
            Self::Segmentation => "segmentation",
            Self::Language => "language modelling",
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { right, asked, .. } = self;
        match self.task {
            Task::Classification => write!(f, "{:.2} % ({right} of {asked})", 100.0 * self.score()),
            Task::Segmentation => {
                let pixels = 100.0 * *right as f64 / (*asked).max(1) as f64;
                write!(f, "{:.2} % mean IoU ({pixels:.2} % of {asked} pixels right)", 100.0 * self.mean_iou())
            }
            Task::Language => write!(f, "perplexity {:.2} over {asked} words", self.perplexity()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_scored_by_what_overlaps() {
        let mut tally = Tally::new(Task::Segmentation, 3);
        // Of class 0 three pixels, two found and one taken for 1; of class 1 one, found; nothing of class 2.
        tally.add([0, 0, 1, 1, 2], &[0, 0, 0, 1, IGNORED]);
        assert_eq!(tally.iou(), [Some(2.0 / 3.0), Some(1.0 / 2.0), None]);
        assert_eq!((tally.right(), tally.asked()), (3, 4));
        assert!((tally.score() - 7.0 / 12.0).abs() < 1e-12, "{}", tally.score());
        assert_eq!(tally.to_string(), "58.33 % mean IoU (75.00 % of 4 pixels right)");
    }

    #[test]
    fn words_are_scored_by_their_probability() {
        let mut tally = Tally::new(Task::Language, 4);
        tally.add([1, 2], &[1, 3]);
        tally.add_nats([4.0_f64.ln(); 2]);
        assert!((tally.score() - 0.25).abs() < 1e-12, "{}", tally.score());
        assert_eq!(tally.to_string(), "perplexity 4.00 over 2 words");
        assert_eq!(tally.nats(), [2.0 * 4.0_f64.ln(), 2.0 * 4.0_f64.ln().powi(2)]);
        for (task, told) in [(Task::Classification, "25.0 %"), (Task::Segmentation, "25.0 %"), (Task::Language, "4.0")]
        {
            assert_eq!(task.told(0.25, 1), told);
        }
    }

    #[test]
    fn parts_add_up() {
        for task in [Task::Classification, Task::Segmentation, Task::Language] {
            let (mut whole, mut sum, mut part) = (Tally::new(task, 3), Tally::new(task, 3), Tally::new(task, 3));
            whole.add([0, 1, 2, 2], &[0, 1, 1, 2]);
            sum.add([0, 1], &[0, 1]);
            part.add([2, 2], &[1, 2]);
            sum.merge(&part);
            assert_eq!(sum, whole);
        }
        assert_eq!(Tally::new(Task::Classification, 2).score(), 0.0, "nothing was asked");
    }
}
