//! Why a budget is not met and what bounds cost, against everything counted out.
#![expect(clippy::print_stdout, reason = "texts are to be read, and a skipped test says so")]

use std::collections::{BTreeMap, BTreeSet};

use data::keyed::{self, ChaCha8Rng};
use graph::cost::{StaticCost, static_cost};
use search::{
    chooser::{Chooser, Kind, Odometer, Question, Uniform},
    feasibility::{Binding, COUNTABLE, Certificate, Change, Explanation, Judged, Known, Limit, Reach, Side, price_all},
    oracle::Table,
    space::{
        Scale, SearchSpace, Task, all,
        cell::{Block, Cell, CellOp, CellSpace},
        nas_bench_201::{Arch, NasBench201},
    },
    study::{Phase, Trial},
};
use targets::{Bound, Budget, Cost, CostModel, Features, Figure, LatencyModel, Metric, Source, Target, Work, features};

const fn scale(layers: usize, channels: usize, input: [usize; 3]) -> Scale {
    Scale { layers, channels, input, classes: 10, front_end: None, task: Task::Classification }
}

/// From the smallest to that of the B-ENAS paper; reductions that come first, uneven sides, one channel, deep images.
const SCALES: [Scale; 12] = [
    scale(1, 1, [3, 4, 4]),
    scale(1, 4, [1, 8, 8]),
    scale(2, 1, [3, 8, 8]),
    scale(2, 8, [3, 16, 16]),
    scale(3, 1, [16, 8, 8]),
    scale(3, 4, [1, 8, 8]),
    scale(4, 4, [3, 9, 9]),
    scale(5, 2, [3, 13, 13]),
    scale(6, 3, [1, 28, 28]),
    scale(11, 6, [1, 28, 28]),
    scale(12, 12, [3, 64, 64]),
    scale(11, 36, [3, 32, 32]),
];

fn models() -> Vec<CostModel> {
    Target::builtin().iter().map(|target| CostModel::new(target.clone())).collect()
}

/// Every cost that [`SearchSpace::cheapest`] speaks of, on every built-in target.
fn costs<S: SearchSpace>(space: &S, arch: &S::Arch, scale: &Scale, models: &[CostModel]) -> Vec<f64> {
    let graph = space.build(arch, scale).expect("the image is large enough");
    let StaticCost { params, macs, model_bytes, peak_bytes, n_ops, .. } = static_cost(&graph);
    let mut costs = [params, macs, model_bytes, peak_bytes, n_ops].map(|it| it as f64).to_vec();
    let flash = models[0].price(&graph).get(Metric::Flash).expect("it is priced").clone();
    costs.extend([flash.low, flash.value, flash.high]);
    let work = features(&graph);
    let fixed = static_cost(&graph);
    for model in models {
        costs.extend([model.latency.predict(&work).high, model.target.memory.predict(&fixed).high]);
    }
    costs
}

fn least<S: SearchSpace>(
    space: &S,
    archs: impl IntoIterator<Item = S::Arch>,
    scale: &Scale,
    models: &[CostModel],
) -> (usize, Vec<f64>) {
    let mut archs = archs.into_iter();
    let first = archs.next().expect("there is one");
    let (mut n, mut least) = (1, costs(space, &first, scale, models));
    for arch in archs {
        n += 1;
        least = least.iter().zip(costs(space, &arch, scale, models)).map(|(a, b)| a.min(b)).collect();
    }
    (n, least)
}

#[test]
fn the_cheapest_cells_of_two_blocks_are_the_cheapest_of_all() {
    let models = models();
    for blocks in [1..=1, 2..=2] {
        let space = CellSpace { blocks };
        for scale in [&SCALES[0], &SCALES[3], &SCALES[6]] {
            let (_, cheapest) = least(&space, space.cheapest(), scale, &models);
            assert_eq!(least(&space, space.floor(), scale, &models).1, cheapest, "{space:?} at {scale:?}");
            let (n, found) = least(&space, all(&space), scale, &models);
            assert_eq!(n as u128, space.size());
            assert_eq!(found, cheapest, "{space:?} at {scale:?}");
        }
    }
}

/// Cells without convolutions, in which every small cost is.
#[derive(Default)]
struct Light(Odometer);

impl Chooser for Light {
    fn choose(&mut self, question: Question) -> usize {
        match question.kind {
            Kind::Op => [0, 3, 4][self.0.choose(Question { options: 3, ..question })],
            _ => self.0.choose(question),
        }
    }
}

/// A different share of all such cells for each step.
fn light(space: &CellSpace, every: usize) -> Vec<Cell> {
    let mut chooser = Some(Light::default());
    let next = || {
        let mut now = chooser.take()?;
        let cell = space.sample(&mut now);
        chooser = now.0.advance().then_some(now);
        Some(cell)
    };
    std::iter::from_fn(next).step_by(every).collect()
}

