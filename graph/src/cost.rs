//! What a network costs before it is ever run: pure functions of the graph.
//!
//! Parameters are counted as trained, everything else as shipped, that is after batch norm is
//! folded into the convolutions and identities are gone ([`crate::fold`]).

use std::ops::Range;

use crate::{Conv2d, Graph, NodeId, Op, Table, fold, section::Run, weights};

/// Bytes of one `f32` activation or weight.
pub const F32_BYTES: u64 = 4;

/// Costs known from the graph alone, for one sample; of a recurrent network for one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StaticCost {
    /// Trainable parameters, a count; batch norm has two a channel.
    pub params: u64,
    /// Multiply-accumulates of convolutions and linear layers. One MAC is two FLOPs.
    pub macs: u64,
    /// Weights as shipped, in bytes.
    pub model_bytes: u64,
    /// Largest sum of live activations while executing in node order, in bytes. An operation's
    /// inputs and its output are alive together; nothing is computed in place. What a recurrent network remembers stays
    /// alive to the end of the step.
    pub peak_bytes: u64,
    /// Bytes that the operations read and write, each input, weight and output once; of an embedding one row.
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
    static_cost_with(graph, Nothing).0
}

/// Counts something else on the same way through the graph.
pub trait Tally {
    /// How much was counted so far.
    type Mark: Copy;

    /// Takes in an operation as it ships.
    fn op(&mut self, shipped: &Shipped);

    /// How much was counted so far.
    fn mark(&self) -> Self::Mark;

    /// Everything that was counted between two marks comes again, this many nodes later.
    fn again(&mut self, from: Self::Mark, to: Self::Mark, later: u32);
}

/// Counts nothing else.
struct Nothing;

impl Tally for Nothing {
    type Mark = ();

    #[inline(always)]
    fn op(&mut self, _: &Shipped) {}

    fn mark(&self) {}

    fn again(&mut self, (): (), (): (), _: u32) {}
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

impl<'a> Shipped<'a> {
    /// Node `id`, which has no weights and ships.
    pub fn weightless(graph: &'a Graph, id: NodeId) -> Self {
        let (op, inputs, shape) = (graph.op(id), graph.inputs(id), graph.nodes[id.index()].shape);
        let reads = if matches!(op, Op::GlobalAvgPool) { graph.shape(inputs[0]).elements() as u64 } else { 0 };
        let (writes, rows) = (shape.elements(), shape.channels() * shape.height());
        Self { id, op, inputs, weights: 0, macs: 0, fan_in: 0, reads, writes, rows }
    }
}

/// As [`static_cost`]; shows every operation as shipped to `tally`, in execution order, so that whoever counts something
/// else needs no way of its own through the graph.
///
/// A copy of a section costs what the section does: its nodes are not looked at again.
#[inline]
pub fn static_cost_with<T: Tally>(graph: &Graph, tally: T) -> (StaticCost, Origins, T) {
    let mut count = Count { graph, lives: Lives::new(graph), totals: Totals::default(), lowest: 0, tally };
    let mut known: Vec<Known<T::Mark>> = Vec::with_capacity(graph.runs.len());
    let mut next = 0;
    for run in &graph.runs {
        count.nodes(next..run.nodes.start);
        next = run.nodes.end;
        let source = known.iter().find(|it| it.start == run.of);
        // The last node of all may ship otherwise than its likes.
        match source.filter(|_| next < graph.n_nodes() && run.is_closed(graph)) {
            Some(known) => count.again(known, run),
            None => known.extend(count.section(run)),
        }
    }
    count.nodes(next..graph.n_nodes());
    let Count { mut lives, totals, tally, .. } = count;
    for memory in &graph.memories {
        lives.keep(memory.next);
    }
    let tied: u64 = graph.ties.iter().map(|it| weights::tied(graph, it[0])).sum();
    let cost = StaticCost {
        params: totals.params - tied,
        macs: totals.macs,
        model_bytes: F32_BYTES * (totals.weights - tied),
        peak_bytes: F32_BYTES * lives.peak(),
        traffic_bytes: F32_BYTES * (totals.traffic + totals.weights - totals.idle),
        n_ops: totals.n_ops,
    };
    (cost, Origins(lives.values), tally)
}

/// Shows every operation as shipped to `visit`, in execution order: copies of sections as well.
pub fn each_shipped(graph: &Graph, visit: impl FnMut(&Shipped)) -> Origins {
    let tally = Each(visit);
    let mut count = Count { graph, lives: Lives::new(graph), totals: Totals::default(), lowest: 0, tally };
    count.nodes(0..graph.n_nodes());
    Origins(count.lives.values)
}

/// Shows each operation, and so cannot do without any.
struct Each<F>(F);

impl<F: FnMut(&Shipped)> Tally for Each<F> {
    type Mark = ();

