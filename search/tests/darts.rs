//! DARTS on problems whose answer is known.

use std::time::Duration;

use graph::{
    Graph,
    cost::static_cost,
    relaxed::{Counted, Mixture, option_costs},
    weights::Weights,
};
use search::{
    Result,
    bilevel::{epsilon, second_order},
    chooser::Uniform,
    evaluator::{AlphaGradient, Minibatch, Order, Relaxed, Saved, Step},
    space::{
        Relax, Scale, SearchSpace, Task,
        darts::{Cells, DartsSpace, EdgeOp, option},
        nas_bench_201::NasBench201,
    },
    strategy::{
        Chosen, Strategy,
        darts::{Curvature, Darts, Settings, Stopped},
    },
    study::{Phase, Progress, Signal, Study, Unwatched, Watch},
};
use targets::{Bound, Budget, Cost, Figure, Metric};

fn scale(layers: usize, channels: usize, side: usize) -> Scale {
    Scale { layers, channels, input: [3, side, side], classes: 10, front_end: None, task: Task::Classification }
}

fn uniform<S: SearchSpace>(space: &S, seed: u64) -> S::Arch {
    space.sample(&mut Uniform::new(seed, "darts test", 0))
}

#[test]
fn settings_are_the_papers() {
    let it = Settings::paper();
    assert_eq!((it.epochs, it.warm_up, it.order, it.candidates), (50, 0, Order::Second, 1));
    assert_eq!((it.lr, it.beta_1, it.beta_2, it.weight_decay, it.spread), (3e-4, 0.5, 0.999, 1e-3, 1e-3));
    assert_eq!((it.cost_weight, it.most_skips, it.curvature), (0.0, None, None));
    let text = serde_json::to_string(&Settings::default()).expect("it is plain data");
    assert_eq!(serde_json::from_str::<Settings>(&text).expect("it comes back"), Settings::default());
}

/// A problem whose options have a known merit: the loss is less by the merits that are expected.
#[derive(Clone, Default)]
struct Merits {
    /// By key and option, before the weights are trained.
    first: Vec<Vec<f64>>,
    /// And in the end.
    last: Vec<Vec<f64>>,
    /// How much of the way `w` has gone, in `[0, 1]`, and how far it goes in a step.
    w: f64,
    pace: f64,
    /// Curvature by alpha, a multiple of `w`.
    bend: f64,
    /// Gradients that were asked for on a new minibatch, and weight steps.
    spent: [usize; 2],
}

impl Merits {
    /// The options that `arch` chooses are better by `by`.
    fn of<S: Relax>(space: &S, arch: &S::Arch, by: f64) -> Self {
        let mut merits: Vec<Vec<f64>> = space.options().iter().map(|&n| vec![0.0; n]).collect();
        for (row, chosen) in merits.iter_mut().zip(space.chosen(arch)) {
            row[chosen] = by;
        }
        Self { first: merits.clone(), last: merits, pace: 0.01, ..Self::default() }
    }

    fn merit(&self, key: usize, option: usize) -> f64 {
        (1.0 - self.w) * self.first[key][option] + self.w * self.last[key][option]
    }

    fn expected(&self, alpha: &Mixture) -> f64 {
        let row = |key: usize| -> f64 {
            alpha.weights(key).iter().enumerate().map(|(option, weight)| weight * self.merit(key, option)).sum()
        };
        (0..alpha.logits.len()).map(row).sum()
    }
}

impl Relaxed for Merits {
    fn n_batches(&self) -> usize {
        10
    }

    fn step_weights(&mut self, supernet: &Graph, _: &Mixture) -> Result<Step> {
        assert!(supernet.relaxed_node().is_some());
        self.spent[1] += 1;
        self.w += self.pace * (1.0 - self.w);
        Ok(Step { loss: 1.0, took: Duration::ZERO })
    }

    fn alpha_gradient(&mut self, _: &Graph, alpha: &Mixture, _: Order, batch: Minibatch) -> Result<AlphaGradient> {
        self.spent[0] += usize::from(batch == Minibatch::Next);
        let row = |(key, logits): (usize, &Vec<f32>)| {
            let weights = alpha.weights(key);
            let mean: f64 = weights.iter().enumerate().map(|(it, weight)| weight * self.merit(key, it)).sum();
            let slope =
                |it: usize| -weights[it] * (self.merit(key, it) - mean) + self.bend * self.w * f64::from(logits[it]);
            (0..weights.len()).map(|it| slope(it) as f32).collect()
        };
        let rows = alpha.logits.iter().enumerate().map(row).collect();
        Ok(AlphaGradient { loss: 100.0 - self.expected(alpha), rows })
    }

