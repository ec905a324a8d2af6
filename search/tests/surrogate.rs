//! Model-based search against random search, on tables whose optimum is known and on cells of another space.
#![expect(clippy::print_stdout, reason = "the figures are a table to read, and a skipped test says so")]

use std::sync::atomic::{AtomicU64, Ordering};

use graph::{Graph, cost::static_cost};
use search::{
    Result,
    evaluator::{Evaluation, Evaluator, Job},
    oracle::{Oracle, Table},
    space::{
        Scale, SearchSpace, Task,
        cell::CellSpace,
        nas_bench_201::{NasBench201, PUBLISHED},
    },
    strategy::{
        Chosen, Strategy,
        random::Random,
        surrogate::{self, Surrogate},
    },
    study::{Progress, Signal, Study, Trial, Unwatched, Watch},
    trials::Effort,
};
use targets::{Bound, Budget, Cost, Figure, Metric};

fn effort(evaluations: usize, scale: Scale) -> Effort {
    Effort { evaluations, epochs: 12, patience: 1000, proxy: scale, full: scale }
}

fn bound(metric: Metric, max: f64, hard: bool) -> Bound {
    Bound { metric, min: None, max: Some(max), hard }
}

fn within(seconds: f64) -> Budget {
    Budget { bounds: vec![bound(Metric::Latency, seconds, true)] }
}

/// What one search finds, and its trials.
fn search<S: SearchSpace>(
    name: &str,
    space: &S,
    evaluator: &mut dyn Evaluator,
    effort: Effort,
    seed: u64,
    budget: &Budget,
) -> (Vec<Chosen<S::Arch>>, Vec<Trial>) {
    let mut study = Study::new(budget.clone(), Box::new(Unwatched));
    let found = match name {
        "random" => Random::new(effort, seed).search(space, evaluator, &mut study),
        _ => Surrogate::new(surrogate::Settings::default(), effort, seed).search(space, evaluator, &mut study),
    };
    (found.expect("it answers"), study.trials().to_vec())
}

/// Mean regret in points of accuracy, and its standard error.
fn regret(name: &str, table: &Table, n_seeds: u64, budget: &Budget) -> (f64, f64) {
    let best = table.best_within(budget).expect("some network is within");
    let next = AtomicU64::new(0);
    let searched = || {
        let mut regrets = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if n_seeds <= seed {
                return regrets;
            }
            let mut oracle = Oracle::new(table);
            let (found, trials) = search(name, &NasBench201, &mut oracle, effort(100, PUBLISHED), seed, budget);
            assert!(oracle.evaluations <= 100, "{name} trains {}", oracle.evaluations);
            assert!(trials.iter().all(|it| it.accuracy.is_none() || budget.admits(&it.cost)), "{name} trains too dear");
            assert!(found.iter().all(|it| budget.admits(&it.cost)), "{name} answers with what breaks a bound");
            regrets.push(100.0 * (best - found[0].accuracy));
        }
    };
    let regrets: Vec<f64> = std::thread::scope(|scope| {
        let workers = [(); 2].map(|()| scope.spawn(searched));
        workers.into_iter().flat_map(|it| it.join().expect("a search does not panic")).collect()
    });
    let n = regrets.len() as f64;
    let mean = regrets.iter().sum::<f64>() / n;
    let variance = regrets.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// At 100 trainings: Optuna's TPE leaves 0.271 points without a bound; within bounds, in milliseconds, the rows are the
/// goals of this strategy.
#[test]
fn on_the_published_table_it_leaves_less_than_the_best_known() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/latency/nb201_cifar10_full.csv");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: nb201_cifar10_full.csv (no ../shared/data)");
        return;
    };
    let table = Table::nas_bench_201(&text).expect("the table is whole");
    let rows = [(None, 0.271), (Some(10), 0.27), (Some(15), 0.29), (Some(20), 1.6), (Some(30), 0.71), (Some(40), 0.55)];
    for (milliseconds, goal) in rows {
        let budget = milliseconds.map_or_else(Budget::default, |it| within(1e-3 * f64::from(it)));
        let (mean, error) = regret("surrogate", &table, 12, &budget);
        println!("within {milliseconds:?} ms: {mean:.3} +- {error:.3}, at most {goal}");
        assert!(mean <= goal, "within {milliseconds:?} ms: {mean} +- {error}, not {goal}");
    }
}

