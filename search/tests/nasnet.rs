//! NASNet: its cells, and its search by proximal policy optimization.

use graph::cost::static_cost;
use search::{
    chooser::{Chooser, Kind, Recorded, Replay, Uniform},
    evaluator::Evaluator,
    oracle::{Oracle, Table},
    policy::ControllerSettings,
    space::{
        Scale, SearchSpace, Task,
        nas_bench_201::{NasBench201, PUBLISHED},
        nasnet::{Arch, Block, Cell, CellOp, Combine, NasNetSpace},
    },
    strategy::{
        Strategy,
        nasnet::{NasNet, Settings, slope},
        random::Random,
    },
    study::{Progress, Signal, Study, Unwatched, Watch},
    trials::Effort,
};
use targets::{Bound, Budget, Metric};

const CIFAR: Scale =
    Scale { layers: 2, channels: 8, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };

fn add(inputs: [usize; 2], ops: [CellOp; 2]) -> Block {
    Block { inputs, ops, combine: Combine::Add }
}

fn concat(inputs: [usize; 2], ops: [CellOp; 2]) -> Block {
    Block { combine: Combine::Concat, ..add(inputs, ops) }
}

fn both(normal: &[Block], reduction: &[Block]) -> Arch {
    let [normal, reduction] = [normal, reduction].map(|blocks| Cell { blocks: blocks.to_vec() });
    Arch { normal, reduction }
}

fn params(arch: &Arch, scale: Scale) -> u64 {
    let graph = NasNetSpace::default().build(arch, &scale).expect("it fits");
    static_cost(&graph).params
}

#[test]
fn sizes_are_those_of_the_formula() {
    let check = |blocks, size: u128| assert_eq!(NasNetSpace { blocks }.size(), size, "{blocks} blocks");
    check(1, 1352 * 1352);
    check(2, (1352 * 3042_u128).pow(2));
    check(5, SIZE);
    check(9, u128::MAX);
}

/// `((6!)^2 * 13^10 * 2^5)^2`.
const SIZE: u128 = 5_229_943_396_058_757_337_940_161_399_357_440_000;

#[test]
fn fifty_questions_come_in_the_papers_order() {
    let mut replay = Replay::new(&[0, 1, 12, 3, 1, 2, 0, 0, 5, 0]);
    let mut recorded = Recorded::new(&mut replay);
    let arch = NasNetSpace::default().sample(&mut recorded);
    assert_eq!(arch.normal.blocks[0], concat([0, 1], [CellOp::SepConv7, CellOp::DilConv3]));
    assert_eq!(arch.normal.blocks[1], add([2, 0], [CellOp::Identity, CellOp::MaxPool3]));
    let asked: Vec<(Kind, usize)> = recorded.answers.iter().map(|(it, _)| (it.kind, it.options)).collect();
    let block = |idx: usize| {
        [(Kind::Input, 2 + idx), (Kind::Input, 2 + idx), (Kind::Op, 13), (Kind::Op, 13), (Kind::Combine, 2)]
    };
    let expected: Vec<_> = (0..2).flat_map(|_| (0..5).flat_map(block)).collect();
    assert_eq!(asked, expected);
    assert_eq!(asked.len(), 50);
    let stored = serde_json::to_string(&arch).expect("plain data");
    let first = r#"{"normal":[{"inputs":[0,1],"ops":["sep_conv_7x7","dil_conv_3x3"],"combine":"concat"},"#;
    assert!(stored.starts_with(first), "{stored}");
    assert_eq!(serde_json::from_str::<Arch>(&stored).expect("it was written so"), arch);
    for op in CellOp::ALL {
        assert_eq!(serde_json::to_value(op).expect("plain data"), op.name());
    }
}

/// What an operation has more than an identity, in normal cells of 8, 16 and 32 channels.
#[test]
fn operations_have_the_parameters_counted_by_hand() {
    let arch = |op| both(&[add([1, 1], [op, CellOp::Identity])], &[add([1, 1], [CellOp::AvgPool3; 2])]);
    let scale = Scale { layers: 1, ..CIFAR };
    let check = |op: CellOp, of: &dyn Fn(u64) -> u64| {
        let more = params(&arch(op), scale) - params(&arch(CellOp::Identity), scale);
        assert_eq!(more, [8, 16, 32].map(of).iter().sum::<u64>(), "{op:?}");
    };
    let sep = |k: u64| move |c: u64| 2 * (k * k * c + c * c + 2 * c);
    check(CellOp::Conv1x3, &|c| 2 * (3 * c * c + 2 * c));
    check(CellOp::Conv1x7, &|c| 2 * (7 * c * c + 2 * c));
    check(CellOp::DilConv3, &|c| 9 * c * c + 2 * c);
    for pool in [CellOp::AvgPool3, CellOp::MaxPool3, CellOp::MaxPool5, CellOp::MaxPool7] {
        check(pool, &|_| 0);
    }
    check(CellOp::Conv1, &|c| c * c + 2 * c);
    check(CellOp::Conv3, &|c| 9 * c * c + 2 * c);
    check(CellOp::SepConv3, &sep(3));
    check(CellOp::SepConv5, &sep(5));
    check(CellOp::SepConv7, &sep(7));
}

