//! The budget table: each bound with its figure, how that came about, and how much is left.

use targets::{Bound, Figure, Judgement, Metric, Source};

use crate::receipt::{Judged, Receipt};

use super::plot::{Rounded, escaped, put};

/// A bound, or a cost without one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// What is bounded.
    pub(super) title: &'static str,
    /// The bound in words.
    pub(super) limit: String,
    /// `hard`, `soft`, or nothing where there is no bound.
    pub(super) kind: &'static str,
    /// The figure; a dash where there is none.
    pub(super) value: String,
    /// Its interval and what kind of interval that is; empty where the figure is exact.
    pub(super) interval: String,
    /// How the figure came about.
    pub(super) provenance: Option<Provenance>,
    /// Whether the bound is met.
    pub(super) judgement: Option<Verdict>,
    /// Share of the bound that is left at the unfavourable end of the interval.
    pub(super) head_room: String,
    /// Figure and bound on one scale: an `<svg>`.
    pub(super) picture: String,
}

/// How a figure came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Provenance {
    /// Class of the style sheet.
    pub(super) class: &'static str,
    /// One word.
    pub(super) word: &'static str,
    /// On what it rests, or what it was measured on; empty where it was counted.
    pub(super) detail: String,
}

/// A judgement as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Class of the style sheet.
    pub(super) class: &'static str,
    /// Says the same as the colour.
    pub(super) symbol: &'static str,
    /// One or two words.
    pub(super) word: &'static str,
}

/// Every bound in the order given, then every other cost that is known.
pub(super) fn rows(receipt: &Receipt) -> Vec<Row> {
    let bounded = receipt.bounds.iter().map(|judged| row(judged, receipt.cost.get(judged.bound.metric)));
    let free = Metric::ALL.into_iter().filter(|metric| receipt.bounds.iter().all(|it| it.bound.metric != *metric));
    let free = free.filter_map(|metric| Some(cost(metric, receipt.cost.get(metric)?)));
    bounded.chain(free).collect()
}

fn row(judged: &Judged, figure: Option<&Figure>) -> Row {
    let bound = &judged.bound;
    let empty = || Row {
        title: title(bound.metric),
        limit: String::new(),
        kind: "",
        value: "—".to_owned(),
        interval: String::new(),
        provenance: None,
        judgement: None,
        head_room: String::new(),
        picture: String::new(),
    };
    Row {
        limit: limit(bound),
        kind: if bound.hard { "hard" } else { "soft" },
        judgement: Some(verdict(judged.judgement)),
        head_room: figure.and_then(|figure| head_room(bound, figure)).map_or_else(String::new, signed_percent),
        picture: figure.map_or_else(String::new, |figure| picture(bound, figure)),
        ..figure.map_or_else(empty, |figure| cost(bound.metric, figure))
    }
}

fn cost(metric: Metric, figure: &Figure) -> Row {
    let range = || format!("{} to {}", metric.format(figure.low), metric.format(figure.high));
    Row {
        title: title(metric),
        limit: String::new(),
        kind: "",
        value: metric.format(figure.value),
        interval: match figure.source {
            Source::Exact => String::new(),
            Source::Estimated { .. } | Source::Measured { .. } if figure.low == figure.high => String::new(),
            Source::Estimated { .. } => format!("{}, 90 % prediction interval", range()),
            Source::Measured { .. } => format!("{}, 95 % confidence interval", range()),
        },
        provenance: Some(provenance(&figure.source)),
        judgement: None,
        head_room: String::new(),
        picture: String::new(),
    }
}

/// A metric as a heading.
pub(super) fn title(metric: Metric) -> &'static str {
    match metric {
        Metric::Params => "Parameters",
        Metric::Macs => "Multiply-accumulates",
        Metric::Activations => "Peak activations",
        Metric::Memory => "Peak memory",
        Metric::Flash => "Flash",
        Metric::Intensity => "Compute intensity",
        Metric::Latency => "Latency",
        Metric::TrainTime => "Training time",
    }
}

/// A bound in words.
pub(super) fn limit(bound: &Bound) -> String {
    let format = |value| bound.metric.format(value);
    match (bound.min, bound.max) {
        (None, None) => "no limit".to_owned(),
        (None, Some(max)) => format!("at most {}", format(max)),
        (Some(min), None) => format!("at least {}", format(min)),
        (Some(min), Some(max)) => format!("{} to {}", format(min), format(max)),
    }
}

/// How a figure came about.
pub(super) fn provenance(source: &Source) -> Provenance {
    match source {
        Source::Exact => Provenance { class: "exact", word: "counted", detail: String::new() },
        Source::Estimated { by } => Provenance { class: "estimated", word: "estimated", detail: by.clone() },
        Source::Measured { on, samples } => {
            let samples = if *samples == 1 { "1 sample".to_owned() } else { format!("{samples} samples") };
            Provenance { class: "measured", word: "measured", detail: format!("on {on}, {samples}") }
        }
    }
}

