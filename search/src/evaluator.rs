//! How good a network is and what it costs: what a strategy may ask for.

use std::time::Duration;

use graph::{
    Graph,
    relaxed::{Counted, Mixture, OptionCosts, option_costs},
    weights::Weights,
};
use targets::{Cost, Metric};

use crate::Result;

/// Networks that are trained each on its own: the plainest access, and the dearest.
pub trait Evaluator {
    /// Trains networks and tells how good they became, in the order given. They do not depend on each other: where
    /// there are several processors or devices they may be trained at once, with the same result.
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>>;

    /// What `deployed` costs on the target: statically, and by prediction or measurement.
    fn cost(&mut self, deployed: &Graph) -> Result<Cost>;

    /// What later evaluations inherit from earlier ones, for [`Evaluator::restore`]. Nothing, where every network is
    /// trained from scratch.
    fn save(&self) -> Result<Saved> {
        Ok(Saved::default())
    }

    /// Continues where `saved` was taken.
    fn restore(&mut self, _saved: &Saved) -> Result<()> {
        Ok(())
    }
}

/// A network to be trained, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// How much training it gets.
    pub fidelity: Fidelity,
}

/// How much training a network gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Fidelity {
    /// Passes over the training images, all that the network ever had: one that has been trained for 4 epochs and is
    /// resumed for 16 gets 12 more.
    pub epochs: usize,
    /// What its weights start from.
    pub start: Start,
}

impl Fidelity {
    /// This many epochs from scratch.
    pub fn epochs(epochs: usize) -> Self {
        Self { epochs, start: Start::Scratch }
    }
}

/// What the weights of a network start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Fresh values.
    Scratch,
    /// Where its own training stopped.
    Resume,
    /// What earlier networks learned for layers of the same name: of the nearest size where none is of the same one,
    /// cut or padded to fit. Of several networks that trained a layer the most accurate one's values are kept.
    Inherit,
}

/// What a training told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Accuracy on the validation part after each epoch of this training, in `[0, 1]`; at least one.
    pub curve: Vec<f64>,
    /// Wall-clock time of the training.
    pub took: Duration,
}

impl Evaluation {
    /// Accuracy after the last epoch.
    pub fn last(&self) -> f64 {
        self.curve.last().copied().unwrap_or(0.0)
    }
}

/// What one optimizer step told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Mean cross-entropy over the minibatch, in nats.
    pub loss: f64,
    /// Wall-clock time.
    pub took: Duration,
}

/// Children share the parameters named alike, and train one minibatch at a time.
///
/// Children are scored with the statistics of the minibatch in batch norm: the running statistics
/// of shared layers fit none of them.
pub trait SharedWeights {
    /// Minibatches in one pass over the training part.
    fn n_batches(&self) -> usize;

    /// One optimizer step of `child` on the next training minibatch.
    fn train_step(&mut self, child: &Graph) -> Result<Step>;

    /// Accuracy of `child` on the next validation minibatch, in `[0, 1]`.
    fn accuracy(&mut self, child: &Graph) -> Result<f64>;

    /// Accuracy of `child` on the whole validation part, in `[0, 1]`.
    fn validate(&mut self, child: &Graph) -> Result<f64>;

    /// What `deployed` costs on the target: statically, and by prediction or measurement.
    fn cost(&mut self, deployed: &Graph) -> Result<Cost>;

    /// Everything that the next call depends on, for [`SharedWeights::restore`].
    fn save(&self) -> Result<Saved>;

    /// Continues where `saved` was taken.
    fn restore(&mut self, saved: &Saved) -> Result<()>;
}

/// One network whose choices are open: its weights `w` and the logits `alpha` of its choices are trained in turn, on
/// two halves of the training part.
///
/// Batch norm uses the statistics of the minibatch. An option of weight 0 need not be computed.
pub trait Relaxed {
    /// Minibatches in one pass over the weights' half.
    fn n_batches(&self) -> usize;

    /// One optimizer step of `w` on the next minibatch of its half, `alpha` held.
    fn step_weights(&mut self, supernet: &Graph, alpha: &Mixture) -> Result<Step>;

    /// The loss on a minibatch of the other half, and its gradient with respect to `alpha`. Changes neither.
    fn alpha_gradient(
        &mut self,
        supernet: &Graph,
        alpha: &Mixture,
        order: Order,
        minibatch: Minibatch,
    ) -> Result<AlphaGradient>;

    /// Accuracy on the whole of the other half, in `[0, 1]`. A mixture with nothing left open gives that of one
    /// architecture with shared weights.
    fn validate(&mut self, supernet: &Graph, alpha: &Mixture) -> Result<f64>;

    /// What `deployed` costs on the target: statically, and by prediction or measurement.
    fn cost(&mut self, deployed: &Graph) -> Result<Cost>;

    /// What the options of the relaxed network cost at the deployed size, in the metric's unit; `None` for a metric of
    /// which that is not known. Provided for what the graph alone tells.
    fn option_costs(&mut self, supernet: &Graph, metric: Metric) -> Result<Option<OptionCosts>> {
        Ok(counted(metric).map(|it| option_costs(supernet, it)))
    }

    /// Everything that the next call depends on, for [`Relaxed::restore`].
    fn save(&self) -> Result<Saved>;

    /// Continues where `saved` was taken.
    fn restore(&mut self, saved: &Saved) -> Result<()>;
}

/// What the graph alone tells of a metric, option by option.
pub fn counted(metric: Metric) -> Option<Counted> {
    match metric {
        Metric::Params => Some(Counted::Params),
        Metric::Macs => Some(Counted::Macs),
        Metric::Flash => Some(Counted::ModelBytes),
        Metric::Activations | Metric::Memory | Metric::Intensity | Metric::Latency | Metric::TrainTime => None,
    }
}

/// How the weights' answer to `alpha` enters its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Not at all: `d L_val(w, alpha) / d alpha`.
    First,
    /// By the one step that they are about to take: `d L_val(w - xi * d L_train(w, alpha) / dw, alpha) / d alpha`, with
    /// the minibatch and the learning rate `xi` of the next [`Relaxed::step_weights`]. See [`crate::bilevel`].
    Second,
}

/// On which minibatch of its half the gradient of `alpha` is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minibatch {
    /// The next one.
    Next,
    /// That of the call before, or the first one: for differences of gradients.
    Same,
}

/// What a validation minibatch says of `alpha`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlphaGradient {
    /// Mean cross-entropy over the minibatch, in nats.
    pub loss: f64,
    /// Its derivative by each logit, by key and option.
    pub rows: Vec<Vec<f32>>,
}

/// The state of shared training between two calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// Shared parameters and their optimizer's state, by key.
    pub weights: Weights,
    /// Optimizer steps taken.
    pub steps: u64,
    /// Validation minibatches seen.
    pub validated: u64,
    /// Wall-clock time spent in optimizer steps.
    pub trained: Duration,
}

impl Saved {
    /// The same, with what a strategy has `learned` beside it.
    #[must_use]
    pub fn with(mut self, learned: Weights) -> Self {
        self.weights.tensors.extend(learned.tensors);
        self
    }
}
