//! Calibrating a board as a user does: what is kept, what is refused, and who uses it.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use targets::{Conditions, Measurement};
use tempfile::TempDir;

use crate::{
    micro::{json, run, workplace},
    recording,
};

/// Where the calibration of `rpi4` is kept; tests have their folder for a home.
const KEPT: &str = ".local/share/pipeline/calibrations/rpi4.json";

/// A folder with recordings of a calm board, a disturbed one, and one that stops answering.
fn boards() -> TempDir {
    let folder = workplace();
    let at = |name: &str| folder.path().join(name);
    let calm = recording::calm(Duration::from_millis(5));
    recording::write_for_any(&at("calm.jsonl"), &calm, 12);
    recording::write_for_any(&at("noisy.jsonl"), &recording::noisy(Duration::from_millis(5)), 40);
    recording::write_for_any(&at("short.jsonl"), &calm, 4);
    recording::write_for_any(&at("hot.jsonl"), &hot(&calm), 1);
    folder
}

/// The same board on a weak supply.
fn hot(calm: &Measurement) -> Measurement {
    let after = Conditions { throttled: Some(0x5_0005), temperature_millic: Some(81_000), ..calm.after.clone() };
    Measurement { after, ..calm.clone() }
}

fn leftovers(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_calibration_is_kept_whole_and_used() {
    let folder = boards();
    let kept = folder.path().join(KEPT);
    let calibrate = "calibrate --target rpi4 --device recorded:calm.jsonl --probes 12";
    run(&folder, &format!("{calibrate} --dry-run")).expect(0, &["12 ", "nothing was measured", "rpi4.json"]);
    assert!(!kept.exists(), "a dry run writes nothing");
    run(&folder, calibrate).expect(0, &["12 networks", "memory     load", "next: pipeline search --target rpi4"]);
    assert_eq!(leftovers(kept.parent().expect("it has a folder")), ["rpi4.json"]);

    let file = json(&kept);
    assert_eq!((&file["format"], &file["target"], &file["clock"]), (&1.into(), &"rpi4".into(), &"wall".into()));
    assert_eq!(file["device"], "bench");
    assert_eq!(file["engine"], runtime::engine::ENGINE);
    assert_eq!(file["agent"], runtime::AGENT);
    assert_eq!(file["before"]["governor"], "performance");
    assert_eq!(file["allowed"], serde_json::json!([]));
    assert!(1_700_000_000 < file["taken_at"].as_u64().expect("seconds"));
    let samples = file["samples"].as_array().expect("a list");
    assert_eq!(samples.len(), 12);
    assert!(samples.iter().all(|it| (it["seconds"].as_f64().expect("a number") / 5e-3 - 1.0).abs() < 0.01));
    assert_eq!(file["fit"]["n"], 12);
    assert!(file["memory"]["peak"]["source"].as_str().is_some_and(|it| it == "from 12 measurements on bench"));

    let search = "search --config micro.toml";
    run(&folder, &format!("{search} --dry-run")).expect(0, &["estimates from 12 measurements on bench"]);
    run(&folder, &format!("{search} --dry-run --calibration none")).expect(0, &["estimates not measured on rpi4"]);
    run(&folder, "doctor --target rpi4").expect(0, &["12 networks measured on bench", runtime::engine::ENGINE]);

    let said = run(&folder, &format!("{search} --run run --json"));
    said.expect(0, &["estimates rest on 12 networks measured on bench"]);
    let receipt = said.json();
    assert_eq!(receipt["calibration"]["device"], "bench");
    assert_eq!(receipt["calibration"]["networks"], 12);
    let by = |metric: &str| receipt["cost"]["figures"][metric]["source"]["estimated"]["by"].clone();
    assert_eq!(by("latency"), "from 12 measurements on bench");
    assert_eq!(by("memory"), "from 12 measurements on bench");
    // The run goes on with what it began with, whatever becomes of the file that is kept.
    let own = folder.path().join("run/calibration.json");
    assert_eq!(json(&own), file);
    fs::remove_file(&kept).expect("it is there");
    let again = run(&folder, &format!("{search} --run run --resume --json"));
    assert_eq!(again.expect(0, &[]).json()["calibration"], receipt["calibration"]);
    assert_eq!(config(&folder, "run")["calibration"].as_str(), Some(kept.to_str().expect("UTF-8")));
}

fn config(folder: &TempDir, run: &str) -> toml::Table {
    let path = folder.path().join(run).join("config.toml");
    fs::read_to_string(path).expect("a run has one").parse().expect("TOML")
}

#[test]
fn a_disturbed_board_is_not_calibrated_unless_allowed() {
    let folder = boards();
    let kept = folder.path().join(KEPT);
    let calibrate = |device: &str, more: &str| {
        run(&folder, &format!("calibrate --target rpi4 --device recorded:{device}.jsonl --probes 12 {more}"))
    };
    calibrate("noisy", "").expect(6, &["other processes took 50.0 %", "--allow-noisy"]);
    calibrate("short", "").expect(3, &["4 measurements are used up"]);
    calibrate("nowhere", "").expect(5, &["nowhere.jsonl"]);
    assert!(!kept.exists(), "half a calibration is none");
    let said = calibrate("noisy", "--allow-noisy --out here.json --json");
    let file = said.expect(0, &[]).json();
    assert_eq!(file["file"], "here.json");
    let allowed = file["calibration"]["allowed"].as_array().expect("a list");
    assert!(allowed[0].as_str().is_some_and(|it| it.contains("(12 of 12 networks)")), "{allowed:?}");
    assert!(!kept.exists(), "--out says where");
    run(&folder, "search --config micro.toml --dry-run --calibration here.json")
        .expect(0, &["estimates from 12 measurements on bench"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = boards();
    run(&folder, "calibrate --target rpi4 --device recorded:calm.jsonl --probes 12 --out good.json").expect(0, &[]);
    let good = json(&folder.path().join("good.json"));
    let with = |name: &str, key: &str, value: Value| {
        let mut file = good.clone();
        file[key] = value;
        fs::write(folder.path().join(name), file.to_string()).expect("a temporary folder can be written");
    };
    with("other.json", "target", "host".into());
    with("old.json", "engine", "tract 0.1.0".into());
    with("newer.json", "format", 2.into());
    with("wrong.json", "samples", "many".into());
    fs::write(folder.path().join("torn.json"), &good.to_string()[..200]).expect("a temporary folder can be written");
    for (file, code, words) in [
        ("other.json", 2, ["of host, not of rpi4", "--calibration"]),
        ("old.json", 2, ["tract 0.1.0", "calibrate again"]),
        ("newer.json", 5, ["its format is 2", "calibrate` again"]),
        ("wrong.json", 5, ["wrong.json", "calibrate` again"]),
        ("torn.json", 5, ["torn.json", "calibrate` again"]),
        ("nowhere.json", 5, ["nowhere.json", "cannot read"]),
    ] {
        run(&folder, &format!("search --config micro.toml --dry-run --calibration {file}")).expect(code, &words);
    }
    // What is kept and does not fit is passed over: nobody asked for it.
    let kept = folder.path().join(KEPT);
    fs::create_dir_all(kept.parent().expect("it has a folder")).expect("a temporary folder can be written");
    fs::copy(folder.path().join("old.json"), &kept).expect("a temporary folder can be written");
    run(&folder, "search --config micro.toml --dry-run")
        .expect(0, &["is not used", "tract 0.1.0", "estimates not measured on rpi4"]);
    run(&folder, "calibrate --target rpi4 --probes 2").expect(2, &["--probes"]);
    run(&folder, "calibrate").expect(2, &["--target"]);
}

#[test]
fn doctor_tells_what_is_wrong_with_a_board() {
    let folder = boards();
    let said = run(&folder, "doctor --target rpi4 --device recorded:hot.jsonl");
    said.expect(0, &["device       bench", "supply voltage", "5.1 V", "throttles", "81.0 °C", "heat sink", "invalid"]);
    said.expect(0, &["pipeline calibrate --target rpi4"]);
    let found = run(&folder, "doctor --target rpi4 --device recorded:calm.jsonl --json").json();
    assert_eq!((&found["obstacles"], &found["invalid"]), (&serde_json::json!([]), &serde_json::json!([])));
}
