//! Decodes WAV files into clips of one length, 16 bits a sample, and clips into features.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use hound::{SampleFormat, WavReader};
use sha2::{Digest, Sha256};

use crate::folder::{Example, is_sound};
use crate::front_end::{Extractor, FrontEnd};
use crate::part::Raw;
use crate::{DataError, parallel};

/// The sound of a part.
///
/// # Shapes
/// - `samples`: `[n, clip]`
/// - `features`: `[n, 1, frames, coefficients]`
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// How samples become features.
    pub front_end: FrontEnd,
    /// All clips, one after the other.
    pub samples: Vec<i16>,
    /// What networks see of these samples, before normalisation. It follows from the two fields above, and is kept
    /// because every pass that varies nothing reads it again.
    pub features: Vec<f32>,
}

impl Sound {
    /// Computes the features of these samples, on all cores.
    ///
    /// An error when the front end is none, or when there is half a clip.
    pub fn new(front_end: FrontEnd, samples: Vec<i16>) -> Result<Self, DataError> {
        front_end.check()?;
        if !samples.len().is_multiple_of(front_end.clip) {
            let problem = format!("{} samples are no whole number of clips of {}", samples.len(), front_end.clip);
            return Err(DataError::FrontEnd { problem });
        }
        let clips: Vec<&[i16]> = samples.chunks_exact(front_end.clip).collect();
        let len = front_end.shape().iter().product();
        let mut features = vec![0.0; clips.len() * len];
        parallel::fill(
            &clips,
            &mut features,
            len,
            || Extractor::new(&front_end),
            |extractor, clip, into| {
                extractor.extract(clip, into);
                Ok(())
            },
        )?;
        Ok(Self { front_end, samples, features })
    }

    /// The samples of one clip.
    pub fn clip(&self, idx: usize) -> &[i16] {
        &self.samples[idx * self.front_end.clip..][..self.front_end.clip]
    }

    /// The features of one clip, `[1, frames, coefficients]`.
    pub fn features(&self, idx: usize) -> &[f32] {
        let len: usize = self.front_end.shape().iter().product();
        &self.features[idx * len..][..len]
    }

    /// Adds the settings and the samples, little-endian; the features follow from them.
    pub(crate) fn hash_into(&self, hasher: &mut Sha256) {
        let FrontEnd { sample_rate, clip, window, hop, bands, low, high, coefficients } = self.front_end;
        hasher.update(b"sound");
        hasher.update(FrontEnd::FLOOR.to_le_bytes());
        for hertz in [sample_rate, low, high] {
            hasher.update(hertz.to_le_bytes());
        }
        for size in [clip, window, hop, bands, coefficients.unwrap_or(0)] {
            hasher.update((size as u64).to_le_bytes());
        }
        hash_samples(&self.samples, hasher);
    }

    /// The clips at `indices`, in that order.
    pub(crate) fn select(&self, indices: &[usize]) -> Self {
        Self {
            front_end: self.front_end,
            samples: indices.iter().flat_map(|&idx| self.clip(idx)).copied().collect(),
            features: indices.iter().flat_map(|&idx| self.features(idx)).copied().collect(),
        }
    }
}

/// Adds samples, little-endian.
pub(crate) fn hash_samples(samples: &[i16], hasher: &mut Sha256) {
    for samples in samples.chunks(1 << 12) {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
}

/// A larger file, of a quarter of an hour, is no recording of a word, and is not read.
const MAX_FILE: u64 = 32 << 20;

/// Decodes the files, in order, and computes their features, on all cores.
pub(crate) fn read(examples: &[Example], front_end: FrontEnd) -> Result<Raw, DataError> {
    let mut samples = vec![0; examples.len() * front_end.clip];
    parallel::fill(
        examples,
        &mut samples,
        front_end.clip,
        || (),
        |(), example, clip| decode(example, front_end, clip),
    )?;
    let sound = Sound::new(front_end, samples)?;
    let labels = examples.iter().map(|example| example.label).collect();
    let speakers: Vec<String> =
        examples.iter().map(|example| speaker(&example.path).unwrap_or("").to_owned()).collect();
    let groups = if speakers.iter().all(String::is_empty) { Vec::new() } else { speakers };
    Ok(Raw { shape: front_end.shape(), pixels: Vec::new(), labels, sound: Some(sound), text: None, groups })
}

/// What is wrong with each file that cannot be decoded.
pub(crate) fn unreadable<'a>(examples: impl Iterator<Item = &'a Example>, front_end: FrontEnd) -> Vec<String> {
    let mut clip = vec![0; front_end.clip];
    let errors = examples.filter_map(|example| decode(example, front_end, &mut clip).err());
    errors.map(|error| error.to_string()).collect()
}

