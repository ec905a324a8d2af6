//! Why a board does not do what it was asked, told apart, each with what to do.

use std::time::Duration;

use super::DeviceError;
use super::address::Address;
use crate::worker::Obstacle;

/// What stands between the program and a board.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The program that reaches it cannot be started.
    #[error("cannot run {program}: {source}; install it: ssh is in the package openssh-client, adb in adb")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// There is no way to it, now.
    #[error("it cannot be reached: {said}; is it switched on and in the network, is the address right?")]
    Unreachable {
        /// What the program that reaches it says.
        said: String,
    },
    /// It is not the board that it was, or somebody is in between.
    #[error(
        "its host key has changed: either the board was set up anew, or somebody is in between. \
         If you know that it was set up anew: {fix}"
    )]
    HostKeyChanged {
        /// Commands.
        fix: String,
    },
    /// Nobody has vouched for its key yet.
    #[error("its host key is not known here, and nobody watches who could accept it: connect once by hand, {fix}")]
    HostKeyUnknown {
        /// A command.
        fix: String,
    },
    /// It does not let this user in.
    #[error("it refuses this user ({said}): {fix}")]
    Refused {
        /// What it says.
        said: String,
        /// What to do.
        fix: String,
    },
    /// The connection ended in the middle.
    #[error("the connection ended in the middle{}", because(.said))]
    Vanished {
        /// What the program that reached it said.
        said: String,
    },
    /// It answers no more.
    #[error("it did not finish within {} s and was ended", .limit.as_secs_f64())]
    Late {
        /// The limit.
        limit: Duration,
    },
    /// There is no room.
    #[error(
        "its disk is full: free some space there, or name a folder on another disk (folder = \"...\" in devices.toml): {said}"
    )]
    DiskFull {
        /// What the board says.
        said: String,
    },
    /// No folder could be used.
    #[error(
        "no folder there lets programs be written and run; name one (folder = \"...\" in devices.toml). Tried: {said}"
    )]
    NoFolder {
        /// Each folder with its reason.
        said: String,
    },
    /// The agent is of another kind of processor.
    #[error(
        "wrong architecture: the board is {machine}, the agent was built for {triple}; choose another --target, or another --agent"
    )]
    Architecture {
        /// What `uname -m` says there.
        machine: String,
        /// Target triple of the agent.
        triple: String,
    },
    /// The agent does not start.
    #[error("the agent does not start there{}; was it built for this board? `pipeline agent build` makes one", because(.said))]
    DoesNotStart {
        /// What the board says.
        said: String,
    },
    /// The agent may not work.
    #[error(transparent)]
    Obstacle(Obstacle),
    /// It is not to be cleaned while somebody measures.
    #[error("nothing was removed: {said}")]
    InUse {
        /// What the board says.
        said: String,
    },
    /// Something else.
    #[error("a script failed there with status {status}{}", because(.said))]
    Script {
        /// Exit status.
        status: i32,
        /// What the board says.
        said: String,
    },
    /// A file on this side.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Trouble {
    /// What a failed script of `board.sh` means.
    pub(super) fn of_script(status: i32, said: &str) -> Self {
        let said = one_line(said);
        if said.contains("No space left") || said.contains("quota exceeded") {
            return Self::DiskFull { said };
        }
        match status {
            3 => Self::InUse { said },
            126 | 127 => Self::DoesNotStart { said },
            status => Self::Script { status, said },
        }
    }

    /// What it means that no folder could be used, from the reasons.
    pub(super) fn of_folders(said: String) -> Self {
        if said.contains("No space left") { Self::DiskFull { said } } else { Self::NoFolder { said } }
    }

    /// Whether the board may be back by itself, so that it is worth waiting for.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Vanished { .. } | Self::Late { .. } | Self::InUse { .. } => true,
            Self::Obstacle(Obstacle::Busy(_)) => true,
            Self::Obstacle(Obstacle::Root) => false,
            Self::Program { .. }
            | Self::HostKeyChanged { .. }
            | Self::HostKeyUnknown { .. }
            | Self::Refused { .. }
            | Self::DiskFull { .. }
            | Self::NoFolder { .. }
            | Self::Architecture { .. }
            | Self::DoesNotStart { .. }
            | Self::Script { .. }
            | Self::File { .. } => false,
        }
    }

    /// As the rest of the program sees it.
    pub(super) fn on(self, device: &str) -> DeviceError {
        let device = device.to_owned();
        match self {
            Self::File { path, source } => DeviceError::Io { path, source },
            trouble if trouble.is_lost() => DeviceError::Lost { device, why: trouble.to_string() },
            trouble => DeviceError::Unavailable { device, why: trouble.to_string() },
        }
    }
}

/// What `ssh` means that brought no shell about.
pub(super) fn unreached_by_ssh(address: &Address, said: &str) -> Trouble {
    let (host, port) = match address {
        Address::Ssh { host, port, .. } => (host.as_str(), port.map_or(String::new(), |port| format!(" -p {port}"))),
        Address::Adb { serial } => (serial.as_str(), String::new()),
    };
    let name = if port.is_empty() { host.to_owned() } else { format!("'[{host}]:{}'", &port[4..]) };
    let has = |words: &str| said.contains(words);
    if has("HOST IDENTIFICATION HAS CHANGED") || has("host key for") && has("has changed") {
        return Trouble::HostKeyChanged {
            fix: format!("ssh-keygen -R {name}, then connect once by hand: ssh {address}"),
        };
    }
    if has("Host key verification failed") || has("host key is known for") {
        return Trouble::HostKeyUnknown { fix: format!("ssh {address}, and compare the fingerprint it shows") };
    }
    if has("Permission denied") || has("Too many authentication failures") {
        let fix =
            format!("give it your key with ssh-copy-id{port} {}, or unlock it with ssh-add", destination(address));
        return Trouble::Refused { said: one_line(said), fix };
    }
    let said = one_line(said);
    Trouble::Unreachable { said: if said.is_empty() { "ssh ended without a word".into() } else { said } }
}

/// What `adb` means that brought no shell about.
pub(super) fn unreached_by_adb(serial: &str, said: &str) -> Trouble {
    let said = one_line(said);
    if said.contains("unauthorized") {
        return Trouble::Refused { said, fix: "confirm this computer on the screen of the board".into() };
    }
    if said.contains("PTY") || said.contains("shell_v2") {
        return Trouble::Refused { said, fix: "its Android must be of version 7 or later".into() };
    }
    Trouble::Unreachable { said: if said.is_empty() { format!("adb ended without a word for {serial}") } else { said } }
}

/// `user@host`, as other commands of ssh want it.
fn destination(address: &Address) -> String {
    match address {
        Address::Ssh { user: Some(user), host, .. } => format!("{user}@{host}"),
        Address::Ssh { user: None, host, .. } => host.clone(),
        Address::Adb { serial } => serial.clone(),
    }
}

/// The end of what was said, in one line and without what a terminal would obey.
pub(super) fn one_line(said: &str) -> String {
    let words = said.split_whitespace().map(|word| word.chars().filter(|it| !it.is_control()).collect::<String>());
    let line = words.collect::<Vec<_>>().join(" ");
    let start = line.len().saturating_sub(600);
    let start = (start..=line.len()).find(|&at| line.is_char_boundary(at)).unwrap_or(0);
    line[start..].to_owned()
}

fn because(said: &str) -> String {
    match one_line(said).as_str() {
        "" => String::new(),
        said => format!(": {said}"),
    }
}
