//! Loads an ONNX file into tract's optimised plan for one fixed input shape, and runs it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::plan::eval;
use tract_onnx::tract_hir::infer::{DimFact, Factoid};
use tract_onnx::tract_hir::internal::DimLike;

use crate::marks::Mark;
use crate::windows;

/// Engine and its version, as measurements name it: tract, and the version of the operators that stand
/// in for some of its own. It goes up where these take another time.
pub const ENGINE: &str = "tract 0.23.9 with kernels 1";

/// A network ready to run, one inference at a time. Only the optimised plan exists: there is no other to time.
///
/// Numbers go in and come out as `f32`, whatever the network's own types: all inputs one after another in the file's
/// order, each in row-major order, and all outputs likewise.
pub struct Model {
    state: TypedSimpleState,
    /// At least one.
    inputs: Vec<Port>,
    /// At least one.
    outputs: Vec<Port>,
}

/// One input or output.
struct Port {
    /// What the file calls an input; nothing for an output, whose name the optimised plan does not keep.
    name: String,
    shape: Vec<usize>,
    dtype: DatumType,
}

impl Port {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What the engine could not do, and with what.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// tract could not load or optimise the model.
    #[error("{ENGINE} cannot {step} the model: {why}")]
    Load {
        /// What it was doing.
        step: &'static str,
        /// What it said.
        why: String,
    },
    /// The model's inputs or outputs are not tensors of numbers, of fixed shape.
    #[error("the model's {what}; export it with inputs and outputs of numbers and of fixed size")]
    Interface {
        /// What is not so.
        what: String,
    },
    /// Inputs of the wrong length.
    #[error("an input of {given} numbers was given; the model takes {needed}")]
    Input {
        /// Numbers given.
        given: usize,
        /// Numbers needed.
        needed: usize,
    },
    /// tract failed while running.
    #[error("{ENGINE} cannot run the model: {0}")]
    Run(String),
    /// More than one thread was asked for.
    #[error("{0} threads were asked for; this engine is built to run on one")]
    Threads(usize),
}

/// Time of one node of the optimised plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTime {
    /// tract's name: the ONNX node's name, with a suffix where one became several.
    pub name: String,
    /// tract's operator.
    pub op: String,
    /// Median wall-clock time over the runs, in nanoseconds.
    pub nanos: u64,
}

/// A node of the optimised plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeName {
    /// Its index in the plan.
    pub idx: usize,
    /// tract's name, as in [`NodeTime`].
    pub name: String,
    /// tract's operator.
    pub op: String,
}

/// Inputs that are already in the engine's form, so that timing starts at the first node.
pub(crate) struct Prepared(TVec<TValue>);

impl Model {
    /// Reads and optimises the file at `path`. It must have passed [`crate::validate::validate`].
    pub fn load(path: &Path) -> Result<Self, EngineError> {
        let read = |source| EngineError::Read { path: path.display().to_string(), source };
        Self::from_reader(&mut File::open(path).map_err(read)?)
    }

    /// Optimises a model in memory. It must have passed [`crate::validate::validate`].
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, EngineError> {
        Self::from_reader(&mut bytes)
    }

    fn from_reader(reader: &mut dyn Read) -> Result<Self, EngineError> {
        let failed = |step| move |error: TractError| EngineError::Load { step, why: format!("{error:#}") };
        // Shapes noted inside the file are hints that tract would believe: it infers its own.
        let framework = tract_onnx::onnx()
            .with_ignore_value_info(true)
            .with_ignore_output_shapes(true)
            .with_ignore_output_types(true);
        let mut model = framework.model_for_read(reader).map_err(failed("read"))?;
        let inputs = fixed_inputs(&model)?;
        for (idx, input) in inputs.iter().enumerate() {
            let fact = input.dtype.fact(&input.shape).into();
            model.set_input_fact(idx, fact).map_err(failed("fix the inputs of"))?;
        }
        let mut typed = model.into_typed().map_err(failed("type"))?;
        windows::place(&mut typed).map_err(failed("optimise"))?;
        let optimised = typed.into_optimized().map_err(failed("optimise"))?;
        let plan = TypedSimplePlan::new(optimised).map_err(failed("plan"))?;
        let outputs = fixed_outputs(plan.model())?;
        let state = plan.spawn().map_err(failed("plan"))?;
        Ok(Self { state, inputs, outputs })
    }

    /// Shape of the first input.
    ///
    /// # Shapes
    /// - `[1, ..]`, such as `[1, channels, height, width]`, for an image network
    pub fn input_shape(&self) -> &[usize] {
        &self.inputs[0].shape
    }

