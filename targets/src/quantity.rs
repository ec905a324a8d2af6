//! Numbers with units as people write them: `2M`, `64MiB`, `20ms`, `7.1 FLOPs/B`.

/// What a number counts, and so which units it may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Things, bare or with `k`, `M` or `G`.
    Count,
    /// Memory, in bytes.
    Bytes,
    /// Time, in seconds.
    Time,
    /// Compute intensity, in FLOPs per byte; the unit may be left out.
    Intensity,
}

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Nothing but blanks.
    #[error("the quantity is empty; write for instance {example}")]
    Empty {
        /// A quantity of the right kind.
        example: &'static str,
    },
    /// It does not start with a decimal number.
    #[error("{text:?} does not start with a number; write for instance {example}")]
    NotANumber {
        /// What was written.
        text: String,
        /// A quantity of the right kind.
        example: &'static str,
    },
    /// A minus sign.
    #[error("{text:?} is negative; write for instance {example}")]
    Negative {
        /// What was written.
        text: String,
        /// A quantity of the right kind.
        example: &'static str,
    },
    /// A bare number where it could mean several things.
    #[error("{text:?} has no unit; write for instance \"{text}{unit}\" (units: {units})")]
    NoUnit {
        /// What was written.
        text: String,
        /// The likeliest unit.
        unit: &'static str,
        /// All units.
        units: String,
    },
    /// Something other than a unit after the number.
    #[error("{text:?} ends in {unit:?}, which is not a unit here (units: {units})")]
    UnknownUnit {
        /// What was written.
        text: String,
        /// What follows the number.
        unit: String,
        /// All units.
        units: String,
    },
    /// A fraction of a thing.
    #[error("{text:?} is not a whole number; write for instance {example}")]
    Fraction {
        /// What was written.
        text: String,
        /// A quantity of the right kind.
        example: &'static str,
    },
    /// More than `LARGEST`.
    #[error("{text:?} is larger than any budget can be; write for instance {example}")]
    TooLarge {
        /// What was written.
        text: String,
        /// A quantity of the right kind.
        example: &'static str,
    },
}

/// Largest quantity accepted, in base units; whole numbers up to it are exact in an `f64`.
const LARGEST: f64 = 1e15;

/// A unit: its spelling, its size in base units, and whether numbers are printed in it.
struct Unit(&'static str, f64, bool);

const COUNTS: &[Unit] = &[Unit("", 1.0, true), Unit("k", 1e3, true), Unit("M", 1e6, true), Unit("G", 1e9, true)];

const BYTES: &[Unit] = &[
    Unit("B", 1.0, true),
    Unit("kB", 1e3, false),
    Unit("KiB", 1024.0, true),
    Unit("MB", 1e6, false),
    Unit("MiB", 1_048_576.0, true),
    Unit("GB", 1e9, false),
    Unit("GiB", 1_073_741_824.0, true),
];

const TIMES: &[Unit] = &[
    Unit("ns", 1e-9, true),
    Unit("us", 1e-6, false),
    Unit("µs", 1e-6, true),
    // The Greek letter, which looks the same as the micro sign above.
    Unit("μs", 1e-6, false),
    Unit("ms", 1e-3, true),
    Unit("s", 1.0, true),
    Unit("min", 60.0, true),
    Unit("h", 3_600.0, true),
];

const INTENSITIES: &[Unit] = &[Unit("FLOPs/B", 1.0, true), Unit("FLOPs/byte", 1.0, false), Unit("", 1.0, false)];

impl Dimension {
    /// The value of `text` in base units: things, bytes, seconds, FLOPs per byte.
    ///
    /// # Errors
    /// The text is not one number that is at least zero and at most 10^15, followed by one unit.
    pub fn parse(self, text: &str) -> Result<f64, QuantityError> {
        let (whole, example) = (text.trim(), self.example());
        let text = || whole.to_owned();
        if whole.is_empty() {
            return Err(QuantityError::Empty { example });
        }
        if whole.starts_with(['-', '−']) {
            return Err(QuantityError::Negative { text: text(), example });
        }
        let end = whole.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(whole.len());
        let (number, unit) = (&whole[..end], whole[end..].trim_start());
        let number: f64 = number.parse().map_err(|_| QuantityError::NotANumber { text: text(), example })?;
        let Some(Unit(_, size, _)) = self.units().iter().find(|known| known.0 == unit) else {
            if unit.is_empty() {
                return Err(QuantityError::NoUnit { text: text(), unit: self.likely_unit(), units: self.unit_names() });
            }
            return Err(QuantityError::UnknownUnit { text: text(), unit: unit.to_owned(), units: self.unit_names() });
        };
        let value = number * size;
        // A number of 400 digits is an infinity here.
        if LARGEST < value {
            return Err(QuantityError::TooLarge { text: text(), example });
        }
        if self == Self::Count && unit.is_empty() && number.fract() != 0.0 {
            return Err(QuantityError::Fraction { text: text(), example });
        }
        Ok(value)
    }

    /// `value`, in base units, with three significant digits or, from 100 on, without decimals.
    pub fn format(self, value: f64) -> String {
        if !value.is_finite() {
            return value.to_string();
        }
        // Compared after rounding: 999.7 ms is printed as 1 s. Below every unit the smallest serves,
        // and zero is zero of the base unit.
        let printed = || self.units().iter().filter(|unit| unit.2);
        let largest = printed().rev().find(|unit| round(value / unit.1) >= 1.0);
        let fallback = || printed().find(|unit| value != 0.0 || unit.1 == 1.0);
        let Unit(name, size, _) = largest.or_else(fallback).expect("every dimension prints its base unit");
        let number = round(value / size);
        if name.is_empty() { format!("{number}") } else { format!("{number} {name}") }
    }

    fn units(self) -> &'static [Unit] {
        match self {
            Self::Count => COUNTS,
            Self::Bytes => BYTES,
            Self::Time => TIMES,
            Self::Intensity => INTENSITIES,
        }
    }

    fn unit_names(self) -> String {
        let ascii = self.units().iter().map(|unit| unit.0).filter(|name| name.is_ascii() && !name.is_empty());
        ascii.collect::<Vec<_>>().join(", ")
    }

    fn likely_unit(self) -> &'static str {
        match self {
            Self::Count => "k",
            Self::Bytes => "MiB",
            Self::Time => "ms",
            Self::Intensity => "FLOPs/B",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Count => "2M or 1500",
            Self::Bytes => "64MiB",
            Self::Time => "20ms",
            Self::Intensity => "7.5",
        }
    }
}

/// `value` to three significant digits, or to a whole number from 100 on.
fn round(value: f64) -> f64 {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}
