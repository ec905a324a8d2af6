//! RCAS and its space: the paper's networks come out with their printed sizes, and the lazy greedy search is held
//! against an eager one, random sets and the optimum.
#![expect(clippy::print_stdout, reason = "the figures are a table to read")]

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use data::keyed;
use graph::{Graph, cost::static_cost};
use search::{
    Result,
    chooser::Uniform,
    evaluator::{Evaluation, Evaluator, Job},
    space::{
        Scale, SearchSpace, Task,
        blocks::{BlockSpace, BlockType, Chain, Element, Stage},
    },
    strategy::{
        Chosen, Strategy,
        random::Random,
        random_filling::{self, RandomFilling},
        rcas::{self, Rcas, Rule, Training},
    },
    study::{Progress, Signal, Study, Unwatched, Watch},
    trials::Effort,
};
use targets::{Bound, Budget, Cost, Figure, Metric};

const CIFAR: Scale =
    Scale { layers: 36, channels: 32, input: [3, 32, 32], classes: 100, front_end: None, task: Task::Classification };
const IMAGENET: Scale = Scale {
    layers: 36,
    channels: 32,
    input: [3, 224, 224],
    classes: 1000,
    front_end: None,
    task: Task::Classification,
};

/// The network of the supplement's Table 3.
const RCNET: [usize; 36] =
    [5, 3, 0, 1, 1, 0, 5, 2, 0, 3, 3, 5, 5, 0, 3, 3, 0, 6, 0, 1, 6, 0, 4, 6, 5, 4, 6, 0, 4, 1, 0, 0, 0, 0, 0, 0];

/// The search path for ImageNet, its last line. Without the zeros it is the sequence in the paper's text.
const RCNET_IMAGENET: [usize; 36] =
    [5, 1, 0, 4, 0, 0, 5, 0, 0, 0, 1, 0, 5, 2, 0, 4, 0, 0, 0, 1, 6, 0, 4, 6, 5, 3, 0, 3, 6, 3, 0, 0, 0, 0, 6, 0];

/// RCNet-B, as the authors' code builds it.
const RCNET_B: [usize; 36] =
    [5, 3, 5, 1, 0, 0, 5, 2, 5, 3, 3, 5, 5, 5, 3, 5, 5, 6, 5, 1, 5, 5, 4, 5, 5, 4, 5, 5, 4, 5, 0, 5, 0, 0, 0, 0];

/// MobileNetV2: blocks of type 5, in its numbers per width.
const MOBILE_NET_V2: [usize; 36] =
    [5, 5, 0, 0, 0, 0, 5, 5, 5, 0, 0, 0, 5, 5, 5, 5, 0, 0, 5, 5, 5, 0, 0, 0, 5, 5, 5, 0, 0, 0, 5, 0, 0, 0, 0, 0];

/// End of the supplement's search path for CIFAR-100: what each line adds to the one before. The first is added to a
/// line that lacks two blocks of [`RCNET`], and this path goes on beyond the budget.
const PATH_END: [(usize, usize); 9] = [(3, 1), (4, 1), (19, 1), (5, 1), (2, 5), (31, 6), (21, 2), (27, 1), (18, 3)];

fn chain(positions: [usize; 36]) -> Chain {
    Chain { positions: positions.to_vec() }
}

/// Parameters, and multiply-accumulates of the convolutions: the authors do not count the classifier's.
fn sizes(space: &BlockSpace, chain: &Chain, scale: &Scale) -> [f64; 2] {
    let graph = space.build(chain, scale).expect("it is large enough");
    let cost = static_cost(&graph);
    let width = graph.inputs(graph.output().expect("it has nodes")).iter().map(|&it| graph.shape(it).channels());
    let classifier = width.sum::<usize>() * scale.classes;
    [cost.params as f64 / 1e6, (cost.macs as f64 - classifier as f64) / 1e6]
}

