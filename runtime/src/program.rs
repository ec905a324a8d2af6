//! Reads a program before it is sent to a board: whether the board can run it, and what room it takes.
//!
//! Only the file is read; nothing is run. A program for another processor ends on a board with a
//! syntax error of its shell, and one that wants a newer C library with a line about a version:
//! here both are told in words, before anything is pushed.

use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, SectionTable};
use object::{Endianness, elf};
use serde::{Deserialize, Serialize};

/// What a program file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Architecture as in target triples: `aarch64`, `arm`, `x86_64`, or the ELF number of another.
    pub architecture: String,
    /// Size of an address: 32 or 64.
    pub bits: u8,
    /// Whether the lowest byte of a number comes first.
    pub little_endian: bool,
    /// Whether floats are passed in registers made for them; known of 32-bit ARM alone.
    pub hard_float: Option<bool>,
    /// Instructions beyond the architecture's first ones that the file says it needs, such as
    /// `x86-64-v3` or `ARMv8`. Most files say nothing.
    pub needs: Option<String>,
    /// Whether it runs without the board's libraries.
    pub is_static: bool,
    /// Shared libraries that the board must have.
    pub libraries: Vec<String>,
    /// Oldest GNU C library that it runs with: `2.34`.
    pub glibc: Option<String>,
    /// Size of the file, in bytes.
    pub file_bytes: u64,
    /// Instructions, in bytes.
    pub text_bytes: u64,
    /// Constants, in bytes.
    pub rodata_bytes: u64,
    /// Variables with a first value, in bytes.
    pub data_bytes: u64,
    /// Variables without one, in bytes; they take memory, and no room in the file.
    pub bss_bytes: u64,
}

/// How a program may be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linking {
    /// With everything it needs: the board's own libraries do not matter.
    Static,
    /// Any way: the board is a machine like this one, and has this one's libraries.
    Any,
}

/// Why a program cannot be sent to a board.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not a program that Linux could load.
    #[error("is not a Linux program (ELF): {0}")]
    Format(String),
    /// It is one, for something else.
    #[error("{what} is {found}; {triple} needs {expected}")]
    Other {
        /// What does not fit.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
        /// The target's triple.
        triple: String,
    },
}

impl Program {
    /// What the file with these bytes says.
    ///
    /// # Errors
    /// It is not an ELF program, or it is damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, Unfit> {
        let found = match bytes.get(..5) {
            Some([0x7f, b'E', b'L', b'F', 1]) => of::<elf::FileHeader32<Endianness>>(bytes),
            Some([0x7f, b'E', b'L', b'F', 2]) => of::<elf::FileHeader64<Endianness>>(bytes),
            Some(_) | None => return Err(Unfit::Format("it does not begin like one".into())),
        };
        found.map_err(|error| Unfit::Format(error.to_string()))
    }

    /// Room that it takes in flash beside its headers: text, constants and variables with a first value.
    pub fn flash_bytes(&self) -> u64 {
        self.text_bytes + self.rodata_bytes + self.data_bytes
    }

    /// Memory that its variables take before it has done anything.
    pub fn memory_bytes(&self) -> u64 {
        self.data_bytes + self.bss_bytes
    }

    /// Whether a board of this triple can run it: `aarch64-unknown-linux-gnu`.
    ///
    /// # Errors
    /// It cannot; the error says what was expected.
    pub fn fits(&self, triple: &str, linking: Linking) -> Result<(), Unfit> {
        let wanted = triple.split('-').next().unwrap_or_default();
        let (architecture, bits) = match wanted {
            "aarch64" => ("aarch64", 64),
            "x86_64" => ("x86_64", 64),
            arm if arm.starts_with("arm") => ("arm", 32),
            other => (other, self.bits),
        };
        let is_hard = triple.ends_with("hf");
        let in_words = |hard: bool| if hard { "float registers" } else { "integer registers" };
        let order = |little: bool| if little { "lowest byte first" } else { "highest byte first" };
        // A static program brings its C library along; another needs the board's to be new enough.
        let linked = if self.is_static {
            "static".to_owned()
        } else {
            let glibc = self.glibc.as_ref().map_or(String::new(), |it| format!(", GNU C library {it} or newer"));
            format!("dynamic ({}{glibc})", self.libraries.join(", "))
        };
        let rules = [
            ("its processor", self.architecture == architecture, self.architecture.clone(), architecture.to_owned()),
            ("its address size", self.bits == bits, format!("{} bits", self.bits), format!("{bits} bits")),
            ("its byte order", self.little_endian, order(self.little_endian).to_owned(), order(true).to_owned()),
            (
                "its way to pass floats",
                self.hard_float.is_none_or(|hard| hard == is_hard),
                self.hard_float.map_or(String::new(), |hard| in_words(hard).to_owned()),
                in_words(is_hard).to_owned(),
            ),
            (
                "its instruction set",
                self.needs.is_none(),
                self.needs.clone().unwrap_or_default(),
                format!("the baseline of {wanted}"),
            ),
            (
                "its linking",
                self.is_static || linking == Linking::Any,
                linked,
                "static, so that the board's own libraries do not matter".to_owned(),
            ),
        ];
        match rules.into_iter().find(|rule| !rule.1) {
            None => Ok(()),
            Some((what, _, found, expected)) => Err(Unfit::Other { what, found, expected, triple: triple.to_owned() }),
        }
    }
}

