//! From the network that was trained to the one that ships: batch norm folded into the convolution
//! before it, identities gone.

use std::collections::BTreeMap;

use crate::{
    Graph, Memory, NodeId, Op,
    weights::{Weights, WeightsError, own_parameters},
};

/// Added to a variance before its square root is taken; training uses the same.
pub const BN_EPSILON: f32 = 1e-5;

/// The input whose value node `id` stands for in the shipped network, if it is not a node there.
///
/// A batch norm vanishes into a convolution that nobody else reads, over identities and other batch norms between them;
/// an identity always vanishes, unless it is the whole network's output. What vanishes reads nothing: the network as it
/// ships ships as it is.
pub fn alias(graph: &Graph, id: NodeId) -> Option<NodeId> {
    alias_of(graph, id, graph.op(id), graph.inputs(id))
}

/// As [`alias`], for a node that is at hand.
// Always inlined: pricing asks it of every node.
#[inline(always)]
pub(crate) fn alias_of(graph: &Graph, id: NodeId, op: &Op, inputs: &[NodeId]) -> Option<NodeId> {
    match op {
        Op::Identity => (Some(id) != graph.output()).then(|| inputs[0]),
        Op::BatchNorm => {
            let mut input = inputs[0];
            // What stands between the two vanishes.
            while matches!(graph.op(input), Op::Identity | Op::BatchNorm) && is_read_once(graph, input) {
                input = graph.inputs(input)[0];
            }
            let folds = matches!(graph.op(input), Op::Conv2d(_)) && is_read_once(graph, input);
            (folds && (Some(id) != graph.output() || is_shipped_last(graph, input))).then_some(input)
        }
        Op::Input
        | Op::Conv2d(_)
        | Op::Linear(_)
        | Op::Activation(_)
        | Op::MaxPool(_)
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
        | Op::Zero(_)
        | Op::Embed(_)
        | Op::Memory(_)
        | Op::Mix(_)
        | Op::Weigh { .. } => None,
    }
}

#[inline(always)]
fn is_read_once(graph: &Graph, id: NodeId) -> bool {
    graph.nodes[id.index()].n_users == 1 || is_shipped_to_one(graph, id)
}

/// Whether of several readers one ships, and the others are identities that pass on to nobody.
#[cold]
fn is_shipped_to_one(graph: &Graph, id: NodeId) -> bool {
    n_shipped_readers(graph, id) == 1
}

/// How many nodes read `id`, memories included and identities that pass it on to nobody left out.
fn n_shipped_readers(graph: &Graph, id: NodeId) -> usize {
    let later = (id.index() + 1..graph.nodes.len()).map(|idx| NodeId(idx as u32));
    let times = |reader: NodeId| graph.inputs(reader).iter().filter(|it| **it == id).count();
    let is_dead = |reader: NodeId| {
        matches!(graph.op(reader), Op::Identity)
            && Some(reader) != graph.output()
            && graph.memories.iter().all(|it| it.next != reader)
            && n_shipped_readers(graph, reader) == 0
    };
    let remembered = graph.memories.iter().filter(|it| it.next == id).count();
    remembered
        + later.map(|reader| if times(reader) == 0 || is_dead(reader) { 0 } else { times(reader) }).sum::<usize>()
}

/// Whether no node between `id` and the output ships, so that it may take the output's place: the last node is what
/// the network computes, even where nobody reads the others.
#[cold]
fn is_shipped_last(graph: &Graph, id: NodeId) -> bool {
    let last = graph.nodes.len() - 1;
    (id.index() + 1..last).all(|idx| alias(graph, NodeId(idx as u32)).is_some())
}

/// Whether a batch norm that reads `input` is the first to go into the convolution `conv`.
#[inline(always)]
pub(crate) fn is_first_norm(graph: &Graph, conv: NodeId, mut input: NodeId) -> bool {
    while matches!(graph.op(input), Op::Identity) {
        input = graph.inputs(input)[0];
    }
    input == conv
}

/// The shipped node whose value node `id` stands for: itself, unless it has an [`alias`].
#[inline]
pub fn origin(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Some(input) = alias(graph, id) {
        id = input;
    }
    id
}

