//! The closed set of operations. A new variant makes three `match`es fail to compile until they
//! answer: cost (`cost.rs`), training (`train/src/network.rs`) and export (`export/src/onnx.rs`).

use crate::{Shape, packed::Packed};

/// What a node computes.
// Its kind in a byte of its own: packed into a field's unused values it would take several
// instructions to read, and every reader asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
#[repr(u8)]
pub enum Op {
    /// The image, `f32`, normalised.
    Input,
    /// 2-D convolution.
    Conv2d(Conv2d),
    /// Affine map of a vector onto this many features, with bias.
    Linear(usize),
    /// Batch normalisation over channels, with scale and shift.
    BatchNorm,
    /// Pointwise non-linearity.
    Activation(Activation),
    /// Largest value of each window; padding never wins.
    MaxPool(Pool2d),
    /// Mean of each window; padding is not counted.
    AvgPool(Pool2d),
    /// Mean over height and width: a map becomes a vector.
    GlobalAvgPool,
    /// Elementwise sum of two or more equal shapes.
    Add,
    /// Elementwise product of two or more equal shapes.
    Mul,
    /// The first of two equal shapes less the second, elementwise.
    Sub,
    /// Elementwise mean of two or more equal shapes.
    Mean,
    /// Concatenation along channels.
    Concat,
    /// The same values with channels as the last axis: `[channels, height, width]` becomes `[height, width, channels]`.
    ChannelsLast,
    /// A map brought to this `[height, width]`, in pixels, by bilinear interpolation between the middles of pixels
    /// (half-pixel centres); beyond the outermost middles the outermost values go on.
    Resize([usize; 2]),
    /// These channels of a map, in a row.
    Slice {
        /// The first.
        from: u32,
        /// How many.
        channels: u32,
    },
    /// Passes its input on.
    Identity,
    /// Zeros in the shape of its input, each spatial side divided by this stride, rounded up.
    Zero(usize),
    /// One row of a table for a word, which comes as its number, from 0, in a vector of one.
    Embed(Table),
    /// What another node had in the step before, a vector of this many features; zeros in the first step. It has no
    /// inputs: see [`Graph::memory`](crate::Graph::memory).
    Memory(usize),
    /// A choice not yet made between two or more equal shapes: their sum, weighted by the softmax of row `key` of a
    /// [`Mixture`](crate::relaxed::Mixture). Nodes of one key choose alike.
    Mix(u32),
    /// Its input times the weight of one option of a choice not yet made: the softmax of row `key` of a
    /// [`Mixture`](crate::relaxed::Mixture) at `option`. Where a [`Op::Mix`] chooses among what one node reads, this
    /// chooses where one value goes: its options may stand anywhere.
    Weigh {
        /// Row of the mixture.
        key: u32,
        /// Place in the row.
        option: u32,
    },
}

/// A learned vector for each word of a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// Rows: words that are told apart.
    pub words: usize,
    /// Columns: features of a word's vector.
    pub features: usize,
}

/// A 2-D convolution; `groups == channels` of its input makes it depthwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Output channels.
    pub channels: usize,
    /// Kernel `[height, width]`, in pixels.
    pub kernel: [usize; 2],
    /// Stride `[vertical, horizontal]`, in pixels.
    pub stride: [usize; 2],
    /// Spacing between kernel taps `[vertical, horizontal]`, in pixels.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    pub pads: Pads,
    /// Number of channel groups; divides input and output channels.
    pub groups: usize,
    /// Whether a bias is added. Networks that normalise have none until batch norm is folded.
    pub bias: bool,
    /// Whether its weights are given instead of learned: they ship, but are no parameters. Nothing trains them.
    pub fixed: bool,
}

/// [`Graph::fingerprint`](crate::Graph::fingerprint) is made of this, and runs on disk know networks by theirs: what
/// most convolutions are not is not told.
impl std::fmt::Debug for Conv2d {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { channels, kernel, stride, dilation, pads, groups, bias, fixed } = self;
        let mut told = f.debug_struct("Conv2d");
        told.field("channels", channels).field("kernel", kernel).field("stride", stride).field("dilation", dilation);
        told.field("pads", pads).field("groups", groups).field("bias", bias);
        if *fixed {
            told.field("fixed", fixed);
        }
        told.finish()
    }
}

impl Conv2d {
    /// A square, dense convolution without bias whose pads keep the size at stride 1.
    pub fn same(channels: usize, kernel: usize, stride: usize) -> Self {
        Self {
            channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pads: Pads::all(kernel / 2),
            groups: 1,
            bias: false,
            fixed: false,
        }
    }

