//! `pipeline verify`: holds models to their receipts, to budgets and to baselines; for people and for gates.

use anyhow::{Context, Result};
use runtime::{
    device::DeviceError,
    validate::{Limits, ModelInfo, validate},
};
use targets::{Allow, Bound, Cost, Measurement, Metric, Source, Target, Verdict};

use crate::{
    cli::VerifyArgs,
    config, devices,
    exit::{self, Exit},
    gate::{
        Check, CheckResult, Findings, Model, baseline::Baseline, bounds, junit, markdown, percentile, promise,
        subject::Subject, timing,
    },
    receipt::{MeasuredLatency, Outcome, Receipt},
    run_folder::MODEL,
    terminal,
};

use super::settle;

/// The command.
pub fn run(args: &VerifyArgs) -> Result<Exit> {
    let subjects = subjects(args)?;
    let gate = Gate::read(args, &subjects)?;
    let mut findings = Findings::default();
    for (idx, subject) in subjects.iter().enumerate() {
        findings.models.push(gate.check(subject, idx)?);
    }
    findings.correct();
    write(args, &findings)?;
    if args.json {
        terminal::print(&json(&findings).to_string());
    } else {
        show(&findings);
    }
    Ok(findings.exit())
}

fn subjects(args: &VerifyArgs) -> Result<Vec<Subject>> {
    if let Some(run) = &args.run {
        return Ok(vec![Subject::of_run(run)?]);
    }
    let found: Result<Vec<_>> = args.paths.iter().map(|path| Subject::at(path)).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// What the models are held to beside their receipts.
struct Gate<'a> {
    args: &'a VerifyArgs,
    bounds: Vec<Bound>,
    baselines: Vec<Baseline>,
    allow: Allow,
    n_models: usize,
}

impl<'a> Gate<'a> {
    fn read(args: &'a VerifyArgs, subjects: &[Subject]) -> Result<Self> {
        let mut bounds = match &args.budget {
            Some(path) => config::read_budget(path)?.bounds,
            None => Vec::new(),
        };
        if let Some(text) = &args.max_latency {
            let max =
                Metric::Latency.parse(text).map_err(|error| exit::usage(format!("--max-latency {text}: {error}")))?;
            // The flag wins over the file.
            bounds.retain(|bound| bound.metric != Metric::Latency || bound.max.is_none());
            bounds.push(Bound { metric: Metric::Latency, min: None, max: Some(max), hard: true });
        }
        let baselines = args.baseline.iter().map(|path| Baseline::read(path)).collect::<Result<Vec<_>>>()?;
        let n_models = subjects.len();
        if 1 < baselines.len() && baselines.len() != n_models {
            return Err(exit::usage(format!(
                "{} times --baseline for {n_models} models; give one for all, or one a model in the same order",
                baselines.len()
            )));
        }
        let is_bare = |subject: &&Subject| subject.receipt.is_none();
        if let Some(subject) = subjects.iter().find(is_bare)
            && bounds.is_empty()
            && baselines.is_empty()
        {
            return Err(exit::usage(format!(
                "nothing to hold {} to: give --max-latency, --budget or --baseline, or name its receipt",
                subject.name
            )));
        }
        let allow = Allow { noisy: args.allow_noisy, governor: args.allow_noisy };
        Ok(Self { args, bounds, baselines, allow, n_models })
    }

