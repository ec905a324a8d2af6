//! The layer table: every operation of the network as it ships, a group for each cell.

use std::collections::BTreeMap;

use graph::{Conv2d, Graph, NodeId, Op, Pool2d, Shape, cost, fold};
use targets::Metric;

use super::comparison::percent;

/// The network as it ships.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layers {
    /// Cells and what stands around them, in execution order.
    pub(super) groups: Vec<Group>,
    /// Everything together.
    pub(super) total: Figures,
    /// Whether operations were timed on a device.
    pub(super) timed: bool,
    /// Why the sums here differ from figures elsewhere in the report.
    pub(super) note: String,
}

/// Operations whose names begin alike.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    /// What they share: `cell3`; `head` for those at the end that share nothing.
    pub(super) name: String,
    /// Shape of the last one's output.
    pub(super) shape: String,
    /// Sums.
    pub(super) figures: Figures,
    /// Length of its bar for the style sheet: its share relative to the largest group's.
    pub(super) bar: String,
    /// Each of them.
    pub(super) rows: Vec<Row>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Its name within its group.
    pub(super) name: String,
    /// What it computes.
    pub(super) op: String,
    /// Shape of its output.
    pub(super) shape: String,
    /// What it costs.
    pub(super) figures: Figures,
}

/// Costs as shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Operations.
    pub(super) n: usize,
    /// Weights as shipped.
    pub(super) weights: String,
    /// Multiply-accumulates.
    pub(super) macs: String,
    /// Measured time; empty where it was not measured.
    pub(super) time: String,
    /// Share of the network's measured time, or of its multiply-accumulates without one.
    pub(super) share: String,
}

/// Costs as counted.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    n: usize,
    weights: u64,
    macs: u64,
    seconds: Option<f64>,
}

/// The table for the network `graph` as trained. `seconds` holds times of the shipped file's nodes
/// by name; an engine may split an operation and add a suffix.
pub(super) fn layers(graph: &Graph, seconds: Option<&[(String, f64)]>) -> Layers {
    let shipped = fold::shipped(graph);
    let (times, unclaimed) = seconds.map(|it| attributed(&shipped, it)).unwrap_or_default();
    let ops: Vec<(NodeId, String, Sum)> = shipped
        .ids()
        .filter(|&id| *shipped.op(id) != Op::Input)
        .map(|id| {
            let (weights, macs) = (cost::params(&shipped, id), cost::macs(&shipped, id));
            (id, shipped.name(id), Sum { n: 1, weights, macs, seconds: times.get(&id).copied() })
        })
        .collect();
    let total = sum(ops.iter().map(|it| it.2));
    let alike = |a: &(NodeId, String, Sum), b: &(NodeId, String, Sum)| {
        let prefix = |name: &str| name.split_once('/').map(|it| it.0.to_owned());
        prefix(&a.1) == prefix(&b.1)
    };
    let of = |ops: &[(NodeId, String, Sum)]| sum(ops.iter().map(|it| it.2));
    let largest = ops.chunk_by(alike).map(|ops| share(of(ops), total)).fold(f64::MIN_POSITIVE, f64::max);
    let group = |ops: &[(NodeId, String, Sum)]| {
        let prefix = ops[0].1.split_once('/').map(|it| it.0);
        let row = |(id, name, sum): &(NodeId, String, Sum)| Row {
            name: prefix.and_then(|it| name.strip_prefix(it)).map_or(name.as_str(), |it| &it[1..]).to_owned(),
            op: describe(&shipped, *id),
            shape: dims(shipped.shape(*id)),
            figures: figures(*sum, total),
        };
        Group {
            name: prefix.unwrap_or("head").to_owned(),
            shape: ops.last().map_or_else(String::new, |it| dims(shipped.shape(it.0))),
            figures: figures(of(ops), total),
            bar: format!("{:.1}%", 100.0 * share(of(ops), total) / largest),
            rows: ops.iter().map(row).collect(),
        }
    };
    let groups = ops.chunk_by(alike).map(group).collect();
    Layers { groups, total: figures(total, total), timed: seconds.is_some(), note: note(graph, total, unclaimed) }
}

