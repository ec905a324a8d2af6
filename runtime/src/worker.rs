//! Runs models in a process of their own, which may crash, hang or starve without taking us along.

mod lock;
pub(crate) mod messages;
pub(crate) mod process;
mod serve;

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use targets::measurement::{Measurement, Protocol, Reach};

pub use self::lock::Holder;
use self::messages::{Answer, Request, judge, longest, unexpected};
use self::process::{Running, Scratch, collect};
pub use self::serve::serve;
use crate::engine::{NodeName, NodeTime};
use crate::facts::Facts;
use crate::protocol::Subject;

/// The parent's side: starts a fresh process for every request.
///
/// It holds a process to its limits; what is in a model's file is for [`crate::validate`] to check first.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The program whose arguments, after `prefix_args`, go to [`serve`].
    pub program: PathBuf,
    /// Arguments before the request, such as `agent`.
    pub prefix_args: Vec<String>,
    /// Variables of its environment beside this process's own.
    pub environment: Vec<(String, String)>,
    /// What one request may use.
    pub limits: WorkerLimits,
}

/// What one request may use before its process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// Wall-clock and CPU time beyond what the request itself asks for.
    pub time: Duration,
}

impl Default for WorkerLimits {
    /// What a small board can give a model that it is to run with anything beside it.
    fn default() -> Self {
        Self { memory_bytes: 2 << 30, time: Duration::from_secs(60) }
    }
}

/// Outputs of a model for given inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// Shape of one output.
    ///
    /// # Shapes
    /// - `[1, classes]` for a classifier
    pub shape: Vec<usize>,
    /// All outputs one after another, in the order of the inputs.
    pub values: Vec<f32>,
}

impl Outputs {
    /// Outputs of this shape, from their little-endian bytes.
    pub(crate) fn new(shape: Vec<usize>, bytes: &[u8]) -> Self {
        Self { shape, values: bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect() }
    }
}

/// Numbers as the agent reads them from a file.
pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Where a model's time and memory go inside the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Time of each node, in the plan's order.
    pub nodes: Vec<NodeTime>,
    /// The engine's estimate of the most bytes of values alive together.
    pub activation_bytes: Option<u64>,
    /// Bytes of the optimised plan's constants.
    pub constant_bytes: u64,
}

/// A run whose instructions a counter beside the emulator has counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The nodes that ran, in order.
    pub nodes: Vec<NodeName>,
    /// FNV-1a hash of the output's bytes for the protocol's fixed input, in hexadecimal.
    pub output_hash: String,
    /// SHA-256 of the model file, in hexadecimal.
    pub model_sha256: String,
}

/// Why an agent may not work, whatever it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// It was started by the superuser, without having been told that this is meant.
    #[error(
        "the agent does not run as root: a model's file could then harm the whole system; \
         use another account, or allow it with allow-root = true in devices.toml"
    )]
    Root,
    /// Another has the board, and two measurements at once would spoil each other.
    #[error("it is in use: {0}; wait for it, or ask its user to end it")]
    Busy(Holder),
}

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The program could not be started, or its pipes failed.
    #[error("cannot run the agent {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A file for or from the agent could not be written or read.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It ran longer than its limit, and was ended.
    #[error("the model did not finish within {} s and was ended", .limit.as_secs_f64())]
    Late {
        /// The limit.
        limit: Duration,
    },
    /// Its process died: a panic, a signal, or a limit.
    #[error("the model's process died ({how}){said}")]
    Died {
        /// Exit status or signal, in words.
        how: String,
        /// The end of what it said on stderr.
        said: String,
    },
    /// The engine refused the model or the input.
    #[error("{0}")]
    Refused(String),
    /// The agent did not understand the request, or could not use a file or its limits.
    #[error("the agent could not do its part (exit status {status}){said}")]
    Agent {
        /// 2 or 5.
        status: i32,
        /// The end of what it said on stderr.
        said: String,
    },
    /// The agent may not work now, or not as this user.
    #[error("{0}")]
    Unavailable(Obstacle),
    /// It answered in other words than this program understands.
    #[error(
        "the agent does not speak this program's protocol ({0}); it must be of this version: `pipeline agent build` makes it"
    )]
    Speech(String),
}

impl Worker {
    /// A worker with the usual limits.
    pub fn new(program: impl Into<PathBuf>, prefix_args: &[&str]) -> Self {
        let prefix_args = prefix_args.iter().map(ToString::to_string).collect();
        Self { program: program.into(), prefix_args, environment: Vec::new(), limits: WorkerLimits::default() }
    }

