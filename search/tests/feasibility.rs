//! Why a budget is not met and what bounds cost, against everything counted out.
#![expect(clippy::print_stdout, reason = "texts are to be read, and a skipped test says so")]

use std::collections::{BTreeMap, BTreeSet};

use data::keyed::{self, ChaCha8Rng};
use search::{
    feasibility::{Binding, Certificate, Change, Explanation, Judged, Known, Limit, Side},
    oracle::Table,
    study::{Phase, Trial},
};
use targets::{Bound, Budget, Cost, Figure, Metric, Source};

fn published() -> Table {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/latency/nb201_cifar10_full.csv");
    match std::fs::read_to_string(path) {
        Ok(text) => Table::nas_bench_201(&text).expect("the table is whole"),
        Err(_) => {
            println!("made up: nb201_cifar10_full.csv (no ../shared/data)");
            Table::made_up(1).expect("sizes fit")
        }
    }
}

/// Metrics of a table's networks.
const TABLED: [Metric; 4] = [Metric::Params, Metric::Macs, Metric::Activations, Metric::Latency];

/// One network in plain numbers.
struct Plain {
    accuracy: f64,
    values: [f64; 4],
}

/// The oracle of the tests: budgets as lists of `(metric, is an upper bound, value)`.
type Limits = Vec<(usize, bool, f64)>;

fn is_met(&(metric, upper, value): &(usize, bool, f64), it: &Plain) -> bool {
    if upper { it.values[metric] <= value } else { value <= it.values[metric] }
}

fn best(limits: &Limits, networks: &[Plain]) -> Option<f64> {
    let inside = networks.iter().filter(|it| limits.iter().all(|limit| is_met(limit, it)));
    inside.map(|it| it.accuracy).max_by(f64::total_cmp)
}

/// Two to five limits; each the value of some network, or a little beside it.
fn draw(rng: &mut ChaCha8Rng, networks: &[Plain]) -> Limits {
    let mut pick = |n: usize| keyed::below(rng, n as u32) as usize;
    let mut limits: Limits = Vec::new();
    for _ in 0..2 + pick(4) {
        let (metric, upper) = (pick(4), 0 < pick(3));
        // The lowest of some draws is a tight upper bound, the highest a tight lower one.
        let some: Vec<f64> = (0..1 + pick(40)).map(|_| networks[pick(networks.len())].values[metric]).collect();
        let end = if upper { some.into_iter().fold(f64::MAX, f64::min) } else { some.into_iter().fold(0.0, f64::max) };
        if limits.iter().all(|it| (it.0, it.1) != (metric, upper)) {
            limits.push((metric, upper, end * [1.0, 1.0, 0.97, 1.05][pick(4)]));
        }
    }
    limits
}

fn budget(limits: &Limits) -> Budget {
    let bound = |&(metric, upper, value): &(usize, bool, f64)| Bound {
        metric: TABLED[metric],
        min: (!upper).then_some(value),
        max: upper.then_some(value),
        hard: true,
    };
    Budget { bounds: limits.iter().map(bound).collect() }
}

fn place(limit: &Limit) -> (usize, bool) {
    (TABLED.iter().position(|it| *it == limit.metric).expect("it is tabled"), limit.side == Side::Max)
}

/// Subsets that no network meets, none of them with a smaller one in it: every subset is tried.
fn brute_conflicts(limits: &Limits, networks: &[Plain]) -> Vec<Vec<(usize, bool)>> {
    let met = |it: &Plain| limits.iter().enumerate().map(|(bit, limit)| usize::from(is_met(limit, it)) << bit).sum();
    let met: BTreeSet<usize> = networks.iter().map(met).collect();
    let is_infeasible = |set: &usize| met.iter().all(|it| it & set != *set);
    let infeasible: Vec<usize> = (0..1 << limits.len()).filter(is_infeasible).collect();
    let minimal = infeasible.iter().filter(|set| !infeasible.iter().any(|it| it != *set && *it & **set == *it));
    let chosen = |set: usize| limits.iter().enumerate().filter(move |(bit, _)| set >> bit & 1 == 1);
    let mut sets: Vec<Vec<_>> = minimal.map(|set| chosen(*set).map(|(_, it)| (it.0, it.1)).collect()).collect();
    sets.sort();
    sets
}

fn relative(&(metric, upper, value): &(usize, bool, f64), it: &Plain) -> f64 {
    let found = it.values[metric];
    (if upper { found / value } else { value / found } - 1.0).max(0.0)
}

