//! Webhooks: who is called about which events, with what, and what follows from the answer.
//!
//! [`address`] judges where a call may go, [`secret`] signs it, [`delivery`] says when it is repeated, and [`payload`] and [`mlflow`]
//! say what is in it. This module must not know how calls are made or how they are stored.

pub mod address;
pub mod delivery;
pub mod mlflow;
pub mod payload;
pub mod secret;
mod values;

use serde::{Deserialize, Serialize};
use serde_json::json;
use url::{Host, Url};

use crate::{
    event::{EventDraft, EventKind},
    filter::{Attribute, Field, Filter, Scope},
    glob::Glob,
    json::{Object, Value},
    limits::check_name,
    refusal::Refusal,
    text_enum::text_enum,
    timestamp::Timestamp,
    version::Version,
};
use secret::Secret;

/// The id of a webhook within the store. Other systems see its [`Webhook::uid`].
pub type WebhookId = i64;

/// Webhooks of a registry at most: each write of an event looks at all.
pub const MAX_WEBHOOKS: usize = 100;
/// The longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;
/// How long calls are signed with the former secret too after a change.
pub const FORMER_SECRET_MS: i64 = 24 * 60 * 60 * 1_000;

/// The API that a webhook belongs to, which decides its events, payloads and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `/v1`: the events of the audit trail, signed as Standard Webhooks define.
    V1,
    /// MLflow's API.
    Mlflow,
}

text_enum! {
    /// Says if events are delivered to a webhook.
    #[allow(missing_docs, reason = "the names are self-explanatory")]
    WebhookStatus {
        Active = "active",
        Disabled = "disabled",
    }
}

/// A subscription to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Given by the store.
    #[serde(skip)]
    pub id: WebhookId,
    /// A UUID.
    pub uid: String,
    /// A name for people; others may have it too.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Where to call.
    pub url: String,
    /// The API it belongs to.
    pub form: Form,
    /// The names of its events; empty for all.
    pub events: Vec<String>,
    /// A pattern that the name of the model must match: `*` stands for any characters.
    pub model: Option<String>,
    /// A filter that the version must pass. Events of a model itself pass none.
    pub filter: Option<String>,
    /// What calls are signed with. One of MLflow's may have none.
    pub secret: Option<Secret>,
    /// The secret before, and until when calls are signed with it too, in milliseconds since 1970.
    pub former_secret: Option<(Secret, i64)>,
    /// False if it is disabled: nothing is delivered or kept for it.
    pub is_active: bool,
    /// Why the server disabled it.
    pub disabled_because: Option<String>,
    /// Who created it.
    pub created_by: String,
    /// UTC, as [`Timestamp`] writes it.
    pub created_at: String,
    /// UTC.
    pub updated_at: String,
}

impl Webhook {
    /// Returns the refusal of a `uid` that no webhook has.
    #[must_use]
    pub fn missing(uid: &str) -> Refusal {
        Refusal::NotFound(format!("there is no webhook {uid:?}"))
    }

    /// Returns the pattern of the models that it is about.
    #[must_use]
    pub fn models(&self) -> &str {
        self.model.as_deref().unwrap_or("*")
    }

    /// Creates a `create_webhook` event: `{id, name}`, with the values after it.
    #[must_use]
    pub fn created(&self) -> EventDraft {
        let payload = json!({"id": self.uid, "name": self.name});
        EventDraft::new(EventKind::CreateWebhook, &payload).with_values(Object::new(), shown(self.values()))
    }

    /// Creates an `update_webhook` event: `{id, name, updated_fields}`, with the values before and after it, unless all are equal.
    #[must_use]
    pub fn changed_to(&self, after: &Self) -> Option<EventDraft> {
        let (old, new) = (self.values(), after.values());
        let fields = new.keys().filter(|field| old.get(*field) != new.get(*field)).map(String::as_str);
        let secret = (self.secret != after.secret).then_some("secret");
        let fields: Vec<_> = fields.chain(secret).collect();
        let payload = json!({"id": self.uid, "name": self.name, "updated_fields": fields});
        let event = EventDraft::new(EventKind::UpdateWebhook, &payload);
        (!fields.is_empty()).then(|| event.with_values(shown(old), shown(new)))
    }

