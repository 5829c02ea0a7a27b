//! Compares an answer with the recorded one.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::server::Answer;

/// The maximum number of bytes of a body that a problem shows.
const SHOWN_BYTES: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expectation {
    status: u16,
    /// The whole body of a success, its times masked.
    #[serde(default, deserialize_with = "present")]
    json: Option<Value>,
    /// Some of its fields.
    fields: Option<Map<String, Value>>,
    /// How many entries it has.
    count: Option<usize>,
    /// The entries of a 422, in any order: `type` and `loc` of each.
    detail: Option<Vec<Value>>,
    /// Headers by their names in lower case; `null` for one that must be absent.
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
}

/// Keeps `null`, which is a value too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Expectation {
    /// Returns how the answer differs.
    pub(crate) fn problems(&self, answer: &Answer) -> Vec<String> {
        let mut problems = self.problems_of_body(answer);
        for (name, recorded) in &self.headers {
            let found = answer.headers.get(name);
            if found != recorded.as_ref() {
                problems.push(format!("header {name}: expected {recorded:?}, got {found:?}"));
            }
        }
        problems
    }

    fn problems_of_body(&self, answer: &Answer) -> Vec<String> {
        let body = &answer.body;
        let mut shown = body.to_string();
        shown.truncate(shown.floor_char_boundary(SHOWN_BYTES));
        if answer.status != self.status {
            return vec![format!("status: expected {}, got {} ({shown})", self.status, answer.status)];
        }
        match self.status {
            422 => {
                let recorded = self.detail.as_ref().and_then(|entries| entries.iter().map(entry).collect());
                let Some(found) = body["detail"].as_array().and_then(|entries| {
                    entries.iter().map(|found| found["msg"].as_str().and(entry(found))).collect()
                }) else {
                    return vec![format!(
                        "the body is not a list of entries with type, loc and msg: {shown}"
                    )];
                };
                let sorted = |mut entries: Vec<String>| {
                    entries.sort();
                    json!(entries)
                };
                differences(&sorted(recorded.expect("a 422 has entries")), &sorted(found))
            }
            400.. if body["detail"].as_str().is_none_or(|text| text.trim().is_empty()) => {
                vec![format!("the body is not {{\"detail\": text}}: {shown}")]
            }
            400.. => Vec::new(),
            _ => {
                let masked = masked(body, "");
                if let Some(recorded) = &self.json {
                    differences(recorded, &masked)
                } else if let Some(fields) = &self.fields {
                    let found: Map<_, _> =
                        fields.keys().map(|key| (key.clone(), body[key.as_str()].clone())).collect();
                    differences(&json!(fields), &found.into())
                } else if let Some(count) = self.count {
                    let length = body.as_array().map(Vec::len).or(body.as_object().map(Map::len));
                    differences(&json!(count), &json!(length))
                } else {
                    Vec::new()
                }
            }
        }
    }
}

/// Returns an entry of a 422 as it is compared. Of broken JSON only `body` belongs to the contract, not the offset.
fn entry(entry: &Value) -> Option<String> {
    let (kind, mut place) = (entry["type"].as_str()?, entry["loc"].as_array()?.as_slice());
    if kind == "json_invalid" {
        place = place.get(..1)?;
    }
    let place: Vec<_> =
        place.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect();
    Some(format!("{kind} at {}", place.join(".")))
}

/// `value` with times and digests that depend on the clock replaced by a token, once their form has been checked.
fn masked(value: &Value, key: &str) -> Value {
    let masked_if = |good: bool, token: &str| match good {
        true => json!(format!("<{token}>")),
        false => json!(format!("<bad {token} {value}>")),
    };
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), masked(value, key))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(|item| masked(item, "")).collect(),
        Value::String(text) => match key {
            "created_at" | "updated_at" => masked_if(is_time(text, ' ', 6), "time"),
            "recorded_at" => {
                let bare = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"));
                masked_if(bare.is_some_and(|text| is_time(text, 'T', usize::MAX)), "time")
            }
            "prior_metrics_sha256" => {
                let hex = |letter| matches!(letter, '0'..='9' | 'a'..='f');
                masked_if(text.len() == 64 && text.chars().all(hex), "sha256")
            }
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}

/// Returns true for `2026-01-31 13:05:09`, with `between` between date and time and at most `max_decimals` decimals.
fn is_time(text: &str, between: char, max_decimals: usize) -> bool {
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let form: String = seconds.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    form == format!("0000-00-00{between}00:00:00")
        && (1..=max_decimals).contains(&decimals.len())
        && decimals.bytes().all(|byte| byte.is_ascii_digit())
}

