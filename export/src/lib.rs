//! From a trained network to an ONNX file, as a pure function: graph and weights in, bytes out.
//!
//! **Invariant.** Equal arguments give equal bytes, and no byte depends on time, place or machine.
//!
//! **Invariant.** The file is closed: batch 1, every shape and pad written out, weights inside,
//! batch norm folded ([`graph::fold`]), standard operators of opset 13 only, in the forms that a
//! [`Lowering`] says. The input is called
//! `image`, the output `logits`, and each ONNX node carries the graph's name for it, so that a
//! profile of the file leads back to the layer. Of a recurrent network the file is one step: what it remembers comes in as
//! `memory0_in`, `memory1_in` and so on, zeros at first, and goes out as `memory0_out`, to be brought along the next time.
//!
//! ```
//! use export::{Metadata, onnx, placeholder_weights, read_metadata};
//! use graph::{Conv2d, Graph, Op, Shape};
//!
//! let mut graph = Graph::default();
//! let image = graph.input(Shape::Map([3, 8, 8]));
//! let conv = graph.add("conv", Op::Conv2d(Conv2d::same(4, 3, 1)), &[image])?;
//! let norm = graph.add("norm", Op::BatchNorm, &[conv])?;
//! let pool = graph.add("pool", Op::GlobalAvgPool, &[norm])?;
//! graph.add("classifier", Op::Linear(2), &[pool])?;
//!
//! let metadata = Metadata { entries: [("classes".to_owned(), "cat,dog".to_owned())].into() };
//! let file = onnx(&graph, &placeholder_weights(&graph, 0), &metadata)?;
//! assert_eq!(read_metadata(&file)?, metadata);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use graph::{Graph, weights::Weights, weights::WeightsError};

mod lowering;
mod metadata;
mod onnx;
mod placeholder;
mod proto;

pub use lowering::{Average, BORDER, Depthwise, DepthwiseStride, Lowering, Max, Stride, Sum, Swish};
pub use metadata::read_metadata;
pub use placeholder::placeholder_weights;

/// What a file says about itself: classes, normalisation, budgets, architecture, tool version,
/// hash of the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Key to text, written to the file's `metadata_props` in key order.
    pub entries: BTreeMap<String, String>,
}

/// Why a network could not be exported, or a file not be read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The weights do not serve the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A choice of the network is still open.
    #[error("{node} still mixes its candidates; choose one of them before export")]
    Relaxed {
        /// Name of the node that mixes.
        node: String,
    },
    /// A weight, as folded, is infinite or not a number.
    #[error("{key} holds {value}; the training diverged, lower its learning rate and train again")]
    NotFinite {
        /// Key of the parameter.
        key: String,
        /// The first such value.
        value: f32,
    },
    /// A file has one input, `image`, beside its memories.
    #[error("the network has {found} inputs and needs exactly one; build it with one call of Graph::input")]
    Inputs {
        /// How many the graph has.
        found: usize,
    },
    /// Two nodes share a name, so their weights and their place in a profile would be confused.
    #[error("two nodes are called {name}; give each its own label or scope")]
    Name {
        /// The name.
        name: String,
    },
    /// The message does not fit the file format.
    #[error("cannot write the network as ONNX: {0}")]
    Write(String),
    /// The bytes are not an ONNX file.
    #[error("not an ONNX file: {0}")]
    Read(String),
}

/// The bytes of the ONNX file of `graph` as trained, with its trained `weights`.
///
/// # Errors
/// A weight is missing, of another shape or not finite; two nodes share a name; the graph has not
/// exactly one input.
pub fn onnx(graph: &Graph, weights: &Weights, metadata: &Metadata) -> Result<Vec<u8>, ExportError> {
    onnx_as(graph, weights, metadata, Lowering::default())
}

/// As [`onnx`], with each kind of operation in the form that `lowering` says.
///
/// # Errors
/// Those of [`onnx`].
pub fn onnx_as(
    graph: &Graph,
    weights: &Weights,
    metadata: &Metadata,
    lowering: Lowering,
) -> Result<Vec<u8>, ExportError> {
    let (shipped, folded) = graph::fold::fold(graph, weights)?;
    onnx::write(&shipped, &folded, metadata, lowering)
}
