//! Reads ONNX messages into plain values, refusing what only a hostile or unusual file holds.

use std::collections::BTreeMap;

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::dimension;
use onnx_protobuf::{AttributeProto, Message, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};
use protobuf::Enum;

use super::{Limits, Rejected};

/// A model as its file says it, checked field by field but not yet as a graph.
pub(super) struct Network {
    pub ir_version: i64,
    pub opset: i64,
    pub producer: String,
    pub metadata: BTreeMap<String, String>,
    /// Every graph input, those that an initializer answers included.
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
    pub nodes: Vec<Node>,
    pub initializers: Vec<(String, Constant)>,
}

/// A graph input or output.
pub(super) struct Value {
    pub name: String,
    /// Element type, by ONNX's number.
    pub dtype: i32,
    pub dims: Option<Vec<Dim>>,
}

/// One dimension of a graph input or output.
pub(super) enum Dim {
    Fixed(i64),
    Symbol(String),
    Unknown,
}

pub(super) struct Node {
    /// Its name, or its operator and place where it has none.
    pub label: String,
    pub op: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: BTreeMap<String, Attribute>,
}

/// An attribute of a node.
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float,
    Floats(usize),
    Text(String),
    Tensor(Constant),
}

/// A tensor that the file holds. Its numbers stay there, except those that may be a shape.
#[derive(Clone)]
pub(super) struct Constant {
    pub dtype: i32,
    pub dims: Vec<usize>,
    pub bytes: u64,
    /// The numbers of a short integer tensor: it may be a shape, axes or sizes.
    pub ints: Option<Vec<i64>>,
    /// The numbers of a short float tensor: it may be scales.
    pub floats: Option<Vec<f32>>,
}

pub(super) const FLOAT: i32 = 1;
pub(super) const INT64: i32 = 7;
const INT32: i32 = 6;

/// Longest constant that may stand for a shape.
pub(super) const SHAPE_LENGTH: usize = 64;

/// Longest name of a node, value or operator, in bytes.
const NAME_LENGTH: usize = 1024;

/// Decodes and checks every field on its own.
pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Network, Rejected> {
    let model = ModelProto::parse_from_bytes(bytes)
        .map_err(|error| Rejected::new("file", "its bytes", format!("are not an ONNX model: {error}")))?;
    let whole = |what: &str, why: &str| Err(Rejected::new(what, "the model", why));
    if !model.functions.is_empty() {
        return whole("functions", "holds functions of its own; export it with them inlined");
    }
    if !model.training_info.is_empty() {
        return whole("training", "holds training graphs; export it for inference");
    }
    let Some(graph) = model.graph.into_option() else {
        return whole("graph", "holds no graph");
    };
    if !graph.sparse_initializer.is_empty() {
        return whole("sparse tensors", "holds sparse initializers; export it with dense ones");
    }
    let counts = [
        ("nodes", graph.node.len(), limits.nodes),
        ("initializers", graph.initializer.len(), limits.initializers),
        ("metadata", model.metadata_props.len(), limits.nodes),
    ];
    for (what, n, most) in counts {
        if n > most {
            return Err(Rejected::new(what, "the model", format!("are {n}, more than {most}")));
        }
    }
    let opset = model.opset_import.iter().filter(|set| is_onnx(&set.domain)).map(|set| set.version).collect::<Vec<_>>();
    let [opset] = opset[..] else {
        return whole("opset", "must import ONNX's own operators exactly once");
    };

    let mut initializers = Vec::with_capacity(graph.initializer.len());
    for tensor in &graph.initializer {
        checked_name(&tensor.name, "an initializer")?;
        let where_ = format!("initializer {:?}", tensor.name);
        initializers.push((tensor.name.clone(), constant(tensor, &where_, limits)?));
    }
    let mut nodes = Vec::with_capacity(graph.node.len());
    for (idx, raw) in graph.node.into_iter().enumerate() {
        nodes.push(node(idx, raw, limits)?);
    }
    Ok(Network {
        ir_version: model.ir_version,
        opset,
        producer: [model.producer_name, model.producer_version].join(" ").trim().to_owned(),
        metadata: model.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        inputs: graph.input.iter().map(value).collect::<Result<_, _>>()?,
        outputs: graph.output.iter().map(value).collect::<Result<_, _>>()?,
        nodes,
        initializers,
    })
}

