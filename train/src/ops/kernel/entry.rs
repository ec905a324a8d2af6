//! How a chain reads its input.

use kernels::Padded;
use pulp::Simd;

use super::{norm::Line, relu::Rectifier};

/// How a channel is read: normalised, where the norm before has left that to its readers, then rectified.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    line: Line,
    rectifier: Rectifier,
}

impl Entry {
    /// Values as they are.
    pub(super) const PLAIN: Self = Self { line: Line::PLAIN, rectifier: Rectifier::NONE };

    pub(super) fn new(line: Line, rectifier: Rectifier) -> Self {
        Self { line, rectifier }
    }

    /// This for vectors.
    #[inline(always)]
    pub(super) fn reader<S: Simd>(&self, simd: S) -> Reader<S> {
        let [low, high] = self.rectifier.ends();
        Reader {
            slope: simd.splat_f32s(self.line.slope),
            mean: simd.splat_f32s(self.line.mean),
            shift: simd.splat_f32s(self.line.shift),
            low: simd.splat_f32s(low),
            high: simd.splat_f32s(high),
            is_rectified: self.rectifier != Rectifier::NONE,
        }
    }

    /// Copies a plane between zeros; `scratch` is of its size.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(
        &self,
        simd: S,
        padded: &mut Padded,
        plane: &[f32],
        columns: usize,
        scratch: &mut [f32],
    ) {
        if padded.holds_whole_rows::<S>(columns) {
            let reader = self.reader(simd);
            return padded.fill_mapped::<S>(
                plane,
                columns,
                #[inline(always)]
                |x| reader.of(simd, x),
            );
        }
        self.reader(simd).copy(simd, plane, scratch);
        padded.fill(simd, scratch, columns, 0, 1);
    }
}

/// An [`Entry`] for whole vectors.
pub(super) struct Reader<S: Simd> {
    slope: S::f32s,
    mean: S::f32s,
    shift: S::f32s,
    low: S::f32s,
    high: S::f32s,
    is_rectified: bool,
}

impl<S: Simd> Reader<S> {
    #[inline(always)]
    fn normalised(&self, simd: S, x: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(self.slope, simd.sub_f32s(x, self.mean), self.shift)
    }

    #[inline(always)]
    fn of(&self, simd: S, x: S::f32s) -> S::f32s {
        simd.min_f32s(simd.max_f32s(self.normalised(simd, x), self.low), self.high)
    }

    /// Whether anything is rectified at all.
    pub(super) fn is_rectified(&self) -> bool {
        self.is_rectified
    }

    /// The gradient `dx` of what is rectified; zero where the rectifier lets none through.
    #[inline(always)]
    pub(super) fn back(&self, simd: S, x: S::f32s, dx: S::f32s) -> S::f32s {
        let (y, zero) = (self.normalised(simd, x), simd.splat_f32s(0.0));
        let below = simd.select_f32s(simd.greater_than_f32s(self.high, y), dx, zero);
        simd.select_f32s(simd.greater_than_f32s(y, self.low), below, zero)
    }

    /// Reads `from` into `to`, which is as long.
    #[inline(always)]
    pub(super) fn copy(&self, simd: S, from: &[f32], to: &mut [f32]) {
        let ((from, from_rest), (to, to_rest)) = (S::as_simd_f32s(from), S::as_mut_simd_f32s(to));
        for (to, from) in to.iter_mut().zip(from) {
            *to = self.of(simd, *from);
        }
        if !to_rest.is_empty() {
            simd.partial_store_f32s(to_rest, self.of(simd, simd.partial_load_f32s(from_rest)));
        }
    }

    /// The same where the values stand.
    #[inline(always)]
    pub(super) fn apply(&self, simd: S, values: &mut [f32]) {
        let (values, rest) = S::as_mut_simd_f32s(values);
        for value in values {
            *value = self.of(simd, *value);
        }
        if !rest.is_empty() {
            let value = self.of(simd, simd.partial_load_f32s(rest));
            simd.partial_store_f32s(rest, value);
        }
    }

    /// Sets the gradient of what is rectified to zero wherever the rectifier lets none through.
    // By vectors: inside the windows' loops the compiler makes none of it.
    #[inline(always)]
    pub(super) fn mask(&self, simd: S, x: &[f32], dx: &mut [f32]) {
        if !self.is_rectified {
            return;
        }
        let ((x, x_rest), (dx, dx_rest)) = (S::as_simd_f32s(x), S::as_mut_simd_f32s(dx));
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = self.back(simd, *x, *dx);
        }
        if !dx_rest.is_empty() {
            let masked = self.back(simd, simd.partial_load_f32s(x_rest), simd.partial_load_f32s(dx_rest));
            simd.partial_store_f32s(dx_rest, masked);
        }
    }
}

/// Copies every `stride`th value of `from`, as many as `to` holds.
#[inline(always)]
pub(super) fn sample(from: &[f32], stride: usize, to: &mut [f32]) {
    match stride {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => {
            let (pairs, last) = from.as_chunks::<2>();
            // The compiler makes vectors of this.
            for (to, [from, _]) in to.iter_mut().zip(pairs) {
                *to = *from;
            }
            if let ([last], Some(to)) = (last, to.get_mut(pairs.len())) {
                *to = *last;
            }
        }
        _ => {
            for (to, from) in to.iter_mut().zip(from.iter().step_by(stride)) {
                *to = *from;
            }
        }
    }
}

/// Writes the values of `from` to every `stride`th of `to`.
#[inline(always)]
pub(super) fn spread(from: &[f32], stride: usize, to: &mut [f32]) {
    if stride == 2 {
        let (pairs, last) = to.as_chunks_mut::<2>();
        for ([to, _], from) in pairs.iter_mut().zip(from) {
            *to = *from;
        }
        if let ([last], Some(from)) = (last, from.get(pairs.len())) {
            *last = *from;
        }
        return;
    }
    for (to, from) in to.iter_mut().step_by(stride).zip(from) {
        *to = *from;
    }
}
