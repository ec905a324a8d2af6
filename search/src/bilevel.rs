//! Second derivatives from differences of gradients: what a relaxed search needs of them, without a tensor library.

use data::keyed;
use graph::relaxed::Mixture;
use rand::Rng;

use crate::Result;

/// How far weights are moved along the gradient `d L_val(w') / dw'`, whose norm this is: 0.01 in all, as the authors of
/// DARTS have it.
pub fn epsilon(norm: f64) -> f64 {
    // Where nothing is learned from the weights any distance will do.
    0.01 / norm.max(f64::MIN_POSITIVE.sqrt())
}

/// DARTS, equations 7 and 8: the gradient of `L_val(w', alpha)` by `alpha`, where `w' = w - xi * d L_train / dw` depends
/// on `alpha` too.
///
/// - `direct`: `d L_val(w', alpha) / d alpha`
/// - `plus`, `minus`: `d L_train(w +- epsilon * d L_val(w', alpha) / dw', alpha) / d alpha`
pub fn second_order(
    direct: &[Vec<f32>],
    plus: &[Vec<f32>],
    minus: &[Vec<f32>],
    xi: f64,
    epsilon: f64,
) -> Vec<Vec<f32>> {
    let of = |((direct, plus), minus): ((&f32, &f32), &f32)| {
        (f64::from(*direct) - xi * (f64::from(*plus) - f64::from(*minus)) / (2.0 * epsilon)) as f32
    };
    let row = |((direct, plus), minus): ((&Vec<f32>, &Vec<f32>), &Vec<f32>)| {
        direct.iter().zip(plus).zip(minus).map(of).collect()
    };
    direct.iter().zip(plus).zip(minus).map(row).collect()
}

/// How far `alpha` is moved, along a vector of length 1, to see its gradient change.
const REACH: f64 = 0.1;

/// The eigenvalue of largest magnitude of the Hessian by `alpha` of the function with this `gradient`, by power
/// iteration on central differences; two gradients an iteration. It begins with a vector drawn from the seed.
pub fn dominant_eigenvalue(
    alpha: &Mixture,
    n_iterations: usize,
    seed: u64,
    mut gradient: impl FnMut(&Mixture) -> Result<Vec<Vec<f32>>>,
) -> Result<f64> {
    let mut rng = keyed::rng(seed, "curvature", 0);
    let n = alpha.logits.iter().map(Vec::len).sum();
    let mut vector: Vec<f64> = (0..n).map(|_| normal(&mut rng)).collect();
    let mut eigenvalue = 0.0;
    for _ in 0..n_iterations {
        let length = vector.iter().map(|it| it * it).sum::<f64>().sqrt();
        if length == 0.0 {
            break;
        }
        vector.iter_mut().for_each(|it| *it /= length);
        let mut at = |reach: f64| {
            let mut moved = alpha.clone();
            let logits = moved.logits.iter_mut().flatten();
            logits.zip(&vector).for_each(|(logit, by)| *logit = (f64::from(*logit) + reach * by) as f32);
            gradient(&moved)
        };
        let (plus, minus) = (at(REACH)?, at(-REACH)?);
        let difference = plus.iter().flatten().zip(minus.iter().flatten());
        let image: Vec<f64> =
            difference.map(|(plus, minus)| (f64::from(*plus) - f64::from(*minus)) / (2.0 * REACH)).collect();
        eigenvalue = vector.iter().zip(&image).map(|(a, b)| a * b).sum();
        vector = image;
    }
    Ok(eigenvalue)
}

/// A draw from the normal distribution of mean 0 and variance 1 (Box and Muller).
pub(crate) fn normal(rng: &mut impl Rng) -> f64 {
    // 24 bits, 0 left out: its logarithm is taken.
    let mut unit = || f64::from((rng.next_u32() >> 8) + 1) / f64::from(1_u32 << 24);
    let (radius, angle) = ((-2.0 * unit().ln()).sqrt(), std::f64::consts::TAU * unit());
    radius * angle.cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixture(logits: &[f32]) -> Mixture {
        Mixture { logits: vec![logits.to_vec()] }
    }

    /// `L_train = (w - a)^2 / 2` and `L_val = (w + a - 3)^2 / 2`, so `w' = w - xi (w - a)` and the derivative of
    /// `L_val(w', a)` by `a` is `(w' + a - 3) (1 + xi)`.
    #[test]
    fn a_quadratic_has_its_derivative() {
        for (w, a, xi) in [(0.5_f64, 1.0, 0.1), (-2.0, 0.25, 0.025), (4.0, -1.0, 1.0)] {
            let looked_ahead = w - xi * (w - a);
            let slope = looked_ahead + a - 3.0;
            let epsilon = epsilon(slope.abs());
            let train = |w: f64| vec![vec![(a - w) as f32]];
            let (plus, minus) = (train(w + epsilon * slope), train(w - epsilon * slope));
            let found = second_order(&[vec![slope as f32]], &plus, &minus, xi, epsilon);
            let expected = slope * (1.0 + xi);
            assert!((f64::from(found[0][0]) / expected - 1.0).abs() < 1e-4, "{found:?}, not {expected}");
        }
        assert_eq!(epsilon(0.5), 0.02);
        assert!(epsilon(0.0).is_finite());
    }

    #[test]
    fn the_dominant_eigenvalue_is_found() {
        // Diagonal 1, -2, 3 turned by 30 degrees in the first and the last axis.
        let (sine, cosine) = (0.5_f64, 0.75_f64.sqrt());
        let cross = 2.0 * sine * cosine;
        let matrix =
            [[1.0 + 2.0 * sine * sine, 0.0, cross], [0.0, -2.0, 0.0], [cross, 0.0, 1.0 + 2.0 * cosine * cosine]];
        let gradient = |at: &Mixture| {
            let at: Vec<f64> = at.logits[0].iter().map(|&it| f64::from(it)).collect();
            let row = |row: &[f64; 3]| row.iter().zip(&at).map(|(a, b)| a * b).sum::<f64>() as f32;
            Ok(vec![matrix.iter().map(row).collect()])
        };
        let found = dominant_eigenvalue(&mixture(&[0.3, -0.1, 0.2]), 40, 0, gradient).expect("it counts");
        assert!((found - 3.0).abs() < 1e-3, "{found}");
        let flat = dominant_eigenvalue(&mixture(&[0.0; 3]), 5, 0, |_| Ok(vec![vec![1.0; 3]])).expect("it counts");
        assert_eq!(flat, 0.0);
    }
}
