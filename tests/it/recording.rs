//! Measurements as a calm board would give them: one real measurement of this machine, with times and
//! conditions that the test chooses.

use std::{fs, path::Path, sync::OnceLock, time::Duration};

use runtime::worker::Worker;
use targets::{Allow, Measurement, Protocol, measurement::Reach};

use crate::command::PROGRAM;

/// The reference network's measurement, every run `latency` long but for a percent of scatter.
pub(crate) fn calm(latency: Duration) -> Measurement {
    let mut measurement = real().clone();
    let nanos = latency.as_nanos() as u64;
    for block in &mut measurement.blocks {
        let n = block.wall_ns.len() as u64;
        block.wall_ns = (0..n).map(|idx| nanos - nanos / 200 + nanos / 100 * idx / n).collect();
        block.cpu_ns.clone_from(&block.wall_ns);
        block.calibration_ns.fill(1_000_000);
        block.reference_ns.fill(500_000);
        block.preemptions = 0;
    }
    for conditions in [&mut measurement.before, &mut measurement.after] {
        conditions.governor = Some("performance".to_owned());
        conditions.frequency_khz = Some(1_500_000);
        conditions.throttled = Some(0);
        conditions.load_average = Some(0.0);
        conditions.other_load = Some(0.0);
    }
    measurement.warmup_settled = true;
    assert_eq!(measurement.invalid(&Allow::default()), []);
    measurement
}

/// The same on a board where something else was running.
pub(crate) fn noisy(latency: Duration) -> Measurement {
    let mut measurement = calm(latency);
    measurement.after.other_load = Some(0.5);
    measurement
}

/// This measurement, as if it had been taken of the model at `path`.
pub(crate) fn of(path: &Path, measurement: Measurement) -> Measurement {
    let model_sha256 = runtime::protocol::file_sha256(path).expect("the model was written");
    Measurement { model_sha256, ..measurement }
}

/// Writes a recording that answers for its models alone.
pub(crate) fn write(path: &Path, measurements: &[Measurement]) {
    let lines: Vec<String> = measurements.iter().map(line).collect();
    fs::write(path, lines.concat()).expect("a test's folder can be written");
}

/// Writes a recording that gives any model `n` times the same measurement.
pub(crate) fn write_for_any(path: &Path, measurement: &Measurement, n: usize) {
    let text = format!("{{\"order\":\"default\"}}\n{}", line(measurement).repeat(n));
    fs::write(path, text).expect("a test's folder can be written");
}

/// Writes a recording that gives its measurements one after another, whatever the model.
pub(crate) fn write_in_order(path: &Path, measurements: &[Measurement]) {
    let lines: Vec<String> = measurements.iter().map(line).collect();
    fs::write(path, format!("{{\"order\":\"default\"}}\n{}", lines.concat())).expect("a test's folder can be written");
}

fn line(measurement: &Measurement) -> String {
    serde_json::to_string(measurement).expect("plain data") + "\n"
}

/// Taken once, in a process of its own as the product does it.
fn real() -> &'static Measurement {
    static REAL: OnceLock<Measurement> = OnceLock::new();
    REAL.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = folder.path().join("reference.onnx");
        fs::write(&model, runtime::reference::onnx()).expect("a temporary folder can be written");
        let worker = Worker::new(PROGRAM, &["worker"]);
        let measured = worker.measure(&model, &Protocol::quick(), "rpi4", "bench", Reach::Local);
        measured.expect("the reference network runs everywhere")
    })
}
