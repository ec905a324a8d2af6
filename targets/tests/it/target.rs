//! Are targets found, and are broken files explained?

use graph::{Activation, Conv2d, Graph, Op, Shape};
use targets::{CostModel, Figure, Metric, Runtime, Source, Target, Work};

fn small_network() -> Graph {
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([3, 32, 32]));
    let mut build = || {
        let at = graph.add("conv", Op::Conv2d(Conv2d::same(16, 3, 1)), &[image])?;
        let at = graph.add("norm", Op::BatchNorm, &[at])?;
        let at = graph.add("relu", Op::Activation(Activation::Relu), &[at])?;
        let at = graph.add("pool", Op::GlobalAvgPool, &[at])?;
        graph.add("classifier", Op::Linear(10), &[at])
    };
    build().expect("shapes fit");
    graph
}

#[test]
fn what_runs_the_network_takes_room_beside_it() {
    let alone = CostModel::new(Target::find("rpi4").expect("it is built in"));
    let price = |flash_bytes, memory_bytes| {
        let runtime = Runtime { flash_bytes, memory_bytes };
        CostModel { runtime, ..alone.clone() }.price(&small_network())
    };
    let parts = |figure: &Figure| [figure.low, figure.value, figure.high];
    let of = |cost: &targets::Cost, metric| parts(cost.get(metric).expect("it is priced"));
    let (without, with) = (price(0, 0), price(1 << 20, 1_000));
    assert_eq!(of(&with, Metric::Flash), of(&without, Metric::Flash).map(|bytes| bytes + f64::from(1 << 20)));
    // What a process of that board was found to hold has such variables in it already.
    assert_eq!(of(&with, Metric::Memory), of(&without, Metric::Memory));
    // More than that cannot be left out.
    let least = 1e9 + 4.0 * (16.0 * 27.0 + 16.0 + 170.0) + 4.0 * (3.0 + 16.0) * 1024.0;
    let large = of(&price(0, 1_000_000_000), Metric::Memory);
    assert!(large.iter().all(|bytes| least <= *bytes), "{large:?}, not {least} at least");
}

#[test]
fn built_in_targets_are_found_by_name() {
    let names: Vec<&str> = Target::builtin().iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["rpi4", "rpi5", "rpi3", "rpi-zero2w", "aarch64", "armv7", "android", "host"]);
    for target in Target::builtin() {
        assert_eq!(&Target::find(&target.name).expect("it is built in"), target);
        assert!(target.latency.source.contains(&format!("not measured on {}", target.name)));
        assert!(target.memory.source.contains(&format!("not measured on {}", target.name)));
        assert_eq!(target.latency.ns_per_unit.len(), Work::COUNT);
        assert!(
            target.budget.get(Metric::Memory).and_then(|it| it.max).expect("bounded") <= target.memory_bytes as f64
        );
    }
    let rpi4 = Target::find("rpi4").expect("it is built in");
    assert_eq!((rpi4.triple.as_str(), rpi4.cores, rpi4.threads), ("aarch64-unknown-linux-gnu", 4, 1));
    assert_eq!(rpi4.budget.get(Metric::Latency).and_then(|it| it.max), Some(0.1));
}

#[test]
fn an_unknown_name_says_what_there_is() {
    let error = Target::find("rpi9").expect_err("it is not built in").to_string();
    assert_eq!(
        error,
        "no target \"rpi9\"; built in are rpi4, rpi5, rpi3, rpi-zero2w, aarch64, armv7, android, host, and a path to a \
         target file works as well"
    );
    let error = Target::find("boards/rpi5.toml").expect_err("there is no such file").to_string();
    assert!(error.starts_with("cannot read target file boards/rpi5.toml"), "{error}");
}

#[test]
fn a_path_works_like_a_name() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/rpi4.toml");
    assert_eq!(Target::find(path).expect("it is in the repository"), Target::find("rpi4").expect("it is built in"));
}

