//! NAS-RL: its chains, the sigmoids of its skip connections, and its search.

use std::time::Duration;

use data::keyed;
use graph::{Graph, Op, cost::static_cost};
use search::{
    chooser::{Chooser, Kind, Question, Recorded, Replay, Uniform},
    evaluator::{Evaluation, Evaluator, Job},
    oracle::{Oracle, Table},
    policy::{Controller, ControllerSettings, controller::ControllerState},
    space::{
        Scale, SearchSpace, Task,
        chain::{Chain, ChainSpace, Layer},
        nas_bench_201::{NasBench201, PUBLISHED},
    },
    strategy::{
        Strategy,
        nas_rl::{NasRl, Settings},
        random::Random,
    },
    study::{Progress, Signal, Study, Unwatched, Watch},
    trials::Effort,
};
use targets::{Bound, Budget, Cost, Figure, Metric};

const CIFAR: Scale =
    Scale { layers: 1, channels: 24, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };

/// A layer's kernel, strides, filters and inputs.
type Row<'a> = ([usize; 2], [usize; 2], usize, &'a [usize]);

fn chain(layers: &[Row<'_>]) -> Chain {
    let layer =
        |&(kernel, stride, filters, inputs): &Row<'_>| Layer { kernel, stride, filters, inputs: inputs.to_vec() };
    Chain { layers: layers.iter().map(layer).collect() }
}

#[test]
fn sizes_are_those_of_the_formula() {
    let check = |layers, strides, size: u128| assert_eq!(ChainSpace { layers, strides }.size(), size, "{layers}");
    check(1, false, 64);
    check(2, false, 64 * 64 * 2);
    check(1, true, 64 * 9);
    check(6, false, 1 << 51);
    check(6, true, 9_u128.pow(6) << 51);
    check(11, false, 1 << 121);
    check(15, false, u128::MAX);
    let grown = ChainSpace::default().deeper(2).expect("chains grow");
    assert_eq!(grown, ChainSpace { layers: 8, strides: false });
    assert_eq!(NasBench201.deeper(2), None);
}

#[test]
fn questions_come_in_the_papers_order() {
    let space = ChainSpace { layers: 3, strides: true };
    let mut replay = Replay::new(&[1, 2, 0, 1, 3, 0, 3, 2, 0, 1, 1, 2, 2, 0, 0, 0, 0, 1]);
    let mut recorded = Recorded::new(&mut replay);
    let arch = space.sample(&mut recorded);
    let expected = chain(&[([3, 5], [1, 2], 64, &[]), ([1, 7], [3, 1], 36, &[0]), ([5, 5], [1, 1], 24, &[1])]);
    assert_eq!(arch, expected);
    let layer = [Kind::Kernel, Kind::Kernel, Kind::Stride, Kind::Stride, Kind::Channels];
    let kinds: Vec<Kind> =
        (0..3).flat_map(|idx| layer.into_iter().chain(std::iter::repeat_n(Kind::Skip, idx))).collect();
    assert_eq!(recorded.answers.iter().map(|(question, _)| question.kind).collect::<Vec<_>>(), kinds);
    let stored = serde_json::to_string(&arch).expect("plain data");
    assert!(stored.starts_with(r#"[{"kernel":[3,5],"stride":[1,2],"filters":64,"inputs":[]},"#), "{stored}");
    assert_eq!(serde_json::from_str::<Chain>(&stored).expect("it was written so"), arch);
}

#[test]
fn parameters_are_those_counted_by_hand() {
    let check = |arch: &Chain, scale: Scale, convolutions: &[u64], norms: u64, features: u64| {
        let cost = static_cost(&ChainSpace::default().build(arch, &scale).expect("it fits"));
        assert_eq!(cost.params, convolutions.iter().sum::<u64>() + 2 * norms + 10 * features + 10);
    };
    let single = chain(&[([3, 5], [1, 1], 36, &[])]);
    check(&single, CIFAR, &[3 * 36 * 15], 36, 36);
    // Half the width.
    check(&single, Scale { channels: 12, ..CIFAR }, &[3 * 18 * 15], 18, 18);
    let joined = chain(&[
        ([3, 3], [1, 1], 24, &[]),
        ([1, 7], [1, 1], 48, &[]),
        ([5, 5], [1, 1], 64, &[0, 1]),
        ([1, 1], [1, 1], 36, &[0]),
    ]);
    let convolutions = [3 * 24 * 9, 3 * 48 * 7, 72 * 64 * 25, 24 * 36];
    check(&joined, CIFAR, &convolutions, 24 + 48 + 64 + 36, 64 + 36);
    assert_eq!(joined.loose_ends().collect::<Vec<_>>(), [2, 3]);
}

/// Every pair of sizes that strides can make of an image of up to 40 pixels.
#[test]
fn outputs_of_different_sizes_are_joined_at_the_smallest() {
    for side in 1..=40 {
        for (first, second) in [(1, 2), (1, 3), (2, 3), (2, 1), (3, 3)] {
            let arch = chain(&[
                ([3, 3], [first, 1], 24, &[]),
                ([5, 3], [second, 2], 24, &[]),
                ([3, 1], [1, 1], 24, &[0, 1]),
                ([1, 1], [3, 1], 24, &[0]),
            ]);
            let scale = Scale { input: [3, side, side], ..CIFAR };
            let graph = ChainSpace::default().build(&arch, &scale).expect("pooled to fit");
            let find = |name: &str| graph.ids().find(|&id| graph.name(id) == name).expect("it is there");
            let height = side.div_ceil(first).min(side.div_ceil(second));
            assert_eq!(graph.shape(find("layer2/relu")).dims(), [24, height, side.div_ceil(2)]);
            let last = [48, height.min(side.div_ceil(first).div_ceil(3)), side.div_ceil(2)];
            assert_eq!(graph.shape(find("output/join")).dims(), last);
        }
    }
}

#[test]
fn every_chain_is_a_network_of_its_own() {
    for (layers, strides) in [(1, true), (6, false), (6, true), (14, true)] {
        let space = ChainSpace { layers, strides };
        let mut networks = std::collections::HashMap::new();
        for nth in 0..300 {
            let arch = space.sample(&mut Uniform::new(7, "chains", nth));
            let graph = space.build(&arch, &CIFAR).expect("every chain fits");
            let cost = static_cost(&graph);
            assert!(0 < cost.params && 0 < cost.macs && 0 < cost.peak_bytes);
            let known = networks.entry(graph.digest()).or_insert_with(|| arch.clone());
            assert_eq!(*known, arch, "two chains are one network");
            for (idx, layer) in arch.layers.iter().enumerate() {
                assert!(layer.inputs.iter().all(|input| *input < idx) && layer.inputs.is_sorted());
            }
        }
        assert!(layers == 1 || 290 < networks.len(), "{}", networks.len());
    }
}

/// Against all chains of the smallest filters, and against random ones.
#[test]
fn nothing_is_cheaper_than_the_cheapest() {
    let costs = |space: &ChainSpace, arch: &Chain, scale: &Scale| {
        let cost = static_cost(&space.build(arch, scale).expect("it fits"));
        [cost.params, cost.macs, cost.model_bytes, cost.peak_bytes]
    };
    for (layers, strides, classes) in [(1, true, 10), (3, true, 2), (3, true, 200), (3, false, 21), (6, true, 10)] {
        let (space, scale) = (ChainSpace { layers, strides }, Scale { classes, ..CIFAR });
        let least = space
            .cheapest()
            .iter()
            .map(|arch| costs(&space, arch, &scale))
            .reduce(|a, b| std::array::from_fn(|idx| a[idx].min(b[idx])));
        let least: [u64; 4] = least.expect("there are some");
        let small = (0..if layers <= 3 { 3_usize.pow(6) * 8 } else { 0 }).map(|code| {
            let stride = |nth: u32| if strides { 1 + code / 3_usize.pow(nth) % 3 } else { 1 };
            let reads = |nth: usize| (code / 729) >> nth & 1 == 1;
            let layer = |idx: usize| Layer {
                kernel: [1, 1],
                stride: [stride(2 * idx as u32), stride(2 * idx as u32 + 1)],
                filters: 24,
                inputs: (0..idx).filter(|from| reads(idx * (idx - 1) / 2 + from)).collect(),
            };
            Chain { layers: (0..layers).map(layer).collect() }
        });
        let random = (0..200).map(|nth| space.sample(&mut Uniform::new(3, "dearer", nth)));
        for arch in small.chain(random) {
            let cost = costs(&space, &arch, &scale);
            assert!(least.iter().zip(cost).all(|(least, cost)| *least <= cost), "{arch:?}: {cost:?} below {least:?}");
        }
    }
}

/// A controller whose LSTM has one unit and reads nothing, so that its hidden values are known.
#[test]
fn skips_have_the_papers_sigmoid() {
    let settings = ControllerSettings { temperature: 1.0, tanh_constant: 0.0, ..settings(1, 1, 1.0).controller };
    let ask = |chooser: &mut dyn Chooser| {
        chooser.define();
        chooser.define();
        [(); 2].map(|()| chooser.choose(Question { kind: Kind::Skip, options: 2 }))
    };
    let mut controller = Controller::new(settings, 0, 5);
    controller.repeat(&[1, 1], ask);
    let mut state = controller.save();
    for name in ["lstm0/input", "lstm0/recurrent"] {
        value(&mut state, name).fill(0.0);
    }
    value(&mut state, "lstm0/bias").copy_from_slice(&[0.3, -0.2, 0.7, 1.1]);
    let [previous, current, score] = [1.5, -0.8, 2.0];
    for (name, known) in [("skip/previous", previous), ("skip/current", current), ("skip/score", score)] {
        value(&mut state, name)[0] = known as f32;
    }
    controller.restore(&state).expect("whole");
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (input, forget, output) = (sigmoid(0.3) * 1.1_f64.tanh(), sigmoid(-0.2), sigmoid(0.7));
    let h = [output * input.tanh(), output * (forget * input + input).tanh()];
    let yes = [0, 1].map(|anchor: usize| sigmoid(score * (previous * h[anchor] + current * h[1]).tanh()));
    for answers in [[0, 0], [0, 1], [1, 0], [1, 1]] {
        let (_, walked) = controller.repeat(&answers, ask);
        let expected: f64 = (0..2).map(|nth| if answers[nth] == 1 { yes[nth] } else { 1.0 - yes[nth] }.ln()).sum();
        assert!((walked.log_probability() - expected).abs() < 1e-6, "{answers:?}");
    }
    assert!(0.05 < (yes[0] - yes[1]).abs(), "or this would show nothing: {yes:?}");
}

/// What is no question about an anchor is answered as any other kind is.
#[test]
fn skips_of_no_anchor_have_a_softmax() {
    let mut controller = Controller::new(settings(4, 1, 0.08).controller, 0, 5);
    let ask = |chooser: &mut dyn Chooser| {
        let mut skip = |options| chooser.choose(Question { kind: Kind::Skip, options });
        let early = [skip(2), skip(3)];
        chooser.define();
        let mut skip = |options| chooser.choose(Question { kind: Kind::Skip, options });
        [early, [skip(2), skip(2)]].concat()
    };
    let (answers, walked) = controller.repeat(&[1, 2, 1, 1], ask);
    assert_eq!(answers, [1, 2, 1, 1]);
    let uniform = -(2.0 * 3.0 * 2.0 * 2.0_f64).ln();
    assert!((walked.log_probability() - uniform).abs() < 0.1);
    let learned = controller.save().weights;
    for name in ["Skip2", "Skip3", "skip/score"] {
        assert!(learned.get(&format!("controller/{name}"), "value").is_ok(), "{name} is asked for");
    }
}

#[test]
fn gradients_of_skips_are_those_of_finite_differences() {
    let space = ChainSpace { layers: 4, strides: false };
    let ask = |chooser: &mut dyn Chooser| space.sample(chooser);
    for seed in 0..3 {
        // The first moment is then the gradient itself.
        let controller = ControllerSettings { beta_1: 0.0, lr: 1e-9, ..settings(3, 2, 1.0).controller };
        let mut policy = Controller::new(controller, 0, seed);
        let answers = policy.sample(keyed::rng(seed, "gradient", 0), ask).1.answers;
        let stored = policy.save();
        let (_, walked) = policy.repeat(&answers, ask);
        policy.ascend([(&walked, 1.0)].into_iter());
        let learned = policy.save().weights;
        for name in
            ["skip/previous", "skip/current", "skip/score", "lstm0/recurrent", "lstm1/bias", "Channels4/embedding"]
        {
            let slopes = learned.get(&format!("controller/{name}"), "first").expect("it is there").values.clone();
            assert!(slopes.iter().any(|it| *it != 0.0), "{name} is used");
            for (idx, slope) in slopes.into_iter().enumerate() {
                let mut moved = |by: f32| {
                    let mut moved = stored.clone();
                    value(&mut moved, name)[idx] += by;
                    policy.restore(&moved).expect("whole");
                    policy.repeat(&answers, ask).1.log_probability()
                };
                let expected = (moved(5e-3) - moved(-5e-3)) / 1e-2;
                assert!(
                    (f64::from(slope) - expected).abs() < 1e-2 * (1.0 + expected.abs()),
                    "{name}[{idx}]: {slope}, {expected}"
                );
            }
        }
    }
}

fn value<'a>(state: &'a mut ControllerState, name: &str) -> &'a mut Vec<f32> {
    &mut state.weights.tensors.get_mut(&format!("controller/{name}.value")).expect("it is there").values
}

/// All layers are to read the first one and no other: half of the answers are yes, and only the anchors tell which.
#[test]
fn skips_are_learned_by_what_they_connect() {
    let space = ChainSpace { layers: 4, strides: false };
    let mut policy = Controller::new(ControllerSettings { lr: 0.01, ..settings(16, 1, 0.1).controller }, 0, 0);
    let worth = |arch: &Chain| {
        let pairs = (0..4).flat_map(|to| (0..to).map(move |from| (from, to)));
        pairs.filter(|(from, to)| arch.layers[*to].inputs.contains(from) == (*from == 0)).count() as f64 / 6.0
    };
    let mut step = |step: u64| {
        let sampled: Vec<_> = (0..8)
            .map(|nth| {
                let rng = keyed::rng(2, "skips", 8 * step + nth);
                let (arch, walked) = policy.sample(rng, |chooser| space.sample(chooser));
                (walked, worth(&arch))
            })
            .collect();
        policy.reinforce(&sampled);
        sampled.iter().map(|(_, reward)| reward).sum::<f64>() / 8.0
    };
    let means: Vec<f64> = (0..120).map(&mut step).collect();
    let (first, last) = (means[..10].iter().sum::<f64>() / 10.0, means[110..].iter().sum::<f64>() / 10.0);
    assert!((first - 0.5).abs() < 0.1 && 0.95 < last, "{first}, then {last}");
}

/// Settings of a small controller for short searches.
fn settings(hidden: usize, layers: usize, spread: f64) -> Settings {
    let paper = Settings::default();
    let controller = ControllerSettings { hidden, layers, spread, lr: 0.02, ..paper.controller.clone() };
    Settings { children: 4, controller, ..paper }
}

fn effort(evaluations: usize, scale: Scale) -> Effort {
    Effort { evaluations, epochs: 12, patience: 1000, proxy: scale, full: scale }
}

fn within(seconds: f64, hard: bool) -> Budget {
    Budget { bounds: vec![Bound { metric: Metric::Latency, min: None, max: Some(seconds), hard }] }
}

#[test]
fn settings_are_the_papers() {
    let Settings { children, last_epochs, samples_a_depth, growth, controller, .. } = Settings::default();
    assert_eq!((children, last_epochs, samples_a_depth, growth), (8, 5, 1600, 2));
    let ControllerSettings { layers, hidden, spread, lr, entropy, .. } = controller;
    assert_eq!((layers, hidden, spread, lr, entropy), (2, 35, 0.08, 6e-4, 0.0));
    assert_eq!(ChainSpace::default().layers, 6);
}

/// Mean regret over many seeds, in points of accuracy, and its standard error.
fn regret(table: &Table, budget: &Budget, of: &dyn Fn(u64) -> Box<Searching>) -> (f64, f64) {
    let best = table.best_within(budget).expect("some network is within");
    let regrets: Vec<f64> = (0..20)
        .map(|seed| {
            let (mut study, mut oracle) = (Study::new(budget.clone(), Box::new(Unwatched)), Oracle::new(table));
            let found = of(seed).search(&NasBench201, &mut oracle, &mut study).expect("a table answers");
            assert!(oracle.evaluations <= 100, "it trains more than it may");
            assert!(found.iter().all(|it| budget.admits(&it.cost)), "it answers with what breaks a bound");
            100.0 * (best - found[0].accuracy)
        })
        .collect();
    let n = regrets.len() as f64;
    let mean = regrets.iter().sum::<f64>() / n;
    let variance = regrets.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

type Searching = dyn for<'e> Strategy<NasBench201, dyn Evaluator + 'e>;

#[test]
fn it_beats_random_search_where_there_is_something_to_learn() {
    let table = Table::made_up(1).expect("sizes fit");
    let shuffled = table.shuffled(1);
    let effort = effort(100, PUBLISHED);
    for budget in [Budget::default(), within(20e-3, true)] {
        let of_random = |table: &Table| regret(table, &budget, &|seed| Box::new(Random::new(effort, seed)));
        let of_learner =
            |table: &Table| regret(table, &budget, &|seed| Box::new(NasRl::new(settings(20, 1, 0.08), effort, seed)));
        let ((random, a), (learned, b)) = (of_random(&table), of_learner(&table));
        assert!(2.0 * a.hypot(b) < random - learned, "random {random} +- {a}, learned {learned} +- {b}");
        let ((random, a), (learned, b)) = (of_random(&shuffled), of_learner(&shuffled));
        assert!(random - learned < 3.0 * a.hypot(b), "{learned} where nothing can be learned, not {random}");
    }
}

/// Trainings whose end is known: the more of a chain's filters are 5 pixels high, 3 wide and 48, the better. The best
/// of the last five epochs is that accuracy, the last epoch is worse, and the first ones are lucky.
#[derive(Default)]
struct Known {
    trained: usize,
}

impl Evaluator for Known {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> search::Result<Vec<Evaluation>> {
        self.trained += jobs.len();
        let curve = |job: &Job<'_>| {
            assert_eq!(job.fidelity.epochs, 12);
            let best = accuracy(job.graph);
            let late = [0.8, 1.0, 0.9, 0.7, 0.6].map(|share| share * best);
            Evaluation { curve: [[0.99; 7].as_slice(), &late].concat(), took: Duration::ZERO }
        };
        Ok(jobs.iter().map(curve).collect())
    }

    fn cost(&mut self, deployed: &Graph) -> search::Result<Cost> {
        let fixed = static_cost(deployed);
        let figures = [(Metric::Params, fixed.params), (Metric::Macs, fixed.macs)];
        Ok(Cost { figures: figures.map(|(metric, value)| (metric, Figure::exact(value as f64))).into() })
    }
}

fn accuracy(graph: &Graph) -> f64 {
    let convs: Vec<_> =
        graph.ids().filter_map(|id| if let Op::Conv2d(conv) = graph.op(id) { Some(*conv) } else { None }).collect();
    let part = |share: f64, is_so: bool| if is_so { share } else { 0.0 };
    let worth = |conv: &graph::Conv2d| {
        part(0.4, conv.kernel[0] == 5) + part(0.4, conv.kernel[1] == 3) + part(0.2, conv.channels == 48)
    };
    convs.iter().map(worth).sum::<f64>() / convs.len() as f64
}

fn bounded(params: f64, macs: f64) -> Budget {
    let hard = Bound { metric: Metric::Params, min: None, max: Some(params), hard: true };
    Budget { bounds: vec![hard, Bound { metric: Metric::Macs, max: Some(macs), hard: false, ..hard }] }
}

#[test]
fn it_finds_better_chains_than_random_search() {
    let space = ChainSpace::default();
    let budget = bounded(500e3, 200e6);
    let best = |strategy: &mut dyn for<'e> Strategy<ChainSpace, dyn Evaluator + 'e>| {
        let (mut known, mut study) = (Known::default(), Study::new(budget.clone(), Box::new(Unwatched)));
        let found = strategy.search(&space, &mut known, &mut study).expect("it is known");
        assert_eq!(known.trained, 160);
        assert!(found.iter().all(|it| it.cost.figures[&Metric::Params].value <= 500e3));
        assert!(found.is_sorted_by(|a, b| b.score(&budget) <= a.score(&budget)));
        found[0].score(&budget) / 0.6
    };
    let seeds = 0..6;
    let mean = |sum: f64| sum / 6.0;
    let random = mean(seeds.clone().map(|seed| best(&mut Random::new(effort(160, CIFAR), seed))).sum());
    let learned = mean(seeds.map(|seed| best(&mut NasRl::new(settings(16, 1, 0.08), effort(160, CIFAR), seed))).sum());
    assert!(random + 0.15 < learned, "{learned}, and at random {random}");
}

#[test]
fn rewards_are_cubes_of_the_best_of_the_last_epochs() {
    let mut study = Study::new(bounded(500e3, 100e6), Box::new(Unwatched));
    let mut strategy = NasRl::new(settings(8, 1, 0.08), effort(40, CIFAR), 1);
    strategy.search(&ChainSpace::default(), &mut Known::default(), &mut study).expect("it is known");
    let mut n_outside = 0;
    for trial in study.trials() {
        let macs = trial.cost.figures[&Metric::Macs].value;
        let Some(last) = trial.accuracy else {
            assert!(!trial.admitted && trial.reward.is_none());
            continue;
        };
        let excess = (macs / 100e6 - 1.0).max(0.0);
        n_outside += usize::from(0.0 < excess);
        let expected = (last / 0.6).powi(3) * 0.9_f64.powf(excess);
        assert!((trial.reward.expect("it was trained") - expected).abs() < 1e-9, "{trial:?}");
    }
    assert!(0 < n_outside, "a soft bound rules nothing out");
}

#[test]
fn networks_grow_with_the_samples() {
    let grow = |growth: usize| {
        let mut study = Study::new(bounded(2e6, 1e9), Box::new(Unwatched));
        let settings = Settings { samples_a_depth: 20, growth, ..settings(8, 1, 0.08) };
        let mut strategy = NasRl::new(settings, effort(60, CIFAR), 1);
        strategy.search(&ChainSpace::default(), &mut Known::default(), &mut study).expect("it is known");
        let trained = study.trials().iter().filter(|trial| trial.accuracy.is_some());
        trained.map(|trial| trial.arch.as_array().expect("layers").len()).collect::<Vec<_>>()
    };
    assert_eq!(grow(2), [[6; 20], [8; 20], [10; 20]].concat());
    assert_eq!(grow(0), [6; 60]);
}

#[test]
fn a_soft_bound_draws_the_search_towards_it() {
    let table = Table::made_up(1).expect("sizes fit");
    let late = |budget: Budget| -> f64 {
        let of = |seed| {
            let mut study = Study::new(budget.clone(), Box::new(Unwatched));
            let mut strategy = NasRl::new(settings(20, 1, 0.08), effort(100, PUBLISHED), seed);
            strategy.search(&NasBench201, &mut Oracle::new(&table), &mut study).expect("a table answers");
            let last = &study.trials()[60..];
            last.iter().map(|trial| trial.cost.figures[&Metric::Latency].value).sum::<f64>() / last.len() as f64
        };
        (0..6).map(of).sum::<f64>() / 6.0
    };
    let (free, soft) = (late(Budget::default()), late(within(5e-3, false)));
    assert!(soft < 0.8 * free, "{soft} s, and without the bound {free} s");
}

#[test]
fn a_resumed_search_trains_nothing_twice() {
    let budget = bounded(600e3, 200e6);
    let searching = || {
        let settings = Settings { samples_a_depth: 20, ..settings(8, 1, 0.08) };
        NasRl::new(settings, effort(60, CIFAR), 3)
    };
    let folder = tempfile::tempdir().expect("a folder");
    let run = |watch: Box<dyn Watch>| {
        let mut study = Study::open(folder.path(), budget.clone(), watch).expect("it opens");
        let mut known = Known::default();
        let found = searching().search(&ChainSpace::default(), &mut known, &mut study);
        (found, known.trained, std::fs::read(folder.path().join("study.jsonl")).expect("it is there"))
    };
    let (stopped, first, _) = run(Box::new(Stops(33, Signal::Stop)));
    assert!(matches!(stopped, Err(search::Error::Interrupted)));
    let (resumed, second, journal) = run(Box::new(Unwatched));
    assert!((60..60 + 4).contains(&(first + second)), "one batch may have been trained and not recorded");
    let mut study = Study::new(budget.clone(), Box::new(Unwatched));
    let found = searching().search(&ChainSpace::default(), &mut Known::default(), &mut study);
    assert_eq!(found.expect("it is known"), resumed.expect("it is known"));
    let lines: Vec<String> =
        study.trials().iter().map(|it| serde_json::to_string(it).expect("plain data") + "\n").collect();
    assert_eq!(lines.concat().into_bytes(), journal);

    let mut study = Study::new(budget.clone(), Box::new(Stops(33, Signal::WrapUp)));
    let mut known = Known::default();
    let early = searching().search(&ChainSpace::default(), &mut known, &mut study).expect("it is known");
    assert!(!early.is_empty() && known.trained < 40, "it answers with what it has");
}

/// Says this after a number of trials.
struct Stops(u64, Signal);

impl Watch for Stops {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        if self.0 <= progress.trials { self.1 } else { Signal::Continue }
    }
}
