//! Promotion, and the production version of a name.

use crate::domain::{Status, VersionRef};

use super::{
    super::{
        answer::{self, Answer},
        openapi::{DiskFull, DoesNotFit, Failure, NotFound, PreconditionFailed, TooLarge},
        request::{BodyLimit, Call},
    },
    schema::{ById, ChangedVersion, NotModified, OneVersion, OnlyIf, Promotion, StatusName, Unless},
};

/// Change the status of a version
///
/// A version must pass the gate to become the production version, if the server has a gate. The production version before it goes to
/// staging in the same transaction. Unknown query parameters are errors.
#[utoipa::path(
    post,
    path = "/models/{model_id}/promote",
    operation_id = "promote_model",
    params(
        ById,
        ("to_status" = Option<StatusName>, Query,
            description = "The new status, by default `production`. It may be in the body instead."),
        OnlyIf,
    ),
    request_body = Promotion,
    responses(
        ChangedVersion,
        NotFound,
        (status = 409, description = "The version does not pass the gate to production.", body = Failure),
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn promote(mut call: Call) -> Answer {
    let id = call.model_id();
    call.only_query(&["to_status"]);
    let in_query = call.query("to_status");
    let mut fields = call.optional_body(BodyLimit::Write).await?;
    let to = fields.status_as_in_query("to_status", in_query);
    fields.finish();
    call.check()?;
    let to = to.unwrap_or(Status::Production);
    let model = call.registry().promote(call.change(VersionRef::Id(id)), to).await?;
    Ok(answer::changed(&call, &model))
}

/// Get the production version of a name
#[utoipa::path(
    get,
    path = "/production/{name}",
    operation_id = "get_production_model",
    params(
        ("name" = String, Path, min_length = 1, example = "minilm",
            description = "The model's name, percent-encoded: a slash in it is `%2F`."),
        Unless,
    ),
    responses(
        OneVersion, NotModified,
        (status = 404, description = "No version of this name is in production.", body = Failure),
    ),
)]
pub(super) async fn production(call: Call) -> Answer {
    let version = VersionRef::production(call.path_text(1)?);
    answer::version(&call, version).await
}
