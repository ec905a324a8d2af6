//! Strategies side by side: the oracle, searches that train each network on its own, shared weights searched again,
//! and papers reproduced.

use serde_json::Value;

use crate::micro::{json, lines, reference, run, workplace};

pub(crate) fn said_json(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn the_oracle_prints_a_line_a_strategy() {
    let folder = workplace();
    let said = run(&folder, "bench oracle --seeds 4 --evaluations 30 --max-latency 20ms --json");
    said.expect(0, &[]);
    let rows = said_json(&said.stdout);
    let names: Vec<&str> = rows.iter().map(|row| row["strategy"].as_str().expect("a name")).collect();
    assert_eq!(names[..4], ["random", "evolution", "local-search", "reinforce"]);
    for row in &rows {
        assert_eq!((&row["evaluations"], &row["seeds"], &row["violations"]), (&30.into(), &4.into(), &0.into()));
        assert!(0.0 <= row["mean_regret"].as_f64().expect("a number"), "{row}");
        assert!(0.0 < row["cpu_seconds"].as_f64().expect("a number"), "{row}");
    }
    let again = said_json(&run(&folder, "bench oracle --seeds 4 --evaluations 30 --max-latency 20ms --json").stdout);
    let regrets = |rows: &[Value]| rows.iter().map(|row| row["mean_regret"].clone()).collect::<Vec<_>>();
    assert_eq!(regrets(&rows), regrets(&again), "whatever thread a search runs on");
    run(&folder, "bench oracle --strategy best --seeds 4").expect(2, &["--strategy best", "evolution"]);
    run(&folder, "bench oracle --max-latency 1us").expect(2, &["no network of the table is within the budget"]);
    run(&folder, "bench oracle --max-latency 20").expect(2, &["--max-latency", "unit"]);
    run(&folder, "bench oracle --table micro.toml").expect(5, &["micro.toml", "line 1", "arch_str"]);
}

#[test]
fn the_scale_of_a_step_is_a_line_a_setting() {
    let folder = workplace();
    let said = run(&folder, "bench scale --quick --json");
    said.expect(0, &["round 1 of 1"]);
    let rows = said_json(&said.stdout);
    assert_eq!((&rows[0]["axis"], rows.len()), (&Value::Null, 9), "the base, and two or three more along each axis");
    for row in &rows {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"));
        for key in ["cpu_seconds", "wall_seconds", "live_bytes", "predicted_over_measured"] {
            assert!(0.0 < number(key), "{key} in {row}");
        }
        let an_image = number("cpu_seconds_an_image") * number("batch");
        assert!((an_image / number("cpu_seconds") - 1.0).abs() < 1e-9, "{row}");
        assert!(row["peak_bytes"].is_null() || number("live_bytes") < number("peak_bytes"), "{row}");
    }
    // What tensors take is counted and not timed: the same whatever else the machine does.
    for axis in ["channels", "layers", "batch"] {
        let along = rows.iter().filter(|row| row["axis"].is_null() || row["axis"] == axis);
        let mut points: Vec<(u64, u64)> = along
            .map(|row| (row[axis].as_u64().expect("a size"), row["live_bytes"].as_u64().expect("bytes")))
            .collect();
        points.sort_unstable();
        assert!(3 <= points.len() && points.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{axis}: {points:?}");
    }
    let text = run(&folder, "bench scale --quick");
    text.expect(0, &["channels 16", "classes 1000", "CPU time of a step grows as batch^", "predicted"]);
    run(&folder, "bench scale --help").expect(0, &["--quick", "median of the"]);
}

#[test]
fn a_search_may_train_each_network_on_its_own() {
    let folder = workplace();
    let config = "--config micro.toml --strategy evolution";
    std::fs::write(
        folder.path().join("micro.toml"),
        format!("{}trials = {{ evaluations = 4, epochs = 1 }}\n", crate::micro::MICRO),
    )
    .expect("a temporary folder can be written");
    let said = run(&folder, &format!("search {config} --run run --max-params 100k"));
    said.expect(0, &["within budget", "random with the same effort"]);
    let trials = lines(&folder.path().join("run/study.jsonl"));
    let of = |name: &str| trials.iter().filter(|it| it["strategy"] == name && it["accuracy"].is_number()).count();
    assert_eq!((of("evolution"), of("random")), (4, 4));
    assert!(trials.iter().all(|it| it["epochs"] == 1 || it["accuracy"].is_null()));
    let report = std::fs::read_to_string(folder.path().join("run/report.html")).expect("there is a report");
    assert!(report.contains("weights of short trainings") && !report.contains("under-trained"));
    assert_eq!(json(&folder.path().join("run/receipt.json"))["strategy"], "evolution");
}

#[test]
fn shared_weights_are_searched_again_for_another_budget() {
    let first = reference();
    let folder = workplace();
    let supernet = first.path.join("supernet.safetensors");
    let line = format!("search --config micro.toml --supernet {} --run again --max-params 9k", supernet.display());
    let said = run(&folder, &line);
    said.expect(0, &["within budget"]);
    let trials = lines(&folder.path().join("again/study.jsonl"));
    assert!(trials.iter().all(|it| it["strategy"] == "random-ws" && it["epoch"] == 0), "nothing was trained");
    let params = json(&folder.path().join("again/receipt.json"))["cost"]["figures"]["params"]["value"].clone();
    assert!(params.as_f64().is_some_and(|it| it <= 9e3), "{params}");
    let both = format!("search --config micro.toml --supernet {} --strategy b-enas --run b", supernet.display());
    run(&folder, &both).expect(2, &["--supernet", "--strategy b-enas"]);
    let other = format!("search --config micro.toml --data fashion-tiny --supernet {} --run c", supernet.display());
    run(&folder, &other).expect(2, &["trained on other data"]);
    run(&folder, "search --config micro.toml --supernet micro.toml --run d").expect(5, &["micro.toml"]);
    let ranking = run(&folder, &format!("bench ranking --run {} --networks 4 --epochs 1 --json", first.path.display()));
    ranking.expect(0, &[]);
    let row = &said_json(&ranking.stdout)[0];
    assert_eq!(row["rows"].as_array().map(Vec::len), Some(4));
    for row in row["rows"].as_array().expect("a list") {
        assert!(
            row.as_object()
                .expect("a table")
                .values()
                .all(|it| it.as_f64().is_some_and(|it| (0.0..=1.0).contains(&it)))
        );
    }
}

/// Of a strategy's network and its rival's the one ships that does better on the validation part.
#[test]
fn the_better_of_two_networks_ships() {
    let (folder, mut outcomes) = (workplace(), std::collections::BTreeSet::new());
    for seed in 0..8 {
        let search = |baseline: &str| {
            let line =
                format!("search --config micro.toml --seed {seed} --baseline {baseline} --run {baseline}-{seed}");
            let said = run(&folder, &line);
            (said.expect(0, &["within budget"]).clone(), folder.path().join(format!("{baseline}-{seed}")))
        };
        let validated = |training: &Value, who: &str| training[who]["validation"]["right"].as_u64().expect("a count");
        let (_, apart) = search("trained");
        let training = json(&apart.join("training.json"));
        let is_better = validated(&training, "chosen") < validated(&training, "baseline");
        let (said, together) = search("rival");
        let training = json(&together.join("training.json"));
        assert!(validated(&training, "baseline") <= validated(&training, "chosen"));
        let receipt = json(&together.join("receipt.json"));
        let names = if is_better { ["random-ws", "b-enas"] } else { ["b-enas", "random-ws"] };
        assert_eq!([&receipt["strategy"], &receipt["baseline"]["strategy"]], [names[0], names[1]]);
        run(&folder, &format!("verify --run rival-{seed}")).expect(0, &["keeps its promise"]);
        outcomes.insert(is_better);
        if is_better {
            said.expect(0, &["the network of random-ws did better on validation images", "asked for      b-enas"]);
            let report = std::fs::read_to_string(together.join("report.html")).expect("there is a report");
            assert!(report.contains("b-enas was asked for; the network of random-ws ships"));
            // Killed before it was on record which one ships.
            let model = std::fs::read(together.join("model.onnx")).expect("there is a model");
            std::fs::copy(apart.join("architecture.json"), together.join("architecture.json"))
                .expect("it can be copied");
            for stage in ["export", "train", "export"] {
                run(&folder, &format!("{stage} --run rival-{seed}")).expect(0, &[]);
                assert!(std::fs::read(together.join("model.onnx")).is_ok_and(|it| it == model), "{stage}");
            }
            assert_eq!(json(&together.join("architecture.json"))["strategy"], "random-ws");
        }
        if outcomes.len() == 2 {
            return;
        }
    }
    panic!("one of the two always won: {outcomes:?}");
}

/// Policies that edit cells, from the flag to a model that keeps its promise.
#[test]
fn cells_are_edited_step_by_step() {
    let folder = workplace();
    let config = format!("{}trials = {{ evaluations = 4, epochs = 1 }}\n", crate::micro::MICRO);
    std::fs::write(folder.path().join("micro.toml"), config).expect("a temporary folder can be written");
    for strategy in ["epnas", "neural-architect"] {
        let search = format!("search --config micro.toml --strategy {strategy} --run {strategy}");
        run(&folder, &search).expect(0, &["within budget", "random with the same effort"]);
        assert_eq!(json(&folder.path().join(strategy).join("receipt.json"))["strategy"], strategy);
        run(&folder, &format!("verify --run {strategy}")).expect(0, &["keeps its promise"]);
    }
}

#[test]
fn a_paper_is_reproduced_beside_random_search_and_what_was_printed() {
    let folder = workplace();
    let said = run(&folder, "reproduce nasnet --scale demo --data fashion-tiny --run paper --json");
    said.expect(0, &[]);
    let found = &said_json(&said.stdout)[0];
    assert_eq!((&found["ours"]["strategy"], &found["random"]["strategy"]), (&"nasnet".into(), &"random".into()));
    assert_eq!(found["ours"]["trials"], 6);
    // At equal cost: multiply-accumulates of what was trained, times its epochs, as near as whole networks come.
    let study = std::fs::read_to_string(folder.path().join("paper/study.jsonl")).expect("what was tried is kept");
    let work = |strategy: &str| -> f64 {
        let trials = study.lines().map(|line| serde_json::from_str(line).expect("a trial a line"));
        let own = trials.filter(|it: &Value| it["strategy"] == strategy && !it["accuracy"].is_null());
        let of = |it: Value| {
            let macs = it["cost"]["figures"]["macs"]["value"].as_f64().expect("it is priced");
            macs * it["epochs"].as_f64().expect("it was trained")
        };
        own.map(of).sum()
    };
    let ratio = work("random") / work("nasnet");
    assert!((0.6..1.6).contains(&ratio), "random search did {ratio:.2} times the work");
    // Nothing printed is of these pictures.
    assert!(
        found["verdict"].as_str().is_some_and(|it| it.contains("is of the whole of CIFAR-10: nothing to compare")),
        "{found}"
    );
    assert_eq!((found["printed"].as_array().map(Vec::len), &found["printed_on"]), (Some(3), &"cifar10".into()));
    // What is recorded is not trained again.
    let again = run(&folder, "reproduce nasnet --scale demo --data fashion-tiny --run paper --json");
    assert_eq!(said.stdout, again.stdout);
    // Another data set is other work.
    run(&folder, "reproduce nasnet --scale demo --data optdigits --run paper")
        .expect(2, &["holds other work", "--run"]);
}

#[test]
fn a_reproduction_says_beforehand_what_it_would_take() {
    let folder = workplace();
    for (paper, beside) in [("b-enas", true), ("nasnet", true), ("random-ws", false), ("darts", false)] {
        let line = format!("reproduce {paper} --scale demo --data fashion-tiny --run dry --dry-run");
        let said = run(&folder, &format!("{line} --json"));
        said.expect(0, &[]);
        let told = &said_json(&said.stdout)[0];
        let number = |key: &str| told[key].as_f64().unwrap_or_else(|| panic!("no {key} in {told}"));
        let parts = ["search_seconds", "random_seconds", "training_seconds"].map(number);
        assert!(0.0 < parts[0] && 0.0 < parts[2], "{told}");
        assert_eq!((0.0 < parts[1], number("seconds")), (beside, parts.iter().sum::<f64>()), "{told}");
        assert!(number("training_seconds_low") <= number("training_seconds_high"), "{told}");
        let trainings = if paper == "random-ws" { 1.0 } else { 2.0 };
        assert_eq!((number("trainings"), number("training_epochs")), (trainings, 3.0));
        run(&folder, &line).expect(0, &["nothing is trained", "here and now"]);
    }
    assert!(!folder.path().join("dry").exists(), "nothing is left behind");
}
