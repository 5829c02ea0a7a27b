//! Request bodies. Each field has the type that clients should send; the words say what else the server accepts.

use utoipa::ToSchema;

use crate::domain::json::Object;

use super::StatusName;

/// A version to register. `artifact_uri` or `checkpoint_sha256` is required. A field that is not listed is an error.
/// `null` means "not given", except for `name`, `version`, `status` and `frozen`.
///
/// Integers may also be strings (`"12"`, `" 4 "`), whole floats (`8.0`) or booleans; numbers may be strings (`"0.25"`) or
/// booleans; booleans may be `1`, `0` or the words `yes`, `no`, `on`, `off`, `true`, `false`, `t`, `f`, `y`, `n`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "name": "minilm",
    "version": "v1",
    "artifact_uri": "s3://models/minilm/v1/model.safetensors",
    "checkpoint_sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "checkpoint_size_bytes": 90_868_376,
    "git_commit": "4f1c2ab",
    "training_step": 20_000,
    "training_loss": 0.31,
    "tags": ["embedding"],
    "config_json": {"architecture": {"d_model": 384, "n_layers": 6, "n_heads": 12, "vocab_size": 30_522}}
})))]
pub(in crate::http) struct NewModel {
    /// The name of the model. Not blank; any character is allowed.
    #[schema(pattern = r"[^\s\u0085]")]
    name: String,
    /// The label of the version. Not blank, and unique for this name.
    #[schema(pattern = r"[^\s\u0085]")]
    version: String,
    /// By default `experimental`. A version in `production` must pass the gate, and demotes the one before it.
    #[schema(required = false)]
    status: StatusName,
    /// The location of the artifact, trimmed. The server never opens it. If missing or blank, it becomes `sha256:<checkpoint_sha256>`.
    artifact_uri: Option<String>,
    /// A file on the server's disk, which the server digests. Refused (400) unless the server allows it. Blank means not given.
    checkpoint_path: Option<String>,
    /// The checkpoint's SHA-256: 64 hex digits in any case, with or without the prefix `sha256:`. Blank means not given. It is kept without
    /// the prefix and in lower case.
    #[schema(pattern = r"^\s*([sS][hH][aA]256:)?\s*([0-9A-Fa-f]{64})?\s*$")]
    checkpoint_sha256: Option<String>,
    #[schema(minimum = 0)]
    checkpoint_size_bytes: Option<i64>,
    /// As `checkpoint_path`, for the configuration; it also fills the architecture fields that are not given.
    config_path: Option<String>,
    /// As `checkpoint_sha256`, of the configuration.
    #[schema(pattern = r"^\s*([sS][hH][aA]256:)?\s*([0-9A-Fa-f]{64})?\s*$")]
    config_sha256: Option<String>,
    #[schema(minimum = 0)]
    config_size_bytes: Option<i64>,
    /// The configuration itself. It fills `d_model`, `n_layers`, `n_heads` and `vocab_size` if they are not given, from its object
    /// `architecture` or from its top level.
    config_json: Option<Object>,
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
    /// The number of parameters of the model.
    params: Option<i64>,
    training_step: Option<i64>,
    training_loss: Option<f64>,
    dataset: Option<String>,
    description: Option<String>,
    tags: Option<Vec<String>>,
    /// Free, except for the object `suites`: scores by suite, as `POST /models/{model_id}/metrics` keeps them.
    metrics: Option<Object>,
}

/// Changes to a version. `null` means "not given", and a field that is not listed is an error. If the version is in production or
/// frozen, the fields from `artifact_uri` to `vocab_size` in this list are immutable (409). `frozen` never goes back to false.
///
/// Values are read as leniently as in `NewModel`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"description": "sentence embeddings", "tags": ["embedding", "blessed"]})))]
pub(in crate::http) struct ModelChanges {
    status: Option<StatusName>,
    /// Not blank.
    #[schema(pattern = r"[^\s\u0085]")]
    artifact_uri: Option<String>,
    /// A file on the server's disk, which the server digests. Refused (400) unless the server allows it.
    #[schema(pattern = r"[^\s\u0085]")]
    checkpoint_path: Option<String>,
    /// 64 hex digits in any case, with or without the prefix `sha256:`. Blank means not given.
    #[schema(pattern = r"^\s*([sS][hH][aA]256:)?\s*([0-9A-Fa-f]{64})?\s*$")]
    checkpoint_sha256: Option<String>,
    #[schema(minimum = 0)]
    checkpoint_size_bytes: Option<i64>,
    /// As `checkpoint_path`, for the configuration.
    #[schema(pattern = r"[^\s\u0085]")]
    config_path: Option<String>,
    /// As `checkpoint_sha256`, of the configuration.
    #[schema(pattern = r"^\s*([sS][hH][aA]256:)?\s*([0-9A-Fa-f]{64})?\s*$")]
    config_sha256: Option<String>,
    #[schema(minimum = 0)]
    config_size_bytes: Option<i64>,
    run_id: Option<String>,
    git_commit: Option<String>,
    created_by: Option<String>,
    source_host: Option<String>,
    d_model: Option<i64>,
    n_layers: Option<i64>,
    n_heads: Option<i64>,
    vocab_size: Option<i64>,
    frozen: Option<bool>,
    /// The number of parameters of the model.
    params: Option<i64>,
    training_step: Option<i64>,
    training_loss: Option<f64>,
    dataset: Option<String>,
    description: Option<String>,
    /// Replaces all tags.
    tags: Option<Vec<String>>,
    /// Replaces all metrics, except that `suites` stay if they are not mentioned.
    metrics: Option<Object>,
}

/// The scores of one run of a suite. They are merged key by key into the version's scores of this suite; its other suites stay. If
/// `metrics.suites` is not an object, it is replaced. A field that is not listed is an error.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "suite": "smoke-v1",
    "metrics": {"score": 0.82, "recall@10": 0.91},
    "dataset": "sts-b",
    "eval_commit": "abc123"
})))]
pub(in crate::http) struct NewScores {
    /// The name of the suite, trimmed and not blank.
    #[schema(pattern = r"[^\s\u0085]")]
    suite: String,
    /// The scores. The gate to production compares `score`. The registry writes `_meta`; an object given there is merged into it.
    metrics: ScoresOfASuite,
    dataset: Option<String>,
    eval_commit: Option<String>,
    eval_config: Option<Object>,
    notes: Option<String>,
}

/// The new status of a version, if it is not in the query. The body may be empty. A field that is not listed is an error.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"to_status": "production"})))]
pub(in crate::http) struct Promotion {
    /// By default `production`. If the query has it too, both must be the same.
    to_status: Option<StatusName>,
}

/// Scores by name.
#[derive(ToSchema)]
#[schema(as = Scores)]
pub(in crate::http) struct ScoresOfASuite {
    /// Who recorded the scores, when and on what: `recorded_at`, `actor`, and `dataset`, `eval_commit`, `eval_config`, `notes` if given.
    #[schema(required = false)]
    _meta: Object,
}