/// How long a recording is, in samples; they stay unread.
pub(crate) fn length(path: &Path) -> Result<usize, DataError> {
    let file = File::open(sized(path)?).map_err(DataError::io(path))?;
    let header = WavReader::new(BufReader::new(file)).map_err(|source| wav_error(path, source))?;
    Ok(header.duration() as usize)
}

/// Who speaks, where a file is named as in Google's Speech Commands: `<speaker>_nohash_<n>.wav`.
pub(crate) fn speaker(path: &Path) -> Option<&str> {
    // Photos are no recordings, whatever they are called.
    if !is_sound(path.file_name()?.to_str()?) {
        return None;
    }
    let (speaker, nth) = path.file_stem()?.to_str()?.split_once("_nohash_")?;
    let is_numbered = !nth.is_empty() && nth.bytes().all(|byte| byte.is_ascii_digit());
    (is_numbered && !speaker.is_empty()).then_some(speaker)
}

/// Decodes one recording: channels are averaged, other kinds of samples become 16-bit integers. Zeros follow a
/// recording that is shorter than a clip; of a longer one the middle is kept, which is where a word is that somebody
/// recorded with room on both sides.
fn decode(example: &Example, front_end: FrontEnd, into: &mut [i16]) -> Result<(), DataError> {
    let path = example.path.as_path();
    let bytes = fs::read(sized(path)?).map_err(DataError::io(path))?;
    // Reading the header leaves what follows it.
    let mut rest = bytes.as_slice();
    let header = WavReader::new(&mut rest).map_err(|source| wav_error(path, source))?;
    let (spec, n_values) = (header.spec(), u64::from(header.len()));
    if spec.sample_rate != front_end.sample_rate {
        let (found, expected) = (spec.sample_rate, front_end.sample_rate);
        return Err(DataError::SampleRate { path: path.to_path_buf(), found, expected });
    }
    let width = u64::from(spec.bits_per_sample.div_ceil(8));
    let (got, expected) = (rest.len() as u64, n_values * width);
    if got < expected {
        let (record, offset) = (got / (width * u64::from(spec.channels)), bytes.len() as u64);
        return Err(DataError::Truncated { path: path.to_path_buf(), record, offset, missing: expected - got });
    }
    let mut reader = WavReader::new(bytes.as_slice()).map_err(|source| wav_error(path, source))?;
    let values: Result<Vec<f64>, hound::Error> = match spec.sample_format {
        SampleFormat::Int => reader.samples::<i32>().map(|value| value.map(f64::from)).collect(),
        SampleFormat::Float => reader.samples::<f32>().map(|value| value.map(f64::from)).collect(),
    };
    let values = values.map_err(|source| wav_error(path, source))?;
    let samples: Vec<&[f64]> = values.chunks_exact(usize::from(spec.channels)).collect();
    if samples.is_empty() {
        return Err(DataError::NoSound { path: path.to_path_buf() });
    }
    let start = samples.len().saturating_sub(into.len()) / 2;
    let full_scale = match spec.sample_format {
        SampleFormat::Int => 2_f64.powi(i32::from(spec.bits_per_sample) - 1),
        SampleFormat::Float => 1.0,
    };
    into.fill(0);
    for (into, values) in into.iter_mut().zip(&samples[start..]) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        // The conversion saturates, and makes 0 of what is no number.
        *into = (mean / full_scale * 32768.0).round() as i16;
    }
    Ok(())
}

/// A path whose file can be read into memory.
fn sized(path: &Path) -> Result<&Path, DataError> {
    let size = fs::metadata(path).map_err(DataError::io(path))?.len();
    if size == 0 {
        return Err(DataError::NoSound { path: path.to_path_buf() });
    }
    if size > MAX_FILE {
        let problem = format!("a sound file of {size} bytes; at most {MAX_FILE} are read");
        return Err(DataError::Corrupt { path: path.to_path_buf(), offset: 0, problem });
    }
    Ok(path)
}

fn wav_error(path: &Path, source: hound::Error) -> DataError {
    DataError::Sound { path: path.to_path_buf(), source }
}
