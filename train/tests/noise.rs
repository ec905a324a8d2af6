//! Trainings that drop paths and learn with a second classifier.

use std::sync::Arc;

use data::{Amount, Augment, Normalisation, Options, Source, split};
use graph::Graph;
use search::{
    chooser::Uniform,
    space::{Scale, SearchSpace, Task, cell::CellSpace},
    study::Signal,
};
use train::{
    Compute, Recipe, Schedule, TrainingSet,
    fit::{self, Fit, Fitted},
};

fn set() -> TrainingSet {
    let source = Source::open("fashion-tiny", &Options::default()).expect("a built-in set");
    let part = Arc::new(source.train().expect("a built-in set"));
    let (mut train, mut validation) = split(&part, Amount::Fraction(0.2), 0).expect("enough images");
    train.truncate(120);
    validation.truncate(60);
    let normalisation = Normalisation::of(&part, &train).expect("enough images");
    TrainingSet { part, train, validation, normalisation, augment: Augment::NONE }
}

fn network() -> Graph {
    let scale =
        Scale { layers: 1, channels: 4, input: [1, 28, 28], classes: 10, front_end: None, task: Task::Classification };
    let space = CellSpace { blocks: 3..=3 };
    space.build(&space.sample(&mut Uniform::new(3, "noise", 0)), &scale).expect("the image is large enough")
}

fn fitted(drop_path: f64, second_classifier: f64) -> Fitted {
    let schedule = Schedule { max: 0.05, min: 0.001, period: 3.0, growth: 1.0, warmup: 0.0, drops: None };
    let recipe = Recipe { drop_path, second_classifier, ..Recipe::published(3, 20, schedule) };
    let fit = Fit { set: set(), recipe, compute: Compute::Cpu, start: None, seed: 0, checkpoint: None };
    fit.run(&network(), &mut |_, _, _| Signal::Continue).expect("training does not diverge")
}

#[test]
fn what_is_disturbed_is_drawn_once_for_all() {
    let plain = fitted(0.0, 0.0);
    for (drop_path, second_classifier) in [(0.5, 0.0), (0.0, 0.4), (0.5, 0.4)] {
        let [one, two] = [(); 2].map(|()| fitted(drop_path, second_classifier));
        assert_eq!(one.weights, two.weights, "the same seed draws the same");
        assert_ne!(one.weights, plain.weights, "{drop_path} {second_classifier}");
        // What ships is the network alone, and it has learned.
        assert_eq!(one.weights.tensors.len(), plain.weights.tensors.len());
        one.weights.check(&network()).expect("nothing is missing, and nothing has another shape");
        assert!(one.curve[2].loss < one.curve[0].loss, "{:?}", one.curve);
    }
    let set = set();
    let tally =
        fit::test(&network(), &plain.weights, &set.part, &set.normalisation, Compute::Cpu).expect("its weights");
    assert_eq!(tally.asked(), set.part.len());
}
