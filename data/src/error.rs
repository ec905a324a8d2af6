//! Everything that can be wrong with data: what, in which file and record, and what to do.

use std::io;
use std::path::PathBuf;

/// What went wrong at the data station. Records and byte offsets count from 0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Neither a folder nor a name of the catalogue.
    #[error("`{name}` is neither a folder nor a known data set; known are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The catalogue's names, comma-separated.
        known: String,
    },
    /// A downloadable set that is not on this machine yet.
    #[error("`{name}` is not on this machine; fetch it with `pipeline data get {name}`")]
    NotHere {
        /// The catalogue's name.
        name: String,
    },
    /// A set that ships with the tool was to be downloaded.
    #[error("`{name}` cannot be downloaded: it is built in, use it as `--data {name}`")]
    NotDownloadable {
        /// The catalogue's name.
        name: String,
    },
    /// The folder holds nothing that is understood.
    #[error("{path}: no data set recognised; {problem}")]
    Unrecognised {
        /// The folder or file.
        path: PathBuf,
        /// What was found and what is expected.
        problem: String,
    },
    /// A file in a packing that is not read.
    #[error("{path}: .xz files are not read; unpack it with `xz -dk {path}`")]
    Packed {
        /// The packed file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file ends inside a record.
    #[error(
        "{path}: cut off in record {record} at byte {offset}: {missing} bytes are missing; copy or \
         download the file again"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The record that is incomplete.
        record: u64,
        /// Where the (unpacked) file ends.
        offset: u64,
        /// How many bytes the record, or the rest of the file, still needs.
        missing: u64,
    },
    /// The file's bytes contradict its format.
    #[error("{path}: corrupt at byte {offset}: {problem}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where, in the unpacked file.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// A label that names no class.
    #[error(
        "{path}: record {record} at byte {offset} has label {label}, but there are only {classes} \
         classes (labels 0 to {last})", last = classes.saturating_sub(1)
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// The record.
        record: u64,
        /// Where the label stands.
        offset: u64,
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// Images or sounds without labels.
    #[error("{path}: these files have no labels; {expected}")]
    Unlabelled {
        /// The file or folder.
        path: PathBuf,
        /// What would label them.
        expected: String,
    },
    /// Images and labels differ in number.
    #[error("{images} holds {n_images} images, but {labels} holds {n_labels} labels")]
    Count {
        /// The image file.
        images: PathBuf,
        /// Its count.
        n_images: u64,
        /// The label file.
        labels: PathBuf,
        /// Its count.
        n_labels: u64,
    },
    /// Nothing in it.
    #[error("{path}: holds no images")]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
    /// A class without an example.
    #[error("{path}: class folder without a PNG, JPEG or WAV file directly in it; add some or remove it")]
    EmptyClass {
        /// The class folder.
        path: PathBuf,
    },
    /// Nothing to tell apart.
    #[error("{path}: {found} class(es), but a classifier needs at least 2{hint}")]
    FewClasses {
        /// The data set.
        path: PathBuf,
        /// How many classes there are.
        found: usize,
        /// A guess at what was meant, or nothing.
        hint: String,
    },
    /// The test part names a class that was never trained.
    #[error("{path}: class `{class}` of the test part does not exist in the training part")]
    UnknownClass {
        /// The test part's class folder.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// The two parts disagree about the size of an image.
    #[error("{path}: images of {found:?} (channels, height, width), expected {expected:?}")]
    Shape {
        /// The file that differs.
        path: PathBuf,
        /// Its shape.
        found: [usize; 3],
        /// The training part's shape.
        expected: [usize; 3],
    },
    /// An image file that cannot be decoded.
    #[error("{path}: not a readable image: {source}")]
    Image {
        /// The image file.
        path: PathBuf,
        /// The decoder's answer.
        source: image::ImageError,
    },
    /// A scene without its mask, or a mask that is not one of its image.
    #[error("{path}: {problem}")]
    Mask {
        /// The image without a mask, or the mask.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A sound file that cannot be decoded.
    #[error("{path}: not a readable WAV file: {source}")]
    Sound {
        /// The sound file.
        path: PathBuf,
        /// The decoder's answer.
        source: hound::Error,
    },
    /// A sound file without a sample.
    #[error("{path}: holds no sound; record it again or remove it")]
    NoSound {
        /// The sound file.
        path: PathBuf,
    },
    /// A recording of another sample rate.
    #[error(
        "{path}: sampled at {found} Hz, expected {expected} Hz; convert it with `sox IN.wav -r {expected} OUT.wav`, or \
         choose a front end for {found} Hz if all files are like this"
    )]
    SampleRate {
        /// The sound file.
        path: PathBuf,
        /// Its rate, in Hz.
        found: u32,
        /// The front end's rate, in Hz.
        expected: u32,
    },
    /// Settings that give no features.
    #[error("front end: {problem}")]
    FrontEnd {
        /// Which, and what to choose.
        problem: String,
    },
    /// Settings that text cannot be read by.
    #[error("text: {problem}")]
    Text {
        /// What, and what to choose.
        problem: String,
    },
    /// A folder of images and sound.
    #[error("{image} is an image, but {sound} is sound: a data set is one or the other; put them into two folders")]
    Mixed {
        /// An image file.
        image: PathBuf,
        /// A sound file.
        sound: PathBuf,
    },
    /// A size that no image can be given.
    #[error("{path}: image size {height}x{width}: {problem}")]
    Size {
        /// The data set.
        path: PathBuf,
        /// Asked height, in pixels.
        height: usize,
        /// Asked width, in pixels.
        width: usize,
        /// Why not.
        problem: String,
    },
    /// A split that leaves one side empty.
    #[error("cannot take {asked} of {n} {what} for validation: {problem}")]
    Split {
        /// The amount, in words.
        asked: String,
        /// How many there are.
        n: usize,
        /// What they are called.
        what: &'static str,
        /// Why not.
        problem: String,
    },
    /// A pass that cannot be made.
    #[error("cannot make batches of {batch_size} from {n} {what}: {problem}")]
    Pass {
        /// Images or clips a batch.
        batch_size: usize,
        /// How many there are.
        n: usize,
        /// What they are called.
        what: &'static str,
        /// Why not.
        problem: String,
    },
    /// The server answered, but not with the file.
    #[error("{url}: the server answered {status}; try again later or fetch the file by hand")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The network failed; what arrived is kept.
    #[error("{url}: {problem}; {kept} bytes are kept, run the same command again to resume")]
    Network {
        /// The address.
        url: String,
        /// What failed.
        problem: String,
        /// Bytes on disk that the next attempt starts from.
        kept: u64,
    },
    /// The file is not the one that is known.
    #[error(
        "{url}: sha256 is {found}, expected {expected}; the file was deleted: the server does not \
         hold the known data"
    )]
    Mismatch {
        /// The address.
        url: String,
        /// The published hash.
        expected: String,
        /// The hash, or size, of what arrived.
        found: String,
    },
    /// An archive that is not unpacked.
    #[error("{path}: refused to unpack entry `{entry}`: {problem}")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The entry, or its number.
        entry: String,
        /// Why.
        problem: String,
    },
}

impl DataError {
    /// Wraps the system's answer about one file; for `map_err`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
