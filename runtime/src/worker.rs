//! Runs models in a process of their own, which may crash, hang or starve without taking us along.

mod process;
mod serve;

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use targets::measurement::{Conditions, Measurement, Protocol, Reach};

pub(crate) use self::process::Scratch;
use self::process::{Running, collect, in_words, last_words};
pub use self::serve::serve;
use crate::engine::{NodeName, NodeTime};

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

/// The machine that an agent runs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the agent.
    pub agent: String,
    /// Engine and its version.
    pub engine: String,
    /// Processor architecture, such as `aarch64`.
    pub arch: String,
    /// The machine now, with the core that would be measured on.
    pub conditions: Conditions,
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
    /// It answered in other words than this program understands.
    #[error("the agent does not speak this program's protocol ({0}); install the same version on both sides")]
    Speech(String),
}

/// The first line of every answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hello {
    /// Version of these messages.
    speaks: u32,
    agent: String,
    engine: String,
}

/// The second line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Measured(Box<Measurement>),
    /// Shape of each output; the numbers are in the file that was asked for.
    Checked(Vec<usize>),
    Profiled(Profile),
    Counted(Counted),
    Facts(Box<Facts>),
    Refused(String),
}

/// Version of the messages.
const SPEAKS: u32 = 1;

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
        let json = |value: Result<String, serde_json::Error>| value.expect("plain values have a JSON form");
        let mut request = self.request("measure", model);
        request.args(["--protocol", &json(serde_json::to_string(protocol))]);
        request.args(["--target", target, "--device", device, "--reach", &json(serde_json::to_string(&reach))]);
        let asked = Duration::from_millis(protocol.warmup_limit_ms.saturating_add(protocol.time_limit_ms));
        match self.ask(request, asked)? {
            Answer::Measured(measurement) => Ok(*measurement),
            answer => Err(unexpected(answer)),
        }
    }

    /// Runs `inputs`, inputs one after another in row-major order, and returns their outputs.
    pub fn check(&self, model: &Path, inputs: &[f32]) -> Result<Outputs, WorkerError> {
        let folder = Scratch::new().map_err(|source| file_error(&std::env::temp_dir(), source))?;
        let (given, made) = (folder.0.join("inputs.f32"), folder.0.join("outputs.f32"));
        let bytes = inputs.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
        std::fs::write(&given, bytes).map_err(|source| file_error(&given, source))?;
        let mut request = self.request("check", model);
        request.arg("--inputs").arg(&given).arg("--outputs").arg(&made);
        match self.ask(request, Duration::ZERO)? {
            Answer::Checked(shape) => {
                let bytes = std::fs::read(&made).map_err(|source| file_error(&made, source))?;
                Ok(Outputs { shape, values: bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect() })
            }
            answer => Err(unexpected(answer)),
        }
    }

    /// Times every node of `model` over `runs` runs.
    pub fn profile(&self, model: &Path, runs: usize) -> Result<Profile, WorkerError> {
        let mut request = self.request("profile", model);
        request.args(["--runs", &runs.to_string()]);
        match self.ask(request, Duration::ZERO)? {
            Answer::Profiled(profile) => Ok(profile),
            answer => Err(unexpected(answer)),
        }
    }

    /// Runs `model` with marks for an instruction counter, which this program must be started with.
    pub fn count(&self, model: &Path) -> Result<Counted, WorkerError> {
        match self.ask(self.request("count", model), Duration::ZERO)? {
            Answer::Counted(counted) => Ok(counted),
            answer => Err(unexpected(answer)),
        }
    }

    /// The machine that the worker runs on.
    pub fn facts(&self) -> Result<Facts, WorkerError> {
        let mut request = Command::new(&self.program);
        request.args(&self.prefix_args).arg("facts");
        match self.ask(request, Duration::ZERO)? {
            Answer::Facts(facts) => Ok(*facts),
            answer => Err(unexpected(answer)),
        }
    }

    fn request(&self, verb: &str, model: &Path) -> Command {
        let mut request = Command::new(&self.program);
        request.args(&self.prefix_args).arg(verb).arg(model);
        request
    }

    /// Starts the process, waits at most `asked` and the limit, and reads its answer.
    fn ask(&self, mut request: Command, asked: Duration) -> Result<Answer, WorkerError> {
        let limit = self.limits.time.saturating_add(asked);
        request.args(["--memory", &self.limits.memory_bytes.to_string()]);
        request.args(["--cpu-seconds", &limit.as_secs().max(1).to_string()]);
        request.envs(self.environment.iter().map(|(name, value)| (name, value)));
        request.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        request.process_group(0); // so that ending it ends whatever it started
        let start = |source| WorkerError::Start { program: self.program.display().to_string(), source };
        let mut child = Running(request.spawn().map_err(start)?);
        let answer = collect(child.0.stdout.take());
        let words = collect(child.0.stderr.take());
        let Some(status) = child.wait(limit).map_err(start)? else {
            return Err(WorkerError::Late { limit });
        };
        // The process has ended: only a grandchild could still hold the pipes open.
        let text = |pipe: mpsc::Receiver<Vec<u8>>| {
            String::from_utf8_lossy(&pipe.recv_timeout(Duration::from_secs(5)).unwrap_or_default()).into_owned()
        };
        let (answer, words) = (text(answer), text(words));
        match parse(&answer) {
            Ok(Answer::Refused(why)) => Err(WorkerError::Refused(why)),
            Ok(answer) if status.success() => Ok(answer),
            Err(why) if status.success() => Err(WorkerError::Speech(why)),
            Ok(_) | Err(_) => {
                let said = last_words(&words);
                Err(match status.code() {
                    Some(status @ (2 | 5)) => WorkerError::Agent { status, said },
                    Some(_) | None => WorkerError::Died { how: in_words(status), said },
                })
            }
        }
    }
}

fn parse(text: &str) -> Result<Answer, String> {
    let mut lines = text.lines();
    let hello = lines.next().ok_or("it said nothing")?;
    let hello: Hello = serde_json::from_str(hello).map_err(|error| format!("its greeting is {error}"))?;
    if hello.speaks != SPEAKS {
        return Err(format!("it speaks version {}, not {SPEAKS}", hello.speaks));
    }
    let answer = lines.next().ok_or("it gave no answer")?;
    serde_json::from_str(answer).map_err(|error| format!("its answer is {error}"))
}

fn unexpected(answer: Answer) -> WorkerError {
    WorkerError::Speech(match answer {
        Answer::Measured(_) => "a measurement was not asked for".into(),
        Answer::Checked(_) => "outputs were not asked for".into(),
        Answer::Profiled(_) => "a profile was not asked for".into(),
        Answer::Counted(_) => "a count was not asked for".into(),
        Answer::Facts(_) => "facts were not asked for".into(),
        Answer::Refused(why) => why,
    })
}

fn file_error(path: &Path, source: io::Error) -> WorkerError {
    WorkerError::File { path: path.display().to_string(), source }
}
