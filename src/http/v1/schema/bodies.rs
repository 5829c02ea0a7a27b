//! Bodies of requests of `/v1`.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use crate::domain::json::Object;

use super::StatusName;

/// A model to create.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "minilm", "description": "sentence embeddings", "tags": {"team": "nlp"}})))]
pub(in crate::http::v1) struct NewRegisteredModel {
    /// Not blank; any character is allowed, and at most 1,024 bytes.
    #[schema(pattern = r"[^\s\u0085]", max_length = 1024)]
    name: String,
    description: Option<String>,
    #[schema(required = false)]
    tags: BTreeMap<String, String>,
    /// When it was created elsewhere, in RFC 3339 or as a date, not in the future. By default now.
    #[schema(required = false)]
    created_at: String,
    /// When it was last changed elsewhere, not before `created_at` and not in the future. By default now.
    #[schema(required = false)]
    updated_at: String,
}

/// Changes to a model. What is not given stays.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"description": "embeddings of sentences", "tags": {"team": "search", "old": null}})))]
pub(in crate::http::v1) struct ModelChangesV1 {
    /// The new name.
    #[schema(required = false, pattern = r"[^\s\u0085]", max_length = 1024)]
    name: String,
    /// `null` removes it.
    description: Option<String>,
    /// Tags to set, or, with `null`, to remove. Other tags stay.
    #[schema(required = false)]
    tags: BTreeMap<String, Option<String>>,
}

/// A version to register. `artifact_uri`, `sha256` or `files` is required.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "label": "v2",
    "artifact_uri": "s3://models/minilm/v2/model.safetensors",
    "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "size_bytes": 90_868_376,
    "git_commit": "4f1c2ab",
    "training_loss": 0.31,
    "tags": {"team": "nlp", "embedding": ""}
})))]
pub(in crate::http::v1) struct NewVersion {
    /// Unique within the model. Not blank; any character is allowed, and at most 1,024 bytes. By default the version's number.
    #[schema(pattern = r"[^\s\u0085]", max_length = 1024)]
    label: Option<String>,
    /// By default `experimental`. A version in `production` must pass the gate, and demotes the one before it.
    #[schema(required = false)]
    status: StatusName,
    /// The location of the artifact, trimmed; of several files their folder. The server never opens it. If missing, it becomes
    /// `sha256:` and the digest of the version.
    artifact_uri: Option<String>,
    /// The SHA-256 of the checkpoint: 64 hex digits, with or without the prefix `sha256:`.
    #[schema(pattern = r"^(sha256:)?[0-9A-Fa-f]{64}$")]
    sha256: Option<String>,
    #[schema(minimum = 0)]
    size_bytes: Option<i64>,
    /// The SHA-256 of the configuration.
    #[schema(pattern = r"^(sha256:)?[0-9A-Fa-f]{64}$")]
    config_sha256: Option<String>,
    #[schema(minimum = 0)]
    config_size_bytes: Option<i64>,
    /// All files, which never change. They exclude `sha256`, `size_bytes` and the same of the configuration.
    #[schema(required = false, max_items = 100_000)]
    files: Vec<NewFile>,
    /// True if the server's artifact store has the bytes of all files.
    #[schema(required = false, default = false)]
    stored: bool,
    run_id: Option<String>,
    git_commit: Option<String>,
    /// By default the caller, as named in the audit trail.
    created_by: Option<String>,
    /// By default the caller's address.
    source_host: Option<String>,
    /// Makes artifact, provenance and architecture immutable for good.
    #[schema(required = false, default = false)]
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
    /// A tag without a value has an empty one.
    #[schema(required = false)]
    tags: BTreeMap<String, String>,
    /// Free, except for the object `suites`: scores by suite.
    metrics: Option<Object>,
    /// Gives the label out again even if a deleted version had it for other bytes.
    #[schema(required = false, default = false)]
    reuse_label: bool,
    /// What MLflow's API shows besides `artifact_uri`, which is its source.
    #[schema(required = false)]
    origin: NewOrigin,
    /// The next number of the model, or a higher one; then the numbers between them stay spent. By default the next number.
    #[schema(required = false, minimum = 1, maximum = 2_000_000_000)]
    number: i64,
    /// When it was created elsewhere, in RFC 3339 or as a date, not in the future. By default now.
    #[schema(required = false)]
    created_at: String,
    /// When it was last changed elsewhere, not before `created_at` and not in the future. By default now.
    #[schema(required = false)]
    updated_at: String,
}

