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
    schema::{
        ByKey, ByName, ByReference, ChangedModel, ChangedVersionV1, NoModel, OnlyIf, OnlyIfModel, TagValue,
    },
};

/// Set a tag of a model
#[utoipa::path(
    put,
    path = "/v1/models/{name}/tags/{key}",
    operation_id = "v1_set_model_tag",
    params(
        ByName,
        ByKey,
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
    models::change(&mut call, model, ModelPatch { tags, ..ModelPatch::default() }).await
}

/// Delete a tag of a model
///
/// If there is none, nothing changes.
#[utoipa::path(
    delete,
    path = "/v1/models/{name}/tags/{key}",
    operation_id = "v1_delete_model_tag",
    params(ByName, ByKey, OnlyIfModel,),
    responses(ChangedModel, NoModel, PreconditionFailed, TooLarge, DoesNotFit, DiskFull)
)]
pub(super) async fn delete_model_tag(mut call: Call) -> Answer {
    let (model, key) = (path::model(&call)?, call.path_text(4)?);
    let tags = BTreeMap::from([(key, None)]);
    models::change(&mut call, model, ModelPatch { tags, ..ModelPatch::default() }).await
}

/// Set a tag of a version
#[utoipa::path(
    put,
    path = "/v1/models/{name}/versions/{reference}/tags/{key}",
    operation_id = "v1_set_version_tag",
    params(
        ByReference,
        ByKey,
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
    let tags = BTreeMap::from([(key, Some(read_value(&mut call).await?))]);
    let change = call.check_change(version)?;
    let version = call.registry().update_with_tags(change, Patch::default(), tags).await?;
    Ok(answer::changed(&call, &version))
}

/// Delete a tag of a version
///
/// If there is none, nothing changes.
#[utoipa::path(
    delete,
    path = "/v1/models/{name}/versions/{reference}/tags/{key}",
    operation_id = "v1_delete_version_tag",
    params(ByReference, ByKey, OnlyIf,),
    responses(ChangedVersionV1, NotFound, PreconditionFailed, TooLarge, DoesNotFit, DiskFull)
)]
pub(super) async fn delete_version_tag(mut call: Call) -> Answer {
    let (version, key) = (path::version(&mut call)?, call.path_text(6)?);
    let change = call.check_change(version)?;
    let tags = BTreeMap::from([(key, None)]);
    let version = call.registry().update_with_tags(change, Patch::default(), tags).await?;
    Ok(answer::changed(&call, &version))
}

/// Reads the value; [`Call::check_change`] and [`models::change`] report its faults.
async fn read_value(call: &mut Call) -> Result<String, ApiError> {
    let mut fields = call.body(BodyLimit::Tags).await?;
    let value = fields.required("value");
    fields.finish();
    Ok(value)
}
