//! From a graph to a measurement: writes the network as ONNX, has the device time it, and keeps
//! what was measured, so that no network is measured twice in one run.

use std::{collections::BTreeMap, io::Write, path::Path, time::Duration};

use anyhow::{Context, Result};
use export::Metadata;
use graph::{Graph, cost::static_cost};
use runtime::{
    device::{Counter, Device, DeviceError},
    worker::Worker,
};
use serde::{Deserialize, Serialize};
use targets::{
    Allow, Calibration, CountScale, Counts, Features, Measurement, Meter, MeterError, MeterErrorKind, Protocol, Reach,
    Reading, Target, features,
};

use crate::{
    calibrations, devices, exit, kit,
    patience::Patient,
    run_folder::{COUNTS, MEASUREMENTS, RunFolder},
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

/// One line of `counts.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// [`Graph::fingerprint`] of the network as trained.
    pub network: String,
    /// Work of the network by kind, as the latency model sees it.
    pub features: Features,
    /// Bytes that its operations read and write.
    pub traffic_bytes: u64,
    /// Its instructions.
    pub counts: Counts,
}

impl Counted {
    /// What the counts say of the network.
    pub fn reading(&self, scale: &CountScale) -> Reading {
        let latency = scale.latency(&self.counts, self.traffic_bytes);
        Reading { device: self.counts.target.clone(), latency: Some(latency), memory: None }
    }
}

/// What networks are measured with.
pub enum Instrument {
    /// A device's clock.
    Clock { device: Box<dyn Device>, allow: Allow, percentile: f64 },
    /// A count of the instructions that a board would execute, where there is no board.
    Counts { counter: Box<Counter>, scale: CountScale },
}

impl Instrument {
    /// What `--device` names. Counts become time as the run's calibration says.
    pub fn open(
        name: &str,
        target: &Target,
        agent: Option<&Path>,
        allow_noisy: bool,
        calibration: Option<&Calibration>,
    ) -> Result<Self> {
        if name == devices::COUNTED {
            let scale = calibrations::scale(calibration, target)?;
            return Ok(Self::Counts { counter: Box::new(kit::counting(target)?), scale });
        }
        let allow = Allow { noisy: allow_noisy, governor: allow_noisy };
        Ok(Self::Clock { device: devices::open(name, target, agent)?, allow, percentile: target.percentile })
    }

    /// The same, but a device that goes away in the middle is waited for.
    pub fn patient(self, wait: Duration) -> Self {
        match self {
            Self::Clock { device, allow, percentile } => {
                Self::Clock { device: Box::new(Patient::new(device, wait)), allow, percentile }
            }
            counts @ Self::Counts { .. } => counts,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Clock { device, .. } => device.name(),
            Self::Counts { .. } => devices::COUNTED,
        }
    }
}

/// Measures candidates during a search.
pub struct OnDevice {
    instrument: Instrument,
    folder: RunFolder,
    /// What was measured already, and whether by the whole protocol.
    known: BTreeMap<(String, bool), Reading>,
}

impl OnDevice {
    /// A meter that uses `instrument`; what `folder` holds already is not measured again.
    pub fn new(instrument: Instrument, folder: RunFolder) -> Result<Self> {
        let mut meter = Self { instrument, folder, known: BTreeMap::new() };
        let so_far = meter.read_so_far()?.into_iter();
        meter.known = so_far.map(|(network, whole, _, reading)| ((network, whole), reading)).collect();
        Ok(meter)
    }

    /// What the run has read of candidates, in order: the network, whether by the whole protocol, its
    /// work, and the reading.
    pub fn read_so_far(&self) -> Result<Vec<(String, bool, Features, Reading)>> {
        Ok(match &self.instrument {
            Instrument::Clock { percentile, .. } => {
                let lines = self.folder.read_lines::<Measured>(MEASUREMENTS)?.into_iter();
                let candidates = lines.filter(|line| line.what != What::Shipped);
                let reading = |line: Measured| {
                    let reading = line.measurement.reading(*percentile);
                    (line.network, line.what == What::Acceptance, line.features, reading)
                };
                candidates.map(reading).collect()
            }
            Instrument::Counts { scale, .. } => {
                let lines = self.folder.read_lines::<Counted>(COUNTS)?.into_iter();
                let reading = |line: Counted| {
                    let reading = line.reading(scale);
                    (line.network, false, line.features, reading)
                };
                lines.map(reading).collect()
            }
        })
    }

    /// Measures `graph` by the whole protocol.
    pub fn accept(&mut self, graph: &Graph) -> Result<Reading, MeterError> {
        self.read(graph, What::Acceptance, &Protocol::default())
    }

    fn read(&mut self, graph: &Graph, what: What, protocol: &Protocol) -> Result<Reading, MeterError> {
        let network = graph.fingerprint();
        // A count has no protocol: the first one is as good as any.
        let whole = what == What::Acceptance && matches!(self.instrument, Instrument::Clock { .. });
        if let Some(known) = self.known.get(&(network.clone(), whole)) {
            return Ok(known.clone());
        }
        let device = self.instrument.name().to_owned();
        let failed = |error: anyhow::Error| MeterError {
            device: device.clone(),
            reason: format!("{error:#}"),
            kind: MeterErrorKind::Unavailable,
        };
        let model = ModelFile::of(graph).map_err(failed)?;
        let features = features(graph);
        let reading = match &mut self.instrument {
            Instrument::Clock { device: board, allow, percentile } => {
                let tries = if what == What::Candidate { 1 } else { TRIES };
                let measurement = measure(board.as_mut(), model.path(), protocol, *allow, tries)
                    .map_err(|error| meter(&device, error))?;
                let reading = measurement.reading(*percentile);
                let line = Measured { what, network: network.clone(), features, measurement };
                self.folder.append(MEASUREMENTS, &line).map_err(failed)?;
                reading
            }
            Instrument::Counts { counter, scale } => {
                let counts = counter.count(model.path()).map_err(|error| meter(&device, error))?;
                let traffic_bytes = static_cost(graph).traffic_bytes;
                let line = Counted { network: network.clone(), features, traffic_bytes, counts };
                self.folder.append(COUNTS, &line).map_err(failed)?;
                line.reading(scale)
            }
        };
        self.known.insert((network, whole), reading.clone());
        Ok(reading)
    }
}

impl Meter for OnDevice {
    fn measure(&mut self, graph: &Graph) -> Result<Reading, MeterError> {
        self.read(graph, What::Candidate, &Protocol::quick())
    }
}

/// A network as a model file, with weights that do not matter; it goes when this goes.
pub struct ModelFile(tempfile::NamedTempFile);

impl ModelFile {
    /// Writes `graph`.
    pub fn of(graph: &Graph) -> Result<Self> {
        let weights = export::placeholder_weights(graph, 0);
        let bytes = export::onnx(graph, &weights, &Metadata::default())?;
        let written = tempfile::Builder::new().suffix(".onnx").tempfile().and_then(|mut file| {
            file.write_all(&bytes)?;
            Ok(file)
        });
        Ok(Self(written.context("cannot write the model to a temporary file")?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Times that a measurement is taken before its conditions are given up on.
pub const TRIES: usize = 3;

/// Times a file; a measurement that its conditions spoil is taken again, `tries` times in all.
pub fn measure(
    device: &mut dyn Device,
    path: &Path,
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
