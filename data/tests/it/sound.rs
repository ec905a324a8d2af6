//! Folders of sound: what is read, how it is divided and varied, and what is refused.

use std::collections::HashSet;
use std::sync::Arc;

use data::{
    Amount, Augment, AugmentKey, Batches, Format, FrontEnd, Kind, Normalisation, Options, Part, Pass, Role, Severity,
    Sound, Source, Task, batch, split,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::files::{folder, open, open_with, png, read, refused, wav, wav_of};

/// Clips of 100 samples, so that whole sets are made in no time: `[1, 4, 3]`.
const SMALL: FrontEnd = FrontEnd {
    sample_rate: 16_000,
    clip: 100,
    window: 64,
    hop: 12,
    bands: 3,
    low: 100,
    high: 8000,
    coefficients: None,
};

fn small(dir: &TempDir) -> Result<Source, data::DataError> {
    open_with(dir, &Options { front_end: SMALL, ..Options::default() })
}

/// Named files of owned names, as `folder` takes them.
fn borrowed(files: &[(String, Vec<u8>)]) -> Vec<(&str, Vec<u8>)> {
    files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect()
}

/// A clip that differs from every other: noise.
fn noise(nth: u32) -> Vec<i16> {
    let mut rng = data::keyed::rng(u64::from(nth), "noise", 0);
    (0..100).map(|_| data::keyed::below(&mut rng, 20_000) as i16 - 10_000).collect()
}

/// The samples of the first training clip of a set whose class `a` holds this file.
fn decoded(bytes: Vec<u8>) -> Vec<i16> {
    let dir = folder(&[("train/a/1.wav", bytes), ("train/b/1.wav", wav(&[7])), ("test/a/1.wav", wav(&[7]))]);
    let train = small(&dir).and_then(|source| source.train()).expect("a good set reads");
    train.sound.expect("it is sound").clip(0).to_vec()
}

/// `n` clips of three classes by five speakers.
fn part(n: u32) -> Part {
    let sound = Sound::new(SMALL, (0..n).flat_map(noise).collect()).expect("good settings");
    Part {
        name: "test".into(),
        role: Role::Train,
        task: Task::Classification,
        shape: SMALL.shape(),
        pixels: Vec::new(),
        sound: Some(sound),
        text: None,
        labels: (0..n).map(|nth| nth % 3).collect(),
        classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        groups: (0..n).map(|nth| format!("speaker {}", nth / 3 % 5)).collect(),
    }
}

fn sound(part: &Part) -> &Sound {
    part.sound.as_ref().expect("it is sound")
}

#[test]
fn class_folders_are_read() {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for nth in 0..10 {
        files.push((format!("yes/{nth}.wav"), wav(&vec![nth; 16_000])));
        files.push((format!("no/{nth}.WAV"), wav(&[100 + nth; 8000])));
    }
    files.extend([("README.md".into(), vec![1]), ("_background_noise_/hum.wav".into(), wav(&[1]))]);
    let dir = folder(&borrowed(&files));
    let source = open(&dir).expect("a good set opens");
    assert_eq!((source.format, source.kind, source.shape), (Format::Folder, Kind::Sounds, [1, 49, 40]));
    assert_eq!(source.front_end, Some(FrontEnd::default()));
    assert_eq!((source.classes.as_slice(), source.skipped), (["no".to_owned(), "yes".to_owned()].as_slice(), 2));
    assert!(source.held_out && source.notes.is_empty());

    let (train, test) = read(&dir).expect("a good set reads");
    assert_eq!((train.counts(), test.counts()), (vec![8, 8], vec![2, 2]));
    assert_eq!((train.image_len(), train.pixels.len(), train.groups.len()), (1960, 0, 0));
    // The first is of class `no`: half a second, then zeros.
    let first = sound(&train).clip(0);
    assert!(first[..8000].iter().all(|&sample| sample == first[0] && sample >= 100));
    assert_eq!(first[8000..], [0; 8000]);
    assert_eq!(sound(&train).features(0), FrontEnd::default().features(first));
    assert_eq!(read(&dir).expect("a good set reads"), (train, test));
}

#[test]
fn samples_of_any_kind_become_16_bits() {
    let check = |bytes: Vec<u8>, expected: &[i16]| {
        let found = decoded(bytes);
        assert_eq!(&found[..expected.len()], expected);
        assert!(found[expected.len()..].iter().all(|&sample| sample == 0));
    };
    let of = |kind, channels, bits, body: &[u8]| wav_of(kind, channels, 16_000, bits, body);
    check(wav(&[1, -2, i16::MAX, i16::MIN]), &[1, -2, i16::MAX, i16::MIN]);
    // Eight bits are unsigned, with 128 in the middle; a step is 256 of ours.
    check(of(1, 1, 8, &[128, 129, 0, 255]), &[0, 256, -32768, 32512]);
    // 24 bits: 256 steps are one of ours, and half of one is rounded away from 0.
    check(of(1, 1, 24, &[0, 1, 0, 127, 0, 0, 128, 0, 0, 0, 255, 255, 255, 255, 127]), &[1, 0, 1, -1, i16::MAX]);
    check(of(1, 1, 32, &[0, 0, 5, 0, 0, 0, 251, 255]), &[5, -5]);
    let floats: Vec<u8> = [0.5_f32, -1.0, 2.0, f32::NAN, 1.0].map(f32::to_le_bytes).concat();
    check(of(3, 1, 32, &floats), &[16384, -32768, i16::MAX, 0, i16::MAX]);
    // Channels are averaged, also at full scale.
    let stereo: Vec<u8> = [10_i16, 20, i16::MAX, i16::MAX, -5, 6].map(i16::to_le_bytes).concat();
    check(of(1, 2, 16, &stereo), &[15, i16::MAX, 1]);
    // Of what is too long, the middle is kept.
    let long: Vec<i16> = (0..140).collect();
    check(wav(&long), &long[20..120]);
}

#[test]
fn damaged_files_are_refused() {
    let check = |bytes: Vec<u8>, expected: &[&str]| {
        let dir = folder(&[("a/1.wav", bytes), ("a/2.wav", wav(&[1])), ("b/1.wav", wav(&[1])), ("b/2.wav", wav(&[1]))]);
        let read = small(&dir).and_then(|source| Ok((source.train()?, source.test()?)));
        refused(read, &[&["a/1.wav"], expected].concat());
        let report = data::check(
            dir.path().to_str().expect("temporary paths are UTF-8"),
            &Options { front_end: SMALL, ..Options::default() },
        );
        assert!(!report.usable());
        assert!(expected.iter().all(|text| report.problems[0].message.contains(text)), "{:?}", report.problems);
    };
    let good = wav(&[1; 100]);
    check(vec![], &["holds no sound"]);
    check(wav(&[]), &["holds no sound"]);
    check(b"not a WAV file at all".to_vec(), &["not a readable WAV file"]);
    check(png(9, 9, [1, 2, 3]), &["not a readable WAV file"]);
    check(good[..30].to_vec(), &["not a readable WAV file"]);
    // The header is 44 bytes, so 30 samples are whole; of 200 bytes 140 are missing, or 139.
    check(good[..104].to_vec(), &["cut off in record 30 at byte 104", "140 bytes are missing"]);
    check(good[..105].to_vec(), &["cut off in record 30 at byte 105", "139 bytes are missing"]);
    check(
        wav_of(1, 1, 8_000, 16, &[0; 200]),
        &["sampled at 8000 Hz, expected 16000 Hz", "sox IN.wav -r 16000 OUT.wav"],
    );
    check(wav_of(2, 1, 16_000, 16, &[0; 200]), &["not a readable WAV file"]);
}

#[test]
fn what_is_no_set_of_sound_is_refused() {
    let one = || wav(&[1; 100]);
    let check = |files: &[(&str, Vec<u8>)], expected: &[&str]| refused(small(&folder(files)), expected);
    check(&[("a/1.wav", one()), ("b/1.png", png(9, 9, [1, 2, 3]))], &["1.png is an image", "1.wav is sound"]);
    check(
        &[("train/a/1.wav", one()), ("train/b/1.wav", one()), ("test/a/1.png", png(9, 9, [1, 2, 3]))],
        &["1.png is an image", "is sound"],
    );
    check(&[("1.wav", one())], &["1.wav", "no labels", "named after its class"]);
    check(&[("a/1.wav", one()), ("b/1.ogg", vec![1])], &["class folder without", "WAV"]);
    check(&[("a/1.wav", one()), ("_background_noise_/1.wav", one())], &["1 class(es)"]);

    let dir = folder(&[("a/1.wav", one()), ("b/1.wav", one())]);
    let sized = Options { front_end: SMALL, image_size: Some([32, 32]), ..Options::default() };
    refused(open_with(&dir, &sized), &["sound has no size in pixels"]);
    let broken = Options { front_end: FrontEnd { hop: 0, ..SMALL }, ..Options::default() };
    refused(open_with(&dir, &broken), &["front end", "hop"]);
}

/// Ten speakers say two words up to three times each.
fn spoken() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for speaker in 0..10 {
        for (nth, word) in ["up", "down", "up", "down", "up"].iter().enumerate().take(2 + speaker % 4) {
            let clip = wav(&noise((10 * speaker + nth) as u32));
            files.push((format!("{word}/{speaker:08x}_nohash_{nth}.wav"), clip));
        }
    }
    files
}

