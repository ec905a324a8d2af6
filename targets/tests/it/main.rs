//! Tests of the crate at its edge: one module a question.

mod board;
mod budget;
mod calibration;
mod counts;
mod fitted;
mod latency;
mod networks;
mod obstacles;
mod published;
mod quantity;
mod quiet;
mod rounds;
mod simulated;
mod stats;
mod target;
mod validity;
mod verdict;
