//! Networks whose costs others have published.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d, Shape};

/// Adds a layer whose shapes are known to fit.
fn add(graph: &mut Graph, label: impl Into<graph::Label>, op: Op, inputs: &[NodeId]) -> NodeId {
    graph.add(label, op, inputs).expect("the published network's shapes fit")
}

/// Convolution and batch norm.
fn conv_norm(graph: &mut Graph, label: &'static str, conv: Conv2d, input: NodeId) -> NodeId {
    graph.within(label, |graph| {
        let conv = add(graph, "conv", Op::Conv2d(conv), &[input]);
        add(graph, "norm", Op::BatchNorm, &[conv])
    })
}

fn activation(graph: &mut Graph, label: &'static str, activation: Activation, input: NodeId) -> NodeId {
    add(graph, label, Op::Activation(activation), &[input])
}

/// Global average pool and classifier.
fn head(graph: &mut Graph, classes: usize, input: NodeId) {
    let pool = add(graph, "pool", Op::GlobalAvgPool, &[input]);
    add(graph, "classifier", Op::Linear(classes), &[pool]);
}

/// MobileNetV2 (Sandler et al.) at 32x32 with 100 classes, in the widespread variant for CIFAR: stem
/// and second stage keep the size, a block without expansion keeps its 1x1 layer, and a block that
/// changes its width at stride 1 has a projected shortcut.
pub(crate) fn mobilenet_v2_cifar() -> Graph {
    // Expansion, width, number of blocks, stride of the first.
    const STAGES: [(usize, usize, usize, usize); 7] =
        [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    let relu6 = Activation::Relu6;
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([3, 32, 32]));
    let stem = conv_norm(&mut graph, "stem", Conv2d::same(32, 3, 1), image);
    let mut x = activation(&mut graph, "stem_relu", relu6, stem);
    for (stage, (expansion, width, n_blocks, first_stride)) in STAGES.into_iter().enumerate() {
        for block in 0..n_blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let channels = graph.shape(x).channels();
            let hidden = expansion * channels;
            x = graph.within(("stage", stage), |graph| {
                graph.within(("block", block), |graph| {
                    let wide = conv_norm(graph, "expand", Conv2d::same(hidden, 1, 1), x);
                    let wide = activation(graph, "expand_relu", relu6, wide);
                    let deep = conv_norm(graph, "depthwise", Conv2d::depthwise(hidden, 3, stride), wide);
                    let deep = activation(graph, "depthwise_relu", relu6, deep);
                    let narrow = conv_norm(graph, "project", Conv2d::same(width, 1, 1), deep);
                    if stride == 2 {
                        return narrow;
                    }
                    let shortcut =
                        if channels == width { x } else { conv_norm(graph, "shortcut", Conv2d::same(width, 1, 1), x) };
                    add(graph, "add", Op::Add, &[narrow, shortcut])
                })
            });
        }
    }
    let last = conv_norm(&mut graph, "last", Conv2d::same(1280, 1, 1), x);
    let last = activation(&mut graph, "last_relu", relu6, last);
    head(&mut graph, 100, last);
    graph
}

/// ResNet-8 of MLPerf Tiny: image classification on CIFAR-10, as its reference in Keras builds it.
pub(crate) fn mlperf_tiny_resnet8() -> Graph {
    // Keras pads the far side alone where a stride of 2 meets an even size.
    let conv = |channels, kernel, stride| Conv2d {
        pads: if stride == 2 && kernel == 3 {
            Pads { top: 0, left: 0, bottom: 1, right: 1 }
        } else {
            Pads::all(kernel / 2)
        },
        bias: true,
        ..Conv2d::same(channels, kernel, stride)
    };
    let relu = Activation::Relu;
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([3, 32, 32]));
    let stem = conv_norm(&mut graph, "stem", conv(16, 3, 1), image);
    let mut x = activation(&mut graph, "stem_relu", relu, stem);
    for (stack, (width, stride)) in [(16, 1), (32, 2), (64, 2)].into_iter().enumerate() {
        x = graph.within(("stack", stack), |graph| {
            let y = conv_norm(graph, "first", conv(width, 3, stride), x);
            let y = activation(graph, "first_relu", relu, y);
            let y = conv_norm(graph, "second", conv(width, 3, 1), y);
            // This reference does not normalise its shortcuts.
            let x = if stride == 1 { x } else { add(graph, "shortcut", Op::Conv2d(conv(width, 1, stride)), &[x]) };
            let sum = add(graph, "add", Op::Add, &[x, y]);
            activation(graph, "relu", relu, sum)
        });
    }
    head(&mut graph, 10, x);
    graph
}

/// Operations of the DARTS cells that were found; the candidates that lost are left out.
#[derive(Clone, Copy)]
enum Darts {
    Sep3,
    Dil3,
    Max3,
    Skip,
}

