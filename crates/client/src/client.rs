//! The client: connection, key and retries.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;
use ureq::{
    Agent, AsSendBody,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header},
};

use crate::{
    answer,
    base_url::parse_base_url,
    error::ClientError,
    key::SecretKey,
    transport::{self, NoAnswer},
};

/// How long a call may take, from the name lookup to the last byte of the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Retries of a call that was certainly not executed.
const MAX_RETRIES: u32 = 3;
/// The longest wait that a `Retry-After` can ask for.
const MAX_RETRY_WAIT: Duration = Duration::from_secs(10);
/// The wait before the first retry of a refused connection; doubled each time. In total this is long enough for a
/// server that is restarting, and short enough to report a missing one soon.
const RECONNECT_WAIT: Duration = Duration::from_millis(100);
/// The largest answer that is read; a page of 200 versions is far smaller.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

pub(super) const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// A client of one registry with one key.
#[derive(Debug, Clone)]
pub struct Client {
    /// Without a trailing slash.
    pub(super) base_url: String,
    /// `None` if only [`Client::health`] is called.
    pub(super) key: Option<SecretKey>,
    agent: Agent,
    call_timeout: Duration,
    /// What policies warned of, in answers of `/v1`.
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Client {
    /// Creates a client of the registry at `base_url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] if `base_url` is not a plain http or https URL.
    pub fn new(base_url: &str, api_key: SecretKey) -> Result<Self, ClientError> {
        Self::with(base_url, Some(api_key), CALL_TIMEOUT)
    }

    /// Creates a client without a key, which can only call [`Client::health`], with its own timeout.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn without_key(base_url: &str, call_timeout: Duration) -> Result<Self, ClientError> {
        Self::with(base_url, None, call_timeout)
    }

    fn with(base_url: &str, key: Option<SecretKey>, call_timeout: Duration) -> Result<Self, ClientError> {
        let url = parse_base_url(base_url)?;
        let base_url = url.as_str().trim_end_matches('/').to_owned();
        let agent = transport::agent(&url, call_timeout);
        Ok(Self { base_url, key, agent, call_timeout, warnings: Arc::default() })
    }

    /// Takes what policies warned of in the changes since the last time.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn note_warnings(&self, warnings: impl Iterator<Item = String>) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).extend(warnings);
    }

    /// Sends a request, with retries if they are safe, and returns headers and JSON of a successful answer. `body` is JSON.
    pub(super) fn exchange_with_retries(
        &self,
        method: &Method,
        path: &str,
        body: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(HeaderMap, Value), ClientError> {
        let repeatable = method == Method::GET;
        let mut retries = 0;
        loop {
            let outcome = self.exchange(method, path, body, headers);
            match outcome.as_ref().err().and_then(|error| wait_before_retry(error, retries, repeatable)) {
                Some(wait) => thread::sleep(wait),
                None => return outcome,
            }
            retries += 1;
        }
    }

    /// Sends a request once.
    pub(super) fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(HeaderMap, Value), ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json");
        match body {
            Some(body) => self.run(request.body(body), headers),
            None if method == Method::POST => self.run(request.body(""), headers),
            None => self.run(request.body(()), headers),
        }
    }

    fn run(
        &self,
        request: Result<Request<impl AsSendBody>, ureq::http::Error>,
        headers: &HeaderMap,
    ) -> Result<(HeaderMap, Value), ClientError> {
        let mut request = request.map_err(|error| ClientError::BadUrl(format!("can't be used: {error}")))?;
        let others = headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        request.headers_mut().extend(self.key_header().chain(others));
        let response = self.agent.run(request).map_err(|error| self.no_answer(error))?;
        let (parts, body) = response.into_parts();
        let body = body
            .into_with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_vec()
            .map_err(|error| self.no_answer(error))?;
        match answer::interpret(&self.base_url, parts.status.as_u16(), &parts.headers, &body) {
            Ok(body) => Ok((parts.headers, body)),
            Err(error) => Err(self.with_key_source(error)),
        }
    }

    /// Adds to an error where a key that was refused comes from.
    pub(super) fn with_key_source(&self, error: ClientError) -> ClientError {
        match error {
            ClientError::KeyRefused { url, .. } => {
                let key_source = self.key.as_ref().and_then(SecretKey::source).map(str::to_owned);
                ClientError::KeyRefused { url, key_source }
            }
            error => error,
        }
    }

    /// Returns the header with the key, if there is one.
    pub(super) fn key_header(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
        self.key.iter().map(|key| (API_KEY_HEADER, key.header().clone()))
    }

    /// Converts the error of a request without an answer.
    pub(super) fn no_answer(&self, error: ureq::Error) -> ClientError {
        let url = self.base_url.clone();
        match NoAnswer::of(error, url.starts_with("https"), self.call_timeout) {
            NoAnswer::Unreachable { reason, refused } => ClientError::Unreachable { url, reason, refused },
            NoAnswer::Lost { reason, timed_out } => ClientError::AnswerLost { url, reason, timed_out },
            NoAnswer::NotHttp { reason } => ClientError::NotARegistry { url, reason },
        }
    }
}

/// Returns the wait before a retry; `None` if there is none. Only a request that was certainly not executed is retried,
/// since a registration that was executed would conflict with itself. A `repeatable` request changes nothing, so it is
/// also retried after a lost answer.
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

#[cfg(test)]
mod tests {
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
    fn an_invalid_base_url_is_refused_with_an_example() {
        for given in
            ["", "localhost:8001", "ftp://host", "http://", "http://h:99999", "http://h/?a=1", "http://h/#a"]
        {
            let text = client(given).unwrap_err().to_string();
            assert!(text.contains(&format!("{given:?}")), "{text}");
            assert!(text.contains("set one like http://localhost:8001 with --registry-url"), "{text}");
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
    fn a_client_does_not_display_its_key() {
        assert!(!format!("{:?}", client("http://localhost").unwrap()).contains("s3cret"));
    }

    #[test]
    fn only_a_request_that_was_not_executed_is_retried() {
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
}
