//! ENAS: its two spaces against formulas, its controller's skips, and the search against a known table.
#![expect(clippy::print_stdout, reason = "the figures are a table to read")]

use std::time::Duration;

use data::keyed;
use graph::{
    Graph, Op,
    cost::{StaticCost, static_cost},
};
use search::{
    Result,
    chooser::{Chooser, Kind, Question, Recorded, Replay, Uniform},
    evaluator::{Saved, SharedWeights, Step},
    oracle::{Oracle, Table},
    policy::{Controller, ControllerSettings},
    space::{
        Scale, SearchSpace, Task,
        cell::{self, CellSpace},
        enas_macro::{Chain, EnasMacro, Layer, LayerOp},
        enas_micro::{Cells, EnasMicro},
        nas_bench_201::{Arch, NasBench201, PUBLISHED},
    },
    strategy::{
        Chosen, Strategy,
        enas::{Enas, Settings},
    },
    study::{Phase, Progress, Signal, Study, Unwatched, Watch},
};
use targets::{Bound, Budget, Cost, Figure, Metric};

const MACRO: EnasMacro = EnasMacro { layers: 12 };
const MICRO: EnasMicro = EnasMicro { blocks: 5 };

fn scale(layers: usize, channels: usize, side: usize) -> Scale {
    Scale { layers, channels, input: [3, side, side], classes: 10, front_end: None, task: Task::Classification }
}

fn uniform<S: SearchSpace>(space: &S, seed: u64) -> S::Arch {
    space.sample(&mut Uniform::new(seed, "enas test", 0))
}

#[test]
fn spaces_are_as_large_as_their_formulas_say() {
    for layers in [1, 2, 3, 6, 12] {
        let space = EnasMacro { layers };
        let expected = 6_u128.pow(layers as u32) * (1 << (layers * (layers - 1) / 2));
        assert_eq!(space.size(), expected, "{layers} layers");
        // The questions multiply to it.
        let mut first = Replay::new(&[]);
        let mut recorded = Recorded::new(&mut first);
        space.sample(&mut recorded);
        let asked: u128 = recorded.answers.iter().map(|(question, _)| question.options as u128).product();
        assert_eq!(asked, expected, "{layers} layers");
    }
    assert_eq!(MACRO.size(), 2_176_782_336 * (1 << 66));
    assert_eq!(EnasMacro { layers: 24 }.size(), u128::MAX);
    assert_eq!(MICRO.size(), 5_062_500_000_000_u128.pow(2));
}

#[test]
fn every_architecture_builds_a_network_of_its_own() {
    check(&MACRO, &[scale(0, 8, 32), scale(0, 8, 28), scale(0, 8, 5), scale(0, 4, 1)]);
    check(&MICRO, &[scale(6, 8, 32), scale(1, 8, 28), scale(3, 4, 7)]);
    // Without a third there is no reduction.
    check(&EnasMacro { layers: 2 }, &[scale(0, 8, 32)]);
}

fn check<S: SearchSpace>(space: &S, scales: &[Scale]) {
    let costs = |graph: &Graph| {
        let StaticCost { params, macs, model_bytes, peak_bytes, n_ops, .. } = static_cost(graph);
        [params, macs, model_bytes, peak_bytes, n_ops]
    };
    for scale in scales {
        let build = |arch: &S::Arch| space.build(arch, scale).expect("every image fits");
        let cheapest: Vec<[u64; 5]> = space.cheapest().iter().map(|arch| costs(&build(arch))).collect();
        let mut seen: Vec<(S::Arch, String)> = Vec::new();
        for seed in 0..100 {
            let arch = uniform(space, seed);
            let graph = build(&arch);
            assert_eq!(graph.n_users().iter().filter(|users| **users == 0).count(), 1, "{arch:?}");
            let cost = costs(&graph);
            assert!(0 < cost[1]);
            for nth in 0..cost.len() {
                assert!(cheapest.iter().any(|it| it[nth] <= cost[nth]), "{arch:?} is cheaper: {cost:?}");
            }
            let fingerprint = graph.fingerprint();
            let same = seen.iter().find(|(other, known)| *known == fingerprint && *other != arch);
            assert!(same.is_none(), "{arch:?} is {same:?}");
            seen.push((arch, fingerprint));
        }
    }
}

