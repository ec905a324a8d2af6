//! Building graphs: names, inferred shapes, and errors that name the node.

use std::collections::BTreeSet;

use graph::{Activation, Conv2d, Graph, GraphError, Op, Pads, Pool2d, Shape, Table};

mod common;

const MAP: Shape = Shape::Map([4, 5, 7]);
const VECTOR: Shape = Shape::Vector(4);

/// The shape that `op` makes of `inputs`, or the message of its refusal.
fn infer(op: Op, inputs: &[Shape]) -> Result<Shape, String> {
    let mut graph = Graph::default();
    let ids: Vec<_> = inputs.iter().map(|&shape| graph.input(shape)).collect();
    let added = graph.within(("cell", 3), |graph| graph.within("left", |graph| graph.add(("op", 1), op, &ids)));
    added.map(|id| graph.shape(id)).map_err(|error| error.to_string())
}

#[track_caller]
fn check(op: Op, inputs: &[Shape], expected: Shape) {
    assert_eq!(infer(op, inputs), Ok(expected));
}

#[track_caller]
fn refuse(op: Op, inputs: &[Shape]) {
    let expected = format!("cell3/left/op1: {} cannot take inputs of shape {inputs:?}", op.name());
    assert_eq!(infer(op, inputs), Err(expected));
}

#[test]
fn shapes_are_inferred() {
    let same = Conv2d::same(8, 3, 1);
    let pool = Pool2d { pads: Pads::all(0), ..Pool2d::same(2, 2) };
    check(Op::Conv2d(same), &[MAP], Shape::Map([8, 5, 7]));
    check(Op::Conv2d(Conv2d::same(8, 3, 2)), &[MAP], Shape::Map([8, 3, 4]));
    check(Op::Conv2d(Conv2d { dilation: [2; 2], ..same }), &[MAP], Shape::Map([8, 3, 5]));
    check(Op::Conv2d(Conv2d { pads: Pads { top: 9, ..Pads::all(0) }, ..same }), &[MAP], Shape::Map([8, 12, 5]));
    check(Op::MaxPool(pool), &[MAP], Shape::Map([4, 2, 3]));
    check(Op::AvgPool(Pool2d::same(3, 2)), &[MAP], Shape::Map([4, 3, 4]));
    check(Op::GlobalAvgPool, &[MAP], VECTOR);
    check(Op::Linear(9), &[VECTOR], Shape::Vector(9));
    check(Op::Concat, &[MAP, Shape::Map([2, 5, 7]), MAP], Shape::Map([10, 5, 7]));
    check(Op::Add, &[VECTOR, VECTOR, VECTOR], VECTOR);
    check(Op::Mix(7), &[MAP, MAP, MAP], MAP);
    for op in [Op::Mul, Op::Mean] {
        check(op, &[MAP, MAP, MAP], MAP);
        check(op, &[VECTOR, VECTOR], VECTOR);
    }
    check(Op::Sub, &[VECTOR, VECTOR], VECTOR);
    check(Op::Embed(Table { words: 9, features: 3 }), &[Shape::Vector(1)], Shape::Vector(3));
    check(Op::Zero(2), &[MAP], Shape::Map([4, 3, 4]));
    check(Op::ChannelsLast, &[MAP], Shape::Map([5, 7, 4]));
    check(Op::Resize([10, 3]), &[MAP], Shape::Map([4, 10, 3]));
    check(Op::Slice { from: 1, channels: 3 }, &[MAP], Shape::Map([3, 5, 7]));
    check(Op::Weigh { key: 1, option: 2 }, &[MAP], MAP);
    check(Op::Weigh { key: 1, option: 2 }, &[VECTOR], VECTOR);
    for op in [Op::BatchNorm, Op::Identity, Op::Activation(Activation::Tanh)] {
        check(op, &[MAP], MAP);
        check(op, &[VECTOR], VECTOR);
    }
}

