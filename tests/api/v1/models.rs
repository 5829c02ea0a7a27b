//! Registered models: create, list, change, rename, delete and restore.

use serde_json::{Value, json};

use crate::support::TestApp;

use super::{each, model, version};

#[test]
fn a_model_is_created_read_and_changed() {
    let app = TestApp::spawn();
    app.clock.stop_at(1_769_864_709_250);
    let body = json!({"name": "m", "description": "d", "tags": {"team": "nlp", "old": ""}});
    let created = app.v1("POST", "/v1/models", body.clone()).created();
    assert_eq!(
        created.to_string(),
        json!({
            "name": "m", "description": "d", "tags": {"old": "", "team": "nlp"}, "versions": 0, "latest": null, "aliases": {},
            "created_at": "2026-01-31T13:05:09.250Z", "updated_at": "2026-01-31T13:05:09.250Z",
        })
        .to_string()
    );
    assert_eq!(app.get("/v1/models/m").ok(), created);
    app.v1("POST", "/v1/models", body).error(409, "conflict");

    let changes = json!({"description": null, "tags": {"team": "search", "old": null, "new": "x"}});
    let changed = app.v1("PATCH", "/v1/models/m", changes).ok();
    assert_eq!(changed["description"], Value::Null);
    assert_eq!(changed["tags"], json!({"new": "x", "team": "search"}));
    assert_eq!(changed["updated_at"], "2026-01-31T13:05:09.251Z");
    let tagged = app.v1("PUT", "/v1/models/m/tags/a%2Fb", json!({"value": "1"})).ok();
    assert_eq!(tagged["tags"]["a/b"], "1");
    let untagged = app.v1("DELETE", "/v1/models/m/tags/a%2Fb", Value::Null).ok();
    assert_eq!(untagged["tags"], changed["tags"]);
    let again = app.v1("DELETE", "/v1/models/m/tags/a%2Fb", Value::Null).ok();
    assert_eq!(again, untagged, "an absent tag is no error and no change");

    let types = ["create_model", "update_model", "update_model", "update_model"];
    let trail = app.trail("model=m");
    assert_eq!(each(&json!(trail), "type"), types);
    assert_eq!(trail[1]["before"]["description"], "d");
    assert_eq!(trail[1]["after"]["tags"]["team"], "search");
}

#[test]
fn the_first_version_creates_its_model_and_the_model_counts_its_versions() {
    let app = TestApp::spawn();
    app.add("m", "a");
    app.add("m", "b");
    app.set_alias("m", "champion", json!({"version": 1})).ok();
    app.set_alias("m", "production", json!({"version": 2})).ok();
    let summary = app.get("/v1/models/m").ok();
    assert_eq!((&summary["versions"], &summary["latest"]), (&json!(2), &json!(2)));
    assert_eq!(summary["aliases"], json!({"champion": 1, "production": 2}));
    assert_eq!(app.get("/v1/models/m/aliases").ok(), json!({"aliases": {"champion": 1, "production": 2}}));
    // A version of the frozen API gets a number too.
    let id = app.register("m", "c");
    assert_eq!(app.get("/v1/models/m/versions/3").ok()["id"], id);
}

#[test]
fn models_are_listed_by_name_filtered_and_paged() {
    let app = TestApp::spawn();
    for (name, tag) in [("b", "nlp"), ("a", "nlp"), ("C", "vision"), ("ab", "")] {
        app.v1("POST", "/v1/models", json!({"name": name, "tags": {"team": tag}})).created();
    }
    app.v1("POST", "/v1/models", json!({"name": "untagged"})).created();
    for (query, names) in [
        ("", &["C", "a", "ab", "b", "untagged"][..]),
        ("q=B", &["ab", "b"]),
        ("tag=team", &["C", "a", "ab", "b"]),
        ("tag=team%3Dnlp", &["a", "b"]),
        ("tag=team%3D", &["ab"]),
        ("q=a&tag=team%3Dnlp", &["a"]),
        ("q=%25", &[]),
        ("deleted=true", &[]),
    ] {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = app.get(&format!("/v1/models?limit=2&{query}{cursor}")).ok();
            let models = page["models"].as_array().unwrap();
            assert!(models.len() <= 2);
            found.extend(each(&page["models"], "name"));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, names, "{query}");
    }
}

