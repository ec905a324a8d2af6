//! Verdicts: a figure against its bound, and a measurement against an earlier one.

use serde::{Deserialize, Serialize};

use crate::{
    board::differences,
    budget::{Bound, Figure, Judgement},
    measurement::Measurement,
    stats::{is_outlier, normal_tail, quantile, ranks},
    validity::Allow,
};

/// The answer of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// The samples do not decide; take more blocks.
    CannotTell,
}

impl Verdict {
    /// Whether `rounds` of blocks, each of a process of its own, need no more.
    ///
    /// A failure takes the blocks of two processes: those of one cannot show how processes differ, and
    /// what strikes a board for a minute should not fail a model. A percentile of 90 is exceeded, though,
    /// where one process in two exceeds it.
    pub fn is_settled(self, rounds: usize) -> bool {
        match self {
            Self::Pass => true,
            Self::Fail => 2 <= rounds,
            Self::CannotTell => false,
        }
    }
}

/// Pass when the whole interval is within the bound, fail when all of it is outside.
pub fn against_bound(figure: &Figure, bound: &Bound) -> Verdict {
    match bound.judge(Some(figure)) {
        Judgement::Met => Verdict::Pass,
        Judgement::Broken => Verdict::Fail,
        Judgement::CannotTell | Judgement::Unknown => Verdict::CannotTell,
    }
}

/// Significance a slowdown must reach.
pub const SIGNIFICANCE: f64 = 0.005;
/// A slowdown below this share is not called a regression.
pub const SHIFT: f64 = 0.03;
/// The slowdown's interval must exclude this share.
pub const CERTAIN_SHIFT: f64 = 0.01;

/// A measurement compared with an earlier one of the same model or task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// Fail: slower for certain. Pass: not slower by more than [`SHIFT`]. Cannot tell: neither is
    /// sure, there are too few blocks, one of the two is invalid, or they are of different boards.
    pub verdict: Verdict,
    /// Hodges-Lehmann estimate of the slowdown, relative: 0.1 is 10 % slower, negative is faster.
    pub shift: f64,
    /// 95 % confidence interval of the slowdown, by inversion of the Mann-Whitney test; with fewer
    /// than four blocks a side the extremes of all pairs.
    pub interval: (f64, f64),
    /// Mann-Whitney on block medians: the chance of times this much larger if nothing had changed.
    pub p: f64,
    /// Blocks of both sides that were struck by something else and set aside.
    #[serde(default)]
    pub set_aside: usize,
}

impl Regression {
    /// As [`Verdict::is_settled`], where `n_models` are judged at once: a failure must survive Holm's
    /// correction whatever the others are.
    pub fn is_settled(&self, rounds: usize, n_models: usize) -> bool {
        let survives = self.p < SIGNIFICANCE / n_models.max(1) as f64;
        self.verdict.is_settled(rounds) && (self.verdict == Verdict::Pass || survives)
    }
}

/// Whether `now` is slower than `baseline`: by a Mann-Whitney test of block medians and by their
/// Hodges-Lehmann shift, both. A governor other than `performance` is accepted if it was the same both
/// times; everything else that makes a measurement invalid, or another board, leaves it undecided.
///
/// Blocks far outside of the others of their own measurement are set aside first, at most a quarter: other
/// work has struck them. Where it strikes one block in ten, a baseline with two such blocks would hide a
/// slowdown of 10 % from the test in every fourth comparison.
///
/// With [`in_rounds`](crate::in_rounds) and [`Regression::is_settled`] at most one comparison in 200 of a
/// model with itself fails, 95 in 100 slowdowns by 10 % do, and 80 in 100 by 5 %, as long as processes
/// scatter by less than 0.5 % and blocks by less than 1.5 % (standard deviations): a simulation in this
/// crate's tests says so for boards that drift, remember, have heavy tails, and are disturbed.
pub fn regression(baseline: &Measurement, now: &Measurement) -> Regression {
    let allow = Allow { governor: baseline.after.governor == now.after.governor, noisy: false };
    let valid = now.invalid(&allow).is_empty() && differences(baseline, now).is_empty();
    let (before, n_struck_before) = undisturbed(baseline.block_medians());
    let (after, n_struck_after) = undisturbed(now.block_medians());
    let set_aside = n_struck_before + n_struck_after;
    let mut ratios: Vec<f64> = after.iter().flat_map(|now| before.iter().map(move |then| (now / then).ln())).collect();
    ratios.sort_by(f64::total_cmp);
    let Some(centre) = quantile(&ratios, 0.5) else {
        return Regression { verdict: Verdict::CannotTell, shift: 0.0, interval: (0.0, 0.0), p: 1.0, set_aside };
    };
    let p = mann_whitney(&before, &after);
    let outside = critical_pairs(before.len(), after.len());
    let trim = outside.unwrap_or(0).min((ratios.len() - 1) / 2);
    let relative = |log: f64| log.exp_m1();
    let interval = (relative(ratios[trim]), relative(ratios[ratios.len() - 1 - trim]));
    let shift = relative(centre);
    let slower = p < SIGNIFICANCE && SHIFT < shift && CERTAIN_SHIFT < interval.0;
    let verdict = match (valid && outside.is_some(), slower) {
        (true, true) => Verdict::Fail,
        (true, false) if interval.1 <= SHIFT => Verdict::Pass,
        (true, false) | (false, _) => Verdict::CannotTell,
    };
    Regression { verdict, shift, interval, p, set_aside }
}

