//! `report.html`: one page that opens offline and says what was found, what it costs, how each
//! figure came about and how to get it again.
//!
//! The page holds no script and asks for nothing from outside. Its words are escaped by the
//! template, those within drawings by `plot::escaped`: class names and paths are a stranger's.

mod axis;
mod budget;
mod cell_drawing;
mod cell_layout;
mod cell_rows;
mod comparison;
mod curves;
mod history;
mod latency;
mod layers;
mod plot;
mod recurrent_drawing;
mod repeat;
mod trade_off;
mod verdict;

use std::collections::BTreeMap;

use anyhow::Context;
use askama::Template;
use graph::Graph;
use search::{
    space::{Task, cells::AnyCell},
    study::Trial,
};

use crate::{
    receipt::{Receipt, Training},
    score::noun,
};

use self::axis::Quantity;

/// What a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// What is promised.
    pub receipt: &'a Receipt,
    /// How the networks were trained to the end.
    pub training: &'a Training,
    /// Every trial of the study, oldest first.
    pub trials: &'a [Trial],
    /// The deployed network, as trained.
    pub graph: &'a Graph,
    /// Seconds of each node of the shipped file, by name, where a device measured them.
    pub layer_seconds: Option<&'a [(String, f64)]>,
    /// How good the latency model was that priced the candidates, where it was fitted.
    pub latency_fit: Option<&'a targets::latency::FitReport>,
}

/// The report as one HTML file.
///
/// # Errors
/// The template cannot be rendered, which is a mistake in it.
pub fn html(material: &Material<'_>) -> anyhow::Result<String> {
    let Material { receipt, training, trials, graph, layer_seconds, latency_fit } = *material;
    let found = trade_off::search_accuracy(receipt, trials);
    let (cell, cell_words, cell_reads) = match &receipt.cell {
        AnyCell::Stacked(cell) => {
            let reads = format!(
                "One cell, stacked: {} times and twice more with stride 2, where the operations that read the cell's inputs \
                 halve the size. A block adds its two operations; h[i−1] is the output of the previous cell, h[i−2] of the \
                 one before.",
                receipt.scale.layers
            );
            (cell_drawing::drawing(cell), cell_drawing::words(cell), reads)
        }
        AnyCell::Recurrent(cell) => {
            let reads = "One cell, at each word anew. A node is a state s + c (f(W s) − s) of the state s that it reads, with \
                         the gate c = sigmoid(V s); what the cell gives is remembered, and read with the next word.";
            (recurrent_drawing::drawing(cell), recurrent_drawing::words(cell), reads.to_owned())
        }
    };
    let page = Page {
        receipt,
        title: format!("{} for {}", receipt.strategy, receipt.target),
        measure: measure(receipt.scale.task),
        noun: noun(&receipt.scale),
        date: repeat::date(receipt.written_at),
        baseline: receipt.baseline.as_ref().map(|it| it.baseline.strategy.as_str()),
        verdict: verdict::verdict(receipt),
        budget: budget::rows(receipt),
        scored: scored(trials),
        trade_offs: trade_off::trade_offs(receipt, trials, found),
        history: history::charts(receipt, trials),
        curves: curves::charts(training, receipt.scale.task),
        cell,
        cell_words,
        cell_reads,
        layers: layers::layers(graph, layer_seconds),
        latency: latency::latency(receipt.measurement.as_ref()),
        unmeasured: latency::unmeasured(receipt),
        latency_fit: latency_fit.map(latency::fit),
        comparison: comparison::comparison(receipt, training, found, scored(trials)),
        run: repeat::run(receipt),
        data: repeat::data(receipt),
        versions: &receipt.versions,
        files: &receipt.files,
    };
    page.render().context("cannot render the report")
}

/// What trials were scored with, in words.
fn scored(trials: &[Trial]) -> &'static str {
    if trials.iter().any(|trial| trial.epochs.is_some()) { "short trainings" } else { "shared weights" }
}

/// What is told of scores, to begin a line with.
fn measure(task: Task) -> &'static str {
    match task {
        Task::Classification => "Accuracy",
        Task::Segmentation => "Mean IoU",
        Task::Language => "Perplexity",
    }
}

/// What an axis of scores counts.
fn quantity(task: Task) -> Quantity {
    match task {
        Task::Classification | Task::Segmentation => Quantity::Share,
        Task::Language => Quantity::Perplexity,
    }
}

/// What the template fills in.
#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    receipt: &'a Receipt,
    title: String,
    /// What is told of scores.
    measure: &'static str,
    noun: &'static str,
    date: String,
    baseline: Option<&'a str>,
    verdict: verdict::Verdict,
    budget: Vec<budget::Row>,
    /// What trials were scored with.
    scored: &'static str,
    trade_offs: Vec<trade_off::TradeOff>,
    history: Vec<history::Chart>,
    curves: Vec<history::Chart>,
    cell: String,
    cell_words: Vec<(String, String)>,
    /// How to read the drawing.
    cell_reads: String,
    layers: layers::Layers,
    latency: Option<latency::Latency>,
    unmeasured: String,
    latency_fit: Option<Vec<(&'static str, String)>>,
    comparison: Option<comparison::Comparison>,
    run: repeat::Facts,
    data: repeat::Facts,
    versions: &'a BTreeMap<String, String>,
    files: &'a BTreeMap<String, String>,
}

#[cfg(test)]
mod tests;
