//! Folding keeps what a network computes, what its nodes are called and which node is the output.

use common::{random, reference};
use graph::{
    Activation, Conv2d, Graph, NodeId, Op, Shape,
    cost::static_cost,
    fold::{fold, shipped},
    weights::{Weights, WeightsError},
};
use proptest::prelude::*;

mod common;

/// `image -> conv -> (a node between, read by nobody) -> norm`, the convolution without bias.
fn conv_norm(between: Option<Op>) -> Graph {
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([2, 3, 3]));
    let mut add = |label, op, input: NodeId| graph.add(label, op, &[input]).expect("the shapes fit");
    let conv = add("conv", Op::Conv2d(Conv2d::same(3, 3, 1)), image);
    if let Some(op) = between {
        add("between", op, image);
    }
    add("norm", Op::BatchNorm, conv);
    graph
}

/// Names of the nodes that ship.
fn names(graph: &Graph) -> Vec<String> {
    let shipped = shipped(graph);
    shipped.ids().map(|id| shipped.name(id)).collect()
}

#[track_caller]
fn check_same_output(graph: &Graph, weights: &Weights, seed: u64) {
    let image = random::image(graph, seed);
    let before = reference::run(graph, weights, &image);
    let (folded, folded_weights) = fold(graph, weights).expect("the weights are complete");
    let after = reference::run(&folded, &folded_weights, &image);
    assert_eq!(before.len(), after.len());
    // Folded weights are rounded to single precision: what comes of that grows with the values.
    let largest = before.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    for (before, after) in before.iter().zip(&after) {
        assert!((before - after).abs() <= 1e-4 + 1e-6 * largest, "{before} became {after}");
    }
}

#[test]
fn batch_norm_vanishes_into_a_convolution_that_nobody_else_reads() {
    let relu = || Op::Activation(Activation::Relu);
    assert_eq!(names(&conv_norm(None)), ["image", "conv"]);
    // A node that nobody reads must not become the output in batch norm's place.
    assert_eq!(names(&conv_norm(Some(relu()))), ["image", "conv", "between", "norm"]);

    let mut apart = Graph::default();
    let mut last = apart.input(Shape::Map([2, 3, 3]));
    for (label, op) in [("conv", Op::Conv2d(Conv2d::same(3, 3, 1))), ("same", Op::Identity), ("norm", Op::BatchNorm)] {
        last = apart.add(label, op, &[last]).expect("the shapes fit");
    }
    assert_eq!(names(&apart), ["image", "conv"]);
    check_same_output(&apart, &random::weights(&apart, 1), 1);
    // Somebody else reads what batch norm has not touched.
    let same = apart.ids().nth(2).expect("it has four");
    apart.add("sum", Op::Add, &[same, last]).expect("the shapes fit");
    assert_eq!(names(&apart), ["image", "conv", "norm", "sum"]);
    check_same_output(&apart, &random::weights(&apart, 1), 1);

    let mut read_twice = conv_norm(None);
    let ids: Vec<NodeId> = read_twice.ids().collect();
    read_twice.add("sum", Op::Add, &[ids[1], ids[2]]).expect("the shapes fit");
    assert_eq!(names(&read_twice), ["image", "conv", "norm", "sum"]);

    let mut scoped = conv_norm(Some(relu()));
    let norm = scoped.output().expect("it has nodes");
    scoped.within(("cell", 2), |graph| graph.add("relu", relu(), &[norm])).expect("the shapes fit");
    assert_eq!(names(&scoped), ["image", "conv", "between", "cell2/relu"]);
}

