//! Splits and normalisation.

use data::{Amount, Normalisation, Part, Role, Task, split};
use proptest::prelude::*;

use crate::files::refused;

/// Images of one pixel, with these labels.
fn labelled(labels: &[u32]) -> Part {
    Part {
        name: "test".into(),
        role: Role::Train,
        task: Task::Classification,
        shape: [1, 1, 1],
        pixels: vec![0; labels.len()],
        labels: labels.to_vec(),
        classes: (0..10).map(|class| class.to_string()).collect(),
        sound: None,
        text: None,
        groups: Vec::new(),
    }
}

#[test]
fn classes_give_their_share() {
    // Class sizes, amount, and the shares by largest remainder, worked out by hand.
    let check = |sizes: &[usize], amount: Amount, expected: &[usize]| {
        let labels: Vec<u32> = sizes.iter().enumerate().flat_map(|(class, &size)| vec![class as u32; size]).collect();
        let part = labelled(&labels);
        let (_, validation) = split(&part, amount, 1).expect("both sides have images");
        assert_eq!(part.select(&validation).counts()[..sizes.len()], *expected, "{sizes:?} {amount:?}");
    };
    check(&[100, 100, 100], Amount::Fraction(0.1), &[10, 10, 10]);
    check(&[50, 30, 20], Amount::Count(10), &[5, 3, 2]);
    check(&[5, 5, 5], Amount::Count(4), &[2, 1, 1]); // 1.33 each: the tie goes to the first
    check(&[7, 2, 1], Amount::Count(5), &[4, 1, 0]); // 3.5, 1, 0.5
    check(&[8, 1], Amount::Count(5), &[5, 0]); // 4.44, 0.56: a last image stays in training
    check(&[4, 1, 1], Amount::Count(3), &[2, 1, 0]); // 2, 0.5, 0.5: a whole share is not exceeded
    check(&[9, 0, 9], Amount::Count(2), &[1, 0, 1]); // a class may have no image
    check(&[1, 1], Amount::Count(1), &[1, 0]);
}

#[test]
fn the_split_is_the_same_everywhere() {
    let labels: Vec<u32> = (0..40).map(|n| n % 4).collect();
    let take = |seed| split(&labelled(&labels), Amount::Count(8), seed).expect("both sides have images");
    // Worked out by an independent program: a stored seed must mean the same images on every machine.
    assert_eq!(take(7).1, [1, 2, 7, 14, 17, 32, 36, 39]);
    assert_eq!(take(7), take(7));
    assert_ne!(take(7), take(8));
}

#[test]
fn one_sided_splits_are_refused() {
    let part = labelled(&[0, 1, 0, 1]);
    for (amount, text) in [
        (Amount::Count(0), "no image"),
        (Amount::Count(4), "none would be left"),
        (Amount::Count(9), "none would be left"),
        (Amount::Fraction(0.0), "between 0 and 1"),
        (Amount::Fraction(1.0), "between 0 and 1"),
        (Amount::Fraction(-0.5), "between 0 and 1"),
        (Amount::Fraction(f64::NAN), "between 0 and 1"),
        (Amount::Fraction(0.01), "no image"),
        (Amount::Fraction(0.99), "none would be left"),
    ] {
        refused(split(&part, amount, 1), &["4 images", text]);
    }
}

#[test]
fn moments_come_from_the_chosen_images_only() {
    // Two channels of two pixels; the third image must not count.
    let part = Part {
        shape: [2, 1, 2],
        pixels: vec![0, 51, 255, 255, 102, 153, 255, 255, 7, 7, 7, 7],
        ..labelled(&[0, 1, 0])
    };
    let normalisation = Normalisation::of(&part, &[0, 1]).expect("there are images");
    // Channel 0 holds 0, 0.2, 0.4, 0.6: mean 0.3, variance 0.05. Channel 1 is constant: the
    // standard deviation stops at one grey level.
    let close = |found: f32, expected: f64| assert!((f64::from(found) - expected).abs() < 1e-7, "{found}");
    close(normalisation.mean[0], 0.3);
    close(normalisation.std[0], 0.05_f64.sqrt());
    close(normalisation.mean[1], 1.0);
    close(normalisation.std[1], 1.0 / 255.0);
    refused(Normalisation::of(&part, &[]), &["holds no images"]);
}

proptest! {
    #[test]
    fn splits_divide(labels in prop::collection::vec(0_u32..10, 2..200), share in 0.0..1.0, seed: u64) {
        let part = labelled(&labels);
        let Ok((train, validation)) = split(&part, Amount::Fraction(share), seed) else {
            let n = (share * labels.len() as f64).round() as usize;
            prop_assert!(n == 0 || n == labels.len());
            return Ok(());
        };
        prop_assert!(train.is_sorted() && validation.is_sorted());
        prop_assert_eq!(validation.len(), (share * labels.len() as f64).round() as usize);
        let mut all = [train.clone(), validation.clone()].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        // Stratified: no class is more than one image away from its share.
        let (sizes, taken) = (part.counts(), part.select(&validation).counts());
        for (size, taken) in sizes.iter().zip(taken) {
            let share = validation.len() as f64 * *size as f64 / labels.len() as f64;
            prop_assert!((taken as f64 - share).abs() < 1.0, "{} of {}", taken, share);
        }
    }
}