/// Seconds by node, and seconds of what belongs to none.
fn attributed(shipped: &Graph, seconds: &[(String, f64)]) -> (BTreeMap<NodeId, f64>, f64) {
    let by_name: BTreeMap<String, NodeId> = shipped.ids().map(|id| (shipped.name(id), id)).collect();
    let (mut times, mut unclaimed) = (BTreeMap::new(), 0.0);
    for (name, seconds) in seconds {
        // The longest name of ours that this one begins with, cut where a word ends.
        let cuts = name.char_indices().rev().filter(|(_, letter)| !letter.is_alphanumeric()).map(|(at, _)| &name[..at]);
        match std::iter::once(name.as_str()).chain(cuts).find_map(|it| by_name.get(it)) {
            Some(&id) => *times.entry(id).or_insert(0.0) += seconds,
            None => unclaimed += seconds,
        }
    }
    (times, unclaimed)
}

fn sum(parts: impl Iterator<Item = Sum>) -> Sum {
    parts.fold(Sum::default(), |sum, it| Sum {
        n: sum.n + it.n,
        weights: sum.weights + it.weights,
        macs: sum.macs + it.macs,
        seconds: sum.seconds.into_iter().chain(it.seconds).reduce(|a, b| a + b),
    })
}

/// Of the measured time, or of the multiply-accumulates where nothing was timed.
fn share(it: Sum, total: Sum) -> f64 {
    match total.seconds {
        Some(all) if 0.0 < all => it.seconds.unwrap_or(0.0) / all,
        Some(_) | None if total.macs == 0 => 0.0,
        Some(_) | None => it.macs as f64 / total.macs as f64,
    }
}

fn figures(it: Sum, total: Sum) -> Figures {
    let count = |metric: Metric, n: u64| if n == 0 { String::new() } else { metric.format(n as f64) };
    Figures {
        n: it.n,
        weights: count(Metric::Params, it.weights),
        macs: count(Metric::Macs, it.macs),
        time: it.seconds.map_or_else(String::new, |seconds| Metric::Latency.format(seconds)),
        share: percent(share(it, total), 1),
    }
}

fn note(graph: &Graph, total: Sum, unclaimed: f64) -> String {
    let trained = cost::static_cost(graph).params;
    let mut note = format!(
        "Batch norm is folded into the convolutions: {} weights ship, {} parameters were trained.",
        Metric::Params.format(total.weights as f64),
        Metric::Params.format(trained as f64)
    );
    if total.seconds.is_some() {
        note.push_str(" Times of single operations explain the latency; they do not add up to it exactly.");
    }
    if 0.0 < unclaimed {
        let time = Metric::Latency.format(unclaimed);
        note.push_str(&format!(" {time} went into steps of the engine that belong to no operation of the network."));
    }
    note
}

fn dims(shape: Shape) -> String {
    let dims: Vec<String> = shape.dims().iter().map(usize::to_string).collect();
    dims.join("×")
}

fn describe(graph: &Graph, id: NodeId) -> String {
    let fan_in = graph.inputs(id).first().map_or(0, |&input| graph.shape(input).channels());
    match graph.op(id) {
        Op::Conv2d(conv) => convolution(conv, fan_in),
        Op::MaxPool(pool) => window("max pool", pool),
        Op::AvgPool(pool) => window("average pool", pool),
        Op::Linear(_) => "linear".to_owned(),
        Op::BatchNorm => "batch norm".to_owned(),
        Op::GlobalAvgPool => "global average pool".to_owned(),
        Op::Add => format!("add {}", graph.inputs(id).len()),
        Op::Concat => format!("concat {}", graph.inputs(id).len()),
        Op::ChannelsLast => "channels last".to_owned(),
        Op::Mul => format!("multiply {}", graph.inputs(id).len()),
        Op::Mean => format!("mean {}", graph.inputs(id).len()),
        Op::Sub => "subtract".to_owned(),
        Op::Embed(table) => format!("row of {} words", table.words),
        Op::Mix(_) => format!("mix {}", graph.inputs(id).len()),
        Op::Slice { from, channels } => format!("channels {from} to {}", from + channels),
        Op::Resize([height, width]) => format!("resize to {height}×{width}"),
        op @ (Op::Input | Op::Memory(_) | Op::Activation(_) | Op::Identity | Op::Zero(_) | Op::Weigh { .. }) => {
            op.name().to_lowercase()
        }
    }
}

