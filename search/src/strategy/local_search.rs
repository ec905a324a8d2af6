//! Local search (C. White, S. Nolen and Y. Savani, 2021): all neighbours of a network are trained, the best of them
//! is the next; where none is better, another random network is the start.

use data::keyed;

use super::{Chosen, Strategy};
use crate::{
    Result,
    chooser::{Edited, Recorded, Uniform, edits},
    evaluator::Evaluator,
    space::SearchSpace,
    study::Study,
    trials::{Effort, Trials},
};

/// Local search with restarts.
#[derive(Debug)]
pub struct LocalSearch {
    effort: Effort,
    seed: u64,
    drawn: u64,
}

/// Name in studies.
pub const NAME: &str = "local-search";

impl LocalSearch {
    /// Local search keyed by `seed`.
    pub fn new(effort: Effort, seed: u64) -> Self {
        Self { effort, seed, drawn: 0 }
    }

    fn uniform(&mut self) -> Uniform {
        self.drawn += 1;
        Uniform::new(self.seed, NAME, self.drawn)
    }
}

impl<S: SearchSpace> Strategy<S, dyn Evaluator + '_> for LocalSearch {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Each architecture is trained once; to come by it again costs nothing.
    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut known: Vec<(S::Arch, f64)> = Vec::new();
        while !trials.is_over() {
            let mut uniform = self.uniform();
            let mut start = Recorded::new(&mut uniform);
            let arch = space.sample(&mut start);
            let mut answers = start.answers;
            let Some(mut here) = score(&mut trials, &mut known, &arch)? else { continue };
            loop {
                let mut neighbours = edits(&answers);
                keyed::shuffle(&mut keyed::rng(self.seed, "local-search order", self.drawn), &mut neighbours);
                let mut best = None;
                for edit in neighbours {
                    let mut rest = self.uniform();
                    let mut edited = Edited::new(&answers, edit, &mut rest);
                    let mut recorded = Recorded::new(&mut edited);
                    let arch = space.sample(&mut recorded);
                    let Some(there) = score(&mut trials, &mut known, &arch)? else { continue };
                    if here < there {
                        (here, best) = (there, Some(recorded.answers));
                    }
                }
                match best {
                    Some(better) if !trials.is_over() => answers = better,
                    _ => break,
                }
            }
        }
        Ok(trials.ranked())
    }
}

/// Score of `arch`, trained unless it was before; `None` outside the hard bounds or when the effort is spent.
fn score<S: SearchSpace>(
    trials: &mut Trials<'_, S, dyn Evaluator + '_>,
    known: &mut Vec<(S::Arch, f64)>,
    arch: &S::Arch,
) -> Result<Option<f64>> {
    if let Some((_, score)) = known.iter().find(|(it, _)| it == arch) {
        return Ok(Some(*score));
    }
    if trials.is_over() {
        return Ok(None);
    }
    let told = trials.propose(arch)?.score();
    known.extend(told.map(|score| (arch.clone(), score)));
    Ok(told)
}
