//! Answers of `/v1`, errors among them.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

use crate::domain::json::Object;

use super::{super::super::openapi::Failure, FileRoleName, NewOrigin, StatusName};

/// A registered model.
#[derive(ToSchema)]
#[schema(examples(json!({
    "name": "minilm",
    "description": "sentence embeddings",
    "tags": {"team": "nlp"},
    "versions": 3,
    "latest": 3,
    "aliases": {"champion": 2, "production": 1},
    "created_at": "2026-11-22T23:10:42.007Z",
    "updated_at": "2026-11-22T23:10:56.120Z"
})))]
pub(in crate::http::v1) struct RegisteredModel {
    name: String,
    #[schema(required)]
    description: Option<String>,
    tags: BTreeMap<String, String>,
    /// How many versions it has; deleted ones do not count, unless the model is deleted itself.
    versions: u64,
    /// The number of its newest version.
    #[schema(required)]
    latest: Option<i64>,
    /// The number of the version that each alias points to. `production` is one of them.
    aliases: BTreeMap<String, i64>,
    created_at: String,
    /// Increases with every change of the model itself; changes of versions and aliases leave it.
    updated_at: String,
    /// Only if the model is in the trash.
    #[schema(required = false)]
    deleted_at: String,
}

/// A version of a model. Every field is present, and `null` if unknown.
#[derive(ToSchema)]
pub(in crate::http::v1) struct RegisteredVersion {
    /// Never reused.
    id: i64,
    /// The name of the model.
    model: String,
    /// 1, 2, 3 … within the model; never reused.
    number: i64,
    /// Unique within the model.
    label: String,
    status: StatusName,
    artifact_uri: Option<String>,
    /// What MLflow's API shows besides; `null` if the version was registered without.
    origin: Option<NewOrigin>,
    /// Of the checkpoint, 64 hex digits in lower case. `null` if several files hold the weights.
    sha256: Option<String>,
    /// Of the checkpoint, or of all files that hold weights.
    size_bytes: Option<i64>,
    /// The digest of all files; `null` if one of them has none. Of one file its SHA-256, of several SHA-256 over their raw digests
    /// by path.
    digest: Option<String>,
    /// The first 40 hex digits of `digest`.
    revision: Option<String>,
    file_count: u64,
    /// Bytes of all files; `null` if the size of one is unknown.
    total_bytes: Option<i64>,
    /// True if the version was registered with its files, which can't change. Otherwise they are derived from its checkpoint and
    /// configuration.
    manifest: bool,
    /// True if the server's artifact store has the files.
    stored: bool,
    run_id: Option<String>,
    git_commit: Option<String>,
    created_by: Option<String>,
    source_host: Option<String>,
    frozen: bool,
    d_model: Option<i64>,
    n_layers: Option<i64>,
    n_heads: Option<i64>,
    vocab_size: Option<i64>,
    params: Option<i64>,
    training_step: Option<i64>,
    training_loss: Option<f64>,
    dataset: Option<String>,
    description: Option<String>,
    tags: BTreeMap<String, String>,
    /// The numbers in the suites of `metrics`.
    scores: BTreeMap<String, BTreeMap<String, f64>>,
    metrics: Option<Object>,
    created_at: String,
    /// Increases with every change of the version.
    updated_at: String,
    /// Only if the version is in the trash.
    #[schema(required = false)]
    deleted_at: String,
    /// Only if the version is in the trash.
    deleted_by: Option<String>,
}

/// A file of a version.
#[derive(ToSchema)]
pub(in crate::http::v1) struct VersionFile {
    path: String,
    size_bytes: Option<i64>,
    sha256: Option<String>,
    role: FileRoleName,
}

