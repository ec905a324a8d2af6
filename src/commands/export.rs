//! `pipeline export`: from architecture and weights to `model.onnx`, and the proof that the runtime
//! computes what was trained.

use std::{borrow::Cow, path::Path};

use ::data::{Tally, Task};
use ::train::{TrainingSet, fit::logits};
use anyhow::{Context, Result};
use export::{Lowering, Metadata};
use graph::{Graph, weights::Weights};
use search::space::{Scale, front_end};
use serde::{Deserialize, Serialize};
use targets::Target;

use super::Images;
use crate::{
    cli::ExportArgs,
    config::SearchConfig,
    devices,
    exit::{Exit, Failure},
    on_device,
    receipt::{Architecture, Parity, Probe},
    run_folder::{CONFIG, MODEL, RECEIPT, RunFolder, WEIGHTS, sha256},
    score::{Score, noun},
    terminal::{self, say},
    tune::{Tried, Tuned, tune},
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
    /// How the forms of its operations were chosen, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned: Option<Tuned>,
}

/// File of the export stage's findings.
pub const EXPORTED: &str = "exported.json";

/// Largest difference of a logit that counts as the same network, for logits of up to 1 in size.
const TOLERANCE: f64 = 1e-4;

/// Images of the validation part that trainer and runtime are compared on.
const COMPARED: usize = 32;

/// The same of a network that has logits for every pixel.
const COMPARED_MAPS: usize = 4;

/// The command.
pub fn run(args: &ExportArgs) -> Result<Exit> {
    let folder = RunFolder::existing(&args.run)?;
    let config = SearchConfig::read(&folder.file(CONFIG))?;
    let images = Images::open(&config)?;
    let exported = match args.tune {
        true => export_tuned(&folder, &config, &images, &args.device)?,
        false => export(&folder, &config, &images)?,
    };
    if args.json {
        terminal::print(&serde_json::to_string(&exported)?);
    } else {
        let Exported { bytes, parity, test, tuned, .. } = &exported;
        tuned.iter().for_each(show);
        terminal::print(&format!("{} ({bytes} bytes)", folder.file(MODEL).display()));
        terminal::print(&format!(
            "runtime and trainer differ by at most {:.1e} on {} {}",
            parity.max_difference,
            parity.images,
            noun(&Architecture::read(&folder)?.deployed)
        ));
        terminal::print(&format!("test {} by the runtime {test}", test.measure()));
        terminal::print(&format!("next: pipeline measure --run {}", args.run.display()));
    }
    Ok(Exit::Ok)
}

/// Which forms were tried, and what the chosen ones gained.
fn show(tuned: &Tuned) {
    for Tried { forms, seconds, time_ratio, range: (low, high), .. } in &tuned.tried {
        let time = targets::Metric::Latency.format(*seconds);
        terminal::print(&format!(
            "{forms:<46} {time:>9} of CPU time, {time_ratio:.3} ({low:.3} to {high:.3}) of plain"
        ));
    }
    let Tuned { chosen, time_ratio, device, noise, .. } = tuned;
    terminal::print(&match chosen == &Lowering::default().to_string() {
        true => format!("kept plain: nothing was faster on {device} by more than noise ({:.1} %)", 100.0 * noise),
        false => format!("chose {chosen}: {:.1} % less CPU time on {device}", 100.0 * (1.0 - time_ratio)),
    });
}

/// Writes the model and proves it; a proven model is not written again.
pub fn export(folder: &RunFolder, config: &SearchConfig, images: &Images) -> Result<Exported> {
    if folder.has(MODEL) && folder.has(EXPORTED) {
        return folder.read_json(EXPORTED);
    }
    let (graph, weights) = trained(folder, images)?;
    write(folder, &graph, &weights, &metadata(folder, config, images)?, images, None)
}

/// Writes the model in the forms that are fastest on the device that `device` names, and proves it.
fn export_tuned(folder: &RunFolder, config: &SearchConfig, images: &Images, device: &str) -> Result<Exported> {
    let mut device = devices::open(device, &Target::find(&config.target)?, config.agent.as_deref())?;
    let (graph, weights) = trained(folder, images)?;
    let metadata = metadata(folder, config, images)?;
    let file = |lowering| export::onnx_as(&graph, &weights, &metadata, lowering).context("cannot write the model");
    let tuned = tune(device.as_mut(), &graph::fold::shipped(&graph), file)?;
    let had_receipt = folder.has(RECEIPT);
    let exported = write(folder, &graph, &weights, &metadata, images, Some(tuned))?;
    if had_receipt {
        say("the receipt is of the model before: write it anew with pipeline measure --run");
    }
    Ok(exported)
}

/// The network as it is deployed, with what was trained and what was given.
fn trained(folder: &RunFolder, images: &Images) -> Result<(Graph, Weights)> {
    let architecture = Architecture::read(folder)?;
    let mut weights = Weights::from_safetensors(&folder.read(WEIGHTS)?)?;
    if let Some(front_end) = &architecture.deployed.front_end {
        weights.tensors.extend(front_end::weights(front_end, &images.set.normalisation).tensors);
    }
    let graph = architecture.cell.build(&architecture.deployed).map_err(search::Error::from)?;
    Ok((graph, weights))
}

