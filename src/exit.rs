//! How the program ends: one exit code a kind of outcome, printed in `--help` and kept by tests.

use std::fmt;

use export::ExportError;
use runtime::worker::WorkerError;
use targets::MeterErrorKind;

/// Kinds of outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Found, and within budget; or simply done.
    Ok = 0,
    /// Finished, and nothing met the budget; or a verdict says no.
    NotMet = 1,
    /// Usage or configuration.
    Usage = 2,
    /// The device is out of reach.
    Device = 3,
    /// A file or the disk.
    File = 5,
    /// A measurement was taken that is no evidence, or that does not decide.
    Invalid = 6,
    /// The model may not run.
    Rejected = 7,
    /// A mistake of this program.
    Internal = 70,
    /// Stopped by the user; the run can be resumed.
    Interrupted = 130,
}

/// The table for `--help`.
pub const HELP: &str = "\
Exit codes:
  0    found and within budget
  1    finished, nothing met the budget, or a verdict says no
  2    usage or configuration
  3    device unavailable
  5    file or disk
  6    measurement invalid, or it cannot tell
  7    model rejected
  70   internal error
  130  interrupted; continue with --resume";

/// A message for the user with the exit code it stands for. In an `anyhow` chain it decides.
#[derive(Debug)]
pub struct Failure {
    /// Kind of outcome.
    pub exit: Exit,
    /// What, where, and what to do.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error of usage or configuration.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    Failure { exit: Exit::Usage, message: message.into() }.into()
}

/// An error of a file or the disk.
pub fn file(message: impl Into<String>) -> anyhow::Error {
    Failure { exit: Exit::File, message: message.into() }.into()
}

impl Exit {
    /// The exit code of an error: that of the first link in its chain that has one.
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_link).unwrap_or(Self::Internal)
    }

    fn of_link(link: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(failure) = link.downcast_ref::<Failure>() {
            return Some(failure.exit);
        }
        if let Some(error) = link.downcast_ref::<search::Error>() {
            return Some(match error {
                search::Error::Graph(_) | search::Error::Diverged { .. } => Self::Usage,
                search::Error::NotFinite { .. } | search::Error::Impossible => Self::Usage,
                search::Error::Meter(error) => Self::of_meter(error.kind),
                search::Error::Data(_)
                | search::Error::Weights(_)
                | search::Error::File { .. }
                | search::Error::Table { .. }
                | search::Error::NotInTable { .. }
                | search::Error::Study { .. } => Self::File,
                search::Error::Interrupted => Self::Interrupted,
            });
        }
        if let Some(error) = link.downcast_ref::<runtime::device::DeviceError>() {
            return Some(match error {
                runtime::device::DeviceError::Lost { .. } | runtime::device::DeviceError::Unavailable { .. } => {
                    Self::Device
                }
                runtime::device::DeviceError::Invalid { .. } => Self::Invalid,
                runtime::device::DeviceError::Rejected(_) => Self::Rejected,
                runtime::device::DeviceError::Io { .. } => Self::File,
            });
        }
        if let Some(error) = link.downcast_ref::<WorkerError>() {
            return Some(match error {
                WorkerError::Start { .. }
                | WorkerError::Speech(_)
                | WorkerError::Agent { .. }
                | WorkerError::Unavailable(_) => Self::Device,
                WorkerError::File { .. } => Self::File,
                WorkerError::Late { .. } | WorkerError::Died { .. } | WorkerError::Refused(_) => Self::Rejected,
            });
        }
        if let Some(error) = link.downcast_ref::<ExportError>() {
            return Some(match error {
                ExportError::Weights(_) | ExportError::Read(_) => Self::File,
                ExportError::NotFinite { .. } => Self::Usage,
                ExportError::Inputs { .. }
                | ExportError::Name { .. }
                | ExportError::Relaxed { .. }
                | ExportError::Write(_) => Self::Internal,
            });
        }
        if let Some(error) = link.downcast_ref::<targets::MeterError>() {
            return Some(Self::of_meter(error.kind));
        }
        if let Some(error) = link.downcast_ref::<targets::TargetError>() {
            return Some(match error {
                targets::TargetError::Read { .. } => Self::File,
                _ => Self::Usage,
            });
        }
        if let Some(error) = link.downcast_ref::<data::DataError>() {
            return Some(match error {
                data::DataError::Unknown { .. } | data::DataError::NotHere { .. } => Self::Usage,
                _ => Self::File,
            });
        }
        if link.is::<targets::QuantityError>() || link.is::<runtime::device::AddressError>() {
            return Some(Self::Usage);
        }
        if link.is::<runtime::validate::Rejected>() || link.is::<runtime::engine::EngineError>() {
            return Some(Self::Rejected);
        }
        if link.is::<graph::weights::WeightsError>() || link.is::<std::io::Error>() {
            return Some(Self::File);
        }
        None
    }

    fn of_meter(kind: MeterErrorKind) -> Self {
        match kind {
            MeterErrorKind::Lost | MeterErrorKind::Unavailable => Self::Device,
            MeterErrorKind::Invalid => Self::Invalid,
            MeterErrorKind::Rejected => Self::Rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_died_rejects_its_model_and_a_missing_one_is_no_device() {
        let check = |error: WorkerError, expected| assert_eq!(Exit::of(&error.into()), expected);
        let died = |how: &str| WorkerError::Died { how: how.to_owned(), said: ": panicked at".to_owned() };
        check(died("panic"), Exit::Rejected);
        check(died("segmentation fault"), Exit::Rejected);
        check(WorkerError::Late { limit: std::time::Duration::from_secs(60) }, Exit::Rejected);
        check(WorkerError::Refused("an operator".to_owned()), Exit::Rejected);
        check(WorkerError::Speech("another version".to_owned()), Exit::Device);
        check(WorkerError::Agent { status: 5, said: String::new() }, Exit::Device);
    }
}
