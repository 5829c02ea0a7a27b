//! `…/tags/{key}`: single tags of models and versions.

use std::collections::BTreeMap;

use crate::domain::{Patch, model::ModelPatch};

use super::{
    super::{
        answer::{self, Answer},
        error::ApiError,
        openapi::{DiskFull, DoesNotFit, Failure, NotFound, PreconditionFailed, TooLarge},
        request::{BodyLimit, Call},
    },
    models, path,
    schema::{ByReference, ChangedModel, ChangedVersionV1, NoModel, OnlyIf, OnlyIfModel, TagValue},
};

/// Set a tag of a model
#[utoipa::path(
    put,
    path = "/v1/models/{name}/tags/{key}",
    operation_id = "v1_set_model_tag",
    params(
        ("name" = String, Path, min_length = 1, example = "minilm", description = "The model's name, percent-encoded."),
        ("key" = String, Path, min_length = 1, example = "team", description = "The key of the tag, percent-encoded."),
        OnlyIfModel,
    ),
    request_body = TagValue,
    responses(
        ChangedModel,
        (status = 400, description = "The tag is blank or too long, or the model has too many.", body = Failure),
        NoModel,
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn set_model_tag(mut call: Call) -> Answer {
    let (model, key) = (path::model(&call)?, call.path_text(4)?);
    let value = read_value(&mut call).await?;
    let tags = BTreeMap::from([(key, Some(value))]);
    models::change(&call, model, ModelPatch { tags, ..ModelPatch::default() }).await
}

/// Delete a tag of a model
///
/// If there is none, nothing changes.
#[utoipa::path(
    delete,
    path = "/v1/models/{name}/tags/{key}",
    operation_id = "v1_delete_model_tag",
    params(
        ("name" = String, Path, min_length = 1, example = "minilm", description = "The model's name, percent-encoded."),
        ("key" = String, Path, min_length = 1, example = "team", description = "The key of the tag, percent-encoded."),
        OnlyIfModel,
    ),
    responses(ChangedModel, NoModel, PreconditionFailed, TooLarge, DoesNotFit, DiskFull),
)]
pub(super) async fn delete_model_tag(mut call: Call) -> Answer {
    let (model, key) = (path::model(&call)?, call.path_text(4)?);
    call.check()?;
    let tags = BTreeMap::from([(key, None)]);
    models::change(&call, model, ModelPatch { tags, ..ModelPatch::default() }).await
}

/// Set a tag of a version
#[utoipa::path(
    put,
    path = "/v1/models/{name}/versions/{reference}/tags/{key}",
    operation_id = "v1_set_version_tag",
    params(
        ByReference,
        ("key" = String, Path, min_length = 1, example = "nightly", description = "The key of the tag, percent-encoded."),
        OnlyIf,
    ),
    request_body = TagValue,
    responses(
        ChangedVersionV1,
        (status = 400, description = "The tag is blank or too long, or the version has too many.", body = Failure),
        NotFound,
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn set_version_tag(mut call: Call) -> Answer {
    let (version, key) = (path::version(&mut call)?, call.path_text(6)?);
    let value = read_value(&mut call).await?;
    let tags = BTreeMap::from([(key, Some(value))]);
    let version = call.registry().update_with_tags(call.change(version), Patch::default(), tags).await?;
    Ok(answer::changed(&call, &version))
}

/// Delete a tag of a version
///
/// If there is none, nothing changes.
#[utoipa::path(
    delete,
    path = "/v1/models/{name}/versions/{reference}/tags/{key}",
    operation_id = "v1_delete_version_tag",
    params(
        ByReference,
        ("key" = String, Path, min_length = 1, example = "nightly", description = "The key of the tag, percent-encoded."),
        OnlyIf,
    ),
    responses(ChangedVersionV1, NotFound, PreconditionFailed, TooLarge, DoesNotFit, DiskFull),
)]
pub(super) async fn delete_version_tag(mut call: Call) -> Answer {
    let (version, key) = (path::version(&mut call)?, call.path_text(6)?);
    call.check()?;
    let tags = BTreeMap::from([(key, None)]);
    let version = call.registry().update_with_tags(call.change(version), Patch::default(), tags).await?;
    Ok(answer::changed(&call, &version))
}

async fn read_value(call: &mut Call) -> Result<String, ApiError> {
    let mut fields = call.body(BodyLimit::Write).await?;
    let value = fields.required("value");
    fields.finish();
    call.check()?;
    Ok(value)
}