/// A chain of operations behind the image, with dead ends: identities of the node of this index that nobody reads.
fn chain(ops: &[(&'static str, Op)], dead: &[(usize, usize)]) -> Graph {
    let mut graph = Graph::default();
    let mut last = graph.input(Shape::Map([2, 3, 3]));
    for (nth, (label, op)) in ops.iter().enumerate() {
        for (_, of) in dead.iter().filter(|(before, _)| *before == nth) {
            let of = graph.ids().nth(*of).expect("it stands before");
            graph.add(("dead", nth), Op::Identity, &[of]).expect("the shapes fit");
        }
        last = graph.add(*label, *op, &[last]).expect("the shapes fit");
    }
    graph
}

#[test]
fn what_vanishes_is_no_reader() {
    let conv = || ("conv", Op::Conv2d(Conv2d::same(3, 3, 1)));
    let (norm, relu) = (("norm", Op::BatchNorm), ("relu", Op::Activation(Activation::Relu)));
    let check = |graph: &Graph, expected: &[&str]| {
        assert_eq!(names(graph), expected);
        assert_eq!(shipped(&shipped(graph)), shipped(graph));
        check_same_output(graph, &random::weights(graph, 1), 1);
    };
    check(&chain(&[conv(), norm, relu], &[(1, 1)]), &["image", "conv", "relu"]);
    // Two in a row: the first is read by nobody but the second.
    check(&chain(&[conv(), norm, relu], &[(1, 1), (1, 2)]), &["image", "conv", "relu"]);
    // Between the convolution and its norm, which is the output.
    check(&chain(&[conv(), norm], &[(1, 0), (1, 1)]), &["image", "conv"]);
    // A norm behind a norm goes the same way, and the bias is one.
    let twice = chain(&[conv(), norm, ("same", Op::Identity), ("again", Op::BatchNorm)], &[(1, 1)]);
    check(&twice, &["image", "conv"]);
    assert_eq!(static_cost(&twice).model_bytes, 4 * (3 * 2 * 9 + 3));
    // The output stays, whatever it is, and reads.
    let mut last = chain(&[conv(), norm, relu], &[]);
    let conv = last.ids().nth(1).expect("it has four");
    last.add("same", Op::Identity, &[conv]).expect("the shapes fit");
    check(&last, &["image", "conv", "norm", "relu", "same"]);
}

#[test]
fn a_bias_of_the_same_name_is_not_the_convolutions_own() {
    let graph = conv_norm(None);
    let mut weights = random::weights(&graph, 1);
    let expected = fold(&graph, &weights).expect("the weights are complete");
    weights.insert("conv", "bias", vec![3], vec![100.0; 3]);
    assert_eq!(fold(&graph, &weights).expect("the weights are complete"), expected);
}

#[test]
fn weights_of_another_network_are_refused_by_key() {
    let graph = conv_norm(None);
    for key in ["conv.weight", "norm.gamma", "norm.beta", "norm.mean", "norm.var"] {
        let mut missing = random::weights(&graph, 1);
        missing.tensors.remove(key);
        let error = fold(&graph, &missing).expect_err("a tensor is missing");
        assert!(matches!(&error, WeightsError::Missing { key: it } if it == key), "{error}");

        let mut short = random::weights(&graph, 1);
        let tensor = short.tensors.get_mut(key).expect("it was there");
        (tensor.shape, tensor.values) = (vec![1], vec![0.0]);
        let error = fold(&graph, &short).expect_err("a tensor is too short");
        assert!(matches!(&error, WeightsError::Shape { key: it, .. } if it == key), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn folding_keeps_the_output(seed: u64, n_nodes in 1..30_usize) {
        let graph = random::graph(seed, n_nodes);
        check_same_output(&graph, &random::weights(&graph, seed), seed);
    }

    #[test]
    fn what_ships_ships_as_it_is(seed: u64, n_nodes in 1..40_usize) {
        let once = shipped(&random::graph(seed, n_nodes));
        prop_assert_eq!(shipped(&once), once);
    }

    #[test]
    fn folding_keeps_names_shapes_and_order(seed: u64, n_nodes in 1..30_usize) {
        let graph = random::graph(seed, n_nodes);
        let shipped = shipped(&graph);
        let place = |name: &str| graph.ids().find(|&id| graph.name(id) == name);
        let mut last = None;
        for id in shipped.ids() {
            let was = place(&shipped.name(id));
            prop_assert!(was > last, "{} moved", shipped.name(id));
            last = was;
            let was = was.expect("later than something");
            prop_assert_eq!(shipped.shape(id), graph.shape(was));
            prop_assert_eq!(shipped.op(id).name(), graph.op(was).name());
            if *shipped.op(id) == Op::Identity {
                prop_assert_eq!(Some(id), shipped.output());
            }
        }
        let output = |graph: &Graph| graph.output().map(|id| graph.shape(id));
        prop_assert_eq!(output(&shipped), output(&graph));
    }
}
