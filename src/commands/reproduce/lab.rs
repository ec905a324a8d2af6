//! The searches and trainings of one reproduction.

use std::sync::Arc;

use ::data::{Amount, Augment, IGNORED, Listed, Normalisation, Options, Tally, Task, TextOptions, listed, split};
use ::export::Metadata;
use ::train::{
    Compute, Recipe, Schedule, TrainingSet,
    alone::Trainer,
    fit::{self, Fit},
    relaxed::Relaxation,
    shared::Supernet,
};
use anyhow::{Context, Result};
use graph::{Graph, cost::static_cost, weights::Weights};
use search::{
    chooser::Uniform,
    evaluator::{Evaluator, Order, SharedWeights},
    pricing::Pricer,
    space::{
        Relax, Scale, SearchSpace, blocks::BlockSpace, cells::Cells, chain::ChainSpace, darts::DartsSpace, deeplab,
        ds_cnn, enas_macro::EnasMacro, enas_micro::EnasMicro, fabric::Fabric, layers::LayerSpace, lstm,
        modules::ModuleSpace, nasnet::NasNetSpace, open_recurrent::OpenRecurrent, partial::PartialDarts,
        recurrent::RecurrentSpace, rnn_tree::TreeSpace, trellis::Trellis,
    },
    strategy::{
        Chosen, Strategy,
        asha::{self, Asha},
        benas::{self, Benas},
        bsn::{self, Bsn},
        darts::{self, Darts},
        enas::{self, Enas},
        epnas::{self, Epnas},
        nas_rl::{self, NasRl},
        nasnet::{self, NasNet},
        neural_architect::{self, NeuralArchitect},
        random::Random,
        random_ws::{self, RandomWs},
        rcas::{self, Rcas},
    },
    study::Study,
    trials::Effort,
};
use targets::{Bound, Budget, Cost, CostModel, Metric, Target};

use super::{ClassScore, Found, Outcome, Shipped, Words, extent::Extent};
use crate::{
    cli::{Guard, ReproduceArgs, ReproductionScale},
    commands::{about, export, open_source},
    exit,
    papers::Paper,
    run_folder::{MODEL, RunFolder, STUDY},
    terminal::{self, Screen, TrainingScreen},
};

/// What a folder is for: the paper, the scale, the seed and the data.
const SETUP: &str = "setup.json";

/// Images, sizes and settings of one reproduction.
pub(super) struct Lab {
    paper: Paper,
    pub(super) name: String,
    /// Whether the printed figures are of these data, by their counts.
    pub(super) is_same_data: bool,
    pub(super) set: TrainingSet,
    test: Arc<::data::Part>,
    target: Target,
    extent: Extent,
    scale: ReproductionScale,
    seed: u64,
    /// Of DARTS.
    pub(super) guards: Vec<Guard>,
    pub(super) folder: RunFolder,
    compute: Compute,
}