/// The tolerance is half a unit of the last printed digit: nothing is left to explain.
#[test]
fn the_papers_networks_have_their_printed_sizes() {
    let check = |what: &str, space: BlockSpace, positions, scale: Scale, printed: [f64; 2], units: [f64; 2]| {
        let found = sizes(&space, &chain(positions), &scale);
        println!("{what}: {:.3} M parameters, {:.2} M multiply-accumulates; printed {printed:?}", found[0], found[1]);
        for ((found, printed), unit) in found.into_iter().zip(printed).zip(units) {
            assert!((found - printed).abs() <= 0.5 * unit + 1e-9, "{what}: {found}, printed {printed}");
        }
    };
    check("RCNet", BlockSpace::default(), RCNET, CIFAR, [1.92, 87.3], [0.01, 0.1]);
    check("MobileNetV2", BlockSpace::default(), MOBILE_NET_V2, CIFAR, [2.4, 91.1], [0.1, 0.1]);
    check("RCNet for ImageNet", BlockSpace::imagenet(), RCNET_IMAGENET, IMAGENET, [3.4, 294.0], [0.1, 1.0]);
    check("RCNet-B", BlockSpace::imagenet(), RCNET_B, IMAGENET, [4.7, 471.0], [0.1, 1.0]);
    // The shortcuts decide it: without, the multiply-accumulates of all four are others.
    let bare = BlockSpace { projects_shortcuts: false, ..BlockSpace::default() };
    let [params, macs] = sizes(&bare, &chain(RCNET), &CIFAR);
    println!("RCNet without shortcuts where the width changes: {params:.3} M parameters, {macs:.2} M");
    assert!(1.2 < 87.3 - macs);
}

#[test]
fn the_printed_sequence_is_that_of_imagenet() {
    let blocks: Vec<usize> = chain(RCNET_IMAGENET).elements().map(|element| element.block).collect();
    assert_eq!(blocks, [5, 1, 4, 5, 1, 5, 2, 4, 1, 6, 4, 6, 5, 3, 3, 6, 3, 6]);
    // On CIFAR-100 it has neither 1.92 M parameters nor 87.3 M multiply-accumulates.
    let [params, macs] = sizes(&BlockSpace::default(), &chain(RCNET_IMAGENET), &CIFAR);
    assert!(0.3 < params - 1.92 && 5.0 < 87.3 - macs, "{params}, {macs}");
}

/// The printed path goes on beyond the bounds 2.4 M and 91.1 M: the last set within them is the network that the paper
/// describes.
#[test]
fn the_printed_path_ends_at_the_budget() {
    let space = BlockSpace::default();
    let mut set = chain(RCNET);
    for (position, _) in &PATH_END[..3] {
        set.positions[*position] = 0;
    }
    let mut last_within = None;
    let mut before = sizes(&space, &set, &CIFAR);
    for (position, block) in PATH_END {
        set = space.with(&set, Element { position, block });
        let after = sizes(&space, &set, &CIFAR);
        assert!(before[0] < after[0] && before[1] < after[1], "each block adds to both");
        if after[0] <= 2.4 && after[1] <= 91.1 {
            last_within = Some(set.clone());
        }
        before = after;
    }
    assert_eq!(last_within, Some(chain(RCNET)));
    assert!(2.4 < before[0] && 91.1 < before[1]);
}

