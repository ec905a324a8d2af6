//! What networks of several spaces are built from.

use std::{cmp::Ordering, collections::BinaryHeap};

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op};

use super::{Scale, Task, aspp};

/// Something that several nodes may read, and its ReLU once somebody has asked for it.
pub(super) struct State {
    pub(super) node: NodeId,
    relu: Option<NodeId>,
}

impl State {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, relu: None }
    }

    pub(super) fn relu(&mut self, graph: &mut Graph) -> Result<NodeId, GraphError> {
        match self.relu {
            Some(relu) => Ok(relu),
            None => {
                let relu = graph.add("relu", Op::Activation(Activation::Relu), &[self.node])?;
                Ok(*self.relu.insert(relu))
            }
        }
    }
}

/// A convolution with batch norm behind it, under these labels.
// Always inlined: the convolution is then built where it stays instead of copied there.
#[inline(always)]
pub(super) fn conv_norm(
    graph: &mut Graph,
    labels: [&'static str; 2],
    input: NodeId,
    conv: Conv2d,
) -> Result<NodeId, GraphError> {
    let conv = graph.add(labels[0], Op::Conv2d(conv), &[input])?;
    graph.add(labels[1], Op::BatchNorm, &[conv])
}

/// ReLU, depthwise and pointwise convolution, batch norm.
pub(super) fn separable(graph: &mut Graph, state: &mut State, depthwise: Conv2d) -> Result<NodeId, GraphError> {
    let relu = state.relu(graph)?;
    let node = graph.add("depthwise", Op::Conv2d(depthwise), &[relu])?;
    conv_norm(graph, ["conv", "norm"], node, Conv2d::same(depthwise.channels, 1, 1))
}

/// ReLU, a convolution, batch norm.
pub(super) fn relu_conv_norm(graph: &mut Graph, input: NodeId, conv: Conv2d) -> Result<NodeId, GraphError> {
    let relu = graph.add("relu", Op::Activation(Activation::Relu), &[input])?;
    conv_norm(graph, ["conv", "norm"], relu, conv)
}

/// Where networks begin: a 3x3 convolution of the image with batch norm.
pub(super) fn stem(graph: &mut Graph, image: NodeId, channels: usize) -> Result<NodeId, GraphError> {
    graph.within("stem", |graph| conv_norm(graph, ["conv", "norm"], image, Conv2d::same(channels, 3, 1)))
}

/// Where they end: the mean of each channel, and a linear layer; or, where each pixel has a class, atrous spatial pyramid
/// pooling and a resize to the image. A network of lines loses what its windows do not need.
pub(super) fn classify(graph: &mut Graph, last: NodeId, scale: &Scale) -> Result<NodeId, GraphError> {
    if scale.task == Task::Segmentation {
        let map = graph.shape(last);
        let stride = scale.input[1].div_ceil(map.spatial()[0]);
        return graph.within("head", |graph| aspp::add(graph, scale, last, stride, map.channels()));
    }
    let is_line = graph.shape(last).spatial()[0] == 1;
    let pooled = graph.add("pool", Op::GlobalAvgPool, &[last])?;
    let classifier = graph.add("classifier", Op::Linear(scale.classes), &[pooled])?;
    if is_line && scale.is_line() {
        graph.narrow();
    }
    Ok(classifier)
}

/// Which of these cells the output depends on, if each reads what `reads` says of the cell before the previous one, and
/// of the previous one. A cell that only reads the former leaves the latter without a reader.
pub(super) fn read_cells(n_cells: usize, reads: impl Fn(usize) -> [bool; 2]) -> Vec<bool> {
    let mut is_read = vec![false; n_cells];
    is_read[n_cells - 1] = true;
    for layer in (1..n_cells).rev() {
        if is_read[layer] {
            let [before, last] = reads(layer);
            is_read[layer - 1] |= last;
            if 2 <= layer {
                is_read[layer - 2] |= before;
            }
        }
    }
    is_read
}

/// One item of each list, in every combination, by the sum of their scores: the largest first, of equals the one whose
/// items stand earlier in their lists.
pub(super) fn best_first<T: Copy>(lists: Vec<Vec<(f64, T)>>) -> impl Iterator<Item = Vec<T>> {
    best_scored(lists).map(|(_, items)| items)
}

/// As [`best_first`], with the sums.
pub(super) fn best_scored<T: Copy>(mut lists: Vec<Vec<(f64, T)>>) -> impl Iterator<Item = (f64, Vec<T>)> {
    for list in &mut lists {
        list.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    }
    let combined = move |places: Vec<usize>, moved: usize, lists: &[Vec<(f64, T)>]| {
        let score = places.iter().zip(lists).map(|(&place, list)| list[place].0).sum();
        Combined { score, places, moved }
    };
    let mut next = BinaryHeap::new();
    if lists.iter().all(|list| !list.is_empty()) {
        next.push(combined(vec![0; lists.len()], 0, &lists));
    }
    std::iter::from_fn(move || {
        let Combined { score, places, moved } = next.pop()?;
        // The last list that was moved on from, or a later one: each combination then follows from one other, no worse.
        for list in moved..lists.len() {
            if places[list] + 1 < lists[list].len() {
                let mut places = places.clone();
                places[list] += 1;
                next.push(combined(places, list, &lists));
            }
        }
        Some((score, places.iter().zip(&lists).map(|(&place, list)| list[place].1).collect()))
    })
}

/// One item of each of two lists that come with the largest score first, in every combination, by the sum of their scores:
/// the largest first. Of the lists no more is asked than that takes.
pub(super) fn best_pairs<A: Clone, B: Clone>(
    mut first: impl Iterator<Item = (f64, A)>,
    mut second: impl Iterator<Item = (f64, B)>,
) -> impl Iterator<Item = (A, B)> {
    let mut firsts: Vec<(f64, A)> = Vec::new();
    let mut seconds: Vec<(f64, B)> = Vec::new();
    let mut next = BinaryHeap::new();
    let mut has_begun = false;
    std::iter::from_fn(move || {
        let mut push = |next: &mut BinaryHeap<Combined>, a: usize, b: usize| {
            if firsts.len() == a {
                firsts.extend(first.next());
            }
            if seconds.len() == b {
                seconds.extend(second.next());
            }
            if let (Some((one, _)), Some((other, _))) = (firsts.get(a), seconds.get(b)) {
                next.push(Combined { score: one + other, places: vec![a, b], moved: 0 });
            }
        };
        if !has_begun {
            has_begun = true;
            push(&mut next, 0, 0);
        }
        let Combined { places, .. } = next.pop()?;
        let (a, b) = (places[0], places[1]);
        // Each pair follows from one other, no worse: the second list moves on, the first where the second has not.
        push(&mut next, a, b + 1);
        if b == 0 {
            push(&mut next, a + 1, 0);
        }
        Some((firsts[a].1.clone(), seconds[b].1.clone()))
    })
}

/// The place in each list, and the last list in which it is not the first.
struct Combined {
    score: f64,
    places: Vec<usize>,
    moved: usize,
}

impl Ord for Combined {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.places.cmp(&self.places))
    }
}

impl PartialOrd for Combined {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Combined {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Combined {}
