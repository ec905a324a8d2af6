//! Windows over lines.

use graph::{Conv2d, Graph, Op, Pads, Pool2d, Shape, cost::static_cost};

/// A convolution, a depthwise one with stride 2, and two poolings over a map of this shape.
fn network(shape: [usize; 3]) -> Graph {
    let mut graph = Graph::default();
    let mut last = graph.input(Shape::Map(shape));
    let channels = shape[0];
    let dilated = Conv2d { dilation: [2; 2], pads: Pads::all(4), ..Conv2d::same(channels, 5, 1) };
    let ops = [
        ("conv", Op::Conv2d(Conv2d::same(channels, 3, 1))),
        ("depthwise", Op::Conv2d(Conv2d::depthwise(channels, 5, 2))),
        ("dilated", Op::Conv2d(dilated)),
        ("max", Op::MaxPool(Pool2d::same(3, 1))),
        ("avg", Op::AvgPool(Pool2d { pads: Pads { bottom: 1, right: 1, ..Pads::all(0) }, ..Pool2d::same(2, 2) })),
    ];
    for (name, op) in ops {
        last = graph.add(name, op, &[last]).expect("it fits");
    }
    graph
}

#[test]
fn windows_over_lines_have_one_row() {
    let mut line = network([4, 1, 20]);
    let shapes: Vec<Shape> = line.ids().map(|id| line.shape(id)).collect();
    let before = static_cost(&line);
    line.narrow();
    assert_eq!(line.ids().map(|id| line.shape(id)).collect::<Vec<_>>(), shapes, "nothing changes its size");
    // Taps a place: 3, 5 and 5 in the place of 9, 25 and 25.
    let after = static_cost(&line);
    assert_eq!(before.params, 4 * 4 * 9 + 4 * 25 + 4 * 4 * 25);
    assert_eq!(after.params, 4 * 4 * 3 + 4 * 5 + 4 * 4 * 5);
    assert_eq!(after.macs, 20 * 4 * 4 * 3 + 10 * 4 * 5 + 10 * 4 * 4 * 5);
    let once = line.clone();
    line.narrow();
    assert_eq!(line, once, "it is narrow already");
}

#[test]
fn planes_stay() {
    let mut plane = network([4, 8, 20]);
    let before = plane.clone();
    plane.narrow();
    assert_eq!(plane, before);
}
