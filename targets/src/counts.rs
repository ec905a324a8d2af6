//! What a network executes on a kind of processor: instructions, counted in an emulator.
//!
//! Counts are exact and the same on every machine whatever its load, so they rank networks and
//! notice a change of one percent. They are not time: a processor's caches and clock are not in
//! them. [`CountScale`] turns them into an estimate, and says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::budget::{Figure, Source};

/// Instructions of one inference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Kind of board whose program was emulated, such as `rpi4`.
    pub target: String,
    /// The emulated processor, such as `cortex-a72`.
    pub processor: String,
    /// SHA-256 of the model file, in hexadecimal.
    pub model_sha256: String,
    /// Engine and its version.
    pub engine: String,
    /// Version of the agent that ran the model.
    pub agent: String,
    /// Instructions of one whole inference.
    pub instructions: u64,
    /// Instructions of them that read memory; 0 where they cannot be told apart.
    pub loads: u64,
    /// Instructions of them that write memory; 0 where they cannot be told apart.
    pub stores: u64,
    /// The same by node of the engine's plan, in its order. They explain the whole; what the engine
    /// does between nodes is in none of them.
    pub nodes: Vec<NodeCounts>,
    /// FNV-1a hash of the output's bytes for the protocol's fixed input, in hexadecimal.
    pub output_hash: String,
}

/// Instructions of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCounts {
    /// The engine's name: that of the ONNX node, with a suffix where one became several.
    pub name: String,
    /// The engine's operator.
    pub op: String,
    /// Instructions.
    pub instructions: u64,
    /// Instructions of them that read memory.
    pub loads: u64,
    /// Instructions of them that write memory.
    pub stores: u64,
}

/// Time of an instruction on a kind of board: the sum over operators of instructions times their
/// time, plus what the network's bytes take beyond that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountScale {
    /// Where the numbers come from.
    pub source: String,
    /// Time of one instruction, in nanoseconds, where its operator has none of its own.
    pub ns_per_instruction: f64,
    /// Time of one instruction by the engine's operator, in nanoseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_op: BTreeMap<String, f64>,
    /// Time of a byte that the network's operations read or write, in nanoseconds, beyond the time
    /// of the instructions that do it.
    #[serde(default)]
    pub ns_per_byte: f64,
    /// Factors from the estimate to the ends of its interval: below and above 1.
    pub interval: [f64; 2],
}

impl CountScale {
    /// Time of one inference, in seconds. `traffic_bytes` are those of
    /// [`StaticCost`](graph::cost::StaticCost); 0 where the network's graph is not known.
    pub fn latency(&self, counts: &Counts, traffic_bytes: u64) -> Figure {
        let price = |op: &str| self.by_op.get(op).copied().unwrap_or(self.ns_per_instruction);
        let of_nodes: u64 = counts.nodes.iter().map(|node| node.instructions).sum();
        let nodes: f64 = counts.nodes.iter().map(|node| node.instructions as f64 * price(&node.op)).sum();
        let between = counts.instructions.saturating_sub(of_nodes) as f64 * self.ns_per_instruction;
        let value = (nodes + between + traffic_bytes as f64 * self.ns_per_byte) * 1e-9;
        let by = format!("from instruction counts for {}, not measured; {}", counts.target, self.source);
        let [low, high] = self.interval.map(|factor| value * factor);
        Figure { value, low, high, source: Source::Estimated { by } }
    }
}