impl Lab {
    pub(super) fn open(args: &ReproduceArgs, folder: RunFolder) -> Result<Self> {
        let (paper, guards) = (args.paper, guards(args)?);
        let Some(name) = args.data.clone().or_else(|| paper.data().map(str::to_owned)) else {
            let holds = match paper.task() {
                Task::Segmentation => "train/images, train/masks, the same in val, and classes.txt",
                Task::Classification => "a sub-folder of WAV files for each word",
                Task::Language => {
                    "train.txt, valid.txt and test.txt, or Penn TreeBank as ptb.train.txt, ptb.valid.txt and ptb.test.txt"
                }
            };
            return Err(exit::usage(format!("name a folder with --data: {holds}")));
        };
        if args.vocabulary.is_some() && paper.task() != Task::Language {
            return Err(exit::usage("--vocabulary: only text has words"));
        }
        let text = args.scale.text();
        let text = TextOptions { vocabulary: args.vocabulary.unwrap_or(text.vocabulary), ..text };
        let source = open_source(&name, Options { text, ..Options::default() })?;
        let part = Arc::new(source.train()?);
        let is_listed =
            |it: &Listed| (it.shape, it.n_classes, it.n_train) == (part.shape, part.classes.len(), part.len());
        let is_same_data = source.is_penn_treebank() || paper.data().and_then(listed).is_some_and(is_listed);
        if part.task != paper.task() {
            let (theirs, this) = (paper.task(), part.task);
            return Err(exit::usage(format!(
                "--data {name}: the published figures are of {theirs}; this is for {this}"
            )));
        }
        if part.sound.is_some() != (paper == Paper::Kws) {
            let (theirs, this) = if paper == Paper::Kws { ("sound", "images") } else { ("images", "sound") };
            return Err(exit::usage(format!("--data {name}: the published figures are of {theirs}; this is {this}")));
        }
        let extent = args.scale.extent(paper);
        let (mut train, mut validation) = split(&part, Amount::Fraction(0.1), args.seed)?;
        if let Some([learned, validated]) = extent.images {
            train.truncate(learned);
            validation.truncate(validated);
        }
        let normalisation = Normalisation::of(&part, &train)?;
        let augment = Augment::for_source(&source);
        let set = TrainingSet { part, train, validation, normalisation, augment };
        let compute = if 0 < Compute::cuda_devices() { Compute::Cuda } else { Compute::Cpu };
        let test = Arc::new(source.test()?);
        // Words are spotted on a board; the other figures know no target.
        let target = Target::find(if paper == Paper::Kws { "rpi4" } else { "host" })?;
        let (scale, seed) = (args.scale, args.seed);
        Ok(Self { paper, name, is_same_data, set, test, target, extent, scale, seed, guards, folder, compute })
    }

    /// Says in the folder what is done there. What was done for something else is not gone on with.
    pub(super) fn claim(&self, paper: &str, scale: &str) -> Result<()> {
        let data_sha256 = self.set.part.sha256();
        let mut now =
            serde_json::json!({ "paper": paper, "scale": scale, "seed": self.seed, "data_sha256": data_sha256 });
        if !self.guards.is_empty() {
            now["guards"] = serde_json::to_value(&self.guards)?;
        }
        let then: Option<serde_json::Value> =
            self.folder.has(SETUP).then(|| self.folder.read_json(SETUP)).transpose()?;
        let is_ours = then.as_ref() == Some(&now) || (then.is_none() && !self.folder.has(STUDY));
        if !is_ours {
            let path = self.folder.path.display();
            return Err(exit::usage(format!("{path} holds other work; choose another folder with --run")));
        }
        self.folder.write_json(SETUP, &now)
    }

