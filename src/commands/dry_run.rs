//! `pipeline search --dry-run`: what a search would do, before it does it.

mod cells;
mod stage;

use anyhow::Result;
use search::{pricing::FIRST_MEASURED, space::SearchSpace};
use serde::Serialize;
use targets::Metric;

use self::{
    cells::{Cells, SAMPLED},
    stage::{PROBED, Stage},
};
use super::search::{Plan, SEARCH_SHARE, random_cell};
use crate::{
    config::BaselineChoice,
    devices,
    effort::{self, Counts, Range, resident},
    exit::Exit,
    growth::Work,
    on_device::{Instrument, ModelFile},
    probe::{Clock, Took, cpu_seconds},
    score::records,
    terminal,
};

/// What would be done.
#[derive(Debug, Serialize)]
struct Estimate {
    /// Architectures in the space, as text: the number is beyond what JSON readers keep.
    architectures: String,
    /// Share of random architectures that the bounds known before training admit.
    feasible_share: f64,
    /// Architectures that share was taken from.
    feasible_of: usize,
    /// Steps of training while searching, the baseline's included.
    search_steps: u64,
    /// Images that final trainings go through, the baseline's included.
    training_images: u64,
    /// Candidates that the device is asked about whatever they are predicted to take; others where a bound is near.
    measured: usize,
    /// Time that their instructions are counted for, in seconds, by one that was counted; 0 without counting, and on boards,
    /// which a dry run does not touch.
    counting_seconds: f64,
    /// Time of the whole command, in seconds, estimated from a short probe; what a board takes is not in it.
    seconds: f64,
    /// A tenth and nine tenths of the networks that may be chosen for the final training lead to these.
    seconds_low: f64,
    seconds_high: f64,
    /// The same in time of all processors.
    cpu_seconds: f64,
    cpu_seconds_low: f64,
    cpu_seconds_high: f64,
    /// CPU time of the searches, the baseline's included, and of the final trainings: the parts of `cpu_seconds`.
    search_cpu_seconds: f64,
    training_cpu_seconds: f64,
    /// Peak resident memory of this program, in bytes; absent where the system does not tell what it takes now.
    memory_bytes: Option<u64>,
}

/// The command.
pub fn run(plan: &Plan, json: bool) -> Result<Exit> {
    let estimate = estimate(plan)?;
    if json {
        terminal::print(&serde_json::to_string(&estimate)?);
        return Ok(Exit::Ok);
    }
    let (images, records) = (&plan.images, records(&plan.deployed));
    terminal::print(&format!(
        "data      {} ({} training, {} validation {records}, {} classes)",
        plan.config.data,
        images.set.train.len(),
        images.set.validation.len(),
        images.source.classes.len()
    ));
    terminal::print(&format!("space     {} cells of {}", estimate.architectures, plan.space.describe()));
    terminal::print(&format!("estimates {}", plan.model.latency.rests_on()));
    for bound in &plan.budget.bounds {
        let metric = bound.metric;
        let kind = if bound.hard { "hard" } else { "soft" };
        let limit = |sign: &str, value: Option<f64>| {
            value.map(|it| format!(" {sign} {}", metric.format(it))).unwrap_or_default()
        };
        terminal::print(&format!(
            "bound     {}{}{} ({kind})",
            metric.name(),
            limit("<=", bound.max),
            limit(">=", bound.min)
        ));
    }
    say_effort(plan, &estimate);
    Ok(Exit::Ok)
}

/// The lines about time and memory.
fn say_effort(plan: &Plan, estimate: &Estimate) {
    let time = |seconds: f64| Metric::TrainTime.format(seconds);
    terminal::print(&format!(
        "feasible  {:.1} % of {} random cells, by what is known before training",
        100.0 * estimate.feasible_share,
        estimate.feasible_of
    ));
    terminal::print(&format!(
        "work      {} steps of training while searching, final training on {} {}",
        estimate.search_steps,
        estimate.training_images,
        records(&plan.deployed)
    ));
    terminal::print(&format!(
        "time      about {} here and now ({} to {}, by which network is chosen), estimated from {PROBED} cells a size",
        time(estimate.seconds),
        time(estimate.seconds_low),
        time(estimate.seconds_high)
    ));
    terminal::print(&format!(
        "          CPU time about {} ({} to {}): searches {}, final trainings {}",
        time(estimate.cpu_seconds),
        time(estimate.cpu_seconds_low),
        time(estimate.cpu_seconds_high),
        time(estimate.search_cpu_seconds),
        time(estimate.training_cpu_seconds)
    ));
    match plan.config.device() {
        None => {}
        Some(devices::COUNTED) => terminal::print(&format!(
            "          in it {} for counting the instructions of {} candidates; where a bound is near, more are counted",
            time(estimate.counting_seconds),
            estimate.measured
        )),
        Some(_) => terminal::print(&format!(
            "          measuring on the device comes on top: up to 2 s a candidate, {} of them or more where a bound is near",
            estimate.measured
        )),
    }
    terminal::print(&match estimate.memory_bytes {
        Some(bytes) => format!("memory    about {} (estimated)", Metric::Memory.format(bytes as f64)),
        None => "memory    not known: this system does not tell what a process takes".to_owned(),
    });
}