    fn validate(&mut self, _: &Graph, alpha: &Mixture) -> Result<f64> {
        Ok(self.expected(alpha) / 100.0)
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        assert_eq!(deployed.relaxed_node(), None);
        let cost = static_cost(deployed);
        let figures =
            [(Metric::Macs, cost.macs), (Metric::Params, cost.params), (Metric::Activations, cost.peak_bytes)];
        Ok(Cost { figures: figures.map(|(metric, it)| (metric, Figure::exact(it as f64))).into() })
    }

    fn save(&self) -> Result<Saved> {
        let mut weights = Weights::default();
        weights.insert("w", "low", vec![1], vec![f32::from_bits(self.w.to_bits() as u32)]);
        weights.insert("w", "high", vec![1], vec![f32::from_bits((self.w.to_bits() >> 32) as u32)]);
        Ok(Saved { weights, ..Saved::default() })
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        let part = |suffix| Ok::<u64, search::Error>(saved.weights.get("w", suffix)?.values[0].to_bits().into());
        self.w = f64::from_bits(part("high")? << 32 | part("low")?);
        Ok(())
    }
}

const PROXY: fn() -> Scale = || scale(3, 4, 8);
const FULL: fn() -> Scale = || scale(5, 8, 16);

/// A search of few but large steps.
fn hasty() -> Settings {
    Settings { epochs: 12, lr: 0.05, ..Settings::default() }
}

fn run<S: Relax>(
    space: &S,
    settings: Settings,
    problem: &mut dyn Relaxed,
    study: &mut Study,
) -> (Darts, Vec<Chosen<S::Arch>>) {
    let mut darts = Darts::new(settings, PROXY(), FULL(), 3);
    let found = darts.search(space, problem, study).expect("it answers");
    (darts, found)
}

fn unbounded() -> Study {
    Study::new(Budget::default(), Box::new(Unwatched))
}

fn bounded(metric: Metric, max: f64, hard: bool) -> Study {
    Study::new(Budget { bounds: vec![Bound { metric, min: None, max: Some(max), hard }] }, Box::new(Unwatched))
}

/// An architecture of the space without too many skips.
fn sound(mut seed: u64) -> Cells {
    loop {
        let cells = uniform(&DartsSpace, seed);
        if DartsSpace.n_skips(&cells) <= 2 {
            return cells;
        }
        seed += 1000;
    }
}

#[test]
fn it_finds_the_best_options() {
    for seed in 0..10 {
        let best = sound(seed);
        let mut study = unbounded();
        let mut problem = Merits::of(&DartsSpace, &best, 1.0);
        let (darts, found) = run(&DartsSpace, hasty(), &mut problem, &mut study);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].arch, best);
        assert!((found[0].accuracy - 0.28).abs() < 1e-9, "all 28 choices are right: {}", found[0].accuracy);
        assert_eq!((problem.spent, darts.stopped()), ([120, 120], None));
        // An architecture an epoch, and the answer.
        let phases: Vec<Phase> = study.trials().iter().map(|it| it.phase).collect();
        assert_eq!(phases, [vec![Phase::Explore; 12], vec![Phase::Select]].concat());
        let cell = uniform(&NasBench201, seed);
        let mut problem = Merits::of(&NasBench201, &cell, 1.0);
        let all = Settings { most_skips: None, ..hasty() };
        assert_eq!(run(&NasBench201, all, &mut problem, &mut unbounded()).1[0].arch, cell);
    }
}

#[test]
fn the_same_seed_is_the_same_search() {
    let search = |seed| {
        let mut study = unbounded();
        let mut darts = Darts::new(hasty(), PROXY(), FULL(), seed);
        let mut problem = Merits::of(&DartsSpace, &sound(0), 0.001);
        let found = darts.search(&DartsSpace, &mut problem as &mut dyn Relaxed, &mut study).expect("it answers");
        (found, darts.alpha().clone(), study.trials().to_vec())
    };
    assert_eq!(search(1), search(1));
    assert_ne!(search(1).1, search(2).1);
}

