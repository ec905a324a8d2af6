//! Costs of single operations by hand, of folding, and of random networks against a slow count.

use common::{networks, random};
use graph::{
    Activation, Conv2d, Graph, NodeId, Op, Pads, Pool2d, Shape, Table,
    cost::{StaticCost, static_cost},
    fold,
    weights::parameters,
};
use proptest::prelude::*;

mod common;

/// A network built by hand; every shape in this file fits.
fn build(input: Shape, layers: &[(&'static str, Op, &[usize])]) -> Graph {
    let mut graph = Graph::default();
    let mut ids = vec![graph.input(input)];
    for (label, op, inputs) in layers {
        let inputs: Vec<NodeId> = inputs.iter().map(|&it| ids[it]).collect();
        ids.push(graph.add(*label, *op, &inputs).expect("the shapes fit"));
    }
    graph
}

/// Expected figures in elements, not bytes: `[params, macs, weights shipped, peak, traffic of
/// activations, operations]`.
#[track_caller]
fn check(graph: &Graph, [params, macs, weights, peak, activations, n_ops]: [u64; 6]) {
    let expected = StaticCost {
        params,
        macs,
        model_bytes: 4 * weights,
        peak_bytes: 4 * peak,
        traffic_bytes: 4 * (weights + activations),
        n_ops,
    };
    assert_eq!(static_cost(graph), expected);
}

#[track_caller]
fn check_one(op: Op, input: Shape, expected: [u64; 6]) {
    check(&build(input, &[("layer", op, &[0])]), expected);
}

const IMAGE: Shape = Shape::Map([3, 16, 16]);
const MAP: Shape = Shape::Map([4, 16, 16]);
const PIXELS: u64 = 16 * 16;

#[test]
fn convolutions() {
    let row = |conv: Conv2d, input, expected| check_one(Op::Conv2d(conv), input, expected);
    let (seen, made) = (3 * PIXELS, 8 * PIXELS);
    let weights = 8 * 3 * 9;
    row(Conv2d::same(8, 3, 1), IMAGE, [weights, made * 27, weights, seen + made, seen + made, 1]);

    let biased = Conv2d { bias: true, ..Conv2d::same(8, 3, 1) };
    row(biased, IMAGE, [weights + 8, made * 27, weights + 8, seen + made, seen + made, 1]);

    // Each of 8 filters sees 2 of 4 channels.
    let (seen, weights) = (4 * PIXELS, 8 * 2 * 9);
    let grouped = Conv2d { groups: 2, ..Conv2d::same(8, 3, 1) };
    row(grouped, MAP, [weights, made * 18, weights, seen + made, seen + made, 1]);

    let made = 4 * 8 * 8;
    row(Conv2d::depthwise(4, 5, 2), MAP, [4 * 25, made * 25, 4 * 25, seen + made, seen + made, 1]);

    // Three taps two pixels apart span five.
    let made = 8 * 12 * 12;
    let dilated = Conv2d { dilation: [2; 2], pads: Pads::all(0), ..Conv2d::same(8, 3, 1) };
    row(dilated, MAP, [288, made * 36, 288, seen + made, seen + made, 1]);

    // Weights that are given ship and are read, but nobody learns them.
    let made = 8 * PIXELS;
    let given = Conv2d { fixed: true, ..Conv2d::same(8, 1, 1) };
    row(given, MAP, [0, made * 4, 32, 4 * PIXELS + made, 4 * PIXELS + made, 1]);

    // Rows: 1 + 16 + 2 of which a window of 3 starts at every second; columns: all 16.
    let made = 8 * 9 * 16;
    let lopsided = Conv2d {
        kernel: [3, 1],
        stride: [2, 1],
        pads: Pads { top: 1, left: 0, bottom: 2, right: 0 },
        ..Conv2d::same(8, 3, 1)
    };
    row(lopsided, MAP, [8 * 4 * 3, made * 12, 8 * 4 * 3, seen + made, seen + made, 1]);
}

#[test]
fn everything_else() {
    let map = 4 * PIXELS;
    check_one(Op::Linear(5), Shape::Vector(10), [55, 50, 55, 15, 15, 1]);
    // Two of the four numbers a channel are trained; alone, batch norm cannot be folded.
    check_one(Op::BatchNorm, MAP, [8, 0, 16, 2 * map, 2 * map, 1]);
    check_one(Op::Activation(Activation::Swish), MAP, [0, 0, 0, 2 * map, 2 * map, 1]);
    check_one(Op::MaxPool(Pool2d::same(3, 2)), MAP, [0, 0, 0, map + map / 4, map + map / 4, 1]);
    check_one(Op::AvgPool(Pool2d::same(3, 1)), MAP, [0, 0, 0, 2 * map, 2 * map, 1]);
    check_one(Op::GlobalAvgPool, MAP, [0, 0, 0, map + 4, map + 4, 1]);
    // The last node stays, whatever it is.
    check_one(Op::Identity, MAP, [0, 0, 0, 2 * map, 2 * map, 1]);
    check_one(Op::ChannelsLast, MAP, [0, 0, 0, 2 * map, 2 * map, 1]);
    // Four times as many pixels.
    check_one(Op::Resize([2 * 16, 2 * 16]), MAP, [0, 0, 0, 5 * map, 5 * map, 1]);
    check_one(Op::Slice { from: 1, channels: 2 }, MAP, [0, 0, 0, map + map / 2, map + map / 2, 1]);
    check_one(Op::Weigh { key: 0, option: 1 }, MAP, [0, 0, 0, 2 * map, 2 * map, 1]);
    // Zeros ship as a constant.
    check_one(Op::Zero(3), MAP, [0, 0, 4 * 6 * 6, map + 144, map + 144, 1]);
    // One buffer, read three times.
    check(&build(MAP, &[("sum", Op::Add, &[0, 0, 0])]), [0, 0, 0, 2 * map, 4 * map, 1]);
    for op in [Op::Mul, Op::Sub, Op::Mean] {
        check(&build(MAP, &[("two", op, &[0, 0])]), [0, 0, 0, 2 * map, 3 * map, 1]);
    }
    // A table of 7 words, of which one row is read: a number and a row in, a row out.
    let embed = build(Shape::Vector(1), &[("embed", Op::Embed(Table { words: 7, features: 5 }), &[0])]);
    let expected =
        StaticCost { params: 35, macs: 0, model_bytes: 140, peak_bytes: 4 * 6, traffic_bytes: 4 * 11, n_ops: 1 };
    assert_eq!(static_cost(&embed), expected);
    check(&build(MAP, &[("mix", Op::Mix(0), &[0, 0])]), [0, 0, 0, 2 * map, 3 * map, 1]);
    check(&build(MAP, &[("both", Op::Concat, &[0, 0])]), [0, 0, 0, 3 * map, 4 * map, 1]);
    check(&Graph::default(), [0; 6]);
}

#[test]
fn folding_changes_what_ships_and_not_what_trains() {
    let conv = Op::Conv2d(Conv2d::same(4, 1, 1));
    let biased = Op::Conv2d(Conv2d { bias: true, ..Conv2d::same(4, 1, 1) });
    let map = 4 * PIXELS;
    // Folded: 16 weights and a bias each channel; trained: 16 and two a channel.
    let plain = build(MAP, &[("conv", conv, &[0]), ("norm", Op::BatchNorm, &[1])]);
    check(&plain, [16 + 8, 16 * PIXELS, 16 + 4, 2 * map, 2 * map, 1]);
    let with_bias = build(MAP, &[("conv", biased, &[0]), ("norm", Op::BatchNorm, &[1])]);
    check(&with_bias, [16 + 4 + 8, 16 * PIXELS, 16 + 4, 2 * map, 2 * map, 1]);
    // Someone else reads the convolution: both ship, and three maps are alive in the end.
    let shared = build(MAP, &[("conv", conv, &[0]), ("norm", Op::BatchNorm, &[1]), ("sum", Op::Add, &[1, 2])]);
    check(&shared, [16 + 8, 16 * PIXELS, 16 + 16, 3 * map, 7 * map, 3]);
    // An identity costs nothing; what it passes on stays alive until its reader has run.
    let skip = [
        ("skip", Op::Identity, [0].as_slice()),
        ("conv", conv, &[0]),
        ("norm", Op::BatchNorm, &[2]),
        ("relu", Op::Activation(Activation::Relu), &[3]),
        ("sum", Op::Add, &[1, 4]),
    ];
    check(&build(MAP, &skip), [16 + 8, 16 * PIXELS, 16 + 4, 3 * map, 7 * map, 3]);
}

#[test]
fn intensity_is_flops_per_byte() {
    let graph = build(Shape::Vector(10), &[("linear", Op::Linear(5), &[0])]);
    assert_eq!(static_cost(&graph).intensity(), 2.0 * 50.0 / (4.0 * (10.0 + 5.0 + 55.0)));
    assert_eq!(StaticCost::default().intensity(), 0.0);
}

/// The documentation of [`StaticCost`], read literally.
fn slow_cost(graph: &Graph) -> StaticCost {
    let shipped = fold::shipped(graph);
    let n_values = |graph: &Graph, id, skip: &[&str]| -> u64 {
        let counted = parameters(graph, id).into_iter().filter(|(suffix, _)| !skip.contains(suffix));
        counted.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    };
    let reads = |user: NodeId, it: NodeId| shipped.inputs(user).contains(&it);
    let last_reader: Vec<Option<NodeId>> =
        shipped.ids().map(|it| shipped.ids().rev().find(|&user| reads(user, it))).collect();
    let elements = |id| shipped.shape(id).elements() as u64;
    let mut cost = StaticCost {
        params: graph.ids().map(|id| n_values(graph, id, &["mean", "var"])).sum(),
        ..StaticCost::default()
    };
    for id in shipped.ids() {
        let kernel = n_values(&shipped, id, &["bias"]);
        let [height, width] = shipped.shape(id).spatial();
        let weights = match shipped.op(id) {
            Op::Conv2d(_) | Op::Linear(_) => {
                // Every weight but a bias is used once at every place of the output.
                cost.macs += kernel * (height * width) as u64;
                n_values(&shipped, id, &[])
            }
            Op::Zero(_) => elements(id),
            Op::Embed(Table { features, .. }) => {
                // One row is read.
                let table = n_values(&shipped, id, &[]);
                cost.traffic_bytes += 4 * *features as u64;
                cost.model_bytes += 4 * table;
                0
            }
            _ => n_values(&shipped, id, &[]),
        };
        cost.model_bytes += 4 * weights;
        cost.traffic_bytes += 4 * weights;
        if !matches!(shipped.op(id), Op::Input | Op::Memory(_)) {
            cost.n_ops += 1;
            cost.traffic_bytes += 4 * elements(id);
            cost.traffic_bytes += shipped.inputs(id).iter().map(|&it| 4 * elements(it)).sum::<u64>();
        }
        let is_kept = |it: NodeId| shipped.memories().iter().any(|memory| memory.next == it);
        let is_read_later = |it: NodeId| is_kept(it) || last_reader[it.index()] >= Some(id);
        let live = shipped.ids().filter(|it| *it == id || (*it < id && is_read_later(*it)));
        cost.peak_bytes = cost.peak_bytes.max(live.map(|it| 4 * elements(it)).sum());
    }
    cost
}

#[test]
fn known_networks_cost_what_a_slow_count_says() {
    for graph in [networks::mobilenet_v2_cifar(), networks::darts_v2(), networks::mlperf_tiny_resnet8()] {
        assert_eq!(static_cost(&graph), slow_cost(&graph));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn random_networks_cost_what_a_slow_count_says(seed: u64, n_nodes in 1..40_usize) {
        let graph = random::graph(seed, n_nodes);
        prop_assert_eq!(static_cost(&graph), slow_cost(&graph));
    }
}
