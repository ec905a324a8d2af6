//! Broken and bent models: nothing crashes the gate, and nothing that passes it crashes the engine.
//!
//! Every run looks at the same mutants; `PIPELINE_MUTANT_SEED=1` looks at others.

#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod edits;
mod fields;
mod seeds;

use std::path::Path;

use common::model_files;
use onnx_protobuf::{Message, ModelProto};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use runtime::engine::Model;
use runtime::reference;
use runtime::validate::{Limits, validate};

use crate::crowd::Fate;
use crate::edits::{apply, edit, offer_shapes};
use crate::seeds::seeds;

/// Small enough that what passes the gate runs in milliseconds.
fn limits() -> Limits {
    Limits { activation_bytes: 4 << 20, initializer_bytes: 4 << 20, work: 5_000_000, ..Default::default() }
}

/// Mutants of each kind, times the kinds, is two hundred thousand.
const MUTANTS: [(Kind, usize); 3] = [(Kind::Bytes, 40_000), (Kind::Fields, 60_000), (Kind::Edits, 100_000)];

/// Mutants in one process.
const BATCH: usize = 4_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Bytes are changed, taken out or put in, wherever they stand.
    Bytes,
    /// Protobuf fields are changed.
    Fields,
    /// Operators, attributes, shapes and connections are changed.
    Edits,
}

#[test]
#[expect(clippy::print_stderr, reason = "the counts are for people")]
fn no_mutant_crashes_or_hangs_gate_or_engine() {
    if let Some(file) = std::env::var_os(crowd::MODELS) {
        crowd::child(Path::new(&file), runs);
        return;
    }
    let seed = std::env::var("PIPELINE_MUTANT_SEED").map_or(0, |text| text.parse().expect("a number up to 255"));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut admitted, mut ran, mut n) = (0, 0, 0);
    let mut crowd = Vec::with_capacity(BATCH);
    let mut dead = Vec::new();
    let mut settle = |crowd: &mut Vec<Vec<u8>>| {
        let fates = crowd::run("no_mutant_crashes_or_hangs_gate_or_engine", crowd);
        ran += fates.iter().filter(|&&fate| fate == Fate::Ran).count();
        let fallen = fates.into_iter().zip(crowd.drain(..));
        dead.extend(fallen.filter(|(fate, _)| !matches!(fate, Fate::Ran | Fate::Refused)));
    };
    let seeds = seeds();
    for (kind, count) in MUTANTS {
        for idx in 0..count {
            let mutant = mutant(kind, &seeds[idx % seeds.len()], &mut runner);
            n += 1;
            if validate(&mutant, &limits()).is_ok() {
                admitted += 1;
                crowd.push(mutant);
            }
            if crowd.len() == BATCH {
                settle(&mut crowd);
            }
        }
    }
    settle(&mut crowd);
    eprintln!("{n} mutants: {admitted} pass the gate, {ran} of them run");
    assert!(n == 200_000 && n / 20 < ran, "too few mutants run to show anything of the engine: {ran}");
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (idx, (_, mutant)) in dead.iter().enumerate() {
        std::fs::write(kept.join(format!("mutant-{idx}.onnx")), mutant).expect("kept for a look");
    }
    let fates = dead.iter().map(|(fate, _)| *fate).collect::<Vec<_>>();
    assert!(dead.is_empty(), "{fates:?}: see mutant-N.onnx in {}", kept.display());
}

/// Loads and runs what passed the gate; the engine may refuse it, and nothing more.
fn runs(bytes: &[u8]) -> bool {
    let Ok(info) = validate(bytes, &limits()) else { return false };
    let Ok(mut model) = Model::from_bytes(bytes) else { return false };
    assert_eq!(model.input_shape(), info.inputs[0].shape);
    let input = vec![0.5; model.input_len()];
    let ran = model.run(&input).is_ok();
    // The gate knew the shape, and so what it would cost.
    assert!(!ran || model.output_shape() == info.outputs[0].shape, "{:?}", info.outputs);
    ran
}

