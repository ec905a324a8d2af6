//! Boards in an emulator: qemu-user runs the agent as built for the board, as the board's processor.

use std::path::{Path, PathBuf};

use targets::counts::Counts;

use super::{DeviceError, admit, device_error, io_error};
use crate::AGENT;
use crate::engine::ENGINE;
use crate::marks;
use crate::validate::Limits;
use crate::worker::process::Scratch;
use crate::worker::{Worker, WorkerLimits};

/// How a program for another processor is run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// The emulator's program, such as `qemu-aarch64`.
    pub program: PathBuf,
    /// The processor to be, such as `cortex-a72`: the engine's kernels follow from it.
    pub processor: String,
    /// Variables of the agent's environment, for what the engine cannot see in an emulator.
    pub environment: Vec<(String, String)>,
    /// The agent, built for the board.
    pub agent: PathBuf,
}

/// How many times longer a request may take than on this machine itself.
const PATIENCE: u32 = 20;

impl Emulator {
    /// The emulator for programs of `triple`, with the words to print where there is none.
    ///
    /// # Errors
    /// The architecture is not one of those known here.
    pub fn program_for(triple: &str) -> Result<&'static str, String> {
        match triple.split('-').next().unwrap_or_default() {
            "aarch64" => Ok("qemu-aarch64"),
            "x86_64" => Ok("qemu-x86_64"),
            arm if arm.starts_with("arm") => Ok("qemu-arm"),
            other => Err(format!("no emulator is known for {other}")),
        }
    }

    /// Runs requests in the emulator.
    pub fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    fn worker_with(&self, options: &[&str]) -> Worker {
        let agent = self.agent.to_string_lossy();
        let args = [&["-cpu", &self.processor], options, &[&agent]].concat();
        let usual = WorkerLimits::default();
        Worker {
            environment: self.environment.clone(),
            limits: WorkerLimits { time: usual.time * PATIENCE, ..usual },
            ..Worker::new(&self.program, &args)
        }
    }
}

/// Counts instructions instead of measuring time: a board when there is no board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Runs the agent.
    pub emulator: Emulator,
    /// The emulator's plugin that counts.
    pub plugin: PathBuf,
    /// Kind of board, such as `rpi4`.
    pub target: String,
    /// What a model may be before it reaches the emulator.
    pub limits: Limits,
}

/// Name of the device in errors and on the command line.
const NAME: &str = "counted";

impl Counter {
    /// Counts one inference of the model at `model`.
    pub fn count(&self, model: &Path) -> Result<Counts, DeviceError> {
        let info = admit(model, &self.limits)?;
        let scratch = Scratch::new("count").map_err(|source| io_error(&std::env::temp_dir(), source))?;
        let path = scratch.0.join("counts");
        // qemu splits a plugin's arguments at commas and equal signs.
        let (plugin, out) = (self.plugin.to_string_lossy(), path.to_string_lossy());
        if let Some(wrong) = [&plugin, &out].into_iter().find(|it| it.contains([',', '='])) {
            let why = format!("the emulator cannot take the path {wrong:?}: it holds a comma or an equal sign");
            return Err(DeviceError::Unavailable { device: NAME.into(), why });
        }
        let worker = self.emulator.worker_with(&["-plugin", &format!("{plugin},out={out}")]);
        let counted = worker.count(model).map_err(|error| device_error(NAME, &model.display().to_string(), error))?;
        let text = std::fs::read_to_string(&path).map_err(|source| io_error(&path, source))?;
        let counts = Counts {
            target: self.target.clone(),
            processor: self.emulator.processor.clone(),
            model_sha256: info.sha256.clone(),
            engine: ENGINE.into(),
            agent: AGENT.into(),
            instructions: 0,
            loads: 0,
            stores: 0,
            nodes: Vec::new(),
            output_hash: counted.output_hash,
        };
        let invalid = |why: String| DeviceError::Invalid { device: NAME.into(), why };
        if counted.model_sha256 != info.sha256 {
            return Err(invalid(format!("{} changed between its check and its run", model.display())));
        }
        marks::read(&text, &counted.nodes, counts).map_err(invalid)
    }
}
