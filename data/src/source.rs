//! A data set that has been found but not read: its format, shape and classes.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalogue::{CATALOGUE, Origin, listed};
use crate::cifar::{self, Layout};
use crate::folder::{self, Example};
use crate::front_end::FrontEnd;
use crate::idx::{self, Pair};
use crate::input::{Dir, Input};
use crate::part::{Part, Raw, Role};
use crate::scenes::{self, Scene};
use crate::split::{Amount, stratified};
use crate::text::{self, TextOptions, Texts};
use crate::{DataError, Task, builtin, decode, sound};

/// A data set on disk or in the program. Opening it reads names and headers; pixels are read by
/// [`train`](Self::train) and [`test`](Self::test), each on its own.
#[derive(Debug, Clone)]
pub struct Source {
    /// The catalogue's name, or the folder's.
    pub name: String,
    /// The folder, or `built-in/NAME`.
    pub path: PathBuf,
    /// How it is stored.
    pub format: Format,
    /// What it shows, as far as augmentation must know.
    pub kind: Kind,
    /// What a network sees: channels, height and width of every image, or 1, frames and coefficients of every clip; 1, 1
    /// and the words of a segment of text.
    pub shape: [usize; 3],
    /// How sound becomes that; nothing for images.
    pub front_end: Option<FrontEnd>,
    /// The name of each class, in label order.
    pub classes: Vec<String>,
    /// Whether the set has no test part of its own, so that a fixed, stratified 20 % of it
    /// is set aside as one. The choice does not depend on a run's seed: the test set stays the
    /// same, and no run trains on what another was scored on.
    pub held_out: bool,
    /// Hidden entries and files that are neither images nor sound, in a folder of classes.
    pub skipped: usize,
    /// What a user should know about how the set was read.
    pub notes: Vec<String>,
    pub(crate) files: Files,
}

/// How a data set is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// CIFAR-10's binary records.
    Cifar10,
    /// CIFAR-100's binary records.
    Cifar100,
    /// IDX files, as MNIST.
    Idx,
    /// One sub-folder of images, or of WAV files, a class.
    Folder,
    /// Images, and masks of the same names whose values are the classes of their pixels.
    Masks,
    /// Running text.
    Text,
    /// Inside the program.
    BuiltIn,
}

/// What images show, or that there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Photos of things: a mirror image shows the same class.
    Photos,
    /// Single, centred pieces of clothing.
    Clothes,
    /// Digits or letters: a mirror image is another sign, or none.
    Digits,
    /// Sound, such as spoken words.
    Sounds,
    /// Photos of places, each pixel of which is of a class: a mirror image is as good a place, and so is a part of one.
    Scenes,
    /// Running text.
    Text,
}

impl Kind {
    /// What is asked about such images or clips.
    pub fn task(self) -> Task {
        match self {
            Self::Photos | Self::Clothes | Self::Digits | Self::Sounds => Task::Classification,
            Self::Scenes => Task::Segmentation,
            Self::Text => Task::Language,
        }
    }
}

/// How to open a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// What is asked of the records; absent: what their folder looks like. Named, nothing else is looked for.
    pub task: Option<Task>,
    /// Height and width, in pixels, that images in class folders get, 32x32 when absent, and images with masks, the
    /// first one's when absent. The other formats have one size, and asking for another is an error.
    pub image_size: Option<[usize; 2]>,
    /// How WAV files become what a network sees; images do not read it.
    pub front_end: FrontEnd,
    /// How text becomes what a network sees; nothing else reads it.
    pub text: TextOptions,
    /// Where downloaded sets lie, each in a folder of its name.
    pub downloads: Option<PathBuf>,
}

/// The files of each part, by format.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    Cifar {
        layout: Layout,
        train: Vec<Input>,
        test: Vec<Input>,
    },
    Idx {
        train: Pair,
        test: Option<Pair>,
    },
    Folder {
        train: Vec<Example>,
        test: Vec<Example>,
    },
    Sound {
        train: Vec<Example>,
        test: Vec<Example>,
        front_end: FrontEnd,
    },
    /// `has_unknown`: whether the value after the last class marks what is of none.
    Scenes {
        train: Vec<Scene>,
        test: Vec<Scene>,
        has_unknown: bool,
    },
    Text(Texts),
}

/// How many of `n` images or clips become the test part of a set that has none: a fifth, at least one.
pub(crate) fn n_held_out(n: usize) -> usize {
    Amount::Fraction(0.2).of(n).max(1)
}

