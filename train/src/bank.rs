//! Parameters by name, with their optimizer: ENAS's shared weights, and the weights of one network.
//!
//! A parameter's key is its name in the graph and its shape: the same place in two children can
//! meet inputs of different widths. What a child does not use is left alone: no gradient, no
//! momentum, no weight decay.

use std::collections::BTreeMap;

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use data::keyed;
use graph::{
    Graph,
    weights::{Weights, WeightsError, own_parameters, owner, parameters},
};
use rand::Rng;

use super::{network::BatchStatistics, recipe::Recipe, recurrent::State};

/// Weight of a new batch in the running statistics of batch norm.
const STATISTICS_MOMENTUM: f64 = 0.1;

/// Parameters by name and shape.
#[derive(Clone, Debug)]
pub struct WeightBank {
    device: Device,
    seed: u64,
    parameters: BTreeMap<Key, Parameter>,
    /// What recurrent networks remember of the text that they learn from, and of that which they are chosen by.
    pub(super) learning: State,
    pub(super) choosing: State,
}

/// Gradients by parameters, flat.
#[derive(Clone, Debug)]
pub(super) struct Slopes(Vec<(Key, Tensor<1>)>);

impl Slopes {
    /// Those of what was lent and tracked.
    pub(super) fn of(graph: &Graph, loan: &Loan, gradients: &mut Gradients) -> Self {
        let mut taken = Vec::new();
        for id in graph.ids() {
            for ((suffix, shape), lent) in parameters(graph, id).into_iter().zip(&loan[id.index()]) {
                // What several nodes share has one gradient, the sum of theirs.
                if owner(graph, id, suffix, &shape) != id {
                    continue;
                }
                if let Some(gradient) = lent.grad_remove(gradients) {
                    taken.push(((format!("{}.{suffix}", graph.name(id)), shape), gradient));
                }
            }
        }
        Self(taken)
    }

    /// Their common norm, `[1]`.
    pub(super) fn norm(&self) -> Tensor<1> {
        let squares = self.0.iter().map(|(_, gradient)| gradient.clone().square().sum()).collect();
        Tensor::cat(squares, 0).sum().sqrt()
    }
}

/// Full name with suffix, and axes.
type Key = (String, Vec<usize>);

#[derive(Clone, Debug)]
struct Parameter {
    /// Flat, without autodiff.
    value: Tensor<1>,
    /// Momentum, once a step was taken; running statistics never have one.
    velocity: Option<Tensor<1>>,
    /// The moving average, where the recipe asks for one.
    average: Option<Tensor<1>>,
}

/// The parameters of one graph, by [`NodeId::index`], each node's in the order of
/// [`graph::weights::parameters`], flat.
pub(super) type Loan = Vec<Vec<Tensor<1>>>;

impl WeightBank {
    /// An empty bank. New parameters are drawn from `seed` and their own name, so they do not
    /// depend on the order in which children come.
    pub fn new(seed: u64, device: Device) -> Self {
        Self { device, seed, parameters: BTreeMap::new(), learning: State::new(), choosing: State::new() }
    }

    /// The parameters of `graph`, made where they are new; `tracked` ones collect gradients. Others are averages
    /// where there are any.
    pub fn lend(&mut self, graph: &Graph, tracked: bool) -> Loan {
        let mut all = Loan::with_capacity(graph.n_nodes());
        for id in graph.ids() {
            let mut loan = Vec::new();
            for (suffix, shape) in parameters(graph, id) {
                let first = owner(graph, id, suffix, &shape);
                if first != id {
                    let place = parameters(graph, first).iter().position(|it| it.0 == suffix);
                    loan.push(all[first.index()][place.expect("it owns it")].clone());
                    continue;
                }
                let fan_in = shape[1..].iter().product::<usize>();
                let key = (format!("{}.{suffix}", graph.name(id)), shape);
                let (seed, device) = (self.seed, &self.device);
                let parameter = self.parameters.entry(key).or_insert_with_key(|(name, shape)| {
                    let values = initial(seed, name, suffix, shape.iter().product(), fan_in);
                    Parameter { value: tensor(values, device), velocity: None, average: None }
                });
                let value = match &parameter.average {
                    Some(average) if !tracked => average.clone(),
                    _ => parameter.value.clone(),
                };
                let learns = tracked && is_trained(suffix);
                loan.push(match (tracked, learns) {
                    (true, true) => value.autodiff().require_grad(),
                    (true, false) => value.autodiff(),
                    (false, _) => value,
                });
            }
            all.push(loan);
        }
        all
    }

