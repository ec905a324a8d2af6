//! `pipeline verify` as a gate: verdicts, exit codes and reports, from recorded measurements.

#![expect(clippy::print_stdout, reason = "what the gate did is told in a line")]

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use targets::{Measurement, measurement::Reach};
use tempfile::TempDir;

use crate::{
    command::{Said, pipeline},
    micro::{read, words},
    recording,
};

/// A folder with the reference network and recordings of it, each named for what is special.
pub(crate) fn workplace() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &[u8]| fs::write(path(name), text).expect("a temporary folder can be written");
    let record = |name: &str, change: fn(&mut Measurement)| {
        let mut measurement = recording::calm(Duration::from_millis(10));
        change(&mut measurement);
        recording::write(&path(name), &[measurement]);
    };
    write("reference.onnx", &runtime::reference::onnx());
    record("calm.jsonl", |_| {});
    record("slow.jsonl", |it| longer(it, |_| 1.10));
    record("uneven.jsonl", uneven);
    record("throttled.jsonl", |it| it.after.throttled = Some(0x4));
    record("busy.jsonl", |it| it.after.other_load = Some(0.5));
    record("emulated.jsonl", |it| it.reach = Reach::Emulated);
    record("scattered.jsonl", |it| it.blocks.iter_mut().for_each(|it| it.wall_ns[..5].fill(20_000_000)));
    record("drifting.jsonl", |it| it.blocks[0].calibration_ns.fill(1_050_000));
    record("elsewhere.jsonl", |it| it.device = "garage".to_owned());
    record("upgraded.jsonl", |it| it.before.kernel = "0.0.1".to_owned());
    let calm = recording::calm(Duration::from_millis(10));
    write("receipt.json", json!({ "format": 1, "measurement": &calm }).to_string().as_bytes());
    let mut older = json!(calm);
    older.as_object_mut().expect("a table").remove("agent_sha256").expect("a field of today");
    write("older.jsonl", format!("{older}\n").as_bytes());
    write("unmeasured.json", br#"{ "format": 1, "measurement": null }"#);
    write("garbage.jsonl", b"{\"order\":\"default\"}\nnothing\n");
    write("garbage.onnx", b"\x08\x07this is no network at all");
    folder
}

/// Every run of block `idx` takes `factor(idx)` times as long.
fn longer(measurement: &mut Measurement, factor: fn(usize) -> f64) {
    for (idx, block) in measurement.blocks.iter_mut().enumerate() {
        block.wall_ns.iter_mut().for_each(|ns| *ns = (*ns as f64 * factor(idx)) as u64);
    }
}

/// Blocks 0.4 % apart from each other: the 90th percentile lies between 9.96 and 10.12 ms.
fn uneven(measurement: &mut Measurement) {
    longer(measurement, |idx| 0.992 + 0.004 * idx as f64);
}

fn run(folder: &TempDir, line: &str) -> Said {
    pipeline(folder.path(), &words(line))
}

/// Rows: what follows `verify`, the exit code, and what must be said.
#[track_caller]
fn check(folder: &TempDir, rows: &[(&str, i32, &[&str])]) {
    for (line, code, said) in rows {
        println!("pipeline verify {line}");
        run(folder, &format!("verify {line}")).expect(*code, said);
    }
}

