//! How an exchange fails, by name.

use std::{borrow::Cow, io};

/// Why there was no whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection came about: nothing was sent.
    NotConnected(io::ErrorKind, String),
    /// No connection came about in time: nothing was sent.
    ConnectTimeout,
    /// TLS did not come about: nothing was sent.
    Tls(String),
    /// The connection failed under way.
    Broken(io::ErrorKind),
    /// The server closed the connection and had not begun to answer.
    Closed,
    /// The server closed the connection in the middle of its answer.
    Truncated,
    /// What came is no HTTP.
    Malformed(&'static str),
    /// The answer is larger than anything a registry says.
    TooLarge(&'static str),
    /// No whole answer in time.
    Timeout,
}

impl Fault {
    /// A name to count it under.
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

    /// In words for a person.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::NotConnected(_, text) => text.clone(),
            Self::ConnectTimeout => "no connection in time".to_owned(),
            Self::Tls(text) => format!("no trusted TLS connection ({text})"),
            Self::Broken(kind) => kind.to_string(),
            Self::Closed => "the server closed the connection and gave no answer".to_owned(),
            Self::Truncated => "the server closed the connection in the middle of its answer".to_owned(),
            Self::Malformed(what) => format!("the answer is no HTTP: {what}"),
            Self::TooLarge(what) => format!("the answer is too large: {what}"),
            Self::Timeout => "no whole answer in time".to_owned(),
        }
    }

    /// Whether it is certain that the server never saw the request.
    pub(crate) fn before_sending(&self) -> bool {
        matches!(self, Self::NotConnected(..) | Self::ConnectTimeout | Self::Tls(_))
    }
}
