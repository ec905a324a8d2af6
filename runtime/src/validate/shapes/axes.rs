//! Arithmetic on shapes and axes, and typed access to a node's attributes.

use super::Wrong;
use crate::validate::proto::{Attribute, Node};

pub(super) fn elements(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim as u64))
}

pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Wrong> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], idx: usize| (idx + shape.len()).checked_sub(rank).map_or(1, |idx| shape[idx]);
    let join = |idx| match (at(a, idx), at(b, idx)) {
        (1, n) | (n, 1) => Some(n),
        (n, m) => (n == m).then_some(n),
    };
    (0..rank).map(join).collect::<Option<_>>().ok_or_else(|| ("shape", format!("{a:?} does not broadcast with {b:?}")))
}

/// A size, axis or index that only a run would tell could be any.
pub(super) fn known_late(node: &Node, idx: usize) -> Wrong {
    let name = node.inputs.get(idx).map_or("", String::as_str);
    ("input", format!("{name:?} is known only when it runs; export it as a constant"))
}

pub(super) fn wrong_rank(shape: &[usize], needs: &str) -> Wrong {
    ("shape", format!("{shape:?} has {} dimensions; needs {needs}", shape.len()))
}

/// A shape with `axes` made 1, or taken out.
pub(super) fn without(shape: Vec<usize>, axes: &[usize], keep: bool) -> Vec<usize> {
    let dims = shape.into_iter().enumerate();
    dims.filter_map(|(axis, n)| if !axes.contains(&axis) { Some(n) } else { keep.then_some(1) }).collect()
}

pub(super) fn axis_in(axis: i64, rank: usize) -> Result<usize, Wrong> {
    let from_start = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(from_start) {
        Ok(found) if found < rank => Ok(found),
        _ => Err(("axis", format!("{axis} is outside {rank} dimensions"))),
    }
}

/// Distinct axes.
pub(super) fn axes_in(axes: &[i64], rank: usize) -> Result<Vec<usize>, Wrong> {
    let mut found = Vec::with_capacity(axes.len());
    for &axis in axes {
        let axis = axis_in(axis.clamp(-1 << 32, 1 << 32), rank)?;
        if found.contains(&axis) {
            return Err(("axes", format!("{axes:?} name one twice")));
        }
        found.push(axis);
    }
    Ok(found)
}

/// Checks an axis that does not change the shape.
pub(super) fn axis_of(node: &Node, rank: usize) -> Result<(), Wrong> {
    // Quantisation of a scalar-scaled tensor may carry the default axis whatever the rank.
    match attribute_int(node, "axis") {
        Some(axis) if !node.op.ends_with("antizeLinear") => axis_in(axis, rank).map(drop),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn has_input(node: &Node, idx: usize) -> bool {
    node.inputs.get(idx).is_some_and(|name| !name.is_empty())
}

pub(super) fn attribute_int(node: &Node, name: &str) -> Option<i64> {
    match node.attributes.get(name)? {
        Attribute::Int(n) => Some(*n),
        Attribute::Ints(_) | Attribute::Float | Attribute::Floats(_) | Attribute::Text(_) | Attribute::Tensor(_) => {
            None
        }
    }
}

pub(super) fn attribute_ints<'a>(node: &'a Node, name: &str) -> Option<&'a [i64]> {
    match node.attributes.get(name)? {
        Attribute::Ints(list) => Some(list),
        Attribute::Int(_) | Attribute::Float | Attribute::Floats(_) | Attribute::Text(_) | Attribute::Tensor(_) => None,
    }
}

pub(super) fn attribute_text<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    match node.attributes.get(name)? {
        Attribute::Text(text) => Some(text),
        Attribute::Int(_) | Attribute::Ints(_) | Attribute::Float | Attribute::Floats(_) | Attribute::Tensor(_) => None,
    }
}
