//! One description of a network, read by everyone: cost analysis, training and the ONNX writer.
//!
//! **Invariant.** Nodes stand in execution order: a node's inputs always precede it, and the last
//! node is the output. Every reader is therefore one `for id in graph.ids()` loop.
//!
//! **Invariant.** This crate knows no tensor library, no file format of networks and no target.
//!
//! ```
//! use graph::{Activation, Conv2d, Graph, Op, Shape, cost::static_cost};
//!
//! let mut graph = Graph::default();
//! let image = graph.input(Shape::Map([3, 32, 32]));
//! let conv = graph.add("conv", Op::Conv2d(Conv2d::same(16, 3, 1)), &[image])?;
//! let relu = graph.add("relu", Op::Activation(Activation::Relu), &[conv])?;
//! let pool = graph.add("pool", Op::GlobalAvgPool, &[relu])?;
//! graph.add("classifier", Op::Linear(10), &[pool])?;
//! assert_eq!(static_cost(&graph).macs, 16 * 32 * 32 * 3 * 9 + 16 * 10);
//! # Ok::<(), graph::GraphError>(())
//! ```

mod name;
mod narrow;
mod op;
mod packed;
mod section;

pub mod cost;
pub mod fold;
pub mod parallel;
pub mod relaxed;
pub mod weights;

pub use name::Label;
pub use op::{Activation, Conv2d, Op, Pads, Pool2d, Table};
pub use section::Section;

use std::ops::Range;

use name::Scope;
use packed::Packed;
use section::Run;

/// Index of a node in its [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// Position in execution order, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The node this many places later.
    #[must_use]
    pub fn later(self, n_nodes: u32) -> Self {
        Self(self.0 + n_nodes)
    }
}

/// Shape of one sample, without the batch axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A feature map: `[channels, height, width]`.
    Map([usize; 3]),
    /// A flat vector of this many features.
    Vector(usize),
}

impl Shape {
    /// Number of values.
    pub fn elements(self) -> usize {
        match self {
            Self::Map([channels, height, width]) => channels * height * width,
            Self::Vector(features) => features,
        }
    }

    /// Channels of a map, features of a vector.
    pub fn channels(self) -> usize {
        match self {
            Self::Map([channels, ..]) => channels,
            Self::Vector(features) => features,
        }
    }

    /// `[height, width]` of a map; `[1, 1]` of a vector.
    pub fn spatial(self) -> [usize; 2] {
        match self {
            Self::Map([_, height, width]) => [height, width],
            Self::Vector(_) => [1, 1],
        }
    }

    /// The axes as a list: three for a map, one for a vector.
    pub fn dims(self) -> Vec<usize> {
        match self {
            Self::Map(dims) => dims.to_vec(),
            Self::Vector(features) => vec![features],
        }
    }
}

/// One operation, the shape of its single output, and where it stands in the tree of names.
///
/// What the copies of a [`Section`] share stands in a list of its own, so that a node is short: building, copying and
/// counting a network take as long as its nodes take to be written and read.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Its place among [`Graph::ops`] and [`Graph::labels`].
    kind: u32,
    shape: Packed,
    scope: u32,
    inputs: Inputs,
    /// How many nodes read it.
    n_users: u32,
}

/// What a node reads: a range of [`Graph::edges`]. Most nodes read one other, which stands here as `start`: a list of
/// their inputs would be written and read beside the nodes.
#[derive(Clone, Copy, Debug)]
struct Inputs {
    start: NodeId,
    /// [`Inputs::ONE`] where `start` is the input itself.
    end: u32,
}

impl Inputs {
    const ONE: u32 = u32::MAX;
}

/// What is carried from one step of a recurrent network to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The [`Op::Memory`] node, which has the value of `next` of the step before.
    pub node: NodeId,
    /// The node that it remembers; itself until [`Graph::remember`] says otherwise.
    pub next: NodeId,
}

