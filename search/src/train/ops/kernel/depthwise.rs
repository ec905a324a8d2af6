//! Depthwise convolution: every channel has a window of its own.

use kernels::{
    Padded, Window,
    depthwise::taps,
    plane::{Across, Task, WeightedSum, fold},
    simd::load,
};
use pulp::Simd;

use super::{
    planes::{Planes, PlanesMut},
    relu::Rectifier,
};

/// A depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depthwise {
    /// Where it looks.
    pub(crate) window: Window,
    /// Channels of input and output.
    pub(crate) channels: usize,
}

/// Convolves some images, rectified first.
pub(super) struct Forward<'a> {
    pub(super) depthwise: &'a Depthwise,
    pub(super) rectifier: Rectifier,
    pub(super) weights: &'a [f32],
    pub(super) x: Planes<'a>,
    pub(super) y: PlanesMut<'a>,
}

impl Task for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let Self { depthwise: Depthwise { window, channels }, rectifier, weights, x, mut y } = self;
        let across = Across::forward(window);
        let mut padded = Padded::under::<S>(window, 0.0);
        for channel in 0..*channels {
            let taps = taps::<K>(weights, channel);
            for image in 0..x.images() {
                padded.fill(simd, x.plane(channel, image), window.input[1], 0, 1);
                rectifier.clamp(simd, &mut padded);
                fold(simd, &across, &padded, WeightedSum { taps, start: 0.0 }, y.plane(channel, image));
            }
        }
    }
}

/// The gradients of input and weights by some images, which are rectified first; and, where wanted, the output
/// once more.
pub(super) struct Backward<'a> {
    pub(super) depthwise: &'a Depthwise,
    pub(super) rectifier: Rectifier,
    pub(super) weights: &'a [f32],
    pub(super) x: Planes<'a>,
    pub(super) dy: Planes<'a>,
    pub(super) y: Option<PlanesMut<'a>>,
    pub(super) dx: Option<PlanesMut<'a>>,
    /// Added to.
    pub(super) dw: &'a mut [f32],
}

impl Task for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let Self { depthwise: Depthwise { window, channels }, rectifier, weights, x, dy, mut y, mut dx, dw } = self;
        let [columns_in, columns_out] = [window.input[1], window.output[1]];
        let ahead = Across::forward(window);
        let back = Across::backward(window);
        let left = window.reach(1) - window.start[1];
        let mut x_padded = Padded::under::<S>(window, 0.0);
        let mut dy_padded = Padded::over::<S>(window);
        // With a stride the gradient is spread out above; the weights need it dense.
        let mut dy_dense = (window.stride[1] > 1)
            .then(|| Padded::new::<S>(window.output[0], columns_out.next_multiple_of(S::F32_LANES), 0, 1, 1));
        for channel in 0..*channels {
            let taps = taps::<K>(weights, channel);
            let mut flipped = *taps;
            flipped.as_flattened_mut().reverse();
            let mut sums = [[simd.splat_f32s(0.0); K]; K];
            for image in 0..x.images() {
                let (x, dy) = (x.plane(channel, image), dy.plane(channel, image));
                x_padded.fill(simd, x, columns_in, 0, 1);
                rectifier.clamp(simd, &mut x_padded);
                if let Some(y) = &mut y {
                    fold(simd, &ahead, &x_padded, WeightedSum { taps, start: 0.0 }, y.plane(channel, image));
                }
                dy_padded.fill(simd, dy, columns_out, 0, 1);
                if let Some(dx) = &mut dx {
                    let dx = dx.plane(channel, image);
                    fold(simd, &back, &dy_padded, WeightedSum { taps: &flipped, start: 0.0 }, dx);
                    if rectifier != Rectifier::NONE {
                        for (dx, x) in dx.iter_mut().zip(x) {
                            *dx = rectifier.back(*x, *dx);
                        }
                    }
                }
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
                *dw += simd.reduce_sum_f32s(*sum);
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
