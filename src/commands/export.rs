//! `pipeline export`: from architecture and weights to `model.onnx`, and the proof that the runtime
//! computes what was trained.

use anyhow::{Context, Result};
use export::Metadata;
use graph::{Graph, weights::Weights};
use search::{
    space::{SearchSpace, cell::CellSpace},
    train::fit::logits,
};
use serde::{Deserialize, Serialize};

use super::Images;
use crate::{
    cli::StageArgs,
    config::SearchConfig,
    exit::{Exit, Failure},
    on_device,
    receipt::{Architecture, Parity, Probe, Score},
    run_folder::{ARCHITECTURE, CONFIG, MODEL, RunFolder, WEIGHTS, sha256},
    terminal,
};

/// What the export stage found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exported {
    /// Size of the file, in bytes.
    pub bytes: usize,
    /// Agreement of trainer and runtime on validation images.
    pub parity: Parity,
    /// Output for the fixed input.
    pub probe: Probe,
    /// Accuracy of the file on the test part, by the runtime alone.
    pub test: Score,
}

/// File of the export stage's findings.
pub const EXPORTED: &str = "exported.json";

/// Largest difference of a logit that counts as the same network, for logits of up to 1 in size.
const TOLERANCE: f64 = 1e-4;

/// Images of the validation part that trainer and runtime are compared on.
const COMPARED: usize = 32;

/// The command.
pub fn run(args: &StageArgs) -> Result<Exit> {
    let folder = RunFolder::existing(&args.run)?;
    let config = SearchConfig::read(&folder.file(CONFIG))?;
    let exported = export(&folder, &config, &Images::open(&config)?)?;
    if args.json {
        terminal::print(&serde_json::to_string(&exported)?);
    } else {
        let Exported { bytes, parity, test, .. } = &exported;
        terminal::print(&format!("{} ({bytes} bytes)", folder.file(MODEL).display()));
        terminal::print(&format!(
            "runtime and trainer differ by at most {:.1e} on {} images",
            parity.max_difference, parity.images
        ));
        terminal::print(&format!("test accuracy by the runtime {test}"));
        terminal::print(&format!("next: pipeline measure --run {}", args.run.display()));
    }
    Ok(Exit::Ok)
}

/// Writes the model and proves it; a proven model is not written again.
pub fn export(folder: &RunFolder, config: &SearchConfig, images: &Images) -> Result<Exported> {
    if folder.has(MODEL) && folder.has(EXPORTED) {
        return folder.read_json(EXPORTED);
    }
    let architecture: Architecture = folder.read_json(ARCHITECTURE)?;
    let weights = Weights::from_safetensors(&folder.read(WEIGHTS)?)?;
    let graph = CellSpace::default().build(&architecture.cell, &architecture.deployed).map_err(search::Error::from)?;
    let bytes = export::onnx(&graph, &weights, &metadata(folder, config, images)?).context("cannot write the model")?;
    folder.write(MODEL, &bytes)?;
    let exported = prove(folder, &graph, &weights, images, bytes.len())?;
    folder.write_json(EXPORTED, &exported)?;
    folder.log("exported", serde_json::json!({ "bytes": exported.bytes, "parity": exported.parity }));
    Ok(exported)
}

/// Compares trainer and runtime on real images and on the fixed input, and lets the runtime alone
/// take the test.
fn prove(folder: &RunFolder, graph: &Graph, weights: &Weights, images: &Images, bytes: usize) -> Result<Exported> {
    let set = &images.set;
    let worker = on_device::worker()?;
    let model = folder.file(MODEL);
    let compared: Vec<usize> = set.validation.iter().copied().take(COMPARED).collect();
    let batch = data::batch(&set.part, &compared, &set.normalisation, None);
    let found = worker.check(&model, &batch.pixels).context("the runtime cannot run the model")?;
    let expected = logits(graph, weights, batch.pixels, set.part.shape)?;
    let (max_difference, allowed) = compare(&expected, &found.values);
    let parity = Parity { images: compared.len(), max_difference };
    if allowed < max_difference {
        let message = format!(
            "the runtime computes something else than was trained: a logit differs by {max_difference:.2e}, more than \
             {allowed:.0e}; the model in {} must not ship",
            model.display()
        );
        return Err(Failure { exit: Exit::Rejected, message }.into());
    }
    let input = runtime::protocol::probe_input(set.part.image_len());
    let probe = Probe { logits: logits(graph, weights, input, set.part.shape)? };
    let test = runtime_score(&model, &images.source.test()?, &set.normalisation)?;
    Ok(Exported { bytes, parity, probe, test })
}

/// How far a logit of `found` is from that in `expected` at most, and how far it may be: rounding
/// grows with the logits.
pub fn compare(expected: &[f32], found: &[f32]) -> (f64, f64) {
    let size = expected.iter().fold(1.0, |size: f64, it| size.max(f64::from(it.abs())));
    if expected.len() != found.len() {
        return (f64::INFINITY, TOLERANCE * size);
    }
    let differences = expected.iter().zip(found).map(|(a, b)| f64::from((a - b).abs()));
    // What is no number is as far away as anything can be.
    let largest = differences.fold(0.0, |largest: f64, it| largest.max(if it.is_nan() { f64::INFINITY } else { it }));
    (largest, TOLERANCE * size)
}

/// Images that the model file classifies right, asked through the runtime alone.
pub fn runtime_score(model: &std::path::Path, part: &data::Part, normalisation: &data::Normalisation) -> Result<Score> {
    /// Images a request: a few dozen megabytes at most.
    const AT_ONCE: usize = 2_000;
    let worker = on_device::worker()?;
    let n_classes = part.classes.len();
    let all: Vec<usize> = (0..part.len()).collect();
    let mut right = 0;
    for indices in all.chunks(AT_ONCE) {
        let batch = data::batch(part, indices, normalisation, None);
        let outputs = worker.check(model, &batch.pixels).context("the runtime cannot run the model")?;
        let guesses = outputs.values.chunks(n_classes).map(argmax);
        right += guesses.zip(&batch.labels).filter(|&(guess, &label)| guess == label as usize).count();
    }
    Ok(Score { right, of: part.len() })
}

/// Position of the largest value, the first of equals.
fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (idx, value) in values.iter().enumerate() {
        if values[best] < *value {
            best = idx;
        }
    }
    best
}

/// What the file says of itself. Nothing in it depends on when or where it was written.
fn metadata(folder: &RunFolder, config: &SearchConfig, images: &Images) -> Result<Metadata> {
    let architecture: Architecture = folder.read_json(ARCHITECTURE)?;
    let bounds = config.budget()?;
    let entries = [
        ("pipeline.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("pipeline.classes", serde_json::to_string(&images.source.classes)?),
        ("pipeline.normalisation", serde_json::to_string(&images.set.normalisation)?),
        ("pipeline.cell", serde_json::to_string(&architecture.cell)?),
        ("pipeline.scale", serde_json::to_string(&architecture.deployed)?),
        ("pipeline.budget", serde_json::to_string(&bounds)?),
        ("pipeline.target", config.target.clone()),
        ("pipeline.seed", config.seed.to_string()),
        ("pipeline.data", config.data.clone()),
        ("pipeline.data.sha256", images.set.part.sha256()),
        ("pipeline.weights.sha256", sha256(&folder.read(WEIGHTS)?)),
    ];
    Ok(Metadata { entries: entries.map(|(key, value)| (key.to_owned(), value)).into() })
}
