//! Neural Architect: a multi-objective neural architecture search with performance prediction (Y. Zhou and G. Diamos),
//! in its full version "Resource-Efficient Neural Architect", RENA.
//!
//! A policy changes networks step by step; a simulator predicts what training them would tell; the reward joins
//! accuracy, size and time; an actor and a critic learn from it by the paper's formulas (1) to (3).

use std::collections::BTreeMap;

use data::keyed;
use graph::{
    Graph,
    cost::{StaticCost, static_cost},
};
use serde::{Deserialize, Serialize};
use targets::{Budget, Cost, Figure, Metric, Source};

use super::{Chosen, Strategy};
use crate::{
    Result,
    chooser::Uniform,
    evaluator::{Evaluation, Evaluator, Fidelity, Job, Saved, Start},
    penalty,
    policy::{
        Adam, Architect, ArchitectSettings, Gradient, Images, Sample, Simulator, SimulatorSettings, Stepped, Training,
        simulator::Scales,
    },
    space::Morph,
    study::{Predicted, Study},
    trials::{Effort, Told, Trials},
};

/// Settings, under the paper's symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `gamma`: what a reward of the next step is worth now. The number is not given. Reconstruction.
    pub gamma: f64,
    /// Networks that are changed side by side. EPNAS's 8. Reconstruction.
    pub branches: usize,
    /// Steps of an episode, after which the best networks so far are the starts of the next. EPNAS makes 10, in which
    /// a policy that has seen only hundreds of networks goes astray; on NAS-Bench-201 few are better. Reconstruction.
    pub steps: usize,
    /// Weight of accuracy in the reward.
    pub accuracy: f64,
    /// Weight in the reward of what lies beyond the bounds on a metric; 1 for metrics that are not named.
    pub weights: BTreeMap<Metric, f64>,
    /// Slope of the negative reward beyond a bound, B-ENAS's `beta`. Reconstruction.
    pub beta: f64,
    /// Whether a network's weights start from what networks before it learned.
    pub inherit: bool,
    /// Where training times come from, in the place of what the evaluator says of them.
    pub roofline: Option<Roofline>,
    /// The policy.
    pub architect: ArchitectSettings,
    /// The performance simulator; without one every network is trained.
    pub simulator: Option<SimulatorSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gamma: 0.9,
            branches: 8,
            steps: 2,
            accuracy: 1.0,
            weights: BTreeMap::new(),
            beta: 1.0,
            inherit: false,
            roofline: None,
            architect: ArchitectSettings::default(),
            simulator: Some(SimulatorSettings::default()),
        }
    }
}

impl Settings {
    /// For hundreds of networks: small networks that choose and learn fast, and short episodes.
    pub fn short() -> Self {
        let adam = Adam::new(0.01);
        let architect =
            ArchitectSettings { lookup: 8, layer: 8, network: 16, hidden: 16, adam, ..ArchitectSettings::default() };
        let simulator = Some(SimulatorSettings { hidden: 16, ..SimulatorSettings::default() });
        Self { steps: 1, architect, simulator, ..Self::default() }
    }

    /// The reward of a network: what was `predicted` stands in for what is not known without training.
    fn reward(&self, budget: &Budget, accuracy: f64, cost: &Cost, predicted: Option<Predicted>) -> f64 {
        let outside = budget.bounds.iter().filter_map(|bound| {
            let told = cost.get(bound.metric).map(|it| it.value);
            let value = match predicted.and_then(|it| it.train_time) {
                // A roofline takes the place of the simulator's time as well.
                Some(time) if bound.metric == Metric::TrainTime && self.roofline.is_none() => time,
                _ => told?,
            };
            Some((self.weights.get(&bound.metric).copied().unwrap_or(1.0), bound.excess(value)))
        });
        penalty::rena(self.accuracy * accuracy, outside, self.beta)
    }
}

/// A machine that trains, as its roofline (S. Williams, A. Waterman and D. Patterson, 2009), and what it is to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roofline {
    /// Peak compute, in FLOPs a second.
    pub flops_per_second: f64,
    /// Peak memory traffic, in bytes a second.
    pub bytes_per_second: f64,
    /// Share of the roofline that training reaches at least, in `(0, 1]`: up to the time at this share a bound on
    /// training time may be broken.
    pub reached: f64,
    /// Images of a minibatch.
    pub batch: usize,
    /// Images that training goes through: epochs times training images.
    pub images: u64,
}

