//! Batch norm with the statistics of the batch (Ioffe and Szegedy), forward and backward in two
//! passes over the data each.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::group;

/// Mean and biased variance of each channel, `[channels]` each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Statistics {
    /// Means.
    pub(crate) mean: Vec<f32>,
    /// Biased variances.
    pub(crate) variance: Vec<f32>,
}

/// Measures each channel.
///
/// # Shapes
/// - x: `[n, channels, area]`
pub(crate) fn statistics(channels: usize, area: usize, x: &[f32]) -> Statistics {
    let images = group(x.len() / (channels * area));
    let parts: Vec<Vec<Moments>> =
        x.par_chunks(images * channels * area).map(|x| Arch::new().dispatch(Measure { channels, area, x })).collect();
    let mut all = vec![Moments::default(); channels];
    for part in parts {
        for (all, part) in all.iter_mut().zip(part) {
            all.join(part);
        }
    }
    let mean = all.iter().map(|it| it.mean as f32).collect();
    Statistics { mean, variance: all.iter().map(|it| (it.squares / it.count) as f32).collect() }
}

/// `y = gamma (x - mean) / sqrt(variance + epsilon) + beta`.
///
/// # Shapes
/// - x, y: `[n, channels, area]`
/// - gamma, beta: `[channels]`
pub(crate) fn forward(
    area: usize,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    statistics: &Statistics,
    epsilon: f32,
    y: &mut [f32],
) {
    let channels = gamma.len();
    let lines: Vec<Line> = (0..channels)
        .map(|at| {
            let slope = gamma[at] / (statistics.variance[at] + epsilon).sqrt();
            Line { slope, mean: statistics.mean[at], shift: beta[at] }
        })
        .collect();
    let images = group(x.len() / (channels * area)) * channels * area;
    y.par_chunks_mut(images).zip(x.par_chunks(images)).for_each(|(y, x)| {
        Arch::new().dispatch(|| {
            for ((y, x), line) in y.chunks_exact_mut(area).zip(x.chunks_exact(area)).zip(lines.iter().cycle()) {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = line.slope * (x - line.mean) + line.shift;
                }
            }
        });
    });
}

/// The gradients of gamma and beta; that of the input overwrites that of the output.
///
/// With `a = 1 / sqrt(variance + epsilon)` and `m` values a channel,
/// `dx = gamma a (dy - sum(dy) / m - (x - mean) a^2 sum(dy (x - mean)) / m)`.
///
/// # Shapes
/// - x: `[n, channels, area]`
/// - dy: `[n, channels, area]`; where absent, `dx` holds it
/// - dx: `[n, channels, area]`
/// - gamma: `[channels]`
/// - returns dgamma and dbeta: `[channels]`
pub(crate) fn backward(
    area: usize,
    x: &[f32],
    gamma: &[f32],
    statistics: &Statistics,
    epsilon: f32,
    dy: Option<&[f32]>,
    dx: &mut [f32],
) -> [Vec<f32>; 2] {
    let channels = gamma.len();
    let images = group(x.len() / (channels * area)) * channels * area;
    let mean = &statistics.mean;
    let parts: Vec<Vec<[f64; 2]>> = x
        .par_chunks(images)
        .zip(dy.unwrap_or(dx).par_chunks(images))
        .map(|(x, dy)| Arch::new().dispatch(Sums { area, mean, x, dy }))
        .collect();
    let mut sums = vec![[0.0; 2]; channels];
    for part in parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum = [sum[0] + part[0], sum[1] + part[1]];
        }
    }
    let count = (x.len() / channels) as f64;
    let scale = |at: usize| 1.0 / (f64::from(statistics.variance[at]) + f64::from(epsilon)).sqrt();
    let curves: Vec<Curve> = (0..channels)
        .map(|at| {
            let slope = f64::from(gamma[at]) * scale(at);
            let bend = -slope * scale(at).powi(2) * sums[at][1] / count;
            let shift = -slope * sums[at][0] / count;
            Curve { slope: slope as f32, bend: bend as f32, mean: mean[at], shift: shift as f32 }
        })
        .collect();
    let apply = |x: &[f32], dy: Option<&[f32]>, dx: &mut [f32]| {
        Arch::new().dispatch(|| {
            for (at, curve) in (0..x.len() / area).zip(curves.iter().cycle()) {
                let (x, dx) = (&x[at * area..][..area], &mut dx[at * area..][..area]);
                match dy {
                    Some(dy) => {
                        for ((dx, dy), x) in dx.iter_mut().zip(&dy[at * area..][..area]).zip(x) {
                            *dx = curve.at(*x, *dy);
                        }
                    }
                    None => {
                        for (dx, x) in dx.iter_mut().zip(x) {
                            *dx = curve.at(*x, *dx);
                        }
                    }
                }
            }
        });
    };
    let tasks = dx.par_chunks_mut(images).zip(x.par_chunks(images));
    match dy {
        Some(dy) => tasks.zip(dy.par_chunks(images)).for_each(|((dx, x), dy)| apply(x, Some(dy), dx)),
        None => tasks.for_each(|(dx, x)| apply(x, None, dx)),
    }
    [(0..channels).map(|at| (sums[at][1] * scale(at)) as f32).collect(), sums.iter().map(|sum| sum[0] as f32).collect()]
}

