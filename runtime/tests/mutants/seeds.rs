//! Small networks that together hold most operators that run: what the mutants are bred from.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, GraphProto, ModelProto, NodeProto};
use protobuf::MessageField;

use crate::common::{cnn, tensor, value};

/// The networks; each runs unbent.
pub(crate) fn seeds() -> Vec<ModelProto> {
    vec![cnn(), network(CELL), network(TOKENS), network(QUANTISED)]
}

/// An image classifier with pooling, resizing and a transposed convolution.
const CELL: &str = "
    input image 1 2 4 4
    tensor w1 3 2 1 1
    tensor w2 3 1 3 3
    tensor w3 3 2 2 2
    tensor channels 3
    tensor slope 3 1 1
    ints pads 0 0 1 1 0 0 1 1
    floats scales 1 1 0.5 0.5
    tensor matrix 8 3
    Conv image w1 > a
    BatchNormalization a channels channels channels slope3 > b
    HardSwish b > c
    Conv c w2 > d group=3 pads=1,1,1,1
    PRelu d slope > e
    AveragePool e > f kernel_shape=3,3 pads=1,1,1,1
    MaxPool e > g kernel_shape=3,3 pads=1,1,1,1
    Add f g > h
    ConvTranspose h w3 > i strides=2,2
    Pad i pads > j
    Resize j  scales > k mode=nearest
    DepthToSpace l > m blocksize=2
    Concat k k > l axis=1
    InstanceNormalization m one one > n
    tensor slope3 3
    tensor one 1
    GlobalAveragePool n > o
    Flatten k > p
    Slice p starts ends axes > q
    ints starts 0
    ints ends 8
    ints axes 1
    Gemm q matrix > r
    Softmax r > s axis=1
    output o
    output s";

/// A block of a transformer.
const TOKENS: &str = "
    input tokens 1 3 4
    tensor w 4 6
    tensor scale 4
    ints heads 1 3 2 3
    ints merged 1 -1
    ints axis 1
    ints first 0
    LayerNormalization tokens scale scale > a
    MatMul a w > b
    Reshape b heads > c
    Transpose c > d perm=0,2,1,3
    Transpose c > e perm=0,2,3,1
    MatMul d e > f
    Softmax f > g axis=-1
    MatMul g d > h
    ReduceMean h > i axes=2 keepdims=0
    Split i > j k axis=1
    Erf j > l
    Mul l k > m
    Squeeze m axis > n
    Shape n > o
    Gather o first > p axis=0
    Concat p p > q axis=0
    Unsqueeze n axis > r
    Greater r n > s
    Where s r n > t
    Expand t q3 > u
    ints q3 2 3 3
    Reshape u merged > v
    ArgMax v > x axis=1
    Gelu v > y
    output x
    output y";

/// A layer as quantisation leaves it.
const QUANTISED: &str = "
    input image 1 2 3 3
    floats step 0.1
    bytes zero 3
    tensor w 2 2 1 1
    QuantizeLinear image step zero > a
    DequantizeLinear a step zero > b
    Conv b w > c
    Clip c low high > d
    floats low 0
    floats high 6
    Cast d > e to=6
    Cast e > f to=1
    Sum f d c > g
    ReduceMax g > h axes=2,3 keepdims=1
    Sub g h > i
    Exp i > j
    output j";

/// Reads the lines above: constants, an input, outputs, and `Operator inputs > outputs attribute=value`.
fn network(text: &str) -> ModelProto {
    let mut graph = GraphProto { name: "seed".into(), ..Default::default() };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (kind, rest) = line.split_once(' ').expect("every line has a kind and a name");
        let (name, numbers) = rest.split_once(' ').unwrap_or((rest, ""));
        let ints = || numbers.split(' ').filter_map(|n| n.parse::<i64>().ok()).collect::<Vec<_>>();
        match kind {
            "input" => graph.input.push(value(name, 1, &ints())),
            "output" => {
                let mut output = value(name, 1, &[]);
                output.type_.mut_or_insert_default().mut_tensor_type().shape.clear();
                graph.output.push(output);
            }
            "tensor" => graph.initializer.push(tensor(name, &ints())),
            "ints" => {
                let mut constant = tensor(name, &[ints().len() as i64]);
                (constant.data_type, constant.float_data, constant.int64_data) = (7, vec![], ints());
                graph.initializer.push(constant);
            }
            "bytes" => {
                let mut constant = tensor(name, &[]);
                (constant.data_type, constant.float_data) = (2, vec![]);
                constant.int32_data = ints().iter().map(|&n| n as i32).collect();
                graph.initializer.push(constant);
            }
            "floats" => {
                let floats = numbers.split(' ').filter_map(|x| x.parse().ok()).collect::<Vec<f32>>();
                let mut constant = tensor(name, &[floats.len() as i64]);
                if floats.len() == 1 {
                    constant.dims.clear();
                }
                constant.float_data = floats;
                graph.initializer.push(constant);
            }
            operator => graph.node.push(node(operator, rest)),
        }
    }
    ModelProto { graph: MessageField::some(graph), ..cnn() }
}

fn node(operator: &str, rest: &str) -> NodeProto {
    let (inputs, rest) = rest.split_once(" > ").expect("an arrow before the outputs");
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (attributes, output): (Vec<_>, Vec<_>) = words(rest).into_iter().partition(|word| word.contains('='));
    let attribute = attributes.iter().filter_map(|word| word.split_once('=')).map(|(name, text)| {
        let ints = text.split(',').map(str::parse::<i64>).collect::<Result<Vec<_>, _>>();
        let is_list = ["pads", "kernel_shape", "strides", "perm", "axes"].contains(&name);
        let mut attribute = AttributeProto { name: name.into(), ..Default::default() };
        attribute.type_ = match ints {
            Ok(ints) if is_list => {
                attribute.ints = ints;
                AttributeType::INTS.into()
            }
            Ok(ints) => {
                attribute.i = ints[0];
                AttributeType::INT.into()
            }
            Err(_) => {
                attribute.s = text.into();
                AttributeType::STRING.into()
            }
        };
        attribute
    });
    NodeProto {
        name: output[0].clone(),
        op_type: operator.into(),
        input: words(inputs),
        output: output.clone(),
        attribute: attribute.collect(),
        ..Default::default()
    }
}
