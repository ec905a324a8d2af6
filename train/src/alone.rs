//! Networks trained each on its own: [`Evaluator`] in Burn.

use std::{path::PathBuf, sync::Arc, time::Duration};

use data::Task;
use graph::{Graph, weights::Weights};
use rayon::ThreadPoolBuilder;
use search::{
    Error, Result,
    dictionary::Dictionary,
    evaluator::{Evaluation, Evaluator, Fidelity, Job, Saved, Start},
    pricing::Pricer,
    study::Signal,
};
use targets::Cost;

use super::{
    Compute, Recipe, TrainingSet, WeightBank,
    fit::{Epoch, Fit, Fitted},
};

/// Trains networks from scratch, or further.
///
/// On a processor several are trained at once, one to a thread, where as many are asked for: small networks keep one
/// thread busier than several. The results are the same.
pub struct Trainer {
    training: Training,
    pricer: Pricer,
    /// What networks that inherit begin with.
    dictionary: Dictionary,
}

/// How networks are trained.
struct Training {
    set: TrainingSet,
    /// How a network is trained. Where its epochs are not those of a job the schedule is stretched, except for what is
    /// resumed later: that follows the schedule of all `epochs`.
    recipe: Recipe,
    compute: Compute,
    seed: u64,
    /// Where networks that may be resumed are kept, and half-trained ones.
    folder: PathBuf,
    stop: fn() -> bool,
}

impl Trainer {
    /// `seed` keys everything that is drawn; `folder` keeps what may be trained further. `stop` is asked at each step
    /// whether the user wants to end.
    pub fn new(
        set: TrainingSet,
        recipe: Recipe,
        compute: Compute,
        seed: u64,
        pricer: Pricer,
        folder: PathBuf,
        stop: fn() -> bool,
    ) -> Self {
        let dictionary = Dictionary::default();
        Self { training: Training { set, recipe, compute, seed, folder, stop }, pricer, dictionary }
    }

    /// What prices the networks, for what it learned.
    pub fn into_pricer(self) -> Pricer {
        self.pricer
    }
}

impl Training {
    /// One training, and how many epochs were done before.
    fn train(&self, job: &Job<'_>, dictionary: &Dictionary) -> Result<(usize, Fitted)> {
        let Fidelity { epochs, start } = job.fidelity;
        let recipe = match start {
            Start::Scratch | Start::Inherit => self.recipe.stretched(epochs),
            Start::Resume => Recipe { epochs, ..self.recipe.clone() },
        };
        let path = self.folder.join(format!("{}.safetensors", job.graph.named_fingerprint()));
        let fit = Fit {
            set: self.set.clone(),
            recipe,
            compute: self.compute,
            start: match start {
                Start::Inherit => Some(Arc::new(self.inherited(job.graph, dictionary)?)),
                Start::Scratch | Start::Resume => None,
            },
            seed: self.seed,
            checkpoint: (start == Start::Resume).then_some(path),
        };
        let before = fit.epochs_kept()?;
        let stop = self.stop;
        let fitted = match fit.run(job.graph, &mut |_, _, _| if stop() { Signal::Stop } else { Signal::Continue }) {
            // Some recurrent cells grow beyond all bounds, whatever the learning rate: they are worth nothing.
            Err(Error::NotFinite { .. }) if self.set.part.task == Task::Language => {
                let epoch = |epoch| Epoch { epoch, loss: f64::INFINITY, validation: 0.0 };
                let curve = (1..=epochs).map(epoch).collect();
                Fitted { weights: Weights::default(), curve, best: epochs, trained: Duration::ZERO }
            }
            fitted => fitted?,
        };
        Ok((before, fitted))
    }

    /// First values of a network's parameters, those replaced of which the dictionary knows something.
    fn inherited(&self, graph: &Graph, dictionary: &Dictionary) -> Result<Weights> {
        let mut bank = WeightBank::new(self.seed, self.compute.device());
        let mut weights = bank.weights(graph);
        for (key, fresh) in &mut weights.tensors {
            if let Some(known) = dictionary.inherit(key, fresh) {
                *fresh = known;
            }
        }
        bank.load(graph, &weights)?;
        Ok(bank.save())
    }

    /// All of them, `threads` at a time; none inherits from another.
    fn train_all(&self, jobs: &[Job<'_>], dictionary: &Dictionary) -> Result<Vec<(usize, Fitted)>> {
        let threads = match self.compute {
            Compute::Cpu => rayon::current_num_threads().min(jobs.len()),
            Compute::Cuda => 1,
        };
        if threads < 2 {
            return jobs.iter().map(|job| self.train(job, dictionary)).collect();
        }
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || -> Result<Vec<_>> {
            let pool = ThreadPoolBuilder::new()
                .num_threads(1)
                .build()
                .map_err(|error| Error::File { path: self.folder.clone(), error: std::io::Error::other(error) })?;
            let mut done = Vec::new();
            loop {
                let idx = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(job) = jobs.get(idx) else { return Ok(done) };
                done.push((idx, pool.install(|| self.train(job, dictionary))?));
            }
        };
        let parts: Vec<Result<Vec<_>>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut all = Vec::new();
        for part in parts {
            all.extend(part?);
        }
        all.sort_by_key(|(idx, _)| *idx);
        Ok(all.into_iter().map(|(_, done)| done).collect())
    }
}

impl Evaluator for Trainer {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        let done = self.training.train_all(jobs, &self.dictionary)?;
        let mut evaluations = Vec::with_capacity(jobs.len());
        for (job, (before, fitted)) in jobs.iter().zip(done) {
            let new = fitted.curve.len() - before;
            // What earlier sessions trained is part of `trained`: of that, this training's share.
            let took = fitted.trained.mul_f64(new as f64 / fitted.curve.len().max(1) as f64);
            if Duration::ZERO < took {
                self.pricer.trained(job.graph, self.training.set.train.len() * new, took);
            }
            if job.fidelity.start == Start::Inherit {
                let best = fitted.curve.iter().map(|epoch| epoch.validation).fold(0.0, f64::max);
                self.dictionary.absorb(&fitted.weights, best);
            }
            let curve: Vec<f64> = fitted.curve.iter().map(|epoch| epoch.validation).collect();
            // A network that was trained as far before says again what it said then.
            let from = if new == 0 { curve.len().saturating_sub(1) } else { before };
            evaluations.push(Evaluation { curve: curve[from..].to_vec(), took });
        }
        Ok(evaluations)
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        self.pricer.cost(deployed)
    }

    fn save(&self) -> Result<Saved> {
        Ok(Saved { weights: self.dictionary.save(), ..Saved::default() })
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        self.dictionary = Dictionary::restore(&saved.weights);
        Ok(())
    }
}
