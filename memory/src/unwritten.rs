//! A vector that is set to zero where and when it is filled.

use std::{
    mem::MaybeUninit,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Values that nobody has written yet. They are handed out in parts, each of which becomes zeros just before somebody
/// fills it: these stay in the cache, where the zeros of a whole tensor go to memory and come back.
///
/// ```
/// let mut values = memory::Unwritten::new(5);
/// for (nth, part) in values.parts(2).into_iter().enumerate() {
///     part.zeroed()[0] = nth as f32;
/// }
/// assert_eq!(values.finish(), [0.0, 0.0, 1.0, 0.0, 2.0]);
/// ```
pub struct Unwritten {
    /// Empty, with room for `len`.
    values: Vec<f32>,
    len: usize,
    /// How many were written since parts were handed out last.
    written: AtomicUsize,
}

impl Unwritten {
    /// Room for this many values.
    pub fn new(len: usize) -> Self {
        Self { values: Vec::with_capacity(len), len, written: AtomicUsize::new(0) }
    }

    /// All of it in parts of `size` values, at least 1; a last one has what is left.
    pub fn parts(&mut self, size: usize) -> Vec<Part<'_>> {
        let Self { values, len, written } = self;
        *written.get_mut() = 0;
        let written = &*written;
        let parts = values.spare_capacity_mut()[..*len].chunks_mut(size.max(1));
        parts.map(|values| Part { values, written }).collect()
    }

    /// The values.
    ///
    /// # Panics
    /// A part was not written.
    pub fn finish(mut self) -> Vec<f32> {
        assert_eq!(*self.written.get_mut(), self.len, "every part of a tensor is written");
        // SAFETY: there is room for `len` values. Parts do not overlap and count themselves once each, after their values
        // were written: together they are as many as all, so all are written.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

/// Some of the values.
pub struct Part<'a> {
    values: &'a mut [MaybeUninit<f32>],
    written: &'a AtomicUsize,
}

impl<'a> Part<'a> {
    /// How many they are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values, as zeros.
    pub fn zeroed(self) -> &'a mut [f32] {
        self.filled(usize::MAX, |_, _| {})
    }

    /// The values, filled: in pieces of `size` values, at least 1, each of which is zeros when `fill` gets it with its number.
    pub fn filled(self, size: usize, mut fill: impl FnMut(usize, &mut [f32])) -> &'a mut [f32] {
        for (nth, piece) in self.values.chunks_mut(size.max(1)).enumerate() {
            piece.iter_mut().for_each(|value| {
                value.write(0.0);
            });
            // SAFETY: every value of the piece was just written.
            fill(nth, unsafe { piece.assume_init_mut() });
        }
        self.written.fetch_add(self.values.len(), Relaxed);
        // SAFETY: the pieces are all of the values, and each was written above.
        unsafe { self.values.assume_init_mut() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_fills_is_zero() {
        for (len, size) in [(0, 3), (1, 3), (7, 3), (9, 3), (5, 100), (40_000, 1_234)] {
            let mut values = Unwritten::new(len);
            let parts = values.parts(size);
            assert_eq!(parts.iter().map(Part::len).sum::<usize>(), len);
            for (nth, part) in parts.into_iter().enumerate() {
                let first = (nth * size) as f32;
                let filled = part.filled(2, |piece, values| {
                    assert!(values.iter().all(|it| *it == 0.0), "pieces are zeros");
                    values[0] = first + 2.0 * piece as f32;
                });
                assert!(!filled.is_empty());
            }
            let values = values.finish();
            assert_eq!(values.len(), len);
            for (at, value) in values.iter().enumerate() {
                let expected = if at % size % 2 == 0 { at as f32 } else { 0.0 };
                assert_eq!(*value, expected, "{at} of {len}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "every part of a tensor is written")]
    fn a_part_that_is_left_out_is_noticed() {
        let mut values = Unwritten::new(10);
        let mut parts = values.parts(4);
        parts.pop();
        for part in parts {
            let _ = part.zeroed();
        }
        drop(values.finish());
    }

    /// Parts written before others were handed out do not count for those.
    #[test]
    #[should_panic(expected = "every part of a tensor is written")]
    fn parts_count_once() {
        let mut values = Unwritten::new(10);
        for _ in 0..2 {
            let first = values.parts(5).into_iter().next().expect("there are two");
            let _ = first.zeroed();
        }
        drop(values.finish());
    }
}
