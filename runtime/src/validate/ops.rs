//! The operators that may run, and what every attribute of theirs must be.

use super::Rejected;
use super::proto::{Attribute, Node};

/// How an operator's output shape follows from its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The first input's shape.
    Same,
    /// All inputs' shapes, broadcast.
    Broadcast,
    Conv,
    ConvTranspose,
    LayerNorm,
    Pool,
    GlobalPool,
    Gemm,
    MatMul,
    Flatten,
    Reshape,
    Transpose,
    Squeeze,
    Unsqueeze,
    Concat,
    Split,
    Slice,
    Gather,
    Pad,
    Shape,
    Constant,
    ConstantOfShape,
    Expand,
    Tile,
    Resize,
    DepthToSpace,
    SpaceToDepth,
    Reduce,
    ArgReduce,
}

/// Largest kernel, stride, dilation or padding.
const LARGEST: i64 = 4_096;

/// Most groups or parts.
const MOST_GROUPS: i64 = 65_536;

/// Looks up an operator: its rule, and the fewest and most inputs and outputs.
fn known(op: &str) -> Option<(Rule, [usize; 2], [usize; 2])> {
    use Rule::*;
    const MANY: usize = 1_024;
    Some(match op {
        "Relu" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Tanh" | "LeakyRelu" | "ThresholdedRelu" | "Elu"
        | "Selu" | "Celu" | "Gelu" | "Mish" | "Softplus" | "Softsign" | "Erf" | "Exp" | "Log" | "Sqrt"
        | "Reciprocal" | "Sin" | "Cos" | "Tan" | "Asin" | "Acos" | "Atan" | "Sinh" | "Cosh" | "Asinh" | "Acosh"
        | "Atanh" | "Abs" | "Neg" | "Sign" | "Floor" | "Ceil" | "Round" | "Not" | "Identity" | "Cast" | "Softmax"
        | "LogSoftmax" | "LRN" => (Same, [1, 1], [1, 1]),
        "Clip" => (Same, [1, 3], [1, 1]),
        "Dropout" => (Same, [1, 3], [1, 2]),
        "QuantizeLinear" | "DequantizeLinear" => (Same, [2, 3], [1, 1]),
        "BatchNormalization" => (Same, [5, 5], [1, 1]),
        "InstanceNormalization" | "GroupNormalization" => (Same, [3, 3], [1, 1]),
        "LayerNormalization" => (LayerNorm, [2, 3], [1, 3]),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "PRelu" | "Equal" | "Less" | "LessOrEqual" | "Greater"
        | "GreaterOrEqual" | "And" | "Or" | "Xor" => (Broadcast, [2, 2], [1, 1]),
        "Where" => (Broadcast, [3, 3], [1, 1]),
        "Sum" | "Mean" | "Max" | "Min" => (Broadcast, [1, MANY], [1, 1]),
        "Conv" => (Conv, [2, 3], [1, 1]),
        "ConvTranspose" => (ConvTranspose, [2, 3], [1, 1]),
        "MaxPool" | "AveragePool" => (Pool, [1, 1], [1, 1]),
        "GlobalAveragePool" | "GlobalMaxPool" => (GlobalPool, [1, 1], [1, 1]),
        "Gemm" => (Gemm, [2, 3], [1, 1]),
        "MatMul" => (MatMul, [2, 2], [1, 1]),
        "Flatten" => (Flatten, [1, 1], [1, 1]),
        "Reshape" => (Reshape, [2, 2], [1, 1]),
        "Transpose" => (Transpose, [1, 1], [1, 1]),
        "Squeeze" => (Squeeze, [1, 2], [1, 1]),
        "Unsqueeze" => (Unsqueeze, [1, 2], [1, 1]),
        "Concat" => (Concat, [1, MANY], [1, 1]),
        "Split" => (Split, [1, 2], [1, MANY]),
        "Slice" => (Slice, [1, 5], [1, 1]),
        "Gather" => (Gather, [2, 2], [1, 1]),
        "Pad" => (Pad, [1, 4], [1, 1]),
        "Shape" => (Shape, [1, 1], [1, 1]),
        "Constant" => (Constant, [0, 0], [1, 1]),
        "ConstantOfShape" => (ConstantOfShape, [1, 1], [1, 1]),
        "Expand" => (Expand, [2, 2], [1, 1]),
        "Tile" => (Tile, [2, 2], [1, 1]),
        "Resize" => (Resize, [1, 4], [1, 1]),
        "DepthToSpace" => (DepthToSpace, [1, 1], [1, 1]),
        "SpaceToDepth" => (SpaceToDepth, [1, 1], [1, 1]),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2"
        | "ReduceSumSquare" => (Reduce, [1, 2], [1, 1]),
        "ArgMax" | "ArgMin" => (ArgReduce, [1, 1], [1, 1]),
        _ => return None,
    })
}

