//! Why a run could not be made, or could not be checked.

use std::io;

use crate::http::Fault;

/// What went wrong apart from the load itself: failed requests are a matter of the report.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the texts name")]
pub enum Error {
    #[error("{0}")]
    BadTarget(String),
    /// No connection. `refused`: the host says that no server listens.
    #[error("no connection: {reason}")]
    Unreachable { reason: String, refused: bool },
    /// It went out, and no whole answer came.
    #[error("no answer: {reason}")]
    AnswerLost { reason: String, timed_out: bool },
    #[error("the API key was refused")]
    KeyRefused,
    #[error("unavailable: {detail}")]
    Unavailable { detail: String },
    #[error("the answer is none of a registry: {reason}")]
    NotARegistry { reason: String },
    #[error("refused ({status}): {detail}")]
    Refused { status: u16, detail: String },
    #[error("{0}")]
    Halted(Halt),
    /// The run could not begin, and what was registered for it could not be deleted.
    #[error("{cause}; versions named {name} may be left in the registry: {why}")]
    LeftBehind { name: String, why: String, cause: Box<Error> },
    #[error("the load generator itself failed: {0}")]
    Client(#[from] io::Error),
}

/// What ends a run from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Whoever started it wants it to end.
    #[error("interrupted")]
    Interrupted,
    /// There is no server any more.
    #[error("the server went away")]
    ServerGone,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let reason = fault.words();
        match fault {
            Fault::NotConnected(kind, _) => {
                Self::Unreachable { reason, refused: kind == io::ErrorKind::ConnectionRefused }
            }
            Fault::ConnectTimeout | Fault::Tls(_) => Self::Unreachable { reason, refused: false },
            Fault::Malformed(_) | Fault::TooLarge(_) => Self::NotARegistry { reason },
            Fault::Broken(_) | Fault::Closed | Fault::Truncated => {
                Self::AnswerLost { reason, timed_out: false }
            }
            Fault::Timeout => Self::AnswerLost { reason, timed_out: true },
        }
    }
}
