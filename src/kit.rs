//! The agents and the instruction counter that `pipeline agent build` has made, and where they lie:
//! `$XDG_CACHE_HOME/pipeline/agents`, or the same under `~/.cache`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use runtime::{
    device::{Counter, Emulator},
    program::{Linking, Program},
    validate::Limits,
};
use targets::{CountScale, Target};

use crate::{
    devices,
    exit::{self, Exit, Failure},
};

/// The program that measures.
pub const AGENT: &str = "pipeline-agent";

/// The emulator's plugin that counts.
pub const COUNTER: &str = "libpipeline_counter.so";

/// Where agents lie, a folder for each triple.
pub fn folder() -> PathBuf {
    devices::users("XDG_CACHE_HOME", ".cache").join("pipeline").join("agents")
}

/// The agent built for `triple`.
pub fn agent(triple: &str) -> PathBuf {
    folder().join(triple).join(AGENT)
}

/// The counter built for this machine.
pub fn counter() -> PathBuf {
    folder().join(COUNTER)
}

/// Reads what a program file says of itself.
pub fn read(path: &Path) -> Result<Program> {
    let bytes = std::fs::read(path).map_err(|error| exit::file(format!("cannot read {}: {error}", path.display())))?;
    Program::read(&bytes)
        .map_err(|error| Failure { exit: Exit::Rejected, message: format!("{} {error}", path.display()) }.into())
}

/// Reads a program for `target`'s boards and refuses one that they cannot run.
pub fn admit(path: &Path, target: &Target) -> Result<Program> {
    let bytes = std::fs::read(path).map_err(|error| exit::file(format!("cannot read {}: {error}", path.display())))?;
    let admitted =
        Program::read(&bytes).and_then(|program| program.fits(&target.triple, Linking::Static).map(|()| program));
    admitted.map_err(|error| {
        let message = format!(
            "{} cannot run on {}: {error}; `pipeline agent build --target {}` makes one that can",
            path.display(),
            target.name,
            target.name
        );
        Failure { exit: Exit::Rejected, message }.into()
    })
}

/// An emulated board of this kind.
///
/// # Errors
/// The emulator or the agent is missing; the error says how to get it.
pub fn emulator(target: &Target) -> Result<Emulator> {
    let unavailable = |message: String| anyhow::Error::from(Failure { exit: Exit::Device, message });
    let Some(processor) = &target.emulator else {
        return Err(unavailable(format!(
            "{} cannot be emulated: its target file has no table [emulator]",
            target.name
        )));
    };
    let program = Emulator::program_for(&target.triple).map_err(unavailable)?;
    let Some(program) = on_path(program) else {
        return Err(unavailable(format!("{program} is not installed; on Debian: apt install qemu-user")));
    };
    let agent = agent(&target.triple);
    if !agent.is_file() {
        return Err(unavailable(format!(
            "there is no agent for {}; make it with `pipeline agent build --target {}`",
            target.name, target.name
        )));
    }
    admit(&agent, target)?;
    let environment = processor.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(Emulator { program, processor: processor.processor.clone(), environment, agent })
}

/// An emulated board of this kind whose instructions are counted.
///
/// # Errors
/// The emulator, the agent or the counter is missing; the error says how to get it.
pub fn counting(target: &Target) -> Result<Counter> {
    let (emulator, plugin) = (emulator(target)?, counter());
    if !plugin.is_file() {
        let message =
            format!("the instruction counter is missing; make it with `pipeline agent build --target {}`", target.name);
        return Err(Failure { exit: Exit::Device, message }.into());
    }
    Ok(Counter { emulator, plugin, target: target.name.clone(), limits: Limits::default() })
}

/// What turns counts into time for this kind of board.
pub fn scale(target: &Target) -> Result<&CountScale> {
    let none = || {
        let why = format!("--device counted: the target file of {} has no table [counts]", target.name);
        exit::usage(why)
    };
    target.counts.as_ref().ok_or_else(none)
}

/// The first program of this name in `PATH`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}
