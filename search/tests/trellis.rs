//! Auto-DeepLab: its space against published counts, its relaxed network against the networks in it, and what is decoded
//! from scores against trying everything.

use std::collections::{BTreeMap, BTreeSet};

use graph::{
    Graph, Op, Shape,
    cost::{StaticCost, static_cost},
    weights::parameters,
};
use proptest::prelude::*;
use search::{
    chooser::{Recorded, Replay, Uniform},
    space::{
        Relax, Scale, SearchSpace, all, deeplab,
        trellis::{Block, BlockOp, Route, Trellis, auto_deeplab, edge, option},
    },
};

fn scale(channels: usize, height: usize, width: usize) -> Scale {
    Scale {
        layers: 0,
        channels,
        input: [3, height, width],
        classes: 11,
        front_end: None,
        task: data::Task::Segmentation,
    }
}

fn route(space: &Trellis, seed: u64) -> Route {
    space.sample(&mut Uniform::new(seed, "trellis test", 0))
}

#[test]
fn the_space_is_as_large_as_the_paper_says() {
    let paper = Trellis::default();
    // "2.9 x 10^4"
    assert_eq!(paper.n_paths(), 28_657);
    assert_eq!(Trellis { layers: 3, ..paper }.n_paths(), 5);
    // The paper counts (i + 1)^2 pairs of states and 8^2 of operations: 5.6 x 10^14. Of two different states, without
    // order, there are fewer, and of seven operations that do something.
    assert_eq!(paper.n_cells(), 2_700 * 7_u128.pow(10));
    assert_eq!(paper.size(), 28_657 * 2_700 * 7_u128.pow(10));
    let mut first = Replay::new(&[]);
    let mut recorded = Recorded::new(&mut first);
    paper.sample(&mut recorded);
    let answers: Vec<usize> = recorded.answers.iter().map(|(question, _)| question.options).collect();
    let of_cell: u128 = answers[..20].iter().map(|&it| it as u128).product();
    assert_eq!((answers.len(), of_cell), (20 + 11, paper.n_cells() << 5));
    let small = Trellis { layers: 3, blocks: 1 };
    let distinct: BTreeSet<String> = all(&small).map(|it| format!("{it:?}")).collect();
    assert_eq!(distinct.len() as u128, small.size());
}