/// A network.
///
/// A recurrent network is the graph of one of its steps: what it knows of earlier steps stands in its
/// [memories](Graph::memories), so that it has no cycle.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    /// What the nodes compute; some are that of several nodes.
    ops: Vec<Op>,
    /// Their names within their scopes, in the order of `ops`.
    labels: Vec<Label>,
    /// The inputs of all nodes that do not have exactly one, one after the other.
    edges: Vec<NodeId>,
    scopes: Vec<Scope>,
    /// Sections and their copies, one after the other.
    runs: Vec<Run>,
    memories: Vec<Memory>,
    /// Nodes that use parameters of an earlier node, each with that node.
    ties: Vec<[NodeId; 2]>,
    /// The scope that new nodes join: 0 is the root, `n` is `scopes[n - 1]`.
    here: u32,
}

/// Why a graph could not be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// The inputs of a node do not fit its operation.
    #[error("{node}: {op} cannot take inputs of shape {shapes:?}")]
    Shape {
        /// Name of the offending node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Shapes it was given.
        shapes: Vec<Shape>,
    },
    /// Two nodes cannot share what they have not both.
    #[error("{node} has no weights of the same axes as {of}, which it should share")]
    Tie {
        /// Name of the node that was to use the other's.
        node: String,
        /// Name of the other.
        of: String,
    },
}

impl Graph {
    /// An empty graph with room for this many nodes: one that never moves while it grows is built
    /// faster.
    pub fn with_capacity(n_nodes: usize) -> Self {
        Self::with_copies(n_nodes, n_nodes)
    }

    /// As [`Graph::with_capacity`], where no more than `n_own` of the nodes are built and the others are copies of them
    /// ([`Graph::repeat`]). Memory that is asked for and not used is not free: the system's allocator gives large blocks
    /// back to the kernel, and gets them again for the next graph.
    pub fn with_copies(n_nodes: usize, n_own: usize) -> Self {
        Self {
            nodes: Vec::with_capacity(n_nodes),
            ops: Vec::with_capacity(n_own),
            labels: Vec::with_capacity(n_own),
            edges: Vec::with_capacity(n_nodes / 4),
            scopes: Vec::with_capacity(n_nodes),
            // Of a dozen cells and a few more.
            runs: Vec::with_capacity(16),
            memories: Vec::new(),
            ties: Vec::new(),
            here: 0,
        }
    }

    /// Adds the graph's input and names it `image`.
    ///
    /// # Panics
    /// A side has 2^20 pixels or more, or there are 2^23 channels: no image is that large.
    pub fn input(&mut self, shape: Shape) -> NodeId {
        let shape = Packed::new(shape).expect("no image is that large");
        self.push(Label::from("image"), Op::Input, shape, &[])
    }

    /// Adds a node that has zeros in the first step and then what [`Graph::remember`] says. What is kept from step to step
    /// is known by the node's name.
    ///
    /// # Panics
    /// There are no features, or 2^23 or more.
    pub fn memory(&mut self, label: impl Into<Label>, features: usize) -> NodeId {
        let shape = Packed::new(Shape::Vector(features)).filter(|_| 0 < features).expect("a memory holds something");
        let node = self.push(label.into(), Op::Memory(features), shape, &[]);
        self.memories.push(Memory { node, next: node });
        node
    }

    /// From now on `memory` has the value that `next` had in the step before.
    ///
    /// # Errors
    /// They have not the same shape; the graph stays as it was.
    ///
    /// # Panics
    /// `memory` is no [`Graph::memory`].
    pub fn remember(&mut self, memory: NodeId, next: NodeId) -> Result<(), GraphError> {
        let idx = self.memories.iter().position(|it| it.node == memory).expect("only a memory remembers");
        if self.shape(memory) != self.shape(next) {
            let Label { word, index } = self.label(memory);
            return Err(self.misfit(word, index, "Memory", &[next]));
        }
        let before = std::mem::replace(&mut self.memories[idx].next, next);
        if before != memory {
            self.nodes[before.index()].n_users -= 1;
        }
        if next != memory {
            self.nodes[next.index()].n_users += 1;
        }
        Ok(())
    }

    /// What is carried from step to step, in the order in which it was added; empty unless the network is recurrent.
    pub fn memories(&self) -> &[Memory] {
        &self.memories
    }

