//! Spaces of recurrent cells: their sizes, their questions, what they build and what is the cheapest.

use std::time::Duration;

use graph::{Activation, Graph, Op, cost::static_cost};
use search::{
    chooser::{Kind, Recorded, Replay, Uniform},
    evaluator::{Evaluation, Evaluator, Job},
    policy::{Controller, ControllerSettings},
    space::{
        Scale, SearchSpace, all, lstm,
        recurrent::{Function, Node, RecurrentCell, RecurrentSpace, Style},
        rnn_tree::{Combine, Step, Tree, TreeSpace},
    },
    strategy::{
        Strategy, enas,
        nas_rl::{self, NasRl},
    },
    study::{Study, Unwatched},
    trials::Effort,
};
use targets::{Budget, Cost};

const HIDDEN: usize = 10;
const WORDS: usize = 50;
const SCALE: Scale = Scale {
    layers: 1,
    channels: HIDDEN,
    input: [1, 1, 35],
    classes: WORDS,
    front_end: None,
    task: data::Task::Language,
};

#[test]
fn sizes_are_those_of_the_papers() {
    // 4^12 * 11!, "approximately 10^15".
    assert_eq!(RecurrentSpace::enas().size(), 669_692_775_628_800);
    assert_eq!(RecurrentSpace::darts().size(), 65_536 * 40_320);
    // NAS-RL prints "approximately 6 * 10^16".
    assert_eq!(TreeSpace::default().size(), 63_331_869_759_897_600);
    let small = RecurrentSpace { nodes: 3, style: Style::Enas };
    assert_eq!(all(&small).count() as u128, small.size());
    let small = RecurrentSpace { nodes: 2, style: Style::Darts };
    assert_eq!(all(&small).count() as u128, small.size());
    assert_eq!(all(&TreeSpace { base: 1 }).count() as u128, TreeSpace { base: 1 }.size());
}