    fn op(&mut self, shipped: &Shipped) {
        (self.0)(shipped);
    }

    fn mark(&self) {}

    fn again(&mut self, (): (), (): (), _: u32) {
        unreachable!("nodes are counted one by one");
    }
}

/// What adds up.
#[derive(Clone, Copy, Default)]
struct Totals {
    params: u64,
    macs: u64,
    weights: u64,
    n_ops: u64,
    /// Values that the operations so far have read and written.
    traffic: u64,
    /// Weights that no operation reads in this step: rows of other words.
    idle: u64,
}

impl Totals {
    /// Adds what was counted between two states.
    fn add(&mut self, from: Self, to: Self) {
        self.params += to.params - from.params;
        self.macs += to.macs - from.macs;
        self.weights += to.weights - from.weights;
        self.n_ops += to.n_ops - from.n_ops;
        self.traffic += to.traffic - from.traffic;
        self.idle += to.idle - from.idle;
    }
}

/// What is known of a section once it was counted.
struct Known<M> {
    start: usize,
    totals: [Totals; 2],
    marks: [M; 2],
    /// The last of its nodes that reads each input, if any does.
    readers: [Option<u32>; 2],
    /// The last of its nodes that reads what the last node stands for.
    last_user: u32,
}

/// The state of counting.
struct Count<'a, T> {
    graph: &'a Graph,
    lives: Lives,
    totals: Totals,
    /// The lowest node that decides, since this was set, whether another vanishes.
    lowest: u32,
    tally: T,
}

