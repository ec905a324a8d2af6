//! `pipeline calibrate`: measures a few networks on a board, and fits its latency and memory to them.

use std::{collections::BTreeMap, path::Path, time::Instant};

use anyhow::Result;
use graph::cost::static_cost;
use runtime::device::{Counter, Device};
use search::probes::{Probe, probes, random};
use targets::{
    Allow, Calibration, Check, Clock, CostModel, CountScale, Measurement, Metric, Note, Protocol, Sample, Target,
    Timed, calibration::FORMAT, obstacles::obstacles, quiet,
};

use super::count_table;
use crate::{
    calibrations,
    cli::CalibrateArgs,
    devices,
    exit::{self, Exit},
    kit,
    on_device::{self, ModelFile},
    run_folder::now,
    terminal::{self, Line, say},
};

/// Divisions of all networks into those that are fitted to and those that are checked.
const DIVISIONS: usize = 200;

/// The command.
pub fn run(args: &CalibrateArgs) -> Result<Exit> {
    let target = Target::find(&args.target)?;
    if args.device == devices::COUNTED && !args.dry_run {
        return count_table::run(args, &target);
    }
    let probes = probes(&target.latency, usize::from(args.probes))?;
    let path = args.out.clone().unwrap_or_else(|| calibrations::kept(&target));
    if args.dry_run {
        plan(&probes, &target, &path);
        return Ok(Exit::Ok);
    }
    // What would be missing later is told before the board is kept busy.
    let counter = if args.counts { Some(kit::counting(&target)?) } else { None };
    let mut bench = Bench::open(args, &target)?;
    let started = Instant::now();
    let measured = bench.measure_all("calibrating", &probes)?;
    let mut calibration = bench.calibration(&measured, &target);
    calibration.refit(&target);
    if let Some(counter) = &counter {
        calibration.counts = counted(counter, &calibration, &probes, &target)?;
    }
    if 0 < args.check {
        let check = bench.check(&calibration, &target, usize::from(args.check))?;
        calibration.check = Some(check);
        let divided = calibration.divided(&target, DIVISIONS);
        if let Some(check) = &mut calibration.check {
            check.divided = divided;
        }
    }
    calibrations::write(&path, &calibration)?;
    if args.json {
        terminal::print(&serde_json::to_string(&serde_json::json!({ "file": path, "calibration": calibration }))?);
    } else {
        show(&calibration, &target);
        terminal::print(&format!("written    {} ({:.0} s)", path.display(), started.elapsed().as_secs_f64()));
        let named = if args.out.is_some() { format!(" --calibration {}", path.display()) } else { String::new() };
        terminal::print(&format!("next: pipeline search --target {}{named}", args.target));
    }
    Ok(Exit::Ok)
}

/// What turns counts of the measured networks into the times that were measured.
fn counted(
    counter: &Counter,
    calibration: &Calibration,
    probes: &[Probe],
    target: &Target,
) -> Result<Option<CountScale>> {
    let mut line = Line::default();
    let mut timed = Vec::new();
    for (idx, (probe, sample)) in probes.iter().zip(&calibration.samples).enumerate() {
        line.show("counting", idx as u64, probes.len() as u64, "");
        if terminal::interrupted() {
            line.end();
            return Err(search::Error::Interrupted.into());
        }
        let counts = counter.count(ModelFile::of(&probe.graph)?.path())?;
        let traffic_bytes = static_cost(&probe.graph).traffic_bytes;
        timed.push(Timed { counts, traffic_bytes, seconds: sample.seconds });
    }
    line.end();
    let source = format!("fitted to {} networks timed on {}", timed.len(), calibration.name());
    Ok(kit::scale(target)?.fitted(source, &timed))
}

/// What would be measured.
fn plan(probes: &[Probe], target: &Target, path: &Path) {
    let model = CostModel::new(target.clone()).latency;
    for (idx, probe) in probes.iter().enumerate() {
        let figure = model.predict(&probe.features);
        terminal::print(&format!("{:>3}  {}: {}", idx + 1, probe.made_of, figure.describe(Metric::Latency)));
    }
    terminal::print(&format!("would be written to {}; nothing was measured", path.display()));
}