#[test]
fn a_broken_file_is_explained() {
    let good = include_str!("../../rpi4.toml");
    let check = |from: &str, to: &str, words: &[&str]| {
        assert!(good.contains(from), "{from} is not in the file");
        let error = Target::parse("mine.toml", &good.replace(from, to)).expect_err(to).to_string();
        for word in words.iter().chain(&["mine.toml"]) {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
    };
    check("max = \"256MiB\"", "max = \"256\"", &["budget.memory", "no unit", "256MiB"]);
    check("max = \"256MiB\"", "max = 256", &["string"]);
    check("memory = { max", "speed = { max", &["speed"]);
    check("cores = 4", "cores = 0", &["cores", "at least 1"]);
    check("cores = 4", "colour = 4", &["colour"]);
    check("threads = 1", "threads = 5", &["threads", "number of cores"]);
    check("percentile = 0.9", "percentile = 90", &["percentile", "between 0 and 1"]);
    check("interval = [0.4, 4.0]", "interval = [4.0, 0.4]", &["latency.interval"]);
    check("interval = [0.7, 1.5]", "interval = [0.7, inf]", &["memory.interval"]);
    check("pointwise = 0.308", "", &["latency.ns_per_unit.pointwise", "given"]);
    check("pointwise = 0.308", "pointwise = 0.0", &["latency.ns_per_unit.pointwise", "above 0"]);
    check("pointwise = 0.308", "pointwise = -1", &["latency.ns_per_unit.pointwise"]);
    // Prices that have a near one may be left out.
    for left_out in ["weights = 0.359", "operands = 0.184", "rows = 0.821", "activation = 1.44"] {
        assert!(good.contains(left_out), "{left_out} is not in the file");
        let target = Target::parse("mine.toml", &good.replace(left_out, "")).expect(left_out);
        assert_eq!(target.latency.ns_per_unit.len(), Work::COUNT);
    }
    check("base_bytes = 19e6", "base_bytes = nan", &["memory.base_bytes"]);
    check("[latency]", "[latency", &["not a target file"]);
}

#[test]
fn a_price_is_exact_where_the_graph_decides() {
    let target = Target::find("rpi4").expect("it is built in");
    let price = |work: Work| target.latency.ns_per_unit[&work] * 1e-9;
    let cost = CostModel::new(target.clone()).price(&small_network());
    let exact = |metric, value: f64| assert_eq!(cost.get(metric), Some(&Figure::exact(value)), "{metric:?}");
    // Convolution, scale and shift of the norm, classifier with bias.
    exact(Metric::Params, 3.0 * 9.0 * 16.0 + 32.0 + 170.0);
    exact(Metric::Macs, 16.0 * 1024.0 * 27.0 + 160.0);
    // The ReLU's input and output.
    exact(Metric::Activations, 4.0 * 2.0 * 16.0 * 1024.0);
    let weights = 4.0 * (3.0 * 9.0 * 16.0 + 16.0 + 170.0);
    let flash = cost.get(Metric::Flash).expect("priced");
    assert_eq!((flash.low, flash.high), (weights, weights + 4.0 * 512.0 + 16_384.0));
    assert!(flash.low < flash.value && flash.value < flash.high);
    // 19 MB, 3.9 times the weights, and the activations.
    let memory = cost.get(Metric::Memory).expect("priced");
    assert!((memory.value - (19e6 + 3.9 * weights + 131_072.0)).abs() < 1.0);
    assert!((memory.low - 0.7 * memory.value).abs() < 1.0 && (memory.high - 1.5 * memory.value).abs() < 1.0);
    let latency = cost.get(Metric::Latency).expect("priced");
    // MACs and weights of the convolution, values that it packs, values of the ReLU and of the pool, MACs of the
    // classifier, operations.
    let expected = 442_368.0 * price(Work::Dense)
        + 432.0 * price(Work::Weights)
        + (3_072.0 + 16_384.0) * price(Work::Operands)
        + 16_384.0 * (price(Work::Activation) + price(Work::GlobalPool))
        + 160.0 * price(Work::Linear)
        + 4.0 * price(Work::Dispatch);
    assert!((latency.value - expected).abs() < 1e-12, "{latency:?} is not {expected}");
    let Source::Estimated { by } = &latency.source else { panic!("{latency:?} was not measured") };
    assert!(by.starts_with("not measured on rpi4"), "{by}");
    assert_eq!(cost.get(Metric::TrainTime), None);
}
