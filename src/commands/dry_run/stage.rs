//! Steps of one size, timed on a few cells.

use std::time::{Duration, Instant};

use ::train::Recipe;
use anyhow::{Context, Result};
use graph::Graph;
use search::space::{Scale, cells::AnyCell};

use super::cells::build;
use crate::{
    commands::search::{Plan, random_cell},
    effort::Pace,
    growth::{Growth, Work, median},
    probe::{Prober, Took},
    terminal,
};

/// Cells of each size that are trained for a step, from the cheapest to the dearest.
pub(super) const PROBED: usize = 12;

/// Time that the rounds of a probe take, more or less.
const PROBE: Duration = Duration::from_secs(3);

/// What was found out about steps of one size.
pub(super) struct Stage {
    pub(super) pace: Pace,
    /// A step on one image, the mean over the cells.
    pub(super) mean: Work,
    /// Values of the largest cell on one image.
    pub(super) dearest: f64,
    /// Tensors of a step of the largest cell that are in use together at most, in bytes.
    pub(super) live: f64,
}

impl Stage {
    /// Trains cells from the cheapest to the dearest for a step each, on as many images as the time allows, and on a
    /// quarter of them: what a step takes beside its images shows in the difference.
    pub(super) fn probe(plan: &Plan, recipe: &Recipe, scale: Scale, cells: &[AnyCell]) -> Result<Self> {
        let mut graphs: Vec<Graph> = cells.iter().take(200).map(|cell| build(cell, &scale)).collect::<Result<_>>()?;
        if graphs.is_empty() {
            graphs.push(build(&random_cell(plan, 0), &scale)?);
        }
        let mut networks: Vec<(Work, Graph)> = graphs.into_iter().map(|graph| (Work::of(&graph, 1), graph)).collect();
        networks.sort_by(|(a, _), (b, _)| a.values.total_cmp(&b.values));
        let mean = Work::mean(&networks.iter().map(|(unit, _)| *unit).collect::<Vec<_>>());
        let n = networks.len();
        let largest = &networks[n - 1];
        let chosen: Vec<&(Work, Graph)> =
            (0..PROBED).filter_map(|nth| networks.get((2 * nth + 1) * n / (2 * PROBED))).collect();
        let (set, compute, seed) = (&plan.images.set, plan.config.compute()?, plan.config.seed);
        let prober = |batch| Prober::new(set.clone(), recipe, batch, compute, seed);
        // The first step also starts threads and touches new memory.
        let batch = recipe.batch.min(set.train.len());
        let (few, graph) = (batch.min(4), &networks[n / 2].1);
        let mut first = prober(few)?;
        first.step(graph)?;
        let each = first.step(graph)?.wall_seconds / few as f64;
        // A step on all, one on a quarter, and a way forward are about two steps, for each cell of two rounds.
        let most = (PROBE.as_secs_f64() / (4.0 * PROBED as f64 * each)) as usize;
        let large = batch.min(most.max(few));
        let mut sizes = [(large.div_ceil(4), prober(large.div_ceil(4))?), (large, prober(large)?)];
        // Several rounds, and of each step the median: a moment in which somebody else was busy is none of ours.
        let mut rounds = vec![Vec::new(); chosen.len() * sizes.len()];
        let (mut steps, mut forwards) = (Took::default(), Took::default());
        let started = Instant::now();
        while rounds[0].is_empty() || started.elapsed() < PROBE {
            for (nth, (_, graph)) in chosen.iter().enumerate() {
                for (size, (images, prober)) in sizes.iter_mut().enumerate() {
                    let step = prober.step(graph)?;
                    rounds[nth * 2 + size].push(step.cpu_seconds);
                    if *images == large {
                        steps = steps + step;
                        forwards = forwards + prober.forward(graph)?;
                    }
                }
            }
            if terminal::interrupted() {
                return Err(search::Error::Interrupted.into());
            }
        }
        let works = chosen.iter().flat_map(|(unit, _)| sizes.each_ref().map(|(images, _)| unit.over(1, *images)));
        let seen: Vec<(Work, f64)> = works.zip(rounds.iter().filter_map(|took| median(took))).collect();
        let step = Growth::fit(&seen).context("no step took any time")?;
        let forward = forwards.cpu_seconds / steps.cpu_seconds;
        let wall = steps.wall_seconds / steps.cpu_seconds;
        let pace = Pace { step, forward, wall, batch };
        drop(sizes);
        // A step of the largest, on all images if the time allows: small tensors are not counted, so that twice the
        // images may take more than twice the memory.
        let seconds = |images| wall * step.seconds(largest.0.over(1, images));
        let images = if seconds(batch) < PROBE.as_secs_f64() { batch } else { large };
        let mut prober = prober(images)?;
        let before = memory::watch();
        prober.step(&largest.1)?;
        let live = (memory::most() - before) as f64 * batch as f64 / images as f64;
        Ok(Self { pace, mean, dearest: largest.0.values, live })
    }
}
