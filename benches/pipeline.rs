//! What a search spends its time on: building and pricing graphs, steps of shared training, export,
//! inference. `cargo bench` runs all; figures and what they mean stand in `README.md` beside this.

use std::{hint::black_box, sync::Arc, time::Duration};

use ::train::{Compute, Recipe, Schedule, TrainingSet, ops, shared::Supernet};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use data::{Amount, Augment, Normalisation, Options, Source, split};
use graph::{Graph, cost::static_cost};
use search::{
    chooser::Uniform,
    evaluator::SharedWeights,
    pricing::Pricer,
    space::{
        Scale, SearchSpace, Task,
        cell::{Cell, CellSpace},
    },
};
use targets::{Budget, CostModel, Target};

/// The paper's deployed size.
const DEPLOYED: Scale =
    Scale { layers: 11, channels: 36, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };

fn cells(n: u64) -> Vec<Cell> {
    (0..n).map(|step| CellSpace::default().sample(&mut Uniform::new(0, "bench", step))).collect()
}

fn network(cell: &Cell, scale: &Scale) -> Graph {
    CellSpace::default().build(cell, scale).expect("the image is large enough")
}

fn build_and_price(criterion: &mut Criterion) {
    let cells = cells(1_000);
    let model = CostModel::new(Target::find("rpi4").expect("a built-in target"));
    let mut group = criterion.benchmark_group("random cells at the deployed size");
    group.throughput(Throughput::Elements(cells.len() as u64));
    group.bench_function("build", |bencher| {
        bencher.iter(|| cells.iter().map(|cell| network(cell, &DEPLOYED).n_nodes()).sum::<usize>());
    });
    group.bench_function("build and count costs", |bencher| {
        bencher.iter(|| cells.iter().map(|cell| static_cost(&network(cell, &DEPLOYED)).macs).sum::<u64>());
    });
    group.bench_function("build and price for rpi4", |bencher| {
        bencher.iter(|| cells.iter().map(|cell| model.price(&network(cell, &DEPLOYED)).figures.len()).sum::<usize>());
    });
    group.finish();
}

fn supernet(batch: usize) -> Supernet {
    let source = Source::open("fashion-tiny", &Options::default()).expect("a built-in set");
    let part = Arc::new(source.train().expect("a built-in set"));
    let (train, validation) = split(&part, Amount::Fraction(0.2), 0).expect("enough images");
    let normalisation = Normalisation::of(&part, &train).expect("enough images");
    let set = TrainingSet { part, train, validation, normalisation, augment: Augment::for_source(&source) };
    let schedule = Schedule { max: 0.01, min: 0.01, period: 1.0, growth: 1.0, warmup: 0.0, drops: None };
    let recipe = Recipe::published(1, batch, schedule);
    let model = CostModel::new(Target::find("rpi4").expect("a built-in target"));
    Supernet::new(set, recipe, Compute::Cpu, 0, Pricer::new(model, Budget::default(), None, 0))
}

/// A step of shared training, by our kernels and by Burn's: the second is the peer.
fn step(criterion: &mut Criterion) {
    const BATCH: usize = 50;
    let scale =
        Scale { layers: 3, channels: 8, input: [1, 28, 28], classes: 10, front_end: None, task: Task::Classification };
    let children: Vec<Graph> = cells(20).iter().map(|cell| network(cell, &scale)).collect();
    let mut group = criterion.benchmark_group("supernet step, 3 layers, 8 channels, 28x28");
    group.throughput(Throughput::Elements((BATCH * children.len()) as u64));
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    for (name, kernels) in [("own kernels", ops::Kernels::Own), ("Burn's kernels", ops::Kernels::Generic)] {
        ops::select(kernels);
        let mut supernet = supernet(BATCH);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for child in &children {
                    black_box(supernet.train_step(child).expect("training does not diverge in a bench"));
                }
            });
        });
    }
    ops::select(ops::Kernels::Own);
    group.finish();
}

fn export_and_infer(criterion: &mut Criterion) {
    let scale = Scale { channels: 12, input: [1, 28, 28], ..DEPLOYED };
    let graph = network(&cells(1)[0], &scale);
    let weights = export::placeholder_weights(&graph, 0);
    let write = || export::onnx(&graph, &weights, &export::Metadata::default()).expect("a complete network");
    let mut group = criterion.benchmark_group("one network, 11 layers, 12 channels, 28x28");
    group.bench_function("export", |bencher| bencher.iter(write));
    let bytes = write();
    group.bench_function("load and optimise", |bencher| {
        bencher.iter(|| runtime::engine::Model::from_bytes(&bytes).expect("tract reads what we write"));
    });
    let mut model = runtime::engine::Model::from_bytes(&bytes).expect("tract reads what we write");
    let image = runtime::protocol::probe_input(model.input_len());
    group.bench_function("inference", |bencher| {
        bencher.iter_batched(
            || image.clone(),
            |image| model.run(&image).expect("tract runs what we write"),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, build_and_price, step, export_and_infer);
criterion_main!(benches);