fn estimate(plan: &Plan) -> Result<Estimate> {
    let config = &plan.config;
    let n_train = plan.images.set.train.len();
    // To open the data and to count what a space costs is done by the search as well.
    let opened = Range::of(cpu_seconds());
    let cells = Cells::sample(plan)?;
    let search = Stage::probe(plan, &config.search_recipe, plan.proxy, &cells.all)?;
    let last = Stage::probe(plan, &config.training, plan.deployed.trained(), &cells.feasible)?;
    let Outlook { searches: of_searches, trainings: of_trainings, tensors } = outlook(plan, &cells, &search, &last)?;
    let (measured, counting) = counting(plan)?;
    let cpu = opened + of_searches + of_trainings + Range::of(counting.cpu_seconds);
    let wall =
        opened + of_searches * search.pace.wall + of_trainings * last.pace.wall + Range::of(counting.wall_seconds);
    let (_, trainings) = effort::repeats(config);
    Ok(Estimate {
        architectures: plan.space.size().to_string(),
        feasible_share: cells.feasible.len() as f64 / SAMPLED as f64,
        feasible_of: SAMPLED as usize,
        search_steps: search_steps(plan),
        training_images: (trainings * config.training.epochs * n_train) as u64,
        measured,
        counting_seconds: counting.wall_seconds,
        seconds: wall.expected,
        seconds_low: wall.low,
        seconds_high: wall.high,
        cpu_seconds: cpu.expected,
        cpu_seconds_low: cpu.low,
        cpu_seconds_high: cpu.high,
        search_cpu_seconds: of_searches.expected,
        training_cpu_seconds: of_trainings.expected,
        memory_bytes: cells.memory.map(|before| before + tensors as u64),
    })
}

/// How many candidates the device is asked about at least, and what it takes to count their instructions, where that is
/// how it is asked: one is counted.
fn counting(plan: &Plan) -> Result<(usize, Took)> {
    if plan.config.device().is_none() {
        return Ok((0, Took::default()));
    }
    // Those that teach the model, and what is to ship once more by the whole protocol, its rival's included.
    let first = FIRST_MEASURED.saturating_sub(plan.model.latency.n_measured());
    let measured = first + if plan.config.baseline == BaselineChoice::Rival { 2 } else { 1 };
    let Some(Instrument::Counts { counter, .. }) = plan.counter()? else { return Ok((measured, Took::default())) };
    let model = ModelFile::of(&plan.network(&random_cell(plan, 0))?)?;
    let clock = Clock::start();
    counter.count(model.path())?;
    // One process on one core: what it takes of the wall it takes of a processor.
    let seconds = clock.took().wall_seconds * measured as f64;
    Ok((measured, Took { wall_seconds: seconds, cpu_seconds: seconds }))
}

/// Steps of training while searching, the baseline's included.
fn search_steps(plan: &Plan) -> u64 {
    let an_epoch = plan.images.set.train.len().div_ceil(plan.config.search_recipe.batch);
    (effort::repeats(&plan.config).0 * effort::epochs(&plan.config) * an_epoch) as u64
}

/// What follows from the pace of a few steps.
struct Outlook {
    /// CPU seconds, the baseline's included.
    searches: Range,
    trainings: Range,
    /// Resident bytes of all tensors.
    tensors: f64,
}

fn outlook(plan: &Plan, cells: &Cells, search: &Stage, last: &Stage) -> Result<Outlook> {
    let config = &plan.config;
    let set = &plan.images.set;
    // The test part is opened once a network was trained, not before: a fifth of the training part is what data sets
    // come with, and a pass over it is a small share.
    let counts = Counts { train: set.train.len(), validation: set.validation.len(), test: set.part.len() / 5 };
    let of_training = |unit: &Work| effort::of_training(config, &last.pace, counts, *unit);
    let of_search = |unit, feasible| effort::of_search(config, &search.pace, counts, unit, feasible);
    let (proxies, networks) = (cells.units(plan.proxy)?, cells.units(plan.deployed.trained())?);
    let small = Cells::small(&networks);
    let of_small = |units: &[Work]| small.iter().map(|&idx| units[idx]).collect::<Vec<_>>();
    let (small_proxies, small_networks) = (of_small(&proxies), of_small(&networks));
    let (mean, end) = effort::settled(config);
    let mut trained = Range::among(cells.chosen(plan, &networks).iter().map(of_training).collect());
    if 0.0 < end {
        let on_small = Range::among(small_networks.iter().map(of_training).collect());
        let expected = trained.expected + end * (on_small.expected - trained.expected);
        trained = Range { expected, low: on_small.low.min(trained.low), ..trained };
    }
    let small_proxy = Work::mean(&small_proxies);
    let (on_random, on_small) = (of_search(search.mean, Work::mean(&proxies)), of_search(small_proxy, small_proxy));
    let expected = on_random + mean * (on_small - on_random);
    let searched = Range { expected, low: expected.min(on_small), high: expected.max(on_random) };
    let (searches, trainings) = effort::repeats(config);
    let (random, small_network) = (Work::mean(&networks), Work::mean(&small_networks));
    let mut of_searches = searched + Range::of(on_random) * (searches - 1) as f64;
    let mut of_trainings = trained + Range::of(of_training(&random)) * (trainings - 1) as f64;
    // A deadline is of the clock on the wall.
    if let Some(deadline) = config.deadline()?.map(|it| it.as_secs_f64()) {
        of_searches = of_searches.at_most(searches as f64 * SEARCH_SHARE * deadline / search.pace.wall);
        of_trainings = of_trainings.at_most((1.0 - 2.0 * SEARCH_SHARE) * deadline / last.pace.wall);
    }
    // Of two trainings the one of a random cell is the larger.
    let end = if trainings == 1 { end } else { 0.0 };
    let values = random.values + end * (small_network.values - random.values);
    let sizes = [plan.proxy.channels * search.pace.batch, plan.deployed.channels * last.pace.batch];
    let tensors = resident([search.live, last.live * values / last.dearest], sizes, search_steps(plan));
    Ok(Outlook { searches: of_searches, trainings: of_trainings, tensors })
}
