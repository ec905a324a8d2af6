//! A folder of pictures, one sub-folder a class, as a user has it.

use std::{fs, path::Path};

use data::{Options, Source};

/// Writes `per_class` grey PNG files of each of the ten digits below `folder`.
pub(crate) fn write_digits(folder: &Path, per_class: usize) {
    let digits = Source::open("optdigits", &Options::default()).and_then(|source| source.train());
    let digits = digits.expect("optdigits is built in");
    let [_, height, width] = digits.shape;
    let mut written = vec![0; digits.classes.len()];
    for (idx, &label) in digits.labels.iter().enumerate() {
        let n = &mut written[label as usize];
        if *n < per_class {
            let class = folder.join(format!("digit-{label}"));
            fs::create_dir_all(&class).expect("a temporary folder can be written");
            let path = class.join(format!("{n}.png"));
            fs::write(path, png(height, width, digits.image(idx))).expect("a temporary folder can be written");
            *n += 1;
        }
    }
}

/// The bytes of a grey PNG file without compression.
///
/// # Shapes
/// - grey: `[height, width]`
pub(crate) fn png(height: usize, width: usize, grey: &[u8]) -> Vec<u8> {
    // Each row begins with its filter: none.
    let rows: Vec<u8> = grey.chunks(width).flat_map(|row| [&[0], row].concat()).collect();
    let n = u16::try_from(rows.len()).expect("one stored block holds 65,535 bytes");
    let mut zlib = vec![0x78, 0x01, 0x01];
    zlib.extend(n.to_le_bytes());
    zlib.extend((!n).to_le_bytes());
    zlib.extend(&rows);
    zlib.extend(adler32(&rows).to_be_bytes());

    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    header.extend([8, 0, 0, 0, 0]); // 8 bits, grey, the only methods there are, not interlaced

    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", &header), (b"IDAT", &zlib), (b"IEND", &Vec::new())] {
        let named = [kind.as_slice(), data].concat();
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&named);
        file.extend(crc32(&named).to_be_bytes());
    }
    file
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

fn crc32(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| shift(crc)))
}

#[test]
fn checksums_match_their_definitions() {
    // RFC 1950's sum of "Wikipedia", and the check value of CRC-32.
    assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