    /// One step of stochastic gradient descent on what was lent.
    ///
    /// `v <- momentum v + g`, then `w <- w - lr (g + momentum v)` with `g` the clipped gradient plus
    /// weight decay (Nesterov's momentum as in Sutskever et al.).
    ///
    /// False, and nothing changes, where the gradient of a recurrent network is not finite: over many steps it may grow
    /// beyond all bounds.
    pub fn step(&mut self, graph: &Graph, loan: &Loan, mut gradients: Gradients, lr: f64, recipe: &Recipe) -> bool {
        let taken = Slopes::of(graph, loan, &mut gradients);
        debug_assert!(!taken.0.is_empty(), "a network without gradients learns nothing");
        let norm = taken.norm();
        if !graph.memories().is_empty() && !norm.clone().into_scalar::<f32>().is_finite() {
            return false;
        }
        // A tensor of one value: scaling needs no look at it from the host.
        let scale = (norm.add_scalar(1e-12).recip().mul_scalar(recipe.clip)).clamp_max(1.0);
        for (key, gradient) in taken.0 {
            let Some(parameter) = self.parameters.get_mut(&key) else { continue };
            let value = parameter.value.clone();
            let mut gradient = gradient * scale.clone();
            if !(recipe.spare_norms && is_one_a_channel(&key)) {
                gradient = gradient + value.clone().mul_scalar(recipe.weight_decay);
            }
            let velocity = match parameter.velocity.take() {
                Some(velocity) => velocity.mul_scalar(recipe.momentum) + gradient.clone(),
                None => gradient.clone(),
            };
            let step = gradient + velocity.clone().mul_scalar(recipe.momentum);
            parameter.value = value - step.mul_scalar(lr);
            parameter.velocity = Some(velocity);
        }
        true
    }

    /// Moves parameters by `scale` times what `slopes` has for them.
    pub(super) fn shift(&mut self, slopes: &Slopes, scale: f64) {
        for (key, slope) in &slopes.0 {
            if let Some(parameter) = self.parameters.get_mut(key) {
                parameter.value = parameter.value.clone() + slope.clone().mul_scalar(scale);
            }
        }
    }

    /// Moves the averages of the parameters of `graph` toward their values, after step `step`, from 0. The first steps
    /// move them further: an average of few values has no long memory.
    pub fn average(&mut self, graph: &Graph, decay: f64, step: u64) {
        let decay = decay.min((1.0 + step as f64) / (10.0 + step as f64));
        for id in graph.ids() {
            for (suffix, shape) in own_parameters(graph, id) {
                let key = (format!("{}.{suffix}", graph.name(id)), shape);
                let Some(parameter) = self.parameters.get_mut(&key) else { continue };
                let value = parameter.value.clone();
                parameter.average = Some(match parameter.average.take() {
                    Some(average) => average.mul_scalar(decay) + value.mul_scalar(1.0 - decay),
                    None => value,
                });
            }
        }
    }

    /// Moves the running statistics of batch norm toward those of a batch.
    pub fn observe(&mut self, graph: &Graph, statistics: Vec<BatchStatistics>) {
        for BatchStatistics { node, mean, variance } in statistics {
            for (suffix, new) in [("mean", mean), ("var", variance)] {
                let key = (format!("{}.{suffix}", graph.name(node)), vec![graph.shape(node).channels()]);
                if let Some(parameter) = self.parameters.get_mut(&key) {
                    let old = parameter.value.clone().mul_scalar(1.0 - STATISTICS_MOMENTUM);
                    parameter.value = old + new.inner().mul_scalar(STATISTICS_MOMENTUM);
                }
            }
        }
    }

    /// Sets the running statistics of batch norm.
    pub fn set_statistics(&mut self, graph: &Graph, statistics: Vec<BatchStatistics>) {
        for BatchStatistics { node, mean, variance } in statistics {
            for (suffix, value) in [("mean", mean), ("var", variance)] {
                let key = (format!("{}.{suffix}", graph.name(node)), vec![graph.shape(node).channels()]);
                if let Some(parameter) = self.parameters.get_mut(&key) {
                    (parameter.value, parameter.average) = (value, None);
                }
            }
        }
    }

    /// The parameters of `graph`, copied to the host.
    pub fn weights(&mut self, graph: &Graph) -> Weights {
        let loan = self.lend(graph, false);
        let mut weights = Weights::default();
        for id in graph.ids() {
            for ((suffix, shape), value) in parameters(graph, id).into_iter().zip(&loan[id.index()]) {
                if owner(graph, id, suffix, &shape) == id {
                    weights.insert(&graph.name(id), suffix, shape, host(value));
                }
            }
        }
        weights
    }

