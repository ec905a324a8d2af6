//! Devices: this machine, and recordings of it.

mod common;

use std::path::{Path, PathBuf};

use onnx_protobuf::Message;
use runtime::device::{Device, DeviceError, Local, Recorded, Recorder};
use runtime::protocol::file_sha256;
use runtime::reference;
use runtime::worker::Worker;
use targets::measurement::{Block, Conditions, Measurement, Protocol, Reach};

/// A device that says what it is told, and counts.
struct Fixed {
    next_ns: u64,
}

impl Device for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    fn reach(&self) -> Reach {
        Reach::Ssh
    }

    fn measure(&mut self, model: &Path, protocol: &Protocol) -> Result<Measurement, DeviceError> {
        self.next_ns += 1;
        let hash = file_sha256(model).expect("readable");
        Ok(measurement(&hash, self.next_ns, protocol))
    }
}

fn measurement(hash: &str, ns: u64, protocol: &Protocol) -> Measurement {
    Measurement {
        target: "rpi4".into(),
        device: "fixed".into(),
        reach: Reach::Ssh,
        model_sha256: hash.into(),
        engine: "tract 0.23.9".into(),
        agent: "0.1.0".into(),
        agent_sha256: String::new(),
        protocol: protocol.clone(),
        warmup_runs: 60,
        warmup_settled: true,
        blocks: vec![Block { wall_ns: vec![ns], cpu_ns: vec![ns], ..Default::default() }],
        load_ns: 1,
        first_run_ns: 1,
        load_peak_bytes: 1,
        steady_peak_bytes: 1,
        output_hash: "0".into(),
        before: Conditions::default(),
        after: Conditions { load_average: Some(0.1), ..Default::default() },
    }
}

fn files() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (folder.path().join("a.onnx"), folder.path().join("b.onnx"));
    std::fs::write(&a, b"one").expect("written");
    std::fs::write(&b, b"another").expect("written");
    (folder, a, b)
}

fn wall(measured: Result<Measurement, DeviceError>) -> u64 {
    measured.expect("recorded").blocks[0].wall_ns[0]
}

#[test]
fn a_recording_plays_back_what_was_measured() {
    let (folder, a, b) = files();
    let path = folder.path().join("measurements.jsonl");
    let (quick, full) = (Protocol::quick(), Protocol::default());
    let mut recorder = Recorder::append(Fixed { next_ns: 0 }, &path).expect("opens");
    assert_eq!((recorder.name(), recorder.reach()), ("fixed", Reach::Ssh));
    let first = recorder.measure(&a, &quick).expect("measured");
    for (model, protocol) in [(&b, &quick), (&a, &quick), (&a, &full)] {
        recorder.measure(model, protocol).expect("measured");
    }

    let mut recorded = Recorded::open(&path).expect("opens");
    assert_eq!((recorded.name(), recorded.reach()), (&format!("recorded:{}", path.display())[..], Reach::Recorded));
    assert_eq!(recorded.measure(&a, &quick).expect("recorded"), first); // and it keeps how it was reached
    assert_eq!(wall(recorded.measure(&a, &quick)), 3);
    assert_eq!(wall(recorded.measure(&a, &quick)), 3); // the last again and again
    assert_eq!(wall(recorded.measure(&a, &full)), 4); // the asked protocol first
    assert_eq!(wall(recorded.measure(&b, &full)), 2); // another protocol where there is no such
    std::fs::write(&b, b"unknown").expect("written");
    let unknown = recorded.measure(&b, &quick).expect_err("not recorded");
    assert_eq!(unknown.exit_code(), 3);
    assert!(unknown.to_string().contains("b.onnx"), "{unknown}");

    // Recording goes on behind what is there.
    Recorder::append(Fixed { next_ns: 100 }, &path).expect("opens").measure(&b, &quick).expect("measured");
    assert_eq!(wall(Recorded::open(&path).expect("opens").measure(&b, &quick)), 101);
}

