//! What stands in an exported file, operation by operation.

use export::{ExportError, Metadata, onnx, placeholder_weights};
use graph::{Activation, Conv2d, Graph, NodeId, Op, Pads, Pool2d, Shape, Table};
use onnx_protobuf::{AttributeProto, AttributeValue, Message, ModelProto, NodeProto, TensorProto};

#[path = "../../graph/tests/common/mod.rs"]
mod common;

const MAP: Shape = Shape::Map([4, 8, 8]);

/// `image -> op -> relu`: what stands in the middle has neither the input's nor the output's name.
fn between(op: Op, input: Shape, n_inputs: usize) -> Graph {
    let mut graph = Graph::default();
    let image = graph.input(input);
    let inputs = vec![image; n_inputs];
    let layer = graph.within(("cell", 1), |graph| graph.add("layer", op, &inputs)).expect("the shapes fit");
    graph.add("relu", Op::Activation(Activation::Relu), &[layer]).expect("the shapes fit");
    graph
}

fn decode(graph: &Graph) -> ModelProto {
    let weights = placeholder_weights(graph, 0);
    let bytes = onnx(graph, &weights, &Metadata::default()).expect("the network is complete");
    ModelProto::parse_from_bytes(&bytes).expect("it is a protocol buffer")
}

/// `Conv cell1/layer(image, n1.weight) -> n1 {group: 1}`, one string a node.
fn lines(model: &ModelProto) -> Vec<String> {
    let attribute = |it: &AttributeProto| match it.as_value() {
        AttributeValue::Integer64(value) => format!("{}: {value}", it.name),
        AttributeValue::Integer64s(values) => format!("{}: {values:?}", it.name),
        AttributeValue::Float32(value) => format!("{}: {value}", it.name),
        AttributeValue::String(text) => format!("{}: {}", it.name, String::from_utf8_lossy(text)),
        AttributeValue::Tensor(tensor) => format!("{}: {}", it.name, zeros(tensor)),
        _ => panic!("{} is of a kind that no operator needs", it.name),
    };
    let line = |node: &NodeProto| {
        let attributes: Vec<String> = node.attribute.iter().map(attribute).collect();
        let (inputs, outputs) = (node.input.join(", "), node.output.join(", "));
        format!("{} {}({inputs}) -> {outputs} {{{}}}", node.op_type, node.name, attributes.join(", "))
    };
    model.graph.node.iter().map(line).collect()
}

fn zeros(tensor: &TensorProto) -> String {
    assert!(tensor.raw_data.iter().all(|&byte| byte == 0));
    format!("{} zero bytes as {:?}", tensor.raw_data.len(), tensor.dims)
}

/// Constants of the file: name and axes.
fn constants(model: &ModelProto) -> Vec<(&str, &[i64])> {
    model.graph.initializer.iter().map(|it| (it.name.as_str(), it.dims.as_slice())).collect()
}

#[track_caller]
fn check(op: Op, input: Shape, n_inputs: usize, expected: &[&str], stored: &[(&str, &[i64])]) {
    let model = decode(&between(op, input, n_inputs));
    let lines = lines(&model);
    let (last, before) = lines.split_last().expect("a relu comes last");
    assert_eq!(before, expected);
    assert_eq!(last, "Relu relu(n1) -> logits {}");
    assert_eq!(constants(&model), stored);
}

#[test]
fn weighted_operations() {
    let conv = Conv2d {
        channels: 6,
        kernel: [3, 2],
        stride: [2, 1],
        dilation: [1, 2],
        pads: Pads { top: 1, left: 2, bottom: 3, right: 4 },
        groups: 2,
        bias: true,
        fixed: false,
    };
    let attributes = "{kernel_shape: [3, 2], strides: [2, 1], pads: [1, 2, 3, 4], dilations: [1, 2], group: 2}";
    let line = format!("Conv cell1/layer(image, n1.weight, n1.bias) -> n1 {attributes}");
    check(Op::Conv2d(conv), MAP, 1, &[&line], &[("n1.weight", &[6, 2, 3, 2]), ("n1.bias", &[6])]);
    let line = format!("Conv cell1/layer(image, n1.weight) -> n1 {attributes}");
    check(Op::Conv2d(Conv2d { bias: false, ..conv }), MAP, 1, &[&line], &[("n1.weight", &[6, 2, 3, 2])]);

    let line = "Gemm cell1/layer(image, n1.weight, n1.bias) -> n1 {transB: 1}";
    check(Op::Linear(5), Shape::Vector(3), 1, &[line], &[("n1.weight", &[5, 3]), ("n1.bias", &[5])]);

    let line = "BatchNormalization cell1/layer(image, n1.gamma, n1.beta, n1.mean, n1.var) -> n1 {epsilon: 0.00001}";
    let four = [("n1.gamma", [4].as_slice()), ("n1.beta", &[4]), ("n1.mean", &[4]), ("n1.var", &[4])];
    check(Op::BatchNorm, MAP, 1, &[line], &four);
}

