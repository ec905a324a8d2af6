//! The training of one network from scratch: the final model of a search, or a network of one's own.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use data::{Batches, Part, Pass, Tally, Task};
use graph::{Graph, Shape, weights::Weights};
use serde::{Deserialize, Serialize};

use super::{
    Compute, Recipe, Statistics, TrainingSet, WeightBank, answers, count, forward, images, recurrent,
    shared::{self, Learner},
};
use search::{
    Error, Result,
    study::{Signal, write_whole},
};

/// One epoch of a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean training loss, in nats; of a text, over the steps in which the network did not grow beyond all bounds.
    pub loss: f64,
    /// Score on the validation part with running statistics, in `[0, 1]`: the accuracy, or what the task has in its place
    /// ([`data::Task::measure`]).
    pub validation: f64,
}

/// A trained network.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The weights of the epoch with the highest validation accuracy, the earliest of equals.
    pub weights: Weights,
    /// All epochs.
    pub curve: Vec<Epoch>,
    /// Epoch of `weights`, from 1.
    pub best: usize,
    /// Wall-clock time spent in optimizer steps, earlier sessions included.
    pub trained: Duration,
}

/// Somebody who looks at a training: `(steps done, steps in all, epochs so far)`.
pub type Look<'a> = &'a mut dyn FnMut(u64, u64, &[Epoch]) -> Signal;

/// What one training is made of.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The images.
    pub set: TrainingSet,
    /// How to train.
    pub recipe: Recipe,
    /// Where to compute.
    pub compute: Compute,
    /// What parameters of the same name and shape start from, as [`WeightBank::save`] stores it; others are drawn.
    pub start: Option<Arc<Weights>>,
    /// Keys initial weights, order, variations and dropout.
    pub seed: u64,
    /// Where to keep the state after each epoch, so that a crash loses no more than one; also
    /// where to continue from.
    pub checkpoint: Option<PathBuf>,
}

/// What a checkpoint tells beside its tensors.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    curve: Vec<Epoch>,
    trained_ns: u64,
}

/// One step of so many may be lost to a network that grows beyond all bounds over a text.
const LOST: u64 = 2;

/// Prefix of the best epoch's weights in a checkpoint.
const BEST: &str = "best/";

impl Fit {
    /// Trains `graph`.
    ///
    /// # Errors
    /// The loss is not finite, of a text in more than half of an epoch's steps; the user stopped it; or the checkpoint
    /// cannot be written or read.
    pub fn run(&self, graph: &Graph, look: Look<'_>) -> Result<Fitted> {
        let device = self.compute.device();
        let mut bank = WeightBank::new(self.seed, device.clone());
        if let Some(start) = &self.start {
            bank.restore(start);
        }
        let (mut progress, mut best) = self.resume(&mut bank)?;
        let mut trained = Duration::from_nanos(progress.trained_ns);
        let per_epoch = self.set.train.len().div_ceil(self.recipe.batch) as u64;
        let total = per_epoch * self.recipe.epochs as u64;
        let learner = Learner::of(graph, &self.recipe);
        for epoch in progress.curve.len()..self.recipe.epochs {
            let (mut loss, mut learned, mut lost) = (0.0, 0.0, 0);
            for (idx, batch) in self.batches(epoch)?.enumerate() {
                let started = Instant::now();
                let done = epoch as u64 * per_epoch + idx as u64;
                let lr = self.recipe.schedule.at(done as f64 / per_epoch as f64);
                let Self { set, recipe, seed, .. } = self;
                let n = batch.n as f64;
                let taken = learner.step(&mut bank, batch, set, recipe, lr, *seed, [done, total], &device)?;
                trained += started.elapsed();
                if taken.is_finite() {
                    loss += n * taken;
                    learned += n;
                } else {
                    lost += 1;
                    if per_epoch < LOST * lost {
                        return Err(Error::NotFinite { step: done, loss: taken });
                    }
                }
                // A training without its last epochs is not the one that was asked for: a deadline
                // does not cut it short, only the user does.
                if look(done + 1, total, &progress.curve) == Signal::Stop {
                    return Err(Error::Interrupted);
                }
            }
            let mut scorer = Scorer { bank: &mut bank, graph, compute: self.compute };
            let validation = scorer.validation(&self.set, self.recipe.batch)?;
            let leads = progress.curve.iter().all(|it| it.validation < validation);
            progress.curve.push(Epoch { epoch: epoch + 1, loss: loss / learned, validation });
            if leads {
                best = bank.weights(graph);
            }
            progress.trained_ns = trained.as_nanos() as u64;
            self.keep(&bank, &best, &progress)?;
            look((epoch as u64 + 1) * per_epoch, total, &progress.curve);
        }
        let top = progress.curve.iter().map(|it| it.validation).fold(0.0, f64::max);
        let at = progress.curve.iter().find(|it| it.validation == top).map_or(0, |it| it.epoch);
        Ok(Fitted { weights: best, best: at, curve: progress.curve, trained })
    }

