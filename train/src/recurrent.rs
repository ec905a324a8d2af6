//! Recurrent networks over the words of a text: the graph of one step, run once for each place, with what it remembers
//! handed on from step to step.
//!
//! Not everything waits for the step before. What depends on no memory is computed for all places at once, and so is what no
//! memory depends on, such as the classifier: of a step only the cell itself remains.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use data::keyed;
use graph::{Graph, Memory, NodeId, Op, weights::Weights};

use super::{
    Compute, Recipe, Statistics, WeightBank,
    bank::Loan,
    cross_entropy,
    network::{BatchStatistics, Run, Shares, Value},
};
use search::Result;

/// What a network remembers between two batches, by the name of the memory: networks with memories of the same name hand
/// each other on what they know.
///
/// # Shapes
/// - each `[streams, features]`
pub(super) type State = BTreeMap<String, Tensor<2>>;

/// What is multiplied with values while training, the same at every place of a segment (variational dropout, Y. Gal and
/// Z. Ghahramani, 2016).
///
/// # Shapes
/// - each `[batch, features]`, of 0 and `1 / keep`
#[derive(Clone, Debug, Default)]
pub(super) struct Masks {
    /// Of what embeddings give, by node.
    input: BTreeMap<NodeId, Tensor<2>>,
    /// Of what memories give, by node.
    state: BTreeMap<NodeId, Tensor<2>>,
    /// Of what the classifier reads.
    output: Option<Tensor<2>>,
}

impl Masks {
    /// Drawn from (seed, step) for a batch of `n` streams.
    pub(super) fn draw(graph: &Graph, n: usize, recipe: &Recipe, seed: u64, step: u64, device: &Device) -> Self {
        let mut masks = Self::default();
        let mask = |id: NodeId, keep: f64, purpose: &str| {
            let features = graph.shape(id).channels();
            let mut rng = keyed::rng(seed, &format!("{purpose} {}", graph.name(id)), step);
            let (threshold, scale) = ((keep * f64::from(u32::MAX)) as u32, (1.0 / keep) as f32);
            let draw = |_| if keyed::below(&mut rng, u32::MAX) < threshold { scale } else { 0.0 };
            let values: Vec<f32> = (0..n * features).map(draw).collect();
            Tensor::<2>::from_data(TensorData::new(values, [n, features]), device).autodiff()
        };
        for id in graph.ids() {
            match graph.op(id) {
                Op::Embed(_) if 0.0 < recipe.drop_input => {
                    masks.input.insert(id, mask(id, 1.0 - recipe.drop_input, "dropout of words"));
                }
                Op::Memory(_) if 0.0 < recipe.drop_state => {
                    masks.state.insert(id, mask(id, 1.0 - recipe.drop_state, "dropout of memories"));
                }
                _ => {}
            }
        }
        if recipe.dropout_keep < 1.0
            && let Some(&read) = graph.output().and_then(|id| graph.inputs(id).first())
        {
            masks.output = Some(mask(read, recipe.dropout_keep, "dropout"));
        }
        masks
    }
}

/// Where a node is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nowhere: nothing that counts reads it.
    Never,
    /// For all places at once, before the first step.
    Before,
    /// At each step.
    Step,
    /// For all places at once, behind the last step.
    After,
}

fn phases(graph: &Graph) -> Vec<Phase> {
    let n = graph.n_nodes();
    // What waits for a memory.
    let mut waits = vec![false; n];
    for id in graph.ids() {
        let is_memory = matches!(graph.op(id), Op::Memory(_));
        waits[id.index()] = is_memory || graph.inputs(id).iter().any(|input| waits[input.index()]);
    }
    // What a memory waits for, and what the answer waits for.
    let (mut remembered, mut answers) = (vec![false; n], vec![false; n]);
    graph.memories().iter().for_each(|memory| remembered[memory.next.index()] = true);
    graph.output().into_iter().for_each(|id| answers[id.index()] = true);
    for id in graph.ids().rev() {
        for input in graph.inputs(id) {
            remembered[input.index()] |= remembered[id.index()];
            answers[input.index()] |= answers[id.index()];
        }
    }
    let phase = |idx: usize| match (waits[idx], remembered[idx], answers[idx]) {
        (_, false, false) => Phase::Never,
        (false, ..) => Phase::Before,
        (true, true, _) => Phase::Step,
        // A memory has its value at each step.
        (true, false, true) => Phase::After,
    };
    graph.ids().map(|id| if matches!(graph.op(id), Op::Memory(_)) { Phase::Step } else { phase(id.index()) }).collect()
}

