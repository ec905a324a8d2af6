//! `pipeline measure`: times a model on a device; for a run it also writes the receipt.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};
use targets::{Allow, Bound, Figure, Judgement, Measurement, Metric, Protocol, Target};

use super::{
    Images, count, frames, report,
    settle::{self, settle},
};
use crate::{
    calibrations,
    cli::MeasureArgs,
    config::SearchConfig,
    devices,
    exit::{self, Exit},
    on_device::{self, Instrument},
    run_folder::{CONFIG, RunFolder},
    terminal::{self, say},
};

/// The command.
pub fn run(args: &MeasureArgs) -> Result<Exit> {
    match (&args.model, &args.run) {
        (Some(model), _) => file(args, model),
        (None, Some(run)) if args.per_frame => frames::run(args, run),
        (None, Some(run)) => of_run(args, run),
        (None, None) => Err(exit::usage("name a MODEL.onnx, or a run with --run")),
    }
}

fn of_run(args: &MeasureArgs, run: &Path) -> Result<Exit> {
    let folder = RunFolder::existing(run)?;
    let mut config = SearchConfig::read(&folder.file(CONFIG))?;
    config.allow_noisy |= args.allow_noisy;
    let images = Images::open(&config)?;
    let target = Target::find(&config.target)?;
    let instrument = {
        let calibration = calibrations::resumed(&folder.path)?;
        Instrument::open(&args.device, &target, args.agent.as_deref(), config.allow_noisy, calibration.as_ref())?
    };
    let runtime = devices::runtime(&args.device, &target, args.agent.as_deref())?;
    let receipt = settle(&folder, &config, &images, Some(instrument), runtime)?;
    report::write(&folder, &config)?;
    settle::show(&receipt, &folder, args.json)?;
    Ok(settle::exit(&receipt))
}

fn file(args: &MeasureArgs, model: &Path) -> Result<Exit> {
    let target = target(args)?;
    let bytes = std::fs::read(model).with_context(|| format!("cannot read {}", model.display()))?;
    let info = runtime::validate::validate(&bytes, &runtime::validate::Limits::default())?;
    if args.device == devices::COUNTED {
        return count::file(args, model, &target);
    }
    let mut device = devices::open(&args.device, &target, args.agent.as_deref())?;
    let allow = Allow { noisy: args.allow_noisy, governor: args.allow_noisy };
    let protocol = if args.quick { Protocol::quick() } else { Protocol::default() };
    let measurement = on_device::measure(device.as_mut(), model, &protocol, allow, on_device::TRIES)?;
    let figure = latency(&measurement, &target)?;
    if let Some(path) = &args.save {
        save(path, &measurement)?;
    }
    let bound = match &args.max_latency {
        Some(text) => {
            let max =
                Metric::Latency.parse(text).map_err(|error| exit::usage(format!("--max-latency {text}: {error}")))?;
            Some(Bound { metric: Metric::Latency, min: None, max: Some(max), hard: true })
        }
        None => None,
    };
    let judgement = bound.map(|bound| bound.judge(Some(&figure)));
    let regression = match &args.against {
        Some(path) => Some(targets::regression(&last(path)?, &measurement)),
        None => None,
    };
    if args.json {
        let result = serde_json::json!({
            "latency": figure, "summary": measurement.summary(), "judgement": judgement,
            "regression": regression, "measurement": measurement,
        });
        terminal::print(&result.to_string());
    } else {
        lines(&measurement, &figure, allow);
        let inputs: Vec<String> = info.inputs.iter().map(|it| format!("{} {:?}", it.name, it.shape)).collect();
        terminal::print(&format!("input     {}", inputs.join(", ")));
        if let (Some(judgement), Some(text)) = (judgement, &args.max_latency) {
            terminal::print(&format!("{text}: {}", in_words(judgement)));
        }
        if let Some(regression) = &regression {
            let (low, high) = regression.interval;
            terminal::print(&format!(
                "against the baseline: {:+.1} % ({:+.1} to {:+.1} %), {:?}",
                100.0 * regression.shift,
                100.0 * low,
                100.0 * high,
                regression.verdict
            ));
        }
    }
    let slower = regression.is_some_and(|it| it.verdict == targets::Verdict::Fail);
    let holds = judgement.is_none_or(|it| it == Judgement::Met) && !slower;
    Ok(if holds { Exit::Ok } else { Exit::NotMet })
}

/// The kind of board that was named, or that of the device.
fn target(args: &MeasureArgs) -> Result<Target> {
    if let Some(name) = &args.target {
        return Ok(Target::find(name)?);
    }
    if args.device.contains("://") {
        return Err(exit::usage(format!("--device {}: say which kind of board it is with --target", args.device)));
    }
    Ok(Target::find(devices::target_of(&args.device)?.as_deref().unwrap_or("host"))?)
}

/// What a person wants to know of a measurement.
fn lines(measurement: &Measurement, figure: &Figure, allow: Allow) {
    let time = |seconds: f64| Metric::Latency.format(seconds);
    terminal::print(&format!("latency   {}", figure.describe(Metric::Latency)));
    if let Some(summary) = measurement.summary() {
        terminal::print(&format!(
            "          min {}, p50 {} ({} to {}), p99 {}, {} outliers of {}",
            time(summary.min),
            time(summary.p50),
            time(summary.p50_ci.0),
            time(summary.p50_ci.1),
            time(summary.p99),
            summary.n_outliers,
            summary.n
        ));
    }
    terminal::print(&format!(
        "cold      load {}, first run {}",
        time(measurement.load_ns as f64 * 1e-9),
        time(measurement.first_run_ns as f64 * 1e-9)
    ));
    let bytes = |bytes: u64| if bytes == 0 { "unknown".to_owned() } else { Metric::Memory.format(bytes as f64) };
    terminal::print(&format!(
        "memory    {} while loading, {} while running",
        bytes(measurement.load_peak_bytes),
        bytes(measurement.steady_peak_bytes)
    ));
    terminal::print(&format!(
        "by        {} on {} ({}), {} thread",
        measurement.engine, measurement.target, measurement.after.cpu, measurement.protocol.threads
    ));
    for note in measurement.notes(&allow) {
        say(&format!("note: {note}"));
    }
}

/// A judgement as people say it.
pub fn in_words(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Met => "met",
        Judgement::Broken => "broken",
        Judgement::CannotTell => "cannot tell: the interval straddles the bound",
        Judgement::Unknown => "unknown",
    }
}

/// The last line of a file of JSON lines that [`save`] has written.
pub fn last<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    let line = line.ok_or_else(|| exit::file(format!("{} holds no measurement", path.display())))?;
    serde_json::from_str(line).map_err(|error| exit::file(format!("{}: {error}", path.display())))
}

/// Appends a line to a file of JSON lines.
pub fn save(path: &Path, measurement: &impl Serialize) -> Result<()> {
    use std::io::Write;
    let at = || format!("cannot write {}", path.display());
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).with_context(at)?;
    writeln!(file, "{}", serde_json::to_string(measurement)?).with_context(at)
}

/// The figure that bounds are held to.
pub fn latency(measurement: &Measurement, target: &Target) -> Result<Figure> {
    let none = || exit::Failure { exit: Exit::Invalid, message: "the measurement has no samples of time".to_owned() };
    measurement.figure(target.percentile).ok_or_else(|| none().into())
}
