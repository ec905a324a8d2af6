//! Products of matrices that stand as planes: rows are channels, columns are pixels.

use kernels::simd::{load, load_cut, store_cut};
use pulp::{Arch, Simd, WithSimd};

/// Values that whole vectors of any processor are read by.
pub(super) const LANES: usize = 16;

/// Rows of a panel of weights, at most.
const PANEL: usize = 8;

/// Weights in the order in which they are used: panels of [`PANEL`] rows (a last one may have half as
/// many), tap by tap, filled up with zeros.
pub(super) struct Panels {
    values: Vec<f32>,
    rows: usize,
    taps: usize,
}

impl Panels {
    pub(super) fn new(rows: usize, taps: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut values = Vec::with_capacity(rows.next_multiple_of(PANEL / 2) * taps);
        let mut row = 0;
        while row < rows {
            let n = if rows - row > PANEL / 2 { PANEL } else { PANEL / 2 };
            for tap in 0..taps {
                values.extend((row..row + n).map(|row| if row < rows { weight(row, tap) } else { 0.0 }));
            }
            row += n;
        }
        Self { values, rows, taps }
    }
}

/// The matrix that weights are multiplied with: row `t` begins at `offsets[t]` and goes on `step` values later for
/// each further row of pixels. Whole vectors can be read at the end of each.
pub(super) struct Source<'a> {
    pub(super) values: &'a [f32],
    pub(super) offsets: &'a [usize],
    pub(super) step: usize,
}

/// Planes of `height` times `width` pixels, `pitch` values apart.
pub(super) struct Target<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) pitch: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Whether the product is added to what stands there.
    pub(super) adds: bool,
}

/// `target = panels * source`, or `target += panels * source`.
pub(super) fn multiply(panels: &Panels, source: &Source<'_>, target: Target<'_>) {
    Arch::new().dispatch(Multiply { panels, source, target });
}

/// There is one of it for each kind of vector, however many call it: that keeps the program small.
struct Multiply<'a> {
    panels: &'a Panels,
    source: &'a Source<'a>,
    target: Target<'a>,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        tiles(simd, self.panels, self.source, &mut self.target);
    }
}

#[inline(always)]
fn tiles<S: Simd>(simd: S, panels: &Panels, source: &Source<'_>, target: &mut Target<'_>) {
    // Sums of a whole panel for two vectors of columns stay in registers where there are 32.
    let wide = S::REGISTER_COUNT >= 32;
    for row in 0..target.height {
        let mut column = 0;
        while column < target.width {
            let two = wide && target.width - column > S::F32_LANES;
            let at = row * source.step + column;
            let out = row * target.width + column;
            let mut panel = panels.values.as_slice();
            let mut first = 0;
            while !panel.is_empty() {
                let rows = if panel.len() >= PANEL * panels.taps { PANEL } else { PANEL / 2 };
                let (now, later) = panel.split_at(rows * panels.taps);
                let n = rows.min(panels.rows - first);
                match (rows, two) {
                    (PANEL, true) => tile::<S, PANEL, 2>(simd, now, source, at, target, [first, n], out),
                    (PANEL, false) => tile::<S, PANEL, 1>(simd, now, source, at, target, [first, n], out),
                    (_, true) => tile::<S, { PANEL / 2 }, 2>(simd, now, source, at, target, [first, n], out),
                    (_, false) => tile::<S, { PANEL / 2 }, 1>(simd, now, source, at, target, [first, n], out),
                }
                (panel, first) = (later, first + rows);
            }
            column += if two { 2 } else { 1 } * S::F32_LANES;
        }
    }
}

/// One panel of `R` rows times `V` vectors of columns; `n` planes from `first` on are written.
///
/// The last vector of a row may run over into the next row, which is written later.
#[inline(always)]
fn tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    panel: &[f32],
    source: &Source<'_>,
    at: usize,
    target: &mut Target<'_>,
    [first, n]: [usize; 2],
    out: usize,
) {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let (weights, _) = panel.as_chunks::<R>();
    for (weights, offset) in weights.iter().zip(source.offsets) {
        let part = &source.values[offset + at..][..V * S::F32_LANES];
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
    let area = target.height * target.width;
    for (r, sums) in sums.into_iter().enumerate().take(n) {
        let plane = &mut target.values[(first + r) * target.pitch..][..area];
        for (v, sum) in sums.into_iter().enumerate() {
            let at = out + v * S::F32_LANES;
            if at >= area {
                continue;
            }
            let sum = match target.adds {
                true => simd.add_f32s(sum, load_cut(simd, plane, at)),
                false => sum,
            };
            store_cut(simd, plane, at, sum);
        }
    }
}

/// Rows of a matrix over all pixels of some images, as they stand in memory.
pub(super) struct Lines<'a> {
    pub(super) values: &'a [f32],
    /// Where each begins.
    pub(super) offsets: &'a [usize],
}

/// Neighbouring pixels: how far from where rows begin, and how many.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) x: usize,
    pub(super) dy: usize,
    pub(super) length: usize,
}

