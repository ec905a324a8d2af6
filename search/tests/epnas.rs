//! EPNAS: its policy, its dictionary, and the search.

use std::{collections::HashSet, time::Duration};

use data::keyed;
use graph::{
    Graph, Op,
    cost::static_cost,
    weights::{Tensor, Weights, parameters},
};
use search::{
    Result,
    chooser::{Chooser, Kind, Question, Uniform},
    dictionary::{Dictionary, fit},
    evaluator::{Evaluation, Evaluator, Job, Saved, Start},
    oracle::{Oracle, Table},
    policy::{
        Adam, Editor, EditorSettings,
        embedding::{BEYOND, places},
    },
    space::{
        Morph, Scale, SearchSpace, Task,
        layers::{Filters, Layer, LayerOp, LayerSpace, Layers, Nonlinearity},
        modules::{Module, ModuleSpace},
        nas_bench_201::{NasBench201, PUBLISHED},
    },
    strategy::{
        Chosen, Strategy,
        epnas::{Child, Epnas, Settings, advantages},
        random::Random,
    },
    study::{Progress, Signal, Study, Unwatched, Watch},
    trials::Effort,
};
use targets::{Bound, Budget, Cost, Figure, Metric};

const SMALL: Scale =
    Scale { layers: 3, channels: 16, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };

fn conv(width: usize, channels: usize, activation: Nonlinearity) -> Layer {
    Layer { op: LayerOp::Conv2d(Filters { width, channels, activation }), src2: None }
}

fn pool(width: usize) -> Layer {
    Layer { op: LayerOp::MaxPool2d(width), src2: None }
}

#[test]
fn the_check_table_keeps_edits_inside_the_network() {
    for (depth, options, expected) in [(3, 4, 4), (3, 8, 8), (3, 9, 8), (10, 11, 11), (1, 13, 6)] {
        assert_eq!(places(depth, options), expected, "input of depth {depth}, {options} places");
    }
    // In five steps a module grows from L to L + 4, and the last place that is asked for is the L + 5th.
    assert_eq!(places(3, 3 + 4 + 1), 3 + BEYOND);
    let space = LayerSpace { max_layers: 20, groups: 4 };
    let settings = EditorSettings { reading: 4, acting: 4, ..EditorSettings::default() };
    let mut editor = Editor::new(settings, 0);
    let arch = Layers { layers: vec![conv(3, 16, Nonlinearity::Relu); 12] };
    let mut inserted = HashSet::new();
    for step in 0..400 {
        let (edited, walked) = editor.edit(&space, &arch, 1, keyed::rng(0, "check table", step));
        assert!(edited.is_well_formed());
        if edited.layers.len() == 13 {
            inserted.insert(walked.answers[4]);
        }
    }
    assert_eq!(inserted, (0..6).collect(), "1 + 5 places are within reach");
}

#[test]
fn a_policy_learns_which_edits_pay_and_goes_on_where_it_was_stored() {
    let space = LayerSpace { max_layers: 8, groups: 2 };
    let settings = EditorSettings { reading: 8, acting: 16, adam: Adam::new(0.01), ..EditorSettings::default() };
    let arch = Layers { layers: vec![conv(3, 16, Nonlinearity::Relu); 4] };
    // One of the scale LSTM's answers, and one of the insert LSTM's.
    let reward = |it: &Layers| {
        let wide = it.layers.iter().filter(|it| it.op.filters().is_some_and(|it| it.channels == 96)).count();
        f64::from(u8::from(0 < wide)) + f64::from(u8::from(it.layers.len() == 3))
    };
    let update = |editor: &mut Editor, nth: u64| {
        let walked: Vec<_> = (0..16)
            .map(|walk| {
                let (edited, walked) = editor.edit(&space, &arch, 4, keyed::rng(3, "learn", 16 * nth + walk));
                (walked, reward(&edited))
            })
            .collect();
        let mean = walked.iter().map(|(_, it)| it).sum::<f64>() / 16.0;
        editor.ascend(walked.iter().map(|(walked, it)| (walked, (it - mean) / 16.0)));
        mean
    };
    let mut editor = Editor::new(settings.clone(), 0);
    let first = (0..10).map(|nth| update(&mut editor, nth)).sum::<f64>() / 10.0;
    let mut other = Editor::new(settings, 9);
    let stored = editor.parameters().save("policy");
    other.parameters().restore("policy", editor.parameters().updates(), &stored).expect("whole");
    (10..20).for_each(|nth| assert_eq!(update(&mut other, nth), update(&mut editor, nth)));
    let last = (20..150).map(|nth| update(&mut editor, nth)).skip(120).sum::<f64>() / 10.0;
    assert!(first < 0.7 && 1.8 < last, "{first} of 2, then {last}");
}

