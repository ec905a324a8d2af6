//! ASHA on learning curves that cross: who is promoted, what it costs, and whether it pays.
#![expect(clippy::print_stdout, reason = "the figures are a table to read")]

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
    time::Duration,
};

use graph::{
    Graph, GraphError,
    weights::{Tensor, Weights},
};
use search::{
    Result,
    chooser::{Chooser, Kind, Question},
    evaluator::{Evaluation, Evaluator, Job, Saved, Start},
    oracle::{Oracle, Table},
    space::{
        Scale, SearchSpace,
        nas_bench_201::{Arch, EdgeOp, NasBench201, PUBLISHED},
    },
    strategy::{
        Chosen, Strategy,
        asha::{self, Asha},
        random::Random,
    },
    study::{Progress, Signal, Study, Trial, Unwatched, Watch},
    trials::Effort,
};
use targets::{Bound, Budget, Cost, Metric};

/// Networks whose accuracy after `e` epochs is `a - (a - 0.1) exp(-e / s)`, with the asymptote `a` of a table and a speed
/// `s` of its own: curves cross. It keeps how long it trained each, and holds the jobs against that.
struct Curves<'a> {
    oracle: Oracle<'a>,
    /// Epochs of each network, by digest.
    trained: BTreeMap<u64, usize>,
    /// Epochs in all.
    epochs: usize,
}

impl<'a> Curves<'a> {
    fn new(table: &'a Table) -> Self {
        Self { oracle: Oracle::new(table), trained: BTreeMap::new(), epochs: 0 }
    }

    fn asymptote(&mut self, graph: &Graph) -> Result<f64> {
        Ok(Evaluator::evaluate(&mut self.oracle, &[job(graph)])?[0].last())
    }
}

fn job(graph: &Graph) -> Job<'_> {
    Job { graph, fidelity: search::evaluator::Fidelity::epochs(1) }
}

/// Epochs until two thirds of the way are done: 2 to 12, by fingerprint, which stays the same from one build to the next.
fn speed(graph: &Graph) -> f64 {
    let digest = u64::from_str_radix(&graph.fingerprint(), 16).expect("it is hexadecimal");
    2.0 + 10.0 * (digest.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24)
}

impl Evaluator for Curves<'_> {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        let mut told = Vec::new();
        for job in jobs {
            let (digest, asymptote) = (job.graph.digest(), self.asymptote(job.graph)?);
            let speed = speed(job.graph);
            let before = match job.fidelity.start {
                Start::Scratch => 0,
                Start::Resume => self.trained[&digest],
                Start::Inherit => panic!("nothing is inherited"),
            };
            assert!(before < job.fidelity.epochs, "it trains on");
            self.trained.insert(digest, job.fidelity.epochs);
            self.epochs += job.fidelity.epochs - before;
            let at = |epoch: usize| asymptote - (asymptote - 0.1) * (-(epoch as f64) / speed).exp();
            let curve = (before + 1..=job.fidelity.epochs).map(at).collect();
            told.push(Evaluation { curve, took: Duration::ZERO });
        }
        Ok(told)
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        Evaluator::cost(&mut self.oracle, deployed)
    }

    fn save(&self) -> Result<Saved> {
        let tensor = |epochs: usize| Tensor { shape: vec![1], values: vec![epochs as f32] };
        let tensors = self.trained.iter().map(|(digest, &epochs)| (digest.to_string(), tensor(epochs))).collect();
        Ok(Saved { weights: Weights { tensors }, ..Saved::default() })
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        let read = |(digest, tensor): (&String, &Tensor)| {
            (digest.parse().expect("a number was written"), tensor.values[0] as usize)
        };
        self.trained = saved.weights.tensors.iter().map(read).collect();
        Ok(())
    }
}

fn effort(evaluations: usize) -> Effort {
    Effort { evaluations, epochs: 64, patience: 1000, proxy: PUBLISHED, full: PUBLISHED }
}

fn settings(workers: usize) -> asha::Settings {
    asha::Settings { eta: 4, min_epochs: 1, max_epochs: 64, workers, total_epochs: None }
}

/// What ASHA found, its trials, and the epochs that it spent.
fn asha(
    table: &Table,
    settings: asha::Settings,
    evaluations: usize,
    seed: u64,
    budget: &Budget,
) -> (Vec<Chosen<Arch>>, Vec<Trial>, usize) {
    let mut study = Study::new(budget.clone(), Box::new(Unwatched));
    let mut evaluator = Curves::new(table);
    let found = Asha::new(settings, effort(evaluations), seed).search(&NasBench201, &mut evaluator, &mut study);
    (found.expect("it answers"), study.trials().to_vec(), evaluator.epochs)
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::made_up(3).expect("sizes fit"));