#[test]
fn a_page_of_models_with_very_large_tags_ends_early_and_goes_on() {
    let app = TestApp::with(|settings| settings.http.max_write_body_bytes = 4_000_000);
    let tags: serde_json::Map<_, _> = (0..100).map(|at| (at.to_string(), json!("x".repeat(8_000)))).collect();
    for name in ["a", "b", "c", "d"] {
        app.v1("POST", "/v1/models", json!({"name": name, "tags": tags})).created();
    }
    let first = app.get("/v1/models").ok();
    assert_eq!(each(&first["models"], "name"), ["a", "b"]);
    let second = app.get(&format!("/v1/models?cursor={}", first["next"].as_str().unwrap())).ok();
    assert_eq!(
        (each(&second["models"], "name"), &second["next"]),
        (vec![json!("c"), json!("d")], &Value::Null)
    );
}

#[test]
fn a_new_name_goes_to_all_versions_and_the_old_one_is_free() {
    let app = TestApp::spawn();
    app.add("m", "1");
    app.set_alias("m", "production", json!({"version": 1})).ok();
    app.add("other", "1");
    app.v1("PATCH", "/v1/models/m", json!({"name": "other"})).error(409, "conflict");
    let renamed = app.v1("PATCH", "/v1/models/m", json!({"name": "org/m"})).ok();
    assert_eq!((&renamed["name"], &renamed["aliases"]), (&json!("org/m"), &json!({"production": 1})));
    app.get("/v1/models/m").error(404, "not_found");
    assert_eq!(app.get(&version("org/m", 1)).ok()["model"], "org/m");
    assert_eq!(app.get("/production/org%2Fm").ok()["name"], "org/m", "the frozen API sees it too");
    assert_eq!(app.add("m", "1"), 1, "a new model of the old name starts over");
    let trail = app.trail("model=org%2Fm");
    assert_eq!(trail.last().unwrap()["type"], "rename_model");
    assert_eq!(trail[0]["model"], "org/m", "events show the name of today");
}

#[test]
fn a_deleted_model_comes_back_with_its_versions() {
    let app = TestApp::spawn();
    app.v1("POST", "/v1/models", json!({"name": "m", "tags": {"k": "v"}})).created();
    app.add("m", "1");
    app.add("m", "2");
    app.v1("DELETE", &version("m", 2), Value::Null).ok();
    app.add("m", "3");
    app.set_alias("m", "production", json!({"version": 1})).ok();
    let message = app.v1("DELETE", "/v1/models/m", Value::Null).error(409, "conflict");
    assert!(message.contains("version with id 1") && message.contains("force=true"), "{message}");
    assert_eq!(app.v1("DELETE", "/v1/models/m?force=true", Value::Null).ok(), json!({"deleted": true}));
    app.get("/v1/models/m").error(404, "not_found");
    app.get(&version("m", 1)).error(404, "not_found");
    app.get("/models/1").refused(404);
    let trash = app.get("/v1/models?deleted=true").ok();
    assert_eq!(each(&trash["models"], "name"), ["m"]);
    assert!(trash["models"][0]["deleted_at"].is_string());
    assert_eq!(app.trail("model=m").last().unwrap()["type"], "delete_model", "its trail is still there");

    let restored = app.v1("POST", "/v1/models/m/restore", Value::Null).ok();
    assert_eq!((&restored["versions"], &restored["tags"]), (&json!(2), &json!({"k": "v"})));
    assert_eq!(restored.get("deleted_at"), None);
    assert_eq!(app.get(&version("m", 1)).ok()["status"], "staging", "it was in production");
    app.get(&version("m", 2)).error(404, "not_found");
    app.v1("POST", &format!("{}/restore", version("m", 2)), Value::Null).ok();
    app.v1("POST", "/v1/models/m/restore", Value::Null).error(404, "not_found");
    assert_eq!(app.add("m", "4"), 4);
}

#[test]
fn a_rename_does_not_give_the_labels_and_numbers_of_a_deleted_model_to_other_bytes() {
    let app = TestApp::spawn();
    app.add("m", "1");
    app.v1("DELETE", "/v1/models/m", json!({})).ok();
    app.add("other", "1");
    let before = app.everything();
    let message = app.v1("PATCH", "/v1/models/other", json!({"name": "m", "description": "d"}));
    let message = message.error(409, "conflict");
    assert_eq!(
        message,
        "a deleted model was named \"m\", and its labels and numbers stay spent; choose another name"
    );
    assert_eq!(app.everything(), before);
    app.v1("POST", "/v1/models/m/restore", Value::Null).ok();
    assert_eq!(app.get(&version("m", 1)).ok()["id"], 1);
}

