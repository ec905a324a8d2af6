//! Looks a data set through before anybody trains on it.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::decode;
use crate::folder::Example;
use crate::front_end::FrontEnd;
use crate::normalise::Normalisation;
use crate::part::Part;
use crate::scenes;
use crate::sound::{self, Sound, hash_samples};
use crate::source::{Files, Format, Kind, Options, Source};
use crate::text::Text;
use crate::{DataError, IGNORED, Task};

/// What `pipeline data check` found. It opens the test part too: a check trains nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was asked for.
    pub path: PathBuf,
    /// How it is stored; absent when nothing was recognised.
    pub format: Option<Format>,
    /// What the images are taken to show, or that it is sound.
    pub kind: Option<Kind>,
    /// Channels, height and width that the network will see; 1, frames and coefficients of sound.
    pub shape: Option<[usize; 3]>,
    /// How sound becomes that.
    #[serde(default)]
    pub front_end: Option<FrontEnd>,
    /// The shortest and the longest recording, in seconds.
    #[serde(default)]
    pub durations: Option<[f64; 2]>,
    /// The smallest and largest image files, each height and width in pixels, in folders of image files.
    pub original_sizes: Option<[[u32; 2]; 2]>,
    /// The classes, in label order.
    pub classes: Vec<String>,
    /// Whether the test part is a fixed share set aside from the only part.
    pub held_out: bool,
    /// The part for training; absent when it cannot be read.
    pub train: Option<PartReport>,
    /// The part for the final score; absent when it cannot be read.
    pub test: Option<PartReport>,
    /// What is wrong or odd, worst first.
    pub problems: Vec<Problem>,
}

/// One part, counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartReport {
    /// Images or clips.
    pub n: usize,
    /// Images or clips of each class; of scenes, pixels.
    pub counts: Vec<usize>,
    /// The values of each channel of images.
    pub channels: Vec<ChannelReport>,
    /// What sound is like.
    #[serde(default)]
    pub sound: Option<SoundReport>,
    /// What text is like.
    #[serde(default)]
    pub text: Option<TextReport>,
    /// The part's hash, see [`Part::sha256`].
    pub sha256: String,
}

/// The values of one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelReport {
    /// The smallest byte.
    pub min: u8,
    /// The largest byte.
    pub max: u8,
    /// The mean, with 255 as 1.
    pub mean: f32,
    /// The standard deviation, with 255 as 1.
    pub std: f32,
}

/// The clips of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SoundReport {
    /// The quietest, the median and the loudest clip: the root mean square of its samples, zeros at its end included, in
    /// dB of full scale, which is 32,768. Nothing counts as quieter than a single step, -90.3.
    pub loudness: [f32; 3],
    /// Clips with three and more samples in a row at the end of the range: they were recorded too loud.
    pub clipped: usize,
    /// Clips with no sample above -60 dB.
    pub silent: usize,
}

/// The words of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextReport {
    /// Words, ends of lines or paragraphs counted; of the training part without what validates.
    pub words: usize,
    /// Share of them, in `[0, 1]`, that is not of the vocabulary.
    pub unknown: f64,
    /// Words of the validation text that came with the set.
    pub validation: Option<usize>,
}

/// Something a user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What, where, and what to do.
    pub message: String,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The set cannot be used.
    Error,
    /// Results may mean less than they seem to.
    Warning,
    /// Good to know.
    Note,
}

/// Unreadable files that are named one by one; more are counted.
const MAX_NAMED: usize = 20;

/// A class this many times larger than another makes accuracy a poor measure.
const IMBALANCE: usize = 10;

/// Reads all of a data set and reports on it; what cannot be read is a problem in the report.
pub fn check(name_or_path: &str, options: &Options) -> Report {
    let mut report = Report {
        path: PathBuf::from(name_or_path),
        format: None,
        kind: None,
        shape: None,
        front_end: None,
        durations: None,
        original_sizes: None,
        classes: Vec::new(),
        held_out: false,
        train: None,
        test: None,
        problems: Vec::new(),
    };
    match Source::open(name_or_path, options) {
        Ok(source) => report.fill(&source),
        Err(error) => report.add(Severity::Error, error.to_string()),
    }
    // Stable, so problems of one severity stay in the order they were found.
    report.problems.sort_by_key(|problem| problem.severity);
    report
}

