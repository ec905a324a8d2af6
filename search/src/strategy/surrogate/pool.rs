//! What may be trained next: every architecture that was thought of, and what is known of it.

use std::collections::HashMap;

use super::{
    NAME, Settings,
    kernel::{Alike, Units},
    sight::Sight,
};
use crate::{
    Result,
    chooser::{Chooser, Edited, Question, Recorded, Uniform, edits},
    evaluator::Evaluator,
    space::{Scale, SearchSpace},
    trials::{Effort, Trials},
};

/// Every architecture that was thought of.
pub(super) struct Pool<'a, S: SearchSpace> {
    space: &'a S,
    settings: &'a Settings,
    /// Size at which networks are looked at.
    scale: Scale,
    seed: u64,
    drawn: u64,
    pub(super) candidates: Vec<Candidate<S::Arch>>,
    by_answers: HashMap<Vec<usize>, usize>,
    /// Number of each pattern that was ever seen, by its hash.
    patterns: HashMap<u64, usize>,
    /// Candidates that were trained, in order.
    pub(super) trained: Vec<usize>,
    /// What they are worth: their scores.
    pub(super) worths: Vec<f64>,
    /// Their counts of patterns, by number.
    counts: Vec<Vec<f64>>,
}

/// An architecture and what is known of it.
pub(super) struct Candidate<A> {
    arch: A,
    answers: Vec<(Question, usize)>,
    pub(super) sight: Sight,
    pub(super) state: State,
    /// How alike it is to each network that was trained, as far as that was asked.
    pub(super) alike: Vec<Alike>,
    /// `L^-1 k`: its covariances with the networks that were trained, in the basis of the process.
    pub(super) solved: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// A hard bound rules it out.
    Refused,
    Trained,
    /// Trained, and its neighbours are candidates.
    Expanded,
}

impl<'a, S: SearchSpace> Pool<'a, S> {
    pub(super) fn new(space: &'a S, settings: &'a Settings, effort: &Effort, seed: u64) -> Self {
        // All cells are alike: one of each kind shows them all.
        let scale = Scale { layers: effort.proxy.layers.min(1), ..effort.proxy };
        Self {
            space,
            settings,
            scale,
            seed,
            drawn: 0,
            candidates: Vec::new(),
            by_answers: HashMap::new(),
            patterns: HashMap::new(),
            trained: Vec::new(),
            worths: Vec::new(),
            counts: Vec::new(),
        }
    }

    fn uniform(&mut self) -> Uniform {
        self.drawn += 1;
        Uniform::new(self.seed, NAME, self.drawn)
    }

    /// What `chooser` answers becomes a candidate, unless it is one already: its index, and whether it is new.
    fn add(&mut self, chooser: &mut dyn Chooser) -> Result<(usize, bool)> {
        let mut recorded = Recorded::new(chooser);
        let arch = self.space.sample(&mut recorded);
        let answers = recorded.answers;
        let key = answers.iter().map(|(_, answer)| *answer).collect();
        let next = self.candidates.len();
        let idx = *self.by_answers.entry(key).or_insert(next);
        if idx == next {
            let graph = self.space.build(&arch, &self.scale)?;
            let sight = Sight::of(&graph, self.settings.reach, &mut self.patterns);
            let (alike, solved) = (Vec::new(), Vec::new());
            self.candidates.push(Candidate { arch, answers, sight, state: State::Open, alike, solved });
        }
        Ok((idx, idx == next))
    }

    /// A uniform architecture that nobody has thought of; `None` if there seems to be no other.
    pub(super) fn draw(&mut self) -> Result<Option<usize>> {
        for _ in 0..EXHAUSTED {
            let mut uniform = self.uniform();
            if let (idx, true) = self.add(&mut uniform)? {
                return Ok(Some(idx));
            }
        }
        Ok(None)
    }

    /// Further candidates: uniform ones, and the neighbours of the best.
    pub(super) fn grow(&mut self) -> Result<()> {
        let n_drawn =
            if self.trained.len() == self.settings.n_initial() { self.settings.drawn } else { self.settings.fresh };
        for _ in 0..n_drawn {
            let mut uniform = self.uniform();
            self.add(&mut uniform)?;
        }
        let mut best: Vec<usize> = (0..self.trained.len()).collect();
        // Stable: of equals the earlier stays ahead.
        best.sort_by(|a, b| self.worths[*b].total_cmp(&self.worths[*a]));
        for nth in best.into_iter().take(self.settings.parents) {
            let parent = &mut self.candidates[self.trained[nth]];
            if parent.state == State::Trained {
                parent.state = State::Expanded;
                let answers = parent.answers.clone();
                for edit in edits(&answers) {
                    let mut rest = self.uniform();
                    self.add(&mut Edited::new(&answers, edit, &mut rest))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn propose(&mut self, idx: usize, trials: &mut Trials<'_, S, dyn Evaluator + '_>) -> Result<()> {
        let candidate = &mut self.candidates[idx];
        candidate.state = State::Refused;
        if let Some(score) = trials.propose(&candidate.arch)?.score() {
            candidate.state = State::Trained;
            self.trained.push(idx);
            self.worths.push(score);
            let mut counts = vec![0.0; self.patterns.len()];
            candidate.sight.patterns.iter().for_each(|&(pattern, n)| counts[pattern] = n);
            self.counts.push(counts);
        }
        Ok(())
    }

    /// How alike a candidate is to the `nth` network that was trained.
    pub(super) fn alike(&self, idx: usize, nth: usize, units: &Units) -> Alike {
        let (a, b) = (&self.candidates[idx], &self.candidates[self.trained[nth]]);
        let n_same = a.answers.iter().zip(&b.answers).filter(|(a, b)| a == b).count();
        let n_answers = a.answers.len().max(b.answers.len());
        // A pattern of a higher number was not seen then.
        let count = |pattern: usize| self.counts[nth].get(pattern).copied().unwrap_or(0.0);
        let patterns = a.sight.patterns.iter().map(|&(pattern, n)| n * count(pattern)).sum();
        let squares =
            a.sight.sizes.iter().zip(&b.sight.sizes).zip(units).map(|((a, b), unit)| ((a - b) / unit).powi(2));
        let sizes = (squares.sum::<f64>() / units.len() as f64).sqrt();
        Alike { answers: 1.0 - n_same as f64 / n_answers as f64, sizes, patterns }
    }
}

/// Draws that nothing new comes of in a row until a space counts as exhausted.
const EXHAUSTED: usize = 1000;

/// Standard deviation of each size.
pub(super) fn units<A>(candidates: &[Candidate<A>]) -> Units {
    let n = candidates.len() as f64;
    std::array::from_fn(|nth| {
        let size = |it: &Candidate<A>| it.sight.sizes[nth];
        let mean = candidates.iter().map(size).sum::<f64>() / n;
        let variance = candidates.iter().map(|it| (size(it) - mean).powi(2)).sum::<f64>() / n;
        variance.sqrt().max(1e-3)
    })
}
