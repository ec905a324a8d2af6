//! `pipeline agent`: builds the program that measures on a board, and reads one before it is sent.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use runtime::program::Program;
use serde::Serialize;
use targets::{Metric, Target};

use crate::{
    cli::{AgentArgs, AgentBuild, AgentCommand},
    exit::{self, Exit, Failure},
    kit,
    terminal::{self, say},
};

/// The command.
pub fn run(args: &AgentArgs) -> Result<Exit> {
    match &args.command {
        AgentCommand::Build(build) => self::build(build, args.json),
        AgentCommand::Check { file, target } => {
            let target = Target::find(target)?;
            let program = kit::admit(file, &target)?;
            tell(&Built { target: target.name, agent: file.clone(), program }, args.json)
        }
    }
}

/// An agent and what its file says.
#[derive(Serialize)]
struct Built {
    target: String,
    agent: PathBuf,
    program: Program,
}

fn build(args: &AgentBuild, json: bool) -> Result<Exit> {
    let target = Target::find(&args.target)?;
    let source = source(args.source.as_deref())?;
    let mut steps = vec![Step::agent(&source, &target)];
    if !args.no_counter {
        steps.push(Step::counter(&source));
    }
    for step in &steps {
        say(&format!("building {}: {}", step.what, step.in_words()));
        if !args.dry_run {
            step.run(&target)?;
        }
    }
    if args.dry_run {
        say("dry run: nothing was built");
        return Ok(Exit::Ok);
    }
    // The gate comes before the installation: what lies in the kit has passed it.
    let program = kit::admit(&steps[0].made, &target)?;
    for step in &steps {
        install(&step.made, &step.place)?;
    }
    tell(&Built { target: target.name.clone(), agent: kit::agent(&target.triple), program }, json)
}

fn tell(built: &Built, json: bool) -> Result<Exit> {
    if json {
        terminal::print(&serde_json::to_string(built)?);
        return Ok(Exit::Ok);
    }
    let Built { target, agent, program } = built;
    let bytes = |n: u64| Metric::Flash.format(n as f64);
    terminal::print(&format!("{} runs on {target}", agent.display()));
    terminal::print(&format!(
        "  file     {}, {} {} bits, static",
        bytes(program.file_bytes),
        program.architecture,
        program.bits
    ));
    terminal::print(&format!(
        "  flash    {} (text {}, constants {}, data {})",
        bytes(program.flash_bytes()),
        bytes(program.text_bytes),
        bytes(program.rodata_bytes),
        bytes(program.data_bytes)
    ));
    terminal::print(&format!(
        "  memory   {} before it has done anything (data {}, bss {})",
        bytes(program.memory_bytes()),
        bytes(program.data_bytes),
        bytes(program.bss_bytes)
    ));
    Ok(Exit::Ok)
}

/// One program of cargo's making.
struct Step {
    what: String,
    command: Command,
    /// The file that cargo makes.
    made: PathBuf,
    /// Where it goes.
    place: PathBuf,
}

impl Step {
    fn agent(source: &Path, target: &Target) -> Self {
        let triple = &target.triple;
        let mut command = cargo(source);
        command.args(["build", "--profile", "agent", "--package", "pipeline-runtime", "--bin", kit::AGENT]);
        command.args(["--target", triple]);
        for (name, value) in cross_settings(triple) {
            if std::env::var_os(&name).is_none() {
                command.env(name, value);
            }
        }
        let made = build_folder().join(triple).join("agent").join(kit::AGENT);
        Self { what: format!("the agent for {triple}"), command, made, place: kit::agent(&target.triple) }
    }

    fn counter(source: &Path) -> Self {
        let mut command = cargo(source);
        command.args(["build", "--profile", "agent", "--package", "pipeline-counter"]);
        let made = build_folder().join("agent").join(kit::COUNTER);
        Self { what: "the instruction counter for this machine".to_owned(), command, made, place: kit::counter() }
    }

    fn in_words(&self) -> String {
        let args = self.command.get_args().map(|arg| arg.to_string_lossy());
        let settings = self
            .command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={:?}", name.to_string_lossy(), value?.to_string_lossy())));
        let words: Vec<String> = settings.chain(["cargo".to_owned()]).chain(args.map(|arg| arg.into_owned())).collect();
        words.join(" ")
    }

