//! Training in Burn. Strategies see none of it: they ask [`search::evaluator::SharedWeights`].

mod bank;
mod network;
mod noise;
mod recipe;
mod steps;

pub mod alone;
pub mod fit;
pub mod ops;
pub mod recurrent;
pub mod relaxed;
pub mod shared;

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use data::{Augment, Batch, IGNORED, Normalisation, Part, Tally, Task};
use graph::Graph;

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
    /// The training records as batches of this size take them: text in streams, everything else as it is, to be shuffled.
    fn order(&self, batch: usize) -> Vec<usize> {
        match self.part.task {
            Task::Classification | Task::Segmentation => self.train.clone(),
            Task::Language => data::streams(&self.train, batch),
        }
    }

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

/// Mean cross-entropy over the places whose class is known, in nats; each label shares `smoothing` of its weight evenly
/// with all classes.
///
/// # Shapes
/// - logits: `[batch * places, classes]`
/// - labels: `[batch * places]`
/// - returns `[1]`
fn cross_entropy(logits: Tensor<2>, labels: &[u32], smoothing: f64) -> Tensor<1> {
    let [n, classes] = logits.dims();
    let rest = (smoothing / classes as f64) as f32;
    let mut wanted = vec![0.0; n * classes];
    let known = || labels.iter().enumerate().filter(|&(_, &label)| label != IGNORED);
    for (row, &label) in known() {
        let row = &mut wanted[row * classes..(row + 1) * classes];
        row.fill(rest);
        row[label as usize] += 1.0 - smoothing as f32;
    }
    let n_known = known().count().max(1);
    let wanted = Tensor::<2>::from_data(TensorData::new(wanted, [n, classes]), &logits.device());
    (burn::tensor::activation::log_softmax(logits, 1) * wanted).sum().mul_scalar(-1.0 / n_known as f64)
}

/// Logits for the records of a batch, and what batch norms saw. Of text, memories begin with `state` and leave there what
/// they end with.
///
/// # Shapes
/// - records: `[batch, channels, height, width]`
/// - returns `[batch * places, classes]`
fn answers(
    graph: &Graph,
    loan: &bank::Loan,
    task: Task,
    records: Tensor<4>,
    state: &mut recurrent::State,
    statistics: Statistics,
) -> (Tensor<2>, Vec<network::BatchStatistics>) {
    match task {
        Task::Classification | Task::Segmentation => forward(graph, loan, records, statistics),
        Task::Language => recurrent::unroll(graph, loan, records, state, statistics, &recurrent::Masks::default()),
    }
}

/// Counts the answers that `logits` give: of each row the class of its largest value; of words also how probable those were
/// that came.
///
/// # Shapes
/// - logits: `[batch * places, classes]`
/// - labels: `[batch * places]`
fn count(tally: &mut Tally, logits: Tensor<2>, labels: &[u32]) {
    if tally.task() == Task::Language {
        let nats = recurrent::nats(logits.clone(), labels).into_data();
        let known = nats.iter::<f64>().zip(labels).filter(|(_, label)| **label != IGNORED);
        tally.add_nats(known.map(|(nats, _)| nats));
    }
    let guesses: Tensor<2, Int> = logits.argmax(1);
    let guesses = guesses.into_data();
    tally.add(guesses.iter::<i64>().map(|guess| guess as usize), labels);
}
