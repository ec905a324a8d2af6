//! Batch norm with the statistics of the batch (Ioffe and Szegedy), forward and backward in two
//! passes over the data each.

use memory::Part;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{computed, group, vectorised};

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
    join(channels, x.par_chunks(images * channels * area).map(|x| measure(channels, area, x)).collect())
}

/// Measures each channel of some images.
pub(crate) fn measure(channels: usize, area: usize, x: &[f32]) -> Vec<Moments> {
    Arch::new().dispatch(Measure { channels, area, x })
}

/// What [`measure`] found in groups of images, together.
pub(crate) fn join(channels: usize, parts: Vec<Vec<Moments>>) -> Statistics {
    let mut all = vec![Moments::default(); channels];
    for part in parts {
        for (all, part) in all.iter_mut().zip(part) {
            all.join(part);
        }
    }
    let mean = all.iter().map(|it| it.mean as f32).collect();
    Statistics { mean, variance: all.iter().map(|it| (it.squares / it.count) as f32).collect() }
}

/// What is learned of a norm, and what keeps it from dividing by zero.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    /// Factors, `[channels]`.
    pub(crate) gamma: &'a [f32],
    /// Summands, `[channels]`.
    pub(crate) beta: &'a [f32],
    /// Added to each variance.
    pub(crate) epsilon: f32,
}

/// `y = gamma (x - mean) / sqrt(variance + epsilon) + beta`.
///
/// # Shapes
/// - x, and what is returned: `[n, channels, area]`
pub(crate) fn forward(area: usize, x: &[f32], affine: Affine<'_>, statistics: &Statistics) -> Vec<f32> {
    let lines = lines(affine, statistics);
    let image = lines.len() * area;
    let images = group(x.len() / image) * image;
    let normalise = |x: &[f32], y: Part<'_>| {
        y.filled(image, |nth, y| {
            let x = &x[nth * image..][..image];
            vectorised(
                #[inline(always)]
                || {
                    for ((y, x), line) in y.chunks_exact_mut(area).zip(x.chunks_exact(area)).zip(&lines) {
                        for (y, x) in y.iter_mut().zip(x) {
                            *y = line.at(*x);
                        }
                    }
                },
            );
        });
    };
    computed(x.len(), images, x.par_chunks(images), normalise).0
}

/// The sum of two tensors, each normalised as its lines say, or as it is.
///
/// # Shapes
/// - both, and what is returned: `[n, channels, area]`
pub(crate) fn sum(channels: usize, area: usize, [a, b]: [&[f32]; 2], lines: [Option<&[Line]>; 2]) -> Vec<f32> {
    let image = channels * area;
    let images = group(a.len() / image.max(1)) * image;
    let line = |of: usize, channel: usize| lines[of].map_or(Line::PLAIN, |lines| lines[channel]);
    let add = |(a, b): (&[f32], &[f32]), y: Part<'_>| {
        y.filled(image, |nth, y| {
            let (a, b) = (&a[nth * image..][..image], &b[nth * image..][..image]);
            vectorised(
                #[inline(always)]
                || {
                    let planes = a.chunks_exact(area).zip(b.chunks_exact(area)).zip(y.chunks_exact_mut(area));
                    for (channel, ((a, b), y)) in planes.enumerate() {
                        let (of_a, of_b) = (line(0, channel), line(1, channel));
                        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                            *y = of_a.at(*a) + of_b.at(*b);
                        }
                    }
                },
            );
        });
    };
    computed(a.len(), images, a.par_chunks(images).zip(b.par_chunks(images)), add).0
}

/// As [`forward`] where the values stand, on this thread.
pub(crate) fn apply(area: usize, lines: &[Line], x: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (x, line) in x.chunks_exact_mut(area).zip(lines.iter().cycle()) {
                for x in x {
                    *x = line.at(*x);
                }
            }
        },
    );
}

/// How each channel is normalised.
pub(crate) fn lines(affine: Affine<'_>, statistics: &Statistics) -> Vec<Line> {
    let Affine { gamma, beta, epsilon } = affine;
    let line = |at: usize| {
        let slope = gamma[at] / (statistics.variance[at] + epsilon).sqrt();
        Line { slope, mean: statistics.mean[at], shift: beta[at] }
    };
    (0..gamma.len()).map(line).collect()
}

