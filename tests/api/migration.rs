//! Files of older servers: upgraded in place with all of their contents.

use std::time::Duration;

use model_registry::store::sqlite::{
    Options, Synchronous,
    maintenance::{Source, Watch},
};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{KEY, TestApp};

/// The table of 0.2.0's predecessor.
const FIRST: &str = include_str!("../old_files/before_0_2_0.sql");

/// What 0.2.0 added to it.
const SECOND: &str = include_str!("../old_files/0_2_0.sql");

/// A file of schema 301.
const THIRD: &str = include_str!("../old_files/0_3_0.sql");

/// Returns a folder with a database made by these statements.
fn database(statements: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("registry.db")).unwrap();
    // As in Python, the foreign key is not enforced.
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    for sql in statements {
        connection.execute_batch(sql).unwrap();
    }
    folder
}

fn served(statements: &[&str]) -> TestApp {
    TestApp::over(database(statements), |_| {})
}

fn by_version(app: &TestApp, name: &str, version: &str) -> Value {
    app.get(&format!("/models/by-name/{name}/{version}")).ok()
}

#[test]
fn a_file_of_the_first_version_is_upgraded_with_its_rows() {
    let app = served(&[
        FIRST,
        r#"INSERT INTO models (name, version, checkpoint_path, config_path, d_model, params, training_step,
            training_loss, dataset, description, tags, metrics, status, created_at, updated_at)
           VALUES ('old', '1', '/data/old.pt', '/data/old.json', 8, 7, 3, 0.5, 'ds', 'd', '["x", "y"]',
            '{"loss": 1.0}', 'staging', '2024-01-02 03:04:05', '2024-02-03 04:05:06')"#,
        "INSERT INTO models (name, version, checkpoint_path) VALUES ('old', '2', '/data/2.pt')",
    ]);
    let model = by_version(&app, "old", "1");
    for (field, value) in [
        ("id", json!(1)),
        ("status", json!("staging")),
        ("artifact_uri", json!("legacy:1")),
        ("checkpoint_sha256", json!(null)),
        ("created_by", json!(null)),
        ("frozen", json!(false)),
        ("local_checkpoint_path", json!(null)),
        ("d_model", json!(8)),
        ("params", json!(7)),
        ("training_step", json!(3)),
        ("training_loss", json!(0.5)),
        ("dataset", json!("ds")),
        ("description", json!("d")),
        ("tags", json!(["x", "y"])),
        ("metrics", json!({"loss": 1.0})),
        ("created_at", json!("2024-01-02 03:04:05")),
        ("updated_at", json!("2024-02-03 04:05:06")),
    ] {
        assert_eq!(model[field], value, "{field}");
    }
    assert_eq!(model.as_object().unwrap().len(), 29);
    assert_eq!(app.get("/models/1/events").ok(), json!([]));
    assert_eq!(by_version(&app, "old", "2")["status"], "experimental");
    app.record(1, "s", json!({"a": 1})).ok();
    app.promote(1).ok();
    app.patch(1, &json!({"description": "new"})).ok();
    assert_eq!(app.event_types(1), ["eval", "promote", "update"]);
    assert!(app.model(1)["updated_at"].as_str().unwrap() > "2024-02-03 04:05:06");
    assert_eq!(app.register("old", "3"), 3);
    let app = TestApp::over(app.stop(), |settings| settings.http.expose_local_paths = true);
    assert_eq!(app.model(1)["local_checkpoint_path"], "/data/old.pt");
}

#[test]
fn a_file_of_0_2_0_is_upgraded_with_its_rows_and_events() {
    let digest = "a".repeat(64);
    let insert = format!(
        "INSERT INTO models (name, version, checkpoint_path, artifact_uri, checkpoint_sha256,
            checkpoint_size_bytes, run_id, created_by, frozen, status, created_at, updated_at)
         VALUES ('m', '1', 's3://b/m', 's3://b/m', '{digest}', 5, 'r', 'ann', 1, 'production',
            '2025-01-02 03:04:05', '2025-01-02 03:04:06');
         INSERT INTO model_events (model_id, event_type, payload_json, actor, created_at) VALUES
            (1, 'create', '{{\"name\": \"m\", \"t\": \"\\u0442\"}}', 'ann', '2025-01-02 03:04:05'),
            (1, 'custom', NULL, NULL, NULL), (7, 'delete', 'no json', 'bob', '2025-01-03 00:00:00');"
    );
    let app = served(&[FIRST, SECOND, &insert]);
    let model = app.model(1);
    for (field, value) in [
        ("artifact_uri", json!("s3://b/m")),
        ("checkpoint_sha256", json!(digest)),
        ("checkpoint_size_bytes", json!(5)),
        ("run_id", json!("r")),
        ("created_by", json!("ann")),
        ("frozen", json!(true)),
        ("status", json!("production")),
        ("updated_at", json!("2025-01-02 03:04:06")),
    ] {
        assert_eq!(model[field], value, "{field}");
    }
    let events = app.events(1);
    assert_eq!(
        events[0].to_string(),
        r#"{"id":1,"model_id":1,"event_type":"create","payload":{"name":"m","t":"т"},"actor":"ann","created_at":"2025-01-02 03:04:05"}"#
    );
    assert_eq!((&events[1]["payload"], &events[1]["actor"]), (&json!(null), &json!(null)));
    assert!(events[1]["created_at"].as_str().is_some_and(|time| !time.is_empty()));
    assert_eq!(app.events(7)[0]["payload"], json!(null));
    app.patch(1, &json!({"run_id": "other"})).refused(409);
}

