//! The one table from what went wrong to the status and body a client sees.

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;
use serde_json::json;

use crate::{actors::NotReady, domain::Refusal, registry::RegistryError};

use super::{connection::Malformed, fault::Faults};

/// After how many seconds a refused client may try again.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub(super) enum ApiError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("not ready: {0}")]
    NotReady(#[from] NotReady),
    #[error("the request does not fit its schema")]
    Unfit(Faults),
    #[error("no API key is configured on this server; set CAIA_REGISTRY_API_KEY and start it again")]
    NoKeyConfigured,
    #[error("an API key is needed: send it as X-API-Key, or as Authorization: Bearer")]
    KeyMissing,
    #[error("this API key is not valid here")]
    KeyRefused,
    #[error("X-Actor holds a control character; send a plain name")]
    ActorRefused,
    #[error(
        "too many wrong API keys have come from this address; the next is judged in {seconds} s, so correct the key first"
    )]
    TooManyFailures { seconds: u64 },
    #[error(
        "this server is not called {host:?}; if it is meant to be, start it with --allowed-host {host} (or CAIA_REGISTRY_ALLOWED_HOSTS)"
    )]
    WrongHost { host: String },
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the request's {part} did not come in time; send it faster, or in smaller requests")]
    TooSlow { part: &'static str },
    #[error("all connections this server has are in use; try again")]
    TooManyConnections,
    #[error("this port speaks HTTPS; use https:// in place of http://")]
    PlainOnTls,
    #[error("the body is larger than {limit_bytes} bytes; send less, or raise {setting} on the server")]
    BodyTooLarge { limit_bytes: usize, setting: &'static str },
    #[error("the server holds as many large answers as it can; try again")]
    TooManyLargeAnswers,
    #[error("the body could not be read: {0}")]
    BodyBroken(String),
    #[error("there is nothing at this path")]
    UnknownPath,
    #[error("this path takes {0} only")]
    MethodNotAllowed(String),
}

impl ApiError {
    /// What was wrong with a key, as it is counted.
    pub(super) fn authentication_failure(&self) -> &'static str {
        match self {
            Self::KeyMissing => "missing",
            Self::NoKeyConfigured => "unconfigured",
            Self::TooManyFailures { .. } => "not judged",
            Self::ActorRefused => "actor",
            _ => "wrong",
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Registry(refusal.into())
    }
}

/// The body of a 422 answer, written without a copy of what it shows of the request.
#[derive(Serialize)]
struct Unfit<'f> {
    detail: &'f Faults,
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Registry(error) => match error {
                RegistryError::Refused(refusal) => match refusal {
                    Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
                    Refusal::NotFound(_) => StatusCode::NOT_FOUND,
                    Refusal::Conflict(_) => StatusCode::CONFLICT,
                    Refusal::PreconditionFailed(_) => StatusCode::PRECONDITION_FAILED,
                    Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                },
                RegistryError::Overloaded { .. }
                | RegistryError::Busy
                | RegistryError::ShuttingDown
                | RegistryError::Unwritable(_)
                | RegistryError::DiskFailing(_)
                | RegistryError::InDoubt(_) => StatusCode::SERVICE_UNAVAILABLE,
                RegistryError::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
                RegistryError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoKeyConfigured | Self::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::KeyMissing | Self::KeyRefused => StatusCode::UNAUTHORIZED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ActorRefused | Self::BodyBroken(_) => StatusCode::BAD_REQUEST,
            Self::TooManyFailures { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::WrongHost { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Malformed(malformed) => match malformed {
                Malformed::HeadTooLarge | Malformed::TooManyFields => {
                    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
                }
                Malformed::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                _ => StatusCode::BAD_REQUEST,
            },
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyConnections | Self::TooManyLargeAnswers => StatusCode::SERVICE_UNAVAILABLE,
            Self::PlainOnTls => StatusCode::BAD_REQUEST,
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        match self {
            Self::KeyMissing | Self::KeyRefused => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            Self::MethodNotAllowed(allowed) => {
                response.insert_header((header::ALLOW, allowed.as_str()));
            }
            // Nothing more is read of this connection.
            Self::Malformed(_) | Self::TooSlow { .. } | Self::BodyBroken(_) => {
                response.force_close();
            }
            Self::TooManyFailures { seconds } => {
                response.insert_header((header::RETRY_AFTER, *seconds));
            }
            // Who can't know what became of a write should look first.
            Self::Registry(RegistryError::InDoubt(_)) => {}
            // Without a key configured, trying again does not help.
            Self::Registry(_) | Self::TooManyConnections | Self::TooManyLargeAnswers
                if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) =>
            {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        match self {
            Self::Unfit(detail) => response.json(Unfit { detail }),
            // The middleware that knows the request's id says more.
            _ if status == StatusCode::INTERNAL_SERVER_ERROR => response.finish(),
            _ => response.json(json!({ "detail": self.to_string() })),
        }
    }
}

impl ApiError {
    /// The whole answer as it goes over a connection that ends with it, where HTTP's library has no part in it any more.
    pub(super) fn to_bytes(&self, request_id: &str) -> Vec<u8> {
        let status = self.status_code();
        let answer = self.error_response();
        let body = json!({ "detail": self.to_string() }).to_string();
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\ncontent-length: {}\r\nconnection: close\r\nx-request-id: {request_id}\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
        )
        .into_bytes();
        for (name, value) in answer.headers() {
            bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body.as_bytes());
        bytes
    }
}

/// The body of an error that has none of its own, in the form all errors have. What is said of a fault
/// of ours is for the log.
pub(super) fn plain_detail(status: StatusCode, error: Option<String>, request_id: &str) -> String {
    let detail = if status == StatusCode::INTERNAL_SERVER_ERROR {
        format!("the server failed; its log says more about request {request_id}")
    } else {
        let reason = status.canonical_reason().unwrap_or("the request was refused");
        error.filter(|error| !error.is_empty()).unwrap_or_else(|| reason.to_owned())
    };
    json!({ "detail": detail }).to_string()
}
