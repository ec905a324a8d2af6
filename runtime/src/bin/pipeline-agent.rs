//! The agent: loads and runs models on a board, or in a process of its own. `pipeline` starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    keys::repeat(); // so that the same request executes the same instructions
    let args = std::env::args().skip(1).collect::<Vec<_>>();
    ExitCode::from(runtime::worker::serve(&args))
}
