//! Walks a graph's shapes: what each node makes, how much memory is alive, how much work is done.
//!
//! Every size must follow from the file. What would depend on the numbers of a run is refused: it
//! could be any, and the engine would believe it.

mod axes;
mod layers;
mod layout;
mod numbers;
mod window;

use std::collections::HashMap;

use self::axes::{
    attribute_int, attribute_ints, axis_in, axis_of, broadcast, elements, has_input, known_late, without, wrong_rank,
};
use self::layers::layer_norm;
use self::layout::{blocks, flatten, shape_of, transpose};
use super::ops::{self, Rule};
use super::proto::{Constant, INT64, Network, Node};
use super::{Limits, Rejected, ValueInfo};

/// What the walk learned.
pub(super) struct Walked {
    pub parameters: u64,
    pub constant_bytes: u64,
    pub macs: u64,
    pub peak_bytes: u64,
    pub outputs: Vec<ValueInfo>,
}

/// What is known of a value before anything runs.
#[derive(Clone, Default)]
struct Fact {
    shape: Vec<usize>,
    /// Element type, by ONNX's number.
    dtype: i32,
    /// The numbers themselves, where they are few and known: shapes travel as tensors.
    ints: Option<Vec<i64>>,
    floats: Option<Vec<f32>>,
    /// What every number lies between, whatever the run brings, where the file cuts them off.
    range: Option<[f32; 2]>,
}

impl Fact {
    /// The type is told later, for all outputs of a node at once.
    fn of(shape: Vec<usize>) -> Self {
        Self { shape, ..Self::default() }
    }
}

impl From<&Constant> for Fact {
    fn from(constant: &Constant) -> Self {
        Self {
            shape: constant.dims.clone(),
            dtype: constant.dtype,
            ints: constant.ints.clone(),
            floats: constant.floats.clone(),
            range: None,
        }
    }
}

/// What is wrong, and why.
type Wrong = (&'static str, String);

/// Walks `order`, a topological order of the network's nodes, from `inputs` and their types.
pub(super) fn walk(
    network: &Network,
    inputs: &[(ValueInfo, i32)],
    order: &[usize],
    limits: &Limits,
) -> Result<Walked, Rejected> {
    let mut walk = Walk {
        opset: network.opset,
        limits,
        facts: HashMap::new(),
        work: 0,
        macs: 0,
        constant_bytes: 0,
        parameters: 0,
    };
    for (name, constant) in &network.initializers {
        let kept = walk.keep(constant);
        let fact = kept.map_err(|(what, why)| Rejected::new(what, format!("initializer {name:?}"), why))?;
        walk.facts.insert(name, fact);
    }
    for (input, dtype) in inputs {
        let bounded = walk.bounded(Fact { shape: input.shape.clone(), dtype: *dtype, ..Fact::default() });
        let fact = bounded.map_err(|(what, why)| Rejected::new(what, format!("input {:?}", input.name), why))?;
        walk.facts.insert(&input.name, fact);
    }

    for &idx in order {
        let node = &network.nodes[idx];
        let refuse = |(what, why)| Rejected::new(what, &node.label, why);
        let facts = walk.node(node).map_err(refuse)?;
        for (idx, (name, fact)) in node.outputs.iter().zip(facts).enumerate() {
            let fact = walk.bounded(Fact { dtype: walk.dtype(node, idx), ..fact }).map_err(refuse)?;
            if !name.is_empty() {
                walk.facts.insert(name, fact);
            }
        }
        if walk.work > limits.work {
            return Err(refuse(("work", format!("exceeds {} operations up to here", limits.work))));
        }
    }
    let peak_bytes = walk.peak(network, inputs, order);
    if peak_bytes > limits.activation_bytes {
        let why = format!("are {peak_bytes} bytes at their peak, more than {}", limits.activation_bytes);
        return Err(Rejected::new("activations", "the graph", why));
    }
    let shape = |name: &str| walk.facts.get(name).map(|fact| fact.shape.clone()).unwrap_or_default();
    let outputs = network.outputs.iter().map(|it| ValueInfo { name: it.name.clone(), shape: shape(&it.name) });
    Ok(Walked {
        parameters: walk.parameters,
        constant_bytes: walk.constant_bytes,
        macs: walk.macs,
        peak_bytes,
        outputs: outputs.collect(),
    })
}

struct Walk<'a> {
    opset: i64,
    limits: &'a Limits,
    facts: HashMap<&'a str, Fact>,
    /// Multiply-accumulates, pooling reads and elements made so far.
    work: u64,
    macs: u64,
    constant_bytes: u64,
    parameters: u64,
}

