//! Runs the real program and keeps what it said.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pipeline");

/// What a run of the program came to.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program in `folder`, which also stands for the user's home.
pub(crate) fn pipeline(folder: &Path, args: &[&str]) -> Said {
    said(command(folder, args).output().expect("the program starts"))
}

/// As [`pipeline`], on one core.
pub(crate) fn pipeline_on_one_thread(folder: &Path, args: &[&str]) -> Said {
    said(command(folder, args).env("RAYON_NUM_THREADS", "1").output().expect("the program starts"))
}

/// As [`pipeline`], after the shell's `ulimit` with `limit`, which holds for everything that the program starts.
pub(crate) fn pipeline_within(limit: &str, folder: &Path, args: &[&str]) -> Said {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh", PROGRAM]).args(args);
    command.current_dir(folder).env("HOME", folder).stdin(Stdio::null());
    said(command.output().expect("the shell starts"))
}

/// As [`pipeline`], with these variables.
pub(crate) fn pipeline_with(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Said {
    said(command(folder, args).envs(variables.iter().copied()).output().expect("the program starts"))
}

/// Starts the program and leaves it alone.
pub(crate) fn start(folder: &Path, args: &[&str]) -> Child {
    let mut command = command(folder, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Waits for a started program.
pub(crate) fn finish(child: Child) -> Said {
    said(child.wait_with_output().expect("the program was started"))
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).current_dir(folder).env("HOME", folder).env_remove("XDG_DATA_HOME").stdin(Stdio::null());
    command
}

/// What a program came to.
pub(crate) fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program speaks UTF-8");
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Said {
    /// Fails unless the exit code is `code` and each of `words` was said, on either stream.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, words: &[&str]) -> &Self {
        let Self { stdout, stderr, .. } = self;
        assert_eq!(self.code, Some(code), "stdout: {stdout}\nstderr: {stderr}");
        for word in words {
            assert!(stdout.contains(word) || stderr.contains(word), "no {word:?} in {stdout}\n{stderr}");
        }
        self
    }

    /// The whole of stdout as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}
