//! This machine, itself or as an emulated board: every measurement in a fresh process with limits.

use std::path::Path;

use targets::measurement::{Measurement, Protocol, Reach};

use super::{Device, DeviceError, Emulator, admit, device_error};
use crate::validate::{Limits, ModelInfo};
use crate::worker::{Outputs, Worker};

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
        let made = self.worker.check(model, inputs);
        made.map_err(|error| device_error(self.name(), &model.display().to_string(), error))
    }

    /// Reads and validates a file, before any process sees it.
    pub fn admit(&self, model: &Path) -> Result<ModelInfo, DeviceError> {
        admit(model, &self.limits)
    }
}

impl Device for Local {
    fn name(&self) -> &str {
        if self.reach == Reach::Emulated { "emulated" } else { "local" }
    }

    fn reach(&self) -> Reach {
        self.reach
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
