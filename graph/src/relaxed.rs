//! Networks some of whose choices are still open: how their [`Op::Mix`] and [`Op::Weigh`] nodes weigh what they
//! read, and what is to be expected of their cost.

use serde::{Deserialize, Serialize};

use crate::{
    Graph, NodeId, Op,
    cost::{self, F32_BYTES},
    fold,
    weights::{own_parameters, parameters},
};

/// `alpha`: for each key of a network's mixes a row of logits, one for each value that they read, in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mixture {
    /// By key, then by option. One of them is finite in each row; minus infinity rules an option out.
    pub logits: Vec<Vec<f32>>,
}

impl Mixture {
    /// Every option as likely as its neighbours; `options` has their number by key.
    pub fn even(options: &[usize]) -> Self {
        Self { logits: options.iter().map(|&n| vec![0.0; n]).collect() }
    }

    /// Nothing left open: for each key the weight of one option is 1, and exactly 0 of the others, which need not be
    /// computed.
    pub fn decided(options: &[usize], chosen: &[usize]) -> Self {
        let logit = |it, chosen| if it == chosen { 0.0 } else { f32::NEG_INFINITY };
        let row = |(&n, &chosen): (&usize, &usize)| (0..n).map(|it| logit(it, chosen)).collect();
        Self { logits: options.iter().zip(chosen).map(row).collect() }
    }

    /// The weights of the options of `key`, the softmax of its row: they sum to 1.
    pub fn weights(&self, key: usize) -> Vec<f64> {
        self.log_weights(key).into_iter().map(f64::exp).collect()
    }

    /// Logarithms of [`Mixture::weights`].
    pub fn log_weights(&self, key: usize) -> Vec<f64> {
        let row = self.logits[key].iter().map(|&it| f64::from(it));
        let largest = row.clone().fold(f64::NEG_INFINITY, f64::max);
        let sum = row.clone().map(|it| (it - largest).exp()).sum::<f64>().ln();
        row.map(|it| it - largest - sum).collect()
    }

    /// Number of options by key.
    pub fn options(&self) -> Vec<usize> {
        self.logits.iter().map(Vec::len).collect()
    }
}

impl Graph {
    /// The first node whose choice is still open. A network that has one cannot ship.
    pub fn relaxed_node(&self) -> Option<NodeId> {
        self.ids().find(|&id| matches!(self.op(id), Op::Mix(_) | Op::Weigh { .. }))
    }
}

/// What may be counted option by option: costs that are sums over operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// As [`StaticCost::params`](cost::StaticCost::params).
    Params,
    /// As [`StaticCost::macs`](cost::StaticCost::macs).
    Macs,
    /// As [`StaticCost::model_bytes`](cost::StaticCost::model_bytes).
    ModelBytes,
    /// As [`StaticCost::traffic_bytes`](cost::StaticCost::traffic_bytes).
    TrafficBytes,
}

/// A cost of a relaxed network, by the options that it is paid for.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionCosts {
    /// Of what stays, whatever is chosen.
    pub fixed: f64,
    /// By key, then by option: of what goes when this option is not chosen, over all nodes of the key. Keys that no
    /// node has are empty.
    pub options: Vec<Vec<f64>>,
}

impl OptionCosts {
    /// The expected cost: what is fixed, and `sum_k softmax(alpha)_k * cost_k` over the options of each key.
    pub fn expected(&self, alpha: &Mixture) -> f64 {
        self.fixed + (0..self.options.len()).map(|key| self.expected_of(alpha, key)).sum::<f64>()
    }

    /// The gradient of [`OptionCosts::expected`]: `softmax(alpha)_k * (cost_k - sum_j softmax(alpha)_j * cost_j)`.
    pub fn gradient(&self, alpha: &Mixture) -> Vec<Vec<f64>> {
        let row = |(key, costs): (usize, &Vec<f64>)| {
            let expected = self.expected_of(alpha, key);
            costs.iter().zip(alpha.weights(key)).map(|(cost, weight)| weight * (cost - expected)).collect()
        };
        self.options.iter().enumerate().map(row).collect()
    }

