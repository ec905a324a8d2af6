//! From accuracy and budget to one reward: a function for each paper's formula.
//!
//! `r = c / U` is a cost relative to its upper bound; the excess that a [`targets::Bound`] gives is
//! `r - 1` outside the bound and 0 inside.

use serde::{Deserialize, Serialize};
use targets::{Budget, Cost};

/// How B-ENAS joins accuracy and penalty, its formula (2). The print of the formula is lost; the
/// weight `alpha in [0, 1]` speaks for the convex form. Reconstruction, both readings selectable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reward {
    /// `(1 - alpha) * accuracy - alpha * penalty`.
    #[default]
    Convex,
    /// `accuracy - alpha * penalty`.
    Additive,
}

impl Reward {
    /// The reward of an `accuracy` in `[0, 1]` with this penalty.
    pub fn of(self, accuracy: f64, penalty: f64, alpha: f64) -> f64 {
        match self {
            Self::Convex => (1.0 - alpha) * accuracy - alpha * penalty,
            Self::Additive => accuracy - alpha * penalty,
        }
    }
}

/// What `beta` means in B-ENAS's formula (3). The print is lost; the text says that the penalty is
/// 0 up to the bound `U`, linear between `U` and `10 U`, and constant beyond. Reconstruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Penalty {
    /// `beta` is the slope: `beta * (r - 1)`, at most `9 * beta`. With `alpha = 0.1` accuracy and
    /// penalty then span the same 0.9, and a search moves into its budget.
    #[default]
    Slope,
    /// `beta` is the maximum: `beta * (r - 1) / 9`, at most `beta`. A network at ten times its
    /// bound then loses only `alpha * beta`.
    Maximum,
}

/// The cost, in multiples of its bound, from which on B-ENAS's penalty grows no more.
pub const CUT_OFF: f64 = 10.0;

impl Penalty {
    /// The penalty of an excess `r - 1` over the bound.
    pub fn of(self, excess: f64, beta: f64) -> f64 {
        let cut = excess.clamp(0.0, CUT_OFF - 1.0);
        match self {
            Self::Slope => beta * cut,
            Self::Maximum => beta * cut / (CUT_OFF - 1.0),
        }
    }
}

/// The reward of Neural Architect and RENA, `accuracy - sum of weight * p(excess)` over bounds given as
/// `(weight, excess)`: beyond a bound it falls piece by piece linearly. The papers do not say how steeply; `p` is
/// B-ENAS's penalty with the slope `beta`, which falls no more from ten times the bound on. Reconstruction.
pub fn rena(accuracy: f64, outside: impl Iterator<Item = (f64, f64)>, beta: f64) -> f64 {
    accuracy - outside.map(|(weight, excess)| weight * Penalty::Slope.of(excess, beta)).sum::<f64>()
}

/// EPNAS's factor `V(U) = p ^ excess`; the reward is `accuracy` times the product over all bounds.
pub fn epnas(excess: f64, p: f64) -> f64 {
    p.powf(excess.max(0.0))
}

/// MnasNet's factor `r ^ w`, with one exponent inside the bound and one outside: `-0.07` and
/// `-0.07` is its soft form, `0` and `-1` its hard one.
pub fn mnasnet(r: f64, inside: f64, outside: f64) -> f64 {
    r.powf(if r <= 1.0 { inside } else { outside })
}

/// EPNAS's `p` where a strategy states none of its own: what is left of an accuracy at twice a soft bound.
const SOFT: f64 = 0.9;

/// How far a network is outside of the soft bounds whose metric is known, in all.
pub fn outside(budget: &Budget, cost: &Cost) -> f64 {
    let soft = budget.bounds.iter().filter(|bound| !bound.hard);
    soft.filter_map(|bound| Some(bound.excess(cost.get(bound.metric)?.value))).sum()
}

