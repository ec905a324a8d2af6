//! Efficient Neural Architecture Search via Parameter Sharing, ENAS (H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, 2018).
//!
//! Two phases alternate: shared parameters Omega are trained with networks of the controller, then the controller's
//! theta with the accuracies that Omega gives its networks. The numbers are those of the authors' scripts.

use data::keyed;
use serde::{Deserialize, Serialize};
use targets::{Budget, Cost};

use super::{Chosen, Strategy, rank};
use crate::{
    Result,
    children::Children,
    chooser::Uniform,
    evaluator::SharedWeights,
    penalty::{Penalty, Reward},
    policy::{Controller, ControllerSettings, Walked, controller::ControllerState},
    space::{Scale, SearchSpace},
    study::{Phase, Signal, Study},
};

/// Settings, under the paper's symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Epochs of alternating training. The authors train Omega by Nesterov momentum with gradients cut off at a norm of 5
    /// and a rate that goes from 0.05 to 0.0005 by cosine with restarts (`T_0` = 10, `T_mul` = 2).
    pub epochs: usize,
    /// Updates of theta in an epoch.
    pub controller_steps: usize,
    /// `M`: networks whose gradients are averaged in an update.
    pub aggregate: usize,
    /// Weight of the entropy of the controller's answers in the reward.
    pub entropy_weight: f64,
    /// `c`: what accuracy is multiplied with in the reward; 80 for language models, whose accuracy is 1 / perplexity.
    #[serde(default = "one")]
    pub reward_scale: f64,
    /// Weight of a soft bound in the reward: at twice a bound this much accuracy is lost, and no more than nine times as
    /// much. ENAS knows no bounds; the form is B-ENAS's additive one.
    pub alpha: f64,
    /// Networks drawn in the end, each scored on one validation minibatch. The paper draws 10.
    pub candidates: usize,
    /// The best of them, scored on the whole validation part. The paper trusts the one minibatch: 1.
    pub finalists: usize,
    /// Networks drawn at most while it looks for candidates within the budget.
    pub proposals: usize,
    /// The controller.
    pub controller: ControllerSettings,
}

impl Settings {
    /// The search for cells: minibatches of 160 images, L2 regularisation 1e-4.
    pub fn micro() -> Self {
        let controller = ControllerSettings {
            layers: 1,
            hidden: 64,
            spread: 0.1,
            lr: 0.0035,
            beta_1: 0.0,
            beta_2: 0.999,
            epsilon: 1e-3,
            temperature: 1.0,
            tanh_constant: 1.1,
            op_tanh_reduce: 2.5,
            skip_target: 0.4,
            skip_weight: 0.0,
            // It stands in the reward, as in the authors' code, and not in the gradient.
            entropy: 0.0,
            baseline_decay: 0.99,
        };
        Self {
            epochs: 150,
            controller_steps: 30,
            aggregate: 10,
            entropy_weight: 1e-4,
            reward_scale: one(),
            alpha: 0.1,
            candidates: 100,
            finalists: 10,
            proposals: 100_000,
            controller,
        }
    }

    /// The search for whole networks: minibatches of 128 images, L2 regularisation 2.5e-4.
    pub fn macro_search() -> Self {
        let micro = Self::micro();
        let controller = ControllerSettings {
            lr: 1e-3,
            tanh_constant: 1.5,
            // The authors' script names 2.5, but their controller of whole networks does not read it.
            op_tanh_reduce: 1.0,
            skip_weight: 0.8,
            ..micro.controller
        };
        Self { epochs: 310, controller_steps: 50, aggregate: 20, controller, ..micro }
    }
}

impl Settings {
    /// Networks that are scored on a minibatch while the controller learns.
    pub fn explored(&self) -> usize {
        self.epochs * self.controller_steps * self.aggregate
    }

