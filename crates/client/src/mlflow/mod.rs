//! Reads the registry of a running MLflow server over its REST API: models, versions and their files.
//!
//! It only reads. `credentials.rs` has the URL and the credentials, `rows.rs` what the answers hold, `files.rs` the files.

mod credentials;
mod error;
mod files;
mod rows;

pub use credentials::MlflowCredentials;
pub use error::MlflowError;
pub use files::{MlflowFile, MlflowFolder, MlflowRun, joined};
pub use rows::{MlflowModel, MlflowVersion, PROMPT_TAG};

use std::{thread, time::Duration};

use serde_json::Value;
use ureq::{
    Agent,
    http::{HeaderMap, HeaderValue, header},
};

use self::credentials::split_url;
use crate::{
    base_url::is_loopback,
    calls::with_query,
    transport::{self, NoAnswer},
};

/// How long a call may take. A search of MLflow's own server reads all rows before a page.
const CALL_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a server may be silent in a transfer. It may fetch a large file itself before it sends one.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(300);
/// Retries of a call, which only reads.
const MAX_RETRIES: u32 = 3;
/// The wait before the first retry; doubled each time.
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// The longest wait that a `Retry-After` can ask for.
const MAX_RETRY_WAIT: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 256 * 1024 * 1024;
/// Rows on a page, as many as MLflow allows for models.
const PAGE_ROWS: &str = "1000";
/// Prompts on a page: each may have a text of 100,000 characters.
const PROMPT_PAGE_ROWS: &str = "200";
const API: &str = "/api/2.0/mlflow";

/// What a search finds. MLflow hides prompts from every search that does not ask for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlflowKind {
    /// Models, or versions of models.
    Models,
    /// Prompts, or versions of prompts.
    Prompts,
}

/// A page of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct MlflowPage<T> {
    /// The rows on this page.
    pub rows: Vec<T>,
    /// The token of the next page; absent on the last one.
    pub next: Option<String>,
}

/// Why a request failed once. If a retry may help, with the wait before it, if the server asks for one.
type Failed = (MlflowError, Option<Option<Duration>>);

/// An MLflow server.
#[derive(Debug, Clone)]
pub struct MlflowServer {
    /// Without user, password and trailing slash.
    base_url: String,
    authorization: Option<HeaderValue>,
    agent: Agent,
    /// For files.
    transfers: Agent,
    is_local: bool,
}

impl MlflowServer {
    /// Creates a client of the server at `url`, which may contain user and password; they win over `credentials`. Nothing is
    /// sent yet.
    ///
    /// # Errors
    /// [`MlflowError::BadUrl`], and [`MlflowError::BadCredentials`] if no header can carry them.
    pub fn new(url: &str, credentials: Option<MlflowCredentials>) -> Result<Self, MlflowError> {
        let (url, in_url) = split_url(url)?;
        let authorization = in_url.or(credentials).map(|credentials| credentials.header()).transpose()?;
        let base_url = url.as_str().trim_end_matches('/').to_owned();
        let agent = transport::agent(&url, CALL_TIMEOUT);
        let transfers = transport::silence_agent(Some(&url), SILENCE_TIMEOUT);
        let is_local = is_loopback(&url);
        Ok(Self { base_url, authorization, agent, transfers, is_local })
    }

    /// Returns the URL without user and password.
    pub fn url(&self) -> &str {
        &self.base_url
    }

    /// Returns true if the URL names this machine.
    #[must_use]
    pub fn is_on_this_machine(&self) -> bool {
        self.is_local
    }

    /// Returns a page of models or prompts, by name.
    pub fn models(
        &self,
        kind: MlflowKind,
        token: Option<&str>,
    ) -> Result<MlflowPage<MlflowModel>, MlflowError> {
        let order = [("order_by", "name ASC")];
        let found = self.search("registered-models/search", kind, &order, token)?;
        self.page(found, "registered_models", MlflowModel::read)
    }

    /// Returns a page of the versions of all models or prompts, by name and number.
    pub fn versions(
        &self,
        kind: MlflowKind,
        token: Option<&str>,
    ) -> Result<MlflowPage<MlflowVersion>, MlflowError> {
        let order = [("order_by", "name ASC"), ("order_by", "version_number ASC")];
        let found = self.search("model-versions/search", kind, &order, token)?;
        self.page(found, "model_versions", MlflowVersion::read)
    }

    /// Returns where the files of a version are.
    pub fn download_uri(&self, name: &str, number: i64) -> Result<String, MlflowError> {
        let query = [("name", name), ("version", &number.to_string())];
        let body = self.get(&with_query(&format!("{API}/model-versions/get-download-uri"), &query))?;
        let uri = body.get("artifact_uri").and_then(Value::as_str).map(str::to_owned);
        uri.ok_or_else(|| self.not_mlflow("its answer contains no artifact_uri"))
    }

