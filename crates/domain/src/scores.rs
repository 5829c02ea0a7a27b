//! Scores as values that can be searched: which numbers of a version's metrics they are, and what a change does to them.
//!
//! A score is a finite number directly below `metrics.suites.SUITE`. `_meta` and nested values are none, nor are numbers
//! beyond the limits of this module; they stay in the metrics and can't be searched.

mod lookup;

use std::collections::BTreeMap;

use crate::{
    json::{Object, Value},
    limits::MAX_NAME_BYTES,
    suites::suites,
};

/// The maximum number of scores of a version. The first ones count, in the order of its metrics.
pub const MAX_SCORES: usize = 1_000;

/// The key under which a suite notes who recorded it and when.
const META: &str = "_meta";

/// A score of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The suite, of at most [`MAX_NAME_BYTES`].
    pub suite: String,
    /// The metric in the suite, of at most [`MAX_NAME_BYTES`].
    pub metric: String,
    /// Finite.
    pub value: f64,
}

/// A score that differs between two states of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreChange {
    /// The suite.
    pub suite: String,
    /// The metric in the suite.
    pub metric: String,
    /// The value before; `None` if the score is new.
    pub before: Option<f64>,
    /// The value now; `None` if there is no such score any more.
    pub after: Option<f64>,
}

impl ScoreChange {
    /// Compares two values of a metric; `None` if the score is the same or there is none.
    pub(crate) fn between(
        suite: &str,
        metric: &str,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Option<Self> {
        let [before, after] = [before, after].map(|value| value.and_then(number));
        if before == after || !has_key(suite, metric) {
            return None;
        }
        Some(Self { suite: suite.to_owned(), metric: metric.to_owned(), before, after })
    }
}

/// Returns the scores in the metrics of a version, given as JSON text.
#[must_use]
pub fn scores(metrics: Option<&str>) -> Vec<Score> {
    in_suites(&suites(metrics))
}

/// Returns one score in the metrics of a version.
#[must_use]
pub fn score(metrics: Option<&str>, suite: &str, metric: &str) -> Option<f64> {
    let metrics = metrics.filter(|_| has_key(suite, metric))?;
    if let Some(found) = lookup::score(metrics, suite, metric) {
        return found;
    }
    let suites = suites(Some(metrics));
    let found = first(&suites).find(|(of, name, _)| *of == suite && *name == metric);
    found.map(|(_, _, value)| value)
}

/// Returns the scores that differ between two states of a version's metrics.
#[must_use]
pub fn changes(before: Option<&str>, after: Option<&str>) -> Vec<ScoreChange> {
    if before == after { Vec::new() } else { differences(scores(before), scores(after)) }
}

/// Returns the scores in the suites of a version.
pub(crate) fn in_suites(suites: &Object) -> Vec<Score> {
    let score = |(suite, metric, value): (&str, &str, f64)| Score {
        suite: suite.to_owned(),
        metric: metric.to_owned(),
        value,
    };
    first(suites).map(score).collect()
}

pub(crate) fn differences(before: Vec<Score>, after: Vec<Score>) -> Vec<ScoreChange> {
    let mut old: BTreeMap<_, _> =
        before.into_iter().map(|Score { suite, metric, value }| ((suite, metric), value)).collect();
    let mut changes = Vec::new();
    for Score { suite, metric, value } in after {
        let key = (suite, metric);
        let before = old.remove(&key);
        if before != Some(value) {
            let (suite, metric) = key;
            changes.push(ScoreChange { suite, metric, before, after: Some(value) });
        }
    }
    let lost = |((suite, metric), value)| ScoreChange { suite, metric, before: Some(value), after: None };
    changes.extend(old.into_iter().map(lost));
    changes
}

/// Returns true if the suites may have more than [`MAX_SCORES`] after `added` metrics are merged into one of them.
pub(crate) fn may_be_too_many(suites: &Object, added: usize) -> bool {
    let metrics = suites.values().filter_map(Value::as_object).map(Object::len);
    metrics.sum::<usize>() + added > MAX_SCORES
}

fn first(suites: &Object) -> impl Iterator<Item = (&str, &str, f64)> {
    let suites = suites.iter().filter_map(|(suite, scores)| Some((suite, scores.as_object()?)));
    let all = suites.flat_map(|(suite, scores)| {
        scores.iter().filter_map(|(metric, value)| {
            let value = number(value).filter(|_| has_key(suite, metric))?;
            Some((suite.as_str(), metric.as_str(), value))
        })
    });
    all.take(MAX_SCORES)
}

/// Returns true if a score may have this name. Databases can't index longer texts, and some can't store a NUL.
fn has_key(suite: &str, metric: &str) -> bool {
    metric != META && [suite, metric].iter().all(|name| name.len() <= MAX_NAME_BYTES && !name.contains('\0'))
}

fn number(value: &Value) -> Option<f64> {
    value.as_number()?.as_f64().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Evaluation, Timestamp, json::read_object};

    fn listed(metrics: &str) -> Vec<(String, f64)> {
        let name = |score: Score| (format!("{}.{}", score.suite, score.metric), score.value);
        scores(Some(metrics)).into_iter().map(name).collect()
    }

