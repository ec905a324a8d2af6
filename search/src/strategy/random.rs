//! Random search: what every other strategy must beat at equal cost.

use super::{Chosen, Strategy};
use crate::{
    Result,
    chooser::Uniform,
    evaluator::Evaluator,
    space::SearchSpace,
    study::Study,
    trials::{Effort, Trials},
};

/// Random search: independent uniform architectures, the best of which is the answer.
#[derive(Debug)]
pub struct Random {
    effort: Effort,
    seed: u64,
}

/// Name in studies.
pub const NAME: &str = "random";

/// Architectures that are drawn together; they may be trained at once.
const TOGETHER: usize = 8;

impl Random {
    /// Random search keyed by `seed`.
    pub fn new(effort: Effort, seed: u64) -> Self {
        Self { effort, seed }
    }
}

impl<S: SearchSpace> Strategy<S, dyn Evaluator + '_> for Random {
    fn name(&self) -> &'static str {
        NAME
    }

    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut drawn = 0;
        while !trials.is_over() {
            let fidelity = trials.fidelity();
            let draw = |nth| (space.sample(&mut Uniform::new(self.seed, NAME, nth)), fidelity);
            let n = TOGETHER.min(trials.n_left()) as u64;
            let archs: Vec<_> = (drawn..drawn + n).map(draw).collect();
            drawn += n;
            trials.propose_all(&archs, |_| None)?;
        }
        Ok(trials.ranked())
    }
}
