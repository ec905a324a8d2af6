//! The forms in which an operation may be written. All compute the same; which is fastest is for a measurement to say.

use std::fmt;

use graph::{Activation, Conv2d, Graph, Op, Pads};

/// One form for each kind of operation. The default is the plain one: one ONNX operator for one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lowering {
    /// Average pooling.
    pub average: Average,
    /// Max pooling.
    pub max: Max,
    /// Depthwise convolutions with pads.
    pub depthwise: Depthwise,
    /// Strided depthwise convolutions.
    pub depthwise_stride: DepthwiseStride,
    /// Strided 1x1 convolutions.
    pub stride: Stride,
    /// Swish.
    pub swish: Swish,
    /// Sums of more than two values.
    pub sum: Sum,
}

/// How an average pool is written. It does not count its padding, so that some forms need a correction at the border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Average {
    /// `AveragePool`.
    #[default]
    Pool,
    /// `AveragePool` over rows, then over columns: the number of pixels in a window is a product.
    Separable,
    /// `AveragePool` that counts its padding, times how much of each window is none.
    Counted,
    /// Depthwise convolution with equal weights, times the same correction.
    Depthwise,
    /// The same with its padding as in [`Depthwise::Padded`].
    PaddedDepthwise,
    /// Depthwise convolutions over rows, then over columns, times the same correction.
    SeparableDepthwise,
}

/// How a max pool is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Max {
    /// `MaxPool`.
    #[default]
    Pool,
    /// `MaxPool` over rows, then over columns.
    Separable,
}

/// How a depthwise convolution with pads is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depthwise {
    /// `Conv` with pads.
    #[default]
    Conv,
    /// `Pad`, then `Conv` without pads: no window needs a case of its own. The border is [`BORDER`].
    Padded,
}

/// What stands for 0 in a border that is to stay a value of its own: runtimes fold zeros back into the convolution.
pub const BORDER: f32 = 1e-30;

/// How a strided depthwise convolution is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DepthwiseStride {
    /// `Conv` with strides.
    #[default]
    Conv,
    /// `Conv` without, then `MaxPool` of single pixels with strides: more windows, in rows without gaps.
    After,
}

/// How a 1x1 convolution that steps over pixels is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stride {
    /// `Conv` with strides.
    #[default]
    Conv,
    /// `Slice` with steps, then `Conv`.
    Slice,
    /// `MaxPool` of single pixels with strides, then `Conv`.
    Pool,
}

/// How Swish is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Swish {
    /// `x * sigmoid(x)`.
    #[default]
    Sigmoid,
    /// `x / (1 + exp(-x))`.
    Exp,
}

/// How a sum of more than two values is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sum {
    /// `Sum`.
    #[default]
    Sum,
    /// `Add` after `Add`.
    Chain,
}

