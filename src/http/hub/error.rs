//! Errors as clients of the Hugging Face Hub read them: a code and a message in headers, and the message in the body too.

use actix_web::{
    body::BoxBody,
    dev::ServiceResponse,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderName, HeaderValue},
    },
};
use serde_json::json;

use crate::domain::hub::Missing;

use super::super::error::ApiError;

const CODE: HeaderName = HeaderName::from_static("x-error-code");
const MESSAGE: HeaderName = HeaderName::from_static("x-error-message");
pub(super) const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
/// The message by which clients tell a wrong key from a model that they may not see.
const WRONG_KEY: &str = "Invalid credentials in Authorization header";

/// Why a request of this API was refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub(in crate::http) enum HubError {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("this server has only models; leave out repo_type")]
    OnlyModels,
    #[error(
        "{0:?} can't be pulled through this API, because the paths of its files belong to another API; rename the model"
    )]
    ReservedName(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("this API only reads; register versions with `registry publish`")]
    ReadOnly,
}

impl HubError {
    pub(in crate::http) fn status(&self) -> StatusCode {
        match self {
            Self::Missing(_) | Self::OnlyModels | Self::ReservedName(_) => StatusCode::NOT_FOUND,
            Self::Unsupported(_) => StatusCode::BAD_REQUEST,
            Self::ReadOnly => StatusCode::FORBIDDEN,
        }
    }

    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Missing(Missing::Model(_)) | Self::OnlyModels | Self::ReservedName(_) => {
                Some("RepoNotFound")
            }
            Self::Missing(Missing::Revision(_)) => Some("RevisionNotFound"),
            Self::Missing(Missing::Entry { .. }) => Some("EntryNotFound"),
            Self::Unsupported(_) | Self::ReadOnly => None,
        }
    }
}

impl From<HubError> for ApiError {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<Missing> for ApiError {
    fn from(missing: Missing) -> Self {
        HubError::from(missing).into()
    }
}

/// Gives the answer to a failed request the form of this API. `detail` is what its client may know.
pub(in crate::http) fn fail(response: ServiceResponse<BoxBody>, detail: &str) -> ServiceResponse<BoxBody> {
    let error = response.response().error().and_then(|error| error.as_error::<ApiError>());
    let (code, message) = match error {
        Some(ApiError::Hub(error)) => (error.code(), detail),
        Some(ApiError::KeyMissing | ApiError::NoKeyConfigured) => (Some("GatedRepo"), detail),
        Some(ApiError::KeyRefused | ApiError::KeyExpired(_)) => (None, WRONG_KEY),
        _ => (None, detail),
    };
    let commit = match error {
        Some(ApiError::Hub(HubError::Missing(Missing::Entry { revision, .. }))) => revision.as_deref(),
        _ => None,
    };
    let headers = [(CODE, code), (MESSAGE, Some(message)), (COMMIT, commit)];
    let headers: Vec<_> =
        headers.into_iter().filter_map(|(name, text)| Some((name, header_value(text?)))).collect();
    // Clients send a request again after 503.
    let is_unconfigured = matches!(error, Some(ApiError::NoKeyConfigured));
    let mut response = response.map_body(|_, _| BoxBody::new(json!({ "error": detail }).to_string()));
    if is_unconfigured {
        *response.response_mut().status_mut() = StatusCode::UNAUTHORIZED;
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Returns a text as a header can have it.
fn header_value(text: &str) -> HeaderValue {
    let plain: String = text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    HeaderValue::try_from(plain).unwrap_or_else(|_| HeaderValue::from_static(""))
}
