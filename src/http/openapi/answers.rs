//! The answers that many calls share, errors most of all.
#![allow(dead_code, reason = "described, never built: http/error.rs and http/fault.rs write them")]

use std::borrow::Cow;

use utoipa::{
    IntoResponses, PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::super::fault::FaultKind;

/// Why a request was refused or failed.
#[derive(ToSchema)]
#[schema(as = Error, examples(json!({"detail": "there is no model with id 7"})))]
pub(in crate::http) struct Failure {
    /// One sentence: what was wrong and what to do.
    detail: String,
}

/// All that does not fit in a request.
#[derive(ToSchema)]
#[schema(as = Faults, examples(json!({"detail": [{
    "type": "missing",
    "loc": ["body", "name"],
    "msg": "Field required",
    "input": {"version": "v1"}
}]})))]
pub(in crate::http) struct Unfit {
    #[schema(min_items = 1)]
    detail: Vec<Fault>,
}

/// One thing that does not fit.
#[derive(ToSchema)]
pub(in crate::http) struct Fault {
    #[schema(inline)]
    r#type: FaultType,
    /// `path`, `query` or `body`, and the names and places below it.
    #[schema(value_type = Vec<Value>, min_items = 1)]
    loc: (),
    /// For a person.
    msg: String,
    /// What was sent there.
    #[schema(value_type = Value)]
    input: (),
}

struct FaultType;

impl PartialSchema for FaultType {
    fn schema() -> RefOr<Schema> {
        let names = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(FaultKind::TYPE_NAMES));
        names.description(Some("What kind of fault it is.")).into()
    }
}

impl ToSchema for FaultType {
    fn name() -> Cow<'static, str> {
        "FaultType".into()
    }
}

/// What may come of any call, before it is known who makes it.
#[derive(IntoResponses)]
pub(super) enum AnyRefused {
    /// The server is not called what `Host` says. Nothing else of the request was looked at.
    #[response(status = 421)]
    WrongHost(Failure),
}

/// What may come of a call that has a body, while that is read.
#[derive(IntoResponses)]
pub(super) enum BodyRefused {
    /// The body did not come in time.
    #[response(status = 408)]
    TooSlow(Failure),
}

/// What may come of a call that wants a key before its handler has a say, and where the server is at its limits.
#[derive(IntoResponses)]
pub(super) enum Refused {
    /// Something that is sent can't be used: an `X-Actor` with a control character, where it is heeded.
    #[response(status = 400)]
    Unusable(Failure),
    /// No key, or one that is not valid here. Nothing else of the request was looked at.
    #[response(status = 401, headers(("WWW-Authenticate" = String, description = "`Bearer`")))]
    Key(Failure),
    /// Too many wrong keys have come from this address; this one was not judged.
    #[response(status = 429, headers(("Retry-After" = u64, description = "After how many seconds to try again.")))]
    TooMany(Failure),
    /// A fault of the server; its log says more under the request's id.
    #[response(status = 500)]
    Failed(Failure),
    /// A queue is full, the database is held or can't be written, or the server is ending: nothing was changed, and the same may be
    /// tried again where `Retry-After` says so. Or no key is configured. Or nobody can say what became of a write, which `detail` tells.
    #[response(status = 503, headers(("Retry-After" = u64, description = "After how many seconds to try again.")))]
    Unavailable(Failure),
}

/// There is no such version.
#[derive(IntoResponses)]
#[response(status = 404)]
pub(in crate::http) struct NotFound(Failure);

/// The cursor is none that this registry gave for this list, or an offset stands beside it.
#[derive(IntoResponses)]
#[response(status = 400)]
pub(in crate::http) struct BadCursor(Failure);

/// The version is in none of the states that `If-Match` names. Nothing was changed.
#[derive(IntoResponses)]
#[response(status = 412)]
pub(in crate::http) struct PreconditionFailed(Failure);

/// The body, or the event of this change, is larger than the server takes. Nothing was changed.
#[derive(IntoResponses)]
#[response(status = 413)]
pub(in crate::http) struct TooLarge(Failure);

/// The request does not fit its schema: every fault of it. Nothing was changed.
#[derive(IntoResponses)]
#[response(status = 422)]
pub(in crate::http) struct DoesNotFit(Unfit);

/// The server's disk is full. Nothing was changed.
#[derive(IntoResponses)]
#[response(status = 507, headers(("Retry-After" = u64, description = "After how many seconds to try again.")))]
pub(in crate::http) struct DiskFull(Failure);
