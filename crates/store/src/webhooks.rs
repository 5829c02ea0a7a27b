//! Webhooks and the deliveries of events to them, written once for both databases: their SQL is the same but for locks.
//!
//! A delivery is written in the transaction of its event. Deliveries of one webhook and one model go out one after the other, in the
//! order of their ids; the first that is pending decides when. A server claims it for a while (its lease) and sends it and those
//! behind it; if the server dies, they are due again after that. This module must not know how deliveries are sent.

use std::{collections::HashMap, sync::Arc};

use registry_domain::{
    Cursor, ModelKey, Page,
    webhook::{
        Subscription, Webhook, WebhookId,
        delivery::{
            Attempt, Claim, DISABLED, Delivery, DeliveryDraft, DeliveryState, KEEP_DELIVERED_MS,
            KEEP_PARKED_MS, Replay,
        },
    },
};

use crate::{
    StoreError,
    copy::tables::{Row, Value},
};

/// Deliveries that a server claims at once.
const CLAIMED: i64 = 32;
/// Deliveries that a step of pruning looks at.
const PRUNED: i64 = 500;

const ALL: &str = "SELECT id, definition FROM webhooks ORDER BY id DESC";
const BY_UID: &str = "SELECT id, definition FROM webhooks WHERE uid = $1";
const BY_ID: &str = "SELECT id, definition FROM webhooks WHERE id = $1";
const WITH_PENDING: &str = "SELECT id, definition FROM webhooks WHERE EXISTS \
    (SELECT 1 FROM webhook_deliveries WHERE state = 'pending' AND webhook_id = webhooks.id) ORDER BY id";
const INSERT: &str = "INSERT INTO webhooks (uid, definition) VALUES ($1, $2) RETURNING id";
const UPDATE: &str = "UPDATE webhooks SET definition = $1 WHERE id = $2";
const DELETE: &str = "DELETE FROM webhooks WHERE id = $1";
const DELETE_DELIVERIES: &str = "DELETE FROM webhook_deliveries WHERE webhook_id = $1";
/// The event is the last one of its model, which was appended in the same transaction.
const ADD: &str = "INSERT INTO webhook_deliveries \
    (webhook_id, model_key, model, event_type, data, state, created_ms, queued_ms, due_ms, event_id) \
    SELECT $1, $2, $3, $4, $5, 'pending', $6, $6, $6, last_event_id FROM model_heads WHERE model_key = $2";
/// The first pending delivery of each model. There may be many behind each, so models are found step by step along the index.
const DUE: &str = "WITH RECURSIVE lanes (model_key) AS ( \
        SELECT min(model_key) FROM webhook_deliveries WHERE state = 'pending' AND webhook_id = $1 \
        UNION ALL SELECT (SELECT min(model_key) FROM webhook_deliveries \
            WHERE state = 'pending' AND webhook_id = $1 AND model_key > lanes.model_key) \
        FROM lanes WHERE lanes.model_key IS NOT NULL) \
    SELECT head.id, head.model_key FROM lanes JOIN webhook_deliveries AS head ON head.id = \
        (SELECT min(id) FROM webhook_deliveries \
            WHERE state = 'pending' AND webhook_id = $1 AND model_key = lanes.model_key) \
    WHERE head.due_ms <= $2 ORDER BY head.due_ms, head.id LIMIT $3";
macro_rules! columns {
    () => {
        "id, webhook_id, event_id, model_key, model, event_type, data, state, created_ms, queued_ms, due_ms, attempts, \
         attempted_ms, status, latency_ms, error"
    };
}
const OF_LANE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM webhook_deliveries WHERE state = 'pending' AND webhook_id = $1 AND model_key = $2 ORDER BY id LIMIT $3"
);
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM webhook_deliveries WHERE webhook_id = $1 AND id < $2 AND ($3 = '' OR state = $3) ORDER BY id DESC LIMIT $4"
);
const CLAIM: &str = "UPDATE webhook_deliveries SET due_ms = $1, claimed = 1 WHERE id = $2";
/// Makes what a former process has claimed due, where no other one may be sending it.
pub(crate) const RELEASE: &str =
    "UPDATE webhook_deliveries SET due_ms = created_ms, claimed = 0 WHERE claimed = 1 AND state = 'pending'";
