//! Rules for stored values, for the check of a whole file.
//!
//! A file can contain values that no request could write: other tools write it, disks fail, and older servers had fewer
//! rules.
//!
//! Each column has one [`Rule`], which checks one value. Rules that span rows belong to the store.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use crate::{
    digest::Digest,
    event::EventKind,
    json::{Value, normalized, read_object},
    status::Status,
    timestamp::Timestamp,
};

/// The maximum number of characters of a value that a finding shows.
const SHOWN_CHARS: usize = 60;

const UPDATE: &str = "update the version with a valid value";
const REPAIR: &str = "no request can change it; correct the row by hand with SQL, or restore a backup";
/// The remedy for what is odd and harmless.
pub const NO_NEED: &str = "nothing needs to be done";

/// A stored value.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the names are self-explanatory")]
pub enum StoredValue<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    /// Bytes, or text that is not UTF-8.
    Bytes,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// A rule is broken.
    Error,
    /// A rule is broken in a way that older servers allowed and that upgrading their file repairs.
    FixedByUpgrade,
    /// The value is odd, but harmless.
    Warning,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueFinding {
    /// The severity.
    pub severity: Severity,
    /// The problem, starting with the column.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

/// The values that a column may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A positive integer.
    Id,
    /// The id of a version, or 0 for an event of the model itself.
    Subject,
    /// Text that is not blank and that no request can change.
    Label,
    /// One of the four statuses.
    Status,
    /// Text that is not blank.
    Uri,
    /// 64 lower-case hex digits, or nothing.
    Digest,
    /// A size in bytes, or nothing.
    Size,
    /// 0 or 1.
    Flag,
    /// A whole number, or nothing.
    Whole,
    /// A finite number, or nothing.
    Number,
    /// Text, or nothing.
    Text,
    /// A JSON list of strings, or nothing.
    Tags,
    /// A JSON object of strings that are not empty, or nothing.
    Properties,
    /// A JSON object whose suites are objects, or nothing.
    Metrics,
    /// A time as [`Timestamp`] reads it.
    Time,
    /// The type of an event.
    EventType,
    /// JSON, or nothing.
    Payload,
}

/// The columns of a version.
pub const MODEL_RULES: [(&str, Rule); 36] = [
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
    ("properties", Rule::Properties),
    ("digest", Rule::Digest),
    ("file_count", Rule::Size),
    ("total_bytes", Rule::Size),
    ("stored", Rule::Flag),
    ("changed_at", Rule::Text),
    ("origin", Rule::Text),
];

/// The columns of an event.
pub const EVENT_RULES: [(&str, Rule); 6] = [
    ("id", Rule::Id),
    ("model_id", Rule::Subject),
    ("event_type", Rule::EventType),
    ("payload_json", Rule::Payload),
    ("actor", Rule::Text),
    ("created_at", Rule::Time),
];

impl Rule {
    /// Checks a `value` of `column`; `None` if it follows the rule.
    #[must_use]
    pub fn check(self, column: &str, value: StoredValue<'_>) -> Option<ValueFinding> {
        let (severity, expected, remedy) = self.violated_by(value)?;
        Some(ValueFinding { severity, problem: format!("{column} is {}, {expected}", shown(value)), remedy })
    }

    /// Returns severity, expectation and remedy.
    fn violated_by(self, value: StoredValue<'_>) -> Option<(Severity, &'static str, &'static str)> {
        use Severity::{Error, FixedByUpgrade, Warning};
        use StoredValue::{Integer, Null, Real, Text};
        Some(match (self, value) {
            (
                Self::Digest
                | Self::Size
                | Self::Whole
                | Self::Number
                | Self::Text
                | Self::Tags
                | Self::Properties
                | Self::Metrics
                | Self::Payload,
                Null,
            )
            | (Self::Id, Integer(1..))
            | (Self::Size | Self::Subject, Integer(0..))
            | (Self::Flag, Integer(0 | 1))
            | (Self::Whole | Self::Number, Integer(_))
            | (Self::Text, Text(_)) => return None,
            (Self::Label | Self::Uri, Text(text)) if !text.trim().is_empty() => return None,
            (Self::Status, Text(text)) if Status::parse(text).is_some() => return None,
            (Self::Digest, Text(text)) if is_stored_digest(text) => return None,
            (Self::Number, Real(number)) if number.is_finite() => return None,
            (Self::Tags, Text(text)) if serde_json::from_str::<Vec<String>>(text).is_ok() => return None,
            (Self::Properties, Text(text)) if is_properties(text) => return None,
            (Self::Time, Text(text)) if Timestamp::parse(text).is_some() => return None,
            (Self::EventType, Text(text)) if EventKind::parse(text).is_some() => return None,
            (Self::Payload, Text(text)) if is_json(text) => return None,

            (Self::Metrics, Text(text)) => return check_metrics(text),
            (Self::Flag | Self::Time, Null) => (FixedByUpgrade, "which must not be null", REPAIR),
            (Self::Number, Real(_)) => (Warning, "which is not JSON, so it is answered as null", UPDATE),
            (Self::Text, Integer(_) | Real(_)) => (Warning, "not text", UPDATE),
            (Self::EventType, Text(text)) if !text.trim().is_empty() => {
                (Warning, "which this registry does not write", NO_NEED)
            }
            (Self::Payload, Text(text)) if normalized(text).is_some() => (Warning, NOT_FINITE, REPAIR),

            (Self::Id, _) => (Error, "not a positive integer", REPAIR),
            (Self::Subject, _) => (Error, "not an id", REPAIR),
            (Self::Label, _) => (Error, "not text with a visible character", REPAIR),
            (Self::Status, _) => (FixedByUpgrade, "not a status", UPDATE),
            (Self::Uri, _) => (FixedByUpgrade, "so the artifact can't be located", UPDATE),
            (Self::Digest, _) => (Error, "not 64 lower-case hex digits", UPDATE),
            (Self::Size, _) => (Error, "not a size in bytes", UPDATE),
            (Self::Flag, _) => (Error, "neither 0 nor 1", REPAIR),
            (Self::Whole, _) => (Error, "not a whole number, so it is answered as null", UPDATE),
            (Self::Number, _) => (Error, "not a number", UPDATE),
            (Self::Text, _) => (Error, "not text", UPDATE),
            (Self::Tags, _) => (Error, "not a JSON list of strings", UPDATE),
            (Self::Properties, _) => (Error, "not a JSON object of strings", REPAIR),
            (Self::Metrics, _) => (Error, "not a JSON object", UPDATE),
            (Self::Time, _) => (Error, "not a time like 2026-01-31 13:05:09.250", REPAIR),
            (Self::EventType, _) => (Error, "not an event type", REPAIR),
            (Self::Payload, _) => (Error, "not JSON, so it is answered as null", REPAIR),
        })
    }
}

