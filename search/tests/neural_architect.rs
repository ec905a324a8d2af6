//! Neural Architect: its formulas, its simulator, and searches in which there is something to learn.

use std::{path::Path, time::Duration};

use data::keyed;
use graph::{
    Activation, Conv2d, Graph, GraphError, Op, Shape,
    cost::{StaticCost, static_cost},
};
use search::{
    Error, Result,
    chooser::{Chooser, Kind, Question, Replay, Uniform},
    evaluator::{Evaluation, Evaluator, Job, Saved, Start},
    oracle::{Oracle, Table},
    policy::{
        Adam, Architect, ArchitectSettings, Gradient, Images, Sample, Simulator, SimulatorSettings, Stepped, Training,
    },
    space::{
        Morph, Scale, SearchSpace, Task,
        nas_bench_201::{Arch, NasBench201, PUBLISHED},
    },
    strategy::{
        Chosen, Strategy,
        neural_architect::{NAME, NeuralArchitect, Roofline, Settings, roofline_time},
        random::Random,
    },
    study::{Predicted, Progress, Signal, Study, Trial, Unwatched, Watch},
    trials::{Effort, Trials},
};
use targets::{Bound, Budget, Cost, Figure, Metric};

const IMAGES: Images = Images { size: 45_000, distribution: 1.0, regularity: 0.9 };

fn effort(evaluations: usize) -> Effort {
    Effort { evaluations, epochs: 12, patience: 1000, proxy: PUBLISHED, full: PUBLISHED }
}

/// Small enough for a search of a hundred networks in some hundredths of a second.
fn small(simulator: Option<Training>) -> Settings {
    let architect = ArchitectSettings {
        lookup: 8,
        layer: 8,
        network: 16,
        hidden: 16,
        adam: Adam::new(0.01),
        ..ArchitectSettings::default()
    };
    let simulator = simulator.map(|training| SimulatorSettings { hidden: 16, training, ..Default::default() });
    Settings { steps: 1, architect, simulator, ..Settings::default() }
}

const MODES: [Option<Training>; 3] = [None, Some(Training::Joint), Some(Training::Frozen)];

fn bound(metric: Metric, max: f64, hard: bool) -> Bound {
    Bound { metric, min: None, max: Some(max), hard }
}

fn study(budget: &Budget) -> Study {
    Study::new(budget.clone(), Box::new(Unwatched))
}

// Time of training.

#[test]
fn the_roofline_is_compute_or_memory_whichever_is_slower() {
    let machine =
        Roofline { flops_per_second: 1e12, bytes_per_second: 1e11, reached: 0.25, batch: 100, images: 50_000 };
    let cost = |macs, traffic_bytes, model_bytes| StaticCost { macs, traffic_bytes, model_bytes, ..Default::default() };
    let rows = [
        // 50,000 images, three passes of 2e8 FLOPs each, at 1e12 a second.
        ("compute", cost(100_000_000, 1_000_000, 0), 30.0),
        // Three passes of 1e8 bytes each, at 1e11 a second.
        ("memory", cost(1_000_000, 100_000_000, 0), 150.0),
        // Weights are read once a minibatch, not once an image: 500 minibatches, three passes of 1e8 bytes.
        ("weights", cost(1_000, 100_000_000, 100_000_000), 1.5),
        ("where both are equal", cost(100_000_000, 20_000_000, 0), 30.0),
        ("nothing", cost(0, 0, 0), 0.0),
    ];
    for (what, cost, expected) in rows {
        let found = roofline_time(&cost, &machine);
        assert!((found - expected).abs() < 1e-9, "{what}: {found}, not {expected}");
    }
    let twice = Roofline { images: 100_000, ..machine };
    assert_eq!(roofline_time(&rows[1].1, &twice), 300.0);
}

#[test]
fn a_roofline_gives_the_times_that_bounds_hold_and_what_may_be_slower_is_not_admitted() {
    let table = Table::made_up(1).expect("sizes fit");
    let machine =
        Roofline { flops_per_second: 1e12, bytes_per_second: 1e11, reached: 0.5, batch: 128, images: 600_000 };
    let time =
        |arch: &Arch| roofline_time(&static_cost(&NasBench201.build(arch, &PUBLISHED).expect("it fits")), &machine);
    let limit = 600.0;
    let budget = Budget { bounds: vec![bound(Metric::TrainTime, limit, true)] };
    for (roofline, can_answer) in [(Some(machine), true), (None, false)] {
        let settings = Settings { roofline, ..small(Some(Training::Joint)) };
        let (mut study, mut oracle) = (study(&budget), Oracle::new(&table));
        let short = Effort { patience: 20, ..effort(40) };
        let found = NeuralArchitect::new(settings, IMAGES, short, 0).search(&NasBench201, &mut oracle, &mut study);
        let found = found.expect("a table answers");
        // Nobody else says how long a training takes, and what is not known is not within a bound.
        assert_eq!(!found.is_empty(), can_answer);
        assert!(found.iter().all(|it| time(&it.arch) <= machine.reached * limit));
        if can_answer {
            let slow = study.trials().iter().filter(|it| !it.admitted).count();
            assert!(0 < slow && study.trials().iter().all(|it| it.cost.get(Metric::TrainTime).is_some()), "{slow}");
        }
    }
}

