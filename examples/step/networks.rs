//! The networks that training is timed on, all for ten classes of 32x32 colour images.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d, Shape};
use search::space::{
    Scale, SearchSpace, Task,
    cell::{Block, Cell, CellOp, CellSpace},
};

/// A network and the batch that its training takes.
pub(crate) struct Network {
    pub(crate) name: &'static str,
    pub(crate) batch: usize,
    pub(crate) graph: Graph,
}

const IMAGE: [usize; 3] = [3, 32, 32];
const CLASSES: usize = 10;

/// All of them, the cheapest steps first.
pub(crate) fn all() -> Result<Vec<Network>, GraphError> {
    let of = |name, batch, graph: Result<Graph, GraphError>| graph.map(|graph| Network { name, batch, graph });
    Ok(vec![
        of("resnet-8", 64, resnet8())?,
        of("b-enas-3-cells-c20", 160, single_path(3))?,
        of("darts-8-cells-c16", 64, darts(8, 16))?,
        of("mobilenet-v2", 64, mobilenet_v2())?,
        of("b-enas-6-cells-c20", 160, single_path(6))?,
        of("darts-v2-20-cells-c36", 96, darts(20, 36))?,
    ])
}

/// A child of B-ENAS's shared weights with each operation in its cell, 20 channels.
fn single_path(cells: usize) -> Result<Graph, GraphError> {
    use CellOp::{AvgPool, Identity, MaxPool, SepConv3, SepConv5};
    let blocks = [
        ([0, 1], [SepConv3, Identity]),
        ([1, 1], [SepConv5, AvgPool]),
        ([0, 2], [MaxPool, SepConv3]),
        ([1, 3], [Identity, SepConv5]),
        ([4, 0], [SepConv3, AvgPool]),
    ];
    let cell = Cell { blocks: blocks.into_iter().map(|(inputs, ops)| Block { inputs, ops }).collect() };
    CellSpace::default().build(
        &cell,
        &Scale {
            layers: cells - 2,
            channels: 20,
            input: IMAGE,
            classes: CLASSES,
            front_end: None,
            task: Task::Classification,
        },
    )
}

/// ResNet of MLPerf Tiny: three stages of one block of two 3x3 convolutions, 16 to 64 channels.
fn resnet8() -> Result<Graph, GraphError> {
    let mut net = Net::default();
    let image = net.graph.input(Shape::Map(IMAGE));
    let mut last = net.conv_norm_relu(image, Conv2d::same(16, 3, 1))?;
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        let stride = if stage == 0 { 1 } else { 2 };
        let first = net.conv_norm_relu(last, Conv2d::same(channels, 3, stride))?;
        let second = net.conv_norm(first, Conv2d::same(channels, 3, 1))?;
        let shortcut = if stage == 0 { last } else { net.add(Op::Conv2d(Conv2d::same(channels, 1, stride)), &[last])? };
        let sum = net.add(Op::Add, &[second, shortcut])?;
        last = net.relu(sum)?;
    }
    net.classified(last)
}

/// MobileNetV2 (Sandler et al., table 2) with the strides of the stem and of the second stage left out, as is usual
/// for images this small.
fn mobilenet_v2() -> Result<Graph, GraphError> {
    const STAGES: [(usize, usize, usize, usize); 7] =
        [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    let mut net = Net { activation: Activation::Relu6, ..Net::default() };
    let image = net.graph.input(Shape::Map(IMAGE));
    let mut last = net.conv_norm_relu(image, Conv2d::same(32, 3, 1))?;
    let mut from = 32;
    for (expansion, to, repeats, stride) in STAGES {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let wide = from * expansion;
            let expanded = if expansion == 1 { last } else { net.conv_norm_relu(last, Conv2d::same(wide, 1, 1))? };
            let filtered = net.conv_norm_relu(expanded, Conv2d::depthwise(wide, 3, stride))?;
            let out = net.conv_norm(filtered, Conv2d::same(to, 1, 1))?;
            last = if stride == 1 && from == to { net.add(Op::Add, &[out, last])? } else { out };
            from = to;
        }
    }
    let last = net.conv_norm_relu(last, Conv2d::same(1280, 1, 1))?;
    net.classified(last)
}

