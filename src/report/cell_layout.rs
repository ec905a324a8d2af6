//! Where the parts of a cell are drawn: rows from the inputs down to the output, no part in the
//! way of another, no wire behind a part.
//!
//! After K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual Understanding of Hierarchical
//! System Structures" (1981): layers, an order within each layer that crosses few wires, then
//! positions. Two things are ours. A row holds at most two blocks, so that the drawing stays
//! readable on a phone. And the wires of one source share a lane past the rows that do not read it.

use search::space::cell::Cell;

use super::cell_rows::{BLOCK, END, Item, MARGIN, arranged, reads};

/// A drawing of a cell, in pixels, y downwards.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Width of the whole.
    pub(super) width: f64,
    /// Height of the whole.
    pub(super) height: f64,
    /// The two inputs, the blocks in order, the output.
    pub(super) parts: Vec<Part>,
    /// The wires, row by row.
    pub(super) wires: Vec<Wire>,
}

/// A box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    /// Middle.
    pub(super) x: f64,
    /// Upper edge.
    pub(super) y: f64,
    /// Width.
    pub(super) width: f64,
    /// Height.
    pub(super) height: f64,
    /// Which of a block's two sides stands left.
    pub(super) left: usize,
}

/// A piece of the way from a part to one that reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wire {
    /// Index into [`Layout::parts`] of what it carries.
    pub(super) source: usize,
    /// Where it ends: a part, and the side of a block; nothing where the wire goes on.
    pub(super) reader: Option<(usize, usize)>,
    /// Upper end.
    pub(super) from: [f64; 2],
    /// Lower end.
    pub(super) to: [f64; 2],
}

/// Free space between rows: enough for wires to cross without becoming flat.
const BETWEEN: f64 = 48.0;

/// Items of a row with their middles.
type Row = [(Item, f64)];

/// The drawing of a well-formed cell.
pub(super) fn layout(cell: &Cell) -> Layout {
    let rows = arranged(cell);
    let (mut parts, mut wires) = (parts(cell, &rows), Vec::new());
    for (idx, pair) in rows.windows(2).enumerate() {
        let (above, below) = (&pair[0], &pair[1]);
        order_sides(cell, &mut parts, above, below);
        for &(item, x) in above {
            let bottom = top(idx + 1) - BETWEEN;
            if let Item::Lane(source) = item {
                wires.push(Wire { source, reader: None, from: [x, top(idx)], to: [x, bottom] });
            }
            let source = item.source();
            for (reader, to) in ends(cell, &parts, source, below) {
                wires.push(Wire { source, reader, from: [x, bottom], to: [to, top(idx + 1)] });
            }
        }
    }
    let right = parts.iter().map(|part| part.x + part.width / 2.0);
    let right = right.chain(rows.iter().flatten().map(|(_, x)| *x)).fold(0.0, f64::max);
    Layout { width: right + MARGIN, height: top(rows.len() - 1) + END[1] + MARGIN, parts, wires }
}

/// Upper edge of a row: the inputs', then the blocks', then the output's.
fn top(row: usize) -> f64 {
    match row {
        0 => MARGIN,
        below => MARGIN + END[1] + BETWEEN + (below - 1) as f64 * (BLOCK[1] + BETWEEN),
    }
}

fn parts(cell: &Cell, rows: &[Vec<(Item, f64)>]) -> Vec<Part> {
    let output = cell.blocks.len() + 2;
    let mut parts = vec![Part { x: 0.0, y: 0.0, width: 0.0, height: 0.0, left: 0 }; output + 1];
    for (idx, row) in rows.iter().enumerate() {
        for &(item, x) in row {
            if let Item::Part(part) = item {
                let [width, height] = item.size(output);
                parts[part] = Part { x, y: top(idx), width, height, left: 0 };
            }
        }
    }
    parts
}

/// Addition commutes, so a block's sides stand in the order in which their wires arrive.
fn order_sides(cell: &Cell, parts: &mut [Part], above: &Row, below: &Row) {
    let arrival = |source: usize| above.iter().find(|(item, _)| item.source() == source).map_or(0.0, |it| it.1);
    for (item, _) in below {
        if let Item::Part(part) = *item
            && let Some(block) = cell.blocks.get(part - 2)
        {
            let [first, second] = block.inputs.map(arrival);
            parts[part].left = usize::from(second < first);
        }
    }
}

