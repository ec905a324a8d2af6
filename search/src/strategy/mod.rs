//! One file a paper, or a folder of its parts. A strategy owns its loop; what it calls is shared.

pub mod asha;
pub mod benas;
pub mod bsn;
pub mod enas;
pub mod epnas;
pub mod evolution;
pub mod local_search;
pub mod nas_rl;
pub mod nasnet;
pub mod neural_architect;
pub mod random;
pub mod random_ws;
pub mod rcas;
pub mod reinforce;
pub mod surrogate;

use crate::{Result, space::SearchSpace, study::Study};

/// Searches `S` with the access `E` gives to networks.
pub trait Strategy<S: SearchSpace, E: ?Sized> {
    /// Name in studies and on the command line.
    fn name(&self) -> &'static str;

    /// Runs to the end. Returns candidates that every hard bound admits, the best first; none when
    /// none was found.
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
