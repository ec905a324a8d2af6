//! Resource constrained architecture search, RCAS (Y. Xiong, R. Mehta and V. Singh, 2019): accuracy as a function of the
//! set of blocks in a chain, maximised greedily under hard budgets.
//!
//! Where the accuracy has diminishing returns, an old gain bounds the new one from above, and only the element that
//! leads is evaluated again: this is the lazy part, and the reason why far fewer networks are trained than an eager
//! greedy search would train. Accuracy has diminishing returns only more or less; how often it had not is counted.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap},
};

use serde::{Deserialize, Serialize};
use targets::{Bound, Cost, Metric};

use super::{Chosen, Strategy};
use crate::{
    Result,
    evaluator::Evaluator,
    space::blocks::{BlockSpace, Chain, Element},
    study::Study,
    trials::{Effort, Trials},
};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `c(.)` of each run of the lazy greedy search.
    pub rules: Vec<Rule>,
    /// Whether to follow Algorithm 2 as it is printed rather than the prose beside it. The print begins with `F(v) / c(v)`
    /// where the prose has the gain of `v`, and evaluates the head of the queue afresh where the prose has its old gain.
    pub literal: bool,
    /// How each network is trained while searching.
    pub training: Training,
}

impl Default for Settings {
    /// Algorithm 3 and Section 4.1.
    fn default() -> Self {
        Self {
            rules: vec![Rule::Uniform, Rule::Per(Metric::Params), Rule::Per(Metric::Macs)],
            literal: false,
            training: Training::default(),
        }
    }
}

/// What a gain is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// UC: nothing.
    Uniform,
    /// APR per parameter, AMR per multiply-accumulate; or per what else is bounded, say latency. The cost of an element
    /// is what it adds to the network that the search starts from.
    Per(Metric),
}

/// A training whose learning rate falls in steps: what the paper's networks get, for whoever trains them.
///
/// The number of epochs that a search asks for is [`Effort::epochs`]: set it to [`Training::epochs`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Epochs in all.
    pub epochs: usize,
    /// First learning rate.
    pub lr: f64,
    /// What the learning rate is multiplied with after each of [`Training::drops`].
    pub decay: f64,
    /// Epochs after which the learning rate falls.
    pub drops: Vec<usize>,
    /// Nesterov momentum.
    pub momentum: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Images of each class that are taken from the training part for validation; all that the data set has where absent.
    pub validation_per_class: Option<usize>,
}

impl Default for Training {
    /// While searching: "an aggressive learning rate schedule".
    fn default() -> Self {
        Self {
            epochs: 10,
            lr: 0.1,
            decay: 0.1,
            drops: vec![4, 7, 9],
            momentum: 0.9,
            weight_decay: 4e-5,
            validation_per_class: Some(10),
        }
    }
}

impl Training {
    /// Of the network that was found, on CIFAR-100.
    pub fn cifar() -> Self {
        Self { epochs: 200, drops: vec![60, 120, 180], validation_per_class: None, ..Self::default() }
    }

    /// Of the network that was found, on ImageNet.
    pub fn imagenet() -> Self {
        Self { epochs: 400, lr: 0.01, drops: vec![200, 300], validation_per_class: None, ..Self::default() }
    }

    /// Learning rate in this epoch, from 0.
    pub fn lr_at(&self, epoch: usize) -> f64 {
        self.drops.iter().filter(|&&drop| drop <= epoch).fold(self.lr, |lr, _| lr * self.decay)
    }
}

/// RCAS.
#[derive(Debug)]
pub struct Rcas {
    settings: Settings,
    effort: Effort,
    /// What each run did, once the search is over.
    pub runs: Vec<Run>,
    /// `F`, for every set that was trained.
    accuracies: HashMap<Chain, f64>,
}

/// One lazy greedy search.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its rule.
    pub rule: Rule,
    /// Every set that it held, as the paper's supplement prints them: the one it started from first, its answer last.
    pub path: Vec<Chain>,
    /// `F` of its answer.
    pub accuracy: f64,
    /// Networks that were trained for this run, and for none before it.
    pub evaluations: usize,
    /// Whether it ended because nothing fits any more. Otherwise the effort was spent, or the deadline near.
    pub is_complete: bool,
    /// How far the accuracy was from what the guarantee `(1 - 1 / e) / 2` of the optimum supposes.
    pub violations: Violations,
}

/// Where the accuracy was seen to be no monotone function with diminishing returns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Violations {
    /// Gains that were computed.
    pub gains: usize,
    /// Those below zero: the element made the network worse.
    pub losses: usize,
    /// The largest loss, in points of `[0, 1]`.
    pub worst_loss: f64,
    /// Gains of an element for which its gain for a subset was known.
    pub pairs: usize,
    /// Those that were larger than for the subset.
    pub growths: usize,
    /// The largest growth, in points of `[0, 1]`.
    pub worst_growth: f64,
}

/// Name in studies.
pub const NAME: &str = "rcas";

/// Sets that are trained together in the first pass.
const TOGETHER: usize = 8;

