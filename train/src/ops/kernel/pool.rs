//! Pooling: the average over the values of a window that lie on the plane, or the largest of them.
//!
//! The average is a depthwise convolution with taps of 1, then a division by their number. The
//! largest is found tap by tap; forward notes which tap it was, the first of equals, and backward
//! gathers from the windows over a value the gradients of those that chose it.

use kernels::{
    Padded, Window,
    plane::{Across, Task, WeightedSum, fold, run},
    pool::shares,
    simd::{load, store_cut},
};
use memory::Part;
use pulp::Simd;
use rayon::prelude::*;

use super::{computed, group};

/// Averages.
///
/// # Shapes
/// - x: `[n, channels, input]`, as planes
/// - returns `[n, channels, output]`
pub(crate) fn average(window: &Window, x: &[f32]) -> Vec<f32> {
    let [from, to] = window.areas();
    let n = x.len() / from;
    let (planes, shares) = (group(n), &shares(window));
    let average = |x: &[f32], y: Part<'_>| kernels::pool::average(window, shares, x, y.zeroed());
    computed(n * to, planes * to, x.par_chunks(planes * from), average).0
}

/// The gradient of the input of [`average`].
///
/// # Shapes
/// - dy: `[n, channels, output]`
/// - returns `[n, channels, input]`
pub(crate) fn average_backward(window: &Window, dy: &[f32]) -> Vec<f32> {
    let [from, to] = window.areas();
    let n = dy.len() / to;
    let (planes, shares) = (group(n), &shares(window));
    let spread = |dy: &[f32], dx: Part<'_>| run(window, AverageBackward { window, shares, dy, dx: dx.zeroed() });
    computed(n * from, planes * from, dy.par_chunks(planes * to), spread).0
}

/// Takes the largest values and notes the taps that they came from, counted row by row.
///
/// # Shapes
/// - x: `[n, channels, input]`
/// - returns both as `[n, channels, output]`
pub(crate) fn largest(window: &Window, x: &[f32]) -> (Vec<f32>, Vec<u8>) {
    let [from, to] = window.areas();
    let n = x.len() / from;
    let planes = group(n);
    let mut chosen = vec![0; n * to];
    let tasks = x.par_chunks(planes * from).zip(chosen.par_chunks_mut(planes * to));
    let take = |(x, chosen): (&[f32], &mut [u8]), y: Part<'_>| {
        run(window, Largest { window, x, y: y.zeroed(), chosen });
    };
    (computed(n * to, planes * to, tasks, take).0, chosen)
}

/// The gradient of the input of [`largest`].
///
/// # Shapes
/// - dy, chosen: `[n, channels, output]`
/// - returns `[n, channels, input]`
pub(crate) fn largest_backward(window: &Window, dy: &[f32], chosen: &[u8]) -> Vec<f32> {
    let [from, to] = window.areas();
    let n = dy.len() / to;
    let planes = group(n);
    let tasks = dy.par_chunks(planes * to).zip(chosen.par_chunks(planes * to));
    let gather = |(dy, chosen): (&[f32], &[u8]), dx: Part<'_>| {
        run(window, LargestBackward { window, dy, chosen, dx: dx.zeroed() });
    };
    computed(n * from, planes * from, tasks, gather).0
}

struct AverageBackward<'a> {
    window: &'a Window,
    shares: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Task for AverageBackward<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let AverageBackward { window, shares, dy, dx } = self;
        let [from, to] = window.areas();
        let across = Across::backward(window);
        let mut padded = Padded::over::<S>(window);
        let mut parts = vec![0.0; to];
        for (dx, dy) in dx.chunks_exact_mut(from).zip(dy.chunks_exact(to)) {
            for ((part, dy), share) in parts.iter_mut().zip(dy).zip(shares) {
                *part = dy * share;
            }
            padded.fill(simd, &parts, window.output[1], 0, 1);
            fold(simd, &across, &padded, WeightedSum { taps: &[[1.0; K]; K], start: 0.0 }, &mut *dx);
        }
    }
}

struct Largest<'a> {
    window: &'a Window,
    x: &'a [f32],
    y: &'a mut [f32],
    chosen: &'a mut [u8],
}

impl Task for Largest<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let Largest { window, x, y, chosen } = self;
        let [from, to] = window.areas();
        let [height, width] = window.output;
        let across = Across::forward(window);
        let mut padded = Padded::under::<S>(window, f32::NEG_INFINITY);
        let places: [usize; K] = std::array::from_fn(|j| padded.place(j * window.dilation[1]));
        let mut taps = vec![0.0; to];
        for ((y, chosen), x) in y.chunks_exact_mut(to).zip(chosen.chunks_exact_mut(to)).zip(x.chunks_exact(from)) {
            padded.fill(simd, x, window.input[1], 0, 1);
            for o in 0..height {
                // The last vector of a row may run over into the next row, which is written later.
                for column in (0..width).step_by(S::F32_LANES) {
                    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
                    let mut tap = simd.splat_f32s(0.0);
                    for i in 0..K {
                        let Some(row) = across.row(&padded, o, i) else { continue };
                        for j in 0..K {
                            let x = load::<S>(row, places[j] + column);
                            let more = simd.greater_than_f32s(x, most);
                            most = simd.select_f32s(more, x, most);
                            tap = simd.select_f32s(more, simd.splat_f32s((i * K + j) as f32), tap);
                        }
                    }
                    store_cut(simd, y, o * width + column, most);
                    store_cut(simd, &mut taps, o * width + column, tap);
                }
            }
            for (chosen, tap) in chosen.iter_mut().zip(&taps) {
                // The last bits of the sum are the number; a cast would round and saturate.
                *chosen = (*tap + 8_388_608.0).to_bits() as u8;
            }
        }
    }
}

struct LargestBackward<'a> {
    window: &'a Window,
    dy: &'a [f32],
    chosen: &'a [u8],
    dx: &'a mut [f32],
}

impl Task for LargestBackward<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let LargestBackward { window, dy, chosen, dx } = self;
        let [from, to] = window.areas();
        let [height, width] = window.input;
        let across = Across::backward(window);
        let mut dy_padded = Padded::over::<S>(window);
        let mut tap_padded = dy_padded.clone();
        let mut taps = vec![0.0; to];
        for ((dx, dy), chosen) in dx.chunks_exact_mut(from).zip(dy.chunks_exact(to)).zip(chosen.chunks_exact(to)) {
            for (tap, chosen) in taps.iter_mut().zip(chosen) {
                *tap = f32::from(*chosen);
            }
            dy_padded.fill(simd, dy, window.output[1], 0, 1);
            tap_padded.fill(simd, &taps, window.output[1], 0, 1);
            for o in 0..height {
                for column in (0..width).step_by(S::F32_LANES) {
                    let mut sum = simd.splat_f32s(0.0);
                    for i in 0..K {
                        // Seen from the input, taps run backward.
                        let (Some(dy), Some(tap)) = (across.row(&dy_padded, o, i), across.row(&tap_padded, o, i))
                        else {
                            continue;
                        };
                        for j in 0..K {
                            let at = j * window.dilation[1] + column;
                            let this = simd.splat_f32s((K * K - 1 - (i * K + j)) as f32);
                            let chose = simd.equal_f32s(load::<S>(tap, at), this);
                            let part = simd.select_f32s(chose, load::<S>(dy, at), simd.splat_f32s(0.0));
                            sum = simd.add_f32s(sum, part);
                        }
                    }
                    store_cut(simd, dx, o * width + column, sum);
                }
            }
        }
    }
}
