//! A search with everything that it needs, and its stages: search, training, export, measurement.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::Result;
use graph::Graph;
use search::{
    chooser::Uniform,
    feasibility::{Certificate, Explanation, Known, Side},
    pricing::Pricer,
    space::{
        Scale, SearchSpace,
        cells::{AnyCell, Cells},
    },
    strategy::{Chosen, first_measured},
    study::Study,
};
use targets::{Budget, Calibration, Cost, CostModel, LatencyModel, Meter, MeterError, Metric, Reading, Target};

use crate::{
    calibrations,
    commands::{Images, export, report, settle, train},
    config::{BaselineChoice, SearchConfig, StrategyName},
    devices,
    exit::{self, Exit},
    on_device::{Instrument, OnDevice},
    receipt::{Architecture, Baseline, Receipt},
    run_folder::{ARCHITECTURE, RunFolder},
    score::Score,
    supernet,
    terminal::{self, Screen},
};

/// Everything that a search needs, opened and checked.
pub struct Plan {
    /// The configuration.
    pub config: SearchConfig,
    /// The images.
    pub images: Images,
    /// The kind of board.
    pub target: Target,
    /// What was found out about a board of it.
    pub calibration: Option<Calibration>,
    /// Its costs, by its calibration where there is one.
    pub model: CostModel,
    /// What must hold.
    pub budget: Budget,
    /// What is searched.
    pub space: Cells,
    /// Size of the networks trained while searching.
    pub proxy: Scale,
    /// Size of the network that is deployed.
    pub deployed: Scale,
}

/// How a search ends when nothing went wrong.
pub(super) enum Found {
    Network(Box<Receipt>),
    Nothing(Box<Why>),
}

/// Why nothing was found.
pub(super) struct Why {
    /// Whether there were candidates that did not stand the whole measurement.
    refused: bool,
    pub(super) explanation: Explanation,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.refused {
            writeln!(f, "Candidates that looked feasible did not stand the whole measurement.")?;
        }
        write!(f, "{}", self.explanation)
    }
}

/// The device, lent to the pricer and to acceptance.
#[derive(Clone)]
struct Board(Rc<RefCell<OnDevice>>);

impl Meter for Board {
    fn measure(&mut self, graph: &Graph) -> Result<Reading, MeterError> {
        self.0.borrow_mut().measure(graph)
    }
}

impl Plan {
    /// Opens the target and sizes the networks.
    pub fn new(config: SearchConfig, images: Images, calibration: Option<Calibration>) -> Result<Self> {
        let target = Target::find(&config.target)?;
        let model = cost_model(&config, &target, calibration.as_ref())?;
        let budget = config.budget()?;
        let (mut proxy, deployed) = config.scales(&images.source)?;
        if let Some(path) = &config.supernet {
            let (about, _) = supernet::read(path)?;
            let data = config.made_with.as_ref().map_or("", |it| &it.data_sha256);
            if about.data_sha256 != data || about.scale.input != proxy.input {
                return Err(exit::usage(format!(
                    "--supernet {}: these weights were trained on other data (sha256 {}, here {data})",
                    path.display(),
                    about.data_sha256
                )));
            }
            proxy = about.scale;
        }
        config.compute()?;
        let space = Cells::of(deployed.task);
        Ok(Self { config, images, target, calibration, model, budget, space, proxy, deployed })
    }

    /// Graph of a cell at the deployed size.
    pub fn network(&self, cell: &AnyCell) -> Result<Graph> {
        Ok(cell.build(&self.deployed).map_err(search::Error::from)?)
    }

    /// Refuses a bound that even the cheapest network of the space does not meet.
    pub(super) fn refuse_the_impossible(&self) -> Result<()> {
        let model = &self.model;
        let certificate = Certificate::bounded(&self.space, &self.deployed, model)?;
        for bound in self.budget.bounds.iter().filter(|bound| bound.hard) {
            let Some(max) = bound.max else { continue };
            // A device may prove an estimate too high; without one the estimate decides.
            let measurable = match self.config.device() {
                None => false,
                Some(devices::COUNTED) => bound.metric == Metric::Latency,
                Some(_) => matches!(bound.metric, Metric::Latency | Metric::Memory),
            };
            let Some(least) = certificate.get(bound.metric, Side::Max) else { continue };
            if max < if measurable { least.hoped } else { least.needed } {
                let metric = bound.metric;
                let runtime = match metric {
                    Metric::Flash => model.runtime.flash_bytes,
                    Metric::Memory => model.runtime.memory_bytes,
                    _ => 0,
                };
                let with_it = match runtime {
                    0 => String::new(),
                    bytes => format!(", {} of them for the program that runs it,", metric.format(bytes as f64)),
                };
                return Err(exit::usage(format!(
                    "--max-{} {} cannot be met: the smallest network of the space needs {}{with_it} at {}; allow more, \
                     or make the deployed network smaller with [deployed] in --config",
                    metric.name(),
                    metric.format(max),
                    least.figure.describe(metric),
                    self.deployed.describe(),
                )));
            }
        }
        Ok(())
    }

