//! A square window of `K` taps a side on one plane: the heart of depthwise convolution and pooling.
//!
//! With stride and dilation 1, each row of the source is read once and added to the `K` rows of the
//! result that it touches, which stay in registers. Other windows read `K` rows for each row of the
//! result.

use pulp::Simd;

use super::{
    simd::{load, store_cut},
    window::{Padded, Window},
};

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

/// How windows move over padded rows, in the direction of the data or of the gradient.
pub(super) struct Across {
    /// Height and width of the result.
    pub(super) output: [usize; 2],
    /// Rows that a step moves.
    stride: usize,
    pub(super) dilation: [usize; 2],
    /// Distance of rows of the source: in between there are zeros.
    spread: usize,
    /// Zeros above the source.
    pub(super) top: usize,
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

    pub(super) fn is_dense(&self) -> bool {
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
                        sums[K - 1 - k][v] = simd.mul_add_e_f32s(simd.splat_f32s(taps[k][j]), x, sums[K - 1 - k][v]);
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
