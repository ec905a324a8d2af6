//! Marks that an instruction counter sees: where in its count an inference begins and ends.
//!
//! A mark is a system call that does nothing, with a number that nobody else uses: the priority of
//! a process far beyond those that exist is asked for. On a real kernel it fails and is forgotten.

use std::collections::BTreeMap;

use rustix::process::{Pid, getpriority_process};
use targets::counts::{Counts, NodeCounts};

use crate::engine::NodeName;

/// The process that a mark pretends to ask about, less the mark's value. The counter knows it too.
const MARK: i32 = 0x5eed_0000;

/// A place in the run. Values fit 16 bits: the gate admits 10,000 nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Twice in a row: what a mark itself executes.
    Nothing,
    /// Before a whole inference.
    Begin,
    /// After it.
    End,
    /// Before the node of this index in the plan.
    BeforeNode(usize),
    /// After it.
    AfterNode(usize),
}

impl Mark {
    /// Its value in the counter's file.
    pub fn value(self) -> u16 {
        match self {
            Self::Nothing => 0,
            Self::Begin => 1,
            Self::End => 2,
            Self::BeforeNode(idx) => 10 + 2 * idx as u16,
            Self::AfterNode(idx) => 11 + 2 * idx as u16,
        }
    }

    /// Makes the mark.
    pub(crate) fn make(self) {
        // The call fails, as it must: there is no such process.
        let _ = getpriority_process(Pid::from_raw(MARK + i32::from(self.value())));
    }
}

/// The counts in a counter's file for a run that was marked by [`crate::engine::Model::count`].
///
/// # Errors
/// A mark is missing or a line is not one of the counter's.
pub fn read(text: &str, nodes: &[NodeName], counts: Counts) -> Result<Counts, String> {
    let mut seen: BTreeMap<u16, [u64; 3]> = BTreeMap::new();
    let mut overhead = None;
    for (idx, line) in text.lines().enumerate() {
        let wrong = || format!("line {} of the counter's file is {line:?}", idx + 1);
        let numbers: Vec<u64> = line.split(' ').map(|it| it.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        let [value, instructions, loads, stores] = numbers[..] else { return Err(wrong()) };
        let value = u16::try_from(value).map_err(|_| wrong())?;
        let count = [instructions, loads, stores];
        match seen.insert(value, count) {
            None => {}
            Some(first) if value == Mark::Nothing.value() => overhead = Some(less(count, first)),
            Some(_) => return Err(format!("mark {value} is there twice")),
        }
    }
    let overhead = overhead.ok_or("the counter saw no marks: is it the plugin of this version?")?;
    let between = |from: Mark, to: Mark| {
        let find = |mark: Mark| seen.get(&mark.value()).ok_or_else(|| format!("{mark:?} was not seen"));
        Ok::<_, String>(less(less(*find(to)?, *find(from)?), overhead))
    };
    let [instructions, loads, stores] = between(Mark::Begin, Mark::End)?;
    let nodes = nodes.iter().map(|NodeName { idx, name, op }| {
        let [instructions, loads, stores] = between(Mark::BeforeNode(*idx), Mark::AfterNode(*idx))?;
        Ok(NodeCounts { name: name.clone(), op: op.clone(), instructions, loads, stores })
    });
    Ok(Counts { instructions, loads, stores, nodes: nodes.collect::<Result<_, String>>()?, ..counts })
}

fn less(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    std::array::from_fn(|idx| a[idx].saturating_sub(b[idx]))
}
