//! What a training step disturbs on purpose, so that a network relies on no single part of itself, and the second
//! classifier that some published networks learn with. None of it ships.

use burn::tensor::{Device, Tensor, TensorData};
use data::keyed::{self, ChaCha8Rng as Rng};
use graph::{Activation, Conv2d, Graph, NodeId, Op, Pads, Pool2d, Shape};

use super::Recipe;

/// What one step of a training disturbs.
#[derive(Debug)]
pub(super) struct Noise {
    /// Multiplies the classifier's input.
    pub(super) dropout: Option<Tensor<2>>,
    /// Drops paths within cells.
    pub(super) paths: Option<Paths>,
}

impl Noise {
    /// Nothing is disturbed.
    pub(super) const NONE: Self = Self { dropout: None, paths: None };

    /// What `recipe` asks for in step `step` of `steps`, on a batch of `n` images; the same seed and step draw the same.
    pub(super) fn of(
        recipe: &Recipe,
        graph: &Graph,
        n: usize,
        seed: u64,
        [step, steps]: [u64; 2],
        device: &Device,
    ) -> Self {
        // ScheduledDropPath: no path goes in the beginning, `drop_path` of them in the end.
        let share = recipe.drop_path * (step as f64 / steps.max(1) as f64).min(1.0);
        let paths = (0.0 < share).then(|| Paths {
            rng: keyed::rng(seed, "drop path", step),
            keep: 1.0 - share,
            n,
            device: device.clone(),
        });
        Self { dropout: dropout(graph, n, recipe.dropout_keep, seed, step, device), paths }
    }
}

/// Masks of paths, one after the other in the order of the network's nodes.
#[derive(Debug)]
pub(super) struct Paths {
    rng: Rng,
    keep: f64,
    n: usize,
    device: Device,
}

impl Paths {
    /// 0 or `1 / keep` for each image.
    ///
    /// # Shapes
    /// - returns: `[n, 1, 1, 1]`
    pub(super) fn mask(&mut self) -> Tensor<4> {
        let Self { rng, keep, n, device } = self;
        let values = mask(rng, *n, *keep);
        Tensor::<4>::from_data(TensorData::new(values, [*n, 1, 1, 1]), &*device).autodiff()
    }

    /// Whether `id` is a sum of paths within a cell: a block's or a node's, not the one that ends a cell.
    pub(super) fn meet_at(graph: &Graph, id: NodeId) -> bool {
        if *graph.op(id) != Op::Add {
            return false;
        }
        let name = graph.name(id);
        name.starts_with(CELL) && name.ends_with("/sum") && !name.ends_with("output/sum")
    }

    /// Whether what a sum reads is a path, and not a state that an identity passes on: only paths are dropped.
    pub(super) fn is_path(users: &[u32], graph: &Graph, input: NodeId) -> bool {
        users[input.index()] == 1 && *graph.op(input) != Op::Add
    }
}

/// Prefix of the scopes of cells.
const CELL: &str = "cell";

/// `n` values, 0 or `1 / keep`.
fn mask(rng: &mut Rng, n: usize, keep: f64) -> Vec<f32> {
    let threshold = (keep * f64::from(u32::MAX)) as u32;
    let scale = (1.0 / keep) as f32;
    (0..n).map(|_| if keyed::below(rng, u32::MAX) < threshold { scale } else { 0.0 }).collect()
}

/// A mask of 0 and `1 / keep` for the classifier's input; none where everything is kept.
fn dropout(graph: &Graph, n: usize, keep: f64, seed: u64, step: u64, device: &Device) -> Option<Tensor<2>> {
    if keep >= 1.0 {
        return None;
    }
    let features = graph.output().and_then(|id| graph.inputs(id).first()).map(|&id| graph.shape(id).channels())?;
    let values = mask(&mut keyed::rng(seed, "dropout", step), n * features, keep);
    Some(Tensor::<2>::from_data(TensorData::new(values, [n, features]), device).autodiff())
}

/// A network of cells with a second classifier where the maps have their last size for the first time, as NASNet and DARTS
/// have it: 5x5 means of stride 3, 128 channels, 768 channels of 2x2 windows. It is the network's last node; the second
/// value is the classifier that ships. `None` where no cell comes after that place.
///
/// The scripts' sizes are for maps of 8x8; of smaller ones the windows are as large as there is room for.
pub(super) fn with_second_classifier(graph: &Graph) -> Option<(Graph, NodeId)> {
    let output = graph.output()?;
    let &Op::Linear(classes) = graph.op(output) else { return None };
    let ends = cell_ends(graph);
    let last = graph.shape(*ends.last()?).spatial();
    let at = *ends[..ends.len() - 1].iter().find(|&&end| graph.shape(end).spatial() == last)?;
    let mut longer = graph.clone();
    let built = longer.within("second", |graph| {
        let relu = |graph: &mut Graph, word, input| graph.add(word, Op::Activation(Activation::Relu), &[input]);
        let fit = |size: usize, side: usize| side.min(size);
        let mut node = relu(graph, "relu", at)?;
        let kernel = last.map(|side| fit(5, side));
        node = graph.add("pool", Op::AvgPool(Pool2d { kernel, stride: [3; 2], pads: Pads::all(0) }), &[node])?;
        node = graph.add("narrow/conv", Op::Conv2d(Conv2d::same(128, 1, 1)), &[node])?;
        node = graph.add("narrow/norm", Op::BatchNorm, &[node])?;
        node = relu(graph, "narrow/relu", node)?;
        let Shape::Map([_, height, width]) = graph.shape(node) else { unreachable!("a convolution gives a map") };
        let kernel = [fit(2, height), fit(2, width)];
        node = graph.add(
            "wide/conv",
            Op::Conv2d(Conv2d { kernel, pads: Pads::all(0), ..Conv2d::same(768, 1, 1) }),
            &[node],
        )?;
        node = graph.add("wide/norm", Op::BatchNorm, &[node])?;
        node = relu(graph, "wide/relu", node)?;
        node = graph.add("mean", Op::GlobalAvgPool, &[node])?;
        graph.add("classifier", Op::Linear(classes), &[node])
    });
    built.ok().map(|_| (longer, output))
}

