//! A recurrent controller trained by REINFORCE: the policy of NAS-RL, NASNet, ENAS and B-ENAS.
//!
//! An LSTM answers the questions of a space one after the other; its input is an embedding of the
//! previous answer. Each kind of question has a linear head. Inputs are picked by attention over the
//! states that exist, as in ENAS: when a state comes into being the controller drops an anchor, its
//! hidden vector there, and later questions score the anchors.
//!
//! Whether an earlier state is read as well is asked of one anchor after the other, as in NAS-RL: the
//! `k`-th [`Kind::Skip`] question since the last anchor is about the `k`-th anchor, the oldest first. Such
//! questions in a row are answered by one hidden vector; right behind an anchor it is that anchor's own.

use data::keyed::ChaCha8Rng;
use graph::weights::{Weights, WeightsError};
use serde::{Deserialize, Serialize};

use super::{Adam, Baseline, Gradient, Parameters, Pick, Tape, Var, Walked, parameters::Matrix};
use crate::chooser::{Chooser, Kind, Question};

/// Settings of the controller. Where B-ENAS is silent the values are ENAS's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerSettings {
    /// LSTM layers.
    #[serde(default = "two")]
    pub layers: usize,
    /// Units of each LSTM layer. B-ENAS's number is lost; 64 is that of ENAS's
    /// first text. Reconstruction.
    pub hidden: usize,
    /// First values are uniform in plus and minus this (ENAS: 0.1).
    #[serde(default = "tenth")]
    pub spread: f64,
    /// Learning rate of Adam.
    pub lr: f64,
    /// Adam's decay of the first moment.
    pub beta_1: f64,
    /// Adam's decay of the second moment.
    pub beta_2: f64,
    /// Adam's epsilon.
    pub epsilon: f64,
    /// Logits are divided by this before anything else.
    pub temperature: f64,
    /// Logits are squeezed into plus and minus this by `tanh`; 0 leaves them as they are.
    pub tanh_constant: f64,
    /// The `tanh` constant of [`Kind::Op`] is smaller by this factor (ENAS's search for cells: 2.5).
    #[serde(default = "one")]
    pub op_tanh_reduce: f64,
    /// Wanted probability of a skip (ENAS's search for whole networks: 0.4).
    #[serde(default = "two_fifths")]
    pub skip_target: f64,
    /// Weight, against the objective, of how far skips are from their target: see [`Walked::divergence`].
    #[serde(default)]
    pub skip_weight: f64,
    /// Weight of the policy's entropy in the objective: keeps it from settling too early.
    pub entropy: f64,
    /// Decay of the moving average of rewards, the baseline of formula (5).
    pub baseline_decay: f64,
}

fn two() -> usize {
    2
}

fn tenth() -> f64 {
    0.1
}

fn one() -> f64 {
    1.0
}

fn two_fifths() -> f64 {
    0.4
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            layers: two(),
            hidden: 64,
            spread: tenth(),
            lr: 0.00035,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            temperature: 5.0,
            tanh_constant: 2.5,
            op_tanh_reduce: one(),
            skip_target: two_fifths(),
            skip_weight: 0.0,
            entropy: 1e-4,
            baseline_decay: 0.99,
        }
    }
}

/// The policy `pi(c; theta)`.
#[derive(Debug)]
pub struct Controller {
    settings: ControllerSettings,
    theta: Parameters,
    /// Average of the rewards.
    baseline: Baseline,
    /// States that exist before the first question, such as the two previous cells.
    given: usize,
}

impl Controller {
    /// A fresh policy, drawn from `seed`, for spaces with [`given`](crate::space::SearchSpace::given) states.
    pub fn new(settings: ControllerSettings, given: usize, seed: u64) -> Self {
        let theta = Parameters::new(seed, settings.spread);
        Self { settings, theta, baseline: Baseline::default(), given }
    }

