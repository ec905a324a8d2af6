//! Normalised, augmented batches, prepared on a thread of their own beside training.

use std::iter::repeat_n;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::{cmp, panic};

use crate::augment::{Augment, AugmentKey, SceneVariation, SoundVariation, Variation};
use crate::front_end::{Extractor, FrontEnd};
use crate::normalise::Normalisation;
use crate::part::Part;
use crate::sound::Sound;
use crate::{DataError, IGNORED, Task, keyed};

/// Images, features of sound, or the numbers of words, ready for a network.
///
/// # Shapes
/// - `pixels`: `[n, channels, height, width]`, normalised; `[n, 1, frames, coefficients]` for sound; `[n, 1, 1, places]`
///   for text
/// - `labels`: `[n, places]`, as [`Part`] has them
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The images or features.
    pub pixels: Vec<f32>,
    /// The classes of their places.
    pub labels: Vec<u32>,
    /// Their number.
    pub n: usize,
}

/// One pass over images or clips, in batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The run's seed.
    pub seed: u64,
    /// What the pass is for: passes with different purposes have different orders.
    pub purpose: String,
    /// Which pass it is, below 2^32: each has its own order and variations.
    pub epoch: u64,
    /// Images or clips a batch.
    pub batch_size: usize,
    /// Whether they come in an order drawn from (seed, purpose, epoch), or as given.
    pub shuffle: bool,
    /// Whether the last batch is kept when it is smaller than the others. Training drops it,
    /// scoring needs it.
    pub keep_partial: bool,
    /// How they vary; [`Augment::NONE`] for scoring.
    pub augment: Augment,
}

/// The batches of one [`Pass`], in order. They do not depend on threads or on who waits for whom.
/// Dropping this early stops the thread.
#[derive(Debug)]
pub struct Batches {
    /// Empty once the pass has ended.
    ready: Option<Receiver<Batch>>,
    worker: Option<JoinHandle<()>>,
    left: usize,
}

/// Batches that wait for the trainer: enough to cover a slow one, and little memory.
const DEPTH: usize = 3;

/// Prepares one batch here and now.
///
/// # Panics
/// Panics when an index is not below `part.len()`, or the normalisation has other channels.
pub fn batch(part: &Part, indices: &[usize], normalisation: &Normalisation, augment: Option<&AugmentKey>) -> Batch {
    Preparer::new(part, normalisation).prepare(part, indices, augment)
}

/// What a deployed network reads, here and now: normalised images, or the samples of clips.
///
/// # Shapes
/// - `pixels` of the result: `[n]` and then [`Part::deployed_shape`]; samples are between -1 and 1
///
/// # Panics
/// As [`batch`].
pub fn deployed_batch(part: &Part, indices: &[usize], normalisation: &Normalisation) -> Batch {
    let Some(sound) = &part.sound else { return batch(part, indices, normalisation, None) };
    let samples = indices.iter().flat_map(|&idx| sound.clip(idx));
    Batch {
        pixels: samples.map(|&sample| f32::from(sample) * FrontEnd::SCALE).collect(),
        labels: labels(part, indices),
        n: indices.len(),
    }
}

fn labels(part: &Part, indices: &[usize]) -> Vec<u32> {
    indices.iter().flat_map(|&idx| part.labels_of(idx).iter().copied()).collect()
}

