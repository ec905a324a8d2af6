//! Boards over adb, played by a script that does with its arguments what adb does; and every shell that
//! a board may have.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use runtime::device::{Adb, Device, DeviceError, Remote, Transport};
use runtime::protocol::probe_input;
use runtime::worker::{Worker, WorkerLimits};
use targets::measurement::Reach;
use tempfile::TempDir;

use crate::bench::{agent, brief, names, processes, reference_model, remote, script_agent, wait_until, write_program};

/// A folder that stands for a board behind adb; `tools` is the only folder on its path.
pub(crate) fn board(tools: &Path) -> TempDir {
    let folder = tempfile::Builder::new().prefix("adb-").tempdir().expect("a folder");
    for name in ["home", "tmp"] {
        fs::create_dir(folder.path().join(name)).expect("made");
    }
    // As the real one: the words behind `shell` are joined with spaces, and a shell there reads them.
    let text = format!(
        "#!/bin/sh\n\
         [ \"$1\" = -s ] || exit 9\n\
         printf '%s' \"$2\" > '{0}/serial'\n\
         shift 3\n\
         if [ \"$1\" = -T ]; then shift; fi\n\
         cd '{0}' && exec env -i HOME='{0}/home' TMPDIR='{0}/tmp' PATH='{1}' /bin/sh -c \"$*\"\n",
        folder.path().display(),
        tools.display()
    );
    write_program(&folder.path().join("adb"), &text);
    folder
}

pub(crate) fn adb(board: &TempDir, serial: &str) -> Adb {
    Adb { program: board.path().join("adb"), serial: serial.into() }
}

fn device(board: &TempDir, transport: Adb) -> Remote {
    let mut remote = remote(Box::new(transport), agent());
    remote.folder = Some(board.path().join("pipeline").display().to_string());
    remote
}

/// The tools of this machine, and folders with one of the small systems' tools alone.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn systems() -> Vec<(&'static str, PathBuf, Option<TempDir>)> {
    let mut found = vec![("this machine", PathBuf::from("/usr/local/bin:/usr/bin:/bin"), None)];
    let program =
        |name: &str| ["/bin", "/usr/bin"].map(|it| Path::new(it).join(name)).into_iter().find(|it| it.exists());
    for (name, shell, tools) in [("busybox", "busybox", "busybox"), ("bash", "bash", ""), ("mksh", "mksh", "")] {
        let Some(shell) = program(shell) else {
            eprintln!("skipped: a board with {name} (it is not installed here)");
            continue;
        };
        let folder = tempfile::tempdir().expect("a folder");
        symlink(&shell, folder.path().join("sh")).expect("linked");
        let mut path = folder.path().to_owned();
        if tools.is_empty() {
            path = format!("{}:/usr/bin:/bin", path.display()).into();
        } else {
            let list = Command::new(&shell).arg("--list").output().expect("it starts");
            for tool in String::from_utf8_lossy(&list.stdout).lines().filter(|&it| it != "sh") {
                symlink(&shell, folder.path().join(tool)).expect("linked");
            }
        }
        found.push((name, path, Some(folder)));
    }
    found
}

#[test]
fn every_shell_measures_tidies_and_ends_what_hangs() {
    for (name, tools, _kept) in systems() {
        let board = board(&tools);
        let path = reference_model(board.path());
        let mut remote = device(&board, adb(&board, "0123456789ABCDEF"));
        let measured = remote.measure(&path, &brief()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((measured.reach, measured.device.as_str()), (Reach::Adb, "bench"), "{name}");
        assert_eq!(fs::read_to_string(board.path().join("serial")).expect("written"), "0123456789ABCDEF");
        let inputs = probe_input(2 * 3 * 32 * 32);
        let local = Worker::new(agent().path, &[]).check(&path, &inputs).expect("answers");
        assert_eq!(remote.check(&path, &inputs).expect("answers"), local, "{name}");
        assert_eq!(names(&board.path().join("pipeline")).len(), 2, "{name}");
        assert_eq!(remote.clean().expect("cleaned"), [board.path().join("pipeline").display().to_string()]);
        assert_eq!(names(&board.path().join("tmp")), [""; 0], "{name}");

        let mark = format!("8765.{}", std::process::id());
        let mut hangs = remote;
        hangs.agent = script_agent(board.path(), 2, &format!("sleep {mark}"));
        hangs.connect().expect("reached");
        hangs.worker = WorkerLimits { time: Duration::from_secs(1), ..hangs.worker };
        let error = hangs.profile(&path, 1).expect_err("it hangs");
        assert!(error.to_string().contains("did not finish"), "{name}: {error}");
        wait_until("it lives on", || processes(&["sleep", &mark]).is_empty());
    }
}

#[test]
fn adb_s_own_words_are_understood() {
    let board = board(Path::new("/usr/bin:/bin"));
    let check = |script: &str, is_lost: bool, words: &[&str]| {
        write_program(&board.path().join("adb"), &format!("#!/bin/sh\n{script}\n"));
        let error = device(&board, adb(&board, "X1")).connect().map(drop).expect_err(script);
        assert_eq!(matches!(error, DeviceError::Lost { .. }), is_lost, "{error:?}");
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    };
    check("echo \"error: device 'X1' not found\" >&2; exit 1", true, &["cannot be reached", "'X1' not found"]);
    check("echo 'error: device offline' >&2; exit 1", true, &["offline"]);
    check("echo 'error: device unauthorized.' >&2; exit 1", false, &["confirm this computer"]);
    check("echo \"error: target doesn't support PTY args -Tt\" >&2; exit 1", false, &["version 7"]);
    check("cat >/dev/null & sleep 0.1; printf '\\npipeline:began\\nmachine x'; exit 1", true, &["ended in the middle"]);
    check("exit 1", true, &["without a word"]);
    let none = Adb { program: "/no/such/adb".into(), serial: "X1".into() };
    let error = device(&board, none).connect().map(drop).expect_err("it is not there");
    assert!(error.to_string().contains("install it") && error.exit_code() == 3, "{error}");
}

#[test]
fn a_noisy_login_disturbs_nothing() {
    let board = board(Path::new("/usr/bin:/bin"));
    let program = board.path().join("adb");
    let text = fs::read_to_string(&program).expect("written");
    let banner = "echo 'Welcome! pipeline:done 0'; echo 'folder /tmp/elsewhere'\nshift 3\n";
    fs::write(&program, text.replace("shift 3\n", banner)).expect("it is ours");
    let path = reference_model(board.path());
    device(&board, adb(&board, "x")).measure(&path, &brief()).expect("measured");
    let said = adb(&board, "x").run("give", &["9", "/dev/null"], Duration::from_secs(20)).expect("answers");
    assert_eq!((said.status, &said.stdout[..]), (0, &b""[..]));
}
