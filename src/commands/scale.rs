//! `pipeline bench scale`: how the time and the memory of a training step grow with the size of what is trained.

use std::{process::Command, sync::Arc};

use ::data::{Augment, Normalisation, Part, Role, Task};
use ::train::{Compute, Recipe, Schedule, TrainingSet};
use anyhow::{Context, Result};
use graph::Graph;
use search::{
    chooser::Uniform,
    space::{Scale, SearchSpace, cell::CellSpace},
};
use serde::{Deserialize, Serialize};
use targets::Metric;

use crate::{
    cli::{ScaleArgs, ScaleStepArgs},
    exit,
    growth::{Growth, Work, exponent, median},
    probe::{Prober, Took, peak_memory},
    terminal,
};

/// What is trained: one line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Setting {
    channels: usize,
    layers: usize,
    batch: usize,
    classes: usize,
    /// Height and width of an image, in pixels.
    side: usize,
}

/// What is varied, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Axis {
    Channels,
    Layers,
    Batch,
    Classes,
}

/// What a process of its own found out about a setting: one line on its standard output.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    /// A step of each cell, in their order.
    steps: Vec<Took>,
    /// Peak resident memory, in bytes; absent where the system does not tell.
    peak_bytes: Option<u64>,
    /// Tensors and other large blocks that were in use together at most, in bytes.
    live_bytes: u64,
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Line {
    /// What the line varies; absent for the base, from which the others differ in one thing.
    axis: Option<Axis>,
    #[serde(flatten)]
    setting: Setting,
    cells: u64,
    rounds: usize,
    /// A step, the mean over the cells of the medians over the rounds.
    cpu_seconds: f64,
    wall_seconds: f64,
    cpu_seconds_an_image: f64,
    wall_seconds_an_image: f64,
    /// Median over the rounds.
    peak_bytes: Option<u64>,
    live_bytes: u64,
    /// CPU time of a step by a fit to the two smallest batches of the base, over that which was measured.
    predicted_over_measured: f64,
}

/// How much is measured.
struct Extent {
    base: Setting,
    channels: &'static [usize],
    layers: &'static [usize],
    batches: &'static [usize],
    classes: &'static [usize],
    cells: u64,
    rounds: usize,
}

const WHOLE: Extent = Extent {
    base: Setting { channels: 8, layers: 4, batch: 32, classes: 10, side: 32 },
    channels: &[4, 8, 16, 32],
    layers: &[2, 4, 8],
    batches: &[8, 16, 32, 64],
    classes: &[10, 100, 1_000],
    cells: 4,
    rounds: 5,
};

const QUICK: Extent = Extent {
    base: Setting { channels: 4, layers: 2, batch: 16, classes: 10, side: 32 },
    channels: &[4, 8, 16],
    layers: &[2, 4, 6],
    batches: &[8, 16, 32],
    classes: &[10, 100, 1_000],
    cells: 2,
    rounds: 1,
};

/// The command.
pub fn run(args: &ScaleArgs) -> Result<exit::Exit> {
    let extent = if args.quick { &QUICK } else { &WHOLE };
    let settings = extent.settings();
    let mut found: Vec<Vec<Found>> = settings.iter().map(|_| Vec::new()).collect();
    // One round after the other, each of all settings: what slows the machine for a while slows all of them.
    for round in 0..extent.rounds {
        for ((_, setting), found) in settings.iter().zip(&mut found) {
            if terminal::interrupted() {
                return Err(search::Error::Interrupted.into());
            }
            found.push(measure(setting, extent.cells)?);
        }
        terminal::say(&format!("round {} of {}", round + 1, extent.rounds));
    }
    let lines = lines(extent, &settings, &found)?;
    if args.json {
        for line in &lines {
            terminal::print(&serde_json::to_string(line)?);
        }
    } else {
        terminal::print(&table(extent, &lines));
    }
    Ok(exit::Exit::Ok)
}

