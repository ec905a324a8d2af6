//! One network, three engines: what Burn trained, tract and onnxruntime compute from the exported
//! file, for random cells with random weights and random running statistics.
#![expect(clippy::print_stdout, reason = "largest differences and skipped checks are told in one line each")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use ::train::{
    fit::logits,
    ops::{self, Kernels},
};
use data::keyed::{self, ChaCha8Rng};
use export::Metadata;
use graph::{
    Graph,
    weights::{Weights, parameters},
};
use runtime::engine::Model;
use search::{
    chooser::Uniform,
    space::{Scale, SearchSpace, Task, cell::CellSpace, trellis::Trellis},
};
use tempfile::TempDir;

/// Networks compared.
const N: u64 = 200;

/// Networks beside those that give a class for every pixel.
const N_SCENES: u64 = 20;

/// Largest absolute difference of a logit that counts as the same network.
const TOLERANCE: f32 = 1e-4;

/// A network with its weights, an image and what Burn makes of it.
pub(crate) struct Case {
    pub(crate) name: String,
    graph: Graph,
    pub(crate) file: Vec<u8>,
    weights: Weights,
    pub(crate) image: Vec<f32>,
    shape: [usize; 3],
    pub(crate) expected: Vec<f32>,
}

/// One test, because the choice of Burn's kernels is the process's.
#[test]
fn engines_agree() {
    let cases: Vec<Case> = (0..N).map(case).chain((0..N_SCENES).map(scene)).collect();
    for case in &cases {
        let (first, rest) = case.expected.split_first().expect("a class at least");
        assert!(case.expected.iter().all(|it| it.is_finite()), "{}: {:?}", case.name, case.expected);
        // Equal logits would hide a network that ignores its image.
        assert!(rest.iter().any(|it| 1e-3 < (it - first).abs()), "{}: {:?}", case.name, case.expected);
    }
    let largest = cases.iter().flat_map(|case| &case.expected).fold(0.0, |a: f32, b| a.max(b.abs()));

    let onnxruntime = Onnxruntime::start(&cases);
    ops::select(Kernels::Generic);
    let generic = worst(&cases, "Burn's generic operations", computed);
    ops::select(Kernels::Own);

    let tract = worst(&cases, "tract", |case| {
        let mut model = Model::from_bytes(&case.file).expect("tract loads what we export");
        model.run(&case.image).expect("tract runs it")
    });
    println!(
        "{} networks, logits up to {largest:.1}: generic operations {generic:.1e}, tract {tract:.1e}",
        cases.len()
    );
    if let Some(onnxruntime) = onnxruntime {
        onnxruntime.compare(&cases);
    }
}

/// The largest difference over all cases; fails where one is too large.
fn worst(cases: &[Case], engine: &str, compute: impl Fn(&Case) -> Vec<f32>) -> f32 {
    let differences = cases.iter().map(|case| {
        let found = compute(case);
        assert_eq!(found.len(), case.expected.len(), "{}", case.name);
        let differences = found.iter().zip(&case.expected).map(|(a, b)| (a - b).abs());
        let difference = differences.fold(0.0, |a: f32, b| if b.is_nan() { f32::INFINITY } else { a.max(b) });
        assert!(
            difference <= TOLERANCE,
            "{engine} is off by {difference} in {}: {found:?}, not {:?}\n{:#?}",
            case.name,
            case.expected,
            case.graph
        );
        difference
    });
    differences.fold(0.0, f32::max)
}

fn computed(case: &Case) -> Vec<f32> {
    logits(&case.graph, &case.weights, case.image.clone(), case.shape).expect("the weights are the graph's")
}

/// Network `step` of the list.
pub(crate) fn case(step: u64) -> Case {
    let mut rng = keyed::rng(5, "roundtrip", step);
    let mut within = |low: u32, high: u32| (low + keyed::below(&mut rng, high - low + 1)) as usize;
    let shape = [within(1, 3), within(4, 15), within(4, 15)];
    let scale = Scale {
        layers: within(1, 3),
        channels: within(1, 6),
        input: shape,
        classes: within(2, 12),
        front_end: None,
        task: Task::Classification,
    };
    let space = CellSpace::default();
    let cell = space.sample(&mut Uniform::new(5, "roundtrip cell", step));
    let graph = space.build(&cell, &scale).expect("it builds at any size");
    complete(format!("network{step}"), graph, shape, &mut rng)
}