/// Sides have 20 bits, channels and features 23.
#[test]
fn shapes_have_a_largest_size() {
    let large = Shape::Map([(1 << 23) - 1, (1 << 20) - 1, 1]);
    check(Op::Identity, &[large], large);
    check(Op::GlobalAvgPool, &[large], Shape::Vector((1 << 23) - 1));
    check(Op::Linear((1 << 23) - 1), &[VECTOR], Shape::Vector((1 << 23) - 1));
    refuse(Op::Linear(1 << 23), &[VECTOR]);
    refuse(Op::Conv2d(Conv2d::same(1 << 23, 3, 1)), &[MAP]);
    refuse(Op::Conv2d(Conv2d { pads: Pads { top: 1 << 20, ..Pads::all(0) }, ..Conv2d::same(8, 1, 1) }), &[MAP]);
}

#[test]
fn a_word_may_be_several_steps_of_a_name() -> Result<(), GraphError> {
    let mut graph = Graph::default();
    let image = graph.input(MAP);
    let relu = Op::Activation(Activation::Relu);
    let nested = graph.within(("cell", 3), |graph| {
        graph.within("left", |graph| graph.within(("from", 1), |graph| graph.add("relu", relu, &[image])))
    })?;
    let at_once =
        graph.within(("cell", 3), |graph| graph.within(("left/from", 1), |graph| graph.add("relu", relu, &[image])))?;
    assert_eq!(
        (graph.name(nested), graph.name(at_once)),
        ("cell3/left/from1/relu".into(), "cell3/left/from1/relu".into())
    );
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let same = Conv2d::same(8, 3, 1);
    let pool = Pool2d::same(3, 1);
    // Groups that divide only one side, or nothing.
    for groups in [0, 3, 8] {
        refuse(Op::Conv2d(Conv2d { groups, ..same }), &[MAP]);
    }
    refuse(Op::Conv2d(Conv2d { channels: 0, ..same }), &[MAP]);
    refuse(Op::Conv2d(Conv2d { kernel: [0, 3], ..same }), &[MAP]);
    refuse(Op::Conv2d(Conv2d { stride: [1, 0], ..same }), &[MAP]);
    refuse(Op::Conv2d(Conv2d { dilation: [0, 1], ..same }), &[MAP]);
    refuse(Op::Conv2d(Conv2d { dilation: [usize::MAX, 1], ..same }), &[MAP]);
    // A window larger than the padded map, and one that could see padding alone.
    refuse(Op::Conv2d(Conv2d { kernel: [8, 1], ..same }), &[MAP]);
    refuse(Op::MaxPool(Pool2d { pads: Pads { top: 3, ..Pads::all(0) }, ..pool }), &[MAP]);
    refuse(Op::AvgPool(Pool2d { stride: [0; 2], ..pool }), &[MAP]);
    refuse(Op::Zero(0), &[MAP]);
    refuse(Op::Resize([4, 0]), &[MAP]);
    refuse(Op::Resize([4, 1 << 20]), &[MAP]);
    refuse(Op::Resize([4, 4]), &[VECTOR]);
    refuse(Op::Resize([4, 4]), &[MAP, MAP]);
    refuse(Op::Slice { from: 2, channels: 3 }, &[MAP]);
    refuse(Op::Slice { from: 2, channels: 0 }, &[MAP]);
    refuse(Op::Slice { from: u32::MAX, channels: 1 }, &[MAP]);
    refuse(Op::Slice { from: 0, channels: 4 }, &[VECTOR]);
    refuse(Op::Weigh { key: 0, option: 0 }, &[MAP, MAP]);
    refuse(Op::Linear(0), &[VECTOR]);
    refuse(Op::Linear(2), &[MAP]);
    refuse(Op::GlobalAvgPool, &[VECTOR]);
    refuse(Op::Conv2d(same), &[VECTOR]);
    // The number of inputs.
    refuse(Op::Add, &[MAP]);
    refuse(Op::Add, &[MAP, Shape::Map([4, 5, 8])]);
    refuse(Op::Mul, &[MAP]);
    refuse(Op::Mean, &[MAP, VECTOR]);
    refuse(Op::Sub, &[MAP, MAP, MAP]);
    refuse(Op::Embed(Table { words: 9, features: 3 }), &[VECTOR]);
    refuse(Op::Embed(Table { words: 0, features: 3 }), &[Shape::Vector(1)]);
    refuse(Op::Mix(0), &[MAP]);
    refuse(Op::Mix(0), &[MAP, VECTOR]);
    refuse(Op::Concat, &[]);
    refuse(Op::Concat, &[VECTOR, VECTOR]);
    refuse(Op::Concat, &[MAP, Shape::Map([4, 7, 5])]);
    refuse(Op::Identity, &[]);
    refuse(Op::BatchNorm, &[MAP, MAP]);
    refuse(Op::Input, &[MAP]);
}