/// No parameter is null, whose type PostgreSQL would not know.
const FINISH: &str = "UPDATE webhook_deliveries SET state = $1, due_ms = $2, attempts = $3, attempted_ms = nullif($4, 0), \
    status = nullif($5, 0), latency_ms = $6, error = nullif($7, ''), claimed = 0 WHERE id = $8 AND state = 'pending'";
/// What is being sent counts as parked too.
const PARK: &str = "UPDATE webhook_deliveries SET state = 'parked', claimed = 0, error = $1 \
    WHERE webhook_id = $2 AND state = 'pending'";
const REPLAY_EVENT: &str = "UPDATE webhook_deliveries \
    SET state = 'pending', attempts = 0, queued_ms = $1, due_ms = $1 \
    WHERE webhook_id = $2 AND event_id = $3 AND claimed = 0 RETURNING id";
const REPLAY_SINCE: &str = "UPDATE webhook_deliveries \
    SET state = 'pending', attempts = 0, queued_ms = $1, due_ms = $1 \
    WHERE webhook_id = $2 AND created_ms >= $3 AND claimed = 0 RETURNING id";
const OLDEST: &str =
    "SELECT id, state, created_ms, webhook_id FROM webhook_deliveries WHERE id > $1 ORDER BY id LIMIT $2";
const PRUNE: &str = "DELETE FROM webhook_deliveries WHERE id = $1 AND state <> 'pending'";
const PRUNE_LOST: &str = "DELETE FROM webhook_deliveries WHERE id = $1";
const COUNT_PENDING: &str = "SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'";

/// A connection that runs SQL which both databases understand. Its parameters are numbered in the order in which they first occur.
pub(crate) trait Statements {
    /// What is added to a SELECT whose row stays locked until the transaction ends.
    const LOCK: &'static str;

    /// Reads rows.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError>;
}

/// A connection that runs such SQL to write.
pub(crate) trait Changes: Statements {
    /// Writes, and returns the rows of RETURNING.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    fn change(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError>;
    /// Writes at once or with a later statement.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    fn change_later(&mut self, sql: &'static str, values: &[Value]) -> Result<(), StoreError>;
    /// Returns the subscriptions as this transaction sees them, if they are known.
    fn cached_subscriptions(&mut self) -> Result<Option<Arc<[Subscription]>>, StoreError>;
    /// Keeps subscriptions that were read in this transaction.
    fn cache_subscriptions(&mut self, subscriptions: &Arc<[Subscription]>);
    /// Makes all servers read the subscriptions again, once the transaction is committed.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    fn subscriptions_changed(&mut self) -> Result<(), StoreError>;
    /// Notes that the transaction has added a delivery.
    fn delivery_added(&mut self);
}

