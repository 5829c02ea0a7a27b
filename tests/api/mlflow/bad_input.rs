//! Requests that are at fault. MLflow's client sends a request again for minutes after a 5xx, so none answers one.

use serde_json::json;

use model_registry::http::Keys;

use crate::support::{TestApp, over_postgres};

use super::PREFIX;

/// The calls that take a body.
const WRITES: [(&str, &str); 15] = [
    ("POST", "registered-models/create"),
    ("PATCH", "registered-models/update"),
    ("POST", "registered-models/rename"),
    ("DELETE", "registered-models/delete"),
    ("POST", "registered-models/get-latest-versions"),
    ("POST", "registered-models/set-tag"),
    ("DELETE", "registered-models/delete-tag"),
    ("POST", "registered-models/alias"),
    ("DELETE", "registered-models/alias"),
    ("POST", "model-versions/create"),
    ("PATCH", "model-versions/update"),
    ("DELETE", "model-versions/delete"),
    ("POST", "model-versions/transition-stage"),
    ("POST", "model-versions/set-tag"),
    ("DELETE", "model-versions/delete-tag"),
];

/// The calls that take a query.
const READS: [&str; 7] = [
    "registered-models/get",
    "registered-models/get-latest-versions",
    "registered-models/alias",
    "registered-models/search",
    "model-versions/get",
    "model-versions/get-download-uri",
    "model-versions/search",
];

