//! DARTS's recurrent cells with every choice open (H. Liu, K. Simonyan and Y. Yang, 2019, Sections 2.1 and 3.1.2).
//!
//! Each node is the sum over all states before it, and over none and four non-linearities `f` on each, of
//! `p (s + c (f(W s) - s))`: what a node of the cell makes of the state that it reads, by the weight `p` of the option.
//! `W` and that of the gate `c` are the node's own, whatever it reads. After each state stands a batch norm, which keeps the
//! values of the many steps in bounds; the cell that is found has none.
//!
//! The sum over an edge's options is computed with one gate. With `p` of none and `P = 1 - p` of the rest together it is
//! `P s + c (sum of p_f f(W s) - P s)`.

use graph::{Activation, Graph, GraphError, NodeId, Op};

use super::{
    Relax, Scale, SearchSpace,
    parts::best_first,
    recurrent::{FUNCTIONS, Function, Node, RecurrentCell, RecurrentSpace, begin, end, highway, of_both},
};
use crate::chooser::Chooser;

/// [`RecurrentSpace::darts`] and its relaxed network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRecurrent {
    /// Nodes behind the first state.
    pub nodes: usize,
}

/// The paper's eight nodes.
impl Default for OpenRecurrent {
    fn default() -> Self {
        Self { nodes: RecurrentSpace::darts().nodes }
    }
}

/// The option of an edge that passes nothing on; [`FUNCTIONS`] follow it.
const NONE: usize = 0;

/// Options of an edge.
const N_OPTIONS: usize = FUNCTIONS.len() + 1;

/// The key of the edge from state `input` to node `node`, from 0: node `i` reads `i + 1` states.
pub fn key(node: usize, input: usize) -> usize {
    node * (node + 1) / 2 + input
}

/// Which option of an edge a non-linearity is.
pub fn option(function: Function) -> usize {
    1 + function as usize
}

impl OpenRecurrent {
    fn space(self) -> RecurrentSpace {
        RecurrentSpace { nodes: self.nodes, ..RecurrentSpace::darts() }
    }

    fn n_edges(self) -> usize {
        key(self.nodes, 0)
    }
}

impl SearchSpace for OpenRecurrent {
    type Arch = RecurrentCell;

    fn sample(&self, chooser: &mut dyn Chooser) -> RecurrentCell {
        self.space().sample(chooser)
    }

    fn build(&self, cell: &RecurrentCell, scale: &Scale) -> Result<Graph, GraphError> {
        self.space().build(cell, scale)
    }

    fn given(&self) -> usize {
        self.space().given()
    }

    fn size(&self) -> u128 {
        self.space().size()
    }

    fn cheapest(&self) -> Vec<RecurrentCell> {
        self.space().cheapest()
    }
}

impl Relax for OpenRecurrent {
    fn relax(&self, scale: &Scale) -> Result<Graph, GraphError> {
        let mut graph = Graph::with_capacity(20 * self.n_edges() + 4 * self.nodes + 16);
        let hidden = scale.channels;
        let (x, [h]) = begin(&mut graph, scale, ["h"])?;
        let mut states = vec![graph.within(("node", 0), |graph| {
            let gate = graph.within("gate", |graph| of_both(graph, [x, h], hidden))?;
            let value = graph.within("value", |graph| of_both(graph, [x, h], hidden))?;
            let state = highway(graph, h, [gate, value], Function::Tanh)?;
            graph.add("norm", Op::BatchNorm, &[state])
        })?];
        for node in 0..self.nodes {
            let next = graph.within(("node", node + 1), |graph| {
                let first = linear_maps(graph, states[0], hidden)?;
                let mut ends = Vec::with_capacity(states.len());
                for (input, &state) in states.iter().enumerate() {
                    ends.push(graph.within(("from", input), |graph| {
                        let own = if input == 0 { first } else { linear_maps(graph, state, hidden)? };
                        if input != 0 {
                            own.into_iter().zip(first).try_for_each(|(own, first)| graph.tie(own, first))?;
                        }
                        edge(graph, state, own, key(node, input) as u32)
                    })?);
                }
                let sum = if let [one] = ends[..] { one } else { graph.add("sum", Op::Add, &ends)? };
                graph.add("norm", Op::BatchNorm, &[sum])
            })?;
            states.push(next);
        }
        let out = if let [_, one] = states[..] { one } else { graph.add("mean", Op::Mean, &states[1..])? };
        graph.remember(h, out)?;
        end(&mut graph, x, out, scale)?;
        Ok(graph)
    }

    fn options(&self) -> Vec<usize> {
        vec![N_OPTIONS; self.n_edges()]
    }

    /// A node keeps the strongest of its edges and non-linearities, none left out; nodes do not depend on each other.
    fn strongest(&self, scores: &[Vec<f64>]) -> impl Iterator<Item = RecurrentCell> {
        let nodes = (0..self.nodes).map(|node| {
            let inputs = (0..=node).flat_map(|input| FUNCTIONS.map(|function| Node { input, function }));
            inputs.map(|it| (scores[key(node, it.input)][option(it.function)], it)).collect()
        });
        best_first(nodes.collect()).map(|nodes| RecurrentCell { first: Function::Tanh, nodes })
    }

    fn chosen(&self, cell: &RecurrentCell) -> Vec<usize> {
        let mut chosen = vec![NONE; self.n_edges()];
        for (node, Node { input, function }) in cell.nodes.iter().enumerate() {
            chosen[key(node, *input)] = option(*function);
        }
        chosen
    }

    /// None: what a collapse to skip connections is of images.
    fn n_skips(&self, _cell: &RecurrentCell) -> usize {
        0
    }
}

/// Of the gate and of the value.
fn linear_maps(graph: &mut Graph, state: NodeId, features: usize) -> Result<[NodeId; 2], GraphError> {
    let gate = graph.add("gate", Op::Linear(features), &[state])?;
    Ok([gate, graph.add("value", Op::Linear(features), &[state])?])
}

/// All options on a state.
fn edge(graph: &mut Graph, state: NodeId, [gate, value]: [NodeId; 2], key: u32) -> Result<NodeId, GraphError> {
    let gate = graph.add("open", Op::Activation(Activation::Sigmoid), &[gate])?;
    let mut functions = Vec::with_capacity(FUNCTIONS.len());
    for function in FUNCTIONS {
        let option = option(function) as u32;
        functions.push(graph.within(("option", option as usize), |graph| {
            let value = function.add(graph, value)?;
            graph.add("weighed", Op::Weigh { key, option }, &[value])
        })?);
    }
    let functions = graph.add("functions", Op::Add, &functions)?;
    let lost = graph.add("none", Op::Weigh { key, option: NONE as u32 }, &[state])?;
    let passed = graph.add("passed", Op::Sub, &[state, lost])?;
    let change = graph.add("change", Op::Sub, &[functions, passed])?;
    let change = graph.add("gated", Op::Mul, &[gate, change])?;
    graph.add("state", Op::Add, &[passed, change])
}