#[test]
fn it_beats_random_search_where_there_is_something_to_learn_and_not_where_there_is_nothing() {
    let table = Table::made_up(1).expect("sizes fit");
    let shuffled = table.shuffled(1);
    for budget in [Budget::default(), within(20e-3)] {
        let [(by_chance, a), (learned, b)] = ["random", "surrogate"].map(|name| regret(name, &table, 16, &budget));
        println!("learned {learned:.3} +- {b:.3}, by chance {by_chance:.3} +- {a:.3}");
        assert!(3.0 * a.hypot(b) < by_chance - learned, "{learned} +- {b} against {by_chance} +- {a}");
        let [(by_chance, a), (learned, b)] = ["random", "surrogate"].map(|name| regret(name, &shuffled, 24, &budget));
        println!("shuffled: {learned:.3} +- {b:.3}, by chance {by_chance:.3} +- {a:.3}");
        assert!((by_chance - learned).abs() < 3.0 * a.hypot(b), "{learned} +- {b} against {by_chance} +- {a}");
    }
}

/// Accuracy grows with the logarithm of the weights up to a point, and falls behind it; luck adds a little.
struct MadeUp {
    trained: usize,
}

impl Evaluator for MadeUp {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        self.trained += jobs.len();
        let accuracy = |graph: &Graph| {
            let luck = (graph.digest() % 1000) as f64 * 1e-5;
            0.9 - 0.1 * ((static_cost(graph).params as f64).log10() - 4.0).abs() - luck
        };
        let told = |job: &Job<'_>| Evaluation { curve: vec![accuracy(job.graph)], ..Evaluation::default() };
        Ok(jobs.iter().map(told).collect())
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        let fixed = static_cost(deployed);
        let exact = [(Metric::Params, fixed.params), (Metric::Macs, fixed.macs)];
        Ok(Cost { figures: exact.map(|(metric, value)| (metric, Figure::exact(value as f64))).into() })
    }
}

const SMALL: Scale =
    Scale { layers: 3, channels: 4, input: [1, 16, 16], classes: 10, front_end: None, task: Task::Classification };

#[test]
fn it_serves_spaces_whose_questions_follow_from_answers() {
    let mean = |name: &str| {
        let best = |seed| {
            let mut evaluator = MadeUp { trained: 0 };
            let found =
                search(name, &CellSpace::default(), &mut evaluator, effort(40, SMALL), seed, &Budget::default()).0;
            assert_eq!(evaluator.trained, 40, "{name}");
            found[0].accuracy
        };
        (0..8).map(best).sum::<f64>() / 8.0
    };
    let (learned, by_chance) = (mean("surrogate"), mean("random"));
    println!("cells: {learned:.4}, by chance {by_chance:.4}");
    assert!(by_chance + 1e-3 < learned, "{learned} against {by_chance}");
}

#[test]
fn several_bounds_hold_and_soft_ones_shape_what_is_trained() {
    let cells = CellSpace::default();
    let mut costs: Vec<(f64, f64)> = (0..100)
        .map(|nth| {
            let cell = cells.sample(&mut search::chooser::Uniform::new(5, "costs", nth));
            let fixed = static_cost(&cells.build(&cell, &SMALL).expect("it fits"));
            (fixed.macs as f64, fixed.params as f64)
        })
        .collect();
    costs.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let (macs, params) = costs[50];
    let hard = [bound(Metric::Macs, macs, true), bound(Metric::Params, params, true)];
    let soft = bound(Metric::Params, 0.5 * params, false);
    let n_inside = |bounds: Vec<Bound>| -> usize {
        let budget = Budget { bounds };
        let of = |seed| {
            let mut evaluator = MadeUp { trained: 0 };
            let (found, trials) = search("surrogate", &cells, &mut evaluator, effort(40, SMALL), seed, &budget);
            assert!(trials.iter().all(|it| it.accuracy.is_some() == budget.admits(&it.cost)));
            assert!(found.is_sorted_by(|a, b| b.score(&budget) <= a.score(&budget)));
            found.iter().filter(|it| it.cost.figures[&Metric::Params].value <= 0.5 * params).count()
        };
        (0..4).map(of).sum()
    };
    let (bound, free) = (n_inside(hard.into_iter().chain([soft]).collect()), n_inside(hard.into()));
    println!("{bound} of 160 networks are within the soft bound, {free} without it");
    assert!(2 * free < bound, "{bound} networks are within the soft bound, {free} without it");
}

