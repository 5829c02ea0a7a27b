//! ETags: reading only what has changed, and writing only over the state that was read.

use serde_json::json;

use crate::support::{Answer, TestApp};

fn if_none_match(app: &TestApp, path: &str, tags: &str) -> Answer {
    app.request("GET", path, &[("If-None-Match", tags)], None)
}

#[test]
fn every_answer_of_one_version_carries_the_tag_of_its_state() {
    let app = TestApp::spawn();
    app.clock.stop_at(1_769_864_709_250);
    let posted = app.post("/models", &json!({"name": "m", "version": "1", "artifact_uri": "s3://x"}));
    assert_eq!(posted.header("etag"), Some("\"1-2026-01-31T13:05:09.250\""));
    let mut tags = vec![posted.header("etag").unwrap().to_owned()];
    let changes: [&dyn Fn() -> Answer; 4] = [
        &|| app.patch(1, &json!({"description": "d"})),
        &|| app.record(1, "s", json!({})),
        &|| app.promote(1),
        &|| app.patch(1, &json!({})),
    ];
    for change in changes {
        let tag = change().header("etag").unwrap().to_owned();
        for path in ["/models/1", "/models/by-name/m/1", "/production/m"] {
            let read = app.get(path);
            if tags.len() < 3 && path == "/production/m" {
                read.refused(404);
                continue;
            }
            assert_eq!(read.header("etag"), Some(tag.as_str()), "{path}");
        }
        tags.push(tag);
    }
    assert_eq!(tags[3], tags[4], "a patch of nothing leaves the tag");
    tags.dedup();
    assert_eq!(tags.len(), 4, "each change gives another tag");
    for path in ["/models", "/stats", "/models/1/events", "/models/1/metrics", "/compare?ids=1"] {
        assert_eq!(app.get(path).header("etag"), None, "{path}");
    }
    for path in ["/models/999", "/models/abc", "/production/none"] {
        assert_eq!(app.get(path).header("etag"), None, "{path}");
    }
}

#[test]
fn versions_that_change_at_the_same_instant_have_different_tags() {
    let app = TestApp::spawn();
    app.clock.stop_at(1_769_864_709_250);
    app.register("m", "1");
    app.register("m", "2");
    let tags = [1, 2].map(|id| app.get(&format!("/models/{id}")).header("etag").unwrap().to_owned());
    assert_ne!(tags[0], tags[1]);
    assert_eq!(if_none_match(&app, "/models/2", &tags[0]).status, 200);
}

#[test]
fn a_state_that_the_client_has_is_not_sent_again() {
    let app = TestApp::spawn();
    let id = app.register_with("m", "1", &json!({"status": "production"}));
    let stale = app.get(&format!("/models/{id}")).header("etag").unwrap().to_owned();
    app.patch(id, &json!({"description": "d"})).ok();
    for path in [format!("/models/{id}"), "/models/by-name/m/1".to_owned(), "/production/m".to_owned()] {
        let whole = app.get(&path);
        let tag = whole.header("etag").unwrap().to_owned();
        let bare = tag.trim_matches('"');
        for (tags, seen) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("{stale}, {tag}"), true),
            (format!("\"x\",W/{tag} , \"y\""), true),
            ("*".to_owned(), true),
            (bare.to_owned(), true),
            (stale.clone(), false),
            (format!("\"x{bare}\""), false),
            ("\"\"".to_owned(), false),
            (String::new(), false),
            (",".to_owned(), false),
        ] {
            let answer = if_none_match(&app, &path, &tags);
            if !seen {
                assert_eq!((answer.status, &answer.text), (200, &whole.text), "{tags}");
                continue;
            }
            assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{tags}");
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
            assert!(answer.header("x-request-id").is_some());
            let head = app.request("HEAD", &path, &[("If-None-Match", &tags)], None);
            assert_eq!(head.status, 304, "{tags}");
        }
        let two = app.request("GET", &path, &[("If-None-Match", &stale), ("If-None-Match", &tag)], None);
        assert_eq!(two.status, 304);
    }
    assert_eq!(if_none_match(&app, "/models/999", "*").status, 404);
    assert_eq!(if_none_match(&app, "/models", "*").status, 200);
    let key_first =
        app.request("GET", "/production/m", &[("X-API-Key", "wrong"), ("If-None-Match", "*")], None);
    key_first.refused(401);
}

