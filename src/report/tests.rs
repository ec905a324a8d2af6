//! The page as a whole: well formed, closed, safe and honest for every kind of material.

use std::collections::BTreeMap;

use ::train::fit::Epoch;
use graph::Graph;
use search::{
    space::{
        Scale, SearchSpace, Task,
        cell::{Block, Cell, CellOp, CellSpace},
        cells::AnyCell,
    },
    study::{Phase, Trial},
};
use targets::{Bound, Conditions, CostModel, Judgement, Measurement, Metric, Protocol, Reach, Target};

use crate::{
    receipt::{Accuracy, Baseline, BaselineRow, DataCard, Judged, Outcome, Parity, Probe, Receipt, Trained, Training},
    score::Score,
};

use super::*;

/// A run as small as a run can be, on a target without a board.
struct Sample {
    receipt: Receipt,
    training: Training,
    trials: Vec<Trial>,
    graph: Graph,
}

impl Sample {
    fn new() -> Self {
        let block = |inputs, ops| Block { inputs, ops };
        let cell = Cell {
            blocks: vec![
                block([0, 1], [CellOp::SepConv3, CellOp::AvgPool]),
                block([2, 1], [CellOp::Identity, CellOp::MaxPool]),
            ],
        };
        let other = Cell { blocks: vec![block([1, 1], [CellOp::SepConv5, CellOp::Identity])] };
        let scale =
            Scale { layers: 1, channels: 4, input: [1, 8, 8], classes: 2, front_end: None, task: Task::Classification };
        let model = CostModel::new(Target::find("rpi4").expect("a built-in target"));
        let build = |cell: &Cell| CellSpace::default().build(cell, &scale).expect("the image is large enough");
        let (graph, cost, other_cost) = (build(&cell), model.price(&build(&cell)), model.price(&build(&other)));
        let trial = |trial: u64, strategy: &str, phase, cell: &Cell, accuracy| Trial {
            trial,
            strategy: strategy.to_owned(),
            phase,
            epoch: 0,
            arch: serde_json::to_value(cell).expect("plain data"),
            accuracy,
            epochs: None,
            curve: Vec::new(),
            cost: model.price(&build(cell)),
            predicted: None,
            reward: (phase == Phase::Explore).then_some(0.3),
            admitted: accuracy.is_some(),
        };
        let trials = vec![
            trial(0, "b-enas", Phase::Explore, &other, Some(0.4)),
            trial(1, "b-enas", Phase::Explore, &cell, Some(0.5)),
            trial(2, "b-enas", Phase::Select, &other, None),
            trial(3, "b-enas", Phase::Select, &cell, Some(0.6)),
            trial(4, "random-ws", Phase::Select, &other, Some(0.55)),
        ];
        let epoch = |epoch: usize| Epoch { epoch, loss: 1.0 / epoch as f64, validation: 0.3 * epoch as f64 };
        let trained = |validation, test| Trained {
            curve: (1..4).map(epoch).collect(),
            best: 3,
            validation: Score::of_images(validation, 100),
            test: Score::of_images(test, 200),
            seconds: 10.0,
        };
        let training = Training { chosen: trained(90, 176), baseline: Some(trained(88, 172)), ships: None };
        let bound = Bound { metric: Metric::Latency, min: None, max: Some(0.1), hard: true };
        let receipt = Receipt {
            format: 1,
            versions: BTreeMap::from([("pipeline".to_owned(), "0.1.0".to_owned())]),
            written_at: 1_795_320_300,
            target: "rpi4".to_owned(),
            target_title: "Raspberry Pi 4".to_owned(),
            device: None,
            outcome: Outcome::Within,
            bounds: vec![Judged { bound, judgement: Judgement::Met }],
            cost,
            cell: AnyCell::Stacked(cell),
            scale,
            accuracy: Accuracy {
                validation: training.chosen.validation,
                test: training.chosen.test,
                test_by_runtime: training.chosen.test,
            },
            baseline: Some(BaselineRow {
                baseline: Baseline {
                    strategy: "random-ws".to_owned(),
                    cell: Some(AnyCell::Stacked(other)),
                    search_accuracy: Some(0.55),
                    cost: Some(other_cost),
                    was_asked_for: false,
                },
                validation: training.baseline.as_ref().map(|it| it.validation),
                test: training.baseline.as_ref().map(|it| it.test),
            }),
            data: DataCard {
                name: "shapes".to_owned(),
                sha256: "00".repeat(32),
                shape: [1, 8, 8],
                classes: vec!["round".to_owned(), "square".to_owned()],
                train: 300,
                validation: 100,
                test: 200,
                mean: vec![0.5],
                std: vec![0.25],
            },
            seed: 7,
            strategy: "b-enas".to_owned(),
            trials: BTreeMap::from([("b-enas".to_owned(), 4), ("random-ws".to_owned(), 1)]),
            files: BTreeMap::from([("model.onnx".to_owned(), "ab".repeat(32))]),
            parity: Parity { images: 10, max_difference: 2e-6 },
            probe: Probe { logits: vec![0.5, -0.5] },
            latency: None,
            measurement: None,
            counts: None,
            runtime: None,
            calibration: None,
            repeat: "pipeline search --config run/config.toml".to_owned(),
        };
        Self { receipt, training, trials, graph }
    }

