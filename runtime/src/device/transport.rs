//! The way to a board: runs a script there, takes files to it and back. Over ssh or adb.

use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use targets::measurement::Reach;

use super::address::Address;
use super::script::call;
use super::talk::{Heard, talk};
use super::trouble::{Trouble, unreached_by_adb, unreached_by_ssh};
use crate::protocol::file_sha256;
use crate::worker::process::Scratch;

/// A way to a board. Whoever implements it says how a shell is started there; the rest follows.
pub trait Transport: Send {
    /// Where the board is, as its address.
    fn describe(&self) -> String;

    /// Which kind of way it is.
    fn reach(&self) -> Reach;

    /// A command that runs `sh -s` on the board, joined to its own input and output.
    fn shell(&self) -> Command;

    /// What it means when no shell began there, from what the command said.
    fn unreached(&self, said: &str) -> Trouble;

    /// Runs a function of `board.sh` there. Its process is ended with the connection, and at the
    /// latest after `limit`.
    fn run(&self, function: &'static str, args: &[&str], limit: Duration) -> Result<Said, Trouble> {
        converse(self, &call(function, args), None, limit)
    }

    /// Writes a file there, whole or not at all, with this mode.
    fn push(&self, local: &Path, remote: &str, mode: &'static str) -> Result<(), Trouble> {
        let unreadable = |source| Trouble::File { path: local.display().to_string(), source };
        let sha256 = file_sha256(local).map_err(unreadable)?;
        let file = File::open(local).map_err(unreadable)?;
        let limit = transfer_limit(file.metadata().map_err(unreadable)?.len());
        let seconds = limit.as_secs().to_string();
        let said = converse(self, &call("receive", &[&seconds, remote, &sha256, mode]), Some(file), limit)?;
        said.succeeded().map(drop)
    }

    /// Fetches a file of at most `most` bytes from there.
    fn pull(&self, remote: &str, local: &Path, most: u64) -> Result<(), Trouble> {
        let limit = transfer_limit(most);
        let bytes = self.run("give", &[&limit.as_secs().to_string(), remote], limit)?.succeeded()?;
        std::fs::write(local, bytes).map_err(|source| Trouble::File { path: local.display().to_string(), source })
    }
}

/// Sends a script, and a file behind it.
fn converse(
    to: &(impl Transport + ?Sized),
    script: &str,
    file: Option<File>,
    limit: Duration,
) -> Result<Said, Trouble> {
    let shell = to.shell();
    let program = shell.get_program().display().to_string();
    let heard = talk(shell, script, file, limit).map_err(|source| Trouble::Program { program, source })?;
    match heard {
        Heard { status: Some(status), stdout, stderr, .. } => Ok(Said { status, stdout, stderr }),
        Heard { began: false, late: true, .. } => Err(Trouble::Unreachable { said: "it does not answer".into() }),
        Heard { began: false, stderr, .. } => Err(to.unreached(&stderr)),
        Heard { late: true, .. } => Err(Trouble::Late { limit }),
        Heard { stderr, .. } => Err(Trouble::Vanished { said: stderr }),
    }
}

/// What a script that came to its end had to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its exit status.
    pub status: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// Its words.
    pub stderr: String,
}

impl Said {
    /// What it printed, if it did its part.
    pub fn succeeded(self) -> Result<Vec<u8>, Trouble> {
        if self.status == 0 { Ok(self.stdout) } else { Err(Trouble::of_script(self.status, &self.stderr)) }
    }
}

/// Time for a file: a minute, and more on a link of less than 64 KiB a second.
fn transfer_limit(bytes: u64) -> Duration {
    Duration::from_secs(60 + bytes / (64 << 10))
}

/// The transport for an address.
pub fn transport(address: &Address) -> Box<dyn Transport> {
    match address {
        Address::Ssh { .. } => Box::new(Ssh::new(address.clone())),
        Address::Adb { serial } => Box::new(Adb { program: "adb".into(), serial: serial.clone() }),
    }
}

