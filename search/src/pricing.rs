//! What candidates cost, and which of them the board is asked about.
//!
//! Prices come from the target's cost model. Where there is a device, a candidate whose latency
//! interval straddles a bound is measured, and so are the first few, for the model to learn from;
//! each measurement refits the model. What was measured once is never measured again. What could not
//! be measured, because the board was lost, keeps its estimate and says so.

use std::{collections::BTreeMap, time::Duration};

use graph::{
    Graph,
    relaxed::{OptionCosts, option_costs},
};
use targets::{
    Budget, Cost, CostModel, Features, Figure, Judgement, Meter, MeterErrorKind, Metric, Reading, Source, features,
    option_features,
};

use crate::{Result, evaluator::counted};

/// Prices networks for one target.
pub struct Pricer {
    model: CostModel,
    budget: Budget,
    meter: Option<Box<dyn Meter>>,
    /// Epochs and images of the final training, for its time; see [`Pricer::trained`].
    final_images: u64,
    training: TrainingTime,
    /// Measured costs by the graph's fingerprint.
    known: BTreeMap<String, Vec<(Metric, Figure)>>,
    /// Candidates that are let pass unmeasured, because the board was noisy or lost; doubles each time.
    pause: usize,
    /// Those of them that are left.
    waiting: usize,
    /// The board that does not answer.
    lost: Option<String>,
}

/// Time of training as a function of compute: the paper's third cost, learned from the steps that
/// were taken.
#[derive(Clone, Copy, Debug, Default)]
struct TrainingTime {
    /// MACs of forward passes over all images seen.
    macs: f64,
    /// Time they took with their backward passes, in seconds.
    seconds: f64,
}

/// Candidates measured at the start whatever their predicted latency, to scale the model; fewer where
/// a calibration has done so already.
pub const FIRST_MEASURED: usize = 8;

/// Most candidates that pass unmeasured between two tries.
const LONGEST_PAUSE: usize = 64;

/// Relative uncertainty of a training time that is inferred from the time of other networks.
const TRAINING_SPREAD: f64 = 0.3;

impl Pricer {
    /// A pricer for `model`'s target. `final_images` is the number of images that the final
    /// training goes through: epochs times training images.
    pub fn new(model: CostModel, budget: Budget, meter: Option<Box<dyn Meter>>, final_images: u64) -> Self {
        let (training, known) = (TrainingTime::default(), BTreeMap::new());
        Self { model, budget, meter, final_images, training, known, pause: 0, waiting: 0, lost: None }
    }

    /// Tells how long a step on `images` images took.
    pub fn trained(&mut self, child: &Graph, images: usize, took: Duration) {
        self.training.macs += (graph::cost::static_cost(child).macs * images as u64) as f64;
        self.training.seconds += took.as_secs_f64();
    }

    /// What `deployed` costs. Measures where a measurement would tell something.
    pub fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        let mut cost = self.estimate(deployed);
        let straddles = |metric| {
            let bound = self.budget.get(metric);
            bound.is_some_and(|bound| bound.judge(cost.get(metric)) == Judgement::CannotTell)
        };
        let uncertain = straddles(Metric::Latency) || straddles(Metric::Memory);
        // What another bound rules out needs no time on the board.
        let hopeless = self.budget.refuses(&cost).is_some();
        if self.meter.is_some() && !hopeless && (uncertain || self.model.latency.n_measured() < FIRST_MEASURED) {
            self.measure(deployed, &mut cost)?;
            if let Some(device) = &self.lost {
                mark(&mut cost, device);
            }
        }
        Ok(cost)
    }

    /// What `deployed` costs without asking the board: measured where that was done before,
    /// estimated elsewhere.
    pub fn estimate(&self, deployed: &Graph) -> Cost {
        let mut cost = self.model.price(deployed);
        if self.training.macs > 0.0 {
            let macs = cost.get(Metric::Macs).map_or(0.0, |it| it.value);
            let value = self.training.seconds / self.training.macs * macs * self.final_images as f64;
            let by = "time of the search's own training steps".to_owned();
            let (low, high) = (value * (1.0 - TRAINING_SPREAD), value * (1.0 + TRAINING_SPREAD));
            cost.set(Metric::TrainTime, Figure { value, low, high, source: Source::Estimated { by } });
        }
        for (metric, figure) in self.known.get(&deployed.fingerprint()).into_iter().flatten() {
            cost.set(*metric, figure.clone());
        }
        cost
    }

    /// What the options of a relaxed network cost, for [`Relaxed::option_costs`](crate::evaluator::Relaxed): by the graph,
    /// and latency by the prices of its work, in seconds.
    pub fn option_costs(&self, supernet: &Graph, metric: Metric) -> Option<OptionCosts> {
        if metric != Metric::Latency {
            return counted(metric).map(|it| option_costs(supernet, it));
        }
        let (fixed, options) = option_features(supernet);
        let seconds = |features: &Features| self.model.latency.by_prices(features);
        let options = options.iter().map(|row| row.iter().map(seconds).collect()).collect();
        Some(OptionCosts { fixed: seconds(&fixed), options })
    }

    fn measure(&mut self, deployed: &Graph, cost: &mut Cost) -> Result<()> {
        let key = deployed.fingerprint();
        if self.known.contains_key(&key) {
            return Ok(());
        }
        if 0 < self.waiting {
            self.waiting -= 1;
            return Ok(());
        }
        let Some(meter) = &mut self.meter else { return Ok(()) };
        let reading = match meter.measure(deployed) {
            Ok(reading) => reading,
            Err(error) => match error.kind {
                // A noisy moment, or a board that went away and that its meter has waited for, is no
                // reason to end a search: the estimate stands, with its interval.
                MeterErrorKind::Invalid | MeterErrorKind::Lost => {
                    self.lost = (error.kind == MeterErrorKind::Lost).then_some(error.device);
                    self.pause = (2 * self.pause).clamp(1, LONGEST_PAUSE);
                    self.waiting = self.pause;
                    return Ok(());
                }
                MeterErrorKind::Unavailable | MeterErrorKind::Rejected => return Err(error.into()),
            },
        };
        (self.pause, self.lost) = (0, None);
        for (metric, figure) in self.learn(key, features(deployed), &reading) {
            cost.set(*metric, figure.clone());
        }
        Ok(())
    }

    /// Takes in what was measured of the network with this [`Graph::fingerprint`]: its figures
    /// replace estimates, and the latency model is fitted to it. A newer measurement of the same
    /// network replaces an older one's figures.
    pub fn learn(&mut self, network: String, work: Features, reading: &Reading) -> &[(Metric, Figure)] {
        let mut figures = Vec::new();
        if let Some(latency) = &reading.latency {
            self.model.latency.observe(&reading.device, work, latency.value);
            figures.push((Metric::Latency, latency.clone()));
        }
        if let Some(memory) = &reading.memory {
            figures.push((Metric::Memory, memory.clone()));
        }
        let known = self.known.entry(network).or_default();
        *known = figures;
        known
    }

    /// The cost model as it stands after all measurements.
    pub fn model(&self) -> &CostModel {
        &self.model
    }
}

/// Says of each estimate that a measurement would have replaced that there was none to be had.
fn mark(cost: &mut Cost, device: &str) {
    for metric in [Metric::Latency, Metric::Memory] {
        if let Some(Figure { source: Source::Estimated { by }, .. }) = cost.figures.get_mut(&metric) {
            by.push_str(&format!("; {device} was lost when it was to be measured"));
        }
    }
}