impl Report {
    /// Whether nothing stands against training on this set.
    pub fn usable(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity != Severity::Error)
    }

    fn add(&mut self, severity: Severity, message: String) {
        self.problems.push(Problem { severity, message });
    }

    fn fill(&mut self, source: &Source) {
        self.path = source.path.clone();
        self.format = Some(source.format);
        self.kind = Some(source.kind);
        self.shape = Some(source.shape);
        self.front_end = source.front_end;
        let what = if source.front_end.is_some() { "clips" } else { "images" };
        self.classes = source.classes.clone();
        self.held_out = source.held_out;
        if source.held_out {
            let how = if source.kind == Kind::Scenes { "" } else { ", stratified" };
            let message = format!("there is no test part; a fixed{how} 20 % of the {what} is set aside as one");
            self.add(Severity::Note, message);
        }
        if source.skipped > 0 {
            let kind = if source.front_end.is_some() { "non-sound" } else { "non-image" };
            let message = format!("{} hidden or {kind} entries were skipped", source.skipped);
            self.add(Severity::Note, message);
        }
        for note in &source.notes {
            self.add(Severity::Note, note.clone());
        }
        let train = self.read(source.train(), source);
        let test = self.read(source.test(), source);
        self.train = train.as_ref().map(count);
        self.test = test.as_ref().map(count);
        let files: Vec<&Path> = match &source.files {
            Files::Folder { train, test } => train.iter().chain(test).map(|example| example.path.as_path()).collect(),
            Files::Scenes { train, test, .. } => train.iter().chain(test).map(|scene| scene.image.as_path()).collect(),
            Files::Cifar { .. } | Files::Idx { .. } | Files::Sound { .. } | Files::Text(_) => Vec::new(),
        };
        if !files.is_empty() {
            let headers = files.into_iter().filter_map(|path| decode::header(path).ok());
            let sizes: Vec<[u32; 2]> = headers.map(|header| [header.height, header.width]).collect();
            let area = |size: &&[u32; 2]| u64::from(size[0]) * u64::from(size[1]);
            let (least, most) = (sizes.iter().min_by_key(area), sizes.iter().max_by_key(area));
            self.original_sizes = least.zip(most).map(|(least, most)| [*least, *most]);
        }
        if let Files::Sound { train, test, front_end } = &source.files {
            self.time(train.iter().chain(test), *front_end);
        }
        if let Some(train) = &train {
            self.judge(train);
            self.compare(train, test.as_ref());
        }
        if let Some(test) = &test {
            self.judge(test);
        }
    }

    /// The part, or the error that kept it from being read; for a folder, every such error.
    fn read(&mut self, part: Result<Part, DataError>, source: &Source) -> Option<Part> {
        let error = match part {
            Ok(part) => return Some(part),
            Err(error) => error.to_string(),
        };
        let unreadable = match &source.files {
            Files::Folder { train, test } => decode::unreadable(train.iter().chain(test), source.shape),
            Files::Sound { train, test, front_end } => sound::unreadable(train.iter().chain(test), *front_end),
            Files::Scenes { train, test, has_unknown } => {
                let n_classes = source.classes.len();
                scenes::unreadable(train.iter().chain(test), source.shape, n_classes, *has_unknown)
            }
            Files::Cifar { .. } | Files::Idx { .. } | Files::Text(_) => Vec::new(),
        };
        let errors = if unreadable.is_empty() { vec![error] } else { unreadable };
        let known = |message: &String| self.problems.iter().any(|problem| problem.message == *message);
        let new: Vec<String> = errors.into_iter().filter(|message| !known(message)).collect();
        let more = new.len().saturating_sub(MAX_NAMED);
        for message in new.into_iter().take(MAX_NAMED) {
            self.add(Severity::Error, message);
        }
        if more > 0 {
            self.add(Severity::Error, format!("{more} more files are unreadable"));
        }
        None
    }

    /// How long recordings are, and what is done to those that are no clip.
    fn time<'a>(&mut self, examples: impl Iterator<Item = &'a Example>, front_end: FrontEnd) {
        let lengths: Vec<usize> = examples.filter_map(|example| sound::length(&example.path).ok()).collect();
        let seconds = |samples: usize| samples as f64 / f64::from(front_end.sample_rate);
        let (least, most) = (lengths.iter().copied().min(), lengths.iter().copied().max());
        self.durations = least.zip(most).map(|(least, most)| [seconds(least), seconds(most)]);
        let clip = seconds(front_end.clip);
        let mut note = |n: usize, what: &str, done: &str| {
            if n > 0 {
                self.add(Severity::Note, format!("{n} recordings are {what} than {clip} s: {done}"));
            }
        };
        let count =
            |is: fn(&usize, &usize) -> bool| lengths.iter().filter(|length| is(length, &front_end.clip)).count();
        note(count(usize::lt), "shorter", "zeros follow them");
        note(count(usize::gt), "longer", "their middle is kept");
    }

    /// Classes that are missing or rare, and images that show nothing, or clips.
    fn judge(&mut self, part: &Part) {
        // Words are rare or frequent as they are, and no two texts say the same.
        if part.text.is_some() {
            return;
        }
        let counts = part.counts();
        let missing: Vec<&str> = part
            .classes
            .iter()
            .zip(&counts)
            .filter(|(_, count)| **count == 0)
            .map(|(class, _)| class.as_str())
            .collect();
        if !missing.is_empty() {
            let what = if part.task == Task::Segmentation { "pixel" } else { part.noun().trim_end_matches('s') };
            let message = format!("no {what} in the {} part for: {}", part.role, missing.join(", "));
            self.add(Severity::Warning, message);
        }
        let present = counts.iter().copied().filter(|&count| count > 0);
        let spread = present.clone().min().zip(present.max()).filter(|(least, most)| *most > IMBALANCE * least);
        if let Some((least, most)) = spread
            && part.task == Task::Segmentation
        {
            let message = format!(
                "classes of the {} part have {least} to {most} pixels; the mean IoU counts each class alike",
                part.role
            );
            self.add(Severity::Note, message);
        } else if let Some((least, most)) = spread {
            let message = format!(
                "classes of the {} part have {least} to {most} {}; accuracy favours the large ones",
                part.role,
                part.noun()
            );
            self.add(Severity::Warning, message);
        }
        if let Some(sound) = &part.sound {
            let SoundReport { clipped, silent, .. } = SoundReport::of(sound);
            if silent > 0 {
                let message = format!("{silent} clips of the {} part are silent: nothing is above -60 dB", part.role);
                self.add(Severity::Warning, message);
            }
            if clipped > 0 {
                let message =
                    format!("{clipped} clips of the {} part are clipped: they were recorded too loud", part.role);
                self.add(Severity::Note, message);
            }
            return;
        }
        let blank = |&idx: &usize| part.image(idx).windows(2).all(|pair| pair[0] == pair[1]);
        let n_blank = (0..part.len()).filter(blank).count();
        if n_blank > 0 {
            let message = format!("{n_blank} images of the {} part are of one colour", part.role);
            self.add(Severity::Warning, message);
        }
    }

    /// Images or clips that occur twice: within training, with another label, or in both parts.
    fn compare(&mut self, train: &Part, test: Option<&Part>) {
        if train.text.is_some() {
            return;
        }
        let mut seen: HashMap<[u8; 32], usize> = HashMap::new();
        let (mut repeated, mut contradicted, mut shared) = (0, 0, 0);
        for idx in 0..train.len() {
            match seen.insert(fingerprint(train, idx), idx) {
                Some(before) if train.labels_of(before) != train.labels_of(idx) => contradicted += 1,
                Some(_) => repeated += 1,
                None => {}
            }
        }
        if let Some(test) = test {
            shared = (0..test.len()).filter(|&idx| seen.contains_key(&fingerprint(test, idx))).count();
        }
        let what = train.noun();
        let mut warn = |n: usize, message: String| {
            if n > 0 {
                self.add(Severity::Warning, format!("{n} {message}"));
            }
        };
        warn(shared, format!("test {what} are also in the training part: the test score is too good by as much"));
        warn(contradicted, format!("training {what} occur twice with different labels"));
        warn(repeated, format!("training {what} occur twice; a copy may end up on the validation side"));
        let known: HashSet<&String> = train.groups.iter().filter(|group| !group.is_empty()).collect();
        let tested: HashSet<&String> = test.iter().flat_map(|test| &test.groups).collect();
        warn(
            known.intersection(&tested).count(),
            "speakers are in both parts: the test score says less about other voices".into(),
        );
    }
}

