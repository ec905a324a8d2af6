//! The work in a network by kind: what an engine prices differently.

use std::collections::BTreeMap;

use graph::{
    Graph, NodeId, Op,
    cost::{Origins, Shipped, StaticCost, Tally, each_shipped, static_cost_with},
    relaxed,
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
    /// Values that convolutions other than depthwise ones read and write: they are packed for the
    /// matrix product; in values.
    Operands,
    /// Inner loops of depthwise convolutions and max pooling, one for each row and tap: on narrow maps
    /// they cost more than what they compute; in rows times taps.
    Rows,
    /// Average pooling, and resizing, which averages four pixels; in outputs times taps.
    AvgPool,
    /// Max pooling; in outputs times taps.
    MaxPool,
    /// Global average pooling; in input values.
    GlobalPool,
    /// Activations; in values written.
    Activation,
    /// Additions, batch norms that could not be folded, zeros; in values written.
    Elementwise,
    /// Concatenation, and other orders of values; in values copied.
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
/// [`graph::fold::shipped`] would rebuild it.
pub fn features(graph: &Graph) -> Features {
    cost_and_features(graph).1
}

/// [`static_cost`](graph::cost::static_cost) and [`features`] on one way through the graph, because
/// every candidate of a search is priced.
pub fn cost_and_features(graph: &Graph) -> (StaticCost, Features) {
    let start = Amounts { amounts: [0; Work::COUNT], may_repeat: Vec::with_capacity(graph.n_nodes() / 2) };
    let (cost, origins, Amounts { amounts, may_repeat }) = static_cost_with(graph, start);
    // Apart from the way above, which is faster without a search in it.
    let mut repeated = [0_u64; Work::COUNT];
    let mut values = Values::new(graph, &origins);
    for id in may_repeat {
        if values.is_known(id) {
            add_work(&mut repeated, &Shipped::weightless(graph, id));
        }
    }
    (cost, Features(std::array::from_fn(|work| (amounts[work] - repeated[work]) as f64)))
}

/// The work so far, whatever is computed twice.
struct Amounts {
    /// Counted in integers, which add faster and exactly.
    amounts: [u64; Work::COUNT],
    /// Operations for which [`may_repeat`] holds.
    may_repeat: Vec<NodeId>,
}

impl Tally for Amounts {
    type Mark = ([u64; Work::COUNT], usize);

    // Inlined where each kind of operation is known.
    #[inline(always)]
    fn op(&mut self, shipped: &Shipped) {
        add_work(&mut self.amounts, shipped);
        if may_repeat(shipped.op) {
            self.may_repeat.push(shipped.id);
        }
    }

    fn mark(&self) -> Self::Mark {
        (self.amounts, self.may_repeat.len())
    }

    fn again(&mut self, from: Self::Mark, to: Self::Mark, later: u32) {
        for (work, amount) in self.amounts.iter_mut().enumerate() {
            *amount += to.0[work] - from.0[work];
        }
        for idx in from.1..to.1 {
            self.may_repeat.push(self.may_repeat[idx].later(later));
        }
    }
}

/// The work of a relaxed network by the options that it is done for, as [`relaxed::option_costs`] has other costs: of what
/// is fixed, and by key and option. What two options would compute alike is counted for each.
pub fn option_features(graph: &Graph) -> (Features, Vec<Vec<Features>>) {
    let owners = relaxed::owners(graph);
    let mut fixed = [0; Work::COUNT];
    let mut options: Vec<Vec<[u64; Work::COUNT]>> = Vec::new();
    each_shipped(graph, |shipped| match (shipped.op, owners[shipped.id.index()]) {
        (Op::Mix(_) | Op::Weigh { .. }, _) => {}
        (_, None) => add_work(&mut fixed, shipped),
        (_, Some((key, option))) => {
            options.resize(options.len().max(key + 1), Vec::new());
            let row = &mut options[key];
            row.resize(row.len().max(option + 1), [0; Work::COUNT]);
            add_work(&mut row[option], shipped);
        }
    });
    let features = |amounts: [u64; Work::COUNT]| Features(amounts.map(|it| it as f64));
    (features(fixed), options.into_iter().map(|row| row.into_iter().map(features).collect()).collect())
}

/// Whether an operation may compute what another one has computed already: never one with weights of
/// its own. Activations are part of the convolution before them to many engines.
#[inline(always)]
fn may_repeat(op: &Op) -> bool {
    match op {
        Op::Input
        | Op::Conv2d(_)
        | Op::Linear(_)
        | Op::BatchNorm
        | Op::Activation(_)
        | Op::Embed(_)
        | Op::Memory(_) => false,
        Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Mul
        | Op::Sub
        | Op::Mean
        | Op::Concat
        | Op::ChannelsLast
        | Op::Resize(_)
        | Op::Slice { .. }
        | Op::Identity
        | Op::Zero(_)
        | Op::Mix(_)
        | Op::Weigh { .. } => true,
    }
}

/// Which nodes compute what another one has computed already: the engine does that once.
struct Values<'a> {
    graph: &'a Graph,
    origins: &'a Origins,
    /// By node.
    table: Vec<Value>,
}

