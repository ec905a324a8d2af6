//! DARTS's recurrent cells with every choice open.

use std::collections::{BTreeMap, BTreeSet};

use graph::{Graph, Op, cost::static_cost, weights::own_parameters};
use search::{
    chooser::Uniform,
    space::{
        Relax, Scale, SearchSpace,
        open_recurrent::{OpenRecurrent, key, option},
        recurrent::{FUNCTIONS, Function, Node, RecurrentCell},
    },
};

const HIDDEN: usize = 7;
const WORDS: usize = 20;
const SCALE: Scale = Scale {
    layers: 1,
    channels: HIDDEN,
    input: [1, 1, 9],
    classes: WORDS,
    front_end: None,
    task: data::Task::Language,
};

fn weights(graph: &Graph) -> BTreeMap<String, Vec<usize>> {
    let of = |id| own_parameters(graph, id).into_iter().map(move |(suffix, axes)| (id, suffix, axes));
    graph.ids().flat_map(of).map(|(id, suffix, axes)| (format!("{}.{suffix}", graph.name(id)), axes)).collect()
}

#[test]
fn every_cell_is_in_the_relaxed_network() {
    let space = OpenRecurrent::default();
    let open = space.relax(&SCALE).expect("it fits");
    let ours = weights(&open);
    for step in 0..50 {
        let cell = space.sample(&mut Uniform::new(0, "cells", step));
        for (name, axes) in weights(&space.build(&cell, &SCALE).expect("it fits")) {
            assert_eq!(ours.get(&name), Some(&axes), "{name}");
        }
    }
    // A node has one gate and one value, whatever it reads; nine states are normalised.
    let linear = HIDDEN * HIDDEN + HIDDEN;
    let params = static_cost(&open).params as usize;
    assert_eq!(params, WORDS * HIDDEN + WORDS + (4 + 2 * 8) * linear + 9 * 2 * HIDDEN);
    assert_eq!(open.memories().len(), 1);
}

#[test]
fn every_edge_weighs_each_option_once() {
    let space = OpenRecurrent::default();
    assert_eq!(space.options(), [5; 36]);
    let open = space.relax(&SCALE).expect("it fits");
    let mut seen = BTreeSet::new();
    for id in open.ids() {
        if let Op::Weigh { key, option } = open.op(id) {
            assert!(seen.insert((*key, *option)), "{key} {option}");
        }
    }
    assert_eq!(seen.len(), 36 * 5);
    let keys: Vec<usize> = (0..8).flat_map(|node| (0..=node).map(move |input| key(node, input))).collect();
    assert_eq!(keys, (0..36).collect::<Vec<_>>());
    assert_eq!(FUNCTIONS.map(option), [1, 2, 3, 4]);
}

#[test]
fn the_strongest_cells_come_in_order() {
    let space = OpenRecurrent { nodes: 2 };
    let scores: Vec<Vec<f64>> =
        (0..3).map(|row| (0..5).map(|col| ((row * 5 + col) as f64 * 2.7).sin()).collect()).collect();
    let score = |cell: &RecurrentCell| -> f64 {
        let of = |(node, it): (usize, &Node)| scores[key(node, it.input)][option(it.function)];
        cell.nodes.iter().enumerate().map(of).sum()
    };
    let found: Vec<RecurrentCell> = space.strongest(&scores).collect();
    assert_eq!(found.len() as u128, space.size());
    assert!(found.windows(2).all(|pair| score(&pair[1]) <= score(&pair[0])));
    let different: BTreeSet<String> = found.iter().map(|it| format!("{it:?}")).collect();
    assert_eq!(different.len(), found.len());
}

/// A choice that is as certain as can be becomes the cell that it stands for.
#[test]
fn a_cell_is_what_its_options_say() {
    let space = OpenRecurrent::default();
    for step in 0..50 {
        let cell = space.sample(&mut Uniform::new(1, "cells", step));
        assert_eq!(cell.first, Function::Tanh);
        let chosen = space.chosen(&cell);
        assert_eq!(chosen.iter().filter(|&&it| it != 0).count(), 8);
        let row = |chosen: &usize| (0..5).map(|it| if it == *chosen { 0.0 } else { -9.0 }).collect();
        let scores: Vec<Vec<f64>> = chosen.iter().map(row).collect();
        assert_eq!(space.strongest(&scores).next(), Some(cell));
    }
}
