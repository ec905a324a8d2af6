//! Networks that choose, and how they learn from rewards.

pub mod controller;

pub use controller::{Controller, ControllerSettings, Sampled};