#[test]
fn a_refused_node_leaves_the_graph_as_it_was() -> Result<(), GraphError> {
    let mut graph = Graph::default();
    let image = graph.input(MAP);
    let before = graph.clone();
    graph.add("linear", Op::Linear(2), &[image]).expect_err("a map is not a vector");
    assert_eq!(graph, before);
    let relu = graph.add("relu", Op::Activation(Activation::Relu), &[image])?;
    assert_eq!((graph.output(), graph.n_users()), (Some(relu), vec![1, 0]));
    assert_eq!(Graph::default().output(), None);
    Ok(())
}

/// The random networks of the property tests are worth something only if they hold everything.
#[test]
fn random_networks_hold_every_operation() {
    let mut seen = BTreeSet::new();
    for seed in 0..600 {
        let graph = common::random::graph(seed, 24);
        let users = graph.n_users();
        for id in graph.ids() {
            seen.insert(graph.op(id).name().to_owned());
            let read = users[id.index()];
            match graph.op(id) {
                Op::Conv2d(conv) => {
                    let Pads { top, left, bottom, right } = conv.pads;
                    let kinds = [
                        ("groups", conv.groups > 1),
                        ("stride", conv.stride != [1; 2]),
                        ("dilation", conv.dilation != [1; 2]),
                        ("lopsided pads", top != bottom && left != right),
                        ("bias", conv.bias),
                    ];
                    seen.extend(kinds.into_iter().filter(|&(_, it)| it).map(|(kind, _)| format!("Conv2d {kind}")));
                }
                Op::BatchNorm => {
                    let input = graph.inputs(id)[0];
                    let alone = users[input.index()] == 1;
                    seen.insert(format!("BatchNorm after {}, alone: {alone}", graph.op(input).name()));
                }
                Op::Add if graph.inputs(id).len() > 2 => {
                    seen.insert("Add of many".to_owned());
                }
                _ => {}
            }
            if read == 0 && Some(id) != graph.output() {
                seen.insert("read by nobody".to_owned());
            }
        }
        seen.insert(format!("output {}", graph.output().map_or("none", |id| graph.op(id).name())));
    }
    let operations = "Input Conv2d Linear BatchNorm Relu Relu6 Elu Selu Swish Tanh Sigmoid NegativeRelu MaxPool \
                      AvgPool GlobalAvgPool Add Mul Sub Mean Concat ChannelsLast Identity Zero Resize Slice";
    let kinds = [
        "Conv2d groups",
        "Conv2d stride",
        "Conv2d dilation",
        "Conv2d lopsided pads",
        "Conv2d bias",
        "BatchNorm after Conv2d, alone: true",
        "BatchNorm after Conv2d, alone: false",
        "BatchNorm after Identity, alone: true",
        "BatchNorm after Linear, alone: true",
        "Add of many",
        "read by nobody",
        "output Linear",
        "output Conv2d",
        "output Identity",
        "output Zero",
        "output BatchNorm",
    ];
    let missing: Vec<&str> = operations.split_whitespace().chain(kinds).filter(|&it| !seen.contains(it)).collect();
    assert!(missing.is_empty(), "no random network has {missing:?}");
}
