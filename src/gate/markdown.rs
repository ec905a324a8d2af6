//! Findings as Markdown, fit for a job's summary: one table, and below it what did not hold.

use targets::{Figure, Source, Verdict, verdict::SHIFT};

use super::{Check, CheckResult, Findings, Model, Numbers, limit, signed_percent, timing};

/// The whole text.
pub fn table(findings: &Findings) -> String {
    let mut text = format!("### Model gate: {}\n\n", in_words(findings.verdict()));
    text += "| model | check | figure | 95 % interval | bound | verdict | conditions |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for model in &findings.models {
        for check in &model.checks {
            text += &row(model, check);
        }
    }
    let failed = |check: &&Check| !matches!(check.result, CheckResult::Holds | CheckResult::Skipped);
    let mut reasons =
        findings.models.iter().flat_map(|model| model.checks.iter().filter(failed).map(move |it| (model, it)));
    if let Some(first) = reasons.next() {
        text.push('\n');
        for (model, check) in std::iter::once(first).chain(reasons) {
            let [name, what, found] = [&model.name, &check.what, &check.found].map(|it| escape(it));
            text += &format!("- **{name}**, {what}: {found}\n");
        }
    }
    text
}

fn row(model: &Model, check: &Check) -> String {
    let none = || "–".to_owned();
    let [figure, interval, bound] = match &check.numbers {
        Some(Numbers::Bound { bound, figure }) => {
            let value = |value| bound.metric.format(value);
            let is_exact = figure.low == figure.high;
            let interval = if is_exact { none() } else { format!("{} to {}", value(figure.low), value(figure.high)) };
            [value(figure.value) + how(figure), interval, limit(bound)]
        }
        Some(Numbers::Comparison(found)) => {
            let (low, high) = found.interval;
            let interval = format!("{} to {}", signed_percent(low), signed_percent(high));
            [signed_percent(found.shift), interval, format!("<= {}", signed_percent(SHIFT))]
        }
        // What did not hold is told below the table, where there is room.
        None if check.result == CheckResult::Holds => [check.found.clone(), none(), none()],
        None => [none(), none(), none()],
    };
    let conditions = match (&check.numbers, &model.latency) {
        (Some(numbers), Some(latency)) if is_measured(numbers) => timing::conditions(latency),
        (Some(_) | None, Some(_) | None) => none(),
    };
    let verdict = match check.result {
        CheckResult::Holds => "pass",
        CheckResult::Fails => "**FAIL**",
        CheckResult::CannotTell => "**cannot tell**",
        CheckResult::Invalid => "**invalid**",
        CheckResult::Skipped => "skipped",
    };
    let [name, what, figure, interval, bound, conditions] =
        [&model.name, &check.what, &figure, &interval, &bound, &conditions].map(|it| escape(it));
    format!("| {name} | {what} | {figure} | {interval} | {bound} | {verdict} | {conditions} |\n")
}

/// What must stand beside a figure that was not measured.
fn how(figure: &Figure) -> &'static str {
    match figure.source {
        Source::Estimated { .. } => " (estimated, not measured)",
        Source::Exact | Source::Measured { .. } => "",
    }
}

fn is_measured(numbers: &Numbers) -> bool {
    match numbers {
        Numbers::Bound { figure, .. } => matches!(figure.source, Source::Measured { .. }),
        Numbers::Comparison(_) => true,
    }
}

fn in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::CannotTell => "cannot tell",
    }
}

/// A text that is nothing but text, in a cell too: no markup, no new cell, no new line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' | '#' | '!' | '@' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}
