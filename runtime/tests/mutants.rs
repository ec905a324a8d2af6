//! Broken and bent models: nothing crashes the gate, and nothing that passes it crashes the engine.
//!
//! `PROPTEST_CASES=100000` looks longer.

mod common;

use common::{cnn, model_files, tensor};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, Message, ModelProto};
use proptest::prelude::*;
use proptest::sample::Index;
use runtime::engine::Model;
use runtime::reference;
use runtime::validate::{Limits, validate};

/// Small enough that what passes the gate runs in milliseconds.
fn limits() -> Limits {
    Limits { activation_bytes: 16 << 20, initializer_bytes: 16 << 20, work: 50_000_000, ..Default::default() }
}

/// Runs what passes the gate; the engine may refuse it, and nothing more.
fn run(bytes: &[u8]) -> bool {
    let Ok(info) = validate(bytes, &limits()) else { return false };
    let Ok(mut model) = Model::from_bytes(bytes) else { return false };
    assert_eq!(model.input_shape(), info.inputs[0].shape);
    let image = vec![0.5; model.input_len()];
    let ran = model.run(&image).is_ok();
    // Where the gate claims to know the output's shape, the engine agrees.
    if ran && !info.outputs[0].shape.is_empty() {
        assert_eq!(model.output_shape(), info.outputs[0].shape);
    }
    ran
}

