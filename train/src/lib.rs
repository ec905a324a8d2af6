//! Training in Burn. Strategies see none of it: they ask [`search::evaluator::SharedWeights`].

mod bank;
mod network;
mod recipe;
mod steps;

pub mod alone;
pub mod fit;
pub mod ops;
pub mod relaxed;
pub mod shared;

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use data::{Augment, Batch, Normalisation, Part};

pub use bank::WeightBank;
pub use network::{Shares, Statistics, forward, forward_open};
pub use recipe::{Recipe, Schedule};

/// The images of one run: a training part divided into training and validation indices.
#[derive(Clone, Debug)]
pub struct TrainingSet {
    /// All images of the training part.
    pub part: Arc<Part>,
    /// Those that weights learn from.
    pub train: Vec<usize>,
    /// Those that architectures and checkpoints are chosen by.
    pub validation: Vec<usize>,
    /// Measured on the training indices alone.
    pub normalisation: Normalisation,
    /// How training images vary.
    pub augment: Augment,
}

impl TrainingSet {
    /// How training images vary under `recipe`.
    fn varied(&self, recipe: &Recipe) -> Augment {
        let [_, height, width] = self.part.shape;
        Augment { cutout: (recipe.cutout * height.min(width) as f64).round() as usize, ..self.augment }
    }
}

/// Which machine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    /// The processor: the same result for any number of threads.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
}

impl Compute {
    /// Burn's device.
    fn device(self) -> Device {
        match self {
            Self::Cpu => Device::flex(),
            #[cfg(feature = "cuda")]
            Self::Cuda => Device::cuda(0),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda => unreachable!("`cuda_devices` is 0 without the feature, so nobody asks for CUDA"),
        }
    }

    /// Number of CUDA devices that this build can use here.
    pub fn cuda_devices() -> usize {
        #[cfg(feature = "cuda")]
        {
            Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len()
        }
        #[cfg(not(feature = "cuda"))]
        0
    }

    /// Whether this build has the CUDA backend at all.
    pub fn has_cuda() -> bool {
        cfg!(feature = "cuda")
    }
}

/// The images of a batch as a tensor.
///
/// # Shapes
/// - returns `[n, channels, height, width]`
fn images(batch: Batch, shape: [usize; 3], device: &Device) -> Tensor<4> {
    let [channels, height, width] = shape;
    let data = TensorData::new(batch.pixels, [batch.n, channels, height, width]);
    Tensor::from_data(data, device)
}

/// Mean cross-entropy, in nats; each label shares `smoothing` of its weight evenly with all classes.
///
/// # Shapes
/// - logits: `[batch, classes]`
/// - returns `[1]`
fn cross_entropy(logits: Tensor<2>, labels: &[u32], smoothing: f64) -> Tensor<1> {
    let [n, classes] = logits.dims();
    let rest = (smoothing / classes as f64) as f32;
    let mut wanted = vec![rest; n * classes];
    for (row, &label) in labels.iter().enumerate() {
        wanted[row * classes + label as usize] += 1.0 - smoothing as f32;
    }
    let wanted = Tensor::<2>::from_data(TensorData::new(wanted, [n, classes]), &logits.device());
    (burn::tensor::activation::log_softmax(logits, 1) * wanted).sum().mul_scalar(-1.0 / n as f64)
}

/// How many rows of `logits` have their largest value at their label.
fn n_correct(logits: Tensor<2>, labels: &[u32]) -> usize {
    let guesses: Tensor<2, Int> = logits.argmax(1);
    let guesses = guesses.into_data();
    guesses.iter::<i64>().zip(labels).filter(|&(guess, &label)| guess == i64::from(label)).count()
}
