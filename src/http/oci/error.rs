//! Errors in the form of the specification: `{"errors": [{"code": …, "message": …}]}`.

use actix_web::http::StatusCode;
use serde_json::json;

use crate::{artifact::blobs::BlobError, registry::RegistryError};

use super::super::error::ApiError;

/// Why a request of this API was refused by its form.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum OciError {
    #[error("{0:?} is not a name; expected one like org/model")]
    Name(String),
    #[error(
        "{0:?} is not a digest; expected sha256: and 64 lower-case hex digits, as no other algorithm is supported"
    )]
    Digest(String),
    #[error("the parameter digest is missing; give the digest of the whole blob, like digest=sha256:…")]
    NoDigest,
    #[error("Content-Range {0:?} is not a range; expected FIRST-LAST, like 0-1048575")]
    ContentRange(String),
    #[error(
        "Content-Range covers {range_bytes} bytes and the body has {body_bytes}; send exactly that range"
    )]
    ContentLength { range_bytes: u64, body_bytes: u64 },
    #[error(
        "the range begins beyond the end of the blob, which has {size_bytes} bytes; request one inside it"
    )]
    Range { size_bytes: u64 },
    #[error(
        "blobs can't be deleted by clients; `registry maintenance --collect-garbage` removes those that no version has"
    )]
    Delete,
}

impl OciError {
    pub(in crate::http) fn status(&self) -> StatusCode {
        match self {
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Delete => StatusCode::METHOD_NOT_ALLOWED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "NAME_INVALID",
            Self::Digest(_) | Self::NoDigest => "DIGEST_INVALID",
            Self::ContentRange(_) => "BLOB_UPLOAD_INVALID",
            Self::ContentLength { .. } => "SIZE_INVALID",
            Self::Range { .. } => "BLOB_UNKNOWN",
            Self::Delete => "UNSUPPORTED",
        }
    }
}

/// Returns the body of an error. `detail` is what its client may know.
pub(in crate::http) fn error_body(status: StatusCode, error: Option<&ApiError>, detail: &str) -> String {
    json!({ "errors": [{ "code": code(status, error), "message": detail, "detail": null }] }).to_string()
}

fn code(status: StatusCode, error: Option<&ApiError>) -> &'static str {
    match error {
        Some(ApiError::Oci(error)) => return error.code(),
        Some(ApiError::Registry(RegistryError::Blob(error))) => {
            return match error {
                BlobError::Missing { .. } | BlobError::Damaged { .. } => "BLOB_UNKNOWN",
                BlobError::UploadUnknown { .. } => "BLOB_UPLOAD_UNKNOWN",
                BlobError::UploadOffset { .. } | BlobError::UploadTaken { .. } => "BLOB_UPLOAD_INVALID",
                BlobError::WrongDigest { .. } => "DIGEST_INVALID",
                _ => "UNAVAILABLE",
            };
        }
        _ => {}
    }
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "UNSUPPORTED",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}