fn verdict(judgement: Judgement) -> Verdict {
    match judgement {
        Judgement::Met => Verdict { class: "good", symbol: "✓", word: "met" },
        Judgement::Broken => Verdict { class: "bad", symbol: "✕", word: "broken" },
        Judgement::CannotTell => Verdict { class: "unsure", symbol: "?", word: "cannot tell" },
        Judgement::Unknown => Verdict { class: "unsure", symbol: "?", word: "no figure" },
    }
}

/// What is left of the nearer bound, relative to it, at the end of the interval that is nearer to it.
fn head_room(bound: &Bound, figure: &Figure) -> Option<f64> {
    let above = bound.max.filter(|max| 0.0 < *max).map(|max| 1.0 - figure.high / max);
    let below = bound.min.filter(|min| 0.0 < *min).map(|min| figure.low / min - 1.0);
    above.into_iter().chain(below).reduce(f64::min).filter(|room| room.is_finite())
}

fn signed_percent(share: f64) -> String {
    let percent = (100.0 * share).round();
    if percent < 0.0 { format!("−{} %", -percent) } else { format!("{} %", percent.abs()) }
}

const WIDTH: f64 = 150.0;
const HEIGHT: f64 = 22.0;

/// A line from zero with the figure's interval on it, and what lies outside of the bound shaded.
fn picture(bound: &Bound, figure: &Figure) -> String {
    let ends = [bound.min, bound.max, Some(figure.high)].into_iter().flatten().filter(|it| it.is_finite());
    let end = 1.15 * ends.fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| Rounded((value / end).clamp(0.0, 1.0) * WIDTH);
    let title = escaped(&format!("{}, bound: {}", figure.describe(bound.metric), limit(bound)));
    let mut svg = format!(
        r#"<svg class="bullet" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title><path class="track" d="M0 11H{WIDTH}"/>"#
    );
    let outside = [bound.max.map(|max| (max, end, max)), bound.min.map(|min| (0.0, min, min))];
    for (from, to, limit) in outside.into_iter().flatten() {
        let (left, width, limit) = (at(from), Rounded(at(to).0 - at(from).0), at(limit));
        put(
            &mut svg,
            format_args!(
                r#"<rect class="outside" x="{left}" y="2" width="{width}" height="18"/><path class="limit" d="M{limit} 0V22"/>"#
            ),
        );
    }
    let (low, high, value) = (at(figure.low), at(figure.high), at(figure.value));
    put(
        &mut svg,
        format_args!(
            r#"<path class="interval" d="M{low} 11H{high}"/><circle class="value" cx="{value}" cy="11" r="4"/></svg>"#
        ),
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(min: Option<f64>, max: Option<f64>) -> Bound {
        Bound { metric: Metric::Latency, min, max, hard: true }
    }

    fn figure(low: f64, value: f64, high: f64) -> Figure {
        Figure { value, low, high, source: Source::Estimated { by: "not measured on rpi4".to_owned() } }
    }

    #[test]
    fn head_room_counts_from_the_unfavourable_end() {
        let check = |bound: Bound, figure: Figure, expected: Option<&str>| {
            assert_eq!(head_room(&bound, &figure).map(signed_percent).as_deref(), expected, "{bound:?}");
        };
        check(bound(None, Some(0.02)), figure(0.008, 0.01, 0.015), Some("25 %"));
        check(bound(None, Some(0.02)), figure(0.008, 0.01, 0.025), Some("−25 %"));
        check(bound(Some(0.01), None), figure(0.012, 0.02, 0.03), Some("20 %"));
        check(bound(Some(0.01), Some(0.1)), figure(0.011, 0.02, 0.03), Some("10 %"));
        check(bound(None, Some(0.0)), figure(0.011, 0.02, 0.03), None);
        check(bound(None, None), figure(0.011, 0.02, 0.03), None);
    }

    #[test]
    fn an_estimate_is_never_called_measured() {
        let row = cost(Metric::Latency, &figure(0.008, 0.01, 0.015));
        let provenance = row.provenance.expect("a figure has a source");
        assert_eq!((provenance.class, provenance.word), ("estimated", "estimated"));
        assert_eq!(provenance.detail, "not measured on rpi4");
        assert_eq!(row.interval, "8 ms to 15 ms, 90 % prediction interval");
    }

    #[test]
    fn the_picture_stays_inside_its_box() {
        let svg = picture(&bound(Some(0.001), Some(0.02)), &figure(0.0, 0.01, f64::INFINITY));
        let interval = format!(r#"class="interval" d="M0 11H{WIDTH}""#);
        assert!(svg.contains(&interval) && !svg.contains("NaN"), "{svg}");
    }
}
