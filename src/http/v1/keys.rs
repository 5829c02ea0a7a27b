//! `/v1/keys`: the stored API keys; and `/v1/whoami`: who the caller is, and what it may do.

use actix_web::HttpResponse;
use serde_json::json;

use crate::domain::{Cursor, Grant, KeyFilter, KeyQuery, KeyRef, Page, Refusal, Timestamp};

use super::{
    super::{
        answer::{self, Answer},
        error::ApiError,
        json::{
            list_of, page_end,
            v1::{key_json, principal_json},
        },
        openapi::{BadCursor, DiskFull, DoesNotFit, Failure, TooLarge},
        request::{BodyLimit, Call},
    },
    schema::{ByKeyRef, KeyPage, NewKey, NewKeyToken, Rotation, StoredKey, WhoAmI},
};

/// Keys on a page by default, and at most.
const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 500;

/// Get the caller and its rights
#[utoipa::path(
    get,
    path = "/v1/whoami",
    operation_id = "v1_whoami",
    responses((status = 200, description = "The caller.", body = WhoAmI), DoesNotFit),
)]
pub(super) async fn whoami(mut call: Call) -> Answer {
    call.check()?;
    Ok(HttpResponse::Ok().json(principal_json(&call.caller().actor, call.principal())))
}

/// List API keys
///
/// Stored keys in the order in which they were created. The keys of the server's environment are not among them.
#[utoipa::path(
    get,
    path = "/v1/keys",
    operation_id = "v1_list_keys",
    params(
        ("revoked" = Option<bool>, Query, description = "Lists revoked keys too."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Keys on a page, by default 100."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The end of the previous page, from its `next`."),
    ),
    responses((status = 200, description = "A page of keys.", body = KeyPage), BadCursor, DoesNotFit),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let filter = if call.query("revoked").unwrap_or_default() { KeyFilter::All } else { KeyFilter::Live };
    let limit = call.limit(DEFAULT_LIMIT, MAX_LIMIT);
    let after = call.cursor(KeyQuery::LIST_NAME, 0);
    call.check()?;
    let after = after?.map_or(0, |cursor| cursor.id);
    let mut keys = call.registry().keys(KeyQuery { filter, after, limit: limit + 1 }).await?;
    let has_more = keys.len() > limit as usize;
    keys.truncate(limit as usize);
    let last = keys.last().filter(|_| has_more);
    let next = last.map(|key| Cursor::at(KeyQuery::LIST_NAME, key.id));
    let write = |out: &mut Vec<u8>, key| out.extend_from_slice(key_json(key).to_string().as_bytes());
    let mut json = list_of("keys", &keys, write);
    json.extend_from_slice(page_end(&Page { total: None, next }).as_bytes());
    answer::json(json)
}

/// Create an API key
///
/// The answer has its token, which the registry shows only once. A key has no more rights than the one that creates it, and does not
/// outlive it.
#[utoipa::path(
    post,
    path = "/v1/keys",
    operation_id = "v1_create_key",
    request_body = NewKey,
    responses(
        (status = 201, description = "The key and its token.", body = NewKeyToken),
        (status = 400, description = "A name, a scope, a pattern or the end is invalid.", body = Failure),
        (status = 409, description = "Another key has this name.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn create(mut call: Call) -> Answer {
    let mut fields = call.body(BodyLimit::Write).await?;
    let name: String = fields.required("name");
    let scopes = fields.required_texts("scopes");
    let models = fields.texts("models").unwrap_or_default();
    let expires_at: Option<Timestamp> = fields.optional("expires_at");
    fields.finish();
    call.check()?;
    if call.app.authenticator.has_name(&name) {
        let message = format!("a key of the server's environment is named {name:?}; choose another name");
        return Err(Refusal::Conflict(message).into());
    }
    let grant = Grant::parse(&scopes, &models, expires_at)?;
    let (key, token) = call.registry().create_key(name, grant, call.caller()).await?;
    Ok(HttpResponse::Created().json(json!({ "key": key_json(&key), "token": token })))
}

/// Get an API key
#[utoipa::path(
    get,
    path = "/v1/keys/{key}",
    operation_id = "v1_get_key",
    params(ByKeyRef),
    responses(
        (status = 200, description = "The key.", body = StoredKey),
        (status = 404, description = "There is no such key.", body = Failure),
        DoesNotFit,
    ),
)]
pub(super) async fn get(mut call: Call) -> Answer {
    let key = reference(&call)?;
    call.check()?;
    let key = call.registry().key(key).await?;
    Ok(HttpResponse::Ok().json(key_json(&key)))
}

/// Revoke an API key
///
/// It is invalid at once on this server, and within two seconds on others with the same database. That can't be undone.
#[utoipa::path(
    delete,
    path = "/v1/keys/{key}",
    operation_id = "v1_revoke_key",
    params(ByKeyRef),
    responses(
        (status = 200, description = "The key, as it then is.", body = StoredKey),
        (status = 404, description = "There is no such key.", body = Failure),
        (status = 409, description = "The key is revoked already.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn revoke(mut call: Call) -> Answer {
    let key = reference(&call)?;
    call.check()?;
    let key = call.registry().revoke_key(key, call.caller()).await?;
    Ok(HttpResponse::Ok().json(key_json(&key)))
}

/// Give an API key another token
///
/// The answer has the new token, which the registry shows only once. The former one is invalid from then on.
#[utoipa::path(
    post,
    path = "/v1/keys/{key}/rotate",
    operation_id = "v1_rotate_key",
    params(ByKeyRef),
    request_body = Rotation,
    responses(
        (status = 200, description = "The key and its new token.", body = NewKeyToken),
        (status = 400, description = "The end is not in the future.", body = Failure),
        (status = 404, description = "There is no such key.", body = Failure),
        (status = 409, description = "The key is revoked or has expired.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn rotate(mut call: Call) -> Answer {
    let key = reference(&call)?;
    let mut fields = call.body(BodyLimit::Write).await?;
    let expires_at: Option<Timestamp> = fields.optional("expires_at");
    fields.finish();
    call.check()?;
    let (key, token) = call.registry().rotate_key(key, expires_at, call.caller()).await?;
    Ok(HttpResponse::Ok().json(json!({ "key": key_json(&key), "token": token })))
}

/// Reads the key in `/v1/keys/{key}…`: its id or its name.
fn reference(call: &Call) -> Result<KeyRef, ApiError> {
    Ok(KeyRef::parse(&call.path_text(2)?))
}
