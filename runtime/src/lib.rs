//! Runs an ONNX file with tract, and measures it: here, in a process with limits, or from a recording.
//!
//! The way of a file through this crate: [`validate()`](validate::validate) refuses what could harm,
//! [`engine`] loads and runs, [`stream`] runs a recurrent network word by word, [`protocol`] times,
//! [`worker`] runs and times in a process of its own, and [`device`] is what the rest of the program sees of all this.
//!
//! ```
//! let network = runtime::reference::onnx();
//! let info = runtime::validate::validate(&network, &runtime::validate::Limits::default())?;
//! assert_eq!(info.inputs[0].shape, [1, 3, 32, 32]);
//!
//! let mut model = runtime::engine::Model::from_bytes(&network)?;
//! let image = vec![0.5; model.input_len()];
//! assert_eq!(model.run(&image)?.len(), 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod validate;

pub mod engine;

pub mod stream;

pub mod protocol;

pub mod conditions;

pub mod marks;

pub mod facts;
pub mod program;

pub mod reference;

pub mod worker;

pub mod device;

mod windows;

/// Version of the agent: of this crate.
pub const AGENT: &str = env!("CARGO_PKG_VERSION");
