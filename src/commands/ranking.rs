//! `pipeline bench ranking`: do shared weights order networks as their own trainings do?

use ::data::Task;
use ::train::{alone::Trainer, shared::Supernet};
use anyhow::Result;
use graph::Graph;
use search::{
    chooser::Uniform,
    evaluator::{Evaluator, Fidelity, Job, Saved, SharedWeights},
    pricing::Pricer,
    space::{SearchSpace, cell::CellSpace},
};
use serde::Serialize;
use targets::{
    Budget, CostModel, Target,
    stats::{kendall, spearman},
};

use super::Images;
use crate::{
    cli::RankingArgs,
    config::SearchConfig,
    exit::{self, Exit},
    run_folder::{CONFIG, RunFolder},
    supernet,
    terminal::{self, say},
};

/// Validation accuracies of one network, in `[0, 1]`.
#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    /// With shared weights, batch norm by the statistics of each minibatch: what searches choose by.
    shared: f64,
    /// With shared weights, batch norm by statistics gathered anew for this network.
    recalibrated: f64,
    /// Trained on its own.
    alone: f64,
}

/// Minibatches that statistics are gathered from.
const RECALIBRATION: usize = 10;

/// The command.
pub fn run(args: &RankingArgs) -> Result<Exit> {
    if args.networks < 2 || args.epochs == 0 {
        return Err(exit::usage("--networks must be at least 2, --epochs at least 1"));
    }
    let folder = RunFolder::existing(&args.run)?;
    let config = SearchConfig::read(&folder.file(CONFIG))?;
    let (about, weights) = supernet::read(&args.run)?;
    if about.scale.task == Task::Language {
        return Err(exit::usage("ranking compares networks for images and sound; this run is of text"));
    }
    let images = Images::open(&config)?;
    let space = CellSpace { blocks: about.blocks[0]..=about.blocks[1] };
    let build = |nth| -> Result<Graph> {
        let cell = space.sample(&mut Uniform::new(config.seed, "ranking", nth));
        Ok(space.build(&cell, &about.scale).map_err(search::Error::from)?)
    };
    let graphs: Vec<Graph> = (0..args.networks as u64).map(build).collect::<Result<_>>()?;
    let pricer =
        || -> Result<Pricer> { Ok(Pricer::new(CostModel::new(Target::find("host")?), Budget::default(), None, 0)) };
    let (compute, recipe) = (config.compute()?, config.search_recipe.clone());
    let mut shared = Supernet::new(images.set.clone(), recipe.clone(), compute, config.seed, pricer()?);
    shared.restore(&Saved { weights, ..Saved::default() })?;
    let scratch = tempfile::tempdir()?;
    let kept = scratch.path().to_owned();
    let mut trainer = Trainer::new(images.set, recipe, compute, config.seed, pricer()?, kept, terminal::interrupted);
    let mut rows = Vec::with_capacity(graphs.len());
    let fidelity = Fidelity::epochs(args.epochs);
    // As many at once as there are threads.
    for graphs in graphs.chunks(std::thread::available_parallelism().map_or(1, usize::from)) {
        let jobs: Vec<Job<'_>> = graphs.iter().map(|graph| Job { graph, fidelity }).collect();
        let evaluations = trainer.evaluate(&jobs)?;
        for (graph, evaluation) in graphs.iter().zip(evaluations) {
            let recalibrated = shared.validate_recalibrated(graph, RECALIBRATION);
            rows.push(Row { shared: shared.validate(graph)?, recalibrated, alone: evaluation.last() });
        }
        say(&format!("{} of {} networks trained", rows.len(), args.networks));
    }
    show(args, &rows);
    Ok(Exit::Ok)
}

fn show(args: &RankingArgs, rows: &[Row]) {
    let column = |of: fn(&Row) -> f64| -> Vec<f64> { rows.iter().map(of).collect() };
    let alone = column(|it| it.alone);
    let columns = [("minibatch statistics", column(|it| it.shared)), ("recalibrated", column(|it| it.recalibrated))];
    if args.json {
        let [shared, recalibrated] = columns
            .each_ref()
            .map(|(_, it)| serde_json::json!({ "kendall": kendall(it, &alone), "spearman": spearman(it, &alone) }));
        let networks = rows.len();
        terminal::print(&serde_json::json!({ "networks": networks, "epochs": args.epochs, "minibatch": shared, "recalibrated": recalibrated, "rows": rows }).to_string());
        return;
    }
    terminal::print(&format!("{} random networks, {} epochs each on its own", rows.len(), args.epochs));
    for (name, column) in &columns {
        let text = |it: Option<f64>| it.map_or("undefined: all are equal".to_owned(), |it| format!("{it:.3}"));
        terminal::print(&format!(
            "shared weights, {name:<21} Kendall's tau {}, Spearman {}",
            text(kendall(column, &alone)),
            text(spearman(column, &alone))
        ));
    }
}
