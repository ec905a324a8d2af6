//! Folders of images: classes, parts, colours, sizes, and what is refused.

use data::{Format, Kind, Options};
use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

use crate::files::{encoded, folder, open, open_with, png, read, refused};

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];

/// Two classes of five images.
fn small() -> Vec<(&'static str, Vec<u8>)> {
    let mut files = Vec::new();
    for name in ["cat/1.png", "cat/2.PNG", "cat/3.png", "cat/4.png", "cat/5.png"] {
        files.push((name, png(40, 20, RED)));
    }
    for name in ["dog/1.png", "dog/2.png", "dog/3.png", "dog/4.png", "dog/5.png"] {
        files.push((name, png(8, 8, BLUE)));
    }
    files
}

#[test]
fn class_folders_are_read() {
    let mut files = small();
    files.extend([
        ("README.md", b"about".to_vec()),
        (".hidden", b"x".to_vec()),
        ("cat/notes.txt", b"x".to_vec()),
        ("cat/.DS_Store", b"x".to_vec()),
    ]);
    let source = open(&folder(&files)).expect("a good set opens");
    assert_eq!((source.format, source.kind, source.shape), (Format::Folder, Kind::Photos, [3, 32, 32]));
    assert_eq!((source.classes.as_slice(), source.skipped), (["cat".to_owned(), "dog".to_owned()].as_slice(), 4));
    assert!(source.held_out);

    let dir = folder(&files);
    let (train, test) = read(&dir).expect("a good set reads");
    assert_eq!((train.counts(), test.counts()), (vec![4, 4], vec![1, 1]));
    // Channel by channel: a red image is one plane of 255 and two of 0.
    assert_eq!(train.image(0), [vec![255; 1024], vec![0; 2048]].concat());
    assert_eq!(read(&dir).expect("a good set reads"), (train, test));

    let options = Options { image_size: Some([5, 7]), ..Options::default() };
    let source = open_with(&dir, &options).expect("a good set opens");
    assert_eq!((source.shape, source.train().expect("a good part reads").pixels.len()), ([3, 5, 7], 8 * 105));
}

#[test]
fn parts_are_taken_from_their_folders() {
    for test_name in ["test", "val"] {
        let files: Vec<(String, Vec<u8>)> = [
            ("train/cat/1.png".into(), png(9, 9, RED)),
            ("train/dog/1.png".into(), png(9, 9, BLUE)),
            (format!("{test_name}/dog/1.png"), png(9, 9, BLUE)),
        ]
        .to_vec();
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let dir = folder(&files);
        assert!(!open(&dir).expect("a good set opens").held_out);
        let (train, test) = read(&dir).expect("a good set reads");
        assert_eq!((train.labels, test.labels), (vec![0, 1], vec![1]));
        assert_eq!(test.classes, ["cat", "dog"]);
    }
    // With both, `test` is the test part and `val` is said not to be used.
    let both = folder(&[
        ("train/cat/1.png", png(9, 9, RED)),
        ("train/dog/1.png", png(9, 9, BLUE)),
        ("test/cat/1.png", png(9, 9, RED)),
        ("val/dog/1.png", png(9, 9, BLUE)),
    ]);
    assert_eq!(read(&both).expect("a good set reads").1.labels, [0]);
    assert!(open(&both).expect("a good set opens").notes[0].contains("1 folder(s)"));
    // A class may be called train.
    let vehicles = folder(&[("train/1.png", png(9, 9, RED)), ("tram/1.png", png(9, 9, BLUE))]);
    assert_eq!(open(&vehicles).expect("a good set opens").classes, ["train", "tram"]);
}

/// Rows: what is in the file, and the first pixel that training sees.
#[test]
fn colours_become_bytes() {
    let check = |image: DynamicImage, other: DynamicImage, expected: &[u8]| {
        let mut files = Vec::new();
        for n in 0..2 {
            files.push((format!("a/{n}.png"), encoded(image.clone(), ImageFormat::Png)));
            files.push((format!("b/{n}.png"), encoded(other.clone(), ImageFormat::Png)));
        }
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let train = open(&folder(&files)).and_then(|source| source.train()).expect("a good set reads");
        let first: Vec<u8> = train.image(0).chunks(1024).map(|plane| plane[0]).collect();
        assert_eq!(first, expected, "{:?} beside {:?}", image.color(), other.color());
        assert!(train.image(0).chunks(1024).all(|plane| plane.iter().all(|&byte| byte == plane[0])));
    };
    let grey = || DynamicImage::from(GrayImage::from_pixel(50, 9, Luma([77])));
    let red = || DynamicImage::from(RgbImage::from_pixel(9, 50, Rgb(RED)));
    // One channel only when all are grey.
    check(grey(), grey(), &[77]);
    check(grey(), red(), &[77, 77, 77]);
    check(red(), grey(), &[255, 0, 0]);
    // Transparent pixels show the white below them: 255 x (1 - 0.2) + 200 x 0.2 and so on.
    let rgba = |alpha| DynamicImage::from(RgbaImage::from_pixel(9, 9, Rgba([200, 0, 100, alpha])));
    check(rgba(0), red(), &[255, 255, 255]);
    check(rgba(51), red(), &[244, 204, 224]);
    check(rgba(255), red(), &[200, 0, 100]);
    check(GrayAlphaImage::from_pixel(9, 9, LumaA([0, 51])).into(), grey(), &[204]);
    // 16 bits keep their high byte's value.
    check(image::ImageBuffer::<Luma<u16>, _>::from_pixel(9, 9, Luma([0x4d4d])).into(), grey(), &[0x4d]);
}

