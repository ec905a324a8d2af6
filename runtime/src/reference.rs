//! A small fixed network that is timed beside every model, so that a drift of the machine shows.
//!
//! It has the kinds of layers that searched networks have, and about 1.5 million
//! multiply-accumulates: long enough to time, short enough to repeat in every block.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use protobuf::MessageField;

use crate::protocol::probe_input;

/// The network as an ONNX file: the same bytes on every machine.
///
/// # Shapes
/// - image: `[1, 3, 32, 32]`
/// - scores: `[1, 10]`
pub fn onnx() -> Vec<u8> {
    let mut graph = Builder::default();
    graph.conv("stem", [16, 3, 3, 3], 1);
    graph.node("stem_relu", "Relu", &[]);
    graph.conv("depthwise1", [16, 1, 3, 3], 16);
    graph.conv("pointwise1", [32, 16, 1, 1], 1);
    graph.node("pointwise1_relu", "Relu", &[]);
    graph.node("max_pool", "MaxPool", &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])]);
    graph.conv("depthwise2", [32, 1, 5, 5], 32);
    graph.conv("pointwise2", [32, 32, 1, 1], 1);
    graph.node("pointwise2_relu", "Relu", &[]);
    graph.node("average_pool", "AveragePool", &[("kernel_shape", &[3, 3]), ("pads", &[1; 4])]);
    graph.node("global_pool", "GlobalAveragePool", &[]);
    graph.node("flatten", "Flatten", &[]);
    graph.linear("classifier", [10, 32]);
    let model = graph.finish();
    model.write_to_bytes().expect("a message of this size has an encoding")
}

/// Adds nodes in a chain; each reads the one before.
struct Builder {
    graph: GraphProto,
    last: String,
}

impl Default for Builder {
    fn default() -> Self {
        let graph = GraphProto { name: "reference".into(), ..Default::default() };
        Self { graph, last: "image".into() }
    }
}

impl Builder {
    /// A convolution that keeps the image's size. `weights`: `[out, in / groups, height, width]`.
    fn conv(&mut self, name: &str, weights: [i64; 4], groups: i64) {
        let pad = weights[2] / 2;
        self.node(name, "Conv", &[("kernel_shape", &weights[2..]), ("pads", &[pad; 4])]);
        let group =
            AttributeProto { name: "group".into(), i: groups, type_: AttributeType::INT.into(), ..Default::default() };
        self.last_node().attribute.push(group);
        self.weights(name, &weights);
    }

    /// `weights`: `[out, in]`.
    fn linear(&mut self, name: &str, weights: [i64; 2]) {
        self.node(name, "Gemm", &[]);
        let transposed =
            AttributeProto { name: "transB".into(), i: 1, type_: AttributeType::INT.into(), ..Default::default() };
        self.last_node().attribute.push(transposed);
        self.weights(name, &weights);
    }

    fn node(&mut self, name: &str, op: &str, lists: &[(&str, &[i64])]) {
        let attribute = |(name, list): &(&str, &[i64])| AttributeProto {
            name: (*name).into(),
            ints: list.to_vec(),
            type_: AttributeType::INTS.into(),
            ..Default::default()
        };
        let output = format!("{name}_out");
        self.graph.node.push(NodeProto {
            name: name.into(),
            op_type: op.into(),
            input: vec![std::mem::replace(&mut self.last, output.clone())],
            output: vec![output],
            attribute: lists.iter().map(attribute).collect(),
            ..Default::default()
        });
    }

    /// Gives the last node weights and a zero bias, scaled so that activations neither grow nor die.
    fn weights(&mut self, name: &str, dims: &[i64]) {
        let fan_in = dims[1..].iter().product::<i64>() as f32;
        let scale = (3.0 / fan_in).sqrt();
        let n = dims.iter().product::<i64>() as usize;
        let weights = probe_input(n).into_iter().map(|x| x * scale).collect();
        for (suffix, dims, data) in [("weight", dims, weights), ("bias", &dims[..1], vec![0.0; dims[0] as usize])] {
            let name = format!("{name}.{suffix}");
            self.last_node().input.push(name.clone());
            self.graph.initializer.push(TensorProto {
                name,
                dims: dims.to_vec(),
                data_type: FLOAT,
                float_data: data,
                ..Default::default()
            });
        }
    }

    fn last_node(&mut self) -> &mut NodeProto {
        self.graph.node.last_mut().expect("weights follow the node they belong to")
    }

    fn finish(mut self) -> ModelProto {
        self.graph.input = vec![tensor("image", &[1, 3, 32, 32])];
        self.graph.output = vec![tensor(&self.last, &[1, 10])];
        ModelProto {
            ir_version: 8,
            producer_name: "pipeline reference".into(),
            opset_import: vec![OperatorSetIdProto { version: 13, ..Default::default() }],
            graph: MessageField::some(self.graph),
            ..Default::default()
        }
    }
}

/// ONNX's number of the element type.
const FLOAT: i32 = 1;

fn tensor(name: &str, dims: &[i64]) -> ValueInfoProto {
    let mut info = ValueInfoProto { name: name.into(), ..Default::default() };
    let tensor = info.type_.mut_or_insert_default().mut_tensor_type();
    tensor.elem_type = FLOAT;
    for &dim in dims {
        let mut dimension = onnx_protobuf::tensor_shape_proto::Dimension::new();
        dimension.set_dim_value(dim);
        tensor.shape.mut_or_insert_default().dim.push(dimension);
    }
    info
}