    #[test]
    fn only_finite_numbers_directly_below_a_suite_are_scores() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for (metrics, expected) in [
            (
                r#"{"suites":{"s":{"a":1,"b":-2.5e-3,"c":true,"d":"1","e":null,"f":[1],"g":{"h":1}}}}"#,
                &[("s.a", 1.0), ("s.b", -0.0025)][..],
            ),
            (
                r#"{"suites":{"t":{"z":1,"_meta":{"a":1}},"s":{"_meta":5,"y":2}}}"#,
                &[("t.z", 1.0), ("s.y", 2.0)],
            ),
            (
                r#"{"suites":{"s":{"big":1e400,"a":NaN,"b":12345678901234567890}}}"#,
                &[("s.b", 12_345_678_901_234_567_890.0)],
            ),
            (
                &format!(r#"{{"suites":{{"s":{{"{long}":1,"n\u0000":1,"":2}},"{long}":{{"a":1}}}}}}"#),
                &[("s.", 2.0)],
            ),
            (r#"{"a":1,"suites":[{"s":{"a":1}}]}"#, &[]),
            ("{half", &[]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
            assert_eq!(listed(metrics), expected, "{metrics}");
        }
        assert_eq!(scores(None), []);
        let metrics = Some(r#"{"suites":{"s":{"a":1,"b":"x"}}}"#);
        for (suite, metric, value) in
            [("s", "a", Some(1.0)), ("s", "b", None), ("s", "c", None), ("t", "a", None)]
        {
            assert_eq!(score(metrics, suite, metric), value, "{suite}.{metric}");
        }
    }

    #[test]
    fn a_score_that_is_looked_up_is_the_one_in_the_list() {
        let deep = format!(r#"{{"suites":{{"s":{{"a":1}}}},"x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for metrics in [
            r#"{"suites":{"s":{"a":0.1234567890123456789,"b":1e22}}}"#,
            r#"{"suites":{"s":{"a":1}},"suites":{"s":{"b":2}}}"#,
            r#"{"suites":{"s":{"a":1,"a":2},"t":{"a":4},"s":{"a":3}}}"#,
            r#"{"suites":{"s":{"a":1,"a":"x"}}}"#,
            r#"{"suites":{"s":{"\u0061":-1.5,"b":[1],"c":1e400}}}"#,
            r#"{"x":NaN,"suites":{"s":{"a":1}}}"#,
            r#"{"suites":{"s":5,"t":{"a":1}}}"#,
            r#"{"suites":null}"#,
            r#"{"suites":{"s":{"a":1}}} x"#,
            "[]",
            "{half",
            &deep,
            &many(MAX_SCORES, 2),
        ] {
            for suite in ["s", "t", "a", "b"] {
                for metric in ["a", "b", "c", "m0", "m999"] {
                    let listed = scores(Some(metrics)).into_iter();
                    let mut listed = listed.filter(|score| score.suite == suite && score.metric == metric);
                    let expected = listed.next().map(|score| score.value);
                    assert_eq!(
                        score(Some(metrics), suite, metric),
                        expected,
                        "{suite}.{metric} of {metrics}"
                    );
                }
            }
        }
    }

    #[test]
    fn changes_are_the_scores_that_differ() {
        let before = r#"{"suites":{"s":{"a":1,"b":2,"c":3},"t":{"a":0.0}}}"#;
        let after = r#"{"suites":{"t":{"a":-0.0},"s":{"a":1.0,"b":2.5,"c":"x"},"u":{"d":4}}}"#;
        let named: Vec<_> = changes(Some(before), Some(after))
            .into_iter()
            .map(|change| (format!("{}.{}", change.suite, change.metric), change.before, change.after))
            .collect();
        let expected = [("s.b", Some(2.0), Some(2.5)), ("u.d", None, Some(4.0)), ("s.c", Some(3.0), None)];
        assert_eq!(named, expected.map(|(name, before, after)| (name.to_owned(), before, after)));
        assert_eq!(changes(Some(before), Some(before)), []);
    }

    /// Returns metrics with this many scores in each of two suites.
    fn many(first: usize, second: usize) -> String {
        let suite = |count| (0..count).map(|at| format!(r#""m{at}":{at}"#)).collect::<Vec<_>>().join(",");
        format!(r#"{{"suites":{{"a":{{{}}},"b":{{{}}}}}}}"#, suite(first), suite(second))
    }

    #[test]
    fn the_first_thousand_scores_count() {
        let metrics = many(MAX_SCORES - 1, 5);
        assert_eq!(scores(Some(&metrics)).len(), MAX_SCORES);
        assert_eq!(score(Some(&metrics), "b", "m0"), Some(0.0));
        assert_eq!(score(Some(&metrics), "b", "m1"), None);
    }

    proptest::proptest! {
        #[test]
        fn recording_changes_the_scores_that_differ_and_no_others(
            prior in proptest::option::of(r#"\{"x":1(,"suites":(\{("[sab]":\{("[abc]":([0-3]|null|\[1\]|"t"),){0,3}"_meta":\{\}\},){0,3}"z":\{"q":1\}\}|null|\[\]))?\}"#),
            given in r#"\{("[abcd]":([0-3]|-0\.0|1\.0|null|\[1\]|"t"),){0,4}"e":1\}"#, first in 0..1_002_usize
        ) {
            let prior = if first > 900 { Some(many(first, 3)) } else { prior };
            let evaluation = Evaluation::new("s", read_object(&given).unwrap()).unwrap();
            let Ok(recorded) = evaluation.record(prior.as_deref(), "ann", Timestamp::from_unix_millis(0)) else {
                return Ok(());
            };
            let by_name = |mut changes: Vec<ScoreChange>| {
                changes.sort_by(|one, other| (&one.suite, &one.metric).cmp(&(&other.suite, &other.metric)));
                changes
            };
            let expected = changes(prior.as_deref(), Some(&recorded.metrics));
            proptest::prop_assert_eq!(by_name(recorded.scores), by_name(expected));
        }
    }
}
