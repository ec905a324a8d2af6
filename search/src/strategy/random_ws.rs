//! Random search with weight sharing (Li and Talwalkar, 2019): the same shared weights and the
//! same effort as a learned controller, and no controller. The row that every search is compared with.

use serde::{Deserialize, Serialize};

use super::{Chosen, Strategy, rank};
use crate::{
    Result,
    chooser::Uniform,
    evaluator::SharedWeights,
    space::{Scale, SearchSpace},
    study::{Phase, Signal, Study, Trial},
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
        if let Some((done, saved)) = study.resume::<Done>(NAME)? {
            self.done = done;
            child.restore(&saved)?;
        }
        let total = (self.settings.epochs * child.n_batches() + self.settings.scored) as u64;
        'training: while self.done.epochs < self.settings.epochs {
            for step in 0..child.n_batches() {
                let arch = self.sample(space);
                child.train_step(&space.build(&arch, &self.proxy)?)?;
                let done = (self.done.epochs * child.n_batches() + step + 1) as u64;
                if study.look(NAME, "training shared weights", done, total)? == Signal::WrapUp {
                    break 'training;
                }
            }
            self.done.epochs += 1;
            study.snapshot(NAME, &self.done, &child.save()?)?;
        }
        let scored = self.score(space, child, study, total)?;
        self.choose(space, child, study, scored)
    }
}

impl RandomWs {
    /// Scores random architectures within the budget, each on one validation minibatch.
    fn score<S: SearchSpace>(
        &mut self,
        space: &S,
        child: &mut dyn SharedWeights,
        study: &mut Study,
        total: u64,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut scored: Vec<Chosen<S::Arch>> = Vec::new();
        for _ in 0..self.settings.proposals {
            if scored.len() == self.settings.scored {
                break;
            }
            let arch = self.sample(space);
            let cost = child.cost(&space.build(&arch, &self.full)?)?;
            if study.budget.admits(&cost) {
                let accuracy = child.accuracy(&space.build(&arch, &self.proxy)?)?;
                let trial = Trial::new(NAME, Phase::Select, &arch, Some(accuracy), cost.clone());
                study.record(Trial { epoch: self.done.epochs, ..trial })?;
                scored.push(Chosen { arch, accuracy, cost });
            }
            let done = total - (self.settings.scored - scored.len()) as u64;
            // Late or not, there must be something to choose from.
            let enough = self.settings.finalists <= scored.len();
            if study.look(NAME, "scoring", done, total)? == Signal::WrapUp && enough {
                break;
            }
        }
        Ok(scored)
    }

    /// The best of the best, on the whole validation part.
    fn choose<S: SearchSpace>(
        &self,
        space: &S,
        child: &mut dyn SharedWeights,
        study: &Study,
        mut scored: Vec<Chosen<S::Arch>>,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        rank(&mut scored, &study.budget);
        scored.truncate(self.settings.finalists);
        for candidate in &mut scored {
            candidate.accuracy = child.validate(&space.build(&candidate.arch, &self.proxy)?)?;
        }
        rank(&mut scored, &study.budget);
        Ok(scored)
    }
}
