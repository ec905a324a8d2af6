//! What stands between samples and a network: log-mel bands, or their cepstrum (MFCC).
//!
//! Frames of [`FrontEnd::window`] samples, one every [`FrontEnd::hop`], none of them centred or padded, are weighted by
//! a periodic Hann window. Their power spectrum is summed by triangular filters that are equally spaced on the mel
//! scale of HTK, `2595 log10(1 + f / 700)`, and its natural logarithm taken. MFCC add the first coefficients of an
//! orthonormal DCT-II over the bands. Sources: S. B. Davis and P. Mermelstein, "Comparison of parametric
//! representations for monosyllabic word recognition", 1980; S. Young et al., "The HTK Book", section 5.4; for 40 bands
//! of 20 Hz to 4 kHz and 49 frames of 10 coefficients, Y. Zhang et al., "Hello Edge: keyword spotting on
//! microcontrollers", 2017, which MLPerf Tiny follows.
//!
//! The triangles are straight in Hz, as in librosa and torchaudio; TensorFlow's are straight in mel. Power is summed,
//! where MLPerf Tiny sums magnitudes.
//!
//! All of it is two matrix products with a square between, a logarithm and a third product. [`FrontEnd::dft_basis`],
//! [`FrontEnd::mel_filters`] and [`FrontEnd::dct`] are these matrices, so that the front end can be a part of a network:
//! a convolution of stride `hop` with the basis, squares, the sum of each pair, two 1x1 convolutions.

use std::f64::consts::PI;
use std::fmt;
use std::ops::Range;

use rustfft::algorithm::Radix4;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection};
use serde::{Deserialize, Serialize};

use crate::DataError;

/// How samples become what a network sees. [`Default`] is [`log_mel`](Self::log_mel) at 16 kHz.
///
/// # Shapes
/// - samples: `[clip]`, 16 bits each
/// - features: `[1, frames, coefficients]`, see [`shape`](Self::shape)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FrontEnd {
    /// Samples a second, in Hz.
    pub sample_rate: u32,
    /// Samples of a clip: a shorter recording gets zeros at its end, of a longer one the middle is kept.
    pub clip: usize,
    /// Samples of a frame.
    pub window: usize,
    /// Samples from the start of a frame to the start of the next.
    pub hop: usize,
    /// Mel filters.
    pub bands: usize,
    /// Where the lowest filter begins, in Hz.
    pub low: u32,
    /// Where the highest filter ends, in Hz; at most half the sample rate.
    pub high: u32,
    /// Cepstral coefficients (MFCC); without a number the network sees the bands themselves.
    pub coefficients: Option<usize>,
}

/// Numbers in rows, one row after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// The number of rows.
    pub rows: usize,
    /// Values of a row.
    pub columns: usize,
    /// `[rows, columns]`
    pub values: Vec<f32>,
}

/// No clip is longer: 4,194,304 samples, more than four minutes at 16 kHz.
const MAX_CLIP: usize = 1 << 22;

/// A bin at the very foot of a triangle, with a weight that is rounding, is outside.
const NOTHING: f64 = 1e-9;

/// More filters than this have no use, and windows of this size have no name.
const MAX_BANDS: usize = 1024;
const MAX_WINDOW: usize = 1 << 16;

impl FrontEnd {
    /// What a 16-bit sample is multiplied by before anything else: full scale becomes 1.
    pub const SCALE: f32 = 1.0 / 32768.0;

    /// What is added to the power in a band before its logarithm. At the default settings it is 10 dB and more above the
    /// rounding of 16-bit samples, and below the noise of most recordings; it hides what `f32` arithmetic on a board gets
    /// wrong.
    pub const FLOOR: f32 = 1e-6;

    /// Clips of 1 s, frames of 30 ms every 20 ms, 40 bands from 20 Hz to 4 kHz: `[1, 49, 40]` at 16 kHz.
    pub fn log_mel(sample_rate: u32) -> Self {
        let samples = |milliseconds: usize| sample_rate as usize * milliseconds / 1000;
        Self {
            sample_rate,
            clip: samples(1000),
            window: samples(30),
            hop: samples(20),
            bands: 40,
            low: 20,
            high: 4000.min(sample_rate / 2),
            coefficients: None,
        }
    }

    /// The first 10 cepstral coefficients of [`log_mel`](Self::log_mel): `[1, 49, 10]` at 16 kHz.
    pub fn mfcc(sample_rate: u32) -> Self {
        Self { coefficients: Some(10), ..Self::log_mel(sample_rate) }
    }

    /// What a network sees of a clip: one channel, frames, and bands or coefficients.
    pub fn shape(&self) -> [usize; 3] {
        [1, 1 + (self.clip - self.window) / self.hop, self.coefficients.unwrap_or(self.bands)]
    }

    /// Points of the Fourier transform: a frame, with zeros up to a power of two.
    pub fn transform(&self) -> usize {
        self.window.next_power_of_two()
    }

