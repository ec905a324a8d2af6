//! Networks of single layers that grow layer by layer: the first of EPNAS's two spaces (Y. Zhou et al., "EPNAS:
//! Efficient Progressive Neural Architecture Search").
//!
//! A layer's first source is its place: it reads the layer before it. Its second source, if it has one, is a skip
//! from further back, which is added to the first. `add` does only that. All that the text leaves open is a
//! reconstruction: convolutions are followed by batch norm and the activation, pooling halves the map, and a skip of
//! another shape is brought to that of the first source by a strided 1x1 convolution with batch norm. CReLU doubles
//! the channels, as it does everywhere.
//!
//! The depth and the widths are the architecture's own, so of a [`Scale`] only the channels matter: at 16 the widths
//! are the paper's, and a proxy may be narrower. Layers are named by number and type, which is the key under which
//! the paper keeps what they learn.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d};
use serde::{Deserialize, Serialize};

use super::{
    Morph, Scale, SearchSpace,
    parts::{classify, conv_norm},
};
use crate::chooser::{Chooser, Kind, Question};

/// All networks of 1 to `max_layers` layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpace {
    /// `MAX_LAYERS`. The number is lost. Reconstruction.
    pub max_layers: usize,
    /// `F`: groups of layers, each scaled as one. The number is lost. Reconstruction.
    pub groups: usize,
}

impl Default for LayerSpace {
    fn default() -> Self {
        Self { max_layers: 20, groups: 4 }
    }
}

/// A network: its layers in the order they are computed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layers {
    /// At least one.
    pub layers: Vec<Layer>,
}

/// One layer; its first source is the layer before it, or the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layer {
    /// What it computes.
    pub op: LayerOp,
    /// `Src2`: what it adds to its first source, 0 for the image and `1 + i` for layer `i`. `add` always has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src2: Option<usize>,
}

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerOp {
    /// Convolution.
    Conv2d(Filters),
    /// Depthwise separable convolution: one filter a channel, then a 1x1 convolution.
    DepSepConv2d(Filters),
    /// Largest value of each window of this width, in pixels.
    MaxPool2d(usize),
    /// Mean of each window of this width, in pixels.
    AvgPool2d(usize),
    /// Nothing but the sum of both sources.
    Add,
}

/// The filters of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Filters {
    /// Side of the window, in pixels.
    pub width: usize,
    /// How many.
    pub channels: usize,
    /// What follows.
    pub activation: Nonlinearity,
}

/// Non-linearities of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nonlinearity {
    /// `max(0, x)`.
    Relu,
    /// `max(0, x)` and `max(0, -x)`, one behind the other (W. Shang et al., 2016).
    Crelu,
    /// See [`Activation::Elu`].
    Elu,
    /// See [`Activation::Selu`].
    Selu,
    /// See [`Activation::Swish`].
    Swish,
}

impl Nonlinearity {
    /// All of them, in the paper's order.
    pub const ALL: [Self; 5] = [Self::Relu, Self::Crelu, Self::Elu, Self::Selu, Self::Swish];
}

/// Names of the layer types, in the paper's order; `add` is the last.
pub const TYPES: [&str; 5] = ["conv2d", "dep_sep_conv2d", "max_pool2d", "avg_pool2d", "add"];

/// Filter widths, in pixels.
pub const FILTER_WIDTHS: [usize; 4] = [1, 3, 5, 7];

/// Pooling widths, in pixels.
pub const POOL_WIDTHS: [usize; 2] = [2, 3];

/// Numbers of filters.
pub const CHANNELS: [usize; 6] = [16, 32, 64, 96, 128, 256];

/// [`Scale::channels`] at which widths are the paper's.
pub const FULL_CHANNELS: usize = 16;

impl LayerOp {
    /// Position of its name in [`TYPES`].
    pub fn nth(self) -> usize {
        match self {
            Self::Conv2d(_) => 0,
            Self::DepSepConv2d(_) => 1,
            Self::MaxPool2d(_) => 2,
            Self::AvgPool2d(_) => 3,
            Self::Add => 4,
        }
    }

    /// Its filters, where it has any.
    pub fn filters(&self) -> Option<&Filters> {
        match self {
            Self::Conv2d(filters) | Self::DepSepConv2d(filters) => Some(filters),
            Self::MaxPool2d(_) | Self::AvgPool2d(_) | Self::Add => None,
        }
    }

