//! A copy of a section is what building it again would be, and costs the same.

use common::random::Rng;
use graph::{
    Activation, Conv2d, Graph, GraphError, NodeId, Op, Pool2d, Section, Shape, cost::static_cost, fold::shipped,
    parallel::parallel_steps,
};
use proptest::prelude::*;

mod common;

/// Channels of everything in a network of cells.
const CHANNELS: usize = 4;

/// What a cell consists of: operations with the states that each reads, the two inputs first.
struct Recipe(Vec<(Op, Vec<usize>)>);

impl Recipe {
    fn random(rng: &mut Rng) -> Self {
        let n_steps = rng.range(1, 7);
        let step = |idx: usize, rng: &mut Rng| {
            let op = match rng.range(0, 9) {
                0..=2 => Op::Conv2d(Conv2d::same(CHANNELS, 3, 1)),
                3..=4 => Op::BatchNorm,
                5 => Op::Identity,
                6 => Op::Activation(Activation::Relu),
                7 => Op::AvgPool(Pool2d::same(3, 1)),
                8 => Op::Zero(1),
                _ => Op::Add,
            };
            let n_inputs = if op == Op::Add { 2 } else { 1 };
            // The step before more often, so that convolutions meet their norms.
            let mut source = || if rng.chance(40) { idx + 1 } else { rng.range(0, idx + 1) };
            (op, (0..n_inputs).map(|_| source()).collect())
        };
        Self((0..n_steps).map(|idx| step(idx, rng)).collect())
    }

    fn add(&self, graph: &mut Graph, inputs: [NodeId; 2]) -> Result<NodeId, GraphError> {
        let mut states = inputs.to_vec();
        for (idx, (op, sources)) in self.0.iter().enumerate() {
            let sources: Vec<NodeId> = sources.iter().map(|&it| states[it]).collect();
            states.push(graph.within(("step", idx), |graph| graph.add("op", *op, &sources))?);
        }
        Ok(states[states.len() - 1])
    }
}

/// A network of cells of one recipe, with some nodes between them that may read anything; with copies where they can
/// be had, and how many there were.
fn network(seed: u64, copies: bool) -> (Graph, usize) {
    let mut rng = Rng::new(seed);
    let recipe = Recipe::random(&mut rng);
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([CHANNELS, 5, 5]));
    let mut ends = vec![image];
    let (mut sections, mut n_copies): (Vec<Section>, usize) = (Vec::new(), 0);
    for cell in 0..rng.range(2, 6) {
        let inputs = [rng.pick(&ends), rng.pick(&ends)];
        let choice = rng.bits() as usize;
        let end = graph.within(("cell", cell), |graph| {
            let section = sections.get(choice % sections.len().max(1));
            if let Some(copy) = section.filter(|_| copies).and_then(|it| graph.repeat(it, inputs)) {
                n_copies += 1;
                return copy;
            }
            let (end, section) = graph.section(inputs, |graph| recipe.add(graph, inputs)).expect("equal shapes fit");
            sections.push(section);
            end
        });
        ends.push(end);
        if rng.chance(25) {
            let any: Vec<NodeId> = graph.ids().collect();
            let op = rng.pick(&[Op::BatchNorm, Op::Identity, Op::Activation(Activation::Tanh)]);
            ends.push(graph.add(("between", cell), op, &[rng.pick(&any)]).expect("equal shapes fit"));
        }
    }
    if rng.chance(70) {
        let pool = graph.add("pool", Op::GlobalAvgPool, &[ends[ends.len() - 1]]).expect("a map can be averaged");
        graph.add("classifier", Op::Linear(3), &[pool]).expect("a vector can be mapped");
    }
    (graph, n_copies)
}

