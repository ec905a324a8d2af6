//! DARTS: its space against published counts, its relaxed network against the networks in it, and the search on
//! problems whose answer is known.

use std::{collections::BTreeSet, time::Duration};

use graph::{
    Graph, Op,
    cost::{StaticCost, static_cost},
    relaxed::{Counted, Mixture, OptionCosts, option_costs},
    weights::{Weights, parameters},
};
use search::{
    Result,
    bilevel::{epsilon, second_order},
    chooser::{Recorded, Replay, Uniform},
    evaluator::{AlphaGradient, Minibatch, Order, Relaxed, Saved, Step},
    policy::{Controller, ControllerSettings},
    pricing::Pricer,
    space::{
        Relax, Scale, SearchSpace, Task,
        darts::{Cells, DARTS_V1, DARTS_V2, DartsSpace, EdgeOp, N_EDGES, key, option},
        nas_bench_201::{self, NasBench201},
        partial::PartialDarts,
    },
    strategy::{
        Chosen, Strategy,
        darts::{Curvature, Darts, Settings, Stopped},
    },
    study::{Phase, Progress, Signal, Study, Unwatched, Watch},
};
use targets::{Bound, Budget, Cost, CostModel, Figure, Metric, Target, Work, features};

fn scale(layers: usize, channels: usize, side: usize) -> Scale {
    Scale { layers, channels, input: [3, side, side], classes: 10, front_end: None, task: Task::Classification }
}

fn uniform<S: SearchSpace>(space: &S, seed: u64) -> S::Arch {
    space.sample(&mut Uniform::new(seed, "darts test", 0))
}

#[test]
fn the_space_is_as_large_as_the_paper_says() {
    // 1, 3, 6 and 10 pairs of inputs, and seven operations on each of eight edges; two cells. "About 10^18".
    assert_eq!(DartsSpace.size(), (180 * 7_u128.pow(8)).pow(2));
    assert_eq!(DartsSpace.size(), 1_076_746_950_455_072_400);
    // Each is the outcome of as many answers as its nodes' inputs have orders.
    let mut first = Replay::new(&[]);
    let mut recorded = Recorded::new(&mut first);
    DartsSpace.sample(&mut recorded);
    let asked: u128 = recorded.answers.iter().map(|(question, _)| question.options as u128).product();
    assert_eq!(asked, DartsSpace.size() << 8);
}

