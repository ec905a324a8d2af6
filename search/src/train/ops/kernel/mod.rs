//! Kernels on slices: what [`super`] runs on the processor, on the windows of [`kernels`]. Nothing here knows Burn.
//!
//! All are parallel over groups of images whose size depends on the batch alone, and what is summed
//! over images is summed within each group and then over groups, in order: a result is the same, bit
//! for bit, for any number of threads.

pub(crate) mod dense;
pub(crate) mod depthwise;
mod match_up;
pub(crate) mod norm;
pub(crate) mod pool;
mod reach;
pub(crate) mod relu;

/// Largest number of groups that a batch is divided into.
const MAX_GROUPS: usize = 32;

/// Images a group, of a batch of `n`.
fn group(n: usize) -> usize {
    n.div_ceil(MAX_GROUPS).max(1)
}

/// Adds the parts that groups made, in order; `parts` holds one after the other.
fn sum_groups(parts: &[f32], sum: &mut [f32]) {
    sum.fill(0.0);
    for part in parts.chunks_exact(sum.len()) {
        for (sum, &part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
    }
}
