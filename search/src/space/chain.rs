//! Chains of convolutions with skip connections: the convolutional space of NAS-RL (B. Zoph and Q. V. Le, 2016).
//!
//! Each layer is a convolution, batch norm and ReLU, and reads any set of earlier layers, joined along channels. A
//! layer that reads none reads the image; outputs that no layer reads are joined before the classifier, which stands
//! behind a global average pooling (reconstruction: the paper does not print what lies between).
//!
//! One choice is ours. With strides, outputs that are to be joined may differ in size. The paper pads the smaller with
//! zeros, which no operation of [`graph::Op`] does; here the larger are pooled down to the smallest by means.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d};
use serde::{Deserialize, Serialize};

use super::{
    Scale, SearchSpace,
    parts::{classify, conv_norm},
};
use crate::chooser::{Chooser, Kind, Question};

/// All chains of one depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainSpace {
    /// Layers of each chain. The paper begins with 6 and adds 2 now and then.
    pub layers: usize,
    /// Whether strides are chosen from [`STRIDES`]; otherwise they are 1.
    pub strides: bool,
}

impl Default for ChainSpace {
    /// The paper's first experiment, at its beginning.
    fn default() -> Self {
        Self { layers: 6, strides: false }
    }
}

/// Heights and widths of filters, in pixels.
pub const KERNELS: [usize; 4] = [1, 3, 5, 7];

/// Numbers of filters.
pub const FILTERS: [usize; 4] = [24, 36, 48, 64];

/// Vertical and horizontal strides, in pixels.
pub const STRIDES: [usize; 3] = [1, 2, 3];

/// One chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain {
    /// Layers in order; later ones may read earlier ones.
    pub layers: Vec<Layer>,
}

/// One convolution.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layer {
    /// `[height, width]` of its filters, in pixels.
    pub kernel: [usize; 2],
    /// `[vertical, horizontal]`, in pixels.
    pub stride: [usize; 2],
    /// Filters, at the paper's width.
    pub filters: usize,
    /// Earlier layers that it reads, the first one first; the image where there is none.
    pub inputs: Vec<usize>,
}

impl Chain {
    /// Layers that no other layer reads: together they are what the classifier sees.
    pub fn loose_ends(&self) -> impl Iterator<Item = usize> {
        let reads = |idx: usize| self.layers.iter().any(|layer| layer.inputs.contains(&idx));
        (0..self.layers.len()).filter(move |&idx| !reads(idx))
    }
}

impl SearchSpace for ChainSpace {
    type Arch = Chain;

    /// For each layer the filter's height and width, the strides where they are chosen, the number of filters, and
    /// then of each earlier layer whether it is read.
    fn sample(&self, chooser: &mut dyn Chooser) -> Chain {
        let mut layers = Vec::with_capacity(self.layers);
        for idx in 0..self.layers {
            let mut pick = |kind, values: &[usize]| values[chooser.choose(Question { kind, options: values.len() })];
            let kernel = [(); 2].map(|()| pick(Kind::Kernel, &KERNELS));
            let stride = [(); 2].map(|()| if self.strides { pick(Kind::Stride, &STRIDES) } else { 1 });
            let filters = pick(Kind::Channels, &FILTERS);
            chooser.define();
            let inputs = (0..idx).filter(|_| chooser.choose(Question { kind: Kind::Skip, options: 2 }) == 1).collect();
            layers.push(Layer { kernel, stride, filters, inputs });
        }
        Chain { layers }
    }

