//! Compares an answer with the recorded one, as MLflow's client reads it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{compare::differences, server::Answer};

/// The maximum number of bytes of a body that a problem shows.
const SHOWN_BYTES: usize = 200;
/// Lists whose order means nothing.
const UNORDERED: [&str; 3] = ["tags", "aliases", "latest_versions"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expectation {
    status: u16,
    /// The whole body of a success, its times masked.
    json: Option<Value>,
    /// Some of its fields.
    fields: Option<Map<String, Value>>,
    /// The code of an error.
    error_code: Option<String>,
    /// Its wording, which MLflow's own tests look at.
    said: Option<String>,
    /// What is as good.
    or: Option<Box<Self>>,
}

impl Expectation {
    /// Returns how the answer differs. A step that is `fixed` has a wording of its own.
    pub(crate) fn problems(&self, answer: &Answer, unordered: &[String], is_fixed: bool) -> Vec<String> {
        if let Some(or) = self.or.as_ref().filter(|or| or.status == answer.status) {
            return or.problems(answer, unordered, is_fixed);
        }
        let body = &answer.body;
        let mut shown = body.to_string();
        shown.truncate(shown.floor_char_boundary(SHOWN_BYTES));
        if answer.status != self.status {
            return vec![format!("status: expected {}, got {} ({shown})", self.status, answer.status)];
        }
        if let Some(code) = &self.error_code {
            let mut problems = differences(&json!(code), &body["error_code"]);
            let message = body["message"].as_str().unwrap_or_default();
            match &self.said {
                Some(said) if !is_fixed && said != message => {
                    problems.push(format!("message: expected {said:?}, got {message:?}"));
                }
                _ if message.trim().is_empty() => problems.push(format!("no message: {shown}")),
                _ => {}
            }
            return problems;
        }
        if let Some(recorded) = &self.json {
            return differences(&masked(recorded, "", unordered), &masked(body, "", unordered));
        }
        let fields = self.fields.iter().flatten();
        fields.flat_map(|(field, value)| differences(value, &body[field.as_str()])).collect()
    }
}

/// Returns `value` with times replaced by a token, if they are whole milliseconds, and lists without order sorted.
fn masked(value: &Value, key: &str, unordered: &[String]) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), masked(value, key, unordered)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(|item| masked(item, "", unordered)).collect();
            if UNORDERED.contains(&key) || unordered.iter().any(|name| name == key) {
                items.sort_by_key(ToString::to_string);
            }
            items.into()
        }
        Value::Number(number) if ["creation_timestamp", "last_updated_timestamp"].contains(&key) => {
            let is_time =
                number.as_i64().is_some_and(|ms| (1_500_000_000_000..9_999_999_999_999).contains(&ms));
            if is_time { "<ms>".into() } else { format!("<bad time {number}>").into() }
        }
        Value::String(id) if key == "webhook_id" && is_uuid(id) => "<uuid>".into(),
        _ => value.clone(),
    }
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

#[test]
fn an_answer_that_is_not_the_recorded_one_is_a_problem() {
    let answer = |status, body: Value| Answer { status, body, headers: Default::default() };
    let version = |tags: Value| json!({"tags": tags, "creation_timestamp": 1_764_400_000_000_i64});
    let refused = json!({"error_code": "A", "message": "b"});
    for (expected, answer, good) in [
        (
            json!({"status": 200, "json": {"tags": [1, 2], "creation_timestamp": "<ms>"}}),
            answer(200, version(json!([2, 1]))),
            true,
        ),
        (
            json!({"status": 200, "json": {"tags": [1], "creation_timestamp": "<ms>"}}),
            answer(200, version(json!([2]))),
            false,
        ),
        (
            json!({"status": 200, "json": {"creation_timestamp": "<ms>"}}),
            answer(200, json!({"creation_timestamp": 7})),
            false,
        ),
        (json!({"status": 200, "json": {"order": [1, 2]}}), answer(200, json!({"order": [2, 1]})), false),
        (json!({"status": 200, "fields": {"a": 1}}), answer(200, json!({"a": 1, "b": 2})), true),
        (json!({"status": 200, "fields": {"a": 1}}), answer(200, json!({"b": 2})), false),
        (json!({"status": 400, "error_code": "A"}), answer(400, refused.clone()), true),
        (json!({"status": 400, "error_code": "B"}), answer(400, refused.clone()), false),
        (json!({"status": 400, "error_code": "A", "said": "c"}), answer(400, refused.clone()), false),
        (json!({"status": 404, "error_code": "A"}), answer(400, refused.clone()), false),
        (json!({"status": 400, "error_code": "A"}), answer(400, json!({"error_code": "A"})), false),
        (
            json!({"status": 500, "error_code": "B", "or": {"status": 400, "error_code": "A"}}),
            answer(400, refused),
            true,
        ),
    ] {
        let expectation: Expectation = serde_json::from_value(expected.clone()).unwrap();
        let problems = expectation.problems(&answer, &[], false);
        assert_eq!(problems.is_empty(), good, "{expected}: {problems:?}");
    }
}