/// Passes of a training step that each cost as much as a forward pass: itself, and the gradients of what it read and
/// of its weights.
const PASSES: f64 = 3.0;

/// The paper's roofline model of a training, in seconds: `steps * 3 * max(FLOPs / peak, bytes / bandwidth)`, with
/// `steps` the minibatches, and FLOPs and bytes those of a forward pass over one minibatch, for which weights are read
/// once.
pub fn roofline_time(cost: &StaticCost, machine: &Roofline) -> f64 {
    let batch = machine.batch as f64;
    let flops = batch * 2.0 * cost.macs as f64;
    let bytes = batch * (cost.traffic_bytes - cost.model_bytes) as f64 + cost.model_bytes as f64;
    let forward = (flops / machine.flops_per_second).max(bytes / machine.bytes_per_second);
    machine.images as f64 / batch * PASSES * forward
}

/// Neural Architect.
#[derive(Debug)]
pub struct NeuralArchitect {
    settings: Settings,
    /// What the networks are trained on, for the simulator.
    images: Images,
    effort: Effort,
    seed: u64,
    /// What the simulator learns from before the search.
    earlier: Vec<Sample>,
}

/// Name in studies.
pub const NAME: &str = "neural-architect";

/// Random networks in a row that may break a hard bound before the cheapest of the space are tried.
const PATIENCE: usize = 100;

impl NeuralArchitect {
    /// A search on `images`, keyed by `seed`.
    pub fn new(settings: Settings, images: Images, effort: Effort, seed: u64) -> Self {
        Self { settings, images, effort, seed, earlier: Vec::new() }
    }

    /// Has the simulator learn from networks of this space that were trained before, on whatever images.
    #[must_use]
    pub fn pretrained(self, earlier: Vec<Sample>) -> Self {
        Self { earlier, ..self }
    }
}

impl<S: Morph> Strategy<S, dyn Evaluator + '_> for NeuralArchitect {
    fn name(&self) -> &'static str {
        NAME
    }

    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let Self { settings, images, effort, seed, earlier } = self;
        let mut architect = Architect::new(settings.architect.clone(), *seed);
        let mut simulator = settings.simulator.clone().map(Simulator::new);
        let mut state = State::default();
        let mut evaluator = Timed { evaluator, roofline: settings.roofline };
        let mut trials = Trials::new(NAME, space, &mut evaluator, study, *effort)?;
        if settings.inherit
            && let Some((known, mut learned)) = trials.resume::<State<S::Arch>>()?
        {
            state = known;
            architect.restore(state.updates, &mut learned, state.is_frozen)?;
            simulator.iter_mut().for_each(|it| it.restore(state.scales));
            trials.epoch(state.episodes.saturating_sub(1));
        }
        let mut search = Search {
            settings,
            images: *images,
            effort: *effort,
            seed: *seed,
            space,
            trials,
            architect,
            simulator,
            samples: earlier.clone(),
            n_earlier: earlier.len(),
            state,
        };
        search.episodes()?;
        Ok(search.trials.ranked())
    }
}

/// A search at work.
struct Search<'a, 'e, S: Morph> {
    settings: &'a Settings,
    images: Images,
    effort: Effort,
    seed: u64,
    space: &'a S,
    trials: Trials<'a, S, Timed<'e>>,
    architect: Architect,
    simulator: Option<Simulator>,
    /// What the simulator learns from: samples from before the search, then each network that was trained.
    samples: Vec<Sample>,
    n_earlier: usize,
    state: State<S::Arch>,
}

/// Where a search stands between two steps.
#[derive(Debug, Serialize, Deserialize)]
struct State<A> {
    /// Episodes begun.
    episodes: usize,
    /// Steps so far.
    steps: u64,
    /// Steps that are left of the episode.
    left: usize,
    /// Random networks drawn so far.
    drawn: u64,
    /// Steps in a row that came by nothing new.
    idle: usize,
    /// The networks that are being changed.
    branches: Vec<A>,
    /// The mean of the first step's rewards, from which rewards count.
    origin: Option<f64>,
    /// Whether the simulator's predictions are believed.
    is_simulated: bool,
    /// Whether the embedding is no longer learned.
    is_frozen: bool,
    scales: Option<Scales>,
    /// Steps of Adam.
    updates: i32,
}

