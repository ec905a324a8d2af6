//! Convolution over all channels with any window, as products of matrices that are never laid out.
//!
//! A convolution multiplies the weights, a row for each channel of the output, with a matrix whose
//! row `(channel, i, j)` is that channel of the input, moved by `i` rows and `j` columns. Such a row
//! is read where it stands in a copy of the image with zeros around it.

use std::collections::BTreeSet;

use kernels::Window;
use memory::Part;
use pulp::{Arch, Simd, WithSimd};

use super::{
    entry::{Entry, sample, spread},
    product::{LANES, Lines, Panels, Piece, Source, Target, match_up, multiply},
    vectorised,
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

impl Dense {
    /// Rows of the matrix that the weights are multiplied with.
    pub(super) fn taps(&self) -> usize {
        let [height, width] = self.window.kernel;
        self.from * height * width
    }

    /// Whether each value of the output follows from one pixel of the input.
    pub(super) fn is_pointwise(&self) -> bool {
        self.window.kernel == [1, 1] && self.window.start == [0, 0]
    }

    /// Whether the kernels know this window.
    pub(super) fn is_supported(&self) -> bool {
        let Window { stride, dilation, .. } = self.window;
        self.window.is_regular() && (stride == [1, 1] || dilation == [1, 1])
    }

    /// The convolution without stride that makes the gradient of the input of that of the output, with the weights
    /// of [`Dense::back`].
    pub(super) fn turned(&self) -> Self {
        let Self { window, from, to } = *self;
        let start = [0, 1].map(|axis| window.reach(axis) - window.start[axis]);
        Self { window: Window { start, input: window.output, output: window.input, ..window }, from: to, to: from }
    }

    /// Weights to multiply the input with.
    pub(super) fn ahead(&self, weights: &[f32]) -> Panels {
        let taps = self.taps();
        Panels::new(self.to, taps, |row, tap| weights[row * taps + tap])
    }

    /// Weights to multiply the gradient of the output with.
    pub(super) fn back(&self, weights: &[f32]) -> Panels {
        let area: usize = self.window.kernel.iter().product();
        Panels::new(self.from, self.to * area, |row, tap| {
            let (to, at) = (tap / area, tap % area);
            weights[(to * self.from + row) * area + (area - 1 - at)]
        })
    }
}

/// Multiplies every image of `source`, read as the entries say, with the panels of [`Dense::ahead`].
pub(super) fn correlate<'a>(
    dense: &Dense,
    panels: &Panels,
    entries: &[Entry],
    source: &[f32],
    result: Part<'a>,
) -> &'a mut [f32] {
    let Dense { window, from, to } = dense;
    let [height, width] = window.output;
    let [from_area, to_area] = window.areas();
    let mut laid = Laid::new(window, *from, 1);
    let (offsets, pitch) = (laid.offsets(), laid.pitch);
    result.filled(to * to_area, |nth, values| {
        laid.fill(&source[nth * from * from_area..][..from * from_area], entries);
        let source = Source { values: &laid.values, offsets: &offsets, step: pitch };
        // Rows without gaps are one.
        let [height, width] = if pitch == width { [1, to_area] } else { [height, width] };
        multiply(panels, &source, Target { values, pitch: to_area, height, width, adds: false });
    })
}

/// The gradient of the input of a convolution with a stride and without dilation. Pixels of the input whose place is
/// the same within a stride see the same taps: each such phase is a convolution without stride.
pub(super) struct Phases {
    dense: Dense,
    /// Zeros before the gradient of the output.
    before: [usize; 2],
    /// Rows and columns of it, with those zeros.
    size: [usize; 2],
    phases: Vec<Phase>,
}

struct Phase {
    panels: Panels,
    /// Which pixel of the input is the first, and how many rows and columns there are.
    first: [usize; 2],
    count: [usize; 2],
    /// Row and column of the gradient of the output, with its zeros, where each tap begins.
    taps: Vec<[usize; 2]>,
}

