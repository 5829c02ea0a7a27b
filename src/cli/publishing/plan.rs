//! The plan of a publication: a checkpoint's version, URI and bytes, and how they compare with the registry.

use serde_json::Value;

use crate::{
    artifact::{OpenFile, TemplateError, UriTemplate, Values, objects::ObjectUri},
    cli::{publish_error::PublishError, version_arg::VersionArg},
    domain::Measurement,
};

/// Where artifacts are kept.
#[derive(Debug)]
pub(in crate::cli) enum Destination {
    /// Not given: the artifact is known by its digest.
    Unnamed,
    Fixed(String),
    Template(UriTemplate),
}

/// A checkpoint to publish.
#[derive(Debug)]
pub(in crate::cli) struct Candidate {
    pub(in crate::cli) file: OpenFile,
    pub(in crate::cli) version: String,
    pub(in crate::cli) step: Option<i64>,
}

/// What a checkpoint will be registered as.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) version: VersionArg,
    /// Normalized; absent if it depends on a digest that is not known yet.
    pub(super) uri: Option<String>,
    /// Its size, and its digest once that is known.
    pub(super) checkpoint: Measurement,
}

impl Candidate {
    /// Returns the values of a URI template, as far as they are known without the digest.
    pub(in crate::cli) fn values<'a>(&'a self, name: &'a str) -> Values<'a> {
        let basename = self.file.path().file_name().and_then(|name| name.to_str());
        Values { name, version: &self.version, step: self.step, basename, sha256: None }
    }
}

impl Destination {
    /// Returns the normalized URI of a checkpoint; `None` if it depends on a digest that is not known yet.
    ///
    /// # Errors
    /// If the template needs a field that the checkpoint does not have.
    pub(super) fn uri(&self, values: &Values<'_>) -> Result<Option<String>, TemplateError> {
        match self {
            Self::Unnamed => Ok(values.sha256.map(|digest| format!("sha256:{digest}"))),
            Self::Fixed(uri) => Ok(Some(normalized(uri))),
            Self::Template(template) => Ok(template.expand(values)?.map(|uri| normalized(&uri))),
        }
    }
}

/// Normalizes a URI: `S3://b/k` and `s3://b/k` are one object.
fn normalized(uri: &str) -> String {
    ObjectUri::parse(uri).map_or_else(|_| uri.trim().to_owned(), |object| object.to_string())
}

impl Plan {
    /// Checks that the registered `model` is the same as this plan, as far as the plan is known.
    ///
    /// # Errors
    /// A conflict that names the differences.
    pub(super) fn check_same(&self, model: &Value, uploads: bool) -> Result<(), PublishError> {
        let text = |field: &str| model.get(field).and_then(Value::as_str);
        let size = model.get("checkpoint_size_bytes").and_then(Value::as_u64);
        let digest = self.checkpoint.sha256.map(|digest| digest.to_string());
        let mut differences = Vec::new();
        if size != Some(self.checkpoint.size_bytes) {
            let there = size.map_or_else(|| "no size".to_owned(), |size| format!("{size} bytes"));
            differences.push(format!("{there} there and {} bytes here", self.checkpoint.size_bytes));
        }
        if let Some(digest) = &digest
            && text("checkpoint_sha256") != Some(digest)
        {
            let there = text("checkpoint_sha256")
                .map_or_else(|| "no sha256".to_owned(), |sha| format!("sha256 {sha}"));
            differences.push(format!("{there} there and {digest} here"));
        }
        if let Some(uri) = &self.uri
            && text("artifact_uri").map(normalized).as_ref() != Some(uri)
        {
            differences.push(format!("{} there and {uri} here", text("artifact_uri").unwrap_or("no URI")));
        }
        if differences.is_empty() {
            return Ok(());
        }
        let untouched = if uploads && digest.is_none() { "; nothing was uploaded" } else { "" };
        Err(PublishError::conflict(format!(
            "{} is registered already{}, and differs: {}{untouched}; publish this under another version",
            self.version,
            as_model(model),
            differences.join(", ")
        )))
    }

    /// `m:v1 is registered already, with id 7: nothing to do`
    pub(super) fn already_registered(&self, model: &Value, uploaded: bool) -> String {
        let rest = if uploaded { "" } else { ": nothing to do" };
        format!("{} is registered already{}{rest}", self.version, as_model(model))
    }

    /// `300000000 bytes, sha256 7056…2669`: what identifies the artifact.
    pub(super) fn identity(&self) -> String {
        let digest = self.checkpoint.sha256.map(|digest| format!(", sha256 {digest}")).unwrap_or_default();
        format!("{} bytes{digest}", self.checkpoint.size_bytes)
    }
}

fn as_model(model: &Value) -> String {
    model.get("id").map(|id| format!(", with id {id}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Digest;

    #[test]
    fn a_registered_version_is_the_same_or_the_differences_are_named() {
        let digest = Digest::from_bytes([0xab; 32]);
        let hex = "ab".repeat(32);
        let model = |size: Value, sha256: Value, uri: &str| json!({"id": 7, "checkpoint_size_bytes": size, "checkpoint_sha256": sha256, "artifact_uri": uri});
        let digested = Measurement { sha256: Some(digest), size_bytes: 5 };
        let sized = Measurement { sha256: None, size_bytes: 5 };
        for (model, checkpoint, uri, differs) in [
            (model(json!(5), json!(hex), "s3://b/k"), digested, Some("s3://b/k"), None),
            (model(json!(5), json!(hex), " s3://b/k "), digested, Some("s3://b/k"), None),
            // Others may have registered it as they wrote it.
            (model(json!(5), json!(hex), "GCS://b/k"), digested, Some("gs://b/k"), None),
            (model(json!(5), json!(hex), "s3://b/k"), digested, None, None),
            (model(json!(5), json!("00"), "s3://b/k"), sized, Some("s3://b/k"), None),
            (model(json!(6), json!(hex), "u"), sized, None, Some("6 bytes there and 5 bytes here")),
            (model(json!(null), json!(hex), "u"), sized, None, Some("no size there and 5 bytes here")),
            (model(json!(5), json!("00"), "u"), digested, None, Some("sha256 00 there and abab")),
            (model(json!(5), json!(null), "u"), digested, None, Some("no sha256 there and abab")),
            (
                model(json!(5), json!(hex), "s3://b/k"),
                digested,
                Some("s3://b/l"),
                Some("s3://b/k there and s3://b/l here"),
            ),
        ] {
            let version = VersionArg::named("m", "v1");
            let plan = Plan { version, uri: uri.map(str::to_owned), checkpoint };
            let message = plan.check_same(&model, true).err().map(|error| format!("{:?}", error.failure));
            match (differs, message) {
                (None, None) => {}
                (Some(differs), Some(message)) => {
                    assert!(
                        message.contains(differs)
                            && message.contains("m:v1 is registered already, with id 7"),
                        "{message}"
                    );
                }
                (_, message) => panic!("{model}: {message:?}"),
            }
        }
    }
}
