//! Addresses of boards: `ssh://[USER@]HOST[:PORT]` and `adb://SERIAL`.

use std::fmt;
use std::str::FromStr;

/// Where a board is.
///
/// What is in an address becomes an argument of `ssh` or `adb`, and `ssh` may put it into commands of
/// the user's configuration: so it holds nothing that an option or a shell could be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Over the user's own `ssh`.
    Ssh {
        /// Account; without it the user's ssh configuration decides.
        user: Option<String>,
        /// Name, number, or a `Host` of the user's ssh configuration. An IPv6 number stands in
        /// brackets in the text form alone.
        host: String,
        /// Port; without it the user's ssh configuration decides.
        port: Option<u16>,
    },
    /// Over the user's `adb`.
    Adb {
        /// As `adb devices` lists it.
        serial: String,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address ({why}); write ssh://USER@HOST, ssh://USER@HOST:PORT or adb://SERIAL")]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |why| AddressError { text: text.to_owned(), why };
        if let Some(serial) = text.strip_prefix("adb://") {
            return is_word(serial, ".:_-")
                .then(|| Self::Adb { serial: serial.to_owned() })
                .ok_or_else(|| wrong("a serial has letters, digits and . : _ -"));
        }
        let rest = text.strip_prefix("ssh://").ok_or_else(|| wrong("it begins with neither ssh:// nor adb://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, _)) if !is_word(user, "._-") => return Err(wrong("a user has letters, digits and . _ -")),
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, rest),
        };
        let (host, port, allowed) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, (!port.is_empty()).then_some(port), ".:%_-"),
            None => match rest.find(':') {
                Some(at) => (&rest[..at], Some(&rest[at..]), "._-"),
                None => (rest, None, "._-"),
            },
        };
        if !is_word(host, allowed) {
            return Err(wrong("a host has letters, digits and . _ -, an IPv6 number stands in brackets"));
        }
        let port = port.map(|it| it.strip_prefix(':').and_then(|it| it.parse().ok()).filter(|&port: &u16| 0 < port));
        match port {
            Some(None) => Err(wrong("a port is a number from 1 to 65535")),
            Some(port) => Ok(Self::Ssh { user, host: host.to_owned(), port }),
            None => Ok(Self::Ssh { user, host: host.to_owned(), port: None }),
        }
    }
}

/// Letters, digits and those in `more`, not too many, and nothing that begins like an option.
fn is_word(text: &str, more: &str) -> bool {
    let is_allowed = |it: char| it.is_ascii_alphanumeric() || more.contains(it);
    (1..=255).contains(&text.len()) && text.starts_with(|it: char| it != '-') && text.chars().all(is_allowed)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adb { serial } => write!(f, "adb://{serial}"),
            Self::Ssh { user, host, port } => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                if host.contains(':') {
                    write!(f, "[{host}]")?
                } else {
                    f.write_str(host)?
                }
                if let Some(port) = port { write!(f, ":{port}") } else { Ok(()) }
            }
        }
    }
}
