//! The user's boards by name, in `devices.toml`; and how what `--device` names becomes a device.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use runtime::device::{Address, Agent, Device, DeviceError, Local, Recorded, Remote, transport};
use serde::{Deserialize, Serialize};
use targets::{Calibration, Runtime, Target};

use crate::{calibrations, exit, kit, on_device, terminal::say};

/// The device that counts instructions where there is no board.
pub const COUNTED: &str = "counted";

/// Where nothing is measured.
pub const NONE: &str = "none";

/// Names that are no board's.
const BUILT_IN: [&str; 4] = ["local", "emulated", COUNTED, NONE];

/// Opens the device that `--device` names: `local`, `recorded:FILE`, an address, or a name in
/// `devices.toml`. A board is reached at once, so that what is wrong is told before anything is done.
pub fn open(name: &str, target: &Target, agent: Option<&Path>) -> Result<Box<dyn Device>> {
    if name == COUNTED {
        return Err(exit::usage(
            "--device counted counts instructions and takes no times; `search`, `measure` and `calibrate` know counts",
        ));
    }
    if name == "local" {
        return Ok(Box::new(Local::new(on_device::worker()?, target.name.clone())));
    }
    if name == "emulated" {
        return Ok(Box::new(Local::emulated(&kit::emulator(target)?, target.name.clone())));
    }
    if let Some(path) = name.strip_prefix("recorded:") {
        return Ok(Box::new(Recorded::open(path.as_ref())?));
    }
    let mut remote = remote(name, Some(target), agent).with_context(|| format!("--device {name}"))?;
    for skipped in &remote.connect()?.skipped {
        say(&format!("note: {name} does not use {skipped}"));
    }
    Ok(Box::new(remote))
}

/// What stands for a board where no device was named: its instructions are counted where that can be done and tells more
/// than the target's table or its calibration, which may have no counts to go with it.
pub fn usual(target: &Target, calibration: Option<&Calibration>) -> &'static str {
    // This machine's own kind of processor can be timed; whoever wants that names it.
    let is_own = target.triple.split('-').next() == Some(std::env::consts::ARCH);
    let countable = !is_own && calibrations::scale(calibration, target).is_ok() && kit::counting(target).is_ok();
    if countable { COUNTED } else { NONE }
}

/// The board of this name or address, not reached yet; of kind `target`, or of the kind that its entry
/// names.
pub fn remote(name: &str, target: Option<&Target>, agent: Option<&Path>) -> Result<Remote> {
    let entry = find(name)?;
    let target = match (target, &entry.target) {
        (Some(asked), Some(own)) if asked.name != Target::find(own)?.name => {
            return Err(exit::usage(format!(
                "{name} is a {own} in {}, not a {}; leave --target out, or name another device",
                path().display(),
                asked.name
            )));
        }
        (Some(asked), _) => asked.clone(),
        (None, Some(own)) => Target::find(own)?,
        (None, None) => {
            return Err(exit::usage(format!(
                "{name}: say which kind of board it is with --target; see `pipeline targets`"
            )));
        }
    };
    let way = transport(&entry.address.parse::<Address>()?);
    let agent = agent_of(&entry, &target, agent)?;
    let mut remote = Remote::new(name, target.name, way, Agent::admit(&agent, &target.triple)?);
    remote.folder = entry.folder;
    remote.allow_root = entry.allow_root;
    Ok(remote)
}

/// The program that will run networks on the device of this name, as far as it is one that ships: on this
/// machine itself, and where times were recorded, the network alone counts.
pub fn runtime(name: &str, target: &Target, agent: Option<&Path>) -> Result<Runtime> {
    let path = match name {
        "local" => return Ok(Runtime::default()),
        "emulated" | COUNTED => built(&target.triple)?,
        recorded if recorded.starts_with("recorded:") => return Ok(Runtime::default()),
        board => find(board)
            .and_then(|entry| agent_of(&entry, target, agent))
            .with_context(|| format!("--device {board}"))?,
    };
    let program = kit::read(&path)?;
    Ok(Runtime { flash_bytes: program.flash_bytes(), memory_bytes: program.memory_bytes() })
}

fn agent_of(entry: &Entry, target: &Target, agent: Option<&Path>) -> Result<PathBuf> {
    match agent.or(entry.agent.as_deref()) {
        Some(path) => Ok(path.to_owned()),
        None => built(&target.triple),
    }
}

/// Kind of the board that a name in `devices.toml` stands for; none for an address, or `local`.
pub fn target_of(name: &str) -> Result<Option<String>> {
    if BUILT_IN.contains(&name) || name.contains(':') {
        return Ok(None);
    }
    Ok(find(name)?.target)
}