    fn expected_of(&self, alpha: &Mixture, key: usize) -> f64 {
        let costs = &self.options[key];
        if costs.is_empty() { 0.0 } else { costs.iter().zip(alpha.weights(key)).map(|(cost, p)| cost * p).sum() }
    }
}

/// What the options of a relaxed network cost.
///
/// A node is an option's if every path from it to the output enters a mix by that option, or is weighed by it, whatever
/// the mix; where mixes stand behind one another, the first on its way. All others are fixed: what several options read,
/// what is read beside them. The mixes themselves cost nothing here, for nothing of them ships.
pub fn option_costs(graph: &Graph, counted: Counted) -> OptionCosts {
    match counted {
        Counted::Params => sum_by_option(graph, |id| cost::params(graph, id)),
        Counted::Macs => sum_by_option(graph, |id| cost::macs(graph, id)),
        Counted::ModelBytes | Counted::TrafficBytes => {
            let shipped = fold::shipped(graph);
            let elements = |id| shipped.shape(id).elements() as u64;
            let weights = |id| match shipped.op(id) {
                Op::Zero(_) => elements(id),
                // One row is read of an embedding, and all of it ships.
                Op::Embed(table) if counted == Counted::TrafficBytes => table.features as u64,
                _ => {
                    let read = if counted == Counted::TrafficBytes { parameters } else { own_parameters };
                    read(&shipped, id).iter().map(|(_, dims)| dims.iter().product::<usize>() as u64).sum()
                }
            };
            let moved = |id| match shipped.op(id) {
                Op::Input | Op::Memory(_) => 0,
                _ => elements(id) + shipped.inputs(id).iter().map(|&it| elements(it)).sum::<u64>(),
            };
            let is_traffic = counted == Counted::TrafficBytes;
            sum_by_option(&shipped, |id| F32_BYTES * (weights(id) + if is_traffic { moved(id) } else { 0 }))
        }
    }
}

fn sum_by_option(graph: &Graph, cost: impl Fn(NodeId) -> u64) -> OptionCosts {
    let (mut fixed, mut options): (f64, Vec<Vec<f64>>) = (0.0, Vec::new());
    for id in graph.ids() {
        if let Some((key, at_least)) = weighed(graph, id) {
            options.resize(options.len().max(key + 1), Vec::new());
            let n_options = options[key].len().max(at_least);
            options[key].resize(n_options, 0.0);
        }
    }
    for (id, owner) in graph.ids().zip(owners(graph)) {
        match owner {
            _ if weighed(graph, id).is_some() => {}
            Some((key, option)) => options[key][option] += cost(id) as f64,
            None => fixed += cost(id) as f64,
        }
    }
    OptionCosts { fixed, options }
}

/// The key of what weighs by a mixture, and how many options its row has at least.
fn weighed(graph: &Graph, id: NodeId) -> Option<(usize, usize)> {
    match graph.op(id) {
        Op::Mix(key) => Some((*key as usize, graph.inputs(id).len())),
        Op::Weigh { key, option } => Some((*key as usize, *option as usize + 1)),
        _ => None,
    }
}

/// By node, the key and the option that it goes with, as [`option_costs`] says; `None` for what is fixed.
pub fn owners(graph: &Graph) -> Vec<Option<(usize, usize)>> {
    let mut owners: Vec<Owner> = vec![Owner::Unread; graph.n_nodes()];
    for id in graph.ids().rev() {
        for (place, input) in graph.inputs(id).iter().enumerate() {
            let by = match (graph.op(id), owners[id.index()]) {
                (Op::Mix(key), _) => Owner::Option(*key as usize, place),
                (Op::Weigh { key, option }, _) => Owner::Option(*key as usize, *option as usize),
                (_, Owner::Option(key, option)) => Owner::Option(key, option),
                (_, Owner::Unread | Owner::Many) => Owner::Many,
            };
            let owner = &mut owners[input.index()];
            *owner = if *owner == Owner::Unread || *owner == by { by } else { Owner::Many };
        }
    }
    let option = |owner| match owner {
        Owner::Option(key, option) => Some((key, option)),
        Owner::Unread | Owner::Many => None,
    };
    owners.into_iter().map(option).collect()
}

/// Who needs a node, as far as its readers have been seen.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Unread,
    Option(usize, usize),
    Many,
}
