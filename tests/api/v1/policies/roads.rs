//! The policies of `docs/policies` on every road to production.

use model_registry::domain::Timestamp;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp};

use super::super::version;

/// A Wednesday.
const NOW: &str = "2026-11-25T10:00:00Z";

fn at(app: &TestApp, time: &str) {
    app.clock.stop_at(Timestamp::parse_rfc3339(time).unwrap().unix_millis());
}

/// A policy of `docs/policies`, and versions that it refuses and admits.
struct Case {
    name: &'static str,
    /// What a version is registered with that the policy refuses, and with what it admits.
    refused: Value,
    admitted: Option<Value>,
    /// The time at which versions go to production.
    time: &'static str,
    /// What a refusal says.
    message: &'static str,
}

impl Case {
    fn of(name: &'static str, refused: Value, admitted: Value, message: &'static str) -> Self {
        Self { name, refused, admitted: Some(admitted), time: NOW, message }
    }
}

fn scored(suites: Value) -> Value {
    json!({"metrics": {"suites": suites}})
}

fn cases() -> Vec<Case> {
    let core = |metric: &str, value: f64| scored(json!({"core": {metric: value}}));
    let rates = |errors: f64, latency: f64| {
        scored(json!({"core": {"error_rate": errors}, "latency": {"p99_ms": latency}}))
    };
    let three = |robustness: f64| {
        scored(json!({"core": {"score": 0.9}, "safety": {"score": 1}, "robustness": {"score": robustness}}))
    };
    let file = |path: &str| json!({"path": path, "size_bytes": 1, "sha256": "0".repeat(64)});
    let tagged = |licence: &str| json!({"tags": {"owner": "nlp", "licence": licence}, "files": [file("README.md"), file("m.safetensors")]});
    let nothing = || json!({});
    vec![
        Case::of("threshold", core("accuracy", 0.89), core("accuracy", 0.9), "must be 0.9 or more"),
        Case::of("no-regression", core("accuracy", 0.5), core("accuracy", 0.795), "at most 0.01 below"),
        Case::of("lower-is-better", rates(0.3, 109.0), rates(0.2, 109.0), "the error rate in the suite core"),
        Case::of("lower-is-better", rates(0.1, 111.0), rates(0.1, 90.0), "at most a tenth higher"),
        Case::of("several-suites", three(0.79), three(0.8), "0.8 or more in each"),
        Case::of("several-suites", core("score", 1.0), three(1.0), "candidate.scores has no \"safety\""),
        Case::of("required-tags", tagged("gpl-3.0"), tagged("mit"), "set the tag licence"),
        Case::of("required-tags", json!({"tags": {"licence": "mit"}}), tagged("mit"), "add a model card"),
        Case::of("two-approvals", nothing(), nothing(), "two others must approve"),
        Case { admitted: None, ..Case::of("signed", nothing(), nothing(), "sign the version first") },
        Case { admitted: None, ..Case::of("scanned-clean", nothing(), nothing(), "found clean") },
        Case::of("soak-time", nothing(), nothing(), "registered for 24 hours"),
        Case { time: "2026-12-24T10:00:00Z", ..Case::of("freeze-window", nothing(), nothing(), "is frozen") },
        Case {
            time: "2026-11-27T14:00:00Z",
            ..Case::of("freeze-window", nothing(), nothing(), "on a weekday")
        },
    ]
}

