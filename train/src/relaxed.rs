//! Relaxed networks on real records: [`Relaxed`] in Burn.

use std::time::{Duration, Instant};

use burn::tensor::{Device, Gradients, Tensor, TensorData, activation::softmax};
use data::{Batch, Batches, Pass, Tally, Task, streams};
use graph::{
    Graph, Op,
    relaxed::{Mixture, OptionCosts},
};
use search::{
    Error, Result, bilevel,
    evaluator::{AlphaGradient, Minibatch, Order, Relaxed, Saved, Step},
    pricing::Pricer,
};
use targets::{Cost, Metric};

use super::{
    Compute, Recipe, Statistics, TrainingSet, WeightBank,
    bank::{Loan, Slopes},
    count, cross_entropy, images,
    network::{Shares, forward_open},
    recurrent::{Masks, State, detached, unroll_open},
    shared::on_pool,
};

/// One relaxed network: its weights learn from one half of the training part, its choices from the other. Of text the
/// weights learn from all of it and the choices from the validation text, as in DARTS.
pub struct Relaxation {
    set: TrainingSet,
    recipe: Recipe,
    seed: u64,
    device: Device,
    bank: WeightBank,
    pricer: Pricer,
    weights: Half,
    choices: Half,
    /// The next minibatch of the weights' half, where the second order has looked at it already.
    ahead: Option<Taken>,
    /// The minibatch that the last gradient of the choices was taken on.
    looked_at: Option<Taken>,
    trained: Duration,
}

/// A minibatch, and what is remembered of the text before it; nothing of images.
#[derive(Clone)]
struct Taken {
    batch: Batch,
    before: State,
    /// Which of its half it is, from 0.
    nth: u64,
}

/// What the weights or the choices learn from.
struct Half {
    purpose: &'static str,
    /// Records in the order of a pass; images are shuffled in it.
    indices: Vec<usize>,
    /// Minibatches of the pass that is under way.
    batches: Option<Batches>,
    /// Minibatches taken.
    taken: u64,
}

/// Names of the parts of a network whose batch norms neither scale nor shift while it is relaxed.
const CELLS: &str = "cell";

impl Relaxation {
    /// Fresh weights. `seed` keys everything that is drawn.
    pub fn new(set: TrainingSet, recipe: Recipe, compute: Compute, seed: u64, pricer: Pricer) -> Self {
        let device = compute.device();
        let bank = WeightBank::new(seed, device.clone());
        // One by one in turn: training indices come class by class in no set, but in order of time in some.
        let half = |purpose, rest| {
            let every_other =
                || set.train.iter().copied().enumerate().filter(|(at, _)| at % 2 == rest).map(|(_, idx)| idx);
            let indices = match (set.part.task, rest) {
                (Task::Classification | Task::Segmentation, _) => every_other().collect(),
                (Task::Language, 0) => streams(&set.train, recipe.batch),
                (Task::Language, _) => streams(&set.validation, recipe.batch.min(set.validation.len().max(1))),
            };
            Half { purpose, indices, batches: None, taken: 0 }
        };
        let (weights, choices) = (half("relaxed weights", 0), half("relaxed choices", 1));
        let (ahead, looked_at, trained) = (None, None, Duration::ZERO);
        Self { set, recipe, seed, device, bank, pricer, weights, choices, ahead, looked_at, trained }
    }

    /// What prices the networks, for what it learned.
    pub fn into_pricer(self) -> Pricer {
        self.pricer
    }

    fn lr(&self) -> f64 {
        self.recipe.schedule.at(self.weights.taken as f64 / self.n_batches() as f64)
    }

    /// The loss on a batch with its gradients, of the choices and of the weights where they are asked for.
    fn descend(&mut self, graph: &Graph, alpha: &Mixture, taken: &Taken, of: Of) -> Result<Descent> {
        let Self { set, device, bank, recipe, seed, .. } = self;
        let Taken { batch, before, nth } = taken;
        on_pool(device, || {
            let loan = lend(bank, graph, of != Of::Choices);
            let role = if of == Of::Weights { Role::Held } else { Role::Learned };
            let (shares, logits) = shares(alpha, device, role);
            let records = images(batch.clone(), set.part.shape, device).autodiff();
            let mut state = before.clone();
            let loss = match set.part.task {
                Task::Classification | Task::Segmentation => {
                    let (out, _) = forward_open(graph, &loan, records, Statistics::Batch, &shares);
                    cross_entropy(out, &batch.labels, recipe.label_smoothing)
                }
                Task::Language => {
                    let masks = Masks::draw(graph, batch.n, recipe, *seed, *nth, device);
                    // What is asked of the weights' values is asked of the weights alone.
                    let slowness = if of == Of::Weights { recipe.slowness } else { 0.0 };
                    unroll_open(graph, &loan, records, &mut state, Statistics::Batch, &masks, &shares)
                        .loss(&batch.labels, &Recipe { slowness, ..recipe.clone() })
                }
            };
            let value = f64::from(loss.clone().into_scalar::<f32>());
            let mut gradients = loss.backward();
            let rows = logits.iter().map(|row| slopes(row, &mut gradients)).collect();
            Ok(Descent { loss: value, rows, loan, gradients, after: detached(state) })
        })
    }

