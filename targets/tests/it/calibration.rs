//! Do a few measurements make a model of a board, and are the right networks chosen for them?

use graph::cost::StaticCost;
use targets::{
    Block, Calibration, Check, Clock, CostModel, Features, MemoryModel, Metric, Peak, Protocol, Reach, Roofline,
    Sample, Target, Work, design::spanning,
};

use crate::simulated::{QUIET, Random, measure};

fn rpi4() -> Target {
    Target::find("rpi4").expect("it is built in")
}

/// A network of this much of one kind of work.
fn of(work: Work, amount: f64) -> Features {
    let mut features = Features::default();
    features.0[work as usize] = amount;
    features
}

#[test]
fn every_kind_of_work_is_measured_before_any_is_measured_twice() {
    let table = rpi4().latency;
    let about_a_millisecond = |work: Work| of(work, 1e6 / table.ns_per_unit[&work]);
    // Ten nearly equal networks of each kind: a chooser by chance would take some kinds twice.
    let candidates: Vec<Features> = (0..10).flat_map(|_| Work::ALL.map(about_a_millisecond)).collect();
    let chosen = spanning(&table, &candidates, Work::COUNT);
    let mut kinds: Vec<usize> = chosen.iter().map(|idx| idx % Work::COUNT).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, (0..Work::COUNT).collect::<Vec<_>>());
    assert_eq!(spanning(&table, &candidates, Work::COUNT), chosen, "nothing is drawn");
    assert_eq!(spanning(&table, &candidates[..3], 20).len(), 3);
    assert_eq!(spanning(&table, &[], 20), [0_usize; 0]);
}

/// Where one size is rare, it is chosen early: an extreme says more of a slope than the middle.
#[test]
fn extremes_are_chosen() {
    let table = rpi4().latency;
    let candidates: Vec<Features> = (0..50).map(|idx| of(Work::Dense, if idx == 31 { 1e8 } else { 1e6 })).collect();
    assert_eq!(spanning(&table, &candidates, 1), [31]);
}

#[test]
fn planted_memory_is_found() {
    let board = MemoryModel {
        source: String::new(),
        base_bytes: 14e6,
        per_weight_byte: 2.8,
        per_activation_byte: 1.3,
        interval: [1.0, 1.0],
    };
    let mut random = Random(3);
    let peaks: Vec<Peak> = (0..20)
        .map(|_| {
            let (weights, activations) = (4e6 * random.uniform(), 6e6 * random.uniform());
            let resident = 14e6 + 2.8 * weights + 1.3 * activations;
            Peak { weights, activations, resident: resident * random.normal(0.01).exp() }
        })
        .collect();
    let fitted = rpi4().memory.fitted("from 20 measurements on kitchen".into(), &peaks).expect("20 networks");
    let near = |found: f64, planted: f64, tolerance: f64| {
        assert!((found / planted - 1.0).abs() < tolerance, "{found} is not {planted}");
    };
    near(fitted.base_bytes, board.base_bytes, 0.05);
    near(fitted.per_weight_byte, board.per_weight_byte, 0.1);
    near(fitted.per_activation_byte, board.per_activation_byte, 0.1);
    assert!(1.005 < fitted.interval[1] && fitted.interval[1] < 1.05, "{:?}", fitted.interval);
    assert_eq!(rpi4().memory.fitted(String::new(), &[]), None);
    let silent = Peak { weights: 1e6, activations: 1e6, resident: 0.0 };
    assert_eq!(rpi4().memory.fitted(String::new(), &[silent]), None);
}

/// A board three times as fast as the target's table, measured with 20 networks.
fn calibration(clock: Clock) -> Calibration {
    let mut random = Random(7);
    let target = rpi4();
    let mut sample = |idx: usize| {
        let mut features = Features::default();
        for work in Work::ALL {
            features.0[work as usize] = 1e6 * random.uniform() / target.latency.ns_per_unit[&work];
        }
        let seconds = CostModel::new(target.clone()).latency.predict(&features).value / 3.0;
        let mut measurement = measure(&mut random, seconds, 5, 20, QUIET);
        for block in &mut measurement.blocks {
            block.cpu_ns = block.wall_ns.iter().map(|ns| ns / 2).collect();
        }
        (measurement.load_peak_bytes, measurement.steady_peak_bytes) = (22_000_000, 20_000_000);
        let cost = StaticCost { model_bytes: 400_000, peak_bytes: 900_000, ..StaticCost::default() };
        let sample = Sample::new(format!("network {idx}"), features, &cost, &measurement, clock, 0.9);
        sample.expect("it was timed")
    };
    let samples = (0..20).map(&mut sample).collect();
    let first = measure(&mut random, 0.01, 1, 1, QUIET);
    let mut calibration = Calibration {
        format: targets::calibration::FORMAT,
        target: "rpi4".into(),
        device: "kitchen".into(),
        reach: Reach::Ssh,
        agent: first.agent.clone(),
        engine: first.engine.clone(),
        taken_at: 1_700_000_000,
        protocol: Protocol::quick(),
        clock,
        percentile: 0.9,
        before: first.before.clone(),
        after: first.after,
        allowed: Vec::new(),
        samples,
        fit: CostModel::new(target.clone()).latency.fit_report(),
        memory: None,
        counts: None,
        check: None,
    };
    calibration.refit(&target);
    calibration
}

