//! EPNAS (Y. Zhou et al., "EPNAS: Efficient Progressive Neural Architecture Search"): a policy edits networks step by
//! step, in several branches at once, and the best of an episode are what the next begins with.
//!
//! Searching layer by layer or by modules is a choice of the space. Performance prediction, a short training at a high
//! rate that starts from what earlier networks learned, is a choice of the [`Child`].

use std::collections::BTreeMap;

use data::keyed;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use targets::{Budget, Cost, Metric};

use super::{Chosen, Strategy};
use crate::{
    Result,
    chooser::Uniform,
    evaluator::{Evaluator, Fidelity, Start},
    penalty,
    policy::{Adam, Editor, EditorSettings},
    space::Morph,
    study::Study,
    trials::{Effort, Told, Trials},
};

/// Settings, under the paper's symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `N`: branches, and networks that an episode leaves to the next.
    pub branches: usize,
    /// `T`: steps of an episode.
    pub steps: usize,
    /// `p`: what is left of the reward at twice an upper or half a lower bound.
    pub p: f64,
    /// `p_i`, where a constraint has one of its own.
    #[serde(default)]
    pub p_of: BTreeMap<Metric, f64>,
    /// How networks are trained.
    pub child: Child,
    /// The policy.
    pub policy: EditorSettings,
}

/// How networks are trained. The strategy asks for the epochs and the start; the other two are for whoever makes the
/// evaluator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Child {
    /// Epochs of each network.
    pub epochs: usize,
    /// Images in a minibatch.
    pub batch: usize,
    /// Highest learning rate of the schedule.
    pub lr: f64,
    /// What weights start from.
    pub start: Start,
}

impl Child {
    /// The schedule without performance prediction: each network from scratch.
    pub const FULL: Self = Self { epochs: 20, batch: 128, lr: 0.05, start: Start::Scratch };

    /// The aggressive schedule, with performance prediction.
    pub const PREDICTED: Self = Self { epochs: 10, batch: 1024, lr: 0.5, start: Start::Inherit };
}

/// Episodes of the paper's searches.
pub const EPISODES: usize = 15;

impl Settings {
    /// Searching layer by layer.
    pub fn layers() -> Self {
        Self {
            branches: 8,
            steps: 10,
            p: 0.9,
            p_of: BTreeMap::new(),
            child: Child::FULL,
            policy: EditorSettings::default(),
        }
    }

    /// Searching for a module.
    pub fn modules() -> Self {
        Self { steps: 5, ..Self::layers() }
    }

    /// Ours, for hundreds of networks where the paper trained a thousand: short episodes of few branches, and each update
    /// of a smaller policy counts for more.
    pub fn short() -> Self {
        let policy = EditorSettings { reading: 8, acting: 16, adam: Adam::new(0.01), ..EditorSettings::default() };
        Self { branches: 4, steps: 3, policy, ..Self::layers() }
    }

    /// Networks of the paper's search: 1,200 layer by layer, 600 of modules.
    pub fn evaluations(&self) -> usize {
        EPISODES * self.branches * self.steps
    }

    /// `product of V(U_i)`, over all constraints, hard or soft, whose metric is known.
    pub fn v(&self, budget: &Budget, cost: &Cost) -> f64 {
        let factor = |bound: &targets::Bound| {
            let p = self.p_of.get(&bound.metric).copied().unwrap_or(self.p);
            Some(penalty::epnas(bound.excess(cost.get(bound.metric)?.value), p))
        };
        budget.bounds.iter().filter_map(factor).product()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::layers()
    }
}

/// EPNAS.
#[derive(Debug)]
pub struct Epnas {
    settings: Settings,
    effort: Effort,
    seed: u64,
}

/// Name in studies.
pub const NAME: &str = "epnas";

