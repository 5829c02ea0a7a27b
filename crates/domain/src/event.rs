//! The audit trail: one event for each change, written in the same transaction.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::json;

use crate::{
    json::{Object, Value},
    model::{Model, ModelKey},
    policy::{Policy, Verdict, verdict::summaries},
    refusal::Refusal,
    status::Status,
    text_enum::text_enum,
    version::VersionId,
};

text_enum! {
    /// What happened to a version, a model or the registry itself. Other servers may have written other types.
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
        Restore = "restore",
        Purge = "purge",
        SetAlias = "set_alias",
        DeleteAlias = "delete_alias",
        CreateModel = "create_model",
        UpdateModel = "update_model",
        RenameModel = "rename_model",
        DeleteModel = "delete_model",
        RestoreModel = "restore_model",
        PurgeModel = "purge_model",
        Approve = "approve",
        RequestApproval = "request_approval",
        WithdrawApproval = "withdraw_approval",
        SetPolicy = "set_policy",
        DeletePolicy = "delete_policy",
        CreateKey = "create_key",
        RotateKey = "rotate_key",
        RevokeKey = "revoke_key",
        CreateWebhook = "create_webhook",
        UpdateWebhook = "update_webhook",
        DeleteWebhook = "delete_webhook",
    }
}

impl EventKind {
    /// Returns true if such events happen to the registry itself, and not to a model or a version.
    #[must_use]
    pub fn is_of_registry(self) -> bool {
        let of_policy = matches!(self, Self::SetPolicy | Self::DeletePolicy);
        let of_key = matches!(self, Self::CreateKey | Self::RotateKey | Self::RevokeKey);
        let of_webhook = matches!(self, Self::CreateWebhook | Self::UpdateWebhook | Self::DeleteWebhook);
        of_policy || of_key || of_webhook
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

/// An event with everything that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrailEvent<'a> {
    /// What the frozen API shows too. `model_id` is 0 if it happened to the model itself.
    pub event: Event<'a>,
    /// False if no payload is stored, which shows as null.
    pub has_payload: bool,
    /// The model, 0 for events of the registry itself and for versions that were deleted before models had keys.
    pub model: ModelKey,
    /// The name that the model has now, or had last; `None` for versions that were deleted before models had keys.
    pub model_name: Option<Cow<'a, str>>,
    /// The number of the version; `None` once it is purged.
    pub number: Option<i64>,
    /// JSON text: values before and after, and the reason.
    pub details: Option<Cow<'a, str>>,
    /// The event before it in the chain of the model.
    pub previous: Option<i64>,
    /// The hash of the event, which includes the hash of that one.
    pub hash: Cow<'a, [u8]>,
}

/// An event to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// What happened.
    pub kind: EventKind,
    /// JSON text, as the frozen API shows it.
    pub payload: String,
    /// JSON text of an object with the values `before` and `after`, and the `reason`, as far as the payload lacks them.
    pub details: Option<String>,
}

/// Longer values are replaced by their size in the details of an event, in bytes of JSON.
const MAX_DETAIL_BYTES: usize = 4 * 1024;
/// The longest value of a tag in the payload of an event.
const MAX_TAG_EVENT_BYTES: usize = 8 * 1024;

impl EventDraft {
    /// Creates an event with this payload, whose map keys must be strings.
    pub(crate) fn new(kind: EventKind, payload: &impl Serialize) -> Self {
        // serde_json fails only on other map keys or if its writer fails.
        Self { kind, payload: serde_json::to_string(payload).unwrap_or_default(), details: None }
    }

    /// Adds the reason that the caller gave.
    #[must_use]
    pub fn because(self, reason: Option<&str>) -> Self {
        match reason {
            None => self,
            Some(reason) => self.with_detail("reason", reason.into()),
        }
    }

    /// Adds what policies said of the change, and the digest of what they saw.
    #[must_use]
    pub fn with_verdicts(self, verdicts: &[Verdict], inputs_sha256: Option<&str>) -> Self {
        self.with_detail("policies", summaries(verdicts))
            .with_detail("policy_inputs_sha256", inputs_sha256.into())
    }

    /// Creates an `approve`, `request_approval` or `withdraw_approval` event: `{name, version, target}`.
    #[must_use]
    pub fn of_approval(kind: EventKind, name: &str, label: &str, target: &str) -> Self {
        Self::new(kind, &json!({"name": name, "version": label, "target": target}))
    }

    /// Creates a `set_policy` or `delete_policy` event: `{name, version}`, with the policy before and after.
    #[must_use]
    pub fn of_policy(
        kind: EventKind,
        name: &str,
        version: i64,
        before: Option<&Policy>,
        after: Option<&Policy>,
    ) -> Self {
        let values = |policy: Option<&Policy>| match policy.map(serde_json::to_value) {
            Some(Ok(Value::Object(values))) => values,
            _ => Object::new(),
        };
        Self::new(kind, &json!({"name": name, "version": version})).with_values(values(before), values(after))
    }

