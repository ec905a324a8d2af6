//! `pipeline reproduce`: a published system at a declared scale, random search at equal cost beside it, and what was
//! printed.

mod extent;
mod lab;
mod verdict;

use ::data::{Tally, Task};
use anyhow::Result;
use search::strategy::darts::Stopped;
use serde::Serialize;
use targets::{Figure, Metric};

use crate::{
    cli::{Guard, ReproduceArgs},
    exit::Exit,
    papers::{Elsewhere, Printed},
    receipt::Parity,
    run_folder::RunFolder,
    terminal::{self, say},
};
use lab::{Done, Lab};
use verdict::verdict;

/// What one search ended with.
#[derive(Debug, Serialize)]
struct Outcome {
    strategy: String,
    #[serde(flatten)]
    found: Found,
    params: u64,
    macs: u64,
    /// On the board that it is for, where it is for one: estimated, not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Figure>,
    /// On the whole test part, after the final training.
    test: Tally,
    /// The same class by class, where the task scores them one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    classes: Vec<ClassScore>,
    /// Which guard ended the search early, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<Stopped>,
    /// The network as a file, where it was written as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    shipped: Option<Shipped>,
}

/// How well the places of one class were found.
#[derive(Debug, Serialize)]
struct ClassScore {
    class: String,
    /// Intersection over union, in `[0, 1]`; absent where the class neither occurs nor was answered.
    iou: Option<f64>,
}

/// A model file in the folder, and how far the engine's logits are from the trainer's.
#[derive(Debug, Serialize)]
struct Shipped {
    file: String,
    bytes: usize,
    parity: Parity,
    /// The test part, asked through the engine alone.
    test: Tally,
}

/// How a text was read: perplexities are of this vocabulary.
#[derive(Debug, Serialize)]
struct Words {
    vocabulary: usize,
    /// Words that gradients pass through.
    segment: usize,
    /// Share of the test words, in `[0, 1]`, that is not of the vocabulary.
    unknown: f64,
}

/// What was found, before its final training.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// Networks trained or scored.
    trials: usize,
    /// How many equal cost would have allowed, where fewer were found within the budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<usize>,
    /// Validation accuracy while searching, in `[0, 1]`: for choosing, not for quoting.
    search_accuracy: f64,
    architecture: serde_json::Value,
}

/// The line of `--json`.
#[derive(Debug, Serialize)]
struct Reproduction {
    paper: String,
    scale: String,
    data: String,
    images: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Words>,
    /// Hard bounds of a search for a board, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bounds: Vec<String>,
    seed: u64,
    /// What kept a relaxed search from collapsing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    guards: Vec<Guard>,
    printed: Vec<Printed>,
    /// The data set of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    printed_on: Option<String>,
    /// Printed figures of other data sets, which say nothing about these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    elsewhere: Vec<Elsewhere>,
    /// Whether this is their data after all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_same_data: bool,
    ours: Outcome,
    random: Option<Outcome>,
    /// A published network, trained by the same recipe on the same data.
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<Outcome>,
    /// A plain network about as large, by the same recipe on the same data.
    #[serde(skip_serializing_if = "Option::is_none")]
    plain: Option<Outcome>,
    verdict: String,
}

/// The command.
pub fn run(args: &ReproduceArgs) -> Result<Exit> {
    let name = clap::ValueEnum::to_possible_value(&args.paper).map_or(String::new(), |it| it.get_name().to_owned());
    let scale = clap::ValueEnum::to_possible_value(&args.scale).map_or(String::new(), |it| it.get_name().to_owned());
    let path = args.run.clone().unwrap_or_else(|| format!("runs/reproduce-{name}-{scale}-{}", args.seed).into());
    let folder = if args.dry_run { RunFolder { path: path.clone() } } else { RunFolder::plain(&path)? };
    let lab = Lab::open(args, folder)?;
    if !args.dry_run {
        lab.claim(&name, &scale)?;
        say(&format!("{name} at {scale} scale in {}", path.display()));
    }
    let (ours, random) = match lab.reproduce(args.paper)? {
        Done::Outcomes(outcomes) => *outcomes,
        Done::Forecast(forecast) => {
            if args.json {
                terminal::print(&serde_json::to_string(&forecast)?);
            } else {
                terminal::print(&format!("{name} at {scale} scale on {}: nothing is trained", lab.name));
                forecast.show();
            }
            return Ok(Exit::Ok);
        }
    };
    let published = lab.published()?;
    let plain = lab.plain(&ours)?;
    let verdict = verdict(args, &ours, random.as_ref(), plain.as_ref(), published.as_ref(), lab.is_same_data);
    let reproduction = Reproduction {
        paper: name,
        scale,
        data: lab.name.clone(),
        images: lab.set.train.len(),
        text: lab.words(),
        bounds: lab.bounds(args.paper)?,
        seed: args.seed,
        guards: lab.guards.clone(),
        printed: args.paper.printed().to_vec(),
        printed_on: args.paper.data().filter(|_| !args.paper.printed().is_empty()).map(str::to_owned),
        elsewhere: args.paper.elsewhere().to_vec(),
        is_same_data: lab.is_same_data,
        ours,
        random,
        published,
        plain,
        verdict,
    };
    lab.folder.write_json("reproduction.json", &reproduction)?;
    if args.json {
        terminal::print(&serde_json::to_string(&reproduction)?);
    } else {
        show(&reproduction);
    }
    Ok(Exit::Ok)
}