#[test]
fn speakers_are_on_one_side() {
    let dir = folder(&borrowed(&spoken()));
    let source = small(&dir).expect("a good set opens");
    assert!(source.notes[0].contains("33 clips name their 10 speakers"), "{:?}", source.notes);
    let (train, test) = (source.train().expect("it reads"), source.test().expect("it reads"));
    let names = |part: &Part| part.groups.iter().cloned().collect::<HashSet<String>>();
    assert!(names(&train).is_disjoint(&names(&test)));
    assert_eq!((train.len() + test.len(), names(&train).len() + names(&test).len()), (33, 10));
    assert!(test.len().abs_diff(7) <= 2 && test.counts().iter().all(|&n| n > 0), "{:?}", test.counts());
    assert!(names(&train).contains("00000001") || names(&test).contains("00000001"));

    // Names of another form say nothing, and neither does the name of a photo.
    let plain = folder(&[("a/x_nohash_.wav", wav(&[1])), ("b/_nohash_1.wav", wav(&[2]))]);
    assert!(small(&plain).expect("it opens").train().expect("it reads").groups.is_empty());
    // One speaker alone cannot be kept on one side.
    let alone: Vec<(String, Vec<u8>)> = (0..10)
        .map(|nth| (format!("{}/me_nohash_{nth}.wav", if nth < 5 { "a" } else { "b" }), wav(&noise(nth))))
        .collect();
    let source = small(&folder(&borrowed(&alone))).expect("a good set opens");
    assert!(source.notes[0].contains("one speaker"), "{:?}", source.notes);
}