impl Batches {
    /// Starts preparing the images or clips at `indices` of `part`.
    pub fn start(
        part: Arc<Part>,
        mut indices: Vec<usize>,
        normalisation: &Normalisation,
        pass: &Pass,
    ) -> Result<Self, DataError> {
        let Pass { batch_size, keep_partial, .. } = *pass;
        let n = indices.len();
        let (what, single) = (part.noun(), part.noun().trim_end_matches('s'));
        let error = |problem: String| DataError::Pass { batch_size, n, what, problem };
        let refuse = |problem: &str| Err(error(problem.into()));
        if batch_size == 0 {
            return refuse(&format!("a batch holds at least one {single}"));
        }
        if n == 0 {
            return refuse(&format!("there is no {single}"));
        }
        if !keep_partial && n < batch_size {
            return refuse("not even one batch is full; choose a smaller batch");
        }
        if indices.iter().any(|&idx| idx >= part.len()) {
            return refuse(&format!("an index lies beyond the last {single}"));
        }
        if normalisation.mean.len() != part.shape[0] || normalisation.std.len() != part.shape[0] {
            return refuse("the normalisation has another number of channels");
        }
        if pass.shuffle {
            keyed::shuffle(&mut keyed::rng(pass.seed, &pass.purpose, pass.epoch), &mut indices);
        }
        let left = if keep_partial { n.div_ceil(batch_size) } else { n / batch_size };
        let key = AugmentKey { augment: pass.augment, seed: pass.seed, epoch: pass.epoch };
        let key = (pass.augment != Augment::NONE).then_some(key);
        let mut preparer = Preparer::new(&part, normalisation);
        let (sender, receiver) = sync_channel(DEPTH);
        let worker = thread::Builder::new().name("batches".into()).spawn(move || {
            for indices in indices.chunks(batch_size).take(left) {
                // Nobody listens any more when the receiver is gone: stop.
                if sender.send(preparer.prepare(&part, indices, key.as_ref())).is_err() {
                    return;
                }
            }
        });
        let worker = worker.map_err(|io| error(format!("no thread could be started ({io})")))?;
        Ok(Self { ready: Some(receiver), worker: Some(worker), left })
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let received = self.ready.as_ref()?.recv();
        if let Ok(batch) = received {
            self.left -= 1;
            return Some(batch);
        }
        self.ready = None;
        // A panic of the thread would otherwise look like the end of the data.
        if let Some(Err(payload)) = self.worker.take().map(JoinHandle::join) {
            panic::resume_unwind(payload);
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        // The receiver goes first: the thread may be waiting for room in the queue.
        self.ready = None;
        if let Some(worker) = self.worker.take() {
            // Its panic, if any, concerns batches that nobody wants.
            let _ = worker.join();
        }
    }
}

/// What making batches of a part needs, made once.
struct Preparer {
    /// The normalised value of every byte of each channel.
    table: Vec<f32>,
    /// Mean and standard deviation of features.
    moments: [f32; 2],
    /// For sound that varies: made by the first clip that does.
    extractor: Option<Extractor>,
    /// A varied clip.
    clip: Vec<i16>,
}

impl Preparer {
    fn new(part: &Part, normalisation: &Normalisation) -> Self {
        let first = |values: &[f32], otherwise| values.first().copied().unwrap_or(otherwise);
        let moments = [first(&normalisation.mean, 0.0), first(&normalisation.std, 1.0)];
        // Sound and text have no bytes to look up.
        let table = if part.sound.is_none() && part.text.is_none() { normalisation.table() } else { Vec::new() };
        Self { table, moments, extractor: None, clip: Vec::new() }
    }

    fn prepare(&mut self, part: &Part, indices: &[usize], key: Option<&AugmentKey>) -> Batch {
        let len = part.image_len();
        let mut pixels = vec![0.0; indices.len() * len];
        let mut labels = labels(part, indices);
        let places = labels.chunks_exact_mut(part.places());
        for ((&idx, into), labels) in indices.iter().zip(pixels.chunks_exact_mut(len)).zip(places) {
            if let Some(text) = &part.text {
                // A float holds every whole number below 2^24.
                into.iter_mut().zip(text.segment(idx, len)).for_each(|(value, &word)| *value = word as f32);
                continue;
            }
            match (&part.sound, key) {
                (None, Some(key)) if part.task == Task::Segmentation => {
                    let [_, height, width] = part.shape;
                    let variation = key.draw_scene(idx, [height, width]);
                    vary_scene(part.shape, part.image(idx), part.labels_of(idx), &self.table, variation, into, labels);
                    blank(part.shape, key.augment.cutout, key.draw(idx, [height, width]).blank, into);
                }
                (Some(sound), _) => self.hear(sound, idx, key, into),
                (None, None) => normalise(part.shape, part.image(idx), &self.table, into),
                (None, Some(key)) => {
                    let [_, height, width] = part.shape;
                    let variation = key.draw(idx, [height, width]);
                    vary(part.shape, part.image(idx), &self.table, key.augment.pad, variation, into);
                    blank(part.shape, key.augment.cutout, variation.blank, into);
                }
            }
        }
        Batch { pixels, labels, n: indices.len() }
    }