impl Piece {
    /// The same in pieces of [`SEGMENT`] pixels at most.
    fn split(self) -> impl Iterator<Item = Self> {
        let Self { x, dy, length } = self;
        let piece = move |at| Self { x: x + at, dy: dy + at, length: SEGMENT.min(length - at) };
        (0..length).step_by(SEGMENT).map(piece)
    }
}

/// Pixels that are taken at once: few enough that a few rows of them stay in the first cache.
const SEGMENT: usize = 1024;

/// `part[r][t] += sum over pixels q of the pieces of dy[r][q] * x[t][q]`. Whole vectors of `x` can be read where a piece
/// ends.
pub(super) fn match_up(x: &Lines<'_>, dy: &Lines<'_>, pieces: impl Iterator<Item = Piece>, part: &mut [f32]) {
    let pieces: Vec<Piece> = pieces.flat_map(Piece::split).collect();
    let mut start = 0;
    while start < pieces.len() {
        let mut length = 0;
        let fits = |piece: &&Piece| {
            length += piece.length;
            length <= SEGMENT
        };
        let n = pieces[start..].iter().take_while(fits).count().max(1);
        Arch::new().dispatch(MatchUp { x, dy, pieces: &pieces[start..][..n], part });
        start += n;
    }
}

/// There is one of it for each kind of vector, as of [`Multiply`].
struct MatchUp<'a> {
    x: &'a Lines<'a>,
    dy: &'a Lines<'a>,
    pieces: &'a [Piece],
    part: &'a mut [f32],
}

impl WithSimd for MatchUp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.blocks::<S, 4, 4>(simd);
        } else {
            self.blocks::<S, 4, 2>(simd);
        }
    }
}

impl MatchUp<'_> {
    /// Blocks of `R` rows by `T` taps, whose sums stay in registers.
    #[inline(always)]
    fn blocks<S: Simd, const R: usize, const T: usize>(self, simd: S) {
        let Self { x, dy, pieces, part } = self;
        let (rows, taps) = (dy.offsets.len(), x.offsets.len());
        for row in (0..rows).step_by(R) {
            for tap in (0..taps).step_by(T) {
                // At the edge a block computes its last row or tap again.
                let (mut of_dy, mut of_x) = ([0; R], [0; T]);
                for r in 0..R {
                    of_dy[r] = dy.offsets[(row + r).min(rows - 1)];
                }
                for t in 0..T {
                    of_x[t] = x.offsets[(tap + t).min(taps - 1)];
                }
                let mut sums = [[simd.splat_f32s(0.0); T]; R];
                let mut lanes = [simd.splat_f32s(0.0); R];
                for piece in pieces {
                    let (n, rest) = (piece.length / S::F32_LANES, piece.length % S::F32_LANES);
                    let whole = n + usize::from(rest != 0);
                    let mut dy_rows: [&[S::f32s]; R] = [&[]; R];
                    for r in 0..R {
                        dy_rows[r] = vectors::<S>(dy.values, of_dy[r] + piece.dy, n);
                    }
                    let mut x_rows: [&[S::f32s]; T] = [&[]; T];
                    for t in 0..T {
                        x_rows[t] = vectors::<S>(x.values, of_x[t] + piece.x, whole);
                    }
                    for column in 0..n {
                        for r in 0..R {
                            lanes[r] = dy_rows[r][column];
                        }
                        add_products(simd, &lanes, &x_rows, column, &mut sums);
                    }
                    if n < whole {
                        // Behind the last value of a row stand others, which do not count.
                        let counts = load::<S>(COUNTS.as_flattened(), LANES - rest);
                        for r in 0..R {
                            let last = load_cut(simd, dy.values, of_dy[r] + piece.dy + n * S::F32_LANES);
                            lanes[r] = simd.mul_f32s(last, counts);
                        }
                        add_products(simd, &lanes, &x_rows, n, &mut sums);
                    }
                }
                for (r, sums) in sums.into_iter().enumerate().take(rows - row) {
                    for (t, sum) in sums.into_iter().enumerate().take(taps - tap) {
                        part[(row + r) * taps + tap + t] += simd.reduce_sum_f32s(sum);
                    }
                }
            }
        }
    }
}

/// Factors of the values of a vector, from any of the first half on.
const COUNTS: [[f32; LANES]; 2] = [[1.0; LANES], [0.0; LANES]];

/// `n` vectors from `at` on.
#[inline(always)]
fn vectors<S: Simd>(values: &[f32], at: usize, n: usize) -> &[S::f32s] {
    &S::as_simd_f32s(&values[at..at + n * S::F32_LANES]).0[..n]
}

/// `sums[r][t] += dy[r] * x[t]`, lane by lane.
// Loops, for a closure that an array maps over is compiled for any processor instead of this one.
#[inline(always)]
fn add_products<S: Simd, const R: usize, const T: usize>(
    simd: S,
    dy: &[S::f32s; R],
    x_rows: &[&[S::f32s]; T],
    column: usize,
    sums: &mut [[S::f32s; T]; R],
) {
    for t in 0..T {
        let x = x_rows[t][column];
        for r in 0..R {
            sums[r][t] = simd.mul_add_e_f32s(dy[r], x, sums[r][t]);
        }
    }
}