#[test]
fn a_deleted_model_comes_back_only_if_its_name_is_free() {
    let app = TestApp::spawn();
    app.add("m", "1");
    app.v1("DELETE", "/v1/models/m", json!({})).ok();
    assert_eq!(app.add("m", "2"), 2, "no number is given out again");
    app.set_alias("m", "production", json!({"version": 2})).ok();
    app.v1("POST", "/v1/models/m/restore", Value::Null).error(409, "conflict");
    let trash = app.get("/v1/models?deleted=true").ok();
    assert_eq!((&trash["models"][0]["versions"], &trash["models"][0]["aliases"]), (&json!(1), &json!({})));
    app.v1("PATCH", "/v1/models/m", json!({"name": "n"})).ok();
    app.v1("POST", "/v1/models/m/restore", Value::Null).ok();
    assert_eq!(app.get(&version("m", 1)).ok()["id"], 1);
    assert_eq!(app.get(&version("n", 2)).ok()["id"], 2);
}

#[test]
fn a_model_changes_only_in_the_state_that_the_caller_has_seen() {
    let app = TestApp::spawn();
    app.add("m", "1");
    let tag = app.get("/v1/models/m").header("etag").unwrap().to_owned();
    // Versions and aliases are no part of that state.
    app.add("m", "2");
    app.set_alias("m", "champion", json!({"version": 1})).ok();
    let change = |description: &str, tag: &str| {
        let body = json!({ "description": description }).to_string();
        app.request("PATCH", &model("m"), &[("If-Match", tag)], Some(&body))
    };
    let changed = change("seen", &tag);
    assert_eq!(changed.status, 200, "{}", changed.text);
    change("late", &tag).error(412, "precondition_failed");
    assert_eq!(change("any", "*").status, 200);
    app.request("DELETE", "/v1/models/m", &[("If-Match", &tag)], None).error(412, "precondition_failed");
    let put = Some(r#"{"value": "x"}"#);
    app.request("PUT", "/v1/models/m/tags/k", &[("If-Match", &tag)], put).error(412, "precondition_failed");
    assert_eq!(app.get("/v1/models/m").ok()["description"], "any");
}

#[test]
fn what_is_not_there_or_not_allowed_is_refused() {
    let app = TestApp::spawn();
    app.get("/v1/models/none").error(404, "not_found");
    app.v1("PATCH", "/v1/models/none", json!({})).error(404, "not_found");
    app.v1("DELETE", "/v1/models/none", Value::Null).error(404, "not_found");
    app.v1("POST", "/v1/models/none/restore", Value::Null).error(404, "not_found");
    app.v1("PUT", "/v1/models/none/tags/k", json!({"value": ""})).error(404, "not_found");
    app.v1("DELETE", "/v1/models/none/tags/k", Value::Null).error(404, "not_found");
    app.get("/v1/models/none/versions").error(404, "not_found");
    app.get("/v1/models/none/aliases").error(404, "not_found");
    app.get("/v1/models/none/history").error(404, "not_found");
    for name in [String::new(), " \t".to_owned(), "x".repeat(1_025)] {
        app.v1("POST", "/v1/models", json!({ "name": name })).error(400, "invalid");
    }
    app.add("m", "1");
    let before = app.get("/v1/models/m").ok();
    let huge = "k".repeat(1 << 20);
    app.v1("PATCH", "/v1/models/m", json!({"tags": {"k": huge.repeat(3)}})).error(413, "too_large");
    let head = format!("PUT /v1/models/m/tags/{huge} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(app.exchange(head.as_bytes()).status, 431, "before its path is known");
    for changes in [
        json!({"name": " "}),
        json!({"tags": {" ": "x"}}),
        json!({"tags": {"k".repeat(1_025): "x"}}),
        json!({"tags": {"k": "x".repeat(100_001)}}),
    ] {
        app.v1("PATCH", "/v1/models/m", changes).error(400, "invalid");
    }
    assert_eq!(app.get("/v1/models/m").ok(), before);
}