// The simulator.

/// Samples of the made-up table, the time of a training being proportional to the network's work.
fn samples(table: &Table, n: u64, purpose: &str) -> Vec<Sample> {
    let mut oracle = Oracle::new(table);
    let sample = |nth| {
        let arch = NasBench201.sample(&mut Uniform::new(0, purpose, nth));
        let graph = NasBench201.build(&arch, &PUBLISHED).expect("it fits");
        let job = Job { graph: &graph, fidelity: search::evaluator::Fidelity::epochs(1) };
        let accuracy = oracle.evaluate(&[job]).expect("a table answers")[0].last();
        let train_time = Some(1e-5 * static_cost(&graph).macs as f64);
        Sample { layers: NasBench201.embed(&arch), images: IMAGES, accuracy, train_time }
    };
    (0..n).map(sample).collect()
}

fn taught(architect: &mut Architect, samples: &[Sample], steps: u64) -> Simulator {
    let mut simulator = Simulator::new(SimulatorSettings { hidden: 16, ..Default::default() });
    for step in 0..steps {
        let mut gradient = Gradient::default();
        simulator.learn(architect, samples, keyed::rng(0, "taught", step), &mut gradient);
        architect.ascend(gradient);
    }
    simulator
}

fn architect(seed: u64) -> Architect {
    Architect::new(small(None).architect, seed)
}

/// Correlation of ranks would need ties resolved; that of values is stricter here.
fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let (a, b) = pairs.iter().fold((0.0, 0.0), |(a, b), it| (a + it.0 / n, b + it.1 / n));
    let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|it| of(it.0 - a, it.1 - b)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

#[test]
fn the_simulator_predicts_accuracy_and_time_of_networks_that_it_has_not_seen() {
    let table = Table::made_up(3).expect("sizes fit");
    let (known, others) = (samples(&table, 60, "known"), samples(&table, 100, "others"));
    let of = |simulator: &Simulator, architect: &mut Architect| {
        let predict = |it: &Sample| simulator.predict(architect, &it.layers, &it.images).expect("it was taught");
        let predicted: Vec<_> = others.iter().map(predict).collect();
        let pairs = others.iter().zip(&predicted);
        let accuracy: Vec<_> = pairs.clone().map(|(it, told)| (it.accuracy, told.accuracy)).collect();
        let time: Vec<_> = pairs
            .map(|(it, told)| {
                (it.train_time.expect("it is there").ln(), told.train_time.expect("it was taught times").ln())
            })
            .collect();
        let away = time.iter().map(|(a, b)| (a - b).abs()).sum::<f64>() / time.len() as f64;
        (correlation(&accuracy), correlation(&time), away)
    };
    for seed in 0..3 {
        let mut architect = architect(seed);
        assert_eq!(Simulator::new(SimulatorSettings::default()).predict(&mut architect, &[], &IMAGES), None);
        let simulator = taught(&mut architect, &known, 300);
        let (accuracy, time, away) = of(&simulator, &mut architect);
        assert!(0.75 < accuracy && 0.9 < time && away < 0.5, "{accuracy}, {time}, {away}");
    }
}

#[test]
fn what_is_known_of_the_images_tells_data_sets_apart() {
    let table = Table::made_up(3).expect("sizes fit");
    let easy = samples(&table, 20, "known");
    let hard = Images { size: 1_000, distribution: 0.5, regularity: 0.1 };
    let harder = |it: &Sample| Sample { images: hard, accuracy: 0.5 * it.accuracy, ..it.clone() };
    let both: Vec<Sample> = easy.iter().cloned().chain(easy.iter().map(harder)).collect();
    let mut architect = architect(0);
    let simulator = taught(&mut architect, &both, 200);
    let mut mean = |images: &Images| {
        let predict = |it: &Sample| simulator.predict(&mut architect, &it.layers, images).expect("taught").accuracy;
        easy.iter().map(predict).sum::<f64>() / easy.len() as f64
    };
    let ratio = mean(&hard) / mean(&IMAGES);
    assert!((ratio - 0.5).abs() < 0.1, "{ratio}");
}

#[test]
fn a_frozen_embedding_leaves_predictions_as_they_are_while_the_policy_learns() {
    let table = Table::made_up(3).expect("sizes fit");
    let known = samples(&table, 20, "known");
    for is_frozen in [true, false] {
        let mut architect = architect(0);
        let simulator = taught(&mut architect, &known, 50);
        if is_frozen {
            architect.freeze();
        }
        let before = simulator.predict(&mut architect, &known[0].layers, &IMAGES);
        let (first, value) = (step(&mut architect, &known[0].layers, 0).1, architect.value(&known[0].layers));
        for _ in 0..20 {
            let mut gradient = Gradient::default();
            let (_, stepped) = step(&mut architect, &known[0].layers, 0);
            architect.actor_critic(&stepped, 1.0, 1.0, &mut gradient);
            architect.ascend(gradient);
        }
        assert_eq!(simulator.predict(&mut architect, &known[0].layers, &IMAGES) == before, is_frozen);
        let again = step(&mut architect, &known[0].layers, 0).1;
        assert!(again.log_probability() != first.log_probability() && value < architect.value(&known[0].layers));
    }
}

