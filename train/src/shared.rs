//! Weight sharing on real images: [`SharedWeights`] in Burn.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use burn::tensor::{Device, Tensor};
use data::{Augment, Batch, Batches, Pass, Tally, Task, streams};
use graph::{Graph, NodeId};
use targets::Cost;

use super::{
    Compute, Recipe, Statistics, TrainingSet, WeightBank, answers, count, cross_entropy, images,
    network::{BatchStatistics, Shares, forward_to},
    noise::{Noise, with_second_classifier},
    ops::is_processor,
    recurrent::{self, Masks, State},
};
use search::{
    Error, Result,
    evaluator::{Saved, SharedWeights, Step},
    pricing::Pricer,
};

/// Children of one bank, trained and scored a minibatch at a time.
pub struct Supernet {
    set: TrainingSet,
    recipe: Recipe,
    seed: u64,
    device: Device,
    bank: WeightBank,
    pricer: Pricer,
    /// The training batches of the pass that is under way.
    batches: Option<Batches>,
    steps: u64,
    validated: u64,
    trained: Duration,
}

impl Supernet {
    /// Fresh weights. `seed` keys everything that is drawn.
    pub fn new(set: TrainingSet, recipe: Recipe, compute: Compute, seed: u64, pricer: Pricer) -> Self {
        let device = compute.device();
        let bank = WeightBank::new(seed, device.clone());
        let (steps, validated, trained) = (0, 0, Duration::ZERO);
        Self { set, recipe, seed, device, bank, pricer, batches: None, steps, validated, trained }
    }

    /// What prices the networks, for what it learned.
    pub fn into_pricer(self) -> Pricer {
        self.pricer
    }

    /// The next training minibatch; a new pass starts where one ends.
    fn next_batch(&mut self) -> Result<Batch> {
        if let Some(batch) = self.batches.as_mut().and_then(Iterator::next) {
            return Ok(batch);
        }
        let per_pass = self.n_batches() as u64;
        let pass = Pass {
            seed: self.seed,
            purpose: "shared training".to_owned(),
            epoch: self.steps / per_pass,
            batch_size: self.recipe.batch,
            shuffle: self.set.part.task != Task::Language,
            keep_partial: true,
            augment: self.set.varied(&self.recipe),
        };
        let order = self.set.order(self.recipe.batch);
        let mut batches = Batches::start(self.set.part.clone(), order, &self.set.normalisation, &pass)?;
        for _ in 0..self.steps % per_pass {
            batches.next();
        }
        let batch = batches.next();
        self.batches = Some(batches);
        Ok(batch.expect("a pass has at least one batch"))
    }

    /// Accuracy of `child` on the whole validation part with running statistics gathered anew: the mean over the first
    /// `n_batches` minibatches of the training part, without variations.
    pub fn validate_recalibrated(&mut self, child: &Graph, n_batches: usize) -> f64 {
        let mut gathered: Vec<BatchStatistics> = Vec::new();
        let train: Vec<Vec<usize>> =
            self.set.train.chunks(self.recipe.batch).take(n_batches).map(<[usize]>::to_vec).collect();
        for indices in &train {
            let (_, seen) = self.run(child, indices, Statistics::Batch, &mut State::new());
            if gathered.is_empty() {
                gathered = seen;
                continue;
            }
            for (sum, new) in gathered.iter_mut().zip(seen) {
                sum.mean = sum.mean.clone() + new.mean;
                sum.variance = sum.variance.clone() + new.variance;
            }
        }
        for sum in &mut gathered {
            sum.mean = sum.mean.clone().div_scalar(train.len() as f64);
            sum.variance = sum.variance.clone().div_scalar(train.len() as f64);
        }
        self.bank.set_statistics(child, gathered);
        let validation = self.set.validation.clone();
        self.score(child, validation.chunks(self.recipe.batch), Statistics::Running)
    }

    /// Answers for the records at `indices`, and what batch norms saw.
    fn run(
        &mut self,
        child: &Graph,
        indices: &[usize],
        statistics: Statistics,
        state: &mut State,
    ) -> (Tally, Vec<BatchStatistics>) {
        let batch = data::batch(&self.set.part, indices, &self.set.normalisation, None);
        let labels = batch.labels.clone();
        let Self { set, device, bank, .. } = self;
        on_pool(device, || {
            let loan = bank.lend(child, false);
            let image = images(batch, set.part.shape, device);
            let (logits, seen) = answers(child, &loan, set.part.task, image, state, statistics);
            let mut tally = Tally::of(&set.part);
            count(&mut tally, logits, &labels);
            (tally, seen)
        })
    }