#[test]
fn no_cell_of_more_blocks_is_below_the_floor() {
    let models = models();
    for (idx, scale) in SCALES.iter().enumerate() {
        for blocks in [2..=3, 3..=3, 2..=7, 5..=5, 7..=7] {
            let space = CellSpace { blocks };
            let (_, floor) = least(&space, space.floor(), scale, &models);
            let (_, cheapest) = least(&space, space.cheapest(), scale, &models);
            assert!(space.cheapest().iter().all(|it| space.blocks.contains(&it.blocks.len()) && it.is_well_formed()));
            let drawn = (0..60).map(|step| space.sample(&mut Uniform::new(idx as u64, "below the floor", step)));
            let cells = if space.blocks == (2..=3) { light(&space, 4_999) } else { Vec::new() };
            let (_, found) = least(&space, drawn.chain(cells), scale, &models);
            for ((floor, cheapest), found) in floor.iter().zip(cheapest).zip(found) {
                assert!(*floor <= found && *floor <= cheapest, "{found} < {floor}: {space:?} at {scale:?}");
            }
        }
    }
}

/// What the last tests take samples of.
#[test]
fn every_cell_of_two_and_three_blocks() {
    if std::env::var_os("EXHAUSTIVE").is_none() {
        println!("skipped: every cell of three blocks takes a quarter of an hour (EXHAUSTIVE=1)");
        return;
    }
    let models = models();
    for scale in &SCALES[..9] {
        let space = CellSpace { blocks: 2..=2 };
        let (_, found) = least(&space, all(&space), scale, &models);
        assert_eq!(found, least(&space, space.cheapest(), scale, &models).1, "{scale:?}");
    }
    for (blocks, scale) in [(3..=3, SCALES[1]), (2..=3, SCALES[5]), (3..=3, SCALES[6])] {
        let space = CellSpace { blocks };
        let (_, floor) = least(&space, space.floor(), &scale, &models);
        let (_, cheapest) = least(&space, space.cheapest(), &scale, &models);
        let (n, found) = least(&space, all(&space), &scale, &models);
        assert_eq!(n as u128, space.size());
        let exact: Vec<usize> = (0..found.len()).filter(|idx| found[*idx] == cheapest[*idx]).collect();
        println!("{space:?} at {scale:?}: exact {exact:?} of {}", found.len());
        assert!(found.iter().zip(&floor).all(|(found, floor)| floor <= found), "{found:?} {floor:?}");
        assert_eq!(exact.len(), found.len(), "{found:?} {cheapest:?}");
    }
}

/// Whatever a unit of work costs, the cheapest cells hold the cheapest: prices that no board has are no exception.
#[test]
fn the_cheapest_cells_are_so_at_any_prices() {
    let space = CellSpace { blocks: 2..=2 };
    for scale in [SCALES[1], SCALES[5]] {
        let work = |cell: &Cell| features(&space.build(cell, &scale).expect("the image is large enough"));
        let cheapest: Vec<Features> = space.cheapest().iter().map(work).collect();
        let cells: Vec<Features> = all(&space).step_by(7).map(|cell| work(&cell)).collect();
        for step in 0..60 {
            let mut rng = keyed::rng(1, "prices", step);
            // Over nine orders of magnitude, and some of them nothing at all.
            let mut price = || match keyed::below(&mut rng, 4) {
                0 => 0.0,
                _ => 10_f64.powf(f64::from(keyed::below(&mut rng, 1000)) / 111.0),
            };
            let prices: [f64; Work::COUNT] = std::array::from_fn(|_| price());
            let time = |it: &Features| it.0.iter().zip(prices).map(|(amount, price)| amount * price).sum::<f64>();
            let bound = cheapest.iter().map(time).fold(f64::INFINITY, f64::min);
            let found = cells.iter().map(time).fold(f64::INFINITY, f64::min);
            assert!(bound <= found * (1.0 + 1e-12), "{found} < {bound} at {prices:?}, {scale:?}");
        }
    }
}

/// No network goes without the stem and its ReLU, which are alive together, nor without the image and the stem. The
/// cheapest cells need no more, one of them together with the fewest weights: memory, which grows with both, is exact.
#[test]
fn the_least_activations_are_those_of_the_stem() {
    let space = CellSpace::default();
    for scale in &SCALES {
        let [channels, height, width] = scale.input;
        let stem = 3 * scale.channels;
        let needed = 4 * height * width * (stem + stem.max(channels));
        let fixed = |cell: &Cell| static_cost(&space.build(cell, scale).expect("the image is large enough"));
        let costs: Vec<StaticCost> = space.cheapest().iter().map(fixed).collect();
        let weights = costs.iter().map(|it| it.model_bytes).min();
        let at_once = costs.iter().any(|it| it.peak_bytes == needed as u64 && Some(it.model_bytes) == weights);
        assert!(at_once && costs.iter().all(|it| needed as u64 <= it.peak_bytes), "{scale:?}");
    }
}

