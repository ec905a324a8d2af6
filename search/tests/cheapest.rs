//! What no network of a space is cheaper than, against everything counted out.
#![expect(clippy::print_stdout, reason = "texts are to be read, and a skipped test says so")]

use data::keyed;
use graph::cost::{StaticCost, static_cost};
use search::{
    chooser::{Chooser, Kind, Odometer, Question, Uniform},
    feasibility::{COUNTABLE, Certificate, Limit, Reach, Side, price_all},
    space::{
        Scale, SearchSpace, Task, all,
        cell::{Block, Cell, CellOp, CellSpace},
        nas_bench_201::{Arch, NasBench201},
    },
};
use targets::{CostModel, Features, LatencyModel, Metric, Target, Work, features};

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