/// A page of the files of a version.
#[derive(ToSchema)]
pub(in crate::http::v1) struct VersionFiles {
    /// The number of the version.
    number: i64,
    #[schema(required)]
    digest: Option<String>,
    files: Vec<VersionFile>,
    /// Folders, unless all files are listed.
    folders: Vec<String>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A period during which a version held an alias.
#[derive(ToSchema)]
pub(in crate::http::v1) struct Holding {
    alias: String,
    /// The number of the version, which may be deleted.
    version: i64,
    label: String,
    /// The id of the version.
    id: i64,
    since: String,
    /// `null` while the version holds the alias.
    until: Option<String>,
    /// Who gave it the alias.
    actor: Option<String>,
    reason: Option<String>,
}

/// A change.
#[derive(ToSchema)]
pub(in crate::http::v1) struct TrailEvent {
    /// Increases with time.
    id: i64,
    /// The name that the model has now; `null` once it is purged.
    model: Option<String>,
    /// The number of the version; `null` for changes of the model itself, and once the version is purged.
    version: Option<i64>,
    version_id: Option<i64>,
    r#type: String,
    payload: Value,
    /// Values before the change, as far as `payload` lacks them. One that is very long is replaced by its size.
    before: Object,
    /// Values after the change, as far as `payload` lacks them.
    after: Object,
    reason: Option<String>,
    /// What policies said of the change that they allowed: `name`, `version`, `action`, `result`, and what `failed` of one that warns.
    policies: Option<Vec<Object>>,
    /// The SHA-256 of what the policies saw.
    policy_inputs_sha256: Option<String>,
    actor: Option<String>,
    created_at: String,
    /// SHA-256 over the event and the hash of the event before it in the same model.
    hash: String,
}

/// A page of models.
#[derive(ToSchema)]
pub(in crate::http::v1) struct ModelPage {
    models: Vec<RegisteredModel>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A page of versions.
#[derive(ToSchema)]
#[schema(as = VersionPage)]
pub(in crate::http::v1) struct VersionPageV1 {
    versions: Vec<RegisteredVersion>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A page of events.
#[derive(ToSchema)]
#[schema(as = EventPage)]
pub(in crate::http::v1) struct EventPageV1 {
    events: Vec<TrailEvent>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// An event as its hash covers it.
#[derive(ToSchema)]
pub(in crate::http::v1) struct EventRecord {
    id: i64,
    /// The name that the model has now. Not covered by the hash.
    model: Option<String>,
    model_key: i64,
    /// The number of the version. Not covered by the hash.
    version: Option<i64>,
    /// 0 for changes of the model itself.
    version_id: i64,
    r#type: String,
    /// JSON text.
    payload: Option<String>,
    /// JSON text.
    details: Option<String>,
    actor: Option<String>,
    /// As it is stored.
    created_at: String,
    /// The event before it in the chain of its model.
    previous: Option<i64>,
    /// SHA-256, as docs/AUDIT.md describes it.
    hash: String,
}

/// A page of events as their hashes cover them.
#[derive(ToSchema)]
pub(in crate::http::v1) struct EventRecordPage {
    events: Vec<EventRecord>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// Holdings, the newest first.
#[derive(ToSchema)]
pub(in crate::http::v1) struct History {
    history: Vec<Holding>,
}

/// The number of the version that each alias points to.
#[derive(ToSchema)]
pub(in crate::http::v1) struct Aliases {
    aliases: BTreeMap<String, i64>,
}

/// Scores by suite, as they were recorded.
#[derive(ToSchema)]
pub(in crate::http::v1) struct Suites {
    suites: BTreeMap<String, Value>,
}

/// The caller, and what it may do.
#[derive(ToSchema)]
pub(in crate::http::v1) struct WhoAmI {
    /// Its name in the audit trail.
    actor: String,
    /// The name of its key, if the request brings another one for the trail.
    name: String,
    /// `key`, `person` or `workload`.
    kind: String,
    scopes: Vec<String>,
    /// Patterns of the models that it may change; all if there is none.
    models: Vec<String>,
    #[schema(required)]
    expires_at: Option<String>,
}

/// A stored API key. Only a digest of its token is stored.
#[derive(ToSchema)]
#[schema(examples(json!({
    "id": 3,
    "name": "ci",
    "scopes": ["read", "register", "promote:staging"],
    "models": ["team-a/*"],
    "expires_at": "2027-01-31T00:00:00.000Z",
    "created_by": "key:alice",
    "created_at": "2026-11-29T10:00:00.000Z",
    "rotated_at": null,
    "last_used_at": "2026-11-29T10:12:30.000Z",
    "revoked_at": null,
    "revoked_by": null
})))]
pub(in crate::http::v1) struct StoredKey {
    /// Part of its token; never reused.
    id: i64,
    /// Unique among keys that are not revoked. In the audit trail it is `key:` and this name.
    name: String,
    scopes: Vec<String>,
    /// Patterns of the models that it may change; all if there is none.
    models: Vec<String>,
    expires_at: Option<String>,
    created_by: String,
    created_at: String,
    /// When it got its present token, if that is not its first.
    rotated_at: Option<String>,
    /// To about a minute.
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    revoked_by: Option<String>,
}

