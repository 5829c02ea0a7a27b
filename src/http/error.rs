//! The one table from what went wrong to the status and body a client sees.

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::json;

use crate::{domain::Refusal, registry::RegistryError};

use super::fault::Faults;

/// After how many seconds a refused client may try again.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub(super) enum ApiError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the request does not fit its schema")]
    Unfit(Faults),
    #[error("no API key is configured on this server; set CAIA_REGISTRY_API_KEY and start it again")]
    NoKeyConfigured,
    #[error("an API key is needed: send it as X-API-Key, or as Authorization: Bearer")]
    KeyMissing,
    #[error("this API key is not valid here")]
    KeyRefused,
    #[error("the body is larger than the {limit_bytes} bytes this server takes here")]
    BodyTooLarge { limit_bytes: usize },
    #[error("the body could not be read: {0}")]
    BodyBroken(String),
    #[error("there is nothing at this path")]
    UnknownPath,
    #[error("this path takes {0} only")]
    MethodNotAllowed(String),
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Registry(refusal.into())
    }
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
                | RegistryError::Unwritable(_) => StatusCode::SERVICE_UNAVAILABLE,
                RegistryError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoKeyConfigured => StatusCode::SERVICE_UNAVAILABLE,
            Self::KeyMissing | Self::KeyRefused => StatusCode::UNAUTHORIZED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyBroken(_) => StatusCode::BAD_REQUEST,
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
            // Without a key configured, trying again does not help.
            Self::Registry(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        match self {
            Self::Unfit(faults) => response.json(json!({ "detail": faults.to_detail() })),
            // The middleware that knows the request's id says more.
            _ if status == StatusCode::INTERNAL_SERVER_ERROR => response.finish(),
            _ => response.json(json!({ "detail": self.to_string() })),
        }
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
