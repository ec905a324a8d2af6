//! A recurrent cell as a picture: its first state above, each node below the one that it reads. Every node reads one state,
//! so the states are a tree.

use search::space::recurrent::{Function, RecurrentCell};

use super::plot::{Rounded, put};

/// Width and height of a node, in pixels.
const NODE: [f64; 2] = [92.0, 52.0];
/// Free space between nodes, and around all.
const GAP: [f64; 2] = [18.0, 40.0];
const MARGIN: f64 = 8.0;

/// The cell as an `<svg>` element.
pub(super) fn drawing(cell: &RecurrentCell) -> String {
    let places = places(cell);
    let edge = |axis: usize| places.iter().map(|it| it[axis]).fold(0.0, f64::max) + NODE[axis] + MARGIN;
    let (width, height, n_nodes) = (edge(0).ceil(), edge(1).ceil(), cell.nodes.len());
    let mut svg = format!(
        r#"<svg class="cell" viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" aria-label="The chosen cell: its first state and {n_nodes} nodes, as listed in words beside the drawing">"#
    );
    for (idx, node) in cell.nodes.iter().enumerate() {
        let (from, to) = (places[node.input], places[idx + 1]);
        let middle = NODE[0] / 2.0;
        let [x, y, to_x, to_y] = [from[0] + middle, from[1] + NODE[1], to[0] + middle, to[1]].map(Rounded);
        let half = Rounded((from[1] + NODE[1] + to[1]) / 2.0);
        let (class, title) = (if node.input == 0 { "s0" } else { "s-block" }, words_of(cell, idx + 1));
        put(
            &mut svg,
            format_args!(
                r#"<path class="wire {class}" d="M{x} {y}C{x} {half} {to_x} {half} {to_x} {to_y}m-3.5-6l3.5 6l3.5-6"><title>{title}</title></path>"#
            ),
        );
    }
    for (state, place) in places.iter().enumerate() {
        draw_state(&mut svg, cell, state, *place);
    }
    svg.push_str("</svg>");
    svg
}

/// What each state is, and what leaves the cell: a name and its definition.
pub(super) fn words(cell: &RecurrentCell) -> Vec<(String, String)> {
    let states = (0..=cell.nodes.len()).map(|state| (name(state), words_of(cell, state)));
    let output = ("output".to_owned(), format!("mean of nodes 1 to {}", cell.nodes.len()));
    states.chain([output]).collect()
}

fn words_of(cell: &RecurrentCell, state: usize) -> String {
    match state.checked_sub(1) {
        None => format!("{} of the word and of the memory", function(cell.first)),
        Some(idx) => format!("{} of {}", function(cell.nodes[idx].function), name(cell.nodes[idx].input)),
    }
}

fn draw_state(svg: &mut String, cell: &RecurrentCell, state: usize, [x, y]: [f64; 2]) {
    let kind = state.checked_sub(1).map_or(cell.first, |idx| cell.nodes[idx].function);
    let class = match kind {
        Function::Identity => "pass",
        Function::Tanh | Function::Sigmoid => "conv",
        Function::Relu => "pool",
    };
    let ([width, height], chip) = (NODE, NODE[0] - 8.0);
    let [left, top, middle, below] = [x, y, x + width / 2.0, y + 44.0].map(Rounded);
    let [chip_left, chip_top, line] = [x + 4.0, y + 4.0, y + 20.0].map(Rounded);
    let (label, title) = (function(kind), name(state));
    put(
        svg,
        format_args!(
            r#"<g class="block"><rect x="{left}" y="{top}" width="{width}" height="{height}" rx="8"/><text x="{middle}" y="{below}" text-anchor="middle">{title}</text><rect class="{class}" x="{chip_left}" y="{chip_top}" width="{chip}" height="24" rx="5"/><text class="op" x="{middle}" y="{line}" text-anchor="middle">{label}</text></g>"#
        ),
    );
}

/// Upper left corners of the states: each in the row below what it reads, over the middle of what reads it.
fn places(cell: &RecurrentCell) -> Vec<[f64; 2]> {
    let n_states = cell.nodes.len() + 1;
    let readers = |state: usize| (1..n_states).filter(move |&it| cell.nodes[it - 1].input == state);
    let mut places = vec![[0.0; 2]; n_states];
    let mut depth = vec![0; n_states];
    for (idx, node) in cell.nodes.iter().enumerate() {
        depth[idx + 1] = depth[node.input] + 1;
    }
    // States that nobody reads stand side by side, in the order in which a walk from the first state meets them.
    let (mut free, mut open) = (MARGIN, vec![0]);
    let mut order = Vec::with_capacity(n_states);
    while let Some(state) = open.pop() {
        order.push(state);
        let before = open.len();
        open.extend(readers(state));
        open[before..].reverse();
        if readers(state).next().is_none() {
            places[state][0] = free;
            free += NODE[0] + GAP[0];
        }
    }
    for &state in order.iter().rev() {
        let below: Vec<f64> = readers(state).map(|it| places[it][0]).collect();
        if let [first, ..] = below[..] {
            places[state][0] = (first + below[below.len() - 1]) / 2.0;
        }
        places[state][1] = MARGIN + f64::from(depth[state]) * (NODE[1] + GAP[1]);
    }
    places
}

fn name(state: usize) -> String {
    if state == 0 { "first state".to_owned() } else { format!("node {state}") }
}

fn function(function: Function) -> &'static str {
    match function {
        Function::Tanh => "tanh",
        Function::Relu => "ReLU",
        Function::Identity => "identity",
        Function::Sigmoid => "sigmoid",
    }
}

#[cfg(test)]
mod tests {
    use search::{
        chooser::Uniform,
        space::{
            SearchSpace,
            recurrent::{Node, RecurrentSpace},
        },
    };

    use super::*;

    #[test]
    fn no_state_is_in_the_way_of_another() {
        for seed in 0..300 {
            let cell = RecurrentSpace::darts().sample(&mut Uniform::new(seed, "drawn", 0));
            let places = places(&cell);
            for (state, [x, y]) in places.iter().enumerate() {
                assert!(MARGIN <= *x && MARGIN <= *y, "{places:?}");
                let overlaps = |[left, top]: &[f64; 2]| (x - left).abs() < NODE[0] && (y - top).abs() < NODE[1];
                assert!(!places[..state].iter().any(overlaps), "{state} of {places:?}");
            }
            for (idx, node) in cell.nodes.iter().enumerate() {
                assert!(places[node.input][1] + NODE[1] < places[idx + 1][1], "below what it reads: {places:?}");
            }
            let svg = drawing(&cell);
            assert_eq!(svg.matches(r#"class="op""#).count(), 9);
            assert_eq!(svg.matches(r#"class="wire"#).count(), 8);
        }
    }

    #[test]
    fn the_words_define_each_state() {
        let node = |input, function| Node { input, function };
        let cell =
            RecurrentCell { first: Function::Tanh, nodes: vec![node(0, Function::Relu), node(1, Function::Identity)] };
        let expected = [
            ("first state", "tanh of the word and of the memory"),
            ("node 1", "ReLU of first state"),
            ("node 2", "identity of node 1"),
            ("output", "mean of nodes 1 to 2"),
        ];
        assert_eq!(words(&cell), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
