//! `/models`: register, list, get, change, delete.

use actix_web::HttpResponse;

use crate::domain::{
    Architecture, Draft, FileRecord, Force, LabelReuse, ListQuery, Patch, Provenance, Refusal, Sort,
    VersionRef, json::Object,
};

use super::{
    super::{
        answer::{self, Answer},
        fields::Fields,
        openapi::{BadCursor, DiskFull, DoesNotFit, Failure, NotFound, PreconditionFailed, TooLarge},
        request::{BodyLimit, Call},
        rows::Versions,
    },
    schema::{
        ById, ChangedVersion, Deleted, ModelChanges, NewModel, NotModified, OneVersion, OnlyIf, OrderName,
        SortName, StatusName, Unless, VersionPage,
    },
};

/// Register a version
///
/// The configuration, in `config_json` or in the file at `config_path`, fills the architecture fields that are not given.
#[utoipa::path(
    post,
    path = "/models",
    operation_id = "register_model",
    request_body = NewModel,
    responses(
        ChangedVersion,
        (status = 400,
            description = "An invalid value: a blank name, a malformed digest, neither URI nor digest, or a file that \
                the server may not or can't read.",
            body = Failure),
        (status = 409,
            description = "This name and version are already registered, or the version does not pass the gate to production.",
            body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn register(mut call: Call) -> Answer {
    let mut fields = call.body(BodyLimit::Write).await?;
    let draft = read_draft(&mut fields);
    fields.finish();
    call.check()?;
    let model = call.registry().register(draft?, LabelReuse::Allowed, call.caller()).await?;
    Ok(answer::changed(&call, &model))
}

/// Change a version
///
/// Only the given fields change. If no field is given, nothing changes and no event is written.
#[utoipa::path(
    patch,
    path = "/models/{model_id}",
    operation_id = "update_model",
    params(ById, OnlyIf),
    request_body = ModelChanges,
    responses(
        ChangedVersion,
        (status = 400,
            description = "An invalid value: a blank URI or path, a malformed digest, a negative size, or a file that \
                the server may not or can't read.",
            body = Failure),
        NotFound,
        (status = 409,
            description = "A field is immutable because the version is in production or frozen, or the version does not \
                pass the gate to production.",
            body = Failure),
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn update(mut call: Call) -> Answer {
    let id = call.model_id();
    let mut fields = call.body(BodyLimit::Write).await?;
    let patch = read_patch(&mut fields);
    fields.finish();
    call.check()?;
    let model = call.registry().update(call.change(VersionRef::Id(id)), patch?).await?;
    Ok(answer::changed(&call, &model))
}

/// Get a version
#[utoipa::path(
    get,
    path = "/models/{model_id}",
    operation_id = "get_model",
    params(ById, Unless),
    responses(OneVersion, NotModified, NotFound, DoesNotFit)
)]
pub(super) async fn get(mut call: Call) -> Answer {
    let id = call.model_id();
    call.check()?;
    answer::version(&call, VersionRef::Id(id)).await
}

/// Get a version by its name
#[utoipa::path(
    get,
    path = "/models/by-name/{name}/{version}",
    operation_id = "get_model_by_name",
    params(
        ("name" = String, Path, min_length = 1, example = "minilm",
            description = "The model's name, percent-encoded: a slash in it is `%2F`."),
        ("version" = String, Path, min_length = 1, example = "v1", description = "The version's label, percent-encoded."),
        Unless,
    ),
    responses(OneVersion, NotModified, NotFound)
)]
pub(super) async fn get_by_name(call: Call) -> Answer {
    let version = VersionRef::Label(call.path_text(2)?, call.path_text(3)?);
    answer::version(&call, version).await
}

