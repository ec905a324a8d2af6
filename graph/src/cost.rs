//! What a network costs before it is ever run: pure functions of the graph.
//!
//! Parameters are counted as trained, everything else as shipped, that is after batch norm is
//! folded into the convolutions and identities are gone ([`crate::fold`]).

use crate::{Graph, NodeId, Op, fold};

/// Bytes of one `f32` activation or weight.
pub const F32_BYTES: u64 = 4;

/// Costs known from the graph alone, for one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StaticCost {
    /// Trainable parameters, a count; batch norm has two a channel.
    pub params: u64,
    /// Multiply-accumulates of convolutions and linear layers. One MAC is two FLOPs.
    pub macs: u64,
    /// Weights as shipped, in bytes.
    pub model_bytes: u64,
    /// Largest sum of live activations while executing in node order, in bytes. An operation's
    /// inputs and its output are alive together; nothing is computed in place.
    pub peak_bytes: u64,
    /// Bytes that the operations read and write, each input, weight and output once.
    pub traffic_bytes: u64,
    /// Operations as shipped, the input not counted.
    pub n_ops: u64,
}

impl StaticCost {
    /// Compute intensity in FLOPs per byte: `2 * macs / traffic_bytes`; 0 for an empty network.
    pub fn intensity(&self) -> f64 {
        if self.traffic_bytes == 0 { 0.0 } else { 2.0 * self.macs as f64 / self.traffic_bytes as f64 }
    }
}

/// Costs of `graph` for one sample.
pub fn static_cost(graph: &Graph) -> StaticCost {
    let mut cost = StaticCost::default();
    let users = graph.n_users();
    // The node whose output a node's value really is, once the graph is folded.
    let mut owner: Vec<NodeId> = graph.ids().collect();
    let mut last_use: Vec<u32> = (0..owner.len() as u32).collect();
    for id in graph.ids() {
        cost.params += params(graph, id);
        if let Some(input) = fold::alias(graph, &users, id) {
            owner[id.index()] = owner[input.index()];
            if matches!(graph.op(id), Op::BatchNorm) && !matches!(graph.op(input), Op::Conv2d(conv) if conv.bias) {
                // The convolution's bias, written by folding.
                let bias = F32_BYTES * graph.shape(id).channels() as u64;
                cost.model_bytes += bias;
                cost.traffic_bytes += bias;
            }
            continue;
        }
        cost.macs += macs(graph, id);
        let weights = F32_BYTES * shipped_weights(graph, id);
        cost.model_bytes += weights;
        cost.traffic_bytes += weights;
        if *graph.op(id) != Op::Input {
            cost.n_ops += 1;
            cost.traffic_bytes += bytes(graph, id);
        }
        for input in graph.inputs(id) {
            cost.traffic_bytes += bytes(graph, *input);
            last_use[owner[input.index()].index()] = id.0;
        }
    }
    cost.peak_bytes = peak_bytes(graph, &owner, &last_use);
    cost
}

/// Trainable parameters of node `id`.
pub fn params(graph: &Graph, id: NodeId) -> u64 {
    match graph.op(id) {
        Op::BatchNorm => 2 * graph.shape(id).channels() as u64,
        Op::Conv2d(_) | Op::Linear(_) => shipped_weights(graph, id),
        Op::Input
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Identity
        | Op::Zero(_) => 0,
    }
}

/// Multiply-accumulates of node `id` for one sample.
pub fn macs(graph: &Graph, id: NodeId) -> u64 {
    match graph.op(id) {
        Op::Conv2d(conv) => {
            let taps = conv.kernel[0] * conv.kernel[1];
            (graph.shape(id).elements() * fan_in(graph, id) / conv.groups * taps) as u64
        }
        Op::Linear(features) => (features * fan_in(graph, id)) as u64,
        Op::Input
        | Op::BatchNorm
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Identity
        | Op::Zero(_) => 0,
    }
}

/// Weights that node `id` ships with; a batch norm that cannot be folded ships scale and shift.
fn shipped_weights(graph: &Graph, id: NodeId) -> u64 {
    let weights = match graph.op(id) {
        Op::Conv2d(conv) => {
            let taps = conv.kernel[0] * conv.kernel[1];
            let bias = if conv.bias { conv.channels } else { 0 };
            conv.channels * (fan_in(graph, id) / conv.groups) * taps + bias
        }
        Op::Linear(features) => features * (fan_in(graph, id) + 1),
        Op::BatchNorm => 4 * graph.shape(id).channels(),
        Op::Zero(_) => graph.shape(id).elements(),
        Op::Input
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Identity => 0,
    };
    weights as u64
}

fn fan_in(graph: &Graph, id: NodeId) -> usize {
    graph.inputs(id).first().map_or(0, |&input| graph.shape(input).channels())
}

fn bytes(graph: &Graph, id: NodeId) -> u64 {
    F32_BYTES * graph.shape(id).elements() as u64
}

/// One pass: a buffer is added when its owner runs and dropped after its last reader has.
fn peak_bytes(graph: &Graph, owner: &[NodeId], last_use: &[u32]) -> u64 {
    let mut dying = vec![0_u64; owner.len()];
    let (mut live, mut peak) = (0, 0);
    for id in graph.ids() {
        if owner[id.index()] != id {
            continue;
        }
        let size = bytes(graph, id);
        live += size;
        peak = peak.max(live);
        dying[last_use[id.index()] as usize] += size;
        live -= dying[id.index()];
    }
    peak
}
