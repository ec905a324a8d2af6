//! The product from the outside: its layers, its search, its command, and the whole way.

mod layers;
mod spaces;
mod strategies;
mod studies;

mod budgets;
mod calibrate;
mod cli;
mod end_to_end;
mod interrupted;
mod roundtrip;

mod command;
mod micro;
mod oracle;
mod pictures;
mod recording;