#[test]
fn the_published_network_is_in_the_space() {
    let (paper, found) = (Trellis::default(), auto_deeplab());
    assert!(paper.holds(&found));
    assert_eq!(found.path, [0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1]);
    let graph = paper.build(&found, &scale(20, 64, 128)).expect("it fits");
    assert_eq!(graph.output().map(|id| graph.shape(id)), Some(Shape::Map([11, 64, 128])));
    // 10.15 M with DeepLabv3+'s decoder in the place of the search's head.
    let params = static_cost(&graph).params;
    assert!((8_000_000..12_000_000).contains(&params), "{params}");
    let text = serde_json::to_string(&found.cell[0]).expect("it is plain data");
    assert_eq!(text, r#"{"inputs":[0,1],"ops":["atrous_conv_5x5","sep_conv_3x3"]}"#);
    // What is none of the space.
    let but = |change: fn(&mut Route)| {
        let mut other = auto_deeplab();
        change(&mut other);
        paper.holds(&other)
    };
    assert!(!but(|it| it.path[0] = 1));
    assert!(!but(|it| it.path[5] = 0));
    assert!(!but(|it| it.path.truncate(11)));
    assert!(!but(|it| it.cell[0].inputs = [1, 1]));
    assert!(!but(|it| it.cell[1].inputs = [0, 3]));
}

#[test]
fn every_architecture_builds_and_none_is_cheaper_than_the_cheapest() {
    let costs = |graph: &Graph| {
        let StaticCost { params, macs, model_bytes, peak_bytes, n_ops, .. } = static_cost(graph);
        [params, macs, model_bytes, peak_bytes, n_ops]
    };
    for (space, scale) in [
        (Trellis::default(), scale(4, 96, 128)),
        (Trellis { layers: 5, blocks: 2 }, scale(2, 33, 17)),
        (Trellis { layers: 4, blocks: 1 }, scale(1, 3, 1)),
        (Trellis { layers: 1, blocks: 3 }, scale(5, 64, 64)),
    ] {
        let build = |arch: &Route| space.build(arch, &scale).expect("every image fits");
        let cheapest: Vec<[u64; 5]> = space.cheapest().iter().map(|arch| costs(&build(arch))).collect();
        assert!(space.cheapest().iter().all(|arch| space.holds(arch)));
        for seed in 0..60 {
            let arch = route(&space, seed);
            assert!(space.holds(&arch), "{arch:?}");
            let graph = build(&arch);
            let [_, height, width] = scale.input;
            assert_eq!(graph.output().map(|id| graph.shape(id)), Some(Shape::Map([11, height, width])));
            assert_eq!(graph.n_users().iter().filter(|users| **users == 0).count(), 1, "{arch:?}");
            let cost = costs(&graph);
            for nth in 0..cost.len() {
                assert!(
                    cheapest.iter().any(|it| it[nth] <= cost[nth]),
                    "{space:?} {arch:?} {nth} is cheaper: {cost:?}"
                );
            }
        }
    }
}

fn named(graph: &Graph) -> BTreeMap<String, Vec<(&'static str, Vec<usize>)>> {
    let with = graph.ids().map(|id| (graph.name(id), parameters(graph, id)));
    with.filter(|(_, parameters)| !parameters.is_empty()).collect()
}

/// What a network has and the relaxed one has not reads the layer before the previous one at another stride.
#[test]
fn networks_share_their_weights_with_the_relaxed_one() {
    for (space, scale) in [
        (Trellis { layers: 6, blocks: 2 }, scale(3, 40, 64)),
        (Trellis { layers: 1, blocks: 5 }, scale(2, 16, 16)),
        (Trellis { layers: 4, blocks: 1 }, scale(2, 7, 9)),
    ] {
        let relaxed = space.relax(&scale).expect("it fits");
        let names: BTreeSet<String> = relaxed.ids().map(|id| relaxed.name(id)).collect();
        assert_eq!(names.len(), relaxed.n_nodes(), "every node has a name of its own");
        let everything = named(&relaxed);
        let (mut shared, mut own) = (0, 0);
        for seed in 0..40 {
            for (name, parameters) in named(&space.build(&route(&space, seed), &scale).expect("it fits")) {
                match everything.get(&name) {
                    Some(there) => {
                        assert_eq!(there, &parameters, "{name}");
                        shared += 1;
                    }
                    None => {
                        assert!(name.contains("/before"), "{name} is not in the relaxed network");
                        own += 1;
                    }
                }
            }
        }
        assert!(10 * own < shared, "{own} of their own, {shared} shared");
    }
}

#[test]
fn what_leaves_a_map_is_weighed_by_its_row() {
    let space = Trellis { layers: 6, blocks: 2 };
    let relaxed = space.relax(&scale(2, 32, 32)).expect("it fits");
    let options = space.options();
    let mut seen: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); options.len()];
    for id in relaxed.ids() {
        match relaxed.op(id) {
            Op::Mix(key) => {
                assert_eq!(relaxed.inputs(id).len(), options[*key as usize]);
                seen[*key as usize].extend(0..relaxed.inputs(id).len());
            }
            Op::Weigh { key, option } => {
                assert!(seen[*key as usize].insert(*option as usize), "a step has one cell");
                // The row is that of the map that is left, one layer before.
                let name = relaxed.name(id);
                let number = |after: &str| -> usize {
                    let rest = name.split(after).nth(1).expect("the name says where it is");
                    rest.split('/').next().and_then(|it| it.parse().ok()).expect("a number")
                };
                let (layer, from, to) = (number("cell"), number("from").ilog2() - 2, number("stride").ilog2() - 2);
                assert_eq!(*key as usize, space.beta(layer - 1, from as usize), "{name}");
                assert_eq!(*option, to - from.saturating_sub(1), "{name}");
            }
            _ => {}
        }
    }
    let counts: Vec<usize> = seen.iter().map(BTreeSet::len).collect();
    assert_eq!(counts, options, "every option of every key is weighed by something");
    assert_eq!(options.len(), space.beta(5, 0), "the last layer goes nowhere");
    // Two edges and three; then steps of one map, of two, of three, and twice of four.
    assert_eq!(options, [[8; 5].as_slice(), &[2], &[2, 3], &[2, 3, 3], &[2, 3, 3, 2], &[2, 3, 3, 2]].concat());
}

