//! The webhooks of MLflow's API: its events, and what it sends of them. The names, messages and fields are MLflow's.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    event::{EventDraft, EventKind},
    json::{Object, read_object},
    mlflow::{PROMPT_TAG, is_prompt},
    model::Model,
    status::Status,
    tags::Tags,
    timestamp::Timestamp,
    version::Version,
};

/// The actions of each entity, in MLflow's order.
const ACTIONS: [(&str, &[&str]); 10] = [
    ("registered_model", &["created"]),
    ("model_version", &["created"]),
    ("model_version_tag", &["deleted", "set"]),
    ("model_version_alias", &["created", "deleted"]),
    ("prompt", &["created"]),
    ("prompt_version", &["created"]),
    ("prompt_tag", &["deleted", "set"]),
    ("prompt_version_tag", &["deleted", "set"]),
    ("prompt_alias", &["created", "deleted"]),
    ("budget_policy", &["exceeded"]),
];
/// Tags of prompts that are not shown as such.
const PROMPT_TYPE_TAG: &str = "_mlflow_prompt_type";
const PROMPT_TEXT_TAG: &str = "mlflow.prompt.text";

/// Returns the name of an event from its parts, in upper case as MLflow's clients send them: `model_version.created`.
///
/// # Errors
/// MLflow's message.
pub fn parse_event(entity: &str, action: &str) -> Result<String, String> {
    let (entity, action) = (entity.to_ascii_lowercase(), action.to_ascii_lowercase());
    let Some((_, actions)) = ACTIONS.iter().find(|(known, _)| *known == entity) else {
        return Err(format!("Unknown webhook entity: {}", entity.to_ascii_uppercase()));
    };
    if !actions.contains(&action.as_str()) {
        let valid: Vec<_> = actions.iter().map(|action| format!("'{action}'")).collect();
        return Err(format!(
            "Invalid action '{action}' for entity '{entity}'. Valid actions are: [{}]",
            valid.join(", ")
        ));
    }
    Ok(format!("{entity}.{action}"))
}

/// Checks the name of a webhook.
///
/// # Errors
/// MLflow's message.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_end = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    let is_valid = (1..=63).contains(&bytes.len())
        && bytes.iter().all(|c| is_end(*c) || b"._-".contains(c))
        && [bytes.first(), bytes.last()].iter().all(|end| end.is_some_and(|c| is_end(*c)));
    if is_valid {
        return Ok(());
    }
    Err(format!(
        "Webhook name '{name}' is invalid. It must start and end with a letter or digit, be less than 63 characters long, and \
         contain only letters, digits, dots (.), underscores (_), and hyphens (-)."
    ))
}

/// Returns the entity and the action of an event's name.
#[must_use]
pub fn parts(event: &str) -> (&str, &str) {
    event.split_once('.').unwrap_or((event, ""))
}

/// Returns the body of a call.
#[must_use]
pub fn body(event: &str, time: Timestamp, data: &str) -> String {
    let (entity, action) = parts(event);
    format!(
        r#"{{"entity":"{entity}","action":"{action}","timestamp":"{}","data":{data}}}"#,
        time.to_rfc3339()
    )
}

/// What happened, in terms of MLflow: the name of the event, and JSON text of its data.
pub type Occurrence = (String, String);

/// Returns what an event of a version is in terms of MLflow, if anything. `of_prompt` is true for a version of a prompt.
#[must_use]
pub fn of_version(version: &Version, event: &EventDraft, of_prompt: bool) -> Option<Occurrence> {
    let payload = read_object(&event.payload).unwrap_or_default();
    let field = |name: &str| payload.get(name).cloned().unwrap_or(Value::Null);
    let (model, prompt) =
        if of_prompt { ("prompt", "prompt_version") } else { ("model_version", "model_version") };
    let of_alias = |action: &str, alias: Value| {
        let mut data = json!({ "name": version.name, "alias": alias });
        if action == "created" {
            data["version"] = version.number.to_string().into();
        }
        (format!("{model}_alias.{action}"), data)
    };
    let (name, data) = match event.kind {
        EventKind::Create => (format!("{prompt}.created"), created(version, of_prompt)),
        EventKind::SetTag => {
            let value = Tags::of(version).get(field("key").as_str()?)?.to_owned();
            (format!("{prompt}_tag.set"), tag(version, field("key"), Some(value)))
        }
        EventKind::DeleteTag => (format!("{prompt}_tag.deleted"), tag(version, field("key"), None)),
        EventKind::SetAlias => of_alias("created", field("alias")),
        EventKind::DeleteAlias => of_alias("deleted", field("alias")),
        // The alias `production` is the status.
        EventKind::Promote if field("to") == Status::Production.as_str() => {
            of_alias("created", "production".into())
        }
        EventKind::Promote if field("from") == Status::Production.as_str() => {
            of_alias("deleted", "production".into())
        }
        _ => return None,
    };
    Some((name, data.to_string()))
}