    /// Score on the validation images at these indices.
    fn score<'a>(&mut self, child: &Graph, batches: impl Iterator<Item = &'a [usize]>, statistics: Statistics) -> f64 {
        let (mut tally, mut state) = (Tally::of(&self.set.part), State::new());
        batches.for_each(|indices| tally.merge(&self.run(child, indices, statistics, &mut state).0));
        tally.score()
    }
}

impl Supernet {
    /// Score on the next segment of each stream of the validation text. What children have read of the streams before is
    /// remembered, whichever child it was.
    fn next_words(&mut self, child: &Graph, batch: usize) -> f64 {
        let order = streams(&self.set.validation, batch);
        let batches: Vec<&[usize]> = order.chunks(batch).collect();
        let at = self.validated as usize % batches.len();
        self.validated += 1;
        let mut state = std::mem::take(&mut self.bank.choosing);
        if at == 0 {
            state.clear();
        }
        let score = self.run(child, batches[at], Statistics::Batch, &mut state).0.score();
        let is_finite = |value: &Tensor<2>| value.clone().abs().sum().into_scalar::<f32>().is_finite();
        state.retain(|_, value| is_finite(value));
        self.bank.choosing = state;
        score
    }
}

impl SharedWeights for Supernet {
    fn n_batches(&self) -> usize {
        self.set.train.len().div_ceil(self.recipe.batch)
    }

    fn train_step(&mut self, child: &Graph) -> Result<Step> {
        let batch = self.next_batch()?;
        let n_images = batch.n;
        let started = Instant::now();
        let lr = self.recipe.schedule.at(self.steps as f64 / self.n_batches() as f64);
        let Self { set, recipe, seed, device, bank, .. } = self;
        let steps = (recipe.epochs * set.train.len().div_ceil(recipe.batch)) as u64;
        let step = [self.steps, steps];
        let loss = Learner::of(child, recipe).step(bank, batch, set, recipe, lr, *seed, step, device)?;
        self.steps += 1;
        let took = started.elapsed();
        self.trained += took;
        self.pricer.trained(child, n_images, took);
        Ok(Step { loss, took })
    }

    fn accuracy(&mut self, child: &Graph) -> Result<f64> {
        let n = self.set.validation.len();
        let batch = self.recipe.batch.min(n);
        if self.set.part.task == Task::Language {
            return Ok(self.next_words(child, batch));
        }
        let start = (self.validated as usize * batch) % n;
        let indices: Vec<usize> = (start..start + batch).map(|idx| self.set.validation[idx % n]).collect();
        self.validated += 1;
        Ok(self.score(child, std::iter::once(indices.as_slice()), Statistics::Batch))
    }

    fn validate(&mut self, child: &Graph) -> Result<f64> {
        let validation = self.set.validation.clone();
        if self.set.part.task == Task::Language {
            let batch = self.recipe.batch.min(validation.len());
            return Ok(self.score(child, streams(&validation, batch).chunks(batch), Statistics::Batch));
        }
        // Equal batches: batch statistics of a small rest would be poor.
        let n_batches = validation.len().div_ceil(self.recipe.batch);
        let size = validation.len().div_ceil(n_batches);
        Ok(self.score(child, validation.chunks(size), Statistics::Batch))
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        self.pricer.cost(deployed)
    }

    fn save(&self) -> Result<Saved> {
        let weights = self.bank.save();
        Ok(Saved { weights, steps: self.steps, validated: self.validated, trained: self.trained })
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        self.bank.restore(&saved.weights);
        (self.steps, self.validated, self.trained) = (saved.steps, saved.validated, saved.trained);
        self.batches = None;
        Ok(())
    }
}

/// A network that learns, with what it learns with.
pub(super) struct Learner<'a> {
    graph: Cow<'a, Graph>,
    /// The classifier that ships, and the second one where there is one.
    outputs: Vec<NodeId>,
}

