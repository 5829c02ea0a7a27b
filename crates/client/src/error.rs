//! Why a call failed, in words for the person who made it.

use std::time::Duration;

/// Why a call brought no answer, or not the one that was hoped for. Each text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the texts name")]
pub enum ClientError {
    /// The address can't be one of a registry.
    #[error("the registry's URL {0}; --registry-url takes one like http://localhost:8001")]
    BadUrl(String),
    /// The key can't be sent.
    #[error("the API key can't be sent: {0}; check --api-key or the variable it comes from")]
    BadKey(&'static str),
    /// No connection came about, so nothing was executed. `refused`: the host answered that no server listens.
    #[error("no registry at {url}: {reason}; is `registry serve` running there? --registry-url says where")]
    Unreachable { url: String, reason: String, refused: bool },
    /// The request may have gone out and no whole answer came back: nobody knows whether it was executed.
    #[error(
        "{url} did not answer: {reason}; what was asked may have been done, so look before you try again"
    )]
    AnswerLost { url: String, reason: String, timed_out: bool },
    /// 401.
    #[error("{url} refused the API key{}", where_to_mend(.found_in))]
    KeyRefused { url: String, found_in: Option<String> },
    /// 404: the registry has no such thing.
    #[error("{detail}")]
    NotFound { detail: String },
    /// 409 or 412: what was asked does not fit what the registry holds.
    #[error("conflict: {detail}")]
    Conflict { detail: String },
    /// Any other 4xx. The faults of a 422 stand in `detail` one after another.
    #[error("the registry refused this ({status}): {detail}")]
    Refused { status: u16, detail: String },
    /// 503, 507 or 429: nothing was executed, or its answer says that this is in doubt.
    #[error("the registry at {url} is unavailable: {detail}; try again later")]
    Unavailable { url: String, detail: String, retry_after: Option<Duration> },
    /// Any other 5xx.
    #[error("the registry at {url} failed ({status}): {detail}; its log tells more{}", of_request(.request_id))]
    ServerFailed { url: String, status: u16, detail: String, request_id: Option<String> },
    /// Something answers there, but not as a registry does.
    #[error("{url} does not answer like a registry: {reason}; --registry-url says where the registry is")]
    NotARegistry { url: String, reason: String },
}

fn where_to_mend(found_in: &Option<String>) -> String {
    match found_in {
        Some(place) => format!(" from {place}; give the right one there, or with --api-key"),
        None => "; give the right one with --api-key or in CAIA_REGISTRY_API_KEY".to_owned(),
    }
}

fn of_request(id: &Option<String>) -> String {
    id.as_ref().map(|id| format!(" of request {id}")).unwrap_or_default()
}
