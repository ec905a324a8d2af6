//! Figures against bounds: what is counted in the file or the architecture, and what was measured.

use runtime::validate::ModelInfo;
use targets::{Bound, Cost, Figure, Judgement, Metric};

use super::{Check, CheckResult, Numbers, bound_name, limit};

/// Judges `bound` by what is known; latency is that at `percentile`, 0 to 1.
pub fn check(bound: &Bound, cost: &Cost, percentile: f64) -> Check {
    let what = bound_name(bound, percentile);
    let figure = cost.get(bound.metric);
    let result = match bound.judge(figure) {
        Judgement::Met => CheckResult::Holds,
        // A soft bound shapes a search and promises nothing.
        Judgement::Broken | Judgement::CannotTell | Judgement::Unknown if !bound.hard => CheckResult::Skipped,
        Judgement::Broken => CheckResult::Fails,
        Judgement::CannotTell | Judgement::Unknown => CheckResult::CannotTell,
    };
    let Some(figure) = figure else {
        return Check::of(what, result, format!("{}, against {}", unknown(bound.metric), limit(bound)));
    };
    let found = format!("{} against {}", figure.describe(bound.metric), limit(bound));
    let numbers = Some(Numbers::Bound { bound: *bound, figure: figure.clone() });
    Check { numbers, ..Check::of(what, result, found) }
}

/// What the file alone tells of a model.
pub fn counted(info: &ModelInfo) -> Cost {
    let mut cost = Cost::default();
    for (metric, value) in [
        (Metric::Params, info.parameters),
        (Metric::Macs, info.macs),
        (Metric::Activations, info.activation_bytes),
        (Metric::Flash, info.file_bytes),
    ] {
        cost.set(metric, Figure::exact(value as f64));
    }
    cost
}

/// Why there is no figure.
fn unknown(metric: Metric) -> &'static str {
    match metric {
        Metric::Latency | Metric::Memory => "no valid measurement; --device takes one",
        Metric::Intensity | Metric::TrainTime => "not known of a file alone; verify a receipt",
        Metric::Params | Metric::Macs | Metric::Activations | Metric::Flash => "not counted",
    }
}
