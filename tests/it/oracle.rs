//! A stand-in for training: accuracy as a smooth function of compute and practice, so that a whole
//! search takes milliseconds and is the same on every machine.

use std::time::Duration;

use graph::{Graph, cost::static_cost, weights::Weights};
use search::{
    Error, Result,
    evaluator::{Saved, SharedWeights, Step},
    study::{Progress, Signal, Watch},
};
use targets::{Budget, Cost, CostModel, Target};

/// Networks of a made-up world where more compute is better, the more so the longer one trains.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// Minibatches in one pass.
    pub(crate) n_batches: usize,
    /// What was asked so far, earlier sessions not included.
    pub(crate) asked: Asked,
    model: CostModel,
    steps: u64,
    validated: u64,
    trained: Duration,
    /// What shared weights stand for: a moving average of the compute of the children trained.
    experience: f32,
}

/// How often each question was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) steps: usize,
    pub(crate) minibatches: usize,
    pub(crate) validations: usize,
    pub(crate) costs: usize,
}

/// MACs at which a child of the tests' proxy size reaches 63 % of what there is to reach: fewer than
/// most have, so that twice the compute gains a few percent, as on real images.
const ENOUGH: f64 = 60e3;

impl Oracle {
    pub(crate) fn new(n_batches: usize) -> Self {
        let model = CostModel::new(Target::find("rpi4").expect("rpi4 is built in"));
        let (asked, trained) = (Asked::default(), Duration::ZERO);
        Self { n_batches, asked, model, steps: 0, validated: 0, trained, experience: 0.0 }
    }

    /// In `[0, 1]`. It depends on everything that a resumed search has to restore.
    fn score(&self, child: &Graph, sample: u64) -> f64 {
        let macs = static_cost(child).macs as f64;
        let reachable = 1.0 - (-macs / ENOUGH).exp();
        let practice = 1.0 - 0.5 * (-(self.steps as f64) / 30.0).exp();
        let fitting = 1.0 / (1.0 + (f64::from(self.experience) / macs).ln().powi(2));
        // A minibatch is a sample: some are easier.
        let luck = ((sample * 7919) % 101) as f64 / 101.0 - 0.5;
        0.9 * reachable * practice + 0.05 * fitting + 0.02 * luck
    }
}

impl SharedWeights for Oracle {
    fn n_batches(&self) -> usize {
        self.n_batches
    }

    fn train_step(&mut self, child: &Graph) -> Result<Step> {
        self.asked.steps += 1;
        self.steps += 1;
        let macs = static_cost(child).macs;
        self.experience += 0.1 * (macs as f32 - self.experience);
        let took = Duration::from_nanos(macs);
        self.trained += took;
        Ok(Step { loss: 1.0, took })
    }

    fn accuracy(&mut self, child: &Graph) -> Result<f64> {
        self.asked.minibatches += 1;
        self.validated += 1;
        Ok(self.score(child, self.validated))
    }

    fn validate(&mut self, child: &Graph) -> Result<f64> {
        self.asked.validations += 1;
        Ok(self.score(child, 0))
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        self.asked.costs += 1;
        Ok(self.model.price(deployed))
    }

    fn save(&self) -> Result<Saved> {
        let mut weights = Weights::default();
        weights.insert("oracle", "experience", vec![1], vec![self.experience]);
        Ok(Saved { weights, steps: self.steps, validated: self.validated, trained: self.trained })
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        self.experience = saved.weights.get("oracle", "experience").map_err(Error::from)?.values[0];
        (self.steps, self.validated, self.trained) = (saved.steps, saved.validated, saved.trained);
        Ok(())
    }
}

/// Says `signal` from its `after`-th look on.
#[derive(Debug)]
pub(crate) struct Then {
    pub(crate) after: u64,
    pub(crate) signal: Signal,
    looks: u64,
}

impl Then {
    pub(crate) fn new(after: u64, signal: Signal) -> Box<Self> {
        Box::new(Self { after, signal, looks: 0 })
    }
}

impl Watch for Then {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        assert!(progress.done <= progress.total, "{progress:?}");
        self.looks += 1;
        if self.looks < self.after { Signal::Continue } else { self.signal }
    }
}

/// Hard upper bounds.
pub(crate) fn hard(bounds: &[(targets::Metric, f64)]) -> Budget {
    let bound = |&(metric, max)| targets::Bound { metric, min: None, max: Some(max), hard: true };
    Budget { bounds: bounds.iter().map(bound).collect() }
}

/// Soft upper bounds.
pub(crate) fn soft(bounds: &[(targets::Metric, f64)]) -> Budget {
    let mut budget = hard(bounds);
    budget.bounds.iter_mut().for_each(|bound| bound.hard = false);
    budget
}
