//! How a graph keeps shapes.

use crate::Shape;

/// A [`Shape`] in one word: a node's is read right after it was written, and only what is written
/// and read in one piece comes back without a wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Packed(u64);

/// Bits of a height and of a width; channels have the rest.
const SIDE: u32 = 20;

/// The height that marks a vector.
const VECTOR: u64 = (1 << SIDE) - 1;

impl Packed {
    /// `None` from 2^20 - 1 pixels a side or 2^24 channels on: no network here is that large.
    #[inline(always)]
    pub(crate) fn new(shape: Shape) -> Option<Self> {
        let [channels, height, width] = match shape {
            Shape::Map([channels, height, width]) => [channels as u64, height as u64, width as u64],
            Shape::Vector(features) => return Self::fit(features as u64).then(|| Self::of(features as u64, VECTOR, 1)),
        };
        let fits = Self::fit(channels) && height < VECTOR && width < VECTOR;
        fits.then(|| Self::of(channels, height, width))
    }

    #[inline(always)]
    fn fit(channels: u64) -> bool {
        channels < 1 << (64 - 2 * SIDE)
    }

    #[inline(always)]
    fn of(channels: u64, height: u64, width: u64) -> Self {
        Self(channels << (2 * SIDE) | height << SIDE | width)
    }

    #[inline(always)]
    pub(crate) fn shape(self) -> Shape {
        let (channels, height, width) = (self.0 >> (2 * SIDE), self.0 >> SIDE & VECTOR, self.0 & VECTOR);
        if height == VECTOR {
            return Shape::Vector(channels as usize);
        }
        Shape::Map([channels as usize, height as usize, width as usize])
    }
}
