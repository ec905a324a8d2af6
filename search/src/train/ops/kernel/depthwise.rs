//! Depthwise convolution: every channel has a window of its own.

use kernels::{
    Padded, Window,
    depthwise::taps,
    plane::{Across, Task, WeightedSum, fold, run},
    simd::load,
};
use pulp::Simd;
use rayon::prelude::*;

use super::{group, sum_groups};

/// Convolves.
///
/// # Shapes
/// - x: `[n, channels, input]`
/// - weights: `[channels, kernel]`
/// - y: `[n, channels, output]`
pub(crate) fn forward(window: &Window, channels: usize, x: &[f32], weights: &[f32], y: &mut [f32]) {
    let [from, to] = window.areas();
    let images = group(y.len() / (channels * to));
    y.par_chunks_mut(images * channels * to)
        .zip(x.par_chunks(images * channels * from))
        .for_each(|(y, x)| kernels::depthwise::forward(window, channels, x, weights, &[], y));
}

/// The gradients of input and weights.
///
/// # Shapes
/// - x, dx: `[n, channels, input]`
/// - weights, dw: `[channels, kernel]`
/// - dy: `[n, channels, output]`
pub(crate) fn backward(
    window: &Window,
    channels: usize,
    x: &[f32],
    weights: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dw: &mut [f32],
) {
    let [from, to] = window.areas();
    let images = group(dy.len() / (channels * to));
    let n_groups = dy.len().div_ceil(images * channels * to);
    let mut parts = vec![0.0; n_groups * dw.len()];
    let dy = dy.par_chunks(images * channels * to);
    let x = x.par_chunks(images * channels * from);
    let dx = dx.par_chunks_mut(images * channels * from);
    let dw_parts = parts.par_chunks_mut(dw.len());
    dx.zip(dw_parts)
        .zip(x.zip(dy))
        .for_each(|((dx, dw), (x, dy))| run(window, Backward { window, channels, x, weights, dy, dx, dw }));
    sum_groups(&parts, dw);
}

struct Backward<'a> {
    window: &'a Window,
    channels: usize,
    x: &'a [f32],
    weights: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    dw: &'a mut [f32],
}

impl Task for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let Backward { window, channels, x, weights, dy, dx, dw } = self;
        let [from, to] = window.areas();
        let [columns_in, columns_out] = [window.input[1], window.output[1]];
        let ahead = Across::forward(window);
        let back = Across::backward(window);
        let left = window.reach(1) - window.start[1];
        let mut x_padded = Padded::under::<S>(window, 0.0);
        let mut dy_padded = Padded::over::<S>(window);
        // With a stride the gradient is spread out above; the weights need it dense.
        let mut dy_dense = (window.stride[1] > 1)
            .then(|| Padded::new::<S>(window.output[0], columns_out.next_multiple_of(S::F32_LANES), 0, 1, 1));
        for channel in 0..channels {
            let mut flipped = *taps::<K>(weights, channel);
            flipped.as_flattened_mut().reverse();
            let mut sums = [[simd.splat_f32s(0.0); K]; K];
            let planes = x.chunks_exact(from).zip(dy.chunks_exact(to)).zip(dx.chunks_exact_mut(from));
            for ((x, dy), dx) in planes.skip(channel).step_by(channels) {
                x_padded.fill(simd, x, columns_in, 0, 1);
                dy_padded.fill(simd, dy, columns_out, 0, 1);
                fold(simd, &back, &dy_padded, WeightedSum { taps: &flipped, start: 0.0 }, dx);
                let (dense, left) = match &mut dy_dense {
                    Some(dense) => {
                        dense.fill(simd, dy, columns_out, 0, 1);
                        (&*dense, 0)
                    }
                    None => (&dy_padded, left),
                };
                match_up::<S, K>(simd, &ahead, &x_padded, dense, left, &mut sums);
            }
            let dw = &mut dw[channel * K * K..][..K * K];
            for (dw, sum) in dw.iter_mut().zip(sums.as_flattened()) {
                *dw = simd.reduce_sum_f32s(*sum);
            }
        }
    }
}

/// `sums[i][j] += sum over o, q of dy[o][q] * x[o + i][q + j]`, lane by lane, as `across` moves.
///
/// The rows of `dy` begin at column `left` and end in zeros.
#[inline(always)]
fn match_up<S: Simd, const K: usize>(
    simd: S,
    across: &Across,
    x: &Padded,
    dy: &Padded,
    left: usize,
    sums: &mut [[S::f32s; K]; K],
) {
    for column in (0..across.output[1]).step_by(S::F32_LANES) {
        if across.is_dense() {
            match_rows::<S, K>(simd, across, x, dy, left, column, sums);
            continue;
        }
        let places: [usize; K] = std::array::from_fn(|j| x.place(j * across.dilation[1]) + column);
        for (k, sums) in sums.iter_mut().enumerate() {
            for o in 0..across.output[0] {
                let Some(row) = across.row(x, o, k) else { continue };
                let dy = load::<S>(dy.row(o), left + column);
                for j in 0..K {
                    sums[j] = simd.mul_add_e_f32s(dy, load::<S>(row, places[j]), sums[j]);
                }
            }
        }
    }
}

/// One vector of columns with stride and dilation 1: each row of `x` and `dy` is read once.
#[inline(always)]
fn match_rows<S: Simd, const K: usize>(
    simd: S,
    across: &Across,
    x: &Padded,
    dy: &Padded,
    left: usize,
    column: usize,
    sums: &mut [[S::f32s; K]; K],
) {
    let row = |o: usize| match o < dy.height() {
        true => load::<S>(dy.row(o), left + column),
        false => simd.splat_f32s(0.0),
    };
    // Under row `k` of the window lies row `top + i - k` of the gradient.
    let mut rows = [simd.splat_f32s(0.0); K];
    for o in 0..across.top {
        rows.rotate_right(1);
        rows[0] = row(o);
    }
    let mut local = *sums;
    for i in 0..x.height() {
        for k in (1..K).rev() {
            rows[k] = rows[k - 1];
        }
        rows[0] = row(across.top + i);
        let x = &x.row(i)[column..][..S::F32_LANES + K - 1];
        for j in 0..K {
            let x = load::<S>(x, j);
            for k in 0..K {
                local[k][j] = simd.mul_add_e_f32s(rows[k], x, local[k][j]);
            }
        }
    }
    *sums = local;
}
