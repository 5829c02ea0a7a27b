//! The life of a key: it is created, used, rotated, revoked, and ends.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use model_registry::domain::Timestamp;

use crate::support::{KEY, TestApp, over_postgres};

fn stop_at(app: &TestApp, time: &str) {
    app.clock.stop_at(Timestamp::parse(time).unwrap().unix_millis());
}

#[test]
fn a_key_is_shown_once_and_valid_until_it_is_revoked() {
    let app = TestApp::spawn();
    let created =
        app.post("/v1/keys", &json!({"name": "ci", "scopes": ["read", "promote:*"], "models": ["a/*"]}));
    assert_eq!(created.status, 201, "{}", created.text);
    let created = created.json();
    let token = created["token"].as_str().unwrap();
    assert!(token.starts_with("reg_1_") && token.len() == 70, "{token}");
    let key = &created["key"];
    assert_eq!((&key["id"], &key["name"], &key["revoked_at"]), (&json!(1), &json!("ci"), &Value::Null));
    let whoami = app.with_key(token, "GET", "/v1/whoami", None).ok();
    assert_eq!(
        whoami,
        json!({"actor": "key:ci", "name": "key:ci", "kind": "key", "scopes": ["read", "promote:*"], "models": ["a/*"],
            "expires_at": null})
    );
    let secret = token.rsplit('_').next().unwrap();
    for path in ["/v1/keys", "/v1/keys/ci", "/v1/keys/1", "/v1/events"] {
        let answer = app.get(path);
        assert!(answer.status == 200 && !answer.text.contains(secret), "{path}: {}", answer.text);
    }
    assert_eq!(app.get("/v1/keys").ok()["keys"].as_array().unwrap().len(), 1);

    let other = format!("{}0", &token[..token.len() - 1]);
    for wrong in [other.as_str(), "reg_1_", "reg_2_", &token[1..]] {
        let answer = app.with_key(wrong, "GET", "/models", None);
        assert!(answer.status == 401 || wrong == token, "{wrong}: {}", answer.text);
    }
    let revoked = app.request("DELETE", "/v1/keys/ci", &[], None).ok();
    assert_eq!(revoked["revoked_by"], "key:test…");
    assert_eq!(app.with_key(token, "GET", "/models", None).status, 401);
    assert_eq!(app.request("DELETE", "/v1/keys/1", &[], None).status, 409);
    assert_eq!(app.request("DELETE", "/v1/keys/ci", &[], None).status, 404);
    assert_eq!(app.get("/v1/keys").ok()["keys"], json!([]));
    assert_eq!(app.get("/v1/keys?revoked=true").ok()["keys"][0]["name"], "ci");
    let again = app.key("ci", &["read"], &[]);
    assert!(again.starts_with("reg_2_"), "an id is never used again: {again}");

    let trail = app.get("/v1/events").ok();
    let events: Vec<_> = trail["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(events, ["create_key", "revoke_key", "create_key"]);
    let event = &trail["events"][2];
    assert_eq!((&event["model"], &event["actor"]), (&Value::Null, &json!("key:test…")));
    assert_eq!(
        event["payload"],
        json!({"id": 1, "name": "ci", "scopes": ["read", "promote:*"], "models": ["a/*"], "expires_at": null})
    );
}

#[test]
fn a_rotated_key_keeps_its_rights_and_its_old_token_is_invalid() {
    let app = TestApp::spawn();
    let old = app.key("ci", &["read"], &[]);
    let rotated = app.post("/v1/keys/ci/rotate", &json!({})).ok();
    let new = rotated["token"].as_str().unwrap();
    assert_eq!(app.with_key(&old, "GET", "/models", None).status, 401);
    app.with_key(new, "GET", "/models", None).ok();
    assert_eq!((&rotated["key"]["id"], &rotated["key"]["scopes"]), (&json!(1), &json!(["read"])));
    assert!(rotated["key"]["rotated_at"].is_string());
    app.request("DELETE", "/v1/keys/ci", &[], None).ok();
    assert_eq!(app.post("/v1/keys/1/rotate", &json!({})).status, 409);
    assert_eq!(app.post("/v1/keys/9/rotate", &json!({})).status, 404);
}

#[test]
fn a_key_ends_when_it_says_and_can_be_rotated_to_a_later_end() {
    let app = TestApp::spawn();
    stop_at(&app, "2026-11-29 10:00:00.000");
    let body = json!({"name": "ci", "scopes": ["read"], "expires_at": "2026-11-29T11:00:00Z"});
    let token = app.post("/v1/keys", &body).json()["token"].as_str().unwrap().to_owned();
    app.with_key(&token, "GET", "/models", None).ok();
    stop_at(&app, "2026-11-29 11:00:00.000");
    let refused = app.with_key(&token, "GET", "/models", None).refused(401);
    assert_eq!(refused, "this API key expired at 2026-11-29T11:00:00.000Z; use another one");
    assert_eq!(app.post("/v1/keys/ci/rotate", &json!({})).status, 409);
    let past = json!({"expires_at": "2026-11-29T10:59:59Z"});
    assert_eq!(app.post("/v1/keys/ci/rotate", &past).status, 400);
    assert_eq!(
        app.post("/v1/keys", &json!({"name": "x", "scopes": ["read"], "expires_at": "2020-01-01"})).status,
        400
    );
    let rotated = app.post("/v1/keys/ci/rotate", &json!({"expires_at": "2026-11-29T12:00:00Z"})).ok();
    app.with_key(rotated["token"].as_str().unwrap(), "GET", "/models", None).ok();
}

#[test]
fn a_key_never_grants_more_than_the_one_that_creates_it() {
    let app = TestApp::spawn();
    stop_at(&app, "2026-11-29 10:00:00.000");
    let body = json!({"name": "lead", "scopes": ["keys", "read", "promote:*"], "models": ["a/*"],
        "expires_at": "2026-12-01T00:00:00Z"});
    let lead = app.post("/v1/keys", &body).json()["token"].as_str().unwrap().to_owned();
    let admin = app.key("root", &["admin"], &[]);
    for (scopes, models, expires_at, status) in [
        (json!(["read", "promote:staging"]), json!(["a/x"]), json!("2026-11-30"), 201),
        (json!(["read"]), json!(["a/*"]), Value::Null, 201),
        (json!(["evaluate"]), json!(["a/x"]), Value::Null, 403),
        (json!(["admin"]), json!(["a/x"]), Value::Null, 403),
        (json!(["read"]), json!([]), Value::Null, 403),
        (json!(["read"]), json!(["*"]), Value::Null, 403),
        (json!(["read"]), json!(["a/*"]), json!("2026-12-02"), 403),
        (json!([]), json!(["a/*"]), Value::Null, 400),
        (json!(["rule"]), json!(["a/*"]), Value::Null, 400),
        (json!(["read"]), json!(["x".repeat(50_000)]), Value::Null, 400),
        (json!(["read"]), json!([""]), Value::Null, 400),
    ] {
        let name = format!("k{}", app.get("/v1/keys").ok()["keys"].as_array().unwrap().len());
        let body = json!({"name": name, "scopes": scopes, "models": models, "expires_at": expires_at});
        let answer = app.with_key(&lead, "POST", "/v1/keys", Some(&body));
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        if status == 201 {
            let end = answer.json()["key"]["expires_at"].as_str().unwrap().to_owned();
            assert!(end.as_str() <= "2026-12-01T00:00:00.000Z", "it ends with its creator: {end}");
        }
    }
    // Nor does it manage a key that has more.
    for (method, path) in [("POST", "/v1/keys/root/rotate"), ("DELETE", "/v1/keys/root")] {
        let answer = app.with_key(&lead, method, path, (method == "POST").then_some(&json!({})));
        assert_eq!(answer.status, 403, "{}", answer.text);
    }
    app.with_key(&admin, "GET", "/models", None).ok();
    for name in ["", "1a", "a b", &"x".repeat(65)] {
        assert_eq!(app.post("/v1/keys", &json!({"name": name, "scopes": ["read"]})).status, 400, "{name}");
    }
    assert_eq!(app.post("/v1/keys", &json!({"name": "root", "scopes": ["read"]})).status, 409);
}

#[test]
fn keys_are_listed_page_by_page() {
    let app = TestApp::spawn();
    for number in 0..5 {
        app.key(&format!("k{number}"), &["read"], &[]);
    }
    let (mut names, mut path) = (Vec::new(), "/v1/keys?limit=2".to_owned());
    loop {
        let page = app.get(&path).ok();
        names.extend(
            page["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/keys?limit=2&cursor={next}");
    }
    assert_eq!(names, ["k0", "k1", "k2", "k3", "k4"]);
    assert_eq!(app.get("/v1/keys/none").status, 404);
    assert_eq!(app.get("/v1/keys/%FF").status, 404);
}

#[test]
fn the_last_use_of_a_key_is_stored_a_little_later() {
    let app = TestApp::spawn();
    let token = app.key("ci", &["read"], &[]);
    assert_eq!(app.get("/v1/keys/ci").ok()["last_used_at"], Value::Null);
    app.with_key(&token, "GET", "/models", None).ok();
    let used = |app: &TestApp| app.get("/v1/keys/ci").ok()["last_used_at"].clone();
    for _ in 0..200 {
        if used(&app).is_string() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let first = used(&app);
    assert!(first.is_string(), "{first}");
    app.with_key(&token, "GET", "/models", None).ok();
    assert_eq!(used(&app), first, "at most once a minute");
    assert_eq!(app.trail_len(), 1, "a use is no event");
}

impl TestApp {
    fn trail_len(&self) -> usize {
        self.get("/v1/events?limit=500").ok()["events"].as_array().unwrap().len()
    }
}

#[test]
fn keys_survive_a_restart_and_work_without_a_key_in_the_environment() {
    let app = TestApp::spawn();
    let token = app.key("ci", &["read"], &[]);
    let folder = app.stop();
    let app = TestApp::over(folder, |settings| settings.http.keys = model_registry::http::Keys::of([]));
    app.with_key(&token, "GET", "/models", None).ok();
    assert_eq!(app.with_key(KEY, "GET", "/models", None).status, 401);
}

#[test]
fn a_key_that_another_server_revokes_is_invalid_here_soon() {
    if !over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let token = app.key("ci", &["read"], &[]);
    let url = std::fs::read_to_string(app.folder.path().join("database-url")).unwrap();
    let other = TestApp::with(|settings| {
        settings.postgres = Some(model_registry::store::postgres::Options::parse(&url).unwrap());
    });
    other.with_key(&token, "GET", "/models", None).ok();
    app.request("DELETE", "/v1/keys/ci", &[], None).ok();
    assert_eq!(app.with_key(&token, "GET", "/models", None).status, 401, "at once where it was revoked");
    let started = std::time::Instant::now();
    while other.with_key(&token, "GET", "/models", None).status == 200 {
        assert!(started.elapsed() < Duration::from_secs(30), "it stays valid");
        thread::sleep(Duration::from_millis(50));
    }
    let created = other.key("ci", &["read"], &[]);
    let started = std::time::Instant::now();
    while app.with_key(&created, "GET", "/v1/whoami", None).status != 200 {
        assert!(started.elapsed() < Duration::from_secs(30), "it stays unknown");
        // Not so often that the address is slowed down.
        thread::sleep(Duration::from_millis(1_100));
    }
}

#[test]
fn keys_of_the_environment_have_names_that_the_trail_shows() {
    let app = TestApp::with(|settings| {
        settings.http.keys =
            model_registry::http::Keys::of([KEY, "alice=teamkey-alice-0001", "bob=teamkey-bob-00002"]);
    });
    for (key, actor) in [
        ("teamkey-alice-0001", "key:alice"),
        ("alice=teamkey-alice-0001", "key:alice"),
        ("teamkey-bob-00002", "key:bob"),
    ] {
        let whoami = app.with_key(key, "GET", "/v1/whoami", None).ok();
        assert_eq!((&whoami["actor"], &whoami["scopes"]), (&json!(actor), &json!(["admin"])));
    }
    let taken = app.post("/v1/keys", &json!({"name": "alice", "scopes": ["read"]}));
    assert_eq!(taken.status, 409, "two keys would be one actor: {}", taken.text);
}
