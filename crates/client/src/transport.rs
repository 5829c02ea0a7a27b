//! The connection to a server: timeouts, TLS, proxies, and why there was no answer.

use std::{io::ErrorKind, time::Duration};

use ureq::{
    Agent, Timeout,
    config::ConfigBuilder,
    tls::{RootCerts, TlsConfig},
    typestate::AgentScope,
};
use url::Url;

use crate::base_url::is_loopback;

/// How long a connection may take, including TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("registry/", env!("CARGO_PKG_VERSION"));

/// Returns an agent for the server at `url`, whose calls take at most `call_timeout`.
pub(super) fn agent(url: &Url, call_timeout: Duration) -> Agent {
    build(Some(url), |config| config.timeout_global(Some(call_timeout)))
}

/// Returns an agent for transfers, which may take any time while bytes arrive. Without a `url` it is for any server.
pub(super) fn silence_agent(url: Option<&Url>, silence: Duration) -> Agent {
    // A connection for each range that is requested at a time.
    build(url, |config| {
        config.timeout_per_read(Some(silence)).max_idle_connections_per_host(64).max_idle_connections(64)
    })
}

type Builder = ConfigBuilder<AgentScope>;

fn build(url: Option<&Url>, timeouts: impl FnOnce(Builder) -> Builder) -> Agent {
    let config = Agent::config_builder()
        .user_agent(USER_AGENT)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        // Every status is interpreted, and redirects are not followed, since the key would be sent elsewhere.
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
    let mut config = timeouts(config);
    if url.is_some_and(is_loopback) {
        // Two programs of one machine need no proxy, which would see the key.
        config = config.proxy(None);
    }
    config.build().new_agent()
}

/// Why a request has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// There was no connection, so nothing was executed. `refused`: no server listens there.
    Unreachable { reason: String, refused: bool },
    /// The request may have been sent, but there was no complete answer.
    Lost { reason: String, timed_out: bool },
    /// The answer was not one of HTTP, or was too large.
    NotHttp { reason: String },
}

impl NoAnswer {
    /// Reads the error of a request.
    pub(super) fn of(error: ureq::Error, is_tls: bool, call_timeout: Duration) -> Self {
        let (reason, refused) = match error {
            ureq::Error::Io(error) => match error.kind() {
                ErrorKind::ConnectionRefused => ("connection refused".to_owned(), true),
                // An established connection was lost.
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::TimedOut => return Self::Lost { reason: error.to_string(), timed_out: false },
                // A TLS handshake failed.
                ErrorKind::InvalidData if is_tls => (format!("no trusted TLS connection ({error})"), false),
                // An unknown name, an unreachable host or network.
                _ => (error.to_string(), false),
            },
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                (format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()), false)
            }
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_) => (error.to_string(), false),
            ureq::Error::Protocol(_)
            | ureq::Error::LargeResponseHeader(..)
            | ureq::Error::BodyExceedsLimit(_) => return Self::NotHttp { reason: error.to_string() },
            ureq::Error::Timeout(_) => {
                let reason = format!("no complete answer within {} s", call_timeout.as_secs_f64());
                return Self::Lost { reason, timed_out: true };
            }
            error => return Self::Lost { reason: error.to_string(), timed_out: false },
        };
        Self::Unreachable { reason, refused }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn failures_before_and_after_the_connection_are_distinguished() {
        for (error, unreachable) in [
            (io::Error::from(ErrorKind::ConnectionRefused).into(), true),
            (io::Error::from(ErrorKind::NetworkUnreachable).into(), true),
            (io::Error::other("failed to lookup address information").into(), true),
            (ureq::Error::HostNotFound, true),
            (ureq::Error::Timeout(Timeout::Connect), true),
            (io::Error::from(ErrorKind::ConnectionReset).into(), false),
            (io::Error::from(ErrorKind::UnexpectedEof).into(), false),
            (ureq::Error::Timeout(Timeout::Global), false),
        ] {
            let text = format!("{error:?}");
            let found = NoAnswer::of(error, false, Duration::from_secs(60));
            assert_eq!(matches!(found, NoAnswer::Unreachable { .. }), unreachable, "{text}: {found:?}");
            assert_eq!(matches!(found, NoAnswer::Lost { .. }), !unreachable, "{text}: {found:?}");
        }
    }
}
