//! The gate before the engine: what it admits, what it refuses and how it says so, and that nothing crashes it.

mod common;

use common::{attribute, cnn, model_files, node, tensor, value};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{GraphProto, Message, ModelProto, NodeProto, StringStringEntryProto};
use runtime::reference;
use runtime::validate::{Limits, Rejected, validate};

fn admit(model: &ModelProto) -> Result<(), Rejected> {
    validate(&model.write_to_bytes().expect("small"), &Limits::default()).map(drop)
}

#[test]
fn says_what_a_model_holds() {
    let info = validate(&reference::onnx(), &Limits::default()).expect("the reference network is sound");
    assert_eq!((info.ir_version, info.opset, info.nodes), (8, 13, 13));
    assert_eq!(info.producer, "pipeline reference");
    assert_eq!((info.inputs[0].name.as_str(), &info.inputs[0].shape[..]), ("image", &[1, 3, 32, 32][..]));
    assert_eq!(info.outputs[0].shape, [1, 10]);
    assert_eq!((info.ops["Conv"], info.ops["Relu"], info.ops["Gemm"]), (5, 3, 1));
    // Weights and biases of the stem, two depthwise-pointwise pairs and the classifier.
    let parameters = (16 * 27 + 16) + (16 * 9 + 16) + (32 * 16 + 32) + (32 * 25 + 32) + (32 * 32 + 32) + (320 + 10);
    assert_eq!((info.parameters, info.initializer_bytes), (parameters, 4 * parameters));
    let (large, small) = (32 * 32, 16 * 16);
    let macs = large * 16 * 27 + large * 16 * 9 + large * 32 * 16 + small * 32 * 25 + small * 32 * 32 + 320;
    assert_eq!(info.macs, macs);
    // The first rectifier's 32x32x32 output beside its input.
    assert_eq!(info.activation_bytes, 4 * 2 * 32 * large);
}

#[test]
fn admits_ordinary_networks() {
    let check = |what: &str, edit: fn(&mut GraphProto)| {
        let mut model = cnn();
        edit(model.graph.mut_or_insert_default());
        assert_eq!(admit(&model), Ok(()), "{what}");
    };
    check("as built", |_| {});
    check("nodes in another order", |graph| graph.node.reverse());
    check("a symbolic batch", |graph| {
        let dim =
            &mut graph.input[0].type_.mut_or_insert_default().mut_tensor_type().shape.mut_or_insert_default().dim[0];
        dim.set_dim_param("batch_size".into());
    });
    check("a batch written as -1", |graph| graph.input[0] = value("image", 1, &[-1, 3, 8, 8]));
    check("a batch of four", |graph| graph.input[0] = value("image", 1, &[4, 3, 8, 8]));
    check("two inputs, one without dimensions", |graph| graph.input.push(value("mask", 7, &[])));
    check("two outputs", |graph| graph.output.push(value("relu_out", 1, &[1, 4, 8, 8])));
    check("weights listed as inputs", |graph| graph.input.push(value("conv.weight", 1, &[4, 3, 3, 3])));
    check("a name left empty", |graph| graph.node[0].input.push(String::new()));
}