/// Reads webhooks and deliveries.
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`")]
pub trait ReadWebhooks {
    /// Returns all webhooks, the newest first.
    fn webhooks(&mut self) -> Result<Vec<Webhook>, StoreError>;
    /// Returns the active webhooks that have deliveries pending, each with the number of models of which some are to be sent now,
    /// at most `most`. `now_ms` is only asked if there are any.
    fn due_webhooks(
        &mut self,
        now_ms: &dyn Fn() -> i64,
        most: usize,
    ) -> Result<Vec<(WebhookId, usize)>, StoreError>;
    /// Returns a page of a webhook's deliveries, newest first: at most `limit` before the delivery `before`.
    fn deliveries(
        &mut self,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        limit: u32,
        before: Option<i64>,
    ) -> Result<(Vec<Delivery>, Page), StoreError>;
    /// Counts the deliveries that are pending.
    fn pending_deliveries(&mut self) -> Result<u64, StoreError>;
}

/// Writes webhooks and deliveries, inside a transaction.
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`")]
pub trait WriteWebhooks {
    /// Returns what all active webhooks subscribe to.
    fn subscriptions(&mut self) -> Result<Arc<[Subscription]>, StoreError>;
    /// Returns the webhook with this `uid`.
    fn find_webhook(&mut self, uid: &str) -> Result<Option<Webhook>, StoreError>;
    /// Returns how many webhooks there are.
    fn count_webhooks(&mut self) -> Result<usize, StoreError>;
    /// Writes a webhook; a new one has the id 0. If it is disabled, its pending deliveries are parked.
    fn save_webhook(&mut self, webhook: &Webhook) -> Result<(), StoreError>;
    /// Deletes a webhook and its deliveries.
    fn delete_webhook(&mut self, id: WebhookId) -> Result<(), StoreError>;
    /// Adds deliveries of the event that was appended last to this model.
    fn add_deliveries(
        &mut self,
        model: ModelKey,
        deliveries: &[DeliveryDraft],
        now_ms: i64,
    ) -> Result<(), StoreError>;
    /// Claims the pending deliveries of a webhook and one model, whose first one is due, until `lease_ms`.
    fn claim_deliveries(
        &mut self,
        webhook: WebhookId,
        now_ms: i64,
        lease_ms: i64,
    ) -> Result<Option<Claim>, StoreError>;
    /// Writes what became of deliveries that were attempted.
    fn finish_deliveries(&mut self, attempted: &[Delivery]) -> Result<(), StoreError>;
    /// Makes deliveries of a webhook due again, and returns how many.
    fn replay_deliveries(
        &mut self,
        webhook: WebhookId,
        replay: &Replay,
        now_ms: i64,
    ) -> Result<u64, StoreError>;
    /// Deletes old deliveries among those after `after`, and those whose webhook is deleted. Returns where to go on, if there may be
    /// more. The first step parks pending deliveries of disabled webhooks: other servers may have added some while that happened.
    fn prune_deliveries(&mut self, now_ms: i64, after: i64) -> Result<Option<i64>, StoreError>;
}

impl<S: Statements> ReadWebhooks for S {
    fn webhooks(&mut self) -> Result<Vec<Webhook>, StoreError> {
        self.rows(ALL, &[])?.into_iter().map(webhook).collect()
    }

    fn due_webhooks(
        &mut self,
        now_ms: &dyn Fn() -> i64,
        most: usize,
    ) -> Result<Vec<(WebhookId, usize)>, StoreError> {
        let mut due = Vec::new();
        for row in self.rows(WITH_PENDING, &[])? {
            if let Some(webhook) = webhook(row).ok().filter(|webhook| webhook.is_active) {
                let limit = i64::try_from(most).unwrap_or(i64::MAX);
                let values = [Value::Integer(webhook.id), Value::Integer(now_ms()), Value::Integer(limit)];
                due.push((webhook.id, self.rows(DUE, &values)?.len()));
            }
        }
        Ok(due)
    }

    fn deliveries(
        &mut self,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        limit: u32,
        before: Option<i64>,
    ) -> Result<(Vec<Delivery>, Page), StoreError> {
        let state = state.map_or("", DeliveryState::as_str).to_owned();
        let values = [
            Value::Integer(webhook),
            Value::Integer(before.unwrap_or(i64::MAX)),
            Value::Text(state),
            Value::Integer(i64::from(limit) + 1),
        ];
        let rows = self.rows(PAGE, &values)?;
        let has_more = rows.len() > limit as usize;
        let deliveries = rows.into_iter().take(limit as usize).map(delivery);
        let deliveries: Vec<_> = deliveries.collect::<Result<_, _>>()?;
        let next = deliveries.last().filter(|_| has_more);
        let next = next.map(|last| Cursor::at(Delivery::LIST_NAME, last.id));
        Ok((deliveries, Page { total: None, next }))
    }

    fn pending_deliveries(&mut self) -> Result<u64, StoreError> {
        let rows = self.rows(COUNT_PENDING, &[])?;
        Ok(rows.first().map_or(0, |row| u64::try_from(integer(row, 0)).unwrap_or(0)))
    }
}