/// The network as it ships, without its weights. Node names are kept.
pub fn shipped(graph: &Graph) -> Graph {
    rebuild(graph).0
}

/// The network as it ships, with its weights.
///
/// # Errors
/// A parameter of `graph` is missing from `weights` or has another shape.
pub fn fold(graph: &Graph, weights: &Weights) -> Result<(Graph, Weights), WeightsError> {
    weights.check(graph)?;
    let (shipped, norms) = rebuild(graph);
    let mut folded = Weights::default();
    for id in shipped.ids() {
        let name = shipped.name(id);
        match (shipped.op(id), norms.get(&id)) {
            (Op::Conv2d(conv), Some(Folded { trained, norms })) => {
                let (mut kernel, mut bias) = (weights.get(&name, "weight")?.clone(), vec![0.0; conv.channels]);
                // Weights are shared by name: a bias may be there that this convolution does not use.
                if matches!(graph.op(*trained), Op::Conv2d(it) if it.bias) {
                    bias.clone_from(&weights.get(&name, "bias")?.values);
                }
                let taps = kernel.values.len() / conv.channels;
                for norm in norms.iter().map(|&it| graph.name(it)) {
                    let part = |suffix| weights.get(&norm, suffix).map(|it| it.values.as_slice());
                    let (gamma, beta, mean, var) = (part("gamma")?, part("beta")?, part("mean")?, part("var")?);
                    for channel in 0..conv.channels {
                        let scale = gamma[channel] / (var[channel] + BN_EPSILON).sqrt();
                        for value in &mut kernel.values[channel * taps..(channel + 1) * taps] {
                            *value *= scale;
                        }
                        bias[channel] = beta[channel] + (bias[channel] - mean[channel]) * scale;
                    }
                }
                folded.insert(&name, "weight", kernel.shape, kernel.values);
                folded.insert(&name, "bias", vec![conv.channels], bias);
            }
            _ => {
                for (suffix, shape) in own_parameters(&shipped, id) {
                    let tensor = weights.get(&name, suffix)?;
                    folded.insert(&name, suffix, shape, tensor.values.clone());
                }
            }
        }
    }
    folded.check(&shipped)?;
    Ok((shipped, folded))
}

/// A convolution of the trained network, and the batch norms that went into it, the first first.
struct Folded {
    trained: NodeId,
    norms: Vec<NodeId>,
}

impl Graph {
    /// The operation of a node that is no copy and has none.
    fn op_mut(&mut self, id: NodeId) -> &mut Op {
        &mut self.ops[self.nodes[id.index()].kind as usize]
    }
}

/// The shipped graph, and its convolutions that batch norms went into.
fn rebuild(graph: &Graph) -> (Graph, BTreeMap<NodeId, Folded>) {
    let mut out = Graph { scopes: graph.scopes.clone(), ..Graph::default() };
    let mut place: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    let mut norms: BTreeMap<NodeId, Folded> = BTreeMap::new();
    for id in graph.ids() {
        if let Some(input) = alias(graph, id) {
            let at = place[input.index()];
            if let (Op::BatchNorm, Op::Conv2d(conv)) = (graph.op(id), out.op_mut(at)) {
                conv.bias = true;
                norms.entry(at).or_insert(Folded { trained: input, norms: Vec::new() }).norms.push(id);
            }
            place.push(at);
            continue;
        }
        let node = &graph.nodes[id.index()];
        let inputs: Vec<NodeId> = graph.inputs(id).iter().map(|input| place[input.index()]).collect();
        out.here = node.scope;
        place.push(out.push(graph.label(id), *graph.op(id), node.shape, &inputs));
    }
    out.here = 0;
    out.memories =
        graph.memories.iter().map(|it| Memory { node: place[it.node.index()], next: place[it.next.index()] }).collect();
    out.ties = graph.ties.iter().map(|it| it.map(|id| place[id.index()])).collect();
    for idx in 0..out.memories.len() {
        let Memory { node, next } = out.memories[idx];
        if node != next {
            out.nodes[next.index()].n_users += 1;
        }
    }
    (out, norms)
}
