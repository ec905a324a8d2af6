//! What stands in each row of a cell's drawing, in which order, and where.

use search::space::cell::Cell;

/// What stands in a row: a part, or the lane of one that was defined above and is read below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Part(usize),
    Lane(usize),
}

impl Item {
    /// The part it belongs to.
    pub(super) fn source(self) -> usize {
        match self {
            Self::Part(idx) | Self::Lane(idx) => idx,
        }
    }

    /// `[width, height]`.
    pub(super) fn size(self, output: usize) -> [f64; 2] {
        match self {
            Self::Lane(_) => [LANE, 0.0],
            Self::Part(idx) if idx < 2 || idx == output => END,
            Self::Part(_) => BLOCK,
        }
    }
}

/// `[width, height]` of a block.
pub(super) const BLOCK: [f64; 2] = [146.0, 52.0];
/// `[width, height]` of the inputs and of the output.
pub(super) const END: [f64; 2] = [104.0, 30.0];
/// Free space around the drawing.
pub(super) const MARGIN: f64 = 8.0;
/// Width that a lane takes beside its neighbours.
const LANE: f64 = 2.0;
/// Free space between neighbours in a row.
const GAP: f64 = 12.0;
const PER_ROW: usize = 2;
/// Passes over all rows; on cells of this size the result settles in fewer.
const PASSES: usize = 24;

/// The rows of a well-formed cell from top to bottom: items from left to right, and the middle of
/// each in pixels.
pub(super) fn arranged(cell: &Cell) -> Vec<Vec<(Item, f64)>> {
    let reads = |item: Item, source: usize| reads(cell, item, source);
    let mut items = rows(cell);
    uncross(&mut items, &reads);
    let xs = positions(&items, cell.blocks.len() + 2, &reads);
    items.into_iter().zip(xs).map(|(items, xs)| items.into_iter().zip(xs).collect()).collect()
}

/// Whether a wire leads from `source`, or its lane, in one row to `item` in the next.
pub(super) fn reads(cell: &Cell, item: Item, source: usize) -> bool {
    match item {
        Item::Lane(idx) => idx == source,
        Item::Part(idx) if idx < 2 => false,
        Item::Part(idx) => match cell.blocks.get(idx - 2) {
            Some(block) => block.inputs.contains(&source),
            None => cell.loose_ends().any(|end| end + 2 == source),
        },
    }
}

/// What stands in each row. Each part stands below all that it reads.
fn rows(cell: &Cell) -> Vec<Vec<Item>> {
    let mut row_of = vec![0, 0];
    let mut filled = vec![2];
    for block in &cell.blocks {
        let mut row = block.inputs.iter().map(|&input| row_of[input] + 1).max().unwrap_or(1);
        while filled.get(row).is_some_and(|&n| n == PER_ROW) {
            row += 1;
        }
        filled.resize(filled.len().max(row + 1), 0);
        filled[row] += 1;
        row_of.push(row);
    }
    let last = filled.len();
    row_of.push(last);
    let mut rows = vec![Vec::new(); last + 1];
    for (part, &row) in row_of.iter().enumerate() {
        rows[row].push(Item::Part(part));
        let readers = cell.blocks.iter().enumerate().filter(|(_, block)| block.inputs.contains(&part));
        let is_loose = cell.loose_ends().any(|end| end + 2 == part);
        let readers = readers.map(|(idx, _)| row_of[idx + 2]).chain(is_loose.then_some(last));
        let end = readers.max().unwrap_or(0);
        for passed in rows.iter_mut().take(end).skip(row + 1) {
            passed.push(Item::Lane(part));
        }
    }
    rows
}