/// A thousand budgets, every finding against a count of its own.
#[test]
fn findings_are_those_of_counting_everything() {
    let table = published();
    let known: Vec<Known<'_>> = table.networks().map(|(it, cost)| Known { accuracy: Some(it), cost }).collect();
    let plain = |it: &Known<'_>| Plain {
        accuracy: it.accuracy.expect("all are trained"),
        values: TABLED.map(|metric| it.cost.get(metric).expect("it is tabled").value),
    };
    let networks: Vec<Plain> = known.iter().map(plain).collect();
    let check = |step: u64| -> bool {
        let limits = draw(&mut keyed::rng(5, "budgets", step), &networks);
        let (budget, best_within) = (budget(&limits), best(&limits, &networks));
        if step.is_multiple_of(20) {
            assert_eq!(table.best_within(&budget), best_within);
        }
        let judged = Judged::new(&budget, &known);
        check_conflicts(&judged, &limits, &networks);
        match best_within {
            Some(best_within) => {
                assert_eq!((judged.together(), judged.alone()), (None, Vec::new()));
                check_prices(&judged, &limits, best_within, &networks);
            }
            None => {
                assert!(judged.n_admitted() == 0 && judged.prices().is_empty());
                check_relaxations(&judged, &limits, &networks);
            }
        }
        best_within.is_some()
    };
    let check = &check;
    let n_feasible: usize = std::thread::scope(|scope| {
        let half = |first: u64| scope.spawn(move || (first..1000).step_by(2).filter(|step| check(*step)).count());
        [0, 1].map(half).into_iter().map(|it| it.join().expect("a check failed")).sum()
    });
    println!("{n_feasible} of 1000 budgets can be met; for instance:");
    for (max_params, max_latency) in [(300e3, 0.020), (100e3, 0.004)] {
        let budget = at_most(&[(Metric::Params, max_params), (Metric::Latency, max_latency)]);
        println!("{}", Explanation::new(&budget, &known, true, None));
    }
    assert!((200..800).contains(&n_feasible), "{n_feasible} of 1000: draw other bounds");
}

fn check_conflicts(judged: &Judged<'_>, limits: &Limits, networks: &[Plain]) {
    let mut sets: Vec<Vec<_>> = judged.conflicts().iter().map(|set| set.iter().map(place).collect()).collect();
    sets.sort();
    assert_eq!(sets, brute_conflicts(limits, networks), "{limits:?}");
}

fn check_relaxations(judged: &Judged<'_>, limits: &Limits, networks: &[Plain]) {
    let price = |it: &Plain| limits.iter().map(|limit| relative(limit, it)).fold(0.0, f64::max);
    let cheapest = networks.iter().map(price).fold(f64::INFINITY, f64::min);
    let changes = judged.together().expect("no bound is zero");
    let largest = changes.iter().map(Change::relative).fold(0.0, f64::max);
    assert_eq!(largest, cheapest, "{limits:?}");
    let moved = |limit: &(usize, bool, f64)| {
        let change = changes.iter().find(|it| place(&it.from) == (limit.0, limit.1));
        change.map_or(*limit, |it| (limit.0, limit.1, it.to))
    };
    // By so much it is met; by a little less it is not, whatever the others are relaxed by.
    assert!(changes.iter().all(|it| !it.from.allows(it.to)));
    assert!(best(&limits.iter().map(moved).collect(), networks).is_some(), "{changes:?}");
    let less = cheapest * (1.0 - 1e-9);
    let wider = |it: &(usize, bool, f64)| (it.0, it.1, if it.1 { it.2 * (1.0 + less) } else { it.2 / (1.0 + less) });
    assert!(best(&limits.iter().map(wider).collect(), networks).is_none(), "{changes:?}");

    let single = judged.alone();
    assert!(single.is_sorted_by(|a, b| a.relative() <= b.relative()));
    for limit in limits {
        let others: Limits = limits.iter().filter(|it| *it != limit).copied().collect();
        let inside = networks.iter().filter(|it| others.iter().all(|limit| is_met(limit, it)));
        let values = inside.map(|it| it.values[limit.0]);
        let expected = if limit.1 { values.min_by(f64::total_cmp) } else { values.max_by(f64::total_cmp) };
        let found = single.iter().find(|it| place(&it.from) == (limit.0, limit.1));
        assert_eq!(found.map(|it| it.to), expected, "{limits:?}");
    }
}

