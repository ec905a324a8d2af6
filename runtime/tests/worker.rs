//! The process that runs models: its answers, and every way in which it can fail.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runtime::engine::{ENGINE, Model};
use runtime::protocol::probe_input;
use runtime::reference;
use runtime::worker::{Worker, WorkerError, WorkerLimits};
use targets::measurement::{Protocol, Reach};

fn agent() -> Worker {
    Worker::new(env!("CARGO_BIN_EXE_pipeline-agent"), &[])
}

/// A process that runs `script` instead of an agent.
fn shell(script: &str) -> Worker {
    let limits = WorkerLimits { time: Duration::from_millis(300), ..Default::default() };
    Worker { limits, ..Worker::new("/bin/sh", &["-c", script, "agent"]) }
}

fn reference_file() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, reference::onnx()).expect("written");
    (folder, path)
}

#[test]
fn answers_as_the_engine_does() {
    let (_folder, path) = reference_file();
    let mut model = Model::load(&path).expect("loads");
    let inputs = probe_input(2 * model.input_len());
    let outputs = agent().check(&path, &inputs).expect("answers");
    let expected = inputs.chunks(model.input_len()).flat_map(|input| model.run(input).expect("runs"));
    assert_eq!((outputs.shape, outputs.values), (vec![1, 10], expected.collect::<Vec<_>>()));
    assert!(agent().check(&path, &[]).expect("answers").values.is_empty());

    let profile = agent().profile(&path, 2).expect("answers");
    assert!(profile.nodes.iter().any(|node| node.name.starts_with("stem")));
    assert_eq!(profile.activation_bytes, model.activation_bytes());

    let facts = agent().facts().expect("answers");
    assert_eq!((facts.engine.as_str(), facts.agent.as_str()), (ENGINE, runtime::AGENT));
    assert_eq!(facts.arch, std::env::consts::ARCH);
    assert!(facts.conditions.cores > 0);
}

