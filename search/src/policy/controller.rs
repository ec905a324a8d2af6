//! A recurrent controller trained by REINFORCE: the policy of ENAS and B-ENAS.
//!
//! A two-layer LSTM answers the questions of a space one after the other; its input is an embedding
//! of the previous answer. Counts and operations come from one linear head a kind. Inputs are
//! picked by attention over the states that exist, as in ENAS: when a state comes into being the
//! controller drops an anchor, its hidden vector there, and later questions score the anchors.

use burn::tensor::{Device, Gradients, Tensor, TensorData, activation};
use data::keyed::{self, ChaCha8Rng};
use graph::weights::Weights;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::chooser::{Chooser, Kind, Question};

/// Settings of the controller. Where B-ENAS is silent the values are ENAS's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerSettings {
    /// Units of each of the two LSTM layers. The paper's number is lost; 64 is that of ENAS's
    /// first text. Reconstruction.
    pub hidden: usize,
    /// Learning rate of Adam.
    pub lr: f64,
    /// Adam's decay of the first moment.
    pub beta_1: f64,
    /// Adam's decay of the second moment.
    pub beta_2: f64,
    /// Adam's epsilon.
    pub epsilon: f64,
    /// Logits are divided by this before anything else.
    pub temperature: f64,
    /// Logits are squeezed into plus and minus this by `tanh`.
    pub tanh_constant: f64,
    /// Weight of the policy's entropy in the objective: keeps it from settling too early.
    pub entropy: f64,
    /// Decay of the moving average of rewards, the baseline of formula (5).
    pub baseline_decay: f64,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            hidden: 64,
            lr: 0.00035,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            temperature: 5.0,
            tanh_constant: 2.5,
            entropy: 1e-4,
            baseline_decay: 0.99,
        }
    }
}

/// The policy `pi(c; theta)`.
#[derive(Debug)]
pub struct Controller {
    settings: ControllerSettings,
    theta: Vec<Theta>,
    /// Adam steps taken.
    updates: i32,
    /// Exponential moving average of the reward; the first reward starts it.
    baseline: Option<f64>,
    heads: Heads,
    device: Device,
}

/// Sizes of the questions a space asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Largest number of options of a count.
    pub counts: usize,
    /// Number of operations.
    pub ops: usize,
    /// States that exist before the first question, such as the two previous cells.
    pub given: usize,
}

/// An architecture, and how the policy came to it.
#[derive(Debug)]
pub struct Sampled<A> {
    /// The architecture.
    pub arch: A,
    /// Sum of the answers' log-probabilities, `[1]`.
    log_probability: Tensor<1>,
    /// Sum of the entropies of the answers' distributions, in nats, `[1]`.
    entropy: Tensor<1>,
}

/// One tensor of the policy with Adam's moments.
#[derive(Clone, Debug)]
struct Theta {
    value: Tensor<2>,
    first: Tensor<2>,
    second: Tensor<2>,
}

/// Positions in `Controller::theta`.
mod at {
    pub(super) const EMBEDDING: usize = 0;
    pub(super) const LSTM: [usize; 2] = [1, 2];
    pub(super) const COUNT: usize = 3;
    pub(super) const OP: usize = 4;
    pub(super) const ANCHOR: usize = 5;
    pub(super) const QUERY: usize = 6;
    pub(super) const SCORE: usize = 7;
    pub(super) const N: usize = 8;
}

/// Names of the tensors in snapshots.
const NAMES: [&str; at::N] = ["embedding", "lstm0", "lstm1", "count", "op", "anchor", "query", "score"];

/// Policies start uniform in plus and minus this (ENAS).
const INITIAL: f64 = 0.1;

impl Controller {
    /// A fresh policy, drawn from `seed`. It always runs on the processor: its tensors are tiny.
    pub fn new(settings: ControllerSettings, heads: Heads, seed: u64) -> Self {
        let device = Device::flex();
        let hidden = settings.hidden;
        // Tokens of the embedding: the start, every count, every operation.
        let shapes: [[usize; 2]; at::N] = [
            [1 + heads.counts + heads.ops, hidden],
            [2 * hidden + 1, 4 * hidden],
            [2 * hidden + 1, 4 * hidden],
            [hidden, heads.counts],
            [hidden, heads.ops],
            [hidden, hidden],
            [hidden, hidden],
            [hidden, 1],
        ];
        let theta = shapes.iter().zip(NAMES).map(|(&[rows, columns], name)| {
            let mut rng = keyed::rng(seed, &format!("controller {name}"), 0);
            let draw = |_| ((unit(&mut rng) * 2.0 - 1.0) * INITIAL) as f32;
            let values: Vec<f32> = (0..rows * columns).map(draw).collect();
            let value = Tensor::from_data(TensorData::new(values, [rows, columns]), &device);
            Theta { first: value.zeros_like(), second: value.zeros_like(), value }
        });
        Self { theta: theta.collect(), settings, updates: 0, baseline: None, heads, device }
    }

