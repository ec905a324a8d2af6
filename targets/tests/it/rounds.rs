//! Are blocks added until they decide, and never counted twice?

use targets::{Measurement, in_rounds};

use crate::simulated::samples;

/// Takes these rounds, one run each, until `enough` blocks are there: blocks found, and rounds taken.
fn check(rounds: &[u64], enough: usize, n_blocks: usize, n_taken: usize) {
    let mut taken = 0;
    let mut told = Vec::new();
    let take = || {
        taken += 1;
        rounds.get(taken - 1).map(|&ns| samples(&[&[ns, ns], &[ns + 1, ns]])).ok_or("no more rounds")
    };
    let found = in_rounds(take, |it, rounds| {
        told.push(rounds);
        enough <= it.blocks.len()
    });
    assert_eq!((found.map(|it| it.blocks.len()), taken), (Ok(n_blocks), n_taken), "{rounds:?}");
    assert_eq!(told, (1..=told.len()).collect::<Vec<_>>());
}

#[test]
fn rounds_end_when_they_decide_or_repeat() {
    check(&[10], 2, 2, 1);
    check(&[10, 20], 3, 4, 2);
    check(&[10, 20, 30], 6, 6, 3);
    // Three are the most.
    check(&[10, 20, 30, 40], 100, 6, 3);
    // A recording gives its last measurement again and again: that is no new evidence.
    check(&[10, 10], 100, 2, 2);
    check(&[10, 20, 20], 100, 4, 3);
    check(&[10, 20, 10], 100, 4, 3);
    assert_eq!(in_rounds(|| Err("no board"), |_, _| true), Err("no board"));
    // Nothing timed, nothing new.
    let empty = || Ok::<_, ()>(samples(&[]));
    assert_eq!(in_rounds(empty, |_, _| false).map(|it| it.blocks.len()), Ok(0));
}

#[test]
fn the_worse_of_both_rounds_is_kept() {
    let with = |change: &dyn Fn(&mut Measurement)| {
        let mut it = samples(&[&[10, 11], &[10, 12]]);
        change(&mut it);
        it
    };
    let first = with(&|it| {
        (it.after.other_load, it.after.temperature_millic) = (Some(0.04), Some(61_000));
        (it.before.frequency_khz, it.after.frequency_khz) = (Some(1_400_000), Some(1_500_000));
        (it.load_peak_bytes, it.steady_peak_bytes) = (9, 5);
    });
    let later = with(&|it| {
        (it.after.other_load, it.after.temperature_millic) = (Some(0.01), Some(58_000));
        (it.load_peak_bytes, it.steady_peak_bytes) = (8, 6);
        it.warmup_settled = false;
    });
    let both = first.clone().pooled(later.clone());
    assert_eq!(both.blocks, [first.blocks, later.blocks].concat());
    assert_eq!((both.before.frequency_khz, both.after.frequency_khz), (Some(1_400_000), Some(1_500_000)));
    assert_eq!((both.after.other_load, both.after.temperature_millic), (Some(0.04), Some(61_000)));
    assert_eq!((both.load_peak_bytes, both.steady_peak_bytes), (9, 6));
    assert_eq!((both.protocol.blocks, both.protocol.min_samples, both.warmup_runs), (2, 2, 120));
    assert!(!both.warmup_settled);
}
