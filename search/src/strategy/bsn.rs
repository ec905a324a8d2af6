//! Learning Time/Memory-Efficient Deep Architectures with Budgeted Super Networks, BSN (T. Veniat and L. Denoyer, 2018).
//!
//! Each edge of a super network is on with a probability of its own. Its weights learn from the loss of networks that
//! are drawn from these probabilities, the probabilities from the loss and from the cost beyond the budget:
//! `CE + lambda * max(0, C(H) - C_bar)`. In the end the edges stay that are on more often than not.

use std::collections::BTreeMap;

use data::keyed::{self, ChaCha8Rng};
use graph::{Graph, parallel::parallel_steps};
use serde::{Deserialize, Serialize};
use targets::{Bound, Budget, Cost, Metric};

use super::{Chosen, Strategy, rank};
use crate::{
    Result,
    children::Children,
    chooser::{Chooser, Question},
    evaluator::SharedWeights,
    penalty,
    policy::{Independent, Walked},
    space::{Scale, SearchSpace},
    study::{Phase, Signal, Study},
};

/// Settings, under the paper's symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Passes over the training images. The authors' weights learn with momentum 0.9 and weight decay 1e-4 from
    /// minibatches of 64 images, at a rate of 0.1, from epoch 150 on of 0.01 and from epoch 225 on of 0.001.
    pub epochs: usize,
    /// Networks, each with a minibatch of its own, whose mean reward is the baseline. The authors draw a network for
    /// each image and take the mean over a minibatch; weights are shared by minibatches here. Eight leave enough steps
    /// of the logits in an epoch, and their mean has little noise. Reconstruction.
    pub networks_per_gradient: usize,
    /// Images of a minibatch: each counts as much as the one image that the authors' networks see.
    pub batch: usize,
    /// `lambda`, and what it multiplies.
    pub charge: Charge,
    /// Rate of the plain gradient steps of the logits.
    pub path_lr: f64,
    /// First logit of an edge being on: 3 is a probability of 0.95.
    pub logit: f64,
    /// A bound on the steps of parallel workers.
    #[serde(default)]
    pub parallel: Option<Parallel>,
    /// Networks drawn after each epoch to tell the expected cost `E[C(H)]`.
    pub expectation: usize,
    /// Networks among which the answer is.
    pub candidates: usize,
    /// Networks drawn at most while it looks for candidates within the budget.
    pub proposals: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epochs: 300,
            networks_per_gradient: 8,
            batch: 64,
            charge: Charge::PerUnit(1e-7),
            path_lr: 1e-3,
            logit: 3.0,
            parallel: None,
            expectation: 32,
            candidates: 10,
            proposals: 100_000,
        }
    }
}

/// What a cost `C` beyond its bound `C_bar` adds to the loss. Every bound, hard or soft, adds its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Charge {
    /// `lambda * max(0, C - C_bar)`, the paper's, in the SI base unit of the bound's metric: made for counts of operations
    /// and parameters, of which 1e7 too many cost as much as one nat with the paper's 1e-7. Seconds and bytes need
    /// another `lambda`, so this is for one bound.
    PerUnit(f64),
    /// `lambda * max(0, C / C_bar - 1)`: bounds of any units may stand together. Twice the bound costs `lambda` nats.
    Relative(f64),
}

/// The relative charge of a bound grows no more from here on, so that a bound of zero, which nothing is a multiple of,
/// leaves finite rewards.
const MOST_EXCESS: f64 = 1e6;

impl Charge {
    /// The charge, in nats, for a cost of `value`.
    pub fn of(self, bound: &Bound, value: f64) -> f64 {
        match self {
            Self::PerUnit(lambda) => {
                let above = bound.max.map_or(0.0, |max| value - max);
                let below = bound.min.map_or(0.0, |min| min - value);
                lambda * above.max(below).max(0.0)
            }
            Self::Relative(lambda) => lambda * bound.excess(value).min(MOST_EXCESS),
        }
    }
}

/// The paper's third cost: steps in which workers run the network together, see [`parallel_steps`]. It shapes the loss
/// as other bounds do, and no network that takes more is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parallel {
    /// `n`: operations that run at once.
    pub workers: usize,
    /// Steps allowed.
    pub most: u64,
    /// `lambda`: charge, in nats, for each step more.
    pub lambda: f64,
}

/// A cost over the networks that the edges' probabilities stand for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// `E[C(H)]`, estimated, in the metric's SI base unit.
    pub mean: f64,
    /// Standard error of the estimate.
    pub standard_error: f64,
}

/// BSN. The weights live in the evaluator, the edges' probabilities in the policy.
#[derive(Debug)]
pub struct Bsn {
    settings: Settings,
    /// Size of the networks that are trained.
    proxy: Scale,
    /// Size of the network that is deployed, whose costs count.
    full: Scale,
    seed: u64,
    policy: Independent,
    done: Done,
}

/// What was done between two epochs, over all sessions: everything drawn is keyed by it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Done {
    epochs: usize,
    sampled: u64,
    /// Steps of the logits.
    updates: i32,
    expected: BTreeMap<Metric, Expected>,
}

