//! A folder with one sub-folder a class: PNG and JPEG images of any size, resized to one, or WAV files of one rate.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::decode::header;
use crate::front_end::FrontEnd;
use crate::idx::file_name;
use crate::input::{Dir, Entry};
use crate::sound::speaker;
use crate::source::{Files, Format, HOLDOUT_SEED, Kind, Options, Source, n_held_out};
use crate::split::divide;

/// One image or sound file and its class.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    pub(crate) path: PathBuf,
    pub(crate) label: u32,
}

/// Height and width, in pixels, that images get when nobody chooses.
const DEFAULT_SIZE: [usize; 2] = [32, 32];

/// Height or width, in pixels, that images may be resized to.
const MAX_SIZE: usize = 1024;

/// Long recordings beside the classes of Google's Speech Commands, to be mixed into clips. They are no class.
const NOISE: &str = "_background_noise_";

/// Where Google's Speech Commands name the files of their test part, `CLASS/NAME.wav` a line.
const TEST_LIST: &str = "testing_list.txt";

/// Finds `CLASS/*.png` or `CLASS/*.wav`, or `train/CLASS/*` with `test/` or `val/` beside it.
pub(crate) fn detect(dir: &Dir, options: &Options) -> Result<Option<Source>, DataError> {
    if dir.folders.is_empty() {
        let Some(file) = dir.files.iter().find(|file| is_image(&file.name) || is_sound(&file.name)) else {
            return Ok(None);
        };
        return Err(DataError::Unlabelled {
            path: file.path.clone(),
            expected: "put each file into a folder named after its class".into(),
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
            match listed_test(dir, all.examples)? {
                (train, test) if test.is_empty() => (all.classes, train, None),
                (train, test) => (all.classes, train, Some(test)),
            }
        }
    };
    let held_out = test.is_none();
    let (train, test) = match test {
        Some(test) => (train, test),
        None => hold_out(train),
    };
    let source = Source {
        name: file_name(&dir.path),
        path: dir.path.clone(),
        format: Format::Folder,
        kind: Kind::Photos,
        shape: [0; 3],
        front_end: None,
        classes,
        held_out,
        skipped,
        notes,
        files: Files::Folder { train: Vec::new(), test: Vec::new() },
    };
    if are_sound(&train, &test)? {
        return with_sound(source, train, test, options.front_end).map(Some);
    }
    let [height, width] = size(dir, options, DEFAULT_SIZE)?;
    let grey = all_grey(train.iter().map(|example| example.path.as_path()));
    let shape = [if grey { 1 } else { 3 }, height, width];
    Ok(Some(Source { shape, files: Files::Folder { train, test }, ..source }))
}

/// The set as one of sound.
fn with_sound(
    mut source: Source,
    train: Vec<Example>,
    test: Vec<Example>,
    front_end: FrontEnd,
) -> Result<Source, DataError> {
    front_end.check()?;
    let mut speakers: Vec<&str> = train.iter().chain(&test).filter_map(|example| speaker(&example.path)).collect();
    let n_named = speakers.len();
    speakers.sort_unstable();
    speakers.dedup();
    match (speakers.len(), n_named == train.len() + test.len()) {
        (0, _) => {}
        (1, true) => source.notes.push("all clips are of one speaker: scores say little about other voices".into()),
        (n, _) => source.notes.push(format!(
            "{n_named} clips name their {n} speakers, as 004ae714_nohash_0.wav does; no split divides the clips of a speaker"
        )),
    }
    let (kind, shape) = (Kind::Sounds, front_end.shape());
    Ok(Source { kind, shape, front_end: Some(front_end), files: Files::Sound { train, test, front_end }, ..source })
}

/// Whether these are sound files rather than images. Both at once are no data set.
fn are_sound(train: &[Example], test: &[Example]) -> Result<bool, DataError> {
    let first = |wanted: bool| train.iter().chain(test).find(|example| is_sound(&file_name(&example.path)) == wanted);
    match (first(false), first(true)) {
        (Some(image), Some(sound)) => Err(DataError::Mixed { image: image.path.clone(), sound: sound.path.clone() }),
        (_, sound) => Ok(sound.is_some()),
    }
}

/// The examples of which no list says that they are the test part's, and those of which one does.
fn listed_test(dir: &Dir, examples: Vec<Example>) -> Result<(Vec<Example>, Vec<Example>), DataError> {
    let Some(list) = dir.files.iter().find(|file| file.name == TEST_LIST) else {
        return Ok((examples, Vec::new()));
    };
    let text = fs::read_to_string(&list.path).map_err(DataError::io(&list.path))?;
    let listed: HashSet<PathBuf> = text.lines().map(|line| dir.path.join(line.trim())).collect();
    let is_test = |example: &Example| is_sound(&file_name(&example.path)) && listed.contains(&example.path);
    Ok(examples.into_iter().partition(|example| !is_test(example)))
}

struct Listing {
    classes: Vec<String>,
    examples: Vec<Example>,
}

/// The class folders and their images or sound, both sorted by name. `known` are the training part's
/// classes when this is the test part.
fn list(dir: &Dir, known: Option<&[String]>, skipped: &mut usize) -> Result<Listing, DataError> {
    let folders = || dir.folders.iter().filter(|folder| folder.name != NOISE);
    *skipped += dir.folders.len() - folders().count();
    let names: Vec<String> = folders().map(|folder| folder.name.clone()).collect();
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
    for folder in folders() {
        let label = classes
            .iter()
            .position(|class| *class == folder.name)
            .ok_or_else(|| DataError::UnknownClass { path: folder.path.clone(), class: folder.name.clone() })?;
        let content = Dir::list(&folder.path)?;
        let before = examples.len();
        let files = content.files.iter().filter(|file| is_image(&file.name) || is_sound(&file.name));
        examples.extend(files.map(|file| Example { path: file.path.clone(), label: label as u32 }));
        let n = examples.len() - before;
        if n == 0 {
            return Err(DataError::EmptyClass { path: folder.path.clone() });
        }
        *skipped += content.skipped + content.folders.len() + content.files.len() - n;
    }
    Ok(Listing { classes, examples })
}

/// The training part's folder, and the test part's when there is one.
pub(crate) fn parts(dir: &Dir) -> Result<Option<(Dir, Option<Dir>)>, DataError> {
    let folder = |name: &str| -> Option<&Entry> { dir.folders.iter().find(|folder| folder.name == name) };
    let Some(train) = folder("train") else {
        return Ok(None);
    };
    let train = Dir::list(&train.path)?;
    // A class may be called "train": then its folder holds files, not folders.
    if train.folders.is_empty() {
        return Ok(None);
    }
    let test = ["test", "val", "valid", "validation"].into_iter().find_map(folder);
    let test = test.map(|test| Dir::list(&test.path)).transpose()?;
    Ok(Some((train, test)))
}

/// Sets a fixed, stratified share of the files aside as the test part; all files of a speaker are in one part.
fn hold_out(all: Vec<Example>) -> (Vec<Example>, Vec<Example>) {
    let labels: Vec<u32> = all.iter().map(|example| example.label).collect();
    let groups: Vec<String> = all.iter().map(|example| speaker(&example.path).unwrap_or("").to_owned()).collect();
    let (train, test) = divide(&labels, &groups, n_held_out(labels.len()), HOLDOUT_SEED, "data/hold-out");
    let pick = |indices: Vec<usize>| indices.into_iter().map(|idx| all[idx].clone()).collect();
    (pick(train), pick(test))
}

/// Whether no training image has colour. The first one that has ends the question, so only
/// all-grey sets are scanned to the end. A damaged file is reported when its pixels are read.
pub(crate) fn all_grey<'a>(mut train: impl Iterator<Item = &'a Path>) -> bool {
    train.all(|path| header(path).map_or(true, |header| header.grey))
}

/// What was asked for, or `otherwise`, where images can have that size.
pub(crate) fn size(dir: &Dir, options: &Options, otherwise: [usize; 2]) -> Result<[usize; 2], DataError> {
    let [height, width] = options.image_size.unwrap_or(otherwise);
    if (1..=MAX_SIZE).contains(&height) && (1..=MAX_SIZE).contains(&width) {
        return Ok([height, width]);
    }
    let problem = format!("each side is 1 to {MAX_SIZE} pixels");
    Err(DataError::Size { path: dir.path.clone(), height, width, problem })
}

pub(crate) fn is_image(name: &str) -> bool {
    has_extension(name, &["png", "jpg", "jpeg"])
}

pub(crate) fn is_sound(name: &str) -> bool {
    has_extension(name, &["wav", "wave"])
}

fn has_extension(name: &str, known: &[&str]) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| known.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}