/// A file of a version to register.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::v1) struct NewFile {
    /// Relative, with `/` between names and none of the names `.` and `..`. No two paths differ only in case.
    #[schema(pattern = r"^[^/\\]+(/[^/\\]+)*$", max_length = 1024)]
    path: String,
    #[schema(minimum = 0)]
    size_bytes: i64,
    /// 64 hex digits, with or without the prefix `sha256:`.
    #[schema(pattern = r"^(sha256:)?[0-9A-Fa-f]{64}$")]
    sha256: String,
    /// By default what the name tells.
    #[schema(required = false)]
    role: FileRoleName,
}

/// What a file is for.
#[derive(ToSchema)]
#[schema(as = FileRole, rename_all = "snake_case")]
pub(in crate::http::v1) enum FileRoleName {
    Weights,
    Config,
    Tokenizer,
    Other,
}

/// The origin of a version in terms of MLflow.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Origin)]
pub(in crate::http::v1) struct NewOrigin {
    /// Where the files are, if the source names another version, as in `models:/minilm/2`.
    location: Option<String>,
    /// A link to the run.
    run_link: Option<String>,
    /// The logged model that the version was made of.
    model_id: Option<String>,
}

/// Changes to a version. No field can be removed, so `null` is an error. If the version is in production or frozen, its artifact,
/// provenance and architecture are immutable (409). `frozen` never goes back to false.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"description": "sentence embeddings", "tags": {"blessed": "", "nightly": null}})))]
pub(in crate::http::v1) struct VersionChanges {
    #[schema(required = false)]
    status: StatusName,
    #[schema(required = false, pattern = r"[^\s\u0085]")]
    artifact_uri: String,
    #[schema(required = false, pattern = r"^(sha256:)?[0-9A-Fa-f]{64}$")]
    sha256: String,
    #[schema(required = false, minimum = 0)]
    size_bytes: i64,
    #[schema(required = false, pattern = r"^(sha256:)?[0-9A-Fa-f]{64}$")]
    config_sha256: String,
    #[schema(required = false, minimum = 0)]
    config_size_bytes: i64,
    #[schema(required = false)]
    run_id: String,
    #[schema(required = false)]
    git_commit: String,
    #[schema(required = false)]
    created_by: String,
    #[schema(required = false)]
    source_host: String,
    #[schema(required = false)]
    frozen: bool,
    #[schema(required = false)]
    d_model: i64,
    #[schema(required = false)]
    n_layers: i64,
    #[schema(required = false)]
    n_heads: i64,
    #[schema(required = false)]
    vocab_size: i64,
    #[schema(required = false)]
    params: i64,
    #[schema(required = false)]
    training_step: i64,
    #[schema(required = false)]
    training_loss: f64,
    #[schema(required = false)]
    dataset: String,
    #[schema(required = false)]
    description: String,
    /// Tags to set, or, with `null`, to remove. Other tags stay.
    #[schema(required = false)]
    tags: BTreeMap<String, Option<String>>,
    /// Replaces all metrics, except that `suites` stay if they are not mentioned.
    #[schema(required = false)]
    metrics: Object,
}

/// The value of a tag.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"value": "nlp"})))]
pub(in crate::http::v1) struct TagValue {
    /// At most 8 KiB.
    #[schema(max_length = 100000)]
    value: String,
}

/// The new holder of an alias.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"version": 2, "expected": 1, "reason": "better recall"})))]
pub(in crate::http::v1) struct NewHolder {
    /// The number of the version.
    version: i64,
    /// The number of the version that must hold the alias now; `null` if none may. Absent: any.
    expected: Option<i64>,
    /// At most 4 KiB.
    #[schema(pattern = r"[^\s\u0085]", max_length = 4096)]
    reason: Option<String>,
}

/// A return to an earlier version.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"reason": "wrong tokenizer"})))]
pub(in crate::http::v1) struct Rollback {
    /// The number of the version. Absent: the version that was in production before the current one.
    #[schema(required = false)]
    to: i64,
    /// Not blank, and at most 4 KiB.
    #[schema(pattern = r"[^\s\u0085]", max_length = 4096)]
    reason: String,
}

