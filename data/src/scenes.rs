//! A folder of scenes: images, and beside them masks of the same names whose grey values are the classes of their pixels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use image::DynamicImage;

use crate::decode::{self, header};
use crate::folder::{all_grey, is_image, parts, size};
use crate::idx::file_name;
use crate::input::{Dir, Entry};
use crate::part::Raw;
use crate::source::{Files, Format, HOLDOUT_SEED, Kind, Options, Source, n_held_out};
use crate::split::stratified;
use crate::{DataError, IGNORED, parallel};

/// An image and the classes of its pixels.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) image: PathBuf,
    pub(crate) mask: PathBuf,
}

/// Folders of a part.
const IMAGES: &str = "images";
const MASKS: &str = "masks";

/// Where the names of the classes stand, one a line, in the order of their values.
const CLASSES: &str = "classes.txt";

/// Names of what is no class: pixels that nobody has told the class of.
const UNKNOWN: [&str; 4] = ["unlabelled", "unlabeled", "void", "ignore"];

/// Finds `train/images/*` with `train/masks/*.png`, and as much in `test/` or `val/`.
pub(crate) fn detect(dir: &Dir, options: &Options) -> Result<Option<Source>, DataError> {
    let Some((train, test)) = parts(dir)? else { return Ok(None) };
    if !train.folders.iter().any(|folder| folder.name == MASKS) {
        return Ok(None);
    }
    let classes = classes(dir)?;
    let mut skipped = dir.skipped + dir.files.len() - 1;
    let all = list(&train, &mut skipped)?;
    let held_out = test.is_none();
    let (train, test) = match test {
        Some(test) => (all, list(&test, &mut skipped)?),
        None => {
            let (train, test) = stratified(&vec![0; all.len()], n_held_out(all.len()), HOLDOUT_SEED, "data/hold-out");
            let pick = |indices: Vec<usize>| indices.into_iter().map(|idx| all[idx].clone()).collect();
            (pick(train), pick(test))
        }
    };
    let Some(first) = train.first() else { return Err(DataError::Empty { path: dir.path.clone() }) };
    // Scenes lose too much at the size of a thumbnail: without a wish they keep the first one's.
    let own = header(&first.image)?;
    let [height, width] = size(dir, options, [own.height as usize, own.width as usize])?;
    let n_channels = if all_grey(train.iter().map(|scene| scene.image.as_path())) { 1 } else { 3 };
    let has_unknown = classes.unknown.is_some();
    Ok(Some(Source {
        name: file_name(&dir.path),
        path: dir.path.clone(),
        format: Format::Masks,
        kind: Kind::Scenes,
        shape: [n_channels, height, width],
        front_end: None,
        classes: classes.names,
        held_out,
        skipped,
        notes: classes.unknown.into_iter().map(|name| format!("pixels of `{name}` are of no class")).collect(),
        files: Files::Scenes { train, test, has_unknown },
    }))
}

/// A file's name without its extension.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// The names of the classes, and the name of what is none.
struct Classes {
    names: Vec<String>,
    unknown: Option<String>,
}

fn classes(dir: &Dir) -> Result<Classes, DataError> {
    let Some(mut names) = dir.class_names(CLASSES)? else {
        let problem =
            format!("masks need `{CLASSES}` beside `train`: the name of each class a line, that of value 0 first");
        return Err(DataError::Unrecognised { path: dir.path.clone(), problem });
    };
    let unknown = names.pop_if(|last| UNKNOWN.iter().any(|name| last.eq_ignore_ascii_case(name)));
    if let Some(early) = names.iter().find(|name| UNKNOWN.iter().any(|it| name.eq_ignore_ascii_case(it))) {
        let problem = format!("`{early}` is no class: its value is the last, so its line is");
        return Err(DataError::Unrecognised { path: dir.path.join(CLASSES), problem });
    }
    Ok(Classes { names, unknown })
}

