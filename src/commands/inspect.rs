//! `pipeline inspect`: what is in an ONNX file or a run folder. A file is read, not run.

use anyhow::{Context, Result};
use runtime::validate::{Limits, ModelInfo, ValueInfo, validate};
use targets::Metric;

use super::settle;
use crate::{
    cli::InspectArgs,
    exit::Exit,
    receipt::{Architecture, Receipt},
    run_folder::{ARCHITECTURE, CONFIG, RECEIPT, RunFolder, STUDY},
    terminal,
};

/// The command.
pub fn run(args: &InspectArgs) -> Result<Exit> {
    if args.path.is_dir() {
        return folder(&RunFolder::existing(&args.path)?, args.json);
    }
    let bytes = std::fs::read(&args.path).with_context(|| format!("cannot read {}", args.path.display()))?;
    let info = validate(&bytes, &Limits::default())?;
    if args.json {
        terminal::print(&serde_json::to_string(&info)?);
    } else {
        show(&info);
    }
    Ok(Exit::Ok)
}

fn show(info: &ModelInfo) {
    let value = |it: &ValueInfo| format!("{} {:?}", it.name, it.shape);
    let values = |list: &[ValueInfo]| list.iter().map(value).collect::<Vec<_>>().join(", ");
    let ops: Vec<String> = info.ops.iter().map(|(op, n)| format!("{n} {op}")).collect();
    let rows = [
        ("sha256", info.sha256.clone()),
        ("size", Metric::Flash.format(info.file_bytes as f64)),
        ("made by", info.producer.clone()),
        ("format", format!("ONNX IR {}, opset {}", info.ir_version, info.opset)),
        ("input", values(&info.inputs)),
        ("output", values(&info.outputs)),
        ("nodes", format!("{} ({})", info.nodes, ops.join(", "))),
        ("weights", format!("{}, {}", info.parameters, Metric::Flash.format(info.initializer_bytes as f64))),
        ("macs", Metric::Macs.format(info.macs as f64)),
        ("activations", Metric::Activations.format(info.activation_bytes as f64)),
    ];
    for (name, text) in rows {
        terminal::print(&format!("{name:<12} {text}"));
    }
    for (key, text) in &info.metadata {
        terminal::print(&format!("{}: {}", shortened(key), shortened(text)));
    }
}

/// The beginning of a long text, and how long it is: a list of classes may be a dictionary.
fn shortened(text: &str) -> String {
    /// Letters that are shown.
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}... ({} bytes; --json shows all)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

fn folder(folder: &RunFolder, json: bool) -> Result<Exit> {
    if folder.has(RECEIPT) {
        let receipt: Receipt = folder.read_json(RECEIPT)?;
        settle::show(&receipt, folder, json)?;
        return Ok(Exit::Ok);
    }
    let stage = if folder.has(ARCHITECTURE) { "searched, not finished" } else { "searching" };
    let trials = folder.read_lines::<serde_json::Value>(STUDY)?.len();
    let cell = folder.has(ARCHITECTURE).then(|| Architecture::read(folder)).transpose()?;
    if json {
        terminal::print(&serde_json::json!({ "stage": stage, "trials": trials, "architecture": cell }).to_string());
    } else {
        terminal::print(&format!("{stage}, {trials} trials; settings in {}", folder.file(CONFIG).display()));
        terminal::print(&format!("next: pipeline search --resume --run {}", folder.path.display()));
    }
    Ok(Exit::Ok)
}
