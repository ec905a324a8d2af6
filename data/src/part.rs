//! One part of a data set, in memory: labelled images of one shape, as bytes.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hash::hex;

/// Labelled images of one shape.
///
/// # Shapes
/// - `pixels`: `[n, channels, height, width]`, one byte a value, 0 black
/// - `labels`: `[n]`, each below `classes.len()`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The data set's name, for messages.
    pub name: String,
    /// What the images may be used for.
    pub role: Role,
    /// Channels, height and width of every image.
    pub shape: [usize; 3],
    /// All images, one after the other, each channel by channel, rows first.
    pub pixels: Vec<u8>,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// The name of each class.
    pub classes: Vec<String>,
}

/// What a format's reader hands over.
pub(crate) struct Raw {
    pub(crate) shape: [usize; 3],
    pub(crate) pixels: Vec<u8>,
    pub(crate) labels: Vec<u32>,
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
    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image.
    pub fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// One image, `[channels, height, width]`.
    pub fn image(&self, idx: usize) -> &[u8] {
        let len = self.image_len();
        &self.pixels[idx * len..(idx + 1) * len]
    }

    /// The number of images of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }

    /// The images at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.image_len());
        for &idx in indices {
            pixels.extend_from_slice(self.image(idx));
        }
        Self {
            name: self.name.clone(),
            role: self.role,
            shape: self.shape,
            pixels,
            labels: indices.iter().map(|&idx| self.labels[idx]).collect(),
            classes: self.classes.clone(),
        }
    }

    /// The SHA-256 of everything training can see: shape, class names, labels and pixels, in
    /// order. The same images give the same hash from any format and under any name.
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
        hex(hasher)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}