    /// Normalised features of one clip. Only where its samples vary are they computed anew.
    fn hear(&mut self, sound: &Sound, idx: usize, key: Option<&AugmentKey>, into: &mut [f32]) {
        match key.filter(|key| key.augment.shift > 0 || key.augment.gain > 0) {
            None => into.copy_from_slice(sound.features(idx)),
            Some(key) => {
                vary_sound(sound.clip(idx), key.draw_sound(idx), &mut self.clip);
                let extractor = self.extractor.get_or_insert_with(|| Extractor::new(&sound.front_end));
                extractor.extract(&self.clip, into);
            }
        }
        let [mean, std] = self.moments;
        for value in &mut *into {
            *value = (*value - mean) / std;
        }
        if let Some(key) = key.filter(|key| key.augment.cutout > 0) {
            let shape @ [_, frames, coefficients] = sound.front_end.shape();
            blank(shape, key.augment.cutout, key.draw(idx, [frames, coefficients]).blank, into);
        }
    }
}

/// Moves a clip and makes it louder; zeros stand where it was moved away from.
fn vary_sound(clip: &[i16], SoundVariation { shift, gain }: SoundVariation, into: &mut Vec<i16>) {
    // The conversion saturates, as a recording does.
    let louder = clip.iter().map(|&sample| (f64::from(sample) * gain).round() as i16);
    let gone = shift.unsigned_abs().min(clip.len());
    let silence = repeat_n(0, gone);
    into.clear();
    if shift < 0 {
        into.extend(louder.skip(gone).chain(silence));
    } else {
        into.extend(silence.chain(louder.take(clip.len() - gone)));
    }
}

fn normalise([_, height, width]: [usize; 3], image: &[u8], table: &[f32], into: &mut [f32]) {
    let plane = height * width;
    for ((from, into), table) in
        image.chunks_exact(plane).zip(into.chunks_exact_mut(plane)).zip(table.chunks_exact(256))
    {
        for (&byte, value) in from.iter().zip(into) {
            *value = table[usize::from(byte)];
        }
    }
}

/// Zeros a square of this side around a pixel.
fn blank([_, height, width]: [usize; 3], side: usize, middle: [usize; 2], into: &mut [f32]) {
    if side == 0 {
        return;
    }
    let covered = |middle: usize, size: usize| {
        let start = (middle + 1).saturating_sub(side.div_ceil(2));
        start..(middle + side / 2 + 1).min(size)
    };
    let (rows, columns) = (covered(middle[0], height), covered(middle[1], width));
    for plane in into.chunks_exact_mut(height * width) {
        for row in rows.clone() {
            plane[row * width..][..width][columns.clone()].fill(0.0);
        }
    }
}

/// Crops the image, padded by `pad`, at the drawn place; what lies outside stays 0 in `into`.
fn vary(
    [channels, height, width]: [usize; 3],
    image: &[u8],
    table: &[f32],
    pad: usize,
    variation: Variation,
    into: &mut [f32],
) {
    // Row y of the crop is row y + top - pad of the image, where there is one; so for columns.
    let covered =
        |start: usize, size: usize| pad.saturating_sub(start)..cmp::min(size, (size + pad).saturating_sub(start));
    let (rows, columns) = (covered(variation.top, height), covered(variation.left, width));
    if columns.is_empty() {
        return; // Only an image narrower than its padding can be cropped away whole.
    }
    for channel in 0..channels {
        let table = &table[channel * 256..(channel + 1) * 256];
        for y in rows.clone() {
            let from = (channel * height + y + variation.top - pad) * width;
            let row = &mut into[(channel * height + y) * width..][..width];
            let from = &image[from + columns.start + variation.left - pad..from + columns.end + variation.left - pad];
            for (&byte, value) in from.iter().zip(&mut row[columns.clone()]) {
                *value = table[usize::from(byte)];
            }
            if variation.mirrored {
                row.reverse();
            }
        }
    }
}

/// Crops the enlarged or smaller scene, and its mask, at the drawn place. Pixels are interpolated, classes are those of the
/// nearest pixel; what lies outside stays 0 in `into`, and is of no class.
fn vary_scene(
    [_, height, width]: [usize; 3],
    image: &[u8],
    mask: &[u32],
    table: &[f32],
    variation: SceneVariation,
    into: &mut [f32],
    labels: &mut [u32],
) {
    let SceneVariation { size, start, mirrored } = variation;
    let sides = [height, width];
    let along = |axis: usize| -> Vec<Option<Tap>> {
        (0..sides[axis]).map(|at| Tap::of(at as isize + start[axis], size[axis], sides[axis])).collect()
    };
    let (rows, mut columns) = (along(0), along(1));
    if mirrored {
        columns.reverse();
    }
    let plane = height * width;
    for (y, row) in rows.iter().enumerate() {
        for (x, column) in columns.iter().enumerate() {
            let at = y * width + x;
            let (Some(row), Some(column)) = (row, column) else {
                labels[at] = IGNORED;
                continue;
            };
            labels[at] = mask[row.nearest * width + column.nearest];
            for (channel, image) in image.chunks_exact(plane).enumerate() {
                let value = |y: usize, x: usize| table[channel * 256 + usize::from(image[y * width + x])];
                let across = |y: usize| {
                    let (left, right) = (value(y, column.first), value(y, column.second));
                    left + column.part * (right - left)
                };
                let (top, bottom) = (across(row.first), across(row.second));
                into[channel * plane + at] = top + row.part * (bottom - top);
            }
        }
    }
}

/// Where a pixel of a scene of another size comes from, along one axis.
#[derive(Clone, Copy)]
struct Tap {
    /// The two pixels whose middles are nearest.
    first: usize,
    second: usize,
    /// How far it is from the first to the second.
    part: f32,
    /// The pixel that its middle is in.
    nearest: usize,
}

impl Tap {
    /// Of place `at` of `size`, in a scene of `side` pixels; `None` outside.
    fn of(at: isize, size: usize, side: usize) -> Option<Self> {
        let at = usize::try_from(at).ok().filter(|&at| at < size)?;
        let middle = (at as f64 + 0.5) * side as f64 / size as f64;
        let place = (middle - 0.5).clamp(0.0, (side - 1) as f64);
        let first = place.floor() as usize;
        let part = place.fract() as f32;
        Some(Self { first, second: (first + 1).min(side - 1), part, nearest: (middle as usize).min(side - 1) })
    }
}
