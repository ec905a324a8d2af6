//! This machine, itself or as an emulated board: every measurement in a fresh process with limits.

use std::fs;
use std::path::Path;

use targets::measurement::{Measurement, Protocol, Reach};

use super::{Device, DeviceError, Emulator, io_error};
use crate::validate::{Limits, ModelInfo, Rejected, validate};
use crate::worker::{Outputs, Worker, WorkerError};

/// This machine, measured as a board of kind `target`.
#[derive(Clone, Debug)]
pub struct Local {
    /// Starts the processes.
    pub worker: Worker,
    /// Kind of board, such as `host`.
    pub target: String,
    /// What a model may be before it reaches a process.
    pub limits: Limits,
    /// How models are reached: [`Reach::Local`], or [`Reach::Emulated`], whose times are nobody's.
    pub reach: Reach,
}

impl Local {
    /// This machine with the usual limits.
    pub fn new(worker: Worker, target: impl Into<String>) -> Self {
        Self { worker, target: target.into(), limits: Limits::default(), reach: Reach::Local }
    }

    /// A board of kind `target` in an emulator on this machine: shows what runs there, not how fast.
    pub fn emulated(emulator: &Emulator, target: impl Into<String>) -> Self {
        Self { reach: Reach::Emulated, ..Self::new(emulator.worker(), target) }
    }

    /// Outputs of the model at `model` for `inputs`, one after another in row-major order.
    pub fn check(&self, model: &Path, inputs: &[f32]) -> Result<Outputs, DeviceError> {
        admit(model, &self.limits)?;
        self.worker.check(model, inputs).map_err(|error| device_error(self.name(), model, error))
    }
}

/// Reads and validates a file, before any process sees it.
pub(super) fn admit(model: &Path, limits: &Limits) -> Result<ModelInfo, DeviceError> {
    let size = fs::metadata(model).map_err(|source| io_error(model, source))?.len();
    if size > limits.file_bytes {
        let why = format!("is {size} bytes, more than {}", limits.file_bytes);
        return Err(Rejected::new("size", model.display().to_string(), why).into());
    }
    let bytes = fs::read(model).map_err(|source| io_error(model, source))?;
    Ok(validate(&bytes, limits)?)
}

impl Device for Local {
    fn name(&self) -> &str {
        if self.reach == Reach::Emulated { "emulated" } else { "local" }
    }

    fn reach(&self) -> Reach {
        self.reach
    }

    fn measure(&mut self, model: &Path, protocol: &Protocol) -> Result<Measurement, DeviceError> {
        let info = admit(model, &self.limits)?;
        let measured = self.worker.measure(model, protocol, &self.target, self.name(), self.reach());
        let measurement = measured.map_err(|error| device_error(self.name(), model, error))?;
        if measurement.model_sha256 != info.sha256 {
            let why = format!("{} changed between its check and its run", model.display());
            return Err(DeviceError::Invalid { device: self.name().into(), why });
        }
        Ok(measurement)
    }
}

/// What went wrong with a process, as the kind that the program's exit status tells apart.
pub(super) fn device_error(device: &str, model: &Path, error: WorkerError) -> DeviceError {
    match error {
        WorkerError::File { path, source } => DeviceError::Io { path, source },
        WorkerError::Start { .. } | WorkerError::Agent { .. } | WorkerError::Speech(_) => {
            DeviceError::Unavailable { device: device.into(), why: error.to_string() }
        }
        WorkerError::Late { .. } | WorkerError::Died { .. } | WorkerError::Refused(_) => {
            Rejected::new("run", model.display().to_string(), format!("failed: {error}")).into()
        }
    }
}
