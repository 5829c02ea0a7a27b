//! `/v1/models/{name}/aliases`: which version holds which alias, now and before.

use actix_web::HttpResponse;
use serde_json::json;

use crate::{
    domain::{Timestamp, query::HistoryQuery},
    registry::AliasChange,
};

use super::{
    super::{
        answer::{self, Answer},
        json::{
            list_of,
            v1::{aliases, write_holding},
        },
        openapi::{DiskFull, DoesNotFit, Failure, TooLarge},
        request::{BodyLimit, Call},
        stream::turn_to_start,
    },
    path,
    schema::{Aliases, ByAlias, ByName, ChangedVersionV1, Deleted, History, NewHolder, NoModel, Rollback},
};

/// Holdings in an answer by default, and at most.
const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 500;

/// List the aliases of a model
#[utoipa::path(
    get,
    path = "/v1/models/{name}/aliases",
    operation_id = "v1_list_aliases",
    params(ByName),
    responses((status = 200, description = "The aliases.", body = Aliases), NoModel, DoesNotFit),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let name = path::model(&call)?;
    call.check()?;
    let model = call.registry().registered_model(name).await?;
    answer::json(json!({ "aliases": aliases(&model) }).to_string().into_bytes())
}

/// Point an alias at a version
///
/// One atomic step, which history and trail record. `production` is the status, so setting that alias is a promotion: the version must
/// pass the gate, and the version before it goes to staging.
#[utoipa::path(
    put,
    path = "/v1/models/{name}/aliases/{alias}",
    operation_id = "v1_set_alias",
    params(
        ByAlias,
    ),
    request_body = NewHolder,
    responses(
        ChangedVersionV1,
        (status = 400, description = "The alias or the reason is blank or too long, or the alias is reserved.", body = Failure),
        (status = 404, description = "The model does not exist, or has no version with this number.", body = Failure),
        (status = 409,
            description = "Another version than expected holds the alias, the model has 256 aliases, or the version does not pass the gate to production.",
            body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn set(mut call: Call) -> Answer {
    let (model, alias) = (path::model(&call)?, call.path_text(4)?);
    let mut fields = call.body(BodyLimit::Write).await?;
    let number = Some(fields.required("version"));
    let (expected, reason) = (fields.nullable("expected"), fields.optional("reason"));
    fields.finish();
    call.check()?;
    let change = AliasChange { model, alias, number, expected, reason };
    let version = call.registry().change_alias(change, call.caller()).await?;
    Ok(answer::changed(&call, &version))
}

/// Delete an alias
///
/// Deleting `production` moves its version to staging.
#[utoipa::path(
    delete,
    path = "/v1/models/{name}/aliases/{alias}",
    operation_id = "v1_delete_alias",
    params(
        ByAlias,
        ("expected" = Option<i64>, Query, description = "The number of the version that must hold the alias."),
        ("reason" = Option<String>, Query, min_length = 1, description = "Why, for the audit trail; at most 4 KiB."),
    ),
    responses(
        (status = 200, description = "The alias is deleted.", body = Deleted),
        (status = 400, description = "The reason is blank or too long.", body = Failure),
        (status = 404, description = "The model does not exist, or has no such alias.", body = Failure),
        (status = 409, description = "Another version than expected holds the alias.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn delete(mut call: Call) -> Answer {
    let (model, alias) = (path::model(&call)?, call.path_text(4)?);
    let (expected, reason) = (call.query("expected").map(Some), call.query_not_empty("reason"));
    call.check()?;
    let change = AliasChange { model, alias, number: None, expected, reason };
    call.registry().change_alias(change, call.caller()).await?;
    Ok(HttpResponse::Ok().json(json!({ "deleted": true })))
}

/// List who held the aliases of a model
///
/// The newest holding first. A holding includes its first moment and ends just before the moment in `until`.
#[utoipa::path(
    get,
    path = "/v1/models/{name}/history",
    operation_id = "v1_get_history",
    params(
        ByName,
        ("alias" = Option<String>, Query, min_length = 1, description = "Only this alias, which may be `production`."),
        ("at" = Option<String>, Query, min_length = 1, example = "2026-11-24T12:00:00Z",
            description = "Only holdings at this moment, in RFC 3339 with any offset, down to milliseconds, or at the start of a date in UTC. \
                From 1970 on. A `+` is sent as `%2B`."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Holdings at most, by default 100."),
    ),
    responses((status = 200, description = "The holdings.", body = History), NoModel, DoesNotFit),
)]
pub(super) async fn history(mut call: Call) -> Answer {
    let model = path::model(&call)?;
    let limit = call.limit(DEFAULT_LIMIT, MAX_LIMIT);
    let alias = call.query_not_empty("alias");
    let at = call.query::<Timestamp>("at").map(|at| at.to_string());
    call.check()?;
    let _turn = turn_to_start().await?;
    let holdings = call.registry().history(HistoryQuery { model, alias, at, limit }).await?;
    let mut json = list_of("history", &holdings, write_holding);
    json.extend_from_slice(b"]}");
    answer::json(json)
}

/// Return to an earlier production version
///
/// The version that was in production before the current one, or the one named by `to`, which must have been there before. It has
/// passed the gate before, so it need not pass it again.
#[utoipa::path(
    post,
    path = "/v1/models/{name}/rollback",
    operation_id = "v1_rollback",
    params(ByName),
    request_body = Rollback,
    responses(
        ChangedVersionV1,
        (status = 400, description = "The reason is blank or too long.", body = Failure),
        (status = 404, description = "The model does not exist, or has no version with this number.", body = Failure),
        (status = 409, description = "The version was never in production, is there now, or is deleted.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn rollback(mut call: Call) -> Answer {
    let model = path::model(&call)?;
    let mut fields = call.body(BodyLimit::Write).await?;
    let (to, reason) = (fields.not_null("to"), fields.required("reason"));
    fields.finish();
    call.check()?;
    let version = call.registry().rollback(model, to, reason, call.caller()).await?;
    Ok(answer::changed(&call, &version))
}
