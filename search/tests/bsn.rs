//! Fabrics, and budgeted super networks on weights that learn nothing: loss and accuracy are a known function of the
//! edges that a network has.
#![expect(clippy::print_stdout, reason = "the figures are a table to read")]

use std::{cell::RefCell, collections::HashMap, time::Duration};

use data::keyed;
use graph::{
    Graph, Op,
    cost::{StaticCost, static_cost},
    parallel::parallel_steps,
};
use search::{
    Result,
    children::Children,
    chooser::{Chooser, Kind, Question},
    evaluator::{Saved, SharedWeights, Step},
    oracle::{Oracle, Table},
    space::{
        Scale, SearchSpace, Task,
        fabric::{Arch, Fabric},
        nas_bench_201::{NasBench201, PUBLISHED},
    },
    strategy::{
        Chosen, Strategy,
        bsn::{self, Bsn, Charge, Parallel, Settings},
        random_ws::{self, RandomWs},
    },
    study::{Progress, Signal, Study, Unwatched, Watch},
};
use targets::{Bound, Budget, Cost, Figure, Metric};

const PAPER: Fabric = Fabric::Cnf { layers: 8, scales: 6 };
const RESNET: Fabric = Fabric::ResNet { stages: 3, blocks: 3 };
const SMALL: Fabric = Fabric::Cnf { layers: 4, scales: 2 };
const LARGE: Fabric = Fabric::Cnf { layers: 4, scales: 3 };
const FABRICS: [Fabric; 8] = [
    PAPER,
    RESNET,
    SMALL,
    Fabric::Cnf { layers: 1, scales: 1 },
    Fabric::Cnf { layers: 1, scales: 4 },
    Fabric::Cnf { layers: 2, scales: 5 },
    Fabric::ResNet { stages: 1, blocks: 2 },
    Fabric::ResNet { stages: 4, blocks: 1 },
];

fn scale(channels: usize, side: usize) -> Scale {
    Scale { layers: 0, channels, input: [3, side, side], classes: 10, front_end: None, task: Task::Classification }
}

/// Says yes with a probability in percent.
struct Biased(keyed::ChaCha8Rng, u32);

impl Chooser for Biased {
    fn choose(&mut self, question: Question) -> usize {
        assert_eq!(question, Question { kind: Kind::Skip, options: 2 });
        usize::from(keyed::below(&mut self.0, 100) < self.1)
    }
}

fn drawn(fabric: Fabric, seed: u64) -> Arch {
    fabric.sample(&mut Biased(keyed::rng(seed, "drawn", 0), [20, 55, 70, 85, 95][seed as usize % 5]))
}

fn all(fabric: Fabric) -> impl Iterator<Item = Arch> {
    let n = fabric.n_edges();
    (0..1_usize << n).map(move |bits| Arch { on: (0..n).map(|edge| bits >> edge & 1 == 1).collect() })
}

#[test]
fn fabrics_have_the_edges_of_their_formulas() {
    for fabric in FABRICS {
        let expected = match fabric {
            Fabric::Cnf { layers, scales } => {
                let ends = if layers == 1 { 1 } else { 2 };
                (layers - 1) * (3 * scales - 2) + ends * (scales - 1)
            }
            Fabric::ResNet { stages, blocks } => 2 * stages * blocks + 2 * (stages - 1) * (3 * blocks - 2),
        };
        assert_eq!(fabric.n_edges(), expected, "{fabric:?}");
        assert_eq!(fabric.size(), 1 << expected, "{fabric:?}");
    }
    assert_eq!((PAPER.n_edges(), RESNET.n_edges()), (122, 46));
    assert_eq!(Fabric::Cnf { layers: 100, scales: 6 }.size(), u128::MAX);
}

