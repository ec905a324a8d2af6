//! The chosen network beside the baseline's, and how much of the difference chance alone explains.

use targets::{Figure, Metric, Source};

use crate::{
    receipt::{Receipt, Training},
    score::Score,
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
    let measure = receipt.accuracy.test.measure();
    let mut rows = vec![
        accuracies(&format!("Validation {measure}, {scored}"), searched, found.search_accuracy),
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
    let difference = receipt.accuracy.test.accuracy() - test.accuracy();
    let error = receipt.accuracy.test.standard_error_of_difference(test);
    let (points, error_points) = (100.0 * difference.abs(), 100.0 * error);
    let (winner, loser) = if difference < 0.0 { (baseline, strategy) } else { (strategy, baseline) };
    let caution = "It is one run with one seed: another seed may well order them otherwise.";
    let scale = format!("the standard error of the difference is {error_points:.2} points (binomial)");
    if difference.abs() <= 2.0 * error {
        return format!(
            "{rival}On the test part {winner} is ahead by {points:.2} points, which chance alone may give: {scale}. No gain of {strategy} over {baseline} is shown. {caution}"
        );
    }
    format!(
        "{rival}On the test part {winner} beats {loser} by {points:.2} points, more than the choice of test images explains: {scale}. {caution}"
    )
}

fn accuracies(label: &str, chosen: Option<f64>, baseline: Option<f64>) -> Row {
    let difference = chosen.zip(baseline).map(|(chosen, baseline)| points(chosen - baseline)).unwrap_or_default();
    let text = |it: Option<f64>| it.map(|it| percent(it, 2));
    Row { difference, ..texts(label, text(chosen), text(baseline)) }
}

fn scores(label: &str, chosen: Option<Score>, baseline: Option<Score>) -> Row {
    let [of_chosen, of_baseline] = [chosen, baseline].map(|it| it.map(Score::accuracy));
    let text =
        |it: Option<Score>| it.map(|it| format!("{} ±\u{a0}{}", percent(it.accuracy(), 2), percent(margin(it), 2)));
    Row {
        difference: accuracies(label, of_chosen, of_baseline).difference,
        ..texts(label, text(chosen), text(baseline))
    }
}

fn texts(label: &str, chosen: Option<String>, baseline: Option<String>) -> Row {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "—".to_owned());
    Row { label: label.to_owned(), chosen: or_dash(chosen), baseline: or_dash(baseline), difference: String::new() }
}

fn points(difference: f64) -> String {
    let sign = if difference < 0.0 { "−" } else { "+" };
    format!("{sign}{:.2} points", 100.0 * difference.abs())
}

/// A share in percent.
pub(super) fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", 100.0 * share)
}

/// Half the width of the 95 % interval of an accuracy, by Wilson's score interval: it does not
/// shrink to nothing where all answers are right.
pub(super) fn margin(score: Score) -> f64 {
    const Z: f64 = 1.96;
    let n = score.n() as f64;
    if score.n() == 0 {
        return 1.0;
    }
    let p = score.accuracy();
    Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_wilsons() {
        let check = |right: usize, of: usize, expected: f64| {
            let margin = margin(Score::of_images(right, of));
            assert!((margin - expected).abs() < 5e-5, "{right} of {of}: {margin}");
        };
        // (centre ± half) of Wilson's interval for 81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I).
        check(81, 263, (0.3662 - 0.2553) / 2.0);
        // For 15 of 148: 0.0624 to 0.1605 (the same table).
        check(15, 148, (0.1605 - 0.0624) / 2.0);
        // For 0 of 20: 0 to 0.1611 (the same table).
        check(0, 20, 0.1611 / 2.0);
        check(0, 0, 1.0);
    }

    #[test]
    fn differences_have_signs() {
        let check = |chosen: f64, baseline: f64, expected: &str| {
            assert_eq!(accuracies("", Some(chosen), Some(baseline)).difference, expected);
        };
        check(0.915, 0.902, "+1.30 points");
        check(0.902, 0.915, "−1.30 points");
        assert_eq!(accuracies("", Some(0.9), None).baseline, "—");
    }
}
