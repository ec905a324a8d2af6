//! Convolution over all channels with any window, as products of matrices that are never laid out.
//!
//! A convolution multiplies the weights, a row for each channel of the output, with a matrix whose
//! row `(channel, i, j)` is that channel of the input, moved by `i` rows and `j` columns. Such a row
//! is read where it stands in a copy of the image with zeros around it.

use kernels::{Padded, Window};
use pulp::{Simd, WithSimd};

use super::{
    product::{Lines, Panels, Source, Target, match_up, multiply},
    reach::{Order, Reach},
    relu::Rectifier,
};

/// A convolution from `from` to `to` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dense {
    /// Where it looks.
    pub(crate) window: Window,
    /// Channels of the input.
    pub(crate) from: usize,
    /// Channels of the output.
    pub(crate) to: usize,
}

impl Dense {
    /// Rows of the matrix that the weights are multiplied with.
    pub(super) fn taps(&self) -> usize {
        let [height, width] = self.window.kernel;
        self.from * height * width
    }

    /// Whether each value of the output follows from one pixel of the input.
    pub(super) fn is_pointwise(&self) -> bool {
        self.window.kernel == [1, 1] && self.window.start == [0, 0]
    }

    /// Weights to multiply the input with.
    pub(super) fn ahead(&self, weights: &[f32]) -> Panels {
        let taps = self.taps();
        Panels::new(self.to, taps, |row, tap| weights[row * taps + tap])
    }

    /// Weights to multiply the gradient of the output with.
    pub(super) fn back(&self, weights: &[f32]) -> Panels {
        let area: usize = self.window.kernel.iter().product();
        Panels::new(self.from, self.to * area, |row, tap| {
            let (to, at) = (tap / area, tap % area);
            weights[(to * self.from + row) * area + (area - 1 - at)]
        })
    }
}

/// Multiplies every image of `source`, rectified first.
pub(super) struct Correlate<'a> {
    pub(super) reach: &'a Reach,
    pub(super) panels: &'a Panels,
    pub(super) rectifier: Rectifier,
    pub(super) source: &'a [f32],
    pub(super) result: &'a mut [f32],
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { reach, panels, rectifier, source, result } = self;
        let [_, height, width] = reach.result;
        let sources = source.chunks_exact(reach.source.iter().product());
        let results = result.chunks_exact_mut(reach.result.iter().product());
        let mut padded = reach.padded::<S>(1, Order::Images);
        let offsets = reach.offsets(&padded, 1);
        for (values, source) in results.zip(sources) {
            reach.fill(simd, &mut padded, source, Order::Images);
            rectifier.clamp(simd, &mut padded);
            let step = reach.stride[0] * padded.pitch();
            let source = Source { values: padded.values(), offsets: &offsets, step };
            let target = &mut Target { values, pitch: height * width, height, width, adds: false };
            multiply(simd, panels, &source, target);
        }
    }
}

/// Adds the gradient of a convolution's weights by some images, rectified first: how the gradient of each channel
/// matches each moved channel of the input.
pub(super) struct MatchUp<'a> {
    pub(super) dense: &'a Dense,
    pub(super) rectifier: Rectifier,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) part: &'a mut [f32],
}

impl WithSimd for MatchUp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { dense, rectifier, x, dy, part } = self;
        let reach = Reach::forward(dense);
        let Dense { window, to, .. } = *dense;
        let [height, width] = window.output;
        let images = dy.len() / (to * height * width);
        let mut x_padded = reach.padded::<S>(images, Order::Channels);
        reach.fill(simd, &mut x_padded, x, Order::Channels);
        rectifier.clamp(simd, &mut x_padded);
        let offsets = reach.offsets(&x_padded, images);
        // Rows of pixels a plane, so that they follow each other at the same distance in all images.
        let rows = reach.height() / reach.stride[0];
        // With zeros between them, the rows of all images are one where nothing is skipped.
        let is_one = reach.stride == [1, 1];
        let pitch = if is_one { x_padded.pitch() } else { width.next_multiple_of(S::F32_LANES) };
        let mut dy_padded = Padded::new::<S>(images * to * rows, pitch, 0, 1, 1);
        for (at, from) in Order::Channels.planes(images, to).enumerate() {
            let plane = &dy[from * height * width..][..height * width];
            dy_padded.fill(simd, plane, width, at * rows, 1);
        }
        let starts: Vec<usize> = (0..to).map(|at| at * images * rows * pitch).collect();
        let n_rows = (images - 1) * rows + height;
        let [next_x, next_dy, pieces, length] = match is_one {
            true => [0, 0, 1, (n_rows - 1) * pitch + width],
            false => [reach.stride[0] * x_padded.pitch(), pitch, n_rows, width],
        };
        let x = Lines { values: x_padded.values(), offsets: &offsets, next: next_x };
        let dy = Lines { values: dy_padded.values(), offsets: &starts, next: next_dy };
        match_up(simd, &x, &dy, [pieces, length], part);
    }
}
