//! Arguments and help of what has to do with boards: `device`, `agent`, `calibrate`, `doctor`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) const HELP: &str = "\
Examples:
  pipeline device add pi ssh://pi@raspberrypi.local --target rpi4
  pipeline device check pi                      # reaches it, takes the agent there, prints facts
  pipeline search --target rpi4 --device pi --max-latency 20ms
  pipeline device clean pi                      # removes all that was ever written to it

A board is reached with your own ssh (keys, ~/.ssh/config, jump hosts) or adb. No password is ever
asked for: give the board your key with ssh-copy-id. On the board everything lies in one folder. The
agent is a program of the board's own kind: `pipeline agent build` makes it.";

/// Which boards.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    #[command(subcommand)]
    pub command: DeviceCommand,
    /// Prints the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with boards.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Gives a board a name, in devices.toml; does not reach it yet.
    Add {
        /// Name for --device
        name: String,
        /// ssh://USER@HOST[:PORT] or adb://SERIAL
        address: String,
        /// Kind of board: a name from `pipeline targets`, or a target file
        #[arg(long, value_name = "NAME|FILE")]
        target: String,
        /// Folder on the board for everything that is written there [default: ~/.cache/pipeline-agent]
        #[arg(long, value_name = "DIR")]
        folder: Option<String>,
        /// Agent for this board [default: that of `pipeline agent build`]
        #[arg(long, value_name = "FILE")]
        agent: Option<PathBuf>,
        /// Lets the agent run as root there, which it otherwise refuses
        #[arg(long)]
        allow_root: bool,
    },
    /// Lists the boards that have a name.
    List,
    /// Reaches a board, takes the agent there, and prints what it tells of the board.
    Check {
        /// Name from `pipeline device list`, or an address
        #[arg(value_name = "NAME|ADDRESS")]
        name: String,
        /// Kind of board, for an address
        #[arg(long, value_name = "NAME|FILE")]
        target: Option<String>,
        /// Agent to take there [default: that of devices.toml, or of `pipeline agent build`]
        #[arg(long, value_name = "FILE")]
        agent: Option<PathBuf>,
    },
    /// Removes everything that was ever written to a board.
    Clean {
        /// Name from `pipeline device list`, or an address
        #[arg(value_name = "NAME|ADDRESS")]
        name: String,
        /// Kind of board, for an address
        #[arg(long, value_name = "NAME|FILE")]
        target: Option<String>,
        /// See `device check`
        #[arg(long, value_name = "FILE")]
        agent: Option<PathBuf>,
    },
}

/// What to do with agents.
#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    pub command: AgentCommand,
    /// Prints the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with agents.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Builds the agent for a target, static and for the baseline of its processor, with your Rust
    ///
    /// Needs, once: `rustup target add TRIPLE` and a C compiler for the target; what is missing is
    /// named. The agent is read and refused if it could not run there, then kept in the cache folder,
    /// where --device ssh://, emulated and counted find it.
    Build(AgentBuild),
    /// Reads a program and tells whether a target's boards can run it
    Check {
        /// The program
        file: PathBuf,
        /// Kind of board
        #[arg(long, value_name = "NAME|FILE")]
        target: String,
    },
}

/// What to build.
#[derive(Debug, Args)]
pub struct AgentBuild {
    /// Kind of board
    #[arg(long, value_name = "NAME|FILE")]
    pub target: String,
    /// Folder of pipeline's sources [default: where this program was built]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// Leaves out the instruction counter, which --device counted needs
    #[arg(long)]
    pub no_counter: bool,
    /// Prints the commands and runs none
    #[arg(long)]
    pub dry_run: bool,
}

/// What to calibrate.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Kind of board: a name from `pipeline targets`, or a target file
    #[arg(long, value_name = "NAME|FILE")]
    pub target: String,
    /// Where to measure: local, a name from `pipeline device list`, ssh://USER@HOST, adb://SERIAL, or
    /// recorded:FILE; counted prints a price table from instruction counts instead
    #[arg(long, value_name = "DEVICE", default_value = "local")]
    pub device: String,
    /// Agent for a board over ssh or adb [default: that of `pipeline agent build`]
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// Where to write it [default: where `search` looks for it]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Networks to measure
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(3..=500))]
    pub probes: u16,
    /// Networks drawn at random that are predicted, then measured: does the calibration hold?
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub check: u16,
    /// Fit to the time that the engine's thread ran, for a machine that other work shares
    #[arg(long)]
    pub cpu_time: bool,
    /// Measure up to so many times each network beside which the reference network ran slower than its
    /// fastest; a board that is left alone needs one
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub rounds: u8,
    /// Also count each network's instructions, so that `--device counted` stands for this board later
    #[arg(long)]
    pub counts: bool,
    /// Use measurements that are noisy, and say so in the calibration
    #[arg(long)]
    pub allow_noisy: bool,
    /// Shows which networks would be measured; measures nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Prints the calibration as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to look at.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Kind of board, for what its calibration says of the engine [default: host]
    #[arg(long, value_name = "NAME|FILE")]
    pub target: Option<String>,
    /// Where to take a short measurement: local, or recorded:FILE; without it none is taken
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}
