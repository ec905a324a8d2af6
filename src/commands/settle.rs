//! The end of a run: the shipped file is measured where there is a device, the budget judged, and the receipt written
//! and shown.

use std::collections::BTreeMap;

use anyhow::Result;
use graph::cost::static_cost;
use runtime::device::Device;
use search::study::Trial;
use targets::{Allow, Cost, Figure, Judgement, Measurement, Metric, Runtime, Source, Target, features};

use super::{
    Images,
    export::{self, Exported},
    measure::{in_words, latency},
};
use crate::{
    calibrations,
    config::SearchConfig,
    exit::Exit,
    gate::timing::Question,
    on_device::{Instrument, Measured, What},
    receipt::{Accuracy, Architecture, BaselineRow, DataCard, Judged, MeasuredLatency, Outcome, Receipt, Training},
    run_folder::{
        ARCHITECTURE, CONFIG, MEASUREMENTS, MODEL, RECEIPT, REPORT, RunFolder, STUDY, TRAINING, WEIGHTS, now,
    },
    score::noun,
    terminal,
};

/// Measures the shipped file where there is a device, judges the budget and writes the receipt.
pub fn settle(
    folder: &RunFolder,
    config: &SearchConfig,
    images: &Images,
    instrument: Option<Instrument>,
    runtime: Runtime,
) -> Result<Receipt> {
    let architecture = Architecture::read(folder)?;
    let training: Training = folder.read_json(TRAINING)?;
    let exported: Exported = folder.read_json(export::EXPORTED)?;
    let target = Target::find(&config.target)?;
    let budget = config.budget()?;
    let graph = architecture.cell.build(&architecture.deployed).map_err(search::Error::from)?;
    let (mut model, calibration) = calibrations::of_run(folder, &target)?;
    model.runtime = runtime;
    let mut cost = model.price(&graph);
    cost.set(Metric::Flash, Figure::exact(exported.bytes as f64 + runtime.flash_bytes as f64));
    cost.set(Metric::TrainTime, once(training.chosen.seconds, "the machine that trained"));
    let (mut measurement, mut counts) = (None, None);
    let reached = instrument.as_ref().map(|it| it.name().to_owned());
    match instrument {
        Some(Instrument::Clock { mut device, .. }) => {
            let found = measure_shipped(folder, config, &target, device.as_mut())?;
            cost.set(Metric::Latency, latency(&found, &target)?);
            if let Some(memory) = found.memory() {
                cost.set(Metric::Memory, memory);
            }
            let (network, features) = (graph.fingerprint(), features(&graph));
            let line = Measured { what: What::Shipped, network, features, measurement: found.clone() };
            folder.append(MEASUREMENTS, &line)?;
            measurement = Some(found);
        }
        Some(Instrument::Counts { counter, scale }) => {
            let found = counter.count(&folder.file(MODEL))?;
            cost.set(Metric::Latency, scale.latency(&found, static_cost(&graph).traffic_bytes));
            counts = Some(found);
        }
        None => {}
    }
    let bounds: Vec<Judged> = budget
        .bounds
        .iter()
        .map(|bound| Judged { bound: *bound, judgement: bound.judge(cost.get(bound.metric)) })
        .collect();
    let receipt = Receipt {
        format: 1,
        versions: versions(),
        written_at: now(),
        target: target.name.clone(),
        target_title: target.title.clone(),
        device: reached,
        outcome: outcome(&bounds),
        bounds,
        cost,
        cell: architecture.cell.clone(),
        scale: architecture.deployed,
        accuracy: Accuracy {
            validation: training.chosen.validation,
            test: training.chosen.test,
            test_by_runtime: exported.test,
        },
        baseline: architecture.baseline.map(|baseline| BaselineRow {
            baseline,
            validation: training.baseline.as_ref().map(|it| it.validation),
            test: training.baseline.as_ref().map(|it| it.test),
        }),
        data: card(config, images, exported.test.n()),
        seed: config.seed,
        strategy: architecture.strategy,
        trials: trials(folder)?,
        files: hashes(folder)?,
        parity: exported.parity,
        probe: exported.probe,
        latency: measurement.as_ref().and_then(|it| MeasuredLatency::of(it, target.percentile, &allow(config))),
        measurement,
        counts,
        runtime: (runtime != Runtime::default()).then_some(runtime),
        calibration,
        repeat: "pipeline search --config config.toml --run ANOTHER".to_owned(),
    };
    folder.write_json(RECEIPT, &receipt)?;
    folder.log("settled", serde_json::json!({ "outcome": receipt.outcome }));
    Ok(receipt)
}

