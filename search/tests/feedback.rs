//! Does measuring pay? Searches over NAS-Bench-201 with its published Raspberry Pi 4 times as the
//! board: what is measured, what is returned, and how far that is from the known optimum.
#![expect(clippy::print_stdout, reason = "the figures are a published table, and a skipped test says so")]

use std::{cell::Cell, collections::HashMap, rc::Rc, sync::Arc};

use data::keyed::{self, ChaCha8Rng};
use graph::Graph;
use search::{
    penalty::{Penalty, Reward},
    pricing::Pricer,
};
use targets::{
    Bound, Budget, Cost, CostModel, Figure, Meter, MeterError, Metric, Reading, Source, Target, features,
    stats::quantile,
};

#[expect(dead_code, reason = "the same file builds other published networks for other tests")]
#[path = "../../targets/tests/it/networks.rs"]
mod networks;

/// Searches for each bound; `SEARCHES=200` in the environment makes the published table.
fn n_searches() -> u64 {
    std::env::var("SEARCHES").map_or(40, |text| text.parse().expect("SEARCHES is a number"))
}

/// Bounds on latency, in milliseconds.
const BOUNDS: [f64; 5] = [10.0, 15.0, 20.0, 30.0, 40.0];

/// Most networks that one search may have measured.
const MOST_MEASURED: usize = 60;

/// Mean regret allowed: points of accuracy that an answer lacks to the best network within the bound.
const REGRET: f64 = 0.6;

#[test]
fn measured_searches_never_break_their_bound() {
    let Some(world) = World::read() else { return };
    let n = n_searches();
    println!("{} networks, {n} searches a bound, {TRIALS} trials a search", world.networks.len());
    println!(
        "| bound | over the bound | measured: median, 90 %, most | regret: mean, largest | told: regret | trusting: over the bound |"
    );
    println!("|---|---|---|---|---|---|");
    let rows: Vec<Vec<Found>> = std::thread::scope(|scope| {
        let world = &world;
        let started = BOUNDS.map(|ms| scope.spawn(move || (0..n).map(|seed| world.find(1e-3 * ms, seed)).collect()));
        started.into_iter().map(|it| it.join().expect("a search does not panic")).collect()
    });
    let mut trusted_over = 0.0;
    for (ms, found) in BOUNDS.into_iter().zip(&rows) {
        let row = Row::new(&world, 1e-3 * ms, found);
        println!("| {ms} ms | {row} |");
        trusted_over += row.trusted_over / BOUNDS.len() as f64;
        assert_eq!(row.over, 0.0, "{ms} ms: a returned network breaks the bound");
        assert!(row.measured[2] <= MOST_MEASURED as f64, "{ms} ms: {} measured", row.measured[2]);
        assert!(row.regret[0] <= REGRET, "{ms} ms: a mean regret of {}", row.regret[0]);
    }
    assert!(0.1 <= trusted_over, "an unmeasured answer breaks its bound in {trusted_over} of the searches");
}

/// What the searches with one bound came to.
struct Row {
    /// Share of returned networks that break the bound.
    over: f64,
    /// Networks measured in a search: median, 90 %, most.
    measured: [f64; 3],
    /// Points of accuracy below the best network within the bound: mean and most.
    regret: [f64; 2],
    /// Mean regret of the search that is told every latency.
    told_regret: f64,
    /// `over` of the search that trusts a model.
    trusted_over: f64,
}

