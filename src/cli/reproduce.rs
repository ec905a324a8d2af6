//! Arguments and help of `pipeline reproduce`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::papers::Paper;

/// What to repeat.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// The system
    #[arg(value_enum)]
    pub paper: Paper,
    /// How much of the published effort
    #[arg(long, value_enum, default_value = "small")]
    pub scale: ReproductionScale,
    /// Data set: a name from `pipeline data list`, or a folder [default: that of the paper]
    #[arg(long, value_name = "DIR|NAME")]
    pub data: Option<String>,
    /// Keys everything that is drawn: same seed, same result
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Words of a text that are told apart, the most frequent ones [default: 100, 2,000 or 10,000, by the scale]
    #[arg(long, value_name = "N")]
    pub vocabulary: Option<usize>,
    /// What keeps a search by gradient from collapsing to skip connections, several with commas [default: skips, for
    /// darts, darts-second-order and auto-deeplab; none is the paper]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "GUARD")]
    pub guards: Option<Vec<Guard>>,
    /// Where to work [default: runs/reproduce-PAPER-SCALE-SEED]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Tells what would be done and how long it would take here, from a few steps; trains nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// A guard of DARTS's or Auto-DeepLab's search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// None: alpha is trusted to the last epoch.
    None,
    /// DARTS+: stops where the normal cell, or Auto-DeepLab's only one, has more than two skip connections, with the
    /// epoch's before.
    Skips,
    /// Stops where the validation loss has become too curved in alpha: Zela et al.'s eigenvalue.
    Curvature,
    /// PC-DARTS: a quarter of the channels is worked on, the others pass by. A step takes a fraction of the time.
    PartialChannels,
}

impl Guard {
    /// As it is asked for.
    pub fn name(&self) -> Option<String> {
        self.to_possible_value().map(|it| it.get_name().to_owned())
    }
}

/// How much of a published effort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReproductionScale {
    /// A minute or two: every step, nothing to conclude from.
    Demo,
    /// Up to an hour on two cores; rcas takes longer.
    Small,
    /// The published numbers of networks, epochs and sizes, by one common recipe: days on a processor, for a GPU.
    Paper,
}

pub(super) const HELP: &str = "\
Examples:
  pipeline reproduce rcas --scale demo --data cifar100/        # minutes: shows the whole way
  pipeline reproduce enas --scale small                        # after pipeline data get cifar10
  pipeline reproduce auto-deeplab --data camvid/               # scenes: train/images, train/masks, val/..., classes.txt
  pipeline reproduce nasnet --scale paper                      # the published schedule: for a GPU

At demo and small scale a printed error cannot be decided, and the verdict says so; whether the method beats random
search at equal cost is judged by two standard errors. Cost is counted in multiply-accumulates of the trained networks
times their epochs, and where weights are shared in networks scored. Interrupted, the same command goes on where it was.";