/// Differences between accuracies below this are rounding.
const ROUNDING: f64 = 1e-9;

/// An entry of the priority queue.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    element: Element,
    /// `c(v)`.
    cost: f64,
    /// Its gain over its cost when it was last computed.
    ratio: f64,
}

/// The trials of this strategy.
type Work<'a, 'e> = Trials<'a, BlockSpace, dyn Evaluator + 'e>;

impl Rcas {
    /// RCAS. It draws nothing at random. [`Effort::evaluations`] should allow `L N` trainings for the first pass, and a
    /// few more for each block that is taken; what one run trained is not trained again by the next. A lower bound that a
    /// set breaks, if only for want of blocks, rules it out like an upper one.
    pub fn new(settings: Settings, effort: Effort) -> Self {
        Self { settings, effort, runs: Vec::new(), accuracies: HashMap::new() }
    }
}

impl Strategy<BlockSpace, dyn Evaluator + '_> for Rcas {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Algorithm 3, `RCAS`.
    ///
    /// The paper returns the most accurate of the runs' last sets. Here all sets that were trained are candidates, those
    /// among them: where more blocks never hurt, the answer is the same.
    fn search(
        &mut self,
        space: &BlockSpace,
        evaluator: &mut (dyn Evaluator + '_),
        study: &mut Study,
    ) -> Result<Vec<Chosen<Chain>>> {
        self.runs.clear();
        self.accuracies.clear();
        let mut trials = Trials::new(NAME, space, evaluator, study, self.effort)?;
        if let Some(ground) = Ground::new(&mut trials)? {
            for (epoch, rule) in self.settings.rules.clone().into_iter().enumerate() {
                trials.epoch(epoch);
                let run = self.lazy_ceg(&mut trials, &ground, rule)?;
                self.runs.extend(run);
            }
        }
        Ok(trials.ranked())
    }
}

impl Rcas {
    /// Algorithm 2, `Lazy-CEG`. `None` where not even the start could be trained.
    fn lazy_ceg(&mut self, trials: &mut Work<'_, '_>, ground: &Ground, rule: Rule) -> Result<Option<Run>> {
        let (space, before) = (trials.space, trials.n_trained());
        let mut set = ground.start.clone();
        let Some(mut accuracy) = self.f(trials, &set)? else { return Ok(None) };
        let mut path = vec![set.clone()];
        let (mut gains, mut queue) = (Gains::default(), BinaryHeap::new());
        let mut is_complete = true;

        // First iteration: all elements that fit.
        let singletons: Vec<Chain> = ground.elements.iter().map(|(element, _)| space.with(&set, *element)).collect();
        self.train_all(trials, &singletons)?;
        for (singleton, (element, costs)) in singletons.iter().zip(&ground.elements) {
            let Some(&with) = self.accuracies.get(singleton) else {
                is_complete = false;
                break;
            };
            let gain = gains.see(*element, path.len(), with - accuracy);
            let (benefit, cost) = (if self.settings.literal { with } else { gain }, ground.c(rule, costs));
            queue.push(Candidate { element: *element, cost, ratio: benefit / cost });
        }

        // Lazy update, until nothing fits.
        while let Some(mut candidate) = ground.next(trials, &set, &mut queue)? {
            let Some(with) = self.f(trials, &space.with(&set, candidate.element))? else {
                is_complete = false;
                break;
            };
            candidate.ratio = gains.see(candidate.element, path.len(), with - accuracy) / candidate.cost;
            let mut rival = queue.peek().map(|head| head.ratio);
            if self.settings.literal && path.len() == 1 {
                // The print takes the head of the first queue without a look at the next.
                rival = None;
            } else if self.settings.literal
                && let Some(mut head) = ground.next(trials, &set, &mut queue)?
            {
                let Some(with) = self.f(trials, &space.with(&set, head.element))? else {
                    is_complete = false;
                    break;
                };
                // The print divides by the cost of a loop that is over; the head's own is meant.
                head.ratio = gains.see(head.element, path.len(), with - accuracy) / head.cost;
                rival = Some(head.ratio);
                // It keeps the fresh gain, which the print throws away: two elements, one of which has gained since,
                // would be compared with each other for ever.
                queue.push(head);
            }
            if rival.is_none_or(|rival| rival <= candidate.ratio) {
                set = space.with(&set, candidate.element);
                accuracy = with;
                path.push(set.clone());
            } else {
                queue.push(candidate);
            }
        }
        let evaluations = trials.n_trained() - before;
        Ok(Some(Run { rule, path, accuracy, evaluations, is_complete, violations: gains.violations }))
    }

    /// `F`: the accuracy of the network that has these blocks. `None` when the effort is spent.
    fn f(&mut self, trials: &mut Work<'_, '_>, set: &Chain) -> Result<Option<f64>> {
        self.train_all(trials, std::slice::from_ref(set))?;
        Ok(self.accuracies.get(set).copied())
    }

