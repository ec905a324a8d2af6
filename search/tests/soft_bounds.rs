//! Soft bounds shape what every strategy looks for and what it answers with, by one rule.
#![expect(clippy::print_stdout, reason = "the figures are a table to read")]

use std::{sync::LazyLock, time::Duration};

use graph::{Graph, cost::static_cost};
use search::{
    Result,
    evaluator::{Evaluation, Evaluator, Job, SharedWeights},
    oracle::{Oracle, Table},
    penalty,
    space::{
        Scale, SearchSpace, Task,
        blocks::BlockSpace,
        nas_bench_201::{Arch, NasBench201, PUBLISHED},
    },
    strategy::{
        Chosen, Strategy,
        asha::{self, Asha},
        benas::{self, Benas},
        bsn::{self, Bsn},
        enas::{self, Enas},
        first_measured,
        random_ws::{self, RandomWs},
        rank,
        rcas::{self, Rcas},
    },
    study::{Study, Trial, Unwatched},
    trials::Effort,
    yardstick::Method,
};
use targets::{Bound, Budget, Cost, Figure, Metric};

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::made_up(1).expect("sizes fit"));

/// The table's latencies go from 1 to 56 ms, and its best networks are among the slow ones.
fn soft(seconds: f64) -> Budget {
    Budget { bounds: vec![Bound { metric: Metric::Latency, min: None, max: Some(seconds), hard: false }] }
}

fn latency(seconds: f64) -> Cost {
    let mut cost = Cost::default();
    cost.set(Metric::Latency, Figure::exact(seconds));
    cost
}

/// How far networks are outside, on average.
fn mean_excess<'a>(costs: impl Iterator<Item = &'a Cost>) -> f64 {
    let excesses: Vec<f64> = costs.map(|cost| penalty::outside(&soft(TIGHT), cost)).collect();
    excesses.iter().sum::<f64>() / excesses.len() as f64
}

const TIGHT: f64 = 5e-3;

/// The answer's cost, and the trials.
type Found = (Cost, Vec<Trial>);

fn found<A>(ranked: Result<Vec<Chosen<A>>>, study: &Study) -> Found {
    let ranked = ranked.expect("a table answers");
    (ranked[0].cost.clone(), study.trials().to_vec())
}

/// Whether a strategy's trials tell that it is drawn towards the bound.
#[derive(Clone, Copy, PartialEq)]
enum Proposes {
    /// Whatever it was told.
    Anything,
    /// By what it was told: from half of its trials on it knows enough.
    Late,
    /// What it trains further.
    Promotions,
}

/// With the bound answers are less than half as far outside as without, and so are the networks that a strategy
/// proposes by what it was told of others.
fn check(name: &str, proposes: Proposes, search: impl Fn(u64, &Budget) -> Found) {
    let excess = |budget: &Budget| {
        let all: Vec<Found> = (0..6).map(|seed| search(seed, budget)).collect();
        let steered = |trials: &'_ [Trial]| -> Vec<Cost> {
            let trained: Vec<&Trial> = trials.iter().filter(|it| it.accuracy.is_some()).collect();
            let kept: Vec<&Trial> = match proposes {
                Proposes::Anything => Vec::new(),
                Proposes::Late => trained[trained.len() / 2..].to_vec(),
                Proposes::Promotions => trained.into_iter().filter(|it| Some(1) < it.epochs).collect(),
            };
            kept.into_iter().map(|it| it.cost.clone()).collect()
        };
        let steered: Vec<Cost> = all.iter().flat_map(|(_, trials)| steered(trials)).collect();
        (mean_excess(all.iter().map(|(answer, _)| answer)), mean_excess(steered.iter()))
    };
    let ((answer, steered), (free_answer, free_steered)) = (excess(&soft(TIGHT)), excess(&Budget::default()));
    println!("{name}: answers {answer:.2} of {free_answer:.2}, proposals {steered:.2} of {free_steered:.2}");
    assert!(1.0 < free_answer && 2.0 * answer < free_answer, "{name}: answers {answer} outside, {free_answer} without");
    assert!(
        proposes == Proposes::Anything || 1.4 * steered < free_steered,
        "{name}: proposals {steered} outside, {free_steered} without"
    );
}

