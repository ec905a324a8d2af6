//! The gate before the engine: refuses a stranger's ONNX file that could crash, hang or fill the machine.
//!
//! tract trusts what it reads. Here nothing is trusted: not a length, not a dimension, not that a
//! graph has no cycle. What passes is bounded in memory and work, by shapes that follow from the
//! file; a process of its own with limits ([`crate::worker`]) holds what the engine itself gets wrong.

mod ops;
mod proto;
mod shapes;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::proto::{Dim, Network};

/// Checks `bytes` of an ONNX file and says what is in it.
pub fn validate(bytes: &[u8], limits: &Limits) -> Result<ModelInfo, Rejected> {
    if bytes.len() as u64 > limits.file_bytes {
        let why = format!("is {} bytes, more than {}", bytes.len(), limits.file_bytes);
        return Err(Rejected::new("size", "the file", why));
    }
    wire::walk(bytes, limits)?;
    let network = proto::read(bytes, limits)?;
    if !OPSETS.contains(&network.opset) {
        let why = format!("is {}; export it with one of {} to {}", network.opset, OPSETS.start(), OPSETS.end());
        return Err(Rejected::new("opset", "the model", why));
    }
    for node in &network.nodes {
        ops::check(node, network.opset)?;
    }
    let inputs = inputs(&network, limits)?;
    if network.outputs.is_empty() {
        return Err(Rejected::new("outputs", "the graph", "are none; export it with at least one"));
    }
    let order = topological_order(&network)?;
    let walked = shapes::walk(&network, &inputs, &order, limits)?;
    let mut ops = BTreeMap::new();
    for node in &network.nodes {
        *ops.entry(node.op.clone()).or_default() += 1;
    }
    Ok(ModelInfo {
        sha256: hex(&Sha256::digest(bytes)),
        file_bytes: bytes.len() as u64,
        ir_version: network.ir_version,
        opset: network.opset,
        producer: network.producer,
        metadata: network.metadata,
        outputs: walked.outputs,
        inputs: inputs.into_iter().map(|(input, _)| input).collect(),
        nodes: network.nodes.len(),
        ops,
        parameters: walked.parameters,
        initializer_bytes: walked.constant_bytes,
        macs: walked.macs,
        activation_bytes: walked.peak_bytes,
    })
}

/// How large a model may be. `Limits::default()` admits image networks that fit a small board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Size of the file, in bytes.
    pub file_bytes: u64,
    /// Protobuf fields in the file: a decoded one takes up to 24 bytes beside its content.
    pub fields: usize,
    /// Protobuf messages in the file: a decoded one takes up to about 600 bytes, an encoded one two.
    pub messages: usize,
    /// Protobuf messages inside each other.
    pub depth: usize,
    /// Nodes of the graph.
    pub nodes: usize,
    /// Initializers of the graph.
    pub initializers: usize,
    /// Dimensions of one tensor.
    pub rank: usize,
    /// All constants together, in bytes.
    pub initializer_bytes: u64,
    /// One computed tensor, the unrolled windows of one convolution, and the peak of values alive
    /// together, in bytes.
    pub activation_bytes: u64,
    /// Multiply-accumulates, pooling reads and elements made in one inference.
    pub work: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 256 << 20,
            fields: 2_000_000,
            messages: 200_000,
            depth: 16,
            nodes: 10_000,
            initializers: 20_000,
            rank: 8,
            initializer_bytes: 256 << 20,
            activation_bytes: 1 << 30,
            work: 200_000_000_000,
        }
    }
}

/// What an ONNX file holds, as far as it can be known without running it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Size of the file, in bytes.
    pub file_bytes: u64,
    /// Version of the file format.
    pub ir_version: i64,
    /// Version of ONNX's operators.
    pub opset: i64,
    /// Who wrote the file: name and version.
    pub producer: String,
    /// `metadata_props`.
    pub metadata: BTreeMap<String, String>,
    /// The inputs that are not constants, in the file's order; at least one.
    pub inputs: Vec<ValueInfo>,
    /// The outputs, in the file's order; at least one.
    pub outputs: Vec<ValueInfo>,
    /// Nodes of the graph.
    pub nodes: usize,
    /// How often each operator occurs.
    pub ops: BTreeMap<String, usize>,
    /// Elements of all constants that are not shapes or indices.
    pub parameters: u64,
    /// All constants, in bytes.
    pub initializer_bytes: u64,
    /// Multiply-accumulates of convolutions and matrix products.
    pub macs: u64,
    /// Most bytes of the graph's values alive together, each in a buffer of its own. The engine adds its own scratch.
    pub activation_bytes: u64,
}

/// A named value at the edge of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueInfo {
    /// Its name in the file.
    pub name: String,
    /// `[batch, ..]`, with an open batch set to 1.
    pub shape: Vec<usize>,
}

/// Why a model may not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{place}: {what} {why}")]
pub struct Rejected {
    /// What is wrong, such as `attribute`.
    pub what: String,
    /// Where: the node, the initializer or the part of the file.
    pub place: String,
    /// What is wrong with it, and what to do where that is known.
    pub why: String,
}

impl Rejected {
    /// A rejection of `what` at `place`; reads as "place: what why".
    pub fn new(what: impl Into<String>, place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), place: place.into(), why: why.into() }
    }
}