#[test]
fn a_cell_that_passes_everything_on_is_the_cheapest_of_nas_bench_201() {
    let models = models();
    for scale in [scale(1, 4, [1, 8, 8]), scale(1, 1, [3, 32, 32])] {
        let (_, cheapest) = least(&NasBench201, NasBench201.cheapest(), &scale, &models);
        let (n, found) = least(&NasBench201, all(&NasBench201), &scale, &models);
        assert_eq!((n as u128, found), (NasBench201.size(), cheapest), "{scale:?}");
    }
    let archs: Vec<Arch> = all(&NasBench201).collect();
    assert!(Arch::all().all(|it| archs.contains(&it)));
}

#[test]
fn a_certificate_of_a_counted_space_is_that_of_its_bounds() {
    let space = CellSpace { blocks: 2..=2 };
    let scale = SCALES[5];
    for model in models().into_iter().step_by(4) {
        assert!(space.size() <= COUNTABLE && COUNTABLE < CellSpace::default().size());
        let networks = price_all(&space, &scale, |graph| Ok(model.price(graph))).expect("the image is large enough");
        let counted = Certificate::counted(&networks);
        let bounded = Certificate::bounded(&CellSpace::default(), &scale, &model).expect("the image is large enough");
        assert_eq!((counted.counted, bounded.counted), (Some(22_500), None));
        for metric in Metric::ALL {
            let figures = || networks.iter().filter_map(|(_, cost)| cost.get(metric));
            let Some(least) = figures().map(|it| it.high).min_by(f64::total_cmp) else {
                assert!(counted.get(metric, Side::Max).is_none(), "{metric:?} is not known");
                continue;
            };
            let most = figures().map(|it| it.low).max_by(f64::total_cmp);
            let [below, above] = [Side::Max, Side::Min].map(|side| counted.get(metric, side).expect("it is counted"));
            assert_eq!((below.figure.high, Some(above.figure.low)), (least, most), "{metric:?}");
            assert!(below.is_exact() && above.is_exact());
            // The whole space has no less than its cells of two blocks.
            let Some(bounded) = bounded.get(metric, Side::Max) else {
                assert_eq!(metric, Metric::Intensity);
                continue;
            };
            assert_eq!(
                (bounded.figure.high, bounded.hoped),
                (least, below.hoped),
                "{metric:?} on {}",
                model.target.name
            );
            assert!(bounded.is_exact());
            let arch: Cell = serde_json::from_value(bounded.arch.clone()).expect("it was an architecture");
            let again = model.price(&space.build(&arch, &scale).expect("the image is large enough"));
            assert_eq!(again.get(metric), Some(&bounded.figure));
        }
    }
}

/// A model that corrects what networks alike are off by: its least is a bound, and it holds.
#[test]
fn a_corrected_latency_is_bounded_from_below() {
    let mut model = CostModel::new(Target::find("rpi4").expect("built in"));
    let scale = scale(3, 8, [3, 16, 16]);
    let space = CellSpace::default();
    let work = |cell: &Cell| features(&space.build(cell, &scale).expect("the image is large enough"));
    let plain = model.latency.clone();
    let observed = (0..60).map(|step| {
        let cell = space.sample(&mut Uniform::new(3, "observed", step));
        // A threshold that no price explains.
        let large = 3 < cell.blocks.len();
        (work(&cell), plain.predict(&work(&cell)).value * if large { 1.6 } else { 0.7 })
    });
    model.latency.observe_all("a board", observed.collect::<Vec<_>>());
    assert!(model.latency.fit_report().corrected, "the test needs a correction");
    let certificate = Certificate::bounded(&space, &scale, &model).expect("the image is large enough");
    let latency = certificate.get(Metric::Latency, Side::Max).expect("it is priced");
    assert!(!latency.is_exact() && latency.needed < latency.figure.high);
    let lowest = |model: &LatencyModel, cells: &mut dyn Iterator<Item = Cell>| {
        cells.map(|cell| model.predict(&work(&cell)).high).fold(f64::INFINITY, f64::min)
    };
    let found = lowest(&model.latency, &mut all(&CellSpace { blocks: 2..=2 }).step_by(5));
    assert!(latency.needed <= found, "{found} < {}", latency.needed);
    let limit = |max: f64| Limit { metric: Metric::Latency, side: Side::Max, value: max };
    assert_eq!(certificate.reach(&limit(0.99 * latency.hoped)), Reach::Impossible);
    assert_eq!(certificate.reach(&limit(0.5 * (latency.hoped + latency.needed))), Reach::NotShown);
    assert_eq!(certificate.reach(&limit(latency.needed)), Reach::Possible);
    for step in 0..50 {
        let work = work(&space.sample(&mut Uniform::new(4, "floors", step)));
        assert_eq!(plain.floor(&work), plain.predict(&work), "without a correction there is nothing to bound");
        assert!(model.latency.floor(&work).high <= model.latency.predict(&work).high);
    }
}

