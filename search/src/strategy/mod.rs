//! One file a paper, or a folder of its parts. A strategy owns its loop; what it calls is shared.

pub mod asha;
pub mod benas;
pub mod bsn;
pub mod darts;
pub mod enas;
pub mod epnas;
pub mod evolution;
pub mod local_search;
pub mod nas_rl;
pub mod nasnet;
pub mod neural_architect;
pub mod random;
pub mod random_filling;
pub mod random_ws;
pub mod rcas;
pub mod reinforce;
pub mod surrogate;

use targets::Budget;

use crate::{Result, penalty, space::SearchSpace, study::Study};

/// Searches `S` with the access `E` gives to networks.
pub trait Strategy<S: SearchSpace, E: ?Sized> {
    /// Name in studies and on the command line.
    fn name(&self) -> &'static str;

    /// Runs to the end. Returns candidates that every hard bound admits, the best first; none when
    /// none was found. Of two as accurate the one within the soft bounds comes first.
    fn search(&mut self, space: &S, evaluator: &mut E, study: &mut Study) -> Result<Vec<Chosen<S::Arch>>>;
}

/// A candidate for the answer of a search.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Chosen<A> {
    /// The architecture.
    pub arch: A,
    /// Its accuracy on the whole validation part with shared weights, in `[0, 1]`.
    pub accuracy: f64,
    /// Its cost at the deployed size.
    pub cost: targets::Cost,
}

impl<A> Chosen<A> {
    /// What networks are compared by: accuracy, times what soft bounds leave of it.
    pub fn score(&self, budget: &Budget) -> f64 {
        self.accuracy * penalty::soft(budget, &self.cost)
    }
}

/// What is left of ranked candidates: the one to answer with, if there is one, and those that were refused.
pub type Answer<A> = (Option<Chosen<A>>, Vec<Chosen<A>>);

/// The first of `ranked` that is still first once `measure` has replaced what is only estimated of it, and those before
/// it that turned out to break a hard bound; `None` where all do.
///
/// The strategy's order stands, unless a soft bound turns out further away than it seemed and a candidate's score falls:
/// the next one whose score is then higher, by what is known of it, is measured in turn.
///
/// # Errors
/// Those of `measure`.
pub fn first_measured<A, E>(
    ranked: Vec<Chosen<A>>,
    budget: &Budget,
    mut measure: impl FnMut(&mut Chosen<A>) -> std::result::Result<(), E>,
) -> std::result::Result<Answer<A>, E> {
    let mut best: Option<Chosen<A>> = None;
    let mut refused = Vec::new();
    for mut candidate in ranked {
        let estimated = candidate.score(budget);
        if best.as_ref().is_some_and(|best| estimated <= best.score(budget)) {
            continue;
        }
        measure(&mut candidate)?;
        let measured = candidate.score(budget);
        if !budget.admits(&candidate.cost) {
            refused.push(candidate);
        } else if best.as_ref().is_none_or(|best| best.score(budget) < measured) {
            best = Some(candidate);
            if estimated <= measured {
                break;
            }
        }
    }
    Ok((best, refused))
}

/// Puts the highest score first; of equals the one that is less far outside of the soft bounds, then the more accurate,
/// then the earlier.
pub fn rank<A>(found: &mut [Chosen<A>], budget: &Budget) {
    let outside = |it: &Chosen<A>| penalty::outside(budget, &it.cost);
    found.sort_by(|a, b| {
        let by_score = b.score(budget).total_cmp(&a.score(budget));
        // Far beyond a bound nothing is left of any accuracy, and networks are nearer to it or further from it all the
        // same.
        by_score.then_with(|| outside(a).total_cmp(&outside(b))).then_with(|| b.accuracy.total_cmp(&a.accuracy))
    });
}
