//! Measurements read back from a file, and the recorder that wrote them.
//!
//! A file holds one [`Measurement`] a line. A model's measurements are found by its hash, those taken
//! with the asked protocol first, each once and the last one again and again. A first line
//! `{"order":"default"}` adds: a model that the file does not know takes the next measurement in
//! the file's order. Such a measurement keeps the hash of the model that it was taken of.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use targets::measurement::{Measurement, Protocol, Reach};

use super::{Device, DeviceError, io_error};
use crate::protocol::file_sha256;

/// Answers from a file.
#[derive(Clone, Debug)]
pub struct Recorded {
    name: String,
    measurements: Vec<Measurement>,
    in_order: bool,
    /// How often each hash and protocol was asked for.
    asked: HashMap<(String, bool), usize>,
    /// The next measurement for a model that the file does not know.
    next: usize,
}

/// The optional first line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    order: Order,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    Default,
}

impl Recorded {
    /// Reads a file of measurements.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
        let name = format!("recorded:{}", path.display());
        let (in_order, first) = match text.lines().next().map(serde_json::from_str::<Header>) {
            Some(Ok(Header { order: Order::Default })) => (true, 1),
            Some(Err(_)) | None => (false, 0),
        };
        let mut measurements = Vec::new();
        for (idx, line) in text.lines().enumerate().skip(first).filter(|(_, line)| !line.trim().is_empty()) {
            let measurement = serde_json::from_str(line).map_err(|error| DeviceError::Unavailable {
                device: name.clone(),
                why: format!("line {} is not a measurement: {error}", idx + 1),
            })?;
            measurements.push(measurement);
        }
        Ok(Self { name, measurements, in_order, asked: HashMap::new(), next: 0 })
    }
}

impl Device for Recorded {
    fn name(&self) -> &str {
        &self.name
    }

    fn reach(&self) -> Reach {
        Reach::Recorded
    }

    fn measure(&mut self, model: &Path, protocol: &Protocol) -> Result<Measurement, DeviceError> {
        let hash = file_sha256(model).map_err(|source| io_error(model, source))?;
        let known = self.measurements.iter().filter(|measurement| measurement.model_sha256 == hash);
        let (same, other): (Vec<_>, Vec<_>) = known.partition(|measurement| measurement.protocol == *protocol);
        let is_same = !same.is_empty();
        let found = if is_same { same } else { other };
        if let Some(last) = found.last() {
            let asked = self.asked.entry((hash, is_same)).or_default();
            *asked += 1;
            return Ok(Measurement::clone(found.get(*asked - 1).unwrap_or(last)));
        }
        let unavailable = |why: String| DeviceError::Unavailable { device: self.name.clone(), why };
        if !self.in_order {
            return Err(unavailable(format!("it holds no measurement of {} (sha256 {hash})", model.display())));
        }
        let n = self.measurements.len();
        let measurement =
            self.measurements.get(self.next).ok_or_else(|| unavailable(format!("its {n} measurements are used up")))?;
        self.next += 1;
        Ok(measurement.clone())
    }
}

/// Passes measurements on and appends each to a file, which [`Recorded`] reads.
pub struct Recorder<D> {
    device: D,
    path: PathBuf,
    file: File,
}

impl<D: Device> Recorder<D> {
    /// Records what `device` measures, behind what the file at `path` already holds.
    pub fn append(device: D, path: &Path) -> Result<Self, DeviceError> {
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(|source| io_error(path, source))?;
        Ok(Self { device, path: path.to_owned(), file })
    }
}

impl<D: Device> Device for Recorder<D> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn reach(&self) -> Reach {
        self.device.reach()
    }

    fn measure(&mut self, model: &Path, protocol: &Protocol) -> Result<Measurement, DeviceError> {
        let measurement = self.device.measure(model, protocol)?;
        let mut line = serde_json::to_string(&measurement).expect("plain values have a JSON form");
        line.push('\n');
        // One write, then to the disk: a measurement costs minutes, a line nothing.
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| io_error(&self.path, source))?;
        Ok(measurement)
    }
}
