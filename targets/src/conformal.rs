//! Intervals that keep their promise whatever the distribution of errors.

/// Share of networks whose figure is to fall into the interval.
const COVERAGE: f64 = 0.9;

/// Errors from which on the quantile of [`interval`] exists.
pub(crate) const ENOUGH: usize = 9;

/// Factors from a prediction to the ends of its interval, from the logarithmic errors of
/// predictions made without the network in question.
///
/// The quantile of their sizes is the one that covers the next network with probability
/// [`COVERAGE`], if it comes from where the others came from (split conformal prediction:
/// Lei et al., "Distribution-Free Predictive Inference for Regression", 2018, with the residuals of
/// the jackknife). Below [`ENOUGH`] measurements no such quantile exists, and the largest error serves,
/// but at least the factor `few`.
pub(crate) fn interval(errors: &[f64], few: f64) -> [f64; 2] {
    let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let rank = ((sizes.len() + 1) as f64 * COVERAGE).ceil() as usize;
    let largest = sizes.last().map_or(few, |size| size.exp().max(few));
    let factor = sizes.get(rank - 1).map_or(largest, |size| size.exp());
    [1.0 / factor, factor]
}
