//! What holds for every network: same bytes, unique names, bounded size, metadata that comes back.

use std::collections::BTreeSet;

use common::{networks, random, reference};
use export::{ExportError, Metadata, onnx, placeholder_weights, read_metadata};
use graph::{
    Graph, Op,
    cost::static_cost,
    fold::{fold, shipped},
};
use onnx_protobuf::{Message, ModelProto};
use proptest::prelude::*;

#[path = "../../graph/tests/common/mod.rs"]
mod common;

/// What a file may take beside its weights, in bytes: pricing promises it before a file exists.
const BYTES_PER_OP: u64 = 512;
const BYTES_PER_FILE: u64 = 16 * 1024;

/// Metadata as a search writes it: a hundred classes, budgets, an architecture of a few thousand bytes.
fn metadata() -> Metadata {
    let classes: Vec<String> = (0..100).map(|it| format!("name_of_class_{it}")).collect();
    let entries = [
        ("classes", classes.join(",")),
        ("normalisation", "mean 0.4914,0.4822,0.4465 std 0.2470,0.2435,0.2616".to_owned()),
        ("budgets", "latency<=0.02 memory<=67108864 flash<=8388608 params<=2000000 macs<=80000000".to_owned()),
        ("architecture", r#"{"input":0,"operation":"sep_conv_5x5"},"#.repeat(100)),
        ("tool", "pipeline 0.1.0".to_owned()),
        ("data", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned()),
    ];
    Metadata { entries: entries.map(|(key, value)| (key.to_owned(), value)).into() }
}

fn export(graph: &Graph) -> Vec<u8> {
    onnx(graph, &placeholder_weights(graph, 7), &metadata()).expect("the network is complete")
}

/// Every promise that needs no second implementation.
fn check(graph: &Graph) -> Result<(), TestCaseError> {
    let bytes = export(graph);
    prop_assert_eq!(&export(graph), &bytes, "exported twice");
    prop_assert_eq!(read_metadata(&bytes).expect("we wrote it"), metadata());

    let cost = static_cost(graph);
    let limit = cost.model_bytes + BYTES_PER_OP * cost.n_ops + BYTES_PER_FILE;
    prop_assert!(bytes.len() as u64 <= limit, "{} bytes, {} were promised", bytes.len(), limit);
    prop_assert!(bytes.len() as u64 >= cost.model_bytes);

    let model = ModelProto::parse_from_bytes(&bytes).expect("it is a protocol buffer");
    let (mut names, mut values) = (BTreeSet::new(), BTreeSet::new());
    for name in model.graph.input.iter().map(|it| &it.name).chain(model.graph.initializer.iter().map(|it| &it.name)) {
        prop_assert!(values.insert(name.clone()), "two values are called {}", name);
    }
    for node in &model.graph.node {
        prop_assert!(names.insert(node.name.clone()), "two nodes are called {}", node.name);
        // A name left empty stands for an input left out.
        for input in node.input.iter().filter(|it| !it.is_empty()) {
            prop_assert!(values.contains(input), "{} reads {} before it exists", node.name, input);
        }
        for output in &node.output {
            prop_assert!(values.insert(output.clone()), "two values are called {}", output);
        }
    }
    prop_assert!(values.contains("logits"));
    // Each layer that ships is found under its own name.
    let shipped = shipped(graph);
    for id in shipped.ids().filter(|&id| *shipped.op(id) != Op::Input) {
        prop_assert!(names.contains(&shipped.name(id)), "{} is gone", shipped.name(id));
    }
    Ok(())
}

#[test]
fn known_networks_keep_every_promise() {
    for graph in [networks::mobilenet_v2_cifar(), networks::darts_v2(), networks::mlperf_tiny_resnet8()] {
        check(&graph).expect("every promise holds");
    }
}

#[test]
fn placeholder_weights_are_fixed_sound_and_keyed_by_name() {
    let graph = networks::mobilenet_v2_cifar();
    let weights = placeholder_weights(&graph, 0);
    weights.check(&graph).expect("every parameter is there");
    assert_eq!(placeholder_weights(&graph, 0), weights);
    assert_ne!(placeholder_weights(&graph, 1), weights);
    let name = "stage2/block1/project/conv.weight";
    let alone = weights.get("stage2/block1/project/conv", "weight").expect("it is there");
    assert_ne!(alone.values, weights.get("stage2/block2/project/conv", "weight").expect("it is there").values);

    // 192 channels are read: variance 2 / 192, with signs that cancel.
    let n = alone.values.len() as f64;
    let mean = alone.values.iter().map(|&it| f64::from(it)).sum::<f64>() / n;
    let variance = alone.values.iter().map(|&it| f64::from(it).powi(2)).sum::<f64>() / n;
    assert!((variance * 192.0 / 2.0 - 1.0).abs() < 0.02, "{name}: variance {variance}");
    assert!(mean.abs() < 5.0 * (variance / n).sqrt(), "{name}: mean {mean}");
    for (key, tensor) in &weights.tensors {
        assert!(tensor.values.iter().all(|it| it.is_finite()), "{key}");
        assert!(!key.ends_with(".weight") || tensor.values.iter().all(|it| it.is_normal()), "{key}");
    }
    let small = networks::mlperf_tiny_resnet8();
    let logits = reference::run(&small, &placeholder_weights(&small, 0), &random::image(&small, 0));
    assert!(logits.iter().all(|it| it.abs() < 1e4) && logits.iter().any(|it| it.abs() > 1e-3), "{logits:?}");
}

#[test]
fn damaged_files_have_no_metadata() {
    let refuse = |bytes: &[u8], what: &str| {
        let error = read_metadata(bytes).expect_err(what);
        assert!(matches!(&error, ExportError::Read(why) if why.contains(what)), "{error}");
    };
    refuse(b"", "no network");
    refuse(b"not a model", "cut off or damaged");
    let file = export(&networks::mlperf_tiny_resnet8());
    refuse(&file[..file.len() / 2], "cut off or damaged");
    refuse(&file[..file.len() - 1], "cut off or damaged");
    // A field number of 14, a length of 8: the entry `a` to `b`, and again.
    let twice = [&file[..], b"\x72\x06\x0a\x01a\x12\x01b", b"\x72\x06\x0a\x01a\x12\x01b"].concat();
    refuse(&twice, "twice");
    refuse(&[&file[..], b"\x72\x03\x0a\x01\xff"].concat(), "not text");
    // A group that never ends, and a number that never ends.
    refuse(&[&file[..], &[0x0b; 100_000]].concat(), "cut off or damaged");
    refuse(&[&file[..], &[0xff; 20]].concat(), "cut off or damaged");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn random_networks_keep_every_promise(seed: u64, n_nodes in 1..60_usize) {
        check(&random::graph(seed, n_nodes))?;
    }

    #[test]
    fn weights_are_stored_to_the_bit(seed: u64, n_nodes in 1..30_usize) {
        let graph = random::graph(seed, n_nodes);
        let weights = random::weights(&graph, seed);
        let bytes = onnx(&graph, &weights, &Metadata::default()).expect("the network is complete");
        let model = ModelProto::parse_from_bytes(&bytes).expect("it is a protocol buffer");
        let (shipped, folded) = fold(&graph, &weights).expect("the weights are complete");
        for id in shipped.ids() {
            for (suffix, _) in graph::weights::parameters(&shipped, id) {
                let name = format!("n{}.{suffix}", id.index());
                let stored = model.graph.initializer.iter().find(|it| it.name == name).expect("it is stored");
                let tensor = folded.get(&shipped.name(id), suffix).expect("it was folded");
                let expected: Vec<u8> = tensor.values.iter().flat_map(|it| it.to_le_bytes()).collect();
                prop_assert_eq!(&stored.raw_data, &expected, "{}", name);
            }
        }
    }

    #[test]
    fn any_metadata_comes_back(entries: std::collections::BTreeMap<String, String>, seed: u64) {
        let graph = random::graph(seed, 3);
        let metadata = Metadata { entries };
        let bytes = onnx(&graph, &placeholder_weights(&graph, 0), &metadata).expect("the network is complete");
        prop_assert_eq!(read_metadata(&bytes).expect("we wrote it"), metadata);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        let _ = read_metadata(&bytes);
    }
}