fn created(version: &Version, of_prompt: bool) -> Value {
    let tags = Tags::of(version);
    let mut tags = tags.by_key();
    let number = version.number.to_string();
    let description = version.description.as_deref().filter(|text| !text.is_empty());
    if of_prompt {
        let template = tags.remove(PROMPT_TEXT_TAG);
        tags.retain(|key, _| ![PROMPT_TAG, PROMPT_TYPE_TAG].contains(key));
        return json!({
            "name": version.name, "version": number, "template": template, "tags": tags, "description": description,
        });
    }
    let run = version.run_id.as_deref().filter(|run| !run.is_empty());
    json!({
        "name": version.name, "version": number, "source": version.artifact_uri, "run_id": run, "tags": tags,
        "description": description,
    })
}

fn tag(version: &Version, key: Value, value: Option<String>) -> Value {
    let mut data = json!({ "name": version.name, "version": version.number.to_string(), "key": key });
    if let Some(value) = value {
        data["value"] = value.into();
    }
    data
}

/// Returns what an event of a model itself is in terms of MLflow. Of changed tags, only those of prompts are events.
#[must_use]
pub fn of_model(model: &Model, event: &EventDraft) -> Vec<Occurrence> {
    let of_prompt = is_prompt(&model.tags);
    match event.kind {
        EventKind::CreateModel => {
            let shown = |key: &&String| !of_prompt || ![PROMPT_TAG, PROMPT_TYPE_TAG].contains(&key.as_str());
            let tags: BTreeMap<_, _> = model.tags.iter().filter(|(key, _)| shown(key)).collect();
            let data = json!({ "name": model.name, "tags": tags, "description": model.description });
            let entity = if of_prompt { "prompt" } else { "registered_model" };
            vec![(format!("{entity}.created"), data.to_string())]
        }
        EventKind::UpdateModel if of_prompt => changed_tags(model, event),
        _ => Vec::new(),
    }
}

fn changed_tags(model: &Model, event: &EventDraft) -> Vec<Occurrence> {
    let details = event.details.as_deref().and_then(read_object).unwrap_or_default();
    let tags = |side: &str| -> Object {
        let tags = details.get(side).and_then(|values| values.get("tags"));
        tags.and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let (before, after) = (tags("before"), tags("after"));
    // The event has only the size of very long tags.
    if !before.values().chain(after.values()).all(Value::is_string) {
        return Vec::new();
    }
    let set = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    let set = set.map(|(key, value)| {
        ("prompt_tag.set".to_owned(), json!({ "name": model.name, "key": key, "value": value }).to_string())
    });
    let deleted = before.keys().filter(|key| !after.contains_key(*key));
    let deleted = deleted
        .map(|key| ("prompt_tag.deleted".to_owned(), json!({ "name": model.name, "key": key }).to_string()));
    set.chain(deleted).collect()
}

/// Returns an example of an event's data, which a test of a webhook sends.
#[must_use]
pub fn example(event: &str) -> String {
    let (entity, action) = parts(event);
    let kind = if entity.starts_with("prompt") { "prompt" } else { "model" };
    let name = format!("example_{kind}");
    let mut data = json!({ "name": name });
    match entity {
        "registered_model" | "prompt" => {
            data["tags"] = json!({ "example_key": "example_value" });
            data["description"] = format!("An example {kind}").into();
        }
        "model_version" | "prompt_version" => {
            data["version"] = "1".into();
            data["tags"] = json!({ "example_key": "example_value" });
            data["description"] = format!("An example {kind} version").into();
        }
        alias if alias.ends_with("_alias") => {
            data["alias"] = "example_alias".into();
            if action == "created" {
                data["version"] = "1".into();
            }
        }
        _ => {
            data["key"] = "example_key".into();
            if action == "set" {
                data["value"] = "example_value".into();
            }
        }
    }
    data.to_string()
}
