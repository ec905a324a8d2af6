//! `pipeline doctor`: what this machine can do for a search and for measuring.

use anyhow::Result;
use search::train::Compute;

use super::downloads;
use crate::{cli::JsonArgs, exit::Exit, on_device, terminal};

/// The command.
pub fn run(args: &JsonArgs) -> Result<Exit> {
    let facts = on_device::worker()?.facts()?;
    let now = &facts.conditions;
    let cuda = match (Compute::has_cuda(), Compute::cuda_devices()) {
        (false, _) => "not in this build (cargo build --release --features cuda)".to_owned(),
        (true, 0) => "no GPU found; is the driver loaded?".to_owned(),
        (true, n) => format!("{n} GPU"),
    };
    let data = downloads();
    if args.json {
        let found = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "facts": facts, "cuda": cuda, "downloads": data,
        });
        terminal::print(&found.to_string());
        return Ok(Exit::Ok);
    }
    let unknown = || "unknown: this machine does not tell".to_owned();
    let rows = [
        ("version", format!("pipeline {}, agent {}, {}", env!("CARGO_PKG_VERSION"), facts.agent, facts.engine)),
        ("processor", format!("{} ({}), {} cores", now.cpu, facts.arch, now.cores)),
        (
            "memory",
            now.free_memory_bytes
                .map_or_else(unknown, |it| format!("{} free", targets::Metric::Memory.format(it as f64))),
        ),
        ("load", now.load_average.map_or_else(unknown, |it| format!("{it:.2}"))),
        ("governor", now.governor.clone().unwrap_or_else(unknown)),
        ("frequency", now.frequency_khz.map_or_else(unknown, |it| format!("{:.2} GHz", it as f64 * 1e-6))),
        ("temperature", now.temperature_millic.map_or_else(unknown, |it| format!("{:.1} °C", it as f64 * 1e-3))),
        ("CUDA", cuda),
        ("downloads", data.display().to_string()),
    ];
    for (name, value) in rows {
        terminal::print(&format!("{name:<12} {value}"));
    }
    if now.governor.as_deref().is_some_and(|it| it != "performance") {
        terminal::print("measuring    set the governor first: cpupower frequency-set -g performance");
    }
    if now.load_average.is_some_and(|load| 0.5 < load) {
        terminal::print("measuring    other work is running: measurements here may be refused as noisy");
    }
    Ok(Exit::Ok)
}