/// The rule of a node that [`check`] has passed.
pub(super) fn rule(node: &Node) -> Rule {
    known(&node.op).expect("shapes are walked after every operator was checked").0
}

/// Refuses an unknown operator, a wrong number of inputs or outputs, and attributes out of range.
pub(super) fn check(node: &Node, opset: i64) -> Result<(), Rejected> {
    let Some((rule, inputs, outputs)) = known(&node.op) else {
        let why = format!("{:?} is not among those that run", node.op);
        return Err(Rejected::new("operator", &node.label, why));
    };
    let counts = [("inputs", &node.inputs, inputs), ("outputs", &node.outputs, outputs)];
    for (what, names, [fewest, most]) in counts {
        if names.len() < fewest || names.len() > most {
            let why = format!("are {}; {} takes {fewest} to {most}", names.len(), node.op);
            return Err(Rejected::new(what, &node.label, why));
        }
        if names.iter().take(fewest).any(String::is_empty) {
            return Err(Rejected::new(what, &node.label, "leave a needed name empty"));
        }
    }
    for (name, attribute) in &node.attributes {
        check_attribute(rule, name, attribute)
            .map_err(|why| Rejected::new("attribute", &node.label, format!("{name} {why}")))?;
        if let Some(since) = input_since(&node.op, name).filter(|&since| since <= opset) {
            let why = format!("{name} is an input since opset {since}; readers of opset {opset} disagree about it");
            return Err(Rejected::new("attribute", &node.label, why));
        }
    }
    if opset < 7 {
        check_before_opset_7(node, rule).map_err(|why| {
            Rejected::new("attribute", &node.label, format!("{why}; export it with opset 7 or later"))
        })?;
    }
    Ok(())
}

/// The opset that made this attribute an input.
fn input_since(op: &str, name: &str) -> Option<i64> {
    match (op, name) {
        ("Slice", "starts" | "ends" | "axes") => Some(10),
        ("Pad", "pads" | "value") | ("Clip", "min" | "max") => Some(11),
        ("ReduceSum" | "Squeeze" | "Unsqueeze", "axes") | ("Split", "split") => Some(13),
        (op, "axes") if op.starts_with("Reduce") => Some(18),
        _ => None,
    }
}

/// Before opset 7, operators trained unless told not to, and broadcast along an axis of their choice.
fn check_before_opset_7(node: &Node, rule: Rule) -> Result<(), &'static str> {
    if matches!(node.op.as_str(), "BatchNormalization" | "Dropout") && !node.attributes.contains_key("is_test") {
        return Err("is_test is missing, so it would train");
    }
    if rule == Rule::Broadcast && node.attributes.contains_key("axis") {
        return Err("axis says where to broadcast");
    }
    Ok(())
}

