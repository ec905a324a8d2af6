//! What a run does: every setting, from the flags, a file, the target and the preset, in that order
//! of precedence.
//!
//! The four are laid over each other as TOML tables, so a flag and a key of the file are the same
//! thing, and a mistake in either is told by its name. The complete table is the first file of a
//! run; a run from that file is the same run.

use std::{path::Path, time::Duration};

use ::train::{Compute, Recipe};
use anyhow::{Context, Result};
use data::{FrontEnd, Options, Part, Source, Task, TextOptions};
use search::{
    space::Scale,
    strategy::{
        asha, benas, epnas, evolution, local_search, nas_rl, nasnet, neural_architect, random, random_ws, reinforce,
        surrogate,
    },
};
use serde::{Deserialize, Serialize};
use targets::{Bound, Budget, Metric, Target};

use crate::{devices, exit::usage, patience};

mod presets;

/// A complete configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SearchConfig {
    /// Name of the target, or path of a target file.
    pub target: String,
    /// Name or folder of the data set.
    pub data: String,
    /// What is asked of the data: `classification`, `segmentation` or `language`; absent: what the folder looks like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Size that images in class folders are brought to, such as `32x32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<String>,
    /// What sound becomes before a network sees it: `log-mel` or `mfcc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub front_end: Option<String>,
    /// Windows of sound's networks: `2d`, over frames and bands, or `1d`, over frames with the bands as channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cells: Option<String>,
    /// Samples a second of sound, such as `16kHz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<String>,
    /// Words of a text that are told apart at most, the most frequent ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// Words of a text that gradients pass through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<usize>,
    /// Share of the training images that choices are made by, in `(0, 1)`.
    pub validation: f64,
    /// Strategy.
    pub strategy: StrategyName,
    /// Shared weights that are searched as they are, instead of training some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supernet: Option<std::path::PathBuf>,
    /// Keys everything that is drawn.
    pub seed: u64,
    /// What the settings below were before anything else was laid over them.
    pub preset: Preset,
    /// Where to train.
    pub compute: ComputeChoice,
    /// A name of devices.toml, an address, `local`, `recorded:FILE`, `counted`, `none`, or absent: what is usual on the
    /// machine where the run begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// A file of `pipeline calibrate`, `none`, or absent: the one kept for the target, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<String>,
    /// File of the agent that is taken to a board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<std::path::PathBuf>,
    /// How long a board is waited for that went away in the middle of a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_wait: Option<String>,
    /// Uses measurements that noise makes invalid, and says so beside them.
    pub allow_noisy: bool,
    /// Active time after which the search answers with what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// What is done for the baseline.
    pub baseline: BaselineChoice,
    /// Hard upper bounds, with units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency: Option<String>,
    /// See `max_latency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<String>,
    /// See `max_latency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_flash: Option<String>,
    /// See `max_latency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_params: Option<String>,
    /// See `max_latency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_macs: Option<String>,
    /// See `max_latency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_activations: Option<String>,
    /// See `max_latency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_train_time: Option<String>,
    /// Hard lower bounds, each `METRIC=BOUND`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub min: Vec<String>,
    /// Soft upper bounds, each `METRIC=BOUND`: they shape the reward and rule nothing out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub soft: Vec<String>,
    /// Size of the networks trained while searching.
    pub proxy: Size,
    /// Size of the network that is deployed.
    pub deployed: Size,
    /// B-ENAS.
    pub b_enas: benas::Settings,
    /// Strategies that train each network on its own.
    pub trials: TrialsConfig,
    /// How weights are trained while searching; its epochs are those of the strategy.
    pub search_recipe: Recipe,
    /// Whose recipe `training` was before anything else was laid over it.
    pub recipe: RecipeName,
    /// How the final network is trained.
    pub training: Recipe,
    /// What the run was made with; written by the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_with: Option<MadeWith>,
}

/// Cells stacked and channels of the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// `N`: cells, the two reductions not counted.
    pub layers: usize,
    /// `F`: channels before the first reduction.
    pub channels: usize,
}

/// Versions and data of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MadeWith {
    /// This program.
    pub pipeline: String,
    /// SHA-256 over the training part.
    pub data_sha256: String,
}

