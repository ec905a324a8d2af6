//! What a strategy works with that trains each network on its own: it proposes, and is told.
//!
//! Every proposal is priced first. What a hard bound rules out is recorded and not trained; what it admits is
//! trained, recorded, and a candidate for the answer. A resumed search proposes the same again and is told what the
//! record holds, without a training; its deadline counts the time that it was active before.

use graph::weights::Weights;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use targets::Cost;

use crate::{
    Error, Result,
    evaluator::{Evaluator, Fidelity, Job, Start},
    penalty,
    space::{Scale, SearchSpace},
    strategy::{Chosen, rank},
    study::{Phase, Predicted, Signal, Study, Trial},
};

/// How much a strategy may do, and at which sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Networks that are trained.
    pub evaluations: usize,
    /// Epochs that each is trained for, where the strategy does not say otherwise.
    pub epochs: usize,
    /// Networks that are proposed at most for each that is trained; the others broke a hard bound, or were only predicted.
    pub patience: usize,
    /// Size of the networks that are trained.
    pub proxy: Scale,
    /// Size of the network that is deployed, whose costs count.
    pub full: Scale,
}

/// The trials of one strategy.
pub struct Trials<'a, S: SearchSpace, E: ?Sized> {
    /// What is searched.
    pub space: &'a S,
    /// Strategy that proposes.
    strategy: &'static str,
    evaluator: &'a mut E,
    study: &'a mut Study,
    effort: Effort,
    epoch: usize,
    proposed: usize,
    trained: usize,
    /// Whether the deadline was near when somebody looked: nothing is trained any more.
    is_late: bool,
    /// Trials at the front of the record that are answered from it.
    recalled: u64,
    candidates: Vec<Chosen<S::Arch>>,
}

/// What a strategy is told of one proposal.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Validation accuracy after the last epoch, in `[0, 1]`; absent where a hard bound ruled the network out, or the
    /// search ended before.
    pub accuracy: Option<f64>,
    /// Accuracy after each epoch; empty where it was not trained.
    pub curve: Vec<f64>,
    /// Cost at the deployed size.
    pub cost: Cost,
    /// Share of a reward that soft bounds leave of it: see [`penalty::soft`].
    pub soft: f64,
}

impl Told {
    /// What strategies compare and are rewarded with: accuracy, times what soft bounds leave of it. Absent where it was
    /// not trained.
    pub fn score(&self) -> Option<f64> {
        Some(self.accuracy? * self.soft)
    }
}

impl<'a, S: SearchSpace, E: Evaluator + ?Sized> Trials<'a, S, E> {
    /// None yet; the time that `strategy` was active in earlier sessions counts towards its deadline.
    pub fn new(
        strategy: &'static str,
        space: &'a S,
        evaluator: &'a mut E,
        study: &'a mut Study,
        effort: Effort,
    ) -> Result<Self> {
        study.resume_time(strategy)?;
        let candidates = Vec::new();
        Ok(Self {
            space,
            strategy,
            evaluator,
            study,
            effort,
            epoch: 0,
            proposed: 0,
            trained: 0,
            is_late: false,
            recalled: u64::MAX,
            candidates,
        })
    }

    /// For a strategy whose trainings go on where earlier ones stopped: hands the evaluator its newest snapshot. What was
    /// recorded after it is trained again, because the evaluator knows nothing of it.
    pub fn restore(&mut self) -> Result<()> {
        self.recalled = 0;
        if let Some((trials, saved)) = self.study.saved(self.strategy)? {
            self.evaluator.restore(&saved)?;
            self.recalled = trials;
        }
        Ok(())
    }

    /// Keeps what later trainings start from, for [`Trials::restore`]; nothing while the record still answers.
    pub fn keep(&mut self) -> Result<()> {
        if self.study.next() <= self.recalled {
            return Ok(());
        }
        self.study.snapshot(self.strategy, &(), &self.evaluator.save()?)
    }

    /// Whether the effort is spent, or the deadline near.
    pub fn is_over(&self) -> bool {
        let Effort { evaluations, patience, .. } = self.effort;
        self.is_late || evaluations <= self.trained || evaluations.saturating_mul(patience) <= self.proposed
    }

    /// The networks that were trained, in the order of their training.
    pub fn trained(&self) -> &[Chosen<S::Arch>] {
        &self.candidates
    }

    /// Networks trained so far.
    pub fn n_trained(&self) -> usize {
        self.trained
    }

    /// Trainings that are left.
    pub fn n_left(&self) -> usize {
        self.effort.evaluations - self.trained
    }

    /// The usual training.
    pub fn fidelity(&self) -> Fidelity {
        Fidelity::epochs(self.effort.epochs)
    }

    /// Says which epoch of the strategy its next trials belong to.
    pub fn epoch(&mut self, epoch: usize) {
        self.epoch = epoch;
    }

    /// The budget, for a reward of the strategy's own.
    pub fn budget(&self) -> &targets::Budget {
        &self.study.budget
    }

    /// Cost of an architecture at its deployed size, without a trial of it.
    pub fn cost(&mut self, arch: &S::Arch) -> Result<Cost> {
        self.evaluator.cost(&self.space.build(arch, &self.effort.full)?)
    }