/// A board in `devices.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    /// `ssh://USER@HOST[:PORT]` or `adb://SERIAL`.
    pub address: String,
    /// Kind of board; absent for an address that was given directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Folder on the board that everything is written to, instead of the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// File of the agent on this machine, instead of the built one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<PathBuf>,
    /// Whether the agent may run there as root.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_root: bool,
}

/// `devices.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    devices: BTreeMap<String, Entry>,
}

/// Every board in `devices.toml`; none where there is no such file.
pub fn all() -> Result<BTreeMap<String, Entry>> {
    let path = path();
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: File = toml::from_str(&text).map_err(|error| exit::usage(format!("{}: {error}", path.display())))?;
    for (name, entry) in &file.devices {
        check(name, entry).with_context(|| format!("{}, devices.{name}", path.display()))?;
    }
    Ok(file.devices)
}

/// Adds a board to `devices.toml`, behind what the user wrote there.
pub fn add(name: &str, entry: &Entry) -> Result<PathBuf> {
    check(name, entry)?;
    let path = path();
    if all()?.contains_key(name) {
        return Err(exit::usage(format!(
            "{name} is in {} already; change it there, or choose another name",
            path.display()
        )));
    }
    let at = || format!("cannot write {}", path.display());
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(at)?;
    let mut text = if path.exists() { std::fs::read(&path).with_context(at)? } else { Vec::new() };
    if text.last().is_some_and(|&last| last != b'\n') {
        text.push(b'\n');
    }
    let added = File { devices: [(name.to_owned(), entry.clone())].into() };
    text.extend(toml::to_string(&added).context("an entry has a TOML form")?.into_bytes());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(at)?;
    file.write_all(&text).and_then(|()| file.as_file().sync_all()).with_context(at)?;
    file.persist(&path).with_context(at)?;
    Ok(path)
}

/// `$PIPELINE_DEVICES`, or `pipeline/devices.toml` in the user's configuration.
pub fn path() -> PathBuf {
    match std::env::var_os("PIPELINE_DEVICES") {
        Some(path) => path.into(),
        None => users("XDG_CONFIG_HOME", ".config").join("pipeline/devices.toml"),
    }
}

/// The entry of this name, or one for an address.
fn find(name: &str) -> Result<Entry> {
    if name.contains("://") {
        let address = name.to_owned();
        return Ok(Entry { address, target: None, folder: None, agent: None, allow_root: false });
    }
    let mut devices = all()?;
    let known = devices.keys().cloned().collect::<Vec<_>>().join(", ");
    devices.remove(name).ok_or_else(|| {
        let known = if known.is_empty() { "no board yet".to_owned() } else { known };
        exit::usage(format!(
            "no device {name:?}: write local, counted, recorded:FILE, ssh://USER@HOST, adb://SERIAL, or a name in {} ({known}); \
             `pipeline device add` adds one",
            path().display()
        ))
    })
}

/// Refuses what could not be used, as early as it is written.
fn check(name: &str, entry: &Entry) -> Result<()> {
    let is_name = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    if name.is_empty() || !name.chars().all(is_name) || name.starts_with('-') || BUILT_IN.contains(&name) {
        return Err(exit::usage(format!(
            "{name:?} cannot be a device's name: use letters, digits, - and _, and not {}",
            BUILT_IN.join(", ")
        )));
    }
    entry.address.parse::<Address>()?;
    if let Some(target) = &entry.target {
        Target::find(target)?;
    }
    let is_folder = |it: &String| (it.starts_with('/') || it.starts_with("~/")) && !it.contains(char::is_control);
    if entry.folder.as_ref().is_some_and(|it| !is_folder(it)) {
        return Err(exit::usage("folder: write an absolute path on the board, or one that begins with ~/"));
    }
    Ok(())
}

/// The agent that `pipeline agent build` has made for boards of `triple`.
fn built(triple: &str) -> Result<PathBuf> {
    let path = kit::agent(triple);
    if path.is_file() {
        return Ok(path);
    }
    let why = format!(
        "there is no agent for {triple} at {}; make one with `pipeline agent build`, or name a file with --agent",
        path.display()
    );
    Err(DeviceError::Unavailable { device: "agent".to_owned(), why }.into())
}

/// A folder of the user's, by the variable that names it or below the home folder.
pub fn users(variable: &str, below_home: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(below_home));
    std::env::var_os(variable).map(PathBuf::from).or_else(home).unwrap_or_default()
}
