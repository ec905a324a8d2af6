//! The same work for many files, on all cores, with a result that does not depend on how many there are.

use std::num::NonZero;
use std::{panic, thread};

use crate::DataError;

/// Fills `values`, `len` of them for each item, in order. Each thread makes what it works with by `start`, and owns one
/// stretch of the items; the error returned is the first in their order.
pub(crate) fn fill<T: Sync, V: Send, W>(
    items: &[T],
    values: &mut [V],
    len: usize,
    start: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, &T, &mut [V]) -> Result<(), DataError> + Sync,
) -> Result<(), DataError> {
    let n_threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(n_threads).max(1);
    let (start, work) = (&start, &work);
    thread::scope(|scope| {
        let workers: Vec<_> = items
            .chunks(share)
            .zip(values.chunks_mut(share * len))
            .map(|(items, values)| {
                scope.spawn(move || {
                    let mut with = start();
                    items.iter().zip(values.chunks_mut(len)).try_for_each(|(item, into)| work(&mut with, item, into))
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|payload| panic::resume_unwind(payload)))
    })
}
