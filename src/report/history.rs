//! The search's history: what its trials scored over time, beside the baseline's.

use search::study::{Phase, Trial};

use crate::receipt::Receipt;

use super::{
    axis::{Axis, Quantity},
    plot::{Plot, thinned},
};

/// One plot and what must be said beside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chart {
    /// What is followed.
    pub(super) title: &'static str,
    /// How to read it.
    pub(super) note: String,
    /// The plot: an `<svg>`.
    pub(super) plot: String,
}

/// Trials of one strategy, which saw nothing of the other's.
struct Series<'a> {
    class: &'static str,
    trials: Vec<&'a Trial>,
}

/// Fewer trials have no mean worth a line.
const FEW: usize = 20;
/// Points of one line.
const POINTS: usize = 240;
const DOTS: usize = 600;

/// Accuracy, reward and share within the budget, as far as the trials have them.
pub(super) fn charts(receipt: &Receipt, trials: &[Trial]) -> Vec<Chart> {
    let (search, random): (Vec<&Trial>, Vec<&Trial>) = trials.iter().partition(|it| it.strategy == receipt.strategy);
    let series = [Series { class: "random", trials: random }, Series { class: "search", trials: search }];
    let baseline = series[0].trials.first().map_or("the baseline", |it| it.strategy.as_str());
    let learns = |it: &&Trial| it.phase == Phase::Explore;
    let at_the_end = series.iter().find(|it| !it.trials.iter().any(learns)).and_then(|it| it.trials.first());
    let together = at_the_end.map_or(String::new(), |Trial { strategy, .. }| {
        format!(" {strategy} scores its trials after its shared weights are trained, so its line has no rise to show.")
    });
    let (scored, task) = (super::scored(trials), receipt.scale.task);
    let measure = super::measure(task);
    let accuracy = match scored {
        "shared weights" => {
            format!("{measure} with shared weights. While they are being trained, every architecture gains.{together}")
        }
        _ => format!("{measure} after a short training of each network on its own."),
    };
    let label = format!("validation {}, {scored}", task.measure());
    let within = if series[0].trials.iter().all(|it| it.admitted) && !series[0].trials.is_empty() {
        format!(
            "Trials known to meet every hard bound. Every trial that {baseline} put on record meets them, so it has no line here."
        )
    } else {
        "Trials known to meet every hard bound.".to_owned()
    };
    let rejects = |series: &Series<'_>| series.trials.iter().any(|it| !it.admitted);
    let share = |series: &Series<'_>, trial: &Trial| {
        (series.class == "search" || rejects(series)).then(|| f64::from(u8::from(trial.admitted)))
    };
    let charts = [
        chart((measure, &label), accuracy, super::quantity(task), true, &series, |_, trial| {
            trial.accuracy.map(|score| task.value(score)).filter(|it| it.is_finite())
        }),
        chart(
            ("Reward", "reward"),
            "What the controller learned from: accuracy less the penalties for broken bounds.".to_owned(),
            Quantity::Number,
            true,
            &series,
            |_, trial| trial.reward,
        ),
        chart(("Share within the budget", "share of trials"), within, Quantity::Share, false, &series, share),
    ];
    charts.into_iter().flatten().collect()
}

fn chart(
    (title, label): (&'static str, &str),
    note: String,
    quantity: Quantity,
    dots: bool,
    series: &[Series<'_>],
    value: impl Fn(&Series<'_>, &Trial) -> Option<f64>,
) -> Option<Chart> {
    let values: Vec<Vec<(f64, f64)>> = series
        .iter()
        .map(|it| {
            let numbered = it.trials.iter().enumerate();
            numbered.filter_map(|(idx, trial)| Some((idx as f64 + 1.0, value(it, trial)?))).collect()
        })
        .collect();
    let lines: Vec<Vec<Vec<(f64, f64)>>> = series.iter().zip(&values).map(|(it, values)| phases(it, values)).collect();
    let x = Axis::over("trial", Quantity::Count, values.iter().flatten().map(|point| point.0))?;
    let smooth = lines.iter().flatten().flatten().map(|point| point.1);
    let y = if dots {
        Axis::over(label, quantity, smooth.chain(values.iter().flatten().map(|point| point.1)))?
    } else {
        Axis::between(label, quantity, 0.0, 1.0)
    };
    let mut plot = Plot::new(x, y, format!("{title} over the trials of each strategy, as running means"));
    for ((series, values), lines) in series.iter().zip(&values).zip(&lines) {
        if dots {
            let values = thinned(values, DOTS);
            match series.class {
                "search" => plot.dots("search faint", &values),
                _ => plot.crosses("random faint", &values),
            }
        }
        for line in lines {
            plot.line(&format!("{} mean", series.class), &thinned(line, POINTS));
        }
    }
    Some(Chart { title, note, plot: plot.svg() })
}

/// A running mean for each stretch of trials of one phase: across the border they were scored
/// for another purpose, and perhaps on other images.
fn phases(series: &Series<'_>, values: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
    let phase = |point: &(f64, f64)| series.trials[point.0 as usize - 1].phase;
    values.chunk_by(|a, b| phase(a) == phase(b)).filter(|it| FEW <= it.len()).map(running_mean).collect()
}

/// The mean over a twentieth of the trials on either side, fewer at the ends.
fn running_mean(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (values.len() / 20).max(3);
    let mut sums = vec![0.0];
    for (_, value) in values {
        sums.push(sums[sums.len() - 1] + value);
    }
    let mean = |idx: usize| {
        let (from, to) = (idx.saturating_sub(reach), (idx + reach + 1).min(values.len()));
        (sums[to] - sums[from]) / (to - from) as f64
    };
    values.iter().enumerate().map(|(idx, point)| (point.0, mean(idx))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_mean_is_centred() {
        let values: Vec<(f64, f64)> = (0..100).map(|idx| (f64::from(idx), 2.0 * f64::from(idx))).collect();
        let means = running_mean(&values);
        let same = means[5..95].iter().zip(&values[5..95]).all(|(mean, value)| (mean.1 - value.1).abs() < 1e-9);
        assert!(same, "a straight line is its own centred mean");
        assert_eq!((means[0].1, means[99].1), (5.0, 193.0), "six values at either end");
        assert_eq!(running_mean(&[(1.0, 0.5)]), [(1.0, 0.5)]);
        let spike = [0.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0].map(|value| (0.0, value));
        assert_eq!(running_mean(&spike)[3].1, 1.0);
    }
}
