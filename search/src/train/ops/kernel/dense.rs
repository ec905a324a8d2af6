//! Convolution over all channels, pointwise above all, as products of matrices that are never laid out.
//!
//! A convolution multiplies the weights, a row for each channel of the output, with a matrix whose
//! row `(channel, i, j)` is that channel of the input, moved by `i` rows and `j` columns. Such a row
//! is read where it stands, in a copy of the image with zeros around it; where there is nothing to
//! pad, in the image itself.

use kernels::{
    Window,
    simd::{load, store_cut},
};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    group,
    match_up::MatchUp,
    reach::{Order, Reach},
    sum_groups,
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

/// Whether the kernels know this window.
pub(crate) fn supports(window: &Window) -> bool {
    window.is_regular()
}

/// Convolves.
///
/// # Shapes
/// - x: `[n, from, input]`
/// - weights: `[to, from, kernel]`
/// - y: `[n, to, output]`
pub(crate) fn forward(dense: &Dense, x: &[f32], weights: &[f32], y: &mut [f32]) {
    let dense = &dense.flat();
    let reach = Reach::forward(dense);
    let taps = dense.taps();
    let panels = Panels::new(dense.to, taps, |row, tap| weights[row * taps + tap]);
    correlate(&reach, &panels, x, y);
}

/// The gradient of the input.
///
/// # Shapes
/// - dy: `[n, to, output]`
/// - weights: `[to, from, kernel]`
/// - dx: `[n, from, input]`
pub(crate) fn backward_input(dense: &Dense, dy: &[f32], weights: &[f32], dx: &mut [f32]) {
    let dense = &dense.flat();
    let reach = Reach::backward(dense);
    let [height, width] = dense.window.kernel;
    let area = height * width;
    let panels = Panels::new(dense.from, dense.to * area, |row, tap| {
        let (to, at) = (tap / area, tap % area);
        weights[(to * dense.from + row) * area + (area - 1 - at)]
    });
    correlate(&reach, &panels, dy, dx);
}

/// The gradient of the weights.
///
/// # Shapes
/// - x: `[n, from, input]`
/// - dy: `[n, to, output]`
/// - dw: `[to, from, kernel]`
pub(crate) fn backward_weights(dense: &Dense, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let dense = &dense.flat();
    let [from, to] = dense.window.areas();
    let images = group(dy.len() / (dense.to * to));
    let n_groups = dy.len().div_ceil(images * dense.to * to);
    let mut parts = vec![0.0; n_groups * dw.len()];
    let x = x.par_chunks(images * dense.from * from);
    let dy = dy.par_chunks(images * dense.to * to);
    parts.par_chunks_mut(dw.len()).zip(x.zip(dy)).for_each(|(part, (x, dy))| {
        Arch::new().dispatch(MatchUp { dense, x, dy, part });
    });
    sum_groups(&parts, dw);
}

impl Dense {
    /// Rows of the matrix that the weights are multiplied with.
    fn taps(&self) -> usize {
        let [height, width] = self.window.kernel;
        self.from * height * width
    }

    /// The same convolution on planes of one long row, if it is pointwise without stride.
    fn flat(&self) -> Self {
        let Window { kernel, stride, input, .. } = self.window;
        if kernel != [1, 1] || stride != [1, 1] || input != self.window.output {
            return *self;
        }
        let row = [1, input[0] * input[1]];
        Self { window: Window { input: row, output: row, ..self.window }, ..*self }
    }
}

/// Rows of a panel of weights, at most.
const PANEL: usize = 8;

/// Weights in the order in which they are used: panels of [`PANEL`] rows (a last one may have half as
/// many), tap by tap, filled up with zeros.
struct Panels {
    values: Vec<f32>,
    taps: usize,
}

impl Panels {
    fn new(rows: usize, taps: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut values = Vec::with_capacity(rows.next_multiple_of(PANEL / 2) * taps);
        let mut row = 0;
        while row < rows {
            let n = if rows - row > PANEL / 2 { PANEL } else { PANEL / 2 };
            for tap in 0..taps {
                values.extend((row..row + n).map(|row| if row < rows { weight(row, tap) } else { 0.0 }));
            }
            row += n;
        }
        Self { values, taps }
    }
}