    /// Sets the parameters of `graph`.
    ///
    /// # Errors
    /// One of them is missing from `weights` or has another shape.
    pub fn load(&mut self, graph: &Graph, weights: &Weights) -> Result<(), WeightsError> {
        weights.check(graph)?;
        for id in graph.ids() {
            for (suffix, shape) in own_parameters(graph, id) {
                let found = weights.get(&graph.name(id), suffix)?;
                let value = tensor(found.values.clone(), &self.device);
                let key = (format!("{}.{suffix}", graph.name(id)), shape);
                self.parameters.insert(key, Parameter { value, velocity: None, average: None });
            }
        }
        Ok(())
    }

    /// Everything, momentum and what is remembered included: the key is the name, the axes and what it is.
    pub fn save(&self) -> Weights {
        let mut weights = Weights::default();
        for ((name, shape), parameter) in &self.parameters {
            let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
            let node = format!("{name}[{}]", axes.join(","));
            weights.insert(&node, "value", shape.clone(), host(&parameter.value));
            if let Some(velocity) = &parameter.velocity {
                weights.insert(&node, "velocity", shape.clone(), host(velocity));
            }
            if let Some(average) = &parameter.average {
                weights.insert(&node, "average", shape.clone(), host(average));
            }
        }
        for (suffix, state) in [(LEARNING, &self.learning), (CHOOSING, &self.choosing)] {
            for (name, value) in state {
                let shape = value.dims().to_vec();
                weights.insert(name, suffix, shape, value.to_data().iter::<f32>().collect());
            }
        }
        weights
    }

    /// Exactly what [`WeightBank::save`] returned.
    pub fn restore(&mut self, saved: &Weights) {
        self.parameters.clear();
        for (suffix, state) in [(LEARNING, &mut self.learning), (CHOOSING, &mut self.choosing)] {
            state.clear();
            for (key, stored) in &saved.tensors {
                if let (Some(name), &[rows, columns]) = (key.strip_suffix(&format!(".{suffix}")), &stored.shape[..]) {
                    let data = TensorData::new(stored.values.clone(), [rows, columns]);
                    state.insert(name.to_owned(), Tensor::from_data(data, &self.device));
                }
            }
        }
        for (key, stored) in &saved.tensors {
            let Some((name, _)) = key.strip_suffix(".value").and_then(|node| node.rsplit_once('[')) else { continue };
            let beside = |what: &str| {
                let found = saved.tensors.get(&format!("{}{what}", key.trim_end_matches("value")));
                found.map(|it| tensor(it.values.clone(), &self.device))
            };
            let value = tensor(stored.values.clone(), &self.device);
            let parameter = Parameter { value, velocity: beside("velocity"), average: beside("average") };
            self.parameters.insert((name.to_owned(), stored.shape.clone()), parameter);
        }
    }

    /// Number of named parameters.
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    /// Whether nothing was lent yet.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }
}

/// What is remembered, in a saved bank.
const LEARNING: &str = "learning";
const CHOOSING: &str = "choosing";

/// Whether a parameter is a scale, a shift or a bias: everything but what convolutions and classifiers multiply with.
fn is_one_a_channel((_, shape): &Key) -> bool {
    shape.len() == 1
}

/// Whether gradient descent moves this parameter; running statistics follow the batches instead.
fn is_trained(suffix: &str) -> bool {
    !matches!(suffix, "mean" | "var")
}

fn tensor(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

fn host(value: &Tensor<1>) -> Vec<f32> {
    value.to_data().iter::<f32>().collect()
}

/// He's initialisation for weights (normal, variance `2 / fan_in`), the identity for batch norm.
fn initial(seed: u64, name: &str, suffix: &str, n: usize, fan_in: usize) -> Vec<f32> {
    match suffix {
        "weight" => {
            let mut rng = keyed::rng(seed, &format!("weights {name}"), n as u64);
            let scale = (2.0 / fan_in as f64).sqrt();
            (0..n).map(|_| (scale * normal(&mut rng)) as f32).collect()
        }
        "gamma" | "var" => vec![1.0; n],
        _ => vec![0.0; n],
    }
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let mut unit = || (rng.next_u32() as f64 + 0.5) / (u32::MAX as f64 + 1.0);
    let (radius, angle) = (unit(), unit());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}