    /// `c ~ pi(c; theta)` through any asking function, drawn with `rng`; and how the policy came to it.
    pub fn sample<A>(&mut self, rng: ChaCha8Rng, ask: impl FnOnce(&mut dyn Chooser) -> A) -> (A, Walked) {
        self.walk(Pick::Draw(rng), ask)
    }

    /// What the policy now thinks of answers that were given before.
    pub fn repeat<A>(&mut self, answers: &[usize], ask: impl FnOnce(&mut dyn Chooser) -> A) -> (A, Walked) {
        self.walk(Pick::Repeat(answers), ask)
    }

    fn walk<A>(&mut self, pick: Pick<'_>, ask: impl FnOnce(&mut dyn Chooser) -> A) -> (A, Walked) {
        let mut walk = Walk::new(self, pick);
        let arch = ask(&mut walk);
        (arch, walk.walked)
    }

    /// One Adam step on formula (5): the mean over samples of
    /// `grad log pi(c) * (R - average reward)`, plus the weighted entropy, less the weighted divergence of skips.
    /// Returns the advantages.
    pub fn reinforce(&mut self, sampled: &[(Walked, f64)]) -> Vec<f64> {
        let advantages: Vec<f64> =
            sampled.iter().map(|(_, reward)| self.baseline.advantage(*reward, self.settings.baseline_decay)).collect();
        self.ascend(sampled.iter().map(|(walked, _)| walked).zip(advantages.iter().copied()));
        advantages
    }

    /// One Adam step up the mean over samples of `weight * grad log pi(c)`, plus the weighted entropy, less the
    /// weighted divergence of skips.
    pub fn ascend<'a>(&mut self, weighted: impl ExactSizeIterator<Item = (&'a Walked, f64)>) {
        let n = weighted.len() as f64;
        let mut gradient = Gradient::default();
        for (walked, weight) in weighted {
            walked.learn(&self.theta, weight / n, self.settings.entropy / n, &mut gradient);
            let ControllerSettings { skip_target, skip_weight, .. } = self.settings;
            if skip_weight != 0.0 {
                walked.learn_skips(&self.theta, skip_target, skip_weight / n, &mut gradient);
            }
        }
        let ControllerSettings { lr, beta_1, beta_2, epsilon, .. } = self.settings;
        self.theta.ascend(&gradient, Adam { lr, beta_1, beta_2, epsilon });
    }

    /// How much better than the average `reward` is; the average then moves towards it.
    pub fn advantage(&mut self, reward: f64) -> f64 {
        self.baseline.advantage(reward, self.settings.baseline_decay)
    }

    /// Everything the next sample or update depends on.
    pub fn save(&self) -> ControllerState {
        let weights = self.theta.save("controller");
        ControllerState { updates: self.theta.updates(), baseline: self.baseline, weights }
    }

    /// Continues from a state that [`Controller::save`] returned.
    ///
    /// # Errors
    /// A tensor is missing.
    pub fn restore(&mut self, state: &ControllerState) -> Result<(), WeightsError> {
        self.baseline = state.baseline;
        self.theta.restore("controller", state.updates, &state.weights)
    }
}

/// A controller between two updates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ControllerState {
    /// Adam steps taken.
    pub updates: i32,
    /// The average reward.
    pub baseline: Baseline,
    /// Tensors and moments; stored beside the shared weights.
    #[serde(skip)]
    pub weights: Weights,
}

/// One walk through a space's questions.
struct Walk<'a> {
    theta: &'a mut Parameters,
    settings: &'a ControllerSettings,
    pick: Pick<'a>,
    walked: Walked,
    layers: Vec<Layer>,
    /// Embedding of the previous answer, `[hidden]`.
    input: Var,
    /// Hidden vector at each state that may be picked, and its share in the attention, `[hidden]`.
    anchors: Vec<(Var, Var)>,
    /// The last hidden vector, unless an answer was given since that a step must tell the LSTM of.
    at: Option<Var>,
    skips: Skips,
    /// How many of the anchors were given.
    given: usize,
}

