//! What the tests of several crates share: random networks, known networks, and an interpreter that
//! is slow and obviously right.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod networks;
pub(crate) mod random;
pub(crate) mod reference;
