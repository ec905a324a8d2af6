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
    static_cost_with(graph, |_, _, _| {})
}

/// An operation of the network as it ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Its multiply-accumulates.
    pub macs: u64,
    /// Values that it writes.
    pub outputs: u64,
}

/// Which node of the shipped network each node seen so far stands for.
#[derive(Clone, Copy)]
pub struct Origins<'a>(&'a [Value]);

impl Origins<'_> {
    /// As [`fold::origin`], for a node that was shown or stood before one.
    #[inline(always)]
    pub fn of(&self, id: NodeId) -> NodeId {
        NodeId(self.0[id.index()].stands_for)
    }
}

/// As [`static_cost`]; shows every operation as shipped to `visit`, in execution order, so that
/// whoever counts something else needs no way of its own through the graph.
#[inline]
pub fn static_cost_with(graph: &Graph, mut visit: impl FnMut(NodeId, Shipped, Origins)) -> StaticCost {
    let users = graph.n_users();
    let mut cost = StaticCost::default();
    // By node, as small as they can be: what follows reads them out of order.
    let mut values: Vec<Value> = Vec::with_capacity(users.len());
    for id in graph.ids() {
        let folds_into = fold::alias(graph, &users, id);
        let before = cost.macs;
        add_weights(&mut cost, graph, id, folds_into);
        let outputs = graph.shape(id).elements() as u64;
        let stands_for = match folds_into {
            Some(input) => values[input.index()].stands_for,
            None => id.index() as u32,
        };
        let bytes = F32_BYTES * outputs;
        values.push(Value { bytes, dead_bytes: bytes, stands_for });
        if folds_into.is_none() && !matches!(graph.op(id), Op::Input) {
            cost.n_ops += 1;
            visit(id, Shipped { macs: cost.macs - before, outputs }, Origins(&values));
        }
    }
    let mut live_bytes = 0;
    // Backwards: a value is alive from its last reader, which comes first, to the node that makes it.
    for id in graph.ids().rev() {
        let Value { bytes: made, dead_bytes, stands_for } = values[id.index()];
        if stands_for as usize != id.index() {
            continue;
        }
        // What nobody reads is there while it is made.
        live_bytes += dead_bytes;
        let inputs = graph.inputs(id);
        cost.traffic_bytes += if inputs.is_empty() { 0 } else { made };
        for input in inputs {
            let Value { bytes: read, stands_for, .. } = values[input.index()];
            cost.traffic_bytes += read;
            live_bytes += std::mem::take(&mut values[stands_for as usize].dead_bytes);
        }
        cost.peak_bytes = cost.peak_bytes.max(live_bytes);
        live_bytes -= made;
    }
    cost.traffic_bytes += cost.model_bytes;
    cost
}

/// The output of a node.
#[derive(Clone, Copy)]
struct Value {
    bytes: u64,
    /// Its bytes until a reader has made it live, then 0: adding them needs no decision.
    dead_bytes: u64,
    /// The node that makes it in the network as it ships.
    stands_for: u32,
}

/// Trainable parameters of node `id`.
pub fn params(graph: &Graph, id: NodeId) -> u64 {
    weights(graph, id).params
}

/// Multiply-accumulates of node `id` for one sample.
pub fn macs(graph: &Graph, id: NodeId) -> u64 {
    weights(graph, id).macs
}

fn weights(graph: &Graph, id: NodeId) -> StaticCost {
    let mut cost = StaticCost::default();
    add_weights(&mut cost, graph, id, None);
    cost
}

/// Adds what the weights of node `id` cost: parameters, their use, and the bytes that ship.
// Always inlined: its sums then stay in registers through the loop above.
#[inline(always)]
fn add_weights(cost: &mut StaticCost, graph: &Graph, id: NodeId, folds_into: Option<NodeId>) {
    let shape = graph.shape(id);
    let fan_in = || graph.shape(graph.inputs(id)[0]).channels();
    match graph.op(id) {
        Op::Conv2d(conv) => {
            let kernel = (conv.channels * conv.taps(fan_in())) as u64;
            let bias = if conv.bias { conv.channels as u64 } else { 0 };
            // Every weight but a bias is used once at every place of the output.
            let [height, width] = shape.spatial();
            cost.macs += kernel * (height * width) as u64;
            cost.params += kernel + bias;
            cost.model_bytes += F32_BYTES * (kernel + bias);
        }
        Op::Linear(features) => {
            let (kernel, bias) = ((features * fan_in()) as u64, *features as u64);
            cost.macs += kernel;
            cost.params += kernel + bias;
            cost.model_bytes += F32_BYTES * (kernel + bias);
        }
        Op::BatchNorm => {
            let channels = shape.channels() as u64;
            cost.params += 2 * channels;
            let shipped = match folds_into.map(|conv| graph.op(conv)) {
                Some(Op::Conv2d(conv)) if conv.bias => 0,
                // The convolution's bias, written by folding.
                Some(_) => channels,
                // Mean and variance as well.
                None => 4 * channels,
            };
            cost.model_bytes += F32_BYTES * shipped;
        }
        // Zeros ship as a constant.
        Op::Zero(_) => cost.model_bytes += F32_BYTES * shape.elements() as u64,
        Op::Input
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Identity => {}
    }
}