#[test]
fn a_version_that_has_events_can_be_deleted_and_they_stay() {
    let app = served(&[
        FIRST,
        SECOND,
        "INSERT INTO models (name, version, checkpoint_path) VALUES ('m', '1', '/x');
         INSERT INTO model_events (model_id, event_type) VALUES (1, 'create');",
    ]);
    app.delete(1).ok();
    app.get("/models/1").refused(404);
    assert_eq!(app.event_types(1), ["create", "delete"]);
    // The next id follows the last one of the old server.
    assert_eq!(app.register("m", "1"), 2);
    assert_eq!(app.events(2)[0]["id"], 3);
}

#[test]
fn ids_of_versions_that_an_older_server_deleted_are_not_reused() {
    let app = served(&[
        FIRST,
        SECOND,
        "INSERT INTO models (id, name, version, checkpoint_path) VALUES (40, 'm', '1', '/x');
         INSERT INTO model_events (id, model_id, event_type) VALUES (90, 40, 'create');
         DELETE FROM model_events; DELETE FROM models;",
    ]);
    assert_eq!(app.register("m", "1"), 41);
    assert_eq!(app.events(41)[0]["id"], 91);
}

#[test]
fn json_written_by_a_python_server_is_answered_in_the_form_of_this_one() {
    let app = served(&[
        FIRST,
        SECOND,
        r#"INSERT INTO models (name, version, checkpoint_path, tags, metrics, updated_at) VALUES
            ('m', 'spaces', '/x', '["a", "b"]', '{"a": 1.0, "b": {"c": [1, 2]}}', '2025-01-02 03:04:05'),
            ('m', 'escapes', '/x', '["\u0442\u0435\u0433"]', '{"\u00e9": "\ud83d\ude00 \u0007"}', '2025-01-02 03:04:05'),
            ('m', 'nan', '/x', NULL, '{"loss": NaN, "up": Infinity, "down": [-Infinity], "text": "NaN"}', '2025-01-02 03:04:05'),
            ('m', 'null', '/x', 'null', 'null', '2025-01-02 03:04:05'),
            ('m', 'broken', '/x', '["a"', 'text', '2025-01-02 03:04:05'),
            ('m', 'empty', '/x', '', '', '2025-01-02 03:04:05')"#,
        "INSERT INTO models (name, version, checkpoint_path, training_loss) VALUES
            ('loss', 'inf', '/x', 9e999), ('loss', '-inf', '/x', -9e999), ('loss', 'whole', '/x', 2)",
    ]);
    for (version, tags, metrics) in [
        ("spaces", r#"["a","b"]"#, r#"{"a":1.0,"b":{"c":[1,2]}}"#),
        ("escapes", r#"["тег"]"#, r#"{"é":"😀 \u0007"}"#),
        ("nan", "null", r#"{"loss":null,"up":null,"down":[null],"text":"NaN"}"#),
        ("null", "null", "null"),
        ("broken", "null", "null"),
        ("empty", "null", "null"),
    ] {
        let text = app.get(&format!("/models/by-name/m/{version}")).text;
        let expected = format!(r#""tags":{tags},"metrics":{metrics},"created_at":"#);
        assert!(text.contains(&expected), "{version}: {text}");
        assert!(text.ends_with(r#""updated_at":"2025-01-02 03:04:05"}"#), "{version} was not changed");
    }
    assert_eq!(app.ids("/models?tag=%D1%82%D0%B5%D0%B3").len(), 1, "an escaped tag is found");
    assert_eq!(by_version(&app, "loss", "inf")["training_loss"], json!(null));
    assert_eq!(by_version(&app, "loss", "-inf")["training_loss"], json!(null));
    assert_eq!(by_version(&app, "loss", "whole")["training_loss"].to_string(), "2.0");
    assert_eq!(app.get("/models?limit=200").ok().as_array().unwrap().len(), 9);
    let ids = app.ids("/models?limit=200").iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(app.get(&format!("/compare?ids={ids}")).status, 200);
    let id = by_version(&app, "m", "nan")["id"].as_i64().unwrap();
    let model = app.record(id, "s", json!({"a": 1})).ok();
    assert_eq!((&model["metrics"]["loss"], &model["metrics"]["suites"]["s"]["a"]), (&json!(null), &json!(1)));
}

#[test]
fn gaps_that_older_servers_left_are_filled() {
    let app = served(&[
        FIRST,
        SECOND,
        "INSERT INTO models (name, version, checkpoint_path, status, created_at, updated_at, artifact_uri) VALUES
            ('m', '1', '/x', NULL, NULL, NULL, NULL), ('m', '2', '/x', 'live', '2025-01-02 03:04:05', NULL, '  '),
            ('m', '3', '/x', 'archived', '2025-01-02 03:04:05', '2025-01-02 03:04:06', ' s3://x ')",
    ]);
    let (first, second, third) = (app.model(1), app.model(2), app.model(3));
    assert_eq!((&first["status"], &second["status"]), (&json!("experimental"), &json!("experimental")));
    assert_eq!(third["status"], "archived");
    assert_eq!(first["created_at"], first["updated_at"]);
    assert!(first["created_at"].as_str().unwrap().starts_with("20"));
    assert_eq!(second["updated_at"], "2025-01-02 03:04:05");
    let uris = [first, second, third].map(|model| model["artifact_uri"].clone());
    assert_eq!(uris, ["legacy:1", "legacy:2", " s3://x "]);
    for (sort, order) in [("created_at", "asc"), ("updated_at", "desc"), ("training_step", "asc")] {
        assert_eq!(app.ids(&format!("/models?sort={sort}&order={order}")).len(), 3);
    }
}

#[test]
fn the_newest_of_several_production_versions_of_a_name_stays() {
    let app = served(&[
        FIRST,
        SECOND,
        "INSERT INTO models (name, version, checkpoint_path, status, updated_at) VALUES
            ('m', '1', '/x', 'production', '2025-01-01 00:00:00'),
            ('m', '2', '/x', 'production', '2025-03-01 00:00:00'),
            ('m', '3', '/x', 'production', '2025-02-01 00:00:00'),
            ('m', '4', '/x', 'staging', '2025-04-01 00:00:00'),
            ('n', '1', '/x', 'production', '2025-01-01 00:00:00'),
            ('n', '2', '/x', 'production', '2025-01-01 00:00:00'),
            ('o', '1', '/x', 'production', '2025-01-01 00:00:00')",
    ]);
    assert_eq!(app.get("/production/m").ok()["id"], 2);
    assert_eq!(app.get("/production/n").ok()["id"], 6, "of the same age the last one registered");
    assert_eq!(app.get("/production/o").ok()["updated_at"], "2025-01-01 00:00:00");
    assert_eq!(app.get("/stats").ok()["by_status"], json!({"production": 3, "staging": 4}));
    for (id, successor) in [(1, 2), (3, 2), (5, 6)] {
        assert!(app.model(id)["updated_at"].as_str().unwrap() > "2025-12-01");
        let events = app.events(id);
        assert_eq!(events.len(), 1);
        assert_eq!(
            (&events[0]["event_type"], &events[0]["actor"]),
            (&json!("auto_demote"), &json!("registry:migration"))
        );
        let reason = format!("new production: {successor}");
        assert_eq!(events[0]["payload"], json!({"from": "production", "to": "staging", "reason": reason}));
    }
    for id in [2, 4, 6, 7] {
        assert_eq!(app.events(id).len(), 0, "{id} was left alone");
    }
    let app = TestApp::over(app.stop(), |_| {});
    assert_eq!(app.events(1).len(), 1, "and it is done once");
}

#[test]
fn a_restart_on_the_same_file_keeps_everything() {
    let app = TestApp::spawn();
    let id = app.register_with("m", "1", &json!({"tags": ["тег"], "metrics": {"a": 1.0}}));
    app.register_with("m", "2", &json!({"status": "production", "frozen": true}));
    app.record(id, "s", json!({"score": 0.5})).ok();
    app.promote(id).ok();
    let gone = app.register("m", "3");
    app.delete(gone).ok();
    let before = app.everything();
    let tag = app.get("/models/1").header("etag").unwrap().to_owned();
    let page = app.get("/models?limit=1").next_page().unwrap();

    let app = TestApp::over(app.stop(), |_| {});
    assert_eq!(app.everything(), before);
    assert_eq!(app.get("/models/1").header("etag"), Some(tag.as_str()));
    assert_eq!(app.get(&page).status, 200, "a link outlives the server");
    assert_eq!(app.event_types(gone), ["create", "delete"]);
    assert_eq!(app.register("m", "3"), gone + 1, "ids are not given again");
    let app = TestApp::over(app.stop(), |_| {});
    assert_eq!(app.get("/stats").ok()["total_models"], 3);
}

#[test]
fn a_server_that_ends_leaves_one_file() {
    let app = TestApp::spawn();
    app.register("m", "1");
    let folder = app.stop();
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["registry.db"], "the write-ahead log is in the database");
    let connection = Connection::open(folder.path().join("registry.db")).unwrap();
    let count: i64 = connection.query_row("SELECT count(*) FROM models", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

/// What 0.2.0 runs to register and to change a version.
fn write_as_0_2_0(connection: &Connection) -> i64 {
    connection
        .execute(
            "INSERT INTO models (name, version, status, artifact_uri, checkpoint_sha256, checkpoint_size_bytes,
                config_sha256, config_size_bytes, run_id, git_commit, created_by, source_host, frozen,
                checkpoint_path, config_path, d_model, n_layers, n_heads, vocab_size, params, training_step,
                training_loss, dataset, description, tags, metrics)
             VALUES ('theirs', '1', 'experimental', 's3://t', NULL, NULL, NULL, NULL, NULL, NULL, 'py', 'h', 0,
                's3://t', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[\"a\", \"b\"]', NULL)",
            [],
        )
        .unwrap();
    let id = connection.last_insert_rowid();
    let event =
        "INSERT INTO model_events (model_id, event_type, payload_json, actor) VALUES (?1, ?2, ?3, 'py')";
    connection.execute(event, (id, "create", "{\"name\": \"theirs\"}")).unwrap();
    connection.execute("UPDATE models SET description = 'changed' WHERE id = ?1", [id]).unwrap();
    connection.execute("UPDATE models SET status = 'production' WHERE id = ?1", [id]).unwrap();
    id
}

#[test]
fn a_file_that_an_old_server_opened_in_between_is_opened_again() {
    let app = TestApp::spawn();
    app.register("m", "1");
    let folder = app.stop();
    {
        let connection = Connection::open(folder.path().join("registry.db")).unwrap();
        write_as_0_2_0(&connection);
        connection
            .execute_batch(
                "DROP TRIGGER trg_models_set_updated_at;
                 CREATE TRIGGER trg_models_set_updated_at AFTER UPDATE ON models FOR EACH ROW
                 WHEN NEW.updated_at = OLD.updated_at
                 BEGIN UPDATE models SET updated_at = CURRENT_TIMESTAMP WHERE id = OLD.id; END;
                 PRAGMA user_version = 2; PRAGMA journal_mode = DELETE;",
            )
            .unwrap();
    }
    let app = TestApp::over(folder, |_| {});
    assert_eq!(app.get("/stats").ok()["total_models"], 2);
    let theirs = by_version(&app, "theirs", "1")["id"].as_i64().unwrap();
    app.patch(theirs, &json!({"description": "ours"})).ok();
    let other = app.other_process();
    let before = app.model(theirs)["updated_at"].clone();
    other.execute("UPDATE models SET description = 'theirs again' WHERE id = ?1", [theirs]).unwrap();
    let after = app.model(theirs);
    assert!(after["updated_at"].as_str() > before.as_str());
    assert_eq!(after["updated_at"].as_str().unwrap().len(), "2026-01-31 13:05:09.250".len());
}

#[test]
fn a_time_without_its_fraction_still_rises_and_still_guards_a_write() {
    let app = served(&[
        FIRST,
        "INSERT INTO models (name, version, checkpoint_path, updated_at) VALUES ('m', '1', '/x', '2025-01-02 03:04:05')",
    ]);
    let body = r#"{"suite": "s", "metrics": {}}"#;
    let seen = [("If-Updated-At", "2025-01-02 03:04:05")];
    app.request("POST", "/models/1/metrics", &[("If-Updated-At", "2025-01-02 03:04:05.000")], Some(body))
        .refused(409);
    let tag = app.get("/models/1").header("etag").unwrap().to_owned();
    app.request("PATCH", "/models/1", &[("If-Match", "\"other\"")], Some("{}")).refused(412);
    app.clock.stop_at(1_000);
    let model = app.request("POST", "/models/1/metrics", &seen, Some(body)).ok();
    assert_eq!(model["updated_at"], "2025-01-02 03:04:05.001", "also if the clock is behind");
    app.request("PATCH", "/models/1", &[("If-Match", &tag), ("X-API-Key", KEY)], Some("{}")).refused(412);
}

/// Asserts that `maintenance` finds no fault in the file.
fn expect_sound(path: &std::path::Path) {
    let options = Options {
        path: path.to_owned(),
        busy_timeout: Duration::from_secs(5),
        synchronous: Synchronous::Normal,
    };
    let watch = Watch::new(|| false, |_| {});
    let report = Source::open(&options, &watch).unwrap().check(&watch).unwrap();
    assert_eq!(report.errors.listed, []);
}

#[test]
fn a_file_of_any_age_gets_its_counters_and_is_searched() {
    let old =
        "INSERT INTO models (name, version, checkpoint_path, status, tags, description, created_at) VALUES
        ('m', '1', '/x', 'staging', '[\"a\"]', 'Größe', '2025-01-02 03:04:05'),
        ('m', '2', '/x', NULL, '[\"a\", \"b\"]', NULL, '2025-01-01 03:04:05'),
        ('n', '1', '/x', 'live', NULL, 'größer', '2025-01-03 03:04:05')";
    // As schema 300 left it: without counters, and with an index that was dropped later.
    let third = "DROP INDEX idx_model_events_model_id; PRAGMA user_version = 300;
        CREATE INDEX idx_models_updated ON models (updated_at, id);
        CREATE INDEX idx_models_created ON models (created_at, id);
        CREATE INDEX idx_models_status_updated ON models (status, updated_at, id);
        CREATE INDEX idx_model_events_model ON model_events (model_id, id);";
    // NULL was no longer a status.
    let old_301 = &old.replace("NULL, '[", "'', '[");
    for statements in
        [&[FIRST, old][..], &[FIRST, SECOND, old], &[FIRST, SECOND, old, third], &[THIRD, old_301]]
    {
        let app = served(statements);
        let stats = app.get("/stats").ok();
        assert_eq!(stats["by_status"], json!({"experimental": 2, "staging": 1}));
        assert_eq!(stats["by_name"], json!({"m": 2, "n": 1}));
        assert_eq!(app.ids("/models"), [3, 1, 2], "created in another order than registered");
        assert_eq!(app.ids("/models?q=GR%C3%96%C3%9F"), [3, 1]);
        assert_eq!(app.ids("/models?tag=a"), [1, 2]);
        let id = app.register_with("m", "3", &json!({"tags": ["a"]}));
        assert_eq!(app.ids("/models?tag=a&name=m"), [id, 1, 2]);
        let folder = app.stop();
        expect_sound(&folder.path().join("registry.db"));
        let file = Connection::open(folder.path().join("registry.db")).unwrap();
        let triggers = "SELECT group_concat(name) FROM sqlite_schema WHERE type = 'trigger'";
        let triggers: String = file.query_row(triggers, [], |row| row.get(0)).unwrap();
        assert_eq!(triggers, "trg_models_set_updated_at");
    }
}

#[test]
fn changes_by_another_server_are_counted_when_the_file_is_reopened() {
    let app = TestApp::spawn();
    for version in ["1", "2", "3"] {
        app.register_with("m", version, &json!({"tags": ["a"]}));
    }
    let folder = app.stop();
    let path = folder.path().join("registry.db");
    let other = Connection::open(&path).unwrap();
    // A tool that drops every trigger and sets the number to its own.
    let drop = "SELECT group_concat('DROP TRIGGER ' || name, ';') FROM sqlite_schema WHERE type = 'trigger'";
    let drop: String = other.query_row(drop, [], |row| row.get(0)).unwrap();
    other
        .execute_batch(&format!(
            "{drop}; DELETE FROM models WHERE id = 1; UPDATE models SET name = 'n', tags = NULL WHERE id = 2;
             UPDATE models SET created_at = '2001-01-01 00:00:00' WHERE id = 3; PRAGMA user_version = 2;"
        ))
        .unwrap();
    std::mem::drop(other);
    let app = TestApp::over(folder, |_| {});
    assert_eq!(app.get("/stats").ok()["by_name"], json!({"m": 1, "n": 1}));
    assert_eq!(
        (app.ids("/models"), app.ids("/models?tag=a"), app.ids("/models?q=n")),
        (vec![2, 3], vec![3], vec![2])
    );
    let folder = app.stop();
    expect_sound(&folder.path().join("registry.db"));
}
