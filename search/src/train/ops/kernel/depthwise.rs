//! Depthwise convolution: every channel has a window of its own.
//!
//! With stride and dilation 1, each row of the input is read once and added to the `K` rows of the
//! output that it touches, which stay in registers; the gradient of the weights mirrors that. Other
//! windows read `K` rows for each row of the output.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    group,
    simd::{load, store_cut},
    sum_groups,
    window::{Padded, Window},
};

/// Whether the kernels know this window.
pub(crate) fn supports(window: &Window) -> bool {
    window.is_regular() && window.kernel[0] == window.kernel[1] && matches!(window.kernel[0], 3 | 5 | 7)
}

/// Convolves.
///
/// # Shapes
/// - x: `[n, channels, input]`
/// - weights: `[channels, kernel]`
/// - y: `[n, channels, output]`
pub(crate) fn forward(window: &Window, channels: usize, x: &[f32], weights: &[f32], y: &mut [f32]) {
    let [from, to] = window.areas();
    let images = group(y.len() / (channels * to));
    y.par_chunks_mut(images * channels * to).zip(x.par_chunks(images * channels * from)).for_each(|(y, x)| {
        of_size!(window, Forward { window, channels, x, weights, y })
    });
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
    dx.zip(dw_parts).zip(x.zip(dy)).for_each(|((dx, dw), (x, dy))| {
        of_size!(window, Backward { window, channels, x, weights, dy, dx, dw })
    });
    sum_groups(&parts, dw);
}

/// A task for windows of `K` by `K` taps.
pub(super) struct Of<T, const K: usize>(pub(super) T);

/// Runs a task with the vectors of this processor, compiled for the size of the window.
macro_rules! of_size {
    ($window:expr, $task:expr) => {
        match $window.kernel[0] {
            3 => Arch::new().dispatch(Of::<_, 3>($task)),
            5 => Arch::new().dispatch(Of::<_, 5>($task)),
            _ => Arch::new().dispatch(Of::<_, 7>($task)),
        }
    };
}
pub(super) use of_size;

struct Forward<'a> {
    window: &'a Window,
    channels: usize,
    x: &'a [f32],
    weights: &'a [f32],
    y: &'a mut [f32],
}

impl<const K: usize> WithSimd for Of<Forward<'_>, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { window, channels, x, weights, y } = self.0;
        let [from, to] = window.areas();
        let across = Across::forward(window);
        let mut padded = Padded::under::<S>(window, 0.0);
        for (idx, (y, x)) in y.chunks_exact_mut(to).zip(x.chunks_exact(from)).enumerate() {
            padded.fill(simd, x, window.input[1], 0, 1);
            correlate::<S, K>(simd, &across, &padded, taps(weights, idx % channels), y);
        }
    }
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

impl<const K: usize> WithSimd for Of<Backward<'_>, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Backward { window, channels, x, weights, dy, dx, dw } = self.0;
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
                correlate::<S, K>(simd, &back, &dy_padded, &flipped, dx);
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

#[inline(always)]
fn taps<const K: usize>(weights: &[f32], channel: usize) -> &[[f32; K]; K] {
    let (rows, _) = weights[channel * K * K..][..K * K].as_chunks::<K>();
    rows.first_chunk::<K>().expect("K times K taps were cut out")
}

/// How windows move over padded rows, in the direction of the data or of the gradient.
pub(super) struct Across {
    /// Height and width of the result.
    output: [usize; 2],
    /// Rows that a step moves.
    stride: usize,
    dilation: [usize; 2],
    /// Distance of rows of the source: in between there are zeros.
    spread: usize,
    /// Zeros above the source.
    top: usize,
}

impl Across {
    pub(super) fn forward(window: &Window) -> Self {
        let [stride, _] = window.stride;
        Self { output: window.output, stride, dilation: window.dilation, spread: 1, top: window.start[0] }
    }

    pub(super) fn backward(window: &Window) -> Self {
        let top = window.reach(0) - window.start[0];
        Self { output: window.input, stride: 1, dilation: window.dilation, spread: window.stride[0], top }
    }

    fn is_dense(&self) -> bool {
        self.stride == 1 && self.dilation == [1, 1] && self.spread == 1
    }

