//! Budgets from the outside: nothing over a hard bound is returned, and what was never met is told.

use std::time::Duration;

use serde_json::Value;

use crate::{
    micro::{run, workplace},
    recording,
};

#[test]
fn a_measured_bound_that_nothing_meets_is_told() {
    let folder = workplace();
    recording::write_for_any(&folder.path().join("slow.jsonl"), &recording::calm(Duration::from_millis(80)), 1_500);
    let said = run(&folder, "search --config micro.toml --run run --device recorded:slow.jsonl --max-latency 20ms");
    said.expect(1, &["networks met the budget", "latency at most 20 ms: never met; the nearest was", "measurement"]);
    assert!(!folder.path().join("run/model.onnx").exists(), "what is over budget is not returned");
}

#[test]
fn a_measured_bound_that_holds_is_on_the_receipt() {
    let folder = workplace();
    recording::write_for_any(&folder.path().join("fast.jsonl"), &recording::calm(Duration::from_millis(2)), 1_500);
    let flags = "search --config micro.toml --run run --device recorded:fast.jsonl --max-latency 20ms --json";
    let receipt = run(&folder, flags).expect(0, &[]).json();
    assert_eq!(receipt["outcome"], "within");
    let latency = &receipt["cost"]["figures"]["latency"];
    assert!(latency["source"]["measured"].is_object(), "{latency}");
    assert!((latency["value"].as_f64().expect("a time") - 0.002).abs() < 0.0001, "{latency}");
    assert!(receipt["device"].as_str().is_some_and(|it| it.starts_with("recorded:")), "{}", receipt["device"]);
    assert_eq!(receipt["measurement"]["blocks"].as_array().map(Vec::is_empty), Some(false), "every sample is kept");
    // A recording that answers for any model is good for a search, and proves nothing of the one found.
    run(&folder, "verify --run run").expect(6, &["INVALID", "of another file"]);
    run(&folder, "verify --run run --device recorded:fast.jsonl").expect(6, &["INVALID", "of another file"]);
    let record = |name: &str, ms| {
        let measurement =
            recording::of(&folder.path().join("run/model.onnx"), recording::calm(Duration::from_millis(ms)));
        recording::write(&folder.path().join(name), &[measurement]);
    };
    record("its-own.jsonl", 2);
    run(&folder, "verify --run run --device recorded:its-own.jsonl").expect(0, &["keeps its promise"]);
    // The same model on a slower day.
    record("slow.jsonl", 80);
    run(&folder, "verify --run run --device recorded:slow.jsonl").expect(1, &["FAILS", "latency"]);
    run(&folder, "measure --run run --device recorded:slow.jsonl").expect(1, &["OVER BUDGET"]);
}

#[test]
fn soft_bounds_rule_nothing_out() {
    let folder = workplace();
    let flags = "search --config micro.toml --strategy random-ws --soft params=1k --run run --json";
    let receipt = run(&folder, flags).expect(0, &[]).json();
    assert_eq!((&receipt["outcome"], &receipt["strategy"]), (&"within".into(), &"random-ws".into()));
    assert_eq!(receipt["baseline"], Value::Null, "a baseline is not its own baseline");
    let bounds = receipt["bounds"].as_array().expect("a list");
    let soft = bounds.iter().find(|it| it["hard"] == false).expect("it was asked for");
    assert_eq!((&soft["metric"], &soft["judgement"]), (&"params".into(), &"broken".into()));
    run(&folder, "verify --run run").expect(0, &["keeps its promise"]);
}

#[test]
fn why_nothing_is_feasible() {
    let folder = workplace();
    let search = |rest: &str| run(&folder, &format!("search --config micro.toml {rest}"));
    // Of what a network can do with a byte there is no smallest network to refuse it by.
    let said = search("--run never --min intensity=100000");
    said.expect(
        1,
        &["networks met the budget", "intensity at least", "never met; the nearest was", "Relax the bounds"],
    );
    let found = search("--run as-json --min intensity=100000 --json").expect(1, &[]).json();
    assert_eq!(found["outcome"], "nothing-feasible");
    // Few parameters and many multiplications: either is easy, both are not.
    let said = search("--run both --max-params 2k --min macs=3M");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("params at most 2 k") && said.stdout.contains("macs at least"), "{}", said.stdout);
    // What is known only after training is a bound like any other.
    search("--run time --max-train-time 1ms")
        .expect(1, &["train-time at most 1 ms: never met", "search's own training steps"]);
    // The run is over, not broken: it says the same again.
    search("--run never --min intensity=100000 --resume").expect(1, &["networks met the budget"]);
}
