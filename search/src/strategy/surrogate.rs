//! Model-based search, a strategy of our own: a Gaussian process learns from the networks that were trained which
//! others are worth it, and the one that promises the largest gain is trained next.
//!
//! The loop is efficient global optimization (D. R. Jones, M. Schonlau and W. J. Welch, 1998); the process and its
//! marginal likelihood are those of C. E. Rasmussen and C. K. I. Williams (2006, chapters 2 and 5). Networks are
//! compared by Weisfeiler-Lehman's counts of patterns in their graphs, as NAS-BOWL does (B. Ru, X. Wan, X. Dong and
//! M. Osborne, 2021), and candidates are neighbours of the best networks, as in BANANAS (C. White, W. Neiswanger and
//! Y. Savani, 2021). Accuracies count by their ranks alone (D. Salinas, H. Shen and V. Perrone, 2020), so that
//! networks that learned nothing do not drown the differences among good ones.
//!
//! Ours is what a network is seen as: its answers, which say where it stands in the space; and the patterns and sizes
//! of that part of its graph which carries the image to the output, in which a branch that leads nowhere does not
//! appear. How far each of the three is believed is learned. What a hard bound rules out is known before anything is
//! trained, so it needs no model: the next best candidate is taken.

use std::collections::HashMap;

use graph::{Graph, NodeId, Op};
use serde::{Deserialize, Serialize};

use super::{Chosen, Strategy};
use crate::{
    Result,
    chooser::{Chooser, Edited, Question, Recorded, Uniform, edits},
    evaluator::Evaluator,
    space::{Scale, SearchSpace},
    study::Study,
    trials::{Effort, Trials},
};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Networks drawn uniformly that are trained before anything is learned; at least two.
    pub initial: usize,
    /// Candidates drawn uniformly when learning begins.
    pub drawn: usize,
    /// Candidates drawn uniformly for each further network.
    pub fresh: usize,
    /// Best networks whose neighbours are candidates.
    pub parents: usize,
    /// `h`: how far around a node its Weisfeiler-Lehman pattern reaches.
    pub reach: usize,
    /// What the process believes is found again once it has this many times the trainings.
    pub refit: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { initial: 10, drawn: 100, fresh: 5, parents: 20, reach: 1, refit: 1.5 }
    }
}

impl Settings {
    /// Of a single network nothing can be learned.
    fn n_initial(&self) -> usize {
        self.initial.max(2)
    }
}

/// Model-based search.
#[derive(Debug)]
pub struct Surrogate {
    settings: Settings,
    effort: Effort,
    seed: u64,
}

/// Name in studies.
pub const NAME: &str = "surrogate";

impl Surrogate {
    /// Model-based search keyed by `seed`.
    pub fn new(settings: Settings, effort: Effort, seed: u64) -> Self {
        Self { settings, effort, seed }
    }
}

impl<S: SearchSpace> Strategy<S, dyn Evaluator + '_> for Surrogate {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Networks within the soft bounds come first. Ends early where every architecture of the space was proposed.
    fn search(
        &mut self,
        space: &S,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<S::Arch>>> {
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        let mut pool = Pool::new(space, &self.settings, &self.effort, self.seed);
        while !trials.is_over() && trials.n_trained() < self.settings.n_initial() {
            let Some(idx) = pool.draw()? else { break };
            pool.propose(idx, &mut trials)?;
        }
        let mut process = Process::default();
        while !trials.is_over() && self.settings.n_initial() <= trials.n_trained() {
            pool.grow()?;
            let scores = normal_scores(&pool.worths);
            process.learn(&mut pool, &scores, self.settings.refit);
            let mut gains = process.gains(&mut pool, &scores);
            gains.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            // The first that the hard bounds admit is trained.
            let n_trained = trials.n_trained();
            for (idx, _) in gains {
                if trials.is_over() || n_trained < trials.n_trained() {
                    break;
                }
                pool.propose(idx, &mut trials)?;
            }
            // A pool without candidates is that of a small space or of a narrow budget.
            if n_trained == trials.n_trained() && !trials.is_over() {
                let Some(idx) = pool.draw()? else { break };
                pool.propose(idx, &mut trials)?;
            }
        }
        let mut ranked = trials.ranked();
        // Stable: among equals accuracy decides.
        ranked.sort_by_key(|it| study.budget.excesses(&it.cost).any(|excess| 0.0 < excess));
        Ok(ranked)
    }
}

