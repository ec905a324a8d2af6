//! Exported networks pass the ONNX project's checker, and onnxruntime computes from them what the
//! slow interpreter computes from the network as trained: folding and export are right together.
//!
//! `tests/python/setup.sh` makes the environment this needs. Where it is missing the test says so;
//! where `PIPELINE_PYTHON_VENV` names it, a missing package is a failure.
#![expect(clippy::print_stdout, reason = "a skipped check is told in one line")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{networks, random, reference};
use export::{
    Average, Depthwise, DepthwiseStride, Lowering, Max, Metadata, Stride, Sum, Swish, onnx_as, placeholder_weights,
};
use graph::{Graph, weights::Weights};

#[path = "../../graph/tests/common/mod.rs"]
mod common;

const N_RANDOM: u64 = 150;
const TOLERANCE: f64 = 1e-4;

/// A network, its weights, and its output as the interpreter has it; none where that would be slow.
struct Case {
    name: String,
    graph: Graph,
    weights: Weights,
    image: Vec<f32>,
    expected: Option<Vec<f64>>,
    lowering: Lowering,
}

#[test]
fn onnxruntime_agrees_with_the_interpreter() {
    let Some(python) = python() else {
        println!("skipped: onnx checker and onnxruntime (not installed; run tests/python/setup.sh)");
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("onnx-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let cases = cases();
    for case in &cases {
        let metadata = Metadata { entries: [("name".to_owned(), case.name.clone())].into() };
        let file = onnx_as(&case.graph, &case.weights, &metadata, case.lowering).expect("the network is complete");
        let image: Vec<u8> = case.image.iter().flat_map(|it| it.to_le_bytes()).collect();
        for (suffix, bytes) in [("onnx", file), ("image", image)] {
            fs::write(folder.join(&case.name).with_extension(suffix), bytes).expect("the folder can be written");
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/check_onnx.py");
    let output = Command::new(&python).arg(script).arg(&folder).output().expect("Python started before");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}\nthe files are in {}", folder.display());
    print!("{}", String::from_utf8_lossy(&output.stdout));
    let worst = cases.iter().map(|case| difference(case, &folder)).fold(0.0, f64::max);
    println!("largest difference {worst:.1e}");
    fs::remove_dir_all(&folder).expect("we made it");
}

/// The largest difference between the interpreter's output and onnxruntime's.
fn difference(case: &Case, folder: &Path) -> f64 {
    let Case { name, expected, .. } = case;
    let bytes = fs::read(folder.join(name).with_extension("logits")).expect("the script wrote it");
    let (found, _) = bytes.as_chunks::<4>();
    let found: Vec<f64> = found.iter().map(|&it| f64::from(f32::from_le_bytes(it))).collect();
    assert!(found.iter().all(|it| it.is_finite()), "{name} makes {found:?}");
    let Some(expected) = expected else { return 0.0 };
    assert_eq!(found.len(), expected.len(), "{name}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= TOLERANCE, "{name} is off by {worst}: {:#?}", case.graph);
    worst
}

fn cases() -> Vec<Case> {
    let random = (0..N_RANDOM).map(|seed| {
        let graph = random::graph(seed, 2 + seed as usize % 30);
        let (weights, image) = (random::weights(&graph, seed), random::image(&graph, seed));
        let expected = Some(reference::run(&graph, &weights, &image));
        Case { name: format!("random{seed}"), graph, weights, image, expected, lowering: lowering(seed) }
    });
    let known = [
        ("mobilenet_v2", networks::mobilenet_v2_cifar()),
        ("darts_v2", networks::darts_v2()),
        ("resnet8", networks::mlperf_tiny_resnet8()),
    ];
    // Their placeholder weights must at least give numbers.
    let known = known.into_iter().map(|(name, graph)| {
        let (weights, image) = (placeholder_weights(&graph, 0), random::image(&graph, 0));
        Case { name: name.to_owned(), graph, weights, image, expected: None, lowering: Lowering::default() }
    });
    random.chain(known).collect()
}

/// Every form has its turn, beside many others.
fn lowering(seed: u64) -> Lowering {
    let mut digits = seed as usize;
    let mut turn = |n: usize| {
        let digit = digits % n;
        digits /= n;
        digit
    };
    use Average::{Counted, PaddedDepthwise, Pool, Separable, SeparableDepthwise};
    Lowering {
        average: [Pool, Separable, Counted, Average::Depthwise, PaddedDepthwise, SeparableDepthwise][turn(6)],
        depthwise: [Depthwise::Conv, Depthwise::Padded][turn(2)],
        depthwise_stride: [DepthwiseStride::Conv, DepthwiseStride::After][turn(2)],
        stride: [Stride::Conv, Stride::Slice, Stride::Pool][turn(3)],
        max: [Max::Pool, Max::Separable][turn(2)],
        swish: [Swish::Sigmoid, Swish::Exp][turn(2)],
        sum: [Sum::Sum, Sum::Chain][turn(2)],
    }
}

/// A Python that has what the script imports.
fn python() -> Option<PathBuf> {
    let named = env::var_os("PIPELINE_PYTHON_VENV").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache/pipeline-python"));
    let interpreter = |venv: &PathBuf| venv.join("bin/python");
    let imports = |python: &PathBuf| {
        let probe = Command::new(python).args(["-c", "import numpy, onnx, onnxruntime"]).output();
        probe.is_ok_and(|it| it.status.success())
    };
    if let Some(venv) = &named {
        let python = interpreter(venv);
        assert!(imports(&python), "{} lacks onnx or onnxruntime; run tests/python/setup.sh", venv.display());
        return Some(python);
    }
    home.iter().map(interpreter).chain([PathBuf::from("python3")]).find(imports)
}
