//! The gate before a board: which programs it lets through, and what it says of the others.

use std::path::Path;

use runtime::program::{Linking, Program, Unfit};

/// A program of `machine` with one writable, one read-only and one executable section, and bss.
fn elf(machine: u16, bits: u8, flags: u32) -> Vec<u8> {
    let is_64 = bits == 64;
    let (header, entry) = if is_64 { (64_usize, 64_usize) } else { (52, 40) };
    let mut out = vec![0x7f, b'E', b'L', b'F', bits / 32, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let word = |out: &mut Vec<u8>, n: u64| {
        if is_64 { out.extend(n.to_le_bytes()) } else { out.extend((n as u32).to_le_bytes()) }
    };
    out.extend(2_u16.to_le_bytes()); // a program, not a library
    out.extend(machine.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    word(&mut out, 0);
    word(&mut out, 0); // no program headers
    word(&mut out, header as u64); // sections follow at once
    out.extend(flags.to_le_bytes());
    for n in [header as u16, 0, 0, entry as u16, 6, 5] {
        out.extend(n.to_le_bytes());
    }
    assert_eq!(out.len(), header);
    // type, flags, size: none, text, rodata, data, bss, names.
    let sections = [(0, 0, 0), (1, 6, 1000), (1, 2, 300), (1, 3, 20), (8, 3, 4000), (3, 0, 1)];
    let names = header + sections.len() * entry;
    for (kind, flags, size) in sections {
        out.extend(0_u32.to_le_bytes());
        out.extend(u32::to_le_bytes(kind));
        word(&mut out, flags);
        word(&mut out, 0);
        word(&mut out, names as u64);
        word(&mut out, size);
        out.extend([0; 8]);
        word(&mut out, 1);
        word(&mut out, 0);
    }
    out.resize(names + 2000, 0);
    out
}

const AARCH64: u16 = 183;
const ARM: u16 = 40;
const X86_64: u16 = 62;
const RISCV: u16 = 243;
const HARD_FLOAT: u32 = 0x0500_0400;
const SOFT_FLOAT: u32 = 0x0500_0200;

#[test]
fn a_program_fits_its_own_boards_alone() {
    let check = |machine, bits, flags, triple: &str, expected: Option<&str>| {
        let program = Program::read(&elf(machine, bits, flags)).expect("an ELF program");
        let found = program.fits(triple, Linking::Static).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), expected, "{machine} {bits} {triple}");
    };
    check(AARCH64, 64, 0, "aarch64-unknown-linux-gnu", None);
    check(X86_64, 64, 0, "x86_64-unknown-linux-gnu", None);
    check(ARM, 32, HARD_FLOAT, "armv7-unknown-linux-gnueabihf", None);
    check(
        X86_64,
        64,
        0,
        "aarch64-unknown-linux-gnu",
        Some("its processor is x86_64; aarch64-unknown-linux-gnu needs aarch64"),
    );
    check(
        RISCV,
        64,
        0,
        "aarch64-unknown-linux-gnu",
        Some("its processor is ELF machine 243; aarch64-unknown-linux-gnu needs aarch64"),
    );
    check(
        ARM,
        32,
        SOFT_FLOAT,
        "armv7-unknown-linux-gnueabihf",
        Some("its way to pass floats is integer registers; armv7-unknown-linux-gnueabihf needs float registers"),
    );
    check(
        AARCH64,
        32,
        0,
        "aarch64-unknown-linux-gnu",
        Some("its address size is 32 bits; aarch64-unknown-linux-gnu needs 64 bits"),
    );
}

#[test]
fn room_is_counted_by_kind() {
    for (machine, bits) in [(AARCH64, 64), (ARM, 32)] {
        let program = Program::read(&elf(machine, bits, HARD_FLOAT)).expect("an ELF program");
        let found = (program.text_bytes, program.rodata_bytes, program.data_bytes, program.bss_bytes);
        assert_eq!(found, (1000, 300, 20, 4000), "{machine}");
        assert_eq!((program.flash_bytes(), program.memory_bytes()), (1320, 4020), "{machine}");
        assert!(program.is_static && program.libraries.is_empty() && program.glibc.is_none());
    }
}

/// This test's own program was linked by the same toolchain that links everything here.
#[test]
fn a_dynamic_program_names_what_it_needs() {
    let bytes = std::fs::read(env!("CARGO_BIN_EXE_pipeline-agent")).expect("cargo has built it");
    let program = Program::read(&bytes).expect("an ELF program");
    assert_eq!(program.architecture, std::env::consts::ARCH);
    assert!(program.libraries.iter().any(|it| it.starts_with("libc.so")), "{:?}", program.libraries);
    assert!(program.glibc.as_deref().is_some_and(|it| it.starts_with("2.")), "{:?}", program.glibc);
    assert!(1_000_000 < program.text_bytes && program.flash_bytes() < program.file_bytes);
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    assert_eq!(program.fits(&triple, Linking::Any), Ok(()));
    match program.fits(&triple, Linking::Static) {
        Err(Unfit::Other { what, found, .. }) => {
            assert_eq!(what, "its linking");
            assert!(found.contains("GNU C library 2."), "{found}");
        }
        other => panic!("{other:?}"),
    }
}

/// Whatever is in a file, it is read or refused: cut off at every length and with every byte of its header changed.
#[test]
fn damaged_files_are_refused_or_read() {
    let whole = elf(AARCH64, 64, 0);
    for length in 0..whole.len().min(500) {
        let _ = Program::read(&whole[..length]);
    }
    for at in 0..64 + 6 * 64 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = Program::read(&bytes);
        }
    }
    assert!(matches!(Program::read(b"#!/bin/sh\n"), Err(Unfit::Format(_))));
    assert!(matches!(Program::read(b""), Err(Unfit::Format(_))));
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    assert!(Program::read(&std::fs::read(shared).expect("it is here")).is_err());
}
