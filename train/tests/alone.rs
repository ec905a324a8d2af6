//! Networks trained each on its own: at once or one after the other, in one go or in two.

use std::sync::Arc;

use data::{Amount, Augment, Normalisation, Options, Source, split};
use graph::Graph;
use search::{
    Error,
    chooser::Uniform,
    evaluator::{Evaluation, Evaluator, Fidelity, Job, Start},
    pricing::Pricer,
    space::{Scale, SearchSpace, Task, cell::CellSpace},
};
use targets::{Budget, CostModel, Metric, Target};
use train::{Compute, Recipe, Schedule, TrainingSet, alone::Trainer};

fn trainer(folder: &std::path::Path, stop: fn() -> bool) -> Trainer {
    let source = Source::open("fashion-tiny", &Options::default()).expect("a built-in set");
    let part = Arc::new(source.train().expect("a built-in set"));
    let (mut train, mut validation) = split(&part, Amount::Fraction(0.2), 0).expect("enough images");
    train.truncate(100);
    validation.truncate(60);
    let normalisation = Normalisation::of(&part, &train).expect("enough images");
    let set = TrainingSet { part, train, validation, normalisation, augment: Augment::for_source(&source) };
    let schedule = Schedule { max: 0.05, min: 0.001, period: 4.0, growth: 1.0, warmup: 0.0, drops: None };
    let model = CostModel::new(Target::find("rpi4").expect("a built-in target"));
    let pricer = Pricer::new(model, Budget::default(), None, 1_000);
    Trainer::new(set, Recipe::published(4, 25, schedule), Compute::Cpu, 0, pricer, folder.to_owned(), stop)
}

fn networks(n: u64) -> Vec<Graph> {
    let scale =
        Scale { layers: 1, channels: 4, input: [1, 28, 28], classes: 10, front_end: None, task: Task::Classification };
    let space = CellSpace { blocks: 2..=3 };
    let cell = |step| space.sample(&mut Uniform::new(3, "alone", step));
    (0..n).map(|step| space.build(&cell(step), &scale).expect("the image is large enough")).collect()
}

fn curves(evaluations: Vec<Evaluation>) -> Vec<Vec<f64>> {
    evaluations.into_iter().map(|it| it.curve).collect()
}

#[test]
fn networks_trained_at_once_become_what_they_become_one_by_one() {
    let (folder, graphs) = (tempfile::tempdir().expect("a folder"), networks(3));
    let fidelity = Fidelity::epochs(2);
    let jobs: Vec<Job<'_>> = graphs.iter().map(|graph| Job { graph, fidelity }).collect();
    let mut trainer = trainer(folder.path(), || false);
    let together = curves(trainer.evaluate(&jobs).expect("training does not diverge"));
    let alone: Vec<Vec<f64>> =
        jobs.iter().flat_map(|job| curves(trainer.evaluate(&[*job]).expect("training does not diverge"))).collect();
    assert_eq!(together, alone);
    assert!(together.iter().all(|curve| curve.len() == 2));
    let time = trainer.cost(&graphs[0]).expect("an estimate").get(Metric::TrainTime).map(|it| it.value);
    assert!(time.is_some_and(|it| 0.0 < it), "what was trained tells how long a training takes");
}

#[test]
fn a_resumed_network_becomes_what_it_becomes_in_one_go() {
    let (folder, other, graphs) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"), networks(1));
    let graph = &graphs[0];
    let job = |epochs| Job { graph, fidelity: Fidelity { epochs, start: Start::Resume } };
    let mut halting = trainer(folder.path(), || false);
    let mut curve = Vec::new();
    for epochs in [1, 3, 4] {
        let told = halting.evaluate(&[job(epochs)]).expect("training does not diverge");
        assert_eq!(told[0].curve.len(), if epochs == 3 { 2 } else { 1 });
        curve.extend(told[0].curve.clone());
    }
    assert_eq!(halting.evaluate(&[job(4)]).expect("nothing to do")[0].curve, curve[3..]);
    let whole = trainer(other.path(), || false).evaluate(&[job(4)]).expect("training does not diverge");
    assert_eq!(curve, whole[0].curve);
}

#[test]
fn the_user_may_stop_a_training() {
    let (folder, graphs) = (tempfile::tempdir().expect("a folder"), networks(1));
    let stopped = trainer(folder.path(), || true).evaluate(&[Job { graph: &graphs[0], fidelity: Fidelity::epochs(1) }]);
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

#[test]
fn a_network_inherits_what_earlier_ones_learned() {
    let (folder, graphs) = (tempfile::tempdir().expect("a folder"), networks(1));
    let job = |epochs, start| Job { graph: &graphs[0], fidelity: Fidelity { epochs, start } };
    let mut parent = trainer(folder.path(), || false);
    let scratch = curves(parent.evaluate(&[job(1, Start::Scratch)]).expect("training does not diverge"));
    // Nothing is known yet: the first is as from scratch.
    assert_eq!(curves(parent.evaluate(&[job(1, Start::Inherit)]).expect("training does not diverge")), scratch);
    parent.evaluate(&[job(4, Start::Inherit)]).expect("training does not diverge");
    let mut other = trainer(folder.path(), || false);
    other.restore(&parent.save().expect("it is in memory")).expect("it is whole");
    let [child, copy] = [&mut parent, &mut other]
        .map(|it| curves(it.evaluate(&[job(1, Start::Inherit)]).expect("training does not diverge")));
    assert!(scratch[0][0] < child[0][0], "{scratch:?}, then {child:?}");
    assert_eq!(child, copy, "what is inherited outlives a crash");
}
