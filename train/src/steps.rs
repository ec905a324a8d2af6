//! A graph as training computes it: chains of nodes where one kernel does them all, single nodes elsewhere.

use graph::{Activation, Conv2d, Graph, NodeId, Op};
use kernels::Window;

use super::ops::{Chain, Dense, Depthwise, Rectifier, supports};

/// What is computed at once.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a network has a few hundred steps, most of them chains")]
pub(super) enum Step {
    /// One node.
    Single(NodeId),
    /// A batch norm and what comes before it.
    Chain(Chained),
}

/// Nodes that one kernel computes, from a rectifier to the batch norm.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chained {
    /// What it reads.
    pub(super) input: NodeId,
    /// The depthwise convolution, if there is one.
    pub(super) depthwise: Option<NodeId>,
    /// The convolution over all channels, if there is one.
    pub(super) dense: Option<NodeId>,
    /// The batch norm, whose value it is.
    pub(super) norm: NodeId,
    /// The kernel.
    pub(super) kernel: Chain,
    /// Whether its value is left as it is before the norm: all who read it, chains and sums, normalise on the way.
    pub(super) left: bool,
}

/// Every node once.
pub(super) fn singles(graph: &Graph) -> Vec<Step> {
    graph.ids().map(Step::Single).collect()
}

/// The steps to these values of a graph, each after those whose values it reads. What a chain holds and nobody else reads has no step
/// of its own. Whether sums normalise what they read, where it is left to them, is for `sums` to say.
pub(super) fn chained(graph: &Graph, outputs: &[NodeId], sums: bool) -> Vec<Step> {
    let users = graph.n_users();
    let chains: Vec<Option<Chained>> = graph.ids().map(|id| chain(graph, &users, id)).collect();
    // From the end: a node is needed where a step that is needed reads it.
    let mut needed = vec![false; users.len()];
    outputs.iter().for_each(|output| needed[output.index()] = true);
    let mut steps = Vec::with_capacity(users.len());
    for (id, chain) in graph.ids().zip(chains).rev() {
        let reads = chain.as_ref().map_or(graph.inputs(id), |it| std::slice::from_ref(&it.input));
        if needed[id.index()] {
            for input in reads {
                needed[input.index()] = true;
            }
            steps.push(chain.map_or(Step::Single(id), Step::Chain));
        }
    }
    steps.reverse();
    // What a single node reads is normalised, unless it can do that itself, and so is what the network gives.
    let mut whole = vec![false; users.len()];
    for step in &steps {
        if let Step::Single(id) = step
            && !(sums && *graph.op(*id) == Op::Add)
        {
            graph.inputs(*id).iter().for_each(|input| whole[input.index()] = true);
        }
    }
    for step in &mut steps {
        if let Step::Chain(chain) = step {
            chain.left = !whole[chain.norm.index()] && !outputs.contains(&chain.norm);
        }
    }
    steps
}

impl Step {
    /// The node whose value it is.
    pub(super) fn id(&self) -> NodeId {
        match self {
            Self::Single(id) => *id,
            Self::Chain(chain) => chain.norm,
        }
    }

    /// The nodes whose values it reads.
    pub(super) fn reads<'a>(&'a self, graph: &'a Graph) -> &'a [NodeId] {
        match self {
            Self::Single(id) => graph.inputs(*id),
            Self::Chain(chain) => std::slice::from_ref(&chain.input),
        }
    }
}

/// The longest chain that ends in batch norm `norm`.
fn chain(graph: &Graph, users: &[u32], norm: NodeId) -> Option<Chained> {
    if *graph.op(norm) != Op::BatchNorm {
        return None;
    }
    let before = |id: NodeId| graph.inputs(id)[0];
    // Nobody else may need the value of a convolution that is not computed by itself.
    let conv = |id: NodeId| match graph.op(id) {
        Op::Conv2d(conv) if users[id.index()] == 1 && !conv.bias => Some((id, conv, window(graph, id, conv)?)),
        _ => None,
    };
    let (last, conv_last, window_last) = conv(before(norm))?;
    let from = graph.shape(before(last)).channels();
    let mut kernel = Chain { rectifier: Rectifier::NONE, depthwise: None, dense: None };
    let (mut dense, mut depthwise) = (None, None);
    let mut input = before(last);
    if conv_last.groups == 1 {
        dense = Some(last);
        kernel.dense = Some(Dense { window: window_last, from, to: conv_last.channels });
        if let Some((id, _, window)) = conv(input).filter(|(id, conv, _)| is_depthwise(graph, *id, conv)) {
            let longer = Chain { depthwise: Some(Depthwise { window, channels: from }), ..kernel };
            if supports(&longer) {
                (kernel, depthwise, input) = (longer, Some(id), before(id));
            }
        }
    } else if is_depthwise(graph, last, conv_last) {
        depthwise = Some(last);
        kernel.depthwise = Some(Depthwise { window: window_last, channels: from });
    }
    match graph.op(input) {
        Op::Activation(Activation::Relu) => (kernel.rectifier, input) = (Rectifier::RELU, before(input)),
        Op::Activation(Activation::Relu6) => (kernel.rectifier, input) = (Rectifier::RELU6, before(input)),
        _ => {}
    }
    supports(&kernel).then_some(Chained { input, depthwise, dense, norm, kernel, left: false })
}