    /// From now on the linear map `node` uses those parameters of `of`, an earlier linear map or embedding, that have the
    /// same suffix and axes; the others stay its own. They are trained, counted and shipped once.
    ///
    /// # Errors
    /// They have none in common, or `node` is no linear map; the graph stays as it was.
    pub fn tie(&mut self, node: NodeId, of: NodeId) -> Result<(), GraphError> {
        let may = matches!(self.op(node), Op::Linear(_)) && matches!(self.op(of), Op::Linear(_) | Op::Embed(_));
        let theirs = weights::parameters(self, of);
        if !may || node <= of || weights::parameters(self, node).iter().all(|own| !theirs.contains(own)) {
            return Err(GraphError::Tie { node: self.name(node), of: self.name(of) });
        }
        self.ties.retain(|it| it[0] != node);
        self.ties.push([node, of]);
        Ok(())
    }

    /// Adds a node after its inputs; infers and checks its shape.
    ///
    /// # Errors
    /// The inputs do not fit the operation; the graph stays as it was.
    // Always inlined: most callers name the operation, so that most of its checks are decided when
    // the program is compiled, and the node is written where it stays.
    #[inline(always)]
    pub fn add(&mut self, label: impl Into<Label>, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let label = label.into();
        match op.infer(inputs.iter().map(|&id| self.nodes[id.index()].shape)) {
            Some(shape) => Ok(self.push(label, op, shape, inputs)),
            None => Err(self.misfit(label.word, label.index, op.name(), inputs)),
        }
    }

    /// Takes the label in parts: a reference to it would keep it in memory on the way that does not
    /// fail as well.
    #[cold]
    fn misfit(&self, word: &'static str, index: Option<u32>, op: &'static str, inputs: &[NodeId]) -> GraphError {
        GraphError::Shape {
            node: name::render(&self.scopes, self.here, Label { word, index }),
            op,
            shapes: inputs.iter().map(|&id| self.shape(id)).collect(),
        }
    }

    /// Runs `build` with every new node's name prefixed by `label/`.
    // Always inlined: scopes are small and many.
    #[inline(always)]
    pub fn within<T>(&mut self, label: impl Into<Label>, build: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.here;
        self.scopes.push(Scope { label: label.into(), parent: outer });
        self.here = self.scopes.len() as u32;
        let out = build(self);
        self.here = outer;
        out
    }

