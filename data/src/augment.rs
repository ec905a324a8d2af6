//! Random variations of training images and sound that keep their class.

use serde::{Deserialize, Serialize};

use crate::keyed;
use crate::source::{Kind, Source};

/// Pads, crops back at a random place, and mirrors half of the images; moves sound in time and makes it louder or
/// quieter. What is for images does nothing to sound, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augment {
    /// Pixels added on each side before a crop of the original size. They are zeros after
    /// normalisation, that is, of the training images' mean colour.
    pub pad: usize,
    /// Whether a random half is mirrored left to right, with the masks of scenes.
    pub flip: bool,
    /// Whether scenes are enlarged or made smaller, by 0.5 to 2 in steps of 0.25, and cropped at a random place, masks as
    /// images; what lies outside is of no class. In the place of `pad`, which is for images with one class.
    #[serde(default)]
    pub zoom: bool,
    /// Side, in pixels, of a square at a random place that is blanked, as `pad` is (T. DeVries and G. W. Taylor,
    /// 2017); it may reach over the border. 0 blanks nothing. Of sound, it blanks as many frames of as many bands.
    #[serde(default)]
    pub cutout: usize,
    /// Samples by which a clip is moved at most, to earlier or later; zeros follow it in.
    #[serde(default)]
    pub shift: usize,
    /// Decibels by which a clip is made louder or quieter at most. What is too loud for 16 bits is clipped, as a
    /// recording would be.
    #[serde(default)]
    pub gain: u8,
}

/// Which variation an image or clip gets: it depends on nothing else than this and its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AugmentKey {
    /// What may be varied.
    pub augment: Augment,
    /// The run's seed.
    pub seed: u64,
    /// The pass over the data, below 2^32.
    pub epoch: u64,
}

/// One drawn variation of a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SoundVariation {
    /// Samples by which the clip starts later; negative is earlier.
    pub(crate) shift: isize,
    /// What samples are multiplied by.
    pub(crate) gain: f64,
}

/// One drawn variation of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SceneVariation {
    /// Height and width of the enlarged or smaller scene, in pixels.
    pub(crate) size: [usize; 2],
    /// Where the crop starts in it: negative where the scene is smaller than its crop.
    pub(crate) start: [isize; 2],
    pub(crate) mirrored: bool,
}

/// One drawn variation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variation {
    /// Where the crop starts in the padded image, in pixels; `pad` is the original place.
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) mirrored: bool,
    /// Row and column of the middle of what is blanked.
    pub(crate) blank: [usize; 2],
}

impl Augment {
    /// Images and sound as they are.
    pub const NONE: Self = Self { pad: 0, flip: false, zoom: false, cutout: 0, shift: 0, gain: 0 };

    /// What suits a data set.
    ///
    /// Photos get an eighth of the side as padding, 4 pixels at 32x32, and mirroring, the usual
    /// recipe for CIFAR. Clothes are centred and fill their frame, so 2 pixels; a mirrored shoe is
    /// a shoe. Digits get nothing: a mirrored 3 is none, and 8x8 has no pixel to spare. Scenes are zoomed and mirrored
    /// (L.-C. Chen et al., 2017). Sound is moved by up to 100 ms
    /// (P. Warden, 2018; Y. Zhang et al., 2017) and its loudness changed by up to 3 dB, in the place of the noise that
    /// they mix in: a class folder has none.
    pub fn for_source(source: &Source) -> Self {
        let [_, height, width] = source.shape;
        match source.kind {
            Kind::Photos => Self { pad: height.min(width) / 8, flip: true, ..Self::NONE },
            Kind::Clothes => Self { pad: 2, flip: true, ..Self::NONE },
            Kind::Digits | Kind::Text => Self::NONE,
            Kind::Scenes => Self { zoom: true, flip: true, ..Self::NONE },
            Kind::Sounds => {
                let sample_rate = source.front_end.unwrap_or_default().sample_rate;
                Self { shift: sample_rate as usize / 10, gain: 3, ..Self::NONE }
            }
        }
    }
}

impl AugmentKey {
    /// Draws the variation of the image at `idx`, which has this height and width.
    pub(crate) fn draw(&self, idx: usize, sides: [usize; 2]) -> Variation {
        let Augment { pad, flip, cutout, .. } = self.augment;
        let mut rng = keyed::rng(self.seed, "data/augment", self.epoch << 32 | idx as u64);
        let places = 2 * pad as u32 + 1;
        Variation {
            top: keyed::below(&mut rng, places) as usize,
            left: keyed::below(&mut rng, places) as usize,
            mirrored: flip && keyed::below(&mut rng, 2) == 1,
            blank: sides.map(|side| if cutout == 0 { 0 } else { keyed::below(&mut rng, side as u32) as usize }),
        }
    }

    /// Draws the variation of the scene at `idx`, which has this height and width.
    pub(crate) fn draw_scene(&self, idx: usize, sides: [usize; 2]) -> SceneVariation {
        /// Quarters of the size, from 0.5 to 2.
        const QUARTERS: std::ops::RangeInclusive<u32> = 2..=8;

        let mut rng = keyed::rng(self.seed, "data/augment/scene", self.epoch << 32 | idx as u64);
        let n_steps = QUARTERS.end() - QUARTERS.start() + 1;
        let quarters = if self.augment.zoom { QUARTERS.start() + keyed::below(&mut rng, n_steps) } else { 4 };
        let size = sides.map(|side| (side * quarters as usize).div_ceil(4));
        let start = [0, 1].map(|axis| {
            let room = size[axis] as isize - sides[axis] as isize;
            room.signum() * keyed::below(&mut rng, room.unsigned_abs() as u32 + 1) as isize
        });
        SceneVariation { size, start, mirrored: self.augment.flip && keyed::below(&mut rng, 2) == 1 }
    }

    /// Draws the variation of the clip at `idx`.
    pub(crate) fn draw_sound(&self, idx: usize) -> SoundVariation {
        let Augment { shift, gain, .. } = self.augment;
        let mut rng = keyed::rng(self.seed, "data/augment/sound", self.epoch << 32 | idx as u64);
        let steps = 100 * u32::from(gain);
        let shift = keyed::below(&mut rng, 2 * shift as u32 + 1) as isize - shift as isize;
        let decibels = (f64::from(keyed::below(&mut rng, 2 * steps + 1)) - f64::from(steps)) / 100.0;
        SoundVariation { shift, gain: 10_f64.powf(decibels / 20.0) }
    }
}
