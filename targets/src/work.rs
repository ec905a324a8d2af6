//! The work in a network by kind: what an engine prices differently.

use std::collections::BTreeMap;

use graph::{Graph, NodeId, Op, fold::alias};
use serde::{Deserialize, Serialize};

/// Kinds of work; each has a price of its own in a latency table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Convolutions that are neither of the next two; in MACs.
    Dense,
    /// 1x1 convolutions without groups; in MACs.
    Pointwise,
    /// Convolutions with one filter a channel; in MACs.
    Depthwise,
    /// Linear layers; in MACs.
    Linear,
    /// Weights of convolutions, which come from memory once whatever the size of the image; in weights.
    Weights,
    /// Values that convolutions other than depthwise ones read and write: they are packed for the
    /// matrix product; in values.
    Operands,
    /// Inner loops of depthwise convolutions and max pooling, one for each row and tap: on narrow maps
    /// they cost more than what they compute; in rows times taps.
    Rows,
    /// Average pooling; in outputs times taps.
    AvgPool,
    /// Max pooling; in outputs times taps.
    MaxPool,
    /// Global average pooling; in input values.
    GlobalPool,
    /// Activations; in values written.
    Activation,
    /// Additions, batch norms that could not be folded, zeros; in values written.
    Elementwise,
    /// Concatenation; in values copied.
    Concat,
    /// Starting an operation; in operations.
    Dispatch,
}

impl Work {
    /// Number of kinds.
    pub const COUNT: usize = 14;

    /// Every kind, in the order of [`Features`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Dense,
        Self::Pointwise,
        Self::Depthwise,
        Self::Linear,
        Self::Weights,
        Self::Operands,
        Self::Rows,
        Self::AvgPool,
        Self::MaxPool,
        Self::GlobalPool,
        Self::Activation,
        Self::Elementwise,
        Self::Concat,
        Self::Dispatch,
    ];

    /// Name in target files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Pointwise => "pointwise",
            Self::Depthwise => "depthwise",
            Self::Linear => "linear",
            Self::Weights => "weights",
            Self::Operands => "operands",
            Self::Rows => "rows",
            Self::AvgPool => "avg-pool",
            Self::MaxPool => "max-pool",
            Self::GlobalPool => "global-pool",
            Self::Activation => "activation",
            Self::Elementwise => "elementwise",
            Self::Concat => "concat",
            Self::Dispatch => "dispatch",
        }
    }

    /// What one unit of this work is.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Dense | Self::Pointwise | Self::Depthwise | Self::Linear => "MAC",
            Self::Weights => "weight",
            Self::AvgPool | Self::MaxPool => "tap",
            Self::Operands | Self::GlobalPool | Self::Activation | Self::Elementwise | Self::Concat => "value",
            Self::Rows => "row",
            Self::Dispatch => "operation",
        }
    }
}

/// Amount of each kind of work in one inference, by [`Work`] in declaration order. In files each
/// amount stands under the name of its kind, and kinds that are absent are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Work, f64>", into = "BTreeMap<Work, f64>")]
pub struct Features(pub [f64; Work::COUNT]);

impl Features {
    /// The amount of one kind.
    pub fn get(&self, work: Work) -> f64 {
        self.0[work as usize]
    }
}

impl From<BTreeMap<Work, f64>> for Features {
    fn from(amounts: BTreeMap<Work, f64>) -> Self {
        Self(Work::ALL.map(|work| amounts.get(&work).copied().unwrap_or(0.0)))
    }
}

impl From<Features> for BTreeMap<Work, f64> {
    fn from(features: Features) -> Self {
        Work::ALL.into_iter().zip(features.0).filter(|&(_, amount)| amount != 0.0).collect()
    }
}

/// The work in `graph` as it ships: batch norm folded into convolutions, identities gone, as
/// [`graph::fold::shipped`] would rebuild it. One pass, because every candidate of a search is
/// priced.
pub fn features(graph: &Graph) -> Features {
    let users = graph.n_users();
    let (mut features, mut n_ops) = (Features::default(), 0_u32);
    let mut values = Values::new(users.len());
    for id in graph.ids() {
        if values.is_known(graph, &users, id) {
            continue;
        }
        if let Some((work, amount)) = work(graph, &users, id) {
            features.0[work as usize] += amount;
            n_ops += 1;
        }
        add_overhead(&mut features, graph, id);
    }
    features.0[Work::Dispatch as usize] = f64::from(n_ops);
    features
}

/// Which nodes compute what another one has computed already: the engine does that once. Nodes with
/// weights of their own never do.
struct Values {
    /// The first node with the same value, by [`NodeId::index`].
    first: Vec<NodeId>,
    /// Of each value, the last node without weights that reads it as its first input, and from each of
    /// those the one before.
    readers: Vec<Option<NodeId>>,
    before: Vec<Option<NodeId>>,
}