impl<T: Tally> Count<'_, T> {
    /// Counts a section, or a copy of which nothing is known. `None` where nothing can be said of its copies: whether
    /// its first nodes vanish depends on what they read, or its inputs are the same value.
    fn section(&mut self, run: &Run) -> Option<Known<T::Mark>> {
        let origins = |lives: &Lives| run.inputs.map(|input| lives.values[input.index()].stands_for);
        let (totals, mark, first) = (self.totals, self.tally.mark(), run.nodes.start as u32);
        self.lowest = u32::MAX;
        self.nodes(run.nodes.clone());
        let inputs = origins(&self.lives);
        if self.lowest < first
            || (inputs[0] == inputs[1] && run.inputs[0] != run.inputs[1])
            || !run.is_closed(self.graph)
        {
            return None;
        }
        let last_user = |origin: u32| self.lives.values[origin as usize].last_user;
        Some(Known {
            start: run.nodes.start,
            totals: [totals, self.totals],
            marks: [mark, self.tally.mark()],
            readers: inputs.map(|origin| Some(last_user(origin)).filter(|reader| first <= *reader)),
            last_user: last_user(self.lives.values[run.nodes.end - 1].stands_for),
        })
    }

    /// Counts a copy.
    fn again(&mut self, known: &Known<T::Mark>, run: &Run) {
        let later = (run.nodes.start - known.start) as u32;
        self.totals.add(known.totals[0], known.totals[1]);
        self.tally.again(known.marks[0], known.marks[1], later);
        let values = &mut self.lives.values;
        values.extend_from_within(known.start..known.start + run.nodes.len());
        for value in &mut values[run.nodes.clone()] {
            value.stands_for += later;
            value.last_user += later;
        }
        let last = values[run.nodes.end - 1].stands_for as usize;
        values[last].last_user = known.last_user + later;
        for (input, reader) in run.inputs.into_iter().zip(known.readers) {
            let origin = values[input.index()].stands_for as usize;
            if let Some(reader) = reader {
                values[origin].last_user = values[origin].last_user.max(reader + later);
            }
        }
    }

    /// Counts nodes one by one.
    // Not inlined: the way is long, and it is taken from several places.
    #[inline(never)]
    fn nodes(&mut self, range: Range<usize>) {
        let Self { graph, lives, tally, .. } = self;
        let Totals { mut params, mut macs, mut weights, mut n_ops, mut traffic, mut idle } = self.totals;
        let mut lowest = self.lowest;
        for (id, node, op, inputs) in graph.nodes(range) {
            let (channels, writes) = (node.shape.channels(), node.shape.elements());
            // Whether one that several read ships to one of them alone may be decided behind its section.
            let depends_on = |id: NodeId| if graph.nodes[id.index()].n_users == 1 { id.0 } else { 0 };
            // Looked up by those kinds alone that count it.
            let read = || lives.value(inputs[0]);
            let plain = Shipped {
                id,
                op,
                inputs,
                weights: 0,
                macs: 0,
                fan_in: 0,
                reads: 0,
                writes,
                rows: channels * node.shape.height(),
            };
            // Each kind is shown where it is known: what the tally asks of it is then decided when the program is
            // compiled. It is shown before its value is written down, which would hide it.
            match op {
                Op::Input | Op::Memory(_) => {
                    lives.make(id, writes, channels);
                    continue;
                }
                Op::Identity if Some(id) != graph.output() => {
                    lowest = lowest.min(depends_on(inputs[0]));
                    lives.pass_on(inputs[0]);
                    continue;
                }
                Op::Conv2d(conv) => {
                    let (reads, fan_in) = (read().elements, read().channels.into());
                    let (kernel, bias) = (kernel(conv, fan_in), bias(conv));
                    let uses = kernel * node.shape.pixels();
                    macs += uses;
                    params += if conv.fixed { 0 } else { kernel + bias };
                    weights += kernel + bias;
                    tally.op(&Shipped { weights: kernel, macs: uses, fan_in, reads, ..plain });
                    traffic += lives.compute(&plain, channels, &inputs[..1]);
                }
                Op::Linear(_) => {
                    let kernel = channels * u64::from(read().channels);
                    macs += kernel;
                    params += kernel + channels;
                    weights += kernel + channels;
                    tally.op(&Shipped { weights: kernel, macs: kernel, ..plain });
                    traffic += lives.compute(&plain, channels, &inputs[..1]);
                }
                Op::BatchNorm => {
                    params += 2 * channels;
                    lowest = lowest.min(depends_on(inputs[0]));
                    if let Some(conv) = fold::alias_of(graph, id, op, inputs) {
                        let has_bias = matches!(graph.op(conv), Op::Conv2d(conv) if conv.bias);
                        // The convolution's bias, written by folding the first of its norms.
                        weights += if has_bias || !fold::is_first_norm(graph, conv, inputs[0]) { 0 } else { channels };
                        lives.pass_on(conv);
                        continue;
                    }
                    // Mean and variance as well.
                    weights += 4 * channels;
                    tally.op(&plain);
                    traffic += lives.compute(&plain, channels, &inputs[..1]);
                }
                Op::Zero(_) => {
                    // Zeros ship as a constant.
                    weights += writes;
                    tally.op(&plain);
                    traffic += lives.compute(&plain, channels, &inputs[..1]);
                }
                Op::Activation(_) => {
                    tally.op(&plain);
                    traffic += lives.compute(&plain, channels, &inputs[..1]);
                }
                Op::GlobalAvgPool => {
                    tally.op(&Shipped { reads: read().elements, ..plain });
                    traffic += lives.compute(&plain, channels, &inputs[..1]);
                }
                Op::MaxPool(_)
                | Op::AvgPool(_)
                | Op::ChannelsLast
                | Op::Resize(_)
                | Op::Slice { .. }
                | Op::Identity
                | Op::Weigh { .. } => {
                    tally.op(&plain);
                    traffic += lives.compute(&plain, channels, &inputs[..1]);
                }
                Op::Embed(Table { words, features }) => {
                    let (table, row) = ((words * features) as u64, *features as u64);
                    params += table;
                    weights += table;
                    idle += table - row;
                    tally.op(&plain);
                    traffic += lives.compute(&plain, channels, &inputs[..1]);
                }
                Op::Add | Op::Mul | Op::Sub | Op::Mean | Op::Concat | Op::Mix(_) => {
                    tally.op(&plain);
                    traffic += lives.compute(&plain, channels, inputs);
                }
            }
            n_ops += 1;
        }
        self.totals = Totals { params, macs, weights, n_ops, traffic, idle };
        self.lowest = lowest;
    }
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