fn window(graph: &Graph, id: NodeId, conv: &Conv2d) -> Option<Window> {
    let Conv2d { kernel, stride, dilation, pads, .. } = *conv;
    let input = graph.shape(graph.inputs(id)[0]).spatial();
    Window::sliding(input, kernel, stride, [(pads.top, pads.bottom), (pads.left, pads.right)], dilation)
}

fn is_depthwise(graph: &Graph, id: NodeId, conv: &Conv2d) -> bool {
    let from = graph.shape(graph.inputs(id)[0]).channels();
    conv.groups == from && conv.channels == from && from > 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use graph::Shape;

    use super::*;
    use search::{
        chooser::Uniform,
        space::{Scale, SearchSpace, Task, cell::CellSpace},
    };

    fn last(graph: &Graph) -> NodeId {
        graph.output().expect("it has nodes")
    }

    #[test]
    fn steps_follow_what_they_read_and_hold_every_norm() {
        let space = CellSpace::default();
        let scale = Scale {
            layers: 4,
            channels: 8,
            input: [3, 16, 16],
            classes: 10,
            front_end: None,
            task: Task::Classification,
        };
        for seed in 0..100 {
            let cell = space.sample(&mut Uniform::new(seed, "steps", 0));
            let graph = space.build(&cell, &scale).expect("the image is large enough");
            let mut made = BTreeSet::new();
            let steps = chained(&graph, &[last(&graph)], true);
            for step in &steps {
                assert!(step.reads(&graph).iter().all(|id| made.contains(id)), "{cell:?}: {step:?}");
                made.insert(step.id());
            }
            assert_eq!(steps.last().map(Step::id), graph.output());
            let chains = steps.iter().filter(|step| matches!(step, Step::Chain(_))).count();
            let norms = graph.ids().filter(|&id| *graph.op(id) == Op::BatchNorm).count();
            assert_eq!(chains, norms, "{cell:?}: in this space every norm follows a convolution that the kernels know");
        }
    }

    /// A norm, its rectifier, and a separable convolution behind it with its norm; then what `rest` adds of the two
    /// norms and the rectifier.
    fn graph(rest: impl FnOnce(&mut Graph, [NodeId; 3])) -> (Graph, [NodeId; 3]) {
        let mut graph = Graph::default();
        let image = graph.input(Shape::Map([3, 8, 8]));
        let add = |graph: &mut Graph, op: Op, inputs: &[NodeId]| {
            let index = graph.n_nodes();
            graph.add(("node", index), op, inputs).expect("shapes fit")
        };
        let conv = add(&mut graph, Op::Conv2d(Conv2d::same(4, 3, 1)), &[image]);
        let first = add(&mut graph, Op::BatchNorm, &[conv]);
        let relu = add(&mut graph, Op::Activation(Activation::Relu), &[first]);
        let depthwise = add(&mut graph, Op::Conv2d(Conv2d::depthwise(4, 3, 1)), &[relu]);
        let pointwise = add(&mut graph, Op::Conv2d(Conv2d::same(4, 1, 1)), &[depthwise]);
        let second = add(&mut graph, Op::BatchNorm, &[pointwise]);
        rest(&mut graph, [first, relu, second]);
        (graph, [first, relu, second])
    }

    fn left(steps: &[Step], norm: NodeId) -> Option<bool> {
        steps.iter().find_map(|step| match step {
            Step::Chain(chain) if chain.norm == norm => Some(chain.left),
            _ => None,
        })
    }

    #[test]
    fn a_norm_is_left_to_chains_and_sums_alone() {
        let pool = |graph: &mut Graph, node: NodeId| {
            graph.add("pool", Op::GlobalAvgPool, &[node]).expect("shapes fit");
        };
        let (whole, [first, relu, second]) = graph(|graph, [_, _, second]| pool(graph, second));
        let steps = chained(&whole, &[last(&whole)], true);
        assert_eq!([left(&steps, first), left(&steps, second)], [Some(true), Some(false)]);
        assert!(steps.iter().all(|step| step.id() != relu), "the chain holds the rectifier");

        // Read by a sum as well, the rectifier is a step of its own, and what it reads is normalised for it.
        let (shared, [first, relu, second]) = graph(|graph, [_, relu, second]| {
            let sum = graph.add("sum", Op::Add, &[relu, second]).expect("shapes fit");
            pool(graph, sum);
        });
        let steps = chained(&shared, &[last(&shared)], true);
        assert_eq!([left(&steps, first), left(&steps, second)], [Some(false), Some(true)]);
        let steps = chained(&shared, &[last(&shared)], false);
        assert_eq!([left(&steps, first), left(&steps, second)], [Some(false), Some(false)]);
        assert!(steps.contains(&Step::Single(relu)));
    }
}