#[test]
fn whole_fabrics_cost_what_their_edges_do() {
    let cost = |fabric: Fabric, channels| {
        let on = vec![true; fabric.n_edges()];
        static_cost(&fabric.build(&Arch { on }, &scale(channels, 32)).expect("it fits"))
    };
    // The paper's: 122 convolutions and the stem with their norms, and the classifier.
    let (f, conv) = (128, 128 * 128 * 9);
    assert_eq!(cost(PAPER, 128).params, 122 * (conv + 2 * f) + 3 * f * 9 + 2 * f + f * 10 + 10);
    // By what a place reads: the same scale in 7 layers, the finer one in 7 more and at both ends, the coarser one in 7.
    let pixels = |scale: u64| (32_u64 >> scale).pow(2);
    let same: u64 = (0..6).map(|scale| 7 * pixels(scale)).sum();
    let finer: u64 = (1..6).map(|scale| 9 * pixels(scale)).sum();
    let coarser: u64 = (0..5).map(|scale| 7 * pixels(scale)).sum();
    assert_eq!(cost(PAPER, 128).macs, conv * (same + finer + coarser) + 3 * f * 9 * pixels(0) + f * 10);
    // Without the shortcuts it is ResNet-20, with 1x1 projections where it halves.
    let [a, b, c] = [16, 32, 64];
    let convs = 3 * a * 9 + 6 * a * a * 9 + (a * b + 5 * b * b) * 9 + (b * c + 5 * c * c) * 9 + a * b + b * c;
    let norms = 2 * (7 * a + 7 * b + 7 * c);
    let resnet = static_cost(&RESNET.build(&Arch { on: resnet_20() }, &scale(16, 32)).expect("it fits"));
    assert_eq!(resnet.params, convs + norms + c * 10 + 10);
}

/// The edges between neighbours: of each block's the first two, its residual and its skip path. A block has two more
/// for each of two or three places of the stage before.
fn resnet_20() -> Vec<bool> {
    let n_edges = [2, 2, 2, 6, 8, 6, 6, 8, 6];
    let on: Vec<bool> = n_edges.into_iter().flat_map(|n| (0..n).map(|edge| edge < 2)).collect();
    assert_eq!(on.len(), RESNET.n_edges());
    on
}

#[test]
fn every_architecture_builds_a_network_without_dead_parts() {
    for fabric in FABRICS {
        let mut costs = HashMap::new();
        for seed in 0..100 {
            let arch = drawn(fabric, seed);
            for side in [32, 28, 7, 1] {
                let graph = fabric.build(&arch, &scale(8, side)).expect("every image fits");
                assert!(0 < static_cost(&graph).macs);
                let unread = graph.n_users().iter().filter(|users| **users == 0).count();
                assert_eq!(unread, 1, "only the answer has no reader: {fabric:?} {arch:?}");
                let pruned = fabric.build(&Arch { on: fabric.used(&arch) }, &scale(8, side)).expect("it fits");
                assert_eq!(graph, pruned);
                if side == 32 {
                    costs.insert(graph.fingerprint(), static_cost(&graph));
                }
            }
        }
        let distinct = costs.len();
        assert!(fabric.n_edges() < 25 || 60 < distinct, "{fabric:?}: {distinct} networks of 100");
    }
}

#[test]
fn without_a_way_the_cheapest_stands_in() {
    for fabric in [SMALL, Fabric::Cnf { layers: 2, scales: 4 }, Fabric::ResNet { stages: 2, blocks: 2 }] {
        let build = |arch: &Arch| fabric.build(arch, &scale(8, 32)).expect("it fits");
        let cheapest: Vec<Graph> = fabric.cheapest().iter().map(build).collect();
        let of = [
            |cost: &StaticCost| cost.params,
            |cost: &StaticCost| cost.macs,
            |cost: &StaticCost| cost.model_bytes,
            |cost: &StaticCost| cost.peak_bytes,
            |cost: &StaticCost| cost.n_ops,
        ];
        let least = of.map(|of| cheapest.iter().map(|graph| of(&static_cost(graph))).min().expect("there is one"));
        let mut without = 0;
        for arch in all(fabric) {
            let graph = build(&arch);
            let cost = static_cost(&graph);
            assert!(of.iter().zip(least).all(|(of, least)| least <= of(&cost)), "{fabric:?}: {arch:?} is cheaper");
            let used = fabric.used(&arch);
            if used.iter().zip(&arch.on).any(|(used, on)| *used && !on) {
                without += 1;
                assert_eq!(graph, cheapest[0]);
            }
        }
        assert!(0 < without);
    }
    // Straight down, then along the coarser scale.
    let graph = SMALL.build(&SMALL.cheapest()[0], &scale(8, 32)).expect("it fits");
    let convs: Vec<String> =
        graph.ids().filter(|id| matches!(graph.op(*id), Op::Conv2d(_))).map(|id| graph.name(id)).collect();
    assert_eq!(
        convs,
        ["stem/conv", "layer1/scale1/from0/conv", "layer2/scale1/from3/conv", "layer3/scale1/from5/conv"]
    );
}

