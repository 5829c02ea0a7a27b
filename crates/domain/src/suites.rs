//! Scores by suite: merges a new evaluation into the metrics of a version.
//!
//! `metrics.suites[suite]` is merged key by key and other suites stay. `_meta` of the suite says who recorded it, when
//! and on what; the registry writes it and a client can't forge it.

mod change;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    digest::Digest,
    event::{EventDraft, EventKind},
    json::{Object, Value, canonical, compact, is_reserved_key, read_object},
    refusal::Refusal,
    scores::{self, ScoreChange},
    timestamp::Timestamp,
};

pub use change::MetricsChange;

/// The scores of one run of a suite.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "named as on the wire")]
pub struct Evaluation {
    /// Trimmed and not blank.
    pub suite: String,
    pub metrics: Object,
    pub dataset: Option<String>,
    pub eval_commit: Option<String>,
    pub eval_config: Option<Object>,
    pub notes: Option<String>,
}

/// The metrics of a version after an evaluation was merged into them, and the event of that change.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The new metrics, as JSON text.
    pub metrics: String,
    /// The `eval` event of the change.
    pub event: EventDraft,
    /// The scores that changed.
    pub scores: Vec<ScoreChange>,
}

/// The payload of an `eval` event, with its fields in the order of the contract.
#[derive(Serialize)]
struct EvalPayload<'a> {
    suite: &'a str,
    metrics: &'a Object,
    prior_metrics_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_config: Option<&'a Object>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<&'a str>,
    /// The former value of `metrics.suites`, if it was not an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_suites: Option<&'a Value>,
}

impl Evaluation {
    /// Creates an evaluation of `suite`, whose name is trimmed.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a blank suite.
    pub fn new(suite: &str, metrics: Object) -> Result<Self, Refusal> {
        let suite = suite.trim();
        if suite.is_empty() {
            return Err(Refusal::Invalid("suite is blank; name the suite that was run".to_owned()));
        }
        if is_reserved_key(suite) {
            return Err(Refusal::Invalid(format!("no suite can be named {suite:?}; choose another name")));
        }
        let suite = suite.to_owned();
        Ok(Self { suite, metrics, dataset: None, eval_commit: None, eval_config: None, notes: None })
    }

    /// Merges the evaluation into `prior`, the JSON text of the version's metrics. A `suites` in them that is not an
    /// object is replaced, as 0.2.0 does, and kept in the event.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if the metrics, or the scores of this suite, are not an object, which a merge would
    /// destroy; [`Refusal::Invalid`] if the evaluation has a `_meta` that is not an object.
    pub fn record(&self, prior: Option<&str>, actor: &str, now: Timestamp) -> Result<Recorded, Refusal> {
        let mut metrics = match prior.map(str::trim) {
            None | Some("" | "null") => Object::new(),
            Some(text) => read_object(text).ok_or_else(|| not_an_object("metrics"))?,
        };
        let digest = Sha256::digest(canonical(&metrics));
        let suites = metrics.entry("suites").or_insert_with(|| Value::Object(Object::new()));
        let replaced = if suites.is_object() {
            None
        } else {
            Some(std::mem::replace(suites, Value::Object(Object::new())))
        };
        let event = self.event(Digest::from_bytes(digest.into()), replaced.as_ref());

        let suite_path = || format!("metrics.suites[{:?}]", self.suite);
        let suites = suites.as_object_mut().ok_or_else(|| not_an_object("metrics.suites"))?;
        // Only the first numbers are scores, so a new one may displace a score of another suite.
        let all_before =
            scores::may_be_too_many(suites, self.metrics.len()).then(|| scores::in_suites(suites));
        let (mut changes, mut values_before) = (Vec::new(), Object::new());
        let scores = suites.entry(&self.suite).or_insert(Value::Null);
        if scores.is_null() {
            *scores = Value::Object(Object::new());
        }
        let scores = scores.as_object_mut().ok_or_else(|| not_an_object(&suite_path()))?;
        let mut meta = match scores.get_mut("_meta").map(Value::take) {
            Some(Value::Object(meta)) => meta,
            _ => Object::new(),
        };
        for (key, value) in &self.metrics {
            match (key.as_str(), value) {
                ("_meta", Value::Object(given)) => meta.extend(given.clone()),
                ("_meta", _) => {
                    return Err(Refusal::Invalid(
                        "metrics._meta is where the registry notes who recorded a suite and when; \
                         leave it out, or make it an object"
                            .to_owned(),
                    ));
                }
                (_, value) => {
                    let before = scores.insert(key.clone(), value.clone());
                    changes.extend(ScoreChange::between(&self.suite, key, before.as_ref(), Some(value)));
                    if let Some(before) = before.filter(|before| before != value) {
                        values_before.insert(key.clone(), before);
                    }
                }
            }
        }
        let text = |text: &Option<String>| text.clone().map(Value::String);
        for (key, value) in [
            ("dataset", text(&self.dataset)),
            ("eval_commit", text(&self.eval_commit)),
            ("eval_config", self.eval_config.clone().map(Value::Object)),
            ("notes", text(&self.notes)),
            ("recorded_at", Some(Value::String(now.to_iso()))),
            ("actor", Some(Value::String(actor.to_owned()))),
        ] {
            if let Some(value) = value {
                meta.insert(key.to_owned(), value);
            }
        }
        scores.insert("_meta".to_owned(), Value::Object(meta));
        if let Some(before) = all_before {
            changes = scores::differences(before, scores::in_suites(suites));
        }
        let event = event.with_values_before(values_before);
        Ok(Recorded { metrics: compact(&metrics), event, scores: changes })
    }

