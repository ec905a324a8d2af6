//! The parts of measurements during which nobody else slowed the machine down.
//!
//! What another tenant does on the other half of a core lengthens CPU time too, here by up to 1.6
//! times for anything from milliseconds to minutes, and no counter of a virtual machine tells of it.
//! The reference network does: it never changes, and it runs beside every block.

use crate::{
    measurement::{Block, Measurement},
    stats::median_ns,
};

/// By how much of its fastest time the reference network may be slower beside a block that counts.
pub const QUIET: f64 = 0.05;

/// Blocks that are enough to go on.
const ENOUGH: usize = 3;

/// The fastest that the reference network was beside any block, in nanoseconds; `None` where it never ran.
pub fn fastest_reference<'a>(measurements: impl IntoIterator<Item = &'a Measurement>) -> Option<f64> {
    let blocks = measurements.into_iter().flat_map(|it| &it.blocks);
    blocks.filter_map(reference).min_by(f64::total_cmp)
}

/// The fastest and the slowest that the reference network was beside a block, in nanoseconds.
pub fn reference_range(measurement: &Measurement) -> Option<[f64; 2]> {
    let slowest = measurement.blocks.iter().filter_map(reference).max_by(f64::total_cmp)?;
    Some([fastest_reference([measurement])?, slowest])
}

/// Whether enough blocks of these takes of one network were quiet, on a machine where the reference
/// network takes `fastest` nanoseconds.
pub fn is_enough(takes: &[Measurement], fastest: f64) -> bool {
    let blocks = takes.iter().flat_map(|it| &it.blocks);
    let all = takes.iter().map(|it| it.blocks.len()).max().unwrap_or(0);
    ENOUGH.min(all) <= blocks.filter(|block| is_quiet(block, fastest)).count()
}

/// The last take with the quiet blocks of all of them; where no block was quiet, the one that was
/// nearest to it. `None` without takes.
pub fn quiet(takes: Vec<Measurement>, fastest: f64) -> Option<Measurement> {
    let nearest = fastest_reference(&takes).map_or(fastest, |own| own.max(fastest));
    let blocks: Vec<Block> =
        takes.iter().flat_map(|it| &it.blocks).filter(|it| is_quiet(it, fastest)).cloned().collect();
    let blocks = if blocks.is_empty() {
        takes.iter().flat_map(|it| &it.blocks).filter(|it| reference(it) == Some(nearest)).cloned().collect()
    } else {
        blocks
    };
    Some(Measurement { blocks, ..takes.into_iter().next_back()? })
}

/// A block beside which the reference network did not run is taken as it is.
fn is_quiet(block: &Block, fastest: f64) -> bool {
    reference(block).is_none_or(|it| it <= fastest * (1.0 + QUIET))
}

fn reference(block: &Block) -> Option<f64> {
    median_ns(&block.reference_ns)
}
