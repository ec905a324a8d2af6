//! Learning transferable architectures, NASNet (B. Zoph, V. Vasudevan, J. Shlens and Q. V. Le, 2018): an LSTM predicts
//! cells, and proximal policy optimization (PPO; J. Schulman et al., 2017) makes the good ones more probable.
//!
//! The paper's pool of hundreds of workers trains the networks of a minibatch as they come; here a minibatch is
//! proposed together, and an evaluator with several devices may train its networks at once. Its 250 best of 20,000
//! networks were trained again at full size: the ranking that is returned is what to take them from.

use data::keyed;
use serde::{Deserialize, Serialize};

use super::{Chosen, Strategy};
use crate::{
    Result,
    chooser::{Chooser, Kind, Question},
    evaluator::Evaluator,
    policy::{Controller, ControllerSettings, Walked},
    space::SearchSpace,
    study::Study,
    trials::{Batch, Effort, Told, Trials},
};

/// Settings, under the papers' symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Networks of one minibatch.
    pub batch: usize,
    /// `epsilon` of PPO: nothing is gained by changing a network's probability by more than this share.
    pub clip: f64,
    /// `K` of PPO: updates with each minibatch.
    pub epochs: usize,
    /// The controller.
    pub controller: ControllerSettings,
}

impl Default for Settings {
    /// Appendix A of the paper.
    fn default() -> Self {
        let controller = ControllerSettings {
            layers: 1,
            hidden: 100,
            spread: 0.1,
            lr: 0.00035,
            temperature: 1.0,
            tanh_constant: 0.0,
            entropy: 1e-5,
            baseline_decay: 0.95,
            ..ControllerSettings::default()
        };
        Self { batch: 20, clip: CLIP, epochs: EPOCHS, controller }
    }
}

impl Settings {
    /// Ours, for hundreds of networks where the paper trained thousands: small minibatches, and each update counts for
    /// more.
    pub fn short() -> Self {
        let paper = Self::default();
        Self { batch: 10, controller: ControllerSettings { hidden: 20, lr: 0.01, ..paper.controller }, ..paper }
    }
}

/// PPO's clipping. NASNet does not print it; this is PPO's own. Reconstruction.
pub const CLIP: f64 = 0.2;

/// Updates with each minibatch. NASNet does not print their number. Reconstruction.
pub const EPOCHS: usize = 4;

/// NASNet's search.
#[derive(Debug)]
pub struct NasNet {
    settings: Settings,
    effort: Effort,
    seed: u64,
}

/// Name in studies.
pub const NAME: &str = "nasnet";

impl NasNet {
    /// NASNet's search with a fresh controller, drawn from `seed`.
    pub fn new(settings: Settings, effort: Effort, seed: u64) -> Self {
        Self { settings, effort, seed }
    }
}

impl<S: SearchSpace> Strategy<S, dyn Evaluator + '_> for NasNet {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The reward is the score. What a hard bound rules out is drawn again and teaches nothing.
    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut controller = Controller::new(self.settings.controller.clone(), 0, self.seed);
        let mut minibatch = Batch::new(self.settings.batch);
        while !trials.is_over() {
            let sample = |nth| controller.sample(keyed::rng(self.seed, NAME, nth), |chooser| predict(space, chooser));
            if let Some(batch) = minibatch.propose(&mut trials, sample, Told::score)? {
                self.update(&mut controller, space, &batch);
            }
        }
        Ok(trials.ranked())
    }
}

impl NasNet {
    /// `K` steps up PPO's clipped objective. A network is one action: its probability is the product of all softmaxes.
    fn update<S: SearchSpace>(&self, controller: &mut Controller, space: &S, batch: &[(Walked, f64)]) {
        let advantages: Vec<f64> = batch.iter().map(|(_, reward)| controller.advantage(*reward)).collect();
        for _ in 0..self.settings.epochs {
            let now: Vec<(Walked, f64)> = batch
                .iter()
                .zip(&advantages)
                .map(|((then, _), &advantage)| {
                    let (_, now) = controller.repeat(&then.answers, |chooser| predict(space, chooser));
                    let ratio = (now.log_probability() - then.log_probability()).exp();
                    (now, slope(ratio, advantage, self.settings.clip))
                })
                .collect();
            controller.ascend(now.iter().map(|(walked, weight)| (walked, *weight)));
        }
    }
}

/// The slope of PPO's `min(r A, clip(r, 1 - epsilon, 1 + epsilon) A)` over the logarithm of the probability, whose
/// ratio to what it was is `r`.
pub fn slope(ratio: f64, advantage: f64, epsilon: f64) -> f64 {
    let is_clipped = if 0.0 <= advantage { 1.0 + epsilon < ratio } else { ratio < 1.0 - epsilon };
    if is_clipped { 0.0 } else { ratio * advantage }
}

/// Asks a space's questions as the paper does: one step of the LSTM and one softmax each, inputs included.
fn predict<S: SearchSpace>(space: &S, chooser: &mut dyn Chooser) -> S::Arch {
    space.sample(&mut Softmax(chooser))
}

/// Inputs are asked for as places, for which the controller has softmaxes and no attention. Without attention there is
/// nothing to define.
struct Softmax<'a>(&'a mut dyn Chooser);

impl Chooser for Softmax<'_> {
    fn choose(&mut self, question: Question) -> usize {
        let kind = if question.kind == Kind::Input { Kind::Place } else { question.kind };
        self.0.choose(Question { kind, ..question })
    }
}