/// Fingerprints, and FNV-1a of all names, from before cells could differ in one network.
#[test]
fn networks_of_one_cell_are_what_they_were() {
    let rows = [
        (0, 1, "27da1ec3bcf12612", 0xca6a_ebc8_874b_e268),
        (0, 3, "7ba16be48d3aae8f", 0xbdf1_1452_e936_7cee),
        (0, 6, "db968e08855f3905", 0xb227_93c7_db88_2b26),
        (1, 1, "77807be86cacfeed", 0xe9a1_b00c_4a38_8534),
        (1, 3, "27792f2abf180775", 0xf2c1_23b8_d018_7ea6),
        (1, 6, "5b0df566e584fa76", 0x5d6a_4e21_a5e7_bd88),
        (2, 1, "e9a5a8552a2c99a1", 0x2bbc_695a_8fbe_0ac6),
        (2, 3, "89e4f0c7e63fdde3", 0x9ff6_0e41_24f4_b407),
        (2, 6, "cdeb6553ce55144e", 0x0be8_f6e3_11cc_7b47),
        (3, 1, "0554da7ff7bce430", 0x085e_d391_0969_8b62),
        (3, 3, "2460b380676b4c40", 0x1540_3d08_8627_e173),
        (3, 6, "e288565aa661ba1e", 0xf473_d715_6fd4_77fe),
        (4, 1, "0d967230c35786fe", 0x1a0c_f47d_6e35_bbc1),
        (4, 3, "463dfec5f59df4ee", 0x2f56_b393_3a73_c794),
        (4, 6, "ca53d0a13179dcb4", 0x322c_a58a_0329_fe9e),
        (5, 1, "bf99334721feca5b", 0xcfe8_fab9_ea63_cac6),
        (5, 3, "b36b3662b109798f", 0xad96_4cbc_660d_45b4),
        (5, 6, "51f0e88499fbdae8", 0x5946_58aa_e481_2f5a_u64),
    ];
    for (seed, layers, fingerprint, names) in rows {
        let blocks = if seed < 3 { 2..=7 } else { 5..=5 };
        let cell = CellSpace { blocks }.sample(&mut Uniform::new(seed, "golden", 0));
        let graph = CellSpace::default().build(&cell, &scale(layers, 8, 32)).expect("it fits");
        assert_eq!(graph.fingerprint(), fingerprint, "cell {seed} in {layers} layers");
        let text: String = graph.ids().map(|id| graph.name(id) + "\n").collect();
        let fnv = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        assert_eq!(text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv), names, "names of cell {seed} in {layers} layers");
    }
}

#[test]
fn two_equal_cells_are_one_and_a_reduction_cell_is_in_the_reductions_alone() {
    for seed in 0..50 {
        let Cells { convolution, reduction } = uniform(&MICRO, seed);
        let one = CellSpace { blocks: 5..=5 }.build(&convolution, &scale(6, 8, 32)).expect("it fits");
        let twice = Cells { convolution: convolution.clone(), reduction: convolution.clone() };
        assert_eq!(MICRO.build(&twice, &scale(6, 8, 32)).expect("it fits"), one);
        let both = MICRO.build(&Cells { convolution, reduction }, &scale(6, 8, 32)).expect("it fits");
        let names = |graph: &Graph, layer: usize| -> Vec<String> {
            let prefix = format!("cell{layer}/block");
            graph.ids().map(|id| graph.name(id)).filter(|name| name.starts_with(&prefix)).collect()
        };
        let reductions = cell::reductions(6);
        for layer in 0..cell::n_cells(6) {
            let (one, both) = (names(&one, layer), names(&both, layer));
            let unread = one.is_empty() || both.is_empty();
            assert!(unread || (one != both) == reductions.contains(&layer), "cell {layer} of {seed}");
        }
    }
}

/// A chain by its operations and, for each layer, the states that it skips from.
fn chain(ops: &[LayerOp], skips: &[(usize, usize)]) -> Chain {
    let layer = |(idx, op): (usize, &LayerOp)| Layer {
        op: *op,
        skips: (0..idx).map(|state| skips.contains(&(idx, state))).collect(),
    };
    Chain { layers: ops.iter().enumerate().map(layer).collect() }
}

