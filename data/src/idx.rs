//! The IDX format of the MNIST family: a big-endian header, then unsigned bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::builtin::CLOTHES;
use crate::input::{Dir, Input, fill, unreadable};
use crate::part::Raw;
use crate::source::{Files, Format, Kind, Source, numbered};

/// What an IDX image file holds.
///
/// # Shapes
/// - `pixels`: `[n, height, width]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The number of images.
    pub n: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// The grey values.
    pub pixels: Vec<u8>,
}

/// An image file and the labels that belong to it.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) images: Input,
    pub(crate) labels: Input,
}

/// No body larger than this is read: a header of 16 bytes can claim 2^96.
const MAX_BODY: u64 = 4 << 30;

/// Reads an image file (magic 0x00000803); `path` is for messages.
pub fn images(path: &Path, mut reader: impl Read) -> Result<Images, DataError> {
    let [n, height, width] = header(path, &mut reader)?;
    let pixels = body(path, &mut reader, 16, n, u64::from(height) * u64::from(width))?;
    Ok(Images { n: n as usize, height: height as usize, width: width as usize, pixels })
}

/// Reads a label file (magic 0x00000801); `path` is for messages.
pub fn labels(path: &Path, mut reader: impl Read) -> Result<Vec<u8>, DataError> {
    let [n] = header(path, &mut reader)?;
    body(path, &mut reader, 8, n, 1)
}

/// Finds `*images*idx3-ubyte[.gz]` and their labels. A name with `train` in it is the training
/// part; one with `test`, or that starts with `t` and a digit (`t10k`), is the test part; any
/// other is the only part.
pub(crate) fn detect(dir: &Dir) -> Result<Option<Source>, DataError> {
    let found = dir.inputs(|name| name.contains("images") && name.ends_with("idx3-ubyte"))?;
    if found.is_empty() {
        return Ok(None);
    }
    let (mut train, mut test, mut only) = (Vec::new(), Vec::new(), Vec::new());
    for images in found {
        let name = file_name(images.path());
        let bytes = name.as_bytes();
        if name.contains("train") {
            train.push(images);
        } else if name.contains("test") || (bytes[0] == b't' && bytes[1].is_ascii_digit()) {
            test.push(images);
        } else {
            only.push(images);
        }
    }
    if train.is_empty() {
        train = only;
    }
    let train = one(dir, train)?.ok_or_else(|| DataError::Unrecognised {
        path: dir.path.clone(),
        problem: "there is a test part but no `train-images-idx3-ubyte`".into(),
    })?;
    let test = one(dir, test)?;
    let name = file_name(&dir.path);
    let classes = dir.class_names("classes.txt")?;
    let clothes = name.contains("fashion") || classes.as_deref().is_some_and(is_clothes);
    let kind = if clothes { Kind::Clothes } else { Kind::Digits };
    source(dir.path.clone(), name, kind, classes, train, test).map(Some)
}

/// Describes a set from its headers and training labels; no pixel is read.
pub(crate) fn source(
    path: PathBuf,
    name: String,
    kind: Kind,
    classes: Option<Vec<String>>,
    train: Pair,
    test: Option<Pair>,
) -> Result<Source, DataError> {
    let [_, height, width] = header(train.images.path(), &mut train.images.open()?)?;
    let classes = match classes {
        Some(classes) => classes,
        None => {
            let labels = labels(train.labels.path(), train.labels.open()?)?;
            numbered(labels.iter().max().map_or(0, |&label| usize::from(label) + 1))
        }
    };
    Ok(Source {
        name,
        path,
        format: Format::Idx,
        kind,
        shape: [1, height as usize, width as usize],
        front_end: None,
        classes,
        held_out: test.is_none(),
        skipped: 0,
        notes: Vec::new(),
        files: Files::Idx { train, test },
    })
}

/// Reads one part: shape, pixels and labels.
pub(crate) fn read(pair: &Pair, n_classes: usize) -> Result<Raw, DataError> {
    let images = images(pair.images.path(), pair.images.open()?)?;
    let labels = labels(pair.labels.path(), pair.labels.open()?)?;
    if images.n != labels.len() {
        return Err(DataError::Count {
            images: pair.images.path().to_path_buf(),
            n_images: images.n as u64,
            labels: pair.labels.path().to_path_buf(),
            n_labels: labels.len() as u64,
        });
    }
    if let Some(record) = labels.iter().position(|&label| usize::from(label) >= n_classes) {
        return Err(DataError::Label {
            path: pair.labels.path().to_path_buf(),
            record: record as u64,
            offset: 8 + record as u64,
            label: u32::from(labels[record]),
            classes: n_classes,
        });
    }
    let labels = labels.into_iter().map(u32::from).collect();
    Ok(Raw::images([1, images.height, images.width], images.pixels, labels))
}