    /// The paper's search, and random search at equal cost: none beside random search itself.
    pub(super) fn reproduce(&self, paper: Paper) -> Result<(Outcome, Option<Outcome>)> {
        let Extent { evaluations, shared_epochs, batch, .. } = self.extent;
        let (seed, is_paper) = (self.seed, self.scale == ReproductionScale::Paper);
        let [proxy, full] = self.sizes();
        let effort = Effort { evaluations, epochs: self.extent.epochs, patience: 1_000, proxy, full };
        let cells = Cells::of(paper.task());
        let none = Budget::default();
        let hasty = |paper: search::policy::ControllerSettings| {
            if is_paper { paper } else { search::policy::ControllerSettings { lr: 0.01, baseline_decay: 0.9, ..paper } }
        };
        match paper {
            Paper::BEnas => {
                let paper = benas::Settings::default();
                let controller = hasty(paper.controller.clone());
                let settings = benas::Settings { epochs: shared_epochs, controller, ..paper };
                self.shared(&cells, &mut Benas::new(settings, cells.given(), proxy, full, seed), none)
            }
            Paper::Enas => {
                let paper = enas::Settings::micro();
                let controller = hasty(paper.controller.clone());
                let settings = enas::Settings { epochs: shared_epochs, controller, ..paper };
                let space = EnasMicro::default();
                self.shared(&space, &mut Enas::new(settings, space.given(), proxy, full, seed), none)
            }
            Paper::EnasMacro => {
                let paper = enas::Settings::macro_search();
                let controller = hasty(paper.controller.clone());
                let settings = enas::Settings { epochs: shared_epochs, controller, ..paper };
                let space = EnasMacro { layers: if is_paper { 12 } else { 6 } };
                self.shared(&space, &mut Enas::new(settings, space.given(), proxy, full, seed), none)
            }
            Paper::Bsn => {
                let paper = bsn::Settings { epochs: shared_epochs, batch, ..bsn::Settings::default() };
                let space = Fabric::default();
                self.shared(&space, &mut Bsn::new(paper, proxy, full, seed), none)
            }
            Paper::RandomWs => {
                let outcome = self.random_ws(&cells, &mut self.study(&none)?, shared_epochs * 300, &none)?;
                Ok((outcome, None))
            }
            Paper::EnasPtb => {
                let paper = enas::Settings::recurrent();
                let controller = hasty(paper.controller.clone());
                let controller_steps = if is_paper { paper.controller_steps } else { 10 };
                let settings = enas::Settings { epochs: shared_epochs, controller_steps, controller, ..paper };
                let space = RecurrentSpace::enas();
                self.shared(&space, &mut Enas::new(settings, space.given(), proxy, full, seed), none)
            }
            Paper::RandomWsPtb => {
                // Half of what the paper scores: a segment of text takes longer than a batch of small images.
                let scored = if is_paper { 2_000 } else { 50 * shared_epochs };
                let outcome = self.random_ws(&cells, &mut self.study(&none)?, scored, &none)?;
                Ok((outcome, None))
            }
            Paper::NasRlPtb => {
                let settings =
                    if is_paper { nas_rl::Settings::recurrent() } else { nas_rl::Settings::short_recurrent() };
                self.alone(&TreeSpace::default(), &mut NasRl::new(settings, effort, seed), effort, none)
            }
            Paper::DartsPtb => {
                // The released code's Adam for alpha of recurrent cells, with that library's usual betas.
                let order = if is_paper { Order::Second } else { Order::First };
                // In a few hundred steps the paper's rate leaves the choices where they began.
                let lr = if is_paper { 3e-3 } else { 3e-2 };
                let settings =
                    darts::Settings { order, epochs: shared_epochs, lr, beta_1: 0.9, ..darts::Settings::paper() };
                self.relaxed(&OpenRecurrent::default(), &mut Darts::new(settings, proxy, full, seed))
            }
            Paper::AshaPtb => self.alone(&cells, &mut self.asha(effort), effort, none),
            Paper::NasRl => {
                let settings = if is_paper { nas_rl::Settings::default() } else { nas_rl::Settings::short() };
                self.alone(&ChainSpace::default(), &mut NasRl::new(settings, effort, seed), effort, none)
            }
            Paper::Nasnet => {
                let settings = if is_paper { nasnet::Settings::default() } else { nasnet::Settings::short() };
                self.alone(&NasNetSpace::default(), &mut NasNet::new(settings, effort, seed), effort, none)
            }
            Paper::Epnas | Paper::Kws => {
                let none = if paper == Paper::Kws { self.on_a_board(&full)? } else { none };
                let short = epnas::Settings::short();
                // Sets of spoken words are small: their networks get all of the paper's epochs at any scale.
                let epochs = if paper == Paper::Kws { short.child.epochs } else { effort.epochs };
                let settings = match is_paper {
                    true => epnas::Settings::modules(),
                    false => epnas::Settings { child: epnas::Child { epochs, ..short.child }, ..short },
                };
                self.alone(&ModuleSpace::default(), &mut Epnas::new(settings, effort, seed), effort, none)
            }
            Paper::Asha => self.alone(&cells, &mut self.asha(effort), effort, none),
            Paper::NeuralArchitect => {
                let settings = match is_paper {
                    true => neural_architect::Settings::default(),
                    false => neural_architect::Settings::short(),
                };
                let strategy = &mut NeuralArchitect::new(settings, about(&self.set), effort, seed);
                self.alone(&LayerSpace::default(), strategy, effort, none)
            }
            Paper::Darts | Paper::DartsSecondOrder => {
                let order = if paper == Paper::Darts { Order::First } else { Order::Second };
                let paper = darts::Settings { order, ..darts::Settings::paper() };
                // In a few hundred steps the paper's rate leaves the choices where they began.
                let lr = if is_paper { paper.lr } else { 20.0 * paper.lr };
                let settings = self.guarded(darts::Settings { epochs: shared_epochs, lr, ..paper });
                let darts = &mut Darts::new(settings, proxy, full, seed);
                match self.guards.contains(&Guard::PartialChannels) {
                    true => self.relaxed(&PartialDarts::default(), darts),
                    false => self.relaxed(&DartsSpace, darts),
                }
            }
            Paper::AutoDeeplab => {
                // Alpha and beta are trained in the second half alone. The paper names Adam and not its betas.
                let settings = darts::Settings {
                    order: Order::First,
                    epochs: shared_epochs,
                    warm_up: shared_epochs / 2,
                    lr: 3e-3,
                    beta_1: 0.9,
                    ..darts::Settings::paper()
                };
                // In a few hundred steps the paper's rate leaves the choices where they began.
                let lr = if is_paper { settings.lr } else { 10.0 * settings.lr };
                let space = Trellis { layers: self.extent.full[0], blocks: if is_paper { 5 } else { 3 } };
                let settings = self.guarded(darts::Settings { lr, ..settings });
                self.relaxed(&space, &mut Darts::new(settings, proxy, full, seed))
            }
            Paper::Rcas => {
                let space = BlockSpace::default();
                let budget = self.mobile_net_v2(&space, &full)?;
                self.alone(&space, &mut Rcas::new(rcas::Settings::default(), effort), effort, budget)
            }
        }
    }