fn write(
    folder: &RunFolder,
    graph: &Graph,
    weights: &Weights,
    metadata: &Metadata,
    images: &Images,
    tuned: Option<(Lowering, Tuned)>,
) -> Result<Exported> {
    let lowering = tuned.as_ref().map(|(lowering, _)| *lowering).unwrap_or_default();
    let mut metadata = metadata.clone();
    if lowering != Lowering::default() {
        metadata.entries.insert("pipeline.lowering".to_owned(), lowering.to_string());
    }
    let bytes = export::onnx_as(graph, weights, &metadata, lowering).context("cannot write the model")?;
    folder.write(MODEL, &bytes)?;
    let exported =
        Exported { tuned: tuned.map(|(_, tuned)| tuned), ..prove(folder, graph, weights, images, bytes.len())? };
    folder.write_json(EXPORTED, &exported)?;
    let about =
        serde_json::json!({ "bytes": exported.bytes, "parity": exported.parity, "lowering": lowering.to_string() });
    folder.log("exported", about);
    Ok(exported)
}

/// Compares trainer and runtime on real images and on the fixed input, and lets the runtime alone
/// take the test.
fn prove(folder: &RunFolder, graph: &Graph, weights: &Weights, images: &Images, bytes: usize) -> Result<Exported> {
    let set = &images.set;
    let model = folder.file(MODEL);
    let parity = parity(&model, graph, weights, set)?;
    let shape = set.part.deployed_shape();
    let answer = match set.part.task {
        Task::Classification | Task::Segmentation => {
            logits(graph, weights, runtime::protocol::probe_input(shape.iter().product()), shape)?
        }
        Task::Language => ::train::recurrent::logits(graph, weights, &probe_words(set.part.classes.len()))?,
    };
    let probe = Probe { logits: Probe::of(&answer) };
    let test = runtime_score(&model, graph, &images.source.test()?, &set.normalisation)?;
    Ok(Exported { bytes, parity, probe, test, tuned: None })
}

/// The fixed input of language models: words all over the vocabulary, read one after the other.
fn probe_words(n_words: usize) -> Vec<u32> {
    /// A prime: of 16 words and more no two are the same, but where their number is a multiple of it.
    const STRIDE: usize = 7_919;
    (0..16).map(|nth| (nth * STRIDE % n_words.max(1)) as u32).collect()
}

/// What the model file of `graph` answers to the fixed input of its task.
pub fn fixed_answer(model: &Path, graph: &Graph, scale: &Scale) -> Result<Vec<f32>> {
    let worker = on_device::worker()?;
    let outputs = match scale.task {
        Task::Classification | Task::Segmentation => {
            worker.check(model, &runtime::protocol::probe_input(scale.reads().iter().product()))
        }
        Task::Language => {
            let inputs: Vec<f32> = probe_words(scale.classes).into_iter().map(|word| word as f32).collect();
            worker.stream(model, &vec![0.0; n_remembered(graph)], &inputs).map(|(outputs, _)| outputs)
        }
    };
    Ok(outputs.context("the runtime cannot run the model")?.values)
}

/// Compares trainer and runtime on real images, or words, of the validation part.
///
/// # Errors
/// A logit differs by more than rounding explains.
pub fn parity(model: &Path, graph: &Graph, weights: &Weights, set: &TrainingSet) -> Result<Parity> {
    let (images, expected, found) = match set.part.task {
        Task::Classification | Task::Segmentation => of_images(model, graph, weights, set)?,
        Task::Language => of_words(model, graph, weights, set)?,
    };
    let (max_difference, allowed) = compare(&expected, &found);
    let parity = Parity { images, max_difference };
    if allowed < max_difference {
        let message = format!(
            "the runtime computes something else than was trained: a logit differs by {max_difference:.2e}, more than \
             {allowed:.0e}; the model in {} must not ship",
            model.display()
        );
        return Err(Failure { exit: Exit::Rejected, message }.into());
    }
    Ok(parity)
}

/// Images compared, and the logits of trainer and runtime.
fn of_images(model: &Path, graph: &Graph, weights: &Weights, set: &TrainingSet) -> Result<(usize, Vec<f32>, Vec<f32>)> {
    let worker = on_device::worker()?;
    let n_compared = if set.part.places() == 1 { COMPARED } else { COMPARED_MAPS };
    let compared: Vec<usize> = set.validation.iter().copied().take(n_compared).collect();
    let batch = data::deployed_batch(&set.part, &compared, &set.normalisation);
    let found = worker.check(model, &batch.pixels).context("the runtime cannot run the model")?;
    let expected = logits(graph, weights, batch.pixels, set.part.deployed_shape())?;
    Ok((compared.len(), expected, found.values))
}

