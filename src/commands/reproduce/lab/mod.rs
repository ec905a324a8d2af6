//! The data, sizes and trainings of one reproduction.

mod forecast;
mod searches;

use std::sync::Arc;

use ::data::{Amount, Augment, IGNORED, Listed, Normalisation, Options, Tally, Task, TextOptions, listed, split};
use ::export::Metadata;
use ::train::{
    Compute, Recipe, Schedule, TrainingSet,
    fit::{self, Fit},
};
use anyhow::{Context, Result};
use graph::{Graph, cost::static_cost, weights::Weights};
use search::{
    pricing::Pricer,
    space::{Scale, SearchSpace, blocks::BlockSpace, deeplab, ds_cnn, lstm},
    strategy::{Chosen, asha, darts, enas, nas_rl, random_ws},
    study::Study,
};
use targets::{Bound, Budget, CostModel, Metric, Target};

pub(super) use self::forecast::Forecast;
use super::{ClassScore, Found, Outcome, Shipped, Words, extent::Extent};
use crate::{
    cli::{Guard, ReproduceArgs, ReproductionScale},
    commands::{export, open_source},
    exit,
    papers::{Paper, Rival},
    run_folder::{MODEL, RunFolder, STUDY},
    terminal::{Screen, TrainingScreen},
};

/// What a folder is for: the paper, the scale, the seed and the data.
const SETUP: &str = "setup.json";

/// What came of a reproduction.
pub(super) enum Done {
    /// What was found, and what stands beside it.
    Outcomes(Box<(Outcome, Option<Outcome>)>),
    /// Nothing was trained: what it would take.
    Forecast(Forecast),
}

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
    /// Whether to tell what would be done, and not to do it.
    is_dry: bool,
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
        let (scale, seed, is_dry) = (args.scale, args.seed, args.dry_run);
        Ok(Self { paper, name, is_same_data, set, test, target, extent, scale, seed, guards, folder, compute, is_dry })
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
    pub(super) fn published(&self) -> Result<Option<Outcome>> {
        let full = self.size(self.extent.full);
        let (name, graphs) = match self.paper.rival() {
            Some(Rival::Lstm) => {
                let graph = lstm::lstm(&full).map_err(search::Error::from)?;
                ("lstm", [graph.clone(), graph])
            }
            Some(Rival::DsCnn) => {
                let build = |scale: &Scale| ds_cnn::build(scale).map_err(search::Error::from);
                ("ds-cnn", [build(&full.trained())?, build(&full)?])
            }
            Some(Rival::PlainDeeplab) | None => return Ok(None),
        };
        self.train(name, graphs, Found::default()).map(Some)
    }

    /// A plain network about as large as what was found, by the same recipe on the same data.
    pub(super) fn plain(&self, ours: &Outcome) -> Result<Option<Outcome>> {
        if self.paper.rival() != Some(Rival::PlainDeeplab) {
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