    /// With the guards that were asked for.
    fn guarded(&self, settings: darts::Settings) -> darts::Settings {
        let has = |guard| self.guards.contains(&guard);
        darts::Settings {
            most_skips: darts::Settings::default().most_skips.filter(|_| has(Guard::Skips)),
            curvature: has(Guard::Curvature).then(darts::Curvature::default),
            ..settings
        }
    }

    /// At the paper's scale with its rungs, else with two of this effort.
    fn asha(&self, effort: Effort) -> Asha {
        let paper = asha::Settings::default();
        let settings = match self.scale {
            ReproductionScale::Paper => paper,
            ReproductionScale::Demo | ReproductionScale::Small => {
                asha::Settings { min_epochs: effort.epochs, max_epochs: 4 * effort.epochs, ..paper }
            }
        };
        Asha::new(settings, effort, self.seed)
    }

    fn size(&self, [layers, channels]: [usize; 2]) -> Scale {
        let front_end = self.set.part.sound.as_ref().map(|it| it.front_end);
        let TrainingSet { part, .. } = &self.set;
        Scale { layers, channels, input: part.shape, classes: part.classes.len(), front_end, task: part.task }
    }

    /// While searching, and as it is deployed.
    fn sizes(&self) -> [Scale; 2] {
        [self.size(self.extent.proxy).trained(), self.size(self.extent.full)]
    }

    /// The published network that stands beside what was found, by the same recipe on the same data.
    pub(super) fn published(&self, paper: Paper) -> Result<Option<Outcome>> {
        let full = self.size(self.extent.full);
        if paper.task() == Task::Language {
            let graph = lstm::lstm(&full).map_err(search::Error::from)?;
            return self.train("lstm", [graph.clone(), graph], Found::default()).map(Some);
        }
        if paper != Paper::Kws {
            return Ok(None);
        }
        let build = |scale: &Scale| ds_cnn::build(scale).map_err(search::Error::from);
        self.train("ds-cnn", [build(&full.trained())?, build(&full)?], Found::default()).map(Some)
    }

    /// A plain network about as large as what was found, by the same recipe on the same data.
    pub(super) fn plain(&self, paper: Paper, ours: &Outcome) -> Result<Option<Outcome>> {
        if paper != Paper::AutoDeeplab {
            return Ok(None);
        }
        let graph = deeplab::of_size(&self.size(self.extent.full), ours.params).map_err(search::Error::from)?;
        self.train("plain-deeplab", [graph.clone(), graph], Found::default()).map(Some)
    }

    pub(super) fn bounds(&self, paper: Paper) -> Result<Vec<String>> {
        if paper != Paper::Kws {
            return Ok(Vec::new());
        }
        let name = &self.target.name;
        let words = |bound: &Bound| {
            let max = bound.metric.format(bound.max.unwrap_or(f64::INFINITY));
            format!("{} on {name} <= {max}, as the published network is estimated to take at most", bound.metric.name())
        };
        Ok(self.on_a_board(&self.size(self.extent.full))?.bounds.iter().map(words).collect())
    }

