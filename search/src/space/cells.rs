//! The cells that a task asks for: stacked ones for what is seen and heard, recurrent ones for text. What a search is told
//! and what it leaves behind is then the same, whichever they are.

use graph::{Graph, GraphError};
use serde::{Deserialize, Serialize};

use super::{
    Morph, Scale, SearchSpace, Task,
    cell::{Cell, CellSpace},
    recurrent::{RecurrentCell, RecurrentSpace},
};
use crate::chooser::Chooser;

/// All cells of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cells {
    /// Stacked, for images, clips and scenes.
    Stacked(CellSpace),
    /// Of a language model.
    Recurrent(RecurrentSpace),
}

/// A cell of either kind. In files they look different, so that none is taken for the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnyCell {
    /// Of a stack.
    Stacked(Cell),
    /// Of a language model, in DARTS's style.
    Recurrent(RecurrentCell),
}

impl Cells {
    /// What is searched for a task: B-ENAS's cells, and DARTS's recurrent ones for text.
    pub fn of(task: Task) -> Self {
        match task {
            Task::Classification | Task::Segmentation => Self::Stacked(CellSpace::default()),
            Task::Language => Self::Recurrent(RecurrentSpace::darts()),
        }
    }

    /// Fewest and most parts of a cell, as [`AnyCell::describe`] counts them.
    pub fn parts(&self) -> [usize; 2] {
        match self {
            Self::Stacked(space) => [*space.blocks.start(), *space.blocks.end()],
            Self::Recurrent(space) => [space.nodes; 2],
        }
    }

    /// What a cell is made of: `2 to 7 blocks`, or `8 nodes`.
    pub fn describe(&self) -> String {
        match self {
            Self::Stacked(space) => format!("{} to {} blocks", space.blocks.start(), space.blocks.end()),
            Self::Recurrent(space) => format!("{} nodes", space.nodes),
        }
    }
}

impl AnyCell {
    /// The network of this cell, at this scale.
    ///
    /// # Errors
    /// The image is too small for the reductions of this scale.
    pub fn build(&self, scale: &Scale) -> Result<Graph, GraphError> {
        match self {
            Self::Stacked(cell) => CellSpace::default().build(cell, scale),
            Self::Recurrent(cell) => RecurrentSpace::darts().build(cell, scale),
        }
    }

    /// What it is made of: `5 blocks`, or `8 nodes`.
    pub fn describe(&self) -> String {
        match self {
            Self::Stacked(cell) => format!("{} blocks", cell.blocks.len()),
            Self::Recurrent(cell) => format!("{} nodes", cell.nodes.len()),
        }
    }
}

impl SearchSpace for Cells {
    type Arch = AnyCell;

    fn sample(&self, chooser: &mut dyn Chooser) -> AnyCell {
        match self {
            Self::Stacked(space) => AnyCell::Stacked(space.sample(chooser)),
            Self::Recurrent(space) => AnyCell::Recurrent(space.sample(chooser)),
        }
    }

    fn build(&self, cell: &AnyCell, scale: &Scale) -> Result<Graph, GraphError> {
        cell.build(scale)
    }

    fn given(&self) -> usize {
        match self {
            Self::Stacked(space) => space.given(),
            Self::Recurrent(space) => space.given(),
        }
    }

    fn size(&self) -> u128 {
        match self {
            Self::Stacked(space) => space.size(),
            Self::Recurrent(space) => space.size(),
        }
    }

    fn cheapest(&self) -> Vec<AnyCell> {
        match self {
            Self::Stacked(space) => space.cheapest().into_iter().map(AnyCell::Stacked).collect(),
            Self::Recurrent(space) => space.cheapest().into_iter().map(AnyCell::Recurrent).collect(),
        }
    }

    fn floor(&self) -> Vec<AnyCell> {
        match self {
            Self::Stacked(space) => space.floor().into_iter().map(AnyCell::Stacked).collect(),
            Self::Recurrent(space) => space.floor().into_iter().map(AnyCell::Recurrent).collect(),
        }
    }
}

impl Morph for Cells {
    /// A cell of the other kind stays as it is.
    fn morph(&self, arch: &AnyCell, chooser: &mut dyn Chooser) -> AnyCell {
        match (self, arch) {
            (Self::Stacked(space), AnyCell::Stacked(cell)) => AnyCell::Stacked(space.morph(cell, chooser)),
            (Self::Recurrent(space), AnyCell::Recurrent(cell)) => AnyCell::Recurrent(space.morph(cell, chooser)),
            (Self::Stacked(_), AnyCell::Recurrent(_)) | (Self::Recurrent(_), AnyCell::Stacked(_)) => arch.clone(),
        }
    }

    fn embed(&self, arch: &AnyCell) -> Vec<Vec<usize>> {
        match arch {
            AnyCell::Stacked(cell) => CellSpace::default().embed(cell),
            AnyCell::Recurrent(cell) => RecurrentSpace::darts().embed(cell),
        }
    }
}
