//! Models that others made: each loads and agrees with its reference outputs, or is refused with a reason.
//!
//! `strangers.tsv` lists what became of each; `PIPELINE_UPDATE=1` writes it anew, for a person to compare.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{agree, numbers};
use onnx_protobuf::{Message, TensorProto};
use runtime::validate::{Limits, ModelInfo, validate};
use runtime::worker::{Worker, WorkerError};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/onnx");
const LISTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/strangers.tsv");

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so, and the summary is for people")]
fn every_model_loads_and_agrees_or_says_why_not() {
    let files = files(Path::new(ROOT));
    if files.is_empty() {
        eprintln!("skipped: models that others made (no ../shared/data)");
        return;
    }
    let found = files.iter().map(|path| (name(path), outcome(path))).collect::<BTreeMap<_, _>>();
    let count = |start: &str| found.values().filter(|outcome| outcome.starts_with(start)).count();
    let (equal, loaded) = (count(EQUAL), count(LOADED));
    let (gate, engine) = (count("refused: "), count("refused by the engine: "));
    eprintln!(
        "{} models: {equal} equal to their reference, {loaded} loaded without one, {gate} refused by the gate, \
         {engine} by the engine",
        found.len()
    );
    let broken = found.iter().filter(|(_, outcome)| outcome.starts_with("BROKEN")).collect::<Vec<_>>();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(equal + loaded + gate + engine, found.len(), "an outcome of another kind");

    let text = found.iter().map(|(name, outcome)| format!("{name}\t{outcome}\n")).collect::<String>();
    if std::env::var_os("PIPELINE_UPDATE").is_some() {
        std::fs::write(LISTED, &text).expect("the list can be written");
    }
    let listed = std::fs::read_to_string(LISTED).expect("the list is in the repository");
    let listed = listed.lines().filter_map(|line| line.split_once('\t')).collect::<BTreeMap<_, _>>();
    let changed = found.iter().filter(|(name, outcome)| listed.get(name.as_str()).is_some_and(|it| it != outcome));
    let changed = changed.collect::<Vec<_>>();
    assert!(changed.is_empty(), "other than listed: {changed:#?}");
}

/// What a model may come to that loads.
const EQUAL: &str = "equal";
const LOADED: &str = "loaded";

/// What becomes of one model, run as `measure` runs it: the gate, then a process with limits.
fn outcome(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("readable");
    let info = match validate(&bytes, &Limits::default()) {
        Ok(info) => info,
        Err(rejected) => return format!("refused: {rejected}"),
    };
    let sets = references(path, &info);
    let worker = Worker::new(env!("CARGO_BIN_EXE_pipeline-agent"), &[]);
    if sets.is_empty() {
        let n = info.inputs.iter().map(|input| input.shape.iter().product::<usize>()).sum();
        return match worker.check(path, &vec![0.5; n]) {
            Ok(_) => LOADED.into(),
            Err(error) => failure(&error),
        };
    }
    for (input, expected) in sets {
        let found = match worker.check(path, &input) {
            Ok(outputs) => outputs.values,
            Err(error) => return failure(&error),
        };
        let differs = found.iter().zip(&expected).find(|&(&found, &expected)| !agree(found, expected));
        match differs {
            Some((found, expected)) => return format!("BROKEN: {found} instead of {expected}"),
            None if found.len() != expected.len() => {
                return format!("BROKEN: {} numbers instead of {}", found.len(), expected.len());
            }
            None => {}
        }
    }
    EQUAL.into()
}

fn failure(error: &WorkerError) -> String {
    match error {
        WorkerError::Refused(why) => format!("refused by the engine: {}", why.replace(['\n', '\t'], " ")),
        WorkerError::Start { .. }
        | WorkerError::File { .. }
        | WorkerError::Late { .. }
        | WorkerError::Died { .. }
        | WorkerError::Agent { .. }
        | WorkerError::Unavailable(_)
        | WorkerError::Speech(_) => format!("BROKEN: {error}"),
    }
}

/// Inputs and the outputs that another runtime computed for them.
fn references(path: &Path, info: &ModelInfo) -> Vec<(Vec<f32>, Vec<f32>)> {
    let folder = path.parent().expect("a file has a folder");
    let large = path.with_file_name(format!("{}_output_0.pb", path.file_stem().expect("a name").display()));
    if large.exists() {
        // These come without inputs: theirs is a ramp from 0 to 1.
        let n = info.inputs[0].shape.iter().product::<usize>();
        let ramp = (0..n).map(|idx| (idx as f64 / n as f64) as f32).collect();
        return vec![(ramp, tensor(&large))];
    }
    let sets = (0..).map(|k| folder.join(format!("test_data_set_{k}"))).take_while(|set| set.exists());
    let all = |set: &Path, kind: &str| {
        let files = (0..).map(|k| set.join(format!("{kind}_{k}.pb"))).take_while(|file| file.exists());
        files.flat_map(|file| tensor(&file)).collect::<Vec<_>>()
    };
    sets.map(|set| (all(&set, "input"), all(&set, "output"))).filter(|(_, output)| !output.is_empty()).collect()
}

fn tensor(path: &Path) -> Vec<f32> {
    numbers(&TensorProto::parse_from_bytes(&std::fs::read(path).expect("readable")).expect("a tensor"))
}

/// The folder of a test, or the file where several share one.
fn name(path: &Path) -> String {
    let path = path.strip_prefix(ROOT).expect("found there");
    let name = if path.ends_with("model.onnx") { path.parent().expect("it has a folder") } else { path };
    name.display().to_string()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut files = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "onnx") {
            files.push(path);
        }
    }
    files
}
