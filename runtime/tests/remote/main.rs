//! Boards over ssh and adb: what they answer, every way in which they can fail, and hostile names.
//!
//! The ssh server is a real one, started here on the loopback for each test; adb is played by a script.

mod adb;
mod bench;
mod hostile;
mod proxy;
mod ssh;
mod ssh_failures;
