//! The command line.

mod bench;
mod board;
mod reproduce;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::{
    bench::{BenchArgs, BenchCommand, OracleArgs, RankingArgs, ScaleArgs, ScaleStepArgs},
    board::{AgentArgs, AgentBuild, AgentCommand, CalibrateArgs, DeviceArgs, DeviceCommand, DoctorArgs},
    reproduce::{Guard, ReproduceArgs, ReproductionScale},
    verify::VerifyArgs,
};
use crate::{
    config::{BaselineChoice, ComputeChoice, Preset, RecipeName, StrategyName},
    exit,
};

/// From a folder of data and a board to a network that provably runs on that board.
#[derive(Debug, Parser)]
#[command(version, about, after_help = exit::HELP, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Searches for a network under budgets, trains it, exports it and measures it.
    #[command(after_help = SEARCH_HELP)]
    Search(Box<SearchArgs>),
    /// Trains the architecture that a search has found.
    Train(StageArgs),
    /// Writes the trained network as ONNX and proves that the runtime computes the same.
    Export(ExportArgs),
    /// Measures a model on a device: that of a run, or any ONNX file.
    Measure(MeasureArgs),
    /// Holds models to their receipts, to budgets and to baselines: a gate for continuous integration.
    #[command(after_help = verify::HELP)]
    Verify(VerifyArgs),
    /// Writes report.html anew.
    Report(StageArgs),
    /// Shows what is in an ONNX file or a run folder.
    Inspect(InspectArgs),
    /// Tells why no network meets a budget and what would have to give, or what each bound costs.
    #[command(after_help = EXPLAIN_HELP)]
    Explain(Box<ExplainArgs>),
    /// Lists the targets, or shows one.
    Targets(TargetsArgs),
    /// Lists, checks and fetches data sets.
    Data(DataArgs),
    /// Builds the program that measures on a board.
    Agent(AgentArgs),
    /// Measures a few networks on a board, so that estimates rest on that board.
    Calibrate(CalibrateArgs),
    /// Names boards that are reached over ssh or adb, and checks and cleans them.
    #[command(after_help = board::HELP)]
    Device(DeviceArgs),
    /// Tells what this machine can do for a search, and what stands in the way of measuring.
    Doctor(DoctorArgs),
    /// Compares strategies where every answer is known.
    Bench(BenchArgs),
    /// Repeats a published system at a declared scale, beside random search at equal cost and what was printed.
    #[command(after_help = reproduce::HELP)]
    Reproduce(ReproduceArgs),
    /// Loads and runs models in a process of its own; started by the other commands.
    #[command(hide = true, disable_help_flag = true)]
    Worker {
        /// A request to the agent.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        request: Vec<String>,
    },
}

const SEARCH_HELP: &str = "\
Examples:
  pipeline search --target rpi4 --preset demo
  pipeline search --target rpi4 --data photos/ --max-latency 20ms --max-params 500k
  pipeline search --target rpi4 --data novel/ --max-latency 4ms     # text: train.txt, valid.txt, test.txt
  pipeline search --target host --device local --max-latency 2ms --deadline 30min
  pipeline search --target rpi4 --device pi --max-latency 20ms      # see pipeline device --help
  pipeline search --target rpi5 --supernet runs/first               # another board, the same shared weights

A hard bound (--max-*, --min) is never broken by what is returned. A soft one (--soft) rules nothing
out: a network counts for less the further it is outside, at twice the bound for nine tenths of its
accuracy. Quantities carry units: 20ms, 64MiB, 2M, 30min.

Exit codes: 0 found and within budget, 1 nothing met the budget, 2 usage, 3 device unavailable,
5 file or disk, 6 measurement invalid, 7 model rejected, 70 internal, 130 interrupted (--resume).";

const EXPLAIN_HELP: &str = "\
Examples:
  pipeline explain --target rpi4 --max-latency 5ms --max-params 200k   # before a search
  pipeline explain --run runs/rpi4-photos-0                            # after it
  pipeline explain --run runs/rpi4-photos-0 --max-latency 25ms         # with another bound

What is proven of the whole space (the least of parameters, multiply-accumulates, activations, file,
memory, and of latency as it is estimated) is told apart from what was seen among the run's networks,
or among random ones where there is no run.