impl Phases {
    /// `None` where there is no stride.
    pub(super) fn new(dense: &Dense, weights: &[f32]) -> Option<Self> {
        let Window { kernel, stride, start, input, output, .. } = dense.window;
        if stride == [1, 1] {
            return None;
        }
        let before: [usize; 2] = std::array::from_fn(|axis| kernel[axis].div_ceil(stride[axis]) - 1);
        let size = std::array::from_fn(|axis| {
            let last = (input[axis] - 1 + start[axis]) / stride[axis] + 1;
            before[axis] + last.max(output[axis])
        });
        let area = kernel[0] * kernel[1];
        let mut phases = Vec::new();
        for r in 0..stride[0].min(kernel[0]) {
            for s in 0..stride[1].min(kernel[1]) {
                // Pixel `u` lies in this phase where `u + start = stride m + r`.
                let at = [r, s];
                let base: [usize; 2] =
                    std::array::from_fn(|axis| start[axis].saturating_sub(at[axis]).div_ceil(stride[axis]));
                let first: [usize; 2] = std::array::from_fn(|axis| stride[axis] * base[axis] + at[axis] - start[axis]);
                let count: [usize; 2] =
                    std::array::from_fn(|axis| input[axis].saturating_sub(first[axis]).div_ceil(stride[axis]));
                if count.contains(&0) {
                    continue;
                }
                let inside = [(kernel[0] - r).div_ceil(stride[0]), (kernel[1] - s).div_ceil(stride[1])];
                let n_taps = inside[0] * inside[1];
                let place = |tap: usize| [tap / inside[1], tap % inside[1]];
                let panels = Panels::new(dense.from, dense.to * n_taps, |row, tap| {
                    let [a, b] = place(tap % n_taps);
                    let at = (r + a * stride[0]) * kernel[1] + s + b * stride[1];
                    weights[(tap / n_taps * dense.from + row) * area + at]
                });
                let begin = |tap: usize| std::array::from_fn(|axis| base[axis] + before[axis] - place(tap)[axis]);
                phases.push(Phase { panels, first, count, taps: (0..n_taps).map(begin).collect() });
            }
        }
        Some(Self { dense: *dense, before, size, phases })
    }

    /// Computes it for every image; `dx` holds zeros before.
    pub(super) fn run(&self, dy: &[f32], dx: &mut [f32]) {
        let Self { dense: Dense { window, from, to }, before, size: [size, _], phases } = self;
        let [from_area, to_area] = window.areas();
        // A copy for each column where a tap begins: its rows stand without gaps.
        let begins: BTreeSet<usize> = phases.iter().flat_map(|it| it.taps.iter().map(|[_, column]| *column)).collect();
        let begins: Vec<usize> = begins.into_iter().collect();
        let pitch = phases.iter().map(|it| it.count[1]).max().unwrap_or(0);
        let mut copies = vec![0.0; begins.len() * to * size * pitch + 2 * LANES];
        let place = |copy: usize, channel: usize, row: usize| ((copy * to + channel) * size + row) * pitch;
        let offsets: Vec<Vec<usize>> = phases
            .iter()
            .map(|Phase { taps, .. }| {
                let copy = |column: usize| begins.partition_point(|&begin| begin < column);
                let of = |channel: usize| taps.iter().map(move |&[row, column]| place(copy(column), channel, row));
                (0..*to).flat_map(of).collect()
            })
            .collect();
        let mut part = vec![0.0; from * size * pitch];
        for (dx, dy) in dx.chunks_exact_mut(from * from_area).zip(dy.chunks_exact(to * to_area)) {
            for (channel, plane) in dy.chunks_exact(to_area).enumerate() {
                for (copy, begin) in begins.iter().enumerate() {
                    let (left, skipped) = (before[1].saturating_sub(*begin), begin.saturating_sub(before[1]));
                    let rows = copies[place(copy, channel, before[0])..].chunks_exact_mut(pitch);
                    for (to, from) in rows.zip(plane.chunks_exact(window.output[1])) {
                        for (to, from) in to[left..].iter_mut().zip(&from[skipped..]) {
                            *to = *from;
                        }
                    }
                }
            }
            for (Phase { panels, first, count: [rows, columns], .. }, offsets) in phases.iter().zip(&offsets) {
                let source = Source { values: &copies, offsets, step: 0 };
                let area = rows * pitch;
                multiply(
                    panels,
                    &source,
                    Target { values: &mut part, pitch: area, height: 1, width: area, adds: false },
                );
                let ([stride, across], width) = (window.stride, window.input[1]);
                vectorised(
                    #[inline(always)]
                    || {
                        for (dx, part) in dx.chunks_exact_mut(from_area).zip(part.chunks_exact(area)) {
                            for (row, part) in part.chunks_exact(pitch).enumerate() {
                                let line = &mut dx[(first[0] + row * stride) * width..][first[1]..width];
                                spread(&part[..*columns], across, line);
                            }
                        }
                    },
                );
            }
        }
    }
}

