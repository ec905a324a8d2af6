//! Kinds of boards, each a file: the ones built in, and any that a user writes.

use std::{collections::BTreeMap, path::Path, sync::LazyLock};

use serde::{Deserialize, Serialize};

use crate::{
    budget::{Bound, Budget, Metric},
    counts::CountScale,
    latency::{FitReport, LatencyTable},
    memory::MemoryModel,
    quantity::QuantityError,
    roofline::{FarBelow, Roofline},
    work::Work,
};

/// A kind of board. Its address is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// Name on the command line.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Rust target triple of its programs.
    pub triple: String,
    /// CPU cores.
    pub cores: usize,
    /// Lowest and highest clock of a core, in MHz; absent where the kind leaves it open.
    pub clock_mhz: Option<[f64; 2]>,
    /// Memory of the smallest board of the kind, in bytes.
    pub memory_bytes: u64,
    /// Threads that a model may use.
    pub threads: usize,
    /// Percentile of latency that is promised, 0 to 1.
    pub percentile: f64,
    /// Bounds that hold unless the user sets others.
    pub budget: Budget,
    /// Prices of operations.
    pub latency: LatencyTable,
    /// Memory beyond weights and activations.
    pub memory: MemoryModel,
    /// How an emulator becomes this board's processor.
    pub emulator: Option<Processor>,
    /// Time of instructions.
    pub counts: Option<CountScale>,
    /// What the hardware allows at most; absent where nobody has written it down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roofline: Option<Roofline>,
    /// What a user should know.
    pub notes: String,
}

/// A processor, as an emulator is told to be it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// The emulator's name for it, such as `cortex-a72`.
    pub processor: String,
    /// Variables that tell the engine what it cannot see in an emulator, so that it takes the kernels
    /// that it takes on the board.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// Why there is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Neither a built-in name nor a file.
    #[error("no target {name:?}; built in are {known}, and a path to a target file works as well")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names built in.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read target file {path}: {error}")]
    Read {
        /// Path of the file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is not a target.
    #[error("{path} is not a target file: {error}")]
    Format {
        /// Path of the file.
        path: String,
        /// What is wrong, and where.
        error: Box<toml::de::Error>,
    },
    /// A bound in the file has no meaning.
    #[error("{path}: budget.{metric}: {error}")]
    Bound {
        /// Path of the file.
        path: String,
        /// The bounded metric.
        metric: &'static str,
        /// What is wrong with it.
        error: QuantityError,
    },
    /// A number in the file is out of range.
    #[error("{path}: {field} must be {expected}")]
    Range {
        /// Path of the file.
        path: String,
        /// The field.
        field: String,
        /// What it must be.
        expected: &'static str,
    },
}

/// The files built in, with their paths for errors.
const FILES: [(&str, &str); 8] = [
    ("targets/rpi4.toml", include_str!("../rpi4.toml")),
    ("targets/rpi5.toml", include_str!("../rpi5.toml")),
    ("targets/rpi3.toml", include_str!("../rpi3.toml")),
    ("targets/rpi-zero2w.toml", include_str!("../rpi-zero2w.toml")),
    ("targets/aarch64.toml", include_str!("../aarch64.toml")),
    ("targets/armv7.toml", include_str!("../armv7.toml")),
    ("targets/android.toml", include_str!("../android.toml")),
    ("targets/host.toml", include_str!("../host.toml")),
];

static BUILTIN: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let parse = |(path, text)| Target::parse(path, text).expect("the files built in are tested");
    FILES.into_iter().map(parse).collect()
});

impl Target {
    /// The target built in under this name, or the one in the file at this path.
    ///
    /// # Errors
    /// There is neither, or the file is not a target.
    pub fn find(name_or_path: &str) -> Result<Self, TargetError> {
        if let Some(target) = Self::builtin().iter().find(|target| target.name == name_or_path) {
            return Ok(target.clone());
        }
        let path = Path::new(name_or_path);
        let is_path = path.components().count() > 1 || path.extension().is_some() || path.is_file();
        if !is_path {
            let names: Vec<&str> = Self::builtin().iter().map(|target| target.name.as_str()).collect();
            return Err(TargetError::Unknown { name: name_or_path.to_owned(), known: names.join(", ") });
        }
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|error| TargetError::Read { path: name_or_path.to_owned(), error })?;
        Self::parse(name_or_path, &text)
    }

    /// The work of a fit that costs many times what the hardware allows, the worst first; none where
    /// nothing is known of the hardware.
    pub fn far_below(&self, fit: &FitReport) -> Vec<FarBelow> {
        let known = self.roofline.as_ref().zip(self.clock_mhz);
        known.map(|(roofline, [_, mhz])| roofline.far_below(mhz, fit)).unwrap_or_default()
    }

    /// The targets built in.
    pub fn builtin() -> &'static [Self] {
        &BUILTIN
    }

    /// A target from the text of its file; `path` is for errors.
    ///
    /// # Errors
    /// The text is not a target.
    pub fn parse(path: &str, text: &str) -> Result<Self, TargetError> {
        let mut file: File = toml::from_str(text)
            .map_err(|error| TargetError::Format { path: path.to_owned(), error: Box::new(error) })?;
        file.latency.complete();
        file.check().map_err(|(field, expected)| TargetError::Range { path: path.to_owned(), field, expected })?;
        let bounds = file.budget.iter().map(|(&metric, text)| {
            let parse = |text: &Option<String>| text.as_deref().map(|text| metric.parse(text)).transpose();
            let bound =
                |text: &Limits| Ok(Bound { metric, min: parse(&text.min)?, max: parse(&text.max)?, hard: !text.soft });
            bound(text).map_err(|error| TargetError::Bound { path: path.to_owned(), metric: metric.name(), error })
        });
        Ok(Self {
            budget: Budget { bounds: bounds.collect::<Result<_, _>>()? },
            name: file.name,
            title: file.title,
            triple: file.triple,
            cores: file.cores,
            clock_mhz: file.clock_mhz,
            memory_bytes: file.memory_bytes,
            threads: file.threads,
            percentile: file.percentile,
            latency: file.latency,
            memory: file.memory,
            emulator: file.emulator,
            counts: file.counts,
            roofline: file.roofline,
            notes: file.notes,
        })
    }
}

