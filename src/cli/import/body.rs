//! The bodies of requests that create what MLflow has.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::files::Copied;
use crate::{
    client::mlflow::MlflowVersion,
    domain::{Status, Timestamp, json::Object},
};

/// Returns the body that registers a version.
pub(super) fn registration(
    version: &MlflowVersion,
    location: Option<String>,
    copied: Option<&Copied>,
) -> Value {
    let status = match version.status.unwrap_or_default() {
        Status::Production => Status::Staging,
        status => status,
    };
    let mut body = json!({
        "label": version.number.to_string(),
        "number": version.number,
        "status": status.as_str(),
        "artifact_uri": version.source,
        "tags": version.tags,
    });
    set(&mut body, "run_id", version.run_id.as_deref());
    set(&mut body, "description", version.description.as_deref());
    let mut origin = json!({});
    set(&mut origin, "run_link", version.run_link.as_deref());
    set(&mut origin, "location", location.as_deref());
    if origin.as_object().is_some_and(|origin| !origin.is_empty()) {
        body["origin"] = origin;
    }
    set_times(&mut body, version.created_at, version.updated_at);
    if let Some(copied) = copied {
        body["files"] = copied.files.clone();
        body["stored"] = true.into();
    }
    body
}

/// Sets a field, if it has a value.
pub(super) fn set(body: &mut Value, field: &str, value: Option<&str>) {
    if let (Some(fields), Some(value)) = (body.as_object_mut(), value) {
        let fields: &mut Object = fields;
        fields.insert(field.to_owned(), value.into());
    }
}

/// Sets the times. One in the future, by this machine's clock, becomes now: MLflow's clock may be ahead.
pub(super) fn set_times(body: &mut Value, created_at: Option<Timestamp>, updated_at: Option<Timestamp>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = Timestamp::from_unix_millis(i64::try_from(now).unwrap_or(i64::MAX));
    let Some(created_at) = created_at.map(|time| time.min(now)) else { return };
    set(body, "created_at", Some(&created_at.to_rfc3339()));
    let updated_at = updated_at.unwrap_or(created_at).clamp(created_at, now);
    set(body, "updated_at", Some(&updated_at.to_rfc3339()));
}
