//! `PATCH /models/{id}`: what changes, its events, and what is immutable.

use serde_json::{Value, json};

use crate::support::TestApp;

/// Every field that may be given but the local paths, with a value, in the order of the audit trail.
fn fields() -> Vec<(&'static str, Value)> {
    vec![
        ("status", json!("archived")),
        ("artifact_uri", json!("s3://new")),
        ("checkpoint_sha256", json!("c".repeat(64))),
        ("checkpoint_size_bytes", json!(0)),
        ("config_sha256", json!("d".repeat(64))),
        ("config_size_bytes", json!(9)),
        ("run_id", json!("r")),
        ("git_commit", json!("g")),
        ("created_by", json!("ann")),
        ("source_host", json!("h")),
        ("frozen", json!(true)),
        ("d_model", json!(1)),
        ("n_layers", json!(2)),
        ("n_heads", json!(3)),
        ("vocab_size", json!(4)),
        ("params", json!(5)),
        ("training_step", json!(6)),
        ("training_loss", json!(0.5)),
        ("dataset", json!("ds")),
        ("description", json!("d")),
        ("tags", json!(["t"])),
        ("metrics", json!({"k": 1.0})),
    ]
}

const FREE: [&str; 8] =
    ["status", "frozen", "training_step", "training_loss", "dataset", "description", "tags", "metrics"];

/// `model` without its `updated_at`, and with `field` as given.
fn with(model: &Value, field: &str, value: &Value) -> Value {
    let mut model = model.clone();
    model["updated_at"] = json!(null);
    model[field] = value.clone();
    model
}

#[test]
fn each_field_changes_alone_and_is_named_in_the_event() {
    let app = TestApp::spawn();
    for (version, (field, value)) in fields().into_iter().enumerate() {
        let id = app.register("m", &version.to_string());
        let before = app.model(id);
        let changed = app.patch(id, &json!({field: value})).ok();
        assert_eq!(with(&changed, "updated_at", &json!(null)), with(&before, field, &value), "{field}");
        assert!(changed["updated_at"].as_str() > before["updated_at"].as_str(), "{field}");
        assert_eq!(app.model(id), changed, "{field}");
        assert_eq!(app.event_types(id), ["create", "update"]);
        assert_eq!(app.last_payload(id).to_string(), format!(r#"{{"updated_fields":["{field}"]}}"#));
    }
}

#[test]
fn fields_are_named_in_a_fixed_order_regardless_of_the_order_sent() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let body: serde_json::Map<_, _> =
        fields().into_iter().rev().map(|(field, value)| (field.to_owned(), value)).collect();
    let changed = app.patch(id, &Value::Object(body)).ok();
    let names: Vec<_> = fields().into_iter().map(|(field, _)| field).collect();
    assert_eq!(app.last_payload(id)["updated_fields"], json!(names));
    for (field, value) in fields() {
        assert_eq!(changed[field], value, "{field}");
    }
}

#[test]
fn an_empty_patch_changes_nothing_and_makes_no_event() {
    let app = TestApp::spawn();
    let id = app.register_with("m", "1", &json!({"description": "d", "tags": ["t"], "params": 1}));
    let frozen = app.register_with("m", "2", &json!({"frozen": true}));
    let before = app.everything();
    let nulls: serde_json::Map<_, _> =
        fields().into_iter().map(|(field, _)| (field.to_owned(), json!(null))).collect();
    for body in [
        json!({}),
        Value::Object(nulls),
        json!({"checkpoint_path": null, "config_path": null}),
        json!({"checkpoint_sha256": " "}),
    ] {
        for id in [id, frozen] {
            assert_eq!(app.patch(id, &body).ok(), app.model(id), "{body}");
        }
    }
    assert_eq!(app.everything(), before);
}

#[test]
fn a_patch_that_repeats_the_present_value_is_still_a_change() {
    let app = TestApp::spawn();
    let id = app.register_with("m", "1", &json!({"description": "d"}));
    let before = app.model(id);
    let after = app.patch(id, &json!({"description": "d"})).ok();
    assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    assert_eq!(app.event_types(id), ["create", "update"]);
}

#[test]
fn tags_and_metrics_are_replaced_whole_and_may_become_empty() {
    let app = TestApp::spawn();
    let id = app.register_with("m", "1", &json!({"tags": ["a", "b"], "metrics": {"x": 1, "y": 2}}));
    let model = app.patch(id, &json!({"tags": ["c"], "metrics": {"y": 3}})).ok();
    assert_eq!((&model["tags"], &model["metrics"]), (&json!(["c"]), &json!({"y": 3})));
    let model = app.patch(id, &json!({"tags": [], "metrics": {}})).ok();
    assert_eq!((&model["tags"], &model["metrics"]), (&json!([]), &json!({})));
    assert_eq!(app.model(id), model);
    assert_eq!(app.last_payload(id)["updated_fields"], json!(["tags", "metrics"]));
}

#[test]
fn metrics_that_do_not_mention_suites_keep_them() {
    let app = TestApp::spawn();
    let id = app.register_with("m", "1", &json!({"metrics": {"x": 1}}));
    let suites = app.record(id, "s", json!({"score": 0.5})).ok()["metrics"]["suites"].clone();
    let metrics = |body: Value| app.patch(id, &json!({"metrics": body})).ok()["metrics"].clone();
    assert_eq!(metrics(json!({"y": 2})), json!({"y": 2, "suites": suites}));
    assert_eq!(metrics(json!({})), json!({"suites": suites}));
    assert_eq!(app.model(id)["metrics"], json!({"suites": suites}));
    assert_eq!(metrics(json!({"suites": {"t": {}}})), json!({"suites": {"t": {}}}));
    assert_eq!(metrics(json!({"suites": null, "z": 3})), json!({"suites": null, "z": 3}));
}

#[test]
fn uris_are_trimmed_digests_made_bare_and_numbers_in_strings_accepted() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let model = app
        .patch(
            id,
            &json!({
                "artifact_uri": " s3://new ", "checkpoint_sha256": format!("SHA256:{}", "C".repeat(64)),
                "params": " 12 ", "training_loss": "0.5", "frozen": "no",
            }),
        )
        .ok();
    assert_eq!(model["artifact_uri"], "s3://new");
    assert_eq!(model["checkpoint_sha256"], "c".repeat(64));
    assert_eq!((&model["params"], &model["training_loss"]), (&json!(12), &json!(0.5)));
    assert_eq!(model["frozen"], false);
}

