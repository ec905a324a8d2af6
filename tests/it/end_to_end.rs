//! The whole way on real images: what a run leaves behind, that its parts work alone, and that nobody
//! can change a promise unnoticed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    command::pipeline_on_one_thread,
    micro::{Reference, check_same, copy, json, lines, read, reference, run, words, workplace},
    pictures, recording,
};

#[test]
fn a_run_leaves_everything_behind() {
    let Reference { path, said, .. } = reference();
    said.expect(0, &["within budget", "test accuracy", "of 3", "next: pipeline verify", "not measured on rpi4"]);
    for name in [
        "config.toml",
        "study.jsonl",
        "architecture.json",
        "training.json",
        "weights.safetensors",
        "model.onnx",
        "receipt.json",
        "report.html",
        "log.jsonl",
    ] {
        assert!(path.join(name).is_file(), "{name} is missing");
    }
    // What is written under a temporary name does not stay.
    let names = fs::read_dir(path).expect("a run is a folder").map(|it| it.expect("it can be listed").file_name());
    let hidden: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");

    let receipt = json(&path.join("receipt.json"));
    assert_eq!(receipt["outcome"], "within");
    assert_eq!((&receipt["target"], &receipt["device"]), (&"rpi4".into(), &Value::Null));
    assert_eq!(receipt["seed"], 3);
    assert_eq!(receipt["trials"]["b-enas"], 2 * 2 * 2 + 2);
    assert_eq!(receipt["trials"]["random-ws"], 2 * 2 * 2);
    assert_eq!(receipt["accuracy"]["test"], receipt["accuracy"]["test_by_runtime"]);
    let (right, of) = (&receipt["accuracy"]["test"]["right"], &receipt["accuracy"]["test"]["of"]);
    assert_eq!(of, receipt["data"]["test"].as_u64().expect("a count"));
    // Ten classes: anything that learned beats guessing.
    assert!(0.15 < right.as_f64().expect("a count") / of.as_f64().expect("a count"), "{right} of {of}");
    assert!(receipt["parity"]["max_difference"].as_f64().expect("a number") <= 1e-4);
    let latency = &receipt["cost"]["figures"]["latency"];
    assert!(
        latency["source"]["estimated"]["by"].as_str().is_some_and(|by| by.contains("not measured on rpi4")),
        "{latency}"
    );

    let trials = lines(&path.join("study.jsonl"));
    assert!(trials.iter().enumerate().all(|(idx, trial)| trial["trial"] == idx), "numbered from 0 without gaps");
    let config: toml::Table = String::from_utf8(read(&path.join("config.toml"))).expect("text").parse().expect("TOML");
    assert_eq!(config["made-with"]["data-sha256"].as_str(), receipt["data"]["sha256"].as_str());
    let report = String::from_utf8(read(&path.join("report.html"))).expect("HTML is text");
    assert!(report.contains("<svg") && !report.contains("http://") && !report.contains("src=\"https"), "opens offline");
}

#[test]
fn a_finished_run_is_verified_shown_and_resumed() {
    let folder = workplace();
    let path = folder.path().join("run");
    copy(&reference().path, &path, &[]);
    run(&folder, "verify --run run").expect(0, &["keeps its promise", "holds    test accuracy"]);
    assert_eq!(run(&folder, "verify --run run --json").json()["holds"], true);
    run(&folder, "inspect run").expect(0, &["within budget"]);
    assert_eq!(run(&folder, "inspect run --json").json()["outcome"], "within");
    run(&folder, "inspect run/model.onnx").expect(0, &["pipeline.cell", "[1, 1, 8, 8]", "[1, 10]"]);
    // Nothing is left to do, and nothing changes.
    run(&folder, "search --resume --run run").expect(0, &["within budget"]);
    check_same(&path, &reference().path);
    run(&folder, "search --config micro.toml --run run").expect(2, &["--resume"]);
    // The two files that ship are enough.
    copy(&path, &folder.path().join("shipped"), &["model.onnx", "receipt.json"]);
    run(&folder, "verify --run shipped").expect(0, &["keeps its promise"]);
}