/// Each place where two values differ, as a JSON path with both sides. 1 and 1.0 are equal.
pub(crate) fn differences(recorded: &Value, found: &Value) -> Vec<String> {
    let mut differing = Vec::new();
    compare("$", recorded, found, &mut differing);
    differing
}

fn compare(path: &str, recorded: &Value, found: &Value, differing: &mut Vec<String>) {
    match (recorded, found) {
        (Value::Object(recorded), Value::Object(found)) => {
            for (key, value) in recorded {
                match found.get(key) {
                    Some(other) => compare(&format!("{path}.{key}"), value, other, differing),
                    None => differing.push(format!("{path}.{key}: missing, expected {value}")),
                }
            }
            for (key, value) in found.iter().filter(|(key, _)| !recorded.contains_key(*key)) {
                differing.push(format!("{path}.{key}: not expected, got {value}"));
            }
        }
        (Value::Array(recorded), Value::Array(found)) if recorded.len() == found.len() => {
            for (at, (value, other)) in recorded.iter().zip(found).enumerate() {
                compare(&format!("{path}[{at}]"), value, other, differing);
            }
        }
        (Value::Number(one), Value::Number(other))
            if (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64() => {}
        _ if recorded == found => {}
        _ => differing.push(format!("{path}: expected {recorded}, got {found}")),
    }
}

#[test]
fn differences_are_found_and_name_their_path() {
    let recorded = json!({"a": [1, {"b": null}], "c": "x", "d": true, "e": [1]});
    for (found, expected) in [
        (json!({"a": [1.0, {"b": null}], "c": "x", "d": true, "e": [1]}), vec![]),
        (
            json!({"a": [1, {}], "c": "y", "d": 1, "e": [1, 2], "f": 0}),
            vec![
                "$.a[1].b: missing, expected null",
                "$.c: expected \"x\", got \"y\"",
                "$.d: expected true, got 1",
                "$.e: expected [1], got [1,2]",
                "$.f: not expected, got 0",
            ],
        ),
    ] {
        assert_eq!(differences(&recorded, &found), expected);
    }
}

#[test]
fn an_answer_that_is_not_the_recorded_one_is_a_problem() {
    let answer =
        |status, body: Value| Answer { status, body, headers: BTreeMap::from([("x".into(), "1".into())]) };
    let time = "2026-01-31 13:05:09.250";
    for (expected, answer, good) in [
        (
            json!({"status": 200, "json": {"created_at": "<time>"}}),
            answer(200, json!({"created_at": time})),
            true,
        ),
        (
            json!({"status": 200, "json": {"created_at": "<time>"}}),
            answer(200, json!({"created_at": "now"})),
            false,
        ),
        (json!({"status": 200, "json": null}), answer(200, json!({})), false),
        (json!({"status": 200, "fields": {"a": 1}}), answer(200, json!({"a": 1, "b": 2})), true),
        (json!({"status": 200, "fields": {"a": 1}}), answer(200, json!({"b": 2})), false),
        (json!({"status": 200, "count": 2}), answer(200, json!([1])), false),
        (json!({"status": 200}), answer(204, Value::Null), false),
        (json!({"status": 404}), answer(404, json!({"detail": "none"})), true),
        (json!({"status": 404}), answer(404, json!({"detail": " "})), false),
        (json!({"status": 200, "headers": {"x": null}}), answer(200, Value::Null), false),
        (json!({"status": 200, "headers": {"x": "1", "y": null}}), answer(200, Value::Null), true),
        (
            json!({"status": 422, "detail": [{"type": "missing", "loc": ["body", "name"]}]}),
            answer(
                422,
                json!({"detail": [{"type": "missing", "loc": ["body", "name"], "msg": "m", "input": {}}]}),
            ),
            true,
        ),
        (
            json!({"status": 422, "detail": [{"type": "missing", "loc": ["body", "name"]}]}),
            answer(422, json!({"detail": [{"type": "missing", "loc": ["body", "version"], "msg": "m"}]})),
            false,
        ),
        (
            json!({"status": 422, "detail": [{"type": "json_invalid", "loc": ["body", 7]}]}),
            answer(422, json!({"detail": [{"type": "json_invalid", "loc": ["body", 9], "msg": "m"}]})),
            true,
        ),
    ] {
        let expectation: Expectation = serde_json::from_value(expected.clone()).unwrap();
        let problems = expectation.problems(&answer);
        assert_eq!(problems.is_empty(), good, "{expected}: {problems:?}");
    }
}
