//! Links the program small, where the machine that builds it is known to have a linker and a loader that can.

use std::{env, process::Command};

/// The first release of the C library whose loader reads packed relocations.
const PACKED_SINCE: [u32; 2] = [2, 36];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for chosen in ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_LINKER"] {
        println!("cargo::rerun-if-env-changed={chosen}");
    }
    let of = |name| env::var(name).unwrap_or_default();
    let flags = of("CARGO_ENCODED_RUSTFLAGS");
    // Here the toolchain brings its own linker, unless somebody chose another one.
    let is_chosen = env::var_os("RUSTC_LINKER").is_some() || ["linker", "fuse-ld"].iter().any(|it| flags.contains(it));
    let is_own_linker = of("TARGET") == "x86_64-unknown-linux-gnu" && !is_chosen;
    if !is_own_linker || of("TARGET") != of("HOST") {
        return;
    }
    // What the profile says of symbols does not hold for a package with settings of its own.
    println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    // Functions with equal code are there once.
    println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    if libc_version().is_some_and(|version| PACKED_SINCE <= version) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Of this machine's C library: the last word of the first line that its `ldd` says of itself.
fn libc_version() -> Option<[u32; 2]> {
    let said = Command::new("ldd").arg("--version").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.lines().next()?.split_whitespace().last()?.split_once('.')?;
    Some([major.parse().ok()?, minor.parse().ok()?])
}