    /// `c ~ pi(c; theta)` through any asking function, drawn with `rng`.
    pub fn sample<A>(&self, rng: ChaCha8Rng, ask: impl FnOnce(&mut dyn Chooser) -> A) -> A {
        let theta = self.theta.iter().map(|it| it.value.clone()).collect();
        ask(&mut Walk::new(self, theta, rng))
    }

    /// The policy's tensors as leaves of one backward pass, for samples that are learned from
    /// together.
    pub fn leaves(&self) -> Leaves {
        Leaves(self.theta.iter().map(|it| it.value.clone().autodiff().require_grad()).collect())
    }

    /// As [`Controller::sample`], for [`Controller::reinforce`] to learn from.
    pub fn sample_from<A>(
        &self,
        leaves: &Leaves,
        rng: ChaCha8Rng,
        ask: impl FnOnce(&mut dyn Chooser) -> A,
    ) -> Sampled<A> {
        let mut walk = Walk::new(self, leaves.0.clone(), rng);
        let arch = ask(&mut walk);
        Sampled { arch, log_probability: walk.log_probability, entropy: walk.entropy }
    }

    /// One Adam step on formula (5): the mean over samples of
    /// `grad log pi(c) * (R - average reward)`, plus the weighted entropy. Returns the advantages.
    pub fn reinforce<A>(&mut self, leaves: Leaves, sampled: Vec<(Sampled<A>, f64)>) -> Vec<f64> {
        let n = sampled.len() as f64;
        let mut objective: Option<Tensor<1>> = None;
        let mut advantages = Vec::new();
        for (sample, reward) in sampled {
            let baseline = *self.baseline.get_or_insert(reward);
            let advantage = reward - baseline;
            self.baseline =
                Some(self.settings.baseline_decay * baseline + (1.0 - self.settings.baseline_decay) * reward);
            advantages.push(advantage);
            let term =
                sample.log_probability.mul_scalar(advantage / n) + sample.entropy.mul_scalar(self.settings.entropy / n);
            objective = Some(match objective {
                Some(sum) => sum + term,
                None => term,
            });
        }
        if let Some(objective) = objective {
            let gradients = objective.neg().backward();
            self.adam(&leaves, gradients);
        }
        advantages
    }

    fn adam(&mut self, leaves: &Leaves, mut gradients: Gradients) {
        let ControllerSettings { lr, beta_1, beta_2, epsilon, .. } = self.settings;
        self.updates += 1;
        let (correct_1, correct_2) = (1.0 - beta_1.powi(self.updates), 1.0 - beta_2.powi(self.updates));
        for (theta, leaf) in self.theta.iter_mut().zip(&leaves.0) {
            let Some(gradient) = leaf.grad_remove(&mut gradients) else { continue };
            theta.first = theta.first.clone().mul_scalar(beta_1) + gradient.clone().mul_scalar(1.0 - beta_1);
            theta.second = theta.second.clone().mul_scalar(beta_2) + gradient.square().mul_scalar(1.0 - beta_2);
            let size = theta.second.clone().div_scalar(correct_2).sqrt().add_scalar(epsilon);
            theta.value = theta.value.clone() - theta.first.clone().mul_scalar(lr / correct_1) / size;
        }
    }

    /// The average reward so far.
    pub fn baseline(&self) -> Option<f64> {
        self.baseline
    }

    /// Everything the next sample or update depends on.
    pub fn save(&self) -> ControllerState {
        let mut weights = Weights::default();
        for (theta, name) in self.theta.iter().zip(NAMES) {
            for (suffix, tensor) in [("value", &theta.value), ("first", &theta.first), ("second", &theta.second)] {
                let values = tensor.to_data().iter::<f32>().collect();
                weights.insert(&format!("controller/{name}"), suffix, tensor.dims().to_vec(), values);
            }
        }
        ControllerState { updates: self.updates, baseline: self.baseline, weights }
    }

    /// Continues from a state that [`Controller::save`] returned.
    ///
    /// # Errors
    /// A tensor is missing.
    pub fn restore(&mut self, state: &ControllerState) -> Result<(), graph::weights::WeightsError> {
        for (theta, name) in self.theta.iter_mut().zip(NAMES) {
            let read = |suffix| -> Result<Tensor<2>, graph::weights::WeightsError> {
                let found = state.weights.get(&format!("controller/{name}"), suffix)?;
                let shape = [found.shape[0], found.values.len() / found.shape[0].max(1)];
                Ok(Tensor::from_data(TensorData::new(found.values.clone(), shape), &self.device))
            };
            *theta = Theta { value: read("value")?, first: read("first")?, second: read("second")? };
        }
        (self.updates, self.baseline) = (state.updates, state.baseline);
        Ok(())
    }
}

/// The policy's tensors as leaves of one backward pass.
#[derive(Debug)]
pub struct Leaves(Vec<Tensor<2>>);

/// A controller between two updates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ControllerState {
    /// Adam steps taken.
    pub updates: i32,
    /// The average reward.
    pub baseline: Option<f64>,
    /// Tensors and moments; stored beside the shared weights.
    #[serde(skip)]
    pub weights: Weights,
}

