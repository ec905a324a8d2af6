//! Where a dense convolution finds the rows of its matrix in a padded copy of the image.

use kernels::{Padded, Window};
use pulp::Simd;

use super::dense::Dense;

/// How the rows of the matrix stand in an image, in the direction of the data or of the gradient.
pub(super) struct Reach {
    /// Channels, height and width of what is read.
    pub(super) source: [usize; 3],
    /// Channels, height and width of what is made.
    pub(super) result: [usize; 3],
    kernel: [usize; 2],
    dilation: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Distance of rows and columns of the source: in between there are zeros.
    spread: [usize; 2],
    /// Zeros before the source.
    start: [usize; 2],
}

impl Reach {
    pub(super) fn forward(dense: &Dense) -> Self {
        let Dense { window: Window { kernel, stride, dilation, start, input, output }, from, to } = *dense;
        let source = [from, input[0], input[1]];
        Self { source, result: [to, output[0], output[1]], kernel, dilation, stride, spread: [1, 1], start }
    }

    pub(super) fn backward(dense: &Dense) -> Self {
        let Dense { window, from, to } = *dense;
        let Window { kernel, stride, dilation, start, input, output } = window;
        let source = [to, output[0], output[1]];
        let start = [0, 1].map(|axis| window.reach(axis) - start[axis]);
        Self { source, result: [from, input[0], input[1]], kernel, dilation, stride: [1, 1], spread: stride, start }
    }

    /// Rows of a padded plane.
    pub(super) fn height(&self) -> usize {
        let below = (self.result[1] - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1;
        let rows = below.max(self.start[0] + (self.source[1] - 1) * self.spread[0] + 1);
        rows.next_multiple_of(self.stride[0])
    }

    /// Room for the planes of `images` images, empty.
    pub(super) fn padded<S: Simd>(&self, images: usize, order: Order) -> Padded {
        let [channels, _, columns] = self.source;
        let [start, spread, phases] = [self.start[1], self.spread[1], self.stride[1]];
        let across = ((self.kernel[1] - 1) * self.dilation[1]).div_ceil(phases);
        let room = Padded::room(columns, start, spread, phases);
        let width = match order {
            Order::Channels if phases == 1 => room.max(self.result[2] + across),
            Order::Channels | Order::Images => {
                let width = room.max(self.result[2].next_multiple_of(S::F32_LANES) + across);
                // Long rows take an odd number of vectors, or those of several channels would compete for the same
                // lines of the first cache.
                if width >= LONG { (width.div_ceil(S::F32_LANES) | 1) * S::F32_LANES } else { width }
            }
        };
        Padded::new::<S>(images * channels * self.height(), width, start, spread, phases)
    }

    /// Copies images.
    pub(super) fn fill<S: Simd>(&self, simd: S, padded: &mut Padded, images: &[f32], order: Order) {
        let [channels, height, width] = self.source;
        let n = images.len() / (channels * height * width);
        for (to, from) in order.planes(n, channels).enumerate() {
            let plane = &images[from * height * width..][..height * width];
            padded.fill(simd, plane, width, to * self.height() + self.start[0], self.spread[0]);
        }
    }

    /// Where each row of the matrix begins, with `images` planes of each channel in a row.
    pub(super) fn offsets(&self, padded: &Padded, images: usize) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(self.source[0] * self.kernel[0] * self.kernel[1]);
        for channel in 0..self.source[0] {
            for i in 0..self.kernel[0] {
                let row = channel * images * self.height() + i * self.dilation[0];
                for j in 0..self.kernel[1] {
                    offsets.push(row * padded.pitch() + padded.place(j * self.dilation[1]));
                }
            }
        }
        offsets
    }
}

/// In which order the planes of some images are copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As they are: all channels of an image side by side.
    Images,
    /// All images of a channel side by side.
    Channels,
}

impl Order {
    /// Where each plane of the copy comes from.
    pub(super) fn planes(self, images: usize, channels: usize) -> impl Iterator<Item = usize> {
        (0..images * channels).map(move |to| match self {
            Self::Images => to,
            Self::Channels => (to % images) * channels + to / images,
        })
    }
}

/// Values of a row from which on it is long.
const LONG: usize = 256;
