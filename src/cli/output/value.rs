//! Values of answers as people read them.

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::terminal::{FAINT, GOOD};
use crate::{
    cli::print,
    domain::{Status, Timestamp},
};

/// Letters of a digest in a table, as in `git` and container engines.
const DIGEST_CHARS: usize = 12;

/// How a value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum ValueFormat {
    /// Unchanged.
    Plain,
    /// Unchanged, aligned to the right.
    Number,
    /// Bytes with a unit.
    Size,
    /// Its first letters.
    Digest,
    Status,
    /// An object of simple values: `champion=2,nightly`.
    Pairs,
    /// To the minute.
    Minute,
    /// To the second.
    Second,
    /// The summary of the event that is the row.
    Event,
}

impl ValueFormat {
    /// Returns the kind for a field of an answer. A wide output has room for whole digests, seconds and payloads.
    pub(in crate::cli) fn of(field: &str, wide: bool) -> Self {
        match field {
            "id" | "model_id" | "number" | "latest" | "training_step" | "training_loss" | "params"
            | "value" | "models" | "file_count" => Self::Number,
            "checkpoint_size_bytes" | "config_size_bytes" | "size_bytes" | "total_bytes" => Self::Size,
            "status" => Self::Status,
            "aliases" | "tags" => Self::Pairs,
            "created_at" | "updated_at" | "deleted_at" | "recorded_at" | "since" | "until" | "expires_at"
            | "rotated_at" | "last_used_at" | "revoked_at" | "withdrawn_at" | "next_attempt_at"
            | "attempted_at" => {
                if wide {
                    Self::Second
                } else {
                    Self::Minute
                }
            }
            "checkpoint_sha256" | "config_sha256" | "sha256" | "git_commit" if !wide => Self::Digest,
            "payload" if !wide => Self::Event,
            _ => Self::Plain,
        }
    }
}

/// Formats `value` as `kind`, or leaves it unchanged if it does not fit.
pub(in crate::cli) fn text_as(kind: ValueFormat, value: &Value) -> String {
    match (kind, value) {
        (ValueFormat::Size, Value::Number(_)) => value.as_u64().map_or_else(|| plain(value), print::size),
        (ValueFormat::Digest, Value::String(digest)) => format!("{digest:.DIGEST_CHARS$}"),
        (ValueFormat::Pairs, Value::Object(pairs)) if pairs.is_empty() => "-".to_owned(),
        (ValueFormat::Pairs, Value::Object(pairs)) => pairs.iter().map(pair).collect::<Vec<_>>().join(","),
        (ValueFormat::Minute, Value::String(time)) => short_time(time, "YYYY-MM-DD HH:MM".len()),
        (ValueFormat::Second, Value::String(time)) => short_time(time, "YYYY-MM-DD HH:MM:SS".len()),
        _ => plain(value),
    }
}

/// `team=nlp`; a tag without a value is only its key.
fn pair((key, value): (&String, &Value)) -> String {
    match plain(value).as_str() {
        "" => key.clone(),
        value => format!("{key}={value}"),
    }
}

/// Formats `value` as text: a list of simple values with commas, an object as JSON.
pub(in crate::cli) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            items.iter().map(plain).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// Returns `2026-01-31 13:05Z` for a time in UTC; any other text unchanged.
fn short_time(text: &str, chars: usize) -> String {
    let utc = text.replacen('T', " ", 1);
    let utc = utc.trim_end_matches("+00:00").trim_end_matches('Z');
    Timestamp::parse(utc).map_or_else(|| text.to_owned(), |time| format!("{:.chars$}Z", time.to_string()))
}

/// Returns the colour of a status, in addition to its name.
pub(in crate::cli) fn style_of_status(text: &str) -> Style {
    match Status::parse(text) {
        Some(Status::Production) => GOOD,
        Some(Status::Staging) => AnsiColor::Yellow.on_default(),
        Some(Status::Archived) => FAINT,
        Some(Status::Experimental) | None => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_as_people_read_them() {
        let digest = "7056f18469adbeef";
        for (kind, value, text) in [
            (ValueFormat::Plain, json!(null), "-"),
            (ValueFormat::Plain, json!("a"), "a"),
            (ValueFormat::Plain, json!(true), "true"),
            (ValueFormat::Plain, json!([]), "-"),
            (ValueFormat::Plain, json!(["a", 1]), "a,1"),
            (ValueFormat::Plain, json!([["a"]]), r#"[["a"]]"#),
            (ValueFormat::Plain, json!({"a": 1}), r#"{"a":1}"#),
            (ValueFormat::Size, json!(90_868_376), "90.9 MB"),
            (ValueFormat::Size, json!(-1), "-1"),
            (ValueFormat::Size, json!("big"), "big"),
            (ValueFormat::Digest, json!(digest), "7056f18469ad"),
            (ValueFormat::Digest, json!("short"), "short"),
            (
                ValueFormat::Pairs,
                json!({"champion": 2, "nightly": "", "team": "nlp"}),
                "champion=2,nightly,team=nlp",
            ),
            (ValueFormat::Pairs, json!({}), "-"),
            (ValueFormat::Pairs, json!(["a", "b"]), "a,b"),
            (ValueFormat::Minute, json!("2026-01-31 13:05:09.250"), "2026-01-31 13:05Z"),
            (ValueFormat::Minute, json!("2026-01-31T13:05:09.250Z"), "2026-01-31 13:05Z"),
            (ValueFormat::Second, json!("2026-01-31 13:05:09"), "2026-01-31 13:05:09Z"),
            (ValueFormat::Second, json!("2026-01-31T13:05:09.250+00:00"), "2026-01-31 13:05:09Z"),
            (ValueFormat::Minute, json!("2026-01-31T13:05:09+02:00"), "2026-01-31T13:05:09+02:00"),
            (ValueFormat::Minute, json!("yesterday"), "yesterday"),
            (ValueFormat::Minute, json!("gestern, früh"), "gestern, früh"),
        ] {
            assert_eq!(text_as(kind, &value), text, "{value}");
        }
    }
}