fn count(part: &Part) -> PartReport {
    let all: Vec<usize> = (0..part.len()).collect();
    let (n, counts, sha256) = (part.len(), part.counts(), part.sha256());
    if let Some(sound) = &part.sound {
        let sound = Some(SoundReport::of(sound));
        return PartReport { n, counts, channels: Vec::new(), sound, text: None, sha256 };
    }
    if let Some(text) = &part.text {
        let text = Some(TextReport::of(part, text));
        return PartReport { n, counts, channels: Vec::new(), sound: None, text, sha256 };
    }
    let [n_channels, height, width] = part.shape;
    let mut range = vec![(u8::MAX, u8::MIN); n_channels];
    for plane in 0..part.len() * n_channels {
        let pixels = &part.pixels[plane * height * width..(plane + 1) * height * width];
        let (min, max) = &mut range[plane % n_channels];
        for &byte in pixels {
            *min = byte.min(*min);
            *max = byte.max(*max);
        }
    }
    let moments = Normalisation::of(part, &all).expect("a part that was read has images");
    let channels = range
        .into_iter()
        .zip(moments.mean.into_iter().zip(moments.std))
        .map(|((min, max), (mean, std))| ChannelReport { min, max, mean, std })
        .collect();
    PartReport { n, counts, channels, sound: None, text: None, sha256 }
}