/// Every write with `If-Match`.
fn writes(id: i64) -> [(&'static str, String, Option<&'static str>); 4] {
    [
        ("PATCH", format!("/models/{id}"), Some(r#"{"description": "d"}"#)),
        ("POST", format!("/models/{id}/metrics"), Some(r#"{"suite": "s", "metrics": {"a": 1}}"#)),
        ("POST", format!("/models/{id}/promote?to_status=staging"), None),
        ("DELETE", format!("/models/{id}"), None),
    ]
}

#[test]
fn a_write_to_an_outdated_state_is_refused_and_changes_nothing() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let stale = app.get(&format!("/models/{id}")).header("etag").unwrap().to_owned();
    app.patch(id, &json!({"dataset": "ds"})).ok();
    let tag = app.get(&format!("/models/{id}")).header("etag").unwrap().to_owned();
    let before = app.everything();
    for (method, path, body) in writes(id) {
        for tags in [
            stale.clone(),
            format!("W/{tag}"),
            format!("{stale}, W/{tag}"),
            "\"\"".to_owned(),
            String::new(),
            tag.to_lowercase(),
        ] {
            let answer = app.request(method, &path, &[("If-Match", &tags)], body);
            let detail = answer.refused(412);
            assert!(detail.contains(&tag), "{method} {path} {tags}: {detail}");
        }
    }
    assert_eq!(app.everything(), before);
}

#[test]
fn a_write_to_the_current_state_is_accepted() {
    let app = TestApp::spawn();
    for (version, form) in ["{}", "\"x\", {}", "{},\"x\"", "*", "\"x\", *"].into_iter().enumerate() {
        let id = app.register("m", &version.to_string());
        for (method, path, body) in writes(id) {
            let tag = app.get(&format!("/models/{id}")).header("etag").unwrap().to_owned();
            let tags = form.replace("{}", &tag);
            let answer = app.request(method, &path, &[("If-Match", &tags)], body);
            assert_eq!(answer.status, 200, "{method} {path} {tags}: {}", answer.text);
        }
        assert_eq!(app.event_types(id), ["create", "update", "eval", "promote", "delete"]);
    }
}

#[test]
fn the_precondition_is_checked_before_the_rules_and_after_existence() {
    let app = TestApp::spawn();
    let id = app.register_with("m", "1", &json!({"frozen": true, "metrics": {"suites": [1]}}));
    for (method, path, body) in [
        ("PATCH", format!("/models/{id}"), Some(r#"{"run_id": "r"}"#)),
        ("PATCH", format!("/models/{id}"), Some("{}")),
        ("DELETE", format!("/models/{id}"), None),
        ("POST", format!("/models/{id}/metrics"), Some(r#"{"suite": "s", "metrics": {}}"#)),
    ] {
        app.request(method, &path, &[("If-Match", "\"old\"")], body).refused(412);
    }
    for (method, path, body) in writes(999) {
        app.request(method, &path, &[("If-Match", "\"old\"")], body).refused(404);
    }
    app.request("PATCH", "/models/1", &[("If-Match", "\"old\"")], Some(r#"{"foo": 1}"#))
        .faults(&[("extra_forbidden", r#"["body","foo"]"#)]);
    // Both preconditions have to hold.
    let now = app.model(id)["updated_at"].as_str().unwrap().to_owned();
    let body = r#"{"suite": "s", "metrics": {}}"#;
    let headers = [("If-Match", "\"old\""), ("If-Updated-At", now.as_str())];
    app.request("POST", &format!("/models/{id}/metrics"), &headers, Some(body)).refused(412);
    let headers = [("If-Match", "*"), ("If-Updated-At", "2001-01-01 00:00:00")];
    app.request("POST", &format!("/models/{id}/metrics"), &headers, Some(body)).refused(409);
}

#[test]
fn head_answers_as_get_does_without_the_body() {
    let app = TestApp::spawn();
    app.register_with("na me", "1", &json!({"status": "production", "tags": ["тег"]}));
    app.record(1, "s", json!({"a": 1})).ok();
    app.register("m", "2");
    for path in [
        "/",
        "/health",
        "/models",
        "/models?limit=1",
        "/models/1",
        "/models/by-name/na%20me/1",
        "/models/status/production",
        "/models/1/metrics",
        "/models/1/metrics?suite=s",
        "/models/1/events",
        "/models/1/events?limit=1",
        "/production/na%20me",
        "/compare?ids=1,2",
        "/stats",
        "/queues",
        // Refusals too.
        "/models/999",
        "/models/abc",
        "/models?limit=0",
        "/models?cursor=x",
        "/production/none",
        "/models/by-name/na/1",
        "/models/1/metrics?suite=none",
        "/compare",
        "/nowhere",
    ] {
        let (get, head) = (app.get(path), app.request("HEAD", path, &[], None));
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        let length = get.text.len().to_string();
        for name in ["content-length", "content-type", "etag", "link", "x-total-count"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{path}");
    }
}