/// The last node of each cell, in order.
fn cell_ends(graph: &Graph) -> Vec<NodeId> {
    let mut ends: Vec<(usize, NodeId)> = Vec::new();
    for id in graph.ids() {
        let name = graph.name(id);
        let cell = name.strip_prefix(CELL).and_then(|rest| rest.split_once('/')).and_then(|(nth, _)| nth.parse().ok());
        match (cell, ends.last_mut()) {
            (Some(nth), Some(end)) if end.0 == nth => end.1 = id,
            (Some(nth), _) => ends.push((nth, id)),
            (None, _) => {}
        }
    }
    ends.into_iter().map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use search::{
        chooser::Uniform,
        space::{Scale, SearchSpace, Task, cell::CellSpace, darts::DartsSpace, nas_bench_201::NasBench201},
    };

    use super::*;
    use crate::Schedule;

    const SCALE: Scale =
        Scale { layers: 3, channels: 4, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };

    #[test]
    fn the_second_classifier_stands_behind_the_second_reduction() {
        let cell = CellSpace::default().sample(&mut Uniform::new(0, "noise", 0));
        let graph = CellSpace::default().build(&cell, &SCALE).expect("it fits");
        let (longer, output) = with_second_classifier(&graph).expect("cells come after it");
        assert_eq!((longer.name(output), Some(output)), ("classifier".to_owned(), graph.output()));
        let added: Vec<String> = longer.ids().skip(graph.n_nodes()).map(|id| longer.name(id)).collect();
        assert_eq!(added.len(), 10);
        let first = longer.ids().nth(graph.n_nodes()).expect("nodes were added");
        assert!(longer.name(longer.inputs(first)[0]).starts_with("cell3/"), "reductions are 1 and 3, of cells 0 to 4");
        let last = longer.output().expect("it has nodes");
        assert_eq!(longer.shape(last), Shape::Vector(10));
        assert_eq!(longer.shape(longer.inputs(last)[0]), Shape::Vector(768));

        let arch = NasBench201.sample(&mut Uniform::new(0, "noise", 0));
        let other = NasBench201.build(&arch, &SCALE).expect("it fits");
        assert!(with_second_classifier(&other).is_none_or(|(longer, _)| other.n_nodes() < longer.n_nodes()));
    }

    #[test]
    fn paths_are_those_of_blocks() {
        let cells = DartsSpace.sample(&mut Uniform::new(1, "noise", 0));
        let graph = DartsSpace.build(&cells, &SCALE).expect("it fits");
        let sums: Vec<NodeId> = graph.ids().filter(|&id| Paths::meet_at(&graph, id)).collect();
        assert_eq!(sums.len(), 4 * SCALE.layers, "four nodes a cell");
        let cell = CellSpace { blocks: 3..=3 }.sample(&mut Uniform::new(1, "noise", 0));
        let graph = CellSpace { blocks: 3..=3 }.build(&cell, &SCALE).expect("it fits");
        let n_cells = cell_ends(&graph).len();
        assert_eq!(graph.ids().filter(|&id| Paths::meet_at(&graph, id)).count(), 3 * n_cells, "three blocks a cell");
    }

    #[test]
    fn masks_keep_the_mean() {
        let schedule = Schedule { max: 0.1, min: 0.1, period: 1.0, growth: 1.0, warmup: 0.0, drops: None };
        let recipe = Recipe { drop_path: 0.4, ..Recipe::published(1, 8, schedule) };
        let graph = Graph::default();
        let at = |step| Noise::of(&recipe, &graph, 4_000, 5, [step, 100], &Device::flex()).paths;
        assert!(at(0).is_none(), "nothing goes in the beginning");
        for (step, keep) in [(50, 0.8), (100, 0.6)] {
            let values: Vec<f32> = at(step).expect("paths go").mask().into_data().iter::<f32>().collect();
            let kept = values.iter().filter(|it| **it != 0.0).count() as f64 / 4_000.0;
            assert!((kept - keep).abs() < 0.03, "{kept} of {keep}");
            assert!(values.iter().all(|it| *it == 0.0 || (f64::from(*it) - 1.0 / keep).abs() < 1e-6));
        }
    }
}