/// The output of a node. Nodes take their places in order.
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
}

impl Lives {
    fn new(graph: &Graph) -> Self {
        Self { values: Vec::with_capacity(graph.nodes.len()) }
    }

    /// What a reader of node `id` reads.
    #[inline(always)]
    fn value(&self, id: NodeId) -> Value {
        self.values[self.values[id.index()].stands_for as usize]
    }

    /// Node `id` makes a value.
    #[inline(always)]
    fn make(&mut self, id: NodeId, elements: u64, channels: u64) {
        self.values.push(Value { elements, dying: 0, channels: channels as u32, stands_for: id.0, last_user: id.0 });
    }

    /// The node makes a value of all its inputs; returns how many values it reads and writes.
    #[inline(always)]
    fn compute(&mut self, shipped: &Shipped, channels: u64, inputs: &[NodeId]) -> u64 {
        let mut traffic = shipped.writes;
        for input in inputs {
            let origin = self.values[input.index()].stands_for as usize;
            self.values[origin].last_user = shipped.id.0;
            traffic += self.values[origin].elements;
        }
        self.make(shipped.id, shipped.writes, channels);
        traffic
    }

    /// The next node is none of the shipped network: it stands for what `input` does.
    #[inline(always)]
    fn pass_on(&mut self, input: NodeId) {
        let stands_for = self.values[input.index()].stands_for;
        self.values.push(Value { stands_for, last_user: stands_for, ..Value::default() });
    }

    /// What node `id` stands for is read after the last node of all.
    fn keep(&mut self, id: NodeId) {
        let (origin, last) = (self.values[id.index()].stands_for as usize, self.values.len() as u32 - 1);
        self.values[origin].last_user = last;
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

/// Trainable parameters of node `id`, without those that are an earlier node's.
pub fn params(graph: &Graph, id: NodeId) -> u64 {
    let channels = graph.shape(id).channels() as u64;
    match graph.op(id) {
        Op::Conv2d(conv) if conv.fixed => 0,
        Op::Conv2d(conv) => kernel(conv, fan_in(graph, id)) + bias(conv),
        Op::Linear(_) => channels * fan_in(graph, id) + channels - weights::tied(graph, id),
        Op::BatchNorm => 2 * channels,
        Op::Embed(Table { words, features }) => (words * features) as u64,
        Op::Input
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Mul
        | Op::Sub
        | Op::Mean
        | Op::Memory(_)
        | Op::Concat
        | Op::ChannelsLast
        | Op::Resize(_)
        | Op::Slice { .. }
        | Op::Identity
        | Op::Zero(_)
        | Op::Mix(_)
        | Op::Weigh { .. } => 0,
    }
}

/// Multiply-accumulates of node `id` for one sample.
pub fn macs(graph: &Graph, id: NodeId) -> u64 {
    let node = &graph.nodes[id.index()];
    match graph.op(id) {
        Op::Conv2d(conv) => kernel(conv, fan_in(graph, id)) * node.shape.pixels(),
        Op::Linear(_) => node.shape.channels() * fan_in(graph, id),
        Op::Input
        | Op::BatchNorm
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Mul
        | Op::Sub
        | Op::Mean
        | Op::Embed(_)
        | Op::Memory(_)
        | Op::Concat
        | Op::ChannelsLast
        | Op::Resize(_)
        | Op::Slice { .. }
        | Op::Identity
        | Op::Zero(_)
        | Op::Mix(_)
        | Op::Weigh { .. } => 0,
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