/// A search between two steps.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "A: Serialize + DeserializeOwned")]
struct Done<A> {
    episodes: usize,
    /// Updates of the policy.
    updates: i32,
    /// Every network that was proposed, each once: one that comes up again is not trained again.
    known: Vec<Judged<A>>,
    /// What the branches of this episode begin with, as indices into `known`, the best first.
    starts: Vec<usize>,
    /// What they were edited to in the steps of this episode, by step and branch, likewise.
    steps: Vec<Vec<usize>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Judged<A> {
    arch: A,
    /// `P`; absent where a hard bound ruled the network out.
    accuracy: Option<f64>,
    /// `product of V(U_i)`.
    v: f64,
}

impl<A> Judged<A> {
    /// `r = P * product of V(U_i)`. A network that was not trained is taken for as accurate as the one it was made
    /// from, so that the policy learns which way the bounds are.
    fn reward(&self, before: f64) -> f64 {
        self.accuracy.unwrap_or(before) * self.v
    }
}

impl Epnas {
    /// EPNAS with a fresh policy, drawn from `seed`.
    pub fn new(settings: Settings, effort: Effort, seed: u64) -> Self {
        Self { settings, effort, seed }
    }
}

impl<S: Morph> Strategy<S, dyn Evaluator + '_> for Epnas {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Episodes until the effort is spent. The most rewarded network comes first: soft bounds count as well.
    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let budget = study.budget.clone();
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut policy = Editor::new(self.settings.policy.clone(), self.seed);
        let mut done = self.resume(&mut trials, &mut policy)?;
        if done.starts.is_empty() {
            self.start(&mut trials, &mut done)?;
        }
        let mut idle = 0;
        while !trials.is_over() && idle < IDLE {
            let trained = trials.n_trained();
            self.episode(&mut trials, &mut policy, &mut done)?;
            idle = if trained < trials.n_trained() { 0 } else { idle + 1 };
        }
        let mut ranked = trials.ranked();
        let reward = |it: &Chosen<S::Arch>| it.accuracy * self.settings.v(&budget, &it.cost);
        ranked.sort_by(|a, b| reward(b).total_cmp(&reward(a)));
        Ok(ranked)
    }
}

impl Epnas {
    /// The network that all branches of the first episode begin with: the first of random ones that the hard bounds
    /// admit, or, where a hundred were not, of the cheapest. It is trained, so that edits of it can be compared.
    fn start<S: Morph>(&self, trials: &mut Trials<'_, S, dyn Evaluator + '_>, done: &mut Done<S::Arch>) -> Result<()> {
        let mut cheapest = trials.space.cheapest().into_iter();
        for drawn in 0.. {
            if trials.is_over() || !done.starts.is_empty() {
                return Ok(());
            }
            let cheap = if drawn < PATIENCE { None } else { cheapest.next() };
            let mut uniform = Uniform::new(self.seed, "epnas start", drawn as u64);
            let arch = cheap.unwrap_or_else(|| trials.space.sample(&mut uniform));
            let Some(judged) = self.judge(&[arch], trials, done)? else { return Ok(()) };
            done.starts = judged.into_iter().filter(|it| done.known[*it].accuracy.is_some()).collect();
        }
        Ok(())
    }

    /// `N` branches of `T` steps, an update of the policy, and the best as the next starts. Left unfinished where the
    /// effort ends.
    fn episode<S: Morph>(
        &self,
        trials: &mut Trials<'_, S, dyn Evaluator + '_>,
        policy: &mut Editor,
        done: &mut Done<S::Arch>,
    ) -> Result<()> {
        let Settings { branches, steps, .. } = self.settings;
        trials.epoch(done.episodes);
        let mut at: Vec<usize> = done.starts.iter().copied().cycle().take(branches).collect();
        let depths: Vec<usize> = at.iter().map(|it| trials.space.embed(&done.known[*it].arch).len()).collect();
        let (mut walks, mut rewards) = (Vec::new(), vec![Vec::new(); branches]);
        for step in 0..steps {
            let mut edited = Vec::with_capacity(branches);
            for (branch, (&at, &depth)) in at.iter().zip(&depths).enumerate() {
                let nth = (done.episodes * steps + step) * branches + branch;
                let rng = keyed::rng(self.seed, NAME, nth as u64);
                let (arch, walked) = policy.edit(trials.space, &done.known[at].arch, depth, rng);
                edited.push(arch);
                walks.push((branch, step, walked));
            }
            // A resumed episode walks the same way again.
            if done.steps.len() == step {
                if trials.is_over() {
                    return Ok(());
                }
                let Some(judged) = self.judge(&edited, trials, done)? else { return Ok(()) };
                done.steps.push(judged);
                self.snapshot(trials, policy, done)?;
            }
            for (branch, &judged) in done.steps[step].iter().enumerate() {
                let before = done.known[at[branch]].accuracy.expect("a branch stands on trained networks");
                rewards[branch].push(done.known[judged].reward(before));
                // A branch does not move to what a hard bound rules out.
                if done.known[judged].accuracy.is_some() {
                    at[branch] = judged;
                }
            }
        }
        let advantages = advantages(&rewards);
        let weight = |branch: usize, step: usize| advantages[branch][step] / branches as f64;
        policy.ascend(walks.iter().map(|(branch, step, walked)| (walked, weight(*branch, *step))));
        self.keep_best(done);
        done.updates = policy.parameters().updates();
        self.snapshot(trials, policy, done)
    }