    /// Images that the final training goes through.
    fn final_images(&self) -> u64 {
        (self.config.training.epochs * self.images.set.train.len()) as u64
    }

    /// All stages, as far as they are not done yet.
    pub(super) fn run(&self, folder: &RunFolder) -> Result<Found> {
        let board = self.board(folder)?;
        if !folder.has(ARCHITECTURE)
            && let Err(why) = self.search(folder, board.as_ref()).map_err(|error| continuable(error, folder))?
        {
            return Ok(Found::Nothing(why));
        }
        train::train(folder, &self.config, &self.images)?;
        export::export(folder, &self.config, &self.images)?;
        let settled = settle::settle(folder, &self.config, &self.images, self.instrument()?, self.model.runtime);
        let receipt = settled.map_err(|error| continuable(error, folder))?;
        report::write(folder, &self.config)?;
        Ok(Found::Network(Box::new(receipt)))
    }

    /// What counts instructions, if that is what `--device` names: nobody's board is touched.
    pub fn counter(&self) -> Result<Option<Instrument>> {
        if self.config.device() == Some(devices::COUNTED) { self.instrument() } else { Ok(None) }
    }

    /// What `--device` names; a device that goes away in the middle is waited for.
    fn instrument(&self) -> Result<Option<Instrument>> {
        let Some(name) = self.config.device() else { return Ok(None) };
        let config = &self.config;
        let (agent, calibration) = (config.agent.as_deref(), self.calibration.as_ref());
        let instrument = Instrument::open(name, &self.target, agent, config.allow_noisy, calibration)?;
        Ok(Some(instrument.patient(config.device_wait()?)))
    }

    fn board(&self, folder: &RunFolder) -> Result<Option<Board>> {
        let Some(instrument) = self.instrument()? else { return Ok(None) };
        Ok(Some(Board(Rc::new(RefCell::new(OnDevice::new(instrument, folder.clone())?)))))
    }

    /// A pricer that knows what the run has measured so far.
    fn pricer(&self, board: Option<&Board>) -> Result<Pricer> {
        let meter = board.cloned().map(|board| Box::new(board) as Box<dyn Meter>);
        let mut pricer = Pricer::new(self.model.clone(), self.budget.clone(), meter, self.final_images());
        if let Some(board) = board {
            for (network, _, work, reading) in board.0.borrow().read_so_far()? {
                pricer.learn(network, work, &reading);
            }
        }
        Ok(pricer)
    }

    /// The search stage: the strategy, then the baseline with the same effort. The inner error is
    /// the answer to "why is nothing feasible?".
    fn search(&self, folder: &RunFolder, board: Option<&Board>) -> Result<Result<(), Box<Why>>> {
        let deadline = self.config.deadline()?;
        let task = self.deployed.task;
        let screen = || Box::new(Screen::new(self.budget.clone(), task, deadline.map(|it| it.mul_f64(SEARCH_SHARE))));
        let mut study = Study::open(&folder.path, self.budget.clone(), screen())?;
        if deadline.is_some() || board.is_some() || self.budget.get(Metric::TrainTime).is_some() {
            study.allow_other_proposals();
        }
        let (ranked, pricer) = self.candidates(self.config.strategy, self.pricer(board)?, &mut study, folder)?;
        let chosen = match self.accept(folder, ranked, board)? {
            Ok(chosen) => chosen,
            Err(refused) => {
                let known = if refused.is_empty() {
                    Known::of_trials(study.trials())
                } else {
                    refused.iter().map(|cost| Known { accuracy: None, cost }).collect()
                };
                let certificate = Certificate::bounded(&self.space, &self.deployed, pricer.model())?;
                let explanation = Explanation::new(&self.budget, &known, false, Some(certificate));
                return Ok(Err(Box::new(Why { refused: !refused.is_empty(), explanation })));
            }
        };
        let (baseline, pricer) = match self.config.strategy.baseline() {
            None => (None, pricer),
            Some(strategy) => {
                study.watch(screen());
                let (ranked, pricer) = self.candidates(strategy, pricer, &mut study, folder)?;
                // What may ship must stand on the device as well.
                let first = match self.config.baseline {
                    BaselineChoice::Rival => self.accept(folder, ranked, board)?.ok(),
                    BaselineChoice::Trained | BaselineChoice::Searched => ranked.into_iter().next(),
                };
                (Some(baseline(strategy, first)), pricer)
            }
        };
        let score = Score::of_share(task, chosen.accuracy, self.images.set.validation.len());
        if score.may_be_chance(self.images.source.classes.len()) {
            terminal::say(&format!(
                "warning: the chosen cell reached a validation {} of {} while searching, no better than chance with {} \
                 classes: cells were not told apart. Train longer while searching: a larger --preset, or more `epochs` \
                 under [b-enas] or [trials] in a --config file",
                score.measure(),
                score.told(2),
                self.images.source.classes.len()
            ));
        }
        let graph = self.network(&chosen.arch)?;
        let architecture = Architecture {
            strategy: self.config.strategy.name().to_owned(),
            cell: chosen.arch,
            proxy: self.proxy,
            deployed: self.deployed,
            search_accuracy: chosen.accuracy,
            cost: chosen.cost,
            epochs: self.epochs(&pricer, &graph, deadline.map(|it| it.mul_f64(1.0 - 2.0 * SEARCH_SHARE))),
            baseline,
        };
        folder.write_json(ARCHITECTURE, &architecture)?;
        folder.log("found", serde_json::json!({ "cell": architecture.cell }));
        Ok(Ok(()))
    }

