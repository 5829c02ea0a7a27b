//! Whether what is kept fits the rules. A file may hold what no request could bring about: other tools write
//! it too, disks fail, and a schema holds few rules by itself.
//!
//! Each column has one [`Rule`], which judges one value. What spans rows is the store's to find.

use serde::de::IgnoredAny;

use super::{
    Digest, EventKind, Status, Timestamp,
    json::{Value, read_object, servable},
};

/// The most characters of a value that a fault shows.
const SHOWN_CHARS: usize = 60;

const PATCH: &str = "set it with PATCH /models/{id}";
const MEND_BY_HAND: &str = "no request can change it; mend the row by hand, or restore a backup";
const OTHER_TOOLS: &str = "find out which other tool wrote it";

/// A value as a file keeps it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kept<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    /// Bytes, or a text that is no UTF-8.
    Bytes,
}

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// A rule is broken.
    Error,
    /// The same, but older servers could leave it so, and bringing their file up to date mends it.
    MendedByMigration,
    /// Odd, but the registry can live with it, or has allowed it.
    Warning,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// Names the column.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

/// What a column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A number from 1 on.
    Id,
    /// A text that is not blank and that no request can change.
    Label,
    /// One of the four.
    Status,
    /// A text that is not blank.
    Uri,
    /// 64 lower-case hex digits, or nothing.
    Digest,
    /// Bytes, or nothing.
    Size,
    /// 0 or 1.
    Flag,
    /// A whole number, or nothing.
    Whole,
    /// A finite number, or nothing.
    Number,
    /// A text, or nothing.
    Text,
    /// A JSON list of texts, or nothing.
    Tags,
    /// A JSON object, with suites as objects where it has any, or nothing.
    Metrics,
    /// A time as [`Timestamp`] reads it.
    Time,
    /// What happened.
    EventType,
    /// JSON, or nothing.
    Payload,
}

/// The columns of a version.
pub const MODEL_RULES: [(&str, Rule); 29] = [
    ("id", Rule::Id),
    ("name", Rule::Label),
    ("version", Rule::Label),
    ("status", Rule::Status),
    ("artifact_uri", Rule::Uri),
    ("checkpoint_sha256", Rule::Digest),
    ("checkpoint_size_bytes", Rule::Size),
    ("config_sha256", Rule::Digest),
    ("config_size_bytes", Rule::Size),
    ("run_id", Rule::Text),
    ("git_commit", Rule::Text),
    ("created_by", Rule::Text),
    ("source_host", Rule::Text),
    ("frozen", Rule::Flag),
    ("checkpoint_path", Rule::Text),
    ("config_path", Rule::Text),
    ("d_model", Rule::Whole),
    ("n_layers", Rule::Whole),
    ("n_heads", Rule::Whole),
    ("vocab_size", Rule::Whole),
    ("params", Rule::Whole),
    ("training_step", Rule::Whole),
    ("training_loss", Rule::Number),
    ("dataset", Rule::Text),
    ("description", Rule::Text),
    ("tags", Rule::Tags),
    ("metrics", Rule::Metrics),
    ("created_at", Rule::Time),
    ("updated_at", Rule::Time),
];

/// The columns of an event.
pub const EVENT_RULES: [(&str, Rule); 6] = [
    ("id", Rule::Id),
    ("model_id", Rule::Id),
    ("event_type", Rule::EventType),
    ("payload_json", Rule::Payload),
    ("actor", Rule::Text),
    ("created_at", Rule::Time),
];

impl Rule {
    /// What is wrong with `kept` in `column`, if anything is.
    #[must_use]
    pub fn judge(self, column: &str, kept: Kept<'_>) -> Option<Fault> {
        let (severity, wanted, remedy) = self.broken_by(kept)?;
        Some(Fault { severity, problem: format!("{column} is {}, {wanted}", shown(kept)), remedy })
    }

