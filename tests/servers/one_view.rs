//! No server keeps data in memory that another one may have changed.

use serde_json::{Value, json};

use crate::{
    database::Database,
    group::{Group, SERVERS},
};

#[test]
fn what_one_server_acknowledges_every_other_answers_at_once() {
    let Some(database) = Database::start() else { return };
    let group = Group::start(&database);
    let mut server = 0;
    // Each change through the next server, and then a look through all.
    let mut change = |method: &str, path: &str, body: Value, look: &str, pointer: &str, expected: Value| {
        server = (server + 1) % SERVERS;
        let (status, answer) = group.ask(server, method, path, Some(&body));
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        for reader in 0..SERVERS {
            let (_, answer) = group.ask(reader, "GET", look, None);
            assert_eq!(answer.pointer(pointer), Some(&expected), "{look} after {method} {path}: {answer}");
        }
    };
    let versions = "/v1/models/m/versions";
    let one = format!("{versions}/1");
    let aliases = "/v1/models/m/aliases/champion";
    for (label, number) in [("a", 1), ("b", 2)] {
        let body = json!({"label": label, "artifact_uri": "s3://b/o"});
        change("POST", versions, body, "/stats", "/total_models", json!(number));
    }
    for version in [1, 2] {
        change(
            "PUT",
            aliases,
            json!({"version": version}),
            "/v1/models/m/versions/@champion",
            "/number",
            json!(version),
        );
        let promote = "/v1/models/m/aliases/production";
        change("PUT", promote, json!({"version": version}), "/production/m", "/id", json!(version));
    }
    change("PATCH", &one, json!({"description": "new"}), &one, "/description", json!("new"));
    let search = "/v1/versions?filter=scores.s.a%20%3E%200.5";
    change(
        "POST",
        &format!("{one}/scores"),
        json!({"suite": "s", "metrics": {"a": 0.75}}),
        search,
        "/versions/0/number",
        json!(1),
    );
    change("PUT", &format!("{one}/tags/team"), json!({"value": "nlp"}), &one, "/tags/team", json!("nlp"));
    change("PATCH", "/v1/models/m", json!({"name": "n"}), "/v1/models/n", "/name", json!("n"));
    change(
        "DELETE",
        "/v1/models/n/versions/1",
        Value::Null,
        "/v1/models/n/versions/1",
        "/error/code",
        json!("not_found"),
    );
    change(
        "POST",
        "/v1/models/n/versions/1/restore",
        json!({}),
        "/v1/models/n/versions/1",
        "/number",
        json!(1),
    );
    group.stop();
}

#[test]
fn a_policy_that_one_server_acknowledges_is_in_effect_on_every_other() {
    let Some(database) = Database::start() else { return };
    let group = Group::start(&database);
    let body = json!({"label": "a", "artifact_uri": "s3://b/o"});
    assert_eq!(group.ask(0, "POST", "/v1/models/m/versions", Some(&body)).0, 201);
    for server in 0..SERVERS {
        let name = format!("/v1/policies/of-{server}");
        let conditions = json!([{"expression": format!("candidate.number > {server}"), "message": "no"}]);
        let policy = json!({"target": "production", "conditions": conditions});
        assert_eq!(group.ask(server, "PUT", &name, Some(&policy)).0, 200);
        for other in 0..SERVERS {
            let change = |status: &str| {
                group.ask_again(other, "PATCH", "/v1/models/m/versions/1", &json!({"status": status}))
            };
            let (status, answer) = change("production");
            let expected = if server == 0 { 200 } else { 409 };
            assert_eq!(status, expected, "{answer}");
            assert_eq!(change("staging").0, 200);
        }
    }
    // Each server saves the same policy: every save is a version of its own.
    std::thread::scope(|scope| {
        for server in 0..SERVERS {
            let group = &group;
            scope.spawn(move || {
                for turn in 0..5 {
                    let conditions =
                        json!([{"expression": format!("candidate.number > {server} + {turn}"), "message": "no"}]);
                    let policy = json!({"target": "champion", "conditions": conditions});
                    assert_eq!(group.ask(server, "PUT", "/v1/policies/shared", Some(&policy)).0, 200);
                }
            });
        }
    });
    let saved = 5 * SERVERS as i64;
    assert_eq!(group.get(0, "/v1/policies/shared")["version"], saved);
    database.is_sound();
    group.stop();
}