/// Runs `graph` over the places of a batch of segments; `state` is what it remembers from the batch before, and after it
/// what it will know in the next. A stream that it does not know begins with zeros.
///
/// # Shapes
/// - words: `[batch, 1, 1, places]`, the numbers of words
/// - returns logits: `[batch * places, classes]`
pub(super) fn unroll(
    graph: &Graph,
    loan: &Loan,
    words: Tensor<4>,
    state: &mut State,
    statistics: Statistics,
    masks: &Masks,
) -> (Tensor<2>, Vec<BatchStatistics>) {
    let Unrolled { logits, seen, .. } = unroll_open(graph, loan, words, state, statistics, masks, &Shares::default());
    (logits, seen)
}

/// What a network makes of a batch of segments.
pub(super) struct Unrolled {
    /// `[batch * places, classes]`.
    pub(super) logits: Tensor<2>,
    /// What the classifier reads, before anything is dropped of it: `[batch, places, features]`.
    read: Tensor<3>,
    /// Of batch norms, at each place.
    pub(super) seen: Vec<BatchStatistics>,
}

impl Unrolled {
    /// The loss of a step: nats a word that has a label, and the recipe's slowness.
    ///
    /// # Shapes
    /// - labels: `[batch * places]`
    /// - returns `[1]`
    pub(super) fn loss(self, labels: &[u32], recipe: &Recipe) -> Tensor<1> {
        let known = labels.iter().filter(|&&label| label != data::IGNORED).count().max(1);
        let loss = match recipe.label_smoothing {
            0.0 => nats(self.logits, labels).sum().div_scalar(known as f64),
            smoothing => cross_entropy(self.logits, labels, smoothing),
        };
        let places = self.read.dims()[1];
        if recipe.slowness == 0.0 || places < 2 {
            return loss;
        }
        let change = self.read.clone().narrow(1, 1, places - 1) - self.read.narrow(1, 0, places - 1);
        loss + change.square().mean().mul_scalar(recipe.slowness)
    }
}

