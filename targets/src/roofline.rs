//! What a board's hardware allows at most, to tell an operation that is dear from one that is badly served.

use serde::{Deserialize, Serialize};

use crate::{latency::FitReport, work::Work};

/// Peak compute and memory traffic of one core: S. Williams, A. Waterman and D. Patterson,
/// "Roofline: An Insightful Visual Performance Model for Multicore Architectures" (2009).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roofline {
    /// Floating-point operations (32 bits) that one core finishes in a cycle at most; a fused
    /// multiply-add is two.
    pub flops_per_cycle: f64,
    /// Highest clock, in MHz.
    pub max_mhz: f64,
    /// Bytes a second that one core reads or writes at most.
    pub memory_bytes_per_second: f64,
    /// Where the numbers come from.
    pub source: String,
}

/// Work that costs many times what the hardware allows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FarBelow {
    /// Kind of work.
    pub work: Work,
    /// Fitted price, in nanoseconds a unit.
    pub ns_per_unit: f64,
    /// Least price by the roofline, in nanoseconds a unit.
    pub least_ns: f64,
}

impl FarBelow {
    /// Price over the least price.
    pub fn times(&self) -> f64 {
        self.ns_per_unit / self.least_ns
    }
}

/// From how many times the least price work counts as badly served: what an engine's users report
/// to its makers.
pub const FAR: f64 = 5.0;

impl Roofline {
    /// Least nanoseconds for a unit of this work; `None` for what is no more than an engine's overhead.
    pub fn least_ns(&self, work: Work) -> Option<f64> {
        let flops = |n: f64| n / (self.flops_per_cycle * self.max_mhz * 1e-3);
        let bytes = |n: f64| n / self.memory_bytes_per_second * 1e9;
        match work {
            // A multiply-add; what is read is used many times over.
            Work::Dense | Work::Pointwise | Work::Depthwise => Some(flops(2.0)),
            // A weight is read once and used once.
            Work::Linear => Some(flops(2.0).max(bytes(4.0))),
            Work::Weights => Some(bytes(4.0)),
            // An addition or a comparison.
            Work::AvgPool | Work::MaxPool => Some(flops(1.0)),
            Work::GlobalPool => Some(flops(1.0).max(bytes(4.0))),
            // A value read and one written.
            Work::Activation | Work::Elementwise | Work::Concat => Some(bytes(8.0)),
            Work::Operands | Work::Rows | Work::Dispatch => None,
        }
    }

    /// The work of a fit that costs at least [`FAR`] times its least price, the worst first.
    pub fn far_below(&self, fit: &FitReport) -> Vec<FarBelow> {
        let mut found: Vec<FarBelow> = fit
            .coefficients
            .iter()
            .filter_map(|it| {
                let (work, ns_per_unit) = (it.work, it.ns_per_unit);
                Some(FarBelow { work, ns_per_unit, least_ns: self.least_ns(work)? })
            })
            .filter(|it| FAR <= it.times())
            .collect();
        found.sort_by(|a, b| b.times().total_cmp(&a.times()));
        found
    }
}
