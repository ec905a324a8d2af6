//! The data station: images or sound on disk or on the network become seeded, normalised batches.
//!
//! The test part of a data set is read by [`Source::test`] and by nothing else that trains, so a
//! search that never calls it cannot have seen it. Every random choice is keyed by what it is for
//! ([`keyed`]), so it is the same on every machine and for any number of threads.
//!
//! ```
//! use std::sync::Arc;
//! use data::{Amount, Augment, Batches, Normalisation, Options, Pass, Source, split};
//!
//! let source = Source::open("optdigits", &Options::default())?;
//! let train = Arc::new(source.train()?);
//! let (train_indices, validation_indices) = split(&train, Amount::Fraction(0.1), 7)?;
//! assert_eq!(train_indices.len() + validation_indices.len(), train.len());
//!
//! let normalisation = Normalisation::of(&train, &train_indices)?;
//! let pass = Pass {
//!     seed: 7,
//!     purpose: "example".into(),
//!     epoch: 0,
//!     batch_size: 64,
//!     shuffle: true,
//!     keep_partial: false,
//!     augment: Augment::for_source(&source),
//! };
//! for batch in Batches::start(train, train_indices, &normalisation, &pass)? {
//!     assert_eq!(batch.pixels.len(), 64 * 8 * 8);
//! }
//! # Ok::<(), data::DataError>(())
//! ```
//!
//! A folder of WAV files, one sub-folder a class, is opened by the same lines. A [`FrontEnd`] makes features of its
//! clips, `[1, frames, coefficients]`, which networks see as an image of one channel; [`Options`] choose it. Clips of one
//! speaker, where file names tell, are never divided between training and validation or test.
//!
//! So is a folder of scenes: `train/images/*.png` with `train/masks/*.png` of the same names, whose grey values are the
//! classes of their pixels, the same in `val/` or `test/`, and `classes.txt`. A last class called `unlabelled`, `void` or
//! `ignore` is none: its pixels are [`IGNORED`].
//!
//! So is a folder with `train.txt` and `test.txt`: segments of running text, in their order, in which the next word is asked
//! after each word. [`streams`] lays them into batches that go on where the batch before stopped.

mod part;
mod source;
mod task;

mod builtin;
pub mod cifar;
mod decode;
mod folder;
pub mod idx;
mod input;
mod scenes;

mod front_end;
mod sound;
mod text;

mod augment;
mod batches;
pub mod keyed;
mod normalise;
mod split;

mod catalogue;
mod check;
pub mod download;
mod error;
mod hash;
mod parallel;

pub use augment::{Augment, AugmentKey};
pub use batches::{Batch, Batches, Pass, batch, deployed_batch};
pub use catalogue::{CATALOGUE, Listed, Origin, listed};
pub use check::{ChannelReport, PartReport, Problem, Report, Severity, SoundReport, TextReport, check};
pub use error::DataError;
pub use front_end::{FrontEnd, Matrix};
pub use hash::sha256_file;
pub use normalise::Normalisation;
pub use part::{Part, Role};
pub use sound::Sound;
pub use source::{Format, Kind, Options, Source};
pub use split::{Amount, split};
pub use task::{IGNORED, Tally, Task};
pub use text::{END, PENN, SCORING_STREAMS, Text, TextOptions, UNKNOWN, streams};
