//! What a search asks for, in passes over images, and the time that follows from the pace of a few steps.

use std::ops::{Add, Mul};

use targets::stats::quantile;

use crate::{
    config::{SearchConfig, StrategyName},
    growth::{Growth, Work},
};

/// Something that is not known yet: what is expected, and between what it most likely lies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// What is expected.
    pub expected: f64,
    /// One of ten is below.
    pub low: f64,
    /// One of ten is above.
    pub high: f64,
}

impl Range {
    /// What is known.
    pub fn of(value: f64) -> Self {
        Self { expected: value, low: value, high: value }
    }

    /// The mean of many cases, and what lies between a tenth and nine tenths of them; nothing for none.
    pub fn among(mut cases: Vec<f64>) -> Self {
        cases.sort_by(f64::total_cmp);
        let at = |share| quantile(&cases, share).unwrap_or_default();
        Self { expected: cases.iter().sum::<f64>() / cases.len().max(1) as f64, low: at(0.1), high: at(0.9) }
    }

    /// The same, but no more than `most`.
    #[must_use]
    pub fn at_most(self, most: f64) -> Self {
        Self { expected: self.expected.min(most), low: self.low.min(most), high: self.high.min(most) }
    }
}

impl Add for Range {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { expected: self.expected + other.expected, low: self.low + other.low, high: self.high + other.high }
    }
}

impl Mul<f64> for Range {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self { expected: self.expected * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// Images of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// That weights learn from.
    pub train: usize,
    /// That choices are made by.
    pub validation: usize,
    /// That the final networks are judged by; only supposed, for the test part is not opened before.
    pub test: usize,
}

/// What steps of one size take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// CPU seconds of a step.
    pub step: Growth,
    /// A way forward alone, as a share of the step.
    pub forward: f64,
    /// Seconds of the clock on the wall for each CPU second.
    pub wall: f64,
    /// Images a step.
    pub batch: usize,
}

impl Pace {
    /// CPU seconds of a pass of training over `n` images; `unit` is the work of a step on one image.
    pub fn trains(&self, unit: Work, n: usize) -> f64 {
        self.step.seconds(unit.over(n.div_ceil(self.batch), n))
    }

    /// CPU seconds of a pass forward over `n` images.
    pub fn scores(&self, unit: Work, n: usize) -> f64 {
        self.forward * self.trains(unit, n)
    }
}

/// How far a controller has settled on small cells, from 0 to 1: on the mean over its search, and at its end.
///
/// Small cells learn fastest, so with few epochs they are rewarded most. That a controller is half-way after so much
/// learning (rounds times rate) lies between what two runs of the demo did; nobody knows before a search where it leads,
/// so this moves what is expected and not what is possible.
pub fn settled(config: &SearchConfig) -> (f64, f64) {
    const HALF_WAY: f64 = 0.5;
    let b_enas = &config.b_enas;
    let half_lives = (b_enas.epochs * b_enas.controller_steps) as f64 * b_enas.controller.lr / HALF_WAY;
    if config.strategy != StrategyName::BEnas || half_lives <= 0.0 {
        return (0.0, 0.0);
    }
    let left = 0.5_f64.powf(half_lives);
    // What ships is the best of the last ten cells: a few large ones that are still drawn are not it. Twice as settled
    // as what is drawn is nearer to what most runs of the demo shipped; others settled on large ones.
    (1.0 - (1.0 - left) / (half_lives * std::f64::consts::LN_2), 1.0 - left * left)
}

/// CPU seconds of one search for `config`. `unit` is the work of the cells that are trained, and `feasible` that of the
/// cells which the budget admits.
pub fn of_search(config: &SearchConfig, pace: &Pace, images: Counts, unit: Work, feasible: Work) -> f64 {
    let Counts { train, validation, .. } = images;
    if !config.strategy.shares_weights() {
        // Each network is trained on its own, and scored after each epoch.
        let epoch = pace.trains(feasible, train) + pace.scores(feasible, validation);
        return (config.trials.evaluations * config.trials.epochs) as f64 * epoch;
    }
    let b_enas = &config.b_enas;
    let minibatches = b_enas.explored();
    let scored = pace.scores(unit, pace.batch.min(validation)) * minibatches as f64;
    epochs(config) as f64 * pace.trains(unit, train)
        + scored
        + b_enas.candidates as f64 * pace.scores(feasible, validation)
}

/// Epochs that one search trains for.
pub fn epochs(config: &SearchConfig) -> usize {
    match (config.strategy.shares_weights(), &config.supernet) {
        (true, Some(_)) => 0,
        (true, None) => config.b_enas.epochs,
        (false, _) => config.trials.evaluations * config.trials.epochs,
    }
}

/// CPU seconds of one final training with its validation after each epoch, and of its test.
pub fn of_training(config: &SearchConfig, pace: &Pace, images: Counts, unit: Work) -> f64 {
    let Counts { train, validation, test } = images;
    let epoch = pace.trains(unit, train) + pace.scores(unit, validation);
    config.training.epochs as f64 * epoch + pace.scores(unit, test)
}

