//! Versions, models, holdings and events in the JSON of `/v1`.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;

use serde_json::{Value, json};

use crate::{
    domain::{
        ApiKey, Cursor, DeletedVersion, Holding, ModelSummary, Principal, Score, Tags, Timestamp, TrailEvent,
        Version, VersionFile,
        files::Entry,
        json::{Object, read_object},
        manifest::revision_of,
        scores::scores,
        webhook::{
            Form, Webhook,
            delivery::{Delivery, DeliveryState},
        },
    },
    store::FilePage,
};

use super::ObjectWriter;

/// About how long a file is in a list.
const FILE_BYTES: usize = 160;

/// Writes a version.
pub(super) fn write_version<S: AsRef<str> + Serialize>(out: &mut Vec<u8>, version: &Version<S>) {
    let mut object = ObjectWriter::begin(out);
    write_fields(&mut object, version);
    object.end();
}

/// Writes a version in the trash.
pub(in crate::http) fn write_deleted_version(out: &mut Vec<u8>, deleted: &DeletedVersion<'_>) {
    let mut object = ObjectWriter::begin(out);
    write_fields(&mut object, &deleted.version);
    object.field("deleted_at", time(&deleted.deleted_at));
    object.field("deleted_by", &deleted.deleted_by);
    object.end();
}

fn write_fields<S: AsRef<str> + Serialize>(object: &mut ObjectWriter<'_>, version: &Version<S>) {
    object.field("id", version.id);
    object.field("model", &version.name);
    object.field("number", version.number);
    object.field("label", &version.label);
    object.field("status", version.status.as_str());
    object.field("artifact_uri", &version.artifact_uri);
    object.raw("origin", version.origin.as_ref());
    object.field("sha256", &version.checkpoint_sha256);
    object.field("size_bytes", version.checkpoint_size_bytes);
    write_summary_of_files(object, version);
    object.field("run_id", &version.run_id);
    object.field("git_commit", &version.git_commit);
    object.field("created_by", &version.created_by);
    object.field("source_host", &version.source_host);
    object.field("frozen", version.frozen);
    object.field("d_model", version.d_model);
    object.field("n_layers", version.n_layers);
    object.field("n_heads", version.n_heads);
    object.field("vocab_size", version.vocab_size);
    object.field("params", version.params);
    object.field("training_step", version.training_step);
    object.field("training_loss", version.training_loss);
    object.field("dataset", &version.dataset);
    object.field("description", &version.description);
    object.field("tags", Tags::of(version).by_key());
    object.field("scores", scores_by_suite(version.metrics.as_ref().map(AsRef::as_ref)));
    object.raw("metrics", version.metrics.as_ref());
    object.field("created_at", time(version.created_at.as_ref()));
    object.field("updated_at", time(version.updated_at.as_ref()));
}

/// Writes what a version says of its files, of which there may be many.
fn write_summary_of_files<S: AsRef<str> + Serialize>(object: &mut ObjectWriter<'_>, version: &Version<S>) {
    let digest = version.digest.as_ref().map(AsRef::as_ref);
    let derived = VersionFile::of(version);
    let size_of_derived = || derived.iter().map(|file| file.size_bytes).sum::<Option<i64>>();
    object.field("digest", digest);
    object.field("revision", digest.map(revision_of));
    object.field("file_count", version.manifest.map_or(derived.len() as i64, |manifest| manifest.files));
    object.field(
        "total_bytes",
        version.manifest.map_or_else(size_of_derived, |manifest| Some(manifest.total_bytes)),
    );
    object.field("manifest", version.manifest.is_some());
    object.field("stored", version.manifest.is_some_and(|manifest| manifest.is_stored));
}

/// Writes a page of files.
pub(in crate::http) fn write_files(page: &FilePage) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + page.entries.len() * FILE_BYTES);
    let mut object = ObjectWriter::begin(&mut out);
    let file = |entry: &Entry| match entry {
        Entry::File(file) => Some(json!({
            "path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256, "role": file.role.as_str(),
        })),
        Entry::Folder(_) => None,
    };
    let folder = |entry: &Entry| match entry {
        Entry::File(_) => None,
        Entry::Folder(path) => Some(path.trim_end_matches('/').to_owned()),
    };
    object.field("number", page.version.number);
    object.field("digest", &page.version.digest);
    object.field("files", page.entries.iter().filter_map(file).collect::<Vec<_>>());
    object.field("folders", page.entries.iter().filter_map(folder).collect::<Vec<_>>());
    object.field("next", page.next.as_ref().map(Cursor::encode));
    object.end();
    out
}

