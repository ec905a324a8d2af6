//! DARTS: Differentiable Architecture Search (H. Liu, K. Simonyan and Y. Yang, 2019).
//!
//! Algorithm 1: the logits alpha of a relaxed network descend the validation loss and its weights w the training loss,
//! a step each in turn; in the end each choice is replaced by its most likely options (section 2.4).
//!
//! What is not the paper's: two guards against its collapse into skip connections, each of which may be left out (DARTS+,
//! H. Liang et al., 2019, and the curvature of A. Zela et al., 2020), a term for the expected cost, and the list of next
//! likely architectures that is gone down where the most likely one breaks a bound.

use data::keyed;
use graph::{
    Graph,
    relaxed::{Mixture, OptionCosts},
};
use serde::{Deserialize, Serialize};
use targets::{Budget, Cost, Metric};

use super::{Chosen, Strategy, rank};
use crate::{
    Error, Result, bilevel,
    evaluator::{Minibatch, Order, Relaxed},
    penalty,
    space::{Relax, Scale},
    study::{Phase, Signal, Study, Trial},
};

/// Settings, under the paper's symbols. The recipe of the weights is the evaluator's: minibatches of 64 images, momentum
/// 0.9, a learning rate from 0.025 to 0.001 by cosine, weight decay 3e-4, gradients cut off at a norm of 5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Passes over the weights' half of the training part.
    pub epochs: usize,
    /// The first of them, in which the weights alone are trained. The paper has none.
    pub warm_up: usize,
    /// Whether the gradient of alpha knows that the weights follow it.
    pub order: Order,
    /// Adam's learning rate for alpha.
    pub lr: f64,
    /// Decay of Adam's mean of the gradient.
    pub beta_1: f64,
    /// Decay of Adam's mean of its square.
    pub beta_2: f64,
    /// Added by Adam to a root before it divides by it.
    pub epsilon: f64,
    /// Of alpha: this multiple of it is added to its gradient.
    pub weight_decay: f64,
    /// Standard deviation of alpha's first values.
    pub spread: f64,
    /// Weight of the expected cost in what alpha descends, in nats for the cost of a network whose options are all as
    /// likely; the mean over the metrics that are bounded above, or multiply-accumulates where none is. The paper has no
    /// such term: 0.
    pub cost_weight: f64,
    /// Skip connections that the architecture's normal cell may have; at more the search stops, with the alpha of the
    /// epoch before. `None`: any number, as in the paper.
    pub most_skips: Option<usize>,
    /// Stops where the validation loss becomes sharply curved in alpha. `None`: never, as in the paper.
    pub curvature: Option<Curvature>,
    /// Architectures that are scored on the whole of alpha's half, the most likely ones within the hard bounds; 1 in the
    /// paper, which trusts alpha alone.
    pub candidates: usize,
    /// Architectures priced at most while it goes down the list of likely ones.
    pub proposals: usize,
}

/// When the loss has become too curved: the mean over a window of epochs of the Hessian's dominant eigenvalue by alpha, in
/// magnitude, has grown by this factor since the window before. The alpha of that epoch is then the answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curvature {
    /// The factor.
    pub growth: f64,
    /// Epochs of a window.
    pub window: usize,
    /// Epochs that train alpha before the one whose alpha may be the answer: early on the eigenvalue rises anyway.
    pub start: usize,
    /// Iterations in which the eigenvalue is found, two gradients each.
    pub iterations: usize,
}

impl Default for Curvature {
    /// The released code's factor, window and start; the number of iterations is ours.
    fn default() -> Self {
        Self { growth: 1.3, window: 5, start: 10, iterations: 8 }
    }
}

impl Settings {
    /// The paper's search by second order, with nothing added.
    pub fn paper() -> Self {
        Self {
            epochs: 50,
            warm_up: 0,
            order: Order::Second,
            lr: 3e-4,
            beta_1: 0.5,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 1e-3,
            spread: 1e-3,
            cost_weight: 0.0,
            most_skips: None,
            curvature: None,
            candidates: 1,
            proposals: 1000,
        }
    }
}

impl Default for Settings {
    /// The paper's search by first order, which takes a third of the time, and DARTS+'s guard with two skips.
    fn default() -> Self {
        Self { order: Order::First, most_skips: Some(2), ..Self::paper() }
    }
}