/// The sum of the scores of what an architecture chooses.
fn worth(space: &Trellis, arch: &Route, scores: &[Vec<f64>]) -> f64 {
    let of_block = |(idx, Block { inputs, ops }): (usize, &Block)| {
        (0..2).map(|side| scores[edge(idx, inputs[side])][option(ops[side])]).sum::<f64>()
    };
    let of_step =
        |(layer, pair): (usize, &[usize])| scores[space.beta(layer, pair[0])][pair[1] - pair[0].saturating_sub(1)];
    arch.cell.iter().enumerate().map(of_block).sum::<f64>() + arch.path.windows(2).enumerate().map(of_step).sum::<f64>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_strongest_come_first_and_none_is_left_out(layers in 1_usize..6, seed in any::<u64>()) {
        let space = Trellis { layers, blocks: 1 };
        let mut state = seed;
        let scores: Vec<Vec<f64>> = space.options().into_iter().map(|n| (0..n).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            -((state >> 40) as f64) / 1e6
        }).collect()).collect();
        let found: Vec<Route> = space.strongest(&scores).collect();
        let mut expected: BTreeMap<String, f64> = BTreeMap::new();
        for arch in all(&space) {
            expected.insert(format!("{arch:?}"), worth(&space, &arch, &scores));
        }
        prop_assert_eq!(found.len(), expected.len());
        let best = expected.values().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!((worth(&space, &found[0], &scores) - best).abs() < 1e-9);
        let worths: Vec<f64> = found.iter().map(|arch| worth(&space, arch, &scores)).collect();
        prop_assert!(worths.windows(2).all(|pair| pair[1] <= pair[0] + 1e-9));
        for arch in &found {
            prop_assert!(expected.remove(&format!("{arch:?}")).is_some(), "{arch:?} twice");
        }
    }
}

/// Greedily the path would take the first step that is worth most; what follows is worth more elsewhere.
#[test]
fn the_path_is_the_best_as_a_whole() {
    let space = Trellis { layers: 4, blocks: 1 };
    let mut scores: Vec<Vec<f64>> = space.options().into_iter().map(|n| vec![0.0; n]).collect();
    scores[space.beta(0, 0)] = vec![1.0, 0.0];
    scores[space.beta(2, 2)] = vec![0.0, 0.0, 3.0];
    scores[edge(0, 0)][option(BlockOp::MaxPool)] = 0.5;
    // "No connection" is never kept, however strong.
    scores[edge(0, 1)][0] = 9.0;
    scores[edge(0, 1)][option(BlockOp::AtrousConv3)] = 0.1;
    let best = space.strongest(&scores).next().expect("a space is not empty");
    assert_eq!(best.path, [0, 1, 2, 3]);
    assert_eq!(best.cell, [Block { inputs: [0, 1], ops: [BlockOp::MaxPool, BlockOp::AtrousConv3] }]);
    // What is chosen names an option of every key.
    let chosen = space.chosen(&best);
    assert!(chosen.iter().zip(space.options()).all(|(chosen, n)| *chosen < n) && chosen.len() == scores.len());
    assert_eq!(chosen[space.beta(1, 1)], 2, "from stride 8 to 16 is the third of three");
    // A trellis of many layers is decoded as fast.
    let deep = Trellis { layers: 60, blocks: 5 };
    let scores: Vec<Vec<f64>> = deep.options().into_iter().map(|n| (0..n).map(|it| it as f64).collect()).collect();
    assert!(deep.holds(&deep.strongest(&scores).next().expect("a space is not empty")));
}

#[test]
fn the_plain_network_is_as_large_as_asked() {
    for params in [20_000, 300_000] {
        let graph = deeplab::of_size(&scale(4, 96, 128), params).expect("it fits");
        let found = static_cost(&graph).params;
        assert!(found <= params && params < found + found / 3, "{found} of {params}");
        assert_eq!(graph.output().map(|id| graph.shape(id)), Some(Shape::Map([11, 96, 128])));
        assert_eq!(graph.n_users().iter().filter(|users| **users == 0).count(), 1);
    }
    assert!(static_cost(&deeplab::of_size(&scale(4, 5, 3), 0).expect("it fits")).params > 0);
}