/// The gradients of gamma and beta, and how that of the input follows.
///
/// With `a = 1 / sqrt(variance + epsilon)` and `m` values a channel,
/// `dx = gamma a (dy - sum(dy) / m - (x - mean) a^2 sum(dy (x - mean)) / m)`.
///
/// # Shapes
/// - x, dy: `[n, channels, area]`
/// - returns the curves, dgamma and dbeta: `[channels]`
pub(crate) fn gradients(
    area: usize,
    x: &[f32],
    affine: Affine<'_>,
    statistics: &Statistics,
    dy: &[f32],
) -> (Vec<Curve>, [Vec<f32>; 2]) {
    let Affine { gamma, epsilon, .. } = affine;
    let channels = gamma.len();
    let images = group(x.len() / (channels * area)) * channels * area;
    let mean = &statistics.mean;
    let parts: Vec<Vec<[f64; 2]>> = x
        .par_chunks(images)
        .zip(dy.par_chunks(images))
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
    let curve = |at: usize| {
        let slope = f64::from(gamma[at]) * scale(at);
        let bend = -slope * scale(at).powi(2) * sums[at][1] / count;
        let shift = -slope * sums[at][0] / count;
        Curve { slope: slope as f32, bend: bend as f32, mean: mean[at], shift: shift as f32 }
    };
    let dgamma = (0..channels).map(|at| (sums[at][1] * scale(at)) as f32).collect();
    let dbeta = sums.iter().map(|sum| sum[0] as f32).collect();
    ((0..channels).map(curve).collect(), [dgamma, dbeta])
}

/// The gradient of the input.
///
/// # Shapes
/// - x, dx: `[n, channels, area]`
/// - dy: `[n, channels, area]`; where absent, `dx` holds it
pub(crate) fn backward(area: usize, x: &[f32], curves: &[Curve], dy: Option<&[f32]>, dx: &mut [f32]) {
    let images = group(x.len() / (curves.len() * area)) * curves.len() * area;
    let apply = |x: &[f32], dy: Option<&[f32]>, dx: &mut [f32]| {
        vectorised(
            #[inline(always)]
            || {
                for (at, curve) in (0..x.len() / area).zip(curves.iter().cycle()) {
                    let (x, dx) = (&x[at * area..][..area], &mut dx[at * area..][..area]);
                    match dy {
                        Some(dy) => curve.write(x, &dy[at * area..][..area], dx),
                        None => {
                            for (dx, x) in dx.iter_mut().zip(x) {
                                *dx = curve.at(*x, *dx);
                            }
                        }
                    }
                }
            },
        );
    };
    let tasks = dx.par_chunks_mut(images).zip(x.par_chunks(images));
    match dy {
        Some(dy) => tasks.zip(dy.par_chunks(images)).for_each(|((dx, x), dy)| apply(x, Some(dy), dx)),
        None => tasks.for_each(|(dx, x)| apply(x, None, dx)),
    }
}

/// How a channel is normalised: `slope (x - mean) + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    pub(super) slope: f32,
    pub(super) mean: f32,
    pub(super) shift: f32,
}

impl Line {
    /// Values as they are.
    pub(super) const PLAIN: Self = Self { slope: 1.0, mean: 0.0, shift: 0.0 };

    #[inline(always)]
    pub(super) fn at(&self, x: f32) -> f32 {
        self.slope * (x - self.mean) + self.shift
    }
}

/// How the gradient of a channel's input follows from that of its output.
pub(crate) struct Curve {
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

    #[inline(always)]
    pub(super) fn write(&self, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
            *dx = self.at(*x, *dy);
        }
    }
}

/// Number, mean and sum of squared distances from the mean of some values.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moments {
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
            let mean = total(simd, plane, plane, |x, _| x, |x, _| x) / area as f32;
            let center = simd.splat_f32s(mean);
            let squares = total(
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
            let plain = total(simd, dy, dy, |dy, _| dy, |dy, _| dy);
            let along = total(
                simd,
                dy,
                x,
                |dy, x| simd.mul_f32s(dy, simd.sub_f32s(x, center)),
                |dy, x| dy * (x - mean[channel]),
            );
            all[channel] = [all[channel][0] + f64::from(plain), all[channel][1] + f64::from(along)];
        }
        all
    }
}

/// The sum of `lanes`, and of `single` for the last few values, over pairs of values.
#[inline(always)]
fn total<S: Simd>(
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