// The policy and the critic.

fn step(architect: &mut Architect, layers: &[Vec<usize>], nth: u64) -> (Vec<usize>, Stepped) {
    let ask = |chooser: &mut dyn Chooser| {
        let place = chooser.choose(Question { kind: Kind::Place, options: 6 });
        vec![place, chooser.choose(Question { kind: Kind::Op, options: 5 })]
    };
    architect.step(layers, keyed::rng(0, "step", nth), ask)
}

/// With a reward of 1 for one action and `gamma`, `V` of a state that leads to itself goes to `1 / (1 - gamma)`.
#[test]
fn actor_and_critic_learn_what_is_rewarded_and_what_it_is_worth() {
    let layers = vec![vec![1], vec![2], vec![0], vec![4], vec![3], vec![1]];
    let mut architect = architect(0);
    let gamma = 0.5;
    let mut last = Vec::new();
    for nth in 0..400 {
        let (answers, stepped) = step(&mut architect, &layers, nth);
        assert_eq!(answers, stepped.answers());
        assert_eq!(stepped.value(), architect.value(&layers));
        let reward = f64::from(u8::from(answers == [3, 2]));
        let advantage = reward + gamma * architect.value(&layers) - stepped.value();
        let mut gradient = Gradient::default();
        architect.actor_critic(&stepped, advantage, 1.0, &mut gradient);
        architect.ascend(gradient);
        last.push(reward);
    }
    let rate = last[300..].iter().sum::<f64>() / 100.0;
    assert!(0.9 < rate, "{rate}");
    let value = architect.value(&layers);
    assert!((value - rate / (1.0 - gamma)).abs() < 0.2, "{value}");
}

#[test]
fn the_selector_and_the_network_of_each_edit_learn_apart() {
    let mut architect = architect(0);
    let (space, start) = (Chains { deepest: 4 }, vec![[0, 0], [1, 1]]);
    let mut met = [0; 2];
    for nth in 0..40 {
        let rng = keyed::rng(0, "edits", nth);
        let (next, stepped) = architect.step(&space.embed(&start), rng, |chooser| space.morph(&start, chooser));
        met[stepped.answers()[0]] += 1;
        assert_eq!(next.len(), if stepped.answers()[0] == 0 { 3 } else { 2 });
        assert_eq!(next, space.morph(&start, &mut Replay::new(stepped.answers())));
    }
    assert!(met.iter().all(|it| 10 < *it), "a fresh selector hardly prefers anything: {met:?}");
    let (_, weights) = architect.save();
    let has = |part: &str| weights.tensors.keys().any(|key| key.starts_with(&format!("architect/{part}")));
    for part in ["lookup0/", "lookup1/", "layer/lstm", "network/lstm", "selector2", "value", "edit0/", "edit1/"] {
        assert!(has(part), "{part}");
    }
    assert!(!has("edit/") && has("edit0/Place3") && has("edit1/Place2"));
}

#[test]
fn an_architect_goes_on_where_it_was_stored() {
    let layers = vec![vec![0], vec![1]];
    let go_on = |architect: &mut Architect| {
        let mut seen = Vec::new();
        for nth in 0..10 {
            let (_, stepped) = step(architect, &layers, nth);
            let mut gradient = Gradient::default();
            architect.actor_critic(&stepped, 1.0 - stepped.value(), 1.0, &mut gradient);
            architect.ascend(gradient);
            seen.push((stepped.answers().to_vec(), stepped.value()));
        }
        seen
    };
    let mut first = architect(0);
    go_on(&mut first);
    let (updates, mut weights) = first.save();
    let mut second = architect(1);
    second.restore(updates, &mut weights, false).expect("whole");
    assert!(weights.tensors.is_empty(), "what is its own it takes out");
    assert_eq!(go_on(&mut first), go_on(&mut second));
}

// Searches.

