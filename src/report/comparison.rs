//! The chosen network beside the baseline's, and how much of the difference chance alone explains.

use search::space::Task;
use targets::{Figure, Metric, Source};

use crate::{
    receipt::{Receipt, Training},
    score::{Score, noun},
};

use super::budget::{provenance, title};

/// The comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comparison {
    /// The strategy.
    pub(super) chosen: String,
    /// What it is compared with.
    pub(super) baseline: String,
    /// Figures of both.
    pub(super) rows: Vec<Row>,
    /// What follows from them, and what does not.
    pub(super) conclusion: String,
}

/// One figure of both networks; a dash where there is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// What it is.
    pub(super) label: String,
    /// The strategy's.
    pub(super) chosen: String,
    /// The baseline's.
    pub(super) baseline: String,
    /// First minus second, or the ratio of costs; empty without both.
    pub(super) difference: String,
}

/// The comparison; `None` where no baseline ran. `searched` is the chosen cell's accuracy while
/// searching, and `scored` what trials were scored with.
pub(super) fn comparison(
    receipt: &Receipt,
    training: &Training,
    searched: Option<f64>,
    scored: &str,
) -> Option<Comparison> {
    let row = receipt.baseline.as_ref()?;
    let found = &row.baseline;
    let (task, measure) = (receipt.accuracy.test.task(), receipt.accuracy.test.measure());
    let mut rows = vec![
        accuracies(task, &format!("Validation {measure}, {scored}"), searched, found.search_accuracy),
        scores(&format!("Validation {measure}, trained"), Some(receipt.accuracy.validation), row.validation),
        scores(&format!("Test {measure}, trained"), Some(receipt.accuracy.test), row.test),
    ];
    for metric in Metric::ALL {
        let [chosen, baseline] = [Some(&receipt.cost), found.cost.as_ref()].map(|cost| cost?.get(metric));
        let (Some(chosen), Some(baseline)) = (chosen, baseline) else { continue };
        let word = |figure: &Figure| match figure.source {
            Source::Exact => metric.format(figure.value),
            Source::Estimated { .. } | Source::Measured { .. } => {
                format!("{}, {}", metric.format(figure.value), provenance(&figure.source).word)
            }
        };
        // A ratio of a measurement to an estimate would be that of two methods, not of two networks.
        let difference = match provenance(&chosen.source).class == provenance(&baseline.source).class {
            true if 0.0 < baseline.value => format!("× {:.2}", chosen.value / baseline.value),
            true => String::new(),
            false => "not comparable".to_owned(),
        };
        let label = title(metric).to_owned();
        rows.push(Row { label, chosen: word(chosen), baseline: word(baseline), difference });
    }
    let trained = |it: &crate::receipt::Trained| format!("{} of {}", it.best, it.curve.len());
    rows.push(texts("Kept epoch", Some(trained(&training.chosen)), training.baseline.as_ref().map(trained)));
    let n_trials = |name: &str| receipt.trials.get(name).map(u64::to_string);
    rows.push(texts("Trials", n_trials(&receipt.strategy), n_trials(&found.strategy)));
    let (chosen, baseline) = (receipt.strategy.clone(), found.strategy.clone());
    let conclusion = conclusion(receipt, found.cell.is_some());
    Some(Comparison { chosen, baseline, rows, conclusion })
}

fn conclusion(receipt: &Receipt, found_one: bool) -> String {
    let Some(row) = &receipt.baseline else { return String::new() };
    let (strategy, baseline) = (&receipt.strategy, &row.baseline.strategy);
    let rival = match row.baseline.was_asked_for {
        true => format!(
            "{baseline} was asked for; the network of {strategy} ships, which did better on the validation part. "
        ),
        false => String::new(),
    };
    let Some(test) = row.test else {
        return if found_one {
            format!("The network of {baseline} was not trained, so nothing is known of what {strategy} gained.")
        } else {
            format!("{baseline} found no network within the budget with the same effort.")
        };
    };
    let ours = receipt.accuracy.test;
    let (difference, error) = (ours.lead(test), ours.standard_error_of_lead(test));
    let (lead, noun) = (ours.told_lead(difference.abs()), noun(&receipt.scale));
    let (winner, loser) = if difference < 0.0 { (baseline, strategy) } else { (strategy, baseline) };
    let caution = "It is one run with one seed: another seed may well order them otherwise.";
    let how = match ours.task() {
        Task::Classification | Task::Segmentation => "binomial",
        Task::Language => "as if words were independent",
    };
    let scale = format!("the standard error of the difference is {} ({how})", ours.told_lead(error));
    if difference.abs() <= 2.0 * error {
        return format!(
            "{rival}On the test part {winner} is ahead by {lead}, which chance alone may give: {scale}. No gain of {strategy} over {baseline} is shown. {caution}"
        );
    }
    format!(
        "{rival}On the test part {winner} beats {loser} by {lead}, more than the choice of test {noun} explains: {scale}. {caution}"
    )
}

fn accuracies(task: Task, label: &str, chosen: Option<f64>, baseline: Option<f64>) -> Row {
    let difference = |(chosen, baseline): (f64, f64)| match task {
        Task::Classification | Task::Segmentation => format!("{} points", signed(100.0 * (chosen - baseline))),
        Task::Language => signed(1.0 / chosen - 1.0 / baseline),
    };
    let difference = chosen.zip(baseline).map(difference).unwrap_or_default();
    let text = |it: Option<f64>| it.map(|it| task.told(it, 2));
    Row { difference, ..texts(label, text(chosen), text(baseline)) }
}

fn scores(label: &str, chosen: Option<Score>, baseline: Option<Score>) -> Row {
    let [of_chosen, of_baseline] = [chosen, baseline].map(|it| it.map(Score::accuracy));
    let task = chosen.or(baseline).map_or(Task::Classification, Score::task);
    let text = |it: Option<Score>| it.map(|it| format!("{} ±\u{a0}{}", it.told(2), it.told_margin()));
    Row {
        difference: accuracies(task, label, of_chosen, of_baseline).difference,
        ..texts(label, text(chosen), text(baseline))
    }
}

fn texts(label: &str, chosen: Option<String>, baseline: Option<String>) -> Row {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "—".to_owned());
    Row { label: label.to_owned(), chosen: or_dash(chosen), baseline: or_dash(baseline), difference: String::new() }
}

fn signed(difference: f64) -> String {
    let sign = if difference < 0.0 { "−" } else { "+" };
    format!("{sign}{:.2}", difference.abs())
}

/// A share in percent.
pub(super) fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_signs() {
        let check = |task, chosen: f64, baseline: f64, expected: &str| {
            assert_eq!(accuracies(task, "", Some(chosen), Some(baseline)).difference, expected);
        };
        check(Task::Classification, 0.915, 0.902, "+1.30 points");
        check(Task::Classification, 0.902, 0.915, "−1.30 points");
        check(Task::Language, 1.0 / 70.0, 1.0 / 71.5, "−1.50");
        assert_eq!(accuracies(Task::Classification, "", Some(0.9), None).baseline, "—");
    }
}
