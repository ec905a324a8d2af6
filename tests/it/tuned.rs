//! Exporting in the forms that a device runs fastest.

use std::{path::Path, time::Duration};

use crate::{
    micro::{copy, json, read, reference, run, workplace},
    recording,
};

/// Rounds in which every form is timed once.
const ROUNDS: usize = 7;

#[test]
fn keeps_the_form_that_is_faster_and_says_what_it_gains() {
    let folder = workplace();
    let path = folder.path().join("run");
    copy(&reference().path, &path, &[]);
    let tune = |recording: &str| run(&folder, &format!("export --run run --tune --device recorded:{recording} --json"));

    // Where every form takes as long, the plain one stays: the very file.
    let even = recording::calm(Duration::from_millis(10));
    recording::write_for_any(&folder.path().join("even.jsonl"), &even, 200);
    let plain = tune("even.jsonl").expect(0, &[]).json();
    assert_eq!((&plain["tuned"]["chosen"], &plain["tuned"]["time_ratio"]), (&"plain".into(), &1.0.into()));
    assert_eq!(read(&path.join("model.onnx")), read(&reference().path.join("model.onnx")));
    let tried = plain["tuned"]["tried"].as_array().expect("a list").clone();
    assert!(!tried.is_empty(), "the cell has a pool or a reduction");

    // A round: the plain form, the others, and the plain form again for the noise.
    let faster = recording::calm(Duration::from_millis(8));
    let round: Vec<_> = (0..tried.len() + 2).map(|idx| if idx == 1 { &faster } else { &even }).collect();
    let visits: Vec<_> = round.iter().cycle().take(ROUNDS * round.len()).copied().cloned().collect();
    recording::write_in_order(&folder.path().join("faster.jsonl"), &visits);
    let tuned = tune("faster.jsonl").expect(0, &[]).json();
    assert_eq!(tuned["tuned"]["chosen"], tried[0]["forms"]);
    let ratio = tuned["tuned"]["time_ratio"].as_f64().expect("a number");
    assert!((ratio - 0.8).abs() < 1e-3, "{ratio}");
    for form in tuned["tuned"]["tried"].as_array().expect("a list") {
        assert!(form["difference"].as_f64().is_some_and(|it| it <= 1e-5), "{form}");
    }
    run(&folder, "inspect run/model.onnx")
        .expect(0, &["pipeline.lowering", tried[0]["forms"].as_str().expect("words")]);
    settled(&folder, &path);

    // A form that is not faster in all rounds but one is no better.
    let mut visits = visits;
    visits[1] = even.clone();
    visits[round.len() + 1] = even.clone();
    recording::write_in_order(&folder.path().join("noise.jsonl"), &visits);
    assert_eq!(tune("noise.jsonl").expect(0, &[]).json()["tuned"]["chosen"], "plain");
}

/// The tuned file takes the place of the plain one in everything that follows.
fn settled(folder: &tempfile::TempDir, path: &Path) {
    let own = recording::of(&path.join("model.onnx"), recording::calm(Duration::from_millis(9)));
    recording::write(&folder.path().join("own.jsonl"), &[own]);
    run(folder, "measure --run run --device recorded:own.jsonl").expect(0, &["measured on rpi4"]);
    assert!(json(&path.join("receipt.json"))["files"]["model.onnx"].is_string());
    run(folder, "verify --run run").expect(0, &["keeps its promise"]);
}

#[test]
fn a_device_without_tuning_is_a_mistake() {
    let folder = workplace();
    run(&folder, "export --run run --device local").expect(2, &["--tune"]);
}
