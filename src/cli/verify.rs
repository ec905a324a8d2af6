//! Arguments and help of `pipeline verify`.

use std::path::PathBuf;

use clap::Args;

/// What to verify.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Receipts, ONNX files, or folders with a receipt or with ONNX files
    #[arg(value_name = "RECEIPT|MODEL.onnx|DIR", required_unless_present = "run", conflicts_with = "run")]
    pub paths: Vec<PathBuf>,
    /// Run folder, or any folder with model.onnx and receipt.json
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// The data set, if it is not where the receipt says
    #[arg(long, value_name = "DIR|NAME")]
    pub data: Option<String>,
    /// Measure again: local, a name from `pipeline device list`, ssh://USER@HOST, adb://SERIAL, or
    /// recorded:FILE
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Agent for a board over ssh or adb [default: that of `pipeline agent build`]
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// Kind of board [default: that of the receipt, or host]
    #[arg(long, value_name = "NAME|FILE")]
    pub target: Option<String>,
    /// A TOML file of bounds that must hold too, with the keys of a configuration
    #[arg(long, value_name = "FILE")]
    pub budget: Option<PathBuf>,
    /// A bound on latency that must hold too, such as 20ms; wins over that of --budget
    #[arg(long, value_name = "TIME")]
    pub max_latency: Option<String>,
    /// Percentile of latency that is bounded, such as p99 [default: the target's, p90]
    #[arg(long, value_name = "PERCENTILE", value_parser = percentile)]
    pub percentile: Option<f64>,
    /// A receipt or measurements that the models may not be slower than: one file for all models, found
    /// by their hashes, or one a model (repeat it)
    #[arg(long, value_name = "RECEIPT|FILE.jsonl")]
    pub baseline: Vec<PathBuf>,
    /// Writes the checks as JUnit XML
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub junit: Option<PathBuf>,
    /// Writes the checks as a Markdown table, for a job's summary
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub markdown: Option<PathBuf>,
    /// Use a measurement that is noisy, and say so beside it
    #[arg(long)]
    pub allow_noisy: bool,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What follows the flags.
pub(super) const HELP: &str = "\
Examples:
  pipeline verify runs/rpi4-photos-0                    # everything that its receipt promises
  pipeline verify runs/rpi4-photos-0 --device local     # the same, measured anew
  pipeline verify model.onnx --device local --max-latency 20ms --percentile p99
  pipeline verify models/ --device local --budget budget.toml --baseline last.jsonl \\
    --junit verify.xml --markdown verify.md

A receipt is held to: the hashes of its files, the outputs for a fixed input, the accuracy on the
test images, the counts of its architecture, and its bounds. A model without a receipt is held to
--budget, --max-latency and --baseline alone.

Budget: passes if the upper end of the 95 % interval is within the bound, fails if the lower end
is outside. A budget file has the keys of a search's configuration: max-latency, max-memory,
max-flash, max-params, max-macs, max-activations, min, soft.

Baseline: fails if the model is slower for certain: Mann-Whitney on block medians p < 0.005, and
a Hodges-Lehmann shift over 3 % whose interval excludes 1 %; several models by Holm's correction.
The baseline must be of the same board: name, processor, cores, kernel, highest frequency.

What is not decided is measured longer, three times in all; a failure takes two processes.
A measurement that is throttled, noisy, emulated or of another board never passes.

Exit codes: 0 everything holds, 1 something is shown to fail, 6 cannot tell or invalid (the
reasons are printed), 2 usage, 3 device unavailable, 5 file or disk, 7 model rejected.";

/// A percentile such as `p90`, as a share between 0 and 1.
fn percentile(text: &str) -> Result<f64, String> {
    let number = text.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
    let share = number.map(|number| number / 100.0).filter(|share| 0.0 < *share && *share < 1.0);
    share.ok_or_else(|| "write p and a number between 0 and 100, such as p50, p90 or p99.9".to_owned())
}
