//! A board over ssh that fails: each way is told apart, nothing stays behind, and it is found again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use runtime::device::{Agent, Device, DeviceError, HostKeys, Remote};
use runtime::worker::WorkerLimits;

use crate::bench::{
    Board, agent, brief, kill, names, processes, reference_model, remote, script_agent, user, wait_until,
};
use crate::proxy::Proxy;

#[track_caller]
fn check_lost<T: std::fmt::Debug>(result: Result<T, DeviceError>, words: &[&str]) {
    let error = result.expect_err("it fails");
    assert!(matches!(error, DeviceError::Lost { .. }), "{error:?}");
    says(&error, words);
}

#[track_caller]
fn check_unavailable<T: std::fmt::Debug>(result: Result<T, DeviceError>, words: &[&str]) {
    let error = result.expect_err("it fails");
    assert!(matches!(error, DeviceError::Unavailable { .. }), "{error:?}");
    says(&error, words);
}

#[track_caller]
fn says(error: &DeviceError, words: &[&str]) {
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text:?} does not say {words:?}");
    assert!(!text.contains('\n'), "{text:?}");
}

/// A profile that would run for minutes, on a thread.
fn busy(mut remote: Remote, model: PathBuf) -> thread::JoinHandle<(Remote, Result<(), DeviceError>)> {
    thread::spawn(move || {
        remote.worker = WorkerLimits { time: Duration::from_secs(300), ..remote.worker };
        let result = remote.profile(&model, 1_000_000).map(drop);
        (remote, result)
    })
}

#[test]
fn a_board_that_vanishes_is_lost_and_found_again() {
    let Some(board) = Board::start("a cut connection") else { return };
    let proxy = Proxy::to(board.port);
    let path = reference_model(board.folder.path());
    let is_working = || board.agents("profile").len() == 2; // the agent, and what watches its time
    let nothing_stays = || {
        wait_until("the agent outlives its connection", || board.agents("profile").is_empty());
        wait_until("the model stays", || names(&board.agent_folder()).len() == 2);
    };
    let job = busy(board.remote(proxy.port), path.clone());
    wait_until("the agent never started", is_working);
    // That a shell came about is said before the agent starts, but it may arrive later.
    proxy.settle();
    proxy.cut();
    let (mut remote, result) = job.join().expect("no panic");
    check_lost(result, &["bench", "ended in the middle"]);
    nothing_stays();
    check_lost(remote.measure(&path, &brief()), &["cannot be reached"]);
    proxy.mend();
    remote.measure(&path, &brief()).expect("it is back");

    // A cable that is pulled tells nobody; this side notices by itself, that one when the line ends.
    wait_until("the last agent stays", || board.agents("profile").is_empty());
    let job = busy(remote, path.clone());
    wait_until("the agent never started", is_working);
    proxy.settle();
    proxy.silence();
    let (mut remote, result) = job.join().expect("no panic");
    check_lost(result, &["bench", "ended in the middle"]);
    proxy.cut();
    nothing_stays();
    proxy.mend();
    remote.measure(&path, &brief()).expect("it is back");
}

#[test]
fn nobody_in_front_of_a_closed_door_waits_long() {
    let Some(board) = Board::start("refused connections") else { return };
    // Nobody listens.
    check_lost(board.remote(1).connect(), &["bench", "cannot be reached", "refused", "switched on"]);
    // Another host in place of the board.
    board.know("other_key.pub");
    check_unavailable(board.remote(board.port).connect(), &["host key has changed", "ssh-keygen -R", "in between"]);
    // A host that nobody knows: refused where nobody watches, remembered where somebody does.
    fs::remove_file(board.folder.path().join("known_hosts")).expect("it was there");
    check_unavailable(board.remote(board.port).connect(), &["not known", "ssh ssh://", "fingerprint"]);
    let mut watched = board.ssh(board.port);
    watched.host_keys = HostKeys::AcceptNew;
    remote(Box::new(watched), agent()).connect().expect("accepted");
    board.remote(board.port).connect().expect("remembered");
    // A user without a key.
    fs::write(board.folder.path().join("authorized"), "").expect("written");
    check_unavailable(board.remote(board.port).connect(), &["refuses this user", "ssh-copy-id", "Permission denied"]);
    // No ssh on this side.
    let mut none = board.ssh(board.port);
    none.program = "/no/such/ssh".into();
    check_unavailable(remote(Box::new(none), agent()).connect(), &["/no/such/ssh", "openssh-client"]);
}

#[test]
fn one_measurement_at_a_time() {
    let Some(board) = Board::start("the lock of a board") else { return };
    let path = reference_model(board.folder.path());
    let job = busy(board.remote(board.port), path.clone());
    wait_until("the agent never started", || board.agents("profile").len() == 2);
    let mut second = board.remote(board.port);
    wait_until("the lock is never taken", || {
        let lock = board.folder.path().join("tmp/pipeline-agent.lock");
        fs::metadata(lock).is_ok_and(|it| 0 < it.len())
    });
    check_lost(second.measure(&path, &brief()), &["in use", "has been measuring for", "wait"]);
    assert_eq!(names(&board.agent_folder()).len(), 3, "the refused model was removed, the other's was not");
    check_lost(second.clean().map(drop), &["in use"]);
    // Who was killed holds nothing: a lock cannot be stale.
    for pid in board.agents("profile") {
        kill(pid);
    }
    second.measure(&path, &brief()).expect("it is free");
    let (_, result) = job.join().expect("no panic");
    let error = result.expect_err("its agent was killed");
    assert_eq!(error.exit_code(), 7);
    says(&error, &["killed"]);
}

