//! The body that registers a version, and the flags that say where a version comes from.

use std::env;

use serde_json::Value;

use crate::domain::{Architecture, Measurement, json::Object};

/// Where a version comes from.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Provenance")]
pub struct Provenance {
    /// The training run it came from
    #[arg(long, value_name = "ID")]
    run_id: Option<String>,
    /// The commit it was trained at
    #[arg(long, value_name = "COMMIT")]
    git_commit: Option<String>,
    /// Who registers it [default: the variable USER]
    #[arg(long, value_name = "WHO")]
    created_by: Option<String>,
    /// Where it is registered from [default: the host's name]
    #[arg(long, value_name = "HOST")]
    source_host: Option<String>,
}

/// What `POST /models` takes, in the order in which a model is answered. What is not given is left out.
#[derive(Debug, Default)]
pub(super) struct Body(Object);

impl Body {
    /// Sets `field`, where there is something to set it to.
    pub(super) fn set(&mut self, field: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(field.to_owned(), value.into());
        }
    }

    /// Sets digest and size of `what`: `checkpoint` or `config`.
    pub(super) fn set_file(&mut self, what: &str, found: Option<&Measurement>) {
        self.set(&format!("{what}_sha256"), found.and_then(|file| file.sha256).map(|sha| sha.to_string()));
        self.set(&format!("{what}_size_bytes"), found.map(|file| file.size_bytes));
    }

    /// Sets the shape of the model.
    pub(super) fn set_architecture(&mut self, shape: Architecture) {
        self.set("d_model", shape.d_model);
        self.set("n_layers", shape.n_layers);
        self.set("n_heads", shape.n_heads);
        self.set("vocab_size", shape.vocab_size);
    }

    /// Sets where the version comes from.
    pub(super) fn set_provenance(&mut self, given: &Provenance) {
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

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Digest;

    #[test]
    fn what_is_not_given_is_left_out() {
        let mut body = Body::default();
        body.set("name", Some("m"));
        body.set("dataset", None::<String>);
        body.set_file("checkpoint", Some(&Measurement { sha256: None, size_bytes: 5 }));
        body.set_file("config", None);
        body.set_architecture(Architecture { n_heads: Some(4), ..Architecture::default() });
        assert_eq!(body.into_value().to_string(), r#"{"name":"m","checkpoint_size_bytes":5,"n_heads":4}"#);
    }

    #[test]
    fn a_file_is_told_by_digest_and_size() {
        let mut body = Body::default();
        let digest = Digest::from_bytes([0xab; 32]);
        body.set_file("config", Some(&Measurement { sha256: Some(digest), size_bytes: 0 }));
        let expected = format!(r#"{{"config_sha256":"{}","config_size_bytes":0}}"#, "ab".repeat(32));
        assert_eq!(body.into_value().to_string(), expected);
    }
}
