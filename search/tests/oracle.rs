//! Strategies against a known optimum: a made-up table, and the published one where it is at hand.
#![expect(clippy::print_stdout, reason = "the figures are a table to read, and a skipped test says so")]

use search::{
    oracle::{Oracle, Table},
    space::nas_bench_201::{Arch, NasBench201, PUBLISHED},
    strategy::{
        Strategy,
        reinforce::{Reinforce, Settings},
    },
    study::{Study, Unwatched},
    trials::Effort,
    yardstick::{self, Method, Regrets},
};
use targets::{Bound, Budget, Metric};

fn regrets(table: &Table, method: Method, evaluations: usize, seeds: u64, budget: &Budget) -> Regrets {
    let search = |seed, oracle: &mut Oracle<'_>, study: &mut Study| method.search(evaluations, seed, oracle, study);
    let found = yardstick::regrets(table, budget, seeds, 2, search).expect("a table answers");
    let name = method.name();
    assert!(found.most_evaluations <= evaluations, "{name} trains {} of {evaluations}", found.most_evaluations);
    assert_eq!((found.violations, found.unanswered), (0, 0), "{name}");
    found
}

fn within(seconds: f64) -> Budget {
    Budget { bounds: vec![Bound { metric: Metric::Latency, min: None, max: Some(seconds), hard: true }] }
}

fn published() -> Option<Table> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/latency/nb201_cifar10_full.csv");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: nb201_cifar10_full.csv (no ../shared/data)");
        return None;
    };
    Some(Table::nas_bench_201(&text).expect("the table is whole"))
}

/// Mean regrets computed for this table with other people's programs.
#[test]
fn regrets_are_those_of_the_published_methods() {
    let Some(table) = published() else { return };
    let anything = Budget::default();
    let exact = table.best_within(&anything).zip(table.best_of_random(&anything, 100)).map(|(a, b)| 100.0 * (a - b));
    assert!((exact.expect("there are networks") - 1.195).abs() < 1e-3, "{exact:?}");
    let rows = [
        (Method::Random, 100, 1.195),
        (Method::Evolution, 100, 0.393),
        (Method::LocalSearch, 100, 0.603),
        (Method::LocalSearch, 500, 0.009),
        (Method::Reinforce, 100, 0.711),
    ];
    for (method, evaluations, expected) in rows {
        let Regrets { mean, standard_error, .. } = regrets(&table, method, evaluations, 500, &anything);
        let name = method.name();
        println!("{name}, {evaluations} evaluations: {mean:.3} +- {standard_error:.3}, published {expected}");
        assert!((mean - expected).abs() <= 3.0 * standard_error, "{name}: {mean} +- {standard_error}, not {expected}");
    }
}

/// Every learner beats random search at equal cost where there is something to learn, and none where there is not.
#[test]
fn learners_beat_random_search_where_there_is_something_to_learn() {
    let table = Table::made_up(1).expect("sizes fit");
    let shuffled = table.shuffled(1);
    for budget in [Budget::default(), within(20e-3)] {
        let random = regrets(&table, Method::Random, 200, 24, &budget);
        let blind = regrets(&shuffled, Method::Random, 200, 24, &budget);
        for method in Method::ALL.into_iter().skip(1) {
            let name = method.name();
            let learned = regrets(&table, method, 200, 24, &budget);
            let gain = random.mean - learned.mean;
            assert!(2.0 * random.standard_error.hypot(learned.standard_error) < gain, "{name} gains {gain}");
            let lucky = regrets(&shuffled, method, 200, 24, &budget);
            let edge = blind.mean - lucky.mean;
            let spread = blind.standard_error.hypot(lucky.standard_error);
            assert!(edge < 3.0 * spread, "{name} gains {edge} +- {spread} where nothing can be learned");
        }
    }
}

