//! Scenes with masks: what is read of them, what is refused, and how they vary.

use std::sync::Arc;

use data::{
    Augment, AugmentKey, Batch, Batches, Format, IGNORED, Kind, Normalisation, Options, Part, Pass, Severity, Source,
    Tally, Task, batch, check, split,
};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, RgbImage};

use crate::files::{but, encoded, folder, open, open_with, png, read, refused};

/// A grey PNG of this width, row by row.
fn grey(width: u32, values: &[u8]) -> Vec<u8> {
    let height = values.len() as u32 / width;
    let image = GrayImage::from_raw(width, height, values.to_vec()).expect("whole rows");
    encoded(DynamicImage::from(image), ImageFormat::Png)
}

/// Two training scenes and one for the test, 3x2 pixels, of two classes and what is none.
fn small() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("classes.txt", b"road\nsky\nunlabelled\n".to_vec()),
        ("train/images/a.png", png(3, 2, [10, 20, 30])),
        ("train/images/b.png", png(3, 2, [0, 0, 90])),
        ("train/masks/a.png", grey(3, &[0, 0, 1, 1, 2, 2])),
        ("train/masks/b.png", grey(3, &[1, 1, 1, 1, 1, 1])),
        ("val/images/c.png", png(3, 2, [7, 7, 7])),
        ("val/masks/c.png", grey(3, &[2, 2, 2, 2, 2, 0])),
    ]
}

#[test]
fn masks_say_the_class_of_each_pixel() {
    let source = open(&folder(&small())).expect("a good set opens");
    assert_eq!((source.format, source.kind, source.kind.task()), (Format::Masks, Kind::Scenes, Task::Segmentation));
    // As large as the first image; the last class is none.
    assert_eq!((source.shape, source.held_out, source.skipped), ([3, 2, 3], false, 0));
    assert_eq!(source.classes, ["road", "sky"]);
    assert_eq!(source.notes, ["pixels of `unlabelled` are of no class"]);
    let (train, test) = read(&folder(&small())).expect("a good set reads");
    assert_eq!((train.len(), train.places(), train.task), (2, 6, Task::Segmentation));
    assert_eq!(train.labels_of(0), [0, 0, 1, 1, IGNORED, IGNORED]);
    assert_eq!(train.labels_of(1), [1; 6]);
    assert_eq!((train.counts(), test.counts()), (vec![2, 8], vec![1, 0]));
    assert_eq!(train.image(0)[..12], [[10; 6], [20; 6]].concat());
    assert_eq!(test.labels_of(0), [IGNORED, IGNORED, IGNORED, IGNORED, IGNORED, 0]);
    assert_eq!(Tally::of(&train).score(), 0.0);
    let (left, taken) = split(&train, data::Amount::Count(1), 0).expect("two can be divided");
    assert_eq!([left.len(), taken.len()], [1, 1]);
    // Grey images stay grey.
    let files = small().into_iter().map(|(name, bytes)| match name.contains("images") {
        true => (name, grey(3, &[9; 6])),
        false => (name, bytes),
    });
    assert_eq!(open(&folder(&files.collect::<Vec<_>>())).expect("a good set opens").shape, [1, 2, 3]);
}

/// Folders called as those of scenes may be classes all the same.
#[test]
fn what_is_asked_may_be_said() {
    let asked = |task| open_with(&folder(&small()), &Options { task: Some(task), ..Options::default() });
    assert_eq!(asked(Task::Segmentation).expect("a good set opens").format, Format::Masks);
    let classes = asked(Task::Classification).expect("its folders are classes").classes;
    assert_eq!(classes, ["images", "masks"]);
    let error = asked(Task::Language).expect_err("there is no text").to_string();
    assert!(error.contains("train.txt") && error.contains("text were asked for"), "{error}");
    let digits = Options { task: Some(Task::Segmentation), ..Options::default() };
    let error = Source::open("optdigits", &digits).expect_err("they are for classes").to_string();
    assert!(error.contains("it is for classification, and segmentation was asked for"), "{error}");
}

#[test]
fn images_are_interpolated_and_masks_are_not() {
    let options = |height, width| Options { image_size: Some([height, width]), ..Options::default() };
    let labels = |height, width| {
        let train = open_with(&folder(&small()), &options(height, width)).and_then(|source| source.train());
        train.expect("a good set reads").labels_of(0).to_vec()
    };
    // Twice as many rows: each pixel twice.
    let no = IGNORED;
    assert_eq!(labels(4, 3), [0, 0, 1, 0, 0, 1, 1, no, no, 1, no, no]);
    // One pixel: the one that the middle lies in, of an even number the later.
    assert_eq!(labels(1, 1), [no]);
    assert_eq!(labels(2, 1), [0, no]);
}

