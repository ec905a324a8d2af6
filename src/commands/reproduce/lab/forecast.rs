//! What a reproduction would take, from a few steps that are timed.

use ::train::{Recipe, relaxed::Relaxation};
use anyhow::Result;
use graph::{Graph, relaxed::Mixture};
use search::{
    chooser::Uniform,
    evaluator::{Minibatch, Order, Relaxed},
    pricing::Pricer,
    space::{Relax, Scale, SearchSpace},
    trials::Effort,
};
use serde::Serialize;
use targets::{Budget, Metric};

use super::Lab;
use crate::{
    effort::Range,
    probe::{Clock, Prober, Took},
    terminal,
};

/// What a reproduction would do, and the time of the clock on the wall that it would take, in seconds.
#[derive(Debug, Serialize)]
pub struct Forecast {
    /// What the search does, in words.
    search: String,
    search_seconds: f64,
    /// Of random search beside it, which costs as much; 0 where none stands beside it.
    random_seconds: f64,
    /// Networks that are trained to the end.
    trainings: usize,
    training_epochs: usize,
    training_seconds: f64,
    /// A tenth and nine tenths of random networks take these.
    training_seconds_low: f64,
    training_seconds_high: f64,
    /// All of it.
    seconds: f64,
}

/// Seconds an image that random networks of one size take: a step of training, and a way forward.
struct Pace {
    steps: Vec<f64>,
    forwards: Vec<f64>,
}

/// Random networks that are timed for each size.
const NETWORKS: u64 = 8;

/// Seconds of a step that is long enough to tell the pace.
const EACH: f64 = 0.25;

/// Images of the first step.
const FEW: usize = 4;

impl Lab {
    /// Children that share weights, of which as many as `scored` are scored on a minibatch.
    pub(super) fn forecast_shared<S: SearchSpace>(&self, space: &S, scored: usize) -> Result<Forecast> {
        let [proxy, _] = self.sizes();
        let (epochs, archs) = (self.extent.shared_epochs, self.uniform(space));
        let pace = self.pace(&self.recipe(epochs), &self.build(space, &archs, &proxy)?)?;
        let (trained, asked) = (epochs * self.set.train.len(), scored * self.extent.batch);
        let seconds = mean(&pace.steps) * trained as f64 + mean(&pace.forwards) * asked as f64;
        let search = format!("{epochs} epochs of shared weights, {scored} children scored on a minibatch");
        let random = if self.paper.is_random() { 0.0 } else { seconds };
        self.with_trainings(&self.build(space, &archs, &self.deployed())?, search, [seconds, random])
    }

    /// Networks that are trained each on its own, such as those that `draw` gives.
    pub(super) fn forecast_alone<S: SearchSpace>(
        &self,
        space: &S,
        effort: Effort,
        budget: &Budget,
        mut draw: impl FnMut(u64, &mut Pricer) -> Result<Option<S::Arch>>,
    ) -> Result<Forecast> {
        let Effort { evaluations, epochs, proxy, .. } = effort;
        let (mut pricer, mut archs) = (self.pricer(budget)?, Vec::new());
        for nth in 0..NETWORKS {
            archs.extend(draw(nth, &mut pricer)?);
        }
        let pace = self.pace(&self.recipe(epochs), &self.build(space, &archs, &proxy)?)?;
        let (trained, asked) = (self.set.train.len() as f64, self.set.validation.len() as f64);
        let epoch = mean(&pace.steps) * trained + mean(&pace.forwards) * asked;
        let seconds = (evaluations * epochs) as f64 * epoch;
        let search = format!("{evaluations} networks, {epochs} epochs each");
        self.with_trainings(&self.build(space, &archs, &self.deployed())?, search, [seconds; 2])
    }

    /// One network whose choices are open.
    pub(super) fn forecast_relaxed<S: Relax>(&self, space: &S, order: Order) -> Result<Forecast> {
        let [proxy, _] = self.sizes();
        let epochs = self.extent.shared_epochs;
        let graph = space.relax(&proxy).map_err(search::Error::from)?;
        let alpha = Mixture::even(&space.options());
        let step = |images: usize| -> Result<Took> {
            let recipe = Recipe { batch: images, ..self.relaxed_recipe() };
            let pricer = self.pricer(&Budget::default())?;
            let mut network = Relaxation::new(self.set.clone(), recipe, self.compute, self.seed, pricer);
            // The first also touches new memory.
            network.step_weights(&graph, &alpha)?;
            let clock = Clock::start();
            network.step_weights(&graph, &alpha)?;
            network.alpha_gradient(&graph, &alpha, order, Minibatch::Next)?;
            Ok(clock.took())
        };
        let mut images = self.batch().min(FEW);
        let mut took = step(images)?;
        while let Some(more) = self.more(images, &took) {
            (images, took) = (more, step(more)?);
        }
        // Weights and alpha see a half each.
        let seconds = took.wall_seconds / images as f64 * (epochs * self.set.train.len() / 2) as f64;
        let search = format!("{epochs} epochs of one network with all choices open");
        self.with_trainings(&self.build(space, &self.uniform(space), &self.deployed())?, search, [seconds, 0.0])
    }

