//! The rules of this registry hold for MLflow's users too, and its trail says what they did.

use serde_json::{Value, json};

use crate::support::TestApp;

/// Returns a server whose production needs scores of a suite, with a model of two versions, of which the first has them.
fn gated() -> TestApp {
    let app = TestApp::with(|settings| settings.rules.gate.required_suite = Some("smoke".to_owned()));
    app.mlflow_model("m");
    app.mlflow_version("m");
    app.mlflow_version("m");
    let scores = json!({"suite": "smoke", "metrics": {"score": 0.9}});
    assert_eq!(app.post("/models/1/metrics", &scores).status, 200);
    app
}

#[test]
fn no_way_into_production_passes_by_the_gate() {
    let app = gated();
    let alias = json!({"name": "m", "alias": "production", "version": "2"});
    for refused in [
        app.transition("2", "Production", false),
        app.transition("2", "production", true),
        app.mlflow("POST", "registered-models/alias", alias),
    ] {
        let message = refused.mlflow_error(409, "RESOURCE_CONFLICT");
        assert!(message.contains("smoke"), "{message}");
    }
    assert_eq!(app.mlflow_get("m", "2")["current_stage"], "None");
    app.transition("1", "Production", true).ok();
    assert_eq!(app.mlflow_get("m", "1")["current_stage"], "Production");
}

#[test]
fn one_version_is_in_production_and_the_one_before_is_archived_or_goes_to_staging() {
    let app = TestApp::spawn();
    app.mlflow_model("m");
    (0..3).for_each(|_| drop(app.mlflow_version("m")));
    app.transition("1", "Production", false).ok();
    app.transition("2", "Production", false).ok();
    assert_eq!(app.mlflow_get("m", "1")["current_stage"], "Staging");
    app.transition("3", "Production", true).ok();
    assert_eq!(app.mlflow_get("m", "2")["current_stage"], "Archived");
    assert_eq!(app.mlflow_get("m", "1")["current_stage"], "Staging", "only production was replaced");

    let events = app.get("/v1/events?model=m&limit=500").ok()["events"].clone();
    let shown: Vec<String> = events
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|event| format!("{} {} {}", event["version"], event["type"], event["payload"]["to"]))
        .filter(|event| event.contains("promote") || event.contains("demote"))
        .collect();
    assert_eq!(
        shown,
        [
            r#"1 "promote" "production""#,
            r#"1 "auto_demote" "staging""#,
            r#"2 "promote" "production""#,
            r#"2 "auto_demote" "archived""#,
            r#"3 "promote" "production""#,
        ]
    );
    assert!(events.as_array().unwrap().iter().all(|event| event["actor"] == "key:test…"), "{events}");
    let history = app.get("/v1/models/m/history?alias=production").ok()["history"].clone();
    let holders: Vec<_> = history.as_array().unwrap().iter().map(|held| held["version"].clone()).collect();
    assert_eq!(holders, [3, 2, 1]);
    app.post("/v1/models/m/rollback", &json!({"reason": "worse"})).ok();
    assert_eq!(app.mlflow_get("m", "2")["current_stage"], "Production");
}

#[test]
fn the_alias_production_is_the_stage() {
    let app = TestApp::spawn();
    app.mlflow_model("m");
    app.mlflow_version("m");
    let set = json!({"name": "m", "alias": "production", "version": "1"});
    app.mlflow("POST", "registered-models/alias", set).ok();
    let version = app.mlflow_get("m", "1");
    assert_eq!((&version["current_stage"], &version["aliases"]), (&json!("Production"), &Value::Null));
    let named = json!({"name": "m", "alias": "production"});
    let held = app.mlflow("GET", "registered-models/alias", named.clone()).ok();
    assert_eq!(held["model_version"]["version"], "1");
    for _ in 0..2 {
        app.mlflow("DELETE", "registered-models/alias", named.clone()).ok();
    }
    assert_eq!(app.mlflow_get("m", "1")["current_stage"], "Staging");
    app.mlflow("GET", "registered-models/alias", named).mlflow_error(400, "INVALID_PARAMETER_VALUE");
}

#[test]
fn what_is_in_production_is_deleted_only_if_the_server_allows_it() {
    for is_protected in [true, false] {
        let app = TestApp::with(|settings| {
            assert!(settings.rules.protect_production, "by default");
            settings.rules.protect_production = is_protected;
        });
        app.mlflow_model("m");
        app.mlflow_version("m");
        app.mlflow_version("m");
        app.transition("1", "Production", false).ok();
        let delete_version =
            || app.mlflow("DELETE", "model-versions/delete", json!({"name": "m", "version": "1"}));
        let delete_model = || app.mlflow("DELETE", "registered-models/delete", json!({"name": "m"}));
        if is_protected {
            for refused in [delete_version(), delete_model()] {
                let message = refused.mlflow_error(409, "RESOURCE_CONFLICT");
                assert!(message.contains("--protect-production"), "{message}");
            }
            app.transition("1", "None", false).ok();
        }
        delete_version().ok();
        assert_eq!(app.post("/v1/models/m/versions/1/restore", &json!({})).status, 200, "it is in the trash");
        delete_model().ok();
        assert_eq!(app.get("/v1/models/m").status, 404);
    }
}

#[test]
fn a_frozen_version_is_deleted_by_no_mlflow_user() {
    let app = TestApp::with(|settings| settings.rules.protect_production = false);
    app.mlflow_model("m");
    app.mlflow_version("m");
    app.patch(1, &json!({"frozen": true})).ok();
    for (call, arguments) in [
        ("model-versions/delete", json!({"name": "m", "version": "1"})),
        ("registered-models/delete", json!({"name": "m"})),
    ] {
        app.mlflow("DELETE", call, arguments).mlflow_error(409, "RESOURCE_CONFLICT");
    }
}
