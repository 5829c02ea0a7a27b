//! Scores: merged suite by suite, digested, and written only over the state that was read.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Answer, TestApp, encoded};

const NOW: i64 = 1_769_864_709_250;

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[test]
fn suites_are_merged_key_by_key_and_the_rest_is_kept() {
    let app = TestApp::spawn();
    app.clock.stop_at(NOW);
    let id = app.register_with("m", "1", &json!({"metrics": {"loss": 1, "suites": {"old": {"a": 1}}}}));
    let path = format!("/models/{id}/metrics");
    app.post(
        &path,
        &json!({
            "suite": " smoke ", "metrics": {"a": 1, "score": 1.0}, "dataset": "d", "eval_commit": "c",
            "eval_config": {"k": [1]}, "notes": "n",
        }),
    )
    .ok();
    app.post(&path, &json!({"suite": "smoke", "metrics": {"b": {"c": null}, "a": 2}, "notes": "second"}))
        .ok();
    let answer = app.post(&path, &json!({"suite": "core", "metrics": {}}));
    let meta = r#""recorded_at":"2026-01-31T13:05:09.250+00:00","actor":"key:test…""#;
    let smoke = format!(
        r#"{{"a":2,"score":1.0,"_meta":{{"dataset":"d","eval_commit":"c","eval_config":{{"k":[1]}},"notes":"second",{meta}}},"b":{{"c":null}}}}"#
    );
    let suites = format!(r#"{{"old":{{"a":1}},"smoke":{smoke},"core":{{"_meta":{{{meta}}}}}}}"#);
    assert_eq!(app.get(&path).text, suites);
    assert_eq!(app.get(&format!("{path}?suite=smoke")).text, format!(r#"{{"smoke":{smoke}}}"#));
    assert!(answer.text.contains(&format!(r#""metrics":{{"loss":1,"suites":{suites}}}"#)), "{}", answer.text);
    assert_eq!(answer.text, app.get(&format!("/models/{id}")).text);
}

#[test]
fn the_event_contains_only_the_fields_that_were_sent() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let path = format!("/models/{id}/metrics");
    app.post(&path, &json!({"suite": " s ", "metrics": {"a": 1.0}})).ok();
    let nothing = sha256("{}");
    assert_eq!(
        app.last_payload(id).to_string(),
        format!(r#"{{"suite":"s","metrics":{{"a":1.0}},"prior_metrics_sha256":"{nothing}"}}"#)
    );
    let full = json!({"suite": "s", "metrics": {}, "notes": "n", "eval_config": {}, "eval_commit": "c", "dataset": "d"});
    app.post(&path, &full).ok();
    let payload = app.last_payload(id);
    let keys: Vec<_> = payload.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["suite", "metrics", "prior_metrics_sha256", "dataset", "eval_commit", "eval_config", "notes"]
    );
    assert_eq!(app.event_types(id), ["create", "eval", "eval"]);
}

#[test]
fn the_prior_digest_is_computed_from_the_canonical_form() {
    let app = TestApp::spawn();
    app.clock.stop_at(NOW);
    let body = r#"{"name": "m", "version": "1", "artifact_uri": "s3://x", "metrics":
        {"b": 1.50, "a": {"ü": "\u0435\n", "z": [true, null, 1e16, 10]}, "A": {}}}"#;
    let id = app.request("POST", "/models", &[], Some(body)).ok()["id"].as_i64().unwrap();
    app.record(id, "s", json!({"k": 1})).ok();
    let prior = r#"{"A":{},"a":{"z":[true,null,1e+16,10],"ü":"е\n"},"b":1.5}"#;
    assert_eq!(app.last_payload(id)["prior_metrics_sha256"], sha256(prior));
    app.record(id, "s", json!({})).ok();
    let meta = r#"{"actor":"key:test…","recorded_at":"2026-01-31T13:05:09.250+00:00"}"#;
    let prior = format!(
        r#"{{"A":{{}},"a":{{"z":[true,null,1e+16,10],"ü":"е\n"}},"b":1.5,"suites":{{"s":{{"_meta":{meta},"k":1}}}}}}"#
    );
    assert_eq!(app.last_payload(id)["prior_metrics_sha256"], sha256(&prior));
}

#[test]
fn actor_and_time_are_set_by_the_registry() {
    let app = TestApp::spawn();
    app.clock.stop_at(NOW);
    let id = app.register("m", "1");
    app.record(id, "s", json!({"_meta": {"actor": "eve", "recorded_at": "never", "extra": 1}})).ok();
    let meta = app.model(id)["metrics"]["suites"]["s"]["_meta"].clone();
    assert_eq!((&meta["actor"], &meta["extra"]), (&json!("key:test…"), &json!(1)));
    assert_eq!(meta["recorded_at"], "2026-01-31T13:05:09.250+00:00");
    let before = app.everything();
    assert!(app.record(id, "s", json!({"_meta": 5, "a": 1})).refused(400).contains("_meta"));
    assert_eq!(app.everything(), before);
}

#[test]
fn a_suite_may_have_any_name_that_is_not_blank() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    for suite in ["s/1", "ü 😀", "a\"b", "suites", "_meta", "100%", "a&b=c"] {
        app.record(id, suite, json!({"k": suite})).ok();
        let found = app.get(&format!("/models/{id}/metrics?suite={}", encoded(suite))).ok();
        assert_eq!(found[suite]["k"], suite);
        assert_eq!(found.as_object().unwrap().len(), 1, "{suite}");
    }
    let before = app.everything();
    for blank in ["", " ", "\t\n"] {
        assert!(app.record(id, blank, json!({})).refused(400).contains("suite"));
    }
    assert_eq!(app.everything(), before);
}

#[test]
fn missing_suites_are_empty_or_not_found() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let path = format!("/models/{id}/metrics");
    assert_eq!(app.get(&path).text, "{}");
    assert_eq!(app.get(&format!("{path}?suite=")).text, "{}");
    assert!(app.get(&format!("{path}?suite=none")).refused(404).contains("none"));
    app.record(id, "s", json!({})).ok();
    app.get(&format!("{path}?suite=S")).refused(404);
    app.get("/models/999/metrics").refused(404);
    app.record(999, "s", json!({})).refused(404);
}

/// Records `{"x": value}` under a precondition in query and header.
fn record_if(app: &TestApp, id: i64, query: Option<&str>, header: Option<&str>, value: i64) -> Answer {
    let query = query.map(|seen| format!("?if_updated_at={}", encoded(seen))).unwrap_or_default();
    let headers: Vec<_> = header.map(|seen| ("If-Updated-At", seen)).into_iter().collect();
    let body = json!({"suite": "s", "metrics": {"x": value}}).to_string();
    app.request("POST", &format!("/models/{id}/metrics{query}"), &headers, Some(&body))
}

#[test]
fn a_write_to_an_outdated_state_is_a_conflict() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    for (round, (query, header, goes)) in [
        (Some("now"), None, true),
        (None, Some("now"), true),
        (Some("now"), Some("now"), true),
        (Some("stale"), Some("now"), true),
        (Some("now"), Some("stale"), false),
        (Some("stale"), None, false),
        (None, Some("stale"), false),
        (Some(" "), None, true),
        (Some(""), None, true),
        (None, Some(""), true),
        (Some("stale"), Some(" "), false),
        (Some("now"), Some(""), true),
        (Some("soon"), None, false),
    ]
    .into_iter()
    .enumerate()
    {
        let before = app.everything();
        let now = app.model(id)["updated_at"].as_str().unwrap().to_owned();
        let meant = |what: &'static str| match what {
            "now" => now.clone(),
            "stale" => "2001-01-01 00:00:00".to_owned(),
            other => other.to_owned(),
        };
        let (query, header) = (query.map(meant), header.map(meant));
        let answer = record_if(&app, id, query.as_deref(), header.as_deref(), round as i64);
        if goes {
            assert_eq!(answer.ok()["metrics"]["suites"]["s"]["x"], round, "{query:?} {header:?}");
            continue;
        }
        let detail = answer.refused(409);
        assert!(detail.contains(&now), "{detail}");
        assert_eq!(app.everything(), before, "{query:?} {header:?}");
    }
}

