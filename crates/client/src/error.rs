//! Why a call failed, with a text for the user.

use std::time::Duration;

/// Why a call failed. Each text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the fields")]
pub enum ClientError {
    /// The text is not the URL of a registry.
    #[error("the registry's URL {0}; set one like http://localhost:8001 with --registry-url")]
    BadUrl(String),
    /// A header can't carry the key.
    #[error("the API key can't be sent: {0}; check --api-key or the variable it comes from")]
    BadKey(&'static str),
    /// There was no connection, so nothing was executed. `refused`: no server listens there.
    #[error(
        "no registry at {url}: {reason}; is `registry serve` running there? set the URL with --registry-url"
    )]
    Unreachable { url: String, reason: String, refused: bool },
    /// The request may have been sent, but there was no complete answer, so it may have been executed.
    #[error(
        "{url} did not answer: {reason}; the request may have been executed, so check before you try again"
    )]
    AnswerLost { url: String, reason: String, timed_out: bool },
    /// 401.
    #[error("{url} refused the API key{}", key_advice(.key_source))]
    KeyRefused { url: String, key_source: Option<String> },
    /// 404: the version or suite does not exist.
    #[error("{detail}")]
    NotFound { detail: String },
    /// 409 or 412: the request contradicts what the registry holds.
    #[error("conflict: {detail}")]
    Conflict { detail: String },
    /// Any other 4xx; `detail` lists the faults of a 422.
    #[error("the registry refused this ({status}): {detail}")]
    Refused { status: u16, detail: String },
    /// 503, 507 or 429: nothing was executed, or the detail says that this is unknown.
    #[error("the registry at {url} is unavailable: {}; try again later", .detail.trim_end_matches("; try again"))]
    Unavailable { url: String, detail: String, retry_after: Option<Duration> },
    /// Any other 5xx.
    #[error("the registry at {url} failed ({status}): {detail}; see its log{}", of_request(.request_id))]
    ServerFailed { url: String, status: u16, detail: String, request_id: Option<String> },
    /// 503: the change may have been executed, because the registry lost its database while it committed.
    #[error(
        "the registry at {url} can't tell if this was executed: {detail}; check before you try again{}",
        of_log(.request_id)
    )]
    OutcomeUnknown { url: String, detail: String, request_id: Option<String> },
    /// The registry has no `/v1`. `instead` says what works there.
    #[error("the registry at {url} is too old for this: it has no /v1 API; update the server{}", or_else(.instead))]
    TooOld { url: String, instead: &'static str },
    /// 404 for a path without a route, so the URL is wrong.
    #[error(
        "{url} does not answer like a registry: it has no such path (404); set the registry's URL with --registry-url"
    )]
    NoSuchPath { url: String },
    /// The server there is not a registry.
    #[error("{url} does not answer like a registry: {reason}; set the registry's URL with --registry-url")]
    NotARegistry { url: String, reason: String },
}

fn key_advice(source: &Option<String>) -> String {
    match source {
        Some(source) => format!(" from {source}; correct it there, or give another with --api-key"),
        None => "; give the right one with --api-key or in CAIA_REGISTRY_API_KEY".to_owned(),
    }
}

fn of_request(id: &Option<String>) -> String {
    id.as_ref().map(|id| format!(" for request {id}")).unwrap_or_default()
}

fn of_log(request_id: &Option<String>) -> String {
    request_id.as_ref().map(|id| format!("; the server's log names request {id}")).unwrap_or_default()
}

fn or_else(instead: &str) -> String {
    if instead.is_empty() { String::new() } else { format!(", or {instead}") }
}