/// Mean regret over some seeds, in points of accuracy, and its standard error.
fn regrets(table: &Table, budget: &Budget, evaluations: usize, settings: Option<&Settings>) -> (f64, f64) {
    let best = table.best_within(budget).expect("some network is within");
    let regret = |seed| {
        let (mut study, mut oracle) = (study(budget), Oracle::new(table));
        let effort = effort(evaluations);
        let found = match settings {
            Some(settings) => NeuralArchitect::new(settings.clone(), IMAGES, effort, seed).search(
                &NasBench201,
                &mut oracle,
                &mut study,
            ),
            None => Random::new(effort, seed).search(&NasBench201, &mut oracle, &mut study),
        };
        let found = found.expect("a table answers");
        assert_eq!(oracle.evaluations, evaluations);
        assert!(found.iter().all(|it| budget.admits(&it.cost)), "an answer breaks a bound");
        100.0 * (best - found[0].accuracy)
    };
    let regrets: Vec<f64> = (0..12).map(regret).collect();
    let n = regrets.len() as f64;
    let mean = regrets.iter().sum::<f64>() / n;
    let variance = regrets.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

#[test]
fn it_beats_random_search_where_there_is_something_to_learn() {
    let table = Table::made_up(1).expect("sizes fit");
    let tight = vec![bound(Metric::Latency, 20e-3, true), bound(Metric::Params, 0.6e6, true)];
    for budget in [Budget::default(), Budget { bounds: tight }] {
        let (random, random_error) = regrets(&table, &budget, 60, None);
        for mode in MODES {
            let (learned, error) = regrets(&table, &budget, 60, Some(&small(mode)));
            let gain = random - learned;
            assert!(2.0 * random_error.hypot(error) < gain, "{mode:?}: {learned} +- {error}, random {random}");
        }
    }
}

#[test]
fn it_gains_nothing_where_nothing_can_be_learned() {
    let table = Table::made_up(1).expect("sizes fit").shuffled(1);
    let (random, random_error) = regrets(&table, &Budget::default(), 60, None);
    for mode in MODES {
        let (lucky, error) = regrets(&table, &Budget::default(), 60, Some(&small(mode)));
        assert!(random - lucky < 3.0 * random_error.hypot(error), "{mode:?}: {lucky} +- {error}, random {random}");
    }
}

/// At equal cost the simulator finds better networks, and learning is what does it.
#[test]
fn predictions_pay() {
    let table = Table::made_up(2).expect("sizes fit");
    let (trained, trained_error) = regrets(&table, &Budget::default(), 60, Some(&small(None)));
    let joint = small(Some(Training::Joint));
    let mut blind = joint.clone();
    blind.architect.adam.lr = 0.0;
    let (predicted, predicted_error) = regrets(&table, &Budget::default(), 60, Some(&joint));
    let (blind, blind_error) = regrets(&table, &Budget::default(), 60, Some(&blind));
    assert!(2.0 * trained_error.hypot(predicted_error) < trained - predicted, "{predicted}, without {trained}");
    assert!(3.0 * blind_error.hypot(predicted_error) < blind - predicted, "{predicted}, without learning {blind}");
}

/// A prediction is recorded as one, and never as an accuracy.
#[test]
fn trials_say_what_was_trained_and_what_was_predicted() {
    let table = Table::made_up(1).expect("sizes fit");
    let bounds = vec![bound(Metric::Latency, 20e-3, true), bound(Metric::Params, 0.3e6, false)];
    let budget = Budget { bounds };
    let mut settings = small(Some(Training::Joint));
    settings.accuracy = 0.9;
    settings.weights.insert(Metric::Params, 0.25);
    settings.beta = 0.5;
    let (mut study, mut oracle) = (study(&budget), Oracle::new(&table));
    let mut search = NeuralArchitect::new(settings, IMAGES, effort(60), 5);
    let found = search.search(&NasBench201, &mut oracle, &mut study).expect("a table answers");
    let (noted, told): (Vec<&Trial>, Vec<&Trial>) = study.trials().iter().partition(|it| it.predicted.is_some());
    let trained: Vec<&&Trial> = told.iter().filter(|it| it.accuracy.is_some()).collect();
    assert_eq!((trained.len(), found.len(), oracle.evaluations), (60, 60, 60));
    assert!(60 < noted.len(), "most networks are only predicted: {}", noted.len());
    assert!(noted.iter().all(|it| it.accuracy.is_none() && it.epochs.is_none() && it.curve.is_empty()));
    assert!(noted.iter().any(|it| !it.admitted), "what a hard bound forbids is predicted, and not trained");
    for trial in study.trials() {
        let arch = serde_json::from_value(trial.arch.clone()).expect("a cell");
        let graph = NasBench201.build(&arch, &PUBLISHED).expect("it fits");
        let job = Job { graph: &graph, fidelity: search::evaluator::Fidelity::epochs(12) };
        let truth = Oracle::new(&table).evaluate(&[job]).expect("a table answers")[0].last();
        assert!(trial.accuracy.is_none_or(|it| it == truth), "{trial:?}");
        let predicted = trial.predicted.map(|it| it.accuracy);
        let expected = trial.accuracy.or(predicted).map(|accuracy| {
            let excess = |bound: &Bound| bound.excess(trial.cost.get(bound.metric).expect("it is known").value);
            0.9 * accuracy - 0.5 * (excess(&budget.bounds[0]) + 0.25 * excess(&budget.bounds[1]))
        });
        let gap = trial.reward.zip(expected).map(|(a, b)| (a - b).abs());
        assert!(gap.is_none_or(|it| it < 1e-12) && trial.reward.is_some() == expected.is_some(), "{trial:?}");
    }
    // What is trained after the warm-up was predicted just before.
    let late = trained.iter().rev().take(20);
    assert!(late.into_iter().all(|it| noted.iter().any(|noted| noted.arch == it.arch && noted.trial < it.trial)));
}

/// What was learned on other networks is believed from the first step on, and frozen it says the same to the end.
#[test]
fn a_simulator_that_was_taught_before_needs_no_warm_up() {
    let table = Table::made_up(3).expect("sizes fit");
    let known = samples(&table, 60, "known");
    for training in [Training::Joint, Training::Frozen] {
        let mut settings = small(Some(training));
        let simulator = settings.simulator.as_mut().expect("there is one");
        (simulator.warm_up, simulator.pretraining) = (0, 200);
        let (mut study, mut oracle) = (study(&Budget::default()), Oracle::new(&table));
        let mut search = NeuralArchitect::new(settings, IMAGES, effort(60), 2).pretrained(known.clone());
        search.search(&NasBench201, &mut oracle, &mut study).expect("a table answers");
        let noted: Vec<&Trial> = study.trials().iter().filter(|it| it.predicted.is_some()).collect();
        assert_eq!(noted[0].trial, 8, "the starts alone come before");
        let changed = noted.iter().enumerate().any(|(idx, it)| {
            noted[..idx].iter().any(|before| before.arch == it.arch && before.predicted != it.predicted)
        });
        assert_eq!(changed, training == Training::Joint);
        let told = |it: &&&Trial| study.trials().iter().find(|told| told.arch == it.arch && told.accuracy.is_some());
        let pairs: Vec<(f64, f64)> =
            noted.iter().filter_map(|it| Some((told(&it)?.accuracy?, it.predicted?.accuracy))).collect();
        assert!(20 < pairs.len() && 0.3 < correlation(&pairs), "{training:?}: {}", correlation(&pairs));
    }
}

#[test]
fn soft_bounds_shape_the_search_by_their_weight() {
    let table = Table::made_up(1).expect("sizes fit");
    let budget = Budget { bounds: vec![bound(Metric::Latency, 10e-3, false)] };
    let slow = |weight: f64| {
        let mut sum = 0.0;
        for seed in 0..5 {
            let mut settings = small(None);
            settings.weights.insert(Metric::Latency, weight);
            let (mut study, mut oracle) = (study(&budget), Oracle::new(&table));
            let mut search = NeuralArchitect::new(settings, IMAGES, effort(60), seed);
            search.search(&NasBench201, &mut oracle, &mut study).expect("a table answers");
            sum += study.trials()[30..].iter().map(|it| it.cost.get(Metric::Latency).expect("told").value).sum::<f64>();
        }
        sum / 150.0
    };
    let (free, bound) = (slow(0.0), slow(1.0));
    assert!(bound < 0.7 * free, "{bound} s, without weight {free} s");
}

#[test]
fn bounds_that_few_or_no_networks_meet_end_in_the_cheapest_or_in_nothing() {
    let table = Table::made_up(1).expect("sizes fit");
    let cheapest = NasBench201.cheapest()[0];
    let graph = NasBench201.build(&cheapest, &PUBLISHED).expect("it fits");
    let least = static_cost(&graph).params as f64;
    for mode in MODES {
        for (most, n) in [(least, 64), (least - 1.0, 0)] {
            // As small as it gets are cells without any convolution, 3^6 of 5^6.
            let budget = Budget { bounds: vec![bound(Metric::Params, most, true)] };
            let (mut study, mut oracle) = (study(&budget), Oracle::new(&table));
            let found =
                NeuralArchitect::new(small(mode), IMAGES, effort(64), 0).search(&NasBench201, &mut oracle, &mut study);
            assert_eq!((found.expect("a table answers").len(), oracle.evaluations), (n, n), "{mode:?}");
        }
        // Of chains of up to 60 layers one in 540 is the cheapest, which is looked up.
        let (space, cheapest) = (Chains { deepest: 60 }, vec![[0, 0]]);
        let least = static_cost(&space.build(&cheapest, &TINY).expect("it fits")).params as f64;
        let budget = Budget { bounds: vec![bound(Metric::Params, least, true)] };
        let (mut study, mut world) = (study(&budget), World::new());
        let found = NeuralArchitect::new(small(mode), IMAGES, tiny(5), 0).search(&space, &mut world, &mut study);
        let found: Vec<_> = found.expect("the world answers").into_iter().map(|it| it.arch).collect();
        assert_eq!((found, world.trained), (vec![cheapest], 1), "{mode:?}");
    }
}

/// Ends a search after a number of trials.
struct Ends(u64, Signal);

impl Watch for Ends {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        if self.0 <= progress.trials { self.1 } else { Signal::Continue }
    }
}