    /// The frequencies that any filter uses, as indices into the spectrum: bin `k` is at `k * sample_rate / transform`
    /// Hz.
    pub fn bins(&self) -> Range<usize> {
        let filters = self.filters();
        let first = filters.iter().map(|filter| filter.first).min().unwrap_or(0);
        let end = filters.iter().map(|filter| filter.first + filter.weights.len()).max().unwrap_or(0);
        first..end
    }

    /// The windowed Fourier basis, cosines and then sines: a frame times the rows `b` and `bins + b` gives the two parts
    /// of bin `b` of [`bins`](Self::bins), whose squares sum up to its power.
    ///
    /// # Shapes
    /// - returns: `[2 * bins, window]`, for samples times [`SCALE`](Self::SCALE)
    pub fn dft_basis(&self) -> Matrix {
        let (window, bins) = (self.hann(), self.bins());
        let mut values = Vec::with_capacity(2 * bins.len() * self.window);
        for part in [f64::cos, f64::sin] {
            for bin in bins.clone() {
                // Whole turns are left out in whole numbers: a large angle has a poor sine.
                let angle = |at: usize| 2.0 * PI * (bin * at % self.transform()) as f64 / self.transform() as f64;
                values.extend(window.iter().enumerate().map(|(at, weight)| (weight * part(angle(at))) as f32));
            }
        }
        Matrix { rows: 2 * bins.len(), columns: self.window, values }
    }

    /// The share of each bin's power in each band.
    ///
    /// # Shapes
    /// - returns: `[bands, bins]`
    pub fn mel_filters(&self) -> Matrix {
        let bins = self.bins();
        let mut values = vec![0.0; self.bands * bins.len()];
        for (row, filter) in values.chunks_exact_mut(bins.len().max(1)).zip(self.filters()) {
            for (value, weight) in row[filter.first - bins.start..].iter_mut().zip(filter.weights) {
                *value = weight as f32;
            }
        }
        Matrix { rows: self.bands, columns: bins.len(), values }
    }

    /// The orthonormal DCT-II that makes coefficients of the bands' logarithms, where there are coefficients.
    ///
    /// # Shapes
    /// - returns: `[coefficients, bands]`
    pub fn dct(&self) -> Option<Matrix> {
        let rows = self.coefficients?;
        let values = self.cosines(rows).into_iter().map(|value| value as f32).collect();
        Some(Matrix { rows, columns: self.bands, values })
    }

    /// The features of one clip.
    ///
    /// # Shapes
    /// - `samples`: `[clip]`
    /// - returns: `[1, frames, coefficients]`
    ///
    /// # Panics
    /// Panics on another number of samples, and on settings that [`check`](Self::check) refuses.
    pub fn features(&self, samples: &[i16]) -> Vec<f32> {
        let mut features = vec![0.0; self.shape().iter().product()];
        Extractor::new(self).extract(samples, &mut features);
        features
    }

    /// An error when no features can be computed like this.
    pub fn check(&self) -> Result<(), DataError> {
        let Self { sample_rate, clip, window, hop, bands, low, high, coefficients } = *self;
        let refuse = |problem: String| Err(DataError::FrontEnd { problem });
        if clip > MAX_CLIP || window > MAX_WINDOW || bands > MAX_BANDS {
            return refuse(format!(
                "a clip has at most {MAX_CLIP} samples, a window {MAX_WINDOW}, and there are at most {MAX_BANDS} bands"
            ));
        }
        if window < 2 || hop < 1 || clip < window {
            return refuse(format!(
                "windows of {window} samples every {hop} of a clip of {clip}: a window has at least 2 samples, a hop at \
                 least 1, and a clip at least one window"
            ));
        }
        if low >= high || high > sample_rate / 2 {
            return refuse(format!("bands from {low} to {high} Hz: choose 0 <= low < high <= {}", sample_rate / 2));
        }
        if bands == 0 || coefficients.is_some_and(|coefficients| !(1..=bands).contains(&coefficients)) {
            return refuse(format!("{bands} bands: choose at least 1, and 1 to {bands} coefficients or none"));
        }
        if let Some(empty) = self.filters().iter().position(|filter| filter.weights.is_empty()) {
            return refuse(format!(
                "band {empty} of {bands} lies between two frequencies of the {}-point spectrum and would always be \
                 empty; choose fewer bands or a longer window",
                self.transform()
            ));
        }
        Ok(())
    }

    /// The periodic Hann window: its period is the window's length, so the last value is not 0.
    fn hann(&self) -> Vec<f64> {
        let weight = |at: usize| 0.5 - 0.5 * (2.0 * PI * at as f64 / self.window as f64).cos();
        (0..self.window).map(weight).collect()
    }

