//! Published networks whose latencies on real boards are known, built from their descriptions.

use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d, Shape};

/// A NAS-Bench-201 network for CIFAR-10 from its cell string: Dong and Yang, "NAS-Bench-201" (2020).
/// `None` when the cell passes nothing on.
pub(crate) fn nas_bench_201(cell: &str) -> Option<Graph> {
    let edges = parse_cell(cell);
    let mut net = Net::new(32);
    let mut at = net.conv(Conv2d::same(16, 3, 1));
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        if stage > 0 {
            at = net.residual(at, channels);
        }
        for _ in 0..5 {
            at = net.cell(at, channels, &edges)?;
        }
    }
    let at = net.relu_of(at);
    net.classify(at, 10);
    Some(net.graph)
}

/// Operation names on the edges into nodes 1, 2 and 3, each list by source.
fn parse_cell(cell: &str) -> Vec<Vec<String>> {
    let name = |edge: &str| edge.split('~').next().expect("split gives one part").to_owned();
    cell.split('+').map(|node| node.trim_matches('|').split('|').map(name).collect()).collect()
}

/// MobileNetV1 of a width at a resolution: Howard et al., "MobileNets" (2017), table 1.
pub(crate) fn mobilenet_v1(width: f64, resolution: usize) -> Graph {
    let scaled = |channels: usize| (channels as f64 * width) as usize;
    let mut net = Net::new(resolution);
    let at = net.conv(Conv2d::same(scaled(32), 3, 2));
    let mut at = net.relu_of(at);
    let blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)];
    let tail = [(512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)];
    for (channels, stride) in blocks.into_iter().chain(tail) {
        let depthwise = Conv2d::depthwise(net.graph.shape(at).channels(), 3, stride);
        at = net.add(Op::Conv2d(depthwise), &[at]);
        at = net.add(Op::BatchNorm, &[at]);
        at = net.relu_of(at);
        at = net.pointwise(at, scaled(channels));
        at = net.relu_of(at);
    }
    net.classify(at, 1001);
    net.graph
}

/// MobileNetV2 of a width at a resolution: Sandler et al., "MobileNetV2" (2018), table 2, with
/// channels rounded to multiples of 8 as its authors' code does.
pub(crate) fn mobilenet_v2(width: f64, resolution: usize) -> Graph {
    let scaled = |channels: f64| {
        let rounded = (channels / 8.0 + 0.5).floor().max(1.0) * 8.0;
        // Not more than a tenth is rounded away.
        (if rounded < 0.9 * channels { rounded + 8.0 } else { rounded }) as usize
    };
    let mut net = Net::new(resolution);
    let at = net.conv(Conv2d::same(scaled(32.0 * width), 3, 2));
    let mut at = net.relu_of(at);
    for (expansion, channels, repeats, stride) in
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    {
        for idx in 0..repeats {
            let stride = if idx == 0 { stride } else { 1 };
            at = net.inverted_residual(at, expansion, scaled(f64::from(channels) * width), stride);
        }
    }
    let at = net.pointwise(at, scaled(1280.0 * width.max(1.0)));
    let at = net.relu_of(at);
    net.classify(at, 1001);
    net.graph
}

struct Net {
    graph: Graph,
    image: NodeId,
    n_nodes: usize,
}

impl Net {
    fn new(resolution: usize) -> Self {
        let mut graph = Graph::default();
        let image = graph.input(Shape::Map([3, resolution, resolution]));
        Self { graph, image, n_nodes: 0 }
    }

    fn add(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        self.n_nodes += 1;
        let added: Result<_, GraphError> = self.graph.add(("node", self.n_nodes), op, inputs);
        added.expect("published networks fit")
    }

    fn conv(&mut self, conv: Conv2d) -> NodeId {
        let at = self.add(Op::Conv2d(conv), &[self.image]);
        self.add(Op::BatchNorm, &[at])
    }