Exit codes: 0 nothing speaks against the budget, 1 no known network meets it, 2 usage, 5 file or disk.";

/// Settings of a search; each is also a key of `--config`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Kind of board: a name from `pipeline targets`, or a target file
    #[arg(long, value_name = "NAME|FILE")]
    pub target: Option<String>,
    /// What is learned from
    #[command(flatten)]
    pub source: SourceArgs,
    /// How to search
    #[arg(long, value_enum)]
    pub strategy: Option<StrategyName>,
    /// Shared weights of an earlier run (its folder, or its supernet.safetensors): they are searched, not trained
    #[arg(long, value_name = "FILE")]
    pub supernet: Option<PathBuf>,
    /// Keys everything that is drawn: same seed, same result
    #[arg(long)]
    pub seed: Option<u64>,
    /// Run folder [default: runs/TARGET-DATA-SEED]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// How much effort [default: small]
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// How the final network is trained [default: published]
    #[arg(long, value_enum)]
    pub recipe: Option<RecipeName>,
    /// A TOML file with the same keys as these flags; flags win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Hard and soft bounds
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Where to train [default: auto]
    #[arg(long, value_enum)]
    pub compute: Option<ComputeChoice>,
    /// Where to measure: local, a name from `pipeline device list`, ssh://USER@HOST, adb://SERIAL,
    /// recorded:FILE, counted (instructions in an emulator, where there is no board), or none
    /// [default: counted after `pipeline agent build` for the target, where the emulator is there; else none]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// What estimates rest on: a file of `pipeline calibrate`, or none [default: the one kept for the target]
    #[arg(long, value_name = "FILE|none")]
    pub calibration: Option<String>,
    /// Agent for a board over ssh or adb [default: that of `pipeline agent build`]
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// How long to wait for a board that went away in the middle [default: 10min]
    #[arg(long, value_name = "TIME", hide = true)]
    pub device_wait: Option<String>,
    /// Use measurements that are noisy, and say so beside them
    #[arg(long)]
    pub allow_noisy: bool,
    /// Active time after which the search answers with what it has, such as 30min
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,
    /// What is done for the baseline, random search with the same effort [default: rival; of the demo: searched]
    #[arg(long, value_enum)]
    pub baseline: Option<BaselineChoice>,
    /// Counts the space, checks the budget and estimates time and memory from a few steps; ten seconds, keeps nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Continues the run in the run folder
    #[arg(long)]
    pub resume: bool,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Data, and how they are read; each is also a key of `--config`.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// Data set: a name from `pipeline data list`, or a folder
    #[arg(long, value_name = "DIR|NAME")]
    pub data: Option<String>,
    /// What is asked of the data: classification, segmentation or language [default: what the folder looks like]
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// Size that images in class folders are brought to [default: 32x32]
    #[arg(long, value_name = "HxW")]
    pub image_size: Option<String>,
    /// What sound becomes before a network sees it: log-mel (40 bands) or mfcc (10 coefficients) [default: log-mel]
    #[arg(long, value_name = "NAME")]
    pub front_end: Option<String>,
    /// Windows of sound's networks: 2d, or 1d with bands or coefficients as channels [default: 2d]
    #[arg(long, value_name = "1d|2d")]
    pub cells: Option<String>,
    /// Samples a second of WAV files in class folders [default: 16kHz]
    #[arg(long, value_name = "RATE")]
    pub sample_rate: Option<String>,
    /// Words of a text that are told apart, the most frequent ones [default: 500, 2,000 or 10,000, by the preset]
    #[arg(long, value_name = "N")]
    pub vocabulary: Option<usize>,
}