#[test]
fn a_fresh_policy_has_the_papers_size() {
    let space = LayerSpace::default();
    let mut editor = Editor::new(EditorSettings::default(), 0);
    let arch = Layers { layers: vec![conv(3, 16, Nonlinearity::Relu); 3] };
    (0..50).for_each(|step| _ = editor.edit(&space, &arch, 3, keyed::rng(0, "sizes", step)));
    let stored = editor.parameters().save("policy");
    let shape = |name: &str| stored.get(&format!("policy/{name}"), "value").expect("it is there").shape.clone();
    assert_eq!(shape("embedding/recurrent"), [32, 4 * 32]);
    assert_eq!(shape("scale/recurrent"), [128, 4 * 128]);
    assert_eq!(shape("insert/recurrent"), [128, 4 * 128]);
    assert_eq!(shape("insert/place/3"), [128, 3 + 5]);
    let most = stored.tensors.values().flat_map(|it| &it.values).fold(0.0f32, |most, it| most.max(it.abs()));
    assert!(0.099 < most && most <= 0.1, "{most}");
}

#[test]
fn settings_are_the_papers() {
    let (layers, modules) = (Settings::layers(), Settings::modules());
    assert_eq!((layers.branches, layers.steps, layers.evaluations()), (8, 10, 1200));
    assert_eq!((modules.branches, modules.steps, modules.evaluations()), (8, 5, 600));
    assert_eq!((layers.p, layers.policy.adam.lr), (0.9, 6e-4));
    let Child { epochs, batch, lr, start } = Child::PREDICTED;
    assert_eq!((epochs, batch, lr, start), (10, 1024, 0.5, Start::Inherit));
    assert_eq!((Child::FULL.epochs, Child::FULL.batch), (20, 128));
}

#[test]
fn the_reward_is_a_product_over_all_constraints() {
    let bound = |metric, min, max| Bound { metric, min, max, hard: false };
    let budget = Budget {
        bounds: vec![
            bound(Metric::Params, None, Some(2e6)),
            bound(Metric::Intensity, Some(80.0), None),
            bound(Metric::Macs, Some(1.0), Some(1e9)),
        ],
    };
    let check = |settings: &Settings, params: f64, intensity: f64, expected: f64| {
        let figures = [(Metric::Params, params), (Metric::Intensity, intensity), (Metric::Macs, 5.0)];
        let cost = Cost { figures: figures.map(|(metric, value)| (metric, Figure::exact(value))).into() };
        let v = settings.v(&budget, &cost);
        assert!((v - expected).abs() < 1e-5, "{params} and {intensity}: {v}, not {expected}");
    };
    let settings = Settings::default();
    check(&settings, 1e6, 100.0, 1.0);
    check(&settings, 4e6, 80.0, 0.9);
    check(&settings, 3e6, 80.0, 0.94868);
    check(&settings, 2e6, 40.0, 0.9);
    check(&settings, 4e6, 40.0, 0.81);
    check(&settings, 20e6, 80.0, 0.38742);
    let stern = Settings { p_of: [(Metric::Params, 0.1)].into(), ..settings };
    check(&stern, 4e6, 40.0, 0.09);
}

