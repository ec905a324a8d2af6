//! The third match over [`Op`]: each operation of a shipped graph as ONNX nodes.

use std::collections::{BTreeMap, BTreeSet};

use graph::{
    Activation, Conv2d, Graph, NodeId, Op, Pads, Pool2d, Shape,
    fold::BN_EPSILON,
    weights::{Weights, owner, parameters},
};

use crate::{
    ExportError, Lowering, Metadata,
    proto::{Attribute, File, Tensor, integers},
};

mod forms;

/// Name of the file's input value, `[1, channels, height, width]`.
const INPUT: &str = "image";
/// The same of a language model, `[1, 1]`: the number of a word.
const WORD: &str = "word_in";
/// Name of the file's output value, `[1, classes]` for a classifier.
const OUTPUT: &str = "logits";
/// ONNX's number of 64-bit integers.
const INT64: i64 = 7;
/// The constants between which relu6 clips; one pair serves the whole file.
const RELU6: [(&str, f32); 2] = [("relu6.min", 0.0), ("relu6.max", 6.0)];
/// SELU's constants, rounded to `f32` by the standard; the training side uses the same.
const SELU: [(&str, f32); 2] = [("alpha", 1.673_263_2), ("gamma", 1.050_701)];

/// The bytes of a graph that is folded already.
pub(crate) fn write(
    graph: &Graph,
    weights: &Weights,
    metadata: &Metadata,
    lowering: Lowering,
) -> Result<Vec<u8>, ExportError> {
    let inputs: Vec<NodeId> = graph.ids().filter(|&id| *graph.op(id) == Op::Input).collect();
    let (&[input], Some(output)) = (inputs.as_slice(), graph.output()) else {
        return Err(ExportError::Inputs { found: inputs.len() });
    };
    let mut writer = Writer {
        graph,
        weights,
        lowering,
        file: File::new(),
        names: BTreeSet::new(),
        constants: BTreeSet::new(),
        padded: BTreeMap::new(),
    };
    writer.file.input(&writer.value(input), &batch_of_one(graph.shape(input)));
    writer.file.output(OUTPUT, &batch_of_one(graph.shape(output)));
    for (nth, memory) in graph.memories().iter().enumerate() {
        let dims = batch_of_one(graph.shape(memory.node));
        writer.file.input(&memory_input(nth), &dims);
        writer.file.output(&memory_output(nth), &dims);
    }
    if graph.ids().any(|id| *graph.op(id) == Op::Activation(Activation::Relu6)) {
        for (name, limit) in RELU6 {
            writer.file.constant(name, Tensor::new(Vec::new(), &[limit]));
        }
    }
    for id in graph.ids() {
        writer.add(id)?;
    }
    for (nth, memory) in graph.memories().iter().enumerate() {
        let (remembered, name) = (writer.value(memory.next), format!("{}.next", graph.name(memory.node)));
        writer.node(&name, "Identity", &[&remembered], &memory_output(nth), [])?;
    }
    if matches!(graph.op(output), Op::Input | Op::Memory(_)) {
        writer.node("output", "Identity", &[&writer.value(output)], OUTPUT, [])?;
    }
    writer.file.finish(metadata)
}

/// A file being written. Values are called after their node's number, not its name: a name is
/// written once, however many nodes read it, which keeps the file within what pricing allows.
struct Writer<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    lowering: Lowering,
    file: File,
    /// Names of the nodes so far.
    names: BTreeSet<String>,
    /// Names of the constants that several nodes read.
    constants: BTreeSet<String>,
    /// Values with their borders, and what they are called.
    padded: BTreeMap<(String, [usize; 4]), String>,
}

