//! Recurrent networks: one step as a graph, and what is carried to the next.

use graph::{
    Activation, Conv2d, Graph, GraphError, Memory, NodeId, Op, Shape, Table,
    cost::static_cost,
    fold::{self, shipped},
};

const WORDS: usize = 11;
const FEATURES: usize = 6;

/// `h <- tanh(W x + V h)`, and a classifier: what J. L. Elman (1990) made of it.
fn elman() -> (Graph, [NodeId; 3]) {
    let mut graph = Graph::default();
    let word = graph.input(Shape::Vector(1));
    let h = graph.memory("h", FEATURES);
    let x = add(&mut graph, "embed", Op::Embed(Table { words: WORDS, features: FEATURES }), &[word]);
    let seen = add(&mut graph, "from_x", Op::Linear(FEATURES), &[x]);
    let kept = add(&mut graph, "from_h", Op::Linear(FEATURES), &[h]);
    let sum = add(&mut graph, "sum", Op::Add, &[seen, kept]);
    let next = add(&mut graph, "next", Op::Activation(Activation::Tanh), &[sum]);
    add(&mut graph, "classifier", Op::Linear(WORDS), &[next]);
    graph.remember(h, next).expect("the shapes are the same");
    (graph, [h, sum, next])
}

fn add(graph: &mut Graph, label: &'static str, op: Op, inputs: &[NodeId]) -> NodeId {
    graph.add(label, op, inputs).expect("the shapes fit")
}

/// All by hand, in values: a word's number, two vectors that live on, and what is made on the way.
#[test]
fn a_step_costs_what_a_word_costs() {
    let (graph, _) = elman();
    let cost = static_cost(&graph);
    let dense = |from: usize, to: usize| (from * to + to) as u64;
    let table = (WORDS * FEATURES) as u64;
    let layers = 2 * dense(FEATURES, FEATURES) + dense(FEATURES, WORDS);
    assert_eq!(cost.params, table + layers);
    assert_eq!(cost.model_bytes, 4 * cost.params);
    assert_eq!(cost.macs, (2 * FEATURES * FEATURES + FEATURES * WORDS) as u64);
    assert_eq!(cost.n_ops, 6, "neither the word nor the memory is computed");
    // The sum and its two inputs, or the answers beside what they are made from and what is remembered, which is the same.
    assert_eq!(cost.peak_bytes, 4 * (3 * FEATURES).max(FEATURES + WORDS) as u64);
    let moved = (1 + FEATURES) + 2 * 2 * FEATURES + 3 * FEATURES + 2 * FEATURES + (FEATURES + WORDS);
    assert_eq!(cost.traffic_bytes, 4 * (layers + (FEATURES + moved) as u64), "one row is read of the table");
}

#[test]
fn what_is_remembered_lives_to_the_end() {
    let mut graph = Graph::default();
    let word = graph.input(Shape::Vector(4));
    let memory = graph.memory("kept", 100);
    let early = add(&mut graph, "early", Op::Linear(100), &[word]);
    let small = add(&mut graph, "small", Op::Linear(2), &[memory]);
    add(&mut graph, "last", Op::Linear(200), &[small]);
    let before = static_cost(&graph).peak_bytes;
    graph.remember(memory, early).expect("the shapes are the same");
    let after = static_cost(&graph).peak_bytes;
    // Beside the last node's 200 and the 2 that it reads there is what the memory had, which remembers itself at first,
    // then `early`, which would die at once if nothing remembered it.
    assert_eq!([before, after], [4 * (100 + 2 + 200); 2]);
}

#[test]
fn a_memory_is_what_it_remembers() {
    let (graph, [h, sum, next]) = elman();
    assert_eq!(graph.memories(), [Memory { node: h, next }]);
    let mut other = graph.clone();
    assert_eq!((graph.fingerprint(), graph.digest()), (other.fingerprint(), other.digest()));
    other.remember(h, sum).expect("the shapes are the same");
    assert_ne!(graph, other);
    assert_ne!(graph.fingerprint(), other.fingerprint());
    assert_ne!(graph.digest(), other.digest());
    // The sum has a second reader now, and the activation has lost one.
    assert_eq!([graph.n_users()[sum.index()], other.n_users()[sum.index()]], [1, 2]);
    assert_eq!([graph.n_users()[next.index()], other.n_users()[next.index()]], [2, 1]);
}

#[test]
fn another_shape_is_not_remembered() {
    let (mut graph, [h, ..]) = elman();
    let last = graph.output().expect("a network has an output");
    let refused = graph.remember(h, last);
    let shapes = vec![Shape::Vector(WORDS)];
    assert_eq!(refused, Err(GraphError::Shape { node: "h".to_owned(), op: "Memory", shapes }));
    assert_eq!(graph, elman().0, "and nothing changed");
}

/// An identity that is remembered goes like any other: what it stands for is remembered in its place.
#[test]
fn what_ships_remembers_the_same() {
    let mut graph = Graph::default();
    let word = graph.input(Shape::Vector(1));
    let h = graph.memory("h", FEATURES);
    let x = add(&mut graph, "embed", Op::Embed(Table { words: WORDS, features: FEATURES }), &[word]);
    let less = add(&mut graph, "less", Op::Sub, &[x, h]);
    let same = add(&mut graph, "same", Op::Identity, &[less]);
    graph.remember(h, same).expect("the shapes are the same");
    add(&mut graph, "classifier", Op::Linear(3), &[less]);
    let out = shipped(&graph);
    let names = |graph: &Graph| graph.memories().iter().map(|it| [it.node, it.next].map(|id| graph.name(id))).collect();
    let found: Vec<[String; 2]> = names(&out);
    assert_eq!(found, [["h".to_owned(), "less".to_owned()]]);
    assert_eq!(out.n_users()[less.index()], 2);
}

/// The norm would go into the convolution, and the memory would remember something else.
#[test]
fn no_norm_goes_into_what_is_remembered() {
    let network = |is_remembered: bool| {
        let mut graph = Graph::default();
        let image = graph.input(Shape::Map([3, 4, 4]));
        let conv = add(&mut graph, "conv", Op::Conv2d(Conv2d::same(3, 1, 1)), &[image]);
        let norm = add(&mut graph, "norm", Op::BatchNorm, &[conv]);
        let mean = add(&mut graph, "mean", Op::GlobalAvgPool, &[norm]);
        let memory = graph.memory("memory", 3);
        add(&mut graph, "sum", Op::Add, &[mean, memory]);
        graph.remember(memory, mean).expect("the shapes are the same");
        let maps = graph.memory("other", 3);
        if is_remembered {
            let pooled = add(&mut graph, "pooled", Op::GlobalAvgPool, &[conv]);
            graph.remember(maps, pooled).expect("the shapes are the same");
        }
        add(&mut graph, "out", Op::Add, &[mean, maps]);
        fold::alias(&graph, norm)
    };
    assert!(network(false).is_some());
    assert_eq!(network(true), None);
}