impl<'a> Learner<'a> {
    /// The network alone, or with a second classifier where `recipe` has one.
    pub(super) fn of(graph: &'a Graph, recipe: &Recipe) -> Self {
        if 0.0 < recipe.second_classifier
            && let Some((longer, output)) = with_second_classifier(graph)
        {
            let outputs = [Some(output), longer.output()].into_iter().flatten().collect();
            return Self { graph: Cow::Owned(longer), outputs };
        }
        Self { graph: Cow::Borrowed(graph), outputs: graph.output().into_iter().collect() }
    }

    /// One optimizer step on one batch, the first of the numbers in `[step, steps]`; returns the mean loss in nats.
    ///
    /// Over the words of a text a network may grow beyond all bounds. Such a step is lost: nothing is learned, what was read
    /// is forgotten, and the loss that is returned is not finite.
    ///
    /// # Errors
    /// The loss is not finite, of anything but text.
    #[expect(clippy::too_many_arguments, reason = "what a step of gradient descent depends on")]
    pub(super) fn step(
        &self,
        bank: &mut WeightBank,
        batch: Batch,
        set: &TrainingSet,
        recipe: &Recipe,
        lr: f64,
        seed: u64,
        [step, steps]: [u64; 2],
        device: &Device,
    ) -> Result<f64> {
        on_pool(device, || {
            let (graph, labels, n) = (self.graph.as_ref(), batch.labels.clone(), batch.n);
            let image = images(batch, set.part.shape, device).autodiff();
            let loan = bank.lend(graph, true);
            let (losses, statistics, state) = match set.part.task {
                Task::Classification | Task::Segmentation => {
                    let noise = Noise::of(recipe, graph, n, seed, [step, steps], device);
                    let (logits, statistics) =
                        forward_to(&self.outputs, graph, &loan, image, Statistics::Batch, noise, &Shares::default());
                    let losses = logits.into_iter().map(|it| cross_entropy(it, &labels, recipe.label_smoothing));
                    (losses.collect(), statistics, State::new())
                }
                Task::Language => {
                    let mut state = std::mem::take(&mut bank.learning);
                    if step.is_multiple_of(set.train.len().div_ceil(recipe.batch) as u64) {
                        // The text begins again.
                        state.clear();
                    }
                    let masks = Masks::draw(graph, n, recipe, seed, step, device);
                    let shares = Shares::default();
                    let mut unrolled =
                        recurrent::unroll_open(graph, &loan, image, &mut state, Statistics::Batch, &masks, &shares);
                    let statistics = std::mem::take(&mut unrolled.seen);
                    (vec![unrolled.loss(&labels, recipe)], statistics, recurrent::detached(state))
                }
            };
            let mut losses = losses.into_iter();
            let loss = losses.next().expect("a network has an output");
            let value = f64::from(loss.clone().into_scalar::<f32>());
            if !value.is_finite() {
                return if set.part.task == Task::Language {
                    Ok(value)
                } else {
                    Err(Error::NotFinite { step, loss: value })
                };
            }
            let whole = losses.fold(loss, |sum, second| sum + second.mul_scalar(recipe.second_classifier));
            let gradients = whole.backward();
            if !bank.step(graph, &loan, gradients, lr, recipe) {
                return Ok(f64::INFINITY);
            }
            bank.learning = state;
            bank.observe(graph, statistics);
            if 0.0 < recipe.average {
                bank.average(graph, recipe.average, step);
            }
            Ok(value)
        })
    }
}

/// Runs what the processor computes on a thread of the pool that kernels share their work with: from any other thread,
/// each of a step's few hundred parallel loops would wake one and wait for it.
pub(super) fn on_pool<T: Send>(device: &Device, run: impl FnOnce() -> T + Send) -> T {
    if is_processor(device) { rayon::scope(|_| run()) } else { run() }
}

/// Batches of a part in order, without variations, for scoring; of text in streams.
pub(super) fn scoring(indices: &[usize], set: &TrainingSet, batch: usize) -> Result<Batches> {
    let order = if set.part.task == Task::Language { streams(indices, batch) } else { indices.to_vec() };
    let pass = Pass {
        seed: 0,
        purpose: "scoring".to_owned(),
        epoch: 0,
        batch_size: batch,
        shuffle: false,
        keep_partial: true,
        augment: Augment::NONE,
    };
    Ok(Batches::start(set.part.clone(), order, &set.normalisation, &pass)?)
}
