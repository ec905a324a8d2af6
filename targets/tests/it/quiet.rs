//! Which parts of measurements count on a machine that others share.

use targets::{
    Block, Measurement,
    quiet::{fastest_reference, is_enough, quiet},
};

use crate::simulated::samples;

/// Blocks by the time of their reference network, in microseconds; their runs take ten times as long.
fn take(reference_us: &[u64]) -> Measurement {
    let block = |us: &u64| Block {
        wall_ns: vec![us * 10_000; 4],
        cpu_ns: vec![us * 10_000; 4],
        reference_ns: if *us == 0 { Vec::new() } else { vec![us * 1000, us * 1000, us * 1500] },
        calibration_ns: vec![400_000; 3],
        preemptions: 0,
    };
    Measurement { blocks: reference_us.iter().map(block).collect(), ..samples(&[]) }
}

/// Times of the runs that count, in microseconds.
fn counted(takes: &[&[u64]], fastest: f64) -> Vec<u64> {
    let takes = takes.iter().map(|it| take(it)).collect();
    let measurement = quiet(takes, fastest).expect("there is a take");
    measurement.blocks.iter().map(|block| block.wall_ns[0] / 1000).collect()
}

#[test]
fn blocks_beside_a_fast_reference_count() {
    assert_eq!(fastest_reference(&[take(&[150, 100]), take(&[120])]), Some(100_000.0));
    assert_eq!(fastest_reference(&[take(&[0])]), None);
    // 105 is within 5 % of 100, 106 is not.
    assert_eq!(counted(&[&[100, 150, 105], &[106, 101]], 100_000.0), [1000, 1050, 1010]);
    // Where none is quiet, the nearest is all there is.
    assert_eq!(counted(&[&[150, 140], &[160]], 100_000.0), [1400]);
    // Without a reference nothing is known against a block.
    assert_eq!(counted(&[&[0, 150]], 100_000.0), [0]);
}

#[test]
fn three_quiet_blocks_are_enough() {
    let check = |takes: &[&[u64]], expected| {
        let takes: Vec<Measurement> = takes.iter().map(|it| take(it)).collect();
        assert_eq!(is_enough(&takes, 100_000.0), expected, "{takes:?}");
    };
    check(&[&[100, 100, 150, 150, 150]], false);
    check(&[&[100, 100, 100, 150, 150]], true);
    check(&[&[100, 100, 150], &[150, 100, 150]], true); // from two takes
    check(&[&[100]], true); // a slow network has but one block
    check(&[&[150]], false);
}