#[test]
fn the_space_is_the_papers() {
    let space = BlockSpace::default();
    assert_eq!((space.n_positions(), space.types.len(), space.elements().count()), (36, 6, 216));
    assert_eq!(space.size(), 2_651_730_845_859_653_471_779_023_381_601);
    let types = |space: &BlockSpace| -> Vec<_> {
        space.types.iter().map(|it| (it.expansion, it.expand_groups, it.project_groups)).collect()
    };
    assert_eq!(types(&space), [(3, 1, 1), (3, 1, 2), (6, 2, 2), (6, 1, 2), (6, 1, 1), (12, 2, 4)]);
    let initial: Vec<(usize, usize)> = space.initial().elements().map(|it| (it.position, it.block)).collect();
    assert_eq!(initial, [(0, 5), (6, 5), (12, 5), (24, 5)]);
    // What is not written in a file is as in the paper; what is unknown is refused.
    let read = |text: &str| serde_json::from_str::<BlockSpace>(text);
    assert_eq!(read("{}").expect("all of it has a default"), space);
    assert_eq!(read(r#"{"head": 64}"#).expect("a field"), BlockSpace { head: 64, ..space.clone() });
    assert!(read(r#"{"heads": 64}"#).is_err());
    let written = serde_json::to_string(&BlockSpace::imagenet()).expect("plain data");
    assert_eq!(read(&written).expect("it was written"), BlockSpace::imagenet());
    assert_eq!(serde_json::to_string(&Chain { positions: vec![5, 0, 3] }).expect("plain data"), "[5,0,3]");
    for (positions, is_well_formed) in [(vec![0; 36], true), (vec![6; 36], true), (vec![7; 36], false), (vec![], false)]
    {
        assert_eq!(space.is_well_formed(&Chain { positions }), is_well_formed);
    }
}

#[test]
fn every_chain_is_a_network() {
    let spaces = [(BlockSpace::default(), 4), (BlockSpace::imagenet(), 1)];
    let mut digests = HashSet::new();
    let mut chains = HashSet::new();
    for (nth, (space, last_side)) in spaces.iter().enumerate() {
        let [cheapest] = &space.cheapest()[..] else { panic!("one is the cheapest") };
        let least = sizes(space, cheapest, &CIFAR);
        for step in 0..150 {
            let arch = space.sample(&mut Uniform::new(1, "chains", step));
            assert!(space.is_well_formed(&arch));
            let graph = space.build(&arch, &CIFAR).expect("it is large enough");
            let found = sizes(space, &arch, &CIFAR);
            assert!(least[0] < found[0] && least[1] < found[1]);
            // Whatever is vacant, the resolution falls at the same positions.
            let pool = graph.ids().find(|&id| graph.name(id) == "pool").expect("it stands before the classifier");
            assert_eq!(graph.shape(graph.inputs(pool)[0]).spatial(), [*last_side; 2]);
            assert_eq!(digests.insert((nth, graph.digest())), chains.insert((nth, arch)), "one network a chain");
        }
    }
    assert_eq!(digests.len(), 300);
    // Narrow and wide, for tiny and odd images: the groups divide the channels.
    for (channels, side) in [(1, 8), (8, 9), (20, 13), (48, 8)] {
        let scale = Scale {
            layers: 36,
            channels,
            input: [1, side, side],
            classes: 3,
            front_end: None,
            task: Task::Classification,
        };
        for step in 0..20 {
            let arch = BlockSpace::default().sample(&mut Uniform::new(2, "chains", step));
            let graph = BlockSpace::default().build(&arch, &scale).expect("groups divide the channels");
            assert!(0 < static_cost(&graph).macs);
        }
    }
}

#[test]
fn learning_rates_fall_in_steps() {
    let check = |training: Training, expected: &[(usize, f64)]| {
        for &(epoch, lr) in expected {
            assert!((training.lr_at(epoch) - lr).abs() < 1e-12, "{training:?} at {epoch}");
        }
    };
    check(Training::default(), &[(0, 0.1), (3, 0.1), (4, 0.01), (6, 0.01), (7, 0.001), (8, 0.001), (9, 1e-4)]);
    check(Training::cifar(), &[(59, 0.1), (60, 0.01), (120, 0.001), (180, 1e-4), (199, 1e-4)]);
    check(Training::imagenet(), &[(0, 0.01), (199, 0.01), (200, 0.001), (300, 1e-4), (399, 1e-4)]);
}

/// A made-up accuracy of sets, and a count of what was asked. Its networks are read back from the names of their nodes.
struct Synthetic<'a> {
    space: &'a BlockSpace,
    accuracy: &'a dyn Fn(&Chain) -> f64,
    evaluations: usize,
}

impl<'a> Synthetic<'a> {
    fn new(space: &'a BlockSpace, accuracy: &'a dyn Fn(&Chain) -> f64) -> Self {
        Self { space, accuracy, evaluations: 0 }
    }
}

impl Evaluator for Synthetic<'_> {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        self.evaluations += jobs.len();
        let told = |job: &Job<'_>| {
            let accuracy = (self.accuracy)(&decoded(self.space, job.graph));
            Evaluation { curve: vec![accuracy], took: Duration::ZERO }
        };
        Ok(jobs.iter().map(told).collect())
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        let cost = static_cost(deployed);
        let figures = [(Metric::Params, cost.params), (Metric::Macs, cost.macs)];
        let figures: BTreeMap<_, _> =
            figures.into_iter().map(|(metric, value)| (metric, Figure::exact(value as f64))).collect();
        Ok(Cost { figures })
    }
}

