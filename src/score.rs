//! How good a network is, as receipts say it.

use ::data::{Tally, Task};
use search::space::Scale;
use serde::{Deserialize, Serialize};

/// How good a network was on a part, with what is needed to say how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Images, clips, pixels or words classified right.
    pub right: usize,
    /// Images, clips, pixels or words asked.
    pub of: usize,
    /// Where pixels are asked about: what networks are then compared by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<Pixels>,
    /// Where words are asked about: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Words>,
}

/// What is said of a network that tells the class of each pixel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pixels {
    /// Mean intersection over union of the classes that occur, in `[0, 1]`.
    pub mean_iou: f64,
    /// Images that the pixels are of.
    pub images: usize,
}

/// What is said of a network that tells the next word.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Words {
    /// Minus the logarithm of the probability of each word that came, in nats, summed.
    pub nats: f64,
    /// The sum of their squares.
    pub nats_squared: f64,
}

/// What a network is asked about: clips where it makes features of samples itself, words of a text, images elsewhere.
pub fn noun(scale: &Scale) -> &'static str {
    match scale.task {
        Task::Language => "words",
        Task::Classification | Task::Segmentation if scale.front_end.is_some() => "clips",
        Task::Classification | Task::Segmentation => "images",
    }
}

/// What its training goes through: segments of a text, and elsewhere what it is asked about.
pub fn records(scale: &Scale) -> &'static str {
    if scale.task == Task::Language { "segments" } else { noun(scale) }
}

impl Score {
    /// Right answers for whole images or clips.
    pub fn of_images(right: usize, of: usize) -> Self {
        Self { right, of, pixels: None, words: None }
    }

    /// What is known of a network by its score alone, over `n` records: while searching, answers are not kept.
    pub fn of_share(task: Task, score: f64, n: usize) -> Self {
        let nats = -score.ln() * n as f64;
        let pixels = (task == Task::Segmentation).then_some(Pixels { mean_iou: score, images: n });
        let words = (task == Task::Language).then_some(Words { nats, nats_squared: nats * nats / n as f64 });
        Self { pixels, words, ..Self::of_images((score * n as f64).round() as usize, n) }
    }

    /// What was counted over this many records of `task`.
    pub fn new(task: Task, tally: &Tally, records: usize) -> Self {
        let [nats, nats_squared] = tally.nats();
        Self {
            right: tally.right(),
            of: tally.asked(),
            pixels: (task == Task::Segmentation).then(|| Pixels { mean_iou: tally.mean_iou(), images: records }),
            words: (task == Task::Language).then_some(Words { nats, nats_squared }),
        }
    }

    /// What was asked.
    pub fn task(self) -> Task {
        match (self.pixels, self.words) {
            (Some(_), _) => Task::Segmentation,
            (None, Some(_)) => Task::Language,
            (None, None) => Task::Classification,
        }
    }

    /// What networks are compared by, in `[0, 1]`: the share of right answers, the mean intersection over union, or one over
    /// the perplexity.
    pub fn accuracy(self) -> f64 {
        match (self.pixels, self.words) {
            (Some(pixels), _) => pixels.mean_iou,
            (None, _) if self.of == 0 => 0.0,
            (None, Some(words)) if words.nats.is_finite() => (-words.nats / self.of as f64).exp(),
            (None, Some(_)) => 0.0,
            (None, None) => self.right as f64 / self.of as f64,
        }
    }

