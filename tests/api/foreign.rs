//! Rows that another process wrote, as no server would: they are answered, and nothing fails for them.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{TestApp, ids};

#[test]
fn odd_values_are_answered_as_absent_and_fail_nothing() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let other = app.other_process();
    for odd in [
        "status = x'ff'",
        "status = CAST(x'ff' AS TEXT)",
        "status = 'live'",
        "checkpoint_path = x'00'",
        "artifact_uri = NULL",
        "training_loss = 9e999",
        "training_step = 'soon'",
        "params = 1.5",
        "frozen = 'no'",
        "created_at = ''",
        "updated_at = 'yesterday, at \"noon\"'",
        "description = x'c328'",
        "tags = '{'",
    ] {
        other.execute(&format!("UPDATE models SET {odd} WHERE id = ?1"), [id]).unwrap();
        for path in ["/models", "/models?sort=training_step", "/stats", "/compare?ids=1", "/models?tag=a&q=b"]
        {
            assert_eq!(app.get(path).status, 200, "{odd}: {path}");
        }
        let tag = app.get("/models/1").header("etag").unwrap().to_owned();
        let body = json!({"dataset": odd}).to_string();
        let changed = app.request("PATCH", "/models/1", &[("If-Match", &tag)], Some(&body)).ok();
        assert_eq!(changed["dataset"], odd);
        assert_eq!(app.model(id), changed, "{odd}");
    }
    let left = "SELECT training_loss = 9e999 AND training_step = 'soon' AND params = 1.5 AND frozen = 'no' \
        AND status = 'live' AND description = x'c328' AND tags = '{' FROM models";
    assert!(other.query_row(left, [], |row| row.get::<_, bool>(0)).unwrap(), "what was not changed is left");
}

#[test]
fn pages_by_step_show_each_version_once_whatever_the_steps_are() {
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
    let other = app.other_process();
    for (version, step) in steps.iter().enumerate() {
        let id = app.register("m", &version.to_string());
        other.execute(&format!("UPDATE models SET training_step = {step} WHERE id = ?1"), [id]).unwrap();
    }
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
