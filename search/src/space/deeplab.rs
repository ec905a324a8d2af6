//! A plain network for scenes, to stand beside those that were searched for: an encoder of strided separable convolutions
//! (A. Howard et al., 2017) that ends in atrous spatial pyramid pooling (L.-C. Chen et al., 2017). A fixed network, of
//! any width; its proportions are ours.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, cost::static_cost};

use super::{Scale, aspp, parts::conv_norm};

/// Separable convolutions of the encoder: filters in widths of the first convolution, and stride.
const ENCODER: [(usize, usize); 7] = [(2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (8, 1)];

/// The stride of the encoder's output.
const STRIDE: usize = 16;

/// The network whose first convolution has [`Scale::channels`] filters; layers do not count.
///
/// # Errors
/// None: images of any size have a map of a pixel at least.
pub fn build(scale: &Scale) -> Result<Graph, GraphError> {
    let width = scale.channels;
    let mut graph = Graph::with_capacity(8 * ENCODER.len() + 24);
    let image = scale.begin(&mut graph)?;
    let mut last = conv_norm_relu(&mut graph, "stem", image, Conv2d::same(width, 3, 2))?;
    let mut channels = width;
    for (idx, (widths, stride)) in ENCODER.into_iter().enumerate() {
        last = graph.within(("block", idx), |graph| {
            let depthwise = conv_norm_relu(graph, "depthwise", last, Conv2d::depthwise(channels, 3, stride))?;
            conv_norm_relu(graph, "pointwise", depthwise, Conv2d::same(widths * width, 1, 1))
        })?;
        channels = widths * width;
    }
    graph.within("head", |graph| aspp::add(graph, scale, last, STRIDE, 4 * width))?;
    Ok(graph)
}

/// The largest of these networks that has no more parameters than `params`; the smallest where none has so few.
///
/// # Errors
/// As [`build`].
pub fn of_size(scale: &Scale, params: u64) -> Result<Graph, GraphError> {
    let mut fits = build(&Scale { channels: 1, ..*scale })?;
    for channels in 2.. {
        let wider = build(&Scale { channels, ..*scale })?;
        if static_cost(&wider).params > params {
            break;
        }
        fits = wider;
    }
    Ok(fits)
}

fn conv_norm_relu(graph: &mut Graph, label: &'static str, input: NodeId, conv: Conv2d) -> Result<NodeId, GraphError> {
    graph.within(label, |graph| {
        let normalised = conv_norm(graph, ["conv", "norm"], input, conv)?;
        graph.add("relu", Op::Activation(Activation::Relu), &[normalised])
    })
}