#[test]
fn budgets_pass_fail_or_cannot_tell() {
    let folder = workplace();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("it can be written");
    write("wide.toml", "max-latency = '11ms'\nmax-flash = '1MiB'\nmax-params = '100k'\nmax-macs = '10M'\n");
    write("small.toml", "max-flash = '1KiB'\n");
    write("slow.toml", "max-latency = '9ms'\n");
    write("memory.toml", "max-memory = '10GiB'\n");
    write("unknown.toml", "max-latencies = '9ms'\n");
    write("no-bound.toml", "target = 'rpi4'\n");
    write("no-unit.toml", "max-latency = '9'\n");
    write("empty.toml", "");
    write("intense.toml", "min = ['intensity=1']\n");
    check(
        &folder,
        &[
            (
                "reference.onnx --device recorded:calm.jsonl --max-latency 11ms",
                0,
                &["holds", "keeps its promise", "(p90)"],
            ),
            ("reference.onnx --device recorded:calm.jsonl --max-latency 9ms", 1, &["FAILS", "does NOT keep"]),
            ("reference.onnx --device recorded:uneven.jsonl --max-latency 10.04ms", 6, &["UNCLEAR", "CANNOT TELL"]),
            ("reference.onnx --device recorded:uneven.jsonl --max-latency 10.3ms", 0, &[]),
            ("reference.onnx --device recorded:calm.jsonl --max-latency 10.02ms --percentile p50", 0, &["(p50)"]),
            ("reference.onnx --device recorded:calm.jsonl --max-latency 10.02ms --percentile p99", 1, &["(p99)"]),
            ("reference.onnx --device recorded:calm.jsonl --budget wide.toml", 0, &["flash", "macs", "params"]),
            ("reference.onnx --device recorded:calm.jsonl --budget slow.toml", 1, &["latency"]),
            ("reference.onnx --device recorded:calm.jsonl --budget slow.toml --max-latency 11ms", 0, &[]),
            ("reference.onnx --device recorded:calm.jsonl --budget memory.toml", 0, &["memory"]),
            // What a file tells needs no board; what it does not tell is not passed.
            ("reference.onnx --budget small.toml", 1, &["flash"]),
            ("reference.onnx --budget wide.toml", 6, &["UNCLEAR", "--device takes one"]),
            ("reference.onnx --budget intense.toml", 6, &["UNCLEAR", "not known of a file alone"]),
            ("reference.onnx --budget unknown.toml", 2, &["unknown.toml", "max-latencies", "max-latency"]),
            ("reference.onnx --budget no-bound.toml", 2, &["target bounds nothing"]),
            ("reference.onnx --budget no-unit.toml", 2, &["no-unit.toml", "9ms"]),
            ("reference.onnx --budget empty.toml", 2, &["empty.toml bounds nothing"]),
            ("reference.onnx --budget missing.toml", 5, &["missing.toml"]),
        ],
    );
}

#[test]
fn what_is_no_evidence_never_passes() {
    let folder = workplace();
    let line = |name: &str| format!("verify reference.onnx --device recorded:{name}.jsonl --max-latency 1s");
    for (name, words) in [
        ("throttled", "the board throttled"),
        ("busy", "other processes took 50.0 %"),
        ("emulated", "emulator"),
        ("scattered", "the middle half of the samples"),
        ("drifting", "the calibration kernel drifted by 5.0 %"),
    ] {
        run(&folder, &line(name)).expect(6, &["INVALID", words, "CANNOT TELL"]);
    }
    // Noise may be waived, in so many words; a throttled or emulated board never.
    for (name, code) in [("busy", 0), ("drifting", 0), ("throttled", 6), ("emulated", 6)] {
        run(&folder, &format!("{} --allow-noisy", line(name))).expect(code, &[]);
    }
    run(&folder, &format!("{} --allow-noisy", line("busy"))).expect(0, &["allowed: other processes took 50.0 %"]);
}

#[test]
fn baselines_pass_fail_or_cannot_tell() {
    let gate = |now: &str, then: &str| format!("reference.onnx --device recorded:{now}.jsonl --baseline {then}");
    let rows: Vec<(String, i32, &[&str])> = vec![
        (gate("calm", "calm.jsonl"), 0, &["+0.0 %", "keeps its promise"]),
        (gate("calm", "receipt.json"), 0, &["+0.0 %"]),
        (gate("calm", "older.jsonl"), 0, &["+0.0 %"]),
        (gate("slow", "calm.jsonl"), 1, &["FAILS", "+10.0 %"]),
        (gate("slow", "receipt.json"), 1, &["FAILS"]),
        (gate("calm", "slow.jsonl"), 0, &["-9.1 %"]),
        (gate("calm", "elsewhere.jsonl"), 6, &["INVALID", "another board than the baseline's", "garage"]),
        (gate("elsewhere", "calm.jsonl"), 6, &["INVALID", "its name is \"garage\""]),
        (gate("calm", "upgraded.jsonl"), 6, &["INVALID", "its kernel is"]),
        (gate("calm", "busy.jsonl"), 6, &["INVALID", "the baseline is invalid"]),
        (gate("busy", "calm.jsonl"), 6, &["INVALID"]),
        (gate("busy", "calm.jsonl --allow-noisy"), 6, &["INVALID", "other processes took"]),
        (gate("calm", "unmeasured.json"), 5, &["unmeasured.json holds no measurement", "--save"]),
        (gate("calm", "garbage.jsonl"), 5, &["garbage.jsonl, line 2"]),
        (gate("calm", "missing.jsonl"), 5, &["missing.jsonl"]),
        (gate("calm", "calm.jsonl --baseline calm.jsonl"), 2, &["2 times --baseline for 1 models"]),
    ];
    let rows: Vec<(&str, i32, &[&str])> = rows.iter().map(|(line, code, said)| (line.as_str(), *code, *said)).collect();
    check(&workplace(), &rows);
}