/// The chain that a graph was built from.
fn decoded(space: &BlockSpace, graph: &Graph) -> Chain {
    let mut chain = space.empty();
    for id in graph.ids() {
        let name = graph.name(id);
        let Some(rest) = name.strip_prefix("position") else { continue };
        let mut parts = rest.split('/');
        let position: usize = parts.next().and_then(|it| it.parse().ok()).expect("a number follows");
        if let Some(block) = parts.next().and_then(|it| it.strip_prefix("type")) {
            chain.positions[position] = block.parse().expect("a number follows");
        }
    }
    chain
}

/// In `[0, 1)`, by element.
fn worth(seed: u64, element: Element) -> f64 {
    let step = (element.position * 100 + element.block) as u64;
    f64::from(keyed::below(&mut keyed::rng(seed, "worth", step), 1 << 20)) / f64::from(1 << 20)
}

/// Monotone with diminishing returns: each stage of six positions saturates on its own. Larger expansions are worth
/// more.
fn saturating(seed: u64) -> impl Fn(&Chain) -> f64 {
    move |set| {
        let mut stages = [0.0; 6];
        for element in set.elements() {
            let larger = [0.6, 0.5, 0.7, 0.8, 1.0, 1.2][element.block - 1];
            stages[element.position / 6] += 0.1 + larger * worth(seed, element);
        }
        0.4 + stages.iter().map(|it| 0.08 * (1.0 - (-it).exp())).sum::<f64>()
    }
}

/// As [`saturating`], but some pairs of neighbours do better or worse together.
fn entangled(seed: u64) -> impl Fn(&Chain) -> f64 {
    let alone = saturating(seed);
    move |set| {
        let blocks: Vec<Element> = set.elements().collect();
        let pair = |pair: &[Element]| 0.01 * (worth(seed ^ 7, pair[0]) + worth(seed ^ 7, pair[1]) - 1.0);
        alone(set) + blocks.windows(2).map(pair).sum::<f64>()
    }
}

fn hard(bounds: &[(Metric, f64)]) -> Budget {
    let bound = |&(metric, max): &(Metric, f64)| Bound { metric, min: None, max: Some(max), hard: true };
    Budget { bounds: bounds.iter().map(bound).collect() }
}

/// MobileNetV2's sizes, as the paper bounds them, with the classifier counted.
fn papers_budget() -> Budget {
    hard(&[(Metric::Params, 2.4e6), (Metric::Macs, 91.1e6 + 128_000.0)])
}

fn effort(evaluations: usize) -> Effort {
    Effort { evaluations, epochs: 10, patience: 1000, proxy: CIFAR, full: CIFAR }
}

fn study(budget: &Budget) -> Study {
    Study::new(budget.clone(), Box::new(Unwatched))
}

/// What RCAS found, how it went about it, and how often it trained.
fn rcas(
    space: &BlockSpace,
    accuracy: &dyn Fn(&Chain) -> f64,
    budget: &Budget,
    settings: rcas::Settings,
) -> (Vec<Chosen<Chain>>, Rcas, usize) {
    let mut rcas = Rcas::new(settings, effort(100_000));
    let mut evaluator = Synthetic::new(space, accuracy);
    let found = rcas.search(space, &mut evaluator, &mut study(budget)).expect("it answers");
    assert!(rcas.runs.iter().all(|run| run.is_complete));
    assert_eq!(rcas.runs.iter().map(|run| run.evaluations).sum::<usize>(), evaluator.evaluations);
    (found, rcas, evaluator.evaluations)
}

fn only(rule: Rule) -> rcas::Settings {
    rcas::Settings { rules: vec![rule], ..rcas::Settings::default() }
}

