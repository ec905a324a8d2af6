//! Tests of the crate at its edge: one module a question.

mod board;
mod budget;
mod latency;
mod networks;
mod published;
mod quantity;
mod rounds;
mod simulated;
mod stats;
mod target;
mod validity;
mod verdict;
