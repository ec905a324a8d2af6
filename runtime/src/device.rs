//! A board at an address, as the rest of the program sees it: a file goes in, a measurement comes out.
//!
//! A [`Remote`] board is reached by a [`Transport`], which is all that ssh and adb differ in. What runs
//! there is `board.sh`, read by the board's own shell, and the agent ([`crate::worker`]).

mod emulator;
mod local;
mod recorded;
mod remote;

mod address;
mod agent;
mod script;
mod talk;
mod transport;
mod trouble;

use std::fs;
use std::path::Path;

use targets::measurement::{Measurement, Protocol, Reach};

pub use self::address::{Address, AddressError};
pub use self::agent::Agent;
pub use self::emulator::{Counter, Emulator};
pub use self::local::Local;
pub use self::recorded::{Recorded, Recorder};
pub use self::remote::{Remote, Site};
pub use self::transport::{Adb, HostKeys, Said, Ssh, Transport, transport};
pub use self::trouble::Trouble;
use crate::validate::{Limits, ModelInfo, Rejected, validate};
use crate::worker::WorkerError;

/// One board, however it is reached.
pub trait Device {
    /// Its name, such as `local`.
    fn name(&self) -> &str;

    /// How it is reached.
    fn reach(&self) -> Reach;

    /// Times the model at `model`.
    fn measure(&mut self, model: &Path, protocol: &Protocol) -> Result<Measurement, DeviceError>;
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device is out of reach, or in use by another, and may be back by itself: worth waiting for.
    #[error("device {device} is not available now: {why}")]
    Lost {
        /// The device.
        device: String,
        /// Why.
        why: String,
    },
    /// The device cannot be used before somebody does something.
    #[error("device {device} is unavailable: {why}")]
    Unavailable {
        /// The device.
        device: String,
        /// Why.
        why: String,
    },
    /// A measurement was taken, and may not be used.
    #[error("the measurement on {device} is invalid: {why}")]
    Invalid {
        /// The device.
        device: String,
        /// Why.
        why: String,
    },
    /// The model may not run, or could not.
    #[error("the model is rejected: {0}")]
    Rejected(#[from] Rejected),
    /// A file could not be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl DeviceError {
    /// The exit status that tells a script which kind it was.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Lost { .. } | Self::Unavailable { .. } => 3,
            Self::Io { .. } => 5,
            Self::Invalid { .. } => 6,
            Self::Rejected(_) => 7,
        }
    }
}

fn io_error(path: &Path, source: std::io::Error) -> DeviceError {
    DeviceError::Io { path: path.display().to_string(), source }
}

/// Reads and validates a model's file, before any process or board sees it.
fn admit(model: &Path, limits: &Limits) -> Result<ModelInfo, DeviceError> {
    let size = fs::metadata(model).map_err(|source| io_error(model, source))?.len();
    if size > limits.file_bytes {
        let why = format!("is {size} bytes, more than {}", limits.file_bytes);
        return Err(Rejected::new("size", model.display().to_string(), why).into());
    }
    let bytes = fs::read(model).map_err(|source| io_error(model, source))?;
    Ok(validate(&bytes, limits)?)
}

/// What went wrong with an agent, as the kind that the program's exit status tells apart; `at` is what
/// it was about.
fn device_error(device: &str, at: &str, error: WorkerError) -> DeviceError {
    match error {
        WorkerError::File { path, source } => DeviceError::Io { path, source },
        WorkerError::Start { .. }
        | WorkerError::Agent { .. }
        | WorkerError::Unavailable(_)
        | WorkerError::Speech(_) => DeviceError::Unavailable { device: device.into(), why: error.to_string() },
        WorkerError::Late { .. } | WorkerError::Died { .. } | WorkerError::Refused(_) => {
            Rejected::new("run", at, format!("failed: {error}")).into()
        }
    }
}