/// What an eager greedy search finds, and how many sets it asks for: every element that fits, after each block.
fn eager(space: &BlockSpace, accuracy: &dyn Fn(&Chain) -> f64, budget: &Budget) -> (Chain, usize) {
    let mut evaluator = Synthetic::new(space, accuracy);
    let mut set = space.initial();
    let mut asked = 1;
    loop {
        let mut best: Option<(f64, Chain)> = None;
        for element in space.elements().filter(|element| !set.has_at(*element)) {
            let with = space.with(&set, element);
            let cost = evaluator.cost(&space.build(&with, &CIFAR).expect("it is large enough")).expect("it is counted");
            if !budget.admits(&cost) {
                continue;
            }
            asked += 1;
            let accuracy = accuracy(&with);
            if best.as_ref().is_none_or(|(leads, _)| *leads < accuracy) {
                best = Some((accuracy, with));
            }
        }
        let Some((_, with)) = best else { return (set, asked) };
        set = with;
    }
}

/// With diminishing returns laziness changes nothing but the number of trainings.
#[test]
fn lazy_finds_what_eager_finds_with_far_fewer_trainings() {
    let space = BlockSpace::default();
    for seed in 0..3 {
        let accuracy = saturating(seed);
        let (expected, asked) = eager(&space, &accuracy, &papers_budget());
        let (_, rcas, trained) = rcas(&space, &accuracy, &papers_budget(), only(Rule::Uniform));
        let run = &rcas.runs[0];
        println!("seed {seed}: lazy {trained}, eager {asked}; {:?}", run.violations);
        assert_eq!(run.path.last(), Some(&expected));
        assert!(3 * trained < asked, "{trained} of {asked}");
        assert_eq!((run.violations.losses, run.violations.growths), (0, 0), "there are none");
        assert!(193 <= run.violations.gains && 0 < run.violations.pairs);
    }
}

#[test]
fn three_runs_share_their_trainings_and_the_best_is_the_answer() {
    let space = BlockSpace::default();
    let accuracy = entangled(5);
    let (found, rcas, trained) = rcas(&space, &accuracy, &papers_budget(), rcas::Settings::default());
    for run in &rcas.runs {
        let n_blocks = run.path.last().expect("the start is there").elements().count();
        println!(
            "{:?}: {:.4}, {n_blocks} blocks, {} trained, {:?}",
            run.rule, run.accuracy, run.evaluations, run.violations
        );
        assert_eq!(run.path[0], space.initial());
        for pair in run.path.windows(2) {
            let added: Vec<Element> = pair[1].elements().filter(|it| !pair[0].has_at(*it)).collect();
            assert_eq!(added.len(), 1, "one block at a time");
            assert_eq!(space.with(&pair[0], added[0]), pair[1]);
        }
    }
    let rules: Vec<Rule> = rcas.runs.iter().map(|run| run.rule).collect();
    assert_eq!(rules, [Rule::Uniform, Rule::Per(Metric::Params), Rule::Per(Metric::Macs)]);
    assert!(rcas.runs[1..].iter().all(|run| run.evaluations < 192), "the first pass is shared");
    assert_eq!(rcas.runs.iter().map(|run| run.evaluations).sum::<usize>(), trained);
    let best = rcas.runs.iter().map(|run| run.accuracy).fold(0.0, f64::max);
    assert!(best <= found[0].accuracy);
    assert!((accuracy(&found[0].arch) - found[0].accuracy).abs() < 1e-12);
    assert!(rcas.runs.iter().any(|run| 0 < run.violations.growths), "neighbours do better together");
    assert!(rcas.runs.iter().any(|run| 0 < run.violations.losses), "and worse");
}