    fn filters_mut(&mut self) -> Option<&mut Filters> {
        match self {
            Self::Conv2d(filters) | Self::DepSepConv2d(filters) => Some(filters),
            Self::MaxPool2d(_) | Self::AvgPool2d(_) | Self::Add => None,
        }
    }
}

impl Layers {
    /// Whether there is a layer, and every skip comes from further back than the layer's first source.
    pub fn is_well_formed(&self) -> bool {
        let reads = |(place, layer): (usize, &Layer)| match layer.src2 {
            Some(src2) => src2 < place,
            None => layer.op != LayerOp::Add,
        };
        !self.layers.is_empty() && self.layers.iter().enumerate().all(reads)
    }

    /// Puts `layer` at `place`: what read the value before it now reads the new layer.
    pub fn insert(&mut self, place: usize, layer: Layer) {
        for later in &mut self.layers[place..] {
            // Skips are of the layers they were of.
            later.src2 = later.src2.map(|src2| if place < src2 { src2 + 1 } else { src2 });
        }
        self.layers.insert(place, layer);
    }

    /// Takes the layer at `place` away: what read it reads the value before it. An `add` that is left with one source
    /// goes as well. The last layer stays.
    pub fn remove(&mut self, place: usize) {
        let mut layers = self.layers.clone();
        let mut next = Some(place);
        while let Some(place) = next {
            layers.remove(place);
            for (idx, later) in layers.iter_mut().enumerate().skip(place) {
                let moved = later.src2.map(|src2| if place < src2 { src2 - 1 } else { src2 });
                // A skip of what is read already is none.
                later.src2 = moved.filter(|src2| *src2 < idx);
            }
            next = layers.iter().position(|it| it.op == LayerOp::Add && it.src2.is_none());
        }
        if !layers.is_empty() {
            self.layers = layers;
        }
    }
}

impl SearchSpace for LayerSpace {
    type Arch = Layers;

    /// A network that grew at its end.
    fn sample(&self, chooser: &mut dyn Chooser) -> Layers {
        let n_layers = 1 + chooser.choose(Question { kind: Kind::Count, options: self.max_layers });
        let mut layers = Vec::with_capacity(n_layers);
        for place in 0..n_layers {
            layers.push(ask_layer(place, chooser));
            chooser.define();
        }
        Layers { layers }
    }

    fn build(&self, arch: &Layers, scale: &Scale) -> Result<Graph, GraphError> {
        let mut graph = Graph::with_capacity(12 * arch.layers.len() + 3);
        let image = scale.begin(&mut graph)?;
        let mut values = vec![Value { node: image, halvings: 0 }];
        for (place, layer) in arch.layers.iter().enumerate() {
            let value = graph.within(("layer", place), |graph| {
                graph.within(TYPES[layer.op.nth()], |graph| apply(graph, layer, &values, scale))
            })?;
            values.push(value);
        }
        classify(&mut graph, values[arch.layers.len()].node, scale)?;
        Ok(graph)
    }

    /// The image.
    fn given(&self) -> usize {
        1
    }

    /// `sum over L of prod over i < L of (244 (i + 1) + i)`: the layer at place `i` is one of 240 convolutions or 4
    /// pools with one of `i` skips or none, or an `add` with one of `i` skips. The largest number there is, where it
    /// does not fit.
    fn size(&self) -> u128 {
        let filters = FILTER_WIDTHS.len() * CHANNELS.len() * Nonlinearity::ALL.len();
        let with_or_without = 2 * (filters + POOL_WIDTHS.len()) as u128;
        let at = |place: u128| with_or_without * (place + 1) + place;
        let deep = |n: usize| (0..n as u128).map(at).fold(1, u128::saturating_mul);
        (1..=self.max_layers).map(deep).fold(0, u128::saturating_add)
    }

    /// One pool: every other layer costs more, and every further one as well.
    fn cheapest(&self) -> Vec<Layers> {
        let pools = POOL_WIDTHS.into_iter().flat_map(|width| [LayerOp::MaxPool2d(width), LayerOp::AvgPool2d(width)]);
        pools.map(|op| Layers { layers: vec![Layer { op, src2: None }] }).collect()
    }
}