/// What edges are worth, by their names: some of them harm. A network's quality lies in `(0, 1)`.
struct World {
    seed: u64,
    qualities: RefCell<HashMap<u64, f64>>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self { seed, qualities: RefCell::default() }
    }

    fn quality(&self, graph: &Graph) -> f64 {
        *self.qualities.borrow_mut().entry(graph.digest()).or_insert_with(|| {
            let is_edge = |name: &String| name.contains("from") && name.ends_with("conv");
            let worth = |name: String| unit(self.seed, &name, 0) - 0.35;
            let sum: f64 = graph.ids().map(|id| graph.name(id)).filter(is_edge).map(worth).sum();
            1.0 / (1.0 + (-sum).exp())
        })
    }
}

/// Uniform in `[0, 1)`.
fn unit(seed: u64, purpose: &str, step: u64) -> f64 {
    f64::from(keyed::below(&mut keyed::rng(seed, purpose, step), 1 << 20)) / f64::from(1 << 20)
}

/// Loss of a network of no quality, in nats: that of guessing one of ten.
const MOST_LOSS: f64 = 2.3;

/// Weights that know what each network is worth, up to the luck of a minibatch.
struct Known<'a> {
    world: &'a World,
    n_batches: usize,
    steps: u64,
    scored: u64,
    /// Steps and scores of this session.
    spent: [usize; 2],
}

impl<'a> Known<'a> {
    fn new(world: &'a World, n_batches: usize) -> Self {
        Self { world, n_batches, steps: 0, scored: 0, spent: [0; 2] }
    }
}

fn exact(graph: &Graph) -> Cost {
    let fixed = static_cost(graph);
    let figures = [(Metric::Params, fixed.params), (Metric::Macs, fixed.macs), (Metric::Flash, fixed.model_bytes)];
    Cost { figures: figures.into_iter().map(|(metric, value)| (metric, Figure::exact(value as f64))).collect() }
}

impl SharedWeights for Known<'_> {
    fn n_batches(&self) -> usize {
        self.n_batches
    }

    fn train_step(&mut self, child: &Graph) -> Result<Step> {
        self.steps += 1;
        self.spent[0] += 1;
        let luck = 0.2 * (unit(self.world.seed, "batch", self.steps) - 0.5);
        Ok(Step { loss: MOST_LOSS * (1.0 - self.world.quality(child)) + luck, took: Duration::ZERO })
    }

    fn accuracy(&mut self, child: &Graph) -> Result<f64> {
        self.scored += 1;
        self.spent[1] += 1;
        Ok(self.world.quality(child) + 0.05 * (unit(self.world.seed, "score", self.scored) - 0.5))
    }

    fn validate(&mut self, child: &Graph) -> Result<f64> {
        self.spent[1] += 1;
        Ok(self.world.quality(child))
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        Ok(exact(deployed))
    }

    fn save(&self) -> Result<Saved> {
        Ok(Saved { steps: self.steps, validated: self.scored, ..Saved::default() })
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        (self.steps, self.scored) = (saved.steps, saved.validated);
        Ok(())
    }
}

fn bound(metric: Metric, max: f64, hard: bool) -> Bound {
    Bound { metric, min: None, max: Some(max), hard }
}

/// Settings for short searches: fewer and longer steps of the logits.
fn hasty() -> Settings {
    Settings { epochs: 30, path_lr: 2e-3, charge: Charge::Relative(LAMBDA), ..Settings::default() }
}

/// Nats for a cost of twice its bound.
const LAMBDA: f64 = 1.0;

