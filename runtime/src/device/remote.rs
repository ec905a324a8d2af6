//! A board over ssh or adb: the agent is taken there once, each model for as long as it is needed.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use targets::measurement::{Measurement, Protocol, Reach};

use super::agent::{Agent, does_not_start, runs_on};
use super::transport::Transport;
use super::trouble::{Trouble, one_line};
use super::{Device, DeviceError, admit, device_error, io_error};
use crate::facts::Facts;
use crate::protocol::{Subject, file_sha256};
use crate::validate::Limits;
use crate::worker::messages::{Answer, Request, judge, longest, unexpected};
use crate::worker::process::Scratch;
use crate::worker::{Outputs, Profile, WorkerError, WorkerLimits, little_endian};

/// A board that is reached from here.
pub struct Remote {
    /// Its name, or its address.
    pub name: String,
    /// Kind of board, such as `rpi4`.
    pub target: String,
    /// The program that is taken there.
    pub agent: Agent,
    /// Where on the board everything is written: an absolute path, or one that begins with `~/`.
    /// Without it the usual ones are tried; they are also tried where this one cannot be used.
    pub folder: Option<String>,
    /// Whether the agent may run as root.
    pub allow_root: bool,
    /// What a model may be before it reaches the board.
    pub limits: Limits,
    /// What one request may use there.
    pub worker: WorkerLimits,
    transport: Box<dyn Transport>,
    /// Tells this session's files on the board from those of others.
    session: String,
    n_sent: u64,
    /// What is known of the board while it answers.
    site: Option<Site>,
}

/// A board that was reached.
#[derive(Clone, Debug)]
pub struct Site {
    /// Folder on the board that holds all that is written there.
    pub folder: String,
    /// Folders that were tried first, each with the reason why it is not used.
    pub skipped: Vec<String>,
    /// What `uname -m` says.
    pub machine: String,
    /// What the agent tells of the board.
    pub facts: Facts,
    agent: String,
    lock: String,
}

/// Folders that are tried, by how the board is reached. Programs may not run in some of them.
fn usual_folders(reach: Reach) -> &'static [&'static str] {
    match reach {
        Reach::Adb => &["/data/local/tmp/pipeline"],
        Reach::Ssh | Reach::Local | Reach::Emulated | Reach::Recorded => {
            &["~/.cache/pipeline-agent", "/tmp/pipeline-agent", "/dev/shm/pipeline-agent", "~/pipeline-agent"]
        }
    }
}

/// Time for a script that does next to nothing, over a slow connection.
const MOMENT: Duration = Duration::from_secs(40);

