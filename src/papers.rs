//! What published systems reached, as printed, to stand beside what a reproduction reaches.

use data::Task;

/// A published system that can be reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Paper {
    /// Budgeted efficient neural architecture search (Xu Qiang et al.)
    BEnas,
    /// Efficient neural architecture search, cells (Pham et al., 2018)
    Enas,
    /// Efficient neural architecture search, whole networks (Pham et al., 2018)
    EnasMacro,
    /// Budgeted super networks (Veniat and Denoyer, 2018)
    Bsn,
    /// Neural architecture search with reinforcement learning, convolutional (Zoph and Le, 2016)
    NasRl,
    /// NASNet: transferable cells by PPO (Zoph et al., 2018)
    Nasnet,
    /// Resource-efficient policies that edit modules (Zhou et al., EPNAS)
    Epnas,
    /// Neural Architect, or RENA: edits by actor and critic (Zhou and Diamos, 2018)
    NeuralArchitect,
    /// Resource-constrained greedy search (Xiong, Mehta and Singh, 2019)
    Rcas,
    /// Asynchronous successive halving (Li et al., 2018; Li and Talwalkar, 2019)
    Asha,
    /// Random search with weight sharing (Li and Talwalkar, 2019)
    RandomWs,
    /// Differentiable architecture search, by first order (Liu, Simonyan and Yang, 2019)
    Darts,
    /// The same by second order
    DartsSecondOrder,
    /// Auto-DeepLab: cells and strides for the classes of pixels (C. Liu et al., 2019)
    AutoDeeplab,
    /// Efficient neural architecture search, recurrent cells of a language model (Pham et al., 2018), beside an LSTM
    EnasPtb,
    /// Random search with weight sharing, the recurrent cells of DARTS (Li and Talwalkar, 2019), beside an LSTM
    RandomWsPtb,
    /// Neural architecture search with reinforcement learning, recurrent cells (Zoph and Le, 2016), beside an LSTM
    NasRlPtb,
    /// Asynchronous successive halving on the recurrent cells of DARTS (Li and Talwalkar, 2019), beside an LSTM
    AshaPtb,
    /// Differentiable architecture search, recurrent cells (Liu, Simonyan and Yang, 2019), beside an LSTM
    DartsPtb,
    /// Keyword spotting by EPNAS's module search within a board's budget (Zhou et al.), beside DS-CNN
    Kws,
}

/// A network that is trained beside what was found, by the same recipe on the same data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// A language model of one LSTM.
    Lstm,
    /// DS-CNN, published for keyword spotting.
    DsCnn,
    /// A plain network for the classes of pixels, about as large as what was found.
    PlainDeeplab,
}

/// A printed figure.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Printed {
    /// The network or the setting.
    pub what: &'static str,
    /// Test error, in percent.
    pub error: f64,
    /// Parameters, in millions; absent where the paper does not say.
    pub params: Option<f64>,
    /// Where it was read: the paper's text, its authors' code, or another paper that quotes it.
    pub tag: &'static str,
}

/// A figure that was printed of another data set than the reproduction's usual one: it stands there to be seen, not to be
/// reached.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Elsewhere {
    /// The network or the setting.
    pub what: &'static str,
    /// What was measured, with its unit.
    pub measure: &'static str,
    /// Its value.
    pub value: f64,
    /// Of which data.
    pub data: &'static str,
    /// Parameters, in millions; absent where the paper does not say.
    pub params: Option<f64>,
    /// Where it was read.
    pub tag: &'static str,
}

