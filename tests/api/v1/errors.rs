//! Errors under `/v1` have one form, whichever layer answers.

use serde_json::{Value, json};

use crate::support::{TestApp, over_postgres};

use super::version;

#[test]
fn errors_before_a_handler_have_the_form_of_v1_too() {
    let app = TestApp::with(|settings| settings.http.max_write_body_bytes = 100);
    let anonymous = app.request("GET", "/v1/models", &[("X-API-Key", "")], None);
    anonymous.error(401, "unauthorized");
    assert_eq!(anonymous.header("www-authenticate"), Some("Bearer"));
    app.get("/v1/nothing").error(404, "not_found");
    app.get("/v1/models/m/nothing/at/all").error(404, "not_found");
    let put = app.v1("PUT", "/v1/models", json!({}));
    put.error(405, "method_not_allowed");
    assert_eq!(put.header("allow"), Some("GET, HEAD, POST"));
    let large = json!({"name": "x".repeat(200)});
    app.v1("PUT", "/v1/models/m/aliases/a", large.clone()).error(413, "too_large");
    app.request("GET", "/v1/models", &[("Host", "elsewhere")], None).error(421, "misdirected");
    for _ in 0..100 {
        app.request("GET", "/v1/models", &[("X-API-Key", "wrong-key")], None);
    }
    let throttled = app.request("GET", "/v1/models", &[("X-API-Key", "another-wrong-key")], None);
    throttled.error(429, "too_many_requests");
    assert!(throttled.header("retry-after").is_some());

    // The frozen API keeps its form.
    app.get("/nothing").refused(404);
    app.get("/v1x").refused(404);
    app.get("/v1").error(404, "not_found");
    app.post("/models", &large).refused(413);
}

#[test]
fn a_path_with_needless_escapes_is_the_same_api() {
    let app = TestApp::spawn();
    app.get("/%761/models?nonsense=1").unfit(&["nonsense"]);
    app.get("/%76%31/models/none").error(404, "not_found");
}

#[test]
fn a_locked_database_and_a_panic_are_told_apart() {
    let app =
        TestApp::with(|settings| settings.database.store.busy_timeout = std::time::Duration::from_millis(50));
    app.add("m", "1");
    app.clock.panic_once();
    let failed = app.v1("PATCH", &version("m", 1), json!({"params": 1}));
    let message = failed.error(500, "internal");
    assert!(message.contains(failed.header("x-request-id").unwrap()), "{message}");
    if over_postgres() {
        return;
    }
    let other = app.other_process();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = app.v1("PATCH", &version("m", 1), json!({"params": 1}));
    locked.error(503, "unavailable");
    assert!(locked.header("retry-after").is_some());
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(app.get(&version("m", 1)).ok()["params"], Value::Null);
}

#[test]
fn all_faults_are_counted_and_a_thousand_listed() {
    let app = TestApp::spawn();
    let body: serde_json::Map<_, _> = (0..2_000).map(|at| (format!("f{at}"), json!(1))).collect();
    let answer = app.v1("POST", "/v1/models", Value::Object(body));
    let message = answer.error(422, "invalid");
    assert!(message.contains("2001 invalid values"), "{message}");
    assert_eq!(answer.json()["error"]["fields"].as_array().unwrap().len(), 1_000);
}
