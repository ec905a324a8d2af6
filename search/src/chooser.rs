//! A space asks, a chooser answers: uniform sampling, a learned controller and the replay of a
//! stored architecture are choosers for one description of a space.

use data::keyed::{self, ChaCha8Rng};

/// What sort of thing is being chosen; a controller keeps one output head for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// How many blocks or layers.
    Count,
    /// Which earlier node to read.
    Input,
    /// Which operation to apply.
    Op,
}

/// One open decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What sort of thing is chosen.
    pub kind: Kind,
    /// Number of answers; at least one.
    pub options: usize,
}

/// Answers the questions a space asks.
pub trait Chooser {
    /// Returns an index below `question.options`.
    fn choose(&mut self, question: Question) -> usize;

    /// Says that a node now exists which later [`Kind::Input`] questions may pick. A controller
    /// that attends to earlier decisions drops an anchor here; others do not care.
    fn define(&mut self) {}
}

/// Answers every question uniformly.
#[derive(Clone, Debug)]
pub struct Uniform {
    rng: ChaCha8Rng,
}

impl Uniform {
    /// A chooser whose answers depend on `(seed, purpose, step)` alone.
    pub fn new(seed: u64, purpose: &str, step: u64) -> Self {
        Self { rng: keyed::rng(seed, purpose, step) }
    }
}

impl Chooser for Uniform {
    fn choose(&mut self, question: Question) -> usize {
        keyed::below(&mut self.rng, question.options as u32) as usize
    }
}

/// Gives stored answers, then 0: the shortest way to write an architecture down.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    answers: &'a [usize],
}

impl<'a> Replay<'a> {
    /// Answers in the order of the questions; an answer too large for its question is cut to fit.
    pub fn new(answers: &'a [usize]) -> Self {
        Self { answers }
    }
}

impl Chooser for Replay<'_> {
    fn choose(&mut self, question: Question) -> usize {
        let Some((&first, rest)) = self.answers.split_first() else { return 0 };
        self.answers = rest;
        first.min(question.options - 1)
    }
}