impl Paper {
    /// Printed figures of other data sets.
    pub fn elsewhere(self) -> &'static [Elsewhere] {
        const fn row(what: &'static str, value: f64, data: &'static str, params: Option<f64>) -> Elsewhere {
            Elsewhere { what, measure: "% mean IoU", value, data, params, tag: "paper" }
        }
        const fn words(what: &'static str, value: f64, params: Option<f64>, tag: &'static str) -> Elsewhere {
            Elsewhere { what, measure: "test perplexity", value, data: "Penn TreeBank", params, tag }
        }
        const AUTO_DEEPLAB: [Elsewhere; 4] = [
            row("Auto-DeepLab-S, not pretrained", 79.74, "Cityscapes, validation", Some(10.15)),
            row("Auto-DeepLab-M, not pretrained", 80.04, "Cityscapes, validation", Some(21.62)),
            row("Auto-DeepLab-L, not pretrained", 80.33, "Cityscapes, validation", Some(44.42)),
            row("Auto-DeepLab-L, with coarse labels", 82.1, "Cityscapes, test", None),
        ];
        const ENAS_PTB: [Elsewhere; 3] = [
            words("first submission", 71.3, Some(8.0), "paper"),
            words("first submission, larger", 64.6, Some(21.0), "paper"),
            words("its cell, trained again", 58.6, None, "Li and Talwalkar, Table 6"),
        ];
        const RANDOM_WS_PTB: [Elsewhere; 4] = [
            words("random search with weight sharing", 55.5, None, "paper, Table 6"),
            words("DARTS, second order", 55.7, Some(23.0), "paper, Table 6"),
            words("ASHA", 56.4, None, "paper, Table 6"),
            words("a random cell", 59.4, None, "paper, Table 6"),
        ];
        const NAS_RL_PTB: [Elsewhere; 3] = [
            words("NAS cell", 67.9, Some(32.0), "paper"),
            words("NAS cell, embeddings shared", 64.0, Some(25.0), "paper"),
            words("NAS cell, larger, embeddings shared", 62.4, Some(54.0), "paper"),
        ];
        const ASHA_PTB: [Elsewhere; 2] =
            [words("ASHA", 56.4, None, "paper, Table 6"), words("a random cell", 59.4, None, "paper, Table 6")];
        const DARTS_PTB: [Elsewhere; 2] = [
            words("DARTS, second order", 55.7, Some(23.0), "paper"),
            words("a random cell", 59.4, None, "Li and Talwalkar, Table 6"),
        ];
        match self {
            Self::AutoDeeplab => &AUTO_DEEPLAB,
            Self::EnasPtb => &ENAS_PTB,
            Self::RandomWsPtb => &RANDOM_WS_PTB,
            Self::NasRlPtb => &NAS_RL_PTB,
            Self::AshaPtb => &ASHA_PTB,
            Self::DartsPtb => &DARTS_PTB,
            Self::BEnas
            | Self::Enas
            | Self::EnasMacro
            | Self::Bsn
            | Self::NasRl
            | Self::Nasnet
            | Self::Epnas
            | Self::NeuralArchitect
            | Self::Rcas
            | Self::Asha
            | Self::RandomWs
            | Self::Darts
            | Self::DartsSecondOrder
            | Self::Kws => &[],
        }
    }

    /// Printed test errors on the data set that the reproduction uses; the first is what it is held to.
    pub fn printed(self) -> &'static [Printed] {
        const fn row(what: &'static str, error: f64, params: Option<f64>, tag: &'static str) -> Printed {
            Printed { what, error, params, tag }
        }
        const B_ENAS: [Printed; 0] = [];
        const ENAS: [Printed; 2] = [
            row("micro", 3.54, Some(4.6), "quoted by EPNAS, Table 4"),
            row("micro, cutout", 2.89, Some(4.6), "quoted by EPNAS, Table 4"),
        ];
        const ENAS_MACRO: [Printed; 2] = [
            row("macro", 4.23, Some(21.3), "quoted by EPNAS, Table 4"),
            row("first submission, best", 3.86, Some(32.0), "paper"),
        ];
        const BSN: [Printed; 1] = [row("first version, depth 16", 9.21, None, "quoted by ENAS, Table 1")];
        const NAS_RL: [Printed; 4] = [
            row("no stride, 15 layers", 5.50, Some(4.2), "paper"),
            row("strides, 20 layers", 6.01, Some(2.5), "paper"),
            row("max pooling, 39 layers", 4.47, Some(7.1), "paper"),
            row("max pooling, more filters", 3.65, Some(37.4), "paper"),
        ];
        const NASNET: [Printed; 3] = [
            row("NASNet-A 6@768", 3.41, Some(3.3), "paper"),
            row("NASNet-A 6@768, cutout", 2.65, Some(3.3), "paper"),
            row("NASNet-A 7@2304, cutout", 2.40, Some(27.6), "paper"),
        ];
        const EPNAS: [Printed; 2] = [
            row("module search", 3.32, Some(4.0), "paper, Table 4"),
            row("module search, cutout", 2.84, Some(4.0), "paper, Table 4"),
        ];
        const NEURAL_ARCHITECT: [Printed; 2] = [
            row("compute intensity above 100 FLOPs/byte", 2.95, None, "abstract of RENA"),
            row("size below 3 M", 3.87, None, "abstract of RENA"),
        ];
        const RCAS: [Printed; 2] = [
            row("RCNet, CIFAR-100", 23.9, Some(1.92), "paper"),
            row("MobileNetV2, CIFAR-100", 25.8, Some(2.4), "paper"),
        ];
        const DARTS: [Printed; 2] = [
            row("first order, cutout", 3.00, Some(3.3), "paper"),
            row("random cells of this space, cutout", 3.29, Some(3.2), "paper, not verified"),
        ];
        const DARTS_SECOND_ORDER: [Printed; 2] = [
            row("second order, cutout", 2.76, Some(3.3), "paper"),
            row("random cells of this space, cutout", 3.29, Some(3.2), "paper, not verified"),
        ];
        const NONE: [Printed; 0] = [];
        match self {
            Self::BEnas => &B_ENAS,
            Self::Enas => &ENAS,
            Self::EnasMacro => &ENAS_MACRO,
            Self::Bsn => &BSN,
            Self::NasRl => &NAS_RL,
            Self::Nasnet => &NASNET,
            Self::Epnas => &EPNAS,
            Self::NeuralArchitect => &NEURAL_ARCHITECT,
            Self::Rcas => &RCAS,
            Self::Darts => &DARTS,
            Self::DartsSecondOrder => &DARTS_SECOND_ORDER,
            // Their printed figures for CIFAR-10, and those for Speech Commands, could not be verified.
            Self::Asha | Self::RandomWs | Self::Kws => &NONE,
            // Of another data set: `elsewhere`.
            Self::AutoDeeplab | Self::EnasPtb | Self::RandomWsPtb | Self::NasRlPtb | Self::AshaPtb | Self::DartsPtb => {
                &NONE
            }
        }
    }

    /// What stands beside it, where random search at equal cost is not all.
    pub fn rival(self) -> Option<Rival> {
        match self {
            Self::Kws => Some(Rival::DsCnn),
            Self::AutoDeeplab => Some(Rival::PlainDeeplab),
            _ if self.task() == Task::Language => Some(Rival::Lstm),
            _ => None,
        }
    }

    /// Whether it is itself the random search that stands beside the others.
    pub fn is_random(self) -> bool {
        matches!(self, Self::RandomWs | Self::RandomWsPtb)
    }

    /// Whether its choices stay open while it searches.
    pub fn is_relaxed(self) -> bool {
        matches!(self, Self::Darts | Self::DartsSecondOrder | Self::AutoDeeplab | Self::DartsPtb)
    }

    /// What its networks are asked.
    pub fn task(self) -> Task {
        match self {
            Self::BEnas
            | Self::Enas
            | Self::EnasMacro
            | Self::Bsn
            | Self::NasRl
            | Self::Nasnet
            | Self::Epnas
            | Self::NeuralArchitect
            | Self::Rcas
            | Self::Asha
            | Self::RandomWs
            | Self::Darts
            | Self::DartsSecondOrder
            | Self::Kws => Task::Classification,
            Self::AutoDeeplab => Task::Segmentation,
            Self::EnasPtb | Self::RandomWsPtb | Self::NasRlPtb | Self::AshaPtb | Self::DartsPtb => Task::Language,
        }
    }

    /// The data set of the printed figures, where it can be had by name.
    pub fn data(self) -> Option<&'static str> {
        match self {
            Self::Rcas => Some("cifar100"),
            Self::BEnas
            | Self::Enas
            | Self::EnasMacro
            | Self::Bsn
            | Self::NasRl
            | Self::Nasnet
            | Self::Epnas
            | Self::NeuralArchitect
            | Self::Asha
            | Self::RandomWs
            | Self::Darts
            | Self::DartsSecondOrder => Some("cifar10"),
            // A folder of WAV files, of images and masks, or of text.
            Self::Kws
            | Self::AutoDeeplab
            | Self::EnasPtb
            | Self::RandomWsPtb
            | Self::NasRlPtb
            | Self::AshaPtb
            | Self::DartsPtb => None,
        }
    }
}
