//! `pipeline calibrate --device counted`: prices of operations from instruction counts, for a kind of
//! board that nobody has at hand.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use runtime::device::Counter;
use search::probes::{MadeOf, Probe, plain, probes, random};
use serde::Serialize;
use targets::{CountScale, Features, LatencyModel, Target, stats::quantile};

use crate::{
    cli::CalibrateArgs,
    exit::Exit,
    kit,
    on_device::ModelFile,
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
    network: MadeOf,
    /// Whether it was chosen because it is unlike the others.
    designed: bool,
    /// Its work by kind.
    features: Features,
    /// Instructions of one inference.
    instructions: u64,
    /// Instructions by the engine's operator.
    by_op: BTreeMap<String, u64>,
}

/// Counts `--probes` networks as a calibration has them and half as many plain ones, then twice as many
/// drawn at random to see how far those lie from it, and prints the prices that all give.
pub fn run(args: &CalibrateArgs, target: &Target) -> Result<Exit> {
    let (scale, counter) = (kit::scale(target)?.clone(), kit::counting(target)?);
    let n = usize::from(args.probes);
    let mut networks = probes(&target.latency, n)?;
    // Nothing of the space's own has many dense convolutions, nor concatenations.
    networks.extend(plain(n / 2)?.into_iter().map(|probe| Probe { designed: true, ..probe }));
    let designed = networks.len();
    networks.extend(random(2 * n)?);
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
            network: probe.made_of.clone(),
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
    Ok(counter.count(ModelFile::of(&probe.graph)?.path())?)
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