/// Times the shipped file, each round in a fresh process: as many rounds as its bounds need.
fn measure_shipped(
    folder: &RunFolder,
    config: &SearchConfig,
    target: &Target,
    device: &mut dyn Device,
) -> Result<Measurement> {
    let budget = config.budget()?;
    let question = Question {
        bounds: &budget.bounds,
        percentile: target.percentile,
        baseline: None,
        n_models: 1,
        allow: allow(config),
    };
    Ok(question.measure(device, &folder.file(MODEL))?)
}

fn allow(config: &SearchConfig) -> Allow {
    Allow { noisy: config.allow_noisy, governor: config.allow_noisy }
}

/// A time that was taken once.
fn once(seconds: f64, on: &str) -> Figure {
    let source = Source::Measured { on: on.to_owned(), samples: 1 };
    Figure { value: seconds, low: seconds, high: seconds, source }
}

/// Whether the hard bounds hold.
pub fn outcome(bounds: &[Judged]) -> Outcome {
    let hard = || bounds.iter().filter(|it| it.bound.hard).map(|it| it.judgement);
    if hard().any(|it| it == Judgement::Broken) {
        return Outcome::Over;
    }
    if hard().all(|it| it == Judgement::Met) { Outcome::Within } else { Outcome::CannotTell }
}

/// Exit code of a receipt.
pub fn exit(receipt: &Receipt) -> Exit {
    match receipt.outcome {
        Outcome::Within => Exit::Ok,
        Outcome::Over | Outcome::CannotTell => Exit::NotMet,
    }
}

fn versions() -> BTreeMap<String, String> {
    let engine = runtime::engine::ENGINE;
    [("pipeline", env!("CARGO_PKG_VERSION")), ("engine", engine), ("agent", runtime::AGENT), ("burn", BURN)]
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .into()
}

/// Version of the training library; a test holds it to the lock file.
const BURN: &str = "0.22.1";

fn card(config: &SearchConfig, images: &Images, n_test: usize) -> DataCard {
    let set = &images.set;
    DataCard {
        name: config.data.clone(),
        sha256: set.part.sha256(),
        shape: set.part.shape,
        classes: images.source.classes.clone(),
        train: set.train.len(),
        validation: set.validation.len(),
        test: n_test,
        mean: set.normalisation.mean.clone(),
        std: set.normalisation.std.clone(),
    }
}

fn trials(folder: &RunFolder) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for trial in folder.read_lines::<Trial>(STUDY)? {
        *counts.entry(trial.strategy).or_default() += 1;
    }
    Ok(counts)
}

fn hashes(folder: &RunFolder) -> Result<BTreeMap<String, String>> {
    let names = [CONFIG, ARCHITECTURE, TRAINING, WEIGHTS, MODEL];
    names.into_iter().map(|name| Ok((name.to_owned(), folder.sha256(name)?))).collect()
}