#[test]
fn a_list_of_test_files_is_followed() {
    let mut files = spoken();
    let list = b"up/00000003_nohash_0.wav\ndown/00000003_nohash_1.wav\r\n\nup/nobody_nohash_0.wav\n";
    files.push(("testing_list.txt".into(), list.to_vec()));
    let dir = folder(&borrowed(&files));
    let source = small(&dir).expect("a good set opens");
    assert!(!source.held_out);
    let (train, test) = (source.train().expect("it reads"), source.test().expect("it reads"));
    assert_eq!((train.len(), test.len()), (31, 2));
    assert_eq!(test.groups, ["00000003", "00000003"]);
}

#[test]
fn hashes_cover_samples_settings_and_speakers() {
    let first = part(9);
    let hash = first.sha256();
    assert_eq!(hash, part(9).sha256());
    let differs = |change: &dyn Fn(&mut Part)| {
        let mut other = part(9);
        change(&mut other);
        assert_ne!(other.sha256(), hash);
    };
    let settings = |part: &mut Part, front_end| part.sound.as_mut().expect("it is sound").front_end = front_end;
    differs(&|part| part.sound.as_mut().expect("it is sound").samples[7] += 1);
    differs(&|part| settings(part, FrontEnd { low: 101, ..SMALL }));
    differs(&|part| settings(part, FrontEnd { coefficients: Some(3), ..SMALL }));
    differs(&|part| part.groups[0] = "speaker 1".into());
    differs(&|part| part.groups.clear());
    // Who is who does not matter, and features follow from the rest.
    let mut renamed = part(9);
    for name in &mut renamed.groups {
        name.push('!');
    }
    assert_eq!(renamed.sha256(), hash);

    let chosen = first.select(&[4, 0]);
    assert_eq!(sound(&chosen).clip(0), sound(&first).clip(4));
    assert_eq!(sound(&chosen).features(1), sound(&first).features(0));
    assert_eq!((chosen.groups[0].as_str(), chosen.len()), ("speaker 1", 2));
    // The same clips, computed anew.
    assert_eq!(*sound(&chosen), Sound::new(SMALL, sound(&chosen).samples.clone()).expect("good settings"));
}

