//! Production: one version of a name at every instant, and only through the gate.

use serde_json::{Value, json};

use crate::support::{Answer, TestApp, encoded};

fn gated() -> TestApp {
    TestApp::with(|settings| settings.rules.gate.required_suite = Some("core".to_owned()))
}

/// The three requests that bring a version to production.
#[derive(Debug, Clone, Copy)]
enum Route {
    Promote,
    Patch,
    Post,
}

impl Route {
    const ALL: [Self; 3] = [Self::Promote, Self::Patch, Self::Post];

    /// Brings a new version with these metrics to production.
    fn enter(self, app: &TestApp, name: &str, version: &str, metrics: &Value) -> Answer {
        let mut body =
            json!({"name": name, "version": version, "artifact_uri": "s3://x", "metrics": metrics});
        if let Self::Post = self {
            body["status"] = json!("production");
            return app.post("/models", &body);
        }
        let id = app.post("/models", &body).ok()["id"].as_i64().unwrap();
        match self {
            Self::Promote => app.promote(id),
            _ => app.patch(id, &json!({"status": "production"})),
        }
    }
}

fn scored(score: Value) -> Value {
    json!({"suites": {"core": {"score": score}}})
}

#[test]
fn every_way_to_production_passes_the_gate() {
    let app = gated();
    for door in Route::ALL {
        for (row, (candidate, incumbent, admitted)) in [
            (json!(null), None, false),
            (json!({}), None, false),
            (json!({"core": {"score": 1}}), None, false),
            (json!({"suites": [1]}), None, false),
            (json!({"suites": {"Core": {"score": 1}}}), None, false),
            (json!({"suites": {"core": {}}}), None, true),
            (json!({"suites": {"core": null}}), None, true),
            (scored(json!(0.5)), None, true),
            (scored(json!(0.5)), Some(json!(0.4)), true),
            (scored(json!(0.5)), Some(json!(0.5)), true),
            (scored(json!(1)), Some(json!(1.0)), true),
            (scored(json!(0.5)), Some(json!(0.9)), false),
            (scored(json!(-2)), Some(json!(-1)), false),
            (scored(json!(0)), Some(json!(1e-9)), false),
            (scored(json!("0.1")), Some(json!(0.9)), true),
            (scored(json!(null)), Some(json!(0.9)), true),
            (scored(json!(false)), Some(json!(0.9)), true),
            (scored(json!(0.1)), Some(json!(true)), true),
            (json!({"suites": {"core": {}}}), Some(json!(0.9)), true),
            (scored(json!(0.1)), Some(json!("high")), true),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("{door:?}-{row}");
            let standing = incumbent.map(|score| {
                Route::Post.enter(&app, &name, "old", &scored(score)).ok()["id"].as_i64().unwrap()
            });
            let before = app.get(&format!("/models?name={name}")).ok();
            let answer = door.enter(&app, &name, "new", &candidate);
            let production = app.get(&format!("/production/{name}"));
            if admitted {
                let id = answer.ok()["id"].clone();
                assert_eq!(production.ok()["id"], id, "{name}: {candidate}");
                if let Some(standing) = standing {
                    assert_eq!(app.model(standing)["status"], "staging");
                }
                continue;
            }
            let detail = answer.refused(409);
            assert!(detail.contains("core"), "{detail}");
            match standing {
                Some(standing) => {
                    assert_eq!(production.ok()["id"], standing);
                    assert_eq!(app.event_types(standing), ["create"], "{name}");
                }
                None => drop(production.refused(404)),
            }
            if let Route::Post = door {
                assert_eq!(app.get(&format!("/models?name={name}")).ok(), before, "nothing was registered");
            }
        }
    }
}

#[test]
fn the_gate_checks_a_patch_by_the_metrics_it_contains() {
    let app = gated();
    let id = app.register("m", "1");
    let without = json!({"status": "production", "metrics": {"suites": {}}, "description": "d"});
    app.patch(id, &without).refused(409);
    assert_eq!(app.model(id)["description"], json!(null));
    app.patch(id, &json!({"status": "production", "metrics": scored(json!(1))})).ok();
    let other = app.register_with("m", "2", &json!({"metrics": scored(json!(5))}));
    app.patch(other, &json!({"status": "production", "metrics": scored(json!(0.5))})).refused(409);
    assert_eq!(app.model(other)["metrics"], scored(json!(5)));
}