/// A network of one reduction after the other: all its parameters, by hand.
#[test]
fn shapes_are_matched_by_convolutions_of_one_pixel() {
    let scale = Scale { layers: 0, ..CIFAR };
    let fit = |from: u64, to: u64| from * to + 2 * to;
    let stem = 27 * 24 + 2 * 24;
    let check = |reduction: &[Block], cells: u64, features: u64| {
        let arch = both(&[add([0, 0], [CellOp::Identity; 2])], reduction);
        assert_eq!(params(&arch, scale), stem + cells + 10 * features + 10, "{reduction:?}");
    };
    let pools = [CellOp::AvgPool3, CellOp::MaxPool7];
    // The image's 24 channels to 16, then 16 to 32; pooling halves for nothing, an identity does not.
    check(&[add([1, 1], pools)], fit(24, 16) + fit(16, 32), 32);
    check(&[add([1, 1], [CellOp::Identity; 2])], fit(24, 16) + 2 * fit(16, 16) + fit(16, 32) + 2 * fit(32, 32), 32);
    // Twice the channels where they are joined, in the block or at the cell's end: as many as the next cell's filters.
    check(&[concat([1, 1], pools)], fit(24, 16), 64);
    check(&[add([1, 1], pools), add([1, 1], pools)], fit(24, 16), 64);
    check(&[add([1, 1], pools), concat([1, 1], pools)], fit(24, 16) + fit(48, 32), 96);
    // What was joined is brought to one side's channels again.
    let twice = [concat([1, 1], pools), add([2, 2], [CellOp::Identity, CellOp::AvgPool3])];
    check(&twice, fit(24, 16) + 2 * fit(32, 16) + fit(16, 32) + 2 * fit(64, 32), 32);
    // The first cell's output has no reader where both read the one before the previous one: the second reads the stem.
    check(&[add([0, 0], pools)], fit(24, 32), 32);
    check(&[add([0, 1], pools)], 2 * fit(24, 16) + fit(24, 32) + fit(16, 32), 32);
}

