//! The registry's HTTP client, for the commands.
//!
//! It owns the key while it travels, what may be tried again, and the words in which a refusal reaches a
//! person. It must not know the terminal or the files: bodies come in and go out as JSON values. A call
//! is one method of [`Client`] in `calls.rs`, over its one private `send`.

use std::{io::ErrorKind, thread, time::Duration};

use serde_json::Value;
use ureq::{
    Agent, AsSendBody, Timeout,
    http::{HeaderMap, HeaderName, Method, Request, Uri, header},
    tls::{RootCerts, TlsConfig},
};
use url::{Host, Url};

mod answer;
mod calls;
mod error;
mod key;

pub use calls::{Condition, Page};
pub use error::ClientError;
pub use key::SecretKey;

use registry_domain::ModelId;

/// Until a connection stands, with TLS and all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From looking up the host's name to the last byte of the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a call is tried again where it is certain that the registry did not execute it.
const MAX_RETRIES: u32 = 3;
/// A busy registry asks for seconds; whoever asks for more is waited for no longer than this.
const MAX_RETRY_WAIT: Duration = Duration::from_secs(10);
/// Before the first further attempt to reach a server that refuses connections; doubled each time.
/// In all long enough for one that is just restarting, and no burden where there is none.
const RECONNECT_WAIT: Duration = Duration::from_millis(100);
/// A page of 200 versions with the largest metrics stays far below.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
const USER_AGENT: &str = concat!("registry/", env!("CARGO_PKG_VERSION"));

/// A version that the registry took.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// Its number.
    pub id: ModelId,
    /// The whole answer, in the registry's order and digits.
    pub body: Value,
}

/// One registry, seen with one key.
#[derive(Debug, Clone)]
pub struct Client {
    /// Without a slash at its end.
    base_url: String,
    /// None only where nothing is asked but what needs none.
    key: Option<SecretKey>,
    agent: Agent,
    call_timeout: Duration,
}

impl Client {
    /// A client of the registry at `base_url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] where `base_url` is no plain http or https URL.
    pub fn new(base_url: &str, api_key: SecretKey) -> Result<Self, ClientError> {
        Self::with(base_url, Some(api_key), CALL_TIMEOUT)
    }

    /// One that shows no key, and so may ask for nothing but [`Client::health`]; it waits no longer than
    /// `call_timeout` for an answer.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn without_key(base_url: &str, call_timeout: Duration) -> Result<Self, ClientError> {
        Self::with(base_url, None, call_timeout)
    }

    fn with(base_url: &str, key: Option<SecretKey>, call_timeout: Duration) -> Result<Self, ClientError> {
        let url = read_base_url(base_url)?;
        let mut config = Agent::config_builder()
            .user_agent(USER_AGENT)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(call_timeout))
            // Every status is an answer to be read, redirects among them: a key is not carried elsewhere.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
        if is_loopback(&url) {
            // A proxy has no business between two programs of one machine, and would see the key.
            config = config.proxy(None);
        }
        let base_url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { base_url, key, agent: config.build().new_agent(), call_timeout })
    }

    /// Sends a request, again where that is safe, and returns headers and JSON of a successful answer.
    /// `payload` is the text of a JSON body; absent for a method that has none.
    fn send(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        payload: Option<&[u8]>,
    ) -> Result<(HeaderMap, Value), ClientError> {
        let repeatable = method == Method::GET;
        let mut retries = 0;
        loop {
            let outcome = match payload {
                Some(payload) => self.exchange(method.clone(), path, headers, payload),
                None => self.exchange(method.clone(), path, headers, ()),
            };
            match outcome.as_ref().err().and_then(|error| wait_before_retry(error, retries, repeatable)) {
                Some(wait) => thread::sleep(wait),
                None => return outcome,
            }
            retries += 1;
        }
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        payload: impl AsSendBody,
    ) -> Result<(HeaderMap, Value), ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(payload)
            .map_err(|error| ClientError::BadUrl(format!("can't be used: {error}")))?;
        let key = self.key.iter().map(|key| (API_KEY_HEADER, key.header().clone()));
        let others = headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        request.headers_mut().extend(key.chain(others));
        let response = self.agent.run(request).map_err(|error| self.no_answer(error))?;
        let (parts, body) = response.into_parts();
        let body = body
            .into_with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_vec()
            .map_err(|error| self.no_answer(error))?;
        match answer::judge(&self.base_url, parts.status.as_u16(), &parts.headers, &body) {
            Ok(body) => Ok((parts.headers, body)),
            Err(ClientError::KeyRefused { url, .. }) => {
                let found_in = self.key.as_ref().and_then(SecretKey::place).map(str::to_owned);
                Err(ClientError::KeyRefused { url, found_in })
            }
            Err(error) => Err(error),
        }
    }

    /// What to make of a request that brought no answer.
    fn no_answer(&self, error: ureq::Error) -> ClientError {
        let url = self.base_url.clone();
        let (reason, refused) = match error {
            ureq::Error::Io(error) => match error.kind() {
                ErrorKind::ConnectionRefused => ("connection refused".to_owned(), true),
                // So a connection ends that there was.
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::TimedOut => {
                    return ClientError::AnswerLost { url, reason: error.to_string(), timed_out: false };
                }
                // So comes what TLS finds wrong with the other side.
                ErrorKind::InvalidData if url.starts_with("https") => {
                    (format!("no trusted TLS connection ({error})"), false)
                }
                // Names that lead nowhere, hosts and networks without a way to them.
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
            | ureq::Error::BodyExceedsLimit(_) => {
                return ClientError::NotARegistry { url, reason: error.to_string() };
            }
            ureq::Error::Timeout(_) => {
                let reason = format!("no whole answer within {} s", self.call_timeout.as_secs_f64());
                return ClientError::AnswerLost { url, reason, timed_out: true };
            }
            error => {
                return ClientError::AnswerLost { url, reason: error.to_string(), timed_out: false };
            }
        };
        ClientError::Unreachable { url, reason, refused }
    }
}