/// Attributes of one name mean the same in every operator here, but for `pads` of `Pad`.
fn check_attribute(rule: Rule, name: &str, attribute: &Attribute) -> Result<(), String> {
    match name {
        "kernel_shape" | "strides" | "dilations" => ints_within(attribute, 1, LARGEST),
        "pads" if rule == Rule::Pad => ints_within(attribute, -LARGEST, LARGEST),
        "pads" => ints_within(attribute, 0, LARGEST),
        "output_padding" => ints_within(attribute, 0, LARGEST),
        "axes" | "perm" => ints_within(attribute, -64, 64),
        "starts" | "ends" => ints_within(attribute, i64::MIN, i64::MAX),
        "split" => ints_within(attribute, 0, i64::from(i32::MAX)),
        "group" | "num_groups" | "num_outputs" | "size" => int_within(attribute, 1, MOST_GROUPS),
        "blocksize" => int_within(attribute, 1, 64),
        "axis" => int_within(attribute, -64, 64),
        "start" | "end" if rule == Rule::Shape => int_within(attribute, -64, 64),
        "ceil_mode"
        | "count_include_pad"
        | "keepdims"
        | "transA"
        | "transB"
        | "allowzero"
        | "select_last_index"
        | "noop_with_empty_axes"
        | "exclude_outside"
        | "antialias"
        | "spatial" => int_within(attribute, 0, 1),
        "storage_order" | "training_mode" | "block_size" => int_within(attribute, 0, 0),
        "is_test" => int_within(attribute, 1, 1),
        "broadcast" if matches!(rule, Rule::Broadcast | Rule::Gemm) => int_within(attribute, 0, 1),
        "to" => match attribute {
            Attribute::Int(dtype) if i32::try_from(*dtype).ok().and_then(super::proto::element_bytes).is_some() => {
                Ok(())
            }
            _ => Err("names a type that does not run".into()),
        },
        "auto_pad" => match attribute {
            Attribute::Text(text) if ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"].contains(&text.as_str()) => Ok(()),
            _ => Err("is not one of NOTSET, SAME_UPPER, SAME_LOWER, VALID".into()),
        },
        "alpha"
        | "beta"
        | "gamma"
        | "epsilon"
        | "momentum"
        | "bias"
        | "lambd"
        | "ratio"
        | "min"
        | "max"
        | "cubic_coeff_a"
        | "extrapolation_value"
        | "value_float" => match attribute {
            Attribute::Float => Ok(()),
            _ => Err("is not a number".into()),
        },
        "value" if rule == Rule::Pad => match attribute {
            Attribute::Float => Ok(()),
            _ => Err("is not a number".into()),
        },
        "value" => match attribute {
            Attribute::Tensor(_) => Ok(()),
            _ => Err("is not a tensor".into()),
        },
        "value_floats" => match attribute {
            Attribute::Floats(_) => Ok(()),
            _ => Err("is not a list of numbers".into()),
        },
        "value_int" => int_within(attribute, i64::MIN, i64::MAX),
        "value_ints" => ints_within(attribute, i64::MIN, i64::MAX),
        "mode" | "coordinate_transformation_mode" | "nearest_mode" | "keep_aspect_ratio_policy" | "approximate" => {
            match attribute {
                Attribute::Text(text) if text.len() <= 64 => Ok(()),
                _ => Err("is not a word".into()),
            }
        }
        "seed" | "stash_type" | "saturate" => int_within(attribute, i64::MIN, i64::MAX),
        _ => Err("is not an attribute that is known here".into()),
    }
}

fn int_within(attribute: &Attribute, min: i64, max: i64) -> Result<(), String> {
    match attribute {
        Attribute::Int(n) if (min..=max).contains(n) => Ok(()),
        Attribute::Int(n) => Err(format!("is {n}, outside {min}..={max}")),
        _ => Err("is not an integer".into()),
    }
}

fn ints_within(attribute: &Attribute, min: i64, max: i64) -> Result<(), String> {
    match attribute {
        Attribute::Ints(list) if list.len() > 64 => Err(format!("holds {} numbers", list.len())),
        Attribute::Ints(list) => match list.iter().find(|n| !(min..=max).contains(n)) {
            None => Ok(()),
            Some(n) => Err(format!("holds {n}, outside {min}..={max}")),
        },
        _ => Err("is not a list of integers".into()),
    }
}