/// Fixed, so that the test part is the same for every run.
pub(crate) const HOLDOUT_SEED: u64 = 0;

impl Source {
    /// Finds a data set by the catalogue's name or by folder. A name of the catalogue wins over a
    /// folder of the same name; write `./NAME` for the folder.
    pub fn open(name_or_path: &str, options: &Options) -> Result<Self, DataError> {
        let source = match listed(name_or_path) {
            Some(listed) => match listed.origin {
                Origin::FashionTiny => builtin::fashion_tiny()?,
                Origin::Optdigits => builtin::optdigits()?,
                Origin::Download(_) => {
                    let folder = options.downloads.as_ref().map(|into| into.join(listed.name));
                    match folder.filter(|folder| folder.is_dir()) {
                        Some(folder) => Self::open_dir(&folder, options)?,
                        None => return Err(DataError::NotHere { name: listed.name.into() }),
                    }
                }
            },
            None if Path::new(name_or_path).exists() => Self::open_dir(Path::new(name_or_path), options)?,
            None => {
                let names: Vec<&str> = CATALOGUE.iter().map(|listed| listed.name).collect();
                return Err(DataError::Unknown { name: name_or_path.into(), known: names.join(", ") });
            }
        };
        source.checked(options)
    }

    /// Whether this is a folder of running text, by the names of its files: quicker than opening it.
    pub fn looks_like_text(name_or_path: &str) -> bool {
        let Ok(dir) = Dir::list(Path::new(name_or_path)) else { return false };
        let is_other = |found: Result<Option<Self>, DataError>| !matches!(found, Ok(None));
        let is_listed = listed(name_or_path).is_some();
        !is_listed && !is_other(cifar::detect(&dir)) && !is_other(idx::detect(&dir)) && text::is_here(&dir)
    }

    /// Reads the part for searching, training and validating.
    pub fn train(&self) -> Result<Part, DataError> {
        self.part(Role::Train)
    }

    /// Reads the part for the final score. Only final training and verification call this.
    pub fn test(&self) -> Result<Part, DataError> {
        self.part(Role::Test)
    }

    /// Whether this is the text whose perplexities papers print, by the number of its words and of its vocabulary.
    pub fn is_penn_treebank(&self) -> bool {
        matches!(&self.files, Files::Text(texts) if texts.is_penn_treebank())
    }

    fn open_dir(path: &Path, options: &Options) -> Result<Self, DataError> {
        if !path.is_dir() {
            let problem = "a data set is a folder: give the folder that holds this file".into();
            return Err(DataError::Unrecognised { path: path.to_path_buf(), problem });
        }
        let dir = Dir::list(path)?;
        type Detect = fn(&Dir, &Options) -> Result<Option<Source>, DataError>;
        let formats: [(Task, Detect); 5] = [
            (Task::Classification, |dir, _| cifar::detect(dir)),
            (Task::Classification, |dir, _| idx::detect(dir)),
            (Task::Language, text::detect),
            (Task::Segmentation, scenes::detect),
            (Task::Classification, folder::detect),
        ];
        for (_, detect) in formats.into_iter().filter(|(task, _)| options.task.is_none_or(|asked| asked == *task)) {
            if let Some(source) = detect(&dir, options)? {
                return Ok(source);
            }
        }
        if dir.files.is_empty() && dir.folders.is_empty() {
            return Err(DataError::Empty { path: dir.path });
        }
        let expected = match options.task {
            None => {
                "no `data_batch*.bin` or `train*.bin` (CIFAR), no `*images-idx3-ubyte` (IDX), no `train.txt` (text), and \
                 there are no class folders"
            }
            Some(Task::Classification) => {
                "no `data_batch*.bin` or `train*.bin` (CIFAR), no `*images-idx3-ubyte` (IDX), and there are no class \
                 folders: the classes of images or clips were asked for"
            }
            Some(Task::Segmentation) => {
                "no `classes.txt` beside train/images and train/masks: the classes of pixels were asked for"
            }
            Some(Task::Language) => "no `train.txt` or `ptb.train.txt`: the words of a text were asked for",
        };
        let problem = format!("among its {} file(s) there is {expected}", dir.files.len());
        Err(DataError::Unrecognised { path: dir.path, problem })
    }