#[test]
fn refuses_bad_models_and_names_the_place() {
    let check = |edit: &dyn Fn(&mut ModelProto), words: &[&str]| {
        let mut model = cnn();
        edit(&mut model);
        let refused = admit(&model).expect_err(&words.join(" ")).to_string();
        assert!(words.iter().all(|word| refused.contains(word)), "{refused:?} does not say {words:?}");
    };
    let graph = |edit: fn(&mut GraphProto)| move |model: &mut ModelProto| edit(model.graph.mut_or_insert_default());

    // The graph.
    check(&graph(|g| g.node[0].input[0] = "relu_out".into()), &["\"conv\"", "cycle"]);
    check(&graph(|g| g.node[1].input[0] = "nowhere".into()), &["\"relu\"", "\"nowhere\"", "no node"]);
    check(&graph(|g| g.node[1].output[0] = "conv_out".into()), &["\"relu\"", "already"]);
    check(&graph(|g| g.node[1].output[0] = "image".into()), &["\"relu\"", "already"]);
    check(&graph(|g| g.output[0].name = "nowhere".into()), &["\"nowhere\"", "no node"]);
    check(&graph(|g| g.output.clear()), &["outputs", "none"]);
    check(&graph(|g| g.input.clear()), &["inputs", "0"]);
    check(
        &graph(|g| g.input.extend((0..64).map(|idx| value(&format!("mask{idx}"), 1, &[1])))),
        &["inputs", "65", "1 to 64"],
    );
    check(&graph(|g| g.input.push(g.input[0].clone())), &["\"image\"", "twice"]);
    check(&graph(|g| g.initializer.push(g.initializer[0].clone())), &["conv.weight", "twice"]);
    check(&|m| m.graph.clear(), &["no graph"]);

    // The input.
    check(&graph(|g| g.input[0] = value("image", 8, &[1, 3, 8, 8])), &["\"image\"", "string"]);
    check(&graph(|g| g.input[0] = value("image", 1, &[1, 3, 0, 8])), &["\"image\"", "dimension 0"]);
    check(&graph(|g| g.input[0] = value("image", 1, &[1, 3, -8, 8])), &["\"image\"", "-8"]);
    check(&graph(|g| g.input[0] = value("image", 1, &[1, 3, 1 << 40, 8])), &["\"image\"", "elements"]);
    check(&graph(|g| g.input[0] = value("image", 1, &[1; 9])), &["\"image\"", "dimensions"]);
    check(
        &graph(|g| {
            let dims =
                &mut g.input[0].type_.mut_or_insert_default().mut_tensor_type().shape.mut_or_insert_default().dim;
            dims[2].set_dim_param("height".into());
        }),
        &["\"image\"", "dimension 2", "open"],
    );
    check(
        &graph(|g| {
            let dims =
                &mut g.input[0].type_.mut_or_insert_default().mut_tensor_type().shape.mut_or_insert_default().dim;
            dims[0].set_dim_param("((((1".into());
        }),
        &["\"image\"", "open"],
    );

    // Constants.
    check(&graph(|g| g.initializer[0].dims = vec![1 << 31, 1 << 31]), &["conv.weight", "bytes"]);
    check(&graph(|g| g.initializer[0].dims = vec![i64::MAX; 4]), &["conv.weight", "bytes"]);
    check(&graph(|g| g.initializer[0].dims = vec![0, 1 << 40, 1 << 40]), &["conv.weight", "bytes"]);
    check(&graph(|g| g.initializer[0].dims = vec![-1, 3, 3, 3]), &["conv.weight", "negative"]);
    check(&graph(|g| g.initializer[0].dims = vec![1; 9]), &["conv.weight", "more than 8"]);
    check(&graph(|g| g.initializer[0].float_data.truncate(107)), &["conv.weight", "428", "432"]);
    check(&graph(|g| g.initializer[0].raw_data = vec![0; 432]), &["conv.weight", "data"]);
    check(&graph(|g| g.initializer[0].data_type = 7), &["conv.weight", "another type"]);
    check(&graph(|g| g.initializer[0].data_type = 99), &["conv.weight", "type 99"]);
    check(
        &graph(|g| {
            let entry =
                StringStringEntryProto { key: "location".into(), value: "/etc/passwd".into(), ..Default::default() };
            g.initializer[0].external_data.push(entry);
        }),
        &["conv.weight", "external data"],
    );
    check(
        &graph(|g| g.initializer[0].data_location = onnx_protobuf::tensor_proto::DataLocation::EXTERNAL.into()),
        &["external data"],
    );

    // Operators and attributes.
    check(&graph(|g| g.node[1].op_type = "Teleport".into()), &["\"relu\"", "Teleport"]);
    check(&graph(|g| g.node[1].op_type = "Loop".into()), &["\"relu\"", "Loop"]);
    check(&graph(|g| g.node[1].domain = "com.example".into()), &["\"relu\"", "com.example"]);
    check(&graph(|g| g.node[1].input.clear()), &["\"relu\"", "inputs are 0"]);
    check(&graph(|g| g.node[1].input[0].clear()), &["\"relu\"", "empty"]);
    check(&graph(|g| g.node[0].attribute.push(attribute("strides", &[0, 0]))), &["\"conv\"", "strides", "holds 0"]);
    check(&graph(|g| g.node[0].attribute.push(attribute("dilations", &[1, -1]))), &["\"conv\"", "dilations", "-1"]);
    check(&graph(|g| g.node[0].attribute.push(attribute("strides", &[1]))), &["\"conv\"", "strides", "2 numbers"]);
    check(&graph(|g| g.node[0].attribute.push(attribute("pads", &[1, 1, 1, 1]))), &["\"conv\"", "pads", "twice"]);
    check(&graph(|g| g.node[0].attribute.push(attribute("kernel_shape", &[5, 5]))), &["\"conv\"", "kernel_shape"]);
    check(&graph(|g| g.node[0].attribute.push(attribute("wings", &[2]))), &["\"conv\"", "wings"]);
    check(&graph(|g| g.node[0].attribute[0] = attribute("pads", &[9, 9, 9, 9])), &["\"conv\"", "pads", "window"]);
    check(&graph(|g| g.node[0].attribute[0] = attribute("pads", &[1 << 40, 0, 0, 0])), &["\"conv\"", "pads"]);
    check(
        &graph(|g| {
            let mut group = attribute("group", &[]);
            (group.type_, group.i) = (AttributeType::INT.into(), 0);
            g.node[0].attribute.push(group);
        }),
        &["\"conv\"", "group", "is 0"],
    );
    check(
        &graph(|g| {
            let mut body = attribute("body", &[]);
            body.type_ = AttributeType::GRAPH.into();
            g.node[0].attribute.push(body);
        }),
        &["\"conv\"", "body", "GRAPH"],
    );
    check(&graph(|g| g.node[1] = reduce("relu", &[2, 3])), &["\"relu\"", "axes is an input since opset 13"]);
    check(
        &|m| {
            m.opset_import[0].version = 6;
            m.graph.mut_or_insert_default().node[1].op_type = "Dropout".into();
        },
        &["\"relu\"", "is_test is missing", "opset 7 or later"],
    );
    check(
        &graph(|g| {
            g.node[1] = node("relu", "Div", &["largest", "largest"], "relu_out");
            g.node.push(node("largest", "ArgMax", &["conv_out"], "largest"));
        }),
        &["\"relu\"", "division", "by 0"],
    );
    check(
        &graph(|g| {
            g.node[1].name.clear();
            g.node[1].input.clear();
        }),
        &["Relu (node 1)"],
    );

    // Shapes.
    check(&graph(|g| g.initializer[0] = tensor("conv.weight", &[4, 2, 3, 3])), &["\"conv\"", "group"]);
    check(&graph(|g| g.initializer[0] = tensor("conv.weight", &[4, 3, 99, 3])), &["\"conv\"", "spans 99"]);
    check(&graph(|g| g.initializer[1] = tensor("fc.weight", &[5, 9])), &["\"fc\"", "1x4 by 5x9"]);

    check(
        &graph(|g| {
            g.input[0] = value("image", 1, &[1, 3, 1024, 1024]);
            g.initializer[0] = tensor("conv.weight", &[4, 3, 64, 64]);
        }),
        &["\"conv\"", "unroll"],
    );

    // The file.
    check(&|m| m.opset_import[0].version = 3, &["opset", "3"]);
    check(&|m| m.opset_import.clear(), &["opset"]);
    check(&|m| m.functions.push(Default::default()), &["functions"]);
    check(&|m| m.training_info.push(Default::default()), &["training"]);
}

