//! One conversation with a shell on a board: a script goes in, perhaps a file behind it; what it says
//! comes out, or the time is up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::script::{BEGAN, DONE, READY};
use crate::worker::process::Running;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// What the script printed, without its first and last line.
    pub(super) stdout: Vec<u8>,
    /// What the script, or the program that reaches the board, had to say.
    pub(super) stderr: String,
    /// The script's exit status; absent where the conversation ended before the script did.
    pub(super) status: Option<i32>,
    /// Whether the script began.
    pub(super) began: bool,
    /// Whether it was ended because the time was up.
    pub(super) late: bool,
}

/// Runs `command`, which runs `sh -s` on a board, with `script` as its input and `file` behind it.
/// Without a file the input stays open until the end: it is by its end that the board notices when
/// this side is gone.
pub(super) fn talk(mut command: Command, script: &str, file: Option<File>, limit: Duration) -> io::Result<Heard> {
    let deadline = Instant::now() + limit;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = Running(command.spawn()?);
    let stderr = keep_last(child.0.stderr.take());
    let pieces = read_pieces(child.0.stdout.take());
    let mut input = child.0.stdin.take();
    if let Some(input) = &mut input {
        // It fits into the pipe, so this does not wait. Whoever does not take it has a reason to tell.
        let _ = input.write_all(script.as_bytes());
    }
    let mut heard = Heard::default();
    let mut all = Vec::new();
    if let Some(file) = file {
        heard.late = !read_until(&pieces, &mut all, deadline, |said| position(said, READY.as_bytes()).is_some());
        if position(&all, READY.as_bytes()).is_some() {
            send(file, input.take());
        } else {
            input = None; // it refused: nothing follows
        }
    }
    heard.late |= !read_until(&pieces, &mut all, deadline, |_| false);
    if heard.late {
        drop(child); // ends it, and thereby the connection
    } else {
        child.wait(deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)))?;
    }
    drop(input);
    (heard.stdout, heard.began, heard.status) = unwrap(all);
    heard.stderr = stderr.said();
    Ok(heard)
}

/// Takes the first and the last line off: whether the script began, and its exit status.
fn unwrap(mut all: Vec<u8>) -> (Vec<u8>, bool, Option<i32>) {
    let status = all.windows(DONE.len()).rposition(|it| it == DONE.as_bytes()).and_then(|at| {
        let status = str::from_utf8(&all[at + DONE.len()..]).ok()?.lines().next()?.parse().ok();
        all.truncate(at);
        status
    });
    match position(&all, BEGAN.as_bytes()) {
        Some(at) => (all.split_off(at + BEGAN.len()), true, status),
        None => (Vec::new(), false, None),
    }
}

/// Feeds a file to a board on a thread: a connection that stalls must not hold up the deadline.
fn send(mut file: File, input: Option<ChildStdin>) {
    if let Some(mut input) = input {
        thread::spawn(move || {
            // Fails when the connection does, and that shows elsewhere. Then the input ends.
            let _ = io::copy(&mut file, &mut input);
        });
    }
}

/// Most bytes of what a board prints: a long measurement is a few megabytes.
const LONGEST: usize = 64 << 20;

/// Reads until `enough`, or to the end; false when the time is up first.
fn read_until(
    pieces: &Receiver<Vec<u8>>,
    all: &mut Vec<u8>,
    deadline: Instant,
    enough: impl Fn(&[u8]) -> bool,
) -> bool {
    loop {
        if enough(all) {
            return true;
        }
        match pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) if all.len() + piece.len() <= LONGEST => all.extend(piece),
            Ok(_) | Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
}

fn read_pieces(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(16);
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while let Ok(n @ 1..) = pipe.read(&mut piece) {
                if sender.send(piece[..n].to_vec()).is_err() {
                    return; // nobody listens any more
                }
            }
        });
    }
    receiver
}

/// The end of what is said on stderr, as far as it was said.
struct Words {
    said: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

/// Bytes of stderr that are kept.
const LAST_WORDS: usize = 4_000;

fn keep_last(pipe: Option<impl Read + Send + 'static>) -> Words {
    let said = Arc::new(Mutex::new(Vec::new()));
    let (sender, ended) = mpsc::channel::<()>();
    if let Some(mut pipe) = pipe {
        let said = said.clone();
        thread::spawn(move || {
            let mut piece = [0; 1_024];
            while let Ok(n @ 1..) = pipe.read(&mut piece) {
                let Ok(mut said) = said.lock() else { return };
                said.extend_from_slice(&piece[..n]);
                let more = said.len().saturating_sub(LAST_WORDS);
                said.drain(..more);
            }
            drop(sender);
        });
    }
    Words { said, ended }
}

impl Words {
    /// What was said. The program has ended, but one that it left behind, as ssh leaves its shared
    /// connection, may hold the pipe open: so its end is not waited for long.
    fn said(&self) -> String {
        let _ = self.ended.recv_timeout(Duration::from_millis(200));
        self.said.lock().map_or(String::new(), |said| String::from_utf8_lossy(&said).into_owned())
    }
}

fn position(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|it| it == word)
}
