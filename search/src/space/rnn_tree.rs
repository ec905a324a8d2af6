//! Recurrent cells as trees: the space of NAS-RL (B. Zoph and Q. V. Le, 2016) for language models.
//!
//! Each leaf of a binary tree combines a linear map of the word with one of `h`, what the cell gave at the word before; each
//! inner node combines its two children, without weights of its own. The root gives the new `h`. The tree also has a memory
//! of its own, `c`: at one node it is combined with the node's value (the cell inject), and the value of one node, before its
//! non-linearity, is what `c` has at the next word.
//!
//! The paper tells this for a tree of two leaves. That both nodes are chosen among all nodes of the tree is a reconstruction:
//! it gives `8^16 * 15^2`, the 6 * 10^16 cells that the paper prints for its trees of eight leaves.

use graph::{Graph, GraphError, NodeId, Op};
use serde::{Deserialize, Serialize};

use super::{
    Scale, SearchSpace,
    recurrent::{FUNCTIONS, Function, begin, end},
};
use crate::chooser::{Chooser, Kind, Question};

/// All trees of as many leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeSpace {
    /// The base number: leaves, a power of two. The paper has 8.
    pub base: usize,
}

impl Default for TreeSpace {
    fn default() -> Self {
        Self { base: 8 }
    }
}

/// How two values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Their sum.
    Add,
    /// Their elementwise product.
    ElemMult,
}

/// Both.
pub const COMBINES: [Combine; 2] = [Combine::Add, Combine::ElemMult];

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tree {
    /// The leaves, then each layer of inner nodes up to the root: the `k`-th of a layer has the children `2k` and `2k + 1` of
    /// the layer below.
    pub nodes: Vec<Step>,
    /// How `c` enters.
    pub inject: Step,
    /// The node whose value, before its non-linearity, is the next `c`.
    pub kept: usize,
    /// The node at which `c` enters.
    pub injected: usize,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step {
    /// How its two values become one.
    pub combine: Combine,
    /// What follows.
    pub function: Function,
}

impl Step {
    fn sample(chooser: &mut dyn Chooser) -> Self {
        let combine = COMBINES[chooser.choose(Question { kind: Kind::Combine, options: COMBINES.len() })];
        Self { combine, function: Function::sample(chooser) }
    }

    /// The value before the non-linearity, and behind it.
    fn add(self, graph: &mut Graph, inputs: [NodeId; 2]) -> Result<[NodeId; 2], GraphError> {
        let op = match self.combine {
            Combine::Add => Op::Add,
            Combine::ElemMult => Op::Mul,
        };
        let before = graph.add("combine", op, &inputs)?;
        Ok([before, self.function.add(graph, before)?])
    }
}

impl TreeSpace {
    fn n_nodes(&self) -> usize {
        2 * self.base - 1
    }
}

impl SearchSpace for TreeSpace {
    type Arch = Tree;

    /// For each node how it combines and what follows, the same of the inject, and the two cell indices.
    fn sample(&self, chooser: &mut dyn Chooser) -> Tree {
        let n = self.n_nodes();
        let nodes = (0..n).map(|_| Step::sample(chooser)).collect();
        let inject = Step::sample(chooser);
        let [kept, injected] = [(); 2].map(|()| chooser.choose(Question { kind: Kind::Place, options: n }));
        Tree { nodes, inject, kept, injected }
    }

    /// Of a [`Scale`] the channels count, as features of words and memories, and the classes, as words.
    fn build(&self, tree: &Tree, scale: &Scale) -> Result<Graph, GraphError> {
        let hidden = scale.channels;
        let mut graph = Graph::with_capacity(4 * self.n_nodes() + 8);
        let (x, [h, c]) = begin(&mut graph, scale, ["h", "c"])?;
        let mut values: Vec<NodeId> = Vec::with_capacity(self.n_nodes());
        let mut next_c = c;
        for (idx, step) in tree.nodes.iter().enumerate() {
            let value = graph.within(("node", idx), |graph| {
                let inputs = match idx.checked_sub(self.base) {
                    None => {
                        let word = graph.add("word", Op::Linear(hidden), &[x])?;
                        [word, graph.add("memory", Op::Linear(hidden), &[h])?]
                    }
                    // Each inner node takes the first two values that none has taken.
                    Some(nth) => [values[2 * nth], values[2 * nth + 1]],
                };
                let [before, value] = step.add(graph, inputs)?;
                if idx == tree.kept {
                    next_c = before;
                }
                if idx != tree.injected {
                    return Ok(value);
                }
                graph.within("inject", |graph| tree.inject.add(graph, [value, c])).map(|[_, value]| value)
            })?;
            values.push(value);
        }
        let root = values[values.len() - 1];
        graph.remember(h, root)?;
        graph.remember(c, next_c)?;
        end(&mut graph, x, root, scale)?;
        Ok(graph)
    }

    /// `8^(2b - 1)` trees, 8 injects and `(2b - 1)^2` pairs of nodes.
    fn size(&self) -> u128 {
        let steps = (COMBINES.len() * FUNCTIONS.len()) as u128;
        let places = (self.n_nodes() as u128).saturating_pow(2);
        steps.saturating_pow(self.n_nodes() as u32 + 1).saturating_mul(places)
    }

    /// No non-linearity anywhere, `c` read at the first leaf and then gone, and the root remembered twice.
    fn cheapest(&self) -> Vec<Tree> {
        let plain = Step { combine: Combine::Add, function: Function::Identity };
        let n = self.n_nodes();
        vec![Tree { nodes: vec![plain; n], inject: plain, kept: n - 1, injected: 0 }]
    }
}
