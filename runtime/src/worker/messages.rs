//! What is said between the side that asks and the agent: requests as arguments, answers as JSON lines.

use std::ffi::{OsStr, OsString};
use std::process::ExitStatus;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use targets::measurement::{Measurement, Protocol};

use super::process::{in_words, last_words};
use super::{Counted, Obstacle, Profile, WorkerError};
use crate::facts::Facts;
use crate::protocol::Subject;

/// Version of the messages: raised whenever either side would misread the other.
pub(crate) const SPEAKS: u32 = 2;

/// The first line of every answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// [`SPEAKS`] of the agent. First, so that it can be told whatever follows.
    pub(super) speaks: u32,
    pub(super) agent: String,
    pub(super) engine: String,
}

/// The second line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Measured(Box<Measurement>),
    /// Shape of each output; the numbers are in the file that was asked for.
    Checked(Vec<usize>),
    Profiled(Profile),
    Counted(Counted),
    Facts(Box<Facts>),
    /// The folder that was removed.
    Cleaned(String),
    Refused(String),
    Unavailable(Obstacle),
}

/// A request as the agent's arguments; see [`super::serve`].
pub(crate) struct Request(Vec<OsString>);

impl Request {
    pub(crate) fn measure(model: &OsStr, protocol: &Protocol, subject: Subject) -> Self {
        let json = |value: Result<String, serde_json::Error>| value.expect("plain values have a JSON form");
        Self::new("measure", &[model])
            .option("--protocol", json(serde_json::to_string(protocol)))
            .option("--target", subject.target)
            .option("--device", subject.device)
            .option("--reach", json(serde_json::to_string(&subject.reach)))
    }

    pub(crate) fn check(model: &OsStr, inputs: &OsStr, outputs: &OsStr) -> Self {
        Self::new("check", &[model]).option("--inputs", inputs).option("--outputs", outputs)
    }

    pub(crate) fn stream(model: &OsStr, inputs: &OsStr, outputs: &OsStr) -> Self {
        Self::new("stream", &[model]).option("--inputs", inputs).option("--outputs", outputs)
    }

    pub(crate) fn profile(model: &OsStr, runs: usize) -> Self {
        Self::new("profile", &[model]).option("--runs", runs.to_string())
    }

    pub(crate) fn count(model: &OsStr) -> Self {
        Self::new("count", &[model])
    }

    pub(crate) fn facts() -> Self {
        Self::new("facts", &[])
    }

    /// The arguments, with the limits that the agent sets for itself.
    pub(crate) fn words(&self, memory_bytes: u64, time: Duration) -> Vec<OsString> {
        let mut words = self.0.clone();
        words.extend(["--memory".into(), memory_bytes.to_string().into()]);
        words.extend(["--cpu-seconds".into(), time.as_secs().max(1).to_string().into()]);
        words
    }

    fn new(verb: &str, operands: &[&OsStr]) -> Self {
        Self([OsStr::new(verb)].into_iter().chain(operands.iter().copied()).map(OsStr::to_owned).collect())
    }

    fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.extend([name.into(), value.as_ref().to_owned()]);
        self
    }
}

/// Time that a measurement may take by its own protocol.
pub(crate) fn longest(protocol: &Protocol) -> Duration {
    Duration::from_millis(protocol.warmup_limit_ms.saturating_add(protocol.time_limit_ms))
}

/// What a process that has ended came to, from what it printed and how it ended.
pub(crate) fn judge(answer: &str, words: &str, status: ExitStatus) -> Result<Answer, WorkerError> {
    match parse(answer) {
        Ok(Answer::Refused(why)) => Err(WorkerError::Refused(why)),
        Ok(Answer::Unavailable(obstacle)) => Err(WorkerError::Unavailable(obstacle)),
        Ok(answer) if status.success() => Ok(answer),
        // Another version may end as it likes: what it speaks tells more than how it ended.
        Err(Unreadable::Version(why)) => Err(WorkerError::Speech(why)),
        Err(Unreadable::Words(why)) if status.success() => Err(WorkerError::Speech(why)),
        Ok(_) | Err(Unreadable::Words(_)) => {
            let said = last_words(words);
            Err(match status.code() {
                Some(status @ (2 | 5)) => WorkerError::Agent { status, said },
                Some(_) | None => WorkerError::Died { how: in_words(status), said },
            })
        }
    }
}

/// Why an answer cannot be read.
enum Unreadable {
    Version(String),
    Words(String),
}

fn parse(text: &str) -> Result<Answer, Unreadable> {
    let words = |why: String| Unreadable::Words(why);
    let mut lines = text.lines();
    let hello = lines.next().ok_or_else(|| words("it said nothing".into()))?;
    let hello: Hello = serde_json::from_str(hello).map_err(|error| words(format!("its greeting is {error}")))?;
    if hello.speaks != SPEAKS {
        return Err(Unreadable::Version(format!("it speaks version {}, not {SPEAKS}", hello.speaks)));
    }
    let answer = lines.next().ok_or_else(|| words("it gave no answer".into()))?;
    serde_json::from_str(answer).map_err(|error| words(format!("its answer is {error}")))
}

/// An answer to another question.
pub(crate) fn unexpected(answer: Answer) -> WorkerError {
    WorkerError::Speech(match answer {
        Answer::Measured(_) => "a measurement was not asked for".into(),
        Answer::Checked(_) => "outputs were not asked for".into(),
        Answer::Profiled(_) => "a profile was not asked for".into(),
        Answer::Counted(_) => "a count was not asked for".into(),
        Answer::Facts(_) => "facts were not asked for".into(),
        Answer::Cleaned(_) => "nothing was to be removed".into(),
        Answer::Refused(why) => why,
        Answer::Unavailable(obstacle) => obstacle.to_string(),
    })
}
