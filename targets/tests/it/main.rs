//! Tests of the crate at its edge: one module a question.

mod budget;
mod calibration;
mod fitted;
mod latency;
mod networks;
mod obstacles;
mod published;
mod quantity;
mod simulated;
mod stats;
mod target;
mod validity;
mod verdict;