/// Adds the gradient of a convolution's weights by some images, read as the entries say: how the gradient of each
/// channel matches each moved channel of the input.
pub(super) fn match_dense(dense: &Dense, entries: &[Entry], x: &[f32], dy: &[f32], part: &mut [f32]) {
    let Dense { window, from, to } = dense;
    let ([height, width], [_, area]) = (window.output, window.areas());
    let images = dy.len() / (to * area);
    let mut laid = Laid::new(window, *from, images);
    laid.fill(x, entries);
    let Laid { rows, pitch, .. } = laid;
    let x = Lines { values: &laid.values, offsets: &laid.offsets() };
    if pitch == width {
        let starts: Vec<usize> = (0..*to).map(|at| at * area).collect();
        let piece = |image: usize| Piece { x: image * rows * pitch, dy: image * to * area, length: area };
        return match_up(&x, &Lines { values: dy, offsets: &starts }, (0..images).map(piece), part);
    }
    // The gradient stands likewise, with zeros between its rows: those of all images are one.
    let mut apart = vec![0.0; to * images * rows * pitch];
    for (at, plane) in dy.chunks_exact(area).enumerate() {
        let start = (at % to * images + at / to) * rows * pitch;
        for (to, from) in apart[start..].chunks_exact_mut(pitch).zip(plane.chunks_exact(width)) {
            to[..width].copy_from_slice(from);
        }
    }
    let starts: Vec<usize> = (0..*to).map(|at| at * images * rows * pitch).collect();
    let all = Piece { x: 0, dy: 0, length: ((images - 1) * rows + height - 1) * pitch + width };
    match_up(&x, &Lines { values: &apart, offsets: &starts }, std::iter::once(all), part);
}

/// Planes as a window reads them: the pixels that lie at the same place within a stride stand together, so that
/// neighbouring windows read neighbours, between zeros.
///
/// Rows of the output that are several whole vectors are read from one copy for each place within a stride. For others
/// each column of the window has a copy of its own, whose rows are as long as the output's and stand without gaps: so no
/// vector is read for what lies between rows.
struct Laid<'a> {
    window: &'a Window,
    channels: usize,
    images: usize,
    /// The column where each copy begins, of the planes with zeros before them.
    copies: Vec<usize>,
    /// Rows of one place within a stride, and their length.
    rows: usize,
    pitch: usize,
    /// By channel, place of the row within a stride, copy, image and row.
    values: Vec<f32>,
}

/// Values of a row from which on it is long.
const LONG: usize = 256;

impl<'a> Laid<'a> {
    fn new(window: &'a Window, channels: usize, images: usize) -> Self {
        let width = window.output[1];
        let (copies, pitch): (Vec<usize>, usize) = if LANES < width && width.is_multiple_of(LANES) {
            let pitch = width + window.reach(1) / window.stride[1];
            // Long rows take an odd number of vectors, or those of several channels would compete for the same lines of
            // the first cache.
            let pitch = if LONG <= pitch { (pitch.div_ceil(LANES) | 1) * LANES } else { pitch };
            ((0..window.stride[1]).collect(), pitch)
        } else {
            ((0..window.kernel[1]).map(|tap| tap * window.dilation[1]).collect(), width)
        };
        let rows = window.output[0] + window.reach(0) / window.stride[0];
        let values = vec![0.0; channels * window.stride[0] * copies.len() * images * rows * pitch + 2 * LANES];
        Self { window, channels, images, copies, rows, pitch, values }
    }