/// Three positions, one type, and all that there is to count.
#[test]
fn violations_are_counted() {
    let space = BlockSpace {
        types: vec![BlockType { expansion: 1, expand_groups: 1, project_groups: 1 }],
        stages: vec![Stage { positions: 3, channels: 8, stride: 1 }],
        start: Vec::new(),
        ..BlockSpace::default()
    };
    let accuracy = |set: &Chain| match set.positions[..] {
        [0, 0, 0] => 0.5,
        [1, 0, 0] => 0.6,
        [0, 1, 0] => 0.55,
        [0, 0, 1] => 0.52,
        // The second block gains 0.1 where it gained 0.05 alone, and the third makes it worse.
        [1, 1, 0] => 0.7,
        [1, 1, 1] => 0.69,
        _ => panic!("{set:?} is not asked for"),
    };
    let (found, rcas, trained) = rcas(&space, &accuracy, &Budget::default(), only(Rule::Uniform));
    let run = &rcas.runs[0];
    let path: Vec<&[usize]> = run.path.iter().map(|set| &set.positions[..]).collect();
    assert_eq!(path, [&[0, 0, 0], &[1, 0, 0], &[1, 1, 0], &[1, 1, 1]]);
    assert_eq!((trained, run.accuracy), (6, 0.69));
    assert_eq!((found[0].accuracy, &found[0].arch), (0.7, &run.path[2]));
    let rcas::Violations { gains, losses, worst_loss, pairs, growths, worst_growth } = run.violations;
    assert_eq!((gains, losses, pairs, growths), (5, 1, 2, 1));
    assert!((worst_loss - 0.01).abs() < 1e-9 && (worst_growth - 0.05).abs() < 1e-9);
}

/// At equal numbers of trainings: random chains, and random sets that are filled until nothing fits.
#[test]
fn rcas_beats_random_search() {
    let space = BlockSpace::default();
    let budget = papers_budget();
    for seed in 0..2 {
        let accuracy = entangled(seed);
        let (found, _, trained) = rcas(&space, &accuracy, &budget, rcas::Settings::default());
        let mut evaluator = Synthetic::new(&space, &accuracy);
        // Hardly any chain of 36 positions, each as likely vacant as of any type, is within the budget.
        let drawn = Random::new(Effort { patience: 4, ..effort(trained) }, seed)
            .search(&space, &mut evaluator, &mut study(&budget))
            .expect("it answers");
        let drawn = drawn.first().map_or(0.0, |it| it.accuracy);
        let filled = RandomFilling::new(effort(trained), seed)
            .search(&space, &mut evaluator, &mut study(&budget))
            .expect("it answers");
        let filled = filled[0].accuracy;
        println!("seed {seed}, {trained} trainings: {:.4}; random {drawn:.4}, filled {filled:.4}", found[0].accuracy);
        assert!(drawn.max(filled) + 0.005 < found[0].accuracy);
    }
}

#[test]
fn random_filling_leaves_nothing_that_fits() {
    let (space, budget, nothing) = (BlockSpace::default(), papers_budget(), hard(&[(Metric::Params, 1.0)]));
    let accuracy = saturating(0);
    let mut evaluator = Synthetic::new(&space, &accuracy);
    let mut fill = |budget: &Budget, nth| {
        let fits = |set: &Chain| Ok(budget.admits(&evaluator.cost(&space.build(set, &CIFAR)?)?));
        random_filling::filled(&space, 1, nth, fits).expect("it is priced")
    };
    let [first, second] = [0, 1].map(|nth| fill(&budget, nth).expect("the start fits"));
    assert_eq!(fill(&budget, 0).as_ref(), Some(&first));
    assert_ne!(first, second);
    assert_eq!(fill(&nothing, 0), None);
    for set in [first, second] {
        let admits = |set: &Chain| {
            let [params, macs] = sizes(&space, set, &CIFAR);
            params <= 2.4 && macs <= 91.1
        };
        assert!(admits(&set));
        assert!(!space.elements().filter(|it| !set.has_at(*it)).any(|it| admits(&space.with(&set, it))));
    }
}