#[test]
fn questions_come_in_the_papers_order() {
    let kinds = |space: &RecurrentSpace, answers: &[usize]| {
        let mut replay = Replay::new(answers);
        let mut recorded = Recorded::new(&mut replay);
        let cell = space.sample(&mut recorded);
        (cell, recorded.answers.iter().map(|(question, _)| question.kind).collect::<Vec<_>>())
    };
    let node = |input, function| Node { input, function };
    let (cell, asked) = kinds(&RecurrentSpace { nodes: 3, style: Style::Enas }, &[1, 0, 3, 1, 2]);
    assert_eq!(asked, [Kind::Activation, Kind::Input, Kind::Activation, Kind::Input, Kind::Activation]);
    let nodes = vec![node(0, Function::Sigmoid), node(1, Function::Identity)];
    assert_eq!(cell, RecurrentCell { first: Function::Relu, nodes });
    assert_eq!(cell.loose_ends().collect::<Vec<_>>(), [2]);
    let (cell, asked) = kinds(&RecurrentSpace { nodes: 2, style: Style::Darts }, &[0, 1, 0, 0]);
    assert_eq!(asked, [Kind::Input, Kind::Activation, Kind::Input, Kind::Activation]);
    assert_eq!(cell.first, Function::Tanh);
    assert_eq!(cell.loose_ends().collect::<Vec<_>>(), [1, 2]);
    let stored = serde_json::to_string(&cell).expect("plain data");
    assert!(stored.starts_with(r#"{"first":"tanh","nodes":[{"input":0,"function":"relu"}"#), "{stored}");
    assert_eq!(serde_json::from_str::<RecurrentCell>(&stored).expect("it was written so"), cell);
}

/// Weights and biases of a linear map onto the hidden features.
const LINEAR: usize = HIDDEN * HIDDEN + HIDDEN;

/// The words' vectors, which embedding and classifier share, and the classifier's bias.
const EDGES: usize = WORDS * HIDDEN + WORDS;

#[test]
fn parameters_are_those_counted_by_hand() {
    let params = |graph: Result<Graph, _>| static_cost(&graph.expect("it fits")).params as usize;
    let first = |space: &RecurrentSpace| params(space.build(&space.cheapest()[0], &SCALE));
    // Two maps of the word and two of the memory, and two a node.
    assert_eq!(first(&RecurrentSpace::enas()), EDGES + (4 + 2 * 11) * LINEAR);
    assert_eq!(first(&RecurrentSpace::darts()), EDGES + (4 + 2 * 8) * LINEAR);
    let tree = TreeSpace::default();
    assert_eq!(params(tree.build(&tree.cheapest()[0], &SCALE)), EDGES + 16 * LINEAR);
    assert_eq!(params(lstm::lstm(&SCALE)), EDGES + 8 * LINEAR);
    assert_eq!(params(lstm::elman(&SCALE)), EDGES + 2 * LINEAR);
}

/// The example of Figure 5 and its text: a tree of two leaves.
#[test]
fn a_tree_is_built_as_the_paper_tells() {
    let step = |combine, function| Step { combine, function };
    let tree = Tree {
        nodes: vec![
            step(Combine::Add, Function::Tanh),
            step(Combine::ElemMult, Function::Relu),
            step(Combine::ElemMult, Function::Sigmoid),
        ],
        inject: step(Combine::Add, Function::Relu),
        kept: 1,
        injected: 0,
    };
    let graph = TreeSpace { base: 2 }.build(&tree, &SCALE).expect("it fits");
    let ops: Vec<(String, &str)> = graph.ids().map(|id| (graph.name(id), graph.op(id).name())).collect();
    let expected = [
        ("image", "Input"),
        ("h", "Memory"),
        ("c", "Memory"),
        ("embed", "Embed"),
        ("node0/word", "Linear"),
        ("node0/memory", "Linear"),
        ("node0/combine", "Add"),
        ("node0/function", "Tanh"),
        ("node0/inject/combine", "Add"),
        ("node0/inject/function", "Relu"),
        ("node1/word", "Linear"),
        ("node1/memory", "Linear"),
        ("node1/combine", "Mul"),
        ("node1/function", "Relu"),
        ("node2/combine", "Mul"),
        ("node2/function", "Sigmoid"),
        ("classifier", "Linear"),
    ];
    assert_eq!(ops, expected.map(|(name, op)| (name.to_owned(), op)));
    let names: Vec<[String; 2]> =
        graph.memories().iter().map(|it| [it.node, it.next].map(|id| graph.name(id))).collect();
    // "c_t is the output of the tree at index 1 before the activation."
    assert_eq!(names, [["h", "node2/function"], ["c", "node1/combine"]].map(|it| it.map(str::to_owned)));
}

fn check_built(graph: &Graph, what: &dyn std::fmt::Debug) {
    let last = graph.output().expect("a network has an output");
    assert_eq!(*graph.op(last), Op::Linear(WORDS), "{what:?}");
    assert!(!graph.memories().is_empty());
    for memory in graph.memories() {
        assert_ne!(memory.node, memory.next, "{what:?}: something new is remembered");
        assert_eq!(graph.shape(memory.node), graph.shape(memory.next));
    }
    let names: std::collections::BTreeSet<String> = graph.ids().map(|id| graph.name(id)).collect();
    assert_eq!(names.len(), graph.n_nodes(), "{what:?}: every node has a name of its own");
}

#[test]
fn every_cell_builds() {
    for seed in 0..200 {
        for space in [RecurrentSpace::enas(), RecurrentSpace::darts()] {
            let cell = space.sample(&mut Uniform::new(seed, "cells", 0));
            let graph = space.build(&cell, &SCALE).expect("cells always fit");
            check_built(&graph, &cell);
            let identities = cell.nodes.iter().filter(|node| node.function == Function::Identity).count()
                + usize::from(cell.first == Function::Identity);
            let functions =
                graph.ids().filter(|&id| matches!(graph.op(id), Op::Activation(it) if *it != Activation::Sigmoid));
            let gates = cell.nodes.len() + 1;
            let sigmoids = graph.ids().filter(|&id| *graph.op(id) == Op::Activation(Activation::Sigmoid)).count();
            assert_eq!(functions.count() + sigmoids, 2 * gates - identities, "{cell:?}");
        }
        let space = TreeSpace::default();
        let tree = space.sample(&mut Uniform::new(seed, "trees", 0));
        check_built(&space.build(&tree, &SCALE).expect("trees always fit"), &tree);
    }
}

/// Of no kind of cost has any cell less than the cheapest.
#[test]
fn nothing_is_cheaper_than_the_cheapest() {
    fn check<S: SearchSpace>(space: &S, archs: impl Iterator<Item = S::Arch>) {
        let costs = |arch: &S::Arch| {
            let cost = static_cost(&space.build(arch, &SCALE).expect("it fits"));
            [cost.params, cost.macs, cost.model_bytes, cost.peak_bytes, cost.traffic_bytes, cost.n_ops]
        };
        let cheapest = costs(&space.cheapest()[0]);
        for arch in archs {
            let found = costs(&arch);
            assert!(
                cheapest.iter().zip(found).all(|(least, found)| *least <= found),
                "{arch:?}: {found:?} < {cheapest:?}"
            );
        }
    }
    for style in [Style::Enas, Style::Darts] {
        let space = RecurrentSpace { nodes: 3, style };
        check(&space, all(&space));
    }
    let space = TreeSpace::default();
    check(&space, (0..300).map(|seed| space.sample(&mut Uniform::new(seed, "trees", 0))));
}

/// Nodes that read the same state share weights in DARTS's cells whatever it is, and in ENAS's by pairs.
#[test]
fn weights_are_shared_as_the_papers_say() {
    let cell = |input| RecurrentCell {
        first: Function::Tanh,
        nodes: vec![Node { input: 0, function: Function::Relu }, Node { input, function: Function::Sigmoid }],
    };
    let names = |style, input| -> Vec<String> {
        let graph = RecurrentSpace { nodes: 2, style }.build(&cell(input), &SCALE).expect("it fits");
        graph.ids().filter(|&id| matches!(graph.op(id), Op::Linear(_))).map(|id| graph.name(id)).collect()
    };
    assert_eq!(names(Style::Darts, 0), names(Style::Darts, 1));
    assert_ne!(names(Style::Enas, 0), names(Style::Enas, 1));
    assert!(names(Style::Enas, 1).contains(&"node2/from1/gate".to_owned()));
}

#[test]
fn a_controller_answers_every_question() {
    let settings = ControllerSettings::default();
    for space in [RecurrentSpace::enas(), RecurrentSpace::darts()] {
        let mut controller = Controller::new(settings.clone(), space.given(), 1);
        let (cell, walked) = controller.sample(data::keyed::rng(1, "walk", 0), |chooser| space.sample(chooser));
        assert_eq!(walked.answers.len(), 2 * cell.nodes.len() + usize::from(space.style == Style::Enas));
    }
}

/// Settings that were written before rewards had a power and a scale mean what they meant.
#[test]
fn rewards_of_images_are_what_they_were() {
    fn check<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(now: &T, new: &[&str]) {
        let mut stored = serde_json::to_value(now).expect("plain data");
        let table = stored.as_object_mut().expect("settings are a table");
        for key in new {
            assert!(table.remove(*key).is_some(), "{key}");
        }
        assert_eq!(serde_json::from_value::<T>(stored).expect("it was complete before"), *now);
    }
    check(&nas_rl::Settings::default(), &["reward_power", "reward_scale"]);
    check(&enas::Settings::micro(), &["reward_scale"]);
    let words = nas_rl::Settings::recurrent();
    assert_eq!((words.reward_power, words.reward_scale, words.children, words.controller.lr), (2, 80.0, 10, 5e-4));
    let words = enas::Settings::recurrent();
    assert_eq!((words.reward_scale, words.controller.temperature, words.controller.tanh_constant), (80.0, 5.0, 2.5));
}

/// Scores of made-up language models: the fewer hyperbolic tangents, the better.
struct Guess;

impl Evaluator for Guess {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> search::Result<Vec<Evaluation>> {
        let score = |job: &Job<'_>| {
            let n_tanh = job.graph.ids().filter(|&id| *job.graph.op(id) == Op::Activation(Activation::Tanh)).count();
            0.01 / (1.0 + n_tanh as f64)
        };
        Ok(jobs.iter().map(|job| Evaluation { curve: vec![score(job)], took: Duration::ZERO }).collect())
    }

    fn cost(&mut self, _: &Graph) -> search::Result<Cost> {
        Ok(Cost::default())
    }
}

/// Perplexities are tiny scores: it is their square times `c` that NAS-RL learns from, and it does.
#[test]
fn nas_rl_learns_from_perplexities() {
    let effort = Effort { evaluations: 300, epochs: 1, patience: 10, proxy: SCALE, full: SCALE };
    let controller = ControllerSettings { lr: 0.02, ..nas_rl::Settings::recurrent().controller };
    let settings = nas_rl::Settings { children: 4, controller, ..nas_rl::Settings::recurrent() };
    let tanhs = |tree: &Tree| tree.nodes.iter().filter(|step| step.function == Function::Tanh).count();
    let mut study = Study::new(Budget::default(), Box::new(Unwatched));
    let space = TreeSpace { base: 4 };
    let found = NasRl::new(settings, effort, 1).search(&space, &mut Guess, &mut study).expect("nothing can fail");
    assert_eq!(tanhs(&found[0].arch), 0, "a tree without any was found");
    // Trials in their order: the later ones have fewer.
    let trees = study.trials().iter().map(|it| serde_json::from_value(it.arch.clone()).expect("a tree was recorded"));
    let trees: Vec<Tree> = trees.collect();
    let mean = |trees: &[Tree]| trees.iter().map(tanhs).sum::<usize>() as f64 / trees.len() as f64;
    let [early, late] = [mean(&trees[..100]), mean(&trees[200..])];
    assert!(late < 0.8 * early, "{late} after {early}");
}