/// One change to a model that keeps it a model.
#[derive(Clone, Debug)]
enum Edit {
    Operator { node: Index, op: &'static str },
    Input { node: Index, input: Index, from: Index },
    Attribute { node: Index, name: &'static str, value: Value },
    Drop { node: Index, attribute: Index },
    Weight { initializer: Index, dim: Index, size: i64 },
    Swap { initializer: Index, dims: (Index, Index) },
    Image { dim: Index, size: i64 },
    Opset(i64),
}

#[derive(Clone, Debug)]
enum Value {
    Int(i64),
    Ints(Vec<i64>),
    Text(&'static str),
}

const OPERATORS: &[&str] = &[
    "Relu",
    "HardSigmoid",
    "HardSwish",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Mish",
    "Softplus",
    "Erf",
    "Sqrt",
    "Not",
    "Identity",
    "Softmax",
    "LogSoftmax",
    "LRN",
    "Clip",
    "Dropout",
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "Add",
    "Div",
    "Pow",
    "PRelu",
    "Equal",
    "Where",
    "Sum",
    "Mean",
    "Max",
    "Conv",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Gemm",
    "MatMul",
    "Flatten",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Concat",
    "Split",
    "Slice",
    "Gather",
    "Pad",
    "Shape",
    "Constant",
    "ConstantOfShape",
    "Expand",
    "Tile",
    "Resize",
    "DepthToSpace",
    "SpaceToDepth",
    "ReduceMean",
    "ReduceL2",
    "ArgMax",
    "QuantizeLinear",
    "DequantizeLinear",
    "Cast",
    "Loop",
    "",
];

const ATTRIBUTES: &[&str] = &[
    "kernel_shape",
    "strides",
    "dilations",
    "pads",
    "group",
    "auto_pad",
    "ceil_mode",
    "count_include_pad",
    "axis",
    "axes",
    "perm",
    "keepdims",
    "transA",
    "transB",
    "split",
    "starts",
    "ends",
    "size",
    "blocksize",
    "mode",
    "num_groups",
    "num_outputs",
    "to",
    "value_ints",
    "start",
    "end",
    "coordinate_transformation_mode",
];

const WORDS: &[&str] = &[
    "NOTSET",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "constant",
    "reflect",
    "edge",
    "linear",
    "nearest",
    "DCR",
    "CRD",
    "",
];

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![6 => -3..8i64, 2 => 8..100i64, 1 => prop::sample::select(vec![i64::MIN, i64::MAX, 1 << 31, 4096])]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => number().prop_map(Value::Int),
        3 => prop::collection::vec(number(), 0..6).prop_map(Value::Ints),
        1 => prop::sample::select(WORDS).prop_map(Value::Text),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        3 => (at(), prop::sample::select(OPERATORS)).prop_map(|(node, op)| Edit::Operator { node, op }),
        2 => (at(), at(), at()).prop_map(|(node, input, from)| Edit::Input { node, input, from }),
        4 => (at(), prop::sample::select(ATTRIBUTES), value())
            .prop_map(|(node, name, value)| Edit::Attribute { node, name, value }),
        1 => (at(), at()).prop_map(|(node, attribute)| Edit::Drop { node, attribute }),
        1 => (at(), at(), number()).prop_map(|(initializer, dim, size)| Edit::Weight { initializer, dim, size }),
        1 => (at(), (at(), at())).prop_map(|(initializer, dims)| Edit::Swap { initializer, dims }),
        1 => (at(), number()).prop_map(|(dim, size)| Edit::Image { dim, size }),
        1 => (7..22i64).prop_map(Edit::Opset),
    ]
}

/// Constants that an edit may make the shape, axes or sizes of something.
fn offer_shapes(model: &mut ModelProto) {
    let lists: [&[i64]; 9] =
        [&[0], &[1], &[-1], &[2, 3], &[1, -1], &[1, 1, 2, 2], &[0, 0, 1, 1, 0, 0, 1, 1], &[1, 3, 16, 16], &[4, 4, 8]];
    let graph = model.graph.mut_or_insert_default();
    for (idx, list) in lists.into_iter().enumerate() {
        let mut constant = tensor(&format!("list{idx}"), &[list.len() as i64]);
        (constant.data_type, constant.float_data, constant.int64_data) = (7, vec![], list.to_vec());
        graph.initializer.push(constant);
    }
    let mut scales = tensor("scales", &[4]);
    scales.float_data = vec![1.0, 1.0, 2.0, 2.0];
    graph.initializer.push(scales);
}

fn apply(model: &mut ModelProto, edit: Edit) {
    let opset = &mut model.opset_import[0].version;
    let graph = model.graph.mut_or_insert_default();
    match edit {
        Edit::Operator { node, op } => node.get_mut(&mut graph.node).op_type = op.into(),
        Edit::Input { node, input, from } => {
            let names = graph.node.iter().flat_map(|node| node.output.clone());
            let names = names.chain(graph.initializer.iter().map(|constant| constant.name.clone())).collect::<Vec<_>>();
            let inputs = &mut node.get_mut(&mut graph.node).input;
            // One place behind the last: an operator may take one more.
            let idx = input.index(inputs.len() + 1);
            inputs.resize(inputs.len().max(idx + 1), String::new());
            inputs[idx] = from.get(&names).clone();
        }
        Edit::Attribute { node, name, value } => {
            let mut attribute = AttributeProto { name: name.into(), ..Default::default() };
            attribute.type_ = match value {
                Value::Int(n) => {
                    attribute.i = n;
                    AttributeType::INT.into()
                }
                Value::Ints(list) => {
                    attribute.ints = list;
                    AttributeType::INTS.into()
                }
                Value::Text(word) => {
                    attribute.s = word.into();
                    AttributeType::STRING.into()
                }
            };
            let attributes = &mut node.get_mut(&mut graph.node).attribute;
            attributes.retain(|attribute| attribute.name != name);
            attributes.push(attribute);
        }
        Edit::Drop { node, attribute } => {
            let attributes = &mut node.get_mut(&mut graph.node).attribute;
            if !attributes.is_empty() {
                attributes.remove(attribute.index(attributes.len()));
            }
        }
        Edit::Weight { initializer, dim, size } => {
            let constant = initializer.get_mut(&mut graph.initializer);
            *dim.get_mut(&mut constant.dims) = size;
            let n = constant.dims.iter().try_fold(1i64, |n, &dim| n.checked_mul(dim)).unwrap_or(0).clamp(0, 100_000);
            constant.float_data = vec![0.5; n as usize];
        }
        Edit::Swap { initializer, dims: (a, b) } => {
            let dims = &mut initializer.get_mut(&mut graph.initializer).dims;
            let (a, b) = (a.index(dims.len()), b.index(dims.len()));
            dims.swap(a, b);
        }
        Edit::Image { dim, size } => {
            let image = graph.input[0].type_.mut_or_insert_default().mut_tensor_type();
            dim.get_mut(&mut image.shape.mut_or_insert_default().dim).set_dim_value(size);
        }
        Edit::Opset(version) => *opset = version,
    }
}

proptest! {
    #[test]
    fn random_bytes_never_crash_the_gate(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = validate(&bytes, &limits());
    }

    #[test]
    fn broken_bytes_crash_neither_gate_nor_engine(
        edits in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<Index>()),
    ) {
        // Weights are most of a file and cannot hurt: in a small network every edit counts.
        let mut bytes = cnn().write_to_bytes().expect("small");
        for (idx, value) in edits {
            *idx.get_mut(&mut bytes) = value;
        }
        if let Some(cut) = cut {
            bytes.remove(cut.index(bytes.len()));
        }
        run(&bytes);
    }

    #[test]
    fn bent_networks_crash_neither_gate_nor_engine(
        is_reference: bool,
        edits in prop::collection::vec(edit(), 1..7),
    ) {
        let mut model = match is_reference {
            true => ModelProto::parse_from_bytes(&reference::onnx()).expect("our own"),
            false => cnn(),
        };
        offer_shapes(&mut model);
        for edit in edits {
            apply(&mut model, edit);
        }
        run(&model.write_to_bytes().expect("small"));
    }
}

#[test]
fn unbent_networks_run() {
    // Otherwise the tests above would show nothing of the engine.
    assert!(run(&cnn().write_to_bytes().expect("small")));
    assert!(run(&reference::onnx()));
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
