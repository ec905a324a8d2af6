//! Which networks to measure first: those that tell every kind of work apart.

use crate::{
    latency::{LatencyTable, PLACE, place},
    work::Features,
};

/// Indices of `n` networks (or all, if there are fewer) that together say most about every price.
///
/// A greedy D-optimal design (V. Fedorov, "Theory of Optimal Experiments", 1972): each next network
/// is the one whose time the ones before it predict worst, `x' (X'X + r I)^-1 x`, which is the one
/// that raises `det(X'X + r I)` most. `x` is the network's make and size, centred on the mean of all.
/// Ties go to the earlier network, so the choice depends on the candidates alone.
pub fn spanning(table: &LatencyTable, candidates: &[Features], n: usize) -> Vec<usize> {
    let rows = centred(candidates.iter().map(|features| place(table, features)).collect());
    let mut inverse = [[0.0; PLACE]; PLACE];
    for (k, row) in inverse.iter_mut().enumerate() {
        row[k] = 1.0 / REGULAR;
    }
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < n.min(rows.len()) {
        let open = (0..rows.len()).filter(|idx| !chosen.contains(idx));
        let leverage = |idx: &usize| dot(&rows[*idx], &times(&inverse, &rows[*idx]));
        let best = open.reduce(|best, idx| if leverage(&best) < leverage(&idx) { idx } else { best });
        let Some(best) = best else { break };
        add(&mut inverse, &rows[best]);
        chosen.push(best);
    }
    chosen
}

/// `r`: keeps the first steps defined. Small against the spread of [`place`]'s coordinates.
const REGULAR: f64 = 1e-3;

type Row = [f64; PLACE];

fn centred(mut rows: Vec<Row>) -> Vec<Row> {
    let n = rows.len().max(1) as f64;
    for k in 0..PLACE {
        let mean = rows.iter().map(|row| row[k]).sum::<f64>() / n;
        rows.iter_mut().for_each(|row| row[k] -= mean);
    }
    rows
}

fn dot(a: &Row, b: &Row) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn times(matrix: &[Row; PLACE], x: &Row) -> Row {
    std::array::from_fn(|k| dot(&matrix[k], x))
}

/// Sherman and Morrison's update of the inverse when `row` joins `X`.
fn add(inverse: &mut [Row; PLACE], row: &Row) {
    let seen = times(inverse, row);
    let scale = 1.0 / (1.0 + dot(row, &seen));
    for (values, a) in inverse.iter_mut().zip(seen) {
        for (value, b) in values.iter_mut().zip(seen) {
            *value -= scale * a * b;
        }
    }
}
