//! Boards by name, and a search whose board goes away. The board is played by a script in place of ssh:
//! it takes files as a board does, and answers with a recorded measurement.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    command::{Said, pipeline_with},
    micro::{lines, words, workplace},
    recording,
};

/// A folder with `micro.toml`, and a board that answers while `on` exists in it.
struct Bench {
    folder: TempDir,
}

/// In place of ssh. It reads the script that a board would run, and does what its last line asks for.
/// When `shots` is there, it holds the number of measurements after which the board is away.
const SSH: &str = r#"#!/bin/sh
bench=$(dirname "$0")
case "$*" in *"-O exit"*) exit 0 ;; esac
printf '%s\n' "$@" > "$bench/args"
if [ ! -e "$bench/on" ]; then
  echo "ssh: connect to host board port 22: Connection refused" >&2
  exit 255
fi
script=$(mktemp)
# As a shell does: lines, and nothing behind the one that ends.
while IFS= read -r line; do
  printf '%s\n' "$line" > "$script"
  case $line in *"; exit") break ;; esac
done
call=$(cat "$script")
rm -f "$script"
printf 'pipeline:began\n'
case $call in
  *"; prepare "*)
    printf 'machine aarch64\nlock /tmp/lock\nagent present\nfolder /home/pi/.cache/pipeline-agent\n' ;;
  *"; receive "*)
    # ... receive 'SECONDS' 'PATH' 'SHA256' 'MODE'
    printf '%s\n' "$call" | sed "s/.*; receive '[^']*' '[^']*' '\([^']*\)'.*/\1/" > "$bench/model"
    printf 'pipeline:ready\n'
    cat > /dev/null ;;
  *"'facts'"*) cat "$bench/facts.jsonl" ;;
  *"'measure'"*)
    if [ -e "$bench/shots" ]; then
      shots=$(($(cat "$bench/shots") - 1))
      echo "$shots" > "$bench/shots"
      if [ "$shots" -lt 0 ]; then rm "$bench/on" "$bench/shots"; exit 255; fi
    fi
    sed "s/SHA256/$(cat "$bench/model")/" "$bench/measured.jsonl" ;;
  *"; clean "*) printf 'removed /home/pi/.cache/pipeline-agent\n' ;;
esac
printf '\npipeline:done 0\n'
"#;

impl Bench {
    fn new(latency: Duration) -> Self {
        let bench = Self { folder: workplace() };
        let mut measurement = recording::calm(latency);
        "pi".clone_into(&mut measurement.device);
        "SHA256".clone_into(&mut measurement.model_sha256);
        let hello = r#"{"speaks":2,"agent":"0.1.0","engine":"tract"}"#;
        let facts = runtime::facts::Facts {
            board: Some("Raspberry Pi 4 Model B Rev 1.4".to_owned()),
            undervoltage: Some(true),
            conditions: measurement.before.clone(),
            ..Default::default()
        };
        bench.write("facts.jsonl", &format!("{hello}\n{}\n", serde_json::json!({ "facts": facts })));
        bench.write("measured.jsonl", &format!("{hello}\n{}\n", serde_json::json!({ "measured": measurement })));
        bench.write("ssh", SSH);
        fs::set_permissions(bench.path("ssh"), fs::Permissions::from_mode(0o755)).expect("it is ours");
        bench.write("on", "");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a temporary folder can be written");
    }

    /// Runs the program where `ssh` is the script.
    fn run(&self, line: &str) -> Said {
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let devices = self.path("boards.toml").display().to_string();
        pipeline_with(self.folder.path(), &words(line), &[("PATH", &path), ("PIPELINE_DEVICES", &devices)])
    }

    /// With a board named `pi`. The agent is never run: a header that says what it is for will do.
    fn with_pi(self) -> Self {
        let agent = self.path("agent");
        fs::write(&agent, program_for_aarch64()).expect("a temporary folder can be written");
        let line = format!("device add pi ssh://pi@board --target rpi4 --agent {}", agent.display());
        self.run(&line).expect(0, &["added pi", "next: pipeline device check pi"]);
        self
    }
}

/// The header of a static program for 64-bit ARM that holds nothing.
fn program_for_aarch64() -> Vec<u8> {
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]); // 64 bits, lowest byte first, version 1
    header[16] = 2; // a program
    header[18] = 183; // AArch64
    header[20] = 1;
    header[52] = 64; // its own size
    header
}