/// The cells that DARTS found (its "V2" genotypes), without drop-path and auxiliary head. Where the paper halves a map
/// by two shifted 1x1 convolutions this has one.
fn darts(cells: usize, channels: usize) -> Result<Graph, GraphError> {
    use Edge::{Dilated3, MaxPool, Separable3, Skip};
    const NORMAL: [(Edge, usize); 8] = [
        (Separable3, 0),
        (Separable3, 1),
        (Separable3, 0),
        (Separable3, 1),
        (Separable3, 1),
        (Skip, 0),
        (Skip, 0),
        (Dilated3, 2),
    ];
    const REDUCTION: [(Edge, usize); 8] =
        [(MaxPool, 0), (MaxPool, 1), (Skip, 2), (MaxPool, 1), (MaxPool, 0), (Skip, 2), (Skip, 2), (MaxPool, 1)];
    let mut net = Net::default();
    let image = net.graph.input(Shape::Map(IMAGE));
    let stem = net.conv_norm(image, Conv2d::same(3 * channels, 3, 1))?;
    let (mut before, mut last) = (stem, stem);
    let mut width = channels;
    for cell in 0..cells {
        let reduces = cell == cells / 3 || cell == 2 * cells / 3;
        let (genotype, stride) = if reduces { (REDUCTION, 2) } else { (NORMAL, 1) };
        width *= stride;
        let shrink = net.side(before) / net.side(last);
        let mut states = vec![
            net.relu_conv_norm(before, Conv2d::same(width, 1, shrink))?,
            net.relu_conv_norm(last, Conv2d::same(width, 1, 1))?,
        ];
        for pair in genotype.chunks_exact(2) {
            let mut sides = Vec::new();
            for &(edge, from) in pair {
                let stride = if from < 2 { stride } else { 1 };
                sides.push(net.edge(edge, states[from], width, stride)?);
            }
            states.push(net.add(Op::Add, &sides)?);
        }
        let out = net.add(Op::Concat, &states[2..])?;
        (before, last) = (last, out);
    }
    net.classified(last)
}

#[derive(Clone, Copy)]
enum Edge {
    Separable3,
    Dilated3,
    MaxPool,
    Skip,
}

struct Net {
    graph: Graph,
    activation: Activation,
}

impl Default for Net {
    fn default() -> Self {
        Self { graph: Graph::default(), activation: Activation::Relu }
    }
}

impl Net {
    fn add(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let index = self.graph.n_nodes();
        self.graph.add(("node", index), op, inputs)
    }

    fn side(&self, node: NodeId) -> usize {
        self.graph.shape(node).spatial()[0]
    }

    fn relu(&mut self, x: NodeId) -> Result<NodeId, GraphError> {
        self.add(Op::Activation(self.activation), &[x])
    }

    fn conv_norm(&mut self, x: NodeId, conv: Conv2d) -> Result<NodeId, GraphError> {
        let x = self.add(Op::Conv2d(conv), &[x])?;
        self.add(Op::BatchNorm, &[x])
    }

    fn conv_norm_relu(&mut self, x: NodeId, conv: Conv2d) -> Result<NodeId, GraphError> {
        let x = self.conv_norm(x, conv)?;
        self.relu(x)
    }

    fn relu_conv_norm(&mut self, x: NodeId, conv: Conv2d) -> Result<NodeId, GraphError> {
        let x = self.relu(x)?;
        self.conv_norm(x, conv)
    }

    fn edge(&mut self, edge: Edge, x: NodeId, channels: usize, stride: usize) -> Result<NodeId, GraphError> {
        match edge {
            Edge::Separable3 => {
                let x = self.filtered(x, Conv2d::depthwise(channels, 3, stride))?;
                self.filtered(x, Conv2d::depthwise(channels, 3, 1))
            }
            Edge::Dilated3 => {
                let conv = Conv2d { dilation: [2; 2], pads: Pads::all(2), ..Conv2d::depthwise(channels, 3, stride) };
                self.filtered(x, conv)
            }
            Edge::MaxPool => self.add(Op::MaxPool(Pool2d::same(3, stride)), &[x]),
            Edge::Skip if stride == 1 => Ok(x),
            Edge::Skip => self.relu_conv_norm(x, Conv2d::same(channels, 1, stride)),
        }
    }

    /// ReLU, depthwise and pointwise convolution, batch norm.
    fn filtered(&mut self, x: NodeId, depthwise: Conv2d) -> Result<NodeId, GraphError> {
        let x = self.relu(x)?;
        let x = self.add(Op::Conv2d(depthwise), &[x])?;
        self.conv_norm(x, Conv2d::same(depthwise.channels, 1, 1))
    }

    fn classified(mut self, last: NodeId) -> Result<Graph, GraphError> {
        let pooled = self.add(Op::GlobalAvgPool, &[last])?;
        self.add(Op::Linear(CLASSES), &[pooled])?;
        Ok(self.graph)
    }
}
