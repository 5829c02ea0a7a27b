//! Answers of `/v1/webhooks`.

use utoipa::ToSchema;

/// A webhook.
#[derive(ToSchema)]
#[schema(as = Webhook)]
pub(in crate::http::v1) struct WebhookV1 {
    /// A UUID.
    id: String,
    name: String,
    description: Option<String>,
    url: String,
    /// `v1`, or `mlflow` if it was created through MLflow's API: then events, payloads and headers are MLflow's.
    api: String,
    /// The types of its events; empty for all.
    events: Vec<String>,
    /// The pattern for names of models.
    model: Option<String>,
    /// The filter for versions.
    filter: Option<String>,
    /// `active` or `disabled`.
    status: String,
    /// Why the server disabled it.
    disabled_because: Option<String>,
    created_by: String,
    created_at: String,
    updated_at: String,
    /// Only after its creation and in the answer to a change of it. Keep it: it is not shown again.
    #[schema(required = false)]
    secret: String,
}

/// All webhooks, the newest first.
#[derive(ToSchema)]
pub(in crate::http::v1) struct Webhooks {
    webhooks: Vec<WebhookV1>,
}

/// What a receiver answered to a test.
#[derive(ToSchema)]
pub(in crate::http::v1) struct WebhookTest {
    /// True if the answer was 200 to 299.
    delivered: bool,
    /// The status of the answer; `null` if there was none.
    #[schema(required)]
    status: Option<i64>,
    latency_ms: i64,
    /// Why it failed, or what the answer says.
    #[schema(required)]
    error: Option<String>,
}

/// A delivery of an event to a webhook.
#[derive(ToSchema)]
#[schema(as = WebhookDelivery)]
pub(in crate::http::v1) struct DeliveryV1 {
    /// Increases with time.
    id: i64,
    /// The event of the audit trail.
    event: i64,
    r#type: String,
    /// The name that the model had then.
    model: String,
    /// What the receiver gets as `webhook-id`, the same in each attempt.
    message_id: String,
    /// `pending`, `delivered` or `parked`.
    state: String,
    /// Attempts since the event or the last replay.
    attempts: i64,
    created_at: String,
    /// When it is sent next; `null` unless it is pending.
    next_attempt_at: Option<String>,
    /// When it was sent last.
    attempted_at: Option<String>,
    /// The status of the last answer.
    status: Option<i64>,
    /// How long the last attempt took.
    latency_ms: Option<i64>,
    /// Why the last attempt failed, or the beginning of the answer.
    error: Option<String>,
}

/// A page of deliveries, the newest first.
#[derive(ToSchema)]
pub(in crate::http::v1) struct Deliveries {
    deliveries: Vec<DeliveryV1>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// Confirms a replay.
#[derive(ToSchema)]
pub(in crate::http::v1) struct Replayed {
    /// How many deliveries are sent again.
    replayed: u64,
}
