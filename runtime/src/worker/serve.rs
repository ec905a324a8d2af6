//! The child's side: the body of a hidden subcommand, and of the agent on a board.
//!
//! JSON lines go to stdout, words to stderr:
//! ```text
//! measure MODEL --protocol JSON --target NAME [--device NAME] [--reach JSON]
//! check   MODEL --inputs FILE --outputs FILE      both raw little-endian f32
//! stream  MODEL --inputs FILE --outputs FILE      a recurrent model; what it remembers stands before the inputs of its
//!                                                 steps, and behind their outputs
//! profile MODEL [--runs N]
//! count   MODEL                                   under an emulator with the instruction counter
//! facts
//! clean                                           removes the folder that the agent lies in
//! ```
//! each with
//! ```text
//! --memory BYTES --cpu-seconds N    limits that it sets for itself before it touches a model
//! --lock FILE --who NAME            works only while nobody else does
//! --allow-root                      works for the superuser, which it otherwise refuses
//! ```
//! It opens no socket and ends with its parent.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, Signal, geteuid, getrlimit, set_parent_process_death_signal, setrlimit};
use targets::measurement::{Protocol, Reach};

use super::lock::Lock;
use super::messages::{Answer, Hello, SPEAKS};
use super::{Counted, Obstacle, Profile, little_endian};
use crate::AGENT;
use crate::conditions;
use crate::engine::{ENGINE, EngineError, Model};
use crate::facts::Facts;
use crate::protocol::{Subject, file_sha256, measure, probe_input};
use crate::stream::Stream;

/// A file with this name marks a folder as the agent's own, which may be removed whole.
pub(crate) const MARK: &str = ".pipeline-agent";

/// Answers one request and returns the exit status: 0 answered, 2 not understood, 3 may not work,
/// 5 file or disk, 7 model refused.
///
/// The model's file must have passed [`crate::validate::validate`] on the side that asks.
pub fn serve(args: &[String]) -> u8 {
    let request = match Request::parse(args) {
        Ok(request) => request,
        Err(why) => {
            say(&why);
            return 2;
        }
    };
    let hello = Hello { speaks: SPEAKS, agent: AGENT.into(), engine: ENGINE.into() };
    if let Err(error) = request.confine().and_then(|()| line(&hello)) {
        say(&format!("cannot begin: {error}"));
        return 5;
    }
    let (answer, status) = match request.answer() {
        Ok(answer) => (answer, 0),
        Err(Failure::Engine(error)) => (Answer::Refused(error.to_string()), 7),
        Err(Failure::Obstacle(obstacle)) => {
            say(&obstacle.to_string());
            (Answer::Unavailable(obstacle), 3)
        }
        Err(Failure::File(why)) => {
            say(&why);
            return 5;
        }
    };
    match line(&answer) {
        Ok(()) => status,
        Err(error) => {
            say(&format!("cannot answer: {error}"));
            5
        }
    }
}

/// What to do, and within which limits.
struct Request {
    verb: Verb,
    memory_bytes: Option<u64>,
    cpu_seconds: Option<u64>,
    lock: Option<PathBuf>,
    who: String,
    allow_root: bool,
}

enum Verb {
    Measure { model: String, protocol: Protocol, target: String, device: String, reach: Reach },
    Check { model: String, inputs: String, outputs: String },
    Stream { model: String, inputs: String, outputs: String },
    Profile { model: String, runs: usize },
    Count { model: String },
    Facts,
    Clean,
}

enum Failure {
    Engine(EngineError),
    File(String),
    Obstacle(Obstacle),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Read { .. } => Self::File(error.to_string()),
            EngineError::Load { .. }
            | EngineError::Interface { .. }
            | EngineError::Input { .. }
            | EngineError::Run(_)
            | EngineError::Threads(_) => Self::Engine(error),
        }
    }
}

const USAGE: &str = "this command is started by pipeline itself; see `pipeline measure --help`";

