//! Aliases, `production` among them, and the way back.

use serde_json::{Value, json};

use crate::support::TestApp;

use super::{each, version};

#[test]
fn an_alias_moves_from_version_to_version() {
    let app = TestApp::spawn();
    app.add("m", "a");
    app.add("m", "b");
    let held = app.set_alias("m", "champion", json!({"version": 1, "reason": "first"})).ok();
    assert_eq!((&held["number"], &held["status"]), (&json!(1), &json!("experimental")));
    app.set_alias("m", "champion", json!({"version": 2})).ok();
    assert_eq!(app.holder("m", "champion"), 2);
    let events = app.trail("model=m").len();
    app.set_alias("m", "champion", json!({"version": 2})).ok();
    assert_eq!(app.trail("model=m").len(), events, "the same holder again is no change");
    app.v1("DELETE", "/v1/models/m/aliases/champion?reason=%20", Value::Null).error(400, "invalid");
    let deleted = app.v1("DELETE", "/v1/models/m/aliases/champion?reason=last", Value::Null).ok();
    assert_eq!(deleted, json!({"deleted": true}));
    assert_eq!(app.holder("m", "champion"), Value::Null);
    app.v1("DELETE", "/v1/models/m/aliases/champion", Value::Null).error(404, "not_found");
    let trail = json!(app.trail("model=m"));
    assert_eq!(each(&trail, "type"), ["create", "create", "set_alias", "set_alias", "delete_alias"]);
    assert_eq!((&trail[2]["reason"], &trail[4]["reason"]), (&json!("first"), &json!("last")));
    assert_eq!(trail[3]["payload"], json!({"alias": "champion", "version": "b", "from": "a"}));
}

#[test]
fn production_is_the_status_and_the_alias() {
    let app = TestApp::spawn();
    app.add("m", "a");
    app.add("m", "b");
    assert_eq!(app.set_alias("m", "production", json!({"version": 1})).ok()["status"], "production");
    app.promote(2);
    assert_eq!(app.holder("m", "production"), 2);
    assert_eq!(app.get(&version("m", 1)).ok()["status"], "staging");
    app.v1("PATCH", &version("m", 1), json!({"status": "production"})).ok();
    assert_eq!(app.holder("m", "production"), 1);
    app.v1("DELETE", "/v1/models/m/aliases/production", Value::Null).ok();
    assert_eq!(app.get(&version("m", 1)).ok()["status"], "staging");
    app.get("/production/m").refused(404);
}

#[test]
fn an_alias_moves_only_from_the_expected_holder() {
    let app = TestApp::spawn();
    for label in ["a", "b", "c"] {
        app.add("m", label);
    }
    for alias in ["champion", "production"] {
        let set = |version: i64, expected: Value| {
            app.set_alias("m", alias, json!({"version": version, "expected": expected}))
        };
        set(1, json!(2)).error(409, "conflict");
        set(1, Value::Null).ok();
        set(2, Value::Null).error(409, "conflict");
        let message = set(2, json!(3)).error(409, "conflict");
        assert!(message.contains("points to version number 1"), "{message}");
        set(2, json!(1)).ok();
        set(2, json!(1)).error(409, "conflict");
        assert_eq!(app.holder("m", alias), 2);
        let delete = |expected: i64| {
            app.v1("DELETE", &format!("/v1/models/m/aliases/{alias}?expected={expected}"), Value::Null)
        };
        delete(1).error(409, "conflict");
        delete(2).ok();
        assert_eq!(app.holder("m", alias), Value::Null);
    }
}

#[test]
fn an_alias_that_reads_as_a_number_or_as_latest_is_refused() {
    let app = TestApp::spawn();
    app.add("m", "a");
    for alias in ["12", "v12", "latest", "Latest", " ", &"x".repeat(1_025)] {
        app.set_alias("m", alias, json!({"version": 1})).error(400, "invalid");
    }
    app.set_alias("m", "a", json!({"version": 1, "reason": " "})).error(400, "invalid");
    app.set_alias("m", "a", json!({"version": 1, "reason": "x".repeat(4_097)})).error(400, "invalid");
    app.set_alias("m", "a", json!({"version": 2})).error(404, "not_found");
    app.set_alias("none", "a", json!({"version": 1})).error(404, "not_found");
    app.set_alias("m", "a", json!({})).unfit(&["version"]);
    app.set_alias("m", "a", json!({"version": null})).unfit(&["version"]);
    assert_eq!(app.get("/v1/models/m/aliases").ok(), json!({"aliases": {}}));
}

