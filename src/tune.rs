//! Chooses the forms in which a network is written: each is timed on the device, in turn with the plain one, and is kept
//! only where it is faster by more than noise.

use std::path::Path;

use anyhow::{Context, Result};
use export::Lowering;
use graph::Graph;
use runtime::device::Device;
use serde::{Deserialize, Serialize};
use targets::{Protocol, measurement::Reach, stats::quantile};

use crate::{
    exit::{self, Exit, Failure},
    on_device,
    terminal::say,
};

/// What tuning found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The forms that were chosen, in words; `plain` where none was better.
    pub chosen: String,
    /// CPU time of the chosen forms over that of the plain ones.
    pub time_ratio: f64,
    /// The device that timed them.
    pub device: String,
    /// How it was reached.
    pub reach: Reach,
    /// Distance from 1 of the plain network's time over its own, taken twice a round: the largest but for one round.
    pub noise: f64,
    /// Every form that was tried.
    pub tried: Vec<Tried>,
}

/// One form that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The forms, in words.
    pub forms: String,
    /// CPU time of one inference, in seconds: the middle of the rounds'.
    pub seconds: f64,
    /// Median over the rounds of its CPU time over the plain network's.
    pub time_ratio: f64,
    /// Smallest and largest of these ratios, but for one round at either end.
    pub range: (f64, f64),
    /// Largest difference of an output from the plain network's, relative to the largest output.
    pub difference: f64,
}

/// Rounds: each times every form once, in a fresh process. One may be spoilt at either end. A form that is no better is
/// faster in all but one once in 16 times, but then hardly by more than noise.
const ROUNDS: usize = 7;

/// A smaller gain than this is not worth a file that is harder to read.
const LEAST_GAIN: f64 = 0.01;

/// Largest difference of an output, relative to the largest, that counts as the same network.
const TOLERANCE: f64 = 1e-5;

/// Times each form of each kind of operation in `shipped` alone, then the best of each kind together.
///
/// `write` makes the file of a form.
pub fn tune(
    device: &mut dyn Device,
    shipped: &Graph,
    write: impl Fn(Lowering) -> Result<Vec<u8>>,
) -> Result<(Lowering, Tuned)> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder for the forms")?;
    let mut bench = Bench { device, folder: folder.path(), write: &write, reach: Reach::Local };
    let plain = Lowering::default();
    let kinds = plain.alternatives(shipped);
    let alone: Vec<Lowering> = kinds.iter().flatten().copied().collect();
    let (mut tried, mut noise) = bench.time(plain, &alone)?;

    let is_kept = |tried: &Tried, noise: f64| tried.range.1 < 1.0 && tried.time_ratio < 1.0 - noise.max(LEAST_GAIN);
    let mut rest = &tried[..];
    let mut joint = plain;
    let mut best: Option<(Lowering, usize)> = None;
    let mut n_kept = 0;
    for (kind, forms) in kinds.iter().enumerate() {
        let (times, others) = rest.split_at(forms.len());
        let fastest = (0..forms.len()).min_by(|&a, &b| times[a].time_ratio.total_cmp(&times[b].time_ratio));
        if let Some(fastest) = fastest.filter(|&it| is_kept(&times[it], noise)) {
            n_kept += 1;
            let at = tried.len() - rest.len() + fastest;
            // The forms of one kind stand in the same order whatever those of the others are.
            joint = joint.alternatives(shipped)[kind][fastest];
            if best.is_none_or(|(_, best)| tried[at].time_ratio < tried[best].time_ratio) {
                best = Some((forms[fastest], at));
            }
        }
        rest = others;
    }
    let (mut chosen, mut time_ratio) = best.map_or((plain, 1.0), |(form, at)| (form, tried[at].time_ratio));
    if 1 < n_kept {
        let (together, noise_again) = bench.time(plain, &[joint])?;
        noise = noise.max(noise_again);
        if is_kept(&together[0], noise) && together[0].time_ratio < time_ratio {
            (chosen, time_ratio) = (joint, together[0].time_ratio);
        }
        tried.extend(together);
    }
    let tuned = Tuned {
        chosen: chosen.to_string(),
        time_ratio,
        device: bench.device.name().to_owned(),
        reach: bench.reach,
        noise,
        tried,
    };
    Ok((chosen, tuned))
}

