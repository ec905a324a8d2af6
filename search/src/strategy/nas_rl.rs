//! Neural architecture search with reinforcement learning, NAS-RL (B. Zoph and Q. V. Le, 2016): an LSTM proposes
//! networks, each is trained on its own, and REINFORCE makes the good ones more probable.
//!
//! The paper's 100 replicas of the controller each train `m` children at once and send their gradients to 20 parameter
//! servers as they come. Here one controller proposes its `m` children together, and an evaluator with several devices
//! may train them at once; gradients are never stale, so that the same seed finds the same networks.
//!
//! Not here is the small grid over training's settings in
//! which its best network was trained at last.

use data::keyed;
use serde::{Deserialize, Serialize};

use super::{Chosen, Strategy};
use crate::{
    Result,
    evaluator::Evaluator,
    policy::{Controller, ControllerSettings},
    space::SearchSpace,
    study::Study,
    trials::{Batch, Effort, Told, Trials},
};

/// Settings, under the paper's symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `m`: children of one gradient.
    pub children: usize,
    /// Epochs at a training's end whose best accuracy is rewarded.
    pub last_epochs: usize,
    /// Samples after which the networks grow.
    pub samples_a_depth: usize,
    /// Layers that they grow by, in spaces that can grow; 0 keeps them as they are.
    pub growth: usize,
    /// The reward is this power of the accuracy: its cube, and of language models the square of 1 / perplexity.
    #[serde(default = "cube")]
    pub reward_power: i32,
    /// `c`: what that is multiplied with: 80 for language models.
    #[serde(default = "one")]
    pub reward_scale: f64,
    /// The controller.
    pub controller: ControllerSettings,
}

fn cube() -> i32 {
    3
}

fn one() -> f64 {
    1.0
}

impl Default for Settings {
    /// Section 4.1 of the paper.
    fn default() -> Self {
        let controller = ControllerSettings {
            layers: 2,
            hidden: 35,
            spread: 0.08,
            lr: 6e-4,
            temperature: 1.0,
            tanh_constant: 0.0,
            entropy: 0.0,
            baseline_decay: BASELINE_DECAY,
            ..ControllerSettings::default()
        };
        let (reward_power, reward_scale) = (cube(), one());
        Self { children: 8, last_epochs: 5, samples_a_depth: 1600, growth: 2, reward_power, reward_scale, controller }
    }
}

impl Settings {
    /// Section 4.2, for recurrent cells of language models: the reward is `c / perplexity^2`, gradients are of 10 children,
    /// and the rate is 5e-4. What is trained at last stands for all epochs: the paper prints no window there.
    pub fn recurrent() -> Self {
        let images = Self::default();
        let controller = ControllerSettings { lr: 5e-4, ..images.controller };
        Self { children: 10, last_epochs: 1, growth: 0, reward_power: 2, reward_scale: 80.0, controller, ..images }
    }

    /// Ours, for hundreds of networks where the paper trained thousands: each update counts for more.
    pub fn short() -> Self {
        Self::default().hurried()
    }

    /// The same of [`Settings::recurrent`].
    pub fn short_recurrent() -> Self {
        Self::recurrent().hurried()
    }

    fn hurried(self) -> Self {
        Self { children: 4, controller: ControllerSettings { lr: 0.01, ..self.controller }, ..self }
    }
}

/// Decay of the moving average of rewards. The paper has such an average and does not print its decay; this is that of
/// NASNet. Reconstruction.
pub const BASELINE_DECAY: f64 = 0.95;

/// NAS-RL.
#[derive(Debug)]
pub struct NasRl {
    settings: Settings,
    effort: Effort,
    seed: u64,
}

/// Name in studies.
pub const NAME: &str = "nas-rl";

impl NasRl {
    /// NAS-RL with a fresh controller, drawn from `seed`.
    pub fn new(settings: Settings, effort: Effort, seed: u64) -> Self {
        Self { settings, effort, seed }
    }
}

impl<S: SearchSpace> Strategy<S, dyn Evaluator + '_> for NasRl {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Section 3.2. What a hard bound rules out is drawn again and teaches nothing.
    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut controller = Controller::new(self.settings.controller.clone(), space.given(), self.seed);
        let mut children = Batch::new(self.settings.children);
        while !trials.is_over() {
            let deeper = self.deeper(space, trials.n_trained());
            let now = deeper.as_ref().unwrap_or(space);
            let sample = |nth| controller.sample(keyed::rng(self.seed, NAME, nth), |chooser| now.sample(chooser));
            if let Some(learned) = children.propose(&mut trials, sample, |told| self.reward(told))? {
                controller.reinforce(&learned);
            }
        }
        Ok(trials.ranked())
    }
}

impl NasRl {
    /// Section 3.3: the space grows with the samples; `None` as long as it is as it was given.
    fn deeper<S: SearchSpace>(&self, space: &S, samples: usize) -> Option<S> {
        let layers = self.settings.growth * (samples / self.settings.samples_a_depth.max(1));
        if layers == 0 { None } else { space.deeper(layers) }
    }

    /// Section 4.1: the cube of the best accuracy of the last five epochs (4.2: `c / perplexity^2`), of which soft bounds
    /// leave their share: the paper knows none. Nothing for what was not trained.
    fn reward(&self, told: &Told) -> Option<f64> {
        told.accuracy?;
        let last = told.curve.iter().rev().take(self.settings.last_epochs.max(1));
        let best = last.copied().fold(0.0, f64::max);
        Some(self.settings.reward_scale * best.powi(self.settings.reward_power) * told.soft)
    }
}