    /// Epochs that the checkpoint holds.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn epochs_kept(&self) -> Result<usize> {
        let mut bank = WeightBank::new(self.seed, self.compute.device());
        Ok(self.resume(&mut bank)?.0.curve.len())
    }

    fn batches(&self, epoch: usize) -> Result<Batches> {
        let pass = Pass {
            seed: self.seed,
            purpose: "training".to_owned(),
            epoch: epoch as u64,
            batch_size: self.recipe.batch,
            shuffle: self.set.part.task != Task::Language,
            keep_partial: true,
            augment: self.set.varied(&self.recipe),
        };
        let order = self.set.order(self.recipe.batch);
        Ok(Batches::start(self.set.part.clone(), order, &self.set.normalisation, &pass)?)
    }

    fn keep(&self, bank: &WeightBank, best: &Weights, progress: &Progress) -> Result<()> {
        let Some(path) = &self.checkpoint else { return Ok(()) };
        let mut all = bank.save();
        for (key, tensor) in &best.tensors {
            all.tensors.insert(format!("{BEST}{key}"), tensor.clone());
        }
        let about =
            serde_json::to_string(progress).map_err(|error| Error::File { path: path.clone(), error: error.into() })?;
        write_whole(path, &all.to_safetensors_about(Some(&about))?)
    }

    fn resume(&self, bank: &mut WeightBank) -> Result<(Progress, Weights)> {
        let Some(path) = self.checkpoint.as_ref().filter(|path| path.exists()) else {
            return Ok((Progress::default(), Weights::default()));
        };
        let at = |error| Error::File { path: path.clone(), error };
        let bytes = std::fs::read(path).map_err(at)?;
        let (mut all, about) = Weights::from_safetensors_about(&bytes)?;
        let progress = serde_json::from_str(about.as_deref().unwrap_or_default()).map_err(|error| at(error.into()))?;
        let mut best = Weights::default();
        let keys: Vec<String> = all.tensors.keys().filter(|key| key.starts_with(BEST)).cloned().collect();
        for key in keys {
            if let Some(tensor) = all.tensors.remove(&key) {
                best.tensors.insert(key[BEST.len()..].to_owned(), tensor);
            }
        }
        bank.restore(&all);
        Ok((progress, best))
    }
}

/// A network that is only asked.
struct Scorer<'a> {
    bank: &'a mut WeightBank,
    graph: &'a Graph,
    compute: Compute,
}

impl Scorer<'_> {
    fn validation(&mut self, set: &TrainingSet, batch: usize) -> Result<f64> {
        Ok(self.tally(shared::scoring(&set.validation, set, batch)?, &set.part).score())
    }

    fn tally(&mut self, batches: Batches, part: &Part) -> Tally {
        let device = self.compute.device();
        let loan = self.bank.lend(self.graph, false);
        let (mut tally, mut state) = (Tally::of(part), recurrent::State::new());
        for batch in batches {
            let labels = batch.labels.clone();
            shared::on_pool(&device, || {
                let image = images(batch, part.shape, &device);
                let (logits, _) = answers(self.graph, &loan, part.task, image, &mut state, Statistics::Running);
                count(&mut tally, logits, &labels);
            });
        }
        tally
    }
}

/// Answers of a trained network on everything in `part`, with running statistics.
///
/// # Errors
/// `weights` do not belong to `graph`, or `part` has other images than the network was made for.
pub fn test(
    graph: &Graph,
    weights: &Weights,
    part: &Arc<Part>,
    normalisation: &data::Normalisation,
    compute: Compute,
) -> Result<Tally> {
    let mut bank = WeightBank::new(0, compute.device());
    bank.load(graph, weights)?;
    let all: Vec<usize> = (0..part.len()).collect();
    let set = TrainingSet {
        part: part.clone(),
        train: Vec::new(),
        validation: Vec::new(),
        normalisation: normalisation.clone(),
        augment: data::Augment::NONE,
    };
    let batch = match part.task {
        Task::Classification | Task::Segmentation => SCORING_BATCH,
        Task::Language => data::SCORING_STREAMS,
    };
    let batches = shared::scoring(&all, &set, batch.min(all.len()))?;
    Ok(Scorer { bank: &mut bank, graph, compute }.tally(batches, part))
}

/// Logits of a trained network for normalised images, with running statistics.
///
/// # Shapes
/// - pixels: `[n, channels, height, width]`, flat
/// - returns `[n, classes]`, flat, or `[n, classes, height, width]` where the output is a map: as the exported file
///   gives them
///
/// # Errors
/// `weights` do not belong to `graph`.
pub fn logits(graph: &Graph, weights: &Weights, pixels: Vec<f32>, shape: [usize; 3]) -> Result<Vec<f32>> {
    let device = Compute::Cpu.device();
    let mut bank = WeightBank::new(0, device.clone());
    bank.load(graph, weights)?;
    let n = pixels.len() / shape.iter().product::<usize>().max(1);
    let loan = bank.lend(graph, false);
    let batch = data::Batch { pixels, labels: Vec::new(), n };
    let (logits, _) = forward(graph, &loan, images(batch, shape, &device), Statistics::Running);
    let logits = match graph.output().map(|id| graph.shape(id)) {
        Some(Shape::Map([classes, height, width])) => {
            logits.reshape([n, height, width, classes]).permute([0, 3, 1, 2]).reshape([n, classes * height * width])
        }
        Some(Shape::Vector(_)) | None => logits,
    };
    Ok(logits.into_data().iter::<f32>().collect())
}

/// Images scored at once: enough to keep the machine busy, little enough for a small one's memory.
const SCORING_BATCH: usize = 100;
