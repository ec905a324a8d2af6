//! What each strategy finds under a plan.

use ::train::{alone::Trainer, shared::Supernet};
use anyhow::Result;
use search::{
    evaluator::{Evaluator, Saved, SharedWeights},
    pricing::Pricer,
    space::{
        SearchSpace, Task,
        cells::{AnyCell, Cells},
    },
    strategy::{
        Chosen, Strategy,
        asha::{self, Asha},
        benas::Benas,
        epnas::{self, Epnas},
        evolution::{self, Evolution},
        local_search::LocalSearch,
        nas_rl::{self, NasRl},
        nasnet::{self, NasNet},
        neural_architect::{self, NeuralArchitect},
        random::Random,
        random_ws::{self, RandomWs},
        reinforce::{self, Reinforce},
        surrogate::{self, Surrogate},
    },
    study::Study,
    trials::Effort,
};
use targets::Metric;

use super::Plan;
use crate::{commands::about, config::StrategyName, run_folder::RunFolder, supernet, terminal};

/// Networks proposed at most for each that is trained on its own.
const PATIENCE: usize = 1_000;

impl Plan {
    /// What a strategy finds, the best first.
    pub(super) fn candidates(
        &self,
        strategy: StrategyName,
        pricer: Pricer,
        study: &mut Study,
        folder: &RunFolder,
    ) -> Result<(Vec<Chosen<AnyCell>>, Pricer)> {
        let Self { config, proxy, deployed, .. } = self;
        let (seed, b_enas, trials) = (config.seed, &config.b_enas, config.trials);
        let effort = Effort {
            evaluations: trials.evaluations,
            epochs: trials.epochs,
            patience: PATIENCE,
            proxy: *proxy,
            full: *deployed,
        };
        let mut alone = |strategy: &mut dyn for<'a> Strategy<Cells, dyn Evaluator + 'a>, pricer| {
            self.each_alone(pricer, study, folder, strategy)
        };
        let (mut ranked, pricer) = match strategy {
            StrategyName::Random => alone(&mut Random::new(effort, seed), pricer)?,
            StrategyName::Evolution => {
                alone(&mut Evolution::new(evolution::Settings::default(), effort, seed), pricer)?
            }
            StrategyName::LocalSearch => alone(&mut LocalSearch::new(effort, seed), pricer)?,
            StrategyName::Reinforce => {
                alone(&mut Reinforce::new(reinforce::Settings::default(), effort, seed), pricer)?
            }
            StrategyName::Surrogate => {
                alone(&mut Surrogate::new(surrogate::Settings::default(), effort, seed), pricer)?
            }
            StrategyName::NasRl => {
                let settings = match deployed.task {
                    Task::Classification | Task::Segmentation => nas_rl::Settings::short(),
                    Task::Language => nas_rl::Settings::short_recurrent(),
                };
                alone(&mut NasRl::new(settings, effort, seed), pricer)?
            }
            StrategyName::Nasnet => alone(&mut NasNet::new(nasnet::Settings::short(), effort, seed), pricer)?,
            StrategyName::Epnas => {
                let short = epnas::Settings::short();
                let child = epnas::Child { epochs: trials.epochs, ..short.child };
                alone(&mut Epnas::new(epnas::Settings { child, ..short }, effort, seed), pricer)?
            }
            StrategyName::NeuralArchitect => {
                let settings = neural_architect::Settings::short();
                alone(&mut NeuralArchitect::new(settings, about(&self.images.set), effort, seed), pricer)?
            }
            StrategyName::Asha => {
                // Rungs at a quarter, all and four times the epochs that others give each network.
                let settings = asha::Settings {
                    min_epochs: trials.epochs.div_ceil(4),
                    max_epochs: 4 * trials.epochs,
                    total_epochs: Some(trials.evaluations * trials.epochs),
                    ..asha::Settings::default()
                };
                let effort = Effort { evaluations: 16 * trials.evaluations, ..effort };
                alone(&mut Asha::new(settings, effort, seed), pricer)?
            }
            StrategyName::BEnas => {
                let mut strategy = Benas::new(b_enas.clone(), self.space.given(), *proxy, *deployed, seed);
                self.with_shared_weights(pricer, study, folder, &mut strategy)?
            }
            StrategyName::RandomWs => {
                let settings = random_ws::Settings {
                    epochs: if config.supernet.is_some() { 0 } else { b_enas.epochs },
                    scored: b_enas.explored(),
                    finalists: b_enas.candidates,
                    proposals: b_enas.proposals,
                };
                let mut strategy = RandomWs::new(settings, *proxy, *deployed, seed);
                self.with_shared_weights(pricer, study, folder, &mut strategy)?
            }
        };
        // No two runs share how long training took; where no bound asks for it, the outcome is the
        // same without it, byte for byte.
        if self.budget.get(Metric::TrainTime).is_none() {
            for candidate in &mut ranked {
                candidate.cost.figures.remove(&Metric::TrainTime);
            }
        }
        Ok((ranked, pricer))
    }

    fn with_shared_weights(
        &self,
        pricer: Pricer,
        study: &mut Study,
        folder: &RunFolder,
        strategy: &mut dyn for<'a> Strategy<Cells, dyn SharedWeights + 'a>,
    ) -> Result<(Vec<Chosen<AnyCell>>, Pricer)> {
        let config = &self.config;
        let set = self.images.set.clone();
        let mut shared = Supernet::new(set, config.search_recipe.clone(), config.compute()?, config.seed, pricer);
        if let Some(path) = &config.supernet {
            let (_, weights) = supernet::read(path)?;
            shared.restore(&Saved { weights, ..Saved::default() })?;
        }
        let ranked = strategy.search(&self.space, &mut shared, study)?;
        // The baseline's are not kept: they were trained for the comparison.
        if config.supernet.is_none() && strategy.name() == config.strategy.name() {
            let saved = shared.save()?;
            let about = supernet::About {
                format: supernet::FORMAT,
                strategy: strategy.name().to_owned(),
                blocks: self.space.parts(),
                scale: self.proxy,
                steps: saved.steps,
                data_sha256: config.made_with.as_ref().map(|it| it.data_sha256.clone()).unwrap_or_default(),
            };
            supernet::write(folder, &about, &saved)?;
        }
        Ok((ranked, shared.into_pricer()))
    }

    fn each_alone(
        &self,
        pricer: Pricer,
        study: &mut Study,
        folder: &RunFolder,
        strategy: &mut dyn for<'a> Strategy<Cells, dyn Evaluator + 'a>,
    ) -> Result<(Vec<Chosen<AnyCell>>, Pricer)> {
        let config = &self.config;
        let (set, recipe, kept) = (self.images.set.clone(), config.search_recipe.clone(), folder.file("checkpoints"));
        let mut trainer =
            Trainer::new(set, recipe, config.compute()?, config.seed, pricer, kept, terminal::interrupted);
        let ranked = strategy.search(&self.space, &mut trainer, study)?;
        Ok((ranked, trainer.into_pricer()))
    }
}
