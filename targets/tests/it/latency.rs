//! Is work counted as it ships, and does the model learn a board from few measurements?

use graph::{Activation, Conv2d, Graph, NodeId, Op, Pool2d, Shape, cost::static_cost, fold::shipped};
use proptest::prelude::*;
use targets::{Features, LatencyModel, Source, Target, Work, features};

use crate::simulated::Random;

#[test]
fn work_is_counted_by_kind() {
    let check = |op: Op, n_inputs: usize, work: Work, amount: usize| {
        let mut graph = Graph::default();
        let image = graph.input(Shape::Map([8, 6, 6]));
        graph.add("op", op, &vec![image; n_inputs]).expect("shapes fit");
        let mut expected = Features::default();
        expected.0[work as usize] += amount as f64;
        expected.0[Work::Dispatch as usize] += 1.0;
        if let Op::Conv2d(conv) = &op {
            expected.0[Work::Weights as usize] += (conv.channels * conv.taps(8)) as f64;
            if conv.groups == 8 {
                expected.0[Work::Rows as usize] += (8 * 6 * 25) as f64;
            } else {
                expected.0[Work::Operands as usize] +=
                    (8 * 36 + graph.shape(graph.output().expect("one was added")).elements()) as f64;
            }
        }
        if matches!(op, Op::MaxPool(_)) {
            expected.0[Work::Rows as usize] += (8 * 6 * 9) as f64;
        }
        assert_eq!(features(&graph), expected, "{op:?}");
        assert_eq!(features(&graph).get(work), amount as f64);
    };
    check(Op::Conv2d(Conv2d::same(4, 3, 1)), 1, Work::Dense, 4 * 36 * 8 * 9);
    check(Op::Conv2d(Conv2d::same(4, 3, 2)), 1, Work::Dense, 4 * 9 * 8 * 9);
    check(Op::Conv2d(Conv2d::same(4, 1, 1)), 1, Work::Pointwise, 4 * 36 * 8);
    check(Op::Conv2d(Conv2d::depthwise(8, 5, 1)), 1, Work::Depthwise, 8 * 36 * 25);
    check(Op::Conv2d(Conv2d { groups: 2, ..Conv2d::same(4, 1, 1) }), 1, Work::Dense, 4 * 36 * 4);
    check(Op::MaxPool(Pool2d::same(3, 1)), 1, Work::MaxPool, 8 * 36 * 9);
    check(Op::AvgPool(Pool2d::same(3, 2)), 1, Work::AvgPool, 8 * 9 * 9);
    check(Op::GlobalAvgPool, 1, Work::GlobalPool, 8 * 36);
    check(Op::Activation(Activation::Relu), 1, Work::Activation, 8 * 36);
    check(Op::Add, 3, Work::Elementwise, 2 * 8 * 36);
    check(Op::Concat, 2, Work::Concat, 16 * 36);
    check(Op::Zero(2), 1, Work::Elementwise, 8 * 9);
    // A norm without a convolution and an identity that is the output do ship.
    check(Op::BatchNorm, 1, Work::Elementwise, 8 * 36);
    check(Op::Identity, 1, Work::Elementwise, 8 * 36);
}

