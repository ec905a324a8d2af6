//! The normal distribution, and numbers as its quantiles.

/// Worths by rank: the quantiles that a normal sample of as many would have. Of equals each has the middle rank.
pub(super) fn normal_scores(worths: &[f64]) -> Vec<f64> {
    let mut sorted = worths.to_vec();
    sorted.sort_by(f64::total_cmp);
    let score = |it: &f64| {
        let ranks = sorted.partition_point(|other| other < it) + sorted.partition_point(|other| other <= it);
        normal_quantile(ranks as f64 / (2 * sorted.len()) as f64)
    };
    worths.iter().map(score).collect()
}

/// Abramowitz and Stegun, 26.2.17; wrong by 7.5e-8 at most.
pub(super) fn normal_cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let powers = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let above = normal_density(x) * t * powers.iter().rev().fold(0.0, |sum, factor| sum * t + factor);
    if x < 0.0 { above } else { 1.0 - above }
}

pub(super) fn normal_density(x: f64) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