fn check_prices(judged: &Judged<'_>, limits: &Limits, best_within: f64, networks: &[Plain]) {
    let prices = judged.prices();
    assert_eq!(prices.len(), limits.len());
    for price in &prices {
        let at = limits.iter().position(|it| (it.0, it.1) == place(&price.limit)).expect("it is a limit");
        let with = |value: Option<f64>| {
            let mut limits = limits.clone();
            match value {
                Some(value) => limits[at].2 = value,
                None => drop(limits.remove(at)),
            }
            best(&limits, networks)
        };
        let (_, upper, value) = limits[at];
        let out = |step: f64| if upper { value + step } else { value - step };
        assert_eq!(price.best, best_within);
        assert!((0.02..0.1).contains(&(price.step / value)), "{} of {value}", price.step);
        assert_eq!(Some(price.relaxed), with(Some(out(price.step))), "{limits:?}");
        assert_eq!(price.tightened, with(Some(out(-price.step))), "{limits:?}");
        assert_eq!(Some(price.dropped), with(None), "{limits:?}");
        assert_eq!(price.binding, if best_within < price.dropped { Binding::Binds } else { Binding::Free });
        assert!(price.limit.allows(price.used.value));
        if let Some(next) = price.next {
            assert_eq!(with(Some(next.at)), Some(next.accuracy));
            let before = value + (next.at - value) * (1.0 - 1e-9);
            assert_eq!(with(Some(before)), Some(best_within), "{limits:?}");
        }
        let (from, width) = price.tightened.map_or((best_within, 1.0), |it| (it, 2.0));
        let marginal = price.marginal().expect("no bound is zero");
        assert!((marginal * price.step * width - 100.0 * (price.relaxed - from)).abs() < 1e-9);
    }
}

fn exact(figures: &[(Metric, f64)]) -> Cost {
    Cost { figures: figures.iter().map(|(metric, value)| (*metric, Figure::exact(*value))).collect() }
}

fn estimated(metric: Metric, [low, value, high]: [f64; 3]) -> Cost {
    let source = Source::Estimated { by: "not measured on rpi4".to_owned() };
    Cost { figures: BTreeMap::from([(metric, Figure { value, low, high, source })]) }
}

fn at_most(limits: &[(Metric, f64)]) -> Budget {
    let bound = |&(metric, max): &(Metric, f64)| Bound { metric, min: None, max: Some(max), hard: true };
    Budget { bounds: limits.iter().map(bound).collect() }
}

#[test]
fn limits_are_the_tightest_hard_sides() {
    let bound = |min, max, hard| Bound { metric: Metric::Macs, min, max, hard };
    let bounds = vec![
        bound(Some(1.0), Some(9.0), true),
        bound(None, Some(8.0), true),
        bound(Some(3.0), None, true),
        bound(Some(2.0), Some(8.5), true),
        bound(Some(5.0), Some(6.0), false),
    ];
    let limit = |side, value| Limit { metric: Metric::Macs, side, value };
    assert_eq!(Limit::all(&Budget { bounds }), [limit(Side::Min, 3.0), limit(Side::Max, 8.0)]);
    let check = |limit: Limit, value, expected: f64| assert_eq!(limit.relative(value), expected, "{limit}, {value}");
    check(limit(Side::Max, 8.0), 8.0, 0.0);
    check(limit(Side::Max, 8.0), 16.0, 1.0);
    check(limit(Side::Max, 0.0), 1.0, f64::INFINITY);
    check(limit(Side::Min, 8.0), 9.0, 0.0);
    check(limit(Side::Min, 8.0), 4.0, 1.0);
    check(limit(Side::Min, 8.0), 0.0, f64::INFINITY);
}

#[track_caller]
fn check_text(why: &Explanation, expected: &[&str]) {
    let text = why.to_string();
    println!("{text}\n");
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let json = serde_json::to_string(why).expect("plain data");
    assert_eq!(serde_json::from_str::<Explanation>(&json).expect("it was written so"), *why);
}

/// Two small networks that miss each other's bound.
fn two() -> [Cost; 2] {
    [(900.0, 0.030), (2_400.0, 0.018)].map(|(params, time)| exact(&[(Metric::Params, params), (Metric::Latency, time)]))
}

#[test]
fn bounds_that_do_not_hold_together_are_named() {
    let costs = two();
    let known = [0, 1].map(|idx| Known { accuracy: None, cost: &costs[idx] });
    let budget = at_most(&[(Metric::Params, 2_000.0), (Metric::Latency, 0.020)]);
    let seen = Explanation::new(&budget, &known, false, None);
    assert_eq!(seen.conflicts, [Limit::all(&budget)]);
    check_text(
        &seen,
        &[
            "None of 2 networks met the budget.",
            "  params at most 2 k: met by 1",
            "  latency at most 20 ms: met by 1",
            "Each met by some of the 2 networks, but never by one together: params at most 2 k and latency at most 20 ms.",
            "Relax the bounds: with params at most 2.4 k (+20 %) one of the networks seen is within.",
            "Or relax one alone: latency at most 30 ms (+50 %).",
        ],
    );
    let whole = Explanation::new(&budget, &known, true, None);
    check_text(
        &whole,
        &[
            "None of the 2 networks of the space meets the budget.",
            "  params at most 2 k: met by 1",
            "  latency at most 20 ms: met by 1",
            "No network of the space meets together: params at most 2 k and latency at most 20 ms.",
            "Relax the bounds: with params at most 2.4 k (+20 %) some network of the space is within; with less, none.",
            "Or relax one alone: latency at most 30 ms (+50 %).",
        ],
    );
}