    /// Creates a `delete_webhook` event: `{id, name}`, with the values before it.
    #[must_use]
    pub fn deleted(&self) -> EventDraft {
        let payload = json!({"id": self.uid, "name": self.name});
        EventDraft::new(EventKind::DeleteWebhook, &payload).with_values(shown(self.values()), Object::new())
    }

    /// Returns what a change may change, without secrets.
    fn values(&self) -> Object {
        let status = if self.is_active { WebhookStatus::Active } else { WebhookStatus::Disabled };
        Object::from_iter(
            [
                ("name", self.name.as_str().into()),
                ("description", self.description.as_deref().into()),
                ("url", self.url.as_str().into()),
                ("events", self.events.as_slice().into()),
                ("model", self.model.as_deref().into()),
                ("filter", self.filter.as_deref().into()),
                ("status", status.as_str().into()),
            ]
            .map(|(field, value): (&str, Value)| (field.to_owned(), value)),
        )
    }
}

/// A change of a webhook; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "see `Webhook`")]
pub struct WebhookPatch {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub url: Option<String>,
    pub events: Option<Vec<String>>,
    pub model: Option<Option<String>>,
    pub filter: Option<Option<String>>,
    pub secret: Option<Secret>,
    pub is_active: Option<bool>,
}

impl WebhookPatch {
    /// Returns what is wrong with the values, by field.
    #[must_use]
    pub fn faults(&self, form: Form) -> Vec<(&'static str, String)> {
        let name =
            self.name.as_deref().map(|name| check_name("name", name).map_err(|error| error.to_string()));
        let given = |text: &Option<Option<String>>| text.clone().flatten();
        let secret = self.secret.as_ref().filter(|_| form == Form::V1);
        let checks = [
            ("name", name),
            ("url", self.url.as_deref().map(|url| parse_url(url).map(drop))),
            ("events", self.events.as_deref().map(|events| check_events(form, events))),
            ("model", given(&self.model).map(|glob| parse_glob(&glob).map(drop))),
            ("filter", given(&self.filter).map(|filter| parse_filter(&filter).map(drop))),
            ("secret", secret.map(Secret::check)),
        ];
        let faults = checks.into_iter().filter_map(|(field, check)| Some((field, check?.err()?)));
        faults.collect()
    }

    /// Applies the change, whose values have no faults.
    pub fn apply(self, webhook: &mut Webhook, now: Timestamp) {
        let Webhook { name, description, url, events, model, filter, .. } = webhook;
        replace(name, self.name);
        replace(description, self.description);
        replace(url, self.url.map(|text| parse_url(&text).map_or(text, String::from)));
        replace(events, self.events);
        replace(model, self.model);
        replace(filter, self.filter);
        if let Some(secret) = self.secret.filter(|secret| webhook.secret.as_ref() != Some(secret)) {
            let former = webhook.secret.replace(secret);
            webhook.former_secret = former.map(|former| (former, now.unix_millis() + FORMER_SECRET_MS));
        }
        if let Some(is_active) = self.is_active {
            (webhook.is_active, webhook.disabled_because) = (is_active, None);
        }
        webhook.updated_at = now.after(&webhook.updated_at).to_string();
    }
}

/// Returns values of a webhook for the audit trail, which more people may read: of its URL, whose path may be a secret, only the origin.
fn shown(mut values: Object) -> Object {
    if let Some(url) = values.get_mut("url") {
        let origin =
            url.as_str().and_then(|url| Url::parse(url).ok()).map(|url| url.origin().ascii_serialization());
        *url = origin.into();
    }
    values
}

