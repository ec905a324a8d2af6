//! Accuracy against each cost: every scored trial, the Pareto front, the bound, the chosen one.

use search::{
    space::{Task, cells::AnyCell},
    study::{Phase, Trial},
};
use targets::{Bound, Figure, Metric, Source};

use crate::receipt::Receipt;

use super::{
    axis::{Axis, Quantity},
    budget::{limit, title},
    plot::{Plot, Shape, thinned},
};

/// One plot and what must be said beside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TradeOff {
    /// The cost.
    pub(super) title: &'static str,
    /// How the costs came about.
    pub(super) note: String,
    /// The plot: an `<svg>`.
    pub(super) plot: String,
}

/// A scored trial in one plot.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point<'a> {
    trial: &'a Trial,
    figure: &'a Figure,
    accuracy: f64,
}

/// Dots of one strategy in one plot; more would only cover each other.
pub(super) const DOTS: usize = 1_200;
/// A bound farther than this from the trials, as a ratio, is named at the edge: drawn to scale it
/// would press them into a corner.
const FAR: f64 = 1.6;

/// A plot for each cost that the trials have figures for, bounded ones first.
pub(super) fn trade_offs(receipt: &Receipt, trials: &[Trial], shared: Option<f64>) -> Vec<TradeOff> {
    let bound = |metric: Metric| receipt.bounds.iter().map(|it| &it.bound).find(|it| it.metric == metric);
    let (bounded, free): (Vec<Metric>, Vec<Metric>) = Metric::ALL.into_iter().partition(|&it| bound(it).is_some());
    // Intensity is a cost for those only who bound it.
    let free = free.into_iter().filter(|&metric| metric != Metric::Intensity);
    let plots = bounded.into_iter().chain(free);
    plots.filter_map(|metric| trade_off(receipt, trials, shared, metric, bound(metric))).collect()
}