    /// The same, with the trainings of what is found and of what stands beside it: `networks` are such as they may be.
    fn with_trainings(
        &self,
        networks: &[Graph],
        search: String,
        [search_seconds, random_seconds]: [f64; 2],
    ) -> Result<Forecast> {
        let pace = self.pace(&self.final_recipe(), networks)?;
        let epochs = self.extent.final_epochs;
        let (trained, asked) = ((epochs * self.set.train.len()) as f64, (epochs * self.set.validation.len()) as f64);
        let one = |(step, forward): (&f64, &f64)| step * trained + forward * (asked + self.test.len() as f64);
        // What was found, what random search found, and a network that stands beside them.
        let others = [!self.paper.is_random(), self.paper.rival().is_some()];
        let trainings = 1 + others.into_iter().filter(|&it| it).count();
        let all = Range::among(pace.steps.iter().zip(&pace.forwards).map(one).collect()) * trainings as f64;
        Ok(Forecast {
            search,
            search_seconds,
            random_seconds,
            trainings,
            training_epochs: epochs,
            training_seconds: all.expected,
            training_seconds_low: all.low,
            training_seconds_high: all.high,
            seconds: search_seconds + random_seconds + all.expected,
        })
    }

    /// Size of the networks that are trained to the end.
    fn deployed(&self) -> Scale {
        self.size(self.extent.full).trained()
    }

    /// Uniform architectures.
    fn uniform<S: SearchSpace>(&self, space: &S) -> Vec<S::Arch> {
        (0..NETWORKS).map(|nth| space.sample(&mut Uniform::new(self.seed, "forecast", nth))).collect()
    }

    fn build<S: SearchSpace>(&self, space: &S, archs: &[S::Arch], scale: &Scale) -> Result<Vec<Graph>> {
        archs.iter().map(|arch| Ok(space.build(arch, scale).map_err(search::Error::from)?)).collect()
    }

    /// Times networks of one size, each with weights of its own.
    fn pace(&self, recipe: &Recipe, graphs: &[Graph]) -> Result<Pace> {
        let mut pace = Pace { steps: Vec::new(), forwards: Vec::new() };
        for graph in graphs {
            if terminal::interrupted() {
                return Err(search::Error::Interrupted.into());
            }
            let step = |images| -> Result<(Prober, Took)> {
                let mut prober = Prober::new(self.set.clone(), recipe, images, self.compute, self.seed)?;
                // The first step also touches new memory.
                prober.step(graph)?;
                let took = prober.step(graph)?;
                Ok((prober, took))
            };
            let mut images = self.batch().min(FEW);
            let (mut prober, mut took) = step(images)?;
            while let Some(more) = self.more(images, &took) {
                images = more;
                (prober, took) = step(more)?;
            }
            pace.steps.push(took.wall_seconds / images as f64);
            pace.forwards.push(prober.forward(graph)?.wall_seconds / images as f64);
        }
        Ok(pace)
    }

    /// Images of a whole step.
    fn batch(&self) -> usize {
        self.extent.batch.min(self.set.train.len()).min(self.set.validation.len()).max(1)
    }

    /// How many images to time next, where a step on so many was short: what it takes beside its images is then a
    /// smaller part of it.
    fn more(&self, images: usize, took: &Took) -> Option<usize> {
        (images < self.batch() && took.wall_seconds < EACH).then(|| self.batch().min(4 * images))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl Forecast {
    /// For people.
    pub(in crate::commands::reproduce) fn show(&self) {
        let time = |seconds: f64| Metric::TrainTime.format(seconds);
        terminal::print(&format!("search     {}: about {}", self.search, time(self.search_seconds)));
        if 0.0 < self.random_seconds {
            terminal::print(&format!("random     as much work beside it: about {}", time(self.random_seconds)));
        }
        terminal::print(&format!(
            "trainings  {} networks, {} epochs each: about {} ({} to {}, by which networks are found)",
            self.trainings,
            self.training_epochs,
            time(self.training_seconds),
            time(self.training_seconds_low),
            time(self.training_seconds_high)
        ));
        terminal::print(&format!(
            "time       about {} here and now, estimated from {NETWORKS} random networks of each size; a search that \
             prefers small networks or large ones takes less or more",
            time(self.seconds)
        ));
    }
}
