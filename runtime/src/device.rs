//! A board at an address, as the rest of the program sees it: a file goes in, a measurement comes out.

mod emulator;
mod local;
mod recorded;

use std::path::Path;

use targets::measurement::{Measurement, Protocol, Reach};

pub use self::emulator::{Counter, Emulator};
pub use self::local::Local;
pub use self::recorded::{Recorded, Recorder};
use crate::validate::Rejected;

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
    /// The device cannot be used, now or at all.
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
            Self::Unavailable { .. } => 3,
            Self::Io { .. } => 5,
            Self::Invalid { .. } => 6,
            Self::Rejected(_) => 7,
        }
    }
}

fn io_error(path: &Path, source: std::io::Error) -> DeviceError {
    DeviceError::Io { path: path.display().to_string(), source }
}