    fn check(&self, subject: &Subject, idx: usize) -> Result<Model> {
        let path = &subject.model;
        let bytes = match &subject.receipt {
            Some((folder, _)) => folder.read(MODEL)?,
            None => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        };
        let info = validate(&bytes, &Limits::default())?;
        let receipt = subject.receipt.as_ref().map(|(_, receipt)| receipt.as_ref());
        let (mut cost, mut checks) = self.counted(subject, &info)?;
        let share = self.percentile(receipt)?;
        let bounds = self.bounds_of(receipt);
        let baseline = self.baseline(&info.sha256, idx).transpose();
        let known = baseline.as_ref().and_then(|it| it.as_ref().ok());
        let question = timing::Question {
            bounds: &bounds,
            percentile: share,
            baseline: known.copied(),
            n_models: self.n_models,
            allow: self.allow,
        };
        let (measurement, said) = self.measurement(subject, &info, &question)?;
        checks.extend(said);
        self.settle_cost(&mut cost, measurement.as_ref(), receipt, share)?;
        checks.extend(bounds.iter().map(|bound| bounds::check(bound, &cost, share)));
        checks.extend(receipt.map(|receipt| outcome(receipt, &cost)));
        checks.extend(baseline.map(|baseline| compared(baseline, measurement.as_ref())));
        let latency = measurement.as_ref().and_then(|it| MeasuredLatency::of(it, share, &self.allow));
        Ok(Model { name: subject.name.clone(), checks, latency })
    }

    /// What can be counted, and the checks of a receipt's other promises.
    fn counted(&self, subject: &Subject, info: &ModelInfo) -> Result<(Cost, Vec<Check>)> {
        let Some((folder, receipt)) = &subject.receipt else { return Ok((bounds::counted(info), Vec::new())) };
        let mut checks = promise::checks(folder, receipt, self.args.data.as_deref())?;
        let (cost, counts) = promise::recount(receipt, info.file_bytes as usize)?;
        checks.extend(counts);
        if let Some(measurement) = &receipt.measurement {
            let promised = Target::find(&receipt.target)?.percentile;
            checks.extend(promise::samples(receipt, measurement, promised));
        }
        Ok((cost, checks))
    }

    /// The measurement to judge by, where there is a valid one: taken now, or the receipt's. And what is to
    /// be said of it.
    fn measurement(
        &self,
        subject: &Subject,
        info: &ModelInfo,
        question: &timing::Question,
    ) -> Result<(Option<Measurement>, Option<Check>)> {
        let receipt = subject.receipt.as_ref().map(|(_, receipt)| receipt);
        let found = match (&self.args.device, receipt) {
            (Some(device), _) => {
                let target = self.target(receipt.map(AsRef::as_ref))?;
                let mut device = devices::open(device, &target, self.args.agent.as_deref())?;
                match question.measure(device.as_mut(), &subject.model) {
                    Ok(measurement) => Some(measurement),
                    Err(DeviceError::Invalid { device, why }) => {
                        let check = Check::of("measurement", CheckResult::Invalid, format!("on {device}: {why}"));
                        return Ok((None, Some(check)));
                    }
                    Err(
                        error @ (DeviceError::Lost { .. }
                        | DeviceError::Unavailable { .. }
                        | DeviceError::Rejected(_)
                        | DeviceError::Io { .. }),
                    ) => return Err(error.into()),
                }
            }
            (None, receipt) => receipt.and_then(|receipt| receipt.measurement.clone()),
        };
        let Some(measurement) = found else { return Ok((None, None)) };
        let check = timing::evidence(&measurement, &info.sha256, &self.allow);
        let is_evidence = check.result == CheckResult::Holds;
        Ok((is_evidence.then_some(measurement), Some(check)))
    }

    /// Latency and memory as measured. Where there was a measurement and it is no evidence, they are
    /// unknown; an estimate stands where nothing was measured, for the percentile that it is of.
    fn settle_cost(
        &self,
        cost: &mut Cost,
        measurement: Option<&Measurement>,
        receipt: Option<&Receipt>,
        share: f64,
    ) -> Result<()> {
        let is_other_percentile = share != self.target(receipt)?.percentile;
        cost.figures.retain(|metric, figure| {
            let is_estimate = !matches!(figure.source, Source::Measured { .. }) && self.args.device.is_none();
            match metric {
                Metric::Latency => is_estimate && !is_other_percentile,
                Metric::Memory => is_estimate,
                Metric::Params
                | Metric::Macs
                | Metric::Activations
                | Metric::Flash
                | Metric::Intensity
                | Metric::TrainTime => true,
            }
        });
        let Some(measurement) = measurement else { return Ok(()) };
        if let Some(figure) = measurement.figure(share) {
            cost.set(Metric::Latency, figure);
        }
        if let Some(memory) = measurement.memory() {
            cost.set(Metric::Memory, memory);
        }
        Ok(())
    }

