//! Runs that are cut short, by a crash, by the user or by a deadline.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use data::keyed;

use crate::{
    command::{finish, pipeline, start},
    micro::{MICRO, check_same, json, lines, reference, run, words, workplace},
    recording,
};

#[test]
fn a_run_killed_at_the_birth_of_each_file_resumes_to_the_same_bytes() {
    let folder = workplace();
    let path = folder.path().join("run");
    let files = [
        "config.toml",
        "study.jsonl",
        "checkpoints/b-enas.safetensors",
        "checkpoints/random-ws.safetensors",
        "architecture.json",
        "checkpoints/final.safetensors",
        "weights.safetensors",
        "training.json",
        "model.onnx",
        "exported.json",
        "receipt.json",
        "report.html",
    ];
    for file in files {
        let mut child = start(folder.path(), &next(&path));
        wait_for(&path.join(file));
        child.kill().expect("it was started"); // SIGKILL: nothing is tidied up
        finish(child);
    }
    pipeline(folder.path(), &next(&path)).expect(0, &["within budget"]);
    check_same(&path, &reference().path);
    run(&folder, "verify --run run").expect(0, &["keeps its promise"]);
}

#[test]
fn a_run_killed_at_random_resumes_to_the_same_bytes() {
    let took = reference().took;
    for round in 0..2 {
        let folder = workplace();
        let path = folder.path().join("run");
        let mut rng = keyed::rng(8, "kill", round);
        let mut n_killed = 0;
        for _ in 0..3 {
            let share = 0.05 + 0.6 * f64::from(keyed::below(&mut rng, 1_000)) / 1_000.0;
            let mut child = start(folder.path(), &next(&path));
            thread::sleep(took.mul_f64(share));
            let was_running = child.try_wait().expect("it was started").is_none();
            child.kill().expect("it was started");
            finish(child);
            n_killed += u32::from(was_running);
        }
        assert!(0 < n_killed, "every session had ended before its kill: {took:?} is too long a guess");
        pipeline(folder.path(), &next(&path)).expect(0, &["within budget"]);
        check_same(&path, &reference().path);
        let trials = lines(&path.join("study.jsonl"));
        assert_eq!(trials.len(), lines(&reference().path.join("study.jsonl")).len());
        run(&folder, "verify --run run").expect(0, &[]);
    }
}

/// Measurements and the clock decide here, so the bytes may differ: the promise may not.
#[test]
fn a_measured_run_with_a_deadline_resumes_too() {
    let folder = workplace();
    let path = folder.path().join("run");
    recording::write_for_any(&folder.path().join("board.jsonl"), &recording::calm(Duration::from_millis(2)), 300);
    let first =
        "search --config micro.toml --run run --device recorded:board.jsonl --max-latency 20ms --deadline 10min";
    for file in ["measurements.jsonl", "checkpoints/b-enas.safetensors", "checkpoints/final.safetensors"] {
        let args = if path.join("config.toml").exists() { next(&path) } else { words(first) };
        let mut child = start(folder.path(), &args);
        wait_for(&path.join(file));
        child.kill().expect("it was started");
        finish(child);
    }
    pipeline(folder.path(), &next(&path)).expect(0, &["within budget", "measured on rpi4"]);
    let trials = lines(&path.join("study.jsonl"));
    assert!(trials.iter().enumerate().all(|(idx, trial)| trial["trial"] == idx), "numbered from 0 without gaps");
    let whole = lines(&reference().path.join("study.jsonl"));
    assert_eq!(trials.len(), whole.len(), "the effort is that of an uninterrupted run");
    let own = recording::of(&path.join("model.onnx"), recording::calm(Duration::from_millis(2)));
    recording::write(&folder.path().join("own.jsonl"), &[own]);
    run(&folder, "verify --run run --device recorded:own.jsonl").expect(0, &["keeps its promise"]);
}

/// Arguments that go on with the run at `path`, or begin it.
fn next(path: &Path) -> Vec<&'static str> {
    words(if path.join("config.toml").exists() {
        "search --resume --run run"
    } else {
        "search --config micro.toml --run run"
    })
}

fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "{} never came", path.display());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_interrupt_ends_with_130_and_resumes() {
    let folder = workplace();
    let path = folder.path().join("run");
    let interrupt_once = |file: &str, args: &[&str]| {
        let child = start(folder.path(), args);
        wait_for(&path.join(file));
        let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
        assert!(sent.is_ok_and(|it| it.success()), "the run had ended before its interrupt");
        finish(child).expect(130, &["interrupted"]);
    };
    // In the search, at its first snapshot; in final training, as soon as there is something to train.
    interrupt_once("study.jsonl", &next(&path));
    assert!(!path.join("architecture.json").exists());
    interrupt_once("architecture.json", &next(&path));
    assert!(!path.join("receipt.json").exists());
    run(&folder, "inspect run").expect(0, &["next: pipeline search --resume"]);
    run(&folder, "search --resume --run run").expect(0, &["within budget"]);
    check_same(&path, &reference().path);
}

#[test]
fn a_deadline_ends_the_run_with_an_answer() {
    let folder = workplace();
    // An hour of work.
    let long = MICRO
        .replace("{ epochs = 2, con", "{ epochs = 900, con")
        .replace("training = { epochs = 2", "training = { epochs = 900");
    fs::write(folder.path().join("long.toml"), long).expect("a temporary folder can be written");
    let started = Instant::now();
    run(&folder, "search --config long.toml --deadline 6s --run run").expect(0, &["within budget"]);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let epochs = json(&folder.path().join("run/architecture.json"))["epochs"].as_u64().expect("a count");
    assert!((1..900).contains(&epochs), "{epochs}");
}
