//! Non-negative least squares: C. Lawson and R. Hanson, "Solving Least Squares Problems" (1974),
//! algorithm NNLS (section 23.3), on the normal equations.

/// A symmetric `N` by `N` matrix.
pub(crate) type Matrix<const N: usize> = [[f64; N]; N];

/// The `x >= 0` that minimises `x' gram x - 2 target' x`, where `gram = A' A` and `target = A' b`.
///
/// The normal equations square the condition number of `A`, which is harmless here: columns are
/// scaled to shares of one time, and a ridge is added. A column that depends on others to working
/// precision stays at zero.
pub(crate) fn nnls<const N: usize>(gram: &Matrix<N>, target: &[f64; N]) -> [f64; N] {
    let scale = gram.iter().enumerate().map(|(k, row)| row[k]).fold(0.0, f64::max);
    let tolerance = 1e-12 * scale.max(target.iter().fold(0.0, |max: f64, it| max.max(it.abs())));
    let mut x = [0.0; N];
    let mut passive = [false; N];
    // Columns whose entry did not go through; cleared once another step has succeeded.
    let mut refused = [false; N];
    // Each entry lowers the objective, so no passive set comes back; the limit is for rounding.
    for _ in 0..10 * N {
        let gradient = gradient(gram, target, &x);
        let candidates = (0..N).filter(|&k| !passive[k] && !refused[k] && tolerance < gradient[k]);
        let Some(entering) = candidates.max_by(|&a, &b| gradient[a].total_cmp(&gradient[b])) else { return x };
        passive[entering] = true;
        let step = solve(gram, target, &passive).filter(|step| 0.0 < step[entering]);
        let Some(mut step) = step else {
            passive[entering] = false;
            refused[entering] = true;
            continue;
        };
        // Walk towards the step until a coefficient reaches zero; drop it; solve again.
        while let Some((alpha, leaving)) = nearest_zero(&x, &step, &passive) {
            for k in (0..N).filter(|&k| passive[k]) {
                x[k] = (x[k] + alpha * (step[k] - x[k])).max(0.0);
            }
            (x[leaving], passive[leaving]) = (0.0, false);
            match solve(gram, target, &passive) {
                Some(next) => step = next,
                None => return x,
            }
        }
        x = step;
        refused = [false; N];
    }
    x
}

/// How far one may go from `x` to `step` (a share of the way) before which coefficient is negative.
fn nearest_zero<const N: usize>(x: &[f64; N], step: &[f64; N], passive: &[bool; N]) -> Option<(f64, usize)> {
    let negative = (0..N).filter(|&k| passive[k] && step[k] <= 0.0);
    let reach = negative.map(|k| (if x[k] <= 0.0 { 0.0 } else { x[k] / (x[k] - step[k]) }, k));
    reach.min_by(|a, b| a.0.total_cmp(&b.0))
}

/// `target - gram x`: half the negative gradient of what is minimised.
pub(crate) fn gradient<const N: usize>(gram: &Matrix<N>, target: &[f64; N], x: &[f64; N]) -> [f64; N] {
    std::array::from_fn(|k| target[k] - gram[k].iter().zip(x).map(|(g, x)| g * x).sum::<f64>())
}

/// The least squares solution over the passive columns, the others zero, by Cholesky's
/// factorisation; `None` when the columns depend on each other.
fn solve<const N: usize>(gram: &Matrix<N>, target: &[f64; N], passive: &[bool; N]) -> Option<[f64; N]> {
    let mut lower = [[0.0; N]; N];
    let mut y = [0.0; N];
    let columns = || (0..N).filter(|&k| passive[k]);
    for row in columns() {
        for column in columns().take_while(|&it| it <= row) {
            let done: f64 = columns().take_while(|&it| it < column).map(|it| lower[row][it] * lower[column][it]).sum();
            let rest = gram[row][column] - done;
            if row != column {
                lower[row][column] = rest / lower[column][column];
            } else if 1e-12 * gram[row][row] < rest {
                lower[row][row] = rest.sqrt();
            } else {
                return None;
            }
        }
        let done: f64 = columns().take_while(|&it| it < row).map(|it| lower[row][it] * y[it]).sum();
        y[row] = (target[row] - done) / lower[row][row];
    }
    let mut x = [0.0; N];
    for row in (0..N).rev().filter(|&k| passive[k]) {
        let done: f64 = columns().filter(|&it| row < it).map(|it| lower[it][row] * x[it]).sum();
        x[row] = (y[row] - done) / lower[row][row];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Matrix, gradient, nnls};

    const N: usize = 6;

    fn normal_equations(rows: &[([f64; N], f64)]) -> (Matrix<N>, [f64; N]) {
        let (mut gram, mut target) = ([[0.0; N]; N], [0.0; N]);
        for (row, value) in rows {
            for i in 0..N {
                target[i] += row[i] * value;
                for j in 0..N {
                    gram[i][j] += row[i] * row[j];
                }
            }
        }
        (gram, target)
    }

    /// Karush, Kuhn and Tucker: feasible; no gain from growing anything; and what is positive is at
    /// its best value.
    fn check_optimal(gram: &Matrix<N>, target: &[f64; N]) -> Result<(), TestCaseError> {
        let x = nnls(gram, target);
        let gradient = gradient(gram, target, &x);
        let size = gram.iter().flatten().chain(target).fold(1.0, |max: f64, it| max.max(it.abs()));
        let tolerance = 1e-7 * size * x.iter().fold(1.0, |max: f64, &it| max.max(it));
        for k in 0..N {
            prop_assert!(0.0 <= x[k], "negative coefficient in {x:?}");
            prop_assert!(gradient[k] <= tolerance, "growing {k} would gain: {x:?}, gradient {gradient:?}");
            prop_assert!(x[k] == 0.0 || -tolerance <= gradient[k], "shrinking {k} would gain: {x:?}, {gradient:?}");
        }
        Ok(())
    }

    fn rows(signed: bool) -> impl Strategy<Value = Vec<([f64; N], f64)>> {
        let low = if signed { -1.0 } else { 0.0 };
        prop::collection::vec((prop::array::uniform6(low..1.0), -1.0..1.0), 1..30)
    }

    proptest! {
        #[test]
        fn meets_the_optimality_conditions(rows in rows(true)) {
            let (gram, target) = normal_equations(&rows);
            check_optimal(&gram, &target)?;
        }

        #[test]
        fn meets_them_with_non_negative_rows(rows in rows(false)) {
            let (gram, target) = normal_equations(&rows);
            check_optimal(&gram, &target)?;
        }

        #[test]
        fn recovers_what_was_planted(rows in prop::collection::vec(prop::array::uniform6(0.0..1.0), 20..40),
                                     planted in prop::array::uniform6(prop_oneof![Just(0.0), 0.1..5.0])) {
            let times = rows.iter().map(|row| (*row, row.iter().zip(&planted).map(|(a, x)| a * x).sum()));
            let (gram, target) = normal_equations(&times.collect::<Vec<_>>());
            let found = nnls(&gram, &target);
            for k in 0..N {
                prop_assert!((found[k] - planted[k]).abs() < 1e-4, "{found:?} is not {planted:?}");
            }
        }
    }

    #[test]
    fn equal_columns_do_not_trap_it() {
        let gram = [[1.0; N]; N];
        let x = nnls(&gram, &[1.0; N]);
        assert!((x.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{x:?}");
        assert_eq!(nnls(&[[0.0; N]; N], &[0.0; N]), [0.0; N]);
    }
}
