//! Does a regression check catch slowdowns, and nothing else?

use targets::{Measurement, Regression, Verdict, regression, verdict::holm};

use crate::simulated::{Noise, QUIET, Random, measure, samples};

/// Shares of failures and of "cannot tell" when the second of two runs is slower by `slowdown`.
fn rates(slowdown: f64, noise: Noise, n_runs: usize) -> (f64, f64) {
    let mut random = Random(7);
    let (mut failed, mut undecided) = (0, 0);
    for _ in 0..n_runs {
        let before = measure(&mut random, 0.010, 10, 40, noise);
        let after = measure(&mut random, 0.010 * (1.0 + slowdown), 10, 40, noise);
        match regression(&before, &after).verdict {
            Verdict::Fail => failed += 1,
            Verdict::CannotTell => undecided += 1,
            Verdict::Pass => {}
        }
    }
    (failed as f64 / n_runs as f64, undecided as f64 / n_runs as f64)
}

/// The promise: at most one false alarm in 200; 10 % caught at least 95 times in 100, 5 % at
/// least 80 times.
#[test]
fn the_promised_rates_hold() {
    let rough = Noise { run: 0.005, block: 0.015, sample: 0.03, interrupts: 0.05 };
    for (name, noise) in [("quiet", QUIET), ("rough", rough)] {
        let (false_alarms, undecided) = rates(0.0, noise, 1_000);
        assert!(false_alarms <= 1.0 / 200.0, "{name}: {false_alarms} false alarms");
        assert!(undecided < 0.5, "{name}: {undecided} of the A/A runs undecided");
        let (caught, _) = rates(0.10, noise, 300);
        assert!(0.95 <= caught, "{name}: {caught} of 10 % slowdowns caught");
        let (caught, _) = rates(0.05, noise, 300);
        assert!(0.80 <= caught, "{name}: {caught} of 5 % slowdowns caught");
        let (alarms, _) = rates(-0.10, noise, 300);
        assert!(alarms == 0.0, "{name}: a speed-up is no regression");
    }
}

#[test]
fn a_throttled_or_noisy_board_never_passes() {
    let mut random = Random(3);
    let before = measure(&mut random, 0.010, 10, 40, QUIET);
    let check = |change: &dyn Fn(&mut Measurement), verdict| {
        let mut after = before.clone();
        change(&mut after);
        assert_eq!(regression(&before, &after).verdict, verdict);
        assert_eq!(regression(&after, &before).verdict, verdict);
    };
    check(&|_| {}, Verdict::Pass);
    check(&|it| it.after.throttled = Some(0x4), Verdict::CannotTell);
    check(&|it| it.after.other_load = Some(0.3), Verdict::CannotTell);
    check(&|it| it.after.governor = Some("powersave".into()), Verdict::CannotTell);
    check(&|it| it.reach = targets::Reach::Emulated, Verdict::CannotTell);
    check(&|it| it.blocks.clear(), Verdict::CannotTell);
    check(&|it| it.blocks.truncate(2), Verdict::CannotTell);
    // The same governor both times compares like with like.
    let mut saving = before.clone();
    saving.after.governor = Some("powersave".into());
    assert_eq!(regression(&saving, &saving.clone()).verdict, Verdict::Pass);
}

#[test]
fn estimates_are_those_of_the_textbook() {
    // Five blocks against five, all slower by 10 %: every pair agrees in sign, p = 1 / C(10, 5).
    let before: Vec<[u64; 1]> = [1000, 1001, 1002, 1003, 1004].map(|ns| [ns]).to_vec();
    let after: Vec<[u64; 1]> = [1100, 1101, 1102, 1103, 1104].map(|ns| [ns]).to_vec();
    let take = |rows: &[[u64; 1]]| samples(&rows.iter().map(<[u64; 1]>::as_slice).collect::<Vec<_>>());
    let found = regression(&take(&before), &take(&after));
    assert!((found.p - 1.0 / 252.0).abs() < 1e-12, "{found:?}");
    assert!((found.shift - (1102.0 / 1002.0 - 1.0)).abs() < 1e-9, "{found:?}");
    assert!(found.interval.0 < found.shift && found.shift < found.interval.1, "{found:?}");
    assert_eq!(found.verdict, Verdict::Fail);
    // The other way round every pair disagrees.
    let found = regression(&take(&after), &take(&before));
    assert!((found.p - 1.0).abs() < 1e-12 && found.shift < -0.09, "{found:?}");
    assert_eq!(found.verdict, Verdict::Pass);
    // Ties all through: no evidence.
    let same = regression(&take(&[[1000]; 6]), &take(&[[1000]; 6]));
    assert_eq!((same.p, same.shift, same.verdict), (1.0, 0.0, Verdict::Pass));
    // Four against four cannot reach p < 0.005: 1 / C(8, 4) = 0.014.
    let few = regression(&take(&before[..4]), &take(&after[..4]));
    assert!((few.p - 1.0 / 70.0).abs() < 1e-12, "{few:?}");
    assert_eq!(few.verdict, Verdict::CannotTell);
}

#[test]
fn holm_asks_more_of_several() {
    let of = |p| Regression { verdict: Verdict::Fail, shift: 0.1, interval: (0.05, 0.15), p };
    let check = |ps: &[f64], kept: &[bool]| {
        let mut regressions: Vec<Regression> = ps.iter().map(|&p| of(p)).collect();
        holm(&mut regressions);
        let failed: Vec<bool> = regressions.iter().map(|it| it.verdict == Verdict::Fail).collect();
        assert_eq!(failed, kept, "{ps:?}");
    };
    check(&[0.004], &[true]);
    check(&[0.004, 0.0001], &[true, true]);
    check(&[0.004, 0.003], &[false, false]);
    check(&[0.004, 0.0001, 0.5], &[false, true, false]);
    check(&[], &[]);
}