/// DARTS. The weights w live in the evaluator, alpha here.
#[derive(Debug)]
pub struct Darts {
    settings: Settings,
    /// Size of the relaxed network.
    proxy: Scale,
    /// Size of the network that is deployed, whose costs count.
    full: Scale,
    seed: u64,
    done: Done,
}

/// What is learned, between two epochs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Done {
    epochs: usize,
    alpha: Mixture,
    adam: Adam,
    /// After each epoch that trained alpha.
    after: Vec<After>,
    stopped: Option<Stopped>,
}

/// What an epoch ended with.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct After {
    alpha: Mixture,
    /// Whether its architecture has no more skip connections than it may.
    is_sound: bool,
    /// Magnitude of the dominant eigenvalue.
    curvature: f32,
}

/// Why a search stopped before its last epoch; its answer is from the alpha of an earlier epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// The architecture's normal cell has too many of them.
    Skips,
    /// The validation loss has become too curved.
    Curved,
}

impl Stopped {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Skips => "stopped: too many skip connections",
            Self::Curved => "stopped: the loss has become too curved",
        }
    }
}

/// Name in studies.
pub const NAME: &str = "darts";

impl Darts {
    /// DARTS before its first step.
    pub fn new(settings: Settings, proxy: Scale, full: Scale, seed: u64) -> Self {
        Self { settings, proxy, full, seed, done: Done::default() }
    }

    /// How the weights' answer to alpha enters its gradient.
    pub fn order(&self) -> Order {
        self.settings.order
    }

    /// The logits as they are now.
    pub fn alpha(&self) -> &Mixture {
        &self.done.alpha
    }

    /// Which guard has ended the search, if one has.
    pub fn stopped(&self) -> Option<Stopped> {
        self.done.stopped
    }
}

impl<S: Relax> Strategy<S, dyn Relaxed + '_> for Darts {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Algorithm 1.
    fn search(
        &mut self,
        space: &S,
        network: &mut (dyn Relaxed + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let supernet = space.relax(&self.proxy)?;
        let price = self.price(space, network, &study.budget)?;
        self.done.alpha = self.first_alpha(&space.options());
        self.resume(network, study)?;
        while self.done.epochs < self.settings.epochs && self.done.stopped.is_none() {
            if self.alternate(&supernet, &price, network, study)? == Signal::WrapUp {
                self.fall_back(space);
                break;
            }
            self.done.epochs += 1;
            self.guard(space, &supernet, network, study)?;
            study.snapshot(NAME, &self.done, &network.save()?)?;
        }
        self.derive(space, &supernet, &price, network, study)
    }
}

impl Darts {
    /// An epoch of the two steps in turn.
    fn alternate(
        &mut self,
        supernet: &Graph,
        price: &Price,
        network: &mut dyn Relaxed,
        study: &mut Study,
    ) -> Result<Signal> {
        let n_steps = network.n_batches();
        let is_warm = self.settings.warm_up <= self.done.epochs;
        for step in 0..n_steps {
            let done = (self.done.epochs * n_steps + step) as u64;
            if is_warm {
                self.update_alpha(done, supernet, price, network)?;
            }
            network.step_weights(supernet, &self.done.alpha)?;
            let phase = if is_warm { "training weights and choices" } else { "training weights" };
            if study.look(NAME, phase, done + 1, (self.settings.epochs * n_steps) as u64)? == Signal::WrapUp {
                return Ok(Signal::WrapUp);
            }
        }
        Ok(Signal::Continue)
    }

    /// Step 1 of Algorithm 1: alpha descends the validation loss, and what its choices are expected to cost.
    fn update_alpha(&mut self, step: u64, supernet: &Graph, price: &Price, network: &mut dyn Relaxed) -> Result<()> {
        let Settings { order, cost_weight, weight_decay, .. } = self.settings;
        let alpha = &self.done.alpha;
        let mut gradient = network.alpha_gradient(supernet, alpha, order, Minibatch::Next)?;
        let slopes = || gradient.rows.iter().flatten();
        if !gradient.loss.is_finite() || slopes().any(|it| !it.is_finite()) {
            return Err(Error::NotFinite { step, loss: gradient.loss });
        }
        if cost_weight != 0.0 {
            for (row, costs) in gradient.rows.iter_mut().zip(price.gradient(alpha)) {
                row.iter_mut().zip(costs).for_each(|(slope, cost)| *slope += (cost_weight * cost) as f32);
            }
        }
        for (row, logits) in gradient.rows.iter_mut().zip(&alpha.logits) {
            row.iter_mut().zip(logits).for_each(|(slope, logit)| *slope += weight_decay as f32 * logit);
        }
        self.done.adam.descend(&mut self.done.alpha, &gradient.rows, &self.settings);
        Ok(())
    }