    /// What DS-CNN takes of the board, by its model: latency and memory.
    fn on_a_board(&self, full: &Scale) -> Result<Budget> {
        let cost = CostModel::new(self.target.clone()).price(&ds_cnn::build(full).map_err(search::Error::from)?);
        let bound = |metric| {
            let max = cost.get(metric).map(|figure| figure.high);
            Bound { metric, min: None, max, hard: true }
        };
        Ok(Budget { bounds: [Metric::Latency, Metric::Memory].map(bound).to_vec() })
    }

    /// RCAS's two hard bounds: the size of MobileNetV2, here at the scale of the reproduction.
    fn mobile_net_v2(&self, space: &BlockSpace, full: &Scale) -> Result<Budget> {
        // Blocks of type 5, expansion 6 without groups, in MobileNetV2's numbers per width.
        const BLOCKS: [usize; 36] = [
            5, 5, 0, 0, 0, 0, 5, 5, 5, 0, 0, 0, 5, 5, 5, 5, 0, 0, 5, 5, 5, 0, 0, 0, 5, 5, 5, 0, 0, 0, 5, 0, 0, 0, 0, 0,
        ];
        let chain = space.sample(&mut search::chooser::Replay::new(&BLOCKS));
        let cost = static_cost(&space.build(&chain, full).map_err(search::Error::from)?);
        let bound = |metric, max: u64| Bound { metric, min: None, max: Some(max as f64), hard: true };
        Ok(Budget { bounds: vec![bound(Metric::Params, cost.params), bound(Metric::Macs, cost.macs)] })
    }

    fn study(&self, budget: &Budget) -> Result<Study> {
        Ok(Study::open(
            &self.folder.path,
            budget.clone(),
            Box::new(Screen::new(budget.clone(), self.paper.task(), None)),
        )?)
    }

    fn pricer(&self, budget: &Budget) -> Result<Pricer> {
        let images = (self.extent.final_epochs * self.set.train.len()) as u64;
        Ok(Pricer::new(CostModel::new(self.target.clone()), budget.clone(), None, images))
    }

    fn alone<S: SearchSpace>(
        &self,
        space: &S,
        strategy: &mut dyn for<'a> Strategy<S, dyn Evaluator + 'a>,
        effort: Effort,
        budget: Budget,
    ) -> Result<(Outcome, Option<Outcome>)> {
        let mut study = self.study(&budget)?;
        let trainer = || -> Result<Trainer> {
            let (set, kept) = (self.set.clone(), self.folder.file("checkpoints"));
            let recipe = self.recipe(effort.epochs);
            let pricer = self.pricer(&budget)?;
            Ok(Trainer::new(set, recipe, self.compute, self.seed, pricer, kept, terminal::interrupted))
        };
        let found = strategy.search(space, &mut trainer()?, &mut study)?;
        let trained = || study.trials().iter().filter(|it| it.strategy == strategy.name() && it.accuracy.is_some());
        let n = trained().count();
        let work = trained().map(|it| macs(&it.cost) * it.epochs.unwrap_or(0) as f64).sum();
        let ours = self.finish(space, strategy.name(), n, found, &effort.full)?;
        let effort = Effort { evaluations: self.as_dear(space, &budget, work, effort)?, ..effort };
        let found = Random::new(effort, self.seed).search(space, &mut trainer()?, &mut study)?;
        // Uniform networks of a large space may all be outside of hard bounds.
        let random = match found.is_empty() {
            true => None,
            false => {
                let n = study.trials().iter().filter(|it| it.strategy == "random" && it.accuracy.is_some()).count();
                let outcome = self.finish(space, "random", n, found, &effort.full)?;
                let allowed = (n < effort.evaluations).then_some(effort.evaluations);
                Some(Outcome { found: Found { allowed, ..outcome.found }, ..outcome })
            }
        };
        Ok((ours, random))
    }