fn published() -> Table {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/latency/nb201_cifar10_full.csv");
    match std::fs::read_to_string(path) {
        Ok(text) => Table::nas_bench_201(&text).expect("the table is whole"),
        Err(_) => {
            println!("made up: nb201_cifar10_full.csv (no ../shared/data)");
            Table::made_up(1).expect("sizes fit")
        }
    }
}

/// Metrics of a table's networks.
const TABLED: [Metric; 4] = [Metric::Params, Metric::Macs, Metric::Activations, Metric::Latency];

/// One network in plain numbers.
struct Plain {
    accuracy: f64,
    values: [f64; 4],
}

/// The oracle of the tests: budgets as lists of `(metric, is an upper bound, value)`.
type Limits = Vec<(usize, bool, f64)>;

fn is_met(&(metric, upper, value): &(usize, bool, f64), it: &Plain) -> bool {
    if upper { it.values[metric] <= value } else { value <= it.values[metric] }
}

fn best(limits: &Limits, networks: &[Plain]) -> Option<f64> {
    let inside = networks.iter().filter(|it| limits.iter().all(|limit| is_met(limit, it)));
    inside.map(|it| it.accuracy).max_by(f64::total_cmp)
}

/// Two to five limits; each the value of some network, or a little beside it.
fn draw(rng: &mut ChaCha8Rng, networks: &[Plain]) -> Limits {
    let mut pick = |n: usize| keyed::below(rng, n as u32) as usize;
    let mut limits: Limits = Vec::new();
    for _ in 0..2 + pick(4) {
        let (metric, upper) = (pick(4), 0 < pick(3));
        // The lowest of some draws is a tight upper bound, the highest a tight lower one.
        let some: Vec<f64> = (0..1 + pick(40)).map(|_| networks[pick(networks.len())].values[metric]).collect();
        let end = if upper { some.into_iter().fold(f64::MAX, f64::min) } else { some.into_iter().fold(0.0, f64::max) };
        if limits.iter().all(|it| (it.0, it.1) != (metric, upper)) {
            limits.push((metric, upper, end * [1.0, 1.0, 0.97, 1.05][pick(4)]));
        }
    }
    limits
}

fn budget(limits: &Limits) -> Budget {
    let bound = |&(metric, upper, value): &(usize, bool, f64)| Bound {
        metric: TABLED[metric],
        min: (!upper).then_some(value),
        max: upper.then_some(value),
        hard: true,
    };
    Budget { bounds: limits.iter().map(bound).collect() }
}

fn place(limit: &Limit) -> (usize, bool) {
    (TABLED.iter().position(|it| *it == limit.metric).expect("it is tabled"), limit.side == Side::Max)
}

/// Subsets that no network meets, none of them with a smaller one in it: every subset is tried.
fn brute_conflicts(limits: &Limits, networks: &[Plain]) -> Vec<Vec<(usize, bool)>> {
    let met = |it: &Plain| limits.iter().enumerate().map(|(bit, limit)| usize::from(is_met(limit, it)) << bit).sum();
    let met: BTreeSet<usize> = networks.iter().map(met).collect();
    let is_infeasible = |set: &usize| met.iter().all(|it| it & set != *set);
    let infeasible: Vec<usize> = (0..1 << limits.len()).filter(is_infeasible).collect();
    let minimal = infeasible.iter().filter(|set| !infeasible.iter().any(|it| it != *set && *it & **set == *it));
    let chosen = |set: usize| limits.iter().enumerate().filter(move |(bit, _)| set >> bit & 1 == 1);
    let mut sets: Vec<Vec<_>> = minimal.map(|set| chosen(*set).map(|(_, it)| (it.0, it.1)).collect()).collect();
    sets.sort();
    sets
}

fn relative(&(metric, upper, value): &(usize, bool, f64), it: &Plain) -> f64 {
    let found = it.values[metric];
    (if upper { found / value } else { value / found } - 1.0).max(0.0)
}

