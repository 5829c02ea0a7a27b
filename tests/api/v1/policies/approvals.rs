//! Approvals of versions.

use serde_json::{Value, json};

use crate::support::TestApp;

use super::super::{each, version};

fn app() -> TestApp {
    let app = TestApp::with(|settings| settings.http.trust_actor_header = true);
    let body = json!({"label": "a", "artifact_uri": "s3://b/a", "created_by": "ann"});
    app.as_actor("ci", "POST", "/v1/models/m/versions", body).created();
    app
}

const APPROVALS: &str = "/v1/models/m/versions/1/approvals";

#[test]
fn others_approve_a_version_and_its_author_does_not() {
    let app = app();
    let approve = |actor: &str, body: Value| app.as_actor(actor, "POST", APPROVALS, body);
    let production = json!({"target": "production"});
    for author in ["ann", "ci"] {
        let error = approve(author, production.clone()).error(403, "forbidden");
        assert!(error.contains("is the author of version \"a\" of \"m\""), "{error}");
    }
    approve("bob", json!({"target": "experimental"})).error(400, "invalid");
    approve("bob", json!({"target": "latest"})).error(400, "invalid");
    approve("bob", json!({"target": "production", "comment": " "})).error(400, "invalid");
    approve("bob", json!({"comment": "x"})).unfit(&["target"]);
    app.as_actor("bob", "POST", "/v1/models/m/versions/7/approvals", production.clone())
        .error(404, "not_found");
    assert_eq!(app.get("/v1/approvals").ok()["approvals"], json!([]), "nothing is stored");

    let asked =
        approve("ann", json!({"target": "production", "request": true, "comment": "please"})).created();
    assert_eq!((&asked["kind"], &asked["state"]), (&json!("request"), &json!("open")));
    let given = approve("bob", json!({"target": "production", "comment": "50 answers"})).created();
    assert_eq!(
        (&given["actor"], &given["label"], &given["lapsed"]),
        (&json!("bob"), &json!("a"), &Value::Null)
    );
    let error = approve("bob", production.clone()).error(409, "conflict");
    assert!(error.contains("bob has approved version \"a\" of \"m\" for production already"), "{error}");
    approve("bob", json!({"target": "champion"})).created();
    let open = app.get("/v1/approvals?state=open").ok();
    assert_eq!(each(&open["approvals"], "target"), ["champion", "production", "production"]);
    assert_eq!(open["next"], Value::Null);
    let page = app.get("/v1/approvals?limit=2").ok();
    assert_eq!(page["approvals"].as_array().unwrap().len(), 2);
    let rest = app.get(&format!("/v1/approvals?limit=2&cursor={}", page["next"].as_str().unwrap())).ok();
    assert_eq!(each(&rest["approvals"], "kind"), ["request"]);
    app.get("/v1/approvals?state=new").unfit(&["state"]);

    let withdraw = |actor: &str, target: &str| {
        app.as_actor(actor, "DELETE", &format!("{APPROVALS}?target={target}"), Value::Null)
    };
    withdraw("carl", "production").error(404, "not_found");
    withdraw("bob", "champion").ok();
    withdraw("bob", "champion").error(404, "not_found");
    app.as_actor("bob", "DELETE", APPROVALS, Value::Null).unfit(&["target"]);
    let all = app.get(APPROVALS).ok();
    assert_eq!(each(&all["approvals"], "state"), ["withdrawn", "open", "open"]);
    let types: Vec<_> = app.trail("model=m").iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["create", "request_approval", "approve", "approve", "withdraw_approval"]);
}

#[test]
fn an_approval_lapses_with_the_scores_and_counts_for_a_policy_until_then() {
    let app = app();
    app.require("approved", "approvals.exists(a, a.actor != actor.name && a.comment != null)");
    let promote = || app.as_actor("ci", "PATCH", &version("m", 1), json!({"status": "production"}));
    let approve = |actor: &str, comment: Value| {
        app.as_actor(actor, "POST", APPROVALS, json!({"target": "production", "comment": comment}))
    };
    let state = || each(&app.get(APPROVALS).ok()["approvals"], "state");
    promote().error(409, "conflict");
    approve("bob", json!("fine")).created();
    app.v1("PATCH", &version("m", 1), json!({"description": "new text"})).ok();
    assert_eq!(state(), ["open"]);
    app.record(1, "core", json!({"score": 1})).ok();
    assert_eq!(state(), ["lapsed"]);
    assert_eq!(app.get(APPROVALS).ok()["approvals"][0]["lapsed"], "the scores changed");
    assert_eq!(app.get("/v1/approvals").ok()["approvals"], json!([]));
    promote().error(409, "conflict");
    approve("bob", json!("still fine")).created();
    assert_eq!(state(), ["open", "withdrawn"], "the earlier one is replaced");
    app.record(1, "core", json!({"score": 1})).ok();
    assert_eq!(state()[0], "open", "the same score again is no change");
    promote().ok();
    assert_eq!(state()[0], "used");
    assert_eq!(app.get("/v1/approvals").ok()["approvals"], json!([]));
    app.add("m", "second");
    let second = format!("{}/approvals", version("m", 2));
    app.as_actor("bob", "POST", &second, json!({"target": "production", "comment": "fine"})).created();
    app.v1("PATCH", &version("m", 2), json!({"artifact_uri": "s3://other/bytes"})).ok();
    assert_eq!(app.get(&second).ok()["approvals"][0]["lapsed"], "the artifact changed");
    app.as_actor("ci", "PATCH", &version("m", 2), json!({"status": "production"})).error(409, "conflict");
}
