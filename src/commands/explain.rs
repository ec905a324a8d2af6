//! `pipeline explain`: why no network meets a budget and what would have to give; or what its bounds cost.

use anyhow::Result;
use search::{
    chooser::Uniform,
    feasibility::{Certificate, Explanation, Known},
    space::{Scale, SearchSpace, cells::Cells},
    study::Trial,
};
use targets::{Cost, CostModel, Reading, Target};

use super::{open_source, search::cost_model};
use crate::{
    calibrations,
    cli::ExplainArgs,
    config::{SearchConfig, read_table},
    devices,
    exit::Exit,
    on_device::{Counted, Measured, What},
    receipt::Architecture,
    run_folder::{ARCHITECTURE, CONFIG, COUNTS, MEASUREMENTS, RunFolder, STUDY},
    terminal,
};

/// Random cells that are priced where there is no run to look at.
const SAMPLED: u64 = 2_000;

/// The command.
pub fn run(args: &ExplainArgs) -> Result<Exit> {
    let flags = args.to_table();
    let Some(path) = &args.run else {
        let file = args.config.as_deref().map(read_table).transpose()?;
        let config = SearchConfig::complete(flags, file)?;
        let target = Target::find(&config.target)?;
        let calibration = calibrations::choose(config.calibration.as_deref(), &target)?.map(|(it, _)| it);
        let model = cost_model(&config, &target, calibration.as_ref())?;
        return explain(args, &config, &deployed(&config)?, &model, &[]);
    };
    let folder = RunFolder::existing(path)?;
    // Another budget may be asked about than the run's own.
    let config = SearchConfig::complete(flags, Some(read_table(&folder.file(CONFIG))?))?;
    let scale = if folder.has(ARCHITECTURE) {
        folder.read_json::<Architecture>(ARCHITECTURE)?.deployed
    } else {
        deployed(&config)?
    };
    explain(args, &config, &scale, &learned(&folder, &config)?, &folder.read_lines(STUDY)?)
}

fn explain(
    args: &ExplainArgs,
    config: &SearchConfig,
    scale: &Scale,
    model: &CostModel,
    trials: &[Trial],
) -> Result<Exit> {
    let (space, budget) = (Cells::of(scale.task), config.budget()?);
    let certificate = Certificate::bounded(&space, scale, model)?;
    let drawn = if trials.is_empty() { draw(&space, scale, model, config.seed)? } else { Vec::new() };
    let known = match trials {
        [] => drawn.iter().map(|cost| Known { accuracy: None, cost }).collect(),
        trials => Known::of_trials(trials),
    };
    let why = Explanation::new(&budget, &known, false, Some(certificate));
    if args.json {
        terminal::print(&serde_json::to_string(&why)?);
    } else {
        terminal::print(&format!("space     {} cells at {}", space.size(), scale.describe()));
        let networks = match trials {
            [] => format!("{} of them at random, and the {} cheapest", SAMPLED, space.cheapest().len()),
            _ => format!("{} of the run", known.len()),
        };
        terminal::print(&format!("networks  {networks}"));
        terminal::print(&format!("estimates {}", model.latency.rests_on()));
        terminal::print(&why.to_string());
    }
    Ok(if why.is_against() { Exit::NotMet } else { Exit::Ok })
}

/// Size of the networks that are deployed, by the images of the configuration.
fn deployed(config: &SearchConfig) -> Result<Scale> {
    Ok(config.scales(&open_source(&config.data, config.options()?)?)?.1)
}

/// Costs of random cells, and of the cheapest: what a bound alone could be relaxed to.
fn draw(space: &Cells, scale: &Scale, model: &CostModel, seed: u64) -> Result<Vec<Cost>> {
    let drawn = (0..SAMPLED).map(|step| space.sample(&mut Uniform::new(seed, "explain", step)));
    let price = |cell| Ok(model.price(&space.build(&cell, scale).map_err(search::Error::from)?));
    drawn.chain(space.cheapest()).map(price).collect()
}

/// The cost model as the search left it, which learned from what it measured.
fn learned(folder: &RunFolder, config: &SearchConfig) -> Result<CostModel> {
    let target = Target::find(&config.target)?;
    let calibration = calibrations::resumed(&folder.path)?;
    let mut model = cost_model(config, &target, calibration.as_ref())?;
    let mut learn = |reading: Reading, work| {
        if let Some(latency) = reading.latency {
            model.latency.observe(&reading.device, work, latency.value);
        }
    };
    for line in folder.read_lines::<Measured>(MEASUREMENTS)? {
        if line.what != What::Shipped {
            learn(line.measurement.reading(target.percentile), line.features);
        }
    }
    if config.device() == Some(devices::COUNTED) {
        let scale = calibrations::scale(calibration.as_ref(), &target)?;
        for line in folder.read_lines::<Counted>(COUNTS)? {
            learn(line.reading(&scale), line.features);
        }
    }
    Ok(model)
}