fn latency(max: f64, hard: bool) -> Budget {
    Budget { bounds: vec![Bound { metric: Metric::Latency, min: None, max: Some(max), hard }] }
}

/// Follows the trials with a clock of its own. At every moment when a worker is free, what has finished decides: the
/// first of the highest rung that belongs to its best quarter and was not promoted; something new only where there is
/// none.
fn replay(trials: &[Trial], workers: usize, budget: &Budget) -> usize {
    let key = |trial: &Trial| serde_json::to_string(&trial.arch).expect("plain data");
    let score = |nth: usize| {
        let excess: f64 = budget.excesses(&trials[nth].cost).sum();
        trials[nth].accuracy.expect("it was trained") * 0.9_f64.powf(excess)
    };
    let epochs = |trial: &Trial| trial.epochs.expect("it was trained");
    let mut in_flight: Vec<(usize, usize)> = Vec::new();
    let mut finished: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut promoted: HashMap<usize, Vec<String>> = HashMap::new();
    let (mut now, mut n_promoted) = (0, 0);
    for (nth, trial) in trials.iter().enumerate() {
        if trial.accuracy.is_none() {
            continue;
        }
        while in_flight.len() == workers {
            now = in_flight.iter().map(|(done, _)| *done).min().expect("somebody works");
            let mut done: Vec<usize> = in_flight.iter().filter(|(done, _)| *done == now).map(|(_, nth)| *nth).collect();
            done.sort_unstable();
            in_flight.retain(|(done, _)| *done != now);
            done.into_iter().for_each(|nth| finished.entry(epochs(&trials[nth])).or_default().push(nth));
        }
        let mut expected = None;
        for rung in [16, 4, 1] {
            let mut all = finished.get(&rung).cloned().unwrap_or_default();
            all.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
            let already = promoted.entry(rung).or_default();
            let best = all.iter().take(all.len() / 4).find(|&&nth| !already.contains(&key(&trials[nth])));
            if let Some(&best) = best {
                already.push(key(&trials[best]));
                expected = Some((key(&trials[best]), 4 * rung));
                break;
            }
        }
        match expected {
            Some(promotion) => {
                n_promoted += 1;
                assert_eq!((key(trial), epochs(trial)), promotion, "trial {nth}");
            }
            None => assert_eq!(epochs(trial), 1, "trial {nth}"),
        }
        in_flight.push((now + epochs(trial) - epochs(trial) / 4, nth));
    }
    n_promoted
}

#[test]
fn the_best_quarter_of_each_rung_is_promoted_at_once() {
    let mut n_top = 0;
    for workers in [1, 2, 3, 8, 25] {
        for (seed, budget) in [(0, Budget::default()), (1, latency(20e-3, true)), (2, latency(12e-3, false))] {
            for seed in [seed, seed + 3] {
                let (_, trials, _) = asha(&TABLE, settings(workers), 150, seed, &budget);
                let n_promoted = replay(&trials, workers, &budget);
                assert!((20..60).contains(&n_promoted), "{n_promoted} with {workers} workers");
                n_top += trials.iter().filter(|it| it.epochs == Some(64)).count();
                let epochs: Vec<usize> = trials.iter().filter_map(|it| it.epochs).collect();
                assert!(epochs.iter().all(|it| [1, 4, 16, 64].contains(it)));
            }
        }
    }
    assert!(20 < n_top, "of 30 searches most have somebody come to the top");
}

/// Each rung is entered by a quarter of the one below, at four times the epochs: about as many epochs a rung.
#[test]
fn it_spends_far_fewer_epochs_than_training_all_to_the_end() {
    let (_, trials, spent) = asha(&TABLE, settings(4), 400, 1, &Budget::default());
    let n_networks = trials.iter().filter(|it| it.epochs == Some(1)).count();
    println!("{n_networks} networks, {spent} epochs, {} to train all", 64 * n_networks);
    assert!(10 * spent < 64 * n_networks);
    // About a quarter of each rung is promoted, and some more while it grows, when the best change.
    assert!((270..=320).contains(&n_networks), "{n_networks} of 400 trainings are no promotions");
    let increments = trials.iter().filter_map(|it| it.epochs).map(|it| it - it / 4).sum::<usize>();
    assert_eq!(spent, increments, "nobody starts over");
}