    fn event(&self, prior_metrics: Digest, replaced_suites: Option<&Value>) -> EventDraft {
        let payload = EvalPayload {
            suite: &self.suite,
            metrics: &self.metrics,
            prior_metrics_sha256: prior_metrics.to_string(),
            dataset: self.dataset.as_deref(),
            eval_commit: self.eval_commit.as_deref(),
            eval_config: self.eval_config.as_ref(),
            notes: self.notes.as_deref(),
            replaced_suites,
        };
        EventDraft::new(EventKind::Eval, &payload)
    }
}

fn not_an_object(path: &str) -> Refusal {
    Refusal::Conflict(format!(
        "{path} of this version is not an object, so no suite can be merged into it; change its metrics first"
    ))
}

/// Returns the metrics of a version, as JSON text, after `given` has replaced `prior`. `suites` stay if `given` does
/// not mention them: the gate compares them, and a client that changes a loss must not lose them.
pub(crate) fn replaced(prior: Option<&str>, given: &Object) -> String {
    if given.contains_key("suites") {
        return compact(given);
    }
    match prior.and_then(read_object).and_then(|mut prior| prior.remove("suites")) {
        Some(suites) => {
            let mut metrics = given.clone();
            metrics.insert("suites".to_owned(), suites);
            compact(&metrics)
        }
        None => compact(given),
    }
}

/// Returns the suites of a version as an object; empty if its metrics contain none.
#[must_use]
pub fn suites(metrics: Option<&str>) -> Object {
    let mut metrics = metrics.and_then(read_object).unwrap_or_default();
    match metrics.remove("suites") {
        Some(Value::Object(suites)) => suites,
        _ => Object::new(),
    }
}