#[test]
fn while_it_warms_up_nothing_is_chosen() {
    let settings = Settings { warm_up: 12, ..hasty() };
    let mut problem = Merits::of(&DartsSpace, &sound(0), 1.0);
    let (darts, _) = run(&DartsSpace, settings, &mut problem, &mut unbounded());
    assert_eq!(problem.spent, [0, 120]);
    let logits = || darts.alpha().logits.iter().flatten();
    assert!(logits().all(|it| it.abs() < 0.01), "a thousandth, normally distributed");
    let mean_square = logits().map(|it| it * it).sum::<f32>() / logits().count() as f32;
    assert!((0.8e-6..1.2e-6).contains(&mean_square), "{mean_square}");
}

#[test]
fn a_hard_bound_is_kept_and_no_more_than_it_takes_is_given_up() {
    for seed in 0..4 {
        let best = sound(seed);
        let macs = |cells: &Cells| static_cost(&DartsSpace.build(cells, &FULL()).expect("it fits")).macs as f64;
        let least = DartsSpace.cheapest().iter().map(macs).fold(f64::INFINITY, f64::min);
        let mut last = 0.0;
        for share in [0.0, 0.05, 0.3, 0.6, 0.9, 0.99, 1.0] {
            let most = least + share * (macs(&best) - least);
            let mut problem = Merits::of(&DartsSpace, &best, 1.0);
            let (_, found) = run(&DartsSpace, hasty(), &mut problem, &mut bounded(Metric::Macs, most, true));
            let cells = found.first().expect("there is one").arch;
            assert!(macs(&cells) <= most, "{share}: {} above {most}", macs(&cells));
            let right =
                DartsSpace.chosen(&best).iter().zip(DartsSpace.chosen(&cells)).filter(|(a, b)| **a == *b).count();
            assert!(last <= right as f64 + 2.0, "{share}: {right} choices are right, {last} before");
            last = right as f64;
        }
        assert_eq!(last, 28.0);
        let mut problem = Merits::of(&DartsSpace, &best, 1.0);
        let mut study = bounded(Metric::Macs, 0.999 * least, true);
        assert!(run(&DartsSpace, hasty(), &mut problem, &mut study).1.is_empty());
        assert!(study.trials().iter().all(|it| it.accuracy.is_none() && !it.admitted));
        // Of live activations nobody knows what an option has: multiply-accumulates stand in.
        let mut study = bounded(Metric::Activations, 1.0, true);
        assert!(run(&DartsSpace, hasty(), &mut problem, &mut study).1.is_empty());
    }
}

#[test]
fn a_soft_bound_is_answered_with_the_best_score() {
    let best = sound(1);
    let macs = |cells: &Cells| static_cost(&DartsSpace.build(cells, &FULL()).expect("it fits")).macs as f64;
    // Where it hardly matters which is chosen, a network within the bound is the better answer.
    let mut problem = Merits::of(&DartsSpace, &best, 1.0);
    problem.first.iter_mut().chain(&mut problem.last).flatten().for_each(|it| *it += 300.0);
    let least = DartsSpace.cheapest().iter().map(macs).fold(f64::INFINITY, f64::min);
    let bound = least + 0.5 * (macs(&best) - least);
    let (_, found) = run(&DartsSpace, hasty(), &mut problem, &mut bounded(Metric::Macs, bound, false));
    assert!(2 <= found.len() && macs(&found[0].arch) <= bound);
    assert!(found.iter().any(|it| it.arch == best));
}

#[test]
fn several_candidates_come_ranked() {
    let mut problem = Merits::of(&DartsSpace, &sound(2), 0.01);
    let settings = Settings { candidates: 6, ..hasty() };
    let (_, found) = run(&DartsSpace, settings, &mut problem, &mut unbounded());
    assert_eq!(found.len(), 6);
    assert!(found.windows(2).all(|pair| pair[1].accuracy <= pair[0].accuracy));
}

#[test]
fn what_is_dear_is_avoided_where_it_counts() {
    let macs = |cost_weight: f64| {
        let mut problem = Merits::of(&DartsSpace, &sound(0), 0.02);
        let settings = Settings { cost_weight, ..hasty() };
        let (darts, found) = run(&DartsSpace, settings, &mut problem, &mut unbounded());
        let supernet = DartsSpace.relax(&FULL()).expect("it fits");
        let expected = option_costs(&supernet, Counted::Macs).expected(darts.alpha());
        [expected, found[0].cost.get(Metric::Macs).expect("it is counted").value]
    };
    let [free, little, much] = [0.0, 0.1, 10.0].map(macs);
    assert!(much[0] < little[0] && little[0] < free[0], "{much:?}, {little:?}, {free:?}");
    assert!(much[1] < free[1], "{much:?}, {free:?}");
}

