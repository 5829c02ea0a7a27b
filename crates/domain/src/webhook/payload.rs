//! What a webhook of `/v1` sends of an event: the fields of `/v1/events`, and label and status of the version.

use serde_json::json;

use crate::{
    event::EventDraft,
    json::{Object, Value, compact, read_object},
    timestamp::Timestamp,
    version::Version,
};

/// Returns the data of an event as JSON text, without the id, which is not known before it is written.
#[must_use]
pub fn data(
    model: &str,
    version: Option<&Version>,
    event: &EventDraft,
    actor: &str,
    now: Timestamp,
) -> String {
    let mut details = event.details.as_deref().and_then(read_object).unwrap_or_default();
    let mut values = |key: &str| details.shift_remove(key).unwrap_or_else(|| Object::new().into());
    let (before, after) = (values("before"), values("after"));
    let object = Object::from_iter(
        [
            ("model", model.into()),
            ("version", version.map(|version| version.number).into()),
            ("version_id", version.map(|version| version.id).into()),
            ("label", version.map(|version| version.label.as_str()).into()),
            ("status", version.map(|version| version.status.as_str()).into()),
            ("type", event.kind.as_str().into()),
            ("payload", serde_json::from_str(&event.payload).unwrap_or(Value::Null)),
            ("before", before),
            ("after", after),
            ("reason", details.get("reason").cloned().into()),
            ("policies", details.get("policies").cloned().into()),
            ("policy_inputs_sha256", details.get("policy_inputs_sha256").cloned().into()),
            ("actor", actor.into()),
            ("created_at", now.to_rfc3339().into()),
        ]
        .map(|(key, value): (&str, Value)| (key.to_owned(), value)),
    );
    compact(&object)
}

/// Returns the body of a call: type, time, and the data with the id of the event.
#[must_use]
pub fn body(event_type: &str, time: Timestamp, event: Option<i64>, data: &str) -> String {
    let mut fields = event.map(|id| format!("\"id\":{id}")).unwrap_or_default();
    let rest = data.strip_prefix('{').unwrap_or("}");
    if !fields.is_empty() && rest != "}" {
        fields.push(',');
    }
    let event_type = json!(event_type);
    format!(r#"{{"type":{event_type},"timestamp":"{}","data":{{{fields}{rest}}}"#, time.to_rfc3339())
}
