//! The agents as built for boards, run by an emulator: they compute what this machine computes, and their
//! instructions can be counted.
#![expect(clippy::print_stdout, reason = "the figures are published")]
//!
//! Needs the emulator and the folder of `pipeline agent build` in `PIPELINE_AGENT_KIT`, which `scripts/test`
//! prepares where it can.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use export::{Metadata, onnx, placeholder_weights};
use graph::{Graph, cost::static_cost};
use runtime::{
    device::{Counter, Device, Emulator, Local},
    engine::Model,
    program::Program,
    protocol::probe_input,
    validate::Limits,
    worker::Worker,
};
use search::{
    chooser::Uniform,
    probes::random,
    space::{Scale, SearchSpace, Task, cell::CellSpace},
};
use targets::{
    Clock, Counts, Protocol, Sample, Target,
    stats::{quantile, spearman},
};

use crate::{
    command::{PROGRAM, pipeline_with},
    micro, roundtrip,
};

/// The folder of agents, where there is one.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn kit(what: &str) -> Option<PathBuf> {
    let kit = std::env::var_os("PIPELINE_AGENT_KIT").map(PathBuf::from);
    if kit.is_none() {
        eprintln!("skipped: {what} (no PIPELINE_AGENT_KIT: see scripts/test)");
    }
    kit
}

/// A board of this kind in the emulator; `None` where its agent was not built.
fn emulator(kit: &Path, target: &str) -> Option<Emulator> {
    let target = Target::find(target).expect("a built-in target");
    let agent = kit.join(&target.triple).join("pipeline-agent");
    let processor = target.emulator.filter(|_| agent.is_file())?;
    Some(Emulator {
        program: Emulator::program_for(&target.triple).expect("it is known").into(),
        processor: processor.processor,
        environment: processor.environment.into_iter().collect(),
        agent,
    })
}

fn counter(what: &str) -> Option<Counter> {
    let kit = kit(what)?;
    let emulator = emulator(&kit, "rpi4").expect("the kit holds an agent for rpi4");
    let plugin = kit.join("libpipeline_counter.so");
    Some(Counter { emulator, plugin, target: "rpi4".into(), limits: Limits::default() })
}

/// A number from the environment: more for a figure to publish, fewer for every day.
fn n(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("it is a number"))
}

fn network(step: u64, channels: usize) -> Graph {
    let scale =
        Scale { layers: 3, channels, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };
    let cell = CellSpace::default().sample(&mut Uniform::new(7, "emulated", step));
    CellSpace::default().build(&cell, &scale).expect("the image is large enough")
}

fn write(graph: &Graph, path: &Path) {
    let bytes = onnx(graph, &placeholder_weights(graph, 1), &Metadata::default()).expect("a complete network");
    fs::write(path, bytes).expect("a temporary folder can be written");
}

/// Networks of the round trips, on one kind of board for each architecture; `EMULATED=200` takes all.
#[test]
fn the_agent_for_a_board_computes_what_this_machine_computes() {
    let Some(kit) = kit("outputs of the agents") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    let mut boards: Vec<(&str, Local)> = Vec::new();
    for target in ["rpi4", "armv7", "host"] {
        boards.extend(emulator(&kit, target).map(|it| (target, Local::emulated(&it, target))));
    }
    assert_eq!(boards.first().map(|it| it.0), Some("rpi4"), "{} holds no agent for rpi4", kit.display());
    let mut worst = 0.0_f32;
    let mut check = |name: &str, path: &Path, input: &[f32], expected: &[f32]| {
        let scale = expected.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
        for (board, device) in &boards {
            let found = device.check(path, input).unwrap_or_else(|error| panic!("{name} on {board}: {error}"));
            assert_eq!(found.values.len(), expected.len(), "{name}");
            for (found, expected) in found.values.iter().zip(expected) {
                let off = (found - expected).abs() / scale;
                assert!(off <= 1e-4, "{name} on {board}: {found}, here {expected}");
                worst = worst.max(off);
            }
        }
    };
    let n_cases = n("EMULATED", 16);
    for case in (0..n_cases as u64).map(roundtrip::case) {
        fs::write(&path, &case.file).expect("a temporary folder can be written");
        check(&case.name, &path, &case.image, &case.expected);
    }
    let mut as_here = |name: &str, path: &Path| {
        let mut here = Model::load(path).expect("it loads here");
        let input = probe_input(here.input_len());
        let expected = here.run(&input).expect("it runs here");
        check(name, path, &input, &expected);
    };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/digits/model.onnx");
    as_here("the model of docs/results/digits", &shipped);
    fs::write(&path, runtime::reference::onnx()).expect("a temporary folder can be written");
    as_here("the reference network", &path);
    let names: Vec<&str> = boards.iter().map(|it| it.0).collect();
    println!("{} networks on {names:?}: off by {worst:.1e} at most", n_cases + 2);
}

