//! The head of the report: whether the budget holds, how that is known, and how good the network is.

use data::Task;
use targets::{Judgement, Metric, Source};

use crate::{
    receipt::{Judged, Outcome, Receipt},
    score::{Score, noun},
};

use super::budget::{Provenance, limit, provenance, title};

/// The head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    /// Class of the style sheet.
    pub(super) class: &'static str,
    /// Says the same as the colour.
    pub(super) symbol: &'static str,
    /// A few words.
    pub(super) title: String,
    /// One sentence for each thing to know.
    pub(super) sentences: Vec<String>,
    /// The figures that everybody asks for.
    pub(super) tiles: Vec<Tile>,
}

/// One figure, large.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tile {
    /// What it is.
    pub(super) label: String,
    /// The figure.
    pub(super) value: String,
    /// Its interval or its count.
    pub(super) note: String,
    /// How it came about; absent for an accuracy.
    pub(super) provenance: Option<Provenance>,
}

/// The head for this receipt.
pub(super) fn verdict(receipt: &Receipt) -> Verdict {
    let hard = || receipt.bounds.iter().filter(|it| it.bound.hard);
    let guessed: Vec<&Judged> = hard().filter(|it| is_estimated(receipt, it.bound.metric)).collect();
    let by_estimate = if guessed.is_empty() { "" } else { ", by estimate" };
    let (class, symbol, title) = match receipt.outcome {
        Outcome::Within if receipt.bounds.is_empty() => ("plain", "–", "No budget was set".to_owned()),
        Outcome::Within => ("good", "✓", format!("Within the budget{by_estimate}")),
        Outcome::Over => ("bad", "✕", format!("Over the budget{by_estimate}")),
        Outcome::CannotTell => ("unsure", "?", "Cannot tell whether the budget holds".to_owned()),
    };
    Verdict { class, symbol, title, sentences: sentences(receipt, &guessed), tiles: tiles(receipt) }
}

fn sentences(receipt: &Receipt, guessed: &[&Judged]) -> Vec<String> {
    let mut sentences = Vec::new();
    let (hard, soft): (Vec<&Judged>, Vec<&Judged>) = receipt.bounds.iter().partition(|it| it.bound.hard);
    if !hard.is_empty() && hard.iter().all(|it| it.judgement == Judgement::Met) {
        sentences.push(match hard.len() {
            1 => format!("The hard bound on {} is met.", name(hard[0].bound.metric)),
            n => format!("All {n} hard bounds are met."),
        });
    }
    for judged in hard.iter().chain(&soft) {
        let (kind, metric) = (if judged.bound.hard { "hard" } else { "soft" }, name(judged.bound.metric));
        let limit = limit(&judged.bound);
        let figure = receipt.cost.get(judged.bound.metric).map(|it| judged.bound.metric.format(it.value));
        match (judged.judgement, figure) {
            (Judgement::Met, _) => {}
            (Judgement::Broken, Some(figure)) => {
                sentences.push(format!("The {kind} bound on {metric} is broken: {figure}, where {limit} is allowed."));
            }
            (Judgement::CannotTell, Some(figure)) => sentences.push(format!(
                "The interval of {metric}, about {figure}, straddles its {kind} bound of {limit}: measure it, or measure longer."
            )),
            (Judgement::Unknown | Judgement::Broken | Judgement::CannotTell, _) => {
                sentences.push(format!("There is no figure for {metric}, which has a {kind} bound of {limit}."));
            }
        }
    }
    if !guessed.is_empty() {
        let metrics: Vec<String> = guessed.iter().map(|it| name(it.bound.metric)).collect();
        let (are, none) = if metrics.len() == 1 { ("is", "it was") } else { ("are", "they were") };
        let metrics = listed(&metrics);
        let sentence = format!("{metrics} {are} estimated: {none} not measured on {}.", receipt.target);
        sentences.push(capital(&sentence));
    }
    sentences
}

fn tiles(receipt: &Receipt) -> Vec<Tile> {
    let score = receipt.accuracy.test_by_runtime;
    let mut tiles = vec![Tile {
        label: format!("Test {}", score.measure()),
        value: score.told(2),
        note: accuracy_note(score, noun(&receipt.scale)),
        provenance: None,
    }];
    let wanted = [Metric::Latency, Metric::Memory, Metric::Params, Metric::Macs];
    for metric in wanted {
        let Some(figure) = receipt.cost.get(metric) else { continue };
        let note = match figure.source {
            Source::Exact => String::new(),
            Source::Estimated { .. } | Source::Measured { .. } if figure.low == figure.high => String::new(),
            Source::Estimated { .. } | Source::Measured { .. } => {
                format!("{} to {}", metric.format(figure.low), metric.format(figure.high))
            }
        };
        let (label, value) = (title(metric).to_owned(), metric.format(figure.value));
        tiles.push(Tile { label, value, note, provenance: Some(provenance(&figure.source)) });
    }
    tiles
}

fn accuracy_note(score: Score, noun: &str) -> String {
    let margin = score.told_margin();
    match score.task() {
        Task::Classification => format!("{} of {} {noun}, ±\u{a0}{margin}", score.right, score.of),
        Task::Segmentation => format!("of {} {noun}, ±\u{a0}{margin} at most", score.n()),
        Task::Language => format!("over {} {noun}, ±\u{a0}{margin}", score.of),
    }
}

fn is_estimated(receipt: &Receipt, metric: Metric) -> bool {
    receipt.cost.get(metric).is_some_and(|figure| matches!(figure.source, Source::Estimated { .. }))
}

/// The metric's title within a sentence.
fn name(metric: Metric) -> String {
    title(metric).to_lowercase()
}

fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
