//! From the network that was trained to the one that ships: batch norm folded into the convolution
//! before it, identities gone.

use std::collections::BTreeMap;

use crate::{
    Graph, NodeId, Op,
    weights::{Weights, WeightsError},
};

/// Added to a variance before its square root is taken; training uses the same.
pub const BN_EPSILON: f32 = 1e-5;

/// The input whose value node `id` stands for in the shipped network, if it is not a node there.
///
/// A batch norm vanishes into a convolution that nobody else reads, over identities between them; an identity always
/// vanishes, unless it is the whole network's output.
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
            let (mut input, mut distance) = (inputs[0], 1);
            // Identities between the two vanish.
            while matches!(graph.op(input), Op::Identity) && graph.nodes[input.index()].n_users == 1 {
                (input, distance) = (graph.inputs(input)[0], distance + 1);
            }
            let folds = matches!(graph.op(input), Op::Conv2d(_)) && graph.nodes[input.index()].n_users == 1;
            // The output stays the last node, even where nodes that nobody reads stand between.
            let stays_last = Some(id) != graph.output() || input.index() + distance == id.index();
            (folds && stays_last).then_some(input)
        }
        Op::Input
        | Op::Conv2d(_)
        | Op::Linear(_)
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Zero(_) => None,
    }
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
    let by_name: BTreeMap<String, (NodeId, NodeId)> =
        norms.iter().map(|&(conv, norm)| (graph.name(conv), (conv, norm))).collect();
    for id in shipped.ids() {
        let name = shipped.name(id);
        match (shipped.op(id), by_name.get(&name)) {
            (Op::Conv2d(conv), Some(&(trained, norm))) => {
                let (mut kernel, mut bias) = (weights.get(&name, "weight")?.clone(), vec![0.0; conv.channels]);
                // Weights are shared by name: a bias may be there that this convolution does not use.
                if matches!(graph.op(trained), Op::Conv2d(it) if it.bias) {
                    bias.clone_from(&weights.get(&name, "bias")?.values);
                }
                let norm = graph.name(norm);
                let part = |suffix| weights.get(&norm, suffix).map(|it| it.values.as_slice());
                let (gamma, beta, mean, var) = (part("gamma")?, part("beta")?, part("mean")?, part("var")?);
                let taps = kernel.values.len() / conv.channels;
                for channel in 0..conv.channels {
                    let scale = gamma[channel] / (var[channel] + BN_EPSILON).sqrt();
                    for value in &mut kernel.values[channel * taps..(channel + 1) * taps] {
                        *value *= scale;
                    }
                    bias[channel] = beta[channel] + (bias[channel] - mean[channel]) * scale;
                }
                folded.insert(&name, "weight", kernel.shape, kernel.values);
                folded.insert(&name, "bias", vec![conv.channels], bias);
            }
            _ => {
                for (suffix, shape) in crate::weights::parameters(&shipped, id) {
                    let tensor = weights.get(&name, suffix)?;
                    folded.insert(&name, suffix, shape, tensor.values.clone());
                }
            }
        }
    }
    folded.check(&shipped)?;
    Ok((shipped, folded))
}

/// The shipped graph, and which batch norm went into which convolution (ids of `graph`).
fn rebuild(graph: &Graph) -> (Graph, Vec<(NodeId, NodeId)>) {
    let mut out = Graph { scopes: graph.scopes.clone(), ..Graph::default() };
    let mut place: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    let mut norms = Vec::new();
    for id in graph.ids() {
        if let Some(input) = alias(graph, id) {
            let at = place[input.index()];
            if let (Op::BatchNorm, Op::Conv2d(conv)) = (graph.op(id), &mut out.nodes[at.index()].op) {
                conv.bias = true;
                norms.push((input, id));
            }
            place.push(at);
            continue;
        }
        let node = &graph.nodes[id.index()];
        let inputs: Vec<NodeId> = graph.inputs(id).iter().map(|input| place[input.index()]).collect();
        out.here = node.scope;
        place.push(out.push(node.label, node.op.clone(), node.shape, &inputs));
    }
    out.here = 0;
    (out, norms)
}