#[test]
fn a_patch_with_an_invalid_value_is_refused_whole() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let before = app.everything();
    for (field, value) in [
        ("artifact_uri", json!("")),
        ("artifact_uri", json!(" \t")),
        ("checkpoint_path", json!("")),
        ("checkpoint_path", json!(" ")),
        ("config_path", json!(" ")),
        ("checkpoint_path", json!("/etc/hostname")),
        ("config_path", json!("/etc/hostname")),
        ("checkpoint_size_bytes", json!(-1)),
        ("config_size_bytes", json!(-1)),
        ("checkpoint_sha256", json!("xyz")),
        ("config_sha256", json!("0")),
    ] {
        let detail = app.patch(id, &json!({"description": "d", field: value})).refused(400);
        assert!(detail.contains(field), "{field}: {detail}");
    }
    for field in ["name", "version", "config_json", "id", "created_at", "updated_at", "local_checkpoint_path"]
    {
        app.patch(id, &json!({"description": "d", field: {}}))
            .faults(&[("extra_forbidden", &format!(r#"["body","{field}"]"#))]);
    }
    app.patch(id, &json!({"status": "live"})).faults(&[("literal_error", r#"["body","status"]"#)]);
    assert_eq!(app.everything(), before);
    app.patch(999, &json!({"description": "d"})).refused(404);
}

#[test]
fn an_immutable_version_accepts_changes_of_free_fields_only() {
    let app = TestApp::spawn();
    let frozen = app.register_with("frozen", "1", &json!({"frozen": true}));
    let production = app.register_with("production", "1", &json!({"status": "production"}));
    for (id, why) in [(frozen, "frozen"), (production, "in production")] {
        // Status last: it would make the version mutable.
        for (field, mut value) in fields().into_iter().rev() {
            if field == "frozen" && id == production {
                value = json!(false);
            }
            let before = app.model(id);
            let answer = app.patch(id, &json!({field: value, "description": "d"}));
            if FREE.contains(&field) {
                assert_eq!(answer.ok()[field], value);
                continue;
            }
            let detail = answer.refused(409);
            assert!(detail.contains(field) && detail.contains(why), "{detail}");
            assert!(!detail.contains("description"), "{detail}");
            assert_eq!(app.model(id), before, "{field}");
        }
        assert_eq!(app.events(id).len(), 1 + FREE.len());
        if id == frozen {
            assert_eq!(app.model(id)["status"], "archived", "a frozen version may still move");
        }
    }
}

#[test]
fn a_local_path_is_immutable_too() {
    let app = TestApp::with(|settings| settings.rules.allow_local_paths = true);
    let id = app.register_with("m", "1", &json!({"frozen": true}));
    let before = app.everything();
    let path = app.db_path().with_file_name("model.pt");
    std::fs::write(&path, "bytes").unwrap();
    for field in ["checkpoint_path", "config_path"] {
        let detail = app.patch(id, &json!({field: path})).refused(409);
        assert!(detail.contains(&format!("local_{field}")), "{detail}");
    }
    assert_eq!(app.everything(), before);
}

#[test]
fn frozen_is_permanent_and_does_not_end_with_production() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    app.patch(id, &json!({"frozen": false})).ok();
    // What is given together with it is still free.
    app.patch(id, &json!({"frozen": true, "run_id": "r"})).ok();
    for thaw in [json!(false), json!("off"), json!(0)] {
        let detail = app.patch(id, &json!({"frozen": thaw, "description": "d"})).refused(409);
        assert!(detail.contains("frozen"), "{detail}");
    }
    app.patch(id, &json!({"frozen": true})).ok();
    app.patch(id, &json!({"status": "production"})).ok();
    app.patch(id, &json!({"status": "staging"})).ok();
    app.patch(id, &json!({"run_id": "other"})).refused(409);
    let model = app.model(id);
    assert_eq!((&model["frozen"], &model["run_id"]), (&json!(true), &json!("r")));
    assert_eq!(model["description"], json!(null));
}

#[test]
fn a_version_that_leaves_production_is_open_again_but_not_in_the_same_request() {
    let app = TestApp::spawn();
    let id = app.register_with("m", "1", &json!({"status": "production"}));
    app.patch(id, &json!({"status": "staging", "run_id": "r"})).refused(409);
    assert_eq!(app.model(id)["status"], "production");
    app.patch(id, &json!({"status": "staging"})).ok();
    assert_eq!(app.patch(id, &json!({"run_id": "r"})).ok()["run_id"], "r");
}

#[test]
fn a_status_changed_through_patch_is_an_update() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    for status in ["staging", "production", "archived", "experimental"] {
        assert_eq!(app.patch(id, &json!({"status": status})).ok()["status"], status);
        assert_eq!(app.last_payload(id), json!({"updated_fields": ["status"]}));
        assert_eq!(app.ids(&format!("/models/status/{status}")), [id]);
    }
}