#[test]
fn a_relaxation_that_is_typed_as_printed_is_enough() {
    let check = |metric: Metric, max: f64, needed: f64| {
        let cost = exact(&[(metric, needed)]);
        let known = [Known { accuracy: None, cost: &cost }];
        let text = Explanation::new(&at_most(&[(metric, max)]), &known, false, None).to_string();
        let advice =
            text.lines().find_map(|line| line.strip_prefix("Relax the bounds: with ")).expect("there is advice");
        let value = advice.split("at most ").nth(1).and_then(|it| it.split(" (").next()).expect("a quantity");
        let value = metric.parse(value).unwrap_or_else(|error| panic!("{error} in {text}"));
        assert!((needed..1.01 * needed).contains(&value), "{value} is not enough for {needed}: {text}");
    };
    for needed in [0.031_249, 0.1004, 0.999_8, 59.97, 3e-7] {
        check(Metric::Latency, 0.01 * needed, needed);
    }
    for needed in [999.0, 1_001.0, 123_456.0, 999_501.0, 1_500_001.0, 12.0] {
        check(Metric::Params, 0.5 * needed, needed);
        check(Metric::Flash, 0.9 * needed, needed);
    }
}

#[test]
fn an_estimate_is_never_called_a_proof() {
    let costs = [estimated(Metric::Latency, [0.01, 0.02, 0.04]), estimated(Metric::Latency, [0.02, 0.03, 0.06])];
    let known = [0, 1].map(|idx| Known { accuracy: Some(0.5), cost: &costs[idx] });
    let budget = at_most(&[(Metric::Latency, 0.030)]);
    let networks: Vec<(u8, Cost)> = costs.iter().cloned().enumerate().map(|(idx, it)| (idx as u8, it)).collect();
    let certificate = Certificate::counted(&networks);
    check_text(
        &Explanation::new(&budget, &known, true, Some(certificate.clone())),
        &[
            "None of the 2 networks of the space meets the budget.",
            "  latency at most 30 ms: never met; the nearest was 20 ms (10 ms to 40 ms, estimated, not measured on rpi4)",
            "Relax the bounds: with latency at most 40 ms (+34 %) some network of the space is within; with less, none.",
            "A smaller network, by [deployed] in --config, takes less of everything.",
            "By estimates of latency: a network is within where the whole interval is.",
        ],
    );
    // Without any network there are the ends of the space alone.
    let ends = |max| Explanation::new(&at_most(&[(Metric::Latency, max)]), &[], false, Some(certificate.clone()));
    check_text(
        &ends(0.030),
        &[
            "No estimate can show that a network of the space meets the budget.",
            "  latency at most 30 ms: not shown; the least in the space is 20 ms (10 ms to 40 ms, estimated, not measured \
             on rpi4): only a measurement can show it",
            "At the least, relax latency at most 40 ms (+34 %); that is necessary, and need not be enough.",
        ],
    );
    check_text(
        &ends(0.009),
        &[
            "By estimates no network of the space meets the budget.",
            "  latency at most 9 ms: impossible by estimates; the least in the space is 20 ms (10 ms to 40 ms, estimated, \
             not measured on rpi4)",
            "At the least, relax latency at most 10 ms (+12 %); that is necessary, and need not be enough.",
        ],
    );
    check_text(
        &ends(0.040),
        &[
            "Nothing is proven against the budget. Whether one network meets all bounds, a search finds out.",
            "  latency at most 40 ms: possible; the least in the space is 20 ms (10 ms to 40 ms, estimated, not measured \
             on rpi4)",
        ],
    );
}

