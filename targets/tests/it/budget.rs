//! Do budgets hold?

use proptest::prelude::*;
use targets::{Bound, Budget, Cost, Figure, Judgement, Metric, Source, Verdict, against_bound};

fn at_most(metric: Metric, max: f64) -> Bound {
    Bound { metric, min: None, max: Some(max), hard: true }
}

fn at_least(metric: Metric, min: f64) -> Bound {
    Bound { metric, min: Some(min), max: None, hard: true }
}

fn about(value: f64, low: f64, high: f64) -> Figure {
    Figure { value, low, high, source: Source::Estimated { by: "not measured on rpi4".into() } }
}

#[test]
fn excess_is_the_penalty_papers_ratio() {
    let check = |bound: Bound, value, excess| assert_eq!(bound.excess(value), excess, "{bound:?} at {value}");
    let max = at_most(Metric::Macs, 10.0);
    check(max, 5.0, 0.0);
    check(max, 10.0, 0.0);
    check(max, 15.0, 0.5);
    check(max, 20.0, 1.0);
    check(max, 100.0, 9.0);
    let min = at_least(Metric::Intensity, 80.0);
    check(min, 100.0, 0.0);
    check(min, 80.0, 0.0);
    check(min, 40.0, 1.0);
    check(min, 20.0, 3.0);
    check(min, 0.0, f64::INFINITY);
    check(at_most(Metric::Params, 0.0), 0.0, 0.0);
    check(at_most(Metric::Params, 0.0), 1.0, f64::INFINITY);
    let both = Bound { min: Some(8.0), ..max };
    check(both, 9.0, 0.0);
    check(both, 4.0, 1.0);
    check(both, 15.0, 0.5);
}

#[test]
fn the_whole_interval_decides() {
    let check = |bound: &Bound, figure: Option<Figure>, judgement| {
        assert_eq!(bound.judge(figure.as_ref()), judgement, "{bound:?} {figure:?}");
    };
    let max = at_most(Metric::Latency, 0.020);
    check(&max, None, Judgement::Unknown);
    check(&max, Some(Figure::exact(0.020)), Judgement::Met);
    check(&max, Some(Figure::exact(0.021)), Judgement::Broken);
    check(&max, Some(about(0.015, 0.012, 0.020)), Judgement::Met);
    check(&max, Some(about(0.015, 0.012, 0.021)), Judgement::CannotTell);
    check(&max, Some(about(0.025, 0.020, 0.030)), Judgement::CannotTell);
    check(&max, Some(about(0.025, 0.021, 0.030)), Judgement::Broken);
    check(&max, Some(about(f64::NAN, f64::NAN, f64::NAN)), Judgement::CannotTell);
    let both = Bound { min: Some(0.010), ..max };
    check(&both, Some(about(0.015, 0.010, 0.020)), Judgement::Met);
    check(&both, Some(about(0.015, 0.009, 0.020)), Judgement::CannotTell);
    check(&both, Some(about(0.005, 0.004, 0.009)), Judgement::Broken);
    check(&both, Some(about(0.015, 0.001, 0.090)), Judgement::CannotTell);
    let none = Bound { metric: Metric::Latency, min: None, max: None, hard: true };
    check(&none, Some(about(0.015, 0.001, 0.090)), Judgement::Met);
}

#[test]
fn verdicts_are_judgements() {
    let max = at_most(Metric::Latency, 0.020);
    let check = |figure: Figure, verdict| assert_eq!(against_bound(&figure, &max), verdict);
    check(about(0.015, 0.012, 0.020), Verdict::Pass);
    check(about(0.025, 0.021, 0.030), Verdict::Fail);
    check(about(0.019, 0.018, 0.021), Verdict::CannotTell);
}

#[test]
fn only_what_is_known_to_hold_is_admitted() {
    let soft = Bound { hard: false, ..at_most(Metric::Latency, 0.010) };
    let budget = Budget { bounds: vec![soft, at_most(Metric::Params, 2e6), at_most(Metric::TrainTime, 60.0)] };
    let mut cost = Cost::default();
    cost.set(Metric::Params, Figure::exact(1e6));
    cost.set(Metric::Latency, about(0.020, 0.018, 0.022));
    // Training time is bounded and unknown: not refused, but not admitted either.
    assert!(!budget.admits(&cost));
    assert_eq!(budget.refuses(&cost), None);
    // Reward is shaped by hard and soft bounds alike, as far as they are known.
    assert_eq!(budget.excesses(&cost).collect::<Vec<_>>(), [1.0, 0.0]);
    cost.set(Metric::TrainTime, about(50.0, 40.0, 70.0));
    assert!(!budget.admits(&cost), "an interval that straddles its bound");
    cost.set(Metric::TrainTime, about(50.0, 40.0, 60.0));
    assert!(budget.admits(&cost), "a soft bound admits");
    cost.set(Metric::Params, Figure::exact(2_000_001.0));
    assert!(!budget.admits(&cost));
    assert_eq!(budget.refuses(&cost).map(|bound| bound.metric), Some(Metric::Params));
    assert_eq!(budget.get(Metric::Latency), Some(&soft));
    assert_eq!(budget.get(Metric::Macs), None);
    assert!(Budget::default().admits(&Cost::default()));
}

#[test]
fn figures_tell_where_they_come_from() {
    let check = |metric, figure: Figure, text| assert_eq!(figure.describe(metric), text);
    check(Metric::Params, Figure::exact(1.96e6), "1.96 M");
    check(Metric::Latency, about(0.0123, 0.011, 0.0141), "12.3 ms (11 ms to 14.1 ms, estimated, not measured on rpi4)");
    let source = Source::Measured { on: "rpi4 (kitchen)".into(), samples: 1_024 };
    check(
        Metric::Latency,
        Figure { value: 0.0123, low: 0.0122, high: 0.0125, source },
        "12.3 ms (12.2 ms to 12.5 ms, measured on rpi4 (kitchen), 1024 samples)",
    );
}

#[test]
fn files_keep_budgets_and_costs() {
    let budget = Budget { bounds: vec![at_most(Metric::Latency, 0.1 + 0.2), at_least(Metric::Intensity, 7.1)] };
    let text = toml::to_string(&budget).expect("numbers and words");
    assert_eq!(toml::from_str::<Budget>(&text).expect("as written"), budget, "{text}");
    let mut cost = Cost::default();
    cost.set(Metric::TrainTime, about(50.0, 40.0, 60.0));
    cost.set(Metric::Params, Figure::exact(3.0));
    let text = serde_json::to_string(&cost).expect("numbers and words");
    assert!(text.contains("\"train-time\""), "{text}");
    assert_eq!(serde_json::from_str::<Cost>(&text).expect("as written"), cost, "{text}");
}

proptest! {
    #[test]
    fn met_is_never_refused_and_never_exceeds(max in 1e-3..1e3, low in 1e-3..1e3, width in 0.0..1e3) {
        let budget = Budget { bounds: vec![at_most(Metric::Latency, max)] };
        let mut cost = Cost::default();
        cost.set(Metric::Latency, about(low + width / 2.0, low, low + width));
        let admitted = budget.admits(&cost);
        prop_assert!(!admitted || budget.refuses(&cost).is_none());
        prop_assert!(!admitted || budget.excesses(&cost).all(|excess| excess == 0.0));
        prop_assert!(budget.refuses(&cost).is_none() || budget.excesses(&cost).all(|excess| 0.0 < excess));
    }
}