/// The setting in a process of its own: what a setting before it took is then in none of its figures.
fn measure(setting: &Setting, cells: u64) -> Result<Found> {
    let program = std::env::current_exe().map_err(|error| exit::file(format!("cannot find this program: {error}")))?;
    let Setting { channels, layers, batch, classes, side } = setting;
    let numbers = [*channels, *layers, *batch, *classes, *side].map(|it| it.to_string());
    let output = Command::new(program).args(["bench", "scale-step"]).args(numbers).arg(cells.to_string()).output();
    let output = output.context("cannot start this program again")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{setting:?} cannot be measured: {said}");
    serde_json::from_slice(&output.stdout).context("a step answers with one JSON value")
}

/// One setting, in this process: the hidden side of the command.
pub fn step(args: &ScaleStepArgs) -> Result<exit::Exit> {
    let ScaleStepArgs { channels, layers, batch, classes, side, cells } = *args;
    let setting = Setting { channels, layers, batch, classes, side };
    let graphs = setting.graphs(cells)?;
    let schedule = Schedule { max: 1e-3, min: 1e-3, period: 1.0, growth: 1.0, warmup: 0.0, drops: None };
    let recipe = Recipe::published(1, batch, schedule);
    let mut prober = Prober::new(noise(&setting), &recipe, batch, Compute::Cpu, SEED)?;
    let before = memory::watch();
    // The first step starts threads and touches new memory.
    if let Some(graph) = graphs.first() {
        prober.step(graph)?;
    }
    let steps = graphs.iter().map(|graph| prober.step(graph)).collect::<Result<_>>()?;
    let live_bytes = (memory::most() - before) as u64;
    terminal::print(&serde_json::to_string(&Found { steps, peak_bytes: peak_memory(), live_bytes })?);
    Ok(exit::Exit::Ok)
}

/// Keys the cells, the images and the weights.
const SEED: u64 = 0;

impl Extent {
    /// The base, then every axis; what is the base again is not measured again.
    fn settings(&self) -> Vec<(Option<Axis>, Setting)> {
        let base = self.base;
        let channels = self.channels.iter().map(|&channels| (Axis::Channels, Setting { channels, ..base }));
        let layers = self.layers.iter().map(|&layers| (Axis::Layers, Setting { layers, ..base }));
        let batches = self.batches.iter().map(|&batch| (Axis::Batch, Setting { batch, ..base }));
        let classes = self.classes.iter().map(|&classes| (Axis::Classes, Setting { classes, ..base }));
        let others = channels.chain(layers).chain(batches).chain(classes).filter(|(_, it)| *it != base);
        std::iter::once((None, base)).chain(others.map(|(axis, it)| (Some(axis), it))).collect()
    }
}

impl Setting {
    fn graphs(&self, cells: u64) -> Result<Vec<Graph>> {
        let Self { channels, layers, classes, side, .. } = *self;
        let (space, scale) = (
            CellSpace::default(),
            Scale { layers, channels, input: [3, side, side], classes, front_end: None, task: Task::Classification },
        );
        let build = |nth| {
            let cell = space.sample(&mut Uniform::new(SEED, "scale", nth));
            Ok(space.build(&cell, &scale).map_err(search::Error::from)?)
        };
        (0..cells).map(build).collect()
    }

    fn along(&self, axis: Axis) -> usize {
        match axis {
            Axis::Channels => self.channels,
            Axis::Layers => self.layers,
            Axis::Batch => self.batch,
            Axis::Classes => self.classes,
        }
    }
}

impl Axis {
    const ALL: [Self; 4] = [Self::Channels, Self::Layers, Self::Batch, Self::Classes];

    fn name(self) -> &'static str {
        match self {
            Self::Channels => "channels",
            Self::Layers => "layers",
            Self::Batch => "batch",
            Self::Classes => "classes",
        }
    }
}