    /// The search for recurrent cells. The reward is the paper's `c / perplexity` and the bounds of the logits are its text's;
    /// the controller's rate and the constant `c`, NAS-RL's, are reconstructions.
    pub fn recurrent() -> Self {
        let micro = Self::micro();
        let controller = ControllerSettings {
            lr: 3.5e-4,
            temperature: 5.0,
            tanh_constant: 2.5,
            op_tanh_reduce: 1.0,
            ..micro.controller
        };
        Self { reward_scale: 80.0, controller, ..micro }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::micro()
    }
}

fn one() -> f64 {
    1.0
}

/// ENAS. The shared parameters Omega live in the evaluator, theta in the controller.
#[derive(Debug)]
pub struct Enas {
    settings: Settings,
    /// Size of the child that is trained while searching.
    proxy: Scale,
    /// Size of the network that is deployed, whose costs count.
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
pub const NAME: &str = "enas";

impl Enas {
    /// ENAS with a fresh controller for spaces with `given` states.
    pub fn new(settings: Settings, given: usize, proxy: Scale, full: Scale, seed: u64) -> Self {
        let controller = Controller::new(settings.controller.clone(), given, seed);
        Self { settings, proxy, full, seed, controller, done: Done::default() }
    }
}

impl<S: SearchSpace> Strategy<S, dyn SharedWeights + '_> for Enas {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Section 2.2: the two phases alternate.
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
            let signal = self.train_shared(&mut children)?;
            if signal == Signal::WrapUp || self.train_controller(&mut children)? == Signal::WrapUp {
                break;
            }
            self.done.epochs += 1;
            self.snapshot(&children)?;
        }
        children.epoch(self.done.epochs);
        self.derive(&mut children)
    }
}

impl Enas {
    /// Training the shared parameters Omega: an epoch with a fresh network for every minibatch.
    fn train_shared<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<Signal> {
        for step in 0..children.n_batches() {
            let (arch, _) = self.sample(children.space);
            children.train(&arch)?;
            if self.look(children, "training shared weights", step + 1)? == Signal::WrapUp {
                return Ok(Signal::WrapUp);
            }
        }
        Ok(Signal::Continue)
    }

    /// Training the controller parameters theta: the reward is the accuracy on one minibatch.
    ///
    /// What a hard bound rules out is drawn again and teaches nothing: ENAS has no penalty, and such a network is no
    /// answer, however accurate.
    fn train_controller<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<Signal> {
        for step in 0..self.settings.controller_steps {
            let mut learned = Vec::with_capacity(self.settings.aggregate);
            for _ in 0..self.settings.aggregate {
                let Some((arch, walked, cost)) = self.sample_admitted(children)? else { continue };
                let accuracy = children.accuracy(&arch)?;
                let reward = self.reward(accuracy, &walked, &cost, children.budget());
                children.record(Phase::Explore, &arch, Some(accuracy), cost, Some(reward))?;
                learned.push((walked, reward));
            }
            if !learned.is_empty() {
                self.controller.reinforce(&learned);
            }
            let trained = children.n_batches() + step + 1;
            if self.look(children, "training the controller", trained)? == Signal::WrapUp {
                return Ok(Signal::WrapUp);
            }
        }
        Ok(Signal::Continue)
    }