    /// The next minibatch of the weights; where the second order has looked ahead, the one that it has seen.
    fn next_of_weights(&mut self) -> Result<Taken> {
        match self.ahead.take() {
            Some(taken) => Ok(taken),
            None => self.weights.next(&self.set, &self.recipe, self.seed, &self.bank.learning),
        }
    }

    /// Equation 7: the gradient of the choices where the weights are about to take the step that they follow.
    fn look_ahead(&mut self, graph: &Graph, alpha: &Mixture, validation: &Taken) -> Result<(AlphaGradient, State)> {
        let train = self.next_of_weights()?;
        self.ahead = Some(train.clone());
        let (xi, before) = (self.lr(), self.bank.clone());
        let slopes = |it: &mut Descent| Slopes::of(graph, &it.loan, &mut it.gradients);
        let mut descent = self.descend(graph, alpha, &train, Of::Weights)?;
        self.bank.shift(&slopes(&mut descent), -xi);
        let mut direct = self.descend(graph, alpha, validation, Of::Both)?;
        let along = slopes(&mut direct);
        let epsilon = bilevel::epsilon(f64::from(along.norm().into_scalar::<f32>()));
        let mut at = |distance: f64| {
            self.bank = before.clone();
            self.bank.shift(&along, distance);
            Ok::<_, Error>(self.descend(graph, alpha, &train, Of::Choices)?.rows)
        };
        let (plus, minus) = (at(epsilon)?, at(-epsilon)?);
        self.bank = before;
        let rows = bilevel::second_order(&direct.rows, &plus, &minus, xi, epsilon);
        Ok((AlphaGradient { loss: direct.loss, rows }, direct.after))
    }
}

/// Of what gradients are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Weights,
    Choices,
    Both,
}

/// What becomes of the choices in a pass.
#[derive(Clone, Copy)]
enum Role {
    /// Nothing learns.
    Scored,
    /// The weights learn.
    Held,
    /// They collect gradients.
    Learned,
}

/// A loss, and what its gradients are.
struct Descent {
    loss: f64,
    /// By the logits of the choices.
    rows: Vec<Vec<f32>>,
    loan: Loan,
    gradients: Gradients,
    /// What is remembered behind the batch.
    after: State,
}

impl Half {
    /// The next minibatch; a new pass starts where one ends. `before` is what is remembered of the text up to it.
    fn next(&mut self, set: &TrainingSet, recipe: &Recipe, seed: u64, before: &State) -> Result<Taken> {
        let nth = self.taken;
        let begins = nth.is_multiple_of(self.indices.len().div_ceil(recipe.batch).max(1) as u64);
        let batch = self.next_batch(set, recipe, seed)?;
        Ok(Taken { batch, before: if begins { State::new() } else { before.clone() }, nth })
    }

    fn next_batch(&mut self, set: &TrainingSet, recipe: &Recipe, seed: u64) -> Result<Batch> {
        let per_pass = self.indices.len().div_ceil(recipe.batch) as u64;
        self.taken += 1;
        if let Some(batch) = self.batches.as_mut().and_then(Iterator::next) {
            return Ok(batch);
        }
        let pass = Pass {
            seed,
            purpose: self.purpose.to_owned(),
            epoch: (self.taken - 1) / per_pass,
            batch_size: recipe.batch,
            shuffle: set.part.task != Task::Language,
            keep_partial: true,
            augment: set.varied(recipe),
        };
        let mut batches = Batches::start(set.part.clone(), self.indices.clone(), &set.normalisation, &pass)?;
        for _ in 0..(self.taken - 1) % per_pass {
            batches.next();
        }
        let batch = batches.next();
        self.batches = Some(batches);
        Ok(batch.expect("a pass has at least one batch"))
    }

