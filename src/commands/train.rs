//! `pipeline train`: from `architecture.json` to `weights.safetensors` and `training.json`.

use std::sync::Arc;

use ::data::Part;
use ::train::fit::{self, Fit};
use anyhow::Result;
use graph::{Graph, weights::Weights};
use search::{penalty, space::cells::AnyCell};
use targets::Cost;

use super::Images;
use crate::{
    cli::StageArgs,
    config::{BaselineChoice, SearchConfig},
    exit::Exit,
    receipt::{Architecture, Trained, Training},
    run_folder::{ARCHITECTURE, CONFIG, RunFolder, TRAINING, WEIGHTS},
    score::{Score, noun},
    supernet,
    terminal::{self, TrainingScreen},
};

/// The command.
pub fn run(args: &StageArgs) -> Result<Exit> {
    let folder = RunFolder::existing(&args.run)?;
    let config = SearchConfig::read(&folder.file(CONFIG))?;
    let training = train(&folder, &config, &Images::open(&config)?)?;
    if args.json {
        terminal::print(&serde_json::to_string(&training)?);
    } else {
        let test = training.chosen.test;
        terminal::print(&format!("test {} {test}", test.measure()));
        terminal::print(&format!("next: pipeline export --run {}", args.run.display()));
    }
    Ok(Exit::Ok)
}

/// Trains the chosen network, and the baseline's where that is asked for; what was trained before
/// is not trained again.
pub fn train(folder: &RunFolder, config: &SearchConfig, images: &Images) -> Result<Training> {
    let architecture = Architecture::read(folder)?;
    if folder.has(TRAINING) && folder.has(WEIGHTS) {
        // Where it was stopped before the file told of the rival. Files of earlier versions stay as they are.
        if architecture != folder.read_json(ARCHITECTURE)? {
            folder.write_json(ARCHITECTURE, &architecture)?;
        }
        return folder.read_json(TRAINING);
    }
    let (weights, chosen) = fit(folder, config, images, &architecture, &architecture.cell, "final")?;
    let rival = architecture.baseline.as_ref().and_then(|it| it.cell.as_ref());
    let baseline = match rival {
        Some(cell) if *cell == architecture.cell => Some((weights.clone(), chosen.clone())),
        Some(cell) if config.baseline.is_trained() => {
            Some(fit(folder, config, images, &architecture, cell, "baseline")?)
        }
        Some(_) | None => None,
    };
    let rival = architecture.with_rival().filter(|_| config.baseline == BaselineChoice::Rival).zip(baseline.as_ref());
    let budget = config.budget()?;
    let scores = |it: &Trained, cost: &Cost| {
        let accuracy = it.validation.accuracy();
        [accuracy, accuracy * penalty::soft(&budget, cost)]
    };
    let ours = scores(&chosen, &architecture.cost);
    let better = rival.filter(|(rival, (_, trained))| ours[1] < scores(trained, &rival.cost)[1]);
    let (weights, training, architecture) = match better {
        Some((rival, (theirs, trained))) => {
            say_rival_ships(&rival, scores(trained, &rival.cost), ours);
            let training =
                Training { chosen: trained.clone(), baseline: Some(chosen), ships: Some(rival.strategy.clone()) };
            (theirs.clone(), training, rival)
        }
        None => {
            let ships = baseline.is_some().then(|| architecture.strategy.clone());
            (weights, Training { chosen, baseline: baseline.map(|(_, trained)| trained), ships }, architecture)
        }
    };
    folder.write(WEIGHTS, &weights.to_safetensors()?)?;
    folder.write_json(TRAINING, &training)?;
    folder.write_json(ARCHITECTURE, &architecture)?;
    Ok(training)
}

/// Of both networks the score, and what soft bounds leave of it.
fn say_rival_ships(rival: &Architecture, theirs: [f64; 2], ours: [f64; 2]) {
    let asked = rival.baseline.as_ref().map_or("", |it| it.strategy.as_str());
    let task = rival.deployed.task;
    let both = |which: usize| format!("{} against {}", task.told(theirs[which], 2), task.told(ours[which], 2));
    let penalised = if theirs[0] == theirs[1] && ours[0] == ours[1] {
        String::new()
    } else {
        format!(", {} with what soft bounds take", both(1))
    };
    terminal::say(&format!(
        "the network of {} did better on validation {} ({} {}{penalised}) and ships; --baseline trained ships that of \
         {asked}",
        rival.strategy,
        noun(&rival.deployed),
        task.measure(),
        both(0)
    ));
}

fn fit(
    folder: &RunFolder,
    config: &SearchConfig,
    images: &Images,
    architecture: &Architecture,
    cell: &AnyCell,
    name: &str,
) -> Result<(Weights, Trained)> {
    let graph: Graph = cell.build(&architecture.deployed.trained()).map_err(search::Error::from)?;
    let fit = Fit {
        set: images.set.clone(),
        recipe: config.training.stretched(architecture.epochs),
        compute: config.compute()?,
        start: config.supernet.as_deref().map(supernet::read).transpose()?.map(|(_, weights)| Arc::new(weights)),
        seed: config.seed,
        checkpoint: Some(folder.file("checkpoints").join(format!("{name}.safetensors"))),
    };
    let mut screen = TrainingScreen::new(&format!("training the {name} network"), images.set.part.task);
    let fitted = fit.run(&graph, &mut |done, total, curve| screen.look(done, total, curve))?;
    drop(screen);
    let compute = config.compute()?;
    let score = |part: &Arc<Part>| -> Result<Score> {
        let tally = fit::test(&graph, &fitted.weights, part, &images.set.normalisation, compute)?;
        Ok(Score::new(part.task, &tally, part.len()))
    };
    let validated = Arc::new(images.set.part.select(&images.set.validation));
    // The test part is opened here and by `verify`, and nowhere else.
    let test = Arc::new(images.source.test()?);
    let trained = Trained {
        curve: fitted.curve,
        best: fitted.best,
        validation: score(&validated)?,
        test: score(&test)?,
        seconds: fitted.trained.as_secs_f64(),
    };
    folder.log("trained", serde_json::json!({ "network": name, "test": trained.test }));
    Ok((fitted.weights, trained))
}
