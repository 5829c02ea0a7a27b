//! Errors in the form of MLflow: its codes, its statuses and, for what its clients look at, its wording.
//!
//! Its client sends a request again for minutes after 408, 429, 500, 502, 503 and 504. So none of these answers a request that is
//! at fault.

use actix_web::{
    ResponseError as _,
    http::{StatusCode, header::HeaderValue},
};
use serde_json::{Value, json};

use crate::{
    artifact::blobs::BlobError,
    domain::Refusal,
    registry::{self, RegistryError},
};

use super::super::error::ApiError;

/// An error code that MLflow's client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum MlflowCode {
    BadRequest,
    EndpointNotFound,
    InternalError,
    InvalidParameterValue,
    PermissionDenied,
    RequestLimitExceeded,
    ResourceAlreadyExists,
    ResourceConflict,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
    Unauthenticated,
}

impl MlflowCode {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::EndpointNotFound => "ENDPOINT_NOT_FOUND",
            Self::InternalError => "INTERNAL_ERROR",
            Self::InvalidParameterValue => "INVALID_PARAMETER_VALUE",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::RequestLimitExceeded => "REQUEST_LIMIT_EXCEEDED",
            Self::ResourceAlreadyExists => "RESOURCE_ALREADY_EXISTS",
            Self::ResourceConflict => "RESOURCE_CONFLICT",
            Self::ResourceDoesNotExist => "RESOURCE_DOES_NOT_EXIST",
            Self::TemporarilyUnavailable => "TEMPORARILY_UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    pub(in crate::http) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::InvalidParameterValue | Self::ResourceAlreadyExists => {
                StatusCode::BAD_REQUEST
            }
            Self::EndpointNotFound | Self::ResourceDoesNotExist => StatusCode::NOT_FOUND,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::RequestLimitExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::ResourceConflict => StatusCode::CONFLICT,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }

    /// Returns the code for a status that has no code of its own.
    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND => Self::EndpointNotFound,
            StatusCode::CONFLICT => Self::ResourceConflict,
            StatusCode::TOO_MANY_REQUESTS => Self::RequestLimitExceeded,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => {
                Self::TemporarilyUnavailable
            }
            status if status.is_server_error() => Self::InternalError,
            _ => Self::BadRequest,
        }
    }
}

/// Returns the status and the body of the answer to a failed request.
pub(in crate::http) fn failure(error: &ApiError, request_id: &HeaderValue) -> (StatusCode, String) {
    let of = |code: MlflowCode| (code, code.status());
    let (code, status) = match error {
        ApiError::Mlflow { code, .. } => of(*code),
        ApiError::Registry(RegistryError::Refused(refusal)) => of(match refusal {
            Refusal::Invalid(_)
            | Refusal::TooLarge(_)
            | Refusal::EventTooLarge { .. }
            | Refusal::MetricsTooLarge { .. } => MlflowCode::InvalidParameterValue,
            Refusal::Forbidden(_) => MlflowCode::PermissionDenied,
            Refusal::NotFound(_) => MlflowCode::ResourceDoesNotExist,
            Refusal::ModelExists(_) => MlflowCode::ResourceAlreadyExists,
            Refusal::Conflict(_)
            | Refusal::Denied(_)
            | Refusal::LabelSpent(_)
            | Refusal::ForceRequired { .. }
            | Refusal::PreconditionFailed(_) => MlflowCode::ResourceConflict,
        }),
        // What is damaged stays so, however often the client asks.
        ApiError::Registry(
            RegistryError::NoArtifactStore
            | RegistryError::Blob(BlobError::Missing { .. } | BlobError::Damaged { .. }),
        ) => of(MlflowCode::ResourceDoesNotExist),
        // Not 503, after which the client would send the request again.
        ApiError::NoKeyConfigured => of(MlflowCode::Unauthenticated),
        ApiError::BodyTooLarge { .. } => (MlflowCode::InvalidParameterValue, StatusCode::PAYLOAD_TOO_LARGE),
        error => (MlflowCode::of_status(error.status_code()), error.status_code()),
    };
    let message = match error {
        _ if status == StatusCode::INTERNAL_SERVER_ERROR => format!(
            "the server failed; its log has the details of request {}",
            request_id.to_str().unwrap_or_default()
        ),
        ApiError::Registry(RegistryError::Refused(Refusal::ForceRequired { state: "in production", .. })) => {
            "a version in production is not deleted through this API; move it to another stage first, or start the \
             server with --protect-production=0 (CAIA_REGISTRY_PROTECT_PRODUCTION)"
                .to_owned()
        }
        // The settings of its client, which sends no X-API-Key.
        ApiError::KeyMissing => {
            "an API key is required; set MLFLOW_TRACKING_TOKEN to it, or MLFLOW_TRACKING_PASSWORD and any \
             MLFLOW_TRACKING_USERNAME"
                .to_owned()
        }
        ApiError::KeyRefused => {
            "this API key is not valid; set MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_PASSWORD to one that this server \
             knows"
                .to_owned()
        }
        error => error.to_string(),
    };
    (status, body(code, &message).to_string())
}

/// Returns the body for an error that is no [`ApiError`].
pub(in crate::http) fn plain_failure(status: StatusCode, message: &str) -> Value {
    body(MlflowCode::of_status(status), message)
}

fn body(code: MlflowCode, message: &str) -> Value {
    json!({ "error_code": code.as_str(), "message": message })
}

/// Returns an error with a code and a message of MLflow.
pub(super) fn refused(code: MlflowCode, message: impl Into<String>) -> ApiError {
    ApiError::Mlflow { code, message: message.into() }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    refused(MlflowCode::InvalidParameterValue, message)
}

/// Says what was not found in MLflow's words.
pub(super) trait OrMissing<T> {
    fn or_no_model(self, name: &str) -> Result<T, ApiError>;
    fn or_no_version(self, name: &str, number: i64) -> Result<T, ApiError>;
}

impl<T> OrMissing<T> for registry::Result<T> {
    fn or_no_model(self, name: &str) -> Result<T, ApiError> {
        self.map_err(|error| worded(error, || format!("Registered Model with name={name} not found")))
    }

    fn or_no_version(self, name: &str, number: i64) -> Result<T, ApiError> {
        self.map_err(|error| {
            worded(error, || format!("Model Version (name={name}, version={number}) not found"))
        })
    }
}

fn worded(error: RegistryError, message: impl Fn() -> String) -> ApiError {
    match error {
        RegistryError::Refused(Refusal::NotFound(_)) => refused(MlflowCode::ResourceDoesNotExist, message()),
        error => error.into(),
    }
}
