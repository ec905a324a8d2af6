//! ENAS's search for whole networks (H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, 2018): a chain of layers, each with
//! an operation of its own and with skips from any earlier layers. The authors search with 36 channels.
//!
//! A layer reads the one before it and those that it has skips from. The paper concatenates them, and a 1x1 convolution
//! brings them to the width of the layer. Here each has a 1x1 convolution (with batch norm) of its own and their sum is
//! taken: the same linear map, but each part keeps its weights whatever else the layer reads. The operation follows.
//!
//! After each third of the layers but the last everything that is still to be read is halved by a factorized
//! reduction, and the channels double (the authors double them in the final network alone). The authors' reduction takes every second pixel for one half of the channels and
//! the pixels diagonally between them for the other. A graph cannot shift a map, so here the other half sees the mean
//! of each 2x2 pixels: no pixel is lost either. Reconstruction.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d};
use serde::{Deserialize, Serialize};

use super::{
    Scale, SearchSpace,
    parts::{classify, conv_norm, stem},
};
use crate::chooser::{Chooser, Kind, Question};

/// All chains of this many layers. Each layer has decisions of its own, so [`Scale::layers`] is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnasMacro {
    /// Layers: 12 in the authors' search, and at least one.
    pub layers: usize,
}

impl Default for EnasMacro {
    fn default() -> Self {
        Self { layers: 12 }
    }
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain {
    /// In order.
    pub layers: Vec<Layer>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layer {
    /// What it applies.
    pub op: LayerOp,
    /// Whether it reads the stem, the first layer, and so on, beside the layer before it: layer `i`, from 0, has `i`
    /// of them.
    pub skips: Vec<bool>,
}

/// What a layer applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerOp {
    /// 3x3 convolution.
    #[serde(rename = "conv_3x3")]
    Conv3,
    /// 3x3 separable convolution.
    #[serde(rename = "sep_conv_3x3")]
    SepConv3,
    /// 5x5 convolution.
    #[serde(rename = "conv_5x5")]
    Conv5,
    /// 5x5 separable convolution.
    #[serde(rename = "sep_conv_5x5")]
    SepConv5,
    /// 3x3 average pooling.
    #[serde(rename = "avg_pool_3x3")]
    AvgPool,
    /// 3x3 max pooling.
    #[serde(rename = "max_pool_3x3")]
    MaxPool,
}

impl LayerOp {
    /// All of them, in the order of the authors' code.
    pub const ALL: [Self; 6] = [Self::Conv3, Self::SepConv3, Self::Conv5, Self::SepConv5, Self::AvgPool, Self::MaxPool];

    /// Name in graphs and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv3 => "conv_3x3",
            Self::SepConv3 => "sep_conv_3x3",
            Self::Conv5 => "conv_5x5",
            Self::SepConv5 => "sep_conv_5x5",
            Self::AvgPool => "avg_pool_3x3",
            Self::MaxPool => "max_pool_3x3",
        }
    }
}

impl Chain {
    /// Whether layer `layer`, from 0, reads `state`: 0 is the stem, `1 + i` layer `i`.
    pub fn reads(&self, layer: usize, state: usize) -> bool {
        state == layer || self.layers[layer].skips.get(state).copied().unwrap_or(false)
    }
}

impl SearchSpace for EnasMacro {
    type Arch = Chain;

    fn sample(&self, chooser: &mut dyn Chooser) -> Chain {
        let mut layers = Vec::with_capacity(self.layers);
        for idx in 0..self.layers {
            let op = chooser.choose(Question { kind: Kind::Op, options: LayerOp::ALL.len() });
            let skip = Question { kind: Kind::Skip, options: 2 };
            let skips = (0..idx).map(|_| chooser.choose(skip) == 1).collect();
            layers.push(Layer { op: LayerOp::ALL[op], skips });
            chooser.define();
        }
        Chain { layers }
    }

    fn build(&self, chain: &Chain, scale: &Scale) -> Result<Graph, GraphError> {
        let n_layers = chain.layers.len();
        let n_skips: usize = chain.layers.iter().map(|layer| layer.skips.len()).sum();
        let mut graph = Graph::with_capacity(16 * n_layers + 3 * n_skips + 16);
        let image = scale.begin(&mut graph)?;
        let mut channels = scale.channels;
        let stem = stem(&mut graph, image, channels)?;
        let mut states = Vec::with_capacity(n_layers + 1);
        states.push(stem);
        let reductions = reductions(n_layers);
        for idx in 0..n_layers {
            if let Some(nth) = reductions.iter().position(|it| *it == Some(idx)) {
                channels *= 2;
                for (state, node) in states.iter_mut().enumerate() {
                    if (idx..n_layers).any(|layer| chain.reads(layer, state)) {
                        *node = graph.within(("reduction", nth), |graph| {
                            graph.within(("from", state), |graph| halve(graph, *node, channels))
                        })?;
                    }
                }
            }
            let read = (0..=idx).filter(|state| chain.reads(idx, *state)).map(|state| (state, states[state]));
            let layer = graph.within(("layer", idx), |graph| {
                let joined = join(graph, read, channels)?;
                graph.within(chain.layers[idx].op.name(), |graph| apply(graph, chain.layers[idx].op, joined, channels))
            })?;
            states.push(layer);
        }
        classify(&mut graph, states[n_layers], scale)?;
        Ok(graph)
    }