#[test]
fn activations() {
    let row = |it, expected: &[&str], stored: &[(&str, &[i64])]| check(Op::Activation(it), MAP, 1, expected, stored);
    row(Activation::Relu, &["Relu cell1/layer(image) -> n1 {}"], &[]);
    let limits = [("relu6.min", [].as_slice()), ("relu6.max", &[])];
    row(Activation::Relu6, &["Clip cell1/layer(image, relu6.min, relu6.max) -> n1 {}"], &limits);
    row(Activation::Elu, &["Elu cell1/layer(image) -> n1 {alpha: 1}"], &[]);
    row(Activation::Selu, &["Selu cell1/layer(image) -> n1 {alpha: 1.6732632, gamma: 1.050701}"], &[]);
    let gated = ["Sigmoid cell1/layer.sigmoid(image) -> n1.gate {}", "Mul cell1/layer(image, n1.gate) -> n1 {}"];
    row(Activation::Swish, &gated, &[]);
    row(Activation::Tanh, &["Tanh cell1/layer(image) -> n1 {}"], &[]);
    row(Activation::Sigmoid, &["Sigmoid cell1/layer(image) -> n1 {}"], &[]);
    let turned = ["Neg cell1/layer.neg(image) -> n1.neg {}", "Relu cell1/layer(n1.neg) -> n1 {}"];
    row(Activation::NegativeRelu, &turned, &[]);
    row(Activation::Square, &["Mul cell1/layer(image, image) -> n1 {}"], &[]);
    row(Activation::Log, &["Log cell1/layer(image) -> n1 {}"], &[]);
}

#[test]
fn operations_without_weights() {
    let row = |op, n_inputs, expected: &[&str]| check(op, MAP, n_inputs, expected, &[]);
    let pads = Pads { top: 0, left: 1, bottom: 2, right: 0 };
    let pool = Pool2d { kernel: [3, 2], stride: [1, 2], pads };
    let window = "kernel_shape: [3, 2], strides: [1, 2], pads: [0, 1, 2, 0]";
    row(Op::MaxPool(pool), 1, &[&format!("MaxPool cell1/layer(image) -> n1 {{{window}}}")]);
    let average = format!("AveragePool cell1/layer(image) -> n1 {{{window}, count_include_pad: 0}}");
    row(Op::AvgPool(pool), 1, &[&average]);
    let mean =
        ["GlobalAveragePool cell1/layer(image) -> n1.mean {}", "Flatten cell1/layer.flatten(n1.mean) -> n1 {axis: 1}"];
    row(Op::GlobalAvgPool, 1, &mean);
    row(Op::Add, 2, &["Add cell1/layer(image, image) -> n1 {}"]);
    row(Op::Add, 3, &["Sum cell1/layer(image, image, image) -> n1 {}"]);
    row(Op::Mul, 2, &["Mul cell1/layer(image, image) -> n1 {}"]);
    row(Op::Sub, 2, &["Sub cell1/layer(image, image) -> n1 {}"]);
    row(Op::Mean, 3, &["Mean cell1/layer(image, image, image) -> n1 {}"]);
    row(Op::Concat, 2, &["Concat cell1/layer(image, image) -> n1 {axis: 1}"]);
    row(Op::ChannelsLast, 1, &["Transpose cell1/layer(image) -> n1 {perm: [0, 2, 3, 1]}"]);
    let resized =
        "Resize cell1/layer(image, , , n1.sizes) -> n1 {mode: linear, coordinate_transformation_mode: half_pixel}";
    check(Op::Resize([5, 16]), MAP, 1, &[resized], &[("n1.sizes", &[4])]);
    let sliced = "Slice cell1/layer(image, n1.starts, n1.ends, n1.axes) -> n1 {}";
    let bounds: [(&str, &[i64]); 3] = [("n1.starts", &[1]), ("n1.ends", &[1]), ("n1.axes", &[1])];
    check(Op::Slice { from: 1, channels: 2 }, MAP, 1, &[sliced], &bounds);
    row(Op::Zero(3), 1, &["Constant cell1/layer() -> n1 {value: 144 zero bytes as [1, 4, 3, 3]}"]);
}

/// One step: what is remembered comes in and goes out, and the number of a word is cut off at the ends of the table.
#[test]
fn a_recurrent_network_is_one_step() {
    let mut graph = Graph::default();
    let word = graph.input(Shape::Vector(1));
    let memory = graph.memory("h", 3);
    let table = Table { words: 7, features: 3 };
    let row = graph.add("embed", Op::Embed(table), &[word]).expect("the shapes fit");
    let sum = graph.add("sum", Op::Add, &[row, memory]).expect("the shapes fit");
    graph.remember(memory, sum).expect("the shapes are the same");
    let decoded = decode(&graph);
    let expected = [
        "Clip embed.clip(word_in, n2.first, n2.last) -> n2.within {}",
        "Cast embed.cast(n2.within) -> n2.number {to: 7}",
        "Gather embed(n2.weight, n2.number) -> n2.row {axis: 0}",
        "Flatten embed.flatten(n2.row) -> n2 {axis: 1}",
        "Add sum(n2, memory0_in) -> logits {}",
        "Identity h.next(logits) -> memory0_out {}",
    ];
    assert_eq!(lines(&decoded), expected);
}