/// A device with everything that a measurement on it needs.
struct Bench {
    device: Box<dyn Device>,
    allow: Allow,
    clock: Clock,
    percentile: f64,
    /// Times that a network is measured at most.
    rounds: u8,
    /// The fastest that the reference network has been on this device, in nanoseconds.
    fastest: Option<f64>,
}

/// A network with its measurement.
type Measured = (Sample, Measurement);

impl Bench {
    fn open(args: &CalibrateArgs, target: &Target) -> Result<Self> {
        let device = devices::open(&args.device, target, args.agent.as_deref())?;
        // A governor is never waived in silence: it stands in the file as allowed.
        let allow = Allow { noisy: args.allow_noisy, governor: args.allow_noisy };
        if args.device == "local" {
            let facts = on_device::worker()?.facts()?;
            say(&format!("on {} ({}), {}, agent {}", facts.conditions.cpu, facts.arch, facts.engine, facts.agent));
            for obstacle in obstacles(&facts.conditions) {
                say(&format!("note: {}: {}. Mend it: {}", obstacle.found, obstacle.why, obstacle.mend));
            }
        }
        // See [`Clock::Cpu`].
        let (clock, percentile) = if args.cpu_time { (Clock::Cpu, 0.1) } else { (Clock::Wall, target.percentile) };
        Ok(Self { device, allow, clock, percentile, rounds: args.rounds, fastest: None })
    }

    /// Measures each network; then again those that others disturbed, in further rounds: what slows a
    /// shared machine comes and goes.
    fn measure_all(&mut self, phase: &str, probes: &[Probe]) -> Result<Vec<Measured>> {
        let mut takes: Vec<Vec<Measurement>> = vec![Vec::new(); probes.len()];
        for round in 1..=self.rounds {
            let left: Vec<usize> = (0..probes.len()).filter(|&idx| self.is_disturbed(&takes[idx])).collect();
            let again = if round == 1 { String::new() } else { format!(", round {round}, of those disturbed") };
            let mut line = Line::default();
            for (n_done, &idx) in left.iter().enumerate() {
                line.show(phase, n_done as u64, left.len() as u64, &again);
                if terminal::interrupted() {
                    line.end();
                    return Err(search::Error::Interrupted.into());
                }
                let take = self.take(&probes[idx])?;
                self.fastest = quiet::fastest_reference([&take]).into_iter().chain(self.fastest).min_by(f64::total_cmp);
                takes[idx].push(take);
            }
            line.end();
        }
        probes.iter().zip(takes).map(|(probe, takes)| self.measured(probe, takes)).collect()
    }

    fn is_disturbed(&self, takes: &[Measurement]) -> bool {
        takes.is_empty() || self.fastest.is_some_and(|fastest| !quiet::is_enough(takes, fastest))
    }

    fn take(&mut self, probe: &Probe) -> Result<Measurement> {
        let (model, protocol) = (ModelFile::of(&probe.graph)?, Protocol::quick());
        Ok(on_device::measure(self.device.as_mut(), model.path(), &protocol, self.allow, on_device::TRIES)?)
    }

    fn measured(&self, probe: &Probe, takes: Vec<Measurement>) -> Result<Measured> {
        let name = serde_json::to_string(&probe.made_of)?;
        let none = || exit::Failure {
            exit: Exit::Invalid,
            message: format!("{} gave no time that a board would take", self.device.name()),
        };
        let measurement = quiet::quiet(takes, self.fastest.unwrap_or(f64::INFINITY)).ok_or_else(none)?;
        let cost = static_cost(&probe.graph);
        let sample = Sample::new(name, probe.features, &cost, &measurement, self.clock, self.percentile);
        let sample = Sample { designed: probe.designed, ..sample.ok_or_else(none)? };
        Ok((sample, measurement))
    }

    /// The samples with how they came about; nothing is fitted yet.
    fn calibration(&self, measured: &[Measured], target: &Target) -> Calibration {
        let (first, last) = (&measured[0].1, &measured[measured.len() - 1].1);
        Calibration {
            format: FORMAT,
            target: target.name.clone(),
            device: first.device.clone(),
            reach: first.reach,
            agent: first.agent.clone(),
            engine: first.engine.clone(),
            taken_at: now(),
            protocol: Protocol::quick(),
            clock: self.clock,
            percentile: self.percentile,
            before: first.before.clone(),
            after: last.after.clone(),
            allowed: self.allowed(measured),
            samples: measured.iter().map(|it| it.0.clone()).collect(),
            fit: CostModel::new(target.clone()).latency.fit_report(),
            memory: None,
            counts: None,
            check: None,
        }
    }