fn replace<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Returns the URL of a receiver. Its text is the one to call: `Url` reads spellings that no request can have, such as spaces at the end.
///
/// # Errors
/// What is wrong with it.
pub fn parse_url(text: &str) -> Result<Url, String> {
    if text.len() > MAX_URL_BYTES {
        return Err(format!("has {} bytes, and at most {MAX_URL_BYTES} are allowed", text.len()));
    }
    let url = Url::parse(text)
        .map_err(|error| format!("is not a URL ({error}); give one like https://ci.example.org/hook"))?;
    if url.as_str().len() > MAX_URL_BYTES {
        return Err(format!(
            "has {} bytes once it is encoded, and at most {MAX_URL_BYTES} are allowed",
            url.as_str().len()
        ));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "has the scheme {:?}; give a URL that begins with https:// or http://",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "has a user name or a password, which lists would show; leave them out and check the signature"
                .to_owned(),
        );
    }
    if url.fragment().is_some() {
        return Err("has a fragment, which is never sent; leave out # and what follows it".to_owned());
    }
    match url.host() {
        None => Err("has no host".to_owned()),
        Some(Host::Domain(host)) if host.trim_matches('.').is_empty() => Err("has no host".to_owned()),
        Some(Host::Domain(host))
            if !host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) =>
        {
            Err(format!(
                "has the host {host:?}, which is no name; only letters, digits, - _ and . are allowed"
            ))
        }
        Some(_) if url.port() == Some(0) => Err("has the port 0; give another one".to_owned()),
        Some(_) => Ok(url),
    }
}

fn check_events(form: Form, events: &[String]) -> Result<(), String> {
    if form == Form::Mlflow {
        let mut parts = events.iter().map(|event| mlflow::parts(event));
        return parts.try_for_each(|(entity, action)| mlflow::parse_event(entity, action).map(drop));
    }
    let types: Vec<_> =
        EventKind::ALL.into_iter().filter(|kind| is_delivered(*kind)).map(EventKind::as_str).collect();
    match events.iter().find(|event| !types.contains(&event.as_str())) {
        None => Ok(()),
        Some(other) => Err(format!(
            "has {other:?}, which is no type of events that webhooks get; give some of {}",
            types.join(", ")
        )),
    }
}

/// Returns true if webhooks get such events: not those of the registry itself, and not those of a purge, which runs while no server does.
fn is_delivered(kind: EventKind) -> bool {
    !kind.is_of_registry() && !matches!(kind, EventKind::Purge | EventKind::PurgeModel)
}

fn parse_glob(text: &str) -> Result<Glob, String> {
    Glob::parse("model", text).map_err(|error| error.to_string())
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    let filter = Filter::parse(text, Scope::Versions).map_err(|error| error.to_string())?;
    if names_alias(&filter) {
        return Err(
            "names alias, which is not a value of the version; subscribe to set_alias instead".to_owned()
        );
    }
    Ok(filter)
}

fn names_alias(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(names_alias),
        Filter::Not(part) => names_alias(part),
        Filter::Condition(condition) => condition.field == Field::Attribute(Attribute::Alias),
    }
}

/// What decides whether a webhook gets an event, ready to be asked many times.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The webhook.
    pub webhook: WebhookId,
    /// The API it belongs to.
    pub form: Form,
    events: Vec<String>,
    model: Option<Glob>,
    filter: Option<Filter>,
}

impl Subscription {
    /// Returns the subscription of a webhook that was stored. One with a pattern or a
    /// filter that this server can't read gets nothing.
    #[must_use]
    pub fn of(webhook: &Webhook) -> Option<Self> {
        let model = webhook.model.as_deref().map(parse_glob).transpose().ok()?;
        let filter = webhook.filter.as_deref().map(parse_filter).transpose().ok()?;
        webhook.is_active.then(|| Self {
            webhook: webhook.id,
            form: webhook.form,
            events: webhook.events.clone(),
            model,
            filter,
        })
    }

    /// Returns true if it is about events of this name.
    #[must_use]
    pub fn includes(&self, event: &str) -> bool {
        self.events.is_empty() || self.events.iter().any(|name| name == event)
    }

    /// Returns true if it is about this model and version.
    #[must_use]
    pub fn is_about(&self, model: &str, version: Option<&Version>) -> bool {
        self.model.as_ref().is_none_or(|glob| glob.matches(model))
            && self.filter.as_ref().is_none_or(|filter| {
                version.is_some_and(|version| filter.matches(&|field: &Field| values::of(version, field)))
            })
    }
}

#[cfg(test)]
mod tests;
