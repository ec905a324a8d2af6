//! What a reproduction shows.

use ::data::{Task, listed};

use super::Outcome;
use crate::{
    cli::{ReproduceArgs, ReproductionScale},
    papers::Paper,
};

/// Two questions: is the printed error reached, and does the method beat random search at equal cost?
pub(super) fn verdict(
    args: &ReproduceArgs,
    ours: &Outcome,
    random: Option<&Outcome>,
    plain: Option<&Outcome>,
    published: Option<&Outcome>,
    is_same_data: bool,
) -> String {
    if args.paper.task() == Task::Language {
        return of_words(args, ours, [random, published], is_same_data);
    }
    let printed = args.paper.printed();
    let error = 100.0 * (1.0 - ours.test.score());
    let reached = match printed.first().map(|it| it.error) {
        None if !args.paper.elsewhere().is_empty() => {
            "the printed figures are of another data set: nothing to compare with".to_owned()
        }
        None => "the paper's figures are lost: nothing to compare with".to_owned(),
        Some(_) if !is_same_data => {
            let theirs = args
                .paper
                .data()
                .and_then(listed)
                .map_or("other data", |it| it.title.split(',').next().unwrap_or(it.title));
            format!("the printed error is of the whole of {theirs}: nothing to compare with")
        }
        Some(_) if args.scale != ReproductionScale::Paper => {
            "the printed error cannot be decided at this scale".to_owned()
        }
        Some(first) if error <= first + TOLERANCE => format!("reproduced: {error:.2} % error, {first:.2} % printed"),
        Some(first) => format!(
            "not reproduced, by a common recipe in the place of the paper's: {error:.2} % error, {first:.2} % printed"
        ),
    };
    let Some(random) = random else {
        let alone = "random search found no network within the budget with the same effort";
        return if args.paper == Paper::RandomWs { reached } else { format!("{reached}; {alone}") };
    };
    let gain = ours.test.score() - random.test.score();
    let task = args.paper.task();
    if task != Task::Classification {
        // Pixels of one image and words of one text are no independent answers.
        let measure = task.measure();
        let plain = plain.map_or(String::new(), |plain| {
            let gain = ours.test.score() - plain.test.score();
            format!(" and {:+.2} against the plain network", 100.0 * gain)
        });
        let gain = 100.0 * gain;
        return format!("{reached}; {gain:+.2} points of {measure} against random search{plain}, with one seed");
    }
    let spread = |it: &Outcome| {
        let p = it.test.score();
        p * (1.0 - p) / it.test.asked() as f64
    };
    let error = (spread(ours) + spread(random)).sqrt();
    let fewer = random.found.allowed.map_or(String::new(), |allowed| {
        let n = random.found.trials;
        format!("; of random networks only {n} of {allowed} that equal cost allows were found within the budget")
    });
    let words = if gain.abs() <= 2.0 * error {
        "no difference to random search is shown"
    } else if 0.0 < gain {
        "ahead of random search by more than the choice of test images explains, with one seed"
    } else {
        "behind random search by more than the choice of test images explains, with one seed"
    };
    format!("{reached}; {words} ({:+.2} points, standard error {:.2}){fewer}", 100.0 * gain, 100.0 * error)
}

/// The same two questions of language models, in perplexities.
fn of_words(args: &ReproduceArgs, ours: &Outcome, [random, lstm]: [Option<&Outcome>; 2], is_same_data: bool) -> String {
    let found = ours.test.perplexity();
    let reached = match args.paper.elsewhere().first().map(|it| it.value) {
        Some(_) | None if !is_same_data => {
            "the printed perplexities are of Penn TreeBank: nothing to compare with".to_owned()
        }
        Some(_) if args.scale != ReproductionScale::Paper => {
            "the printed perplexity cannot be decided at this scale".to_owned()
        }
        Some(first) if found <= first + PERPLEXITY_TOLERANCE => format!("reproduced: {found:.1}, {first:.1} printed"),
        Some(first) => {
            format!("not reproduced, by a common recipe in the place of the paper's: {found:.1}, {first:.1} printed")
        }
        None => "the paper's figures are lost: nothing to compare with".to_owned(),
    };
    let others = [("random search", random), ("the LSTM", lstm)];
    let others: Vec<String> = others
        .into_iter()
        .filter_map(|(name, outcome)| Some(format!("{:.1} by {name}", outcome?.test.perplexity())))
        .collect();
    format!("{reached}; perplexity {found:.1} beside {}, with one seed", others.join(" and "))
}

/// By so much a perplexity may miss: five times what Li and Talwalkar's own run of DARTS missed the printed 55.7 by.
const PERPLEXITY_TOLERANCE: f64 = 1.0;

/// Points of error by which a reproduction may miss: the spread over seeds that such trainings have.
const TOLERANCE: f64 = 0.3;