/// A target as its file states it: bounds carry units.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    title: String,
    triple: String,
    cores: usize,
    clock_mhz: Option<[f64; 2]>,
    memory_bytes: u64,
    threads: usize,
    #[serde(default = "usual_percentile")]
    percentile: f64,
    #[serde(default)]
    budget: BTreeMap<Metric, Limits>,
    latency: LatencyTable,
    memory: MemoryModel,
    emulator: Option<Processor>,
    counts: Option<CountScale>,
    roofline: Option<Roofline>,
    #[serde(default)]
    notes: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    min: Option<String>,
    max: Option<String>,
    #[serde(default)]
    soft: bool,
}

fn usual_percentile() -> f64 {
    0.9
}

impl File {
    /// The first field out of range, and what it must be.
    fn check(&self) -> Result<(), (String, &'static str)> {
        let positive = |value: f64| 0.0 < value && value.is_finite();
        let around_one = |[low, high]: [f64; 2]| positive(low) && low <= 1.0 && 1.0 <= high && high.is_finite();
        let mut rules = vec![
            ("cores".to_owned(), 0 < self.cores, "at least 1"),
            ("memory_bytes".to_owned(), 0 < self.memory_bytes, "at least 1"),
            ("threads".to_owned(), (1..=self.cores).contains(&self.threads), "from 1 to the number of cores"),
            ("percentile".to_owned(), 0.0 < self.percentile && self.percentile < 1.0, "between 0 and 1"),
            (
                "latency.interval".to_owned(),
                around_one(self.latency.interval),
                "a factor of at most 1 and one of at least 1",
            ),
            (
                "memory.interval".to_owned(),
                around_one(self.memory.interval),
                "a factor of at most 1 and one of at least 1",
            ),
        ];
        for work in Work::ALL {
            let price = self.latency.ns_per_unit.get(&work);
            // A price of zero could never be scaled to what is measured.
            rules.push((
                format!("latency.ns_per_unit.{}", work.name()),
                price.is_some_and(|&ns| positive(ns)),
                "given, and above 0",
            ));
        }
        let MemoryModel { base_bytes, per_weight_byte, per_activation_byte, .. } = self.memory;
        for (field, value) in [
            ("base_bytes", base_bytes),
            ("per_weight_byte", per_weight_byte),
            ("per_activation_byte", per_activation_byte),
        ] {
            rules.push((format!("memory.{field}"), 0.0 <= value && value.is_finite(), "at least 0"));
        }
        if let Some(CountScale { ns_per_instruction, by_op, ns_per_byte, interval, .. }) = &self.counts {
            let is_price = |ns: f64| 0.0 <= ns && ns.is_finite();
            rules.push(("counts.ns_per_instruction".to_owned(), positive(*ns_per_instruction), "above 0"));
            rules.push(("counts.ns_per_byte".to_owned(), is_price(*ns_per_byte), "at least 0"));
            rules.push(("counts.by_op".to_owned(), by_op.values().all(|&ns| is_price(ns)), "at least 0"));
            rules.push((
                "counts.interval".to_owned(),
                around_one(*interval),
                "a factor of at most 1 and one of at least 1",
            ));
        }
        if let Some([low, high]) = self.clock_mhz {
            let is_range = positive(low) && low <= high && high.is_finite();
            rules.push(("clock_mhz".to_owned(), is_range, "the lowest and the highest clock, above 0"));
        }
        if let Some(Roofline { flops_per_cycle, copied_bytes_per_second, .. }) = self.roofline {
            let is_clocked = self.clock_mhz.is_some();
            rules.push(("clock_mhz".to_owned(), is_clocked, "given where there is a roofline"));
            for (field, value) in
                [("flops_per_cycle", flops_per_cycle), ("copied_bytes_per_second", copied_bytes_per_second)]
            {
                rules.push((format!("roofline.{field}"), positive(value), "above 0"));
            }
        }
        match rules.into_iter().find(|rule| !rule.1) {
            Some((field, _, expected)) => Err((field, expected)),
            None => Ok(()),
        }
    }
}