/// Multiplies every image.
fn correlate(reach: &Reach, panels: &Panels, source: &[f32], result: &mut [f32]) {
    let read: usize = reach.source.iter().product();
    let made: usize = reach.result.iter().product();
    let images = group(result.len() / made);
    let tasks = result.par_chunks_mut(images * made).zip(source.par_chunks(images * read));
    tasks.for_each(|(result, source)| Arch::new().dispatch(Correlate { reach, panels, source, result }));
}

struct Correlate<'a> {
    reach: &'a Reach,
    panels: &'a Panels,
    source: &'a [f32],
    result: &'a mut [f32],
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { reach, panels, source, result } = self;
        let sources = source.chunks_exact(reach.source.iter().product());
        let results = result.chunks_exact_mut(reach.result.iter().product());
        let [channels, _, width] = reach.source;
        if reach.is_in_place::<S>() && !reach.is_crowded() {
            let offsets: Vec<usize> = (0..channels).map(|channel| channel * width).collect();
            for (result, source) in results.zip(sources) {
                multiply(simd, panels, &offsets, source, 0, &reach.result, result);
            }
            return;
        }
        let mut padded = reach.padded::<S>(1, Order::Images);
        let offsets = reach.offsets(&padded, 1);
        for (result, source) in results.zip(sources) {
            reach.fill(simd, &mut padded, source, Order::Images);
            multiply(simd, panels, &offsets, padded.values(), reach.stride[0] * padded.pitch(), &reach.result, result);
        }
    }
}

/// `result = panels * source`, where row `t` of the source begins at `offsets[t]` and goes on `step`
/// values later for each further row of pixels.
#[inline(always)]
fn multiply<S: Simd>(
    simd: S,
    panels: &Panels,
    offsets: &[usize],
    source: &[f32],
    step: usize,
    &[_, height, width]: &[usize; 3],
    result: &mut [f32],
) {
    // Sums of a whole panel for two vectors of columns stay in registers where there are 32.
    let wide = S::REGISTER_COUNT >= 32;
    for row in 0..height {
        let mut column = 0;
        while column < width {
            let two = wide && width - column > S::F32_LANES;
            let at = row * step + column;
            let mut panel = panels.values.as_slice();
            let mut planes = &mut *result;
            while !panel.is_empty() {
                let rows = if panel.len() >= PANEL * panels.taps { PANEL } else { PANEL / 2 };
                let (now, later) = panel.split_at(rows * panels.taps);
                let n = planes.len().min(rows * height * width);
                let (made, rest) = planes.split_at_mut(n);
                let made = made.chunks_exact_mut(height * width);
                let out = row * width + column;
                match (rows, two) {
                    (PANEL, true) => tile::<S, PANEL, 2>(simd, now, offsets, source, at, made, out),
                    (PANEL, false) => tile::<S, PANEL, 1>(simd, now, offsets, source, at, made, out),
                    (_, true) => tile::<S, { PANEL / 2 }, 2>(simd, now, offsets, source, at, made, out),
                    (_, false) => tile::<S, { PANEL / 2 }, 1>(simd, now, offsets, source, at, made, out),
                }
                (panel, planes) = (later, rest);
            }
            column += if two { 2 } else { 1 } * S::F32_LANES;
        }
    }
}

/// One panel of `R` rows times `V` vectors of columns.
///
/// The last vector of a row may run over into the next row, which is written later.
#[inline(always)]
fn tile<'a, S: Simd, const R: usize, const V: usize>(
    simd: S,
    panel: &[f32],
    offsets: &[usize],
    source: &[f32],
    at: usize,
    planes: impl Iterator<Item = &'a mut [f32]>,
    out: usize,
) {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let (weights, _) = panel.as_chunks::<R>();
    for (weights, offset) in weights.iter().zip(offsets) {
        let part = &source[offset + at..][..V * S::F32_LANES];
        let mut x = [simd.splat_f32s(0.0); V];
        for v in 0..V {
            x[v] = load::<S>(part, v * S::F32_LANES);
        }
        for r in 0..R {
            let weight = simd.splat_f32s(weights[r]);
            for v in 0..V {
                sums[r][v] = simd.mul_add_e_f32s(weight, x[v], sums[r][v]);
            }
        }
    }
    for (plane, sums) in planes.zip(sums) {
        for (v, sum) in sums.into_iter().enumerate() {
            if out + v * S::F32_LANES < plane.len() {
                store_cut(simd, plane, out + v * S::F32_LANES, sum);
            }
        }
    }
}