/// A thousand budgets, every finding against a count of its own.
#[test]
fn findings_are_those_of_counting_everything() {
    let table = published();
    let known: Vec<Known<'_>> = table.networks().map(|(it, cost)| Known { accuracy: Some(it), cost }).collect();
    let plain = |it: &Known<'_>| Plain {
        accuracy: it.accuracy.expect("all are trained"),
        values: TABLED.map(|metric| it.cost.get(metric).expect("it is tabled").value),
    };
    let networks: Vec<Plain> = known.iter().map(plain).collect();
    let check = |step: u64| -> bool {
        let limits = draw(&mut keyed::rng(5, "budgets", step), &networks);
        let (budget, best_within) = (budget(&limits), best(&limits, &networks));
        if step.is_multiple_of(20) {
            assert_eq!(table.best_within(&budget), best_within);
        }
        let judged = Judged::new(&budget, &known);
        check_conflicts(&judged, &limits, &networks);
        match best_within {
            Some(best_within) => {
                assert_eq!((judged.together(), judged.alone()), (None, Vec::new()));
                check_prices(&judged, &limits, best_within, &networks);
            }
            None => {
                assert!(judged.n_admitted() == 0 && judged.prices().is_empty());
                check_relaxations(&judged, &limits, &networks);
            }
        }
        best_within.is_some()
    };
    let check = &check;
    let n_feasible: usize = std::thread::scope(|scope| {
        let half = |first: u64| scope.spawn(move || (first..1000).step_by(2).filter(|step| check(*step)).count());
        [0, 1].map(half).into_iter().map(|it| it.join().expect("a check failed")).sum()
    });
    println!("{n_feasible} of 1000 budgets can be met; for instance:");
    for (max_params, max_latency) in [(300e3, 0.020), (100e3, 0.004)] {
        let budget = at_most(&[(Metric::Params, max_params), (Metric::Latency, max_latency)]);
        println!("{}", Explanation::new(&budget, &known, true, None));
    }
    assert!((200..800).contains(&n_feasible), "{n_feasible} of 1000: draw other bounds");
}

fn check_conflicts(judged: &Judged<'_>, limits: &Limits, networks: &[Plain]) {
    let mut sets: Vec<Vec<_>> = judged.conflicts().iter().map(|set| set.iter().map(place).collect()).collect();
    sets.sort();
    assert_eq!(sets, brute_conflicts(limits, networks), "{limits:?}");
}

fn check_relaxations(judged: &Judged<'_>, limits: &Limits, networks: &[Plain]) {
    let price = |it: &Plain| limits.iter().map(|limit| relative(limit, it)).fold(0.0, f64::max);
    let cheapest = networks.iter().map(price).fold(f64::INFINITY, f64::min);
    let changes = judged.together().expect("no bound is zero");
    let largest = changes.iter().map(Change::relative).fold(0.0, f64::max);
    assert_eq!(largest, cheapest, "{limits:?}");
    let moved = |limit: &(usize, bool, f64)| {
        let change = changes.iter().find(|it| place(&it.from) == (limit.0, limit.1));
        change.map_or(*limit, |it| (limit.0, limit.1, it.to))
    };
    // By so much it is met; by a little less it is not, whatever the others are relaxed by.
    assert!(changes.iter().all(|it| !it.from.allows(it.to)));
    assert!(best(&limits.iter().map(moved).collect(), networks).is_some(), "{changes:?}");
    let less = cheapest * (1.0 - 1e-9);
    let wider = |it: &(usize, bool, f64)| (it.0, it.1, if it.1 { it.2 * (1.0 + less) } else { it.2 / (1.0 + less) });
    assert!(best(&limits.iter().map(wider).collect(), networks).is_none(), "{changes:?}");

    let single = judged.alone();
    assert!(single.is_sorted_by(|a, b| a.relative() <= b.relative()));
    for limit in limits {
        let others: Limits = limits.iter().filter(|it| *it != limit).copied().collect();
        let inside = networks.iter().filter(|it| others.iter().all(|limit| is_met(limit, it)));
        let values = inside.map(|it| it.values[limit.0]);
        let expected = if limit.1 { values.min_by(f64::total_cmp) } else { values.max_by(f64::total_cmp) };
        let found = single.iter().find(|it| place(&it.from) == (limit.0, limit.1));
        assert_eq!(found.map(|it| it.to), expected, "{limits:?}");
    }
}

