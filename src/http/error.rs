//! The table from errors to the status and body of an answer.

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::json;

use crate::{actors::NotReady, artifact::blobs::BlobError, domain::Refusal, registry::RegistryError};

use super::{
    api::Api,
    fault::Fault,
    hub::HubError,
    json::policies::denial_json,
    mlflow::{self, MlflowCode},
    oci::{self, OciError},
    openapi::{Failure, Unfit},
    stream,
};

/// Seconds after which a refused client may try again.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub(super) enum ApiError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("not ready: {0}")]
    NotReady(#[from] NotReady),
    #[error("the request does not match its schema")]
    Unfit(Unfit),
    #[error("{}", summary(faults, *unlisted))]
    Invalid { faults: Vec<Fault>, unlisted: usize },
    #[error("no API key is configured on this server; set CAIA_REGISTRY_API_KEY and restart it")]
    NoKeyConfigured,
    #[error("an API key is required; send it as X-API-Key or as Authorization: Bearer")]
    KeyMissing,
    #[error("this API key is not valid; send one that this server knows")]
    KeyRefused,
    #[error("this API key expired at {0}; use another one")]
    KeyExpired(String),
    #[error("X-Actor contains a control character; send a plain name")]
    ActorRefused,
    #[error("too many wrong API keys came from this address; correct the key and try again in {seconds} s")]
    TooManyFailures { seconds: u64 },
    #[error(
        "{host:?} is not a name of this server; to allow it, start the server with --allowed-host {host} (or CAIA_REGISTRY_ALLOWED_HOSTS)"
    )]
    WrongHost { host: String },
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    #[error("the request's {part} did not come in time; send it faster, or send smaller requests")]
    TooSlow { part: &'static str },
    #[error("all connections of this server are in use; try again")]
    TooManyConnections,
    #[error(
        "half of the connections of this server follow events already, and the others are for requests; try again, or raise --max-connections (CAIA_REGISTRY_MAX_CONNECTIONS)"
    )]
    TooManyFollowers,
    #[error("this port speaks HTTPS; use https:// instead of http://")]
    PlainOnTls,
    #[error("the body is larger than {limit_bytes} bytes; send less, or raise {setting} on the server")]
    BodyTooLarge { limit_bytes: usize, setting: &'static str },
    #[error("the server holds as many large answers as it can; try again")]
    TooManyLargeAnswers,
    #[error("the body could not be read: {0}")]
    BodyBroken(String),
    #[error(transparent)]
    Oci(#[from] OciError),
    /// MLflow's code with its wording.
    #[error("{message}")]
    Mlflow { code: MlflowCode, message: String },
    #[error(transparent)]
    Hub(HubError),
    #[error("there is nothing at this path")]
    UnknownPath,
    #[error("this path supports only {0}")]
    MethodNotAllowed(String),
}

impl ApiError {
    /// Returns the reason of a failed authentication, as a label of its counter.
    pub(super) fn authentication_failure(&self) -> &'static str {
        match self {
            Self::KeyMissing => "missing",
            Self::NoKeyConfigured => "unconfigured",
            Self::TooManyFailures { .. } => "throttled",
            Self::ActorRefused => "actor",
            Self::KeyExpired(_) => "expired",
            _ => "wrong",
        }
    }
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
                    Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
                    Refusal::NotFound(_) => StatusCode::NOT_FOUND,
                    Refusal::Conflict(_)
                    | Refusal::Denied(_)
                    | Refusal::ModelExists(_)
                    | Refusal::LabelSpent(_)
                    | Refusal::ForceRequired { .. } => StatusCode::CONFLICT,
                    Refusal::PreconditionFailed(_) => StatusCode::PRECONDITION_FAILED,
                    Refusal::TooLarge(_)
                    | Refusal::EventTooLarge { .. }
                    | Refusal::MetricsTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                },
                RegistryError::Overloaded { .. }
                | RegistryError::Busy
                | RegistryError::Unavailable(_)
                | RegistryError::ShuttingDown
                | RegistryError::Unwritable(_)
                | RegistryError::DiskFailing(_)
                | RegistryError::InDoubt(_) => StatusCode::SERVICE_UNAVAILABLE,
                RegistryError::NoArtifactStore => StatusCode::NOT_FOUND,
                RegistryError::Blob(error) => match error {
                    BlobError::Missing { .. } | BlobError::UploadUnknown { .. } => StatusCode::NOT_FOUND,
                    BlobError::Damaged { .. } => StatusCode::INTERNAL_SERVER_ERROR,
                    BlobError::UploadTaken { .. } => StatusCode::CONFLICT,
                    BlobError::UploadOffset { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
                    BlobError::WrongDigest { .. } => StatusCode::BAD_REQUEST,
                    BlobError::Full => StatusCode::INSUFFICIENT_STORAGE,
                    BlobError::UploadBusy { .. }
                    | BlobError::Unusable { .. }
                    | BlobError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
                },
                RegistryError::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
                RegistryError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Unfit(_) | Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoKeyConfigured | Self::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::KeyMissing | Self::KeyRefused | Self::KeyExpired(_) => StatusCode::UNAUTHORIZED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ActorRefused | Self::BodyBroken(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooManyFailures { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::WrongHost { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyConnections | Self::TooManyFollowers | Self::TooManyLargeAnswers => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::PlainOnTls => StatusCode::BAD_REQUEST,
            Self::Oci(error) => error.status(),
            Self::Mlflow { code, .. } => code.status(),
            Self::Hub(error) => error.status(),
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        match self {
            Self::KeyMissing | Self::KeyRefused | Self::KeyExpired(_) => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            Self::MethodNotAllowed(allowed) => {
                response.insert_header((header::ALLOW, allowed.as_str()));
            }
            Self::Oci(OciError::Range { size_bytes }) => {
                response.insert_header((header::CONTENT_RANGE, format!("bytes */{size_bytes}")));
            }
            Self::Registry(RegistryError::Blob(BlobError::UploadOffset { offset_bytes, .. })) => {
                response.insert_header((header::RANGE, format!("0-{}", offset_bytes.saturating_sub(1))));
                response.insert_header(("upload-offset", *offset_bytes));
            }
            // Nothing more is read from this connection.
            Self::Malformed(_) | Self::TooSlow { .. } | Self::BodyBroken(_) => {
                response.force_close();
            }
            Self::TooManyFailures { seconds } => {
                response.insert_header((header::RETRY_AFTER, *seconds));
            }
            // A client should check before it repeats a write that may have been committed.
            Self::Registry(RegistryError::InDoubt(_)) => {}
            // If no key is configured, trying again does not help.
            Self::Registry(_)
            | Self::TooManyConnections
            | Self::TooManyFollowers
            | Self::TooManyLargeAnswers
                if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) =>
            {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        match self {
            // It shows what was sent, so it may be large.
            Self::Unfit(faults) => match stream::whole(serde_json::to_vec(faults).unwrap_or_default()) {
                Some(body) => response.insert_header(header::ContentType::json()).body(body),
                None => Self::TooManyLargeAnswers.error_response(),
            },
            // The middleware, which knows the request's id, writes the body.
            _ if status == StatusCode::INTERNAL_SERVER_ERROR => response.finish(),
            _ => response.json(Failure { detail: self.detail() }),
        }
    }
}

impl ApiError {
    /// Returns the message for the client: the domain's text, and a hint in terms of this API.
    pub(super) fn detail(&self) -> String {
        let hint = match self {
            Self::Registry(RegistryError::Refused(refusal)) => match refusal {
                Refusal::ForceRequired { .. } => "; send force=true to delete it anyway",
                Refusal::LabelSpent(_) => ", or send reuse_label=true",
                Refusal::EventTooLarge { .. } => ", or raise CAIA_REGISTRY_MAX_EVENT_PAYLOAD_BYTES",
                Refusal::MetricsTooLarge { .. } => ", or raise CAIA_REGISTRY_MAX_METRICS_BYTES",
                _ => "",
            },
            _ => "",
        };
        if let Self::Registry(RegistryError::Blob(BlobError::Unusable { source, .. })) = self {
            // The log has the path.
            return format!("the artifact store can't be used: {source}; the server's log has more");
        }
        format!("{self}{hint}")
    }

    /// Returns the message for a client that gets no id of the request in it. What failed in the server is only logged.
    pub(super) fn known_detail(&self) -> Option<String> {
        let is_bug = matches!(self, Self::Registry(RegistryError::Failed(_)));
        (!is_bug).then(|| self.detail())
    }

    /// Returns the body of the answer in `/v1`.
    pub(super) fn v1_body(&self) -> String {
        let code = match self {
            Self::Registry(RegistryError::InDoubt(_)) => "outcome_unknown",
            _ => code(self.status_code()),
        };
        let mut error = json!({ "code": code, "message": self.detail() });
        if let Self::Registry(RegistryError::Refused(Refusal::Denied(denial))) = self {
            error["policies"] = denial_json(denial);
        }
        if let Self::Invalid { faults, .. } = self {
            let fields = faults.iter().map(Fault::described);
            error["fields"] =
                fields.map(|(path, message)| json!({ "path": path, "message": message })).collect();
        }
        json!({ "error": error }).to_string()
    }

    /// Returns the whole answer as bytes, for a connection that is closed after it without actix.
    pub(super) fn to_bytes(&self, request_id: &str) -> Vec<u8> {
        let status = self.status_code();
        let answer = self.error_response();
        let body = json!({ "detail": self.detail() }).to_string();
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

/// Returns one sentence for all faults of a request, some of which may not be listed.
fn summary(faults: &[Fault], unlisted: usize) -> String {
    match (faults.first().map(Fault::described), faults.len() + unlisted) {
        (Some((path, message)), 1) => format!("{path}: {message}"),
        (_, count) => format!("the request has {count} invalid values; see fields"),
    }
}

/// Returns the code of an error in `/v1`.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        StatusCode::CONFLICT => "conflict",
        StatusCode::PRECONDITION_FAILED => "precondition_failed",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::MISDIRECTED_REQUEST => "misdirected",
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        StatusCode::INSUFFICIENT_STORAGE => "full",
        status if status.is_server_error() => "internal",
        _ => "invalid",
    }
}

/// Returns the body for an error that has none, in the common form of errors. The details of a server error are only
/// logged.
pub(super) fn plain_body(status: StatusCode, error: Option<String>, request_id: &str, api: Api) -> String {
    let detail = if status == StatusCode::INTERNAL_SERVER_ERROR {
        format!("the server failed; its log has the details of request {request_id}")
    } else {
        let reason = status.canonical_reason().unwrap_or("the request was refused");
        error.filter(|error| !error.is_empty()).unwrap_or_else(|| reason.to_owned())
    };
    match api {
        Api::Native => json!({ "detail": detail }),
        Api::V1 => json!({ "error": { "code": code(status), "message": detail } }),
        Api::Mlflow => mlflow::plain_failure(status, &detail),
        Api::Hub => json!({ "error": detail }),
        Api::Oci => return oci::error_body(status, None, &detail),
    }
    .to_string()
}
