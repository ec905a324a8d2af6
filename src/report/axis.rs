//! Axes: the stretch of a quantity that a plot shows, its scale, and where the ticks stand.

use targets::{Dimension, Metric};

/// One axis of a plot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// What it counts, as written beside it.
    pub(super) label: String,
    /// From values to positions.
    pub(super) scale: Scale,
    /// Value and label of each tick, ascending.
    pub(super) ticks: Vec<(f64, String)>,
}

/// What the numbers along an axis are, and so how its ticks are chosen and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    /// A cost, in its SI base unit.
    Cost(Metric),
    /// A share in `[0, 1]`, written in percent.
    Share,
    /// A perplexity.
    Perplexity,
    /// A bare number.
    Number,
    /// A count, without fractions.
    Count,
}

/// A stretch of values and how it is spread over the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// Equal differences take equal lengths.
    Linear {
        /// Value at the axis' start.
        min: f64,
        /// Value at its end; above `min`.
        max: f64,
    },
    /// Equal ratios take equal lengths.
    Log {
        /// Value at the axis' start; above 0.
        min: f64,
        /// Value at its end; above `min`.
        max: f64,
    },
}

/// From this ratio on the costs of one plot stand on a logarithmic scale.
const WIDE: f64 = 30.0;
/// The same of perplexities, which are exponentials of what is learned.
const WIDE_OF_PERPLEXITY: f64 = 4.0;
/// About the most ticks of an axis; there may be one more, and on a linear one half of them missing.
const TICKS: f64 = 5.0;
/// Free space at either end, as a share of the stretch from the least value to the largest, or of
/// the value itself where it is the only one.
const MARGIN: f64 = 0.05;

impl Axis {
    /// The axis that shows all `values`; `None` without a finite one.
    pub(super) fn over(
        label: impl Into<String>,
        quantity: Quantity,
        values: impl IntoIterator<Item = f64>,
    ) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        let scale = match quantity {
            _ if high < low => return None,
            Quantity::Cost(_) if 0.0 < low && WIDE <= high / low => Scale::log(low, high),
            Quantity::Perplexity if 0.0 < low && WIDE_OF_PERPLEXITY <= high / low => Scale::log(low, high),
            Quantity::Cost(_) | Quantity::Share | Quantity::Perplexity | Quantity::Number | Quantity::Count => {
                let alone = if high == 0.0 { 1.0 } else { high.abs() };
                let stretch = if low < high { high - low } else { alone };
                let floor = if 0.0 <= low { 0.0 } else { f64::NEG_INFINITY };
                let ceiling = if quantity == Quantity::Share && high <= 1.0 { 1.0 } else { f64::INFINITY };
                Scale::Linear {
                    min: (low - MARGIN * stretch).max(floor),
                    max: (high + MARGIN * stretch).min(ceiling).max(low + MARGIN * stretch),
                }
            }
        };
        let ticks = scale.ticks(quantity);
        Some(Self { label: label.into(), scale, ticks })
    }

    /// An axis with ends of one's own; `min < max`.
    pub(super) fn between(label: impl Into<String>, quantity: Quantity, min: f64, max: f64) -> Self {
        let scale = Scale::Linear { min, max };
        Self { label: label.into(), scale, ticks: scale.ticks(quantity) }
    }
}

impl Scale {
    /// A logarithmic one that shows both.
    fn log(low: f64, high: f64) -> Self {
        let margin = (high / low).powf(MARGIN);
        Self::Log { min: low / margin, max: high * margin }
    }

    /// Where `value` stands: 0 at the axis' start, 1 at its end, outside of that beyond them.
    pub(super) fn at(self, value: f64) -> f64 {
        match self {
            Self::Linear { min, max } => (value - min) / (max - min),
            Self::Log { min, max } => (value / min).ln() / (max / min).ln(),
        }
    }

    /// Values at the start and at the end.
    pub(super) fn ends(self) -> (f64, f64) {
        match self {
            Self::Linear { min, max } | Self::Log { min, max } => (min, max),
        }
    }

    fn ticks(self, quantity: Quantity) -> Vec<(f64, String)> {
        let (min, max) = self.ends();
        let unit = unit(quantity, max);
        let least = if quantity == Quantity::Count { 1.0 } else { 0.0 };
        let step = round_up((max - min) / TICKS / unit).max(least) * unit;
        let values = match self {
            Self::Linear { .. } => {
                // Rounding must not lose the last tick.
                let (first, last) = ((min / step - 1e-6).ceil() as i64, (max / step + 1e-6).floor() as i64);
                (first..=last).map(|idx| idx as f64 * step).collect()
            }
            Self::Log { .. } if binary(quantity) => powers(min, max, 2.0, &[1.0]),
            Self::Log { .. } => powers(min, max, 10.0, &[1.0, 2.0, 5.0]),
        };
        values.into_iter().map(|value| (value, label(quantity, value, step))).collect()
    }
}

/// The least of 1, 2, 5 times a power of ten that is about `value` or more: a tick too many does not
/// hurt, half of them missing does.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|digit| digit * power);
    steps.into_iter().find(|&step| value <= step * 1.1).unwrap_or(10.0 * power)
}

