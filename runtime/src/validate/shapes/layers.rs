//! Shapes and work of the layers with weights, and of pooling.

use super::axes::{attribute_int, attribute_ints, axis_in, broadcast, elements, without};
use super::{ELEMENT_BYTES, Fact, Walk, Wrong, window};
use crate::validate::proto::Node;

impl Walk<'_> {
    pub(super) fn conv(&mut self, node: &Node) -> Result<Vec<usize>, Wrong> {
        let (x, w) = (self.shape(node, 0)?, self.shape(node, 1)?);
        if x.len() < 3 || x.len() > 5 || w.len() != x.len() {
            return Err(("shape", format!("convolves input {x:?} with weights {w:?}")));
        }
        let group = attribute_int(node, "group").unwrap_or(1) as usize;
        if w[1].checked_mul(group) != Some(x[1]) || w[0] % group != 0 || w.contains(&0) {
            return Err(("group", format!("is {group}, which does not fit input {x:?} and weights {w:?}")));
        }
        let kernel = w[2..].iter().map(|&n| n as i64).collect::<Vec<_>>();
        if attribute_ints(node, "kernel_shape").is_some_and(|given| given != kernel) {
            return Err(("attribute", format!("kernel_shape differs from the weights {w:?}")));
        }
        if self.input(node, 2).is_some_and(|bias| bias.shape != [w[0]]) {
            return Err(("bias", format!("does not hold one number for each of {} channels", w[0])));
        }
        let mut shape = vec![x[0], w[0]];
        shape.extend(window::output(node, &x[2..], &w[2..])?);
        // The engine may lay out every window beside the others before it multiplies.
        let windows = elements(&shape[2..]).zip(elements(&w[2..])).and_then(|(n, taps)| n.checked_mul(taps));
        let unrolled = windows.and_then(|n| n.checked_mul(x[1] as u64));
        let most = self.limits.activation_bytes / ELEMENT_BYTES;
        if unrolled.is_none_or(|n| n > most) {
            return Err(("windows", format!("of weights {w:?} over {x:?} unroll to more than {most} elements")));
        }
        let macs = elements(&shape).zip(elements(&w[1..])).and_then(|(n, taps)| n.checked_mul(taps));
        self.add_macs(macs);
        Ok(shape)
    }

    pub(super) fn conv_transpose(&mut self, node: &Node) -> Result<Vec<usize>, Wrong> {
        let (x, w) = (self.shape(node, 0)?, self.shape(node, 1)?);
        if x.len() < 3 || x.len() > 5 || w.len() != x.len() {
            return Err(("shape", format!("convolves input {x:?} with weights {w:?}")));
        }
        let group = attribute_int(node, "group").unwrap_or(1) as usize;
        let channels = w[1].saturating_mul(group);
        if w[0] != x[1] || w[0] % group != 0 || w.contains(&0) {
            return Err(("group", format!("is {group}, which does not fit input {x:?} and weights {w:?}")));
        }
        let kernel = w[2..].iter().map(|&n| n as i64).collect::<Vec<_>>();
        if attribute_ints(node, "kernel_shape").is_some_and(|given| given != kernel) {
            return Err(("attribute", format!("kernel_shape differs from the weights {w:?}")));
        }
        if self.input(node, 2).is_some_and(|bias| bias.shape != [channels]) {
            return Err(("bias", format!("does not hold one number for each of {channels} channels")));
        }
        let mut shape = vec![x[0], channels];
        shape.extend(window::transposed_output(node, &x[2..], &w[2..])?);
        // Every input pixel is spread over its whole window before the windows are added up.
        let spread = elements(&x[2..]).zip(elements(&w[1..])).and_then(|(n, taps)| n.checked_mul(taps));
        let spread = spread.and_then(|n| n.checked_mul(group as u64));
        let most = self.limits.activation_bytes / ELEMENT_BYTES;
        if spread.is_none_or(|n| n > most) {
            return Err(("windows", format!("of weights {w:?} over {x:?} unroll to more than {most} elements")));
        }
        let macs = elements(x).zip(elements(&w[1..])).and_then(|(n, taps)| n.checked_mul(taps));
        self.add_macs(macs);
        Ok(shape)
    }

    pub(super) fn pool(&mut self, node: &Node) -> Result<Vec<usize>, Wrong> {
        let Some(kernel) = attribute_ints(node, "kernel_shape") else {
            return Err(("attribute", "kernel_shape is missing".into()));
        };
        let kernel = kernel.iter().map(|&n| n as usize).collect::<Vec<_>>();
        let x = self.shape(node, 0)?;
        if x.len() != kernel.len() + 2 || kernel.is_empty() || kernel.len() > 3 {
            return Err(("attribute", format!("kernel_shape {kernel:?} does not fit input {x:?}")));
        }
        if let Some(pads) = attribute_ints(node, "pads")
            && pads.iter().zip(kernel.iter().cycle()).any(|(&pad, &size)| pad as usize >= size)
        {
            return Err(("attribute", format!("pads {pads:?} reach a whole kernel {kernel:?}")));
        }
        let mut shape = x[..2].to_vec();
        shape.extend(window::output(node, &x[2..], &kernel)?);
        let reads = elements(&shape).zip(elements(&kernel)).and_then(|(n, taps)| n.checked_mul(taps));
        self.add_work(reads);
        Ok(shape)
    }

    pub(super) fn gemm(&mut self, node: &Node) -> Result<Vec<usize>, Wrong> {
        let (a, b) = (self.shape(node, 0)?, self.shape(node, 1)?);
        let (&[a0, a1], &[b0, b1]) = (a, b) else {
            return Err(("shape", format!("multiplies {a:?} by {b:?}; both must be matrices")));
        };
        let (m, k) = if attribute_int(node, "transA") == Some(1) { (a1, a0) } else { (a0, a1) };
        let (k2, n) = if attribute_int(node, "transB") == Some(1) { (b1, b0) } else { (b0, b1) };
        if k != k2 {
            return Err(("shape", format!("multiplies {m}x{k} by {k2}x{n}")));
        }
        if let Some(c) = self.input(node, 2)
            && broadcast(&[m, n], &c.shape)? != [m, n]
        {
            return Err(("bias", format!("of shape {:?} does not fit {m}x{n}", c.shape)));
        }
        self.add_macs(elements(&[m, n, k]));
        Ok(vec![m, n])
    }

    pub(super) fn matmul(&mut self, node: &Node) -> Result<Vec<usize>, Wrong> {
        let (a, b) = (self.shape(node, 0)?, self.shape(node, 1)?);
        let misfit = || ("shape", format!("multiplies {a:?} by {b:?}"));
        // A vector is a row on the left and a column on the right.
        let (a_batch, m, k) = match a {
            [] => return Err(misfit()),
            [k] => (&[][..], 1, *k),
            [batch @ .., m, k] => (batch, *m, *k),
        };
        let (b_batch, k2, n) = match b {
            [] => return Err(misfit()),
            [k] => (&[][..], *k, 1),
            [batch @ .., k, n] => (batch, *k, *n),
        };
        if k != k2 {
            return Err(misfit());
        }
        let mut shape = broadcast(a_batch, b_batch)?;
        let macs = elements(&shape).zip(elements(&[m, n, k])).and_then(|(batch, each)| batch.checked_mul(each));
        if a.len() > 1 {
            shape.push(m);
        }
        if b.len() > 1 {
            shape.push(n);
        }
        self.add_macs(macs);
        Ok(shape)
    }
}

/// The normalised values; then, where they are asked for, mean and spread over the dimensions from an axis on.
pub(super) fn layer_norm(node: &Node, shape: Vec<usize>) -> Result<Vec<Fact>, Wrong> {
    let axis = axis_in(attribute_int(node, "axis").unwrap_or(-1), shape.len())?;
    let statistics = without(shape.clone(), &(axis..shape.len()).collect::<Vec<_>>(), true);
    let shapes = std::iter::once(shape).chain(std::iter::repeat(statistics));
    Ok(shapes.take(node.outputs.len()).map(Fact::of).collect())
}
