//! Convolution over all channels, pointwise above all, as products of matrices that are never laid out.
//!
//! A convolution multiplies the weights, a row for each channel of the output, with a matrix whose
//! row `(channel, i, j)` is that channel of the input, moved by `i` rows and `j` columns. Such a row
//! is read where it stands, in a copy of the image with zeros around it; where there is nothing to
//! pad, in the image itself.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    group,
    simd::{load, store_cut},
    sum_groups,
    window::{Padded, Window},
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

/// How the rows of the matrix stand in an image, in the direction of the data or of the gradient.
struct Reach {
    /// Channels, height and width of what is read.
    source: [usize; 3],
    /// Channels, height and width of what is made.
    result: [usize; 3],
    kernel: [usize; 2],
    dilation: [usize; 2],
    stride: [usize; 2],
    /// Distance of rows and columns of the source: in between there are zeros.
    spread: [usize; 2],
    /// Zeros before the source.
    start: [usize; 2],
}

impl Reach {
    fn forward(dense: &Dense) -> Self {
        let Dense { window: Window { kernel, stride, dilation, start, input, output }, from, to } = *dense;
        let source = [from, input[0], input[1]];
        Self { source, result: [to, output[0], output[1]], kernel, dilation, stride, spread: [1, 1], start }
    }

    fn backward(dense: &Dense) -> Self {
        let Dense { window, from, to } = *dense;
        let Window { kernel, stride, dilation, start, input, output } = window;
        let source = [to, output[0], output[1]];
        let start = [0, 1].map(|axis| window.reach(axis) - start[axis]);
        Self { source, result: [from, input[0], input[1]], kernel, dilation, stride: [1, 1], spread: stride, start }
    }

    /// Whether the rows of the matrix stand in the image itself.
    fn is_in_place<S: Simd>(&self) -> bool {
        let Self { source: [_, height, width], kernel, stride, spread, .. } = *self;
        [kernel, stride, spread] == [[1, 1]; 3]
            && self.source[1..] == self.result[1..]
            && height == 1
            && width.is_multiple_of(S::F32_LANES)
    }

    /// Whether rows of the image compete for the same lines of the first cache.
    fn is_crowded(&self) -> bool {
        let [channels, _, width] = self.source;
        channels > WAYS * WAY / gcd(width * size_of::<f32>(), WAY)
    }

    /// Rows of a padded plane.
    fn height(&self) -> usize {
        let below = (self.result[1] - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1;
        let rows = below.max(self.start[0] + (self.source[1] - 1) * self.spread[0] + 1);
        rows.next_multiple_of(self.stride[0])
    }

    /// Room for the planes of `images` images, empty.
    fn padded<S: Simd>(&self, images: usize, order: Order) -> Padded {
        let [channels, _, columns] = self.source;
        let [start, spread, phases] = [self.start[1], self.spread[1], self.stride[1]];
        let across = ((self.kernel[1] - 1) * self.dilation[1]).div_ceil(phases);
        let room = Padded::room(columns, start, spread, phases);
        let width = match order {
            Order::Channels if phases == 1 => room.max(self.result[2] + across),
            Order::Channels | Order::Images => {
                let width = room.max(self.result[2].next_multiple_of(S::F32_LANES) + across);
                // Long rows take an odd number of vectors: see `is_crowded`.
                if width >= LONG { (width.div_ceil(S::F32_LANES) | 1) * S::F32_LANES } else { width }
            }
        };
        Padded::new::<S>(images * channels * self.height(), width, start, spread, phases)
    }

    /// Copies images.
    fn fill<S: Simd>(&self, simd: S, padded: &mut Padded, images: &[f32], order: Order) {
        let [channels, height, width] = self.source;
        let n = images.len() / (channels * height * width);
        for (to, from) in order.planes(n, channels).enumerate() {
            let plane = &images[from * height * width..][..height * width];
            padded.fill(simd, plane, width, to * self.height() + self.start[0], self.spread[0]);
        }
    }

    /// Where each row of the matrix begins, with `images` planes of each channel in a row.
    fn offsets(&self, padded: &Padded, images: usize) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(self.source[0] * self.kernel[0] * self.kernel[1]);
        for channel in 0..self.source[0] {
            for i in 0..self.kernel[0] {
                let row = channel * images * self.height() + i * self.dilation[0];
                for j in 0..self.kernel[1] {
                    offsets.push(row * padded.pitch() + padded.place(j * self.dilation[1]));
                }
            }
        }
        offsets
    }
}

/// In which order the planes of some images are copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As they are: all channels of an image side by side.
    Images,
    /// All images of a channel side by side.
    Channels,
}

impl Order {
    /// Where each plane of the copy comes from.
    fn planes(self, images: usize, channels: usize) -> impl Iterator<Item = usize> {
        (0..images * channels).map(move |to| match self {
            Self::Images => to,
            Self::Channels => (to % images) * channels + to / images,
        })
    }
}

/// Values of a row from which on it is long: worth no copy.
const LONG: usize = 256;

/// Bytes after which addresses share a line in the first cache, and how many lines they share there:
/// fewer than x86-64 processors have, for there is more to keep than one matrix.
const WAY: usize = 4096;
const WAYS: usize = 4;

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
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

struct MatchUp<'a> {
    dense: &'a Dense,
    x: &'a [f32],
    dy: &'a [f32],
    part: &'a mut [f32],
}