/// Name in studies.
pub const NAME: &str = "bsn";

impl Bsn {
    /// BSN with all edges probably on.
    pub fn new(settings: Settings, proxy: Scale, full: Scale, seed: u64) -> Self {
        let policy = Independent::new(seed, 0.0, settings.logit);
        Self { settings, proxy, full, seed, policy, done: Done::default() }
    }

    /// Expected costs after the last epoch.
    pub fn expected(&self) -> &BTreeMap<Metric, Expected> {
        &self.done.expected
    }
}

impl<S: SearchSpace> Strategy<S, dyn SharedWeights + '_> for Bsn {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Learns weights and probabilities together, then keeps the edges that are probably on.
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
            if self.train(&mut children)? == Signal::WrapUp {
                break;
            }
            self.evaluate(&mut children)?;
            self.done.epochs += 1;
            self.snapshot(&children)?;
        }
        children.epoch(self.done.epochs);
        self.select(&mut children)
    }
}

impl Bsn {
    /// One epoch: each minibatch trains a network of its own, and its loss tells the edges what they are worth.
    fn train<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<Signal> {
        let n_batches = children.n_batches();
        let mut sampled = Vec::with_capacity(self.settings.networks_per_gradient);
        let phase = self.describe(children.budget());
        for step in 0..n_batches {
            let rng = self.next_rng();
            let (arch, walked) = self.policy.sample(rng, |chooser| children.space.sample(chooser));
            let charge = self.charge(children, &arch)?;
            let loss = children.train(&arch)?.loss;
            sampled.push((walked, -(loss + charge)));
            if sampled.len() == self.settings.networks_per_gradient || step + 1 == n_batches {
                self.learn(&sampled);
                sampled.clear();
            }
            if self.look(children, &phase, step + 1)? == Signal::WrapUp {
                return Ok(Signal::WrapUp);
            }
        }
        Ok(Signal::Continue)
    }

    /// `CE + lambda * max(0, C(H) - C_bar)` is the loss; this is its second term.
    fn charge<S: SearchSpace>(&self, children: &mut Children<'_, S>, arch: &S::Arch) -> Result<f64> {
        let Settings { charge, parallel, .. } = self.settings;
        if children.budget().bounds.is_empty() && parallel.is_none() {
            return Ok(0.0);
        }
        let full = children.deployed(arch)?;
        let steps = parallel.map_or(0.0, |Parallel { workers, most, lambda }| {
            lambda * parallel_steps(&full, workers).saturating_sub(most) as f64
        });
        if children.budget().bounds.is_empty() {
            return Ok(steps);
        }
        let cost = children.cost_of(&full)?;
        let of = |bound: &Bound| cost.get(bound.metric).map_or(0.0, |figure| charge.of(bound, figure.value));
        Ok(steps + children.budget().bounds.iter().map(of).sum::<f64>())
    }

    /// REINFORCE: a network whose reward is above the mean makes its edges more probable.
    fn learn(&mut self, sampled: &[(Walked, f64)]) {
        let mean = sampled.iter().map(|(_, reward)| reward).sum::<f64>() / sampled.len() as f64;
        let images = self.settings.batch as f64;
        let weighted = sampled.iter().map(|(walked, reward)| (walked, images * (reward - mean)));
        self.policy.climb(weighted, self.settings.path_lr);
    }

    /// Scores the network of the edges that are probably on, on one validation minibatch, and tells what a network is
    /// expected to cost.
    fn evaluate<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<()> {
        let arch = self.policy.favourite(|chooser| children.space.sample(chooser));
        let accuracy = children.accuracy(&arch)?;
        let cost = children.cost(&arch)?;
        children.record(Phase::Explore, &arch, Some(accuracy), cost, None)?;
        self.done.expected = self.expectation(children)?;
        Ok(())
    }

    /// `E[C(H)]` over the edges' probabilities, by sampling.
    pub fn expectation<S: SearchSpace>(
        &mut self,
        children: &mut Children<'_, S>,
    ) -> Result<BTreeMap<Metric, Expected>> {
        let mut values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
        let n = self.settings.expectation as u64;
        for nth in 0..n {
            let rng = keyed::rng(self.seed, "bsn expectation", self.done.epochs as u64 * n + nth);
            let (arch, _) = self.policy.sample(rng, |chooser| children.space.sample(chooser));
            for (metric, figure) in children.cost(&arch)?.figures {
                values.entry(metric).or_default().push(figure.value);
            }
        }
        Ok(values.into_iter().map(|(metric, values)| (metric, Expected::of(&values))).collect())
    }

