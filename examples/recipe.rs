//! The project's own training recipe beside the papers': the same network, images and seeds, and a quarter of the
//! epochs.
//!
//! `recipe DATA IMAGES EPOCHS SEEDS [KEY=VALUE..]` trains on IMAGES of the training part (all of it where there are
//! fewer) and prints a line of JSON for each training, with the accuracy on the whole test part. `batch=32` and the
//! like change our own recipe, and then it is trained alone; `schedule.max=0.1` reaches into its schedule.

#![expect(clippy::print_stdout, reason = "its result is what it prints")]

use std::{error::Error, sync::Arc, time::Instant};

use ::train::{Compute, Recipe, Schedule, TrainingSet, fit};
use data::{Amount, Augment, Normalisation, Options, Source, split};
use search::{
    chooser::Uniform,
    space::{Scale, SearchSpace, Task, cell::CellSpace},
    study::Signal,
};

#[global_allocator]
static ALLOCATOR: memory::Keeping = memory::Keeping;

/// SGDR as B-ENAS trains its final network: 0.05 to 0.001, restarts after 10, 30, 70 and 150 epochs.
const PAPER: Schedule = Schedule { max: 0.05, min: 0.001, period: 10.0, growth: 2.0, warmup: 0.0, drops: None };

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, images, epochs, seeds, changes @ ..] = &words[..] else {
        return Err("say `recipe DATA IMAGES EPOCHS SEEDS [KEY=VALUE..]`".into());
    };
    let (images, epochs, seeds): (usize, usize, u64) = (images.parse()?, epochs.parse()?, seeds.parse()?);
    memory::keep();
    let source = Source::open(folder, &Options::default())?;
    let part = Arc::new(source.train()?);
    let test = Arc::new(source.test()?);
    for seed in 0..seeds {
        let (mut train, mut validation) = split(&part, Amount::Fraction(0.2), seed)?;
        train.truncate(images);
        validation.truncate(images / 5);
        let normalisation = Normalisation::of(&part, &train)?;
        let augment = Augment::for_source(&source);
        let set = TrainingSet { part: part.clone(), train, validation, normalisation, augment };
        let scale = Scale {
            layers: 3,
            channels: 8,
            input: part.shape,
            classes: source.classes.len(),
            front_end: None,
            task: Task::Classification,
        };
        let space = CellSpace { blocks: 5..=5 };
        let graph = space.build(&space.sample(&mut Uniform::new(seed, "recipe", 0)), &scale)?;
        let ours = Recipe::one_cycle(epochs / 4);
        let recipes = match changes {
            [] => vec![("paper", Recipe::published(epochs, 160, PAPER)), ("one-cycle", ours)],
            changes => vec![("changed", changed(&ours, changes)?)],
        };
        for (name, recipe) in recipes {
            let fit = fit::Fit { set: set.clone(), recipe, compute: Compute::Cpu, start: None, seed, checkpoint: None };
            let started = Instant::now();
            let fitted = fit.run(&graph, &mut |_, _, _| Signal::Continue)?;
            let seconds = started.elapsed().as_secs_f64();
            let tally = fit::test(&graph, &fitted.weights, &test, &set.normalisation, Compute::Cpu)?;
            let line = serde_json::json!({
                "data": source.name, "images": set.train.len(), "seed": seed, "recipe": name,
                "epochs": fit.recipe.epochs, "test_accuracy": tally.score(), "test_images": test.len(),
                "validation": fitted.curve.last().map(|it| it.validation), "seconds": seconds,
            });
            println!("{line}");
        }
    }
    Ok(())
}

/// `recipe` with other values: `KEY=VALUE` each, the value as JSON.
fn changed(recipe: &Recipe, changes: &[String]) -> Result<Recipe, Box<dyn Error>> {
    let mut value = serde_json::to_value(recipe)?;
    for change in changes {
        let (key, new) = change.split_once('=').ok_or_else(|| format!("{change}: say KEY=VALUE"))?;
        let pointer = format!("/{}", key.replace('.', "/"));
        let old = value.pointer_mut(&pointer).ok_or_else(|| format!("{key}: a recipe has no such setting"))?;
        *old = serde_json::from_str(new)?;
    }
    Ok(serde_json::from_value(value)?)
}
