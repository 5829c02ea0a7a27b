//! Uploads into a registry's artifact store, by the blob routes of the OCI distribution specification.
//!
//! An upload continues where it ended, even in another process that knows its location. This module must not know files: the
//! bytes come from a [`Source`].

use std::{
    io::{self, Read},
    thread,
    time::Duration,
};

use ureq::{
    Agent, AsSendBody, SendBody,
    http::{HeaderMap, Method, Request, Response, header},
};
use url::Url;

use crate::{answer, calls::segment, client::Client, error::ClientError, transport};
use registry_domain::Digest;

/// How long one request may take: a piece of a file on a slow line, or the sync of a whole one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(900);
/// A blob up to this size is one request, in bytes.
const SMALL_BYTES: u64 = 1 << 20;
/// The bytes of one request of a larger one: few enough for a slow line.
const PIECE_BYTES: u64 = 64 << 20;
/// Attempts without progress before an upload fails.
const MAX_ATTEMPTS: u32 = 6;
/// The wait before the second attempt; doubled each time.
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// The bytes of an answer that are read.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// The bytes of a blob.
pub trait Source {
    /// Opens the bytes from `offset` on. Reading may fail to stop the upload.
    ///
    /// # Errors
    /// If they can't be read.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + '_>>;
    /// Returns the number of bytes.
    fn size_bytes(&self) -> u64;
    /// Returns true if the user stops the upload.
    fn is_stopped(&self) -> bool;
    /// Reports the number of bytes that have arrived, and where an interrupted upload continues.
    fn progress(&self, arrived_bytes: u64, location: &str);
}

/// Why a blob is not in the store.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum BlobError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The source failed, or stopped the upload.
    #[error("the upload was stopped: {0}")]
    Stopped(io::Error),
}

/// The artifact store of a registry, for uploads of one model.
#[derive(Debug, Clone)]
pub struct BlobStore {
    client: Client,
    agent: Agent,
    /// `/v2/NAME/blobs/`
    path: String,
}

