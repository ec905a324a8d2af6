//! What a network computes over a line does not depend on rows of its windows that see nothing.

use graph::{
    Activation, Conv2d, Graph, Op, Pool2d, Shape,
    weights::{Weights, parameters},
};
use train::fit::logits;

const SHAPE: [usize; 3] = [6, 1, 24];

fn network() -> Graph {
    let mut graph = Graph::default();
    let mut last = graph.input(Shape::Map(SHAPE));
    let ops = [
        ("depthwise", Op::Conv2d(Conv2d::depthwise(6, 5, 2))),
        ("pointwise", Op::Conv2d(Conv2d::same(8, 1, 1))),
        ("norm", Op::BatchNorm),
        ("relu", Op::Activation(Activation::Relu)),
        ("conv", Op::Conv2d(Conv2d::same(8, 3, 1))),
        ("max", Op::MaxPool(Pool2d::same(3, 2))),
        ("avg", Op::AvgPool(Pool2d::same(3, 1))),
        ("pool", Op::GlobalAvgPool),
        ("classifier", Op::Linear(3)),
    ];
    for (name, op) in ops {
        last = graph.add(name, op, &[last]).expect("it fits");
    }
    graph
}

/// Numbers without a pattern, in `[-0.5, 0.5)`.
fn noise(n: usize, purpose: &str) -> Vec<f32> {
    let mut rng = data::keyed::rng(3, purpose, 0);
    (0..n).map(|_| data::keyed::below(&mut rng, 1 << 16) as f32 / 65_536.0 - 0.5).collect()
}

#[test]
fn narrow_windows_compute_the_same() {
    let (plane, mut line) = (network(), network());
    line.narrow();
    let [mut wide, mut narrow] = [Weights::default(), Weights::default()];
    for id in plane.ids() {
        let name = plane.name(id);
        for ((suffix, shape), (_, kept)) in parameters(&plane, id).into_iter().zip(parameters(&line, id)) {
            let values: Vec<f32> =
                noise(shape.iter().product(), &format!("{name}.{suffix}")).iter().map(|it| it + 0.6).collect();
            let middle = match *shape {
                [_, _, height, width] => {
                    values.chunks(height * width).flat_map(|it| it[height / 2 * width..][..width].to_vec()).collect()
                }
                _ => values.clone(),
            };
            wide.insert(&name, suffix, shape, values);
            narrow.insert(&name, suffix, kept, middle);
        }
    }
    let pixels = noise(4 * SHAPE.iter().product::<usize>(), "pixels");
    let expected = logits(&plane, &wide, pixels.clone(), SHAPE).expect("the weights are its");
    let found = logits(&line, &narrow, pixels, SHAPE).expect("the weights are its");
    assert!(expected.iter().any(|it| 0.01 < it.abs()), "{expected:?}");
    for (expected, found) in expected.iter().zip(&found) {
        assert!((expected - found).abs() <= 1e-5 * expected.abs().max(1.0), "{found}, not {expected}");
    }
}