#[test]
fn jpegs_are_read_whatever_their_name() {
    let jpeg = encoded(RgbImage::from_pixel(64, 64, Rgb([10, 200, 30])).into(), ImageFormat::Jpeg);
    let dir =
        folder(&[("a/1.jpg", jpeg.clone()), ("a/2.jpeg", jpeg.clone()), ("b/1.JPG", jpeg.clone()), ("b/2.png", jpeg)]);
    let (train, test) = read(&dir).expect("a good set reads");
    assert_eq!(train.len() + test.len(), 4);
    // JPEG rounds; the image is still green.
    for (plane, expected) in train.image(0).chunks(1024).zip([10_i32, 200, 30]) {
        assert!(plane.iter().all(|&byte| (i32::from(byte) - expected).abs() < 4));
    }
}

#[test]
fn cameras_turned_on_their_side_are_turned_back() {
    // Left half black, right half white, and an Exif block that says: rotate 90 degrees clockwise
    // to see it upright. Upright, the left half becomes the top.
    let mut image = GrayImage::from_pixel(64, 32, Luma([0]));
    for (x, _, pixel) in image.enumerate_pixels_mut() {
        pixel.0 = [if x < 32 { 0 } else { 255 }];
    }
    let mut jpeg = encoded(image.into(), ImageFormat::Jpeg);
    let exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    jpeg.splice(2..2, exif.iter().copied());
    let dir = folder(&[("a/1.jpg", jpeg.clone()), ("b/1.jpg", jpeg.clone()), ("b/2.jpg", jpeg)]);
    let train = open(&dir).and_then(|source| source.train()).expect("a good set reads");
    let row = |y: usize| train.image(0)[y * 32..(y + 1) * 32].iter().map(|&byte| u32::from(byte)).sum::<u32>() / 32;
    assert!(row(4) < 10 && row(28) > 245, "{} {}", row(4), row(28));
}

#[test]
fn damaged_folders_are_refused() {
    let check = |files: Vec<(&'static str, Vec<u8>)>, expected: &[&str]| refused(read(&folder(&files)), expected);
    let with = |name, bytes| [small(), vec![(name, bytes)]].concat();
    check(with("bird/notes.txt", vec![1]), &["bird", "without a PNG, JPEG or WAV"]);
    check(with("cat/0.png", b"not an image".to_vec()), &["cat/0.png", "not a readable image"]);
    check(with("cat/0.png", vec![]), &["cat/0.png", "holds no images"]);
    check(with("cat/0.png", png(40, 20, RED)[..60].to_vec()), &["cat/0.png", "not a readable image"]);
    check(vec![("1.png", png(9, 9, RED)), ("2.png", png(9, 9, RED))], &["1.png", "no labels", "named after its class"]);
    check(vec![("cats/1.png", png(9, 9, RED))], &["1 class(es)", "did you mean", "cats"]);
    check(
        vec![
            ("train/cat/1.png", png(9, 9, RED)),
            ("train/dog/1.png", png(9, 9, RED)),
            ("test/cow/1.png", png(9, 9, RED)),
        ],
        &["test/cow", "`cow`", "does not exist in the training part"],
    );
    // A header that claims 60,000 x 60,000 pixels: 10 GB are not allocated to find out.
    let mut bomb = png(9, 9, RED);
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    check(with("cat/0.png", bomb), &["cat/0.png", "not a readable image"]);

    for (size, text) in [([0, 8], "0x8"), ([2000, 8], "2000x8")] {
        let options = Options { image_size: Some(size), ..Options::default() };
        refused(open_with(&folder(&small()), &options), &[text, "1 to 1024 pixels"]);
    }
}
