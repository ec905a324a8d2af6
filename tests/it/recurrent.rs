//! Language models: one step in two engines, with what is remembered carried from step to step; what the gate and the engine
//! make of such files; and a paper reproduced on a small text.

use data::keyed;
use export::{Metadata, onnx};
use graph::{Graph, cost::static_cost, weights::Weights};
use runtime::{
    engine::Model,
    stream::Stream,
    validate::{Limits, validate},
    worker::Worker,
};
use search::{
    chooser::Uniform,
    space::{Scale, SearchSpace, lstm, recurrent::RecurrentSpace, rnn_tree::TreeSpace},
};

use crate::{
    command::PROGRAM,
    micro::{json, run, workplace},
    side_by_side::said_json,
};

const WORDS: usize = 40;
const SCALE: Scale =
    Scale { layers: 1, channels: 12, input: [1, 1, 35], classes: WORDS, front_end: None, task: data::Task::Language };

/// Weights between -0.3 and 0.3: trees multiply what they make.
fn weights(graph: &Graph, seed: u64) -> Weights {
    let mut weights = export::placeholder_weights(graph, seed);
    for (key, tensor) in &mut weights.tensors {
        let mut rng = keyed::rng(seed, key, 0);
        let unit = || f64::from(keyed::below(&mut rng, 1 << 20)) / f64::from(1 << 20);
        let values = std::iter::repeat_with(unit).take(tensor.values.len());
        tensor.values = values.map(|it| (0.6 * it - 0.3) as f32).collect();
    }
    weights
}

fn networks() -> Vec<(String, Graph)> {
    let mut all = vec![("lstm".to_owned(), lstm::lstm(&SCALE)), ("elman".to_owned(), lstm::elman(&SCALE))];
    for step in 0..20 {
        for space in [RecurrentSpace::enas(), RecurrentSpace::darts()] {
            let cell = space.sample(&mut Uniform::new(5, "cells", step));
            all.push((format!("{cell:?}"), space.build(&cell, &SCALE)));
        }
        let tree = TreeSpace::default().sample(&mut Uniform::new(5, "trees", step));
        all.push((format!("{tree:?}"), TreeSpace::default().build(&tree, &SCALE)));
    }
    all.into_iter().map(|(name, graph)| (name, graph.expect("cells always fit"))).collect()
}

#[test]
fn engines_agree_word_by_word() {
    let text = [7, 0, 39, 7, 12];
    for (nth, (name, graph)) in networks().into_iter().enumerate() {
        let weights = weights(&graph, nth as u64);
        let expected = ::train::recurrent::logits(&graph, &weights, &text).expect("weights of this network");
        let file = onnx(&graph, &weights, &Metadata::default()).expect("it can be exported");
        let info = validate(&file, &Limits::default()).expect("the gate lets it in");
        let n_memories = graph.memories().len();
        assert_eq!((info.inputs.len(), info.outputs.len()), (1 + n_memories, 1 + n_memories), "{name}");
        assert_eq!(info.inputs[1].name, "memory0_in");
        assert_eq!((info.outputs[0].shape.as_slice(), info.outputs[1].name.as_str()), (&[1, WORDS][..], "memory0_out"));
        let cost = static_cost(&graph);
        // And the two ends of the table.
        assert_eq!((info.macs, info.parameters), (cost.macs, cost.params + 2), "{name}");
        let mut stream = Stream::new(Model::from_bytes(&file).expect("tract loads it")).expect("it is recurrent");
        let read = |stream: &mut Stream| -> Vec<f32> {
            text.iter().flat_map(|&word| stream.step(&[word as f32]).expect("tract runs it")).collect()
        };
        let found = read(&mut stream);
        assert_eq!(found.len(), text.len() * WORDS);
        let largest = expected.iter().fold(1.0, |a: f32, b| a.max(b.abs()));
        for (at, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() <= 1e-5 * largest, "{name}: {a} and {b} at {at}, of values up to {largest}");
        }
        // The same word again, after another: a network that remembers answers otherwise.
        assert_ne!(found[..WORDS], found[3 * WORDS..4 * WORDS], "{name}");
        assert_ne!(read(&mut stream), found, "the text goes on");
        stream.forget();
        assert_eq!(read(&mut stream), found, "and begins anew");
    }
}