fn search_small(settings: Settings, world: &World, study: &mut Study, seed: u64) -> (Bsn, Vec<Chosen<Arch>>) {
    let mut bsn = Bsn::new(settings, scale(4, 16), scale(8, 16), seed);
    let found = bsn.search(&SMALL, &mut Known::new(world, 40), study).expect("a known world answers");
    (bsn, found)
}

#[test]
fn charges_are_those_of_the_formula() {
    let check = |charge: Charge, bound: Bound, value: f64, expected: f64| {
        let found = charge.of(&bound, value);
        assert!((found - expected).abs() < 1e-9, "{charge:?} at {value}: {found}, not {expected}");
    };
    let most = bound(Metric::Macs, 1e8, false);
    for (value, per_unit, relative) in [(0.0, 0.0, 0.0), (1e8, 0.0, 0.0), (1.1e8, 1.0, 0.2), (2e8, 10.0, 2.0)] {
        check(Charge::PerUnit(1e-7), most, value, per_unit);
        check(Charge::Relative(2.0), most, value, relative);
    }
    let least = Bound { min: Some(10.0), max: None, ..most };
    check(Charge::PerUnit(1.0), least, 4.0, 6.0);
    check(Charge::Relative(1.0), least, 5.0, 1.0);
    check(Charge::Relative(1.0), least, 11.0, 0.0);
    assert!(Charge::Relative(1.0).of(&bound(Metric::Macs, 0.0, false), 1.0).is_finite());
    assert_eq!(Settings::default().charge, Charge::PerUnit(1e-7));
}

#[test]
fn the_expected_cost_is_that_of_the_edges_probabilities() {
    let world = World::new(0);
    let mut bsn = Bsn::new(Settings { expectation: 2000, ..hasty() }, scale(8, 16), scale(8, 16), 3);
    let (mut known, mut study) = (Known::new(&world, 1), Study::new(Budget::default(), Box::new(Unwatched)));
    let mut children = Children::new(bsn::NAME, &SMALL, &mut known, &mut study, [scale(8, 16); 2]);
    let told = bsn.expectation(&mut children).expect("a known world answers");
    let p = 1.0 / (1.0 + (-3.0_f64).exp());
    let chance = |arch: &Arch| arch.on.iter().map(|on| if *on { p } else { 1.0 - p }).product::<f64>();
    for metric in [Metric::Params, Metric::Macs] {
        let cost = |arch: &Arch| exact(&SMALL.build(arch, &scale(8, 16)).expect("it fits")).figures[&metric].value;
        let expected: f64 = all(SMALL).map(|arch| chance(&arch) * cost(&arch)).sum();
        let found = told[&metric];
        assert!((found.mean - expected).abs() < 4.0 * found.standard_error, "{found:?}, not {expected}");
        assert!(found.standard_error < 0.02 * expected, "{found:?}");
    }
}

#[test]
fn it_beats_random_search_at_equal_cost_and_keeps_every_hard_bound() {
    // Within this share of what the whole fabric costs.
    for (fabric, share, hard) in [(SMALL, 1.0, true), (LARGE, 0.5, true), (LARGE, 0.5, false)] {
        let rows: Vec<[f64; 3]> = (0..24).map(|seed| compare(fabric, share, hard, seed)).collect();
        let column = |nth: usize| mean(rows.iter().map(|row| row[nth]));
        let [gain, spread] = mean(rows.iter().map(|[learned, random, _]| learned - random));
        let ([learned, _], [random, _], [best, _]) = (column(0), column(1), column(2));
        println!("{fabric:?}, {share}, {hard}: {learned:.3}, random {random:.3}, best {best:.3}; gain {spread:.3}");
        assert!(2.0 * spread < gain, "{fabric:?}, {share}, {hard}: {gain} +- {spread}");
        assert!(best.is_infinite() || best - learned < 0.5 * (best - random), "a regret of {}", best - learned);
    }
}