/// A sum over axes that are given as operator sets before 13 did.
fn reduce(name: &str, axes: &[i64]) -> NodeProto {
    let mut node = node(name, "ReduceSum", &["conv_out"], "relu_out");
    node.attribute.push(attribute("axes", axes));
    node
}

#[test]
fn refuses_sizes_that_only_a_run_would_tell() {
    // A resize to sizes computed from the image could ask for any amount of memory.
    let mut model = cnn();
    let graph = model.graph.mut_or_insert_default();
    graph.node[1] = node("resize", "Resize", &["conv_out", "", "", "sizes"], "relu_out");
    graph.node.push(node("sizes", "ReduceSum", &["image"], "sizes"));
    let refused = admit(&model).expect_err("sizes are unknown").to_string();
    assert!(
        refused.contains("\"resize\"") && refused.contains("\"sizes\"") && refused.contains("known only when it runs"),
        "{refused}"
    );
}

#[test]
fn follows_shapes_that_travel_as_tensors() {
    // What exporters write for `x.view(x.shape[0], -1)`: Shape, Gather, Unsqueeze, Concat, Reshape.
    let mut model = cnn();
    let graph = model.graph.mut_or_insert_default();
    for (name, values) in [("zero", &[0][..]), ("axes", &[0]), ("rest", &[-1])] {
        let mut constant = tensor(name, &[]);
        (constant.data_type, constant.float_data, constant.int64_data) = (7, vec![], values.to_vec());
        constant.dims = if name == "zero" { vec![] } else { vec![1] };
        graph.initializer.push(constant);
    }
    graph.node[3] = node("reshape", "Reshape", &["pool_out", "target"], "flatten_out");
    graph.node.push(node("shape", "Shape", &["pool_out"], "shape_out"));
    graph.node.push(node("gather", "Gather", &["shape_out", "zero"], "batch"));
    graph.node.push(node("unsqueeze", "Unsqueeze", &["batch", "axes"], "batch1"));
    let mut concat = node("concat", "Concat", &["batch1", "rest"], "target");
    let mut axis = attribute("axis", &[]);
    (axis.type_, axis.i) = (AttributeType::INT.into(), 0);
    concat.attribute.push(axis);
    graph.node.push(concat);
    let info = validate(&model.write_to_bytes().expect("small"), &Limits::default()).expect("sound");
    assert_eq!(info.outputs[0].shape, [1, 5]);
}

