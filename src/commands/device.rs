//! `pipeline device`: boards by name, whether they can be reached, and what is on them.

use anyhow::Result;
use runtime::{device::Site, facts::Facts};
use targets::{Metric, Target};

use crate::{
    cli::{DeviceArgs, DeviceCommand},
    devices::{self, Entry},
    exit::{self, Exit},
    terminal,
};

/// The command.
pub fn run(args: &DeviceArgs) -> Result<Exit> {
    match &args.command {
        DeviceCommand::Add { name, address, target, folder, agent, allow_root } => {
            let found = Target::find(target)?;
            // A file's path must hold wherever the name is used.
            let is_file = Target::builtin().iter().all(|it| it.name != found.name);
            let target = Some(if is_file { std::path::absolute(target)?.display().to_string() } else { found.name });
            let agent = agent.as_ref().map(std::path::absolute).transpose()?;
            let (address, folder) = (address.clone(), folder.clone());
            let entry = Entry { address, target, folder, agent, allow_root: *allow_root };
            let path = devices::add(name, &entry)?;
            let told = serde_json::json!({ "name": name, "device": entry, "file": path });
            let words = format!("added {name} to {}\nnext: pipeline device check {name}", path.display());
            tell(args.json, &told, &words);
        }
        DeviceCommand::List => {
            let all = devices::all()?;
            let rows = all
                .iter()
                .map(|(name, it)| format!("{name:<12} {:<8} {}", it.target.as_deref().unwrap_or("?"), it.address));
            let mut lines = rows.collect::<Vec<_>>();
            if lines.is_empty() {
                lines.push(format!("no boards in {}", devices::path().display()));
                lines.push("add one: pipeline device add pi ssh://pi@raspberrypi.local --target rpi4".to_owned());
            }
            tell(args.json, &serde_json::to_value(&all)?, &lines.join("\n"));
        }
        DeviceCommand::Check { name, target, agent } => {
            refuse_what_is_no_board(name)?;
            let target = target.as_deref().map(Target::find).transpose()?;
            let mut remote = devices::remote(name, target.as_ref(), agent.as_deref())?;
            let site = remote.connect()?;
            let told = serde_json::json!({
                "name": name, "folder": site.folder, "skipped": site.skipped, "machine": site.machine, "facts": site.facts,
            });
            tell(args.json, &told, &describe(name, site));
        }
        DeviceCommand::Clean { name, target, agent } => {
            refuse_what_is_no_board(name)?;
            let target = target.as_deref().map(Target::find).transpose()?;
            let removed = devices::remote(name, target.as_ref(), agent.as_deref())?.clean()?;
            let words = match removed.as_slice() {
                [] => format!("nothing of ours was on {name}"),
                folders => format!("removed {} from {name}", folders.join(", ")),
            };
            tell(args.json, &serde_json::json!({ "name": name, "removed": removed }), &words);
        }
    }
    Ok(Exit::Ok)
}

fn refuse_what_is_no_board(name: &str) -> Result<()> {
    if name == "local" || name.starts_with("recorded:") {
        return Err(exit::usage(format!(
            "{name} is no board over ssh or adb; `pipeline doctor` tells of this machine"
        )));
    }
    Ok(())
}

fn tell(json: bool, told: &serde_json::Value, words: &str) {
    terminal::print(&if json { told.to_string() } else { words.to_owned() });
}

/// What a person wants to know of a board before measuring on it.
fn describe(name: &str, site: &Site) -> String {
    let Site { folder, skipped, machine, facts, .. } = site;
    let now = &facts.conditions;
    let unknown = || "unknown: the board does not tell".to_owned();
    let bytes = |bytes: u64| Metric::Memory.format(bytes as f64);
    let board = facts.board.clone().unwrap_or_else(unknown);
    let rows = [
        ("device", format!("{name} answers: {board}")),
        ("agent", format!("{} with {}, in {folder}", facts.agent, facts.engine)),
        ("processor", format!("{} ({machine}), {} cores", now.cpu, now.cores)),
        ("memory", facts.memory_bytes.map_or_else(unknown, bytes)),
        ("kernel", now.kernel.clone()),
        ("governor", now.governor.clone().unwrap_or_else(unknown)),
        ("frequency", now.frequency_khz.map_or_else(unknown, |khz| format!("{:.2} GHz", khz as f64 * 1e-6))),
        ("temperature", now.temperature_millic.map_or_else(unknown, |it| format!("{:.1} °C", it as f64 * 1e-3))),
        ("throttled", now.throttled.map_or_else(unknown, |bits| format!("{bits:#x}"))),
        ("supply", supply(facts)),
        ("radios", radios(facts)),
    ];
    let mut lines: Vec<String> = rows.into_iter().map(|(key, value)| format!("{key:<12} {value}")).collect();
    lines.extend(skipped.iter().map(|it| format!("note: not used: {it}")));
    if now.governor.as_deref().is_some_and(|it| it != "performance") {
        lines.push(
            "measuring    set the governor first, on the board: sudo cpupower frequency-set -g performance".to_owned(),
        );
    }
    lines.push(format!("next: pipeline measure MODEL.onnx --device {name}"));
    lines.join("\n")
}

fn supply(facts: &Facts) -> String {
    match facts.undervoltage {
        Some(true) => "TOO WEAK since the board was started: it slows the board down, use a stronger one".to_owned(),
        Some(false) => "strong enough so far".to_owned(),
        None => "unknown: the board does not tell".to_owned(),
    }
}

fn radios(facts: &Facts) -> String {
    match facts.radios.as_deref() {
        None => "unknown: the board does not tell".to_owned(),
        Some([]) => "none".to_owned(),
        Some(radios) => {
            let states = radios.iter().map(|it| format!("{} {}", it.kind, if it.on { "on" } else { "off" }));
            states.collect::<Vec<_>>().join(", ")
        }
    }
}
