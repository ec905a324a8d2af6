//! The two spaces of EPNAS: their sizes, their edits, and what their networks cost.

use std::{collections::HashSet, hash::Hash};

use graph::cost::{StaticCost, static_cost};
use search::{
    chooser::{Odometer, Uniform},
    space::{
        Morph, Scale, SearchSpace, Task,
        layers::{Filters, Layer, LayerOp, LayerSpace, Layers, Nonlinearity},
        modules::{Branch, BranchOp, Module, ModuleSpace},
    },
};

const SMALL: Scale =
    Scale { layers: 3, channels: 16, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };

fn counted<S: SearchSpace<Arch: Eq + Hash>>(space: &S) -> u128 {
    let (mut odometer, mut archs) = (Odometer::default(), HashSet::new());
    loop {
        assert!(archs.insert(space.sample(&mut odometer)), "an architecture is answered in one way");
        if !odometer.advance() {
            return archs.len() as u128;
        }
    }
}

#[test]
fn spaces_are_as_large_as_they_say() {
    let layers = |max_layers| LayerSpace { max_layers, ..LayerSpace::default() };
    let modules = |max_branches| ModuleSpace { max_branches, ..ModuleSpace::default() };
    for (size, expected) in [(layers(1).size(), 244), (layers(2).size(), 244 + 244 * 489)] {
        assert_eq!(size, expected);
    }
    for (size, expected) in [(modules(1).size(), 290), (modules(2).size(), 290 + 290 * 980)] {
        assert_eq!(size, expected);
    }
    assert_eq!(counted(&layers(2)), layers(2).size());
    assert_eq!(counted(&modules(1)), modules(1).size());
    assert_eq!(layers(20).size(), u128::MAX, "more than can be counted");
}

/// What every network of a space must be, and every step from it.
fn check_space<S: Morph<Arch: Eq + Hash>>(space: &S, is_well_formed: impl Fn(&S::Arch) -> bool, most: usize) {
    let scales = [
        SMALL,
        Scale { layers: 1, channels: 4, input: [1, 28, 28], classes: 2, front_end: None, task: Task::Classification },
        Scale { layers: 6, channels: 36, input: [3, 7, 5], classes: 100, front_end: None, task: Task::Classification },
    ];
    let key = |cost: &StaticCost| [cost.params, cost.macs, cost.peak_bytes, cost.model_bytes, cost.traffic_bytes];
    let costs = |arch: &S::Arch, scale: &Scale| key(&static_cost(&space.build(arch, scale).expect("it builds")));
    let floor = scales.map(|scale| {
        let cheapest: Vec<[u64; 5]> = space.cheapest().iter().map(|arch| costs(arch, &scale)).collect();
        std::array::from_fn::<u64, 5, _>(|nth| cheapest.iter().map(|it| it[nth]).min().expect("there are some"))
    });
    let check = |arch: &S::Arch| {
        assert!(is_well_formed(arch), "{arch:?}");
        let rows = space.embed(arch);
        assert!((1..=most).contains(&rows.len()) && rows.iter().all(|row| row.len() == 7), "{arch:?}");
        for (scale, floor) in scales.iter().zip(floor) {
            let cost = costs(arch, scale);
            assert!(cost.iter().zip(floor).all(|(cost, floor)| floor <= *cost), "{arch:?}: {cost:?}, {floor:?}");
        }
        let text = serde_json::to_string(arch).expect("plain data");
        assert_eq!(*arch, serde_json::from_str::<S::Arch>(&text).expect("it comes back"));
    };
    let (mut sampled, mut n_changed) = (HashSet::new(), 0);
    for seed in 0..200 {
        let mut arch = space.sample(&mut Uniform::new(1, "space", seed));
        check(&arch);
        sampled.insert(arch.clone());
        for step in 0..5 {
            let edited = space.morph(&arch, &mut Uniform::new(seed, "morph", step));
            check(&edited);
            assert!(space.embed(&edited).len() <= space.embed(&arch).len() + 1);
            n_changed += usize::from(edited != arch);
            arch = edited;
        }
    }
    assert!(190 < sampled.len() && 600 < n_changed, "{} sampled, {n_changed} changed", sampled.len());
}