impl Morph for LayerSpace {
    /// One step: first the filters of one group of layers get one width, or one number; then a layer is inserted,
    /// removed, or all are kept. Nothing is scaled where a group has no filters, inserted where the network has
    /// `MAX_LAYERS`, or removed where it has one.
    fn morph(&self, arch: &Layers, chooser: &mut dyn Chooser) -> Layers {
        let mut arch = arch.clone();
        let n_layers = arch.layers.len();
        let what = chooser.choose(Question { kind: Kind::Edit, options: SCALES });
        let group = chooser.choose(Question { kind: Kind::Place, options: self.groups });
        let (width, channels) = if what == SCALE_WIDTH {
            (Some(ask(Kind::Kernel, &FILTER_WIDTHS, chooser)), None)
        } else {
            (None, Some(ask(Kind::Channels, &CHANNELS, chooser)))
        };
        for (_, layer) in
            arch.layers.iter_mut().enumerate().filter(|(place, _)| place * self.groups / n_layers == group)
        {
            if let Some(filters) = layer.op.filters_mut() {
                filters.width = width.unwrap_or(filters.width);
                filters.channels = channels.unwrap_or(filters.channels);
            }
        }
        match chooser.choose(Question { kind: Kind::Edit, options: EDITS }) {
            INSERT if n_layers < self.max_layers => {
                let place = chooser.choose(Question { kind: Kind::Place, options: n_layers + 1 });
                (0..place).for_each(|_| chooser.define());
                let layer = ask_layer(place, chooser);
                arch.insert(place, layer);
            }
            REMOVE if 1 < n_layers => {
                arch.remove(chooser.choose(Question { kind: Kind::Place, options: n_layers }));
            }
            // Kept.
            _ => {}
        }
        arch
    }

    /// Type, filter width, pooling width, number of filters, activation, first and second source; 0 where a layer
    /// has no such thing.
    fn embed(&self, arch: &Layers) -> Vec<Vec<usize>> {
        let row = |(place, layer): (usize, &Layer)| {
            let filters = layer.op.filters();
            let pool = match &layer.op {
                LayerOp::MaxPool2d(width) | LayerOp::AvgPool2d(width) => Some(width),
                LayerOp::Conv2d(_) | LayerOp::DepSepConv2d(_) | LayerOp::Add => None,
            };
            vec![
                layer.op.nth(),
                filters.map_or(0, |it| position(&FILTER_WIDTHS, &it.width)),
                pool.map_or(0, |width| position(&POOL_WIDTHS, width)),
                filters.map_or(0, |it| position(&CHANNELS, &it.channels)),
                filters.map_or(0, |it| position(&Nonlinearity::ALL, &it.activation)),
                place,
                layer.src2.map_or(0, |src2| src2 + 1),
            ]
        };
        arch.layers.iter().enumerate().map(row).collect()
    }
}

/// What a group may be scaled in: the filter width, then the number of filters.
pub(super) const SCALES: usize = 2;
pub(super) const SCALE_WIDTH: usize = 0;

/// What may be done at a place: insert, remove, keep.
pub(super) const EDITS: usize = 3;
pub(super) const INSERT: usize = 0;
pub(super) const REMOVE: usize = 1;

/// Asks for every decision about the layer at `place`.
fn ask_layer(place: usize, chooser: &mut dyn Chooser) -> Layer {
    // The first layer has nothing to add to the image.
    let types = if place == 0 { TYPES.len() - 1 } else { TYPES.len() };
    let op = match chooser.choose(Question { kind: Kind::Op, options: types }) {
        0 => LayerOp::Conv2d(ask_filters(chooser)),
        1 => LayerOp::DepSepConv2d(ask_filters(chooser)),
        2 => LayerOp::MaxPool2d(ask(Kind::Kernel, &POOL_WIDTHS, chooser)),
        3 => LayerOp::AvgPool2d(ask(Kind::Kernel, &POOL_WIDTHS, chooser)),
        _ => LayerOp::Add,
    };
    // The last answer is what the layer reads anyway: no skip.
    let sources = if op == LayerOp::Add { place } else { place + 1 };
    let src2 = chooser.choose(Question { kind: Kind::Input, options: sources });
    Layer { op, src2: (src2 < place).then_some(src2) }
}