    fn go_to(&mut self, taken: u64) {
        (self.taken, self.batches) = (taken, None);
    }
}

impl Relaxed for Relaxation {
    fn n_batches(&self) -> usize {
        self.weights.indices.len().div_ceil(self.recipe.batch)
    }

    fn step_weights(&mut self, supernet: &Graph, alpha: &Mixture) -> Result<Step> {
        let lr = self.lr();
        let taken = self.next_of_weights()?;
        let started = Instant::now();
        let Descent { loss, loan, gradients, after, .. } = self.descend(supernet, alpha, &taken, Of::Weights)?;
        if !loss.is_finite() || !self.bank.step(supernet, &loan, gradients, lr, &self.recipe) {
            return Err(Error::NotFinite { step: taken.nth, loss });
        }
        self.bank.learning = after;
        let took = started.elapsed();
        self.trained += took;
        self.pricer.trained(supernet, taken.batch.n, took);
        Ok(Step { loss, took })
    }

    fn alpha_gradient(
        &mut self,
        supernet: &Graph,
        alpha: &Mixture,
        order: Order,
        minibatch: Minibatch,
    ) -> Result<AlphaGradient> {
        let taken = match (minibatch, self.looked_at.take()) {
            (Minibatch::Same, Some(taken)) => taken,
            _ => self.choices.next(&self.set, &self.recipe, self.seed, &self.bank.choosing)?,
        };
        self.looked_at = Some(taken.clone());
        let (gradient, after) = match order {
            Order::First => {
                let Descent { loss, rows, after, .. } = self.descend(supernet, alpha, &taken, Of::Choices)?;
                (AlphaGradient { loss, rows }, after)
            }
            Order::Second => self.look_ahead(supernet, alpha, &taken)?,
        };
        self.bank.choosing = after;
        Ok(gradient)
    }

    fn validate(&mut self, supernet: &Graph, alpha: &Mixture) -> Result<f64> {
        let Self { set, device, bank, recipe, choices, .. } = self;
        let (shares, _) = shares(alpha, device, Role::Scored);
        let loan = bank.lend(supernet, false);
        // Equal batches: batch statistics of a small rest would be poor. Those of text are what is read side by side.
        let n_batches = choices.indices.len().div_ceil(recipe.batch).max(1);
        let size = match set.part.task {
            Task::Classification | Task::Segmentation => choices.indices.len().div_ceil(n_batches).max(1),
            Task::Language => recipe.batch.min(choices.indices.len().max(1)),
        };
        let (mut tally, mut state) = (Tally::of(&set.part), State::new());
        for indices in choices.indices.chunks(size) {
            let batch = data::batch(&set.part, indices, &set.normalisation, None);
            let labels = batch.labels.clone();
            on_pool(device, || {
                let records = images(batch, set.part.shape, device);
                let (logits, _) = match set.part.task {
                    Task::Classification | Task::Segmentation => {
                        forward_open(supernet, &loan, records, Statistics::Batch, &shares)
                    }
                    Task::Language => {
                        let masks = Masks::default();
                        let unrolled =
                            unroll_open(supernet, &loan, records, &mut state, Statistics::Batch, &masks, &shares);
                        (unrolled.logits, unrolled.seen)
                    }
                };
                count(&mut tally, logits, &labels);
            });
        }
        Ok(tally.score())
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        self.pricer.cost(deployed)
    }

    fn option_costs(&mut self, supernet: &Graph, metric: Metric) -> Result<Option<OptionCosts>> {
        Ok(self.pricer.option_costs(supernet, metric))
    }

    fn save(&self) -> Result<Saved> {
        // What was looked at ahead is taken again.
        let steps = self.weights.taken - u64::from(self.ahead.is_some());
        Ok(Saved { weights: self.bank.save(), steps, validated: self.choices.taken, trained: self.trained })
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        self.bank.restore(&saved.weights);
        self.weights.go_to(saved.steps);
        self.choices.go_to(saved.validated);
        (self.ahead, self.looked_at, self.trained) = (None, None, saved.trained);
        Ok(())
    }
}