#[test]
fn computes_with_the_numbers_of_shapes() {
    // What exporters write for `x.view(1, x.shape[1] * 2, -1)`, as in a shuffle of channels.
    let mut model = cnn();
    let graph = model.graph.mut_or_insert_default();
    for (name, values) in [("one", &[1][..]), ("two", &[2]), ("rest", &[-1])] {
        let mut constant = tensor(name, &[1]);
        (constant.data_type, constant.float_data, constant.int64_data) = (7, vec![], values.to_vec());
        graph.initializer.push(constant);
    }
    graph.node.truncate(2);
    graph.node.push(node("shape", "Shape", &["relu_out"], "shape_out"));
    graph.node.push(node("gather", "Gather", &["shape_out", "one"], "channels"));
    graph.node.push(node("twice", "Mul", &["channels", "two"], "more"));
    graph.node.push(node("back", "Div", &["more", "two"], "same"));
    graph.node.push(node("again", "Add", &["same", "more"], "twelve"));
    let mut concat = node("concat", "Concat", &["one", "twelve", "rest"], "target");
    let mut axis = attribute("axis", &[]);
    (axis.type_, axis.i) = (AttributeType::INT.into(), 0);
    concat.attribute.push(axis);
    graph.node.push(concat);
    graph.node.push(node("view", "Reshape", &["relu_out", "target"], "scores"));
    let info = validate(&model.write_to_bytes().expect("small"), &Limits::default());
    // 4 channels, and twice 4 more, of 256 numbers in all.
    assert!(info.is_err_and(|why| why.to_string().contains("[1, 12, -1]")));
    let graph = model.graph.mut_or_insert_default();
    graph.node[6].input = vec!["same".into(), "same".into()];
    let info = validate(&model.write_to_bytes().expect("small"), &Limits::default()).expect("sound");
    assert_eq!(info.outputs[0].shape, [1, 8, 32]);
}

