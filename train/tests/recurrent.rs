//! Language models trained on a text that needs a memory: alone, as children of shared weights, and when they diverge.

use std::{fs, sync::Arc};

use data::{Amount, Augment, Normalisation, Options, Part, Source, TextOptions, split};
use graph::{Activation, Graph, Op, Shape, Table};
use search::{
    chooser::Uniform,
    evaluator::{Evaluator, Fidelity, Job, SharedWeights},
    pricing::Pricer,
    space::{Scale, SearchSpace, lstm, recurrent::RecurrentSpace},
    study::Signal,
};
use targets::{Budget, CostModel, Target};
use train::{
    Compute, Recipe, Schedule, TrainingSet,
    alone::Trainer,
    fit::{self, Fit},
    shared::Supernet,
};

/// What comes after `x` depends on what came before it: without a memory nobody knows better than 2^(1/2).
fn text(n: usize) -> String {
    "a x b x ".repeat(n)
}

fn set() -> (TrainingSet, Arc<Part>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, n) in [("train.txt", 300), ("valid.txt", 40), ("test.txt", 41)] {
        fs::write(folder.path().join(name), text(n)).expect("it can be written");
    }
    let options = Options { text: TextOptions { vocabulary: 100, segment: 6 }, ..Options::default() };
    let source = Source::open(&folder.path().display().to_string(), &options).expect("it is text");
    let (part, test) = (source.train().expect("it is text"), source.test().expect("it is text"));
    let (train, validation) = split(&part, Amount::Fraction(0.1), 0).expect("it came divided");
    let normalisation = Normalisation::of(&part, &train).expect("there is text");
    (TrainingSet { part: Arc::new(part), train, validation, normalisation, augment: Augment::NONE }, Arc::new(test))
}

fn scale(set: &TrainingSet) -> Scale {
    Scale {
        layers: 1,
        channels: 8,
        input: set.part.shape,
        classes: set.part.classes.len(),
        front_end: None,
        task: set.part.task,
    }
}

fn recipe(epochs: usize, lr: f64) -> Recipe {
    let schedule = Schedule { max: lr, min: 0.01, period: epochs as f64, growth: 1.0, warmup: 0.0, drops: None };
    Recipe { schedule, ..Recipe::words(epochs, 8) }
}

fn pricer() -> Pricer {
    let model = CostModel::new(Target::find("rpi4").expect("a built-in target"));
    Pricer::new(model, Budget::default(), None, 1_000)
}

/// On the validation and on the test text, after a training during which it fell.
fn perplexity(graph: &Graph, recipe: Recipe) -> [f64; 2] {
    let (set, test) = set();
    let fit = Fit { set: set.clone(), recipe, compute: Compute::Cpu, start: None, seed: 1, checkpoint: None };
    let fitted = fit.run(graph, &mut |_, _, _| Signal::Continue).expect("training does not diverge");
    let tally = fit::test(graph, &fitted.weights, &test, &set.normalisation, Compute::Cpu).expect("its weights");
    assert_eq!(tally.asked(), 41 * 4, "every word but the first is asked for");
    let (first, best) = (fitted.curve[0].validation, fitted.curve[fitted.best - 1].validation);
    assert!(first < best, "the score rises: {first} to {best}");
    [1.0 / best, tally.perplexity()]
}

/// Of a word nothing but its own row: what there is to know without a memory.
fn forgetful(scale: &Scale) -> Graph {
    let mut graph = Graph::default();
    let word = graph.input(Shape::Vector(1));
    let h = graph.memory("h", scale.channels);
    let table = Table { words: scale.classes, features: scale.channels };
    let x = graph.add("embed", Op::Embed(table), &[word]).expect("it fits");
    let y = graph.add("tanh", Op::Activation(Activation::Tanh), &[x]).expect("it fits");
    graph.remember(h, y).expect("the shapes are the same");
    graph.add("classifier", Op::Linear(scale.classes), &[y]).expect("it fits");
    graph
}

#[test]
fn a_network_with_a_memory_learns_what_one_without_cannot() {
    let scale = scale(&set().0);
    for graph in [lstm::lstm(&scale), lstm::elman(&scale)] {
        let [validated, tested] = perplexity(&graph.expect("it fits"), recipe(12, 5.0));
        assert!(validated < 1.15 && tested < 1.2, "{validated}, {tested}");
    }
    let [_, tested] = perplexity(&forgetful(&scale), recipe(12, 5.0));
    // Half of the words follow an `x`: each is one of two.
    assert!(1.38 < tested, "{tested} for the square root of two at best");
}

#[test]
fn dropout_and_decay_do_not_stop_it() {
    let graph = lstm::lstm(&scale(&set().0)).expect("it fits");
    let recipe = Recipe { drop_input: 0.1, drop_state: 0.1, dropout_keep: 0.9, weight_decay: 1e-5, ..recipe(12, 5.0) };
    let [validated, _] = perplexity(&graph, recipe);
    assert!(validated < 1.35, "{validated}");
}

fn supernet(set: &TrainingSet) -> Supernet {
    Supernet::new(set.clone(), recipe(4, 5.0), Compute::Cpu, 2, pricer())
}