    fn html(&self) -> String {
        let Self { receipt, training, trials, graph } = self;
        html(&Material { receipt, training, trials, graph, layer_seconds: None, latency_fit: None })
            .expect("the template renders")
    }

    /// The same, measured on `host`.
    fn measured() -> Self {
        let mut sample = Self::new();
        let block = |idx: u64| targets::Block {
            wall_ns: (0..20).map(|run| 1_000_000 + 1_000 * run + 10_000 * idx).collect(),
            calibration_ns: vec![50_000; 3],
            ..targets::Block::default()
        };
        let conditions = Conditions { cpu: "<b>CPU</b>".to_owned(), cores: 2, ..Conditions::default() };
        let measurement = Measurement {
            target: "host".to_owned(),
            device: "local".to_owned(),
            reach: Reach::Local,
            model_sha256: "ab".repeat(32),
            engine: "tract".to_owned(),
            agent: "0.1.0".to_owned(),
            agent_sha256: String::new(),
            protocol: Protocol::default(),
            warmup_runs: 60,
            warmup_settled: true,
            blocks: (0..4).map(block).collect(),
            load_ns: 1_000_000,
            first_run_ns: 2_000_000,
            load_peak_bytes: 20 << 20,
            steady_peak_bytes: 0,
            output_hash: "00".to_owned(),
            before: conditions.clone(),
            after: conditions,
        };
        let figure = measurement.figure(0.9).expect("it was timed");
        sample.receipt.cost.set(Metric::Latency, figure);
        sample.receipt.measurement = Some(measurement);
        sample.receipt.device = Some("local".to_owned());
        sample.receipt.target = "host".to_owned();
        sample
    }
}

