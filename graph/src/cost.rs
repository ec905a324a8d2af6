//! What a network costs before it is ever run: pure functions of the graph.
//!
//! Parameters are counted as trained, everything else as shipped, that is after batch norm is
//! folded into the convolutions and identities are gone ([`crate::fold`]).

use crate::{Conv2d, Graph, NodeId, Op, fold};

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
    static_cost_with(graph, |_| {}).0
}

/// An operation of the network as it ships.
#[derive(Clone, Copy, Debug)]
pub struct Shipped<'a> {
    /// Where it stands in the graph.
    pub id: NodeId,
    /// What it computes.
    pub op: &'a Op,
    /// What it reads, as the graph was built.
    pub inputs: &'a [NodeId],
    /// Weights of a convolution or linear layer, the bias not counted; 0 for all others.
    pub weights: u64,
    /// Its multiply-accumulates.
    pub macs: u64,
    /// Channels that a convolution reads; 0 for all others.
    pub fan_in: u64,
    /// Values that a convolution or global pool reads; 0 for all others.
    pub reads: u64,
    /// Values that it writes.
    pub writes: u64,
    /// Rows that it writes, those of every channel.
    pub rows: u64,
}

/// As [`static_cost`]; shows every operation as shipped to `visit`, in execution order, so that
/// whoever counts something else needs no way of its own through the graph.
#[inline]
pub fn static_cost_with<'a>(graph: &'a Graph, mut visit: impl FnMut(&Shipped<'a>)) -> (StaticCost, Origins) {
    let mut lives = Lives::new(graph);
    let (mut params, mut macs, mut weights, mut n_ops) = (0, 0, 0, 0);
    for (id, node, inputs) in graph.nodes() {
        let (channels, writes) = (node.shape.channels(), node.shape.elements());
        // Looked up by those kinds alone that count it.
        let read = || lives.value(inputs[0]);
        let plain = Shipped {
            id,
            op: &node.op,
            inputs,
            weights: 0,
            macs: 0,
            fan_in: 0,
            reads: 0,
            writes,
            rows: channels * node.shape.height(),
        };
        // Each kind is shown where it is known: what `visit` asks of it is then decided when the
        // program is compiled. It is shown before its value is written down, which would hide it.
        match &node.op {
            Op::Input => {
                lives.make(id, writes, channels);
                continue;
            }
            Op::Identity if Some(id) != graph.output() => {
                lives.pass_on(id, inputs[0]);
                continue;
            }
            Op::Conv2d(conv) => {
                let (reads, fan_in) = (read().elements, read().channels.into());
                let (kernel, bias) = (kernel(conv, fan_in), bias(conv));
                let uses = kernel * node.shape.pixels();
                macs += uses;
                params += kernel + bias;
                weights += kernel + bias;
                visit(&Shipped { weights: kernel, macs: uses, fan_in, reads, ..plain });
                lives.compute(&plain, channels, &inputs[..1]);
            }
            Op::Linear(_) => {
                let kernel = channels * u64::from(read().channels);
                macs += kernel;
                params += kernel + channels;
                weights += kernel + channels;
                visit(&Shipped { weights: kernel, macs: kernel, ..plain });
                lives.compute(&plain, channels, &inputs[..1]);
            }
            Op::BatchNorm => {
                params += 2 * channels;
                if let Some(conv) = fold::alias_of(graph, id, &node.op, inputs) {
                    let has_bias = matches!(graph.op(conv), Op::Conv2d(conv) if conv.bias);
                    // The convolution's bias, written by folding the first of its norms.
                    weights += if has_bias || !fold::is_first_norm(graph, conv, inputs[0]) { 0 } else { channels };
                    lives.pass_on(id, conv);
                    continue;
                }
                // Mean and variance as well.
                weights += 4 * channels;
                visit(&plain);
                lives.compute(&plain, channels, &inputs[..1]);
            }
            Op::Zero(_) => {
                // Zeros ship as a constant.
                weights += writes;
                visit(&plain);
                lives.compute(&plain, channels, &inputs[..1]);
            }
            Op::Activation(_) => {
                visit(&plain);
                lives.compute(&plain, channels, &inputs[..1]);
            }
            Op::GlobalAvgPool => {
                visit(&Shipped { reads: read().elements, ..plain });
                lives.compute(&plain, channels, &inputs[..1]);
            }
            Op::MaxPool(_) | Op::AvgPool(_) | Op::Identity => {
                visit(&plain);
                lives.compute(&plain, channels, &inputs[..1]);
            }
            Op::Add | Op::Concat | Op::Mix(_) => {
                visit(&plain);
                lives.compute(&plain, channels, inputs);
            }
        }
        n_ops += 1;
    }
    let cost = StaticCost {
        params,
        macs,
        model_bytes: F32_BYTES * weights,
        peak_bytes: F32_BYTES * lives.peak(),
        traffic_bytes: F32_BYTES * (lives.traffic + weights),
        n_ops,
    };
    (cost, Origins(lives.values))
}