#[test]
fn each_step_is_credited_with_what_comes_after_it() {
    let found = advantages(&[vec![1.0, 2.0, 3.0], vec![3.0, 4.0, 5.0]]);
    assert_eq!(found, [[-3.0, -2.0, -1.0], [3.0, 2.0, 1.0]]);
    assert!(advantages(&[]).is_empty());
}

fn tensor(shape: &[usize], from: f32) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor { shape: shape.to_vec(), values: (0..n).map(|it| from + it as f32).collect() }
}

#[test]
fn parameters_are_cut_and_padded() {
    let check = |known: &Tensor, fresh: &Tensor, expected: &[f32]| {
        assert_eq!(fit(known, fresh), Tensor { shape: fresh.shape.clone(), values: expected.to_vec() });
    };
    let zeros = |shape: &[usize]| Tensor { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] };
    check(&tensor(&[3], 1.0), &zeros(&[2]), &[1.0, 2.0]);
    check(&tensor(&[2], 1.0), &zeros(&[3]), &[1.0, 2.0, 0.0]);
    check(&tensor(&[2], 1.0), &tensor(&[3], 7.0), &[1.0, 2.0, 9.0]);
    // One axis cut, the other padded.
    check(&tensor(&[2, 2], 1.0), &zeros(&[1, 3]), &[1.0, 2.0, 0.0]);
    check(&tensor(&[1, 3], 1.0), &zeros(&[2, 2]), &[1.0, 2.0, 0.0, 0.0]);
    // A 1x1 filter becomes the middle of a 3x3 one, and comes back.
    let wide = [0.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0];
    check(&tensor(&[1, 1, 1, 1], 5.0), &zeros(&[1, 1, 3, 3]), &wide);
    check(&tensor(&[1, 1, 3, 3], 1.0), &zeros(&[1, 1, 1, 1]), &[5.0]);
    check(&tensor(&[1, 2, 1, 1], 1.0), &zeros(&[2, 1, 1, 3]), &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn the_most_accurate_network_wins_a_clash_and_the_nearest_shape_is_taken() {
    let key = "layer3/conv2d/conv.weight";
    let mut dictionary = Dictionary::default();
    assert_eq!(dictionary.inherit(key, &tensor(&[2], 0.0)), None);
    let inherited = |dictionary: &Dictionary, shape: &[usize]| {
        dictionary.inherit(key, &tensor(shape, 100.0)).expect("the key is known").values
    };
    dictionary.insert(key, &tensor(&[2], 1.0), 0.5);
    dictionary.insert(key, &tensor(&[2], 3.0), 0.4);
    assert_eq!(inherited(&dictionary, &[2]), [1.0, 2.0], "the less accurate one changes nothing");
    dictionary.insert(key, &tensor(&[2], 5.0), 0.6);
    assert_eq!(inherited(&dictionary, &[2]), [5.0, 6.0]);
    dictionary.insert(key, &tensor(&[6], 20.0), 0.1);
    assert_eq!(inherited(&dictionary, &[5]), [20.0, 21.0, 22.0, 23.0, 24.0], "6 is nearer to 5 than 2 is");
    assert_eq!(inherited(&dictionary, &[3]), [5.0, 6.0, 102.0]);
    assert_eq!(inherited(&dictionary, &[4]), [5.0, 6.0, 102.0, 103.0], "of equally near ones the more accurate");
    assert_eq!(dictionary.inherit(key, &tensor(&[2, 1], 0.0)), None, "of other axes nothing fits");
    assert_eq!(dictionary.inherit("layer3/conv2d/norm.gamma", &tensor(&[2], 0.0)), None);
    let mut stored = dictionary.save();
    stored.insert("policy/scale", "value", vec![1], vec![0.0]);
    assert_eq!(Dictionary::restore(&stored), dictionary);
    assert_eq!((dictionary.len(), Dictionary::restore(&Weights::default()).is_empty()), (2, true));
}

/// A search's settings with a policy small and quick enough for tests.
fn quick(steps: usize) -> Settings {
    let policy = EditorSettings { reading: 8, acting: 16, adam: Adam::new(0.01), ..EditorSettings::default() };
    Settings { branches: 4, policy, ..Settings { steps, ..Settings::modules() } }
}

fn effort(evaluations: usize, scale: Scale) -> Effort {
    Effort { evaluations, epochs: 1, patience: 1000, proxy: scale, full: scale }
}

fn bounded(metric: Metric, max: f64, hard: bool) -> Budget {
    Budget { bounds: vec![Bound { metric, min: None, max: Some(max), hard }] }
}

/// Mean and standard error of the regrets, in points of accuracy.
fn regrets(table: &Table, settings: &Settings, evaluations: usize, n_seeds: u64, budget: &Budget) -> (f64, f64) {
    let best = table.best_within(budget).expect("some network is within");
    let regret = |seed| {
        let (mut study, mut oracle) = (Study::new(budget.clone(), Box::new(Unwatched)), Oracle::new(table));
        let mut searching = Epnas::new(settings.clone(), effort(evaluations, PUBLISHED), seed);
        let found = searching.search(&NasBench201, &mut oracle, &mut study).expect("a table answers");
        assert!(oracle.evaluations <= evaluations);
        assert!(found.iter().all(|it| budget.admits(&it.cost)), "it answers with what breaks a bound");
        100.0 * (best - found[0].accuracy)
    };
    let regrets: Vec<f64> = (0..n_seeds).map(regret).collect();
    let n = n_seeds as f64;
    let mean = regrets.iter().sum::<f64>() / n;
    let variance = regrets.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

#[test]
fn it_beats_random_search_where_there_is_something_to_learn() {
    let table = Table::made_up(1).expect("sizes fit");
    for budget in [Budget::default(), bounded(Metric::Latency, 20e-3, true)] {
        let best = table.best_within(&budget).expect("some network is within");
        let blind = 100.0 * (best - table.best_of_random(&budget, 200).expect("some network is within"));
        let (mean, error) = regrets(&table, &quick(3), 200, 20, &budget);
        assert!(mean + 3.0 * error < blind, "{mean} +- {error}, random search {blind}");
    }
}

/// Where networks are edited to, the policy learns: with a learning rate of 0 only the selection of starts is left.
#[test]
fn the_policy_adds_to_the_selection_of_starts() {
    let table = Table::made_up(1).expect("sizes fit");
    let learning = quick(2);
    let mut frozen = learning.clone();
    frozen.policy.adam.lr = 0.0;
    let (learned, error) = regrets(&table, &learning, 200, 30, &Budget::default());
    let (selected, other) = regrets(&table, &frozen, 200, 30, &Budget::default());
    assert!(learned + 2.0 * error.hypot(other) < selected, "{learned} +- {error}, {selected} +- {other} without");
}

#[test]
fn soft_bounds_shape_the_answer() {
    let table = Table::made_up(3).expect("sizes fit");
    let latency = |p: f64| {
        let settings = Settings { p_of: [(Metric::Latency, p)].into(), ..quick(3) };
        let answer = |seed| {
            let mut study = Study::new(bounded(Metric::Latency, 10e-3, false), Box::new(Unwatched));
            let mut searching = Epnas::new(settings.clone(), effort(100, PUBLISHED), seed);
            let found = searching.search(&NasBench201, &mut Oracle::new(&table), &mut study);
            let found: Vec<Chosen<_>> = found.expect("a table answers");
            found[0].cost.get(Metric::Latency).expect("the table knows it").value
        };
        (0..10).map(answer).sum::<f64>() / 10.0
    };
    let (soft, stern) = (latency(0.9), latency(0.2));
    assert!(stern <= 10.5e-3 && 1.3 * stern < soft, "{stern} and {soft} seconds");
}

/// What a space's networks are worth by their graphs: the share of 5x5 among their convolutions, and how many there
/// are, up to `enough`. With a dictionary a network is worth more the more its parameters were trained before.
struct Known {
    enough: usize,
    heirs: Option<Dictionary>,
    evaluations: usize,
}

impl Known {
    fn new(enough: usize) -> Self {
        Self { enough, heirs: None, evaluations: 0 }
    }

    fn worth(&self, graph: &Graph) -> f64 {
        let is_wide = |id: &graph::NodeId| matches!(graph.op(*id), Op::Conv2d(conv) if conv.kernel == [5, 5]);
        let n = graph.ids().filter(is_wide).count();
        n.min(self.enough) as f64 / self.enough as f64
    }

    /// Adds 1 to every value that is inherited; returns the mean over all values.
    fn train(dictionary: &Dictionary, graph: &Graph) -> (Weights, f64) {
        let (mut weights, mut sum, mut n) = (Weights::default(), 0.0, 0);
        for id in graph.ids() {
            for (suffix, shape) in parameters(graph, id) {
                let key = format!("{}.{suffix}", graph.name(id));
                let values = vec![0.0; shape.iter().product()];
                let fresh = Tensor { shape, values };
                let mut trained = dictionary.inherit(&key, &fresh).unwrap_or(fresh);
                trained.values.iter_mut().for_each(|it| *it += 1.0);
                sum += trained.values.iter().copied().map(f64::from).sum::<f64>();
                n += trained.values.len();
                weights.tensors.insert(key, trained);
            }
        }
        (weights, sum / n as f64)
    }
}

impl Evaluator for Known {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        self.evaluations += jobs.len();
        let mut told = Vec::new();
        let mut left = Vec::new();
        for job in jobs {
            let mut accuracy = self.worth(job.graph);
            if let Some(dictionary) = &self.heirs {
                assert_eq!((job.fidelity.start, job.fidelity.epochs), (Start::Inherit, 10));
                let (weights, mean) = Self::train(dictionary, job.graph);
                accuracy = 0.5 * accuracy + 0.5 * (1.0 - 1.0 / (1.0 + mean));
                left.push((weights, accuracy));
            }
            told.push(Evaluation { curve: vec![accuracy], took: Duration::ZERO });
        }
        if let Some(dictionary) = &mut self.heirs {
            left.iter().for_each(|(weights, accuracy)| dictionary.absorb(weights, *accuracy));
        }
        Ok(told)
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        let cost = static_cost(deployed);
        let figures = [
            (Metric::Params, cost.params as f64),
            (Metric::Macs, cost.macs as f64),
            (Metric::Intensity, cost.intensity()),
        ];
        Ok(Cost { figures: figures.map(|(metric, value)| (metric, Figure::exact(value))).into() })
    }

    fn save(&self) -> Result<Saved> {
        let weights = self.heirs.as_ref().map_or_else(Weights::default, Dictionary::save);
        Ok(Saved { weights, ..Saved::default() })
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        self.heirs = Some(Dictionary::restore(&saved.weights));
        Ok(())
    }
}

/// Mean accuracy of the answers of EPNAS and of random search, at equal cost.
fn against_random<S: Morph>(space: &S, enough: usize, budget: &Budget, settings: &Settings) -> [f64; 2] {
    let effort = effort(120, Scale { channels: 16, ..SMALL });
    let answer = |searching: &mut dyn for<'e> Strategy<S, dyn Evaluator + 'e>| {
        let (mut study, mut known) = (Study::new(budget.clone(), Box::new(Unwatched)), Known::new(enough));
        let found = searching.search(space, &mut known, &mut study).expect("it answers");
        assert!(known.evaluations <= effort.evaluations);
        assert!(found.iter().all(|it| budget.admits(&it.cost)), "it answers with what breaks a bound");
        found[0].accuracy
    };
    let mean = |of: &dyn Fn(u64) -> f64| (0..8).map(of).sum::<f64>() / 8.0;
    [
        mean(&|seed| answer(&mut Epnas::new(settings.clone(), effort, seed))),
        mean(&|seed| answer(&mut Random::new(effort, seed))),
    ]
}

#[test]
fn layers_are_found_within_several_hard_bounds() {
    let bound = |metric, min, max| Bound { metric, min, max, hard: true };
    let bounds = vec![
        bound(Metric::Macs, None, Some(60e6)),
        bound(Metric::Params, None, Some(1e6)),
        bound(Metric::Intensity, Some(5.0), None),
    ];
    let space = LayerSpace { max_layers: 12, groups: 3 };
    let [found, random] = against_random(&space, 10, &Budget { bounds }, &quick(5));
    assert!(random + 0.1 < found, "{found}, random search {random}");
}

#[test]
fn modules_are_found_within_a_hard_bound() {
    let budget = bounded(Metric::Params, 1e6, true);
    // Five modules, five branches, two convolutions: 50 is the optimum.
    let [found, random] = against_random(&ModuleSpace::default(), 50, &budget, &quick(5));
    assert!(random + 0.1 < found, "{found}, random search {random}");
}

#[test]
fn a_search_begins_with_the_cheapest_where_nothing_else_fits() {
    let space = ModuleSpace::default();
    let params = |arch: &Module| static_cost(&space.build(arch, &SMALL).expect("it builds")).params;
    let least = space.cheapest().iter().map(params).min().expect("there are some");
    let budget = bounded(Metric::Params, least as f64, true);
    let mut study = Study::new(budget.clone(), Box::new(Unwatched));
    let mut searching = Epnas::new(quick(2), effort(3, SMALL), 0);
    let found = searching.search(&space, &mut Known::new(1), &mut study).expect("it answers");
    assert!(!found.is_empty() && found.iter().all(|it| params(&it.arch) == least));
}

/// Ends a search after a number of trials, at once or with an answer.
struct Ends(u64, Signal);

impl Watch for Ends {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        if self.0 <= progress.trials { self.1 } else { Signal::Continue }
    }
}

