//! Measuring for a verdict: rounds of blocks until the bounds and the baseline are told, and what spoils it.

use std::path::Path;

use runtime::device::{Device, DeviceError};
use targets::{
    Allow, Bound, Conditions, Measurement, Metric, Protocol, Reason, Verdict, against_bound, differences, in_rounds,
    regression,
};

use super::{Check, CheckResult, Numbers, signed_percent};
use crate::{on_device, receipt::MeasuredLatency, terminal::say};

/// What a measurement must decide.
pub struct Question<'a> {
    /// Bounds; those of other metrics are passed over.
    pub bounds: &'a [Bound],
    /// Percentile of latency that is bounded, 0 to 1.
    pub percentile: f64,
    /// What it is compared with.
    pub baseline: Option<&'a Measurement>,
    /// Models judged together.
    pub n_models: usize,
    /// Rules waived.
    pub allow: Allow,
}

impl Question<'_> {
    /// Times `model` by the whole protocol, in as many rounds as the question needs, at most three.
    pub fn measure(&self, device: &mut dyn Device, model: &Path) -> Result<Measurement, DeviceError> {
        let mut rounds = 0;
        let take = || {
            rounds += 1;
            if 1 < rounds {
                say(&format!("{}: not decided yet, taking more blocks", model.display()));
            }
            on_device::measure(device, model, &Protocol::default(), self.allow, on_device::TRIES)
        };
        in_rounds(take, |measurement, rounds| self.is_settled(measurement, rounds))
    }

    fn is_settled(&self, measurement: &Measurement, rounds: usize) -> bool {
        let figure = measurement.figure(self.percentile);
        let bounds = self.bounds.iter().filter(|bound| bound.hard && bound.metric == Metric::Latency);
        let verdict = |bound| figure.as_ref().map_or(Verdict::CannotTell, |figure| against_bound(figure, bound));
        let is_compared = |baseline| {
            // More blocks make no two boards the same.
            let is_comparable = differences(baseline, measurement).is_empty();
            !is_comparable || regression(baseline, measurement).is_settled(rounds, self.n_models)
        };
        bounds.map(verdict).all(|verdict| verdict.is_settled(rounds)) && self.baseline.is_none_or(is_compared)
    }
}

/// Whether `measurement` is evidence about the model with this hash; a check that says why not.
pub fn evidence(measurement: &Measurement, model_sha256: &str, allow: &Allow) -> Check {
    let (what, device) = ("measurement", &measurement.device);
    if measurement.model_sha256 != model_sha256 {
        let short = &measurement.model_sha256.get(..16).unwrap_or(&measurement.model_sha256);
        let found = format!("on {device}: it is of another file (sha256 {short}); measure this one");
        return Check::of(what, CheckResult::Invalid, found);
    }
    let reasons = measurement.invalid(allow);
    if !reasons.is_empty() {
        return Check::of(what, CheckResult::Invalid, format!("on {device}: {}", joined(&reasons)));
    }
    let n: usize = measurement.blocks.iter().map(|block| block.wall_ns.len()).sum();
    let mut found = format!("on {device}: {n} runs in {} blocks", measurement.blocks.len());
    for note in measurement.notes(allow) {
        found += &format!("; {note}");
    }
    Check::new(what, true, found)
}

/// `now` against the baseline.
pub fn compare(baseline: &Measurement, now: &Measurement) -> Check {
    let what = "latency against the baseline";
    let found = regression(baseline, now);
    let (low, high) = found.interval;
    let numbers = format!(
        "{} ({} to {}), p = {}, {} blocks against {}",
        signed_percent(found.shift),
        signed_percent(low),
        signed_percent(high),
        chance(found.p),
        now.blocks.len(),
        baseline.blocks.len()
    );
    let mut reasons: Vec<String> = differences(baseline, now).iter().map(ToString::to_string).collect();
    let allow = Allow { governor: baseline.after.governor == now.after.governor, noisy: false };
    reasons.extend(now.invalid(&allow).iter().map(ToString::to_string));
    let result = match found.verdict {
        Verdict::Pass => CheckResult::Holds,
        Verdict::Fail => CheckResult::Fails,
        Verdict::CannotTell if reasons.is_empty() => CheckResult::CannotTell,
        Verdict::CannotTell => CheckResult::Invalid,
    };
    let aside = match found.set_aside {
        0 => String::new(),
        n => format!("; {n} blocks struck by other work set aside"),
    };
    let words = if reasons.is_empty() { numbers + &aside } else { reasons.join("; ") };
    Check { numbers: Some(Numbers::Comparison(found)), ..Check::of(what, result, words) }
}

/// A probability: `0.711`, `5.4e-6`.
fn chance(p: f64) -> String {
    if p < 1e-3 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

/// The machine around a measurement, in a few words.
pub fn conditions(latency: &MeasuredLatency) -> String {
    let Conditions { governor, throttled, other_load, .. } = &latency.after;
    let both = |value: fn(&Conditions) -> Option<f64>, unit: &str, decimals: usize| {
        let (before, after) = (value(&latency.before)?, value(&latency.after)?);
        let (before, after) = (format!("{before:.decimals$}"), format!("{after:.decimals$}"));
        Some(if before == after { format!("{after} {unit}") } else { format!("{before} to {after} {unit}") })
    };
    let words = [
        Some(format!("board {}", latency.fingerprint)),
        governor.as_ref().map(|governor| format!("governor {governor}")),
        both(|it| it.frequency_khz.map(|khz| khz as f64 * 1e-3), "MHz", 0),
        both(|it| it.temperature_millic.map(|millic| millic as f64 * 1e-3), "°C", 1),
        throttled.map(|bits| if bits == 0 { "not throttled".to_owned() } else { format!("throttle bits {bits:#07x}") }),
        other_load.map(|share| format!("{:.1} % other load", 100.0 * share)),
        Some(latency.engine.clone()),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn joined(reasons: &[Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