#[test]
fn chains_cost_what_concatenation_and_1x1_convolutions_do() {
    use LayerOp::{AvgPool, Conv3, Conv5, MaxPool, SepConv3, SepConv5};

    let (f, px) = (8, 32 * 32);
    let macs =
        |space: EnasMacro, chain: &Chain| static_cost(&space.build(chain, &scale(0, 8, 32)).expect("it fits")).macs;
    // Without reductions: a stem, for each layer f x f for each state that it reads, its operation, and the classifier.
    let of = |op: LayerOp| match op {
        Conv3 => 9 * f * f,
        Conv5 => 25 * f * f,
        SepConv3 => 9 * f + f * f,
        SepConv5 => 25 * f + f * f,
        AvgPool | MaxPool => 0,
    };
    for ops in [[Conv3, Conv5], [SepConv3, SepConv5], [AvgPool, MaxPool]] {
        for skips in [&[][..], &[(1, 0)]] {
            let joined = f * f * (2 + skips.len() as u64);
            let expected = px * (27 * f + joined + of(ops[0]) + of(ops[1])) + 10 * f;
            assert_eq!(macs(EnasMacro { layers: 2 }, &chain(&ops, skips)), expected, "{ops:?}, {skips:?}");
        }
    }
    // Three layers, halved before the second and the third; the stem is read again by the last.
    let halved = |from: u64, side: u64| side * side * from * 2 * from;
    let pooling = [AvgPool; 3];
    let plain = px * (27 * f + f * f)
        + halved(f, 16)
        + 16 * 16 * (2 * f) * (2 * f)
        + halved(2 * f, 8)
        + 8 * 8 * (4 * f) * (4 * f)
        + 10 * 4 * f;
    assert_eq!(macs(EnasMacro { layers: 3 }, &chain(&pooling, &[])), plain);
    let stem = halved(f, 16) + halved(2 * f, 8) + 8 * 8 * (4 * f) * (4 * f);
    assert_eq!(macs(EnasMacro { layers: 3 }, &chain(&pooling, &[(2, 0)])), plain + stem);
}

#[test]
fn twelve_layers_are_halved_after_the_fourth_and_the_eighth() {
    let graph = MACRO.build(&uniform(&MACRO, 0), &scale(0, 36, 32)).expect("it fits");
    let shape = |name: &str| {
        let id = graph.ids().find(|id| graph.name(*id).starts_with(name)).expect("it is there");
        graph.shape(id).dims()
    };
    for layer in 0..12 {
        let (channels, side) = [(36, 32), (72, 16), (144, 8)][layer / 4];
        assert_eq!(shape(&format!("layer{layer}/relu")), [channels, side, side]);
    }
    let joined: Vec<String> = graph.ids().filter(|id| *graph.op(*id) == Op::Concat).map(|id| graph.name(id)).collect();
    assert!(2 <= joined.len() && joined.iter().all(|name| name.starts_with("reduction")), "{joined:?}");
}

#[test]
fn presets_are_the_numbers_of_the_scripts() {
    let numbers = |it: &Settings| {
        let of = &it.controller;
        (
            [it.epochs, it.controller_steps, it.aggregate, of.layers, of.hidden],
            [it.entropy_weight, of.lr, of.beta_1, of.epsilon, of.temperature, of.baseline_decay, of.spread],
            [of.tanh_constant, of.op_tanh_reduce, of.skip_target, of.skip_weight],
        )
    };
    let rest = |lr| [1e-4, lr, 0.0, 1e-3, 1.0, 0.99, 0.1];
    assert_eq!(numbers(&Settings::micro()), ([150, 30, 10, 1, 64], rest(0.0035), [1.1, 2.5, 0.4, 0.0]));
    assert_eq!(numbers(&Settings::macro_search()), ([310, 50, 20, 1, 64], rest(0.001), [1.5, 1.0, 0.4, 0.8]));
    assert_eq!(Settings::default(), Settings::micro());
}

/// Settings of a small controller.
fn small() -> ControllerSettings {
    ControllerSettings { hidden: 16, lr: 0.02, baseline_decay: 0.9, ..ControllerSettings::default() }
}

#[test]
fn a_second_part_picks_among_its_own_states() {
    let third = |forgets: bool| {
        let mut controller = Controller::new(small(), 2, 0);
        let answers = (0..200).map(|step| {
            let ask = |chooser: &mut dyn Chooser| {
                chooser.define();
                if forgets {
                    chooser.forget();
                }
                chooser.choose(Question { kind: Kind::Input, options: 3 })
            };
            // Through a chooser that passes on what it is told.
            let asked = |chooser: &mut dyn Chooser| ask(&mut Recorded::new(chooser));
            controller.sample(keyed::rng(0, "part", step), asked).0
        });
        answers.filter(|it| *it == 2).count()
    };
    assert_eq!(third(true), 0, "only the two given states are left");
    assert!((30..110).contains(&third(false)), "three states, about evenly");
}