/// A graph of maps of one size, each node reading earlier ones.
fn random_graph() -> impl Strategy<Value = Graph> {
    prop::collection::vec((0..12_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..25).prop_map(
        |steps| {
            let mut graph = Graph::default();
            let mut nodes = vec![graph.input(Shape::Map([4, 5, 5]))];
            for (idx, (kind, first, second)) in steps.into_iter().enumerate() {
                let (a, b): (NodeId, NodeId) = (*first.get(&nodes), *second.get(&nodes));
                let (op, inputs) = match kind {
                    0 => (Op::Conv2d(Conv2d::same(4, 3, 1)), vec![a]),
                    1 => (Op::Conv2d(Conv2d::same(4, 1, 1)), vec![a]),
                    2 => (Op::Conv2d(Conv2d::depthwise(4, 5, 1)), vec![a]),
                    3..6 => (Op::BatchNorm, vec![a]),
                    6 => (Op::Activation(Activation::Relu), vec![a]),
                    7 => (Op::Identity, vec![a]),
                    8 => (Op::MaxPool(Pool2d::same(3, 1)), vec![a]),
                    9 => (Op::AvgPool(Pool2d::same(3, 1)), vec![a]),
                    10 => (Op::Zero(1), vec![a]),
                    _ => (Op::Add, vec![a, b]),
                };
                nodes.push(graph.add(("node", idx), op, &inputs).expect("all maps have one size"));
            }
            graph
        },
    )
}

/// Operations of a graph that no earlier one has done: the slow and plain way to count them.
fn n_different(graph: &Graph) -> usize {
    let mut first: Vec<NodeId> = Vec::new();
    let mut n = 0;
    for id in graph.ids() {
        let has_weights =
            matches!(graph.op(id), Op::Input | Op::Conv2d(_) | Op::Linear(_) | Op::BatchNorm | Op::Activation(_));
        let inputs = |of: NodeId| graph.inputs(of).iter().map(|it| first[it.index()]).collect::<Vec<_>>();
        let same = graph
            .ids()
            .take_while(|it| *it < id)
            .find(|other| !has_weights && graph.op(*other) == graph.op(id) && inputs(*other) == inputs(id));
        n += usize::from(same.is_none() && *graph.op(id) != Op::Input);
        first.push(same.unwrap_or(id));
    }
    n
}

/// Two pools of one map are one pool to an engine, and so is all that follows them.
#[test]
fn what_is_computed_twice_is_counted_once() {
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([4, 5, 5]));
    let mut add = |name: &'static str, op: Op, inputs: &[NodeId]| graph.add(name, op, inputs).expect("shapes fit");
    let pools = ["a", "b", "c", "d"].map(|name| add(name, Op::AvgPool(Pool2d::same(3, 1)), &[image]));
    let sums = [add("ab", Op::Add, &pools[..2]), add("cd", Op::Add, &pools[2..])];
    let last = add("last", Op::Add, &sums);
    add("conv", Op::Conv2d(Conv2d::same(4, 1, 1)), &[last]);
    add("other conv", Op::Conv2d(Conv2d::same(4, 1, 1)), &[last]);
    let found = features(&graph);
    assert_eq!(found.get(Work::AvgPool), 9.0 * 100.0);
    assert_eq!(found.get(Work::Elementwise), 2.0 * 100.0);
    // The pool, two sums, and two convolutions, whose weights differ.
    assert_eq!(found.get(Work::Dispatch), 5.0);
}

proptest! {
    #[test]
    fn work_is_that_of_the_shipped_graph(graph in random_graph()) {
        let (found, shipped, cost) = (features(&graph), shipped(&graph), static_cost(&graph));
        let macs = [Work::Dense, Work::Pointwise, Work::Depthwise, Work::Linear].map(|work| found.get(work));
        prop_assert_eq!(macs.iter().sum::<f64>(), cost.macs as f64);
        prop_assert!(found.get(Work::Dispatch) <= cost.n_ops as f64);
        prop_assert!(4.0 * found.get(Work::Weights) <= cost.model_bytes as f64);
        prop_assert_eq!(found.get(Work::Dispatch), n_different(&shipped) as f64);
        // A norm that ships, behind another one, would be folded if the shipped graph were a trained one.
        if !shipped.ids().any(|id| *shipped.op(id) == Op::BatchNorm) {
            prop_assert_eq!(found, features(&shipped));
        }
    }

    #[test]
    fn predictions_are_positive_and_ordered(
        amounts in prop::collection::vec((prop::array::uniform14(0.0..1e7), 1e-6..1.0), 0..15),
        asked in prop::array::uniform14(0.0..1e7),
    ) {
        let mut model = rpi4();
        for (amounts, seconds) in amounts {
            model.observe("kitchen", Features(amounts), seconds);
        }
        for features in [Features(asked), Features::default()] {
            let figure = model.predict(&features);
            prop_assert!(0.0 < figure.low && figure.low <= figure.value && figure.value <= figure.high);
            prop_assert!(figure.high.is_finite());
        }
        for coefficient in model.fit_report().coefficients {
            prop_assert!(0.0 <= coefficient.ns_per_unit);
        }
        let more = Features(asked.map(|amount| 2.0 * amount));
        prop_assert!(model.predict(&Features(asked)).value <= model.predict(&more).value);
    }
}

fn rpi4() -> LatencyModel {
    LatencyModel::from_table(&Target::find("rpi4").expect("it is built in").latency)
}

/// A board whose prices differ from the table's by up to four times, kind by kind, and its times
/// for networks whose work is spread at random.
struct Board {
    random: Random,
    prices: [f64; Work::COUNT],
    noise: f64,
}

