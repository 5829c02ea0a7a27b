//! 413: a body that is too large is refused whole, with or without an announced length.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{KEY, TestApp};

const WRITE: usize = 2_000;
const METRICS: usize = 1_000;
const EVENT: usize = 600;

fn small() -> TestApp {
    TestApp::with(|settings| {
        settings.http.max_write_body_bytes = WRITE;
        settings.http.max_metrics_body_bytes = METRICS;
        settings.rules.max_event_payload_bytes = EVENT;
    })
}

/// `body`, padded with spaces to `length` bytes.
fn padded(body: &Value, length: usize) -> String {
    let mut text = body.to_string();
    assert!(text.len() <= length);
    text.push_str(&" ".repeat(length - text.len()));
    text
}

fn head(method: &str, path: &str, framing: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n{framing}\r\n\r\n")
}

/// Returns the writes with a body: a valid one, and its limit.
fn writes(id: i64) -> [(&'static str, String, Value, usize); 3] {
    [
        ("POST", "/models".to_owned(), json!({"name": "n", "version": "1", "artifact_uri": "s3://x"}), WRITE),
        ("PATCH", format!("/models/{id}"), json!({"description": "d"}), WRITE),
        ("POST", format!("/models/{id}/metrics"), json!({"suite": "s", "metrics": {}}), METRICS),
    ]
}

#[test]
fn a_body_over_its_limit_is_refused_by_its_content_length() {
    let app = small();
    let id = app.register("m", "1");
    let before = app.everything();
    for (method, path, body, limit) in writes(id) {
        let detail = app.request(method, &path, &[], Some(&padded(&body, limit + 1))).refused(413);
        assert!(detail.contains(&limit.to_string()) && detail.contains("CAIA_REGISTRY_MAX_"), "{detail}");
        // The body is never sent, and the server does not wait for it.
        let announced = head(method, &path, &format!("Content-Length: {}", limit + 1));
        app.exchange(announced.as_bytes()).refused(413);
        let huge = head(method, &path, "Content-Length: 18446744073709551615");
        app.exchange(huge.as_bytes()).refused(413);
    }
    assert_eq!(app.everything(), before);
    for (method, path, body, limit) in writes(id) {
        assert_eq!(
            app.request(method, &path, &[], Some(&padded(&body, limit))).status,
            200,
            "{method} {path}"
        );
    }
}

fn chunked(method: &str, path: &str, body: &str, chunk_bytes: usize) -> String {
    let mut request = head(method, path, "Transfer-Encoding: chunked");
    for chunk in body.as_bytes().chunks(chunk_bytes) {
        let text = std::str::from_utf8(chunk).unwrap();
        request.push_str(&format!("{:x}\r\n{text}\r\n", chunk.len()));
    }
    request
}

#[test]
fn a_chunked_body_over_its_limit_is_refused_while_it_arrives() {
    let app = small();
    let id = app.register("m", "1");
    let before = app.everything();
    for (method, path, body, limit) in writes(id) {
        for chunk_bytes in [100, limit + 1] {
            // The end is never sent: the first byte over the limit causes the answer.
            let request = chunked(method, &path, &padded(&body, limit + 1), chunk_bytes);
            app.exchange(request.as_bytes()).refused(413);
        }
    }
    assert_eq!(app.everything(), before);
    for (method, path, body, limit) in writes(id) {
        let request = chunked(method, &path, &padded(&body, limit), 100) + "0\r\n\r\n";
        assert_eq!(app.exchange(request.as_bytes()).status, 200, "{method} {path}");
    }
}

#[test]
fn a_client_that_sends_its_whole_body_before_it_reads_gets_the_refusal() {
    const REST: usize = 8 << 20;
    let app = small();
    let id = app.register("m", "1");
    for (method, path, ..) in writes(id) {
        let announced = head(method, &path, &format!("Content-Length: {REST}")) + &" ".repeat(REST);
        let unannounced = chunked(method, &path, &" ".repeat(REST), 1 << 20) + "0\r\n\r\n";
        for request in [announced, unannounced] {
            let mut stream = TcpStream::connect(app.address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(std::str::from_utf8(&answer), Ok("HTTP/1.1 413"));
        }
    }
}

#[test]
fn a_body_whose_framing_is_broken_is_refused_and_nothing_is_kept() {
    let app = small();
    let before = app.everything();
    let body = r#"{"name": "n", "version": "1", "artifact_uri": "s3://x"}"#;
    let broken = head("POST", "/models", "Transfer-Encoding: chunked") + "zz\r\n" + body;
    app.exchange(broken.as_bytes()).refused(400);
    assert_eq!(app.everything(), before);
}

#[test]
fn a_change_whose_event_is_over_its_limit_is_refused() {
    let app = small();
    let id = app.register("m", "1");
    let before = app.everything();
    let long = "x".repeat(EVENT);
    let refused = [
        app.post("/models", &json!({"name": long, "version": "1", "artifact_uri": "s3://x"})),
        app.post("/models", &json!({"name": "n", "version": long, "artifact_uri": "s3://x"})),
        app.post("/models", &json!({"name": "n", "version": "1", "artifact_uri": long})),
        app.record(id, "s", json!({"blob": long})),
        app.record(id, &long, json!({})),
        app.post(&format!("/models/{id}/metrics"), &json!({"suite": "s", "metrics": {}, "notes": long})),
    ];
    for answer in refused {
        let detail = answer.refused(413);
        assert!(detail.contains(&EVENT.to_string()), "{detail}");
    }
    assert_eq!(app.everything(), before);
    // A field that the event does not contain may be as long as the body allows.
    app.patch(id, &json!({"description": long, "metrics": {"blob": long}})).ok();
    app.register_with("n", "1", &json!({"description": long, "tags": [long]}));
}

#[test]
fn all_suites_of_a_version_share_one_limit() {
    const METRICS: usize = 2_000;
    let app = TestApp::with(|settings| settings.rules.max_metrics_bytes = METRICS);
    let blob = |bytes| json!({"blob": "x".repeat(bytes)});
    let id = app.register("m", "1");
    let mut recorded = 0;
    let detail = loop {
        let answer = app.record(id, &format!("suite-{recorded}"), blob(200));
        if answer.status == 200 {
            recorded += 1;
            continue;
        }
        break answer.refused(413);
    };
    assert!((3..10).contains(&recorded), "{recorded}");
    assert!(detail.contains(&format!("suite \"suite-{recorded}\"")), "{detail}");
    assert!(detail.contains("CAIA_REGISTRY_MAX_METRICS_BYTES") && detail.contains("2000"), "{detail}");
    let kept = app.model(id)["metrics"].clone();
    assert_eq!(kept["suites"].as_object().unwrap().len(), recorded);
    assert!(kept.to_string().len() <= METRICS);
    let before = app.everything();
    // Suites that the patch does not mention count, too.
    app.patch(id, &json!({"metrics": blob(METRICS / 2)})).refused(413);
    let suites = json!({"small": {}, "large": blob(METRICS)});
    let detail = app.patch(id, &json!({"metrics": {"suites": suites}})).refused(413);
    assert!(detail.contains("suite \"large\""), "{detail}");
    let new = json!({"name": "m", "version": "2", "artifact_uri": "s3://x", "metrics": blob(METRICS)});
    assert!(app.post("/models", &new).refused(413).contains("MAX_METRICS_BYTES"));
    assert_eq!(app.everything(), before);
}

#[test]
fn metrics_already_over_the_limit_can_be_read_and_may_shrink() {
    let folder = {
        let app = TestApp::spawn();
        let metrics = json!({"suites": {"a": {"x": "x".repeat(3_000)}, "b": {"x": "x".repeat(3_000)}}});
        app.register_with("m", "1", &json!({"metrics": metrics}));
        app.stop()
    };
    let app = TestApp::over(folder, |settings| settings.rules.max_metrics_bytes = 1_000);
    assert_eq!(app.model(1)["metrics"]["suites"]["a"]["x"].as_str().unwrap().len(), 3_000);
    app.record(1, "c", json!({})).refused(413);
    app.patch(1, &json!({"metrics": {"loss": 1}})).refused(413);
    app.patch(1, &json!({"description": "d"})).ok();
    app.record(1, "a", json!({"x": 1})).ok();
    app.patch(1, &json!({"metrics": {"suites": {"b": {}}}})).ok();
    app.record(1, "c", json!({})).ok();
}

#[test]
fn many_suites_of_legal_size_do_not_make_a_row_that_slows_the_writer() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let scores = json!({"blob": "x".repeat(60_000)});
    let refused = (0..30).filter(|n| app.record(id, &format!("s{n}"), scores.clone()).status == 413).count();
    assert_eq!(refused, 30 - 17);
    assert!(app.get(&format!("/models/{id}")).text.len() < 1_100_000);
}

#[test]
fn tags_and_the_length_of_names_are_limited() {
    let app = TestApp::spawn();
    let version = |name: &str, version: &str, tags: usize| json!({"name": name, "version": version, "artifact_uri": "s3://x", "tags": vec!["t"; tags]});
    let long = "ü".repeat(512);
    let id = app.post("/models", &version(&long, &long, 1_000)).ok()["id"].as_i64().unwrap();
    assert_eq!(app.patch(id, &json!({"tags": vec!["u"; 1_000]})).ok()["tags"][999], "u");
    let before = app.everything();
    for (field, answer) in [
        ("name", app.post("/models", &version(&format!("{long}x"), "2", 0))),
        ("version", app.post("/models", &version("m", &format!("{long}x"), 0))),
        ("tags", app.post("/models", &version("m", "2", 1_001))),
        ("tags", app.patch(id, &json!({"tags": vec!["u"; 1_001]}))),
    ] {
        let detail = answer.refused(400);
        assert!(detail.starts_with(field) && detail.contains("at most 1"), "{detail}");
    }
    assert_eq!(app.everything(), before);
}

#[test]
fn tags_already_over_the_limit_can_be_read_and_are_kept() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let tags: Vec<_> = (0..1_500).map(|n| n.to_string()).collect();
    let text = json!(tags).to_string();
    app.sql(&format!("UPDATE models SET tags = '{text}' WHERE id = {id}"));
    assert_eq!(app.model(id)["tags"], json!(tags));
    assert_eq!(app.patch(id, &json!({"description": "d"})).ok()["tags"], json!(tags));
}