#[test]
fn a_soft_bound_draws_every_strategy_towards_it() {
    for method in Method::ALL {
        let proposes = if method == Method::Random { Proposes::Anything } else { Proposes::Late };
        check(method.name(), proposes, |seed, budget| {
            let mut study = Study::new(budget.clone(), Box::new(Unwatched));
            found(method.search(200, seed, &mut Oracle::new(&TABLE), &mut study), &study)
        });
    }
    check(asha::NAME, Proposes::Promotions, |seed, budget| {
        let mut study = Study::new(budget.clone(), Box::new(Unwatched));
        let settings = asha::Settings { min_epochs: 1, max_epochs: 16, ..asha::Settings::default() };
        let mut strategy = Asha::new(settings, effort(200, PUBLISHED), seed);
        found(strategy.search(&NasBench201, &mut Oracle::new(&TABLE) as &mut dyn Evaluator, &mut study), &study)
    });
    check(rcas::NAME, Proposes::Late, |_, budget| {
        let mut study = Study::new(budget.clone(), Box::new(Unwatched));
        let mut strategy = Rcas::new(rcas::Settings::default(), effort(600, CIFAR));
        found(strategy.search(&BlockSpace::default(), &mut Larger, &mut study), &study)
    });
}

fn effort(evaluations: usize, scale: Scale) -> Effort {
    Effort { evaluations, epochs: 1, patience: 1_000, proxy: scale, full: scale }
}

/// Size of RCAS's networks for CIFAR.
const CIFAR: Scale =
    Scale { layers: 36, channels: 32, input: [3, 32, 32], classes: 100, front_end: None, task: Task::Classification };

/// Larger networks are better, less and less so, and take longer.
struct Larger;

impl Evaluator for Larger {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        let accuracy = |job: &Job<'_>| 1.0 - (-1e-8 * static_cost(job.graph).macs as f64).exp();
        Ok(jobs.iter().map(|job| Evaluation { curve: vec![accuracy(job)], took: Duration::ZERO }).collect())
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        Ok(latency(1e-10 * static_cost(deployed).macs as f64))
    }
}