#[test]
fn a_soft_bound_draws_reinforce_towards_it() {
    let table = Table::made_up(1).expect("sizes fit");
    let late = |budget: &Budget| -> f64 {
        let of = |seed| {
            let mut study = Study::new(budget.clone(), Box::new(Unwatched));
            let effort = Effort { evaluations: 150, epochs: 12, patience: 1_000, proxy: PUBLISHED, full: PUBLISHED };
            let mut oracle = Oracle::new(&table);
            let found = Reinforce::new(Settings::default(), effort, seed).search(&NasBench201, &mut oracle, &mut study);
            assert!(found.is_ok());
            let last = &study.trials()[100..];
            last.iter().map(|trial| trial.cost.figures[&Metric::Latency].value).sum::<f64>() / last.len() as f64
        };
        (0..6).map(of).sum::<f64>() / 6.0
    };
    let soft = Bound { hard: false, ..within(5e-3).bounds[0] };
    let (free, soft) = (late(&Budget::default()), late(&Budget { bounds: vec![soft] }));
    assert!(soft < 0.8 * free, "{soft} s, and without the bound {free} s");
}

#[test]
fn cells_are_written_as_the_benchmark_writes_them() {
    let text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|";
    assert_eq!(Arch::parse(text).expect("a cell").to_string(), text);
    let all: std::collections::HashSet<Arch> = Arch::all().collect();
    assert_eq!(all.len(), 15_625);
    assert!(all.iter().all(|arch| Arch::parse(&arch.to_string()) == Some(*arch)));
    for wrong in ["", "none", "|none~0|", "|none~1|+|none~0|none~1|+|none~0|none~1|none~2|", &format!("{text}|none~0|")]
    {
        assert_eq!(Arch::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_table_says_what_is_wrong_with_it() {
    let check = |text: &str, says: &str| {
        let error = Table::nas_bench_201(text).expect_err("it is wrong").to_string();
        assert!(error.contains(says), "{error}");
    };
    let cell = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";
    check("", "no column arch_str");
    check("arch_str,cifar10_val\n", "no column raspi4");
    check("arch_str,cifar10_val,raspi4\n", "0 cells of 15625");
    check(&format!("arch_str,cifar10_val,raspi4\n{cell},10\n"), "line 2: raspi4 is missing");
    check(&format!("arch_str,cifar10_val,raspi4\n{cell},many,1\n"), "line 2: cifar10_val is \"many\"");
    check("arch_str,cifar10_val,raspi4\nnone,1,1\n", "line 2: \"none\" is no cell");
    check(&format!("arch_str,cifar10_val,raspi4\n{cell},1,1\n{cell},1,1\n"), "line 3");
}

#[test]
fn the_same_seed_proposes_the_same_and_a_resumed_search_trains_nothing_twice() {
    let table = Table::made_up(2).expect("sizes fit");
    for method in Method::ALL {
        let (name, folder) = (method.name(), tempfile::tempdir().expect("a folder"));
        let run = |stop_after: Option<usize>| {
            let watch: Box<dyn search::study::Watch> = match stop_after {
                Some(n) => Box::new(Stops(n)),
                None => Box::new(Unwatched),
            };
            let mut study = Study::open(folder.path(), within(20e-3), watch).expect("it opens");
            let mut oracle = Oracle::new(&table);
            let found = method.search(60, 7, &mut oracle, &mut study);
            (found, oracle.evaluations, std::fs::read(folder.path().join("study.jsonl")).expect("it is there"))
        };
        let (stopped, first, _) = run(Some(25));
        assert!(matches!(stopped, Err(search::Error::Interrupted)), "{name}");
        let (resumed, second, journal) = run(None);
        // One batch may have been trained and not recorded.
        assert!((60..60 + 8).contains(&(first + second)), "{name}: {first} and {second}");
        let mut study = Study::new(within(20e-3), Box::new(Unwatched));
        let found = method.search(60, 7, &mut Oracle::new(&table), &mut study);
        assert_eq!(found.expect("a table answers"), resumed.expect("a table answers"), "{name}");
        let lines: Vec<String> =
            study.trials().iter().map(|it| serde_json::to_string(it).expect("plain data") + "\n").collect();
        assert_eq!(lines.concat().into_bytes(), journal, "{name}");
    }
}

/// Ends a search after a number of trials.
struct Stops(usize);

impl search::study::Watch for Stops {
    fn look(&mut self, progress: &search::study::Progress<'_>) -> search::study::Signal {
        use search::study::Signal;

        if self.0 as u64 <= progress.trials { Signal::Stop } else { Signal::Continue }
    }
}