/// How a channel is normalised.
struct Line {
    slope: f32,
    mean: f32,
    shift: f32,
}

/// How the gradient of a channel's input follows from that of its output.
struct Curve {
    slope: f32,
    bend: f32,
    mean: f32,
    shift: f32,
}

impl Curve {
    #[inline(always)]
    fn at(&self, x: f32, dy: f32) -> f32 {
        self.slope * dy + self.bend * (x - self.mean) + self.shift
    }
}

/// Number, mean and sum of squared distances from the mean of some values.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Adds other values (Chan, Golub and LeVeque): no difference of large sums is ever taken.
    fn join(&mut self, other: Self) {
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        self.mean += distance * other.count / count;
        self.squares += other.squares + distance * distance * self.count * other.count / count;
        self.count = count;
    }
}

struct Measure<'a> {
    channels: usize,
    area: usize,
    x: &'a [f32],
}

impl WithSimd for Measure<'_> {
    type Output = Vec<Moments>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Moments> {
        let Self { channels, area, x } = self;
        let mut all = vec![Moments::default(); channels];
        for (at, plane) in x.chunks_exact(area).enumerate() {
            let mean = sum(simd, plane, plane, |x, _| x, |x, _| x) / area as f32;
            let center = simd.splat_f32s(mean);
            let squares = sum(
                simd,
                plane,
                plane,
                |x, _| {
                    let distance = simd.sub_f32s(x, center);
                    simd.mul_f32s(distance, distance)
                },
                |x, _| (x - mean) * (x - mean),
            );
            all[at % channels].join(Moments { count: area as f64, mean: mean.into(), squares: squares.into() });
        }
        all
    }
}

struct Sums<'a> {
    area: usize,
    mean: &'a [f32],
    x: &'a [f32],
    dy: &'a [f32],
}

impl WithSimd for Sums<'_> {
    type Output = Vec<[f64; 2]>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<[f64; 2]> {
        let Self { area, mean, x, dy } = self;
        let mut all = vec![[0.0; 2]; mean.len()];
        for (at, (x, dy)) in x.chunks_exact(area).zip(dy.chunks_exact(area)).enumerate() {
            let channel = at % mean.len();
            let center = simd.splat_f32s(mean[channel]);
            let plain = sum(simd, dy, dy, |dy, _| dy, |dy, _| dy);
            let along =
                sum(simd, dy, x, |dy, x| simd.mul_f32s(dy, simd.sub_f32s(x, center)), |dy, x| dy * (x - mean[channel]));
            all[channel] = [all[channel][0] + f64::from(plain), all[channel][1] + f64::from(along)];
        }
        all
    }
}

/// The sum of `lanes`, and of `single` for the last few values, over pairs of values.
#[inline(always)]
fn sum<S: Simd>(
    simd: S,
    a: &[f32],
    b: &[f32],
    lanes: impl Fn(S::f32s, S::f32s) -> S::f32s,
    single: impl Fn(f32, f32) -> f32,
) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let ((a, a_odd), (b, b_odd)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    // Four sums, so that additions need not wait for each other.
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (a, b) in a.iter().zip(b) {
        for at in 0..4 {
            sums[at] = simd.add_f32s(sums[at], lanes(a[at], b[at]));
        }
    }
    for (a, b) in a_odd.iter().zip(b_odd) {
        sums[0] = simd.add_f32s(sums[0], lanes(*a, *b));
    }
    let (first, second) = (simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
    let mut sum = simd.reduce_sum_f32s(simd.add_f32s(first, second));
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += single(*a, *b);
    }
    sum
}