fn check_prices(judged: &Judged<'_>, limits: &Limits, best_within: f64, networks: &[Plain]) {
    let prices = judged.prices();
    assert_eq!(prices.len(), limits.len());
    for price in &prices {
        let at = limits.iter().position(|it| (it.0, it.1) == place(&price.limit)).expect("it is a limit");
        let with = |value: Option<f64>| {
            let mut limits = limits.clone();
            match value {
                Some(value) => limits[at].2 = value,
                None => drop(limits.remove(at)),
            }
            best(&limits, networks)
        };
        let (_, upper, value) = limits[at];
        let out = |step: f64| if upper { value + step } else { value - step };
        assert_eq!(price.best, best_within);
        assert!((0.02..0.1).contains(&(price.step / value)), "{} of {value}", price.step);
        assert_eq!(Some(price.relaxed), with(Some(out(price.step))), "{limits:?}");
        assert_eq!(price.tightened, with(Some(out(-price.step))), "{limits:?}");
        assert_eq!(Some(price.dropped), with(None), "{limits:?}");
        assert_eq!(price.binding, if best_within < price.dropped { Binding::Binds } else { Binding::Free });
        assert!(price.limit.allows(price.used.value));
        if let Some(next) = price.next {
            assert_eq!(with(Some(next.at)), Some(next.accuracy));
            let before = value + (next.at - value) * (1.0 - 1e-9);
            assert_eq!(with(Some(before)), Some(best_within), "{limits:?}");
        }
        let (from, width) = price.tightened.map_or((best_within, 1.0), |it| (it, 2.0));
        let marginal = price.marginal().expect("no bound is zero");
        assert!((marginal * price.step * width - 100.0 * (price.relaxed - from)).abs() < 1e-9);
    }
}

fn exact(figures: &[(Metric, f64)]) -> Cost {
    Cost { figures: figures.iter().map(|(metric, value)| (*metric, Figure::exact(*value))).collect() }
}

fn estimated(metric: Metric, [low, value, high]: [f64; 3]) -> Cost {
    let source = Source::Estimated { by: "not measured on rpi4".to_owned() };
    Cost { figures: BTreeMap::from([(metric, Figure { value, low, high, source })]) }
}

fn at_most(limits: &[(Metric, f64)]) -> Budget {
    let bound = |&(metric, max): &(Metric, f64)| Bound { metric, min: None, max: Some(max), hard: true };
    Budget { bounds: limits.iter().map(bound).collect() }
}

#[test]
fn limits_are_the_tightest_hard_sides() {
    let bound = |min, max, hard| Bound { metric: Metric::Macs, min, max, hard };
    let bounds = vec![
        bound(Some(1.0), Some(9.0), true),
        bound(None, Some(8.0), true),
        bound(Some(3.0), None, true),
        bound(Some(2.0), Some(8.5), true),
        bound(Some(5.0), Some(6.0), false),
    ];
    let limit = |side, value| Limit { metric: Metric::Macs, side, value };
    assert_eq!(Limit::all(&Budget { bounds }), [limit(Side::Min, 3.0), limit(Side::Max, 8.0)]);
    let check = |limit: Limit, value, expected: f64| assert_eq!(limit.relative(value), expected, "{limit}, {value}");
    check(limit(Side::Max, 8.0), 8.0, 0.0);
    check(limit(Side::Max, 8.0), 16.0, 1.0);
    check(limit(Side::Max, 0.0), 1.0, f64::INFINITY);
    check(limit(Side::Min, 8.0), 9.0, 0.0);
    check(limit(Side::Min, 8.0), 4.0, 1.0);
    check(limit(Side::Min, 8.0), 0.0, f64::INFINITY);
}

#[track_caller]
fn check_text(why: &Explanation, expected: &[&str]) {
    let text = why.to_string();
    println!("{text}\n");
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let json = serde_json::to_string(why).expect("plain data");
    assert_eq!(serde_json::from_str::<Explanation>(&json).expect("it was written so"), *why);
}

/// Two small networks that miss each other's bound.
fn two() -> [Cost; 2] {
    [(900.0, 0.030), (2_400.0, 0.018)].map(|(params, time)| exact(&[(Metric::Params, params), (Metric::Latency, time)]))
}

#[test]
fn bounds_that_do_not_hold_together_are_named() {
    let costs = two();
    let known = [0, 1].map(|idx| Known { accuracy: None, cost: &costs[idx] });
    let budget = at_most(&[(Metric::Params, 2_000.0), (Metric::Latency, 0.020)]);
    let seen = Explanation::new(&budget, &known, false, None);
    assert_eq!(seen.conflicts, [Limit::all(&budget)]);
    check_text(
        &seen,
        &[
            "None of 2 networks met the budget.",
            "  params at most 2 k: met by 1",
            "  latency at most 20 ms: met by 1",
            "Each met by some of the 2 networks, but never by one together: params at most 2 k and latency at most 20 ms.",
            "Relax the bounds: with params at most 2.4 k (+20 %) one of the networks seen is within.",
            "Or relax one alone: latency at most 30 ms (+50 %).",
        ],
    );
    let whole = Explanation::new(&budget, &known, true, None);
    check_text(
        &whole,
        &[
            "None of the 2 networks of the space meets the budget.",
            "  params at most 2 k: met by 1",
            "  latency at most 20 ms: met by 1",
            "No network of the space meets together: params at most 2 k and latency at most 20 ms.",
            "Relax the bounds: with params at most 2.4 k (+20 %) some network of the space is within; with less, none.",
            "Or relax one alone: latency at most 30 ms (+50 %).",
        ],
    );
}

