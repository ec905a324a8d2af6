//! Estimated memory: what the process that runs a network needs beyond weights and activations.

use graph::cost::StaticCost;
use serde::{Deserialize, Serialize};

use crate::{
    budget::{Figure, Source},
    conformal::interval,
    nnls::nnls,
};

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

/// The memory that one network was seen to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Its weights, in bytes.
    pub weights: f64,
    /// Its live activations at their peak, in bytes.
    pub activations: f64,
    /// Peak resident memory of the process, in bytes.
    pub resident: f64,
}

/// Weight of the model before against the measurements; as for latency.
const RIDGE: f64 = 0.02;

/// Factor up and down for a fit to fewer networks than an interval needs. Memory repeats itself far
/// better than time.
const FEW: f64 = 1.2;

impl MemoryModel {
    /// Peak resident memory of a network of this cost, in bytes.
    pub fn predict(&self, cost: &StaticCost) -> Figure {
        let value = self.resident(cost.model_bytes as f64, cost.peak_bytes as f64);
        let [low, high] = self.interval.map(|factor| value * factor);
        Figure { value, low, high, source: Source::Estimated { by: self.source.clone() } }
    }

    /// This model refitted to what was measured: non-negative least squares on relative errors,
    /// drawn to this model where the networks say nothing. Peaks of 0 say nothing and are left out;
    /// `None` without any other.
    pub fn fitted(&self, source: String, peaks: &[Peak]) -> Option<Self> {
        let peaks: Vec<Peak> = peaks.iter().copied().filter(|peak| 0.0 < peak.resident).collect();
        if peaks.is_empty() {
            return None;
        }
        let error = |(idx, peak): (usize, &Peak)| {
            let others = [&peaks[..idx], &peaks[idx + 1..]].concat();
            (peak.resident / self.fit(&others).resident(peak.weights, peak.activations)).ln()
        };
        let errors: Vec<f64> = peaks.iter().enumerate().map(error).collect();
        Some(Self { source, interval: interval(&errors, FEW), ..self.fit(&peaks) })
    }

    fn resident(&self, weights: f64, activations: f64) -> f64 {
        self.base_bytes + self.per_weight_byte * weights + self.per_activation_byte * activations
    }

    fn fit(&self, peaks: &[Peak]) -> Self {
        // A factor of zero could never be scaled to what is measured.
        let or = |value: f64, other: f64| if 0.0 < value { value } else { other };
        let before = [or(self.base_bytes, 1e6), or(self.per_weight_byte, 1.0), or(self.per_activation_byte, 1.0)];
        let (mut gram, mut target) = ([[0.0; 3]; 3], [RIDGE; 3]);
        for (k, row) in gram.iter_mut().enumerate() {
            row[k] = RIDGE;
        }
        for peak in peaks {
            let parts = [before[0], before[1] * peak.weights, before[2] * peak.activations];
            let shares = parts.map(|part| part / peak.resident);
            for i in 0..3 {
                target[i] += shares[i];
                for j in 0..3 {
                    gram[i][j] += shares[i] * shares[j];
                }
            }
        }
        let multiples = nnls(&gram, &target);
        let [base_bytes, per_weight_byte, per_activation_byte] = std::array::from_fn(|k| multiples[k] * before[k]);
        Self { base_bytes, per_weight_byte, per_activation_byte, ..self.clone() }
    }
}
