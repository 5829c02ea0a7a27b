//! Registered models and versions in the JSON of MLflow.

use serde::Serialize;
use serde_json::json;

use crate::domain::{
    ModelSummary, PRODUCTION_ALIAS, Tags, Timestamp, Version,
    files::Entry,
    mlflow::{LABEL_TAG, Origin, is_only_here, stage},
};

use super::ObjectWriter;

/// Writes a version. The lists of a search and of a model show no aliases; other answers add them by [`add_aliases`]. `location` is
/// where this server has its files.
pub(in crate::http) fn write_version<S: AsRef<str>>(
    out: &mut Vec<u8>,
    version: &Version<S>,
    location: Option<String>,
) {
    let text =
        |column: &'_ Option<S>| column.as_ref().map(|text| text.as_ref().to_owned()).unwrap_or_default();
    let mut object = ObjectWriter::begin(out);
    object.field("name", version.name.as_ref());
    object.field("version", version.number.to_string());
    object.field("creation_timestamp", millis(version.created_at.as_ref()));
    object.field("last_updated_timestamp", millis(version.changed_at()));
    object.field("current_stage", stage(version.status));
    if let Some(description) = &version.description {
        object.field("description", description.as_ref());
    }
    let location = location.filter(|_| is_only_here(version));
    object.field("source", location.unwrap_or_else(|| text(&version.artifact_uri)));
    object.field("run_id", text(&version.run_id));
    object.field("status", "READY");
    let tags = Tags::of(version);
    let mut tags = tags.by_key();
    let number = version.number.to_string();
    if version.label.as_ref() != number {
        tags.insert(LABEL_TAG, version.label.as_ref());
    }
    write_tags(&mut object, tags);
    let origin = Origin::read(version.origin.as_ref().map(AsRef::as_ref));
    object.field("run_link", origin.run_link.unwrap_or_default());
    object.end();
}

/// Adds the aliases of a version to its JSON.
pub(in crate::http) fn add_aliases(json: &mut Vec<u8>, aliases: &[String]) {
    if aliases.is_empty() {
        return;
    }
    json.pop();
    json.extend_from_slice(b",\"aliases\":");
    let _ = serde_json::to_writer(&mut *json, aliases);
    json.push(b'}');
}

/// Writes a registered model with the JSON of its newest versions.
pub(in crate::http) fn write_model(out: &mut Vec<u8>, summary: &ModelSummary, latest: &[Vec<u8>]) {
    let model = &summary.model;
    let mut object = ObjectWriter::begin(out);
    object.field("name", &model.name);
    object.field("creation_timestamp", millis(&model.created_at));
    object.field("last_updated_timestamp", millis(model.changed_at()));
    if let Some(description) = model.description.as_ref().filter(|text| !text.is_empty()) {
        object.field("description", description);
    }
    if !latest.is_empty() {
        object.key("latest_versions");
        object.out.push(b'[');
        object.out.extend_from_slice(&latest.join(&b","[..]));
        object.out.push(b']');
    }
    write_tags(&mut object, &model.tags);
    let aliases = summary.aliases.iter().filter(|alias| alias.name != PRODUCTION_ALIAS);
    let aliases: Vec<_> =
        aliases.map(|alias| json!({ "alias": alias.name, "version": alias.number.to_string() })).collect();
    if !aliases.is_empty() {
        object.field("aliases", aliases);
    }
    object.end();
}

/// Writes a file or a folder, by its own name.
pub(in crate::http) fn write_file(out: &mut Vec<u8>, entry: &Entry) {
    let name = entry.path().trim_end_matches('/').rsplit('/').next();
    let mut object = ObjectWriter::begin(out);
    object.field("path", name);
    object.field("is_dir", matches!(entry, Entry::Folder(_)));
    if let Entry::File(file) = entry {
        object.field("file_size", file.size_bytes);
    }
    object.end();
}

fn write_tags<K: Serialize, V: Serialize>(
    object: &mut ObjectWriter<'_>,
    tags: impl IntoIterator<Item = (K, V)>,
) {
    let tags: Vec<_> = tags.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    if !tags.is_empty() {
        object.field("tags", tags);
    }
}

/// Returns a stored time in milliseconds since 1970; 0 for a time that no server of ours wrote.
fn millis(stored: &str) -> i64 {
    Timestamp::parse(stored).map_or(0, Timestamp::unix_millis)
}