#[test]
fn an_if_updated_at_that_is_not_text_matches_no_state() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let body = r#"{"suite":"s","metrics":{}}"#;
    let head = format!(
        "POST /models/{id}/metrics HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\nContent-Length: {}\r\nIf-Updated-At: ",
        body.len()
    );
    let request = [head.as_bytes(), b"caf\xe9\r\n\r\n", body.as_bytes()].concat();
    app.exchange(&request).refused(409);
    assert_eq!(app.event_types(id), ["create"]);
}

#[test]
fn suites_that_are_not_an_object_are_replaced_and_kept_in_the_event() {
    let app = TestApp::spawn();
    for (version, old) in [json!([1]), json!("none"), json!(null), json!(7)].into_iter().enumerate() {
        let metrics = json!({"loss": 1, "suites": old});
        let id = app.register_with("m", &version.to_string(), &json!({"metrics": metrics}));
        let metrics = app.record(id, "s", json!({"a": 1})).ok()["metrics"].clone();
        assert_eq!((&metrics["loss"], &metrics["suites"]["s"]["a"]), (&json!(1), &json!(1)));
        let payload = app.last_payload(id);
        let keys: Vec<_> = payload.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["suite", "metrics", "prior_metrics_sha256", "replaced_suites"]);
        assert_eq!(payload["replaced_suites"], old);
        app.record(id, "s", json!({"a": 2})).ok();
        assert!(app.last_payload(id).get("replaced_suites").is_none());
    }
}

