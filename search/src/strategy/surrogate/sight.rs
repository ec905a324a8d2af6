//! What the process sees of a graph.

use std::collections::HashMap;

use graph::{Graph, NodeId, Op};

/// What the process sees of a graph: of the part that the image reaches and that reaches the output.
pub(super) struct Sight {
    pub(super) sizes: [f64; N_SIZES],
    /// Patterns by number, and the logarithm of how many there are; of length 1 together.
    pub(super) patterns: Vec<(usize, f64)>,
}

/// Sizes of a network: see [`Sight::of`].
pub(super) const N_SIZES: usize = 11;

/// A node of the part that counts.
struct Seen {
    id: NodeId,
    /// What it reads, as indices of such nodes.
    inputs: Vec<usize>,
    /// What of it patterns see: they look through norms and activations.
    shown: usize,
    paths: Paths,
}

/// The ways from the image to a node, a step for each convolution or linear layer.
#[derive(Clone, Copy, Default)]
struct Paths {
    /// Logarithm of their number.
    ways: f64,
    /// Mean of their steps and of the squares of those.
    mean: f64,
    square: f64,
    least: f64,
    most: f64,
}

impl Paths {
    fn joined(parts: &[Self]) -> Self {
        let most = |of: fn(&Self) -> f64| parts.iter().map(of).fold(f64::MIN, f64::max);
        let ahead = most(|it| it.ways);
        let ways = ahead + parts.iter().map(|it| (it.ways - ahead).exp()).sum::<f64>().ln();
        let mean = |of: fn(&Self) -> f64| parts.iter().map(|it| (it.ways - ways).exp() * of(it)).sum();
        Self {
            ways,
            mean: mean(|it| it.mean),
            square: mean(|it| it.square),
            least: -most(|it| -it.least),
            most: most(|it| it.most),
        }
    }

    fn step(self) -> Self {
        let Self { ways, mean, square, least, most } = self;
        Self { ways, mean: mean + 1.0, square: square + 2.0 * mean + 1.0, least: least + 1.0, most: most + 1.0 }
    }

    fn spread(&self) -> f64 {
        (self.square - self.mean * self.mean).max(0.0).sqrt()
    }
}

impl Sight {
    /// Sizes are logarithms. A network whose output does not depend on the image has none, and no patterns.
    pub(super) fn of(graph: &Graph, reach: usize, known: &mut HashMap<u64, usize>) -> Self {
        let seen = seen(graph);
        let Some(last) = seen.last() else { return Self { sizes: [0.0; N_SIZES], patterns: Vec::new() } };
        let [mut macs, mut weights, mut written, mut convs, mut pools, mut sums] = [0_usize; 6];
        for node in &seen {
            let (op, n) = (graph.op(node.id), graph.shape(node.id).elements());
            written += n;
            let channels = |nth: usize| graph.shape(graph.inputs(node.id)[nth]).channels();
            match op {
                Op::Conv2d(conv) => {
                    let taps = conv.taps(channels(0));
                    macs += taps * n;
                    weights += taps * conv.channels;
                    convs += 1;
                }
                Op::Linear(features) => {
                    macs += channels(0) * features;
                    weights += channels(0) * features;
                    convs += 1;
                }
                Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool => pools += 1,
                Op::Add | Op::Mul | Op::Sub | Op::Mean | Op::Concat | Op::Mix(_) => sums += 1,
                Op::Embed(table) => weights += table.words * table.features,
                Op::Input
                | Op::BatchNorm
                | Op::Activation(_)
                | Op::ChannelsLast
                | Op::Resize(_)
                | Op::Slice { .. }
                | Op::Identity
                | Op::Zero(_)
                | Op::Memory(_)
                | Op::Weigh { .. } => {}
            }
        }
        let [macs, weights, written, convs, pools, sums] =
            [macs, weights, written, convs, pools, sums].map(|it| (it as f64).ln_1p());
        let Paths { ways, mean, least, most, .. } = last.paths;
        let [mean, least, most, spread] = [mean, least, most, last.paths.spread()].map(f64::ln_1p);
        let sizes = [macs, weights, written, convs, pools, sums, ways, mean, least, most, spread];
        Self { sizes, patterns: patterns(graph, &seen, reach, known) }
    }
}

