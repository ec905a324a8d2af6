//! The engine against outputs that others computed, and what it tells of its plan.

mod common;

use std::path::Path;

use common::{agree, attribute, cnn, model_files, node, numbers, value};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{Message, TensorProto};
use runtime::engine::{ENGINE, EngineError, Model};
use runtime::protocol::probe_input;
use runtime::reference;

#[test]
fn names_the_version_that_is_locked() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).expect("Cargo.lock");
    let package = lock.split("[[package]]").find(|text| text.contains("name = \"tract-onnx\"\n")).expect("tract-onnx");
    let version = package.lines().find_map(|line| line.strip_prefix("version = ")).expect("a version");
    let engine = format!("tract {} ", version.trim_matches('"'));
    assert!(ENGINE.starts_with(&engine), "{ENGINE} is not {engine}");
}

#[test]
fn agrees_with_expected_outputs_of_real_models() {
    for path in model_files("outputs of real models") {
        let mut model = Model::load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let folder = path.parent().expect("a file has a folder");
        let n = (0..).take_while(|k| check_set(&mut model, &folder.join(format!("test_data_set_{k}")))).count();
        assert!(n > 0, "{} has no test data", folder.display());
    }
}

/// Compares one set, if it exists, within the tolerance of ONNX's own backend tests.
fn check_set(model: &mut Model, folder: &Path) -> bool {
    let Ok(input) = std::fs::read(folder.join("input_0.pb")) else { return false };
    let input = floats(&input);
    let expected = floats(&std::fs::read(folder.join("output_0.pb")).expect("an input has an output"));
    let outputs = input.chunks(model.input_len()).flat_map(|image| model.run(image).expect("runs")).collect::<Vec<_>>();
    assert_eq!(outputs.len(), expected.len(), "{}", folder.display());
    for (output, expected) in outputs.iter().zip(&expected) {
        assert!(agree(*output, *expected), "{}: {output} instead of {expected}", folder.display());
    }
    true
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    numbers(&TensorProto::parse_from_bytes(bytes).expect("a tensor"))
}

#[test]
fn computes_what_the_layers_say() {
    // Global average of relu(conv(image)), times a matrix, by hand.
    let mut model = Model::from_bytes(&cnn().write_to_bytes().expect("small")).expect("loads");
    assert_eq!((model.input_shape(), model.output_shape()), (&[1, 3, 8, 8][..], &[1, 5][..]));
    let image = probe_input(3 * 8 * 8);
    let weight = |idx: usize| (idx as f32 * 0.7).sin();
    let mut pooled = [0f64; 4];
    for (out, pooled) in pooled.iter_mut().enumerate() {
        for (y, x) in (0..8i32).flat_map(|y| (0..8i32).map(move |x| (y, x))) {
            let mut sum = 0f64;
            for (c, dy, dx) in (0..3).flat_map(|c| (0..3).flat_map(move |dy| (0..3).map(move |dx| (c, dy, dx)))) {
                let (row, column) = (y + dy - 1, x + dx - 1);
                if (0..8).contains(&row) && (0..8).contains(&column) {
                    let pixel = image[(c * 64 + row * 8 + column) as usize];
                    sum += f64::from(pixel) * f64::from(weight(out * 27 + (c * 9 + dy * 3 + dx) as usize));
                }
            }
            *pooled += sum.max(0.0) / 64.0;
        }
    }
    let scores = model.run(&image).expect("runs");
    let expected = (0..5).map(|k| (0..4).map(|c| pooled[c] * f64::from(weight(c * 5 + k))).sum::<f64>());
    let expected = expected.collect::<Vec<_>>();
    for (score, expected) in scores.iter().zip(&expected) {
        assert!((f64::from(*score) - expected).abs() < 1e-5, "{scores:?} instead of {expected:?}");
    }
    let best = (0..5).max_by(|&a, &b| expected[a].total_cmp(&expected[b])).expect("five");
    assert_eq!(model.classify(&image).expect("runs"), best);
}

