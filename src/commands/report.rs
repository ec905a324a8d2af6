//! `pipeline report`: from a finished run to `report.html`.

use anyhow::Result;
use search::study::Trial;
use targets::Target;

use crate::{
    calibrations,
    cli::StageArgs,
    config::SearchConfig,
    exit::Exit,
    on_device::{self, Measured},
    receipt::{Receipt, Training},
    report::{Material, html},
    run_folder::{CONFIG, MEASUREMENTS, MODEL, RECEIPT, REPORT, RunFolder, STUDY, TRAINING},
    terminal,
};

/// The command.
pub fn run(args: &StageArgs) -> Result<Exit> {
    let folder = RunFolder::existing(&args.run)?;
    let config = SearchConfig::read(&folder.file(CONFIG))?;
    write(&folder, &config)?;
    let path = folder.file(REPORT).display().to_string();
    terminal::print(&if args.json { serde_json::json!({ "report": path }).to_string() } else { path });
    Ok(Exit::Ok)
}

/// Runs of the model whose nodes are timed for the layer table.
const PROFILED: usize = 30;

/// Writes the report.
pub fn write(folder: &RunFolder, config: &SearchConfig) -> Result<()> {
    let receipt: Receipt = folder.read_json(RECEIPT)?;
    let training: Training = folder.read_json(TRAINING)?;
    let trials: Vec<Trial> = folder.read_lines(STUDY)?;
    let graph = receipt.cell.build(&receipt.scale).map_err(search::Error::from)?;
    // Times of layers belong beside a measurement of the whole, taken by the same engine here.
    let nodes = match (&receipt.measurement, receipt.device.as_deref()) {
        (Some(_), Some("local")) => {
            let profile = on_device::worker()?.profile(&folder.file(MODEL), PROFILED)?;
            Some(profile.nodes.into_iter().map(|node| (node.name, node.nanos as f64 * 1e-9)).collect::<Vec<_>>())
        }
        _ => None,
    };
    let measured: Vec<Measured> = folder.read_lines(MEASUREMENTS)?;
    let fit = (!measured.is_empty()).then(|| {
        let target = Target::find(&config.target)?;
        let mut model = calibrations::of_run(folder, &target)?.0.latency;
        for line in measured {
            if let Some(figure) = line.measurement.figure(target.percentile) {
                model.observe(&line.measurement.device, line.features, figure.value);
            }
        }
        anyhow::Ok(model.fit_report())
    });
    let fit = fit.transpose()?;
    let material = Material {
        receipt: &receipt,
        training: &training,
        trials: &trials,
        graph: &graph,
        layer_seconds: nodes.as_deref(),
        latency_fit: fit.as_ref(),
    };
    folder.write(REPORT, html(&material)?.as_bytes())
}
