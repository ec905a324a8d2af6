//! Costs of networks that others have counted.

use common::networks;
use graph::{
    Graph, Op,
    cost::{StaticCost, macs, static_cost},
};

mod common;

#[track_caller]
fn check(graph: &Graph, expected: StaticCost) {
    assert_eq!(static_cost(graph), expected);
}

/// Whether `count` reads `published`, in millions, to the digits that were printed.
#[track_caller]
fn check_published(count: u64, published: &str) {
    let digits = published.split('.').nth(1).map_or(0, str::len);
    assert_eq!(format!("{:.digits$}", count as f64 / 1e6), published, "{count}");
}

/// RCAS (Xiong, Mehta, Singh), table 2: 2.4 M parameters, 91.1 M MAdds on CIFAR-100.
#[test]
fn mobilenet_v2() {
    let graph = networks::mobilenet_v2_cifar();
    check(
        &graph,
        StaticCost {
            params: 2_412_212,
            macs: 91_270_144,
            // Of 17,544 channels normalised, each ships a bias where it trained a scale and a shift.
            model_bytes: 4 * (2_412_212 - 17_544),
            // The second block of the second stage: its input (kept for the shortcut), and the
            // depthwise layer's input and output, 144 channels each.
            peak_bytes: 4 * 32 * 32 * (24 + 144 + 144),
            traffic_bytes: 37_169_728,
            // 57 convolutions, 36 relu6, 14 additions, pool and classifier.
            n_ops: 57 + 36 + 14 + 2,
        },
    );
    check_published(static_cost(&graph).params, "2.4");
    // The table counts convolutions alone: with the classifier's 128,000 it would read 91.3. Of all
    // placements of strides, with and without projected shortcuts, this network alone fits both figures.
    let convolutions = graph.ids().filter(|&id| matches!(graph.op(id), Op::Conv2d(_)));
    check_published(convolutions.map(|id| macs(&graph, id)).sum(), "91.1");
}

/// DARTS, table 1: 3.3 M parameters; the authors' script prints 3.349342 for this cell.
#[test]
fn darts_v2() {
    let graph = networks::darts_v2();
    check(
        &graph,
        StaticCost {
            params: 3_349_342,
            macs: 528_359_040,
            model_bytes: 13_319_176,
            // The concatenation that ends a cell of the first size: its parts and its output, 144
            // channels each, beside the cell before, which the next cell still reads.
            peak_bytes: 4 * 32 * 32 * (144 + 144 + 144),
            traffic_bytes: 199_831_088,
            n_ops: 793,
        },
    );
    check_published(static_cost(&graph).params, "3.3");
}

/// MLPerf Tiny: Keras prints 78,186 trainable parameters; 12.5 M MACs.
#[test]
fn resnet8() {
    let graph = networks::mlperf_tiny_resnet8();
    check(
        &graph,
        StaticCost {
            params: 78_186,
            macs: 12_501_632,
            // Every convolution has its bias already, so scales and shifts of 240 channels are gone.
            model_bytes: 4 * (78_186 - 2 * 240),
            // The first stack: its input, kept for the shortcut, and a convolution's input and output.
            peak_bytes: 4 * 32 * 32 * (16 + 16 + 16),
            traffic_bytes: 1_994_832,
            // 9 convolutions, 7 relus, 3 additions, pool and classifier.
            n_ops: 9 + 7 + 3 + 2,
        },
    );
    check_published(static_cost(&graph).params, "0.078");
    check_published(static_cost(&graph).macs, "12.5");
}
