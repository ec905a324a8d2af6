//! Where networks for scenes end: atrous spatial pyramid pooling (L.-C. Chen et al., 2017), in the form with three branches
//! that Auto-DeepLab searches with, and the class of each pixel.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d};

use super::{Scale, parts::conv_norm};

/// The side of the crops that the paper searched on, in pixels, and the rate of the atrous branch at stride 1 on them.
const CROP: usize = 321;
const RATE: usize = 96;

/// Height and width, in pixels, of maps at strides 1, 2, 4, 8, 16 and 32: each half of the one before, rounded up.
pub(super) fn sides(scale: &Scale) -> [[usize; 2]; 6] {
    let [_, height, width] = scale.input;
    std::array::from_fn(|halvings| [height, width].map(|side| (0..halvings).fold(side, |side, _| side.div_ceil(2))))
}

/// The logits of each pixel of the image, `[classes, height, width]`, from a map at `stride`.
///
/// Three branches of as many `filters` are joined: a 1x1 convolution, a 3x3 one whose taps are `96 / stride` pixels apart
/// on images of 321 pixels and in proportion on others, and the mean of the whole map. The sizes of the branches are ours.
pub(super) fn add(
    graph: &mut Graph,
    scale: &Scale,
    map: NodeId,
    stride: usize,
    filters: usize,
) -> Result<NodeId, GraphError> {
    let [_, height, width] = scale.input;
    let [rows, columns] = graph.shape(map).spatial();
    let rate = ((RATE * height.min(width) + CROP * stride / 2) / (CROP * stride)).max(1);
    let relu = Op::Activation(Activation::Relu);
    let map = graph.add("relu", relu, &[map])?;
    let plain = graph.within("plain", |graph| conv_norm(graph, ["conv", "norm"], map, Conv2d::same(filters, 1, 1)))?;
    let atrous = Conv2d { dilation: [rate; 2], pads: Pads::all(rate), ..Conv2d::same(filters, 3, 1) };
    let atrous = graph.within("atrous", |graph| conv_norm(graph, ["conv", "norm"], map, atrous))?;
    let mean = graph.within("mean", |graph| {
        let whole = Pool2d { kernel: [rows, columns], stride: [1; 2], pads: Pads::all(0) };
        let mean = graph.add("pool", Op::AvgPool(whole), &[map])?;
        // Of one value a channel and image batch norm would learn from noise.
        let conv = graph.add("conv", Op::Conv2d(Conv2d { bias: true, ..Conv2d::same(filters, 1, 1) }), &[mean])?;
        graph.add("resize", Op::Resize([rows, columns]), &[conv])
    })?;
    let joined = graph.add("join", Op::Concat, &[plain, atrous, mean])?;
    let joined = graph.add("join/relu", relu, &[joined])?;
    let mixed = graph.within("project", |graph| {
        let mixed = conv_norm(graph, ["conv", "norm"], joined, Conv2d::same(filters, 1, 1))?;
        graph.add("relu", relu, &[mixed])
    })?;
    let classes = Conv2d { bias: true, ..Conv2d::same(scale.classes, 1, 1) };
    let classes = graph.add("classes", Op::Conv2d(classes), &[mixed])?;
    graph.add("resize", Op::Resize([height, width]), &[classes])
}
