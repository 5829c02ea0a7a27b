//! The request body that registers a version.

use std::env;

use serde_json::Value;

use super::{
    details::{Details, Provenance},
    model_ref::ModelRef,
    print,
};
use crate::domain::{Architecture, Measurement, json::Object};

/// A request body, with fields in the order of answers and without those that are not given.
#[derive(Debug, Default)]
pub(super) struct Body(Object);

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

impl From<Subject<'_>> for Value {
    fn from(subject: Subject<'_>) -> Self {
        let details = subject.details;
        let mut body = Body::default();
        body.set("name", Some(subject.name));
        body.set("version", Some(subject.version));
        body.set("status", Some(details.status.as_str()));
        body.set("artifact_uri", subject.artifact_uri);
        body.set_file("checkpoint", subject.checkpoint);
        body.set_file("config", subject.config.map(|(file, _)| file));
        body.set_provenance(&details.provenance);
        let [checkpoint_path, config_path] = subject.local_paths;
        body.set("checkpoint_path", checkpoint_path);
        body.set("config_path", config_path);
        if let Some((_, config)) = subject.config {
            let transformers = Architecture::from_transformers_config(config);
            body.set_architecture(Architecture::from_config(config).or(transformers));
        }
        body.set("training_step", subject.training_step);
        body.set("training_loss", subject.training_loss);
        body.set("dataset", details.dataset.as_deref());
        body.set("description", details.description.as_deref());
        body.set("tags", (!details.tags.is_empty()).then(|| details.tags.clone()));
        body.set("metrics", subject.metrics.cloned());
        Value::Object(body.into_object())
    }
}

impl Body {
    /// Sets `field` if there is a value.
    pub(super) fn set(&mut self, field: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(field.to_owned(), value.into());
        }
    }

    /// Sets digest and size of `what`: `checkpoint` or `config`.
    fn set_file(&mut self, what: &str, found: Option<&Measurement>) {
        self.set(&format!("{what}_sha256"), found.and_then(|file| file.sha256).map(|sha| sha.to_string()));
        self.set(&format!("{what}_size_bytes"), found.map(|file| file.size_bytes));
    }

    /// Sets the architecture fields.
    fn set_architecture(&mut self, shape: Architecture) {
        self.set("d_model", shape.d_model);
        self.set("n_layers", shape.n_layers);
        self.set("n_heads", shape.n_heads);
        self.set("vocab_size", shape.vocab_size);
    }

    /// Sets the provenance fields.
    fn set_provenance(&mut self, given: &Provenance) {
        let user = || env::var("USER").ok().filter(|user| !user.is_empty());
        let host = || Some(gethostname::gethostname().to_string_lossy().into_owned());
        self.set("run_id", given.run_id.clone());
        self.set("git_commit", given.git_commit.clone());
        self.set("created_by", given.created_by.clone().or_else(user));
        self.set("source_host", given.source_host.clone().or_else(host));
    }

    pub(super) fn into_object(self) -> Object {
        self.0
    }
}

/// `registered m:v1 as model 7 (90.9 MB, sha256 7056f18469ad…)`, or with the URI if there is no checkpoint.
pub(super) fn summary(
    version: &ModelRef,
    model: &Value,
    checkpoint: Option<&Measurement>,
    artifact_uri: Option<&str>,
) -> String {
    let what = checkpoint.map(measured).or_else(|| artifact_uri.map(str::to_owned)).unwrap_or_default();
    format!("registered {version} as model {} ({what})", model["id"])
}

/// `90.9 MB, sha256 7056f18469ad…`
pub(super) fn measured(found: &Measurement) -> String {
    let size = print::size(found.size_bytes);
    match found.sha256 {
        Some(digest) => format!("{size}, sha256 {:.12}…", digest.to_string()),
        None => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_given_are_left_out() {
        let mut body = Body::default();
        body.set("name", Some("m"));
        body.set("dataset", None::<String>);
        body.set_file("checkpoint", Some(&Measurement { sha256: None, size_bytes: 5 }));
        body.set_file("config", None);
        body.set_architecture(Architecture { n_heads: Some(4), ..Architecture::default() });
        assert_eq!(
            Value::Object(body.into_object()).to_string(),
            r#"{"name":"m","checkpoint_size_bytes":5,"n_heads":4}"#
        );
    }
}
