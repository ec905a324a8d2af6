//! Scripts for a board: the functions of `board.sh`, and one call with quoted arguments.

/// The first line of every script: what stands before it came from the board's login.
pub(super) const BEGAN: &str = "pipeline:began\n";

/// Said by the board once it is ready to take a file.
pub(super) const READY: &str = "pipeline:ready\n";

/// Begins the last line of every script that came to its end; its exit status follows.
pub(super) const DONE: &str = "\npipeline:done ";

/// A script that calls `function` of `board.sh` with these arguments, whatever characters they hold.
pub(super) fn call(function: &'static str, args: &[&str]) -> String {
    let mut script = include_str!("board.sh").to_owned();
    script.push_str("printf '\\npipeline:began\\n'; ");
    script.push_str(function);
    for arg in args {
        script.push(' ');
        script.push_str(&quote(arg));
    }
    // In one line: when it begins, the shell has read all there is, and the input is the connection.
    script.push_str("; printf '\\npipeline:done %s\\n' $?; exit\n");
    script
}

/// `text` as one word of a POSIX shell. A NUL, which no word of a shell can hold, is left out.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "'\\''"))
}