impl Request {
    fn parse(args: &[String]) -> Result<Self, String> {
        let (verb, rest) = args.split_first().ok_or(USAGE)?;
        let (model, rest) = match (verb.as_str(), rest.split_first()) {
            ("facts" | "clean", _) => (String::new(), rest),
            ("measure" | "check" | "stream" | "profile" | "count", Some((model, rest))) => (model.clone(), rest),
            _ => return Err(USAGE.into()),
        };
        let mut options = BTreeMap::new();
        let (flags, rest): (Vec<&String>, Vec<&String>) = rest.iter().partition(|&word| word == "--allow-root");
        let (pairs, []) = rest.as_chunks::<2>() else {
            return Err(format!("{} has no value; {USAGE}", rest[rest.len() - 1]));
        };
        for [name, value] in pairs {
            let name = name.strip_prefix("--").ok_or_else(|| format!("{name} is not an option; {USAGE}"))?;
            options.insert(name.to_owned(), (*value).clone());
        }
        let mut take = |name: &str| options.remove(name);
        let (memory_bytes, cpu_seconds) =
            (number(take("memory"), "memory")?, number(take("cpu-seconds"), "cpu-seconds")?);
        let (lock, who) = (take("lock").map(PathBuf::from), take("who").unwrap_or_default());
        let mut need = |name: &str| options.remove(name).ok_or_else(|| format!("--{name} is missing; {USAGE}"));
        let verb = match verb.as_str() {
            "measure" => Verb::Measure {
                model,
                protocol: json(&need("protocol")?, "protocol")?,
                target: need("target")?,
                device: options.remove("device").unwrap_or_else(|| "local".into()),
                reach: options.remove("reach").map_or(Ok(Reach::Local), |text| json(&text, "reach"))?,
            },
            "check" => Verb::Check { model, inputs: need("inputs")?, outputs: need("outputs")? },
            "stream" => Verb::Stream { model, inputs: need("inputs")?, outputs: need("outputs")? },
            "profile" => {
                let runs = number(options.remove("runs"), "runs")?.unwrap_or(100);
                Verb::Profile { model, runs: usize::try_from(runs).map_err(|error| error.to_string())? }
            }
            "count" => Verb::Count { model },
            "clean" => Verb::Clean,
            _ => Verb::Facts,
        };
        match options.keys().next() {
            None => Ok(Self { verb, memory_bytes, cpu_seconds, lock, who, allow_root: !flags.is_empty() }),
            Some(name) => Err(format!("--{name} is not an option here; {USAGE}")),
        }
    }

    /// Sets the limits of this process; no core file, and no life after the parent's.
    fn confine(&self) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let limits = [(Resource::Core, Some(0)), (Resource::As, self.memory_bytes), (Resource::Cpu, self.cpu_seconds)];
        for (resource, limit) in limits {
            if let Some(limit) = limit {
                // A limit that the system already sets lower stays.
                let allowed = getrlimit(resource).maximum;
                // One more on top: the system kills at the upper limit, but names the lower one first.
                let upper = allowed.map_or(limit + 1, |allowed| allowed.min(limit + 1));
                let lower = limit.min(upper.saturating_sub(1));
                setrlimit(resource, Rlimit { current: Some(lower), maximum: Some(upper) })?;
            }
        }
        Ok(())
    }

    fn answer(&self) -> Result<Answer, Failure> {
        if geteuid().is_root() && !self.allow_root {
            return Err(Failure::Obstacle(Obstacle::Root));
        }
        let _lock = self.lock()?;
        match &self.verb {
            Verb::Measure { model, protocol, target, device, reach } => {
                let subject = Subject { target, device, reach: *reach };
                Ok(Answer::Measured(Box::new(measure(Path::new(model), protocol, subject)?)))
            }
            Verb::Check { model, inputs, outputs } => check(Path::new(model), inputs, outputs),
            Verb::Stream { model, inputs, outputs } => stream(Path::new(model), inputs, outputs),
            Verb::Profile { model, runs } => {
                let mut model = Model::load(Path::new(model))?;
                conditions::pin();
                let nodes = model.profile(&probe_input(model.input_len()), *runs)?;
                Ok(Answer::Profiled(Profile {
                    nodes,
                    activation_bytes: model.activation_bytes(),
                    constant_bytes: model.constant_bytes(),
                }))
            }
            Verb::Count { model } => {
                let path = Path::new(model);
                let read = |source| EngineError::Read { path: model.clone(), source };
                let model_sha256 = file_sha256(path).map_err(read)?;
                let mut model = Model::load(path)?;
                let (nodes, output_hash) = model.count(&probe_input(model.input_len()))?;
                Ok(Answer::Counted(Counted { nodes, output_hash, model_sha256 }))
            }
            Verb::Facts => Ok(Answer::Facts(Box::new(Facts::read()))),
            Verb::Clean => self.clean(),
        }
    }

    fn lock(&self) -> Result<Option<Lock>, Failure> {
        let Some(path) = &self.lock else { return Ok(None) };
        match Lock::take(path, &self.who) {
            Ok(Ok(lock)) => Ok(Some(lock)),
            Ok(Err(holder)) => Err(Failure::Obstacle(Obstacle::Busy(holder))),
            Err(error) => Err(Failure::File(format!("cannot lock {}: {error}", path.display()))),
        }
    }

    /// Removes the folder of this program, and the lock that it holds.
    fn clean(&self) -> Result<Answer, Failure> {
        let program = std::env::current_exe().map_err(failed(Path::new("this program")))?;
        let folder = program.parent().expect("a program lies in a folder");
        if !folder.join(MARK).is_file() {
            let why =
                format!("{} is not the agent's own folder: it holds no {MARK}; nothing removed", folder.display());
            return Err(Failure::File(why));
        }
        std::fs::remove_dir_all(folder).map_err(failed(folder))?;
        if let Some(lock) = &self.lock {
            // In a folder open to all, another account's file stays that account's.
            let _ = std::fs::remove_file(lock);
        }
        Ok(Answer::Cleaned(folder.display().to_string()))
    }
}