/// Strategies of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyName {
    /// Budgeted efficient neural architecture search: an LSTM controller over shared weights.
    BEnas,
    /// Random search with weight sharing.
    RandomWs,
    /// Random search: each network is trained on its own, as by those below.
    Random,
    /// Regularized evolution.
    Evolution,
    /// Local search with restarts.
    LocalSearch,
    /// REINFORCE on independent logits.
    Reinforce,
    /// NAS-RL's controller.
    NasRl,
    /// NASNet's controller, by PPO.
    Nasnet,
    /// EPNAS's policy, which edits cells step by step.
    Epnas,
    /// Neural Architect's actor and critic, which edit cells step by step.
    NeuralArchitect,
    /// Asynchronous successive halving.
    Asha,
    /// Model-based search of our own: a Gaussian process says what is worth training next.
    Surrogate,
}

impl StrategyName {
    /// Name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::BEnas => benas::NAME,
            Self::RandomWs => random_ws::NAME,
            Self::Random => random::NAME,
            Self::Evolution => evolution::NAME,
            Self::LocalSearch => local_search::NAME,
            Self::Reinforce => reinforce::NAME,
            Self::NasRl => nas_rl::NAME,
            Self::Nasnet => nasnet::NAME,
            Self::Epnas => epnas::NAME,
            Self::NeuralArchitect => neural_architect::NAME,
            Self::Asha => asha::NAME,
            Self::Surrogate => surrogate::NAME,
        }
    }

    /// Whether networks are trained with shared weights; otherwise each is trained on its own.
    pub fn shares_weights(self) -> bool {
        matches!(self, Self::BEnas | Self::RandomWs)
    }

    /// The random search that it must beat with the same effort; none for those that are one.
    pub fn baseline(self) -> Option<Self> {
        match self {
            Self::RandomWs | Self::Random => None,
            Self::BEnas => Some(Self::RandomWs),
            Self::Evolution
            | Self::LocalSearch
            | Self::Reinforce
            | Self::NasRl
            | Self::Nasnet
            | Self::Epnas
            | Self::NeuralArchitect
            | Self::Asha
            | Self::Surrogate => Some(Self::Random),
        }
    }
}

/// How the final network is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RecipeName {
    /// As the papers train, in the epochs of the preset.
    Published,
    /// Our own, in a quarter of them: one cycle of the learning rate, label smoothing, cutout, averaged weights.
    OneCycle,
}

/// Effort of a strategy that trains each network on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialsConfig {
    /// Networks trained.
    pub evaluations: usize,
    /// Epochs of each, by the recipe of the search.
    pub epochs: usize,
}

/// Sizes of an undertaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// A few minutes on two cores: shows the whole way, not what it can reach.
    Demo,
    /// About an hour on two cores.
    Small,
    /// The schedule of the B-ENAS paper: days on a processor, for a GPU.
    Paper,
}

/// Where to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ComputeChoice {
    /// The processor.
    Cpu,
    /// The first NVIDIA GPU; an error where there is none.
    Cuda,
    /// A GPU where there is one, else the processor.
    Auto,
}

/// What is done for the baseline, random search with weight sharing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BaselineChoice {
    /// As `trained`, and of the two networks the one ships that does better on the validation part.
    Rival,
    /// Searched with the same effort, and its network trained by the same recipe.
    Trained,
    /// Searched with the same effort.
    Searched,
}

impl BaselineChoice {
    /// Whether its network is trained to the end.
    pub fn is_trained(self) -> bool {
        self != Self::Searched
    }
}