#[test]
fn features_are_normalised_as_one_channel() {
    let part = part(12);
    let all: Vec<usize> = (0..12).collect();
    let normalisation = Normalisation::of(&part, &all).expect("there are clips");
    let batch = batch(&part, &all, &normalisation, None);
    assert_eq!((batch.n, batch.pixels.len(), normalisation.mean.len()), (12, 12 * 12, 1));
    let n = batch.pixels.len() as f64;
    let mean = batch.pixels.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
    let power = batch.pixels.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / n;
    assert!(mean.abs() < 1e-5 && (power - 1.0).abs() < 1e-5, "{mean} {power}");
    let expected = (sound(&part).features(3)[5] - normalisation.mean[0]) / normalisation.std[0];
    assert_eq!(batch.pixels[3 * 12 + 5], expected);
    // Silence does not vary, and is not blown up.
    let silence = Sound::new(SMALL, vec![0; 200]).expect("good settings");
    let silent = Part { sound: Some(silence), labels: vec![0, 1], groups: Vec::new(), ..part };
    assert_eq!(Normalisation::of(&silent, &[0, 1]).expect("there are clips").std, [1.0 / 255.0]);
}

/// Leaves features as they are.
fn plain() -> Normalisation {
    Normalisation { mean: vec![0.0], std: vec![1.0] }
}

#[test]
fn passes_vary_sound_as_their_key_says() {
    let part = Arc::new(part(7));
    let augment = Augment { shift: 20, gain: 3, ..Augment::NONE };
    let pass =
        Pass { seed: 5, purpose: "test".into(), epoch: 3, batch_size: 4, shuffle: false, keep_partial: true, augment };
    let key = AugmentKey { augment, seed: 5, epoch: 3 };
    let batches = Batches::start(Arc::clone(&part), (0..7).collect(), &plain(), &pass).expect("a good pass starts");
    for (got, indices) in batches.zip([vec![0, 1, 2, 3], vec![4, 5, 6]]) {
        assert_eq!(got, batch(&part, &indices, &plain(), Some(&key)));
    }
    // It depends on seed, epoch and index, and not on neighbours.
    let one = |key: AugmentKey| batch(&part, &[6], &plain(), Some(&key)).pixels;
    assert_eq!(one(key), batch(&part, &[1, 6], &plain(), Some(&key)).pixels[12..]);
    assert_ne!(one(key), one(AugmentKey { seed: 6, ..key }));
    assert_ne!(one(key), one(AugmentKey { epoch: 4, ..key }));
    assert_ne!(one(key), sound(&part).features(6));
    // What is for images leaves sound alone.
    let images = Augment { pad: 4, flip: true, ..Augment::NONE };
    assert_eq!(one(AugmentKey { augment: images, ..key }), sound(&part).features(6));
    refused(Batches::start(part, vec![], &plain(), &pass), &["0 clips", "there is no clip"]);
}