/// Every architecture that was thought of.
struct Pool<'a, S: SearchSpace> {
    space: &'a S,
    settings: &'a Settings,
    /// Size at which networks are looked at.
    scale: Scale,
    seed: u64,
    drawn: u64,
    candidates: Vec<Candidate<S::Arch>>,
    by_answers: HashMap<Vec<usize>, usize>,
    /// Number of each pattern that was ever seen, by its hash.
    patterns: HashMap<u64, usize>,
    /// Candidates that were trained, in order.
    trained: Vec<usize>,
    /// What they are worth: accuracy, or less than any accuracy outside the soft bounds.
    worths: Vec<f64>,
    /// Their counts of patterns, by number.
    counts: Vec<Vec<f64>>,
}

/// An architecture and what is known of it.
struct Candidate<A> {
    arch: A,
    answers: Vec<(Question, usize)>,
    sight: Sight,
    state: State,
    /// How alike it is to each network that was trained, as far as that was asked.
    alike: Vec<Alike>,
    /// `L^-1 k`: its covariances with the networks that were trained, in the basis of the process.
    solved: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A hard bound rules it out.
    Refused,
    Trained,
    /// Trained, and its neighbours are candidates.
    Expanded,
}

impl<'a, S: SearchSpace> Pool<'a, S> {
    fn new(space: &'a S, settings: &'a Settings, effort: &Effort, seed: u64) -> Self {
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
    fn draw(&mut self) -> Result<Option<usize>> {
        for _ in 0..EXHAUSTED {
            let mut uniform = self.uniform();
            if let (idx, true) = self.add(&mut uniform)? {
                return Ok(Some(idx));
            }
        }
        Ok(None)
    }

    /// Further candidates: uniform ones, and the neighbours of the best.
    fn grow(&mut self) -> Result<()> {
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

    fn propose(&mut self, idx: usize, trials: &mut Trials<'_, S, dyn Evaluator + '_>) -> Result<()> {
        let candidate = &mut self.candidates[idx];
        candidate.state = State::Refused;
        let told = trials.propose(&candidate.arch)?;
        if let Some(accuracy) = told.accuracy {
            candidate.state = State::Trained;
            self.trained.push(idx);
            self.worths.push(if 0.0 < told.excess { -told.excess } else { accuracy });
            let mut counts = vec![0.0; self.patterns.len()];
            candidate.sight.patterns.iter().for_each(|&(pattern, n)| counts[pattern] = n);
            self.counts.push(counts);
        }
        Ok(())
    }

    /// How alike a candidate is to the `nth` network that was trained.
    fn alike(&self, idx: usize, nth: usize, units: &Units) -> Alike {
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

/// Three ways in which two networks are alike.
#[derive(Clone, Copy)]
struct Alike {
    /// Share of the answers that differ.
    answers: f64,
    /// Distance of the sizes, each in units of its spread.
    sizes: f64,
    /// Cosine of the counts of patterns.
    patterns: f64,
}

/// How far each size varies.
type Units = [f64; N_SIZES];

/// Worths by rank: the quantiles that a normal sample of as many would have. Of equals each has the middle rank.
fn normal_scores(worths: &[f64]) -> Vec<f64> {
    let mut sorted = worths.to_vec();
    sorted.sort_by(f64::total_cmp);
    let score = |it: &f64| {
        let ranks = sorted.partition_point(|other| other < it) + sorted.partition_point(|other| other <= it);
        normal_quantile(ranks as f64 / (2 * sorted.len()) as f64)
    };
    worths.iter().map(score).collect()
}

/// A Gaussian process over architectures.
#[derive(Default)]
struct Process {
    beliefs: Beliefs,
    /// How far each size varies among the first candidates.
    units: Option<Units>,
    /// Row `i`: how alike the `i`-th network that was trained is to each before it, and to itself.
    alike: Vec<Vec<Alike>>,
    /// `L`, the Cholesky factor of the covariances, by rows.
    factor: Vec<Vec<f64>>,
    /// Trainings from which on the beliefs are found again.
    next_fit: f64,
}

/// Hyper-parameters, as logarithms.
#[derive(Clone, Copy)]
struct Beliefs {
    /// Weights of answers, sizes and patterns.
    weights: [f64; 3],
    /// Variance of luck.
    noise: f64,
    /// Share of the answers over which covariance decays.
    answers: f64,
    /// Distance of the sizes over which it decays.
    sizes: f64,
}

impl Default for Beliefs {
    /// What is believed before anything was trained.
    fn default() -> Self {
        Self { weights: [0.0; 3], noise: -1.0, answers: -0.8, sizes: 1.0 }
    }
}

impl Beliefs {
    fn each(&mut self) -> [&mut f64; 6] {
        let [a, b, c] = &mut self.weights;
        [a, b, c, &mut self.noise, &mut self.answers, &mut self.sizes]
    }

    fn kernel(&self) -> Kernel {
        let Self { weights, noise, answers, sizes } = *self;
        Kernel { weights: weights.map(f64::exp), noise: noise.exp(), answers: answers.exp(), sizes: sizes.exp() }
    }
}

/// [`Beliefs`] as they are multiplied with.
struct Kernel {
    weights: [f64; 3],
    noise: f64,
    answers: f64,
    sizes: f64,
}

impl Kernel {
    /// Covariance: exponential in the answers that differ, Matern's with 5/2 in the sizes, linear in the patterns.
    fn of(&self, alike: &Alike) -> f64 {
        let r = 5_f64.sqrt() * alike.sizes / self.sizes;
        let by_answers = (-alike.answers / self.answers).exp();
        let by_sizes = (1.0 + r + r * r / 3.0) * (-r).exp();
        self.weights[0] * by_answers + self.weights[1] * by_sizes + self.weights[2] * alike.patterns
    }
}

impl Process {
    /// Takes up the networks trained since, and finds its beliefs again when it is time.
    fn learn<S: SearchSpace>(&mut self, pool: &mut Pool<'_, S>, scores: &[f64], refit: f64) {
        let units = *self.units.get_or_insert_with(|| units(&pool.candidates));
        for (nth, &idx) in pool.trained.iter().enumerate().skip(self.alike.len()) {
            self.alike.push((0..=nth).map(|other| pool.alike(idx, other, &units)).collect());
        }
        if self.next_fit <= scores.len() as f64 {
            self.next_fit = refit * scores.len() as f64;
            self.fit(scores);
            self.factor.clear();
            pool.candidates.iter_mut().for_each(|it| it.solved.clear());
        }
        let kernel = self.beliefs.kernel();
        for row in &self.alike[self.factor.len()..] {
            extend(&mut self.factor, row, &kernel);
        }
    }

    /// Beliefs of higher marginal likelihood: each is moved up and down in turn, in steps that shrink.
    fn fit(&mut self, scores: &[f64]) {
        let mut least = self.surprise(&self.beliefs, scores);
        for step in [1.0, 0.6] {
            for nth in 0..self.beliefs.each().len() {
                for step in [step, -step] {
                    let mut moved = self.beliefs;
                    *moved.each()[nth] += step;
                    let surprise = self.surprise(&moved, scores);
                    if surprise < least {
                        (least, self.beliefs) = (surprise, moved);
                        break;
                    }
                }
            }
        }
    }

    /// The negative logarithm of the likelihood of `scores`, at the scale that makes it smallest, and of the beliefs
    /// themselves: a handful of networks is no reason to move far.
    fn surprise(&self, beliefs: &Beliefs, scores: &[f64]) -> f64 {
        let kernel = beliefs.kernel();
        let mut factor = Vec::with_capacity(scores.len());
        self.alike.iter().for_each(|row| extend(&mut factor, row, &kernel));
        let n = scores.len() as f64;
        let residuals = forward(&factor, scores);
        let determinant: f64 = factor.iter().filter_map(|row| row.last()).map(|it| it.ln()).sum();
        let moved = |(a, b): (&mut f64, &mut f64)| (*a - *b).powi(2);
        let far: f64 = { *beliefs }.each().into_iter().zip(Beliefs::default().each()).map(moved).sum();
        0.5 * n * (dot(&residuals, &residuals) / n).max(f64::MIN_POSITIVE).ln() + determinant + STIFFNESS * far
    }

    /// Expected improvement of each candidate that may be trained.
    fn gains<S: SearchSpace>(&self, pool: &mut Pool<'_, S>, scores: &[f64]) -> Vec<(usize, f64)> {
        let kernel = self.beliefs.kernel();
        let units = self.units.expect("it has learned");
        let residuals = forward(&self.factor, scores);
        // Where all are equal the least known comes first.
        let scale = (dot(&residuals, &residuals) / scores.len() as f64).sqrt().max(1e-9);
        let best = scores.iter().copied().fold(f64::MIN, f64::max);
        let mut gains = Vec::new();
        for idx in 0..pool.candidates.len() {
            if pool.candidates[idx].state != State::Open {
                continue;
            }
            for nth in pool.candidates[idx].alike.len()..scores.len() {
                let alike = pool.alike(idx, nth, &units);
                pool.candidates[idx].alike.push(alike);
            }
            let Candidate { alike, solved, sight, .. } = &mut pool.candidates[idx];
            for nth in solved.len()..scores.len() {
                let row = &self.factor[nth];
                let rest = kernel.of(&alike[nth]) - dot(&row[..nth], solved);
                solved.push(rest / row[nth]);
            }
            // The counts have length 1, if there are any.
            let itself = Alike { answers: 0.0, sizes: 0.0, patterns: f64::from(!sight.patterns.is_empty()) };
            let variance = kernel.of(&itself) - dot(solved, solved);
            let deviation = scale * variance.max(1e-9).sqrt();
            let ahead = (dot(solved, &residuals) - best) / deviation;
            // Where no gain is to be expected the one nearest to it comes first.
            let gain = deviation * (ahead * normal_cdf(ahead) + normal_density(ahead)) + 1e-12 * ahead;
            gains.push((idx, gain));
        }
        gains
    }
}

/// Weight of the squared distance of beliefs from those at the start.
const STIFFNESS: f64 = 0.05;

/// Adds a row to a Cholesky factor. What would make the covariances singular counts as a little more luck.
fn extend(factor: &mut Vec<Vec<f64>>, alike: &[Alike], kernel: &Kernel) {
    let (itself, others) = alike.split_last().expect("it is like itself");
    let mut row: Vec<f64> = Vec::with_capacity(alike.len());
    for (other, alike) in factor.iter().zip(others) {
        let rest = kernel.of(alike) - dot(&other[..row.len()], &row);
        row.push(rest / other[row.len()]);
    }
    let rest = kernel.of(itself) + kernel.noise - dot(&row, &row);
    row.push(rest.max(1e-9).sqrt());
    factor.push(row);
}

/// `L^-1 y`.
fn forward(factor: &[Vec<f64>], scores: &[f64]) -> Vec<f64> {
    let mut solved = Vec::with_capacity(scores.len());
    for (row, score) in factor.iter().zip(scores) {
        let rest = score - dot(&row[..solved.len()], &solved);
        solved.push(rest / row[solved.len()]);
    }
    solved
}

/// In four sums side by side, which the processor adds at once.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a, b) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Standard deviation of each size.
fn units<A>(candidates: &[Candidate<A>]) -> Units {
    let n = candidates.len() as f64;
    std::array::from_fn(|nth| {
        let size = |it: &Candidate<A>| it.sight.sizes[nth];
        let mean = candidates.iter().map(size).sum::<f64>() / n;
        let variance = candidates.iter().map(|it| (size(it) - mean).powi(2)).sum::<f64>() / n;
        variance.sqrt().max(1e-3)
    })
}

/// Abramowitz and Stegun, 26.2.17; wrong by 7.5e-8 at most.
fn normal_cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let powers = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let above = normal_density(x) * t * powers.iter().rev().fold(0.0, |sum, factor| sum * t + factor);
    if x < 0.0 { above } else { 1.0 - above }
}

fn normal_density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// Abramowitz and Stegun, 26.2.23; wrong by 4.5e-4 at most. `p` lies inside 0 and 1.
fn normal_quantile(p: f64) -> f64 {
    let t = (-2.0 * p.min(1.0 - p).ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let x = t - above / below;
    if p < 0.5 { -x } else { x }
}

/// What the process sees of a graph: of the part that the image reaches and that reaches the output.
struct Sight {
    sizes: [f64; N_SIZES],
    /// Patterns by number, and the logarithm of how many there are; of length 1 together.
    patterns: Vec<(usize, f64)>,
}

/// Sizes of a network: see [`Sight::of`].
const N_SIZES: usize = 11;

/// A node of the part that counts.
struct Seen {
    id: NodeId,
    /// What it reads, as indices of such nodes.
    inputs: Vec<usize>,
    /// What of it patterns see: they look through norms and activations.
    shown: usize,
    paths: Paths,
}

/// The ways from the image to a node, a step for each convolution or linear layer.
#[derive(Clone, Copy, Default)]
struct Paths {
    /// Logarithm of their number.
    ways: f64,
    /// Mean of their steps and of the squares of those.
    mean: f64,
    square: f64,
    least: f64,
    most: f64,
}

impl Paths {
    fn joined(parts: &[Self]) -> Self {
        let most = |of: fn(&Self) -> f64| parts.iter().map(of).fold(f64::MIN, f64::max);
        let ahead = most(|it| it.ways);
        let ways = ahead + parts.iter().map(|it| (it.ways - ahead).exp()).sum::<f64>().ln();
        let mean = |of: fn(&Self) -> f64| parts.iter().map(|it| (it.ways - ways).exp() * of(it)).sum();
        Self {
            ways,
            mean: mean(|it| it.mean),
            square: mean(|it| it.square),
            least: -most(|it| -it.least),
            most: most(|it| it.most),
        }
    }

    fn step(self) -> Self {
        let Self { ways, mean, square, least, most } = self;
        Self { ways, mean: mean + 1.0, square: square + 2.0 * mean + 1.0, least: least + 1.0, most: most + 1.0 }
    }

    fn spread(&self) -> f64 {
        (self.square - self.mean * self.mean).max(0.0).sqrt()
    }
}

impl Sight {
    /// Sizes are logarithms. A network whose output does not depend on the image has none, and no patterns.
    fn of(graph: &Graph, reach: usize, known: &mut HashMap<u64, usize>) -> Self {
        let seen = seen(graph);
        let Some(last) = seen.last() else { return Self { sizes: [0.0; N_SIZES], patterns: Vec::new() } };
        let [mut macs, mut weights, mut written, mut convs, mut pools, mut sums] = [0_usize; 6];
        for node in &seen {
            let (op, n) = (graph.op(node.id), graph.shape(node.id).elements());
            written += n;
            let channels = |nth: usize| graph.shape(graph.inputs(node.id)[nth]).channels();
            match op {
                Op::Conv2d(conv) => {
                    let taps = conv.taps(channels(0));
                    macs += taps * n;
                    weights += taps * conv.channels;
                    convs += 1;
                }
                Op::Linear(features) => {
                    macs += channels(0) * features;
                    weights += channels(0) * features;
                    convs += 1;
                }
                Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool => pools += 1,
                Op::Add | Op::Concat => sums += 1,
                Op::Input | Op::BatchNorm | Op::Activation(_) | Op::Identity | Op::Zero(_) => {}
            }
        }
        let [macs, weights, written, convs, pools, sums] =
            [macs, weights, written, convs, pools, sums].map(|it| (it as f64).ln_1p());
        let Paths { ways, mean, least, most, .. } = last.paths;
        let [mean, least, most, spread] = [mean, least, most, last.paths.spread()].map(f64::ln_1p);
        let sizes = [macs, weights, written, convs, pools, sums, ways, mean, least, most, spread];
        Self { sizes, patterns: patterns(graph, &seen, reach, known) }
    }
}

/// The nodes that the image reaches and that reach the output, without those that pass on what they read.
fn seen(graph: &Graph) -> Vec<Seen> {
    // Where the image arrives: for each node the one whose output it has.
    let mut arrives: Vec<Option<NodeId>> = Vec::with_capacity(graph.n_nodes());
    for id in graph.ids() {
        let inputs = || graph.inputs(id).iter().filter_map(|input| arrives[input.index()]);
        let first = inputs().next();
        arrives.push(match graph.op(id) {
            Op::Input => Some(id),
            Op::Zero(_) => None,
            Op::Identity => first,
            Op::Add if inputs().count() == 1 => first,
            _ => first.map(|_| id),
        });
    }
    let mut is_read = vec![false; graph.n_nodes()];
    let output = graph.output().and_then(|it| arrives[it.index()]);
    let Some(output) = output else { return Vec::new() };
    is_read[output.index()] = true;
    let sources = |id: NodeId| graph.inputs(id).iter().filter_map(|input| arrives[input.index()]);
    for id in graph.ids().rev().filter(|it| it.index() <= output.index()) {
        if is_read[id.index()] {
            sources(id).for_each(|it| is_read[it.index()] = true);
        }
    }
    let mut places = vec![usize::MAX; graph.n_nodes()];
    let mut seen: Vec<Seen> = Vec::new();
    for id in graph.ids().filter(|it| is_read[it.index()]) {
        let inputs: Vec<usize> = sources(id).map(|it| places[it.index()]).collect();
        let before: Vec<Paths> = inputs.iter().map(|it| seen[*it].paths).collect();
        let paths = if before.is_empty() { Paths::default() } else { Paths::joined(&before) };
        let is_step = matches!(graph.op(id), Op::Conv2d(_) | Op::Linear(_));
        let is_thin = matches!(graph.op(id), Op::BatchNorm | Op::Activation(_));
        places[id.index()] = seen.len();
        let shown = if is_thin { seen[inputs[0]].shown } else { seen.len() };
        seen.push(Seen { id, inputs, shown, paths: if is_step { paths.step() } else { paths } });
    }
    seen
}

/// Weisfeiler and Lehman: a node's pattern is its operation, and then, `reach` times, its pattern with those of the
/// nodes that it reads.
fn patterns(graph: &Graph, seen: &[Seen], reach: usize, known: &mut HashMap<u64, usize>) -> Vec<(usize, f64)> {
    let shown: Vec<usize> = (0..seen.len()).filter(|it| seen[*it].shown == *it).collect();
    let mut pattern: Vec<u64> = seen.iter().map(|it| operation(graph.op(it.id))).collect();
    let mut all = Vec::with_capacity(shown.len() * (reach + 1));
    for round in 0..=reach {
        all.extend(shown.iter().map(|it| mixed(round as u64, pattern[*it])));
        let before = pattern.clone();
        for &idx in &shown {
            // A sum: inputs have no order.
            let read = seen[idx].inputs.iter().map(|it| mixed(1, before[seen[*it].shown]));
            pattern[idx] = mixed(before[idx], read.fold(0, u64::wrapping_add));
        }
    }
    all.sort_unstable();
    let counted = all.chunk_by(|a, b| a == b).map(|same| {
        let next = known.len();
        (*known.entry(same[0]).or_insert(next), (same.len() as f64).ln_1p())
    });
    let mut counts: Vec<(usize, f64)> = counted.collect();
    let length = counts.iter().map(|(_, n)| n * n).sum::<f64>().sqrt();
    counts.iter_mut().for_each(|(_, n)| *n /= length);
    counts
}

/// What patterns know of an operation: all but how many channels it has, which the sizes tell.
fn operation(op: &Op) -> u64 {
    let name = op.name().bytes().fold(0, |hash, byte| mixed(hash, byte.into()));
    match op {
        Op::Conv2d(conv) => {
            let sides = conv.kernel.into_iter().chain(conv.stride).chain(conv.dilation);
            sides.fold(mixed(name, (conv.groups > 1).into()), |hash, side| mixed(hash, side as u64))
        }
        Op::MaxPool(pool) | Op::AvgPool(pool) => {
            pool.kernel.into_iter().chain(pool.stride).fold(name, |hash, side| mixed(hash, side as u64))
        }
        Op::Input
        | Op::Linear(_)
        | Op::BatchNorm
        | Op::Activation(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Identity
        | Op::Zero(_) => name,
    }
}

/// A hash of two words that is the same on every machine: a multiplication, its high half folded into its low one.
fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a.rotate_left(29) ^ b ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::nas_bench_201::{Arch, NasBench201, PUBLISHED};

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        for (x, p) in [(-3.0, 0.001_349_90), (-1.0, 0.158_655_25), (0.0, 0.5), (0.5, 0.691_462_46), (1.96, 0.975_002_1)]
        {
            assert!((normal_cdf(x) - p).abs() < 1e-7, "below {x}: {}", normal_cdf(x));
            assert!((normal_quantile(p) - x).abs() < 4.5e-4, "at {p}: {}", normal_quantile(p));
        }
    }

    #[test]
    fn scores_are_quantiles_of_the_middle_ranks() {
        // Ranks 1/8, 4/8 twice and 7/8.
        let [low, a, b, high] = normal_scores(&[0.1, 0.8, 0.8, 0.9])[..] else { panic!("four scores") };
        assert!(a.abs() < 4.5e-4 && a == b && (high - 1.150_35).abs() < 4.5e-4 && low == -high);
    }

    #[test]
    fn the_factor_is_that_of_the_covariances() {
        let kernel = Beliefs::default().kernel();
        let at = [0.0, 0.5, 3.0];
        let alike = |a: f64, b: f64| Alike { answers: (a - b).abs() / 3.0, sizes: (a - b).abs(), patterns: 1.0 };
        let mut factor = Vec::new();
        for (nth, &a) in at.iter().enumerate() {
            let row: Vec<Alike> = at[..=nth].iter().map(|&b| alike(a, b)).collect();
            extend(&mut factor, &row, &kernel);
        }
        for (i, &a) in at.iter().enumerate() {
            for (j, &b) in at[..=i].iter().enumerate() {
                let product: f64 = factor[i].iter().zip(&factor[j]).map(|(x, y)| x * y).sum();
                let expected = kernel.of(&alike(a, b)) + if i == j { kernel.noise } else { 0.0 };
                assert!((product - expected).abs() < 1e-12, "{i}, {j}: {product}, not {expected}");
            }
        }
        let solved = forward(&factor, &[1.0, 2.0, 3.0]);
        let back: f64 = factor[2].iter().zip(&solved).map(|(x, y)| x * y).sum();
        assert!((back - 3.0).abs() < 1e-12);
    }

    /// Cells of the same sizes and patterns, and cells that differ.
    #[test]
    fn a_branch_that_leads_nowhere_is_not_seen() {
        let mut known = HashMap::new();
        let mut sight = |text: &str| {
            let arch = Arch::parse(text).expect("a cell");
            Sight::of(&NasBench201.build(&arch, &PUBLISHED).expect("it fits"), 2, &mut known)
        };
        let plain = sight("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|");
        let same = [
            "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
            "|none~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|",
            "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|",
        ];
        for text in same {
            let twin = sight(text);
            assert_eq!((twin.sizes, twin.patterns), (plain.sizes, plain.patterns.clone()), "{text}");
        }
        let chain = sight("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|");
        // Fifteen cells of a convolution, two reductions of 2 beside 1, stem and classifier.
        let [.., least, most, _] = plain.sizes.map(f64::exp_m1);
        assert!((least - (15.0 + 2.0 + 2.0)).abs() < 1e-9 && (most - (15.0 + 4.0 + 2.0)).abs() < 1e-9);
        assert!((chain.sizes[9].exp_m1() - (30.0 + 4.0 + 2.0)).abs() < 1e-9 && chain.patterns != plain.patterns);
        let dead = sight("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|none~2|");
        assert_eq!((dead.sizes, dead.patterns.len()), ([0.0; N_SIZES], 0));
    }
}
