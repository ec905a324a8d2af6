//! The subcommands, one file each: functions from the files of a run to its next files.

pub mod agent;
pub mod bench;
pub mod calibrate;
mod count;
mod count_table;
pub mod data;
pub mod device;
pub mod doctor;
mod dry_run;
pub mod explain;
pub mod export;
mod frames;
pub mod inspect;
pub mod measure;
pub mod ranking;
pub mod report;
pub mod reproduce;
pub mod scale;
pub mod search;
mod settle;
pub mod targets;
pub mod train;
pub mod verify;

use std::{path::PathBuf, sync::Arc};

use ::data::{Augment, IGNORED, Normalisation, Options, Source, split};
use ::train::TrainingSet;
use anyhow::{Context, Result};

use crate::config::SearchConfig;

/// The data of a run. The test part is not opened by this.
pub struct Images {
    /// Where they come from.
    pub source: Source,
    /// The training part, divided.
    pub set: TrainingSet,
}

impl Images {
    /// Opens the data that `config` names, divided by its seed.
    pub fn open(config: &SearchConfig) -> Result<Self> {
        let source = open_source(&config.data, config.options()?)?;
        let part = Arc::new(source.train()?);
        let (train, validation) = split(&part, ::data::Amount::Fraction(config.validation), config.seed)?;
        let normalisation = Normalisation::of(&part, &train)?;
        let augment = Augment::for_source(&source);
        Ok(Self { source, set: TrainingSet { part, train, validation, normalisation, augment } })
    }
}

/// What a performance simulator is told of the images, of the features of clips, or of the numbers of words.
pub fn about(set: &TrainingSet) -> ::search::policy::Images {
    let TrainingSet { part, train, .. } = set;
    let classes = part.classes.len();
    let mut counts = vec![0.0; classes];
    let labels = || train.iter().flat_map(|&idx| part.labels_of(idx)).filter(|&&label| label != IGNORED);
    let n = labels().count().max(1) as f64;
    labels().for_each(|&label| counts[label as usize] += 1.0 / n);
    let entropy: f64 = counts.iter().filter(|it| 0.0 < **it).map(|it| -it * it.ln()).sum();
    let distribution = entropy / (classes as f64).ln().max(f64::MIN_POSITIVE);
    // Correlation of values side by side, over a thousand of them.
    let [_, _, width] = part.shape;
    let values = |idx: usize| -> Vec<f64> {
        match (&part.sound, &part.text) {
            (None, Some(text)) => text.segment(idx, part.places()).iter().map(|&word| f64::from(word)).collect(),
            (None, None) => part.image(idx).iter().map(|&it| f64::from(it)).collect(),
            (Some(sound), _) => {
                let n: usize = part.shape.iter().product();
                sound.features[idx * n..(idx + 1) * n].iter().map(|&it| f64::from(it)).collect()
            }
        }
    };
    let (mut n, mut sums) = (0.0, [0.0; 5]);
    for &idx in train.iter().take(1_000) {
        for pair in values(idx).chunks_exact(width).flat_map(|row| row.windows(2)) {
            let [a, b] = [pair[0], pair[1]];
            n += 1.0;
            for (sum, it) in sums.iter_mut().zip([a, b, a * a, b * b, a * b]) {
                *sum += it;
            }
        }
    }
    let [a, b, aa, bb, ab] = sums.map(|sum| sum / n);
    let regularity = (ab - a * b) / ((aa - a * a) * (bb - b * b)).sqrt().max(f64::MIN_POSITIVE);
    ::search::policy::Images { size: train.len() as u64, distribution, regularity }
}

/// Opens a data set by name or folder.
pub fn open_source(name: &str, options: Options) -> Result<Source> {
    Source::open(name, &Options { downloads: Some(downloads()), ..options }).with_context(|| format!("--data {name}"))
}

/// Where fetched data sets lie: see [`data_home`].
pub fn downloads() -> PathBuf {
    data_home().join("data")
}

/// What this program keeps for a user: `$XDG_DATA_HOME/pipeline`, or the same under `~/.local/share`.
pub fn data_home() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home).unwrap_or_default();
    base.join("pipeline")
}
