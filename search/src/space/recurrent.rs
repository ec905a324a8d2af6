//! Recurrent cells of a language model, as ENAS (H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, 2018) and DARTS (H. Liu,
//! K. Simonyan and Y. Yang, 2019) search them: nodes of one input and one non-linearity each, behind highway gates.
//!
//! A node makes `s_j = s_i + c (f(W s_i) - s_i)` of the state `s_i` that it reads, with the gate `c = sigmoid(V s_i)`. The
//! first state reads the word and what the cell gave at the word before, `s_0 = h + c (f(W x + W' h) - h)` with
//! `c = sigmoid(V x + V' h)`. What the cell gives is a mean of states; it is remembered, and the classifier reads it.
//!
//! The network is the graph of one word. Linear maps have a bias here; the authors' have none.

use graph::{Activation, Graph, GraphError, NodeId, Op, Shape, Table};
use serde::{Deserialize, Serialize};

use super::{Morph, Scale, SearchSpace, layers::SCALES};
use crate::chooser::{Chooser, Kind, Question};

/// Whose cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// ENAS's: the first state's non-linearity is chosen and counts as a node; every pair of states has weights of its own;
    /// the mean is over the states that no node reads.
    Enas,
    /// DARTS's: the first state's is tanh; a node has the same weights whatever it reads; the mean is over all nodes.
    Darts,
}

/// All cells of as many nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecurrentSpace {
    /// Nodes: 12 in ENAS, its first state counted; 8 in DARTS, its first state not counted.
    pub nodes: usize,
    /// Whose.
    pub style: Style,
}

impl RecurrentSpace {
    /// ENAS's, of 12 nodes.
    pub fn enas() -> Self {
        Self { nodes: 12, style: Style::Enas }
    }

    /// DARTS's, of 8 nodes: what random search with weight sharing searches as well.
    pub fn darts() -> Self {
        Self { nodes: 8, style: Style::Darts }
    }

    /// Nodes behind the first state.
    fn n_behind(&self) -> usize {
        match self.style {
            Style::Enas => self.nodes.saturating_sub(1),
            Style::Darts => self.nodes,
        }
    }
}

/// A non-linearity that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// `tanh(x)`.
    Tanh,
    /// `max(0, x)`.
    Relu,
    /// `x`.
    Identity,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// Those of both papers, and of NAS-RL's cells.
pub const FUNCTIONS: [Function; 4] = [Function::Tanh, Function::Relu, Function::Identity, Function::Sigmoid];

impl Function {
    pub(super) fn sample(chooser: &mut dyn Chooser) -> Self {
        FUNCTIONS[chooser.choose(Question { kind: Kind::Activation, options: FUNCTIONS.len() })]
    }

    pub(super) fn add(self, graph: &mut Graph, input: NodeId) -> Result<NodeId, GraphError> {
        let activation = match self {
            Self::Tanh => Activation::Tanh,
            Self::Relu => Activation::Relu,
            Self::Sigmoid => Activation::Sigmoid,
            Self::Identity => return Ok(input),
        };
        graph.add("function", Op::Activation(activation), &[input])
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecurrentCell {
    /// The non-linearity of the first state.
    pub first: Function,
    /// The nodes behind it.
    pub nodes: Vec<Node>,
}

/// One node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    /// The state that it reads: 0 is the first, `k` that of the `k`-th node.
    pub input: usize,
    /// What it does.
    pub function: Function,
}

impl RecurrentCell {
    /// The states that no node reads.
    pub fn loose_ends(&self) -> impl Iterator<Item = usize> {
        (0..=self.nodes.len()).filter(|&state| self.nodes.iter().all(|node| node.input != state))
    }
}

impl SearchSpace for RecurrentSpace {
    type Arch = RecurrentCell;

    /// The first state's non-linearity, where it is chosen; then for each node the state that it reads and what it does.
    fn sample(&self, chooser: &mut dyn Chooser) -> RecurrentCell {
        let first = match self.style {
            Style::Enas => {
                let first = Function::sample(chooser);
                chooser.define();
                first
            }
            Style::Darts => Function::Tanh,
        };
        let mut node = |idx: usize| {
            let input = chooser.choose(Question { kind: Kind::Input, options: idx + 1 });
            let function = Function::sample(chooser);
            chooser.define();
            Node { input, function }
        };
        RecurrentCell { first, nodes: (0..self.n_behind()).map(&mut node).collect() }
    }

