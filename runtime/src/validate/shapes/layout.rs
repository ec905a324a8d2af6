//! Shapes of the operators that move numbers about, and the numbers of shapes that travel as tensors.

use super::axes::{
    attribute_int, attribute_ints, attribute_text, axes_in, axis_in, elements, has_input, known_late, without,
    wrong_rank,
};
use super::{Fact, Walk, Wrong};
use crate::validate::ops::Rule;
use crate::validate::proto::{Attribute, Node, SHAPE_LENGTH};

impl Walk<'_> {
    pub(super) fn constant(&mut self, node: &Node) -> Result<Fact, Wrong> {
        let mut attributes = node.attributes.iter();
        let (Some((name, value)), None) = (attributes.next(), attributes.next()) else {
            return Err(("attribute", "must be exactly one value".into()));
        };
        match (name.as_str(), value) {
            ("value", Attribute::Tensor(tensor)) => self.keep(tensor),
            ("value_int", Attribute::Int(n)) => Ok(Fact { ints: Some(vec![*n]), ..Fact::default() }),
            ("value_ints", Attribute::Ints(list)) => {
                Ok(Fact { ints: Some(list.clone()), ..Fact::of(vec![list.len()]) })
            }
            ("value_float", Attribute::Float) => Ok(Fact::default()),
            ("value_floats", Attribute::Floats(n)) => Ok(Fact::of(vec![*n])),
            _ => Err(("attribute", format!("{name} is not a value"))),
        }
    }

    pub(super) fn reshape(&self, node: &Node, from: &[usize]) -> Result<Vec<usize>, Wrong> {
        let target = self.ints(node, 1)?;
        let keeps_zero = attribute_int(node, "allowzero") == Some(1);
        let misfit = || ("shape", format!("cannot turn {from:?} into {target:?}"));
        let mut shape = Vec::with_capacity(target.len());
        let mut open = None;
        for (idx, &dim) in target.iter().enumerate() {
            match dim {
                -1 if open.is_none() => {
                    open = Some(idx);
                    shape.push(1);
                }
                0 if !keeps_zero => shape.push(*from.get(idx).ok_or_else(misfit)?),
                _ => shape.push(usize::try_from(dim).map_err(|_| misfit())?),
            }
        }
        let (total, known) = (elements(from).ok_or_else(misfit)?, elements(&shape).ok_or_else(misfit)?);
        if let Some(idx) = open {
            let rest = total.checked_div(known).ok_or_else(misfit)?;
            shape[idx] = usize::try_from(rest).map_err(|_| misfit())?;
        }
        if elements(&shape) != Some(total) {
            return Err(misfit());
        }
        Ok(shape)
    }

    pub(super) fn squeeze(&self, node: &Node, shape: Vec<usize>) -> Result<Vec<usize>, Wrong> {
        let axes = match self.ints_or(node, "axes", 1)? {
            Some(axes) => axes_in(&axes, shape.len())?,
            None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
        };
        if let Some(axis) = axes.iter().find(|&&axis| shape[axis] != 1) {
            return Err(("axes", format!("drop dimension {axis} of {shape:?}, which is not 1")));
        }
        Ok(without(shape, &axes, false))
    }

    pub(super) fn unsqueeze(&self, node: &Node, shape: Vec<usize>) -> Result<Vec<usize>, Wrong> {
        let Some(axes) = self.ints_or(node, "axes", 1)? else {
            return Err(("axes", "are missing".into()));
        };
        let rank = shape.len() + axes.len();
        let axes = axes_in(&axes, rank)?;
        let mut rest = shape.into_iter();
        Ok((0..rank).filter_map(|axis| if axes.contains(&axis) { Some(1) } else { rest.next() }).collect())
    }

    pub(super) fn concat(&self, node: &Node) -> Result<Fact, Wrong> {
        let Some(axis) = attribute_int(node, "axis") else {
            return Err(("attribute", "axis is missing".into()));
        };
        let mut shape = self.shape(node, 0)?.to_vec();
        let axis = axis_in(axis, shape.len())?;
        for idx in 1..node.inputs.len() {
            let part = self.shape(node, idx)?;
            let fits = part.len() == shape.len() && (0..shape.len()).all(|i| i == axis || part[i] == shape[i]);
            if !fits {
                return Err(("shape", format!("joins {shape:?} with {part:?} along {axis}")));
            }
            shape[axis] = shape[axis].saturating_add(part[axis]);
        }
        let is_short = shape.len() == 1 && shape[0] <= SHAPE_LENGTH;
        let lists = (0..node.inputs.len()).map(|idx| self.input(node, idx)?.ints.clone());
        let ints = if is_short { lists.collect::<Option<Vec<_>>>().map(|lists| lists.concat()) } else { None };
        Ok(Fact { ints, ..Fact::of(shape) })
    }

    pub(super) fn split(&self, node: &Node, shape: &[usize]) -> Result<Vec<Fact>, Wrong> {
        let n = node.outputs.len();
        let axis = axis_in(attribute_int(node, "axis").unwrap_or(0), shape.len())?;
        if attribute_int(node, "num_outputs").is_some_and(|given| given != n as i64) {
            return Err(("attribute", format!("num_outputs differs from the {n} outputs")));
        }
        let parts = match self.ints_or(node, "split", 1)? {
            Some(parts) => parts.iter().map(|&part| usize::try_from(part).unwrap_or(usize::MAX)).collect(),
            None => {
                let each = shape[axis].div_ceil(n);
                (0..n).map(|idx| each.min(shape[axis].saturating_sub(idx * each))).collect::<Vec<_>>()
            }
        };
        let total = parts.iter().try_fold(0usize, |sum, &part| sum.checked_add(part));
        if parts.len() != n || total != Some(shape[axis]) || parts.contains(&0) {
            return Err(("split", format!("{parts:?} does not divide {} into {n} outputs", shape[axis])));
        }
        let part = |size| {
            let mut shape = shape.to_vec();
            shape[axis] = size;
            Fact::of(shape)
        };
        Ok(parts.into_iter().map(part).collect())
    }

    pub(super) fn slice(&self, node: &Node, mut shape: Vec<usize>) -> Result<Fact, Wrong> {
        let (Some(starts), Some(ends)) = (self.ints_or(node, "starts", 1)?, self.ints_or(node, "ends", 2)?) else {
            return Err(("slice", "has no starts or no ends".into()));
        };
        let axes = match self.ints_or(node, "axes", 3)? {
            Some(axes) => axes_in(&axes, shape.len())?,
            None if starts.len() <= shape.len() => (0..starts.len()).collect(),
            None => return Err(("starts", format!("are more than the dimensions of {shape:?}"))),
        };
        let steps = if has_input(node, 4) { self.ints(node, 4)? } else { vec![1; starts.len()] };
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err(("slice", "has starts, ends, axes and steps of different lengths".into()));
        }
        let mut ints = self.input(node, 0).filter(|fact| fact.shape.len() == 1).and_then(|fact| fact.ints.clone());
        for (((&start, &end), axis), &step) in starts.iter().zip(&ends).zip(axes).zip(&steps) {
            if step == 0 || step == i64::MIN {
                return Err(("steps", format!("hold {step}")));
            }
            let size = shape[axis] as i64;
            // Negative positions count from the end; a downward slice may end before the first element.
            let at = |x: i64, low: i64, high: i64| if x < 0 { x.saturating_add(size) } else { x }.min(high).max(low);
            let (from, to) = match step {
                1.. => (at(start, 0, size), at(end, 0, size)),
                _ => (at(start, 0, size - 1), at(end, -1, size - 1)),
            };
            let span = if step > 0 { to - from } else { from - to };
            if span <= 0 {
                return Err(("slice", format!("leaves nothing of dimension {axis} of {shape:?}")));
            }
            shape[axis] = (span as u64).div_ceil(step.unsigned_abs()) as usize;
            let pick = |list: Vec<i64>| {
                (0..shape[axis] as i64).map(|i| list.get((from + i * step) as usize).copied()).collect()
            };
            ints = ints.and_then(pick);
        }
        Ok(Fact { ints, ..Fact::of(shape) })
    }

    pub(super) fn gather(&self, node: &Node, data: &[usize]) -> Result<Fact, Wrong> {
        let indices = self.shape(node, 1)?;
        let axis = axis_in(attribute_int(node, "axis").unwrap_or(0), data.len())?;
        let size = data[axis] as i64;
        // Rows of a table for what the run brings: every number that is cut off within the table is one.
        if let Some([min, max]) = self.input(node, 1).and_then(|fact| fact.range)
            && 0.0 <= min
            && (max as i64) < size
        {
            return Ok(Fact::of([&data[..axis], indices, &data[axis + 1..]].concat()));
        }
        let picked = self.ints(node, 1)?;
        if let Some(idx) = picked.iter().find(|&&idx| idx < -size || idx >= size) {
            return Err(("indices", format!("hold {idx}, outside a dimension of {size}")));
        }
        let list = self.input(node, 0).filter(|_| data.len() == 1).and_then(|fact| fact.ints.as_ref());
        let ints = list.and_then(|list| {
            picked.iter().map(|&idx| list.get((if idx < 0 { idx + size } else { idx }) as usize).copied()).collect()
        });
        Ok(Fact { ints, ..Fact::of([&data[..axis], indices, &data[axis + 1..]].concat()) })
    }

    pub(super) fn pad(&self, node: &Node, mut shape: Vec<usize>) -> Result<Vec<usize>, Wrong> {
        let Some(pads) = self.ints_or(node, "pads", 1)? else {
            return Err(("pads", "are missing".into()));
        };
        let axes =
            if has_input(node, 3) { axes_in(&self.ints(node, 3)?, shape.len())? } else { (0..shape.len()).collect() };
        if pads.len() != 2 * axes.len() {
            return Err(("pads", format!("are {}, not two for each of {} dimensions", pads.len(), axes.len())));
        }
        let mode = attribute_text(node, "mode").unwrap_or("constant");
        for (idx, &axis) in axes.iter().enumerate() {
            let (before, after) = (pads[idx], pads[idx + axes.len()]);
            let size = shape[axis] as i64;
            // Reflection and the like read inside the image: they cannot reach beyond it.
            if !["constant", "edge"].contains(&mode) && (before >= size || after >= size) {
                return Err(("pads", format!("{before} and {after} reach beyond a dimension of {size}")));
            }
            let padded = size.checked_add(before).and_then(|n| n.checked_add(after)).filter(|&n| n > 0);
            let Some(padded) = padded.filter(|_| before > -size && after > -size) else {
                return Err(("pads", format!("{before} and {after} leave nothing of a dimension of {size}")));
            };
            shape[axis] = padded as usize;
        }
        Ok(shape)
    }

    pub(super) fn resize(&self, node: &Node, shape: &[usize]) -> Result<Vec<usize>, Wrong> {
        if has_input(node, 3) {
            let sizes = self.sizes(node, 3)?;
            return if sizes.len() == shape.len() { Ok(sizes) } else { Err(wrong_rank(shape, "one size each")) };
        }
        let at = if self.opset < 11 { 1 } else { 2 };
        let scales = self.input(node, at).and_then(|fact| fact.floats.clone());
        let scales = scales.ok_or_else(|| known_late(node, at))?;
        if scales.len() != shape.len() || scales.iter().any(|&scale| !(scale > 0.0 && scale <= 1024.0)) {
            return Err(("scales", format!("{scales:?} do not fit {shape:?}")));
        }
        Ok(shape.iter().zip(scales).map(|(&n, scale)| (n as f64 * f64::from(scale)).floor() as usize).collect())
    }

    pub(super) fn reduce(&self, node: &Node, shape: Vec<usize>) -> Result<Vec<usize>, Wrong> {
        let given = self.ints_or(node, "axes", 1)?.filter(|axes| !axes.is_empty());
        let axes = match given {
            Some(axes) => axes_in(&axes, shape.len())?,
            None if attribute_int(node, "noop_with_empty_axes") == Some(1) => vec![],
            None => (0..shape.len()).collect(),
        };
        Ok(without(shape, &axes, attribute_int(node, "keepdims") != Some(0)))
    }
}

