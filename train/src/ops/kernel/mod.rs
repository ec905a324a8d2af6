//! Kernels on slices: what [`super`] runs on the processor, on the windows of [`kernels`]. Nothing here knows Burn.
//!
//! All are parallel over groups of images whose size depends on the batch alone, and what is summed
//! over images is summed within each group and then over groups, in order: a result is the same, bit
//! for bit, for any number of threads.

#![expect(clippy::needless_range_loop, reason = "rows and taps are counted in constants, which unrolls their loops")]

pub(crate) mod chain;
pub(crate) mod dense;
pub(crate) mod depthwise;
mod entry;
pub(crate) mod norm;
mod planes;
pub(crate) mod pool;
mod product;
pub(crate) mod relu;

use kernels::simd::vectorised;
use memory::{Part, Unwritten};
use rayon::prelude::*;

/// Largest number of groups that a batch is divided into.
const MAX_GROUPS: usize = 16;

/// Images a group, of a batch of `n`.
fn group(n: usize) -> usize {
    n.div_ceil(MAX_GROUPS).max(1)
}

/// `len` values, `size` for each item of `from`, which `compute` fills; and what it returned.
fn computed<I, T>(
    len: usize,
    size: usize,
    from: I,
    compute: impl Fn(I::Item, Part<'_>) -> T + Sync,
) -> (Vec<f32>, Vec<T>)
where
    I: IndexedParallelIterator,
    T: Send,
{
    let mut values = Unwritten::new(len);
    let parts = values.parts(size).into_par_iter();
    let made = parts.zip(from).map(|(part, from)| compute(from, part)).collect();
    (values.finish(), made)
}

/// Adds up the parts of `n` values that groups made, in order.
fn sum_groups<'a>(parts: impl Iterator<Item = &'a [f32]>, n: usize) -> Vec<f32> {
    let mut sum = vec![0.0; n];
    for part in parts {
        for (sum, &part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sum
}
