//! Why a run can't be executed or checked.

use std::io;

use crate::http::ExchangeError;

/// An error outside of the load itself. Failed requests are in the report.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the fields")]
pub enum Error {
    #[error("{0}")]
    BadTarget(String),
    /// No connection. `refused`: no server listens on that port.
    #[error("no connection: {reason}")]
    Unreachable { reason: String, refused: bool },
    /// The request was sent, and no complete answer came.
    #[error("no answer: {reason}")]
    AnswerLost { reason: String, timed_out: bool },
    #[error("the API key was refused")]
    KeyRefused,
    #[error("unavailable: {detail}")]
    Unavailable { detail: String },
    #[error("the answer is not from a registry: {reason}")]
    NotARegistry { reason: String },
    #[error("refused ({status}): {detail}")]
    Refused { status: u16, detail: String },
    #[error("{0}")]
    Halted(Halt),
    /// The run could not begin, and the versions registered for it could not be deleted.
    #[error("{cause}; versions named {name} may be left in the registry: {why}")]
    LeftBehind { name: String, why: String, cause: Box<Error> },
    #[error("the load generator itself failed: {0}")]
    Client(#[from] io::Error),
}

/// Why a run ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
    /// The server has ended.
    #[error("the server went away")]
    ServerGone,
}

impl From<ExchangeError> for Error {
    fn from(error: ExchangeError) -> Self {
        let reason = error.to_string();
        match error {
            ExchangeError::NotConnected(kind, _) => {
                Self::Unreachable { reason, refused: kind == io::ErrorKind::ConnectionRefused }
            }
            ExchangeError::ConnectTimeout | ExchangeError::Tls(_) => {
                Self::Unreachable { reason, refused: false }
            }
            ExchangeError::Malformed(_) | ExchangeError::TooLarge(_) => Self::NotARegistry { reason },
            ExchangeError::Broken(_) | ExchangeError::Closed | ExchangeError::Truncated => {
                Self::AnswerLost { reason, timed_out: false }
            }
            ExchangeError::Timeout => Self::AnswerLost { reason, timed_out: true },
        }
    }
}