impl<A> Default for State<A> {
    fn default() -> Self {
        Self {
            episodes: 0,
            steps: 0,
            left: 0,
            drawn: 0,
            idle: 0,
            branches: Vec::new(),
            origin: None,
            is_simulated: false,
            is_frozen: false,
            scales: None,
            updates: 0,
        }
    }
}

/// What became of a proposal.
#[derive(Clone, Copy)]
struct Judged {
    reward: f64,
    /// Whether every hard bound holds, so that a step may start there.
    is_admitted: bool,
}

impl<S: Morph> Search<'_, '_, S> {
    /// Episodes until the effort is spent, or nothing new is found in a space that is known by heart.
    fn episodes(&mut self) -> Result<()> {
        while !self.trials.is_over() && self.state.idle <= self.effort.patience {
            if self.state.left == 0 {
                self.trials.epoch(self.state.episodes);
                self.state.branches = self.starts()?;
                self.state.left = self.settings.steps;
                self.state.episodes += 1;
            }
            if self.state.branches.is_empty() {
                break;
            }
            self.pretrain();
            self.step()?;
            self.snapshot()?;
        }
        Ok(())
    }

    /// What an episode starts from: random networks at first, and where the last step found nothing new; else the
    /// networks of the highest reward so far.
    fn starts(&mut self) -> Result<Vec<S::Arch>> {
        let is_random = 0 < self.state.idle || self.trials.trained().is_empty();
        let starts = if is_random { self.drawn()? } else { self.best() };
        // Few starts serve several branches each: what is done to them differs.
        let n = if starts.is_empty() { 0 } else { self.settings.branches };
        Ok(starts.iter().cycle().take(n).cloned().collect())
    }

    /// Random networks within the hard bounds; the cheapest of the space where those are hard to come by.
    fn drawn(&mut self) -> Result<Vec<S::Arch>> {
        let (n, mut missed) = (self.settings.branches, 0);
        let mut starts = Vec::with_capacity(n);
        while starts.len() < n && missed < PATIENCE && !self.trials.is_over() {
            let numbers = self.state.drawn..self.state.drawn + (n - starts.len()) as u64;
            self.state.drawn = numbers.end;
            let drawn: Vec<S::Arch> =
                numbers.map(|nth| self.space.sample(&mut Uniform::new(self.seed, NAME, nth))).collect();
            self.train(&drawn)?;
            for arch in drawn {
                let is_within = self.known(&arch).is_some();
                missed = if is_within { 0 } else { missed + 1 };
                starts.extend(is_within.then_some(arch));
            }
        }
        if starts.is_empty() {
            let cheapest = self.space.cheapest();
            self.train(&cheapest)?;
            starts.extend(cheapest.into_iter().filter(|arch| self.known(arch).is_some()));
        }
        Ok(starts)
    }

    fn best(&self) -> Vec<S::Arch> {
        let mut known: Vec<(f64, &S::Arch)> =
            self.trials.trained().iter().map(|it| (self.reward(it.accuracy, &it.cost, None), &it.arch)).collect();
        // Stable: of equals the earlier stays ahead.
        known.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        known.into_iter().map(|(_, arch)| arch.clone()).take(self.settings.branches).collect()
    }

    /// One step of every branch; then policy, critic and simulator learn from it.
    fn step(&mut self) -> Result<()> {
        let first = self.state.steps * self.settings.branches as u64;
        let (space, architect, seed) = (self.space, &mut self.architect, self.seed);
        let walk = |(arch, nth): (&S::Arch, u64)| {
            let rng = keyed::rng(seed, "neural-architect step", nth);
            architect.step(&space.embed(arch), rng, |chooser| space.morph(arch, chooser))
        };
        let (proposed, walked): (Vec<S::Arch>, Vec<Stepped>) =
            self.state.branches.iter().zip(first..).map(walk).unzip();
        let is_idle = proposed.iter().all(|arch| self.known(arch).is_some());
        let judged = self.judge(&proposed)?;
        self.learn(&proposed, &walked, &judged);
        for ((branch, next), judged) in self.state.branches.iter_mut().zip(proposed).zip(judged) {
            // Where a hard bound forbids the next network the branch stays, and tries something else.
            if judged.is_some_and(|it| it.is_admitted) {
                *branch = next;
            }
        }
        let state = &mut self.state;
        state.steps += 1;
        (state.idle, state.left) = if is_idle { (state.idle + 1, 0) } else { (0, state.left.saturating_sub(1)) };
        Ok(())
    }