fn of<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> object::read::Result<Program> {
    let header = Elf::parse(bytes)?;
    let endian = header.endian()?;
    let machine = header.e_machine(endian);
    let sections = header.sections(endian, bytes)?;
    let mut program = Program {
        architecture: match machine {
            elf::EM_AARCH64 => "aarch64".into(),
            elf::EM_ARM => "arm".into(),
            elf::EM_X86_64 => "x86_64".into(),
            other => format!("ELF machine {}", other.0),
        },
        bits: if header.is_class_64() { 64 } else { 32 },
        little_endian: header.is_little_endian(),
        is_static: true,
        file_bytes: bytes.len() as u64,
        ..Program::default()
    };
    if machine == elf::EM_ARM {
        program.hard_float = Some(header.e_flags(endian).0 & elf::EF_ARM_ABI_FLOAT_HARD != 0);
    }
    for segment in header.program_headers(endian, bytes)? {
        if segment.p_type(endian) == elf::PT_INTERP {
            program.is_static = false;
        }
    }
    for section in sections.iter() {
        let flags = section.sh_flags(endian).0;
        let size: u64 = section.sh_size(endian).into();
        let has = |flag: u64| flags & flag != 0;
        if !has(ALLOC) {
            continue;
        }
        let is_empty = section.sh_type(endian) == elf::SHT_NOBITS;
        match (has(EXECUTE), has(WRITE), is_empty) {
            (true, ..) => program.text_bytes += size,
            (false, true, true) => program.bss_bytes += size,
            (false, true, false) => program.data_bytes += size,
            (false, false, _) => program.rodata_bytes += size,
        }
    }
    (program.libraries, program.glibc) = linked::<Elf>(&sections, endian, bytes)?;
    program.is_static &= program.libraries.is_empty();
    program.needs = needs::<Elf>(&sections, endian, bytes)?;
    Ok(program)
}

const WRITE: u64 = 1;
const ALLOC: u64 = 2;
const EXECUTE: u64 = 4;

/// Shared libraries, and the highest version of the GNU C library that is asked for.
fn linked<Elf: FileHeader<Endian = Endianness>>(
    sections: &SectionTable<Elf>,
    endian: Endianness,
    bytes: &[u8],
) -> object::read::Result<(Vec<String>, Option<String>)> {
    let mut libraries = Vec::new();
    if let Some((entries, names)) = sections.dynamic(endian, bytes)? {
        let names = sections.strings(endian, bytes, names)?;
        for entry in entries.iter().filter(|entry| entry.d_tag(endian) == elf::DT_NEEDED) {
            let at: u64 = entry.d_val(endian).into();
            let name = u32::try_from(at).ok().and_then(|at| names.get(at).ok()).unwrap_or(b"?");
            libraries.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    let mut highest = None;
    if let Some((mut needs, names)) = sections.gnu_verneed(endian, bytes)? {
        let names = sections.strings(endian, bytes, names)?;
        while let Some((_, mut versions)) = needs.next()? {
            while let Some(version) = versions.next()? {
                let name = String::from_utf8_lossy(version.name(endian, names)?).into_owned();
                let parts = name.strip_prefix("GLIBC_").and_then(|it| it.split_once('.'));
                let parts = parts.and_then(|(major, minor)| {
                    Some((major.parse::<u32>().ok()?, minor.split('.').next()?.parse::<u32>().ok()?))
                });
                highest = highest.max(parts);
            }
        }
    }
    Ok((libraries, highest.map(|(major, minor)| format!("{major}.{minor}"))))
}

/// What the file's notes say it needs beyond the baseline: GNU properties of x86-64, build
/// attributes of 32-bit ARM. AArch64 has no such note.
fn needs<Elf: FileHeader<Endian = Endianness>>(
    sections: &SectionTable<Elf>,
    endian: Endianness,
    bytes: &[u8],
) -> object::read::Result<Option<String>> {
    let mut found = None;
    for section in sections.iter() {
        if let Some(mut notes) = section.notes(endian, bytes)? {
            while let Some(note) = notes.next()? {
                let Some(mut properties) = note.gnu_properties(endian) else { continue };
                while let Some(property) = properties.next()? {
                    if property.pr_type() == elf::GNU_PROPERTY_X86_ISA_1_NEEDED {
                        let levels = property.data_u32(endian)?;
                        let level = (2..=4).rev().find(|level| levels >> (level - 1) & 1 == 1);
                        found = level.map(|level| format!("x86-64-v{level}")).or(found);
                    }
                }
            }
        }
        if section.sh_type(endian) == elf::SHT_ARM_ATTRIBUTES {
            let mut vendors = section.attributes(endian, bytes)?.subsections()?;
            while let Some(vendor) = vendors.next()? {
                let mut parts = vendor.subsubsections();
                while let Some(part) = parts.next()? {
                    found = arm_architecture(part.attributes())?.or(found);
                }
            }
        }
    }
    Ok(found)
}

/// `ARMv8` and later by the build attributes of 32-bit ARM (Arm's "Addenda to the ABI", 2.3.5).
fn arm_architecture(mut attributes: object::read::elf::AttributeReader) -> object::read::Result<Option<String>> {
    while let Some(tag) = attributes.read_tag()? {
        match tag {
            CPU_ARCH => return Ok((FIRST_V8 <= attributes.read_integer()?).then(|| "ARMv8".to_owned())),
            4 | 5 | 65 | 67 => drop(attributes.read_string()?),
            // Attributes from 32 on are strings where odd.
            32 => {
                attributes.read_integer()?;
                attributes.read_string()?;
            }
            tag if 32 < tag && tag % 2 == 1 => drop(attributes.read_string()?),
            _ => drop(attributes.read_integer()?),
        }
    }
    Ok(None)
}

const CPU_ARCH: u64 = 6;
const FIRST_V8: u64 = 14;