#[test]
fn scores_of_a_suite_that_are_not_an_object_are_not_destroyed() {
    let app = TestApp::spawn();
    for (version, metrics) in
        [json!({"suites": {"s": 3}}), json!({"suites": {"s": []}})].into_iter().enumerate()
    {
        let id = app.register_with("m", &version.to_string(), &json!({"metrics": metrics}));
        let before = app.everything();
        let detail = app.record(id, "s", json!({"a": 1})).refused(409);
        assert!(detail.contains("suites"), "{detail}");
        assert_eq!(app.everything(), before);
    }
}

#[test]
fn metrics_of_another_process_that_are_not_an_object_are_not_destroyed() {
    let app = TestApp::spawn();
    for (version, text) in ["[1]", "5", "\"text\""].into_iter().enumerate() {
        let id = app.register("m", &version.to_string());
        app.sql(&format!("UPDATE models SET metrics = '{text}' WHERE id = {id}"));
        let kept = || app.sql(&format!("SELECT metrics FROM models WHERE id = {id}"));
        assert_eq!(app.get(&format!("/models/{id}/metrics")).text, "{}");
        app.record(id, "s", json!({"a": 1})).refused(409);
        assert_eq!(kept(), text);
        assert_eq!(app.event_types(id), ["create"]);
        app.patch(id, &json!({"description": "d"})).ok();
        assert_eq!(kept(), text, "a change of something else leaves it");
        app.patch(id, &json!({"metrics": {}})).ok();
        app.record(id, "s", json!({"a": 1})).ok();
    }
}

#[test]
fn a_request_that_does_not_match_its_schema_gets_the_location_of_each_fault() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let before = app.everything();
    for (body, kind, location) in [
        (json!({"suite": "s"}), "missing", r#"["body","metrics"]"#),
        (json!({"metrics": {}}), "missing", r#"["body","suite"]"#),
        (json!({"suite": "s", "metrics": [1]}), "dict_type", r#"["body","metrics"]"#),
        (json!({"suite": "s", "metrics": null}), "dict_type", r#"["body","metrics"]"#),
        (json!({"suite": null, "metrics": {}}), "string_type", r#"["body","suite"]"#),
        (json!({"suite": "s", "metrics": {}, "extra": 1}), "extra_forbidden", r#"["body","extra"]"#),
        (json!({"suite": "s", "metrics": {}, "notes": 1}), "string_type", r#"["body","notes"]"#),
        (json!({"suite": "s", "metrics": {}, "eval_config": "x"}), "dict_type", r#"["body","eval_config"]"#),
    ] {
        app.post(&format!("/models/{id}/metrics"), &body).faults(&[(kind, location)]);
    }
    assert_eq!(app.everything(), before);
    let nulls: Value = json!({"suite": "s", "metrics": {}, "dataset": null, "eval_commit": null, "eval_config": null, "notes": null});
    let model = app.post(&format!("/models/{id}/metrics"), &nulls).ok();
    assert_eq!(model["metrics"]["suites"]["s"]["_meta"].as_object().unwrap().len(), 2);
}

#[test]
fn frozen_and_production_versions_accept_scores() {
    let app = TestApp::spawn();
    for fields in [json!({"frozen": true}), json!({"status": "production"})] {
        let id = app.register_with("m", &fields.to_string(), &fields);
        app.record(id, "s", json!({"a": 1})).ok();
    }
}
