//! A folder of scenes with masks, as a user has it: from images to a model that gives a class for every pixel.
#![expect(clippy::print_stdout, reason = "the largest difference is told in one line")]

use std::{fs, path::Path};

use export::Metadata;
use graph::{Graph, weights::Weights};
use runtime::{
    engine::Model,
    validate::{Limits, validate},
};
use search::{
    chooser::Uniform,
    space::{Scale, SearchSpace, Task, deeplab, trellis::Trellis},
};

use crate::{
    micro::{json, read, run, workplace},
    pictures::png,
};

/// Height and width of the scenes, in pixels: no power of two.
const SIDES: [usize; 2] = [26, 36];

/// Scenes below `folder`: dark ground and a bright sky that begins elsewhere in each; a pillar that is half as bright, and
/// a column that nobody has labelled.
fn write_scenes(folder: &Path, n_train: usize) {
    let [height, width] = SIDES;
    for (part, n) in [("train", n_train), ("val", 6)] {
        for kind in ["images", "masks"] {
            fs::create_dir_all(folder.join(part).join(kind)).expect("a temporary folder can be written");
        }
        for scene in 0..n {
            let mut rng = data::keyed::rng(scene as u64, part, 0);
            let mut below = |n: usize| data::keyed::below(&mut rng, n as u32) as usize;
            let (horizon, pillar) = (6 + below(height - 12), 1 + below(width - 8));
            let (mut image, mut mask) = (Vec::new(), Vec::new());
            for at in 0..height * width {
                let (row, column) = (at / width, at % width);
                let class = match (row < horizon, (pillar..pillar + 6).contains(&column)) {
                    (_, true) => 2,
                    (true, false) => 1,
                    (false, false) => 0,
                };
                image.push(([30, 220, 120][class] + below(20)) as u8);
                mask.push(if column == 0 { 3 } else { class as u8 });
            }
            for (kind, values) in [("images", image), ("masks", mask)] {
                let path = folder.join(part).join(kind).join(format!("{scene}.png"));
                fs::write(path, png(height, width, &values)).expect("a temporary folder can be written");
            }
        }
    }
    fs::write(folder.join("classes.txt"), "ground\nsky\npillar\nvoid\n").expect("a temporary folder can be written");
}

#[test]
fn scenes_are_searched_trained_and_shipped() {
    let folder = workplace();
    write_scenes(&folder.path().join("scenes"), 24);
    run(&folder, "data check scenes").expect(0, &["1x26x36, 3 classes", "24 images", "pixels a class", "`void`"]);
    let said = run(&folder, "reproduce auto-deeplab --scale demo --data scenes --run found --json");
    said.expect(0, &[]);
    let found = said.json();
    let strategies = ["ours", "random", "plain"].map(|who| found[who]["strategy"].as_str().unwrap_or_default());
    assert_eq!(strategies, ["darts", "random", "plain-deeplab"]);
    for who in ["ours", "random", "plain"] {
        let classes = found[who]["classes"].as_array().expect("a list");
        assert_eq!(classes.iter().map(|it| it["class"].clone()).collect::<Vec<_>>(), ["ground", "sky", "pillar"]);
        // The column of nobody's is not asked about.
        assert_eq!(found[who]["test"]["asked"], 6 * 26 * 35, "{found}");
    }
    let architecture = &found["ours"]["architecture"];
    assert_eq!((architecture["path"].as_array().map(Vec::len), &architecture["path"][0]), (Some(3), &0.into()));
    assert_eq!(found["elsewhere"].as_array().map(Vec::len), Some(4));
    let verdict = found["verdict"].as_str().expect("words");
    for words in ["another data set", "points of mean IoU against random search", "against the plain network"] {
        assert!(verdict.contains(words), "{verdict}");
    }
    // The file is there, and gives a class for every pixel.
    let shipped = &found["ours"]["shipped"];
    assert!(shipped["parity"]["max_difference"].as_f64().is_some_and(|it| it < 1e-3), "{shipped}");
    assert_eq!(read(&folder.path().join("found/model.onnx")).len() as u64, shipped["bytes"]);
    run(&folder, "inspect found/model.onnx").expect(0, &["[1, 1, 26, 36]", "[1, 3, 26, 36]", "Resize"]);
    assert_eq!(json(&folder.path().join("found/reproduction.json")), found);
    // What is recorded is not searched again, and is told in words.
    let again = run(&folder, "reproduce auto-deeplab --scale demo --data scenes --run found");
    again.expect(0, &["mean IoU", "IoU in percent: ground", "cannot be compared", "model.onnx: "]);

    run(&folder, "reproduce auto-deeplab --scale demo").expect(2, &["--data", "train/masks"]);
    run(&folder, "reproduce auto-deeplab --scale demo --data optdigits").expect(2, &["of segmentation"]);
    run(&folder, "reproduce darts --scale demo --data scenes").expect(2, &["of classification"]);
    fs::remove_file(folder.path().join("scenes/train/masks/7.png")).expect("it was written");
    run(&folder, "data check scenes").expect(5, &["images/7.png", "masks/7.png"]);
}