/// Noise, as many images as two batches: what is in a picture costs nothing.
fn noise(setting: &Setting) -> TrainingSet {
    let (n, shape) = (2 * setting.batch, [3, setting.side, setting.side]);
    let mut rng = ::data::keyed::rng(SEED, "scale images", 0);
    let n_values = n * shape.iter().product::<usize>();
    let part = Part {
        name: "noise".to_owned(),
        role: Role::Train,
        task: Task::Classification,
        shape,
        pixels: (0..n_values).map(|_| ::data::keyed::below(&mut rng, 256) as u8).collect(),
        labels: (0..n).map(|idx| (idx % setting.classes) as u32).collect(),
        classes: (0..setting.classes).map(|class| class.to_string()).collect(),
        sound: None,
        text: None,
        groups: Vec::new(),
    };
    let train: Vec<usize> = (0..n).collect();
    let normalisation = Normalisation::of(&part, &train).expect("there are images");
    let augment = Augment { pad: 4, flip: true, ..Augment::NONE };
    TrainingSet { part: Arc::new(part), validation: train.clone(), train, normalisation, augment }
}

fn lines(extent: &Extent, settings: &[(Option<Axis>, Setting)], found: &[Vec<Found>]) -> Result<Vec<Line>> {
    let cells = extent.cells as usize;
    // For each setting, each cell's median over the rounds.
    let steps = |found: &[Found], of: fn(&Took) -> f64| -> Vec<f64> {
        (0..cells).map(|cell| middle(found, |round| of(&round.steps[cell]))).collect()
    };
    let mut work = Vec::new();
    for (_, setting) in settings {
        let graphs = setting.graphs(extent.cells)?;
        work.push(graphs.iter().map(|graph| Work::of(graph, setting.batch)).collect::<Vec<_>>());
    }
    let mut smallest: Vec<usize> = extent.batches.to_vec();
    smallest.truncate(2);
    let mut seen = Vec::new();
    for (((_, setting), work), found) in settings.iter().zip(&work).zip(found) {
        let alike = Setting { batch: extent.base.batch, ..*setting } == extent.base;
        if alike && smallest.contains(&setting.batch) {
            seen.extend(work.iter().copied().zip(steps(found, |it| it.cpu_seconds)));
        }
    }
    let growth = Growth::fit(&seen).context("no step took any time")?;
    let mut lines = Vec::new();
    for (((axis, setting), work), found) in settings.iter().zip(&work).zip(found) {
        let mean = |all: Vec<f64>| all.iter().sum::<f64>() / all.len() as f64;
        let cpu_seconds = mean(steps(found, |it| it.cpu_seconds));
        let wall_seconds = mean(steps(found, |it| it.wall_seconds));
        let known = found.iter().all(|it| it.peak_bytes.is_some());
        let batch = setting.batch as f64;
        lines.push(Line {
            axis: *axis,
            setting: *setting,
            cells: extent.cells,
            rounds: extent.rounds,
            cpu_seconds,
            wall_seconds,
            cpu_seconds_an_image: cpu_seconds / batch,
            wall_seconds_an_image: wall_seconds / batch,
            peak_bytes: known.then(|| middle(found, |it| it.peak_bytes.unwrap_or_default() as f64) as u64),
            live_bytes: middle(found, |it| it.live_bytes as f64) as u64,
            predicted_over_measured: growth.seconds(Work::mean(work)) / cpu_seconds,
        });
    }
    Ok(lines)
}

/// Median of a figure over the rounds.
fn middle(found: &[Found], of: impl Fn(&Found) -> f64) -> f64 {
    median(&found.iter().map(of).collect::<Vec<_>>()).expect("there is at least one round")
}

