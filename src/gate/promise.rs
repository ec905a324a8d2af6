//! What a receipt promises beside its bounds: the files, their outputs, their accuracy, their counts.

use std::path::Path;

use ::data::{Options, TextOptions};
use anyhow::Result;
use graph::Graph;
use targets::{Board, Cost, CostModel, Figure, Measurement, Metric, Target};

use super::{Check, CheckResult};
use crate::{
    commands::{export, open_source},
    exit,
    receipt::{MeasuredLatency, Probe, Receipt},
    run_folder::{MODEL, RunFolder, sha256},
};

/// Checks of everything but the bounds; nothing is trusted but the shipped files.
pub fn checks(folder: &RunFolder, receipt: &Receipt, data: Option<&str>) -> Result<Vec<Check>> {
    let mut checks = hashes(folder, receipt)?;
    let graph = receipt.cell.build(&receipt.scale).map_err(search::Error::from)?;
    checks.push(outputs(&folder.file(MODEL), &graph, receipt)?);
    checks.push(accuracy(&folder.file(MODEL), &graph, receipt, data)?);
    Ok(checks)
}

/// Costs counted again from the architecture and the file, over those of the receipt, and a check of each.
pub fn recount(receipt: &Receipt, model_bytes: usize) -> Result<(Cost, Vec<Check>)> {
    let graph = receipt.cell.build(&receipt.scale).map_err(search::Error::from)?;
    let counted = CostModel::new(Target::find(&receipt.target)?).price(&graph);
    let mut cost = receipt.cost.clone();
    let mut checks = Vec::new();
    for metric in [Metric::Params, Metric::Macs, Metric::Activations] {
        if let (Some(found), Some(promised)) = (counted.get(metric), receipt.cost.get(metric)) {
            let what = format!("{} of the architecture", metric.name());
            checks.push(Check::new(what, found.value == promised.value, metric.format(found.value)));
            cost.set(metric, found.clone());
        }
    }
    let runtime = receipt.runtime.map_or(0, |it| it.flash_bytes);
    cost.set(Metric::Flash, Figure::exact(model_bytes as f64 + runtime as f64));
    Ok((cost, checks))
}

/// Whether the promised latency is what the receipt's own samples say, of this model on this board.
pub fn samples(receipt: &Receipt, measurement: &Measurement, percentile: f64) -> Option<Check> {
    let promised = receipt.cost.get(Metric::Latency)?;
    let found = measurement.figure(percentile)?;
    // Intervals are not compared: they are resampled, and their last digit may be another processor's.
    let is_told_so = |told: &MeasuredLatency| {
        told.figure.value == found.value
            && told.fingerprint == Board::of(measurement).fingerprint()
            && told.model_sha256 == measurement.model_sha256
    };
    let holds = found.value == promised.value && receipt.latency.as_ref().is_none_or(is_told_so);
    Some(Check::new("latency of the samples", holds, Metric::Latency.format(found.value)))
}

/// Files that did not ship are passed over, all but the model.
fn hashes(folder: &RunFolder, receipt: &Receipt) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (name, expected) in &receipt.files {
        if name != MODEL && !folder.has(name) {
            continue;
        }
        let found = sha256(&folder.read(name)?);
        checks.push(Check::new(format!("sha256 of {name}"), found == *expected, &found[..16]));
    }
    Ok(checks)
}

fn outputs(model: &Path, graph: &Graph, receipt: &Receipt) -> Result<Check> {
    let found = export::fixed_answer(model, graph, &receipt.scale)?;
    let (largest, allowed) = export::compare(&receipt.probe.logits, &Probe::of(&found));
    let holds = largest <= allowed;
    Ok(Check::new("outputs for the fixed input", holds, format!("largest difference {largest:.1e}")))
}

fn accuracy(model: &Path, graph: &Graph, receipt: &Receipt, data: Option<&str>) -> Result<Check> {
    let promised = receipt.accuracy.test_by_runtime;
    let what = format!("test {} by the runtime", promised.measure());
    let what = what.as_str();
    let name = data.unwrap_or(&receipt.data.name);
    let [_, height, width] = receipt.data.shape;
    // A text is read with as many words, in segments as long.
    let text = TextOptions { vocabulary: receipt.data.classes.len(), segment: width };
    // Only folders have a size to choose; the other formats refuse to be asked.
    let front_end = receipt.scale.front_end.unwrap_or_default();
    let task = Some(receipt.scale.task);
    let options = |image_size| Options { task, image_size, front_end, text, ..Options::default() };
    let source = match open_source(name, options(None)) {
        Ok(source) if source.shape == receipt.data.shape => Ok(source),
        Ok(_) => open_source(name, options(Some([height, width]))),
        Err(error) => Err(error),
    };
    let source = match (source, data) {
        (Ok(source), _) => source,
        (Err(error), Some(_)) => return Err(error),
        (Err(_), None) => {
            return Ok(Check::of(what, CheckResult::Skipped, format!("{name} is not here; name it with --data")));
        }
    };
    if source.classes != receipt.data.classes {
        return Err(exit::usage(format!("--data {name}: other classes than the model was made for")));
    }
    let normalisation = ::data::Normalisation { mean: receipt.data.mean.clone(), std: receipt.data.std.clone() };
    let found = export::runtime_score(model, graph, &source.test()?, &normalisation)?;
    Ok(Check::new(
        what,
        found.agrees_with(promised),
        format!("{}, promised {}", found.in_words(&receipt.scale), promised.in_words(&receipt.scale)),
    ))
}