/// Bounds; each is also a key of `--config`.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// Longest time of one inference, at the target's percentile, such as 20ms
    #[arg(long, value_name = "TIME", help_heading = "Budgets")]
    pub max_latency: Option<String>,
    /// Largest memory of a process that runs the model, such as 64MiB
    #[arg(long, value_name = "BYTES", help_heading = "Budgets")]
    pub max_memory: Option<String>,
    /// Largest model file, such as 8MiB
    #[arg(long, value_name = "BYTES", help_heading = "Budgets")]
    pub max_flash: Option<String>,
    /// Most trainable parameters, such as 2M
    #[arg(long, value_name = "COUNT", help_heading = "Budgets")]
    pub max_params: Option<String>,
    /// Most multiply-accumulates of one inference, such as 80M
    #[arg(long, value_name = "COUNT", help_heading = "Budgets")]
    pub max_macs: Option<String>,
    /// Largest sum of live activations, such as 512KiB
    #[arg(long, value_name = "BYTES", help_heading = "Budgets")]
    pub max_activations: Option<String>,
    /// Longest final training, such as 30min
    #[arg(long, value_name = "TIME", help_heading = "Budgets")]
    pub max_train_time: Option<String>,
    /// A hard lower bound, such as intensity=10 (repeatable)
    #[arg(long, value_name = "METRIC=BOUND", help_heading = "Budgets")]
    pub min: Vec<String>,
    /// A soft upper bound, such as latency=15ms (repeatable)
    #[arg(long, value_name = "METRIC=BOUND", help_heading = "Budgets")]
    pub soft: Vec<String>,
}

/// One stage of a run.
#[derive(Debug, Args)]
pub struct StageArgs {
    /// Run folder
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to export, and in which forms.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Run folder
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Times equal forms of the network's operations on a device and writes the fastest
    #[arg(long)]
    pub tune: bool,
    /// Device for --tune: local, or recorded:FILE
    #[arg(long, value_name = "DEVICE", default_value = "local", requires = "tune")]
    pub device: String,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to measure, and where.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// ONNX file; otherwise the model of --run
    #[arg(value_name = "MODEL.onnx", required_unless_present = "run", conflicts_with = "run")]
    pub model: Option<PathBuf>,
    /// Run folder
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Of a network that hears: the latency of each frame of a stream, where features are kept from frame to frame;
    /// fails unless it keeps up
    #[arg(long, requires = "run")]
    pub per_frame: bool,
    /// Kind of board [default: that of the device or of the run, else host]
    #[arg(long, value_name = "NAME|FILE")]
    pub target: Option<String>,
    /// local, a name from `pipeline device list`, ssh://USER@HOST, adb://SERIAL, recorded:FILE,
    /// emulated (runs, but has no time), or counted (instructions, no board)
    #[arg(long, value_name = "DEVICE", default_value = "local")]
    pub device: String,
    /// Agent for a board over ssh or adb [default: that of `pipeline agent build`]
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// Fails unless the latency is for certain within this, such as 20ms
    #[arg(long, value_name = "TIME")]
    pub max_latency: Option<String>,
    /// Fails if slower than in this measurement (a file written by --save)
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Appends the measurement to this file, for recorded:FILE and --against
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Use a measurement that is noisy, and say so beside it
    #[arg(long)]
    pub allow_noisy: bool,
    /// A short measurement: to look, not to promise
    #[arg(long)]
    pub quick: bool,
    /// Prints the measurement as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to look into.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// ONNX file or run folder
    #[arg(value_name = "MODEL.onnx|DIR")]
    pub path: PathBuf,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Which budget, and of which networks.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Run folder: its networks and its budget, but for the bounds given beside it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["target", "data", "task", "image_size", "front_end", "cells", "sample_rate", "vocabulary", "preset", "config", "calibration"])]
    pub run: Option<PathBuf>,
    /// Kind of board: a name from `pipeline targets`, or a target file
    #[arg(long, value_name = "NAME|FILE")]
    pub target: Option<String>,
    /// What is learned from
    #[command(flatten)]
    pub source: SourceArgs,
    /// Whose size of networks [default: small]
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// A TOML file with the same keys as the flags of a search; flags win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What estimates rest on: a file of `pipeline calibrate`, or none [default: the one kept for the target]
    #[arg(long, value_name = "FILE|none")]
    pub calibration: Option<String>,
    /// Hard and soft bounds
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Which targets.
#[derive(Debug, Args)]
pub struct TargetsArgs {
    #[command(subcommand)]
    pub command: Option<TargetsCommand>,
    /// Prints the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with targets.
#[derive(Debug, Subcommand)]
pub enum TargetsCommand {
    /// Shows a target in full.
    Show {
        /// Name, or path of a target file
        name: String,
    },
}

/// Which data.
#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    pub command: Option<DataCommand>,
    /// Prints the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with data.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Lists the data sets known by name.
    List,
    /// Looks a data set through: format, counts, problems.
    Check {
        /// Folder or name
        #[arg(value_name = "DIR|NAME")]
        data: String,
        /// What is asked of the data: classification, segmentation or language
        #[arg(long, value_name = "TASK")]
        task: Option<String>,
        /// Size that images in class folders are brought to
        #[arg(long, value_name = "HxW")]
        image_size: Option<String>,
        /// What sound becomes: log-mel or mfcc
        #[arg(long, value_name = "NAME")]
        front_end: Option<String>,
        /// Samples a second of WAV files
        #[arg(long, value_name = "RATE")]
        sample_rate: Option<String>,
    },
    /// Fetches a data set from its official address; continues where a download broke off.
    Get {
        /// Name from `pipeline data list`
        name: String,
    },
}

