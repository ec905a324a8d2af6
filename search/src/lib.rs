//! Finds an architecture for a target under a budget.
//!
//! Reading order: `chooser` (how decisions are asked for), `space` (what may be decided),
//! `evaluator` (how good and how dear a decision is), then any file of `strategy`.

pub mod bilevel;
pub mod children;
pub mod chooser;
pub mod dictionary;
pub mod evaluator;
pub mod feasibility;
pub mod oracle;
pub mod penalty;
pub mod policy;
pub mod pricing;
pub mod probes;
pub mod space;
pub mod strategy;
pub mod study;
pub mod trials;
pub mod yardstick;

use std::path::PathBuf;

/// Anything that stops a search.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The space produced an ill-formed graph for this image size.
    #[error("{0}; the image may be too small for this many layers")]
    Graph(#[from] graph::GraphError),
    /// The device could not measure.
    #[error(transparent)]
    Meter(#[from] targets::MeterError),
    /// The images cannot be served as asked.
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// Weights that do not belong to the network.
    #[error(transparent)]
    Weights(#[from] graph::weights::WeightsError),
    /// A file of the run could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A line of the study is not a trial.
    #[error("{path}, line {line}: {error}; the study was damaged: start a new run")]
    Study {
        /// The study's file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        error: String,
    },
    /// A resumed search proposes something else than its record says.
    #[error(
        "trial {trial} differs from the recorded one: the run was made with another version or on another kind of machine; start a new run"
    )]
    Diverged {
        /// Number of the trial, from 0.
        trial: u64,
    },
    /// Training produced numbers that are not finite.
    #[error("training diverged at step {step}: the loss is {loss}; a lower learning rate may help")]
    NotFinite {
        /// Optimizer step, from 0.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// A table of published results is not what it should be.
    #[error("line {line}: {error}")]
    Table {
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        error: String,
    },
    /// A network that a table of published results does not hold.
    #[error("the table has no {network}; it must hold the whole space")]
    NotInTable {
        /// The network.
        network: String,
    },
    /// Nothing that is known is within the budget.
    #[error("no network of the table is within the budget")]
    Impossible,
    /// The user stopped the search; it can be resumed.
    #[error("interrupted")]
    Interrupted,
}

/// Result of a search step.
pub type Result<T> = std::result::Result<T, Error>;
