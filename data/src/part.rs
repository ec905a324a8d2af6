//! One part of a data set, in memory: labelled images of one shape, as bytes, clips of one length, or running text.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hash::hex;
use crate::sound::Sound;
use crate::text::Text;
use crate::{IGNORED, Task};

/// Labelled images of one shape, sound of one length, or segments of text.
///
/// # Shapes
/// - `pixels`: `[n, channels, height, width]`, one byte a value, 0 black; none for sound and text
/// - `sound`: `[n, 1, frames, coefficients]`; none for images
/// - `labels`: `[n, places]`, each below `classes.len()` or [`IGNORED`](crate::IGNORED); one place a record unless the
///   task has more ([`Task::places`])
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The data set's name, for messages.
    pub name: String,
    /// What the images may be used for.
    pub role: Role,
    /// What is asked about each.
    pub task: Task,
    /// What a network sees: channels, height and width of every image, or 1, frames and coefficients of every clip; 1, 1
    /// and the words of a segment of text.
    pub shape: [usize; 3],
    /// All images, one after the other, each channel by channel, rows first.
    pub pixels: Vec<u8>,
    /// All clips, when this is sound.
    pub sound: Option<Sound>,
    /// All words, when this is text.
    pub text: Option<Text>,
    /// The class of each place of each record.
    pub labels: Vec<u32>,
    /// The name of each class.
    pub classes: Vec<String>,
    /// What [`split`](crate::split) must not divide, such as the clips of one speaker: the name of each record's group,
    /// or nothing for a record that may go anywhere. Empty when no record has a group.
    pub groups: Vec<String>,
}

/// What a format's reader hands over.
pub(crate) struct Raw {
    pub(crate) shape: [usize; 3],
    pub(crate) pixels: Vec<u8>,
    pub(crate) sound: Option<Sound>,
    pub(crate) text: Option<Text>,
    pub(crate) labels: Vec<u32>,
    pub(crate) groups: Vec<String>,
}

impl Raw {
    /// Images, none of which belongs to another.
    pub(crate) fn images(shape: [usize; 3], pixels: Vec<u8>, labels: Vec<u32>) -> Self {
        Self { shape, pixels, sound: None, text: None, labels, groups: Vec::new() }
    }
}

/// What a part may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Searching, training and validating.
    Train,
    /// The one final score; a search never opens it.
    Test,
}

impl Part {
    /// The number of images, clips or segments.
    pub fn len(&self) -> usize {
        self.labels.len() / self.places()
    }

    /// Places of a record, each of which has a label.
    pub fn places(&self) -> usize {
        self.task.places(self.shape)
    }

    /// The labels of one record, `[places]`.
    pub fn labels_of(&self, idx: usize) -> &[u32] {
        let places = self.places();
        &self.labels[idx * places..(idx + 1) * places]
    }

    /// Whether there is no image and no clip.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// What the records are called.
    pub(crate) fn noun(&self) -> &'static str {
        match (&self.sound, &self.text) {
            (Some(_), _) => "clips",
            (None, Some(_)) => "segments",
            (None, None) => "images",
        }
    }

    /// What a deployed network reads of one image or clip: as [`shape`](Self::shape), but of sound its samples,
    /// `[1, 1, clip]`, since such a network makes the features itself.
    pub fn deployed_shape(&self) -> [usize; 3] {
        self.sound.as_ref().map_or(self.shape, |sound| [1, 1, sound.front_end.clip])
    }

    /// Values that a network sees of one image or clip.
    pub fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// One image, `[channels, height, width]`.
    ///
    /// # Panics
    /// Panics when this is [`sound`](Self::sound) or [`text`](Self::text).
    pub fn image(&self, idx: usize) -> &[u8] {
        let len = self.image_len();
        &self.pixels[idx * len..(idx + 1) * len]
    }

    /// The number of places of each class: of images or clips, where each has one.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in self.labels.iter().filter(|&&label| label != IGNORED) {
            counts[label as usize] += 1;
        }
        counts
    }

    /// The images or clips at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Self {
        let sound = self.sound.as_ref().map(|sound| sound.select(indices));
        let mut pixels = Vec::new();
        let segment = |text: &Text| Text {
            words: indices.iter().flat_map(|&idx| text.segment(idx, self.places())).copied().collect(),
            n_validation: 0,
        };
        let text = self.text.as_ref().map(segment);
        if sound.is_none() && text.is_none() {
            pixels.reserve_exact(indices.len() * self.image_len());
            for &idx in indices {
                pixels.extend_from_slice(self.image(idx));
            }
        }
        let groups = if self.groups.is_empty() { &[] } else { indices };
        Self {
            name: self.name.clone(),
            role: self.role,
            task: self.task,
            shape: self.shape,
            pixels,
            sound,
            text,
            labels: indices.iter().flat_map(|&idx| self.labels_of(idx).iter().copied()).collect(),
            classes: self.classes.clone(),
            groups: groups.iter().map(|&idx| self.groups[idx].clone()).collect(),
        }
    }

    /// The SHA-256 of everything training can see: shape, class names, labels and pixels, in
    /// order; for sound the front end and the samples. Which records share a group decides what is trained on, so it
    /// counts where there are groups. The same images give the same hash from any format and under any name.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        let number = |n: usize| (n as u64).to_le_bytes();
        for size in self.shape {
            hasher.update(number(size));
        }
        hasher.update(number(self.classes.len()));
        for class in &self.classes {
            // The length goes first, so that "ab", "c" and "a", "bc" differ.
            hasher.update(number(class.len()));
            hasher.update(class.as_bytes());
        }
        hasher.update(number(self.labels.len()));
        for label in &self.labels {
            hasher.update(label.to_le_bytes());
        }
        hasher.update(&self.pixels);
        if let Some(sound) = &self.sound {
            sound.hash_into(&mut hasher);
        }
        if let Some(Text { words, n_validation }) = &self.text {
            hasher.update(b"text");
            hasher.update(number(*n_validation));
            for word in words {
                hasher.update(word.to_le_bytes());
            }
        }
        if !self.groups.is_empty() {
            hasher.update(b"groups");
            for group in first_of_group(&self.groups) {
                hasher.update(number(group));
            }
        }
        hex(hasher)
    }
}

/// For each record the first record of its group; one without a group is alone.
pub(crate) fn first_of_group(groups: &[String]) -> Vec<usize> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut firsts = Vec::with_capacity(groups.len());
    for (idx, group) in groups.iter().enumerate() {
        firsts.push(if group.is_empty() { idx } else { *first.entry(group).or_insert(idx) });
    }
    firsts
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}
