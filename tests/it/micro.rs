//! The whole way at the smallest size: a run of seconds, and what tests ask of its folder.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Said, pipeline};

/// Networks of five cells with four channels on 8x8 digits: seconds from data to model.
pub(crate) const MICRO: &str = r#"
data = "optdigits"
target = "rpi4"
preset = "demo"
compute = "cpu"
seed = 3
proxy = { layers = 3, channels = 4 }
deployed = { layers = 3, channels = 4 }
b-enas = { epochs = 2, controller_steps = 2, cells_per_gradient = 2, candidates = 2, proposals = 300 }
search-recipe = { epochs = 2, batch = 200 }
training = { epochs = 2, batch = 200 }
"#;

/// Files that a repeated or resumed run must leave the same, byte for byte.
pub(crate) const SAME: [&str; 3] = ["architecture.json", "weights.safetensors", "model.onnx"];

/// A folder with `micro.toml`, in which runs are made.
pub(crate) fn workplace() -> TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder can be written");
    fs::write(folder.path().join("micro.toml"), MICRO).expect("a temporary folder can be written");
    folder
}

pub(crate) fn run(folder: &TempDir, line: &str) -> Said {
    pipeline(folder.path(), &words(line))
}

pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = String::from_utf8(read(path)).expect("JSON lines are UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// Copies the named files of a run; all where none is named.
pub(crate) fn copy(from: &Path, to: &Path, names: &[&str]) {
    fs::create_dir_all(to).expect("a temporary folder can be written");
    for entry in fs::read_dir(from).expect("a run is a folder") {
        let entry = entry.expect("a folder can be listed");
        let name = entry.file_name().into_string().expect("names of a run are UTF-8");
        if entry.path().is_file() && (names.is_empty() || names.contains(&name.as_str())) {
            fs::copy(entry.path(), to.join(name)).expect("files can be copied");
        }
    }
}

#[track_caller]
pub(crate) fn check_same(found: &Path, expected: &Path) {
    for name in SAME {
        assert!(read(&found.join(name)) == read(&expected.join(name)), "{name} differs in {}", found.display());
    }
}

/// An uninterrupted run, how long it took, and what it said.
pub(crate) struct Reference {
    pub(crate) path: PathBuf,
    pub(crate) took: Duration,
    pub(crate) said: Said,
}

/// Made once for all tests, in a folder that the next run of the tests takes away.
pub(crate) fn reference() -> &'static Reference {
    static REFERENCE: OnceLock<Reference> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference").join(std::process::id().to_string());
        remove_old(folder.parent().expect("it was joined"));
        fs::create_dir_all(&folder).expect("the target folder can be written");
        fs::write(folder.join("micro.toml"), MICRO).expect("the target folder can be written");
        let started = Instant::now();
        let said = pipeline(&folder, &words("search --config micro.toml --run run"));
        Reference { path: folder.join("run"), took: started.elapsed(), said }
    })
}

/// Removes what lies in `folder` for an hour; younger entries may belong to tests at work.
fn remove_old(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|it| it.modified()).ok().and_then(|it| it.elapsed().ok());
        if age.is_some_and(|age| Duration::from_secs(3_600) < age) {
            // Another process may have been faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