/// A matrix: the dimensions before an axis, and those from it on.
pub(super) fn flatten(node: &Node, shape: &[usize]) -> Result<Vec<usize>, Wrong> {
    let axis = attribute_int(node, "axis").unwrap_or(1);
    let axis = if axis == shape.len() as i64 { shape.len() } else { axis_in(axis, shape.len())? };
    Ok(vec![shape[..axis].iter().product(), shape[axis..].iter().product()])
}

pub(super) fn transpose(node: &Node, shape: &[usize]) -> Result<Vec<usize>, Wrong> {
    let Some(perm) = attribute_ints(node, "perm") else {
        return Ok(shape.iter().rev().copied().collect());
    };
    let axes = axes_in(perm, shape.len())?;
    if axes.len() != shape.len() {
        return Err(("attribute", format!("perm {perm:?} does not permute {shape:?}")));
    }
    Ok(axes.into_iter().map(|axis| shape[axis]).collect())
}

pub(super) fn blocks(node: &Node, rule: Rule, shape: &[usize]) -> Result<Vec<usize>, Wrong> {
    let Some(block) = attribute_int(node, "blocksize") else {
        return Err(("attribute", "blocksize is missing".into()));
    };
    let (block, &[n, c, h, w]) = (block as usize, shape) else { return Err(wrong_rank(shape, "4")) };
    let is_depth_to_space = rule == Rule::DepthToSpace;
    let fits = if is_depth_to_space { c % (block * block) == 0 } else { h % block == 0 && w % block == 0 };
    if !fits {
        return Err(("attribute", format!("blocksize {block} does not divide {shape:?}")));
    }
    let grow = |n: usize, by: usize| n.saturating_mul(by);
    Ok(if is_depth_to_space {
        vec![n, c / (block * block), grow(h, block), grow(w, block)]
    } else {
        vec![n, grow(c, block * block), h / block, w / block]
    })
}

pub(super) fn shape_of(node: &Node, shape: &[usize]) -> Fact {
    let rank = shape.len() as i64;
    let at = |name, absent| {
        let x = attribute_int(node, name).unwrap_or(absent);
        (if x < 0 { x + rank } else { x }).clamp(0, rank) as usize
    };
    let (start, end) = (at("start", 0), at("end", rank));
    let ints = shape.get(start..end).unwrap_or_default().iter().map(|&n| n as i64).collect::<Vec<_>>();
    Fact { shape: vec![ints.len()], ints: Some(ints), ..Fact::default() }
}