    /// The candidate that is first once the whole protocol was run on the device, where there is one. The inner error is the
    /// cost of those that did not stand it.
    fn accept(
        &self,
        folder: &RunFolder,
        ranked: Vec<Chosen<AnyCell>>,
        board: Option<&Board>,
    ) -> Result<Result<Chosen<AnyCell>, Vec<Cost>>> {
        let (first, refused) = first_measured(ranked, &self.budget, |candidate| {
            let Some(board) = board else { return Ok(()) };
            let reading = board.0.borrow_mut().accept(&self.network(&candidate.arch)?)?;
            for (metric, figure) in [(Metric::Latency, reading.latency), (Metric::Memory, reading.memory)] {
                if let Some(figure) = figure {
                    candidate.cost.set(metric, figure);
                }
            }
            Ok::<_, anyhow::Error>(())
        })?;
        for Chosen { arch, cost, .. } in &refused {
            folder.log("not accepted", serde_json::json!({ "cell": arch, "cost": cost }));
        }
        Ok(first.ok_or_else(|| refused.into_iter().map(|it| it.cost).collect()))
    }

    /// Epochs of the final training that fit into `time`, at the pace of the search's steps. The
    /// baseline's network is trained in the same time.
    fn epochs(&self, pricer: &Pricer, graph: &Graph, time: Option<Duration>) -> usize {
        let asked = self.config.training.epochs;
        let needed = pricer.estimate(graph).get(Metric::TrainTime).map(|it| it.value);
        let (Some(time), Some(needed)) = (time, needed) else { return asked };
        let trained = if self.config.baseline.is_trained() { 2.0 } else { 1.0 };
        let share = (time.as_secs_f64() / (trained * needed)).min(1.0);
        ((asked as f64 * share).floor() as usize).clamp(1, asked)
    }
}

/// Says of a run that stopped because its board is away that nothing is lost; one that the user stopped
/// meanwhile was stopped by the user.
fn continuable(error: anyhow::Error, folder: &RunFolder) -> anyhow::Error {
    if Exit::of(&error) != Exit::Device {
        return error;
    }
    if terminal::interrupted() {
        return search::Error::Interrupted.into();
    }
    let next = format!("pipeline search --resume --run {}", folder.path.display());
    error.context(format!("nothing is promised without the board; all so far is kept, when it is back: {next}"))
}

/// Share of a deadline for the strategy, and again for the baseline, which gets the same effort.
/// The rest is for the final training.
pub const SEARCH_SHARE: f64 = 0.3;

fn baseline(strategy: StrategyName, found: Option<Chosen<AnyCell>>) -> Baseline {
    let (accuracy, cost) = (found.as_ref().map(|it| it.accuracy), found.as_ref().map(|it| it.cost.clone()));
    let strategy = strategy.name().to_owned();
    Baseline { strategy, cell: found.map(|it| it.arch), search_accuracy: accuracy, cost, was_asked_for: false }
}

/// Costs on a target, by its calibration where there is one and by counts where those are measured.
pub fn cost_model(config: &SearchConfig, target: &Target, calibration: Option<&Calibration>) -> Result<CostModel> {
    let mut model = match calibration {
        Some(calibration) => calibration.model(target.clone()),
        None => CostModel::new(target.clone()),
    };
    if config.device() == Some(devices::COUNTED) {
        // What was measured is in the scale: the model then rests on counts alone, and says so.
        let scale = calibrations::scale(calibration, target)?;
        model.latency = LatencyModel::from_table(&target.latency).by_counts(&scale);
    }
    if let Some(device) = config.device() {
        model.runtime = devices::runtime(device, target, config.agent.as_deref())?;
    }
    Ok(model)
}

/// A random cell of the plan, for probes.
pub fn random_cell(plan: &Plan, step: u64) -> AnyCell {
    plan.space.sample(&mut Uniform::new(plan.config.seed, "probe", step))
}