    /// Random networks within the budget that are as much work to train as `work`: multiply-accumulates of one
    /// deployed network, times epochs, over all.
    fn as_dear<S: SearchSpace>(&self, space: &S, budget: &Budget, work: f64, effort: Effort) -> Result<usize> {
        /// Networks whose mean is taken.
        const DRAWS: u64 = 100;
        let mut pricer = self.pricer(budget)?;
        let mut each = Vec::new();
        for nth in 0..DRAWS {
            let arch = space.sample(&mut Uniform::new(self.seed, "random at equal cost", nth));
            let cost = pricer.cost(&space.build(&arch, &effort.full).map_err(search::Error::from)?)?;
            if budget.admits(&cost) {
                each.push(macs(&cost) * effort.epochs as f64);
            }
        }
        if each.is_empty() {
            return Ok(effort.evaluations);
        }
        let mean = each.iter().sum::<f64>() / each.len() as f64;
        Ok((work / mean).round().max(1.0) as usize)
    }

    fn shared<S: SearchSpace>(
        &self,
        space: &S,
        strategy: &mut dyn for<'a> Strategy<S, dyn SharedWeights + 'a>,
        budget: Budget,
    ) -> Result<(Outcome, Option<Outcome>)> {
        let mut study = self.study(&budget)?;
        let found = strategy.search(space, &mut self.supernet(&budget)?, &mut study)?;
        let scored = study.trials().iter().filter(|it| it.accuracy.is_some()).count();
        let ours = self.finish(space, strategy.name(), scored, found, &self.size(self.extent.full))?;
        Ok((ours, Some(self.random_ws(space, &mut study, scored.max(10), &budget)?)))
    }

    /// A relaxed search; beside it a random network of equal size, by the same recipe.
    fn relaxed<S: Relax>(&self, space: &S, strategy: &mut Darts) -> Result<(Outcome, Option<Outcome>)> {
        let budget = Budget::default();
        let mut study = self.study(&budget)?;
        let recipe = self.recipe(self.extent.shared_epochs);
        let recipe = match self.paper.task() {
            Task::Classification | Task::Segmentation => {
                let schedule = Schedule { max: 0.025, ..recipe.schedule };
                Recipe { weight_decay: 3e-4, ..Recipe::published(recipe.epochs, recipe.batch, schedule) }
            }
            Task::Language => recipe,
        };
        let mut network = Relaxation::new(self.set.clone(), recipe, self.compute, self.seed, self.pricer(&budget)?);
        let found = strategy.search(space, &mut network, &mut study)?;
        let n = study.trials().iter().filter(|it| it.strategy == darts::NAME).count();
        let full = self.size(self.extent.full);
        let ours = Outcome { stopped: strategy.stopped(), ..self.finish(space, darts::NAME, n, found, &full)? };
        let Some(random) = self.of_equal_size(space, ours.params, &full)? else { return Ok((ours, None)) };
        let random = self.finish(space, "random", 1, vec![random], &full)?;
        Ok((ours, Some(random)))
    }

    /// The first random architecture whose network has as many parameters, give or take a twentieth.
    fn of_equal_size<S: SearchSpace>(&self, space: &S, params: u64, full: &Scale) -> Result<Option<Chosen<S::Arch>>> {
        /// Draws at most.
        const DRAWS: u64 = 10_000;
        for step in 0..DRAWS {
            let arch = space.sample(&mut Uniform::new(self.seed, "random of equal size", step));
            let found = static_cost(&space.build(&arch, full).map_err(search::Error::from)?).params;
            if 20 * found.abs_diff(params) <= params {
                return Ok(Some(Chosen { arch, accuracy: 0.0, cost: Cost::default() }));
            }
        }
        Ok(None)
    }

    fn random_ws<S: SearchSpace>(
        &self,
        space: &S,
        study: &mut Study,
        scored: usize,
        budget: &Budget,
    ) -> Result<Outcome> {
        let [proxy, full] = self.sizes();
        let epochs = self.extent.shared_epochs;
        let settings = random_ws::Settings { epochs, scored, finalists: 10.min(scored), proposals: 100 * scored };
        let found =
            RandomWs::new(settings, proxy, full, self.seed).search(space, &mut self.supernet(budget)?, study)?;
        self.finish(space, random_ws::NAME, scored, found, &full)
    }

    fn supernet(&self, budget: &Budget) -> Result<Supernet> {
        let recipe = self.recipe(self.extent.shared_epochs);
        Ok(Supernet::new(self.set.clone(), recipe, self.compute, self.seed, self.pricer(budget)?))
    }

