//! A small plot as SVG: axes, points, lines, bars and marks, coloured by the page's style sheet.

use std::fmt::Write;

use askama::filters::{Escaper, Html};

use super::axis::Axis;

/// A plot that is being drawn. Later marks cover earlier ones.
///
/// Sizes are in the units of the view box, which the page shows at about one pixel each, on a wide
/// screen as on a phone: text keeps its size.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    about: String,
    body: String,
}

/// A point that stands for one thing, told apart by form as well as by colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Small and round.
    Dot,
    /// A diamond.
    Diamond,
    /// A star of five points.
    Star,
}

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 42.0;
/// Width of a letter, on the generous side.
const LETTER: f64 = 7.0;
/// Height of a line of text.
const LINE: f64 = 15.0;

impl Plot {
    /// An empty plot; `about` says in a sentence what it shows, for those who do not see it.
    pub(super) fn new(x: Axis, y: Axis, about: impl Into<String>) -> Self {
        Self { x, y, about: about.into(), body: String::new() }
    }

    /// Many dots as one shape, without words of their own.
    pub(super) fn dots(&mut self, class: &str, points: &[(f64, f64)]) {
        // A line of no length with round ends is a dot, in a dozen bytes.
        self.scatter(class, points, "h0");
    }

    /// Many crosses, likewise.
    pub(super) fn crosses(&mut self, class: &str, points: &[(f64, f64)]) {
        self.scatter(class, points, "m-2-2l4 4m0-4l-4 4");
    }