    /// Proposes one architecture for the usual training.
    pub fn propose(&mut self, arch: &S::Arch) -> Result<Told> {
        let told = self.propose_all(&[(arch.clone(), self.fidelity())], |_| None)?;
        Ok(told.into_iter().next().expect("one is told of one"))
    }

    /// Prices and records an architecture that is not trained, with what is predicted of it. It is no candidate for
    /// the answer, unless it is proposed as well.
    pub fn note(
        &mut self,
        arch: &S::Arch,
        predicted: Predicted,
        reward: impl Fn(&Told) -> Option<f64>,
    ) -> Result<Told> {
        let value = serde_json::to_value(arch).expect("an architecture is plain data");
        let known = self.study.recall(0, self.strategy, &value, 0).filter(|it| it.predicted.is_some());
        let cost = match known.map(|it| it.cost.clone()) {
            Some(cost) => cost,
            None => self.cost(arch)?,
        };
        let told = Told { accuracy: None, curve: Vec::new(), soft: self.soft(&cost), cost };
        self.record(arch, value, &told, 0, reward(&told), Some(predicted))?;
        Ok(told)
    }

    /// Proposes architectures that do not depend on each other; they may be trained at once. `reward` is what the
    /// strategy will make of each, for the record.
    ///
    /// Those that the effort or the time does not suffice for any more are told without an accuracy and not recorded.
    pub fn propose_all(
        &mut self,
        archs: &[(S::Arch, Fidelity)],
        reward: impl Fn(&Told) -> Option<f64>,
    ) -> Result<Vec<Told>> {
        let mut pending = Vec::with_capacity(archs.len());
        let mut graphs = Vec::new();
        // What a record holds is in the order of its proposals: after the first that it does not hold there is none.
        let (mut recalled, mut taken) = (0, 0);
        for (idx, (arch, fidelity)) in archs.iter().enumerate() {
            let value = serde_json::to_value(arch).expect("an architecture is plain data");
            // What a network leaves to later ones is not on record: such a training is repeated.
            let is_kept = self.study.next() + (idx as u64) < self.recalled && fidelity.start != Start::Inherit;
            let is_told = recalled == idx && is_kept;
            let known = is_told.then(|| self.study.recall(idx, self.strategy, &value, fidelity.epochs)).flatten();
            if let Some(trial) = known.filter(|it| it.predicted.is_none()) {
                recalled += 1;
                taken += usize::from(trial.accuracy.is_some());
                let (accuracy, cost) = (trial.accuracy, trial.cost.clone());
                let curve = if trial.curve.is_empty() { accuracy.into_iter().collect() } else { trial.curve.clone() };
                pending.push((value, Told { accuracy, curve, soft: self.soft(&cost), cost }, None));
                continue;
            }
            let full = self.space.build(arch, &self.effort.full)?;
            let cost = self.evaluator.cost(&full)?;
            let is_admitted = self.study.budget.admits(&cost);
            let told = Told { accuracy: None, curve: Vec::new(), soft: self.soft(&cost), cost };
            let job = (is_admitted && taken < self.n_left()).then_some(graphs.len());
            if job.is_some() {
                taken += 1;
                let is_same = self.effort.proxy == self.effort.full;
                graphs.push((if is_same { full } else { self.space.build(arch, &self.effort.proxy)? }, *fidelity));
            }
            pending.push((value, told, job));
        }
        // Pricing may have waited for a board, and a resumed search may have been late all along. Where nothing was
        // trained yet something is: a search should have an answer.
        let has_answer = graphs.len() < self.trained + taken;
        if self.is_late || (!graphs.is_empty() && has_answer && self.look()? == Signal::WrapUp) {
            self.is_late = true;
            graphs.clear();
            pending.iter_mut().for_each(|(.., job)| *job = None);
        }
        let jobs: Vec<Job<'_>> = graphs.iter().map(|(graph, fidelity)| Job { graph, fidelity: *fidelity }).collect();
        let evaluated = self.evaluator.evaluate(&jobs);
        // A training that was interrupted took its time as well. Pricing is counted with the next training: to write that
        // down each time would often take longer than the pricing.
        if !jobs.is_empty() {
            self.study.keep_time(self.strategy)?;
        }
        let mut evaluations = evaluated?;
        let mut all = Vec::with_capacity(archs.len());
        for ((value, mut told, job), (arch, fidelity)) in pending.into_iter().zip(archs) {
            if let Some(job) = job {
                let evaluation = std::mem::take(&mut evaluations[job]);
                told.accuracy = Some(evaluation.last());
                told.curve = evaluation.curve;
            }
            let is_admitted = self.study.budget.admits(&told.cost);
            if told.accuracy.is_some() || !is_admitted {
                self.record(arch, value, &told, fidelity.epochs, reward(&told), None)?;
            }
            all.push(told);
        }
        Ok(all)
    }

