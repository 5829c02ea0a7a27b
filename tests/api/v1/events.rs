//! The audit trail of `/v1`.

use serde_json::{Value, json};

use crate::support::TestApp;

use super::{each, model, version};

#[test]
fn the_trail_is_filtered_by_model_version_type_and_actor() {
    let app = TestApp::with(|settings| settings.http.trust_actor_header = true);
    let by = |actor: &str, method: &str, path: &str, body: Value| {
        let answer = app.request(method, path, &[("X-Actor", actor)], Some(&body.to_string()));
        assert!(answer.status < 300, "{}", answer.text);
    };
    let new = |label: &str| json!({"label": label, "artifact_uri": "s3://b"});
    by("ann", "POST", "/v1/models", json!({"name": "m"}));
    by("ann", "POST", "/v1/models/m/versions", new("a"));
    by("bob", "POST", "/v1/models/m/versions", new("b"));
    by("bob", "POST", "/v1/models/n/versions", new("a"));
    by("ann", "PUT", "/v1/models/m/aliases/production", json!({"version": 2, "reason": "r"}));
    for (query, types) in [
        ("", &["create_model", "create", "create", "create", "promote"][..]),
        ("model=m", &["create_model", "create", "create", "promote"]),
        ("model=m&version=2", &["create", "promote"]),
        ("model=m&version=9", &[]),
        ("model=n", &["create"]),
        ("model=none", &[]),
        ("type=create", &["create", "create", "create"]),
        ("type=create&model=m&actor=bob", &["create"]),
        ("actor=ann", &["create_model", "create", "promote"]),
        ("type=nonsense", &[]),
    ] {
        assert_eq!(each(&json!(app.trail(query)), "type"), types, "{query}");
    }
    let trail = app.trail("");
    assert_eq!((&trail[0]["version"], &trail[0]["version_id"]), (&Value::Null, &Value::Null));
    let promoted = &trail[4];
    assert_eq!(
        (&promoted["version"], &promoted["version_id"], &promoted["reason"]),
        (&json!(2), &json!(2), &json!("r"))
    );
    assert_eq!(promoted["hash"].as_str().unwrap().len(), 64);
    let whoami = app.request("GET", "/v1/whoami", &[("X-Actor", "ann")], None);
    assert_eq!(whoami.ok()["actor"], "ann");
}

#[test]
fn pages_of_the_trail_follow_each_other_while_events_are_added() {
    let app = TestApp::spawn();
    for label in 0..7 {
        app.add("m", &label.to_string());
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/v1/events?limit=3{cursor}")).ok();
        found.extend(each(&page["events"], "id"));
        app.add("other", &found.len().to_string());
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, [7, 6, 5, 4, 3, 2, 1]);
}

#[test]
fn the_trail_of_what_is_deleted_stays() {
    let app = TestApp::spawn();
    app.add("m", "a");
    app.add("m", "b");
    app.v1("DELETE", &version("m", 1), Value::Null).ok();
    let trail = app.trail("model=m&version=1");
    assert_eq!(
        (each(&json!(trail), "type"), &trail[0]["version"]),
        (vec![json!("create"), json!("delete")], &json!(1))
    );
    app.v1("DELETE", &model("m"), Value::Null).ok();
    let types = each(&json!(app.trail("model=m")), "type");
    assert_eq!(types, ["create", "create", "delete", "delete", "delete_model"]);
}

#[test]
fn a_version_needs_its_model_and_a_cursor_its_list() {
    let app = TestApp::spawn();
    app.add("m", "a");
    app.get("/v1/events?version=1").unfit(&["version"]);
    for cursor in ["x", "WyJuYW1lLmFzYyIsIm0iLDFd"] {
        for list in ["/v1/events", "/v1/models/m/versions"] {
            app.get(&format!("{list}?cursor={cursor}")).error(400, "invalid");
        }
    }
    app.get("/v1/models?cursor=x").error(400, "invalid");
    app.get("/v1/versions?cursor=x").error(400, "invalid");
}
