//! A delivery: one event for one webhook, attempted until it is delivered or parked.

use crate::{model::ModelKey, text_enum::text_enum, timestamp::Timestamp};

use super::{Form, Webhook, WebhookId, payload};

/// How long a delivery is attempted, from its event or its replay on.
pub const MAX_TRYING_MS: i64 = 24 * 60 * 60 * 1_000;
/// The longest pause between two attempts.
const MAX_PAUSE_MS: u64 = 60 * 60 * 1_000;
/// How long deliveries are kept once they are delivered.
pub const KEEP_DELIVERED_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// How long deliveries are kept once they are parked.
pub const KEEP_PARKED_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// How much of an answer or an error is kept, in bytes.
pub const MAX_KEPT_BYTES: usize = 300;
/// Why a delivery is parked that was pending when its webhook was disabled.
pub const DISABLED: &str = "the webhook was disabled";

text_enum! {
    /// What became of a delivery.
    DeliveryState {
        /// It is to be attempted, perhaps again.
        Pending = "pending",
        /// The receiver has it.
        Delivered = "delivered",
        /// All attempts failed, or its webhook was disabled; a replay begins again.
        Parked = "parked",
    }
}

/// A delivery to be written with its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryDraft {
    /// The webhook.
    pub webhook: WebhookId,
    /// The name of the model.
    pub model_name: String,
    /// The name of the event, in terms of the webhook's API.
    pub event_type: String,
    /// JSON text of an object: what is sent of the event. The id of an event of `/v1` is added when it is sent.
    pub data: String,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Increases with time.
    pub id: i64,
    /// The webhook.
    pub webhook: WebhookId,
    /// The event of the audit trail.
    pub event: i64,
    /// The model.
    pub model: ModelKey,
    /// Its name at that time.
    pub model_name: String,
    /// The name of the event, in terms of the webhook's API.
    pub event_type: String,
    /// JSON text of an object.
    pub data: String,
    /// When the event happened, in milliseconds since 1970, as all times here.
    pub created_ms: i64,
    /// When attempts began: then too, or at the last replay.
    pub queued_ms: i64,
    /// What became of it.
    pub state: DeliveryState,
    /// When it is attempted next, if it is pending.
    pub due_ms: i64,
    /// How often it was attempted since then.
    pub attempts: i64,
    /// The last attempt.
    pub last: Option<Attempt>,
}

/// An attempt, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at_ms: i64,
    /// The status of the answer, if there was one.
    pub status: Option<i64>,
    /// How long it took.
    pub latency_ms: i64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Attempt {
    /// Returns true if the receiver has taken it.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Returns true if the receiver says that it is gone for good: then the webhook is disabled.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.status == Some(410)
    }
}

/// What a receiver gets: an id, the same in each attempt, and the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id, by which a receiver recognizes a call that it has had already.
    pub id: String,
    /// JSON text.
    pub body: String,
}

impl Delivery {
    /// The name of the list of deliveries in its cursors.
    pub const LIST_NAME: &str = "deliveries.desc";
    /// Deliveries on a page by default, and at most.
    pub const LIMITS: (i64, i64) = (100, 500);

    /// Returns what is sent. With the time in it, an id means one event even in a registry that was restored from a backup. In
    /// MLflow's form an event can be several messages, so there the id is the one of the delivery.
    #[must_use]
    pub fn message(&self, form: Form) -> Message {
        let time = Timestamp::from_unix_millis(self.created_ms);
        let (of, body) = match form {
            Form::V1 => (
                format!("evt_{}", self.event),
                payload::body(&self.event_type, time, Some(self.event), &self.data),
            ),
            Form::Mlflow => {
                (format!("dlv_{}", self.id), super::mlflow::body(&self.event_type, time, &self.data))
            }
        };
        Message { id: format!("{of}_{}", self.created_ms), body }
    }

    /// Returns why the last attempt failed, or why there was none.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match &self.last {
            Some(last) => last.error.as_deref(),
            None => (self.state == DeliveryState::Parked).then_some(DISABLED),
        }
    }

    /// Returns the delivery after an attempt. `random` is between 0 and 1.
    #[must_use]
    pub fn after(mut self, attempt: Attempt, first_pause_ms: u64, random: f64) -> Self {
        self.attempts += 1;
        let ended_ms = attempt.at_ms + attempt.latency_ms;
        if attempt.is_delivered() {
            self.state = DeliveryState::Delivered;
        } else if ended_ms - self.queued_ms >= MAX_TRYING_MS {
            self.state = DeliveryState::Parked;
        } else {
            let pause = pause_ms(self.attempts, first_pause_ms, random);
            self.due_ms = ended_ms.saturating_add(i64::try_from(pause).unwrap_or(i64::MAX));
        }
        self.last = Some(attempt);
        self
    }
}

