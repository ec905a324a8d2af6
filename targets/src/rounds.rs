//! More blocks where those so far do not decide: rounds of one protocol, each in a fresh process, pooled.

use crate::measurement::{Conditions, Measurement};

/// Rounds that are taken before a verdict is "cannot tell".
pub const ROUNDS: usize = 3;

/// Takes rounds until `decided` by all of them together, whose number it is told, at most [`ROUNDS`].
///
/// A recording that gives the same blocks again adds nothing: what it gave already is the answer.
///
/// # Errors
/// What `take` returns.
pub fn in_rounds<E>(
    mut take: impl FnMut() -> Result<Measurement, E>,
    mut decided: impl FnMut(&Measurement, usize) -> bool,
) -> Result<Measurement, E> {
    let mut all = take()?;
    for rounds in 1..ROUNDS {
        if decided(&all, rounds) {
            break;
        }
        let more = take()?;
        let is_known = more.blocks.is_empty() || all.blocks.windows(more.blocks.len()).any(|it| it == more.blocks);
        if is_known {
            break;
        }
        all = all.pooled(more);
    }
    Ok(all)
}

impl Measurement {
    /// This round and a later one of the same model on the same board as one measurement: from the
    /// conditions before the first to those after the last, with the worse of what both saw.
    pub fn pooled(mut self, later: Self) -> Self {
        let worse = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        let hotter = self.after.temperature_millic.max(later.after.temperature_millic);
        let other_load = worse(self.after.other_load, later.after.other_load);
        self.after = Conditions { temperature_millic: hotter, other_load, ..later.after };
        self.protocol.blocks += later.protocol.blocks;
        self.protocol.min_samples += later.protocol.min_samples;
        self.warmup_runs += later.warmup_runs;
        self.warmup_settled &= later.warmup_settled;
        self.blocks.extend(later.blocks);
        self.load_peak_bytes = self.load_peak_bytes.max(later.load_peak_bytes);
        self.steady_peak_bytes = self.steady_peak_bytes.max(later.steady_peak_bytes);
        self
    }
}