fn trade_off<'a>(
    receipt: &Receipt,
    trials: &'a [Trial],
    shared: Option<f64>,
    metric: Metric,
    bound: Option<&Bound>,
) -> Option<TradeOff> {
    let task = receipt.scale.task;
    let point = |trial: &'a Trial| Some(Point { trial, figure: trial.cost.get(metric)?, accuracy: trial.accuracy? });
    let is_shown = |it: &Point<'_>| it.figure.value.is_finite() && task.value(it.accuracy).is_finite();
    let points: Vec<Point<'_>> = trials.iter().filter_map(point).filter(is_shown).collect();
    let chosen = receipt.cost.get(metric).zip(shared);
    let baseline = receipt.baseline.as_ref().map(|it| &it.baseline);
    let other = baseline.and_then(|it| it.cost.as_ref()?.get(metric).zip(it.search_accuracy));
    let marks = || chosen.into_iter().chain(other);
    let costs = points.iter().map(|it| it.figure.value).chain(marks().flat_map(|(it, _)| [it.low, it.high]));
    let costs: Vec<f64> = costs.collect();
    let (least, most) =
        (costs.iter().copied().fold(f64::INFINITY, f64::min), costs.iter().copied().fold(0.0, f64::max));
    let near = |limit: &f64| least / FAR <= *limit && *limit <= most * FAR;
    let limits = bound.into_iter().flat_map(|it| [it.min, it.max]).flatten();
    let x = Axis::over(
        title(metric).to_lowercase(),
        Quantity::Cost(metric),
        costs.iter().copied().chain(limits.filter(near)),
    )?;
    let y = points.iter().map(|it| it.accuracy).chain(marks().map(|(_, accuracy)| accuracy));
    let y = y.map(|accuracy| task.value(accuracy));
    let label = format!("validation {}, {}", task.measure(), super::scored(trials));
    let y = Axis::over(label, super::quantity(task), y)?;
    let (start, end) = x.scale.ends();
    let about = format!("{} of {} trials against {}", super::measure(task), points.len(), title(metric).to_lowercase());
    let mut plot = Plot::new(x, y, about);
    if let Some(bound) = bound {
        draw_bound(&mut plot, bound, (start, end), near);
    }
    let (search, random): (Vec<Point<'_>>, Vec<Point<'_>>) =
        points.iter().partition(|it| it.trial.strategy == receipt.strategy);
    let place = |it: &Point<'_>| (it.figure.value, task.value(it.accuracy));
    let places = |points: &[Point<'_>]| -> Vec<(f64, f64)> {
        let places: Vec<(f64, f64)> = points.iter().map(place).collect();
        thinned(&places, DOTS)
    };
    plot.crosses("random", &places(&random));
    plot.dots("search", &places(&search));
    // More is better where a bound asks for a least value alone.
    let more_is_better = bound.is_some_and(|it| it.min.is_some() && it.max.is_none());
    let front = front(&points, more_is_better);
    let stair: Vec<(f64, f64)> = front.iter().map(place).collect();
    plot.stair("front", &stair, if more_is_better { start } else { end });
    for it in front {
        let text = format!("{}, {}", describe(it.trial, task), it.figure.describe(metric));
        plot.mark("front-point", Shape::Dot, place(&it), &text);
    }
    let mark = |plot: &mut Plot, class: &str, shape, who: &str, (figure, accuracy): (&Figure, f64)| {
        let text = format!("{who}: {}, {}", task.told_alone(accuracy, 1), figure.describe(metric));
        plot.mark(class, shape, (figure.value, task.value(accuracy)), &text);
    };
    if let (Some(other), Some(baseline)) = (other, baseline) {
        mark(&mut plot, "other", Shape::Diamond, &format!("chosen by {}", baseline.strategy), other);
    }
    if let Some(chosen) = chosen {
        let (figure, accuracy) = chosen;
        if figure.low < figure.high {
            plot.whisker("chosen", task.value(accuracy), (figure.low, figure.high));
        }
        mark(&mut plot, "chosen", Shape::Star, &format!("chosen by {}", receipt.strategy), chosen);
    }
    Some(TradeOff { title: title(metric), note: note(&points, chosen.map(|it| it.0), receipt), plot: plot.svg() })
}

fn draw_bound(plot: &mut Plot, bound: &Bound, (start, end): (f64, f64), near: impl Fn(&f64) -> bool) {
    let kind = if bound.hard { "bound" } else { "bound soft" };
    let outside = format!("outside of the {} bound: {}", if bound.hard { "hard" } else { "soft" }, limit(bound));
    let sides = [(bound.max, "max", true), (bound.min, "min", false)];
    for (level, (value, word, is_max)) in sides.into_iter().filter(|it| it.0.is_some()).enumerate() {
        let Some(value) = value else { continue };
        let label = format!("{word} {}", bound.metric.format(value));
        let forbidden = if is_max { (value, end) } else { (start, value) };
        if forbidden.0 < forbidden.1 {
            plot.shade("forbidden", forbidden, &outside);
        }
        if near(&value) {
            plot.rule(kind, value, &label, level);
        } else if end < value {
            plot.beyond(kind, true, &format!("{label} →"));
        } else {
            plot.beyond(kind, false, &format!("← {label}"));
        }
    }
}

/// The trials that no other one beats in both accuracy and cost, by cost in the better direction.
fn front<'a>(points: &[Point<'a>], more_is_better: bool) -> Vec<Point<'a>> {
    let cost = |it: &Point<'_>| if more_is_better { -it.figure.value } else { it.figure.value };
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| cost(a).total_cmp(&cost(b)).then(b.accuracy.total_cmp(&a.accuracy)));
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|it| {
        let leads = best < it.accuracy;
        best = best.max(it.accuracy);
        leads
    });
    sorted
}

