//! What a strategy works with whose networks share their weights: it trains and scores children a minibatch each, prices
//! the networks that they would be deployed as, and records what it was told.

use graph::{Graph, weights::Weights};
use serde::{Serialize, de::DeserializeOwned};
use targets::{Budget, Cost};

use crate::{
    Result,
    evaluator::{SharedWeights, Step},
    space::{Scale, SearchSpace},
    study::{Phase, Signal, Study, Trial},
};

/// The children of one strategy.
pub struct Children<'a, S> {
    /// What is searched.
    pub space: &'a S,
    /// Strategy that draws.
    strategy: &'static str,
    shared: &'a mut (dyn SharedWeights + 'a),
    study: &'a mut Study,
    /// Size of the children.
    proxy: Scale,
    /// Size of the network that is deployed, whose costs count.
    full: Scale,
    epoch: usize,
}

impl<'a, S: SearchSpace> Children<'a, S> {
    /// None yet. Children have the first of `sizes`, what is deployed the second.
    pub fn new(
        strategy: &'static str,
        space: &'a S,
        shared: &'a mut (dyn SharedWeights + 'a),
        study: &'a mut Study,
        [proxy, full]: [Scale; 2],
    ) -> Self {
        Self { space, strategy, shared, study, proxy, full, epoch: 0 }
    }

    /// Says which epoch of the strategy its next trials belong to.
    pub fn epoch(&mut self, epoch: usize) {
        self.epoch = epoch;
    }

    /// Minibatches in one pass over the training part.
    pub fn n_batches(&self) -> usize {
        self.shared.n_batches()
    }

    /// What must hold.
    pub fn budget(&self) -> &Budget {
        &self.study.budget
    }

    /// One optimizer step of the child on the next training minibatch.
    pub fn train(&mut self, arch: &S::Arch) -> Result<Step> {
        self.shared.train_step(&self.space.build(arch, &self.proxy)?)
    }

    /// Accuracy of the child on the next validation minibatch, in `[0, 1]`.
    pub fn accuracy(&mut self, arch: &S::Arch) -> Result<f64> {
        self.shared.accuracy(&self.space.build(arch, &self.proxy)?)
    }

    /// Accuracy of the child on the whole validation part, in `[0, 1]`.
    pub fn validate(&mut self, arch: &S::Arch) -> Result<f64> {
        self.shared.validate(&self.space.build(arch, &self.proxy)?)
    }

    /// The network that is deployed.
    pub fn deployed(&self, arch: &S::Arch) -> Result<Graph> {
        Ok(self.space.build(arch, &self.full)?)
    }

    /// Cost of the network that is deployed.
    pub fn cost(&mut self, arch: &S::Arch) -> Result<Cost> {
        let deployed = self.deployed(arch)?;
        self.cost_of(&deployed)
    }

    /// Cost of a deployed network that is at hand.
    pub fn cost_of(&mut self, deployed: &Graph) -> Result<Cost> {
        self.shared.cost(deployed)
    }

    /// Records a child with what it was told.
    pub fn record(
        &mut self,
        phase: Phase,
        arch: &S::Arch,
        accuracy: Option<f64>,
        cost: Cost,
        reward: Option<f64>,
    ) -> Result<()> {
        let trial = Trial::new(self.strategy, phase, arch, accuracy, cost);
        self.study.record(Trial { epoch: self.epoch, reward, ..trial })
    }

    /// Reports progress, as `done` of `total` steps; says what to do next.
    pub fn look(&mut self, phase: &str, done: usize, total: usize) -> Result<Signal> {
        self.study.look(self.strategy, phase, done as u64, total as u64)
    }

    /// Keeps the strategy's state with what it has `learned`, and the shared weights.
    pub fn snapshot(&self, state: &impl Serialize, learned: Weights) -> Result<()> {
        self.study.snapshot(self.strategy, state, &self.shared.save()?.with(learned))
    }

    /// Goes on where the newest snapshot was taken: its state, and the weights with what was learned among them. `None`
    /// where there is none.
    pub fn resume<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Weights)>> {
        let Some((state, saved)) = self.study.resume(self.strategy)? else { return Ok(None) };
        self.shared.restore(&saved)?;
        Ok(Some((state, saved.weights)))
    }
}