#[test]
fn the_deadline_finds_it_with_an_answer() {
    let table = Table::made_up(2).expect("sizes fit");
    for mode in MODES {
        for trials in [1, 30, 50] {
            let mut study = Study::new(Budget::default(), Box::new(Ends(trials, Signal::WrapUp)));
            let mut oracle = Oracle::new(&table);
            let found =
                NeuralArchitect::new(small(mode), IMAGES, effort(200), 1).search(&NasBench201, &mut oracle, &mut study);
            let found = found.expect("a table answers");
            assert!(!found.is_empty() && study.trials().len() < trials as usize + 9, "{mode:?}");
            assert_eq!(found.len(), oracle.evaluations);
        }
    }
}

fn journal(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("study.jsonl")).expect("it is there")
}

#[test]
fn a_resumed_search_ends_as_an_uninterrupted_one_and_trains_nothing_twice() {
    let table = Table::made_up(2).expect("sizes fit");
    let budget = Budget { bounds: vec![bound(Metric::Latency, 20e-3, true)] };
    for mode in MODES {
        for stop in [3, 25, 47] {
            let (halved, whole) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
            let run = |folder: &Path, watch: Box<dyn Watch>| {
                let mut study = Study::open(folder, budget.clone(), watch).expect("it opens");
                let mut oracle = Oracle::new(&table);
                let mut search = NeuralArchitect::new(small(mode), IMAGES, effort(40), 7);
                (search.search(&NasBench201, &mut oracle, &mut study), oracle.evaluations)
            };
            let (stopped, first) = run(halved.path(), Box::new(Ends(stop, Signal::Stop)));
            assert!(matches!(stopped, Err(Error::Interrupted)), "{mode:?}");
            let (resumed, second) = run(halved.path(), Box::new(Unwatched));
            // What was trained together may not all have been recorded.
            assert!((40..40 + 8).contains(&(first + second)), "{mode:?}: {first} and {second}");
            let (uninterrupted, _) = run(whole.path(), Box::new(Unwatched));
            assert_eq!(resumed.expect("a table answers"), uninterrupted.expect("a table answers"), "{mode:?}");
            assert_eq!(journal(halved.path()), journal(whole.path()), "{mode:?}");
        }
    }
}