    /// Where row `row` of an image begins that holds rows of place `r` within a stride.
    #[inline(always)]
    fn row(&self, channel: usize, [r, copy]: [usize; 2], image: usize, row: usize) -> usize {
        let copies = (channel * self.window.stride[0] + r) * self.copies.len() + copy;
        ((copies * self.images + image) * self.rows + row) * self.pitch
    }

    /// Where each tap of each channel begins.
    fn offsets(&self) -> Vec<usize> {
        let Window { kernel, stride, dilation, .. } = *self.window;
        let tap = |channel: usize, at: usize| {
            let [i, j] = [at / kernel[1] * dilation[0], at % kernel[1]];
            let [copy, moved] = match self.pitch == self.window.output[1] {
                true => [j, 0],
                false => [j * dilation[1] % stride[1], j * dilation[1] / stride[1]],
            };
            self.row(channel, [i % stride[0], copy], 0, i / stride[0]) + moved
        };
        (0..self.channels)
            .flat_map(|channel| (0..kernel[0] * kernel[1]).map(move |at| (channel, at)))
            .map(|(channel, at)| tap(channel, at))
            .collect()
    }

    /// Copies images as the entries say.
    fn fill(&mut self, images: &[f32], entries: &[Entry]) {
        Arch::new().dispatch(Fill { laid: self, images, entries });
    }
}

/// [`Laid::fill`].
struct Fill<'a, 'b> {
    laid: &'a mut Laid<'b>,
    images: &'a [f32],
    entries: &'a [Entry],
}

impl WithSimd for Fill<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { laid, images, entries } = self;
        let Window { stride, start, input: [height, width], .. } = *laid.window;
        let mut read = vec![0.0; height * width];
        for (at, plane) in images.chunks_exact(height * width).enumerate() {
            let (image, channel) = (at / laid.channels, at % laid.channels);
            let plane = match &entries[channel] {
                entry if *entry == Entry::PLAIN => plane,
                entry => {
                    entry.reader(simd).copy(simd, plane, &mut read);
                    &read
                }
            };
            for copy in 0..laid.copies.len() {
                // The first column of this copy that lies on the plane, and how many there are.
                let begin = laid.copies[copy];
                let first = start[1].saturating_sub(begin).div_ceil(stride[1]);
                let from = stride[1] * first + begin - start[1];
                let n = laid.pitch.saturating_sub(first).min(width.saturating_sub(from).div_ceil(stride[1]));
                if n == 0 {
                    continue;
                }
                if stride == [1, 1] && laid.pitch == width {
                    // Neither has gaps: all rows at once, but for what comes from the row before or after.
                    let rows = height.min(laid.rows - start[0]) * width;
                    let to = laid.row(channel, [0, copy], image, start[0]);
                    let values = &mut laid.values[to..][..rows];
                    values[first..rows - from].copy_from_slice(&plane[from..rows - first]);
                    for row in values.chunks_exact_mut(width) {
                        for column in (0..first).chain(first + n..width) {
                            row[column] = 0.0;
                        }
                    }
                    continue;
                }
                for r in 0..stride[0] {
                    // The same of rows.
                    let row = start[0].saturating_sub(r).div_ceil(stride[0]);
                    let mut to = laid.row(channel, [r, copy], image, row) + first;
                    let mut line = stride[0] * row + r - start[0];
                    for _ in row..laid.rows {
                        if height <= line {
                            break;
                        }
                        sample(&plane[line * width + from..][..width - from], stride[1], &mut laid.values[to..][..n]);
                        (to, line) = (to + laid.pitch, line + stride[0]);
                    }
                }
            }
        }
    }
}
