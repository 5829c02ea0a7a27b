//! How an exchange fails, by name.

use std::{borrow::Cow, io};

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
    /// The name under which it is counted.
    pub(crate) fn name(&self) -> Cow<'static, str> {
        match self {
            Self::NotConnected(kind, _) | Self::Broken(kind) => match kind {
                io::ErrorKind::ConnectionRefused => Cow::Borrowed("ConnectionRefused"),
                io::ErrorKind::ConnectionReset => Cow::Borrowed("ConnectionReset"),
                kind => Cow::Owned(format!("{kind:?}")),
            },
            Self::ConnectTimeout => Cow::Borrowed("ConnectTimeout"),
            Self::Tls(_) => Cow::Borrowed("TlsError"),
            Self::Closed => Cow::Borrowed("ConnectionClosed"),
            Self::Truncated => Cow::Borrowed("AnswerTruncated"),
            Self::Malformed(_) => Cow::Borrowed("MalformedAnswer"),
            Self::TooLarge(_) => Cow::Borrowed("AnswerTooLarge"),
            Self::Timeout => Cow::Borrowed("Timeout"),
        }
    }

    /// Returns true if nothing was sent, so that the server can't have done anything.
    pub(crate) fn before_sending(&self) -> bool {
        matches!(self, Self::NotConnected(..) | Self::ConnectTimeout | Self::Tls(_))
    }
}
