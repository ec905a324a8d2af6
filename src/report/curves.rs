//! How the chosen network and the baseline's were trained to the end.

use ::train::fit::Epoch;
use search::space::Task;

use crate::receipt::{Trained, Training};

use super::{
    axis::{Axis, Quantity},
    history::Chart,
    plot::{Plot, Shape},
};

/// Loss and validation accuracy by epoch.
pub(super) fn charts(training: &Training, task: Task) -> Vec<Chart> {
    let loss = chart(
        training,
        ["Training loss", "cross-entropy, in nats"],
        "Mean over each epoch.",
        Quantity::Number,
        |epoch| epoch.loss,
        |it| format!("{:.3}", it.loss),
    );
    let validation = chart(
        training,
        match task {
            Task::Classification => ["Validation accuracy", "validation accuracy"],
            Task::Segmentation => ["Validation mean IoU", "validation mean IoU"],
            Task::Language => ["Validation perplexity", "validation perplexity"],
        },
        "Marked: the epoch whose weights were kept, chosen by this curve and so a little flattered by it.",
        super::quantity(task),
        |epoch| task.value(epoch.validation),
        |it| task.told(it.validation, 2),
    );
    loss.into_iter().chain(validation).collect()
}

fn chart(
    training: &Training,
    [title, label]: [&'static str; 2],
    note: &str,
    quantity: Quantity,
    value: impl Fn(&Epoch) -> f64,
    describe: impl Fn(&Epoch) -> String,
) -> Option<Chart> {
    let both = training.baseline.iter().map(|it| ("random", "other", Shape::Diamond, it));
    let both: Vec<(&str, &str, Shape, &Trained)> =
        both.chain([("search", "chosen", Shape::Star, &training.chosen)]).collect();
    let epochs = || both.iter().flat_map(|it| &it.3.curve);
    let x = Axis::over("epoch", Quantity::Count, epochs().map(|epoch| epoch.epoch as f64))?;
    let y = Axis::over(label, quantity, epochs().map(&value))?;
    let mut plot = Plot::new(x, y, format!("{title} by epoch"));
    for (class, mark, shape, trained) in both {
        let points: Vec<(f64, f64)> = trained.curve.iter().map(|it| (it.epoch as f64, value(it))).collect();
        plot.line(&format!("{class} mean"), &points);
        if let Some(best) = trained.curve.iter().find(|it| it.epoch == trained.best) {
            let text = format!("epoch {}, kept: {}", best.epoch, describe(best));
            plot.mark(mark, shape, (best.epoch as f64, value(best)), &text);
        }
    }
    Some(Chart { title, note: note.to_owned(), plot: plot.svg() })
}
