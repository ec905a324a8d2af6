//! Is a verdict what its checks come to, and do reports survive whatever they quote?

use proptest::prelude::*;
use targets::{
    Allow, Block, Bound, Conditions, Cost, Figure, Measurement, Metric, Protocol, Reach, Regression, Source, Verdict,
};

use super::{Check, CheckResult, Findings, Model, Numbers, bounds, junit, markdown, percentile, timing};
use crate::{exit::Exit, receipt::MeasuredLatency};

/// Ten blocks of four runs, the first block `ms` long and each 10 µs longer than the one before.
fn measurement(ms: u64) -> Measurement {
    let conditions = Conditions {
        cpu: "Cortex-A72".to_owned(),
        cores: 4,
        governor: Some("performance".to_owned()),
        frequency_khz: Some(1_500_000),
        temperature_millic: Some(48_312),
        throttled: Some(0),
        other_load: Some(0.004),
        ..Conditions::default()
    };
    let block = |idx: u64| Block {
        wall_ns: vec![1_000_000 * ms + 10_000 * idx; 4],
        calibration_ns: vec![400_000; 5],
        ..Block::default()
    };
    Measurement {
        target: "rpi4".to_owned(),
        device: "kitchen".to_owned(),
        reach: Reach::Ssh,
        model_sha256: "ab".repeat(32),
        engine: "tract 0.23.9".to_owned(),
        agent: "0.1.0".to_owned(),
        agent_sha256: "cd".repeat(32),
        protocol: Protocol { min_samples: 40, ..Protocol::default() },
        warmup_runs: 60,
        warmup_settled: true,
        blocks: (0..10).map(block).collect(),
        load_ns: 1_000_000,
        first_run_ns: 2_000_000,
        load_peak_bytes: 20 << 20,
        steady_peak_bytes: 10 << 20,
        output_hash: "00".to_owned(),
        before: conditions.clone(),
        after: Conditions { temperature_millic: Some(55_100), ..conditions },
    }
}

fn figure(low: f64, value: f64, high: f64) -> Figure {
    Figure { value, low, high, source: Source::Measured { on: "rpi4 (kitchen)".to_owned(), samples: 40 } }
}

fn latency(max: f64) -> Bound {
    Bound { metric: Metric::Latency, min: None, max: Some(max), hard: true }
}

fn comparison(verdict: Verdict, p: f64) -> Check {
    let found = Regression { verdict, shift: 0.05, interval: (0.04, 0.06), p, set_aside: 0 };
    let result = if verdict == Verdict::Fail { CheckResult::Fails } else { CheckResult::Holds };
    Check { numbers: Some(Numbers::Comparison(found)), ..Check::of("latency against the baseline", result, "slower") }
}

fn findings(models: Vec<(&str, Vec<Check>)>) -> Findings {
    let model = |(name, checks): (&str, _)| Model { name: name.to_owned(), checks, latency: None };
    Findings { models: models.into_iter().map(model).collect() }
}

#[test]
fn one_failure_fails_and_one_doubt_is_a_doubt() {
    use CheckResult::{CannotTell, Fails, Holds, Invalid, Skipped};
    let check = |results: &[CheckResult], verdict, exit| {
        let checks = results.iter().map(|&result| Check::of("it", result, "so")).collect();
        let found = findings(vec![("a", checks)]);
        assert_eq!((found.verdict(), found.exit()), (verdict, exit), "{results:?}");
    };
    check(&[Holds, Skipped], Verdict::Pass, Exit::Ok);
    // Nothing looked at, nothing shown.
    check(&[Skipped, Skipped], Verdict::CannotTell, Exit::Invalid);
    check(&[], Verdict::CannotTell, Exit::Invalid);
    check(&[Holds, Fails], Verdict::Fail, Exit::NotMet);
    check(&[Holds, CannotTell], Verdict::CannotTell, Exit::Invalid);
    check(&[Invalid, Holds], Verdict::CannotTell, Exit::Invalid);
    // What is shown to fail fails, whatever else is not known.
    check(&[Invalid, Fails, CannotTell], Verdict::Fail, Exit::NotMet);
}