    /// Nesterov momentum, L2 of 1e-4 and a cosine, as most of the papers have it; RCAS's has steps: at 4, 7 and 9 of its
    /// 10 epochs while searching.
    fn recipe(&self, epochs: usize) -> Recipe {
        if self.paper == Paper::Rcas {
            return self.in_steps(epochs, [0.4, 0.7, 0.9]);
        }
        if self.paper.task() == Task::Language {
            return Recipe::words(epochs, self.extent.batch);
        }
        let schedule = Schedule { max: 0.05, min: 0.001, period: epochs as f64, growth: 1.0, warmup: 0.0, drops: None };
        Recipe::published(epochs, self.extent.batch, schedule)
    }

    /// The same for the final training: RCAS's rate falls at 60, 120 and 180 of its 200 epochs. At the paper's scale what
    /// else is printed of a final training comes to it: short trainings of small networks would lose by it.
    fn final_recipe(&self) -> Recipe {
        let epochs = self.extent.final_epochs;
        let common = self.recipe(epochs);
        if self.scale != ReproductionScale::Paper && self.paper != Paper::Rcas {
            return common;
        }
        match self.paper {
            Paper::Rcas => self.in_steps(epochs, [0.3, 0.6, 0.9]),
            Paper::Nasnet => Recipe { drop_path: 0.4, second_classifier: 0.4, weight_decay: 5e-4, ..common },
            // B-ENAS names ENAS's training as its own.
            Paper::Enas | Paper::BEnas => {
                Recipe { dropout_keep: 0.8, drop_path: 0.4, second_classifier: 0.4, weight_decay: 2e-4, ..common }
            }
            Paper::Darts | Paper::DartsSecondOrder => {
                Recipe { drop_path: 0.2, second_classifier: 0.4, cutout: 0.5, weight_decay: 3e-4, ..common }
            }
            // Its final trainings drop paths; at which rate is not printed. Reconstruction: DARTS's.
            Paper::AutoDeeplab => Recipe { drop_path: 0.2, ..common },
            Paper::EnasMacro
            | Paper::Bsn
            | Paper::NasRl
            | Paper::Epnas
            | Paper::NeuralArchitect
            | Paper::Asha
            | Paper::RandomWs
            | Paper::Kws => common,
            // As DARTS drops out in its final training; its averaged gradient descent is a cosine here. Reconstruction.
            Paper::EnasPtb | Paper::RandomWsPtb | Paper::NasRlPtb | Paper::AshaPtb | Paper::DartsPtb => {
                common.with_dropout()
            }
        }
    }

    /// RCAS's recipe, whose rate falls to a tenth at these shares of all epochs.
    fn in_steps(&self, epochs: usize, drops: [f64; 3]) -> Recipe {
        let schedule = Schedule::steps(0.1, drops.map(|it| it * epochs as f64));
        Recipe { weight_decay: 4e-5, ..Recipe::published(epochs, self.extent.batch, schedule) }
    }

    /// Trains the best network at full size and asks it the test part, once.
    fn finish<S: SearchSpace>(
        &self,
        space: &S,
        strategy: &str,
        trials: usize,
        found: Vec<Chosen<S::Arch>>,
        full: &Scale,
    ) -> Result<Outcome> {
        let Some(best) = found.into_iter().next() else {
            return Err(exit::usage(format!("{strategy} found no network within the budget; try a larger --scale")));
        };
        let build = |scale: &Scale| space.build(&best.arch, scale).map_err(search::Error::from);
        let networks = [build(&full.trained())?, build(full)?];
        let architecture = serde_json::to_value(&best.arch)?;
        self.train(strategy, networks, Found { trials, allowed: None, search_accuracy: best.accuracy, architecture })
    }