impl SearchConfig {
    /// Lays `flags` over `file` over the target's bounds over the preset.
    ///
    /// # Errors
    /// A key is unknown, a value has the wrong form, or the target is unknown.
    pub fn complete(flags: toml::Table, file: Option<toml::Table>) -> Result<Self> {
        let file = file.unwrap_or_default();
        let asked = |key: &str| flags.get(key).or_else(|| file.get(key)).cloned();
        let preset: Preset = match asked("preset") {
            Some(value) => value.try_into().map_err(|error| usage(format!("preset: {error}")))?,
            None => Preset::Small,
        };
        let task: Option<Task> = asked("task").and_then(|value| value.try_into().ok());
        let is_text = match task {
            Some(task) => task == Task::Language,
            None => asked("data").as_ref().and_then(toml::Value::as_str).is_some_and(Source::looks_like_text),
        };
        let mut settings = if is_text { preset.of_text() } else { preset.settings() };
        if let Some(name) = asked("recipe") {
            settings.recipe = name.try_into().map_err(|error| usage(format!("recipe: {error}")))?;
        }
        if settings.recipe == RecipeName::OneCycle {
            if is_text {
                return Err(usage("--recipe one-cycle is for images and sound; text has the published one"));
            }
            settings.training = Recipe::one_cycle(settings.training.epochs.div_ceil(4));
        }
        let mut table = toml::Table::try_from(settings).context("a preset is a table")?;
        if asked("supernet").is_some() {
            table.insert("strategy".to_owned(), random_ws::NAME.into());
        }
        if let Some(name) = asked("target").as_ref().and_then(toml::Value::as_str) {
            for bound in Target::find(name)?.budget.bounds {
                if let (Some(max), true) = (bound.metric.max_key(), bound.hard)
                    && let Some(value) = bound.max
                {
                    table.insert(max.to_owned(), exact(bound.metric, value).into());
                }
            }
        }
        overlay(&mut table, file);
        overlay(&mut table, flags);
        let config: Self = table.try_into().map_err(|error: toml::de::Error| {
            // The message, and below it the key.
            usage(error.to_string().trim_end().replace('\n', ", "))
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        self.budget()?;
        self.deadline()?;
        self.device_wait()?;
        self.options()?;
        let positive = [
            ("proxy.layers", self.proxy.layers),
            ("proxy.channels", self.proxy.channels),
            ("deployed.layers", self.deployed.layers),
            ("deployed.channels", self.deployed.channels),
            ("search-recipe.batch", self.search_recipe.batch),
            ("training.batch", self.training.batch),
            ("training.epochs", self.training.epochs),
            ("b-enas.cells_per_gradient", self.b_enas.cells_per_gradient),
            ("b-enas.candidates", self.b_enas.candidates),
            ("trials.evaluations", self.trials.evaluations),
            ("trials.epochs", self.trials.epochs),
        ];
        if let Some((key, _)) = positive.into_iter().find(|&(_, value)| value == 0) {
            return Err(usage(format!("{key} is 0; it must be at least 1")));
        }
        if self.supernet.is_some() && self.strategy != StrategyName::RandomWs {
            let name = self.strategy.name();
            return Err(usage(format!("--supernet searches shared weights at random; leave out --strategy {name}")));
        }
        if !(0.0 < self.validation && self.validation < 1.0) {
            return Err(usage(format!("validation is {}; it is a share between 0 and 1", self.validation)));
        }
        Ok(())
    }

    /// Every bound, hard and soft.
    pub fn budget(&self) -> Result<Budget> {
        let mut bounds = Vec::new();
        let hard = [
            (Metric::Latency, &self.max_latency),
            (Metric::Memory, &self.max_memory),
            (Metric::Flash, &self.max_flash),
            (Metric::Params, &self.max_params),
            (Metric::Macs, &self.max_macs),
            (Metric::Activations, &self.max_activations),
            (Metric::TrainTime, &self.max_train_time),
        ];
        for (metric, text) in hard {
            if let Some(text) = text {
                let flag = format!("--max-{}", metric.name());
                let max = Some(metric.parse(text).map_err(|error| usage(format!("{flag} {text}: {error}")))?);
                bounds.push(Bound { metric, min: None, max, hard: true });
            }
        }
        for text in &self.min {
            let (metric, value) = bound("--min", text)?;
            bounds.push(Bound { metric, min: Some(value), max: None, hard: true });
        }
        for text in &self.soft {
            let (metric, value) = bound("--soft", text)?;
            bounds.push(Bound { metric, min: None, max: Some(value), hard: false });
        }
        Ok(Budget { bounds })
    }

    /// The deadline, if there is one.
    pub fn deadline(&self) -> Result<Option<Duration>> {
        self.deadline.as_ref().map(|text| time("deadline", text)).transpose()
    }

    /// What measures; `None` where nothing does.
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref().filter(|it| *it != devices::NONE)
    }

    /// How long a lost board is waited for.
    pub fn device_wait(&self) -> Result<Duration> {
        self.device_wait.as_ref().map_or(Ok(patience::USUAL), |text| time("device-wait", text))
    }

    /// Height and width that images in class folders get, in pixels.
    pub fn image_size(&self) -> Result<Option<[usize; 2]>> {
        let parse = |text: &String| {
            let wrong = || usage(format!("--image-size {text}: write height x width in pixels, such as 32x32"));
            let (height, width) = text.split_once('x').ok_or_else(wrong)?;
            let side = |text: &str| text.parse().ok().filter(|side| (4..=1024).contains(side)).ok_or_else(wrong);
            Ok([side(height)?, side(width)?])
        };
        self.image_size.as_ref().map(parse).transpose()
    }

    /// What samples become before a network sees them.
    pub fn front_end(&self) -> Result<FrontEnd> {
        let rate = match &self.sample_rate {
            None => FrontEnd::default().sample_rate,
            Some(text) => hertz(text)?,
        };
        match self.front_end.as_deref() {
            None | Some("log-mel") => Ok(FrontEnd::log_mel(rate)),
            Some("mfcc") => Ok(FrontEnd::mfcc(rate)),
            Some(other) => Err(usage(format!("--front-end {other}: choose log-mel or mfcc"))),
        }
    }

    /// How data are read, wherever they lie.
    pub fn options(&self) -> Result<Options> {
        let (image_size, front_end, usual) = (self.image_size()?, self.front_end()?, TextOptions::default());
        if self.task != Some(Task::Language) && (self.vocabulary.is_some() || self.segment.is_some()) {
            return Err(usage("--vocabulary, segment: only text has words; name a folder with train.txt by --data"));
        }
        let text = TextOptions {
            vocabulary: self.vocabulary.unwrap_or(usual.vocabulary),
            segment: self.segment.unwrap_or(usual.segment),
        };
        Ok(Options { task: self.task, image_size, front_end, text, ..Options::default() })
    }

    /// The machine to train on.
    pub fn compute(&self) -> Result<Compute> {
        match self.compute {
            ComputeChoice::Cpu => Ok(Compute::Cpu),
            ComputeChoice::Auto if Compute::cuda_devices() == 0 => Ok(Compute::Cpu),
            ComputeChoice::Auto => Ok(Compute::Cuda),
            ComputeChoice::Cuda if 0 < Compute::cuda_devices() => Ok(Compute::Cuda),
            ComputeChoice::Cuda if Compute::has_cuda() => Err(usage(
                "--compute cuda: no NVIDIA GPU was found here; is the driver loaded? `pipeline doctor` tells more",
            )),
            ComputeChoice::Cuda => {
                Err(usage("--compute cuda: this build has no CUDA; build with `cargo build --release --features cuda`"))
            }
        }
    }

    /// Network sizes for this data: while searching, and deployed.
    ///
    /// # Errors
    /// `--cells` asks for what the data has not.
    pub fn scales(&self, source: &Source) -> Result<(Scale, Scale)> {
        let input = match (self.cells.as_deref(), source.front_end, source.shape) {
            (None | Some("2d"), ..) => source.shape,
            (Some("1d"), Some(_), [_, frames, coefficients]) => [coefficients, 1, frames],
            (Some("1d"), None, _) => return Err(usage("--cells 1d: only sound is a sequence; images take 2d")),
            (Some(other), ..) => return Err(usage(format!("--cells {other}: choose 1d or 2d"))),
        };
        let scale = |size: Size| Scale {
            layers: size.layers,
            channels: size.channels,
            input,
            classes: source.classes.len(),
            front_end: source.front_end,
            task: source.kind.task(),
        };
        // Features are made once for all training.
        Ok((scale(self.proxy).trained(), scale(self.deployed)))
    }

    /// Writes down what the run is made with, or says that the file was made with other data.
    pub fn seal(&mut self, part: &Part) -> Result<()> {
        let now = MadeWith { pipeline: env!("CARGO_PKG_VERSION").to_owned(), data_sha256: part.sha256() };
        if let Some(then) = &self.made_with
            && then.data_sha256 != now.data_sha256
        {
            return Err(usage(format!(
                "the data in {} is not what this configuration was made with (sha256 {} then, {} now); \
                 point --data at that data, or remove the table [made-with]",
                self.data, then.data_sha256, now.data_sha256
            )));
        }
        self.made_with = Some(now);
        Ok(())
    }

    /// The file's text.
    pub fn to_toml(&self) -> Result<String> {
        let text = toml::to_string_pretty(self).context("a configuration has a TOML form")?;
        Ok(format!(
            "# Everything this run depends on. Repeat it: pipeline search --config config.toml --run ANOTHER\n\n{text}"
        ))
    }

    /// Reads a file that [`SearchConfig::to_toml`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        Self::complete(toml::Table::new(), Some(read_table(path)?))
    }
}

