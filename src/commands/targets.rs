//! `pipeline targets`: the kinds of boards.

use anyhow::Result;
use targets::{Target, Work};

use crate::{
    cli::{TargetsArgs, TargetsCommand},
    exit::Exit,
    terminal,
};

/// The command.
pub fn run(args: &TargetsArgs) -> Result<Exit> {
    match &args.command {
        None if args.json => terminal::print(&serde_json::to_string(Target::builtin())?),
        None => {
            for target in Target::builtin() {
                terminal::print(&format!("{:<11} {}", target.name, target.title));
            }
            terminal::print("more: pipeline targets show NAME; a target file of your own works wherever a name does");
        }
        Some(TargetsCommand::Show { name }) => {
            let target = Target::find(name)?;
            if args.json {
                terminal::print(&serde_json::to_string(&target)?);
            } else {
                show(&target);
            }
        }
    }
    Ok(Exit::Ok)
}

fn show(target: &Target) {
    terminal::print(&format!("{}: {}", target.name, target.title));
    terminal::print(&format!("  programs     {}", target.triple));
    terminal::print(&format!("  cores        {}, of which a model uses {}", target.cores, target.threads));
    if let Some([low, high]) = target.clock_mhz {
        terminal::print(&format!("  clock        {low:.0} to {high:.0} MHz"));
    }
    terminal::print(&format!("  memory       {}", targets::Metric::Memory.format(target.memory_bytes as f64)));
    terminal::print(&format!("  promises     the {:.0} % percentile of latency", 100.0 * target.percentile));
    for bound in &target.budget.bounds {
        if let Some(max) = bound.max {
            terminal::print(&format!("  default      {} at most {}", bound.metric.name(), bound.metric.format(max)));
        }
    }
    let [low, high] = target.latency.interval;
    terminal::print(&format!("  latency      {} ({low} to {high} times the estimate)", target.latency.source));
    for work in Work::ALL {
        if let Some(price) = target.latency.ns_per_unit.get(&work) {
            terminal::print(&format!("    {:<12} {price} ns per {}", work.name(), work.unit()));
        }
    }
    if let Some(roofline) = &target.roofline {
        terminal::print(&format!(
            "  at most      {} FLOPs a cycle, {} a second copied ({})",
            roofline.flops_per_cycle,
            targets::Metric::Memory.format(roofline.copied_bytes_per_second),
            roofline.source
        ));
    }
    terminal::print(&format!("\n{}", target.notes.trim()));
}
