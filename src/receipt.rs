//! What a finished run says of itself: `receipt.json`, and the other small files of a run folder.

use std::collections::BTreeMap;

use ::train::fit::Epoch;
use anyhow::Result;
use search::space::{Scale, cells::AnyCell};
use serde::{Deserialize, Serialize};
use targets::{
    Allow, Board, Bound, Conditions, Cost, Counts, Figure, Judgement, Protocol, Runtime, Summary,
    measurement::Measurement,
};

use crate::{
    run_folder::{ARCHITECTURE, RunFolder, TRAINING},
    score::Score,
};

/// `architecture.json`: the outcome of the search stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// Strategy that found it.
    pub strategy: String,
    /// The chosen cell.
    pub cell: AnyCell,
    /// Size of the network that was trained while searching.
    pub proxy: Scale,
    /// Size of the network that is deployed.
    pub deployed: Scale,
    /// Accuracy on the validation part while searching, in `[0, 1]`, with shared weights or after a short training: for
    /// choosing, not for quoting.
    #[serde(alias = "shared_accuracy")]
    pub search_accuracy: f64,
    /// Cost of the deployed network as known when it was chosen.
    pub cost: Cost,
    /// Epochs of the final training: those of the configuration, or fewer to keep the deadline.
    pub epochs: usize,
    /// What random search found with the same effort.
    pub baseline: Option<Baseline>,
}

/// The row that the search is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Strategy.
    pub strategy: String,
    /// Its cell; absent when it found none within the budget.
    pub cell: Option<AnyCell>,
    /// Accuracy on the validation part while searching, in `[0, 1]`, with its own shared weights or after a short
    /// training.
    #[serde(alias = "shared_accuracy")]
    pub search_accuracy: Option<f64>,
    /// Cost of its deployed network.
    pub cost: Option<Cost>,
    /// Whether this is what the run was asked for: what ships was its rival, and did better on the validation part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_asked_for: bool,
}

impl Architecture {
    /// What is to ship: what the search stage chose, or its rival where the training says so.
    pub fn read(folder: &RunFolder) -> Result<Self> {
        let searched: Self = folder.read_json(ARCHITECTURE)?;
        if !folder.has(TRAINING) {
            return Ok(searched);
        }
        let training: Training = folder.read_json(TRAINING)?;
        Ok(match training.ships {
            Some(name) if name != searched.strategy => searched.with_rival().unwrap_or(searched),
            Some(_) | None => searched,
        })
    }

    /// The same with the baseline's network in the place of the chosen one; `None` where it has none.
    pub fn with_rival(&self) -> Option<Self> {
        let rival = self.baseline.as_ref()?;
        let asked_for = Baseline {
            strategy: self.strategy.clone(),
            cell: Some(self.cell.clone()),
            search_accuracy: Some(self.search_accuracy),
            cost: Some(self.cost.clone()),
            was_asked_for: !rival.was_asked_for,
        };
        Some(Self {
            strategy: rival.strategy.clone(),
            cell: rival.cell.clone()?,
            search_accuracy: rival.search_accuracy?,
            cost: rival.cost.clone()?,
            baseline: Some(asked_for),
            ..self.clone()
        })
    }
}

/// `training.json`: the outcome of the training stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The chosen network.
    pub chosen: Trained,
    /// The baseline's network, trained by the same recipe; absent when it was not trained.
    pub baseline: Option<Trained>,
    /// Strategy whose network is the chosen one; absent where there was no choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ships: Option<String>,
}

/// One network trained to the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Every epoch.
    pub curve: Vec<Epoch>,
    /// Epoch whose weights were kept, from 1.
    pub best: usize,
    /// Accuracy of the kept weights on the validation part.
    pub validation: Score,
    /// Accuracy of the kept weights on the test part.
    pub test: Score,
    /// Wall-clock time of the optimizer steps, in seconds.
    pub seconds: f64,
}

/// `receipt.json`: everything that is promised of `model.onnx`, and how each figure came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Version of this file's layout.
    pub format: u32,
    /// Program, engine and library versions.
    pub versions: BTreeMap<String, String>,
    /// When the receipt was written: seconds since 1970, UTC.
    pub written_at: u64,
    /// Name of the target.
    pub target: String,
    /// What the target is, in words.
    pub target_title: String,
    /// The board that measured; absent where nothing was measured.
    pub device: Option<String>,
    /// Whether the budget holds.
    pub outcome: Outcome,
    /// Each bound with its figure.
    pub bounds: Vec<Judged>,
    /// Every cost known.
    pub cost: Cost,
    /// The chosen cell.
    pub cell: AnyCell,
    /// Size of the deployed network.
    pub scale: Scale,
    /// Accuracies.
    pub accuracy: Accuracy,
    /// The row that the search is compared with.
    pub baseline: Option<BaselineRow>,
    /// The data.
    pub data: DataCard,
    /// The run's seed.
    pub seed: u64,
    /// Strategy.
    pub strategy: String,
    /// Trials of the strategy, and of the baseline.
    pub trials: BTreeMap<String, u64>,
    /// SHA-256 of the files that ship or that the result depends on, by file name.
    pub files: BTreeMap<String, String>,
    /// Agreement of trainer and runtime.
    pub parity: Parity,
    /// What a fixed input must give: for a check without data.
    pub probe: Probe,
    /// What that measurement says of latency; absent where nothing was measured, and in receipts older
    /// than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<MeasuredLatency>,
    /// The measurement on the device, with every sample; absent where nothing was measured.
    pub measurement: Option<Measurement>,
    /// The program that runs the model on the board, part of its flash and memory; absent where the model
    /// alone counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Instructions of the model file for the target's processor, where they were counted in place of a
    /// measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// What estimates rest on; absent where they rest on the target's own tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibrated>,
    /// Command that repeats the run.
    pub repeat: String,
}