#[test]
fn the_event_of_an_update_is_limited_too() {
    let app = TestApp::with(|settings| settings.rules.max_event_payload_bytes = 120);
    let id = app.register("m", "1");
    let before = app.everything();
    let many = json!({
        "checkpoint_size_bytes": 1, "config_size_bytes": 1, "training_step": 1, "training_loss": 1,
        "description": "d", "dataset": "d", "source_host": "h",
    });
    app.patch(id, &many).refused(413);
    assert_eq!(app.everything(), before);
    app.patch(id, &json!({"description": "d"})).ok();
}

#[test]
fn the_default_limits_are_those_of_0_2_0() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let fitting = json!({"description": "x".repeat(262_144 - 18)});
    assert_eq!(fitting.to_string().len(), 262_144);
    app.patch(id, &fitting).ok();
    app.patch(id, &json!({"description": "x".repeat(262_144 - 17)})).refused(413);
    let blob = |bytes| json!({"suite": "s", "metrics": {"blob": "x".repeat(bytes)}});
    let rest = 65_536 - blob(0).to_string().len();
    // The body fits; its event, which also contains a digest, does not.
    let detail = app.post(&format!("/models/{id}/metrics"), &blob(rest)).refused(413);
    assert!(detail.contains("event"), "{detail}");
    let detail = app.post(&format!("/models/{id}/metrics"), &blob(rest + 1)).refused(413);
    assert!(detail.contains("body"), "{detail}");
    app.post(&format!("/models/{id}/metrics"), &blob(rest - 200)).ok();
}

#[test]
fn a_connection_is_usable_or_closed_after_a_refusal() {
    let app = small();
    for _ in 0..20 {
        let body = padded(&json!({}), WRITE + 1);
        app.request("POST", "/models", &[], Some(&body)).refused(413);
        assert_eq!(app.get("/health").status, 200);
        app.get("/models").ok();
    }
}

#[test]
fn a_refused_body_is_never_read_as_the_next_request() {
    let app = small();
    let hidden = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    for (key, status) in [("wrong", "401"), (KEY, "413")] {
        let refused = format!(
            "POST /models HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        );
        let request = refused + "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut stream = TcpStream::connect(app.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answers = Vec::new();
        // It may end with a reset, because the server closes a connection with unread bytes.
        let _ = stream.read_to_end(&mut answers);
        let answers = String::from_utf8_lossy(&answers);
        let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert!(statuses == [status, "200"] || statuses == [status], "{statuses:?}");
    }
}