#[test]
fn subjects_are_receipts_models_and_folders() {
    let folder = workplace();
    fs::create_dir(folder.path().join("models")).expect("it can be made");
    fs::create_dir(folder.path().join("empty")).expect("it can be made");
    for name in ["models/b.onnx", "models/a.onnx"] {
        fs::copy(folder.path().join("reference.onnx"), folder.path().join(name)).expect("it can be copied");
    }
    check(
        &folder,
        &[
            ("", 2, &["RECEIPT|MODEL.onnx|DIR"]),
            ("reference.onnx --run models", 2, &["cannot be used with"]),
            ("reference.onnx", 2, &["nothing to hold reference.onnx to", "--max-latency", "--baseline"]),
            ("reference.onnx --max-latency 9", 2, &["--max-latency 9"]),
            ("reference.onnx --max-latency 9ms --percentile 90", 2, &["p90"]),
            ("reference.onnx --max-latency 9ms --percentile p100", 2, &["p99.9"]),
            ("reference.onnx --max-latency 9ms --device telnet", 2, &["--device telnet"]),
            ("missing.onnx --max-latency 9ms", 5, &["missing.onnx"]),
            ("missing.json", 5, &["missing.json"]),
            ("unmeasured.json", 5, &["unmeasured.json"]),
            ("empty", 5, &["receipt.json", "ONNX"]),
            ("garbage.onnx --max-latency 9ms", 7, &["error"]),
            (
                "models --max-latency 11ms --device recorded:calm.jsonl",
                0,
                &["models/a.onnx:", "models/b.onnx:", "keep their promises"],
            ),
            ("models --max-latency 9ms --device recorded:calm.jsonl", 1, &["do NOT all keep"]),
            ("models --baseline calm.jsonl --device recorded:calm.jsonl", 0, &[]),
            ("models --baseline calm.jsonl --device recorded:slow.jsonl", 1, &["models/a.onnx", "+10.0 %"]),
            ("models/a.onnx models/b.onnx reference.onnx --max-latency 11ms --device recorded:calm.jsonl", 0, &[]),
        ],
    );
    // One file for several models must know each of them.
    let mut other = recording::calm(Duration::from_millis(10));
    other.model_sha256 = "0".repeat(64);
    recording::write(&folder.path().join("other.jsonl"), &[other]);
    let line = "models --baseline other.jsonl --device recorded:calm.jsonl";
    check(&folder, &[(line, 6, &["INVALID", "holds no measurement of this model", "one --baseline a model"])]);
    // A changed model is compared with what it was.
    check(&folder, &[("reference.onnx --baseline other.jsonl --device recorded:calm.jsonl", 0, &["+0.0 %"])]);
}

#[test]
fn what_is_not_decided_is_measured_longer() {
    let folder = workplace();
    let round = |permille: u64| {
        let mut it = recording::calm(Duration::from_micros(10 * permille));
        longer(&mut it, |idx| 1.0 + 0.0001 * idx as f64);
        it
    };
    let check = |name: &str, percentile: &str, rounds: &[Measurement], code, n_blocks: usize| {
        recording::write(&folder.path().join(name), rounds);
        let line = format!("verify reference.onnx --device recorded:{name} --max-latency 10.06ms --json");
        let line = format!("{line} --percentile {percentile}");
        let said = run(&folder, &line);
        said.expect(code, &[]);
        let found = said.json();
        let blocks = found["models"][0]["latency"]["block_medians"].as_array().map(Vec::len);
        assert_eq!(blocks, Some(n_blocks), "{name}");
        assert_eq!(said.stderr.contains("taking more blocks"), 5 < n_blocks || code != 0, "{}", said.stderr);
    };
    let mut undecided = recording::calm(Duration::from_millis(10));
    uneven(&mut undecided);
    check("at-once.jsonl", "p90", &[round(990), round(1100)], 0, 5);
    // A failure takes two processes.
    check("confirmed.jsonl", "p90", &[round(1100), round(1101), round(980)], 1, 10);
    // A median of processes that contradict each other is not known; a percentile of 90 that one process in
    // two exceeds is exceeded.
    check("refuted.jsonl", "p50", &[round(1020), round(990), round(991)], 6, 15);
    check("half.jsonl", "p90", &[round(1020), round(990), round(991)], 1, 10);
    // A recording that repeats itself is no second opinion.
    check("repeats.jsonl", "p90", &[undecided.clone()], 6, 5);
    check("settles.jsonl", "p90", &[undecided, round(960), round(961)], 6, 15);
}