/// An API key to create.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "ci", "scopes": ["read", "register"], "models": ["team-a/*"], "expires_at": "2099-01-31"})))]
pub(in crate::http::v1) struct NewKey {
    /// Begins with a letter, then letters, digits and `. _ @ -`.
    #[schema(pattern = r"^[A-Za-z][A-Za-z0-9._@-]{0,63}$")]
    name: String,
    /// Each is `read`, `register`, `evaluate`, `promote:STATUS` or `promote:*`, `alias:PATTERN`, `approve`, `delete`, `policies`, `webhooks`,
    /// `keys` or `admin`.
    #[schema(min_items = 1, max_items = 64)]
    scopes: Vec<String>,
    /// Patterns of the models that it may change, in which `*` stands for any characters. Without one, it may change all.
    #[schema(max_items = 64)]
    models: Option<Vec<String>>,
    /// When it ends, in RFC 3339 or as a date. By default with the key that creates it.
    expires_at: Option<String>,
}

/// A new token for an API key.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"expires_at": "2099-01-31"})))]
pub(in crate::http::v1) struct Rotation {
    /// When the key ends, in RFC 3339 or as a date. Absent: as before.
    expires_at: Option<String>,
}

/// A webhook to create.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "deploy", "url": "https://ci.example.org/hook", "events": ["promote", "auto_demote"], "model": "minilm*"})))]
pub(in crate::http::v1) struct NewWebhook {
    /// A name for people; others may have it too.
    #[schema(pattern = r"[^\s\u0085]", max_length = 1024)]
    name: String,
    description: Option<String>,
    /// Where to call: https or http, to a public address, without credentials and fragment.
    #[schema(pattern = r"^https?://", max_length = 2048)]
    url: String,
    /// The types of events; by default all.
    #[schema(required = false)]
    events: Vec<EventTypeName>,
    /// A pattern for the names of models, in which `*` stands for any characters.
    #[schema(pattern = r"[^\s\u0085]", max_length = 1024)]
    model: Option<String>,
    /// A filter that the version must pass, judged as of the event. Events of models themselves pass none.
    filter: Option<String>,
    /// What calls are signed with: `whsec_` and the base64 of 24 to 64 random bytes. By default the server makes one.
    #[schema(required = false, pattern = r"^whsec_[A-Za-z0-9+/]{32,87}={0,2}$")]
    secret: String,
    /// `active`, the default, or `disabled`.
    #[schema(required = false, pattern = "^(active|disabled)$")]
    status: String,
}

/// Changes to a webhook. What is not given stays.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"status": "disabled"})))]
pub(in crate::http::v1) struct WebhookChanges {
    #[schema(required = false, pattern = r"[^\s\u0085]", max_length = 1024)]
    name: String,
    /// `null` removes it.
    description: Option<String>,
    #[schema(required = false, pattern = r"^https?://", max_length = 2048)]
    url: String,
    #[schema(required = false)]
    events: Vec<EventTypeName>,
    /// `null` removes it.
    #[schema(pattern = r"[^\s\u0085]", max_length = 1024)]
    model: Option<String>,
    /// `null` removes it.
    filter: Option<String>,
    /// A new secret. For a day, calls are signed with the former one too.
    #[schema(required = false, pattern = r"^whsec_[A-Za-z0-9+/]{32,87}={0,2}$")]
    secret: String,
    /// Makes a new secret, which the answer shows.
    #[schema(required = false)]
    rotate_secret: bool,
    #[schema(required = false, pattern = "^(active|disabled)$")]
    status: String,
}

/// A type of events that webhooks get.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http::v1) enum EventTypeName {
    Create,
    Update,
    Promote,
    AutoDemote,
    Eval,
    Delete,
    SetTag,
    DeleteTag,
    Restore,
    SetAlias,
    DeleteAlias,
    CreateModel,
    UpdateModel,
    RenameModel,
    DeleteModel,
    RestoreModel,
    Approve,
    RequestApproval,
    WithdrawApproval,
}

/// Which deliveries to send again: the one of an event, or all since a time.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"since": "2026-11-22T00:00:00Z"})))]
pub(in crate::http::v1) struct ReplayRequest {
    /// The id of an event.
    #[schema(required = false)]
    event: i64,
    /// A time in RFC 3339, or a date.
    #[schema(required = false)]
    since: String,
}
