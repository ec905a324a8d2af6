//! Runs many models in processes of their own, a batch at a time, and goes on after those that end one.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

/// What became of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Ran,
    /// By the engine.
    Refused,
    Panicked,
    /// Its process ended: an abort, or a limit of memory or CPU time.
    Killed,
    /// Nothing came of it in [`PATIENCE`].
    Hung,
}

/// Wall-clock time for one model, far beyond its limit of CPU time: a busy machine is no hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// CPU seconds for one model: the slowest that runs takes a tenth.
const CPU_SECONDS: u64 = 5;

/// Address space of the process, in bytes: that of a worker.
const MEMORY: u64 = 2 << 30;

/// The name of the variable that makes a test of this binary the child: the file of models.
pub(crate) const MODELS: &str = "PIPELINE_MUTANTS";

/// Runs `models` through `test`, a test of this binary that calls [`child`] when [`MODELS`] is set.
pub(crate) fn run(test: &str, models: &[Vec<u8>]) -> Vec<Fate> {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, answers) = (folder.path().join("models"), folder.path().join("models.fates"));
    let mut fates = Vec::with_capacity(models.len());
    while fates.len() < models.len() {
        let rest = models[fates.len()..].iter();
        let bytes = rest.flat_map(|model| [&(model.len() as u32).to_le_bytes()[..], model].concat());
        std::fs::write(&file, bytes.collect::<Vec<_>>()).expect("written");
        std::fs::write(&answers, []).expect("written");
        let program = std::env::current_exe().expect("this test");
        let mut command = Command::new(program);
        command.args(["--exact", test, "--nocapture"]).env(MODELS, &file).stdout(Stdio::null()).stderr(Stdio::null());
        let hung = wait(&mut command.spawn().expect("this test starts"), &answers);
        let answered = std::fs::read(&answers).expect("readable");
        fates.extend(answered.iter().map(|answer| match answer {
            b'r' => Fate::Ran,
            b'p' => Fate::Panicked,
            _ => Fate::Refused,
        }));
        if fates.len() < models.len() {
            fates.push(if hung { Fate::Hung } else { Fate::Killed });
        }
    }
    fates
}

/// Waits for the child's end, or ends it where answers stop coming. Returns whether they did.
fn wait(child: &mut Child, answers: &Path) -> bool {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        if child.try_wait().expect("it was started").is_some() {
            return false;
        }
        let answered = std::fs::metadata(answers).map_or(0, |file| file.len());
        if answered != last {
            (last, since) = (answered, Instant::now());
        }
        if since.elapsed() >= PATIENCE {
            child.kill().expect("it runs");
            child.wait().expect("it was started");
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The child's side: gives every model in `file` to `attempt`, within limits, and notes what became of it.
pub(crate) fn child(file: &Path, attempt: impl Fn(&[u8]) -> bool) {
    let limit = |resource, limit| {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: None }).expect("limits may be lowered");
    };
    limit(Resource::Core, 0);
    limit(Resource::As, MEMORY);
    let bytes = std::fs::read(file).expect("the parent wrote it");
    let mut answers = File::options().append(true).open(file.with_extension("fates")).expect("the parent made it");
    let mut rest = &bytes[..];
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (model, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
        rest = tail;
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec as u64;
        limit(Resource::Cpu, used + CPU_SECONDS);
        let answer = match catch_unwind(AssertUnwindSafe(|| attempt(model))) {
            Ok(true) => b'r',
            Ok(false) => b'e',
            Err(_) => b'p',
        };
        answers.write_all(&[answer]).expect("the answer is noted");
    }
}