/// Nodes are written as their index plus one, and 0 is none: the whole is then zeros to begin with.
#[derive(Clone, Copy, Default)]
struct Value {
    /// The first node with the same value, where that is another.
    same_as: u32,
    /// The last node that may repeat and reads this value as its first input.
    reader: u32,
    /// Of a node that may repeat, the one before it that reads the same first input.
    before: u32,
}

impl<'a> Values<'a> {
    fn new(graph: &'a Graph, origins: &'a Origins) -> Self {
        Self { graph, origins, table: vec![Value::default(); graph.n_nodes()] }
    }

    /// Takes in an operation that [`may_repeat`], after all such before it; tells
    /// whether it computes nothing new.
    fn is_known(&mut self, id: NodeId) -> bool {
        let Self { graph, origins, table } = self;
        let (op, inputs) = (graph.op(id), graph.inputs(id));
        let first = |input: &NodeId| {
            let origin = origins.of(*input).index();
            (table[origin].same_as as usize).checked_sub(1).unwrap_or(origin)
        };
        let Some(reads) = inputs.first().map(first) else { return false };
        let mut next = table[reads].reader;
        while let Some(other) = next.checked_sub(1).and_then(|idx| graph.ids().nth(idx as usize)) {
            let same = |(a, b): (&NodeId, &NodeId)| first(a) == first(b);
            let others = graph.inputs(other);
            if graph.op(other) == op && inputs.len() == others.len() && inputs.iter().zip(others).all(same) {
                table[id.index()].same_as = next;
                return true;
            }
            next = table[other.index()].before;
        }
        table[id.index()].before = std::mem::replace(&mut table[reads].reader, id.index() as u32 + 1);
        false
    }
}

/// Adds what an operation does: its arithmetic, and what it costs beside that because of how engines
/// do it.
#[inline(always)]
fn add_work(amounts: &mut [u64; Work::COUNT], shipped: &Shipped) {
    let Shipped { op, inputs, weights, macs, fan_in, reads, writes, rows, .. } = *shipped;
    let mut add = |work: Work, amount: u64| amounts[work as usize] += amount;
    add(Work::Dispatch, 1);
    match op {
        Op::Conv2d(conv) => {
            let taps = (conv.kernel[0] * conv.kernel[1]) as u64;
            add(Work::Weights, weights);
            if 1 < conv.groups && conv.groups as u64 == fan_in {
                add(Work::Depthwise, macs);
                add(Work::Rows, rows * taps);
                return;
            }
            add(if conv.groups == 1 && taps == 1 { Work::Pointwise } else { Work::Dense }, macs);
            add(Work::Operands, reads + writes);
        }
        Op::Linear(_) => add(Work::Linear, macs),
        Op::MaxPool(pool) => {
            let taps = (pool.kernel[0] * pool.kernel[1]) as u64;
            add(Work::MaxPool, writes * taps);
            add(Work::Rows, rows * taps);
        }
        Op::AvgPool(pool) => add(Work::AvgPool, writes * (pool.kernel[0] * pool.kernel[1]) as u64),
        // A mean of four pixels, each with a weight of its own.
        Op::Resize(_) => add(Work::AvgPool, writes * 4),
        Op::GlobalAvgPool => add(Work::GlobalPool, reads),
        Op::Activation(_) => add(Work::Activation, writes),
        Op::Input | Op::Memory(_) | Op::Identity | Op::BatchNorm | Op::Zero(_) | Op::Weigh { .. } => {
            add(Work::Elementwise, writes)
        }
        Op::Add | Op::Mul | Op::Sub => add(Work::Elementwise, writes * (inputs.len() as u64 - 1)),
        // Channels are copied, and a row of an embedding is.
        Op::Concat | Op::ChannelsLast | Op::Slice { .. } | Op::Embed(_) => add(Work::Concat, writes),
        // Sums, and a product with one over their number.
        Op::Mean => add(Work::Elementwise, writes * inputs.len() as u64),
        // A product and a sum of each value that it reads, as cheap as an addition of as many.
        Op::Mix(_) => add(Work::Elementwise, writes * inputs.len() as u64),
    }
}