/// The chosen cell's accuracy while searching, as the study has it: of the strategy's last
/// scoring of that cell, a scoring for the answer before one to learn from.
pub(super) fn search_accuracy(receipt: &Receipt, trials: &[Trial]) -> Option<f64> {
    let cell = serde_json::to_value(&receipt.cell).ok()?;
    let of = |phase: Phase| {
        let mut newest = trials.iter().rev();
        let found = newest.find(|it| {
            it.strategy == receipt.strategy && it.phase == phase && it.accuracy.is_some() && it.arch == cell
        });
        found?.accuracy
    };
    of(Phase::Select).or_else(|| of(Phase::Explore))
}

fn describe(trial: &Trial, task: Task) -> String {
    let cell: Option<AnyCell> = serde_json::from_value(trial.arch.clone()).ok();
    let parts = cell.map_or_else(String::new, |cell| format!(", {}", cell.describe()));
    let score = trial.accuracy.map_or_else(String::new, |it| task.told_alone(it, 1));
    format!("trial {} of {}{parts}: {score}", trial.trial, trial.strategy)
}

/// How the trials' costs came about, in words.
fn note(points: &[Point<'_>], chosen: Option<&Figure>, receipt: &Receipt) -> String {
    let measured = points.iter().filter(|it| matches!(it.figure.source, Source::Measured { .. })).count();
    let estimate = points.iter().rev().find_map(|it| match &it.figure.source {
        Source::Estimated { by } => Some(by),
        Source::Exact | Source::Measured { .. } => None,
    });
    let trials = match (measured, estimate) {
        (0, None) => "Counted.".to_owned(),
        (0, Some(by)) => format!("Estimated: {by}."),
        (_, None) => format!("Measured on {}.", receipt.target),
        (1, Some(by)) => format!("1 trial measured on {}, the others estimated: {by}.", receipt.target),
        (n, Some(by)) => format!("{n} trials measured on {}, the others estimated: {by}.", receipt.target),
    };
    match (chosen.map(|it| &it.source), estimate) {
        (Some(Source::Measured { .. }), Some(_)) => format!("{trials} The chosen one's cost was measured."),
        (Some(Source::Exact), Some(_)) => format!("{trials} The chosen one's cost is exact."),
        (_, _) => trials,
    }
}

#[cfg(test)]
mod tests {
    use targets::Cost;

    use super::*;

    fn trial(cost: f64, accuracy: f64) -> Trial {
        let mut costs = Cost::default();
        costs.set(Metric::Params, Figure::exact(cost));
        Trial {
            trial: 0,
            strategy: "b-enas".to_owned(),
            phase: Phase::Explore,
            epoch: 0,
            arch: serde_json::Value::Null,
            accuracy: Some(accuracy),
            epochs: None,
            curve: Vec::new(),
            cost: costs,
            predicted: None,
            reward: None,
            admitted: true,
        }
    }

    fn check(trials: &[(f64, f64)], more_is_better: bool, expected: &[(f64, f64)]) {
        let trials: Vec<Trial> = trials.iter().map(|&(cost, accuracy)| trial(cost, accuracy)).collect();
        let points: Vec<Point<'_>> = trials
            .iter()
            .map(|trial| Point {
                trial,
                figure: trial.cost.get(Metric::Params).expect("set above"),
                accuracy: trial.accuracy.expect("set above"),
            })
            .collect();
        let front: Vec<(f64, f64)> =
            front(&points, more_is_better).iter().map(|it| (it.figure.value, it.accuracy)).collect();
        assert_eq!(front, expected);
    }

    #[test]
    fn the_front_holds_what_nothing_beats() {
        check(&[], false, &[]);
        check(
            &[(2.0, 0.5), (1.0, 0.5), (3.0, 0.7), (2.5, 0.6), (4.0, 0.65)],
            false,
            &[(1.0, 0.5), (2.5, 0.6), (3.0, 0.7)],
        );
        check(&[(1.0, 0.4), (1.0, 0.6)], false, &[(1.0, 0.6)]);
        check(&[(1.0, 0.4), (3.0, 0.3), (2.0, 0.35)], true, &[(3.0, 0.3), (2.0, 0.35), (1.0, 0.4)]);
    }
}