impl Values {
    fn new(n_nodes: usize) -> Self {
        Self { first: Vec::with_capacity(n_nodes), readers: vec![None; n_nodes], before: vec![None; n_nodes] }
    }

    /// Takes in node `id`, after all before it; tells whether it computes nothing new.
    #[inline]
    fn is_known(&mut self, graph: &Graph, users: &[u32], id: NodeId) -> bool {
        if let Some(same) = alias(graph, users, id) {
            self.first.push(self.first[same.index()]);
            // It is counted with what it is folded into.
            return true;
        }
        let known = self.find(graph, id);
        self.first.push(known.unwrap_or(id));
        known.is_some()
    }

    fn find(&mut self, graph: &Graph, id: NodeId) -> Option<NodeId> {
        let op = graph.op(id);
        match op {
            // Activations are part of the convolution before them to many engines.
            Op::Input | Op::Conv2d(_) | Op::Linear(_) | Op::BatchNorm | Op::Activation(_) => return None,
            Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool | Op::Add | Op::Concat | Op::Identity | Op::Zero(_) => {
            }
        }
        let first = |input: &NodeId| self.first[input.index()];
        let reads = first(graph.inputs(id).first()?);
        let mut next = self.readers[reads.index()];
        while let Some(other) = next {
            let same = |(a, b): (&NodeId, &NodeId)| first(a) == first(b);
            let (here, there) = (graph.inputs(id), graph.inputs(other));
            if graph.op(other) == op && here.len() == there.len() && here.iter().zip(there).all(same) {
                return Some(other);
            }
            next = self.before[other.index()];
        }
        self.before[id.index()] = self.readers[reads.index()].replace(id);
        None
    }
}

/// What node `id` costs beside its arithmetic, because of how engines do it.
#[inline]
fn add_overhead(features: &mut Features, graph: &Graph, id: NodeId) {
    let rows = |taps: usize| (graph.shape(id).channels() * graph.shape(id).spatial()[0] * taps) as f64;
    match graph.op(id) {
        Op::Conv2d(conv) => {
            let input = graph.shape(graph.inputs(id)[0]);
            features.0[Work::Weights as usize] += (conv.channels * conv.taps(input.channels())) as f64;
            if 1 < conv.groups && conv.groups == input.channels() {
                features.0[Work::Rows as usize] += rows(conv.kernel[0] * conv.kernel[1]);
            } else {
                features.0[Work::Operands as usize] += (input.elements() + graph.shape(id).elements()) as f64;
            }
        }
        Op::MaxPool(pool) => features.0[Work::Rows as usize] += rows(pool.kernel[0] * pool.kernel[1]),
        Op::Input
        | Op::Identity
        | Op::BatchNorm
        | Op::Linear(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Activation(_)
        | Op::Add
        | Op::Concat
        | Op::Zero(_) => {}
    }
}

/// What node `id` does in the shipped network; `None` where it is not part of it.
#[inline]
fn work(graph: &Graph, users: &[u32], id: NodeId) -> Option<(Work, f64)> {
    let outputs = graph.shape(id).elements() as f64;
    let inputs = graph.inputs(id);
    match graph.op(id) {
        Op::Input => None,
        Op::Identity | Op::BatchNorm => alias(graph, users, id).is_none().then_some((Work::Elementwise, outputs)),
        Op::Conv2d(conv) => {
            let fan_in = graph.shape(inputs[0]).channels();
            let work = match conv.groups {
                1 if conv.kernel == [1, 1] => Work::Pointwise,
                1 => Work::Dense,
                groups if groups == fan_in => Work::Depthwise,
                _ => Work::Dense,
            };
            Some((work, outputs * conv.taps(fan_in) as f64))
        }
        Op::Linear(_) => Some((Work::Linear, outputs * graph.shape(inputs[0]).channels() as f64)),
        Op::MaxPool(pool) => Some((Work::MaxPool, outputs * (pool.kernel[0] * pool.kernel[1]) as f64)),
        Op::AvgPool(pool) => Some((Work::AvgPool, outputs * (pool.kernel[0] * pool.kernel[1]) as f64)),
        Op::GlobalAvgPool => Some((Work::GlobalPool, graph.shape(inputs[0]).elements() as f64)),
        Op::Activation(_) => Some((Work::Activation, outputs)),
        Op::Zero(_) => Some((Work::Elementwise, outputs)),
        Op::Add => Some((Work::Elementwise, outputs * (inputs.len() - 1) as f64)),
        Op::Concat => Some((Work::Concat, outputs)),
    }
}
