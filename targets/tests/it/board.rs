//! Are two measurements compared only where the board was the same?

use targets::{Board, Conditions, Measurement, differences};

use crate::simulated::samples;

fn on_a_board() -> Measurement {
    let conditions = Conditions {
        cpu: "Raspberry Pi 4 Model B Rev 1.4".into(),
        cores: 4,
        kernel: "6.6.31-v8".into(),
        frequency_range_khz: Some((600_000, 1_500_000)),
        governor: Some("performance".into()),
        ..Conditions::default()
    };
    let (before, after) = (conditions.clone(), conditions);
    let mut measurement = Measurement { before, after, ..samples(&[&[100, 101, 102], &[100, 101, 102]]) };
    measurement.blocks.iter_mut().for_each(|it| it.reference_ns = vec![500_000; 5]);
    measurement
}

#[test]
fn a_fingerprint_is_the_boards_and_never_changes() {
    let board = Board::of(&on_a_board());
    // FNV-1a of "kitchen\0Raspberry Pi 4 Model B Rev 1.4\x004\x006.6.31-v8\x001500000 kHz\0".
    assert_eq!(board.fingerprint(), "acff51f3338a7309");
    let check = |change: &dyn Fn(&mut Board)| {
        let mut other = board.clone();
        change(&mut other);
        assert_ne!(other.fingerprint(), board.fingerprint(), "{other:?}");
    };
    check(&|it| it.name = "garage".into());
    check(&|it| it.cpu.push('5'));
    check(&|it| it.cores = 2);
    check(&|it| it.kernel = "6.12.0-v8".into());
    check(&|it| it.max_frequency_khz = Some(1_800_000));
    check(&|it| it.max_frequency_khz = None);
    // Fields end where they end.
    check(&|it| (it.name, it.cpu) = (format!("{}{}", it.name, &it.cpu[..1]), it.cpu[1..].into()));
}

#[test]
fn what_differs_is_named() {
    let check = |change: &dyn Fn(&mut Measurement), words: &[&str]| {
        let (baseline, mut now) = (on_a_board(), on_a_board());
        change(&mut now);
        let found: Vec<String> = differences(&baseline, &now).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), words.len(), "{found:?} for {words:?}");
        assert!(found.iter().zip(words).all(|(found, words)| found.contains(words)), "{found:?} for {words:?}");
    };
    check(&|_| {}, &[]);
    // Heat, load and what is free are conditions of one measurement, not the board.
    check(&|it| it.before.temperature_millic = Some(60_000), &[]);
    check(&|it| it.model_sha256 = "another".into(), &[]);
    check(&|it| it.engine = "tract 0.24.0".into(), &[]);
    check(&|it| it.device = "garage".into(), &["its name is \"garage\", not \"kitchen\""]);
    check(&|it| it.before.kernel = "6.12.0".into(), &["its kernel is \"6.12.0\", not \"6.6.31-v8\""]);
    check(&|it| it.before.cores = 3, &["its number of cores is \"3\", not \"4\""]);
    check(&|it| it.before.frequency_range_khz = None, &["highest frequency is \"unknown\""]);
    check(&|it| it.protocol.threads = 4, &["4 threads where the baseline had 1"]);
    // The clock told nothing; the kernel of multiplications does. Limit 3 %.
    let calibrate =
        |ns| move |it: &mut Measurement| it.blocks.iter_mut().for_each(|it| it.calibration_ns = vec![ns; 5]);
    check(&calibrate(1_029_000), &[]);
    check(&calibrate(1_040_000), &["changed by +4.0 % since the baseline (limit 3 %)"]);
    check(&calibrate(600_000), &["changed by -40.0 %"]);
    check(&|it| it.blocks.iter_mut().for_each(|it| it.calibration_ns.clear()), &[]);
    // A neighbour on the core's other half leaves the multiplications alone, and no network. Limit 10 %.
    let refer = |ns| move |it: &mut Measurement| it.blocks.iter_mut().for_each(|it| it.reference_ns = vec![ns; 5]);
    check(&refer(545_000), &[]);
    check(&refer(560_000), &["changed by +12.0 % since the baseline (limit 10 %)"]);
    check(&refer(400_000), &["the reference network's time changed by -20.0 %"]);
    check(&|it| it.blocks.iter_mut().for_each(|it| it.reference_ns.clear()), &[]);
    check(
        &|it| {
            (it.engine, it.blocks[0].reference_ns, it.blocks[1].reference_ns) =
                ("tract 0.24.0".into(), vec![1], vec![1])
        },
        &[],
    );
}

#[test]
fn a_baseline_must_be_evidence_itself() {
    let mut noisy = on_a_board();
    noisy.after.other_load = Some(0.3);
    let found = differences(&noisy, &on_a_board());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].to_string().starts_with("the baseline is invalid: other processes took 30.0 %"), "{}", found[0]);
    // The same governor both times compares like with like.
    let saving = |mut it: Measurement| {
        (it.before.governor, it.after.governor) = (Some("powersave".into()), Some("powersave".into()));
        it
    };
    assert_eq!(differences(&saving(on_a_board()), &saving(on_a_board())), []);
    assert_eq!(differences(&saving(on_a_board()), &on_a_board()).len(), 1);
}
