//! `/v1/models`: create, list, get, change, delete and restore registered models.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use serde_json::json;

use crate::domain::{
    Force, ModelSummary,
    model::ModelPatch,
    query::{ListQuery, ModelQuery},
};

use super::{
    super::{
        answer::{self, Answer},
        json::{list_of, page_end, v1::write_model},
        openapi::{BadCursor, DiskFull, DoesNotFit, Failure, PreconditionFailed, TooLarge},
        request::{BodyLimit, Call},
        stream::turn_to_start,
    },
    path,
    schema::{
        ByName, ChangedModel, Deleted, ModelChangesV1, ModelPage, NewRegisteredModel, NoModel, OneModel,
        OnlyIfModel, RegisteredModel,
    },
};

/// List models
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "v1_list_models",
    params(
        ("q" = Option<String>, Query, min_length = 1,
            description = "Only models whose name contains this text, ignoring case."),
        ("tag" = Option<String>, Query, min_length = 1,
            description = "Only models with this tag: its key, or key and value as `KEY=VALUE`."),
        ("deleted" = Option<bool>, Query, description = "Lists the deleted models instead."),
        ("prompts" = Option<bool>, Query, description = "Lists prompts instead: models with the tag `mlflow.prompt.is_prompt`."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200,
            description = "Models on a page at most, by default 50. A page with very large tags ends earlier."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The end of the previous page, from its `next`."),
    ),
    responses(
        (status = 200, description = "A page of models, by name.", body = ModelPage),
        BadCursor, DoesNotFit,
    ),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let tag = call.query_not_empty("tag");
    let split = |tag: String| match tag.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (tag, None),
    };
    let query = ModelQuery {
        q: call.query_not_empty("q"),
        tag: tag.map(split),
        deleted: call.query("deleted").unwrap_or_default(),
        prompts: call.query("prompts").unwrap_or_default(),
        limit: call.limit(ListQuery::DEFAULT_LIMIT, ListQuery::MAX_LIMIT),
        after: None,
    };
    let after = call.cursor(ModelQuery::LIST_NAME, 0);
    call.check()?;
    let _turn = turn_to_start().await?;
    let (models, page) = call.registry().registered_models(ModelQuery { after: after?, ..query }).await?;
    let mut json = list_of("models", &models, write_model);
    json.extend_from_slice(page_end(&page).as_bytes());
    answer::json(json)
}

/// Create a model
///
/// Registering a version creates its model too.
#[utoipa::path(
    post,
    path = "/v1/models",
    operation_id = "v1_create_model",
    request_body = NewRegisteredModel,
    responses(
        (status = 201, description = "The model.", body = RegisteredModel,
            headers(("ETag" = String, description = "The tag of this state, for `If-Match`."))),
        (status = 400, description = "A name or a tag is blank or too long, or a time is in the future.", body = Failure),
        (status = 409, description = "There is a model of this name.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn create(mut call: Call) -> Answer {
    let mut fields = call.body(BodyLimit::Tags).await?;
    let name = fields.required("name");
    let (description, tags) = (fields.nullable("description"), fields.tags("tags", false));
    let times = fields.given_times();
    fields.finish();
    call.check()?;
    let patch = ModelPatch { name: None, description, tags };
    let model = call.registry().create_model(name, patch, times, call.caller()).await?;
    answer_model(StatusCode::CREATED, &model)
}

/// Get a model
#[utoipa::path(
    get,
    path = "/v1/models/{name}",
    operation_id = "v1_get_model",
    params(ByName),
    responses(OneModel, NoModel, DoesNotFit)
)]
pub(super) async fn get(mut call: Call) -> Answer {
    let name = path::model(&call)?;
    call.check()?;
    let model = call.registry().registered_model(name).await?;
    answer_model(StatusCode::OK, &model)
}

/// Change a model
///
/// Only the given fields and tags change. A new name goes to all versions of the model, which keep their numbers and labels. The old
/// name is then free: a new model of that name starts at number 1, with all labels free. The name of a deleted model that had versions
/// is refused.
#[utoipa::path(
    patch,
    path = "/v1/models/{name}",
    operation_id = "v1_update_model",
    params(
        ByName,
        OnlyIfModel,
    ),
    request_body = ModelChangesV1,
    responses(
        ChangedModel,
        (status = 400, description = "A name or a tag is blank or too long.", body = Failure),
        NoModel,
        (status = 409, description = "Another model has the new name, or a deleted one with versions had it.", body = Failure),
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn update(mut call: Call) -> Answer {
    let model = path::model(&call)?;
    let mut fields = call.body(BodyLimit::Tags).await?;
    let patch = ModelPatch {
        name: fields.not_null("name"),
        description: fields.nullable("description"),
        tags: fields.tags("tags", true),
    };
    fields.finish();
    change(&mut call, model, patch).await
}

/// Changes a model and answers with it.
pub(super) async fn change(call: &mut Call, model: String, patch: ModelPatch) -> Answer {
    let precondition = call.check_precondition()?;
    let model = call.registry().update_model(model, patch, precondition, call.caller()).await?;
    answer_model(StatusCode::OK, &model)
}

/// Delete a model
///
/// The model and its versions go to the trash and can be restored. With a version that is in production or frozen, it is deleted only
/// with `force`.
#[utoipa::path(
    delete,
    path = "/v1/models/{name}",
    operation_id = "v1_delete_model",
    params(
        ByName,
        ("force" = Option<bool>, Query, description = "Deletes the model even if a version is in production or frozen."),
        OnlyIfModel,
    ),
    responses(
        (status = 200, description = "The model is in the trash.", body = Deleted),
        NoModel,
        (status = 409, description = "A version is in production or frozen.", body = Failure),
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn delete(mut call: Call) -> Answer {
    let name = path::model(&call)?;
    let force = call.query("force").unwrap_or_default();
    let precondition = call.check_precondition()?;
    call.registry().delete_model(name, Force::all_if(force), precondition, call.caller()).await?;
    Ok(HttpResponse::Ok().json(json!({ "deleted": true })))
}

/// Restore a model
///
/// Takes the model that was deleted last under this name out of the trash, with the versions that were deleted with it. A version that
/// was in production comes back in staging.
#[utoipa::path(
    post,
    path = "/v1/models/{name}/restore",
    operation_id = "v1_restore_model",
    params(ByName),
    responses(
        ChangedModel,
        (status = 404, description = "There is no deleted model of this name.", body = Failure),
        (status = 409, description = "Another model has this name now.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn restore(mut call: Call) -> Answer {
    let name = path::model(&call)?;
    call.optional_body(BodyLimit::Write).await?.finish();
    call.check()?;
    let model = call.registry().restore_model(name, call.caller()).await?;
    answer_model(StatusCode::OK, &model)
}

fn answer_model(status: StatusCode, summary: &ModelSummary) -> Answer {
    let mut json = Vec::new();
    write_model(&mut json, summary);
    let mut answer = answer::json(json)?;
    *answer.status_mut() = status;
    if let Ok(tag) = header::HeaderValue::from_str(&format!("\"{}\"", summary.model.revision())) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    Ok(answer)
}
