//! Estimated memory: what the process that runs a network needs beyond weights and activations.

use graph::cost::StaticCost;
use serde::{Deserialize, Serialize};

use crate::budget::{Figure, Source};

/// Peak resident memory while loading and running, as a linear function of the network. Weights
/// and activations alone say too little: an engine keeps several copies of the weights while it
/// optimises a model, and is a program of its own size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryModel {
    /// Where the numbers come from, and on what they were not measured; printed with each estimate.
    pub source: String,
    /// The engine before it has a model, in bytes.
    pub base_bytes: f64,
    /// Bytes for each byte of weights.
    pub per_weight_byte: f64,
    /// Bytes for each byte of live activations at their peak.
    pub per_activation_byte: f64,
    /// Factors from the estimate to the ends of its interval: below and above 1.
    pub interval: [f64; 2],
}

impl MemoryModel {
    /// Peak resident memory of a network of this cost, in bytes.
    pub fn predict(&self, cost: &StaticCost) -> Figure {
        let weights = self.per_weight_byte * cost.model_bytes as f64;
        let value = self.base_bytes + weights + self.per_activation_byte * cost.peak_bytes as f64;
        let [low, high] = self.interval.map(|factor| value * factor);
        Figure { value, low, high, source: Source::Estimated { by: self.source.clone() } }
    }
}