    /// Shape of the first output.
    ///
    /// # Shapes
    /// - `[1, classes]` for a classifier
    pub fn output_shape(&self) -> &[usize] {
        &self.outputs[0].shape
    }

    /// The inputs by name and length, in the file's order.
    pub(crate) fn inputs(&self) -> Vec<(&str, usize)> {
        self.inputs.iter().map(|port| (port.name.as_str(), port.len())).collect()
    }

    /// The outputs likewise; their names are not known.
    pub(crate) fn outputs(&self) -> Vec<(&str, usize)> {
        self.outputs.iter().map(|port| (port.name.as_str(), port.len())).collect()
    }

    /// Numbers in all inputs together: one for an input without dimensions.
    pub fn input_len(&self) -> usize {
        self.inputs.iter().map(Port::len).sum()
    }

    /// Runs all inputs and returns all outputs.
    pub fn run(&mut self, input: &[f32]) -> Result<Vec<f32>, EngineError> {
        let prepared = self.prepare(input)?;
        floats(&self.step(&prepared)?)
    }

    /// Index of the largest number of the first output for `image`; the first of equals.
    pub fn classify(&mut self, image: &[f32]) -> Result<usize, EngineError> {
        let scores = self.run(image)?;
        let mut best = 0;
        for (idx, score) in scores.iter().enumerate().take(self.outputs[0].len()) {
            if *score > scores[best] {
                best = idx;
            }
        }
        Ok(best)
    }

    /// Times every node over `runs` runs. The times explain a whole run; they do not add up to it exactly.
    pub fn profile(&mut self, input: &[f32], runs: usize) -> Result<Vec<NodeTime>, EngineError> {
        let prepared = self.prepare(input)?;
        let mut nanos = vec![Vec::with_capacity(runs); self.state.model().nodes.len()];
        for _ in 0..runs {
            let outputs = self.state.run_plan_with_eval(prepared.0.clone(), |context, op_state, node, inputs| {
                let start = Instant::now();
                let result = eval(context, op_state, node, inputs);
                nanos[node.id].push(start.elapsed().as_nanos() as u64);
                result
            });
            outputs.map_err(|error| EngineError::Run(format!("{error:#}")))?;
        }
        let nodes = &self.state.model().nodes;
        let profile = nodes.iter().zip(&mut nanos).filter(|(_, nanos)| !nanos.is_empty()).map(|(node, nanos)| {
            nanos.sort_unstable();
            NodeTime { name: node.name.clone(), op: node.op().name().to_string(), nanos: nanos[nanos.len() / 2] }
        });
        Ok(profile.collect())
    }

    /// Runs once as a whole and once node by node, with a mark at each place that an instruction
    /// counter tells apart, and returns the nodes that ran and the output's hash.
    pub fn count(&mut self, input: &[f32]) -> Result<(Vec<NodeName>, String), EngineError> {
        let prepared = self.prepare(input)?;
        let output = self.step(&prepared)?; // brings buffers to their size
        let hash = output_hash(&output)?;
        drop(output);
        Mark::Nothing.make();
        Mark::Nothing.make();
        Mark::Begin.make();
        let output = self.step(&prepared)?;
        Mark::End.make();
        drop(output);
        let mut ran = Vec::with_capacity(self.state.model().nodes.len());
        let outputs = self.state.run_plan_with_eval(prepared.0.clone(), |context, op_state, node, inputs| {
            ran.push(node.id);
            Mark::BeforeNode(node.id).make();
            let result = eval(context, op_state, node, inputs);
            Mark::AfterNode(node.id).make();
            result
        });
        outputs.map_err(|error| EngineError::Run(format!("{error:#}")))?;
        let nodes = &self.state.model().nodes;
        let name = |&idx: &usize| {
            let node = &nodes[idx];
            NodeName { idx, name: node.name.clone(), op: node.op().name().to_string() }
        };
        Ok((ran.iter().map(name).collect(), hash))
    }

    /// tract's own estimate of the most bytes of values alive together, without constants.
    pub fn activation_bytes(&self) -> Option<u64> {
        let plan = self.state.plan();
        let usage = plan.model().eval_tmp_memory_usage(plan.order_without_consts(), |node| !node.op_is::<Const>());
        let steps = usage.ok()?;
        let peak = steps.iter().try_fold(0, |peak: usize, (_, bytes)| Some(peak.max(bytes.to_usize().ok()?)));
        peak.map(|bytes| bytes as u64)
    }

    /// Bytes of all constants of the optimised plan. Operators also keep repacked copies that this does not see.
    pub fn constant_bytes(&self) -> u64 {
        let constants = self.state.model().nodes.iter().filter_map(|node| node.op_as::<Const>());
        constants.map(|constant| (constant.val().len() * constant.val().datum_type().size_of()) as u64).sum()
    }