#[test]
fn operations_are_squeezed_more() {
    let widest = |kind: Kind, op_tanh_reduce: f64| {
        let log_p = (0..100).map(|seed| {
            let settings = ControllerSettings { op_tanh_reduce, spread: 30.0, ..Settings::micro().controller };
            let mut controller = Controller::new(settings, 2, seed);
            let ask = |chooser: &mut dyn Chooser| chooser.choose(Question { kind, options: 2 });
            controller.sample(keyed::rng(0, "squeezed", seed), ask).1.log_probability()
        });
        log_p.fold(0.0, f64::min)
    };
    // The logits of two options differ by twice the constant at most: -log(1 + e^(2 * 1.1)), and so on.
    let least = |constant: f64| -(2.0 * constant).exp().ln_1p();
    for (kind, reduce, constant) in [(Kind::Op, 2.5, 0.44), (Kind::Op, 1.0, 1.1), (Kind::Count, 2.5, 1.1)] {
        let found = widest(kind, reduce);
        assert!(least(constant) <= found + 1e-6, "{kind:?} / {reduce}: {found}, not {}", least(constant));
        assert!(found < least(0.8 * constant), "{kind:?} / {reduce}: {found} is hardly squeezed");
    }
}

#[test]
fn skips_move_to_their_target() {
    let settings = ControllerSettings { skip_weight: 0.8, skip_target: 0.4, ..small() };
    let mut controller = Controller::new(settings, 0, 0);
    let step = |controller: &mut Controller, nth: u64, learns: bool| {
        let (chain, walked) = controller.sample(keyed::rng(0, "skips", nth), |chooser| MACRO.sample(chooser));
        let taken = chain.layers.iter().flat_map(|it| &it.skips).filter(|it| **it).count();
        let divergence = walked.divergence(0.4);
        if learns {
            // No reward: nothing but the divergence is left to learn from.
            controller.reinforce(&[(walked, 0.0)]);
        }
        (taken as f64 / 66.0, divergence)
    };
    // A fresh controller hardly prefers anything: 66 times the divergence of a half from 0.4, over 11 layers.
    let half = 0.5 * (0.5_f64 / 0.6).ln() + 0.5 * (0.5_f64 / 0.4).ln();
    let first = step(&mut controller, 0, false).1;
    assert!((first - 6.0 * half).abs() < 0.03, "{first}, not {}", 6.0 * half);
    for nth in 0..60 {
        step(&mut controller, nth, true);
    }
    let after: Vec<(f64, f64)> = (100..140).map(|nth| step(&mut controller, nth, false)).collect();
    let rate = after.iter().map(|(rate, _)| rate).sum::<f64>() / 40.0;
    let most = after.iter().map(|(_, divergence)| *divergence).fold(0.0, f64::max);
    assert!((rate - 0.4).abs() < 0.04, "{rate} of the skips are taken");
    assert!(most < 0.01, "a divergence of {most}");
    // Where nothing is skipped nothing diverges.
    let (_, walked) = controller.sample(keyed::rng(0, "cells", 0), |chooser| NasBench201.sample(chooser));
    assert_eq!(walked.divergence(0.4), 0.0);
}

fn within(seconds: f64, hard: bool) -> Budget {
    Budget { bounds: vec![Bound { metric: Metric::Latency, min: None, max: Some(seconds), hard }] }
}

/// Settings for a search of a few hundred scores.
fn hasty() -> Settings {
    let controller = small();
    Settings {
        epochs: 10,
        controller_steps: 3,
        aggregate: 6,
        candidates: 20,
        finalists: 5,
        controller,
        ..Settings::micro()
    }
}

/// Scores that a search with these settings asks for.
fn n_scores(it: &Settings) -> usize {
    it.epochs * it.controller_steps * it.aggregate + it.candidates + it.finalists
}

