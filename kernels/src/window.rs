//! Where a window stands on a plane, and planes copied so that it never falls off them.

use pulp::Simd;

use crate::simd::store_cut;

/// A window of `kernel` taps a side that slides over a plane of `input` values and gives one of
/// `output` values; each pair is rows, then columns.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Distance between neighbouring positions.
    pub stride: [usize; 2],
    /// Distance between neighbouring taps.
    pub dilation: [usize; 2],
    /// Padding before the first row and column; the rest follows from the sizes.
    pub start: [usize; 2],
    /// Height and width of the plane it reads.
    pub input: [usize; 2],
    /// Height and width of the plane it gives.
    pub output: [usize; 2],
}

impl Window {
    /// The window at all of its positions on a plane of `input` values with `pads` before and after
    /// its rows and columns; none where it does not fit.
    pub fn sliding(
        input: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        pads: [(usize, usize); 2],
        dilation: [usize; 2],
    ) -> Option<Self> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let (before, after) = pads[axis];
            let span = kernel[axis].checked_sub(1)? * dilation[axis] + 1;
            output[axis] = (input[axis] + before + after).checked_sub(span)? / stride[axis] + 1;
        }
        Some(Self { kernel, stride, dilation, start: pads.map(|(before, _)| before), input, output })
    }

    /// Distance between the first and the last tap along `axis`.
    pub fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis]
    }

    /// Whether each position lies on the plane at least in part, and there are positions: the
    /// kernels rely on it.
    pub fn is_regular(&self) -> bool {
        (0..2).all(|axis| {
            let positive = [self.kernel, self.stride, self.dilation, self.input, self.output];
            positive.iter().all(|it| it[axis] > 0)
                && self.start[axis] <= self.reach(axis)
                && (self.output[axis] - 1) * self.stride[axis] < self.start[axis] + self.input[axis]
        })
    }

    /// Taps that stand on the plane at position `at` along `axis`: first, and one after the last.
    pub fn taps(&self, axis: usize, at: usize) -> [usize; 2] {
        let (dilation, start) = (self.dilation[axis], self.start[axis]);
        let before = start.saturating_sub(at * self.stride[axis]).div_ceil(dilation);
        let room = (start + self.input[axis]).saturating_sub(at * self.stride[axis]);
        [before, room.div_ceil(dilation).min(self.kernel[axis])]
    }

    /// Values before and after the window.
    pub fn areas(&self) -> [usize; 2] {
        [self.input, self.output].map(|[height, width]| height * width)
    }
}

/// Planes whose rows have zeros around them, so that whole vectors can be read anywhere.
///
/// Column `c` stands at `left + c * spread` of a wider row; of that row, every `phases`-th value is
/// stored together, so that a window with a stride reads neighbours.
#[derive(Clone, Debug)]
pub struct Padded {
    /// Rows, and room for one vector more.
    values: Vec<f32>,
    height: usize,
    /// Length of one phase of a row.
    width: usize,
    left: usize,
    spread: usize,
    phases: usize,
    /// What stands around the rows, instead of zero.
    around: f32,
}

impl Padded {
    /// `height` rows of zeros; `width` values of each phase can be read, and must have room for what
    /// is filled in.
    pub fn new<S: Simd>(height: usize, width: usize, left: usize, spread: usize, phases: usize) -> Self {
        let values = vec![0.0; height * width * phases + S::F32_LANES];
        Self { values, height, width, left, spread, phases, around: 0.0 }
    }

    /// Rows of a plane to be read under a window, between values of `around`.
    pub fn under<S: Simd>(window: &Window, around: f32) -> Self {
        let stride = window.stride[1];
        let read = window.output[1].next_multiple_of(S::F32_LANES) + window.reach(1).div_ceil(stride);
        let width = read.max(Self::room(window.input[1], window.start[1], 1, stride));
        let mut padded = Self::new::<S>(window.input[0], width, window.start[1], 1, stride);
        padded.around = around;
        padded.values.fill(around);
        padded
    }

    /// Rows of a gradient to be read by the values that lay under the window, and by itself.
    pub fn over<S: Simd>(window: &Window) -> Self {
        let [whole_in, whole_out] = [window.input, window.output].map(|it| it[1].next_multiple_of(S::F32_LANES));
        let left = window.reach(1) - window.start[1];
        let spread = window.stride[1];
        let room = Self::room(window.output[1], left, spread, 1);
        let width = (whole_in + window.reach(1)).max(left + whole_out).max(room);
        Self::new::<S>(window.output[0], width, left, spread, 1)
    }

