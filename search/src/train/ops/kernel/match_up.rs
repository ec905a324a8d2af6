//! The gradient of dense weights: how the gradient of each channel matches each moved channel of the
//! input, as a product of two matrices that are never laid out.

use kernels::{Padded, simd::load};
use pulp::{Simd, WithSimd};

use super::{
    dense::Dense,
    reach::{LONG, Order, Reach},
};

/// The gradient of a convolution's weights by some images.
pub(super) struct MatchUp<'a> {
    pub(super) dense: &'a Dense,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) part: &'a mut [f32],
}

impl WithSimd for MatchUp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { dense, x, dy, part } = self;
        let reach = Reach::forward(dense);
        let Dense { window, from, to } = *dense;
        let [height, width] = window.output;
        let images = dy.len() / (to * height * width);
        let starts = |channels: usize, length: usize| (0..channels).map(|at| at * length).collect::<Vec<_>>();
        // Short planes are worth a copy that brings those of all images into one line.
        if reach.is_in_place::<S>() && width >= LONG {
            let x = Lines { values: x, offsets: &starts(from, width), next: from * width };
            let dy = Lines { values: dy, offsets: &starts(to, width), next: to * width };
            match_up(simd, &x, &dy, [images, width], part);
            return;
        }
        let mut x_padded = reach.padded::<S>(images, Order::Channels);
        reach.fill(simd, &mut x_padded, x, Order::Channels);
        let offsets = reach.offsets(&x_padded, images);
        // Rows of pixels a plane, so that they follow each other at the same distance in all images.
        let rows = reach.height() / reach.stride[0];
        let fill = |pitch: usize| {
            let mut dy_padded = Padded::new::<S>(images * to * rows, pitch, 0, 1, 1);
            for (at, from) in Order::Channels.planes(images, to).enumerate() {
                let plane = &dy[from * height * width..][..height * width];
                dy_padded.fill(simd, plane, width, at * rows, 1);
            }
            dy_padded
        };
        let n_rows = (images - 1) * rows + height;
        let (values, offsets) = (x_padded.values(), offsets.as_slice());
        if reach.stride == [1, 1] {
            // With zeros between them, the rows of all images are one.
            let pitch = x_padded.pitch();
            let dy_padded = fill(pitch);
            let x = Lines { values, offsets, next: 0 };
            let dy = Lines { values: dy_padded.values(), offsets: &starts(to, images * rows * pitch), next: 0 };
            match_up(simd, &x, &dy, [1, (n_rows - 1) * pitch + width], part);
            return;
        }
        let pitch = width.next_multiple_of(S::F32_LANES);
        let dy_padded = fill(pitch);
        let x = Lines { values, offsets, next: reach.stride[0] * x_padded.pitch() };
        let dy = Lines { values: dy_padded.values(), offsets: &starts(to, images * rows * pitch), next: pitch };
        match_up(simd, &x, &dy, [n_rows, width], part);
    }
}

/// Rows of a matrix over all pixels of some images, as they stand in memory.
struct Lines<'a> {
    values: &'a [f32],
    /// Where each begins.
    offsets: &'a [usize],
    /// From one piece of a row to the next.
    next: usize,
}

/// `part[r][t] = sum over pieces, q of dy[r][piece][q] * x[t][piece][q]`.
#[inline(always)]
fn match_up<S: Simd>(simd: S, x: &Lines<'_>, dy: &Lines<'_>, pieces: [usize; 2], part: &mut [f32]) {
    if S::REGISTER_COUNT >= 32 {
        blocks::<S, 4, 4>(simd, x, dy, pieces, part);
    } else {
        blocks::<S, 4, 2>(simd, x, dy, pieces, part);
    }
}

/// Blocks of `R` rows by `T` taps, whose sums stay in registers.
#[inline(always)]
fn blocks<S: Simd, const R: usize, const T: usize>(
    simd: S,
    x: &Lines<'_>,
    dy: &Lines<'_>,
    [pieces, length]: [usize; 2],
    part: &mut [f32],
) {
    let (rows, taps) = (dy.offsets.len(), x.offsets.len());
    let whole = length.next_multiple_of(S::F32_LANES);
    // Behind the last value of a piece stand others, which do not count.
    let last = whole - S::F32_LANES;
    let counts = simd.partial_load_f32s(&vec![1.0; length - last]);
    for row in (0..rows).step_by(R) {
        for tap in (0..taps).step_by(T) {
            let mut sums = [[simd.splat_f32s(0.0); T]; R];
            for piece in 0..pieces {
                // At the edge a block computes its last row or tap again.
                let mut dy_rows: [&[f32]; R] = [&[]; R];
                for r in 0..R {
                    let at = dy.offsets[(row + r).min(rows - 1)];
                    dy_rows[r] = &dy.values[at + piece * dy.next..][..whole];
                }
                let mut x_rows: [&[f32]; T] = [&[]; T];
                for t in 0..T {
                    let at = x.offsets[(tap + t).min(taps - 1)];
                    x_rows[t] = &x.values[at + piece * x.next..][..whole];
                }
                let mut lanes = [simd.splat_f32s(0.0); R];
                for column in (0..last).step_by(S::F32_LANES) {
                    for r in 0..R {
                        lanes[r] = load::<S>(dy_rows[r], column);
                    }
                    add_products(simd, &lanes, &x_rows, column, &mut sums);
                }
                for r in 0..R {
                    lanes[r] = simd.mul_f32s(load::<S>(dy_rows[r], last), counts);
                }
                add_products(simd, &lanes, &x_rows, last, &mut sums);
            }
            for (r, sums) in sums.into_iter().enumerate().take(rows - row) {
                for (t, sum) in sums.into_iter().enumerate().take(taps - tap) {
                    part[(row + r) * taps + tap + t] = simd.reduce_sum_f32s(sum);
                }
            }
        }
    }
}

/// `sums[r][t] += dy[r] * x[t]`, lane by lane.
// Loops, for a closure that an array maps over is compiled for any processor instead of this one.
#[inline(always)]
fn add_products<S: Simd, const R: usize, const T: usize>(
    simd: S,
    dy: &[S::f32s; R],
    x_rows: &[&[f32]; T],
    column: usize,
    sums: &mut [[S::f32s; T]; R],
) {
    for t in 0..T {
        let x = load::<S>(x_rows[t], column);
        for r in 0..R {
            sums[r][t] = simd.mul_add_e_f32s(dy[r], x, sums[r][t]);
        }
    }
}
