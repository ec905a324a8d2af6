//! Do instruction counts become time, and does an estimate from them say so?

use proptest::prelude::*;
use targets::{CountScale, Counts, Features, LatencyModel, NodeCounts, Source, Target, Timed, Work};

use crate::simulated::Random;

const OPS: [&str; 4] = ["MatMul", "DepthWise", "Pool", "Add"];

fn counts(instructions: [u64; 4]) -> Counts {
    let node = |(op, &instructions): (&&str, &u64)| NodeCounts {
        name: format!("a {op}"),
        op: (*op).to_owned(),
        instructions,
        loads: 0,
        stores: 0,
    };
    Counts {
        target: "rpi4".into(),
        processor: "cortex-a72".into(),
        model_sha256: String::new(),
        engine: String::new(),
        agent: String::new(),
        // A tenth belongs to no node.
        instructions: instructions.iter().sum::<u64>() * 11 / 10,
        loads: 0,
        stores: 0,
        nodes: OPS.iter().zip(&instructions).map(node).collect(),
        output_hash: String::new(),
    }
}

fn default_scale() -> CountScale {
    CountScale {
        source: "a default".into(),
        ns_per_instruction: 0.7,
        by_op: Default::default(),
        ns_per_byte: 0.0,
        interval: [0.5, 2.0],
    }
}

#[test]
fn a_default_scale_counts_every_instruction_alike() {
    let figure = default_scale().latency(&counts([1_000_000, 0, 0, 0]), 0);
    assert!((figure.value - 0.77e-3).abs() < 1e-12, "{figure:?}");
    assert!((figure.low - 0.385e-3).abs() < 1e-12 && (figure.high - 1.54e-3).abs() < 1e-12, "{figure:?}");
    let Source::Estimated { by } = figure.source else { panic!("a count is no measurement") };
    assert!(by.contains("not measured"), "{by}");
}

/// Networks on a board whose operators take different times an instruction, and whose bytes take time.
fn timed(n: usize, seed: u64, noise: f64) -> Vec<Timed> {
    let (price, mut random) = ([0.3, 1.1, 0.8, 2.0], Random(seed));
    let mut network = || {
        let instructions = [4e6, 2e6, 1e6, 5e5].map(|most| (most * random.uniform()) as u64);
        let traffic_bytes = (3e6 * random.uniform()) as u64;
        let nodes: f64 = instructions.iter().zip(price).map(|(n, ns)| *n as f64 * ns).sum();
        let rest = instructions.iter().sum::<u64>() as f64 * 0.1 * 0.5;
        let seconds = (nodes + rest + traffic_bytes as f64 * 0.2) * 1e-9 * (1.0 + noise * (random.uniform() - 0.5));
        Timed { counts: counts(instructions), traffic_bytes, seconds }
    };
    (0..n).map(|_| network()).collect()
}

#[test]
fn a_scale_learns_a_board() {
    let off = |scale: &CountScale, networks: &[Timed]| {
        let errors =
            networks.iter().map(|it| (scale.latency(&it.counts, it.traffic_bytes).value / it.seconds).ln().abs());
        errors.fold(0.0, f64::max)
    };
    let (known, asked) = (timed(20, 1, 0.02), timed(200, 2, 0.0));
    let fitted = default_scale().fitted("fitted".into(), &known).expect("networks took time");
    assert!(0.3 < off(&default_scale(), &asked), "the board is like the default");
    assert!(off(&fitted, &asked) < 0.12, "{}", off(&fitted, &asked));
    let [low, high] = fitted.interval;
    assert!(0.9 < low && high < 1.1, "{:?}", fitted.interval);
    let inside = asked.iter().filter(|it| {
        let figure = fitted.latency(&it.counts, it.traffic_bytes);
        figure.low <= it.seconds && it.seconds <= figure.high
    });
    assert!(180 <= inside.count(), "fewer than nine in ten inside {:?}", fitted.interval);
    // One network tells how fast the board is, and little else.
    let fitted = default_scale().fitted("fitted".into(), &known[..1]).expect("it took time");
    assert!(off(&fitted, &asked) < off(&default_scale(), &asked));
    assert!(fitted.interval[1] >= 1.8, "{:?}", fitted.interval);
    assert_eq!(default_scale().fitted("fitted".into(), &[]), None);
}

#[test]
fn counted_networks_keep_what_is_wrong_with_the_scale() {
    let table = Target::find("rpi4").expect("it is built in").latency;
    let mut model = LatencyModel::from_table(&table).by_counts(&default_scale());
    let mut random = Random(3);
    // Each kind of work takes about as long as any other.
    let price = |work: Work| table.ns_per_unit[&work] * 1e-9;
    let mut features = || Features(Work::ALL.map(|work| 1e-4 * random.uniform() / price(work)));
    let asked = features();
    assert_eq!(model.predict(&asked).source, Source::Estimated { by: table.source.clone() });
    let seconds =
        |features: &Features| 1.7 * Work::ALL.map(|work| price(work) * features.get(work)).iter().sum::<f64>();
    for _ in 0..30 {
        let features = features();
        model.observe("rpi4", features, seconds(&features));
    }
    let figure = model.predict(&asked);
    assert!((figure.value / seconds(&asked) - 1.0).abs() < 0.2, "{figure:?}, not {}", seconds(&asked));
    assert!(figure.low <= 0.5 * figure.value && 2.0 * figure.value <= figure.high, "{figure:?}");
    let Source::Estimated { by } = &figure.source else { panic!("a count is no measurement") };
    assert!(by.contains("instruction counts for rpi4 of 30 networks") && by.contains("not measured"), "{by}");
    // What is stored says the same.
    let stored = serde_json::to_string(&model).expect("it has a JSON form");
    let read: LatencyModel = serde_json::from_str(&stored).expect("it was written");
    assert_eq!(read.predict(&asked), figure);
}

proptest! {
    #[test]
    fn no_network_gets_a_negative_time(n in 1_usize..12, seed: u64, noise in 0.0..1.9) {
        let known = timed(n, seed, noise);
        let scale = default_scale().fitted("fitted".into(), &known).expect("networks took time");
        for it in timed(5, seed ^ 1, noise) {
            let figure = scale.latency(&it.counts, it.traffic_bytes);
            prop_assert!(0.0 < figure.value && figure.low <= figure.value && figure.value <= figure.high);
        }
    }
}
