//! `pipeline search`: the whole way, from data and a board to a measured network.

mod candidates;
mod plan;

use std::path::PathBuf;

use anyhow::Result;
use targets::Target;

use self::plan::Found;
pub use self::plan::{Plan, SEARCH_SHARE, cost_model, random_cell};
use super::{Images, settle};
use crate::{
    calibrations,
    cli::SearchArgs,
    config::{SearchConfig, read_table},
    devices,
    exit::{self, Exit},
    run_folder::{CALIBRATION, CONFIG, RunFolder},
    terminal::{self, say},
};

/// The command.
pub fn run(args: &SearchArgs) -> Result<Exit> {
    let mut config = configure(args)?;
    let path = args.run.clone().unwrap_or_else(|| default_folder(&config));
    let images = Images::open(&config)?;
    config.seal(&images.set.part)?;
    let target = Target::find(&config.target)?;
    let calibration = if args.resume {
        calibrations::resumed(&path)?
    } else {
        let chosen = calibrations::choose(config.calibration.as_deref(), &target)?;
        // What is kept for the target may be another file tomorrow, or on another machine.
        let file = chosen.as_ref().map_or(calibrations::NONE.to_owned(), |(_, path)| path.display().to_string());
        config.calibration = Some(file);
        let calibration = chosen.map(|(calibration, _)| calibration);
        if config.device.is_none() {
            let usual = devices::usual(&target, calibration.as_ref());
            if usual == devices::COUNTED {
                say(&format!(
                    "no --device: the instructions of candidates near a bound are counted in an emulator, with the agent for \
                     {}; --device {} goes by tables alone",
                    target.name,
                    devices::NONE
                ));
            }
            config.device = Some(usual.to_owned());
        }
        calibration
    };
    let plan = Plan::new(config, images, calibration)?;
    plan.refuse_the_impossible()?;
    if args.dry_run {
        return super::dry_run::run(&plan, args.json);
    }
    let folder = RunFolder::open(&path, args.resume)?;
    let text = plan.config.to_toml()?;
    folder.write(CONFIG, text.as_bytes())?;
    if let Some(calibration) = &plan.calibration {
        folder.write_json(CALIBRATION, calibration)?;
        say(&calibrations::in_words(calibration));
    }
    folder.log("started", serde_json::json!({ "resumed": args.resume, "version": env!("CARGO_PKG_VERSION") }));
    say(&format!("run folder: {}", path.display()));
    let done = plan.run(&folder);
    match &done {
        Ok(Found::Network(_)) => folder.log("finished", serde_json::json!({})),
        Ok(Found::Nothing(why)) => folder.log("nothing feasible", serde_json::json!({ "why": why.to_string() })),
        Err(error) => folder.log("stopped", serde_json::json!({ "why": format!("{error:#}") })),
    }
    match done? {
        Found::Network(receipt) => {
            settle::show(&receipt, &folder, args.json)?;
            Ok(settle::exit(&receipt))
        }
        Found::Nothing(why) => {
            if args.json {
                let text = why.to_string();
                let found =
                    serde_json::json!({ "outcome": "nothing-feasible", "why": text, "explanation": why.explanation });
                terminal::print(&found.to_string());
            } else {
                terminal::print(&why.to_string());
                terminal::say(&format!("another budget: pipeline explain --run {} --max-latency ...", path.display()));
            }
            Ok(Exit::NotMet)
        }
    }
}

/// The configuration: of the run that is resumed, or from the flags and `--config`.
fn configure(args: &SearchArgs) -> Result<SearchConfig> {
    let flags = args.to_table();
    if !args.resume {
        let file = args.config.as_deref().map(read_table).transpose()?;
        return SearchConfig::complete(flags, file);
    }
    let path = match &args.run {
        Some(path) => path.clone(),
        None => default_folder(&SearchConfig::complete(flags.clone(), None)?),
    };
    let stored = RunFolder::open(&path, args.resume)?.file(CONFIG);
    let then = SearchConfig::read(&stored)?;
    let now = SearchConfig::complete(flags, Some(read_table(&stored)?))?;
    // More time and more tolerance may be given to a run, and the agent may lie elsewhere; everything else is
    // what it is.
    let (deadline, allow_noisy, device_wait) = (then.deadline.clone(), then.allow_noisy, then.device_wait.clone());
    let same = SearchConfig { deadline, allow_noisy, device_wait, agent: then.agent.clone(), ..now.clone() } == then;
    if !same {
        let message = format!(
            "--resume continues the run with the configuration in {}; only --deadline, --device-wait, --agent and --allow-noisy may change",
            stored.display()
        );
        return Err(exit::usage(message));
    }
    Ok(now)
}

/// `runs/TARGET-DATA-SEED`.
fn default_folder(config: &SearchConfig) -> PathBuf {
    let word = |text: &str| {
        let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or(text);
        last.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).collect::<String>()
    };
    PathBuf::from("runs").join(format!("{}-{}-{}", word(&config.target), word(&config.data), config.seed))
}
