//! Whole searches over an oracle: what every strategy promises, and what B-ENAS adds to it.

use graph::cost::{StaticCost, static_cost};
use search::{
    Error, Result,
    chooser::Uniform,
    policy::ControllerSettings,
    space::{
        Scale, SearchSpace, Task,
        cell::{Cell, CellSpace},
    },
    strategy::{Chosen, Strategy, benas, random_ws},
    study::{Phase, Signal, Study, Trial, Unwatched},
};
use targets::{Budget, Metric};

use crate::oracle::{Oracle, Then, hard, soft};

/// Size of the children.
const PROXY: Scale =
    Scale { layers: 3, channels: 4, input: [1, 16, 16], classes: 10, front_end: None, task: Task::Classification };

/// Size that is deployed, and that every bound is about.
const FULL: Scale =
    Scale { layers: 6, channels: 8, input: [1, 16, 16], classes: 10, front_end: None, task: Task::Classification };

/// Effort of one search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) epochs: usize,
    pub(crate) n_batches: usize,
    pub(crate) controller_steps: usize,
    pub(crate) cells_per_gradient: usize,
    pub(crate) candidates: usize,
    pub(crate) proposals: usize,
}

/// Enough to see each phase twice.
pub(crate) const SHORT: Effort =
    Effort { epochs: 3, n_batches: 3, controller_steps: 2, cells_per_gradient: 2, candidates: 3, proposals: 300 };

/// Enough to learn something.
const LONG: Effort =
    Effort { epochs: 10, n_batches: 5, controller_steps: 6, cells_per_gradient: 5, candidates: 5, proposals: 2_000 };

/// The strategies of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    BEnas,
    RandomWs,
}

const ALL: [Which; 2] = [Which::BEnas, Which::RandomWs];

impl Which {
    pub(crate) fn search(
        self,
        effort: Effort,
        seed: u64,
        oracle: &mut Oracle,
        study: &mut Study,
    ) -> Result<Vec<Chosen<Cell>>> {
        let space = CellSpace::default();
        let Effort { epochs, controller_steps, cells_per_gradient, candidates, proposals, .. } = effort;
        match self {
            Self::BEnas => {
                let controller =
                    ControllerSettings { hidden: 24, lr: 0.02, baseline_decay: 0.9, ..ControllerSettings::default() };
                let settings = benas::Settings {
                    epochs,
                    controller_steps,
                    cells_per_gradient,
                    candidates,
                    proposals,
                    controller,
                    ..benas::Settings::default()
                };
                benas::Benas::new(settings, space.given(), PROXY, FULL, seed).search(&space, oracle, study)
            }
            Self::RandomWs => {
                let scored = epochs * controller_steps * cells_per_gradient;
                let settings = random_ws::Settings { epochs, scored, finalists: candidates, proposals };
                random_ws::RandomWs::new(settings, PROXY, FULL, seed).search(&space, oracle, study)
            }
        }
    }
}

/// What a search in memory came to.
struct Outcome {
    chosen: Vec<Chosen<Cell>>,
    trials: Vec<Trial>,
    oracle: Oracle,
}

fn run(which: Which, effort: Effort, seed: u64, budget: Budget) -> Outcome {
    let (mut oracle, mut study) = (Oracle::new(effort.n_batches), Study::new(budget, Box::new(Unwatched)));
    let chosen = which.search(effort, seed, &mut oracle, &mut study).expect("an oracle does not fail");
    Outcome { chosen, trials: study.trials().to_vec(), oracle }
}

/// Static costs of a cell as deployed, counted here and not by the search.
fn counted(cell: &Cell) -> StaticCost {
    static_cost(&CellSpace::default().build(cell, &FULL).expect("the image is large enough"))
}

/// The value that `share` of uniform cells stay below.
fn quantile(share: f64, of: impl Fn(&StaticCost) -> u64) -> f64 {
    let cell = |step| CellSpace::default().sample(&mut Uniform::new(99, "quantile", step));
    let mut values: Vec<u64> = (0..1_000).map(|step| of(&counted(&cell(step)))).collect();
    values.sort_unstable();
    values[(share * 1_000.0) as usize] as f64
}

pub(crate) fn macs_below(share: f64) -> Budget {
    hard(&[(Metric::Macs, quantile(share, |it| it.macs))])
}