fn show(it: &Reproduction) {
    let task = it.ours.test.task();
    let compared = if task == Task::Language { "words" } else { "images" };
    let line = |who: &str, outcome: &Outcome| {
        terminal::print(&format!(
            "{who:<10} {:<12} {:>6} trials  {:>9} parameters  {:>9} MACs  test {}",
            outcome.strategy,
            outcome.found.trials,
            Metric::Params.format(outcome.params as f64),
            Metric::Macs.format(outcome.macs as f64),
            outcome.test
        ));
        let of_class = |ClassScore { class, iou }: &ClassScore| match iou {
            Some(iou) => format!("{class} {:.1}", 100.0 * iou),
            None => format!("{class} absent"),
        };
        if !outcome.classes.is_empty() {
            let classes: Vec<String> = outcome.classes.iter().map(of_class).collect();
            terminal::print(&format!("{:<10} IoU in percent: {}", "", classes.join(", ")));
        }
        if let Some(Shipped { file, bytes, parity, test }) = &outcome.shipped {
            terminal::print(&format!(
                "{:<10} {file}: {bytes} bytes; the engine's logits differ by {:.1e} at most, on {} {}",
                "", parity.max_difference, parity.images, compared
            ));
            terminal::print(&format!("{:<10} test {test}, by the shipped file in {}", "", runtime::engine::ENGINE));
        }
        if let Some(stopped) = outcome.stopped {
            terminal::print(&format!("{:<10} {}", "", stopped.describe()));
        }
        if let Some(latency) = &outcome.latency {
            terminal::print(&format!("{:<10} latency {}", "", latency.describe(Metric::Latency)));
        }
    };
    let noun = match task {
        Task::Language => "segments of text",
        Task::Classification | Task::Segmentation if it.bounds.is_empty() => "images",
        Task::Classification | Task::Segmentation => "clips",
    };
    terminal::print(&format!("{} at {} scale on {} ({} training {noun})", it.paper, it.scale, it.data, it.images));
    if let Some(Words { vocabulary, segment, unknown }) = &it.text {
        terminal::print(&format!(
            "text       {vocabulary} words told apart, {:.1} % of the test words are none of them; segments of {segment}",
            100.0 * unknown
        ));
    }
    for bound in &it.bounds {
        terminal::print(&format!("budget     {bound}"));
    }
    if !it.guards.is_empty() {
        let names: Vec<String> = it.guards.iter().filter_map(Guard::name).collect();
        terminal::print(&format!("guards     {}", names.join(", ")));
    }
    line("ours", &it.ours);
    if let Some(random) = &it.random {
        line("random", random);
    }
    if let Some(published) = &it.published {
        line("published", published);
    }
    if let Some(plain) = &it.plain {
        line("plain", plain);
    }
    let other = if it.is_same_data { "" } else { "; another data set, cannot be compared" };
    for Elsewhere { what, measure, value, data, params, tag } in &it.elsewhere {
        let params = params.map_or(String::new(), |it| format!("  {it} M parameters"));
        terminal::print(&format!("printed    {what}: {value} {measure} on {data}{params}  [{tag}{other}]"));
    }
    for Printed { what, error, params, tag } in &it.printed {
        let params = params.map_or(String::new(), |it| format!("  {it} M parameters"));
        let on = it.printed_on.as_deref().map_or(String::new(), |name| format!(" on {name}"));
        terminal::print(&format!("printed    {what}: {error} % test error{on}{params}  [{tag}{other}]"));
    }
    terminal::print(&format!("verdict    {}", it.verdict));
}
