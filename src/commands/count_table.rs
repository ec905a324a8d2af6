//! `pipeline calibrate --device counted`: prices of operations from instruction counts, for a kind of
//! board that nobody has at hand.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use export::Metadata;
use runtime::device::Counter;
use search::probes::{Probe, probes, random};
use serde::Serialize;
use targets::{CountScale, Features, LatencyModel, Target, stats::quantile};

use super::count;
use crate::{
    cli::CalibrateArgs,
    exit::Exit,
    kit,
    terminal::{self, Line},
};

/// What was counted, with what it came to.
#[derive(Serialize)]
struct CountedTable {
    /// Kind of board.
    target: String,
    /// The emulated processor.
    processor: String,
    /// Engine and its version.
    engine: String,
    /// Version of the agent.
    agent: String,
    /// What turns instructions into time: an assumption, not a measurement.
    scale: CountScale,
    /// Nanoseconds a unit of each kind of work that fit the counts best.
    ns_per_unit: BTreeMap<String, f64>,
    /// Factors between which nine in ten of the random networks lie, with the scale taken as true.
    of_counts: [f64; 2],
    /// Networks, first those chosen to tell kinds of work apart, then those drawn at random.
    samples: Vec<Sample>,
}

/// A counted network.
#[derive(Serialize)]
struct Sample {
    /// Its architecture and size.
    network: serde_json::Value,
    /// Whether it was chosen because it is unlike the others.
    designed: bool,
    /// Its work by kind.
    features: Features,
    /// Instructions of one inference.
    instructions: u64,
    /// Instructions by the engine's operator.
    by_op: BTreeMap<String, u64>,
}

/// Counts `--probes` networks as a calibration has them, then twice as many drawn at random to see how
/// far those lie from it, and prints the prices that all give.
pub fn run(args: &CalibrateArgs, target: &Target) -> Result<Exit> {
    let (scale, counter) = (count::scale(target)?.clone(), kit::counting(target)?);
    let designed = usize::from(args.probes);
    let mut networks = probes(&target.latency, designed)?;
    networks.extend(random(2 * designed)?);
    let (mut samples, mut seconds) = (Vec::new(), Vec::new());
    let (mut engine, mut agent) = (String::new(), String::new());
    let mut line = Line::default();
    for (idx, probe) in networks.iter().enumerate() {
        line.show("counting", idx as u64, networks.len() as u64, "");
        if terminal::interrupted() {
            line.end();
            return Err(search::Error::Interrupted.into());
        }
        let counts = counted(&counter, probe)?;
        seconds.push(scale.latency(&counts, 0).value);
        let mut by_op: BTreeMap<String, u64> = BTreeMap::new();
        for node in &counts.nodes {
            *by_op.entry(node.op.clone()).or_default() += node.instructions;
        }
        (engine, agent) = (counts.engine, counts.agent);
        samples.push(Sample {
            network: serde_json::json!({ "cell": probe.cell, "scale": probe.scale }),
            designed: probe.designed,
            features: probe.features,
            instructions: counts.instructions,
            by_op,
        });
    }
    line.end();
    let (ns_per_unit, of_counts) = fit(target, &networks, &seconds, designed);
    let processor = counter.emulator.processor.clone();
    let table =
        CountedTable { target: target.name.clone(), processor, engine, agent, scale, ns_per_unit, of_counts, samples };
    if let Some(path) = &args.out {
        write(path, &table)?;
    }
    if args.json {
        terminal::print(&serde_json::to_string(&table)?);
    } else {
        show(&table);
    }
    Ok(Exit::Ok)
}

fn counted(counter: &Counter, probe: &Probe) -> Result<targets::Counts> {
    let weights = export::placeholder_weights(&probe.graph, 0);
    let bytes = export::onnx(&probe.graph, &weights, &Metadata::default())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("probe.onnx");
    std::fs::write(&path, bytes)?;
    Ok(counter.count(&path)?)
}

/// Prices fitted to all networks; and how far the later ones lie from a fit to the first `designed`.
fn fit(target: &Target, networks: &[Probe], seconds: &[f64], designed: usize) -> (BTreeMap<String, f64>, [f64; 2]) {
    let device = "instruction counts";
    let pair = |range: std::ops::Range<usize>| range.map(|idx| (networks[idx].features, seconds[idx]));
    let mut model = LatencyModel::from_table(&target.latency);
    model.observe_designed(device, pair(0..designed).zip(networks).filter(|it| it.1.designed).map(|it| it.0));
    model.observe_all(device, pair(0..designed).zip(networks).filter(|it| !it.1.designed).map(|it| it.0));
    let mut off: Vec<f64> =
        pair(designed..networks.len()).map(|(features, seconds)| seconds / model.predict(&features).value).collect();
    off.sort_by(f64::total_cmp);
    let at = |share| quantile(&off, share).unwrap_or(1.0);
    model.observe_all(device, pair(designed..networks.len()));
    let prices = model.fit_report().coefficients;
    let prices = prices.into_iter().map(|it| (it.work.name().to_owned(), it.ns_per_unit)).collect();
    (prices, [at(0.05), at(0.95)])
}

fn write(path: &Path, table: &CountedTable) -> Result<()> {
    let mut text = serde_json::to_vec(table).context("plain data has a JSON form")?;
    text.push(b'\n');
    Ok(search::study::write_whole(path, &text)?)
}

/// The table as a target file has it.
fn show(table: &CountedTable) {
    let [low, high] = table.of_counts;
    terminal::print(&format!(
        "# {} networks counted on an emulated {} with {}; not measured.",
        table.samples.len(),
        table.processor,
        table.engine
    ));
    terminal::print(&format!(
        "# Random networks count {low:.2} to {high:.2} times what the chosen ones predict; beyond that stands the scale."
    ));
    terminal::print("[latency.ns_per_unit]");
    for (work, price) in &table.ns_per_unit {
        terminal::print(&format!("{work} = {price:.4}"));
    }
}
