//! Networks whose choices are open, against counts by hand.

use graph::{
    Activation, Conv2d, Graph, NodeId, Op, Shape,
    cost::static_cost,
    relaxed::{Counted, Mixture, OptionCosts, option_costs, owners},
};

const MAP: Shape = Shape::Map([4, 8, 8]);

/// Elements of that map.
const E: f64 = 256.0;

/// Two mixes of one key, one behind the other, and one of another key that reads what is read elsewhere too.
fn network() -> Graph {
    let mut graph = Graph::default();
    let image = graph.input(MAP);
    let mut last = image;
    let mut shared = image;
    for layer in 0..2 {
        last = graph.within(("layer", layer), |graph| {
            let zero = add(graph, "zero", Op::Zero(1), &[last]);
            let relu = add(graph, "relu", Op::Activation(Activation::Relu), &[last]);
            let conv = add(graph, "conv", Op::Conv2d(Conv2d::same(4, 3, 1)), &[relu]);
            let norm = add(graph, "norm", Op::BatchNorm, &[conv]);
            shared = norm;
            add(graph, "mix", Op::Mix(0), &[zero, norm, last])
        });
    }
    // `norm` of the second layer is read by both keys, so that it and its convolution are nobody's.
    let pointwise = add(&mut graph, "pointwise", Op::Conv2d(Conv2d::same(4, 1, 1)), &[shared]);
    let mix = add(&mut graph, "mix", Op::Mix(2), &[shared, pointwise]);
    add(&mut graph, "sum", Op::Add, &[last, mix]);
    graph
}

fn add(graph: &mut Graph, label: &'static str, op: Op, inputs: &[NodeId]) -> NodeId {
    graph.add(label, op, inputs).expect("every shape fits")
}

#[test]
fn a_mix_reads_everything_and_cannot_ship() {
    let graph = network();
    let cost = static_cost(&graph);
    assert_eq!(cost.params, 2 * (4 * 4 * 9 + 8) + 16);
    assert_eq!(cost.macs, 64 * (2 * 4 * 4 * 9 + 16));
    // Two layers of zero, relu, convolution and mix; a convolution, a mix and a sum.
    assert_eq!(cost.n_ops, 2 * 4 + 3);
    let mix = graph.relaxed_node().map(|id| graph.name(id));
    assert_eq!(mix.as_deref(), Some("layer0/mix"));
    let mut plain = Graph::default();
    plain.input(MAP);
    assert_eq!(plain.relaxed_node(), None);
}

/// Two convolutions, each behind a weight of one row: one weighed twice on its way, one beside a mix.
#[test]
fn what_is_weighed_by_an_option_is_its_cost() {
    let mut graph = Graph::default();
    let image = graph.input(MAP);
    let conv = |graph: &mut Graph, label, input| add(graph, label, Op::Conv2d(Conv2d::same(4, 1, 1)), &[input]);
    let first = conv(&mut graph, "first", image);
    let first = add(&mut graph, "weighed", Op::Weigh { key: 1, option: 2 }, &[first]);
    let second = conv(&mut graph, "second", first);
    let second = add(&mut graph, "again", Op::Weigh { key: 0, option: 1 }, &[second]);
    let third = conv(&mut graph, "third", image);
    add(&mut graph, "sum", Op::Add, &[second, third]);
    assert_eq!(graph.relaxed_node().map(|id| graph.name(id)).as_deref(), Some("weighed"));
    let costs = option_costs(&graph, Counted::Params);
    assert_eq!(costs, OptionCosts { fixed: 16.0, options: vec![vec![0.0, 16.0], vec![0.0, 0.0, 16.0]] });
    let bytes = option_costs(&graph, Counted::ModelBytes);
    assert_eq!(bytes.options, [vec![0.0, 64.0], vec![0.0, 0.0, 64.0]]);
}

#[test]
fn what_goes_with_an_option_is_its_cost() {
    let graph = network();
    let names: Vec<(String, (usize, usize))> =
        graph.ids().zip(owners(&graph)).filter_map(|(id, owner)| Some((graph.name(id), owner?))).collect();
    let expected = [
        ("layer0/zero", (0, 0)),
        ("layer0/relu", (0, 1)),
        ("layer0/conv", (0, 1)),
        ("layer0/norm", (0, 1)),
        ("layer1/zero", (0, 0)),
        ("pointwise", (2, 1)),
    ];
    assert_eq!(names, expected.map(|(name, owner)| (name.to_owned(), owner)));
    let check = |counted, fixed: f64, row: [f64; 3], other: [f64; 2]| {
        let expected = OptionCosts { fixed, options: vec![row.to_vec(), Vec::new(), other.to_vec()] };
        assert_eq!(option_costs(&graph, counted), expected, "{counted:?}");
    };
    let (dense, norm) = (144.0, 8.0);
    check(Counted::Params, dense + norm, [0.0, dense + norm, 0.0], [0.0, 16.0]);
    check(Counted::Macs, 64.0 * dense, [0.0, 64.0 * dense, 0.0], [0.0, 64.0 * 16.0]);
    // Zeros ship as constants; a folded norm as the bias of its convolution.
    check(Counted::ModelBytes, 4.0 * (dense + 4.0), [8.0 * E, 4.0 * (dense + 4.0), 0.0], [0.0, 64.0]);
    let branch = dense + 4.0 + 4.0 * E;
    // The second layer's convolution stays, and so does the sum.
    check(
        Counted::TrafficBytes,
        4.0 * (branch + 3.0 * E),
        [4.0 * 6.0 * E, 4.0 * branch, 0.0],
        [0.0, 4.0 * (16.0 + 2.0 * E)],
    );
}

/// All that is not a mix is counted once.
#[test]
fn options_and_what_is_fixed_are_the_whole() {
    let graph = network();
    let whole = |counted| {
        let costs = option_costs(&graph, counted);
        (costs.fixed + costs.options.iter().flatten().sum::<f64>()) as u64
    };
    let cost = static_cost(&graph);
    assert_eq!(whole(Counted::Params), cost.params);
    assert_eq!(whole(Counted::Macs), cost.macs);
    assert_eq!(whole(Counted::ModelBytes), cost.model_bytes);
    assert_eq!(whole(Counted::TrafficBytes), cost.traffic_bytes - 4 * (4 + 4 + 3) * E as u64);
}

#[test]
fn the_gradient_is_that_of_the_expected_cost() {
    let costs = option_costs(&network(), Counted::Macs);
    let alpha = Mixture { logits: vec![vec![0.3, -0.2, 0.9], Vec::new(), vec![-1.0, 1.5]] };
    let gradient = costs.gradient(&alpha);
    for (key, row) in gradient.iter().enumerate() {
        for (option, slope) in row.iter().enumerate() {
            let moved = |by: f32| {
                let mut alpha = alpha.clone();
                alpha.logits[key][option] += by;
                costs.expected(&alpha)
            };
            let found = (moved(0.0625) - moved(-0.0625)) / 0.125;
            assert!((slope - found).abs() < 2e-3 * slope.abs().max(1.0), "{key}, {option}: {slope}, not {found}");
        }
    }
    let options = [3, 0, 2];
    let whole = costs.expected(&Mixture::decided(&options, &[1, 0, 1]));
    assert_eq!(whole, static_cost(&network()).macs as f64);
    assert_eq!(Mixture::decided(&options, &[1, 0, 1]).weights(0), [0.0, 1.0, 0.0]);
    assert_eq!(Mixture::even(&options).weights(2), [0.5; 2]);
}
