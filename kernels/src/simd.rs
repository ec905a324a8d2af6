//! Vectors of whatever width the processor has: unaligned access to slices, without unsafe code.

use pulp::{Arch, Simd, WithSimd};

/// The lanes of `values` that begin at `at`.
#[inline(always)]
pub fn load<S: Simd>(values: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&values[at..at + S::F32_LANES]).0[0]
}

/// As many lanes as there are before the end of `values`, from `at` on; zeros behind them.
#[inline(always)]
pub fn load_cut<S: Simd>(simd: S, values: &[f32], at: usize) -> S::f32s {
    match values.get(at..at + S::F32_LANES) {
        Some(_) => load::<S>(values, at),
        None => simd.partial_load_f32s(&values[at..]),
    }
}

/// Writes as many lanes as fit before the end of `values`, from `at` on.
#[inline(always)]
pub fn store_cut<S: Simd>(simd: S, values: &mut [f32], at: usize, lanes: S::f32s) {
    match values.get_mut(at..at + S::F32_LANES) {
        Some(all) => S::as_mut_simd_f32s(all).0[0] = lanes,
        None => simd.partial_store_f32s(&mut values[at..], lanes),
    }
}

/// Runs a loop compiled for the vectors of this processor. The closure must be `#[inline(always)]`.
#[inline(always)]
pub fn vectorised<T>(run: impl FnMut() -> T) -> T {
    Arch::new().dispatch(Loop(run))
}

/// A closure that pulp takes as it is runs through `FnOnce::call_once`, which is compiled for any processor.
struct Loop<F>(F);

impl<T, F: FnMut() -> T> WithSimd for Loop<F> {
    type Output = T;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> T {
        (self.0)()
    }
}