/// As [`unroll`], for a network whose choices are open: what is weighed is weighed by `shares`.
pub(super) fn unroll_open(
    graph: &Graph,
    loan: &Loan,
    words: Tensor<4>,
    state: &mut State,
    statistics: Statistics,
    masks: &Masks,
    shares: &Shares,
) -> Unrolled {
    let [n, _, _, places] = words.dims();
    let device = words.device();
    let run = Run { graph, loan, statistics, shares };
    let phases = phases(graph);
    let of = |phase: Phase| graph.ids().filter(|id| phases[id.index()] == phase).collect::<Vec<NodeId>>();
    let mut seen = Vec::new();

    // For all places: `[batch * places, features]`.
    let mut rows: Vec<Option<Tensor<2>>> = vec![None; graph.n_nodes()];
    for id in of(Phase::Before) {
        let value = match graph.op(id) {
            Op::Input => words.clone().reshape([n * places, 1]),
            _ => {
                let inputs = graph.inputs(id).iter().map(|input| at_hand(&rows, *input));
                run.node(id, inputs, &mut seen).vector()
            }
        };
        rows[id.index()] = Some(match masks.input.get(&id) {
            Some(mask) => locked(value, mask, [n, places]),
            None => value,
        });
    }

    let steps = of(Phase::Step);
    // What is read at single places, of what is known of all.
    let is_read = |id: NodeId| {
        steps.iter().any(|step| graph.inputs(*step).contains(&id)) || graph.memories().iter().any(|it| it.next == id)
    };
    let planes: BTreeMap<NodeId, Tensor<3>> = of(Phase::Before)
        .into_iter()
        .filter(|id| is_read(*id))
        .filter_map(|id| {
            let all = rows[id.index()].clone()?;
            let features = all.dims()[1];
            Some((id, all.reshape([n, places, features])))
        })
        .collect();
    let after = of(Phase::After);
    let is_kept = |id: NodeId| Some(id) == graph.output() || after.iter().any(|step| graph.inputs(*step).contains(&id));
    let kept: Vec<NodeId> = steps.iter().copied().filter(|id| is_kept(*id)).collect();
    let mut history: Vec<Vec<Tensor<2>>> = vec![Vec::with_capacity(places); kept.len()];
    let mut remembered: Vec<Tensor<2>> =
        graph.memories().iter().map(|it| begin(graph, *it, state, n, &device)).collect();
    for place in 0..places {
        let mut values: Vec<Option<Tensor<2>>> = vec![None; graph.n_nodes()];
        for (id, plane) in &planes {
            let features = plane.dims()[2];
            let here = plane.clone().slice([0..n, place..place + 1, 0..features]);
            values[id.index()] = Some(here.reshape([n, features]));
        }
        for (memory, value) in graph.memories().iter().zip(&remembered) {
            let value = match masks.state.get(&memory.node) {
                Some(mask) => value.clone() * mask.clone(),
                None => value.clone(),
            };
            values[memory.node.index()] = Some(value);
        }
        for &id in &steps {
            if !matches!(graph.op(id), Op::Memory(_)) {
                let inputs = graph.inputs(id).iter().map(|input| at_hand(&values, *input));
                let value = run.node(id, inputs, &mut seen).vector();
                values[id.index()] = Some(value);
            }
        }
        for (memory, value) in graph.memories().iter().zip(&mut remembered) {
            // What remembers itself keeps what it has, whatever is dropped of it on the way.
            if memory.node != memory.next {
                *value = at_hand(&values, memory.next).vector();
            }
        }
        for (id, history) in kept.iter().zip(&mut history) {
            history.push(at_hand(&values, *id).vector());
        }
    }
    for (memory, value) in graph.memories().iter().zip(remembered) {
        state.insert(graph.name(memory.node), value);
    }

    for (id, history) in kept.into_iter().zip(history) {
        let all: Tensor<3> = Tensor::stack(history, 1);
        let features = all.dims()[2];
        rows[id.index()] = Some(all.reshape([n * places, features]));
    }
    for id in after {
        let inputs = graph.inputs(id).iter().map(|input| match (at_hand(&rows, *input), &masks.output) {
            (value, Some(mask)) if Some(id) == graph.output() => {
                Value::Vector(locked(value.vector(), mask, [n, places]))
            }
            (value, _) => value,
        });
        let value = run.node(id, inputs, &mut seen).vector();
        rows[id.index()] = Some(value);
    }
    let output = graph.output().expect("a network has an output");
    let row = |id: NodeId| rows[id.index()].clone().expect("the output and what it reads are known at all places");
    let read = row(graph.inputs(output)[0]);
    let features = read.dims()[1];
    Unrolled { logits: row(output), read: read.reshape([n, places, features]), seen }
}

fn at_hand(values: &[Option<Tensor<2>>], id: NodeId) -> Value {
    Value::Vector(values[id.index()].clone().expect("inputs precede their users"))
}

/// Every place of a row times the row's mask.
fn locked(value: Tensor<2>, mask: &Tensor<2>, [n, places]: [usize; 2]) -> Tensor<2> {
    let features = value.dims()[1];
    let dropped = value.reshape([n, places, features]) * mask.clone().reshape([n, 1, features]);
    dropped.reshape([n * places, features])
}

/// What a memory has at the first place: of the first `n` streams, where the last batch is a smaller one.
fn begin(graph: &Graph, memory: Memory, state: &State, n: usize, device: &Device) -> Tensor<2> {
    let features = graph.shape(memory.node).channels();
    match state.get(&graph.name(memory.node)).filter(|known| known.dims()[1] == features && n <= known.dims()[0]) {
        Some(known) if device.is_autodiff() && !known.is_autodiff() => {
            known.clone().slice([0..n, 0..features]).autodiff()
        }
        Some(known) => known.clone().slice([0..n, 0..features]),
        None => Tensor::zeros([n, features], device),
    }
}

/// Without what it was computed from: gradients do not reach into the batch before (truncated back-propagation).
pub(super) fn detached(state: State) -> State {
    state.into_iter().map(|(name, value)| (name, if value.is_autodiff() { value.inner() } else { value })).collect()
}

