//! `/v1/models/{name}/versions`: register, list, get, change, delete and restore versions.

use std::ops::ControlFlow;

use actix_web::HttpResponse;
use serde_json::json;

use crate::domain::{Force, LabelReuse, ListQuery, Refusal, Status, VersionRef, query::DeletedQuery};

use super::{
    super::{
        answer::{self, Answer},
        fields::Fields,
        json::v1::write_deleted_version,
        openapi::{BadCursor, DiskFull, DoesNotFit, Failure, NotFound, PreconditionFailed, TooLarge},
        request::{BodyLimit, Call},
        rows::Versions,
        stream::{first_limit_bytes, turn_to_start},
    },
    bodies::{read_draft, read_patch},
    path,
    schema::{
        ByName, ByReference, ChangedVersionV1, Deleted, NewVersion, NoModel, NotModified, OneVersionV1,
        OnlyIf, RegisteredVersion, StatusName, Unless, VersionChanges, VersionPageV1,
    },
};

/// List the versions of a model
///
/// The newest first. Versions in the trash also have `deleted_at` and `deleted_by`.
#[utoipa::path(
    get,
    path = "/v1/models/{name}/versions",
    operation_id = "v1_list_versions",
    params(
        ByName,
        ("status" = Option<StatusName>, Query, description = "Only versions with this status; not together with `deleted`."),
        ("deleted" = Option<bool>, Query,
            description = "Lists the versions in the trash instead. A page with very large ones ends earlier."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Versions on a page, by default 50."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The end of the previous page, from its `next`."),
    ),
    responses(
        (status = 200, description = "A page of versions.", body = VersionPageV1),
        BadCursor, NoModel, DoesNotFit,
    ),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let name = path::model(&call)?;
    let limit = call.limit(ListQuery::DEFAULT_LIMIT, ListQuery::MAX_LIMIT);
    let status = call.query("status");
    if call.query("deleted").unwrap_or_default() {
        return list_deleted(call, name, status, limit).await;
    }
    let query = ListQuery { name: Some(name.clone()), status, limit: Some(limit), ..ListQuery::default() };
    let after = call.cursor(&query.list_name(), 0);
    call.check()?;
    let query = ListQuery { after: after?, ..query };
    let (versions, page) = Versions::list(&call.app, call.form(), query).await?;
    if page.total == Some(0) {
        call.registry().registered_model(name).await?;
    }
    Ok(answer::rows(&call, versions))
}

async fn list_deleted(mut call: Call, model: String, status: Option<Status>, limit: u32) -> Answer {
    let after = call.cursor(DeletedQuery::LIST_NAME, 0);
    call.check()?;
    if status.is_some() {
        return Err(Refusal::Invalid(
            "status and deleted exclude each other; send only one of them".to_owned(),
        )
        .into());
    }
    let query = DeletedQuery { model, limit, before: after?.map(|cursor| cursor.id) };
    let _turn = turn_to_start().await?;
    let max_bytes = first_limit_bytes();
    let (rows, page) = call
        .registry()
        .deleted_versions(query, move |rows, deleted| {
            if !rows.is_empty() {
                rows.push(b',');
            }
            write_deleted_version(rows, deleted);
            if rows.len() < max_bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
    let form = call.form();
    answer::json([form.list_start().as_bytes(), &rows, form.list_end(&page).as_bytes()].concat())
}

/// Register a version
///
/// Creates the model if there is none of this name. The version gets the next number of its model, or a higher one if `number` asks
/// for it; the numbers between them stay spent.
#[utoipa::path(
    post,
    path = "/v1/models/{name}/versions",
    operation_id = "v1_register_version",
    params(ByName),
    request_body = NewVersion,
    responses(
        (status = 201, description = "The version.", body = RegisteredVersion,
            headers(("ETag" = String, description = "The tag of this state, for `If-None-Match` and `If-Match`."))),
        (status = 400,
            description = "An invalid value: a blank label, neither a URI nor a digest, or a time in the future.", body = Failure),
        (status = 409,
            description = "The label is taken, or was used for other bytes and deleted, or the number was given out before, or \
                the version does not pass the gate to production.",
            body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn register(mut call: Call) -> Answer {
    let name = path::model(&call)?;
    let read = move |fields: &mut Fields<'_>| {
        (read_draft(fields, name), fields.not_null("reuse_label").unwrap_or_default())
    };
    let (draft, reuse_label) = call.long_body(BodyLimit::Files, read).await?;
    call.check()?;
    let reuse = if reuse_label { LabelReuse::Allowed } else { LabelReuse::ForSameBytes };
    let version = call.registry().register(draft?, reuse, call.caller()).await?;
    Ok(answer::created(&call, &version))
}

/// Get a version of a model
#[utoipa::path(
    get,
    path = "/v1/models/{name}/versions/{reference}",
    operation_id = "v1_get_version",
    params(ByReference, Unless),
    responses(OneVersionV1, NotModified, NotFound, DoesNotFit)
)]
pub(super) async fn get(mut call: Call) -> Answer {
    let version = path::version(&mut call)?;
    call.check()?;
    answer::version(&call, version).await
}

/// Get a version by its id
#[utoipa::path(
    get,
    path = "/v1/versions/{id}",
    operation_id = "v1_get_version_by_id",
    params(("id" = i64, Path, example = 1, description = "The version's id."), Unless),
    responses(OneVersionV1, NotModified, NotFound, DoesNotFit),
)]
pub(super) async fn get_by_id(mut call: Call) -> Answer {
    let id = call.path(2, "id").unwrap_or_default();
    call.check()?;
    answer::version(&call, VersionRef::Id(id)).await
}