    fn run(&self, target: &Target) -> Result<()> {
        let mut command = Command::new(self.command.get_program());
        command.args(self.command.get_args()).stdin(Stdio::null());
        // Cargo's progress goes to stderr, as ours does; stdout is kept for the result.
        command.stdout(Stdio::from(std::io::stderr()));
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        let status = command.status().map_err(|error| {
            exit::usage(format!("cannot start cargo: {error}; the agent is built with Rust, see https://rustup.rs"))
        })?;
        if status.success() {
            return Ok(());
        }
        let triple = &target.triple;
        let message = format!(
            "{} could not be built. A machine needs, once: `rustup target add {triple}` and {}. Where rustup cannot \
             add targets, scripts/cross prepares a Debian machine and says how to go on",
            self.what,
            linker(triple).map_or("a linker for it".to_owned(), |it| format!("`apt install {}`", it.package)),
        );
        Err(Failure { exit: Exit::Usage, message }.into())
    }
}

/// cargo on the sources, with a target folder of its own: these builds differ from all others.
fn cargo(source: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(source).env("CARGO_TARGET_DIR", build_folder());
    command
}

fn build_folder() -> PathBuf {
    kit::folder().join("build")
}

/// What cargo has to know to link a static program for another processor. What the user has set stays.
fn cross_settings(triple: &str) -> Vec<(String, String)> {
    let upper = triple.to_uppercase().replace('-', "_");
    let mut settings = vec![(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), "-C target-feature=+crt-static".to_owned())];
    let is_host = triple.split('-').next() == Some(std::env::consts::ARCH);
    if let (false, Some(Linker { program, .. })) = (is_host, linker(triple)) {
        settings.push((format!("CARGO_TARGET_{upper}_LINKER"), program.to_owned()));
        // The engine's kernels are assembled by it too.
        settings.push((format!("CC_{}", triple.replace('-', "_")), program.to_owned()));
    }
    settings
}

struct Linker {
    program: &'static str,
    package: &'static str,
}

fn linker(triple: &str) -> Option<Linker> {
    match triple {
        "aarch64-unknown-linux-gnu" => {
            Some(Linker { program: "aarch64-linux-gnu-gcc", package: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross" })
        }
        "armv7-unknown-linux-gnueabihf" => Some(Linker {
            program: "arm-linux-gnueabihf-gcc",
            package: "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross",
        }),
        "x86_64-unknown-linux-gnu" => Some(Linker { program: "cc", package: "gcc libc6-dev" }),
        _ => None,
    }
}

/// The workspace to build from: the one named, the one this program was built from, or the one here.
fn source(named: Option<&Path>) -> Result<PathBuf> {
    let is_source = |path: &Path| path.join("runtime/src/bin").join(format!("{}.rs", kit::AGENT)).is_file();
    if let Some(path) = named {
        let wrong = || exit::usage(format!("--source {}: it does not hold the sources of pipeline", path.display()));
        return is_source(path).then(|| path.to_owned()).ok_or_else(wrong);
    }
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let mut places = [PathBuf::from(env!("CARGO_MANIFEST_DIR")), here].into_iter();
    places.find(|path| is_source(path)).ok_or_else(|| {
        exit::usage(
            "the agent is built from the sources of pipeline, which are not here; name their folder with --source",
        )
    })
}

/// Copies under a temporary name and renames: an agent that is running stays as it is.
fn install(made: &Path, place: &Path) -> Result<()> {
    let failed = |error: std::io::Error| exit::file(format!("cannot write {}: {error}", place.display()));
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let part = tempfile::Builder::new().prefix(".part").tempfile_in(folder).map_err(failed)?;
    std::fs::copy(made, part.path()).map_err(failed)?;
    let permissions = std::fs::metadata(made).map_err(failed)?.permissions();
    std::fs::set_permissions(part.path(), permissions).map_err(failed)?;
    part.persist(place).map_err(|error| failed(error.error))?;
    Ok(())
}
