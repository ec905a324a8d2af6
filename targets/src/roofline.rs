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
    /// Bytes a second that one core copies from memory to memory, each counted once.
    pub copied_bytes_per_second: f64,
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
    /// Least nanoseconds for a unit of this work at a clock of `mhz`; `None` for what is no more than an
    /// engine's overhead.
    pub fn least_ns(&self, mhz: f64, work: Work) -> Option<f64> {
        let flops = |n: f64| n / (self.flops_per_cycle * mhz * 1e-3);
        let copied = |n: f64| n / self.copied_bytes_per_second * 1e9;
        // Half of a copy.
        let read = |n: f64| copied(n / 2.0);
        match work {
            // A multiply-add; what is read is used many times over.
            Work::Dense | Work::Pointwise | Work::Depthwise => Some(flops(2.0)),
            // A weight is read once and used once.
            Work::Linear => Some(flops(2.0).max(read(4.0))),
            Work::Weights => Some(read(4.0)),
            // An addition or a comparison.
            Work::AvgPool | Work::MaxPool => Some(flops(1.0)),
            Work::GlobalPool => Some(flops(1.0).max(read(4.0))),
            // A value read and one written.
            Work::Activation | Work::Elementwise | Work::Concat => Some(copied(4.0)),
            Work::Operands | Work::Rows | Work::Dispatch => None,
        }
    }

    /// The work of a fit that costs at least [`FAR`] times its least price at `mhz`, the worst first.
    pub fn far_below(&self, mhz: f64, fit: &FitReport) -> Vec<FarBelow> {
        let mut found: Vec<FarBelow> = fit
            .coefficients
            .iter()
            .filter_map(|it| {
                let (work, ns_per_unit) = (it.work, it.ns_per_unit);
                Some(FarBelow { work, ns_per_unit, least_ns: self.least_ns(mhz, work)? })
            })
            .filter(|it| FAR <= it.times())
            .collect();
        found.sort_by(|a, b| b.times().total_cmp(&a.times()));
        found
    }
}