impl SearchArgs {
    /// The flags as a table with the configuration's keys.
    pub fn to_table(&self) -> toml::Table {
        let mut table = toml::Table::new();
        let texts = [
            ("target", &self.target),
            ("device", &self.device),
            ("calibration", &self.calibration),
            ("device-wait", &self.device_wait),
            ("deadline", &self.deadline),
        ];
        lay(&mut table, &texts);
        self.source.lay(&mut table);
        self.budget.lay(&mut table);
        let names = [
            ("strategy", self.strategy.map(toml::Value::try_from)),
            ("preset", self.preset.map(toml::Value::try_from)),
            ("recipe", self.recipe.map(toml::Value::try_from)),
            ("compute", self.compute.map(toml::Value::try_from)),
            ("baseline", self.baseline.map(toml::Value::try_from)),
        ];
        for (key, value) in names {
            if let Some(Ok(value)) = value {
                table.insert(key.to_owned(), value);
            }
        }
        if let Some(seed) = self.seed {
            // TOML's integers are signed; a larger seed is told as an error of its key.
            table.insert("seed".to_owned(), (seed as i64).into());
        }
        for (key, path) in [("agent", &self.agent), ("supernet", &self.supernet)] {
            if let Some(path) = path {
                table.insert(key.to_owned(), path.display().to_string().into());
            }
        }
        if self.allow_noisy {
            table.insert("allow-noisy".to_owned(), true.into());
        }
        table
    }
}

impl SourceArgs {
    fn lay(&self, table: &mut toml::Table) {
        let texts = [
            ("data", &self.data),
            ("task", &self.task),
            ("image-size", &self.image_size),
            ("front-end", &self.front_end),
            ("cells", &self.cells),
            ("sample-rate", &self.sample_rate),
        ];
        lay(table, &texts);
        if let Some(words) = self.vocabulary {
            table.insert("vocabulary".to_owned(), (words as i64).into());
        }
    }
}

impl BudgetArgs {
    fn lay(&self, table: &mut toml::Table) {
        let texts = [
            ("max-latency", &self.max_latency),
            ("max-memory", &self.max_memory),
            ("max-flash", &self.max_flash),
            ("max-params", &self.max_params),
            ("max-macs", &self.max_macs),
            ("max-activations", &self.max_activations),
            ("max-train-time", &self.max_train_time),
        ];
        lay(table, &texts);
        for (key, list) in [("min", &self.min), ("soft", &self.soft)] {
            if !list.is_empty() {
                table.insert(key.to_owned(), list.clone().into());
            }
        }
    }
}

impl ExplainArgs {
    /// The flags as a table with the configuration's keys.
    pub fn to_table(&self) -> toml::Table {
        let mut table = toml::Table::new();
        lay(&mut table, &[("target", &self.target), ("calibration", &self.calibration)]);
        self.source.lay(&mut table);
        if let Some(Ok(preset)) = self.preset.map(toml::Value::try_from) {
            table.insert("preset".to_owned(), preset);
        }
        self.budget.lay(&mut table);
        table
    }
}

/// Puts the flags that were given into a table.
fn lay(table: &mut toml::Table, texts: &[(&str, &Option<String>)]) {
    for (key, text) in texts {
        if let Some(text) = text {
            table.insert((*key).to_owned(), text.clone().into());
        }
    }
}
