//! Random filling: what a greedy search of sets must beat where a budget leaves hardly any uniform network.
//!
//! Blocks are added in random order, each that still fits, until none does; the best of many such networks is the
//! answer. They use the budget up as greedy search does, and differ from it only in that no gain is looked at.

use data::keyed;

use super::{Chosen, Strategy};
use crate::{
    Result,
    evaluator::Evaluator,
    space::blocks::{BlockSpace, Chain, Element},
    study::Study,
    trials::{Effort, Trials},
};

/// Random filling of a budget.
#[derive(Debug)]
pub struct RandomFilling {
    effort: Effort,
    seed: u64,
}

/// Name in studies.
pub const NAME: &str = "random-filling";

/// Networks that are drawn together; they may be trained at once.
const TOGETHER: u64 = 8;

impl RandomFilling {
    /// Random filling keyed by `seed`.
    pub fn new(effort: Effort, seed: u64) -> Self {
        Self { effort, seed }
    }
}

impl Strategy<BlockSpace, dyn Evaluator + '_> for RandomFilling {
    fn name(&self) -> &'static str {
        NAME
    }

    fn search(
        &mut self,
        space: &BlockSpace,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<Chain>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut drawn = 0;
        while !trials.is_over() {
            let fidelity = trials.fidelity();
            let mut archs = Vec::new();
            for nth in drawn..drawn + TOGETHER.min(trials.n_left() as u64) {
                let fits = |set: &Chain| {
                    let cost = trials.cost(set)?;
                    Ok(trials.budget().admits(&cost))
                };
                archs.extend(filled(space, self.seed, nth, fits)?.map(|set| (set, fidelity)));
            }
            // The budget leaves not even a start.
            if archs.is_empty() {
                break;
            }
            drawn += archs.len() as u64;
            trials.propose_all(&archs, |_| None)?;
        }
        Ok(trials.ranked())
    }
}

/// The `nth` set of a seed to which nothing can be added that fits: from the layout's own start, or from none where that
/// does not fit. `None` where nothing fits at all.
///
/// `fits` is asked of sets that grow: what did not fit once is not asked again.
///
/// # Errors
/// Those of `fits`.
pub fn filled(
    space: &BlockSpace,
    seed: u64,
    nth: u64,
    mut fits: impl FnMut(&Chain) -> Result<bool>,
) -> Result<Option<Chain>> {
    let mut set = space.initial();
    if !fits(&set)? {
        set = space.empty();
        if !fits(&set)? {
            return Ok(None);
        }
    }
    let mut elements: Vec<Element> = space.elements().collect();
    keyed::shuffle(&mut keyed::rng(seed, NAME, nth), &mut elements);
    for element in elements {
        if set.has_at(element) {
            continue;
        }
        let with = space.with(&set, element);
        if fits(&with)? {
            set = with;
        }
    }
    Ok(Some(set))
}
