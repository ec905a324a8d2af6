//! Random cells: what they cost, and which of them may be chosen.

use anyhow::Result;
use graph::Graph;
use search::{
    space::{Scale, cells::AnyCell},
    strategy::benas::bounded_cost,
};
use targets::{Budget, Metric};

use crate::{
    commands::search::{Plan, random_cell},
    config::StrategyName,
    growth::Work,
    probe::memory_now,
};

/// Random cells that feasibility is estimated from.
pub(super) const SAMPLED: u64 = 2_000;

/// Random cells, and those of them that the budget admits with the cost that a choice weighs.
pub(super) struct Cells {
    pub(super) all: Vec<AnyCell>,
    pub(super) feasible: Vec<AnyCell>,
    weights: Vec<f64>,
    /// Resident memory before anything was trained, in bytes.
    pub(super) memory: Option<u64>,
}

impl Cells {
    pub(super) fn sample(plan: &Plan) -> Result<Self> {
        // Training time is known once something was trained.
        let known = Budget {
            bounds: plan.budget.bounds.iter().filter(|bound| bound.metric != Metric::TrainTime).copied().collect(),
        };
        let (mut all, mut feasible, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..SAMPLED {
            let cell = random_cell(plan, step);
            let cost = plan.model.price(&plan.network(&cell)?);
            if known.admits(&cost) {
                feasible.push(cell.clone());
                weights.push(bounded_cost(&known, &cost));
            }
            all.push(cell);
        }
        Ok(Self { all, feasible, weights, memory: memory_now() })
    }

    /// A step on one image of each feasible cell; of each cell where none is feasible.
    pub(super) fn units(&self, scale: Scale) -> Result<Vec<Work>> {
        let cells = if self.feasible.is_empty() { &self.all } else { &self.feasible };
        cells.iter().map(|cell| Ok(Work::of(&build(cell, &scale)?, 1))).collect()
    }

    /// A step on one image of networks that may be chosen. B-ENAS prefers the dearer among its candidates (Algorithm 4):
    /// as if all were equally accurate, which they are not, the dearest of as many is taken.
    pub(super) fn chosen(&self, plan: &Plan, units: &[Work]) -> Vec<Work> {
        if plan.config.strategy != StrategyName::BEnas || self.feasible.is_empty() {
            return units.to_vec();
        }
        let rivals: Vec<(&Work, &f64)> = units.iter().zip(&self.weights).collect();
        let dearest = |group: &[(&Work, &f64)]| group.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|it| *it.0);
        rivals.chunks(plan.config.b_enas.candidates).filter_map(dearest).collect()
    }

    /// Where in `units` the cells are that controllers settle on when there are few epochs: the twentieth with the
    /// fewest multiply-accumulates, which pool and hardly convolve.
    pub(super) fn small(units: &[Work]) -> Vec<usize> {
        let mut small: Vec<usize> = (0..units.len()).collect();
        small.sort_by(|&a, &b| units[a].macs.total_cmp(&units[b].macs));
        small.truncate(units.len().div_ceil(20));
        small
    }
}

pub(super) fn build(cell: &AnyCell, scale: &Scale) -> Result<Graph> {
    Ok(cell.build(scale).map_err(search::Error::from)?)
}