/// Where time enters decisions a resumed search may train what was only predicted before.
#[test]
fn what_was_predicted_is_no_record_of_a_training() {
    let table = Table::made_up(2).expect("sizes fit");
    let arch = NasBench201.cheapest()[0];
    let predicted = Predicted { accuracy: 0.5, train_time: None };
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Study::open(folder.path(), Budget::default(), Box::new(Unwatched)).expect("it opens");
    let mut oracle = Oracle::new(&table);
    for _ in 0..2 {
        let mut study = open();
        let mut trials = Trials::new(NAME, &NasBench201, &mut oracle, &mut study, effort(1)).expect("it is new");
        let told = trials.note(&arch, predicted, |told| told.accuracy.or(Some(0.4))).expect("a table answers");
        assert!(told.accuracy.is_none() && trials.n_trained() == 0 && trials.trained().is_empty());
        assert_eq!(journal(folder.path()).lines().count(), 1, "a resumed search notes nothing twice");
    }
    for is_timed in [false, true] {
        let mut study = open();
        if is_timed {
            study.allow_other_proposals();
        }
        let told =
            Trials::new(NAME, &NasBench201, &mut oracle, &mut study, effort(1)).expect("it is new").propose(&arch);
        assert_eq!(told.is_ok_and(|it| it.accuracy.is_some()), is_timed);
    }
    let line = journal(folder.path());
    assert!(line.lines().count() == 1 && line.contains("accuracy") && !line.contains("predicted"), "{line}");
}

// A space whose networks grow.

/// Chains of convolutions, each a kernel and a number of channels.
struct Chains {
    deepest: usize,
}

const KERNELS: [usize; 3] = [1, 3, 5];
const CHANNELS: [usize; 3] = [4, 8, 16];

impl Chains {
    fn layer(chooser: &mut dyn Chooser) -> [usize; 2] {
        [Kind::Kernel, Kind::Channels].map(|kind| chooser.choose(Question { kind, options: 3 }))
    }
}

impl SearchSpace for Chains {
    type Arch = Vec<[usize; 2]>;

    fn sample(&self, chooser: &mut dyn Chooser) -> Self::Arch {
        let depth = 1 + chooser.choose(Question { kind: Kind::Count, options: self.deepest });
        (0..depth).map(|_| Self::layer(chooser)).collect()
    }

    fn build(&self, arch: &Self::Arch, scale: &Scale) -> std::result::Result<Graph, GraphError> {
        let mut graph = Graph::default();
        let mut last = graph.input(Shape::Map(scale.input));
        for (idx, [kernel, channels]) in arch.iter().enumerate() {
            last = graph.within(("layer", idx), |graph| {
                let conv = Conv2d::same(CHANNELS[*channels], KERNELS[*kernel], 1);
                let conv = graph.add("conv", Op::Conv2d(conv), &[last])?;
                graph.add("relu", Op::Activation(Activation::Relu), &[conv])
            })?;
        }
        let pooled = graph.add("pool", Op::GlobalAvgPool, &[last])?;
        graph.add("classifier", Op::Linear(scale.classes), &[pooled])?;
        Ok(graph)
    }

    fn size(&self) -> u128 {
        (1..=self.deepest as u32).map(|depth| 9_u128.pow(depth)).sum()
    }

    fn cheapest(&self) -> Vec<Self::Arch> {
        vec![vec![[0, 0]]]
    }
}