#[test]
fn tampering_is_noticed() {
    let folder = workplace();
    let check = |name: &str, change: &dyn Fn(&mut Vec<u8>), codes: &[i32]| {
        let path = folder.path().join("tampered");
        copy(&reference().path, &path, &[]);
        let mut bytes = read(&path.join(name));
        let before = bytes.clone();
        change(&mut bytes);
        assert!(bytes != before, "{name} was not changed");
        fs::write(path.join(name), bytes).expect("a temporary folder can be written");
        let said = run(&folder, "verify --run tampered");
        assert!(said.code.is_some_and(|code| codes.contains(&code)), "{name}: {said:?}");
        assert!(!said.stdout.contains("keeps its promise"), "{name}: {said:?}");
    };
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| {
            *bytes = String::from_utf8(bytes.clone()).expect("text").replacen(from, to, 1).into_bytes();
        }
    };
    // Weights fill the middle of the file.
    for (share, bit) in [(0.3, 1), (0.5, 0x40), (0.6, 0x80)] {
        let flip = |bytes: &mut Vec<u8>| {
            let at = (bytes.len() as f64 * share) as usize;
            bytes[at] ^= bit;
        };
        check("model.onnx", &flip, &[1, 7]);
    }
    check("model.onnx", &|bytes| bytes.truncate(bytes.len() / 2), &[7]);
    check("model.onnx", &|bytes| *bytes = runtime::reference::onnx(), &[1, 7]);
    check("weights.safetensors", &|bytes| *bytes.last_mut().expect("it is not empty") ^= 1, &[1]);
    check("architecture.json", &replace("sep_conv", "sep__conv"), &[1]);
    check("receipt.json", &|bytes| bytes.truncate(100), &[5]);
    let promise = |place: &'static str, value: Value| {
        move |bytes: &mut Vec<u8>| {
            let mut receipt: Value = serde_json::from_slice(bytes).expect("a receipt is JSON");
            *receipt.pointer_mut(place).unwrap_or_else(|| panic!("no {place} in the receipt")) = value.clone();
            *bytes = receipt.to_string().into_bytes();
        }
    };
    check("receipt.json", &promise("/accuracy/test_by_runtime/right", 359.into()), &[1]);
    check("receipt.json", &promise("/probe/logits/3", 0.25.into()), &[1]);
    check("receipt.json", &promise("/cost/figures/params/value", 10.into()), &[1]);
    check("receipt.json", &promise("/scale/channels", 8.into()), &[1]);
    check("receipt.json", &promise("/files/model.onnx", "0".repeat(64).into()), &[1]);
    check("receipt.json", &promise("/bounds/0/max", 1e-6.into()), &[1]);
}

#[test]
fn a_seed_decides_every_byte() {
    let folder = workplace();
    // From the complete configuration that the reference wrote, and with another number of threads.
    fs::copy(reference().path.join("config.toml"), folder.path().join("config.toml")).expect("it was written");
    pipeline_on_one_thread(folder.path(), &words("search --config config.toml --run again")).expect(0, &[]);
    check_same(&folder.path().join("again"), &reference().path);
    let config = |path: PathBuf| String::from_utf8(read(&path.join("config.toml"))).expect("text");
    assert_eq!(config(folder.path().join("again")), config(reference().path.clone()));
    // The trials are the same too, but for what time they took.
    let trials = |path: &Path| -> Vec<Value> {
        let mut trials = lines(&path.join("study.jsonl"));
        for trial in &mut trials {
            trial["cost"]["figures"].as_object_mut().expect("a table").remove("train-time");
        }
        trials
    };
    assert_eq!(trials(&folder.path().join("again")), trials(&reference().path));

    run(&folder, "search --config micro.toml --seed 4 --run other").expect(0, &[]);
    let weights = |path: PathBuf| read(&path.join("weights.safetensors"));
    assert!(weights(folder.path().join("other")) != weights(reference().path.clone()), "the seed has no effect");
}

