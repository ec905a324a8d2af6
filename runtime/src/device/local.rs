//! This machine: every measurement in a fresh process with limits.

use std::path::Path;

use targets::measurement::{Measurement, Protocol, Reach};

use super::{Device, DeviceError, admit, device_error};
use crate::validate::{Limits, ModelInfo};
use crate::worker::Worker;

/// This machine, measured as a board of kind `target`.
#[derive(Clone, Debug)]
pub struct Local {
    /// Starts the processes.
    pub worker: Worker,
    /// Kind of board, such as `host`.
    pub target: String,
    /// What a model may be before it reaches a process.
    pub limits: Limits,
}

impl Local {
    /// This machine with the usual limits.
    pub fn new(worker: Worker, target: impl Into<String>) -> Self {
        Self { worker, target: target.into(), limits: Limits::default() }
    }

    /// Reads and validates a file, before any process sees it.
    pub fn admit(&self, model: &Path) -> Result<ModelInfo, DeviceError> {
        admit(model, &self.limits)
    }
}

impl Device for Local {
    fn name(&self) -> &str {
        "local"
    }

    fn reach(&self) -> Reach {
        Reach::Local
    }

    fn measure(&mut self, model: &Path, protocol: &Protocol) -> Result<Measurement, DeviceError> {
        let info = self.admit(model)?;
        let measured = self.worker.measure(model, protocol, &self.target, self.name(), self.reach());
        let measurement = measured.map_err(|error| device_error(self.name(), &model.display().to_string(), error))?;
        if measurement.model_sha256 != info.sha256 {
            let why = format!("{} changed between its check and its run", model.display());
            return Err(DeviceError::Invalid { device: self.name().into(), why });
        }
        Ok(measurement)
    }
}
