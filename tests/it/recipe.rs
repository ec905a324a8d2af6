//! The gate as a step of continuous integration: the shell recipe, the action, and the example in docs/results.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    command::{PROGRAM, Said, pipeline, said},
    gate::workplace,
    micro::{copy, json, read},
};

/// Runs a script of the repository in `folder`, with the program under test and these variables.
fn script(folder: &TempDir, path: &str, args: &[&str], variables: &[(&str, &str)]) -> Said {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut command = Command::new(script);
    command.args(args).current_dir(folder.path()).env("PIPELINE", PROGRAM).env("HOME", folder.path());
    command.env("GITHUB_STEP_SUMMARY", "summary.md").env("GITHUB_OUTPUT", "outputs").env_remove("REPORTS");
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    said(command.output().expect("the script starts"))
}

#[test]
fn the_recipe_and_the_action_pass_the_verdict_on() {
    let folder = workplace();
    let text = |name: &str| String::from_utf8(read(&folder.path().join(name))).expect("it is UTF-8");
    for (device, bound, code, verdict) in [
        ("calm", "11ms", 0, "pass"),
        ("calm", "9ms", 1, "fail"),
        ("busy", "11ms", 6, "cannot-tell"),
        ("missing", "11ms", 5, "error"),
    ] {
        let device = format!("recorded:{device}.jsonl");
        let args = ["reference.onnx", "--device", &device, "--max-latency", bound];
        script(&folder, "scripts/verify-models", &args, &[]).expect(code, &[]);
        assert!(text("outputs").ends_with(&format!("verdict={verdict}\n")), "{}", text("outputs"));
        assert_eq!(folder.path().join("verify/verify.xml").exists(), verdict != "error", "old reports do not stay");
        let inputs = [("INPUT_MODELS", "reference.onnx\n"), ("INPUT_DEVICE", &device), ("INPUT_MAX_LATENCY", bound)];
        script(&folder, ".github/actions/verify/verify.sh", &[], &inputs).expect(code, &[]);
    }
    assert_eq!(text("outputs").lines().count(), 8);
    assert_eq!(text("summary.md").matches("### Model gate: ").count(), 6);
    assert_eq!(text("summary.md").matches("### Model gate: pass").count(), 2);
}

#[test]
fn inputs_of_the_action_are_never_commands() {
    let folder = workplace();
    let hostile = "$(touch canary)\n`touch canary`\n; touch canary #\n--junit=canary\n-h";
    for name in ["MODELS", "DEVICE", "TARGET", "BUDGET", "MAX_LATENCY", "PERCENTILE", "BASELINE", "DATA"] {
        let name = format!("INPUT_{name}");
        let mut inputs = vec![("INPUT_MODELS", "reference.onnx"), ("INPUT_MAX_LATENCY", "1s")];
        inputs.push((&name, hostile));
        let found = script(&folder, ".github/actions/verify/verify.sh", &[], &inputs);
        assert!(matches!(found.code, Some(2 | 5)), "{name}: {found:?}");
        assert!(!folder.path().join("canary").exists(), "{name}");
    }
}

/// Every input that the action declares reaches its script, and none that it does not.
#[test]
fn the_actions_inputs_are_its_scripts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/actions/verify");
    let text = |name: &str| String::from_utf8(read(&root.join(name))).expect("it is UTF-8");
    let names = |text: &str, before: &str| -> BTreeSet<String> {
        let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
        let rest = text.match_indices(before).map(|(at, _)| &text[at + before.len()..]);
        rest.map(|rest| rest.chars().take_while(|&it| is_name(it)).collect()).collect()
    };
    let (given, used) = (names(&text("action.yml"), " INPUT_"), names(&text("verify.sh"), "{INPUT_"));
    assert_eq!(given, used);
    assert_eq!(given.len(), 8);
}

/// The model that is shipped as an example keeps its promise here too.
#[test]
fn the_example_passes_fails_and_cannot_tell() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/digits");
    let at = |name: &str| digits.join(name).display().to_string();
    let later = format!("recorded:{}", at("later.jsonl"));
    let busy = format!("recorded:{}", at("busy.jsonl"));
    let (model, receipt, budget, digits) = (at("model.onnx"), at("receipt.json"), at("budget.toml"), at(""));
    let gate = ["verify", &digits, "--device", &later, "--baseline", &receipt, "--budget", &budget];
    pipeline(folder.path(), &gate).expect(0, &["holds    test accuracy", "against the baseline", "keeps its promise"]);
    let gate = ["verify", &receipt];
    pipeline(folder.path(), &gate).expect(0, &["latency of the samples", "keeps its promise"]);
    let gate = ["verify", &model, "--device", &later, "--max-latency", "100us"];
    pipeline(folder.path(), &gate).expect(1, &["FAILS"]);
    let gate = ["verify", &model, "--device", &busy, "--max-latency", "2ms"];
    pipeline(folder.path(), &gate).expect(6, &["INVALID", "other processes took"]);
}

/// Who changes what a receipt says of its measurement is noticed, and the measurement of another model or of a
/// disturbed board is none.
#[test]
fn a_changed_measurement_is_noticed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/digits");
    let check = |place: &str, value: Value, code, words: &str| {
        copy(&digits, &folder.path().join("digits"), &["model.onnx", "receipt.json"]);
        let path = folder.path().join("digits/receipt.json");
        let mut receipt = json(&path);
        let old = receipt.pointer_mut(place).unwrap_or_else(|| panic!("no {place} in the receipt"));
        assert_ne!(*old, value);
        *old = value;
        fs::write(&path, receipt.to_string()).expect("a temporary folder can be written");
        pipeline(folder.path(), &["verify", "digits"]).expect(code, &[words]);
    };
    check("/cost/figures/latency/value", 0.0001.into(), 1, "FAILS    latency of the samples");
    check("/latency/figure/value", 0.0001.into(), 1, "FAILS    latency of the samples");
    check("/latency/fingerprint", "948ce0fff322a449".into(), 1, "FAILS    latency of the samples");
    check("/measurement/device", "another".into(), 1, "FAILS    latency of the samples");
    check("/measurement/after/other_load", 0.2.into(), 6, "INVALID  measurement");
    check("/measurement/after/throttled", 4.into(), 6, "the board throttled");
    check("/measurement/reach", "emulated".into(), 6, "emulator");
    check("/bounds/0/max", 1e-6.into(), 1, "FAILS    hard bound on latency");
    check("/bounds/0/max", 0.00019.into(), 6, "UNCLEAR  hard bound on latency");
}
