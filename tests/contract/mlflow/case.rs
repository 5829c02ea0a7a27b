//! A recorded case: what it sends, and what it expects.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::compare::Expectation;
use crate::{
    case::{Store, filled},
    server::Server,
};

/// Paths without a slash at their start follow it.
const BASE: &str = "/api/2.0/mlflow/";

/// An unknown field fails the case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "why")]
    _why: String,
    #[serde(rename = "face")]
    _face: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// The request to send.
    #[serde(rename = "do")]
    request: Option<Value>,
    expect: Option<Value>,
    /// Values of the answer to keep, by the name that later steps use as `${name}`.
    #[serde(default)]
    save: Map<String, Value>,
    /// Saved values to compare, in place of a request.
    #[serde(default)]
    compare: Vec<[String; 3]>,
    /// Lists that have no order, besides those that never have one.
    #[serde(default)]
    unordered: Vec<String>,
    #[serde(default)]
    fixed: Option<String>,
    /// The fields that were recorded.
    #[serde(rename = "keep")]
    _keep: Option<Value>,
}

/// Replays the case `name` of the folder `cases`.
pub(crate) fn replay(cases: &Path, name: &str) {
    let text = fs::read_to_string(cases.join(name).with_extension("json")).unwrap();
    let case: Case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("case {name}: {error}"));
    let Some(store) = Store::create() else { return };
    let server = Server::start(store.folder.path(), store.setting(), &json!({}));
    let mut saved = Map::new();
    let mut problems = Vec::new();
    for (number, step) in case.steps.iter().enumerate() {
        for [one, how, other] in &step.compare {
            let [a, b] = [one, other].map(|text| filled(&json!(text), &saved).as_i64().unwrap());
            let holds = match how.as_str() {
                "<" => a < b,
                "<=" => a <= b,
                "=" => a == b,
                "!=" => a != b,
                _ => panic!("step {number}: {how} compares nothing"),
            };
            if !holds {
                problems.push(format!("step {number}: {one} {how} {other} does not hold: {a}, {b}"));
            }
        }
        let Some(request) = &step.request else { continue };
        let mut request = repeated(&filled(request, &saved));
        let path = request["path"].as_str().unwrap();
        if !path.starts_with('/') {
            request["path"] = format!("{BASE}{path}").into();
        }
        let answer = server.send(&serde_json::from_value(request.clone()).unwrap());
        let expected = step.expect.as_ref().expect("a request has an expectation");
        let expected: Expectation = serde_json::from_value(filled(expected, &saved))
            .unwrap_or_else(|error| panic!("case {name}, step {number}: {error}"));
        let found = expected.problems(&answer, &step.unordered, step.fixed.is_some());
        let (method, path) = (&request["method"], &request["path"]);
        problems.extend(found.into_iter().map(|it| format!("step {number}, {method} {path}: {it}")));
        for (name, place) in &step.save {
            let place = format!("/{}", place.as_str().unwrap().replace('.', "/"));
            match answer.body.pointer(&place) {
                Some(value) => saved.insert(name.clone(), value.clone()),
                None => panic!("step {number}: the answer has no {place}\n{problems:#?}"),
            };
        }
    }
    assert!(problems.is_empty(), "case {name} differs:\n  {}\n{}", problems.join("\n  "), server.log());
}

/// Returns `value` with each `{"$repeat": [text, count]}` replaced by the text, repeated.
fn repeated(value: &Value) -> Value {
    match value {
        Value::Object(fields) => match fields.get("$repeat") {
            Some(repeat) => {
                let count = usize::try_from(repeat[1].as_u64().unwrap()).unwrap();
                repeat[0].as_str().unwrap().repeat(count).into()
            }
            None => {
                fields.iter().map(|(key, value)| (key.clone(), repeated(value))).collect::<Map<_, _>>().into()
            }
        },
        Value::Array(items) => items.iter().map(repeated).collect(),
        _ => value.clone(),
    }
}