    /// How bad it is, what is wanted instead, and what to do.
    fn broken_by(self, kept: Kept<'_>) -> Option<(Severity, String, &'static str)> {
        use Kept::{Bytes, Integer, Null, Real, Text};
        use Severity::{Error, MendedByMigration, Warning};
        let says = |severity, wanted: &str, remedy| Some((severity, wanted.to_owned(), remedy));
        match (self, kept) {
            (Self::Id, Integer(1..)) => None,
            (Self::Id, _) => says(Error, "not a number from 1 on", MEND_BY_HAND),

            (Self::Label, Text(text)) if !text.trim().is_empty() => None,
            (Self::Label, _) => says(Error, "not a text that can be asked for", MEND_BY_HAND),

            (Self::Status, Text(text)) if Status::parse(text).is_some() => None,
            (Self::Status, _) => {
                Some((MendedByMigration, format!("none of {}", Status::NAMES.join(", ")), PATCH))
            }

            (Self::Uri, Text(text)) if !text.trim().is_empty() => None,
            (Self::Uri, _) => says(
                MendedByMigration,
                "so nothing says where the artifact is",
                "set it with PATCH /models/{id}",
            ),

            (Self::Digest, Null) => None,
            (Self::Digest, Text(text)) if is_kept_digest(text) => None,
            (Self::Digest, _) => says(Error, "not 64 lower-case hex digits", PATCH),

            (Self::Size, Null | Integer(0..)) => None,
            (Self::Size, _) => says(Error, "not a count of bytes", PATCH),

            (Self::Flag, Integer(0 | 1)) => None,
            (Self::Flag, Null) => says(MendedByMigration, "neither 0 nor 1", MEND_BY_HAND),
            (Self::Flag, _) => says(Error, "neither 0 nor 1", MEND_BY_HAND),

            (Self::Whole, Null | Integer(_)) => None,
            (Self::Whole, _) => says(Error, "not a whole number, so it is answered as null", PATCH),

            (Self::Number, Null | Integer(_)) => None,
            (Self::Number, Real(number)) if number.is_finite() => None,
            (Self::Number, Real(_)) => {
                says(Warning, "which JSON can't say, so it is answered as null", PATCH)
            }
            (Self::Number, _) => says(Error, "not a number", PATCH),

            (Self::Text, Null | Text(_)) => None,
            (Self::Text, Bytes) => says(Error, "not a text", PATCH),
            (Self::Text, _) => says(Warning, "not a text", PATCH),

            (Self::Tags, Null) => None,
            (Self::Tags, Text(text)) if serde_json::from_str::<Vec<String>>(text).is_ok() => None,
            (Self::Tags, _) => says(Error, "not a JSON list of texts", PATCH),

            (Self::Metrics, Null) => None,
            (Self::Metrics, Text(text)) => judge_metrics(text),
            (Self::Metrics, _) => says(Error, "not a JSON object", PATCH),

            (Self::Time, Text(text)) if Timestamp::parse(text).is_some() => None,
            (Self::Time, Null) => says(MendedByMigration, "not a time", MEND_BY_HAND),
            (Self::Time, _) => says(Error, "not a time like 2026-01-31 13:05:09.250", MEND_BY_HAND),

            (Self::EventType, Text(text)) if EventKind::parse(text).is_some() => None,
            (Self::EventType, Text(text)) if !text.trim().is_empty() => {
                says(Warning, "which this registry does not write", OTHER_TOOLS)
            }
            (Self::EventType, _) => says(Error, "so nothing says what happened", MEND_BY_HAND),

            (Self::Payload, Null) => None,
            (Self::Payload, Text(text)) if serde_json::from_str::<IgnoredAny>(text).is_ok() => None,
            (Self::Payload, Text(text)) if servable(text) != "null" => {
                says(Warning, NOT_FINITE, MEND_BY_HAND)
            }
            (Self::Payload, _) => says(Error, "not JSON, so it is answered as null", MEND_BY_HAND),
        }
    }
}

const NOT_FINITE: &str = "which has NaN or Infinity in it, answered as null";

fn is_kept_digest(text: &str) -> bool {
    Digest::parse("", text).ok().flatten().is_some_and(|digest| digest.to_string() == text)
}

fn judge_metrics(text: &str) -> Option<(Severity, String, &'static str)> {
    let Some(metrics) = read_object(text) else {
        return Some((Severity::Error, "not a JSON object".to_owned(), PATCH));
    };
    let sound = match metrics.get("suites") {
        None | Some(Value::Null) => true,
        Some(Value::Object(suites)) => suites.values().all(|scores| scores.is_object() || scores.is_null()),
        Some(_) => false,
    };
    if !sound {
        let wanted = "whose suites are no objects, so no scores can be recorded for them";
        return Some((Severity::Warning, wanted.to_owned(), PATCH));
    }
    let finite = serde_json::from_str::<IgnoredAny>(text).is_ok();
    (!finite).then(|| (Severity::Warning, NOT_FINITE.to_owned(), PATCH))
}