/// Returns the scores that can be searched, by suite.
fn scores_by_suite(metrics: Option<&str>) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut suites: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for Score { suite, metric, value } in scores(metrics) {
        suites.entry(suite).or_default().insert(metric, value);
    }
    suites
}

/// Writes a registered model.
pub(in crate::http) fn write_model(out: &mut Vec<u8>, summary: &ModelSummary) {
    let model = &summary.model;
    let mut object = ObjectWriter::begin(out);
    object.field("name", &model.name);
    object.field("description", &model.description);
    object.field("tags", &model.tags);
    object.field("versions", summary.versions);
    object.field("latest", summary.latest);
    object.field("aliases", aliases(summary));
    object.field("created_at", time(&model.created_at));
    object.field("updated_at", time(&model.updated_at));
    if let Some(deleted_at) = &model.deleted_at {
        object.field("deleted_at", time(deleted_at));
    }
    object.end();
}

/// Returns the number that each alias of a model points to.
pub(in crate::http) fn aliases(summary: &ModelSummary) -> Object {
    summary.aliases.iter().map(|alias| (alias.name.clone(), alias.number.into())).collect()
}

/// Writes a holding.
pub(in crate::http) fn write_holding(out: &mut Vec<u8>, holding: &Holding) {
    let mut object = ObjectWriter::begin(out);
    object.field("alias", &holding.alias);
    object.field("version", holding.number);
    object.field("label", &holding.label);
    object.field("id", holding.version);
    object.field("since", time(&holding.since));
    object.field("until", holding.until.as_deref().map(time));
    object.field("actor", &holding.actor);
    object.field("reason", &holding.reason);
    object.end();
}

/// Writes an event of the trail.
pub(in crate::http) fn write_event(out: &mut Vec<u8>, trail: &TrailEvent<'_>) {
    let event = &trail.event;
    let mut details = trail.details.as_deref().and_then(read_object).unwrap_or_default();
    let mut values = |key: &str| details.shift_remove(key).unwrap_or_else(|| Object::new().into());
    let mut object = ObjectWriter::begin(out);
    object.field("id", event.id);
    object.field("model", &trail.model_name);
    object.field("version", trail.number);
    object.field("version_id", (event.version_id != 0).then_some(event.version_id));
    object.field("type", &event.event_type);
    object.raw("payload", Some(&event.payload));
    object.field("before", values("before"));
    object.field("after", values("after"));
    object.field("reason", details.get("reason"));
    object.field("policies", details.get("policies"));
    object.field("policy_inputs_sha256", details.get("policy_inputs_sha256"));
    object.field("actor", &event.actor);
    object.field("created_at", time(&event.created_at));
    object.field("hash", hex::encode(&trail.hash));
    object.end();
}

/// Returns a stored key, without anything of its secret.
pub(in crate::http) fn key_json(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.grant.scope_names(),
        "models": key.grant.model_names(),
        "expires_at": key.grant.expires_at.map(Timestamp::to_rfc3339),
        "created_by": key.created_by,
        "created_at": time(&key.created_at),
        "rotated_at": key.rotated_at.as_deref().map(time),
        "last_used_at": key.last_used_at.as_deref().map(time),
        "revoked_at": key.revoked_at.as_deref().map(time),
        "revoked_by": key.revoked_by,
    })
}

/// Returns a caller and its rights.
pub(in crate::http) fn principal_json(actor: &str, principal: &Principal) -> Value {
    json!({
        "actor": actor,
        "name": principal.name,
        "kind": principal.kind.as_str(),
        "scopes": principal.grant.scope_names(),
        "models": principal.grant.model_names(),
        "expires_at": principal.grant.expires_at.map(Timestamp::to_rfc3339),
    })
}

/// Writes an event of the trail as its hash covers it: texts byte for byte, and times as they are stored.
pub(in crate::http) fn write_record(out: &mut Vec<u8>, trail: &TrailEvent<'_>) {
    let event = &trail.event;
    let mut object = ObjectWriter::begin(out);
    object.field("id", event.id);
    object.field("model", &trail.model_name);
    object.field("model_key", trail.model);
    object.field("version", trail.number);
    object.field("version_id", event.version_id);
    object.field("type", &event.event_type);
    object.field("payload", trail.has_payload.then_some(&event.payload));
    object.field("details", &trail.details);
    object.field("actor", &event.actor);
    object.field("created_at", &event.created_at);
    object.field("previous", trail.previous);
    object.field("hash", hex::encode(&trail.hash));
    object.end();
}