impl TextReport {
    fn of(part: &Part, text: &Text) -> Self {
        let (learned, validated) = part.labels.split_at(part.labels.len() - text.n_validation * part.places());
        // Each word but a text's first is asked for once.
        let words = |labels: &[u32]| 1 + labels.iter().filter(|&&label| label != IGNORED).count();
        let first = usize::from(text.words.first() == Some(&0));
        let unknown = first + learned.iter().filter(|&&label| label == 0).count();
        Self {
            words: words(learned),
            unknown: unknown as f64 / words(learned) as f64,
            validation: (!validated.is_empty()).then(|| words(validated)),
        }
    }
}

impl SoundReport {
    fn of(sound: &Sound) -> Self {
        let clips = || sound.samples.chunks_exact(sound.front_end.clip);
        let decibels = |clip: &[i16]| {
            let power = clip.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / clip.len() as f64;
            (10.0 * power.max(1.0).log10() - 20.0 * 32768_f64.log10()) as f32
        };
        let mut loudness: Vec<f32> = clips().map(decibels).collect();
        loudness.sort_unstable_by(f32::total_cmp);
        let at = |place: usize| loudness.get(place).copied().unwrap_or_default();
        let is_clipped = |clip: &&[i16]| {
            clip.windows(3).any(|three| three.iter().all(|&sample| sample == three[0] && !IN_RANGE.contains(&sample)))
        };
        let is_silent = |clip: &&[i16]| clip.iter().all(|sample| sample.unsigned_abs() <= QUIET);
        Self {
            loudness: [at(0), at(loudness.len() / 2), at(loudness.len().saturating_sub(1))],
            clipped: clips().filter(is_clipped).count(),
            silent: clips().filter(is_silent).count(),
        }
    }
}

/// Samples that no converter was too small for.
const IN_RANGE: RangeInclusive<i16> = i16::MIN + 1..=i16::MAX - 1;

/// -60 dB of full scale.
const QUIET: u16 = 32;

fn fingerprint(part: &Part, idx: usize) -> [u8; 32] {
    let Some(sound) = &part.sound else {
        return Sha256::digest(part.image(idx)).into();
    };
    let mut hasher = Sha256::new();
    hash_samples(sound.clip(idx), &mut hasher);
    hasher.finalize().into()
}
