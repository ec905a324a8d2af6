//! Pooling: the average over the values of a window that lie on the plane, or the largest of them.

use pulp::Simd;

use crate::{
    plane::{Across, Largest, Task, WeightedSum, fold, run},
    window::{Padded, Window},
};

/// Whether the kernels know this window.
pub fn supports(window: &Window) -> bool {
    crate::depthwise::supports(window) && window.dilation == [1, 1]
}

/// Adds up each window, times its share of `shares`: see [`shares`].
///
/// # Shapes
/// - x: `[n, channels, input]`, as planes
/// - shares: `[output]`
/// - y: `[n, channels, output]`
pub fn average(window: &Window, shares: &[f32], x: &[f32], y: &mut [f32]) {
    run(window, Average { window, shares, x, y });
}

/// Takes the largest value of each window.
///
/// # Shapes
/// - x: `[n, channels, input]`, as planes
/// - y: `[n, channels, output]`
pub fn largest(window: &Window, x: &[f32], y: &mut [f32]) {
    run(window, Most { window, x, y });
}

/// Each window's share a value: one over the number of its taps on the plane.
pub fn shares(window: &Window) -> Vec<f32> {
    let [height, width] = window.output;
    let count = |axis, at| {
        let [first, end] = window.taps(axis, at);
        end - first
    };
    let share = |o, q| 1.0 / (count(0, o) * count(1, q)) as f32;
    (0..height).flat_map(|o| (0..width).map(move |q| share(o, q))).collect()
}

struct Average<'a> {
    window: &'a Window,
    shares: &'a [f32],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Task for Average<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let Average { window, shares, x, y } = self;
        let [from, to] = window.areas();
        let across = Across::forward(window);
        let mut padded = Padded::under::<S>(window, 0.0);
        for (y, x) in y.chunks_exact_mut(to).zip(x.chunks_exact(from)) {
            padded.fill(simd, x, window.input[1], 0, 1);
            fold(simd, &across, &padded, WeightedSum { taps: &[[1.0; K]; K], start: 0.0 }, &mut *y);
            for (y, share) in y.iter_mut().zip(shares) {
                *y *= share;
            }
        }
    }
}

struct Most<'a> {
    window: &'a Window,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Task for Most<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let Most { window, x, y } = self;
        let [from, to] = window.areas();
        let across = Across::forward(window);
        let mut padded = Padded::under::<S>(window, f32::NEG_INFINITY);
        for (y, x) in y.chunks_exact_mut(to).zip(x.chunks_exact(from)) {
            padded.fill(simd, x, window.input[1], 0, 1);
            fold::<S, Largest, K>(simd, &across, &padded, Largest, y);
        }
    }
}
