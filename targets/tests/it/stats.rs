//! Do statistics say what the samples say, and do intervals cover the truth?

use targets::{Metric, Reach, Source, stats::spearman};

use crate::simulated::{Noise, QUIET, Random, measure, samples};

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
}

#[test]
fn order_statistics_are_those_of_the_textbook() {
    let hundred: Vec<u64> = (1..=101).map(|ms| ms * 1_000_000).collect();
    let summary = samples(&[&hundred[..50], &hundred[50..]]).summary().expect("there are samples");
    assert_eq!(summary.n, 101);
    close(summary.min, 0.001);
    close(summary.p50, 0.051);
    close(summary.p90, 0.091);
    close(summary.p99, 0.100);
    close(summary.mean, 0.051);
    close(summary.mad, 0.025);
    close(summary.iqr_over_median, 50.0 / 51.0);
    assert_eq!(summary.n_outliers, 0);
    // Between order statistics the quantile is interpolated.
    let four = samples(&[&[1, 2], &[3, 10]]).summary().expect("there are samples");
    close(four.p50, 2.5e-9);
    close(four.p90, 7.9e-9);
    assert_eq!(samples(&[]).summary(), None);
    assert_eq!(samples(&[&[], &[]]).summary(), None);
}

#[test]
fn outliers_are_counted_by_the_modified_z_score() {
    let check = |ns: &[u64], outliers| {
        assert_eq!(samples(&[ns]).summary().expect("there are samples").n_outliers, outliers, "{ns:?}");
    };
    // Median 102, median deviation 1: the limit is 3.5 / 0.6745 = 5.19 away.
    check(&[100, 101, 102, 103, 104], 0);
    check(&[100, 101, 101, 102, 102, 103, 103, 107], 0);
    check(&[100, 101, 101, 102, 102, 103, 103, 108], 1);
    check(&[96, 101, 101, 102, 102, 103, 103, 108], 2);
    // With no spread at all, whatever differs is one.
    check(&[5, 5, 5, 5, 9], 1);
    check(&[5, 5, 5, 5, 5], 0);
}

#[test]
fn an_interval_holds_its_value_and_repeats() {
    let measurement = measure(&mut Random(1), 0.012, 10, 103, QUIET);
    let figure = measurement.figure(0.9).expect("there are samples");
    let summary = measurement.summary().expect("there are samples");
    assert_eq!((figure.value, figure.low, figure.high), (summary.p90, summary.p90_ci.0, summary.p90_ci.1));
    assert!(summary.p50_ci.0 < summary.p50 && summary.p50 < summary.p50_ci.1);
    assert!(summary.p90_ci.0 < summary.p90 && summary.p90 < summary.p90_ci.1);
    assert!(figure.high - figure.low < 0.03 * figure.value, "{}", figure.describe(Metric::Latency));
    assert_eq!(figure.source, Source::Measured { on: "rpi4 (kitchen)".into(), samples: 1_030 });
    assert_eq!(measurement.summary(), measurement.clone().summary());
    // One block says nothing about the next: its extremes are the interval.
    let one = samples(&[&[10, 11, 12, 13, 19]]).figure(0.5).expect("there are samples");
    assert_eq!((one.low, one.high), (10.0 * 1e-9, 19.0 * 1e-9));
}

#[test]
fn an_emulators_time_is_no_latency() {
    let mut measurement = samples(&[&[10, 11, 12]]);
    measurement.reach = Reach::Emulated;
    assert_eq!(measurement.figure(0.9), None);
    assert!(measurement.summary().is_some());
}

/// How often the 95 % interval holds the truth, when blocks differ more than their samples.
#[test]
fn intervals_cover_the_truth() {
    let noise = Noise { run: 0.0, block: 0.02, sample: 0.01, interrupts: 0.0, ..QUIET };
    for (n_blocks, least) in [(5, 0.90), (10, 0.92), (30, 0.92)] {
        let (mut covered, mut random) = (0, Random(n_blocks as u64));
        for _ in 0..200 {
            let figure = measure(&mut random, 0.010, n_blocks, 20, noise).figure(0.5).expect("there are samples");
            covered += usize::from(figure.low <= 0.010 && 0.010 <= figure.high);
        }
        let share = covered as f64 / 200.0;
        assert!((least..=1.0).contains(&share), "{n_blocks} blocks: {share}");
    }
}

#[test]
fn ranks_correlate() {
    let check = |left: &[f64], right: &[f64], expected: Option<f64>| match (spearman(left, right), expected) {
        (Some(found), Some(expected)) => close(found, expected),
        (found, expected) => assert_eq!(found, expected),
    };
    check(&[1.0, 2.0, 3.0], &[10.0, 100.0, 1000.0], Some(1.0));
    check(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0], Some(-1.0));
    // 1 - 6 (1 + 1) / (4 * 15)
    check(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 3.0, 4.0], Some(0.8));
    // Ties: ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4 give 4.5 / sqrt(4.5 * 5).
    check(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0], Some(4.5 / 22.5_f64.sqrt()));
    check(&[1.0, 1.0], &[1.0, 2.0], None);
    check(&[1.0], &[1.0], None);
    check(&[], &[], None);
}
