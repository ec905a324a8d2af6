//! What was measured on the device: how the times spread, how steady they were, and under which
//! conditions they were taken.

use targets::{
    FitReport, Metric, Source,
    measurement::{Conditions, Measurement, Reach},
    stats::{Summary, quantile},
    validity::Allow,
};

use crate::receipt::Receipt;

use super::{
    axis::{Axis, Quantity},
    comparison::percent,
    history::Chart,
    plot::Plot,
};

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Latency {
    /// On what, by what and how often, in a sentence.
    pub(super) about: String,
    /// The distribution, and its course.
    pub(super) charts: Vec<Chart>,
    /// Name, value, and interval where there is one.
    pub(super) figures: Vec<(&'static str, String, String)>,
    /// Why the measurement is no evidence by the strict rules.
    pub(super) objections: Vec<String>,
    /// What to know beside the figures.
    pub(super) notes: Vec<String>,
    /// The machine before and after.
    pub(super) conditions: Vec<(&'static str, String, String)>,
}

/// What the measurement says; `None` where nothing was timed.
pub(super) fn latency(measurement: Option<&Measurement>) -> Option<Latency> {
    let measurement = measurement?;
    let summary = measurement.summary()?;
    let allow = Allow::default();
    let charts = [histogram(measurement, &summary), blocks(measurement)];
    Some(Latency {
        about: format!(
            "{} samples in {} blocks on {} ({}), {}, by {}, {}, after {} runs of warm-up.",
            summary.n,
            measurement.blocks.len(),
            measurement.target,
            measurement.device,
            reach(measurement.reach),
            measurement.engine,
            threads(measurement.protocol.threads),
            measurement.warmup_runs,
        ),
        charts: charts.into_iter().flatten().collect(),
        figures: figures(measurement, &summary),
        objections: measurement.invalid(&allow).iter().map(ToString::to_string).collect(),
        notes: measurement.notes(&allow).iter().map(ToString::to_string).collect(),
        conditions: conditions(&measurement.before, &measurement.after),
    })
}

/// What to say where nothing was measured.
pub(super) fn unmeasured(receipt: &Receipt) -> String {
    match receipt.cost.get(Metric::Latency) {
        Some(figure) => match &figure.source {
            Source::Estimated { by } => format!(
                "No device took part in this run: the latency of {} above is estimated ({by}), and there is no distribution to show.",
                Metric::Latency.format(figure.value)
            ),
            Source::Exact | Source::Measured { .. } => {
                "The samples behind the latency above are not part of this receipt.".to_owned()
            }
        },
        None => "Nothing was measured and nothing is estimated.".to_owned(),
    }
}

/// How good the latency model is that priced the candidates, as label and figure.
pub(super) fn fit(report: &FitReport) -> Vec<(&'static str, String)> {
    let share = |it: Option<f64>| it.map_or_else(|| "unknown".to_owned(), |it| percent(it, 0));
    vec![
        ("Networks measured", report.n.to_string()),
        (
            "Rank correlation, predicted and measured",
            report.spearman.map_or_else(|| "unknown".to_owned(), |it| format!("{it:.2}")),
        ),
        ("Median error of a prediction", share(report.median_relative_error)),
        ("Measured times that fell into the interval predicted", share(report.coverage)),
    ]
}

fn histogram(measurement: &Measurement, summary: &Summary) -> Option<Chart> {
    let samples = sorted(measurement.blocks.iter().flat_map(|block| &block.wall_ns));
    // A few late samples would leave no room for all the others.
    let (low, high) = (*samples.first()?, quantile(&samples, 0.995)?);
    let shown = samples.partition_point(|&it| it <= high);
    let width = bin_width(&samples).clamp((high - low) / 48.0, (high - low) / 10.0).max(1e-9);
    let mut bins = vec![0_usize; ((high - low) / width) as usize + 1];
    for sample in &samples[..shown] {
        bins[((sample - low) / width) as usize] += 1;
    }
    let marks = [
        ("p50", summary.p50, Some(summary.p50_ci)),
        ("p90", summary.p90, Some(summary.p90_ci)),
        ("p99", summary.p99, None),
    ];
    let ends = [low, high].into_iter().chain(marks.iter().map(|it| it.1));
    let x = Axis::over("time of one inference", Quantity::Cost(Metric::Latency), ends)?;
    let most = bins.iter().copied().max()? as f64;
    let y = Axis::over("samples", Quantity::Count, [0.0, most])?;
    let mut plot = Plot::new(x, y, format!("Histogram of {} times of one inference", summary.n));
    let format = |value: f64| Metric::Latency.format(value);
    for (name, _, interval) in marks {
        if let Some((from, to)) = interval {
            let text = format!("95 % confidence interval of {name}: {} to {}", format(from), format(to));
            plot.shade("interval", (from, to), &text);
        }
    }
    for (idx, &n) in bins.iter().enumerate().filter(|it| 0 < *it.1) {
        let (from, to) = (low + width * idx as f64, low + width * (idx as f64 + 1.0));
        plot.bar("samples", (from, to), n as f64, &format!("{n} samples from {} to {}", format(from), format(to)));
    }
    for (level, (name, value, _)) in marks.into_iter().enumerate() {
        plot.rule("quantile", value, &format!("{name} {}", format(value)), level);
    }
    let late = match samples.len() - shown {
        0 => String::new(),
        n => format!(" The slowest {n}, up to {}, lie beyond the right edge.", format(samples[samples.len() - 1])),
    };
    let note = format!("Shaded: 95 % confidence intervals of the median and of the 90th percentile.{late}");
    Some(Chart { title: "Distribution", note, plot: plot.svg() })
}

/// Freedman and Diaconis: `2 IQR / n^(1/3)`.
fn bin_width(samples: &[f64]) -> f64 {
    let at = |p| quantile(samples, p).unwrap_or(0.0);
    2.0 * (at(0.75) - at(0.25)) / (samples.len() as f64).cbrt()
}

fn blocks(measurement: &Measurement) -> Option<Chart> {
    let spans: Vec<(f64, (f64, f64, f64))> = measurement
        .blocks
        .iter()
        .enumerate()
        .filter_map(|(idx, block)| {
            let samples = sorted(&block.wall_ns);
            Some((idx as f64 + 1.0, (quantile(&samples, 0.1)?, quantile(&samples, 0.5)?, quantile(&samples, 0.9)?)))
        })
        .collect();
    if spans.len() < 2 {
        return None;
    }
    let x = Axis::over("block, in the order taken", Quantity::Count, spans.iter().map(|it| it.0))?;
    let ends = spans.iter().flat_map(|it| [it.1.0, it.1.2]);
    let y = Axis::over("time of one inference", Quantity::Cost(Metric::Latency), ends)?;
    let mut plot = Plot::new(x, y, "Median and spread of each timed block, in the order taken");
    for (block, (low, middle, high)) in spans {
        let format = |value: f64| Metric::Latency.format(value);
        let text = format!("block {block}: median {}, 80 % within {} to {}", format(middle), format(low), format(high));
        plot.span("block-span", block, (low, middle, high), &text);
    }
    let note = "Each bar holds the middle 80 % of a block, its tick the median: a trend would mean that the device warmed up or slowed down.";
    Some(Chart { title: "Steadiness", note: note.to_owned(), plot: plot.svg() })
}

fn sorted<'a>(ns: impl IntoIterator<Item = &'a u64>) -> Vec<f64> {
    let mut seconds: Vec<f64> = ns.into_iter().map(|&ns| ns as f64 * 1e-9).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

fn figures(measurement: &Measurement, summary: &Summary) -> Vec<(&'static str, String, String)> {
    let time = |seconds: f64| Metric::Latency.format(seconds);
    let interval = |(low, high): (f64, f64)| format!("{} to {}", time(low), time(high));
    let exact = |name, text| (name, text, String::new());
    let bytes = |bytes: u64| if bytes == 0 { "not told".to_owned() } else { Metric::Memory.format(bytes as f64) };
    vec![
        exact("Fastest", time(summary.min)),
        ("Median", time(summary.p50), interval(summary.p50_ci)),
        ("90th percentile", time(summary.p90), interval(summary.p90_ci)),
        exact("99th percentile", time(summary.p99)),
        exact("Mean", time(summary.mean)),
        exact("Median absolute deviation", time(summary.mad)),
        exact("Outliers", format!("{} of {}", summary.n_outliers, summary.n)),
        exact("Reading and optimising the model", time(measurement.load_ns as f64 * 1e-9)),
        exact("First run", time(measurement.first_run_ns as f64 * 1e-9)),
        exact("Peak memory while loading", bytes(measurement.load_peak_bytes)),
        exact("Peak memory while running", bytes(measurement.steady_peak_bytes)),
    ]
}

fn conditions(before: &Conditions, after: &Conditions) -> Vec<(&'static str, String, String)> {
    let told = |text: Option<String>| text.unwrap_or_else(|| "not told".to_owned());
    let mhz = |khz: u64| format!("{} MHz", khz / 1_000);
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let row = |name, read: &dyn Fn(&Conditions) -> Option<String>| (name, told(read(before)), told(read(after)));
    vec![
        row("Processor", &|it| text(&it.cpu)),
        row("Cores", &|it| Some(it.cores.to_string())),
        row("Pinned to cores", &|it| text(&it.pinned.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))),
        row("Governor", &|it| it.governor.clone()),
        row("Frequency", &|it| it.frequency_khz.map(mhz)),
        row("Frequency range", &|it| {
            it.frequency_range_khz.map(|(low, high)| format!("{} to {}", mhz(low), mhz(high)))
        }),
        row("Temperature", &|it| it.temperature_millic.map(|it| format!("{:.1} °C", it as f64 / 1e3))),
        row("Throttle bits", &|it| it.throttled.map(|bits| format!("{bits:#x}"))),
        row("Load average", &|it| it.load_average.map(|it| format!("{it:.2}"))),
        row("Load of other processes", &|it| it.other_load.map(|it| percent(it, 1))),
        row("Free memory", &|it| it.free_memory_bytes.map(|it| Metric::Memory.format(it as f64))),
        row("Kernel", &|it| text(&it.kernel)),
    ]
}

fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Local => "on this machine",
        Reach::Ssh => "over ssh",
        Reach::Adb => "over adb",
        Reach::Emulated => "on an emulator, whose time is nobody's latency",
        Reach::Recorded => "read back from a file",
    }
}

fn threads(n: usize) -> String {
    if n == 1 { "one thread".to_owned() } else { format!("{n} threads") }
}