/// The table in a file.
pub fn read_table(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse::<toml::Table>().map_err(|error| usage(format!("{}: {error}", path.display())))
}

/// The bounds in a file of its own: those keys of a configuration that bound something, and no others.
///
/// # Errors
/// The file cannot be read, has another key, or bounds nothing.
pub fn read_budget(path: &Path) -> Result<Budget> {
    let table = read_table(path)?;
    let keys: Vec<&str> = Metric::ALL.into_iter().filter_map(MaxKey::max_key).chain(["min", "soft"]).collect();
    let at = path.display();
    if let Some(key) = table.keys().find(|key| !keys.contains(&key.as_str())) {
        return Err(usage(format!("{at}: {key} bounds nothing; the keys of a budget are {}", keys.join(", "))));
    }
    if table.is_empty() {
        return Err(usage(format!("{at} bounds nothing; write for instance max-latency = \"20ms\"")));
    }
    let budget = SearchConfig::complete(table, None).and_then(|config| config.budget());
    budget.with_context(|| format!("in {at}"))
}

/// A duration given by a flag.
fn time(flag: &str, text: &str) -> Result<Duration> {
    let seconds = Metric::TrainTime.parse(text).map_err(|error| usage(format!("--{flag} {text}: {error}")))?;
    Ok(Duration::from_secs_f64(seconds))
}

