//! `/v1` takes requests exactly as they are described, and nothing else.

use serde_json::{Value, json};

use crate::{openapi::calls, support::TestApp};

use super::version;

/// The description calls these types by one value that is not of the type.
fn wrong(schema: &Value) -> Option<Value> {
    let types = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    match types.first()?.as_str()? {
        "string" => Some(json!(1)),
        "integer" => Some(json!("1")),
        "number" => Some(json!("0.5")),
        "boolean" => Some(json!("true")),
        "object" => Some(json!([])),
        _ => None,
    }
}

#[test]
fn every_call_refuses_an_unknown_and_a_repeated_query_parameter() {
    let app = TestApp::spawn();
    app.add("m", "1");
    let document = app.get("/openapi.json").ok();
    let mut tried = 0;
    for call in calls(&document).iter().filter(|call| call.path.starts_with("/v1/") && call.method != "HEAD")
    {
        let body = call.operation.get("requestBody").map(|_| "{}");
        let answer = app.request(&call.method, &format!("{}?nonsense=1", call.path), &[], body);
        answer.error(422, "invalid");
        let paths = super::each(&answer.json()["error"]["fields"], "path");
        assert!(paths.contains(&json!("nonsense")), "{} {}: {}", call.method, call.path, answer.text);
        for parameter in call.operation["parameters"].as_array().unwrap() {
            let (Some("query"), Some(name)) = (parameter["in"].as_str(), parameter["name"].as_str()) else {
                continue;
            };
            let twice = app.request(&call.method, &format!("{}?{name}=1&{name}=1", call.path), &[], body);
            twice.error(422, "invalid");
            assert!(twice.text.contains("given twice"), "{name}: {}", twice.text);
            tried += 1;
        }
        tried += 1;
    }
    assert!(tried > 45, "{tried}");
    assert_eq!(app.trail("").len(), 1, "nothing was changed");
}

#[test]
fn every_body_refuses_unknown_fields_wrong_types_and_fields_given_twice() {
    let app = TestApp::spawn();
    app.add("m", "1");
    let document = app.get("/openapi.json").ok();
    let mut tried = 0;
    for call in calls(&document).iter().filter(|call| call.path.starts_with("/v1/")) {
        let Some(body) = call.operation.pointer("/requestBody/content/application~1json/schema") else {
            continue;
        };
        let name = body["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        let send = |body: &str| app.request(&call.method, &call.path, &[], Some(body));
        assert!(send(r#"{"nonsense": 1}"#).text.contains(r#"{"path":"nonsense""#), "{name}");
        for body in [
            "",
            "[]",
            "null",
            "{",
            r#"{"a": 1} x"#,
            "{'a': 1}",
            &format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100)),
        ] {
            send(body).unfit(&["body"]);
        }
        for (field, schema) in document["components"]["schemas"][name]["properties"].as_object().unwrap() {
            let key = json!(field);
            send(&format!("{{{key}: 1, {key}: 1}}")).unfit(&["body"]);
            let schema = match schema["$ref"].as_str() {
                Some(reference) => document.pointer(&reference[1..]).unwrap(),
                None => schema,
            };
            if let Some(wrong) = wrong(schema) {
                let answer = send(&json!({ field.clone(): wrong }).to_string());
                answer.error(422, "invalid");
                let paths = super::each(&answer.json()["error"]["fields"], "path");
                assert!(paths.contains(&key), "{name}.{field}: {}", answer.text);
                assert!(!answer.text.contains("unknown; leave it out"), "{name}.{field}: {}", answer.text);
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried}");
    assert_eq!(app.trail("").len(), 1, "nothing was changed");
}

#[test]
fn an_object_in_a_body_has_each_key_once_and_a_fault_in_it_is_named() {
    let app = TestApp::spawn();
    app.add("m", "1");
    let send = |body: &str| app.request("PATCH", &version("m", 1), &[], Some(body));
    for body in [
        r#"{"tags": {"a": "1", "a": "2"}}"#,
        r#"{"metrics": {"suites": {"s": [{"x": 1, "y": 2, "x": 1}]}}}"#,
        r#"{"tags": {"a": "1", "\u0061": "2"}}"#,
    ] {
        let answer = send(body);
        answer.unfit(&["body"]);
        assert!(answer.text.contains("given twice at line 1"), "{}", answer.text);
    }
    send(r#"{"tags": {"a": 1, "b": "x", "c": ["y"]}, "params": 1.5}"#).unfit(&["tags.a", "tags.c", "params"]);
    send(r#"{"description": null, "frozen": null}"#).unfit(&["description", "frozen"]);
    send(r#"{"training_loss": 1e400}"#).unfit(&["training_loss"]);
    send(r#"{"params": 9223372036854775808}"#).unfit(&["params"]);
    let loss =
        send(r#"{"training_loss": 1, "metrics": {"x": 1.50, "big": 123456789012345678901234567890}}"#).ok();
    assert_eq!(loss["metrics"].to_string(), r#"{"x":1.50,"big":123456789012345678901234567890}"#);
}

#[test]
fn numbers_and_flags_in_a_query_are_written_plainly() {
    let app = TestApp::spawn();
    app.add("m", "1");
    for query in ["limit=+1", "limit=1.0", "limit=1_0", "limit=%201", "limit=0", "limit=201", "limit="] {
        app.get(&format!("/v1/models?{query}")).unfit(&["limit"]);
    }
    for flag in ["yes", "1", "True", ""] {
        app.get(&format!("/v1/models?deleted={flag}")).unfit(&["deleted"]);
        app.v1("DELETE", &format!("{}?force={flag}", version("m", 1)), Value::Null).unfit(&["force"]);
    }
    for empty in ["q", "tag", "cursor"] {
        app.get(&format!("/v1/models?{empty}=")).unfit(&[empty]);
    }
    app.get("/v1/models/m/versions?status=Staging").unfit(&["status"]);
}