/// Reorders each row so that few wires cross: by the mean place of an item's neighbours, up and
/// down by turns, and the best order seen is kept.
fn uncross(rows: &mut Vec<Vec<Item>>, reads: &impl Fn(Item, usize) -> bool) {
    let mut best = (crossings(rows, reads), rows.clone());
    for pass in 0..PASSES {
        for step in 1..rows.len() {
            let (row, other) =
                if pass % 2 == 0 { (step, step - 1) } else { (rows.len() - 1 - step, rows.len() - step) };
            let neighbours = rows[other].clone();
            let mut keyed: Vec<(f64, Item)> = rows[row]
                .iter()
                .enumerate()
                .map(|(at, &item)| {
                    let joined = |&(_, it): &(usize, &Item)| {
                        if other < row { reads(item, it.source()) } else { reads(*it, item.source()) }
                    };
                    let places: Vec<usize> = neighbours.iter().enumerate().filter(joined).map(|(at, _)| at).collect();
                    let mean = places.iter().sum::<usize>() as f64 / places.len() as f64;
                    // An item without neighbours stays about where it is.
                    (if places.is_empty() { at as f64 } else { mean }, item)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows[row] = keyed.into_iter().map(|(_, item)| item).collect();
        }
        let now = crossings(rows, reads);
        if now < best.0 {
            best = (now, rows.clone());
        }
    }
    *rows = best.1;
}

fn crossings(rows: &[Vec<Item>], reads: &impl Fn(Item, usize) -> bool) -> usize {
    let between = |pair: &[Vec<Item>]| {
        let mut wires = Vec::new();
        for (from, source) in pair[0].iter().enumerate() {
            let readers = pair[1].iter().enumerate().filter(|(_, it)| reads(**it, source.source()));
            wires.extend(readers.map(|(to, _)| (from, to)));
        }
        let crossed = |(idx, a): (usize, &(usize, usize))| {
            wires[..idx].iter().filter(|b| (a.0 < b.0 && b.1 < a.1) || (b.0 < a.0 && a.1 < b.1)).count()
        };
        wires.iter().enumerate().map(crossed).sum::<usize>()
    };
    rows.windows(2).map(between).sum()
}

/// Middles of the items of each row: near the middle of what they are wired to, in order, and far
/// enough from each other.
fn positions(rows: &[Vec<Item>], output: usize, reads: &impl Fn(Item, usize) -> bool) -> Vec<Vec<f64>> {
    let offsets: Vec<Vec<f64>> = rows.iter().map(|row| offsets(row, output)).collect();
    let mut xs = offsets.clone();
    for pass in 0..2 * PASSES {
        for step in 0..rows.len() {
            let row = if pass % 2 == 0 { step } else { rows.len() - 1 - step };
            let wanted: Vec<(f64, f64)> = rows[row]
                .iter()
                .zip(&xs[row])
                .map(|(&item, &x)| {
                    let (mut sum, mut weight) = (0.0, 0.0);
                    let mut pull = |other: Item, x: f64| {
                        // A bend in a lane is uglier than a slanted way into a block.
                        let pull = if matches!((item, other), (Item::Lane(_), Item::Lane(_))) { 8.0 } else { 1.0 };
                        (sum, weight) = (sum + pull * x, weight + pull);
                    };
                    if let Some(above) = row.checked_sub(1) {
                        let ups = rows[above].iter().zip(&xs[above]).filter(|(up, _)| reads(item, up.source()));
                        ups.for_each(|(up, &x)| pull(*up, x));
                    }
                    if let Some(below) = rows.get(row + 1) {
                        let downs = below.iter().zip(&xs[row + 1]).filter(|(down, _)| reads(**down, item.source()));
                        downs.for_each(|(down, &x)| pull(*down, x));
                    }
                    if weight == 0.0 { (x, 1.0) } else { (sum / weight, weight) }
                })
                .collect();
            xs[row] = in_order(&wanted, &offsets[row]);
        }
    }
    let left = |(row, xs): (&Vec<Item>, &Vec<f64>)| row[0].size(output)[0].mul_add(-0.5, xs[0]);
    let least = rows.iter().zip(&xs).map(left).fold(f64::INFINITY, f64::min);
    for x in xs.iter_mut().flatten() {
        *x += MARGIN - least;
    }
    xs
}

/// Least distance of each item's middle from the first one's.
fn offsets(row: &[Item], output: usize) -> Vec<f64> {
    let (mut at, mut offsets) = (0.0, vec![0.0]);
    for pair in row.windows(2) {
        at += (pair[0].size(output)[0] + pair[1].size(output)[0]) / 2.0 + GAP;
        offsets.push(at);
    }
    offsets
}

/// The places nearest to those wanted (least squares, by weight) that keep the order and the
/// offsets. Less the offsets this is isotonic regression, solved by pooling adjacent violators.
fn in_order(wanted: &[(f64, f64)], offsets: &[f64]) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (&(x, weight), offset) in wanted.iter().zip(offsets) {
        pools.push((x - offset, weight, 1));
        while let [.., a, b] = pools[..]
            && b.0 < a.0
        {
            pools.truncate(pools.len() - 2);
            let weight = a.1 + b.1;
            pools.push(((a.0 * a.1 + b.0 * b.1) / weight, weight, a.2 + b.2));
        }
    }
    let places = pools.into_iter().flat_map(|(x, _, n)| std::iter::repeat_n(x, n));
    places.zip(offsets).map(|(x, offset)| x + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_the_nearest_in_order() {
        let check = |wanted: &[(f64, f64)], offsets: &[f64], expected: &[f64]| {
            assert_eq!(in_order(wanted, offsets), expected);
        };
        check(&[(5.0, 1.0), (50.0, 1.0)], &[0.0, 10.0], &[5.0, 50.0]);
        // Both want 20: they share the loss.
        check(&[(20.0, 1.0), (20.0, 1.0)], &[0.0, 10.0], &[15.0, 25.0]);
        // The heavier one moves less.
        check(&[(20.0, 4.0), (20.0, 1.0)], &[0.0, 10.0], &[18.0, 28.0]);
        check(&[(30.0, 1.0), (20.0, 1.0), (10.0, 1.0)], &[0.0, 10.0, 20.0], &[10.0, 20.0, 30.0]);
    }
}