    /// What holds for every format: two classes, and the task and size that were asked for.
    fn checked(self, options: &Options) -> Result<Self, DataError> {
        if let Some(asked) = options.task.filter(|it| *it != self.kind.task()) {
            let problem = format!("it is for {}, and {asked} was asked for", self.kind.task());
            return Err(DataError::Unrecognised { path: self.path, problem });
        }
        if self.classes.len() < 2 {
            let (found, hint) = (self.classes.len(), String::new());
            return Err(DataError::FewClasses { path: self.path, found, hint });
        }
        let [_, height, width] = self.shape;
        match options.image_size {
            Some(asked) if asked != [height, width] => Err(DataError::Size {
                path: self.path,
                height: asked[0],
                width: asked[1],
                problem: match self.kind {
                    Kind::Sounds => "sound has no size in pixels; leave it out".into(),
                    Kind::Text => "text has no size in pixels; leave it out".into(),
                    Kind::Photos | Kind::Clothes | Kind::Digits | Kind::Scenes => {
                        format!("its images are {height}x{width}; only class folders are resized")
                    }
                },
            }),
            Some(_) | None => Ok(self),
        }
    }

    fn part(&self, role: Role) -> Result<Part, DataError> {
        let n_classes = self.classes.len();
        let Raw { shape, pixels, sound, text, labels, groups } = match (&self.files, role) {
            (Files::Cifar { layout, train, .. }, Role::Train) => cifar::read(train, *layout, n_classes)?,
            (Files::Cifar { layout, train, test }, Role::Test) => {
                cifar::read(if self.held_out { train } else { test }, *layout, n_classes)?
            }
            (Files::Idx { train, .. }, Role::Train) => self.idx_part(train)?,
            (Files::Idx { train, test }, Role::Test) => self.idx_part(test.as_ref().unwrap_or(train))?,
            (Files::Folder { train, .. }, Role::Train) => decode::read(train, self.shape)?,
            (Files::Folder { test, .. }, Role::Test) => decode::read(test, self.shape)?,
            (Files::Sound { train, front_end, .. }, Role::Train) => sound::read(train, *front_end)?,
            (Files::Sound { test, front_end, .. }, Role::Test) => sound::read(test, *front_end)?,
            (Files::Scenes { train, has_unknown, .. }, Role::Train) => {
                scenes::read(train, self.shape, self.classes.len(), *has_unknown)?
            }
            (Files::Scenes { test, has_unknown, .. }, Role::Test) => {
                scenes::read(test, self.shape, self.classes.len(), *has_unknown)?
            }
            (Files::Text(texts), Role::Train) => texts.read_train()?,
            (Files::Text(texts), Role::Test) => texts.read_test()?,
        };
        let (name, classes) = (self.name.clone(), self.classes.clone());
        let task = self.kind.task();
        let part = Part { name, role, task, shape, pixels, sound, text, labels, classes, groups };
        let part = match self.files {
            Files::Cifar { .. } | Files::Idx { .. } if self.held_out => self.hold_out(&part, role),
            // The files of a folder were divided when it was listed.
            Files::Cifar { .. }
            | Files::Idx { .. }
            | Files::Folder { .. }
            | Files::Sound { .. }
            | Files::Scenes { .. }
            | Files::Text(_) => part,
        };
        if part.is_empty() {
            return Err(DataError::Empty { path: self.path.clone() });
        }
        Ok(part)
    }

    /// One part of IDX files, of the shape that the training part's header announced.
    fn idx_part(&self, pair: &Pair) -> Result<Raw, DataError> {
        let raw = idx::read(pair, self.classes.len())?;
        if raw.shape != self.shape {
            let (path, expected) = (pair.images.path().to_path_buf(), self.shape);
            return Err(DataError::Shape { path, found: raw.shape, expected });
        }
        Ok(raw)
    }

    fn hold_out(&self, all: &Part, role: Role) -> Part {
        let (train, test) = stratified(&all.labels, n_held_out(all.len()), HOLDOUT_SEED, "data/hold-out");
        all.select(match role {
            Role::Train => &train,
            Role::Test => &test,
        })
    }
}

/// Class names for a set that gives none: "0", "1", ...
pub(crate) fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|class| class.to_string()).collect()
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cifar10 => "CIFAR-10 binary",
            Self::Cifar100 => "CIFAR-100 binary",
            Self::Idx => "IDX",
            Self::Folder => "folder of classes",
            Self::Masks => "images with masks",
            Self::Text => "text",
            Self::BuiltIn => "built in",
        })
    }
}
