//! Any bytes for the gate: `scripts/fuzz [SECONDS]`, or `cargo +nightly fuzz run validate`, from the repository's root.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::validate::{Limits, validate};

fuzz_target!(|bytes: &[u8]| {
    // Admitted or refused; what must not happen is a panic, a hang or gigabytes.
    let _ = validate(bytes, &Limits::default());
});
