//! Per-channel mean and standard deviation, from training images or clips only.

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::part::Part;
use crate::sound::Sound;

/// What makes pixels zero-mean and unit-variance: `(byte / 255 - mean) / std`; and features of sound:
/// `(feature - mean) / std`.
///
/// # Shapes
/// - `mean`, `std`: `[channels]`, in units of the byte range (0 black, 1 white); of features for sound, which has one
///   channel, so its bands or coefficients keep their proportions
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel (divided by n), at least one grey level, or as much of a feature.
    pub std: Vec<f32>,
}

/// One grey level. A channel that hardly varies carries nothing, and must not be blown up.
const MIN_STD: f64 = 1.0 / 255.0;

impl Normalisation {
    /// Measures the images or clips at `indices`, which should be the training side of a split: anything
    /// else would let validation images into the network's input.
    pub fn of(part: &Part, indices: &[usize]) -> Result<Self, DataError> {
        if indices.is_empty() {
            return Err(DataError::Empty { path: part.name.clone().into() });
        }
        if let Some(sound) = &part.sound {
            return Ok(Self::of_sound(sound, indices));
        }
        if part.text.is_some() {
            // The numbers of words stay as they are.
            return Ok(Self { mean: vec![0.0], std: vec![1.0] });
        }
        let [channels, height, width] = part.shape;
        let plane = height * width;
        // Bytes are counted, so the sums below are exact in any order.
        let mut counts = vec![[0_u64; 256]; channels];
        for &idx in indices {
            for (channel, pixels) in part.image(idx).chunks_exact(plane).enumerate() {
                for &byte in pixels {
                    counts[channel][usize::from(byte)] += 1;
                }
            }
        }
        let n = (indices.len() * plane) as f64;
        let (mean, std) = counts
            .iter()
            .map(|counts| {
                let moment = |power: u32| -> f64 {
                    let sum: u64 = (0_u64..).zip(counts).map(|(byte, count)| byte.pow(power) * count).sum();
                    sum as f64 / n / 255_f64.powi(power as i32)
                };
                let mean = moment(1);
                let variance = (moment(2) - mean * mean).max(0.0);
                (mean as f32, variance.sqrt().max(MIN_STD) as f32)
            })
            .unzip();
        Ok(Self { mean, std })
    }

    /// Two sums in the order of `indices`, the second of what lies around the mean: that loses no digits.
    fn of_sound(sound: &Sound, indices: &[usize]) -> Self {
        let values = || indices.iter().flat_map(|&idx| sound.features(idx)).map(|&value| f64::from(value));
        let n = values().count() as f64;
        let mean = values().sum::<f64>() / n;
        let variance = values().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
        Self { mean: vec![mean as f32], std: vec![variance.sqrt().max(MIN_STD) as f32] }
    }

    /// The normalised value of every byte: 256 for the first channel, then the next.
    pub(crate) fn table(&self) -> Vec<f32> {
        let channels = self.mean.iter().zip(&self.std);
        channels.flat_map(|(mean, std)| (0..=255_u8).map(move |byte| (f32::from(byte) / 255.0 - mean) / std)).collect()
    }
}
