//! `pipeline data`: lists, checks and fetches data sets.

use anyhow::Result;
use data::{
    CATALOGUE, Kind, Options, Origin, Report, Severity, SoundReport, TextReport, check,
    download::{self, Step},
};

use super::downloads;
use crate::{
    cli::{DataArgs, DataCommand},
    config::SearchConfig,
    exit::Exit,
    terminal::{self, Line},
};

/// The command.
pub fn run(args: &DataArgs) -> Result<Exit> {
    match &args.command {
        None | Some(DataCommand::List) => list(args.json),
        Some(DataCommand::Check { data, task, image_size, front_end, sample_rate }) => {
            let sound = [("front-end", front_end), ("sample-rate", sample_rate)];
            let given = [("task", task), ("image-size", image_size)].into_iter().chain(sound);
            let entries = given.filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into())));
            let options = SearchConfig::complete(entries.collect(), None)?.options()?;
            show(&check(data, &Options { downloads: Some(downloads()), ..options }), args.json)
        }
        Some(DataCommand::Get { name }) => get(name, args.json),
    }
}

fn list(json: bool) -> Result<Exit> {
    let mut rows = Vec::new();
    for set in CATALOGUE {
        let here = match set.origin {
            Origin::FashionTiny | Origin::Optdigits => "built in",
            Origin::Download(_) if downloads().join(set.name).is_dir() => "here",
            Origin::Download(_) => "pipeline data get",
        };
        let [channels, height, width] = set.shape;
        rows.push(serde_json::json!({
            "name": set.name, "title": set.title, "licence": set.licence, "shape": set.shape,
            "classes": set.n_classes, "train": set.n_train, "test": set.n_test, "bytes": set.bytes, "where": here,
        }));
        if !json {
            terminal::print(&format!(
                "{:<14} {channels}x{height}x{width}, {} classes, {} + {} images, {:.1} MB, {here}\n{:<14} {}; {}",
                set.name,
                set.n_classes,
                set.n_train,
                set.n_test,
                set.bytes as f64 / 1e6,
                "",
                set.title,
                set.licence
            ));
        }
    }
    if json {
        terminal::print(&serde_json::to_string(&rows)?);
    } else {
        terminal::print(
            "A folder works wherever a name does: CIFAR binary, IDX, one sub-folder of PNG, JPEG or WAV files a class, scenes with \
             masks (train/images, train/masks, the same in val, and classes.txt), or text (train.txt, valid.txt, test.txt).",
        );
    }
    Ok(Exit::Ok)
}

fn show(report: &Report, json: bool) -> Result<Exit> {
    if json {
        terminal::print(&serde_json::to_string(report)?);
    } else {
        let shape = report.shape.map_or("unknown".to_owned(), |[c, h, w]| format!("{c}x{h}x{w}"));
        let noun = match (&report.front_end, report.kind) {
            (Some(_), _) => "clips",
            (None, Some(Kind::Text)) => "segments",
            (None, _) => "images",
        };
        let format = report.format.map_or("not recognised".to_owned(), |it| format!("{it:?}"));
        terminal::print(&format!(
            "{}: {format}, {noun} {shape}, {} classes",
            report.path.display(),
            report.classes.len()
        ));
        if let Some(front_end) = &report.front_end {
            terminal::print(&format!("  each becomes {front_end}"));
        }
        if let Some([least, most]) = report.durations {
            terminal::print(&format!("  recordings last {least:.2} s to {most:.2} s"));
        }
        for (name, part) in [("train", &report.train), ("test", &report.test)] {
            if let Some(part) = part {
                let (least, most) = (part.counts.iter().min(), part.counts.iter().max());
                let places = if report.kind == Some(Kind::Scenes) { " pixels" } else { "" };
                terminal::print(&format!(
                    "  {name:<6} {} {noun}, {} to {}{places} a class, sha256 {}",
                    part.n,
                    least.copied().unwrap_or(0),
                    most.copied().unwrap_or(0),
                    &part.sha256[..16]
                ));
                if let Some(TextReport { words, unknown, validation }) = &part.text {
                    let validation =
                        validation.map_or(String::new(), |words| format!("; {words} words of validation text"));
                    terminal::print(&format!(
                        "         {words} words, {:.2} % of them not of the vocabulary{validation}",
                        100.0 * unknown
                    ));
                }
                if let Some(SoundReport { loudness: [quietest, median, loudest], clipped, silent }) = part.sound {
                    terminal::print(&format!(
                        "         loudness {quietest:.0} to {loudest:.0} dB of full scale, median {median:.0}; {clipped} recorded \
                         too loud, {silent} silent"
                    ));
                }
            }
        }
        if report.held_out {
            terminal::print("  the test part is a fixed fifth of the only part");
        }
        for problem in &report.problems {
            let word = if problem.severity == Severity::Error { "error" } else { "note" };
            terminal::print(&format!("  {word}: {}", problem.message));
        }
    }
    Ok(if report.usable() { Exit::Ok } else { Exit::File })
}

fn get(name: &str, json: bool) -> Result<Exit> {
    let mut line = Line::default();
    let path = download::get(name, &downloads(), &mut |progress| {
        let step = match progress.step {
            Step::Fetch => "fetching",
            Step::Verify => "verifying",
            Step::Unpack => "unpacking",
            Step::Present => "present",
        };
        line.show(&format!("{step} {}", progress.file), progress.done, progress.total, "");
    })?;
    line.end();
    let path = path.display().to_string();
    terminal::print(&if json { serde_json::json!({ "path": path }).to_string() } else { path });
    Ok(Exit::Ok)
}