/// Where weights are shared the papers' rewards stay theirs, but not what is answered.
#[test]
fn answers_of_shared_weights_prefer_networks_within() {
    type Search = fn(u64, &mut Oracle<'_>, &mut Study) -> Result<Vec<Chosen<Arch>>>;

    let strategies: [(&str, Search); 4] = [
        (benas::NAME, |seed, oracle, study| {
            let settings = benas::Settings { epochs: 2, candidates: 40, ..benas::Settings::default() };
            alike(Benas::new(settings, NasBench201.given(), PUBLISHED, PUBLISHED, seed), oracle, study)
        }),
        (bsn::NAME, |seed, oracle, study| {
            let settings = bsn::Settings { epochs: 2, candidates: 40, ..bsn::Settings::default() };
            alike(Bsn::new(settings, PUBLISHED, PUBLISHED, seed), oracle, study)
        }),
        (enas::NAME, |seed, oracle, study| {
            let settings = enas::Settings { epochs: 2, finalists: 40, ..enas::Settings::micro() };
            alike(Enas::new(settings, NasBench201.given(), PUBLISHED, PUBLISHED, seed), oracle, study)
        }),
        (random_ws::NAME, |seed, oracle, study| {
            let settings = random_ws::Settings { epochs: 2, scored: 100, finalists: 40, proposals: 1_000 };
            alike(RandomWs::new(settings, PUBLISHED, PUBLISHED, seed), oracle, study)
        }),
    ];
    let budget = soft(20e-3);
    for (name, search) in strategies {
        for seed in 0..3 {
            let mut study = Study::new(budget.clone(), Box::new(Unwatched));
            let ranked = search(seed, &mut Oracle::new(&TABLE), &mut study).expect("a table answers");
            let outside: Vec<bool> = ranked.iter().map(|it| 0.0 < penalty::outside(&budget, &it.cost)).collect();
            assert!(outside.contains(&true) && outside.contains(&false), "{name}: a soft bound rules nothing out");
            for (nth, ahead) in ranked.iter().enumerate().filter(|(nth, _)| outside[*nth]) {
                let behind = ranked[nth + 1..]
                    .iter()
                    .find(|it| penalty::outside(&budget, &it.cost) <= 0.0 && ahead.accuracy <= it.accuracy);
                assert_eq!(behind, None, "{name}: {ahead:?} stands before a better one within the bound");
            }
        }
    }
}

fn alike<'a>(
    mut strategy: impl for<'e> Strategy<NasBench201, dyn SharedWeights + 'e>,
    oracle: &mut Oracle<'a>,
    study: &mut Study,
) -> Result<Vec<Chosen<Arch>>> {
    oracle.n_batches = 20;
    strategy.search(&NasBench201, oracle as &mut (dyn SharedWeights + 'a), study)
}

#[test]
fn answers_are_ranked_by_what_soft_bounds_leave_of_their_accuracy() {
    let budget = soft(10e-3);
    let check = |budget: &Budget, rows: &[(f64, f64)], expected: &[usize]| {
        let chosen =
            |(arch, &(accuracy, ms)): (usize, &(f64, f64))| Chosen { arch, accuracy, cost: latency(1e-3 * ms) };
        let mut found: Vec<Chosen<usize>> = rows.iter().enumerate().map(chosen).collect();
        rank(&mut found, budget);
        assert_eq!(found.iter().map(|it| it.arch).collect::<Vec<_>>(), expected, "{rows:?}");
    };
    // At twice the bound 0.9 of it is left, at four times 0.729.
    check(&budget, &[(0.9, 20.0), (0.82, 10.0), (0.80, 5.0), (1.0, 40.0)], &[1, 0, 2, 3]);
    // Of equals the one within, then the earlier.
    check(&budget, &[(0.0, 30.0), (0.0, 20.0), (0.0, 5.0), (0.0, 4.0)], &[2, 3, 1, 0]);
    // Where nothing is left of any accuracy, the nearest.
    check(&budget, &[(0.9, 1e9), (0.8, 1e8), (0.7, 1e9)], &[1, 0, 2]);
    check(&soft(0.0), &[(0.7, 1.0), (0.8, 2.0)], &[1, 0]);
    // A hard bound shapes nothing, and without any the more accurate is first.
    let hard = Budget { bounds: vec![Bound { hard: true, ..budget.bounds[0] }] };
    for budget in [hard, Budget::default()] {
        check(&budget, &[(0.7, 20.0), (0.8, 40.0), (0.8, 5.0)], &[1, 2, 0]);
    }
}

/// Estimated and measured latency of three networks in ms, under a soft bound of 5 ms and a hard one of 20 ms.
#[test]
fn what_is_measured_decides_which_is_first() {
    let mut budget = soft(TIGHT);
    budget.bounds.push(Bound { metric: Metric::Latency, min: None, max: Some(20e-3), hard: true });
    let check = |latencies: [[f64; 2]; 3], expected: Option<usize>, n_measured: usize| {
        let chosen = |(arch, [estimated, _]): (usize, [f64; 2])| {
            let (accuracy, cost) = ([0.9, 0.8, 0.7][arch], latency(estimated * 1e-3));
            Chosen { arch, accuracy, cost }
        };
        let mut ranked: Vec<Chosen<usize>> = latencies.into_iter().enumerate().map(chosen).collect();
        rank(&mut ranked, &budget);
        let mut measured = 0;
        let measure = |it: &mut Chosen<usize>| {
            measured += 1;
            it.cost = latency(latencies[it.arch][1] * 1e-3);
            Ok::<(), ()>(())
        };
        let (best, refused) = first_measured(ranked, &budget, measure).expect("nothing fails");
        assert_eq!((best.map(|it| it.arch), measured), (expected, n_measured), "{latencies:?}");
        assert!(refused.iter().all(|it| !budget.admits(&it.cost)));
    };
    // As estimated: nobody else may be better.
    check([[2.0, 2.5], [2.0, 2.0], [2.0, 2.0]], Some(0), 1);
    // Further outside than it seemed: the next one is ahead.
    check([[5.0, 15.0], [4.0, 4.0], [4.0, 4.0]], Some(1), 2);
    // Still ahead of all others, but not by what is known of the second before it is measured.
    check([[5.0, 15.0], [4.9, 19.0], [4.0, 19.0]], Some(0), 2);
    // Ruled out.
    check([[5.0, 25.0], [5.0, 30.0], [5.0, 5.0]], Some(2), 3);
    check([[5.0, 25.0], [5.0, 30.0], [5.0, 21.0]], None, 3);

    // A strategy may have an order of its own, by its paper's formula: nothing was measured that speaks against it.
    let chosen = |accuracy| Chosen { arch: accuracy, accuracy, cost: latency(4e-3) };
    let ranked = [0.7, 0.9, 0.8].map(chosen).to_vec();
    let (first, _) = first_measured(ranked, &budget, |_| Ok::<(), ()>(())).expect("nothing fails");
    assert_eq!(first.map(|it| it.arch), Some(0.7));
}
