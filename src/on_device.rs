//! From a graph to a measurement: writes the network as ONNX, has the device time it, and keeps
//! what was measured, so that no network is measured twice in one run.

use std::collections::BTreeMap;

use anyhow::Result;
use export::Metadata;
use graph::Graph;
use runtime::{
    device::{Device, DeviceError},
    worker::Worker,
};
use serde::{Deserialize, Serialize};
use targets::{Allow, Features, Measurement, Meter, MeterError, MeterErrorKind, Protocol, Reach, features};

use crate::{
    exit,
    run_folder::{MEASUREMENTS, RunFolder},
};

/// Starts this program again as the agent.
pub fn worker() -> Result<Worker> {
    let program = std::env::current_exe().map_err(|error| exit::file(format!("cannot find this program: {error}")))?;
    Ok(Worker::new(program, &["worker"]))
}

/// One line of `measurements.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// What the measurement was for.
    pub what: What,
    /// [`Graph::fingerprint`] of the network as trained.
    pub network: String,
    /// Work of the network by kind, as the latency model sees it.
    pub features: Features,
    /// The measurement.
    pub measurement: Measurement,
}

/// What a measurement was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A look at a candidate, with weights that do not matter.
    Candidate,
    /// The whole protocol, before the architecture was accepted.
    Acceptance,
    /// The whole protocol, on the file that ships.
    Shipped,
}

/// Measures candidates during a search.
pub struct OnDevice {
    device: Box<dyn Device>,
    folder: RunFolder,
    allow: Allow,
    known: BTreeMap<(String, bool), Measurement>,
}

impl OnDevice {
    /// A meter on `device`; what `folder` holds already is not measured again.
    pub fn new(device: Box<dyn Device>, folder: RunFolder, allow: Allow) -> Result<Self> {
        let lines: Vec<Measured> = folder.read_lines(MEASUREMENTS)?;
        let known = lines
            .into_iter()
            .filter(|line| line.what != What::Shipped)
            .map(|line| ((line.network, line.what == What::Acceptance), line.measurement))
            .collect();
        Ok(Self { device, folder, allow, known })
    }

    /// Times `graph` by the whole protocol.
    pub fn accept(&mut self, graph: &Graph) -> Result<Measurement, MeterError> {
        self.time(graph, What::Acceptance, &Protocol::default())
    }

    fn time(&mut self, graph: &Graph, what: What, protocol: &Protocol) -> Result<Measurement, MeterError> {
        let key = (graph.fingerprint(), what == What::Acceptance);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let device = self.device.name().to_owned();
        let rejected = |reason: String| MeterError { device: device.clone(), reason, kind: MeterErrorKind::Rejected };
        let weights = export::placeholder_weights(graph, 0);
        let bytes = export::onnx(graph, &weights, &Metadata::default()).map_err(|error| rejected(error.to_string()))?;
        let unavailable = |error: std::io::Error| MeterError {
            device: device.clone(),
            reason: format!("cannot write the model to a temporary file: {error}"),
            kind: MeterErrorKind::Unavailable,
        };
        let folder = tempfile::tempdir().map_err(unavailable)?;
        let path = folder.path().join("candidate.onnx");
        std::fs::write(&path, bytes).map_err(unavailable)?;
        let tries = if what == What::Candidate { 1 } else { TRIES };
        let measurement =
            measure(self.device.as_mut(), &path, protocol, self.allow, tries).map_err(|error| meter(&device, error))?;
        let line =
            Measured { what, network: key.0.clone(), features: features(graph), measurement: measurement.clone() };
        self.folder.append(MEASUREMENTS, &line).map_err(|error| MeterError {
            device: device.clone(),
            reason: format!("{error:#}"),
            kind: MeterErrorKind::Unavailable,
        })?;
        self.known.insert(key, measurement.clone());
        Ok(measurement)
    }
}

impl Meter for OnDevice {
    fn measure(&mut self, graph: &Graph) -> Result<Measurement, MeterError> {
        self.time(graph, What::Candidate, &Protocol::quick())
    }
}

/// Times that a measurement is taken before its conditions are given up on.
pub const TRIES: usize = 3;

/// Times a file; a measurement that its conditions spoil is taken again, `tries` times in all.
pub fn measure(
    device: &mut dyn Device,
    path: &std::path::Path,
    protocol: &Protocol,
    allow: Allow,
    tries: usize,
) -> Result<Measurement, DeviceError> {
    // No second look makes an emulator's time a board's.
    let tries = if device.reach() == Reach::Emulated { 1 } else { tries };
    let mut reasons = Vec::new();
    for _ in 0..tries {
        let measurement = device.measure(path, protocol)?;
        reasons = measurement.invalid(&allow);
        if reasons.is_empty() {
            return Ok(measurement);
        }
    }
    let why: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    let why = format!("{} (tried {tries} times; --allow-noisy takes it as it is)", why.join("; "));
    Err(DeviceError::Invalid { device: device.name().to_owned(), why })
}

fn meter(device: &str, error: DeviceError) -> MeterError {
    let kind = match &error {
        DeviceError::Lost { .. } => MeterErrorKind::Lost,
        DeviceError::Unavailable { .. } | DeviceError::Io { .. } => MeterErrorKind::Unavailable,
        DeviceError::Invalid { .. } => MeterErrorKind::Invalid,
        DeviceError::Rejected(_) => MeterErrorKind::Rejected,
    };
    let reason = match error {
        DeviceError::Lost { why, .. } | DeviceError::Unavailable { why, .. } | DeviceError::Invalid { why, .. } => why,
        DeviceError::Rejected(rejected) => rejected.to_string(),
        error @ DeviceError::Io { .. } => error.to_string(),
    };
    MeterError { device: device.to_owned(), reason, kind }
}