    /// Writes down what the epoch ended with, and stops where it has collapsed.
    fn guard<S: Relax>(
        &mut self,
        space: &S,
        supernet: &Graph,
        network: &mut dyn Relaxed,
        study: &mut Study,
    ) -> Result<()> {
        let arch = space.discretise(&self.done.alpha);
        let cost = network.cost(&space.build(&arch, &self.full)?)?;
        self.consider(space, supernet, &arch, cost, Phase::Explore, network, study)?;
        if self.done.epochs <= self.settings.warm_up {
            return Ok(());
        }
        let is_sound = self.is_sound(space);
        let curvature = match self.settings.curvature {
            Some(Curvature { iterations, .. }) => {
                let slopes = |alpha: &Mixture| {
                    let slopes = network.alpha_gradient(supernet, alpha, Order::First, Minibatch::Same)?;
                    Ok(slopes.rows)
                };
                bilevel::dominant_eigenvalue(&self.done.alpha, iterations, self.seed, slopes)?
            }
            None => 0.0,
        };
        self.done.after.push(After { alpha: self.done.alpha.clone(), is_sound, curvature: curvature.abs() as f32 });
        let Some((stopped, epoch)) = self.collapsed() else { return Ok(()) };
        self.done.stopped = Some(stopped);
        self.done.alpha = self.done.after[epoch].alpha.clone();
        let n_steps = network.n_batches() as u64;
        let (done, total) = (self.done.epochs as u64 * n_steps, self.settings.epochs as u64 * n_steps);
        study.look(NAME, stopped.describe(), done, total)?;
        Ok(())
    }

    /// Whether the most likely architecture has no more skip connections than it may.
    fn is_sound<S: Relax>(&self, space: &S) -> bool {
        let arch = space.discretise(&self.done.alpha);
        self.settings.most_skips.is_none_or(|most| space.n_skips(&arch) <= most)
    }

    /// An epoch that was cut short may have collapsed like any other: the answer is then from the last that had not.
    fn fall_back<S: Relax>(&mut self, space: &S) {
        if self.is_sound(space) {
            return;
        }
        if let Some(sound) = self.done.after.iter().rfind(|it| it.is_sound) {
            (self.done.alpha, self.done.stopped) = (sound.alpha.clone(), Some(Stopped::Skips));
        }
    }

    /// Why to stop, and the epoch whose alpha is still good.
    ///
    /// Where no epoch yet was without too many skip connections, none is better than the present one: it goes on.
    fn collapsed(&self) -> Option<(Stopped, usize)> {
        let after = &self.done.after;
        let last = after.len() - 1;
        if !after[last].is_sound
            && let Some(sound) = after.iter().rposition(|it| it.is_sound)
        {
            return Some((Stopped::Skips, sound));
        }
        let Curvature { growth, window, start, .. } = self.settings.curvature?;
        let mean = |end: usize| {
            let seen = &after[(end + 1).saturating_sub(window)..=end];
            seen.iter().map(|it| f64::from(it.curvature)).sum::<f64>() / seen.len() as f64
        };
        let before = last.checked_sub(window).filter(|it| start <= *it)?;
        (growth * mean(before) < mean(last)).then_some((Stopped::Curved, before))
    }

