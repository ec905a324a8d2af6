//! The port through which hardware enters a search.

use graph::Graph;

use crate::budget::Figure;

/// Something that tells what a network costs on a board: by timing it there, or by counting what the
/// board would execute.
pub trait Meter {
    /// Measures `graph`. Latency does not depend on weights, so none are asked for.
    ///
    /// # Errors
    /// The device is out of reach, its conditions spoil the timing, or it refuses the model.
    fn measure(&mut self, graph: &Graph) -> Result<Reading, MeterError>;
}

/// What a device says of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The device, or the kind of board whose instructions were counted.
    pub device: String,
    /// Time of an inference, in seconds.
    pub latency: Option<Figure>,
    /// Peak resident memory, in bytes.
    pub memory: Option<Figure>,
}

/// Why a network could not be timed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device} {kind}: {reason}")]
pub struct MeterError {
    /// The device asked.
    pub device: String,
    /// What happened, and what to do.
    pub reason: String,
    /// Which kind of failure it is.
    pub kind: MeterErrorKind,
}

/// Kinds of failure; the command has an exit code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterErrorKind {
    /// The device is out of reach and may be back by itself; it was waited for.
    Lost,
    /// The device cannot be used before somebody does something.
    Unavailable,
    /// It was timed, but under conditions that make the figure worthless.
    Invalid,
    /// The engine refuses the model.
    Rejected,
}

impl std::fmt::Display for MeterErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lost => "is not available now",
            Self::Unavailable => "is not available",
            Self::Invalid => "cannot give a valid measurement",
            Self::Rejected => "rejects the model",
        })
    }
}
