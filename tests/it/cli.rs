//! The command as a user meets it: exit codes, messages, and what other programs can read.

use std::{fs, path::Path, time::Duration};

use graph::{Activation, Graph, Op, Shape, weights::Weights};
use tempfile::TempDir;

use crate::{
    command::{Said, pipeline, pipeline_within},
    recording,
};

/// A folder with the files that the rows below name.
fn workplace() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it is inside")).expect("a temporary folder can be written");
        fs::write(path, bytes).expect("a temporary folder can be written");
    };
    write("reference.onnx", &runtime::reference::onnx());
    write("garbage.onnx", b"\x08\x07this is no network at all");
    write("empty.onnx", b"");
    write("truncated.onnx", &runtime::reference::onnx()[..2_000]);
    write("used/config.toml", b"target = 'rpi4'\n");
    write("no-table.toml", b"target = \n");
    write("unknown-key.toml", b"max-latencies = '20ms'\n");
    write("wrong-type.toml", b"seed = 'one'\n");
    write("deep-unknown.toml", b"[b-enas]\nepoch = 3\n");
    write("truncated-idx/train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 8, 1, 2, 3]);
    write("truncated-idx/train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    write("no-images/notes.txt", b"nothing to see");
    write("garbage.jsonl", b"{\"order\":\"default\"}\nnothing\n");
    write("nothing.jsonl", b"");
    fs::create_dir(folder.path().join("empty")).expect("a temporary folder can be written");
    folder
}

fn run(folder: &TempDir, line: &str) -> Said {
    pipeline(folder.path(), &line.split_whitespace().collect::<Vec<_>>())
}

/// Rows: a command line, its exit code, and what it must name.
#[track_caller]
fn check(folder: &TempDir, rows: &[(&str, i32, &[&str])]) {
    for (line, code, words) in rows {
        let said = run(folder, line);
        let Said { stdout, stderr, .. } = &said;
        assert_eq!(said.code, Some(*code), "`pipeline {line}` said {stdout}\n{stderr}");
        for word in *words {
            assert!(
                stdout.contains(word) || stderr.contains(word),
                "`pipeline {line}`: no {word:?} in {stdout}\n{stderr}"
            );
        }
        assert!(!stderr.contains("panicked"), "`pipeline {line}`: {stderr}");
    }
}

#[test]
fn help_tells_the_exit_codes() {
    let folder = workplace();
    for line in ["--help", "search --help"] {
        let said = run(&folder, line);
        said.expect(0, &["Exit codes:", "found and within budget"]);
        for code in [0, 1, 2, 3, 5, 6, 7, 70, 130] {
            let is_told = said.stdout.split(|it: char| !it.is_ascii_digit()).any(|it| it == code.to_string());
            assert!(is_told, "{code} is missing in {}", said.stdout);
        }
    }
    let stages = [
        "search",
        "train",
        "export",
        "measure",
        "verify",
        "report",
        "inspect",
        "explain",
        "targets",
        "data",
        "calibrate",
        "doctor",
    ];
    run(&folder, "--help").expect(0, &stages);
    for stage in stages {
        run(&folder, &format!("{stage} --help")).expect(0, &["Usage: pipeline"]);
    }
    run(&folder, "--version").expect(0, &[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn usage_is_2() {
    check(
        &workplace(),
        &[
            ("", 2, &["Usage: pipeline"]),
            ("fly", 2, &["fly"]),
            ("search --frobnicate", 2, &["--frobnicate"]),
            ("search --strategy luck", 2, &["luck", "b-enas", "random-ws"]),
            ("search --preset huge", 2, &["huge", "demo", "small", "paper"]),
            ("search --target toaster", 2, &["toaster", "rpi4", "host"]),
            ("targets show toaster", 2, &["toaster", "rpi4", "host"]),
            ("search --device telnet", 2, &["--device telnet", "recorded:FILE"]),
            ("search --image-size 32", 2, &["--image-size 32", "32x32"]),
            ("search --compute cuda", 2, &["--compute cuda"]),
            ("search --data nowhere", 2, &["--data nowhere"]),
            ("data get nothing", 2, &["nothing"]),
            ("train", 2, &["--run"]),
            ("measure", 2, &["MODEL.onnx"]),
            ("measure reference.onnx --run used", 2, &["cannot be used with"]),
            ("search --seed=-1", 2, &["--seed"]),
            ("search --seed 18446744073709551615", 2, &["seed"]),
        ],
    );
}

#[test]
fn quantities_need_units_and_name_their_flag() {
    check(
        &workplace(),
        &[
            ("search --max-latency 20", 2, &["--max-latency 20", "20ms"]),
            ("search --max-memory 64", 2, &["--max-memory 64"]),
            ("search --max-flash 8", 2, &["--max-flash 8"]),
            ("search --max-activations 512", 2, &["--max-activations 512"]),
            ("search --max-train-time 30", 2, &["--max-train-time 30"]),
            ("search --deadline 30", 2, &["--deadline 30"]),
            ("search --soft latency=15", 2, &["--soft latency=15"]),
            ("search --min flash=15", 2, &["--min flash=15"]),
            ("search --max-latency 20MiB", 2, &["--max-latency 20MiB"]),
            ("search --max-params 2ms", 2, &["--max-params 2ms"]),
            ("search --max-params 2.5", 2, &["--max-params 2.5"]),
            ("search --max-latency=-2ms", 2, &["--max-latency -2ms"]),
            ("search --max-latency soon", 2, &["--max-latency soon"]),
            ("search --soft latency", 2, &["--soft latency", "METRIC=BOUND"]),
            ("search --soft speed=15ms", 2, &["--soft speed=15ms", "latency", "params", "train-time"]),
            ("measure reference.onnx --device recorded:nothing.jsonl --max-latency 20", 3, &[]),
        ],
    );
}

#[test]
fn configuration_files_are_checked() {
    check(
        &workplace(),
        &[
            ("search --config missing.toml", 5, &["missing.toml"]),
            ("search --config no-table.toml", 2, &["no-table.toml", "line 1"]),
            ("search --config unknown-key.toml", 2, &["max-latencies"]),
            ("search --config wrong-type.toml", 2, &["`seed`", "\"one\""]),
            ("search --config deep-unknown.toml", 2, &["`epoch`", "`b-enas`"]),
        ],
    );
}

#[test]
fn bounds_that_nothing_can_meet_name_the_least() {
    check(
        &workplace(),
        &[
            ("search --preset demo --max-params 10", 2, &["--max-params 10", "cannot be met", "the smallest", "needs"]),
            ("search --preset demo --max-macs 10k", 2, &["--max-macs 10 k", "needs"]),
            ("search --preset demo --max-flash 1KiB", 2, &["--max-flash 1 KiB", "needs"]),
            (
                "search --preset demo --target rpi4 --max-latency 1us",
                2,
                &["--max-latency 1 µs", "not measured on rpi4"],
            ),
            ("search --preset demo --target rpi4 --max-memory 1MiB", 2, &["--max-memory 1 MiB", "needs"]),
        ],
    );
}

#[test]
fn a_budget_is_explained_without_a_run() {
    let folder = workplace();
    check(
        &folder,
        &[
            ("explain --preset demo --max-params 10", 1, &["params at most 10: never met", "impossible", "Relax"]),
            ("explain --preset demo --target rpi4 --max-latency 1us", 1, &["impossible", "not measured on rpi4"]),
            ("explain --preset demo --max-params 5k --min macs=8M", 1, &["params at most 5 k", "macs at least 8 M"]),
            ("explain --preset demo --max-params 2M", 0, &["networks were within the budget"]),
            ("explain --run used --max-params 10", 1, &["impossible"]),
            ("explain --run used --target rpi5", 2, &["cannot be used with"]),
            ("explain --run empty", 5, &["empty"]),
            ("explain --max-params 2.5", 2, &["--max-params 2.5"]),
        ],
    );
    let found = run(&folder, "explain --preset demo --max-params 10 --json").expect(1, &[]).json();
    assert_eq!((&found["admitted"], &found["limits"][0]["reach"]), (&0.into(), &"impossible".into()));
}

#[test]
fn run_folders_are_looked_after() {
    check(
        &workplace(),
        &[
            ("search --preset demo --run used", 2, &["used", "--resume"]),
            ("search --preset demo --run new --resume", 2, &["new", "resume"]),
            ("search --preset demo --resume", 2, &["resume"]),
            ("search --run used --resume --seed 3", 2, &["--resume", "config.toml"]),
            ("search --preset demo --run garbage.onnx/run", 5, &["cannot create garbage.onnx/run"]),
            ("train --run new", 5, &["new", "config.toml"]),
            ("export --run empty", 5, &["empty"]),
            ("report --run empty", 5, &["empty"]),
            ("measure --run empty", 5, &["empty"]),
            ("verify --run empty", 5, &["receipt.json"]),
            ("inspect empty", 5, &["empty"]),
            ("train --run used", 5, &["architecture.json", "pipeline search"]),
        ],
    );
    // A refused search leaves nothing behind.
    let folder = workplace();
    run(&folder, "search --preset demo --max-params 10 --run refused").expect(2, &[]);
    assert!(!folder.path().join("refused").exists());
}

#[test]
fn data_that_cannot_be_read_is_5_and_named() {
    check(
        &workplace(),
        &[
            ("search --preset demo --data truncated-idx", 5, &["train-images-idx3-ubyte"]),
            ("search --preset demo --data empty", 5, &["empty"]),
            ("search --preset demo --data no-images", 5, &["no-images"]),
            ("data check truncated-idx", 5, &["error", "train-images-idx3-ubyte"]),
            ("data check empty", 5, &["error"]),
            ("data check optdigits", 0, &["10 classes", "1x8x8"]),
            ("data check fashion-tiny", 0, &["2500 images", "600 images"]),
        ],
    );
}

#[test]
fn models_that_are_none_are_7() {
    check(
        &workplace(),
        &[
            ("inspect garbage.onnx", 7, &["error"]),
            ("measure garbage.onnx", 7, &["error"]),
            ("inspect empty.onnx", 7, &["error"]),
            ("measure truncated.onnx", 7, &["error"]),
            ("inspect reference.onnx", 0, &["opset 13", "[1, 3, 32, 32]", "[1, 10]", "5 Conv"]),
            ("inspect missing.onnx", 5, &["missing.onnx"]),
            ("measure missing.onnx", 5, &["missing.onnx"]),
        ],
    );
}

/// A stranger's file may say anything of itself.
#[test]
fn what_a_model_says_of_itself_is_cut_and_steers_no_terminal() {
    let folder = workplace();
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([1, 4, 4]));
    graph.add("tanh", Op::Activation(Activation::Tanh), &[image]).expect("the shapes fit");
    let entries = [("classes", "word ".repeat(1000)), ("evil", "\u{1b}[2Jgone".to_owned())];
    let metadata = export::Metadata { entries: entries.map(|(key, text)| (key.to_owned(), text)).into() };
    let bytes = export::onnx(&graph, &Weights::default(), &metadata).expect("it can be written");
    fs::write(folder.path().join("said.onnx"), bytes).expect("a temporary folder can be written");
    let said = run(&folder, "inspect said.onnx");
    said.expect(0, &["word word ", "(5000 bytes; --json shows all)", "evil: \u{fffd}[2Jgone"]);
    assert!(!said.stdout.contains('\u{1b}') && said.stdout.len() < 2000, "{}", said.stdout);
    assert_eq!(run(&folder, "inspect said.onnx --json").json()["metadata"]["evil"], "\u{1b}[2Jgone");
}

#[test]
fn a_model_whose_process_dies_is_7() {
    let folder = workplace();
    for (name, side) in [("large.onnx", 1024), ("slow.onnx", 512)] {
        fs::write(folder.path().join(name), tanh(side)).expect("a temporary folder can be written");
    }
    // The program itself needs none of these: only the process that runs the model does.
    for (limit, line, words) in [
        ("-t 2", "measure slow.onnx --allow-noisy", &["slow.onnx", "died", "beyond its limit of CPU time"]),
        (
            "-v 400000",
            "measure large.onnx --quick --allow-noisy",
            &["large.onnx", "died (panic)", "failed to allocate"],
        ),
    ] {
        let said = pipeline_within(limit, folder.path(), &line.split(' ').collect::<Vec<_>>());
        said.expect(7, words);
        assert_eq!(said.stdout, "", "a dead process measures nothing");
    }
    run(&folder, "inspect large.onnx").expect(0, &["[1, 64, 1024, 1024]"]);
}

/// A network that is admitted, and whose values take 512 bytes a pixel.
fn tanh(side: usize) -> Vec<u8> {
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([64, side, side]));
    graph.add("tanh", Op::Activation(Activation::Tanh), &[image]).expect("any shape");
    export::onnx(&graph, &Weights::default(), &export::Metadata::default()).expect("it is complete")
}

#[test]
fn recordings_answer_for_a_board() {
    let folder = workplace();
    let path = |name: &str| folder.path().join(name);
    let calm = recording::calm(Duration::from_millis(10));
    recording::write(&path("calm.jsonl"), std::slice::from_ref(&calm));
    recording::write(&path("noisy.jsonl"), &[recording::noisy(Duration::from_millis(10))]);
    recording::write(&path("slower.jsonl"), &[recording::calm(Duration::from_millis(12))]);
    let mut other = calm;
    other.model_sha256 = "0".repeat(64);
    recording::write(&path("other.jsonl"), std::slice::from_ref(&other));
    recording::write_for_any(&path("any.jsonl"), &other, 1);
    let measure = "measure reference.onnx --target rpi4 --device";
    let line = |rest: &str| format!("{measure} recorded:{rest}");
    for (rest, code, words) in [
        ("calm.jsonl", 0, &["10 ms", "measured on rpi4", "samples"] as &[&str]),
        ("any.jsonl", 0, &["10 ms"]),
        ("other.jsonl", 3, &["unavailable", "no measurement"]),
        ("nothing.jsonl", 3, &["unavailable"]),
        ("garbage.jsonl", 3, &["line 2"]),
        ("missing.jsonl", 5, &["missing.jsonl"]),
        ("noisy.jsonl", 6, &["other processes took 50.0 %", "--allow-noisy"]),
        ("noisy.jsonl --allow-noisy", 0, &["note: allowed"]),
        ("calm.jsonl --max-latency 11ms", 0, &["met"]),
        ("calm.jsonl --max-latency 9ms", 1, &["broken"]),
        ("calm.jsonl --against calm.jsonl", 0, &["Pass"]),
        ("slower.jsonl --against calm.jsonl", 1, &["Fail"]),
        ("calm.jsonl --against slower.jsonl", 0, &[]),
        ("calm.jsonl --against missing.jsonl", 5, &["missing.jsonl"]),
        ("calm.jsonl --max-latency 9", 2, &["--max-latency 9"]),
    ] {
        run(&folder, &line(rest)).expect(code, words);
    }
    run(&folder, &line("calm.jsonl --save saved.jsonl")).expect(0, &[]);
    run(&folder, &line("saved.jsonl")).expect(0, &["10 ms"]);
}

#[test]
fn results_are_readable_by_programs() {
    let folder = workplace();
    recording::write(&folder.path().join("calm.jsonl"), &[recording::calm(Duration::from_millis(10))]);
    let json = |line: &str| run(&folder, &format!("{line} --json")).expect(0, &[]).json();
    assert_eq!(json("targets").as_array().map(Vec::len), Some(8));
    assert_eq!(json("targets show rpi4")["name"], "rpi4");
    let sets = json("data list");
    let names: Vec<_> = sets.as_array().expect("a list").iter().map(|set| set["name"].as_str()).collect();
    assert!(names.contains(&Some("fashion-tiny")) && names.contains(&Some("cifar10")), "{names:?}");
    assert_eq!(json("data check optdigits")["classes"].as_array().map(Vec::len), Some(10));
    assert_eq!(json("doctor")["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json("inspect reference.onnx")["opset"], 13);
    let measured = json("measure reference.onnx --device recorded:calm.jsonl");
    let latency = measured["latency"]["value"].as_f64().expect("a time");
    assert!((latency - 0.010).abs() < 0.0002, "{latency}");
    run(&folder, "targets").expect(0, &["rpi4", "host", "Raspberry Pi 4"]);
    run(&folder, "targets show rpi4").expect(0, &["100 ms", "256 MiB", "not measured on rpi4"]);
    run(&folder, "data list").expect(0, &["fashion-tiny", "optdigits", "cifar10", "CC BY 4.0"]);
    run(&folder, "doctor").expect(0, &["tract 0.23.9", "processor"]);
}

#[test]
fn a_dry_run_counts_and_trains_nothing() {
    let folder = workplace();
    let flags = "search --dry-run --preset demo --data optdigits --target rpi4 --max-macs 10M --run dry";
    let said = run(&folder, flags);
    said.expect(
        0,
        &["9928706630634022500 cells of 2 to 7 blocks", "macs <= 10 M (hard)", "feasible", "CPU time", "estimated"],
    );
    assert!(!Path::new(&folder.path().join("dry")).exists());
    let found = run(&folder, &format!("{flags} --json")).json();
    assert_eq!(found["architectures"], "9928706630634022500");
    for key in ["seconds", "memory_bytes", "search_steps", "training_images"] {
        assert!(found[key].as_f64().is_some_and(|it| 0.0 < it), "{key} in {found}");
    }
    let number =
        |found: &serde_json::Value, key: &str| found[key].as_f64().unwrap_or_else(|| panic!("no {key} in {found}"));
    let time = ["seconds_low", "seconds", "seconds_high"].map(|key| number(&found, key));
    let cpu = ["cpu_seconds_low", "cpu_seconds", "cpu_seconds_high"].map(|key| number(&found, key));
    assert!(time.is_sorted() && cpu.is_sorted(), "{found}");
    let parts = number(&found, "search_cpu_seconds") + number(&found, "training_cpu_seconds");
    assert!(parts < cpu[1], "to open the data takes time as well: {found}");
    // One search in the place of two, and a deadline that neither time nor its interval goes beyond.
    let alone = run(&folder, &format!("{flags} --strategy random-ws --deadline 1s --json")).json();
    assert_eq!(2 * alone["search_steps"].as_u64().expect("a count"), found["search_steps"].as_u64().expect("a count"));
    assert!(number(&alone, "seconds_high") < 5.0, "{alone}");
}

/// Without a GPU's code it stays under 40 MB, so that fetching and starting it costs nobody a thought. A C library that
/// cannot read packed relocations needs 1.7 MB more.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(feature = "cuda")))]
fn the_program_stays_small() {
    let program = fs::read(crate::command::PROGRAM).expect("the program was built");
    let is_packed = program.windows(10).any(|bytes| bytes == b".relr.dyn\0");
    let limit = if is_packed { 40_000_000 } else { 42_000_000 };
    assert!(program.len() < limit, "{} bytes", program.len());
}
