//! Hash tables with the same keys in every process that links this, so that one program executes the
//! same instructions each time.
//!
//! The standard library draws the keys of its hash tables from the system, through a symbol that a
//! program may define for itself (`std::sys::random::linux`). Here it is defined, and everything
//! that is drawn is the same byte again and again. That is no source of secrets: only a program that
//! keeps none, and answers nobody but the one who started it, may link this.

#![expect(unsafe_code, reason = "a symbol without a mangled name, and a pointer of C's")]

use std::{
    ffi::{c_uint, c_void},
    hint::black_box,
};

/// Every byte of every key.
const BYTE: u8 = 0x5e;

/// Makes this program's hash tables repeat. To be called once, anywhere: it does nothing when it
/// runs, and has the linker take [`getrandom`] in.
pub fn repeat() {
    black_box(getrandom as unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize);
}

/// In the place of the C library's: fills the buffer with one byte, and returns how many.
///
/// # Safety
/// `length` bytes from `buffer` on may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    // SAFETY: the promise above.
    unsafe { buffer.cast::<u8>().write_bytes(BYTE, length) };
    length as isize
}

#[cfg(test)]
mod tests {
    use std::{collections::hash_map::RandomState, hash::BuildHasher, thread};

    /// Each thread draws keys of its own: without the function above, these differ.
    #[test]
    fn every_thread_hashes_alike() {
        super::repeat();
        let hash = || thread::spawn(|| RandomState::new().hash_one("conv2d")).join();
        let first = hash().ok();
        assert!(first.is_some());
        for _ in 0..8 {
            assert_eq!(hash().ok(), first);
        }
    }
}
