//! The request body that registers a version.

use std::env;

use serde_json::{Value, json};

use super::{details::Details, print, version_arg::VersionArg};
use crate::domain::{Architecture, Manifest, ManifestFile, Measurement, json::Object};

/// A version to register.
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) artifact_uri: Option<&'a str>,
    pub(super) checkpoint: Option<&'a Measurement>,
    pub(super) config: Option<&'a (Measurement, Object)>,
    /// Paths of checkpoint and configuration, if the registry reads the files itself.
    pub(super) local_paths: [Option<String>; 2],
    pub(super) details: &'a Details,
    pub(super) training_step: Option<i64>,
    pub(super) training_loss: Option<f64>,
    pub(super) metrics: Option<&'a Object>,
}

/// The body, with fields in the order of answers and without those that are not given.
impl From<Subject<'_>> for Value {
    fn from(subject: Subject<'_>) -> Self {
        let Details { status, dataset, description, tags, provenance, .. } = subject.details;
        let architecture = subject.config.map(|(_, config)| {
            Architecture::from_config(config).or(Architecture::from_transformers_config(config))
        });
        let Architecture { d_model, n_layers, n_heads, vocab_size } = architecture.unwrap_or_default();
        let user = || env::var("USER").ok().filter(|user| !user.is_empty());
        let host = || gethostname::gethostname().to_string_lossy().into_owned();
        let sha256 = |file: &Measurement| file.sha256.map(|sha256| sha256.to_string());
        let config = subject.config.map(|(file, _)| file);
        let [checkpoint_path, config_path] = subject.local_paths;
        let mut body = json!({
            "name": subject.name,
            "version": subject.version,
            "status": status.as_str(),
            "artifact_uri": subject.artifact_uri,
            "checkpoint_sha256": subject.checkpoint.and_then(sha256),
            "checkpoint_size_bytes": subject.checkpoint.map(|file| file.size_bytes),
            "config_sha256": config.and_then(sha256),
            "config_size_bytes": config.map(|file| file.size_bytes),
            "run_id": provenance.run_id,
            "git_commit": provenance.git_commit,
            "created_by": provenance.created_by.clone().or_else(user),
            "source_host": provenance.source_host.clone().unwrap_or_else(host),
            "checkpoint_path": checkpoint_path,
            "config_path": config_path,
            "d_model": d_model,
            "n_layers": n_layers,
            "n_heads": n_heads,
            "vocab_size": vocab_size,
            "training_step": subject.training_step,
            "training_loss": subject.training_loss,
            "dataset": dataset,
            "description": description,
            "tags": Some(tags).filter(|tags| !tags.is_empty()),
            "metrics": subject.metrics,
        });
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        body
    }
}

/// Returns files as a registration lists them.
pub(super) fn files(manifest: &Manifest) -> Value {
    let file = |file: &ManifestFile| {
        json!({
            "path": file.path,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256.to_string(),
            "role": file.role.as_str(),
        })
    };
    manifest.files().iter().map(file).collect()
}

/// Makes a body of the native API one of `/v1`, which has no name, tags with values, and the digests of its files.
pub(super) fn make_v1(body: &mut Value, label: Option<&str>) {
    const OF_FILES: [&str; 6] = [
        "name",
        "version",
        "checkpoint_sha256",
        "checkpoint_size_bytes",
        "config_sha256",
        "config_size_bytes",
    ];
    let Some(fields) = body.as_object_mut() else { return };
    fields.retain(|name, _| !OF_FILES.contains(&name.as_str()));
    if let Some(label) = label {
        fields.insert("label".to_owned(), label.into());
    }
    if let Some(tags) = fields.get_mut("tags") {
        let keys: Vec<_> = tags.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        *tags = keys.into_iter().map(|key| (key.to_owned(), Value::from(""))).collect();
    }
}

/// `registered m:v1 with id 7 (90.9 MB, sha256 7056f18469ad…)`, or with the URI if there is no checkpoint.
pub(super) fn summary(
    version: &VersionArg,
    model: &Value,
    checkpoint: Option<&Measurement>,
    artifact_uri: Option<&str>,
) -> String {
    let what = checkpoint.map(measured).or_else(|| artifact_uri.map(str::to_owned)).unwrap_or_default();
    format!("registered {version} with id {} ({what})", model["id"])
}

/// `90.9 MB, sha256 7056f18469ad…`
pub(super) fn measured(found: &Measurement) -> String {
    let size = print::size(found.size_bytes);
    match found.sha256 {
        Some(digest) => format!("{size}, sha256 {:.12}…", digest.to_string()),
        None => size,
    }
}
