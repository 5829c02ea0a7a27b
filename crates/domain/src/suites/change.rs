//! Changes that replace all metrics of a version: which suites differ, and the events that tell.

use sha2::{Digest as _, Sha256};

use crate::{
    digest::Digest,
    event::{EventDraft, EventKind, shortened},
    json::{Object, Value, canonical, compact, read_object},
};

/// The maximum number of `eval` events of a change that replaces metrics.
const MAX_CHANGED_SUITES: usize = 256;

/// What a change of all metrics of a version does to them.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsChange {
    /// The value of `suites` before and after, if it differs.
    suites: Option<[Option<Value>; 2]>,
    /// True if something else differs.
    pub others: bool,
    prior: Digest,
}

impl MetricsChange {
    /// Compares the metrics of a version, as JSON text, before and after a change.
    #[must_use]
    pub fn between(before: Option<&str>, after: Option<&str>) -> Self {
        let [mut before, mut after] =
            [before, after].map(|text| text.and_then(read_object).unwrap_or_default());
        let prior = Digest::from_bytes(Sha256::digest(canonical(&before)).into());
        let suites = [before.remove("suites"), after.remove("suites")];
        let is_changed = suites[0] != suites[1];
        Self { suites: is_changed.then_some(suites), others: before != after, prior }
    }

    /// Returns true if `suites` differs.
    #[must_use]
    pub fn has_suites(&self) -> bool {
        self.suites.is_some()
    }

    /// Returns an `eval` event for each suite that differs, with values before and after. Values that are too long become their
    /// size, and so do those of a suite that are too many for an event of `max_bytes`.
    #[must_use]
    pub fn events(self, max_bytes: usize) -> Vec<EventDraft> {
        let object = |value: Option<Value>| match value {
            Some(Value::Object(object)) => object,
            _ => Object::new(),
        };
        let Some([before, after]) = self.suites.map(|suites| suites.map(object)) else { return Vec::new() };
        let names: Vec<_> =
            after.keys().chain(before.keys().filter(|name| !after.contains_key(*name))).collect();
        let changed: Vec<_> =
            names.into_iter().filter(|name| before.get(*name) != after.get(*name)).collect();
        let scores_of = |suites: &Object, name: &str| object(suites.get(name).cloned());
        let event = |(index, name): (usize, &&String)| {
            let [mut old, new] = [&before, &after].map(|suites| scores_of(suites, name));
            old.retain(|key, value| new.get(key) != Some(value));
            let further = changed.len().saturating_sub(MAX_CHANGED_SUITES);
            let payload = |metrics: Object| {
                let mut payload = Object::new();
                payload.insert("suite".to_owned(), name.as_str().into());
                payload.insert("metrics".to_owned(), Value::Object(metrics));
                payload.insert("prior_metrics_sha256".to_owned(), self.prior.to_string().into());
                if further > 0 && index + 1 == MAX_CHANGED_SUITES {
                    payload.insert("further_suites".to_owned(), further.into());
                }
                EventDraft::new(EventKind::Eval, &payload)
            };
            let bytes = compact(&new).len();
            let shown = match shortened(new) {
                Value::Object(shown) => shown,
                _ => Object::new(),
            };
            payload(shown)
                .within(max_bytes)
                .unwrap_or_else(|_| payload(Object::from_iter([("bytes".to_owned(), bytes.into())])))
                .with_values_before(old)
        };
        changed.iter().take(MAX_CHANGED_SUITES).enumerate().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        read_object(text).unwrap()
    }

    #[test]
    fn replaced_metrics_have_an_event_for_each_suite_that_differs() {
        let before = r#"{"loss":1,"suites":{"s":{"a":1,"b":2},"gone":{"a":9},"same":{"a":3}}}"#;
        let change = |after: &str| MetricsChange::between(Some(before), Some(after));
        let changed = change(r#"{"loss":1,"suites":{"s":{"a":7,"b":2},"new":{"a":5},"same":{"a":3}}}"#);
        assert!(changed.has_suites() && !changed.others);
        let events = changed.events(1 << 20);
        let shown: Vec<_> = events
            .iter()
            .map(|event| {
                let payload = object(&event.payload);
                (
                    payload["suite"].to_string(),
                    payload["metrics"].to_string(),
                    event.details.as_deref().unwrap_or(""),
                )
            })
            .collect();
        let expected = [
            (r#""s""#, r#"{"a":7,"b":2}"#, r#"{"before":{"a":1}}"#),
            (r#""new""#, r#"{"a":5}"#, ""),
            (r#""gone""#, "{}", r#"{"before":{"a":9}}"#),
        ];
        assert_eq!(shown, expected.map(|(suite, scores, old)| (suite.to_owned(), scores.to_owned(), old)));
        for (after, has_suites, others) in [
            (before, false, false),
            (r#"{"suites":{"s":{"b":2,"a":1},"gone":{"a":9},"same":{"a":3}}}"#, false, true),
            (r#"{"loss":1}"#, true, false),
            (r#"{"loss":1,"suites":null}"#, true, false),
        ] {
            let change = change(after);
            assert_eq!((change.has_suites(), change.others), (has_suites, others), "{after}");
        }
        let many: Object = (0..300).map(|n| (format!("s{n}"), object("{}").into())).collect();
        let events = MetricsChange::between(None, Some(&format!(r#"{{"suites":{}}}"#, compact(&many))))
            .events(1 << 20);
        assert_eq!(events.len(), MAX_CHANGED_SUITES);
        assert!(events.last().unwrap().payload.contains(r#""further_suites":44"#));
        let large: Object = (0..300).map(|n| (format!("m{n}"), n.into())).collect();
        let suites = format!(r#"{{"suites":{{"s":{}}}}}"#, compact(&large));
        let event = MetricsChange::between(None, Some(&suites)).events(200).remove(0);
        assert!(event.payload.contains(r#""metrics":{"bytes":"#), "{}", event.payload);
    }
}