    fn search(
        &self,
        call: &str,
        kind: MlflowKind,
        order: &[(&str, &str)],
        token: Option<&str>,
    ) -> Result<Value, MlflowError> {
        let prompts = ("filter", "tags.`mlflow.prompt.is_prompt` = 'true'");
        let mut query = match kind {
            MlflowKind::Models => vec![("max_results", PAGE_ROWS)],
            MlflowKind::Prompts => vec![("max_results", PROMPT_PAGE_ROWS), prompts],
        };
        query.extend_from_slice(order);
        query.extend(token.map(|token| ("page_token", token)));
        self.get(&with_query(&format!("{API}/{call}"), &query))
    }

    fn page<T>(
        &self,
        body: Value,
        rows: &str,
        read: fn(&Value) -> Option<T>,
    ) -> Result<MlflowPage<T>, MlflowError> {
        let next = body.get("next_page_token").and_then(Value::as_str).filter(|token| !token.is_empty());
        let rows = match body.get(rows) {
            // MLflow leaves out empty lists.
            None => Some(Vec::new()),
            Some(rows) => rows.as_array().and_then(|rows| rows.iter().map(read).collect()),
        };
        let rows = rows.ok_or_else(|| self.not_mlflow("a row of its answer has no name or no number"))?;
        Ok(MlflowPage { rows, next: next.map(str::to_owned) })
    }

    /// Sends a request, with retries, and returns the JSON object of a successful answer.
    fn get(&self, path: &str) -> Result<Value, MlflowError> {
        self.retried(|| self.get_once(path))
    }

    /// Repeats what fails, if that may help.
    fn retried<T>(&self, run: impl Fn() -> Result<T, Failed>) -> Result<T, MlflowError> {
        let mut retries = 0;
        loop {
            let (error, wait) = match run() {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            match wait {
                Some(wait) if retries < MAX_RETRIES => {
                    thread::sleep(wait.unwrap_or(RETRY_WAIT * 2_u32.pow(retries)));
                }
                _ => return Err(error),
            }
            retries += 1;
        }
    }

    fn get_once(&self, path: &str) -> Result<Value, Failed> {
        let mut request = self.agent.get(format!("{}{path}", self.base_url));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let mut answer = request.call().map_err(|error| self.no_answer(error))?;
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(|error| self.no_answer(error))?;
        let status = answer.status().as_u16();
        if status == 200 {
            return object(&body).ok_or_else(|| (self.not_mlflow("its answer is no JSON object"), None));
        }
        Err(self.failed(status, answer.headers(), &body))
    }

    fn failed(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Failed {
        let error = self.refused(status, headers, object(body).as_ref());
        let wait = matches!(error, MlflowError::Unavailable { .. }).then(|| retry_after(headers));
        (error, wait)
    }

    fn no_answer(&self, error: ureq::Error) -> Failed {
        let url = self.base_url.clone();
        match NoAnswer::of(error, url.starts_with("https"), CALL_TIMEOUT) {
            NoAnswer::Unreachable { reason, refused } => {
                (MlflowError::Unreachable { url, reason }, refused.then_some(None))
            }
            NoAnswer::Lost { reason, timed_out } => {
                (MlflowError::AnswerLost { url, reason }, (!timed_out).then_some(None))
            }
            NoAnswer::NotHttp { reason } => (MlflowError::NotMlflow { url, reason }, None),
        }
    }

    fn refused(&self, status: u16, headers: &HeaderMap, json: Option<&Value>) -> MlflowError {
        let url = self.base_url.clone();
        let said = json.and_then(|json| json.get("message")).and_then(Value::as_str);
        let detail = said.map_or_else(|| "it gave no reason".to_owned(), truncated);
        match status {
            401 | 403 => MlflowError::KeyRefused { url, status, with_key: self.authorization.is_some() },
            429 | 500..=599 => MlflowError::Unavailable { url, status, detail },
            300..=399 => {
                let to = headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
                self.not_mlflow(&format!("it redirects ({status}) to {}", truncated(to)))
            }
            _ if said.is_none() => self.not_mlflow(&format!("it has no such path ({status})")),
            _ => MlflowError::Refused { url, status, detail },
        }
    }

    fn not_mlflow(&self, reason: &str) -> MlflowError {
        MlflowError::NotMlflow { url: self.base_url.clone(), reason: reason.to_owned() }
    }
}

fn object(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().filter(Value::is_object)
}

/// Returns the seconds of `Retry-After`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_WAIT))
}

/// Returns a text of the server, cut to what a message can hold.
fn truncated(text: &str) -> String {
    const MAX_CHARS: usize = 500;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