    pub(crate) fn prepare(&self, input: &[f32]) -> Result<Prepared, EngineError> {
        let misfit = || EngineError::Input { given: input.len(), needed: self.input_len() };
        let (mut values, mut rest) = (tvec![], input);
        for port in &self.inputs {
            let (own, others) = rest.split_at_checked(port.len()).ok_or_else(misfit)?;
            let tensor = Tensor::from_shape(&port.shape, own).map_err(|_| misfit())?;
            let cast = tensor.cast_to_dt(port.dtype).map_err(|error| EngineError::Run(format!("{error:#}")))?;
            values.push(cast.into_owned().into_tvalue());
            rest = others;
        }
        if rest.is_empty() { Ok(Prepared(values)) } else { Err(misfit()) }
    }

    /// One inference, without copying in or out.
    pub(crate) fn step(&mut self, input: &Prepared) -> Result<TVec<TValue>, EngineError> {
        self.state.run(input.0.clone()).map_err(|error| EngineError::Run(format!("{error:#}")))
    }
}

/// FNV-1a of the outputs' numbers as little-endian bytes, in hexadecimal.
pub(crate) fn output_hash(outputs: &[TValue]) -> Result<String, EngineError> {
    Ok(format!("{:016x}", fnv1a(floats(outputs)?.iter().flat_map(|x| x.to_le_bytes()))))
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The numbers of all outputs, one after another.
pub(crate) fn floats(outputs: &[TValue]) -> Result<Vec<f32>, EngineError> {
    let failed = |error: TractError| EngineError::Run(format!("{error:#}"));
    let mut all = Vec::new();
    for output in outputs {
        let floats = output.cast_to::<f32>().map_err(failed)?;
        all.extend_from_slice(floats.try_as_plain_ram().map_err(failed)?.as_slice::<f32>().map_err(failed)?);
    }
    Ok(all)
}

/// The inputs, with an open first dimension set to 1: an open one runs several times slower.
fn fixed_inputs(model: &InferenceModel) -> Result<Vec<Port>, EngineError> {
    let interface = |what: String| EngineError::Interface { what };
    let n = model.input_outlets().map_err(|error| interface(format!("inputs are unknown: {error:#}")))?.len();
    if n == 0 {
        return Err(interface("inputs are none".into()));
    }
    let port = |idx| {
        let fact = model.input_fact(idx).map_err(|error| interface(format!("input {idx} is unknown: {error:#}")))?;
        let fixed = |dim: &DimFact| dim.concretize().and_then(|dim| dim.to_usize().ok());
        let mut shape = Vec::new();
        for (axis, dim) in fact.shape.dims().enumerate() {
            match fixed(dim) {
                Some(n) => shape.push(n),
                None if axis == 0 => shape.push(1),
                None => return Err(interface(format!("input {idx} leaves dimension {axis} open"))),
            }
        }
        let dtype = fact.datum_type.concretize().unwrap_or(f32::datum_type());
        if !dtype.is_number() && dtype != bool::datum_type() {
            return Err(interface(format!("input {idx} is {dtype:?}")));
        }
        let outlets = model.input_outlets().map_err(|error| interface(format!("inputs are unknown: {error:#}")))?;
        Ok(Port { name: model.node(outlets[idx].node).name.clone(), shape, dtype })
    };
    (0..n).map(port).collect()
}

/// The outputs of an optimised plan.
fn fixed_outputs(model: &TypedModel) -> Result<Vec<Port>, EngineError> {
    let interface = |what: String| EngineError::Interface { what };
    let unknown = |error: TractError| interface(format!("outputs are unknown: {error:#}"));
    let outlets = model.output_outlets().map_err(unknown)?;
    if outlets.is_empty() {
        return Err(interface("outputs are none".into()));
    }
    let port = |(idx, &outlet)| {
        let fact = model.outlet_fact(outlet).map_err(unknown)?;
        match fact.shape.as_concrete() {
            Some(shape) => Ok(Port { name: String::new(), shape: shape.to_vec(), dtype: fact.datum_type }),
            None => Err(interface(format!("output {idx} has the open shape {:?}", fact.shape))),
        }
    };
    outlets.iter().enumerate().map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn hashes_never_change() {
        assert_eq!(fnv1a([]), 0xcbf2_9ce4_8422_2325); // the offset basis
        assert_eq!(fnv1a(*b"a"), 0xaf63_dc4c_8601_ec8c); // Noll's test vector
    }
}