impl Writer<'_> {
    fn add(&mut self, id: NodeId) -> Result<(), ExportError> {
        let name = self.graph.name(id);
        let output = self.value(id);
        let sources: Vec<String> = self.graph.inputs(id).iter().map(|&it| self.value(it)).collect();
        let mut inputs: Vec<&str> = sources.iter().map(String::as_str).collect();
        let parameters = self.parameters(id, &name)?;
        inputs.extend(parameters.iter().map(String::as_str));
        match self.graph.op(id) {
            Op::Input => Ok(()),
            Op::Conv2d(conv) => self.convolution(id, conv, &inputs),
            Op::Linear(_) => self.node(&name, "Gemm", &inputs, &output, [("transB", Attribute::Int(1))]),
            Op::BatchNorm => {
                let epsilon = [("epsilon", Attribute::Float(BN_EPSILON))];
                self.node(&name, "BatchNormalization", &inputs, &output, epsilon)
            }
            Op::Activation(activation) => self.activation(*activation, &name, &sources[0], &output),
            Op::MaxPool(pool) => self.max_pool(id, pool, inputs[0]),
            Op::AvgPool(pool) => self.average_pool(id, pool, inputs[0]),
            Op::GlobalAvgPool => {
                let mean = self.inner(id, "mean");
                self.node(&name, "GlobalAveragePool", &inputs, &mean, [])?;
                self.node(&format!("{name}.flatten"), "Flatten", &[&mean], &output, [("axis", Attribute::Int(1))])
            }
            Op::Add => self.sum(id, &inputs),
            Op::Concat => self.node(&name, "Concat", &inputs, &output, [("axis", Attribute::Int(1))]),
            Op::ChannelsLast => {
                let order = [("perm", Attribute::Ints(vec![0, 2, 3, 1]))];
                self.node(&name, "Transpose", &inputs, &output, order)
            }
            Op::Resize(_) => self.resize(id, &name, &sources[0], &output),
            Op::Slice { from, channels } => self.slice(id, [*from, *channels], &name, &sources[0], &output),
            Op::Identity => self.node(&name, "Identity", &inputs, &output, []),
            Op::Zero(_) => {
                let dims = batch_of_one(self.graph.shape(id));
                let zeros = Tensor { raw: vec![0; 4 * dims.iter().product::<usize>()], dims };
                self.node(&name, "Constant", &[], &output, [("value", Attribute::Tensor(zeros))])
            }
            Op::Mul => self.chain(id, "Mul", &inputs),
            Op::Sub => self.node(&name, "Sub", &inputs, &output, []),
            Op::Mean => self.node(&name, "Mean", &inputs, &output, []),
            Op::Embed(table) => {
                // Cut off at the ends of the table: no number leads beyond it.
                let [first, last, within, number, row] =
                    ["first", "last", "within", "number", "row"].map(|part| self.inner(id, part));
                self.file.constant(&first, Tensor::new(Vec::new(), &[0.0]));
                self.file.constant(&last, Tensor::new(Vec::new(), &[(table.words - 1) as f32]));
                self.node(&format!("{name}.clip"), "Clip", &[inputs[0], &first, &last], &within, [])?;
                let to = [("to", Attribute::Int(INT64))];
                self.node(&format!("{name}.cast"), "Cast", &[&within], &number, to)?;
                let axis = [("axis", Attribute::Int(0))];
                self.node(&name, "Gather", &[inputs[1], &number], &row, axis)?;
                self.node(&format!("{name}.flatten"), "Flatten", &[&row], &output, [("axis", Attribute::Int(1))])
            }
            Op::Memory(_) => Ok(()),
            Op::Mix(_) | Op::Weigh { .. } => Err(ExportError::Relaxed { node: name }),
        }
    }

    fn activation(&mut self, it: Activation, name: &str, input: &str, output: &str) -> Result<(), ExportError> {
        match it {
            Activation::Relu => self.node(name, "Relu", &[input], output, []),
            Activation::Relu6 => {
                let [(min, _), (max, _)] = RELU6;
                self.node(name, "Clip", &[input, min, max], output, [])
            }
            Activation::Elu => self.node(name, "Elu", &[input], output, [("alpha", Attribute::Float(1.0))]),
            Activation::Selu => {
                self.node(name, "Selu", &[input], output, SELU.map(|(name, value)| (name, Attribute::Float(value))))
            }
            Activation::Swish => self.swish(name, input, output),
            Activation::Tanh => self.node(name, "Tanh", &[input], output, []),
            Activation::Sigmoid => self.node(name, "Sigmoid", &[input], output, []),
            Activation::NegativeRelu => {
                let (inner, negated) = (format!("{name}.neg"), format!("{output}.neg"));
                self.node(&inner, "Neg", &[input], &negated, [])?;
                self.node(name, "Relu", &[&negated], output, [])
            }
            Activation::Square => self.node(name, "Mul", &[input, input], output, []),
            Activation::Log => self.node(name, "Log", &[input], output, []),
        }
    }

    /// By sizes, not by scales: those would be rounded. The two inputs between, a region and scales, are left out.
    fn resize(&mut self, id: NodeId, name: &str, input: &str, output: &str) -> Result<(), ExportError> {
        let sizes = self.inner(id, "sizes");
        self.file.integers(&sizes, &integers(&batch_of_one(self.graph.shape(id))));
        let how = [("mode", "linear"), ("coordinate_transformation_mode", "half_pixel")];
        let how = how.map(|(key, word)| (key, Attribute::Text(word)));
        self.node(name, "Resize", &[input, "", "", &sizes], output, how)
    }

    fn slice(
        &mut self,
        id: NodeId,
        [from, channels]: [u32; 2],
        name: &str,
        input: &str,
        output: &str,
    ) -> Result<(), ExportError> {
        let [starts, ends, axes] = ["starts", "ends", "axes"].map(|it| self.inner(id, it));
        for (place, value) in [(&starts, from), (&ends, from + channels), (&axes, 1)] {
            self.file.integers(place, &[i64::from(value)]);
        }
        self.node(name, "Slice", &[input, &starts, &ends, &axes], output, [])
    }

    /// Stores the parameters of node `id`, in the order in which its operator reads them.
    fn parameters(&mut self, id: NodeId, name: &str) -> Result<Vec<String>, ExportError> {
        let mut values = Vec::new();
        for (suffix, shape) in parameters(self.graph, id) {
            let first = owner(self.graph, id, suffix, &shape);
            if first != id {
                values.push(self.inner(first, suffix)); // written with the node that it is tied to
                continue;
            }
            let tensor = self.weights.get(name, suffix)?;
            if let Some(&value) = tensor.values.iter().find(|it| !it.is_finite()) {
                return Err(ExportError::NotFinite { key: format!("{name}.{suffix}"), value });
            }
            let value = self.inner(id, suffix);
            self.file.constant(&value, Tensor::new(shape, &tensor.values));
            values.push(value);
        }
        Ok(values)
    }

    fn node(
        &mut self,
        name: &str,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> Result<(), ExportError> {
        if !self.names.insert(name.to_owned()) {
            return Err(ExportError::Name { name: name.to_owned() });
        }
        self.file.node(name, operator, inputs, output, attributes);
        Ok(())
    }

    /// Name of the value that node `id` makes.
    fn value(&self, id: NodeId) -> String {
        if *self.graph.op(id) == Op::Input {
            return if self.graph.memories().is_empty() { INPUT } else { WORD }.to_owned();
        }
        if let Some(nth) = self.graph.memories().iter().position(|it| it.node == id) {
            return memory_input(nth);
        }
        if Some(id) == self.graph.output() {
            return OUTPUT.to_owned();
        }
        format!("n{}", id.index())
    }

    /// Name of a value that belongs to node `id` and that no other node reads.
    fn inner(&self, id: NodeId, part: &str) -> String {
        format!("n{}.{part}", id.index())
    }
}

