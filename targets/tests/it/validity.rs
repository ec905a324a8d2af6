//! Is a measurement refused when, and only when, its conditions spoil it?

use targets::{Allow, Measurement, Reach};

use crate::simulated::samples;

const STRICT: Allow = Allow { noisy: false, governor: false };

/// Applies `change` to a good measurement and expects these words, one entry a reason.
fn check(allow: Allow, change: impl Fn(&mut Measurement), reasons: &[&str]) {
    let mut measurement = samples(&[&[100, 101, 102], &[100, 101, 102], &[100, 101, 103]]);
    change(&mut measurement);
    let found = measurement.invalid(&allow);
    assert_eq!(found.len(), reasons.len(), "{found:?} for {reasons:?}");
    for (reason, words) in found.iter().zip(reasons) {
        assert!(reason.to_string().contains(words), "{reason} does not say {words:?}");
    }
}

fn notes(allow: Allow, change: impl Fn(&mut Measurement)) -> Vec<String> {
    let mut measurement = samples(&[&[100, 101, 102]]);
    change(&mut measurement);
    measurement.notes(&allow).iter().map(ToString::to_string).collect()
}

#[test]
fn every_rule_has_its_limit() {
    check(STRICT, |_| {}, &[]);
    check(STRICT, |it| it.blocks.clear(), &["no run was timed"]);
    check(STRICT, |it| it.reach = Reach::Emulated, &["emulator"]);
    check(STRICT, |it| it.reach = Reach::Local, &[]);
    check(STRICT, |it| it.reach = Reach::Recorded, &[]);
    // Frequency, limit 5 %.
    check(STRICT, |it| it.after.frequency_khz = Some(1_575_000), &[]);
    check(STRICT, |it| it.after.frequency_khz = Some(1_590_000), &["moved by 6.0 % (limit 5 %)"]);
    check(STRICT, |it| it.after.frequency_khz = Some(600_000), &["moved by 60.0 %"]);
    // Calibration, limit 3 % from the median block; one slow run of five is not drift.
    check(STRICT, |it| it.blocks[1].calibration_ns = vec![1_030_000; 5], &[]);
    check(STRICT, |it| it.blocks[1].calibration_ns = vec![1_040_000; 5], &["drifted by 4.0 % (limit 3 %)"]);
    check(STRICT, |it| it.blocks[0].calibration_ns = vec![950_000; 5], &["drifted by 5.0 %"]);
    check(STRICT, |it| it.blocks[2].calibration_ns[4] = 9_000_000, &[]);
    // Other load, limit 5 % during the run; before it does not matter.
    check(STRICT, |it| it.after.other_load = Some(0.05), &[]);
    check(STRICT, |it| it.after.other_load = Some(0.07), &["took 7.0 % of the cores used (limit 5 %)"]);
    check(STRICT, |it| it.before.other_load = Some(0.9), &[]);
    // Spread, limit 10 %.
    check(STRICT, |it| it.blocks[0].wall_ns = vec![95, 100, 100, 105], &[]);
    check(STRICT, |it| it.blocks.iter_mut().for_each(|it| it.wall_ns = vec![80, 100, 120]), &["(limit 10 %)"]);
    // Governor.
    check(STRICT, |it| it.before.governor = Some("ondemand".into()), &["\"ondemand\", not \"performance\""]);
    check(STRICT, |it| it.after.governor = Some("powersave".into()), &["\"powersave\""]);
}

#[test]
fn throttling_during_the_run_is_told_from_throttling_before_it() {
    let throttled = |before: u32, after: u32, reasons: &[&str]| {
        let change = |it: &mut Measurement| {
            it.before.throttled = Some(before);
            it.after.throttled = Some(after);
        };
        check(STRICT, change, reasons);
        // No flag allows a throttled board.
        check(Allow { noisy: true, governor: true }, change, reasons);
    };
    throttled(0, 0, &[]);
    throttled(0, 0x4, &["bits 0x00004"]);
    throttled(0x1, 0, &["bits 0x00001"]);
    throttled(0, 0x4_0000, &["bits 0x40000"]);
    // It happened once since boot, before this run.
    throttled(0x5_0000, 0x5_0000, &[]);
    throttled(0x1_0000, 0x5_0000, &["bits 0x40000"]);
}

#[test]
fn what_is_allowed_is_still_told() {
    let noisy = Allow { noisy: true, governor: false };
    let slow = |it: &mut Measurement| {
        it.after.other_load = Some(0.5);
        it.after.governor = Some("powersave".into());
    };
    check(STRICT, slow, &["50.0 %", "powersave"]);
    check(noisy, slow, &["powersave"]);
    check(Allow { noisy: false, governor: true }, slow, &["50.0 %"]);
    check(Allow { noisy: true, governor: true }, slow, &[]);
    check(Allow { noisy: true, governor: true }, |it| it.reach = Reach::Emulated, &["emulator"]);
    let told = notes(Allow { noisy: true, governor: true }, slow);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("allowed: other processes took 50.0 %"), "{told:?}");
    assert!(told[1].starts_with("allowed: the governor is \"powersave\""), "{told:?}");
}

#[test]
fn what_a_machine_does_not_tell_is_a_note() {
    let silent = |it: &mut Measurement| {
        it.before = targets::Conditions::default();
        it.after = targets::Conditions::default();
        it.blocks[0].calibration_ns.clear();
    };
    check(STRICT, |it| it.before.frequency_khz = None, &[]);
    check(STRICT, |it| (it.before.governor, it.after.governor) = (None, None), &[]);
    let told = notes(STRICT, silent);
    let what = ["frequency", "governor", "throttling", "load of other processes", "calibration"];
    assert_eq!(told, what.map(|what| format!("{what} unknown: this machine does not tell it")));
    assert_eq!(notes(STRICT, |_| {}), Vec::<String>::new());
}

#[test]
fn a_short_measurement_says_so() {
    let told = notes(STRICT, |it| {
        it.warmup_settled = false;
        it.protocol = targets::Protocol::default();
    });
    assert_eq!(told[0], "warm-up ended after 60 runs without settling");
    assert_eq!(told[1], "3 samples in 1 blocks where the protocol wants 1024 in 10");
}