    /// Times `model` as `target`'s device `device`, reached as `reach`.
    pub fn measure(
        &self,
        model: &Path,
        protocol: &Protocol,
        target: &str,
        device: &str,
        reach: Reach,
    ) -> Result<Measurement, WorkerError> {
        let request = Request::measure(model.as_os_str(), protocol, Subject { target, device, reach });
        match self.ask(&request, longest(protocol))? {
            Answer::Measured(measurement) => Ok(*measurement),
            answer => Err(unexpected(answer)),
        }
    }

    /// Runs `inputs`, inputs one after another in row-major order, and returns their outputs.
    pub fn check(&self, model: &Path, inputs: &[f32]) -> Result<Outputs, WorkerError> {
        self.pass(inputs, |given, made| Request::check(model.as_os_str(), given, made))
    }

    /// Runs a recurrent `model` over `inputs`, one step after another, from what it remembers, all memories one after the
    /// other. Returns the outputs of the steps, and what it then remembers.
    pub fn stream(&self, model: &Path, state: &[f32], inputs: &[f32]) -> Result<(Outputs, Vec<f32>), WorkerError> {
        let given = [state, inputs].concat();
        let mut outputs = self.pass(&given, |given, made| Request::stream(model.as_os_str(), given, made))?;
        let state = outputs.values.split_off(outputs.values.len().saturating_sub(state.len()));
        Ok((outputs, state))
    }

    /// Numbers to a file, a request about it, and the numbers of the file that it made.
    fn pass(&self, inputs: &[f32], request: impl FnOnce(&OsStr, &OsStr) -> Request) -> Result<Outputs, WorkerError> {
        let folder = Scratch::new("check").map_err(|source| file_error(&std::env::temp_dir(), source))?;
        let (given, made) = (folder.0.join("inputs.f32"), folder.0.join("outputs.f32"));
        std::fs::write(&given, little_endian(inputs)).map_err(|source| file_error(&given, source))?;
        match self.ask(&request(given.as_os_str(), made.as_os_str()), Duration::ZERO)? {
            Answer::Checked(shape) => {
                let bytes = std::fs::read(&made).map_err(|source| file_error(&made, source))?;
                Ok(Outputs::new(shape, &bytes))
            }
            answer => Err(unexpected(answer)),
        }
    }

    /// Times every node of `model` over `runs` runs.
    pub fn profile(&self, model: &Path, runs: usize) -> Result<Profile, WorkerError> {
        match self.ask(&Request::profile(model.as_os_str(), runs), Duration::ZERO)? {
            Answer::Profiled(profile) => Ok(profile),
            answer => Err(unexpected(answer)),
        }
    }

    /// Runs `model` with marks for an instruction counter, which this program must be started with.
    pub fn count(&self, model: &Path) -> Result<Counted, WorkerError> {
        match self.ask(&Request::count(model.as_os_str()), Duration::ZERO)? {
            Answer::Counted(counted) => Ok(counted),
            answer => Err(unexpected(answer)),
        }
    }

    /// The machine that the worker runs on.
    pub fn facts(&self) -> Result<Facts, WorkerError> {
        match self.ask(&Request::facts(), Duration::ZERO)? {
            Answer::Facts(facts) => Ok(*facts),
            answer => Err(unexpected(answer)),
        }
    }

    /// Starts the process, waits at most `asked` and the limit, and reads its answer.
    fn ask(&self, request: &Request, asked: Duration) -> Result<Answer, WorkerError> {
        let limit = self.limits.time.saturating_add(asked);
        let mut command = Command::new(&self.program);
        command.args(&self.prefix_args).args(request.words(self.limits.memory_bytes, limit));
        // This machine is the user's own, and in a container the user is often root.
        command.arg("--allow-root");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0); // so that ending it ends whatever it started
        let start = |source| WorkerError::Start { program: self.program.display().to_string(), source };
        let mut child = Running(command.spawn().map_err(start)?);
        let answer = collect(child.0.stdout.take());
        let words = collect(child.0.stderr.take());
        let Some(status) = child.wait(limit).map_err(start)? else {
            return Err(WorkerError::Late { limit });
        };
        // The process has ended: only a grandchild could still hold the pipes open.
        let text = |pipe: mpsc::Receiver<Vec<u8>>| {
            String::from_utf8_lossy(&pipe.recv_timeout(Duration::from_secs(5)).unwrap_or_default()).into_owned()
        };
        judge(&text(answer), &text(words), status)
    }
}

fn file_error(path: &Path, source: io::Error) -> WorkerError {
    WorkerError::File { path: path.display().to_string(), source }
}