/// Which node of the shipped network each node stands for.
pub struct Origins(Vec<Value>);

impl Origins {
    /// As [`fold::origin`].
    #[inline(always)]
    pub fn of(&self, id: NodeId) -> NodeId {
        NodeId(self.0[id.index()].stands_for)
    }
}

/// The output of a node.
#[derive(Clone, Copy, Default)]
struct Value {
    /// Values in it; 0 where another node of the shipped network makes it.
    elements: u64,
    /// Values that nobody reads after this node.
    dying: u64,
    channels: u32,
    /// The node that makes it in the shipped network.
    stands_for: u32,
    /// The last node there that reads it; before any does, the one that makes it.
    last_user: u32,
}

/// The values of the shipped network, and from when to when each is alive.
struct Lives {
    /// By node.
    values: Vec<Value>,
    /// Values that the operations so far have read and written.
    traffic: u64,
}

impl Lives {
    fn new(graph: &Graph) -> Self {
        Self { values: vec![Value::default(); graph.nodes.len()], traffic: 0 }
    }

    /// What a reader of node `id` reads.
    #[inline(always)]
    fn value(&self, id: NodeId) -> Value {
        self.values[self.values[id.index()].stands_for as usize]
    }

    /// Node `id` makes a value.
    #[inline(always)]
    fn make(&mut self, id: NodeId, elements: u64, channels: u64) {
        self.values[id.index()] =
            Value { elements, dying: 0, channels: channels as u32, stands_for: id.0, last_user: id.0 };
    }

    /// Node `id` makes a value of all its inputs.
    #[inline(always)]
    fn compute(&mut self, shipped: &Shipped, channels: u64, inputs: &[NodeId]) {
        for input in inputs {
            let origin = self.values[input.index()].stands_for as usize;
            self.values[origin].last_user = shipped.id.0;
            self.traffic += self.values[origin].elements;
        }
        self.traffic += shipped.writes;
        self.make(shipped.id, shipped.writes, channels);
    }

    /// Node `id` is no node of the shipped network: it stands for what `input` does.
    #[inline(always)]
    fn pass_on(&mut self, id: NodeId, input: NodeId) {
        self.values[id.index()].stands_for = self.values[input.index()].stands_for;
    }

    /// Largest sum of values that are alive together, each from the node that makes it to its last user.
    fn peak(&mut self) -> u64 {
        let (mut live, mut peak) = (0, 0);
        for idx in 0..self.values.len() {
            let Value { elements, last_user, .. } = self.values[idx];
            live += elements;
            peak = live.max(peak);
            self.values[last_user as usize].dying += elements;
            live -= self.values[idx].dying;
        }
        peak
    }
}

/// Trainable parameters of node `id`.
pub fn params(graph: &Graph, id: NodeId) -> u64 {
    let channels = graph.shape(id).channels() as u64;
    match graph.op(id) {
        Op::Conv2d(conv) => kernel(conv, fan_in(graph, id)) + bias(conv),
        Op::Linear(_) => channels * fan_in(graph, id) + channels,
        Op::BatchNorm => 2 * channels,
        Op::Input
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Identity
        | Op::Zero(_)
        | Op::Mix(_) => 0,
    }
}

/// Multiply-accumulates of node `id` for one sample.
pub fn macs(graph: &Graph, id: NodeId) -> u64 {
    let node = &graph.nodes[id.index()];
    match &node.op {
        Op::Conv2d(conv) => kernel(conv, fan_in(graph, id)) * node.shape.pixels(),
        Op::Linear(_) => node.shape.channels() * fan_in(graph, id),
        Op::Input
        | Op::BatchNorm
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Identity
        | Op::Zero(_)
        | Op::Mix(_) => 0,
    }
}

/// Channels or features of the first input.
fn fan_in(graph: &Graph, id: NodeId) -> u64 {
    graph.shape(graph.inputs(id)[0]).channels() as u64
}

/// Weights of a convolution that reads this many channels, its bias not counted. Each is used once at
/// every place of the output.
#[inline(always)]
fn kernel(conv: &Conv2d, fan_in: u64) -> u64 {
    (conv.channels * conv.taps(fan_in as usize)) as u64
}

#[inline(always)]
fn bias(conv: &Conv2d) -> u64 {
    if conv.bias { conv.channels as u64 } else { 0 }
}