impl Row {
    fn new(world: &World, bound: f64, found: &[Found]) -> Self {
        let mean = |of: &dyn Fn(&Found) -> f64| found.iter().map(of).sum::<f64>() / found.len() as f64;
        let sorted = |of: &dyn Fn(&Found) -> f64| {
            let mut values: Vec<f64> = found.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let is_over = |idx: usize| f64::from(u8::from(bound < world.networks[idx].seconds));
        let best = world.best_within(bound);
        let regret = |idx: usize| best - world.networks[idx].accuracy;
        let at = |values: &[f64], p| quantile(values, p).expect("there were searches");
        let measured = sorted(&|it| it.measured as f64);
        Self {
            over: mean(&|it| is_over(it.winner)),
            measured: [0.5, 0.9, 1.0].map(|p| at(&measured, p)),
            regret: [mean(&|it| regret(it.winner)), at(&sorted(&|it| regret(it.winner)), 1.0)],
            told_regret: mean(&|it| regret(it.told)),
            trusted_over: mean(&|it| is_over(it.trusted)),
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { over, measured: [median, most_often, most], regret: [mean, largest], told_regret, trusted_over } =
            self;
        write!(f, "{:.1} % | {median:.0}, {most_often:.0}, {most:.0} | {mean:.2}, {largest:.2} | ", 100.0 * over)?;
        write!(f, "{told_regret:.2} | {:.1} %", 100.0 * trusted_over)
    }
}

/// Every network of NAS-Bench-201 that passes anything on, once: cells that differ in branches which
/// nothing reads are the same network, and the first of them stands for all.
struct World {
    networks: Vec<Network>,
    /// Network of a cell, by its six operations.
    by_cell: HashMap<Arch, usize>,
    /// Seconds on the board, by [`Graph::fingerprint`].
    board: Arc<HashMap<String, f64>>,
}

/// One network as published.
struct Network {
    graph: Graph,
    /// Accuracy on CIFAR-10's validation part after 12 epochs, in percent.
    accuracy: f64,
    /// On a Raspberry Pi 4.
    seconds: f64,
}

/// Operations on the edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3, as indices into [`OPS`].
type Arch = [usize; 6];

const OPS: [&str; 5] = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];

/// What searches with one seed came to; networks by index.
struct Found {
    /// The answer of the search that asks the board.
    winner: usize,
    /// Networks that it had measured.
    measured: usize,
    /// The answer of the same search when it trusts a model fitted to ten random networks.
    trusted: usize,
    /// Its answer when it is told every latency: what the search itself can find.
    told: usize,
}

impl World {
    fn read() -> Option<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/latency/nb201_cifar10_full.csv");
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("skipped: nb201_cifar10_full.csv (no ../shared/data)");
            return None;
        };
        let (mut networks, mut by_cell, mut first, mut board) =
            (Vec::new(), HashMap::new(), HashMap::new(), HashMap::new());
        for line in text.lines().skip(1) {
            let row: Vec<&str> = line.split(',').collect();
            let Some(graph) = networks::nas_bench_201(row[1]) else { continue };
            let number = |text: &str| text.parse::<f64>().expect("the table holds numbers");
            let idx = *first.entry(graph.fingerprint()).or_insert_with_key(|fingerprint| {
                let seconds = 1e-3 * number(row[6]);
                board.insert(fingerprint.clone(), seconds);
                networks.push(Network { graph, accuracy: number(row[4]), seconds });
                networks.len() - 1
            });
            by_cell.insert(arch(row[1]), idx);
        }
        Some(Self { networks, by_cell, board: Arc::new(board) })
    }

    fn best_within(&self, seconds: f64) -> f64 {
        let inside = self.networks.iter().filter(|it| it.seconds <= seconds);
        inside.map(|it| it.accuracy).fold(f64::NEG_INFINITY, f64::max)
    }

    fn find(&self, bound: f64, seed: u64) -> Found {
        let asked = Rc::new(Cell::new(0));
        let meter = || Box::new(Board { times: self.board.clone(), asked: asked.clone() });
        let mut search = Search::new(self, bound, seed, Knows::Board, Some(meter()));
        search.evolve();
        let winner = search.settle(&mut *meter());
        let measured = asked.get();
        let mut trusting = Search::new(self, bound, seed, Knows::Model, None);
        trusting.learn(10, &mut *meter());
        trusting.evolve();
        let mut told = Search::new(self, bound, seed, Knows::Table, None);
        told.evolve();
        let best = |search: Search<'_>| search.best.expect("every bound has networks that meet it");
        Found { winner, measured, trusted: best(trusting), told: best(told) }
    }
}

fn arch(cell: &str) -> Arch {
    let mut edges = cell.split(['|', '+']).filter(|edge| !edge.is_empty());
    [(); 6].map(|()| {
        let name = edges.next().and_then(|edge| edge.split('~').next()).expect("a cell has six edges");
        OPS.iter().position(|op| *op == name).expect("a known operation")
    })
}

/// The published times as a board: it answers for its networks with one calm sample.
struct Board {
    times: Arc<HashMap<String, f64>>,
    asked: Rc<Cell<usize>>,
}

impl Meter for Board {
    fn measure(&mut self, graph: &Graph) -> Result<Reading, MeterError> {
        self.asked.set(self.asked.get() + 1);
        let value = self.times[&graph.fingerprint()];
        let source = Source::Measured { on: "published".into(), samples: 1 };
        let latency = Some(Figure { value, low: value, high: value, source });
        Ok(Reading { device: "published".into(), latency, memory: None })
    }
}

/// Networks looked at in one search.
const TRIALS: usize = 500;

/// Networks alive at a time, and how many of them compete to be a parent.
const POPULATION: usize = 50;
const TOURNAMENT: usize = 10;

/// Weight of the penalty in the reward.
const ALPHA: f64 = 0.1;

/// What a search goes by.
#[derive(Clone, Copy, PartialEq)]
enum Knows {
    /// Estimates, and the board where their interval straddles the bound.
    Board,
    /// Estimates.
    Model,
    /// Every latency, at no cost.
    Table,
}

