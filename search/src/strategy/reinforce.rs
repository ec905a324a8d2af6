//! REINFORCE on independent logits (R. J. Williams, 1992), as NAS-Bench-101 and -201 run it: the plainest learner.

use data::keyed;
use serde::{Deserialize, Serialize};

use super::{Chosen, Strategy};
use crate::{
    Result,
    evaluator::Evaluator,
    policy::{Adam, Baseline, Independent},
    space::SearchSpace,
    study::Study,
    trials::{Effort, Told, Trials},
};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Of the logits.
    pub adam: Adam,
    /// Decay of the moving average of rewards.
    pub baseline_decay: f64,
    /// First logits are uniform in plus and minus this.
    pub spread: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { adam: Adam::new(0.1), baseline_decay: 0.9, spread: 1e-3 }
    }
}

/// REINFORCE on independent logits.
#[derive(Debug)]
pub struct Reinforce {
    settings: Settings,
    effort: Effort,
    seed: u64,
}

/// Name in studies.
pub const NAME: &str = "reinforce";

impl Reinforce {
    /// A policy without preferences, drawn from `seed`.
    pub fn new(settings: Settings, effort: Effort, seed: u64) -> Self {
        Self { settings, effort, seed }
    }
}

impl<S: SearchSpace> Strategy<S, dyn Evaluator + '_> for Reinforce {
    fn name(&self) -> &'static str {
        NAME
    }

    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut policy = Independent::new(self.seed, self.settings.spread, 0.0);
        let mut baseline = Baseline::default();
        for step in 0.. {
            if trials.is_over() {
                break;
            }
            let (arch, walked) = policy.sample(keyed::rng(self.seed, NAME, step), |chooser| space.sample(chooser));
            let told = trials.propose_all(&[(arch, trials.fidelity())], Told::score)?;
            // What a hard bound rules out is drawn again and teaches nothing: punished, the policy would learn where
            // bounds are before it learns what is good.
            let Some(reward) = told[0].score() else { continue };
            let advantage = baseline.advantage(reward, self.settings.baseline_decay);
            policy.ascend([(&walked, advantage)].into_iter(), 0.0, self.settings.adam);
        }
        Ok(trials.ranked())
    }
}