    /// Section 2.4, deriving discrete architectures: the most likely one, if the bounds admit it.
    ///
    /// Where a hard bound does not, the next likely ones follow, in order; and where those are still too dear, the most
    /// likely ones for their price, at the lowest weight of the price that is enough. These are tried as well where a
    /// soft bound is broken. Where nothing is found the cheapest of the space are tried.
    fn derive<S: Relax>(
        &self,
        space: &S,
        supernet: &Graph,
        price: &Price,
        network: &mut dyn Relaxed,
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let Settings { candidates, proposals, .. } = self.settings;
        let mut refused = 0;
        let budget = study.budget.clone();
        let is_admitted = |cost: &Cost| budget.admits(cost);
        let is_within = |cost: &Cost| budget.admits(cost) && penalty::outside(&budget, cost) == 0.0;
        let mut go_down = |archs: &mut dyn Iterator<Item = S::Arch>, fits: &dyn Fn(&Cost) -> bool| {
            let mut found: Vec<(S::Arch, Cost)> = Vec::new();
            for arch in archs {
                if found.len() == candidates.max(1) {
                    break;
                }
                let cost = network.cost(&space.build(&arch, &self.full)?)?;
                if fits(&cost) {
                    found.push((arch, cost));
                    continue;
                }
                // Each of the first hundred is on record: "why is nothing feasible?"
                if refused < PATIENCE && !budget.admits(&cost) {
                    self.record(study, Phase::Select, &arch, None, cost)?;
                }
                refused += 1;
                if refused.is_multiple_of(PATIENCE) && self.look(study, network, "choosing")? == Signal::WrapUp {
                    break;
                }
            }
            Ok::<_, Error>(found)
        };
        let scores: Vec<Vec<f64>> =
            (0..self.done.alpha.logits.len()).map(|key| self.done.alpha.log_weights(key)).collect();
        let mut found = go_down(&mut space.strongest(&scores).take(proposals), &is_admitted)?;
        if found.first().is_none_or(|(_, cost)| !is_within(cost)) {
            let mut pressed = |pressure: f64| {
                let scores = price.press(&scores, pressure);
                go_down(&mut space.strongest(&scores).take(PRESSED), &is_within)
            };
            let mut within = Vec::new();
            let (mut low, mut high) = (0.0, FIRST_PRESSURE);
            while high <= LAST_PRESSURE && within.is_empty() {
                within = pressed(high)?;
                (low, high) = if within.is_empty() { (high, 2.0 * high) } else { (low, high) };
            }
            for _ in 0..if within.is_empty() { 0 } else { BISECTIONS } {
                let middle = (low + high) / 2.0;
                let nearer = pressed(middle)?;
                if nearer.is_empty() {
                    low = middle;
                } else {
                    (high, within) = (middle, nearer);
                }
            }
            let is_new = |(arch, _): &(S::Arch, Cost)| found.iter().all(|(known, _)| known != arch);
            let new: Vec<_> = within.into_iter().filter(is_new).collect();
            found.extend(new);
        }
        if found.is_empty() {
            found = go_down(&mut space.cheapest().into_iter(), &is_admitted)?;
        }
        let mut chosen = Vec::with_capacity(found.len());
        for (arch, cost) in found {
            let accuracy = self.consider(space, supernet, &arch, cost.clone(), Phase::Select, network, study)?;
            chosen.push(Chosen { arch, accuracy: accuracy.unwrap_or(0.0), cost });
        }
        rank(&mut chosen, &study.budget);
        Ok(chosen)
    }

    /// Puts an architecture on record, with its accuracy in the relaxed network where its cost does not rule it out.
    #[expect(clippy::too_many_arguments, reason = "what is considered, by whom, and where it is written")]
    fn consider<S: Relax>(
        &self,
        space: &S,
        supernet: &Graph,
        arch: &S::Arch,
        cost: Cost,
        phase: Phase,
        network: &mut dyn Relaxed,
        study: &mut Study,
    ) -> Result<Option<f64>> {
        let weights = || space.scored_by(arch, &self.done.alpha);
        let is_admitted = study.budget.admits(&cost);
        let accuracy = if is_admitted { Some(network.validate(supernet, &weights())?) } else { None };
        self.record(study, phase, arch, accuracy, cost)?;
        Ok(accuracy)
    }

    fn record<A: Serialize>(
        &self,
        study: &mut Study,
        phase: Phase,
        arch: &A,
        accuracy: Option<f64>,
        cost: Cost,
    ) -> Result<()> {
        let trial = Trial::new(NAME, phase, arch, accuracy, cost);
        study.record(Trial { epoch: self.done.epochs, ..trial })
    }

    fn look(&self, study: &mut Study, network: &dyn Relaxed, phase: &str) -> Result<Signal> {
        let n_steps = network.n_batches();
        study.look(NAME, phase, (self.done.epochs * n_steps) as u64, (self.settings.epochs * n_steps) as u64)
    }

    /// Normally distributed, so that no two options are quite as likely.
    fn first_alpha(&self, options: &[usize]) -> Mixture {
        let mut rng = keyed::rng(self.seed, "darts alpha", 0);
        let mut alpha = Mixture::even(options);
        let logits = alpha.logits.iter_mut().flatten();
        logits.for_each(|logit| *logit = (self.settings.spread * bilevel::normal(&mut rng)) as f32);
        alpha
    }

