//! CIFAR-10 and CIFAR-100 in their official binary layout: label bytes, then 3 x 32 x 32 pixels.

use std::io::Read;
use std::path::Path;

use crate::DataError;
use crate::idx::file_name;
use crate::input::{Dir, Input, fill};
use crate::part::Raw;
use crate::source::{Files, Format, Kind, Source, numbered};

/// Channels, height and width of every image.
pub const SHAPE: [usize; 3] = [3, 32, 32];

/// Bytes of one image.
const PIXELS: usize = 3 * 32 * 32;

/// What stands before the pixels of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// CIFAR-10: one byte, the class.
    Ten,
    /// CIFAR-100: two bytes, the coarse class (not used) and the fine class.
    Hundred,
}

impl Layout {
    /// Label bytes of a record.
    pub fn label_bytes(self) -> usize {
        match self {
            Self::Ten => 1,
            Self::Hundred => 2,
        }
    }
}

/// Appends the records of one file; `path` is for messages.
///
/// # Shapes
/// - `pixels`: grows by `[n, 3, 32, 32]`
/// - `labels`: grows by `[n]`
pub fn records(
    path: &Path,
    mut reader: impl Read,
    layout: Layout,
    n_classes: usize,
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u32>,
) -> Result<(), DataError> {
    let head = layout.label_bytes();
    let mut bytes = vec![0; head + PIXELS];
    for record in 0_u64.. {
        let offset = record * bytes.len() as u64;
        let got = fill(path, &mut reader, offset, &mut bytes)?;
        if got == 0 && record == 0 {
            return Err(DataError::Empty { path: path.to_path_buf() });
        }
        if got == 0 {
            break;
        }
        if got < bytes.len() {
            let (offset, missing) = (offset + got as u64, (bytes.len() - got) as u64);
            return Err(DataError::Truncated { path: path.to_path_buf(), record, offset, missing });
        }
        let label = u32::from(bytes[head - 1]);
        if label as usize >= n_classes {
            let offset = offset + head as u64 - 1;
            return Err(DataError::Label { path: path.to_path_buf(), record, offset, label, classes: n_classes });
        }
        labels.push(label);
        pixels.extend_from_slice(&bytes[head..]);
    }
    Ok(())
}

/// Finds `data_batch*.bin` or `train*.bin`, and `test*.bin`, each possibly `.gz`.
pub(crate) fn detect(dir: &Dir) -> Result<Option<Source>, DataError> {
    let is_train = |name: &str| (name.starts_with("data_batch") || name.starts_with("train")) && name.ends_with(".bin");
    let is_test = |name: &str| name.starts_with("test") && name.ends_with(".bin");
    let train = dir.inputs(is_train)?;
    let test = dir.inputs(is_test)?;
    let Some(first) = train.first() else {
        if test.is_empty() {
            return Ok(None);
        }
        let problem = "there is a test file but no `data_batch*.bin` or `train*.bin`".into();
        return Err(DataError::Unrecognised { path: dir.path.clone(), problem });
    };
    let (layout, classes) = match (dir.class_names("fine_label_names.txt")?, dir.class_names("batches.meta.txt")?) {
        (Some(classes), _) => (Layout::Hundred, classes),
        (None, Some(classes)) => (Layout::Ten, classes),
        (None, None) => match layout_by_size(first)? {
            Layout::Ten => (Layout::Ten, numbered(10)),
            Layout::Hundred => (Layout::Hundred, numbered(100)),
        },
    };
    let packed = |name: &str| name.strip_suffix(".xz").is_some_and(|plain| is_train(plain) || is_test(plain));
    let n_packed = dir.files.iter().filter(|file| packed(&file.name)).count();
    let mut notes = Vec::new();
    if n_packed > 0 {
        notes.push(format!("{n_packed} .xz file(s) are not read; unpack them with `xz -dk`"));
    }
    Ok(Some(Source {
        name: file_name(&dir.path),
        path: dir.path.clone(),
        format: match layout {
            Layout::Ten => Format::Cifar10,
            Layout::Hundred => Format::Cifar100,
        },
        kind: Kind::Photos,
        shape: SHAPE,
        front_end: None,
        classes,
        held_out: test.is_empty(),
        skipped: 0,
        notes,
        files: Files::Cifar { layout, train, test },
    }))
}

/// Reads the files of one part, in order.
pub(crate) fn read(files: &[Input], layout: Layout, n_classes: usize) -> Result<Raw, DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for file in files {
        records(file.path(), file.open()?, layout, n_classes, &mut pixels, &mut labels)?;
    }
    Ok(Raw::images(SHAPE, pixels, labels))
}

/// Which record length divides the file, when no list of names says which layout it is.
fn layout_by_size(file: &Input) -> Result<Layout, DataError> {
    let path = file.path();
    let (mut reader, mut size, mut buffer) = (file.open()?, 0_u64, vec![0; 1 << 16]);
    loop {
        let got = fill(path, &mut reader, size, &mut buffer)?;
        if got == 0 {
            break;
        }
        size += got as u64;
    }
    let divides = |layout: Layout| size.is_multiple_of((layout.label_bytes() + PIXELS) as u64);
    match (divides(Layout::Ten), divides(Layout::Hundred)) {
        (true, false) => Ok(Layout::Ten),
        (false, true) => Ok(Layout::Hundred),
        (true, true) if size == 0 => Err(DataError::Empty { path: path.to_path_buf() }),
        (true, true) | (false, false) => Err(DataError::Corrupt {
            path: path.to_path_buf(),
            offset: size,
            problem: "the length is not a whole number of records of 3073 (CIFAR-10) or of 3074 bytes \
                      (CIFAR-100); copy the file again, or add `batches.meta.txt` or \
                      `fine_label_names.txt` to say which it is"
                .into(),
        }),
    }
}