    /// Section 2.2, deriving architectures: networks are drawn and scored on one minibatch; the best of them are scored
    /// on the whole validation part.
    ///
    /// Networks are drawn until enough are within the hard bounds: from the controller, and uniformly once a hundred of
    /// its networks in a row were not. Where none is found the cheapest of the space are tried.
    fn derive<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<Vec<Chosen<S::Arch>>> {
        let mut found: Vec<Chosen<S::Arch>> = Vec::new();
        let (mut refused, mut repeated) = (0, 0);
        for _ in 0..self.settings.proposals {
            // A controller that only repeats itself has settled.
            if found.len() == self.settings.candidates || repeated == PATIENCE {
                break;
            }
            let arch = if refused < PATIENCE { self.sample(children.space).0 } else { self.uniform(children.space) };
            if found.iter().any(|it| it.arch == arch) {
                repeated += 1;
                continue;
            }
            let cost = children.cost(&arch)?;
            if !children.budget().admits(&cost) {
                // Each of the first hundred is on record: "why is nothing feasible?"
                if refused < PATIENCE {
                    children.record(Phase::Select, &arch, None, cost, None)?;
                }
                refused += 1;
                if refused.is_multiple_of(PATIENCE)
                    && self.look(children, "looking for feasible networks", 0)? == Signal::WrapUp
                {
                    break;
                }
                continue;
            }
            (refused, repeated) = (0, 0);
            found.push(candidate(children, arch, cost)?);
            // Late or not, there must be something to choose from.
            let enough = self.settings.finalists <= found.len();
            if self.look(children, "scoring", 0)? == Signal::WrapUp && enough {
                break;
            }
        }
        if found.is_empty() {
            for arch in children.space.cheapest() {
                let cost = children.cost(&arch)?;
                if children.budget().admits(&cost) {
                    found.push(candidate(children, arch, cost)?);
                }
            }
        }
        rank(&mut found, children.budget());
        found.truncate(self.settings.finalists);
        for finalist in &mut found {
            finalist.accuracy = children.validate(&finalist.arch)?;
        }
        rank(&mut found, children.budget());
        Ok(found)
    }

    /// Accuracy and entropy, less a penalty for each soft bound that is broken.
    fn reward(&self, accuracy: f64, walked: &Walked, cost: &Cost, budget: &Budget) -> f64 {
        let Settings { alpha, entropy_weight, reward_scale, .. } = self.settings;
        let soft = budget.bounds.iter().filter(|bound| !bound.hard);
        let excesses = soft.filter_map(|bound| Some(bound.excess(cost.get(bound.metric)?.value)));
        let penalty: f64 = excesses.map(|excess| Penalty::Slope.of(excess, 1.0)).sum();
        Reward::Additive.of(reward_scale * accuracy, penalty, alpha) + entropy_weight * walked.entropy()
    }

    fn sample<S: SearchSpace>(&mut self, space: &S) -> (S::Arch, Walked) {
        self.done.sampled += 1;
        let rng = keyed::rng(self.seed, "enas sample", self.done.sampled);
        self.controller.sample(rng, |chooser| space.sample(chooser))
    }

    /// A network of the controller within the hard bounds; `None` if none of a hundred is.
    fn sample_admitted<S: SearchSpace>(
        &mut self,
        children: &mut Children<'_, S>,
    ) -> Result<Option<(S::Arch, Walked, Cost)>> {
        for _ in 0..PATIENCE {
            let (arch, walked) = self.sample(children.space);
            let cost = children.cost(&arch)?;
            if children.budget().admits(&cost) {
                return Ok(Some((arch, walked, cost)));
            }
        }
        Ok(None)
    }

    fn uniform<S: SearchSpace>(&mut self, space: &S) -> S::Arch {
        self.done.sampled += 1;
        space.sample(&mut Uniform::new(self.seed, "enas uniform", self.done.sampled))
    }

    /// Reports progress; an epoch's steps are its minibatches and the controller's updates.
    fn look<S: SearchSpace>(&self, children: &mut Children<'_, S>, phase: &str, steps: usize) -> Result<Signal> {
        let epoch = children.n_batches() + self.settings.controller_steps;
        children.look(phase, self.done.epochs * epoch + steps, self.settings.epochs * epoch)
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

/// A network that may be the answer, scored on one minibatch and recorded.
fn candidate<S: SearchSpace>(children: &mut Children<'_, S>, arch: S::Arch, cost: Cost) -> Result<Chosen<S::Arch>> {
    let accuracy = children.accuracy(&arch)?;
    children.record(Phase::Select, &arch, Some(accuracy), cost.clone(), None)?;
    Ok(Chosen { arch, accuracy, cost })
}

/// Networks of the controller in a row that may miss the budget before uniform ones are drawn, or be known already
/// before it has settled.
const PATIENCE: u32 = 100;
