//! ResNet-8 as we build and export it, beside the file that others made from the same description.
#![expect(clippy::print_stdout, reason = "a skipped check is told in one line")]

use std::fs;

use export::{Metadata, onnx, placeholder_weights};
use onnx_protobuf::{AttributeProto, Message, ModelProto};

#[path = "../../graph/tests/common/mod.rs"]
mod common;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/onnx/models/mlperf_tiny_resnet8/model.onnx");

/// `Conv [64, 32, 3, 3] strides [2, 2] pads [0, 0, 1, 1]` for each convolution, sorted: the file was
/// converted from another format, which left its nodes in another order.
fn convolutions(model: &ModelProto) -> Vec<String> {
    let graph = &model.graph;
    let axes = |name: &str| graph.initializer.iter().find(|it| it.name == name).map(|it| &it.dims);
    let convolutions = graph.node.iter().filter(|it| it.op_type == "Conv");
    let mut lines: Vec<String> = convolutions
        .map(|node| {
            let ints = |name: &str| {
                let attribute: Option<&AttributeProto> = node.attribute.iter().find(|it| it.name == name);
                attribute.map(|it| it.ints.clone())
            };
            let weight = axes(&node.input[1]);
            let biased = node.input.len() == 3;
            format!("Conv {weight:?} strides {:?} pads {:?} bias {biased}", ints("strides"), ints("pads"))
        })
        .collect();
    lines.sort();
    lines
}

/// Stored `f32` values.
fn n_weights(model: &ModelProto) -> i64 {
    let floats = model.graph.initializer.iter().filter(|it| it.data_type == 1);
    floats.map(|it| it.dims.iter().product::<i64>()).sum()
}

#[test]
fn resnet8_has_the_convolutions_and_weights_of_the_published_file() {
    let Ok(bytes) = fs::read(FILE) else {
        println!("skipped: MLPerf Tiny's ResNet-8 (no ../shared/data)");
        return;
    };
    let published = ModelProto::parse_from_bytes(&bytes).expect("it is an ONNX file");
    let graph = common::networks::mlperf_tiny_resnet8();
    let ours = onnx(&graph, &placeholder_weights(&graph, 0), &Metadata::default()).expect("the network is complete");
    let ours = ModelProto::parse_from_bytes(&ours).expect("it is an ONNX file");
    assert_eq!(convolutions(&ours), convolutions(&published));
    assert_eq!((n_weights(&ours), n_weights(&published)), (77_706, 77_706));
}
