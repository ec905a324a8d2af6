//! Reads a file's metadata back, from bytes that nobody vouches for.
//!
//! Only the outermost fields are walked: weights are stepped over, not decoded, and as nothing
//! recurses, no file can exhaust the stack (RUSTSEC-2024-0437 is about the decoder that
//! `onnx-protobuf` brings).

use crate::{ExportError, Metadata};

/// `ModelProto.graph`, without which a file holds no network.
const GRAPH: u64 = 7;
/// `ModelProto.metadata_props`.
const METADATA: u64 = 14;
/// `StringStringEntryProto.key` and `.value`.
const KEY: u64 = 1;
const VALUE: u64 = 2;

/// The metadata of the ONNX file whose contents are `bytes`.
///
/// # Errors
/// The bytes end early, are not a protocol buffer with a network in it, or name a key twice.
pub fn read_metadata(bytes: &[u8]) -> Result<Metadata, ExportError> {
    let (mut metadata, mut has_graph) = (Metadata::default(), false);
    for field in Fields(bytes) {
        match field? {
            (GRAPH, Some(_)) => has_graph = true,
            (METADATA, Some(entry)) => {
                let (key, value) = read_entry(entry)?;
                if metadata.entries.contains_key(&key) {
                    return Err(ExportError::Read(format!("its metadata names {key:?} twice")));
                }
                metadata.entries.insert(key, value);
            }
            _ => {}
        }
    }
    if has_graph { Ok(metadata) } else { Err(ExportError::Read("it holds no network".to_owned())) }
}

fn read_entry(bytes: &[u8]) -> Result<(String, String), ExportError> {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(ExportError::Read("its metadata is not text".to_owned())),
    };
    let (mut key, mut value) = (String::new(), String::new());
    for field in Fields(bytes) {
        match field? {
            (KEY, Some(bytes)) => key = text(bytes)?,
            (VALUE, Some(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// The fields of one message: number, and contents where they have a length of their own.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Option<&'a [u8]>), ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            // An error ends the walk.
            self.0 = &[];
        }
        Some(field.ok_or_else(|| ExportError::Read("it is cut off or damaged".to_owned())))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Option<&'a [u8]>)> {
        let tag = self.varint()?;
        let contents = match tag & 7 {
            0 => self.varint().map(|_| None)?,
            1 => self.take(8).map(|_| None)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Some(self.take(length)?)
            }
            5 => self.take(4).map(|_| None)?,
            // Groups (3 and 4) were never part of ONNX; 6 and 7 do not exist.
            _ => return None,
        };
        Some((tag >> 3, contents))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }
}