/// The nodes that the image reaches and that reach the output, without those that pass on what they read.
fn seen(graph: &Graph) -> Vec<Seen> {
    // Where the image arrives: for each node the one whose output it has.
    let mut arrives: Vec<Option<NodeId>> = Vec::with_capacity(graph.n_nodes());
    for id in graph.ids() {
        let inputs = || graph.inputs(id).iter().filter_map(|input| arrives[input.index()]);
        let first = inputs().next();
        arrives.push(match graph.op(id) {
            Op::Input | Op::Memory(_) => Some(id),
            Op::Zero(_) => None,
            Op::Identity => first,
            Op::Add if inputs().count() == 1 => first,
            _ => first.map(|_| id),
        });
    }
    let mut is_read = vec![false; graph.n_nodes()];
    let output = graph.output().and_then(|it| arrives[it.index()]);
    let Some(output) = output else { return Vec::new() };
    is_read[output.index()] = true;
    let sources = |id: NodeId| graph.inputs(id).iter().filter_map(|input| arrives[input.index()]);
    for id in graph.ids().rev().filter(|it| it.index() <= output.index()) {
        if is_read[id.index()] {
            sources(id).for_each(|it| is_read[it.index()] = true);
        }
    }
    let mut places = vec![usize::MAX; graph.n_nodes()];
    let mut seen: Vec<Seen> = Vec::new();
    for id in graph.ids().filter(|it| is_read[it.index()]) {
        let inputs: Vec<usize> = sources(id).map(|it| places[it.index()]).collect();
        let before: Vec<Paths> = inputs.iter().map(|it| seen[*it].paths).collect();
        let paths = if before.is_empty() { Paths::default() } else { Paths::joined(&before) };
        let is_step = matches!(graph.op(id), Op::Conv2d(_) | Op::Linear(_));
        let is_thin = matches!(graph.op(id), Op::BatchNorm | Op::Activation(_));
        places[id.index()] = seen.len();
        let shown = if is_thin { seen[inputs[0]].shown } else { seen.len() };
        seen.push(Seen { id, inputs, shown, paths: if is_step { paths.step() } else { paths } });
    }
    seen
}

/// Weisfeiler and Lehman: a node's pattern is its operation, and then, `reach` times, its pattern with those of the
/// nodes that it reads.
fn patterns(graph: &Graph, seen: &[Seen], reach: usize, known: &mut HashMap<u64, usize>) -> Vec<(usize, f64)> {
    let shown: Vec<usize> = (0..seen.len()).filter(|it| seen[*it].shown == *it).collect();
    let mut pattern: Vec<u64> = seen.iter().map(|it| operation(graph.op(it.id))).collect();
    let mut all = Vec::with_capacity(shown.len() * (reach + 1));
    for round in 0..=reach {
        all.extend(shown.iter().map(|it| mixed(round as u64, pattern[*it])));
        let before = pattern.clone();
        for &idx in &shown {
            // A sum: inputs have no order.
            let read = seen[idx].inputs.iter().map(|it| mixed(1, before[seen[*it].shown]));
            pattern[idx] = mixed(before[idx], read.fold(0, u64::wrapping_add));
        }
    }
    all.sort_unstable();
    let counted = all.chunk_by(|a, b| a == b).map(|same| {
        let next = known.len();
        (*known.entry(same[0]).or_insert(next), (same.len() as f64).ln_1p())
    });
    let mut counts: Vec<(usize, f64)> = counted.collect();
    let length = counts.iter().map(|(_, n)| n * n).sum::<f64>().sqrt();
    counts.iter_mut().for_each(|(_, n)| *n /= length);
    counts
}

/// What patterns know of an operation: all but how many channels it has, which the sizes tell.
fn operation(op: &Op) -> u64 {
    let name = op.name().bytes().fold(0, |hash, byte| mixed(hash, byte.into()));
    match op {
        Op::Conv2d(conv) => {
            let sides = conv.kernel.into_iter().chain(conv.stride).chain(conv.dilation);
            sides.fold(mixed(name, (conv.groups > 1).into()), |hash, side| mixed(hash, side as u64))
        }
        Op::MaxPool(pool) | Op::AvgPool(pool) => {
            pool.kernel.into_iter().chain(pool.stride).fold(name, |hash, side| mixed(hash, side as u64))
        }
        Op::Input
        | Op::Linear(_)
        | Op::BatchNorm
        | Op::Activation(_)
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
        | Op::Embed(_)
        | Op::Memory(_)
        | Op::Mix(_)
        | Op::Weigh { .. } => name,
    }
}

/// A hash of two words that is the same on every machine: a multiplication, its high half folded into its low one.
fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a.rotate_left(29) ^ b ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{
        SearchSpace,
        nas_bench_201::{Arch, NasBench201, PUBLISHED},
    };

    /// Cells of the same sizes and patterns, and cells that differ.
    #[test]
    fn a_branch_that_leads_nowhere_is_not_seen() {
        let mut known = HashMap::new();
        let mut sight = |text: &str| {
            let arch = Arch::parse(text).expect("a cell");
            Sight::of(&NasBench201.build(&arch, &PUBLISHED).expect("it fits"), 2, &mut known)
        };
        let plain = sight("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|");
        let same = [
            "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
            "|none~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|",
            "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|",
        ];
        for text in same {
            let twin = sight(text);
            assert_eq!((twin.sizes, twin.patterns), (plain.sizes, plain.patterns.clone()), "{text}");
        }
        let chain = sight("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|");
        // Fifteen cells of a convolution, two reductions of 2 beside 1, stem and classifier.
        let [.., least, most, _] = plain.sizes.map(f64::exp_m1);
        assert!((least - (15.0 + 2.0 + 2.0)).abs() < 1e-9 && (most - (15.0 + 4.0 + 2.0)).abs() < 1e-9);
        assert!((chain.sizes[9].exp_m1() - (30.0 + 4.0 + 2.0)).abs() < 1e-9 && chain.patterns != plain.patterns);
        let dead = sight("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|none~2|");
        assert_eq!((dead.sizes, dead.patterns.len()), ([0.0; N_SIZES], 0));
    }
}
