//! Memory of tensors: the program's allocator while it trains, which keeps large blocks for the next tensor of their size,
//! and [`Unwritten`] values, which become zeros where they are filled.
//!
//! A step of training takes and gives back the same few hundred large blocks. The system's allocator
//! returns each to the kernel, which fills it with zeros anew and maps it page by page: a fifth of a
//! step. Kept blocks are mapped once, in large pages where the kernel has any.
//!
//! Until [`keep`] is called everything goes to the system's allocator, so that whoever measures the
//! memory of something else measures that.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: memory::Keeping = memory::Keeping;
//!
//! memory::keep();
//! let tensor = vec![1.0_f32; 1 << 20];
//! drop(tensor);
//! assert!(vec![0.0_f32; 1 << 20].iter().all(|&value| value == 0.0));
//!
//! let before = memory::watch();
//! drop(vec![0_u8; 1 << 20]);
//! assert!((before + (1 << 20)..before + (2 << 20)).contains(&memory::most()));
//! ```

#![expect(unsafe_code, reason = "an allocator's interface is unsafe, and so is memory that nobody has written")]

mod unwritten;

pub use unwritten::{Part, Unwritten};

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr::{self, NonNull},
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// Blocks of fewer bytes are the system allocator's business.
const LARGE: usize = 1 << LARGE_BITS;
const LARGE_BITS: u32 = 17;

/// Sizes a doubling: a block is at most an eighth larger than what was asked for.
const PER_DOUBLING: usize = 8;

/// Doublings from [`LARGE`] on; larger blocks are the system allocator's business as well.
const DOUBLINGS: usize = 20;

/// Alignment of every large block: a page.
const PAGE: usize = 4096;

static KEEPS: AtomicBool = AtomicBool::new(false);
static KEPT: Mutex<Kept> = Mutex::new(Kept { first: [0; PER_DOUBLING * DOUBLINGS], bytes: 0 });
/// Bytes of large blocks in use, and the most that ever were.
static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
/// The most that were in use since [`watch`].
static WATCHED: AtomicUsize = AtomicUsize::new(0);

/// From now on large blocks are kept: with those in use, at most half as many bytes again as were once in use together.
pub fn keep() {
    KEEPS.store(true, SeqCst);
}

/// Bytes of large blocks in use now; from here on [`most`] counts anew.
pub fn watch() -> usize {
    let used = USED.load(Relaxed);
    WATCHED.store(used, Relaxed);
    used
}

/// Bytes of large blocks that were in use together at most since [`watch`], or since the program's start. Unlike
/// memory that the system counts this does not depend on what is kept, nor on anybody else.
pub fn most() -> usize {
    WATCHED.load(Relaxed)
}

/// The allocator.
pub struct Keeping;

/// Blocks that nobody uses, by size. The first word of each holds the address of the next, or 0.
struct Kept {
    first: [usize; PER_DOUBLING * DOUBLINGS],
    bytes: usize,
}

/// Which list a large block belongs to, and how it is taken from the system.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Class {
    list: usize,
    layout: Layout,
}

impl Class {
    /// `None` for what the system's allocator does better.
    fn of(layout: Layout) -> Option<Self> {
        let size = layout.size();
        if size < LARGE || PAGE < layout.align() {
            return None;
        }
        let doubling = size.ilog2();
        let step = (1_usize << doubling) / PER_DOUBLING;
        let steps = (size - (1 << doubling)).div_ceil(step);
        let list = (doubling - LARGE_BITS) as usize * PER_DOUBLING + steps;
        let layout = Layout::from_size_align((1 << doubling) + steps * step, PAGE).ok()?;
        (list < PER_DOUBLING * DOUBLINGS).then_some(Self { list, layout })
    }