fn search_table(table: &Table, budget: &Budget, seed: u64) -> (Vec<Chosen<Arch>>, usize) {
    let mut oracle = Oracle::new(table);
    let mut study = Study::new(budget.clone(), Box::new(Unwatched));
    let mut enas = Enas::new(hasty(), 0, PUBLISHED, PUBLISHED, seed);
    let found = enas.search(&NasBench201, &mut oracle, &mut study).expect("a table answers");
    (found, oracle.evaluations)
}

#[test]
fn it_beats_random_search_at_equal_cost_where_there_is_something_to_learn() {
    let table = Table::made_up(1).expect("sizes fit");
    let shuffled = table.shuffled(1);
    for (budget, table, learns) in
        [(Budget::default(), &table, true), (within(20e-3, true), &table, true), (Budget::default(), &shuffled, false)]
    {
        let best = table.best_within(&budget).expect("some network is within");
        let random =
            100.0 * (best - table.best_of_random(&budget, n_scores(&hasty())).expect("some network is within"));
        let regrets: Vec<f64> = (0..20)
            .map(|seed| {
                let (found, scores) = search_table(table, &budget, seed);
                assert!(scores <= n_scores(&hasty()), "{scores} scores");
                assert!(found.iter().all(|it| budget.admits(&it.cost)), "a hard bound is broken");
                100.0 * (best - found[0].accuracy)
            })
            .collect();
        let mean = regrets.iter().sum::<f64>() / 20.0;
        let spread = (regrets.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / 19.0 / 20.0).sqrt();
        println!("regret {mean:.3} +- {spread:.3}, random {random:.3}, {} scores", n_scores(&hasty()));
        assert_eq!(mean + 3.0 * spread < random, learns, "{mean} +- {spread}, random {random}");
    }
}

#[test]
fn soft_bounds_shape_the_reward_and_hard_ones_do_not() {
    let table = Table::made_up(3).expect("sizes fit");
    let mean_latency = |budget: Budget| {
        let mut study = Study::new(budget, Box::new(Unwatched));
        let settings = Settings { epochs: 20, alpha: 0.5, entropy_weight: 0.0, ..hasty() };
        let mut enas = Enas::new(settings, 0, PUBLISHED, PUBLISHED, 0);
        enas.search(&NasBench201, &mut Oracle::new(&table), &mut study).expect("a table answers");
        let soft = study.budget.bounds.iter().any(|bound| !bound.hard);
        for trial in study.trials().iter().filter(|it| it.phase == Phase::Explore) {
            let (accuracy, reward) = (trial.accuracy.expect("scored"), trial.reward.expect("told"));
            let excess: f64 = study.budget.excesses(&trial.cost).sum();
            let expected = if soft { accuracy - 0.5 * excess.min(9.0) } else { accuracy };
            assert!((reward - expected).abs() < 1e-9, "{reward}, not {expected}");
        }
        let explored: Vec<f64> = study
            .trials()
            .iter()
            .filter(|it| it.epoch == 19)
            .map(|it| it.cost.figures[&Metric::Latency].value)
            .collect();
        explored.iter().sum::<f64>() / explored.len() as f64
    };
    let (free, soft) = (mean_latency(Budget::default()), mean_latency(within(10e-3, false)));
    assert!(soft < 15e-3 && 1.5 * soft < free, "{soft} with a soft bound of 10 ms, {free} without");
    assert!(mean_latency(within(10e-3, true)) <= 10e-3);
}

#[test]
fn a_resumed_search_ends_as_one_that_was_not_interrupted() {
    let table = Table::made_up(2).expect("sizes fit");
    let folder = tempfile::tempdir().expect("a folder");
    let run = |watch: Box<dyn Watch>| {
        let mut study = Study::open(folder.path(), within(20e-3, true), watch).expect("it opens");
        let mut enas = Enas::new(hasty(), 0, PUBLISHED, PUBLISHED, 7);
        let found = enas.search(&NasBench201, &mut Oracle::new(&table), &mut study);
        (found, std::fs::read(folder.path().join("study.jsonl")).expect("it is there"))
    };
    let (stopped, _) = run(Box::new(Ends(26, Signal::Stop)));
    assert!(matches!(stopped, Err(search::Error::Interrupted)));
    let (resumed, journal) = run(Box::new(Unwatched));
    assert_eq!(search_table(&table, &within(20e-3, true), 7).0, resumed.expect("a table answers"));
    let mut study = Study::new(within(20e-3, true), Box::new(Unwatched));
    let mut enas = Enas::new(hasty(), 0, PUBLISHED, PUBLISHED, 7);
    enas.search(&NasBench201, &mut Oracle::new(&table), &mut study).expect("a table answers");
    let lines: Vec<String> =
        study.trials().iter().map(|it| serde_json::to_string(it).expect("plain data") + "\n").collect();
    assert_eq!(lines.concat().into_bytes(), journal);
}

