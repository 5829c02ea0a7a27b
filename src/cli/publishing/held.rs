//! What the registry holds already, against what is to be published.

use serde_json::Value;

use super::in_one_form;
use crate::{
    cli::{model_ref::ModelRef, publish_error::PublishError},
    domain::Measurement,
};

/// Confirms that the registered `model` is what is to be published, as far as that is known by now.
pub(super) fn same(
    version: &ModelRef,
    model: &Value,
    checkpoint: &Measurement,
    uri: Option<&str>,
    uploads: bool,
) -> Result<(), PublishError> {
    let text = |field: &str| model.get(field).and_then(Value::as_str);
    let size = model.get("checkpoint_size_bytes").and_then(Value::as_u64);
    let digest = checkpoint.sha256.map(|digest| digest.to_string());
    let mut differences = Vec::new();
    if size != Some(checkpoint.size_bytes) {
        let there = size.map_or_else(|| "no size".to_owned(), |size| format!("{size} bytes"));
        differences.push(format!("{there} there and {} bytes here", checkpoint.size_bytes));
    }
    if let Some(digest) = &digest
        && text("checkpoint_sha256") != Some(digest)
    {
        let there =
            text("checkpoint_sha256").map_or_else(|| "no sha256".to_owned(), |sha| format!("sha256 {sha}"));
        differences.push(format!("{there} there and {digest} here"));
    }
    if let Some(uri) = uri
        && text("artifact_uri").map(in_one_form).as_deref() != Some(uri)
    {
        differences.push(format!("{} there and {uri} here", text("artifact_uri").unwrap_or("no URI")));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let id = model.get("id").map(|id| format!(", as model {id}")).unwrap_or_default();
    let untouched = if uploads && digest.is_none() { "; nothing was uploaded" } else { "" };
    Err(PublishError::conflict(format!(
        "{version} is registered already{id}, and differs: {}{untouched}; publish this under another version",
        differences.join(", ")
    )))
}

/// `m:v1 is published already, as model 7: nothing to do`
pub(super) fn already(version: &ModelRef, model: &Value, uploaded: bool) -> String {
    let id = model.get("id").map(|id| format!(", as model {id}")).unwrap_or_default();
    let rest = if uploaded { "" } else { ": nothing to do" };
    format!("{version} is registered already{id}{rest}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Digest;

    #[test]
    fn a_registered_version_is_the_same_or_says_what_differs() {
        let digest = Digest::from_bytes([0xab; 32]);
        let hex = "ab".repeat(32);
        let model = |size: Value, sha256: Value, uri: &str| json!({"id": 7, "checkpoint_size_bytes": size, "checkpoint_sha256": sha256, "artifact_uri": uri});
        let version = ModelRef::named("m", "v1");
        let found = Measurement { sha256: Some(digest), size_bytes: 5 };
        let sized = Measurement { sha256: None, size_bytes: 5 };
        for (model, found, uri, differs) in [
            (model(json!(5), json!(hex), "s3://b/k"), found, Some("s3://b/k"), None),
            (model(json!(5), json!(hex), " s3://b/k "), found, Some("s3://b/k"), None),
            // Others may have registered it as they wrote it.
            (model(json!(5), json!(hex), "GCS://b/k"), found, Some("gs://b/k"), None),
            (model(json!(5), json!(hex), "s3://b/k"), found, None, None),
            (model(json!(5), json!("00"), "s3://b/k"), sized, Some("s3://b/k"), None),
            (model(json!(6), json!(hex), "u"), sized, None, Some("6 bytes there and 5 bytes here")),
            (model(json!(null), json!(hex), "u"), sized, None, Some("no size there and 5 bytes here")),
            (model(json!(5), json!("00"), "u"), found, None, Some("sha256 00 there and abab")),
            (model(json!(5), json!(null), "u"), found, None, Some("no sha256 there and abab")),
            (
                model(json!(5), json!(hex), "s3://b/k"),
                found,
                Some("s3://b/l"),
                Some("s3://b/k there and s3://b/l here"),
            ),
        ] {
            let judged = same(&version, &model, &found, uri, true);
            let said = judged.err().map(|error| format!("{:?}", error.failure));
            match (differs, said) {
                (None, None) => {}
                (Some(differs), Some(said)) => {
                    assert!(
                        said.contains(differs) && said.contains("m:v1 is registered already, as model 7"),
                        "{said}"
                    );
                }
                (_, said) => panic!("{model}: {said:?}"),
            }
        }
    }
}
