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
/// [`graph::fold::shipped`] would rebuild it. One pass, because every candidate of a search is
/// priced.
pub fn features(graph: &Graph) -> Features {
    let users = graph.n_users();
    let (mut features, mut n_ops) = (Features::default(), 0_u32);
    for id in graph.ids() {
        if let Some((work, amount)) = work(graph, &users, id) {
            features.0[work as usize] += amount;
            n_ops += 1;
        }
        if let Op::Conv2d(conv) = graph.op(id) {
            let fan_in = graph.shape(graph.inputs(id)[0]).channels();
            features.0[Work::Weights as usize] += (conv.channels * conv.taps(fan_in)) as f64;
        }
    }
    features.0[Work::Dispatch as usize] = f64::from(n_ops);
    features
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
        Op::Activation(_) | Op::Zero(_) => Some((Work::Elementwise, outputs)),
        Op::Add => Some((Work::Elementwise, outputs * (inputs.len() - 1) as f64)),
        Op::Concat => Some((Work::Concat, outputs)),
    }
}