/// The best cells of the paper. It joins one more state in each cell, the previous cell's output and a block that is
/// read, which the rule of unused states does not give; so its sizes are met nearly.
#[test]
fn nasnet_a_is_nearly_as_large_as_printed() {
    use CellOp::{AvgPool3, Identity, MaxPool3, SepConv3, SepConv5, SepConv7};

    let normal = [
        add([1, 0], [SepConv5, SepConv3]),
        add([0, 0], [SepConv5, SepConv3]),
        add([1, 0], [AvgPool3, Identity]),
        add([0, 0], [AvgPool3, AvgPool3]),
        add([1, 1], [SepConv3, Identity]),
    ];
    let reduction = [
        add([1, 0], [SepConv5, SepConv7]),
        add([1, 0], [MaxPool3, SepConv7]),
        add([1, 0], [AvgPool3, SepConv5]),
        add([3, 2], [Identity, AvgPool3]),
        add([2, 1], [SepConv3, MaxPool3]),
    ];
    let arch = both(&normal, &reduction);
    assert_eq!(arch.normal.loose_ends().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(arch.reduction.loose_ends().collect::<Vec<_>>(), [2, 3, 4]);
    for (layers, channels, printed) in [(6, 32, 3.3e6), (7, 96, 27.6e6)] {
        let found = params(&arch, Scale { layers, channels, ..CIFAR }) as f64;
        assert!((found / printed - 1.0).abs() < 0.1, "{found}, printed {printed}");
    }
}

#[test]
fn every_pair_of_cells_is_a_network() {
    for (blocks, layers, input) in
        [(1, 1, [3, 32, 32]), (2, 0, [3, 28, 28]), (3, 2, [1, 5, 33]), (5, 1, [3, 17, 9]), (5, 2, [3, 32, 32])]
    {
        let (space, scale) = (NasNetSpace { blocks }, Scale { layers, input, ..CIFAR });
        let mut archs = std::collections::HashSet::new();
        let mut networks = std::collections::HashSet::new();
        for nth in 0..200 {
            let arch = space.sample(&mut Uniform::new(7, "cells", nth));
            let graph = space.build(&arch, &scale).expect("every pair of cells fits");
            let cost = static_cost(&graph);
            assert!(0 < cost.params && 0 < cost.macs && 0 < cost.peak_bytes);
            let unread = graph.n_users().iter().filter(|it| **it == 0).count();
            assert_eq!(unread, 1, "the output, and no other node");
            archs.insert(arch);
            networks.insert(graph.digest());
        }
        // With one block, half of all cells read a single state, and the order of a sum's sides makes no network.
        assert!(blocks == 1 && 150 < archs.len() || archs.len() == 200);
        assert!(archs.len() * 4 / 5 < networks.len(), "{} of {}", networks.len(), archs.len());
    }
}

#[test]
fn nothing_is_cheaper_than_the_cheapest() {
    for (blocks, layers) in [(1, 1), (2, 2), (5, 2)] {
        let (space, scale) = (NasNetSpace { blocks }, Scale { layers, ..CIFAR });
        let costs = |arch: &Arch| {
            let cost = static_cost(&space.build(arch, &scale).expect("it fits"));
            [cost.params, cost.macs, cost.model_bytes, cost.peak_bytes]
        };
        let least = space.cheapest().iter().map(costs).reduce(|a, b| std::array::from_fn(|idx| a[idx].min(b[idx])));
        let least: [u64; 4] = least.expect("there are some");
        // Of all cells, and of those that convolve nothing.
        let free = |chooser: &mut dyn Chooser| space.sample(&mut Free(chooser));
        let all = (0..200).map(|nth| space.sample(&mut Uniform::new(3, "cells", nth)));
        let free = (0..2000).map(|nth| free(&mut Uniform::new(3, "free cells", nth)));
        for arch in all.chain(free) {
            let cost = costs(&arch);
            assert!(least.iter().zip(cost).all(|(least, cost)| *least <= cost), "{arch:?}: {cost:?} below {least:?}");
        }
    }
}

/// Chooses among the operations without parameters.
struct Free<'a>(&'a mut dyn Chooser);

impl Chooser for Free<'_> {
    fn choose(&mut self, question: search::chooser::Question) -> usize {
        let answer = self.0.choose(question);
        if question.kind == Kind::Op { [0, 4, 5, 6, 7][answer % 5] } else { answer }
    }
}

#[test]
fn settings_are_the_papers() {
    let Settings { batch, controller, .. } = Settings::default();
    let ControllerSettings { layers, hidden, spread, lr, entropy, baseline_decay, .. } = controller;
    assert_eq!(batch, 20);
    assert_eq!((layers, hidden, spread, lr, entropy, baseline_decay), (1, 100, 0.1, 0.00035, 1e-5, 0.95));
    assert_eq!(NasNetSpace::default().blocks, 5);
}

/// Finite differences of the objective over the logarithm of the probability.
#[test]
fn slopes_are_those_of_the_clipped_objective() {
    let objective = |log: f64, advantage: f64| {
        let ratio = log.exp();
        (ratio * advantage).min(ratio.clamp(0.8, 1.2) * advantage)
    };
    for ratio in [0.3, 0.75, 0.85, 1.0, 1.15, 1.25, 4.0_f64] {
        for advantage in [-2.0, -0.1, 0.0, 0.3, 1.0] {
            let log = ratio.ln();
            let expected = (objective(log + 1e-6, advantage) - objective(log - 1e-6, advantage)) / 2e-6;
            let found = slope(ratio, advantage, 0.2);
            assert!((found - expected).abs() < 1e-6, "r = {ratio}, A = {advantage}: {found}, not {expected}");
        }
    }
}

/// Settings of a small controller for short searches.
fn settings() -> Settings {
    let paper = Settings::default();
    let controller = ControllerSettings { hidden: 20, lr: 0.01, ..paper.controller.clone() };
    Settings { batch: 10, controller, ..paper }
}

fn effort(evaluations: usize) -> Effort {
    Effort { evaluations, epochs: 20, patience: 1000, proxy: PUBLISHED, full: PUBLISHED }
}

fn within(seconds: f64, hard: bool) -> Bound {
    Bound { metric: Metric::Latency, min: None, max: Some(seconds), hard }
}

type Searching = dyn for<'e> Strategy<NasBench201, dyn Evaluator + 'e>;

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