    /// Keeps the strategy's own state with what it has `learned`, and what the evaluator's networks inherit: where
    /// trainings depend on those before, a search is continued instead of proposed again.
    pub fn snapshot(&self, state: &impl Serialize, learned: Weights) -> Result<()> {
        self.study.snapshot(self.strategy, state, &self.evaluator.save()?.with(learned))
    }

    /// Continues at the newest snapshot, if there is one: its state, and the tensors that were stored with it. To be
    /// called before anything is proposed.
    pub fn resume<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Weights)>> {
        self.recalled = 0;
        let Some((state, saved)) = self.study.resume(self.strategy)? else { return Ok(None) };
        self.evaluator.restore(&saved)?;
        for trial in self.study.trials().iter().filter(|it| it.strategy == self.strategy) {
            self.proposed += 1;
            if let Some(accuracy) = trial.accuracy {
                self.trained += 1;
                let arch = S::Arch::deserialize(&trial.arch).map_err(|_| Error::Diverged { trial: trial.trial })?;
                self.candidates.push(Chosen { arch, accuracy, cost: trial.cost.clone() });
            }
        }
        Ok(Some((state, saved.weights)))
    }

    fn record(
        &mut self,
        arch: &S::Arch,
        value: serde_json::Value,
        told: &Told,
        epochs: usize,
        reward: Option<f64>,
        predicted: Option<Predicted>,
    ) -> Result<()> {
        let Told { accuracy, ref curve, ref cost, .. } = *told;
        self.proposed += 1;
        if let Some(accuracy) = accuracy {
            self.trained += 1;
            self.candidates.push(Chosen { arch: arch.clone(), accuracy, cost: cost.clone() });
        }
        self.study.record(Trial {
            epoch: self.epoch,
            epochs: accuracy.map(|_| epochs),
            curve: if curve.len() > 1 { curve.clone() } else { Vec::new() },
            predicted,
            reward,
            ..Trial::new(self.strategy, Phase::Explore, &value, accuracy, cost.clone())
        })?;
        // What is on record takes no time: however late it is, it is told.
        self.is_late |= self.look()? == Signal::WrapUp && !self.is_recalling();
        Ok(())
    }

    fn look(&mut self) -> Result<Signal> {
        let (done, total) = (self.trained as u64, self.effort.evaluations as u64);
        let signal = self.study.look(self.strategy, "training candidates", done, total);
        // A session ends here, unless it has only begun.
        if !matches!(signal, Ok(Signal::Continue)) && !self.is_recalling() {
            self.study.keep_time(self.strategy)?;
        }
        signal
    }

    /// Whether the next trial is one that the record answers.
    fn is_recalling(&self) -> bool {
        self.study.next() < self.recalled && self.study.awaits(self.strategy)
    }

    fn soft(&self, cost: &Cost) -> f64 {
        penalty::soft(&self.study.budget, cost)
    }

    /// The networks that were trained, those of the highest score first; each architecture once.
    pub fn ranked(self) -> Vec<Chosen<S::Arch>> {
        let mut candidates = self.candidates;
        // Of one architecture the longest training counts, the last.
        candidates.reverse();
        let mut once: Vec<Chosen<S::Arch>> = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if !once.iter().any(|it| it.arch == candidate.arch) {
                once.push(candidate);
            }
        }
        once.reverse();
        rank(&mut once, &self.study.budget);
        once
    }
}

/// Networks that a policy learns from together, with what it did to propose each. What a hard bound rules out is
/// replaced by another, and teaches nothing.
#[derive(Debug)]
pub struct Batch<W> {
    size: usize,
    rewarded: Vec<(W, f64)>,
    /// Networks proposed for this batch and those before.
    proposed: u64,
    /// Batches before this one.
    complete: usize,
}

impl<W> Batch<W> {
    /// An empty batch of `size` networks, at least one.
    pub fn new(size: usize) -> Self {
        Self { size: size.max(1), rewarded: Vec::new(), proposed: 0, complete: 0 }
    }

    /// Proposes as many networks as are missing, each `drawn` by its number, and rewards them. Returns a batch that is
    /// complete, after which the next begins.
    pub fn propose<S: SearchSpace, E: Evaluator + ?Sized>(
        &mut self,
        trials: &mut Trials<'_, S, E>,
        drawn: impl FnMut(u64) -> (S::Arch, W),
        reward: impl Fn(&Told) -> Option<f64>,
    ) -> Result<Option<Vec<(W, f64)>>> {
        let fidelity = trials.fidelity();
        let n = (self.size - self.rewarded.len()).min(trials.n_left()) as u64;
        let (archs, walks): (Vec<_>, Vec<_>) =
            (self.proposed..self.proposed + n).map(drawn).map(|(arch, walked)| ((arch, fidelity), walked)).unzip();
        self.proposed += n;
        trials.epoch(self.complete);
        let told = trials.propose_all(&archs, &reward)?;
        let rewarded = walks.into_iter().zip(&told).filter_map(|(walked, told)| Some((walked, reward(told)?)));
        self.rewarded.extend(rewarded);
        if self.rewarded.len() < self.size {
            return Ok(None);
        }
        self.complete += 1;
        Ok(Some(std::mem::take(&mut self.rewarded)))
    }
}