/// What questions about skip connections share.
#[derive(Default)]
struct Skips {
    /// `W_prev h_j` of each anchor that was ever asked about, `[hidden]`.
    previous: Vec<Var>,
    /// `W_curr h_i` of the last hidden vector, once somebody has asked, `[hidden]`.
    current: Option<Var>,
    /// Questions since the last anchor.
    asked: usize,
    /// Anchors that were connected since.
    connected: Vec<Var>,
}

/// One LSTM layer and its state.
struct Layer {
    /// Of the input, `[hidden, 4 hidden]`.
    above: Matrix,
    /// Of the layer's own last output, `[hidden, 4 hidden]`.
    before: Matrix,
    /// `[1, 4 hidden]`.
    bias: Matrix,
    h: Var,
    c: Var,
}

impl<'a> Walk<'a> {
    fn new(controller: &'a mut Controller, pick: Pick<'a>) -> Self {
        let Controller { settings, theta, given, .. } = controller;
        let hidden = settings.hidden;
        let mut walked = Walked::default();
        let zeros = walked.tape.constant(&vec![0.0; hidden]);
        let layers = (0..settings.layers).map(|nth| {
            let mut matrix = |name, rows| theta.matrix(&format!("lstm{nth}/{name}"), rows, 4 * hidden);
            let (above, before, bias) = (matrix("input", hidden), matrix("recurrent", hidden), matrix("bias", 1));
            Layer { above, before, bias, h: zeros, c: zeros }
        });
        let layers = layers.collect();
        let start = theta.matrix("start", 1, hidden);
        let start = walked.tape.row(theta, start, 0);
        let (anchors, skips) = (Vec::new(), Skips::default());
        let (input, at, given) = (start, None, *given);
        let mut walk = Self { theta, settings, pick, walked, layers, input, anchors, at, skips, given };
        for _ in 0..given {
            walk.define();
            walk.input = start;
        }
        walk
    }

    /// Feeds the previous answer to the LSTM; returns the uppermost layer's hidden vector.
    fn advance(&mut self) -> Var {
        let (tape, hidden) = (&mut self.walked.tape, self.settings.hidden);
        let mut x = self.input;
        for layer in &mut self.layers {
            let terms = [
                tape.product(self.theta, x, layer.above),
                tape.product(self.theta, layer.h, layer.before),
                tape.row(self.theta, layer.bias, 0),
            ];
            let gates = tape.sum(&terms);
            let state = tape.lstm(gates, layer.c);
            (layer.h, layer.c) = (state.slice(0, hidden), state.slice(hidden, hidden));
            x = layer.h;
        }
        (self.at, self.skips.current) = (Some(x), None);
        x
    }

    /// Scores of `question`'s options, `[options]`.
    fn logits(&mut self, question: Question, hidden: Var) -> Var {
        let (tape, n) = (&mut self.walked.tape, self.settings.hidden);
        if question.kind != Kind::Input {
            let head = self.theta.matrix(&head(question), n, question.options);
            return tape.product(self.theta, hidden, head);
        }
        let (query, score) = (self.theta.matrix("query", n, n), self.theta.matrix("score", n, 1));
        let query = tape.product(self.theta, hidden, query);
        let scores: Vec<Var> = self
            .anchors
            .iter()
            .take(question.options)
            .map(|&(_, key)| {
                let met = tape.sum(&[key, query]);
                let met = tape.tanh(met);
                tape.product(self.theta, met, score)
            })
            .collect();
        tape.join(&scores)
    }

