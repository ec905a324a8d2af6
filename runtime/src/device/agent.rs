//! The program that is taken to a board, and whether it can run there.

use std::path::{Path, PathBuf};

use super::{DeviceError, io_error};
use crate::program::{Linking, Program};

/// The agent for a kind of board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The program, on this machine.
    pub path: PathBuf,
    /// Target triple that it was built for.
    pub triple: String,
}

impl Agent {
    /// The agent in the file at `path`, for boards of `triple`; the file is read, not run.
    ///
    /// # Errors
    /// The file cannot be read, or such a board could not run it.
    pub fn admit(path: &Path, triple: &str) -> Result<Self, DeviceError> {
        let bytes = std::fs::read(path).map_err(|source| io_error(path, source))?;
        // A machine of this one's kind most often is this one, or has its libraries.
        let is_like_here = triple.starts_with(std::env::consts::ARCH);
        let linking = if is_like_here { Linking::Any } else { Linking::Static };
        let fits = Program::read(&bytes).and_then(|program| program.fits(triple, linking));
        fits.map_err(|error| {
            let why = format!("{}: {error}; `pipeline agent build` makes one that fits", path.display());
            DeviceError::Unavailable { device: "agent".into(), why }
        })?;
        Ok(Self { path: path.to_owned(), triple: triple.to_owned() })
    }
}

/// Whether the words are those of a system that cannot run the program at all.
pub(super) fn does_not_start(said: &str) -> bool {
    ["Exec format error", "yntax error", "annot execute", "ot found", "ermission denied", "o such file"]
        .iter()
        .any(|words| said.contains(words))
}

/// Whether programs for `triple` run on what `uname -m` calls `machine`.
pub(super) fn runs_on(triple: &str, machine: &str) -> bool {
    let built_for = triple.split('-').next().unwrap_or_default();
    let machines: &[&str] = match built_for {
        "aarch64" => &["aarch64", "arm64"],
        // A 64-bit kernel runs 32-bit programs too, on the boards that have one.
        "arm" | "armv7" | "armv6" => &["armv6l", "armv7l", "armv8l", "aarch64"],
        "x86_64" => &["x86_64", "amd64"],
        "i586" | "i686" => &["i586", "i686", "x86_64"],
        "riscv64gc" => &["riscv64"],
        other => return other == machine,
    };
    machines.contains(&machine)
}