/// Change a version of a model
///
/// Only the given fields and tags change. If nothing changes, no event is written.
#[utoipa::path(
    patch,
    path = "/v1/models/{name}/versions/{reference}",
    operation_id = "v1_update_version",
    params(ByReference, OnlyIf),
    request_body = VersionChanges,
    responses(
        ChangedVersionV1,
        (status = 400, description = "An invalid value, such as a blank URI.", body = Failure),
        NotFound,
        (status = 409,
            description = "A field is immutable because the version is in production or frozen, or the version does not \
                pass the gate to production.",
            body = Failure),
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn update(mut call: Call) -> Answer {
    let version = path::version(&mut call)?;
    let mut fields = call.body(BodyLimit::Tags).await?;
    let (patch, tags) = read_patch(&mut fields);
    fields.finish();
    let change = call.check_change(version)?;
    let version = call.registry().update_with_tags(change, patch?, tags).await?;
    Ok(answer::changed(&call, &version))
}

/// Delete a version of a model
///
/// It goes to the trash and can be restored. Its aliases end. A version that is in production or frozen is deleted only with `force`.
#[utoipa::path(
    delete,
    path = "/v1/models/{name}/versions/{reference}",
    operation_id = "v1_delete_version",
    params(
        ByReference,
        ("force" = Option<bool>, Query, description = "Deletes the version even if it is in production or frozen."),
        OnlyIf,
    ),
    responses(
        (status = 200, description = "The version is in the trash.", body = Deleted),
        NotFound,
        (status = 409, description = "The version is in production or frozen.", body = Failure),
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn delete(mut call: Call) -> Answer {
    let version = path::version(&mut call)?;
    let force = call.query("force").unwrap_or_default();
    let change = call.check_change(version)?;
    call.registry().delete(change, Force::all_if(force)).await?;
    Ok(HttpResponse::Ok().json(json!({ "deleted": true })))
}

/// Restore a version of a model
///
/// Takes it out of the trash. A version that was in production comes back in staging; aliases do not come back.
#[utoipa::path(
    post,
    path = "/v1/models/{name}/versions/{number}/restore",
    operation_id = "v1_restore_version",
    params(
        ByName,
        ("number" = i64, Path, example = 1, description = "The number of the deleted version."),
    ),
    responses(
        ChangedVersionV1,
        (status = 404, description = "The model does not exist, or has no deleted version with this number.", body = Failure),
        (status = 409, description = "Another version has this label now.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn restore(mut call: Call) -> Answer {
    let name = path::model(&call)?;
    let number = call.path(4, "number").unwrap_or_default();
    call.optional_body(BodyLimit::Write).await?.finish();
    call.check()?;
    let version = call.registry().restore_version(name, number, call.caller()).await?;
    Ok(answer::changed(&call, &version))
}