/// Writes a webhook, with its secret only for the caller who has just given or got it.
pub(in crate::http) fn write_webhook(out: &mut Vec<u8>, webhook: &Webhook, with_secret: bool) {
    let mut object = ObjectWriter::begin(out);
    object.field("id", &webhook.uid);
    object.field("name", &webhook.name);
    object.field("description", &webhook.description);
    object.field("url", &webhook.url);
    object.field("api", webhook.form);
    object.field("events", &webhook.events);
    object.field("model", &webhook.model);
    object.field("filter", &webhook.filter);
    object.field("status", if webhook.is_active { "active" } else { "disabled" });
    object.field("disabled_because", &webhook.disabled_because);
    object.field("created_by", &webhook.created_by);
    object.field("created_at", time(&webhook.created_at));
    object.field("updated_at", time(&webhook.updated_at));
    if let Some(secret) = webhook.secret.as_ref().filter(|_| with_secret) {
        object.field("secret", secret.expose());
    }
    object.end();
}

/// Writes a delivery.
pub(in crate::http) fn write_delivery(out: &mut Vec<u8>, delivery: &Delivery, form: Form) {
    let time = |millis| Timestamp::from_unix_millis(millis).to_rfc3339();
    let last = delivery.last.as_ref();
    let is_pending = delivery.state == DeliveryState::Pending;
    let mut object = ObjectWriter::begin(out);
    object.field("id", delivery.id);
    object.field("event", delivery.event);
    object.field("type", &delivery.event_type);
    object.field("model", &delivery.model_name);
    object.field("message_id", delivery.message(form).id);
    object.field("state", delivery.state.as_str());
    object.field("attempts", delivery.attempts);
    object.field("created_at", time(delivery.created_ms));
    object.field("next_attempt_at", is_pending.then(|| time(delivery.due_ms)));
    object.field("attempted_at", last.map(|last| time(last.at_ms)));
    object.field("status", last.and_then(|last| last.status));
    object.field("latency_ms", last.map(|last| last.latency_ms));
    object.field("error", delivery.error());
    object.end();
}

/// Returns a stored time in RFC 3339. A time that no server of ours wrote stays as it is.
pub(super) fn time(stored: &str) -> Cow<'_, str> {
    Timestamp::parse(stored).map_or(Cow::Borrowed(stored), |time| Cow::Owned(time.to_rfc3339()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Digest, Draft};

    fn written(version: &Version) -> Value {
        let mut out = Vec::new();
        write_version(&mut out, version);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn files_tags_and_scores_are_derived_from_the_row() {
        let mut draft = Draft::named("m", "1").unwrap();
        draft.artifact_uri = Some("s3://b/m/model.safetensors".to_owned());
        draft.checkpoint.sha256 = Some(Digest::from_bytes([1; 32]));
        draft.config.size_bytes = Some(7);
        draft.tags = vec!["b".to_owned(), "a".to_owned(), "b".to_owned()];
        draft.properties = BTreeMap::from([("team".to_owned(), "nlp".to_owned())]);
        let metrics =
            r#"{"loss":1,"suites":{"s":{"score":0.50,"top":1e400,"ok":true,"_meta":{"n":1}},"t":3}}"#;
        draft.metrics = read_object(metrics).unwrap();
        let version = draft.into_version(Timestamp::from_unix_millis(1_769_864_709_250));
        let json = written(&version);
        assert_eq!((&json["file_count"], &json["manifest"]), (&Value::from(2), &Value::from(false)));
        assert_eq!(json["stored"], false);
        assert_eq!(
            (&json["digest"], &json["total_bytes"]),
            (&Value::Null, &Value::Null),
            "not known of each file"
        );
        assert_eq!(json["tags"].to_string(), r#"{"a":"","b":"","team":"nlp"}"#);
        assert_eq!(json["scores"].to_string(), r#"{"s":{"score":0.5}}"#);
        assert_eq!(json["metrics"].to_string(), metrics.replace("1e400", "1e+400"));
        assert_eq!(json["created_at"], "2026-01-31T13:05:09.250Z");
    }

    #[test]
    fn a_time_of_an_old_row_gets_milliseconds_and_any_other_text_stays() {
        for (stored, shown) in [
            ("2026-01-31 13:05:09", "2026-01-31T13:05:09.000Z"),
            ("2026-01-31 13:05:09.250", "2026-01-31T13:05:09.250Z"),
            ("once", "once"),
        ] {
            assert_eq!(time(stored), shown);
        }
    }
}
