//! How an exchange fails, by name.

use std::io;

/// Why there is no complete answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// Nothing was sent.
    #[error("{1}")]
    NotConnected(io::ErrorKind, String),
    /// Nothing was sent.
    #[error("no connection in time")]
    ConnectTimeout,
    /// Nothing was sent.
    #[error("no trusted TLS connection ({0})")]
    Tls(String),
    #[error("{0}")]
    Broken(io::ErrorKind),
    #[error("the server closed the connection without an answer")]
    Closed,
    #[error("the server closed the connection in the middle of its answer")]
    Truncated,
    #[error("the answer is not HTTP: {0}")]
    Malformed(&'static str),
    #[error("the answer is too large: {0}")]
    TooLarge(&'static str),
    #[error("no complete answer in time")]
    Timeout,
}

impl ExchangeError {
    /// Returns the name under which it is counted.
    pub(crate) fn name(&self) -> String {
        match self {
            // Such as ConnectionRefused.
            Self::NotConnected(kind, _) | Self::Broken(kind) => return format!("{kind:?}"),
            Self::ConnectTimeout => "ConnectTimeout",
            Self::Tls(_) => "TlsError",
            Self::Closed => "ConnectionClosed",
            Self::Truncated => "AnswerTruncated",
            Self::Malformed(_) => "MalformedAnswer",
            Self::TooLarge(_) => "AnswerTooLarge",
            Self::Timeout => "Timeout",
        }
        .to_owned()
    }

    /// Returns true if nothing was sent, so that the server can't have done anything.
    pub(crate) fn before_sending(&self) -> bool {
        matches!(self, Self::NotConnected(..) | Self::ConnectTimeout | Self::Tls(_))
    }
}
