//! Regularized evolution (E. Real, A. Aggarwal, Y. Huang and Q. V. Le, 2019, Algorithm 1): the best of a few
//! becomes a parent, and the oldest dies, however good.

use std::collections::VecDeque;

use data::keyed::{self, ChaCha8Rng};
use serde::{Deserialize, Serialize};

use super::{Chosen, Strategy};
use crate::{
    Result,
    chooser::{Edited, Question, Recorded, Uniform},
    evaluator::Evaluator,
    space::SearchSpace,
    study::Study,
    trials::{Effort, Trials},
};

/// Settings, under the paper's symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `P`: networks alive.
    pub population: usize,
    /// `S`: networks among which a parent is chosen.
    pub sample: usize,
}

impl Default for Settings {
    /// Of the paper's choices the smaller, for searches of hundreds of networks where it had thousands.
    fn default() -> Self {
        Self { population: 30, sample: 10 }
    }
}

/// Regularized evolution, also called aging evolution.
#[derive(Debug)]
pub struct Evolution {
    settings: Settings,
    effort: Effort,
    seed: u64,
    /// Numbers that were asked for.
    drawn: u64,
}

/// Name in studies.
pub const NAME: &str = "evolution";

/// One network alive.
struct Individual {
    answers: Vec<(Question, usize)>,
    score: f64,
}

impl Evolution {
    /// Evolution keyed by `seed`.
    pub fn new(settings: Settings, effort: Effort, seed: u64) -> Self {
        Self { settings, effort, seed, drawn: 0 }
    }
}

impl<S: SearchSpace> Strategy<S, dyn Evaluator + '_> for Evolution {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Algorithm 1. What a hard bound rules out is not born.
    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut population: VecDeque<Individual> = VecDeque::new();
        while !trials.is_over() {
            self.drawn += 1;
            let mut uniform = Uniform::new(self.seed, NAME, self.drawn);
            let (arch, answers) = if trials.n_trained() < self.settings.population {
                recorded(space, &mut uniform)
            } else {
                let mut rng = keyed::rng(self.seed, "evolution chance", self.drawn);
                let parent = self.select(&population, &mut rng);
                mutate(space, &parent.answers, &mut rng, &mut uniform)
            };
            if let Some(score) = trials.propose(&arch)?.score() {
                population.push_back(Individual { answers, score });
                if self.settings.population < population.len() {
                    population.pop_front();
                }
            }
        }
        Ok(trials.ranked())
    }
}

impl Evolution {
    /// The best of `S` networks drawn with replacement.
    fn select<'a>(&self, population: &'a VecDeque<Individual>, rng: &mut ChaCha8Rng) -> &'a Individual {
        let mut draw = || &population[below(rng, population.len())];
        let first = draw();
        (1..self.settings.sample).map(|_| draw()).fold(first, |a, b| if a.score < b.score { b } else { a })
    }
}

/// Another answer to one question.
fn mutate<S: SearchSpace>(
    space: &S,
    answers: &[(Question, usize)],
    rng: &mut ChaCha8Rng,
    rest: &mut Uniform,
) -> (S::Arch, Vec<(Question, usize)>) {
    let open: Vec<usize> = (0..answers.len()).filter(|&at| 1 < answers[at].0.options).collect();
    let at = open[below(rng, open.len())];
    let (question, answer) = answers[at];
    let other = (answer + 1 + below(rng, question.options - 1)) % question.options;
    recorded(space, &mut Edited::new(answers, (at, other), rest))
}

fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    keyed::below(rng, n as u32) as usize
}

/// An architecture with the answers that it stands for.
fn recorded<S: SearchSpace>(space: &S, chooser: &mut dyn crate::chooser::Chooser) -> (S::Arch, Vec<(Question, usize)>) {
    let mut recorded = Recorded::new(chooser);
    let arch = space.sample(&mut recorded);
    (arch, recorded.answers)
}