    /// Of a [`Scale`] the channels count, as features of words and states, and the classes, as words. The number of nodes is
    /// the cell's own.
    fn build(&self, cell: &RecurrentCell, scale: &Scale) -> Result<Graph, GraphError> {
        let mut graph = Graph::with_capacity(6 * cell.nodes.len() + 16);
        let hidden = scale.channels;
        let [x, h] = begin(&mut graph, scale, ["h"]).map(|(x, [h])| [x, h])?;
        let mut states = vec![graph.within(("node", 0), |graph| {
            let gate = graph.within("gate", |graph| of_both(graph, [x, h], hidden))?;
            let value = graph.within("value", |graph| of_both(graph, [x, h], hidden))?;
            highway(graph, h, [gate, value], cell.first)
        })?];
        for (idx, &Node { input, function }) in cell.nodes.iter().enumerate() {
            let state = states[input];
            let next = graph.within(("node", idx + 1), |graph| {
                let both = |graph: &mut Graph| -> Result<[NodeId; 2], GraphError> {
                    let gate = graph.add("gate", Op::Linear(hidden), &[state])?;
                    Ok([gate, graph.add("value", Op::Linear(hidden), &[state])?])
                };
                let both = match self.style {
                    Style::Enas => graph.within(("from", input), both)?,
                    Style::Darts => both(graph)?,
                };
                highway(graph, state, both, function)
            })?;
            states.push(next);
        }
        let averaged: Vec<NodeId> = match self.style {
            Style::Enas => cell.loose_ends().map(|state| states[state]).collect(),
            Style::Darts if states.len() == 1 => states,
            Style::Darts => states[1..].to_vec(),
        };
        let out = match averaged[..] {
            [one] => one,
            _ => graph.add("mean", Op::Mean, &averaged)?,
        };
        graph.remember(h, out)?;
        end(&mut graph, x, out, scale)?;
        Ok(graph)
    }

    /// The first state of DARTS's cells.
    fn given(&self) -> usize {
        match self.style {
            Style::Enas => 0,
            Style::Darts => 1,
        }
    }

    /// `4^n (n - 1)!` cells of ENAS, about 10^15 of 12 nodes; `4^n n!` of DARTS.
    fn size(&self) -> u128 {
        let functions = 4_u128.saturating_pow(self.nodes as u32);
        (1..=self.n_behind() as u128).fold(functions, u128::saturating_mul)
    }

    /// A chain of identities: none of them computes a non-linearity, and the mean is over as few as it can be.
    fn cheapest(&self) -> Vec<RecurrentCell> {
        let first = if self.style == Style::Enas { Function::Identity } else { Function::Tanh };
        let nodes = (0..self.n_behind()).map(|input| Node { input, function: Function::Identity }).collect();
        vec![RecurrentCell { first, nodes }]
    }
}

impl Morph for RecurrentSpace {
    /// One step: a node gets another non-linearity, or reads another state. Nothing is inserted or removed, for all cells
    /// have as many nodes; the first state's non-linearity stays.
    fn morph(&self, arch: &RecurrentCell, chooser: &mut dyn Chooser) -> RecurrentCell {
        let mut cell = arch.clone();
        let what = chooser.choose(Question { kind: Kind::Edit, options: SCALES });
        let changed = chooser.choose(Question { kind: Kind::Place, options: cell.nodes.len() });
        if what == CHANGE_FUNCTION {
            cell.nodes[changed].function = Function::sample(chooser);
        } else {
            (self.given()..=changed).for_each(|_| chooser.define());
            cell.nodes[changed].input = chooser.choose(Question { kind: Kind::Input, options: changed + 1 });
        }
        cell
    }

    /// What each node reads and computes.
    fn embed(&self, arch: &RecurrentCell) -> Vec<Vec<usize>> {
        let nth = |function: Function| FUNCTIONS.iter().position(|it| *it == function).unwrap_or_default();
        arch.nodes.iter().map(|node| vec![node.input, nth(node.function)]).collect()
    }
}

/// What may change about a node, of [`SCALES`] such things: its non-linearity, or what it reads.
const CHANGE_FUNCTION: usize = 0;

/// Begins a language model: the vector of the word that it reads, and its memories, all of as many features.
pub(super) fn begin<const N: usize>(
    graph: &mut Graph,
    scale: &Scale,
    memories: [&'static str; N],
) -> Result<(NodeId, [NodeId; N]), GraphError> {
    let word = graph.input(Shape::Vector(1));
    let memories = memories.map(|label| graph.memory(label, scale.channels));
    let table = Table { words: scale.classes, features: scale.channels };
    Ok((graph.add("embed", Op::Embed(table), &[word])?, memories))
}

/// Ends a language model: the scores of all words, by the vectors that `x` reads them as. As in the papers the classifier
/// and the embedding are one matrix (H. Inan, K. Khosravi and R. Socher, 2017; O. Press and L. Wolf, 2017).
pub(super) fn end(graph: &mut Graph, x: NodeId, out: NodeId, scale: &Scale) -> Result<(), GraphError> {
    let classifier = graph.add("classifier", Op::Linear(scale.classes), &[out])?;
    graph.tie(classifier, x)
}

/// `W x + W' h`.
pub(super) fn of_both(graph: &mut Graph, [x, h]: [NodeId; 2], features: usize) -> Result<NodeId, GraphError> {
    let new = graph.add("word", Op::Linear(features), &[x])?;
    let old = graph.add("memory", Op::Linear(features), &[h])?;
    graph.add("sum", Op::Add, &[new, old])
}

/// `state + sigmoid(gate) (f(value) - state)`.
pub(super) fn highway(
    graph: &mut Graph,
    state: NodeId,
    [gate, value]: [NodeId; 2],
    function: Function,
) -> Result<NodeId, GraphError> {
    let gate = graph.add("open", Op::Activation(Activation::Sigmoid), &[gate])?;
    let value = function.add(graph, value)?;
    let change = graph.add("change", Op::Sub, &[value, state])?;
    let change = graph.add("gated", Op::Mul, &[gate, change])?;
    graph.add("state", Op::Add, &[state, change])
}
