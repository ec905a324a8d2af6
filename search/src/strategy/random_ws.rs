//! Random search with weight sharing (Li and Talwalkar, 2019): the same shared weights and the
//! same effort as a learned controller, and no controller. The row that every search is compared with.

use graph::weights::Weights;
use serde::{Deserialize, Serialize};

use super::{Chosen, Strategy, rank};
use crate::{
    Result,
    children::Children,
    chooser::Uniform,
    evaluator::SharedWeights,
    space::{Scale, SearchSpace},
    study::{Phase, Signal, Study},
};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Passes over the training images, one random architecture a minibatch.
    pub epochs: usize,
    /// Architectures scored on one validation minibatch; as many as the compared strategy scores.
    pub scored: usize,
    /// The best of them, scored on the whole validation part.
    pub finalists: usize,
    /// Architectures drawn at most while it looks for ones within the budget.
    pub proposals: usize,
}

/// Random search with weight sharing.
#[derive(Debug)]
pub struct RandomWs {
    settings: Settings,
    proxy: Scale,
    full: Scale,
    seed: u64,
    done: Done,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Done {
    epochs: usize,
    sampled: u64,
}

/// Name in studies.
pub const NAME: &str = "random-ws";

impl RandomWs {
    /// Random search of children of size `proxy`, for networks of size `full`.
    pub fn new(settings: Settings, proxy: Scale, full: Scale, seed: u64) -> Self {
        Self { settings, proxy, full, seed, done: Done::default() }
    }

    fn sample<S: SearchSpace>(&mut self, space: &S) -> S::Arch {
        self.done.sampled += 1;
        space.sample(&mut Uniform::new(self.seed, NAME, self.done.sampled))
    }
}

impl<S: SearchSpace> Strategy<S, dyn SharedWeights + '_> for RandomWs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn search(
        &mut self,
        space: &S,
        child: &mut (dyn SharedWeights + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut children = Children::new(NAME, space, child, study, [self.proxy, self.full]);
        if let Some((done, _)) = children.resume()? {
            self.done = done;
        }
        let total = self.settings.epochs * children.n_batches() + self.settings.scored;
        'training: while self.done.epochs < self.settings.epochs {
            for step in 0..children.n_batches() {
                let arch = self.sample(space);
                children.train(&arch)?;
                let done = self.done.epochs * children.n_batches() + step + 1;
                if children.look("training shared weights", done, total)? == Signal::WrapUp {
                    break 'training;
                }
            }
            self.done.epochs += 1;
            children.snapshot(&self.done, Weights::default())?;
        }
        children.epoch(self.done.epochs);
        let scored = self.score(&mut children, total)?;
        self.choose(&mut children, scored)
    }
}

impl RandomWs {
    /// Scores random architectures within the budget, each on one validation minibatch.
    fn score<S: SearchSpace>(&mut self, children: &mut Children<'_, S>, total: usize) -> Result<Vec<Chosen<S::Arch>>> {
        let mut scored: Vec<Chosen<S::Arch>> = Vec::new();
        for _ in 0..self.settings.proposals {
            if scored.len() == self.settings.scored {
                break;
            }
            let arch = self.sample(children.space);
            let cost = children.cost(&arch)?;
            if children.budget().admits(&cost) {
                let accuracy = children.accuracy(&arch)?;
                children.record(Phase::Select, &arch, Some(accuracy), cost.clone(), None)?;
                scored.push(Chosen { arch, accuracy, cost });
            }
            let done = total - (self.settings.scored - scored.len());
            // Late or not, there must be something to choose from.
            let enough = self.settings.finalists <= scored.len();
            if children.look("scoring", done, total)? == Signal::WrapUp && enough {
                break;
            }
        }
        Ok(scored)
    }

    /// The best of the best, on the whole validation part.
    fn choose<S: SearchSpace>(
        &self,
        children: &mut Children<'_, S>,
        mut scored: Vec<Chosen<S::Arch>>,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        rank(&mut scored, children.budget());
        scored.truncate(self.settings.finalists);
        for candidate in &mut scored {
            candidate.accuracy = children.validate(&candidate.arch)?;
        }
        rank(&mut scored, children.budget());
        Ok(scored)
    }
}