/// DARTS_V2 (Liu, Simonyan, Yang): the second-order cell, 20 layers of 36 channels, 10 classes,
/// without the auxiliary head.
///
/// Its factorized reduction samples even pixels on one path and odd ones on the other. The graph has
/// no shifted slice, so both paths sample even pixels here: shapes, parameters and MACs are the same.
pub(crate) fn darts_v2() -> Graph {
    use Darts::{Dil3, Max3, Sep3, Skip};
    // Two a node: operation, and the node it reads; 0 and 1 are the outputs of the two cells before.
    const NORMAL: [(Darts, usize); 8] =
        [(Sep3, 0), (Sep3, 1), (Sep3, 0), (Sep3, 1), (Sep3, 1), (Skip, 0), (Skip, 0), (Dil3, 2)];
    const REDUCE: [(Darts, usize); 8] =
        [(Max3, 0), (Max3, 1), (Skip, 2), (Max3, 1), (Max3, 0), (Skip, 2), (Skip, 2), (Max3, 1)];
    const N_LAYERS: usize = 20;
    const STEM: usize = 3;

    let mut width = 36;
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([3, 32, 32]));
    let stem = conv_norm(&mut graph, "stem", Conv2d::same(STEM * width, 3, 1), image);
    let (mut before, mut last) = (stem, stem);
    let mut reduced = false;
    for layer in 0..N_LAYERS {
        let reduces = layer == N_LAYERS / 3 || layer == 2 * N_LAYERS / 3;
        if reduces {
            width *= 2;
        }
        let cell = graph.within(("cell", layer), |graph| -> Result<NodeId, GraphError> {
            let first = if reduced {
                factorized_reduce(graph, "pre0", width, before)
            } else {
                relu_conv_norm(graph, "pre0", width, before)
            };
            let mut states = vec![first, relu_conv_norm(graph, "pre1", width, last)];
            let choices = if reduces { REDUCE } else { NORMAL };
            for (node, pair) in choices.chunks(2).enumerate() {
                let state = graph.within(("node", node), |graph| {
                    let sides = ["left", "right"].into_iter().zip(pair).map(|(side, &(operation, from))| {
                        let stride = if reduces && from < 2 { 2 } else { 1 };
                        graph.within(side, |graph| darts_operation(graph, operation, width, stride, states[from]))
                    });
                    let sides: Vec<NodeId> = sides.collect();
                    graph.add("add", Op::Add, &sides)
                })?;
                states.push(state);
            }
            graph.add("concat", Op::Concat, &states[2..])
        });
        (before, last) = (last, cell.expect("the published network's shapes fit"));
        reduced = reduces;
    }
    head(&mut graph, 10, last);
    graph
}

fn darts_operation(graph: &mut Graph, operation: Darts, width: usize, stride: usize, input: NodeId) -> NodeId {
    let separable = |graph: &mut Graph, label: &'static str, depthwise: Conv2d, input: NodeId| {
        graph.within(label, |graph| {
            let relu = activation(graph, "relu", Activation::Relu, input);
            let deep = add(graph, "depthwise", Op::Conv2d(depthwise), &[relu]);
            conv_norm(graph, "pointwise", Conv2d::same(width, 1, 1), deep)
        })
    };
    match operation {
        Darts::Sep3 => {
            let once = separable(graph, "once", Conv2d::depthwise(width, 3, stride), input);
            separable(graph, "twice", Conv2d::depthwise(width, 3, 1), once)
        }
        Darts::Dil3 => {
            let dilated = Conv2d { dilation: [2; 2], pads: Pads::all(2), ..Conv2d::depthwise(width, 3, stride) };
            separable(graph, "dilated", dilated, input)
        }
        Darts::Max3 => add(graph, "max_pool", Op::MaxPool(Pool2d::same(3, stride)), &[input]),
        Darts::Skip if stride == 1 => add(graph, "skip", Op::Identity, &[input]),
        Darts::Skip => factorized_reduce(graph, "skip", width, input),
    }
}

fn relu_conv_norm(graph: &mut Graph, label: &'static str, width: usize, input: NodeId) -> NodeId {
    graph.within(label, |graph| {
        let relu = activation(graph, "relu", Activation::Relu, input);
        conv_norm(graph, "pointwise", Conv2d::same(width, 1, 1), relu)
    })
}

fn factorized_reduce(graph: &mut Graph, label: &'static str, width: usize, input: NodeId) -> NodeId {
    graph.within(label, |graph| {
        let relu = activation(graph, "relu", Activation::Relu, input);
        let half = Op::Conv2d(Conv2d::same(width / 2, 1, 2));
        let paths = ["even", "odd"].map(|label| add(graph, label, half, &[relu]));
        let both = add(graph, "concat", Op::Concat, &paths);
        add(graph, "norm", Op::BatchNorm, &[both])
    })
}
