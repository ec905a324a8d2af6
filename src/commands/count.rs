//! `pipeline measure --device counted`: instructions instead of time, where there is no board.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use targets::{Bound, Counts, Judgement, Metric, NodeCounts, Target};

use super::measure;
use crate::{
    calibrations,
    cli::MeasureArgs,
    exit::{self, Exit},
    kit, terminal,
};

/// Relative difference between two counts from which on it is a change. Counts of one file by one agent are equal; those
/// by another build of the agent, or of a model exported anew, are not to the last instruction.
pub const CHANGE: f64 = 0.01;

/// Counts one inference of the model, and judges it.
pub fn file(args: &MeasureArgs, model: &Path, target: &Target) -> Result<Exit> {
    let calibration = calibrations::choose(None, target)?.map(|it| it.0).filter(|it| it.counts.is_some());
    let scale = calibrations::scale(calibration.as_ref(), target)?;
    let counts = kit::counting(target)?.count(model)?;
    let figure = scale.latency(&counts, 0);
    if let Some(path) = &args.save {
        measure::save(path, &counts)?;
    }
    let judgement = match &args.max_latency {
        Some(text) => {
            let max =
                Metric::Latency.parse(text).map_err(|error| exit::usage(format!("--max-latency {text}: {error}")))?;
            let bound = Bound { metric: Metric::Latency, min: None, max: Some(max), hard: true };
            Some(bound.judge(Some(&figure)))
        }
        None => None,
    };
    let change = args.against.as_ref().map(|path| against(path, &counts)).transpose()?;
    if args.json {
        let found =
            serde_json::json!({ "latency": figure, "judgement": judgement, "change": change, "counts": counts });
        terminal::print(&found.to_string());
    } else {
        lines(&counts);
        terminal::print(&format!("latency       {}", figure.describe(Metric::Latency)));
        if let (Some(judgement), Some(text)) = (judgement, &args.max_latency) {
            terminal::print(&format!("{text}: {}", measure::in_words(judgement)));
        }
        if let Some(change) = change {
            let verdict = if change <= CHANGE { "no more than before" } else { "more than before" };
            terminal::print(&format!("against the baseline: {:+.2} % instructions, {verdict}", 100.0 * change));
        }
    }
    let grew = change.is_some_and(|change| CHANGE < change);
    let holds = judgement.is_none_or(|it| it == Judgement::Met) && !grew;
    Ok(if holds { Exit::Ok } else { Exit::NotMet })
}

fn lines(counts: &Counts) {
    let millions = |n: u64| format!("{:.3} M", n as f64 * 1e-6);
    terminal::print(&format!(
        "instructions  {} of one inference ({} read memory, {} write it), {} emulated, {}",
        millions(counts.instructions),
        millions(counts.loads),
        millions(counts.stores),
        counts.processor,
        counts.engine
    ));
    let mut by_op: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for NodeCounts { op, instructions, .. } in &counts.nodes {
        let (sum, n) = by_op.entry(op).or_default();
        *sum += instructions;
        *n += 1;
    }
    let mut by_op: Vec<_> = by_op.into_iter().collect();
    by_op.sort_by_key(|&(_, (sum, _))| std::cmp::Reverse(sum));
    for (op, (sum, n)) in by_op.into_iter().take(MOST_OPS) {
        let share = 100.0 * sum as f64 / counts.instructions.max(1) as f64;
        terminal::print(&format!("              {:>10}  {share:4.1} %  {op} ({n})", millions(sum)));
    }
}

/// Operators that are listed.
const MOST_OPS: usize = 8;

/// Relative growth over the last counts in a file of JSON lines.
fn against(path: &Path, counts: &Counts) -> Result<f64> {
    let before: Counts = measure::last(path)?;
    let same = [("target", &before.target, &counts.target), ("processor", &before.processor, &counts.processor)];
    if let Some((what, then, now)) = same.into_iter().find(|(_, then, now)| then != now) {
        let why = format!("{}: the baseline's {what} is {then}, not {now}; they cannot be compared", path.display());
        return Err(exit::Failure { exit: Exit::Invalid, message: why }.into());
    }
    Ok(counts.instructions as f64 / before.instructions.max(1) as f64 - 1.0)
}
