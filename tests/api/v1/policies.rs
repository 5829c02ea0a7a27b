//! Policies: stored in versions, tried, and in the way of every change that gives a version a status or an alias.

mod approvals;
mod roads;

use serde_json::{Value, json};

use crate::support::{Answer, TestApp};

use super::{model, version};

impl TestApp {
    fn policy(&self, name: &str, document: Value) -> Answer {
        self.v1("PUT", &format!("/v1/policies/{name}"), document)
    }

    /// Sets a policy for production with one condition.
    #[track_caller]
    fn require(&self, name: &str, expression: &str) {
        let conditions = json!([{"expression": expression, "message": format!("{name} is not met")}]);
        self.policy(name, json!({"target": "production", "conditions": conditions})).ok();
    }

    fn try_policies(&self, body: Value) -> Answer {
        self.v1("POST", "/v1/policies/test", body)
    }

    /// Sends a request as this actor.
    fn as_actor(&self, actor: &str, method: &str, path: &str, body: Value) -> Answer {
        let body = (!body.is_null()).then(|| body.to_string());
        self.request(method, path, &[("x-actor", actor)], body.as_deref())
    }
}

fn one(expression: &str) -> Value {
    json!({"target": "production", "conditions": [{"expression": expression, "message": "no"}]})
}

#[test]
fn each_save_of_a_policy_is_a_version_that_stays() {
    let app = TestApp::spawn();
    assert_eq!(app.get("/v1/policies").ok(), json!({"policies": []}));
    app.get("/v1/policies/quality").error(404, "not_found");
    let first = app.policy("quality", one("candidate.number > 0")).ok();
    assert_eq!(
        (&first["version"], &first["models"], &first["action"], &first["builtin"], &first["deleted"]),
        (&json!(1), &json!("*"), &json!("deny"), &json!(false), &json!(false))
    );
    assert_eq!(app.policy("quality", one("candidate.number > 0")).ok(), first, "the same again is no change");
    let mut second = one("candidate.number > 1");
    second["name"] = "quality".into();
    second["description"] = "two".into();
    assert_eq!(app.policy("quality", second).ok()["version"], 2);
    assert_eq!(app.get("/v1/policies/quality").ok()["description"], "two");
    assert_eq!(app.get("/v1/policies/quality?version=1").ok(), first);
    app.get("/v1/policies/quality?version=3").error(404, "not_found");
    let deleted = app.v1("DELETE", "/v1/policies/quality", Value::Null).ok();
    assert_eq!((&deleted["version"], &deleted["deleted"]), (&json!(3), &json!(true)));
    app.v1("DELETE", "/v1/policies/quality", Value::Null).error(404, "not_found");
    app.get("/v1/policies/quality").error(404, "not_found");
    assert_eq!(app.get("/v1/policies/quality?version=1").ok(), first);
    assert_eq!(app.get("/v1/policies").ok(), json!({"policies": []}));
    assert_eq!(app.policy("quality", one("candidate.number > 2")).ok()["version"], 4);
    let trail = app.trail("");
    let types: Vec<_> = trail.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["set_policy", "set_policy", "delete_policy", "set_policy"]);
    assert_eq!(trail[1]["payload"], json!({"name": "quality", "version": 2}));
    assert_eq!(trail[1]["before"]["conditions"][0]["expression"], "candidate.number > 0");
    assert_eq!(trail[1]["after"]["conditions"][0]["expression"], "candidate.number > 1");
    assert_eq!(trail[0]["model"], Value::Null);
}

#[test]
fn a_bad_policy_is_refused_and_nothing_is_stored() {
    let app = TestApp::spawn();
    let elements = format!("[{}]", ["1"; 100].join(","));
    let loops = format!("{elements}.all(a, {elements}.all(b, {elements}.all(c, true)))");
    for (document, message) in [
        (one("candidate.scores.core.score >"), "column 30: expected a value, found the end"),
        (
            one(&loops),
            "condition 1 is refused because, with a small sample, it takes more than the 500000 steps",
        ),
        (
            one("candidate.scroes.core.score > 1"),
            "a version has no field \"scroes\"; did you mean \"scores\"?",
        ),
        (one("candidate.number < 'x'"), "column 18: < can't take an integer and a text"),
        (one("candidate.number"), "must be true or false"),
        (one(&"(".repeat(4_000)), "nests more than 64 levels"),
        (one(&format!("1{} > 0", "+1".repeat(2_000))), "nests more than 64 levels"),
        (one(&"x".repeat(5_000)), "5000 bytes, and at most 4096"),
        (json!({"target": "production", "conditions": []}), "1 to 32 conditions"),
        (json!({"target": "latest", "conditions": []}), "neither a status nor an alias"),
        (
            json!({"target": "production", "models": "*".repeat(1 << 20), "conditions": []}),
            "models has 1048576 bytes, and at most 256",
        ),
        (json!({"name": "other", "target": "production", "conditions": []}), "send one name"),
    ] {
        let error = app.policy("quality", document).error(400, "invalid");
        assert!(error.contains(message), "{error}");
    }
    app.policy("required-suite", one("true")).error(400, "invalid");
    app.policy("quality", json!({"target": 1, "conditions": [{"expression": 1}], "more": 1})).unfit(&[
        "conditions.0.expression",
        "conditions.0.message",
        "more",
        "target",
    ]);
    app.policy("quality", json!({})).unfit(&["target", "conditions"]);
    app.policy("quality", json!({"target": "staging", "action": "stop", "conditions": []}))
        .unfit(&["action"]);
    assert_eq!(app.get("/v1/policies").ok(), json!({"policies": []}));
    assert_eq!(app.trail("").len(), 0);
}

