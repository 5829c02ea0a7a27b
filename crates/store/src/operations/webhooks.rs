//! Changes of webhooks, and the deliveries that an event is for.

use registry_domain::{
    EventDraft, Model, ModelKey, REGISTRY_KEY, Refusal, Scope, Timestamp, Version,
    mlflow::is_prompt,
    webhook::{
        Form, MAX_WEBHOOKS, Subscription, Webhook, WebhookPatch,
        delivery::{DeliveryDraft, Replay},
        mlflow, payload,
    },
};

use super::Context;
use crate::{StoreError, WriteStore};

/// The actor of the events of deliveries.
const DELIVERER: &str = "registry:webhooks";

/// What an event happened to.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    Version(&'a Version),
    Model(&'a Model),
}

impl Subject<'_> {
    fn model(&self) -> (ModelKey, &str) {
        match self {
            Self::Version(version) => (version.model, &version.name),
            Self::Model(model) => (model.key, &model.name),
        }
    }

    fn version(&self) -> Option<&Version> {
        if let Self::Version(version) = self { Some(version) } else { None }
    }
}

/// Adds a delivery of an event, which was just appended, for each webhook that subscribes to it.
pub(super) fn notify(
    store: &mut dyn WriteStore,
    subject: Subject<'_>,
    event: &EventDraft,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let subscriptions = store.subscriptions()?;
    let ((key, name), version) = (subject.model(), subject.version());
    let about = subscriptions.iter().filter(|subscription| subscription.is_about(name, version));
    let mut drafts = Vec::new();
    // Only what a subscription needs is made, and only once.
    let (mut data, mut occurrences) = (None, None);
    for subscription in about {
        match subscription.form {
            Form::V1 if subscription.includes(event.kind.as_str()) => {
                let data = data
                    .get_or_insert_with(|| payload::data(name, version, event, context.actor, context.now));
                drafts.push(draft(subscription, name, event.kind.as_str(), data));
            }
            Form::V1 => {}
            Form::Mlflow => {
                if occurrences.is_none() {
                    occurrences = Some(in_mlflow(store, subject, event)?);
                }
                let occurrences = occurrences.iter().flatten();
                let wanted = occurrences.filter(|(event, _)| subscription.includes(event));
                drafts.extend(wanted.map(|(event, data)| draft(subscription, name, event, data)));
            }
        }
    }
    if drafts.is_empty() {
        return Ok(());
    }
    store.add_deliveries(key, &drafts, context.now.unix_millis())
}

fn draft(subscription: &Subscription, model: &str, event_type: &str, data: &str) -> DeliveryDraft {
    DeliveryDraft {
        webhook: subscription.webhook,
        model_name: model.to_owned(),
        event_type: event_type.to_owned(),
        data: data.to_owned(),
    }
}

fn in_mlflow(
    store: &mut dyn WriteStore,
    subject: Subject<'_>,
    event: &EventDraft,
) -> Result<Vec<mlflow::Occurrence>, StoreError> {
    Ok(match subject {
        Subject::Model(model) => mlflow::of_model(model, event),
        Subject::Version(version) => {
            let model = store.find_model(&version.name)?;
            let of_prompt = model.is_some_and(|model| is_prompt(&model.tags));
            mlflow::of_version(version, event, of_prompt).into_iter().collect()
        }
    })
}

/// Adds a webhook.
///
/// # Errors
/// [`Refusal::Forbidden`]; [`Refusal::Conflict`] at [`MAX_WEBHOOKS`].
pub fn create_webhook(
    store: &mut dyn WriteStore,
    webhook: &Webhook,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    require(webhook, context)?;
    if store.count_webhooks()? >= MAX_WEBHOOKS {
        return Err(Refusal::Conflict(format!(
            "the registry has {MAX_WEBHOOKS} webhooks, and more would slow down its writes; delete one first"
        ))
        .into());
    }
    store.save_webhook(webhook)?;
    append(store, &webhook.created(), context.actor, context.now)
}

/// Changes a webhook, of the API that the caller uses, and returns it.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Forbidden`].
pub fn update_webhook(
    store: &mut dyn WriteStore,
    uid: &str,
    patch: WebhookPatch,
    context: &Context<'_>,
) -> Result<Webhook, StoreError> {
    let before = load_webhook(store, uid, context)?;
    let mut webhook = before.clone();
    patch.apply(&mut webhook, context.now);
    require(&webhook, context)?;
    let Some(event) = before.changed_to(&webhook) else { return Ok(before) };
    store.save_webhook(&webhook)?;
    append(store, &event, context.actor, context.now)?;
    Ok(webhook)
}

/// Disables a webhook whose receiver wants no more calls, unless that is done.
///
/// # Errors
/// As [`StoreError`] says.
pub fn disable_webhook(
    store: &mut dyn WriteStore,
    uid: &str,
    because: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(before) = store.find_webhook(uid)? else { return Ok(()) };
    let disabled = Webhook { is_active: false, disabled_because: Some(because.to_owned()), ..before.clone() };
    let Some(event) = before.changed_to(&disabled) else { return Ok(()) };
    store.save_webhook(&disabled)?;
    append(store, &event.because(Some(because)), DELIVERER, now)
}

/// Deletes a webhook and its deliveries.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Forbidden`].
pub fn delete_webhook(
    store: &mut dyn WriteStore,
    uid: &str,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let webhook = load_webhook(store, uid, context)?;
    store.delete_webhook(webhook.id)?;
    append(store, &webhook.deleted(), context.actor, context.now)
}

/// Makes deliveries of a webhook due again, and returns how many.
///
/// # Errors
/// [`Refusal::NotFound`] if there is no such webhook, or it has no delivery of this event; [`Refusal::Conflict`] if it is disabled;
/// [`Refusal::Forbidden`].
pub fn replay_deliveries(
    store: &mut dyn WriteStore,
    uid: &str,
    replay: &Replay,
    context: &Context<'_>,
) -> Result<u64, StoreError> {
    let webhook = load_webhook(store, uid, context)?;
    if !webhook.is_active {
        return Err(Refusal::Conflict("the webhook is disabled; enable it first".to_owned()).into());
    }
    let replayed = store.replay_deliveries(webhook.id, replay, context.now.unix_millis())?;
    match replay {
        Replay::Event(event) if replayed == 0 => Err(Refusal::NotFound(format!(
            "the webhook has no delivery of event {event} that could be sent again: the event was not for it, or too old"
        ))
        .into()),
        _ => Ok(replayed),
    }
}

/// Returns a webhook that the caller may change.
fn load_webhook(store: &mut dyn WriteStore, uid: &str, context: &Context<'_>) -> Result<Webhook, StoreError> {
    context.principal.require(&Scope::Webhooks, None)?;
    let webhook = store.find_webhook(uid)?.ok_or_else(|| Webhook::missing(uid))?;
    require(&webhook, context)?;
    Ok(webhook)
}

/// Checks that the caller may change all models whose events a webhook gets.
fn require(webhook: &Webhook, context: &Context<'_>) -> Result<(), Refusal> {
    context.require(&Scope::Webhooks, webhook.models())
}

fn append(
    store: &mut dyn WriteStore,
    event: &EventDraft,
    actor: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    store.append_event(REGISTRY_KEY, None, event, actor, &now.to_string())
}
