//! Features: their shapes, what librosa says of them, and that the matrices say the same.

use std::f64::consts::TAU;

use data::{FrontEnd, Matrix, Sound};
use proptest::prelude::*;

use crate::files::refused;

/// The clip of `golden/front_end.py`: two chirps and a tone, and silence after 0.9 s.
fn chirps() -> Vec<i16> {
    let sample = |nth: usize| {
        let t = nth as f64 / 16_000.0;
        let value = 0.4 * (TAU * (100.0 * t + 900.0 * t * t)).sin()
            + 0.3 * (TAU * (3000.0 * t - 1000.0 * t * t)).sin()
            + 0.05 * (TAU * 440.0 * t).sin();
        if t < 0.9 { (32767.0 * value).round() as i16 } else { 0 }
    };
    (0..16_000).map(sample).collect()
}

/// The features as a network would compute them: three matrix products, slow and plain.
fn naive(front_end: &FrontEnd, samples: &[i16]) -> Vec<f64> {
    let product = |matrix: &Matrix, vector: &[f64]| -> Vec<f64> {
        assert_eq!(matrix.columns, vector.len());
        assert_eq!(matrix.values.len(), matrix.rows * matrix.columns);
        let rows = matrix.values.chunks_exact(matrix.columns);
        rows.map(|row| row.iter().zip(vector).map(|(&a, b)| f64::from(a) * b).sum()).collect()
    };
    let (basis, filters, dct) = (front_end.dft_basis(), front_end.mel_filters(), front_end.dct());
    let mut features = Vec::new();
    for frame in samples.windows(front_end.window).step_by(front_end.hop) {
        let frame: Vec<f64> = frame.iter().map(|&it| f64::from(it) * f64::from(FrontEnd::SCALE)).collect();
        let parts = product(&basis, &frame);
        let (cosines, sines) = parts.split_at(front_end.bins().len());
        let power: Vec<f64> = cosines.iter().zip(sines).map(|(a, b)| a * a + b * b).collect();
        let bands: Vec<f64> =
            product(&filters, &power).iter().map(|it| (it + f64::from(FrontEnd::FLOOR)).ln()).collect();
        features.extend(dct.as_ref().map_or(bands.clone(), |dct| product(dct, &bands)));
    }
    features
}

fn close(found: &[f32], expected: &[f64], within: f64) {
    assert_eq!(found.len(), expected.len());
    for (place, (&found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(found) - expected).abs() < within, "{place}: {found} is not {expected}");
    }
}

#[test]
fn features_are_those_of_librosa() {
    let golden = include_str!("../golden/front_end.csv");
    let (log_mel, mfcc) = (FrontEnd::log_mel(16_000), FrontEnd::mfcc(16_000));
    let (bands, cepstrum) = (log_mel.features(&chirps()), mfcc.features(&chirps()));
    assert_eq!(golden.lines().count(), 14);
    for line in golden.lines() {
        let mut fields = line.split(',');
        let (kind, frame) = (fields.next(), fields.next().and_then(|it| it.parse::<usize>().ok()).expect("a frame"));
        let expected: Vec<f64> = fields.map(|it| it.parse().expect("a number")).collect();
        let features = if kind == Some("mfcc") { &cepstrum } else { &bands };
        close(&features[frame * expected.len()..][..expected.len()], &expected, 1e-4);
    }
}

#[test]
fn shapes_follow_from_the_settings() {
    let check = |front_end: FrontEnd, shape, bins, text: &str| {
        assert_eq!((front_end.shape(), front_end.bins(), front_end.to_string().as_str()), (shape, bins, text));
        front_end.check().expect("good settings");
        assert_eq!(front_end.features(&vec![0; front_end.clip]).len(), shape.iter().product::<usize>());
    };
    // 1 + (16,000 - 480) / 320 frames. Bins are 31.25 Hz apart: 1 is the first above 20 Hz, 127 the last below 4 kHz.
    check(
        FrontEnd::default(),
        [1, 49, 40],
        1..128,
        "40 log-mel bands from 20 to 4000 Hz, 30 ms every 20 ms of 1000 ms at 16000 Hz",
    );
    check(
        FrontEnd::mfcc(16_000),
        [1, 49, 10],
        1..128,
        "10 MFCC of 40 log-mel bands from 20 to 4000 Hz, 30 ms every 20 ms of 1000 ms at 16000 Hz",
    );
    check(
        FrontEnd::log_mel(8_000),
        [1, 49, 40],
        1..128,
        "40 log-mel bands from 20 to 4000 Hz, 30 ms every 20 ms of 1000 ms at 8000 Hz",
    );
    let small = FrontEnd { clip: 64, window: 64, hop: 1, bands: 2, low: 0, high: 8000, ..FrontEnd::default() };
    check(small, [1, 1, 2], 1..32, "2 log-mel bands from 0 to 8000 Hz, 4 ms every 0.0625 ms of 4 ms at 16000 Hz");
}