/// Name of the input that brings what the `nth` memory has: zeros before the first word, then what the file made of it.
fn memory_input(nth: usize) -> String {
    format!("memory{nth}_in")
}

/// Name of the output that the `nth` memory has in the next step.
fn memory_output(nth: usize) -> String {
    format!("memory{nth}_out")
}

fn convolution(conv: &Conv2d) -> [(&'static str, Attribute); 5] {
    let Conv2d { channels: _, kernel, stride, dilation, pads, groups, bias: _, fixed: _ } = *conv;
    [
        ("kernel_shape", Attribute::Ints(integers(&kernel))),
        ("strides", Attribute::Ints(integers(&stride))),
        ("pads", Attribute::Ints(border(pads))),
        ("dilations", Attribute::Ints(integers(&dilation))),
        ("group", Attribute::Int(groups as i64)),
    ]
}

fn window(pool: &Pool2d) -> [(&'static str, Attribute); 3] {
    let Pool2d { kernel, stride, pads } = *pool;
    [
        ("kernel_shape", Attribute::Ints(integers(&kernel))),
        ("strides", Attribute::Ints(integers(&stride))),
        ("pads", Attribute::Ints(border(pads))),
    ]
}

/// All beginnings, then all ends: ONNX's order.
fn border(pads: Pads) -> Vec<i64> {
    let Pads { top, left, bottom, right } = pads;
    integers(&[top, left, bottom, right])
}

fn batch_of_one(shape: Shape) -> Vec<usize> {
    let mut dims = vec![1];
    dims.extend(shape.dims());
    dims
}
