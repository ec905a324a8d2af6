//! A folder with one sub-folder a class: PNG and JPEG images of any size, resized to one.

use std::path::{Path, PathBuf};

use crate::DataError;
use crate::decode::header;
use crate::idx::file_name;
use crate::input::{Dir, Entry};
use crate::source::{Files, Format, HOLDOUT_SEED, Kind, Options, Source, n_held_out};
use crate::split::stratified;

/// One image file and its class.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    pub(crate) path: PathBuf,
    pub(crate) label: u32,
}

/// Height and width, in pixels, that images get when nobody chooses.
const DEFAULT_SIZE: [usize; 2] = [32, 32];

/// Height or width, in pixels, that images may be resized to.
const MAX_SIZE: usize = 1024;

/// Finds `CLASS/*.png`, or `train/CLASS/*.png` with `test/` or `val/` beside it.
pub(crate) fn detect(dir: &Dir, options: &Options) -> Result<Option<Source>, DataError> {
    if dir.folders.is_empty() {
        let Some(image) = dir.files.iter().find(|file| is_image(&file.name)) else {
            return Ok(None);
        };
        return Err(DataError::Unlabelled {
            path: image.path.clone(),
            expected: "put each image into a folder named after its class".into(),
        });
    }
    let mut skipped = dir.skipped + dir.files.len();
    let mut notes = Vec::new();
    let (classes, train, test) = match parts(dir)? {
        Some((train, test)) => {
            let beside = dir.folders.len() - 1 - usize::from(test.is_some());
            if beside > 0 {
                notes.push(format!("{beside} folder(s) beside the training and test parts are not used"));
            }
            let train = list(&train, None, &mut skipped)?;
            let test = match test {
                Some(test) => Some(list(&test, Some(&train.classes), &mut skipped)?.examples),
                None => None,
            };
            (train.classes, train.examples, test)
        }
        None => {
            let all = list(dir, None, &mut skipped)?;
            (all.classes, all.examples, None)
        }
    };
    let held_out = test.is_none();
    let (train, test) = match test {
        Some(test) => (train, test),
        None => hold_out(train),
    };
    let [height, width] = size(dir, options)?;
    Ok(Some(Source {
        name: file_name(&dir.path),
        path: dir.path.clone(),
        format: Format::Folder,
        kind: Kind::Photos,
        shape: [if all_grey(&train) { 1 } else { 3 }, height, width],
        classes,
        held_out,
        skipped,
        notes,
        files: Files::Folder { train, test },
    }))
}

struct Listing {
    classes: Vec<String>,
    examples: Vec<Example>,
}

/// The class folders and their images, both sorted by name. `known` are the training part's
/// classes when this is the test part.
fn list(dir: &Dir, known: Option<&[String]>, skipped: &mut usize) -> Result<Listing, DataError> {
    let names: Vec<String> = dir.folders.iter().map(|folder| folder.name.clone()).collect();
    let classes = known.map_or(names, <[String]>::to_vec);
    if classes.len() < 2 {
        return Err(DataError::FewClasses {
            path: dir.path.clone(),
            found: classes.len(),
            hint: classes
                .first()
                .map_or_else(String::new, |only| format!("; did you mean {}?", dir.path.join(only).display())),
        });
    }
    let mut examples = Vec::new();
    for folder in &dir.folders {
        let label = classes
            .iter()
            .position(|class| *class == folder.name)
            .ok_or_else(|| DataError::UnknownClass { path: folder.path.clone(), class: folder.name.clone() })?;
        let content = Dir::list(&folder.path)?;
        let before = examples.len();
        let images = content.files.iter().filter(|file| is_image(&file.name));
        examples.extend(images.map(|file| Example { path: file.path.clone(), label: label as u32 }));
        let n = examples.len() - before;
        if n == 0 {
            return Err(DataError::EmptyClass { path: folder.path.clone() });
        }
        *skipped += content.skipped + content.folders.len() + content.files.len() - n;
    }
    Ok(Listing { classes, examples })
}

/// The training part's folder, and the test part's when there is one.
fn parts(dir: &Dir) -> Result<Option<(Dir, Option<Dir>)>, DataError> {
    let folder = |name: &str| -> Option<&Entry> { dir.folders.iter().find(|folder| folder.name == name) };
    let Some(train) = folder("train") else {
        return Ok(None);
    };
    let train = Dir::list(&train.path)?;
    // A class may be called "train": then its folder holds images, not folders.
    if train.folders.is_empty() {
        return Ok(None);
    }
    let test = ["test", "val", "valid", "validation"].into_iter().find_map(folder);
    let test = test.map(|test| Dir::list(&test.path)).transpose()?;
    Ok(Some((train, test)))
}

/// Sets a fixed, stratified share of the files aside as the test part.
fn hold_out(all: Vec<Example>) -> (Vec<Example>, Vec<Example>) {
    let labels: Vec<u32> = all.iter().map(|example| example.label).collect();
    let (train, test) = stratified(&labels, n_held_out(labels.len()), HOLDOUT_SEED, "data/hold-out");
    let pick = |indices: Vec<usize>| indices.into_iter().map(|idx| all[idx].clone()).collect();
    (pick(train), pick(test))
}

/// Whether no training image has colour. The first one that has ends the question, so only
/// all-grey sets are scanned to the end. A damaged file is reported when its pixels are read.
fn all_grey(train: &[Example]) -> bool {
    train.iter().filter_map(|example| header(&example.path).ok()).all(|header| header.grey)
}

fn size(dir: &Dir, options: &Options) -> Result<[usize; 2], DataError> {
    let [height, width] = options.image_size.unwrap_or(DEFAULT_SIZE);
    if (1..=MAX_SIZE).contains(&height) && (1..=MAX_SIZE).contains(&width) {
        return Ok([height, width]);
    }
    let problem = format!("each side is 1 to {MAX_SIZE} pixels");
    Err(DataError::Size { path: dir.path.clone(), height, width, problem })
}

fn is_image(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}