/// The calibration that estimates rest on; the whole of it is in `calibration.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// The board that was measured.
    pub device: String,
    /// Networks measured on it.
    pub networks: usize,
    /// When: seconds since 1970, UTC.
    pub taken_at: u64,
    /// Engine and its version.
    pub engine: String,
    /// SHA-256 of the file in the run folder.
    pub sha256: String,
}

/// A measured latency with what it holds for: all that a reader of the figure should see beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredLatency {
    /// Percentile that is promised, 0 to 1.
    pub percentile: f64,
    /// Latency at that percentile with its block-bootstrap 95 % interval, in seconds.
    pub figure: Figure,
    /// What all samples say, in seconds.
    pub distribution: Summary,
    /// Median of each block, in seconds, in the order taken.
    pub block_medians: Vec<f64>,
    /// The board.
    pub board: Board,
    /// [`Board::fingerprint`]: measurements with the same may be compared.
    pub fingerprint: String,
    /// SHA-256 of the model file, in hexadecimal.
    pub model_sha256: String,
    /// Engine and its version.
    pub engine: String,
    /// Version of the agent.
    pub agent: String,
    /// SHA-256 of the agent's program, in hexadecimal; empty where it is not known.
    pub agent_sha256: String,
    /// How it was timed.
    pub protocol: Protocol,
    /// The machine just before.
    pub before: Conditions,
    /// The machine just after.
    pub after: Conditions,
    /// What must be said beside the figure: rules waived, conditions unknown, samples missing.
    pub notes: Vec<String>,
}

impl MeasuredLatency {
    /// What `measurement` says; `None` where nothing was timed, or on an emulator.
    pub fn of(measurement: &Measurement, percentile: f64, allow: &Allow) -> Option<Self> {
        let board = Board::of(measurement);
        Some(Self {
            percentile,
            figure: measurement.figure(percentile)?,
            distribution: measurement.summary()?,
            block_medians: measurement.block_medians(),
            fingerprint: board.fingerprint(),
            board,
            model_sha256: measurement.model_sha256.clone(),
            engine: measurement.engine.clone(),
            agent: measurement.agent.clone(),
            agent_sha256: measurement.agent_sha256.clone(),
            protocol: measurement.protocol.clone(),
            before: measurement.before.clone(),
            after: measurement.after.clone(),
            notes: measurement.notes(allow).iter().map(ToString::to_string).collect(),
        })
    }
}

/// Whether a budget holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every hard bound is met.
    Within,
    /// A hard bound is broken.
    Over,
    /// The measurement cannot tell.
    CannotTell,
}

/// A bound and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The bound.
    #[serde(flatten)]
    pub bound: Bound,
    /// Where the figure lies.
    pub judgement: Judgement,
}

/// Accuracies of one model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// On the validation part: what the checkpoint was chosen by.
    pub validation: Score,
    /// On the test part, in training's arithmetic.
    pub test: Score,
    /// On the test part, by the shipped file in the runtime.
    pub test_by_runtime: Score,
}

/// The baseline with its accuracies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineRow {
    /// What it found.
    #[serde(flatten)]
    pub baseline: Baseline,
    /// Its network trained by the same recipe; absent when it was not trained.
    pub validation: Option<Score>,
    /// As `validation`, on the test part.
    pub test: Option<Score>,
}

/// The data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataCard {
    /// Name or path as given.
    pub name: String,
    /// SHA-256 over the training part.
    pub sha256: String,
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
    /// Class names.
    pub classes: Vec<String>,
    /// Images, clips or segments of text that weights learned from.
    pub train: usize,
    /// Those that choices were made by.
    pub validation: usize,
    /// Images, clips or words that only the final score was taken on.
    pub test: usize,
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
}

/// Outputs of the trained network against those of the shipped file in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parity {
    /// Images compared.
    pub images: usize,
    /// Largest absolute difference of a logit.
    pub max_difference: f64,
}

/// What the runtime's fixed input ([`runtime::protocol::probe_input`]) must give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Logits of the trained network, in the order of the model's output: all of them, or of many evenly spaced ones.
    pub logits: Vec<f32>,
}

impl Probe {
    /// Logits kept at most.
    const MOST: usize = 4_096;

    /// What is kept of an answer: all of it, or every nth value.
    pub fn of(answer: &[f32]) -> Vec<f32> {
        answer.iter().copied().step_by(answer.len().div_ceil(Self::MOST).max(1)).collect()
    }
}
