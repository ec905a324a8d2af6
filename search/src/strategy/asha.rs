//! Asynchronous successive halving, ASHA (L. Li, K. Jamieson, A. Rostamizadeh, E. Gonina, M. Hardt, B. Recht and
//! A. Talwalkar, 2018), as L. Li and A. Talwalkar (2019) search architectures with it: many networks are trained a
//! little, and of each rung the best go on at once, without waiting for the rung to be complete.
//!
//! Which network goes on depends, in the paper, on the order in which the workers happen to finish. Here it does not: a
//! clock that counts epochs says when a job is done, so that the same seed gives the same trials on any machine and at
//! any load. The price is that workers that finish early wait, in the real world, for those whose jobs began with theirs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Chosen, Strategy};
use crate::{
    Result,
    chooser::Uniform,
    evaluator::{Evaluator, Fidelity, Start},
    space::SearchSpace,
    study::Study,
    trials::{Effort, Trials},
};

/// Settings, under the paper's symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `eta`: of so many networks in a rung one is promoted, and trained for as many times as many epochs in all.
    pub eta: usize,
    /// `r`: epochs in the lowest rung. The paper's early-stopping rate `s` makes it `r eta^s`; write that here.
    pub min_epochs: usize,
    /// `R`: epochs of no network exceed this; the highest rung has the largest `r eta^k` within it.
    pub max_epochs: usize,
    /// Jobs that are in flight together.
    pub workers: usize,
    /// Epochs of all trainings together: no job begins that would exceed this. The limit in trainings is
    /// [`Effort::evaluations`], where each promotion counts as one more; [`Effort::epochs`] is not used.
    pub total_epochs: Option<usize>,
}

impl Default for Settings {
    /// `eta` and `R` of the paper of 2019; `r` is what the command in its authors' code makes of one round of halving.
    /// The number of workers is ours.
    fn default() -> Self {
        Self { eta: 4, min_epochs: 75, max_epochs: 300, workers: 8, total_epochs: None }
    }
}

/// ASHA.
#[derive(Debug)]
pub struct Asha {
    settings: Settings,
    effort: Effort,
    seed: u64,
    /// Architectures drawn.
    drawn: u64,
    /// Epochs of all jobs that began.
    spent: usize,
}

/// Name in studies.
pub const NAME: &str = "asha";

/// Draws in a row that may turn out known before the space counts as exhausted.
const DRAWS: usize = 100;

/// A training: of which architecture, and for which rung.
#[derive(Clone, Copy, Debug)]
struct Job {
    arch: usize,
    rung: usize,
}

/// What a finished job told.
#[derive(Clone, Copy, Debug)]
struct Finished {
    job: Job,
    score: f64,
    is_promoted: bool,
}

/// Everything that was drawn and how far each came.
struct Ladder<A> {
    archs: Vec<A>,
    /// The lowest first; in each the best first.
    rungs: Vec<Vec<Finished>>,
}

impl Asha {
    /// ASHA keyed by `seed`.
    ///
    /// # Panics
    /// `eta` is below 2, or a setting is 0: nothing would ever be promoted or trained.
    pub fn new(settings: Settings, effort: Effort, seed: u64) -> Self {
        let Settings { eta, min_epochs, max_epochs, workers, .. } = settings;
        assert!(2 <= eta && 0 < min_epochs && min_epochs <= max_epochs && 0 < workers, "{settings:?}");
        Self { settings, effort, seed, drawn: 0, spent: 0 }
    }
}