    fn percentile(&self, receipt: Option<&Receipt>) -> Result<f64> {
        match self.args.percentile {
            Some(share) => Ok(share),
            None => Ok(self.target(receipt)?.percentile),
        }
    }

    fn target(&self, receipt: Option<&Receipt>) -> Result<Target> {
        let name = self.args.target.as_deref().or(receipt.map(|receipt| receipt.target.as_str()));
        Ok(Target::find(name.unwrap_or("host"))?)
    }

    /// The receipt's bounds, and those of the gate that it does not have.
    fn bounds_of(&self, receipt: Option<&Receipt>) -> Vec<Bound> {
        let mut bounds: Vec<Bound> = receipt.into_iter().flat_map(|it| &it.bounds).map(|it| it.bound).collect();
        for bound in &self.bounds {
            if !bounds.contains(bound) {
                bounds.push(*bound);
            }
        }
        bounds
    }

    /// The baseline of the model with this hash, where one was asked for.
    fn baseline(&self, model_sha256: &str, idx: usize) -> Result<Option<&Measurement>, String> {
        let is_its_own = self.baselines.len() == self.n_models;
        let Some(baseline) = self.baselines.get(if is_its_own { idx } else { 0 }) else { return Ok(None) };
        baseline.of(model_sha256, is_its_own).map(Some)
    }
}

/// The receipt's bounds together, as the receipt was judged.
fn outcome(receipt: &Receipt, cost: &Cost) -> Check {
    let outcome = settle::outcome(&settle::judge_again(receipt, cost));
    let result = match outcome {
        Outcome::Within => CheckResult::Holds,
        Outcome::Over => CheckResult::Fails,
        Outcome::CannotTell => CheckResult::CannotTell,
    };
    Check::of("budget", result, format!("{outcome:?}"))
}

fn compared(baseline: Result<&Measurement, String>, now: Option<&Measurement>) -> Check {
    let what = "latency against the baseline";
    match (baseline, now) {
        (Ok(baseline), Some(now)) => timing::compare(baseline, now),
        (Err(reason), _) => Check::of(what, CheckResult::Invalid, reason),
        (Ok(_), None) => Check::of(what, CheckResult::CannotTell, "no valid measurement; --device takes one"),
    }
}

/// The reports for other programs.
fn write(args: &VerifyArgs, findings: &Findings) -> Result<()> {
    for (path, text) in [(&args.junit, junit::xml(findings)), (&args.markdown, markdown::table(findings))] {
        if let Some(path) = path {
            search::study::write_whole(path, text.as_bytes())?;
        }
    }
    Ok(())
}

fn json(findings: &Findings) -> serde_json::Value {
    let verdict = findings.verdict();
    let checks: Vec<&Check> = findings.models.iter().flat_map(|model| &model.checks).collect();
    serde_json::json!({
        "holds": verdict == Verdict::Pass, "verdict": verdict, "checks": checks, "models": findings.models,
    })
}

fn show(findings: &Findings) {
    for Model { name, checks, latency } in &findings.models {
        if 1 < findings.models.len() {
            terminal::print(&format!("{name}:"));
        }
        for Check { what, result, found, .. } in checks {
            terminal::print(&format!("{:<8} {what}: {found}", result.word()));
        }
        if let Some(latency) = latency {
            let p = percentile(latency.percentile);
            terminal::print(&format!("         {p} under: {}", timing::conditions(latency)));
        }
    }
    let is_one = findings.models.len() == 1;
    terminal::print(match findings.verdict() {
        Verdict::Pass if is_one => "the model keeps its promise",
        Verdict::Pass => "the models keep their promises",
        Verdict::Fail if is_one => "the model does NOT keep its promise",
        Verdict::Fail => "the models do NOT all keep their promises",
        Verdict::CannotTell => "CANNOT TELL: nothing is shown to fail, and not everything to hold",
    });
}