#[test]
fn a_version_is_tried_without_a_change() {
    let app = TestApp::spawn();
    app.add_with("m", "a", json!({"metrics": {"suites": {"core": {"score": 0.8}}}}));
    app.require("quality", "candidate.scores.core.score >= 0.9");
    app.require("missing", "candidate.scores.other.score >= 0.9");
    app.policy(
        "later",
        json!({"target": "champion", "conditions": [{"expression": "false", "message": "no"}]}),
    )
    .ok();
    let tried = app.try_policies(json!({"model": "m", "version": "label:a"})).ok();
    assert_eq!((&tried["target"], &tried["allowed"]), (&json!("production"), &json!(false)));
    assert_eq!(tried["policies"].as_array().unwrap().len(), 2);
    let missing = &tried["policies"][0]["conditions"][0];
    assert_eq!(missing["error"], "candidate.scores has no \"other\"; there is \"core\"");
    let quality = &tried["policies"][1];
    assert_eq!((&quality["policy"], &quality["version"]), (&json!("quality"), &json!(1)));
    assert_eq!(
        quality["conditions"],
        json!([{
            "expression": "candidate.scores.core.score >= 0.9", "message": "quality is not met", "holds": false, "error": null,
        }])
    );
    let unsaved = json!({"model": "m", "version": "1", "policy": one("candidate.scores.core.score >= 0.8")});
    let tried = app.try_policies(unsaved).ok();
    assert_eq!((&tried["allowed"], &tried["policies"][0]["version"]), (&json!(true), &json!(0)));
    let champion = app.try_policies(json!({"model": "m", "version": "1", "target": "champion"})).ok();
    assert_eq!(champion["policies"][0]["policy"], "later");
    app.try_policies(json!({"model": "m", "version": "1", "policy": one("candidate.nope")}))
        .error(400, "invalid");
    app.try_policies(json!({"model": "m", "version": "7"})).error(404, "not_found");
    app.try_policies(json!({"model": "m", "version": "x y"})).unfit(&["version"]);
    assert_eq!(app.get(&version("m", 1)).ok()["status"], "experimental");
}

#[test]
fn a_policy_that_warns_lets_the_change_pass_and_says_so() {
    let app = TestApp::spawn();
    app.add("m", "a");
    let conditions =
        json!([{"expression": "has(candidate.tags.owner)", "message": "set the tag owner (größer)"}]);
    app.policy("tags", json!({"target": "production", "action": "warn", "conditions": conditions})).ok();
    let answer = app.v1("PATCH", &version("m", 1), json!({"status": "production"}));
    assert_eq!(
        answer.header("x-policy-warning"),
        Some("policy \"tags\": set the tag owner (gr%C3%B6%C3%9Fer)")
    );
    assert_eq!(answer.ok()["status"], "production");
    let event = app.trail("model=m").pop().unwrap();
    let policy = &event["policies"][0];
    assert_eq!(
        (&policy["name"], &policy["version"], &policy["result"]),
        (&json!("tags"), &json!(1), &json!("failed"))
    );
    assert_eq!(policy["failed"][0], "policy \"tags\": set the tag owner (größer)");
    app.v1("PATCH", &version("m", 1), json!({"status": "staging"})).ok();
    let native = app.post("/models/1/promote", &json!({"to_status": "production"}));
    assert_eq!(native.header("x-policy-warning"), None, "the frozen API answers as ever");
    app.require("quality", "candidate.number == 2");
    app.v1("PATCH", &version("m", 1), json!({"status": "staging"})).ok();
    app.v1("PATCH", &version("m", 1), json!({"status": "production"})).error(409, "conflict");
}

