//! Readers of other people's bytes: any input gives a result or an error, never a panic.

use data::{Options, Source, check};
use image::{ImageFormat, RgbImage};
use proptest::prelude::*;

use crate::files::{cifar, encoded, folder, gz, idx, png, wav, wav_of};

/// Flips, cuts and grows bytes.
fn damage(mut bytes: Vec<u8>, flips: &[(usize, u8)], keep: usize, tail: &[u8]) -> Vec<u8> {
    for &(place, value) in flips {
        let len = bytes.len();
        bytes[place % len] ^= value;
    }
    bytes.truncate(keep.max(1));
    bytes.extend_from_slice(tail);
    bytes
}

fn flips() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((any::<usize>(), any::<u8>()), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..4000), n_classes in 0_usize..300) {
        use data::cifar::{Layout, records};
        let _ = data::idx::images("x".as_ref(), bytes.as_slice());
        let _ = data::idx::labels("x".as_ref(), bytes.as_slice());
        for layout in [Layout::Ten, Layout::Hundred] {
            let (mut pixels, mut labels) = (Vec::new(), Vec::new());
            if records("x".as_ref(), bytes.as_slice(), layout, n_classes, &mut pixels, &mut labels).is_ok() {
                prop_assert_eq!(pixels.len(), labels.len() * 3072);
                prop_assert!(labels.iter().all(|&label| (label as usize) < n_classes));
            }
        }
    }

    #[test]
    fn damaged_idx(flips in flips(), keep in 0_usize..80, tail in prop::collection::vec(any::<u8>(), 0..20)) {
        let file = damage(idx(&[6, 2, 3], &[9; 36]), &flips, keep, &tail);
        if let Ok(images) = data::idx::images("x".as_ref(), file.as_slice()) {
            prop_assert_eq!(images.pixels.len(), images.n * images.height * images.width);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whole folders, through the same door as a user's: read or reported, and never both.
    #[test]
    fn damaged_folders(flips in flips(), keep in 0_usize..3000, kind in 0_usize..7) {
        let jpeg = encoded(RgbImage::from_pixel(24, 24, image::Rgb([9, 99, 199])).into(), ImageFormat::Jpeg);
        let hurt = |bytes: Vec<u8>| damage(bytes, &flips, keep, &[]);
        let labels = idx(&[6], &[0, 1, 2, 0, 1, 2]);
        let dir = match kind {
            0 => folder(&[
                ("train-images-idx3-ubyte.gz", hurt(gz(&idx(&[6, 2, 3], &[9; 36])))),
                ("train-labels-idx1-ubyte", labels),
            ]),
            1 => folder(&[
                ("train-images-idx3-ubyte", idx(&[6, 2, 3], &[9; 36])),
                ("train-labels-idx1-ubyte", hurt(labels)),
            ]),
            2 => folder(&[("data_batch_1.bin.gz", hurt(gz(&cifar(&[(&[1], 7), (&[3], 8)]))))]),
            4 => folder(&[("a/1.wav", hurt(wav(&[5; 400]))), ("b/1.wav", wav(&[7; 400]))]),
            5 => folder(&[("a/1.wav", hurt(wav_of(3, 2, 16_000, 32, &[63; 800]))), ("b/1.wav", wav(&[7; 400]))]),
            3 => folder(&[("a/1.png", hurt(png(24, 24, [1, 2, 3]))), ("b/1.png", png(24, 24, [3, 2, 1]))]),
            _ => folder(&[("a/1.jpg", hurt(jpeg)), ("b/1.png", png(24, 24, [3, 2, 1]))]),
        };
        let path = dir.path().to_str().expect("temporary paths are UTF-8");
        let options = Options::default();
        let read = Source::open(path, &options).and_then(|source| Ok((source.train()?, source.test()?)));
        let report = check(path, &options);
        prop_assert_eq!(read.is_ok(), report.usable(), "{:?} {:?}", read.err(), report.problems);
    }
}