/// In a process of its own, a request after the other: what was remembered is brought along.
#[test]
fn a_worker_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    let worker = Worker::new(PROGRAM, &["worker"]);
    for (nth, (name, graph)) in networks().into_iter().step_by(9).enumerate() {
        let weights = weights(&graph, nth as u64);
        std::fs::write(&path, onnx(&graph, &weights, &Metadata::default()).expect("it can be exported")).expect("room");
        let expected = ::train::recurrent::logits(&graph, &weights, &[7, 0, 39, 7, 12]).expect("its own weights");
        let nothing = vec![0.0; graph.memories().iter().map(|it| graph.shape(it.node).elements()).sum()];
        let (first, state) = worker.stream(&path, &nothing, &[7.0, 0.0]).expect("it runs");
        let (second, _) = worker.stream(&path, &state, &[39.0, 7.0, 12.0]).expect("it runs");
        let found = [first.values, second.values].concat();
        assert_eq!(found.len(), expected.len(), "{name}");
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{name}");
        let error = worker.stream(&path, &nothing[1..], &[]).expect_err("too short a state");
        assert!(error.to_string().contains("was given"), "{error}");
    }
}

#[test]
fn what_is_not_recurrent_is_no_stream() {
    let model = Model::from_bytes(&runtime::reference::onnx()).expect("tract loads it");
    let error = Stream::new(model).err().expect("an image network remembers nothing");
    assert!(error.to_string().contains("memory0_in"), "{error}");
}

/// Sentences in which the last word depends on the first.
fn novel(n: usize) -> String {
    let mut text = String::new();
    for line in 0..n {
        let (who, what) = [("anna", "dances"), ("pierre", "thinks"), ("natasha", "sings")][(line * 7 + line / 5) % 3];
        text.push_str(&format!("{who} said that at the ball {who} {what}\n\n"));
    }
    text
}

/// A workplace with a folder of as many sentences a file.
fn with_novel(files: &[(&str, usize)]) -> tempfile::TempDir {
    let folder = workplace();
    std::fs::create_dir(folder.path().join("novel")).expect("a temporary folder can be written");
    for (name, n) in files {
        std::fs::write(folder.path().join("novel").join(name), novel(*n)).expect("a temporary folder can be written");
    }
    folder
}

/// Five papers at once: each searches, trains what it found and an LSTM, and asks the test text.
#[test]
fn language_models_are_found_on_a_folder_of_text() {
    let folder = with_novel(&[("train.txt", 90), ("valid.txt", 30), ("test.txt", 20)]);
    run(&folder, "data check novel")
        .expect(0, &["810 words", "0.00 % of them not of the vocabulary", "270 words of valid"]);
    let papers = [
        ("random-ws-ptb", "random-ws"),
        ("enas-ptb", "enas"),
        ("nas-rl-ptb", "nas-rl"),
        ("asha-ptb", "asha"),
        ("darts-ptb", "darts"),
    ];
    for (paper, strategy) in papers {
        let said = run(&folder, &format!("reproduce {paper} --scale demo --data novel --run {paper} --json"));
        said.expect(0, &[]);
        let found = &said_json(&said.stdout)[0];
        assert_eq!((&found["ours"]["strategy"], &found["published"]["strategy"]), (&strategy.into(), &"lstm".into()));
        assert_eq!(found["random"].is_null(), paper == "random-ws-ptb");
        assert_eq!(found["ours"]["test"]["asked"], 179, "every word but the first");
        assert!(found["elsewhere"].as_array().is_some_and(|it| 2 <= it.len()), "{found}");
        let parity = &found["ours"]["shipped"]["parity"];
        assert!(parity["max_difference"].as_f64().is_some_and(|it| it < 1e-3), "{parity}");
        assert_eq!(parity["images"], 10, "so many words");
        // Asked through the engine alone, in as many streams as the trainer asks it.
        let [shipped, trained] =
            [&found["ours"]["shipped"], &found["ours"]].map(|it| it["test"]["nats"].as_f64().expect("a number"));
        assert!((shipped - trained).abs() < 1e-3 * trained, "{shipped}, and {trained} by the trainer");
        assert_eq!(found["ours"]["shipped"]["test"]["right"], found["ours"]["test"]["right"]);
        let verdict = found["verdict"].as_str().expect("a verdict is a line");
        assert!(verdict.contains("are of Penn TreeBank: nothing to compare with"), "{verdict}");
        assert!(verdict.contains("by the LSTM, with one seed"), "{verdict}");
    }
    // Fewer words told apart are another data set: nothing is gone on with.
    run(&folder, "reproduce asha-ptb --scale demo --data novel --vocabulary 8 --run asha-ptb")
        .expect(2, &["holds other work"]);
    run(&folder, "reproduce enas --data optdigits --vocabulary 8").expect(2, &["only text has words"]);
    // What is recorded is not trained again.
    let again = run(&folder, "reproduce random-ws-ptb --scale demo --data novel --run random-ws-ptb");
    again.expect(
        0,
        &[
            "words told apart, 0.0 % of the test words are none of them",
            "cannot be compared",
            "test perplexity",
            "model.onnx",
            "on 10 words",
            "by the shipped file in tract",
        ],
    );
    run(&folder, "reproduce enas-ptb --scale demo").expect(2, &["--data", "ptb.train.txt"]);
    run(&folder, "reproduce enas-ptb --scale demo --data fashion-tiny --run other").expect(2, &["language modelling"]);
    run(&folder, "reproduce enas --scale demo --data novel --run other").expect(2, &["language modelling"]);
}