/// Table 1 has 3.3 M parameters for both; the second one's script prints 3.349342.
#[test]
fn published_cells_have_their_parameters() {
    let params = |cells: &Cells| static_cost(&DartsSpace.build(cells, &scale(20, 36, 32)).expect("it fits")).params;
    assert_eq!(params(&DARTS_V2), 3_349_342);
    // The first one has a skip where the second has a dilated convolution, once a normal cell of its three widths: 9 taps,
    // a 1x1 convolution and a norm less.
    let less: u64 = [36, 72, 144].map(|c| 6 * (9 * c + c * c + 2 * c)).iter().sum();
    assert_eq!(params(&DARTS_V1), 3_349_342 - less);
    assert_eq!(params(&DARTS_V1), 3_169_414);
    assert!(DARTS_V1.is_well_formed() && DARTS_V2.is_well_formed());
    let text = serde_json::to_string(&DARTS_V2.normal.nodes[3]).expect("it is plain data");
    assert_eq!(text, r#"{"inputs":[0,2],"ops":["skip_connect","dil_conv_3x3"]}"#);
}

/// The authors' costs of one operation on 8 channels of 16x16 pixels: the difference to a skip.
#[test]
fn operations_cost_what_they_do() {
    let macs = |op: EdgeOp| {
        let mut cells = DARTS_V2;
        cells.normal.nodes[3].ops[1] = op;
        static_cost(&DartsSpace.build(&cells, &scale(1, 8, 16)).expect("it fits")).macs
    };
    // One layer is a reduction: an edge between nodes is on 8x8 pixels of 16 channels.
    let reduction = |op: EdgeOp| {
        let mut cells = DARTS_V2;
        cells.reduction.nodes[3] = search::space::darts::Node { inputs: [0, 2], ops: [EdgeOp::MaxPool, op] };
        static_cost(&DartsSpace.build(&cells, &scale(1, 8, 16)).expect("it fits")).macs
    };
    assert_eq!(macs(EdgeOp::SepConv5), macs(EdgeOp::SkipConnect), "a single layer has no normal cell");
    let (px, c) = (64, 16);
    for (op, expected) in [
        (EdgeOp::MaxPool, 0),
        (EdgeOp::AvgPool, 0),
        (EdgeOp::SepConv3, 2 * (9 * c + c * c)),
        (EdgeOp::SepConv5, 2 * (25 * c + c * c)),
        (EdgeOp::DilConv3, 9 * c + c * c),
        (EdgeOp::DilConv5, 25 * c + c * c),
    ] {
        assert_eq!(reduction(op) - reduction(EdgeOp::SkipConnect), px * expected, "{op:?}");
    }
}

#[test]
fn every_architecture_builds_and_none_is_cheaper_than_the_cheapest() {
    let costs = |graph: &Graph| {
        let StaticCost { params, macs, model_bytes, peak_bytes, n_ops, .. } = static_cost(graph);
        [params, macs, model_bytes, peak_bytes, n_ops]
    };
    for scale in [scale(8, 4, 32), scale(3, 4, 7), scale(2, 3, 5), scale(1, 2, 1)] {
        let build = |arch: &Cells| DartsSpace.build(arch, &scale).expect("every image fits");
        let cheapest: Vec<[u64; 5]> = DartsSpace.cheapest().iter().map(|arch| costs(&build(arch))).collect();
        for seed in 0..100 {
            let arch = uniform(&DartsSpace, seed);
            assert!(arch.is_well_formed(), "{arch:?}");
            let graph = build(&arch);
            assert_eq!(graph.n_users().iter().filter(|users| **users == 0).count(), 1, "{arch:?}");
            let cost = costs(&graph);
            for nth in 0..cost.len() {
                assert!(cheapest.iter().any(|it| it[nth] <= cost[nth]), "{arch:?} is cheaper: {cost:?}");
            }
        }
    }
    assert!(DartsSpace.cheapest().iter().all(Cells::is_well_formed));
    // A controller that remembers its answers can give them.
    let settings = ControllerSettings { hidden: 8, ..ControllerSettings::default() };
    let mut controller = Controller::new(settings, DartsSpace.given(), 0);
    for step in 0..20 {
        let rng = data::keyed::rng(0, "darts", step);
        assert!(controller.sample(rng, |chooser| DartsSpace.sample(chooser)).0.is_well_formed());
    }
}

/// Nor by any prices of the work in it: an engine computes what is equal once.
#[test]
fn none_is_faster_than_the_fastest_of_the_cheapest() {
    use EdgeOp::{AvgPool, MaxPool, SkipConnect};

    let work = |cells: &Cells| features(&DartsSpace.build(cells, &scale(5, 4, 16)).expect("it fits")).0;
    let free = |seed| {
        let mut cells = uniform(&DartsSpace, seed);
        for node in cells.normal.nodes.iter_mut().chain(&mut cells.reduction.nodes) {
            node.ops = node.ops.map(|op| [MaxPool, AvgPool, SkipConnect][op as usize % 3]);
        }
        // Skips are free between states of one size.
        cells.normal.nodes.iter_mut().for_each(|node| node.ops = [SkipConnect; 2]);
        for node in &mut cells.reduction.nodes {
            node.ops = [0, 1].map(|side| if node.inputs[side] < 2 { node.ops[side] } else { SkipConnect });
        }
        cells
    };
    let cheapest: Vec<_> = DartsSpace.cheapest().iter().map(work).collect();
    let others: Vec<_> = (0..1000).map(|seed| work(&free(seed))).collect();
    for seed in 0..200 {
        // Over six orders of magnitude.
        let mut rng = data::keyed::rng(seed, "prices", 0);
        let mut price = |_| 10_f64.powf(f64::from(data::keyed::below(&mut rng, 6000)) / 1000.0);
        let prices: Vec<f64> = (0..cheapest[0].len()).map(&mut price).collect();
        let time = |work: &[f64; Work::COUNT]| work.iter().zip(&prices).map(|(a, b)| a * b).sum::<f64>();
        let least = cheapest.iter().map(time).fold(f64::INFINITY, f64::min);
        for other in &others {
            assert!(least <= time(other) * (1.0 + 1e-12), "{} below {least}", time(other));
        }
    }
}

/// Names with their shapes.
fn learned(graph: &Graph) -> BTreeSet<(String, Vec<usize>)> {
    let of = |id| {
        parameters(graph, id).into_iter().map(move |(suffix, dims)| (format!("{}.{suffix}", graph.name(id)), dims))
    };
    graph.ids().flat_map(of).collect()
}

#[test]
fn the_relaxed_network_holds_every_architecture() {
    check_relaxed(&DartsSpace, scale(5, 4, 16));
    check_relaxed(&DartsSpace, scale(8, 3, 9));
    check_relaxed(&NasBench201, scale(2, 4, 16));
}

/// A quarter of the channels is worked on, and every channel by somebody.
#[test]
fn partial_channels_are_a_part() {
    let (whole, part) = (DartsSpace, PartialDarts::default());
    for scale in [scale(5, 8, 16), scale(8, 4, 9), scale(3, 8, 7)] {
        let [all, some] = [whole.relax(&scale), part.relax(&scale)].map(|it| it.expect("it fits"));
        let shapes = |graph: &Graph| {
            let is_node = |id: &graph::NodeId| *graph.op(*id) == Op::Concat && graph.name(*id).ends_with("output");
            graph.ids().filter(is_node).map(|id| graph.shape(id)).collect::<Vec<_>>()
        };
        assert_eq!(shapes(&all), shapes(&some));
        let [more, less] = [&all, &some].map(|it| option_costs(it, Counted::Macs));
        let rows = |costs: &OptionCosts| costs.options.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!((rows(&more), rows(&less)), (whole.options(), part.options()));
        let mean = Mixture::even(&part.options());
        let (more, less) = (more.expected(&mean) - more.fixed, less.expected(&mean) - less.fixed);
        assert!(less < 0.3 * more, "{less} of {more}");
    }
    // One of one is all.
    let scale = scale(5, 4, 16);
    let [one, all] = [PartialDarts { k: 1 }.relax(&scale), whole.relax(&scale)].map(|it| it.expect("it fits"));
    assert_eq!(one.fingerprint(), all.fingerprint());
    // The slots move on from node to node.
    let graph = part.relax(&scale).expect("it fits");
    let mut joined = 0;
    for id in graph.ids().filter(|&id| *graph.op(id) == Op::Concat) {
        let [rest, mixed] = graph.inputs(id) else { continue };
        if matches!(graph.op(*mixed), Op::Mix(_)) {
            joined += 1;
            assert_eq!(
                [*rest, *mixed].map(|it| 4 * graph.shape(it).channels()),
                [3, 1].map(|it| { it * graph.shape(id).channels() })
            );
        }
    }
    assert_eq!(joined, 5 * N_EDGES);
    let arch = uniform(&part, 3);
    assert_eq!(part.discretise(&Mixture::decided(&part.options(), &part.chosen(&arch))), arch);
}

/// The authors' search prints 1.930618 M parameters at 8 layers of 16 channels; their norms have none but for the stem's.
#[test]
fn the_relaxed_network_is_as_large_as_the_authors() {
    let supernet = DartsSpace.relax(&scale(8, 16, 32)).expect("it fits");
    let norms = supernet.ids().filter(|&id| *supernet.op(id) == Op::BatchNorm);
    let norms: usize = norms.map(|id| 2 * supernet.shape(id).channels()).sum();
    assert_eq!(static_cost(&supernet).params - norms as u64 + 2 * 48, 1_930_618);
}

fn check_relaxed<S: Relax>(space: &S, scale: Scale) {
    let supernet = space.relax(&scale).expect("it fits");
    let shared = learned(&supernet);
    assert!(supernet.relaxed_node().is_some());
    assert_eq!(supernet.n_users().iter().filter(|users| **users == 0).count(), 1);
    let macs = option_costs(&supernet, Counted::Macs);
    assert_eq!(macs.options.iter().map(Vec::len).collect::<Vec<_>>(), space.options());
    for seed in 0..50 {
        let arch = uniform(space, seed);
        let graph = space.build(&arch, &scale).expect("it fits");
        assert_eq!(graph.relaxed_node(), None);
        let missing: Vec<_> = learned(&graph).difference(&shared).cloned().collect();
        assert!(missing.is_empty(), "{arch:?}: {missing:?}");
        // What its options cost, and what is fixed, is what it costs.
        let decided = Mixture::decided(&space.options(), &space.chosen(&arch));
        assert_eq!(macs.expected(&decided), static_cost(&graph).macs as f64, "{arch:?}");
        // The most likely one of a mixture that leans to it is itself.
        assert_eq!(space.discretise(&decided), arch);
        let mut leaning = Mixture::even(&space.options());
        for (row, chosen) in leaning.logits.iter_mut().zip(space.chosen(&arch)) {
            row[chosen] = 0.5;
        }
        assert_eq!(space.discretise(&leaning), arch);
    }
}

/// The work that is done for the options of an architecture, and what is fixed, is its own; but what is equal in it is
/// computed once.
#[test]
fn options_have_a_latency() {
    let target = Target::find("rpi4").expect("built in");
    let model = CostModel::new(target);
    let latency = model.latency.clone();
    let pricer = Pricer::new(model, Budget::default(), None, 1);
    let scale = scale(5, 8, 16);
    let supernet = DartsSpace.relax(&scale).expect("it fits");
    let costs = pricer.option_costs(&supernet, Metric::Latency).expect("it is a sum over the work");
    for cells in [DARTS_V1, DARTS_V2, uniform(&DartsSpace, 5)] {
        let decided = Mixture::decided(&DartsSpace.options(), &DartsSpace.chosen(&cells));
        let (found, expected) = (
            costs.expected(&decided),
            latency.by_prices(&features(&DartsSpace.build(&cells, &scale).expect("it fits"))),
        );
        // In the relaxed network a node sums all its edges, of which an architecture's keeps two, zeros are written, and
        // poolings are followed by norms.
        assert!(expected < found && found < 1.5 * expected, "{found}, not {expected}");
    }
    assert_eq!(pricer.option_costs(&supernet, Metric::Macs), Some(option_costs(&supernet, Counted::Macs)));
    assert_eq!(pricer.option_costs(&supernet, Metric::Memory), None);
}

#[test]
fn keys_are_edges_in_order() {
    let edges = |is_reduction| {
        (0..4).flat_map(move |node| (0..node + 2).map(move |input| key(is_reduction, node, input))).collect::<Vec<_>>()
    };
    assert_eq!(edges(false), (0..N_EDGES).collect::<Vec<_>>());
    assert_eq!(edges(true), (N_EDGES..2 * N_EDGES).collect::<Vec<_>>());
    assert_eq!(EdgeOp::ALL.map(option), [1, 2, 3, 4, 5, 6, 7]);
}

/// Scores that no two sums of which are equal.
fn scores(options: &[usize], seed: u64) -> Vec<Vec<f64>> {
    let mut rng = data::keyed::rng(seed, "scores", 0);
    let score = |_| f64::from(data::keyed::below(&mut rng, 1 << 20)) / f64::from(1 << 18);
    let mut draw: Vec<f64> = (0..options.iter().sum()).map(score).collect();
    options.iter().map(|&n| draw.split_off(draw.len() - n)).collect()
}

#[test]
fn architectures_come_by_their_likelihood() {
    let scores = scores(&NasBench201.options(), 0);
    let sum = |arch: &nas_bench_201::Arch| -> f64 {
        NasBench201.chosen(arch).iter().zip(&scores).map(|(&option, row)| row[option]).sum()
    };
    let found: Vec<f64> = NasBench201.strongest(&scores).map(|arch| sum(&arch)).collect();
    let mut expected: Vec<f64> = nas_bench_201::Arch::all().map(|arch| sum(&arch)).collect();
    expected.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(found, expected);
    // Of DARTS's only the first can be compared with all others: section 2.4, read literally.
    for seed in 0..20 {
        let scores = self::scores(&DartsSpace.options(), seed);
        let mut seen = BTreeSet::new();
        let mut last = f64::INFINITY;
        for (nth, cells) in DartsSpace.strongest(&scores).take(500).enumerate() {
            let edges = |is_reduction, cell: &search::space::darts::Cell| -> f64 {
                cell.edges().map(|(node, input, op)| scores[key(is_reduction, node, input)][option(op)]).sum()
            };
            let sum = edges(false, &cells.normal) + edges(true, &cells.reduction);
            assert!(sum <= last + 1e-9, "{nth}: {sum} after {last}");
            last = sum;
            assert!(seen.insert(serde_json::to_string(&cells).expect("it is plain data")));
            if nth == 0 {
                assert_eq!(cells.normal.nodes.map(|node| node.inputs), [0, 1, 2, 3].map(|it| two_best(&scores, it)));
            }
        }
    }
}

/// The two inputs of a normal node whose strongest operations are the strongest.
fn two_best(scores: &[Vec<f64>], node: usize) -> [usize; 2] {
    let strength = |input: usize| scores[key(false, node, input)][1..].iter().copied().fold(0.0, f64::max);
    let mut inputs: Vec<usize> = (0..node + 2).collect();
    inputs.sort_by(|a, b| strength(*b).total_cmp(&strength(*a)));
    let mut kept = [inputs[0], inputs[1]];
    kept.sort_unstable();
    kept
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