/// A way to production: of the version with this number and id, or of a new one with these fields.
type Road = (&'static str, bool, fn(&TestApp, i64, i64, &Value) -> Answer);

const ROADS: [Road; 8] = [
    ("native promote", false, |app, _, id, _| app.promote(id)),
    ("native change", false, |app, _, id, _| app.patch(id, &json!({"status": "production"}))),
    ("native registration", true, |app, _, _, fields| {
        // This API takes no files and no values of tags, so the policies about those refuse all of its versions.
        let mut body =
            json!({"name": "m", "version": "new", "artifact_uri": "s3://b/new", "status": "production"});
        body["metrics"] = fields["metrics"].clone();
        app.post("/models", &body)
    }),
    ("change", false, |app, number, _, _| {
        app.v1("PATCH", &version("m", number), json!({"status": "production"}))
    }),
    ("registration", true, |app, _, _, fields| {
        let mut body = json!({"label": "new", "artifact_uri": "s3://b/new", "status": "production"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        app.v1("POST", "/v1/models/m/versions", body)
    }),
    ("alias", false, |app, number, _, _| app.set_alias("m", "production", json!({"version": number}))),
    ("MLflow stage", false, |app, number, _, _| {
        let body = json!({"name": "m", "version": number.to_string(), "stage": "Production"});
        app.post("/api/2.0/mlflow/model-versions/transition-stage", &body)
    }),
    ("MLflow alias", false, |app, number, _, _| {
        let body = json!({"name": "m", "alias": "production", "version": number.to_string()});
        app.post("/api/2.0/mlflow/registered-models/alias", &body)
    }),
];

/// Sets a policy as `registry policy set -f docs/policies/NAME.yaml` does.
fn set(app: &TestApp, name: &str) {
    let path = format!("{}/docs/policies/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let document: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    app.policy(name, document).ok();
}

/// Starts a server with a production version from before there were policies.
fn app() -> TestApp {
    let app = TestApp::with(|settings| settings.http.trust_actor_header = true);
    at(&app, "2026-11-20T10:00:00Z");
    let suites = json!({"core": {"accuracy": 0.8, "error_rate": 0.2}, "latency": {"p99_ms": 100}});
    app.add_with("m", "first", scored(suites));
    app.promote(1).ok();
    app
}

/// Gives version 2 what its fields can't: age, an alias and approvals.
fn qualify(app: &TestApp) {
    app.set_alias("m", "canary", json!({"version": 2})).ok();
    for actor in ["bob", "carl"] {
        app.as_actor(actor, "POST", "/v1/models/m/versions/2/approvals", json!({"target": "production"}))
            .created();
    }
}

#[test]
fn every_policy_refuses_on_every_road_to_production() {
    let app = app();
    for (case, index) in cases().into_iter().zip(0..) {
        set(&app, case.name);
        at(&app, case.time);
        let label = format!("refused-{index}");
        let registered = app.add_with("m", &label, case.refused.clone());
        let (number, id) = (registered["number"].as_i64().unwrap(), registered["id"].as_i64().unwrap());
        let before = app.trail("model=m").len();
        for (road, _, take) in ROADS {
            let refused = take(&app, number, id, &case.refused);
            let text = refused.text.replace("\\\"", "\"");
            assert_eq!(refused.status, 409, "{} by {road}: {text}", case.name);
            assert!(text.contains(&format!("policy \"{}\"", case.name)), "{} by {road}: {text}", case.name);
            if !road.starts_with("native registration") {
                assert!(text.contains(case.message), "{} by {road}: {text}", case.name);
            }
        }
        assert_eq!(app.holder("m", "production"), 1, "{}", case.name);
        assert_eq!(app.trail("model=m").len(), before, "{}: nothing is written", case.name);
        app.v1("DELETE", &format!("/v1/policies/{}", case.name), Value::Null).ok();
    }
}

#[test]
fn every_policy_admits_on_every_road_what_meets_it() {
    for case in cases() {
        let Some(admitted) = &case.admitted else { continue };
        let needs_age = matches!(case.name, "soak-time" | "two-approvals");
        for (road, is_new, take) in ROADS {
            if is_new && needs_age || road == "native registration" && case.name == "required-tags" {
                continue;
            }
            let app = app();
            app.add_with("m", "second", admitted.clone());
            qualify(&app);
            set(&app, case.name);
            at(&app, NOW);
            let answer = take(&app, 2, 2, admitted);
            assert!([200, 201].contains(&answer.status), "{} by {road}: {}", case.name, answer.text);
            let holder = if is_new { 3 } else { 2 };
            assert_eq!(app.holder("m", "production"), holder, "{} by {road}", case.name);
        }
    }
}
