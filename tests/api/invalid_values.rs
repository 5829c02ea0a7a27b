//! Invalid values in the file of an older server: the upgrade normalises them, and no request fails.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{TestApp, ids, over_postgres};

/// Returns a server over a file that `sql` has changed, marked as an old one so that it is upgraded.
pub fn reopened(app: TestApp, sql: &[String]) -> TestApp {
    let folder = app.stop();
    let file = rusqlite::Connection::open(folder.path().join("registry.db")).unwrap();
    for sql in sql {
        file.execute_batch(sql).unwrap();
    }
    file.pragma_update(None, "user_version", 2).unwrap();
    drop(file);
    TestApp::over(folder, |_| {})
}

#[test]
fn invalid_values_are_answered_as_absent_and_fail_nothing() {
    if over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let invalid = [
        ("status = x'ff'", "status", json!("experimental")),
        ("status = CAST(x'ff' AS TEXT)", "status", json!("experimental")),
        ("status = 'live'", "status", json!("experimental")),
        ("checkpoint_path = x'00'", "local_checkpoint_path", json!(null)),
        ("artifact_uri = NULL", "artifact_uri", json!("legacy:5")),
        ("training_loss = 9e999", "training_loss", json!(null)),
        ("training_loss = 'nan'", "training_loss", json!(null)),
        ("training_step = 'soon'", "training_step", json!(null)),
        ("params = 1.5", "params", json!(null)),
        ("frozen = 'no'", "frozen", json!(false)),
        ("created_at = ''", "created_at", json!("")),
        ("updated_at = 'yesterday, at \"noon\"'", "updated_at", json!("yesterday, at \"noon\"")),
        ("description = x'c328'", "description", json!(null)),
        ("description = CAST(x'c328' AS TEXT)", "description", json!("\u{fffd}(")),
        ("dataset = x'00'", "dataset", json!(null)),
        ("tags = '{'", "tags", json!(null)),
        ("name = x'ff'", "name", json!("legacy:17")),
        ("metrics = ' {\"a\": NaN}'", "metrics", json!({"a": null})),
    ];
    let mut sql = Vec::new();
    for (version, (set, ..)) in invalid.iter().enumerate() {
        let id = app.register("m", &version.to_string());
        sql.push(format!("UPDATE models SET {set} WHERE id = {id}"));
    }
    let app = reopened(app, &sql);
    for (position, (set, field, expected)) in invalid.iter().enumerate() {
        let id = position + 1;
        assert_eq!(&app.model(id as i64)[*field], expected, "{set}");
        let path = format!("/models/{id}");
        let tag = app.get(&path).header("etag").unwrap().to_owned();
        let body = json!({"dataset": set}).to_string();
        let changed = app.request("PATCH", &path, &[("If-Match", &tag)], Some(&body)).ok();
        assert_eq!(changed["dataset"], *set);
        assert_eq!(app.model(id as i64), changed, "{set}");
    }
    for path in ["/models", "/models?sort=training_step", "/compare?ids=1,2", "/models?tag=a&q=b"] {
        assert_eq!(app.get(path).status, 200, "{path}");
    }
    assert_eq!(app.get("/stats").ok()["by_status"], json!({"experimental": invalid.len()}));
}

#[test]
fn pages_by_step_show_each_version_once_for_any_steps() {
    if over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let steps = [
        "1",
        "NULL",
        "1.5",
        "'x'",
        "''",
        "x'01'",
        "char(160) || '7'",
        "-3",
        "1",
        "'7'",
        "9e99",
        "-9223372036854775808",
    ];
    let mut sql = Vec::new();
    for (version, step) in steps.iter().enumerate() {
        let id = app.register("m", &version.to_string());
        sql.push(format!("UPDATE models SET training_step = {step} WHERE id = {id}"));
    }
    let app = reopened(app, &sql);
    for order in ["asc", "desc"] {
        let mut path = format!("/models?sort=training_step&order={order}&limit=2");
        let mut seen = Vec::new();
        for _ in 0..steps.len() {
            let answer = app.get(&path);
            let next = answer.next_page();
            seen.extend(ids(&answer.ok()));
            match next {
                Some(next) => path = next,
                None => break,
            }
        }
        assert_eq!(seen.len(), steps.len(), "{order}: {seen:?}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), steps.len(), "{order}: {seen:?}");
    }
}

#[test]
fn a_version_whose_uri_outgrew_an_event_can_still_be_deleted() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    app.patch(id, &json!({"artifact_uri": format!("s3://{}", "x".repeat(100_000))})).ok();
    app.delete(id).ok();
    assert_eq!(app.event_types(id), ["create", "update", "delete"]);
}