/// A value as a fault shows it: no longer than a line, and nothing in it that breaks one.
fn shown(kept: Kept<'_>) -> String {
    match kept {
        Kept::Null => "null".to_owned(),
        Kept::Integer(number) => number.to_string(),
        Kept::Real(number) => number.to_string(),
        Kept::Text(text) if text.chars().count() > SHOWN_CHARS => {
            format!("{:?}…", text.chars().take(SHOWN_CHARS).collect::<String>())
        }
        Kept::Text(text) => format!("{text:?}"),
        Kept::Bytes => "no text but bytes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept::*, Severity::*, *};

    const HEX: &str = "7056f18469ad00720a4b339385cf6344285621d6662997209da4ed56a8612669";

    #[test]
    fn each_rule_takes_what_the_registry_writes_and_finds_what_it_would_not() {
        let upper = HEX.to_uppercase();
        for (rule, kept, expected) in [
            (Rule::Id, Integer(1), None),
            (Rule::Id, Integer(0), Some(Error)),
            (Rule::Id, Text("x"), Some(Error)),
            (Rule::Label, Text("m"), None),
            (Rule::Label, Text(" \t"), Some(Error)),
            (Rule::Label, Null, Some(Error)),
            (Rule::Label, Bytes, Some(Error)),
            (Rule::Status, Text("staging"), None),
            (Rule::Status, Text("Staging"), Some(MendedByMigration)),
            (Rule::Status, Null, Some(MendedByMigration)),
            (Rule::Uri, Text("s3://b"), None),
            (Rule::Uri, Text(" "), Some(MendedByMigration)),
            (Rule::Uri, Null, Some(MendedByMigration)),
            (Rule::Digest, Null, None),
            (Rule::Digest, Text(HEX), None),
            (Rule::Digest, Text(&upper), Some(Error)),
            (Rule::Digest, Text(&HEX[1..]), Some(Error)),
            (Rule::Digest, Text(""), Some(Error)),
            (Rule::Digest, Integer(7), Some(Error)),
            (Rule::Size, Null, None),
            (Rule::Size, Integer(0), None),
            (Rule::Size, Integer(-1), Some(Error)),
            (Rule::Size, Text("big"), Some(Error)),
            (Rule::Flag, Integer(1), None),
            (Rule::Flag, Integer(2), Some(Error)),
            (Rule::Flag, Null, Some(MendedByMigration)),
            (Rule::Whole, Null, None),
            (Rule::Whole, Integer(-3), None),
            (Rule::Whole, Text("many"), Some(Error)),
            (Rule::Number, Real(0.5), None),
            (Rule::Number, Integer(2), None),
            (Rule::Number, Real(f64::INFINITY), Some(Warning)),
            (Rule::Number, Text("low"), Some(Error)),
            (Rule::Text, Text(""), None),
            (Rule::Text, Null, None),
            (Rule::Text, Bytes, Some(Error)),
            (Rule::Text, Integer(5), Some(Warning)),
            (Rule::Tags, Null, None),
            (Rule::Tags, Text(r#"["a","é"]"#), None),
            (Rule::Tags, Text(r#"["a",1]"#), Some(Error)),
            (Rule::Tags, Text(r#"{"a":1}"#), Some(Error)),
            (Rule::Tags, Text("a,b"), Some(Error)),
            (Rule::Metrics, Null, None),
            (Rule::Metrics, Text(r#"{"loss":1,"suites":{"s":{"a":1},"t":null}}"#), None),
            (Rule::Metrics, Text(r#"{"suites":null}"#), None),
            (Rule::Metrics, Text(r#"{"suites":{"s":3}}"#), Some(Warning)),
            (Rule::Metrics, Text(r#"{"suites":[]}"#), Some(Warning)),
            (Rule::Metrics, Text(r#"{"loss":NaN}"#), Some(Warning)),
            (Rule::Metrics, Text("[1]"), Some(Error)),
            (Rule::Metrics, Text("{half"), Some(Error)),
            (Rule::Metrics, Integer(1), Some(Error)),
            (Rule::Time, Text("2026-01-31 13:05:09.250"), None),
            (Rule::Time, Text("2026-01-31 13:05:09"), None),
            (Rule::Time, Text("2026-01-31T13:05:09Z"), Some(Error)),
            (Rule::Time, Integer(1), Some(Error)),
            (Rule::Time, Null, Some(MendedByMigration)),
            (Rule::EventType, Text("auto_demote"), None),
            (Rule::EventType, Text("custom"), Some(Warning)),
            (Rule::EventType, Text(" "), Some(Error)),
            (Rule::Payload, Null, None),
            (Rule::Payload, Text("null"), None),
            (Rule::Payload, Text(r#"{"a":[1]}"#), None),
            (Rule::Payload, Text(r#"{"a":-Infinity}"#), Some(Warning)),
            (Rule::Payload, Text("no json"), Some(Error)),
            (Rule::Payload, Bytes, Some(Error)),
        ] {
            let fault = rule.judge("column", kept);
            assert_eq!(fault.as_ref().map(|fault| fault.severity), expected, "{rule:?} {kept:?}: {fault:?}");
            assert!(fault.is_none_or(|fault| fault.problem.starts_with("column is ")));
        }
    }

    #[test]
    fn a_fault_shows_no_more_than_a_line() {
        let long = "x\n".repeat(500);
        let fault = Rule::Status.judge("status", Text(&long)).unwrap();
        assert!(fault.problem.len() < 300 && !fault.problem.contains('\n'), "{}", fault.problem);
    }
}