    /// Adds values before and after the change. Values that are equal are left out, and long ones become their size.
    #[must_use]
    pub fn with_values(self, mut before: Object, mut after: Object) -> Self {
        before.retain(|field, value| match after.get(field) {
            Some(new) if new == value => {
                after.remove(field);
                false
            }
            _ => true,
        });
        self.with_detail("before", shortened(before)).with_detail("after", shortened(after))
    }

    /// Adds values before the change, if the payload has those after it. Long ones become their size.
    #[must_use]
    pub(crate) fn with_values_before(self, before: Object) -> Self {
        if before.is_empty() { self } else { self.with_detail("before", shortened(before)) }
    }

    fn with_detail(mut self, key: &str, value: Value) -> Self {
        let mut details = self.details.as_deref().and_then(crate::json::read_object).unwrap_or_default();
        details.insert(key.to_owned(), value);
        self.details = Some(crate::json::compact(&details));
        self
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

    /// Creates an `auto_demote` event: `{from, to, reason}`. The version left production.
    #[must_use]
    pub fn auto_demote(to: Status, reason: &str) -> Self {
        let (from, to) = (Status::Production.as_str(), to.as_str());
        Self::new(EventKind::AutoDemote, &json!({"from": from, "to": to, "reason": reason}))
    }

    /// Creates a `set_tag` or `delete_tag` event: `{key, value}`, with null for the value of a deleted tag.
    ///
    /// A value over [`MAX_TAG_EVENT_BYTES`] becomes its size, since a trail keeps every value for good.
    #[must_use]
    pub fn tag(key: &str, before: Option<&str>, value: Option<&str>) -> Self {
        let kind = if value.is_some() { EventKind::SetTag } else { EventKind::DeleteTag };
        let shown = match value {
            Some(value) if value.len() > MAX_TAG_EVENT_BYTES => json!({ "bytes": value.len() }),
            value => value.into(),
        };
        let values = |value: Option<&str>| value.map(|value| ("value".to_owned(), value.into())).into_iter();
        Self::new(kind, &json!({"key": key, "value": shown}))
            .with_values(values(before).collect(), values(value).collect())
    }

    /// Creates a `restore` event: `{name, version, status}`, with the name and label that it has now.
    #[must_use]
    pub fn restore(name: &str, label: &str, status: Status) -> Self {
        Self::new(EventKind::Restore, &json!({"name": name, "version": label, "status": status.as_str()}))
    }

    /// Creates a `purge` event: `{name, version}`, for a version that can't be restored any more.
    #[must_use]
    pub fn purge(name: &str, label: &str) -> Self {
        Self::new(EventKind::Purge, &json!({"name": name, "version": label}))
    }

    /// Creates a `set_alias` event: `{alias, version, from}`, with labels; `from` is null if the alias is new.
    #[must_use]
    pub fn set_alias(alias: &str, label: &str, from: Option<&str>) -> Self {
        Self::new(EventKind::SetAlias, &json!({"alias": alias, "version": label, "from": from}))
    }

    /// Creates a `delete_alias` event: `{alias, version}`, with the label of its last holder.
    #[must_use]
    pub fn delete_alias(alias: &str, label: &str) -> Self {
        Self::new(EventKind::DeleteAlias, &json!({"alias": alias, "version": label}))
    }

    /// Creates an event of a model: `{name}`.
    #[must_use]
    pub fn of_model(kind: EventKind, name: &str) -> Self {
        Self::new(kind, &json!({ "name": name }))
    }

    /// Creates the event of a change of a model, which may be a new name: `{name, updated_fields}`.
    #[must_use]
    pub fn model_changed(before: &Model, after: &Model) -> Self {
        let kind = if before.name == after.name { EventKind::UpdateModel } else { EventKind::RenameModel };
        let [old, new] = [before, after].map(Model::values);
        let fields: Vec<_> = new.iter().filter(|(field, value)| old.get(*field) != Some(value)).collect();
        let fields: Vec<_> = fields.into_iter().map(|(field, _)| field.as_str()).collect();
        let event = Self::new(kind, &json!({"name": before.name, "updated_fields": fields}));
        event.with_values(old, new)
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

pub(crate) fn shortened(mut values: Object) -> Value {
    for value in values.values_mut() {
        let bytes = match value {
            Value::String(text) => text.len(),
            Value::Array(_) | Value::Object(_) => value.to_string().len(),
            _ => 0,
        };
        if bytes > MAX_DETAIL_BYTES {
            *value = json!({ "bytes": bytes });
        }
    }
    values.into()
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
                EventDraft::auto_demote(Status::Staging, "new production: 2"),
                r#"{"from":"production","to":"staging","reason":"new production: 2"}"#,
            ),
            (EventDraft::tag("team", None, Some("nlp")), r#"{"key":"team","value":"nlp"}"#),
            (EventDraft::tag("team", Some("nlp"), None), r#"{"key":"team","value":null}"#),
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