/// One walk through a space's questions.
struct Walk<'a> {
    controller: &'a Controller,
    theta: Vec<Tensor<2>>,
    rng: ChaCha8Rng,
    /// Embedding of the previous answer, `[1, hidden]`.
    input: Tensor<2>,
    /// `(h, c)` of each layer, `[1, hidden]`.
    state: [(Tensor<2>, Tensor<2>); 2],
    /// Constant 1, `[1, 1]`: the bias is the last row of each LSTM weight.
    one: Tensor<2>,
    /// Hidden vector at each state that may be picked, and its share in the attention, `[1, hidden]`.
    anchors: Vec<(Tensor<2>, Tensor<2>)>,
    log_probability: Tensor<1>,
    entropy: Tensor<1>,
}

impl<'a> Walk<'a> {
    fn new(controller: &'a Controller, theta: Vec<Tensor<2>>, rng: ChaCha8Rng) -> Self {
        let hidden = controller.settings.hidden;
        let device = theta[0].device();
        let zeros = || Tensor::<2>::zeros([1, hidden], &device);
        let start = theta[at::EMBEDDING].clone().slice([0..1]);
        let mut walk = Self {
            controller,
            rng,
            input: start.clone(),
            state: [(zeros(), zeros()), (zeros(), zeros())],
            one: Tensor::ones([1, 1], &device),
            anchors: Vec::new(),
            log_probability: Tensor::zeros([1], &device),
            entropy: Tensor::zeros([1], &device),
            theta,
        };
        for _ in 0..controller.heads.given {
            walk.define();
            walk.input = start.clone();
        }
        walk
    }

    /// Feeds the previous answer to the LSTM; returns the upper layer's hidden vector.
    fn advance(&mut self) -> Tensor<2> {
        let hidden = self.controller.settings.hidden;
        let mut x = self.input.clone();
        for (layer, state) in at::LSTM.into_iter().zip(&mut self.state) {
            let (h, c) = state.clone();
            let gates = Tensor::cat(vec![x, h, self.one.clone()], 1).matmul(self.theta[layer].clone());
            let gate = |idx: usize| gates.clone().narrow(1, idx * hidden, hidden);
            let keep = activation::sigmoid(gate(0));
            let write = activation::sigmoid(gate(1));
            let show = activation::sigmoid(gate(2));
            let c = keep * c + write * gate(3).tanh();
            let h = show * c.clone().tanh();
            *state = (h.clone(), c);
            x = h;
        }
        x
    }

    /// Scores of `question`'s options, `[1, options]`.
    fn logits(&self, question: Question, hidden: Tensor<2>) -> Tensor<2> {
        match question.kind {
            Kind::Count => hidden.matmul(self.theta[at::COUNT].clone()).narrow(1, 0, question.options),
            Kind::Op => hidden.matmul(self.theta[at::OP].clone()).narrow(1, 0, question.options),
            Kind::Input => {
                let anchors = self.anchors.iter().take(question.options).map(|(_, key)| key.clone());
                let keys = Tensor::cat(anchors.collect(), 0);
                let query = hidden.matmul(self.theta[at::QUERY].clone());
                (keys + query).tanh().matmul(self.theta[at::SCORE].clone()).transpose()
            }
        }
    }
}

impl Chooser for Walk<'_> {
    fn choose(&mut self, question: Question) -> usize {
        let hidden = self.advance();
        let ControllerSettings { temperature, tanh_constant, .. } = self.controller.settings;
        let logits = self.logits(question, hidden).div_scalar(temperature).tanh().mul_scalar(tanh_constant);
        let log_p = activation::log_softmax(logits, 1);
        let known: Vec<f32> = log_p.to_data().iter::<f32>().collect();
        let answer = pick(&known, unit(&mut self.rng));
        self.log_probability = self.log_probability.clone() + log_p.clone().narrow(1, answer, 1).reshape([1]);
        self.entropy = self.entropy.clone() - (log_p.clone() * log_p.exp()).sum();
        let Heads { counts, .. } = self.controller.heads;
        self.input = match question.kind {
            Kind::Count => self.theta[at::EMBEDDING].clone().narrow(0, 1 + answer, 1),
            Kind::Op => self.theta[at::EMBEDDING].clone().narrow(0, 1 + counts + answer, 1),
            // The picked state is what the next decision should know of.
            Kind::Input => self.anchors[answer].0.clone(),
        };
        answer
    }

    fn define(&mut self) {
        let hidden = self.advance();
        let key = hidden.clone().matmul(self.theta[at::ANCHOR].clone());
        self.anchors.push((hidden, key));
    }
}

/// The option whose share of probability contains `at`, a number in `[0, 1)`.
fn pick(log_p: &[f32], at: f64) -> usize {
    let mut left = at;
    let found = log_p.iter().position(|log_p| {
        left -= f64::from(log_p.exp());
        left < 0.0
    });
    found.unwrap_or(log_p.len() - 1)
}

/// A uniform number in `[0, 1)`.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}