fn ask_filters(chooser: &mut dyn Chooser) -> Filters {
    let width = ask(Kind::Kernel, &FILTER_WIDTHS, chooser);
    let channels = ask(Kind::Channels, &CHANNELS, chooser);
    Filters { width, channels, activation: ask(Kind::Activation, &Nonlinearity::ALL, chooser) }
}

pub(super) fn ask<T: Copy>(kind: Kind, values: &[T], chooser: &mut dyn Chooser) -> T {
    values[chooser.choose(Question { kind, options: values.len() })]
}

/// Counted from 1, since 0 is for what a layer does not have.
pub(super) fn position<T: PartialEq>(values: &[T], value: &T) -> usize {
    values.iter().position(|it| it == value).map_or(0, |nth| nth + 1)
}

/// Something that layers read.
#[derive(Clone, Copy)]
struct Value {
    node: NodeId,
    /// Pools on the way to it.
    halvings: u32,
}

fn apply(graph: &mut Graph, layer: &Layer, values: &[Value], scale: &Scale) -> Result<Value, GraphError> {
    let mut value = values[values.len() - 1];
    if let Some(src2) = layer.src2 {
        // What is further back was pooled no more often.
        let skip = values[src2];
        let (shape, wanted) = (graph.shape(skip.node), graph.shape(value.node));
        let skip = if shape == wanted {
            skip.node
        } else {
            // No map has more than 2^20 pixels a side.
            let stride = 1 << (value.halvings - skip.halvings).min(20);
            let project = Conv2d::same(wanted.channels(), 1, stride);
            graph.within("skip", |graph| conv_norm(graph, ["conv", "norm"], skip.node, project))?
        };
        value.node = graph.add("sum", Op::Add, &[value.node, skip])?;
    }
    match layer.op {
        LayerOp::Conv2d(filters) => {
            let conv = Conv2d::same(width(filters.channels, scale), filters.width, 1);
            let node = conv_norm(graph, ["conv", "norm"], value.node, conv)?;
            value.node = activate(graph, node, filters.activation)?;
        }
        LayerOp::DepSepConv2d(filters) => {
            let depthwise = Conv2d::depthwise(graph.shape(value.node).channels(), filters.width, 1);
            let node = graph.add("depthwise", Op::Conv2d(depthwise), &[value.node])?;
            let node = conv_norm(graph, ["conv", "norm"], node, Conv2d::same(width(filters.channels, scale), 1, 1))?;
            value.node = activate(graph, node, filters.activation)?;
        }
        LayerOp::MaxPool2d(width) => {
            value.node = graph.add("pool", Op::MaxPool(pool(width, 2)), &[value.node])?;
            value.halvings += 1;
        }
        LayerOp::AvgPool2d(width) => {
            value.node = graph.add("pool", Op::AvgPool(pool(width, 2)), &[value.node])?;
            value.halvings += 1;
        }
        LayerOp::Add => {}
    }
    Ok(value)
}

fn activate(graph: &mut Graph, node: NodeId, nonlinearity: Nonlinearity) -> Result<NodeId, GraphError> {
    let activation = match nonlinearity {
        Nonlinearity::Relu => Activation::Relu,
        Nonlinearity::Elu => Activation::Elu,
        Nonlinearity::Selu => Activation::Selu,
        Nonlinearity::Swish => Activation::Swish,
        Nonlinearity::Crelu => {
            let above = graph.add("relu", Op::Activation(Activation::Relu), &[node])?;
            let below = graph.add("negative_relu", Op::Activation(Activation::NegativeRelu), &[node])?;
            return graph.add("crelu", Op::Concat, &[above, below]);
        }
    };
    graph.add("activation", Op::Activation(activation), &[node])
}

/// Filters at this scale.
pub(super) fn width(channels: usize, scale: &Scale) -> usize {
    (channels * scale.channels / FULL_CHANNELS).max(1)
}

/// A window that keeps a map's size at stride 1 and halves it, rounded up, at stride 2. One of 2 pixels hangs over
/// below and to the right.
pub(super) fn pool(width: usize, stride: usize) -> Pool2d {
    let before = (width - 1) / 2;
    let after = width - 1 - before;
    Pool2d {
        kernel: [width; 2],
        stride: [stride; 2],
        pads: Pads { top: before, left: before, bottom: after, right: after },
    }
}
