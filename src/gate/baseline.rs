//! Baselines: measurements of an earlier time, from a receipt or from a file of measurements.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use targets::Measurement;

use crate::exit;

/// The measurements in one file, in its order.
#[derive(Clone, Debug)]
pub struct Baseline {
    path: String,
    measurements: Vec<Measurement>,
}

impl Baseline {
    /// Reads a receipt, a run's `measurements.jsonl`, a recording, or what `measure --save` wrote.
    ///
    /// # Errors
    /// The file cannot be read, or holds no measurement.
    pub fn read(path: &Path) -> Result<Self> {
        let at = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {at}"))?;
        let wrong = |error: serde_json::Error, line: usize| exit::file(format!("{at}, line {line}: {error}"));
        let mut measurements = Vec::new();
        match serde_json::from_str::<Value>(&text) {
            Ok(whole) => measurements.extend(measurement(whole).map_err(|error| wrong(error, 1))?),
            Err(_) => {
                for (idx, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                    let found = serde_json::from_str(line).and_then(measurement);
                    measurements.extend(found.map_err(|error| wrong(error, idx + 1))?);
                }
            }
        }
        if measurements.is_empty() {
            return Err(exit::file(format!(
                "{at} holds no measurement; make a baseline with `pipeline measure MODEL.onnx --device D --save FILE`, \
                 or name the receipt of a run that was measured"
            )));
        }
        Ok(Self { path: at, measurements })
    }

    /// The last measurement of the model with this hash; otherwise, where `is_its_own`, the last of all:
    /// that of the model as it was before it changed.
    ///
    /// # Errors
    /// There is none, in words.
    pub fn of(&self, model_sha256: &str, is_its_own: bool) -> Result<&Measurement, String> {
        let same = self.measurements.iter().rfind(|it| it.model_sha256 == model_sha256);
        let last = || self.measurements.last().filter(|_| is_its_own);
        same.or_else(last).ok_or_else(|| {
            format!(
                "{} holds no measurement of this model (sha256 {}); give one --baseline a model, in the same order",
                self.path,
                &model_sha256[..16]
            )
        })
    }
}

/// The measurement in a receipt, in a line of a run, or in a line of a recording; none in the first line of
/// a recording and in the receipt of what was not measured.
fn measurement(mut value: Value) -> Result<Option<Measurement>, serde_json::Error> {
    if value.get("order").is_some() {
        return Ok(None);
    }
    match value.get_mut("measurement") {
        Some(inner) => serde_json::from_value(inner.take()),
        None => serde_json::from_value(value).map(Some),
    }
}
