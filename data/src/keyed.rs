//! Randomness keyed by what it is for: the same key gives the same numbers on every machine.
//!
//! A generator is made where it is used, from (seed, purpose, step), and never handed on. So no
//! draw depends on how many draws another part of the program made, on threads, or on whether a
//! run was interrupted and resumed in between.

use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

pub use rand_chacha::ChaCha8Rng;

/// The generator for one step of one purpose of a run.
///
/// Its 32-byte key is the SHA-256 of `seed` and `step` (little-endian, 8 bytes each) and then the
/// bytes of `purpose`: the fixed lengths come first, so no two keys share an encoding.
pub fn rng(seed: u64, purpose: &str, step: u64) -> ChaCha8Rng {
    let mut key = Sha256::new();
    key.update(seed.to_le_bytes());
    key.update(step.to_le_bytes());
    key.update(purpose.as_bytes());
    ChaCha8Rng::from_seed(key.finalize().into())
}

/// A uniform number in `0..bound`, without bias; 0 for a `bound` of 0.
///
/// Ours rather than `rand`'s, whose algorithm may change between releases: a stored seed must
/// still mean the same run next year.
pub fn below(rng: &mut impl Rng, bound: u32) -> u32 {
    // Lemire's multiplication: the high half is uniform once low halves under 2^32 mod bound are
    // drawn again.
    let rejected = if bound == 0 { 0 } else { bound.wrapping_neg() % bound };
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(bound);
        if product as u32 >= rejected {
            return (product >> 32) as u32;
        }
    }
}

/// Puts the items in a uniformly random order (Fisher and Yates).
///
/// # Panics
/// Panics on more than `u32::MAX` items, which no data set here can hold.
pub fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for idx in (1..items.len()).rev() {
        let bound = u32::try_from(idx + 1).expect("fewer than 2^32 items");
        items.swap(idx, below(rng, bound) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows from an independent implementation: Python's `hashlib` and RFC 8439's block function
    /// with 8 rounds.
    #[test]
    fn keys_give_the_golden_values() {
        let check = |seed, purpose, step, expected: [u32; 4]| {
            let mut rng = rng(seed, purpose, step);
            let found = [rng.next_u32(), rng.next_u32(), rng.next_u32(), rng.next_u32()];
            assert_eq!(found, expected, "({seed}, {purpose:?}, {step})");
        };
        check(0, "", 0, [0xbac5ae22, 0x624d36fb, 0xde4f33eb, 0x1633a48b]);
        check(42, "data/split", 0, [0x2a36555e, 0xf3fd3064, 0xb7c5f548, 0xfe8e0d3e]);
        check(42, "data/split", 1, [0x827206d5, 0x135fb744, 0x5cd5bb04, 0xd437003d]);
        check(u64::MAX, "größe", u64::MAX, [0xf6cfae12, 0x7248cb4d, 0x178cd311, 0x8a079b87]);
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        for bound in [1, 2, 3, 7, 10, 1 << 31, u32::MAX] {
            let mut rng = rng(3, "below", u64::from(bound));
            for _ in 0..1000 {
                assert!(below(&mut rng, bound) < bound);
            }
        }
        // 60,000 throws of a die: each face 10,000 times, five standard deviations are 456.
        let mut faces = [0_i32; 6];
        let mut rng = rng(3, "die", 0);
        for _ in 0..60_000 {
            faces[below(&mut rng, 6) as usize] += 1;
        }
        assert!(faces.iter().all(|count| (count - 10_000).abs() < 456), "{faces:?}");
        // For 3 x 2^30 a plain multiplication would give every third number twice as often: half of
        // the draws. A third is 20,000 of 60,000, with a standard deviation of 115.
        let thirds = (0..60_000).filter(|_| below(&mut rng, 3 << 30).is_multiple_of(3)).count();
        assert!(thirds.abs_diff(20_000) < 577, "{thirds}");
        assert_eq!(below(&mut rng, 0), 0);
    }

    #[test]
    fn shuffle_permutes_and_repeats() {
        let order = |step| {
            let mut items: Vec<u32> = (0..100).collect();
            shuffle(&mut rng(1, "order", step), &mut items);
            items
        };
        assert_eq!(order(0), order(0));
        assert_ne!(order(0), order(1));
        let mut sorted = order(0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
    }
}
