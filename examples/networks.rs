//! Writes the networks that `benches/against_onnxruntime.py` times, each in every form and in some at once:
//! `networks FOLDER`.

use std::{error::Error, fs, path::Path};

use export::{Average, Depthwise, DepthwiseStride, Lowering, Max, Metadata, onnx_as, placeholder_weights};
use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Pool2d, Shape, fold::shipped};
use search::space::{
    Scale, SearchSpace, Task,
    cell::{Block, Cell, CellOp, CellSpace},
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder")?;
    fs::create_dir_all(&folder)?;
    for (name, graph) in networks()? {
        let plain = Lowering::default();
        let together = Lowering {
            average: Average::PaddedDepthwise,
            max: Max::Separable,
            depthwise: Depthwise::Padded,
            depthwise_stride: DepthwiseStride::After,
            ..plain
        };
        let weights = placeholder_weights(&graph, 0);
        let alone = plain.alternatives(&shipped(&graph)).into_iter().flatten();
        let forms = alone.map(|form| (form.to_string().replace([':', ','], "").replace(' ', "-").to_lowercase(), form));
        for (words, form) in forms.chain([("plain".to_owned(), plain), ("together".to_owned(), together)]) {
            let file = onnx_as(&graph, &weights, &Metadata::default(), form)?;
            fs::write(Path::new(&folder).join(format!("{name}.{words}.onnx")), file)?;
        }
    }
    Ok(())
}

fn networks() -> Result<Vec<(&'static str, Graph)>, GraphError> {
    use CellOp::{AvgPool, Identity, MaxPool, SepConv3, SepConv5};
    // A cell that the demo once found.
    let demo = [
        ([0, 0], [SepConv5, MaxPool]),
        ([2, 0], [SepConv5, Identity]),
        ([1, 3], [Identity, SepConv5]),
        ([4, 2], [Identity, Identity]),
        ([1, 2], [Identity, Identity]),
        ([1, 4], [Identity, SepConv5]),
    ];
    let depthwise = [([0, 1], [SepConv3, SepConv5]), ([1, 2], [SepConv3, SepConv3]), ([2, 3], [SepConv5, SepConv3])];
    let pools = [([0, 1], [AvgPool, MaxPool]), ([1, 2], [AvgPool, SepConv3]), ([2, 3], [MaxPool, AvgPool])];
    let small =
        Scale { layers: 11, channels: 6, input: [1, 28, 28], classes: 10, front_end: None, task: Task::Classification };
    let large =
        Scale { layers: 8, channels: 24, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };
    Ok(vec![
        ("demo", cells(&demo, &small)?),
        ("depthwise", cells(&depthwise, &large)?),
        ("pools", cells(&pools, &large)?),
        ("resnet18", resnet18()?),
    ])
}

fn cells(blocks: &[([usize; 2], [CellOp; 2])], scale: &Scale) -> Result<Graph, GraphError> {
    let blocks = blocks.iter().map(|&(inputs, ops)| Block { inputs, ops }).collect();
    CellSpace::default().build(&Cell { blocks }, scale)
}

/// ResNet-18 (He et al.) for images of 224x224 pixels and 1,000 classes.
fn resnet18() -> Result<Graph, GraphError> {
    let mut graph = Graph::default();
    let image = graph.input(Shape::Map([3, 224, 224]));
    let stem = conv(&mut graph, "stem", Conv2d::same(64, 7, 2), image)?;
    let stem = graph.add("stem_relu", Op::Activation(Activation::Relu), &[stem])?;
    let pool = Pool2d { kernel: [3; 2], stride: [2; 2], pads: Pads::all(1) };
    let mut x = graph.add("stem_pool", Op::MaxPool(pool), &[stem])?;
    for (stage, channels) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if block == 0 && 0 < stage { 2 } else { 1 };
            x = graph.within(("stage", stage), |graph| {
                graph.within(("block", block), |graph| {
                    let first = conv(graph, "first", Conv2d::same(channels, 3, stride), x)?;
                    let first = graph.add("relu", Op::Activation(Activation::Relu), &[first])?;
                    let second = conv(graph, "second", Conv2d::same(channels, 3, 1), first)?;
                    let shortcut = match stride {
                        1 => x,
                        _ => conv(graph, "shortcut", Conv2d::same(channels, 1, stride), x)?,
                    };
                    let sum = graph.add("sum", Op::Add, &[second, shortcut])?;
                    graph.add("out", Op::Activation(Activation::Relu), &[sum])
                })
            })?;
        }
    }
    let pooled = graph.add("pool", Op::GlobalAvgPool, &[x])?;
    graph.add("classifier", Op::Linear(1_000), &[pooled])?;
    Ok(graph)
}

fn conv(graph: &mut Graph, label: &'static str, conv: Conv2d, input: NodeId) -> Result<NodeId, GraphError> {
    graph.within(label, |graph| {
        let conv = graph.add("conv", Op::Conv2d(conv), &[input])?;
        graph.add("norm", Op::BatchNorm, &[conv])
    })
}
