//! Files that may be read are digested, and compared with the client's claims.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::json;

use super::{allowing, file, register, sha256, text};
use crate::support::TestApp;

#[test]
fn digest_and_size_are_those_of_the_file() {
    let app = allowing();
    // Around the sizes at which reading goes from one buffer to several.
    for (version, length) in
        [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 3].into_iter().enumerate()
    {
        let content: Vec<u8> = (0..length).map(|at: u32| (at % 251) as u8).collect();
        let path = file(&app, "model.pt", &content);
        let fields = json!({"version": version.to_string(), "checkpoint_path": path});
        let model = register(&app, &fields).ok();
        let digest = sha256(&content);
        assert_eq!(
            (&model["checkpoint_sha256"], &model["checkpoint_size_bytes"]),
            (&json!(digest), &json!(length))
        );
        assert_eq!(model["artifact_uri"], format!("sha256:{digest}"));
        assert_eq!(model["local_checkpoint_path"], json!(null));
        assert_eq!(app.model(model["id"].as_i64().unwrap()), model);
    }
}

#[test]
fn a_configuration_is_digested_and_fills_the_architecture() {
    let app = allowing();
    for (version, (content, given, expected)) in [
        (
            r#"{"architecture": {"d_model": 123, "n_heads": 4.0}}"#,
            json!({}),
            [json!(123), json!(null), json!(4)],
        ),
        (r#"{"d_model": 8, "n_layers": 2}"#, json!({"d_model": 1}), [json!(1), json!(2), json!(null)]),
        (
            r#"{"d_model": 8, "clip": NaN}"#,
            json!({"config_json": {"n_layers": 7, "d_model": 9}}),
            [json!(9), json!(7), json!(null)],
        ),
        ("{}", json!({}), [json!(null), json!(null), json!(null)]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut fields = given;
        fields["version"] = json!(version.to_string());
        fields["artifact_uri"] = json!("s3://x");
        fields["config_path"] = json!(file(&app, "config.json", content));
        let model = register(&app, &fields).ok();
        let read = ["d_model", "n_layers", "n_heads"].map(|field| model[field].clone());
        assert_eq!(read, expected, "{content}");
        assert_eq!(model["config_sha256"], sha256(content));
        assert_eq!(model["config_size_bytes"], content.len());
        assert_eq!((&model["checkpoint_sha256"], &model["local_config_path"]), (&json!(null), &json!(null)));
    }
}

#[test]
fn claims_about_a_file_must_be_true() {
    let app = allowing();
    let path = file(&app, "model.pt", "hello");
    let config = file(&app, "config.json", "{}");
    let digest = sha256("hello");
    for (fields, word) in [
        (json!({"checkpoint_path": path, "checkpoint_size_bytes": 4}), "checkpoint_size_bytes"),
        (json!({"checkpoint_path": path, "checkpoint_sha256": "a".repeat(64)}), "checkpoint_sha256"),
        (
            json!({"checkpoint_path": path, "checkpoint_sha256": digest, "checkpoint_size_bytes": 6}),
            "checkpoint_size_bytes",
        ),
        (
            json!({"artifact_uri": "s3://x", "config_path": config, "config_size_bytes": 3}),
            "config_size_bytes",
        ),
        (json!({"artifact_uri": "s3://x", "config_path": config, "config_sha256": digest}), "config_sha256"),
    ] {
        let detail = register(&app, &fields).refused(400);
        assert!(detail.contains(word), "{detail}");
    }
    assert_eq!(app.get("/models").ok(), json!([]));
    let agreeing = json!({
        "checkpoint_path": path, "checkpoint_sha256": format!("SHA256:{}", digest.to_uppercase()),
        "checkpoint_size_bytes": "5", "config_path": config, "config_size_bytes": 2,
    });
    assert_eq!(register(&app, &agreeing).ok()["checkpoint_sha256"], digest);
}

#[test]
fn a_file_over_the_limit_is_sized_and_not_digested() {
    let app = TestApp::with(|settings| {
        settings.rules.allow_local_paths = true;
        settings.rules.max_hash_bytes = 4;
    });
    let path = file(&app, "model.pt", "longer");
    let model = register(&app, &json!({"artifact_uri": "s3://x", "checkpoint_path": path})).ok();
    assert_eq!((&model["checkpoint_sha256"], &model["checkpoint_size_bytes"]), (&json!(null), &json!(6)));
    register(&app, &json!({"version": "2", "checkpoint_path": path})).refused(400);
    let wrong = json!({"version": "2", "artifact_uri": "s3://x", "checkpoint_path": path, "checkpoint_size_bytes": 7});
    register(&app, &wrong).refused(400);
    let claimed = json!({"version": "3", "checkpoint_path": path, "checkpoint_sha256": "a".repeat(64)});
    assert_eq!(register(&app, &claimed).ok()["checkpoint_sha256"], "a".repeat(64));
    let short = file(&app, "short.pt", "four");
    let model = register(&app, &json!({"version": "4", "checkpoint_path": short})).ok();
    assert_eq!(model["checkpoint_sha256"], sha256("four"));
    // A configuration is still read for its architecture.
    let config = file(&app, "config.json", r#"{"d_model": 8}"#);
    let model =
        register(&app, &json!({"version": "5", "artifact_uri": "s3://x", "config_path": config})).ok();
    assert_eq!((&model["d_model"], &model["config_sha256"]), (&json!(8), &json!(null)));
}

#[test]
fn paths_are_shown_only_if_the_server_is_set_to() {
    let app = TestApp::with(|settings| {
        settings.rules.allow_local_paths = true;
        settings.http.expose_local_paths = true;
    });
    let (path, config) = (file(&app, "model.pt", "x"), file(&app, "config.json", "{}"));
    let shown = register(&app, &json!({"checkpoint_path": path, "config_path": config})).ok();
    assert_eq!(
        (&shown["local_checkpoint_path"], &shown["local_config_path"]),
        (&json!(path), &json!(config))
    );
    assert_eq!(app.model(1), shown);

    let app = TestApp::over(app.stop(), |_| {});
    let hidden = app.model(1);
    assert_eq!(
        (&hidden["local_checkpoint_path"], &hidden["local_config_path"]),
        (&json!(null), &json!(null))
    );
    for answer in [
        app.get("/models"),
        app.get("/models/by-name/m/1"),
        app.get("/compare?ids=1"),
        app.get("/models/1/events"),
        app.get("/models/status/experimental"),
        app.patch(1, &json!({"description": "d"})),
    ] {
        assert!(!answer.text.contains("model.pt"), "{}", answer.text);
    }
}

#[test]
fn a_patch_with_a_path_replaces_the_record_of_its_file() {
    let app = allowing();
    let path = file(&app, "model.pt", "old");
    let id = register(&app, &json!({"checkpoint_path": path})).ok()["id"].as_i64().unwrap();
    let new = file(&app, "new.pt", "newer");
    let model = app.patch(id, &json!({"checkpoint_path": new})).ok();
    assert_eq!(
        (&model["checkpoint_sha256"], &model["checkpoint_size_bytes"]),
        (&json!(sha256("newer")), &json!(5))
    );
    assert_eq!(
        model["artifact_uri"],
        format!("sha256:{}", sha256("old")),
        "the URI is the client's to change"
    );
    let fields = ["local_checkpoint_path", "checkpoint_sha256", "checkpoint_size_bytes"];
    assert_eq!(app.last_payload(id)["updated_fields"], json!(fields));
    let config = file(&app, "config.json", r#"{"d_model": 8}"#);
    let model = app.patch(id, &json!({"config_path": config})).ok();
    assert_eq!(model["config_size_bytes"], 14);
    let fields = ["local_config_path", "config_sha256", "config_size_bytes"];
    assert_eq!(app.last_payload(id)["updated_fields"], json!(fields));

    let before = app.everything();
    for body in [
        json!({"checkpoint_path": ""}),
        json!({"config_path": " "}),
        json!({"checkpoint_path": text(&app.folder.path().join("none.pt"))}),
        json!({"checkpoint_path": new, "checkpoint_size_bytes": 4, "description": "d"}),
        json!({"checkpoint_path": new, "checkpoint_sha256": "a".repeat(64)}),
    ] {
        app.patch(id, &body).refused(400);
    }
    app.patch(999, &json!({"checkpoint_path": new})).refused(404);
    let path = format!("/models/{id}");
    let body = json!({"checkpoint_path": new}).to_string();
    app.request("PATCH", &path, &[("If-Match", "\"old\"")], Some(&body)).refused(412);
    assert_eq!(app.everything(), before);
}

#[test]
fn a_version_that_is_taken_is_refused_before_its_file_is_read() {
    let app = allowing();
    app.register("m", "1");
    let missing = text(&app.folder.path().join("none.pt"));
    register(&app, &json!({"checkpoint_path": missing})).refused(409);
}

/// Returns a file of 64 MiB, whose digest takes a while.
fn long_file(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let mut file = fs::File::create(&path).unwrap();
    file.seek(SeekFrom::Start((64 << 20) - 1)).unwrap();
    file.write_all(b"x").unwrap();
    path
}

#[test]
fn other_requests_are_answered_while_long_files_are_digested() {
    let app = unbounded();
    let id = app.register("kept", "1");
    // The only thread that digests has the first file, or will have it soon; the second waits.
    let digesting = [send_endless(&app, "1"), send_endless(&app, "2")];
    while app.get("/queues").ok()["hash"]["depth"] != 1 {
        thread::yield_now();
    }
    for value in 0..3 {
        app.record(id, "s", json!({"a": value})).ok();
        assert_eq!(app.model(id)["metrics"]["suites"]["s"]["a"], value);
    }
    drop(digesting);
}

#[test]
fn long_files_are_digested_side_by_side() {
    let app = allowing();
    let mut whole = vec![0; 64 << 20];
    *whole.last_mut().unwrap() = b'x';
    let expected = json!(sha256(whole));
    crate::support::at_once(4, |client| {
        let path = text(&long_file(app.folder.path(), &format!("{client}.pt")));
        let fields = json!({"version": client.to_string(), "checkpoint_path": path});
        assert_eq!(register(&app, &fields).ok()["checkpoint_sha256"], expected);
    });
}

/// Returns a server with one thread that digests, files of any length.
fn unbounded() -> TestApp {
    TestApp::with(|settings| {
        settings.rules.allow_local_paths = true;
        settings.rules.max_hash_bytes = u64::MAX;
        (settings.hasher.hashers, settings.hasher.hash_queue) = (1, 2);
    })
}

/// Sends a registration of a file whose digest never ends while the connection is open.
fn send_endless(app: &TestApp, version: &str) -> TcpStream {
    let endless = app.folder.path().join("endless.pt");
    fs::File::create(&endless).unwrap().set_len(1 << 40).unwrap();
    let body = json!({"name": "m", "version": version, "checkpoint_path": text(&endless)}).to_string();
    let head = format!("POST /models HTTP/1.1\r\nHost: x\r\nX-API-Key: {}", crate::support::KEY);
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut connection = TcpStream::connect(app.address).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    connection
}

#[test]
fn a_digest_whose_client_has_left_is_cancelled_and_the_next_one_starts() {
    let app = unbounded();
    drop(send_endless(&app, "1"));
    // The only thread that digests has the file of the client that left, or will have it soon. If it kept that file, this
    // would end in a time-out.
    let path = file(&app, "small.pt", "hello");
    let answer = loop {
        let answer = register(&app, &json!({"version": "2", "checkpoint_path": path}));
        if answer.status != 503 {
            break answer;
        }
        std::thread::yield_now();
    };
    let model = answer.ok();
    assert_eq!(model["checkpoint_sha256"], json!(sha256("hello")));
}

#[test]
fn a_full_digest_queue_answers_503_and_everything_else_continues() {
    let app = TestApp::with(|settings| {
        settings.rules.allow_local_paths = true;
        (settings.hasher.hashers, settings.hasher.hash_queue) = (1, 1);
    });
    let path = text(&long_file(app.folder.path(), "model.pt"));
    let refused = AtomicUsize::new(0);
    let registered = crate::support::at_once(8, |client| {
        let fields = json!({"version": client.to_string(), "checkpoint_path": path});
        let answer = register(&app, &fields);
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(answer.refused(503).contains("hash queue"));
            refused.fetch_add(1, Ordering::SeqCst);
            return 0;
        }
        answer.ok()["id"].as_i64().unwrap()
    });
    let registered = registered.into_iter().filter(|id| *id > 0).count();
    assert!(refused.load(Ordering::SeqCst) > 0 && registered > 0);
    assert_eq!(app.get("/stats").ok()["total_models"], registered);
}