    /// A kept block.
    fn take(self) -> Option<NonNull<u8>> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let block = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(kept.first[self.list]))?;
        // SAFETY: a block in a list is a whole block of this class that nobody else knows; `give` wrote its
        // first word, and it is aligned to a page.
        kept.first[self.list] = unsafe { block.cast::<usize>().read() };
        kept.bytes -= self.layout.size();
        Some(block)
    }

    /// Keeps a block; hands it back where enough are kept.
    ///
    /// # Safety
    /// The block is one of this class, and nobody uses it any more.
    unsafe fn give(self, block: NonNull<u8>) -> Option<NonNull<u8>> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        // Blocks of one size are not there for another: a little more is kept than is ever in use at once.
        let most = MOST.load(Relaxed);
        if most + most / 2 < USED.load(Relaxed) + kept.bytes + self.layout.size() {
            return Some(block);
        }
        // SAFETY: the block is the caller's to give, at least a word long and aligned to a page.
        unsafe { block.cast::<usize>().write(kept.first[self.list]) };
        kept.first[self.list] = block.as_ptr().expose_provenance();
        kept.bytes += self.layout.size();
        None
    }

    fn allocate(self, zeroed: bool) -> *mut u8 {
        let keeps = KEEPS.load(Relaxed);
        let block = match if keeps { self.take() } else { None } {
            Some(block) => {
                if zeroed {
                    // SAFETY: the block has this many bytes and is ours until it is returned.
                    unsafe { block.write_bytes(0, self.layout.size()) };
                }
                block.as_ptr()
            }
            None => self.fresh(zeroed, keeps),
        };
        if !block.is_null() {
            let used = USED.fetch_add(self.layout.size(), Relaxed) + self.layout.size();
            MOST.fetch_max(used, Relaxed);
            WATCHED.fetch_max(used, Relaxed);
        }
        block
    }

    /// A block from the system; null where it has none.
    fn fresh(self, zeroed: bool, large_pages: bool) -> *mut u8 {
        if large_pages {
            // SAFETY: the layout has a size.
            let block = unsafe { System.alloc(self.layout) };
            if block.is_null() {
                return block;
            }
            advise(block, self.layout.size());
            if zeroed {
                // SAFETY: the block was just allocated with this size.
                unsafe { block.write_bytes(0, self.layout.size()) };
            }
            return block;
        }
        match zeroed {
            // SAFETY: the layout has a size.
            true => unsafe { System.alloc_zeroed(self.layout) },
            // SAFETY: as above.
            false => unsafe { System.alloc(self.layout) },
        }
    }

    /// # Safety
    /// The block is one of this class, and nobody uses it any more.
    unsafe fn free(self, block: *mut u8) {
        USED.fetch_sub(self.layout.size(), Relaxed);
        let back = match NonNull::new(block).filter(|_| KEEPS.load(Relaxed)) {
            // SAFETY: the caller's promise.
            Some(block) => unsafe { self.give(block) }.map(NonNull::as_ptr),
            None => Some(block),
        };
        if let Some(block) = back {
            // SAFETY: every large block came from the system with the layout of its class.
            unsafe { System.dealloc(block, self.layout) };
        }
    }
}

/// Asks for large pages. That there are none is no error: small ones do as well.
#[cfg(target_os = "linux")]
fn advise(block: *mut u8, size: usize) {
    // SAFETY: the range lies in a block that was just allocated, and the advice changes no byte of it.
    let _ = unsafe { rustix::mm::madvise(block.cast(), size, rustix::mm::Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}

// SAFETY: large blocks are unique while in use, as long as their class and aligned to a page, which is at least what
// was asked for; all others are the system's.
unsafe impl GlobalAlloc for Keeping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            Some(class) => class.allocate(false),
            // SAFETY: the caller's promise.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            Some(class) => class.allocate(true),
            // SAFETY: the caller's promise.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match Class::of(layout) {
            // SAFETY: a block of this layout came from the same class.
            Some(class) => unsafe { class.free(block) },
            // SAFETY: the caller's promise.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        match (Class::of(layout), Class::of(wanted)) {
            // SAFETY: the caller's promise.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (Some(old), Some(new)) if old == new => block,
            _ => {
                // SAFETY: the caller promises that the size is not 0.
                let moved = unsafe { self.alloc(wanted) };
                if !moved.is_null() {
                    // SAFETY: both blocks have as many bytes, and differ; the old one is the caller's to give.
                    unsafe {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                }
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Keeping = Keeping;

    #[test]
    fn a_class_is_at_most_an_eighth_larger_than_what_was_asked_for() {
        for size in (LARGE..40 * LARGE).step_by(12_345).chain([1 << 30, (1 << 30) + 1, (1 << 36) - 1]) {
            let layout = Layout::from_size_align(size, 64).expect("a valid layout");
            let class = Class::of(layout).expect("a large block");
            assert!(size <= class.layout.size() && class.layout.size() - size <= size / PER_DOUBLING, "{size}");
            assert_eq!(Class::of(class.layout), Some(class), "{size}");
        }
        for small in [1, LARGE - 1] {
            assert_eq!(Class::of(Layout::from_size_align(small, 8).expect("a valid layout")), None);
        }
    }

    #[test]
    fn blocks_are_whole_whoever_had_them_before() {
        keep();
        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                std::thread::spawn(move || {
                    let mut held: Vec<(u64, Vec<u64>)> = Vec::new();
                    let mut state = thread + 1;
                    for step in 0..400_u64 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let length = 10_000 + (state >> 40) as usize % 60_000;
                        let zeros = vec![0_u64; length];
                        assert!(zeros.iter().all(|&it| it == 0), "what is asked for as zeros is zeros");
                        drop(zeros);
                        let mark = thread << 32 | step;
                        let mut block = vec![mark; length];
                        block.resize(length + (state >> 20) as usize % 40_000, mark);
                        held.push((mark, block));
                        if held.len() > 6 {
                            let (mark, block) = held.swap_remove(state as usize % held.len());
                            assert!(block.iter().all(|&it| it == mark), "nobody else wrote to a block in use");
                        }
                    }
                    assert!(held.iter().all(|(mark, block)| block.iter().all(|it| it == mark)));
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no thread saw a foreign value");
        }
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        let most = MOST.load(Relaxed);
        assert!(0 < kept && kept <= most + most / 2, "{kept} bytes are kept");
    }
}
