//! What conditions see, as JSON: the candidate, the current holder, approvals, the caller and the time.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    approval::Approval,
    digest::Digest,
    files::VersionFile,
    json::{Object, Value, canonical},
    suites::recorded_scores,
    tags::Tags,
    timestamp::Timestamp,
    version::Version,
};

/// A version that conditions see.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The version. One that is not registered yet has the id 0.
    pub version: Version,
    /// Its files, if a condition mentions them.
    pub files: Vec<VersionFile>,
    /// Who registered it, and when, by the clock of the server; `None` if no condition mentions it, or the trail does not say.
    pub registered: Option<(Option<String>, String)>,
    /// The aliases that it holds, and since when.
    pub aliases: Vec<(String, String)>,
}

/// Who makes a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actor {
    /// The name in the audit trail.
    pub name: String,
    /// How the caller is known.
    pub kind: &'static str,
    /// What the caller may do.
    pub scopes: Vec<String>,
}

/// What conditions see.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The version that gets the target.
    pub candidate: &'a Subject,
    /// The version that has the target, or had it last.
    pub current: Option<&'a Subject>,
    /// The approvals of the candidate that count.
    pub approvals: &'a [Approval],
    /// Who makes the change.
    pub actor: &'a Actor,
    /// The clock.
    pub now: Timestamp,
    /// The status or the alias.
    pub target: &'a str,
    /// Why, if the caller said so.
    pub reason: Option<&'a str>,
}

impl Inputs<'_> {
    /// Returns the values of the variables.
    #[must_use]
    pub fn values(&self) -> Object {
        let approvals = self.approvals.iter().map(|approval| {
            json!({ "actor": approval.actor, "at": time(&approval.created_at), "comment": approval.comment })
        });
        Object::from_iter([
            ("candidate".to_owned(), of_version(self.candidate)),
            ("current".to_owned(), self.current.map_or(Value::Null, of_version)),
            ("approvals".to_owned(), approvals.collect()),
            (
                "actor".to_owned(),
                json!({ "name": self.actor.name, "kind": self.actor.kind, "scopes": self.actor.scopes }),
            ),
            ("now".to_owned(), self.now.to_rfc3339().into()),
            ("target".to_owned(), self.target.into()),
            ("reason".to_owned(), self.reason.into()),
        ])
    }
}

/// Returns the digest of the values that conditions saw, for the audit trail.
#[must_use]
pub fn digest(values: &Object) -> String {
    Digest::from_bytes(Sha256::digest(canonical(values)).into()).to_string()
}

fn of_version(subject: &Subject) -> Value {
    let version = &subject.version;
    let files = subject.files.iter().map(|file| {
        json!({ "path": file.path, "size": file.size_bytes, "sha256": file.sha256, "role": file.role.as_str() })
    });
    let aliases = subject.aliases.iter().map(|(name, since)| json!({ "name": name, "since": time(since) }));
    let tags: Object =
        Tags::of(version).by_key().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let (signatures, scan) = evidence();
    let (by, at) = match &subject.registered {
        Some((by, at)) => (by.as_deref(), Some(time(at))),
        None => (None, None),
    };
    let mut values = Object::new();
    let mut put = |field: &str, value: Value| drop(values.insert(field.to_owned(), value));
    put("id", version.id.into());
    put("name", version.name.as_str().into());
    put("number", version.number.into());
    put("label", version.label.as_str().into());
    put("status", version.status.as_str().into());
    put("description", version.description.as_deref().into());
    put("tags", tags.into());
    put("scores", recorded_scores(version.metrics.as_deref()).into());
    put("files", files.collect());
    let total_bytes = version.manifest.map(|manifest| manifest.total_bytes);
    put("total_bytes", total_bytes.or(version.checkpoint_size_bytes).into());
    put("digest", version.digest.as_deref().into());
    put("artifact_uri", version.artifact_uri.as_deref().into());
    put("sha256", version.checkpoint_sha256.as_deref().into());
    put("size_bytes", version.checkpoint_size_bytes.into());
    put("config_sha256", version.config_sha256.as_deref().into());
    put("config_size_bytes", version.config_size_bytes.into());
    put("run_id", version.run_id.as_deref().into());
    put("git_commit", version.git_commit.as_deref().into());
    put("created_by", version.created_by.as_deref().into());
    put("source_host", version.source_host.as_deref().into());
    put("registered_by", by.into());
    put("registered_at", at.into());
    put("frozen", version.frozen.into());
    put("d_model", version.d_model.into());
    put("n_layers", version.n_layers.into());
    put("n_heads", version.n_heads.into());
    put("vocab_size", version.vocab_size.into());
    put("params", version.params.into());
    put("training_step", version.training_step.into());
    put("training_loss", version.training_loss.into());
    put("dataset", version.dataset.as_deref().into());
    put("aliases", aliases.collect());
    put("created_at", time(&version.created_at).into());
    put("updated_at", time(&version.updated_at).into());
    put("signatures", signatures);
    put("scan", scan);
    values.into()
}

/// Returns the signatures of a version and the result of its scan. Nothing signs or scans versions yet.
fn evidence() -> (Value, Value) {
    (json!([]), json!({ "status": "unscanned" }))
}

/// Returns a stored time in RFC 3339; `None` if no server of ours wrote it.
fn time(stored: &str) -> Option<String> {
    Timestamp::parse(stored).map(Timestamp::to_rfc3339)
}

/// Returns values to try conditions on before they are stored.
pub(super) fn sample() -> Object {
    let version = |id: i64| {
        let files: Vec<_> = (0..4)
            .map(
                |n| json!({ "path": format!("{n}.safetensors"), "size": n, "sha256": "", "role": "weights" }),
            )
            .collect();
        json!({
            "id": id, "number": id, "name": "m", "label": "v1", "status": "staging", "frozen": false, "files": files,
            "tags": {"team": "a"}, "scores": {"core": {"score": 0.5}}, "aliases": [], "signatures": [],
            "scan": {"status": "unscanned"}, "created_at": "2026-01-31T00:00:00.000Z",
        })
    };
    let approval = json!({ "actor": "a", "at": "2026-01-31T00:00:00.000Z", "comment": null });
    Object::from_iter([
        ("candidate".to_owned(), version(2)),
        ("current".to_owned(), version(1)),
        ("approvals".to_owned(), json!([approval])),
        ("actor".to_owned(), json!({ "name": "b", "kind": "key", "scopes": ["admin"] })),
        ("now".to_owned(), json!("2026-02-01T00:00:00.000Z")),
        ("target".to_owned(), json!("production")),
        ("reason".to_owned(), Value::Null),
    ])
}
