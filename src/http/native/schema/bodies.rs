//! What is sent. Types are those of the values as they are meant; that others are read for them too is told in words.

use utoipa::ToSchema;

use super::StatusName;

/// A version to register. `artifact_uri` or `checkpoint_sha256` has to be given. A field that is not listed is a fault.
/// `null` is "not given", but for `name`, `version`, `status` and `frozen`.
///
/// Integers are also read from texts (`"12"`, `" 4 "`), whole floats (`8.0`) and booleans; numbers from texts (`"0.25"`) and
/// booleans; booleans from `1`, `0` and the words `yes`, `no`, `on`, `off`, `true`, `false`, `t`, `f`, `y`, `n`.
#[derive(ToSchema)]
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
    /// What the model is called. Not blank; any character may stand in it.
    #[schema(pattern = "\\S")]
    name: String,
    /// Which version of it this is. Not blank, and not one that is registered already.
    #[schema(pattern = "\\S")]
    version: String,
    /// `experimental` where nothing is said. For `production` it has to pass the gate, and the version there steps down.
    #[schema(required = false)]
    status: StatusName,
    /// Where the artifact lies, trimmed. The server never opens it. Missing or blank, it becomes `sha256:<checkpoint_sha256>`.
    artifact_uri: Option<String>,
    /// A file on the server's disk, to be digested by it. Refused (400) unless the server allows it; blank is none.
    checkpoint_path: Option<String>,
    /// The checkpoint's SHA-256: 64 hex digits in any case, with or without `sha256:` before them. Blank is none. Kept bare and in lower case.
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
    /// The configuration itself: fills `d_model`, `n_layers`, `n_heads` and `vocab_size` where they are not given, from its object
    /// `architecture` or from its top level.
    #[schema(value_type = Option<Object>)]
    config_json: Option<()>,
    run_id: Option<String>,
    git_commit: Option<String>,
    /// The caller, as the audit trail names them, where nothing is said.
    created_by: Option<String>,
    /// The caller's address where nothing is said.
    source_host: Option<String>,
    /// Whether artifact, provenance and architecture are settled for good.
    #[schema(required = false, default = false)]
    frozen: bool,
    d_model: Option<i64>,
    n_layers: Option<i64>,
    n_heads: Option<i64>,
    vocab_size: Option<i64>,
    /// How many parameters the model has.
    params: Option<i64>,
    training_step: Option<i64>,
    training_loss: Option<f64>,
    dataset: Option<String>,
    description: Option<String>,
    tags: Option<Vec<String>>,
    /// Free, but for the object `suites`: scores by suite, as `POST /models/{model_id}/metrics` keeps them.
    #[schema(value_type = Option<Object>)]
    metrics: Option<()>,
}

/// What is to be changed of a version. `null` is "not given", and a field that is not listed is a fault. Of a version that is in
/// production or frozen, the fields from `artifact_uri` to `vocab_size` in this list are settled (409), and `frozen` never goes back.
///
/// Values are read as leniently as those of `NewModel`.
#[derive(ToSchema)]
#[schema(examples(json!({"description": "sentence embeddings", "tags": ["embedding", "blessed"]})))]
pub(in crate::http) struct ModelChanges {
    status: Option<StatusName>,
    /// Not blank.
    #[schema(pattern = "\\S")]
    artifact_uri: Option<String>,
    /// A file on the server's disk, to be digested by it. Refused (400) unless the server allows it.
    #[schema(pattern = "\\S")]
    checkpoint_path: Option<String>,
    /// 64 hex digits in any case, with or without `sha256:` before them. Blank is none.
    #[schema(pattern = r"^\s*([sS][hH][aA]256:)?\s*([0-9A-Fa-f]{64})?\s*$")]
    checkpoint_sha256: Option<String>,
    #[schema(minimum = 0)]
    checkpoint_size_bytes: Option<i64>,
    /// As `checkpoint_path`, for the configuration.
    #[schema(pattern = "\\S")]
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
    /// How many parameters the model has.
    params: Option<i64>,
    training_step: Option<i64>,
    training_loss: Option<f64>,
    dataset: Option<String>,
    description: Option<String>,
    /// In place of all tags there are.
    tags: Option<Vec<String>>,
    /// In place of all metrics there are.
    #[schema(value_type = Option<Object>)]
    metrics: Option<()>,
}

/// The scores of one run of a suite. They are merged key by key into what the version has of this suite; its other suites stay.
/// A field that is not listed is a fault.
#[derive(ToSchema)]
#[schema(examples(json!({
    "suite": "smoke-v1",
    "metrics": {"score": 0.82, "recall@10": 0.91},
    "dataset": "sts-b",
    "eval_commit": "abc123"
})))]
pub(in crate::http) struct NewScores {
    /// Which suite was run, trimmed and not blank.
    #[schema(pattern = "\\S")]
    suite: String,
    /// The scores. The gate to production compares `score`. `_meta` is the registry's own: an object in it is merged into what it notes.
    metrics: ScoresOfASuite,
    dataset: Option<String>,
    eval_commit: Option<String>,
    #[schema(value_type = Option<Object>)]
    eval_config: Option<()>,
    notes: Option<String>,
}

/// The status a version gets, if the query does not name it. Without a body, `{}` is meant. A field that is not listed is a fault.
#[derive(ToSchema)]
#[schema(examples(json!({"to_status": "production"})))]
pub(in crate::http) struct Promotion {
    /// `production` by default. If the query has it too, both must be the same.
    to_status: Option<StatusName>,
}

/// Scores by name.
#[derive(ToSchema)]
#[schema(as = Scores)]
pub(in crate::http) struct ScoresOfASuite {
    /// Who recorded them, when and on what: `recorded_at`, `actor`, and `dataset`, `eval_commit`, `eval_config`, `notes` as they were given.
    #[schema(required = false, value_type = Object)]
    _meta: (),
}