    /// As [`Conv2d::same`], one filter a channel.
    pub fn depthwise(channels: usize, kernel: usize, stride: usize) -> Self {
        Self { groups: channels, ..Self::same(channels, kernel, stride) }
    }

    /// Input values that one output value is computed from: its multiply-accumulates.
    #[inline]
    pub fn taps(&self, input_channels: usize) -> usize {
        // A division is slow, and most convolutions need none.
        let seen = match self.groups {
            1 => input_channels,
            groups if groups == input_channels => 1,
            groups => input_channels / groups,
        };
        seen * self.kernel[0] * self.kernel[1]
    }
}

/// A 2-D pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Window `[height, width]`, in pixels.
    pub kernel: [usize; 2],
    /// Stride `[vertical, horizontal]`, in pixels.
    pub stride: [usize; 2],
    /// Border around the input; smaller than the window.
    pub pads: Pads,
}

impl Pool2d {
    /// A square window whose pads keep the size at stride 1.
    pub fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], pads: Pads::all(kernel / 2) }
    }
}

/// Rows and columns added around a map, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pads {
    /// Above.
    pub top: usize,
    /// To the left.
    pub left: usize,
    /// Below.
    pub bottom: usize,
    /// To the right.
    pub right: usize,
}

impl Pads {
    /// The same on all four sides.
    pub fn all(pixels: usize) -> Self {
        Self { top: pixels, left: pixels, bottom: pixels, right: pixels }
    }
}

/// Pointwise non-linearities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `min(max(0, x), 6)`.
    Relu6,
    /// `x` above 0, `exp(x) - 1` below.
    Elu,
    /// `1.0507 * (x above 0, 1.67326 * (exp(x) - 1) below)`.
    Selu,
    /// `x / (1 + exp(-x))`, also called SiLU.
    Swish,
    /// `tanh(x)`.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `max(0, -x)`: beside a ReLU, the other half of CReLU.
    NegativeRelu,
    /// `x^2`.
    Square,
    /// The natural logarithm of `x`.
    Log,
}

