//! Model-based search, a strategy of our own: a Gaussian process learns from the networks that were trained which
//! others are worth it, and the one that promises the largest gain is trained next.
//!
//! The loop is efficient global optimization (D. R. Jones, M. Schonlau and W. J. Welch, 1998); the process and its
//! marginal likelihood are those of C. E. Rasmussen and C. K. I. Williams (2006, chapters 2 and 5). Networks are
//! compared by Weisfeiler-Lehman's counts of patterns in their graphs, as NAS-BOWL does (B. Ru, X. Wan, X. Dong and
//! M. Osborne, 2021), and candidates are neighbours of the best networks, as in BANANAS (C. White, W. Neiswanger and
//! Y. Savani, 2021). Scores count by their ranks alone (D. Salinas, H. Shen and V. Perrone, 2020), so that
//! networks that learned nothing do not drown the differences among good ones.
//!
//! Ours is what a network is seen as: its answers, which say where it stands in the space; and the patterns and sizes
//! of that part of its graph which carries the image to the output, in which a branch that leads nowhere does not
//! appear. How far each of the three is believed is learned. What a hard bound rules out is known before anything is
//! trained, so it needs no model: the next best candidate is taken.

mod kernel;
mod normal;
mod pool;
mod process;
mod sight;

use serde::{Deserialize, Serialize};

use self::{normal::normal_scores, pool::Pool, process::Process};
use super::{Chosen, Strategy};
use crate::{
    Result,
    evaluator::Evaluator,
    space::SearchSpace,
    study::Study,
    trials::{Effort, Trials},
};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Networks drawn uniformly that are trained before anything is learned; at least two.
    pub initial: usize,
    /// Candidates drawn uniformly when learning begins.
    pub drawn: usize,
    /// Candidates drawn uniformly for each further network.
    pub fresh: usize,
    /// Best networks whose neighbours are candidates.
    pub parents: usize,
    /// `h`: how far around a node its Weisfeiler-Lehman pattern reaches.
    pub reach: usize,
    /// What the process believes is found again once it has this many times the trainings.
    pub refit: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { initial: 10, drawn: 100, fresh: 5, parents: 20, reach: 1, refit: 1.5 }
    }
}

impl Settings {
    /// Of a single network nothing can be learned.
    fn n_initial(&self) -> usize {
        self.initial.max(2)
    }
}

/// Model-based search.
#[derive(Debug)]
pub struct Surrogate {
    settings: Settings,
    effort: Effort,
    seed: u64,
}

/// Name in studies.
pub const NAME: &str = "surrogate";

impl Surrogate {
    /// Model-based search keyed by `seed`.
    pub fn new(settings: Settings, effort: Effort, seed: u64) -> Self {
        Self { settings, effort, seed }
    }
}

impl<S: SearchSpace> Strategy<S, dyn Evaluator + '_> for Surrogate {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Ends early where every architecture of the space was proposed.
    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut pool = Pool::new(space, &self.settings, &self.effort, self.seed);
        while !trials.is_over() && trials.n_trained() < self.settings.n_initial() {
            let Some(idx) = pool.draw()? else { break };
            pool.propose(idx, &mut trials)?;
        }
        let mut process = Process::default();
        while !trials.is_over() && self.settings.n_initial() <= trials.n_trained() {
            pool.grow()?;
            let scores = normal_scores(&pool.worths);
            process.learn(&mut pool, &scores, self.settings.refit);
            let mut gains = process.gains(&mut pool, &scores);
            gains.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            // The first that the hard bounds admit is trained.
            let n_trained = trials.n_trained();
            for (idx, _) in gains {
                if trials.is_over() || n_trained < trials.n_trained() {
                    break;
                }
                pool.propose(idx, &mut trials)?;
            }
            // A pool without candidates is that of a small space or of a narrow budget.
            if n_trained == trials.n_trained() && !trials.is_over() {
                let Some(idx) = pool.draw()? else { break };
                pool.propose(idx, &mut trials)?;
            }
        }
        Ok(trials.ranked())
    }
}