fn node(idx: usize, raw: NodeProto, limits: &Limits) -> Result<Node, Rejected> {
    for name in raw.input.iter().chain(&raw.output).chain([&raw.name, &raw.op_type]) {
        if name.len() > NAME_LENGTH {
            return Err(Rejected::new("name", format!("node {idx}"), format!("is longer than {NAME_LENGTH} bytes")));
        }
    }
    let label =
        if raw.name.is_empty() { format!("{} (node {idx})", raw.op_type) } else { format!("node {:?}", raw.name) };
    if !is_onnx(&raw.domain) {
        let why = format!("is of domain {:?}; only ONNX's own operators run", raw.domain);
        return Err(Rejected::new("operator", label, why));
    }
    let mut attributes = BTreeMap::new();
    for raw in &raw.attribute {
        let read = attribute(raw, &label, limits)?;
        if attributes.insert(raw.name.clone(), read).is_some() {
            return Err(Rejected::new("attribute", label, format!("{} is given twice", raw.name)));
        }
    }
    Ok(Node { label, op: raw.op_type, inputs: raw.input, outputs: raw.output, attributes })
}

fn attribute(raw: &AttributeProto, label: &str, limits: &Limits) -> Result<Attribute, Rejected> {
    let refuse = |why: String| Err(Rejected::new("attribute", label, format!("{} {why}", raw.name)));
    if !raw.ref_attr_name.is_empty() {
        return refuse("refers to a function's attribute outside any function".into());
    }
    let Ok(kind) = raw.type_.enum_value() else {
        return refuse("has an unknown type".into());
    };
    Ok(match kind {
        AttributeType::INT => Attribute::Int(raw.i),
        AttributeType::INTS => Attribute::Ints(raw.ints.clone()),
        AttributeType::FLOAT if raw.f.is_finite() => Attribute::Float,
        AttributeType::FLOAT => return refuse(format!("is {}", raw.f)),
        AttributeType::FLOATS => Attribute::Floats(raw.floats.len()),
        AttributeType::STRING => match std::str::from_utf8(&raw.s) {
            Ok(text) => Attribute::Text(text.to_owned()),
            Err(_) => return refuse("is not UTF-8".into()),
        },
        AttributeType::TENSOR => match raw.t.as_ref() {
            Some(tensor) => Attribute::Tensor(constant(tensor, label, limits)?),
            None => return refuse("is a tensor that is not there".into()),
        },
        AttributeType::UNDEFINED
        | AttributeType::GRAPH
        | AttributeType::SPARSE_TENSOR
        | AttributeType::TYPE_PROTO
        | AttributeType::STRINGS
        | AttributeType::TENSORS
        | AttributeType::GRAPHS
        | AttributeType::SPARSE_TENSORS
        | AttributeType::TYPE_PROTOS => return refuse(format!("is of kind {kind:?}, which no image network needs")),
    })
}