/// Where the wires of `source` enter the row `below`, and what they reach there.
fn ends(cell: &Cell, parts: &[Part], source: usize, below: &Row) -> Vec<(Option<(usize, usize)>, f64)> {
    let mut ends = Vec::new();
    for &(item, x) in below.iter().filter(|(item, _)| reads(cell, *item, source)) {
        match item {
            Item::Lane(_) => ends.push((None, x)),
            Item::Part(part) => match cell.blocks.get(part - 2) {
                None => ends.push((Some((part, 0)), x)),
                Some(block) => {
                    for side in (0..2).filter(|&side| block.inputs[side] == source) {
                        let offset = if side == parts[part].left { -0.25 } else { 0.25 };
                        ends.push((Some((part, side)), x + offset * BLOCK[0]));
                    }
                }
            },
        }
    }
    ends
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use search::space::cell::{Block, CellOp};

    use super::*;

    /// Every well-formed cell of up to nine blocks.
    pub(in super::super) fn cells() -> impl Strategy<Value = Cell> {
        prop::collection::vec((0..64_usize, 0..64_usize, 0..5_usize, 0..5_usize), 1..10).prop_map(|blocks| {
            let block = |(idx, (a, b, left, right)): (usize, (usize, usize, usize, usize))| Block {
                inputs: [a % (idx + 2), b % (idx + 2)],
                ops: [CellOp::ALL[left], CellOp::ALL[right]],
            };
            Cell { blocks: blocks.into_iter().enumerate().map(block).collect() }
        })
    }

    fn overlap(a: &Part, b: &Part) -> bool {
        (a.x - b.x).abs() < (a.width + b.width) / 2.0 && a.y < b.y + b.height && b.y < a.y + a.height
    }

    proptest! {
        #[test]
        fn nothing_is_in_the_way_of_anything(cell in cells()) {
            let layout = layout(&cell);
            for (idx, part) in layout.parts.iter().enumerate() {
                prop_assert!(0.0 < part.width, "{idx} has no place");
                prop_assert!(0.0 <= part.x - part.width / 2.0 && part.x + part.width / 2.0 <= layout.width);
                prop_assert!(0.0 <= part.y && part.y + part.height <= layout.height);
                for other in &layout.parts[..idx] {
                    prop_assert!(!overlap(part, other), "{part:?} {other:?}");
                }
            }
            for wire in &layout.wires {
                // Wires bend between rows only, so a part can be in the way of an upright piece alone.
                let upright = wire.from[0] == wire.to[0];
                let hides = |part: &Part| {
                    (wire.from[0] - part.x).abs() < part.width / 2.0
                        && wire.from[1] < part.y + part.height && part.y < wire.to[1]
                };
                prop_assert!(!(upright && layout.parts.iter().any(hides)), "{wire:?}");
            }
        }

        #[test]
        fn every_read_has_a_whole_way(cell in cells()) {
            let layout = layout(&cell);
            let reads = |source: usize, reader: (usize, usize)| {
                let mut end = layout.wires.iter().find(|it| it.source == source && it.reader == Some(reader));
                while let Some(wire) = end {
                    let start = &layout.parts[source];
                    if wire.from == [start.x, start.y + start.height] {
                        return true;
                    }
                    end = layout.wires.iter().find(|it| it.source == source && it.to == wire.from);
                }
                false
            };
            for (idx, block) in cell.blocks.iter().enumerate() {
                for side in 0..2 {
                    prop_assert!(reads(block.inputs[side], (idx + 2, side)), "block {idx}, side {side}");
                }
            }
            for end in cell.loose_ends() {
                prop_assert!(reads(end + 2, (cell.blocks.len() + 2, 0)), "loose end {end}");
            }
            let reads = 2 * cell.blocks.len() + cell.loose_ends().count();
            prop_assert_eq!(layout.wires.iter().filter(|it| it.reader.is_some()).count(), reads);
        }

        #[test]
        fn a_part_stands_below_what_it_reads(cell in cells()) {
            let parts = layout(&cell).parts;
            for (idx, block) in cell.blocks.iter().enumerate() {
                for input in block.inputs {
                    prop_assert!(parts[input].y + parts[input].height < parts[idx + 2].y);
                }
            }
        }
    }
}
