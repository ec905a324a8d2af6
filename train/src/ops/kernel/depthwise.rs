//! Depthwise convolution: every channel has a window of its own.

use std::ops::Range;

use kernels::{
    Padded, Window,
    depthwise::taps,
    plane::{Across, Put, Task, WeightedSum, fold, fold_beside},
    simd::{load, load_cut, store_cut},
};
use pulp::Simd;

use super::{
    entry::{Entry, Reader},
    planes::{Planes, PlanesMut},
};

/// A depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depthwise {
    /// Where it looks.
    pub(crate) window: Window,
    /// Channels of input and output.
    pub(crate) channels: usize,
}

/// Convolves some images, each channel read as its entry says.
pub(super) struct Forward<'a> {
    pub(super) depthwise: &'a Depthwise,
    pub(super) entries: &'a [Entry],
    pub(super) weights: &'a [f32],
    pub(super) x: Planes<'a>,
    pub(super) y: PlanesMut<'a>,
}

impl Task for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let Self { depthwise: Depthwise { window, channels }, entries, weights, x, mut y } = self;
        let mut scratch = vec![0.0; window.areas()[0]];
        let across = Across::forward(window);
        let mut padded: [Padded; BESIDE] = std::array::from_fn(|_| Padded::under::<S>(window, 0.0));
        for channel in 0..*channels {
            let sum = WeightedSum { taps: taps::<K>(weights, channel), start: 0.0 };
            for images in beside(across.is_narrow::<S>(), x.images()) {
                for (padded, image) in padded.iter_mut().zip(images.clone()) {
                    entries[channel].fill(simd, padded, x.plane(channel, image), window.input[1], &mut scratch);
                }
                fold_images(simd, (&across, &padded), sum, &mut y, (channel, images), None);
            }
        }
    }
}

/// The gradients of input and weights by some images, read as the entries say; and, where wanted, the output once
/// more.
pub(super) struct Backward<'a> {
    pub(super) depthwise: &'a Depthwise,
    pub(super) entries: &'a [Entry],
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
        let Self { depthwise: Depthwise { window, channels }, entries, weights, x, dy, mut y, mut dx, dw } = self;
        let mut scratch = vec![0.0; window.areas()[0].max(window.areas()[1])];
        let area = window.areas();
        let [columns_in, columns_out] = [window.input[1], window.output[1]];
        let ahead = Across::forward(window);
        let back = Across::backward(window);
        let narrow = ahead.is_narrow::<S>() && back.is_narrow::<S>();
        let left = window.reach(1) - window.start[1];
        let mut x_padded: [Padded; BESIDE] = std::array::from_fn(|_| Padded::under::<S>(window, 0.0));
        let mut dy_padded: [Padded; BESIDE] = std::array::from_fn(|_| Padded::over::<S>(window));
        // With a stride the gradient is spread out above; the weights need it dense.
        let mut dy_dense = (window.stride[1] > 1)
            .then(|| Padded::new::<S>(window.output[0], columns_out.next_multiple_of(S::F32_LANES), 0, 1, 1));
        for channel in 0..*channels {
            let taps = taps::<K>(weights, channel);
            let mut flipped = *taps;
            flipped.as_flattened_mut().reverse();
            let mut sums = [[simd.splat_f32s(0.0); K]; K];
            let reader = entries[channel].reader(simd);
            for images in beside(narrow, x.images()) {
                for (at, image) in images.clone().enumerate() {
                    let (x, dy) = (x.plane(channel, image), dy.plane(channel, image));
                    entries[channel].fill(simd, &mut x_padded[at], x, columns_in, &mut scratch[..area[0]]);
                    Entry::PLAIN.fill(simd, &mut dy_padded[at], dy, columns_out, &mut scratch[..area[1]]);
                }
                if let Some(y) = &mut y {
                    let sum = WeightedSum { taps, start: 0.0 };
                    fold_images(simd, (&ahead, &x_padded), sum, y, (channel, images.clone()), None);
                }
                if let Some(dx) = &mut dx {
                    let sum = WeightedSum { taps: &flipped, start: 0.0 };
                    fold_images(simd, (&back, &dy_padded), sum, dx, (channel, images.clone()), Some((x, &reader)));
                }
                for (at, image) in images.enumerate() {
                    let (dense, left) = match &mut dy_dense {
                        Some(dense) => {
                            let dy = dy.plane(channel, image);
                            Entry::PLAIN.fill(simd, dense, dy, columns_out, &mut scratch[..area[1]]);
                            (&*dense, 0)
                        }
                        None => (&dy_padded[at], left),
                    };
                    match_up::<S, K>(simd, &ahead, &x_padded[at], dense, left, &mut sums);
                }
            }
            let dw = &mut dw[channel * K * K..][..K * K];
            for (dw, sum) in dw.iter_mut().zip(sums.as_flattened()) {
                *dw += simd.reduce_sum_f32s(*sum);
            }
        }
    }
}

