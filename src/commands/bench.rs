//! `pipeline bench oracle`: how well strategies search a space whose every answer is known.

use anyhow::{Context, Result};
use search::{
    oracle::{Oracle, Table},
    study::Study,
    yardstick::{self, Method, Regrets},
};
use serde::Serialize;
use targets::{Bound, Budget, Metric};

use crate::{cli::OracleArgs, exit, exit::Exit, probe::cpu_seconds, terminal};

/// One line of `--json`.
#[derive(Serialize)]
struct Line {
    strategy: &'static str,
    evaluations: usize,
    seeds: u64,
    /// In points of accuracy below the best network within the bounds.
    mean_regret: f64,
    standard_error: f64,
    /// Answers that break a bound.
    violations: usize,
    /// Searches that found nothing.
    unanswered: usize,
    cpu_seconds: f64,
}

/// The command.
pub fn oracle(args: &OracleArgs) -> Result<Exit> {
    let table = match &args.table {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Table::nas_bench_201(&text).with_context(|| path.display().to_string())?
        }
        None => Table::made_up(args.made_up)?,
    };
    let table = if args.shuffled { table.shuffled(args.made_up) } else { table };
    let budget = budget(args)?;
    let methods = match &args.strategy[..] {
        [] => Method::ALL.to_vec(),
        names => names.iter().map(|name| method(name)).collect::<Result<_>>()?,
    };
    if args.seeds == 0 || args.evaluations == 0 {
        return Err(exit::usage("--seeds and --evaluations must be at least 1".to_owned()));
    }
    if table.best_within(&budget).is_none() {
        return Err(search::Error::Impossible.into());
    }
    if !args.json {
        terminal::print(&heading(args, &table, &budget));
    }
    let mut broken = 0;
    for method in methods {
        let before = cpu_seconds();
        let search = |seed, oracle: &mut Oracle<'_>, study: &mut Study| {
            if terminal::interrupted() {
                return Err(search::Error::Interrupted);
            }
            method.search(args.evaluations, seed, oracle, study)
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let found = yardstick::regrets(&table, &budget, args.seeds, threads, search)?;
        broken += found.violations;
        let Regrets { mean, standard_error, violations, unanswered, .. } = found;
        let line = Line {
            strategy: method.name(),
            evaluations: args.evaluations,
            seeds: args.seeds,
            mean_regret: mean,
            standard_error,
            violations,
            unanswered,
            cpu_seconds: cpu_seconds() - before,
        };
        terminal::print(&if args.json { serde_json::to_string(&line)? } else { row(&line) });
    }
    Ok(if broken == 0 { Exit::Ok } else { Exit::NotMet })
}

fn method(name: &str) -> Result<Method> {
    let found = Method::ALL.into_iter().find(|method| method.name() == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
        exit::usage(format!("--strategy {name}: there are {}", known.join(", ")))
    })
}

fn budget(args: &OracleArgs) -> Result<Budget> {
    let flags = [
        (Metric::Latency, &args.max_latency),
        (Metric::Params, &args.max_params),
        (Metric::Macs, &args.max_macs),
        (Metric::Activations, &args.max_activations),
    ];
    let mut bounds = Vec::new();
    for (metric, text) in flags {
        let Some(text) = text else { continue };
        let max = metric.parse(text).map_err(|error| exit::usage(format!("--max-{}: {error}", metric.name())))?;
        bounds.push(Bound { metric, min: None, max: Some(max), hard: true });
    }
    Ok(Budget { bounds })
}

fn heading(args: &OracleArgs, table: &Table, budget: &Budget) -> String {
    let points = |accuracy: f64| format!("{:.3} %", 100.0 * accuracy);
    let best = table.best_within(budget).map_or("none".to_owned(), points);
    let random = table.best_of_random(budget, args.evaluations).zip(table.best_within(budget));
    let random = random.map_or(String::new(), |(found, best)| {
        format!("; random search is {:.3} points below it, exactly", 100.0 * (best - found))
    });
    let of = args.table.as_ref().map_or("a made-up table".to_owned(), |path| path.display().to_string());
    format!(
        "best network within the bounds in {of}: {best}{random}\n\
         {} evaluations a search, {} searches a strategy\n\n\
         {:<18} {:>17}  {:>10} {:>10}  {:>11}",
        args.evaluations, args.seeds, "strategy", "regret, points", "over bound", "unanswered", "CPU seconds"
    )
}

fn row(line: &Line) -> String {
    let Line { strategy, mean_regret, standard_error, violations, unanswered, cpu_seconds, .. } = line;
    let regret = format!("{mean_regret:.3} +- {standard_error:.3}");
    format!("{strategy:<18} {regret:>17}  {violations:>10} {unanswered:>10}  {cpu_seconds:>11.2}")
}