    fn scatter(&mut self, class: &str, points: &[(f64, f64)], mark: &str) {
        let mut path = String::new();
        for &(x, y) in points {
            let (x, y) = self.place(x, y);
            put(&mut path, format_args!("M{x} {y}{mark}"));
        }
        put(&mut self.body, format_args!(r#"<path class="{class}" d="{path}"/>"#));
    }

    /// A line from point to point.
    pub(super) fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (idx, &(x, y)) in points.iter().enumerate() {
            let (x, y) = self.place(x, y);
            put(&mut path, format_args!("{}{x} {y}", if idx == 0 { "M" } else { "L" }));
        }
        put(&mut self.body, format_args!(r#"<path class="{class}" d="{path}"/>"#));
    }

    /// A stair that keeps each point's height until the next one, and the last one's to `end`.
    pub(super) fn stair(&mut self, class: &str, points: &[(f64, f64)], end: f64) {
        let mut path = String::new();
        for (idx, &(x, y)) in points.iter().enumerate() {
            let (x, y) = self.place(x, y);
            match idx {
                0 => put(&mut path, format_args!("M{x} {y}")),
                _ => put(&mut path, format_args!("H{x}V{y}")),
            }
        }
        let (end, _) = self.place(end, 0.0);
        put(&mut self.body, format_args!(r#"<path class="{class}" d="{path}H{end}"/>"#));
    }

    /// One point with a text that appears under the pointer.
    pub(super) fn mark(&mut self, class: &str, shape: Shape, (x, y): (f64, f64), title: &str) {
        let (x, y) = self.place(x, y);
        let title = escaped(title);
        let path = match shape {
            Shape::Dot => "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
            Shape::Diamond => "m0-6l6 6l-6 6l-6-6z",
            Shape::Star => "m0-8.5l2.5 5.2l5.6.8l-4.1 4l1 5.7l-5-2.7l-5 2.7l1-5.7l-4.1-4l5.6-.8z",
        };
        put(&mut self.body, format_args!(r#"<path class="{class}" d="M{x} {y}{path}"><title>{title}</title></path>"#));
    }

    /// The interval of a value along the x axis.
    pub(super) fn whisker(&mut self, class: &str, y: f64, (low, high): (f64, f64)) {
        let ((low, y), (high, _)) = (self.place(low, y), self.place(high, y));
        put(&mut self.body, format_args!(r#"<path class="{class}" d="M{low} {y}H{high}m0-4v8M{low} {y}m0-4v8"/>"#));
    }

    /// Shades the stretch of the x axis from `low` to `high`, cut to the plot.
    pub(super) fn shade(&mut self, class: &str, (low, high): (f64, f64), title: &str) {
        let (min, max) = self.x.scale.ends();
        let ((low, _), (high, _)) = (self.place(low.clamp(min, max), 0.0), self.place(high.clamp(min, max), 0.0));
        let (top, height, width, title) = (TOP, HEIGHT - TOP - BOTTOM, Rounded(high.0 - low.0), escaped(title));
        put(
            &mut self.body,
            format_args!(
                r#"<rect class="{class}" x="{low}" y="{top}" width="{width}" height="{height}"><title>{title}</title></rect>"#
            ),
        );
    }

    /// A vertical line with its label above the frame, or `level` lines lower.
    pub(super) fn rule(&mut self, class: &str, x: f64, label: &str, level: usize) {
        let (x, _) = self.place(x, 0.0);
        let bottom = HEIGHT - BOTTOM;
        let y = TOP - 4.0 + LINE * level as f64;
        let is_room = x.0 + 4.0 + LETTER * label.chars().count() as f64 <= WIDTH - RIGHT;
        let (anchor, at) = if is_room { ("start", x.0 + 4.0) } else { ("end", x.0 - 4.0) };
        let (at, label) = (Rounded(at), escaped(label));
        put(
            &mut self.body,
            format_args!(
                r#"<path class="{class}" d="M{x} {TOP}V{bottom}"/><text class="{class} halo" x="{at}" y="{y}" text-anchor="{anchor}">{label}</text>"#
            ),
        );
    }

    /// A word above the right or left edge, for something that lies beyond it.
    pub(super) fn beyond(&mut self, class: &str, right: bool, label: &str) {
        let (x, anchor) = if right { (WIDTH - RIGHT, "end") } else { (LEFT, "start") };
        let (y, label) = (TOP - 4.0, escaped(label));
        put(
            &mut self.body,
            format_args!(r#"<text class="{class} halo" x="{x}" y="{y}" text-anchor="{anchor}">{label}</text>"#),
        );
    }

    /// A bar from the axis up, between two values of x.
    pub(super) fn bar(&mut self, class: &str, (low, high): (f64, f64), y: f64, title: &str) {
        let ((left, top), (right, _)) = (self.place(low, y), self.place(high, y));
        // A hair's breadth keeps neighbours apart.
        let (width, height) = (Rounded((right.0 - left.0 - 1.0).max(0.5)), Rounded(HEIGHT - BOTTOM - top.0));
        let title = escaped(title);
        put(
            &mut self.body,
            format_args!(
                r#"<rect class="{class}" x="{left}" y="{top}" width="{width}" height="{height}"><title>{title}</title></rect>"#
            ),
        );
    }

    /// A vertical bar between two values of y, with a mark at a third: a box without whiskers.
    pub(super) fn span(&mut self, class: &str, x: f64, (low, middle, high): (f64, f64, f64), title: &str) {
        let ((x, low), (_, high), (_, middle)) = (self.place(x, low), self.place(x, high), self.place(x, middle));
        let title = escaped(title);
        put(
            &mut self.body,
            format_args!(
                r#"<path class="{class}" d="M{x} {low}V{high}M{x} {middle}m-6 0h12"><title>{title}</title></path>"#
            ),
        );
    }

    /// The finished `<svg>` element.
    pub(super) fn svg(self) -> String {
        let about = escaped(&self.about);
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let mut svg = format!(r#"<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{about}">"#);
        for (value, label) in &self.y.ticks {
            let (_, y) = self.place(0.0, *value);
            let (text, at, label) = (LEFT - 6.0, Rounded(y.0 + 4.0), escaped(label));
            put(
                &mut svg,
                format_args!(
                    r#"<path class="grid" d="M{LEFT} {y}H{right}"/><text x="{text}" y="{at}" text-anchor="end">{label}</text>"#
                ),
            );
        }
        for (value, label) in &self.x.ticks {
            let (x, _) = self.place(*value, 0.0);
            let (end, text, label) = (bottom + 4.0, bottom + 17.0, escaped(label));
            put(
                &mut svg,
                format_args!(
                    r#"<path class="tick" d="M{x} {bottom}V{end}"/><text x="{x}" y="{text}" text-anchor="middle">{label}</text>"#
                ),
            );
        }
        let (x_label, y_label) = (escaped(&self.x.label), escaped(&self.y.label));
        let (below, middle) = (HEIGHT - 6.0, (LEFT + right) / 2.0);
        let body = self.body;
        put(
            &mut svg,
            format_args!(
                r#"<text class="label" x="4" y="14">{y_label}</text><text class="label" x="{middle}" y="{below}" text-anchor="middle">{x_label}</text>{body}<path class="frame" d="M{LEFT} {TOP}V{bottom}H{right}"/></svg>"#
            ),
        );
        svg
    }

    fn place(&self, x: f64, y: f64) -> (Rounded, Rounded) {
        let across = LEFT + self.x.scale.at(x) * (WIDTH - LEFT - RIGHT);
        let down = HEIGHT - BOTTOM - self.y.scale.at(y) * (HEIGHT - TOP - BOTTOM);
        (Rounded(across), Rounded(down))
    }
}

/// A coordinate, written with one decimal: a tenth of a pixel is finer than any eye.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rounded(pub(super) f64);

impl std::fmt::Display for Rounded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", (self.0 * 10.0).round() / 10.0)
    }
}

/// `text` with the characters that mean something in HTML and SVG replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    Html.write_escaped_str(&mut safe, text).expect("a string takes every write");
    safe
}

/// Appends to a string, which cannot fail.
pub(super) fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes every write");
}

/// At most `n` of `items`, evenly spaced, the first and the last among them: more would only
/// cover each other and weigh the page down.
pub(super) fn thinned<T: Copy>(items: &[T], n: usize) -> Vec<T> {
    if items.len() <= n || n < 2 {
        return items.to_vec();
    }
    (0..n).map(|idx| items[idx * (items.len() - 1) / (n - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::axis::Quantity, *};

    fn plot() -> Plot {
        Plot::new(
            Axis::between("x", Quantity::Number, 0.0, 10.0),
            Axis::between("<y>", Quantity::Share, 0.0, 1.0),
            "\"a\" & b",
        )
    }

    #[test]
    fn values_become_places() {
        let mut it = plot();
        it.dots("d", &[(0.0, 0.0), (10.0, 1.0)]);
        it.line("l", &[(0.0, 0.5), (5.0, 1.0)]);
        it.stair("s", &[(0.0, 0.0), (5.0, 1.0)], 10.0);
        for expected in [
            r#"class="d" d="M52 208h0M364 36h0""#,
            r#"class="l" d="M52 122L208 36""#,
            r#"class="s" d="M52 208H208V36H364""#,
        ] {
            assert!(it.body.contains(expected), "{expected} is not in {}", it.body);
        }
    }

    #[test]
    fn labels_and_titles_are_escaped() {
        let mut it = plot();
        it.mark("m", Shape::Star, (1.0, 0.5), "</title><script>");
        it.rule("r", 9.0, "a<b", 0);
        it.beyond("r", true, "<i>");
        it.bar("b", (1.0, 2.0), 0.5, "\"");
        let svg = it.svg();
        for hostile in ["<script", "<y>", "<i>", "a<b", "\"a\""] {
            assert!(!svg.contains(hostile), "{hostile} in {svg}");
        }
        assert!(svg.contains(r#"aria-label="&#34;a&#34; &#38; b""#));
    }

    #[test]
    fn thinning_keeps_both_ends() {
        let items: Vec<usize> = (0..1_000).collect();
        let kept = thinned(&items, 7);
        assert_eq!((kept.len(), kept[0], kept[6]), (7, 0, 999));
        assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(thinned(&items[..5], 7), &items[..5]);
    }
}
