//! A folder of recordings, one sub-folder a word, as a user has it: from WAV files to a model that reads samples.

use std::{f64::consts::TAU, fs, path::Path};

use data::FrontEnd;

use crate::micro::{json, run, workplace};

/// Clips of two "words" below `folder`, half a second each: a tone that rises, and one that falls.
fn write_words(folder: &Path, per_word: u64) {
    for (word, from, to) in [("rise", 400.0, 1_600.0), ("fall", 1_600.0, 400.0)] {
        for (part, n) in [("train", per_word), ("test", per_word / 4)] {
            let class = folder.join(part).join(word);
            fs::create_dir_all(&class).expect("a temporary folder can be written");
            for clip in 0..n {
                let mut rng = data::keyed::rng(clip, &format!("{part} {word}"), 0);
                let mut noise = || f64::from(data::keyed::below(&mut rng, 2_001)) - 1_000.0;
                let mut phase = 0.0;
                let samples: Vec<i16> = (0..8_000)
                    .map(|at| {
                        let hertz = from + (to - from) * f64::from(at) / 8_000.0 + 40.0 * clip as f64;
                        phase += TAU * hertz / 16_000.0;
                        (6_000.0 * phase.sin() + noise()) as i16
                    })
                    .collect();
                fs::write(class.join(format!("{clip}.wav")), wav(&samples)).expect("a temporary folder can be written");
            }
        }
    }
}

/// The bytes of a WAV file of 16 bits, one channel, 16 kHz.
fn wav(samples: &[i16]) -> Vec<u8> {
    let body: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + body.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend([1_u16, 1].map(u16::to_le_bytes).concat());
    file.extend([16_000_u32, 32_000].map(u32::to_le_bytes).concat());
    file.extend([2_u16, 16].map(u16::to_le_bytes).concat());
    file.extend(b"data");
    file.extend((body.len() as u32).to_le_bytes());
    file.extend(body);
    file
}

#[test]
fn recordings_become_a_model_that_reads_samples() {
    let folder = workplace();
    write_words(&folder.path().join("words"), 40);
    run(&folder, "data check words")
        .expect(0, &["clips 1x49x40, 2 classes", "80 clips", "40 log-mel bands", "loudness"]);
    let config = r#"
        data = "words"
        target = "rpi4"
        preset = "demo"
        front-end = "mfcc"
        proxy = { layers = 1, channels = 4 }
        deployed = { layers = 1, channels = 4 }
        b-enas = { epochs = 2, controller_steps = 2, cells_per_gradient = 2, candidates = 2, proposals = 300 }
        search-recipe = { epochs = 2, batch = 20 }
        training = { epochs = 12, batch = 10 }
    "#;
    fs::write(folder.path().join("words.toml"), config).expect("a temporary folder can be written");
    run(&folder, "search --config words.toml --run run").expect(0, &["within budget", "of 20 clips)"]);
    let receipt = json(&folder.path().join("run/receipt.json"));
    assert_eq!(receipt["data"]["shape"], serde_json::json!([1, 49, 10]));
    assert_eq!(receipt["scale"]["front_end"]["coefficients"], 10);
    // A rise and a fall cannot be told apart by what a tone sounds like on average.
    let right = receipt["accuracy"]["test_by_runtime"]["right"].as_u64().expect("a count");
    assert!(14 < right, "{right} of 20");
    // The front end ships and costs, but is nothing that was learned.
    let basis = FrontEnd::mfcc(16_000).dft_basis();
    let bytes = receipt["cost"]["figures"]["flash"]["value"].as_f64().expect("a number");
    let n_given = basis.values.len() as f64;
    assert!(4.0 * n_given < bytes, "{bytes}");
    let params = receipt["cost"]["figures"]["params"]["value"].as_f64().expect("a number");
    assert!(params < n_given, "{params}");
    run(&folder, "verify --run run").expect(0, &["keeps its promise", "holds    test accuracy"]);
    run(&folder, "inspect run/model.onnx").expect(0, &["[1, 1, 1, 16000]", "Transpose"]);
    run(&folder, "report --run run").expect(0, &[]);

    // A stream, frame by frame: what must be said of it is the same.
    run(&folder, "measure --run run --per-frame --quick --allow-noisy")
        .expect(0, &["features of a frame", "% of the 20 ms", "differ by at most", "network.onnx"]);
    run(&folder, "inspect run/frame.onnx").expect(0, &["[1, 1, 1, 480]", "[1, 1, 1, 10]"]);

    // With the coefficients as channels, cells of one dimension: fewer parameters, and nothing to turn.
    run(&folder, "search --config words.toml --cells 1d --run line").expect(0, &["within budget"]);
    let line = json(&folder.path().join("line/receipt.json"));
    assert_eq!(
        (&line["data"]["shape"], &line["scale"]["input"]),
        (&receipt["data"]["shape"], &serde_json::json!([10, 1, 49]))
    );
    run(&folder, "verify --run line").expect(0, &["keeps its promise", "holds    test accuracy"]);
    let inspected = run(&folder, "inspect line/model.onnx");
    inspected.expect(0, &["[1, 1, 1, 16000]"]);
    assert!(!inspected.stdout.contains("Transpose"), "{}", inspected.stdout);
    let told = run(&folder, "measure --run line --per-frame --quick --allow-noisy --json");
    told.expect(0, &[]);
    let told = told.json();
    let value = |what: &str| told[what]["value"].as_f64().expect("a number");
    assert!(0.0 < value("frame") && value("frame") < value("both") && value("network") < value("both"), "{told}");
    run(&folder, "search --data fashion-tiny --cells 1d --dry-run").expect(2, &["--cells 1d", "only sound"]);
    run(&folder, "search --data words --cells 3d").expect(2, &["--cells 3d", "1d or 2d"]);
    run(&folder, "data check words --sample-rate 8kHz").expect(5, &["16000 Hz", "8000 Hz"]);
    run(&folder, "search --data words --sample-rate 16").expect(2, &["--sample-rate", "16kHz"]);
    run(&folder, "search --data words --front-end loud").expect(2, &["--front-end", "mfcc"]);
}

#[test]
fn spotted_words_stand_beside_a_published_network() {
    let folder = workplace();
    write_words(&folder.path().join("words"), 16);
    let said = run(&folder, "reproduce kws --scale demo --data words --run kws --json");
    said.expect(0, &[]);
    let found = said.json();
    let strategies = ["ours", "random", "published"].map(|who| found[who]["strategy"].as_str().unwrap_or_default());
    assert_eq!(strategies, ["epnas", "random", "ds-cnn"]);
    // What is searched may not take more of the board than the published network does at most, by its model.
    let high = |who: &str| found[who]["latency"]["high"].as_f64().expect("a number");
    assert!(high("ours") <= high("published") && high("random") <= high("published"), "{found}");
    assert!(found["ours"]["latency"]["source"]["estimated"]["by"].is_string(), "{found}");
    assert_eq!(found["bounds"].as_array().map(Vec::len), Some(2), "{found}");
    assert_eq!(found["published"]["trials"], 0);

    run(&folder, "reproduce kws --scale demo").expect(2, &["--data", "WAV"]);
    run(&folder, "reproduce kws --scale demo --data fashion-tiny").expect(2, &["of sound; this is images"]);
    run(&folder, "reproduce epnas --scale demo --data words --run epnas").expect(2, &["of images; this is sound"]);
}
