//! Changes to a model that keep it a model.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, ModelProto};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::tensor;

/// One change to a model that keeps it a model.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Operator { node: Index, op: &'static str },
    Input { node: Index, input: Index, from: Index },
    Attribute { node: Index, name: &'static str, value: Value },
    Drop { node: Index, attribute: Index },
    Weight { initializer: Index, dim: Index, size: i64 },
    Swap { initializer: Index, dims: (Index, Index) },
    Image { dim: Index, size: i64 },
    Type(i32),
    Opset(i64),
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(i64),
    Ints(Vec<i64>),
    Text(&'static str),
}

/// Operators that run, a few that do not, and none.
const OPERATORS: &str = "\
    Relu HardSigmoid HardSwish Elu Selu Celu Gelu Mish Softplus Erf Sqrt Not Identity Softmax LogSoftmax LRN Clip \
    Dropout BatchNormalization InstanceNormalization GroupNormalization LayerNormalization Add Div Pow PRelu Equal \
    Where Sum Mean Max Conv MaxPool AveragePool GlobalAveragePool GlobalMaxPool Gemm MatMul Flatten Reshape \
    Transpose Squeeze Unsqueeze Concat Split Slice Gather Pad Shape Constant ConstantOfShape Expand Tile Resize \
    DepthToSpace SpaceToDepth ReduceMean ReduceL2 ArgMax QuantizeLinear DequantizeLinear Cast Loop ConvTranspose \
    Sigmoid Mul Sub Log Tanh LeakyRelu Min ReduceSum ArgMin Sin Floor Round And Greater ReduceMax";

/// Attributes, and none.
const ATTRIBUTES: &str = "\
    kernel_shape strides dilations pads group auto_pad ceil_mode count_include_pad axis axes perm keepdims transA \
    transB split starts ends size blocksize mode num_groups num_outputs to value_ints start end \
    coordinate_transformation_mode output_padding allowzero is_test alpha approximate noop_with_empty_axes \
    select_last_index";

/// Values of attributes, and none.
const WORDS: &str = "\
    NOTSET SAME_UPPER SAME_LOWER VALID constant reflect edge linear nearest DCR CRD wrap cubic half_pixel \
    asymmetric align_corners tanh";

fn word(list: &'static str) -> impl Strategy<Value = &'static str> {
    prop::sample::select(list.split(' ').chain([""]).collect::<Vec<_>>())
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![6 => -3..8i64, 2 => 8..100i64, 1 => prop::sample::select(vec![i64::MIN, i64::MAX, 1 << 31, 4096])]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => number().prop_map(Value::Int),
        3 => prop::collection::vec(number(), 0..6).prop_map(Value::Ints),
        1 => word(WORDS).prop_map(Value::Text),
    ]
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        3 => (at(), word(OPERATORS)).prop_map(|(node, op)| Edit::Operator { node, op }),
        2 => (at(), at(), at()).prop_map(|(node, input, from)| Edit::Input { node, input, from }),
        4 => (at(), word(ATTRIBUTES), value())
            .prop_map(|(node, name, value)| Edit::Attribute { node, name, value }),
        1 => (at(), at()).prop_map(|(node, attribute)| Edit::Drop { node, attribute }),
        1 => (at(), at(), number()).prop_map(|(initializer, dim, size)| Edit::Weight { initializer, dim, size }),
        1 => (at(), (at(), at())).prop_map(|(initializer, dims)| Edit::Swap { initializer, dims }),
        1 => (at(), number()).prop_map(|(dim, size)| Edit::Image { dim, size }),
        1 => (1..14i32).prop_map(Edit::Type),
        1 => (6..26i64).prop_map(Edit::Opset),
    ]
}

/// Constants that an edit may make the shape, axes or sizes of something.
pub(crate) fn offer_shapes(model: &mut ModelProto) {
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

pub(crate) fn apply(model: &mut ModelProto, edit: Edit) {
    let opset = &mut model.opset_import[0].version;
    let graph = model.graph.mut_or_insert_default();
    match edit {
        Edit::Operator { node, op } => {
            let node = node.get_mut(&mut graph.node);
            node.op_type = op.into();
            // Most would be refused for attributes of the operator before.
            node.attribute.clear();
        }
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
            if constant.dims.is_empty() {
                return;
            }
            *dim.get_mut(&mut constant.dims) = size;
            let n = constant.dims.iter().try_fold(1i64, |n, &dim| n.checked_mul(dim)).unwrap_or(0).clamp(0, 100_000);
            match constant.data_type {
                1 => constant.float_data = vec![0.5; n as usize],
                _ => constant.int64_data.resize(n as usize, 1),
            }
        }
        Edit::Swap { initializer, dims: (a, b) } => {
            let dims = &mut initializer.get_mut(&mut graph.initializer).dims;
            if dims.is_empty() {
                return;
            }
            let (a, b) = (a.index(dims.len()), b.index(dims.len()));
            dims.swap(a, b);
        }
        Edit::Image { dim, size } => {
            let image = graph.input[0].type_.mut_or_insert_default().mut_tensor_type();
            let dims = &mut image.shape.mut_or_insert_default().dim;
            if !dims.is_empty() {
                dim.get_mut(dims).set_dim_value(size);
            }
        }
        Edit::Type(dtype) => graph.input[0].type_.mut_or_insert_default().mut_tensor_type().elem_type = dtype,
        Edit::Opset(version) => *opset = version,
    }
}
