//! Budgeted efficient neural architecture search, B-ENAS (Xu Qiang et al.).
//!
//! The four functions below are the paper's Algorithms 1 to 4, in order.

use data::keyed;
use serde::{Deserialize, Serialize};
use targets::{Budget, Cost};

use super::{Chosen, Strategy, rank};
use crate::{
    Result,
    children::Children,
    chooser::Uniform,
    evaluator::SharedWeights,
    penalty::{self, Penalty, Reward},
    policy::{Controller, ControllerSettings, controller::ControllerState},
    space::{Scale, SearchSpace},
    study::{Phase, Signal, Study},
};

/// Settings, under the paper's symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `e`: epochs of alternating training.
    pub epochs: usize,
    /// `s`: controller rounds an epoch.
    pub controller_steps: usize,
    /// `n` of formula (5): cells sampled for each gradient. The paper's number is lost; ENAS
    /// aggregates 10. Reconstruction.
    pub cells_per_gradient: usize,
    /// What accuracy is multiplied with in the reward: 80 for language models, whose accuracy is 1 / perplexity, as ENAS has
    /// it; 1 for all others, as the paper.
    #[serde(default = "one")]
    pub reward_scale: f64,
    /// `alpha` of formula (2): weight of the penalty against accuracy, in `[0, 1]`.
    pub alpha: f64,
    /// `beta` of formula (3): slope or maximum of the penalty.
    pub beta: f64,
    /// Reading of formula (2).
    pub reward: Reward,
    /// Reading of formula (3).
    pub penalty: Penalty,
    /// Cells among which Algorithm 4 chooses.
    pub candidates: usize,
    /// Cells that Algorithm 4 draws at most while it looks for candidates within the budget.
    pub proposals: usize,
    /// The controller.
    pub controller: ControllerSettings,
}

fn one() -> f64 {
    1.0
}

impl Settings {
    /// Networks that are scored on a minibatch while the controller learns.
    pub fn explored(&self) -> usize {
        self.epochs * self.controller_steps * self.cells_per_gradient
    }
}

impl Default for Settings {
    /// Section 4.1 of the paper.
    fn default() -> Self {
        Self {
            epochs: 150,
            controller_steps: 30,
            cells_per_gradient: 10,
            reward_scale: one(),
            alpha: 0.1,
            beta: 1.0,
            reward: Reward::Convex,
            penalty: Penalty::Slope,
            candidates: 10,
            proposals: 100_000,
            controller: ControllerSettings::default(),
        }
    }
}

/// B-ENAS. The shared parameters Omega live in the evaluator, theta in the controller.
#[derive(Debug)]
pub struct Benas {
    settings: Settings,
    /// Size of the child that is trained while searching: three layers in the paper.
    proxy: Scale,
    /// Size of the network that is deployed: eleven layers in the paper. Costs are always those of
    /// this size, so the bound needs no translation from the network to the cell.
    full: Scale,
    seed: u64,
    controller: Controller,
    /// What was done, over all sessions: everything drawn is keyed by it.
    done: Done,
}

/// Counters between two epochs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Done {
    epochs: usize,
    sampled: u64,
    controller: ControllerState,
}

/// Name in studies.
pub const NAME: &str = "b-enas";

impl Benas {
    /// B-ENAS with a fresh controller for spaces with `given` states.
    pub fn new(settings: Settings, given: usize, proxy: Scale, full: Scale, seed: u64) -> Self {
        let controller = Controller::new(settings.controller.clone(), given, seed);
        Self { settings, proxy, full, seed, controller, done: Done::default() }
    }
}

impl<S: SearchSpace> Strategy<S, dyn SharedWeights + '_> for Benas {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Algorithm 1. Alternates the two phases, then selects.
    fn search(
        &mut self,
        space: &S,
        child: &mut (dyn SharedWeights + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut children = Children::new(NAME, space, child, study, [self.proxy, self.full]);
        self.resume(&mut children)?;
        while self.done.epochs < self.settings.epochs {
            children.epoch(self.done.epochs);
            let signal = self.train_child(&mut children)?;
            if signal == Signal::WrapUp || self.train_controller(&mut children)? == Signal::WrapUp {
                break;
            }
            self.done.epochs += 1;
            self.snapshot(&children)?;
        }
        children.epoch(self.done.epochs);
        self.select_cell(&mut children)
    }
}

impl Benas {
    /// Algorithm 2. Fixes theta; trains Omega with a fresh cell for every minibatch (`M = 1`).
    fn train_child<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<Signal> {
        for step in 0..children.n_batches() {
            let cell = self.sample(children.space);
            children.train(&cell)?;
            if self.look(children, "training shared weights", step + 1, 0)? == Signal::WrapUp {
                return Ok(Signal::WrapUp);
            }
        }
        Ok(Signal::Continue)
    }

    /// Algorithm 3. Fixes Omega; trains theta on the penalised reward, each cell validated on one
    /// minibatch.
    fn train_controller<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<Signal> {
        for step in 0..self.settings.controller_steps {
            let mut learned = Vec::new();
            for _ in 0..self.settings.cells_per_gradient {
                let rng = self.next_rng();
                let (cell, walked) = self.controller.sample(rng, |chooser| children.space.sample(chooser));
                let accuracy = children.accuracy(&cell)?;
                let cost = children.cost(&cell)?;
                let reward = self.reward(accuracy, &cost, children.budget());
                children.record(Phase::Explore, &cell, Some(accuracy), cost, Some(reward))?;
                learned.push((walked, reward));
            }
            self.controller.reinforce(&learned);
            if self.look(children, "training the controller", children.n_batches(), step + 1)? == Signal::WrapUp {
                return Ok(Signal::WrapUp);
            }
        }
        Ok(Signal::Continue)
    }

