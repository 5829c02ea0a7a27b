//! Versions in the trash: restored, listed, and the labels that they keep.

use serde_json::{Value, json};

use crate::support::TestApp;

use super::{each, version};

#[test]
fn a_deleted_version_is_restored_by_its_number() {
    let app = TestApp::spawn();
    app.add("m", "1");
    app.add("m", "2");
    app.set_alias("m", "champion", json!({"version": 1})).ok();
    app.set_alias("m", "production", json!({"version": 1})).ok();
    let message = app.v1("DELETE", &version("m", 1), Value::Null).error(409, "conflict");
    assert!(message.contains("force=true"), "{message}");
    assert_eq!(
        app.v1("DELETE", "/v1/models/m/versions/@champion?force=true", Value::Null).ok(),
        json!({"deleted": true})
    );
    app.get(&version("m", 1)).error(404, "not_found");
    assert_eq!(app.get("/v1/models/m").ok()["aliases"], json!({}));
    app.v1("DELETE", &version("m", 1), Value::Null).error(404, "not_found");

    let restored = app.v1("POST", &format!("{}/restore", version("m", 1)), Value::Null).ok();
    assert_eq!(
        (&restored["id"], &restored["number"], &restored["status"]),
        (&json!(1), &json!(1), &json!("staging"))
    );
    for number in [1, 9] {
        app.v1("POST", &format!("{}/restore", version("m", number)), json!({})).error(404, "not_found");
    }
    app.v1("POST", "/v1/models/m/versions/label:1/restore", Value::Null).unfit(&["number"]);

    app.v1("DELETE", &version("m", 2), Value::Null).ok();
    app.register("m", "2");
    app.v1("POST", &format!("{}/restore", version("m", 2)), Value::Null).error(409, "conflict");
}

#[test]
fn a_label_is_given_out_again_only_for_the_same_bytes_or_on_request() {
    let app = TestApp::spawn();
    let register = |digest: Option<u8>, more: Value| {
        let mut body = json!({"label": "1", "artifact_uri": "s3://b"});
        if let Some(byte) = digest {
            body["sha256"] = super::versions::digest(byte).into();
        }
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        app.v1("POST", "/v1/models/m/versions", body)
    };
    let first = register(Some(1), json!({})).created();
    register(Some(1), json!({})).error(409, "conflict");
    register(Some(1), json!({"reuse_label": true})).error(409, "conflict");
    app.v1("DELETE", &version("m", 1), Value::Null).ok();
    let message = register(Some(2), json!({})).error(409, "conflict");
    assert!(
        message.ends_with("other bytes and deleted; choose another label, or send reuse_label=true"),
        "{message}"
    );
    let message = register(None, json!({})).error(409, "conflict");
    assert!(message.contains("so give the SHA-256"), "{message}");
    let same = register(Some(1), json!({})).created();
    assert_eq!((&first["number"], &same["number"]), (&json!(1), &json!(2)));
    app.v1("DELETE", &version("m", 2), Value::Null).ok();
    assert_eq!(register(Some(2), json!({"reuse_label": true})).created()["number"], 3);
}

#[test]
fn versions_in_the_trash_are_listed_newest_first_and_paged() {
    let app = TestApp::with(|settings| settings.http.trust_actor_header = true);
    for label in ["a", "b", "c", "live"] {
        app.add("m", label);
    }
    for number in 1..=3 {
        app.request("DELETE", &version("m", number), &[("X-Actor", "ann")], None).ok();
    }
    let first = app.get("/v1/models/m/versions?deleted=true&limit=2").ok();
    assert_eq!(each(&first["versions"], "number"), [3, 2]);
    let deleted = &first["versions"][0];
    assert_eq!((&deleted["label"], &deleted["deleted_by"]), (&json!("c"), &json!("ann")));
    assert!(deleted["deleted_at"].as_str().unwrap() >= deleted["updated_at"].as_str().unwrap());
    let cursor = first["next"].as_str().unwrap();
    let rest = app.get(&format!("/v1/models/m/versions?deleted=true&limit=2&cursor={cursor}")).ok();
    assert_eq!((each(&rest["versions"], "number"), &rest["next"]), (vec![json!(1)], &Value::Null));
    app.v1("POST", &format!("{}/restore", version("m", 3)), Value::Null).ok();
    let left = app.get("/v1/models/m/versions?deleted=true").ok();
    assert_eq!(each(&left["versions"], "number"), [2, 1]);
    assert_eq!(each(&app.get("/v1/models/m/versions").ok()["versions"], "number"), [4, 3]);

    app.add("other", "1");
    assert_eq!(app.get("/v1/models/other/versions?deleted=true").ok(), json!({"versions": [], "next": null}));
    app.get("/v1/models/none/versions?deleted=true").error(404, "not_found");
    app.get("/v1/models/m/versions?deleted=true&status=staging").error(400, "invalid");
    let other_list = app.get("/v1/models/m/versions?limit=1").ok()["next"].as_str().unwrap().to_owned();
    app.get(&format!("/v1/models/m/versions?deleted=true&cursor={other_list}")).error(400, "invalid");
}

#[test]
fn a_label_stays_spent_when_its_model_is_deleted() {
    let app = TestApp::spawn();
    let add = |bytes: &str| {
        let body = json!({"label": "1", "sha256": bytes.repeat(32)});
        app.v1("POST", "/v1/models/m/versions", body)
    };
    add("ab").created();
    app.v1("DELETE", &version("m", 1), Value::Null).ok();
    add("cd").error(409, "conflict");
    app.v1("DELETE", "/v1/models/m", Value::Null).ok();
    add("cd").error(409, "conflict");
    app.v1("POST", "/v1/models", json!({"name": "m"})).created();
    add("cd").error(409, "conflict");
    assert_eq!(add("ab").created()["number"], 2);
}
