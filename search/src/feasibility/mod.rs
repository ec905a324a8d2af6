//! Why no network meets a budget and what would have to give; and of a budget that is met, what each bound costs.
//!
//! A [`Certificate`] says what no network of a space can do without: that is proven. [`Judged`] are networks of known
//! cost: which bounds none of them meets together, what would have to give, and what each bound costs. Where they are
//! the whole space, that is exact; else it is what was seen, and an [`Explanation`] never calls the one the other.
//!
//! ```
//! use search::feasibility::{Certificate, Explanation};
//! use search::space::{Scale, Task, cell::CellSpace};
//! use targets::{Bound, Budget, CostModel, Metric, Target};
//!
//! let scale = Scale { layers: 3, channels: 4, input: [1, 8, 8], classes: 10, front_end: None, task: Task::Classification };
//! let model = CostModel::new(Target::find("rpi4")?);
//! let certificate = Certificate::bounded(&CellSpace::default(), &scale, &model)?;
//! let bound = Bound { metric: Metric::Params, min: None, max: Some(100.0), hard: true };
//! let why = Explanation::new(&Budget { bounds: vec![bound] }, &[], false, Some(certificate));
//! assert!(why.to_string().contains("params at most 100: impossible"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod certificate;
mod explanation;
mod prices;
mod relaxation;
mod words;

pub use certificate::{COUNTABLE, Certificate, Extreme, Reach, price_all};
pub use explanation::{Explanation, Standing};
pub use prices::{Better, Binding, Price};
pub use relaxation::Change;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use targets::{Budget, Cost, Figure, Metric};

use crate::study::{Phase, Trial};

/// A network of known cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known<'a> {
    /// In `[0, 1]`; absent where it was not trained, or not so that it compares with the others.
    pub accuracy: Option<f64>,
    /// At its deployed size.
    pub cost: &'a Cost,
}

impl<'a> Known<'a> {
    /// The networks of a study, each once, with its last cost.
    ///
    /// Accuracies are those of the first strategy, since another has shared weights of its own; of those the ones
    /// after the longest training, or where weights were shared the ones of candidates, since the others were scored
    /// while the weights were still being trained.
    pub fn of_trials(trials: &'a [Trial]) -> Vec<Self> {
        let strategy = trials.first().map(|it| &it.strategy);
        let longest = trials.iter().filter_map(|it| it.epochs).max();
        let compares = |trial: &Trial| {
            Some(&trial.strategy) == strategy
                && if longest.is_some() { trial.epochs == longest } else { trial.phase == Phase::Select }
        };
        let mut places = BTreeMap::new();
        let mut known: Vec<Self> = Vec::new();
        for trial in trials {
            let accuracy = trial.accuracy.filter(|_| compares(trial));
            let place = *places.entry(trial.arch.to_string()).or_insert(known.len());
            match known.get_mut(place) {
                Some(it) => *it = Self { accuracy: accuracy.or(it.accuracy), cost: &trial.cost },
                None => known.push(Self { accuracy, cost: &trial.cost }),
            }
        }
        known
    }
}

/// One side of the hard bounds on a metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// What is limited.
    pub metric: Metric,
    /// From which side.
    pub side: Side,
    /// In the metric's SI base unit; itself allowed.
    pub value: f64,
}

/// From which side a metric is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Nothing above.
    Max,
    /// Nothing below.
    Min,
}

impl Limit {
    /// The hard bounds of a budget, each side for itself; of several on one side the tightest, which decides.
    pub fn all(budget: &Budget) -> Vec<Self> {
        let mut limits: Vec<Self> = Vec::new();
        for bound in budget.bounds.iter().filter(|bound| bound.hard) {
            for (side, value) in [(Side::Min, bound.min), (Side::Max, bound.max)] {
                let Some(value) = value else { continue };
                let limit = Self { metric: bound.metric, side, value };
                match limits.iter_mut().find(|it| (it.metric, it.side) == (bound.metric, side)) {
                    Some(known) if known.allows(value) => *known = limit,
                    Some(_) => {}
                    None => limits.push(limit),
                }
            }
        }
        limits
    }