#[test]
fn a_space_that_is_exhausted_and_a_budget_that_nothing_meets_end_the_search() {
    let tiny = CellSpace { blocks: 1..=1 };
    let mut evaluator = MadeUp { trained: 0 };
    let (found, trials) = search("surrogate", &tiny, &mut evaluator, effort(500, SMALL), 1, &Budget::default());
    assert_eq!((tiny.size(), evaluator.trained, found.len(), trials.len()), (100, 100, 100, 100));
    let budget = Budget { bounds: vec![bound(Metric::Params, 1.0, true)] };
    let mut evaluator = MadeUp { trained: 0 };
    let (found, trials) = search("surrogate", &tiny, &mut evaluator, effort(500, SMALL), 1, &budget);
    assert_eq!((evaluator.trained, found.len(), trials.len()), (0, 0, 100));
    let impatient = Effort { patience: 2, ..effort(5, SMALL) };
    let (found, trials) = search("surrogate", &CellSpace::default(), &mut evaluator, impatient, 1, &budget);
    assert_eq!((found.len(), trials.len()), (0, 10));
}

/// Everything is as good as anything else.
struct Flat;

impl Evaluator for Flat {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        Ok(jobs.iter().map(|_| Evaluation { curve: vec![0.1], ..Evaluation::default() }).collect())
    }

    fn cost(&mut self, _: &Graph) -> Result<Cost> {
        Ok(Cost::default())
    }
}

#[test]
fn where_all_are_equal_each_training_is_of_another_network() {
    let (found, trials) = search("surrogate", &NasBench201, &mut Flat, effort(40, PUBLISHED), 1, &Budget::default());
    assert_eq!((found.len(), trials.len()), (40, 40));
}

/// Ends a search after a number of trials.
struct Ends(u64, Signal);

impl Watch for Ends {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        if self.0 <= progress.trials { self.1 } else { Signal::Continue }
    }
}

#[test]
fn a_resumed_search_is_the_uninterrupted_one_and_a_late_one_answers() {
    let table = Table::made_up(2).expect("sizes fit");
    let run = |study: &mut Study, oracle: &mut Oracle<'_>| {
        Surrogate::new(surrogate::Settings::default(), effort(60, PUBLISHED), 7).search(&NasBench201, oracle, study)
    };
    let folder = tempfile::tempdir().expect("a folder");
    let open = |watch| Study::open(folder.path(), within(20e-3), watch).expect("it opens");
    let mut first = Oracle::new(&table);
    let stopped = run(&mut open(Box::new(Ends(70, Signal::Stop))), &mut first);
    assert!(matches!(stopped, Err(search::Error::Interrupted)));
    assert!(10 < first.evaluations && first.evaluations < 60, "{}", first.evaluations);
    let (mut study, mut second) = (open(Box::new(Unwatched)), Oracle::new(&table));
    let resumed = run(&mut study, &mut second).expect("a table answers");
    assert_eq!(first.evaluations + second.evaluations, 60);
    let mut whole = Study::new(within(20e-3), Box::new(Unwatched));
    assert_eq!(run(&mut whole, &mut Oracle::new(&table)).expect("a table answers"), resumed);
    assert_eq!(whole.trials(), study.trials());
    let mut late = Study::new(within(20e-3), Box::new(Ends(40, Signal::WrapUp)));
    let found = run(&mut late, &mut Oracle::new(&table)).expect("a table answers");
    assert!(!found.is_empty() && late.trials().len() == 40, "{} trials", late.trials().len());
}
