//! Why a command did not do what it was asked to, and the exit codes.

use std::{io, path::PathBuf};

/// Something is not as it must be.
pub(crate) const FAILED: u8 = 1;
/// The command line makes no sense. It is also what the parser of the command line ends with.
pub(crate) const USAGE: u8 = 2;
/// Ctrl-C, SIGTERM or a closed terminal ended it.
pub(crate) const INTERRUPTED: u8 = 130;

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    all is well
  1    something is not as it must be, or could not be done
  2    the command line makes no sense
  130  ended by Ctrl-C, SIGTERM or a closed terminal";

/// Each message says what was wrong and, where it is not plain, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Usage(String),
    #[error("interrupted; {0}")]
    Interrupted(String),
    #[error("{} can't be read: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} can't be written: {source}", .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    /// The program is not there, which is something else than that it failed.
    #[error("{program} can't be started: {source}; is it installed and on PATH?")]
    NotStarted { program: String, source: io::Error },
}

impl Error {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Interrupted(_) => INTERRUPTED,
            _ => FAILED,
        }
    }
}
