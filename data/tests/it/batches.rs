//! Batches: what they hold, that they repeat, and that the thread ends.

use std::sync::Arc;

use data::{Augment, AugmentKey, Batches, Format, Kind, Normalisation, Options, Part, Pass, Role, Source, Task, batch};
use proptest::prelude::*;

use crate::files::{folder, open, refused, small_cifar};

/// `n` images of two channels whose bytes are all different, labels counting up.
fn numbered(n: usize, height: usize, width: usize) -> Part {
    let len = 2 * height * width;
    Part {
        name: "test".into(),
        role: Role::Train,
        task: Task::Classification,
        shape: [2, height, width],
        pixels: (0..n * len).map(|value| (value * 7 % 251) as u8).collect(),
        labels: (0..n as u32).collect(),
        classes: (0..n).map(|class| class.to_string()).collect(),
        sound: None,
        text: None,
        groups: Vec::new(),
    }
}

/// Leaves bytes as they are: `(byte / 255 - 0) / (1 / 255)`, up to rounding.
fn plain() -> Normalisation {
    Normalisation { mean: vec![0.0; 2], std: vec![1.0 / 255.0; 2] }
}

fn pass() -> Pass {
    Pass {
        seed: 5,
        purpose: "test".into(),
        epoch: 0,
        batch_size: 4,
        shuffle: true,
        keep_partial: true,
        augment: Augment::NONE,
    }
}

fn labels(part: &Arc<Part>, pass: &Pass) -> Vec<u32> {
    let all = (0..part.len()).collect();
    let batches = Batches::start(Arc::clone(part), all, &plain(), pass).expect("a good pass starts");
    batches.flat_map(|batch| batch.labels).collect()
}

#[test]
fn batches_hold_normalised_images() {
    let part = numbered(3, 2, 3);
    let normalisation = Normalisation { mean: vec![0.25, 0.5], std: vec![0.5, 2.0] };
    let batch = batch(&part, &[2, 0], &normalisation, None);
    assert_eq!((batch.n, batch.labels.as_slice()), (2, [2, 0].as_slice()));
    let expected = [part.image(2), part.image(0)].concat();
    for (place, (&value, byte)) in batch.pixels.iter().zip(expected).enumerate() {
        let (mean, std) = if place % 12 < 6 { (0.25, 0.5) } else { (0.5, 2.0) };
        assert!((f64::from(value) - (f64::from(byte) / 255.0 - mean) / std).abs() < 1e-6, "{place}");
    }
}

#[test]
fn passes_cover_every_image() {
    let part = Arc::new(numbered(10, 1, 1));
    let in_order: Vec<u32> = (0..10).collect();
    assert_eq!(labels(&part, &Pass { shuffle: false, ..pass() }), in_order);
    let mut shuffled = labels(&part, &pass());
    assert_ne!(shuffled, in_order);
    shuffled.sort_unstable();
    assert_eq!(shuffled, in_order);
    // Ten images in fours: two full batches, or three.
    assert_eq!(labels(&part, &Pass { keep_partial: false, ..pass() }).len(), 8);
    let batches = Batches::start(part, (0..10).collect(), &plain(), &pass()).expect("a good pass starts");
    assert_eq!(batches.len(), 3);
    assert_eq!(batches.map(|batch| batch.n).collect::<Vec<_>>(), [4, 4, 2]);
}

#[test]
fn orders_depend_on_seed_purpose_and_epoch_only() {
    let part = Arc::new(numbered(50, 1, 1));
    let first = labels(&part, &pass());
    assert_eq!(first, labels(&part, &pass()));
    assert_eq!(first, labels(&part, &Pass { batch_size: 7, ..pass() }), "not on the batch size");
    assert_ne!(first, labels(&part, &Pass { seed: 6, ..pass() }));
    assert_ne!(first, labels(&part, &Pass { epoch: 1, ..pass() }));
    assert_ne!(first, labels(&part, &Pass { purpose: "other".into(), ..pass() }));
}

#[test]
fn the_thread_prepares_what_the_function_does() {
    let part = Arc::new(numbered(9, 4, 4));
    let augment = Augment { pad: 2, flip: true, ..Augment::NONE };
    let pass = Pass { shuffle: false, augment, epoch: 3, ..pass() };
    let key = AugmentKey { augment, seed: 5, epoch: 3 };
    let batches = Batches::start(Arc::clone(&part), (0..9).collect(), &plain(), &pass).expect("a good pass starts");
    for (got, indices) in batches.zip([vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8]]) {
        assert_eq!(got, batch(&part, &indices, &plain(), Some(&key)));
    }
    // An image's variation does not depend on its neighbours in the batch.
    let alone = batch(&part, &[6], &plain(), Some(&key));
    let among = batch(&part, &[1, 6], &plain(), Some(&key));
    assert_eq!(alone.pixels, among.pixels[32..]);
}