#[test]
fn a_relaxation_that_is_typed_as_printed_is_enough() {
    let check = |metric: Metric, max: f64, needed: f64| {
        let cost = exact(&[(metric, needed)]);
        let known = [Known { accuracy: None, cost: &cost }];
        let text = Explanation::new(&at_most(&[(metric, max)]), &known, false, None).to_string();
        let advice =
            text.lines().find_map(|line| line.strip_prefix("Relax the bounds: with ")).expect("there is advice");
        let value = advice.split("at most ").nth(1).and_then(|it| it.split(" (").next()).expect("a quantity");
        let value = metric.parse(value).unwrap_or_else(|error| panic!("{error} in {text}"));
        assert!((needed..1.01 * needed).contains(&value), "{value} is not enough for {needed}: {text}");
    };
    for needed in [0.031_249, 0.1004, 0.999_8, 59.97, 3e-7] {
        check(Metric::Latency, 0.01 * needed, needed);
    }
    for needed in [999.0, 1_001.0, 123_456.0, 999_501.0, 1_500_001.0, 12.0] {
        check(Metric::Params, 0.5 * needed, needed);
        check(Metric::Flash, 0.9 * needed, needed);
    }
}

#[test]
fn an_estimate_is_never_called_a_proof() {
    let costs = [estimated(Metric::Latency, [0.01, 0.02, 0.04]), estimated(Metric::Latency, [0.02, 0.03, 0.06])];
    let known = [0, 1].map(|idx| Known { accuracy: Some(0.5), cost: &costs[idx] });
    let budget = at_most(&[(Metric::Latency, 0.030)]);
    let networks: Vec<(u8, Cost)> = costs.iter().cloned().enumerate().map(|(idx, it)| (idx as u8, it)).collect();
    let certificate = Certificate::counted(&networks);
    check_text(
        &Explanation::new(&budget, &known, true, Some(certificate.clone())),
        &[
            "None of the 2 networks of the space meets the budget.",
            "  latency at most 30 ms: never met; the nearest was 20 ms (10 ms to 40 ms, estimated, not measured on rpi4)",
            "Relax the bounds: with latency at most 40 ms (+34 %) some network of the space is within; with less, none.",
            "Fewer layers or channels take less of everything.",
            "By estimates of latency: a network is within where the whole interval is.",
        ],
    );
    // Without any network there are the ends of the space alone.
    let ends = |max| Explanation::new(&at_most(&[(Metric::Latency, max)]), &[], false, Some(certificate.clone()));
    check_text(
        &ends(0.030),
        &[
            "No estimate can show that a network of the space meets the budget.",
            "  latency at most 30 ms: not shown; the least in the space is 20 ms (10 ms to 40 ms, estimated, not measured \
             on rpi4): only a measurement can show it",
            "At the least, relax latency at most 40 ms (+34 %); that is necessary, and need not be enough.",
        ],
    );
    check_text(
        &ends(0.009),
        &[
            "By estimates no network of the space meets the budget.",
            "  latency at most 9 ms: impossible by estimates; the least in the space is 20 ms (10 ms to 40 ms, estimated, \
             not measured on rpi4)",
            "At the least, relax latency at most 10 ms (+12 %); that is necessary, and need not be enough.",
        ],
    );
    check_text(
        &ends(0.040),
        &[
            "Nothing is proven against the budget. Whether one network meets all bounds, a search finds out.",
            "  latency at most 40 ms: possible; the least in the space is 20 ms (10 ms to 40 ms, estimated, not measured \
             on rpi4)",
        ],
    );
}

#[test]
fn prices_are_told_by_what_is_known() {
    let rows = [(0.70, 0.010, 10.0), (0.80, 0.020, 30.0), (0.87, 0.021, 20.0), (0.90, 0.030, 20.0)];
    let costs = rows.map(|(_, time, memory)| exact(&[(Metric::Latency, time), (Metric::Memory, memory * 1_048_576.0)]));
    let budget = at_most(&[(Metric::Latency, 0.020), (Metric::Memory, 64.0 * 1_048_576.0)]);
    let known = [0, 1, 2, 3].map(|idx| Known { accuracy: Some(rows[idx].0), cost: &costs[idx] });
    check_text(
        &Explanation::new(&budget, &known, true, None),
        &[
            "2 of the 4 networks of the space are within the budget; the best has an accuracy of 80.00 %.",
            "  latency at most 20 ms binds: +1 ms buys 7.00 points; -1 ms costs 10.00 points; without it 10.00 points; the \
             best takes 20 ms",
            "  memory at most 64 MiB does not bind: without it no network is better; -4 MiB costs nothing; the best takes \
             30 MiB",
        ],
    );
    // As in a search that trains nothing beyond a bound.
    let known = [0, 1, 2, 3].map(|idx| Known { accuracy: (idx < 2).then_some(rows[idx].0), cost: &costs[idx] });
    check_text(
        &Explanation::new(&budget, &known, false, None),
        &[
            "2 of 4 networks were within the budget; the best has an accuracy of 80.00 %.",
            "  latency at most 20 ms: what more would buy is not known, for no network beyond it was trained; -1 ms costs \
             10.00 points; the best takes 20 ms",
            "  memory at most 64 MiB does not bind: without it no better network was seen; -4 MiB costs nothing; the best \
             takes 30 MiB",
        ],
    );
    let price = &Judged::new(&budget, &known).prices()[0];
    assert_eq!((price.binding, price.tightened, price.step), (Binding::Unknown, Some(0.70), 0.001));
}