impl<S: Changes> WriteWebhooks for S {
    fn subscriptions(&mut self) -> Result<Arc<[Subscription]>, StoreError> {
        if let Some(known) = self.cached_subscriptions()? {
            return Ok(known);
        }
        // One that can't be read must not end all writes; a check finds it.
        let webhooks = self.rows(ALL, &[])?.into_iter().map(webhook).filter_map(Result::ok);
        let subscriptions = webhooks.filter_map(|webhook| Subscription::of(&webhook)).collect();
        self.cache_subscriptions(&subscriptions);
        Ok(subscriptions)
    }

    fn find_webhook(&mut self, uid: &str) -> Result<Option<Webhook>, StoreError> {
        let sql = format!("{BY_UID}{}", S::LOCK);
        self.rows(&sql, &[Value::Text(uid.to_owned())])?.pop().map(webhook).transpose()
    }

    fn count_webhooks(&mut self) -> Result<usize, StoreError> {
        Ok(self.rows(ALL, &[])?.len())
    }

    fn save_webhook(&mut self, webhook: &Webhook) -> Result<(), StoreError> {
        let definition =
            serde_json::to_string(webhook).map_err(|error| StoreError::Failed(error.to_string()))?;
        let definition = Value::Text(definition);
        if webhook.id == 0 {
            self.change(INSERT, &[Value::Text(webhook.uid.clone()), definition])?;
        } else {
            self.change(UPDATE, &[definition, Value::Integer(webhook.id)])?;
            if !webhook.is_active {
                park(self, webhook.id)?;
            }
        }
        self.subscriptions_changed()
    }

    fn delete_webhook(&mut self, id: WebhookId) -> Result<(), StoreError> {
        for sql in [DELETE_DELIVERIES, DELETE] {
            self.change(sql, &[Value::Integer(id)])?;
        }
        self.subscriptions_changed()
    }

    fn add_deliveries(
        &mut self,
        model: ModelKey,
        deliveries: &[DeliveryDraft],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        for draft in deliveries {
            let values = [
                Value::Integer(draft.webhook),
                Value::Integer(model),
                Value::Text(draft.model_name.clone()),
                Value::Text(draft.event_type.clone()),
                Value::Text(draft.data.clone()),
                Value::Integer(now_ms),
            ];
            self.change_later(ADD, &values)?;
            self.delivery_added();
        }
        Ok(())
    }

    fn claim_deliveries(
        &mut self,
        id: WebhookId,
        now_ms: i64,
        lease_ms: i64,
    ) -> Result<Option<Claim>, StoreError> {
        // The lock keeps other servers from claiming the same at the same time.
        let sql = format!("{BY_ID}{}", S::LOCK);
        let Some(webhook) = self.rows(&sql, &[Value::Integer(id)])?.pop().map(webhook).transpose()? else {
            return Ok(None);
        };
        if !webhook.is_active {
            return Ok(None);
        }
        let values = [Value::Integer(id), Value::Integer(now_ms), Value::Integer(1)];
        let Some(head) = self.rows(DUE, &values)?.pop() else { return Ok(None) };
        let lane = [Value::Integer(id), Value::Integer(integer(&head, 1)), Value::Integer(CLAIMED)];
        let deliveries = self.rows(OF_LANE, &lane)?.into_iter().map(delivery).collect::<Result<_, _>>()?;
        self.change(CLAIM, &[Value::Integer(lease_ms), Value::Integer(integer(&head, 0))])?;
        Ok(Some(Claim { webhook, deliveries }))
    }

    fn finish_deliveries(&mut self, attempted: &[Delivery]) -> Result<(), StoreError> {
        for delivery in attempted {
            let last = delivery.last.as_ref();
            let number = |of: fn(&Attempt) -> i64| Value::Integer(last.map_or(0, of));
            let values = [
                Value::Text(delivery.state.as_str().to_owned()),
                Value::Integer(delivery.due_ms),
                Value::Integer(delivery.attempts),
                number(|last| last.at_ms),
                number(|last| last.status.unwrap_or(0)),
                number(|last| last.latency_ms),
                Value::Text(last.and_then(|last| last.error.clone()).unwrap_or_default()),
                Value::Integer(delivery.id),
            ];
            self.change_later(FINISH, &values)?;
        }
        Ok(())
    }

