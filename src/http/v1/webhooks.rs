//! `/v1/webhooks`: calls of other systems about events, and what became of them.

use actix_web::{HttpResponse, http::StatusCode};
use serde_json::json;

use crate::domain::{
    Timestamp,
    webhook::{
        Form, Webhook, WebhookPatch, WebhookStatus,
        delivery::{Delivery, DeliveryState, Replay},
        parse_url,
        secret::Secret,
    },
};

use super::{
    super::{
        answer::{self, Answer},
        error::ApiError,
        fields::Fields,
        json::{
            list_of, page_end,
            v1::{write_delivery, write_webhook},
        },
        openapi::{BadCursor, DiskFull, DoesNotFit, Failure, TooLarge},
        request::{BodyLimit, Call},
    },
    schema::{
        ByWebhook, Deleted, Deliveries, NewWebhook, ReplayRequest, Replayed, WebhookChanges, WebhookTest,
        WebhookV1, Webhooks,
    },
};

/// List webhooks
///
/// Secrets are not shown.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    operation_id = "v1_list_webhooks",
    responses((status = 200, description = "All webhooks, the newest first.", body = Webhooks), DoesNotFit),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    call.check()?;
    let webhooks = call.registry().webhooks().await?;
    let mut json = list_of("webhooks", &webhooks, |out, webhook| write_webhook(out, webhook, false));
    json.extend_from_slice(b"]}");
    answer::json(json)
}

/// Create a webhook
///
/// From now on, each event that it subscribes to is delivered at least once, in order for each model: a POST of
/// `{"type", "timestamp", "data"}`, signed as Standard Webhooks define. `data` has the fields of an event of `/v1/events` except
/// its hash, and label and status of the version. The answer shows the secret, once.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    operation_id = "v1_create_webhook",
    request_body = NewWebhook,
    responses(
        (status = 201, description = "The webhook, with its secret.", body = WebhookV1),
        (status = 409, description = "There are as many webhooks as there may be.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn create(mut call: Call) -> Answer {
    let mut fields = call.body(BodyLimit::Write).await?;
    let patch =
        WebhookPatch { name: fields.given("name"), url: fields.given("url"), ..read_patch(&mut fields) };
    fields.finish();
    check(&mut call, Form::V1, &patch).await?;
    let webhook = call.registry().create_webhook(Form::V1, patch, call.caller()).await?;
    answer_webhook(StatusCode::CREATED, &webhook, true)
}

/// Get a webhook
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}",
    operation_id = "v1_get_webhook",
    params(ByWebhook),
    responses(
        (status = 200, description = "The webhook.", body = WebhookV1),
        (status = 404, description = "There is no such webhook.", body = Failure),
        DoesNotFit,
    ),
)]
pub(super) async fn get(mut call: Call) -> Answer {
    let id = call.path_text(2)?;
    call.check()?;
    let webhook = call.registry().webhook(&id).await?;
    answer_webhook(StatusCode::OK, &webhook, false)
}

/// Change a webhook
///
/// While it is disabled, nothing is delivered, and no event is kept for it.
#[utoipa::path(
    patch,
    path = "/v1/webhooks/{id}",
    operation_id = "v1_update_webhook",
    params(ByWebhook),
    request_body = WebhookChanges,
    responses(
        (status = 200, description = "The webhook, with its secret if that has changed.", body = WebhookV1),
        (status = 404, description = "There is no such webhook.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn update(mut call: Call) -> Answer {
    let id = call.path_text(2)?;
    let mut fields = call.body(BodyLimit::Write).await?;
    let patch = WebhookPatch {
        name: fields.not_null("name"),
        url: fields.not_null("url"),
        ..read_patch(&mut fields)
    };
    let rotates = fields.not_null("rotate_secret").unwrap_or(false);
    fields.finish();
    if rotates && patch.secret.is_some() {
        call.refuse("body", "rotate_secret", "not with secret; send one of them");
    }
    // Its events have the names of its API.
    let form = call.registry().webhook(&id).await.map(|webhook| webhook.form);
    check(&mut call, form.as_ref().copied().unwrap_or(Form::V1), &patch).await?;
    form?;
    let with_secret = rotates || patch.secret.is_some();
    let webhook = call.registry().update_webhook(id, patch, rotates, call.caller()).await?;
    answer_webhook(StatusCode::OK, &webhook, with_secret)
}

/// Delete a webhook
///
/// Its deliveries go with it, those that are pending too.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{id}",
    operation_id = "v1_delete_webhook",
    params(ByWebhook),
    responses(
        (status = 200, description = "It is deleted.", body = Deleted),
        (status = 404, description = "There is no such webhook.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn delete(mut call: Call) -> Answer {
    let id = call.path_text(2)?;
    call.check()?;
    call.registry().delete_webhook(id, call.caller()).await?;
    Ok(HttpResponse::Ok().json(json!({ "deleted": true })))
}

/// Test a webhook
///
/// Sends an event of the type `ping` now, once, and answers with what the receiver answered.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/test",
    operation_id = "v1_test_webhook",
    params(ByWebhook),
    responses(
        (status = 200, description = "What the receiver answered.", body = WebhookTest),
        (status = 404, description = "There is no such webhook.", body = Failure),
        DoesNotFit,
    ),
)]
pub(super) async fn test(mut call: Call) -> Answer {
    let id = call.path_text(2)?;
    call.check()?;
    let attempt = call.registry().test_webhook(&id, None, call.caller()).await?.attempt;
    Ok(HttpResponse::Ok().json(json!({
        "delivered": attempt.is_delivered(),
        "status": attempt.status,
        "latency_ms": attempt.latency_ms,
        "error": attempt.error,
    })))
}