    /// Depth is the chain's own, and not [`Scale::layers`]. With [`Scale::channels`] of 24, the paper's smallest
    /// number, filters are as many as the chain says, and otherwise more or fewer in proportion.
    fn build(&self, chain: &Chain, scale: &Scale) -> Result<Graph, GraphError> {
        let mut graph = Graph::with_capacity(5 * chain.layers.len() + 8);
        let image = scale.begin(&mut graph)?;
        let mut outputs: Vec<NodeId> = Vec::with_capacity(chain.layers.len());
        for (idx, layer) in chain.layers.iter().enumerate() {
            let Layer { kernel, stride, filters, ref inputs } = *layer;
            let channels = (filters * scale.channels).div_ceil(FILTERS[0]);
            let output = graph.within(("layer", idx), |graph| {
                let input = if inputs.is_empty() { image } else { join(graph, &outputs, inputs)? };
                let pads =
                    Pads { top: kernel[0] / 2, left: kernel[1] / 2, bottom: kernel[0] / 2, right: kernel[1] / 2 };
                let conv = Conv2d { kernel, stride, pads, ..Conv2d::same(channels, 1, 1) };
                let norm = conv_norm(graph, ["conv", "norm"], input, conv)?;
                graph.add("relu", Op::Activation(Activation::Relu), &[norm])
            })?;
            outputs.push(output);
        }
        let ends: Vec<usize> = chain.loose_ends().collect();
        let last = graph.within("output", |graph| join(graph, &outputs, &ends))?;
        classify(&mut graph, last, scale)?;
        Ok(graph)
    }

    fn deeper(&self, layers: usize) -> Option<Self> {
        Some(Self { layers: self.layers + layers, ..*self })
    }

    /// `(4 * 4 * 4 * 9) ^ L * 2 ^ (L (L - 1) / 2)` with strides and without the 9 otherwise; the largest number there
    /// is where that is larger still.
    fn size(&self) -> u128 {
        let strides = if self.strides { STRIDES.len().pow(2) } else { 1 };
        let layer = (KERNELS.len().pow(2) * strides * FILTERS.len()) as u128;
        let skips = (self.layers * self.layers.saturating_sub(1) / 2) as u32;
        layer.saturating_pow(self.layers as u32).saturating_mul(2_u128.saturating_pow(skips))
    }

    /// The smallest filters, the fewest of them and the largest strides, each layer reading the previous one or all of
    /// them the image. A further reader costs a layer more weights, and an output that nobody reads costs the
    /// classifier some: which is less depends on the number of classes.
    fn cheapest(&self) -> Vec<Chain> {
        let stride = if self.strides { STRIDES[STRIDES.len() - 1] } else { 1 };
        let layer = |inputs| Layer { kernel: [KERNELS[0]; 2], stride: [stride; 2], filters: FILTERS[0], inputs };
        let chained = (0..self.layers).map(|idx| layer(idx.checked_sub(1).into_iter().collect()));
        let apart = (0..self.layers).map(|_| layer(Vec::new()));
        vec![Chain { layers: chained.collect() }, Chain { layers: apart.collect() }]
    }
}

/// The outputs with these indices behind each other along channels, at the smallest height and width among them.
fn join(graph: &mut Graph, outputs: &[NodeId], indices: &[usize]) -> Result<NodeId, GraphError> {
    let sizes = indices.iter().map(|&idx| graph.shape(outputs[idx]).spatial());
    let smallest = sizes.reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1])]).expect("at least one output is joined");
    let mut parts = Vec::with_capacity(indices.len());
    for &idx in indices {
        let size = graph.shape(outputs[idx]).spatial();
        parts.push(if size == smallest {
            outputs[idx]
        } else {
            graph.add(("shrink", idx), Op::AvgPool(shrinking(size, smallest)), &[outputs[idx]])?
        });
    }
    match parts[..] {
        [part] => Ok(part),
        _ => graph.add("join", Op::Concat, &parts),
    }
}

/// The pooling that makes `[height, width]` of `from` those of `to`, which are no larger: the largest strides that
/// fit, and windows that leave no pixel out.
fn shrinking(from: [usize; 2], to: [usize; 2]) -> Pool2d {
    let stride: [usize; 2] = std::array::from_fn(|axis| from[axis] / to[axis]);
    let kernel = std::array::from_fn(|axis| from[axis] - (to[axis] - 1) * stride[axis]);
    Pool2d { kernel, stride, pads: Pads::all(0) }
}
