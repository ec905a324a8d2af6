//! Do verdicts catch what they promise to, and nothing else? By simulation, and by hand.
#![expect(clippy::print_stdout, reason = "figures are worth reading")]

use targets::{
    Allow, Bound, Measurement, Metric, Regression, Verdict, against_bound, in_rounds, regression, verdict::holm,
};

use crate::simulated::{NOISES, Noise, QUIET, Random, measure, measure_throttled, samples};

/// Ten blocks of forty runs, in a process of its own; taken again, three times in all, where it is invalid.
fn round(random: &mut Random, seconds: f64, noise: Noise) -> Measurement {
    let mut tries = (0..3).map(|_| measure(random, seconds, 10, 40, noise));
    let first = tries.next().expect("there are three");
    let is_valid = |it: &Measurement| it.invalid(&Allow::default()).is_empty();
    if is_valid(&first) { first } else { tries.find(is_valid).unwrap_or(first) }
}

/// A model compared with a baseline that it is slower than by `slowdown`, in as many rounds as that takes.
fn compare(random: &mut Random, slowdown: f64, noise: Noise, n_models: usize) -> Regression {
    let baseline = round(random, 0.010, noise);
    let take = || Ok::<_, ()>(round(random, 0.010 * (1.0 + slowdown), noise));
    let is_settled = |it: &Measurement, rounds| regression(&baseline, it).is_settled(rounds, n_models);
    regression(&baseline, &in_rounds(take, is_settled).expect("a simulation does not fail"))
}

/// Shares of failures and of "cannot tell" in `n` comparisons.
fn rates(slowdown: f64, noise: Noise, n: usize) -> (f64, f64) {
    let mut random = Random(7);
    let verdicts: Vec<Verdict> = (0..n).map(|_| compare(&mut random, slowdown, noise, 1).verdict).collect();
    let share = |verdict| verdicts.iter().filter(|&&it| it == verdict).count() as f64 / n as f64;
    (share(Verdict::Fail), share(Verdict::CannotTell))
}

/// The promise: of 200 comparisons of a model with itself at most one fails; slowdowns by 10 % are caught
/// at least 95 times in 100, by 5 % at least 80 times. [`Noise`] says what the boards are like.
#[test]
fn the_promised_rates_hold() {
    for (name, noise) in NOISES {
        let (false_alarms, undecided) = rates(0.0, noise, 400);
        let (caught_10, _) = rates(0.10, noise, 200);
        let (caught_5, _) = rates(0.05, noise, 200);
        let (faster, _) = rates(-0.10, noise, 100);
        println!(
            "{name}: {:.2} % false alarms, {:.1} % undecided, {:.1} % of 10 % and {:.1} % of 5 % slowdowns caught",
            100.0 * false_alarms,
            100.0 * undecided,
            100.0 * caught_10,
            100.0 * caught_5
        );
        assert!(false_alarms <= 1.0 / 200.0, "{name}: {false_alarms} false alarms");
        assert!(undecided <= 0.1, "{name}: {undecided} of the comparisons with itself undecided");
        assert!(0.95 <= caught_10, "{name}: {caught_10} of 10 % slowdowns caught");
        assert!(0.80 <= caught_5, "{name}: {caught_5} of 5 % slowdowns caught");
        assert!(faster == 0.0, "{name}: a speed-up is no regression");
    }
}

/// Five models at once: one false alarm among them counts, and Holm's correction keeps those rare too.
#[test]
fn several_models_raise_no_more_false_alarms() {
    for (name, noise) in NOISES {
        let mut random = Random(5);
        let mut family = || {
            let mut found: Vec<Regression> = (0..5).map(|_| compare(&mut random, 0.0, noise, 5)).collect();
            holm(&mut found);
            found.iter().any(|it| it.verdict == Verdict::Fail)
        };
        let alarms = (0..200).filter(|_| family()).count();
        assert!(alarms <= 1, "{name}: {alarms} false alarms in 200 comparisons of five models");
    }
}

/// A model 3 % over its bound does not pass and one 3 % within does not fail, each but for one in 200, and
/// most of those 5 % within pass. The truth is the long run on the board when nothing else strikes it.
#[test]
fn budgets_are_kept() {
    let (mut wrong, mut passed, mut n) = (0, 0, 0);
    for (_, noise) in NOISES {
        let mut random = Random(11);
        let truth = true_p90(&mut random, Noise { odd_blocks: 0.0, ..noise });
        let mut verdict = |room: f64| {
            let bound = Bound { metric: Metric::Latency, min: None, max: Some(truth * (1.0 + room)), hard: true };
            let judge = |it: &Measurement| against_bound(&it.figure(0.9).expect("there are samples"), &bound);
            let take = || Ok::<_, ()>(round(&mut random, 0.010, noise));
            let is_settled = |it: &Measurement, rounds| judge(it).is_settled(rounds);
            judge(&in_rounds(take, is_settled).expect("a simulation does not fail"))
        };
        for _ in 0..30 {
            n += 1;
            wrong += usize::from(verdict(-0.03) == Verdict::Pass) + usize::from(verdict(0.03) == Verdict::Fail);
            passed += usize::from(verdict(0.05) == Verdict::Pass);
        }
    }
    assert!(200 * wrong <= 2 * n, "{wrong} of {} verdicts wrong", 2 * n);
    assert!(8 * n <= 10 * passed, "{passed} of {n} passed");
}