#[test]
fn matrices_are_what_they_say() {
    let front_end = FrontEnd::mfcc(16_000);
    let (basis, filters, dct) = (front_end.dft_basis(), front_end.mel_filters(), front_end.dct().expect("it is MFCC"));
    assert_eq!((basis.rows, basis.columns), (2 * 127, 480));
    assert_eq!((filters.rows, filters.columns), (40, 127));
    assert_eq!((dct.rows, dct.columns), (10, 40));
    assert_eq!(FrontEnd::log_mel(16_000).dct(), None);
    // Two neighbours share every bin between the first peak and the last: their weights sum up to 1.
    for bin in 3..115 {
        let sum: f32 = (0..40).map(|band| filters.values[band * 127 + bin]).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{bin}: {sum}");
    }
    // Rows of the DCT are orthogonal and of length 1.
    let row = |nth: usize| &dct.values[nth * 40..][..40];
    for (a, b) in (0..10).flat_map(|a| (0..10).map(move |b| (a, b))) {
        let product: f32 = row(a).iter().zip(row(b)).map(|(a, b)| a * b).sum();
        assert!((product - f32::from(u8::from(a == b))).abs() < 1e-5, "{a} {b}");
    }
    // A tone in the middle of a bin has the power of its amplitude times half the window's sum, squared: bin 32 is
    // 1 kHz, the sum of a Hann window of 480 is 240.
    let tone: Vec<i16> = (0..16_000).map(|n| (16384.0 * (TAU * f64::from(n) / 16.0).sin()) as i16).collect();
    let at = 31;
    let parts: Vec<f64> = [at, 127 + at]
        .map(|row| {
            let row = &basis.values[row * 480..][..480];
            row.iter().zip(&tone).map(|(&a, &b)| f64::from(a) * f64::from(b) / 32768.0).sum::<f64>()
        })
        .to_vec();
    let power = parts[0].powi(2) + parts[1].powi(2);
    assert!((power - 60.0_f64.powi(2)).abs() < 1.0, "{power}");
}

#[test]
fn silence_is_the_floor() {
    let features = FrontEnd::default().features(&[0; 16_000]);
    assert!(features.iter().all(|&value| value == f64::from(FrontEnd::FLOOR).ln() as f32));
}

#[test]
fn impossible_settings_are_refused() {
    let good = FrontEnd::default();
    let check = |front_end: FrontEnd, text: &str| refused(front_end.check(), &["front end", text]);
    check(FrontEnd { hop: 0, ..good }, "a hop at least 1");
    check(FrontEnd { window: 1, ..good }, "at least 2 samples");
    check(FrontEnd { clip: 479, ..good }, "a clip at least one window");
    check(FrontEnd { clip: usize::MAX, ..good }, "at most");
    check(FrontEnd { high: 8001, ..good }, "high <= 8000");
    check(FrontEnd { low: 4000, ..good }, "low < high");
    check(FrontEnd { bands: 0, ..good }, "at least 1");
    check(FrontEnd { coefficients: Some(41), ..good }, "1 to 40 coefficients");
    check(FrontEnd { coefficients: Some(0), ..good }, "1 to 40 coefficients");
    check(FrontEnd { bands: 120, ..good }, "fewer bands or a longer window");
    check(FrontEnd { sample_rate: 0, ..good }, "<= 0");
    refused(Sound::new(good, vec![0; 16_001]), &["16001 samples", "clips of 16000"]);
}

/// Settings of every kind, of short clips so that the slow way is quick.
fn settings() -> impl Strategy<Value = FrontEnd> {
    let sizes = (64_usize..200, 1_usize..80, 0_usize..400);
    (sizes, 2_usize..10, 0_u32..200, 1000_u32..=8000, proptest::option::of(1_usize..10))
        .prop_map(|((window, hop, more), bands, low, high, coefficients)| FrontEnd {
            sample_rate: 16_000,
            clip: window + more,
            window,
            hop,
            bands,
            low,
            high,
            coefficients: coefficients.map(|it| it.min(bands)),
        })
        .prop_filter("no empty band", |front_end| front_end.check().is_ok())
}

proptest! {
    /// What a board computes with matrices is what training saw.
    #[test]
    fn matrices_give_the_same_features(front_end in settings(), seed: u64, volume in 0_u32..16) {
        let mut rng = data::keyed::rng(seed, "noise", 0);
        let loudest = 1_u32 << volume;
        let mut sample = || data::keyed::below(&mut rng, 2 * loudest) as i32 - loudest as i32;
        let clip: Vec<i16> = (0..front_end.clip).map(|_| sample() as i16).collect();
        close(&front_end.features(&clip), &naive(&front_end, &clip), 1e-3);
    }
}

/// Silence beside loud tones is where `f32` matrices are poorest.
#[test]
fn the_default_matrices_give_the_same_features() {
    for front_end in [FrontEnd::log_mel(16_000), FrontEnd::mfcc(16_000)] {
        close(&front_end.features(&chirps()), &naive(&front_end, &chirps()), 1e-3);
    }
}