    /// What was waived: each rule once, with the first network's words and the number of networks.
    fn allowed(&self, measured: &[Measured]) -> Vec<String> {
        let mut rules = BTreeMap::<String, (String, usize)>::new();
        for (_, measurement) in measured {
            for note in measurement.notes(&self.allow) {
                let Note::Allowed(reason) = note else { continue };
                let text = reason.to_string();
                let rule = text.split(|it: char| it.is_ascii_digit()).next().unwrap_or_default().to_owned();
                rules.entry(rule).or_insert((text, 0)).1 += 1;
            }
        }
        let n = measured.len();
        rules.into_values().map(|(text, times)| format!("{text} ({times} of {n} networks)")).collect()
    }

    /// Measures networks drawn at random, which nothing was fitted to.
    fn check(&mut self, calibration: &Calibration, target: &Target, n: usize) -> Result<Check> {
        let model = calibration.model(target.clone()).latency;
        let measured = self.measure_all("checking", &random(n)?)?;
        Ok(Check::of(&model, measured.into_iter().map(|it| it.0).collect()))
    }
}

/// What a person wants to know of a calibration.
fn show(calibration: &Calibration, target: &Target) {
    let Calibration { fit, memory, check, before, .. } = calibration;
    let percent = |share: Option<f64>| share.map_or("unknown".to_owned(), |it| format!("{:.1} %", 100.0 * it));
    terminal::print(&format!(
        "board      {} ({}, {} cores), {}, agent {}",
        calibration.name(),
        before.cpu,
        before.cores,
        calibration.engine,
        calibration.agent
    ));
    let [low, high] = fit.interval;
    terminal::print(&format!(
        "latency    {} networks; predicted from the others: median error {}, {} within 10 %",
        fit.n,
        percent(fit.median_relative_error),
        percent(fit.within_tenth)
    ));
    terminal::print(&format!("           nine in ten between {low:.2} and {high:.2} times the estimate"));
    for coefficient in &fit.coefficients {
        let (work, price, unit) = (coefficient.work.name(), coefficient.ns_per_unit, &coefficient.unit);
        terminal::print(&format!("           {work:<12} {price:.3} ns per {unit}"));
    }
    match memory {
        Some(memory) => {
            for (name, it) in [("load", &memory.load), ("steady", &memory.steady)] {
                terminal::print(&format!(
                    "memory     {name}: {} + {:.2} x weights + {:.2} x activations",
                    Metric::Memory.format(it.base_bytes),
                    it.per_weight_byte,
                    it.per_activation_byte
                ));
            }
        }
        None => terminal::print("memory     the board does not tell; the target's estimate stays"),
    }
    if let Some(check) = check {
        terminal::print(&format!(
            "checked    {} random networks: {} within 10 %, {} inside the interval, rank correlation {}",
            check.n,
            percent(Some(check.within_tenth)),
            percent(Some(check.covered)),
            check.spearman.map_or("unknown".to_owned(), |it| format!("{it:.3}"))
        ));
        if let Some(divided) = &check.divided {
            terminal::print(&format!(
                "           in {} other divisions of the networks: {} within 10 %, {} inside the interval",
                divided.n,
                percent(Some(divided.within_tenth)),
                percent(Some(divided.covered))
            ));
        }
    }
    far_below(calibration, target);
    for rule in &calibration.allowed {
        terminal::print(&format!("allowed    {rule}"));
    }
}

/// Work that the engine serves far below what the board could do.
pub fn far_below(calibration: &Calibration, target: &Target) {
    for it in target.far_below(&calibration.fit) {
        terminal::print(&format!(
            "slow       {}: {:.2} ns per {}, {:.0} times what the hardware allows ({:.2} ns); fewer of them pay",
            it.work.name(),
            it.ns_per_unit,
            it.work.unit(),
            it.times(),
            it.least_ns
        ));
    }
}