/// Names of the elements that are open where `html` stops making sense, with what follows; empty
/// where every element is closed in its turn.
fn unbalanced(html: &str) -> Vec<String> {
    const VOID: [&str; 3] = ["meta", "br", "!doctype"];
    let mut open = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let Some(end) = rest.find('>') else { return vec!["a tag without its end".to_owned()] };
        let tag = &rest[..end];
        if tag.contains('<') || !tag.matches('"').count().is_multiple_of(2) {
            return vec![tag.to_owned()];
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default().to_owned();
        if tag.starts_with('/') {
            if open.pop().as_ref() != Some(&name) {
                open.push(format!("closed by {name}: {}", rest.chars().take(80).collect::<String>()));
                return open;
            }
        } else if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    open
}

/// Every kind of material that the page has words for.
fn samples() -> Vec<(&'static str, Sample)> {
    let with = |change: fn(&mut Sample)| {
        let mut sample = Sample::new();
        change(&mut sample);
        sample
    };
    vec![
        ("estimated", Sample::new()),
        ("measured", Sample::measured()),
        (
            "bare",
            with(|it| {
                it.trials.clear();
                it.training.chosen.curve.clear();
                it.training.baseline = None;
                it.receipt.baseline = None;
                it.receipt.bounds.clear();
                it.receipt.cost.figures.clear();
                it.graph = Graph::default();
            }),
        ),
        (
            "over",
            with(|it| {
                it.receipt.outcome = Outcome::Over;
                it.receipt.bounds[0].bound.max = Some(1e-6);
                it.receipt.bounds[0].judgement = Judgement::Broken;
            }),
        ),
        (
            "cannot tell",
            with(|it| {
                it.receipt.outcome = Outcome::CannotTell;
                it.receipt.bounds[0].judgement = Judgement::CannotTell;
            }),
        ),
        (
            "no figure",
            with(|it| {
                it.receipt.outcome = Outcome::CannotTell;
                it.receipt.bounds[0].bound.metric = Metric::TrainTime;
                it.receipt.bounds[0].judgement = Judgement::Unknown;
            }),
        ),
        (
            "a rival ships",
            with(|it| {
                it.receipt.baseline.as_mut().expect("the sample has one").baseline.was_asked_for = true;
            }),
        ),
        (
            "no baseline found",
            with(|it| {
                it.training.baseline = None;
                it.receipt.baseline = Some(BaselineRow {
                    baseline: Baseline {
                        strategy: "random-ws".to_owned(),
                        cell: None,
                        search_accuracy: None,
                        cost: None,
                        was_asked_for: false,
                    },
                    validation: None,
                    test: None,
                });
            }),
        ),
    ]
}

#[test]
fn every_page_is_well_formed_and_whole() {
    for (name, sample) in samples() {
        let html = sample.html();
        assert_eq!(unbalanced(&html), Vec::<String>::new(), "{name}");
        for wrong in ["NaN", "inf ", "None", "Some("] {
            assert!(!html.contains(wrong), "{name}: {wrong}");
        }
    }
}

#[test]
fn the_page_asks_for_nothing() {
    for (name, sample) in samples() {
        let html = sample.html();
        for outside in ["://", " src=", " href=", "url(", "@import", "<script", "<link", "<img"] {
            assert!(!html.contains(outside), "{name}: {outside}");
        }
    }
}

#[test]
fn hostile_words_stay_words() {
    let hostile = r#"</title></svg></pre>"><script>alert('x')</script>&amp;"#;
    let mut sample = Sample::measured();
    let receipt = &mut sample.receipt;
    receipt.data.classes = vec![hostile.to_owned()];
    for text in [&mut receipt.data.name, &mut receipt.repeat, &mut receipt.target, &mut receipt.target_title] {
        *text = hostile.to_owned();
    }
    receipt.device = Some(hostile.to_owned());
    receipt.versions = BTreeMap::from([(hostile.to_owned(), hostile.to_owned())]);
    receipt.files = receipt.versions.clone();
    receipt.strategy = hostile.to_owned();
    if let Some(row) = &mut receipt.baseline {
        row.baseline.strategy = hostile.to_owned();
    }
    for trial in &mut sample.trials {
        trial.strategy = hostile.to_owned();
    }
    if let Some(measurement) = &mut receipt.measurement {
        measurement.target = hostile.to_owned();
        measurement.after.governor = Some(hostile.to_owned());
    }
    let html = sample.html();
    assert_eq!(unbalanced(&html), Vec::<String>::new());
    assert!(!html.contains("<script") && !html.contains("<b>CPU"));
}

#[test]
fn an_estimate_is_never_shown_as_measured() {
    let html = Sample::new().html();
    let words = ["by estimate", "not measured on rpi4", "there is no distribution to show", "chip estimated"];
    for expected in words {
        assert!(html.contains(expected), "{expected}");
    }
    assert!(!html.contains("chip measured"));
    let html = Sample::measured().html();
    assert!(html.contains("chip measured") && html.contains("80 samples in 4 blocks on host (local)"));
}

#[test]
fn the_verdict_is_that_of_the_receipt() {
    let expected = [
        ("estimated", "Within the budget, by estimate"),
        ("measured", "Within the budget"),
        ("bare", "No budget was set"),
        ("over", "Over the budget, by estimate"),
        ("cannot tell", "Cannot tell whether the budget holds"),
        ("no figure", "Cannot tell whether the budget holds"),
        ("a rival ships", "Within the budget, by estimate"),
        ("no baseline found", "Within the budget, by estimate"),
    ];
    for ((name, sample), (of, title)) in samples().into_iter().zip(expected) {
        assert_eq!(name, of);
        assert!(sample.html().contains(&format!("<h1>{title}</h1>")), "{name}");
    }
}

#[test]
fn the_chosen_trial_is_the_one_that_was_chosen() {
    let Sample { receipt, trials, .. } = Sample::new();
    assert_eq!(trade_off::search_accuracy(&receipt, &trials), Some(0.6), "the scoring for the answer");
    assert_eq!(trade_off::search_accuracy(&receipt, &trials[..2]), Some(0.5), "one to learn from, for want of it");
    assert_eq!(trade_off::search_accuracy(&receipt, &trials[..1]), None);
}

#[test]
fn the_histogram_holds_every_sample_it_shows() {
    let sample = Sample::measured();
    let latency = latency::latency(sample.receipt.measurement.as_ref()).expect("it was timed");
    let bars = latency.charts[0].plot.split("<title>").filter_map(|title| title.split_once(" samples from "));
    let shown: usize = bars.filter_map(|(n, _)| n.parse::<usize>().ok()).sum();
    // The slowest half percent of 80 samples is the slowest one.
    assert_eq!(shown, 79);
    assert!(latency.charts[0].note.contains("The slowest 1, up to 1.05 ms"), "{}", latency.charts[0].note);
}