#[test]
fn every_network_of_layers_builds_and_so_does_every_edit() {
    let space = LayerSpace { max_layers: 12, groups: 3 };
    check_space(&space, Layers::is_well_formed, 12);
}

#[test]
fn every_module_builds_and_so_does_every_edit() {
    check_space(&ModuleSpace::default(), Module::is_well_formed, 5);
}

fn conv(width: usize, channels: usize, activation: Nonlinearity) -> Layer {
    Layer { op: LayerOp::Conv2d(Filters { width, channels, activation }), src2: None }
}

fn pool(width: usize) -> Layer {
    Layer { op: LayerOp::MaxPool2d(width), src2: None }
}

fn add(src2: usize) -> Layer {
    Layer { op: LayerOp::Add, src2: Some(src2) }
}

#[test]
fn layers_cost_what_they_should() {
    let check = |layers: &[Layer], params: u64, macs: u64| {
        let graph = LayerSpace::default().build(&Layers { layers: layers.to_vec() }, &SMALL).expect("it builds");
        let cost = static_cost(&graph);
        assert_eq!((cost.params, cost.macs), (params, macs), "{layers:?}");
    };
    let classifier = |channels: u64| channels * 10 + 10;
    check(&[pool(2)], classifier(3), 30);
    check(&[conv(3, 16, Nonlinearity::Relu)], 16 * 27 + 32 + classifier(16), 16 * 27 * 1024 + 160);
    // CReLU doubles the channels, and costs nothing else.
    check(&[conv(3, 16, Nonlinearity::Crelu)], 16 * 27 + 32 + classifier(32), 16 * 27 * 1024 + 320);
    let filters = Filters { width: 5, channels: 32, activation: Nonlinearity::Swish };
    let separable = Layer { op: LayerOp::DepSepConv2d(filters), src2: None };
    check(&[separable], 3 * 25 + 3 * 32 + 64 + classifier(32), (3 * 25 + 3 * 32) * 1024 + 320);
    // Pooled to 16 x 16 and, rounded up from 5, to 3 x 3.
    check(&[pool(3), conv(1, 16, Nonlinearity::Elu)], 48 + 32 + classifier(16), 48 * 256 + 160);
    // The image is brought to 16 channels of 16 x 16 by a strided 1x1 convolution.
    let skip = [conv(1, 16, Nonlinearity::Selu), pool(2), add(0)];
    check(&skip, 2 * (48 + 32) + classifier(16), 48 * 1024 + 48 * 256 + 160);
    // The same shape needs none.
    let same = [conv(1, 16, Nonlinearity::Relu), conv(1, 16, Nonlinearity::Relu), add(1)];
    check(&same, 48 + 256 + 64 + classifier(16), (48 + 256) * 1024 + 160);
}

#[test]
fn widths_follow_the_scale_and_names_say_layer_and_type() {
    let arch = Layers { layers: vec![conv(3, 64, Nonlinearity::Crelu), add(0)] };
    let graph = LayerSpace::default().build(&arch, &Scale { channels: 4, ..SMALL }).expect("it builds");
    let names: Vec<String> = graph.ids().map(|id| graph.name(id)).collect();
    let expected = [
        "image",
        "layer0/conv2d/conv",
        "layer0/conv2d/norm",
        "layer0/conv2d/relu",
        "layer0/conv2d/negative_relu",
        "layer0/conv2d/crelu",
        "layer1/add/skip/conv",
        "layer1/add/skip/norm",
        "layer1/add/sum",
        "pool",
        "classifier",
    ];
    assert_eq!(names, expected);
    let widths: Vec<usize> = graph.ids().map(|id| graph.shape(id).channels()).collect();
    assert_eq!(widths, [3, 16, 16, 16, 16, 32, 32, 32, 32, 32, 10]);
}

