//! How versions get their numbers, labels and locations, and what other APIs show of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{TestApp, at_once};

const CLIENTS: usize = 64;

#[test]
fn many_clients_at_once_get_each_number_once() {
    let app = TestApp::spawn();
    app.mlflow_model("m");
    let numbers = at_once(CLIENTS, |_| {
        let version = app.mlflow_version("m");
        version["version"].as_str().unwrap().parse::<usize>().unwrap()
    });
    let each_once: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(each_once.len(), CLIENTS, "none twice: {numbers:?}");
    assert_eq!(each_once, (1..=CLIENTS).collect(), "none left out");
    let model = app.get("/v1/models/m").ok();
    assert_eq!((&model["versions"], &model["latest"]), (&json!(CLIENTS), &json!(CLIENTS)));
}

#[test]
fn a_version_of_either_api_shows_in_the_other() {
    let app = TestApp::spawn();
    let native = json!({"name": "m", "version": "2", "artifact_uri": "s3://b/n", "tags": ["t"]});
    app.post("/models", &native).ok();
    let shown = app.mlflow_get("m", "1");
    assert_eq!(shown["tags"], json!([{"key": "registry.label", "value": "2"}, {"key": "t", "value": ""}]));
    assert_eq!((&shown["source"], &shown["description"]), (&json!("s3://b/n"), &Value::Null));

    // The label 2 is taken, so the version with the number 2 has another one.
    let created = app.mlflow_version("m");
    assert_eq!(created["version"], "2");
    assert_eq!(created["tags"], json!([{"key": "registry.label", "value": "2-2"}]));
    assert_eq!(app.mlflow_version("m")["tags"], Value::Null);
    let version = app.get("/v1/models/m/versions/3").ok();
    assert_eq!((&version["label"], &version["artifact_uri"]), (&json!("3"), &json!("s3://b/m")));
    assert_eq!(version["created_by"], "key:test…");
    let set = json!({"name": "m", "version": "3", "key": "team", "value": "nlp"});
    app.mlflow("POST", "model-versions/set-tag", set).ok();
    assert_eq!(app.get("/v1/models/m/versions/3").ok()["tags"], json!({"team": "nlp"}));
}

#[test]
fn a_model_that_is_created_again_counts_anew_and_the_deleted_one_stays_in_the_trash() {
    let app = TestApp::spawn();
    for _ in 0..2 {
        app.mlflow_model("m");
        for number in ["1", "2"] {
            let version = app.mlflow_version("m");
            assert_eq!((&version["version"], &version["tags"]), (&json!(number), &Value::Null));
        }
        app.mlflow("DELETE", "registered-models/delete", json!({"name": "m"})).ok();
    }
    assert_eq!(app.get("/v1/models?deleted=true").ok()["models"].as_array().unwrap().len(), 2);
    assert_eq!(app.post("/v1/models", &json!({"name": "m"})).status, 201);
    let version = json!({"label": "x", "artifact_uri": "s3://b/x"});
    let version = app.post("/v1/models/m/versions", &version).json();
    assert_eq!(version["number"], 3, "created through /v1, it goes on");
}

#[test]
fn sources_on_the_disk_of_a_client_are_kept_and_copies_survive_what_they_copy() {
    let app = TestApp::spawn();
    app.mlflow_model("m");
    app.mlflow_model("n");
    for (source, more) in [
        ("/abs/mlruns/0/artifacts/model", json!({"run_id": "r"})),
        ("file:///tmp/model", json!({})),
        ("models:/m-0123", json!({"model_id": "m-0123"})),
    ] {
        let mut body = json!({"name": "m", "source": source});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let created = app.mlflow("POST", "model-versions/create", body).ok()["model_version"].clone();
        assert_eq!(created["source"], source);
        let copy =
            json!({"name": "n", "source": format!("models:/m/{}", created["version"].as_str().unwrap())});
        let copy = app.mlflow("POST", "model-versions/create", copy).ok()["model_version"].clone();
        let named = json!({"name": "m", "version": created["version"]});
        app.mlflow("DELETE", "model-versions/delete", named).ok();
        let named = json!({"name": "n", "version": copy["version"]});
        let location = app.mlflow("GET", "model-versions/get-download-uri", named).ok();
        assert_eq!(location["artifact_uri"], source);
    }
    let missing = json!({"name": "n", "source": "models:/m/latest"});
    app.mlflow("POST", "model-versions/create", missing).mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
}

#[test]
fn the_newest_versions_are_found_without_reading_all() {
    let app = TestApp::spawn();
    app.mlflow_model("m");
    for _ in 0..4 {
        app.mlflow_version("m");
    }
    app.transition("2", "Staging", false).ok();
    app.transition("1", "Staging", false).ok();
    let latest = app.mlflow("POST", "registered-models/get-latest-versions", json!({"name": "m"})).ok();
    let mut found: Vec<_> = latest["model_versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| (version["current_stage"].as_str().unwrap(), version["version"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("None", "4"), ("Staging", "2")]);
}
