//! Networks that choose, and how they learn from rewards.

pub mod architect;
pub mod controller;
pub mod embedding;
pub mod independent;
pub mod parameters;
pub mod simulator;
pub mod tape;

use data::keyed::ChaCha8Rng;
use rand::Rng;

pub use architect::{Architect, ArchitectSettings, Stepped};
pub use controller::{Controller, ControllerSettings};
pub use embedding::{Editor, EditorSettings};
pub use independent::Independent;
pub use parameters::{Adam, Gradient, Parameters};
pub use simulator::{Images, Sample, Simulator, SimulatorSettings, Training};
pub use tape::{Tape, Var};

/// The average of the rewards so far, against which a reward is good or bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Baseline(pub Option<f64>);

impl Baseline {
    /// How much better than the average `reward` is; the average then moves towards it. The first reward starts it.
    pub fn advantage(&mut self, reward: f64, decay: f64) -> f64 {
        let average = self.0.unwrap_or(reward);
        self.0 = Some(decay * average + (1.0 - decay) * reward);
        reward - average
    }
}

/// Answers given in one walk through a space's questions: what a policy learns from.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    tape: Tape,
    /// Logarithm of the probability of each answer.
    log_p: Vec<Var>,
    /// Entropy of the distribution that each answer was drawn from.
    entropy: Vec<Var>,
    /// The answers.
    pub answers: Vec<usize>,
    /// Numbers of the answers that say whether an earlier node is read as well, and the logarithms of the
    /// probabilities of no and yes.
    skips: Vec<(usize, Var)>,
}

impl Walked {
    /// Logarithm of the probability of all answers together.
    pub fn log_probability(&self) -> f64 {
        self.log_p.iter().map(|&it| f64::from(self.tape.value(it))).sum()
    }

    /// Sum of the entropies of the answers' distributions, in nats.
    pub fn entropy(&self) -> f64 {
        self.entropy.iter().map(|&it| f64::from(self.tape.value(it))).sum()
    }

    /// Adds the gradient of `weight * log_probability + entropy_weight * entropy`.
    pub fn learn(&self, parameters: &Parameters, weight: f64, entropy_weight: f64, gradient: &mut Gradient) {
        let answers = self.log_p.iter().map(|&it| (it, weight as f32));
        let spread = self.entropy.iter().map(|&it| (it, entropy_weight as f32));
        let terms: Vec<(Var, f32)> = answers.chain(spread).collect();
        self.tape.backward(parameters, &terms, gradient);
    }

    /// How far skips are from their wanted probability `target`: the Kullback-Leibler divergence, in nats, summed over
    /// a node's skips and averaged over the nodes that may have some. 0 without any.
    pub fn divergence(&self, target: f64) -> f64 {
        let divergence = |&(_, log_p): &(usize, Var)| {
            let both = self.tape.values(log_p).iter().zip([1.0 - target, target]);
            both.map(|(&log_p, target)| f64::from(log_p.exp()) * (f64::from(log_p) - target.ln())).sum::<f64>()
        };
        self.skips.iter().map(divergence).sum::<f64>() / self.n_skippers()
    }

    /// Adds the gradient of `-weight * divergence`.
    pub fn learn_skips(&self, parameters: &Parameters, target: f64, weight: f64, gradient: &mut Gradient) {
        let weight = weight / self.n_skippers();
        // -KL = entropy + log(1 - target) + p(yes) * (log target - log (1 - target)), and the gradient of a
        // probability is that of its logarithm, times itself.
        let odds = weight * (target / (1.0 - target)).ln();
        let terms = self.skips.iter().flat_map(|&(number, log_p)| {
            let yes = log_p.at(1);
            [(self.entropy[number], weight as f32), (yes, odds as f32 * self.tape.value(yes).exp())]
        });
        self.tape.backward(parameters, &terms.collect::<Vec<_>>(), gradient);
    }

    /// Nodes that may have skips; a node's questions follow each other. At least one, to be divided by.
    fn n_skippers(&self) -> f64 {
        let follows = |pair: &&[(usize, Var)]| pair[1].0 == pair[0].0 + 1;
        (self.skips.len() - self.skips.windows(2).filter(follows).count()).max(1) as f64
    }

    /// Draws an option from the distribution with these logarithms, or gives the answer `forced`.
    fn answer(&mut self, log_p: Var, pick: &mut Pick<'_>) -> usize {
        let answer = match pick {
            Pick::Draw(rng) => draw(self.tape.values(log_p), unit(rng)),
            Pick::Repeat(answers) => match answers.split_first() {
                Some((&first, rest)) => {
                    *answers = rest;
                    first.min(log_p.n() - 1)
                }
                None => 0,
            },
        };
        self.log_p.push(log_p.at(answer));
        let entropy = self.tape.entropy(log_p);
        self.entropy.push(entropy);
        self.answers.push(answer);
        answer
    }
}

/// Where answers come from.
#[expect(clippy::large_enum_variant, reason = "one stands on the stack for a whole walk: a box would gain nothing")]
enum Pick<'a> {
    /// Drawn from the policy.
    Draw(ChaCha8Rng),
    /// Given before: what does the policy think of them now?
    Repeat(&'a [usize]),
}

/// The option whose share of probability contains `at`, a number in `[0, 1)`.
fn draw(log_p: &[f32], at: f64) -> usize {
    let mut left = at;
    let found = log_p.iter().position(|log_p| {
        left -= f64::from(log_p.exp());
        left < 0.0
    });
    found.unwrap_or(log_p.len() - 1)
}

/// A uniform number in `[0, 1)`.
fn unit(rng: &mut impl Rng) -> f64 {
    f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}