    /// The row of `source` under row `k` of the window at position `o`, unless it is zeros.
    #[inline(always)]
    pub(super) fn row<'a>(&self, source: &'a Padded, o: usize, k: usize) -> Option<&'a [f32]> {
        let at = (o * self.stride + k * self.dilation[0]).checked_sub(self.top)?;
        // A division takes longer than the sums of a short row.
        let row = match self.spread {
            1 => at,
            2 if at % 2 == 0 => at / 2,
            2 => return None,
            spread if at.is_multiple_of(spread) => at / spread,
            _ => return None,
        };
        (row < source.height()).then(|| source.row(row))
    }
}

/// `out[o][q] = sum over i, j of taps[i][j] * source[o + i][q + j]`, as `across` moves.
#[inline(always)]
pub(super) fn correlate<S: Simd, const K: usize>(
    simd: S,
    across: &Across,
    source: &Padded,
    taps: &[[f32; K]; K],
    out: &mut [f32],
) {
    // From right to left: the last vector of a row may run over into the next row, which is
    // written later, as rows go down and as columns before it come after it.
    let mut end = across.output[1].div_ceil(S::F32_LANES);
    while end > 0 {
        let many = if K == 3 { 4 } else { 2 };
        let n = if end >= many { many } else { end.min(2) };
        end -= n;
        let column = end * S::F32_LANES;
        match (n, across.is_dense()) {
            (4, true) => slide::<S, K, 4>(simd, across, source, column, taps, out),
            (2, true) => slide::<S, K, 2>(simd, across, source, column, taps, out),
            (_, true) => slide::<S, K, 1>(simd, across, source, column, taps, out),
            (4, false) => step::<S, K, 4>(simd, across, source, column, taps, out),
            (2, false) => step::<S, K, 2>(simd, across, source, column, taps, out),
            (_, false) => step::<S, K, 1>(simd, across, source, column, taps, out),
        }
    }
}

/// `V` vectors of columns, stride and dilation 1: each row of the source is read once.
#[inline(always)]
fn slide<S: Simd, const K: usize, const V: usize>(
    simd: S,
    across: &Across,
    source: &Padded,
    column: usize,
    taps: &[[f32; K]; K],
    out: &mut [f32],
) {
    let [height, width] = across.output;
    // Rows of the result that are under way, the next to be complete first.
    let mut sums = [[simd.splat_f32s(0.0); V]; K];
    for i in 0..height + K - 1 - across.top {
        if i < source.height() {
            let row = &source.row(i)[column..][..V * S::F32_LANES + K - 1];
            for j in 0..K {
                for v in 0..V {
                    let x = load::<S>(row, v * S::F32_LANES + j);
                    for k in 0..K {
                        sums[K - 1 - k][v] =
                            simd.mul_add_e_f32s(simd.splat_f32s(taps[k][j]), x, sums[K - 1 - k][v]);
                    }
                }
            }
        }
        if let Some(o) = (i + across.top).checked_sub(K - 1) {
            for v in 0..V {
                store_cut(simd, out, o * width + column + v * S::F32_LANES, sums[0][v]);
            }
        }
        for k in 1..K {
            sums[k - 1] = sums[k];
        }
        sums[K - 1] = [simd.splat_f32s(0.0); V];
    }
}

/// `V` vectors of columns, any stride and dilation.
#[inline(always)]
fn step<S: Simd, const K: usize, const V: usize>(
    simd: S,
    across: &Across,
    source: &Padded,
    column: usize,
    taps: &[[f32; K]; K],
    out: &mut [f32],
) {
    let [height, width] = across.output;
    let places: [usize; K] = std::array::from_fn(|j| source.place(j * across.dilation[1]));
    for o in 0..height {
        let mut sums = [simd.splat_f32s(0.0); V];
        for k in 0..K {
            let Some(row) = across.row(source, o, k) else { continue };
            for j in 0..K {
                let part = &row[places[j] + column..][..V * S::F32_LANES];
                for (v, sum) in sums.iter_mut().enumerate() {
                    let x = load::<S>(part, v * S::F32_LANES);
                    *sum = simd.mul_add_e_f32s(simd.splat_f32s(taps[k][j]), x, *sum);
                }
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            store_cut(simd, out, o * width + column + v * S::F32_LANES, sum);
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