/// Network `step` of those that give a class for every pixel.
fn scene(step: u64) -> Case {
    let mut rng = keyed::rng(5, "roundtrip scene", step);
    let mut within = |low: u32, high: u32| (low + keyed::below(&mut rng, high - low + 1)) as usize;
    let shape = [within(1, 3), within(3, 40), within(3, 40)];
    let scale = Scale {
        layers: 0,
        channels: within(1, 4),
        input: shape,
        classes: within(2, 5),
        front_end: None,
        task: Task::Segmentation,
    };
    let space = Trellis { layers: within(1, 5), blocks: within(1, 2) };
    let route = space.sample(&mut Uniform::new(5, "roundtrip route", step));
    let graph = space.build(&route, &scale).expect("it builds at any size");
    complete(format!("scene{step}"), graph, shape, &mut rng)
}

/// The network with random weights, a random image, and what Burn makes of it.
fn complete(name: String, graph: Graph, shape: [usize; 3], rng: &mut ChaCha8Rng) -> Case {
    let weights = weights(&graph, rng);
    let image = (0..shape.iter().product()).map(|_| uniform(rng, -2.0, 2.0)).collect();
    let metadata = Metadata { entries: [("name".to_owned(), name.clone())].into() };
    let file = export::onnx(&graph, &weights, &metadata).expect("the network is complete");
    let mut case = Case { name, graph, file, weights, image, shape, expected: Vec::new() };
    case.expected = computed(&case);
    case
}

/// Random parameters of about the size that training leaves: activations neither grow nor die, and
/// the running statistics are nobody's defaults.
fn weights(graph: &Graph, rng: &mut ChaCha8Rng) -> Weights {
    let mut weights = Weights::default();
    for id in graph.ids() {
        for (suffix, shape) in parameters(graph, id) {
            let fan_in: usize = shape[1..].iter().product();
            let (low, high) = match suffix {
                "weight" => (-(3.0 / fan_in as f32).sqrt(), (3.0 / fan_in as f32).sqrt()),
                "gamma" => (0.3, 1.2),
                "var" => (0.5, 3.0),
                _ => (-0.5, 0.5),
            };
            let values = (0..shape.iter().product()).map(|_| uniform(rng, low, high)).collect();
            weights.insert(&graph.name(id), suffix, shape, values);
        }
    }
    weights
}

fn uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * (keyed::below(rng, 1 << 24) as f32 / (1 << 24) as f32)
}

/// The same files in the ONNX project's checker and in onnxruntime, while the others compute.
struct Onnxruntime {
    folder: TempDir,
    process: Child,
}

impl Onnxruntime {
    /// Says so where Python or its packages are missing.
    fn start(cases: &[Case]) -> Option<Self> {
        let Some(python) = python() else {
            println!("skipped: onnx checker and onnxruntime (not installed; run tests/python/setup.sh)");
            return None;
        };
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder can be written");
        for case in cases {
            let image: Vec<u8> = case.image.iter().flat_map(|it| it.to_le_bytes()).collect();
            let path = folder.path().join(&case.name);
            fs::write(path.with_extension("onnx"), &case.file).expect("the folder can be written");
            fs::write(path.with_extension("image"), image).expect("the folder can be written");
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/check_onnx.py");
        let mut command = Command::new(&python);
        command.arg(script).arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Some(Self { process: command.spawn().expect("Python started before"), folder })
    }

    fn compare(self, cases: &[Case]) {
        let output = self.process.wait_with_output().expect("it was started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let difference = worst(cases, "onnxruntime", |case| {
            let path = self.folder.path().join(&case.name).with_extension("logits");
            let bytes = fs::read(path).expect("the script wrote it");
            bytes.as_chunks().0.iter().map(|&it| f32::from_le_bytes(it)).collect()
        });
        println!("{}onnxruntime {difference:.1e}", String::from_utf8_lossy(&output.stdout));
    }
}

/// A Python that has what the script imports.
fn python() -> Option<PathBuf> {
    let interpreter = |venv: &Path| venv.join("bin/python");
    let imports = |python: &PathBuf| {
        let probe = Command::new(python).args(["-c", "import numpy, onnx, onnxruntime"]).output();
        probe.is_ok_and(|it| it.status.success())
    };
    if let Some(venv) = env::var_os("PIPELINE_PYTHON_VENV") {
        let python = interpreter(Path::new(&venv));
        assert!(imports(&python), "{} lacks onnx or onnxruntime; run tests/python/setup.sh", python.display());
        return Some(python);
    }
    let home = env::var_os("HOME").map(|home| interpreter(&Path::new(&home).join(".cache/pipeline-python")));
    home.into_iter().chain([PathBuf::from("python3")]).find(imports)
}