impl Morph for Chains {
    /// Inserts a layer, or scales one. A chain that is as deep as may be stays as it is.
    fn morph(&self, arch: &Self::Arch, chooser: &mut dyn Chooser) -> Self::Arch {
        let mut next = arch.clone();
        if chooser.choose(Question { kind: Kind::Edit, options: 2 }) == 0 {
            let place = chooser.choose(Question { kind: Kind::Place, options: arch.len() + 1 });
            let layer = Self::layer(chooser);
            if arch.len() < self.deepest {
                next.insert(place, layer);
            }
        } else {
            let place = chooser.choose(Question { kind: Kind::Place, options: arch.len() });
            next[place] = Self::layer(chooser);
        }
        next
    }

    fn embed(&self, arch: &Self::Arch) -> Vec<Vec<usize>> {
        arch.iter().map(|layer| layer.to_vec()).collect()
    }
}

/// Each layer of a 3x3 kernel and 8 channels is worth most, and depth more than anything.
struct World {
    trained: u64,
    /// What all earlier trainings together add.
    lead: f64,
}

impl World {
    fn new() -> Self {
        Self { trained: 0, lead: 0.0 }
    }

    fn accuracy(graph: &Graph) -> f64 {
        let worth = |op: &Op| match op {
            Op::Conv2d(conv) => {
                0.02 + if conv.kernel[0] == 3 { 0.05 } else { 0.0 } + if conv.channels == 8 { 0.05 } else { 0.0 }
            }
            _ => 0.0,
        };
        graph.ids().map(|id| worth(graph.op(id))).sum::<f64>()
    }
}

impl Evaluator for World {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        let mut all = Vec::new();
        for job in jobs {
            // Of networks that start from scratch none leads.
            let lead = if job.fidelity.start == Start::Inherit { self.lead } else { 0.0 };
            all.push(Evaluation { curve: vec![Self::accuracy(job.graph) + lead], took: Duration::ZERO });
        }
        self.trained += jobs.len() as u64;
        self.lead += jobs.iter().map(|job| 1e-4 * Self::accuracy(job.graph)).sum::<f64>();
        Ok(all)
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        let fixed = static_cost(deployed);
        let figures = [
            (Metric::Params, Figure::exact(fixed.params as f64)),
            (Metric::TrainTime, Figure::exact(1e-3 * fixed.macs as f64)),
        ];
        Ok(Cost { figures: figures.into() })
    }

    fn save(&self) -> Result<Saved> {
        let mut saved = Saved { steps: self.trained, ..Saved::default() };
        let bits = self.lead.to_bits();
        let halves = [(bits >> 32) as u32, bits as u32].map(f32::from_bits).to_vec();
        saved.weights.insert("world", "weight", vec![2], halves);
        Ok(saved)
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        let halves = &saved.weights.get("world", "weight")?.values;
        self.lead = f64::from_bits(u64::from(halves[0].to_bits()) << 32 | u64::from(halves[1].to_bits()));
        self.trained = saved.steps;
        Ok(())
    }
}

const TINY: Scale =
    Scale { layers: 1, channels: 4, input: [3, 8, 8], classes: 10, front_end: None, task: Task::Classification };

fn tiny(evaluations: usize) -> Effort {
    Effort { evaluations, epochs: 4, patience: 100, proxy: TINY, full: TINY }
}

#[test]
fn chains_that_are_edited_are_networks_of_the_space() {
    let space = Chains { deepest: 6 };
    let mut seen = Vec::new();
    for nth in 0..300 {
        let mut chooser = Uniform::new(0, "chains", nth);
        let mut arch = space.sample(&mut chooser);
        for _ in 0..4 {
            arch = space.morph(&arch, &mut chooser);
        }
        let graph = space.build(&arch, &TINY).expect("it fits");
        assert!(0 < static_cost(&graph).params && 0 < static_cost(&graph).macs);
        assert!((1..=6).contains(&arch.len()) && space.embed(&arch).iter().all(|layer| layer.len() == 2));
        seen.push((arch, graph.digest()));
    }
    for (arch, digest) in &seen {
        assert!(seen.iter().all(|(other, its)| (arch == other) == (digest == its)));
    }
}

/// The best of six layers is worth 0.72.
#[test]
fn it_grows_networks_within_several_bounds() {
    let space = Chains { deepest: 6 };
    let best = |found: &[Chosen<Vec<[usize; 2]>>]| found[0].accuracy;
    let bounds = vec![bound(Metric::Params, 2800.0, true), bound(Metric::TrainTime, 170.0, true)];
    for budget in [Budget::default(), Budget { bounds }] {
        let mean = |settings: Option<&Settings>| {
            let one = |seed| {
                let (mut study, mut world) = (study(&budget), World::new());
                let found = match settings {
                    Some(settings) => NeuralArchitect::new(settings.clone(), IMAGES, tiny(80), seed)
                        .search(&space, &mut world, &mut study),
                    None => Random::new(tiny(80), seed).search(&space, &mut world, &mut study),
                };
                let found = found.expect("the world answers");
                assert_eq!(world.trained, 80);
                assert!(found.iter().all(|it| budget.admits(&it.cost)));
                best(&found)
            };
            (0..8).map(one).sum::<f64>() / 8.0
        };
        let random = mean(None);
        for mode in MODES {
            let learned = mean(Some(&small(mode)));
            assert!(random + 0.04 < learned && learned <= 0.72 + 1e-9, "{mode:?}: {learned}, random {random}");
        }
    }
}