impl Remote {
    /// The board behind `transport`, of kind `target`, with the usual limits.
    pub fn new(
        name: impl Into<String>,
        target: impl Into<String>,
        transport: Box<dyn Transport>,
        agent: Agent,
    ) -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_nanos());
        Self {
            name: name.into(),
            target: target.into(),
            agent,
            folder: None,
            allow_root: false,
            limits: Limits::default(),
            worker: WorkerLimits::default(),
            transport,
            session: format!("{}-{nanos}", std::process::id()),
            n_sent: 0,
            site: None,
        }
    }

    /// Reaches the board, if it was not yet: finds a folder, takes the agent there unless it is there
    /// already, and asks it about the board.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] where the board may be back by itself, [`DeviceError::Unavailable`] where
    /// somebody must do something first.
    pub fn connect(&mut self) -> Result<&Site, DeviceError> {
        if self.site.is_none() {
            let site = self.reached().map_err(|trouble| trouble.on(&self.name))?;
            // Without a lock: facts disturb nobody, and tell who is there while another measures.
            let answer = self.ask_at(&site, &Request::facts(), Duration::ZERO, "", false)?;
            let Answer::Facts(facts) = answer else { return Err(self.failed("facts", unexpected(answer))) };
            self.site = Some(Site { facts: *facts, ..site });
        }
        Ok(self.site.as_ref().expect("it was just put there"))
    }

    fn reached(&self) -> Result<Site, Trouble> {
        let file = |source| Trouble::File { path: self.agent.path.display().to_string(), source };
        let sha256 = file_sha256(&self.agent.path).map_err(file)?;
        // Named after its content: who measures here with another version keeps their own.
        let program = format!("pipeline-agent-{}", &sha256[..16]);
        let folders = self.folders();
        // What the board tells of it is a line.
        if let Some(wrong) =
            folders.iter().find(|it| !(it.starts_with('/') || it.starts_with("~/")) || it.contains('\n'))
        {
            let said =
                format!("{wrong:?} is no folder: write an absolute path in one line, or one that begins with ~/");
            return Err(Trouble::NoFolder { said });
        }
        let args = [&[&program[..], &sha256, &self.session], &folders[..]].concat();
        let said = self.transport.run("prepare", &args, MOMENT)?;
        let text = String::from_utf8_lossy(&said.stdout);
        let told = text.lines().filter_map(|line| line.split_once(' ')).collect::<Vec<_>>();
        let first = |key: &str| told.iter().find(|it| it.0 == key).map_or(String::new(), |it| it.1.to_owned());
        let skipped = told.iter().filter(|it| it.0 == "skipped").map(|it| one_line(it.1)).collect::<Vec<_>>();
        let (machine, folder) = (first("machine"), first("folder"));
        if folder.is_empty() {
            let said = [skipped.join("; "), one_line(&said.stderr)].join(" ");
            return Err(Trouble::of_folders(said.trim().to_owned()));
        }
        if !runs_on(&self.agent.triple, &machine) {
            return Err(Trouble::Architecture { machine, triple: self.agent.triple.clone() });
        }
        let agent = format!("{folder}/{program}");
        if first("agent") != "present" {
            self.transport.push(&self.agent.path, &agent, "700")?;
        }
        Ok(Site { folder, skipped, machine, facts: Facts::default(), agent, lock: first("lock") })
    }

    /// Runs `inputs`, inputs one after another in row-major order, and returns their outputs.
    pub fn check(&mut self, model: &Path, inputs: &[f32]) -> Result<Outputs, DeviceError> {
        let work = self.send(model)?;
        let here = Scratch::new("check").map_err(|source| io_error(&std::env::temp_dir(), source))?;
        let (given, made) = (here.0.join("inputs.f32"), here.0.join("outputs.f32"));
        std::fs::write(&given, little_endian(inputs)).map_err(|source| io_error(&given, source))?;
        let checked = self.check_at(&work, &given, &made);
        // A folder that cannot be removed now is removed when the board is reached again.
        let tidied = self.transport.run("remove", &[&work], MOMENT).and_then(|said| said.succeeded());
        let shape = checked?;
        self.noticed(tidied)?;
        let bytes = std::fs::read(&made).map_err(|source| io_error(&made, source))?;
        Ok(Outputs::new(shape, &bytes))
    }

    /// Returns the shape of an output.
    fn check_at(&mut self, work: &str, given: &Path, made: &Path) -> Result<Vec<usize>, DeviceError> {
        let [model, inputs, outputs] = [MODEL, "inputs.f32", "outputs.f32"].map(|name| format!("{work}/{name}"));
        let pushed = self.transport.push(given, &inputs, "600");
        self.noticed(pushed)?;
        let request = Request::check(OsStr::new(&model), OsStr::new(&inputs), OsStr::new(&outputs));
        let answer = self.ask(&request, Duration::ZERO, "")?;
        let Answer::Checked(shape) = answer else { return Err(self.failed("check", unexpected(answer))) };
        let pulled = self.transport.pull(&outputs, made, LARGEST_OUTPUTS);
        self.noticed(pulled)?;
        Ok(shape)
    }

    /// Times every node of `model` over `runs` runs.
    pub fn profile(&mut self, model: &Path, runs: usize) -> Result<Profile, DeviceError> {
        let work = self.send(model)?;
        let request = Request::profile(OsStr::new(&format!("{work}/{MODEL}")), runs);
        match self.ask(&request, Duration::ZERO, &work)? {
            Answer::Profiled(profile) => Ok(profile),
            answer => Err(self.failed("profile", unexpected(answer))),
        }
    }

    /// The board now.
    pub fn facts(&mut self) -> Result<Facts, DeviceError> {
        match self.ask(&Request::facts(), Duration::ZERO, "")? {
            Answer::Facts(facts) => Ok(*facts),
            answer => Err(self.failed("facts", unexpected(answer))),
        }
    }

    /// Removes everything that was ever written to the board, and returns the folders removed.
    pub fn clean(&mut self) -> Result<Vec<String>, DeviceError> {
        self.site = None;
        let folders = self.folders();
        let said = self.transport.run("clean", &folders, MOMENT).and_then(|said| said.succeeded());
        let said = self.noticed(said)?;
        let said = String::from_utf8_lossy(&said);
        Ok(said.lines().filter_map(|line| line.strip_prefix("removed ")).map(one_line).collect())
    }

    /// Folders that may hold something of ours: the user's, then the usual ones.
    fn folders(&self) -> Vec<&str> {
        let usual = usual_folders(self.transport.reach()).iter().copied();
        self.folder.as_deref().into_iter().chain(usual).collect()
    }

    /// Takes a model that our own reader has found sound to a folder of its own.
    fn send(&mut self, model: &Path) -> Result<String, DeviceError> {
        let folder = self.connect()?.folder.clone();
        self.n_sent += 1;
        let work = format!("{folder}/work-{}-{}", self.session, self.n_sent);
        let pushed = self.transport.push(model, &format!("{work}/{MODEL}"), "600");
        self.noticed(pushed)?;
        Ok(work)
    }

    /// Asks the agent, which has the board for itself until it has answered. Removes `work` afterwards.
    fn ask(&mut self, request: &Request, asked: Duration, work: &str) -> Result<Answer, DeviceError> {
        let site = self.connect()?.clone();
        let answer = self.ask_at(&site, request, asked, work, true);
        if answer.is_err() {
            self.site = None; // look at it afresh before it is asked again
        }
        answer
    }

    fn ask_at(
        &self,
        site: &Site,
        request: &Request,
        asked: Duration,
        work: &str,
        alone: bool,
    ) -> Result<Answer, DeviceError> {
        let limit = self.worker.time.saturating_add(asked);
        let mut args = vec![limit.as_secs().max(1).to_string(), work.to_owned(), site.agent.clone()];
        // All of it was text before it became arguments.
        args.extend(request.words(self.worker.memory_bytes, limit).into_iter().map(|it| it.to_string_lossy().into()));
        if alone {
            args.extend(["--lock".into(), site.lock.clone(), "--who".into(), who()]);
        }
        if self.allow_root {
            args.push("--allow-root".into());
        }
        let args = args.iter().map(String::as_str).collect::<Vec<_>>();
        let said = self.transport.run("run", &args, limit + MOMENT).map_err(|trouble| trouble.on(&self.name))?;
        let answer = String::from_utf8_lossy(&said.stdout);
        let greets = answer.starts_with('{');
        match said.status {
            124 => Err(self.failed("run", WorkerError::Late { limit })),
            126 | 127 | 2 if !greets && does_not_start(&said.stderr) => {
                Err(Trouble::DoesNotStart { said: one_line(&said.stderr) }.on(&self.name))
            }
            status => {
                // As a shell tells of signals.
                let status = if 128 < status { status - 128 } else { status << 8 };
                judge(&answer, &said.stderr, ExitStatus::from_raw(status)).map_err(|error| self.failed("run", error))
            }
        }
    }

    fn failed(&self, what: &str, error: WorkerError) -> DeviceError {
        match error {
            WorkerError::Unavailable(obstacle) => Trouble::Obstacle(obstacle).on(&self.name),
            error => device_error(&self.name, what, error),
        }
    }

    /// Passes a result on; after a failure the board is looked at afresh.
    fn noticed<T>(&mut self, result: Result<T, Trouble>) -> Result<T, DeviceError> {
        result.map_err(|trouble| {
            self.site = None;
            trouble.on(&self.name)
        })
    }
}

/// Name of a model on a board.
const MODEL: &str = "model.onnx";

/// Most bytes of outputs that are fetched.
const LARGEST_OUTPUTS: u64 = 64 << 20;

impl Device for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn reach(&self) -> Reach {
        self.transport.reach()
    }

    fn measure(&mut self, model: &Path, protocol: &Protocol) -> Result<Measurement, DeviceError> {
        let info = admit(model, &self.limits)?;
        let work = self.send(model)?;
        let (target, name) = (self.target.clone(), self.name.clone());
        let subject = Subject { target: &target, device: &name, reach: self.reach() };
        let request = Request::measure(OsStr::new(&format!("{work}/{MODEL}")), protocol, subject);
        let answer = self.ask(&request, longest(protocol), &work)?;
        let Answer::Measured(measurement) = answer else { return Err(self.failed("run", unexpected(answer))) };
        if measurement.model_sha256 != info.sha256 {
            let why = format!("{} changed between its check and its run", model.display());
            return Err(DeviceError::Invalid { device: name, why });
        }
        Ok(*measurement)
    }
}

/// Who asks, for those who find the board in use: `user@host`.
fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".into());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}