/// The share of an accuracy or a reward that soft bounds leave of it: EPNAS's factor, 1 within all of them. Of B-ENAS's
/// forms none would do for every strategy: what is subtracted makes a reward negative, and its cut-off tells networks
/// beyond ten times a bound nothing of where the bound is.
pub fn soft(budget: &Budget, cost: &Cost) -> f64 {
    epnas(outside(budget, cost), SOFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of the papers' common table: accuracy 0.9, alpha 0.1, beta 1.
    #[track_caller]
    fn check(r: f64, penalties: [f64; 2], convex: [f64; 2], additive: [f64; 2], v: f64) {
        let near = |found: f64, expected: f64, what: &str| {
            assert!((found - expected).abs() < 6e-5, "{what} at r = {r}: {found}, not {expected}");
        };
        for (idx, reading) in [Penalty::Maximum, Penalty::Slope].into_iter().enumerate() {
            let penalty = reading.of((r - 1.0).max(0.0), 1.0);
            near(penalty, penalties[idx], "penalty");
            near(Reward::Convex.of(0.9, penalty, 0.1), convex[idx], "convex reward");
            near(Reward::Additive.of(0.9, penalty, 0.1), additive[idx], "additive reward");
        }
        near(epnas((r - 1.0).max(0.0), 0.9), v, "EPNAS's V");
    }

    #[test]
    fn rewards_match_the_printed_vectors() {
        check(0.5, [0.0, 0.0], [0.81, 0.81], [0.9, 0.9], 1.0);
        check(1.0, [0.0, 0.0], [0.81, 0.81], [0.9, 0.9], 1.0);
        check(1.5, [0.05556, 0.5], [0.80444, 0.76], [0.89444, 0.85], 0.94868);
        check(2.0, [0.11111, 1.0], [0.79889, 0.71], [0.88889, 0.80], 0.9);
        check(5.0, [0.44444, 4.0], [0.76556, 0.41], [0.85556, 0.50], 0.6561);
        check(10.0, [1.0, 9.0], [0.71, -0.09], [0.80, 0.0], 0.38742);
        check(100.0, [1.0, 9.0], [0.71, -0.09], [0.80, 0.0], 0.00003);
    }

    #[test]
    fn mnasnet_matches_the_printed_vectors() {
        for (r, soft, hard) in [(0.5, 1.0497, 1.0), (1.0, 1.0, 1.0), (1.5, 0.9720, 0.6667), (2.0, 0.9526, 0.5)] {
            assert!((mnasnet(r, -0.07, -0.07) - soft).abs() < 6e-5, "soft at {r}");
            assert!((mnasnet(r, 0.0, -1.0) - hard).abs() < 6e-5, "hard at {r}");
        }
    }

    /// Its only printed example is a model size of 16 MB.
    #[test]
    fn rena_falls_linearly_beyond_each_bound() {
        let megabytes = |size: f64| (size / 16.0 - 1.0).max(0.0);
        let check = |outside: &[(f64, f64)], beta: f64, expected: f64| {
            let found = rena(0.9, outside.iter().copied(), beta);
            assert!((found - expected).abs() < 1e-12, "{outside:?}: {found}, not {expected}");
        };
        check(&[], 1.0, 0.9);
        check(&[(1.0, megabytes(16.0))], 1.0, 0.9);
        check(&[(1.0, megabytes(24.0))], 1.0, 0.4);
        check(&[(0.1, megabytes(32.0))], 1.0, 0.8);
        check(&[(0.1, megabytes(32.0)), (0.2, 0.5)], 0.5, 0.8);
        check(&[(0.1, megabytes(160.0))], 1.0, 0.0);
        check(&[(0.1, f64::INFINITY)], 1.0, 0.0);
    }

    #[test]
    fn penalties_are_continuous_monotone_and_cut_off() {
        for reading in [Penalty::Slope, Penalty::Maximum] {
            let at = |r: f64| reading.of((r - 1.0).max(0.0), 1.0);
            let steps: Vec<f64> = (0..=2000).map(|it| at(f64::from(it) * 0.01)).collect();
            for pair in steps.windows(2) {
                assert!(pair[0] <= pair[1] && pair[1] - pair[0] < 0.0101, "{reading:?}: {pair:?}");
            }
            assert_eq!(at(10.0), at(1e6));
        }
    }

    #[test]
    fn the_softest_reading_hardly_pushes() {
        let feasible = Reward::Convex.of(0.9, Penalty::Maximum.of(0.0, 1.0), 0.1);
        let tenfold = Reward::Convex.of(0.9, Penalty::Maximum.of(9.0, 1.0), 0.1);
        assert!((feasible - tenfold - 0.1).abs() < 1e-12, "why a hard filter stands behind every reward");
    }
}
