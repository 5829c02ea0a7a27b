//! Downloads of bytes in ranges: blobs of the registry's artifact store, and files of other HTTP servers.
//!
//! The key goes to the registry only, never along with a redirect. This module must not know files, digests or retries.

use std::{
    fmt,
    io::{self, Read},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use ureq::{
    Agent, BodyReader,
    http::{HeaderMap, Request, Response, StatusCode, header},
};
use url::Url;

use registry_domain::Digest;

use crate::{
    answer::retry_after,
    calls::segment,
    client::{API_KEY_HEADER, Client},
    key::SecretKey,
    transport::{self, NoAnswer},
};

/// How long a server may be silent. It may have to verify a large blob before it sends a range.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(180);
/// Redirects that are followed.
const MAX_REDIRECTS: u32 = 5;
/// The largest text of an error that is read.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// A source of bytes over HTTP. Clones share its connections.
#[derive(Clone)]
pub struct Downloader(Arc<Connection>);

struct Connection {
    /// The registry's URL, without a slash at its end; empty for another server.
    base_url: String,
    key: Option<SecretKey>,
    agent: Agent,
    /// For addresses that the server redirects to.
    elsewhere: Agent,
}

impl fmt::Debug for Downloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downloader").field("base_url", &self.0.base_url).finish_non_exhaustive()
    }
}

/// Why bytes did not arrive. Each text names the address without its query, which may contain a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the fields")]
pub enum DownloadError {
    /// No connection, or it was lost.
    #[error("{at} can't be reached: {reason}; try again, what has arrived is kept")]
    Lost { at: String, reason: String },
    /// The server is busy, or failed.
    #[error("{at} is unavailable ({status}): {detail}; try again, what has arrived is kept")]
    Unavailable { at: String, status: u16, detail: String, retry_after: Option<Duration> },
    /// 401 or 403.
    #[error("{at} refused access ({status}): {detail}")]
    Refused { at: String, status: u16, detail: String },
    /// 404 or 410.
    #[error("{at} does not exist: {detail}")]
    Missing { at: String, detail: String },
    /// The content has another size.
    #[error("{at} has {found_bytes} bytes, expected {expected_bytes}")]
    WrongSize { at: String, found_bytes: u64, expected_bytes: u64 },
    /// The server sends only whole contents.
    #[error("{at} can't be read in ranges")]
    NoRanges { at: String },
    /// Any other answer.
    #[error("{at} can't be fetched ({status}): {detail}")]
    Failed { at: String, status: u16, detail: String },
    /// The address is not one of HTTP.
    #[error("{at} is not a URL that can be fetched: {reason}")]
    BadUrl { at: String, reason: String },
}

impl DownloadError {
    /// Returns true if the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Unavailable { .. })
    }
}

/// The bytes of an answer.
pub struct Incoming {
    reader: BodyReader<'static>,
    at: String,
}

impl Incoming {
    /// Reads into `buffer`; 0 is the end.
    ///
    /// # Errors
    /// [`DownloadError::Lost`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DownloadError> {
        loop {
            match self.reader.read(buffer) {
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(DownloadError::Lost { at: self.at.clone(), reason: error.to_string() });
                }
            }
        }
    }
}

impl Client {
    /// Returns the source of the blobs of this registry.
    #[must_use]
    pub fn downloader(&self) -> Downloader {
        Downloader::new(self.base_url.clone(), self.key.clone())
    }
}

impl Downloader {
    /// Returns a source of what is at any URL, without a key.
    #[must_use]
    pub fn of_any() -> Self {
        Self::new(String::new(), None)
    }

    fn new(base_url: String, key: Option<SecretKey>) -> Self {
        let agent = transport::silence_agent(Url::parse(&base_url).ok().as_ref(), SILENCE_TIMEOUT);
        let elsewhere = transport::silence_agent(None, SILENCE_TIMEOUT);
        Self(Arc::new(Connection { base_url, key, agent, elsewhere }))
    }