#[test]
fn b_enas_enters_its_budget_and_its_reward_rises() {
    let budget = macs_below(0.2);
    for seed in 0..3 {
        let found = run(Which::BEnas, LONG, seed, budget.clone());
        let [first, last] = [0..1, LONG.epochs - 3..LONG.epochs].map(|epochs| {
            let is_then = |trial: &&Trial| trial.phase == Phase::Explore && epochs.contains(&trial.epoch);
            let then: Vec<&Trial> = found.trials.iter().filter(is_then).collect();
            let n_inside = then.iter().filter(|trial| trial.admitted).count();
            let reward: f64 = then.iter().map(|trial| trial.reward.expect("explored to learn")).sum();
            (n_inside as f64 / then.len() as f64, reward / then.len() as f64)
        });
        // A fifth of the uniform cells are inside.
        assert!(
            0.5 < last.0,
            "seed {seed}: {:.3} of the last cells are within the budget, {:.3} were",
            last.0,
            first.0
        );
        assert!(first.1 + 0.1 < last.1, "seed {seed}: mean reward {:.3} at first, {:.3} at last", first.1, last.1);
    }
}

#[test]
fn a_soft_bound_shapes_the_search_and_excludes_nothing() {
    let bound = quantile(0.2, |it| it.macs);
    let mean_macs = |budget: Budget| {
        let late = |trial: &&Trial| trial.phase == Phase::Explore && LONG.epochs - 3 <= trial.epoch;
        let found = run(Which::BEnas, LONG, 1, budget);
        assert!(found.trials.iter().all(|trial| trial.admitted));
        assert_eq!(found.chosen.len(), LONG.candidates);
        let late: Vec<&Trial> = found.trials.iter().filter(late).collect();
        late.iter().filter_map(|trial| Some(trial.cost.get(Metric::Macs)?.value)).sum::<f64>() / late.len() as f64
    };
    let (bounded, free) = (mean_macs(soft(&[(Metric::Macs, bound)])), mean_macs(Budget::default()));
    assert!(bounded < 0.8 * free, "{bounded:.3e} MACs with the bound, {free:.3e} without");
    // One parameter: nothing meets it, and something is returned all the same.
    for which in ALL {
        let found = run(which, SHORT, 0, soft(&[(Metric::Params, 1.0)]));
        assert_eq!(found.chosen.len(), SHORT.candidates, "{which:?}");
        let is_over = |trial: &Trial| trial.cost.get(Metric::Params).is_some_and(|it| 1.0 < it.value);
        assert!(found.trials.iter().all(|trial| trial.admitted && is_over(trial)), "{which:?}");
    }
}

#[test]
fn hard_bounds_are_never_broken() {
    for share in [0.03, 0.1, 0.5] {
        let (params, macs) = (quantile(share, |it| it.params), quantile(share, |it| it.macs));
        let peak = quantile(0.6, |it| it.peak_bytes);
        let budget = hard(&[(Metric::Params, params), (Metric::Macs, macs), (Metric::Activations, peak)]);
        for (which, seed) in ALL.into_iter().flat_map(|which| [(which, 0), (which, 7)]) {
            let found = run(which, SHORT, seed, budget.clone());
            assert!(!found.chosen.is_empty(), "{which:?} found nothing among {share} of the space");
            for chosen in &found.chosen {
                let cost = counted(&chosen.arch);
                let within = cost.params as f64 <= params && cost.macs as f64 <= macs && cost.peak_bytes as f64 <= peak;
                assert!(within, "{which:?} returned {chosen:?}, counted as {cost:?}");
                assert!(budget.admits(&chosen.cost));
            }
            for trial in &found.trials {
                let cost = counted(&serde_json::from_value(trial.arch.clone()).expect("a cell"));
                let within = cost.params as f64 <= params && cost.macs as f64 <= macs && cost.peak_bytes as f64 <= peak;
                assert_eq!(trial.admitted, within, "{which:?}: {trial:?}");
            }
        }
    }
}

#[test]
fn lower_bounds_hold_too() {
    let least = quantile(0.5, |it| it.macs);
    let bound = targets::Bound { metric: Metric::Macs, min: Some(least), max: None, hard: true };
    for which in ALL {
        let found = run(which, SHORT, 0, Budget { bounds: vec![bound] });
        assert_eq!(found.chosen.len(), SHORT.candidates);
        assert!(found.chosen.iter().all(|it| least <= counted(&it.arch).macs as f64), "{which:?}");
    }
}