/// Every system call of the agent, as the emulator sees it.
#[test]
fn the_agent_opens_no_socket() {
    let Some(kit) = kit("system calls of the agent") else { return };
    let emulator = emulator(&kit, "rpi4").expect("the kit holds an agent for rpi4");
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("model.onnx"), runtime::reference::onnx()).expect("a temporary folder can be written");
    let protocol = serde_json::to_string(&Protocol { blocks: 1, ..Protocol::quick() }).expect("plain data");
    let measure = ["measure", "model.onnx", "--target", "rpi4", "--protocol", &protocol];
    for request in [&["facts"][..], &["profile", "model.onnx", "--runs", "1"], &measure] {
        let mut command = Command::new(&emulator.program);
        command.arg("-strace").arg(&emulator.agent).args(request).arg("--allow-root").current_dir(folder.path());
        let output = command.output().expect("the emulator starts");
        let calls = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{request:?}: {calls}");
        assert!(calls.contains(" openat("), "no calls were seen: {calls}");
        for call in [" socket(", " socketpair(", " bind(", " listen(", " accept(", " connect("] {
            assert!(!calls.contains(call), "{request:?} calls{call}..)");
        }
    }
}

#[test]
fn counts_repeat_and_explain_themselves() {
    let Some(counter) = counter("instruction counts for rpi4") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    let count = |graph: &Graph| -> Counts {
        write(graph, &path);
        counter.count(&path).unwrap_or_else(|error| panic!("{error}"))
    };
    let base = count(&network(0, 8));
    for _ in 0..3 {
        let again = count(&network(0, 8));
        let is = |it: &Counts| (it.instructions, it.loads, it.stores);
        assert_eq!(is(&again), is(&base), "instructions, loads and stores of the same network");
        assert_eq!(again.output_hash, base.output_hash);
    }
    // The nodes explain the whole: what the engine does between them is little.
    let of_nodes: u64 = base.nodes.iter().map(|node| node.instructions).sum();
    let between = 1.0 - of_nodes as f64 / base.instructions as f64;
    assert!((0.0..0.2).contains(&between), "{between} of the instructions belong to no node");
    assert!(0 < base.loads && base.loads + base.stores < base.instructions);
    let ops: Vec<&str> = base.nodes.iter().map(|node| node.op.as_str()).collect();
    assert!(ops.contains(&"OwnDepthwise") && !ops.contains(&"DepthWiseConv"), "{ops:?}");
    // Twice the channels are about four times the pointwise work.
    let wider = count(&network(0, 16));
    let growth = wider.instructions as f64 / base.instructions as f64;
    assert!((1.5..4.0).contains(&growth), "{growth}");
}

/// `RUNS=100` for a figure to publish.
#[test]
fn the_gate_of_counts_sees_two_percent_and_nothing_else() {
    let Some(kit) = kit("a gate of instruction counts") else { return };
    let cache = kit.parent().and_then(Path::parent).expect("the kit lies in the user's cache").to_owned();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cell = CellSpace::default().sample(&mut Uniform::new(7, "emulated", 1));
    // A classifier of more classes is more work, by as much as one likes.
    let network = |name: &str, classes| {
        let scale =
            Scale { layers: 1, channels: 8, input: [3, 16, 16], classes, front_end: None, task: Task::Classification };
        let graph = CellSpace::default().build(&cell, &scale).expect("the image is large enough");
        write(&graph, &folder.path().join(name));
    };
    network("base.onnx", 10);
    network("more.onnx", 2_350);
    let measure = |args: &[&str]| {
        let args = [&["measure"], args, &["--target", "rpi4", "--device", "counted"]].concat();
        pipeline_with(folder.path(), &args, &[("XDG_CACHE_HOME", &cache.to_string_lossy())])
    };
    let saved = measure(&["base.onnx", "--save", "base.jsonl"]);
    assert_eq!(saved.code, Some(0), "{saved:?}");
    assert!(saved.stdout.contains("estimated from instruction counts for rpi4, not measured"), "{saved:?}");
    let mut growths = Vec::new();
    for run in 0..n("RUNS", 3) {
        let same = measure(&["base.onnx", "--against", "base.jsonl"]);
        assert_eq!(same.code, Some(0), "run {run}: {same:?}");
        let more = measure(&["more.onnx", "--against", "base.jsonl", "--json"]);
        assert_eq!(more.code, Some(1), "run {run}: a change of {}", more.json()["change"]);
        growths.push(more.json()["change"].as_f64().expect("a number"));
    }
    let (least, most) = growths.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), it| (a.min(*it), b.max(*it)));
    assert!(0.018 < least && most < 0.024, "two percent is {least} to {most}");
    println!("{} runs: the change is {:.2} to {:.2} %", growths.len(), 100.0 * least, 100.0 * most);
}