/// The policy learns of times what the simulator says of them, where no roofline does.
#[test]
fn predicted_times_enter_predicted_rewards() {
    let space = Chains { deepest: 6 };
    let budget = Budget { bounds: vec![bound(Metric::TrainTime, 50.0, false)] };
    let machine = Roofline { flops_per_second: 1e9, bytes_per_second: 1e9, reached: 1.0, batch: 8, images: 10_000 };
    for roofline in [None, Some(machine)] {
        let settings = Settings { roofline, ..small(Some(Training::Joint)) };
        let (mut study, mut world) = (study(&budget), World::new());
        let mut search = NeuralArchitect::new(settings, IMAGES, tiny(60), 0);
        search.search(&space, &mut world, &mut study).expect("the world answers");
        let noted: Vec<&Trial> = study.trials().iter().filter(|it| it.predicted.is_some()).collect();
        assert!(30 < noted.len());
        let (mut apart, mut pairs) = (0, Vec::new());
        for trial in noted {
            let predicted = trial.predicted.expect("filtered");
            let (told, time) = (
                trial.cost.get(Metric::TrainTime).expect("told").value,
                predicted.train_time.expect("there are times"),
            );
            let used = if roofline.is_none() { time } else { told };
            let expected = predicted.accuracy - budget.bounds[0].excess(used).min(9.0);
            assert!((trial.reward.expect("there is one") - expected).abs() < 1e-9, "{trial:?}");
            apart += usize::from(told != time);
            pairs.push((told.ln(), time.ln()));
        }
        assert!(0 < apart && 0.0 < correlation(&pairs), "{}", correlation(&pairs));
    }
}

#[test]
fn a_space_that_is_known_by_heart_ends_the_search() {
    let space = Chains { deepest: 1 };
    for mode in MODES {
        let (mut study, mut world) = (study(&Budget::default()), World::new());
        let found = NeuralArchitect::new(small(mode), IMAGES, tiny(100), 0).search(&space, &mut world, &mut study);
        assert_eq!(found.expect("the world answers").len(), 9, "{mode:?}");
        assert_eq!(world.trained, 9);
    }
}

/// With weights inherited a network's accuracy depends on all that was trained before it.
#[test]
fn a_resumed_search_inherits_what_an_uninterrupted_one_does() {
    let space = Chains { deepest: 6 };
    for mode in MODES {
        let settings = Settings { inherit: true, ..small(mode) };
        let run = |folder: &Path, watch: Box<dyn Watch>| {
            let mut study = Study::open(folder, Budget::default(), watch).expect("it opens");
            let mut world = World::new();
            let mut search = NeuralArchitect::new(settings.clone(), IMAGES, tiny(48), 3);
            (search.search(&space, &mut world, &mut study), world.trained)
        };
        let whole = tempfile::tempdir().expect("a folder");
        let expected = run(whole.path(), Box::new(Unwatched)).0.expect("the world answers");
        let lead = expected.iter().map(|it| it.accuracy - 0.72).fold(f64::NEG_INFINITY, f64::max);
        assert!(expected.len() == 48 && -0.72 < lead);
        for stop in [2, 9, 20, 41, 60] {
            let halved = tempfile::tempdir().expect("a folder");
            let (stopped, _) = run(halved.path(), Box::new(Ends(stop, Signal::Stop)));
            let is_over = journal(whole.path()).lines().count() < stop as usize;
            assert_eq!(stopped.is_ok(), is_over, "{mode:?} after {stop}");
            let (resumed, trained) = run(halved.path(), Box::new(Unwatched));
            assert_eq!(resumed.expect("the world answers"), expected, "{mode:?} after {stop}");
            assert_eq!(journal(halved.path()), journal(whole.path()), "{mode:?} after {stop}");
            // The evaluator counts over both sessions: what the snapshot holds was not trained again.
            assert_eq!(trained, 48, "{mode:?} after {stop}");
        }
        // A finished search is told what it found.
        let again = run(whole.path(), Box::new(Unwatched));
        assert_eq!((again.0.expect("the world answers"), again.1), (expected, 48), "{mode:?}");
    }
}

#[test]
fn settings_are_those_of_the_paper_and_can_be_written_down() {
    let settings = Settings::default();
    let text = serde_json::to_string(&settings).expect("plain data");
    assert_eq!(serde_json::from_str::<Settings>(&text).expect("it was written"), settings);
    let ArchitectSettings { layer, hidden, spread, adam, .. } = settings.architect;
    assert_eq!((layer, hidden, spread, adam.lr, settings.branches), (32, 128, 0.1, 6e-4, 8));
    let name = Strategy::<NasBench201, dyn Evaluator>::name(&NeuralArchitect::new(settings, IMAGES, effort(1), 0));
    assert_eq!(name, NAME);
}