/// The images of a part with their masks, sorted by name.
fn list(part: &Dir, skipped: &mut usize) -> Result<Vec<Scene>, DataError> {
    let folder = |name: &str| -> Result<Dir, DataError> {
        match part.folders.iter().find(|folder| folder.name == name) {
            Some(folder) => Dir::list(&folder.path),
            None => {
                let problem = format!("a part of scenes holds `{IMAGES}` and `{MASKS}`; there is no `{name}`");
                Err(DataError::Unrecognised { path: part.path.clone(), problem })
            }
        }
    };
    let (images, masks) = (folder(IMAGES)?, folder(MASKS)?);
    let is_mask = |file: &&Entry| file.name.to_ascii_lowercase().ends_with(".png");
    let by_name: HashMap<&str, &Path> =
        masks.files.iter().filter(is_mask).map(|file| (stem(&file.name), file.path.as_path())).collect();
    let mut scenes = Vec::new();
    for file in images.files.iter().filter(|file| is_image(&file.name)) {
        let Some(mask) = by_name.get(stem(&file.name)) else {
            let mask = masks.path.join(format!("{}.png", stem(&file.name)));
            let problem = format!("has no mask {}; draw it or remove the image", mask.display());
            return Err(DataError::Mask { path: file.path.clone(), problem });
        };
        scenes.push(Scene { image: file.path.clone(), mask: mask.to_path_buf() });
    }
    if scenes.is_empty() {
        return Err(DataError::Empty { path: images.path });
    }
    for dir in [part, &images, &masks] {
        *skipped += dir.skipped;
    }
    *skipped += images.files.len() + masks.files.len() - 2 * scenes.len() + part.folders.len() - 2 + part.files.len();
    Ok(scenes)
}

/// Decodes and resizes images and masks, in order, on all cores.
///
/// # Shapes
/// - returns: pixels `[n, channels, height, width]`, labels `[n, height, width]`
pub(crate) fn read(scenes: &[Scene], shape: [usize; 3], n_classes: usize, has_unknown: bool) -> Result<Raw, DataError> {
    let [_, height, width] = shape;
    let len: usize = shape.iter().product();
    let mut pixels = vec![0; scenes.len() * len];
    parallel::fill(scenes, &mut pixels, len, || (), |(), scene, into| decode::image(&scene.image, shape, into))?;
    let mut labels = vec![0; scenes.len() * height * width];
    let mask =
        |(): &mut (), scene: &Scene, into: &mut [u32]| mask(scene, [height, width], n_classes, has_unknown, into);
    parallel::fill(scenes, &mut labels, height * width, || (), mask)?;
    Ok(Raw::images(shape, pixels, labels))
}

/// What is wrong with each scene that cannot be read.
pub(crate) fn unreadable<'a>(
    scenes: impl Iterator<Item = &'a Scene>,
    shape: [usize; 3],
    n_classes: usize,
    has_unknown: bool,
) -> Vec<String> {
    let one = |scene: &Scene| read(std::slice::from_ref(scene), shape, n_classes, has_unknown).err();
    scenes.filter_map(one).map(|error| error.to_string()).collect()
}

/// Decodes one mask: of each place the class of the pixel nearest to its middle.
fn mask(
    scene: &Scene,
    [height, width]: [usize; 2],
    n_classes: usize,
    has_unknown: bool,
    into: &mut [u32],
) -> Result<(), DataError> {
    let wrong = |problem: String| DataError::Mask { path: scene.mask.clone(), problem };
    let mask = match decode::pixels(&scene.mask)? {
        DynamicImage::ImageLuma8(mask) => mask,
        other => {
            let problem = format!("a mask is 8-bit grey, each value a class; this is {:?}", other.color());
            return Err(wrong(problem));
        }
    };
    let image = header(&scene.image)?;
    if [mask.height(), mask.width()] != [image.height, image.width] {
        let (found, wanted) = (format!("{}x{}", mask.height(), mask.width()), (image.height, image.width));
        return Err(wrong(format!("{found} pixels, but its image has {}x{}", wanted.0, wanted.1)));
    }
    let n_values = n_classes + usize::from(has_unknown);
    if let Some((x, y, value)) = mask.enumerate_pixels().find(|(_, _, it)| usize::from(it.0[0]) >= n_values) {
        let (value, last) = (value.0[0], n_values - 1);
        return Err(wrong(format!("value {value} at row {y}, column {x} is no class: {CLASSES} names 0 to {last}")));
    }
    // Half a step in, as the middles of pixels are.
    let nearest = |to: usize, n: usize, from: u32| ((2 * to as u64 + 1) * u64::from(from) / (2 * n as u64)) as u32;
    for (place, label) in into.iter_mut().enumerate() {
        let (row, column) =
            (nearest(place / width, height, mask.height()), nearest(place % width, width, mask.width()));
        let value = u32::from(mask.get_pixel(column, row).0[0]);
        *label = if (value as usize) < n_classes { value } else { IGNORED };
    }
    Ok(())
}
