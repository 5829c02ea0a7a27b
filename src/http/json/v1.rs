//! Versions, models, holdings and events in the JSON of `/v1`.

use std::borrow::Cow;

use serde::Serialize;

use crate::domain::{
    Holding, ModelSummary, Timestamp, TrailEvent, Version,
    json::{Object, Value, read_object},
    suites::suites,
};

use super::ObjectWriter;

/// Writes a version.
pub(super) fn write_version<S: AsRef<str> + Serialize>(out: &mut Vec<u8>, version: &Version<S>) {
    let mut object = ObjectWriter::begin(out);
    object.field("id", version.id);
    object.field("model", &version.name);
    object.field("number", version.number);
    object.field("label", &version.label);
    object.field("status", version.status.as_str());
    object.field("artifact_uri", &version.artifact_uri);
    object.field("sha256", &version.checkpoint_sha256);
    object.field("size_bytes", version.checkpoint_size_bytes);
    object.field("files", files(version));
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
    object.field("tags", tags(version.tags.as_ref().map(AsRef::as_ref)));
    object.field("scores", scores(version.metrics.as_ref().map(AsRef::as_ref)));
    object.raw("metrics", version.metrics.as_ref());
    object.field("created_at", time(version.created_at.as_ref()));
    object.field("updated_at", time(version.updated_at.as_ref()));
    object.end();
}

/// A file of a version.
#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    size_bytes: Option<i64>,
    sha256: Option<&'a str>,
    role: &'static str,
}

/// Returns the files of a version: its checkpoint and its configuration, as far as anything is known of them.
fn files<S: AsRef<str>>(version: &Version<S>) -> Vec<File<'_>> {
    let uri = version.artifact_uri.as_ref().map(AsRef::as_ref).unwrap_or_default();
    let name = uri.rsplit_once('/').map(|(_, name)| name).filter(|name| !name.is_empty());
    let weights = (name.unwrap_or("checkpoint"), &version.checkpoint_sha256, version.checkpoint_size_bytes);
    let config = ("config.json", &version.config_sha256, version.config_size_bytes);
    let files = [("weights", weights), ("config", config)].into_iter();
    let known = files.filter(|(_, (_, sha256, size))| sha256.is_some() || size.is_some());
    known
        .map(|(role, (path, sha256, size_bytes))| File {
            path,
            size_bytes,
            sha256: sha256.as_ref().map(AsRef::as_ref),
            role,
        })
        .collect()
}

/// Returns tags by key, from the JSON text of a list of keys.
fn tags(list: Option<&str>) -> Object {
    let keys: Vec<String> = list.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
    keys.into_iter().map(|key| (key, "".into())).collect()
}

/// Returns the finite numbers in the suites of a version's metrics.
fn scores(metrics: Option<&str>) -> Object {
    let is_finite = |value: &Value| value.as_f64().is_some_and(f64::is_finite);
    let suites = suites(metrics).into_iter().filter_map(|(suite, scores)| match scores {
        Value::Object(mut scores) => {
            scores.retain(|_, score| is_finite(score));
            Some((suite, Value::Object(scores)))
        }
        _ => None,
    });
    suites.collect()
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
    object.field("actor", &event.actor);
    object.field("created_at", time(&event.created_at));
    object.field("hash", hex::encode(&trail.hash));
    object.end();
}

/// Returns a stored time in RFC 3339. A time that no server of ours wrote stays as it is.
fn time(stored: &str) -> Cow<'_, str> {
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
        let metrics =
            r#"{"loss":1,"suites":{"s":{"score":0.50,"top":1e400,"ok":true,"_meta":{"n":1}},"t":3}}"#;
        draft.metrics = read_object(metrics).unwrap();
        let version = draft.into_version(Timestamp::from_unix_millis(1_769_864_709_250));
        let json = written(&version);
        assert_eq!(
            json["files"].to_string(),
            format!(
                r#"[{{"path":"model.safetensors","size_bytes":null,"sha256":"{}","role":"weights"}},"#,
                "01".repeat(32)
            ) + r#"{"path":"config.json","size_bytes":7,"sha256":null,"role":"config"}]"#
        );
        assert_eq!(json["tags"].to_string(), r#"{"b":"","a":""}"#);
        assert_eq!(json["scores"].to_string(), r#"{"s":{"score":0.50}}"#);
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
