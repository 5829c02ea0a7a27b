//! Scores by suite: how a new evaluation is merged into what a version has.
//!
//! `metrics.suites[suite]` is merged key by key and other suites stay. `_meta` of the suite says who
//! recorded it, when and on what; the registry writes it and a client can't forge it.

use sha2::{Digest as _, Sha256};

use super::{
    Digest, Refusal, Timestamp,
    event::EventDraft,
    json::{Object, Value, canonical, compact, is_reserved_key, read_object},
};

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

/// What an evaluation makes of a version's metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The new metrics, as JSON text.
    pub metrics: String,
    /// The event that tells of it.
    pub event: EventDraft,
}

impl Evaluation {
    /// An evaluation of `suite`, whose name is trimmed.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a blank suite.
    pub fn of(suite: &str, metrics: Object) -> Result<Self, Refusal> {
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

    /// Merges the evaluation into `prior`, the JSON text of the version's metrics.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] where the metrics hold something else in the place of suites, which a
    /// merge would destroy; [`Refusal::Invalid`] where the evaluation brings a `_meta` that is no object.
    pub fn record(self, prior: Option<&str>, actor: &str, now: Timestamp) -> Result<Recorded, Refusal> {
        let mut metrics = match prior.map(str::trim) {
            None | Some("" | "null") => Object::new(),
            Some(text) => read_object(text).ok_or_else(|| no_object("metrics"))?,
        };
        let digest = Sha256::digest(canonical(&metrics).as_bytes());
        let event = EventDraft::eval(&self, Digest::from_bytes(digest.into()));

        let suites = object_in(&mut metrics, "suites").ok_or_else(|| no_object("metrics.suites"))?;
        let scores = object_in(suites, &self.suite)
            .ok_or_else(|| no_object(&format!("metrics.suites[{:?}]", self.suite)))?;
        let mut meta = match scores.get_mut("_meta").map(Value::take) {
            Some(Value::Object(meta)) => meta,
            _ => Object::new(),
        };
        for (key, value) in self.metrics {
            match (key.as_str(), value) {
                ("_meta", Value::Object(given)) => meta.extend(given),
                ("_meta", _) => {
                    return Err(Refusal::Invalid(
                        "metrics._meta is where the registry notes who recorded a suite and when; \
                         leave it out, or make it an object"
                            .to_owned(),
                    ));
                }
                (_, value) => {
                    scores.insert(key, value);
                }
            }
        }
        for (key, text) in [("dataset", self.dataset), ("eval_commit", self.eval_commit)] {
            if let Some(text) = text {
                meta.insert(key.to_owned(), Value::String(text));
            }
        }
        if let Some(eval_config) = self.eval_config {
            meta.insert("eval_config".to_owned(), Value::Object(eval_config));
        }
        if let Some(notes) = self.notes {
            meta.insert("notes".to_owned(), Value::String(notes));
        }
        meta.insert("recorded_at".to_owned(), Value::String(now.to_iso()));
        meta.insert("actor".to_owned(), Value::String(actor.to_owned()));
        scores.insert("_meta".to_owned(), Value::Object(meta));
        Ok(Recorded { metrics: compact(&metrics), event })
    }
}

/// The object at `key`, made where there is none; `None` where something else is there.
fn object_in<'a>(parent: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    let place = parent.entry(key).or_insert_with(|| Value::Object(Object::new()));
    if place.is_null() {
        *place = Value::Object(Object::new());
    }
    place.as_object_mut()
}

fn no_object(place: &str) -> Refusal {
    Refusal::Conflict(format!(
        "{place} of this version is no object, so no suite can be merged into it; PATCH its metrics first"
    ))
}

/// The suites of a version, as an object; empty where its metrics hold none.
#[must_use]
pub fn suites(metrics: Option<&str>) -> Object {
    let metrics = metrics.and_then(read_object).unwrap_or_default();
    match metrics.into_iter().find(|(key, _)| key == "suites") {
        Some((_, Value::Object(suites))) => suites,
        _ => Object::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        read_object(text).unwrap()
    }

    fn record(prior: Option<&str>, suite: &str, metrics: &str) -> Result<Recorded, Refusal> {
        let now = Timestamp::parse("2026-01-31 13:05:09.250").unwrap();
        Evaluation::of(suite, object(metrics)).unwrap().record(prior, "ann", now)
    }

    const META: &str = r#""_meta":{"recorded_at":"2026-01-31T13:05:09.250+00:00","actor":"ann"}"#;

    #[test]
    fn suites_are_merged_key_by_key_and_others_stay() {
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
            (Some(r#"{"suites":null}"#), "s", "{}", format!(r#"{{"suites":{{"s":{{{META}}}}}}}"#)),
            (Some(r#"{"x":NaN}"#), "s", "{}", format!(r#"{{"x":null,"suites":{{"s":{{{META}}}}}}}"#)),
        ] {
            assert_eq!(record(prior, suite, metrics).unwrap().metrics, merged, "{prior:?}");
        }
    }

    #[test]
    fn meta_keeps_what_it_held_and_cannot_be_forged() {
        let prior = r#"{"suites":{"s":{"_meta":{"dataset":"d","notes":"first","actor":"bob"},"a":1}}}"#;
        let mut evaluation = Evaluation::of("s", object(r#"{"_meta":{"actor":"eve","extra":1}}"#)).unwrap();
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
    fn what_stands_in_the_place_of_suites_is_not_destroyed() {
        for prior in ["[1]", "5", "{half", r#"{"suites":[1]}"#, r#"{"suites":{"s":3}}"#] {
            assert!(matches!(record(Some(prior), "s", "{}"), Err(Refusal::Conflict(_))), "{prior}");
        }
    }

    #[test]
    fn the_event_carries_the_digest_of_the_metrics_before() {
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
    fn a_suite_that_is_blank_or_could_not_be_read_again_is_refused() {
        for suite in [" \t", "$serde_json::private::Number"] {
            assert!(matches!(Evaluation::of(suite, Object::new()), Err(Refusal::Invalid(_))), "{suite}");
        }
    }

    #[test]
    fn the_map_of_suites_is_empty_where_there_is_none() {
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
}
