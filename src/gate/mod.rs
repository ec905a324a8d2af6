//! A gate: what is looked at in models, what that comes to, and how it is told.
//!
//! A gate passes what is shown to hold. What fails is shown not to hold; everything between is "cannot
//! tell", and a measurement that is no evidence is as good as none.

pub mod baseline;
pub mod bounds;
pub mod junit;
pub mod markdown;
pub mod promise;
pub mod subject;
pub mod timing;

use serde::Serialize;
use targets::{Bound, Figure, Metric, Regression, Verdict};

use crate::{exit::Exit, receipt::MeasuredLatency};

/// Everything that a gate found.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// Model by model, in the order asked.
    pub models: Vec<Model>,
}

impl Findings {
    /// Fails where any check fails; else cannot tell where any cannot or is invalid, or where none holds:
    /// that nothing was looked at shows nothing.
    pub fn verdict(&self) -> Verdict {
        let has = |result| self.models.iter().flat_map(|model| &model.checks).any(|check| check.result == result);
        if has(CheckResult::Fails) {
            return Verdict::Fail;
        }
        let is_doubtful = has(CheckResult::CannotTell) || has(CheckResult::Invalid) || !has(CheckResult::Holds);
        if is_doubtful { Verdict::CannotTell } else { Verdict::Pass }
    }

    /// The exit code of the verdict.
    pub fn exit(&self) -> Exit {
        match self.verdict() {
            Verdict::Pass => Exit::Ok,
            Verdict::Fail => Exit::NotMet,
            Verdict::CannotTell => Exit::Invalid,
        }
    }

    /// Judges the comparisons of all models together, by Holm's correction.
    pub fn correct(&mut self) {
        let n_models = self.models.len();
        let checks = self.models.iter_mut().flat_map(|model| &mut model.checks);
        let (mut compared, mut comparisons) = (Vec::new(), Vec::new());
        for check in checks {
            if let Some(Numbers::Comparison(regression)) = check.numbers {
                compared.push(check);
                comparisons.push(regression);
            }
        }
        targets::verdict::holm(&mut comparisons);
        for (check, regression) in compared.into_iter().zip(comparisons) {
            if check.result == CheckResult::Fails && regression.verdict == Verdict::CannotTell {
                check.result = CheckResult::CannotTell;
                check.found += &format!("; among {n_models} models this may be chance (Holm's correction)");
                check.numbers = Some(Numbers::Comparison(regression));
            }
        }
    }
}

/// What was found of one model.
#[derive(Debug, Serialize)]
pub struct Model {
    /// As it was asked for.
    pub name: String,
    /// In the order made.
    pub checks: Vec<Check>,
    /// The measured latency, where there is a valid one.
    pub latency: Option<MeasuredLatency>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// How it went.
    pub result: CheckResult,
    /// The figures, or the reason, in words.
    pub found: String,
    /// What the words are about, where it is a figure.
    pub numbers: Option<Numbers>,
}

impl Check {
    /// A check that holds or fails.
    pub fn new(what: impl Into<String>, holds: bool, found: impl Into<String>) -> Self {
        Self::of(what, if holds { CheckResult::Holds } else { CheckResult::Fails }, found)
    }

    /// A check with any result.
    pub fn of(what: impl Into<String>, result: CheckResult, found: impl Into<String>) -> Self {
        Self { what: what.into(), result, found: found.into(), numbers: None }
    }
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// It holds for certain.
    Holds,
    /// It does not, for certain.
    Fails,
    /// What is known does not decide.
    CannotTell,
    /// What was measured is no evidence.
    Invalid,
    /// Not looked at: something needed for it is not here, or it binds nobody.
    Skipped,
}

impl CheckResult {
    /// The word for a line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "FAILS",
            Self::CannotTell => "UNCLEAR",
            Self::Invalid => "INVALID",
            Self::Skipped => "skipped",
        }
    }
}

/// The numbers behind a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Numbers {
    /// A figure against its bound.
    Bound {
        /// The bound.
        bound: Bound,
        /// The figure.
        figure: Figure,
    },
    /// A measurement against the baseline.
    Comparison(Regression),
}

/// A limit with its direction: `<= 20 ms`.
pub fn limit(bound: &Bound) -> String {
    let Bound { metric, min, max, .. } = bound;
    let side = |sign, value: Option<f64>| value.map(|value| format!("{sign} {}", metric.format(value)));
    side("<=", *max).into_iter().chain(side(">=", *min)).collect::<Vec<_>>().join(" and ")
}

/// A share with its sign, in percent: `+3.2 %`.
pub fn signed_percent(share: f64) -> String {
    format!("{:+.1} %", 100.0 * share)
}

/// A percentile as it is written: `p90`, `p99.9`.
pub fn percentile(share: f64) -> String {
    // Shares such as 0.999 have no exact binary form: rounded to what people write.
    format!("p{}", (share * 1e5).round() / 1e3)
}

/// What is checked by a bound: `hard bound on latency (p90)`.
fn bound_name(bound: &Bound, share: f64) -> String {
    let kind = if bound.hard { "hard" } else { "soft" };
    let of = if bound.metric == Metric::Latency { format!(" ({})", percentile(share)) } else { String::new() };
    format!("{kind} bound on {}{of}", bound.metric.name())
}

#[cfg(test)]
mod tests;