impl Board {
    fn new(seed: u64, noise: f64) -> Self {
        let mut random = Random(seed);
        let table = Target::find("rpi4").expect("it is built in").latency.ns_per_unit;
        let prices = Work::ALL.map(|work| 1e-9 * table[&work] * 3.0 * 4_f64.powf(random.uniform() - 0.5));
        Self { random, prices, noise }
    }

    fn network(&mut self) -> (Features, f64) {
        // About the time of each kind, as the board would take it, in seconds.
        let shares: [f64; Work::COUNT] = std::array::from_fn(|_| 0.01 * self.random.uniform().powi(3));
        let features = Features(std::array::from_fn(|k| shares[k] / self.prices[k]));
        (features, shares.iter().sum::<f64>() * self.random.normal(self.noise).exp())
    }
}

#[test]
fn planted_prices_are_found() {
    let mut board = Board::new(5, 0.0);
    let mut model = rpi4();
    for _ in 0..90 {
        let (features, seconds) = board.network();
        model.observe("kitchen", features, seconds);
    }
    let report = model.fit_report();
    for (coefficient, price) in report.coefficients.iter().zip(board.prices) {
        let relative = coefficient.ns_per_unit / (price * 1e9);
        // What is missing is the pull towards the table.
        assert!((relative - 1.0).abs() < 0.10, "{:?} is {relative} times the planted price", coefficient.work);
    }
    assert_eq!(report.n, 90);
    assert!(0.99 < report.spearman.expect("90 networks"), "{report:?}");
    assert!(report.median_relative_error.expect("90 networks") < 0.02, "{report:?}");
}

/// One measurement sets the common scale; a kind of work it does not contain follows.
#[test]
fn few_measurements_keep_the_tables_proportions() {
    let mut model = rpi4();
    let mut dense = Features::default();
    dense.0[Work::Dense as usize] = 1e8;
    let mut pools = Features::default();
    pools.0[Work::AvgPool as usize] = 1e6;
    let before = [model.predict(&dense).value, model.predict(&pools).value];
    model.observe("kitchen", dense, 3.0 * before[0]);
    let after = [model.predict(&dense).value, model.predict(&pools).value];
    assert!((after[0] / before[0] - 3.0).abs() < 1e-6 && (after[1] / before[1] - 3.0).abs() < 1e-6, "{after:?}");
    let Source::Estimated { by } = model.predict(&pools).source else { panic!("nothing here is measured") };
    assert_eq!(by, "from 1 measurement on kitchen");
    // The table was three times off, and the interval still says so.
    let figure = model.predict(&dense);
    assert!((figure.high / figure.value - 3.0).abs() < 1e-6, "{figure:?}");
}

#[test]
fn senseless_times_are_not_kept() {
    let mut model = rpi4();
    let mut some = Features::default();
    some.0[0] = 1e6;
    for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        model.observe("kitchen", some, seconds);
    }
    model.observe("kitchen", Features::default(), 1.0);
    assert_eq!(model, rpi4());
    assert_eq!(model.fit_report().coverage, None);
}

#[test]
fn a_stored_model_goes_on_where_it_was() {
    let mut board = Board::new(1, 0.1);
    let mut model = rpi4();
    for _ in 0..12 {
        let (features, seconds) = board.network();
        model.observe("kitchen", features, seconds);
    }
    let text = serde_json::to_string(&model).expect("numbers and words");
    let mut read: LatencyModel = serde_json::from_str(&text).expect("as written");
    assert_eq!(read, model);
    let (features, seconds) = board.network();
    read.observe("kitchen", features, seconds);
    model.observe("kitchen", features, seconds);
    assert_eq!(read, model);
}

/// The interval promises 90 %; over many boards it must keep that on networks never seen.
#[test]
fn intervals_keep_their_promise() {
    for (n, expected) in [(9, 0.85..0.97), (20, 0.86..0.95), (40, 0.86..0.94)] {
        let (mut inside, mut asked) = (0, 0);
        for seed in 0..40 {
            let mut board = Board::new(1_000 + seed, 0.08);
            let mut model = rpi4();
            for _ in 0..n {
                let (features, seconds) = board.network();
                model.observe("kitchen", features, seconds);
            }
            for _ in 0..50 {
                let (features, seconds) = board.network();
                let figure = model.predict(&features);
                inside += usize::from(figure.low <= seconds && seconds <= figure.high);
                asked += 1;
            }
        }
        let share = f64::from(inside as u32) / f64::from(asked);
        assert!(expected.contains(&share), "{n} measurements: {share} of new networks inside");
    }
}
