//! The audit trail: one event for each change, written in the same transaction.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::json;

use crate::{refusal::Refusal, status::Status, text_enum::text_enum, version::VersionId};

text_enum! {
    /// What happened to a version. Other servers may have written other types.
    #[allow(missing_docs, reason = "the names are self-explanatory")]
    EventKind {
        Create = "create",
        Update = "update",
        Promote = "promote",
        AutoDemote = "auto_demote",
        Eval = "eval",
        Delete = "delete",
        SetTag = "set_tag",
        DeleteTag = "delete_tag",
    }
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// Increases with time.
    pub id: i64,
    /// The version it happened to, which may be deleted.
    pub version_id: VersionId,
    /// One of [`EventKind`], or what another server wrote.
    pub event_type: Cow<'a, str>,
    /// JSON text.
    pub payload: Cow<'a, str>,
    /// Who did it.
    pub actor: Option<Cow<'a, str>>,
    /// UTC.
    pub created_at: Cow<'a, str>,
}

/// An event to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// What happened.
    pub kind: EventKind,
    /// JSON text.
    pub payload: String,
}

impl EventDraft {
    /// Creates an event with this payload, whose map keys must be strings.
    pub(crate) fn new(kind: EventKind, payload: &impl Serialize) -> Self {
        // serde_json fails only on other map keys or if its writer fails.
        Self { kind, payload: serde_json::to_string(payload).unwrap_or_default() }
    }

    /// Creates a `create` or `delete` event: `{name, version, status, artifact_uri}`.
    #[must_use]
    pub fn identity(
        kind: EventKind,
        name: &str,
        label: &str,
        status: Status,
        artifact_uri: Option<&str>,
    ) -> Self {
        let status = status.as_str();
        let payload = json!({"name": name, "version": label, "status": status, "artifact_uri": artifact_uri});
        Self::new(kind, &payload)
    }

    /// Creates an `update` event: `{updated_fields}`.
    #[must_use]
    pub fn update(updated_fields: &[&str]) -> Self {
        Self::new(EventKind::Update, &json!({"updated_fields": updated_fields}))
    }

    /// Creates a `promote` event: `{from, to}`.
    #[must_use]
    pub fn promote(from: Status, to: Status) -> Self {
        Self::new(EventKind::Promote, &json!({"from": from.as_str(), "to": to.as_str()}))
    }

    /// Creates an `auto_demote` event: `{from, to, reason}`. The version went from production to staging.
    #[must_use]
    pub fn auto_demote(reason: &str) -> Self {
        let (from, to) = (Status::Production.as_str(), Status::Staging.as_str());
        Self::new(EventKind::AutoDemote, &json!({"from": from, "to": to, "reason": reason}))
    }

    /// Creates a `set_tag` or `delete_tag` event: `{key, value}`, with null for the value of a deleted tag.
    #[must_use]
    pub fn tag(key: &str, value: Option<&str>) -> Self {
        let kind = if value.is_some() { EventKind::SetTag } else { EventKind::DeleteTag };
        Self::new(kind, &json!({"key": key, "value": value}))
    }

    /// Returns the event if its payload is within `max_bytes`.
    ///
    /// # Errors
    /// [`Refusal::EventTooLarge`] otherwise; the whole change must be refused then.
    pub fn within(self, max_bytes: usize) -> Result<Self, Refusal> {
        match self.payload.len() {
            bytes if bytes > max_bytes => Err(Refusal::EventTooLarge { bytes, max_bytes }),
            _ => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_fields_of_the_contract_in_order() {
        for (event, payload) in [
            (
                EventDraft::identity(EventKind::Create, "m", "1", Status::Experimental, Some("s3://x")),
                r#"{"name":"m","version":"1","status":"experimental","artifact_uri":"s3://x"}"#,
            ),
            (EventDraft::update(&["tags", "metrics"]), r#"{"updated_fields":["tags","metrics"]}"#),
            (
                EventDraft::promote(Status::Experimental, Status::Production),
                r#"{"from":"experimental","to":"production"}"#,
            ),
            (
                EventDraft::auto_demote("new production: 2"),
                r#"{"from":"production","to":"staging","reason":"new production: 2"}"#,
            ),
            (EventDraft::tag("team", Some("nlp")), r#"{"key":"team","value":"nlp"}"#),
            (EventDraft::tag("team", None), r#"{"key":"team","value":null}"#),
        ] {
            assert_eq!(event.payload, payload);
        }
    }

    #[test]
    fn each_kind_parses_back_and_nothing_else_parses() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EventKind::parse("Create"), None);
    }

    #[test]
    fn a_payload_over_the_limit_is_refused() {
        let event = EventDraft::update(&["tags"]);
        let size = event.payload.len();
        assert!(event.clone().within(size).is_ok());
        assert!(matches!(event.within(size - 1), Err(Refusal::EventTooLarge { .. })));
    }
}
