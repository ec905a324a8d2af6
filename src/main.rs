//! The `pipeline` command: from a folder of images and a board to a network that provably runs there.

mod calibrations;
mod cli;
mod commands;
mod config;
mod devices;
mod effort;
mod exit;
mod gate;
mod growth;
mod kit;
mod on_device;
mod papers;
mod patience;
mod probe;
mod receipt;
mod report;
mod run_folder;
mod score;
mod supernet;
mod terminal;
mod tune;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{BenchCommand, Cli, Command},
    exit::Exit,
};

#[global_allocator]
static ALLOCATOR: memory::Keeping = memory::Keeping;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Outside of what catches our own mistakes: a panic there is a model's doing, and the one who asked tells of it.
    if let Command::Worker { request } = &cli.command {
        return ExitCode::from(runtime::worker::serve(request));
    }
    let done = std::panic::catch_unwind(|| run(cli));
    ExitCode::from(match done {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            let exit = Exit::of(&error);
            terminal::say(&format!("error: {error:#}"));
            exit as u8
        }
        // The panic's own message was printed already.
        Err(_) => {
            terminal::say("error: this is a mistake of the program, not yours; please report the lines above");
            Exit::Internal as u8
        }
    })
}

fn run(cli: Cli) -> anyhow::Result<u8> {
    terminal::notice_interrupts();
    // What measures runs in a process of its own, which keeps nothing.
    let trains = match &cli.command {
        Command::Search(_) | Command::Train(_) | Command::Reproduce(_) => true,
        Command::Bench(args) => matches!(args.command, BenchCommand::ScaleStep(_)),
        _ => false,
    };
    if trains {
        memory::keep();
    }
    let exit = match cli.command {
        Command::Search(args) => commands::search::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Measure(args) => commands::measure::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Targets(args) => commands::targets::run(&args),
        Command::Data(args) => commands::data::run(&args),
        Command::Calibrate(args) => commands::calibrate::run(&args),
        Command::Device(args) => commands::device::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Agent(args) => commands::agent::run(&args),
        Command::Bench(args) => match args.command {
            BenchCommand::Oracle(args) => commands::bench::oracle(&args),
            BenchCommand::Ranking(args) => commands::ranking::run(&args),
            BenchCommand::Scale(args) => commands::scale::run(&args),
            BenchCommand::ScaleStep(args) => commands::scale::step(&args),
        },
        Command::Reproduce(args) => commands::reproduce::run(&args),
        Command::Worker { .. } => unreachable!("answered in main"),
    };
    Ok(exit? as u8)
}