/// What the answers of BSN and of random search are worth, and what the best network is, where it can be found.
fn compare(fabric: Fabric, share: f64, hard: bool, seed: u64) -> [f64; 3] {
    let world = World::new(seed);
    let build = |arch: &Arch, channels| fabric.build(arch, &scale(channels, 16)).expect("it fits");
    let whole = exact(&build(&Arch { on: vec![true; fabric.n_edges()] }, 8));
    let limit = |metric: Metric| bound(metric, share * whole.figures[&metric].value, hard);
    let budget = Budget { bounds: [Metric::Macs, Metric::Params].map(limit).into() };
    // A soft bound takes from the worth as much as it adds to the loss.
    let worth = |arch: &Arch| {
        let excess: f64 = budget.excesses(&exact(&build(arch, 8))).sum();
        world.quality(&build(arch, 4)) - LAMBDA / MOST_LOSS * excess
    };
    let answers = |strategy: &mut dyn for<'w> Strategy<Fabric, dyn SharedWeights + 'w>| {
        let mut study = Study::new(budget.clone(), Box::new(Unwatched));
        let found = strategy.search(&fabric, &mut Known::new(&world, 60), &mut study).expect("a known world answers");
        assert!(!found.is_empty() && found.iter().all(|it| budget.admits(&it.cost)), "a hard bound is broken");
        found
    };
    let learned = worth(&answers(&mut Bsn::new(hasty(), scale(4, 16), scale(8, 16), seed))[0].arch);
    let settings = random_ws::Settings { epochs: 30, scored: 40, finalists: 10, proposals: 10_000 };
    let random = answers(&mut RandomWs::new(settings, scale(4, 16), scale(8, 16), seed));
    // What a soft bound takes from an answer of random search is not what it takes here: it may take the worthiest of
    // its finalists.
    let random = random.iter().map(|it| worth(&it.arch)).fold(f64::NEG_INFINITY, f64::max);
    let best = if fabric == SMALL { all(fabric).map(|arch| worth(&arch)).fold(0.0, f64::max) } else { f64::INFINITY };
    [learned, random, best]
}

/// Mean and its standard error.
fn mean(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let values: Vec<f64> = values.collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0);
    [mean, (variance / n).sqrt()]
}

#[test]
fn a_charge_moves_the_expected_cost_into_the_budget() {
    let world = World::new(5);
    let full = Arch { on: vec![true; SMALL.n_edges()] };
    let most = exact(&SMALL.build(&full, &scale(8, 16)).expect("it fits")).figures[&Metric::Macs].value;
    let expected = |charge: Charge| {
        let bounds = vec![bound(Metric::Macs, 0.4 * most, false)];
        let mut study = Study::new(Budget { bounds }, Box::new(Unwatched));
        let (bsn, _) = search_small(Settings { charge, ..hasty() }, &world, &mut study, 0);
        bsn.expected()[&Metric::Macs].mean / most
    };
    let (free, charged) = (expected(Charge::Relative(0.0)), expected(Charge::Relative(4.0)));
    assert!(charged < 0.5 && charged < free, "{charged} of the whole fabric with a charge, {free} without");
    // The paper's unit: so many nats for so many operations.
    let per_unit = expected(Charge::PerUnit(4.0 / (0.4 * most)));
    assert!((per_unit - charged).abs() < 1e-9, "the two forms agree for one bound: {per_unit} and {charged}");
}

#[test]
fn parallel_steps_are_kept() {
    let world = World::new(1);
    let steps = |arch: &Arch| parallel_steps(&SMALL.build(arch, &scale(8, 16)).expect("it fits"), 2);
    let free = {
        let (_, found) = search_small(hasty(), &world, &mut Study::new(Budget::default(), Box::new(Unwatched)), 0);
        steps(&found[0].arch)
    };
    let most = free - 3;
    let parallel = Some(Parallel { workers: 2, most, lambda: 0.2 });
    let mut study = Study::new(Budget::default(), Box::new(Unwatched));
    let (_, found) = search_small(Settings { parallel, ..hasty() }, &world, &mut study, 0);
    assert!(!found.is_empty() && found.iter().all(|it| steps(&it.arch) <= most));
}