/// `METRIC=BOUND`.
fn bound(flag: &str, text: &str) -> Result<(Metric, f64)> {
    let names = || Metric::ALL.map(Metric::name).join(", ");
    let wrong = || usage(format!("{flag} {text}: write METRIC=BOUND, such as latency=15ms; metrics are {}", names()));
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let metric = Metric::from_name(name.trim()).ok_or_else(wrong)?;
    let value = metric.parse(value.trim()).map_err(|error| usage(format!("{flag} {text}: {error}")))?;
    Ok((metric, value))
}

/// Lays `upper` over `lower`: tables are merged, everything else replaced.
fn overlay(lower: &mut toml::Table, upper: toml::Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => overlay(below, above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

/// A value with its unit, so that it reads back as the same number.
fn exact(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Latency | Metric::TrainTime => format!("{value}s"),
        Metric::Activations | Metric::Memory | Metric::Flash => format!("{value}B"),
        Metric::Params | Metric::Macs | Metric::Intensity => format!("{value}"),
    }
}

/// A metric's key in the configuration.
trait MaxKey {
    fn max_key(self) -> Option<&'static str>;
}

impl MaxKey for Metric {
    fn max_key(self) -> Option<&'static str> {
        match self {
            Self::Latency => Some("max-latency"),
            Self::Memory => Some("max-memory"),
            Self::Flash => Some("max-flash"),
            Self::Params => Some("max-params"),
            Self::Macs => Some("max-macs"),
            Self::Activations => Some("max-activations"),
            Self::TrainTime => Some("max-train-time"),
            Self::Intensity => None,
        }
    }
}

/// A sample rate, in Hz: `16kHz` or `8000Hz`.
fn hertz(text: &str) -> Result<u32> {
    let wrong = || usage(format!("--sample-rate {text}: write samples a second with a unit, such as 16kHz or 8000Hz"));
    let number = |digits: &str, unit: f64| {
        let hertz = digits.trim().parse::<f64>().ok().map(|number| number * unit)?;
        ((1_000.0..=192_000.0).contains(&hertz) && hertz.fract() == 0.0).then_some(hertz as u32)
    };
    let parsed = match (text.strip_suffix("kHz"), text.strip_suffix("Hz")) {
        (Some(digits), _) => number(digits, 1_000.0),
        (None, Some(digits)) => number(digits, 1.0),
        (None, None) => None,
    };
    parsed.ok_or_else(wrong)
}