#[test]
fn bounds_are_judged_by_whole_intervals() {
    let check = |figure: Option<Figure>, hard, result, words: &str| {
        let mut cost = Cost::default();
        if let Some(figure) = figure {
            cost.set(Metric::Latency, figure);
        }
        let found = bounds::check(&Bound { hard, ..latency(0.020) }, &cost, 0.9);
        assert_eq!(found.result, result, "{found:?}");
        assert!(found.found.contains(words), "{found:?} does not say {words:?}");
    };
    check(Some(figure(0.018, 0.019, 0.020)), true, CheckResult::Holds, "19 ms (18 ms to 20 ms, measured on rpi4");
    check(Some(figure(0.018, 0.019, 0.0201)), true, CheckResult::CannotTell, "against <= 20 ms");
    check(Some(figure(0.020, 0.021, 0.022)), true, CheckResult::CannotTell, "against <= 20 ms");
    check(Some(figure(0.0201, 0.021, 0.022)), true, CheckResult::Fails, "against <= 20 ms");
    check(Some(figure(0.0201, 0.021, 0.022)), false, CheckResult::Skipped, "against <= 20 ms");
    check(None, true, CheckResult::CannotTell, "--device takes one");
}

#[test]
fn a_measurement_is_evidence_of_its_own_model_alone() {
    let check = |change: fn(&mut Measurement), result, words: &str| {
        let mut measurement = measurement(10);
        change(&mut measurement);
        let found = timing::evidence(&measurement, &"ab".repeat(32), &Allow::default());
        assert_eq!(found.result, result, "{found:?}");
        assert!(found.found.contains(words), "{found:?} does not say {words:?}");
    };
    check(|_| {}, CheckResult::Holds, "40 runs in 10 blocks");
    check(|it| it.warmup_settled = false, CheckResult::Holds, "; warm-up ended");
    check(|it| it.model_sha256 = "cd".repeat(32), CheckResult::Invalid, "of another file (sha256 cdcdcdcdcdcdcdcd)");
    check(|it| it.reach = Reach::Emulated, CheckResult::Invalid, "emulator");
    check(|it| it.after.throttled = Some(4), CheckResult::Invalid, "throttled");
    check(|it| it.after.other_load = Some(0.2), CheckResult::Invalid, "20.0 %");
}

#[test]
fn comparisons_say_why_they_cannot_tell() {
    let check = |now: Measurement, result, words: &str| {
        let found = timing::compare(&measurement(10), &now);
        assert_eq!(found.result, result, "{found:?}");
        assert!(found.found.contains(words), "{found:?} does not say {words:?}");
    };
    // Ten blocks against ten, every pair agreeing: p = 1 / C(20, 10) = 5.4e-6. 11.045 over 10.045 ms.
    check(measurement(11), CheckResult::Fails, "+10.0 % (");
    check(measurement(11), CheckResult::Fails, "p = 5.4e-6, 10 blocks against 10");
    check(measurement(10), CheckResult::Holds, "+0.0 % (");
    check(measurement(9), CheckResult::Holds, "-10.0 % (");
    let elsewhere = Measurement { device: "garage".to_owned(), ..measurement(10) };
    check(elsewhere, CheckResult::Invalid, "another board than the baseline's");
    let short = Measurement { blocks: measurement(11).blocks[..3].to_vec(), ..measurement(11) };
    check(short, CheckResult::Fails, "3 blocks against 10");
    let one = Measurement { blocks: measurement(11).blocks[..1].to_vec(), ..measurement(11) };
    check(one, CheckResult::CannotTell, "1 blocks against 10");
}

#[test]
fn several_models_are_judged_together() {
    let check = |ps: &[f64], expected: &[CheckResult]| {
        let models = ps.iter().map(|&p| ("a", vec![comparison(Verdict::Fail, p)])).collect();
        let mut found = findings(models);
        found.correct();
        let results: Vec<CheckResult> = found.models.iter().map(|model| model.checks[0].result).collect();
        assert_eq!(results, expected, "{ps:?}");
    };
    check(&[0.004], &[CheckResult::Fails]);
    check(&[0.004, 0.0001], &[CheckResult::Fails, CheckResult::Fails]);
    check(&[0.004, 0.003], &[CheckResult::CannotTell, CheckResult::CannotTell]);
}

/// A failing, a passing, a doubtful and a skipped check, with names that try to break out.
fn hostile() -> Findings {
    let bound = Check {
        numbers: Some(Numbers::Bound { bound: latency(0.020), figure: figure(0.021, 0.0215, 0.022) }),
        ..Check::new("hard bound on latency (p90)", false, "21.5 ms against <= 20 ms")
    };
    let skipped = Check::of("test accuracy by the runtime", CheckResult::Skipped, "a & b | <c>\nare not here");
    let mut found = findings(vec![
        ("a\"><script>.onnx", vec![Check::new("sha256 of model.onnx", true, "abcd"), bound, skipped]),
        (
            "b|`c`.onnx",
            vec![comparison(Verdict::Pass, 0.5), Check::of("m", CheckResult::Invalid, "it \u{1b}[1mthrottled")],
        ),
    ]);
    found.models[0].latency = MeasuredLatency::of(&measurement(21), 0.9, &Allow::default());
    found
}

