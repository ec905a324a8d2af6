//! How good a network is and what it costs: what a strategy may ask for.

use std::time::Duration;

use graph::{Graph, weights::Weights};
use targets::Cost;

use crate::Result;

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
