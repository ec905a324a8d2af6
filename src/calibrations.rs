//! Calibration files: where they are kept, which one a run uses, and what they say to people.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use targets::{Calibration, Clock, CostModel, CountScale, Target, calibration::FORMAT};

use crate::{
    commands::data_home,
    exit, kit,
    receipt::Calibrated,
    run_folder::{CALIBRATION, RunFolder},
    terminal::say,
};

/// What `--calibration` says to use the target's own tables.
pub const NONE: &str = "none";

/// The calibration that a new run uses, with its file: the one asked for, or the one kept for the
/// target. What is kept and does not fit this program is passed over, and that is said.
///
/// # Errors
/// The file asked for cannot be used.
pub fn choose(asked: Option<&str>, target: &Target) -> Result<Option<(Calibration, PathBuf)>> {
    if asked == Some(NONE) {
        return Ok(None);
    }
    if let Some(path) = asked.map(PathBuf::from) {
        let calibration = read(&path)?;
        if let Some(why) = unfit(&calibration, target) {
            return Err(exit::usage(format!("--calibration {}: {why}", path.display())));
        }
        return Ok(Some((calibration, path)));
    }
    let path = kept(target);
    if !path.is_file() {
        return Ok(None);
    }
    let calibration = read(&path)?;
    let by_cpu_time =
        (calibration.clock == Clock::Cpu).then(|| "it holds CPU time, which is less than what a user waits".to_owned());
    if let Some(why) = unfit(&calibration, target).or(by_cpu_time) {
        say(&format!(
            "note: {} is not used: {why}; use it anyway with --calibration, where that is possible",
            path.display()
        ));
        return Ok(None);
    }
    Ok(Some((calibration, path)))
}

/// The calibration in a run folder, as it was when the run began.
pub fn resumed(run: &Path) -> Result<Option<Calibration>> {
    let path = run.join(CALIBRATION);
    if path.is_file() { read(&path).map(Some) } else { Ok(None) }
}

/// What a run's estimates rest on, and what its receipt says of that.
pub fn of_run(folder: &RunFolder, target: &Target) -> Result<(CostModel, Option<Calibrated>)> {
    let Some(calibration) = resumed(&folder.path)? else { return Ok((CostModel::new(target.clone()), None)) };
    let told = Calibrated {
        device: calibration.name(),
        networks: calibration.samples.len(),
        taken_at: calibration.taken_at,
        engine: calibration.engine.clone(),
        sha256: folder.sha256(CALIBRATION)?,
    };
    Ok((calibration.model(target.clone()), Some(told)))
}

/// What turns instruction counts into time: fitted to the board by its calibration, or the target's own.
///
/// # Errors
/// There is a calibration whose networks were not counted, or the target has no scale.
pub fn scale(calibration: Option<&Calibration>, target: &Target) -> Result<CountScale> {
    let Some(calibration) = calibration else { return kit::scale(target).cloned() };
    calibration.counts.clone().ok_or_else(|| {
        exit::usage(format!(
            "--device counted: the calibration of {} has times of {} networks and no counts to go with them; leave \
             --device out, calibrate again with --counts, or say --calibration none",
            target.name,
            calibration.samples.len()
        ))
    })
}

/// Where the calibration of a kind of board is kept.
pub fn kept(target: &Target) -> PathBuf {
    let name: String = target.name.chars().map(|it| if it.is_alphanumeric() || it == '-' { it } else { '_' }).collect();
    data_home().join("calibrations").join(format!("{name}.json"))
}

/// Writes a calibration whole, or not at all.
pub fn write(path: &Path, calibration: &Calibration) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(calibration).context("plain data has a JSON form")?;
    text.push(b'\n');
    Ok(search::study::write_whole(path, &text)?)
}

/// Reads a calibration file.
pub fn read(path: &Path) -> Result<Calibration> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let wrong = |why: String| {
        exit::file(format!(
            "{} is no calibration of this version: {why}; run `pipeline calibrate` again",
            path.display()
        ))
    };
    let format = serde_json::from_str::<serde_json::Value>(&text).map_err(|error| wrong(error.to_string()))?;
    let format = format.get("format").and_then(serde_json::Value::as_u64);
    if format != Some(u64::from(FORMAT)) {
        let found = format.map_or("none".to_owned(), |it| it.to_string());
        return Err(wrong(format!("its format is {found}, not {FORMAT}")));
    }
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

/// One line of what estimates rest on.
pub fn in_words(calibration: &Calibration) -> String {
    let n = calibration.samples.len();
    format!("estimates rest on {n} networks measured on {} with {}", calibration.name(), calibration.engine)
}

/// Why a calibration says nothing about networks on this target, run by this program's engine.
fn unfit(calibration: &Calibration, target: &Target) -> Option<String> {
    if calibration.target != target.name {
        return Some(format!("it is of {}, not of {}", calibration.target, target.name));
    }
    let engine = runtime::engine::ENGINE;
    (calibration.engine != engine)
        .then(|| format!("it was taken with {}, and this program runs {engine}: calibrate again", calibration.engine))
}