/// The parameters of a relaxed network. The batch norms of its cells neither scale nor shift, as in the paper: a scale
/// would undo what the choices weigh. A recurrent network is one cell.
fn lend(bank: &mut WeightBank, graph: &Graph, tracked: bool) -> Loan {
    let mut loan = bank.lend(graph, tracked);
    for id in graph.ids() {
        let is_of_cell = || !graph.memories().is_empty() || graph.name(id).starts_with(CELLS);
        if *graph.op(id) == Op::BatchNorm && is_of_cell() {
            for value in &mut loan[id.index()] {
                *value = value.clone().detach();
            }
        }
    }
    if !tracked {
        loan.iter_mut().flatten().for_each(|value| *value = value.clone().autodiff());
    }
    loan
}

/// What options are weighed with, and the logits that this comes from.
fn shares(alpha: &Mixture, device: &Device, role: Role) -> (Shares, Vec<Tensor<1>>) {
    let row = |row: &Vec<f32>| {
        let logits = Tensor::<1>::from_data(TensorData::new(row.clone(), [row.len()]), device);
        match role {
            Role::Scored => logits,
            Role::Held => logits.autodiff(),
            Role::Learned => logits.autodiff().require_grad(),
        }
    };
    let logits: Vec<Tensor<1>> = alpha.logits.iter().map(row).collect();
    let weights = logits.iter().map(|row| softmax(row.clone(), 0)).collect();
    let is_out = |row: &Vec<f32>| row.iter().map(|logit| *logit == f32::NEG_INFINITY).collect();
    (Shares { weights, is_out: alpha.logits.iter().map(is_out).collect() }, logits)
}