impl Client {
    /// Returns the artifact store of the registry, if it has one.
    ///
    /// # Errors
    /// As any call.
    pub fn blob_store(&self, model: &str) -> Result<Option<BlobStore>, ClientError> {
        let url = Url::parse(&self.base_url).map_err(|error| ClientError::BadUrl(error.to_string()))?;
        // The name only tells for which model the blobs are.
        let is_plain = model.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !model.contains(char::is_control);
        let name = segment(if is_plain { model } else { "model" });
        let agent = transport::agent(&url, REQUEST_TIMEOUT);
        let store = BlobStore { client: self.clone(), agent, path: format!("/v2/{name}/blobs/") };
        match store.run(&Method::GET, "/v2/", &HeaderMap::new(), ()) {
            Ok(_) => Ok(Some(store)),
            Err(
                ClientError::NotFound { .. }
                | ClientError::NoSuchPath { .. }
                | ClientError::NotARegistry { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl BlobStore {
    /// Returns a name for the store that can be a part of a file's name.
    #[must_use]
    pub fn id(&self) -> String {
        self.client.base_url.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
    }

    /// Returns true if the store has this blob.
    ///
    /// # Errors
    /// As any call.
    pub fn has(&self, digest: Digest) -> Result<bool, ClientError> {
        let path = format!("{}sha256:{digest}", self.path);
        retried(|| match self.run(&Method::HEAD, &path, &HeaderMap::new(), ()) {
            Ok(_) => Ok(true),
            Err(ClientError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        })
    }

    /// Uploads a blob. With `location`, it continues an upload that was interrupted, if the store still has that.
    ///
    /// # Errors
    /// [`BlobError`]. What has arrived stays for another attempt.
    pub fn upload(
        &self,
        digest: Digest,
        source: &dyn Source,
        location: Option<String>,
    ) -> Result<(), BlobError> {
        if source.size_bytes() <= SMALL_BYTES {
            return self.upload_whole(digest, source);
        }
        let (mut location, mut arrived, mut attempts) = (location, 0, 0);
        loop {
            let before = arrived;
            match self.try_upload(digest, source, &mut location, &mut arrived) {
                Ok(()) => return Ok(()),
                Err(BlobError::Client(error)) if is_passing(&error) && !source.is_stopped() => {
                    attempts = if arrived > before { 1 } else { attempts + 1 };
                    if attempts == MAX_ATTEMPTS {
                        return Err(error.into());
                    }
                    pause(attempts, source);
                }
                // The store has forgotten the upload, or another process continues it.
                Err(BlobError::Client(ClientError::NotFound { .. } | ClientError::Conflict { .. }))
                    if location.is_some() && attempts < MAX_ATTEMPTS =>
                {
                    (location, attempts) = (None, attempts + 1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn upload_whole(&self, digest: Digest, source: &dyn Source) -> Result<(), BlobError> {
        let path = format!("{}uploads/?digest=sha256:{digest}", self.path);
        let mut bytes = Vec::new();
        source.open(0).and_then(|mut open| open.read_to_end(&mut bytes)).map_err(BlobError::Stopped)?;
        let mut attempts = 0;
        loop {
            match self.run(&Method::POST, &path, &HeaderMap::new(), &bytes[..]) {
                Ok(_) => break,
                Err(error) if is_passing(&error) && attempts + 1 < MAX_ATTEMPTS && !source.is_stopped() => {
                    attempts += 1;
                    pause(attempts, source);
                }
                Err(error) => return Err(error.into()),
            }
        }
        source.progress(source.size_bytes(), "");
        Ok(())
    }

    /// Uploads what has not arrived yet, piece by piece.
    fn try_upload(
        &self,
        digest: Digest,
        source: &dyn Source,
        location: &mut Option<String>,
        arrived: &mut u64,
    ) -> Result<(), BlobError> {
        let at = match location {
            Some(at) => {
                let answer = self.run(&Method::GET, at, &HeaderMap::new(), ())?;
                *arrived = offset(&answer).unwrap_or_default();
                at.clone()
            }
            None => {
                let path = format!("{}uploads/", self.path);
                let answer = self.run(&Method::POST, &path, &HeaderMap::new(), "")?;
                *arrived = 0;
                let at = self.location(&answer)?;
                *location = Some(at.clone());
                at
            }
        };
        source.progress(*arrived, &at);
        while *arrived < source.size_bytes() {
            let length = PIECE_BYTES.min(source.size_bytes() - *arrived);
            let mut piece =
                Piece { open: source.open(*arrived).map_err(BlobError::Stopped)?.take(length), failed: None };
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_LENGTH, length.into());
            let range = format!("{}-{}", *arrived, *arrived + length - 1);
            if let Ok(range) = range.parse() {
                headers.insert(header::CONTENT_RANGE, range);
            }
            let sent = self.run(&Method::PATCH, &at, &headers, SendBody::from_reader(&mut piece));
            if let Some(error) = piece.failed {
                return Err(BlobError::Stopped(error));
            }
            *arrived = offset(&sent?).unwrap_or(*arrived + length);
            source.progress(*arrived, &at);
        }
        let separator = if at.contains('?') { '&' } else { '?' };
        self.run(&Method::PUT, &format!("{at}{separator}digest=sha256:{digest}"), &HeaderMap::new(), "")?;
        Ok(())
    }

    /// Returns where an upload continues: a path on this server, since the key is sent there.
    fn location(&self, answer: &Response<()>) -> Result<String, ClientError> {
        let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let path = location
            .and_then(|location| location.strip_prefix(self.client.base_url.as_str()).or(Some(location)));
        path.filter(|path| path.starts_with('/') && !path.starts_with("//")).map(str::to_owned).ok_or_else(
            || {
                let reason = "it does not say where an upload continues".to_owned();
                ClientError::NotARegistry { url: self.client.base_url.clone(), reason }
            },
        )
    }

    fn run(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: impl AsSendBody,
    ) -> Result<Response<()>, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.client.base_url))
            .header(header::CONTENT_TYPE, "application/octet-stream");
        let mut request =
            request.body(body).map_err(|error| ClientError::BadUrl(format!("can't be used: {error}")))?;
        request.headers_mut().extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        request.headers_mut().extend(self.client.key_header());
        let failed = |error| self.client.no_answer(error);
        let response = self.agent.run(request).map_err(failed)?;
        let (parts, body) = response.into_parts();
        let body = body.into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(failed)?;
        if parts.status.is_success() {
            return Ok(Response::from_parts(parts, ()));
        }
        if method == Method::HEAD && parts.status.as_u16() == 404 {
            return Err(ClientError::NotFound { detail: "there is no such blob".to_owned() });
        }
        let body = answer::oci_error(&body);
        match answer::interpret(&self.client.base_url, parts.status.as_u16(), &parts.headers, &body) {
            Ok(_) => Ok(Response::from_parts(parts, ())),
            Err(error) => Err(self.client.with_key_source(error)),
        }
    }
}

/// A part of a source, which remembers why it could not be read.
struct Piece<'s> {
    open: io::Take<Box<dyn Read + 's>>,
    failed: Option<io::Error>,
}

impl Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.open.read(buffer) {
            Ok(0) if self.open.limit() > 0 => {
                self.failed = Some(io::ErrorKind::UnexpectedEof.into());
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
            read => read,
        }
    }
}

/// Returns how many bytes of an upload have arrived.
fn offset(answer: &Response<()>) -> Option<u64> {
    answer.headers().get("upload-offset")?.to_str().ok()?.parse().ok()
}

/// Returns true if the same request may succeed soon. What arrived of a lost one is known afterwards.
fn is_passing(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Unavailable { .. }
            | ClientError::Unreachable { .. }
            | ClientError::AnswerLost { .. }
            | ClientError::ServerFailed { .. }
            | ClientError::Refused { status: 408 | 416 | 425, .. }
    )
}

fn retried<T>(call: impl Fn() -> Result<T, ClientError>) -> Result<T, ClientError> {
    let mut attempts = 0;
    loop {
        match call() {
            Err(error) if is_passing(&error) && attempts + 1 < MAX_ATTEMPTS => {
                attempts += 1;
                thread::sleep(RETRY_WAIT * 2_u32.pow(attempts - 1));
            }
            result => return result,
        }
    }
}

/// Waits before another attempt, unless the user stops the upload.
fn pause(attempts: u32, source: &dyn Source) {
    const STEP: Duration = Duration::from_millis(50);
    let wait = RETRY_WAIT * 2_u32.pow(attempts.saturating_sub(1));
    let steps = wait.as_millis() / STEP.as_millis();
    for _ in 0..steps {
        if source.is_stopped() {
            return;
        }
        thread::sleep(STEP);
    }
}