#[test]
fn rungs_are_those_of_the_paper() {
    let check = |min_epochs, max_epochs, eta, expected: &[usize]| {
        let settings = asha::Settings { eta, min_epochs, max_epochs, workers: 4, total_epochs: None };
        let (_, trials, _) = asha(&TABLE, settings, 300, 2, &Budget::default());
        let mut rungs: Vec<usize> = trials.iter().filter_map(|it| it.epochs).collect();
        rungs.sort_unstable();
        rungs.dedup();
        assert_eq!(rungs, expected);
    };
    check(1, 64, 4, &[1, 4, 16, 64]);
    check(1, 63, 4, &[1, 4, 16]);
    check(3, 27, 3, &[3, 9, 27]);
    check(5, 5, 4, &[5]);
    let asha::Settings { eta, min_epochs, max_epochs, .. } = asha::Settings::default();
    check(min_epochs, max_epochs, eta, &[75, 300]);
}

#[test]
fn it_beats_random_search_at_equal_epochs() {
    for budget in [Budget::default(), latency(20e-3, true)] {
        let best = TABLE.best_within(&budget).expect("some network is within");
        let (mut gains, mut regrets) = (Vec::new(), [0.0; 2]);
        for seed in 0..40 {
            let total = 12 * 64;
            let settings = asha::Settings { total_epochs: Some(total), ..settings(4) };
            let (found, trials, spent) = asha(&TABLE, settings, 100_000, seed, &budget);
            assert!(spent <= total && total < spent + 64, "{spent} of {total}");
            assert!(100 < trials.len());
            let mut evaluator = Curves::new(&TABLE);
            let mut study = Study::new(budget.clone(), Box::new(Unwatched));
            let drawn = Random::new(effort(12), seed).search(&NasBench201, &mut evaluator, &mut study);
            assert_eq!(evaluator.epochs, total);
            // By what the networks are worth in the end.
            let mut worth = |found: &[Chosen<Arch>]| {
                evaluator.asymptote(&NasBench201.build(&found[0].arch, &PUBLISHED).expect("it fits")).expect("a row")
            };
            let (ours, theirs) = (worth(&found), worth(&drawn.expect("it answers")));
            gains.push(100.0 * (ours - theirs));
            regrets[0] += 100.0 * (best - ours) / 40.0;
            regrets[1] += 100.0 * (best - theirs) / 40.0;
        }
        let mean = gains.iter().sum::<f64>() / 40.0;
        let error = (gains.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / 39.0 / 40.0).sqrt();
        println!("regret {:.2}, random search {:.2}: gain {mean:.2} +- {error:.2}", regrets[0], regrets[1]);
        assert!(3.0 * error < mean);
    }
}

#[test]
fn bounds_are_kept() {
    let (found, trials, _) = asha(&TABLE, settings(4), 100, 4, &latency(15e-3, true));
    assert!(found.iter().all(|it| latency(15e-3, true).admits(&it.cost)));
    assert!(trials.iter().any(|it| !it.admitted) && trials.iter().all(|it| it.admitted || it.accuracy.is_none()));
    // A soft bound rules nothing out, and has others promoted.
    let soft = latency(5e-3, false);
    let outside = |budget: &Budget| {
        let (found, trials, _) = asha(&TABLE, settings(4), 100, 4, budget);
        assert!(found.is_sorted_by(|a, b| b.score(budget) <= a.score(budget)) && trials.iter().all(|it| it.admitted));
        let promoted: Vec<&Trial> = trials.iter().filter(|it| 4 <= it.epochs.unwrap_or(0)).collect();
        let excess: f64 = promoted.iter().map(|it| soft.excesses(&it.cost).sum::<f64>()).sum();
        excess / promoted.len() as f64
    };
    let (bound, free) = (outside(&soft), outside(&Budget::default()));
    println!("promotions are {bound:.2} outside, {free:.2} without the bound");
    assert!(1.5 * bound < free, "{bound} outside, {free} without the bound");
    // Where nothing is within, patience ends it.
    let mut study = Study::new(latency(1e-6, true), Box::new(Unwatched));
    let few = Effort { patience: 10, ..effort(20) };
    let found = Asha::new(settings(4), few, 1).search(&NasBench201, &mut Curves::new(&TABLE), &mut study);
    assert_eq!(found.expect("it answers"), []);
    assert!(study.trials().len() <= 200);
}