/// Operator sets whose meaning the walk over shapes knows.
const OPSETS: std::ops::RangeInclusive<i64> = 6..=25;

/// The inputs that no initializer answers and their types, with an open first dimension set to 1.
fn inputs(network: &Network, limits: &Limits) -> Result<Vec<(ValueInfo, i32)>, Rejected> {
    let constants = network.initializers.iter().map(|(name, _)| name).collect::<HashSet<_>>();
    let free = network.inputs.iter().filter(|input| !constants.contains(&input.name)).collect::<Vec<_>>();
    if free.is_empty() || free.len() > MOST_INPUTS {
        let why = format!("are {}; export it with 1 to {MOST_INPUTS}", free.len());
        return Err(Rejected::new("inputs", "the graph", why));
    }
    free.into_iter().map(|input| Ok((fixed(input, limits)?, input.dtype))).collect()
}

/// Inputs that a network may take.
const MOST_INPUTS: usize = 64;

fn fixed(input: &proto::Value, limits: &Limits) -> Result<ValueInfo, Rejected> {
    let refuse = |what: &str, why: String| Err(Rejected::new(what, format!("input {:?}", input.name), why));
    if proto::element_bytes(input.dtype).is_none() {
        let why = format!("is {}; only numbers run, float is best", proto::dtype_name(input.dtype));
        return refuse("data type", why);
    }
    let Some(dims) = input.dims.as_ref().filter(|dims| dims.len() <= limits.rank) else {
        return refuse("shape", format!("must have at most {} dimensions, all of them named", limits.rank));
    };
    let mut shape = Vec::with_capacity(dims.len());
    for (idx, dim) in dims.iter().enumerate() {
        let is_batch = idx == 0;
        match dim {
            // The engine parses a symbol as an expression; a plain word is all that a batch needs.
            Dim::Symbol(symbol) if is_batch && is_word(symbol) => shape.push(1),
            // Some exporters write an open batch as -1; the engine, too, takes it as open.
            Dim::Unknown | Dim::Fixed(-1) if is_batch => shape.push(1),
            Dim::Fixed(n) => match usize::try_from(*n) {
                Ok(n) if n > 0 => shape.push(n),
                _ => return refuse("shape", format!("has dimension {n}; export it with a fixed size")),
            },
            Dim::Symbol(_) | Dim::Unknown => {
                return refuse("shape", format!("leaves dimension {idx} open; export it with a fixed size"));
            }
        }
    }
    Ok(ValueInfo { name: input.name.clone(), shape })
}

fn is_word(symbol: &str) -> bool {
    symbol.len() <= 64
        && symbol.starts_with(|c: char| c.is_ascii_alphabetic())
        && symbol.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Node indices, every node after those it reads, in the order of the file otherwise. Refuses undefined and doubly defined values, and cycles.
fn topological_order(network: &Network) -> Result<Vec<usize>, Rejected> {
    let mut maker: HashMap<&str, Option<usize>> = HashMap::new();
    for (name, _) in &network.initializers {
        if maker.insert(name, None).is_some() {
            return Err(Rejected::new("name", format!("initializer {name:?}"), "is given twice"));
        }
    }
    let mut seen_inputs = HashSet::new();
    for input in &network.inputs {
        if !seen_inputs.insert(&input.name) {
            return Err(Rejected::new("name", format!("input {:?}", input.name), "is given twice"));
        }
        maker.insert(&input.name, None); // an initializer of the same name is its default
    }
    for (idx, node) in network.nodes.iter().enumerate() {
        for name in present(&node.outputs) {
            if maker.insert(name, Some(idx)).is_some() {
                return Err(Rejected::new("output", &node.label, format!("{name:?} is already the name of a value")));
            }
        }
    }
    for output in &network.outputs {
        if !maker.contains_key(output.name.as_str()) {
            return Err(Rejected::new("output", "the graph", format!("{:?} is made by no node", output.name)));
        }
    }

    let mut readers = vec![Vec::new(); network.nodes.len()];
    let mut n_missing = vec![0usize; network.nodes.len()];
    for (idx, node) in network.nodes.iter().enumerate() {
        for name in present(&node.inputs) {
            match maker.get(name) {
                Some(Some(source)) => {
                    readers[*source].push(idx);
                    n_missing[idx] += 1;
                }
                Some(None) => {}
                None => return Err(Rejected::new("input", &node.label, format!("{name:?} is made by no node"))),
            }
        }
    }
    // Of the nodes that are ready the first in the file comes first: a file that is in order stays as it is, and its
    // values live as long as the engine keeps them.
    let mut ready: BTreeSet<usize> = (0..network.nodes.len()).filter(|&idx| n_missing[idx] == 0).collect();
    let mut order = Vec::with_capacity(network.nodes.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for &reader in &readers[next] {
            n_missing[reader] -= 1;
            if n_missing[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    match n_missing.iter().position(|&n| n > 0) {
        None => Ok(order),
        Some(idx) => Err(Rejected::new("inputs", &network.nodes[idx].label, "depend on a cycle of nodes")),
    }
}

/// The names in a node's list; ONNX leaves the name of an absent optional value empty.
fn present(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
