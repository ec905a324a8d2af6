//! A machine on the loopback that stands for a board: its ssh server, its home, its agents.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runtime::device::{Address, Agent, HostKeys, Remote, Ssh, Transport};
use runtime::reference;
use targets::measurement::Protocol;
use tempfile::TempDir;

/// Target triple of the agent that this build makes.
pub(crate) fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The agent of this build.
pub(crate) fn agent() -> Agent {
    Agent::admit(Path::new(env!("CARGO_BIN_EXE_pipeline-agent")), &triple()).expect("it was built")
}

/// A script in place of the agent. It greets in version `speaks`, tells facts, and does `otherwise`
/// for any other request.
pub(crate) fn script_agent(folder: &Path, speaks: u32, otherwise: &str) -> Agent {
    let facts = serde_json::to_string(&runtime::facts::Facts::default()).expect("plain data");
    let text = format!(
        "#!/bin/sh\necho '{{\"speaks\":{speaks},\"agent\":\"\",\"engine\":\"\"}}'\n\
         case $1 in facts) echo '{{\"facts\":{facts}}}' ;; *) {otherwise} ;; esac\n"
    );
    let path = folder.join("script-agent");
    write_program(&path, &text);
    Agent { path, triple: triple() }
}

pub(crate) fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// A protocol that takes a moment.
pub(crate) fn brief() -> Protocol {
    Protocol { warmup_limit_ms: 50, blocks: 2, min_samples: 4, ..Protocol::quick() }
}

/// The reference network in a file.
pub(crate) fn reference_model(folder: &Path) -> PathBuf {
    let path = folder.join("reference.onnx");
    fs::write(&path, reference::onnx()).expect("written");
    path
}

/// A machine that can be reached over ssh.
pub(crate) struct Board {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    server: Child,
}

impl Board {
    /// Starts the server, or tells why the test is skipped.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    pub(crate) fn start(what: &str) -> Option<Self> {
        let Some(sshd) = sshd() else {
            eprintln!("skipped: {what} (no ssh server here; tests/ssh/setup.sh installs one)");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("board-").tempdir().expect("a folder");
        for name in ["home", "tmp"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        for key in ["host_key", "user_key", "other_key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join(key));
            assert!(keygen.status().is_ok_and(|status| status.success()), "ssh-keygen comes with ssh");
        }
        fs::copy(folder.path().join("user_key.pub"), folder.path().join("authorized")).expect("copied");
        // Another may take a port between its choice and its use.
        let (server, port) = (0..10).find_map(|_| serve(&sshd, folder.path())).expect("a port is free");
        let board = Self { folder, port, server };
        board.know("host_key.pub");
        Some(board)
    }

    /// Makes the client know this key, and no other, as that of every host.
    pub(crate) fn know(&self, key: &str) {
        let key = fs::read_to_string(self.folder.path().join(key)).expect("it was made");
        fs::write(self.folder.path().join("known_hosts"), format!("* {key}")).expect("written");
    }

    /// The way to the board through `port`, as a user would have it configured.
    pub(crate) fn ssh(&self, port: u16) -> Ssh {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let config = format!(
            "UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nIdentityFile {}\nIdentitiesOnly yes\n",
            at("known_hosts"),
            at("user_key")
        );
        fs::write(at("ssh_config"), config).expect("written");
        let mut ssh = Ssh::new(Address::Ssh { user: Some(user()), host: "127.0.0.1".into(), port: Some(port) });
        ssh.options = vec!["-F".into(), at("ssh_config").into()];
        ssh.keepalive = 1;
        ssh.host_keys = HostKeys::Known;
        ssh
    }

    /// The board as a device of kind `host`, with the agent of this build.
    pub(crate) fn remote(&self, port: u16) -> Remote {
        remote(Box::new(self.ssh(port)), agent())
    }

    /// The folder that the agent uses where nothing else is said.
    pub(crate) fn agent_folder(&self) -> PathBuf {
        self.folder.path().join("home/.cache/pipeline-agent")
    }

    /// Processes of this board's agents that do `verb`.
    pub(crate) fn agents(&self, verb: &str) -> Vec<u32> {
        processes(&[&self.folder.path().display().to_string(), "/pipeline-agent-", verb])
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A device that allows root where the tests run as root.
pub(crate) fn remote(transport: Box<dyn Transport>, agent: Agent) -> Remote {
    let mut remote = Remote::new("bench", "host", transport, agent);
    remote.allow_root = true;
    remote
}

fn serve(sshd: &Path, folder: &Path) -> Option<(Child, u16)> {
    let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
    let at = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
         SetEnv HOME={} TMPDIR={}\n",
        at("host_key"),
        at("authorized"),
        at("home"),
        at("tmp"),
    );
    fs::write(at("sshd_config"), config).expect("written");
    let mut command = Command::new(sshd);
    command.args(["-D", "-e", "-f", &at("sshd_config")]);
    let mut server = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let started = Instant::now();
    while server.try_wait().ok()?.is_none() && started.elapsed() < Duration::from_secs(10) {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some((server, port));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = server.kill();
    let _ = server.wait();
    None
}

fn sshd() -> Option<PathBuf> {
    if user() == "root" && !Path::new("/run/sshd").is_dir() {
        return None;
    }
    ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"].map(PathBuf::from).into_iter().find(|it| it.is_file())
}

/// The account that runs the tests.
pub(crate) fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("every system has id");
    String::from_utf8(output.stdout).expect("a name").trim().to_owned()
}

/// Processes whose command line holds all of `words`.
pub(crate) fn processes(words: &[&str]) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").expect("Linux").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        words.iter().all(|word| line.contains(word))
    };
    numbers.filter(holds).collect()
}

/// Waits until `done`, and fails when it takes longer than it ever should.
#[track_caller]
pub(crate) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends a process the hard way.
pub(crate) fn kill(pid: u32) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(status.is_ok_and(|it| it.success()), "{pid} was running");
}

/// Names of what is in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