    /// Triangles whose corners are equally spaced in mel, each from its neighbours' peaks to its own, 1 high.
    fn filters(&self) -> Vec<Filter> {
        let mel = |hertz: u32| 2595.0 * (1.0 + f64::from(hertz) / 700.0).log10();
        let (low, high) = (mel(self.low), mel(self.high));
        let corner = |nth: usize| {
            let at = low + (high - low) * nth as f64 / (self.bands + 1) as f64;
            700.0 * (10_f64.powf(at / 2595.0) - 1.0)
        };
        let frequency = |bin: usize| bin as f64 * f64::from(self.sample_rate) / self.transform() as f64;
        let mut filters = Vec::with_capacity(self.bands);
        for band in 0..self.bands {
            let [left, peak, right] = [0, 1, 2].map(|side| corner(band + side));
            let height = |bin: usize| {
                let rising = (frequency(bin) - left) / (peak - left);
                let falling = (right - frequency(bin)) / (right - peak);
                rising.min(falling)
            };
            let bins = 0..=self.transform() / 2;
            let inside: Vec<usize> = bins.filter(|&bin| height(bin) > NOTHING).collect();
            let first = inside.first().copied().unwrap_or(0);
            filters.push(Filter { first, weights: inside.into_iter().map(height).collect() });
        }
        filters
    }

    /// The first rows of the orthonormal DCT-II, `[rows, bands]`.
    fn cosines(&self, rows: usize) -> Vec<f64> {
        let n = self.bands as f64;
        let value = |row: usize, column: usize| {
            let norm = if row == 0 { (1.0 / n).sqrt() } else { (2.0 / n).sqrt() };
            norm * (PI * row as f64 * (column as f64 + 0.5) / n).cos()
        };
        (0..rows).flat_map(|row| (0..self.bands).map(move |column| value(row, column))).collect()
    }
}

impl Default for FrontEnd {
    fn default() -> Self {
        Self::log_mel(16_000)
    }
}

impl fmt::Display for FrontEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |samples: usize| samples as f64 * 1000.0 / f64::from(self.sample_rate);
        if let Some(coefficients) = self.coefficients {
            write!(f, "{coefficients} MFCC of ")?;
        }
        let Self { bands, low, high, sample_rate, .. } = *self;
        let [window, hop, clip] = [self.window, self.hop, self.clip].map(milliseconds);
        write!(f, "{bands} log-mel bands from {low} to {high} Hz, {window} ms every {hop} ms of {clip} ms ")?;
        write!(f, "at {sample_rate} Hz")
    }
}

/// The bins that a filter does not give 0, from the first.
struct Filter {
    first: usize,
    weights: Vec<f64>,
}

/// Computes features, many clips one after the other. It computes in `f64`, which costs little beside reading a file:
/// rounded to `f32`, the features do not depend on which instructions a machine's Fourier transform uses.
pub(crate) struct Extractor {
    front_end: FrontEnd,
    window: Vec<f64>,
    filters: Vec<Filter>,
    cosines: Vec<f64>,
    // Named, since a planner would bring along forms for processors and lengths that nobody has: a megabyte.
    fft: Radix4<f64>,
    frame: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    bands: Vec<f64>,
}

impl Extractor {
    /// Plans the transform for settings that [`FrontEnd::check`] accepts.
    pub(crate) fn new(front_end: &FrontEnd) -> Self {
        let fft = Radix4::new(front_end.transform(), FftDirection::Forward);
        // Samples are scaled where they meet the window.
        let scale = f64::from(FrontEnd::SCALE);
        Self {
            front_end: *front_end,
            window: front_end.hann().into_iter().map(|weight| weight * scale).collect(),
            filters: front_end.filters(),
            cosines: front_end.cosines(front_end.coefficients.unwrap_or(0)),
            frame: vec![Complex::default(); front_end.transform()],
            scratch: vec![Complex::default(); fft.get_inplace_scratch_len()],
            fft,
            bands: vec![0.0; front_end.bands],
        }
    }

    /// The features of one clip.
    ///
    /// # Shapes
    /// - `samples`: `[clip]`
    /// - `into`: `[1, frames, coefficients]`
    pub(crate) fn extract(&mut self, samples: &[i16], into: &mut [f32]) {
        let FrontEnd { clip, window, hop, .. } = self.front_end;
        let [_, frames, coefficients] = self.front_end.shape();
        assert_eq!(
            (samples.len(), into.len()),
            (clip, frames * coefficients),
            "samples of one clip, and their features"
        );
        for (samples, into) in samples.windows(window).step_by(hop).zip(into.chunks_exact_mut(coefficients)) {
            self.frame[window..].fill(Complex::default());
            for ((value, &sample), weight) in self.frame.iter_mut().zip(samples).zip(&self.window) {
                *value = Complex::new(f64::from(sample) * weight, 0.0);
            }
            self.fft.process_with_scratch(&mut self.frame, &mut self.scratch);
            for (band, filter) in self.bands.iter_mut().zip(&self.filters) {
                let bins = self.frame[filter.first..].iter().zip(&filter.weights);
                let power: f64 = bins.map(|(bin, weight)| bin.norm_sqr() * weight).sum();
                *band = (power + f64::from(FrontEnd::FLOOR)).ln();
            }
            if self.front_end.coefficients.is_none() {
                for (value, &band) in into.iter_mut().zip(&self.bands) {
                    *value = band as f32;
                }
                continue;
            }
            for (value, row) in into.iter_mut().zip(self.cosines.chunks_exact(self.bands.len())) {
                *value = row.iter().zip(&self.bands).map(|(cosine, band)| cosine * band).sum::<f64>() as f32;
            }
        }
    }
}