/// Resident bytes that the tensors of searches of `steps` steps and of the trainings after them come to. `live` is what
/// is in use together at most in each, in bytes; `values` the channels times the images of a step, of which all sizes of
/// tensors follow by halves and doubles.
///
/// Blocks that wait for the next tensor of their size stay resident, and every step of another cell leaves more of them.
/// The numbers were fitted to four runs, `docs/results/scale-x86-64.md`. Trainings find the blocks of the search where
/// sizes agree.
pub fn resident(live: [f64; 2], values: [usize; 2], steps: u64) -> f64 {
    /// Of a network that does not change.
    const SINGLE: f64 = 1.7;
    /// Blocks are rounded up to an eighth of a doubling.
    const ALIKE: f64 = 1.0 / 8.0;
    let many = (0.6 + 0.43 * (steps.max(1) as f64).ln()).max(1.3);
    let [searched, trained] = [many * live[0], SINGLE * live[1]];
    let doublings = (values[0] as f64 / values[1] as f64).log2();
    let alike = (doublings - doublings.round()).abs() < ALIKE;
    if alike { searched.max(trained) } else { searched + trained }
}

/// Searches, and final trainings, the baseline's included.
pub fn repeats(config: &SearchConfig) -> (usize, usize) {
    let searches = 1 + usize::from(config.strategy.baseline().is_some());
    let trainings = if config.baseline.is_trained() { searches } else { 1 };
    (searches, trainings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second a thousand images, half of it a way forward, whatever the network.
    fn pace(batch: usize) -> Pace {
        let one = Work { nodes: 0.0, macs: 1.0, values: 0.0 };
        Pace { step: Growth::fit(&[(one, 1e-3)]).expect("one step"), forward: 0.5, wall: 1.0, batch }
    }

    fn config(text: &str) -> SearchConfig {
        SearchConfig::complete(text.parse().expect("a table"), None).expect("a configuration")
    }

    const UNIT: Work = Work { nodes: 7.0, macs: 1.0, values: 0.0 };
    const IMAGES: Counts = Counts { train: 1_000, validation: 200, test: 400 };

    #[test]
    fn passes_add_up() {
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
        // 10 epochs of a second; 12 x 3 x 10 cells on 50 images; 10 candidates on 200; a way forward is half a step.
        let demo = config("preset = 'demo'");
        close(of_search(&demo, &pace(50), IMAGES, UNIT, UNIT), 10.0 + 0.5 * (360.0 * 0.05 + 10.0 * 0.2));
        close(of_training(&demo, &pace(32), IMAGES, UNIT), 10.0 * (1.0 + 0.1) + 0.2);
        assert_eq!(repeats(&demo), (2, 1), "the demo's baseline is searched, not trained");
        // 24 networks of 2 epochs each, scored after each.
        let alone = config("preset = 'demo'\nstrategy = 'random'");
        close(of_search(&alone, &pace(50), IMAGES, UNIT * 9.0, UNIT), 48.0 * (1.0 + 0.1));
        assert_eq!(repeats(&alone), (1, 1), "random search has no baseline");
        assert_eq!(repeats(&config("preset = 'small'")), (2, 2));
        assert_eq!(epochs(&config("preset = 'demo'\nsupernet = 'weights'")), 0, "nothing is trained");
    }

    #[test]
    fn a_controller_settles_by_halves() {
        // The demo: 10 epochs of 12 rounds at a rate of 0.01 are 1.2, and 1.2 / 0.5 half-lives; twice as many for the end.
        let (mean, end) = settled(&config("preset = 'demo'"));
        assert!((end - (1.0 - 0.25_f64.powf(1.2 / 0.5))).abs() < 1e-12 && 0.5 < mean && mean < end, "{mean} {end}");
        let (later_mean, later_end) = settled(&config("preset = 'demo'\n[b-enas]\nepochs = 40"));
        assert!(mean < later_mean && end < later_end && later_end <= 1.0);
        assert_eq!(settled(&config("preset = 'demo'\n[b-enas]\ncontroller_steps = 0")), (0.0, 0.0));
        assert_eq!(settled(&config("preset = 'demo'\nstrategy = 'random-ws'")), (0.0, 0.0), "no controller");
    }

    #[test]
    fn trainings_use_the_blocks_of_a_search_where_sizes_agree() {
        // The demo: 4 channels of 50 images and 6 of 32 are 200 and 192.
        let searched = resident([10.0, 4.0], [200, 192], 800);
        assert!(30.0 < searched && searched < 40.0, "{searched}");
        assert_eq!(resident([10.0, 40.0], [200, 800], 800), 68.0, "four times the channels on a quarter of the pixels");
        assert_eq!(resident([10.0, 4.0], [400, 320], 800), searched + 1.7 * 4.0, "between two sizes");
        assert!(resident([10.0, 4.0], [200, 192], 40) < searched, "fewer steps leave less behind");
        assert_eq!(resident([10.0, 4.0], [200, 192], 0), 13.0);
    }

    #[test]
    fn a_last_batch_that_is_not_full_is_a_step_as_well() {
        let a_node = Work { nodes: 1.0, macs: 0.0, values: 0.0 };
        let step = Growth::fit(&[(a_node, 1.0)]).expect("one step");
        let pace = Pace { step, forward: 1.0, wall: 1.0, batch: 300 };
        assert!((pace.trains(a_node, 1_000) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn ranges_hold_eight_of_ten_and_add() {
        let range = Range::among((0..=100).map(f64::from).collect());
        assert_eq!((range.low, range.expected, range.high), (10.0, 50.0, 90.0));
        assert_eq!(Range::among(Vec::new()), Range::default());
        let both = range + Range::of(1.0) * 2.0;
        assert_eq!((both.low, both.expected, both.high), (12.0, 52.0, 92.0));
        assert_eq!(both.at_most(60.0), Range { expected: 52.0, low: 12.0, high: 60.0 });
    }
}