/// A search that is stopped and resumed reads as one that was not; returns the trainings before and after the stop.
fn interrupted<S: Morph>(
    space: &S,
    settings: &Settings,
    effort: Effort,
    stop: u64,
    evaluator: &dyn Fn() -> Known,
) -> [usize; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    // Of the first network's size at most, so that some of its edits are refused.
    let first = space.sample(&mut Uniform::new(5, "epnas start", 0));
    let macs = static_cost(&space.build(&first, &effort.full).expect("it builds")).macs;
    let budget = bounded(Metric::Macs, 1.2 * macs as f64, true);
    let search = |study: &mut Study| {
        let mut known = evaluator();
        let found = Epnas::new(settings.clone(), effort, 5).search(space, &mut known, study);
        (found, known.evaluations)
    };
    let run = |watch: Box<dyn Watch>| search(&mut Study::open(folder.path(), budget.clone(), watch).expect("it opens"));
    let (stopped, first) = run(Box::new(Ends(stop, Signal::Stop)));
    assert!(matches!(stopped, Err(search::Error::Interrupted)));
    let (resumed, second) = run(Box::new(Unwatched));
    let journal = std::fs::read_to_string(folder.path().join("study.jsonl")).expect("it is there");
    let mut study = Study::new(budget.clone(), Box::new(Unwatched));
    let (found, _) = search(&mut study);
    assert_eq!(found.expect("it answers"), resumed.expect("it answers"));
    assert!(study.trials().iter().any(|it| !it.admitted), "nothing was refused");
    let lines: Vec<String> =
        study.trials().iter().map(|it| serde_json::to_string(it).expect("plain data") + "\n").collect();
    assert_eq!(lines.concat(), journal);
    [first, second]
}