#[test]
fn the_event_of_a_promotion_has_the_policies_and_the_digest_of_what_they_saw() {
    let app = TestApp::with(|settings| settings.rules.gate.required_suite = Some("core".to_owned()));
    app.add_with("m", "a", json!({"metrics": {"suites": {"core": {"score": 0.8}}}}));
    app.require("number", "candidate.number == 1");
    app.v1("PATCH", &version("m", 1), json!({"status": "production"})).ok();
    let event = app.trail("model=m").pop().unwrap();
    let policies = event["policies"].as_array().unwrap();
    let said: Vec<_> =
        policies.iter().map(|policy| (&policy["name"], &policy["version"], &policy["result"])).collect();
    let passed = json!("passed");
    assert_eq!(
        said,
        [(&json!("required-suite"), &json!(0), &passed), (&json!("number"), &json!(1), &passed)]
    );
    assert_eq!(event["policy_inputs_sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn the_required_suite_is_listed_as_a_policy_and_refuses_in_the_same_words() {
    let app = TestApp::with(|settings| settings.rules.gate.required_suite = Some("core".to_owned()));
    let listed = app.get("/v1/policies").ok()["policies"][0].clone();
    assert_eq!((&listed["name"], &listed["builtin"]), (&json!("required-suite"), &json!(true)));
    assert_eq!(app.get("/v1/policies/required-suite").ok(), listed);
    let message =
        "a production version needs scores of the suite \"core\", and this one has none; record them first";
    assert_eq!(listed["conditions"][0]["message"], message);
    app.v1("DELETE", "/v1/policies/required-suite", Value::Null).error(409, "conflict");
    let id = app.register("m", "1");
    assert_eq!(app.promote(id).refused(409), message);
    let tried = app.try_policies(json!({"model": "m", "version": "1"})).ok();
    assert_eq!(tried["policies"][0]["conditions"][0]["message"], message);
    assert_eq!(tried["allowed"], false);
    // Beside another policy, a refusal lists both.
    app.require("number", "candidate.number == 2");
    let error = app.promote(id).refused(409);
    assert!(error.contains(message) && error.contains("number is not met"), "{error}");
    let body = app.v1("PATCH", &version("m", 1), json!({"status": "production"}));
    body.error(409, "conflict");
    let denied = body.json()["error"]["policies"].clone();
    assert_eq!((&denied[0]["policy"], &denied[1]["policy"]), (&json!("required-suite"), &json!("number")));
}

#[test]
fn current_is_the_last_holder_even_after_a_demotion_or_a_deletion() {
    let app = TestApp::spawn();
    let scored = |label: &str, score: Value| {
        let metrics = json!({"metrics": {"suites": {"core": {"score": score}}}});
        app.add_with("m", label, metrics)["id"].as_i64().unwrap()
    };
    let (good, worse) = (scored("good", json!(0.9)), scored("worse", json!(0.5)));
    let text = scored("text", json!("high"));
    app.require(
        "no-regression",
        "current == null || candidate.scores.core.score >= current.scores.core.score",
    );
    app.promote(good).ok();
    app.post("/models/1/promote", &json!({"to_status": "staging"})).ok();
    let error = app.promote(worse).refused(409);
    assert!(error.contains("policy \"no-regression\": no-regression is not met"), "{error}");
    let error = app.promote(text).refused(409);
    assert!(error.contains("candidate.scores.core.score is the text \"high\""), "{error}");
    app.delete(good).ok();
    app.promote(worse).refused(409);
    // A rollback has its own rule: only back to a version that was there.
    app.v1("POST", "/v1/models/m/versions/1/restore", Value::Null).ok();
    app.promote(good).ok();
    app.require("nothing", "false");
    app.rollback("m", json!({"to": 2, "reason": "it fails"})).error(409, "conflict");
    app.post("/models/1/promote", &json!({"to_status": "staging"})).ok();
    assert_eq!(app.rollback("m", json!({"reason": "it works"})).ok()["number"], 1);
}

#[test]
fn a_version_that_was_in_production_keeps_its_files() {
    let app = TestApp::spawn();
    app.add("m", "first");
    app.add("m", "second");
    app.promote(1).ok();
    app.promote(2).ok();
    let before = app.get(&version("m", 1)).ok();
    assert_eq!(before["status"], "staging");
    let sha256 = "a".repeat(64);
    let (uri, digest) = (json!({"artifact_uri": "s3://b/other"}), json!({"checkpoint_sha256": sha256}));
    for patch in [&uri, &digest] {
        let error = app.patch(1, patch).refused(409);
        assert!(error.contains("this version was in production"), "{error}");
    }
    for patch in [uri.clone(), json!({"artifact_uri": "s3://b/other", "tags": {"a": "b"}})] {
        let error = app.v1("PATCH", &version("m", 1), patch).error(409, "conflict");
        assert!(error.contains("so artifact_uri can't change"), "{error}");
    }
    assert_eq!(app.get(&version("m", 1)).ok(), before);
    app.v1("PATCH", &version("m", 1), json!({"run_id": "r", "tags": {"a": "b"}})).ok();
    app.rollback("m", json!({"reason": "it works"})).ok();
    let after = app.get(&version("m", 1)).ok();
    assert_eq!((&after["status"], &after["artifact_uri"]), (&json!("production"), &before["artifact_uri"]));
    app.add("m", "third");
    app.patch(3, &uri).ok();
}

#[test]
fn the_versions_that_a_stage_archives_meet_the_policies_for_archived_ones() {
    let app = TestApp::spawn();
    for label in ["a", "b"] {
        app.add_with("m", label, json!({"status": "staging"}));
    }
    app.add("m", "c");
    let keep = json!([{"expression": "candidate.label != 'b'", "message": "b stays"}]);
    app.policy("keep", json!({"target": "archived", "conditions": keep})).ok();
    let stage = json!({"name": "m", "version": "3", "stage": "Staging", "archive_existing_versions": true});
    let refused = app.post("/api/2.0/mlflow/model-versions/transition-stage", &stage);
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(refused.text.contains("b stays"), "{}", refused.text);
    for (number, status) in [(1, "staging"), (2, "staging"), (3, "experimental")] {
        assert_eq!(app.get(&version("m", number)).ok()["status"], status, "nothing is written");
    }
    app.v1("DELETE", &version("m", 2), Value::Null).ok();
    app.post("/api/2.0/mlflow/model-versions/transition-stage", &stage).ok();
    for (number, status) in [(1, "archived"), (3, "staging")] {
        assert_eq!(app.get(&version("m", number)).ok()["status"], status);
    }
}

#[test]
fn warnings_have_a_limited_size() {
    let app = TestApp::spawn();
    app.add("m", "a");
    let conditions: Vec<_> =
        (0..32).map(|_| json!({"expression": "false", "message": "ö".repeat(400)})).collect();
    for name in ["one", "two"] {
        app.policy(name, json!({"target": "production", "action": "warn", "conditions": conditions})).ok();
    }
    let answer = app.v1("PATCH", &version("m", 1), json!({"status": "production"}));
    assert_eq!(answer.header("x-policy-warning"), Some("and 56 more"), "the last one counts the rest");
    answer.ok();
    let event = app.trail("model=m").pop().unwrap();
    let failed = |at: usize| event["policies"][at]["failed"].as_array().unwrap().clone();
    assert_eq!((failed(0).len(), failed(1)), (9, vec![json!("and 32 more")]), "{event}");
    assert_eq!(failed(0)[8], "and 24 more");
    assert!(failed(0)[0].as_str().unwrap().ends_with("ö..."), "{event}");
}

#[test]
fn a_target_may_be_another_status_or_an_alias() {
    let app = TestApp::spawn();
    for label in ["a", "b"] {
        app.add("m", label);
    }
    app.add("other", "a");
    let wants_b = json!([{"expression": "candidate.label == 'b' && target != ''", "message": "only b"}]);
    for target in ["staging", "champion"] {
        app.policy(target, json!({"models": "m*", "target": target, "conditions": wants_b})).ok();
    }
    app.set_alias("m", "champion", json!({"version": 1})).error(409, "conflict");
    app.set_alias("m", "staging", json!({"version": 1})).error(409, "conflict");
    app.set_alias("m", "champion", json!({"version": 2})).ok();
    app.set_alias("other", "champion", json!({"version": 1})).ok();
    app.v1("PATCH", &version("m", 1), json!({"status": "staging"})).error(409, "conflict");
    app.v1("PATCH", &version("m", 2), json!({"status": "staging"})).ok();
    // Leaving production is never refused.
    app.v1("PATCH", &version("m", 1), json!({"status": "production"})).ok();
    app.v1("PATCH", &version("m", 1), json!({"status": "staging"})).ok();
    // The staging version is tried again when it comes out of the trash.
    app.v1("DELETE", &version("m", 1), Value::Null).ok();
    let restored = app.v1("POST", &format!("{}/restore", version("m", 1)), Value::Null);
    assert!(restored.header("x-policy-warning").unwrap().contains("it comes back experimental"));
    assert_eq!(restored.ok()["status"], "experimental");
    // A model that gets a name of the pattern is judged too.
    let error = app.v1("PATCH", &model("other"), json!({"name": "moved"})).error(409, "conflict");
    assert!(error.contains("version \"a\" of \"other\" may not become champion"), "{error}");
    app.v1("DELETE", "/v1/models/other/aliases/champion", Value::Null).ok();
    app.v1("PATCH", &model("other"), json!({"name": "moved"})).ok();
}
