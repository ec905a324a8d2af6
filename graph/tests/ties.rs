//! Weights that several nodes share.

use graph::{
    Activation, Graph, GraphError, NodeId, Op, Shape, Table,
    cost::static_cost,
    fold::{fold, shipped},
    relaxed::{Counted, option_costs},
    weights::{Tensor, Weights, WeightsError, own_parameters, owner, parameters},
};

const WORDS: usize = 11;
const FEATURES: usize = 6;

/// A classifier that may have the embedding's table, behind a linear map that comes twice.
fn network(is_tied: bool) -> (Graph, [NodeId; 4]) {
    let mut graph = Graph::default();
    let word = graph.input(Shape::Vector(1));
    let mut add = |label: &'static str, op, input| graph.add(label, op, &[input]).expect("the shapes fit");
    let embed = add("embed", Op::Embed(Table { words: WORDS, features: FEATURES }), word);
    let first = add("first", Op::Linear(FEATURES), embed);
    let tanh = add("tanh", Op::Activation(Activation::Tanh), first);
    let second = add("second", Op::Linear(FEATURES), tanh);
    let classifier = add("classifier", Op::Linear(WORDS), second);
    if is_tied {
        graph.tie(second, first).expect("the same axes");
        graph.tie(classifier, embed).expect("the same axes");
    }
    (graph, [embed, first, second, classifier])
}

const TABLE: u64 = (WORDS * FEATURES) as u64;
const MAP: u64 = (FEATURES * FEATURES + FEATURES) as u64;

#[test]
fn what_is_shared_is_counted_once_and_read_twice() {
    let [(apart, _), (tied, _)] = [false, true].map(network);
    let (before, after) = (static_cost(&apart), static_cost(&tied));
    assert_eq!(before.params, 2 * TABLE + 2 * MAP + WORDS as u64);
    assert_eq!(after.params, TABLE + MAP + WORDS as u64, "the classifier's bias is its own");
    assert_eq!(after.model_bytes, 4 * after.params);
    assert_eq!(
        [after.macs, after.traffic_bytes, after.peak_bytes, after.n_ops],
        [before.macs, before.traffic_bytes, before.peak_bytes, before.n_ops]
    );
    for counted in [Counted::Params, Counted::ModelBytes, Counted::Macs, Counted::TrafficBytes] {
        let costs = option_costs(&tied, counted);
        let whole = static_cost(&tied);
        let expected = match counted {
            Counted::Params => whole.params,
            Counted::ModelBytes => whole.model_bytes,
            Counted::Macs => whole.macs,
            Counted::TrafficBytes => whole.traffic_bytes,
        };
        assert_eq!(costs.fixed, expected as f64, "{counted:?}");
    }
}

#[test]
fn a_shared_weight_has_one_owner() {
    let (mut graph, [embed, first, second, classifier]) = network(true);
    assert_eq!(owner(&graph, classifier, "weight", &[WORDS, FEATURES]), embed);
    assert_eq!(owner(&graph, classifier, "bias", &[WORDS]), classifier);
    assert_eq!(own_parameters(&graph, classifier), [("bias", vec![WORDS])]);
    assert_eq!(own_parameters(&graph, second), []);
    assert_eq!(parameters(&graph, second), parameters(&graph, first));
    // Of a third one the owner is the first.
    let third = graph.add("third", Op::Linear(FEATURES), &[second]).expect("the shapes fit");
    graph.tie(third, second).expect("the same axes");
    assert_eq!(owner(&graph, third, "weight", &[FEATURES, FEATURES]), first);
}

#[test]
fn only_linear_maps_of_the_same_axes_share() {
    let (graph, [embed, first, second, classifier]) = network(false);
    for [node, of] in [[classifier, first], [first, second], [first, first], [embed, first], [second, embed]] {
        let mut other = graph.clone();
        let [node_name, of_name] = [node, of].map(|id| graph.name(id));
        assert_eq!(other.tie(node, of), Err(GraphError::Tie { node: node_name, of: of_name }));
        assert_eq!(other, graph, "and nothing changed");
    }
}

#[test]
fn what_ships_shares_the_same() {
    let (graph, _) = network(true);
    assert_eq!(shipped(&graph), graph);
    let mut weights = Weights::default();
    for id in graph.ids() {
        for (suffix, shape) in own_parameters(&graph, id) {
            let values = (0..shape.iter().product()).map(|it| it as f32).collect();
            weights.insert(&graph.name(id), suffix, shape, values);
        }
    }
    assert_eq!(weights.tensors.len(), 4);
    let (out, folded) = fold(&graph, &weights).expect("all are there");
    assert_eq!((out, &folded), (graph.clone(), &weights));
    weights.tensors.insert("embed.weight".to_owned(), Tensor { shape: vec![2], values: vec![0.0; 2] });
    assert!(matches!(weights.check(&graph), Err(WeightsError::Shape { key, .. }) if key == "embed.weight"));
}

#[test]
fn a_tie_is_part_of_what_is_computed() {
    let [(apart, _), (tied, _)] = [false, true].map(network);
    assert_ne!(apart, tied);
    assert_ne!(apart.fingerprint(), tied.fingerprint());
    assert_ne!(apart.digest(), tied.digest());
}
