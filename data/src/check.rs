//! Looks a data set through before anybody trains on it.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::DataError;
use crate::decode;
use crate::normalise::Normalisation;
use crate::part::Part;
use crate::source::{Files, Format, Kind, Options, Source};

/// What `pipeline data check` found. It opens the test part too: a check trains nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was asked for.
    pub path: PathBuf,
    /// How it is stored; absent when nothing was recognised.
    pub format: Option<Format>,
    /// What the images are taken to show.
    pub kind: Option<Kind>,
    /// Channels, height and width that the network will see.
    pub shape: Option<[usize; 3]>,
    /// The smallest and largest image files, each height and width in pixels, in class folders.
    pub original_sizes: Option<[[u32; 2]; 2]>,
    /// The classes, in label order.
    pub classes: Vec<String>,
    /// Whether the test part is a fixed share of images set aside from the only part.
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
    /// Images.
    pub n: usize,
    /// Images of each class.
    pub counts: Vec<usize>,
    /// The values of each channel.
    pub channels: Vec<ChannelReport>,
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

/// Unreadable images that are named one by one; more are counted.
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
        self.classes = source.classes.clone();
        self.held_out = source.held_out;
        if source.held_out {
            let message = "there is no test part; a fixed, stratified 20 % of the images is set aside as one";
            self.add(Severity::Note, message.into());
        }
        if source.skipped > 0 {
            let message = format!("{} hidden or non-image entries were skipped", source.skipped);
            self.add(Severity::Note, message);
        }
        for note in &source.notes {
            self.add(Severity::Note, note.clone());
        }
        let train = self.read(source.train(), source);
        let test = self.read(source.test(), source);
        self.train = train.as_ref().map(count);
        self.test = test.as_ref().map(count);
        if let Files::Folder { train, test } = &source.files {
            let headers = train.iter().chain(test).filter_map(|example| decode::header(&example.path).ok());
            let sizes: Vec<[u32; 2]> = headers.map(|header| [header.height, header.width]).collect();
            let area = |size: &&[u32; 2]| u64::from(size[0]) * u64::from(size[1]);
            let (least, most) = (sizes.iter().min_by_key(area), sizes.iter().max_by_key(area));
            self.original_sizes = least.zip(most).map(|(least, most)| [*least, *most]);
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
            Files::Cifar { .. } | Files::Idx { .. } => Vec::new(),
        };
        let errors = if unreadable.is_empty() { vec![error] } else { unreadable };
        let known = |message: &String| self.problems.iter().any(|problem| problem.message == *message);
        let new: Vec<String> = errors.into_iter().filter(|message| !known(message)).collect();
        let more = new.len().saturating_sub(MAX_NAMED);
        for message in new.into_iter().take(MAX_NAMED) {
            self.add(Severity::Error, message);
        }
        if more > 0 {
            self.add(Severity::Error, format!("{more} more images are unreadable"));
        }
        None
    }

    /// Classes that are missing or rare, and images that show nothing.
    fn judge(&mut self, part: &Part) {
        let counts = part.counts();
        let missing: Vec<&str> = part
            .classes
            .iter()
            .zip(&counts)
            .filter(|(_, count)| **count == 0)
            .map(|(class, _)| class.as_str())
            .collect();
        if !missing.is_empty() {
            let message = format!("no image in the {} part for: {}", part.role, missing.join(", "));
            self.add(Severity::Warning, message);
        }
        let present = counts.iter().copied().filter(|&count| count > 0);
        if let Some((least, most)) = present.clone().min().zip(present.max())
            && most > IMBALANCE * least
        {
            let message = format!(
                "classes of the {} part have {least} to {most} images; accuracy favours the large ones",
                part.role
            );
            self.add(Severity::Warning, message);
        }
        let blank = |&idx: &usize| part.image(idx).windows(2).all(|pair| pair[0] == pair[1]);
        let n_blank = (0..part.len()).filter(blank).count();
        if n_blank > 0 {
            let message = format!("{n_blank} images of the {} part are of one colour", part.role);
            self.add(Severity::Warning, message);
        }
    }

    /// Images that occur twice: within training, with another label, or in both parts.
    fn compare(&mut self, train: &Part, test: Option<&Part>) {
        let mut seen: HashMap<[u8; 32], u32> = HashMap::new();
        let (mut repeated, mut contradicted, mut shared) = (0, 0, 0);
        for (idx, &label) in train.labels.iter().enumerate() {
            match seen.insert(fingerprint(train, idx), label) {
                Some(before) if before != label => contradicted += 1,
                Some(_) => repeated += 1,
                None => {}
            }
        }
        if let Some(test) = test {
            shared = (0..test.len()).filter(|&idx| seen.contains_key(&fingerprint(test, idx))).count();
        }
        let mut warn = |n: usize, what: &str| {
            if n > 0 {
                self.add(Severity::Warning, format!("{n} {what}"));
            }
        };
        warn(shared, "test images are also in the training part: the test score is too good by as much");
        warn(contradicted, "training images occur twice with different labels");
        warn(repeated, "training images occur twice; a copy may end up on the validation side");
    }
}

fn count(part: &Part) -> PartReport {
    let all: Vec<usize> = (0..part.len()).collect();
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
    PartReport { n: part.len(), counts: part.counts(), channels, sha256: part.sha256() }
}

fn fingerprint(part: &Part, idx: usize) -> [u8; 32] {
    Sha256::digest(part.image(idx)).into()
}