#[test]
fn boards_have_names() {
    let bench = Bench::new(Duration::from_millis(2));
    bench.run("device list").expect(0, &["no boards in", "boards.toml", "pipeline device add pi ssh://"]);
    bench.run("measure x.onnx --device pi").expect(2, &["no device \"pi\"", "pipeline device add"]);
    bench.write("boards.toml", "# mine\n[devices.old]\naddress = \"adb://X1\"\ntarget = \"rpi4\"");
    let bench = bench.with_pi();
    let text = fs::read_to_string(bench.path("boards.toml")).expect("it was written");
    assert!(text.starts_with("# mine\n[devices.old]"), "what the user wrote stays: {text}");
    bench.run("device list").expect(0, &["old", "adb://X1", "pi", "ssh://pi@board"]);
    assert_eq!(bench.run("device list --json").json()["pi"]["address"], "ssh://pi@board");
    bench.run("device add pi ssh://pi@other --target rpi4").expect(2, &["pi is in", "already"]);
    bench.run("device add local ssh://pi@other --target rpi4").expect(2, &["cannot be a device's name"]);
    bench.run("device add a.b ssh://pi@other --target rpi4").expect(2, &["cannot be a device's name"]);
    bench.run("device add two pi@other --target rpi4").expect(2, &["not an address", "ssh://USER@HOST"]);
    bench.run("device add two ssh://x --target rpi9").expect(2, &["rpi9", "built in are"]);
    bench.run("device add two ssh://x --target rpi4 --folder here").expect(2, &["absolute path"]);
    bench.run("device check old").expect(3, &["no agent for aarch64", "pipeline agent build"]);
    bench.run("device --help").expect(0, &["Examples:", "device clean pi", "ssh-copy-id"]);

    bench
        .run("device check pi")
        .expect(0, &["Raspberry Pi 4", "TOO WEAK", "radios       unknown", "next: pipeline measure"]);
    // Nobody is asked for a password, and where nobody watches no new host is believed.
    let args = fs::read_to_string(bench.path("args")).expect("ssh was started");
    for option in ["BatchMode=yes", "StrictHostKeyChecking=yes", "ControlMaster=auto", "--\nboard\nsh -s\n"] {
        assert!(args.contains(option), "{args}");
    }
    let told = bench.run("device check pi --json").expect(0, &[]).json();
    assert_eq!(told["facts"]["board"], "Raspberry Pi 4 Model B Rev 1.4");
    bench.run("device check local").expect(2, &["pipeline doctor"]);
    bench.run("device clean pi").expect(0, &["removed /home/pi/.cache/pipeline-agent from pi"]);
    fs::write(bench.path("net.onnx"), runtime::reference::onnx()).expect("written");
    // The kind of board comes with the name, and cannot be another.
    bench.run("measure net.onnx --device pi").expect(0, &["measured on rpi4 (pi)", "by        tract"]);
    bench.run("measure net.onnx --device pi --target host").expect(2, &["pi is a rpi4"]);
    bench.run("measure net.onnx --device ssh://pi@board").expect(2, &["--target"]);
    fs::remove_file(bench.path("on")).expect("it was on");
    bench.run("measure net.onnx --device pi").expect(3, &["not available now", "Connection refused", "switched on"]);
    bench.write("boards.toml", "[devices.pi]\naddress = \"ssh://-oProxyCommand=touch%20canary\"\n");
    bench.run("device list").expect(2, &["devices.pi", "not an address"]);
}

#[test]
fn a_search_goes_on_without_its_board_and_ends_with_it() {
    let bench = Bench::new(Duration::from_millis(2)).with_pi();
    let flags = "--device pi --max-latency 30ms --run run";
    bench.write("shots", "3");
    let said = bench.run(&format!("search --config micro.toml {flags} --device-wait 1s"));
    said.expect(
        3,
        &[
            "pi is not available now",
            "waiting up to 1 s",
            "did not come back",
            "going on with estimates",
            "pipeline search --resume --run run",
        ],
    );
    let log = lines(&bench.path("run/log.jsonl"));
    assert!(log.iter().any(|it| it["event"] == "stopped"), "{log:?}");
    // Measured while it was there; afterwards every candidate has its estimate, and says why.
    let trials = lines(&bench.path("run/study.jsonl"));
    let by =
        |trial: &Value| trial["cost"]["figures"]["latency"]["source"]["estimated"]["by"].as_str().map(str::to_owned);
    let is_measured = |trial: &Value| trial["cost"]["figures"]["latency"]["source"]["measured"]["on"] == "rpi4 (pi)";
    assert!(trials.iter().any(is_measured), "{trials:?}");
    let marked = trials.iter().filter_map(by).filter(|by| by.contains("pi was lost")).count();
    assert!(0 < marked, "{trials:?}");
    let lost_from =
        trials.iter().position(|it| by(it).is_some_and(|by| by.contains("was lost"))).expect("some are marked");
    assert!(trials[lost_from..].iter().all(|it| is_known(&it["cost"])), "{trials:?}");
    assert_eq!(lines(&bench.path("run/measurements.jsonl")).len(), 3);
    assert!(!bench.path("run/architecture.json").exists(), "nothing is accepted without the board");

    bench.write("on", "");
    let receipt = bench.run("search --resume --run run --json").expect(0, &[]).json();
    assert_eq!((&receipt["outcome"], &receipt["device"]), (&"within".into(), &"pi".into()));
    assert_eq!(receipt["cost"]["figures"]["latency"]["source"]["measured"]["on"], "rpi4 (pi)");
}

fn is_known(cost: &Value) -> bool {
    cost["figures"]["latency"]["value"].as_f64().is_some_and(|it| 0.0 < it)
}

#[test]
fn a_board_that_comes_back_is_measured_on_again() {
    let bench = Bench::new(Duration::from_millis(2)).with_pi();
    bench.write("shots", "2");
    let on = bench.path("on");
    let back = std::thread::spawn(move || switch_on_again(&on));
    let flags = "search --config micro.toml --device pi --max-latency 30ms --run run --device-wait 10min";
    let said = bench.run(flags);
    back.join().expect("no panic");
    said.expect(0, &["waiting up to 10 min", "pi is back", "within budget", "measured on rpi4 (pi)"]);
    assert!(!said.stderr.contains("did not come back"), "{}", said.stderr);
}

/// Waits until the board went away, and lets it come back.
fn switch_on_again(on: &Path) {
    let started = std::time::Instant::now();
    while on.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "the board never went away");
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::write(on, "").expect("a temporary folder can be written");
}
