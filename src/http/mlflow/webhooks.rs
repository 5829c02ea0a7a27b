//! `webhooks`: those of MLflow's API, with its events, payloads and signatures. `/v1/webhooks` shows them too.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use serde_json::{Value, json};

use crate::domain::{
    Timestamp,
    webhook::{Form, Webhook, WebhookPatch, mlflow, parse_url, secret::Secret},
};

use super::{
    super::{answer::Answer, error::ApiError, request::Call},
    answer,
    arguments::Arguments,
    error::{MlflowCode, invalid, refused},
    pages::{offset_of, token},
};

/// Webhooks on a page by default, and at most.
const LIMITS: (i64, i64) = (100, 1_000);

pub(super) async fn create(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, url) = (given.required("name")?, given.required("url")?);
    let events = read_events(&given)?.ok_or_else(missing_events)?;
    let patch =
        WebhookPatch { name: Some(name), url: Some(url), events: Some(events), ..read_patch(&given)? };
    check(&call, &patch).await?;
    let webhook = call.registry().create_webhook(Form::Mlflow, patch, call.caller()).await?;
    shown(&webhook)
}

pub(super) async fn list(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let limit = given.integer("max_results")?.unwrap_or(LIMITS.0);
    if !(1..=LIMITS.1).contains(&limit) {
        return Err(invalid(format!("max_results must be between 1 and {}.", LIMITS.1)));
    }
    let offset = match given.text("page_token")?.as_deref() {
        None | Some("") => 0,
        Some(token) => offset_of(token)?,
    };
    let webhooks = call.registry().webhooks().await?;
    let mut webhooks = webhooks.iter().filter(|webhook| webhook.form == Form::Mlflow);
    let rest = webhooks.by_ref().skip(usize::try_from(offset).unwrap_or(usize::MAX));
    let page: Vec<_> = rest.take(usize::try_from(limit).unwrap_or(usize::MAX)).map(json_of).collect();
    if page.is_empty() {
        return answer::done();
    }
    let end = offset.saturating_add(page.len() as u64);
    let mut body = json!({ "webhooks": page });
    if webhooks.next().is_some() {
        body["next_page_token"] = token(end).into();
    }
    Ok(HttpResponse::Ok().json(body))
}

pub(super) async fn get(call: Call) -> Answer {
    shown(&load(&call).await?)
}

pub(super) async fn update(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let webhook = load(&call).await?;
    let patch = WebhookPatch {
        name: given.text("name")?.filter(|name| !name.is_empty()),
        url: given.text("url")?.filter(|url| !url.is_empty()),
        events: read_events(&given)?,
        ..read_patch(&given)?
    };
    check(&call, &patch).await?;
    let webhook = call.registry().update_webhook(webhook.uid, patch, false, call.caller()).await?;
    shown(&webhook)
}

pub(super) async fn delete(call: Call) -> Answer {
    let webhook = load(&call).await?;
    call.registry().delete_webhook(webhook.uid, call.caller()).await?;
    answer::done()
}

pub(super) async fn test(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let event = match &given {
        Arguments::Body(fields) => {
            fields.get("event").filter(|event| !event.is_null()).map(read_event).transpose()?
        }
        Arguments::Query(_) => None,
    };
    let webhook = load(&call).await?;
    let answered = call.registry().test_webhook(&webhook.uid, event, call.caller()).await?;
    let result = match answered.attempt.status {
        Some(status) => {
            json!({ "success": status < 400, "response_status": status, "response_body": answered.body })
        }
        None => {
            let why = answered.attempt.error.unwrap_or_default();
            json!({ "success": false, "error_message": format!("Failed to test webhook: {why}") })
        }
    };
    Ok(HttpResponse::Ok().json(json!({ "result": result })))
}

/// Returns the webhook in the path, if it is one of this API.
async fn load(call: &Call) -> Result<Webhook, ApiError> {
    let id = call.path_text(4)?;
    let webhooks = call.registry().webhooks().await?;
    let found = webhooks.into_iter().find(|webhook| webhook.uid == id && webhook.form == Form::Mlflow);
    found.ok_or_else(|| refused(MlflowCode::ResourceDoesNotExist, format!("Webhook with ID {id} not found.")))
}

/// Reads the fields that creation and change have in common.
fn read_patch(given: &Arguments) -> Result<WebhookPatch, ApiError> {
    let is_active = match given.text("status")?.as_deref() {
        None | Some("") => None,
        Some("ACTIVE") => Some(true),
        Some("DISABLED") => Some(false),
        Some(other) => return Err(invalid(format!("Unknown webhook status: {other}"))),
    };
    let secret = given.text("secret")?.filter(|secret| !secret.is_empty());
    Ok(WebhookPatch {
        description: given.text("description")?.map(|text| Some(text).filter(|text| !text.is_empty())),
        secret: secret.map(Secret::new),
        is_active,
        ..WebhookPatch::default()
    })
}

fn missing_events() -> ApiError {
    invalid(
        "Missing value for required parameter 'events'. See the API docs for more information about request parameters.",
    )
}

/// Reads events, each once and in the order of their names. None is the same as no list.
fn read_events(given: &Arguments) -> Result<Option<Vec<String>>, ApiError> {
    let Arguments::Body(fields) = given else { return Ok(None) };
    let events: BTreeSet<_> = match fields.get("events") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(events)) => events.iter().map(read_event).collect::<Result<_, _>>()?,
        Some(_) => return Err(super::arguments::wrong_value(given, "events")),
    };
    Ok(Some(events.into_iter().collect()).filter(|events: &Vec<_>| !events.is_empty()))
}

fn read_event(event: &Value) -> Result<String, ApiError> {
    let part = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    mlflow::parse_event(part("entity"), part("action")).map_err(invalid)
}

/// Checks name and URL, and where the URL leads now.
async fn check(call: &Call, patch: &WebhookPatch) -> Result<(), ApiError> {
    if let Some(name) = &patch.name {
        mlflow::check_name(name).map_err(invalid)?;
    }
    let Some(text) = &patch.url else { return Ok(()) };
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if scheme != "https" {
        return Err(invalid(format!("Invalid webhook URL scheme: '{scheme}'. Allowed schemes are: https.")));
    }
    let url =
        parse_url(text).map_err(|fault| invalid(format!("Invalid webhook URL '{text}': it {fault}")))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    match call.registry().forbidden_address(url).await? {
        None => Ok(()),
        Some(address) => Err(invalid(format!(
            "Webhook URL must not resolve to a non-public IP address. '{host}' resolves to {address}."
        ))),
    }
}

fn shown(webhook: &Webhook) -> Answer {
    Ok(HttpResponse::Ok().json(json!({ "webhook": json_of(webhook) })))
}

fn json_of(webhook: &Webhook) -> Value {
    let event = |event: &String| {
        let (entity, action) = mlflow::parts(event);
        json!({ "entity": entity.to_ascii_uppercase(), "action": action.to_ascii_uppercase() })
    };
    let millis = |time: &str| Timestamp::parse(time).map_or(0, Timestamp::unix_millis);
    let mut json = json!({
        "webhook_id": webhook.uid,
        "name": webhook.name,
        "url": webhook.url,
        "events": webhook.events.iter().map(event).collect::<Vec<_>>(),
        "status": if webhook.is_active { "ACTIVE" } else { "DISABLED" },
        "creation_timestamp": millis(&webhook.created_at),
        "last_updated_timestamp": millis(&webhook.updated_at),
    });
    if let Some(description) = &webhook.description {
        json["description"] = description.as_str().into();
    }
    json
}
