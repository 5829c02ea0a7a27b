//! The use cases of webhooks.

use url::Url;

use crate::{
    actors::{Deliverer, DeliveryOptions},
    client::Answered,
    domain::{
        Page, Scope,
        webhook::{
            Form, Webhook, WebhookPatch,
            delivery::{Delivery, DeliveryState, Message, Replay},
            mlflow, payload,
            secret::{RANDOM_BYTES, Secret},
        },
    },
    store::operations,
    telemetry::Telemetry,
};

use super::{Caller, Registry, RegistryError, Result, random};

#[allow(clippy::missing_errors_doc, reason = "as `RegistryError` says")]
impl Registry {
    /// Starts to deliver events to webhooks.
    #[must_use]
    pub fn with_deliveries(mut self, options: &DeliveryOptions, telemetry: &Telemetry) -> Self {
        let (database, clock) = (self.parts.database.clone(), self.parts.clock.clone());
        self.deliverer = Some(Deliverer::start(options, database, clock, telemetry));
        self
    }

    fn deliverer(&self) -> Result<&Deliverer> {
        self.deliverer.as_ref().ok_or_else(|| RegistryError::Failed("webhooks are off".to_owned()))
    }

    /// Returns all webhooks, the newest first.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>> {
        self.read(|store| store.webhooks()).await
    }

    /// Returns a webhook.
    pub async fn webhook(&self, uid: &str) -> Result<Webhook> {
        let found = self.webhooks().await?.into_iter().find(|webhook| webhook.uid == uid);
        Ok(found.ok_or_else(|| Webhook::missing(uid))?)
    }

    /// Returns an address to which a URL leads now and that may not be called, if there is one.
    pub async fn forbidden_address(&self, url: Url) -> Result<Option<std::net::IpAddr>> {
        let receivers = self.deliverer()?.receivers();
        let check = tokio::task::spawn_blocking(move || receivers.check(&url).err());
        check.await.map_err(|error| RegistryError::Failed(error.to_string()))
    }

    /// Adds a webhook whose values have no faults, with a secret of its own unless it has one, and returns it.
    pub async fn create_webhook(&self, form: Form, patch: WebhookPatch, caller: Caller) -> Result<Webhook> {
        let uid = new_uid()?;
        let patch = match form {
            Form::V1 => WebhookPatch { secret: patch.secret.map_or_else(new_secret, Ok)?.into(), ..patch },
            Form::Mlflow => patch,
        };
        self.change(caller, move |store, context| {
            let now = context.now.to_string();
            let mut webhook = Webhook {
                id: 0,
                uid: uid.clone(),
                name: String::new(),
                description: None,
                url: String::new(),
                form,
                events: Vec::new(),
                model: None,
                filter: None,
                secret: None,
                former_secret: None,
                is_active: true,
                disabled_because: None,
                created_by: context.actor.to_owned(),
                created_at: now.clone(),
                updated_at: now,
            };
            patch.clone().apply(&mut webhook, context.now);
            webhook.updated_at.clone_from(&webhook.created_at);
            operations::create_webhook(store, &webhook, context)?;
            Ok(webhook)
        })
        .await
    }

    /// Changes a webhook and returns it. With `rotates`, it gets a new secret; the former one stays valid for a day.
    pub async fn update_webhook(
        &self,
        uid: String,
        mut patch: WebhookPatch,
        rotates: bool,
        caller: Caller,
    ) -> Result<Webhook> {
        if rotates {
            patch.secret = Some(new_secret()?);
        }
        self.change(caller, move |store, context| {
            operations::update_webhook(store, &uid, patch.clone(), context)
        })
        .await
    }

    /// Deletes a webhook with its deliveries.
    pub async fn delete_webhook(&self, uid: String, caller: Caller) -> Result<()> {
        self.change(caller, move |store, context| operations::delete_webhook(store, &uid, context)).await
    }

    /// Sends a `ping` to a webhook now; one of MLflow's gets an example of an event.
    pub async fn test_webhook(&self, uid: &str, event: Option<String>, caller: Caller) -> Result<Answered> {
        let webhook = self.webhook(uid).await?;
        caller.principal.require(&Scope::Webhooks, Some(webhook.models()))?;
        let now = (self.parts.clock)();
        let body = match webhook.form {
            Form::V1 => payload::body("ping", now, None, &serde_json::json!({ "webhook": uid }).to_string()),
            Form::Mlflow => {
                let event = event.or_else(|| webhook.events.first().cloned()).unwrap_or_default();
                mlflow::body(&event, now, &mlflow::example(&event))
            }
        };
        let message = Message { id: format!("test_{}", new_uid()?), body };
        Ok(self.deliverer()?.test(webhook, message).await?)
    }

    /// Returns a page of a webhook's deliveries, newest first.
    pub async fn deliveries(
        &self,
        uid: &str,
        state: Option<DeliveryState>,
        limit: u32,
        before: Option<i64>,
    ) -> Result<(Vec<Delivery>, Page)> {
        let webhook = self.webhook(uid).await?.id;
        self.read(move |store| store.deliveries(webhook, state, limit, before)).await
    }

    /// Makes deliveries of a webhook due again, and returns how many.
    pub async fn replay_deliveries(&self, uid: String, replay: Replay, caller: Caller) -> Result<u64> {
        self.change(caller, move |store, context| {
            operations::replay_deliveries(store, &uid, &replay, context)
        })
        .await
    }

    /// Counts the deliveries that are pending.
    pub async fn pending_deliveries(&self) -> Result<u64> {
        self.read(|store| store.pending_deliveries()).await
    }
}

fn new_secret() -> Result<Secret> {
    Ok(Secret::of_bytes(&random::<RANDOM_BYTES>()?))
}

/// Returns a random UUID.
fn new_uid() -> Result<String> {
    let mut bytes = random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