    /// The `N` most rewarded networks of the episode begin the next, each once.
    fn keep_best<A>(&self, done: &mut Done<A>) {
        let mut best: Vec<usize> = done.steps.drain(..).flatten().collect();
        best.sort_unstable();
        best.dedup();
        best.retain(|it| done.known[*it].accuracy.is_some());
        best.sort_by(|a, b| done.known[*b].reward(0.0).total_cmp(&done.known[*a].reward(0.0)));
        best.truncate(self.settings.branches);
        done.episodes += 1;
        if !best.is_empty() {
            done.starts = best;
        }
    }

    /// Has those trained that are new; returns where each is among the known. `None` where the effort ends before.
    fn judge<S: Morph>(
        &self,
        archs: &[S::Arch],
        trials: &mut Trials<'_, S, dyn Evaluator + '_>,
        done: &mut Done<S::Arch>,
    ) -> Result<Option<Vec<usize>>> {
        let Child { epochs, start, .. } = self.settings.child;
        let mut fresh: Vec<(S::Arch, Fidelity)> = Vec::new();
        for arch in archs {
            if done.known.iter().all(|it| it.arch != *arch) && fresh.iter().all(|it| it.0 != *arch) {
                fresh.push((arch.clone(), Fidelity { epochs, start }));
            }
        }
        let budget = trials.budget().clone();
        let reward = |told: &Told| Some(told.accuracy? * self.settings.v(&budget, &told.cost));
        let told = trials.propose_all(&fresh, reward)?;
        for ((arch, _), Told { accuracy, cost, .. }) in fresh.into_iter().zip(told) {
            if accuracy.is_none() && budget.admits(&cost) {
                return Ok(None);
            }
            done.known.push(Judged { arch, accuracy, v: self.settings.v(&budget, &cost) });
        }
        Ok(archs.iter().map(|arch| done.known.iter().position(|it| it.arch == *arch)).collect())
    }

    /// Networks that inherit depend on those before: only then must a search be continued where it stopped. From
    /// scratch, the record says all.
    fn snapshot<S: Morph>(
        &self,
        trials: &Trials<'_, S, dyn Evaluator + '_>,
        policy: &mut Editor,
        done: &Done<S::Arch>,
    ) -> Result<()> {
        match self.settings.child.start {
            Start::Inherit => trials.snapshot(done, policy.parameters().save(POLICY)),
            Start::Scratch | Start::Resume => Ok(()),
        }
    }

    fn resume<S: Morph>(
        &self,
        trials: &mut Trials<'_, S, dyn Evaluator + '_>,
        policy: &mut Editor,
    ) -> Result<Done<S::Arch>> {
        if self.settings.child.start == Start::Inherit
            && let Some((done, learned)) = trials.resume::<Done<S::Arch>>()?
        {
            policy.parameters().restore(POLICY, done.updates, &learned)?;
            return Ok(done);
        }
        Ok(Done { episodes: 0, updates: 0, known: Vec::new(), starts: Vec::new(), steps: Vec::new() })
    }
}

/// `sum over t' >= t of r_t' - b(X_t)` by branch and step, from the rewards by branch and step.
///
/// What the baseline is, the paper does not say. Here it is the mean over the branches of what they still get from
/// that step on. Reconstruction.
pub fn advantages(rewards: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut to_go = rewards.to_vec();
    for branch in &mut to_go {
        for step in (1..branch.len()).rev() {
            branch[step - 1] += branch[step];
        }
    }
    let baseline: Vec<f64> = (0..to_go.first().map_or(0, Vec::len))
        .map(|step| to_go.iter().map(|it| it[step]).sum::<f64>() / to_go.len() as f64)
        .collect();
    to_go.iter_mut().for_each(|branch| branch.iter_mut().zip(&baseline).for_each(|(it, b)| *it -= b));
    to_go
}

/// Networks in a row that may break hard bounds before the cheapest are tried.
const PATIENCE: usize = 100;

/// Episodes in a row without a new network that end a search: its policy has settled.
const IDLE: usize = 20;

/// Where the policy is kept beside what networks inherit.
const POLICY: &str = "policy";