fn constant(tensor: &TensorProto, where_: &str, limits: &Limits) -> Result<Constant, Rejected> {
    let refuse = |what: &str, why: String| Err(Rejected::new(what, where_, why));
    if !tensor.external_data.is_empty() || tensor.data_location.value() != 0 {
        return refuse("external data", "lies outside the file; export the weights inside it".into());
    }
    if tensor.segment.is_some() {
        return refuse("data", "is one segment of a tensor".into());
    }
    let Some(width) = element_bytes(tensor.data_type) else {
        return refuse("data type", format!("{} is not one that runs", dtype_name(tensor.data_type)));
    };
    if tensor.dims.len() > limits.rank {
        return refuse("dims", format!("are {}, more than {}", tensor.dims.len(), limits.rank));
    }
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let Some(dims) = dims else {
        return refuse("dims", format!("{:?} hold a negative one", tensor.dims));
    };
    let bytes = dims.iter().try_fold(width, |bytes, &dim| bytes.checked_mul(dim.max(1) as u64));
    let Some(bytes) = bytes.filter(|&bytes| bytes <= limits.initializer_bytes) else {
        return refuse("dims", format!("{dims:?} are more than {} bytes", limits.initializer_bytes));
    };
    let bytes = if dims.contains(&0) { 0 } else { bytes };
    let typed = [
        (tensor.float_data.len(), tensor.data_type == FLOAT),
        (tensor.int32_data.len(), matches!(tensor.data_type, 2..=6 | 9 | 10)),
        (tensor.int64_data.len(), tensor.data_type == INT64),
        (tensor.double_data.len(), tensor.data_type == 11),
        (tensor.uint64_data.len(), matches!(tensor.data_type, 12 | 13)),
        (tensor.string_data.len(), false),
    ];
    if typed.iter().any(|&(n, fits)| n > 0 && !fits) {
        return refuse("data", "stands in a field of another type".into());
    }
    let n_typed = typed.iter().map(|(n, _)| n).sum::<usize>() as u64;
    let present = if tensor.raw_data.is_empty() { n_typed.saturating_mul(width) } else { tensor.raw_data.len() as u64 };
    if present != bytes || (n_typed > 0 && !tensor.raw_data.is_empty()) {
        return refuse("data", format!("is {present} bytes where dims {dims:?} need {bytes}"));
    }
    let is_short = bytes <= width * SHAPE_LENGTH as u64;
    let ints = if is_short { ints(tensor) } else { None };
    let floats = if is_short { floats(tensor) } else { None };
    Ok(Constant { dtype: tensor.data_type, dims, bytes, ints, floats })
}

/// The numbers of an integer tensor whose data was checked to be whole.
fn ints(tensor: &TensorProto) -> Option<Vec<i64>> {
    let raw = &tensor.raw_data;
    match tensor.data_type {
        INT32 if raw.is_empty() => Some(tensor.int32_data.iter().map(|&x| i64::from(x)).collect()),
        INT32 => Some(raw.as_chunks().0.iter().map(|&bytes| i64::from(i32::from_le_bytes(bytes))).collect()),
        INT64 if raw.is_empty() => Some(tensor.int64_data.clone()),
        INT64 => Some(raw.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()),
        _ => None,
    }
}

/// The numbers of a float tensor whose data was checked to be whole.
fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    match tensor.data_type {
        FLOAT if tensor.raw_data.is_empty() => Some(tensor.float_data.clone()),
        FLOAT => Some(tensor.raw_data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()),
        _ => None,
    }
}

fn value(info: &ValueInfoProto) -> Result<Value, Rejected> {
    checked_name(&info.name, "a graph input or output")?;
    let where_ = format!("value {:?}", info.name);
    let Some(type_proto::Value::TensorType(tensor)) = info.type_.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Err(Rejected::new("type", where_, "is not a tensor"));
    };
    let dims = tensor.shape.as_ref().map(|shape| {
        let dims = shape.dim.iter().map(|dim| match &dim.value {
            Some(dimension::Value::DimValue(n)) => Dim::Fixed(*n),
            Some(dimension::Value::DimParam(symbol)) => Dim::Symbol(symbol.clone()),
            Some(_) | None => Dim::Unknown, // the generated enum is open
        });
        dims.collect::<Vec<_>>()
    });
    Ok(Value { name: info.name.clone(), dtype: tensor.elem_type, dims })
}

fn checked_name(name: &str, what: &str) -> Result<(), Rejected> {
    match name.len() {
        0 => Err(Rejected::new("name", what, "is empty")),
        1..=NAME_LENGTH => Ok(()),
        _ => Err(Rejected::new("name", what, format!("is longer than {NAME_LENGTH} bytes"))),
    }
}

fn is_onnx(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Bytes of one element of a type that may run, by ONNX's number.
pub(super) fn element_bytes(dtype: i32) -> Option<u64> {
    match dtype {
        2 | 3 | 9 => Some(1),   // uint8, int8, bool
        4 | 5 | 10 => Some(2),  // uint16, int16, float16
        1 | 6 | 12 => Some(4),  // float, int32, uint32
        7 | 11 | 13 => Some(8), // int64, double, uint64
        _ => None,
    }
}

/// ONNX's name of an element type.
pub(super) fn dtype_name(dtype: i32) -> String {
    match onnx_protobuf::tensor_proto::DataType::from_i32(dtype) {
        Some(kind) => format!("{kind:?}").to_lowercase(),
        None => format!("type {dtype}"),
    }
}
