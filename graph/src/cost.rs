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
    let mut buffers: Vec<Buffer> = graph.ids().map(|id| Buffer { owner: id, last_use: id, bytes: 0 }).collect();
    for id in graph.ids() {
        let own = node_cost(graph, id);
        cost.params += own.params;
        if let Some(input) = fold::alias(graph, &users, id) {
            buffers[id.index()].owner = buffers[input.index()].owner;
            if matches!(graph.op(id), Op::BatchNorm) && !matches!(graph.op(input), Op::Conv2d(conv) if conv.bias) {
                // The convolution's bias, written by folding.
                let bias = F32_BYTES * graph.shape(id).channels() as u64;
                cost.model_bytes += bias;
                cost.traffic_bytes += bias;
            }
            continue;
        }
        cost.macs += own.macs;
        cost.model_bytes += F32_BYTES * own.weights;
        cost.traffic_bytes += F32_BYTES * own.weights;
        let bytes = bytes(graph, id);
        buffers[id.index()].bytes = bytes;
        if !matches!(graph.op(id), Op::Input) {
            cost.n_ops += 1;
            cost.traffic_bytes += bytes;
        }
        for &input in graph.inputs(id) {
            cost.traffic_bytes += self::bytes(graph, input);
            let owner = buffers[input.index()].owner;
            buffers[owner.index()].last_use = id;
        }
    }
    cost.peak_bytes = peak_bytes(&buffers);
    cost
}

#[inline]
fn bytes(graph: &Graph, id: NodeId) -> u64 {
    F32_BYTES * graph.shape(id).elements() as u64
}

/// The memory that holds a node's value.
struct Buffer {
    /// The node whose memory it is: another one where this node is folded away.
    owner: NodeId,
    /// The last node that reads it; the owner where nobody does.
    last_use: NodeId,
    /// Size, in bytes; 0 where it is another node's.
    bytes: u64,
}

/// What a node costs where nothing is folded.
#[derive(Default)]
struct NodeCost {
    params: u64,
    macs: u64,
    /// Numbers that ship.
    weights: u64,
}

/// Trainable parameters of node `id`.
pub fn params(graph: &Graph, id: NodeId) -> u64 {
    node_cost(graph, id).params
}

/// Multiply-accumulates of node `id` for one sample.
pub fn macs(graph: &Graph, id: NodeId) -> u64 {
    node_cost(graph, id).macs
}

#[inline(always)]
fn node_cost(graph: &Graph, id: NodeId) -> NodeCost {
    let shape = graph.shape(id);
    let fan_in = || graph.inputs(id).first().map_or(0, |&input| graph.shape(input).channels());
    match graph.op(id) {
        Op::Conv2d(conv) => {
            let kernel = conv.channels * conv.taps(fan_in());
            let bias = if conv.bias { conv.channels } else { 0 };
            // Every weight but a bias is used once at every place of the output.
            let [height, width] = shape.spatial();
            let weights = (kernel + bias) as u64;
            NodeCost { params: weights, macs: (kernel * height * width) as u64, weights }
        }
        Op::Linear(features) => {
            let kernel = features * fan_in();
            let weights = (kernel + features) as u64;
            NodeCost { params: weights, macs: kernel as u64, weights }
        }
        // Alone it ships mean and variance as well.
        Op::BatchNorm => {
            let channels = shape.channels() as u64;
            NodeCost { params: 2 * channels, macs: 0, weights: 4 * channels }
        }
        // Zeros ship as a constant.
        Op::Zero(_) => NodeCost { weights: shape.elements() as u64, ..NodeCost::default() },
        Op::Input
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Identity => NodeCost::default(),
    }
}

/// One pass: a buffer is added when its owner runs and dropped after its last reader has.
fn peak_bytes(buffers: &[Buffer]) -> u64 {
    let mut dying = vec![0_u64; buffers.len()];
    let (mut live, mut peak) = (0, 0);
    for (idx, buffer) in buffers.iter().enumerate() {
        live += buffer.bytes;
        peak = peak.max(live);
        dying[buffer.last_use.index()] += buffer.bytes;
        live -= dying[idx];
    }
    peak
}