/// Runs every input of a file and writes the outputs to another.
fn check(model: &Path, inputs: &str, outputs: &str) -> Result<Answer, Failure> {
    let numbers = numbers(inputs)?;
    let mut model = Model::load(model)?;
    let each = model.input_len();
    if numbers.len() % each != 0 {
        return Err(EngineError::Input { given: numbers.len(), needed: each }.into());
    }
    let mut made = Vec::new();
    for input in numbers.chunks_exact(each) {
        made.extend(little_endian(&model.run(input)?));
    }
    std::fs::write(outputs, made).map_err(failed(outputs.as_ref()))?;
    Ok(Answer::Checked(model.output_shape().to_vec()))
}

/// Runs a recurrent model over the steps of a file, from what it remembers to what it then remembers.
fn stream(model: &Path, inputs: &str, outputs: &str) -> Result<Answer, Failure> {
    let numbers = numbers(inputs)?;
    let model = Model::load(model)?;
    let shape = model.output_shape().to_vec();
    let mut stream = Stream::new(model)?;
    let (each, remembered) = (stream.input_len(), stream.state().len());
    let misfit = || EngineError::Input { given: numbers.len(), needed: remembered + each };
    let (state, steps) = numbers.split_at_checked(remembered).ok_or_else(misfit)?;
    if steps.len() % each != 0 {
        return Err(misfit().into());
    }
    stream.resume(state)?;
    let mut made = Vec::new();
    for input in steps.chunks_exact(each) {
        made.extend(little_endian(&stream.step(input)?));
    }
    made.extend(little_endian(stream.state()));
    std::fs::write(outputs, made).map_err(failed(outputs.as_ref()))?;
    Ok(Answer::Checked(shape))
}

/// The numbers of a file.
fn numbers(path: &str) -> Result<Vec<f32>, Failure> {
    let bytes = std::fs::read(path).map_err(failed(path.as_ref()))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Failure::File(format!("{path} does not hold numbers of four bytes each")));
    }
    Ok(numbers.iter().map(|&x| f32::from_le_bytes(x)).collect())
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure::File(format!("cannot use {path}: {error}"))
}

fn number(text: Option<String>, name: &str) -> Result<Option<u64>, String> {
    text.map(|text| text.parse().map_err(|error| format!("--{name} {text}: {error}"))).transpose()
}

fn json<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("--{name} {text}: {error}"))
}

/// One JSON line on stdout, where the parent reads it.
fn line(value: &impl serde::Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Words on stderr. Where even that is closed, the exit status remains.
fn say(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}
