//! The record of a search: every trial, append-only, and whether to go on.
//!
//! A resumed search runs its strategy again from the newest snapshot. What it then proposes is
//! already in the record: such trials are compared with the record and not written twice, so the
//! file reads as if nothing had happened.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use graph::weights::Weights;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use targets::{Budget, Cost};

use crate::{Error, Result, evaluator::Saved, penalty};

/// One architecture and what became of it: one line of `study.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Number of the trial, from 0.
    pub trial: u64,
    /// Strategy that proposed it.
    pub strategy: String,
    /// What it was proposed for.
    pub phase: Phase,
    /// Epoch of the search, from 0.
    pub epoch: usize,
    /// The architecture.
    pub arch: serde_json::Value,
    /// Validation accuracy with shared weights, in `[0, 1]`; absent where its cost ruled it out, or where it was only
    /// predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Epochs that the network was trained for, where it was trained on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Validation accuracy after each of them, where there was more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<f64>,
    /// Cost of the network at its deployed size.
    pub cost: Cost,
    /// What was predicted of a network that was not trained for this trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Predicted>,
    /// What the strategy was told; absent where it was told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
    /// Whether every hard bound is known to hold.
    pub admitted: bool,
}

impl Trial {
    /// A network with shared weights, or one that was not trained: [`Study::record`] numbers it, and says whether every
    /// hard bound holds.
    pub fn new(strategy: &str, phase: Phase, arch: &impl Serialize, accuracy: Option<f64>, cost: Cost) -> Self {
        Self {
            trial: 0,
            strategy: strategy.to_owned(),
            phase,
            epoch: 0,
            arch: serde_json::to_value(arch).expect("an architecture is plain data"),
            accuracy,
            epochs: None,
            curve: Vec::new(),
            cost,
            predicted: None,
            reward: None,
            admitted: false,
        }
    }
}

/// What a model of networks says of one that was not trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Validation accuracy, in `[0, 1]`.
    pub accuracy: f64,
    /// Time to train it, in seconds; absent where no such time is known of any network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_time: Option<f64>,
}

/// What a trial was proposed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// To learn from.
    Explore,
    /// As a candidate for the answer.
    Select,
}

/// Where a search stands.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// Strategy at work.
    pub strategy: &'a str,
    /// What it is doing, in words.
    pub phase: &'a str,
    /// Steps done, and in all, over the whole strategy.
    pub done: u64,
    /// See `done`.
    pub total: u64,
    /// Trials so far.
    pub trials: u64,
    /// The admitted trial of the highest score so far: accuracy, times what soft bounds leave of it.
    pub best: Option<&'a Trial>,
}

/// What a strategy is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Go on.
    Continue,
    /// The deadline is near: answer with what is known.
    WrapUp,
    /// The user wants it to stop now; the run can be resumed.
    Stop,
}

/// Somebody who looks at the progress of a search and may end it.
pub trait Watch {
    /// Called at least once a step.
    fn look(&mut self, progress: &Progress<'_>) -> Signal;

    /// Time this search has been active in earlier sessions, for a deadline in active time.
    fn resumed(&mut self, _active: Duration) {}

    /// Active time so far, earlier sessions included.
    fn active(&self) -> Duration {
        Duration::ZERO
    }
}

/// Watches nothing and never ends a search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn look(&mut self, _: &Progress<'_>) -> Signal {
        Signal::Continue
    }
}

/// The record of a search.
pub struct Study {
    /// What must be met.
    pub budget: Budget,
    watch: Box<dyn Watch>,
    folder: Option<PathBuf>,
    journal: Option<File>,
    trials: Vec<Trial>,
    /// Where each trial's line begins in the file, in bytes.
    starts: Vec<u64>,
    /// Whether time enters decisions, so that a resumed search may propose something else.
    timed: bool,
    /// Trials that the running strategy has proposed; those behind it await being proposed again.
    cursor: usize,
    best: Option<usize>,
}