/// Skips become the better the longer the weights are trained, as on images.
fn collapsing() -> (Cells, Merits) {
    let best = sound(0);
    let mut problem = Merits::of(&DartsSpace, &best, 1.0);
    for row in &mut problem.last {
        row[option(EdgeOp::SkipConnect)] = 4.0;
    }
    (best, problem)
}

#[test]
fn it_stops_before_it_collapses() {
    let (best, problem) = collapsing();
    let settings = Settings { epochs: 60, lr: 0.02, ..Settings::default() };
    let unguarded = Settings { most_skips: None, ..settings.clone() };
    let (darts, found) = run(&DartsSpace, unguarded, &mut problem.clone(), &mut unbounded());
    assert_eq!((DartsSpace.n_skips(&found[0].arch), darts.stopped()), (8, None));
    let mut study = unbounded();
    let (darts, found) = run(&DartsSpace, settings, &mut problem.clone(), &mut study);
    assert_eq!(darts.stopped(), Some(Stopped::Skips));
    assert!(DartsSpace.n_skips(&found[0].arch) <= 2, "{:?}", found[0].arch);
    // The answer is the architecture of the last epoch but one.
    let explored: Vec<_> = study.trials().iter().filter(|it| it.phase == Phase::Explore).collect();
    assert!(explored.len() < 60);
    let skips: Vec<usize> = explored
        .iter()
        .map(|it| DartsSpace.n_skips(&serde_json::from_value(it.arch.clone()).expect("cells")))
        .collect();
    assert!(
        2 < skips[skips.len() - 1] && skips[..skips.len() - 1].iter().rev().take(1).all(|it| *it <= 2),
        "{skips:?}"
    );
    let answer = serde_json::to_value(found[0].arch).expect("it is plain data");
    assert_eq!(explored[explored.len() - 2].arch, answer);
    assert_eq!(found[0].arch, best, "what was right before it collapsed");
    // Cut short within the epoch that collapses, it falls back as well.
    let mut study = Study::new(Budget::default(), Box::new(Until(10 * explored.len() - 1, Signal::WrapUp)));
    let settings = Settings { epochs: 60, lr: 0.02, ..Settings::default() };
    let (darts, cut) = run(&DartsSpace, settings, &mut problem.clone(), &mut study);
    assert_eq!((darts.stopped(), cut[0].arch), (Some(Stopped::Skips), found[0].arch));
}

#[test]
fn it_stops_where_the_loss_becomes_curved() {
    let settings = |growth| {
        let curvature = Some(Curvature { growth, ..Curvature::default() });
        Settings { epochs: 40, curvature, most_skips: None, ..hasty() }
    };
    let mut problem = Merits { bend: 1.0, pace: 0.003, ..Merits::of(&DartsSpace, &sound(0), 1.0) };
    let mut study = unbounded();
    let (darts, _) = run(&DartsSpace, settings(1.3), &mut problem, &mut study);
    assert_eq!(darts.stopped(), Some(Stopped::Curved));
    // The first epoch that has an eleventh one five before it: the curvature grows faster than that.
    assert_eq!(study.trials().iter().filter(|it| it.phase == Phase::Explore).count(), 16);
    let mut flat = Merits::of(&DartsSpace, &sound(0), 0.0);
    flat.bend = 0.0;
    assert_eq!(run(&DartsSpace, settings(1.3), &mut flat, &mut unbounded()).0.stopped(), None);
    problem.w = 0.0;
    assert_eq!(run(&DartsSpace, settings(1e6), &mut problem, &mut unbounded()).0.stopped(), None);
}

/// Ends a search after this many looks.
struct Until(usize, Signal);

impl Watch for Until {
    fn look(&mut self, _: &Progress<'_>) -> Signal {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { self.1 } else { Signal::Continue }
    }
}