#[test]
fn inserting_and_removing_keep_what_skips_skip() {
    let relu = |channels| conv(1, channels, Nonlinearity::Relu);
    let arch = || Layers { layers: vec![relu(16), relu(32), add(1), relu(64), add(2)] };
    let after = |edit: &dyn Fn(&mut Layers)| {
        let mut arch = arch();
        edit(&mut arch);
        assert!(arch.is_well_formed(), "{arch:?}");
        arch.layers
    };
    // Behind the image: every skip was of a layer that moved.
    assert_eq!(after(&|it| it.insert(0, pool(2))), [pool(2), relu(16), relu(32), add(2), relu(64), add(3)]);
    // Behind layer 0: the skip of layer 0 stays where it is.
    assert_eq!(after(&|it| it.insert(1, pool(2))), [relu(16), pool(2), relu(32), add(1), relu(64), add(3)]);
    assert_eq!(after(&|it| it.insert(5, pool(2))), [relu(16), relu(32), add(1), relu(64), add(2), pool(2)]);
    // What skipped layer 0 skips from what it read.
    assert_eq!(after(&|it| it.remove(0)), [relu(32), add(0), relu(64), add(1)]);
    // Without layer 1 the first sum is one of layer 0 with itself: it goes as well. So does its reader's skip.
    assert_eq!(after(&|it| it.remove(1)), [relu(16), relu(64), add(1)]);
    assert_eq!(after(&|it| it.remove(2)), [relu(16), relu(32), relu(64), add(2)]);
    let mut pair = Layers { layers: vec![relu(16), add(0)] };
    pair.remove(0);
    assert_eq!(pair.layers, [relu(16), add(0)], "nothing would be left");
}

#[test]
fn removing_a_branch_hands_its_source_on() {
    let branch = |src1, op| Branch { op, channels: 16, propagate: false, src1 };
    let one = BranchOp::Conv { filter: 1 };
    let two = |src2| BranchOp::ConvConv { filter: 3, src2 };
    let module = Module { branches: vec![branch(0, one), branch(1, one), branch(2, two(1)), branch(1, two(3))] };
    assert_eq!(module.ends().collect::<Vec<_>>(), [3]);
    let mut propagating = module.clone();
    propagating.branches[1].propagate = true;
    assert_eq!(propagating.ends().collect::<Vec<_>>(), [1, 3]);
    let mut removed = module.clone();
    removed.remove(1);
    assert_eq!(removed.branches, [branch(0, one), branch(1, two(1)), branch(1, two(2))]);
    let mut inserted = module;
    inserted.insert(1, branch(0, one));
    let moved = [branch(0, one), branch(0, one), branch(1, one), branch(3, two(1)), branch(1, two(4))];
    assert_eq!(inserted.branches, moved);
}

#[test]
fn modules_cost_what_they_should() {
    // Layers 1: three modules of which the first two reduce, on a stem of 16 channels.
    let scale = Scale { layers: 1, ..SMALL };
    let check = |branches: &[Branch], params: u64| {
        let graph = ModuleSpace::default().build(&Module { branches: branches.to_vec() }, &scale).expect("it builds");
        assert_eq!(static_cost(&graph).params, params, "{branches:?}");
    };
    let stem = 16 * 27 + 32;
    let branch = |op, channels, src1| Branch { op, channels, propagate: false, src1 };
    let mut expected = stem + 64 * 10 + 10;
    for (from, to) in [(16, 32), (32, 64), (64, 64)] {
        expected += from * to * 9 + 2 * to;
    }
    check(&[branch(BranchOp::Conv { filter: 3 }, 16, 0)], expected);
    // A pool needs a convolution where the channels change.
    let mut expected = stem + 64 * 10 + 10;
    for (from, to) in [(16, 32), (32, 64)] {
        expected += from * to + 2 * to;
    }
    check(&[branch(BranchOp::AvgPool { pool: 2 }, 16, 0)], expected);
    // Two ends of 8 channels are one of 16; a row and a column have 7 weights each.
    let mut expected = stem + 64 * 10 + 10;
    for (from, to) in [(16, 16), (32, 32), (64, 32)] {
        expected += (from * to + to * to) * 7 + 2 * to;
        expected += from * to + 2 * to;
    }
    check(&[branch(BranchOp::RowColumn, 8, 0), branch(BranchOp::Conv { filter: 1 }, 8, 0)], expected);
}