/// The gradient by a row of logits: 0 where nothing was computed from it.
fn slopes(row: &Tensor<1>, gradients: &mut Gradients) -> Vec<f32> {
    match row.grad_remove(gradients) {
        Some(slopes) => slopes.into_data().iter::<f32>().collect(),
        None => vec![0.0; row.dims()[0]],
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use data::{Amount, Augment, Normalisation, Options, Source, TextOptions, split};
    use graph::{Activation, Conv2d, NodeId, Shape, Table};
    use search::{
        chooser::Uniform,
        space::{
            Relax, Scale, SearchSpace, Task,
            darts::DartsSpace,
            nas_bench_201::NasBench201,
            open_recurrent::OpenRecurrent,
            partial::PartialDarts,
            recurrent::{Function, Node, RecurrentCell},
        },
    };
    use targets::{Budget, CostModel, Target};

    use super::*;
    use crate::{Schedule, forward};

    const SMALL: Scale =
        Scale { layers: 1, channels: 4, input: [1, 28, 28], classes: 10, front_end: None, task: Task::Classification };

    fn relaxation(seed: u64) -> Relaxation {
        let source = Source::open("fashion-tiny", &Options::default()).expect("a built-in set");
        let part = Arc::new(source.train().expect("a built-in set"));
        let (train, validation) = split(&part, Amount::Fraction(0.9), 0).expect("enough images");
        let normalisation = Normalisation::of(&part, &train).expect("enough images");
        let set = TrainingSet { part, train, validation, normalisation, augment: Augment::NONE };
        let schedule = Schedule { max: 0.05, min: 0.05, period: 1.0, growth: 1.0, warmup: 0.0, drops: None };
        let model = CostModel::new(Target::find("rpi4").expect("it is built in"));
        let pricer = Pricer::new(model, Budget::default(), None, 0);
        Relaxation::new(set, Recipe::published(1, 32, schedule), Compute::Cpu, seed, pricer)
    }

    /// Logits that differ.
    fn alpha(options: &[usize]) -> Mixture {
        let mut alpha = Mixture::even(options);
        let logits = alpha.logits.iter_mut().flatten().enumerate();
        logits.for_each(|(idx, logit)| *logit = 0.3 * (idx as f32 * 1.7).sin());
        alpha
    }

    /// `(f(alpha + h) - f(alpha - h)) / 2h` for one logit.
    fn difference(alpha: &Mixture, at: (usize, usize), step: f32, mut loss: impl FnMut(&Mixture) -> f64) -> f64 {
        let mut moved = |by: f32| {
            let mut moved = alpha.clone();
            moved.logits[at.0][at.1] += by;
            loss(&moved)
        };
        (moved(step) - moved(-step)) / f64::from(2.0 * step)
    }

    fn check_close(found: f64, expected: f64, what: &str) {
        assert!((found - expected).abs() <= 0.03 * expected.abs() + 3e-4, "{what}: {found}, not {expected}");
    }

    #[test]
    fn the_first_order_is_a_derivative() {
        let (space, mut network) = (NasBench201, relaxation(0));
        let (supernet, alpha) = (space.relax(&SMALL).expect("it fits"), alpha(&space.options()));
        for _ in 0..3 {
            network.step_weights(&supernet, &alpha).expect("it trains");
        }
        let mut at = |alpha: &Mixture, minibatch| {
            network.alpha_gradient(&supernet, alpha, Order::First, minibatch).expect("it has one")
        };
        let slopes = at(&alpha, Minibatch::Next).rows;
        for place in [(0, 0), (1, 3), (2, 1), (3, 2), (5, 4)] {
            // A small step: rectifiers and maxima have kinks everywhere.
            let expected = difference(&alpha, place, 0.003, |moved| at(moved, Minibatch::Same).loss);
            check_close(f64::from(slopes[place.0][place.1]), expected, &format!("{place:?}"));
        }
    }

    /// Two mixes with nothing in them that has a kink: the gradient of one step further can be seen.
    fn smooth() -> Graph {
        open(|graph, key, options| graph.add(("mix", key), Op::Mix(key as u32), options).expect("it fits"))
    }

    /// The same, where `choose` makes one value of the options of a key.
    fn open(mut choose: impl FnMut(&mut Graph, usize, &[NodeId]) -> NodeId) -> Graph {
        let mut graph = Graph::default();
        let image = graph.input(Shape::Map(SMALL.input));
        let mut last = graph.add("stem", Op::Conv2d(Conv2d::same(4, 3, 2)), &[image]).expect("it fits");
        for key in 0..2 {
            let mut add = |label, op| graph.add((label, key), op, &[last]).expect("it fits");
            let options = [
                add("tanh", Op::Activation(Activation::Tanh)),
                add("conv", Op::Conv2d(Conv2d::same(4, 3, 1))),
                add("swish", Op::Activation(Activation::Swish)),
            ];
            last = choose(&mut graph, key, &options);
        }
        let pool = graph.add("pool", Op::GlobalAvgPool, &[last]).expect("it fits");
        graph.add("classifier", Op::Linear(10), &[pool]).expect("it fits");
        graph
    }

    /// A sum of what is weighed by the options of a row is a mix, slope by slope.
    #[test]
    fn weighed_values_are_a_mix() {
        let weighed = open(|graph, key, options| {
            let weighed: Vec<NodeId> = (0..options.len())
                .map(|option| {
                    let op = Op::Weigh { key: key as u32, option: option as u32 };
                    graph.add(("weighed", 10 * key + option), op, &[options[option]]).expect("it fits")
                })
                .collect();
            graph.add(("sum", key), Op::Add, &weighed).expect("it fits")
        });
        let mut decided = alpha(&[3, 3]);
        decided.logits[1] = vec![f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        for alpha in [alpha(&[3, 3]), decided] {
            let (mut mixed, mut other) = (relaxation(1), relaxation(1));
            for (network, graph) in [(&mut mixed, smooth()), (&mut other, weighed.clone())] {
                network.step_weights(&graph, &alpha).expect("it trains");
            }
            let slopes = |network: &mut Relaxation, graph: &Graph| {
                network.alpha_gradient(graph, &alpha, Order::First, Minibatch::Next).expect("it has one")
            };
            let (expected, found) = (slopes(&mut mixed, &smooth()), slopes(&mut other, &weighed));
            check_close(found.loss, expected.loss, "the loss");
            for (found, expected) in found.rows.iter().flatten().zip(expected.rows.iter().flatten()) {
                assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
            }
        }
    }

    #[test]
    fn the_second_order_knows_that_weights_follow() {
        let mut network = relaxation(1);
        let (supernet, alpha) = (smooth(), alpha(&[3, 3]));
        for _ in 0..3 {
            network.step_weights(&supernet, &alpha).expect("it trains");
        }
        let mut gradient =
            |order, minibatch| network.alpha_gradient(&supernet, &alpha, order, minibatch).expect("it has one").rows;
        let first = gradient(Order::First, Minibatch::Next);
        let second = gradient(Order::Second, Minibatch::Same);
        let (train, validation) = (network.ahead.clone().expect("taken"), network.looked_at.clone().expect("taken"));
        let (xi, before) = (network.lr(), network.bank.clone());
        let mut follow = |alpha: &Mixture| {
            network.bank = before.clone();
            let mut descent = network.descend(&supernet, alpha, &train, Of::Weights).expect("it descends");
            network.bank.shift(&Slopes::of(&supernet, &descent.loan, &mut descent.gradients), -xi);
            network.descend(&supernet, alpha, &validation, Of::Choices).expect("it descends").loss
        };
        let (mut of_first, mut of_second) = (0.0, 0.0);
        for place in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let expected = difference(&alpha, place, 0.03, &mut follow);
            let (first, second) = (f64::from(first[place.0][place.1]), f64::from(second[place.0][place.1]));
            check_close(second, expected, &format!("{place:?}"));
            of_first += (first - expected).abs();
            of_second += (second - expected).abs();
        }
        assert!(5.0 * of_second < of_first, "{of_second}, and {of_first} for the first order: nothing was shown");
    }

    #[test]
    fn partial_channels_have_a_derivative() {
        let (space, mut network) = (PartialDarts { k: 2 }, relaxation(6));
        let (supernet, alpha) = (space.relax(&SMALL).expect("it fits"), alpha(&space.options()));
        network.step_weights(&supernet, &alpha).expect("it trains");
        let mut at = |alpha: &Mixture, minibatch| {
            network.alpha_gradient(&supernet, alpha, Order::First, minibatch).expect("it has one")
        };
        let slopes = at(&alpha, Minibatch::Next).rows;
        // One layer is a reduction: the second half of the keys.
        for place in [(14, 4), (17, 3), (27, 6)] {
            let expected = difference(&alpha, place, 0.01, |moved| at(moved, Minibatch::Same).loss);
            check_close(f64::from(slopes[place.0][place.1]), expected, &format!("{place:?}"));
        }
    }

    /// What a decided mixture computes is the architecture's own network, option by option and weight by weight.
    #[test]
    fn a_decided_mixture_is_the_architecture() {
        let scale = Scale { layers: 3, channels: 4, ..SMALL };
        let space = DartsSpace;
        let mut network = relaxation(2);
        let supernet = space.relax(&scale).expect("it fits");
        network.step_weights(&supernet, &alpha(&space.options())).expect("it trains");
        let arch = space.sample(&mut Uniform::new(3, "decided", 0));
        let decided = Mixture::decided(&space.options(), &space.chosen(&arch));
        let (shares, _) = shares(&decided, &network.device, Role::Scored);
        let indices: Vec<usize> = (0..8).collect();
        let batch = data::batch(&network.set.part, &indices, &network.set.normalisation, None);
        let image = || images(batch.clone(), network.set.part.shape, &network.device);
        let loan = network.bank.lend(&supernet, false);
        let (open, _) = forward_open(&supernet, &loan, image(), Statistics::Batch, &shares);
        // Without a weight left open nothing else is computed: not a number where it were.
        let poisoned: Loan = supernet
            .ids()
            .map(|id| {
                let is_needed = |name: &str| {
                    let plain = space.build(&arch, &scale).expect("it fits");
                    plain.ids().any(|it| plain.name(it) == name)
                };
                let own = &loan[id.index()];
                let keep = own.is_empty() || is_needed(&supernet.name(id)) || supernet.name(id).ends_with("norm");
                if keep { own.clone() } else { own.iter().map(|it| it.clone().mul_scalar(f32::NAN)).collect() }
            })
            .collect();
        let (again, _) = forward_open(&supernet, &poisoned, image(), Statistics::Batch, &shares);
        let values = |logits: Tensor<2>| logits.into_data().iter::<f32>().collect::<Vec<f32>>();
        let open = values(open);
        assert!(open.iter().all(|it| it.is_finite()));
        assert_eq!(open, values(again), "an option without weight was computed");
    }

    #[test]
    fn a_nas_bench_cell_is_found_within_its_relaxation() {
        let (space, mut network) = (NasBench201, relaxation(3));
        let supernet = space.relax(&SMALL).expect("it fits");
        network.step_weights(&supernet, &alpha(&space.options())).expect("it trains");
        for step in 0..4 {
            let arch = space.sample(&mut Uniform::new(4, "found", step));
            let decided = Mixture::decided(&space.options(), &space.chosen(&arch));
            let (shares, _) = shares(&decided, &network.device, Role::Scored);
            let indices: Vec<usize> = (0..8).collect();
            let batch = data::batch(&network.set.part, &indices, &network.set.normalisation, None);
            let shape = network.set.part.shape;
            let image = || images(batch.clone(), shape, &network.device);
            let loan = network.bank.lend(&supernet, false);
            let (open, _) = forward_open(&supernet, &loan, image(), Statistics::Batch, &shares);
            let plain = space.build(&arch, &SMALL).expect("it fits");
            let loan = network.bank.lend(&plain, false);
            let (alone, _) = forward(&plain, &loan, image(), Statistics::Batch);
            let difference = (open - alone).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-4, "{arch}: {difference}");
        }
    }

    #[test]
    fn a_saved_relaxation_goes_on_as_if_nothing_had_been() {
        let space = NasBench201;
        let (supernet, alpha) = (space.relax(&SMALL).expect("it fits"), alpha(&space.options()));
        let turn = |network: &mut Relaxation, order| {
            let slopes = network.alpha_gradient(&supernet, &alpha, order, Minibatch::Next).expect("it has one");
            (slopes, network.step_weights(&supernet, &alpha).expect("it trains").loss)
        };
        for order in [Order::First, Order::Second] {
            let mut network = relaxation(5);
            turn(&mut network, order);
            let saved = network.save().expect("it can be saved");
            let expected = turn(&mut network, order);
            let mut other = relaxation(5);
            other.restore(&saved).expect("it was saved");
            assert_eq!(turn(&mut other, order), expected);
            let decided = Mixture::decided(&space.options(), &[3; 6]);
            let accuracy = other.validate(&supernet, &decided).expect("it has one");
            assert!((0.0..=1.0).contains(&accuracy), "{accuracy}");
        }
    }

    const WORDS: Scale =
        Scale { layers: 1, channels: 6, input: [1, 1, 5], classes: 8, front_end: None, task: Task::Language };

    /// Of a text of six words in segments of five.
    fn of_words(seed: u64) -> Relaxation {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, n) in [("train.txt", 400_usize), ("valid.txt", 150), ("test.txt", 40)] {
            let words = (0..n).map(|place| ["a ", "b ", "c ", "d ", "e ", "f "][(place * place + place / 7) % 6]);
            std::fs::write(folder.path().join(name), words.collect::<String>()).expect("it can be written");
        }
        let options = Options { text: TextOptions { vocabulary: 100, segment: 5 }, ..Options::default() };
        let source = Source::open(&folder.path().display().to_string(), &options).expect("it is text");
        let part = Arc::new(source.train().expect("it is text"));
        assert_eq!(part.classes.len(), WORDS.classes, "six words, the end and the unknown one");
        let (train, validation) = split(&part, Amount::Fraction(0.1), 0).expect("it came divided");
        let normalisation = Normalisation::of(&part, &train).expect("there is text");
        let set = TrainingSet { part, train, validation, normalisation, augment: Augment::NONE };
        let schedule = Schedule { max: 0.5, min: 0.5, period: 1.0, growth: 1.0, warmup: 0.0, drops: None };
        let pricer = Pricer::new(CostModel::new(Target::find("rpi4").expect("built in")), Budget::default(), None, 0);
        Relaxation::new(set, Recipe { schedule, ..Recipe::words(1, 8) }, Compute::Cpu, seed, pricer)
    }

    #[test]
    fn choices_of_words_have_a_derivative() {
        let (space, mut network) = (OpenRecurrent { nodes: 3 }, of_words(0));
        let (supernet, alpha) = (space.relax(&WORDS).expect("it fits"), alpha(&space.options()));
        for _ in 0..3 {
            network.step_weights(&supernet, &alpha).expect("it trains");
        }
        let mut at = |alpha: &Mixture, minibatch| {
            network.alpha_gradient(&supernet, alpha, Order::First, minibatch).expect("it has one")
        };
        // The second batch of the text: it begins with what the first one left.
        at(&alpha, Minibatch::Next);
        let slopes = at(&alpha, Minibatch::Next).rows;
        for place in [(0, 0), (0, 2), (1, 1), (2, 3), (4, 4), (5, 0)] {
            let expected = difference(&alpha, place, 0.003, |moved| at(moved, Minibatch::Same).loss);
            check_close(f64::from(slopes[place.0][place.1]), expected, &format!("{place:?}"));
        }
    }

    /// A cell of the space with the norms of the relaxed network: every node is made once, from the state that it reads.
    fn with_norms(cell: &RecurrentCell) -> Graph {
        let hidden = WORDS.channels;
        let mut graph = Graph::default();
        let word = graph.input(Shape::Vector(1));
        let h = graph.memory("h", hidden);
        let add = |graph: &mut Graph, label: &'static str, op, inputs: &[NodeId]| {
            graph.add(label, op, inputs).expect("the shapes fit")
        };
        let x = add(&mut graph, "embed", Op::Embed(Table { words: WORDS.classes, features: hidden }), &[word]);
        let mut states: Vec<NodeId> = Vec::new();
        for node in 0..=cell.nodes.len() {
            let (read, function) = match node.checked_sub(1).map(|at| cell.nodes[at]) {
                Some(Node { input, function }) => (states[input], function),
                None => (h, Function::Tanh),
            };
            let state = graph.within(("node", node), |graph| {
                let [gate, value] = ["gate", "value"].map(|label| match node {
                    0 => graph.within(label, |graph| {
                        let new = add(graph, "word", Op::Linear(hidden), &[x]);
                        let old = add(graph, "memory", Op::Linear(hidden), &[h]);
                        add(graph, "sum", Op::Add, &[new, old])
                    }),
                    _ => add(graph, label, Op::Linear(hidden), &[read]),
                });
                let gate = add(graph, "open", Op::Activation(Activation::Sigmoid), &[gate]);
                let value = match function {
                    Function::Tanh => add(graph, "f", Op::Activation(Activation::Tanh), &[value]),
                    Function::Relu => add(graph, "f", Op::Activation(Activation::Relu), &[value]),
                    Function::Sigmoid => add(graph, "f", Op::Activation(Activation::Sigmoid), &[value]),
                    Function::Identity => value,
                };
                let change = add(graph, "change", Op::Sub, &[value, read]);
                let change = add(graph, "gated", Op::Mul, &[gate, change]);
                let state = add(graph, "state", Op::Add, &[read, change]);
                add(graph, "norm", Op::BatchNorm, &[state])
            });
            states.push(state);
        }
        let out = add(&mut graph, "mean", Op::Mean, &states[1..]);
        graph.remember(h, out).expect("the same shape");
        let classifier = add(&mut graph, "classifier", Op::Linear(WORDS.classes), &[out]);
        graph.tie(classifier, x).expect("the same axes");
        graph
    }

    #[test]
    fn a_decided_recurrent_network_is_the_cell() {
        let (space, mut network) = (OpenRecurrent { nodes: 4 }, of_words(1));
        let supernet = space.relax(&WORDS).expect("it fits");
        for _ in 0..2 {
            network.step_weights(&supernet, &alpha(&space.options())).expect("it trains");
        }
        for step in 0..6 {
            let cell = space.sample(&mut Uniform::new(2, "decided", step));
            let decided = Mixture::decided(&space.options(), &space.chosen(&cell));
            let plain = with_norms(&cell);
            let (open, alone) = (network.validate(&supernet, &decided), network.validate(&plain, &Mixture::default()));
            let (open, alone) = (open.expect("it has one"), alone.expect("it has one"));
            assert!((open - alone).abs() < 1e-6 * alone, "{cell:?}: {open}, and {alone} alone");
        }
    }

    #[test]
    fn a_saved_relaxation_goes_on_in_its_text() {
        let space = OpenRecurrent { nodes: 2 };
        let (supernet, alpha) = (space.relax(&WORDS).expect("it fits"), alpha(&space.options()));
        let turn = |network: &mut Relaxation, order| {
            let slopes = network.alpha_gradient(&supernet, &alpha, order, Minibatch::Next).expect("it has one");
            (slopes, network.step_weights(&supernet, &alpha).expect("it trains").loss)
        };
        for order in [Order::First, Order::Second] {
            let mut network = of_words(5);
            turn(&mut network, order);
            let saved = network.save().expect("it can be saved");
            let expected = turn(&mut network, order);
            let mut other = of_words(5);
            other.restore(&saved).expect("it was saved");
            assert_eq!(turn(&mut other, order), expected);
            // Not as if the text began again.
            let mut forgetful = of_words(5);
            forgetful.restore(&saved).expect("it was saved");
            forgetful.bank.choosing.clear();
            assert_ne!(turn(&mut forgetful, order).0, expected.0);
        }
    }

    #[test]
    fn weights_learn_from_the_text_and_choices_from_the_validation_text() {
        let network = of_words(0);
        let sorted = |half: &Half| {
            let mut indices = half.indices.clone();
            indices.sort_unstable();
            indices
        };
        assert_eq!(sorted(&network.weights), network.set.train);
        assert_eq!(sorted(&network.choices), network.set.validation);
    }
}
