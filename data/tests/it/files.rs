//! Writes small data sets for the tests, byte by byte.

use std::fs;
use std::io::Write;
use std::path::Path;

use data::{DataError, Options, Source};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, ImageFormat, RgbImage};
use tempfile::TempDir;

/// An IDX file of unsigned bytes.
pub(crate) fn idx(sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    for size in sizes {
        bytes.extend_from_slice(&size.to_be_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

/// CIFAR records: the bytes before the pixels of each, and pixels that all have one value.
pub(crate) fn cifar(records: &[(&[u8], u8)]) -> Vec<u8> {
    records.iter().flat_map(|(head, value)| [head, vec![*value; 3072].as_slice()].concat()).collect()
}

pub(crate) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}

/// A PNG of one colour.
pub(crate) fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    encoded(RgbImage::from_pixel(width, height, image::Rgb(colour)).into(), ImageFormat::Png)
}

pub(crate) fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("encoding to memory works");
    bytes.into_inner()
}

/// A WAV file: 1 for integers or 3 for floats, channels, samples a second, bits a sample, and the samples.
pub(crate) fn wav_of(kind: u16, channels: u16, rate: u32, bits: u16, body: &[u8]) -> Vec<u8> {
    let width = channels * (bits / 8);
    let mut bytes = [b"RIFF".as_slice(), &(36 + body.len() as u32).to_le_bytes(), b"WAVEfmt \x10\0\0\0"].concat();
    bytes.extend([kind, channels].map(u16::to_le_bytes).concat());
    bytes.extend([rate, rate * u32::from(width)].map(u32::to_le_bytes).concat());
    bytes.extend([width, bits].map(u16::to_le_bytes).concat());
    bytes.extend([b"data".as_slice(), &(body.len() as u32).to_le_bytes(), body].concat());
    bytes
}

/// 16 bits, mono, 16 kHz.
pub(crate) fn wav(samples: &[i16]) -> Vec<u8> {
    wav_of(1, 1, 16_000, 16, &samples.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>())
}

/// A folder that holds these files, and is gone when dropped.
pub(crate) fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, bytes) in files {
        write(dir.path(), name, bytes);
    }
    dir
}

pub(crate) fn write(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a joined path has a parent")).expect("folders can be made");
    fs::write(path, bytes).expect("files can be written");
}

pub(crate) fn open(dir: &TempDir) -> Result<Source, DataError> {
    open_with(dir, &Options::default())
}

pub(crate) fn open_with(dir: &TempDir, options: &Options) -> Result<Source, DataError> {
    Source::open(dir.path().to_str().expect("temporary paths are UTF-8"), options)
}

/// Opens and reads both parts.
pub(crate) fn read(dir: &TempDir) -> Result<(data::Part, data::Part), DataError> {
    let source = open(dir)?;
    Ok((source.train()?, source.test()?))
}

/// Six grey images of 2x3 in three classes, and a test part of three.
pub(crate) fn small_idx() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("train-images-idx3-ubyte", idx(&[6, 2, 3], &(0..36).collect::<Vec<u8>>())),
        ("train-labels-idx1-ubyte", idx(&[6], &[0, 1, 2, 0, 1, 2])),
        ("t10k-images-idx3-ubyte", idx(&[3, 2, 3], &(100..118).collect::<Vec<u8>>())),
        ("t10k-labels-idx1-ubyte", idx(&[3], &[2, 1, 0])),
    ]
}

/// CIFAR-10 with two training files, three records, and one test record.
pub(crate) fn small_cifar() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("batches.meta.txt", b"cat\ndog\nship\n\n".to_vec()),
        ("data_batch_1.bin", cifar(&[(&[0], 10), (&[1], 20)])),
        ("data_batch_2.bin", cifar(&[(&[2], 30)])),
        ("test_batch.bin", cifar(&[(&[1], 40)])),
    ]
}

/// The same files with one replaced, or removed when `bytes` is `None`.
pub(crate) fn but(
    mut files: Vec<(&'static str, Vec<u8>)>,
    name: &'static str,
    bytes: Option<Vec<u8>>,
) -> Vec<(&'static str, Vec<u8>)> {
    files.retain(|(other, _)| *other != name);
    files.extend(bytes.map(|bytes| (name, bytes)));
    files
}

/// The test fails unless this is an error whose text holds all of `expected`.
pub(crate) fn refused<T>(result: Result<T, DataError>, expected: &[&str]) {
    let Err(error) = result else {
        panic!("nothing was refused; expected {expected:?}");
    };
    let text = error.to_string();
    for part in expected {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}