/// Where forms are timed.
struct Bench<'a> {
    device: &'a mut dyn Device,
    folder: &'a Path,
    write: &'a dyn Fn(Lowering) -> Result<Vec<u8>>,
    reach: Reach,
}

impl Bench<'_> {
    /// Times `forms` in turn with `plain`, which is timed twice a round: the difference is noise.
    fn time(&mut self, plain: Lowering, forms: &[Lowering]) -> Result<(Vec<Tried>, f64)> {
        let path = |idx: usize| self.folder.join(format!("form{idx}.onnx"));
        let mut outputs = Vec::new();
        for (idx, form) in std::iter::once(&plain).chain(forms).enumerate() {
            let bytes = (self.write)(*form)?;
            let inputs = runtime::validate::validate(&bytes, &runtime::validate::Limits::default())?.inputs;
            let n = inputs.iter().map(|it| it.shape.iter().product::<usize>()).sum();
            std::fs::write(path(idx), bytes).with_context(|| format!("cannot write {}", path(idx).display()))?;
            outputs.push(on_device::worker()?.check(&path(idx), &runtime::protocol::probe_input(n))?.values);
        }
        let differences = outputs[1..].iter().map(|output| difference(&outputs[0], output)).collect::<Vec<_>>();
        for (form, difference) in forms.iter().zip(&differences) {
            if TOLERANCE < *difference {
                let message =
                    format!("{form} computes something else: an output differs by {difference:.1e} of the largest");
                return Err(Failure { exit: Exit::Internal, message }.into());
            }
        }

        // A column a file; the last is the plain one again.
        let columns: Vec<usize> = (0..=forms.len()).chain([0]).collect();
        let mut times = vec![Vec::with_capacity(ROUNDS); columns.len()];
        for round in 1..=ROUNDS {
            say(&format!("round {round} of {ROUNDS}: {} forms and the plain one twice", forms.len()));
            for (column, &file) in times.iter_mut().zip(&columns) {
                column.push(self.visit(&path(file))?);
            }
        }
        let ratios = |column: &[f64]| sorted(column.iter().zip(&times[0]).map(|(time, plain)| time / plain).collect());
        let distances = ratios(&times[columns.len() - 1]).iter().map(|ratio| (ratio - 1.0).abs()).collect();
        let noise = sorted(distances)[ROUNDS - 2];
        let tried = forms.iter().zip(&times[1..]).zip(differences).map(|((form, column), difference)| {
            let ratios = ratios(column);
            Tried {
                forms: form.to_string(),
                seconds: middle(&sorted(column.clone())),
                time_ratio: middle(&ratios),
                range: (ratios[1], ratios[ratios.len() - 2]),
                difference,
            }
        });
        Ok((tried.collect(), noise))
    }

    /// CPU time of one inference at its 10 % quantile, in seconds: what others do on a shared machine
    /// only ever lengthens it.
    fn visit(&mut self, model: &Path) -> Result<f64> {
        let measurement = self.device.measure(model, &Protocol::quick())?;
        self.reach = measurement.reach;
        if measurement.reach == Reach::Emulated {
            return Err(exit::usage("--tune needs a real device: an emulated one does not tell which form is faster"));
        }
        let seconds = measurement.blocks.iter().flat_map(|block| &block.cpu_ns).map(|&ns| ns as f64 * 1e-9);
        let seconds = sorted(seconds.collect());
        quantile(&seconds, 0.1).filter(|&it| 0.0 < it).ok_or_else(|| {
            let message = format!("the measurement on {} has no samples of CPU time", self.device.name());
            Failure { exit: Exit::Invalid, message }.into()
        })
    }
}

fn difference(plain: &[f32], found: &[f32]) -> f64 {
    let size = plain.iter().fold(0.0, |size: f64, it| size.max(f64::from(it.abs()))).max(f64::MIN_POSITIVE);
    if plain.len() != found.len() {
        return f64::INFINITY;
    }
    let differences = plain.iter().zip(found).map(|(a, b)| f64::from((a - b).abs()) / size);
    differences.fold(0.0, |largest: f64, it| if it.is_nan() { f64::INFINITY } else { largest.max(it) })
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn middle(sorted: &[f64]) -> f64 {
    quantile(sorted, 0.5).expect("there is at least one round")
}