#[test]
fn it_trains_no_more_than_it_may_and_nothing_twice() {
    for evaluations in [0, 1, 7, 100] {
        for workers in [1, 8] {
            let (found, trials, _) = asha(&TABLE, settings(workers), evaluations, 5, &Budget::default());
            assert_eq!(trials.len(), evaluations);
            assert_eq!(found.is_empty(), evaluations == 0);
            let mut proposed: Vec<String> = trials.iter().map(|it| format!("{} {:?}", it.arch, it.epochs)).collect();
            proposed.sort_unstable();
            proposed.dedup();
            assert_eq!(proposed.len(), evaluations);
        }
    }
    for total in [0, 1, 50] {
        let settings = asha::Settings { total_epochs: Some(total), ..settings(8) };
        let (_, _, spent) = asha(&TABLE, settings, 1000, 5, &Budget::default());
        assert!(spent <= total);
    }
}

/// The networks of which all edges but two pass their input on.
struct Few;

impl SearchSpace for Few {
    type Arch = Arch;

    fn sample(&self, chooser: &mut dyn Chooser) -> Arch {
        let mut edges = [EdgeOp::SkipConnect; 6];
        for edge in &mut edges[..2] {
            *edge = EdgeOp::ALL[chooser.choose(Question { kind: Kind::Op, options: EdgeOp::ALL.len() })];
        }
        Arch { edges }
    }

    fn build(&self, arch: &Arch, scale: &Scale) -> std::result::Result<Graph, GraphError> {
        NasBench201.build(arch, scale)
    }

    fn size(&self) -> u128 {
        25
    }

    fn cheapest(&self) -> Vec<Arch> {
        NasBench201.cheapest()
    }
}

#[test]
fn it_ends_when_nothing_new_can_be_drawn() {
    let mut study = Study::new(Budget::default(), Box::new(Unwatched));
    let found = Asha::new(settings(8), effort(1000), 5).search(&Few, &mut Curves::new(&TABLE), &mut study);
    assert_eq!(found.expect("it answers").len(), 25);
    let at = |epochs| study.trials().iter().filter(|it| it.epochs == Some(epochs)).count();
    // Some more than a quarter: in a growing rung the best change.
    assert_eq!(at(1), 25);
    assert!((6..=12).contains(&at(4)) && (1..=3).contains(&at(16)), "{} and {}", at(4), at(16));
}

/// Ends a search after a number of trials, in one way or the other.
struct Ends(u64, Signal);

impl Watch for Ends {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        if self.0 <= progress.trials { self.1 } else { Signal::Continue }
    }
}

/// A resumed search gets the evaluator's state back: what is promoted goes on from its own training.
#[test]
fn a_resumed_search_is_an_uninterrupted_one() {
    let budget = latency(20e-3, true);
    for stops in [3, 41] {
        let folder = tempfile::tempdir().expect("a folder");
        let run = |watch: Box<dyn Watch>| {
            let mut study = Study::open(folder.path(), budget.clone(), watch).expect("it opens");
            let mut evaluator = Curves::new(&TABLE);
            let found = Asha::new(settings(4), effort(60), 6).search(&NasBench201, &mut evaluator, &mut study);
            (found, study.trials().to_vec(), evaluator.epochs)
        };
        let (stopped, _, first) = run(Box::new(Ends(stops, Signal::Stop)));
        assert!(matches!(stopped, Err(search::Error::Interrupted)));
        let (resumed, trials, second) = run(Box::new(Unwatched));
        let (found, whole, spent) = asha(&TABLE, settings(4), 60, 6, &budget);
        assert_eq!(resumed.expect("it answers"), found);
        assert_eq!(trials, whole);
        // What was in flight when it stopped is trained again, at most one job a worker.
        assert!((spent..=spent + 4 * 48).contains(&(first + second)), "{first} and {second} of {spent}");
        let (_, _, third) = run(Box::new(Unwatched));
        assert_eq!(third, 0, "a finished search only reads");
    }
}

#[test]
fn a_deadline_ends_it_with_an_answer() {
    let mut study = Study::new(Budget::default(), Box::new(Ends(50, Signal::WrapUp)));
    let found = Asha::new(settings(8), effort(1000), 7).search(&NasBench201, &mut Curves::new(&TABLE), &mut study);
    assert!(!found.expect("it answers").is_empty() && study.trials().len() <= 57);
}
