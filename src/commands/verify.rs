//! `pipeline verify`: holds a shipped model to its receipt. Trusts nothing but the shipped files.

use std::path::Path;

use anyhow::{Context, Result};
use search::space::{SearchSpace, cell::CellSpace};
use serde::Serialize;
use targets::{Allow, CostModel, Figure, Judgement, Metric, Protocol, Target};

use super::{export, measure, open_source};
use crate::{
    cli::VerifyArgs,
    devices,
    exit::{self, Exit},
    on_device,
    receipt::{Outcome, Receipt},
    run_folder::{MODEL, RECEIPT, RunFolder, sha256},
    terminal,
};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    /// What.
    what: String,
    /// How it went.
    result: CheckResult,
    /// The figures.
    found: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum CheckResult {
    Holds,
    Fails,
    /// Not looked at: something needed for it is not here.
    Skipped,
}

/// The command.
pub fn run(args: &VerifyArgs) -> Result<Exit> {
    let folder = RunFolder { path: args.run.clone() };
    let receipt: Receipt = folder.read_json(RECEIPT)?;
    let model = folder.read(MODEL)?;
    runtime::validate::validate(&model, &runtime::validate::Limits::default())?;
    let mut checks = hashes(&folder, &receipt)?;
    checks.push(outputs(&folder.file(MODEL), &receipt)?);
    checks.push(accuracy(&folder.file(MODEL), &receipt, args.data.as_deref())?);
    checks.extend(budget(&folder, &receipt, args, model.len())?);
    let holds = checks.iter().all(|check| check.result != CheckResult::Fails);
    if args.json {
        terminal::print(&serde_json::json!({ "holds": holds, "checks": checks }).to_string());
    } else {
        for Check { what, result, found } in &checks {
            let word = match result {
                CheckResult::Holds => "holds",
                CheckResult::Fails => "FAILS",
                CheckResult::Skipped => "skipped",
            };
            terminal::print(&format!("{word:<8} {what}: {found}"));
        }
        terminal::print(if holds { "the model keeps its promise" } else { "the model does NOT keep its promise" });
    }
    Ok(if holds { Exit::Ok } else { Exit::NotMet })
}

fn check(what: impl Into<String>, holds: bool, found: impl Into<String>) -> Check {
    let result = if holds { CheckResult::Holds } else { CheckResult::Fails };
    Check { what: what.into(), result, found: found.into() }
}

/// Files that did not ship are passed over, all but the model.
fn hashes(folder: &RunFolder, receipt: &Receipt) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (name, expected) in &receipt.files {
        if name != MODEL && !folder.has(name) {
            continue;
        }
        let found = sha256(&folder.read(name)?);
        let short = &found[..16];
        checks.push(check(format!("sha256 of {name}"), found == *expected, short));
    }
    Ok(checks)
}

fn outputs(model: &Path, receipt: &Receipt) -> Result<Check> {
    let input = runtime::protocol::probe_input(receipt.data.shape.iter().product());
    let found = on_device::worker()?.check(model, &input).context("the runtime cannot run the model")?;
    let (largest, allowed) = export::compare(&receipt.probe.logits, &found.values);
    let holds = largest <= allowed;
    Ok(check("outputs for the fixed input", holds, format!("largest difference {largest:.1e}")))
}

fn accuracy(model: &Path, receipt: &Receipt, data: Option<&str>) -> Result<Check> {
    let what = "test accuracy by the runtime";
    let name = data.unwrap_or(&receipt.data.name);
    let [_, height, width] = receipt.data.shape;
    // Only folders have a size to choose; the other formats refuse to be asked.
    let source = match open_source(name, None) {
        Ok(source) if source.shape == receipt.data.shape => Ok(source),
        Ok(_) => open_source(name, Some([height, width])),
        Err(error) => Err(error),
    };
    let source = match (source, data) {
        (Ok(source), _) => source,
        (Err(error), Some(_)) => return Err(error),
        (Err(_), None) => {
            let found = format!("{name} is not here; name it with --data");
            return Ok(Check { what: what.to_owned(), result: CheckResult::Skipped, found });
        }
    };
    if source.classes != receipt.data.classes {
        return Err(exit::usage(format!("--data {name}: other classes than the model was made for")));
    }
    let normalisation = data::Normalisation { mean: receipt.data.mean.clone(), std: receipt.data.std.clone() };
    let found = export::runtime_score(model, &source.test()?, &normalisation)?;
    let promised = receipt.accuracy.test_by_runtime;
    Ok(check(what, found == promised, format!("{found}, promised {promised}")))
}

/// Costs counted again from the architecture and the file, and measured again where there is a device.
fn budget(folder: &RunFolder, receipt: &Receipt, args: &VerifyArgs, model_bytes: usize) -> Result<Vec<Check>> {
    let graph = CellSpace::default().build(&receipt.cell, &receipt.scale).map_err(search::Error::from)?;
    let target = Target::find(&receipt.target)?;
    let counted = CostModel::new(target.clone()).price(&graph);
    let mut cost = receipt.cost.clone();
    let mut checks = Vec::new();
    for metric in [Metric::Params, Metric::Macs, Metric::Activations] {
        if let (Some(found), Some(promised)) = (counted.get(metric), receipt.cost.get(metric)) {
            let holds = found.value == promised.value;
            checks.push(check(format!("{} of the architecture", metric.name()), holds, metric.format(found.value)));
            cost.set(metric, found.clone());
        }
    }
    cost.set(Metric::Flash, Figure::exact(model_bytes as f64));
    if let Some(device) = &args.device {
        let mut device = devices::open(device, &target, args.agent.as_deref())?;
        let allow = Allow { noisy: args.allow_noisy, governor: args.allow_noisy };
        let measurement =
            on_device::measure(device.as_mut(), &folder.file(MODEL), &Protocol::default(), allow, on_device::TRIES)?;
        if let Some(figure) = measurement.figure(target.percentile) {
            cost.set(Metric::Latency, figure);
        }
        if let Some(memory) = search::pricing::memory(&measurement) {
            cost.set(Metric::Memory, memory);
        }
    }
    for judged in measure::judge_again(receipt, &cost) {
        let (bound, metric) = (judged.bound, judged.bound.metric);
        let Some(figure) = cost.get(metric) else { continue };
        let limit = bound.max.or(bound.min).map_or(String::new(), |limit| metric.format(limit));
        let kind = if bound.hard { "hard" } else { "soft" };
        let found = format!("{} against {limit}", figure.describe(metric));
        let result = match judged.judgement {
            Judgement::Met => CheckResult::Holds,
            _ if !bound.hard => CheckResult::Skipped,
            Judgement::Broken | Judgement::CannotTell | Judgement::Unknown => CheckResult::Fails,
        };
        checks.push(Check { what: format!("{kind} bound on {}", metric.name()), result, found });
    }
    let outcome = measure::outcome(&measure::judge_again(receipt, &cost));
    checks.push(check("budget", outcome == Outcome::Within, format!("{outcome:?}")));
    Ok(checks)
}