/// Over the user's own `ssh`, with its keys, configuration and jump hosts. It never asks for a
/// password: there is nobody to type one while a search runs.
pub struct Ssh {
    /// The program.
    pub program: PathBuf,
    /// Options before all others, such as `-F FILE`.
    pub options: Vec<OsString>,
    /// Seconds without a sign of life after which it asks for one; given up after three.
    pub keepalive: u32,
    /// What to do with a host whose key is not known.
    pub host_keys: HostKeys,
    address: Address,
    /// Holds the socket of the connection that all conversations share.
    shared: Option<Scratch>,
}

/// What to do with a host whose key is not known. One whose key has changed is always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeys {
    /// Refuse it.
    Known,
    /// Remember its key.
    AcceptNew,
}

impl HostKeys {
    /// A new key is taken only where a person watches, and never in continuous integration.
    pub fn usual() -> Self {
        let is_watched = std::env::var_os("CI").is_none_or(|it| it != "true") && std::io::stdin().is_terminal();
        if is_watched { Self::AcceptNew } else { Self::Known }
    }
}

impl Ssh {
    /// The way to `address` with the user's `ssh`.
    pub fn new(address: Address) -> Self {
        // The path of a socket is short by law; without one, every conversation connects anew.
        let shared = Scratch::new("ssh").ok().filter(|folder| folder.0.as_os_str().len() < 70);
        let host_keys = HostKeys::usual();
        Self { program: "ssh".into(), options: vec![], keepalive: 5, host_keys, address, shared }
    }

    /// `ssh` with these arguments before the host.
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.options).args(["-T", "-a", "-x"]).args(more);
        let host_keys = match self.host_keys {
            HostKeys::Known => "yes",
            HostKeys::AcceptNew => "accept-new",
        };
        let mut options = vec![
            "BatchMode=yes".to_owned(),
            format!("StrictHostKeyChecking={host_keys}"),
            "ConnectTimeout=10".to_owned(),
            format!("ServerAliveInterval={}", self.keepalive),
            "ServerAliveCountMax=3".to_owned(),
            // What a user's configuration may say that a script cannot bear.
            "LogLevel=ERROR".to_owned(),
            "RequestTTY=no".to_owned(),
            "RemoteCommand=none".to_owned(),
            "ClearAllForwardings=yes".to_owned(),
        ];
        if let Some(folder) = &self.shared {
            options.push("ControlMaster=auto".to_owned());
            options.push("ControlPersist=60".to_owned());
            options.push(format!("ControlPath={}/socket", folder.0.display()));
        }
        for option in options {
            command.arg("-o").arg(option);
        }
        if let Address::Ssh { user, host, port } = &self.address {
            if let Some(user) = user {
                command.args(["-l", user]);
            }
            if let Some(port) = port {
                command.args(["-p", &port.to_string()]);
            }
            command.args(["--", host]);
        }
        command
    }
}

impl Transport for Ssh {
    fn describe(&self) -> String {
        self.address.to_string()
    }

    fn reach(&self) -> Reach {
        Reach::Ssh
    }

    fn shell(&self) -> Command {
        let mut command = self.command(&[]);
        command.arg("sh -s");
        command
    }

    fn unreached(&self, said: &str) -> Trouble {
        unreached_by_ssh(&self.address, said)
    }
}

impl Drop for Ssh {
    /// Ends the shared connection, which would otherwise stay for a minute.
    fn drop(&mut self) {
        if self.shared.as_ref().is_some_and(|folder| folder.0.join("socket").exists()) {
            let mut command = self.command(&["-O", "exit"]);
            // Where this fails, the minute passes.
            let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// Over the user's `adb`, to an Android system of version 7 or later.
pub struct Adb {
    /// The program.
    pub program: PathBuf,
    /// The board, as `adb devices` lists it.
    pub serial: String,
}

impl Transport for Adb {
    fn describe(&self) -> String {
        format!("adb://{}", self.serial)
    }

    fn reach(&self) -> Reach {
        Reach::Adb
    }

    fn shell(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Joined with spaces and given to a shell there: constant, so there is nothing to quote.
        command.args(["-s", &self.serial, "shell", "-T", "sh -s"]);
        command
    }

    fn unreached(&self, said: &str) -> Trouble {
        unreached_by_adb(&self.serial, said)
    }
}