    /// Length of a phase that `columns` values can be filled into.
    pub fn room(columns: usize, left: usize, spread: usize, phases: usize) -> usize {
        (left + columns * spread).div_ceil(phases) + usize::from(phases > 1)
    }

    /// Copies a plane of rows of `columns` values to the rows from `first` on, `step` apart. Planes
    /// are filled from the first to the last.
    #[inline(always)]
    pub fn fill<S: Simd>(&mut self, simd: S, plane: &[f32], columns: usize, first: usize, step: usize) {
        let pitch = self.pitch();
        for row in 0..plane.len() / columns {
            let source = &plane[row * columns..];
            let target = &mut self.values[(first + row * step) * pitch..];
            match (self.phases, self.spread) {
                (1, 1) => copy(simd, source, &mut target[self.left..], columns, self.around),
                (1, 2) => {
                    let (pairs, _) = target[self.left..].as_chunks_mut::<2>();
                    for (pair, source) in pairs.iter_mut().zip(&source[..columns]) {
                        pair[0] = *source;
                    }
                }
                (2, 1) => split(&source[..columns], &mut target[..pitch], self.left),
                (1, spread) => {
                    for (target, source) in target[self.left..].iter_mut().step_by(spread).zip(&source[..columns]) {
                        *target = *source;
                    }
                }
                (phases, _) => {
                    for (at, source) in (self.left..).zip(&source[..columns]) {
                        target[(at % phases) * self.width + at / phases] = *source;
                    }
                }
            }
        }
    }

    /// Whether rows of `columns` values are stored as whole vectors, one after the other: see [`Padded::fill_mapped`].
    #[inline(always)]
    pub fn holds_whole_rows<S: Simd>(&self, columns: usize) -> bool {
        (self.phases, self.spread) == (1, 1) && columns.is_multiple_of(S::F32_LANES)
    }

    /// As [`Padded::fill`] from the first row on, each value through `map`; for whole rows alone.
    #[inline(always)]
    pub fn fill_mapped<S: Simd>(&mut self, plane: &[f32], columns: usize, map: impl Fn(S::f32s) -> S::f32s) {
        let (pitch, left) = (self.pitch(), self.left);
        for (row, source) in plane.chunks_exact(columns).enumerate() {
            let target = &mut self.values[row * pitch + left..][..columns];
            for (target, source) in S::as_mut_simd_f32s(target).0.iter_mut().zip(S::as_simd_f32s(source).0) {
                *target = map(*source);
            }
        }
    }

    /// Where column `at` of the wider row is stored in a row.
    pub fn place(&self, at: usize) -> usize {
        (at % self.phases) * self.width + at / self.phases
    }

    /// Length of a row, all phases.
    pub fn pitch(&self) -> usize {
        self.width * self.phases
    }

    /// A row, all phases.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.pitch()..][..self.pitch()]
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All rows, and a little more.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// Copies `n` values by whole vectors, and writes one of `around` behind them: what stood there came
/// from the next row of the source, or is overwritten with the next row of the target.
#[inline(always)]
fn copy<S: Simd>(simd: S, source: &[f32], target: &mut [f32], n: usize, around: f32) {
    let whole = n.next_multiple_of(S::F32_LANES);
    match (source.get(..whole), target.get_mut(..whole)) {
        (Some(source), Some(target)) => {
            for (target, source) in S::as_mut_simd_f32s(target).0.iter_mut().zip(S::as_simd_f32s(source).0) {
                *target = *source;
            }
        }
        _ => target[..n].copy_from_slice(&source[..n]),
    }
    store_cut(simd, target, n, simd.splat_f32s(around));
}

/// Copies a row to two phases, the first value at `left` of the wider row.
#[inline(always)]
fn split(source: &[f32], target: &mut [f32], left: usize) {
    let (even, odd) = target.split_at_mut(target.len() / 2);
    let (first, second) = match left % 2 {
        0 => (&mut even[left / 2..], &mut odd[left / 2..]),
        _ => (&mut odd[left / 2..], &mut even[left / 2 + 1..]),
    };
    let (pairs, last) = source.as_chunks::<2>();
    for ((pair, first), second) in pairs.iter().zip(first.iter_mut()).zip(second.iter_mut()) {
        (*first, *second) = (pair[0], pair[1]);
    }
    if let ([last], Some(first)) = (last, first.get_mut(pairs.len())) {
        *first = *last;
    }
}