    /// Algorithm 4. Draws candidates; of those within the budget it prefers the largest accuracy
    /// times cost, because shared weights are under-trained and larger cells suffer more from it.
    ///
    /// Those within the soft bounds come before all others, which would win by what they cost too much; the others are
    /// ranked as other strategies' answers are.
    ///
    /// The paper draws ten and may find none. Here cells are drawn until ten are within the hard
    /// bounds: from the controller, and uniformly once a hundred of its cells in a row were not.
    fn select_cell<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<Vec<Chosen<S::Arch>>> {
        let mut ranked: Vec<(f64, Chosen<S::Arch>)> = Vec::new();
        let mut missed = 0;
        for proposal in 0..self.settings.proposals {
            if ranked.len() == self.settings.candidates {
                break;
            }
            let cell = if missed < PATIENCE { self.sample(children.space) } else { self.uniform(children.space) };
            let cost = children.cost(&cell)?;
            if ranked.iter().any(|(_, it)| it.arch == cell) || !children.budget().admits(&cost) {
                // Each drawn cell of the first hundred is on record: "why is nothing feasible?"
                if missed < PATIENCE {
                    children.record(Phase::Select, &cell, None, cost, None)?;
                }
                missed += 1;
                if proposal % 100 == 99 && self.look(children, "looking for feasible cells", 0, 0)? == Signal::WrapUp {
                    break;
                }
                continue;
            }
            missed = 0;
            let accuracy = children.validate(&cell)?;
            children.record(Phase::Select, &cell, Some(accuracy), cost.clone(), None)?;
            let score = accuracy * bounded_cost(children.budget(), &cost);
            ranked.push((score, Chosen { arch: cell, accuracy, cost }));
            self.look(children, "selecting", 0, 0)?;
        }
        // Stable: of equals the earlier stays ahead.
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let is_within = |it: &Chosen<S::Arch>| penalty::outside(children.budget(), &it.cost) <= 0.0;
        let (mut best, mut outside): (Vec<_>, Vec<_>) =
            ranked.into_iter().map(|(_, chosen)| chosen).partition(is_within);
        rank(&mut outside, children.budget());
        best.append(&mut outside);
        Ok(best)
    }

    /// Formulas (2) and (3); each bound, hard or soft, adds its penalty.
    fn reward(&self, accuracy: f64, cost: &Cost, budget: &Budget) -> f64 {
        let Settings { reward_scale, alpha, beta, reward, penalty, .. } = self.settings;
        let penalty: f64 = budget.excesses(cost).map(|excess| penalty.of(excess, beta)).sum();
        reward.of(reward_scale * accuracy, penalty, alpha)
    }

    fn sample<S: SearchSpace>(&mut self, space: &S) -> S::Arch {
        let rng = self.next_rng();
        self.controller.sample(rng, |chooser| space.sample(chooser)).0
    }

    fn uniform<S: SearchSpace>(&mut self, space: &S) -> S::Arch {
        self.done.sampled += 1;
        space.sample(&mut Uniform::new(self.seed, "b-enas uniform", self.done.sampled))
    }

    fn next_rng(&mut self) -> keyed::ChaCha8Rng {
        self.done.sampled += 1;
        keyed::rng(self.seed, "b-enas sample", self.done.sampled)
    }

    /// Reports progress; an epoch's steps are its minibatches and the controller's rounds.
    fn look<S: SearchSpace>(
        &self,
        children: &mut Children<'_, S>,
        phase: &str,
        trained: usize,
        steered: usize,
    ) -> Result<Signal> {
        let epoch = children.n_batches() + self.settings.controller_steps;
        children.look(phase, self.done.epochs * epoch + trained + steered, self.settings.epochs * epoch)
    }

    fn snapshot<S: SearchSpace>(&mut self, children: &Children<'_, S>) -> Result<()> {
        self.done.controller = self.controller.save();
        children.snapshot(&self.done, self.done.controller.weights.clone())
    }

    fn resume<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<()> {
        if let Some((done, weights)) = children.resume()? {
            self.done = done;
            self.done.controller.weights = weights;
            self.controller.restore(&self.done.controller)?;
        }
        Ok(())
    }
}

/// The cost that Algorithm 4 multiplies with: of the one bounded metric, as in the paper. Of several
/// the geometric mean, so that accuracy does not drown in a product of many; 1 without a bound.
pub fn bounded_cost(budget: &Budget, cost: &Cost) -> f64 {
    let figures = budget.bounds.iter().filter_map(|bound| cost.get(bound.metric));
    let logs: Vec<f64> = figures.map(|figure| figure.value.max(f64::MIN_POSITIVE).ln()).collect();
    if logs.is_empty() { 1.0 } else { (logs.iter().sum::<f64>() / logs.len() as f64).exp() }
}

/// Cells of the controller in a row that may miss the budget before uniform ones are drawn.
const PATIENCE: usize = 100;