#[test]
fn shifts_move_zeros_in_and_gain_is_a_factor() {
    let part = part(1);
    let clip = sound(&part).clip(0);
    let features = |clip: &[i16]| SMALL.features(clip);
    let varied = |augment, epoch| batch(&part, &[0], &plain(), Some(&AugmentKey { augment, seed: 1, epoch })).pixels;
    // Every place from -5 to 5 occurs in 200 epochs but with probability 1e-7, and nothing else does.
    let moved = |by: usize, later: bool| -> Vec<i16> {
        let zeros = vec![0; by];
        if later { [&zeros, &clip[..100 - by]].concat() } else { [&clip[by..], &zeros].concat() }
    };
    let possible: Vec<Vec<f32>> =
        (0..=5).flat_map(|by| [features(&moved(by, true)), features(&moved(by, false))]).collect();
    let shift = Augment { shift: 5, ..Augment::NONE };
    let mut seen = HashSet::new();
    for epoch in 0..200 {
        let got = varied(shift, epoch);
        seen.insert(possible.iter().position(|it| *it == got).expect("a shift of at most 5"));
    }
    assert_eq!(seen.len(), 11);
    // A factor moves all logarithms alike: 3 dB are 0.69.
    let gain = Augment { gain: 3, ..Augment::NONE };
    let changes: Vec<f32> = (0..200).map(|epoch| varied(gain, epoch)[1] - sound(&part).features(0)[1]).collect();
    let (least, most) = (changes.iter().copied().fold(0.0, f32::min), changes.iter().copied().fold(0.0, f32::max));
    assert!((-0.692..-0.6).contains(&least) && (0.6..0.692).contains(&most), "{least} {most}");
    // A clip that is moved further than it is long is silence.
    let far = Augment { shift: 1_000_000, ..Augment::NONE };
    assert_eq!(varied(far, 0), features(&[0; 100]));
}

#[test]
fn cutout_blanks_frames_and_bands() {
    let part = part(1);
    let normalisation = Normalisation { mean: vec![100.0], std: vec![1.0] };
    let augment = Augment { cutout: 2, ..Augment::NONE };
    for epoch in 0..20 {
        let key = AugmentKey { augment, seed: 1, epoch };
        let pixels = batch(&part, &[0], &normalisation, Some(&key)).pixels;
        let blanked = pixels.iter().filter(|&&value| value == 0.0).count();
        assert!([1, 2, 4].contains(&blanked), "{blanked}");
        let kept = pixels.iter().zip(sound(&part).features(0)).filter(|(got, from)| **got == **from - 100.0).count();
        assert_eq!(kept + blanked, 12);
    }
}

#[test]
fn augmentation_suits_sound() {
    let dir = folder(&[("a/1.wav", wav(&[1])), ("b/1.wav", wav(&[1]))]);
    let at =
        |front_end| Augment::for_source(&open_with(&dir, &Options { front_end, ..Options::default() }).expect("opens"));
    assert_eq!(at(FrontEnd::default()), Augment { shift: 1600, gain: 3, ..Augment::NONE });
    assert_eq!(at(FrontEnd::log_mel(8_000)).shift, 800);
}

