//! Bodies of answers.

use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

use crate::domain::json::Object;

use super::StatusName;

/// A version of a model. Every field is present, and `null` if unknown.
#[derive(ToSchema)]
#[schema(examples(json!({
    "id": 1,
    "name": "minilm",
    "version": "v1",
    "status": "production",
    "artifact_uri": "s3://models/minilm/v1/model.safetensors",
    "checkpoint_sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "checkpoint_size_bytes": 90_868_376,
    "config_sha256": null,
    "config_size_bytes": null,
    "run_id": null,
    "git_commit": "4f1c2ab",
    "created_by": "ann",
    "source_host": "127.0.0.1",
    "frozen": false,
    "local_checkpoint_path": null,
    "local_config_path": null,
    "d_model": 384,
    "n_layers": 6,
    "n_heads": 12,
    "vocab_size": 30_522,
    "params": null,
    "training_step": 20_000,
    "training_loss": 0.31,
    "dataset": null,
    "description": "sentence embeddings",
    "tags": ["embedding"],
    "metrics": {"suites": {"smoke-v1": {"score": 0.82, "_meta": {"recorded_at": "2026-11-22T23:10:43.511000+00:00", "actor": "key:e39f…"}}}},
    "created_at": "2026-11-22 23:10:42.007",
    "updated_at": "2026-11-22 23:10:56.120"
})))]
pub(in crate::http) struct Model {
    /// Never reused, even after the version is deleted.
    id: i64,
    name: String,
    /// Unique for the name.
    version: String,
    status: StatusName,
    artifact_uri: Option<String>,
    /// 64 hex digits in lower case.
    checkpoint_sha256: Option<String>,
    checkpoint_size_bytes: Option<i64>,
    config_sha256: Option<String>,
    config_size_bytes: Option<i64>,
    run_id: Option<String>,
    git_commit: Option<String>,
    created_by: Option<String>,
    source_host: Option<String>,
    frozen: bool,
    /// `null` unless the server is configured to show local paths.
    local_checkpoint_path: Option<String>,
    /// `null` unless the server is configured to show local paths.
    local_config_path: Option<String>,
    d_model: Option<i64>,
    n_layers: Option<i64>,
    n_heads: Option<i64>,
    vocab_size: Option<i64>,
    params: Option<i64>,
    training_step: Option<i64>,
    training_loss: Option<f64>,
    dataset: Option<String>,
    description: Option<String>,
    tags: Option<Vec<String>>,
    /// Scores by suite are in `suites`.
    metrics: Option<Object>,
    /// UTC. Versions written by an old server may lack the milliseconds.
    created_at: String,
    /// UTC. It strictly increases with every change of the version.
    updated_at: String,
}

/// A change of a version.
#[derive(ToSchema)]
#[schema(examples(json!({
    "id": 4,
    "model_id": 1,
    "event_type": "promote",
    "payload": {"from": "experimental", "to": "production"},
    "actor": "key:e39f…",
    "created_at": "2026-11-22 23:10:43.702"
})))]
pub(in crate::http) struct Event {
    /// Increases with time.
    id: i64,
    /// The version that changed. It may have been deleted.
    model_id: i64,
    /// `create`, `update`, `promote`, `auto_demote`, `eval` or `delete`; other servers may have written other types.
    event_type: String,
    /// `create`, `delete`: `{name, version, status, artifact_uri}`; `update`: `{updated_fields}`; `promote`: `{from, to}`; `auto_demote`:
    /// `{from, to, reason}`; `eval`: `{suite, metrics, prior_metrics_sha256}` and the other fields that were given.
    payload: Value,
    actor: Option<String>,
    /// UTC.
    created_at: String,
}

/// Confirms that the version is deleted.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"status": "deleted", "id": 1})))]
pub(in crate::http) struct Deleted {
    #[schema(pattern = "^deleted$")]
    pub(in crate::http) status: &'static str,
    pub(in crate::http) id: i64,
}

/// Counts of versions.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"total_models": 3, "by_status": {"experimental": 1, "production": 2}, "by_name": {"minilm": 2, "tiny": 1}})))]
pub(in crate::http) struct Stats {
    pub(in crate::http) total_models: u64,
    /// Only statuses that some version has.
    #[serde(serialize_with = "as_object")]
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(in crate::http) by_status: Vec<(String, u64)>,
    #[serde(serialize_with = "as_object")]
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(in crate::http) by_name: Vec<(String, u64)>,
}

fn as_object<S: Serializer>(counts: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(key, count)| (key, count)))
}

/// Versions side by side.
#[derive(ToSchema)]
pub(in crate::http) struct Comparison {
    /// In ascending order of id.
    models: Vec<Model>,
    comparison: Orders,
}

/// The same versions in three orders. Versions without the value come last.
#[derive(ToSchema)]
#[schema(as = ComparisonOrders)]
pub(in crate::http) struct Orders {
    /// Most parameters first.
    by_params: Vec<Model>,
    /// Lowest loss first.
    by_loss: Vec<Model>,
    /// Highest step first.
    by_step: Vec<Model>,
}

/// The load of a queue of the server.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"depth": 0, "capacity": 4096})))]
pub(in crate::http) struct Queue {
    /// Jobs that wait.
    pub(in crate::http) depth: usize,
    /// Jobs that may wait before the server answers 503.
    pub(in crate::http) capacity: usize,
}

/// The name of the service.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"service": "model-registry", "status": "ok"})))]
pub(in crate::http) struct Service {
    pub(in crate::http) service: &'static str,
    pub(in crate::http) status: &'static str,
}

/// The state of the server.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"status": "healthy"})))]
pub(in crate::http) struct Health {
    pub(in crate::http) status: &'static str,
}

/// The version.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of this state, for `If-None-Match` and `If-Match`.")))]
pub(in crate::http) struct OneVersion(Model);

/// The version after the change, committed and synced to disk.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of this state, for `If-None-Match` and `If-Match`.")))]
pub(in crate::http) struct ChangedVersion(Model);

/// A page of versions.
#[derive(IntoResponses)]
#[response(status = 200, headers(
    ("X-Total-Count" = u64, description = "The number of versions on all pages. Absent if counting would take longer than the page."),
    ("Link" = String, description = "`<…>; rel=\"next\"` leads to the next page. Absent on the last one."),
))]
pub(in crate::http) struct VersionPage(Vec<Model>);

/// A page of events.
#[derive(IntoResponses)]
#[response(status = 200, headers(
    ("X-Total-Count" = u64, description = "The number of events on all pages. Absent if counting would take longer than the page."),
    ("Link" = String, description = "`<…>; rel=\"next\"` leads to the next page. Absent on the last one."),
))]
pub(in crate::http) struct EventPage(Vec<Event>);

/// A tag in `If-None-Match` is still current.
#[derive(IntoResponses)]
#[response(status = 304, headers(("ETag" = String, description = "The tag of this state.")))]
pub(in crate::http) struct NotModified;