#[test]
fn bounds_that_next_to_nothing_meets_are_met_and_those_that_nothing_meets_are_not() {
    let world = World::new(2);
    let cheapest = exact(&SMALL.build(&SMALL.cheapest()[0], &scale(8, 16)).expect("it fits"));
    let params = cheapest.figures[&Metric::Params].value;
    let found = |most: f64| {
        let bounds = vec![bound(Metric::Params, most, true)];
        let settings = Settings { epochs: 1, proposals: 150, charge: Charge::Relative(0.0), ..hasty() };
        search_small(settings, &world, &mut Study::new(Budget { bounds }, Box::new(Unwatched)), 0).1
    };
    assert!(!found(params).is_empty());
    assert!(found(params - 1.0).is_empty());
}

#[test]
fn it_trains_and_scores_no_more_than_it_says() {
    let world = World::new(3);
    let settings = hasty();
    let mut weights = Known::new(&world, 40);
    let mut study = Study::new(Budget::default(), Box::new(Unwatched));
    let mut bsn = Bsn::new(settings.clone(), scale(4, 16), scale(8, 16), 0);
    bsn.search(&SMALL, &mut weights, &mut study).expect("it answers");
    assert_eq!(weights.spent[0], settings.epochs * 40);
    assert!(weights.spent[1] <= settings.epochs + settings.candidates, "{:?}", weights.spent);
    assert_eq!(study.trials().len(), weights.spent[1]);
}

/// Ends a search after a number of looks.
struct Ends(u64, Signal);

impl Watch for Ends {
    fn look(&mut self, _: &Progress<'_>) -> Signal {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { self.1 } else { Signal::Continue }
    }
}

#[test]
fn a_resumed_search_ends_as_one_that_was_not_interrupted() {
    let world = World::new(4);
    let most = 60_000.0;
    let budget = || Budget { bounds: vec![bound(Metric::Macs, most, true)] };
    let folder = tempfile::tempdir().expect("a folder");
    let run = |watch: Box<dyn Watch>| {
        let mut study = Study::open(folder.path(), budget(), watch).expect("it opens");
        let mut bsn = Bsn::new(hasty(), scale(4, 16), scale(8, 16), 7);
        let found = bsn.search(&SMALL, &mut Known::new(&world, 40), &mut study);
        (found, std::fs::read(folder.path().join("study.jsonl")).expect("it is there"))
    };
    let (stopped, _) = run(Box::new(Ends(333, Signal::Stop)));
    assert!(matches!(stopped, Err(search::Error::Interrupted)));
    let (resumed, journal) = run(Box::new(Unwatched));
    let mut study = Study::new(budget(), Box::new(Unwatched));
    let (_, found) = search_small(hasty(), &world, &mut study, 7);
    assert_eq!(found, resumed.expect("it answers"));
    let lines: Vec<String> =
        study.trials().iter().map(|it| serde_json::to_string(it).expect("plain data") + "\n").collect();
    assert_eq!(lines.concat().into_bytes(), journal);
}

#[test]
fn a_deadline_ends_it_with_an_answer() {
    let world = World::new(4);
    let mut study = Study::new(Budget::default(), Box::new(Ends(10, Signal::WrapUp)));
    let mut weights = Known::new(&world, 40);
    let mut bsn = Bsn::new(hasty(), scale(4, 16), scale(8, 16), 0);
    let found = bsn.search(&SMALL, &mut weights, &mut study).expect("it answers");
    assert_eq!((found.len(), weights.spent), (1, [10, 1]));
    // Hardly anything was learned: what is probably on is everything.
    assert!(found[0].arch.on.iter().all(|on| *on));
}

#[test]
fn it_searches_other_spaces_too() {
    let table = Table::made_up(1).expect("sizes fit");
    let mut oracle = Oracle::new(&table);
    oracle.n_batches = 8;
    let mut study = Study::new(Budget { bounds: vec![bound(Metric::Latency, 20e-3, true)] }, Box::new(Unwatched));
    let mut bsn = Bsn::new(Settings { epochs: 3, ..Settings::default() }, PUBLISHED, PUBLISHED, 0);
    let found = bsn.search(&NasBench201, &mut oracle, &mut study).expect("a table answers");
    assert!(!found.is_empty() && found.iter().all(|it| study.budget.admits(&it.cost)));
}
