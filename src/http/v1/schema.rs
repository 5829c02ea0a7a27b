//! The schemas of `/v1`: parameters, bodies and answers. As in the native API, these types are described and never built.
#![allow(dead_code, reason = "described, never built")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::{IntoParams, IntoResponses, PartialSchema as _, ToSchema};

use crate::domain::json::Object;

pub(super) use super::super::native::schema::{NewScores, NotModified, OnlyIf, StatusName, Unless};
use super::super::openapi::Failure;

/// Returns the schemas by name.
pub(in crate::http) fn all() -> Value {
    macro_rules! by_name {
        ($($schema:ty),+) => { json!({ $((<$schema>::name()): <$schema>::schema()),+ }) };
    }
    let mut schemas = by_name!(
        RegisteredModel,
        RegisteredVersion,
        VersionFile,
        Holding,
        TrailEvent,
        ModelPage,
        VersionPageV1,
        EventPageV1,
        History,
        Aliases,
        Suites,
        WhoAmI,
        Deleted,
        NewRegisteredModel,
        ModelChangesV1,
        NewVersion,
        VersionChanges,
        TagValue,
        NewHolder,
        Rollback,
        Problem,
        ProblemDetails,
        FieldProblem
    );
    // In answers, a field that may be null is present all the same.
    for name in ["RegisteredVersion", "VersionFile", "Holding", "TrailEvent"] {
        let fields = schemas[name]["properties"].as_object().into_iter().flat_map(|fields| fields.keys());
        schemas[name]["required"] = fields.cloned().collect();
    }
    // Keys of tags are not blank.
    for name in ["NewRegisteredModel", "ModelChangesV1", "NewVersion", "VersionChanges"] {
        schemas[name]["properties"]["tags"]["propertyNames"] =
            json!({ "pattern": NOT_BLANK, "maxLength": 1024 });
    }
    let uri = json!({ "type": "string", "pattern": NOT_BLANK });
    let digest = json!({ "type": "string" });
    schemas["NewVersion"]["anyOf"] = json!([
        { "required": ["artifact_uri"], "properties": { "artifact_uri": uri } },
        { "required": ["sha256"], "properties": { "sha256": digest } },
    ]);
    schemas
}

/// Regular expressions of JSON Schema do not count U+0085 as a blank, but Unicode and this server do.
const NOT_BLANK: &str = r"[^\s\u0085]";

/// The path of one version of a model.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ByReference {
    /// The model's name, percent-encoded: a slash in it is `%2F`.
    #[param(min_length = 1, example = "minilm")]
    name: String,
    /// The version: its number, or `label:` and its label, or `@` and an alias that it holds, percent-encoded.
    #[param(pattern = r"^(-?[0-9]{1,18}|label:[\s\S]+|@[\s\S]+)$", example = "1")]
    reference: String,
}

