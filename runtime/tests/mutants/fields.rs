//! Changes to the protobuf fields of a file: whole fields go, come twice, or hold other numbers and text, and the
//! lengths around them stay true.

/// A field: its key, and what it holds.
#[derive(Clone)]
struct Field {
    key: u64,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Number(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

/// Changes one field of `bytes`, which `pick` and `way` choose.
pub(crate) fn mutate(bytes: &[u8], pick: u32, way: u32) -> Vec<u8> {
    let Some(mut fields) = parse(bytes) else { return bytes.to_vec() };
    let n = count(&fields);
    let mut at = ((u64::from(pick) * n as u64) >> 32) as usize;
    change(&mut fields, &mut at, way);
    encode(&fields)
}

/// Numbers at the edges of what fields may hold.
const NUMBERS: [u64; 12] = [0, 1, 2, 3, 7, 64, 4_097, 1 << 31, (1 << 32) - 1, 1 << 62, i64::MAX as u64, u64::MAX];

fn change(fields: &mut Vec<Field>, at: &mut usize, way: u32) -> bool {
    for idx in 0..fields.len() {
        if *at == 0 {
            let number = NUMBERS[(way >> 8) as usize % NUMBERS.len()];
            let other = fields[(way >> 8) as usize % fields.len()].clone();
            match (way % 6, &mut fields[idx].content) {
                (0, _) => drop(fields.remove(idx)),
                (1, _) => fields.insert(idx, fields[idx].clone()),
                (2, _) => fields.insert(idx, other),
                (_, Content::Number(n)) => *n = number,
                (3, Content::Bytes(bytes) | Content::Fixed(bytes)) => bytes.iter_mut().for_each(|byte| *byte = !*byte),
                (4, Content::Bytes(bytes)) => bytes.truncate(bytes.len() / 2),
                (_, Content::Bytes(bytes)) => bytes.extend_from_within(..),
                (_, Content::Fixed(bytes)) => bytes.fill(0xff),
                (3, Content::Message(inner)) => inner.reverse(),
                (4, Content::Message(inner)) => inner.clear(),
                (_, Content::Message(_)) => fields[idx].key = (number << 3 | 2) & 0xffff,
            }
            return true;
        }
        *at -= 1;
        if let Content::Message(inner) = &mut fields[idx].content
            && change(inner, at, way)
        {
            return true;
        }
    }
    false
}

fn count(fields: &[Field]) -> usize {
    let inner = |field: &Field| match &field.content {
        Content::Message(inner) => count(inner),
        Content::Number(_) | Content::Fixed(_) | Content::Bytes(_) => 0,
    };
    fields.iter().map(|field| 1 + inner(field)).sum()
}

/// The fields of a message; `None` where `bytes` are none. Text that reads as a message is taken for one.
fn parse(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let content = match key & 7 {
            0 => Content::Number(varint(&mut bytes)?),
            kind @ (1 | 5) => Content::Fixed(take(&mut bytes, if kind == 1 { 8 } else { 4 })?.to_vec()),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = take(&mut bytes, length)?;
                match parse(inner) {
                    Some(fields) if !fields.is_empty() => Content::Message(fields),
                    Some(_) | None => Content::Bytes(inner.to_vec()),
                }
            }
            _ => return None,
        };
        if key >> 3 == 0 {
            return None;
        }
        fields.push(Field { key, content });
    }
    Some(fields)
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        write_varint(&mut bytes, field.key);
        let inner = match &field.content {
            Content::Number(n) => {
                write_varint(&mut bytes, *n);
                continue;
            }
            Content::Fixed(fixed) => {
                bytes.extend(fixed);
                continue;
            }
            Content::Bytes(inner) => inner.clone(),
            Content::Message(fields) => encode(fields),
        };
        write_varint(&mut bytes, inner.len() as u64);
        bytes.extend(inner);
    }
    bytes
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(n)?;
    *bytes = tail;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}

fn write_varint(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}
