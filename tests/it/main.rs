//! The product from the outside: its layers, its search, its command, and the whole way.

mod layers;
mod pricing;
mod spaces;
mod strategies;
mod studies;

mod boards;
mod budgets;
mod calibrate;
mod cli;
mod emulated;
mod end_to_end;
mod gate;
mod guards;
mod interrupted;
mod lowerings;
mod recurrent;
mod roundtrip;
mod scenes;
mod side_by_side;
mod sounds;
mod tuned;

mod command;
mod micro;
mod oracle;
mod pictures;
mod recipe;
mod recording;
