//! One measurement at a time on a board: a lock that the system itself gives back when its holder dies.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Who has the board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Whoever asked for the measurement, such as `ann@laptop`; empty where that cannot be read.
    pub who: String,
    /// Process on the board.
    pub pid: u32,
    /// For how long, in seconds.
    pub seconds: u64,
}

/// What the lock's file says.
#[derive(Serialize, Deserialize)]
struct Note {
    who: String,
    pid: u32,
    /// Seconds since 1970, by the board's clock.
    since: u64,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A name comes from a file that others may write: no control characters reach a terminal.
        let who = self.who.chars().filter(|it| !it.is_control()).take(100).collect::<String>();
        let who = if who.is_empty() { "somebody" } else { &who };
        write!(f, "{who} has been measuring for {} s (process {} there)", self.seconds, self.pid)
    }
}

/// The lock, held until dropped or until this process ends, however it ends: there is no stale lock.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock at `path` for `who`, or tells who has it.
    pub(super) fn take(path: &Path, who: &str) -> io::Result<Result<Self, Holder>> {
        loop {
            let mut file = open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Err(holder(&mut file))),
                Err(error) => return Err(error.into()),
            }
            // Who cleaned a board may have removed the file between the two calls.
            let is_there =
                std::fs::metadata(path).is_ok_and(|it| file.metadata().is_ok_and(|mine| mine.ino() == it.ino()));
            if is_there {
                let note = Note { who: who.to_owned(), pid: std::process::id(), since: now() };
                file.set_len(0)?;
                file.write_all(serde_json::to_string(&note)?.as_bytes())?;
                return Ok(Ok(Self { file }));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file gives the lock back; a name left in it would mislead nobody.
        let _ = self.file.set_len(0);
    }
}

/// Opens the file for every account of the board; whoever comes first makes it.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Never through a link that another account has put into a folder open to all.
    options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            file.set_permissions(Permissions::from_mode(0o666))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

fn holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let note = match file.take(4_096).read_to_string(&mut text) {
        Ok(_) => serde_json::from_str(&text).ok(),
        Err(_) => None,
    };
    let Note { who, pid, since } = note.unwrap_or(Note { who: String::new(), pid: 0, since: now() });
    Holder { who, pid, seconds: now().saturating_sub(since) }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let path = std::env::temp_dir().join(format!("pipeline-lock-test-{}", std::process::id()));
        let lock = Lock::take(&path, "ann").expect("a file can be made").expect("it is free");
        let holder = Lock::take(&path, "bob").expect("opens").expect_err("it is held");
        assert_eq!((holder.who.as_str(), holder.pid), ("ann", std::process::id()));
        assert!(holder.to_string().starts_with("ann has been measuring"), "{holder}");
        // A board that was cleaned meanwhile: the old file is nobody's lock any more.
        std::fs::remove_file(&path).expect("it is there");
        let second = Lock::take(&path, "bob").expect("a file can be made").expect("it is free");
        drop((lock, second));
        assert!(Lock::take(&path, "cy").expect("opens").is_ok());
        std::fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn a_hostile_name_is_shown_tame() {
        let holder = Holder { who: format!("a\x1b[2J\n{}", "x".repeat(500)), pid: 1, seconds: 2 };
        let text = holder.to_string();
        assert!(text.starts_with("a[2Jxxx") && text.len() < 250, "{text:?}");
    }
}