impl WithSimd for MatchUp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { dense, x, dy, part } = self;
        let reach = Reach::forward(dense);
        let Dense { window, from, to } = *dense;
        let [height, width] = window.output;
        let images = dy.len() / (to * height * width);
        let starts = |channels: usize, length: usize| (0..channels).map(|at| at * length).collect::<Vec<_>>();
        // Short planes are worth a copy that brings those of all images into one line.
        if reach.is_in_place::<S>() && width >= LONG {
            let x = Lines { values: x, offsets: &starts(from, width), next: from * width };
            let dy = Lines { values: dy, offsets: &starts(to, width), next: to * width };
            match_up(simd, &x, &dy, [images, width], part);
            return;
        }
        let mut x_padded = reach.padded::<S>(images, Order::Channels);
        reach.fill(simd, &mut x_padded, x, Order::Channels);
        let offsets = reach.offsets(&x_padded, images);
        // Rows of pixels a plane, so that they follow each other at the same distance in all images.
        let rows = reach.height() / reach.stride[0];
        let mut fill = |pitch: usize| {
            let mut dy_padded = Padded::new::<S>(images * to * rows, pitch, 0, 1, 1);
            for (at, from) in Order::Channels.planes(images, to).enumerate() {
                let plane = &dy[from * height * width..][..height * width];
                dy_padded.fill(simd, plane, width, at * rows, 1);
            }
            dy_padded
        };
        let n_rows = (images - 1) * rows + height;
        let (values, offsets) = (x_padded.values(), offsets.as_slice());
        if reach.stride == [1, 1] {
            // With zeros between them, the rows of all images are one.
            let pitch = x_padded.pitch();
            let dy_padded = fill(pitch);
            let x = Lines { values, offsets, next: 0 };
            let dy = Lines { values: dy_padded.values(), offsets: &starts(to, images * rows * pitch), next: 0 };
            match_up(simd, &x, &dy, [1, (n_rows - 1) * pitch + width], part);
            return;
        }
        let pitch = width.next_multiple_of(S::F32_LANES);
        let dy_padded = fill(pitch);
        let x = Lines { values, offsets, next: reach.stride[0] * x_padded.pitch() };
        let dy = Lines { values: dy_padded.values(), offsets: &starts(to, images * rows * pitch), next: pitch };
        match_up(simd, &x, &dy, [n_rows, width], part);
    }
}

/// Rows of a matrix over all pixels of some images, as they stand in memory.
struct Lines<'a> {
    values: &'a [f32],
    /// Where each begins.
    offsets: &'a [usize],
    /// From one piece of a row to the next.
    next: usize,
}

/// `part[r][t] = sum over pieces, q of dy[r][piece][q] * x[t][piece][q]`.
#[inline(always)]
fn match_up<S: Simd>(simd: S, x: &Lines<'_>, dy: &Lines<'_>, pieces: [usize; 2], part: &mut [f32]) {
    if S::REGISTER_COUNT >= 32 {
        blocks::<S, 4, 4>(simd, x, dy, pieces, part);
    } else {
        blocks::<S, 4, 2>(simd, x, dy, pieces, part);
    }
}

/// Blocks of `R` rows by `T` taps, whose sums stay in registers.
#[inline(always)]
fn blocks<S: Simd, const R: usize, const T: usize>(
    simd: S,
    x: &Lines<'_>,
    dy: &Lines<'_>,
    [pieces, length]: [usize; 2],
    part: &mut [f32],
) {
    let (rows, taps) = (dy.offsets.len(), x.offsets.len());
    let whole = length.next_multiple_of(S::F32_LANES);
    // Behind the last value of a piece stand others, which do not count.
    let last = whole - S::F32_LANES;
    let counts = simd.partial_load_f32s(&vec![1.0; length - last]);
    for row in (0..rows).step_by(R) {
        for tap in (0..taps).step_by(T) {
            // At the edge a block computes its last row or tap again.
            let dy_at: [usize; R] = std::array::from_fn(|r| dy.offsets[(row + r).min(rows - 1)]);
            let x_at: [usize; T] = std::array::from_fn(|t| x.offsets[(tap + t).min(taps - 1)]);
            let mut sums = [[simd.splat_f32s(0.0); T]; R];
            for piece in 0..pieces {
                let dy_rows = dy_at.map(|at| &dy.values[at + piece * dy.next..][..whole]);
                let x_rows = x_at.map(|at| &x.values[at + piece * x.next..][..whole]);
                for column in (0..last).step_by(S::F32_LANES) {
                    add_products(simd, dy_rows.map(|row| load::<S>(row, column)), x_rows, column, &mut sums);
                }
                let dy = dy_rows.map(|row| simd.mul_f32s(load::<S>(row, last), counts));
                add_products(simd, dy, x_rows, last, &mut sums);
            }
            for (r, sums) in sums.into_iter().enumerate().take(rows - row) {
                for (t, sum) in sums.into_iter().enumerate().take(taps - tap) {
                    part[(row + r) * taps + tap + t] = simd.reduce_sum_f32s(sum);
                }
            }
        }
    }
}

/// `sums[r][t] += dy[r] * x[t]`, lane by lane.
#[inline(always)]
fn add_products<S: Simd, const R: usize, const T: usize>(
    simd: S,
    dy: [S::f32s; R],
    x_rows: [&[f32]; T],
    column: usize,
    sums: &mut [[S::f32s; T]; R],
) {
    let x = x_rows.map(|row| load::<S>(row, column));
    for r in 0..R {
        for t in 0..T {
            sums[r][t] = simd.mul_add_e_f32s(dy[r], x[t], sums[r][t]);
        }
    }
}