fn convolution(conv: &Conv2d, fan_in: usize) -> String {
    let kind = match conv.groups {
        1 => "conv".to_owned(),
        groups if groups == fan_in => "depthwise conv".to_owned(),
        groups => format!("conv in {groups} groups"),
    };
    let dilation = if conv.dilation == [1, 1] { String::new() } else { format!(", dilation {}", conv.dilation[0]) };
    format!("{} {kind}{}{dilation}", square(conv.kernel), stride(conv.stride))
}

fn window(kind: &str, pool: &Pool2d) -> String {
    format!("{} {kind}{}", square(pool.kernel), stride(pool.stride))
}

fn square([height, width]: [usize; 2]) -> String {
    format!("{height}×{width}")
}

fn stride(stride: [usize; 2]) -> String {
    match stride {
        [1, 1] => String::new(),
        [a, b] if a == b => format!(", stride {a}"),
        other => format!(", stride {}", square(other)),
    }
}

#[cfg(test)]
mod tests {
    use graph::Activation;

    use super::*;

    fn network() -> Graph {
        let build = |graph: &mut Graph| -> Result<(), graph::GraphError> {
            let image = graph.input(Shape::Map([3, 8, 8]));
            let last = graph.within("stem", |graph| {
                let conv = graph.add("conv", Op::Conv2d(Conv2d::same(4, 3, 2)), &[image])?;
                graph.add("norm", Op::BatchNorm, &[conv])
            })?;
            let last = graph.within(("cell", 0), |graph| {
                let relu = graph.add("relu", Op::Activation(Activation::Relu), &[last])?;
                graph.add(("conv", 1), Op::Conv2d(Conv2d::depthwise(4, 5, 1)), &[relu])
            })?;
            let pool = graph.add("pool", Op::GlobalAvgPool, &[last])?;
            graph.add("classifier", Op::Linear(10), &[pool])?;
            Ok(())
        };
        let mut graph = Graph::default();
        build(&mut graph).expect("the shapes fit");
        graph
    }

    #[test]
    fn groups_are_those_of_the_shipped_network() {
        let layers = layers(&network(), None);
        let rows: Vec<[&str; 5]> = layers
            .groups
            .iter()
            .flat_map(|group| group.rows.iter().map(|row| (group.name.as_str(), row)))
            .map(|(group, row)| [group, &row.name, &row.op, &row.shape, &row.figures.macs])
            .collect();
        let expected = [
            ["stem", "conv", "3×3 conv, stride 2", "4×4×4", "1.73 k"],
            ["cell0", "relu", "relu", "4×4×4", ""],
            ["cell0", "conv1", "5×5 depthwise conv", "4×4×4", "1.6 k"],
            ["head", "pool", "global average pool", "4", ""],
            ["head", "classifier", "linear", "10", "40"],
        ];
        assert_eq!(rows, expected);
        // 3x3x3x4 + 4 (folded bias), 5x5x4, 4x10 + 10.
        assert_eq!((layers.total.weights.as_str(), layers.total.n, layers.timed), ("262", 5, false));
        assert_eq!(layers.total.time, "");
    }

    #[test]
    fn times_find_their_operation() {
        let times =
            [("stem/conv", 1e-3), ("stem/conv.pad", 1e-3), ("cell0/conv1.im2col", 2e-3), ("cell0/conv12", 4e-3)];
        let times = times.map(|(name, seconds)| (name.to_owned(), seconds));
        let layers = layers(&network(), Some(&times));
        let of =
            |group: usize| (layers.groups[group].figures.time.as_str(), layers.groups[group].figures.share.as_str());
        assert_eq!([of(0), of(1), of(2)], [("2 ms", "50.0 %"), ("2 ms", "50.0 %"), ("", "0.0 %")]);
        assert!(layers.note.contains("4 ms went into steps"), "{}", layers.note);
    }
}