#[test]
fn stages_work_from_files() {
    let folder = workplace();
    let path = folder.path().join("run");
    copy(&reference().path, &path, &["config.toml", "architecture.json", "study.jsonl"]);
    recording::write_for_any(&folder.path().join("board.jsonl"), &recording::calm(Duration::from_millis(3)), 9);
    run(&folder, "export --run run").expect(5, &["weights.safetensors", "pipeline train"]);
    run(&folder, "train --run run").expect(0, &["test accuracy", "next: pipeline export"]);
    run(&folder, "report --run run").expect(5, &["receipt.json"]);
    run(&folder, "export --run run").expect(0, &["differ by at most", "next: pipeline measure"]);
    check_same(&path, &reference().path);
    run(&folder, "measure --run run --device recorded:board.jsonl").expect(0, &["within budget", "measured on rpi4"]);
    let receipt = json(&path.join("receipt.json"));
    assert_eq!(
        receipt["cost"]["figures"]["latency"]["source"]["measured"]["samples"].as_u64().map(|n| 0 < n),
        Some(true)
    );
    check_latency(&receipt);
    fs::remove_file(path.join("report.html")).expect("measuring wrote it");
    run(&folder, "report --run run").expect(0, &["report.html"]);
    assert!(path.join("report.html").is_file());
    // That recording answers for any model; what it says of this one is worth nothing.
    run(&folder, "verify --run run").expect(6, &["of another file"]);
    let own = recording::of(&path.join("model.onnx"), recording::calm(Duration::from_millis(3)));
    recording::write(&folder.path().join("own.jsonl"), &[own]);
    run(&folder, "measure --run run --device recorded:own.jsonl").expect(0, &["within budget"]);
    run(&folder, "verify --run run").expect(0, &["keeps its promise", "latency of the samples"]);
    // A crash may cut off the last line of a file that is only appended to; the next one starts afresh.
    let torn = [read(&path.join("measurements.jsonl")), b"{\"what\":\"ship".to_vec()].concat();
    fs::write(path.join("measurements.jsonl"), torn).expect("measuring wrote it");
    run(&folder, "measure --run run --device recorded:board.jsonl").expect(0, &["within budget"]);
    run(&folder, "measure --run run --device recorded:board.jsonl").expect(0, &["within budget"]);
    assert_eq!(lines(&path.join("measurements.jsonl")).len(), 4);
    // Trained weights of another architecture do not pass for this one's.
    let other = String::from_utf8(read(&path.join("architecture.json")))
        .expect("text")
        .replace("\"channels\": 4", "\"channels\": 5");
    fs::write(path.join("architecture.json"), other).expect("it was copied");
    fs::remove_file(path.join("model.onnx")).expect("export wrote it");
    run(&folder, "export --run run").expect(5, &["another architecture"]);
}

/// A measured latency stands with all that it holds for.
fn check_latency(receipt: &Value) {
    let latency = &receipt["latency"];
    assert_eq!(latency["figure"], receipt["cost"]["figures"]["latency"]);
    let blocks = receipt["measurement"]["blocks"].as_array().expect("every sample is kept");
    assert_eq!(latency["block_medians"].as_array().map(Vec::len), Some(blocks.len()));
    let distribution = &latency["distribution"];
    let of = |name: &str| distribution[name].as_f64().unwrap_or_else(|| panic!("no {name} in {distribution}"));
    assert!(of("min") <= of("p50") && of("p50") <= of("p90") && of("p90") <= of("p99"), "{distribution}");
    assert!(0.0 < of("mean") && 0.0 < of("mad") && distribution["n_outliers"].is_u64(), "{distribution}");
    assert_eq!(distribution["p90_ci"].as_array().map(Vec::len), Some(2));
    for part in ["before", "after", "protocol", "engine", "agent", "model_sha256"] {
        assert_eq!(latency[part], receipt["measurement"][part], "{part}");
    }
    let hexadecimal = |value: &Value, n| {
        value.as_str().is_some_and(|it| it.len() == n && it.chars().all(|it| it.is_ascii_hexdigit()))
    };
    assert!(hexadecimal(&latency["fingerprint"], 16), "{latency}");
    assert!(hexadecimal(&latency["agent_sha256"], 64), "{latency}");
    assert_eq!(latency["board"]["name"], "bench");
}

#[test]
fn a_folder_of_pictures_becomes_a_model() {
    let folder = workplace();
    pictures::write_digits(&folder.path().join("photos"), 60);
    let flags = "search --config micro.toml --data photos --image-size 10x12 --run run --json";
    let receipt = run(&folder, flags).expect(0, &[]).json();
    assert_eq!(receipt["outcome"], "within");
    assert_eq!(receipt["data"]["shape"], serde_json::json!([1, 10, 12]));
    let classes: Vec<String> = (0..10).map(|digit| format!("digit-{digit}")).collect();
    assert_eq!(receipt["data"]["classes"], serde_json::json!(classes));
    let n = |part: &str| receipt["data"][part].as_u64().expect("a count");
    assert_eq!(n("train") + n("validation") + n("test"), 600);
    run(&folder, "verify --run run").expect(0, &["keeps its promise", "holds    test accuracy"]);
    // The model can be verified where the pictures are not, and the pictures are asked for.
    fs::rename(folder.path().join("photos"), folder.path().join("moved")).expect("it was written");
    run(&folder, "verify --run run").expect(0, &["skipped", "--data"]);
    run(&folder, "verify --run run --data moved").expect(0, &["holds    test accuracy"]);
    // One picture less is other data: a run from the same configuration says so.
    fs::remove_file(folder.path().join("moved/digit-3/0.png")).expect("it was written");
    let flags = "search --config run/config.toml --data moved --run other";
    run(&folder, flags).expect(2, &["sha256", "made-with"]);
}