/// A page of stored API keys.
#[derive(ToSchema)]
pub(in crate::http::v1) struct KeyPage {
    keys: Vec<StoredKey>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A key with its token, which is shown only once.
#[derive(ToSchema)]
pub(in crate::http::v1) struct NewKeyToken {
    key: StoredKey,
    /// `reg_`, the id, `_`, and 64 hex digits.
    token: String,
}

/// A condition for which policies refused a change.
#[derive(ToSchema)]
pub(in crate::http::v1) struct DeniedCondition {
    policy: String,
    version: i64,
    message: String,
    /// Why the condition can't be judged; `null` if it is false.
    error: Option<String>,
}

/// Confirms a deletion.
#[derive(ToSchema)]
#[schema(as = DeletedV1)]
pub(in crate::http::v1) struct Deleted {
    deleted: bool,
}

/// Why a request was refused or failed.
#[derive(ToSchema)]
#[schema(as = ErrorV1, examples(json!({"error": {"code": "not_found", "message": "there is no model \"m\""}})))]
pub(in crate::http::v1) struct Problem {
    error: ProblemDetails,
}

/// What was wrong and what to do.
#[derive(ToSchema)]
#[schema(as = ErrorDetails)]
pub(in crate::http::v1) struct ProblemDetails {
    /// One of `invalid`, `unauthorized`, `forbidden`, `not_found`, `method_not_allowed`, `timeout`, `conflict`, `precondition_failed`,
    /// `too_large`, `misdirected`, `too_many_requests`, `internal`, `unavailable`, `outcome_unknown`, `full`.
    code: String,
    /// A sentence for people.
    message: String,
    /// Only with 422: all invalid values.
    #[schema(required = false)]
    fields: Vec<FieldProblem>,
    /// Only if policies refused the change: each condition that does not hold.
    #[schema(required = false)]
    policies: Vec<DeniedCondition>,
}

/// An invalid value.
#[derive(ToSchema)]
#[schema(as = InvalidField)]
pub(in crate::http::v1) struct FieldProblem {
    /// The names and indexes that lead to it, like `tags.team`.
    path: String,
    message: String,
}

/// The model.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of the model itself, without versions and aliases, for `If-Match`.")))]
pub(in crate::http::v1) struct OneModel(RegisteredModel);

/// The model after the change.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of the model itself, without versions and aliases, for `If-Match`.")))]
pub(in crate::http::v1) struct ChangedModel(RegisteredModel);

/// The version.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of this state, for `If-None-Match` and `If-Match`.")))]
pub(in crate::http::v1) struct OneVersionV1(RegisteredVersion);

/// The version after the change, committed and synced to disk.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of this state, for `If-None-Match` and `If-Match`.")))]
pub(in crate::http::v1) struct ChangedVersionV1(RegisteredVersion);

/// The model does not exist.
#[derive(IntoResponses)]
#[response(status = 404)]
pub(in crate::http::v1) struct NoModel(Failure);