/// The only candidate with its labels; two candidates would be a guess.
fn one(dir: &Dir, mut candidates: Vec<Input>) -> Result<Option<Pair>, DataError> {
    let Some(images) = candidates.pop() else {
        return Ok(None);
    };
    if let Some(other) = candidates.pop() {
        let names = format!("{} and {}", file_name(other.path()), file_name(images.path()));
        let problem = format!("{names} could both be the same part; keep one of them");
        return Err(DataError::Unrecognised { path: dir.path.clone(), problem });
    }
    let name = file_name(images.path());
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let wanted = plain.replacen("images", "labels", 1).replacen("idx3", "idx1", 1);
    let labels = dir.inputs(|name| name == wanted)?.pop().ok_or_else(|| DataError::Unlabelled {
        path: images.path().to_path_buf(),
        expected: format!("expected `{wanted}` or `{wanted}.gz` beside them"),
    })?;
    Ok(Some(Pair { images, labels }))
}

/// The sizes of an array of `D` dimensions, none of them 0.
fn header<const D: usize>(path: &Path, reader: &mut impl Read) -> Result<[u32; D], DataError> {
    let mut bytes = vec![0; 4 + 4 * D];
    let got = fill(path, reader, 0, &mut bytes)?;
    if got == 0 {
        return Err(DataError::Empty { path: path.to_path_buf() });
    }
    if got < bytes.len() {
        let missing = (bytes.len() - got) as u64;
        return Err(DataError::Truncated { path: path.to_path_buf(), record: 0, offset: got as u64, missing });
    }
    // Two zero bytes, 8 for unsigned bytes, and the number of dimensions.
    if bytes[..4] != [0, 0, 8, D as u8] {
        let problem = format!(
            "starts with {:02x?}; an IDX file of unsigned bytes in {D} dimension(s) starts with {:02x?}",
            &bytes[..4],
            [0, 0, 8, D as u8]
        );
        return Err(DataError::Corrupt { path: path.to_path_buf(), offset: 0, problem });
    }
    let mut sizes = [0; D];
    for (size, bytes) in sizes.iter_mut().zip(bytes[4..].chunks_exact(4)) {
        *size = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    if sizes.contains(&0) {
        return Err(DataError::Empty { path: path.to_path_buf() });
    }
    Ok(sizes)
}

/// Exactly `n` records of `record` bytes, the first at `start`, and then the end of the file.
fn body(path: &Path, reader: &mut impl Read, start: u64, n: u32, record: u64) -> Result<Vec<u8>, DataError> {
    let expected = u64::from(n).saturating_mul(record);
    if expected > MAX_BODY {
        let problem = format!("the header claims {expected} bytes; at most {MAX_BODY} are read");
        return Err(DataError::Corrupt { path: path.to_path_buf(), offset: 4, problem });
    }
    // The vector grows with what arrives, so a false claim costs nothing.
    let mut bytes = Vec::new();
    if let Err(error) = reader.take(expected).read_to_end(&mut bytes) {
        return Err(unreadable(path, start + bytes.len() as u64, error));
    }
    let got = bytes.len() as u64;
    let offset = start + got;
    if got < expected {
        let (record, missing) = (got / record, expected - got);
        return Err(DataError::Truncated { path: path.to_path_buf(), record, offset, missing });
    }
    // Reading on also makes the gzip decoder compare its checksum.
    if fill(path, reader, offset, &mut [0])? > 0 {
        let problem = format!("there is more data after the last of {n} records");
        return Err(DataError::Corrupt { path: path.to_path_buf(), offset, problem });
    }
    Ok(bytes)
}

fn is_clothes(classes: &[String]) -> bool {
    classes.len() == CLOTHES.len() && classes.iter().zip(CLOTHES).all(|(class, name)| class == name)
}

/// The last component of a path, as text for names and messages.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
