//! What a network executes on a kind of processor: instructions, counted in an emulator.
//!
//! Counts are exact and the same on every machine whatever its load, so they rank networks and
//! notice a change of one percent. They are not time: a processor's caches and clock are not in
//! them. [`CountScale`] turns them into an estimate, and says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    budget::{Figure, Source},
    conformal::interval,
    nnls::nnls,
    stats::quantile,
};

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

    /// This scale refitted to networks that were timed on one board as well, by non-negative least squares
    /// on relative errors. Each of the operators that most instructions belong to gets a time of its own,
    /// the others share one, and bytes get one beyond it; all are drawn to one time for every instruction,
    /// and bytes to none. `None` without a network that took time.
    pub fn fitted(&self, source: String, timed: &[Timed]) -> Option<Self> {
        let timed: Vec<&Timed> = timed.iter().filter(|it| 0.0 < it.seconds && 0 < it.counts.instructions).collect();
        if timed.is_empty() {
            return None;
        }
        let error = |(idx, it): (usize, &&Timed)| {
            let others: Vec<&Timed> = [&timed[..idx], &timed[idx + 1..]].concat();
            (it.seconds / self.fit(&others).latency(&it.counts, it.traffic_bytes).value).ln()
        };
        let errors: Vec<f64> = timed.iter().enumerate().map(error).collect();
        Some(Self { source, interval: interval(&errors, FEW), ..self.fit(&timed) })
    }

    fn fit(&self, timed: &[&Timed]) -> Self {
        let ratio = |it: &&Timed| it.seconds / self.latency(&it.counts, it.traffic_bytes).value;
        let mut ratios: Vec<f64> = timed.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let ns_per_instruction = self.ns_per_instruction * quantile(&ratios, 0.5).unwrap_or(1.0);
        let ops = largest(timed);
        // One column an operator, one for all other instructions, one for bytes.
        let (rest, bytes) = (OPS, OPS + 1);
        let (mut gram, mut target) = ([[0.0; OPS + 2]; OPS + 2], [RIDGE; OPS + 2]);
        target[bytes] = 0.0;
        for (k, row) in gram.iter_mut().enumerate() {
            row[k] = RIDGE;
        }
        for it in timed {
            let mut parts = [0.0; OPS + 2];
            for node in &it.counts.nodes {
                let column = ops.iter().position(|op| **op == node.op).unwrap_or(rest);
                parts[column] += node.instructions as f64 * ns_per_instruction;
            }
            let of_nodes: u64 = it.counts.nodes.iter().map(|node| node.instructions).sum();
            parts[rest] += it.counts.instructions.saturating_sub(of_nodes) as f64 * ns_per_instruction;
            parts[bytes] = it.traffic_bytes as f64 * NS_PER_BYTE;
            let shares = parts.map(|part| part * 1e-9 / it.seconds);
            for (i, share) in shares.iter().enumerate() {
                target[i] += share;
                for (sum, other) in gram[i].iter_mut().zip(shares) {
                    *sum += share * other;
                }
            }
        }
        let multiples = nnls(&gram, &target);
        let by_op = ops.iter().zip(multiples).map(|(op, multiple)| ((*op).to_owned(), multiple * ns_per_instruction));
        Self {
            ns_per_instruction: multiples[rest] * ns_per_instruction,
            by_op: by_op.collect(),
            ns_per_byte: multiples[bytes] * NS_PER_BYTE,
            ..self.clone()
        }
    }
}

/// A network that was counted and timed.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// Its instructions.
    pub counts: Counts,
    /// Bytes that its operations read and write.
    pub traffic_bytes: u64,
    /// Time of an inference on the board, in seconds.
    pub seconds: f64,
}

/// Operators with a time of their own.
const OPS: usize = 6;

/// Weight of what is believed before any measurement, in networks.
const RIDGE: f64 = 5e-3;

/// A time of a byte to begin with, in nanoseconds: 4 GB/s.
const NS_PER_BYTE: f64 = 0.25;

/// Factor up and down for a fit to fewer networks than the quantile needs.
const FEW: f64 = 1.8;

/// The operators that most instructions of all networks belong to, each network counting alike.
fn largest<'a>(timed: &[&'a Timed]) -> Vec<&'a str> {
    let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
    for it in timed {
        for node in &it.counts.nodes {
            *shares.entry(&node.op).or_default() += node.instructions as f64 / it.counts.instructions as f64;
        }
    }
    let mut ops: Vec<(&str, f64)> = shares.into_iter().collect();
    ops.sort_by(|a, b| b.1.total_cmp(&a.1));
    ops.into_iter().take(OPS).map(|it| it.0).collect()
}