#[test]
fn every_variation_occurs() {
    // 5 x 5 places and two directions; 2,000 epochs miss one of the 50 with probability 1e-16.
    let part = numbered(1, 6, 6);
    let augment = Augment { pad: 2, flip: true, ..Augment::NONE };
    let mut seen: Vec<Vec<u32>> = (0..2000)
        .map(|epoch| {
            let key = AugmentKey { augment, seed: 1, epoch };
            batch(&part, &[0], &plain(), Some(&key)).pixels.iter().map(|value| value.to_bits()).collect()
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 50);
}

#[test]
fn dropping_early_stops_the_thread() {
    let part = Arc::new(numbered(1000, 8, 8));
    let all = (0..1000).collect();
    let mut batches = Batches::start(Arc::clone(&part), all, &plain(), &Pass { batch_size: 1, ..pass() })
        .expect("a good pass starts");
    batches.next();
    assert_eq!(Arc::strong_count(&part), 2);
    drop(batches);
    // The thread owned the other reference, and drop waits for it.
    assert_eq!(Arc::strong_count(&part), 1);
}

#[test]
fn impossible_passes_are_refused() {
    let part = Arc::new(numbered(3, 1, 1));
    let check = |indices: Vec<usize>, normalisation: &Normalisation, pass: Pass, text: &str| {
        refused(Batches::start(Arc::clone(&part), indices, normalisation, &pass), &[text]);
    };
    check(vec![0], &plain(), Pass { batch_size: 0, ..pass() }, "at least one image");
    check(vec![], &plain(), pass(), "there is no image");
    check(vec![0, 1, 2], &plain(), Pass { keep_partial: false, ..pass() }, "choose a smaller batch");
    check(vec![0, 3], &plain(), pass(), "beyond the last image");
    check(vec![0], &Normalisation { mean: vec![0.0], std: vec![1.0] }, pass(), "another number of channels");
}

#[test]
fn augmentation_suits_the_data() {
    let check =
        |source: &Source, pad, flip| assert_eq!(Augment::for_source(source), Augment { pad, flip, ..Augment::NONE });
    let built_in = |name| Source::open(name, &Options::default()).expect("it is built in");
    let clothes = built_in("fashion-tiny");
    assert_eq!((clothes.format, clothes.kind), (Format::BuiltIn, Kind::Clothes));
    check(&clothes, 2, true);
    check(&built_in("optdigits"), 0, false);
    let mut photos = open(&folder(&small_cifar())).expect("a good set opens");
    check(&photos, 4, true);
    photos.shape = [3, 64, 96];
    check(&photos, 8, true);
}

/// What cropping and mirroring mean, written the slow way: pad, look up, mirror.
fn slow(part: &Part, pad: usize, top: usize, left: usize, mirrored: bool) -> Vec<i32> {
    let [channels, height, width] = part.shape;
    let mut pixels = Vec::new();
    for channel in 0..channels {
        for y in 0..height {
            for x in 0..width {
                let x = if mirrored { width - 1 - x } else { x };
                let (y, x) = ((y + top).wrapping_sub(pad), (x + left).wrapping_sub(pad));
                let inside = y < height && x < width;
                pixels.push(if inside { i32::from(part.image(0)[(channel * height + y) * width + x]) } else { 0 });
            }
        }
    }
    pixels
}

proptest! {
    #[test]
    fn variations_are_crops_and_mirrors(
        height in 1_usize..7, width in 1_usize..7, pad in 0_usize..9, flip: bool, seed: u64, epoch in 0_u64..1 << 32,
    ) {
        let part = numbered(1, height, width);
        let key = AugmentKey { augment: Augment { pad, flip, ..Augment::NONE }, seed, epoch };
        let got = batch(&part, &[0], &plain(), Some(&key)).pixels;
        let got: Vec<i32> = got.iter().map(|value| value.round() as i32).collect();
        let places = || (0..=2 * pad).flat_map(|top| (0..=2 * pad).map(move |left| (top, left)));
        let mut possible = places().flat_map(|(top, left)| [(top, left, false), (top, left, true)]);
        let explained = possible
            .any(|(top, left, mirrored)| (flip || !mirrored) && slow(&part, pad, top, left, mirrored) == got);
        prop_assert!(explained);
    }
}

#[test]
fn cutout_blanks_one_square_and_nothing_else() {
    let part = numbered(2, 9, 8);
    for side in 1..=5 {
        for epoch in 0..40 {
            let plain_key = AugmentKey { augment: Augment { pad: 0, flip: false, ..Augment::NONE }, seed: 1, epoch };
            let key = AugmentKey { augment: Augment { cutout: side, ..plain_key.augment }, ..plain_key };
            let whole = batch(&part, &[0], &plain(), Some(&plain_key)).pixels;
            let cut = batch(&part, &[0], &plain(), Some(&key)).pixels;
            let blanked: Vec<usize> = (0..cut.len()).filter(|&at| cut[at] != whole[at]).collect();
            assert!(blanked.iter().all(|&at| cut[at] == 0.0));
            let first: Vec<usize> = blanked.iter().copied().filter(|at| *at < 72).collect();
            let spread = |of: fn(usize) -> usize| {
                let values = || first.iter().map(|&at| of(at));
                values().max().map_or(0, |most| most - values().min().unwrap_or(0) + 1)
            };
            let (rows, columns) = (spread(|at| at / 8), spread(|at| at % 8));
            assert!(rows <= side && columns <= side && first.len() <= rows * columns, "{side}: {first:?}");
            // A pixel that is 0 already is blanked unseen.
            assert!(side.div_ceil(2).pow(2) <= first.len() + 1, "{side}: {first:?}");
        }
    }
}