#[test]
fn it_beats_random_search_where_there_is_something_to_learn() {
    let table = Table::made_up(1).expect("sizes fit");
    let shuffled = table.shuffled(1);
    let params = Bound { metric: Metric::Params, max: Some(1e6), ..within(0.0, true) };
    for bounds in [vec![], vec![within(20e-3, true), params]] {
        let budget = Budget { bounds };
        let of_random = |table: &Table| regret(table, &budget, &|seed| Box::new(Random::new(effort(100), seed)));
        let of_learner =
            |table: &Table| regret(table, &budget, &|seed| Box::new(NasNet::new(settings(), effort(100), seed)));
        let ((random, a), (learned, b)) = (of_random(&table), of_learner(&table));
        assert!(2.0 * a.hypot(b) < random - learned, "random {random} +- {a}, learned {learned} +- {b}");
        let ((random, a), (learned, b)) = (of_random(&shuffled), of_learner(&shuffled));
        assert!(random - learned < 3.0 * a.hypot(b), "{learned} where nothing can be learned, not {random}");
    }
}

/// With many updates a minibatch, clipping alone keeps the policy from settling on what it has seen first.
#[test]
fn clipping_keeps_the_policy_near_what_it_was() {
    let table = Table::made_up(1).expect("sizes fit");
    let distinct = |clip: f64| -> usize {
        let of = |seed| {
            let mut study = Study::new(Budget::default(), Box::new(Unwatched));
            let mut strategy = NasNet::new(Settings { clip, epochs: 20, ..settings() }, effort(60), seed);
            strategy.search(&NasBench201, &mut Oracle::new(&table), &mut study).expect("a table answers").len()
        };
        (0..5).map(of).sum()
    };
    let (clipped, free) = (distinct(0.2), distinct(f64::INFINITY));
    assert!(3 * free < 2 * clipped, "{clipped} networks, and {free} without clipping");
}

#[test]
fn a_soft_bound_draws_the_search_towards_it() {
    let table = Table::made_up(1).expect("sizes fit");
    let late = |bounds: Vec<Bound>| -> f64 {
        let of = |seed| {
            let mut study = Study::new(Budget { bounds: bounds.clone() }, Box::new(Unwatched));
            let mut strategy = NasNet::new(settings(), effort(100), seed);
            strategy.search(&NasBench201, &mut Oracle::new(&table), &mut study).expect("a table answers");
            let last = &study.trials()[60..];
            last.iter().map(|trial| trial.cost.figures[&Metric::Latency].value).sum::<f64>() / last.len() as f64
        };
        (0..6).map(of).sum::<f64>() / 6.0
    };
    let (free, soft) = (late(Vec::new()), late(vec![within(5e-3, false)]));
    assert!(soft < 0.8 * free, "{soft} s, and without the bound {free} s");
}

#[test]
fn a_resumed_search_trains_nothing_twice() {
    let table = Table::made_up(2).expect("sizes fit");
    let budget = Budget { bounds: vec![within(20e-3, true)] };
    let folder = tempfile::tempdir().expect("a folder");
    let searching = || NasNet::new(settings(), effort(60), 7);
    let run = |watch: Box<dyn Watch>| {
        let mut study = Study::open(folder.path(), budget.clone(), watch).expect("it opens");
        let mut oracle = Oracle::new(&table);
        let found = searching().search(&NasBench201, &mut oracle, &mut study);
        (found, oracle.evaluations, std::fs::read(folder.path().join("study.jsonl")).expect("it is there"))
    };
    let (stopped, first, _) = run(Box::new(Stops(33, Signal::Stop)));
    assert!(matches!(stopped, Err(search::Error::Interrupted)));
    let (resumed, second, journal) = run(Box::new(Unwatched));
    assert!((60..60 + 10).contains(&(first + second)), "one batch may have been trained and not recorded");
    let mut study = Study::new(budget.clone(), Box::new(Unwatched));
    let found = searching().search(&NasBench201, &mut Oracle::new(&table), &mut study);
    assert_eq!(found.expect("a table answers"), resumed.expect("a table answers"));
    let lines: Vec<String> =
        study.trials().iter().map(|it| serde_json::to_string(it).expect("plain data") + "\n").collect();
    assert_eq!(lines.concat().into_bytes(), journal);

    let mut study = Study::new(budget, Box::new(Stops(33, Signal::WrapUp)));
    let mut oracle = Oracle::new(&table);
    let early = searching().search(&NasBench201, &mut oracle, &mut study).expect("a table answers");
    assert!(!early.is_empty() && oracle.evaluations < 50, "it answers with what it has");
}

/// Says this after a number of trials.
struct Stops(u64, Signal);

impl Watch for Stops {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        if self.0 <= progress.trials { self.1 } else { Signal::Continue }
    }
}
