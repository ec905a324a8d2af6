//! Where a network must live: boards, their budgets, and what was measured on them.
//!
//! A [`Target`] is a kind of board, read from a file. Its [`CostModel`] prices a network: exactly
//! where the graph decides, with an interval where the board does. A [`Budget`] judges the price,
//! and where an interval straddles a bound, a [`Meter`] replaces the estimate by a [`Measurement`].
//!
//! **Invariant.** This crate knows no tensor library, no engine and no way to reach a board.
//!
//! ```
//! use graph::{Conv2d, Graph, Op, Shape};
//! use targets::{Bound, Budget, CostModel, Metric, Target};
//!
//! let mut graph = Graph::default();
//! let image = graph.input(Shape::Map([3, 32, 32]));
//! graph.add("conv", Op::Conv2d(Conv2d::same(16, 3, 1)), &[image])?;
//!
//! let cost = CostModel::new(Target::find("rpi4")?).price(&graph);
//! let max = Some(Metric::Latency.parse("20ms")?);
//! let budget = Budget { bounds: vec![Bound { metric: Metric::Latency, min: None, max, hard: true }] };
//! assert!(budget.admits(&cost));
//! let latency = cost.get(Metric::Latency).expect("every network has one");
//! assert!(latency.describe(Metric::Latency).contains("estimated, not measured on rpi4"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod board;
pub mod budget;
pub mod calibration;
pub mod cost_model;
pub mod counts;
pub mod design;
pub mod latency;
pub mod measurement;
pub mod memory;
pub mod meter;
pub mod obstacles;
pub mod quantity;
pub mod quiet;
pub mod roofline;
pub mod rounds;
pub mod stats;
pub mod target;
pub mod validity;
pub mod verdict;
pub mod work;

mod conformal;
mod nnls;

pub use board::{Board, Difference, differences};
pub use budget::{Bound, Budget, Cost, Figure, Judgement, Metric, Source};
pub use calibration::{Calibration, Check, Clock, Divided, Sample};
pub use cost_model::{CostModel, FLASH_METADATA, FLASH_PER_OP, Runtime};
pub use counts::{CountScale, Counts, NodeCounts, Timed};
pub use latency::{Coefficient, FitReport, LatencyModel, LatencyTable};
pub use measurement::{Block, Conditions, Measurement, Protocol, Reach};
pub use memory::{MemoryModel, Peak};
pub use meter::{Meter, MeterError, MeterErrorKind, Reading};
pub use quantity::{Dimension, QuantityError};
pub use roofline::{FarBelow, Roofline};
pub use rounds::in_rounds;
pub use stats::Summary;
pub use target::{Processor, Target, TargetError};
pub use validity::{Allow, Note, Reason};
pub use verdict::{Regression, Verdict, against_bound, regression};
pub use work::{Features, Work, features, option_features};