    /// Trains those of `sets` that were not trained before, as far as the effort goes.
    fn train_all(&mut self, trials: &mut Work<'_, '_>, sets: &[Chain]) -> Result<()> {
        let fidelity = trials.fidelity();
        let new: Vec<_> = sets.iter().filter(|set| !self.accuracies.contains_key(set)).collect();
        for sets in new.chunks(TOGETHER) {
            if trials.is_over() {
                break;
            }
            let left = sets.len().min(trials.n_left());
            let proposed: Vec<_> = sets[..left].iter().map(|&set| (set.clone(), fidelity)).collect();
            let told = trials.propose_all(&proposed, |_| None)?;
            let known = proposed.into_iter().zip(told).filter_map(|((set, _), told)| Some((set, told.accuracy?)));
            self.accuracies.extend(known);
        }
        Ok(())
    }
}

/// The ground set as the budget leaves it.
struct Ground {
    /// The set that every run starts from: the layout's, or the empty one where the budget does not allow for that.
    start: Chain,
    start_cost: Cost,
    /// Elements that fit the start, with the cost of both together.
    elements: Vec<(Element, Cost)>,
    /// Of each bound whether no set may break it: all that the start keeps. A soft bound that even the start breaks says
    /// nothing about the blocks.
    keeps: Vec<bool>,
}

impl Ground {
    /// `None` where the budget allows for no start.
    fn new(trials: &mut Work<'_, '_>) -> Result<Option<Self>> {
        let mut starts = Vec::new();
        for start in [trials.space.initial(), trials.space.empty()] {
            let start_cost = trials.cost(&start)?;
            if trials.budget().admits(&start_cost) {
                let keeps = trials.budget().bounds.iter().map(|bound| is_kept(bound, &start_cost)).collect();
                starts.push(Self { start, start_cost, elements: Vec::new(), keeps });
            }
        }
        let n_broken = |ground: &Self| ground.keeps.iter().filter(|is_kept| !**is_kept).count();
        // Of equals the first: the layout's own.
        let Some(mut ground) = starts.into_iter().min_by_key(n_broken) else { return Ok(None) };
        for element in trials.space.elements().filter(|element| !ground.start.has_at(*element)) {
            let cost = trials.cost(&trials.space.with(&ground.start, element))?;
            if ground.allows(trials, &cost) {
                ground.elements.push((element, cost));
            }
        }
        Ok(Some(ground))
    }

    /// `c(v)` of an element, of which `costs` are those together with the start.
    fn c(&self, rule: Rule, costs: &Cost) -> f64 {
        let Rule::Per(metric) = rule else { return 1.0 };
        let value = |cost: &Cost| cost.get(metric).map_or(0.0, |figure| figure.value);
        // Where an element costs nothing, or the metric is not known, any gain is worth it.
        (value(costs) - value(&self.start_cost)).max(f64::MIN_POSITIVE)
    }

    fn allows(&self, trials: &Work<'_, '_>, cost: &Cost) -> bool {
        let budget = trials.budget();
        budget.admits(cost) && budget.bounds.iter().zip(&self.keeps).all(|(bound, &keep)| !keep || is_kept(bound, cost))
    }

    /// Takes the head of the queue. What stands before it and does not fit is dropped: sets only grow, and it will not
    /// fit later.
    fn next(
        &self,
        trials: &mut Work<'_, '_>,
        set: &Chain,
        queue: &mut BinaryHeap<Candidate>,
    ) -> Result<Option<Candidate>> {
        while let Some(candidate) = queue.pop() {
            if set.has_at(candidate.element) {
                continue;
            }
            let cost = trials.cost(&trials.space.with(set, candidate.element))?;
            if self.allows(trials, &cost) {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }
}

fn is_kept(bound: &Bound, cost: &Cost) -> bool {
    cost.get(bound.metric).is_some_and(|figure| bound.excess(figure.value) <= 0.0)
}

/// The gains of one run, held against what the guarantee supposes.
#[derive(Debug, Default)]
struct Gains {
    /// Of each element the last gain, and for how many sets of the path.
    last: HashMap<Element, (usize, f64)>,
    violations: Violations,
}

impl Gains {
    /// Counts a gain for the set that the path ended with when it had `n_sets`; returns it.
    fn see(&mut self, element: Element, n_sets: usize, gain: f64) -> f64 {
        let before = self.last.insert(element, (n_sets, gain));
        if before.is_some_and(|(same, _)| same == n_sets) {
            return gain;
        }
        let Violations { gains, losses, worst_loss, pairs, growths, worst_growth } = &mut self.violations;
        *gains += 1;
        *losses += usize::from(gain < -ROUNDING);
        *worst_loss = worst_loss.max(-gain);
        if let Some((_, smaller)) = before {
            *pairs += 1;
            *growths += usize::from(smaller + ROUNDING < gain);
            *worst_growth = worst_growth.max(gain - smaller);
        }
        gain
    }
}

/// By ratio; of equals the earlier position and the earlier type leads.
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ratio.total_cmp(&other.ratio).then(other.element.cmp(&self.element))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}