#[test]
fn a_resumed_search_trains_nothing_twice() {
    let [first, second] = interrupted(&LayerSpace::default(), &quick(4), effort(50, SMALL), 30, &|| Known::new(10));
    // One batch may have been trained and not recorded.
    assert!((50..54).contains(&(first + second)), "{first} and {second}");
}

#[test]
fn a_resumed_search_inherits_what_it_would_have_inherited() {
    let settings = Settings { child: Child::PREDICTED, ..quick(4) };
    let tiny =
        Scale { layers: 1, channels: 2, input: [3, 8, 8], classes: 2, front_end: None, task: Task::Classification };
    let heir = || Known { heirs: Some(Dictionary::default()), ..Known::new(30) };
    for stop in [1, 12, 33] {
        let [first, second] = interrupted(&ModuleSpace::default(), &settings, effort(30, tiny), stop, &heir);
        // Of what was stopped at most the step at hand is trained again.
        assert!((30..=34).contains(&(first + second)), "{first} and {second}, stopped at {stop}");
    }
}

#[test]
fn what_earlier_networks_learned_is_inherited() {
    let settings = Settings { child: Child::PREDICTED, ..quick(4) };
    let space = LayerSpace { max_layers: 6, groups: 2 };
    let mut known = Known { heirs: Some(Dictionary::default()), ..Known::new(6) };
    let mut study = Study::new(Budget::default(), Box::new(Unwatched));
    let mut searching = Epnas::new(settings, effort(60, Scale { channels: 2, ..SMALL }), 0);
    let found = searching.search(&space, &mut known, &mut study).expect("it answers");
    assert!(0 < known.heirs.as_ref().map_or(0, Dictionary::len));
    // Trained from scratch, every value is 1, which is worth a quarter.
    let graph = space.build(&found[0].arch, &Scale { channels: 2, ..SMALL }).expect("it builds");
    let scratch = 0.5 * known.worth(&graph) + 0.25;
    assert!(scratch + 0.1 < found[0].accuracy, "{}, from scratch {scratch}", found[0].accuracy);
}

