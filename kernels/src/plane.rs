//! A square window of `K` taps a side on one plane: the heart of depthwise convolution and pooling.
//!
//! With stride and dilation 1, each row of the source is read once and taken in by the `K` rows of the
//! result that it touches, which stay in registers. Other windows read `K` rows for each row of the
//! result.

use pulp::{Simd, WithSimd};

use crate::{
    simd::{load, store_cut},
    window::{Padded, Window},
};

/// Something to do with windows of `K` by `K` taps and the vectors of one kind of processor.
pub trait Task {
    /// Does it. An implementation is `#[inline(always)]`, so that it is compiled for that processor.
    fn run<S: Simd, const K: usize>(self, simd: S);
}

/// Runs a task with the vectors of this processor, compiled for the size of the window.
///
/// Vectors of 16 lanes are left out: rows are short, and wider ones were no faster.
pub fn run(window: &Window, task: impl Task) {
    match window.kernel[0] {
        3 => dispatch(Of::<_, 3>(task)),
        5 => dispatch(Of::<_, 5>(task)),
        _ => dispatch(Of::<_, 7>(task)),
    }
}

#[cfg(target_arch = "x86_64")]
fn dispatch(task: impl WithSimd) {
    match pulp::x86::V3::try_new() {
        Some(simd) => Simd::vectorize(simd, task),
        None => Simd::vectorize(pulp::Scalar, task),
    };
}

#[cfg(not(target_arch = "x86_64"))]
fn dispatch(task: impl WithSimd) {
    pulp::Arch::new().dispatch(task);
}

struct Of<T, const K: usize>(T);

impl<T: Task, const K: usize> WithSimd for Of<T, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, K>(simd);
    }
}

/// How the values under a window become one, lane by lane.
pub trait Fold<const K: usize>: Copy {
    /// Before the first value.
    fn start<S: Simd>(self, simd: S) -> S::f32s;

    /// Takes in the values under the tap in row `i` and column `j`.
    fn take<S: Simd>(self, simd: S, i: usize, j: usize, values: S::f32s, so_far: S::f32s) -> S::f32s;
}

/// Their sum, each times its tap, and `start`.
#[derive(Clone, Copy)]
pub struct WeightedSum<'a, const K: usize> {
    /// Taps by row and column.
    pub taps: &'a [[f32; K]; K],
    /// What is added.
    pub start: f32,
}

impl<const K: usize> Fold<K> for WeightedSum<'_, K> {
    #[inline(always)]
    fn start<S: Simd>(self, simd: S) -> S::f32s {
        simd.splat_f32s(self.start)
    }

    #[inline(always)]
    fn take<S: Simd>(self, simd: S, i: usize, j: usize, values: S::f32s, so_far: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(simd.splat_f32s(self.taps[i][j]), values, so_far)
    }
}

/// The largest of them.
#[derive(Clone, Copy)]
pub struct Largest;