    fn relu_of(&mut self, at: NodeId) -> NodeId {
        self.add(Op::Activation(Activation::Relu), &[at])
    }

    /// ReLU, convolution, batch norm.
    fn relu_conv(&mut self, at: NodeId, conv: Conv2d) -> NodeId {
        let at = self.relu_of(at);
        let at = self.add(Op::Conv2d(conv), &[at]);
        self.add(Op::BatchNorm, &[at])
    }

    fn pointwise(&mut self, at: NodeId, channels: usize) -> NodeId {
        let at = self.add(Op::Conv2d(Conv2d::same(channels, 1, 1)), &[at]);
        self.add(Op::BatchNorm, &[at])
    }

    fn inverted_residual(&mut self, from: NodeId, expansion: usize, channels: usize, stride: usize) -> NodeId {
        let before = self.graph.shape(from).channels();
        let mut at = from;
        if 1 < expansion {
            at = self.pointwise(at, expansion * before);
            at = self.relu_of(at);
        }
        at = self.add(Op::Conv2d(Conv2d::depthwise(expansion * before, 3, stride)), &[at]);
        at = self.add(Op::BatchNorm, &[at]);
        at = self.relu_of(at);
        at = self.pointwise(at, channels);
        if stride == 1 && before == channels { self.add(Op::Add, &[from, at]) } else { at }
    }

    fn residual(&mut self, at: NodeId, channels: usize) -> NodeId {
        let main = self.relu_conv(at, Conv2d::same(channels, 3, 2));
        let main = self.relu_conv(main, Conv2d::same(channels, 3, 1));
        let pool = Pool2d { kernel: [2; 2], stride: [2; 2], pads: Pads::all(0) };
        let side = self.add(Op::AvgPool(pool), &[at]);
        let side = self.add(Op::Conv2d(Conv2d::same(channels, 1, 1)), &[side]);
        self.add(Op::Add, &[main, side])
    }

    fn cell(&mut self, at: NodeId, channels: usize, edges: &[Vec<String>]) -> Option<NodeId> {
        // Nodes that the output does not need are not run by any engine.
        let mut needed = vec![false; edges.len() + 1];
        needed[edges.len()] = true;
        for node in (1..needed.len()).rev() {
            for (source, op) in edges[node - 1].iter().enumerate() {
                needed[source] |= needed[node] && op != "none";
            }
        }
        // The board that was timed computes on a node of zeros as on any other.
        let mut nodes = vec![(at, true)];
        for (ops, needed) in edges.iter().zip(&needed[1..]) {
            let mut inputs = Vec::new();
            let mut sees_image = false;
            for (op, &(from, sees)) in ops.iter().zip(&nodes).filter(|_| *needed) {
                sees_image |= sees && op != "none";
                match op.as_str() {
                    "none" => {}
                    "skip_connect" => inputs.push(from),
                    "nor_conv_1x1" => inputs.push(self.relu_conv(from, Conv2d::same(channels, 1, 1))),
                    "nor_conv_3x3" => inputs.push(self.relu_conv(from, Conv2d::same(channels, 3, 1))),
                    "avg_pool_3x3" => inputs.push(self.add(Op::AvgPool(Pool2d::same(3, 1)), &[from])),
                    other => panic!("{other} is not an operation of NAS-Bench-201"),
                }
            }
            let node = match inputs.as_slice() {
                // A node that nobody needs is never read; any id will do.
                [] if !needed => at,
                [] => self.add(Op::Zero(1), &[at]),
                [one] => *one,
                several => self.add(Op::Add, several),
            };
            nodes.push((node, sees_image));
        }
        let (output, sees_image) = nodes[edges.len()];
        sees_image.then_some(output)
    }

    fn classify(&mut self, at: NodeId, classes: usize) {
        let at = self.add(Op::GlobalAvgPool, &[at]);
        self.add(Op::Linear(classes), &[at]);
    }
}