#[test]
fn what_training_needed_is_gone() {
    let mut graph = Graph::default();
    let image = graph.input(MAP);
    let mut add = |label, op, inputs: &[NodeId]| graph.add(label, op, inputs).expect("the shapes fit");
    let conv = add("conv", Op::Conv2d(Conv2d::same(4, 1, 1)), &[image]);
    let norm = add("norm", Op::BatchNorm, &[conv]);
    let skip = add("skip", Op::Identity, &[norm]);
    add("sum", Op::Add, &[norm, skip]);
    let conv = "Conv conv(image, n1.weight, n1.bias) -> n1 {kernel_shape: [1, 1], strides: [1, 1], \
                pads: [0, 0, 0, 0], dilations: [1, 1], group: 1}";
    assert_eq!(lines(&decode(&graph)), [conv, "Add sum(n1, n1) -> logits {}"]);
}

#[test]
fn an_output_is_always_made_by_a_node() {
    let mut graph = Graph::default();
    let image = graph.input(MAP);
    assert_eq!(lines(&decode(&graph)), ["Identity output(image) -> logits {}"]);
    graph.add("skip", Op::Identity, &[image]).expect("the shapes fit");
    assert_eq!(lines(&decode(&graph)), ["Identity skip(image) -> logits {}"]);
    graph.add("none", Op::Zero(8), &[image]).expect("the shapes fit");
    let last = lines(&decode(&graph)).pop();
    assert_eq!(last.as_deref(), Some("Constant none() -> logits {value: 16 zero bytes as [1, 4, 1, 1]}"));
}

#[test]
fn the_file_says_what_it_is() {
    let model = decode(&common::networks::mlperf_tiny_resnet8());
    let versions: Vec<i64> = model.opset_import.iter().map(|it| it.version).collect();
    assert_eq!((model.ir_version, versions.as_slice()), (7, [13].as_slice()));
    assert_eq!(model.producer_name, "pipeline");
    let values = |it: &[onnx_protobuf::ValueInfoProto]| -> Vec<(String, Vec<i64>)> {
        let axes = |it: &onnx_protobuf::ValueInfoProto| {
            let tensor = it.type_.tensor_type();
            assert_eq!(tensor.elem_type, 1, "f32");
            tensor.shape.dim.iter().map(|axis| axis.dim_value()).collect()
        };
        it.iter().map(|it| (it.name.clone(), axes(it))).collect()
    };
    assert_eq!(values(&model.graph.input), [("image".to_owned(), vec![1, 3, 32, 32])]);
    assert_eq!(values(&model.graph.output), [("logits".to_owned(), vec![1, 10])]);
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let refuse = |graph: &Graph, edit: &dyn Fn(&mut graph::weights::Weights)| -> ExportError {
        let mut weights = placeholder_weights(graph, 0);
        edit(&mut weights);
        onnx(graph, &weights, &Metadata::default()).expect_err("something is wrong with it")
    };
    assert!(matches!(refuse(&Graph::default(), &|_| {}), ExportError::Inputs { found: 0 }));
    let mut two = Graph::default();
    let pair = [two.input(MAP), two.input(MAP)];
    two.add("sum", Op::Add, &pair).expect("the shapes fit");
    assert!(matches!(refuse(&two, &|_| {}), ExportError::Inputs { found: 2 }));

    let relu = Op::Activation(Activation::Relu);
    let mut twins = Graph::default();
    let image = twins.input(MAP);
    twins.add("relu", relu, &[image]).expect("the shapes fit");
    twins.add("relu", relu, &[image]).expect("the shapes fit");
    assert_eq!(refuse(&twins, &|_| {}).to_string(), "two nodes are called relu; give each its own label or scope");

    let graph = common::networks::mlperf_tiny_resnet8();
    let missing = refuse(&graph, &|weights| {
        weights.tensors.remove("stack1/first/norm.var");
    });
    assert!(missing.to_string().contains("stack1/first/norm.var"), "{missing}");
    // A variance below zero makes its convolution's folded weights not a number.
    let diverged = refuse(&graph, &|weights| {
        weights.tensors.get_mut("stem/norm.var").expect("it is there").values[3] = -1.0;
    });
    assert!(matches!(&diverged, ExportError::NotFinite { key, .. } if key == "stem/conv.weight"), "{diverged}");
}