    /// Whether a value is inside.
    pub fn allows(&self, value: f64) -> bool {
        match self.side {
            Side::Max => value <= self.value,
            Side::Min => self.value <= value,
        }
    }

    /// The least that the limit would have to be for this cost to be admitted; `None` where it is not known.
    pub fn needed(&self, cost: &Cost) -> Option<f64> {
        cost.get(self.metric).map(|figure| self.side.decides(figure))
    }

    /// How far this limit must move to be at `value`, relative to the lesser of the two: 0 inside, 1 for twice an upper
    /// or half a lower limit, as [`targets::Bound::excess`]. Infinite where an upper limit is zero or a lower one must
    /// become zero.
    pub fn relative(&self, value: f64) -> f64 {
        match self.side {
            _ if self.allows(value) => 0.0,
            Side::Max => value / self.value - 1.0,
            Side::Min => self.value / value - 1.0,
        }
    }

    /// This limit moved out by `step`, or in by a negative one.
    #[must_use]
    pub fn moved(&self, step: f64) -> Self {
        let value = match self.side {
            Side::Max => self.value + step,
            Side::Min => self.value - step,
        };
        Self { value, ..*self }
    }

    /// A limit for people that allows no less than this one: rounded outwards.
    fn in_round_numbers(&self) -> String {
        let mut moved = *self;
        // Three digits are off by half a percent at most.
        for _ in 0..60 {
            let text = self.metric.format(moved.value);
            if self.metric.parse(&text).is_ok_and(|value| Self { value, ..*self }.allows(self.value)) {
                return text;
            }
            moved = moved.moved(2e-4 * moved.value);
        }
        self.metric.format(self.value)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Max => "at most",
            Side::Min => "at least",
        };
        write!(f, "{} {side} {}", self.metric.name(), self.metric.format(self.value))
    }
}

impl Side {
    /// The end of an interval that decides: with it inside, the whole is.
    fn decides(self, figure: &Figure) -> f64 {
        match self {
            Self::Max => figure.high,
            Self::Min => figure.low,
        }
    }

    /// The other end: with it outside, the whole is.
    fn hopes(self, figure: &Figure) -> f64 {
        match self {
            Self::Max => figure.low,
            Self::Min => figure.high,
        }
    }

    /// Orders values by how little they ask of a limit on this side.
    fn order(self, a: f64, b: f64) -> std::cmp::Ordering {
        match self {
            Self::Max => a.total_cmp(&b),
            Self::Min => b.total_cmp(&a),
        }
    }
}

/// Networks of known cost, held against the limits of a budget.
///
/// **Invariant.** `values` and `broken` are what `limits` and `known` give.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    limits: Vec<Limit>,
    known: &'a [Known<'a>],
    /// The least that each limit would have to be, by limit, those of one network after the other's.
    values: Vec<Option<f64>>,
    /// Limits that each network is not known to meet, a bit each. A budget has two limits a metric at most.
    broken: Vec<u32>,
}

impl<'a> Judged<'a> {
    /// Judges each network by each limit.
    pub fn new(budget: &Budget, known: &'a [Known<'a>]) -> Self {
        let limits = Limit::all(budget);
        let mut values = Vec::with_capacity(known.len() * limits.len());
        let mut broken = Vec::with_capacity(known.len());
        for it in known {
            let mut set = 0;
            for (bit, limit) in limits.iter().enumerate() {
                let need = limit.needed(it.cost);
                set |= if need.is_some_and(|need| limit.allows(need)) { 0 } else { 1 << bit };
                values.push(need);
            }
            broken.push(set);
        }
        Self { limits, known, values, broken }
    }

    /// Networks that every limit admits.
    pub fn n_admitted(&self) -> usize {
        self.broken.iter().filter(|set| **set == 0).count()
    }

    /// Each network with its broken limits and what it needs, by limit.
    fn rows(&self) -> impl Iterator<Item = (&Known<'a>, u32, &[Option<f64>])> {
        let n = self.limits.len();
        let row = move |(idx, (it, set)): (usize, (_, &u32))| (it, *set, &self.values[idx * n..][..n]);
        self.known.iter().zip(&self.broken).enumerate().map(row)
    }
}