#[test]
fn a_resumed_search_is_the_same_search() {
    let settings = || Settings { curvature: Some(Curvature { growth: 1e6, ..Curvature::default() }), ..hasty() };
    let search = |folder: &std::path::Path, watch: Box<dyn Watch>| {
        let mut study = Study::open(folder, Budget::default(), watch).expect("it opens");
        let mut darts = Darts::new(settings(), PROXY(), FULL(), 3);
        let mut problem = Merits { bend: 0.1, ..Merits::of(&DartsSpace, &sound(0), 0.01) };
        let found = darts.search(&DartsSpace, &mut problem as &mut dyn Relaxed, &mut study);
        (found.ok(), darts.alpha().clone(), std::fs::read(folder.join("study.jsonl")).expect("there is a record"))
    };
    let whole = tempfile::tempdir().expect("there is room");
    let expected = search(whole.path(), Box::new(Unwatched));
    let broken = tempfile::tempdir().expect("there is room");
    for looks in [5, 37, 20, 58] {
        assert!(search(broken.path(), Box::new(Until(looks, Signal::Stop))).0.is_none(), "it is interrupted");
    }
    assert_eq!(search(broken.path(), Box::new(Unwatched)), expected);
}

#[test]
fn a_deadline_is_answered_with_what_is_known() {
    for looks in [1, 25, 60] {
        let mut study = Study::new(Budget::default(), Box::new(Until(looks, Signal::WrapUp)));
        let mut problem = Merits::of(&DartsSpace, &sound(0), 1.0);
        let (_, found) = run(&DartsSpace, hasty(), &mut problem, &mut study);
        assert_eq!(found.len(), 1);
        assert_eq!(problem.spent, [looks; 2]);
    }
}

/// One choice matters, and only through the weights: `L_train = (w - p)^2 / 2` and `L_val = (w - 1)^2 / 2`, where `p` is
/// the weight of the fourth operation on the first edge.
struct Indirect {
    w: f64,
}

const XI: f64 = 0.5;

impl Indirect {
    /// The gradient by alpha of the training loss at `w`.
    fn train(alpha: &Mixture, w: f64) -> Vec<Vec<f32>> {
        let mut rows: Vec<Vec<f32>> = alpha.logits.iter().map(|row| vec![0.0; row.len()]).collect();
        let weights = alpha.weights(0);
        for (option, slope) in rows[0].iter_mut().enumerate() {
            let by_logit = weights[3] * (f64::from(u8::from(option == 3)) - weights[option]);
            *slope = ((weights[3] - w) * by_logit) as f32;
        }
        rows
    }

    fn ahead(&self, alpha: &Mixture) -> f64 {
        self.w - XI * (self.w - alpha.weights(0)[3])
    }
}

impl Relaxed for Indirect {
    fn n_batches(&self) -> usize {
        10
    }

    fn step_weights(&mut self, _: &Graph, alpha: &Mixture) -> Result<Step> {
        self.w = self.ahead(alpha);
        Ok(Step { loss: 0.0, took: Duration::ZERO })
    }

    fn alpha_gradient(&mut self, _: &Graph, alpha: &Mixture, order: Order, _: Minibatch) -> Result<AlphaGradient> {
        let nothing: Vec<Vec<f32>> = alpha.logits.iter().map(|row| vec![0.0; row.len()]).collect();
        let rows = match order {
            Order::First => nothing,
            Order::Second => {
                let slope = self.ahead(alpha) - 1.0;
                let epsilon = epsilon(slope.abs());
                let at = |sign: f64| Self::train(alpha, self.w + sign * epsilon * slope);
                second_order(&nothing, &at(1.0), &at(-1.0), XI, epsilon)
            }
        };
        Ok(AlphaGradient { loss: 0.0, rows })
    }

    fn validate(&mut self, _: &Graph, alpha: &Mixture) -> Result<f64> {
        Ok(alpha.weights(0)[3])
    }

    fn cost(&mut self, _: &Graph) -> Result<Cost> {
        Ok(Cost { figures: [(Metric::Params, Figure::exact(1.0))].into() })
    }

    fn save(&self) -> Result<Saved> {
        Ok(Saved::default())
    }

    fn restore(&mut self, _: &Saved) -> Result<()> {
        Ok(())
    }
}

#[test]
fn only_second_order_sees_what_weights_answer() {
    let weight = |order| {
        let settings = Settings { order, most_skips: None, ..hasty() };
        let (darts, _) = run(&NasBench201, settings, &mut Indirect { w: 0.0 }, &mut unbounded());
        darts.alpha().weights(0)[3]
    };
    assert!((weight(Order::First) - 0.2).abs() < 0.01);
    assert!(0.8 < weight(Order::Second), "{}", weight(Order::Second));
}