fn table(extent: &Extent, lines: &[Line]) -> String {
    let Setting { channels, layers, batch, classes, side } = extent.base;
    let mut text = format!(
        "a training step of {} random cells, median of {} rounds; base: {channels} channels, {layers} layers, batch {batch}, {classes} classes, {side}x{side} pixels\n\n\
         {:<14} {:>10} {:>10} {:>12} {:>10} {:>10} {:>10}\n",
        extent.cells, extent.rounds, "setting", "CPU ms", "wall ms", "CPU ms/image", "live", "peak", "predicted"
    );
    let size = |bytes: u64| Metric::Memory.format(bytes as f64);
    for line in lines {
        let name = line.axis.map_or("base".to_owned(), |axis| format!("{} {}", axis.name(), line.setting.along(axis)));
        text.push_str(&format!(
            "{name:<14} {:>10.2} {:>10.2} {:>12.3} {:>10} {:>10} {:>10.2}\n",
            1e3 * line.cpu_seconds,
            1e3 * line.wall_seconds,
            1e3 * line.cpu_seconds_an_image,
            size(line.live_bytes),
            line.peak_bytes.map_or("not known".to_owned(), size),
            line.predicted_over_measured,
        ));
    }
    text.push('\n');
    for axis in Axis::ALL {
        let of = |y: fn(&Line) -> f64| {
            let along = lines.iter().filter(|line| line.axis.is_none_or(|it| it == axis));
            let points: Vec<(f64, f64)> = along.map(|line| (line.setting.along(axis) as f64, y(line))).collect();
            exponent(&points).map_or("?".to_owned(), |it| format!("{it:.2}"))
        };
        let (time, live) = (of(|it| it.cpu_seconds), of(|it| it.live_bytes as f64));
        let name = axis.name();
        text.push_str(&format!("CPU time of a step grows as {name}^{time}, live memory as {name}^{live}\n"));
    }
    text.push_str(
        "\nlive: tensors in use together at most; peak: resident memory of the process. predicted: by the fit of \n\
         `search --dry-run` to the base's two smallest batches, over CPU ms.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_differs_from_the_base_in_its_axis_alone() {
        for extent in [&WHOLE, &QUICK] {
            let settings = extent.settings();
            assert_eq!(settings[0], (None, extent.base));
            for (axis, setting) in &settings[1..] {
                let axis = axis.expect("the base comes once");
                let differ: Vec<Axis> =
                    Axis::ALL.into_iter().filter(|&it| setting.along(it) != extent.base.along(it)).collect();
                assert_eq!(differ, [axis], "{setting:?}");
            }
            for axis in Axis::ALL {
                let n = settings.iter().filter(|(it, _)| it.is_none_or(|it| it == axis)).count();
                assert!((3..=4).contains(&n), "{n} values of {}", axis.name());
            }
            // The prediction rests on the two smallest.
            assert!(extent.batches.is_sorted() && extent.batches[1] <= extent.base.batch);
        }
    }

    #[test]
    fn lines_are_medians_of_rounds_and_a_fit_that_fits_predicts_one() {
        let extent = Extent { cells: 2, rounds: 3, ..QUICK };
        let settings = extent.settings();
        // A machine on which a step takes a nanosecond a value; the middle one of three rounds is undisturbed.
        let found: Vec<Vec<Found>> = settings
            .iter()
            .map(|(_, setting)| {
                let graphs = setting.graphs(extent.cells).expect("the images are large enough");
                let step = |noise: f64| -> Vec<Took> {
                    let time = |graph| noise * 1e-9 * Work::of(graph, setting.batch).values;
                    graphs.iter().map(|it| Took { wall_seconds: 2.0 * time(it), cpu_seconds: time(it) }).collect()
                };
                let round = |noise| Found { steps: step(noise), peak_bytes: Some(1 << 20), live_bytes: 1 << 10 };
                [1.0, 0.9, 7.0].map(round).into()
            })
            .collect();
        for line in lines(&extent, &settings, &found).expect("every setting was measured") {
            assert!((line.predicted_over_measured - 1.0).abs() < 1e-6, "{line:?}");
            assert!((line.wall_seconds / line.cpu_seconds - 2.0).abs() < 1e-9, "{line:?}");
            assert_eq!((line.peak_bytes, line.live_bytes), (Some(1 << 20), 1 << 10));
        }
        let text = table(&extent, &lines(&extent, &settings, &found).expect("every setting was measured"));
        assert!(text.contains("grows as batch^1.00, live memory as batch^0.00"), "{text}");
    }
}
