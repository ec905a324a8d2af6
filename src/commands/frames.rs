//! `pipeline measure --per-frame`: what a network that hears takes of a stream, a frame at a time.
//!
//! The file that ships reads a whole clip. A program that listens all the time makes the features of each new frame once,
//! keeps those of the frames before, and asks the network about all of them. Its two parts are written as files of their own,
//! shown to give together what the one that ships does, and measured on the device.

use std::path::Path;

use anyhow::{Context, Result};
use data::FrontEnd;
use export::Metadata;
use graph::weights::Weights;
use search::space::front_end;
use serde::Serialize;
use targets::{Allow, Figure, Measurement, Metric, Protocol, Source, Target};

use super::{Images, measure::latency};
use crate::{
    cli::MeasureArgs,
    config::SearchConfig,
    devices,
    exit::{self, Exit},
    on_device,
    receipt::{Architecture, Parity},
    run_folder::{CONFIG, MODEL, RunFolder, WEIGHTS},
    terminal,
};

/// From the samples of one window to the features of its frame.
const FRAME: &str = "frame.onnx";
/// From the features of a whole clip to the network's answer.
const NETWORK: &str = "network.onnx";
/// What is told of both.
const TOLD: &str = "per-frame.json";

/// Clips on which the parts are compared with the whole.
const COMPARED: usize = 8;

/// What is told.
#[derive(Debug, Serialize)]
struct PerFrame {
    /// From one frame to the next, in seconds.
    every: f64,
    /// Latency of a frame's features, of the network, and of both, in seconds.
    frame: Figure,
    network: Figure,
    both: Figure,
    /// Agreement of the parts with the file that ships.
    parity: Parity,
    measurements: [Measurement; 2],
}

/// The command.
pub fn run(args: &MeasureArgs, run: &Path) -> Result<Exit> {
    let folder = RunFolder::existing(run)?;
    let config = SearchConfig::read(&folder.file(CONFIG))?;
    let architecture = Architecture::read(&folder)?;
    let Some(front_end) = architecture.deployed.front_end else {
        return Err(exit::usage("--per-frame: only networks that hear have frames; this one is of another kind"));
    };
    if args.device == devices::COUNTED {
        return Err(exit::usage(format!("--per-frame --device {}: name a device that has a clock", args.device)));
    }
    let images = Images::open(&config)?;
    write(&folder, &architecture, &front_end, &images)?;
    let parity = compare(&folder, &front_end, &images)?;

    let target = Target::find(&config.target)?;
    let mut device = devices::open(&args.device, &target, args.agent.as_deref())?;
    let noisy = args.allow_noisy || config.allow_noisy;
    let allow = Allow { noisy, governor: noisy };
    let protocol = if args.quick { Protocol::quick() } else { Protocol::default() };
    let mut measured = |name: &str| {
        on_device::measure(device.as_mut(), &folder.file(name), &protocol, allow, on_device::TRIES)
            .with_context(|| format!("cannot measure {name}"))
    };
    let measurements = [measured(FRAME)?, measured(NETWORK)?];
    let [frame, network] = [latency(&measurements[0], &target)?, latency(&measurements[1], &target)?];
    let both = sum(&frame, &network);
    let every = front_end.hop as f64 / f64::from(front_end.sample_rate);
    let told = PerFrame { every, frame, network, both, parity, measurements };
    folder.write_json(TOLD, &told)?;
    if args.json {
        terminal::print(&serde_json::to_string(&told)?);
    } else {
        show(&told, &folder);
    }
    Ok(if told.both.high <= every { Exit::Ok } else { Exit::NotMet })
}

/// Writes both parts.
fn write(folder: &RunFolder, architecture: &Architecture, front_end: &FrontEnd, images: &Images) -> Result<()> {
    let scale = &architecture.deployed;
    let mut given = Weights::default();
    given.tensors.extend(front_end::weights(front_end, &images.set.normalisation).tensors);
    let one = FrontEnd { clip: front_end.window, ..*front_end };
    let frame = front_end::alone(&one).map_err(search::Error::from)?;
    let network = architecture.cell.build(&scale.trained()).map_err(search::Error::from)?;
    let trained = Weights::from_safetensors(&folder.read(WEIGHTS)?)?;
    for (name, graph, weights) in [(FRAME, &frame, &given), (NETWORK, &network, &trained)] {
        let bytes =
            export::onnx(graph, weights, &Metadata::default()).with_context(|| format!("cannot write {name}"))?;
        folder.write(name, &bytes)?;
    }
    Ok(())
}

/// Asks both parts, frame after frame, and the file that ships about real clips.
fn compare(folder: &RunFolder, front_end: &FrontEnd, images: &Images) -> Result<Parity> {
    let set = &images.set;
    let worker = on_device::worker()?;
    let ask = |name: &str, values: &[f32]| -> Result<Vec<f32>> {
        let outputs =
            worker.check(&folder.file(name), values).with_context(|| format!("the runtime cannot run {name}"))?;
        Ok(outputs.values)
    };
    let compared: Vec<usize> = set.validation.iter().copied().take(COMPARED).collect();
    let clips = data::deployed_batch(&set.part, &compared, &set.normalisation).pixels;
    let windows = |clip: &[f32]| -> Vec<f32> {
        clip.windows(front_end.window).step_by(front_end.hop).flatten().copied().collect()
    };
    let frames: Vec<f32> = clips.chunks(front_end.clip).flat_map(windows).collect();
    let found = ask(NETWORK, &ask(FRAME, &frames)?)?;
    let (max_difference, allowed) = super::export::compare(&ask(MODEL, &clips)?, &found);
    if allowed < max_difference {
        let message = format!(
            "frame by frame the answer is another than that of {MODEL}: a logit differs by {max_difference:.2e}, more than \
             {allowed:.0e}"
        );
        return Err(exit::Failure { exit: Exit::Rejected, message }.into());
    }
    Ok(Parity { images: compared.len(), max_difference })
}

/// One after the other: no better and no worse than the sum of what is certain of each.
fn sum(frame: &Figure, network: &Figure) -> Figure {
    let source = match (&frame.source, &network.source) {
        (Source::Measured { on, samples }, Source::Measured { samples: other, .. }) => {
            Source::Measured { on: on.clone(), samples: samples + other }
        }
        (source, _) => source.clone(),
    };
    Figure { value: frame.value + network.value, low: frame.low + network.low, high: frame.high + network.high, source }
}

fn show(told: &PerFrame, folder: &RunFolder) {
    let time = |seconds: f64| Metric::Latency.format(seconds);
    terminal::print(&format!("features of a frame  {}", told.frame.describe(Metric::Latency)));
    terminal::print(&format!("network              {}", told.network.describe(Metric::Latency)));
    terminal::print(&format!(
        "both, per frame      {}: {:.1} % of the {} from one frame to the next",
        time(told.both.value),
        100.0 * told.both.value / told.every,
        time(told.every)
    ));
    terminal::print(&format!(
        "frame by frame and whole clips differ by at most {:.1e} on {} clips",
        told.parity.max_difference, told.parity.images
    ));
    terminal::print(&format!(
        "files                {}, {}",
        folder.file(FRAME).display(),
        folder.file(NETWORK).display()
    ));
    if told.every < told.both.high {
        terminal::print("a stream is not kept up with for certain");
    }
}