/// The 90th percentile of a model over 200 processes.
fn true_p90(random: &mut Random, noise: Noise) -> f64 {
    let runs = (0..200).flat_map(|_| round(random, 0.010, noise).blocks).flat_map(|block| block.wall_ns);
    samples(&[&runs.collect::<Vec<_>>()]).summary().expect("there are samples").p90
}

/// Throttled in the middle, told by nothing but the calibration kernel: no round of it is evidence, nor
/// does the comparison pass, either way round.
#[test]
fn a_board_that_throttles_never_passes() {
    for (name, noise) in NOISES {
        let mut random = Random(13);
        for _ in 0..200 {
            let steady = round(&mut random, 0.010, noise);
            let throttled = measure_throttled(&mut random, 0.010, 10, 40, noise);
            assert!(!throttled.invalid(&Allow::default()).is_empty(), "{name}");
            for (then, now) in [(&steady, &throttled), (&throttled, &steady), (&throttled, &throttled)] {
                assert_eq!(regression(then, now).verdict, Verdict::CannotTell, "{name}");
            }
        }
    }
}

#[test]
fn what_is_no_evidence_never_passes() {
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
    check(&|it| it.blocks.iter_mut().for_each(|it| it.wall_ns = vec![8_000_000, 12_000_000]), Verdict::CannotTell);
    check(&|it| it.device = "garage".into(), Verdict::CannotTell);
    check(&|it| it.before.kernel = "6.12.0".into(), Verdict::CannotTell);
    check(&|it| it.protocol.threads = 4, Verdict::CannotTell);
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
fn blocks_struck_by_other_work_are_set_aside() {
    let check = |before: &[u64], after: &[u64], set_aside, verdict| {
        let take = |blocks: &[u64]| samples(&blocks.iter().map(std::slice::from_ref).collect::<Vec<_>>());
        let found = regression(&take(before), &take(after));
        assert_eq!((found.set_aside, found.verdict), (set_aside, verdict), "{found:?}");
    };
    let calm = [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007];
    let slow = [1100, 1101, 1102, 1103, 1104, 1105, 1106, 1107];
    check(&calm, &slow, 0, Verdict::Fail);
    // Median 1003.5 and MAD 2 to 3: the limit is 3.5 / 0.6745 MAD, 10.4 to 15.6 away.
    check(&[1000, 1001, 1002, 1003, 1004, 1005, 1006, 1300], &slow, 1, Verdict::Fail);
    check(&[1000, 1001, 1002, 1003, 1004, 1005, 1250, 1300], &slow, 2, Verdict::Fail);
    // Never more than a quarter: three of eight are how the board is.
    check(&[1000, 1001, 1002, 1003, 1004, 1200, 1250, 1300], &slow, 2, Verdict::CannotTell);
    check(&calm, &[1000, 1001, 1002, 1003, 1004, 1005, 1006, 1300], 1, Verdict::Pass);
    check(&calm[..3], &[1100, 1101, 1900], 0, Verdict::CannotTell);
}

#[test]
fn a_failure_takes_two_processes() {
    let check = |verdict, p, rounds, n_models, expected| {
        let found = Regression { verdict, shift: 0.1, interval: (0.05, 0.15), p, set_aside: 0 };
        assert_eq!(found.is_settled(rounds, n_models), expected, "{found:?}");
    };
    check(Verdict::Pass, 0.5, 1, 9, true);
    check(Verdict::CannotTell, 0.5, 1, 1, false);
    check(Verdict::CannotTell, 0.5, 2, 1, false);
    check(Verdict::Fail, 0.004, 1, 1, false);
    check(Verdict::Fail, 0.004, 2, 1, true);
    // Of two at once the worse one must reach half the level.
    check(Verdict::Fail, 0.004, 2, 2, false);
    check(Verdict::Fail, 0.002, 2, 2, true);
}

#[test]
fn holm_asks_more_of_several() {
    let of = |p| Regression { verdict: Verdict::Fail, shift: 0.1, interval: (0.05, 0.15), p, set_aside: 0 };
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