    /// Whether the anchor asked about is read as well; `None` where the question is about none. NAS-RL's
    /// `P(yes) = sigmoid(v tanh(W_prev h_j + W_curr h_i))` is the second of two options whose logits are 0 and
    /// `v tanh(..)`.
    fn skip(&mut self, question: Question) -> Option<usize> {
        let nth = self.skips.asked;
        let &(anchor, _) = self.anchors.get(nth).filter(|_| question.kind == Kind::Skip && question.options == 2)?;
        let hidden = self.at.unwrap_or_else(|| self.advance());
        let (tape, n) = (&mut self.walked.tape, self.settings.hidden);
        let (previous, current) = (self.theta.matrix("skip/previous", n, n), self.theta.matrix("skip/current", n, n));
        let score = self.theta.matrix("skip/score", n, 1);
        for idx in self.skips.previous.len()..=nth {
            self.skips.previous.push(tape.product(self.theta, self.anchors[idx].0, previous));
        }
        let current = *self.skips.current.get_or_insert_with(|| tape.product(self.theta, hidden, current));
        let met = tape.sum(&[self.skips.previous[nth], current]);
        let met = tape.tanh(met);
        let yes = tape.product(self.theta, met, score);
        let no = tape.constant(&[0.0]);
        let logits = tape.join(&[no, yes]);
        let log_p = squeezed(tape, logits, question.kind, self.settings);
        self.walked.skips.push((self.walked.answers.len(), log_p));
        let answer = self.walked.answer(log_p, &mut self.pick);
        self.skips.asked += 1;
        if answer == 1 {
            // The next decision should know of all states that were connected, as in ENAS; NAS-RL does not say what
            // its LSTM reads there. Reconstruction.
            self.skips.connected.push(anchor);
            let sum = self.walked.tape.sum(&self.skips.connected);
            self.input = self.walked.tape.scale(sum, 1.0 / self.skips.connected.len() as f32);
        }
        Some(answer)
    }
}

impl Chooser for Walk<'_> {
    fn choose(&mut self, question: Question) -> usize {
        if let Some(answer) = self.skip(question) {
            return answer;
        }
        let hidden = self.advance();
        let logits = self.logits(question, hidden);
        let log_p = squeezed(&mut self.walked.tape, logits, question.kind, self.settings);
        if question.kind == Kind::Skip && question.options == 2 {
            self.walked.skips.push((self.walked.answers.len(), log_p));
        }
        let answer = self.walked.answer(log_p, &mut self.pick);
        self.input = match question.kind {
            // The picked state is what the next decision should know of.
            Kind::Input => self.anchors[answer].0,
            _ => {
                let embedding = format!("{}/embedding", head(question));
                let embedding = self.theta.matrix(&embedding, question.options, self.settings.hidden);
                self.walked.tape.row(self.theta, embedding, answer)
            }
        };
        self.at = None;
        answer
    }

    fn define(&mut self) {
        let hidden = self.advance();
        let anchor = self.theta.matrix("anchor", self.settings.hidden, self.settings.hidden);
        let key = self.walked.tape.product(self.theta, hidden, anchor);
        self.anchors.push((hidden, key));
        let previous = std::mem::take(&mut self.skips.previous);
        self.skips = Skips { previous, ..Skips::default() };
    }

    fn forget(&mut self) {
        self.anchors.truncate(self.given);
        let mut previous = std::mem::take(&mut self.skips.previous);
        previous.truncate(self.given);
        self.skips = Skips { previous, ..Skips::default() };
    }
}

/// Questions of one kind and as many options share what is learned of them.
fn head(question: Question) -> String {
    format!("{:?}{}", question.kind, question.options)
}

/// Log-probabilities of logits under the settings' temperature and `tanh` constant.
fn squeezed(tape: &mut Tape, logits: Var, kind: Kind, settings: &ControllerSettings) -> Var {
    let ControllerSettings { temperature, op_tanh_reduce, .. } = *settings;
    let tanh_constant = settings.tanh_constant / if kind == Kind::Op { op_tanh_reduce } else { 1.0 };
    let mut x = logits;
    if temperature != 1.0 {
        x = tape.scale(x, (1.0 / temperature) as f32);
    }
    if 0.0 < tanh_constant {
        x = tape.tanh(x);
        x = tape.scale(x, tanh_constant as f32);
    }
    tape.log_softmax(x)
}