#[test]
fn the_gate_does_not_apply_to_other_statuses_or_to_the_production_version_itself() {
    let app = gated();
    let id = app.register("m", "1");
    for status in ["staging", "archived", "experimental"] {
        let path = format!("/models/{id}/promote?to_status={status}");
        assert_eq!(app.request("POST", &path, &[], None).ok()["status"], status);
    }
    app.record(id, "core", json!({"score": 0.9})).ok();
    app.promote(id).ok();
    // Its own score falls, and it stays in production.
    app.record(id, "core", json!({"score": 0.1})).ok();
    app.promote(id).ok();
    app.patch(id, &json!({"status": "production", "metrics": {}})).ok();
    assert_eq!(app.get("/production/m").ok()["id"], id);
}

#[test]
fn scores_recorded_later_open_the_gate() {
    let app = gated();
    let id = app.register("m", "1");
    let detail = app.promote(id).refused(409);
    assert!(detail.contains("record"), "{detail}");
    assert_eq!(app.event_types(id), ["create"]);
    app.record(id, "core", json!({"score": 0.5})).ok();
    app.promote(id).ok();
}

#[test]
fn every_way_to_production_moves_the_previous_version_to_staging_with_an_event() {
    let app = TestApp::spawn();
    app.clock.stop_at(1_769_864_709_250);
    for door in Route::ALL {
        let name = format!("{door:?}");
        let bystander = app.register(&name, "bystander");
        let first = Route::Post.enter(&app, &name, "1", &json!(null)).ok();
        let first_id = first["id"].as_i64().unwrap();
        let untouched = app.model(bystander);
        let second = door.enter(&app, &name, "2", &json!(null)).ok();

        let stepped_down = app.model(first_id);
        assert_eq!((&stepped_down["status"], &second["status"]), (&json!("staging"), &json!("production")));
        assert_eq!(first["updated_at"], "2026-01-31 13:05:09.250");
        assert_eq!(stepped_down["updated_at"], "2026-01-31 13:05:09.251", "{name}");
        assert_eq!(app.event_types(first_id), ["create", "auto_demote"]);
        assert_eq!(
            app.last_payload(first_id).to_string(),
            format!(r#"{{"from":"production","to":"staging","reason":"new production: {}"}}"#, second["id"])
        );
        assert_eq!(app.events(first_id)[1]["actor"], "key:test…");
        assert_eq!(app.model(bystander), untouched);
        assert_eq!(app.get(&format!("/production/{name}")).ok(), second);
    }
}

#[test]
fn names_have_production_versions_of_their_own() {
    let app = TestApp::spawn();
    let ids = ["m", "M", "m ", "m/m"]
        .map(|name| Route::Post.enter(&app, name, "1", &json!(null)).ok()["id"].clone());
    assert_eq!(app.get("/models/status/production").ok().as_array().unwrap().len(), ids.len());
}

#[test]
fn a_promotion_records_both_statuses_each_time_it_is_repeated() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let mut last = app.model(id)["updated_at"].clone();
    for (query, from, to) in [
        ("", "experimental", "production"),
        ("?to_status=production", "production", "production"),
        ("?to_status=archived", "production", "archived"),
        ("?to_status=staging", "archived", "staging"),
        ("?to_status=experimental", "staging", "experimental"),
    ] {
        let model = app.request("POST", &format!("/models/{id}/promote{query}"), &[], None).ok();
        assert_eq!(model["status"], to);
        assert!(model["updated_at"].as_str() > last.as_str(), "{query}");
        last = model["updated_at"].clone();
        assert_eq!(app.last_payload(id).to_string(), format!(r#"{{"from":"{from}","to":"{to}"}}"#));
    }
    assert_eq!(app.events(id).len(), 6);
}

#[test]
fn a_promotion_of_a_missing_version_or_to_an_unknown_status_is_refused() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    app.promote(999).refused(404);
    for to in ["live", "Production", ""] {
        let path = format!("/models/{id}/promote?to_status={to}");
        app.request("POST", &path, &[], None).faults(&[("literal_error", r#"["query","to_status"]"#)]);
    }
    assert_eq!(app.event_types(id), ["create"]);
}

#[test]
fn the_production_version_is_found_by_any_name() {
    let app = TestApp::spawn();
    for name in ["m", "na me/ü", "a%2Fb", "тег", "100%", "a?b=c&d", "a+b", "."] {
        app.get(&format!("/production/{}", encoded(name))).refused(404);
        app.register(name, "0");
        app.get(&format!("/production/{}", encoded(name))).refused(404);
        let model = Route::Post.enter(&app, name, "1", &json!(null)).ok();
        assert_eq!(app.get(&format!("/production/{}", encoded(name))).ok(), model, "{name}");
    }
    let detail = app.get("/production/n%C3%BC%2F").refused(404);
    assert!(detail.contains("nü/"), "{detail}");
    app.get("/production/%FF").refused(404);
}

#[test]
fn a_name_without_its_production_version_has_none() {
    let app = TestApp::spawn();
    let id = Route::Post.enter(&app, "m", "1", &json!(null)).ok()["id"].as_i64().unwrap();
    let other = app.register_with("m", "2", &json!({"status": "staging"}));
    app.request("POST", &format!("/models/{id}/promote?to_status=archived"), &[], None).ok();
    app.get("/production/m").refused(404);
    app.promote(id).ok();
    app.request("DELETE", &format!("/models/{id}?force=true"), &[], None).ok();
    app.get("/production/m").refused(404);
    assert_eq!(app.model(other)["status"], "staging", "no version is promoted on its own");
}

#[test]
fn the_status_may_be_in_the_body_and_nothing_else_may() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let promote = |query: &str, body: Option<&str>| {
        app.request("POST", &format!("/models/{id}/promote{query}"), &[], body)
    };
    for (query, body, status) in [
        ("?to_status=archived", None, "archived"),
        ("", Some("{}"), "production"),
        ("", Some(r#"{"to_status": "staging"}"#), "staging"),
        ("?to_status=archived", Some("{}"), "archived"),
        ("", Some(""), "production"),
        ("?to_status=staging", Some(r#"{"to_status": "staging"}"#), "staging"),
        ("", Some(r#"{"to_status": null}"#), "production"),
        ("?to_status=staging", Some(r#"{"to_status": null}"#), "staging"),
    ] {
        assert_eq!(promote(query, body).ok()["status"], status, "{query} {body:?}");
    }
    let before = app.everything();
    for (query, body, fault) in [
        ("", r#"{"to_status": "gone"}"#, ("literal_error", r#"["body","to_status"]"#)),
        ("", r#"{"to_status": 1}"#, ("literal_error", r#"["body","to_status"]"#)),
        ("", r#"{"status": "staging"}"#, ("extra_forbidden", r#"["body","status"]"#)),
        ("", "[]", ("model_attributes_type", r#"["body"]"#)),
        ("", "null", ("model_attributes_type", r#"["body"]"#)),
        ("", "{", ("json_invalid", r#"["body"]"#)),
        ("", " ", ("json_invalid", r#"["body"]"#)),
        (
            "?to_status=staging",
            r#"{"to_status": "production"}"#,
            ("literal_error", r#"["body","to_status"]"#),
        ),
        ("?status=staging", "{}", ("extra_forbidden", r#"["query","status"]"#)),
        ("?to_status=staging&force=true", "", ("extra_forbidden", r#"["query","force"]"#)),
        ("?", r#"{"to_status": "x", "to_status": "gone"}"#, ("literal_error", r#"["body","to_status"]"#)),
    ] {
        promote(query, Some(body)).faults(&[fault]);
    }
    promote("?status=staging", Some(r#"{"status": "staging"}"#))
        .faults(&[("extra_forbidden", r#"["query","status"]"#), ("extra_forbidden", r#"["body","status"]"#)]);
    assert_eq!(app.everything(), before);
}