/// Minus the logarithm of the probability of the word that came, in nats, and 0 at places that have none.
///
/// # Shapes
/// - logits: `[batch * places, classes]`
/// - labels: `[batch * places]`
/// - returns `[batch * places, 1]`
pub(super) fn nats(logits: Tensor<2>, labels: &[u32]) -> Tensor<2> {
    let (n, device) = (labels.len(), logits.device());
    let known: Vec<f32> = labels.iter().map(|&label| if label == data::IGNORED { 0.0 } else { 1.0 }).collect();
    let words: Vec<i32> = labels.iter().map(|&label| if label == data::IGNORED { 0 } else { label as i32 }).collect();
    let words = Tensor::from_data(TensorData::new(words, [n, 1]), &device);
    let known = Tensor::<2>::from_data(TensorData::new(known, [n, 1]), &device);
    (burn::tensor::activation::log_softmax(logits, 1).gather(1, words) * known).neg()
}

/// Logits of a trained network after each word of a text, from the beginning: what a board computes word by word.
///
/// # Shapes
/// - returns `[words, classes]`, flat
///
/// # Errors
/// `weights` do not belong to `graph`.
pub fn logits(graph: &Graph, weights: &Weights, words: &[u32]) -> Result<Vec<f32>> {
    let device = Compute::Cpu.device();
    let mut bank = WeightBank::new(0, device.clone());
    bank.load(graph, weights)?;
    let loan = bank.lend(graph, false);
    let values: Vec<f32> = words.iter().map(|&word| word as f32).collect();
    let words = Tensor::from_data(TensorData::new(values, [1, 1, 1, words.len()]), &device);
    let (logits, _) = unroll(graph, &loan, words, &mut State::new(), Statistics::Running, &Masks::default());
    Ok(logits.into_data().iter::<f32>().collect())
}

#[cfg(test)]
mod tests {
    use search::{
        chooser::Uniform,
        space::{Scale, SearchSpace, lstm, recurrent::RecurrentSpace, rnn_tree::TreeSpace},
    };

    use super::*;
    use crate::bank::Slopes;

    const WORDS: usize = 9;
    const SCALE: Scale =
        Scale { layers: 1, channels: 5, input: [1, 1, 8], classes: WORDS, front_end: None, task: data::Task::Language };

    fn words(rows: &[&[u32]]) -> Tensor<4> {
        let values: Vec<f32> = rows.iter().flat_map(|row| row.iter().map(|&word| word as f32)).collect();
        let data = TensorData::new(values, [rows.len(), 1, 1, rows[0].len()]);
        Tensor::from_data(data, &Compute::Cpu.device())
    }

    fn run(graph: &Graph, loan: &Loan, rows: &[&[u32]], state: &mut State) -> Vec<f32> {
        let (logits, _) = unroll(graph, loan, words(rows), state, Statistics::Running, &Masks::default());
        logits.into_data().iter::<f32>().collect()
    }

    fn bank() -> WeightBank {
        WeightBank::new(3, Compute::Cpu.device())
    }

    fn networks() -> Vec<Graph> {
        let mut all = vec![lstm::lstm(&SCALE), lstm::elman(&SCALE)];
        for step in 0..10 {
            for space in [RecurrentSpace::enas(), RecurrentSpace::darts()] {
                all.push(space.build(&space.sample(&mut Uniform::new(1, "cells", step)), &SCALE));
            }
            let space = TreeSpace::default();
            all.push(space.build(&space.sample(&mut Uniform::new(1, "trees", step)), &SCALE));
        }
        all.into_iter().map(|graph| graph.expect("cells always fit")).collect()
    }