impl Op {
    /// Name used in errors and reports.
    #[inline]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input => "Input",
            Self::Conv2d(_) => "Conv2d",
            Self::Linear(_) => "Linear",
            Self::BatchNorm => "BatchNorm",
            Self::Activation(Activation::Relu) => "Relu",
            Self::Activation(Activation::Relu6) => "Relu6",
            Self::Activation(Activation::Elu) => "Elu",
            Self::Activation(Activation::Selu) => "Selu",
            Self::Activation(Activation::Swish) => "Swish",
            Self::Activation(Activation::Tanh) => "Tanh",
            Self::Activation(Activation::Sigmoid) => "Sigmoid",
            Self::Activation(Activation::NegativeRelu) => "NegativeRelu",
            Self::Activation(Activation::Square) => "Square",
            Self::Activation(Activation::Log) => "Log",
            Self::MaxPool(_) => "MaxPool",
            Self::AvgPool(_) => "AvgPool",
            Self::GlobalAvgPool => "GlobalAvgPool",
            Self::Add => "Add",
            Self::Mul => "Mul",
            Self::Sub => "Sub",
            Self::Mean => "Mean",
            Self::Concat => "Concat",
            Self::ChannelsLast => "ChannelsLast",
            Self::Resize(_) => "Resize",
            Self::Slice { .. } => "Slice",
            Self::Identity => "Identity",
            Self::Zero(_) => "Zero",
            Self::Embed(_) => "Embed",
            Self::Memory(_) => "Memory",
            Self::Mix(_) => "Mix",
            Self::Weigh { .. } => "Weigh",
        }
    }

    /// Output shape for these input shapes, or `None` where they do not fit.
    // Inlined with `Graph::add`, and for its reason.
    #[inline(always)]
    pub(crate) fn infer(&self, inputs: impl ExactSizeIterator<Item = Packed>) -> Option<Packed> {
        let mut inputs = inputs;
        let n_inputs = inputs.len();
        let first = inputs.next()?;
        match self {
            Self::Input | Self::Memory(_) => None,
            Self::Add | Self::Mul | Self::Mean | Self::Mix(_) => {
                (n_inputs >= 2 && inputs.all(|it| it == first)).then_some(first)
            }
            Self::Sub => (n_inputs == 2 && inputs.all(|it| it == first)).then_some(first),
            Self::Concat => {
                let Shape::Map([mut channels, height, width]) = first.shape() else { return None };
                for shape in inputs {
                    match shape.shape() {
                        Shape::Map([more, h, w]) if [h, w] == [height, width] => channels += more,
                        Shape::Map(_) | Shape::Vector(_) => return None,
                    }
                }
                Packed::new(Shape::Map([channels, height, width]))
            }
            _ if n_inputs != 1 => None,
            Self::BatchNorm | Self::Activation(_) | Self::Identity | Self::Weigh { .. } => Some(first),
            Self::Linear(features) => match first.shape() {
                Shape::Vector(_) if *features > 0 => Packed::new(Shape::Vector(*features)),
                Shape::Vector(_) | Shape::Map(_) => None,
            },
            Self::Embed(Table { words, features }) => match first.shape() {
                Shape::Vector(1) if *words > 0 && *features > 0 => Packed::new(Shape::Vector(*features)),
                Shape::Vector(_) | Shape::Map(_) => None,
            },
            Self::Conv2d(_)
            | Self::MaxPool(_)
            | Self::AvgPool(_)
            | Self::GlobalAvgPool
            | Self::ChannelsLast
            | Self::Resize(_)
            | Self::Slice { .. }
            | Self::Zero(_) => {
                let Shape::Map([channels, height, width]) = first.shape() else { return None };
                Packed::new(self.infer_map(channels, height, width)?)
            }
        }
    }

    #[inline(always)]
    fn infer_map(&self, channels: usize, height: usize, width: usize) -> Option<Shape> {
        match self {
            Self::Conv2d(conv) => {
                let Conv2d { kernel, stride, dilation, pads, groups, .. } = *conv;
                // Divisions are slow: the usual numbers of groups need none.
                let dense_or_depthwise = groups == 1 || (groups == channels && groups == conv.channels);
                let divides = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
                if conv.channels == 0 || !(dense_or_depthwise || divides(channels) && divides(conv.channels)) {
                    return None;
                }
                Some(Shape::Map([
                    conv.channels,
                    windows(height + pads.top + pads.bottom, kernel[0], stride[0], dilation[0])?,
                    windows(width + pads.left + pads.right, kernel[1], stride[1], dilation[1])?,
                ]))
            }
            Self::MaxPool(pool) | Self::AvgPool(pool) => {
                let Pool2d { kernel, stride, pads } = *pool;
                // A window that sees padding alone has no maximum and no mean.
                let sees = pads.top.max(pads.bottom) < kernel[0] && pads.left.max(pads.right) < kernel[1];
                if !sees {
                    return None;
                }
                Some(Shape::Map([
                    channels,
                    windows(height + pads.top + pads.bottom, kernel[0], stride[0], 1)?,
                    windows(width + pads.left + pads.right, kernel[1], stride[1], 1)?,
                ]))
            }
            Self::GlobalAvgPool => Some(Shape::Vector(channels)),
            Self::ChannelsLast => Some(Shape::Map([height, width, channels])),
            Self::Zero(stride) if *stride > 0 => {
                Some(Shape::Map([channels, height.div_ceil(*stride), width.div_ceil(*stride)]))
            }
            Self::Resize([height, width]) if *height > 0 && *width > 0 => Some(Shape::Map([channels, *height, *width])),
            Self::Slice { from, channels: taken } => {
                let end = from.checked_add(*taken)? as usize;
                (*taken > 0 && end <= channels).then_some(Shape::Map([*taken as usize, height, width]))
            }
            Self::Zero(_)
            | Self::Resize(_)
            | Self::Input
            | Self::Linear(_)
            | Self::BatchNorm
            | Self::Activation(_)
            | Self::Add
            | Self::Mul
            | Self::Sub
            | Self::Mean
            | Self::Concat
            | Self::Identity
            | Self::Embed(_)
            | Self::Memory(_)
            | Self::Mix(_)
            | Self::Weigh { .. } => None,
        }
    }
}

/// How many windows of `kernel` taps fit into `size` padded pixels.
#[inline(always)]
fn windows(size: usize, kernel: usize, stride: usize, dilation: usize) -> Option<usize> {
    let span = kernel.checked_sub(1)?.checked_mul(dilation)? + 1;
    if stride == 0 || dilation == 0 || span > size {
        return None;
    }
    // A division is slow, and most strides are 1.
    Some(if stride == 1 { size - span + 1 } else { (size - span) / stride + 1 })
}