#[test]
fn measures_in_a_fresh_process() {
    let (_folder, path) = reference_file();
    // A process of its own: neither peak holds what this one does.
    let ballast = vec![1u8; 256 << 20];
    let protocol = Protocol { warmup_limit_ms: 50, blocks: 2, min_samples: 4, ..Protocol::quick() };
    let measured = agent().measure(&path, &protocol, "host", "local", Reach::Local).expect("answers");
    assert_eq!(measured.blocks.iter().map(|block| block.wall_ns.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!((measured.target.as_str(), measured.protocol), ("host", protocol));
    assert!(measured.load_peak_bytes < ballast.len() as u64 && measured.steady_peak_bytes < ballast.len() as u64);
    assert!(measured.load_peak_bytes > 2 << 20);
}

#[test]
fn a_model_that_fails_does_not_take_us_along() {
    let (folder, path) = reference_file();
    let check = |worker: &Worker, words: &[&str]| {
        let error = worker.profile(&path, 1).expect_err(&words.join(" ")).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error:?} does not say {words:?}");
    };
    check(&shell("echo oh dear >&2; kill -SEGV $$"), &["segmentation fault", "oh dear"]);
    check(&shell("echo panicked at >&2; exit 101"), &["panic", "panicked at"]);
    check(&shell("kill -KILL $$"), &["killed"]);
    check(&shell("echo hello"), &["protocol", "greeting"]);
    check(&shell("true"), &["protocol", "said nothing"]);
    check(&shell(r#"echo '{"speaks":9,"agent":"","engine":""}'"#), &["version 9"]);
    check(&shell(r#"echo '{"speaks":2,"agent":"","engine":""}'"#), &["no answer"]);
    check(&shell(r#"echo '{"speaks":2,"agent":"","engine":""}'; echo '{"checked":[1]}'"#), &["not asked for"]);
    check(&shell("echo disk full >&2; exit 5"), &["could not do its part", "5", "disk full"]);
    check(&Worker::new("/no/such/agent", &[]), &["/no/such/agent"]);

    let starved = Worker { limits: WorkerLimits { memory_bytes: 12 << 20, ..Default::default() }, ..agent() };
    assert!(matches!(starved.profile(&path, 1), Err(WorkerError::Died { .. } | WorkerError::Refused(_))));

    let broken = folder.path().join("broken.onnx");
    std::fs::write(&broken, b"not a model").expect("written");
    assert!(matches!(agent().profile(&broken, 1), Err(WorkerError::Refused(why)) if why.contains("cannot read")));
    assert!(matches!(agent().check(&path, &[0.0; 7]), Err(WorkerError::Refused(why)) if why.contains('7')));
}

#[test]
fn a_model_that_hangs_is_ended_with_all_it_started() {
    let start = Instant::now();
    let worker = shell("sleep 1000 & sleep 1000");
    assert!(matches!(worker.facts(), Err(WorkerError::Late { limit }) if limit == Duration::from_millis(300)));
    // A surviving child would hold the pipes, and us, for a thousand seconds.
    assert!(start.elapsed() < Duration::from_secs(20));

    // Where nobody ends it from outside, as over a cut ssh connection, its own limit of CPU time does.
    let (_folder, path) = reference_file();
    let alone = Command::new(env!("CARGO_BIN_EXE_pipeline-agent"))
        .arg("profile")
        .arg(&path)
        .args(["--runs", "100000000", "--cpu-seconds", "1", "--allow-root"])
        .stdout(Stdio::null())
        .status()
        .expect("starts");
    assert_eq!(alone.signal(), Some(24)); // SIGXCPU
}

#[test]
fn a_flood_of_words_does_not_block() {
    let worker = shell("head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero");
    let worker = Worker { limits: WorkerLimits { time: Duration::from_secs(20), ..worker.limits }, ..worker };
    assert!(matches!(worker.facts(), Err(WorkerError::Speech(_))));
}

#[test]
fn the_superuser_must_be_meant() {
    let output = Command::new(env!("CARGO_BIN_EXE_pipeline-agent")).arg("facts").output().expect("starts");
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    let lines: Vec<&str> = text.lines().collect();
    // Whatever follows, the version comes first.
    assert!(lines.len() == 2 && lines[0].starts_with("{\"speaks\":2,"), "{text}");
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    if is_root {
        assert_eq!((output.status.code(), lines[1]), (Some(3), "{\"unavailable\":\"root\"}"));
        assert!(String::from_utf8_lossy(&output.stderr).contains("allow-root"));
    } else {
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn only_its_own_folder_is_cleaned() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("agent");
    std::fs::create_dir(&folder).expect("made");
    let (program, lock) = (folder.join("pipeline-agent-1"), parent.path().join("lock"));
    std::fs::copy(env!("CARGO_BIN_EXE_pipeline-agent"), &program).expect("copied");
    let clean = || {
        let mut command = Command::new(&program);
        let output = command.args(["clean", "--allow-root", "--lock"]).arg(&lock).output().expect("starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = clean();
    assert!(code == Some(5) && words.contains("not the agent's own folder") && program.exists(), "{words}");
    std::fs::write(folder.join(".pipeline-agent"), "").expect("written");
    assert_eq!(clean(), (Some(0), String::new()));
    assert!(!folder.exists() && !lock.exists());
}

#[test]
fn requests_that_are_not_understood_exit_with_2() {
    let check = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_pipeline-agent")).args(args).output().expect("starts");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    };
    check(&[]);
    check(&["fly"]);
    check(&["measure"]);
    check(&["measure", "m.onnx", "--target", "host"]);
    check(&["measure", "m.onnx", "--target", "host", "--protocol", "{"]);
    check(&["profile", "m.onnx", "--runs"]);
    check(&["profile", "m.onnx", "--runs", "many"]);
    check(&["profile", "m.onnx", "--wings", "2"]);
    check(&["facts", "--memory", "-1"]);
    assert!(!Path::new("m.onnx").exists());
}