/// List the deliveries of a webhook
///
/// Those that were delivered stay for 7 days, those that are parked for 30.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}/deliveries",
    operation_id = "v1_list_deliveries",
    params(
        ByWebhook,
        ("state" = Option<String>, Query, pattern = "^(pending|delivered|parked)$", description = "Only deliveries in this state."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Deliveries on a page, by default 100."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The end of the previous page, from its `next`."),
    ),
    responses(
        (status = 200, description = "A page of deliveries.", body = Deliveries),
        (status = 404, description = "There is no such webhook.", body = Failure),
        BadCursor, DoesNotFit,
    ),
)]
pub(super) async fn deliveries(mut call: Call) -> Answer {
    let id = call.path_text(2)?;
    let state: Option<DeliveryState> = call.query("state");
    let limit = call.limit(Delivery::LIMITS.0, Delivery::LIMITS.1);
    let before = call.cursor(Delivery::LIST_NAME, 0);
    call.check()?;
    let before = before?.map(|cursor| cursor.id);
    let form = call.registry().webhook(&id).await?.form;
    let (deliveries, page) = call.registry().deliveries(&id, state, limit, before).await?;
    let mut json = list_of("deliveries", &deliveries, |out, delivery| write_delivery(out, delivery, form));
    json.extend_from_slice(page_end(&page).as_bytes());
    answer::json(json)
}

/// Send deliveries again
///
/// In any state, the one of an event or all since a time, in their order. A receiver recognizes them by their id.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/replay",
    operation_id = "v1_replay_deliveries",
    params(ByWebhook),
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "They are sent again.", body = Replayed),
        (status = 404, description = "There is no such webhook, or it has no delivery of this event.", body = Failure),
        (status = 409, description = "The webhook is disabled.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn replay(mut call: Call) -> Answer {
    let id = call.path_text(2)?;
    let mut fields = call.body(BodyLimit::Write).await?;
    fields.exactly_one_of(["event", "since"]);
    let (event, since) = (fields.not_null("event"), fields.not_null::<Timestamp>("since"));
    fields.finish();
    call.check()?;
    let since_ms = since.map_or(0, Timestamp::unix_millis);
    let replay = event.map_or(Replay::Since(since_ms), Replay::Event);
    let replayed = call.registry().replay_deliveries(id, replay, call.caller()).await?;
    Ok(HttpResponse::Ok().json(json!({ "replayed": replayed })))
}

/// Reads the fields that creation and change have in common.
fn read_patch(fields: &mut Fields<'_>) -> WebhookPatch {
    WebhookPatch {
        name: None,
        url: None,
        description: fields.nullable("description"),
        events: fields.not_null("events"),
        model: fields.nullable("model"),
        filter: fields.nullable("filter"),
        secret: fields.not_null("secret").map(Secret::new),
        is_active: fields.not_null("status").map(|status: WebhookStatus| status == WebhookStatus::Active),
    }
}

/// Checks the values of a webhook, and where its URL leads now.
async fn check(call: &mut Call, form: Form, patch: &WebhookPatch) -> Result<(), ApiError> {
    for (field, fault) in patch.faults(form) {
        call.refuse("body", field, fault);
    }
    if let Some(Ok(url)) = patch.url.as_deref().map(parse_url)
        && let Some(address) = call.registry().forbidden_address(url).await?
    {
        let fault = format!(
            "leads to {address}, which is not public; give another URL, or allow it by --webhook-allow (CAIA_REGISTRY_WEBHOOK_ALLOW)"
        );
        call.refuse("body", "url", fault);
    }
    call.check()
}

fn answer_webhook(status: StatusCode, webhook: &Webhook, with_secret: bool) -> Answer {
    let mut json = Vec::new();
    write_webhook(&mut json, webhook, with_secret);
    let mut answer = answer::json(json)?;
    *answer.status_mut() = status;
    Ok(answer)
}