const NOT_FINITE: &str = "which contains NaN or Infinity, answered as null";

fn is_stored_digest(text: &str) -> bool {
    Digest::parse("", text).ok().flatten().is_some_and(|digest| digest.to_string() == text)
}

fn is_properties(text: &str) -> bool {
    let properties = serde_json::from_str::<BTreeMap<String, String>>(text);
    properties.is_ok_and(|properties| properties.values().all(|value| !value.is_empty()))
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn check_metrics(text: &str) -> Option<(Severity, &'static str, &'static str)> {
    let Some(metrics) = read_object(text) else {
        return Some((Severity::Error, "not a JSON object", UPDATE));
    };
    let is_sound = match metrics.get("suites") {
        None | Some(Value::Null) => true,
        Some(Value::Object(suites)) => suites.values().all(|scores| scores.is_object() || scores.is_null()),
        Some(_) => false,
    };
    if !is_sound {
        return Some((Severity::Warning, "whose suites are not objects", UPDATE));
    }
    (!is_json(text)).then_some((Severity::Warning, NOT_FINITE, UPDATE))
}

/// Formats a value for a finding: short and on one line.
fn shown(value: StoredValue<'_>) -> String {
    match value {
        StoredValue::Null => "null".to_owned(),
        StoredValue::Integer(number) => number.to_string(),
        StoredValue::Real(number) => number.to_string(),
        StoredValue::Text(text) if text.chars().count() > SHOWN_CHARS => {
            format!("{:?}…", text.chars().take(SHOWN_CHARS).collect::<String>())
        }
        StoredValue::Text(text) => format!("{text:?}"),
        StoredValue::Bytes => "bytes, not text".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Severity::*, StoredValue::*, *};

    const HEX: &str = "7056f18469ad00720a4b339385cf6344285621d6662997209da4ed56a8612669";

    #[test]
    fn each_rule_accepts_what_the_registry_writes_and_reports_the_rest() {
        let upper = HEX.to_uppercase();
        for (rule, value, expected) in [
            (Rule::Id, Integer(1), None),
            (Rule::Id, Integer(0), Some(Error)),
            (Rule::Id, Text("x"), Some(Error)),
            (Rule::Subject, Integer(0), None),
            (Rule::Subject, Integer(-1), Some(Error)),
            (Rule::Subject, Null, Some(Error)),
            (Rule::Label, Text("m"), None),
            (Rule::Label, Text(" \t"), Some(Error)),
            (Rule::Label, Null, Some(Error)),
            (Rule::Label, Bytes, Some(Error)),
            (Rule::Status, Text("staging"), None),
            (Rule::Status, Text("Staging"), Some(FixedByUpgrade)),
            (Rule::Status, Null, Some(FixedByUpgrade)),
            (Rule::Uri, Text("s3://b"), None),
            (Rule::Uri, Text(" "), Some(FixedByUpgrade)),
            (Rule::Uri, Null, Some(FixedByUpgrade)),
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
            (Rule::Flag, Null, Some(FixedByUpgrade)),
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
            (Rule::Properties, Null, None),
            (Rule::Properties, Text(r#"{"team":"nlp"}"#), None),
            (Rule::Properties, Text(r#"{"team":""}"#), Some(Error)),
            (Rule::Properties, Text(r#"{"team":1}"#), Some(Error)),
            (Rule::Properties, Text(r#"["team"]"#), Some(Error)),
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
            (Rule::Time, Null, Some(FixedByUpgrade)),
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
            let finding = rule.check("column", value);
            let severity = finding.as_ref().map(|finding| finding.severity);
            assert_eq!(severity, expected, "{rule:?} {value:?}: {finding:?}");
            assert!(finding.is_none_or(|finding| finding.problem.starts_with("column is ")));
        }
    }

    #[test]
    fn a_finding_fits_on_one_line() {
        let long = "x\n".repeat(500);
        let finding = Rule::Status.check("status", Text(&long)).unwrap();
        assert!(finding.problem.len() < 300 && !finding.problem.contains('\n'), "{}", finding.problem);
    }
}