impl Lowering {
    /// This lowering with every other form of each kind of operation that `graph` holds, one kind a list.
    ///
    /// `graph` is the network as it ships: [`graph::fold::shipped`].
    pub fn alternatives(self, graph: &Graph) -> Vec<Vec<Self>> {
        let holds = |kind: fn(&Op, usize) -> bool| graph.ids().any(|id| kind(graph.op(id), graph.inputs(id).len()));
        let mut kinds = Vec::new();
        if holds(|op, _| matches!(op, Op::AvgPool(_))) {
            use Average::{Counted, Depthwise, PaddedDepthwise, Pool, Separable, SeparableDepthwise};
            let forms = [Pool, Separable, Counted, Depthwise, PaddedDepthwise, SeparableDepthwise];
            kinds.push(forms.map(|average| Self { average, ..self }).to_vec());
        }
        if holds(|op, _| matches!(op, Op::MaxPool(_))) {
            kinds.push([Max::Pool, Max::Separable].map(|max| Self { max, ..self }).to_vec());
        }
        if holds(|op, _| matches!(op, Op::Conv2d(conv) if is_depthwise(conv) && conv.pads != Pads::all(0))) {
            let forms = [Depthwise::Conv, Depthwise::Padded];
            kinds.push(forms.map(|depthwise| Self { depthwise, ..self }).to_vec());
        }
        if holds(|op, _| matches!(op, Op::Conv2d(conv) if is_depthwise(conv) && conv.stride != [1; 2])) {
            let forms = [DepthwiseStride::Conv, DepthwiseStride::After];
            kinds.push(forms.map(|depthwise_stride| Self { depthwise_stride, ..self }).to_vec());
        }
        if holds(|op, _| matches!(op, Op::Conv2d(conv) if steps_over_pixels(conv))) {
            kinds.push([Stride::Conv, Stride::Slice, Stride::Pool].map(|stride| Self { stride, ..self }).to_vec());
        }
        if holds(|op, _| *op == Op::Activation(Activation::Swish)) {
            kinds.push([Swish::Sigmoid, Swish::Exp].map(|swish| Self { swish, ..self }).to_vec());
        }
        if holds(|op, n_inputs| *op == Op::Add && 2 < n_inputs) {
            kinds.push([Sum::Sum, Sum::Chain].map(|sum| Self { sum, ..self }).to_vec());
        }
        for forms in &mut kinds {
            forms.retain(|form| *form != self);
        }
        kinds
    }
}

/// The forms that differ from the plain one, such as `average: Depthwise`; `plain` where none does.
impl fmt::Display for Lowering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { average, max, depthwise, depthwise_stride, stride, swish, sum } = self;
        let plain = Self::default();
        let parts = [
            (*average != plain.average).then(|| format!("average: {average:?}")),
            (*max != plain.max).then(|| format!("max: {max:?}")),
            (*depthwise != plain.depthwise).then(|| format!("depthwise: {depthwise:?}")),
            (*depthwise_stride != plain.depthwise_stride).then(|| format!("depthwise stride: {depthwise_stride:?}")),
            (*stride != plain.stride).then(|| format!("stride: {stride:?}")),
            (*swish != plain.swish).then(|| format!("swish: {swish:?}")),
            (*sum != plain.sum).then(|| format!("sum: {sum:?}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "plain" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Whether the stride can be taken off the convolution: each output is computed from one pixel of the image.
pub(crate) fn steps_over_pixels(conv: &Conv2d) -> bool {
    conv.kernel == [1; 2] && conv.stride != [1; 2] && conv.pads == Pads::all(0)
}

/// Whether each output channel is computed from one channel of its own.
pub(crate) fn is_depthwise(conv: &Conv2d) -> bool {
    1 < conv.groups && conv.groups == conv.channels
}

/// Pixels of the image, not of its padding, in each window along one axis of `size` pixels.
pub(crate) fn pixels(size: usize, kernel: usize, stride: usize, [before, after]: [usize; 2]) -> Vec<usize> {
    let starts = (0..=size + before + after - kernel).step_by(stride);
    starts.map(|start| (start + kernel).min(before + size) - start.max(before)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_at_the_border_hold_fewer_pixels() {
        assert_eq!(pixels(4, 3, 1, [1, 1]), [2, 3, 3, 2]);
        assert_eq!(pixels(4, 3, 2, [0, 1]), [3, 2]);
        assert_eq!(pixels(5, 2, 2, [0, 0]), [2, 2]);
        assert_eq!(pixels(1, 3, 1, [1, 1]), [1]);
        assert_eq!(pixels(3, 5, 1, [2, 2]), [3, 3, 3]);
    }

    #[test]
    fn tells_what_is_not_plain() {
        assert_eq!(Lowering::default().to_string(), "plain");
        let tuned = Lowering { average: Average::Counted, stride: Stride::Slice, ..Lowering::default() };
        assert_eq!(tuned.to_string(), "average: Counted, stride: Slice");
    }
}
