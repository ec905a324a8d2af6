//! Are the networks that calibrate a board worth measuring?

use search::probes::{plain, probes, random};
use targets::{CostModel, LatencyModel, Target, Work};

#[test]
fn probes_are_always_the_same_and_all_different() {
    let table = Target::find("rpi4").expect("it is built in").latency;
    let chosen = probes(&table, 20).expect("sizes fit");
    let again = probes(&table, 20).expect("sizes fit");
    let names =
        |probes: &[search::probes::Probe]| -> Vec<String> { probes.iter().map(|it| it.graph.fingerprint()).collect() };
    assert_eq!(names(&chosen), names(&again));
    let mut different = names(&chosen);
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 20);
    assert_eq!(chosen.iter().filter(|it| it.designed).count(), 10);
    let other = names(&random(50).expect("sizes fit"));
    assert!(names(&chosen).iter().all(|it| !other.contains(it)), "a checked network was seen before");
}

/// All work that the space has is in the probes, and they span its sizes.
#[test]
fn probes_span_the_space() {
    let target = Target::find("rpi4").expect("it is built in");
    let chosen = probes(&target.latency, 20).expect("sizes fit");
    for work in Work::ALL.into_iter().filter(|it| *it != Work::Concat) {
        let amounts = || chosen.iter().map(|it| it.features.get(work));
        let (least, most) = (amounts().fold(f64::INFINITY, f64::min), amounts().fold(0.0, f64::max));
        assert!(2.0 * least < most, "{work:?} is from {least} to {most}");
    }
    let model = CostModel::new(target).latency;
    let times = || chosen.iter().map(|it| model.predict(&it.features).value);
    let (least, most) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    assert!(50.0 * least < most, "from {least} to {most} s");
}

#[test]
fn plain_networks_have_what_the_space_lacks() {
    let table = Target::find("rpi4").expect("it is built in").latency;
    let plain = plain(12).expect("the image is large enough");
    let most =
        |probes: &[search::probes::Probe], work| probes.iter().map(|it| it.features.get(work)).fold(0.0, f64::max);
    let of_space = probes(&table, 20).expect("sizes fit");
    assert!(4.0 * most(&of_space, Work::Dense) < most(&plain, Work::Dense));
    assert!(most(&of_space, Work::Concat) == 0.0 && 0.0 < most(&plain, Work::Concat));
    let least = plain.iter().map(|it| it.features.get(Work::Dense)).fold(f64::INFINITY, f64::min);
    assert!(20.0 * least < most(&plain, Work::Dense), "from {least} MACs");
    for probe in &plain {
        assert_eq!(probe.made_of.build().expect("it was built before").fingerprint(), probe.graph.fingerprint());
    }
}

/// A board whose prices are not the table's is learned from 20 probes well enough for its search.
#[test]
fn twenty_probes_teach_a_board() {
    let target = Target::find("rpi4").expect("it is built in");
    let factor = |work: Work| [3.0, 0.4, 1.7, 0.8, 2.2][work as usize % 5];
    let price = |work: Work| target.latency.ns_per_unit[&work] * factor(work) * 1e-9;
    let seconds = |it: &search::probes::Probe| Work::ALL.map(|work| price(work) * it.features.get(work)).iter().sum();
    let mut model = LatencyModel::from_table(&target.latency);
    let chosen = probes(&target.latency, 20).expect("sizes fit");
    model.observe_designed("a board", chosen.iter().map(|it| (it.features, seconds(it))));
    let asked = random(200).expect("sizes fit");
    let near = asked.iter().filter(|it| (model.predict(&it.features).value / seconds(it) - 1.0).abs() <= 0.1).count();
    assert!(190 <= near, "{near} of 200 within 10 %");
}
