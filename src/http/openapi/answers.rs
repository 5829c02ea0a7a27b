//! Answers that many calls share, most of them errors.
#![allow(dead_code, reason = "most are described and never built: http/error.rs writes them")]

use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::super::fault::Fault;

/// Why a request was refused or failed.
#[derive(Serialize, ToSchema)]
#[schema(as = Error, examples(json!({"detail": "there is no version with id 7"})))]
pub(in crate::http) struct Failure {
    /// One sentence: what was wrong and what to do.
    pub(in crate::http) detail: String,
}

/// Every error in the form of a request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Faults, examples(json!({"detail": [{
    "type": "missing",
    "loc": ["body", "name"],
    "msg": "Field required",
    "input": {"version": "v1"}
}]})))]
pub(in crate::http) struct Unfit {
    #[schema(min_items = 1)]
    pub(in crate::http) detail: Vec<Fault>,
}

/// The version does not exist.
#[derive(IntoResponses)]
#[response(status = 404)]
pub(in crate::http) struct NotFound(Failure);

/// The cursor is invalid for this list, or is combined with an offset.
#[derive(IntoResponses)]
#[response(status = 400)]
pub(in crate::http) struct BadCursor(Failure);

/// No tag in `If-Match` is current. Nothing was changed.
#[derive(IntoResponses)]
#[response(status = 412)]
pub(in crate::http) struct PreconditionFailed(Failure);

/// The body, the version's metrics, or the audit event of this change is too large. Nothing was changed.
#[derive(IntoResponses)]
#[response(status = 413)]
pub(in crate::http) struct TooLarge(Failure);

/// The request does not match its schema. Lists every error. Nothing was changed.
#[derive(IntoResponses)]
#[response(status = 422)]
pub(in crate::http) struct DoesNotFit(Unfit);

/// The server's disk is full. Nothing was changed.
#[derive(IntoResponses)]
#[response(status = 507, headers(("Retry-After" = u64, description = "Seconds to wait before the next attempt.")))]
pub(in crate::http) struct DiskFull(Failure);