#[test]
fn children_share_weights_and_memories() {
    let (set, _) = set();
    let (space, scale) = (RecurrentSpace::darts(), scale(&set));
    let child = |step| space.build(&space.sample(&mut Uniform::new(4, "children", step)), &scale).expect("cells fit");
    let mut one = supernet(&set);
    let before = one.validate(&child(0)).expect("it is text");
    let n = 3 * one.n_batches() as u64;
    let mut saved = None;
    let mut losses = Vec::new();
    for step in 0..n {
        if step == n / 2 {
            saved = Some(one.save().expect("it can be kept"));
        }
        losses.push(one.train_step(&child(step)).expect("it learns").loss);
    }
    let after = one.validate(&child(0)).expect("it is text");
    assert!(before < after && after <= 1.0, "{before} to {after}");
    let pairs = [one.accuracy(&child(0)), one.accuracy(&child(1))].map(|it| it.expect("it is text"));
    assert!(pairs.iter().all(|it| 0.0 < *it && *it <= 1.0), "{pairs:?}");
    // What goes on from the middle of a text, memories included, is what would have been.
    let mut two = supernet(&set);
    two.restore(&saved.expect("it was kept")).expect("it was saved");
    let again: Vec<f64> = (n / 2..n).map(|step| two.train_step(&child(step)).expect("it learns").loss).collect();
    assert_eq!(again, losses[(n / 2) as usize..]);
}

/// Squares of squares: within a segment beyond any float.
fn exploding(scale: &Scale) -> Graph {
    let mut graph = Graph::default();
    let word = graph.input(Shape::Vector(1));
    let h = graph.memory("h", scale.channels);
    let table = Table { words: scale.classes, features: scale.channels };
    let mut add = |label: &'static str, op: Op, inputs: &[_]| graph.add(label, op, inputs).expect("it fits");
    let x = add("embed", Op::Embed(table), &[word]);
    let mut sum = add("sum", Op::Add, &[x, h, h, h]);
    for label in ["once", "twice", "thrice", "more", "most"] {
        sum = add(label, Op::Activation(Activation::Square), &[sum]);
    }
    let next = add("next", Op::Add, &[sum, sum, x]);
    add("classifier", Op::Linear(scale.classes), &[next]);
    graph.remember(h, next).expect("the shapes are the same");
    graph
}

/// What it remembers doubles with every word: beyond any float after some twenty segments, and then no difference of it is
/// a number.
fn growing(scale: &Scale) -> Graph {
    let mut graph = Graph::default();
    let word = graph.input(Shape::Vector(1));
    let h = graph.memory("h", scale.channels);
    let table = Table { words: scale.classes, features: scale.channels };
    let x = graph.add("embed", Op::Embed(table), &[word]).expect("it fits");
    let next = graph.add("sum", Op::Add, &[x, h, h]).expect("it fits");
    let small = graph.add("tanh", Op::Activation(Activation::Tanh), &[x]).expect("it fits");
    let nothing = graph.add("nothing", Op::Sub, &[next, next]).expect("it fits");
    let seen = graph.add("seen", Op::Add, &[small, nothing]).expect("it fits");
    graph.add("classifier", Op::Linear(scale.classes), &[seen]).expect("it fits");
    graph.remember(h, next).expect("the shapes are the same");
    graph
}

#[test]
fn steps_are_lost_where_a_network_grows_beyond_all_bounds_and_the_training_goes_on() {
    let (set, test) = set();
    let fit = |graph: &Graph| {
        let fit = Fit {
            set: set.clone(),
            recipe: recipe(6, 5.0),
            compute: Compute::Cpu,
            start: None,
            seed: 1,
            checkpoint: None,
        };
        fit.run(graph, &mut |_, _, _| Signal::Continue)
    };
    let graph = growing(&scale(&set));
    let fitted = fit(&graph).expect("few steps are lost");
    assert!(fitted.curve.iter().all(|it| it.loss.is_finite()), "{:?}", fitted.curve);
    let tally = fit::test(&graph, &fitted.weights, &test, &set.normalisation, Compute::Cpu).expect("its weights");
    assert!(tally.perplexity() < 2.0, "{}", tally.perplexity());
    // Where most steps are lost there is nothing to ship.
    let error = fit(&exploding(&scale(&set))).expect_err("every segment is beyond all bounds");
    assert!(error.to_string().contains("diverged"), "{error}");
}

#[test]
fn what_diverges_is_worth_nothing_and_stops_nobody() {
    let (set, _) = set();
    let scale = scale(&set);
    let recipe = recipe(2, 1e6);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut trainer = Trainer::new(set.clone(), recipe, Compute::Cpu, 0, pricer(), folder.path().into(), || false);
    let (bad, good) = (exploding(&scale), lstm::elman(&scale).expect("it fits"));
    let job = |graph| Job { graph, fidelity: Fidelity::epochs(2) };
    let told = trainer.evaluate(&[job(&bad)]).expect("it is worth nothing");
    assert_eq!(told[0].curve, [0.0, 0.0]);
    let mut supernet = supernet(&set);
    for _ in 0..6 {
        supernet.train_step(&bad).expect("the search goes on");
        assert!(supernet.train_step(&good).expect("the other learns").loss.is_finite());
    }
    assert!(0.0 < supernet.validate(&good).expect("it is text"));
}