#[test]
fn refuses_bytes_before_decoding_them() {
    let check = |bytes: &[u8], limits: Limits, word: &str| {
        let refused = validate(bytes, &limits).expect_err(word).to_string();
        assert!(refused.contains(word), "{refused:?} does not say {word:?}");
    };
    let whole = reference::onnx();
    let limits = Limits::default;
    check(b"", limits(), "no graph");
    check(&whole[..whole.len() - 1], limits(), "truncated");
    check(b"GIF89a", limits(), "not ONNX");
    check(&[0x0b; 100_000], limits(), "wire type 3"); // groups inside groups: a decoder's stack
    check(&[0x80; 12], limits(), "truncated");
    check(&whole, Limits { file_bytes: 100, ..limits() }, "more than 100");
    check(&whole, Limits { fields: 100, ..limits() }, "fields");
    check(&whole, Limits { messages: 20, ..limits() }, "messages");
    check(&whole, Limits { depth: 2, ..limits() }, "deep");
    check(&whole, Limits { nodes: 3, ..limits() }, "nodes");
    check(&whole, Limits { initializers: 3, ..limits() }, "initializers");
    check(&whole, Limits { initializer_bytes: 5_000, ..limits() }, "bytes together");
    check(&whole, Limits { activation_bytes: 200_000, ..limits() }, "unroll");
    // Eight values of 4x8x8 floats that wait for their sum: more than the 7 kB that the convolution unrolls to.
    let mut wide = cnn();
    let graph = wide.graph.mut_or_insert_default();
    let names = (0..8).map(|idx| format!("branch{idx}")).collect::<Vec<_>>();
    graph.node[1] = node("sum", "Sum", &names.iter().map(String::as_str).collect::<Vec<_>>(), "relu_out");
    graph.node.extend(names.iter().map(|name| node(name, "Relu", &["conv_out"], name)));
    let wide = wide.write_to_bytes().expect("small");
    assert_eq!(validate(&wide, &limits()).expect("sound").activation_bytes, 9 * 4 * 64 * 4);
    check(&wide, Limits { activation_bytes: 8_000, ..limits() }, "activations are 9216 bytes");
    check(&whole, Limits { work: 100_000, ..limits() }, "\"stem\"");
    // Two graphs in one file: one decoder would merge them, the other would take the second.
    check(&[&whole[..], &whole[..]].concat(), limits(), "readers disagree");
    // Sequences of sequences of ..: a type inside an attribute, as deep as the file likes.
    let wrap = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let nested = (0..20).fold(vec![], |inner, _| wrap(0x22, &wrap(0x0a, &inner)));
    let model = [0x72, 0x2a, 0x0a, 0x3a].into_iter().fold(nested, |inner, tag| wrap(tag, &inner));
    check(&model, limits(), "deep");
}

#[test]
fn admits_the_real_models() {
    for path in model_files("real models") {
        let bytes = std::fs::read(&path).expect("readable");
        let info = validate(&bytes, &Limits::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(info.macs > 1_000 && info.activation_bytes > 100, "{}: {info:?}", path.display());
        assert_eq!(info.outputs[0].shape.len(), 2, "{}", path.display());
    }
}

/// Rows of a table for numbers that the run brings: they must be cut off within it.
#[test]
fn a_table_is_read_within_its_rows() {
    let check = |last: f32, is_clipped: bool, words: Option<&str>| {
        let mut model = cnn();
        let graph = model.graph.mut_or_insert_default();
        let mut limit = |name: &str, value: f32| {
            let mut constant = tensor(name, &[]);
            constant.float_data = vec![value];
            graph.initializer.push(constant);
        };
        limit("first", 0.0);
        limit("last", last);
        let from = if is_clipped { "within" } else { "pool_out" };
        graph.node.truncate(3);
        graph.node.push(node("clip", "Clip", &["pool_out", "first", "last"], "within"));
        let mut cast = node("cast", "Cast", &[from], "number");
        let mut to = attribute("to", &[]);
        (to.type_, to.i) = (AttributeType::INT.into(), 7);
        cast.attribute.push(to);
        graph.node.push(cast);
        graph.node.push(node("row", "Gather", &["conv.weight", "number"], "scores"));
        let found = validate(&model.write_to_bytes().expect("small"), &Limits::default());
        match words {
            // One number for each of four channels, and a filter for each number.
            None => assert_eq!(found.expect("every row is there").outputs[0].shape, [1, 4, 1, 1, 3, 3, 3]),
            Some(words) => assert!(found.is_err_and(|why| why.to_string().contains(words)), "{last}"),
        }
    };
    check(3.0, true, None);
    check(3.9, true, None);
    check(4.0, true, Some("known only when it runs"));
    check(f32::NAN, true, Some("known only when it runs"));
    check(3.0, false, Some("known only when it runs"));
}
