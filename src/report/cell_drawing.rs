//! The chosen cell as a picture: inputs above, blocks with their two operations, output below.

use search::space::cell::{Block, Cell, CellOp};

use super::{
    cell_layout::{Layout, Part, Wire, layout},
    plot::{Rounded, put},
};

/// The cell as an `<svg>` element.
pub(super) fn drawing(cell: &Cell) -> String {
    let Layout { width, height, parts, wires } = layout(cell);
    let (width, height, n_blocks) = (width.ceil(), height.ceil(), cell.blocks.len());
    let mut svg = format!(
        r#"<svg class="cell" viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" aria-label="The chosen cell: {n_blocks} blocks between its two inputs and its output, as listed in words beside the drawing">"#
    );
    for wire in &wires {
        draw_wire(&mut svg, cell, wire);
    }
    for (idx, part) in parts.iter().enumerate() {
        if (2..n_blocks + 2).contains(&idx) {
            draw_block(&mut svg, &cell.blocks[idx - 2], idx, part);
        } else {
            draw_end(&mut svg, cell, idx, part);
        }
    }
    svg.push_str("</svg>");
    svg
}

/// What each block computes and what leaves the cell: a name and its definition.
pub(super) fn words(cell: &Cell) -> Vec<(String, String)> {
    let side = |block: &Block, side: usize| format!("{} of {}", op(block.ops[side]), name(cell, block.inputs[side]));
    let block =
        |(idx, block): (usize, &Block)| (name(cell, idx + 2), format!("{}  +  {}", side(block, 0), side(block, 1)));
    let ends: Vec<String> = cell.loose_ends().map(|idx| name(cell, idx + 2)).collect();
    let convolved = if ends.len() == 1 { "1×1 convolution of" } else { "sum of the 1×1 convolutions of" };
    let output = (name(cell, cell.blocks.len() + 2), format!("{convolved} {}", ends.join(", ")));
    cell.blocks.iter().enumerate().map(block).chain([output]).collect()
}

fn draw_wire(svg: &mut String, cell: &Cell, wire: &Wire) {
    let ([x, y], [to_x, to_y]) = (wire.from.map(Rounded), wire.to.map(Rounded));
    let middle = Rounded((wire.from[1] + wire.to[1]) / 2.0);
    let class = match wire.source {
        0 => "s0",
        1 => "s1",
        source if cell.loose_ends().any(|end| end + 2 == source) => "s-out",
        _ => "s-block",
    };
    let source = name(cell, wire.source);
    let title = match wire.reader {
        None => source,
        Some((part, _)) if part == cell.blocks.len() + 2 => format!("{source}, read by no block, goes to the output"),
        Some((part, side)) => format!("{}: {} of {source}", name(cell, part), op(cell.blocks[part - 2].ops[side])),
    };
    let head = if wire.reader.is_some() { "m-3.5-6l3.5 6l3.5-6" } else { "" };
    put(
        svg,
        format_args!(
            r#"<path class="wire {class}" d="M{x} {y}C{x} {middle} {to_x} {middle} {to_x} {to_y}{head}"><title>{title}</title></path>"#
        ),
    );
}

fn draw_end(svg: &mut String, cell: &Cell, idx: usize, part: &Part) {
    let is_output = idx == cell.blocks.len() + 2;
    let is_read = is_output || cell.blocks.iter().any(|block| block.inputs.contains(&idx));
    let class = if is_output { "s-out" } else { ["s0", "s1"][idx] };
    let (unread, title) = match (idx, is_read) {
        (0, true) => ("", "output of the cell before the previous one"),
        (1, true) => ("", "output of the previous cell"),
        (_, false) => (" unread", "no block reads this input"),
        (_, true) => ("", "sum of a 1×1 convolution of each block that no other block reads"),
    };
    let (x, y, left, height) = (Rounded(part.x), Rounded(part.y), Rounded(part.x - part.width / 2.0), part.height);
    let (middle, label, width) = (Rounded(part.y + 20.0), name(cell, idx), part.width);
    put(
        svg,
        format_args!(
            r#"<g class="end {class}{unread}"><title>{title}</title><rect x="{left}" y="{y}" width="{width}" height="{height}" rx="15"/><text x="{x}" y="{middle}" text-anchor="middle">{label}</text></g>"#
        ),
    );
}

fn draw_block(svg: &mut String, block: &Block, idx: usize, part: &Part) {
    let (x, y, left) = (Rounded(part.x), Rounded(part.y), Rounded(part.x - part.width / 2.0));
    let (below, width, height, number) = (Rounded(part.y + 44.0), part.width, part.height, idx - 2);
    put(
        svg,
        format_args!(
            r#"<g class="block"><rect x="{left}" y="{y}" width="{width}" height="{height}" rx="8"/><text x="{x}" y="{below}" text-anchor="middle">block {number}</text>"#
        ),
    );
    for (side, kind) in block.ops.into_iter().enumerate() {
        let middle = part.x + part.width * if side == part.left { -0.25 } else { 0.25 };
        let chip = part.width / 2.0 - 6.0;
        let (x, left, top, line) =
            (Rounded(middle), Rounded(middle - chip / 2.0), Rounded(part.y + 4.0), Rounded(part.y + 20.0));
        let (class, label) = (class(kind), op(kind));
        put(
            svg,
            format_args!(
                r#"<rect class="{class}" x="{left}" y="{top}" width="{chip}" height="24" rx="5"/><text class="op" x="{x}" y="{line}" text-anchor="middle">{label}</text>"#
            ),
        );
    }
    svg.push_str("</g>");
}

fn name(cell: &Cell, part: usize) -> String {
    match part {
        0 => "h[i−2]".to_owned(),
        1 => "h[i−1]".to_owned(),
        output if output == cell.blocks.len() + 2 => "output".to_owned(),
        block => format!("block {}", block - 2),
    }
}

fn op(op: CellOp) -> &'static str {
    match op {
        CellOp::Identity => "identity",
        CellOp::SepConv3 => "sep 3×3",
        CellOp::SepConv5 => "sep 5×5",
        CellOp::AvgPool => "avg 3×3",
        CellOp::MaxPool => "max 3×3",
    }
}

fn class(op: CellOp) -> &'static str {
    match op {
        CellOp::Identity => "pass",
        CellOp::SepConv3 | CellOp::SepConv5 => "conv",
        CellOp::AvgPool | CellOp::MaxPool => "pool",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::cell_layout::tests::cells, *};

    proptest! {
        #[test]
        fn the_picture_names_every_block_and_operation(cell in cells()) {
            let svg = drawing(&cell);
            prop_assert_eq!(svg.matches(r#"class="op""#).count(), 2 * cell.blocks.len());
            for idx in 0..cell.blocks.len() {
                let label = format!(">block {idx}</text>");
                prop_assert_eq!(svg.matches(&label).count(), 1);
            }
            prop_assert_eq!(svg.contains("unread"), (0..2).any(|input| {
                cell.blocks.iter().all(|block| !block.inputs.contains(&input))
            }));
        }
    }

    #[test]
    fn the_words_define_each_block() {
        let cell = Cell {
            blocks: vec![
                Block { inputs: [0, 1], ops: [CellOp::SepConv5, CellOp::Identity] },
                Block { inputs: [2, 1], ops: [CellOp::MaxPool, CellOp::AvgPool] },
            ],
        };
        let expected = [
            ("block 0", "sep 5×5 of h[i−2]  +  identity of h[i−1]"),
            ("block 1", "max 3×3 of block 0  +  avg 3×3 of h[i−1]"),
            ("output", "1×1 convolution of block 1"),
        ];
        assert_eq!(words(&cell), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