/// Ends a search after a number of looks.
struct Ends(u64, Signal);

impl Watch for Ends {
    fn look(&mut self, _: &Progress<'_>) -> Signal {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { self.1 } else { Signal::Continue }
    }
}

#[test]
fn a_deadline_ends_it_with_an_answer_and_what_is_impossible_with_none() {
    let table = Table::made_up(2).expect("sizes fit");
    let run = |budget: Budget, watch: Box<dyn Watch>| {
        let (mut study, mut oracle) = (Study::new(budget, watch), Oracle::new(&table));
        let settings = Settings { proposals: 300, ..hasty() };
        let mut enas = Enas::new(settings, 0, PUBLISHED, PUBLISHED, 0);
        let found = enas.search(&NasBench201, &mut oracle, &mut study).expect("a table answers");
        (found.len(), oracle.evaluations)
    };
    assert_eq!(run(Budget::default(), Box::new(Ends(2, Signal::WrapUp))), (5, 6 + 5 + 5));
    assert_eq!(run(within(0.5e-3, true), Box::new(Unwatched)), (0, 0));
    // Next to nothing: the cell without operations, whose latency is one of the lowest.
    let least = table.best_within(&within(1.3e-3, true));
    assert!(least.is_some() && 0 < run(within(1.99e-3, true), Box::new(Unwatched)).0);
}

/// Weights for any space: a network is the better the more of its convolutions are small and the more it adds up.
struct Plain {
    spent: usize,
}

impl SharedWeights for Plain {
    fn n_batches(&self) -> usize {
        2
    }

    fn train_step(&mut self, _: &Graph) -> Result<Step> {
        Ok(Step { loss: 1.0, took: Duration::ZERO })
    }

    fn accuracy(&mut self, child: &Graph) -> Result<f64> {
        self.spent += 1;
        let share = |is: &dyn Fn(&Op) -> bool| {
            child.ids().filter(|id| is(child.op(*id))).count() as f64 / child.n_nodes() as f64
        };
        let depthwise = share(&|op| matches!(op, Op::Conv2d(conv) if 1 < conv.groups));
        Ok(depthwise + share(&|op| *op == Op::Add))
    }

    fn validate(&mut self, child: &Graph) -> Result<f64> {
        self.accuracy(child)
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        let params = Figure::exact(static_cost(deployed).params as f64);
        Ok(Cost { figures: [(Metric::Params, params)].into() })
    }

    fn save(&self) -> Result<Saved> {
        Ok(Saved::default())
    }

    fn restore(&mut self, _: &Saved) -> Result<()> {
        Ok(())
    }
}

#[test]
fn it_searches_its_own_spaces() {
    search_own(&MICRO, Settings { controller: small(), ..hasty() }, scale(6, 4, 16));
    let skips = ControllerSettings { skip_weight: 0.1, ..small() };
    search_own(&MACRO, Settings { controller: skips, ..hasty() }, scale(0, 4, 16));
}

fn search_own<S: SearchSpace>(space: &S, settings: Settings, scale: Scale) {
    let drawn: Vec<f64> = (0..n_scores(&settings) as u64)
        .map(|seed| Plain { spent: 0 }.accuracy(&space.build(&uniform(space, seed), &scale).expect("it fits")))
        .map(|it| it.expect("it counts"))
        .collect();
    let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
    let deviation = (drawn.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / drawn.len() as f64).sqrt();
    let mut study = Study::new(Budget::default(), Box::new(Unwatched));
    let mut weights = Plain { spent: 0 };
    let settings = Settings { epochs: 40, ..settings };
    let mut enas = Enas::new(settings.clone(), space.given(), scale, scale, 1);
    let found = enas.search(space, &mut weights, &mut study).expect("it answers");
    assert!(weights.spent <= n_scores(&settings));
    let gain = (found[0].accuracy - mean) / deviation;
    println!("{gain:.1} standard deviations above a random network");
    assert!(2.5 < gain, "{gain} standard deviations above a random network");
}
