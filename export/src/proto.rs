//! The messages of an ONNX file; the one file that names `onnx-protobuf`.

use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
    tensor_shape_proto, type_proto,
};
use protobuf::MessageField;

use crate::{ExportError, Metadata};

/// The operators' version. 13 is old enough for every runtime in use and new enough for all we say.
const OPSET: i64 = 13;
/// The file format's version that was released with opset 13.
const IR_VERSION: i64 = 7;

/// An ONNX file being written, in execution order.
pub(crate) struct File {
    graph: GraphProto,
}

/// A named constant of a node.
pub(crate) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
    Tensor(Tensor),
}

/// Row-major `f32` values and their axes; no axes for a scalar.
pub(crate) struct Tensor {
    pub(crate) dims: Vec<usize>,
    pub(crate) raw: Vec<u8>,
}

impl Tensor {
    pub(crate) fn new(dims: Vec<usize>, values: &[f32]) -> Self {
        let mut raw = Vec::with_capacity(4 * values.len());
        for value in values {
            raw.extend_from_slice(&value.to_le_bytes());
        }
        Self { dims, raw }
    }

    fn proto(self, name: &str) -> TensorProto {
        TensorProto {
            name: name.to_owned(),
            dims: integers(&self.dims),
            data_type: DataType::FLOAT as i32,
            raw_data: self.raw,
            ..TensorProto::default()
        }
    }
}

impl File {
    pub(crate) fn new() -> Self {
        Self { graph: GraphProto { name: "network".to_owned(), ..GraphProto::default() } }
    }

    /// Declares the file's input value; the batch axis is among `dims`.
    pub(crate) fn input(&mut self, value: &str, dims: &[usize]) {
        self.graph.input.push(value_info(value, dims));
    }

    /// Declares the file's output value; the batch axis is among `dims`.
    pub(crate) fn output(&mut self, value: &str, dims: &[usize]) {
        self.graph.output.push(value_info(value, dims));
    }

    /// Stores a constant under the value name `value`.
    pub(crate) fn constant(&mut self, value: &str, tensor: Tensor) {
        self.graph.initializer.push(tensor.proto(value));
    }

    /// Stores a list of integers under the value name `value`.
    pub(crate) fn integers(&mut self, value: &str, integers: &[i64]) {
        self.graph.initializer.push(TensorProto {
            name: value.to_owned(),
            dims: vec![integers.len() as i64],
            data_type: DataType::INT64 as i32,
            raw_data: integers.iter().flat_map(|it| it.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }

    /// Adds a node called `name` that reads `inputs` and makes `output`, all names of values.
    pub(crate) fn node(
        &mut self,
        name: &str,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) {
        self.graph.node.push(NodeProto {
            name: name.to_owned(),
            op_type: operator.to_owned(),
            input: inputs.iter().map(|&it| it.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute: attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
            ..NodeProto::default()
        });
    }

    /// The file's bytes.
    pub(crate) fn finish(self, metadata: &Metadata) -> Result<Vec<u8>, ExportError> {
        let entry = |(key, value): (&String, &String)| StringStringEntryProto {
            key: key.clone(),
            value: value.clone(),
            ..StringStringEntryProto::default()
        };
        let model = ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto { version: OPSET, ..OperatorSetIdProto::default() }],
            producer_name: "pipeline".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: MessageField::some(self.graph),
            metadata_props: metadata.entries.iter().map(entry).collect(),
            ..ModelProto::default()
        };
        model.write_to_bytes().map_err(|error| ExportError::Write(error.to_string()))
    }
}

fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    proto.type_ = match value {
        Attribute::Int(int) => {
            proto.i = int;
            AttributeType::INT
        }
        Attribute::Ints(ints) => {
            proto.ints = ints;
            AttributeType::INTS
        }
        Attribute::Float(float) => {
            proto.f = float;
            AttributeType::FLOAT
        }
        Attribute::Text(text) => {
            proto.s = text.as_bytes().to_vec();
            AttributeType::STRING
        }
        Attribute::Tensor(tensor) => {
            proto.t = MessageField::some(tensor.proto(""));
            AttributeType::TENSOR
        }
    }
    .into();
    proto
}

/// A value's name with its type, `f32`, and its fixed axes.
fn value_info(name: &str, dims: &[usize]) -> ValueInfoProto {
    let dim = |size: i64| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(size)),
        ..tensor_shape_proto::Dimension::default()
    };
    let shape = TensorShapeProto { dim: integers(dims).into_iter().map(dim).collect(), ..TensorShapeProto::default() };
    let tensor = type_proto::Tensor {
        elem_type: DataType::FLOAT as i32,
        shape: MessageField::some(shape),
        ..type_proto::Tensor::default()
    };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), type_: MessageField::some(kind), ..ValueInfoProto::default() }
}

/// Sizes as the format wants them; no size of a tensor in memory exceeds `i64`.
pub(crate) fn integers(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| size as i64).collect()
}