/// `digit * base^k` within the ends, thinned until there is room for each.
fn powers(min: f64, max: f64, base: f64, digits: &[f64]) -> Vec<f64> {
    let (first, last) = (min.log(base).floor() as i32, max.log(base).floor() as i32);
    let all = |digits: &[f64], every: i32| -> Vec<f64> {
        let values = (first..=last).filter(|power| power.rem_euclid(every) == 0);
        let values = values.flat_map(|power| digits.iter().map(move |digit| digit * base.powi(power)));
        values.filter(|value| (min..=max).contains(value)).collect()
    };
    let full = all(digits, 1);
    if full.len() as f64 <= TICKS + 1.0 {
        return full;
    }
    let every = (1..).find(|&every| all(&[1.0], every).len() as f64 <= TICKS);
    all(&[1.0], every.expect("a step as wide as the axis leaves one tick"))
}

fn binary(quantity: Quantity) -> bool {
    match quantity {
        Quantity::Cost(metric) => metric.dimension() == Dimension::Bytes,
        Quantity::Share | Quantity::Perplexity | Quantity::Number | Quantity::Count => false,
    }
}

/// The unit in which ticks near `value` are round numbers.
fn unit(quantity: Quantity, value: f64) -> f64 {
    let Quantity::Cost(metric) = quantity else { return 1.0 };
    match metric.dimension() {
        Dimension::Bytes => (0..4).map(|power| 1024_f64.powi(power)).rfind(|&it| it <= value).unwrap_or(1.0),
        Dimension::Time => [60.0, 3_600.0].into_iter().rfind(|&it| it <= value).unwrap_or(1.0),
        Dimension::Count | Dimension::Intensity => 1.0,
    }
}

fn label(quantity: Quantity, value: f64, step: f64) -> String {
    // As many decimals as tell neighbouring ticks apart.
    let decimals = |step: f64| (-(step.log10() + 1e-9).floor()).clamp(0.0, 6.0) as usize;
    match quantity {
        Quantity::Cost(metric) => metric.format(value),
        Quantity::Share => format!("{:.*} %", decimals(100.0 * step), 100.0 * value),
        Quantity::Perplexity | Quantity::Number => format!("{value:.*}", decimals(step)),
        Quantity::Count => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(quantity: Quantity, values: [f64; 2], expected: &[&str]) {
        let axis = Axis::over("", quantity, values).expect("the values are finite");
        let labels: Vec<&str> = axis.ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, expected, "{quantity:?} {values:?}");
    }

    #[test]
    fn ticks_are_round_in_the_unit_they_are_written_in() {
        check(Quantity::Share, [0.1, 0.9], &["20 %", "40 %", "60 %", "80 %"]);
        check(Quantity::Share, [0.901, 0.909], &["90.2 %", "90.4 %", "90.6 %", "90.8 %"]);
        check(Quantity::Share, [0.0, 1.0], &["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]);
        check(Quantity::Count, [1.0, 3.0], &["1", "2", "3"]);
        check(Quantity::Number, [0.31, 2.4], &["0.5", "1.0", "1.5", "2.0", "2.5"]);
        check(Quantity::Cost(Metric::Params), [0.3e6, 1.9e6], &["500 k", "1 M", "1.5 M"]);
        check(
            Quantity::Cost(Metric::Memory),
            [26.0 * 1048576.0, 64.0 * 1048576.0],
            &["30 MiB", "40 MiB", "50 MiB", "60 MiB"],
        );
        check(Quantity::Cost(Metric::Latency), [0.011, 0.024], &["15 ms", "20 ms"]);
        check(
            Quantity::Cost(Metric::TrainTime),
            [60.0, 1_500.0],
            &["0 s", "5 min", "10 min", "15 min", "20 min", "25 min"],
        );
        check(Quantity::Perplexity, [61.0, 94.0], &["60", "70", "80", "90"]);
        check(Quantity::Perplexity, [24.0, 300.0], &["50", "100", "200"]);
        check(Quantity::Perplexity, [60.0, 2_000.0], &["100", "200", "500", "1000", "2000"]);
        check(Quantity::Cost(Metric::Latency), [0.001, 0.2], &["1 ms", "10 ms", "100 ms"]);
        check(Quantity::Cost(Metric::Flash), [20e3, 5e6], &["16 KiB", "64 KiB", "256 KiB", "1 MiB", "4 MiB"]);
        check(Quantity::Number, [0.0, 0.0], &["0.00", "0.01", "0.02", "0.03", "0.04", "0.05"]);
        check(Quantity::Cost(Metric::Params), [5e5, 5e5], &["480 k", "490 k", "500 k", "510 k", "520 k"]);
    }

    #[test]
    fn nothing_finite_is_no_axis() {
        assert_eq!(Axis::over("", Quantity::Number, []), None);
        assert_eq!(Axis::over("", Quantity::Number, [f64::NAN, f64::INFINITY]), None);
    }

    proptest! {
        #[test]
        fn every_value_and_tick_is_on_the_axis(low in 1e-9..1e12_f64, ratio in 1.0..1e6_f64, which in 0..12_usize) {
            let others = [Quantity::Share, Quantity::Perplexity, Quantity::Number, Quantity::Count];
            let quantity = Metric::ALL.get(which).map_or_else(|| others[which - 8], |&metric| Quantity::Cost(metric));
            let axis = Axis::over("", quantity, [low, low * ratio]).expect("the values are finite");
            for value in [low, low * ratio] {
                prop_assert!((-1e-9..=1.0 + 1e-9).contains(&axis.scale.at(value)));
            }
            for (value, _) in &axis.ticks {
                prop_assert!((-1e-6..=1.0 + 1e-6).contains(&axis.scale.at(*value)));
            }
            prop_assert!(axis.ticks.len() <= 7, "{:?}", axis.ticks);
        }
    }
}