    /// Requests a range of a blob of the model `name`, which has `size_bytes`.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn blob(
        &self,
        name: &str,
        digest: Digest,
        size_bytes: u64,
        range: Range<u64>,
    ) -> Result<Incoming, DownloadError> {
        let url = format!("{}/v2/{}/blobs/sha256:{digest}", self.0.base_url, repository(name));
        self.fetch(&self.0.agent, url, self.0.key.as_ref(), size_bytes, range)
    }

    /// Requests a range of what is at `url`, which has `size_bytes`.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn url(&self, url: &str, size_bytes: u64, range: Range<u64>) -> Result<Incoming, DownloadError> {
        self.fetch(&self.0.elsewhere, url.to_owned(), None, size_bytes, range)
    }

    /// Ends all connections, also those that other threads wait for.
    pub fn shutdown(&self) {
        self.0.agent.clone().shutdown();
        self.0.elsewhere.clone().shutdown();
    }

    fn fetch(
        &self,
        agent: &Agent,
        mut url: String,
        key: Option<&SecretKey>,
        size_bytes: u64,
        range: Range<u64>,
    ) -> Result<Incoming, DownloadError> {
        let mut response = self.request(agent, &url, key, size_bytes, &range)?;
        for _ in 0..MAX_REDIRECTS {
            if !response.status().is_redirection() {
                break;
            }
            url = target(&url, response.headers())?;
            response = self.request(&self.0.elsewhere, &url, None, size_bytes, &range)?;
        }
        let at = shown(&url);
        let (parts, body) = response.into_parts();
        match parts.status {
            StatusCode::PARTIAL_CONTENT => check_range(&at, &parts.headers, size_bytes, &range)?,
            StatusCode::OK if range == (0..size_bytes) => check_length(&at, &parts.headers, size_bytes)?,
            StatusCode::OK => return Err(DownloadError::NoRanges { at }),
            status => {
                let text = body.into_with_config().limit(MAX_ERROR_BYTES).read_to_vec().unwrap_or_default();
                return Err(refusal(at, status, &parts.headers, &text, size_bytes));
            }
        }
        Ok(Incoming { reader: body.into_reader(), at })
    }

    fn request(
        &self,
        agent: &Agent,
        url: &str,
        key: Option<&SecretKey>,
        size_bytes: u64,
        range: &Range<u64>,
    ) -> Result<Response<ureq::Body>, DownloadError> {
        // A transfer in another encoding would not have these sizes.
        let mut request = Request::get(url).header(header::ACCEPT_ENCODING, "identity");
        if *range != (0..size_bytes) {
            let text = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            request = request.header(header::RANGE, text);
        }
        if let Some(key) = key {
            request = request.header(API_KEY_HEADER, key.header().clone());
        }
        let at = || shown(url);
        let request = request
            .body(())
            .map_err(|error| DownloadError::BadUrl { at: at(), reason: error.to_string() })?;
        agent.run(request).map_err(|error| {
            match NoAnswer::of(error, url.starts_with("https"), SILENCE_TIMEOUT) {
                NoAnswer::Unreachable { reason, .. }
                | NoAnswer::Lost { reason, .. }
                | NoAnswer::NotHttp { reason } => DownloadError::Lost { at: at(), reason },
            }
        })
    }
}

/// Returns the name under which the blobs of a model are requested. Those routes accept fewer names than models may have, and
/// serve each blob under every name.
fn repository(name: &str) -> String {
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) || name.contains(char::is_control) {
        return "models".to_owned();
    }
    name.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Returns where a redirect leads.
fn target(url: &str, headers: &HeaderMap) -> Result<String, DownloadError> {
    let bad = |reason: &str| DownloadError::BadUrl { at: shown(url), reason: reason.to_owned() };
    let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let location = location.ok_or_else(|| bad("it redirects without an address"))?;
    let from = Url::parse(url).map_err(|_| bad("it is not a URL"))?;
    let to = from.join(location).map_err(|_| bad("it redirects to what is not a URL"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Ok(to.into()),
        _ => Err(bad("it redirects to another protocol")),
    }
}

/// Checks that the answer is the range that was requested, of a content of this size.
fn check_range(
    at: &str,
    headers: &HeaderMap,
    size_bytes: u64,
    range: &Range<u64>,
) -> Result<(), DownloadError> {
    let text = headers.get(header::CONTENT_RANGE).and_then(|text| text.to_str().ok()).unwrap_or_default();
    let parts = text.strip_prefix("bytes ").and_then(|text| text.split_once('/'));
    let (part, total) = parts.unwrap_or_default();
    if let Ok(found_bytes) = total.parse::<u64>()
        && found_bytes != size_bytes
    {
        return Err(DownloadError::WrongSize { at: at.to_owned(), found_bytes, expected_bytes: size_bytes });
    }
    if part == format!("{}-{}", range.start, range.end.saturating_sub(1)) {
        return Ok(());
    }
    Err(DownloadError::NoRanges { at: at.to_owned() })
}

fn check_length(at: &str, headers: &HeaderMap, size_bytes: u64) -> Result<(), DownloadError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
    match length {
        Some(found_bytes) if found_bytes != size_bytes => {
            Err(DownloadError::WrongSize { at: at.to_owned(), found_bytes, expected_bytes: size_bytes })
        }
        _ => Ok(()),
    }
}