#[test]
fn a_calibrated_model_says_what_it_rests_on() {
    for (clock, divisor, name) in [(Clock::Wall, 3.0, "kitchen"), (Clock::Cpu, 6.0, "kitchen (CPU time)")] {
        let calibration = calibration(clock);
        assert_eq!(calibration.fit.n, 20);
        assert!(0.95 <= calibration.fit.within_tenth.expect("20 networks"), "{:?}", calibration.fit);
        let model = calibration.model(rpi4());
        let asked = calibration.samples[0].features;
        let by_table = CostModel::new(rpi4()).latency.predict(&asked);
        let figure = model.latency.predict(&asked);
        let ratio = by_table.value / figure.value;
        assert!((ratio / divisor - 1.0).abs() < 0.1, "{ratio} is not {divisor}");
        let text = figure.describe(Metric::Latency);
        assert!(text.contains(&format!("estimated from 20 measurements on {name})")), "{text}");
        let memory = model.target.memory;
        assert!(
            (memory.base_bytes + 4e5 * memory.per_weight_byte + 9e5 * memory.per_activation_byte - 22e6).abs() < 5e5
        );
        assert_eq!(memory.source, format!("from 20 measurements on {name}"));
    }
}

/// Times with a normal error of 4 % in the logarithm: 98.8 % of them are within 10 % of what explains them.
#[test]
fn the_promise_is_kept_on_average_over_divisions() {
    let (mut random, target) = (Random(11), rpi4());
    let model = CostModel::new(target.clone()).latency;
    let template = calibration(Clock::Wall);
    let mut draw = |_| {
        let mut sample = template.samples[0].clone();
        for work in Work::ALL {
            sample.features.0[work as usize] = 1e6 * random.uniform() / target.latency.ns_per_unit[&work];
        }
        sample.seconds = model.predict(&sample.features).value * random.normal(0.04).exp();
        sample
    };
    let mut calibration = Calibration { samples: (0..30).map(&mut draw).collect(), ..template.clone() };
    assert_eq!(calibration.divided(&target, 10), None, "nothing was checked");
    let checked = (0..60).map(&mut draw).collect();
    let check = Check::of(&calibration.model(target.clone()).latency, checked);
    assert_eq!(check.n, 60);
    calibration.check = Some(check);
    let divided = calibration.divided(&target, 40).expect("there is a check");
    assert!((0.87..0.93).contains(&divided.covered) && 0.93 < divided.within_tenth, "{divided:?}");
    assert_eq!(calibration.divided(&target, 40), Some(divided), "the same divisions each time");
}

#[test]
fn a_stored_calibration_gives_the_same_model() {
    let calibration = calibration(Clock::Wall);
    let text = serde_json::to_string(&calibration).expect("numbers and words");
    let read: Calibration = serde_json::from_str(&text).expect("as written");
    assert_eq!(read, calibration);
    assert_eq!(read.model(rpi4()), calibration.model(rpi4()));
    let other = text.replacen("\"format\"", "\"from\"", 1);
    assert!(serde_json::from_str::<Calibration>(&other).is_err());
}

#[test]
fn an_emulator_calibrates_nothing() {
    let mut measurement = measure(&mut Random(1), 0.01, 5, 20, QUIET);
    measurement.reach = Reach::Emulated;
    let sample = |measurement: &targets::Measurement| {
        Sample::new(String::new(), Features::default(), &StaticCost::default(), measurement, Clock::Wall, 0.9)
    };
    assert_eq!(sample(&measurement), None);
    measurement.reach = Reach::Local;
    assert!(sample(&measurement).is_some());
    measurement.blocks = vec![Block::default()];
    assert_eq!(sample(&measurement), None);
}

#[test]
fn badly_served_work_is_named() {
    let (roofline, target) = (rpi4().roofline.expect("it is written down"), rpi4());
    let least = |work| roofline.least_ns(1_500.0, work);
    // Two FLOPs at 12 GFLOP/s; 4 bytes read, and copied, at 2.4 GB/s.
    assert_eq!(least(Work::Dense).map(|ns| (ns * 1e4).round()), Some(1667.0));
    assert_eq!(least(Work::Weights).map(|ns| (ns * 1e4).round()), Some(8_333.0));
    assert_eq!(least(Work::Elementwise).map(|ns| (ns * 1e4).round()), Some(16_667.0));
    assert_eq!(least(Work::Dispatch), None);
    // By the target's own table: 1.27 ns a tap of an average is 15 times the least, 0.55 ns a depthwise MAC 3.3 times.
    let report = CostModel::new(rpi4()).latency.fit_report();
    let found: Vec<Work> = target.far_below(&report).iter().map(|it| it.work).collect();
    assert_eq!(found, [Work::AvgPool, Work::MaxPool]);
    let slow = Roofline { flops_per_cycle: 0.1, copied_bytes_per_second: 1e6, ..roofline };
    assert_eq!(slow.far_below(1_500.0, &report), []);
}