    /// Trains a network, which is deployed with what stands before it, and asks it the test part, once.
    fn train(&self, name: &str, [graph, deployed]: [Graph; 2], found: Found) -> Result<Outcome> {
        let fit = Fit {
            set: self.set.clone(),
            recipe: self.final_recipe(),
            compute: self.compute,
            start: None,
            seed: self.seed,
            checkpoint: Some(self.folder.file("checkpoints").join(format!("final-{name}.safetensors"))),
        };
        let mut screen = TrainingScreen::new(&format!("training the network of {name}"), self.paper.task());
        let fitted = fit.run(&graph, &mut |done, total, curve| screen.look(done, total, curve))?;
        drop(screen);
        let tested = fit::test(&graph, &fitted.weights, &self.test, &self.set.normalisation, self.compute)?;
        let shipped = match name {
            darts::NAME if self.paper.task() != Task::Classification => Some(self.ship(&deployed, &fitted.weights)?),
            enas::NAME | nas_rl::NAME | asha::NAME if self.paper.task() == Task::Language => {
                Some(self.ship(&deployed, &fitted.weights)?)
            }
            random_ws::NAME if self.paper == Paper::RandomWsPtb => Some(self.ship(&deployed, &fitted.weights)?),
            _ => None,
        };
        let cost = static_cost(&deployed);
        let priced = CostModel::new(self.target.clone()).price(&deployed);
        Ok(Outcome {
            strategy: name.to_owned(),
            found,
            params: cost.params,
            macs: cost.macs,
            latency: self.set.part.sound.as_ref().and_then(|_| priced.get(Metric::Latency).cloned()),
            classes: self.by_class(&tested),
            test: tested,
            stopped: None,
            shipped,
        })
    }

    /// What was read of a text.
    pub(super) fn words(&self) -> Option<Words> {
        let part = &self.set.part;
        part.text.as_ref()?;
        let asked = self.test.labels.iter().filter(|&&label| label != IGNORED).count().max(1);
        let unknown = self.test.labels.iter().filter(|&&label| label == 0).count() as f64 / asked as f64;
        Some(Words { vocabulary: part.classes.len(), segment: part.places(), unknown })
    }

    /// Of a task that scores classes one by one, each with its score.
    fn by_class(&self, tested: &Tally) -> Vec<ClassScore> {
        if self.paper.task() != Task::Segmentation {
            return Vec::new();
        }
        let scored = self.set.part.classes.iter().cloned().zip(tested.iou());
        scored.map(|(class, iou)| ClassScore { class, iou }).collect()
    }

    /// Writes what was found as a file for boards, and holds it to what was trained.
    fn ship(&self, graph: &Graph, weights: &Weights) -> Result<Shipped> {
        let entries = [
            ("pipeline.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("pipeline.classes", serde_json::to_string(&self.set.part.classes)?),
            ("pipeline.normalisation", serde_json::to_string(&self.set.normalisation)?),
            ("pipeline.data.sha256", self.set.part.sha256()),
        ];
        let metadata = Metadata { entries: entries.map(|(key, value)| (key.to_owned(), value)).into() };
        let bytes = ::export::onnx(graph, weights, &metadata).context("cannot write the model")?;
        self.folder.write(MODEL, &bytes)?;
        let parity = export::parity(&self.folder.file(MODEL), graph, weights, &self.set)?;
        let test = export::runtime_tally(&self.folder.file(MODEL), graph, &self.test, &self.set.normalisation)?;
        Ok(Shipped { file: MODEL.to_owned(), bytes: bytes.len(), parity, test })
    }
}

/// Multiply-accumulates of one inference.
fn macs(cost: &Cost) -> f64 {
    cost.get(Metric::Macs).map_or(0.0, |it| it.value)
}

/// The guards of a search by gradient for images that were asked for; others have none.
fn guards(args: &ReproduceArgs) -> Result<Vec<Guard>> {
    let is_darts = matches!(args.paper, Paper::Darts | Paper::DartsSecondOrder);
    let may_collapse = is_darts || args.paper == Paper::AutoDeeplab;
    let guards = match &args.guards {
        Some(_) if !may_collapse => {
            return Err(exit::usage("--guards: only darts, darts-second-order and auto-deeplab have any"));
        }
        Some(guards) if guards.contains(&Guard::None) && 1 < guards.len() => {
            return Err(exit::usage("--guards: none goes with no other"));
        }
        Some(guards) if guards.contains(&Guard::PartialChannels) && !is_darts => {
            return Err(exit::usage("--guards: partial-channels is of darts and darts-second-order alone"));
        }
        Some(guards) => guards.clone(),
        None if may_collapse => vec![Guard::Skips],
        None => Vec::new(),
    };
    Ok(guards)
}
