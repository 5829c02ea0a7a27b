//! The summary of an event in a table.

use serde_json::Value;

use super::value::plain;
use crate::cli::version_arg;

/// Scores of an event that its summary names.
const MAX_SCORES: usize = 4;

/// Returns a short summary of an event. A payload of an unknown form is shown unchanged.
pub(super) fn summary(event: &Value) -> String {
    let payload = event.get("payload").unwrap_or(&Value::Null);
    let text = |field: &str| payload.get(field).and_then(Value::as_str);
    let kind = event.get("event_type").or_else(|| event.get("type"));
    let summary = match kind.and_then(Value::as_str) {
        Some("create" | "delete") => {
            text("status").map(|status| format!("{}, {status}", version_arg::label(payload)))
        }
        Some("promote" | "auto_demote") => text("from").zip(text("to")).map(|(from, to)| {
            let reason = text("reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("{from} → {to}{reason}")
        }),
        Some("update" | "update_model") => updated(payload),
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
        Some("set_alias") => text("alias").zip(text("version")).map(|(alias, label)| {
            let from = text("from").map(|from| format!(", was {from}")).unwrap_or_default();
            format!("{alias} is {label}{from}")
        }),
        Some("delete_alias") => {
            text("alias").zip(text("version")).map(|(alias, label)| format!("{alias}, was {label}"))
        }
        Some("create_key" | "rotate_key" | "revoke_key" | "create_webhook" | "delete_webhook") => {
            text("name").map(str::to_owned)
        }
        Some("update_webhook") => {
            text("name").zip(updated(payload)).map(|(name, fields)| format!("{name}: {fields}"))
        }
        Some("set_policy" | "delete_policy") => text("name")
            .zip(payload.get("version").and_then(Value::as_i64))
            .map(|(name, version)| format!("{name}, version {version}")),
        Some("approve" | "request_approval" | "withdraw_approval") => {
            text("version").zip(text("target")).map(|(label, target)| format!("{label} for {target}"))
        }
        Some("set_tag") => text("key").zip(text("value")).map(|(key, value)| format!("{key}={value}")),
        Some("delete_tag") => text("key").map(str::to_owned),
        Some("rename_model") => {
            let after = event.pointer("/after/name").and_then(Value::as_str);
            text("name").zip(after).map(|(old, new)| format!("{old} → {new}"))
        }
        _ => None,
    };
    summary.unwrap_or_else(|| plain(payload))
}

/// Returns the names of the fields that an update changed.
fn updated(payload: &Value) -> Option<String> {
    let fields = payload.get("updated_fields")?.as_array()?;
    Some(fields.iter().map(plain).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_event_has_a_summary_and_an_unknown_payload_is_shown_as_it_is() {
        for (kind, payload, expected) in [
            (
                "eval",
                json!({"suite": "s", "metrics": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}}),
                "s a=1 b=2 c=3 d=4 and 2 more",
            ),
            ("eval", json!({"other": 1}), r#"{"other":1}"#),
            ("update", json!("words"), "words"),
            ("imported", json!({"from": "elsewhere"}), r#"{"from":"elsewhere"}"#),
            ("promote", json!(null), "-"),
            (
                "set_alias",
                json!({"alias": "champion", "version": "v2", "from": "v1"}),
                "champion is v2, was v1",
            ),
            ("set_alias", json!({"alias": "champion", "version": "v2", "from": null}), "champion is v2"),
            ("delete_alias", json!({"alias": "champion", "version": "v2"}), "champion, was v2"),
            ("set_tag", json!({"key": "team", "value": "nlp"}), "team=nlp"),
            ("delete_tag", json!({"key": "team", "value": null}), "team"),
            ("create_key", json!({"scopes": ["read"], "models": [], "id": 3, "name": "ci"}), "ci"),
            ("update_webhook", json!({"name": "w", "updated_fields": ["url", "secret"]}), "w: url, secret"),
            ("set_policy", json!({"name": "quality", "version": 2}), "quality, version 2"),
            ("approve", json!({"name": "m", "version": "v2", "target": "production"}), "v2 for production"),
            ("rename_model", json!({"name": "m"}), r#"{"name":"m"}"#),
        ] {
            assert_eq!(summary(&json!({"event_type": kind, "payload": payload})), expected, "{kind}");
        }
    }
}