/// A conditional write of a model.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct OnlyIfModel {
    /// Entity tags from the model's `ETag`. If none of them is current, the answer is 412 and nothing changes. `*` matches any state.
    #[param(rename = "If-Match", required = false)]
    if_match: String,
}

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
pub(super) struct RegisteredModel {
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
pub(super) struct RegisteredVersion {
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
    /// 64 hex digits in lower case.
    sha256: Option<String>,
    size_bytes: Option<i64>,
    files: Vec<VersionFile>,
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
}

/// A file of a version.
#[derive(ToSchema)]
pub(super) struct VersionFile {
    path: String,
    size_bytes: Option<i64>,
    sha256: Option<String>,
    /// `weights` or `config`.
    role: String,
}

/// A time in which a version held an alias.
#[derive(ToSchema)]
pub(super) struct Holding {
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
pub(super) struct TrailEvent {
    /// Increases with time.
    id: i64,
    /// The name that the model has now; `null` once it is purged.
    model: Option<String>,
    /// The number of the version; `null` for changes of the model itself, and once the version is purged.
    version: Option<i64>,
    version_id: Option<i64>,
    r#type: String,
    payload: Value,
    /// Values before the change. One that is very long is replaced by its size.
    before: Object,
    /// Values after the change.
    after: Object,
    reason: Option<String>,
    actor: Option<String>,
    created_at: String,
    /// SHA-256 over the event and the hash of the event before it in the same model.
    hash: String,
}

/// A page of models.
#[derive(ToSchema)]
pub(super) struct ModelPage {
    models: Vec<RegisteredModel>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A page of versions.
#[derive(ToSchema)]
#[schema(as = VersionPage)]
pub(super) struct VersionPageV1 {
    versions: Vec<RegisteredVersion>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A page of events.
#[derive(ToSchema)]
#[schema(as = EventPage)]
pub(super) struct EventPageV1 {
    events: Vec<TrailEvent>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// Holdings, the newest first.
#[derive(ToSchema)]
pub(super) struct History {
    history: Vec<Holding>,
}

/// The number of the version that each alias points to.
#[derive(ToSchema)]
pub(super) struct Aliases {
    aliases: BTreeMap<String, i64>,
}

/// Scores by suite, as they were recorded.
#[derive(ToSchema)]
pub(super) struct Suites {
    suites: BTreeMap<String, Value>,
}

/// The name of the caller in the audit trail.
#[derive(ToSchema)]
pub(super) struct WhoAmI {
    actor: String,
}

/// Confirms a deletion.
#[derive(ToSchema)]
#[schema(as = DeletedV1)]
pub(super) struct Deleted {
    deleted: bool,
}

/// A model to create.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "minilm", "description": "sentence embeddings", "tags": {"team": "nlp"}})))]
pub(super) struct NewRegisteredModel {
    /// Not blank; any character is allowed, and at most 1,024 bytes.
    #[schema(pattern = r"[^\s\u0085]", max_length = 1024)]
    name: String,
    description: Option<String>,
    #[schema(required = false)]
    tags: BTreeMap<String, String>,
}

/// Changes to a model. What is not given stays.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"description": "embeddings of sentences", "tags": {"team": "search", "old": null}})))]
pub(super) struct ModelChangesV1 {
    /// The new name.
    #[schema(required = false, pattern = r"[^\s\u0085]", max_length = 1024)]
    name: String,
    /// `null` removes it.
    description: Option<String>,
    /// Tags to set, or, with `null`, to remove. Other tags stay.
    #[schema(required = false)]
    tags: BTreeMap<String, Option<String>>,
}

/// A version to register. `artifact_uri` or `sha256` is required.
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
pub(super) struct NewVersion {
    /// Unique within the model. Not blank; any character is allowed, and at most 1,024 bytes.
    #[schema(pattern = r"[^\s\u0085]", max_length = 1024)]
    label: String,
    /// By default `experimental`. A version in `production` must pass the gate, and demotes the one before it.
    #[schema(required = false)]
    status: StatusName,
    /// The location of the artifact, trimmed. The server never opens it. If missing, it becomes `sha256:<sha256>`.
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
}

/// Changes to a version. No field can be removed, so `null` is an error. If the version is in production or frozen, its artifact,
/// provenance and architecture are immutable (409). `frozen` never goes back to false.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"description": "sentence embeddings", "tags": {"blessed": "", "nightly": null}})))]
pub(super) struct VersionChanges {
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
pub(super) struct TagValue {
    /// At most 8 KiB.
    #[schema(max_length = 8192)]
    value: String,
}

/// The new holder of an alias.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"version": 2, "expected": 1, "reason": "better recall"})))]
pub(super) struct NewHolder {
    /// The number of the version.
    version: i64,
    /// The number of the version that must hold the alias now; `null` if none may. Absent: any.
    expected: Option<i64>,
    /// At most 4 KiB.
    #[schema(pattern = r"[^\s\u0085]", max_length = 4096)]
    reason: Option<String>,
}

/// The way back.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"reason": "wrong tokenizer"})))]
pub(super) struct Rollback {
    /// The number of the version. Absent: the version that was in production before the current one.
    #[schema(required = false)]
    to: i64,
    /// Not blank, and at most 4 KiB.
    #[schema(pattern = r"[^\s\u0085]", max_length = 4096)]
    reason: String,
}

/// Why a request was refused or failed.
#[derive(ToSchema)]
#[schema(as = ErrorV1, examples(json!({"error": {"code": "not_found", "message": "there is no model \"m\""}})))]
pub(super) struct Problem {
    error: ProblemDetails,
}

/// What was wrong and what to do.
#[derive(ToSchema)]
#[schema(as = ErrorDetails)]
pub(super) struct ProblemDetails {
    /// One of `invalid`, `unauthorized`, `forbidden`, `not_found`, `method_not_allowed`, `timeout`, `conflict`, `precondition_failed`,
    /// `too_large`, `misdirected`, `too_many_requests`, `internal`, `unavailable`, `outcome_unknown`, `full`.
    code: String,
    /// A sentence for people.
    message: String,
    /// Only with 422: all invalid values.
    #[schema(required = false)]
    fields: Vec<FieldProblem>,
}

/// An invalid value.
#[derive(ToSchema)]
#[schema(as = InvalidField)]
pub(super) struct FieldProblem {
    /// The names and indexes that lead to it, like `tags.team`.
    path: String,
    message: String,
}

/// The model.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of the model itself, without versions and aliases, for `If-Match`.")))]
pub(super) struct OneModel(RegisteredModel);

/// The model after the change.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of the model itself, without versions and aliases, for `If-Match`.")))]
pub(super) struct ChangedModel(RegisteredModel);

/// The version.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of this state, for `If-None-Match` and `If-Match`.")))]
pub(super) struct OneVersionV1(RegisteredVersion);

/// The version after the change, committed and synced to disk.
#[derive(IntoResponses)]
#[response(status = 200, headers(("ETag" = String, description = "The tag of this state, for `If-None-Match` and `If-Match`.")))]
pub(super) struct ChangedVersionV1(RegisteredVersion);

/// The model does not exist.
#[derive(IntoResponses)]
#[response(status = 404)]
pub(super) struct NoModel(Failure);
