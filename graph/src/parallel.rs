//! How many steps a network takes where several operations run at once.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{Graph, cost::each_shipped};

/// Steps in which `n_workers` workers run the network as it ships, each of them one operation a step, whatever the
/// operation. One worker needs as many steps as there are operations; any number of workers needs the operations of the
/// longest path.
///
/// List scheduling: of the operations whose inputs are there, those with the longest path behind them go first, of
/// equals the earlier ones.
pub fn parallel_steps(graph: &Graph, n_workers: usize) -> u64 {
    let mut ops = Vec::with_capacity(graph.n_nodes());
    let origins = each_shipped(graph, |shipped| ops.push(shipped.id));
    let mut is_op = vec![false; graph.n_nodes()];
    ops.iter().for_each(|id| is_op[id.index()] = true);
    // By node: who reads it, how many of its inputs are still to be made, and the operations on the longest path that
    // begins with it.
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.n_nodes()];
    let mut missing = vec![0_usize; graph.n_nodes()];
    let mut behind = vec![0_usize; graph.n_nodes()];
    for &id in ops.iter().rev() {
        behind[id.index()] += 1;
        for &input in graph.inputs(id) {
            let origin = origins.of(input).index();
            if is_op[origin] {
                readers[origin].push(id.index());
                missing[id.index()] += 1;
                behind[origin] = behind[origin].max(behind[id.index()]);
            }
        }
    }
    let waiting = |idx: usize| (behind[idx], Reverse(idx));
    let mut ready: BinaryHeap<_> =
        ops.iter().map(|id| id.index()).filter(|idx| missing[*idx] == 0).map(waiting).collect();
    let (mut steps, mut running) = (0, Vec::new());
    while !ready.is_empty() {
        running.extend((0..n_workers.max(1)).map_while(|_| ready.pop()));
        for (_, Reverse(done)) in running.drain(..) {
            for &reader in &readers[done] {
                missing[reader] -= 1;
                if missing[reader] == 0 {
                    ready.push(waiting(reader));
                }
            }
        }
        steps += 1;
    }
    steps
}