/// The same nodes, each added on its own.
fn one_by_one(graph: &Graph) -> Graph {
    let mut out = Graph::default();
    for id in graph.ids() {
        match graph.op(id) {
            Op::Input => out.input(graph.shape(id)),
            op => out.add(("node", id.index()), *op, graph.inputs(id)).expect("they fitted before"),
        };
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_copy_is_what_building_would_be(seed: u64) {
        let (copied, n_copies) = network(seed, true);
        let (built, _) = network(seed, false);
        prop_assert_eq!(&copied, &built, "{} copies", n_copies);
        prop_assert_eq!(copied.n_users(), built.n_users());
        let names = |graph: &Graph| graph.ids().map(|id| graph.name(id)).collect::<Vec<_>>();
        prop_assert_eq!(names(&copied), names(&built));
    }

    #[test]
    fn a_copy_costs_what_its_nodes_do(seed: u64) {
        check_costs(seed)?;
    }
}

/// A norm that folds where the identity beside it, the section's last node, is read by nobody.
#[test]
fn what_folds_may_be_decided_behind_a_section() {
    check_costs(11_796_100_335_190_846_975).expect("they cost the same");
}

fn check_costs(seed: u64) -> Result<(), TestCaseError> {
    let (copied, n_copies) = network(seed, true);
    let plain = one_by_one(&copied);
    prop_assert_eq!(static_cost(&copied), static_cost(&plain), "{} copies", n_copies);
    prop_assert_eq!(parallel_steps(&copied, 2), parallel_steps(&plain, 2));
    let unnamed = |graph: &Graph| shipped(graph).fingerprint();
    prop_assert_eq!(unnamed(&copied), unnamed(&plain));
    Ok(())
}

#[test]
fn most_cells_are_copies() {
    let n_copies: usize = (0..100).map(|seed| network(seed, true).1).sum();
    assert!(100 < n_copies, "{n_copies} of about 400 cells");
}

/// Two maps, and a section of two ReLUs and their sum on them.
fn two_relus(graph: &mut Graph) -> ([NodeId; 2], NodeId, Section) {
    let image = graph.input(Shape::Map([CHANNELS, 5, 5]));
    let other = graph.add("other", Op::Activation(Activation::Tanh), &[image]).expect("a shape is its own");
    let relu = Op::Activation(Activation::Relu);
    let build = |graph: &mut Graph| {
        let sides = [graph.add("left", relu, &[image])?, graph.add("right", relu, &[other])?];
        graph.add("sum", Op::Add, &sides)
    };
    let (end, section) = graph.section([image, other], build).expect("equal shapes fit");
    ([image, other], end, section)
}

#[test]
fn what_would_be_built_otherwise_is_not_copied() {
    let mut graph = Graph::default();
    let (inputs, end, section) = two_relus(&mut graph);
    assert!(graph.repeat(&section, inputs).is_some());
    assert!(graph.repeat(&section, [end, end]).is_some(), "one node in two places reads the same");

    let smaller = graph.add("smaller", Op::AvgPool(Pool2d::same(3, 2)), &[end]).expect("a window fits");
    let before = graph.clone();
    assert_eq!(graph.repeat(&section, [smaller, end]), None, "another shape");
    assert_eq!(graph, before);

    // The sum's first side is read by somebody else now: its copy would seem to be so too.
    let left = graph.inputs(end)[0];
    graph.add("again", Op::Identity, &[left]).expect("a shape is its own");
    assert_eq!(graph.repeat(&section, inputs), None, "an inner node is read from outside");

    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([CHANNELS, 5, 5]));
    let twice = |graph: &mut Graph| graph.add("sum", Op::Add, &[image, image]);
    let (end, section) = graph.section([image, image], twice).expect("equal shapes fit");
    assert_eq!(graph.repeat(&section, [image, end]), None, "one node stood where there are two now");
}

#[test]
#[should_panic(expected = "reads nothing but its inputs")]
fn a_section_says_what_it_reads() {
    let mut graph = Graph::default();
    let ([image, other], ..) = two_relus(&mut graph);
    let _ = graph.section([image, image], |graph| graph.add("relu", Op::Activation(Activation::Relu), &[other]));
}
