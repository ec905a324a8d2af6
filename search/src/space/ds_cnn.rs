//! DS-CNN, the published network of depthwise separable convolutions that keyword spotting is measured against: the small
//! one of Y. Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers" (2018), as MLPerf Tiny has it. A fixed
//! network, to stand beside those that were searched for.
//!
//! Convolutions are followed by batch norm, so that they have no bias here (the originals have one). Dropout is left out.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads};

use super::{
    Scale,
    parts::{classify, conv_norm},
};

/// Channels of every layer.
const CHANNELS: usize = 64;

/// Depthwise separable convolutions.
const BLOCKS: usize = 4;

/// The network on features of `[1, frames, coefficients]`; of a [`Scale`] its input, its classes and its front end count.
///
/// # Errors
/// There are fewer frames or coefficients than the first window needs.
pub fn build(scale: &Scale) -> Result<Graph, GraphError> {
    let mut graph = Graph::with_capacity(6 * BLOCKS + 12);
    let features = scale.begin(&mut graph)?;
    // Ten frames and four coefficients wide, at every other of both; as many zeros as keep half the size.
    let first =
        Conv2d { kernel: [10, 4], pads: Pads { top: 4, bottom: 5, left: 1, right: 2 }, ..Conv2d::same(CHANNELS, 1, 2) };
    let mut last = relu_of(&mut graph, "first", |graph| conv_norm(graph, ["conv", "norm"], features, first))?;
    for block in 0..BLOCKS {
        last = graph.within(("block", block), |graph| {
            let depthwise = Conv2d::depthwise(CHANNELS, 3, 1);
            let depthwise = relu_of(graph, "depthwise", |graph| conv_norm(graph, ["conv", "norm"], last, depthwise))?;
            let pointwise = Conv2d::same(CHANNELS, 1, 1);
            relu_of(graph, "pointwise", |graph| conv_norm(graph, ["conv", "norm"], depthwise, pointwise))
        })?;
    }
    classify(&mut graph, last, scale)?;
    Ok(graph)
}

fn relu_of(
    graph: &mut Graph,
    label: &'static str,
    build: impl FnOnce(&mut Graph) -> Result<NodeId, GraphError>,
) -> Result<NodeId, GraphError> {
    graph.within(label, |graph| {
        let input = build(graph)?;
        graph.add("relu", Op::Activation(Activation::Relu), &[input])
    })
}