    fn replay_deliveries(
        &mut self,
        webhook: WebhookId,
        replay: &Replay,
        now_ms: i64,
    ) -> Result<u64, StoreError> {
        let (sql, of) = match replay {
            Replay::Event(event) => (REPLAY_EVENT, *event),
            Replay::Since(since_ms) => (REPLAY_SINCE, *since_ms),
        };
        let rows =
            self.change(sql, &[Value::Integer(now_ms), Value::Integer(webhook), Value::Integer(of)])?;
        self.delivery_added();
        Ok(rows.len() as u64)
    }

    fn prune_deliveries(&mut self, now_ms: i64, after: i64) -> Result<Option<i64>, StoreError> {
        let mut is_disabled = HashMap::new();
        for row in self.rows(ALL, &[])? {
            is_disabled.insert(integer(&row, 0), webhook(row).is_ok_and(|webhook| !webhook.is_active));
        }
        if after == 0 {
            for (id, _) in is_disabled.iter().filter(|(_, is_disabled)| **is_disabled) {
                park(self, *id)?;
            }
        }
        let rows = self.rows(OLDEST, &[Value::Integer(after), Value::Integer(PRUNED)])?;
        for row in &rows {
            if !is_disabled.contains_key(&integer(row, 3)) {
                self.change_later(PRUNE_LOST, &[Value::Integer(integer(row, 0))])?;
                continue;
            }
            let keep_ms = match text(row, 1) {
                "delivered" => KEEP_DELIVERED_MS,
                "parked" => KEEP_PARKED_MS,
                _ => continue,
            };
            if integer(row, 2) < now_ms - keep_ms {
                self.change_later(PRUNE, &[Value::Integer(integer(row, 0))])?;
            }
        }
        // What follows a delivery that is kept in any state is newer still.
        let last = rows.last().filter(|last| integer(last, 2) < now_ms - KEEP_DELIVERED_MS);
        Ok(last.map(|last| integer(last, 0)))
    }
}

/// Parks the pending deliveries of a webhook that is disabled.
fn park(store: &mut impl Changes, id: WebhookId) -> Result<(), StoreError> {
    store.change_later(PARK, &[Value::Text(DISABLED.to_owned()), Value::Integer(id)])
}

fn webhook(row: Row) -> Result<Webhook, StoreError> {
    let read: Result<Webhook, _> = serde_json::from_str(text(&row, 1));
    let read = read.map_err(|error| StoreError::Failed(format!("a webhook can't be read: {error}")))?;
    Ok(Webhook { id: integer(&row, 0), ..read })
}

fn delivery(row: Row) -> Result<Delivery, StoreError> {
    let given = |column: usize| row.get(column).is_some_and(|value| *value != Value::Null);
    let state = DeliveryState::parse(text(&row, 7));
    let last = given(12).then(|| Attempt {
        at_ms: integer(&row, 12),
        status: given(13).then(|| integer(&row, 13)),
        latency_ms: integer(&row, 14),
        error: given(15).then(|| text(&row, 15).to_owned()),
    });
    Ok(Delivery {
        id: integer(&row, 0),
        webhook: integer(&row, 1),
        event: integer(&row, 2),
        model: integer(&row, 3),
        model_name: text(&row, 4).to_owned(),
        event_type: text(&row, 5).to_owned(),
        data: text(&row, 6).to_owned(),
        state: state.ok_or_else(|| StoreError::Failed("a delivery has an unknown state".to_owned()))?,
        created_ms: integer(&row, 8),
        queued_ms: integer(&row, 9),
        due_ms: integer(&row, 10),
        attempts: integer(&row, 11),
        last,
    })
}

fn integer(row: &[Value], column: usize) -> i64 {
    if let Some(Value::Integer(number)) = row.get(column) { *number } else { 0 }
}

fn text(row: &[Value], column: usize) -> &str {
    if let Some(Value::Text(text)) = row.get(column) { text } else { "" }
}