impl<const K: usize> Fold<K> for Largest {
    #[inline(always)]
    fn start<S: Simd>(self, simd: S) -> S::f32s {
        simd.splat_f32s(f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn take<S: Simd>(self, simd: S, _: usize, _: usize, values: S::f32s, so_far: S::f32s) -> S::f32s {
        simd.max_f32s(values, so_far)
    }
}

/// Where results go.
pub trait Put<S: Simd> {
    /// Takes the results from `at` on, as many as there is room for.
    fn put(&mut self, simd: S, at: usize, lanes: S::f32s);
}

impl<S: Simd> Put<S> for &mut [f32] {
    #[inline(always)]
    fn put(&mut self, simd: S, at: usize, lanes: S::f32s) {
        store_cut(simd, self, at, lanes);
    }
}

/// How windows move over padded rows, in the direction of the data or of the gradient.
pub struct Across {
    /// Height and width of the result.
    pub output: [usize; 2],
    /// Rows that a step moves.
    stride: usize,
    /// Distance between neighbouring taps.
    pub dilation: [usize; 2],
    /// Distance of rows of the source: in between there are zeros.
    spread: usize,
    /// Zeros above the source.
    pub top: usize,
}

impl Across {
    /// From the plane to what the window makes of it.
    pub fn forward(window: &Window) -> Self {
        let [stride, _] = window.stride;
        Self { output: window.output, stride, dilation: window.dilation, spread: 1, top: window.start[0] }
    }

    /// From the gradient of the result to that of the plane.
    pub fn backward(window: &Window) -> Self {
        let top = window.reach(0) - window.start[0];
        Self { output: window.input, stride: 1, dilation: window.dilation, spread: window.stride[0], top }
    }

    /// Whether neighbouring results read neighbouring values, all taps side by side.
    pub fn is_dense(&self) -> bool {
        self.stride == 1 && self.dilation == [1, 1] && self.spread == 1
    }

    /// Whether that is so of rows that a vector holds: see [`fold_beside`]. Never of vectors of a single value.
    pub fn is_narrow<S: Simd>(&self) -> bool {
        S::F32_LANES > 1 && self.is_dense() && self.output[1] <= S::F32_LANES
    }

    /// The row of `source` under row `k` of the window at position `o`, unless it is zeros.
    #[inline(always)]
    pub fn row<'a>(&self, source: &'a Padded, o: usize, k: usize) -> Option<&'a [f32]> {
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

/// `out[o][q]` = the fold of `source[o + i][q + j]` over `i` and `j`, as `across` moves.
#[inline(always)]
pub fn fold<S: Simd, F: Fold<K>, const K: usize>(
    simd: S,
    across: &Across,
    source: &Padded,
    fold: F,
    mut out: impl Put<S>,
) {
    let out = &mut out;
    // From right to left: the last vector of a row may run over into the next row, which is
    // written later, as rows go down and as columns before it come after it.
    let mut end = across.output[1].div_ceil(S::F32_LANES);
    while end > 0 {
        let many = if K == 3 { 4 } else { 2 };
        let n = if end >= many { many } else { end.min(2) };
        end -= n;
        let column = end * S::F32_LANES;
        match (n, across.is_dense()) {
            (4, true) => slide::<S, F, _, K, 4>(simd, across, source, column, fold, out),
            (2, true) => slide::<S, F, _, K, 2>(simd, across, source, column, fold, out),
            (_, true) => slide::<S, F, _, K, 1>(simd, across, source, column, fold, out),
            (4, false) => step::<S, F, _, K, 4>(simd, across, source, column, fold, out),
            (2, false) => step::<S, F, _, K, 2>(simd, across, source, column, fold, out),
            (_, false) => step::<S, F, _, K, 1>(simd, across, source, column, fold, out),
        }
    }
}

/// As [`fold`] of `P` planes at once, where [`Across::is_narrow`]: the few sums of a single one wait for each other.
#[inline(always)]
pub fn fold_beside<S: Simd, F: Fold<K>, const K: usize, const P: usize>(
    simd: S,
    across: &Across,
    sources: &[Padded; P],
    fold: F,
    mut outs: [impl Put<S>; P],
) {
    let [height, width] = across.output;
    // As in `slide`.
    let mut rows = [[fold.start(simd); P]; K];
    for i in 0..height + K - 1 - across.top {
        if i < sources[0].height() {
            let mut under: [&[f32]; P] = [&[]; P];
            for p in 0..P {
                under[p] = &sources[p].row(i)[..S::F32_LANES + K - 1];
            }
            for j in 0..K {
                for p in 0..P {
                    let x = load::<S>(under[p], j);
                    for k in 0..K {
                        rows[K - 1 - k][p] = fold.take(simd, k, j, x, rows[K - 1 - k][p]);
                    }
                }
            }
        }
        if let Some(o) = (i + across.top).checked_sub(K - 1) {
            for p in 0..P {
                outs[p].put(simd, o * width, rows[0][p]);
            }
        }
        for k in 1..K {
            rows[k - 1] = rows[k];
        }
        rows[K - 1] = [fold.start(simd); P];
    }
}

/// `V` vectors of columns, stride and dilation 1: each row of the source is read once.
#[expect(clippy::needless_range_loop, reason = "`v` counts vectors of the source as well")]
#[inline(always)]
fn slide<S: Simd, F: Fold<K>, O: Put<S>, const K: usize, const V: usize>(
    simd: S,
    across: &Across,
    source: &Padded,
    column: usize,
    fold: F,
    out: &mut O,
) {
    let [height, width] = across.output;
    // Rows of the result that are under way, the next to be complete first.
    let mut rows = [[fold.start(simd); V]; K];
    for i in 0..height + K - 1 - across.top {
        if i < source.height() {
            let row = &source.row(i)[column..][..V * S::F32_LANES + K - 1];
            for j in 0..K {
                for v in 0..V {
                    let x = load::<S>(row, v * S::F32_LANES + j);
                    for k in 0..K {
                        rows[K - 1 - k][v] = fold.take(simd, k, j, x, rows[K - 1 - k][v]);
                    }
                }
            }
        }
        if let Some(o) = (i + across.top).checked_sub(K - 1) {
            for v in 0..V {
                out.put(simd, o * width + column + v * S::F32_LANES, rows[0][v]);
            }
        }
        for k in 1..K {
            rows[k - 1] = rows[k];
        }
        rows[K - 1] = [fold.start(simd); V];
    }
}

/// `V` vectors of columns, any stride and dilation.
#[inline(always)]
fn step<S: Simd, F: Fold<K>, O: Put<S>, const K: usize, const V: usize>(
    simd: S,
    across: &Across,
    source: &Padded,
    column: usize,
    fold: F,
    out: &mut O,
) {
    let [height, width] = across.output;
    let places: [usize; K] = std::array::from_fn(|j| source.place(j * across.dilation[1]));
    for o in 0..height {
        let mut results = [fold.start(simd); V];
        for k in 0..K {
            let Some(row) = across.row(source, o, k) else { continue };
            for j in 0..K {
                let part = &row[places[j] + column..][..V * S::F32_LANES];
                for (v, result) in results.iter_mut().enumerate() {
                    let x = load::<S>(part, v * S::F32_LANES);
                    *result = fold.take(simd, k, j, x, *result);
                }
            }
        }
        for (v, result) in results.into_iter().enumerate() {
            out.put(simd, o * width + column + v * S::F32_LANES, result);
        }
    }
}