#[test]
fn what_is_known_of_no_network_speaks_against_none() {
    let costs = two();
    let known = [0, 1].map(|idx| Known { accuracy: None, cost: &costs[idx] });
    let budget = at_most(&[(Metric::Params, 500.0), (Metric::TrainTime, 60.0)]);
    let why = Explanation::new(&budget, &known, false, None);
    assert_eq!(why.conflicts, [Limit::all(&budget)[..1].to_vec()]);
    assert_eq!((why.together.as_ref(), why.alone.len()), (None, 0), "nobody knows what would be enough");
    assert!(why.to_string().contains("train-time at most 1 min: never known"), "{why}");
    let none = Judged::new(&budget, &[]);
    assert!(none.conflicts().is_empty() && none.together().is_none() && none.alone().is_empty());
    // No relative change makes an upper bound of zero larger.
    let zero = Explanation::new(&at_most(&[(Metric::Params, 0.0)]), &known, false, None);
    assert_eq!((zero.together.as_ref(), zero.alone[0].to), (None, 900.0));
    assert!(zero.to_string().contains("relax one alone: params at most 900."), "{zero}");
}

#[test]
fn a_study_is_read_by_accuracies_that_compare() {
    let trial = |strategy: &str, phase, arch: u8, accuracy, epochs, params| Trial {
        trial: 0,
        strategy: strategy.to_owned(),
        phase,
        epoch: 0,
        arch: arch.into(),
        accuracy,
        epochs,
        curve: Vec::new(),
        predicted: None,
        cost: exact(&[(Metric::Params, params)]),
        reward: None,
        admitted: true,
    };
    let accuracies = |trials: &[Trial]| -> Vec<(Option<f64>, f64)> {
        let params = |it: &Known<'_>| it.cost.get(Metric::Params).expect("it is counted").value;
        Known::of_trials(trials).iter().map(|it| (it.accuracy, params(it))).collect()
    };
    // Shared weights: candidates count, of the first strategy; a network is there once, with its last cost.
    let shared = [
        trial("b-enas", Phase::Explore, 1, Some(0.2), None, 10.0),
        trial("b-enas", Phase::Select, 1, Some(0.6), None, 11.0),
        trial("b-enas", Phase::Explore, 2, Some(0.3), None, 20.0),
        trial("random-ws", Phase::Select, 3, Some(0.9), None, 30.0),
        trial("random-ws", Phase::Select, 1, Some(0.8), None, 11.0),
    ];
    assert_eq!(accuracies(&shared), [(Some(0.6), 11.0), (None, 20.0), (None, 30.0)]);
    // Trained each on its own: the longest training.
    let alone = [
        trial("asha", Phase::Explore, 1, Some(0.2), Some(4), 10.0),
        trial("asha", Phase::Explore, 2, Some(0.4), Some(16), 20.0),
        trial("asha", Phase::Explore, 3, None, None, 30.0),
    ];
    assert_eq!(accuracies(&alone), [(None, 10.0), (Some(0.4), 20.0), (None, 30.0)]);
    assert_eq!(accuracies(&[]), []);
}

/// The engine computes equal blocks once: read in pairs they make a cell faster than one that only chains.
#[test]
fn equal_blocks_are_as_cheap_as_one() {
    let model = CostModel::new(Target::find("rpi4").expect("built in"));
    let block = |inputs| Block { inputs, ops: [CellOp::Identity; 2] };
    let latency = |space: &CellSpace, cell: &Cell| {
        let graph = space.build(cell, &SCALES[5]).expect("the image is large enough");
        model.price(&graph).get(Metric::Latency).expect("it is priced").value
    };
    let space = CellSpace { blocks: 3..=3 };
    let chained = Cell { blocks: vec![block([0, 0]), block([2, 2]), block([3, 3])] };
    let paired = Cell { blocks: vec![block([0, 0]), block([0, 0]), block([2, 3])] };
    assert!(latency(&space, &paired) < latency(&space, &chained));
    assert!(space.cheapest().contains(&paired));
}