    /// Rewards: of networks that are trained as they were trained, of others as predicted. Of those that are neither,
    /// because a hard bound rules them out before the simulator knows anything, there is none.
    fn judge(&mut self, proposed: &[S::Arch]) -> Result<Vec<Option<Judged>>> {
        let mut predicted: Vec<(S::Arch, Judged)> = Vec::new();
        if !self.state.is_simulated {
            self.train(proposed)?;
        } else {
            for arch in proposed {
                let is_known = self.known(arch).is_some() || predicted.iter().any(|(it, _)| it == arch);
                if !is_known && !self.trials.is_over() {
                    predicted.extend(self.predict(arch)?.map(|judged| (arch.clone(), judged)));
                }
            }
            let promising = self.promising(&predicted);
            self.train(&promising)?;
        }
        let judge = |arch| {
            let trained = self.known(arch).map(|it| self.reward(it.accuracy, &it.cost, None));
            let trained = trained.map(|reward| Judged { reward, is_admitted: true });
            trained.or_else(|| predicted.iter().find(|(it, _)| it == arch).map(|(_, judged)| *judged))
        };
        Ok(proposed.iter().map(judge).collect())
    }

    /// What the simulator says of a network. The record says that it was predicted, and states no accuracy.
    fn predict(&mut self, arch: &S::Arch) -> Result<Option<Judged>> {
        let Some(simulator) = &self.simulator else { return Ok(None) };
        let predicted = simulator.predict(&mut self.architect, &self.space.embed(arch), &self.images);
        let Some(predicted) = predicted else { return Ok(None) };
        let (settings, budget) = (self.settings, self.trials.budget().clone());
        let of = |told: &Told| settings.reward(&budget, predicted.accuracy, &told.cost, Some(predicted));
        let told = self.trials.note(arch, predicted, |told| Some(of(told)))?;
        Ok(Some(Judged { reward: of(&told), is_admitted: budget.admits(&told.cost) }))
    }

    /// Those within the hard bounds whose predicted reward is highest.
    fn promising(&self, predicted: &[(S::Arch, Judged)]) -> Vec<S::Arch> {
        let mut promising: Vec<&(S::Arch, Judged)> = predicted.iter().filter(|(_, it)| it.is_admitted).collect();
        promising.sort_by(|(_, a), (_, b)| b.reward.total_cmp(&a.reward));
        let n = self.settings.simulator.as_ref().map_or(0, |it| it.promising);
        promising.into_iter().take(n).map(|(arch, _)| arch.clone()).collect()
    }

    /// Trains what was not trained before.
    fn train(&mut self, archs: &[S::Arch]) -> Result<()> {
        let start = if self.settings.inherit { Start::Inherit } else { Start::Scratch };
        let fidelity = Fidelity { start, ..self.trials.fidelity() };
        let mut fresh: Vec<(S::Arch, Fidelity)> = Vec::with_capacity(archs.len());
        if self.trials.is_over() {
            return Ok(());
        }
        for arch in archs {
            if self.known(arch).is_none() && !fresh.iter().any(|(it, _)| it == arch) {
                fresh.push((arch.clone(), fidelity));
            }
        }
        let (settings, budget) = (self.settings, self.trials.budget().clone());
        self.trials.propose_all(&fresh, |told| Some(settings.reward(&budget, told.accuracy?, &told.cost, None)))?;
        Ok(())
    }

    fn known(&self, arch: &S::Arch) -> Option<&Chosen<S::Arch>> {
        self.trials.trained().iter().find(|it| it.arch == *arch)
    }

    fn reward(&self, accuracy: f64, cost: &Cost, predicted: Option<Predicted>) -> f64 {
        self.settings.reward(self.trials.budget(), accuracy, cost, predicted)
    }