fn mutant(kind: Kind, seed: &ModelProto, runner: &mut TestRunner) -> Vec<u8> {
    let mut draw = |n: usize| (0..n).map(|_| runner.rng().next_u32()).collect::<Vec<_>>();
    match kind {
        Kind::Bytes => {
            let mut bytes = seed.write_to_bytes().expect("small");
            for chance in 0..1 + draw(1)[0] % 3 {
                let [at, value, way] = draw(3)[..] else { unreachable!("three were drawn") };
                let at = at as usize % bytes.len();
                match way % 4 {
                    0 if chance > 0 => drop(bytes.remove(at)),
                    1 if chance > 0 => bytes.insert(at, value as u8),
                    2 => bytes[at] ^= 1 << (value % 8),
                    _ => bytes[at] = value as u8,
                }
            }
            bytes
        }
        Kind::Fields => {
            let mut bytes = seed.write_to_bytes().expect("small");
            for _ in 0..1 + draw(1)[0] % 2 {
                let [pick, way] = draw(2)[..] else { unreachable!("two were drawn") };
                bytes = fields::mutate(&bytes, pick, way);
            }
            bytes
        }
        Kind::Edits => {
            let mut model = seed.clone();
            offer_shapes(&mut model);
            let edits = prop::collection::vec(edit(), 1..5).new_tree(runner).expect("edits are never refused");
            for edit in edits.current() {
                apply(&mut model, edit);
            }
            model.write_to_bytes().expect("small")
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_crash_the_gate(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = validate(&bytes, &limits());
    }

    #[test]
    fn the_reference_network_bent_never_crashes_the_gate(edits in prop::collection::vec(edit(), 1..7), at: Index) {
        let mut model = ModelProto::parse_from_bytes(&reference::onnx()).expect("our own");
        offer_shapes(&mut model);
        for edit in edits {
            apply(&mut model, edit);
        }
        let mut bytes = model.write_to_bytes().expect("small");
        let _ = validate(&bytes, &Limits::default());
        *at.get_mut(&mut bytes) ^= 1;
        let _ = validate(&bytes, &Limits::default());
    }
}

#[test]
fn unbent_networks_run() {
    // Otherwise the tests above would show nothing of the engine.
    for seed in seeds() {
        let bytes = seed.write_to_bytes().expect("small");
        assert_eq!(validate(&bytes, &limits()).map(drop), Ok(()));
        assert!(runs(&bytes), "{:?}", Model::from_bytes(&bytes).err());
    }
}

#[test]
fn a_crowd_goes_on_after_the_fallen() {
    let name = "a_crowd_goes_on_after_the_fallen";
    if let Some(file) = std::env::var_os(crowd::MODELS) {
        crowd::child(Path::new(&file), |model| match model {
            b"abort" => std::process::abort(),
            b"panic" => panic!("as asked"),
            b"memory" => !std::hint::black_box(vec![1u8; 3 << 30]).is_empty(),
            b"spin" => loop {
                std::hint::spin_loop();
            },
            other => other == b"run",
        });
        return;
    }
    let models =
        ["run", "abort", "refuse", "panic", "memory", "run", "spin", "run"].map(|word| word.as_bytes().to_vec());
    use Fate::{Killed, Panicked, Ran, Refused};
    assert_eq!(crowd::run(name, &models), [Ran, Killed, Refused, Panicked, Killed, Ran, Killed, Ran]);
}

#[test]
fn broken_real_models_never_crash_the_gate() {
    for path in model_files("mutants of real models") {
        let bytes = std::fs::read(&path).expect("readable");
        // Cut short at a hundred places, and one bit turned at a hundred others.
        for k in 0..100 {
            let at = bytes.len() * k / 100;
            let _ = validate(&bytes[..at], &Limits::default());
            let mut turned = bytes.clone();
            turned[at] ^= 1 << (k % 8);
            let _ = validate(&turned, &Limits::default());
        }
    }
}