/// Returns what evaluations recorded, by suite, without the notes on who recorded it.
#[must_use]
pub fn recorded_scores(metrics: Option<&str>) -> Object {
    let mut scores = suites(metrics);
    for suite in scores.values_mut() {
        if let Value::Object(suite) = suite {
            suite.shift_remove("_meta");
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        read_object(text).unwrap()
    }

    fn record(prior: Option<&str>, suite: &str, metrics: &str) -> Result<Recorded, Refusal> {
        let now = Timestamp::parse("2026-01-31 13:05:09.250").unwrap();
        Evaluation::new(suite, object(metrics)).unwrap().record(prior, "ann", now)
    }

    const META: &str = r#""_meta":{"recorded_at":"2026-01-31T13:05:09.250+00:00","actor":"ann"}"#;

    #[test]
    fn suites_are_merged_key_by_key_and_others_are_kept() {
        for (prior, suite, metrics, merged) in [
            (None, "s", r#"{"a":1.0}"#, format!(r#"{{"suites":{{"s":{{"a":1.0,{META}}}}}}}"#)),
            (Some("null"), "s", "{}", format!(r#"{{"suites":{{"s":{{{META}}}}}}}"#)),
            (Some("{}"), " s ", "{}", format!(r#"{{"suites":{{"s":{{{META}}}}}}}"#)),
            (
                Some(r#"{"loss":1,"suites":{"old":{"a":1},"s":{"a":1,"b":2}}}"#),
                "s",
                r#"{"b":{"c":null},"d":1e5}"#,
                format!(
                    r#"{{"loss":1,"suites":{{"old":{{"a":1}},"s":{{"a":1,"b":{{"c":null}},"d":1e+5,{META}}}}}}}"#
                ),
            ),
            (Some(r#"{"suites":{"s":null}}"#), "s", "{}", format!(r#"{{"suites":{{"s":{{{META}}}}}}}"#)),
            (Some(r#"{"x":NaN}"#), "s", "{}", format!(r#"{{"x":null,"suites":{{"s":{{{META}}}}}}}"#)),
        ] {
            assert_eq!(record(prior, suite, metrics).unwrap().metrics, merged, "{prior:?}");
        }
    }

    #[test]
    fn meta_keeps_what_it_held_and_cannot_be_forged() {
        let prior = r#"{"suites":{"s":{"_meta":{"dataset":"d","notes":"first","actor":"bob"},"a":1}}}"#;
        let mut evaluation = Evaluation::new("s", object(r#"{"_meta":{"actor":"eve","extra":1}}"#)).unwrap();
        evaluation.notes = Some("second".to_owned());
        evaluation.eval_config = Some(object(r#"{"k":[1]}"#));
        let now = Timestamp::from_unix_millis(0);
        let recorded = evaluation.record(Some(prior), "ann", now).unwrap();
        assert_eq!(
            recorded.metrics,
            r#"{"suites":{"s":{"_meta":{"dataset":"d","notes":"second","actor":"ann","extra":1,"eval_config":{"k":[1]},"recorded_at":"1970-01-01T00:00:00.000+00:00"},"a":1}}}"#
        );
        assert!(matches!(record(None, "s", r#"{"_meta":5}"#), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn the_event_has_the_values_that_were_replaced() {
        let prior = r#"{"suites":{"s":{"a":1,"b":2,"c":{"d":3}},"other":{"a":9}}}"#;
        for (metrics, details) in [
            (r#"{"a":1,"n":5}"#, None),
            (r#"{"a":7,"b":2,"c":null}"#, Some(r#"{"before":{"a":1,"c":{"d":3}}}"#)),
        ] {
            let recorded = record(Some(prior), "s", metrics).unwrap();
            assert_eq!(recorded.event.details.as_deref(), details, "{metrics}");
        }
        let long = format!(r#"{{"suites":{{"s":{{"a":"{}"}}}}}}"#, "x".repeat(5_000));
        let recorded = record(Some(&long), "s", r#"{"a":1}"#).unwrap();
        assert_eq!(recorded.event.details.as_deref(), Some(r#"{"before":{"a":{"bytes":5000}}}"#));
    }

    #[test]
    fn suites_that_are_not_an_object_are_replaced_and_kept_in_the_event() {
        for old in ["[1]", r#""high""#, "null", "0.5"] {
            let prior = format!(r#"{{"suites":{old},"loss":1}}"#);
            let recorded = record(Some(&prior), "s", r#"{"a":1}"#).unwrap();
            assert_eq!(recorded.metrics, format!(r#"{{"suites":{{"s":{{"a":1,{META}}}}},"loss":1}}"#));
            let payload: Object = object(&recorded.event.payload);
            assert_eq!(payload["replaced_suites"].to_string(), old);
            assert_eq!(payload.len(), 4, "{payload:?}");
        }
    }

    #[test]
    fn metrics_that_are_not_an_object_are_not_destroyed() {
        for prior in ["[1]", "5", "{half", r#"{"suites":{"s":3}}"#] {
            assert!(matches!(record(Some(prior), "s", "{}"), Err(Refusal::Conflict(_))), "{prior}");
        }
    }

    #[test]
    fn the_event_carries_the_digest_of_the_previous_metrics() {
        let recorded = record(None, "s", r#"{"a":1}"#).unwrap();
        assert_eq!(
            recorded.event.payload,
            r#"{"suite":"s","metrics":{"a":1},"prior_metrics_sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#
        );
        // hashlib.sha256(json.dumps(prior, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
        let prior = r#"{"suites": {"s": {"é": "тег\n\"\\/\u007f\u001f", "b": [1, 2.50, null, true, {"z": 1e16, "a": -0.0}]}}, "a": {}}"#;
        let recorded = record(Some(prior), "s", "{}").unwrap();
        let digest = "90b7a5e08bba225d470ffd450e4434e5260b8b29cbbff6ccdc81be00a0dbd6de";
        assert!(recorded.event.payload.contains(digest), "{}", recorded.event.payload);
    }

    #[test]
    fn a_suite_name_that_is_blank_or_could_not_be_read_back_is_refused() {
        for suite in [" \t", "$serde_json::private::Number"] {
            assert!(matches!(Evaluation::new(suite, Object::new()), Err(Refusal::Invalid(_))), "{suite}");
        }
    }

    #[test]
    fn the_map_of_suites_is_empty_if_there_is_none() {
        for (metrics, count) in [
            (None, 0),
            (Some("{}"), 0),
            (Some("{half"), 0),
            (Some(r#"{"suites":[1]}"#), 0),
            (Some(r#"{"suites":{"a":{},"b":{}}}"#), 2),
        ] {
            assert_eq!(suites(metrics).len(), count, "{metrics:?}");
        }
    }

    #[test]
    fn metrics_are_replaced_except_for_suites_they_do_not_mention() {
        for (prior, given, merged) in [
            (None, r#"{"a":1}"#, r#"{"a":1}"#),
            (Some(r#"{"b":1}"#), r#"{"a":1}"#, r#"{"a":1}"#),
            (
                Some(r#"{"b":1,"suites":{"s":{"x":1.0}}}"#),
                r#"{"a":1}"#,
                r#"{"a":1,"suites":{"s":{"x":1.0}}}"#,
            ),
            (Some(r#"{"b":1,"suites":{"s":{}}}"#), "{}", r#"{"suites":{"s":{}}}"#),
            (Some(r#"{"suites":{"s":{}}}"#), r#"{"suites":{"t":{}}}"#, r#"{"suites":{"t":{}}}"#),
            (Some(r#"{"suites":{"s":{}}}"#), r#"{"suites":null}"#, r#"{"suites":null}"#),
            (Some(r#"{"suites":"old"}"#), r#"{"a":1}"#, r#"{"a":1,"suites":"old"}"#),
            (Some("[1]"), r#"{"a":1}"#, r#"{"a":1}"#),
            (Some("{half"), r#"{"a":1}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(replaced(prior, &object(given)), merged, "{prior:?} {given}");
        }
    }
}
