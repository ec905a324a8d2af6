//! How much of a paper's schedule is run.

use ::data::{Task, TextOptions};

use crate::{cli::ReproductionScale, papers::Paper};

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Images learned from, and validated on, while searching; `None` for 90 % and 10 % of all.
    pub(super) images: Option<[usize; 2]>,
    /// Networks trained each on its own, and epochs of each.
    pub(super) evaluations: usize,
    pub(super) epochs: usize,
    /// Epochs of shared training.
    pub(super) shared_epochs: usize,
    /// Layers and channels while searching, and at the end.
    pub(super) proxy: [usize; 2],
    pub(super) full: [usize; 2],
    /// Epochs of the final training.
    pub(super) final_epochs: usize,
    pub(super) batch: usize,
}

impl ReproductionScale {
    /// How text is read: with the paper's vocabulary and segments, or smaller ones.
    pub(super) fn text(self) -> TextOptions {
        match self {
            Self::Demo => TextOptions { vocabulary: 100, segment: 10 },
            Self::Small => TextOptions { vocabulary: 2_000, ..TextOptions::default() },
            Self::Paper => TextOptions::default(),
        }
    }

    pub(super) fn extent(self, paper: Paper) -> Extent {
        // Greedy search first tries each block alone, 192 of them.
        let at_least = |evaluations| if paper == Paper::Rcas { 400.max(evaluations) } else { evaluations };
        match self {
            Self::Demo if paper == Paper::AutoDeeplab => Extent {
                images: Some([24, 8]),
                evaluations: 0,
                epochs: 0,
                shared_epochs: 2,
                proxy: [3, 2],
                full: [3, 2],
                final_epochs: 3,
                batch: 4,
            },
            Self::Small if paper == Paper::AutoDeeplab => Extent {
                images: None,
                evaluations: 0,
                epochs: 0,
                shared_epochs: 20,
                proxy: [7, 4],
                full: [7, 8],
                final_epochs: 120,
                batch: 8,
            },
            Self::Demo if paper.task() == Task::Language => Extent {
                images: Some([40, 20]),
                evaluations: 3,
                epochs: 1,
                shared_epochs: 2,
                proxy: [1, 8],
                full: [1, 12],
                final_epochs: 3,
                batch: 8,
            },
            Self::Small if paper.task() == Task::Language => Extent {
                images: Some([4_000, 600]),
                evaluations: 16,
                epochs: 2,
                shared_epochs: 6,
                proxy: [1, 48],
                full: [1, 64],
                final_epochs: 8,
                batch: 32,
            },
            Self::Demo if paper.is_relaxed() => Extent {
                images: Some([128, 100]),
                evaluations: 0,
                epochs: 0,
                shared_epochs: 2,
                proxy: [3, 4],
                full: [3, 4],
                final_epochs: 3,
                batch: 32,
            },
            Self::Small if paper.is_relaxed() => Extent {
                images: Some([3_000, 1_000]),
                evaluations: 0,
                epochs: 0,
                shared_epochs: 15,
                proxy: [5, 8],
                full: [8, 12],
                final_epochs: 20,
                batch: 64,
            },
            // Sets of spoken words are small: networks see them more often.
            Self::Small if paper == Paper::Kws => {
                Extent { epochs: 8, final_epochs: 60, batch: 32, ..Self::Small.extent(Paper::Epnas) }
            }
            Self::Demo => Extent {
                images: Some([400, 200]),
                evaluations: at_least(6),
                epochs: 1,
                shared_epochs: 2,
                proxy: [1, 4],
                full: [1, 6],
                final_epochs: 3,
                batch: 50,
            },
            Self::Small => Extent {
                images: Some([3_000, 1_000]),
                evaluations: at_least(30),
                // With fewer no block of RCAS would be worth anything.
                epochs: if paper == Paper::Rcas { 3 } else { 2 },
                shared_epochs: 8,
                proxy: [2, 8],
                full: [3, 12],
                final_epochs: 15,
                batch: 64,
            },
            Self::Paper => {
                let (evaluations, epochs, final_epochs) = match paper {
                    Paper::NasRl => (12_800, 50, 150),
                    Paper::Nasnet => (20_000, 20, 600),
                    Paper::Epnas | Paper::Kws => (600, 20, 600),
                    // The paper prints no schedule; EPNAS's, layer by layer. Reconstruction.
                    Paper::NeuralArchitect => (1_200, 20, 600),
                    Paper::Rcas => (1_500, 10, 200),
                    Paper::Asha => (1_000, 300, 600),
                    Paper::BEnas => (0, 0, 150),
                    Paper::Bsn => (0, 0, 300),
                    Paper::Enas | Paper::EnasMacro | Paper::RandomWs => (0, 0, 630),
                    Paper::Darts | Paper::DartsSecondOrder => (0, 0, 600),
                    // The paper counts 1.5 M steps of crops of a set eight times as large as ours. Reconstruction.
                    Paper::AutoDeeplab => (0, 0, 500),
                    Paper::NasRlPtb => (15_000, 35, 300),
                    // More than 300 architectures, 300 epochs at most; evaluated as the others are.
                    Paper::AshaPtb => (1_000, 300, 3_600),
                    // As long as Li and Talwalkar's final evaluations.
                    Paper::EnasPtb | Paper::RandomWsPtb | Paper::DartsPtb => (0, 0, 3_600),
                };
                let (proxy, full) = match paper {
                    Paper::Nasnet => ([2, 32], [6, 32]),
                    Paper::NasRl | Paper::Rcas => ([6, 24], [6, 24]),
                    Paper::EnasMacro => ([12, 36], [24, 96]),
                    Paper::BEnas => ([3, 20], [11, 36]),
                    Paper::Bsn => ([8, 128], [8, 128]),
                    Paper::Darts | Paper::DartsSecondOrder => ([8, 16], [20, 36]),
                    Paper::AutoDeeplab => ([12, 8], [12, 20]),
                    // DARTS's sizes, for the others as well. Reconstruction.
                    Paper::EnasPtb | Paper::RandomWsPtb | Paper::NasRlPtb | Paper::AshaPtb | Paper::DartsPtb => {
                        ([1, 300], [1, 850])
                    }
                    Paper::Enas
                    | Paper::RandomWs
                    | Paper::Asha
                    | Paper::Epnas
                    | Paper::NeuralArchitect
                    | Paper::Kws => ([6, 20], [15, 36]),
                };
                let shared_epochs = match paper {
                    Paper::EnasMacro => 310,
                    Paper::Bsn => 300,
                    Paper::Darts | Paper::DartsSecondOrder => 50,
                    Paper::AutoDeeplab => 40,
                    Paper::RandomWsPtb | Paper::DartsPtb => 50,
                    _ => 150,
                };
                let batch = match paper {
                    Paper::AutoDeeplab => 2,
                    _ if paper.task() == Task::Language => 64,
                    _ if paper.is_relaxed() => 64,
                    _ => 128,
                };
                Extent { images: None, evaluations, epochs, shared_epochs, proxy, full, final_epochs, batch }
            }
        }
    }
}