impl<S: SearchSpace> Strategy<S, dyn Evaluator + '_> for Asha {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Algorithm 2, `ASHA`.
    ///
    /// Of each architecture its longest training counts.
    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        trials.restore()?;
        let mut ladder = Ladder { archs: Vec::new(), rungs: vec![Vec::new(); self.n_rungs()] };
        // By the epoch in which a job is done, and its number: jobs are finished in this order.
        let mut in_flight: BTreeMap<(usize, usize), Finished> = BTreeMap::new();
        let (mut now, mut n_jobs) = (0, 0);
        loop {
            while !trials.is_over() {
                let free = (self.settings.workers - in_flight.len()).min(trials.n_left());
                let jobs: Vec<Job> = (0..free).map_while(|_| self.get_job(space, &mut ladder)).collect();
                if jobs.is_empty() {
                    break;
                }
                let proposed: Vec<_> =
                    jobs.iter().map(|job| (ladder.archs[job.arch].clone(), self.fidelity(job.rung))).collect();
                for (job, told) in jobs.into_iter().zip(trials.propose_all(&proposed, |_| None)?) {
                    // What a hard bound rules out takes no worker's time.
                    let Some(score) = told.score() else {
                        self.spent -= self.epochs_of(job.rung);
                        continue;
                    };
                    let finished = Finished { job, score, is_promoted: false };
                    in_flight.insert((now + self.epochs_of(job.rung), n_jobs), finished);
                    n_jobs += 1;
                }
            }
            trials.keep()?;
            let Some((&(done, _), _)) = in_flight.first_key_value() else { break };
            now = done;
            while let Some(entry) = in_flight.first_entry().filter(|entry| entry.key().0 == now) {
                ladder.update(entry.remove());
            }
        }
        Ok(trials.ranked())
    }
}

impl Asha {
    /// Algorithm 2, `get_job`: what can be promoted is, from the highest rung down; otherwise the lowest rung grows.
    /// `None` where the epochs do not suffice, or nothing new can be drawn.
    fn get_job<S: SearchSpace>(&mut self, space: &S, ladder: &mut Ladder<S::Arch>) -> Option<Job> {
        let promotable = ladder.promotable(self.settings.eta);
        let rung = promotable.as_ref().map_or(0, |it| it.job.rung + 1);
        let spent = self.spent + self.epochs_of(rung);
        if self.settings.total_epochs.is_some_and(|total| total < spent) {
            return None;
        }
        let arch = match promotable {
            Some(it) => {
                it.is_promoted = true;
                it.job.arch
            }
            None => {
                let drawn = self.draw(space, &ladder.archs)?;
                ladder.archs.push(drawn);
                ladder.archs.len() - 1
            }
        };
        self.spent = spent;
        Some(Job { arch, rung })
    }

    /// A random architecture that was not drawn before: trained twice, it would go on from its own training.
    fn draw<S: SearchSpace>(&mut self, space: &S, known: &[S::Arch]) -> Option<S::Arch> {
        let mut draw = || {
            self.drawn += 1;
            space.sample(&mut Uniform::new(self.seed, NAME, self.drawn))
        };
        (0..DRAWS).map(|_| draw()).find(|arch| !known.contains(arch))
    }

    /// `floor(log_eta(R / r)) + 1`.
    fn n_rungs(&self) -> usize {
        let Settings { eta, min_epochs, max_epochs, .. } = self.settings;
        (max_epochs / min_epochs).ilog(eta) as usize + 1
    }

    /// `r eta^k` epochs in all, of which a promoted network has the first behind it.
    fn fidelity(&self, rung: usize) -> Fidelity {
        let epochs = self.settings.min_epochs * self.settings.eta.pow(rung as u32);
        Fidelity { epochs, start: if rung == 0 { Start::Scratch } else { Start::Resume } }
    }

    /// Epochs that a job for this rung trains.
    fn epochs_of(&self, rung: usize) -> usize {
        self.fidelity(rung).epochs - rung.checked_sub(1).map_or(0, |below| self.fidelity(below).epochs)
    }
}

impl<A> Ladder<A> {
    /// Takes a result into its rung, by score; of equals the earlier is ahead.
    fn update(&mut self, finished: Finished) {
        let rung = &mut self.rungs[finished.job.rung];
        let place = rung.partition_point(|it| finished.score.total_cmp(&it.score).is_le());
        rung.insert(place, finished);
    }

    /// The best of the highest rung where anything belongs to the best `1 / eta` and was not promoted.
    fn promotable(&mut self, eta: usize) -> Option<&mut Finished> {
        let top = self.rungs.len() - 1;
        self.rungs[..top].iter_mut().rev().find_map(|rung| {
            let n_best = rung.len() / eta;
            rung[..n_best].iter_mut().find(|it| !it.is_promoted)
        })
    }
}