#[test]
fn a_rollback_goes_to_the_version_before_or_to_the_one_that_is_named() {
    let app = TestApp::spawn();
    for (label, number) in [("a", 1), ("b", 2), ("c", 3)] {
        app.add("m", label);
        app.set_alias("m", "production", json!({"version": number})).ok();
    }
    app.add("m", "never");
    let back = app.rollback("m", json!({"reason": "wrong tokenizer"})).ok();
    assert_eq!((&back["number"], &back["status"]), (&json!(2), &json!("production")));
    assert_eq!(app.get(&version("m", 3)).ok()["status"], "staging");
    assert_eq!(app.rollback("m", json!({"to": 1, "reason": "older still"})).ok()["number"], 1);
    let trail = app.trail("model=m&version=1");
    let last = trail.last().unwrap();
    assert_eq!((&last["type"], &last["reason"]), (&json!("promote"), &json!("older still")));
    let history = app.get("/v1/models/m/history?alias=production").ok();
    assert_eq!(each(&history["history"], "version"), [1, 2, 3, 2, 1]);
    assert_eq!(history["history"][0]["reason"], "older still");

    let message = app.rollback("m", json!({"to": 4, "reason": "r"})).error(409, "conflict");
    assert!(message.contains("never in production"), "{message}");
    app.rollback("m", json!({"to": 1, "reason": "r"})).error(409, "conflict");
    app.rollback("m", json!({"to": 9, "reason": "r"})).error(404, "not_found");
    app.rollback("none", json!({"reason": "r"})).error(404, "not_found");
    app.rollback("m", json!({"reason": " \t"})).error(400, "invalid");
    app.rollback("m", json!({"reason": "x".repeat(4_097)})).error(400, "invalid");
    app.rollback("m", json!({"to": 2})).unfit(&["reason"]);
    app.rollback("m", json!({"to": null, "reason": "r"})).unfit(&["to"]);
    app.v1("DELETE", &version("m", 2), Value::Null).ok();
    app.rollback("m", json!({"to": 2, "reason": "r"})).error(404, "not_found");
    let message = app.rollback("m", json!({"reason": "r"})).error(409, "conflict");
    assert!(message.contains("deleted"), "{message}");
    assert_eq!(app.holder("m", "production"), 1, "a refused rollback changes nothing");
}

#[test]
fn a_rollback_needs_a_version_before() {
    let app = TestApp::spawn();
    app.add("m", "a");
    app.rollback("m", json!({"reason": "r"})).error(409, "conflict");
    app.set_alias("m", "production", json!({"version": 1})).ok();
    app.rollback("m", json!({"reason": "r"})).error(409, "conflict");
    app.v1("DELETE", "/v1/models/m/aliases/production", Value::Null).ok();
    assert_eq!(app.rollback("m", json!({"reason": "r"})).ok()["number"], 1, "no version is there now");
}

#[test]
fn a_rollback_does_not_pass_the_gate_again() {
    let app = TestApp::with(|settings| settings.rules.gate.required_suite = Some("s".to_owned()));
    for (label, score) in [("a", 0.5), ("b", 0.9)] {
        app.add_with("m", label, json!({"metrics": {"suites": {"s": {"score": score}}}}));
    }
    app.set_alias("m", "production", json!({"version": 1})).ok();
    app.set_alias("m", "production", json!({"version": 2})).ok();
    app.set_alias("m", "production", json!({"version": 1})).error(409, "conflict");
    assert_eq!(app.rollback("m", json!({"reason": "r"})).ok()["number"], 1);
}

#[test]
fn a_model_has_a_bounded_number_of_aliases() {
    let app = TestApp::spawn();
    app.add("m", "1");
    app.add("m", "2");
    for alias in 0..256 {
        app.set_alias("m", &format!("a-{alias}"), json!({"version": 1})).ok();
    }
    let message = app.set_alias("m", "one-more", json!({"version": 1})).error(409, "conflict");
    assert!(message.contains("at most 256"), "{message}");
    app.set_alias("m", "a-7", json!({"version": 2})).ok();
    app.set_alias("m", "production", json!({"version": 2})).ok();
    app.v1("DELETE", "/v1/models/m/aliases/a-9", Value::Null).ok();
    app.set_alias("m", "one-more", json!({"version": 1})).ok();
    assert_eq!(app.get("/v1/models/m/aliases").ok()["aliases"].as_object().unwrap().len(), 257);
}