#[test]
fn the_infeasible_is_tried_and_then_told() {
    for which in ALL {
        let found = run(which, SHORT, 0, hard(&[(Metric::Params, 1.0)]));
        assert!(found.chosen.is_empty(), "{which:?}");
        assert_eq!(found.oracle.asked.validations, 0, "{which:?} validated what it may not return");
        assert!(SHORT.proposals <= found.oracle.asked.costs, "{which:?} gave up after {:?}", found.oracle.asked);
        assert!(found.trials.iter().all(|trial| !trial.admitted));
    }
}

#[test]
fn a_bound_on_what_is_not_known_yet_admits_nothing() {
    // The oracle's costs lack a training time.
    for which in ALL {
        let found = run(which, SHORT, 0, hard(&[(Metric::TrainTime, 1e9)]));
        assert!(found.chosen.is_empty(), "{which:?}");
    }
}

#[test]
fn candidates_differ_and_stand_in_their_order() {
    let found = run(Which::BEnas, LONG, 3, macs_below(0.3));
    let score = |it: &Chosen<Cell>| it.accuracy * counted(&it.arch).macs as f64;
    assert!(found.chosen.windows(2).all(|pair| score(&pair[1]) <= score(&pair[0])), "accuracy times cost");
    let n_different = found.chosen.iter().filter(|a| found.chosen.iter().filter(|b| a.arch == b.arch).count() == 1);
    assert_eq!(n_different.count(), LONG.candidates);
    let found = run(Which::RandomWs, LONG, 3, macs_below(0.3));
    assert!(found.chosen.windows(2).all(|pair| pair[1].accuracy <= pair[0].accuracy), "accuracy alone");
}

#[test]
fn effort_is_what_was_asked_for_and_equal() {
    for effort in [SHORT, Effort { epochs: 1, ..SHORT }, Effort { n_batches: 1, candidates: 7, ..SHORT }] {
        let asked = ALL.map(|which| run(which, effort, 0, Budget::default()).oracle.asked);
        for (which, asked) in ALL.into_iter().zip(asked) {
            assert_eq!(asked.steps, effort.epochs * effort.n_batches, "{which:?}");
            let scored = effort.epochs * effort.controller_steps * effort.cells_per_gradient;
            assert_eq!(asked.minibatches, scored, "{which:?}");
            assert_eq!(asked.validations, effort.candidates, "{which:?}");
        }
    }
}

#[test]
fn a_seed_decides_everything() {
    for which in ALL {
        let [first, second] = [(); 2].map(|()| run(which, SHORT, 5, macs_below(0.5)));
        assert_eq!(first.trials, second.trials, "{which:?}");
        assert_eq!(first.chosen, second.chosen, "{which:?}");
        let other = run(which, SHORT, 6, macs_below(0.5));
        let same = |(a, b): &(&Trial, &Trial)| a.arch == b.arch;
        let n_same = first.trials.iter().zip(&other.trials).filter(same).count();
        assert!(n_same <= 1, "{which:?}: {n_same} of {} cells are the same", first.trials.len());
    }
}

#[test]
fn a_deadline_ends_the_search_with_an_answer() {
    for which in ALL {
        let whole = run(which, SHORT, 0, macs_below(0.5));
        for after in [1, 2, 5, 11] {
            let (mut oracle, watch) = (Oracle::new(SHORT.n_batches), Then::new(after, Signal::WrapUp));
            let mut study = Study::new(macs_below(0.5), watch);
            let chosen = which.search(SHORT, 0, &mut oracle, &mut study).expect("a deadline is no error");
            assert!(!chosen.is_empty(), "{which:?} after {after} looks");
            assert!(chosen.iter().all(|it| study.budget.admits(&it.cost)), "{which:?} after {after} looks");
            assert!(oracle.asked.steps <= after as usize, "{which:?} went on training: {:?}", oracle.asked);
            assert!(study.trials().len() < whole.trials.len(), "{which:?} after {after} looks");
        }
    }
}

#[test]
fn a_user_stops_the_search_at_any_look() {
    for which in ALL {
        for after in 1..=15 {
            let mut study = Study::new(Budget::default(), Then::new(after, Signal::Stop));
            let done = which.search(SHORT, 0, &mut Oracle::new(SHORT.n_batches), &mut study);
            assert!(matches!(done, Err(Error::Interrupted)), "{which:?} after {after} looks: {done:?}");
        }
    }
}
