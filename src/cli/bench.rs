//! Arguments and help of `pipeline bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to compare.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// What to compare.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Searches a table of published results again and again, and prints what the answers lack to the best network
    #[command(after_help = ORACLE_HELP)]
    Oracle(OracleArgs),
    /// Trains networks of a finished search on their own, and prints how well its shared weights order them
    Ranking(RankingArgs),
    /// Prints how time and memory of a training step grow with channels, layers, batch and classes on this machine
    #[command(after_help = SCALE_HELP)]
    Scale(ScaleArgs),
    /// One setting of `scale`; started by it.
    #[command(hide = true)]
    ScaleStep(ScaleStepArgs),
}

const SCALE_HELP: &str = "\
Examples:
  pipeline bench scale                  # a few minutes: a line a setting, and exponents
  pipeline bench scale --quick --json   # seconds: small networks, one round, one JSON object a setting

Random cells of the space that `search` searches, on images of noise, on the processor. Each setting differs from the
base in one thing, runs in a process of its own, and takes its turn in every round; a figure is the median of the
rounds. Other programs slow the wall clock down more than they slow CPU time: compare CPU time. Memory is told twice:
what tensors take (live), which is the same every time, and what the process took at its peak.

The last column says how far the fit that `search --dry-run` rests on can be carried: it is made from the base's two
smallest batches, and 1.00 is a prediction that came true.";

/// How much to measure.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Small networks and one round: to look, not to conclude from
    #[arg(long)]
    pub quick: bool,
    /// Prints one JSON object a setting
    #[arg(long)]
    pub json: bool,
}

/// What to train.
#[derive(Debug, Args)]
pub struct ScaleStepArgs {
    /// Channels of the first cells
    pub channels: usize,
    /// Cells stacked, the reductions not counted
    pub layers: usize,
    /// Images a step
    pub batch: usize,
    /// Classes predicted
    pub classes: usize,
    /// Height and width of an image, in pixels
    pub side: usize,
    /// Random cells, one step each
    pub cells: u64,
}

/// Which shared weights to hold against what.
#[derive(Debug, Args)]
pub struct RankingArgs {
    /// A run folder with shared weights
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Random networks that are trained on their own; at least 20 tell something
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub networks: usize,
    /// Epochs of each
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub epochs: usize,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}

const ORACLE_HELP: &str = "\
Examples:
  pipeline bench oracle                                          # a made-up table, all strategies
  pipeline bench oracle --table nb201_cifar10_full.csv --max-latency 20ms
  pipeline bench oracle --table nb201_cifar10_full.csv --strategy evolution --seeds 1000 --json

A table is the whole of NAS-Bench-201 as comma-separated text with the columns arch_str, cifar10_val (percent) and
raspi4 (milliseconds). Regret is in points of accuracy below the best network within the bounds; nothing is trained
and nothing is measured. Exit code 1: a strategy answered with a network that breaks a bound.";

/// How to compare.
#[derive(Debug, Args)]
pub struct OracleArgs {
    /// The table; without it one is made up
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
    /// Seed of the table that is made up, and of --shuffled
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub made_up: u64,
    /// Gives each network another one's accuracy: no strategy can then be better than random search
    #[arg(long)]
    pub shuffled: bool,
    /// A strategy (repeatable) [default: all]
    #[arg(long, value_name = "NAME")]
    pub strategy: Vec<String>,
    /// Networks that one search may look at
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub evaluations: usize,
    /// Searches of each strategy, with the seeds 0, 1, 2, ...
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub seeds: u64,
    /// Longest time of one inference, such as 20ms
    #[arg(long, value_name = "TIME")]
    pub max_latency: Option<String>,
    /// Most trainable parameters, such as 500k
    #[arg(long, value_name = "COUNT")]
    pub max_params: Option<String>,
    /// Most multiply-accumulates of one inference, such as 80M
    #[arg(long, value_name = "COUNT")]
    pub max_macs: Option<String>,
    /// Largest sum of live activations, such as 512KiB
    #[arg(long, value_name = "BYTES")]
    pub max_activations: Option<String>,
    /// Prints one JSON object a strategy
    #[arg(long)]
    pub json: bool,
}