/// Prints a receipt's gist and what to do next.
pub fn show(receipt: &Receipt, folder: &RunFolder, json: bool) -> Result<()> {
    if json {
        terminal::print(&serde_json::to_string(receipt)?);
        return Ok(());
    }
    let verdict = match receipt.outcome {
        Outcome::Within => "within budget",
        Outcome::Over => "OVER BUDGET",
        Outcome::CannotTell => "CANNOT TELL whether the budget holds",
    };
    terminal::print(&format!(
        "\n{verdict}: a network of {} a cell for {}",
        receipt.cell.describe(),
        receipt.target_title
    ));
    terminal::print(&format!(
        "  {:<13}  {}, by the shipped file in {}",
        format!("test {}", receipt.accuracy.test_by_runtime.measure()),
        receipt.accuracy.test_by_runtime.in_words(&receipt.scale),
        receipt.versions["engine"]
    ));
    for metric in Metric::ALL {
        let Some(figure) = receipt.cost.get(metric) else { continue };
        let judged = receipt.bounds.iter().filter(|it| it.bound.metric == metric);
        let judged: Vec<String> = judged
            .map(|it| {
                let limit = it.bound.max.map(|max| format!("<= {}", metric.format(max)));
                let limit =
                    limit.or_else(|| it.bound.min.map(|min| format!(">= {}", metric.format(min)))).unwrap_or_default();
                format!("  [{limit}: {}]", in_words(it.judgement))
            })
            .collect();
        terminal::print(&format!("  {:<13}  {}{}", metric.name(), figure.describe(metric), judged.concat()));
        if let (Metric::Flash, Some(runtime)) = (metric, receipt.runtime) {
            let runtime = metric.format(runtime.flash_bytes as f64);
            terminal::print(&format!("  {:<13}  of which {runtime} are the program that runs the model", ""));
        }
    }
    if let Some(row) = &receipt.baseline {
        terminal::print(&baseline_line(receipt, row));
        if let Some(hint) = better_baseline(receipt, row, folder) {
            terminal::print(&hint);
        }
    }
    terminal::print(&format!("\n  model    {}", folder.file(MODEL).display()));
    terminal::print(&format!("  report   {}", folder.file(REPORT).display()));
    terminal::print(&format!("next: pipeline verify --run {}", folder.path.display()));
    if receipt.measurement.is_none() {
        terminal::print(&format!(
            "      nothing was measured on {}; measure here for a look: pipeline measure {} --target host",
            receipt.target,
            folder.file(MODEL).display()
        ));
    }
    Ok(())
}

fn baseline_line(receipt: &Receipt, row: &BaselineRow) -> String {
    let name = &row.baseline.strategy;
    if row.baseline.was_asked_for {
        let test = row.test.map(|it| format!("test {} {}", it.measure(), it.in_words(&receipt.scale)));
        return format!(
            "  asked for      {name} with the same effort: {}; the network of {} ships for its validation {}",
            test.unwrap_or_default(),
            receipt.strategy,
            noun(&receipt.scale)
        );
    }
    match (row.test, row.baseline.search_accuracy) {
        (Some(test), _) => {
            let (measure, score) = (test.measure(), test.in_words(&receipt.scale));
            format!("  baseline       {name} with the same effort: test {measure} {score}")
        }
        (None, Some(searched)) => {
            format!(
                "  baseline       {name} with the same effort: {} {} on validation {} while searching (its network was not trained to the end)",
                receipt.scale.task.measure(),
                receipt.scale.task.told(searched, 1),
                noun(&receipt.scale)
            )
        }
        (None, None) => format!(
            "  baseline       {name} with the same effort found nothing within the budget, {} did",
            receipt.strategy
        ),
    }
}

/// How to get the baseline's network, where it is the better one by the images that choices may be made by and the
/// strategy's own was to ship all the same.
fn better_baseline(receipt: &Receipt, row: &BaselineRow, folder: &RunFolder) -> Option<String> {
    let (theirs, ours) = (row.validation?, receipt.accuracy.validation);
    let name = &row.baseline.strategy;
    theirs.is_ahead_of(ours).then(|| {
        format!(
            "                 {name} did better on the validation {} as well ({} against {}). For its network:\n                 pipeline search --config {} --strategy {name} --run ANOTHER",
            noun(&receipt.scale),
            theirs.told(1),
            ours.told(1),
            folder.file(CONFIG).display()
        )
    })
}

/// Cost figures that the shipped file alone tells, for `verify`.
pub fn judge_again(receipt: &Receipt, cost: &Cost) -> Vec<Judged> {
    receipt
        .bounds
        .iter()
        .map(|it| Judged { bound: it.bound, judgement: it.bound.judge(cost.get(it.bound.metric)) })
        .collect()
}