/// Delete a version
///
/// Its events stay. A version that is in production or frozen is deleted only with `force`.
#[utoipa::path(
    delete,
    path = "/models/{model_id}",
    operation_id = "delete_model",
    params(
        ById,
        ("force" = Option<bool>, Query, description = "Deletes the version even if it is in production or frozen."),
        OnlyIf,
    ),
    responses(
        (status = 200, description = "The version is deleted.", body = Deleted),
        NotFound,
        (status = 409, description = "The version is in production or frozen.", body = Failure),
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn delete(mut call: Call) -> Answer {
    let id = call.model_id();
    let force = call.query("force").unwrap_or_default();
    call.check()?;
    call.registry().delete(call.change(VersionRef::Id(id)), Force::all_if(force)).await?;
    Ok(HttpResponse::Ok().json(Deleted { status: "deleted", id }))
}

/// List versions
#[utoipa::path(
    get,
    path = "/models",
    operation_id = "list_models",
    params(
        ("status" = Option<StatusName>, Query, description = "Only versions with this status."),
        ("name" = Option<String>, Query, description = "Only versions with exactly this name."),
        ("q" = Option<String>, Query,
            description = "Only versions whose name, version or description contains this text, ignoring case."),
        ("tag" = Option<String>, Query, description = "Only versions with exactly this tag."),
        ("sort" = Option<SortName>, Query, description = "The sort key, by default `created_at`."),
        ("order" = Option<OrderName>, Query, description = "The sort direction, by default `desc`."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Versions on a page, by default 50."),
        ("offset" = Option<i64>, Query, minimum = 0,
            description = "Versions to skip. Rows that come and go shift the pages; the cursor of the `Link` header does not."),
        ("cursor" = Option<String>, Query,
            description = "The end of the previous page, from its `Link` header. It excludes an offset, and needs the same sort and order."),
    ),
    responses(
        VersionPage,
        BadCursor, DoesNotFit,
    ),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let limit = call.limit(ListQuery::DEFAULT_LIMIT, ListQuery::MAX_LIMIT);
    let offset = call.query_integer("offset", 0, i64::MAX).unwrap_or_default();
    let mut query = ListQuery {
        status: call.query("status"),
        name: call.query_not_empty("name"),
        q: call.query_not_empty("q"),
        tag: call.query_not_empty("tag"),
        limit: Some(limit),
        offset: offset.unsigned_abs(),
        sort: call.query("sort").unwrap_or_default(),
        order: call.query("order").unwrap_or_default(),
        after: None,
    };
    call.check()?;
    query.after = call.cursor(&query.list_name(), offset)?;
    answer_list(&call, query).await
}

/// List the versions with a status
///
/// All of them, or a page if `limit` is given, the last changed first.
#[utoipa::path(
    get,
    path = "/models/status/{status}",
    operation_id = "list_models_by_status",
    params(
        ("status" = StatusName, Path, description = "The status of the versions."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Versions on a page, by default all."),
        ("cursor" = Option<String>, Query, description = "The end of the previous page, from its `Link` header."),
    ),
    responses(
        VersionPage,
        BadCursor, DoesNotFit,
    ),
)]
pub(super) async fn list_by_status(mut call: Call) -> Answer {
    let status = call.path(2, "status");
    let limit = call.query_integer("limit", 1, ListQuery::MAX_LIMIT);
    call.check()?;
    let mut query = ListQuery {
        status,
        sort: Sort::UpdatedAt,
        limit: limit.and_then(|limit| u32::try_from(limit).ok()),
        ..ListQuery::default()
    };
    query.after = call.cursor(&query.list_name(), 0)?;
    answer_list(&call, query).await
}

async fn answer_list(call: &Call, query: ListQuery) -> Answer {
    let (versions, page) = Versions::list(&call.app, call.form(), query).await?;
    Ok(answer::page(call, versions, &page))
}

pub(super) fn read_draft(fields: &mut Fields<'_>) -> Result<Draft, Refusal> {
    // Every field is read before any is checked: an unread field would count as unknown.
    let (name, version): (String, String) = (fields.required("name"), fields.required("version"));
    let (checkpoint, config) = (read_file(fields, "checkpoint"), read_file(fields, "config"));
    let config_json: Option<Object> = fields.optional("config_json");
    let from_config = config_json.as_ref().map(Architecture::from_config).unwrap_or_default();
    let mut draft = Draft {
        status: fields.not_null("status").unwrap_or_default(),
        artifact_uri: fields.optional("artifact_uri"),
        provenance: read_provenance(fields),
        frozen: fields.not_null("frozen").unwrap_or_default(),
        architecture: read_architecture(fields).or(from_config),
        params: fields.optional("params"),
        training_step: fields.optional("training_step"),
        training_loss: fields.optional("training_loss"),
        dataset: fields.optional("dataset"),
        description: fields.optional("description"),
        tags: fields.texts("tags").unwrap_or_default(),
        metrics: fields.optional("metrics").unwrap_or_default(),
        ..Draft { checkpoint: checkpoint?, config: config?, ..Draft::named(name, version)? }
    };
    // A blank path means not given.
    for path in [&mut draft.checkpoint.path, &mut draft.config.path] {
        path.take_if(|path| path.trim().is_empty());
    }
    draft.check()
}

pub(super) fn read_patch(fields: &mut Fields<'_>) -> Result<Patch, Refusal> {
    let (checkpoint, config) = (read_file(fields, "checkpoint"), read_file(fields, "config"));
    let patch = Patch {
        status: fields.optional("status"),
        artifact_uri: fields.optional("artifact_uri"),
        provenance: read_provenance(fields),
        frozen: fields.optional("frozen"),
        architecture: read_architecture(fields),
        params: fields.optional("params"),
        training_step: fields.optional("training_step"),
        training_loss: fields.optional("training_loss"),
        dataset: fields.optional("dataset"),
        description: fields.optional("description").map(Some),
        tags: fields.texts("tags"),
        metrics: fields.optional("metrics"),
        ..Patch { checkpoint: checkpoint?, config: config?, ..Patch::default() }
    };
    patch.check()
}

fn read_file(fields: &mut Fields<'_>, what: &str) -> Result<FileRecord, Refusal> {
    let path = fields.optional(&format!("{what}_path"));
    let sha256 = fields.optional::<String>(&format!("{what}_sha256"));
    let size_bytes = fields.optional(&format!("{what}_size_bytes"));
    FileRecord::claimed(what, path, sha256.as_deref(), size_bytes)
}

fn read_provenance(fields: &mut Fields<'_>) -> Provenance {
    Provenance {
        run_id: fields.optional("run_id"),
        git_commit: fields.optional("git_commit"),
        created_by: fields.optional("created_by"),
        source_host: fields.optional("source_host"),
    }
}

fn read_architecture(fields: &mut Fields<'_>) -> Architecture {
    Architecture {
        d_model: fields.optional("d_model"),
        n_layers: fields.optional("n_layers"),
        n_heads: fields.optional("n_heads"),
        vocab_size: fields.optional("vocab_size"),
    }
}