fn refusal(
    at: String,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    size_bytes: u64,
) -> DownloadError {
    let detail = detail(body).unwrap_or_else(|| "it gave no reason".to_owned());
    let status_code = status.as_u16();
    match status_code {
        401 | 403 => DownloadError::Refused { at, status: status_code, detail },
        404 | 410 => DownloadError::Missing { at, detail },
        416 => {
            let text = headers.get(header::CONTENT_RANGE).and_then(|text| text.to_str().ok());
            let found = text.and_then(|text| text.strip_prefix("bytes */")?.parse().ok());
            match found {
                Some(found_bytes) => DownloadError::WrongSize { at, found_bytes, expected_bytes: size_bytes },
                None => DownloadError::Failed { at, status: status_code, detail },
            }
        }
        429 | 502..=504 | 507 => {
            DownloadError::Unavailable { at, status: status_code, detail, retry_after: retry_after(headers) }
        }
        _ => DownloadError::Failed { at, status: status_code, detail },
    }
}

/// Returns the first message of an error in the form of the OCI specification, or another short text.
fn detail(body: &[u8]) -> Option<String> {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(|body| body["errors"][0]["message"].as_str()).map(str::to_owned);
    let message = message.or_else(|| parsed.as_ref()?["detail"].as_str().map(str::to_owned));
    let line = || std::str::from_utf8(body).ok()?.lines().next().map(str::to_owned);
    let text = message.or_else(line).map(|text| text.trim().chars().take(500).collect::<String>());
    text.filter(|text| !text.is_empty() && !text.starts_with('<'))
}

/// Returns a URL without user, password and query, which may be secret.
fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "the address".to_owned() };
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_range_is_taken_only_as_it_was_requested() {
        let at = "http://h/b";
        for (answered, expected) in [
            ("bytes 5-9/20", Ok(())),
            ("bytes 5-9/*", Ok(())),
            (
                "bytes 5-9/21",
                Err(DownloadError::WrongSize { at: at.into(), found_bytes: 21, expected_bytes: 20 }),
            ),
            ("bytes 4-9/20", Err(DownloadError::NoRanges { at: at.into() })),
            ("", Err(DownloadError::NoRanges { at: at.into() })),
        ] {
            let headers = headers(header::CONTENT_RANGE, answered);
            assert_eq!(check_range(at, &headers, 20, &(5..10)), expected, "{answered}");
        }
    }

    #[test]
    fn a_redirect_leads_to_another_address_but_not_out_of_tls() {
        for (from, location, expected) in [
            ("http://h/v2/x", "https://s3/b/k?sig=1", Some("https://s3/b/k?sig=1")),
            ("http://h/v2/x", "/other", Some("http://h/other")),
            ("https://h/x", "http://s3/k", None),
            ("http://h/x", "file:///etc/passwd", None),
        ] {
            let found = target(from, &headers(header::LOCATION, location));
            assert_eq!(found.ok().as_deref(), expected, "{from} {location}");
        }
        assert!(target("http://h/x", &HeaderMap::new()).is_err());
    }

    #[test]
    fn an_error_shows_no_signature_and_no_password() {
        assert_eq!(shown("https://ann:pw@s3/b/k?X-Amz-Signature=1#a"), "https://s3/b/k");
        assert_eq!(shown("no url"), "the address");
    }

    #[test]
    fn the_reason_of_a_refusal_is_found_in_each_form() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"no such blob"}]}"#, Some("no such blob")),
            (r#"{"detail":"gone"}"#, Some("gone")),
            ("plain\nmore", Some("plain")),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(detail(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