/// The way that images take as well: a search under bounds, a file, a receipt that holds, and a report.
#[test]
fn a_budget_is_searched_for_on_a_folder_of_text() {
    let folder = with_novel(&[("train.txt", 90), ("valid.txt", 30), ("test.txt", 20)]);
    let search = "search --target rpi4 --data novel --preset demo --device none";
    run(&folder, &format!("{search} --dry-run")).expect(
        0,
        &["41 training, 14 validation segments, 13 classes", "cells of 8 nodes", "final training on 123 segments"],
    );
    run(&folder, &format!("{search} --max-params 1k")).expect(2, &["needs 5.66 k at 16 features"]);
    run(&folder, &format!("{search} --recipe one-cycle")).expect(2, &["for images and sound"]);
    run(&folder, "search --data fashion-tiny --vocabulary 9").expect(2, &["only text has words"]);
    run(&folder, "search --data novel --task classification").expect(5, &["no data set recognised"]);

    let said = run(&folder, &format!("{search} --max-params 6k --baseline trained --run found"));
    said.expect(
        0,
        &[
            "within budget: a network of 8 nodes a cell",
            "test perplexity",
            "words right), by the shipped file",
            "<= 6 k: met",
        ],
    );
    let receipt = json(&folder.path().join("found/receipt.json"));
    assert_eq!(receipt["cell"]["nodes"].as_array().map(Vec::len), Some(8));
    assert_eq!((&receipt["scale"]["task"], &receipt["scale"]["classes"]), (&"language".into(), &13.into()));
    let test = &receipt["accuracy"]["test_by_runtime"];
    let perplexity = (test["words"]["nats"].as_f64().expect("a number") / test["of"].as_f64().expect("a number")).exp();
    // Who speaks tells who acts: half of the words at least are no choice at all.
    assert!(test["of"] == 179 && 1.0 < perplexity && perplexity < 6.0, "{perplexity}");
    assert_eq!(receipt["probe"]["logits"].as_array().map(Vec::len), Some(16 * 13));
    assert!(receipt["baseline"]["test"]["words"].is_object(), "{receipt}");

    let kept = run(&folder, "verify --run found");
    kept.expect(0, &["holds    outputs for the fixed input", "test perplexity by the runtime", "keeps its promise"]);
    run(&folder, "inspect found/model.onnx").expect(0, &["word_in [1, 1], memory0_in [1, 16]"]);
    run(&folder, "explain --run found --max-params 3k").expect(1, &["never met; the nearest was 5.66 k"]);
    run(&folder, "bench ranking --run found").expect(2, &["images and sound"]);
    let report = std::fs::read_to_string(folder.path().join("found/report.html")).expect("a finished run has one");
    for part in ["Perplexity against each cost", "validation perplexity", "first state", "mean of nodes 1 to 8"] {
        assert!(report.contains(part), "{part}");
    }
    // Another text is another promise.
    std::fs::write(folder.path().join("novel/test.txt"), novel(20).replace("sings", "dances"))
        .expect("it can be written");
    run(&folder, "verify --run found").expect(1, &["FAILS", "test perplexity by the runtime"]);
}

/// Strategies do not know what they search.
#[test]
fn every_strategy_searches_text() {
    let folder = with_novel(&[("train.txt", 40), ("test.txt", 20)]);
    std::fs::write(folder.path().join("few.toml"), "[trials]\nevaluations = 5\nepochs = 1\n")
        .expect("it can be written");
    let strategies = [
        "b-enas",
        "random-ws",
        "random",
        "evolution",
        "local-search",
        "reinforce",
        "nas-rl",
        "nasnet",
        "epnas",
        "neural-architect",
        "asha",
        "surrogate",
    ];
    for strategy in strategies {
        let search = format!(
            "search --target rpi4 --data novel --preset demo --device none --config few.toml --strategy {strategy} --json"
        );
        let said = run(&folder, &format!("{search} --run {strategy}"));
        said.expect(0, &[]);
        let receipt = &said_json(&said.stdout)[0];
        assert_eq!(receipt["strategy"], strategy);
        assert!(receipt["cell"]["nodes"].is_array() && receipt["accuracy"]["test"]["words"].is_object(), "{receipt}");
    }
}