impl Walk<'_> {
    /// Counts a constant.
    fn keep(&mut self, constant: &Constant) -> Result<Fact, Wrong> {
        self.constant_bytes += constant.bytes;
        if self.constant_bytes > self.limits.initializer_bytes {
            return Err(("constants", format!("are more than {} bytes together", self.limits.initializer_bytes)));
        }
        let fact = self.bounded(Fact::from(constant))?;
        if constant.dtype != INT64 {
            self.parameters += fact.shape.iter().map(|&dim| dim as u64).product::<u64>();
        }
        Ok(fact)
    }

    /// Refuses a shape with too many dimensions or elements. A dimension of 0 counts as 1, so that no
    /// product of some of the dimensions can overflow.
    fn bounded(&mut self, fact: Fact) -> Result<Fact, Wrong> {
        let (shape, most) = (&fact.shape, self.limits.activation_bytes / ELEMENT_BYTES);
        if shape.len() > self.limits.rank {
            return Err(("shape", format!("has {} dimensions, more than {}", shape.len(), self.limits.rank)));
        }
        let at_least_one = shape.iter().map(|&dim| dim.max(1)).collect::<Vec<_>>();
        match elements(&at_least_one) {
            Some(n) if n <= most => {
                self.work = self.work.saturating_add(n);
                Ok(fact)
            }
            _ => Err(("shape", format!("{shape:?} has more than {most} elements"))),
        }
    }

    /// Adds `n` operations, where they did not overflow.
    fn add_work(&mut self, n: Option<u64>) -> u64 {
        let n = n.unwrap_or(u64::MAX);
        self.work = self.work.saturating_add(n);
        n
    }

    fn add_macs(&mut self, n: Option<u64>) {
        self.macs = self.macs.saturating_add(self.add_work(n));
    }

    /// Input `idx`, where the node has it.
    fn input(&self, node: &Node, idx: usize) -> Option<&Fact> {
        self.facts.get(node.inputs.get(idx)?.as_str())
    }

    /// The shape of input `idx`, which the operator needs.
    fn shape(&self, node: &Node, idx: usize) -> Result<&[usize], Wrong> {
        let fact = self.input(node, idx).ok_or_else(|| ("inputs", format!("lack the one at {idx}")))?;
        Ok(&fact.shape)
    }

    /// Axes or sizes that older operator sets give as an attribute and newer ones as a constant input.
    fn ints_or(&self, node: &Node, name: &str, idx: usize) -> Result<Option<Vec<i64>>, Wrong> {
        match attribute_ints(node, name) {
            Some(list) => Ok(Some(list.to_vec())),
            None if has_input(node, idx) => self.ints(node, idx).map(Some),
            None => Ok(None),
        }
    }

    /// Input `idx`, which must be integers that follow from the file.
    fn ints(&self, node: &Node, idx: usize) -> Result<Vec<i64>, Wrong> {
        self.input(node, idx).and_then(|fact| fact.ints.clone()).ok_or_else(|| known_late(node, idx))
    }

    /// What a `Clip` cuts off at, where its file says both.
    fn limits_of(&self, node: &Node) -> Option<[f32; 2]> {
        let limit = |idx: usize| match self.input(node, idx)?.floats.as_deref()? {
            &[limit] => Some(limit),
            _ => None,
        };
        let (min, max) = (limit(1)?, limit(2)?);
        (min <= max).then_some([min, max])
    }

    /// Input `idx` as sizes: integers that follow from the file and are not negative.
    fn sizes(&self, node: &Node, idx: usize) -> Result<Vec<usize>, Wrong> {
        let ints = self.ints(node, idx)?;
        let sizes = ints.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<_>>();
        sizes.ok_or_else(|| ("size", format!("{ints:?} holds a negative number")))
    }

    /// The facts of a node's outputs, in their order.
    fn node(&mut self, node: &Node) -> Result<Vec<Fact>, Wrong> {
        let rule = ops::rule(node);
        if rule == Rule::Constant {
            return Ok(vec![self.constant(node)?]);
        }
        let first = self.shape(node, 0)?.to_vec();
        // Numbers that an operator only moves stay known.
        let numbers = |shape| Fact { shape, ..self.input(node, 0).cloned().unwrap_or_default() };
        let shape = match rule {
            Rule::Constant => unreachable!("handled above"),
            Rule::Same => {
                axis_of(node, first.len())?;
                // Shapes are cast between the integer types, 6 and 7, on their way.
                let keeps = node.op == "Identity" || matches!(attribute_int(node, "to"), Some(6 | 7));
                if node.op == "Clip" {
                    return Ok(vec![Fact { range: self.limits_of(node), ..Fact::of(first) }]);
                }
                return Ok(if keeps { vec![numbers(first)] } else { vec![Fact::of(first); node.outputs.len()] });
            }
            Rule::Broadcast => {
                let shapes = (1..node.inputs.len()).map(|idx| self.shape(node, idx));
                let shape = shapes.into_iter().try_fold(first, |all, shape| broadcast(&all, shape?))?;
                return Ok(vec![Fact { ints: self.arithmetic(node, &shape)?, ..Fact::of(shape) }]);
            }
            Rule::Conv => self.conv(node)?,
            Rule::ConvTranspose => self.conv_transpose(node)?,
            Rule::LayerNorm => return layer_norm(node, first),
            Rule::Pool => self.pool(node)?,
            Rule::GlobalPool if first.len() < 3 => return Err(wrong_rank(&first, "at least 3")),
            Rule::GlobalPool => first.iter().enumerate().map(|(axis, &n)| if axis < 2 { n } else { 1 }).collect(),
            Rule::Gemm => self.gemm(node)?,
            Rule::MatMul => self.matmul(node)?,
            Rule::Flatten => flatten(node, &first)?,
            Rule::Reshape => return Ok(vec![numbers(self.reshape(node, &first)?)]),
            Rule::Transpose => transpose(node, &first)?,
            Rule::Squeeze => return Ok(vec![numbers(self.squeeze(node, first)?)]),
            Rule::Unsqueeze => return Ok(vec![numbers(self.unsqueeze(node, first)?)]),
            Rule::Concat => return Ok(vec![self.concat(node)?]),
            Rule::Split => return self.split(node, &first),
            Rule::Slice => return Ok(vec![self.slice(node, first)?]),
            Rule::Gather => return Ok(vec![self.gather(node, &first)?]),
            Rule::Pad => self.pad(node, first)?,
            Rule::Shape => return Ok(vec![shape_of(node, &first)]),
            Rule::ConstantOfShape => self.sizes(node, 0)?,
            Rule::Expand => broadcast(&first, &self.sizes(node, 1)?)?,
            Rule::Tile => {
                let repeats = self.sizes(node, 1)?;
                if first.len() != repeats.len() {
                    return Err(wrong_rank(&first, "one repeat each"));
                }
                first.iter().zip(repeats).map(|(&n, times)| n.saturating_mul(times)).collect()
            }
            Rule::Resize => self.resize(node, &first)?,
            Rule::DepthToSpace | Rule::SpaceToDepth => blocks(node, rule, &first)?,
            Rule::Reduce => self.reduce(node, first)?,
            Rule::ArgReduce => {
                let axis = axis_in(attribute_int(node, "axis").unwrap_or(0), first.len())?;
                without(first, &[axis], attribute_int(node, "keepdims") != Some(0))
            }
        };
        Ok(vec![Fact::of(shape); node.outputs.len()])
    }

    /// Most bytes alive together when nodes run in `order` and a value dies after its last reader.
    fn peak(&self, network: &Network, inputs: &[(ValueInfo, i32)], order: &[usize]) -> u64 {
        let mut last_use: HashMap<&str, usize> = HashMap::new();
        for (step, &idx) in order.iter().enumerate() {
            for name in super::present(&network.nodes[idx].inputs) {
                last_use.insert(name, step);
            }
        }
        for output in &network.outputs {
            last_use.insert(&output.name, order.len());
        }
        let bytes = |name: &str| {
            let n = self.facts.get(name).and_then(|fact| elements(&fact.shape));
            n.unwrap_or(0) * ELEMENT_BYTES // every value was walked and bounded
        };
        let mut dies = vec![0u64; order.len() + 1];
        let mut alive = 0;
        for (input, _) in inputs {
            alive += bytes(&input.name);
            // An input that nobody reads is held to the end.
            dies[*last_use.get(input.name.as_str()).unwrap_or(&order.len())] += bytes(&input.name);
        }
        let mut peak = alive;
        for (step, &idx) in order.iter().enumerate() {
            for name in super::present(&network.nodes[idx].outputs) {
                alive += bytes(name);
                dies[*last_use.get(name).unwrap_or(&step)] += bytes(name);
            }
            peak = peak.max(alive);
            alive -= dies[step];
        }
        peak
    }
}

/// Activations are counted as floats. The few of 8 bytes are shapes, positions and the inputs of small tests; the
/// process that runs the model has a limit of its own.
const ELEMENT_BYTES: u64 = 4;