/// The same of words, one after the other: the runtime is brought what it remembered of those before.
fn of_words(model: &Path, graph: &Graph, weights: &Weights, set: &TrainingSet) -> Result<(usize, Vec<f32>, Vec<f32>)> {
    let text = set.part.text.as_ref().context("a language model reads text")?;
    let first = set.validation.first().copied().unwrap_or(0);
    let words: Vec<u32> = text.segment(first, set.part.places()).to_vec();
    let inputs: Vec<f32> = words.iter().map(|&word| word as f32).collect();
    let (found, _) = on_device::worker()?
        .stream(model, &vec![0.0; n_remembered(graph)], &inputs)
        .context("the runtime cannot run the model")?;
    Ok((words.len(), ::train::recurrent::logits(graph, weights, &words)?, found.values))
}

/// Values that a recurrent network carries from word to word; 0 of any other.
fn n_remembered(graph: &Graph) -> usize {
    graph.memories().iter().map(|it| graph.shape(it.node).elements()).sum()
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

/// How good the file of `graph` is on a part, asked through the runtime alone.
pub fn runtime_score(
    model: &Path,
    graph: &Graph,
    part: &data::Part,
    normalisation: &data::Normalisation,
) -> Result<Score> {
    Ok(Score::new(part.task, &runtime_tally(model, graph, part, normalisation)?, part.len()))
}

/// What the file of `graph` answers to all of a part, asked through the runtime alone; of text word by word, in as many
/// streams as the trainer scores it in.
pub fn runtime_tally(
    model: &Path,
    graph: &Graph,
    part: &data::Part,
    normalisation: &data::Normalisation,
) -> Result<Tally> {
    let Some(text) = &part.text else { return of_each(model, part, normalisation) };
    let worker = on_device::worker()?;
    let mut tally = Tally::of(part);
    let all: Vec<usize> = (0..part.len()).collect();
    let n_streams = data::SCORING_STREAMS.min(all.len());
    let order = data::streams(&all, n_streams);
    for first in 0..n_streams {
        let mut state = vec![0.0; n_remembered(graph)];
        // A few segments a request: each word is answered with a number for every other.
        let own: Vec<usize> = order.iter().copied().skip(first).step_by(n_streams).collect();
        for segments in own.chunks(SEGMENTS) {
            let words = segments.iter().flat_map(|&idx| text.segment(idx, part.places()));
            let inputs: Vec<f32> = words.map(|&word| word as f32).collect();
            let streamed = worker.stream(model, &state, &inputs).context("the runtime cannot run the model")?;
            state = streamed.1;
            let labels: Vec<u32> = segments.iter().flat_map(|&idx| part.labels_of(idx)).copied().collect();
            let logits: Vec<&[f32]> = streamed.0.values.chunks(part.classes.len()).collect();
            let known = logits.iter().zip(&labels).filter(|(_, label)| **label != data::IGNORED);
            tally.add_nats(known.map(|(logits, &label)| nats(logits, label as usize)));
            tally.add(logits.iter().map(|it| argmax(it)), &labels);
        }
    }
    Ok(tally)
}

/// Segments of text that are asked about at once.
const SEGMENTS: usize = 16;

/// Minus the logarithm of the probability of `label`.
fn nats(logits: &[f32], label: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|it| f64::from(it - largest).exp()).sum();
    sum.ln() - f64::from(logits[label] - largest)
}

/// The same of images or clips, a few at once.
fn of_each(model: &Path, part: &data::Part, normalisation: &data::Normalisation) -> Result<Tally> {
    /// Numbers a request, with its answer: a few dozen megabytes.
    const VALUES: usize = 8_000_000;
    let per_image = part.places() * part.classes.len() + part.deployed_shape().iter().product::<usize>();
    let at_once = (VALUES / per_image).clamp(1, 2_000);
    let worker = on_device::worker()?;
    let all: Vec<usize> = (0..part.len()).collect();
    let mut tally = Tally::of(part);
    for indices in all.chunks(at_once) {
        let batch = data::deployed_batch(part, indices, normalisation);
        let outputs = worker.check(model, &batch.pixels).context("the runtime cannot run the model")?;
        let logits = by_place(&outputs.values, part.classes.len(), part.places());
        tally.add(logits.chunks(part.classes.len()).map(argmax), &batch.labels);
    }
    Ok(tally)
}

/// What a model file gives, a place after the other, as training has it.
///
/// # Shapes
/// - values: `[n, classes, places]`
/// - returns: `[n, places, classes]`
fn by_place(values: &[f32], n_classes: usize, places: usize) -> Cow<'_, [f32]> {
    if places == 1 {
        return Cow::Borrowed(values);
    }
    let turned = values.chunks(n_classes * places).flat_map(|map| {
        (0..places).flat_map(move |place| (0..n_classes).map(move |class| map[class * places + place]))
    });
    Cow::Owned(turned.collect())
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
    let architecture = Architecture::read(folder)?;
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