/// Returns the pause after this many failed attempts: twice as long after each, up to an hour, give or take a fifth.
fn pause_ms(attempts: i64, first_pause_ms: u64, random: f64) -> u64 {
    let doublings = attempts.saturating_sub(1).clamp(0, 32);
    let pause = first_pause_ms.saturating_mul(1 << doublings).min(MAX_PAUSE_MS);
    (pause as f64 * (0.8 + 0.4 * random)) as u64
}

/// Which deliveries are sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// The one of this event.
    Event(i64),
    /// Those of all events since this time, in milliseconds since 1970.
    Since(i64),
}

/// Deliveries of a webhook that one server attempts now, in order: consecutive ones of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The webhook.
    pub webhook: Webhook,
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            id: 1,
            webhook: 1,
            event: 7,
            model: 1,
            model_name: "m".to_owned(),
            event_type: "create".to_owned(),
            data: r#"{"model":"m"}"#.to_owned(),
            created_ms: 1_769_864_709_250,
            queued_ms: 1_769_864_709_250,
            state: DeliveryState::Pending,
            due_ms: 0,
            attempts: 0,
            last: None,
        }
    }

    fn attempt(at_ms: i64, status: Option<i64>) -> Attempt {
        let error = status.is_none().then(|| "connection refused".to_owned());
        Attempt { at_ms, status, latency_ms: 0, error }
    }

    #[test]
    fn pauses_double_up_to_an_hour_and_vary_by_a_fifth() {
        for (attempts, random, seconds) in [
            (1, 0.5, 5),
            (2, 0.5, 10),
            (3, 0.5, 20),
            (10, 0.5, 2_560),
            (11, 0.5, 3_600),
            (60, 0.5, 3_600),
            (i64::MAX, 0.5, 3_600),
            (1, 0.0, 4),
            (1, 1.0, 6),
        ] {
            assert_eq!(pause_ms(attempts, 5_000, random) / 1_000, seconds, "{attempts}, {random}");
        }
    }

    #[test]
    fn a_delivery_is_attempted_for_a_day_and_then_parked() {
        let mut delivery = delivery();
        let (begun, mut now) = (delivery.queued_ms, delivery.queued_ms);
        while delivery.state == DeliveryState::Pending {
            delivery = delivery.after(attempt(now, Some(503)), 5_000, 0.5);
            now = delivery.due_ms.max(now + 1);
        }
        assert_eq!(delivery.state, DeliveryState::Parked);
        let tried_ms = delivery.last.as_ref().unwrap().at_ms - begun;
        assert!((MAX_TRYING_MS..MAX_TRYING_MS + 3_600_000).contains(&tried_ms), "{tried_ms}");
        assert!((30..40).contains(&delivery.attempts), "{}", delivery.attempts);
    }

    #[test]
    fn only_an_answer_of_200_to_299_is_a_delivery() {
        for (status, state) in [
            (Some(200), DeliveryState::Delivered),
            (Some(204), DeliveryState::Delivered),
            (Some(299), DeliveryState::Delivered),
            (Some(199), DeliveryState::Pending),
            (Some(302), DeliveryState::Pending),
            (Some(410), DeliveryState::Pending),
            (Some(503), DeliveryState::Pending),
            (None, DeliveryState::Pending),
        ] {
            let after = delivery().after(attempt(delivery().queued_ms, status), 5_000, 0.5);
            assert_eq!(after.state, state, "{status:?}");
        }
    }

    #[test]
    fn a_message_has_the_same_id_in_each_attempt() {
        for (form, id) in [(Form::V1, "evt_7_1769864709250"), (Form::Mlflow, "dlv_1_1769864709250")] {
            let first = delivery().message(form);
            assert_eq!(first, delivery().after(attempt(0, None), 1, 0.0).message(form));
            assert_eq!(first.id, id);
        }
        let first = delivery().message(Form::V1);
        assert_eq!(
            first.body,
            r#"{"type":"create","timestamp":"2026-01-31T13:05:09.250Z","data":{"id":7,"model":"m"}}"#
        );
    }
}
