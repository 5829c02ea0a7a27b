//! 422: every fault of a request, with its type and location, in one answer.

use serde_json::{Value, json};

use crate::support::{Answer, KEY, TestApp};

fn registering(app: &TestApp, change: &Value) -> Answer {
    let mut body = json!({"name": "m", "version": "1", "artifact_uri": "s3://x"});
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    app.post("/models", &body)
}

#[test]
fn a_fault_has_its_type_and_its_location() {
    let app = TestApp::spawn();
    for (change, kind, location) in [
        (json!({"name": 5}), "string_type", r#"["body","name"]"#),
        (json!({"version": null}), "string_type", r#"["body","version"]"#),
        (json!({"description": 5}), "string_type", r#"["body","description"]"#),
        (json!({"artifact_uri": ["s3://x"]}), "string_type", r#"["body","artifact_uri"]"#),
        (json!({"checkpoint_sha256": 12}), "string_type", r#"["body","checkpoint_sha256"]"#),
        (json!({"tags": ["a", 1]}), "string_type", r#"["body","tags",1]"#),
        (json!({"tags": [null]}), "string_type", r#"["body","tags",0]"#),
        (json!({"tags": "a"}), "list_type", r#"["body","tags"]"#),
        (json!({"tags": {"a": 1}}), "list_type", r#"["body","tags"]"#),
        (json!({"metrics": [1]}), "dict_type", r#"["body","metrics"]"#),
        (json!({"metrics": "{}"}), "dict_type", r#"["body","metrics"]"#),
        (json!({"config_json": 1}), "dict_type", r#"["body","config_json"]"#),
        (json!({"params": "x"}), "int_parsing", r#"["body","params"]"#),
        (json!({"d_model": ""}), "int_parsing", r#"["body","d_model"]"#),
        (json!({"n_layers": "1.5"}), "int_parsing", r#"["body","n_layers"]"#),
        (json!({"n_heads": []}), "int_type", r#"["body","n_heads"]"#),
        (json!({"vocab_size": {}}), "int_type", r#"["body","vocab_size"]"#),
        (json!({"params": 1.5}), "int_from_float", r#"["body","params"]"#),
        (json!({"training_step": 1e30}), "int_parsing_size", r#"["body","training_step"]"#),
        (json!({"params": u64::MAX}), "int_parsing_size", r#"["body","params"]"#),
        (json!({"params": "9223372036854775808"}), "int_parsing_size", r#"["body","params"]"#),
        (json!({"training_loss": "low"}), "float_parsing", r#"["body","training_loss"]"#),
        (json!({"training_loss": "nan"}), "float_parsing", r#"["body","training_loss"]"#),
        (json!({"training_loss": "-Infinity"}), "float_parsing", r#"["body","training_loss"]"#),
        (json!({"training_loss": []}), "float_type", r#"["body","training_loss"]"#),
        (json!({"frozen": "perhaps"}), "bool_parsing", r#"["body","frozen"]"#),
        (json!({"frozen": 2}), "bool_parsing", r#"["body","frozen"]"#),
        (json!({"frozen": 0.5}), "bool_type", r#"["body","frozen"]"#),
        (json!({"frozen": null}), "bool_type", r#"["body","frozen"]"#),
        (json!({"status": "live"}), "literal_error", r#"["body","status"]"#),
        (json!({"status": "Production"}), "literal_error", r#"["body","status"]"#),
        (json!({"status": null}), "literal_error", r#"["body","status"]"#),
        (json!({"foo": 1}), "extra_forbidden", r#"["body","foo"]"#),
        (json!({"id": 1}), "extra_forbidden", r#"["body","id"]"#),
        (json!({"Name": "m"}), "extra_forbidden", r#"["body","Name"]"#),
    ] {
        let answer = registering(&app, &change);
        assert_eq!(answer.status, 422, "{change}: {}", answer.text);
        answer.faults(&[(kind, location)]);
    }
    assert_eq!(app.get("/models").ok(), json!([]));
}

#[test]
fn a_fault_also_has_a_message_and_what_was_sent() {
    let app = TestApp::spawn();
    let detail = registering(&app, &json!({"params": "x"})).json()["detail"][0].clone();
    assert_eq!(
        detail.to_string(),
        r#"{"type":"int_parsing","loc":["body","params"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"x"}"#
    );
    let detail = registering(&app, &json!({"status": "live"})).json()["detail"][0]["msg"].to_string();
    assert_eq!(detail, r#""Input should be 'experimental', 'staging', 'production' or 'archived'""#);
}

#[test]
fn all_faults_of_a_request_are_in_one_answer() {
    let app = TestApp::spawn();
    app.post(
        "/models",
        &json!({"version": "1", "d_model": "x", "foo": 1, "tags": [1, "a", null], "status": 3}),
    )
    .faults(&[
        ("missing", r#"["body","name"]"#),
        ("int_parsing", r#"["body","d_model"]"#),
        ("extra_forbidden", r#"["body","foo"]"#),
        ("string_type", r#"["body","tags",0]"#),
        ("string_type", r#"["body","tags",2]"#),
        ("literal_error", r#"["body","status"]"#),
    ]);
    app.post("/models", &json!({}))
        .faults(&[("missing", r#"["body","name"]"#), ("missing", r#"["body","version"]"#)]);
    app.post("/models/abc/metrics?if_updated_at=x", &json!({"suite": 5, "extra": 1, "eval_config": []}))
        .faults(&[
            ("int_parsing", r#"["path","model_id"]"#),
            ("string_type", r#"["body","suite"]"#),
            ("missing", r#"["body","metrics"]"#),
            ("dict_type", r#"["body","eval_config"]"#),
            ("extra_forbidden", r#"["body","extra"]"#),
        ]);
    let answer = app.request("PATCH", "/models/abc", &[], Some(r#"{"name": "n", "params": []}"#));
    answer.faults(&[
        ("int_parsing", r#"["path","model_id"]"#),
        ("extra_forbidden", r#"["body","name"]"#),
        ("int_type", r#"["body","params"]"#),
    ]);
    app.request("PATCH", "/models/abc", &[], Some("{bad"))
        .faults(&[("int_parsing", r#"["path","model_id"]"#), ("json_invalid", r#"["body"]"#)]);
    app.request("POST", "/models/x/promote?to_status=live", &[], None)
        .faults(&[("int_parsing", r#"["path","model_id"]"#), ("literal_error", r#"["query","to_status"]"#)]);
    app.request("DELETE", "/models/x?force=y%20", &[], None)
        .faults(&[("int_parsing", r#"["path","model_id"]"#), ("bool_parsing", r#"["query","force"]"#)]);
    app.get("/models/x/events?limit=0&offset=-1").faults(&[
        ("int_parsing", r#"["path","model_id"]"#),
        ("greater_than_equal", r#"["query","limit"]"#),
        ("greater_than_equal", r#"["query","offset"]"#),
    ]);
}

#[test]
fn schema_faults_are_reported_before_rules_and_before_the_database_is_read() {
    let app = TestApp::spawn();
    registering(&app, &json!({"name": " ", "params": "x"}))
        .faults(&[("int_parsing", r#"["body","params"]"#)]);
    registering(&app, &json!({"checkpoint_sha256": "1", "params": "x"}))
        .faults(&[("int_parsing", r#"["body","params"]"#)]);
    app.patch(999, &json!({"params": "x"})).faults(&[("int_parsing", r#"["body","params"]"#)]);
    app.post("/models/999/metrics", &json!({"suite": " ", "metrics": 1}))
        .faults(&[("dict_type", r#"["body","metrics"]"#)]);
    app.patch(999, &json!({})).refused(404);
}

#[test]
fn an_id_that_is_not_a_64_bit_number_is_a_fault_of_the_path() {
    let app = TestApp::spawn();
    for (id, kind) in [
        ("abc", "int_parsing"),
        ("1.5", "int_parsing"),
        ("%20", "int_parsing"),
        ("%FF", "int_parsing"),
        ("123456789012345678901234567890", "int_parsing_size"),
    ] {
        for path in ["", "/metrics", "/events"] {
            app.get(&format!("/models/{id}{path}")).faults(&[(kind, r#"["path","model_id"]"#)]);
        }
    }
    for id in ["0", "-1", "999", "9223372036854775807", "-9223372036854775808"] {
        app.get(&format!("/models/{id}")).refused(404);
        assert_eq!(app.get(&format!("/models/{id}/events")).ok(), json!([]));
    }
}

/// Sends a body of any bytes.
fn send(app: &TestApp, method: &str, path: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    app.exchange(&[head.as_bytes(), body].concat())
}

fn nested(levels: usize) -> String {
    format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn a_body_may_nest_96_levels_and_such_a_body_is_returned_by_every_call() {
    let app = TestApp::spawn();
    // The body and the object of metrics are two of the levels.
    let body = |version: &str, levels: usize| {
        let metrics = format!(r#"{{"deep": {}}}"#, nested(levels - 2));
        format!(r#"{{"name": "m", "version": "{version}", "artifact_uri": "s3://x", "metrics": {metrics}}}"#)
    };
    send(&app, "POST", "/models", body("1", 97).as_bytes()).faults(&[("json_invalid", r#"["body"]"#)]);
    let id = send(&app, "POST", "/models", body("1", 96).as_bytes()).ok()["id"].as_i64().unwrap();

    let evaluation = |levels: usize| {
        let deep = nested(levels - 2);
        format!(r#"{{"suite": "s", "metrics": {{"deep": {deep}}}, "eval_config": {{"deep": {deep}}}}}"#)
    };
    let path = format!("/models/{id}/metrics");
    send(&app, "POST", &path, evaluation(97).as_bytes()).faults(&[("json_invalid", r#"["body"]"#)]);
    for _ in 0..3 {
        send(&app, "POST", &path, evaluation(96).as_bytes()).ok();
    }
    let deep = nested(94);
    assert_eq!(app.get(&path).text.matches(&deep).count(), 2);
    assert_eq!(app.get(&format!("/models/{id}")).text.matches(&deep).count(), 3);
    assert_eq!(app.get(&format!("{path}?suite=s")).status, 200);
    assert_eq!(app.get(&format!("/models/{id}/events")).status, 200);
    assert_eq!(app.get(&format!("/compare?ids={id}")).status, 200);
    app.promote(id).ok();
    app.patch(id, &json!({"description": "d"})).ok();
    assert_eq!(app.event_types(id), ["create", "eval", "eval", "eval", "promote", "update"]);
}

#[test]
fn keys_that_mean_something_to_the_parser_are_refused_or_mean_nothing() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    for key in ["$serde_json::private::Number", "$serde_json::private::RawValue"] {
        for value in [r#""1.5""#, r#""NaN""#, r#""{\"a\":1}""#, "1", "null", "{}", r#""[[[[""#] {
            let body = format!(r#"{{"metrics": {{"x": {{"{key}": {value}}}}}}}"#);
            let answer = send(&app, "PATCH", &format!("/models/{id}"), body.as_bytes());
            if key.ends_with("Number") {
                assert_eq!(answer.status, 422, "{body}: {}", answer.text);
                let escaped = body.replace('$', "\\u0024");
                assert_eq!(send(&app, "PATCH", &format!("/models/{id}"), escaped.as_bytes()).status, 422);
            } else if answer.status == 200 {
                assert!(answer.text.contains(&body[13..body.len() - 2].replace(' ', "")), "{}", answer.text);
            } else {
                assert_eq!(answer.status, 422, "{body}: {}", answer.text);
            }
            app.record(id, "s", json!({})).ok();
        }
    }
    app.record(id, "$serde_json::private::Number", json!({"score": 1})).refused(400);
    app.record(id, "s", json!({"score": 1})).ok();
    assert_eq!(app.get(&format!("/models/{id}/metrics")).ok()["s"]["score"], 1);
}
