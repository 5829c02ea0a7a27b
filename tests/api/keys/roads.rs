//! What depends on the body or the stored state: statuses, aliases, scores and models, on every road to them.

use serde_json::{Value, json};

use super::is_forbidden;
use crate::support::TestApp;

/// All scopes except one.
fn all_but(left_out: &str) -> Vec<&'static str> {
    let all = [
        "read",
        "register",
        "evaluate",
        "promote:experimental",
        "promote:staging",
        "promote:production",
        "promote:archived",
        "alias:champion",
        "alias:other",
        "approve",
        "delete",
        "policies",
        "webhooks",
        "keys",
    ];
    assert!(all.contains(&left_out), "{left_out}");
    all.into_iter().filter(|scope| *scope != left_out).collect()
}

/// A call: its method, its path and its body.
type Call = (&'static str, String, Value);

/// What exists before a road is taken: `m` with version 1 in production after 2, and 3 to 5 in staging with the alias `champion` and
/// `other` on 1; version 6 is in the trash, and was in staging; the model `gone` is there too, with a staging version.
struct Scene {
    app: TestApp,
    /// The id of version 1; the others follow.
    first: i64,
}

impl Scene {
    fn new() -> Self {
        let app = TestApp::spawn();
        let suites = json!({"metrics": {"loss": 1, "suites": {"s": {"a": 0.5}}}});
        let first = app.register_with("m", "v1", &suites);
        for label in ["v2", "v3", "v4", "v5", "v6"] {
            app.register_with("m", label, &json!({"status": "staging"}));
        }
        app.promote(first + 1).ok();
        app.promote(first).ok();
        for alias in ["champion", "other"] {
            let body = json!({"version": 1});
            let answer =
                app.request("PUT", &format!("/v1/models/m/aliases/{alias}"), &[], Some(&body.to_string()));
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        app.delete(first + 5).ok();
        app.register_with("gone", "v1", &json!({"status": "staging"}));
        app.request("DELETE", "/v1/models/gone", &[], None).ok();
        Self { app, first }
    }

    /// Everything that a refused call must not change.
    fn state(&self) -> Value {
        let trail = self.app.get("/v1/events?limit=500").ok();
        json!([self.app.everything(), trail])
    }
}

fn mlflow(call: &str) -> String {
    format!("/api/2.0/mlflow/{call}")
}

fn stage(version: i64, to: &str, archives: bool) -> Call {
    let body = json!({"name": "m", "version": version.to_string(), "stage": to, "archive_existing_versions": archives});
    ("POST", mlflow("model-versions/transition-stage"), body)
}

/// Each road, with the scopes that it needs.
fn roads(first: i64) -> Vec<(Call, &'static [&'static str])> {
    let id = |number: i64| first + number - 1;
    let v1 = |number: i64| format!("/v1/models/m/versions/{number}");
    let alias = |name: &str| format!("/v1/models/m/aliases/{name}");
    let new = |fields: Value| {
        let mut body = json!({"name": "m", "version": "new", "artifact_uri": "s3://b/new"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        ("POST", "/models".to_owned(), body)
    };
    let add = |fields: Value| {
        let mut body = json!({"label": "new", "artifact_uri": "s3://b/new"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        ("POST", "/v1/models/m/versions".to_owned(), body)
    };
    let patch = |number: i64, body: Value| ("PATCH", format!("/models/{}", id(number)), body);
    let patch_v1 = |number: i64, body: Value| ("PATCH", v1(number), body);
    let promote =
        |number: i64, to: &str| ("POST", format!("/models/{}/promote", id(number)), json!({"to_status": to}));
    let scores = json!({"suite": "s", "metrics": {"a": 9}});
    let reason = json!({"reason": "r"});
    let suites = json!({"suites": {"s": {"a": 9}}});
    vec![
        // Into production.
        (promote(3, "production"), &["promote:production"]),
        (("POST", format!("/models/{}/promote", id(3)), json!({})), &["promote:production"]),
        (patch(3, json!({"status": "production"})), &["promote:production"]),
        (patch_v1(3, json!({"status": "production"})), &["promote:production"]),
        (new(json!({"status": "production"})), &["register", "promote:production"]),
        (add(json!({"status": "production"})), &["register", "promote:production"]),
        (
            add(json!({"status": "production", "number": 50, "created_at": "2020-01-01"})),
            &["register", "promote:production"],
        ),
        (("PUT", alias("production"), json!({"version": 3})), &["promote:production"]),
        (("POST", "/v1/models/m/rollback".to_owned(), reason.clone()), &["promote:production"]),
        (
            ("POST", "/v1/models/m/rollback".to_owned(), json!({"to": 2, "reason": "r"})),
            &["promote:production"],
        ),
        (stage(3, "Production", false), &["promote:production"]),
        (stage(3, "Production", true), &["promote:production", "promote:archived"]),
        (
            (
                "POST",
                mlflow("registered-models/alias"),
                json!({"name": "m", "alias": "production", "version": "3"}),
            ),
            &["promote:production"],
        ),
        // Out of it.
        (promote(1, "staging"), &["promote:staging", "promote:production"]),
        (promote(1, "archived"), &["promote:archived", "promote:production"]),
        (patch_v1(1, json!({"status": "experimental"})), &["promote:experimental", "promote:production"]),
        (("DELETE", alias("production"), Value::Null), &["promote:staging", "promote:production"]),
        (stage(1, "Archived", false), &["promote:archived", "promote:production"]),
        (
            ("DELETE", mlflow("registered-models/alias"), json!({"name": "m", "alias": "production"})),
            &["promote:staging", "promote:production"],
        ),
        (("DELETE", format!("/models/{}?force=true", id(1)), Value::Null), &["delete", "promote:production"]),
        (("DELETE", format!("{}?force=true", v1(1)), Value::Null), &["delete", "promote:production"]),
        (("DELETE", "/v1/models/m?force=true".to_owned(), Value::Null), &["delete", "promote:production"]),
        // Other statuses.
        (promote(3, "archived"), &["promote:archived"]),
        (promote(3, "staging"), &["promote:staging"]),
        (patch(3, json!({"status": "archived", "description": "d"})), &["promote:archived", "register"]),
        (new(json!({"status": "archived"})), &["register", "promote:archived"]),
        (new(json!({"status": "experimental"})), &["register"]),
        (stage(2, "Staging", true), &["promote:staging", "promote:archived"]),
        (("POST", format!("{}/restore", v1(6)), Value::Null), &["delete", "promote:staging"]),
        (("POST", "/v1/models/gone/restore".to_owned(), Value::Null), &["delete", "promote:staging"]),
        // Aliases.
        (("PUT", alias("champion"), json!({"version": 3})), &["alias:champion"]),
        (("PUT", alias("other"), json!({"version": 3})), &["alias:other"]),
        (("DELETE", alias("champion"), Value::Null), &["alias:champion"]),
        (
            (
                "POST",
                mlflow("registered-models/alias"),
                json!({"name": "m", "alias": "champion", "version": "3"}),
            ),
            &["alias:champion"],
        ),
        (
            ("DELETE", mlflow("registered-models/alias"), json!({"name": "m", "alias": "champion"})),
            &["alias:champion"],
        ),
        // Scores.
        (("POST", format!("/models/{}/metrics", id(1)), scores.clone()), &["evaluate"]),
        (("POST", format!("{}/scores", v1(1)), scores), &["evaluate"]),
        (patch(1, json!({"metrics": {"loss": 1, "suites": {"s": {"a": 9}}}})), &["evaluate"]),
        (patch(1, json!({"metrics": {"loss": 1, "suites": {}}})), &["evaluate"]),
        (patch(1, json!({"metrics": {"loss": 1, "suites": null}})), &["evaluate"]),
        (patch(1, json!({"metrics": {"loss": 1, "suites": [1]}})), &["evaluate"]),
        (patch_v1(1, json!({"metrics": {"loss": 1, "suites": {"t": {"a": 1}}}})), &["evaluate"]),
        (patch(1, json!({"metrics": {"loss": 2, "suites": {"s": {"a": 9}}}})), &["evaluate", "register"]),
        (patch(1, json!({"metrics": {"loss": 2, "suites": {"s": {"a": 0.5}}}})), &["register"]),
        (patch(1, json!({"metrics": {"note": 1}})), &["register"]),
        (new(json!({"metrics": suites})), &["register", "evaluate"]),
        (add(json!({"metrics": suites})), &["register", "evaluate"]),
        (new(json!({"metrics": {"loss": 1}})), &["register"]),
        // The rest.
        (patch(1, json!({"description": "d"})), &["register"]),
        (patch_v1(1, json!({"tags": {"k": "v"}})), &["register"]),
        (("PUT", format!("{}/tags/k", v1(1)), json!({"value": "v"})), &["register"]),
        (("PUT", "/v1/models/m/tags/k".to_owned(), json!({"value": "v"})), &["register"]),
        (
            ("PATCH", "/v1/models/m".to_owned(), json!({"name": "n"})),
            &["register", "promote:production", "alias:champion", "alias:other"],
        ),
        (("POST", "/v1/models".to_owned(), json!({"name": "n"})), &["register"]),
        (
            ("POST", mlflow("registered-models/rename"), json!({"name": "m", "new_name": "n"})),
            &["register", "promote:production", "alias:champion", "alias:other"],
        ),
        (
            ("POST", mlflow("model-versions/create"), json!({"name": "m", "source": "s3://b/x"})),
            &["register"],
        ),
        (
            (
                "PATCH",
                mlflow("model-versions/update"),
                json!({"name": "m", "version": "1", "description": "d"}),
            ),
            &["register"],
        ),
        (("DELETE", format!("/models/{}", id(3)), Value::Null), &["delete"]),
        (("DELETE", mlflow("model-versions/delete"), json!({"name": "m", "version": "3"})), &["delete"]),
    ]
}

#[test]
fn each_road_needs_exactly_its_scopes() {
    let count = roads(1).len();
    for road in 0..count {
        let scene = Scene::new();
        let ((method, path, body), needed) = roads(scene.first).remove(road);
        let call = format!("{method} {path} {body}");
        let body = (!body.is_null()).then_some(&body);
        let before = scene.state();
        for left_out in needed {
            let key = scene.app.key("lacks", &all_but(left_out), &[]);
            let answer = scene.app.with_key(&key, method, &path, body);
            assert!(is_forbidden(&answer), "{call} without {left_out}: {} {}", answer.status, answer.text);
            assert!(answer.text.contains(left_out), "{call} without {left_out}: {}", answer.text);
            scene.app.request("DELETE", "/v1/keys/lacks", &[], None).ok();
        }
        let elsewhere = scene.app.key("elsewhere", &["admin"], &["x/*", "new"]);
        let answer = scene.app.with_key(&elsewhere, method, &path, body);
        assert!(is_forbidden(&answer), "{call} of another model: {} {}", answer.status, answer.text);
        assert!(answer.text.contains("may change only models that match x/*, new"), "{}", answer.text);

        let after = scene.state();
        assert_eq!(after[0], before[0], "{call}");
        let key = scene.app.key("has", needed, &["m", "n", "gone"]);
        let answer = scene.app.with_key(&key, method, &path, body);
        assert_eq!(answer.status / 100, 2, "{call} with {needed:?}: {}", answer.text);
    }
}

#[test]
fn a_rename_needs_the_right_to_both_names() {
    let app = TestApp::spawn();
    app.register("a/m", "1");
    let key = app.key("a", &["register"], &["a/*"]);
    for (name, status) in [("b/m", 403), ("a/n", 200)] {
        let answer = app.with_key(&key, "PATCH", "/v1/models/a%2Fm", Some(&json!({"name": name})));
        assert_eq!(answer.status, status, "{}", answer.text);
    }
}

#[test]
fn a_change_of_suites_by_a_patch_is_in_the_trail_with_its_values() {
    let app = TestApp::spawn();
    let id =
        app.register_with("m", "1", &json!({"metrics": {"suites": {"s": {"a": 1, "b": 2}, "t": {"x": 1}}}}));
    let suites = json!({"s": {"a": 9, "b": 2}, "u": {"y": 3}});
    app.patch(id, &json!({"metrics": {"suites": suites}})).ok();
    assert_eq!(app.event_types(id), ["create", "update", "eval", "eval", "eval"]);
    let trail = app.get("/v1/events?model=m&type=eval").ok();
    let shown = |event: &Value| {
        (event["payload"]["suite"].clone(), event["before"].clone(), event["payload"]["metrics"].clone())
    };
    let shown: Vec<_> = trail["events"].as_array().unwrap().iter().rev().map(shown).collect();
    let expected = [
        (json!("s"), json!({"a": 1}), json!({"a": 9, "b": 2})),
        (json!("u"), json!({}), json!({"y": 3})),
        (json!("t"), json!({"x": 1}), json!({})),
    ];
    assert_eq!(shown, expected);
    app.patch(id, &json!({"metrics": {"note": 1}})).ok();
    assert_eq!(app.model(id)["metrics"], json!({"note": 1, "suites": suites}), "suites stay");
    assert_eq!(app.event_types(id).len(), 6, "and nothing was evaluated");
}

#[test]
fn a_limited_key_replaces_only_policies_about_its_models() {
    let app = TestApp::spawn();
    let key = app.key("team", &["policies"], &["team-a/*"]);
    let about = |models: &str| {
        let conditions = json!([{"expression": "candidate.number > 0", "message": "no"}]);
        json!({"models": models, "target": "production", "conditions": conditions})
    };
    let put = |name: &str, models: &str| {
        app.with_key(&key, "PUT", &format!("/v1/policies/{name}"), Some(&about(models)))
    };
    app.request("PUT", "/v1/policies/global", &[], Some(&about("*").to_string())).ok();
    let refused = put("global", "team-a/x");
    assert!(is_forbidden(&refused), "{}", refused.text);
    assert!(is_forbidden(&app.with_key(&key, "DELETE", "/v1/policies/global", None)));
    assert!(is_forbidden(&put("own", "team-b/x")));
    assert_eq!(app.get("/v1/policies/global").ok()["models"], "*");
    put("own", "team-a/x").ok();
    put("own", "team-a/*").ok();
    // One that is deleted protects nothing.
    app.request("DELETE", "/v1/policies/global", &[], None).ok();
    put("global", "team-a/x").ok();
}