    /// Formulas (1) to (3): `A = r + gamma V(s') - V(s)`, the policy's gradient with `A`, the critic's squared error
    /// `A^2`; and the simulator's errors, where it learns with them.
    fn learn(&mut self, proposed: &[S::Arch], walked: &[Stepped], judged: &[Option<Judged>]) {
        let judged = proposed.iter().zip(walked).zip(judged);
        let rewarded: Vec<(&S::Arch, &Stepped, f64)> =
            judged.filter_map(|((next, stepped), judged)| Some((next, stepped, judged.as_ref()?.reward))).collect();
        let mut gradient = Gradient::default();
        let share = 1.0 / rewarded.len() as f64;
        for &(next, stepped, reward) in &rewarded {
            // The critic knows nothing at first and says about 0. Rewards are measured from the mean of the first
            // step's, so that this is about right.
            let mean = || rewarded.iter().map(|(.., reward)| share * reward).sum();
            let origin = *self.state.origin.get_or_insert_with(mean);
            let next_value = self.architect.value(&self.space.embed(next));
            let advantage = reward - origin + self.settings.gamma * next_value - stepped.value();
            self.architect.actor_critic(stepped, advantage, share, &mut gradient);
        }
        let joint = self.settings.simulator.as_ref().filter(|it| it.training == Training::Joint);
        let simulated = joint.filter(|_| self.state.is_simulated).map_or(0, |it| it.steps);
        for step in 0..simulated.max(1) {
            if step < simulated {
                self.observe(&mut gradient);
            }
            self.architect.ascend(std::mem::take(&mut gradient));
        }
    }

    /// At the end of the warm-up the simulator learns what was seen so far, and is believed from then on.
    fn pretrain(&mut self) {
        let Some(settings) = &self.settings.simulator else { return };
        let is_warm = settings.warm_up <= self.trials.n_trained();
        if self.state.is_simulated || !is_warm || self.trials.trained().is_empty() {
            return;
        }
        for _ in 0..settings.pretraining {
            let mut gradient = Gradient::default();
            self.observe(&mut gradient);
            self.architect.ascend(gradient);
        }
        self.state.is_simulated = true;
        if settings.training == Training::Frozen {
            self.state.is_frozen = true;
            self.architect.freeze();
        }
    }

    /// Adds the gradient of the simulator's losses to `gradient`.
    fn observe(&mut self, gradient: &mut Gradient) {
        let Some(simulator) = &mut self.simulator else { return };
        let taken_up = self.samples.len() - self.n_earlier;
        for chosen in &self.trials.trained()[taken_up..] {
            self.samples.push(Sample {
                layers: self.space.embed(&chosen.arch),
                images: self.images,
                accuracy: chosen.accuracy,
                train_time: chosen.cost.get(Metric::TrainTime).map(|it| it.value),
            });
        }
        let rng = keyed::rng(self.seed, "neural-architect samples", self.architect.updates() as u64);
        simulator.learn(&mut self.architect, &self.samples, rng, gradient);
    }

    /// Where weights are inherited, what the evaluator has learned is needed to go on.
    fn snapshot(&mut self) -> Result<()> {
        if !self.settings.inherit {
            return Ok(());
        }
        let (updates, weights) = self.architect.save();
        self.state.updates = updates;
        self.state.scales = self.simulator.as_ref().and_then(Simulator::scales);
        self.trials.snapshot(&self.state, weights)
    }
}

/// An evaluator whose training times are those of a roofline, where there is one.
struct Timed<'e> {
    evaluator: &'e mut dyn Evaluator,
    roofline: Option<Roofline>,
}

impl Evaluator for Timed<'_> {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        self.evaluator.evaluate(jobs)
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        let mut cost = self.evaluator.cost(deployed)?;
        if let Some(machine) = &self.roofline {
            let value = roofline_time(&static_cost(deployed), machine);
            let source = Source::Estimated { by: "by a roofline, not timed".to_owned() };
            cost.set(Metric::TrainTime, Figure { value, low: value, high: value / machine.reached, source });
        }
        Ok(cost)
    }

    fn save(&self) -> Result<Saved> {
        self.evaluator.save()
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        self.evaluator.restore(saved)
    }
}
