//! Depthwise convolution: every channel has a window of its own.

use pulp::Simd;

use crate::{
    plane::{Across, Task, WeightedSum, fold, run},
    window::{Padded, Window},
};

/// Whether the kernels know this window.
pub fn supports(window: &Window) -> bool {
    let square = window.kernel[0] == window.kernel[1] && window.stride[0] == window.stride[1];
    window.is_regular() && square && matches!(window.kernel[0], 3 | 5 | 7)
}

/// Convolves, on one thread. `bias` is added; an empty one adds nothing.
///
/// # Shapes
/// - x: `[n, channels, input]`
/// - weights: `[channels, kernel]`
/// - bias: `[channels]`, or `[0]`
/// - y: `[n, channels, output]`
pub fn forward(window: &Window, channels: usize, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
    run(window, Forward { window, channels, x, weights, bias, y });
}

struct Forward<'a> {
    window: &'a Window,
    channels: usize,
    x: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [f32],
}

impl Task for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let Forward { window, channels, x, weights, bias, y } = self;
        let [from, to] = window.areas();
        let across = Across::forward(window);
        let mut padded = Padded::under::<S>(window, 0.0);
        for (idx, (y, x)) in y.chunks_exact_mut(to).zip(x.chunks_exact(from)).enumerate() {
            let channel = idx % channels;
            padded.fill(simd, x, window.input[1], 0, 1);
            let start = bias.get(channel).copied().unwrap_or(0.0);
            fold(simd, &across, &padded, WeightedSum { taps: taps::<K>(weights, channel), start }, &mut *y);
        }
    }
}

/// The taps of one channel.
#[inline(always)]
pub fn taps<const K: usize>(weights: &[f32], channel: usize) -> &[[f32; K]; K] {
    let (rows, _) = weights[channel * K * K..][..K * K].as_chunks::<K>();
    rows.first_chunk::<K>().expect("K times K taps were cut out")
}