#[test]
fn reports_are_written_for_other_programs() {
    let folder = workplace();
    let line = "verify reference.onnx --device recorded:slow.jsonl --max-latency 12ms --baseline calm.jsonl";
    let said = run(&folder, &format!("{line} --junit out/verify.xml --markdown verify.md --json"));
    let found = said.expect(1, &[]).json();
    assert_eq!((&found["verdict"], &found["holds"]), (&"fail".into(), &false.into()));
    let of = |what: &str| -> Value {
        let checks = found["checks"].as_array().expect("a list");
        checks.iter().find(|it| it["what"].as_str().is_some_and(|it| it.contains(what))).expect("it is there").clone()
    };
    assert_eq!(of("bound on latency")["result"], "holds");
    assert_eq!(of("bound on latency")["numbers"]["bound"]["bound"]["max"], 0.012);
    assert_eq!(of("baseline")["result"], "fails");
    let shift = of("baseline")["numbers"]["comparison"]["shift"].as_f64().expect("a number");
    assert!((shift - 0.1).abs() < 1e-3, "{shift}");
    let latency = &found["models"][0]["latency"];
    assert_eq!((&latency["board"]["name"], &latency["percentile"]), (&"bench".into(), &0.9.into()));

    let xml = String::from_utf8(read(&folder.path().join("out/verify.xml"))).expect("it is UTF-8");
    let events: Result<Vec<_>, _> = xml::EventReader::new(xml.as_bytes()).into_iter().collect();
    assert!(events.is_ok(), "{xml}: {events:?}");
    assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"0\""), "{xml}");
    assert!(
        xml.contains("<testcase classname=\"reference.onnx\" name=\"latency against the baseline\"><failure"),
        "{xml}"
    );
    let table = String::from_utf8(read(&folder.path().join("verify.md"))).expect("it is UTF-8");
    for words in
        ["### Model gate: FAIL", "| &lt;= 12 ms | pass | board ", "governor performance", "1500 MHz", "not throttled"]
    {
        assert!(table.contains(words), "no {words:?} in {table}");
    }
    // Reports are written where there is no verdict too.
    let line =
        "verify reference.onnx --device recorded:busy.jsonl --max-latency 12ms --junit busy.xml --markdown busy.md";
    run(&folder, line).expect(6, &[]);
    let xml = String::from_utf8(read(&folder.path().join("busy.xml"))).expect("it is UTF-8");
    assert!(xml.contains("errors=\"2\"") && xml.contains("type=\"invalid\""), "{xml}");
    run(&folder, "verify reference.onnx --max-latency 1s --junit calm.jsonl/x.xml").expect(5, &["calm.jsonl"]);
}

#[test]
fn help_teaches() {
    let words =
        ["Examples:", "--budget budget.toml", "Mann-Whitney", "95 % interval", "Exit codes: 0", "6 cannot tell"];
    run(&workplace(), "verify --help").expect(0, &words);
}

/// Receipts from before the measured latency stood in them are read as ever.
#[test]
fn old_receipts_are_readable() {
    let folder = workplace();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/demo-receipt.json");
    let receipt: Value = serde_json::from_slice(&read(&old)).expect("it is JSON");
    assert!(receipt.get("latency").is_none(), "keep one that is older than the field");
    fs::copy(&old, folder.path().join("old.json")).expect("it can be copied");
    // It is understood; its model is not beside it.
    run(&folder, "verify old.json").expect(5, &["model.onnx is missing"]);
}