    #[inline(always)]
    fn push(&mut self, label: Label, op: Op, shape: Packed, inputs: &[NodeId]) -> NodeId {
        for &input in inputs {
            self.nodes[input.index()].n_users += 1;
        }
        let inputs = match inputs {
            &[start] => Inputs { start, end: Inputs::ONE },
            inputs => {
                let start = NodeId(self.edges.len() as u32);
                self.edges.extend(inputs);
                Inputs { start, end: self.edges.len() as u32 }
            }
        };
        self.nodes.push(Node { kind: self.ops.len() as u32, shape, scope: self.here, inputs, n_users: 0 });
        self.ops.push(op);
        self.labels.push(label);
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// Node ids in execution order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// These nodes with their operations and inputs, in execution order.
    #[inline(always)]
    fn nodes(&self, range: Range<usize>) -> impl Iterator<Item = (NodeId, &Node, &Op, &[NodeId])> {
        let ids = range.start as u32..;
        let nodes = self.nodes[range].iter();
        nodes.zip(ids).map(|(node, id)| (NodeId(id), node, &self.ops[node.kind as usize], self.inputs_of(node)))
    }

    #[inline(always)]
    fn inputs_of<'a>(&'a self, node: &'a Node) -> &'a [NodeId] {
        let Inputs { start, end } = &node.inputs;
        if *end == Inputs::ONE { std::slice::from_ref(start) } else { &self.edges[start.index()..*end as usize] }
    }

    /// Number of nodes, the input counted.
    pub fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// What node `id` computes.
    #[inline(always)]
    pub fn op(&self, id: NodeId) -> &Op {
        &self.ops[self.nodes[id.index()].kind as usize]
    }

    fn label(&self, id: NodeId) -> Label {
        self.labels[self.nodes[id.index()].kind as usize]
    }

    /// Shape of node `id`'s output.
    #[inline(always)]
    pub fn shape(&self, id: NodeId) -> Shape {
        self.nodes[id.index()].shape.shape()
    }

    /// Producers of node `id`'s inputs, all earlier in the graph.
    #[inline]
    pub fn inputs(&self, id: NodeId) -> &[NodeId] {
        self.inputs_of(&self.nodes[id.index()])
    }

    /// Full name of node `id`, such as `cell3/block1/left/sep_conv_3x3/depthwise`. It names the
    /// node's parameters: two graphs that use the same name and parameter shape share weights.
    pub fn name(&self, id: NodeId) -> String {
        let node = &self.nodes[id.index()];
        name::render(&self.scopes, node.scope, self.label(id))
    }

    /// The output node; `None` for an empty graph.
    pub fn output(&self) -> Option<NodeId> {
        self.nodes.len().checked_sub(1).map(|last| NodeId(last as u32))
    }

    /// 16 hexadecimal digits that two graphs share when they compute the same in the same order,
    /// whatever their nodes are called (FNV-1a over operations, shapes and edges).
    pub fn fingerprint(&self) -> String {
        use std::fmt::Write;

        let mut hash = Fnv::START;
        for id in self.ids() {
            write!(hash, "{:?}{:?}{:?};", self.op(id), self.shape(id), self.inputs(id)).expect("a hash takes any text");
        }
        for Memory { node, next } in &self.memories {
            write!(hash, "{node:?}{next:?};").expect("a hash takes any text");
        }
        for [node, of] in &self.ties {
            write!(hash, "{node:?}={of:?};").expect("a hash takes any text");
        }
        format!("{:016x}", hash.0)
    }

    /// 16 hexadecimal digits that two graphs share when they also share the names of their nodes, and with them their
    /// first weights.
    pub fn named_fingerprint(&self) -> String {
        use std::fmt::Write;

        let mut hash = Fnv::START;
        write!(hash, "{}", self.fingerprint()).expect("a hash takes any text");
        for id in self.ids() {
            write!(hash, "{};", self.name(id)).expect("a hash takes any text");
        }
        format!("{:016x}", hash.0)
    }

    /// A number that two graphs share when they compute the same in the same order, whatever their nodes are called.
    /// Faster than [`Graph::fingerprint`], but only good within one process.
    pub fn digest(&self) -> u64 {
        use std::hash::{Hash, Hasher};

        let mut hash = Folded(0);
        for (_, node, op, inputs) in self.nodes(0..self.n_nodes()) {
            op.hash(&mut hash);
            node.shape.hash(&mut hash);
            inputs.iter().for_each(|input| hash.write_u32(input.0));
        }
        self.memories.iter().for_each(|it| hash.write_u32(it.next.0));
        self.ties.iter().flatten().for_each(|id| hash.write_u32(id.0));
        hash.finish()
    }

    /// How many nodes read each node, memories that remember it included, by [`NodeId::index`].
    pub fn n_users(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.n_users).collect()
    }
}

/// The same nodes under the same names, whichever of them are copies.
impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        let same = |id: NodeId| {
            self.op(id) == other.op(id)
                && self.label(id) == other.label(id)
                && self.shape(id) == other.shape(id)
                && self.inputs(id) == other.inputs(id)
                && self.nodes[id.index()].scope == other.nodes[id.index()].scope
        };
        self.n_nodes() == other.n_nodes()
            && self.scopes == other.scopes
            && self.memories == other.memories
            && self.ties == other.ties
            && self.here == other.here
            && self.ids().all(same)
    }
}

/// Folds words into one: a multiplication each, and its high half into its low half.
struct Folded(u64);

impl std::hash::Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
        self.0 = (product >> 64) as u64 ^ product as u64 ^ self.0.rotate_left(29);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Hashes text as it is written, without keeping it.
struct Fnv(u64);

impl Fnv {
    const START: Self = Self(0xcbf2_9ce4_8422_2325);
}

impl std::fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0 = text.bytes().fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Ok(())
    }
}