#[test]
fn junit_is_as_agreed() {
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="pipeline verify" tests="5" failures="1" errors="1" skipped="1">
  <testsuite name="a&quot;&gt;&lt;script&gt;.onnx" tests="3" failures="1" errors="0" skipped="1">
    <testcase classname="a&quot;&gt;&lt;script&gt;.onnx" name="sha256 of model.onnx"><system-out>abcd</system-out></testcase>
    <testcase classname="a&quot;&gt;&lt;script&gt;.onnx" name="hard bound on latency (p90)"><failure message="21.5 ms against &lt;= 20 ms"/></testcase>
    <testcase classname="a&quot;&gt;&lt;script&gt;.onnx" name="test accuracy by the runtime"><skipped message="a &amp; b | &lt;c&gt;&#10;are not here"/></testcase>
  </testsuite>
  <testsuite name="b|`c`.onnx" tests="2" failures="0" errors="1" skipped="0">
    <testcase classname="b|`c`.onnx" name="latency against the baseline"><system-out>slower</system-out></testcase>
    <testcase classname="b|`c`.onnx" name="m"><error type="invalid" message="it �[1mthrottled"/></testcase>
  </testsuite>
</testsuites>
"#;
    assert_eq!(junit::xml(&hostile()), expected);
}

#[test]
fn markdown_is_as_agreed() {
    let conditions = "board 0f1e2d3c4b5a6978, governor performance, 1500 MHz, 48.3 to 55.1 °C, not throttled, \
                      0.4 % other load, tract 0.23.9";
    let fingerprint = targets::Board::of(&measurement(21)).fingerprint();
    let conditions = conditions.replace("0f1e2d3c4b5a6978", &fingerprint);
    let expected = r#"### Model gate: FAIL

| model | check | figure | 95 % interval | bound | verdict | conditions |
| --- | --- | --- | --- | --- | --- | --- |
| a"&gt;&lt;script&gt;.onnx | sha256 of model.onnx | abcd | – | – | pass | – |
| a"&gt;&lt;script&gt;.onnx | hard bound on latency (p90) | 21.5 ms | 21 ms to 22 ms | &lt;= 20 ms | **FAIL** | CONDITIONS |
| a"&gt;&lt;script&gt;.onnx | test accuracy by the runtime | – | – | – | skipped | – |
| b\|\`c\`.onnx | latency against the baseline | +5.0 % | +4.0 % to +6.0 % | &lt;= +3.0 % | pass | – |
| b\|\`c\`.onnx | m | – | – | – | **invalid** | – |

- **a"&gt;&lt;script&gt;.onnx**, hard bound on latency (p90): 21.5 ms against &lt;= 20 ms
- **b\|\`c\`.onnx**, m: it  \[1mthrottled
"#;
    assert_eq!(markdown::table(&hostile()), expected.replace("CONDITIONS", &conditions));
}

#[test]
fn percentiles_are_written_as_people_do() {
    for (share, text) in [(0.9, "p90"), (0.5, "p50"), (0.999, "p99.9"), (0.99, "p99"), (99.9 / 100.0, "p99.9")] {
        assert_eq!(percentile(share), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Whatever stands in names and reasons, the XML is well-formed and says it, and the table keeps its cells.
    #[test]
    fn no_text_breaks_a_report(name in any::<String>(), what in "\\PC*", found in any::<String>()) {
        let result = CheckResult::Fails;
        let findings = findings(vec![(&name, vec![Check::of(what.clone(), result, found.clone())])]);
        let xml = junit::xml(&findings);
        let events: Result<Vec<_>, _> = xml::EventReader::new(xml.as_bytes()).into_iter().collect();
        prop_assert!(events.is_ok(), "{xml}: {events:?}");
        let table = markdown::table(&findings);
        let row = table.lines().nth(4).expect("a title, a blank, two lines of head, then the row");
        let bars = row.match_indices('|').filter(|(at, _)| !row[..*at].ends_with('\\')).count();
        prop_assert_eq!(bars, 8, "{}", row);
        prop_assert!(!row.contains('<') && !row.contains('>'), "{}", row);
    }
}