#[test]
fn without_a_test_part_a_fifth_is_held_out() {
    let mut files = vec![("classes.txt".to_owned(), b"a\nb\n".to_vec())];
    for n in 0..10_u8 {
        files.push((format!("train/images/{n}.png"), png(2, 2, [n, 0, 0])));
        files.push((format!("train/masks/{n}.png"), grey(2, &[0, 1, 1, n % 2])));
    }
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let dir = folder(&files);
    assert!(open(&dir).expect("a good set opens").held_out);
    let (train, test) = read(&dir).expect("a good set reads");
    let reds = |part: &Part| (0..part.len()).map(|idx| part.image(idx)[0]).collect::<Vec<u8>>();
    assert_eq!((train.len(), test.len()), (8, 2));
    assert_eq!(reds(&train).iter().filter(|red| reds(&test).contains(red)).count(), 0);
    // A mask goes with its image.
    for part in [train, test] {
        let is_own = |idx: usize| part.labels_of(idx)[3] == u32::from(part.image(idx)[0] % 2);
        assert!((0..part.len()).all(is_own));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_file() {
    let with = |name, bytes| folder(&but(small(), name, bytes));
    let reads = |dir: &tempfile::TempDir, expected: &[&str]| refused(read(dir), expected);
    reads(&with("classes.txt", None), &["classes.txt", "a line"]);
    reads(&with("train/masks/b.png", None), &["train/images/b.png", "no mask", "train/masks/b.png"]);
    let dir = with("train/masks/b.png", Some(grey(2, &[0; 4])));
    reads(&dir, &["train/masks/b.png", "2x2 pixels, but its image has 2x3"]);
    let dir = with("val/masks/c.png", Some(grey(3, &[0, 0, 0, 0, 7, 0])));
    reads(&dir, &["val/masks/c.png", "value 7 at row 1, column 1", "names 0 to 2"]);
    reads(&with("train/masks/b.png", Some(png(3, 2, [1, 1, 1]))), &["train/masks/b.png", "8-bit grey", "Rgb8"]);
    let deep = image::ImageBuffer::<Luma<u16>, _>::from_pixel(3, 2, Luma([1]));
    let deep = encoded(DynamicImage::from(deep), ImageFormat::Png);
    reads(&with("train/masks/b.png", Some(deep)), &["train/masks/b.png", "L16"]);
    reads(&with("classes.txt", Some(b"void\nroad\nsky\n".to_vec())), &["classes.txt", "`void`", "last"]);
    reads(&with("classes.txt", Some(b"road\nvoid\n".to_vec())), &["1 class"]);
    reads(&with("train/masks/b.png", Some(b"no image".to_vec())), &["train/masks/b.png"]);
    let without_images: Vec<_> = small().into_iter().filter(|(name, _)| !name.starts_with("train/images")).collect();
    reads(&folder(&without_images), &["train", "there is no `images`"]);
}

#[test]
fn a_check_counts_pixels() {
    let dir = folder(&small());
    let report = check(dir.path().to_str().expect("temporary paths are UTF-8"), &Options::default());
    assert!(report.usable(), "{:?}", report.problems);
    assert_eq!((report.kind, report.original_sizes), (Some(Kind::Scenes), Some([[2, 3]; 2])));
    assert_eq!(report.train.map(|part| (part.n, part.counts)), Some((2, vec![2, 8])));
    let warnings: Vec<&str> = report.problems.iter().map(|it| it.message.as_str()).collect();
    assert!(warnings.contains(&"no pixel in the test part for: sky"), "{warnings:?}");
    // All that is wrong, file by file.
    let files = but(small(), "train/masks/b.png", Some(grey(3, &[9; 6])));
    let files = but(files, "val/masks/c.png", Some(grey(2, &[0; 4])));
    let dir = folder(&files);
    let report = check(dir.path().to_str().expect("temporary paths are UTF-8"), &Options::default());
    let errors = report.problems.iter().filter(|it| it.severity == Severity::Error);
    assert_eq!(errors.count(), 2, "{:?}", report.problems);
}

/// A part of one scene: columns of classes 0 to 7, as bright as their class, over eight rows.
fn columns() -> Part {
    let values: Vec<u8> = (0..64).map(|at| at % 8).collect();
    let bright: Vec<u8> = values.iter().map(|value| 10 * value).collect();
    let dir = folder(&[
        ("classes.txt", b"0\n1\n2\n3\n4\n5\n6\n7\n".to_vec()),
        ("train/images/a.png", grey(8, &bright)),
        ("train/masks/a.png", grey(8, &values)),
        ("train/images/b.png", grey(8, &bright)),
        ("train/masks/b.png", grey(8, &values)),
    ]);
    open(&dir).and_then(|source| source.train()).expect("a good set reads")
}

fn varied(part: &Part, augment: Augment, epoch: u64) -> Batch {
    // Brightness is the class, in tenths of a byte.
    let plain = Normalisation { mean: vec![0.0], std: vec![10.0 / 255.0] };
    batch(part, &[0], &plain, Some(&AugmentKey { augment, seed: 3, epoch }))
}

#[test]
fn scenes_and_masks_vary_alike() {
    let part = columns();
    let augment = Augment { zoom: true, flip: true, ..Augment::NONE };
    let (mut unknown, mut mirrored, mut zoomed) = (0, 0, 0);
    for epoch in 0..300 {
        let Batch { pixels, labels, .. } = varied(&part, augment, epoch);
        for (value, &label) in pixels.iter().zip(&labels) {
            // An interpolated brightness is that of the nearest class, give or take half a column.
            match label {
                IGNORED => assert_eq!(*value, 0.0),
                label => assert!((value - label as f32).abs() <= 0.51, "{value} of class {label} in {epoch}"),
            }
        }
        let row: Vec<u32> = labels.chunks(8).find(|row| row[4] != IGNORED).unwrap_or(&labels[..8]).to_vec();
        let known: Vec<u32> = row.into_iter().filter(|&label| label != IGNORED).collect();
        unknown += usize::from(labels.contains(&IGNORED));
        mirrored += usize::from(known.is_sorted_by(|a, b| a >= b));
        zoomed += usize::from(known.len() == 8 && known.windows(2).any(|pair| pair[0] == pair[1]));
        assert!(known.is_sorted() || known.is_sorted_by(|a, b| a >= b), "{known:?}");
        assert_eq!(varied(&part, augment, epoch), Batch { pixels, labels, n: 1 }, "by its key alone");
    }
    // Two of seven sizes are smaller than the scene, four larger, and one in two is mirrored.
    assert!((50..125).contains(&unknown), "{unknown}");
    assert!((110..190).contains(&mirrored), "{mirrored}");
    assert!((130..215).contains(&zoomed), "{zoomed}");
}

#[test]
fn a_scene_is_mirrored_with_its_mask() {
    let part = columns();
    let seen: Vec<Vec<u32>> = (0..20)
        .map(|epoch| {
            let Batch { pixels, labels, .. } = varied(&part, Augment { flip: true, ..Augment::NONE }, epoch);
            assert!(pixels.iter().zip(&labels).all(|(value, label)| (value - *label as f32).abs() < 1e-5));
            labels[..8].to_vec()
        })
        .collect();
    assert!(seen.contains(&vec![0, 1, 2, 3, 4, 5, 6, 7]) && seen.contains(&vec![7, 6, 5, 4, 3, 2, 1, 0]), "{seen:?}");
}

#[test]
fn batches_hold_the_classes_of_every_pixel() {
    let part = Arc::new(read(&folder(&small())).expect("a good set reads").0);
    let normalisation = Normalisation::of(&part, &[0, 1]).expect("there are images");
    let pass = Pass {
        seed: 0,
        purpose: "test".into(),
        epoch: 0,
        batch_size: 2,
        shuffle: false,
        keep_partial: true,
        augment: Augment::NONE,
    };
    let mut batches = Batches::start(part.clone(), vec![1, 0], &normalisation, &pass).expect("there are images");
    let batch = batches.next().expect("one batch");
    assert_eq!(batch.labels, [part.labels_of(1), part.labels_of(0)].concat());
    assert_eq!((batch.n, batch.pixels.len()), (2, 2 * 18));
    // Names without a suffix of images, and colours that are none, do not matter here.
    let odd = encoded(RgbImage::from_pixel(3, 2, image::Rgb([1, 2, 3])).into(), ImageFormat::Jpeg);
    let dir = folder(&but(but(small(), "train/images/a.png", None), "train/images/a.jpg", Some(odd)));
    assert_eq!(read(&dir).expect("a JPEG is an image as well").0.labels_of(0), part.labels_of(0));
}