#[test]
fn prices_are_told_by_what_is_known() {
    let rows = [(0.70, 0.010, 10.0), (0.80, 0.020, 30.0), (0.87, 0.021, 20.0), (0.90, 0.030, 20.0)];
    let costs = rows.map(|(_, time, memory)| exact(&[(Metric::Latency, time), (Metric::Memory, memory * 1_048_576.0)]));
    let budget = at_most(&[(Metric::Latency, 0.020), (Metric::Memory, 64.0 * 1_048_576.0)]);
    let known = [0, 1, 2, 3].map(|idx| Known { accuracy: Some(rows[idx].0), cost: &costs[idx] });
    check_text(
        &Explanation::new(&budget, &known, true, None),
        &[
            "2 of the 4 networks of the space are within the budget; the best has an accuracy of 80.00 %.",
            "  latency at most 20 ms binds: +1 ms buys 7.00 points; -1 ms costs 10.00 points; without it 10.00 points; the \
             best takes 20 ms",
            "  memory at most 64 MiB does not bind: without it no network is better; -4 MiB costs nothing; the best takes \
             30 MiB",
        ],
    );
    // As in a search that trains nothing beyond a bound.
    let known = [0, 1, 2, 3].map(|idx| Known { accuracy: (idx < 2).then_some(rows[idx].0), cost: &costs[idx] });
    check_text(
        &Explanation::new(&budget, &known, false, None),
        &[
            "2 of 4 networks were within the budget; the best has an accuracy of 80.00 %.",
            "  latency at most 20 ms: what more would buy is not known, for no network beyond it was trained; -1 ms costs \
             10.00 points; the best takes 20 ms",
            "  memory at most 64 MiB does not bind: without it no better network was seen; -4 MiB costs nothing; the best \
             takes 30 MiB",
        ],
    );
    let price = &Judged::new(&budget, &known).prices()[0];
    assert_eq!((price.binding, price.tightened, price.step), (Binding::Unknown, Some(0.70), 0.001));
}

#[test]
fn what_is_known_of_no_network_speaks_against_none() {
    let costs = two();
    let known = [0, 1].map(|idx| Known { accuracy: None, cost: &costs[idx] });
    let budget = at_most(&[(Metric::Params, 500.0), (Metric::TrainTime, 60.0)]);
    let why = Explanation::new(&budget, &known, false, None);
    assert_eq!(why.conflicts, [Limit::all(&budget)[..1].to_vec()]);
    assert_eq!((why.together.as_ref(), why.alone.len()), (None, 0), "nobody knows what would be enough");
    assert!(why.to_string().contains("train-time at most 1 min: never known"), "{why}");
    let none = Judged::new(&budget, &[]);
    assert!(none.conflicts().is_empty() && none.together().is_none() && none.alone().is_empty());
    // No relative change makes an upper bound of zero larger.
    let zero = Explanation::new(&at_most(&[(Metric::Params, 0.0)]), &known, false, None);
    assert_eq!((zero.together.as_ref(), zero.alone[0].to), (None, 900.0));
    assert!(zero.to_string().contains("relax one alone: params at most 900."), "{zero}");
}

#[test]
fn a_study_is_read_by_accuracies_that_compare() {
    let trial = |strategy: &str, phase, arch: u8, accuracy, epochs, params| Trial {
        trial: 0,
        strategy: strategy.to_owned(),
        phase,
        epoch: 0,
        arch: arch.into(),
        accuracy,
        epochs,
        curve: Vec::new(),
        predicted: None,
        cost: exact(&[(Metric::Params, params)]),
        reward: None,
        admitted: true,
    };
    let accuracies = |trials: &[Trial]| -> Vec<(Option<f64>, f64)> {
        let params = |it: &Known<'_>| it.cost.get(Metric::Params).expect("it is counted").value;
        Known::of_trials(trials).iter().map(|it| (it.accuracy, params(it))).collect()
    };
    // Shared weights: candidates count, of the first strategy; a network is there once, with its last cost.
    let shared = [
        trial("b-enas", Phase::Explore, 1, Some(0.2), None, 10.0),
        trial("b-enas", Phase::Select, 1, Some(0.6), None, 11.0),
        trial("b-enas", Phase::Explore, 2, Some(0.3), None, 20.0),
        trial("random-ws", Phase::Select, 3, Some(0.9), None, 30.0),
        trial("random-ws", Phase::Select, 1, Some(0.8), None, 11.0),
    ];
    assert_eq!(accuracies(&shared), [(Some(0.6), 11.0), (None, 20.0), (None, 30.0)]);
    // Trained each on its own: the longest training.
    let alone = [
        trial("asha", Phase::Explore, 1, Some(0.2), Some(4), 10.0),
        trial("asha", Phase::Explore, 2, Some(0.4), Some(16), 20.0),
        trial("asha", Phase::Explore, 3, None, None, 30.0),
    ];
    assert_eq!(accuracies(&alone), [(None, 10.0), (Some(0.4), 20.0), (None, 30.0)]);
    assert_eq!(accuracies(&[]), []);
}
