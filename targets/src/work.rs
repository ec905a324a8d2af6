//! The work in a network by kind: what an engine prices differently.

use std::collections::BTreeMap;

use graph::{
    Graph, NodeId, Op,
    cost::{Shipped, StaticCost, static_cost_with},
};
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
    /// Average pooling; in outputs times taps.
    AvgPool,
    /// Max pooling; in outputs times taps.
    MaxPool,
    /// Global average pooling; in input values.
    GlobalPool,
    /// Activations, additions, batch norms that could not be folded, zeros; in values written.
    Elementwise,
    /// Concatenation; in values copied.
    Concat,
    /// Starting an operation; in operations.
    Dispatch,
}

impl Work {
    /// Number of kinds.
    pub const COUNT: usize = 11;

    /// Every kind, in the order of [`Features`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Dense,
        Self::Pointwise,
        Self::Depthwise,
        Self::Linear,
        Self::Weights,
        Self::AvgPool,
        Self::MaxPool,
        Self::GlobalPool,
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
            Self::AvgPool => "avg-pool",
            Self::MaxPool => "max-pool",
            Self::GlobalPool => "global-pool",
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
            Self::GlobalPool | Self::Elementwise | Self::Concat => "value",
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
/// [`graph::fold::shipped`] would rebuild it.
pub fn features(graph: &Graph) -> Features {
    cost_and_features(graph).1
}

/// [`static_cost`](graph::cost::static_cost) and [`features`] on one way through the graph, because
/// every candidate of a search is priced.
pub fn cost_and_features(graph: &Graph) -> (StaticCost, Features) {
    // Counted in integers, which add faster and exactly.
    let mut amounts = [0_u64; Work::COUNT];
    let cost = static_cost_with(graph, |id, shipped| {
        let (work, amount) = work(graph, id, shipped);
        amounts[work as usize] += amount;
        if let Op::Conv2d(conv) = graph.op(id) {
            let fan_in = graph.shape(graph.inputs(id)[0]).channels();
            amounts[Work::Weights as usize] += (conv.channels * conv.taps(fan_in)) as u64;
        }
    });
    amounts[Work::Dispatch as usize] = cost.n_ops;
    (cost, Features(amounts.map(|amount| amount as f64)))
}

/// What node `id` of the shipped network does.
#[inline(always)]
fn work(graph: &Graph, id: NodeId, Shipped { macs, outputs }: Shipped) -> (Work, u64) {
    let inputs = graph.inputs(id);
    match graph.op(id) {
        Op::Conv2d(conv) => {
            let work = match conv.groups {
                1 if conv.kernel == [1, 1] => Work::Pointwise,
                1 => Work::Dense,
                groups if groups == graph.shape(inputs[0]).channels() => Work::Depthwise,
                _ => Work::Dense,
            };
            (work, macs)
        }
        Op::Linear(_) => (Work::Linear, macs),
        Op::MaxPool(pool) => (Work::MaxPool, outputs * (pool.kernel[0] * pool.kernel[1]) as u64),
        Op::AvgPool(pool) => (Work::AvgPool, outputs * (pool.kernel[0] * pool.kernel[1]) as u64),
        Op::GlobalAvgPool => (Work::GlobalPool, graph.shape(inputs[0]).elements() as u64),
        Op::Input | Op::Identity | Op::BatchNorm | Op::Activation(_) | Op::Zero(_) => (Work::Elementwise, outputs),
        Op::Add => (Work::Elementwise, outputs * (inputs.len() as u64 - 1)),
        Op::Concat => (Work::Concat, outputs),
    }
}