/// `NETWORKS=50` on a machine with nothing else to do: counts of this machine's own agent against the
/// time that it takes here.
#[test]
fn counts_order_networks_as_time_does() {
    let n_networks = n("NETWORKS", 0);
    if n_networks == 0 {
        println!("skipped: counts against time (NETWORKS=50 takes minutes of a quiet machine)");
        return;
    }
    let kit = kit("counts against time").expect("PIPELINE_AGENT_KIT names the folder of agents");
    let emulator = emulator(&kit, "host").expect("`pipeline agent build --target host` was run");
    let plugin = kit.join("libpipeline_counter.so");
    let counter = Counter { emulator, plugin, target: "host".into(), limits: Limits::default() };
    let mut here = Local::new(Worker::new(Path::new(PROGRAM), &["worker"]), "host");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    let (mut counts, mut times) = (Vec::new(), Vec::new());
    for probe in random(n_networks).expect("sizes fit") {
        write(&probe.graph, &path);
        let measurement = here.measure(&path, &Protocol::quick()).unwrap_or_else(|error| panic!("{error}"));
        // The least disturbed tenth, by the processor's clock: other processes are not part of the question.
        let cost = static_cost(&probe.graph);
        let sample = Sample::new(String::new(), probe.features, &cost, &measurement, Clock::Cpu, 0.1);
        times.push(sample.expect("it was timed").seconds);
        counts.push(counter.count(&path).unwrap_or_else(|error| panic!("{error}")).instructions as f64);
    }
    let correlation = spearman(&counts, &times).expect("networks differ");
    let mut rates: Vec<f64> = counts.iter().zip(&times).map(|(count, seconds)| count / seconds * 1e-9).collect();
    rates.sort_by(f64::total_cmp);
    let at = |share| quantile(&rates, share).expect("there are some");
    println!(
        "{n_networks} networks: Spearman {correlation:.4}; {:.2} instructions a nanosecond ({:.2} to {:.2}, nine in ten)",
        at(0.5),
        at(0.05),
        at(0.95)
    );
    assert!(0.97 <= correlation, "{correlation}");
}

/// A search without a board: what straddles a bound is counted, once, and no figure passes for a time.
#[test]
fn a_search_counts_where_there_is_no_board() {
    let Some(kit) = kit("a search by instruction counts") else { return };
    let cache = kit.parent().and_then(Path::parent).expect("the kit lies in the user's cache").to_owned();
    let folder = micro::workplace();
    let pipeline =
        |line: &str| pipeline_with(folder.path(), &micro::words(line), &[("XDG_CACHE_HOME", &cache.to_string_lossy())]);
    let found = pipeline("search --config micro.toml --run run --max-latency 100ms");
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(
        !found.stdout.contains(" measured on rpi4 (") && found.stdout.contains("nothing was measured"),
        "{found:?}"
    );
    let run = folder.path().join("run");
    let receipt = micro::json(&run.join("receipt.json"));
    let by = receipt["cost"]["figures"]["latency"]["source"]["estimated"]["by"].as_str().expect("it is estimated");
    assert!(by.starts_with("from instruction counts for rpi4, not measured"), "{by}");
    assert_eq!(receipt["device"], "counted");
    assert!(
        receipt["measurement"].is_null() && receipt["counts"]["instructions"].as_u64() > Some(100_000),
        "{receipt}"
    );
    // What is pushed to the board takes room there: the model and the program that runs it.
    let program = fs::read(kit.join("aarch64-unknown-linux-gnu/pipeline-agent")).expect("the kit holds it");
    let program = Program::read(&program).expect("it is a program");
    let model = fs::metadata(run.join("model.onnx")).expect("it was exported").len();
    assert_eq!(receipt["cost"]["figures"]["flash"]["value"].as_f64(), Some((model + program.flash_bytes()) as f64));
    let kept = pipeline("verify --run run");
    assert_eq!(kept.code, Some(0), "{kept:?}");
    // Whoever asks for it gets the table of the target.
    let by_table = pipeline("search --config micro.toml --run by-table --device none --max-latency 100ms");
    assert_eq!(by_table.code, Some(0), "{by_table:?}");
    assert!(micro::json(&folder.path().join("by-table/receipt.json"))["device"].is_null());
    assert!(!folder.path().join("by-table/counts.jsonl").exists());
    let refused = pipeline("search --config micro.toml --run none --device counted --max-flash 8MiB");
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("of them for the program that runs it"), "{refused:?}");
    let counted = |run: &Path| -> Vec<String> {
        let lines = micro::lines(&run.join("counts.jsonl"));
        lines.iter().map(|line| line["network"].as_str().expect("a fingerprint").to_owned()).collect()
    };
    let mut networks = counted(&run);
    assert!(8 <= networks.len(), "{} networks were counted", networks.len());
    // Interrupted before its end and resumed, it counts nothing again.
    let again = folder.path().join("again");
    micro::copy(&run, &again, &["config.toml", "study.jsonl", "counts.jsonl"]);
    let resumed = pipeline("search --resume --run again");
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert_eq!(counted(&again), networks);
    networks.sort_unstable();
    networks.dedup();
    assert_eq!(networks.len(), counted(&run).len(), "a network was counted twice");
    let cell = |run: &Path| micro::json(&run.join("architecture.json"))["cell"].clone();
    assert_eq!(cell(&again), cell(&run));
}
