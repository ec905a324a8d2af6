//! The rectifier, forward and backward.

use pulp::Arch;
use rayon::prelude::*;

/// Values a task: few enough to stay in a core's cache, many enough to be worth a task.
const TASK: usize = 1 << 15;

/// `y = max(x, 0)`; where absent, `y` holds `x`.
pub(crate) fn forward(x: Option<&[f32]>, y: &mut [f32]) {
    match x {
        Some(x) => y.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(y, x)| {
            Arch::new().dispatch(|| {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = x.max(0.0);
                }
            });
        }),
        None => y.par_chunks_mut(TASK).for_each(|y| {
            Arch::new().dispatch(|| {
                for y in y {
                    *y = y.max(0.0);
                }
            });
        }),
    }
}

/// `dx = dy` where `y` is positive, 0 elsewhere; where absent, `dx` holds `dy`.
pub(crate) fn backward(y: &[f32], dy: Option<&[f32]>, dx: &mut [f32]) {
    let tasks = dx.par_chunks_mut(TASK).zip(y.par_chunks(TASK));
    match dy {
        Some(dy) => tasks.zip(dy.par_chunks(TASK)).for_each(|((dx, y), dy)| {
            Arch::new().dispatch(|| {
                for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                    *dx = if *y > 0.0 { *dy } else { 0.0 };
                }
            });
        }),
        None => tasks.for_each(|(dx, y)| {
            Arch::new().dispatch(|| {
                for (dx, y) in dx.iter_mut().zip(y) {
                    *dx = if *y > 0.0 { *dx } else { 0.0 };
                }
            });
        }),
    }
}
