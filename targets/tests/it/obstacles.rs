//! Is everything that spoils a measurement named before one is taken?

use targets::{
    Block, Conditions, Measurement, Target,
    obstacles::{capped, neighbour, obstacles},
};

use crate::simulated::samples;

fn calm() -> Conditions {
    Conditions {
        governor: Some("performance".into()),
        frequency_khz: Some(1_500_000),
        frequency_range_khz: Some((600_000, 1_500_000)),
        temperature_millic: Some(48_000),
        throttled: Some(0),
        load_average: Some(0.1),
        other_load: Some(0.01),
        free_memory_bytes: Some(1 << 30),
        ..Conditions::default()
    }
}

#[test]
fn each_obstacle_is_named_with_its_remedy() {
    let check = |change: fn(&mut Conditions), words: &[&str]| {
        let mut now = calm();
        change(&mut now);
        let found = obstacles(&now);
        let told: Vec<String> = found.iter().map(|it| format!("{} | {} | {}", it.found, it.why, it.mend)).collect();
        assert_eq!(found.len(), usize::from(!words.is_empty()), "{told:?}");
        for word in words {
            assert!(told[0].contains(word), "no {word:?} in {told:?}");
        }
    };
    check(|_| {}, &[]);
    check(|it| *it = Conditions::default(), &[]);
    check(|it| it.governor = Some("ondemand".into()), &["ondemand", "refused", "performance"]);
    check(|it| it.throttled = Some(1 << 0), &["voltage", "bit 0", "5.1 V"]);
    check(|it| it.throttled = Some(1 << 1), &["capped", "bit 1"]);
    check(|it| it.throttled = Some(1 << 2), &["throttles", "bit 2", "cool"]);
    check(|it| it.throttled = Some(1 << 3), &["temperature limit", "bit 3"]);
    check(|it| it.throttled = Some(1 << 16), &["voltage", "since", "bit 16", "5.1 V"]);
    check(|it| it.throttled = Some((1 << 16) | 1), &["bit 0"]);
    check(|it| it.temperature_millic = Some(72_000), &["72.0 °C", "heat sink"]);
    check(|it| it.frequency_khz = Some(600_000), &["0.60 of 1.50 GHz", "governor"]);
    check(|it| it.other_load = Some(0.2), &["20 %", "top"]);
    check(|it| it.load_average = Some(1.7), &["1.70", "stop it"]);
    check(|it| it.free_memory_bytes = Some(50 << 20), &["50 MiB", "swap"]);
}

#[test]
fn a_board_slower_than_its_kind_is_named() {
    let rpi4 = Target::find("rpi4").expect("it is built in");
    let check = |max_khz: Option<u64>, expected: bool| {
        let now = Conditions { frequency_range_khz: max_khz.map(|it| (600_000, it)), ..calm() };
        assert_eq!(capped(&now, &rpi4).is_some(), expected, "{max_khz:?}");
    };
    check(Some(1_500_000), false);
    check(Some(1_800_000), false);
    check(Some(1_200_000), true);
    check(None, false);
    let found = capped(&Conditions { frequency_range_khz: Some((1, 1_200_000)), ..calm() }, &rpi4).expect("it is slow");
    assert_eq!(found.found, "the clock ends at 1.20 GHz, that of rpi4 at 1.50 GHz");
}

#[test]
fn a_neighbour_is_seen_by_the_reference_network() {
    let taken = |us: &[u64]| {
        let block = |us: &u64| Block { reference_ns: vec![us * 1000; 5], ..Block::default() };
        Measurement { blocks: us.iter().map(block).collect(), ..samples(&[]) }
    };
    assert_eq!(neighbour(&taken(&[340, 345, 350])), None);
    assert_eq!(neighbour(&taken(&[])), None);
    let found = neighbour(&taken(&[340, 470, 345])).expect("it is slower by a third");
    assert_eq!(found.found, "the reference network took 0.34 to 0.47 ms");
}
