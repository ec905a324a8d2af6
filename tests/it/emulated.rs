//! The agent as built for a board, run by an emulator: it computes what this machine computes, and its
//! instructions can be counted.
//!
//! Needs the emulator and the folder of `pipeline agent build` in `PIPELINE_AGENT_KIT`, which `scripts/test`
//! prepares where it can.

use std::{
    fs,
    path::{Path, PathBuf},
};

use export::{Metadata, onnx, placeholder_weights};
use graph::Graph;
use runtime::{
    device::{Counter, Emulator, Local},
    engine::Model,
    protocol::probe_input,
    validate::Limits,
};
use search::{
    chooser::Uniform,
    space::{Scale, SearchSpace, cell::CellSpace},
};
use targets::{Counts, Target};

/// The emulator and the agent, where both are here.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn counter(what: &str) -> Option<Counter> {
    let Some(kit) = std::env::var_os("PIPELINE_AGENT_KIT").map(PathBuf::from) else {
        eprintln!("skipped: {what} (no PIPELINE_AGENT_KIT: see scripts/test)");
        return None;
    };
    let target = Target::find("rpi4").expect("a built-in target");
    let processor = target.emulator.clone().expect("it can be emulated");
    let emulator = Emulator {
        program: Emulator::program_for(&target.triple).expect("it is known").into(),
        processor: processor.processor,
        environment: processor.environment.into_iter().collect(),
        agent: kit.join(&target.triple).join("pipeline-agent"),
    };
    assert!(emulator.agent.is_file(), "{} holds no agent for rpi4", kit.display());
    let plugin = kit.join("libpipeline_counter.so");
    Some(Counter { emulator, plugin, target: target.name, limits: Limits::default() })
}

fn network(step: u64, channels: usize) -> Graph {
    let scale = Scale { layers: 3, channels, input: [3, 32, 32], classes: 10 };
    let cell = CellSpace::default().sample(&mut Uniform::new(7, "emulated", step));
    CellSpace::default().build(&cell, &scale).expect("the image is large enough")
}

fn write(graph: &Graph, path: &Path) {
    let bytes = onnx(graph, &placeholder_weights(graph, 1), &Metadata::default()).expect("a complete network");
    fs::write(path, bytes).expect("a temporary folder can be written");
}

#[test]
fn the_agent_for_a_board_computes_what_this_machine_computes() {
    let Some(counter) = counter("outputs of the agent for rpi4") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    let board = Local::emulated(&counter.emulator, "rpi4");
    let check = |name: &str, path: &Path| {
        let mut here = Model::load(path).expect("it loads here");
        let input = probe_input(here.input_len());
        let expected = here.run(&input).expect("it runs here");
        let found = board.check(path, &input).unwrap_or_else(|error| panic!("{name}: {error}"));
        let scale = expected.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
        assert_eq!(found.values.len(), expected.len(), "{name}");
        for (found, expected) in found.values.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-4 * scale, "{name}: {found} here {expected}");
        }
    };
    for step in 0..6 {
        write(&network(step, 8), &path);
        check(&format!("network {step}"), &path);
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/digits/model.onnx");
    check("the model of docs/results/digits", &shipped);
    fs::write(&path, runtime::reference::onnx()).expect("a temporary folder can be written");
    check("the reference network", &path);
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
        let change = again.instructions as f64 / base.instructions as f64 - 1.0;
        assert!(change.abs() <= 1e-3, "the same network counts {change:+.5} more");
        assert_eq!(again.output_hash, base.output_hash);
    }
    // The nodes explain the whole: what the engine does between them is little.
    let of_nodes: u64 = base.nodes.iter().map(|node| node.instructions).sum();
    let between = 1.0 - of_nodes as f64 / base.instructions as f64;
    assert!((0.0..0.2).contains(&between), "{between} of the instructions belong to no node");
    assert!(0 < base.loads && base.loads + base.stores < base.instructions);
    let depthwise = base.nodes.iter().filter(|node| node.op.contains("DepthWise")).count();
    assert!(0 < depthwise, "{:?}", base.nodes.iter().map(|node| &node.op).collect::<Vec<_>>());
    // Twice the channels are about four times the pointwise work.
    let wider = count(&network(0, 16));
    let growth = wider.instructions as f64 / base.instructions as f64;
    assert!((1.5..4.0).contains(&growth), "{growth}");
}
