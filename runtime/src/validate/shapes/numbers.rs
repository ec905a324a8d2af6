//! Types of values, and arithmetic on the numbers of shapes.

use super::axes::attribute_int;
use super::{Fact, Walk, Wrong};
use crate::validate::proto::{Attribute, FLOAT, INT64, Node, SHAPE_LENGTH};

/// ONNX's numbers of these types.
const UINT8: i32 = 2;
const BOOL: i32 = 9;

impl Walk<'_> {
    /// The element type of output `idx`.
    pub(super) fn dtype(&self, node: &Node, idx: usize) -> i32 {
        let of_input = |idx| self.input(node, idx).map_or(FLOAT, |fact| fact.dtype);
        match node.op.as_str() {
            "Cast" => attribute_int(node, "to").map_or(FLOAT, |dtype| dtype as i32),
            "Shape" | "ArgMax" | "ArgMin" => INT64,
            "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" | "Not" => BOOL,
            "Dropout" if idx == 1 => BOOL,
            "QuantizeLinear" => self.input(node, 2).map_or(UINT8, |zero_point| zero_point.dtype),
            "DequantizeLinear" => FLOAT,
            "Where" => of_input(1),
            "Constant" | "ConstantOfShape" => match node.attributes.iter().next() {
                Some((_, Attribute::Tensor(tensor))) => tensor.dtype,
                Some((_, Attribute::Int(_) | Attribute::Ints(_))) => INT64,
                Some((_, Attribute::Float | Attribute::Floats(_) | Attribute::Text(_))) | None => FLOAT,
            },
            _ => of_input(0),
        }
    }

    /// The numbers that an operator on two short lists of integers makes: exporters compute shapes so.
    ///
    /// Refuses a division of integers whose divisor may be 0, on which the engine would stop.
    pub(super) fn arithmetic(&self, node: &Node, shape: &[usize]) -> Result<Option<Vec<i64>>, Wrong> {
        let operation = match node.op.as_str() {
            "Add" => i64::checked_add,
            "Sub" => i64::checked_sub,
            "Mul" => i64::checked_mul,
            "Div" => i64::checked_div,
            _ => return Ok(None),
        };
        let (Some(a), Some(b)) = (self.input(node, 0), self.input(node, 1)) else { return Ok(None) };
        if node.op == "Div" && is_integer(b.dtype) && !b.ints.as_ref().is_some_and(|ints| ints.iter().all(|&n| n > 0)) {
            return Err(("division", "of integers may be by 0; divide floats, or by a constant above 0".into()));
        }
        let is_short = shape.len() <= 1 && shape.iter().all(|&n| n <= SHAPE_LENGTH);
        let (Some(left), Some(right)) = (numbers(a).filter(|_| is_short), numbers(b)) else { return Ok(None) };
        let n = shape.first().copied().unwrap_or(1);
        let at = |list: &[i64], idx: usize| if list.len() == 1 { list.first() } else { list.get(idx) }.copied();
        Ok((0..n).map(|idx| operation(at(left, idx)?, at(right, idx)?)).collect())
    }
}

fn numbers(fact: &Fact) -> Option<&[i64]> {
    fact.ints.as_deref().filter(|_| fact.dtype == INT64)
}

fn is_integer(dtype: i32) -> bool {
    matches!(dtype, 2..=7 | 12 | 13)
}