#[test]
fn an_ordered_recording_serves_unknown_models_in_turn() {
    let (folder, a, b) = files();
    let path = folder.path().join("measurements.jsonl");
    let protocol = Protocol::quick();
    let known = file_sha256(&b).expect("readable");
    let lines = [measurement("x", 1, &protocol), measurement(&known, 2, &protocol), measurement("y", 3, &protocol)];
    let lines = lines.iter().map(|line| serde_json::to_string(line).expect("has a JSON form"));
    let text = std::iter::once("{\"order\":\"default\"}".to_owned()).chain(lines).collect::<Vec<_>>().join("\n");
    std::fs::write(&path, text).expect("written");

    let mut recorded = Recorded::open(&path).expect("opens");
    let first = recorded.measure(&a, &protocol).expect("recorded");
    assert_eq!((first.model_sha256.as_str(), first.blocks[0].wall_ns[0]), ("x", 1)); // it was taken of another
    assert_eq!(wall(recorded.measure(&b, &protocol)), 2); // known by its hash
    assert_eq!(wall(recorded.measure(&a, &protocol)), 2);
    assert_eq!(wall(recorded.measure(&a, &protocol)), 3);
    assert_eq!(recorded.measure(&a, &protocol).expect_err("used up").exit_code(), 3);
}

#[test]
fn a_damaged_recording_names_the_line() {
    let (folder, ..) = files();
    let path = folder.path().join("measurements.jsonl");
    let good = serde_json::to_string(&measurement("x", 1, &Protocol::quick())).expect("has a JSON form");
    std::fs::write(&path, format!("{good}\n\n{}\n", &good[..40])).expect("written");
    let error = Recorded::open(&path).expect_err("damaged");
    assert!(error.to_string().contains("line 3"), "{error}");
    assert_eq!(Recorded::open(Path::new("/no/such.jsonl")).expect_err("missing").exit_code(), 5);
}

#[test]
fn this_machine_measures_and_refuses() {
    let (folder, a, _) = files();
    let mut local = Local::new(Worker::new(env!("CARGO_BIN_EXE_pipeline-agent"), &[]), "host");
    let protocol = Protocol { warmup_limit_ms: 50, blocks: 2, min_samples: 2, ..Protocol::quick() };
    let model = folder.path().join("model.onnx");
    std::fs::write(&model, reference::onnx()).expect("written");
    let measured = local.measure(&model, &protocol).expect("measured");
    assert_eq!((measured.target.as_str(), measured.device.as_str(), measured.reach), ("host", "local", Reach::Local));
    assert_eq!(measured.model_sha256, local.admit(&model).expect("sound").sha256);

    let check = |local: &mut Local, model: &Path, code, words: &str| {
        let error = local.measure(model, &protocol).expect_err(words);
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    check(&mut local, &a, 7, "the model is rejected"); // refused by the gate
    check(&mut local, &folder.path().join("none.onnx"), 5, "none.onnx");
    // Passes the gate, which does not know types; the engine refuses to add floats to integers.
    let mut mixed = common::cnn();
    let graph = mixed.graph.mut_or_insert_default();
    graph.node[1] = common::node("relu", "Cast", &["conv_out"], "relu_out");
    let mut to = common::attribute("to", &[]);
    (to.type_, to.i) = (onnx_protobuf::attribute_proto::AttributeType::INT.into(), 9);
    graph.node[1].attribute.push(to);
    std::fs::write(&a, mixed.write_to_bytes().expect("small")).expect("written");
    check(&mut local, &a, 7, "failed");
    let mut missing = Local::new(Worker::new("/no/such/agent", &[]), "host");
    check(&mut missing, &model, 3, "/no/such/agent");
    let mut small = Local { limits: runtime::validate::Limits { file_bytes: 10, ..Default::default() }, ..local };
    check(&mut small, &model, 7, "more than 10");
}