/// How long to wait before the next attempt; `None` where there is to be none. Only what was certainly not
/// executed is sent again: a registration that was would come back as a conflict with itself. A request that
/// is `repeatable` changes nothing, so there a lost answer is asked for again.
fn wait_before_retry(error: &ClientError, retries: u32, repeatable: bool) -> Option<Duration> {
    if retries >= MAX_RETRIES {
        return None;
    }
    match error {
        ClientError::Unavailable { retry_after, .. } => retry_after.map(|wait| wait.min(MAX_RETRY_WAIT)),
        ClientError::Unreachable { refused: true, .. } => Some(RECONNECT_WAIT * 2_u32.pow(retries)),
        ClientError::AnswerLost { timed_out: false, .. } if repeatable => {
            Some(RECONNECT_WAIT * 2_u32.pow(retries))
        }
        _ => None,
    }
}

/// The URL of a registry. What it says of a wrong one holds no password.
///
/// # Errors
/// [`ClientError::BadUrl`] where `text` is no plain http or https URL.
pub fn read_base_url(text: &str) -> Result<Url, ClientError> {
    // Without a scheme the host would be taken for one; and a text with a password is not to be repeated.
    let shown = if text.contains('@') { "" } else { text };
    let bad = |why: &str| ClientError::BadUrl(format!("{shown:?} {why}"));
    let url = Url::parse(text.trim()).map_err(|error| bad(&format!("is not one: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("does not begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ClientError::BadUrl("holds a user or a password, which it must not".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("goes on with ? or #, which it must not"));
    }
    if url.as_str().parse::<Uri>().is_err() {
        return Err(bad("holds characters that must be percent-encoded"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn client(url: &str) -> Result<Client, ClientError> {
        Client::new(url, SecretKey::new("s3cret-key").unwrap())
    }

    #[test]
    fn the_base_url_loses_its_last_slash_and_keeps_its_path() {
        for (given, kept) in [
            ("http://localhost:8001", "http://localhost:8001"),
            (" http://localhost:8001/ ", "http://localhost:8001"),
            ("https://ml.example.org/registry//", "https://ml.example.org/registry"),
            ("http://[::1]:80/", "http://[::1]"),
        ] {
            assert_eq!(client(given).unwrap().base_url, kept, "{given}");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_an_example() {
        for given in
            ["", "localhost:8001", "ftp://host", "http://", "http://h:99999", "http://h/?a=1", "http://h/#a"]
        {
            let text = client(given).unwrap_err().to_string();
            assert!(text.contains(&format!("{given:?}")), "{text}");
            assert!(text.contains("--registry-url takes one like http://localhost:8001"), "{text}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        for given in ["http://ann:hunter2@host", "ann:hunter2@host", "http://ann:hunter2@host:port"] {
            let text = client(given).unwrap_err().to_string();
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_client_does_not_show_its_key() {
        assert!(!format!("{:?}", client("http://localhost").unwrap()).contains("s3cret"));
    }

    #[test]
    fn only_what_was_not_executed_is_tried_again() {
        let url = || "http://h".to_owned();
        let unavailable = |seconds: Option<u64>| ClientError::Unavailable {
            url: url(),
            detail: String::new(),
            retry_after: seconds.map(Duration::from_secs),
        };
        let unreachable = |refused| ClientError::Unreachable { url: url(), reason: String::new(), refused };
        let lost = |timed_out| ClientError::AnswerLost { url: url(), reason: String::new(), timed_out };
        for (error, retries, repeatable, wait_millis) in [
            (unavailable(Some(0)), 0, false, Some(0)),
            (unavailable(Some(2)), 2, false, Some(2000)),
            (unavailable(Some(2)), 3, true, None),
            (unavailable(Some(3600)), 0, false, Some(10_000)),
            (unavailable(None), 0, true, None),
            (unreachable(true), 0, false, Some(100)),
            (unreachable(true), 2, false, Some(400)),
            (unreachable(true), 3, true, None),
            (unreachable(false), 0, true, None),
            (lost(false), 0, false, None),
            (lost(false), 0, true, Some(100)),
            (lost(true), 0, true, None),
            (ClientError::Conflict { detail: String::new() }, 0, true, None),
        ] {
            let wait = wait_before_retry(&error, retries, repeatable);
            assert_eq!(wait, wait_millis.map(Duration::from_millis), "{error:?} {retries} {repeatable}");
        }
    }

    #[test]
    fn what_went_wrong_before_the_connection_is_told_from_what_came_after() {
        let client = client("http://h").unwrap();
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
            let told = client.no_answer(error);
            assert_eq!(matches!(told, ClientError::Unreachable { .. }), unreachable, "{text}: {told}");
            assert_eq!(matches!(told, ClientError::AnswerLost { .. }), !unreachable, "{text}: {told}");
        }
    }

    #[test]
    fn the_loopback_is_reached_without_a_proxy() {
        for (url, expected) in [
            ("http://localhost:8001", true),
            ("http://registry.localhost", true),
            ("http://127.0.0.2", true),
            ("http://[::1]:8001", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.org", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