#[test]
fn a_set_of_sound_is_reported() {
    let tone = |loudness: i16, nth: i16| -> Vec<i16> {
        (0..100).map(|n| if (n + nth) % 2 == 0 { loudness } else { -loudness }).collect()
    };
    let mut clipped = tone(20_000, 0);
    clipped[50..53].fill(i16::MAX);
    let dir = folder(&[
        ("train/a/s_nohash_0.wav", wav(&tone(1000, 0))),
        ("train/a/s_nohash_1.wav", wav(&[3; 50])),
        ("train/a/t_nohash_0.wav", wav(&clipped)),
        ("train/b/u_nohash_0.wav", wav(&tone(1000, 0))),
        ("train/b/u_nohash_1.wav", wav(&[tone(30, 0), tone(2000, 1)].concat())),
        ("test/b/s_nohash_2.wav", wav(&tone(16_384, 0))),
        ("test/b/note.txt", vec![1]),
    ]);
    let options = Options { front_end: SMALL, ..Options::default() };
    let report = data::check(dir.path().to_str().expect("temporary paths are UTF-8"), &options);
    assert!(report.usable());
    assert_eq!((report.kind, report.shape, report.front_end), (Some(Kind::Sounds), Some([1, 4, 3]), Some(SMALL)));
    assert_eq!(report.durations, Some([50.0 / 16_000.0, 200.0 / 16_000.0]));
    let train = report.train.as_ref().expect("it was read");
    assert!(train.channels.is_empty());
    let sound = train.sound.as_ref().expect("it is sound");
    assert_eq!((train.n, sound.clipped, sound.silent), (5, 1, 1));
    // 3 over half of the clip, 1000, and 20,000 with three louder samples.
    let decibels = |amplitude: f64| 20.0 * (amplitude / 32768.0).log10();
    let loudest = ((20_000_f64.powi(2) * 97.0 + 32767_f64.powi(2) * 3.0) / 100.0).sqrt();
    for (found, expected) in sound.loudness.into_iter().zip([3.0 / 2_f64.sqrt(), 1000.0, loudest]) {
        assert!((f64::from(found) - decibels(expected)).abs() < 1e-3, "{:?}", sound.loudness);
    }
    let check = |severity, text: &str| {
        let found = report.problems.iter().any(|it| it.severity == severity && it.message.contains(text));
        assert!(found, "{text}: {:?}", report.problems);
    };
    check(Severity::Warning, "1 clips of the train part are silent");
    check(Severity::Warning, "1 training clips occur twice with different labels");
    check(Severity::Warning, "1 speakers are in both parts");
    check(Severity::Warning, "no clip in the test part for: a");
    check(Severity::Note, "1 clips of the train part are clipped");
    check(Severity::Note, "1 recordings are shorter");
    check(Severity::Note, "1 recordings are longer");
    check(Severity::Note, "1 hidden or non-sound entries");
    check(Severity::Note, "6 clips name their 3 speakers");
    let json = serde_json::to_string(&report).expect("a report is JSON");
    assert_eq!(serde_json::from_str::<data::Report>(&json).expect("and back"), report);
}

proptest! {
    #[test]
    fn splits_keep_groups_together(
        records in prop::collection::vec((0_u32..3, 0_usize..12), 2..120), share in 0.01..0.99, seed: u64,
    ) {
        let part = Part {
            labels: records.iter().map(|record| record.0).collect(),
            // Group 0 is none.
            groups: records.iter().map(|(_, group)| if *group == 0 { String::new() } else { group.to_string() }).collect(),
            sound: None,
            ..part(1)
        };
        let Ok((train, validation)) = split(&part, Amount::Fraction(share), seed) else {
            let n = (share * records.len() as f64).round() as usize;
            prop_assert!(n == 0 || n == records.len());
            return Ok(());
        };
        prop_assert_eq!(split(&part, Amount::Fraction(share), seed).ok(), Some((train.clone(), validation.clone())));
        prop_assert!(!train.is_empty() && !validation.is_empty());
        prop_assert!(train.is_sorted() && validation.is_sorted());
        let mut all = [train.clone(), validation.clone()].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..records.len()).collect::<Vec<_>>());
        let names = |indices: &[usize]| -> HashSet<usize> {
            indices.iter().map(|&idx| records[idx].1).filter(|&group| group > 0).collect()
        };
        let is_one_group = names(&(0..records.len()).collect::<Vec<_>>()).len() == 1
            && records.iter().all(|record| record.1 > 0);
        prop_assert!(is_one_group || names(&train).is_disjoint(&names(&validation)));
        // As near to what was asked for as the largest group allows.
        let largest = (1..12).map(|group| records.iter().filter(|record| record.1 == group).count()).max().unwrap_or(1);
        let asked = (share * records.len() as f64).round() as usize;
        prop_assert!(is_one_group || validation.len().abs_diff(asked) <= 3 + largest, "{} {}", validation.len(), asked);
    }
}