/// A strategy's own state between two of its epochs.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot<T> {
    trials: usize,
    active_ms: u64,
    steps: u64,
    validated: u64,
    trained_ns: u64,
    state: T,
}

impl Study {
    /// A record that is kept in memory.
    pub fn new(budget: Budget, watch: Box<dyn Watch>) -> Self {
        let (trials, starts) = (Vec::new(), Vec::new());
        Self { budget, watch, folder: None, journal: None, trials, starts, timed: false, cursor: 0, best: None }
    }

    /// The record in `folder/study.jsonl`; what an earlier session wrote there is taken up.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else than trials. A last line that
    /// was cut off by a crash is dropped.
    pub fn open(folder: &Path, budget: Budget, watch: Box<dyn Watch>) -> Result<Self> {
        let path = folder.join("study.jsonl");
        let at = |error: std::io::Error| Error::File { path: path.clone(), error };
        let mut journal = OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(at)?;
        let text = fs::read_to_string(&path).map_err(at)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            journal.set_len(whole as u64).map_err(at)?;
            journal.seek(std::io::SeekFrom::End(0)).map_err(at)?;
        }
        let mut study = Self::new(budget, watch);
        let mut start = 0;
        for (number, line) in text[..whole].lines().enumerate() {
            let trial = serde_json::from_str(line).map_err(|error| Error::Study {
                path: path.clone(),
                line: number + 1,
                error: error.to_string(),
            })?;
            study.trials.push(trial);
            study.starts.push(start);
            start += line.len() as u64 + 1;
        }
        study.folder = Some(folder.to_owned());
        study.journal = Some(journal);
        Ok(study)
    }

    /// Says that time enters decisions: a deadline, or measurements. What an earlier session
    /// proposed after its last snapshot is then replaced where the resumed one proposes otherwise.
    pub fn allow_other_proposals(&mut self) {
        self.timed = true;
    }

    /// Has somebody else look from now on.
    pub fn watch(&mut self, watch: Box<dyn Watch>) {
        self.watch = watch;
    }

    /// Trials proposed so far, oldest first.
    pub fn trials(&self) -> &[Trial] {
        &self.trials[..self.cursor]
    }

    /// Number of the next trial.
    pub fn next(&self) -> u64 {
        self.cursor as u64
    }

    /// Whether the next trial is on record, as one of `strategy`'s.
    pub fn awaits(&self, strategy: &str) -> bool {
        self.trials.get(self.cursor).is_some_and(|known| known.strategy == strategy)
    }

    /// What an earlier session found out about the trial that comes `ahead` trials after the next, if it is this one.
    pub fn recall(&self, ahead: usize, strategy: &str, arch: &serde_json::Value, epochs: usize) -> Option<&Trial> {
        let known = self.trials.get(self.cursor + ahead)?;
        let is_same = known.strategy == strategy && known.arch == *arch;
        // One that cost ruled out was not trained.
        (is_same && known.epochs.is_none_or(|it| it == epochs)).then_some(known)
    }

    /// Appends a trial, numbered and held against the hard bounds by the study.
    ///
    /// # Errors
    /// The file cannot be written, or a resumed search proposes something else than the record
    /// says it did.
    pub fn record(&mut self, mut trial: Trial) -> Result<()> {
        trial.trial = self.next();
        trial.admitted = self.budget.admits(&trial.cost);
        let known = self.trials.get(self.cursor);
        let is_same = known.is_some_and(|known| {
            let both_predicted = known.predicted.is_some() == trial.predicted.is_some();
            known.arch == trial.arch && known.strategy == trial.strategy && both_predicted
        });
        if known.is_some() && !is_same {
            if !self.timed {
                return Err(Error::Diverged { trial: trial.trial });
            }
            self.forget_the_rest()?;
        }
        if !is_same {
            self.append(trial)?;
        }
        self.consider(self.cursor);
        self.cursor += 1;
        Ok(())
    }

    fn append(&mut self, trial: Trial) -> Result<()> {
        if let (Some(journal), Some(folder)) = (&mut self.journal, &self.folder) {
            let at = |error| Error::File { path: folder.join("study.jsonl"), error };
            let mut line = serde_json::to_string(&trial).map_err(|error| at(error.into()))?;
            line.push('\n');
            self.starts.push(journal.metadata().map_err(at)?.len());
            journal.write_all(line.as_bytes()).map_err(at)?;
            journal.sync_data().map_err(at)?;
        }
        self.trials.push(trial);
        Ok(())
    }

    /// Drops the recorded trials that are still to be proposed.
    ///
    /// Snapshots that count them are set back before that: killed in between, a run has snapshots that are older than its
    /// record, as nearly always. The other way round it could not be resumed.
    fn forget_the_rest(&mut self) -> Result<()> {
        self.set_snapshots_back()?;
        if let (Some(journal), Some(folder), Some(&start)) = (&self.journal, &self.folder, self.starts.get(self.cursor))
        {
            journal.set_len(start).map_err(|error| Error::File { path: folder.join("study.jsonl"), error })?;
        }
        self.starts.truncate(self.cursor);
        self.trials.truncate(self.cursor);
        Ok(())
    }

    /// Has no snapshot count trials that are still to be proposed. What a strategy has learned from them is dropped with
    /// them; a state that knows nothing of them goes on from the trial before.
    fn set_snapshots_back(&self) -> Result<()> {
        let Some(folder) = self.folder.as_ref().map(|it| it.join("checkpoints")) else { return Ok(()) };
        let at = |path: &Path, error| Error::File { path: path.to_owned(), error };
        let files = match fs::read_dir(&folder) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(&folder, error)),
        };
        for file in files {
            let path = file.map_err(|error| at(&folder, error))?.path();
            if path.extension().is_none_or(|it| it != "safetensors") {
                continue;
            }
            let bytes = fs::read(&path).map_err(|error| at(&path, error))?;
            // Checkpoints of trainings lie here as well.
            let Ok((weights, Some(about))) = Weights::from_safetensors_about(&bytes) else { continue };
            let Ok(mut snapshot) = serde_json::from_str::<Snapshot<serde_json::Value>>(&about) else { continue };
            if snapshot.trials <= self.cursor {
                continue;
            }
            let counted = &self.trials[self.cursor..snapshot.trials.min(self.trials.len())];
            let is_own = |trial: &Trial| path.file_stem().is_some_and(|key| key == trial.strategy.as_str());
            if !snapshot.state.is_null() && counted.iter().any(is_own) {
                fs::remove_file(&path).map_err(|error| at(&path, error))?;
                continue;
            }
            snapshot.trials = self.cursor;
            let about = serde_json::to_string(&snapshot).map_err(|error| at(&path, error.into()))?;
            write_whole(&path, &weights.to_safetensors_about(Some(&about))?)?;
        }
        Ok(())
    }

    fn consider(&mut self, idx: usize) {
        let trial = &self.trials[idx];
        let score = |it: &Trial| Some(it.accuracy? * penalty::soft(&self.budget, &it.cost));
        let better = self.best.is_none_or(|best| score(&self.trials[best]) < score(trial));
        if trial.admitted && trial.accuracy.is_some() && better {
            self.best = Some(idx);
        }
    }

    /// Reports progress; says what to do next.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the search is to stop now.
    pub fn look(&mut self, strategy: &str, phase: &str, done: u64, total: u64) -> Result<Signal> {
        let best = self.best.map(|idx| &self.trials[idx]);
        let progress = Progress { strategy, phase, done, total, trials: self.cursor as u64, best };
        match self.watch.look(&progress) {
            Signal::Stop => Err(Error::Interrupted),
            signal @ (Signal::Continue | Signal::WrapUp) => Ok(signal),
        }
    }

    /// Keeps the strategy's and the evaluator's state, so that a crash loses no more than what
    /// comes after. In memory there is nothing to lose.
    pub fn snapshot(&self, key: &str, state: &impl Serialize, saved: &Saved) -> Result<()> {
        let Some(path) = self.snapshot_path(key) else { return Ok(()) };
        let snapshot = Snapshot {
            trials: self.cursor,
            active_ms: self.watch.active().as_millis() as u64,
            steps: saved.steps,
            validated: saved.validated,
            trained_ns: saved.trained.as_nanos() as u64,
            state,
        };
        let about = serde_json::to_string(&snapshot)
            .map_err(|error| Error::File { path: path.clone(), error: error.into() })?;
        write_whole(&path, &saved.weights.to_safetensors_about(Some(&about))?)
    }

    /// The newest snapshot under `key`, with this study set back to the trial it was taken at.
    pub fn resume<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<(T, Saved)>> {
        let Some((snapshot, saved)) = self.read_snapshot(key)? else { return Ok(None) };
        if snapshot.trials > self.trials.len() {
            return Err(Error::Diverged { trial: self.trials.len() as u64 });
        }
        while self.cursor < snapshot.trials {
            self.consider(self.cursor);
            self.cursor += 1;
        }
        Ok(Some((snapshot.state, saved)))
    }

    /// The evaluator's state in the newest snapshot under `key`, and after how many of the recorded trials it was taken. For
    /// a strategy that keeps no state of its own and proposes everything again.
    pub fn saved(&mut self, key: &str) -> Result<Option<(u64, Saved)>> {
        let read = self.read_snapshot::<serde::de::IgnoredAny>(key)?;
        Ok(read.map(|(snapshot, saved)| (snapshot.trials.min(self.trials.len()) as u64, saved)))
    }

    fn read_snapshot<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<(Snapshot<T>, Saved)>> {
        let Some(path) = self.snapshot_path(key) else { return Ok(None) };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::File { path, error }),
        };
        let (weights, about) = Weights::from_safetensors_about(&bytes)?;
        let snapshot: Snapshot<T> = serde_json::from_str(about.as_deref().unwrap_or_default())
            .map_err(|error| Error::File { path: path.clone(), error: error.into() })?;
        self.watch.resumed(Duration::from_millis(snapshot.active_ms));
        let saved = Saved {
            weights,
            steps: snapshot.steps,
            validated: snapshot.validated,
            trained: Duration::from_nanos(snapshot.trained_ns),
        };
        Ok(Some((snapshot, saved)))
    }

    fn snapshot_path(&self, key: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("checkpoints").join(format!("{key}.safetensors")))
    }

    /// Keeps how long `strategy` has been active, for [`Study::resume_time`]. Snapshots say it as well; a strategy that
    /// is resumed from its record alone takes none, and lines of the record must not depend on the clock.
    pub fn keep_time(&self, strategy: &str) -> Result<()> {
        let Some(path) = self.time_path(strategy) else { return Ok(()) };
        write_whole(&path, self.watch.active().as_millis().to_string().as_bytes())
    }

    /// Tells whoever watches how long `strategy` was active in earlier sessions.
    pub fn resume_time(&mut self, strategy: &str) -> Result<()> {
        let Some(path) = self.time_path(strategy) else { return Ok(()) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::File { path, error }),
        };
        let active = text.parse().map_err(|error| Error::File { path, error: std::io::Error::other(error) })?;
        self.watch.resumed(Duration::from_millis(active));
        Ok(())
    }

    fn time_path(&self, strategy: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("checkpoints").join(format!("{strategy}.active-ms")))
    }
}

/// Writes a file under a temporary name, flushes it and renames it: there is never half of it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let at = |error| Error::File { path: path.to_owned(), error };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(at)?;
    // A temporary file is its owner's alone; what it becomes is an ordinary file.
    let ordinary = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(ordinary).tempfile_in(folder).map_err(at)?;
    file.write_all(bytes).map_err(at)?;
    file.as_file().sync_all().map_err(at)?;
    file.persist(path).map_err(|error| at(error.error))?;
    Ok(())
}