#[test]
fn a_deadline_ends_a_search_with_an_answer() {
    let mut study = Study::new(Budget::default(), Box::new(Ends(10, Signal::WrapUp)));
    let mut known = Known::new(10);
    let mut searching = Epnas::new(quick(5), effort(100, SMALL), 0);
    let found = searching.search(&LayerSpace::default(), &mut known, &mut study).expect("it answers");
    assert!(!found.is_empty() && known.evaluations <= 13, "{}", known.evaluations);
}

#[test]
fn questions_of_a_step_are_asked_in_order() {
    struct Asked(Vec<Question>, usize);
    impl Chooser for Asked {
        fn choose(&mut self, question: Question) -> usize {
            self.0.push(question);
            0
        }

        fn define(&mut self) {
            self.1 += 1;
        }
    }
    let mut asked = Asked(Vec::new(), 0);
    let arch = Layers { layers: vec![pool(2); 3] };
    LayerSpace { max_layers: 5, groups: 4 }.morph(&arch, &mut asked);
    let kinds: Vec<(Kind, usize)> = asked.0.iter().map(|it| (it.kind, it.options)).collect();
    let scale = [(Kind::Edit, 2), (Kind::Place, 4), (Kind::Kernel, 4)];
    let insert = [(Kind::Edit, 3), (Kind::Place, 4), (Kind::Op, 4), (Kind::Kernel, 4), (Kind::Channels, 6)];
    let rest = [(Kind::Activation, 5), (Kind::Input, 1)];
    assert_eq!(kinds, [&scale[..], &insert[..], &rest[..]].concat());
}