    /// The network of the edges that are probably on, if it is within all bounds; then others that are drawn, the best
    /// first.
    ///
    /// Where a hundred draws in a row are not admitted, sparser and sparser networks are drawn instead, and where none
    /// of those is, the cheapest of the space are tried.
    fn select<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<Vec<Chosen<S::Arch>>> {
        let likely = self.policy.favourite(|chooser| children.space.sample(chooser));
        let mut found: Vec<Chosen<S::Arch>> = Vec::new();
        // Networks by their digests: edges that lead nowhere make many architectures of one.
        let mut known = Vec::new();
        let (mut refused, mut repeated) = (0, 0);
        for proposal in 0..self.settings.proposals {
            // A policy that only repeats itself has settled.
            if found.len() == self.settings.candidates || repeated == PATIENCE {
                break;
            }
            let arch = match proposal {
                0 => likely.clone(),
                _ if refused < PATIENCE => self.sample(children.space),
                _ => self.sparse(children.space, refused - PATIENCE),
            };
            let full = children.deployed(&arch)?;
            if known.contains(&full.digest()) {
                repeated += 1;
                continue;
            }
            let cost = children.cost_of(&full)?;
            if !self.admits(&full, &cost, children.budget()) {
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
            known.push(full.digest());
            (refused, repeated) = (0, 0);
            found.push(candidate(children, arch, cost)?);
            if self.look(children, "selecting", 0)? == Signal::WrapUp {
                break;
            }
        }
        if found.is_empty() {
            for arch in children.space.cheapest() {
                let full = children.deployed(&arch)?;
                let cost = children.cost_of(&full)?;
                if self.admits(&full, &cost, children.budget()) {
                    found.push(candidate(children, arch, cost)?);
                }
            }
        }
        rank(&mut found, children.budget());
        let is_first = |it: &Chosen<S::Arch>| it.arch == likely && penalty::outside(children.budget(), &it.cost) <= 0.0;
        // Stable: the others stay as they are ranked.
        found.sort_by_key(|it| !is_first(it));
        Ok(found)
    }

    /// Whether every hard bound holds, and that on parallel steps.
    fn admits(&self, full: &Graph, cost: &Cost, budget: &Budget) -> bool {
        let fits = |Parallel { workers, most, .. }| parallel_steps(full, workers) <= most;
        budget.admits(cost) && self.settings.parallel.is_none_or(fits)
    }

    fn sample<S: SearchSpace>(&mut self, space: &S) -> S::Arch {
        let rng = self.next_rng();
        self.policy.sample(rng, |chooser| space.sample(chooser)).0
    }

    /// A network that has every second edge, or every third, and so on down to every sixteenth.
    fn sparse<S: SearchSpace>(&mut self, space: &S, nth: u32) -> S::Arch {
        let rng = self.next_rng();
        space.sample(&mut Sparse { rng, one_of: 2 + nth % 15 })
    }

    fn next_rng(&mut self) -> ChaCha8Rng {
        self.done.sampled += 1;
        keyed::rng(self.seed, "bsn sample", self.done.sampled)
    }

    /// What an epoch does, with the expected cost beside each bound.
    fn describe(&self, budget: &Budget) -> String {
        let expected = budget.bounds.iter().filter_map(|bound| {
            let expected = self.done.expected.get(&bound.metric)?;
            Some(format!(", expecting {} {}", bound.metric.name(), bound.metric.format(expected.mean)))
        });
        std::iter::once("training weights and edges".to_owned()).chain(expected).collect()
    }

    /// Reports progress; an epoch's steps are its minibatches.
    fn look<S: SearchSpace>(&self, children: &mut Children<'_, S>, phase: &str, steps: usize) -> Result<Signal> {
        let epoch = children.n_batches();
        children.look(phase, self.done.epochs * epoch + steps, self.settings.epochs * epoch)
    }

    fn snapshot<S: SearchSpace>(&mut self, children: &Children<'_, S>) -> Result<()> {
        self.done.updates = self.policy.parameters().updates();
        children.snapshot(&self.done, self.policy.parameters().save(NAME))
    }

    fn resume<S: SearchSpace>(&mut self, children: &mut Children<'_, S>) -> Result<()> {
        if let Some((done, weights)) = children.resume::<Done>()? {
            self.policy.parameters().restore(NAME, done.updates, &weights)?;
            self.done = done;
        }
        Ok(())
    }
}

/// A network that may be the answer, scored on the whole validation part and recorded.
fn candidate<S: SearchSpace>(children: &mut Children<'_, S>, arch: S::Arch, cost: Cost) -> Result<Chosen<S::Arch>> {
    let accuracy = children.validate(&arch)?;
    children.record(Phase::Select, &arch, Some(accuracy), cost.clone(), None)?;
    Ok(Chosen { arch, accuracy, cost })
}

impl Expected {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Self { mean, standard_error: (variance / n).sqrt() }
    }
}

/// Says yes to one question of so many; answers others uniformly.
struct Sparse {
    rng: ChaCha8Rng,
    one_of: u32,
}

impl Chooser for Sparse {
    fn choose(&mut self, question: Question) -> usize {
        match question.options {
            2 => usize::from(keyed::below(&mut self.rng, self.one_of) == 0),
            options => keyed::below(&mut self.rng, options as u32) as usize,
        }
    }
}

/// Draws in a row that may be refused before sparser networks are drawn, or repeated before the policy has settled.
const PATIENCE: u32 = 100;
