//! The spatial size that a sliding window leaves: convolution and pooling.

use super::Wrong;
use super::axes::{attribute_int, attribute_ints, attribute_text};
use crate::validate::proto::Node;

/// Farthest that automatic padding may reach beyond the input.
const LARGEST_SAME: usize = 1_024;

/// Spatial output sizes of a window of size `kernel` over `input`.
pub(super) fn output(node: &Node, input: &[usize], kernel: &[usize]) -> Result<Vec<usize>, Wrong> {
    let n = input.len();
    let strides = list(node, "strides", n, 1)?;
    let dilations = list(node, "dilations", n, 1)?;
    let auto_pad = attribute_text(node, "auto_pad").unwrap_or("NOTSET");
    let pads = if auto_pad == "NOTSET" { list(node, "pads", 2 * n, 0)? } else { vec![0; 2 * n] };
    let rounds_up = attribute_int(node, "ceil_mode") == Some(1);

    let mut sizes = Vec::with_capacity(n);
    for idx in 0..n {
        let (size, stride) = (input[idx], strides[idx]);
        let span = kernel[idx].saturating_sub(1).saturating_mul(dilations[idx]).saturating_add(1);
        // Padding beyond the window only makes zeros, and memory for them.
        if pads[idx].max(pads[idx + n]) > span
            || (auto_pad.starts_with("SAME") && span > size.saturating_add(LARGEST_SAME))
        {
            return Err(("attribute", format!("pads by more than the window, which spans {span}")));
        }
        if auto_pad.starts_with("SAME") {
            sizes.push(size.div_ceil(stride));
            continue;
        }
        let padded = size.saturating_add(pads[idx]).saturating_add(pads[idx + n]);
        if span > padded || size == 0 {
            return Err(("kernel", format!("spans {span} over a padded dimension of {padded}")));
        }
        let steps = if rounds_up { (padded - span).div_ceil(stride) } else { (padded - span) / stride };
        // A window that rounding up would start in the right padding is left out.
        let starts_outside = rounds_up && steps * stride >= size + pads[idx];
        sizes.push(if starts_outside { steps } else { steps + 1 });
    }
    Ok(sizes)
}

/// Spatial output sizes of a transposed convolution with a window of size `kernel` over `input`.
pub(super) fn transposed_output(node: &Node, input: &[usize], kernel: &[usize]) -> Result<Vec<usize>, Wrong> {
    let n = input.len();
    let strides = list(node, "strides", n, 1)?;
    let dilations = list(node, "dilations", n, 1)?;
    let more = list(node, "output_padding", n, 0)?;
    let auto_pad = attribute_text(node, "auto_pad").unwrap_or("NOTSET");
    let pads = if auto_pad == "NOTSET" { list(node, "pads", 2 * n, 0)? } else { vec![0; 2 * n] };

    let mut sizes = Vec::with_capacity(n);
    for idx in 0..n {
        let (size, stride) = (input[idx], strides[idx]);
        let span = kernel[idx].saturating_sub(1).saturating_mul(dilations[idx]).saturating_add(1);
        if more[idx] >= stride.max(dilations[idx]) {
            return Err(("attribute", format!("output_padding {more:?} reaches a whole stride of {strides:?}")));
        }
        // What is cut away at the border must have been made.
        if pads[idx].max(pads[idx + n]) >= span || size == 0 {
            return Err(("attribute", format!("pads {pads:?} take away the whole window, which spans {span}")));
        }
        if auto_pad.starts_with("SAME") {
            if span < stride || more[idx] > 0 {
                return Err((
                    "attribute",
                    format!("auto_pad {auto_pad} needs a window of at least the stride {stride}"),
                ));
            }
            sizes.push(size.saturating_mul(stride));
            continue;
        }
        let whole = (size - 1).saturating_mul(stride).saturating_add(span).saturating_add(more[idx]);
        match whole.checked_sub(pads[idx] + pads[idx + n]) {
            Some(left) if left > 0 => sizes.push(left),
            _ => return Err(("attribute", format!("pads {pads:?} leave nothing of a dimension of {whole}"))),
        }
    }
    Ok(sizes)
}

/// An attribute with one number a dimension, each already checked to be in range.
fn list(node: &Node, name: &str, n: usize, absent: usize) -> Result<Vec<usize>, Wrong> {
    match attribute_ints(node, name) {
        None => Ok(vec![absent; n]),
        Some(list) if list.len() == n => Ok(list.iter().map(|&x| x as usize).collect()),
        Some(list) => Err(("attribute", format!("{name} {list:?} should hold {n} numbers"))),
    }
}