/// The whole way of a search: cells with the class of each pixel at their end.
#[test]
fn scenes_are_searched_within_a_budget() {
    let folder = workplace();
    write_scenes(&folder.path().join("scenes"), 24);
    let config = r#"
        data = "scenes"
        target = "rpi4"
        preset = "demo"
        max-latency = "50ms"
        proxy = { layers = 1, channels = 4 }
        deployed = { layers = 1, channels = 4 }
        b-enas = { epochs = 2, controller_steps = 2, cells_per_gradient = 2, candidates = 2, proposals = 300 }
        search-recipe = { epochs = 2, batch = 6 }
        training = { epochs = 12, batch = 4 }
    "#;
    fs::write(folder.path().join("scenes.toml"), config).expect("a temporary folder can be written");
    run(&folder, "search --config scenes.toml --run run --device none")
        .expect(0, &["within budget", "test mean IoU", "of the pixels of 6 images right"]);
    let receipt = json(&folder.path().join("run/receipt.json"));
    assert_eq!((&receipt["scale"]["task"], &receipt["data"]["test"]), (&"segmentation".into(), &6.into()));
    let test = &receipt["accuracy"]["test_by_runtime"];
    assert_eq!(test["of"], 6 * 26 * 35, "the column of nobody's is not asked about");
    // Nothing but ground has an IoU of a third or less, and of the two others 0.
    assert!(test["pixels"]["mean_iou"].as_f64().is_some_and(|it| 0.4 < it), "{test}");
    run(&folder, "verify --run run").expect(0, &["keeps its promise", "holds    test mean IoU"]);
    run(&folder, "inspect run/model.onnx").expect(0, &["[1, 1, 26, 36]", "[1, 3, 26, 36]", "Resize"]);
    let report = String::from_utf8(read(&folder.path().join("run/report.html"))).expect("it is text");
    assert!(report.contains("Test mean IoU"), "the report tells what was scored");
    run(&folder, "search --config scenes.toml --dry-run").expect(0, &["memory"]);
}

/// Random networks of both kinds: what the engine computes from the exported file is what Burn does.
#[test]
fn engines_agree_on_maps() {
    let space = Trellis { layers: 4, blocks: 2 };
    let mut largest = 0.0;
    for step in 0..8 {
        let [height, width] = [[26, 36], [17, 33], [5, 3], [32, 32]][step as usize % 4];
        let scale = Scale {
            layers: 0,
            channels: 3,
            input: [3, height, width],
            classes: 4,
            front_end: None,
            task: Task::Segmentation,
        };
        let graph = match step < 6 {
            true => space.build(&space.sample(&mut Uniform::new(9, "maps", step)), &scale).expect("it fits"),
            false => deeplab::of_size(&scale, 30_000).expect("it fits"),
        };
        let weights = export::placeholder_weights(&graph, step);
        let (expected, found) = both(&graph, &weights, [3, height, width]);
        assert_eq!(found.len(), 4 * height * width);
        let size = expected.iter().fold(1.0, |size: f32, it| size.max(it.abs()));
        let differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs() / size);
        let difference = differences.fold(0.0, |a: f32, b| if b.is_nan() { f32::INFINITY } else { a.max(b) });
        assert!(difference < 1e-4, "{difference} in network {step}");
        // A class alone, and a pixel alone, are no map.
        let (first, last) = (expected[0], expected[expected.len() - 1]);
        assert!(expected.iter().any(|it| 1e-3 * size < (it - first).abs()), "{first} {last}");
        largest = difference.max(largest);
    }
    println!("maps of 8 networks: tract differs by {largest:.1e} of the largest logit");
}

/// The logits in Burn, and of the exported file in tract.
fn both(graph: &Graph, weights: &Weights, shape: [usize; 3]) -> (Vec<f32>, Vec<f32>) {
    let image: Vec<f32> = (0..shape.iter().product()).map(|at: usize| (at as f32 * 0.37).sin()).collect();
    let file = export::onnx(graph, weights, &Metadata::default()).expect("the network is complete");
    validate(&file, &Limits::default()).expect("the gate admits what we write");
    let mut model = Model::from_bytes(&file).expect("tract loads what we export");
    let found = model.run(&image).expect("tract runs it");
    (::train::fit::logits(graph, weights, image, shape).expect("the weights are the graph's"), found)
}