/// A space small enough for all its sets, where the guarantee of Theorem 1 can be held against the optimum.
#[test]
fn the_guarantee_holds_where_its_suppositions_do() {
    let typed = |(expansion, project_groups)| BlockType { expansion, expand_groups: 1, project_groups };
    let space = BlockSpace {
        types: [(1, 1), (3, 2), (6, 1)].map(typed).to_vec(),
        stages: [(8, 1), (16, 2), (24, 2)].map(|(channels, stride)| Stage { positions: 2, channels, stride }).to_vec(),
        start: Vec::new(),
        stem: 8,
        first: 8,
        head: 32,
        ..BlockSpace::default()
    };
    let scale =
        Scale { layers: 6, channels: 8, input: [3, 16, 16], classes: 10, front_end: None, task: Task::Classification };
    assert_eq!(space.size(), 4096);
    let all = || (0..4096).map(|nth| Chain { positions: (0..6).map(|at| nth / 4_usize.pow(at) % 4).collect() });
    let mut ratios = Vec::new();
    for seed in 0..12 {
        let accuracy = |set: &Chain| set.elements().map(|it| 0.02 + 0.08 * worth(seed, it)).sum::<f64>().tanh();
        let mut evaluator = Synthetic::new(&space, &accuracy);
        let mut cost = |set: &Chain| {
            let built = space.build(set, &scale).expect("it is large enough");
            evaluator.cost(&built).expect("it is counted")
        };
        let (least, most) = (cost(&space.empty()), cost(&Chain { positions: vec![3; 6] }));
        let between = |metric, share: f64| {
            let value = |cost: &Cost| cost.get(metric).expect("it is counted").value;
            (metric, value(&least) + share * (value(&most) - value(&least)))
        };
        let budget = hard(&[between(Metric::Params, 0.25), between(Metric::Macs, 0.3)]);
        let optimum = all().filter(|set| budget.admits(&cost(set))).map(|set| accuracy(&set)).fold(0.0, f64::max);
        let mut rcas = Rcas::new(rcas::Settings::default(), Effort { proxy: scale, full: scale, ..effort(100_000) });
        let found = rcas.search(&space, &mut evaluator, &mut study(&budget)).expect("it answers");
        assert!(rcas.runs.iter().all(|run| run.violations.losses == 0 && run.violations.growths == 0));
        let ratio = found[0].accuracy / optimum;
        assert!(0.5 * (1.0 - (-1.0_f64).exp()) <= ratio && ratio <= 1.0 + 1e-12, "{ratio} of the optimum");
        ratios.push(ratio);
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    println!("of the optimum: {mean:.3} on average, {:.3} at worst", ratios.iter().copied().fold(1.0, f64::min));
    assert!(0.95 < mean, "{ratios:?}");
}

/// The print compares accuracies with gains: it takes an element as soon as it does better than the next in the queue,
/// whatever else there is.
#[test]
fn as_printed_it_is_the_worse_search() {
    let space = BlockSpace::default();
    let literal = |rule| rcas::Settings { literal: true, ..only(rule) };
    for seed in 0..3 {
        let accuracy = saturating(seed);
        let (_, prose, n_prose) = rcas(&space, &accuracy, &papers_budget(), only(Rule::Uniform));
        let (_, print, n_print) = rcas(&space, &accuracy, &papers_budget(), literal(Rule::Uniform));
        let [of_prose, of_print] = [prose, print].map(|it| it.runs[0].accuracy);
        println!("seed {seed}: prose {of_prose:.4} after {n_prose} trainings, print {of_print:.4} after {n_print}");
        assert!(of_print + 0.02 < of_prose);
    }
    // `F(v) / c(v)` is largest where `c(v)` is least, whatever `v` is good for.
    let accuracy = saturating(1);
    let (_, print, _) = rcas(&space, &accuracy, &papers_budget(), literal(Rule::Per(Metric::Params)));
    let params = |set: &Chain| sizes(&space, set, &CIFAR)[0];
    let start = space.initial();
    let singletons = space.elements().filter(|it| !start.has_at(*it)).map(|it| params(&space.with(&start, it)));
    assert!((params(&print.runs[0].path[1]) - singletons.fold(f64::INFINITY, f64::min)).abs() < 1e-9);
    // Entangled gains grow: the print would compare two elements with each other for ever.
    rcas(&space, &entangled(2), &papers_budget(), rcas::Settings { literal: true, ..rcas::Settings::default() });
}

#[test]
fn bounds_are_kept() {
    let space = BlockSpace::default();
    let accuracy = entangled(3);
    let check = |budget: Budget, starts_empty: bool| {
        let (found, rcas, _) = rcas(&space, &accuracy, &budget, rcas::Settings::default());
        assert!(found.iter().all(|it| budget.admits(&it.cost)));
        assert!(rcas.runs.iter().all(|run| (run.path[0] == space.empty()) == starts_empty));
        found
    };
    check(papers_budget(), false);
    check(hard(&[(Metric::Params, 1e6)]), false);
    check(hard(&[(Metric::Macs, 60e6), (Metric::Params, 3e6)]), false);
    // The layout's start has 0.47 M parameters and 22 M multiply-accumulates.
    check(hard(&[(Metric::Params, 0.3e6)]), true);
    check(hard(&[(Metric::Macs, 18e6)]), true);
    // A soft bound that can be kept is kept. Where not even the empty set keeps it, it shapes no run but the answer: of
    // no accuracy is anything left so far outside, and the start is the nearest.
    let soft = |max| Bound { metric: Metric::Params, min: None, max: Some(max), hard: false };
    let with = |max| Budget { bounds: [papers_budget().bounds, vec![soft(max)]].concat() };
    let found = check(with(1e6), false);
    assert!(found.iter().all(|it| it.cost.get(Metric::Params).expect("it is counted").value <= 1e6));
    let found = check(with(1.0), false);
    assert_eq!(found[0].arch, space.initial());
    assert_eq!(found.len(), check(papers_budget(), false).len());
    // Nothing at all.
    let mut rcas = Rcas::new(rcas::Settings::default(), effort(10));
    let mut evaluator = Synthetic::new(&space, &accuracy);
    let found = rcas.search(&space, &mut evaluator, &mut study(&hard(&[(Metric::Params, 1e3)])));
    assert_eq!((found.expect("it answers"), evaluator.evaluations), (Vec::new(), 0));
}

#[test]
fn it_trains_no_more_than_it_may_and_says_that_it_was_cut_short() {
    let space = BlockSpace::default();
    let accuracy = saturating(4);
    for evaluations in [0, 1, 50, 193, 210] {
        let mut rcas = Rcas::new(rcas::Settings::default(), effort(evaluations));
        let mut evaluator = Synthetic::new(&space, &accuracy);
        let found = rcas.search(&space, &mut evaluator, &mut study(&papers_budget())).expect("it answers");
        assert_eq!(evaluator.evaluations, evaluations);
        assert_eq!(found.is_empty(), evaluations == 0);
        assert!(rcas.runs.iter().any(|run| !run.is_complete) || evaluations == 0);
    }
}

/// Ends a search after a number of trials, in one way or the other.
struct Ends(u64, Signal);

impl Watch for Ends {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        if self.0 <= progress.trials { self.1 } else { Signal::Continue }
    }
}