/// Regularised evolution (E. Real et al., "Regularized Evolution for Image Classifier Architecture
/// Search", 2019) under a hard bound on latency.
struct Search<'a> {
    world: &'a World,
    pricer: Pricer,
    budget: Budget,
    rng: ChaCha8Rng,
    knows: Knows,
    /// The most accurate network that is known to meet the bound.
    best: Option<usize>,
    seen: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(world: &'a World, bound: f64, seed: u64, knows: Knows, meter: Option<Box<Board>>) -> Self {
        let bound = Bound { metric: Metric::Latency, min: None, max: Some(bound), hard: true };
        let budget = Budget { bounds: vec![bound] };
        let model = CostModel::new(Target::find("rpi4").expect("it is built in"));
        let pricer = Pricer::new(model, budget.clone(), meter.map(|it| it as Box<dyn Meter>), 0);
        let rng = keyed::rng(seed, "feedback", 0);
        Self { world, pricer, budget, rng, knows, best: None, seen: Vec::new() }
    }

    fn evolve(&mut self) {
        let mut population: Vec<(Arch, f64)> = Vec::new();
        for trial in 0..TRIALS {
            let arch = if trial < POPULATION { self.random() } else { self.child(&population) };
            let reward = self.reward(arch);
            population.push((arch, reward));
            if POPULATION < population.len() {
                // The oldest dies, however good.
                population.remove(0);
            }
        }
    }

    /// The reward of a cell, after asking the board where that may change the answer.
    fn reward(&mut self, arch: Arch) -> f64 {
        let idx = self.world.by_cell[&arch];
        let Network { graph, accuracy, seconds } = &self.world.networks[idx];
        self.seen.push(idx);
        let better = self.best.is_none_or(|best| self.world.networks[best].accuracy < *accuracy);
        let cost = match self.knows {
            Knows::Board if better => self.pricer.cost(graph).expect("a table always answers"),
            Knows::Board | Knows::Model => self.pricer.estimate(graph),
            Knows::Table => Cost { figures: [(Metric::Latency, Figure::exact(*seconds))].into() },
        };
        if better && self.admits(&cost) {
            self.best = Some(idx);
        }
        let penalty: f64 = self.budget.excesses(&cost).map(|excess| Penalty::default().of(excess, 1.0)).sum();
        Reward::default().of(1e-2 * accuracy, penalty, ALPHA)
    }

    /// A model alone is believed; otherwise the whole interval must be inside.
    fn admits(&self, cost: &Cost) -> bool {
        match self.knows {
            Knows::Board | Knows::Table => self.budget.admits(cost),
            Knows::Model => self.budget.excesses(cost).all(|excess| excess <= 0.0),
        }
    }

    /// The most accurate of all networks seen that a measurement shows within the bound.
    fn settle(mut self, board: &mut dyn Meter) -> usize {
        let mut seen = std::mem::take(&mut self.seen);
        let accuracy = |idx: &usize| self.world.networks[*idx].accuracy;
        seen.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)).then(a.cmp(b)));
        seen.dedup();
        for idx in seen {
            let graph = &self.world.networks[idx].graph;
            let cost = self.pricer.cost(graph).expect("a table always answers");
            if !self.budget.admits(&cost) {
                continue;
            }
            let reading = board.measure(graph).expect("a table always answers");
            self.pricer.learn(graph.fingerprint(), features(graph), &reading);
            if self.budget.admits(&self.pricer.estimate(graph)) {
                return idx;
            }
        }
        panic!("every bound has networks that meet it")
    }

    /// Measures random networks first.
    fn learn(&mut self, n: usize, board: &mut dyn Meter) {
        for _ in 0..n {
            let arch = self.random();
            let graph = &self.world.networks[self.world.by_cell[&arch]].graph;
            let reading = board.measure(graph).expect("a table always answers");
            self.pricer.learn(graph.fingerprint(), features(graph), &reading);
        }
    }

    fn child(&mut self, population: &[(Arch, f64)]) -> Arch {
        let mut drawn = || population[self.below(population.len())];
        let first = drawn();
        let parent = (1..TOURNAMENT).map(|_| drawn()).fold(first, |a, b| if a.1 < b.1 { b } else { a });
        loop {
            let mut arch = parent.0;
            let edge = self.below(arch.len());
            arch[edge] = (arch[edge] + 1 + self.below(OPS.len() - 1)) % OPS.len();
            if self.world.by_cell.contains_key(&arch) {
                return arch;
            }
        }
    }

    fn random(&mut self) -> Arch {
        loop {
            let arch = [(); 6].map(|()| self.below(OPS.len()));
            if self.world.by_cell.contains_key(&arch) {
                return arch;
            }
        }
    }

    fn below(&mut self, n: usize) -> usize {
        keyed::below(&mut self.rng, n as u32) as usize
    }
}