#[test]
fn a_program_that_hangs_is_ended_there_with_all_it_started() {
    let Some(board) = Board::start("a deadline") else { return };
    let path = reference_model(board.folder.path());
    let marks = ["4321.5", &format!("{}.25", 1_000_000 + u32::from(board.port))];
    let hangs = script_agent(board.folder.path(), 2, &format!("trap '' TERM; sleep {} & sleep {}", marks[0], marks[1]));
    let mut remote = remote(Box::new(board.ssh(board.port)), hangs);
    remote.connect().expect("reached");
    remote.worker = WorkerLimits { time: Duration::from_secs(1), ..remote.worker };
    let error = remote.profile(&path, 1).expect_err("it hangs");
    assert_eq!(error.exit_code(), 7);
    says(&error, &["did not finish within 1 s"]);
    wait_until("what it started lives on", || processes(&["sleep", marks[1]]).is_empty());
    assert_eq!(names(&board.agent_folder()).len(), 2);
}

#[test]
fn agents_that_cannot_work_are_told_apart() {
    let Some(board) = Board::start("unfit agents") else { return };
    let path = reference_model(board.folder.path());
    let with = |agent: Agent| remote(Box::new(board.ssh(board.port)), agent);
    let old = script_agent(board.folder.path(), 1, "exit 9");
    check_unavailable(with(old).connect(), &["version 1, not 2", "pipeline agent build"]);
    let foreign = Agent { triple: "sparc64-unknown-linux-gnu".into(), ..agent() };
    check_unavailable(with(foreign).connect(), &["wrong architecture", std::env::consts::ARCH, "sparc64"]);
    // Built for this kind of processor by its name, and for another by its content.
    let mut bytes = fs::read(agent().path).expect("it was built");
    bytes[18..20].copy_from_slice(&[0xf7, 0]); // ELF's machine: BPF
    let liar = board.folder.path().join("liar");
    fs::write(&liar, bytes).expect("written");
    check_unavailable(Agent::admit(&liar, &agent().triple), &["its processor is", "pipeline agent build"]);
    let liar = Agent { path: liar, ..agent() };
    check_unavailable(with(liar).connect(), &["does not start", "pipeline agent build"]);
    let text = board.folder.path().join("text");
    fs::write(&text, "not a program").expect("written");
    check_unavailable(
        Agent::admit(&text, "aarch64-unknown-linux-gnu"),
        &["is not a Linux program", "pipeline agent build"],
    );
    if user() == "root" {
        let mut careful = with(agent());
        careful.allow_root = false;
        check_unavailable(careful.measure(&path, &brief()), &["does not run as root", "allow-root"]);
    }
    // A program of the board's own that says nothing of ours.
    let silent = script_agent(board.folder.path(), 2, "exit 0");
    let error = with(silent).profile(&path, 1).expect_err("it gives no answer");
    says(&error, &["no answer"]);
}

/// Mounts a small file system, where that is permitted.
struct Mount(PathBuf);

impl Mount {
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn new(at: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir(&at).expect("made");
        let mut mount = Command::new("mount");
        let is_mounted =
            mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).output().is_ok_and(|it| it.status.success());
        if !is_mounted {
            eprintln!("skipped: a board's folder with {options} (mounting is not permitted here)");
        }
        is_mounted.then_some(Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_told() {
    let Some(board) = Board::start("a full disk") else { return };
    let Some(mount) = Mount::new(board.folder.path().join("small"), "size=1m,mode=755") else { return };
    let path = reference_model(board.folder.path());
    let mut remote = board.remote(board.port);
    remote.folder = Some(mount.0.join("agent").display().to_string());
    check_unavailable(remote.measure(&path, &brief()), &["disk is full", "folder =", "No space left"]);
    assert_eq!(names(&mount.0.join("agent")), [".pipeline-agent"], "half a file stays");
}

#[test]
fn a_folder_that_runs_no_programs_is_passed_over() {
    let Some(board) = Board::start("a folder without programs") else { return };
    let path = reference_model(board.folder.path());
    if let Some(mount) = Mount::new(board.folder.path().join("data"), "noexec,mode=755") {
        let mut remote = board.remote(board.port);
        remote.folder = Some(mount.0.join("agent").display().to_string());
        remote.measure(&path, &brief()).expect("measured elsewhere");
        let site = remote.connect().expect("reached").clone();
        assert_eq!(site.folder, board.agent_folder().display().to_string());
        assert!(site.skipped.len() == 1 && site.skipped[0].contains("ermission denied"), "{:?}", site.skipped);
        assert_eq!(names(&mount.0), [""; 0], "an unusable folder stays");
    }
    // A folder that holds somebody's files is neither written to nor ever removed.
    let taken = board.folder.path().join("photos");
    fs::create_dir(&taken).expect("made");
    fs::write(taken.join("wedding.jpg"), "once").expect("written");
    let mut remote = board.remote(board.port);
    remote.folder = Some(taken.display().to_string());
    remote.measure(&path, &brief()).expect("measured elsewhere");
    assert!(remote.connect().expect("reached").skipped[0].contains("not the agent's own"));
    remote.clean().expect("cleaned");
    assert_eq!(names(&taken), ["wedding.jpg"]);
    assert!(!Path::new(&board.agent_folder()).exists());
}
