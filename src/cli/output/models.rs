//! The columns of versions and events.

use serde_json::Value;

use super::{
    View,
    column::{Column, Kind, plain},
};
use crate::cli::model_ref;

/// Scores of an event that its summary names.
const MAX_SCORES: usize = 4;

/// Rows of versions.
pub(in crate::cli) const MODELS: View = View {
    table: || {
        vec![
            Column::of("ID", "id", Kind::Number),
            Column::of("NAME", "name", Kind::Plain),
            Column::of("VERSION", "version", Kind::Plain),
            Column::of("STATUS", "status", Kind::Status),
            Column::of("STEP", "training_step", Kind::Number),
            Column::of("LOSS", "training_loss", Kind::Number),
            Column::of("CREATED", "created_at", Kind::Minute),
        ]
    },
    wide: || {
        vec![
            Column::of("ID", "id", Kind::Number),
            Column::of("NAME", "name", Kind::Plain),
            Column::of("VERSION", "version", Kind::Plain),
            Column::of("STATUS", "status", Kind::Status),
            Column::of("FROZEN", "frozen", Kind::Plain),
            Column::of("STEP", "training_step", Kind::Number),
            Column::of("LOSS", "training_loss", Kind::Number),
            Column::of("PARAMS", "params", Kind::Number),
            Column::of("SIZE", "checkpoint_size_bytes", Kind::Size),
            Column::of("SHA256", "checkpoint_sha256", Kind::Plain),
            Column::of("ARTIFACT", "artifact_uri", Kind::Plain),
            Column::of("DATASET", "dataset", Kind::Plain),
            Column::of("CREATED BY", "created_by", Kind::Plain),
            Column::of("CREATED", "created_at", Kind::Second),
            Column::of("UPDATED", "updated_at", Kind::Second),
            Column::of("TAGS", "tags", Kind::Plain),
            Column::of("DESCRIPTION", "description", Kind::Plain),
        ]
    },
    fields: &FIELDS,
    name: Some(model_ref::label),
};

/// The fields of a version, in the order of the API.
pub(in crate::cli) const FIELDS: [&str; 29] = [
    "id",
    "name",
    "version",
    "status",
    "artifact_uri",
    "checkpoint_sha256",
    "checkpoint_size_bytes",
    "config_sha256",
    "config_size_bytes",
    "run_id",
    "git_commit",
    "created_by",
    "source_host",
    "frozen",
    "local_checkpoint_path",
    "local_config_path",
    "d_model",
    "n_layers",
    "n_heads",
    "vocab_size",
    "params",
    "training_step",
    "training_loss",
    "dataset",
    "description",
    "tags",
    "metrics",
    "created_at",
    "updated_at",
];

/// Rows of an audit trail.
pub(in crate::cli) const EVENTS: View = View {
    table: || {
        vec![
            Column::of("TIME", "created_at", Kind::Second),
            Column::of("EVENT", "event_type", Kind::Plain),
            Column::of("ACTOR", "actor", Kind::Plain),
            Column::of("WHAT", "payload", Kind::Computed(summary)),
        ]
    },
    wide: || {
        vec![
            Column::of("ID", "id", Kind::Number),
            Column::of("MODEL", "model_id", Kind::Number),
            Column::of("TIME", "created_at", Kind::Plain),
            Column::of("EVENT", "event_type", Kind::Plain),
            Column::of("ACTOR", "actor", Kind::Plain),
            Column::of("PAYLOAD", "payload", Kind::Plain),
        ]
    },
    fields: &["id", "model_id", "event_type", "payload", "actor", "created_at"],
    name: None,
};

/// A short summary of an event. A payload of an unknown form is shown as it is.
fn summary(event: &Value) -> String {
    let payload = event.get("payload").unwrap_or(&Value::Null);
    let text = |field: &str| payload.get(field).and_then(Value::as_str);
    let summary = match event.get("event_type").and_then(Value::as_str) {
        Some("create" | "delete") => {
            text("status").map(|status| format!("{}, {status}", model_ref::label(payload)))
        }
        Some("promote" | "auto_demote") => text("from").zip(text("to")).map(|(from, to)| {
            let reason = text("reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("{from} → {to}{reason}")
        }),
        Some("update") => payload
            .get("updated_fields")
            .and_then(Value::as_array)
            .map(|fields| fields.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Some("eval") => {
            text("suite").zip(payload.get("metrics").and_then(Value::as_object)).map(|(suite, metrics)| {
                let scores = metrics.iter().take(MAX_SCORES);
                let mut named: Vec<_> =
                    scores.map(|(key, value)| format!("{key}={}", plain(value))).collect();
                if metrics.len() > MAX_SCORES {
                    named.push(format!("and {} more", metrics.len() - MAX_SCORES));
                }
                format!("{suite} {}", named.join(" "))
            })
        }
        _ => None,
    };
    summary.unwrap_or_else(|| plain(payload))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_has_a_short_summary() {
        for (kind, payload, expected) in [
            (
                "create",
                json!({"name": "m", "version": "v1", "status": "staging", "artifact_uri": "u"}),
                "m:v1, staging",
            ),
            ("delete", json!({"name": "m", "version": "v1", "status": "archived"}), "m:v1, archived"),
            ("promote", json!({"from": "experimental", "to": "production"}), "experimental → production"),
            (
                "auto_demote",
                json!({"from": "production", "to": "staging", "reason": "new production: 2"}),
                "production → staging (new production: 2)",
            ),
            ("update", json!({"updated_fields": ["description", "tags"]}), "description, tags"),
            ("eval", json!({"suite": "s", "metrics": {"score": 0.82, "ok": true}}), "s score=0.82 ok=true"),
            (
                "eval",
                json!({"suite": "s", "metrics": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}}),
                "s a=1 b=2 c=3 d=4 and 2 more",
            ),
            ("eval", json!({"other": 1}), r#"{"other":1}"#),
            ("update", json!("words"), "words"),
            ("imported", json!({"from": "elsewhere"}), r#"{"from":"elsewhere"}"#),
            ("promote", json!(null), "-"),
        ] {
            assert_eq!(summary(&json!({"event_type": kind, "payload": payload})), expected, "{kind}");
        }
    }
}