/// Planes of so many images are taken at once where they are narrow.
const BESIDE: usize = 4;

/// All of `n` images, in the order of their planes: [`BESIDE`] at once where they are narrow, else one by one.
#[inline(always)]
fn beside(narrow: bool, n: usize) -> impl Iterator<Item = Range<usize>> {
    let together = if narrow { n - n % BESIDE } else { 0 };
    let many = (0..together).step_by(BESIDE).map(|first| first..first + BESIDE);
    many.chain((together..n).map(|image| image..image + 1))
}

/// Folds the planes of one channel of these images, one of them or [`BESIDE`]: results, or the gradient of what is read
/// of `x` as the reader says.
#[inline(always)]
fn fold_images<S: Simd, const K: usize>(
    simd: S,
    (across, padded): (&Across, &[Padded; BESIDE]),
    sum: WeightedSum<'_, K>,
    y: &mut PlanesMut<'_>,
    (channel, images): (usize, Range<usize>),
    read: Option<(Planes<'_>, &Reader<S>)>,
) {
    let first = images.start;
    // The first keeps code out of the program that nobody calls.
    let alone = S::F32_LANES == 1 || images.len() == 1;
    let Some((x, reader)) = read else {
        return match alone {
            true => fold(simd, across, &padded[0], sum, y.plane(channel, first)),
            false => fold_beside(simd, across, padded, sum, y.beside(channel, first)),
        };
    };
    if alone {
        let dx = Masked { reader, x: x.plane(channel, first), dx: y.plane(channel, first) };
        return fold(simd, across, &padded[0], sum, dx);
    }
    let mut nth = first..;
    let masked = y.beside::<BESIDE>(channel, first).map(
        #[inline(always)]
        |dx| Masked { reader, x: x.plane(channel, nth.next().unwrap_or(first)), dx },
    );
    fold_beside(simd, across, padded, sum, masked);
}

/// The gradient of a plane, zero wherever the rectifier lets none through.
struct Masked<'a, S: Simd> {
    reader: &'a Reader<S>,
    x: &'a [f32],
    dx: &'a mut [f32],
}

impl<S: Simd> Put<S> for Masked<'_, S> {
    #[inline(always)]
    fn put(&mut self, simd: S, at: usize, lanes: S::f32s) {
        let lanes = match self.reader.is_rectified() {
            true => self.reader.back(simd, load_cut(simd, self.x, at), lanes),
            false => lanes,
        };
        store_cut(simd, self.dx, at, lanes);
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
            let at = Match { across, x, dy, left, column };
            // As many rows of taps at once as registers hold sums for.
            match (K, S::REGISTER_COUNT >= 32) {
                (3, _) => at.rows::<S, K, 3>(simd, 0, sums),
                (5, true) => at.rows::<S, K, 5>(simd, 0, sums),
                (5, false) => {
                    at.rows::<S, K, 2>(simd, 0, sums);
                    at.rows::<S, K, 2>(simd, 2, sums);
                    at.rows::<S, K, 1>(simd, 4, sums);
                }
                _ => {
                    for k in 0..K {
                        at.rows::<S, K, 1>(simd, k, sums);
                    }
                }
            }
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

/// One vector of columns with stride and dilation 1.
struct Match<'a> {
    across: &'a Across,
    x: &'a Padded,
    dy: &'a Padded,
    left: usize,
    column: usize,
}

impl Match<'_> {
    /// `G` rows of taps from `first` on: each row of `x` and `dy` is read once.
    #[inline(always)]
    fn rows<S: Simd, const K: usize, const G: usize>(&self, simd: S, first: usize, sums: &mut [[S::f32s; K]; K]) {
        let Self { across, x, dy, left, column } = *self;
        // Under row `k` of the window lies row `top + i - k` of the gradient.
        let mut rows = [simd.splat_f32s(0.0); G];
        for g in 1..G {
            if let Some(o) = across.top.checked_sub(first + g).filter(|&o| o < dy.height()) {
                rows[g - 1] = load::<S>(dy.row(o), left + column);
            }
        }
        let mut local = [[simd.splat_f32s(0.0); K]; G];
        for i in 0..x.height() {
            for g in (1..G).rev() {
                rows[g] = rows[g - 1];
            }
            rows[0] = match (across.top + i).checked_sub(first) {
                Some(o) if o < dy.height() => load::<S>(dy.row(o), left + column),
                _ => simd.splat_f32s(0.0),
            };
            let x = &x.row(i)[column..][..S::F32_LANES + K - 1];
            for j in 0..K {
                let x = load::<S>(x, j);
                for g in 0..G {
                    local[g][j] = simd.mul_add_e_f32s(rows[g], x, local[g][j]);
                }
            }
        }
        for g in 0..G {
            for j in 0..K {
                sums[first + g][j] = simd.add_f32s(sums[first + g][j], local[g][j]);
            }
        }
    }
}