/// Block medians without those whose modified z-score exceeds 3.5, the furthest first and at most a
/// quarter of all, and how many those are.
fn undisturbed(medians: Vec<f64>) -> (Vec<f64>, usize) {
    let median = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        quantile(&sorted, 0.5)
    };
    let Some(centre) = median(&medians) else { return (medians, 0) };
    let distance = |seconds: f64| (seconds - centre).abs();
    let distances: Vec<f64> = medians.iter().map(|&it| distance(it)).collect();
    let mad = median(&distances).expect("there are as many as medians");
    let n_far = distances.iter().filter(|&&it| is_outlier(it, mad)).count().min(medians.len() / 4);
    let mut nearest_first = medians;
    nearest_first.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    nearest_first.truncate(nearest_first.len() - n_far);
    (nearest_first, n_far)
}

/// Holm's correction for several models judged at once: a failure that does not survive it becomes
/// undecided.
pub fn holm(regressions: &mut [Regression]) {
    let mut order: Vec<usize> = (0..regressions.len()).collect();
    order.sort_by(|&a, &b| regressions[a].p.total_cmp(&regressions[b].p));
    let mut rejected = true;
    for (rank, &idx) in order.iter().enumerate() {
        let level = SIGNIFICANCE / (order.len() - rank) as f64;
        rejected &= regressions[idx].p < level;
        if !rejected && regressions[idx].verdict == Verdict::Fail {
            regressions[idx].verdict = Verdict::CannotTell;
        }
    }
}

/// One-sided Mann-Whitney test that `after` is larger than `before`: exact without ties, by the
/// normal approximation with tie and continuity correction otherwise.
fn mann_whitney(before: &[f64], after: &[f64]) -> f64 {
    let all = [after, before].concat();
    let ranks = ranks(&all);
    let (n, m) = (after.len(), before.len());
    let u = ranks[..n].iter().sum::<f64>() - (n * (n + 1)) as f64 / 2.0;
    let pairs = (n * m) as f64;
    let mut sorted = ranks;
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|tie| (tie.len() as f64).powi(3) - tie.len() as f64).sum();
    if ties == 0.0 {
        // By symmetry P(U >= u) = P(U <= n m - u).
        return lower_tail(n, m)[(pairs - u) as usize];
    }
    let total = (n + m) as f64;
    let variance = pairs / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    normal_tail((u - pairs / 2.0 - 0.5) / variance.sqrt())
}

/// How many ordered pairs lie outside each end of the 95 % interval of the shift; `None` when even
/// the extreme pairs do not reach 95 %, or a difference of [`SIGNIFICANCE`] could not show.
fn critical_pairs(n: usize, m: usize) -> Option<usize> {
    let tail = lower_tail(n, m);
    if SIGNIFICANCE <= tail[0] {
        return None;
    }
    let outside = tail.iter().take_while(|&&p| p <= 0.025).count();
    outside.checked_sub(1)
}

/// `P(U <= u)` for every `u` from 0 to `n m`, if all orders are equally likely.
///
/// The counts are the coefficients of the Gaussian binomial: the product over `i` in `1..=n` of
/// `(1 - q^(m + i)) / (1 - q^i)`. Each coefficient comes from lower ones alone, so those of the
/// tail, which decide, are exact integers.
fn lower_tail(n: usize, m: usize) -> Vec<f64> {
    let mut counts = vec![0.0; n * m + 1];
    counts[0] = 1.0;
    for i in 1..=n {
        for at in (m + i..counts.len()).rev() {
            counts[at] -= counts[at - m - i];
        }
        for at in i..counts.len() {
            counts[at] += counts[at - i];
        }
    }
    let total: f64 = counts.iter().sum();
    let mut sum = 0.0;
    for count in &mut counts {
        sum += *count;
        *count = sum / total;
    }
    counts
}
