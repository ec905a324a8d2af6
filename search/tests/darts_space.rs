//! The space of DARTS against published counts, and its relaxed network against the networks in it.

use std::collections::BTreeSet;

use graph::{
    Graph, Op,
    cost::{StaticCost, static_cost},
    relaxed::{Counted, Mixture, OptionCosts, option_costs},
    weights::parameters,
};
use search::{
    chooser::{Recorded, Replay, Uniform},
    policy::{Controller, ControllerSettings},
    pricing::Pricer,
    space::{
        Relax, Scale, SearchSpace, Task,
        darts::{Cells, DARTS_V1, DARTS_V2, DartsSpace, EdgeOp, N_EDGES, key, option},
        nas_bench_201::{self, NasBench201},
        partial::PartialDarts,
    },
};
use targets::{Budget, CostModel, Metric, Target, Work, features};

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
