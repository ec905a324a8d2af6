//! Walks a model's protobuf bytes before anything is decoded, so that decoding is cheap and means one thing.
//!
//! A decoder may allocate a hundred bytes for two, recurse as deep as the file says, and answer a
//! repeated singular field in its own way: the engine's decoder merges, ours replaces. The walk
//! refuses all three.

use super::{Limits, Rejected};

/// Refuses `bytes` that are truncated, nested too deep, made of too many fields, or ambiguous.
pub(super) fn walk(bytes: &[u8], limits: &Limits) -> Result<(), Rejected> {
    let mut walk = Walk { fields: 0, messages: 0, limits };
    walk.message(bytes, Message::Model, 0)
}

/// The messages of `onnx.proto` that hold other messages.
#[derive(Clone, Copy, Debug)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    Value,
    Type,
    TensorType,
    Element,
    Map,
    Shape,
    Annotation,
    Training,
    Function,
    Leaf,
}

/// How often a field of a message may occur.
#[derive(Clone, Copy, PartialEq)]
enum Occurs {
    Once,
    Often,
}

impl Message {
    /// The message that `field` holds, if it holds one. Numbers are those of `onnx.proto`.
    fn child(self, field: u64) -> Option<(Self, Occurs)> {
        use Occurs::{Often, Once};
        let child = match (self, field) {
            (Self::Model, 7) => (Self::Graph, Once),
            (Self::Model, 8 | 14) => (Self::Leaf, Often),
            (Self::Model, 20) => (Self::Training, Often),
            (Self::Model, 25) => (Self::Function, Often),
            (Self::Graph, 1) => (Self::Node, Often),
            (Self::Graph, 5) => (Self::Tensor, Often),
            (Self::Graph, 11..=13) => (Self::Value, Often),
            (Self::Graph, 14) => (Self::Annotation, Often),
            (Self::Graph, 15) => (Self::SparseTensor, Often),
            (Self::Graph, 16) => (Self::Leaf, Often),
            (Self::Node, 5) => (Self::Attribute, Often),
            (Self::Node, 9) => (Self::Leaf, Often),
            (Self::Attribute, 5) => (Self::Tensor, Once),
            (Self::Attribute, 6) => (Self::Graph, Once),
            (Self::Attribute, 10) => (Self::Tensor, Often),
            (Self::Attribute, 11) => (Self::Graph, Often),
            (Self::Attribute, 14) => (Self::Type, Once),
            (Self::Attribute, 15) => (Self::Type, Often),
            (Self::Attribute, 22) => (Self::SparseTensor, Once),
            (Self::Attribute, 23) => (Self::SparseTensor, Often),
            (Self::Tensor, 3) => (Self::Leaf, Once),
            (Self::Tensor, 13 | 16) => (Self::Leaf, Often),
            (Self::SparseTensor, 1 | 2) => (Self::Tensor, Once),
            (Self::Value, 2) => (Self::Type, Once),
            (Self::Value, 4) => (Self::Leaf, Often),
            (Self::Type, 1 | 8) => (Self::TensorType, Once),
            (Self::Type, 4 | 9) => (Self::Element, Once),
            (Self::Type, 5) => (Self::Map, Once),
            (Self::TensorType, 2) => (Self::Shape, Once),
            (Self::Element, 1) => (Self::Type, Once),
            (Self::Map, 2) => (Self::Type, Once),
            (Self::Shape, 1) => (Self::Leaf, Often),
            (Self::Annotation, 2) => (Self::Leaf, Often),
            (Self::Training, 1 | 2) => (Self::Graph, Once),
            (Self::Training, 3 | 4) => (Self::Leaf, Often),
            (Self::Function, 7) => (Self::Node, Often),
            (Self::Function, 9 | 14) => (Self::Leaf, Often),
            (Self::Function, 11) => (Self::Attribute, Often),
            (Self::Function, 12) => (Self::Value, Often),
            _ => return None, // a number, a string, or a field this version of ONNX does not have
        };
        Some(child)
    }
}

struct Walk<'a> {
    fields: usize,
    messages: usize,
    limits: &'a Limits,
}

impl Walk<'_> {
    fn message(&mut self, mut bytes: &[u8], kind: Message, depth: usize) -> Result<(), Rejected> {
        let refuse = |what: &str, why: String| Rejected::new(what, format!("the file's {kind:?} message"), why);
        if depth > self.limits.depth {
            return Err(refuse("nesting", format!("is more than {} messages deep", self.limits.depth)));
        }
        self.messages += 1;
        if self.messages > self.limits.messages {
            return Err(refuse("messages", format!("are more than {}", self.limits.messages)));
        }
        let truncated = || refuse("bytes", "end in the middle of a field: the file is truncated or not ONNX".into());
        let mut seen = 0u64;
        while !bytes.is_empty() {
            self.fields += 1;
            if self.fields > self.limits.fields {
                return Err(refuse("fields", format!("are more than {}", self.limits.fields)));
            }
            let tag = varint(&mut bytes).ok_or_else(truncated)?;
            let (field, wire) = (tag >> 3, tag & 7);
            if field == 0 || field >= 1 << 29 {
                return Err(refuse("bytes", format!("hold the impossible field number {field}: this is not ONNX")));
            }
            match wire {
                0 => {
                    varint(&mut bytes).ok_or_else(truncated)?;
                }
                1 => drop(take(&mut bytes, 8).ok_or_else(truncated)?),
                5 => drop(take(&mut bytes, 4).ok_or_else(truncated)?),
                2 => {
                    let length = varint(&mut bytes).ok_or_else(truncated)?;
                    let content =
                        usize::try_from(length).ok().and_then(|n| take(&mut bytes, n)).ok_or_else(truncated)?;
                    let Some((child, occurs)) = kind.child(field) else { continue };
                    if occurs == Occurs::Once {
                        if seen >> field & 1 == 1 {
                            return Err(refuse("fields", format!("repeat the single field {field}: readers disagree")));
                        }
                        seen |= 1 << field;
                    }
                    self.message(content, child, depth + 1)?;
                }
                // Groups left protobuf before ONNX began, and nest without a length.
                _ => return Err(refuse("bytes", format!("hold wire type {wire}: this is not ONNX"))),
            }
        }
        Ok(())
    }
}

/// One base-128 number of at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(taken)
}
