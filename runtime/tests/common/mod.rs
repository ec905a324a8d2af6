//! A small network to bend, and the real models where they are at hand.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::path::{Path, PathBuf};

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use protobuf::MessageField;

/// `image [1, 3, 8, 8]` -> conv, relu, global pool, flatten, `fc` -> `scores [1, 5]`.
pub(crate) fn cnn() -> ModelProto {
    let mut conv = node("conv", "Conv", &["image", "conv.weight"], "conv_out");
    conv.attribute.push(attribute("pads", &[1, 1, 1, 1]));
    let graph = GraphProto {
        name: "cnn".into(),
        node: vec![
            conv,
            node("relu", "Relu", &["conv_out"], "relu_out"),
            node("pool", "GlobalAveragePool", &["relu_out"], "pool_out"),
            node("flatten", "Flatten", &["pool_out"], "flatten_out"),
            node("fc", "Gemm", &["flatten_out", "fc.weight"], "scores"),
        ],
        initializer: vec![tensor("conv.weight", &[4, 3, 3, 3]), tensor("fc.weight", &[4, 5])],
        input: vec![value("image", 1, &[1, 3, 8, 8])],
        output: vec![value("scores", 1, &[1, 5])],
        ..Default::default()
    };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { version: 13, ..Default::default() }],
        graph: MessageField::some(graph),
        ..Default::default()
    }
}

pub(crate) fn node(name: &str, op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: name.into(),
        op_type: op.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

/// A list of integers.
pub(crate) fn attribute(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), type_: AttributeType::INTS.into(), ..Default::default() }
}

/// Floats that differ from each other.
pub(crate) fn tensor(name: &str, dims: &[i64]) -> TensorProto {
    let n = dims.iter().product::<i64>();
    let float_data = (0..n).map(|idx| (idx as f32 * 0.7).sin()).collect();
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: 1, float_data, ..Default::default() }
}

pub(crate) fn value(name: &str, dtype: i32, dims: &[i64]) -> ValueInfoProto {
    let mut info = ValueInfoProto { name: name.into(), ..Default::default() };
    let tensor = info.type_.mut_or_insert_default().mut_tensor_type();
    tensor.elem_type = dtype;
    tensor.shape = MessageField::some(Default::default());
    for &dim in dims {
        let mut dimension = onnx_protobuf::tensor_shape_proto::Dimension::new();
        dimension.set_dim_value(dim);
        tensor.shape.mut_or_insert_default().dim.push(dimension);
    }
    info
}

/// The `model.onnx` of every real model; empty, and said so, where the folder is missing.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn model_files(what: &str) -> Vec<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/onnx/models"));
    let Ok(folders) = std::fs::read_dir(root) else {
        eprintln!("skipped: {what} (no ../shared/data)");
        return vec![];
    };
    let mut files = folders.flatten().map(|folder| folder.path().join("model.onnx")).collect::<Vec<_>>();
    files.retain(|path| path.exists());
    files.sort();
    assert!(!files.is_empty(), "{} holds no model", root.display());
    files
}

/// The numbers of a tensor in a file, as the engine takes and gives them.
pub(crate) fn numbers(tensor: &TensorProto) -> Vec<f32> {
    fn raw<const N: usize>(tensor: &TensorProto, number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        tensor.raw_data.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
    }
    let is_raw = !tensor.raw_data.is_empty();
    match tensor.data_type {
        1 if is_raw => raw(tensor, f32::from_le_bytes),
        1 => tensor.float_data.clone(),
        2 | 9 if is_raw => raw(tensor, |[byte]| f32::from(byte)),
        3 if is_raw => raw(tensor, |byte| f32::from(i8::from_le_bytes(byte))),
        6 if is_raw => raw(tensor, |bytes| i32::from_le_bytes(bytes) as f32),
        2 | 3 | 6 | 9 => tensor.int32_data.iter().map(|&n| n as f32).collect(),
        7 if is_raw => raw(tensor, |bytes| i64::from_le_bytes(bytes) as f32),
        7 => tensor.int64_data.iter().map(|&n| n as f32).collect(),
        11 if is_raw => raw(tensor, |bytes| f64::from_le_bytes(bytes) as f32),
        11 => tensor.double_data.iter().map(|&x| x as f32).collect(),
        other => panic!("no test holds tensors of type {other}"),
    }
}

/// Whether two numbers agree within the tolerance of ONNX's own backend tests.
pub(crate) fn agree(found: f32, expected: f32) -> bool {
    let is_same = found == expected || (found.is_nan() && expected.is_nan());
    is_same || (found - expected).abs() <= 1e-4 + 1e-3 * expected.abs()
}
