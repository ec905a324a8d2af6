//! The settings of each preset, before anything is laid over them.

use ::train::{Recipe, Schedule};
use data::{Task, TextOptions};
use search::{policy::ControllerSettings, strategy::benas};

use super::{BaselineChoice, ComputeChoice, Preset, RecipeName, SearchConfig, Size, StrategyName, TrialsConfig};

impl Preset {
    /// The settings for images and sound.
    pub(super) fn settings(self) -> SearchConfig {
        let cosine = |max: f64, epochs: usize, warmup: f64| Schedule {
            max,
            min: 0.001,
            period: epochs as f64,
            growth: 2.0,
            warmup,
            drops: None,
        };
        let sgdr = Schedule { max: 0.05, min: 0.001, period: 10.0, growth: 2.0, warmup: 0.0, drops: None };
        // A batch of 160 is ENAS's; the paper's own table of settings is lost. Reconstruction.
        let recipe = Recipe::published;
        // A search of few epochs makes few controller updates, so each must count for more.
        let hasty = ControllerSettings { lr: 0.01, baseline_decay: 0.9, ..ControllerSettings::default() };
        let b_enas = benas::Settings::default();
        let base = SearchConfig {
            target: "host".to_owned(),
            data: "fashion-tiny".to_owned(),
            task: None,
            image_size: None,
            front_end: None,
            cells: None,
            sample_rate: None,
            vocabulary: None,
            segment: None,
            validation: 0.2,
            strategy: StrategyName::BEnas,
            supernet: None,
            seed: 0,
            preset: self,
            compute: ComputeChoice::Auto,
            device: None,
            calibration: None,
            agent: None,
            device_wait: None,
            allow_noisy: false,
            deadline: None,
            baseline: BaselineChoice::Rival,
            max_latency: None,
            max_memory: None,
            max_flash: None,
            max_params: None,
            max_macs: None,
            max_activations: None,
            max_train_time: None,
            min: Vec::new(),
            soft: Vec::new(),
            proxy: Size { layers: 3, channels: 20 },
            deployed: Size { layers: 11, channels: 36 },
            b_enas: b_enas.clone(),
            // 20 epochs are NASNet's and EPNAS's.
            trials: TrialsConfig { evaluations: 500, epochs: 20 },
            search_recipe: recipe(b_enas.epochs, 160, sgdr),
            recipe: RecipeName::Published,
            training: recipe(150, 160, sgdr),
            made_with: None,
        };
        match self {
            Self::Demo => SearchConfig {
                baseline: BaselineChoice::Searched,
                proxy: Size { layers: 3, channels: 4 },
                deployed: Size { layers: 11, channels: 6 },
                b_enas: benas::Settings {
                    epochs: 10,
                    controller_steps: 12,
                    cells_per_gradient: 3,
                    controller: hasty,
                    ..b_enas
                },
                trials: TrialsConfig { evaluations: 24, epochs: 2 },
                search_recipe: recipe(10, 50, cosine(0.05, 10, 0.5)),
                training: recipe(10, 32, cosine(0.08, 10, 0.5)),
                ..base
            },
            Self::Small => SearchConfig {
                proxy: Size { layers: 3, channels: 8 },
                deployed: Size { layers: 11, channels: 12 },
                b_enas: benas::Settings {
                    epochs: 15,
                    controller_steps: 20,
                    cells_per_gradient: 5,
                    controller: hasty,
                    ..b_enas
                },
                trials: TrialsConfig { evaluations: 60, epochs: 4 },
                search_recipe: recipe(15, 100, cosine(0.05, 15, 1.0)),
                training: recipe(20, 64, cosine(0.1, 20, 1.0)),
                ..base
            },
            // ENAS keeps 0.9 of the features before the classifier. Reconstruction.
            Self::Paper => SearchConfig {
                validation: 0.1,
                search_recipe: Recipe { dropout_keep: 0.9, ..base.search_recipe.clone() },
                training: Recipe { dropout_keep: 0.9, ..base.training.clone() },
                ..base
            },
        }
    }

    /// The settings for running text, for which nobody has published a search under budgets: sizes and epochs are those of
    /// the searches for recurrent cells where they are known, and ours elsewhere.
    pub(super) fn of_text(self) -> SearchConfig {
        let base = self.settings();
        let usual = TextOptions::default();
        let text = |vocabulary, segment| SearchConfig {
            task: Some(Task::Language),
            vocabulary: Some(vocabulary),
            segment: Some(segment),
            ..base.clone()
        };
        let size = |features| Size { layers: 1, channels: features };
        let b_enas = |epochs, controller_steps| benas::Settings {
            epochs,
            controller_steps,
            reward_scale: REWARD_OF_WORDS,
            ..base.b_enas.clone()
        };
        match self {
            Self::Demo => SearchConfig {
                proxy: size(12),
                deployed: size(16),
                b_enas: b_enas(3, 10),
                trials: TrialsConfig { evaluations: 8, epochs: 1 },
                search_recipe: Recipe::words(3, 32),
                training: Recipe::words(3, 32),
                ..text(500, 20)
            },
            Self::Small => SearchConfig {
                proxy: size(48),
                deployed: size(64),
                b_enas: b_enas(6, 20),
                trials: TrialsConfig { evaluations: 24, epochs: 2 },
                search_recipe: Recipe::words(6, 32),
                training: Recipe::words(12, 32),
                ..text(2_000, usual.segment)
            },
            // Sizes of DARTS; epochs of ENAS's search, and of Li and Talwalkar's final trainings.
            Self::Paper => SearchConfig {
                proxy: size(300),
                deployed: size(850),
                b_enas: b_enas(base.b_enas.epochs, base.b_enas.controller_steps),
                search_recipe: Recipe::words(base.b_enas.epochs, 64),
                training: Recipe::words(3_600, 64).with_dropout(),
                ..text(usual.vocabulary, usual.segment)
            },
        }
    }
}

/// ENAS's `c`: what 1 / perplexity is multiplied with to be a reward.
const REWARD_OF_WORDS: f64 = 80.0;
