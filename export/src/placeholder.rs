//! Weights for a network whose speed matters and whose answers do not.

use graph::{
    Graph, NodeId, Op,
    weights::{Weights, own_parameters},
};

/// Fixed pseudo-random weights for every parameter of `graph`.
///
/// A value depends on `seed`, its parameter's name and its place alone. Magnitudes lie between half
/// and all of a bound, so none is zero or so small that arithmetic slows down on it, and the bound
/// follows He et al., *Delving Deep into Rectifiers*: variance 2 / fan-in, so activations neither
/// vanish nor overflow.
pub fn placeholder_weights(graph: &Graph, seed: u64) -> Weights {
    let mut weights = Weights::default();
    for id in graph.ids() {
        let mut name = None;
        for (suffix, shape) in own_parameters(graph, id) {
            let name = name.get_or_insert_with(|| graph.name(id));
            let n_values = shape.iter().product();
            let values = match suffix {
                "weight" => {
                    let mut stream = Stream::new(seed, name);
                    let bound = he_bound(graph, id);
                    (0..n_values).map(|_| bound * stream.signed_half_to_one()).collect()
                }
                // Batch norm passes its input on, and a bias shifts it a little.
                "gamma" | "var" => vec![1.0; n_values],
                _ => vec![0.01; n_values],
            };
            weights.insert(name, suffix, shape, values);
        }
    }
    weights
}

/// The largest magnitude `b` of a weight. With magnitudes uniform in `[b / 2, b]` the mean square is
/// `7 / 12 * b^2`, which is to be `2 / fan_in`.
fn he_bound(graph: &Graph, id: NodeId) -> f32 {
    let n_inputs = graph.inputs(id).first().map_or(1, |&input| graph.shape(input).channels());
    let fan_in = match graph.op(id) {
        Op::Conv2d(conv) => n_inputs / conv.groups * conv.kernel[0] * conv.kernel[1],
        Op::Linear(_) => n_inputs,
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
        | Op::Weigh { .. } => 1,
    };
    (24.0 / 7.0 / fan_in as f32).sqrt()
}

/// SplitMix64, started from a seed and a name.
struct Stream(u64);

impl Stream {
    fn new(seed: u64, name: &str) -> Self {
        // FNV-1a: the standard library's hashes may change between releases.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A value in `[-1, -0.5]` or `[0.5, 1]`.
    fn signed_half_to_one(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let magnitude = 0.5 + 0.5 * (bits >> 40) as f32 / (1 << 24) as f32;
        if bits & 1 == 0 { magnitude } else { -magnitude }
    }
}