    /// What is told of that.
    pub fn measure(self) -> &'static str {
        self.task().measure()
    }

    /// As it is told, without the name.
    pub fn told(self, decimals: usize) -> String {
        self.task().told(self.accuracy(), decimals)
    }

    /// Independent answers: images, clips or words, for pixels of one image are not independent.
    pub fn n(self) -> usize {
        self.pixels.map_or(self.of, |pixels| pixels.images)
    }

    /// Whether a machine that counts again finds the same: to a hundredth of a point of pixels, of which rounding may turn a
    /// few, and to a ten-thousandth of a perplexity.
    pub fn agrees_with(self, promised: Self) -> bool {
        match (self.task(), promised.task()) {
            (Task::Segmentation, Task::Segmentation) => {
                self.n() == promised.n() && (self.accuracy() - promised.accuracy()).abs() <= 1e-4
            }
            (Task::Language, Task::Language) => {
                self.n() == promised.n() && (self.accuracy() / promised.accuracy()).ln().abs() <= 1e-4
            }
            _ => self == promised,
        }
    }

    /// Whether this is ahead of `other` by more than two standard errors of the difference: more than the choice of images
    /// or words explains.
    pub fn is_ahead_of(self, other: Self) -> bool {
        2.0 * self.standard_error_of_lead(other) < self.lead(other)
    }

    /// Whether guessing among `n_classes` could have scored as well: within two standard errors of a guess's score.
    pub fn may_be_chance(self, n_classes: usize) -> bool {
        let guess = 1.0 / n_classes.max(1) as f64;
        match self.words {
            Some(_) => self.accuracy() <= guess || 1.0 / guess <= self.value() + 2.0 * self.standard_error(),
            None => self.accuracy() <= guess + 2.0 * (guess * (1.0 - guess) / self.n().max(1) as f64).sqrt(),
        }
    }

    /// How far this is ahead of `other`: in shares, or in perplexity.
    pub fn lead(self, other: Self) -> f64 {
        match self.words {
            Some(_) => other.value() - self.value(),
            None => self.value() - other.value(),
        }
    }

    /// Of that difference, as if each were of images or words chosen independently. No mean of what lies between 0 and 1
    /// varies more than the binomial one, so that it is an upper bound where an image's own score is not 0 or 1.
    pub fn standard_error_of_lead(self, other: Self) -> f64 {
        self.standard_error().hypot(other.standard_error())
    }

    /// A lead as it is told: `2.31 points`, or `2.31 in perplexity`.
    pub fn told_lead(self, lead: f64) -> String {
        match self.words {
            Some(_) => format!("{lead:.2} in perplexity"),
            None => format!("{:.2} points", 100.0 * lead),
        }
    }

    /// Half the width of the 95 % interval of the score as it is told, a share or a perplexity. Of shares by Wilson's score
    /// interval: it does not shrink to nothing where all answers are right.
    pub fn margin(self) -> f64 {
        const Z: f64 = 1.96;
        let n = self.n() as f64;
        match self.words {
            _ if self.n() == 0 => 1.0,
            Some(_) => Z * self.standard_error(),
            None => {
                let share = self.accuracy();
                Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt()
            }
        }
    }

    /// That in words.
    pub fn told_margin(self) -> String {
        match self.words {
            Some(_) => format!("{:.2}", self.margin()),
            None => format!("{:.2} %", 100.0 * self.margin()),
        }
    }

    /// A share, or a perplexity.
    fn value(self) -> f64 {
        self.task().value(self.accuracy())
    }

    /// Of [`Score::value`]: binomial, or by how much words differ.
    fn standard_error(self) -> f64 {
        let n = self.n().max(1) as f64;
        match self.words {
            Some(words) => {
                let mean = words.nats / n;
                let variance = (words.nats_squared / n - mean * mean).max(0.0);
                self.value() * (variance / n).sqrt()
            }
            None => (self.accuracy() * (1.0 - self.accuracy()) / n).sqrt(),
        }
    }

    /// In words, for a network of this size: `78.67 % (472 of 600 images)`.
    pub fn in_words(self, scale: &Scale) -> String {
        match self.task() {
            Task::Segmentation | Task::Language => self.to_string(),
            Task::Classification => format!("{} ({} of {} {})", self.told(2), self.right, self.of, noun(scale)),
        }
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { right, of, .. } = *self;
        let told = self.told(2);
        match self.task() {
            Task::Segmentation => {
                let share = 100.0 * right as f64 / of.max(1) as f64;
                write!(f, "{told} ({share:.2} % of the pixels of {} images right)", self.n())
            }
            Task::Language => write!(f, "{told} ({right} of {of} words right)"),
            Task::Classification => write!(f, "{told} ({right} of {of})"),
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

    /// A tally of words half of which had this probability, and half the other.
    fn words(n: usize, probabilities: [f64; 2]) -> Score {
        let mut tally = Tally::new(Task::Language, 100);
        tally.add((0..n).map(|_| 0), &vec![1; n]);
        tally.add_nats((0..n).map(|nth| -probabilities[nth % 2].ln()));
        Score::new(Task::Language, &tally, 1)
    }

    #[test]
    fn words_are_told_as_a_perplexity() {
        // The geometric mean of a quarter and a sixteenth is an eighth; ln 2 either way is the deviation.
        let score = words(10_000, [0.25, 0.0625]);
        assert_eq!((score.to_string().as_str(), score.measure()), ("8.00 (0 of 10000 words right)", "perplexity"));
        assert!((score.margin() - 1.96 * 8.0 * 2.0_f64.ln() / 100.0).abs() < 1e-9, "{}", score.margin());
        for (other, ahead) in [([0.24, 0.0625], true), ([0.249, 0.0625], false), ([0.26, 0.0625], false)] {
            let other = words(10_000, other);
            assert_eq!(score.is_ahead_of(other), ahead, "{other}");
            assert!(other.lead(score) + score.lead(other) == 0.0 && (0.0 < score.lead(other)) == (8.0 < other.value()));
        }
        assert_eq!(score.told_lead(words(10_000, [0.5, 0.125]).lead(score)), "4.00 in perplexity");
        assert!(
            score.agrees_with(words(10_000, [0.25001, 0.0625])) && !score.agrees_with(words(10_000, [0.251, 0.0625]))
        );
        assert!(!score.may_be_chance(100) && words(100, [0.01, 0.01]).may_be_chance(100));
        let searched = Score::of_share(Task::Language, 0.125, 40);
        assert_eq!(
            (searched.told(1).as_str(), searched.may_be_chance(8), searched.may_be_chance(9)),
            ("8.0", true, false)
        );
    }

    #[test]
    fn the_margin_is_wilsons() {
        let check = |right: usize, of: usize, expected: f64| {
            let margin = Score::of_images(right, of).margin();
            assert!((margin - expected).abs() < 5e-5, "{right} of {of}: {margin}");
        };
        // (centre ± half) of Wilson's interval for 81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I).
        check(81, 263, (0.3662 - 0.2553) / 2.0);
        // For 15 of 148: 0.0624 to 0.1605 (the same table).
        check(15, 148, (0.1605 - 0.0624) / 2.0);
        // For 0 of 20: 0 to 0.1611 (the same table).
        check(0, 20, 0.1611 / 2.0);
        check(0, 0, 1.0);
    }
}
