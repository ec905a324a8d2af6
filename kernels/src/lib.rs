//! Windows that slide over planes of `f32`: depthwise convolution and pooling, by vectors of whatever
//! width the processor has.
//!
//! Training runs them on batches, beside the backward passes that are its own; the engine runs them
//! where they are faster than the engine's. Nothing here knows a tensor library or threads.
//!
//! ```
//! use kernels::{Window, pool};
//!
//! let window = Window::sliding([2, 4], [3, 3], [1, 1], [(1, 1); 2], [1, 1]).expect("it fits");
//! let mut y = [0.0; 8];
//! pool::largest(&window, &[1., 2., 3., 4., 8., 7., 6., 5.], &mut y);
//! assert_eq!(y, [8., 8., 7., 6., 8., 8., 7., 6.]);
//! ```

pub mod depthwise;
pub mod plane;
pub mod pool;
pub mod simd;
pub mod window;

pub use window::{Padded, Window};