#[test]
fn the_reference_network_never_changes() {
    // Its times are compared across versions: another network would look like another machine.
    let hash = runtime::validate::validate(&reference::onnx(), &Default::default()).expect("sound").sha256;
    assert_eq!(hash, "d77a5e5739c7b39289044bbaaffbf23a6bb863f623dfb35021b6324a5373d8ac");
    let mut model = Model::from_bytes(&reference::onnx()).expect("loads");
    let scores = model.run(&probe_input(model.input_len())).expect("runs");
    assert!(scores.iter().all(|score| score.is_finite() && score.abs() > 1e-6), "{scores:?}");
}

#[test]
fn profiles_name_the_nodes_of_the_file() {
    let mut model = Model::from_bytes(&reference::onnx()).expect("loads");
    let input = probe_input(model.input_len());
    let profile = model.profile(&input, 3).expect("runs");
    let names = [
        "stem",
        "depthwise1",
        "pointwise1",
        "max_pool",
        "depthwise2",
        "pointwise2",
        "average_pool",
        "global_pool",
        "flatten",
        "classifier",
        "image",
    ];
    for node in &profile {
        assert!(names.iter().any(|name| node.name.starts_with(name)), "{node:?} belongs to no node of the file");
    }
    for name in ["stem", "depthwise2", "average_pool", "classifier"] {
        assert!(profile.iter().any(|node| node.name.starts_with(name) && node.nanos > 0), "{name} is not timed");
    }
    // At least one layer's input and output are alive together; constants hold the convolutions' weights.
    assert!(model.activation_bytes().expect("shapes are fixed") >= 4 * 16 * 32 * 32);
    assert!(model.constant_bytes() > 0);
}

#[test]
fn says_what_does_not_fit() {
    let mut model = Model::from_bytes(&reference::onnx()).expect("loads");
    assert!(matches!(model.run(&[0.0; 7]), Err(EngineError::Input { given: 7, needed: 3072 })));
    assert!(matches!(Model::load(Path::new("/no/such.onnx")), Err(EngineError::Read { .. })));
    assert!(matches!(Model::from_bytes(b"not a model"), Err(EngineError::Load { step: "read", .. })));
}

#[test]
fn believes_no_shape_that_the_file_only_claims() {
    let mut model = cnn();
    model.graph.mut_or_insert_default().output[0] = value("scores", 7, &[9, 9]);
    let mut model = Model::from_bytes(&model.write_to_bytes().expect("small")).expect("loads");
    assert_eq!(model.run(&[0.5; 192]).expect("runs").len(), 5);
    assert_eq!(model.output_shape(), [1, 5]);
}

#[test]
fn takes_inputs_and_gives_outputs_one_after_another() {
    // Two images of integers, and the scores of each.
    let mut model = cnn();
    let graph = model.graph.mut_or_insert_default();
    graph.input[0] = value("image", 3, &[1, 3, 8, 8]);
    graph.input.push(value("other", 1, &[1, 5]));
    let mut cast = node("cast", "Cast", &["image"], "floats");
    let mut to = attribute("to", &[]);
    (to.type_, to.i) = (AttributeType::INT.into(), 1);
    cast.attribute.push(to);
    graph.node[0].input[0] = "floats".into();
    graph.node.push(cast);
    graph.node.push(node("add", "Add", &["scores", "other"], "sum"));
    graph.output.push(value("sum", 1, &[1, 5]));
    let mut model = Model::from_bytes(&model.write_to_bytes().expect("small")).expect("loads");
    assert_eq!(model.input_len(), 3 * 8 * 8 + 5);
    let mut input = (0..3 * 64).map(|n| (n % 7) as f32 - 3.0).collect::<Vec<_>>();
    input.extend([10.0, 20.0, 30.0, 40.0, 50.0]);
    let outputs = model.run(&input).expect("runs");
    let mut alone = Model::from_bytes(&cnn().write_to_bytes().expect("small")).expect("loads");
    let scores = alone.run(&input[..3 * 64]).expect("runs");
    let sums = scores.iter().zip(&input[3 * 64..]).map(|(a, b)| a + b);
    assert_eq!(outputs, scores.iter().copied().chain(sums).collect::<Vec<_>>());
    // A class is one of the first output's.
    assert_eq!(model.classify(&input).expect("runs"), alone.classify(&input[..3 * 64]).expect("runs"));
}