    /// `6^L * 2^(L (L - 1) / 2)`; the largest number where it does not fit.
    fn size(&self) -> u128 {
        let layers = self.layers as u32;
        let ops = (LayerOp::ALL.len() as u128).checked_pow(layers);
        let skips = 2_u128.checked_pow(layers * layers.saturating_sub(1) / 2);
        ops.zip(skips).and_then(|(ops, skips)| ops.checked_mul(skips)).unwrap_or(u128::MAX)
    }

    /// Nothing but pooling, and no skips: each skip and each convolution adds to every cost.
    fn cheapest(&self) -> Vec<Chain> {
        let layer = |op| move |idx| Layer { op, skips: vec![false; idx] };
        let chain = |op| Chain { layers: (0..self.layers).map(layer(op)).collect() };
        [LayerOp::AvgPool, LayerOp::MaxPool].map(chain).into()
    }
}

/// Layers before which the two reductions stand; none where there are fewer than three layers.
fn reductions(n_layers: usize) -> [Option<usize>; 2] {
    let third = n_layers / 3;
    [1, 2].map(|nth| (0 < third).then_some(nth * third))
}

/// A 1x1 convolution of each state that a layer reads, their sum and its ReLU.
fn join(graph: &mut Graph, read: impl Iterator<Item = (usize, NodeId)>, channels: usize) -> Result<NodeId, GraphError> {
    let part = |(state, node)| {
        graph.within(("from", state), |graph| conv_norm(graph, ["conv", "norm"], node, Conv2d::same(channels, 1, 1)))
    };
    let parts = read.map(part).collect::<Result<Vec<_>, _>>()?;
    let sum = match parts[..] {
        [part] => part,
        _ => graph.add("sum", Op::Add, &parts)?,
    };
    graph.add("relu", Op::Activation(Activation::Relu), &[sum])
}

fn apply(graph: &mut Graph, op: LayerOp, input: NodeId, channels: usize) -> Result<NodeId, GraphError> {
    let relu = |graph: &mut Graph, norm| graph.add("relu", Op::Activation(Activation::Relu), &[norm]);
    let conv = |graph: &mut Graph, kernel| {
        let norm = conv_norm(graph, ["conv", "norm"], input, Conv2d::same(channels, kernel, 1))?;
        relu(graph, norm)
    };
    let sep_conv = |graph: &mut Graph, kernel| {
        let depthwise = graph.add("depthwise", Op::Conv2d(Conv2d::depthwise(channels, kernel, 1)), &[input])?;
        let norm = conv_norm(graph, ["conv", "norm"], depthwise, Conv2d::same(channels, 1, 1))?;
        relu(graph, norm)
    };
    match op {
        LayerOp::Conv3 => conv(graph, 3),
        LayerOp::Conv5 => conv(graph, 5),
        LayerOp::SepConv3 => sep_conv(graph, 3),
        LayerOp::SepConv5 => sep_conv(graph, 5),
        LayerOp::AvgPool => graph.add("pool", Op::AvgPool(Pool2d::same(3, 1)), &[input]),
        LayerOp::MaxPool => graph.add("pool", Op::MaxPool(Pool2d::same(3, 1)), &[input]),
    }
}

/// The factorized reduction: half of the channels from every second pixel, half from the means of 2x2 pixels.
fn halve(graph: &mut Graph, input: NodeId, channels: usize) -> Result<NodeId, GraphError> {
    let half = channels / 2;
    let sparse = conv_norm(graph, ["sparse/conv", "sparse/norm"], input, Conv2d::same(half, 1, 2))?;
    // The last row and column of an odd map have a window of their own.
    let [height, width] = graph.shape(input).spatial();
    let pads = Pads { bottom: height % 2, right: width % 2, ..Pads::all(0) };
    let mean = graph.add("mean/pool", Op::AvgPool(Pool2d { kernel: [2; 2], stride: [2; 2], pads }), &[input])?;
    let mean = conv_norm(graph, ["mean/conv", "mean/norm"], mean, Conv2d::same(channels - half, 1, 1))?;
    graph.add("join", Op::Concat, &[sparse, mean])
}
