//! The papers' searches, and random search at equal cost beside them.

use ::data::Task;
use ::train::{Recipe, Schedule, alone::Trainer, relaxed::Relaxation, shared::Supernet};
use anyhow::Result;
use graph::cost::static_cost;
use search::{
    chooser::Uniform,
    evaluator::{Evaluator, Order, SharedWeights},
    pricing::Pricer,
    space::{
        Relax, Scale, SearchSpace, blocks::BlockSpace, cells::Cells, chain::ChainSpace, darts::DartsSpace,
        enas_macro::EnasMacro, enas_micro::EnasMicro, fabric::Fabric, layers::LayerSpace, modules::ModuleSpace,
        nasnet::NasNetSpace, open_recurrent::OpenRecurrent, partial::PartialDarts, recurrent::RecurrentSpace,
        rnn_tree::TreeSpace, trellis::Trellis,
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
        random_filling::{self, RandomFilling},
        random_ws::{self, RandomWs},
        rcas::{self, Rcas},
    },
    study::Study,
    trials::Effort,
};
use targets::{Budget, Cost, Metric};

use super::{Done, Extent, Found, Lab, Outcome};
use crate::{
    cli::{Guard, ReproductionScale},
    commands::about,
    papers::Paper,
    terminal,
};

impl Lab {
    /// The paper's search, and random search at equal cost: none beside random search itself.
    pub(in crate::commands::reproduce) fn reproduce(&self, paper: Paper) -> Result<Done> {
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
                let explored = settings.explored();
                self.shared(&cells, &mut Benas::new(settings, cells.given(), proxy, full, seed), explored, none)
            }
            Paper::Enas => {
                let paper = enas::Settings::micro();
                let controller = hasty(paper.controller.clone());
                let settings = enas::Settings { epochs: shared_epochs, controller, ..paper };
                let space = EnasMicro::default();
                let explored = settings.explored();
                self.shared(&space, &mut Enas::new(settings, space.given(), proxy, full, seed), explored, none)
            }
            Paper::EnasMacro => {
                let paper = enas::Settings::macro_search();
                let controller = hasty(paper.controller.clone());
                let settings = enas::Settings { epochs: shared_epochs, controller, ..paper };
                let space = EnasMacro { layers: if is_paper { 12 } else { 6 } };
                let explored = settings.explored();
                self.shared(&space, &mut Enas::new(settings, space.given(), proxy, full, seed), explored, none)
            }
            Paper::Bsn => {
                let paper = bsn::Settings { epochs: shared_epochs, batch, ..bsn::Settings::default() };
                let space = Fabric::default();
                let explored = paper.epochs;
                self.shared(&space, &mut Bsn::new(paper, proxy, full, seed), explored, none)
            }
            Paper::RandomWs => self.random_alone(&cells, shared_epochs * 300),
            Paper::EnasPtb => {
                let paper = enas::Settings::recurrent();
                let controller = hasty(paper.controller.clone());
                let controller_steps = if is_paper { paper.controller_steps } else { 10 };
                let settings = enas::Settings { epochs: shared_epochs, controller_steps, controller, ..paper };
                let space = RecurrentSpace::enas();
                let explored = settings.explored();
                self.shared(&space, &mut Enas::new(settings, space.given(), proxy, full, seed), explored, none)
            }
            Paper::RandomWsPtb => {
                // Half of what the paper scores: a segment of text takes longer than a batch of small images.
                let scored = if is_paper { 2_000 } else { 50 * shared_epochs };
                self.random_alone(&cells, scored)
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
                let draw = |nth, pricer: &mut Pricer| {
                    let fits = |set: &_| Ok(budget.admits(&pricer.cost(&space.build(set, &full)?)?));
                    Ok(random_filling::filled(&space, seed, nth, fits)?)
                };
                // Uniform networks are hardly ever within two bounds: random ones that fill them, as greedy search does.
                let strategy = &mut Rcas::new(rcas::Settings::default(), effort);
                let rival = |effort| RandomFilling::new(effort, seed);
                self.beside(&space, strategy, effort, budget.clone(), draw, rival)
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

    /// A search that trains each network on its own; beside it uniform networks.
    fn alone<S: SearchSpace>(
        &self,
        space: &S,
        strategy: &mut dyn for<'a> Strategy<S, dyn Evaluator + 'a>,
        effort: Effort,
        budget: Budget,
    ) -> Result<Done> {
        let draw =
            |nth, _: &mut Pricer| Ok(Some(space.sample(&mut Uniform::new(self.seed, "random at equal cost", nth))));
        self.beside(space, strategy, effort, budget, draw, |effort| Random::new(effort, self.seed))
    }

    /// The same beside a rival of whose networks `draw` gives some, to tell how dear they are.
    fn beside<S: SearchSpace, R: for<'a> Strategy<S, dyn Evaluator + 'a>>(
        &self,
        space: &S,
        strategy: &mut dyn for<'a> Strategy<S, dyn Evaluator + 'a>,
        effort: Effort,
        budget: Budget,
        draw: impl FnMut(u64, &mut Pricer) -> Result<Option<S::Arch>>,
        rival: impl FnOnce(Effort) -> R,
    ) -> Result<Done> {
        if self.is_dry {
            return self.forecast_alone(space, effort, &budget, draw).map(Done::Forecast);
        }
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
        let effort = Effort { evaluations: self.as_dear(space, &budget, work, effort, draw)?, ..effort };
        let mut rival = rival(effort);
        let found = rival.search(space, &mut trainer()?, &mut study)?;
        // Uniform networks of a large space may all be outside of hard bounds.
        let random = match found.is_empty() {
            true => None,
            false => {
                let name = rival.name();
                let n = study.trials().iter().filter(|it| it.strategy == name && it.accuracy.is_some()).count();
                let outcome = self.finish(space, name, n, found, &effort.full)?;
                let allowed = (n < effort.evaluations).then_some(effort.evaluations);
                Some(Outcome { found: Found { allowed, ..outcome.found }, ..outcome })
            }
        };
        Ok(Done::Outcomes(Box::new((ours, random))))
    }

    /// How many random networks within the budget are as much work to train as `work`: multiply-accumulates of one
    /// deployed network, times epochs, over all.
    fn as_dear<S: SearchSpace>(
        &self,
        space: &S,
        budget: &Budget,
        work: f64,
        effort: Effort,
        mut draw: impl FnMut(u64, &mut Pricer) -> Result<Option<S::Arch>>,
    ) -> Result<usize> {
        /// Networks whose mean is taken.
        const DRAWS: u64 = 100;
        let mut pricer = self.pricer(budget)?;
        let mut each = Vec::new();
        for nth in 0..DRAWS {
            let Some(arch) = draw(nth, &mut pricer)? else { break };
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

    /// A search whose networks share weights, of which it scores as many as `explored` while it learns; beside it random
    /// search that scores as many.
    fn shared<S: SearchSpace>(
        &self,
        space: &S,
        strategy: &mut dyn for<'a> Strategy<S, dyn SharedWeights + 'a>,
        explored: usize,
        budget: Budget,
    ) -> Result<Done> {
        if self.is_dry {
            return self.forecast_shared(space, explored).map(Done::Forecast);
        }
        let mut study = self.study(&budget)?;
        let found = strategy.search(space, &mut self.supernet(&budget)?, &mut study)?;
        let scored = study.trials().iter().filter(|it| it.accuracy.is_some()).count();
        let ours = self.finish(space, strategy.name(), scored, found, &self.size(self.extent.full))?;
        let random = self.random_ws(space, &mut study, scored.max(10), &budget)?;
        Ok(Done::Outcomes(Box::new((ours, Some(random)))))
    }

    /// A relaxed search; beside it a random network of equal size, by the same recipe.
    fn relaxed<S: Relax>(&self, space: &S, strategy: &mut Darts) -> Result<Done> {
        if self.is_dry {
            return self.forecast_relaxed(space, strategy.order()).map(Done::Forecast);
        }
        let budget = Budget::default();
        let mut study = self.study(&budget)?;
        let recipe = self.relaxed_recipe();
        let mut network = Relaxation::new(self.set.clone(), recipe, self.compute, self.seed, self.pricer(&budget)?);
        let found = strategy.search(space, &mut network, &mut study)?;
        let n = study.trials().iter().filter(|it| it.strategy == darts::NAME).count();
        let full = self.size(self.extent.full);
        let ours = Outcome { stopped: strategy.stopped(), ..self.finish(space, darts::NAME, n, found, &full)? };
        let Some(random) = self.of_equal_size(space, ours.params, &full)? else {
            return Ok(Done::Outcomes(Box::new((ours, None))));
        };
        let random = self.finish(space, "random", 1, vec![random], &full)?;
        Ok(Done::Outcomes(Box::new((ours, Some(random)))))
    }

    /// DARTS's recipe of images; of words that of all others.
    pub(super) fn relaxed_recipe(&self) -> Recipe {
        let recipe = self.recipe(self.extent.shared_epochs);
        match self.paper.task() {
            Task::Classification | Task::Segmentation => {
                let schedule = Schedule { max: 0.025, ..recipe.schedule };
                Recipe { weight_decay: 3e-4, ..Recipe::published(recipe.epochs, recipe.batch, schedule) }
            }
            Task::Language => recipe,
        }
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

    /// Random search with shared weights, which nothing stands beside.
    fn random_alone<S: SearchSpace>(&self, space: &S, scored: usize) -> Result<Done> {
        if self.is_dry {
            return self.forecast_shared(space, scored).map(Done::Forecast);
        }
        let none = Budget::default();
        let outcome = self.random_ws(space, &mut self.study(&none)?, scored, &none)?;
        Ok(Done::Outcomes(Box::new((outcome, None))))
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
}

/// Multiply-accumulates of one inference.
fn macs(cost: &Cost) -> f64 {
    cost.get(Metric::Macs).map_or(0.0, |it| it.value)
}