    #[track_caller]
    fn check_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let scale = expected.iter().fold(1.0, |a: f32, b| a.max(b.abs()));
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() <= 1e-5 * scale, "{a} and {b} of values up to {scale}");
        }
    }

    #[test]
    fn of_a_step_only_the_cell_waits() {
        let graph = lstm::lstm(&SCALE).expect("it fits");
        let phases = phases(&graph);
        let named = |phase: Phase| -> Vec<String> {
            graph.ids().filter(|id| phases[id.index()] == phase).map(|id| graph.name(id)).collect()
        };
        assert_eq!(
            named(Phase::Before),
            ["image", "embed", "input/word", "forget/word", "output/word", "candidate/word"]
        );
        assert_eq!(named(Phase::After), ["classifier"]);
        assert_eq!(named(Phase::Never), [""; 0]);
    }

    /// `h <- tanh(W x + b + V h + d)` in plain loops.
    #[test]
    fn a_plain_network_is_what_loops_say() {
        let graph = lstm::elman(&SCALE).expect("it fits");
        let mut bank = bank();
        let text = [3, 0, 8, 3, 5];
        let found = run(&graph, &bank.lend(&graph, false), &[&text], &mut State::new());
        let weights = bank.weights(&graph);
        let get = |node: &str, suffix: &str| weights.get(node, suffix).expect("it has them").values.clone();
        let n = SCALE.channels;
        // Words are scored by the vectors that they are read as.
        let linear = |node: &str, x: &[f32]| -> Vec<f32> {
            let owner = if node == "classifier" { "embed" } else { node };
            let (weight, bias) = (get(owner, "weight"), get(node, "bias"));
            let row = |(idx, bias): (usize, &f32)| bias + (0..n).map(|i| weight[idx * n + i] * x[i]).sum::<f32>();
            bias.iter().enumerate().map(row).collect()
        };
        let (table, mut h, mut expected) = (get("embed", "weight"), vec![0.0; n], Vec::new());
        for word in text {
            let x = &table[word as usize * n..(word as usize + 1) * n];
            let sums = linear("word", x).into_iter().zip(linear("memory", &h));
            h = sums.map(|(a, b)| (a + b).tanh()).collect();
            expected.extend(linear("classifier", &h));
        }
        check_close(&found, &expected);
    }

    #[test]
    fn a_text_goes_on_from_segment_to_segment() {
        let rows: [&[u32]; 2] = [&[3, 0, 8, 3, 5, 1, 1, 7], &[2, 2, 6, 0, 4, 8, 1, 5]];
        for graph in networks() {
            let loan = bank().lend(&graph, false);
            let whole = run(&graph, &loan, &rows, &mut State::new());
            let mut state = State::new();
            let halves = [0..3, 3..8].map(|part| run(&graph, &loan, &rows.map(|row| &row[part.clone()]), &mut state));
            let of = |half: usize, row: usize| {
                let len = halves[half].len() / 2;
                halves[half][row * len..(row + 1) * len].to_vec()
            };
            check_close(&[of(0, 0), of(1, 0), of(0, 1), of(1, 1)].concat(), &whole);
            // A smaller batch goes on with the first streams.
            let mut state = State::new();
            run(&graph, &loan, &rows.map(|row| &row[..3]), &mut state);
            let rest = run(&graph, &loan, &[&rows[0][3..]], &mut state);
            check_close(&rest, &of(1, 0));
        }
    }

    /// The loss falls along the gradient as fast as the square of its norm says: through every step of the segment.
    #[test]
    fn gradients_reach_through_time() {
        let rows: [&[u32]; 2] = [&[3, 0, 8, 3, 5, 1, 1, 7], &[2, 2, 6, 0, 4, 8, 1, 5]];
        let labels: Vec<u32> = vec![0, 8, 3, 5, 1, 1, 7, data::IGNORED, 2, 6, 0, 4, 8, 1, 5, 3];
        for graph in networks().iter().take(8) {
            let mut bank = bank();
            let loss = |bank: &mut WeightBank, tracked: bool| {
                let loan = bank.lend(graph, tracked);
                let words = if tracked { words(&rows).autodiff() } else { words(&rows) };
                let masks = Masks::default();
                let (logits, _) = unroll(graph, &loan, words, &mut State::new(), Statistics::Running, &masks);
                (nats(logits, &labels).sum(), loan)
            };
            let (value, loan) = loss(&mut bank, true);
            let slopes = Slopes::of(graph, &loan, &mut value.backward());
            let n_parameters = bank.len();
            let norm = f64::from(slopes.norm().into_scalar::<f32>());
            let at = |bank: &WeightBank, step: f64| {
                let mut bank = bank.clone();
                bank.shift(&slopes, step / (norm * norm));
                f64::from(loss(&mut bank, false).0.into_scalar::<f32>())
            };
            let step = 0.01;
            let rise = (at(&bank, step) - at(&bank, -step)) / (2.0 * step);
            assert!((rise - 1.0).abs() < 0.02, "{rise} of {n_parameters} parameters, gradient {norm}");
        }
    }

    #[test]
    fn what_is_dropped_is_dropped_at_every_place() {
        let graph = lstm::elman(&SCALE).expect("it fits");
        let device = Compute::Cpu.device();
        let schedule = crate::Schedule { max: 1.0, min: 1.0, period: 1.0, growth: 1.0, warmup: 0.0, drops: None };
        let plain = Recipe { schedule, ..Recipe::words(1, 2) };
        let masks = |recipe: &Recipe| Masks::draw(&graph, 4, recipe, 1, 7, &device);
        let none = masks(&plain);
        assert!(none.input.is_empty() && none.state.is_empty() && none.output.is_none());
        // Without memory each word is answered as if it came first.
        let forgetful = masks(&Recipe { drop_state: 1.0 - 1e-12, ..plain.clone() });
        let loan = bank().lend(&graph, false);
        let ask = |rows: &[&[u32]], masks: &Masks| -> Vec<f32> {
            let words = words(rows).autodiff();
            let (logits, _) = unroll(&graph, &loan, words, &mut State::new(), Statistics::Running, masks);
            logits.inner().into_data().iter::<f32>().collect()
        };
        let row: &[u32] = &[3, 5];
        let found = ask(&[row; 4], &forgetful);
        let single: &[u32] = &[5];
        let alone = ask(&[single; 4], &Masks::default());
        check_close(&found[WORDS..2 * WORDS], &alone[..WORDS]);
        // The same masks at both places of a repeated word, others in another stream.
        let dropped = masks(&Recipe { drop_input: 0.5, dropout_keep: 0.5, drop_state: 1.0 - 1e-12, ..plain });
        let row: &[u32] = &[3, 3];
        let found = ask(&[row; 4], &dropped);
        check_close(&found[..WORDS], &found[WORDS..2 * WORDS]);
        assert_ne!(found[..WORDS], found[2 * WORDS..3 * WORDS]);
    }

    #[test]
    fn words_are_scored_by_their_probability() {
        let device = Compute::Cpu.device();
        let table = TensorData::new(vec![0.0_f32, 0.0, 3.0_f32.ln(), 0.0, 5.0, 5.0], [3, 2]);
        // A half, three quarters, and one that nobody asks about.
        let found = nats(Tensor::from_data(table, &device), &[1, 0, data::IGNORED]).sum().into_scalar::<f32>();
        let expected = -(0.5_f32.ln() + 0.75_f32.ln());
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }

    #[test]
    fn slowness_is_how_much_the_classifiers_input_changes() {
        let graph = lstm::elman(&SCALE).expect("it fits");
        let schedule = crate::Schedule { max: 1.0, min: 1.0, period: 1.0, growth: 1.0, warmup: 0.0, drops: None };
        let recipe = |slowness| Recipe { slowness, schedule, ..Recipe::words(1, 2) };
        let loan = bank().lend(&graph, false);
        let rows: [&[u32]; 2] = [&[3, 0, 8, 3], &[2, 2, 6, 0]];
        let labels = [0, 8, 3, 5, 2, 6, 0, data::IGNORED];
        let (masks, shares) = (Masks::default(), Shares::default());
        let made = || unroll_open(&graph, &loan, words(&rows), &mut State::new(), Statistics::Running, &masks, &shares);
        let loss = |slowness| made().loss(&labels, &recipe(slowness)).into_scalar::<f32>();
        let read: Vec<f32> = made().read.into_data().iter::<f32>().collect();
        let n = SCALE.channels;
        let value = |row: usize, place: usize, it: usize| read[(row * 4 + place) * n + it];
        let mut changes = Vec::new();
        for (row, place, it) in (0..2).flat_map(|row| (1..4).flat_map(move |at| (0..n).map(move |it| (row, at, it)))) {
            changes.push((value(row, place, it) - value(row, place - 1, it)).powi(2));
        }
        let expected = changes.iter().sum::<f32>() / changes.len() as f32;
        assert!(0.01 < expected, "the words are different");
        let found = (loss(0.5) - loss(0.0)) / 0.5;
        assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
    }
}
