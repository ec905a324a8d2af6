//! Steps of training that are timed, and the memory that they take.

use std::{ops::Add, time::Instant};

use ::train::{Compute, Recipe, Schedule, TrainingSet, shared::Supernet};
use anyhow::Result;
use graph::Graph;
use rustix::time::{ClockId, clock_gettime};
use search::{evaluator::SharedWeights, pricing::Pricer};
use serde::{Deserialize, Serialize};
use targets::{Budget, CostModel, Target};

/// What something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Took {
    /// Of the clock on the wall, in seconds.
    pub wall_seconds: f64,
    /// Of all processors, user and system, in seconds: what other programs do meanwhile is not in it.
    pub cpu_seconds: f64,
}

impl Add for Took {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall_seconds: self.wall_seconds + other.wall_seconds, cpu_seconds: self.cpu_seconds + other.cpu_seconds }
    }
}

/// Children of one set of weights, a minibatch at a time, as searches and final trainings run them.
pub struct Prober(Supernet);

impl Prober {
    /// Steps on `batch` images of `set`, at a learning rate at which nothing diverges.
    ///
    /// # Errors
    /// The built-in target cannot be read.
    pub fn new(set: TrainingSet, recipe: &Recipe, batch: usize, compute: Compute, seed: u64) -> Result<Self> {
        let schedule = Schedule { max: 1e-3, min: 1e-3, period: 1.0, growth: 1.0, warmup: 0.0, drops: None };
        let recipe = Recipe { batch, schedule, ..recipe.clone() };
        let pricer = Pricer::new(CostModel::new(Target::find("host")?), Budget::default(), None, 0);
        Ok(Self(Supernet::new(set, recipe, compute, seed, pricer)))
    }

    /// One optimizer step, its images brought along.
    ///
    /// # Errors
    /// The loss is not finite.
    pub fn step(&mut self, graph: &Graph) -> Result<Took> {
        let clock = Clock::start();
        self.0.train_step(graph)?;
        Ok(clock.took())
    }

    /// One way forward.
    ///
    /// # Errors
    /// The images cannot be read.
    pub fn forward(&mut self, graph: &Graph) -> Result<Took> {
        let clock = Clock::start();
        self.0.accuracy(graph)?;
        Ok(clock.took())
    }
}

/// Both clocks.
pub struct Clock {
    wall: Instant,
    cpu: f64,
}

impl Clock {
    /// Starts them.
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    /// Since the start.
    pub fn took(&self) -> Took {
        Took { wall_seconds: self.wall.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - self.cpu }
    }
}

/// Of this process so far, all threads, user and system.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

/// Peak resident memory of this process, in bytes; none where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// Resident memory of this process now, in bytes; none where the system does not tell.
pub fn memory_now() -> Option<u64> {
    status("VmRSS:")
}

fn status(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}