    /// What options cost in the metrics that are bounded above, of the deployed size.
    fn price<S: Relax>(&self, space: &S, network: &mut dyn Relaxed, budget: &Budget) -> Result<Price> {
        let supernet = space.relax(&self.full)?;
        let mut metrics: Vec<Metric> = Vec::new();
        for bound in budget.bounds.iter().filter(|bound| bound.max.is_some()) {
            if !metrics.contains(&bound.metric) {
                metrics.push(bound.metric);
            }
        }
        let mut costs = Vec::new();
        for metric in metrics {
            costs.extend(network.option_costs(&supernet, metric)?);
        }
        if costs.is_empty() {
            // Metrics that nobody knows option by option grow with the work.
            costs.extend(network.option_costs(&supernet, Metric::Macs)?);
        }
        Ok(Price { costs, even: Mixture::even(&space.options()) })
    }

    fn resume(&mut self, network: &mut dyn Relaxed, study: &mut Study) -> Result<()> {
        if let Some((done, saved)) = study.resume::<Done>(NAME)? {
            self.done = done;
            network.restore(&saved)?;
        }
        Ok(())
    }
}

/// What options cost, in each of several metrics, relative to a network whose options are all as likely.
struct Price {
    costs: Vec<OptionCosts>,
    even: Mixture,
}

impl Price {
    /// The gradient by alpha of the expected price.
    fn gradient(&self, alpha: &Mixture) -> Vec<Vec<f64>> {
        self.mean(|costs| (costs.gradient(alpha), costs.expected(&self.even)))
    }

    /// These scores, less the price of the options: the dearest of all costs this `pressure`.
    fn press(&self, scores: &[Vec<f64>], pressure: f64) -> Vec<Vec<f64>> {
        let dearest = |costs: &OptionCosts| costs.options.iter().flatten().copied().fold(0.0, f64::max);
        let prices = self.mean(|costs| (costs.options.clone(), dearest(costs)));
        let row = |(scores, prices): (&Vec<f64>, &Vec<f64>)| {
            scores.iter().zip(prices).map(|(score, price)| score - pressure * price).collect()
        };
        scores.iter().zip(&prices).map(row).collect()
    }

    /// The mean over the metrics of rows relative to a unit of their own.
    fn mean(&self, of: impl Fn(&OptionCosts) -> (Vec<Vec<f64>>, f64)) -> Vec<Vec<f64>> {
        let mut sum: Vec<Vec<f64>> = self.even.logits.iter().map(|row| vec![0.0; row.len()]).collect();
        for (rows, unit) in self.costs.iter().map(of).filter(|(_, unit)| 0.0 < *unit) {
            let share = 1.0 / (unit * self.costs.len() as f64);
            for (sum, value) in sum.iter_mut().flatten().zip(rows.iter().flatten()) {
                *sum += share * value;
            }
        }
        sum
    }
}

/// Adam's state for alpha.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Adam {
    updates: i32,
    /// Mean of the gradient and mean of its square, of all logits in a row.
    moments: Vec<[f32; 2]>,
}

impl Adam {
    fn descend(&mut self, alpha: &mut Mixture, gradient: &[Vec<f32>], settings: &Settings) {
        let Settings { lr, beta_1, beta_2, epsilon, .. } = *settings;
        self.updates += 1;
        let (correct_1, correct_2) = (1.0 - beta_1.powi(self.updates), 1.0 - beta_2.powi(self.updates));
        self.moments.resize(gradient.iter().map(Vec::len).sum(), [0.0; 2]);
        let logits = alpha.logits.iter_mut().flatten();
        for ((logit, slope), moments) in logits.zip(gradient.iter().flatten()).zip(&mut self.moments) {
            let slope = f64::from(*slope);
            let [first, second] = moments.map(f64::from);
            let (first, second) =
                (beta_1 * first + (1.0 - beta_1) * slope, beta_2 * second + (1.0 - beta_2) * slope * slope);
            *moments = [first as f32, second as f32];
            *logit -= (lr * first / correct_1 / ((second / correct_2).sqrt() + epsilon)) as f32;
        }
    }
}

/// Refused architectures that are put on record, and after which somebody looks whether time is up.
const PATIENCE: usize = 100;

/// Likely architectures that are priced at each pressure.
const PRESSED: usize = 50;

/// Weights of the price, in nats for the dearest option, from the first to the last by doubling: at the last one price
/// alone decides.
const FIRST_PRESSURE: f64 = 1.0 / 64.0;
const LAST_PRESSURE: f64 = 16384.0;

/// How often the weight of the price is then halved towards the last that was not enough.
const BISECTIONS: usize = 6;