#[test]
fn a_resumed_search_is_an_uninterrupted_one() {
    let space = BlockSpace::default();
    let accuracy = entangled(6);
    let folder = tempfile::tempdir().expect("a folder");
    let run = |watch: Box<dyn Watch>| {
        let mut study = Study::open(folder.path(), papers_budget(), watch).expect("it opens");
        let mut evaluator = Synthetic::new(&space, &accuracy);
        let mut rcas = Rcas::new(rcas::Settings::default(), effort(100_000));
        let found = rcas.search(&space, &mut evaluator, &mut study);
        (found, rcas.runs, evaluator.evaluations)
    };
    let (stopped, _, first) = run(Box::new(Ends(200, Signal::Stop)));
    assert!(matches!(stopped, Err(search::Error::Interrupted)));
    let (resumed, runs, second) = run(Box::new(Unwatched));
    let (found, rcas, trained) = rcas(&space, &accuracy, &papers_budget(), rcas::Settings::default());
    assert_eq!(resumed.expect("it answers"), found);
    let paths = |runs: &[rcas::Run]| -> Vec<_> { runs.iter().map(|run| run.path.clone()).collect() };
    assert_eq!(paths(&runs), paths(&rcas.runs));
    assert_eq!(first + second, trained, "nothing is trained twice");
}

#[test]
fn a_deadline_ends_it_with_an_answer() {
    let space = BlockSpace::default();
    let accuracy = saturating(7);
    let mut study = Study::new(papers_budget(), Box::new(Ends(200, Signal::WrapUp)));
    let mut evaluator = Synthetic::new(&space, &accuracy);
    let mut rcas = Rcas::new(rcas::Settings::default(), effort(100_000));
    let found = rcas.search(&space, &mut evaluator, &mut study).expect("it answers");
    assert!(!found.is_empty() && evaluator.evaluations <= 208);
}