#[test]
fn a_body_at_fault_is_refused_by_every_call() {
    let app = TestApp::spawn();
    app.mlflow_model("m");
    app.mlflow_version("m");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_name = format!(r#"{{"name": {deep}}}"#);
    for (method, call) in WRITES {
        for body in [
            "",
            "{bad",
            "null",
            "[]",
            "5",
            "true",
            "\"x\"",
            "\"[1]\"",
            &deep,
            &deep_name,
            r#"{"name": 5}"#,
            r#"{"name": {}}"#,
            r#"{"name": ""}"#,
            r#"{"name": "  "}"#,
            r#"{"name": "a/b", "new_name": "c", "version": "1", "key": "k", "alias": "a", "source": "s3://b", "stage": "None"}"#,
            r#"{"name": "a:b", "new_name": "c", "version": "1", "key": "k", "alias": "a", "source": "s3://b", "stage": "None"}"#,
            r#"{"name": "..", "new_name": "c", "version": "1", "key": "k", "alias": "a", "source": "s3://b", "stage": "None"}"#,
            r#"{"$serde_json::private::Number": "1"}"#,
            "\u{feff}{\"name\": \"m\"}",
        ] {
            let shown: String = body.chars().take(80).collect();
            let path = format!("{PREFIX}/{call}");
            let answer = app.send(method, &path, "Content-Type: application/json\r\n", body);
            let message = answer.mlflow_error(400, "INVALID_PARAMETER_VALUE");
            assert!(message.len() < 1_000, "{method} {call} {shown}");
        }
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
            let header = format!("Content-Type: {content_type}\r\n");
            let answer = app.send(method, format!("{PREFIX}/{call}"), header, r#"{"name": "m"}"#);
            let message = answer.mlflow_error(400, "INVALID_PARAMETER_VALUE");
            assert!(message.contains("Content-Type"), "{method} {call} {content_type:?}: {message}");
        }
    }
    assert_eq!(app.mlflow_get("m", "1")["version"], "1", "nothing was changed");
}

#[test]
fn a_query_at_fault_is_refused_by_every_call() {
    let app = TestApp::spawn();
    for call in READS {
        for query in
            ["", "?", "?name=", "?name=%FF%00", "?name=a/b", "?nam=m", "?name=x&version=abc&alias=a%20b"]
        {
            let answer = app.get(&format!("{PREFIX}/{call}{query}"));
            let is_search = call.ends_with("search");
            let expected: &[u16] = if is_search { &[200] } else { &[400, 404] };
            assert!(expected.contains(&answer.status), "{call}{query}: {}", answer.text);
            if !is_search {
                assert!(answer.json()["error_code"].is_string(), "{call}{query}: {}", answer.text);
            }
        }
    }
}

#[test]
fn values_out_of_their_limits_are_refused() {
    let app = TestApp::spawn();
    app.mlflow_model("m");
    app.mlflow_version("m");
    let long = "x".repeat(100_001);
    let of_model = |value: serde_json::Value| {
        let mut body = json!({"name": "m"});
        body.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        body
    };
    for (method, call, arguments) in [
        ("POST", "registered-models/set-tag", json!({"key": "k", "value": long})),
        ("POST", "registered-models/set-tag", json!({"key": "k".repeat(251), "value": ""})),
        ("POST", "registered-models/set-tag", json!({"key": "a@b", "value": ""})),
        ("POST", "registered-models/set-tag", json!({"key": "k", "value": 7})),
        ("POST", "model-versions/set-tag", json!({"version": "1", "key": "k", "value": long})),
        ("POST", "model-versions/set-tag", json!({"version": "x", "key": "k", "value": "v"})),
        ("POST", "model-versions/create", json!({"source": "s3://b", "tags": [{"key": "k", "value": long}]})),
        ("POST", "model-versions/create", json!({"source": "s3://b/../c"})),
        ("POST", "model-versions/create", json!({"source": "runs:/r/p"})),
        ("POST", "model-versions/create", json!({"source": "models:/m-1"})),
        ("POST", "model-versions/create", json!({"source": "models:/m"})),
        ("POST", "model-versions/create", json!({"source": "s3://b", "run_id": "r", "runId": "r"})),
        ("POST", "model-versions/create", json!({"source": "  "})),
        ("POST", "model-versions/transition-stage", json!({"version": "1", "stage": "live"})),
        ("POST", "model-versions/transition-stage", json!({"version": 1, "stage": "Staging"})),
        (
            "POST",
            "model-versions/transition-stage",
            json!({"version": "1", "stage": "Archived", "archive_existing_versions": true}),
        ),
        ("POST", "registered-models/alias", json!({"alias": "latest", "version": "1"})),
        ("POST", "registered-models/alias", json!({"alias": "v1", "version": "1"})),
        ("POST", "registered-models/alias", json!({"alias": "a b", "version": "1"})),
        ("POST", "registered-models/alias", json!({"alias": "a".repeat(256), "version": "1"})),
        ("POST", "registered-models/rename", json!({"new_name": "n".repeat(2_000)})),
        ("POST", "registered-models/get-latest-versions", json!({"stages": ["live"]})),
    ] {
        let answer = app.mlflow(method, call, of_model(arguments));
        answer.mlflow_error(400, "INVALID_PARAMETER_VALUE");
    }
    for number in ["0", "-1", "99999999999999999999", "2"] {
        let answer = app.mlflow("GET", "model-versions/get", json!({"name": "m", "version": number}));
        answer.mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
    }
    let large = format!(r#"{{"name": "m", "key": "k", "value": "{}"}}"#, "x".repeat(3 << 20));
    let path = format!("{PREFIX}/registered-models/set-tag");
    let answer = app.send("POST", path, "Content-Type: application/json\r\n", large);
    answer.mlflow_error(413, "INVALID_PARAMETER_VALUE");
}

#[test]
fn a_tag_of_the_longest_value_is_taken_in_any_alphabet_by_both_apis() {
    let app = TestApp::spawn();
    app.mlflow_model("m");
    app.mlflow_version("m");
    let escaped =
        format!(r#"{{"name": "m", "version": "1", "key": "k", "value": "{}"}}"#, "\\u6a21".repeat(100_000));
    let path = format!("{PREFIX}/model-versions/set-tag");
    app.send("POST", path, "Content-Type: application/json\r\n", escaped).ok();
    let shown = app.mlflow_get("m", "1")["tags"][0]["value"].as_str().unwrap().chars().count();
    assert_eq!(shown, 100_000);
    let value = "é".repeat(100_000);
    for path in ["/v1/models/m/tags/long", "/v1/models/m/versions/1/tags/long"] {
        app.request("PUT", path, &[], Some(&json!({"value": value}).to_string())).ok();
        let longer = json!({"value": format!("{value}x")}).to_string();
        assert_eq!(app.request("PUT", path, &[], Some(&longer)).status, 400);
    }
    let model = json!({"name": "n", "tags": {"long": value}});
    assert_eq!(app.post("/v1/models", &model).status, 201);
    let events = app.get("/v1/events?type=set_tag&limit=500").ok();
    assert!(events.to_string().len() < 10_000, "the trail keeps the size of a long value");
}

#[test]
fn unknown_paths_and_methods_have_errors_of_mlflow() {
    let app = TestApp::spawn();
    for prefix in [PREFIX, "/ajax-api/2.0/mlflow", "/api/3.0/mlflow"] {
        app.get(&format!("{prefix}/registered-models/nope")).mlflow_error(404, "ENDPOINT_NOT_FOUND");
    }
    app.get(&format!("{PREFIX}/registered-models/create")).mlflow_error(405, "BAD_REQUEST");
    assert!(app.get("/v1/nope").json()["error"].is_object());
    assert!(app.get("/api/nope").json()["detail"].is_string(), "other APIs have their own paths there");
}

#[test]
fn a_key_is_taken_as_a_password_here_only_and_none_configured_is_no_5xx() {
    let app = TestApp::spawn();
    // `anyone:test-key`, `test-key:wrong`, `a:b:test-key` and what is no password.
    for (credentials, status) in [
        ("Basic YW55b25lOnRlc3Qta2V5", 200),
        ("basic YW55b25lOnRlc3Qta2V5", 200),
        ("Bearer test-key", 200),
        ("Basic dGVzdC1rZXk6d3Jvbmc=", 401),
        ("Basic YTpiOnRlc3Qta2V5", 401),
        ("Basic !!", 401),
        ("Basic ", 401),
        ("Negotiate x", 401),
    ] {
        let headers = [("X-API-Key", ""), ("Authorization", credentials)];
        let call = |path: &str| app.request("GET", path, &headers, None);
        let answer = call(&format!("{PREFIX}/registered-models/search"));
        assert_eq!(answer.status, status, "{credentials}: {}", answer.text);
        if status == 401 {
            let message = answer.mlflow_error(401, "UNAUTHENTICATED");
            assert!(
                ["MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"]
                    .iter()
                    .all(|name| message.contains(name))
            );
        }
        let elsewhere = call("/v1/whoami").status;
        assert_eq!(elsewhere == 200, credentials.starts_with("Bearer"), "{credentials}");
    }
    if over_postgres() {
        return;
    }
    let app = TestApp::with(|settings| settings.http.keys = Keys::of(Vec::<&str>::new()));
    app.get(&format!("{PREFIX}/registered-models/search")).mlflow_error(401, "UNAUTHENTICATED");
    assert_eq!(app.get("/api/3.0/mlflow/server-info").status, 200);
    assert_eq!(app.get("/version").text, "3.17.2");
}
